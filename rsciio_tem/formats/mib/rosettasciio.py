# SPDX-License-Identifier: GPL-3.0-or-later
"""The functions of `rsciio.quantumdetector`, with the same names and results."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Truncated
from rsciio_tem.formats.mib.files import _mib_of
from rsciio_tem.formats.mib.header import _HEAD, frame_times
from rsciio_tem.formats.mib.layout import _describe, _Layout
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.mapping import map_frames
from rsciio_tem.scan.scan import ScanRequest
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

__all__ = ["MIBProperties", "load_mib_data", "parse_exposures", "parse_timestamps"]


def _warn_distributed(distributed: bool | None) -> None:
    if distributed is not None:
        from rsciio.exceptions import VisibleDeprecationWarning

        warnings.warn(
            "`distributed` has no effect: every lazy signal can be computed on a cluster.",
            VisibleDeprecationWarning,
            stacklevel=3,
        )


# ---------------------------------------------------------------- as in rsciio.quantumdetector


class MIBProperties:
    """Properties of a Merlin recording, under the names that `rsciio.quantumdetector` uses.

    Call `parse_file` to fill them.
    """

    def __init__(self) -> None:
        self.path: str = ""
        self.buffer = True
        self.merlin_size: tuple[int, ...] = ()
        self.assembly_size: str | None = None
        self.raw: bool | None = None
        self.dynamic_range: str | None = None
        self.packed: bool | None = None
        self.dtype: Any = None
        self.head_size = 0
        self.offset = 0
        self.navigation_shape: tuple[int, ...] = ()
        self.xy = 1
        self.number_of_frames_in_file: int | None = None
        self.frame_number_in_file: int | None = None
        self.gap: bool | None = None
        self.quad_scale: int | None = None
        self.detector_geometry: str = ""
        self.frame_double: bool | None = None
        self.roi_rows: int | None = None
        self.exposure: float | None = None
        self.timestamp: str | None = None
        self.file_size = 0

    def parse_file(self, path: str | os.PathLike[str] | bytes) -> None:
        """Fill the properties from a file, or from its content as bytes."""
        described, name, size = _describe_any(path)
        self.__dict__.update(vars(_properties(described, name, size, described.count)))

    def __repr__(self) -> str:
        return "\n".join(
            (
                f"\nPath: {self.path}" if not self.buffer else "\nPath: (in memory)",
                f"Chip configuration is {self.assembly_size}",
                f"Detector geometry: {self.detector_geometry}",
                f"Data size {self.merlin_size}",
                f"Data is {'raw' if self.raw else 'processed'}",
                f"Data type: {self.dtype}",
                f"Dynamic range: {self.dynamic_range}",
                f"Header size: {self.head_size} bytes",
                f"Number of frames in the file/buffer: {self.frame_number_in_file}",
                f"Number of frames to be read: {self.xy}",
                f"exposure: {self.exposure}",
                f"timestamp: {self.timestamp}",
            )
        )


def _properties(described: _Layout, path: str, size: int, count: int) -> MIBProperties:
    header, pixels = described.header, described.pixels
    found = MIBProperties()
    found.path, found.buffer, found.file_size = path, not path, size
    found.merlin_size = (pixels.shape[0], pixels.shape[1])
    found.assembly_size = {1: "single", 4: "quad"}.get(header.chips, f"{header.chips} chips")
    found.raw = header.raw
    found.packed = header.raw
    found.dtype = pixels.dtype.name
    depth = header.depth or {1: 6, 2: 12, 4: 24}.get(pixels.dtype.itemsize, 0)
    found.dynamic_range = "1 or 6-bit" if depth in (1, 6) else f"{depth}-bit"
    found.head_size = header.size
    found.offset = described.start
    found.frame_number_in_file = count
    found.navigation_shape, found.xy = (count,), count
    found.gap = header.layout.upper().endswith("G")
    found.detector_geometry = "" if header.layout == "1x1" else header.layout
    found.exposure = header.exposure_ns / 1e6 if header.exposure_ns >= 0 else None
    found.timestamp = header.utc or header.local_time or None
    return found


def _describe_any(path: str | os.PathLike[str] | bytes) -> tuple[_Layout, str, int]:
    """Describe one file, or its content given as bytes."""
    if isinstance(path, (bytes, bytearray, memoryview)):
        content = bytes(path)
        if not content:
            raise Truncated("<bytes>", "is empty.")
        described = _describe(
            content[:_HEAD], len(content), "<bytes>", lambda at, n: content[at : at + n]
        )
        return described, "", len(content)
    name = files.existing(path)
    if name.lower().endswith(".hdr"):
        name = _mib_of(name)
    with open(name, "rb") as stream:

        def peek(offset: int, n: int) -> bytes:
            stream.seek(offset)
            return stream.read(n)

        head = peek(0, _HEAD)
        if not head:
            raise Truncated(name, "is empty.")
        size = os.fstat(stream.fileno()).st_size
        return _describe(head, size, name, peek), name, size


def load_mib_data(
    path: str | os.PathLike[str] | bytes,
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool | None = None,
    mib_prop: MIBProperties | None = None,
    return_headers: bool = False,
    print_info: bool = False,
    return_mmap: bool = True,
) -> Any:
    """Load the frames of one .mib file as they are stored, not flipped.

    Parameters
    ----------
    path : str, path or bytes
        The file, or its content (not with `lazy`).
    lazy, chunks, first_frame, last_frame, navigation_shape
        As in `file_reader`.
    mmap_mode : {None, "r", "c"}
        Mode of the memory map; by default copy-on-write, read-only if `lazy`.
    distributed : bool, optional
        Has no effect, see `file_reader`.
    mib_prop : MIBProperties, optional
        Is filled with the properties of the file.
    return_headers : bool
        Also return the frame headers, as an array of bytes of the scan's shape.
    print_info : bool
        Print the properties.
    return_mmap : bool
        Return a memory map where the pixels are plain; RAW pixels are decoded. Otherwise scan
        axes of length 1 are left out, as RosettaSciIO does.

    Returns
    -------
    data : ndarray or dask.array.Array, shape (scan..., rows, columns)
        Big-endian where it is a memory map.
    headers : ndarray of bytes
        Only with `return_headers`.

    Raises
    ------
    ValueError
        Lazy loading from bytes, or headers without a memory map, is asked for.
    """
    _warn_distributed(distributed)
    mmap_mode = mmap_mode or ("r" if lazy else "c")
    in_memory = isinstance(path, (bytes, bytearray, memoryview))
    if in_memory and lazy:
        raise ValueError("loading lazily from bytes is not possible")
    if return_headers and not return_mmap:
        raise ValueError("return_headers=True needs return_mmap=True")
    described, name, size = _describe_any(path)
    properties = mib_prop if mib_prop is not None else MIBProperties()
    properties.__dict__.update(vars(_properties(described, name, size, described.count)))
    if navigation_shape is not None and not isinstance(navigation_shape, tuple):
        raise TypeError("`navigation_shape` must be `None` or of tuple type.")
    request = ScanRequest(
        shape=navigation_shape[::-1] if navigation_shape else None,
        hyperspy_order=True,
        first_frame=first_frame,
        last_frame=last_frame,
    )
    nav_shape, index, _ = map_frames(described.count, request, path=name or "<bytes>")
    properties.navigation_shape, properties.xy = nav_shape, math.prod(nav_shape)
    if print_info:
        print(properties)  # noqa: T201 - asked for
    pixels = replace(described.pixels, flip_y=False)
    shape = (*nav_shape, *pixels.shape)

    whole = (
        np.frombuffer(path, np.uint8)  # type: ignore[arg-type]
        if in_memory
        else np.memmap(name, np.uint8, mode="c" if mmap_mode == "c" else "r")
    )
    assert isinstance(index, slice)
    n = math.prod(nav_shape)
    begin = described.start + index.start * described.stride

    def column(offset: int, width: int) -> npt.NDArray[np.uint8]:
        return np.lib.stride_tricks.as_strided(
            whole[begin + offset :],
            (n, width),
            (described.stride, 1),
            subok=True,
            writeable=mmap_mode == "c",
        )

    data: Any
    if lazy and not (return_mmap and pixels.plain):
        file = DataFile.of(name)
        run = (0, described.start + described.header.size, described.stride, described.count)
        recording = Recording(
            format="mib",
            path=name,
            frames=FrameTable((file,), runs_of([run]), pixels),
            signal_axes=(Axis(), Axis()),
        )
        (signal,) = read(
            recording,
            lazy=True,
            chunks=chunks,
            navigation_shape=navigation_shape,
            first_frame=first_frame,
            last_frame=last_frame,
        )
        data = signal["data"]
    else:
        raw = column(described.header.size, pixels.nbytes)
        if pixels.plain:
            data = pixels.view(raw).reshape(shape)
            if not (return_mmap or in_memory):
                data = np.array(data)
        else:
            data = np.empty((n, *pixels.shape), pixels.dtype)
            pixels.decode(np.asarray(raw), data)
            data = data.reshape(shape)
    if not return_mmap:
        data = data.reshape(*(k for k in nav_shape if k != 1), *pixels.shape)
    if not return_headers:
        return data
    head = column(0, described.header.size)
    return data, head.view(f"S{described.header.size}")[:, 0].reshape(nav_shape)


def _header_bytes(found: Any, max_index: int) -> npt.NDArray[np.uint8]:
    """Return headers, in whatever form, as an array (frames, bytes)."""
    flat = np.atleast_1d(np.asarray(found)).reshape(-1)
    if not flat.size:
        return np.empty((0, 0), np.uint8)
    if max_index is not None and max_index >= 0:
        flat = flat[:max_index]
    if flat.dtype.kind != "S":
        raise TypeError(f"headers are bytes, not {flat.dtype}")
    flat = np.ascontiguousarray(flat)
    return flat.view(np.uint8).reshape(len(flat), flat.dtype.itemsize)


def parse_exposures(headers: Sequence[bytes] | bytes, max_index: int = 10000) -> list[float]:
    """Return the exposures in ms from frame headers.

    Parameters
    ----------
    headers : bytes or array of bytes, any shape
        As returned by `load_mib_data` with ``return_headers=True``.
    max_index : int
        Number of headers to look at; -1 for all.

    Returns
    -------
    list of float
        NaN where a header does not say.
    """
    exposure = frame_times(_header_bytes(headers, max_index)).exposure_ns
    return [e / 1e6 if e >= 0 else math.nan for e in exposure.tolist()]


def parse_timestamps(headers: Sequence[bytes] | bytes, max_index: int = 10000) -> list[str]:
    """Return the times of frames as ISO 8601 text with nanoseconds.

    Parameters
    ----------
    headers : bytes or array of bytes, any shape
        As returned by `load_mib_data` with ``return_headers=True``.
    max_index : int
        Number of headers to look at; -1 for all.

    Returns
    -------
    list of str
        Ends with Z where the header has UTC; empty where it has no time at all.
    """
    text = _header_bytes(headers, max_index)
    moments = frame_times(text).time_ns
    utc = "Z" if len(text) and b"MQ1A" in bytes(text[0]) else ""
    return [
        np.datetime_as_string(np.datetime64(t, "ns")) + utc if t >= 0 else ""
        for t in moments.tolist()
    ]
