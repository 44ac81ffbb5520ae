# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames in chunks of a Zarr array, each of which is decoded once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.arrays import ArrayFrames
from rsciio_tem.frames.pixels import Region, full_region
from rsciio_tem.frames.protocol import ChunkHint, ReadAs

#: Frames are read in one box of the scan if it has at most so many times as many.
_SPARSEST = 2


@dataclass(frozen=True, eq=False)
class StoreFrames(ArrayFrames):
    """Frames of an array with `chunks`, see `ArrayFrames`.

    Parameters
    ----------
    stored_shape : tuple of int
        Shape of a frame in the array, if `frame_shape` is another one of as many pixels.
    """

    stored_shape: tuple[int, ...] = ()

    @property
    def chunk_hint(self) -> ChunkHint | None:
        """Which pixels are best read together."""
        if not self.stored_shape or self.chunks is None:
            return super().chunk_hint
        split = len(self.nav_shape)
        hint = ChunkHint(self.nav_shape, self.chunks[:split], self.frame_shape)
        return hint if self.order is None else hint.flat(len(self))

    def _read_as(self, how: ReadAs) -> Self:
        shape = how.reshaped(self.frame_shape, "")
        stored_shape = self.stored_shape or self.frame_shape
        frames = super()._read_as(replace(how, frame_shape=None))
        return replace(
            frames,
            frame_shape=shape,
            stored_shape=() if shape == stored_shape else stored_shape,
        )

    def load(self, out: npt.NDArray[np.generic], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        region = region or full_region(self.frame_shape)
        if self.stored_shape:
            whole = np.empty((len(self), *self.stored_shape), out.dtype)
            replace(self, frame_shape=self.stored_shape, stored_shape=()).load(whole)
            out[...] = whole.reshape(len(self), *self.frame_shape)[(slice(None), *region)]
            return
        stored = np.flatnonzero(self.index >= 0)
        out[self.index < 0] = self.fill
        if not len(stored):
            return
        array, cells = self.open(), np.zeros((0, len(stored)), np.intp)
        if self.nav_shape:
            cells = np.array(np.unravel_index(self.index[stored], self.nav_shape))
        for at in self._groups(cells):
            low, high = cells[:, at].min(axis=1), cells[:, at].max(axis=1) + 1
            box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
            values = array[(*box, *region)].reshape(-1, *out.shape[1:])
            inside = np.zeros(len(at), np.intp)
            if box:
                shape = tuple((high - low).tolist())
                inside = np.ravel_multi_index(tuple(cells[:, at] - low[:, np.newaxis]), shape)
            out[_range_or_index(stored[at])] = values[_range_or_index(inside)]

    def _groups(self, cells: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
        """Yield which positions are read with each other: all, or those in the same chunk."""
        count = cells.shape[1]
        spread = cells.max(axis=1) - cells.min(axis=1) + 1 if len(cells) else cells
        if math.prod(spread.tolist()) <= _SPARSEST * count:
            yield np.arange(count)
            return
        assert self.chunks is not None
        chunks = np.array(self.chunks[: len(self.nav_shape)])[:, np.newaxis]
        grid = tuple(-(-n // c) for n, c in zip(self.nav_shape, self.chunks, strict=False))
        numbers = np.ravel_multi_index(tuple(cells // chunks), grid)
        order = np.argsort(numbers, kind="stable")
        yield from np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)


def _range_or_index(index: npt.NDArray[np.intp]) -> slice | npt.NDArray[np.intp]:
    """Return a slice for numbers that follow each other, which copies less."""
    if (np.diff(index) == 1).all():
        return slice(int(index[0]), int(index[0]) + len(index))
    return index
