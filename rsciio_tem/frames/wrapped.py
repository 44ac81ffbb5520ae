# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that change the values of others: grey from colours, floats, turned axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.pixels import Region
from rsciio_tem.frames.protocol import ChunkHint, FrameIndex, Frames, FramesBase, ReadAs

__all__ = ["Floats", "Grey", "Transformed", "Wrapped", "long_integers"]


@dataclass(frozen=True, eq=False)
class Wrapped(FramesBase):
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
        return self.frames.chunk_hint

    @property
    def in_memory(self) -> bool:
        """Whether pixels are in an array that this process holds."""
        return self.frames.in_memory

    def _read_as(self, how: ReadAs) -> Self:
        return replace(self, frames=self.frames.read_as(**how.keywords()))

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
    def upside_down(self) -> bool | None:
        """Whether the first stored row is shown last; None if that cannot be chosen."""
        return self.frames.upside_down

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
