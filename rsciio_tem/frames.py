# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the frames of a recording are.

`Frames` is what everything else works with: a sequence of equally shaped frames that can be
indexed with a slice or an integer array (-1 = a blank) without touching a pixel, and loaded into
an array. `FrameTable` is the kind for frames that lie in files at computable places.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from rsciio_tem import backends
from rsciio_tem.backends import Backend, DataFile
from rsciio_tem.errors import Unsupported
from rsciio_tem.pixels import Pixels, Region, full_region

__all__ = [
    "RUN",
    "ChunkHint",
    "Floats",
    "FrameIndex",
    "FrameTable",
    "Frames",
    "Grey",
    "Mosaic",
    "Ordered",
    "Span",
    "Transformed",
    "Wrapped",
    "blanks_of",
    "chunk_hint",
    "long_integers",
    "pieces",
    "runs_of",
    "stretches",
]

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

#: Selects frames: a slice, or integers with -1 for a blank.
FrameIndex = slice | npt.NDArray[np.int64]


@dataclass(frozen=True)
class ChunkHint:
    """Which pixels are stored in blocks that are best read as a whole.

    Frames of which this is true have it as an attribute ``chunk_hint`` (see `chunk_hint`). Blocks
    begin with the first frame and the first pixel, and fill the scan and the frames side by side.

    Parameters
    ----------
    nav_shape : tuple of int
        Shape of the scan as it is stored; its product is the number of frames.
    nav : tuple of int
        Size of a block along each of these axes.
    sig : tuple of int
        Size of a block along each axis of a frame.
    sig_order : tuple of int
        Axes of a frame in the order in which blocks follow each other, slowest first; empty for
        that of the axes.
    """

    nav_shape: tuple[int, ...]
    nav: tuple[int, ...]
    sig: tuple[int, ...]
    sig_order: tuple[int, ...] = ()

    @classmethod
    def of_pixels(cls, count: int, ndim: int, sig_order: tuple[int, ...] = ()) -> ChunkHint:
        """Return the hint for frames stored pixel by pixel: each with its values in all frames."""
        return cls((count,), (count,), (1,) * ndim, sig_order)

    @property
    def run(self) -> int:
        """Number of frames in a row that share no block with others, and so do the next ones."""
        for i, (n, k) in enumerate(zip(self.nav_shape, self.nav, strict=True)):
            if k > 1:
                return min(n, k) * math.prod(self.nav_shape[i + 1 :])
        return 1

    def flat(self, count: int) -> ChunkHint:
        """Return the hint for `count` of the frames in some other order: only the run is left."""
        return replace(self, nav_shape=(count,), nav=(max(1, min(count, self.run)),))

    def nav_block(self, nav_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the size of a block for a scan of another shape."""
        if nav_shape == self.nav_shape:
            return self.nav
        left, block = self.run, []
        for n in reversed(nav_shape):
            block.append(max(1, min(n, left)))
            left = -(-left // max(1, n))
        return tuple(reversed(block))

    def grown(self, frame_shape: tuple[int, ...], most: int) -> tuple[int, ...]:
        """Return the shape of a part of a frame, of whole blocks but at most so many of them."""
        shape = list(self.sig)
        for axis in reversed(self.sig_order or range(len(shape))):
            blocks = -(-frame_shape[axis] // self.sig[axis])
            k = max(1, min(blocks, most))
            k = -(-blocks // -(-blocks // k))  # equal pieces
            shape[axis] = min(frame_shape[axis], k * self.sig[axis])
            most //= k
        return tuple(shape)


def chunk_hint(frames: object) -> ChunkHint | None:
    """Return which pixels of frames are best read together, None where it does not matter."""
    return getattr(frames, "chunk_hint", None)


def pieces(frames: Frames, nbytes: int) -> list[tuple[slice, Region | None]]:
    """Cut frames into pieces of about `nbytes` that have no stored block in common.

    Returns
    -------
    list of (slice, Region or None)
        Which frames, and which part of them; None if all pieces have whole frames.
    """
    count, shape = len(frames), frames.frame_shape
    hint = chunk_hint(frames)
    frame_bytes = max(1, math.prod(shape) * frames.dtype.itemsize)
    run = 1 if hint is None else max(1, hint.run)
    if hint is None or run * frame_bytes <= 4 * nbytes or hint.sig == shape:
        step = max(1, nbytes // (frame_bytes * run)) * run
        return [(slice(i, min(i + step, count)), None) for i in range(0, count, step)]
    block = min(run, count) * math.prod(hint.sig) * frames.dtype.itemsize
    part = hint.grown(shape, max(1, nbytes // block))
    corners = product(*(range(0, n, k) for n, k in zip(shape, part, strict=True)))
    regions = [
        tuple(slice(i, min(i + k, n)) for i, k, n in zip(corner, part, shape, strict=True))
        for corner in corners
    ]
    return [
        (slice(i, min(i + run, count)), region) for i in range(0, count, run) for region in regions
    ]


@runtime_checkable
class Frames(Protocol):
    """A sequence of frames of one shape and type."""

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a frame."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        ...

    @property
    def blanks(self) -> npt.NDArray[np.bool_] | None:
        """Which frames are blanks, None if none is."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: FrameIndex, /) -> Frames: ...

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        ...

    def configured(
        self,
        *,
        backend: Backend = "auto",
        fill: float | None = None,
        flip_y: bool | None = None,
        native: bool = True,
        frame_shape: tuple[int, ...] | None = None,
    ) -> Frames:
        """Return the same frames, read in another way.

        Parameters
        ----------
        backend : str
            How bytes are fetched, see `rsciio_tem.backends`.
        fill : float, optional
            Value of blanks.
        flip_y : bool, optional
            Whether the first stored row is the bottom one.
        native : bool
            Byte order of the machine, or of the file.
        frame_shape : tuple of int, optional
            Reshape to the same number of pixels.

        Raises
        ------
        Unsupported
            Frames of this kind cannot be read so.
        """
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """Frames that are read together: targets first..first+count*step of the output."""

    first: int  # index into the output of the frame that lies first in the file
    step: int  # +1, or -1 where the output runs against the file
    file: int  # -1 for blanks
    start: int
    stride: int
    count: int


def runs_of(rows: Sequence[tuple[int, int, int, int]]) -> npt.NDArray[np.void]:
    """Make a run table from (file, start, stride, count) rows."""
    return np.array(list(rows), dtype=RUN)


def stretches(order: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, int, int]]:
    """Group an order into pieces that run through stored frames one by one, up or down.

    Yields (at, step, low, count): the stored frames low..low+count belong to the positions at,
    at+step, …; low is -1 for blanks.
    """
    if not len(order):
        return
    steps = np.diff(order)
    # a stretch is a maximal piece with constant step +1, -1, or of blanks (0)
    blank = order < 0
    joins = (np.abs(steps) == 1) & ~blank[1:] & ~blank[:-1] | (blank[1:] & blank[:-1])
    if len(steps) > 1:
        # do not let a stretch change its direction
        joins[1:] &= ~joins[:-1] | (steps[1:] == steps[:-1])
    bounds = np.flatnonzero(~joins) + 1
    for a, b in zip([0, *bounds.tolist()], [*bounds.tolist(), len(order)], strict=True):
        if order[a] < 0:
            yield a, 1, -1, b - a
        elif order[b - 1] >= order[a]:
            yield a, 1, int(order[a]), b - a
        else:
            yield b - 1, -1, int(order[b - 1]), b - a


