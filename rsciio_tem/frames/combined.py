# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames put together from others: side by side (`Mosaic`), or one after the other (`Chain`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Unsupported
from rsciio_tem.frames.pixels import Region, full_region
from rsciio_tem.frames.protocol import (
    FrameIndex,
    Frames,
    FramesBase,
    Order,
    OrderedFrames,
    ReadAs,
    picked,
    runs_in,
)
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.storage.backends import DataFile

__all__ = ["Chain", "Mosaic", "chained"]


@dataclass(frozen=True, eq=False)
class Mosaic(FramesBase):
    """Frames put together from parts that are stored apart, such as the sectors of a camera.

    Parameters
    ----------
    parts : tuple of Frames
        All with the same number of frames and the same pixel type.
    regions : tuple of Region
        Where the frames of each part belong in the whole.
    frame_shape : tuple of int
        Shape of the whole.
    fill : float
        Value of places that no part covers, and of blanks.
    flip_y : bool, optional
        Whether the whole is shown upside down; None if that is not possible.
    """

    parts: tuple[Frames, ...]
    regions: tuple[Region, ...]
    frame_shape: tuple[int, ...]
    fill: float = 0
    flip_y: bool | None = None

    def __post_init__(self) -> None:
        if len({len(part) for part in self.parts}) != 1 or len(self.parts) != len(self.regions):
            raise ValueError("a mosaic needs equally many frames in each part, and a place for it")
        for part, part_region in zip(self.parts, self.regions, strict=True):
            if part.frame_shape != tuple(s.stop - s.start for s in part_region):
                raise ValueError(
                    f"a part of {part.frame_shape} pixels does not fit into {part_region}"
                )

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
    def lost_value(self) -> int | None:
        """A value that no pixel has, for marking what is lost; None if there is none."""
        return self.parts[0].lost_value

    @property
    def upside_down(self) -> bool | None:
        """Whether the whole is shown upside down; None if that is not possible."""
        return self.flip_y

    @property
    def blanks(self) -> npt.NDArray[np.bool_] | None:
        """Which frames are blanks in all parts, None if none is."""
        blanks: npt.NDArray[np.bool_] | None = None
        for part in self.parts:
            if (mask := part.blanks) is None:
                return None
            blanks = mask if blanks is None else blanks & mask
        return blanks

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, index: FrameIndex, /) -> Self:
        return replace(self, parts=tuple(part[index] for part in self.parts))

    def _read_as(self, how: ReadAs) -> Self:
        flip_y = self.flip_y if how.flip_y is None else bool(how.flip_y)
        if how.flip_y is not None and self.flip_y is None:
            raise Unsupported(
                "",
                f"frames of {self.frame_shape} pixels, put together from {len(self.parts)} parts, "
                "cannot be flipped (flip_y) while reading.",
            )
        if how.frame_shape is not None and how.frame_shape != self.frame_shape:
            raise Unsupported(
                "",
                f"frames of {self.frame_shape} pixels, put together from {len(self.parts)} parts, "
                f"cannot be reshaped to sig_shape={how.frame_shape} while reading.",
            )
        value = how.filled(self.fill)
        parts = tuple(
            part.read_as(backend=how.backend, fill=value, native=how.native) for part in self.parts
        )
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
        overlaps = []
        for part, part_region in zip(self.parts, self.regions, strict=True):
            target, source = [], []
            for p, r in zip(part_region, region, strict=True):
                a, b = max(p.start, r.start), min(p.stop, r.stop)
                target.append(slice(a - r.start, b - r.start))
                source.append(slice(a - p.start, b - p.start))
            if all(s.start < s.stop for s in source):
                overlaps.append((part, tuple(target), tuple(source)))
        covered = sum(math.prod(s.stop - s.start for s in source) for _, _, source in overlaps)
        if covered < math.prod(r.stop - r.start for r in region):
            out[...] = self.fill
        for part, target_region, source_region in overlaps:
            part.load(out[(slice(None), *target_region)], source_region)


@dataclass(frozen=True, eq=False)
class Chain(OrderedFrames):
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
    def stored_count(self) -> int:
        """Number of frames of all parts."""
        return int(self._ends[-1])

    def _read_as(self, how: ReadAs) -> Self:
        # the parts may differ in their byte order
        if how.backend != "auto" or how.flip_y is not None:
            raise Unsupported("", "io_backend and flip_y have no meaning for files of many kinds.")
        parts = self.parts
        if how.frame_shape is not None and how.frame_shape != self.frame_shape:
            parts = tuple(part.read_as(frame_shape=how.frame_shape) for part in parts)
        return replace(self, parts=parts, fill=how.filled(self.fill))

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        order = picked(self.order, self.stored_count, slice(None))
        for at, step, low, count in runs_in(order):
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
    tables = [
        part
        for part in parts
        if isinstance(part, FrameTable) and part.order is None and part.labels is None
    ]
    if len(tables) == len(parts) and all(t.pixels == tables[0].pixels for t in tables):
        numbers: dict[DataFile, int] = {}
        runs = []
        for part in tables:
            moved = part.runs.copy()
            file_numbers = [numbers.setdefault(file, len(numbers)) for file in part.files]
            moved["file"] = np.array(file_numbers, np.int64)[part.runs["file"]]
            runs.append(moved)
        return FrameTable(tuple(numbers), np.concatenate(runs), tables[0].pixels)
    return Chain(tuple(parts), dtype or first.dtype)
