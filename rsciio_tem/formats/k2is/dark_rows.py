# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames from which the mean of their dark rows is subtracted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Unsupported
from rsciio_tem.frames.pixels import Region, full_region
from rsciio_tem.frames.protocol import ReadAs
from rsciio_tem.frames.wrapped import Wrapped


@dataclass(frozen=True, eq=False)
class DarkRowsSubtracted(Wrapped):
    """Frames from which the mean of the hidden rows is subtracted, column by column.

    Parameters
    ----------
    frames : Frames
        Full frames.
    shape : (int, int)
        Rows and columns that are returned; the hidden rows are those below.
    hidden : int
        First hidden row.
    fill : float
        Value of blanks and of lost pixels.
    """

    shape: tuple[int, int]
    hidden: int
    fill: float = 0

    @property
    def lost_value(self) -> int:
        """A value that no difference of 12-bit pixels has."""
        return -0x8000

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a frame."""
        return self.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel: differences may be negative."""
        return np.dtype(np.int16)

    def _read_as(self, how: ReadAs) -> Self:
        if how.flip_y is not None or how.frame_shape not in (None, self.shape):
            raise Unsupported(
                "", "frames are neither flipped (flip_y) nor reshaped (sig_shape) with dark_rows."
            )
        frames = self.frames.read_as(
            backend=how.backend, fill=self.frames.lost_value, native=how.native
        )
        return replace(self, frames=frames, fill=how.filled(self.fill))

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        rows, columns = region or full_region(self.shape)
        height = self.frames.frame_shape[0]
        lost = self.frames.lost_value
        buffer = np.empty((1, height, columns.stop - columns.start), np.uint16)
        for i in range(len(self)):
            self.frames[i : i + 1].load(buffer, (slice(0, height), columns))
            dark, image = buffer[0, self.hidden :], buffer[0, rows]
            stored = dark != lost
            total, number = (dark * stored).sum(axis=0, dtype=np.int64), stored.sum(axis=0)
            mean = total // np.maximum(number, 1)
            out[i] = np.where((image == lost) | (number == 0), self.fill, image - mean)