def blanks_of(order: npt.NDArray[np.int64] | None) -> npt.NDArray[np.bool_] | None:
    """Return where an order has no frame, None if it has one everywhere."""
    if order is None or not (order < 0).any():
        return None
    return order < 0


class _Steps(NamedTuple):
    """An order as differences, each with the number of times that it follows itself."""

    first: int
    steps: npt.NDArray[Any]
    counts: npt.NDArray[np.int64] | int  # 1 where they differ all the time

    @classmethod
    def of(cls, order: npt.NDArray[np.int64]) -> _Steps:
        steps = np.diff(order)
        # of a few bytes, if they are small; a negative number asks for a type with a sign
        steps = steps.astype(np.min_scalar_type(-1 - max(int(steps.max()), -int(steps.min()))))
        at = np.concatenate([[0], np.flatnonzero(steps[1:] != steps[:-1]) + 1])
        if 4 * len(at) > len(steps):
            return cls(int(order[0]), steps, 1)
        return cls(int(order[0]), steps[at], np.diff(at, append=len(steps)))

    def order(self) -> npt.NDArray[np.int64]:
        steps = np.repeat(self.steps, self.counts)
        order = np.empty(1 + len(steps), np.int64)
        order[0], order[1:] = self.first, steps
        return np.cumsum(order, out=order)


