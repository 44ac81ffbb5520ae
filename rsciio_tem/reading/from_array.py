# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays in memory, memory maps, h5py, zarr and dask arrays, arranged as files are."""

from __future__ import annotations

import math
from typing import Any, Unpack

import numpy as np

from rsciio_tem.frames.arrays import ArrayFrames, DaskFrames, InMemory
from rsciio_tem.reading.options import ReadOptions, sizes
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage.files import is_array

__all__ = ["from_array", "recording_of"]


def from_array(
    array: Any,
    *,
    sig_dims: int = 2,
    lazy: bool | None = None,
    chunks: Any = "auto",
    navigation_shape: int | tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    title: str = "",
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Arrange an array as a reader arranges a file.

    Parameters
    ----------
    array : array-like
        numpy array, memory map, h5py or zarr data set, or dask array; the last `sig_dims` axes
        are the frame.
    sig_dims : int
        Number of axes of a frame.
    lazy : bool, optional
        Return a dask array; by default only if `array` is one.
    chunks, navigation_shape, first_frame, last_frame
        As in every reader; see ``docs/parameters.md``. Without a shape, `array` keeps its own.
    title : str
        Goes to the metadata.
    **options
        `ReadOptions`. ``sig_shape`` reshapes the array into frames of this shape.

    Returns
    -------
    list of one dict
        ``data``, ``axes``, ``metadata``, ``original_metadata``.

    Raises
    ------
    ValueError
        The array cannot be divided into such frames.
    """
    is_dask = hasattr(array, "dask") and hasattr(array, "rechunk")
    recording = recording_of(
        array, sig_dims=sig_dims, sig_shape=options.pop("sig_shape", None), title=title
    )
    return read(
        recording,
        lazy=is_dask if lazy is None else lazy,
        chunks=chunks,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )


def recording_of(
    array: Any,
    *,
    sig_dims: int = 2,
    sig_shape: tuple[int, ...] | None = None,
    title: str = "",
) -> Recording:
    """Describe an array as a recording whose scan is the array's own; see `from_array`."""
    if not is_array(array):
        array = np.asarray(array)
    is_dask = hasattr(array, "dask") and hasattr(array, "rechunk")
    # what lies below a mask is no measurement
    if isinstance(getattr(array, "_meta", array), np.ma.MaskedArray):
        if is_dask or np.ma.is_masked(array):
            how = "array.map_blocks(numpy.ma.filled, 0)" if is_dask else "array.filled(0)"
            raise ValueError(f"the array is masked, which frames cannot be; pass {how}")
        array = array.data
    shape = tuple(array.shape)
    if any(not isinstance(n, (int, np.integer)) for n in shape):
        raise ValueError("the array has unknown sizes (NaN); call compute_chunk_sizes() first")
    if sig_shape is not None:
        sig_shape = sizes("sig_shape", sig_shape)
        if math.prod(shape) % math.prod(sig_shape):
            raise ValueError(f"an array of {shape} does not divide into frames of {sig_shape}")
        if shape[len(shape) - len(sig_shape) :] != sig_shape:
            if not hasattr(array, "reshape"):  # h5py, zarr
                raise ValueError(
                    f"a {type(array).__name__} of {shape} cannot be cut anew into frames of "
                    f"{sig_shape}; pass dask.array.from_array(...) of it"
                )
            # dask divides axes only evenly, so in two steps
            array = array.reshape(-1).reshape(-1, *sig_shape)
            shape = array.shape
        sig_dims = len(sig_shape)
    if not 0 < sig_dims <= len(shape):
        raise ValueError(f"sig_dims={sig_dims} for an array with {len(shape)} axes")
    nav_shape, frame_shape = shape[: len(shape) - sig_dims], shape[len(shape) - sig_dims :]
    dtype = np.dtype(array.dtype)
    if dtype.kind not in "buifc":
        raise ValueError(f"pixels of type {dtype} are not numbers")
    frames: ArrayFrames | DaskFrames
    if is_dask:
        whole = array.rechunk({i: -1 for i in range(len(nav_shape), len(shape))})
        frames = DaskFrames(whole.reshape(math.prod(nav_shape), *frame_shape))
    else:
        frames = ArrayFrames(InMemory(array), nav_shape, frame_shape, dtype.newbyteorder("="))
    return Recording(
        format="dask" if is_dask else "memory",
        path=title or "<array>",
        frames=frames,
        signal_axes=(Axis(),) * sig_dims,
        hints=(ScanHint("header", nav_shape, 1.0, "shape of the array", exact=True),)
        if nav_shape
        else (),
        metadata={"General": {"title": title}, "Signal": {"signal_type": ""}},
    )
