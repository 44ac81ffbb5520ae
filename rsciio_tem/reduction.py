# SPDX-License-Identifier: GPL-3.0-or-later
"""Sums, virtual detectors and centres of mass from one pass over the frames.

A few threads take stripes of frames in turn. Each loads blocks that fit into a core's cache and
adds them up while they are there, so a decoded copy of the data never exists. Of sparse frames
only the entries are added up. The stripes, and the groups in which their shares are merged, do not
depend on the number of threads: the result is the same to the last bit whoever does the work, also
the workers of a cluster.
"""

from __future__ import annotations

import copy
import functools
import math
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain, islice
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from rsciio_tem import api, read
from rsciio_tem.folding import Folded, folded
from rsciio_tem.frames import Frames, FrameTable, Mosaic, chunk_hint
from rsciio_tem.quantities import (
    BitMasks,
    BitSum,
    BitWeights,
    Masks,
    Max,
    Moments,
    Navigator,
    Quantity,
    Sum,
    Variance,
    accumulator,
)
from rsciio_tem.recording import Recording
from rsciio_tem.shipping import Shipment
from rsciio_tem.sparse import SparseFrames, frames_of_matrix

__all__ = ["Annulus", "Disk", "Reduced", "What", "accumulator", "one_pass", "reduce"]

#: "navigator": sum of each frame; "sum", "mean", "max", "variance" over all frames, pixel by
#: pixel; "com": centre of mass of each frame.
What = Literal["navigator", "sum", "mean", "max", "variance", "com"]

#: Those of them that have the shape of a frame.
_PATTERNS = frozenset({"sum", "mean", "max", "variance"})

#: Bytes of pixels loaded at a time.
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
#: Shares of so many stripes are merged, then so many of these, and so on.
_TOGETHER = 8


# ---------------------------------------------------------------- detectors