class Ordered:
    """Base of frames with an attribute ``order``.

    Each task of a cluster gets a pickle, and the order of a scan has 8 bytes for each frame. The
    usual ones (lines back and forth, frames left out at their ends) are a few steps per line.
    """

    #: Attributes that ``__post_init__`` finds again.
    _derived: ClassVar[tuple[str, ...]] = ()

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name not in self._derived}
        order = state["order"]
        if isinstance(order, np.ndarray) and len(order) > 256:
            state["order"] = _Steps.of(order)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if isinstance(state["order"], _Steps):
            vars(self)["order"] = state["order"].order()
        if self._derived:
            self.__post_init__()

    def __post_init__(self) -> None:
        """Find what is derived from the fields."""


@dataclass(frozen=True, eq=False)
class FrameTable(Ordered):
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
        How bytes are fetched, see `rsciio_tem.backends`.
    """

    files: tuple[DataFile, ...]
    runs: npt.NDArray[np.void]
    pixels: Pixels
    order: npt.NDArray[np.int64] | None = None
    fill: float = 0
    backend: Backend = "auto"
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
    def blanks(self) -> npt.NDArray[np.bool_] | None:
        """Which frames are blanks, None if none is."""
        return blanks_of(self.order)

    @property
    def stored(self) -> int:
        """Number of frames in the files, whatever the order picks from them."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def __len__(self) -> int:
        return self.stored if self.order is None else len(self.order)

    def __getitem__(self, index: FrameIndex, /) -> FrameTable:
        if isinstance(index, slice):
            if self.order is not None:
                return replace(self, order=self.order[index])
            start, stop, step = index.indices(len(self))
            if step == 1:
                return replace(self, runs=self._cut(start, max(start, stop)))
            return replace(self, order=np.arange(start, stop, step, dtype=np.int64))
        index = np.asarray(index, dtype=np.int64)
        if index.ndim != 1 or (len(index) and (index.min() < -1 or index.max() >= len(self))):
            raise IndexError(f"a frame index must be 1-D with values from -1 to {len(self) - 1}")
        if self.order is None:
            return replace(self, order=index)
        return replace(self, order=np.where(index < 0, -1, self.order[index]))

    def _cut(self, start: int, stop: int) -> npt.NDArray[np.void]:
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

    def configured(
        self,
        *,
        backend: Backend = "auto",
        fill: float | None = None,
        flip_y: bool | None = None,
        native: bool = True,
        frame_shape: tuple[int, ...] | None = None,
    ) -> FrameTable:
        """Return the same frames, read in another way; see `Frames`."""
        pixels = self.pixels
        if frame_shape is not None and frame_shape != pixels.shape:
            if math.prod(frame_shape) != math.prod(pixels.shape) or not pixels.in_rows:
                raise Unsupported(
                    self.files[0].path,
                    f"frames have {pixels.shape} pixels, which is not sig_shape={frame_shape}.",
                    "Only a reshape to the same number of pixels is possible.",
                )
            pixels = replace(pixels, shape=frame_shape)
        if flip_y is not None:
            pixels = replace(pixels, flip_y=bool(flip_y))
        if not native:
            pixels = replace(pixels, native=False)
        return replace(
            self, pixels=pixels, backend=backend, fill=self.fill if fill is None else fill
        )

    # ------------------------------------------------------------------ reading

    def spans(self) -> Iterator[Span]:
        """Group the frames into stretches that lie evenly in one file."""
        if self.order is None:
            first = 0
            for file, start, stride, count in self.runs.tolist():
                yield Span(first, 1, file, start, stride, count)
                first += count
            return
        for at, step, low, count in stretches(self.order):
            if low < 0:
                yield Span(at, 1, -1, 0, 0, count)
                continue
            for file, start, stride, n in self._cut(low, low + count).tolist():
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
            The file ends early, or changed since it was described.
        """
        pixels = self.pixels
        region = region or full_region(pixels.shape)
        expected = (len(self), *(s.stop - s.start for s in region))
        if out.shape != expected:
            raise ValueError(f"out has shape {out.shape}, needed is {expected}")
        if not math.prod(out.shape):
            return
        skip, nbytes = pixels.byte_range(region)
        alike = pixels.alike(out, region)
        for span in self.spans():
            if span.file < 0:
                out[span.first : span.first + span.count] = self.fill
                continue
            file = self.files[span.file]
            if alike and span.step > 0 and (span.stride == nbytes or span.count == 1):
                target = out[span.first : span.first + span.count]
                place = target.reshape(-1).view(np.uint8)
                backends.read(file, span.start, len(place), self.backend, place)
                continue
            if (
                alike
                and span.step > 0
                and span.stride > nbytes >= 4096
                and self.backend in ("auto", "buffered")
            ):
                target = out[span.first : span.first + span.count]
                rows = target.reshape(span.count, -1).view(np.uint8)
                if backends.read_rows(file, span.start, span.stride, rows):
                    continue
            # Bytes between two wanted pieces are read along unless they are many.
            apart = span.stride - nbytes > 64 << 10
            per_read = 1 if apart else max(1, (backends.BLOCK - nbytes) // max(1, span.stride) + 1)
            for i in range(0, span.count, per_read):
                n = min(per_read, span.count - i)
                length = (n - 1) * span.stride + nbytes
                block = backends.read(
                    file, span.start + i * span.stride + skip, length, self.backend
                )
                raw = np.ndarray(
                    (n, nbytes),
                    np.uint8,
                    buffer=block,
                    strides=(span.stride, 1),
                )
                at = span.first + span.step * i
                ahead = span.step > 0
                target = out[at : at + n] if ahead else out[at - n + 1 : at + 1][::-1]
                pixels.decode(raw, target, region)

    def mapped(self, mode: str = "r") -> npt.NDArray[Any] | None:
        """View the frames in place, or None where their bytes are not plain evenly spaced pixels.

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


