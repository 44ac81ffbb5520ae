# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that are turned, mirrored, cropped or binned while they are loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.pixels import Region, full_region
from rsciio_tem.frames.protocol import ChunkHint, FrameIndex, ReadAs
from rsciio_tem.frames.wrapped import Wrapped

__all__ = ["Binned", "Cropped", "Turn", "Turned"]


@dataclass(frozen=True)
class Turn:
    """How images are turned: rows and columns are exchanged first, then each may be reversed.

    All mirror images and quarter turns are of this kind.
    """

    exchanged: bool = False
    rows: bool = False
    columns: bool = False

    def __bool__(self) -> bool:
        return self.exchanged or self.rows or self.columns

    def flipped_x(self) -> Turn:
        """Return this, then left and right exchanged."""
        return replace(self, columns=not self.columns)

    def transposed(self) -> Turn:
        """Return this, then rows and columns exchanged."""
        return Turn(not self.exchanged, self.columns, self.rows)

    def quarter(self, times: int) -> Turn:
        """Return this, then turned counterclockwise by 90 degrees, as `numpy.rot90` does."""
        result = self
        for _ in range(times % 4):
            result = result.transposed()
            result = replace(result, rows=not result.rows)
        return result

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a turned image."""
        return shape[::-1] if self.exchanged else shape

    def apply(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a view of images (..., rows, columns) that shows them turned."""
        if self.exchanged:
            images = images.swapaxes(-1, -2)
        return images[..., :: -1 if self.rows else 1, :: -1 if self.columns else 1]

    def source(self, region: Region, shape: tuple[int, ...]) -> Region:
        """Return which region of an image a region of the turned one, of `shape`, shows."""
        parts = [
            slice(n - part.stop, n - part.start) if reverse else part
            for part, n, reverse in zip(region, shape, (self.rows, self.columns), strict=True)
        ]
        return tuple(parts[::-1] if self.exchanged else parts)


@dataclass(frozen=True, eq=False)
class Turned(Wrapped):
    """Frames that are turned while they are loaded.

    Parameters
    ----------
    turn : Turn
        How.
    """

    turn: Turn

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a turned frame."""
        return self.turn.shape(self.frames.frame_shape)

    @property
    def lost_value(self) -> int | None:
        """A value that no pixel has, for marking what is lost within frames, if there is one."""
        return self.frames.lost_value

    @property
    def chunk_hint(self) -> ChunkHint | None:
        """Which pixels are best read together."""
        hint = self.frames.chunk_hint
        if hint is None or not self.turn.exchanged:
            return hint
        order = tuple(1 - axis for axis in hint.sig_order or (0, 1))
        return replace(hint, sig=hint.sig[::-1], sig_order=order)

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        region = self.turn.source(region or full_region(self.frame_shape), self.frame_shape)
        images = np.empty((len(out), *(s.stop - s.start for s in region)), out.dtype)
        self.frames.load(images, region)
        out[...] = self.turn.apply(images)


@dataclass(frozen=True, eq=False)
class Cropped(Wrapped):
    """Frames of which only a region is loaded.

    Parameters
    ----------
    part : Region
        Of each frame.
    """

    part: Region

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of the region."""
        return tuple(one.stop - one.start for one in self.part)

    @property
    def lost_value(self) -> int | None:
        """A value that no pixel has, for marking what is lost within frames, if there is one."""
        return self.frames.lost_value

    @property
    def chunk_hint(self) -> ChunkHint | None:
        """Which pixels are best read together."""
        hint = self.frames.chunk_hint
        if hint is None:
            return None
        sig = (min(n, k) for n, k in zip(hint.sig, self.frame_shape, strict=True))
        return replace(hint, sig=tuple(sig))

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        region = region or full_region(self.frame_shape)
        source = tuple(
            slice(part.start + inner.start, part.start + inner.stop)
            for part, inner in zip(self.part, region, strict=True)
        )
        self.frames.load(out, source)


@dataclass(frozen=True, eq=False)
class Binned(Wrapped):
    """Frames of which neighbouring pixels are added up while they are loaded.

    Pixels that fill no bin at the end of rows and columns are left out. Sums of whole numbers have
    types that hold them.

    Parameters
    ----------
    size : (int, int)
        Rows and columns of a bin.
    fill : float
        Value of blanks.
    """

    size: tuple[int, int]
    fill: float = 0

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a binned frame."""
        return tuple(n // k for n, k in zip(self.frames.frame_shape, self.size, strict=True))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a sum."""
        stored = self.frames.dtype
        if stored.kind in "ub":
            return np.dtype(np.uint32 if stored.itemsize < 4 else np.uint64)
        if stored.kind == "i":
            return np.dtype(np.int32 if stored.itemsize < 4 else np.int64)
        return stored.newbyteorder("=")

    @property
    def chunk_hint(self) -> ChunkHint | None:
        """Which pixels are best read together."""
        hint = self.frames.chunk_hint
        if hint is None:
            return None
        sig = (max(1, n // k) for n, k in zip(hint.sig, self.size, strict=True))
        return replace(hint, sig=tuple(sig))

    def _read_as(self, how: ReadAs) -> Self:
        fill = how.filled(self.fill)
        # a pixel that is lost within a frame adds nothing, unless it is marked by NaN
        keywords = how.keywords()
        keywords["fill"] = fill if fill != fill else 0
        return replace(self, frames=self.frames.read_as(**keywords), fill=fill)

    def __getitem__(self, index: FrameIndex, /) -> Self:
        return replace(self, frames=self.frames[index])

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        region = region or full_region(self.frame_shape)
        source = tuple(
            slice(part.start * k, part.stop * k) for part, k in zip(region, self.size, strict=True)
        )
        rows, columns = (part.stop - part.start for part in region)
        high, wide = self.size
        images = np.empty((len(out), rows * high, columns * wide), self.frames.dtype)
        self.frames.load(images, source)
        sums = images.reshape(len(out), rows, high, columns, wide)
        out[...] = sums.sum(axis=(2, 4), dtype=self.dtype)
        if (blanks := self.blanks) is not None:
            out[blanks] = self.fill
