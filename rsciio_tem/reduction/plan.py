# SPDX-License-Identifier: GPL-3.0-or-later
"""How a pass is cut: which frames, as stored or decoded, in which stripes."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.combined import Mosaic
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.sparse import SparseFrames
from rsciio_tem.frames.table import FrameTable, Walk
from rsciio_tem.reduction.functions import FunctionQuantity, UserFunctions
from rsciio_tem.reduction.quantities import (
    BitMasks,
    BitSum,
    BitWeights,
    Detectors,
    Masks,
    Max,
    Moments,
    Navigator,
    Quantity,
    Sum,
    Variance,
    accumulator,
)
from rsciio_tem.reduction.stored_order import StoredOrder, in_stored_order
from rsciio_tem.storage.backends import REMOTE_BLOCK

#: Those of them that have the shape of a frame.
_PATTERNS = frozenset({"sum", "mean", "max", "variance"})


#: Bytes of pixels loaded at a time; functions of users get twice as many, for what calling them
#: takes.
_BLOCK = 2 << 20


#: No more than this where many frames are stored together, or pixel by pixel.
_BLOCK_GATHERED = 128 << 20


#: Frames are divided into this many stripes, unless these would have fewer bytes than the second
#: number, or more than the third.
_STRIPES, _STRIPE, _STRIPE_MOST = 64, 64 << 20, 2 << 30


#: Stripes of sparse frames have about so many entries, but not fewer than frames have pixels: each
#: stripe has sums of its own.
_STRIPE_ENTRIES = 1 << 20


#: More entries than this many stripes have make stripes larger.
_MOST_STRIPES = 1024


# ---------------------------------------------------------------- the pass


@dataclass(frozen=True)
class _Task:
    """What is to be found out about frames of one shape and type; small, and pickles."""

    what: frozenset[str]
    frame_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    #: Weights by name: of virtual detectors, and those that make up a centre of mass where rows
    #: are not stored as rows. Of single bits, these are the words of `bits`.
    weights: dict[str, Any]
    bits: bool = False
    functions: UserFunctions | None = None

    def quantities(self, count: int, first: int = 0) -> dict[str, Quantity]:
        """Make the share of a stripe of that many frames, of which this is the first."""
        pixels, made = math.prod(self.frame_shape), dict[str, Quantity]()
        if self.bits:
            for name, bit_weights in self.weights.items():
                made[name] = BitMasks(count, bit_weights)
            if self.what:
                made["sum"] = BitSum(count, pixels)
            return made
        if "navigator" in self.what:
            made["navigator"] = Navigator(count, self.dtype)
        if "sum" in self.what:
            made["sum"] = Sum(pixels, self.dtype)
        if "max" in self.what:
            made["max"] = Max(pixels, self.dtype)
        if "variance" in self.what:
            made["variance"] = Variance(pixels, self.dtype)
        if "com" in self.what:
            made["com"] = Moments(count, self.dtype, self.frame_shape)
        for name, weights in self.weights.items():
            kind = Masks if name == "com" else Detectors
            made[name] = kind(count, self.dtype, weights)
        if self.functions is not None:
            made |= self.functions.quantities(first, count)
        return made

    def stripe(
        self,
        frames: Frames,
        step: int,
        done: Callable[[int], object] | None = None,
        stop: threading.Event | None = None,
        first: int = 0,
    ) -> dict[str, Quantity]:
        """Go through the frames of a stripe, of which `first` is the number of the first one."""
        share = self.quantities(len(frames), first)
        if isinstance(frames, SparseFrames) and self.functions is None:
            taken = self._take_entries(frames, share.values())
        else:
            taken = self._take(frames, step, share.values())
        with np.errstate(all="ignore"):  # sums of what is no number are none
            for count in taken:
                if done is not None:
                    done(count)
                if stop is not None and stop.is_set():
                    break
            for quantity in share.values():
                quantity.close()
        return share

    def _take(self, frames: Frames, step: int, takers: Collection[Quantity]) -> Iterator[int]:
        # kernels know neither half precision nor, in most cases, the other byte order
        kind = np.dtype("f4" if self.dtype.char == "e" else self.dtype.newbyteorder("="))
        kind = self.dtype if self.dtype == ">u2" else kind
        functions = [q for q in takers if isinstance(q, FunctionQuantity)]
        takers = [q for q in takers if not isinstance(q, FunctionQuantity)]
        stored = frames.pixels.stored if isinstance(frames, FrameTable) else self.dtype
        once = len(takers) == 1 and takers[0].once and stored == kind
        # what functions keep must not be pages of a file that may become shorter
        blocks = Walk(frames, step, pages=not functions, once=once)
        for first, pixels in blocks:
            if functions:
                shown = _shown(pixels, self.frame_shape)
                references = sys.getrefcount(blocks.buffer), sys.getrefcount(shown)
                for function in functions:
                    function.take(first, shown)
                if (sys.getrefcount(blocks.buffer), sys.getrefcount(shown)) != references:
                    blocks.forget()
            block = pixels if pixels.dtype == kind else pixels.astype(kind)
            for quantity in takers:
                quantity.take(first, block)
            yield len(block)

    def _take_entries(self, frames: SparseFrames, takers: Collection[Quantity]) -> Iterator[int]:
        for places, entries in frames.once():
            for quantity in takers:
                quantity.take_entries(places, entries)
            yield len(places)


def _shown(pixels: npt.NDArray[Any], frame_shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return frames as functions get them: read-only, in the byte order of the machine."""
    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    shown = native.reshape(len(native), *frame_shape).view()
    shown.flags.writeable = False
    return shown