@dataclass(frozen=True, eq=False)
class Mosaic:
    """Frames put together from parts that are stored apart, such as the sectors of a camera.

    Parameters
    ----------
    parts : tuple of Frames
        All with the same number of frames and the same pixel type.
    places : tuple of Region
        Where the frames of each part belong in the whole.
    frame_shape : tuple of int
        Shape of the whole.
    fill : float
        Value of places that no part covers, and of blanks.
    flip_y : bool, optional
        Whether the whole is shown upside down; None if that is not possible.
    """

    parts: tuple[Frames, ...]
    places: tuple[Region, ...]
    frame_shape: tuple[int, ...]
    fill: float = 0
    flip_y: bool | None = None

    def __post_init__(self) -> None:
        if len({len(part) for part in self.parts}) != 1 or len(self.parts) != len(self.places):
            raise ValueError("a mosaic needs equally many frames in each part, and a place for it")
        for part, place in zip(self.parts, self.places, strict=True):
            if part.frame_shape != tuple(s.stop - s.start for s in place):
                raise ValueError(f"a part of {part.frame_shape} pixels does not fit into {place}")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return self.parts[0].dtype

    @property
    def complete(self) -> bool:
        """Whether the parts leave nothing of the whole empty."""
        areas = (math.prod(part.frame_shape) for part in self.parts)
        return sum(areas) == math.prod(self.frame_shape)

    @property
    def unused(self) -> int | None:
        """A value that no pixel has, for marking what is lost; None if there is none."""
        return getattr(self.parts[0], "unused", None)

    @property
    def blanks(self) -> npt.NDArray[np.bool_] | None:
        """Which frames are blanks, None if none is."""
        return self.parts[0].blanks

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, index: FrameIndex, /) -> Mosaic:
        return replace(self, parts=tuple(part[index] for part in self.parts))

    def configured(
        self,
        *,
        backend: Backend = "auto",
        fill: float | None = None,
        flip_y: bool | None = None,
        native: bool = True,
        frame_shape: tuple[int, ...] | None = None,
    ) -> Mosaic:
        """Return the same frames, read in another way; see `Frames`."""
        if flip_y is None:
            flip_y = self.flip_y
        elif self.flip_y is None:
            raise Unsupported(
                "",
                f"frames of {self.frame_shape} pixels, put together from {len(self.parts)} parts, "
                "cannot be flipped (flip_y) while reading.",
            )
        if frame_shape is not None and frame_shape != self.frame_shape:
            raise Unsupported(
                "",
                f"frames of {self.frame_shape} pixels, put together from {len(self.parts)} parts, "
                f"cannot be reshaped to sig_shape={frame_shape} while reading.",
            )
        value = self.fill if fill is None else fill
        parts = tuple(
            part.configured(backend=backend, fill=value, native=native) for part in self.parts
        )
        flip_y = flip_y if flip_y is None else bool(flip_y)
        return replace(self, parts=parts, fill=value, flip_y=flip_y)

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        region = region or full_region(self.frame_shape)
        if self.flip_y:
            rows, height = region[0], self.frame_shape[0]
            upright = (slice(height - rows.stop, height - rows.start), *region[1:])
            replace(self, flip_y=False).load(out, upright)
            for frame in out:
                frame[...] = frame[::-1].copy()
            return
        pieces = []
        for part, place in zip(self.parts, self.places, strict=True):
            target, source = [], []
            for p, r in zip(place, region, strict=True):
                a, b = max(p.start, r.start), min(p.stop, r.stop)
                target.append(slice(a - r.start, b - r.start))
                source.append(slice(a - p.start, b - p.start))
            if all(s.start < s.stop for s in source):
                pieces.append((part, tuple(target), tuple(source)))
        covered = sum(math.prod(s.stop - s.start for s in source) for _, _, source in pieces)
        if covered < math.prod(r.stop - r.start for r in region):
            out[...] = self.fill
        for part, there, source_region in pieces:
            part.load(out[(slice(None), *there)], source_region)


