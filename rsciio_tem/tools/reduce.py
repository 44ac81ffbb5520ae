# SPDX-License-Identifier: GPL-3.0-or-later
"""`rsciio_tem.reduce`: one pass over a recording, for users."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.sparse import frames_of_matrix
from rsciio_tem.readers import load
from rsciio_tem.reading import read
from rsciio_tem.reading.from_array import from_array
from rsciio_tem.reading.lazy import lazy_source
from rsciio_tem.recording.recording import Recording
from rsciio_tem.reduction.functions import UserFunctions
from rsciio_tem.reduction.result import Reduced
from rsciio_tem.reduction.single_pass import What, one_pass
from rsciio_tem.storage.files import absolute, is_array

__all__ = ["reduce"]


def reduce(
    source: Any,
    what: What | Iterable[What] = ("navigator", "sum"),
    *,
    format: str = "auto",
    masks: Any = None,
    functions: Mapping[str, Any] | None = None,
    progress: bool | Callable[[int], object] | None = None,
    threads: int | None = None,
    client: Any = None,
    **options: Any,
) -> Reduced:
    """Compute sums, virtual detectors and centres of mass of a recording in one pass.

    Parameters
    ----------
    source : path, Recording, signal or array
        What to reduce: a file, what `rsciio_tem.open` returns, what `rsciio_tem.from_array` takes,
        or a signal from a reader or HyperSpy.
    what : str or iterable of str
        Any of "navigator" (sum of each frame), "sum", "mean", "max", "variance" (over the scan,
        pixel by pixel), and "com" (centre of mass of each frame: row and column, in pixels).
    format : str
        Format of a file, if its content does not show it.
    masks : array_like, or sequence or dict of array_like and callables, optional
        Virtual detectors: weights of the frame's shape, or callables such as
        ``rsciio_tem.Disk(10)`` and ``rsciio_tem.Annulus(20, 60)``. A dict names them.
    functions : dict, optional
        Functions by name that get a block of frames, shape (frames, rows, columns), and return one
        value or array for each; or accumulators with ``take(block)``, ``merge(other)`` and
        ``result()``: a class, or what makes one. See ``docs/one_pass.md``.
    progress : bool or callable, optional
        Show a progress bar, by default on terminals and in notebooks; or a function, called with
        the number of frames just done.
    threads : int, optional
        By default, one for each processor that this process may use.
    client : distributed.Client or str, optional
        A client, or the address of a scheduler, to compute on the workers of a cluster; see
        ``docs/clusters.md``.
    **options
        Keywords of the reader: ``navigation_shape``, ``roi``, ``corrections`` and so on.

    Returns
    -------
    Reduced
        A mapping from names to arrays.

    Raises
    ------
    FormatError
        See `load`.
    OverflowError
        Sums of 64-bit pixels do not fit into 64 bits.
    ValueError
        Masks do not fit the frames, or what a function returned does not.
    TypeError
        What is passed as a function is none, or cannot be sent to workers.
    Exception
        What a function raises, with a note of which frames it got.
    """
    from rsciio_tem.storage.machine import progress_bar

    if client is not None and isinstance(source, (str, os.PathLike)):
        source = absolute(source)  # workers may be in another folder
    if isinstance(client, str):  # the address of a scheduler
        from distributed import Client

        with Client(client) as connected:
            return reduce(
                source,
                what,
                **{"format": format, "masks": masks, "functions": functions},
                **{"progress": progress, "threads": threads, "client": connected, **options},
            )
    kinds = cast("tuple[What, ...]", (what,) if isinstance(what, str) else tuple(what))
    signal = _signal(source, format, options)
    frames, nav_axes, sig_axes = _frames(signal)
    nav_shape = tuple(int(axis["size"]) for axis in nav_axes)
    names = list(masks) if isinstance(masks, Mapping) else []
    if unfit := set(names) & set(get_args(What)):
        raise ValueError(f"no detector can be called {', '.join(sorted(unfit))}")
    user = UserFunctions(functions) if functions else None
    clash = {*(functions or ())} & {*get_args(What), *names, "masks"}
    if clash:
        raise ValueError(f"no function can be called {', '.join(sorted(clash))}")
    with progress_bar(len(frames), None if callable(progress) else progress, "reducing") as bar:
        results = one_pass(
            frames,
            what=kinds,
            masks=masks,
            functions=user,
            progress=progress if callable(progress) else bar.update,
            threads=threads,
            client=client,
        )
    values: dict[str, npt.NDArray[Any]] = {}
    axes: dict[str, list[dict[str, Any]]] = {}
    signal_dims: dict[str, int] = {}
    for name, array in results.items():
        if user is not None and name in user.functions:
            outer: list[Any] = []
            if name in user.per_frame:
                outer, array = nav_axes, array.reshape((*nav_shape, *array.shape[1:]))
            rest = np.shape(array)[len(outer) :]
            values[name], axes[name] = array, [*outer, *_axes_of(rest, sig_axes)]
            signal_dims[name] = len(rest) or 2
        elif name in ("navigator", "com", "masks"):
            values[name] = array.reshape((*array.shape[:-1], *nav_shape))
            axes[name] = nav_axes
            if name != "navigator":
                axis = {"name": name, "size": len(array), "scale": 1.0, "offset": 0.0, "units": ""}
                axes[name] = [axis, *nav_axes]
        else:
            values[name], axes[name] = array, sig_axes
    for i, name in enumerate(names):
        values[name], axes[name] = values["masks"][i], nav_axes
    return Reduced(values, axes, signal["metadata"], signal_dims)


def _axes_of(shape: tuple[int, ...], sig_axes: list[Any]) -> list[dict[str, Any]]:
    """Return axes for what a function returned: those of the frame, if it has its shape."""
    if shape == tuple(axis["size"] for axis in sig_axes):
        return list(sig_axes)
    return [{"name": "", "size": n, "scale": 1.0, "offset": 0.0, "units": ""} for n in shape]


def _signal(source: Any, format: str, options: dict[str, Any]) -> dict[str, Any]:
    if isinstance(source, (list, tuple)) and len(source) == 1:  # as `load` returns them
        source = source[0]
    if hasattr(source, "_to_dictionary"):  # a signal of HyperSpy
        source = source._to_dictionary(add_learning_results=False)
    if isinstance(source, Recording):
        bounds = {
            name: options.pop(name)
            for name in ("navigation_shape", "first_frame", "last_frame")
            if name in options
        }
        return read.read(source, lazy=True, options=options, **bounds)[0]
    if isinstance(source, Mapping):
        if options:
            raise TypeError(f"{', '.join(options)}: signals are reduced as they are")
        return dict(source)
    if is_array(source):
        return from_array(source, **options)[0]
    return load(source, format, lazy=True, **options)[0]


def _frames(signal: Mapping[str, Any]) -> tuple[Frames, list[Any], list[Any]]:
    """See the data of a signal as frames."""
    from rsciio_tem.frames.arrays import ArrayFrames, DaskFrames, InMemory

    # HyperSpy does not tell the size of a non-uniform axis, which has as many values
    axes = [{"size": len(axis.get("axis", ())), **axis} for axis in signal["axes"]]
    nav = [axis for axis in axes if axis["navigate"]]
    sig = [axis for axis in axes if not axis["navigate"]]
    data, n = signal["data"], len(nav)
    source = lazy_source(data)
    if source is not None and source.dtype == source.frames.dtype:
        return source.frames, nav, sig
    frame_shape = tuple(int(axis["size"]) for axis in sig)
    if hasattr(data, "tocsr"):
        matrix = data.reshape((-1, math.prod(frame_shape))).tocsr()
        return frames_of_matrix(matrix, frame_shape), nav, sig
    if hasattr(data, "dask"):
        return DaskFrames(data.reshape(-1, *frame_shape)), nav, sig
    array = np.asarray(data)
    in_memory = ArrayFrames(InMemory(array), tuple(array.shape[:n]), frame_shape, array.dtype)
    return in_memory, nav, sig
