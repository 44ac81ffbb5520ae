# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that follow each other in many places, and frames that something else decodes.

`Chain` puts several `Frames` one after the other; `chained` makes one `FrameTable` of them where
that is possible. `Decoded` are whole frames from a function, such as another package's reader of a
compressed image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.backends import Backend, DataFile
from rsciio_tem.errors import Unsupported
from rsciio_tem.frames import FrameIndex, Frames, FrameTable, Ordered, blanks_of, stretches
from rsciio_tem.pixels import Region, full_region

__all__ = ["Chain", "Decoded", "chained"]

Order = npt.NDArray[np.int64] | None


def _ordered(order: Order, count: int, index: FrameIndex) -> npt.NDArray[np.int64]:
    """Index an order of `count` frames; -1 stays a blank."""
    known = np.arange(count, dtype=np.int64) if order is None else order
    if isinstance(index, slice):
        return known[index]
    index = np.asarray(index, np.int64)
    if index.ndim != 1 or (len(index) and (index.min() < -1 or index.max() >= len(known))):
        raise IndexError(f"a frame index must be 1-D with values from -1 to {len(known) - 1}")
    if not len(known):
        return np.full(len(index), -1)
    return np.where(index < 0, -1, known[index])


@dataclass(frozen=True, eq=False)
class Chain(Ordered):
    """Frames of several kinds or places, one after the other.

    Parameters
    ----------
    parts : tuple of Frames
        All of one frame shape.
    dtype : numpy.dtype
        Holds the values of all of them.
    order : ndarray of int64, optional
        Frame i is frame ``order[i]`` of all parts together; -1 is a blank.
    fill : float
        Value of blanks.
    """

    parts: tuple[Frames, ...]
    dtype: np.dtype[Any]
    order: Order = None
    fill: float = 0
    _ends: npt.NDArray[np.int64] = field(init=False, repr=False)
    _derived = ("_ends",)

    def __post_init__(self) -> None:
        ends = np.cumsum([len(part) for part in self.parts], dtype=np.int64)
        object.__setattr__(self, "_ends", ends)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a frame."""
        return self.parts[0].frame_shape

    @property
    def blanks(self) -> npt.NDArray[np.bool_] | None:
        """Which frames are blanks, None if none is."""
        return blanks_of(self.order)

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.order is None else len(self.order)

    def __getitem__(self, index: FrameIndex, /) -> Chain:
        return replace(self, order=_ordered(self.order, int(self._ends[-1]), index))

    def configured(
        self,
        *,
        backend: Backend = "auto",
        fill: float | None = None,
        flip_y: bool | None = None,
        native: bool = True,
        frame_shape: tuple[int, ...] | None = None,
    ) -> Chain:
        """Return the same frames, read in another way; see `Frames`."""
        del native  # the parts may differ in their byte order
        if backend != "auto" or flip_y is not None:
            raise Unsupported("", "io_backend and flip_y have no meaning for files of many kinds.")
        parts = self.parts
        if frame_shape is not None and frame_shape != self.frame_shape:
            parts = tuple(part.configured(frame_shape=frame_shape) for part in parts)
        return replace(self, parts=parts, fill=self.fill if fill is None else fill)

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        order = _ordered(self.order, int(self._ends[-1]), slice(None))
        for at, step, low, count in stretches(order):
            if low < 0:
                out[at : at + count] = self.fill
                continue
            target = out[at : at + count] if step > 0 else out[at - count + 1 : at + 1][::-1]
            i = int(np.searchsorted(self._ends, low, "right"))
            done = 0
            while done < count:
                part, end = self.parts[i], int(self._ends[i])
                first = low + done - (end - len(part))
                n = min(count - done, len(part) - first)
                part[first : first + n].load(target[done : done + n], region)
                done, i = done + n, i + 1


def chained(parts: Sequence[Frames], dtype: np.dtype[Any] | None = None) -> Frames:
    """Put frames one after the other.

    Parameters
    ----------
    parts : sequence of Frames
        All of one frame shape.
    dtype : numpy.dtype, optional
        Type that holds the values of all, by default that of the first.

    Returns
    -------
    Frames
        A `FrameTable` if all parts are frames in acquisition order with the same `Pixels`.
    """
    if len(parts) == 1 and dtype in (None, parts[0].dtype):
        return parts[0]
    first = parts[0]
    tables = [part for part in parts if isinstance(part, FrameTable) and part.order is None]
    if len(tables) == len(parts) and all(t.pixels == tables[0].pixels for t in tables):
        numbers: dict[DataFile, int] = {}
        runs = []
        for part in tables:
            moved = part.runs.copy()
            own = [numbers.setdefault(file, len(numbers)) for file in part.files]
            moved["file"] = np.array(own, np.int64)[part.runs["file"]]
            runs.append(moved)
        return FrameTable(tuple(numbers), np.concatenate(runs), tables[0].pixels)
    return Chain(tuple(parts), dtype or first.dtype)


@dataclass(frozen=True, eq=False)
class Decoded(Ordered):
    """Whole frames that a function decodes.

    Parameters
    ----------
    decode : callable
        Takes a list of numbers of stored frames, and yields these frames; can be pickled.
    stored : int
        Number of stored frames.
    frame_shape : tuple of int
        Shape of a frame.
    dtype : numpy.dtype
        Type of a pixel, in the machine's byte order.
    order, fill
        As in `Chain`.
    """

    decode: Callable[[list[int]], Iterable[npt.NDArray[Any]]]
    stored: int
    frame_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Order = None
    fill: float = 0

    @property
    def blanks(self) -> npt.NDArray[np.bool_] | None:
        """Which frames are blanks, None if none is."""
        return blanks_of(self.order)

    def __len__(self) -> int:
        return self.stored if self.order is None else len(self.order)

    def __getitem__(self, index: FrameIndex, /) -> Decoded:
        return replace(self, order=_ordered(self.order, self.stored, index))

    def configured(
        self,
        *,
        backend: Backend = "auto",
        fill: float | None = None,
        flip_y: bool | None = None,
        native: bool = True,
        frame_shape: tuple[int, ...] | None = None,
    ) -> Decoded:
        """Return the same frames, read in another way; see `Frames`."""
        del native  # they are decoded into the machine's byte order
        if backend != "auto" or flip_y is not None:
            raise Unsupported("", "io_backend and flip_y have no meaning for compressed frames.")
        shape = self.frame_shape if frame_shape is None else frame_shape
        if math.prod(shape) != math.prod(self.frame_shape):
            raise Unsupported(
                "",
                f"frames have {self.frame_shape} pixels, which is not sig_shape={shape}.",
                "Only a reshape to the same number of pixels is possible.",
            )
        return replace(self, frame_shape=shape, fill=self.fill if fill is None else fill)

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        region = region or full_region(self.frame_shape)
        order = _ordered(self.order, self.stored, slice(None))
        out[order < 0] = self.fill
        wanted = np.flatnonzero(order >= 0)
        if not len(wanted) or not math.prod(out.shape[1:]):
            return
        numbers, counts = np.unique(order[wanted], return_counts=True)
        targets = np.split(wanted[np.argsort(order[wanted], kind="stable")], np.cumsum(counts)[:-1])
        for target, frame in zip(targets, self.decode(numbers.tolist()), strict=True):
            out[target] = frame.reshape(self.frame_shape)[region]