def frames_per_block(frames: Frames, times: int = 1) -> int:
    """Choose how many frames to load at a time: of those stored together, all.

    `times` as many bytes as otherwise.
    """
    nbytes = max(1, math.prod(frames.frame_shape) * frames.dtype.itemsize)
    hint = frames.chunk_hint
    run = 1 if hint is None else min(hint.run, len(frames))
    if run * nbytes > _BLOCK_GATHERED:
        return max(1, _BLOCK_GATHERED // nbytes)
    block = times * _BLOCK
    block = block if nbytes * run < block // 4 else 2 * block  # some at a time, if possible
    if isinstance(frames, FrameTable) and any(f.origin is not None for f in frames.files[:1]):
        block = REMOTE_BLOCK
    return max(1, block // (nbytes * run)) * run


def _stripes(
    count: int, step: int, frame_bytes: int, least: int, most: int
) -> list[tuple[int, int]]:
    """Divide frames into stripes of about so many bytes at least, and at most."""
    per_stripe = min(max(-(-count // _STRIPES), least // frame_bytes), max(1, most // frame_bytes))
    size = -(-per_stripe // step) * step
    return [(first, min(first + size, count)) for first in range(0, count, size)]


def _stripes_of_entries(frames: SparseFrames) -> list[tuple[int, int]]:
    """Divide sparse frames so that stripes have about equally many entries."""
    sizes = np.cumsum(frames.sizes() + 1)  # a frame costs something, too
    per_stripe = max(
        _STRIPE_ENTRIES, math.prod(frames.frame_shape), int(sizes[-1]) // _MOST_STRIPES
    )
    bounds = np.flatnonzero(np.diff(sizes // per_stripe)) + 1
    return list(zip([0, *bounds.tolist()], [*bounds.tolist(), len(frames)], strict=True))


# ---------------------------------------------------------------- plans

_Results = dict[str, npt.NDArray[Any]]


_Weights = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Job:
    """Frames to go through for a task, in stripes."""

    task: _Task
    frames: Frames
    #: How much of the work this is.
    share: float = 1

    @cached_property
    def step(self) -> int:
        """Number of frames that are loaded at a time."""
        times = 1 if self.task.functions is None else 2
        return max(frames_per_block(self.frames, times), self.frames.graph_chunk)

    @cached_property
    def stripes(self) -> list[tuple[int, int]]:
        """First and last frame of each."""
        if isinstance(self.frames, SparseFrames) and self.task.functions is None:
            return _stripes_of_entries(self.frames)
        frame_bytes = math.prod(self.frames.frame_shape) * self.frames.dtype.itemsize
        most = _STRIPE if self.frames.graph_chunk else _STRIPE_MOST
        # functions may take long for a few frames
        least = _STRIPE if self.task.functions is None else 0
        return _stripes(len(self.frames), self.step, max(1, frame_bytes), least, most)


class _Plan(NamedTuple):
    """How frames are gone through, and what then is to be done with what was found.

    What is found for "com" are sum, row moment and column moment, shape (3, frames).
    """

    jobs: list[Job]
    finish: Callable[[list[_Results]], _Results]


def plan_of(
    frames: Frames,
    what: frozenset[str],
    weights: _Weights,
    functions: UserFunctions | None = None,
) -> _Plan:
    """Plan to go through frames part by part, as they are stored, or decoded."""
    if functions is not None:
        return _plan_decoded(frames, what, weights, functions)
    if isinstance(frames, Mosaic) and frames.complete:
        return _plan_parts(frames, what, weights)
    fold = in_stored_order(frames)
    if fold is None:
        return _plan_decoded(frames, what, weights)
    if fold.bits:
        return _plan_bits(fold, what, weights) or _plan_decoded(frames, what, weights)
    return _plan_stored(fold, what, weights)


def _plan_decoded(
    frames: Frames,
    what: frozenset[str],
    weights: _Weights,
    functions: UserFunctions | None = None,
) -> _Plan:
    shape = tuple(frames.frame_shape)
    flat = {}
    for name, w in weights.items():  # once for all stripes
        kind = np.result_type(w, frames.dtype, np.float64)
        flat[name] = np.ascontiguousarray(w.reshape(len(w), -1), kind)

    def finish(results: list[_Results]) -> _Results:
        return {n: a.reshape(shape) if n in _PATTERNS else a for n, a in results[0].items()}

    task = _Task(what, shape, frames.dtype, flat, functions=functions)
    return _Plan([Job(task, frames)], finish)


def _plan_stored(fold: StoredOrder, what: frozenset[str], weights: _Weights) -> _Plan:
    if "com" in what and not fold.in_rows:
        what, weights = what - {"com"}, {**weights, "com": _moments(fold.frame_shape)}
    frames, flat = fold.frames, {name: fold.fold(w) for name, w in weights.items()}
    if not what:
        frames, flat = _cropped(frames, flat)
    task = _Task(what, tuple(frames.frame_shape), frames.dtype, flat)

    def finish(results: list[_Results]) -> _Results:
        result = {n: fold.unfold(a) if n in _PATTERNS else a for n, a in results[0].items()}
        if fold.flipped and "com" in result:
            result["com"] = _turned_over(result["com"], fold.frame_shape)
        return result

    return _Plan([Job(task, frames)], finish)


def _plan_bits(fold: StoredOrder, what: frozenset[str], weights: _Weights) -> _Plan | None:
    """Return None if weights are no small whole numbers."""
    if "com" in what:
        weights = {**weights, "com": _moments(fold.frame_shape)}
    if "navigator" in what:
        weights = {**weights, "navigator": np.ones((1, *fold.frame_shape), np.int64)}
    bit_weights = {name: BitWeights.of(fold.fold(w)) for name, w in weights.items()}
    if None in bit_weights.values():
        return None
    patterns, count = what & _PATTERNS, len(fold.frames)
    task = _Task(patterns, tuple(fold.frames.frame_shape), fold.frames.dtype, bit_weights, True)

    def finish(results: list[_Results]) -> _Results:
        result = {name: sums.astype(np.float64) for name, sums in results[0].items()}
        if "navigator" in result:
            result["navigator"] = results[0]["navigator"][0].view(np.uint64)
        if patterns:
            sums = results[0]["sum"]
            spread = (sums * (np.uint64(count) - sums)).astype(np.float64)
            every = {
                "sum": sums,
                "max": (sums > 0).astype(fold.dtype),
                "variance": spread / count**2,
            }
            result |= {name: fold.unfold(every[name]) for name in patterns}
        return result

    return _Plan([Job(task, fold.frames)], finish)


def _plan_parts(frames: Mosaic, what: frozenset[str], weights: _Weights) -> _Plan:
    """Plan for frames that are put together: the parts fit better into a cache."""
    shape, flip = frames.frame_shape, slice(None, None, -1 if frames.flip_y else 1)
    plans = [
        plan_of(
            part, what, {name: w[:, flip][(slice(None), *place)] for name, w in weights.items()}
        )
        for part, place in zip(frames.parts, frames.regions, strict=True)
    ]
    jobs = [replace(job, share=job.share / len(plans)) for plan in plans for job in plan.jobs]

    def finish(results: list[_Results]) -> _Results:
        rest = iter(results)
        parts = [plan.finish([next(rest) for _ in plan.jobs]) for plan in plans]
        result: _Results = {}
        for part, place in zip(parts, frames.regions, strict=True) if "com" in what else ():
            for axis, corner in enumerate(place):
                part["com"][1 + axis] += part["com"][0] * corner.start
        for name in parts[0]:
            arrays = [part[name] for part in parts]
            if name not in _PATTERNS:
                result[name] = np.sum(arrays, axis=0)
                continue
            kind = accumulator(frames.dtype) if name == "sum" else arrays[0].dtype
            pattern = np.empty(shape, kind)
            for array, place in zip(arrays, frames.regions, strict=True):
                pattern[place] = array
            result[name] = pattern[flip]
        if frames.flip_y and "com" in what:
            result["com"] = _turned_over(result["com"], shape)
        return result

    return _Plan(jobs, finish)


def _moments(shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return weights that make up a centre of mass; sums are exact as long as below 2**53."""
    ones = np.ones(shape, np.int64)
    return np.stack([ones, *(ones * axis for axis in np.ogrid[: shape[0], : shape[1]])])


def _turned_over(
    moments: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """Return the moments of frames that are upside down."""
    mass, row, column = moments
    return np.stack([mass, (shape[0] - 1) * mass - row, column])


def _cropped(
    frames: FrameTable, weights: dict[str, npt.NDArray[Any]]
) -> tuple[FrameTable, dict[str, npt.NDArray[Any]]]:
    """Leave out the pixels before and behind those that any weight is for."""
    used = np.flatnonzero(np.any([(w != 0).any(axis=0) for w in weights.values()], axis=0))
    size, pixels = frames.dtype.itemsize, frames.pixels
    first = int(used[0]) * size // 64 * 64 // size if len(used) else 0
    last = int(used[-1]) + 1 if len(used) else 1
    last = min(math.prod(frames.frame_shape), -(-last * size // 64) * 64 // size)
    cropped = frames.part(first * size, replace(pixels, shape=(last - first,)))
    return cropped, {name: w[:, first:last] for name, w in weights.items()}
