# SPDX-License-Identifier: GPL-3.0-or-later
"""Sums and virtual detectors from one pass over the frames.

The memory needed does not depend on the number of frames: a few threads take turns in loading
blocks that fit into a core's cache, and each adds up into arrays of its own.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames import Frames
from rsciio_tem.read import threads as processors

__all__ = ["What", "accumulator", "one_pass"]

#: "navigator": sum of each frame; "sum": sum over all frames; "max": largest value of each pixel.
What = Literal["navigator", "sum", "max"]

#: Bytes of pixels loaded at a time.
_BLOCK = 2 << 20
#: The same for frames whose pixels are gathered from all over a file.
_BLOCK_GATHERED = 128 << 20


def accumulator(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which pixels of `dtype` are added up: 64-bit integers stay exact."""
    kinds = {"b": "u8", "u": "u8", "i": "i8", "f": "f8", "c": "c16"}
    return np.dtype(kinds[dtype.kind])


def one_pass(
    frames: Frames,
    *,
    what: Collection[What] = ("navigator", "sum"),
    masks: npt.ArrayLike | None = None,
    progress: Callable[[int], object] | None = None,
    threads: int | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Reduce frames, reading each of them once.

    Parameters
    ----------
    frames : Frames
        What to reduce; blanks count with their fill value.
    what : collection of str
        See `What`.
    masks : array_like, shape (masks, rows, columns), optional
        Weights of virtual detectors.
    progress : callable, optional
        Is called with the number of frames just done; never by two threads at once.
    threads : int, optional
        Number of threads; by default the processors this process may use.

    Returns
    -------
    dict of ndarray
        "navigator" of shape (frames,), "sum" and "max" of the frame's shape, and with `masks`
        "masks" of shape (masks, frames). Sums of integers are exact; weighted sums are float64
        (complex128 for complex pixels or weights).
    """
    if unknown := set(what) - set(get_args(What)):
        raise ValueError(f"what={sorted(unknown)} is none of {', '.join(get_args(What))}")
    count, shape, dtype = len(frames), tuple(frames.frame_shape), frames.dtype
    if not count:
        raise ValueError("there are no frames to reduce")
    pixels, total = math.prod(shape), accumulator(dtype)
    result: dict[str, npt.NDArray[Any]] = {}
    if "navigator" in what:
        result["navigator"] = np.empty(count, total)
    weights: npt.NDArray[Any] | None = None
    if masks is not None:
        weights = np.asarray(masks)
        if weights.shape[1:] != shape:
            raise ValueError(f"masks have shape {weights.shape}, frames {shape}")
        kind = np.result_type(weights, dtype, np.float64)
        weights = np.ascontiguousarray(weights.reshape(len(weights), pixels), kind)
        result["masks"] = np.empty((len(weights), count), kind)

    nbytes = _BLOCK_GATHERED if getattr(frames, "detector_major", False) else _BLOCK
    step = max(1, nbytes // max(1, pixels * dtype.itemsize))
    starts = iter(range(0, count, step))
    lock, stop = threading.Lock(), threading.Event()

    def work() -> dict[str, npt.NDArray[Any]]:
        """Take blocks until none is left; return this thread's share of the pictures."""
        own: dict[str, npt.NDArray[Any]] = {}
        if "sum" in what:
            own["sum"] = np.zeros(pixels, total)
        buffer = np.empty((min(step, count), *shape), dtype)
        converted = None if weights is None else np.empty((len(buffer), pixels), weights.dtype)
        while not stop.is_set():
            with lock:
                first = next(starts, None)
            if first is None:
                break
            last = min(first + step, count)
            block = buffer[: last - first]
            frames[first:last].load(block)
            flat = block.reshape(len(block), pixels)
            if "navigator" in what:
                np.sum(flat, axis=1, dtype=total, out=result["navigator"][first:last])
            if "sum" in what:
                own["sum"] += flat.sum(axis=0, dtype=total)
            if "max" in what:
                largest = flat.max(axis=0)
                own["max"] = np.maximum(own["max"], largest) if "max" in own else largest
            if weights is not None and converted is not None:
                values = converted[: len(flat)]
                np.copyto(values, flat)
                # not a matrix product: its own threads and ours would stand in each other's way
                result["masks"][:, first:last] = np.einsum("ij,kj->ki", values, weights)
            if progress is not None:
                with lock:
                    progress(last - first)
        return own

    def until_done() -> dict[str, npt.NDArray[Any]]:
        try:
            return work()
        except BaseException:
            stop.set()  # no need for the others to go on
            raise

    workers = max(1, min(threads or processors(), -(-count // step)))
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(until_done) for _ in range(workers)]
        try:
            shares = [future.result() for future in futures]
        finally:
            stop.set()  # on Ctrl-C, do not wait for the rest of the file
    for name, join in (("sum", np.add), ("max", np.maximum)):
        if parts := [share[name] for share in shares if name in share]:
            joined = parts[0]
            for part in parts[1:]:
                joined = join(joined, part)
            result[name] = joined.reshape(shape)
    return result
