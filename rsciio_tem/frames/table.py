# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the frames of a recording are.

`Frames` is what everything else works with: a sequence of equally shaped frames that can be
indexed with a slice or an integer array (-1 = a blank) without touching a pixel, and loaded into
an array. `FrameTable` is the kind for frames that lie in files at computable places.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Unsupported
from rsciio_tem.frames.pixels import Pixels, Region, full_region
from rsciio_tem.frames.protocol import Frames, Order, OrderedFrames, ReadAs, runs_in
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import Backend, DataFile

__all__ = ["RUN", "FrameTable", "Labels", "Span", "Walk", "runs_of"]

#: Frames at evenly spaced places of one file. File header, frame header, frame footer and gaps are
#: nothing but `start` and `stride`.
RUN = np.dtype(
    [
        ("file", "<i8"),  # index into the files
        ("start", "<i8"),  # byte where the first frame's pixels begin
        ("stride", "<i8"),  # bytes from one frame to the next
        ("count", "<i8"),  # number of frames
    ]
)


#: Bytes from a label to the pixels that are wanted up to which both are read at once.
_NEAR = 64 << 10


@dataclass(frozen=True)
class Labels:
    """Numbers or places that are written ahead of frames, and are looked at with their pixels.

    A recording that was opened after a look at some of its headers may be irregular between these.
    Nothing is more silent than a frame at the wrong place, so whoever reads pixels looks at the
    others.

    Parameters
    ----------
    before : int
        Bytes from a label to the first pixel of its frame.
    size : int
        Bytes of a label.
    check : callable
        Called with the index of a file, the bytes where labels begin, ascending, and the labels,
        shape (frames, size). Raises FormatError if they are not those that were expected there.
        Pickles small.
    """

    before: int
    size: int
    check: Callable[[int, npt.NDArray[np.int64], npt.NDArray[np.uint8]], None]

    def look(
        self, file: int, start: int, stride: int, raw: npt.NDArray[np.uint8] | memoryview
    ) -> None:
        """Check the labels at ``start + i * stride``, which are the rows of `raw`."""
        labels = np.asarray(raw)[:, : self.size]
        self.check(file, start + stride * np.arange(len(labels), dtype=np.int64), labels)


@dataclass(frozen=True, slots=True)
class Span:
    """Frames that are read together: targets first..first+count*step of the output."""

    first: int  # index into the output of the frame that lies first in the file
    step: int  # +1, or -1 where the output runs against the file
    file: int  # -1 for blanks
    start: int
    stride: int
    count: int


def _target(out: npt.NDArray[Any], span: Span, first: int, count: int) -> npt.NDArray[Any]:
    """Return where some of the frames of a span go, in the order of the file."""
    at = span.first + span.step * first
    return out[at : at + count] if span.step > 0 else out[at - count + 1 : at + 1][::-1]


#: So much of a file is asked for at a time where it is in memory: blocks are small, asking is slow.
_WINDOW = 16 << 20


