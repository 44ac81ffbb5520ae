# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames inside chunked HDF5 data sets, decoded without the library where its format allows.

The library holds one lock for all threads and copies every chunk several times. Here it only tells
where the chunks are. They are fetched with the same backends as the frames of any other file, and
threads decode them side by side, straight into place, where their filters are among shuffle, gzip,
LZ4, bitshuffle (with LZ4 or alone), Fletcher's checksum and, with what is installed, Zstandard and
Blosc. Data sets with other filters, and all that are not chunked, are read through the library,
some chunks at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.pixels import Region, full_region
from rsciio_tem.frames.protocol import ChunkHint, Order, OrderedFrames, ReadAs, picked
from rsciio_tem.frames.wrapped import Wrapped
from rsciio_tem.parsing import hdf5_index
from rsciio_tem.parsing.hdf5_filters import BITSHUFFLE, LZ4, SHUFFLE, Bytes, Ints, undo, unpack
from rsciio_tem.parsing.hdf5_index import (
    DataSet,
    chunk_index,
    damaged_chunk,
    read_chunk,
    read_slices,
)
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import Backend

__all__ = ["ChunkedFrames", "stored_chunks"]

#: Chunks farther apart in a file than this are not fetched with one read.
_GAP = 64 << 10


#: Of more chunks than this it is not listed which frames they belong to.
_MOST_LISTED = 1 << 24

#: The library is asked for so many bytes at a time, if chunks are smaller.
_LIBRARY_BLOCK = 4 << 20


def stored_chunks(frames: Any) -> Iterator[tuple[DataSet, int, Ints, Ints]]:
    """Look in the tables of data sets for chunks that are not there.

    Parameters
    ----------
    frames : Frames
        Only `ChunkedFrames`, also behind others, have such tables.

    Yields
    ------
    dataset : DataSet
    lacking : int
        How many chunks were never written.
    never, beyond : ndarray of int64
        Frames, counted over all data sets, with a chunk that was never written, or that lies
        beyond the end of the file. Not listed where there are very many chunks or frames.
    """
    while isinstance(frames, Wrapped):
        frames = frames.frames
    if not isinstance(frames, ChunkedFrames):
        return
    for dataset, first in zip(frames.datasets, frames.begins, strict=True):
        if dataset.chunks is None:
            continue
        index, total = chunk_index(dataset), math.prod(dataset.grid)
        if max(total, frames.stored_count >> 4) > _MOST_LISTED:
            none = np.zeros(0, np.int64)
            yield dataset, total - len(index.numbers), none, none
            continue
        lacking = np.zeros(0, np.int64)
        if len(index.numbers) < total:
            lacking = np.setdiff1d(np.arange(total), index.numbers, assume_unique=True)
        outside = index.starts + index.lengths > dataset.file.size
        never, beyond = (
            frames.touched(dataset, chunks) + first for chunks in (lacking, index.numbers[outside])
        )
        yield dataset, len(lacking), never, beyond


# ---------------------------------------------------------------- decoding


def _decode(
    dataset: DataSet, mask: int, raw: Bytes, starts: Ints, lengths: Ints, out: Bytes, places: Ints
) -> int:
    """Decode chunks ``raw[start:start + length]`` to their places in `out`.

    Returns the first one that is damaged, -1 if none is.
    """
    nbytes, steps = dataset.chunk_bytes, []
    for i, step in enumerate(dataset.filters):
        if not mask >> i & 1 and not (step.number == SHUFFLE and step.data[0] == 1):
            steps.append(step)
    if len(steps) == 1 and steps[0].number in (LZ4, BITSHUFFLE):
        return unpack(steps[0], raw, starts, lengths, out, places, nbytes)
    steps.reverse()
    for i, (start, length, offset) in enumerate(
        zip(starts.tolist(), lengths.tolist(), places.tolist(), strict=True)
    ):
        chunk, target = raw[start : start + length], out[offset : offset + nbytes]
        for n, step in enumerate(steps):
            last = n == len(steps) - 1
            decoded = undo(step, chunk, target if last else None, nbytes)
            if decoded is None:
                return i
            chunk = decoded
        if len(chunk) != nbytes:
            return i
        if not np.may_share_memory(chunk, target):
            target[...] = chunk
    return -1