@dataclass(frozen=True, eq=False)
class Wrapped:
    """What kinds of frames share that do something to other frames while these are loaded.

    Parameters
    ----------
    frames : Frames
        The frames as stored.
    """

    frames: Frames

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a frame."""
        return self.frames.frame_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return self.frames.dtype

    @property
    def blanks(self) -> npt.NDArray[np.bool_] | None:
        """Which frames are blanks, None if none is."""
        return self.frames.blanks

    @property
    def chunk_hint(self) -> ChunkHint | None:
        """Which pixels are best read together."""
        return chunk_hint(self.frames)

    def configured(
        self,
        *,
        backend: Backend = "auto",
        fill: float | None = None,
        flip_y: bool | None = None,
        native: bool = True,
        frame_shape: tuple[int, ...] | None = None,
    ) -> Self:
        """Return the same frames, read in another way; see `Frames`."""
        frames = self.frames.configured(
            backend=backend, fill=fill, flip_y=flip_y, native=native, frame_shape=frame_shape
        )
        return replace(self, frames=frames)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: FrameIndex, /) -> Self:
        return replace(self, frames=self.frames[index])


@dataclass(frozen=True, eq=False)
class Transformed(Wrapped):
    """Frames whose pixels are changed after they were loaded, each by itself.

    Parameters
    ----------
    change : callable
        Changes an array of pixels in place; a function of a module, so that it can be pickled.
    """

    change: Callable[[npt.NDArray[Any]], None]

    @property
    def pixels(self) -> Pixels | None:
        """How the bytes become values, where one description holds for the frame."""
        return getattr(self.frames, "pixels", None)

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        self.frames.load(out, region)
        self.change(out)


@dataclass(frozen=True, eq=False)
class Grey(Wrapped):
    """Frames of colour pixels as sums of their colours; transparency, "A", is left out."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return np.dtype(np.uint32)

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        colours = np.empty(out.shape, self.frames.dtype)
        self.frames.load(colours, region)
        out[...] = 0
        for name in self.frames.dtype.names or ():
            if name != "A":
                out += colours[name]


def long_integers(dtype: np.dtype[Any]) -> bool:
    """Whether pixels are integers of which 64 bits may not hold the sum."""
    return dtype.kind in "iu" and dtype.itemsize == 8


@dataclass(frozen=True, eq=False)
class Floats(Wrapped):
    """Frames as float64, which has room for the sums of integers of 64 bits."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return np.dtype(np.float64)

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        values = np.empty(out.shape, self.frames.dtype)
        self.frames.load(values, region)
        out[...] = values