@dataclass
class Walk:
    """Goes through frames block after block, each valid until the next one.

    A block is where the system keeps the bytes of the file, if it can be; others are loaded into
    one buffer, which stays in the processor's caches.

    Parameters
    ----------
    frames : Frames
        The frames.
    step : int
        Frames of a block.
    region : Region, optional
        Part of each frame.
    pages : bool
        Whether a block may be pages of a file, which can become shorter after the block was read.
    native : bool
        Whether blocks must be numbers of this machine: pages have the byte order of the file, and
        begin at any byte.
    once : bool
        Whether pixels are looked at once: pages then come in blocks as large as they are asked for.
    """

    frames: Frames
    step: int
    region: Region | None = None
    pages: bool = True
    native: bool = False
    once: bool = False
    buffer: npt.NDArray[Any] | None = field(default=None, init=False)

    def __iter__(self) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield the number of the first frame of each block, and the block.

        Its shape is (frames, pixels of a frame).
        """
        frames, window = self.frames, self._window()
        for first in range(0, len(frames), window):
            part = frames[first : first + window]
            with self._pages(part) as rows:
                if rows is not None:
                    step = len(rows) if self.once else self.step
                    for at in range(0, len(rows), step):
                        yield first + at, rows[at : at + step]
                    continue
            for at in range(0, len(part), self.step):
                block = part[at : at + self.step]
                with self._pages(block) if len(block) < len(part) else nullcontext() as rows:
                    yield first + at, self._loaded(block) if rows is None else rows

    def _window(self) -> int:
        """Return how many frames the system is asked for at a time: those of some blocks."""
        if not self._takes_pages():
            return self.step
        nbytes = max(1, self.step * math.prod(self.frames.frame_shape) * self.frames.dtype.itemsize)
        return self.step * max(1, _WINDOW // nbytes)

    def _takes_pages(self) -> bool:
        frames = self.frames
        if not self.pages or self.region is not None or type(frames) is not FrameTable:
            return False
        return frames.pixels.stored.isnative or not self.native

    def _pages(self, part: Frames) -> AbstractContextManager[npt.NDArray[Any] | None]:
        if isinstance(part, FrameTable) and self._takes_pages():
            return part.in_place(aligned=self.native)
        return nullcontext()

    def _loaded(self, part: Frames) -> npt.NDArray[Any]:
        if self.buffer is None:
            region = self.region or full_region(part.frame_shape)
            shape = (s.stop - s.start for s in region)
            self.buffer = np.empty((len(part), *shape), part.dtype)
        block = self.buffer[: len(part)]
        part.load(block, self.region)
        return block.reshape(len(block), -1)

    def forget(self) -> None:
        """Leave the last block to whoever keeps it: the next one goes to another place."""
        self.buffer = None


def runs_of(rows: Sequence[tuple[int, int, int, int]]) -> npt.NDArray[np.void]:
    """Make a run table from (file, start, stride, count) rows."""
    return np.array(list(rows), dtype=RUN)


@dataclass(frozen=True, eq=False)
class FrameTable(OrderedFrames):
    """Frames in files, at places given by runs.

    Parameters
    ----------
    files : tuple of DataFile
        The files that hold pixels.
    runs : structured array of `RUN`
        Where they lie; the runs follow each other in acquisition order.
    pixels : Pixels
        How their bytes become values.
    order : ndarray of int64, optional
        Frame i of this table is frame ``order[i]`` of the runs; -1 is a blank.
    fill : float
        Value of blanks.
    backend : str
        How bytes are fetched, see `rsciio_tem.storage.backends`.
    labels : Labels, optional
        What is ahead of frames and was not looked at yet.
    """

    files: tuple[DataFile, ...]
    runs: npt.NDArray[np.void]
    pixels: Pixels
    order: Order = None
    fill: float = 0
    backend: Backend = "auto"
    labels: Labels | None = None
    _ends: npt.NDArray[np.int64] = field(init=False, repr=False)
    _derived = ("_ends",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ends", np.cumsum(self.runs["count"], dtype=np.int64))

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a frame."""
        return self.pixels.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return self.pixels.dtype

    @property
    def upside_down(self) -> bool | None:
        """Whether the first stored row is shown last."""
        return self.pixels.flip_y

    @property
    def stored_count(self) -> int:
        """Number of frames in the files, whatever the order picks from them."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def _cut(self, start: int, stop: int) -> Self:
        if start == 0 and stop == self.stored_count:
            return self
        return replace(self, runs=self._runs_of(start, stop))

    def _runs_of(self, start: int, stop: int) -> npt.NDArray[np.void]:
        """Return the runs of stored frames start..stop."""
        begins = self._ends - self.runs["count"]
        first = int(np.searchsorted(self._ends, start, "right"))
        last = int(np.searchsorted(begins, stop, "left"))
        runs = self.runs[first:last].copy()
        if len(runs):
            skip = start - int(begins[first])
            runs["count"][-1] -= int(self._ends[last - 1]) - stop
            runs["start"][0] += skip * int(runs["stride"][0])
            runs["count"][0] -= skip
        return runs[runs["count"] > 0]

    def part(self, skip: int, pixels: Pixels) -> Self:
        """Return a part of each frame, which begins so many bytes further on."""
        runs, labels = self.runs.copy(), self.labels
        runs["start"] += skip
        if labels is not None:
            labels = replace(labels, before=labels.before + skip)
        return replace(self, runs=runs, pixels=pixels, labels=labels)

    def _read_as(self, how: ReadAs) -> Self:
        pixels = self.pixels
        path = self.files[0].path if self.files else ""
        shape = how.reshaped(pixels.shape, path)
        if shape != pixels.shape:
            if not pixels.in_rows:
                raise Unsupported(
                    path,
                    f"frames of {pixels.shape} pixels are stored in tiles, and keep their shape.",
                )
            pixels = replace(pixels, shape=shape)
        if how.flip_y is not None and how.flip_y != pixels.flip_y:
            pixels = replace(pixels, flip_y=bool(how.flip_y))
        if not how.native:
            pixels = replace(pixels, native=False)
        if pixels is self.pixels and (how.backend, how.filled(self.fill)) == (
            self.backend,
            self.fill,
        ):
            return self
        return replace(self, pixels=pixels, backend=how.backend, fill=how.filled(self.fill))

    # ------------------------------------------------------------------ reading

    def spans(self) -> Iterator[Span]:
        """Group the frames into runs that lie evenly in one file."""
        if self.order is None:
            first = 0
            for file, start, stride, count in self.runs.tolist():
                yield Span(first, 1, file, start, stride, count)
                first += count
            return
        for at, step, low, count in runs_in(self.order):
            if low < 0:
                yield Span(at, 1, -1, 0, 0, count)
                continue
            for file, start, stride, n in self._runs_of(low, low + count).tolist():
                yield Span(at, step, file, start, stride, n)
                at += step * n

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i.

        Parameters
        ----------
        out : ndarray, shape (len(self), *shape of region)
            Cast to its dtype if that differs from the pixels'.
        region : Region, optional
            One slice per frame axis; only the bytes of its rows are read.

        Raises
        ------
        Truncated, FormatError
            The file ends early, changed since it was described, or has other labels than expected.
        """
        pixels = self.pixels
        region = region or full_region(pixels.shape)
        expected = (len(self), *(s.stop - s.start for s in region))
        if out.shape != expected:
            raise ValueError(f"out has shape {out.shape}, but {expected} is needed")
        if not math.prod(out.shape):
            return
        skip, nbytes = pixels.byte_range(region)
        alike = pixels.alike(out, region)
        for span in self.spans():
            if span.file < 0:
                out[span.first : span.first + span.count] = self.fill
                continue
            file = self.files[span.file]
            on_disk = file.origin is None
            # how far ahead of the pixels reading begins
            ahead = 0 if self.labels is None else self.labels.before + skip
            if ahead and on_disk and self._reads_rows(span, nbytes, alike, out):
                self._look(span)
                continue
            if ahead == 0 and self._reads_rows(span, nbytes, alike, out):
                continue
            if ahead > _NEAR and on_disk:
                self._look(span)
                ahead = 0
            for i, raw in self._read(span, skip - ahead, ahead + nbytes):
                if self.labels is not None and ahead:
                    start = span.start + skip - ahead + i * span.stride
                    self.labels.look(span.file, start, span.stride, raw)
                pixels.decode(raw[:, ahead:], _target(out, span, i, len(raw)), region)

    def _read(
        self, span: Span, skip: int, nbytes: int
    ) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """Yield so many bytes of the frames of a span, some frames at a time.

        They are valid until the next ones; with them comes the number of the first frame.
        """
        file, begin, stride = self.files[span.file], span.start + skip, span.stride
        on_disk = file.origin is None
        # Bytes between two wanted pieces are read along unless they are many.
        apart = not on_disk or stride - nbytes > 64 << 10
        each = apart and (not on_disk or self.backend in ("auto", "buffered"))
        block = backends.BLOCK if on_disk else backends.REMOTE_BLOCK
        step = max(1, (block - nbytes) // max(1, stride) + 1)
        if apart:
            step = max(1, block // max(1, nbytes)) if each else 1
        for i in range(0, span.count, step):
            n, start = min(step, span.count - i), begin + i * stride
            if each:
                yield i, backends.read_spread(file, start, stride, n, nbytes)
            else:
                read = backends.read(file, start, (n - 1) * stride + nbytes, self.backend)
                yield i, np.ndarray((n, nbytes), np.uint8, read, 0, (stride, 1))

    def _reads_rows(self, span: Span, nbytes: int, alike: bool, out: npt.NDArray[Any]) -> bool:
        """Read the pixels of a span straight to where they belong, if they are stored so."""
        if not alike or span.step < 0:
            return False
        file = self.files[span.file]
        target = out[span.first : span.first + span.count]
        if span.stride == nbytes or span.count == 1:
            raw = target.reshape(-1).view(np.uint8)
            backends.read(file, span.start, len(raw), self.backend, raw)
            return True
        if not span.stride > nbytes >= 4096 or self.backend not in ("auto", "buffered"):
            return False
        rows = target.reshape(span.count, -1).view(np.uint8)
        return backends.read_rows(file, span.start, span.stride, rows)

    def look(self) -> None:
        """Look at the labels of all frames, for whoever takes their bytes from elsewhere.

        Raises
        ------
        FormatError
            A frame has another label than expected.
        """
        for span in self.spans() if self.labels is not None else ():
            if span.file >= 0:
                self._look(span)

    def _look(self, span: Span) -> None:
        """Read the labels of a span apart from its pixels."""
        assert self.labels is not None
        raw = np.zeros((span.count, self.labels.size), np.uint8)
        start = span.start - self.labels.before
        backends.read_pieces(self.files[span.file], start, span.stride, raw)
        self.labels.look(span.file, start, span.stride, raw)

    @contextmanager
    def in_place(self, aligned: bool = True) -> Iterator[npt.NDArray[Any] | None]:
        """Give the frames where their bytes are in memory, see `backends.in_place`; or None.

        Parameters
        ----------
        aligned : bool
            Only if numbers begin at multiples of their size: for numpy others are slow. Compiled
            loops fetch many at once, which begin anywhere.

        Returns
        -------
        ndarray, shape (len(self), pixels of a frame), or None
            In the file's byte order, without a copy: pixels follow each other, frames lie apart.
        """
        pixels, size = self.pixels, self.pixels.stored.itemsize
        spans = list(islice(self.spans(), 2)) if pixels.plain and not pixels.flip_y else []
        if len(spans) != 1 or spans[0].file < 0 or spans[0].step < 0:
            yield None
            return
        span, count = spans[0], math.prod(pixels.shape)
        if span.stride % size or not count or (aligned and span.start % size):
            yield None
            return
        ahead = 0 if self.labels is None else self.labels.before
        start, length = span.start - ahead, ahead + (span.count - 1) * span.stride + pixels.nbytes
        with backends.in_place(self.files[span.file], start, length, self.backend) as raw:
            if raw is None:
                yield None
                return
            if self.labels is not None:
                shape = (span.count, self.labels.size)
                labels = np.lib.stride_tricks.as_strided(raw, shape, (span.stride, 1))
                self.labels.look(span.file, start, span.stride, labels)
            values = raw[ahead : ahead + pixels.nbytes].view(pixels.stored)
            yield np.lib.stride_tricks.as_strided(values, (span.count, count), (span.stride, size))

    def mapped(self, mode: str = "r") -> npt.NDArray[Any] | None:
        """View the frames in place, or None where their bytes are not plain evenly spaced pixels.

        Labels are looked at once, now.

        Returns
        -------
        ndarray, shape (len(self), *frame_shape), or None
            In the file's byte order, without a copy.
        """
        return self._viewed(lambda file: backends.map_file(file, mode), mode == "c")

    def viewed(self) -> npt.NDArray[Any] | None:
        """View the frames in this process' mapping of their file, if that is how they are read.

        Returns
        -------
        ndarray, shape (len(self), *frame_shape), or None
            Read-only, in the machine's byte order.
        """
        if self.backend != "mmap" or not self.pixels.stored.isnative:
            return None
        return self._viewed(backends.mapping, False)

    def _viewed(
        self, mapping: Callable[[DataFile], npt.NDArray[np.uint8]], writeable: bool
    ) -> npt.NDArray[Any] | None:
        spans = list(self.spans()) if len(self.runs) <= 1 else []
        if len(spans) != 1 or spans[0].file < 0 or not self.pixels.plain:
            return None
        self.look()
        span = spans[0]
        whole = mapping(self.files[span.file])
        end = span.start + (span.count - 1) * span.stride + self.pixels.nbytes
        raw = np.lib.stride_tricks.as_strided(
            whole[span.start : end],
            (span.count, self.pixels.nbytes),
            (span.stride, 1),
            writeable=writeable,
        )
        return self.pixels.view(raw)[:: span.step]
