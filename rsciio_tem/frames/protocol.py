# SPDX-License-Identifier: GPL-3.0-or-later
"""What frames are to everything else, and how orders of them are kept, cut and sent."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypedDict, Unpack, runtime_checkable

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Unsupported
from rsciio_tem.frames.pixels import Region
from rsciio_tem.storage.backends import Backend

__all__ = [
    "ChunkHint",
    "FrameIndex",
    "Frames",
    "FramesBase",
    "Order",
    "OrderedFrames",
    "ReadAs",
    "ReadHow",
    "blanks_of",
    "picked",
    "runs_in",
    "tiles",
]

#: Selects frames: a slice, or integers with -1 for a blank.
FrameIndex = slice | npt.NDArray[np.int64]

#: Numbers of stored frames in the order of frames, -1 for a blank; None: all as they are stored.
Order = npt.NDArray[np.int64] | None


@dataclass(frozen=True)
class ChunkHint:
    """Which pixels are stored in blocks that are best read as a whole.

    Frames of which this is true have it as ``Frames.chunk_hint``. Blocks begin with the first frame
    and the first pixel, and fill the scan and the frames side by side.

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


def tiles(frames: Frames, nbytes: int) -> list[tuple[slice, Region | None]]:
    """Cut frames into tiles of about `nbytes` that have no stored block in common.

    Returns
    -------
    list of (slice, Region or None)
        Which frames, and which part of them; None if all tiles have whole frames.
    """
    count, shape = len(frames), frames.frame_shape
    hint = frames.chunk_hint
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

    def read_as(self, **how: Unpack[ReadHow]) -> Frames:
        """Return the same frames, read in another way; an `Unsupported` says what cannot be."""
        ...

    @property
    def chunk_hint(self) -> ChunkHint | None:
        """Which pixels are best read together, None where it does not matter."""
        ...

    @property
    def lost_value(self) -> int | None:
        """A value that no pixel has, for marking what is lost within frames, if there is one."""
        ...

    @property
    def upside_down(self) -> bool | None:
        """Whether the first stored row is shown last; None if that cannot be chosen."""
        ...

    @property
    def graph_chunk(self) -> int:
        """Number of frames that a dask graph computes at a time; 0 if they come from none."""
        ...

    @property
    def in_memory(self) -> bool:
        """Whether pixels are in an array that this process holds."""
        ...


class ReadHow(TypedDict, total=False):
    """Keywords of `Frames.read_as`, as `ReadAs` describes them."""

    backend: Backend
    fill: float | None
    flip_y: bool | None
    native: bool
    frame_shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class ReadAs:
    """How frames are read.

    Parameters
    ----------
    backend : str
        How bytes are fetched, see `rsciio_tem.storage.backends`.
    fill : float, optional
        Value of blanks; by default the one they have.
    flip_y : bool, optional
        Whether the first stored row is the bottom one; by default as it is.
    native : bool
        Byte order of the machine, or of the file.
    frame_shape : tuple of int, optional
        Reshape to the same number of pixels.
    """

    backend: Backend = "auto"
    fill: float | None = None
    flip_y: bool | None = None
    native: bool = True
    frame_shape: tuple[int, ...] | None = None

    def keywords(self) -> ReadHow:
        """Return it as keywords of `Frames.read_as`."""
        return {
            "backend": self.backend,
            "fill": self.fill,
            "flip_y": self.flip_y,
            "native": self.native,
            "frame_shape": self.frame_shape,
        }

    def filled(self, fill: float) -> float:
        """Return the value of blanks, which is `fill` so far."""
        return fill if self.fill is None else self.fill

    def reshaped(self, frame_shape: tuple[int, ...], path: str) -> tuple[int, ...]:
        """Return the shape that frames get; an `Unsupported` says that it has other pixels."""
        shape = frame_shape if self.frame_shape is None else self.frame_shape
        if math.prod(shape) != math.prod(frame_shape):
            raise Unsupported(
                path,
                f"frames have {frame_shape} pixels, which is not sig_shape={shape}.",
                "Only a reshape to the same number of pixels is possible.",
            )
        return shape


class FramesBase(ABC):
    """What most kinds of frames answer alike."""

    def read_as(self, **how: Unpack[ReadHow]) -> Self:
        """Return the same frames, read in another way; see `ReadAs` and `Frames`."""
        return self._read_as(ReadAs(**how))

    @abstractmethod
    def _read_as(self, how: ReadAs) -> Self: ...

    @property
    def chunk_hint(self) -> ChunkHint | None:
        """Which pixels are best read together, None where it does not matter."""
        return None

    @property
    def lost_value(self) -> int | None:
        """A value that no pixel has, for marking what is lost within frames, if there is one."""
        return None

    @property
    def upside_down(self) -> bool | None:
        """Whether the first stored row is shown last; None if that cannot be chosen."""
        return None

    @property
    def graph_chunk(self) -> int:
        """Number of frames that a dask graph computes at a time; 0 if they come from none."""
        return 0

    @property
    def in_memory(self) -> bool:
        """Whether pixels are in an array that this process holds."""
        return False


def runs_in(order: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, int, int]]:
    """Group an order into runs: stored frames one by one, up or down.

    Yields (at, step, low, count): the stored frames low..low+count belong to the positions at,
    at+step, …; low is -1 for blanks.
    """
    if not len(order):
        return
    steps = np.diff(order)
    # a run is as long as possible with a constant step +1, -1, or of blanks (0)
    blank = order < 0
    joins = (np.abs(steps) == 1) & ~blank[1:] & ~blank[:-1] | (blank[1:] & blank[:-1])
    if len(steps) > 1:
        # do not let a run change its direction
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


def picked(order: Order, stored: int, index: FrameIndex) -> npt.NDArray[np.int64]:
    """Index an order of `stored` frames, None for all of them as they are; -1 stays a blank.

    Raises
    ------
    IndexError
        `index` is not 1-D, or reaches beyond the frames.
    """
    count = stored if order is None else len(order)
    if isinstance(index, slice):
        return np.arange(*index.indices(count)) if order is None else order[index]
    index = np.asarray(index, np.int64)
    if index.ndim != 1 or (len(index) and (index.min() < -1 or index.max() >= count)):
        raise IndexError(f"a frame index must be 1-D with values from -1 to {count - 1}")
    if order is None or not count:
        return index
    return np.where(index < 0, -1, order[index])


class OrderedFrames(FramesBase):
    """Base of dataclasses with a field ``order``: frame i is stored frame ``order[i]``.

    Each task of a cluster gets a pickle, and the order of a scan has 8 bytes for each frame. The
    usual ones (lines back and forth, frames left out at their ends) are a few steps per line.
    """

    order: Order

    @property
    @abstractmethod
    def stored_count(self) -> int:
        """Number of stored frames, whatever the order picks from them."""

    def _cut(self, start: int, stop: int) -> Self | None:
        """Return stored frames start..stop without an order, None if that is not possible."""
        return self if (start, stop) == (0, self.stored_count) else None

    @property
    def blanks(self) -> npt.NDArray[np.bool_] | None:
        """Which frames are blanks, None if none is."""
        return blanks_of(self.order)

    def __len__(self) -> int:
        return self.stored_count if self.order is None else len(self.order)

    def __getitem__(self, index: FrameIndex, /) -> Self:
        if isinstance(index, slice) and self.order is None:
            start, stop, step = index.indices(self.stored_count)
            if step == 1 and (part := self._cut(start, max(start, stop))) is not None:
                return part
        order = picked(self.order, self.stored_count, index)
        changed: Self = replace(self, order=order)  # type: ignore[type-var]
        return changed

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