# ---------------------------------------------------------------- frames in chunks


@dataclass(frozen=True, eq=False)
class _Runs:
    """Frames that follow each other both in a box of the scan and in the output."""

    box: Ints  # number of the box
    local: Ints  # place of the first frame in its box
    at: Ints  # place of the first frame in the output
    count: Ints

    def __getitem__(self, index: slice) -> _Runs:
        return _Runs(self.box[index], self.local[index], self.at[index], self.count[index])

    def frames(self) -> tuple[Ints, Ints]:
        """Return the place in the box, and in the output, of every frame."""
        steps = np.arange(int(self.count.sum())) - np.repeat(
            np.cumsum(self.count) - self.count, self.count
        )
        return np.repeat(self.local, self.count) + steps, np.repeat(self.at, self.count) + steps


def _runs(
    positions: Ints, at: Ints, shape: tuple[int, ...], box: tuple[int, ...]
) -> tuple[_Runs, Ints]:
    """Sort scan positions by the boxes they are in.

    Returns runs, and the bounds of the runs that are in the same box.
    """
    number, local, rest = np.zeros_like(positions), np.zeros_like(positions), positions
    boxes = places = 1
    for n, b in zip(reversed(shape), reversed(box), strict=True):
        rest, i = np.divmod(rest, n)
        i, inside = np.divmod(i, b)
        number, local = number + i * boxes, local + inside * places
        boxes, places = boxes * -(-n // b), places * b
    if (np.diff(number) < 0).any():
        order = np.argsort(number, kind="stable")
        number, local, at = number[order], local[order], at[order]
    same = np.diff(number) == 0
    joins = same & (np.diff(local) == 1) & (np.diff(at) == 1)
    first = np.concatenate([[0], np.flatnonzero(~joins) + 1])
    count = np.diff(np.append(first, len(number)))
    runs = _Runs(number[first], local[first], at[first], count)
    bounds = np.flatnonzero(np.diff(runs.box, prepend=-1, append=-1))
    return runs, bounds


def _place(
    out: npt.NDArray[Any],
    runs: _Runs,
    source: npt.NDArray[Any],
    to: tuple[slice, ...],
    part: tuple[slice, ...],
) -> None:
    """Copy frames of one box (frames, *part of a frame) to their places."""
    if len(runs.at) <= 8:
        for local, at, n in zip(
            runs.local.tolist(), runs.at.tolist(), runs.count.tolist(), strict=True
        ):
            out[(slice(at, at + n), *to)] = source[(slice(local, local + n), *part)]
    else:
        places, targets = runs.frames()
        values = source[(slice(None), *part)][places]
        out[(slice(None), *to)][targets] = values


@dataclass(frozen=True, eq=False)
class ChunkedFrames(OrderedFrames):
    """Frames in data sets of HDF5 files, read chunk by chunk.

    Parameters
    ----------
    datasets : tuple of DataSet
        Their frames follow each other.
    frame_axes : tuple of int
        Which axes are the frame, rows first.
    order : ndarray of int64, optional
        Frame i is stored frame ``order[i]``; -1 is a blank.
    shown : tuple of int, optional
        Frame shape that is asked for, with the same number of pixels.
    flip_y : bool
        The first stored row is the bottom one.
    native : bool
        Return values in the machine's byte order; otherwise in that of the file.
    fill : float
        Value of blanks.
    backend : str
        How bytes are fetched, see `rsciio_tem.storage.backends`.
    """

    datasets: tuple[DataSet, ...]
    frame_axes: tuple[int, ...]
    order: Order = None
    shown: tuple[int, ...] | None = None
    flip_y: bool = False
    native: bool = True
    fill: float = 0
    backend: Backend = "auto"
    ends: Ints = field(init=False, repr=False)
    _derived = ("ends",)

    def __post_init__(self) -> None:
        counts = [math.prod(self._nav(dataset.shape)) for dataset in self.datasets]
        object.__setattr__(self, "ends", np.cumsum(counts, dtype=np.int64))

    @property
    def stored_count(self) -> int:
        """Number of frames in the data sets, whatever the order picks from them."""
        return int(self.ends[-1])

    @property
    def begins(self) -> list[int]:
        """Number of the first frame of each data set."""
        return [0, *self.ends[:-1].tolist()]

    def touched(self, dataset: DataSet, chunks: Ints) -> Ints:
        """Return the frames of a data set that have pixels in some of its chunks."""
        assert dataset.chunks is not None
        if not len(chunks):
            return chunks
        cells = np.array(np.unravel_index(chunks, dataset.grid))
        axes = [i for i in range(len(dataset.grid)) if i not in self.frame_axes]
        marked = np.zeros(self._nav(dataset.grid), bool)
        marked[tuple(cells[axes])] = True
        for axis, (n, c) in enumerate(
            zip(self._nav(dataset.shape), self._nav(dataset.chunks), strict=True)
        ):
            marked = np.take(np.repeat(marked, c, axis=axis), np.arange(n), axis=axis)
        return np.flatnonzero(marked)

    def _nav(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the entries for the scan of something that is given for all axes."""
        return tuple(n for i, n in enumerate(shape) if i not in self.frame_axes)

    def _sig(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the entries for the frame of something that is given for all axes."""
        return tuple(shape[i] for i in self.frame_axes)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of a frame in the file."""
        return self._sig(self.datasets[0].shape)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a frame."""
        return self.stored_shape if self.shown is None else self.shown

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        stored = self.datasets[0].stored
        return stored.newbyteorder("=") if self.native else stored

    @property
    def upside_down(self) -> bool | None:
        """Whether the first stored row is shown last."""
        return self.flip_y

    @property
    def chunk_hint(self) -> ChunkHint | None:
        """Which parts of which frames share a chunk."""
        dataset = self.datasets[0]
        if dataset.chunks is None:
            return None
        part = self._sig(dataset.chunks) if self.shown is None else self.shown
        hint = ChunkHint(self._nav(dataset.shape), self._nav(dataset.chunks), part)
        return hint if self.order is None else hint.flat(len(self))

    def _read_as(self, how: ReadAs) -> Self:
        shown = how.reshaped(self.frame_shape, self.datasets[0].file.path)
        return replace(
            self,
            backend=how.backend,
            fill=how.filled(self.fill),
            flip_y=self.flip_y if how.flip_y is None else bool(how.flip_y),
            native=self.native and how.native,
            shown=None if shown == self.stored_shape else shown,
        )

    # ------------------------------------------------------------------ reading

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it.

        Every chunk that is needed is decoded once.

        Raises
        ------
        Truncated, FormatError
            The file ends early, is damaged, or changed since it was described.
        """
        region = region or full_region(self.frame_shape)
        expected = (len(self), *(s.stop - s.start for s in region))
        if out.shape != expected:
            raise ValueError(f"out has shape {out.shape}, but {expected} is needed")
        if not math.prod(out.shape):
            return
        if self.flip_y:
            rows, height = region[0], self.frame_shape[0]
            region = (slice(height - rows.stop, height - rows.start), *region[1:])
            out = out[:, ::-1]
        if self.shown is not None:
            whole = np.empty((len(self), *self.stored_shape), out.dtype)
            replace(self, shown=None, flip_y=False).load(whole)  # flipped rows are those shown
            out[...] = whole.reshape(len(self), *self.shown)[(slice(None), *region)]
            return
        order = picked(self.order, self.stored_count, slice(None))
        part = np.searchsorted(self.ends, order, "right")
        part[order < 0] = -1
        for k in np.unique(part).tolist():
            at = np.flatnonzero(part == k)
            if k < 0:
                out[at] = self.fill
                continue
            positions = order[at] - self.begins[k]
            reading = _Reading(self.datasets[k], self.frame_axes, self.backend, out, region)
            load = reading.chunks if self.datasets[k].decodable else reading.boxes
            load(positions, at)


@dataclass(frozen=True, eq=False)
class _Reading:
    """Reads frames of one data set to their places in an array.

    Parameters
    ----------
    dataset : DataSet
        Where they are.
    frame_axes : tuple of int
        Which of its axes are the frame.
    backend : str
        How bytes are fetched.
    out : ndarray, shape (frames, *shape of region)
        Where they go.
    region : Region
        The wanted part of the frames.
    """

    dataset: DataSet
    frame_axes: tuple[int, ...]
    backend: Backend
    out: npt.NDArray[Any]
    region: Region

    def nav(self, values: Sequence[int]) -> tuple[int, ...]:
        """Return the entries for the scan of something that is given for all axes."""
        return tuple(n for i, n in enumerate(values) if i not in self.frame_axes)

    def sig(self, values: Sequence[int]) -> tuple[int, ...]:
        """Return the entries for the frame of something that is given for all axes."""
        return tuple(values[i] for i in self.frame_axes)

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of the data set in the order scan, frame."""
        return (*self.nav(range(len(self.dataset.shape))), *self.frame_axes)

    def in_order(self, shape: Sequence[int]) -> bool:
        """Whether a piece of this shape has its pixels in the order of the output."""
        long = [i for i in self.axes if shape[i] > 1]
        return long == sorted(long) and self.out.flags.c_contiguous

    # ------------------------------------------------------------------ past the library

    def chunks(self, positions: Ints, at: Ints) -> None:
        """Read frames at flat scan positions, every chunk once; they go to ``out[at]``."""
        dataset, out, stored = self.dataset, self.out, self.dataset.stored
        assert dataset.chunks is not None
        box, tile_shape = self.nav(dataset.chunks), self.sig(dataset.chunks)
        runs, bounds = _runs(positions, at, self.nav(dataset.shape), box)
        tiles = np.array(
            list(
                product(
                    *(
                        range(s.start // c, -(-s.stop // c))
                        for s, c in zip(self.region, tile_shape, strict=True)
                    )
                )
            ),
            np.int64,
        )
        # A job is one chunk: the tile job % len(tiles) of the frames in a box of the scan.
        chunks = self._numbers(runs.box[bounds[:-1]], tiles)
        starts, lengths, masks = chunk_index(dataset).find(chunks)

        # which chunks are nothing but whole frames in the order of the output
        whole = np.zeros(len(chunks), bool)
        if (
            all(s == slice(0, n) for s, n in zip(self.region, tile_shape, strict=True))
            and tile_shape == self.sig(dataset.shape)
            and out.dtype in (stored, stored.newbyteorder("="))
            and self.in_order(dataset.chunks)
        ):
            alone = np.diff(bounds) == 1
            whole[alone] = runs.count[bounds[:-1][alone]] == math.prod(box)
        frame_bytes = math.prod(tile_shape) * stored.itemsize
        swap = out.dtype != stored and out.dtype == stored.newbyteorder("=")

        copy_in = self._tile_copier(runs, bounds, tiles)

        def put(values: npt.NDArray[Any], job: int) -> None:
            """Copy the wanted part of a decoded chunk to its frames."""
            group, tile = divmod(job, len(tiles))
            to, part = [], []
            for s, c, i in zip(self.region, tile_shape, tiles[tile].tolist(), strict=True):
                low, high = max(s.start, i * c), min(s.stop, (i + 1) * c)
                to.append(slice(low - s.start, high - s.start))
                part.append(slice(low - i * c, high - i * c))
            source = values.reshape(dataset.chunks).transpose(self.axes).reshape(-1, *tile_shape)
            _place(out, runs[bounds[group] : bounds[group + 1]], source, tuple(to), tuple(part))

        aside = starts < 0
        for job in np.flatnonzero(aside).tolist():
            unset = np.frombuffer(dataset.unset, stored)
            put(np.broadcast_to(unset, math.prod(dataset.chunks)), job)
        # Filters may have been left out, without a note, in chunks that reach over the edge.
        unclear = ~aside & (masks == 0) & (lengths == dataset.chunk_bytes)
        if dataset.filters and unclear.any():
            unclear &= dataset.at_edge(chunks)
            for job in np.flatnonzero(unclear).tolist():
                put(read_chunk(dataset, int(chunks[job])), job)
            aside |= unclear

        jobs = np.flatnonzero(~aside)
        jobs = jobs[np.argsort(starts[jobs], kind="stable")]
        for batch in _batches(jobs, starts, lengths, masks, whole, dataset.chunk_bytes):
            first, last = int(starts[batch[0]]), batch[-1]
            nbytes = int(starts[last] + lengths[last]) - first
            raw = backends.read(dataset.file, first, nbytes, self.backend)
            in_place = bool(whole[last])
            if in_place:
                frames = runs.at[bounds[batch]]
                target, places = out.reshape(-1).view(np.uint8), frames * frame_bytes
            else:
                places = np.arange(len(batch)) * dataset.chunk_bytes
                target = np.empty(len(batch) * dataset.chunk_bytes, np.uint8)
            local = starts[batch] - first
            bad = _decode(dataset, int(masks[last]), raw, local, lengths[batch], target, places)
            if bad >= 0:
                raise damaged_chunk(dataset, int(chunks[batch[bad]]), int(starts[batch[bad]]))
            if in_place:
                for i in frames.tolist() if swap else ():
                    _swap(out[i : i + math.prod(box)])
                continue
            values = target.view(stored)
            if swap:
                values = _swap(values).view(out.dtype)
            if copy_in is not None:
                copy_in(target, batch)
                continue
            for job, chunk in zip(batch.tolist(), values.reshape(len(batch), -1), strict=True):
                put(chunk, job)

    def _tile_copier(
        self, runs: _Runs, bounds: Ints, tiles: Ints
    ) -> Callable[[Bytes, Ints], None] | None:
        """Return a compiled loop that copies decoded chunks to their frames, None if there is none.

        It gets the chunks, and the numbers of the jobs they belong to.
        """
        dataset, out = self.dataset, self.out
        assert dataset.chunks is not None
        shape, item = self.sig(dataset.chunks), out.itemsize
        frames = out[:, np.newaxis] if out.ndim == 2 else out
        long = [i for i in self.axes if dataset.chunks[i] > 1]
        if (
            len(shape) > 2
            or out.dtype not in (dataset.stored, dataset.stored.newbyteorder("="))
            or long != sorted(long)
            or frames.strides[2] != item
            or min(frames.strides) < 0
        ):
            return None
        corner = tiles * shape
        starts, stops = np.array([(s.start, s.stop) for s in self.region]).T
        low, high = np.maximum(corner, starts), np.minimum(corner + shape, stops)
        inside, to, size = low - corner, low - starts, high - low
        if len(shape) == 1:
            inside, to, size = (np.pad(a, ((0, 0), (1, 0))) for a in (inside, to, size))
            size[:, 0] = 1
        row, step = shape[-1] * item, frames.strides[1]
        table = np.stack(
            [
                inside[:, 0] * row + inside[:, 1] * item,
                to[:, 0] * step + to[:, 1] * item,
                size[:, 0],
                size[:, 1] * item,
                size[:, 0],
            ],
            axis=1,
        )
        length = int(sum((n - 1) * k for n, k in zip(frames.shape, frames.strides, strict=True)))
        memory = np.lib.stride_tricks.as_strided(frames.view(np.uint8), (length + item,), (1,))

        def copy_in(chunks: Bytes, jobs: Ints) -> None:
            from rsciio_tem.kernels.unpack import place_tiles

            group, tile = np.divmod(jobs, len(tiles))
            rows = table[tile]
            rows[:, 4] = group
            place_tiles(
                chunks,
                (dataset.chunk_bytes, math.prod(shape) * item, row),
                memory,
                (frames.strides[0], step),
                rows,
                bounds,
                (runs.local, runs.at, runs.count),
            )

        return copy_in

    def _numbers(self, boxes: Ints, tiles: Ints) -> Ints:
        """Return the numbers of the chunks that hold the tiles of boxes of the scan."""
        grid = self.dataset.grid
        strides = [math.prod(grid[i + 1 :]) for i in range(len(grid))]
        first = np.zeros_like(boxes)
        for n, stride in zip(reversed(self.nav(grid)), reversed(self.nav(strides)), strict=True):
            boxes, cell = np.divmod(boxes, n)
            first += cell * stride
        numbers: Ints = first[:, np.newaxis] + tiles @ np.array(self.sig(strides), np.int64)
        return numbers.reshape(-1)

    # ------------------------------------------------------------------ through the library

    def boxes(self, positions: Ints, at: Ints) -> None:
        """Read frames at flat scan positions through the library; they go to ``out[at]``."""
        dataset, out = self.dataset, self.out
        nav_shape, native = self.nav(dataset.shape), dataset.stored.newbyteorder("=")
        box = list(self.nav(dataset.chunks) if dataset.chunks else (1,) * len(nav_shape))
        nbytes = math.prod(out.shape[1:]) * native.itemsize
        for i in reversed(range(len(box))):
            more = max(1, _LIBRARY_BLOCK // (nbytes * math.prod(box)))
            box[i] = min(nav_shape[i], box[i] * more)
            if box[i] < nav_shape[i]:
                break
        runs, bounds = _runs(positions, at, nav_shape, tuple(box))
        with hdf5_index.library(dataset) as source:
            for a, b in pairwise(bounds.tolist()):
                self._box(source, runs[a:b], tuple(box))

    def _box(self, source: Any, runs: _Runs, box: tuple[int, ...]) -> None:
        """Read the frames in one box of the scan."""
        dataset, out, axes = self.dataset, self.out, self.axes
        nav_shape, native = self.nav(dataset.shape), dataset.stored.newbyteorder("=")
        places, targets = runs.frames()
        # the smallest part of the box that has all the wanted frames
        number = int(runs.box[0])
        part: list[slice] = [slice(0)] * len(dataset.shape)
        inside, sizes = [], []
        for axis, n, size in zip(axes[: len(box)][::-1], nav_shape[::-1], box[::-1], strict=True):
            number, cell = divmod(number, -(-n // size))
            places, index = np.divmod(places, size)
            low, high = int(index.min()), int(index.max()) + 1
            part[axis] = slice(cell * size + low, cell * size + high)
            inside.append(index - low)
            sizes.append(high - low)
        for axis, s in zip(self.frame_axes, self.region, strict=True):
            part[axis] = s
        shape = [s.stop - s.start for s in part]
        count, first = math.prod(sizes), int(targets[0])
        alone = len(runs.at) == 1 and len(targets) == count
        if alone and out.dtype == native and self.in_order(shape):
            target = out[first : first + count].reshape(shape)
            read_slices(source, dataset, tuple(part), target)
            return
        values = np.empty(shape, native)
        read_slices(source, dataset, tuple(part), values)
        values = values.transpose(axes).reshape(count, *out.shape[1:])
        if alone:
            out[first : first + count] = values
            return
        picked = np.zeros_like(targets)
        for index, size in zip(inside[::-1], sizes[::-1], strict=True):
            picked = picked * size + index
        out[targets] = values[picked]


def _batches(
    jobs: Ints,
    starts: Ints,
    lengths: Ints,
    masks: Ints,
    whole: npt.NDArray[np.bool_],
    chunk_bytes: int,
) -> Iterator[Ints]:
    """Group chunks that are fetched with one read and decoded in the same way.

    What is fetched, and what becomes of it, should stay in a core's cache.
    """
    if not len(jobs):
        return
    start, stop = starts[jobs], starts[jobs] + lengths[jobs]
    gap = start[1:] - stop[:-1]
    cut = (gap < 0) | (gap > _GAP) | (np.diff(masks[jobs]) != 0) | (np.diff(whole[jobs]))
    most = max(1, backends.BLOCK // max(1, chunk_bytes))
    bounds = [0, *(np.flatnonzero(cut) + 1).tolist(), len(jobs)]
    for a, b in pairwise(bounds):
        while a < b:
            fits = int(np.searchsorted(stop[a:b], start[a] + backends.BLOCK, "right"))
            n = max(1, min(most, fits))
            yield jobs[a : min(b, a + n)]
            a += n


def _swap(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Swap the bytes of values where they are; numpy's ``byteswap`` takes several times as long."""
    np.copyto(values, values.view(values.dtype.newbyteorder()))
    return values
