# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames in chunks of a Zarr array, each of which is decoded once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.arrays import ArrayFrames
from rsciio_tem.frames.pixels import Region, full_region

#: Frames are read in one box of the scan if it has at most so many times as many.
_SPARSEST = 2


@dataclass(frozen=True, eq=False)
class StoreFrames(ArrayFrames):
    """Frames of an array with `chunks`, see `ArrayFrames`."""

    def load(self, out: npt.NDArray[np.generic], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        region = region or full_region(self.frame_shape)
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