@dataclass(frozen=True)
class Annulus:
    """A virtual detector between two radii, both in pixels; the inner edge belongs to it.

    Parameters
    ----------
    inner, outer : float
        Radii.
    center : (float, float), optional
        Row and column; by default the middle of the frame.
    """

    inner: float
    outer: float
    center: tuple[float, float] | None = None

    def __call__(self, frame_shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """Return the mask."""
        rows, columns = frame_shape
        y, x = self.center or ((rows - 1) / 2, (columns - 1) / 2)
        distance = np.hypot(*np.ogrid[-y : rows - y, -x : columns - x])[:rows, :columns]
        return (distance >= self.inner) & (distance < self.outer)


class Disk(Annulus):
    """A round virtual detector.

    Parameters
    ----------
    radius : float
        In pixels.
    center : (float, float), optional
        Row and column; by default the middle of the frame.
    """

    def __init__(self, radius: float, center: tuple[float, float] | None = None) -> None:
        super().__init__(0, radius, center)


Mask = npt.ArrayLike | Callable[[tuple[int, ...]], npt.ArrayLike]


def _masks(masks: Any, frame_shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return the weights of virtual detectors, shape (masks, *frame_shape)."""
    if isinstance(masks, Mapping):
        masks = list(masks.values())
    if callable(masks):
        masks = [masks]
    if not isinstance(masks, np.ndarray):
        masks = [np.asarray(m(frame_shape) if callable(m) else m) for m in masks]
        shapes = {m.shape for m in masks}
        if shapes - {frame_shape}:
            raise ValueError(f"masks have shapes {sorted(shapes)}, frames {frame_shape}")
    weights = np.asarray(masks)
    if weights.shape[1:] != frame_shape:
        raise ValueError(f"masks have shape {weights.shape}, frames {frame_shape}")
    return weights


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

    def quantities(self, count: int) -> dict[str, Quantity]:
        """Make the share of a stripe of that many frames."""
        pixels, found = math.prod(self.frame_shape), dict[str, Quantity]()
        if self.bits:
            for name, bit_weights in self.weights.items():
                found[name] = BitMasks(count, bit_weights)
            if self.what:
                found["sum"] = BitSum(count, pixels)
            return found
        if "navigator" in self.what:
            found["navigator"] = Navigator(count, self.dtype)
        if "sum" in self.what:
            found["sum"] = Sum(pixels, self.dtype)
        if "max" in self.what:
            found["max"] = Max(pixels, self.dtype)
        if "variance" in self.what:
            found["variance"] = Variance(pixels, self.dtype)
        if "com" in self.what:
            found["com"] = Moments(count, self.dtype, self.frame_shape)
        for name, weights in self.weights.items():
            found[name] = Masks(count, self.dtype, weights)
        return found

    def stripe(
        self,
        frames: Frames,
        step: int,
        done: Callable[[int], object] | None = None,
        stop: threading.Event | None = None,
    ) -> dict[str, Quantity]:
        """Go through the frames of a stripe."""
        found = self.quantities(len(frames))
        if isinstance(frames, SparseFrames):
            taken = self._take_entries(frames, found.values())
        else:
            taken = self._take(frames, step, found.values())
        for count in taken:
            if done is not None:
                done(count)
            if stop is not None and stop.is_set():
                break
        for quantity in found.values():
            quantity.close()
        return found

    def _take(self, frames: Frames, step: int, found: Collection[Quantity]) -> Iterator[int]:
        # kernels know neither half precision nor, in most cases, the other byte order
        kind = np.dtype("f4" if self.dtype.char == "e" else self.dtype.newbyteorder("="))
        kind = self.dtype if self.dtype == ">u2" else kind
        buffer = np.empty((min(step, len(frames)), *self.frame_shape), self.dtype)
        for first in range(0, len(frames), step):
            part = frames[first : first + step]
            block = buffer[: len(part)]
            part.load(block)
            pixels = block.reshape(len(block), -1)
            if pixels.dtype != kind:
                pixels = pixels.astype(kind)
            for quantity in found:
                quantity.take(first, pixels)
            yield len(block)

    def _take_entries(self, frames: SparseFrames, found: Collection[Quantity]) -> Iterator[int]:
        for places, entries in frames.once():
            for quantity in found:
                quantity.take_entries(places, entries)
            yield len(places)


def _frames_per_block(frames: Frames) -> int:
    """Choose how many frames to load at a time: of those stored together, all."""
    nbytes = max(1, math.prod(frames.frame_shape) * frames.dtype.itemsize)
    hint = chunk_hint(frames)
    run = 1 if hint is None else min(hint.run, len(frames))
    if run * nbytes > _BLOCK_GATHERED:
        return max(1, _BLOCK_GATHERED // nbytes)
    block = _BLOCK if nbytes * run < _BLOCK // 4 else 2 * _BLOCK  # some at a time, if possible
    return max(1, block // (nbytes * run)) * run


def _stripes(count: int, step: int, frame_bytes: int, most: int) -> list[tuple[int, int]]:
    """Divide frames into stripes of no more than about `most` bytes."""
    wanted = min(max(-(-count // _STRIPES), _STRIPE // frame_bytes), max(1, most // frame_bytes))
    size = -(-wanted // step) * step
    return [(first, min(first + size, count)) for first in range(0, count, size)]


def _stripes_of_entries(frames: SparseFrames) -> list[tuple[int, int]]:
    """Divide sparse frames so that stripes have about equally many entries."""
    sizes = np.cumsum(frames.sizes() + 1)  # a frame costs something, too
    wanted = max(_STRIPE_ENTRIES, math.prod(frames.frame_shape), int(sizes[-1]) // _MOST_STRIPES)
    bounds = np.flatnonzero(np.diff(sizes // wanted)) + 1
    return list(zip([0, *bounds.tolist()], [*bounds.tolist(), len(frames)], strict=True))


def one_pass(
    frames: Frames,
    *,
    what: Collection[What] = ("navigator", "sum"),
    masks: Any = None,
    progress: Callable[[int], object] | None = None,
    threads: int | None = None,
    client: Any = None,
) -> dict[str, npt.NDArray[Any]]:
    """Reduce frames, reading each of them once.

    Parameters
    ----------
    frames : Frames
        What to reduce; blanks count with their fill value.
    what : collection of str
        See `What`.
    masks : array_like, or sequence or dict of array_like and callables, optional
        Weights of virtual detectors, each of the frame's shape; a callable such as `Disk` gets
        the frame's shape.
    progress : callable, optional
        Is called with the number of frames just done; never by two threads at once.
    threads : int, optional
        Number of threads; by default the processors this process may use.
    client : distributed.Client, optional
        Let the workers of a cluster do it; they must see the files under the same names. Frames in
        the memory of this process are reduced here.

    Returns
    -------
    dict of ndarray
        "navigator" of shape (frames,); "sum", "mean", "max" and "variance" of the frame's shape;
        "com" of shape (2, frames), row and column; with `masks` "masks" of shape (masks, frames).
        Sums of integers are exact. Means, variances, centres of mass and weighted sums are float64
        (weighted sums complex128 for complex pixels or weights).
    """
    if unknown := set(what) - set(get_args(What)):
        raise ValueError(f"what={sorted(unknown)} is none of {', '.join(get_args(What))}")
    count, shape, dtype = len(frames), tuple(frames.frame_shape), frames.dtype
    if not count:
        raise ValueError("there are no frames to reduce")
    weights = {} if masks is None else {"masks": _masks(masks, shape)}
    if "com" in what and (len(shape) != 2 or dtype.kind == "c"):
        raise ValueError("centres of mass are for two-dimensional frames of real pixels")
    if "variance" in what and dtype.kind == "c":
        raise ValueError("the variance is for real pixels")
    plan = _plan(
        frames, frozenset(what) - {"mean"} | ({"sum"} if "mean" in what else set()), weights
    )
    told = _Told(progress)
    if client is not None and not _in_memory(frames):
        merged = [_on_cluster(job, client, told) for job in plan.jobs]
    else:
        merged = _in_threads(plan.jobs, threads or read.threads(), told)
    found = plan.finish([{name: q.result() for name, q in job.items()} for job in merged])
    if "mean" in what:
        found["mean"] = found["sum"] / count
    if "max" in what:
        found["max"] = found["max"].astype(dtype.newbyteorder("="), copy=False)
    if "sum" in what:
        found["sum"] = found["sum"].astype(accumulator(dtype), copy=False)
    if "com" in what:
        mass, *moments = found["com"]
        with np.errstate(invalid="ignore", divide="ignore"):
            found["com"] = np.where(mass != 0, np.stack(moments) / mass, np.nan)
    return {name: found[name] for name in (*get_args(What), *weights) if name in {*what, *weights}}


# ---------------------------------------------------------------- plans

_Found = dict[str, npt.NDArray[Any]]
_Weights = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class _Job:
    """Frames to go through for a task, in stripes."""

    task: _Task
    frames: Frames
    #: How much of the work this is.
    share: float = 1

    @cached_property
    def step(self) -> int:
        """Number of frames that are loaded at a time."""
        step = _frames_per_block(self.frames)
        if hasattr(self.frames, "array"):  # a chunk of a lazy array is computed as a whole
            step = max(step, int(self.frames.array.chunks[0][0]))
        return step

    @cached_property
    def stripes(self) -> list[tuple[int, int]]:
        """First and last frame of each."""
        if isinstance(self.frames, SparseFrames):
            return _stripes_of_entries(self.frames)
        frame_bytes = math.prod(self.frames.frame_shape) * self.frames.dtype.itemsize
        most = _STRIPE if hasattr(self.frames, "array") else _STRIPE_MOST
        return _stripes(len(self.frames), self.step, max(1, frame_bytes), most)


class _Plan(NamedTuple):
    """How frames are gone through, and what then is to be done with what was found.

    What is found for "com" are sum, row moment and column moment, shape (3, frames).
    """

    jobs: list[_Job]
    finish: Callable[[list[_Found]], _Found]


def _plan(frames: Frames, what: frozenset[str], weights: _Weights) -> _Plan:
    """Plan to go through frames part by part, as they are stored, or decoded."""
    if isinstance(frames, Mosaic) and frames.complete:
        return _plan_parts(frames, what, weights)
    fold = folded(frames)
    if fold is None:
        return _plan_decoded(frames, what, weights)
    if fold.bits:
        return _plan_bits(fold, what, weights) or _plan_decoded(frames, what, weights)
    return _plan_stored(fold, what, weights)


def _plan_decoded(frames: Frames, what: frozenset[str], weights: _Weights) -> _Plan:
    shape = tuple(frames.frame_shape)
    flat = {}
    for name, w in weights.items():  # once for all stripes
        kind = np.result_type(w, frames.dtype, np.float64)
        flat[name] = np.ascontiguousarray(w.reshape(len(w), -1), kind)

    def finish(found: list[_Found]) -> _Found:
        return {n: a.reshape(shape) if n in _PATTERNS else a for n, a in found[0].items()}

    return _Plan([_Job(_Task(what, shape, frames.dtype, flat), frames)], finish)


def _plan_stored(fold: Folded, what: frozenset[str], weights: _Weights) -> _Plan:
    if "com" in what and not fold.in_rows:
        what, weights = what - {"com"}, {**weights, "com": _moments(fold.frame_shape)}
    frames, flat = fold.frames, {name: fold.fold(w) for name, w in weights.items()}
    if not what:
        frames, flat = _cropped(frames, flat)
    task = _Task(what, tuple(frames.frame_shape), frames.dtype, flat)

    def finish(found: list[_Found]) -> _Found:
        result = {n: fold.unfold(a) if n in _PATTERNS else a for n, a in found[0].items()}
        if fold.flipped and "com" in result:
            result["com"] = _turned_over(result["com"], fold.frame_shape)
        return result

    return _Plan([_Job(task, frames)], finish)


def _plan_bits(fold: Folded, what: frozenset[str], weights: _Weights) -> _Plan | None:
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

    def finish(found: list[_Found]) -> _Found:
        result = {name: sums.astype(np.float64) for name, sums in found[0].items()}
        if "navigator" in result:
            result["navigator"] = found[0]["navigator"][0].view(np.uint64)
        if patterns:
            sums = found[0]["sum"]
            spread = (sums * (np.uint64(count) - sums)).astype(np.float64)
            every = {
                "sum": sums,
                "max": (sums > 0).astype(fold.dtype),
                "variance": spread / count**2,
            }
            result |= {name: fold.unfold(every[name]) for name in patterns}
        return result

    return _Plan([_Job(task, fold.frames)], finish)


def _plan_parts(frames: Mosaic, what: frozenset[str], weights: _Weights) -> _Plan:
    """Plan for frames that are put together: the parts fit better into a cache."""
    shape, flip = frames.frame_shape, slice(None, None, -1 if frames.flip_y else 1)
    plans = [
        _plan(part, what, {name: w[:, flip][(slice(None), *place)] for name, w in weights.items()})
        for part, place in zip(frames.parts, frames.places, strict=True)
    ]
    jobs = [replace(job, share=job.share / len(plans)) for plan in plans for job in plan.jobs]

    def finish(found: list[_Found]) -> _Found:
        rest = iter(found)
        parts = [plan.finish([next(rest) for _ in plan.jobs]) for plan in plans]
        result: _Found = {}
        for part, place in zip(parts, frames.places, strict=True) if "com" in what else ():
            for axis, corner in enumerate(place):
                part["com"][1 + axis] += part["com"][0] * corner.start
        for name in parts[0]:
            arrays = [part[name] for part in parts]
            if name not in _PATTERNS:
                result[name] = np.sum(arrays, axis=0)
                continue
            kind = accumulator(frames.dtype) if name == "sum" else arrays[0].dtype
            pattern = np.empty(shape, kind)
            for array, place in zip(arrays, frames.places, strict=True):
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
    runs = frames.runs.copy()
    runs["start"] += first * size
    cropped = replace(frames, runs=runs, pixels=replace(pixels, shape=(last - first,)))
    return cropped, {name: w[:, first:last] for name, w in weights.items()}


# ---------------------------------------------------------------- threads


class _Told:
    """Tells of frames that are done, of which only whole ones count."""

    def __init__(self, progress: Callable[[int], object] | None) -> None:
        self.progress, self.lock, self.left = progress, threading.Lock(), 0.0

    def __call__(self, share: float, frames: int) -> None:
        if self.progress is not None:
            with self.lock:
                self.left += share * frames
                if whole := int(self.left + 1e-6):
                    self.left -= whole
                    self.progress(whole)


_Share = dict[str, Quantity]
_T = TypeVar("_T")


def _merged(first: _Share, second: _Share) -> _Share:
    """Add the second share to the first."""
    for name, quantity in first.items():
        quantity.merge(second[name])
    return first


def _in_groups(shares: Iterable[_T], count: int, join: Callable[[Iterator[_T]], _T]) -> _T:
    """Join `count` shares, always the same ones; of each level of groups one is unfinished."""

    def groups(shares: Iterator[_T]) -> Iterator[_T]:
        for first in shares:
            yield join(chain([first], islice(shares, _TOGETHER - 1)))

    shares = iter(shares)
    while count > 1:
        shares, count = groups(shares), -(-count // _TOGETHER)
    (result,) = shares
    return result


def _in_threads(jobs: Sequence[_Job], workers: int, told: _Told) -> list[_Share]:
    """Go through stripes in order, no more than a few ahead of those that are merged."""
    stop = threading.Event()
    stripes = [(job, first, last) for job in jobs for first, last in job.stripes]
    workers = max(1, min(workers, len(stripes)))

    def one(job: _Job, first: int, last: int) -> _Share:
        try:
            done = partial(told, job.share)
            return job.task.stripe(job.frames[first:last], job.step, done, stop)
        except BaseException:
            stop.set()  # no need for the others to go on
            raise

    def shares() -> Iterator[_Share]:
        while ahead:
            share = ahead.popleft().result()
            if (stripe := next(todo, None)) is not None:
                ahead.append(pool.submit(one, *stripe))
            yield share

    def join(group: Iterator[_Share]) -> _Share:
        return functools.reduce(_merged, group)

    todo = iter(stripes)
    with ThreadPoolExecutor(workers) as pool:
        ahead = deque(pool.submit(one, *stripe) for stripe in islice(todo, workers + 1))
        try:
            found = shares()
            counts = [len(job.stripes) for job in jobs]
            return [_in_groups(islice(found, count), count, join) for count in counts]
        finally:
            stop.set()  # on Ctrl-C, do not wait for the rest of the file
            for future in ahead:
                future.cancel()


def _in_memory(frames: Any) -> bool:
    """Whether frames are an array that this process holds."""
    from rsciio_tem.arrays import Held

    while hasattr(frames, "frames"):
        frames = frames.frames
    return isinstance(getattr(frames, "open", None), Held)


def _same(value: Any) -> Any:
    return value


def _stripe_on_worker(common: Any, stripe: Any, step: int) -> _Share:
    """Find the share of a stripe, inside a task."""
    from rsciio_tem.arrays import ArrayFrames, Held

    task, shipment = common
    if isinstance(stripe, np.ndarray):
        held = ArrayFrames(Held(stripe), stripe.shape[:1], stripe.shape[1:], stripe.dtype)
        return task.stripe(held, step)  # type: ignore[no-any-return]
    return task.stripe(shipment.unpack(stripe), step)  # type: ignore[no-any-return]


def _merged_on_worker(shares: Sequence[_Share]) -> _Share:
    """Merge shares, inside a task. These belong to dask, which may need them a second time."""
    return functools.reduce(_merged, shares[1:], copy.deepcopy(shares[0]))


def _on_cluster(job: _Job, client: Any, told: _Told) -> _Share:
    """Let workers take stripes and merge their shares; only the last one comes here.

    A task is sent where its stripe is and nothing that it has in common with the others. There are
    no more unfinished stripes than keep the workers busy, and merging comes first: so a worker
    holds a few shares, and of a recording of any length only a window is known to the scheduler.
    """
    import dask

    frames: Any = job.frames
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    def submit(*args: Any, priority: int = 0) -> Any:
        future = client.submit(*args, pure=False, priority=priority)
        alive.add(future)
        return future

    def join(group: Iterator[Any]) -> Any:
        shares = list(group)
        return submit(_merged_on_worker, shares, priority=1) if len(shares) > 1 else shares[0]

    def submitted() -> Iterator[Any]:
        ahead: deque[tuple[Any, int]] = deque()
        most = 0

        def settle() -> None:
            future, count = ahead.popleft()
            if future.exception() is not None:  # waits; does not fetch the share
                future.result()
            told(job.share, count)

        for i, (first, last) in enumerate(job.stripes):
            if i % 64 == 0:  # workers may have come or gone
                most = 2 * sum(client.nthreads().values()) + _TOGETHER
            while len(ahead) >= most:
                settle()
            part = frames[first:last]
            if hasattr(frames, "array"):  # other tasks compute it, nothing is computed in ours
                part = client.compute(part.lazy())
                alive.add(part)
            else:
                part = shipment.pack(part)
            ahead.append((submit(_stripe_on_worker, common, part, job.step), last - first))
            yield ahead[-1][0]
        while ahead:
            settle()

    shipment = Shipment() if hasattr(frames, "array") else Shipment.of(frames[:0], frames[:1])
    try:
        # masks and dark frames may be large, but go there once: dask need not warn
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1PiB"}):
            common = submit(_same, (job.task, shipment))
            root = _in_groups(submitted(), len(job.stripes), join)
        return root.result()  # type: ignore[no-any-return]
    except BaseException:
        client.cancel(list(alive))  # a traceback that is kept would keep the tasks, too
        raise


# ---------------------------------------------------------------- for users


@dataclass
class Reduced(Mapping[str, npt.NDArray[Any]]):
    """What `reduce` found, by name: a mapping of arrays that knows their axes.

    Maps of the scan have the scan's shape ("com" and "masks" one axis before it), patterns that of
    the frame. Virtual detectors that were named are found under their names, too.
    """

    values_by_name: dict[str, npt.NDArray[Any]]
    axes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)

    def signal(self, name: str) -> dict[str, Any]:
        """Return one of them as RosettaSciIO's readers return signals."""
        axes = [
            {**axis, "index_in_array": i, "navigate": i < self[name].ndim - 2}
            for i, axis in enumerate(self.axes[name])
        ]
        general = {**self.metadata.get("General", {}), "title": name}
        return {
            "data": self[name],
            "axes": axes,
            "metadata": {**self.metadata, "General": general, "Signal": {"signal_type": ""}},
            "original_metadata": {},
        }


def reduce(
    source: Any,
    what: Iterable[What] = ("navigator", "sum"),
    *,
    format: str = "auto",
    masks: Any = None,
    progress: bool | Callable[[int], object] | None = None,
    threads: int | None = None,
    client: Any = None,
    **options: Any,
) -> Reduced:
    """Find sums, virtual detectors and centres of mass of a recording in one pass.

    Parameters
    ----------
    source : path, Recording or signal
        What to reduce: a file, what `rsciio_tem.open` returns, or a signal of a reader.
    what : iterable of str
        Any of "navigator" (sum of each frame), "sum", "mean", "max", "variance" (over the scan,
        pixel by pixel), and "com" (centre of mass of each frame: row and column, in pixels).
    format : str
        Format of a file, if its content does not tell it.
    masks : array_like, or sequence or dict of array_like and callables, optional
        Virtual detectors: weights of the frame's shape, or callables such as
        ``rsciio_tem.Disk(10)`` and ``rsciio_tem.Annulus(20, 60)``. Those of a dict are named.
    progress : bool or callable, optional
        Show a progress bar, by default on terminals and in notebooks; or be told the number of
        frames just done.
    threads : int, optional
        By default the processors this process may use.
    client : distributed.Client, optional
        Let the workers of a cluster do it; see ``docs/clusters.md``.
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
        Masks do not fit the frames.
    """
    from rsciio_tem.export import progress_bar

    if client is not None and isinstance(source, (str, os.PathLike)):
        source = os.path.abspath(source)  # workers may be in another folder
    signal = _signal(source, format, options)
    frames, nav_axes, sig_axes = _frames(signal)
    nav_shape = tuple(int(axis["size"]) for axis in nav_axes)
    names = list(masks) if isinstance(masks, Mapping) else []
    if unfit := set(names) & set(get_args(What)):
        raise ValueError(f"no detector can be called {', '.join(sorted(unfit))}")
    with progress_bar(len(frames), None if callable(progress) else progress, "reducing") as bar:
        found = one_pass(
            frames,
            what=tuple(what),
            masks=masks,
            progress=progress if callable(progress) else bar.update,
            threads=threads,
            client=client,
        )
    values: dict[str, npt.NDArray[Any]] = {}
    axes: dict[str, list[dict[str, Any]]] = {}
    for name, array in found.items():
        if name in ("navigator", "com", "masks"):
            values[name] = array.reshape((*array.shape[:-1], *nav_shape))
            axes[name] = nav_axes
            if name != "navigator":
                axis = {"name": name, "size": len(array), "scale": 1.0, "offset": 0.0, "units": ""}
                axes[name] = [axis, *nav_axes]
        else:
            values[name], axes[name] = array, sig_axes
    for i, name in enumerate(names):
        values[name], axes[name] = values["masks"][i], nav_axes
    return Reduced(values, axes, signal["metadata"])


def _signal(source: Any, format: str, options: dict[str, Any]) -> dict[str, Any]:
    if isinstance(source, Recording):
        known = {
            name: options.pop(name)
            for name in ("navigation_shape", "first_frame", "last_frame")
            if name in options
        }
        return read.read(source, lazy=True, options=options, **known)[0]
    if isinstance(source, Mapping):
        if options:
            raise TypeError(f"{', '.join(options)}: signals are reduced as they are")
        return dict(source)
    return api.load(source, format, lazy=True, **options)[0]


def _frames(signal: Mapping[str, Any]) -> tuple[Frames, list[Any], list[Any]]:
    """See the data of a signal as frames."""
    from rsciio_tem.arrays import ArrayFrames, DaskFrames, Held

    axes = list(signal["axes"])
    nav = [axis for axis in axes if axis["navigate"]]
    sig = [axis for axis in axes if not axis["navigate"]]
    data, n = signal["data"], len(nav)
    source = read.lazy_source(data)
    if source is not None and source.dtype == source.frames.dtype:
        return source.frames, nav, sig
    frame_shape = tuple(int(axis["size"]) for axis in sig)
    if hasattr(data, "tocsr"):
        matrix = data.reshape((-1, math.prod(frame_shape))).tocsr()
        return frames_of_matrix(matrix, frame_shape), nav, sig
    if hasattr(data, "dask"):
        return DaskFrames(data.reshape(-1, *frame_shape)), nav, sig
    array = np.asarray(data)
    held = ArrayFrames(Held(array), tuple(array.shape[:n]), frame_shape, array.dtype)
    return held, nav, sig
