# SPDX-License-Identifier: GPL-3.0-or-later
"""Navigators of lazy signals: the image of the scan that HyperSpy shows beside the patterns.

Without one, the first ``plot()`` of a lazy signal reads all of it. HyperSpy keeps a navigator in
``metadata._HyperSpy.navigator``; RosettaSciIO's readers hand signals over in metadata under keys
that begin with ``_sig_``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.combined import Mosaic
from rsciio_tem.frames.pixels import Region, full_region
from rsciio_tem.frames.protocol import Frames, ReadAs
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.frames.wrapped import Wrapped, long_integers
from rsciio_tem.reading.options import checked_navigator
from rsciio_tem.scan.content import content_lines
from rsciio_tem.storage import machine

if TYPE_CHECKING:
    from rsciio_tem.reading.lazy import LazyFrames

__all__ = ["attach", "follow_axes", "keep_stored"]

MiB = 1 << 20


#: Seconds that summing everything, or refining an estimate, may take.
_TIME = 1.2


#: Summing everything is not tried with more bytes of pixels than this; time is looked at after
#: each so many of them, for each processor.
_WHOLE, _STRETCH = 4096 * machine.MiB, 64 * machine.MiB


#: No more bytes of pixels than this are loaded for an estimate.
_MOST = 1024 * machine.MiB


#: No more than this where pixels are stored one by one: there, all positions are read.
_MOST_BY_PIXEL = 64 * machine.MiB


#: Frames that are loaded to see where on the detector the intensity is, if they are no more bytes.
_SAMPLE, _SAMPLE_BYTES = 5, 256 * machine.MiB


#: Of large frames a band of rows is read: so many bytes, but at least this part of the rows.
_BAND, _PART = 32 << 10, 16


#: Pixels are read in pieces of this size.
_PIECE = 2 * machine.MiB


# ---------------------------------------------------------------- into the signal


def attach(signal: dict[str, Any], source: LazyFrames, kind_asked: Any) -> None:
    """Give a lazy signal, as a reader returns it, a navigator made from its frames.

    Parameters
    ----------
    signal : dict
        Its ``metadata`` is replaced, its ``original_metadata["rsciio_tem"]`` says how the
        navigator was made.
    source : LazyFrames
        The frames of the signal.
    wanted : {None, False, "fast", "full"}
        See `NavigatorKind`; nothing is done for None and False.
    """
    kind = checked_navigator(kind_asked)
    n_nav = len(source.nav_shape)
    if not kind or not n_nav or source.dtype.kind not in "buifc":  # colours have no sum
        return
    values, how = _full(source) if kind == "full" else _fast(source)
    if values.dtype.kind == "c":
        values = np.abs(values)  # as HyperSpy shows it
    title = _title(how, len(source.frames))
    image = {
        "data": values.reshape(source.nav_shape),
        "axes": [{**axis, "navigate": False} for axis in signal["axes"][:n_nav]],
        "metadata": {"General": {"title": title}, "Signal": {"signal_type": ""}},
        "original_metadata": {"rsciio_tem": {"navigator": how}},
    }
    _set(signal, image, how)
    if kind == "full" and n_nav == 1:
        _offer_lines(signal, values)


def _offer_lines(signal: dict[str, Any], sums: npt.NDArray[Any]) -> None:
    """Offer the scan lines that the sums of the frames of a stack show, as an alternative."""
    from rsciio_tem.reading.images_as_evidence import hint_of

    hint = hint_of(content_lines(np.asarray(sums, np.float64)), len(sums))
    tree = signal["original_metadata"].get("rsciio_tem", {})
    if hint is None or "scan" not in tree:
        return
    alternatives = [*tree["scan"].get("alternatives", ()), hint.describe()]
    ours = {**tree, "scan": {**tree["scan"], "alternatives": alternatives}}
    signal["original_metadata"] = {**signal["original_metadata"], "rsciio_tem": ours}


def keep_stored(signal: dict[str, Any], image: dict[str, Any], kind_asked: Any) -> None:
    """Make an image of the scan that is stored with a recording the navigator of its signal.

    If another navigator is wanted, or none, it is kept in ``metadata._HyperSpy.navigators``.
    """
    title = image["metadata"]["General"]["title"]
    if checked_navigator(kind_asked) is None:
        _set(signal, image, {"kind": "stored", "title": title})
        return
    tree = dict(signal["metadata"].get("_HyperSpy", {}))
    tree["navigators"] = {**tree.get("navigators", {}), f"_sig_{title}": image}
    signal["metadata"] = {**signal["metadata"], "_HyperSpy": tree}


def follow_axes(signal: dict[str, Any]) -> None:
    """Give the navigator the axes that a reader changed after `read`; drop it if it fits no more.

    Only one that `attach` made is looked at.
    """
    tree = signal["metadata"].get("_HyperSpy", {})
    if (image := tree.get("_sig_navigator")) is None:
        return
    axes = [{**axis, "navigate": False} for axis in signal["axes"] if axis["navigate"]]
    if [axis["index_in_array"] for axis in axes] == list(range(image["data"].ndim)):
        image["axes"] = axes
        return
    signal["metadata"] = {k: v for k, v in signal["metadata"].items() if k != "_HyperSpy"}
    signal["original_metadata"]["rsciio_tem"].pop("navigator")


def _set(signal: dict[str, Any], image: dict[str, Any], how: Mapping[str, Any]) -> None:
    # HyperSpy would make it lazy, and cannot show lazy navigators of more than two axes
    image = {**image, "attributes": {"_lazy": False}}
    tree = {**signal["metadata"].get("_HyperSpy", {}), "_sig_navigator": image}
    signal["metadata"] = {**signal["metadata"], "_HyperSpy": tree}
    tree = signal["original_metadata"]
    ours = {**tree.get("rsciio_tem", {}), "navigator": dict(how)}
    signal["original_metadata"] = {**tree, "rsciio_tem": ours}


def _title(how: Mapping[str, Any], count: int) -> str:
    parts = []
    if "rows" in how:
        parts.append(f"rows {how['rows'][0]} to {how['rows'][1] - 1} of each frame")
    if "pixels" in how:
        parts.append(f"{how['pixels']} pixels of each frame")
    if how["positions"] < count:
        parts.append(f"{how['positions']} of {count} positions")
    return "Navigator" + (f" ({', '.join(parts)})" if parts else "")


# ---------------------------------------------------------------- frames as the signal has them


@dataclass(frozen=True, eq=False)
class _Finite(Wrapped):
    """Frames in the type of the signal; what is not a finite number counts as 0.

    Integers of 64 bits are floats here, which have room for their sums.
    """

    source: LazyFrames

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        dtype = self.source.dtype
        return np.dtype(np.float64) if long_integers(dtype) else dtype

    @property
    def graph_chunk(self) -> int:
        """Number of frames that a dask graph computes at a time."""
        return self.frames.graph_chunk

    def _read_as(self, how: ReadAs) -> Self:
        del how
        return self

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        if self.dtype == self.frames.dtype:
            self.frames.load(out, region)
        else:
            values = np.empty(out.shape, self.frames.dtype)
            self.frames.load(values, region)
            out[...] = self.source.cast(values, self.frames)
        if out.dtype.kind in "fc":
            np.nan_to_num(out, copy=False, nan=0, posinf=0, neginf=0)


def _full(source: LazyFrames) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    from rsciio_tem.storage.machine import progress_bar

    with progress_bar(len(source.frames), None, "navigator") as bar:
        values = _sums(source, source.frames, bar.update)
    return values, {"kind": "full", "positions": len(values)}


def _sums(source: LazyFrames, frames: Frames, progress: Any = None) -> npt.NDArray[Any]:
    """Sum each frame in one pass; those that are not finite once more, by their finite pixels."""
    from rsciio_tem.reduction.single_pass import one_pass

    summands = frames if source.dtype == frames.dtype else _Finite(frames, source)
    try:
        values = one_pass(summands, what=["navigator"], progress=progress)["navigator"]
    except OverflowError:
        values = one_pass(_Finite(frames, source), what=["navigator"])["navigator"]
    if len(bad := np.flatnonzero(~np.isfinite(values))):
        again = _Finite(frames[bad], source)
        values[bad] = one_pass(again, what=["navigator"])["navigator"]
    return values


def _sums_in_time(source: LazyFrames) -> npt.NDArray[Any] | None:
    """Sum each frame if there is time for that, otherwise give up: None."""
    frames, count = source.frames, len(source.frames)
    frame_bytes = max(1, math.prod(frames.frame_shape) * frames.dtype.itemsize)
    step = max(1, _STRETCH * min(8, machine.threads()) // frame_bytes)
    if (hint := frames.chunk_hint) is not None:
        step = -(-step // hint.run) * hint.run
    if count * frame_bytes > _WHOLE or min(step, count) * frame_bytes > _WHOLE // 8:
        return None
    parts, began = [], time.perf_counter()
    for first in range(0, count, step):
        parts.append(_sums(source, frames[first : first + step]))
        done, elapsed = first + step, time.perf_counter() - began
        if done < count and elapsed > _TIME / 4 and elapsed * count > _TIME * done:
            return None
    return np.concatenate(parts)


# ---------------------------------------------------------------- estimates


def _fast(source: LazyFrames) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Estimate: from some rows of the detector, from some positions of the scan, or both."""
    count, shape = len(source.frames), tuple(source.frames.frame_shape)
    pixel_bytes = source.frames.dtype.itemsize
    if (values := _sums_in_time(source)) is not None:
        return values, {"kind": "fast", "positions": count}
    frames = _Finite(source.frames, source)
    hint = source.frames.chunk_hint
    if hint is not None and hint.run >= count and hint.sig != shape:
        # stored pixel by pixel: a few of them, from all positions
        region = _middle(shape, hint.sig, max(1, _MOST_BY_PIXEL // (count * pixel_bytes)))
        values = _region_sums(frames, region)
        size = math.prod(s.stop - s.start for s in region)
        return values, {"kind": "fast", "positions": count, "pixels": size}
    unit = _rows_alone(source.frames)
    height = _band_height(shape, unit, math.prod(shape[1:]) * pixel_bytes)
    region = full_region(shape)
    if height < shape[0]:
        region = (_brightest_rows(frames, unit, height), *region[1:])
    nbytes = math.prod(s.stop - s.start for s in region) * pixel_bytes
    nbytes *= 1 if hint is None else hint.run  # frames stored together are read together
    values, steps = _refined(frames, source.nav_shape, region, _MOST // max(1, nbytes))
    positions = math.prod(-(-n // k) for n, k in zip(source.nav_shape, steps, strict=True))
    how = {"kind": "fast", "positions": positions, "steps": list(steps)}
    if height < shape[0]:
        how["rows"] = [region[0].start, region[0].stop]
    return values, how


def _middle(shape: tuple[int, ...], block: tuple[int, ...], most: int) -> Region:
    """Return stored blocks in the middle of a frame, one or as many as have `most` pixels."""
    side = max(1, int((most / math.prod(block)) ** (1 / len(shape))))
    region = []
    for n, k in zip(shape, block, strict=True):
        blocks = -(-n // k)
        first = (blocks - min(side, blocks)) // 2
        region.append(slice(first * k, min(n, (first + side) * k)))
    return tuple(region)


def _rows_alone(frames: Any) -> int:
    """Return how many rows must be read together: 1, those of a stored block, or all."""
    rows = int(frames.frame_shape[0])
    if isinstance(frames, Mosaic):
        return max(_rows_alone(part) for part in frames.parts)
    if (hint := frames.chunk_hint) is not None:
        return int(hint.sig[0])
    while isinstance(frames, Wrapped):
        frames = frames.frames
    if not isinstance(frames, FrameTable) or len(frames.frame_shape) < 2:
        return rows
    pixels = frames.pixels
    # one row of a frame of several chips may take more than one stored row
    row = (slice(rows // 2, rows // 2 + 1), *full_region(pixels.shape)[1:])
    return 1 if pixels.byte_range(row)[1] <= pixels.nbytes // 4 else rows


def _band_height(shape: tuple[int, ...], unit: int, row_bytes: int) -> int:
    """Return how many rows of each frame to read; all, where fewer would not be quicker."""
    if len(shape) < 2 or unit >= shape[0]:
        return shape[0]
    height = max(-(-shape[0] // _PART), -(-_BAND // max(1, row_bytes)))
    height = -(-height // unit) * unit
    # gaps of up to 64 KiB are read along, see `FrameTable.load`
    spared = (shape[0] - height) * row_bytes
    return height if spared > 64 << 10 else shape[0]


def _brightest_rows(frames: Frames, unit: int, height: int) -> slice:
    """Return the band of rows with most intensity in a sample of the frames.

    Single bright pixels do not count, so that defects do not decide.
    """
    hint, shape = frames.chunk_hint, frames.frame_shape
    together = math.prod(shape) * frames.dtype.itemsize * (1 if hint is None else hint.run)
    sample = min(_SAMPLE, len(frames), _SAMPLE_BYTES // together)
    index = np.linspace(0, len(frames) - 1, sample).astype(np.int64)
    values = np.zeros((sample, *shape), frames.dtype)
    if sample:  # otherwise the rows in the middle are as good as others
        frames[index].load(values)
    pattern = np.abs(values).sum(axis=0, dtype=np.float64)
    pattern = np.minimum(pattern, np.percentile(pattern, 99.9))
    rows = pattern.reshape(len(pattern), -1).sum(axis=1)
    total = np.concatenate([[0.0], np.cumsum(rows)])
    starts = np.arange(0, len(rows) - height + 1, unit)
    sums = total[starts + height] - total[starts]
    best = starts[sums >= sums.max() * (1 - 1e-9)]
    middle = (len(rows) - height) / 2
    first = int(best[np.argmin(np.abs(best - middle))])
    return slice(first, first + height)


def _region_sums(frames: Frames, region: Region) -> npt.NDArray[Any]:
    """Sum a region of each frame."""
    from rsciio_tem.reduction.quantities import accumulator

    count, shape = len(frames), tuple(s.stop - s.start for s in region)
    sums = np.empty(count, accumulator(frames.dtype))
    step = max(1, _PIECE // max(1, math.prod(shape) * frames.dtype.itemsize))
    if (hint := frames.chunk_hint) is not None:
        step = max(step, min(hint.run, count))
    if frames.graph_chunk:
        step = count

    def one(first: int) -> None:
        part = frames[first : first + step]
        values = np.empty((len(part), *shape), frames.dtype)
        part.load(values, region)
        values.reshape(len(part), -1).sum(axis=1, dtype=sums.dtype, out=sums[first : first + step])

    with machine.Threads(machine.threads()) as pool:
        for _ in pool.map(one, range(0, count, step)):
            pass
    return sums


def _refinements(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield steps along each axis of a scan, from one position to all of them.

    Each time the axis with the fewest positions gets twice as many; powers of two, so that those
    before are among them.
    """
    steps = [1 << (n - 1).bit_length() for n in shape]
    yield tuple(steps)
    while max(steps) > 1:
        coarse = [i for i, k in enumerate(steps) if k > 1]
        i = min(coarse, key=lambda i: -(-shape[i] // steps[i]))
        steps[i] //= 2
        yield tuple(steps)


def _refined(
    frames: Frames, shape: tuple[int, ...], region: Region, most: int
) -> tuple[npt.NDArray[Any], tuple[int, ...]]:
    """Sum a region of the frames of a grid that is refined while there is time.

    Returns
    -------
    ndarray of the shape of the scan
        Each position has the value of the nearest one of the grid.
    tuple of int
        Distance of the grid's positions along each axis.
    """
    values, steps = np.empty(0), (0,) * len(shape)
    read, pace, began = 0, 0.0, time.perf_counter()
    for finer in _refinements(shape):
        grid = np.ix_(*(np.arange(0, n, k) for n, k in zip(shape, finer, strict=True)))
        loaded = np.asarray(all(steps))
        for index, k in zip(grid, steps, strict=True):
            loaded = loaded & (index % max(1, k) == 0)
        todo = np.ravel_multi_index(np.broadcast_arrays(*grid), shape)[~loaded]
        now = time.perf_counter()
        if read and (read + len(todo) > most or now - began + len(todo) * pace > _TIME):
            break
        sums = _region_sums(frames[todo], region)
        refined = np.empty(loaded.shape, sums.dtype)
        refined[loaded], refined[~loaded] = values.reshape(-1), sums
        values, steps, read = refined, finer, read + len(todo)
        pace = (time.perf_counter() - now) / max(1, len(todo))
    for axis, (n, k) in enumerate(zip(shape, steps, strict=True)):
        nearest = np.minimum((np.arange(n) + k // 2) // k, values.shape[axis] - 1)
        values = values.take(nearest, axis=axis)
    return values, steps
