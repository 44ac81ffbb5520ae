# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames in blocks that fit into a processor's cache, each with its scan positions."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.protocol import Frames
from rsciio_tem.storage import backends

__all__ = ["Block", "Blocks"]

#: No more than this where many frames are stored together, or pixel by pixel.
_MOST = 128 << 20


@dataclass(frozen=True, eq=False)
class Block:
    """Frames that follow each other in the scan.

    Parameters
    ----------
    frames : ndarray, shape (n, rows, columns)
        Yours to change and to keep.
    positions : ndarray of int64, shape (n,)
        Where they are in the scan, counted along its lines.
    index : tuple of ndarray of int64
        The same for each axis of the scan: ``image[block.index]`` are their places in an image of
        the scan.
    blanks : ndarray of bool, shape (n,)
        Which of them were not recorded, and have the fill value.
    """

    frames: npt.NDArray[Any]
    positions: npt.NDArray[np.int64]
    index: tuple[npt.NDArray[np.int64], ...]
    blanks: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True, eq=False)
class Blocks:
    """All frames of a scan, or those of a region of interest, block by block.

    Parameters
    ----------
    source : Frames
        The frames in the order of the blocks.
    shape : tuple of int
        Shape of the scan.
    nbytes : int
        Bytes of the frames of a block, about; frames that are stored together are not torn apart.
    places : ndarray of int64, optional
        Positions in the scan; by default the frames fill it.
    convert : callable, optional
        Makes what is wanted of the pixels of some frames, and these frames.
    """

    source: Frames
    shape: tuple[int, ...]
    nbytes: int
    places: npt.NDArray[np.int64] | None = None
    convert: Callable[[npt.NDArray[Any], Frames], npt.NDArray[Any]] | None = None

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a frame."""
        return tuple(self.source.frame_shape)

    @property
    def frames_per_block(self) -> int:
        """Frames of every block but the last."""
        frames = self.source
        frame_bytes = max(1, math.prod(frames.frame_shape) * frames.dtype.itemsize)
        run = 1 if frames.chunk_hint is None else max(1, min(frames.chunk_hint.run, len(frames)))
        if run * frame_bytes > max(self.nbytes, _MOST):
            return max(1, max(self.nbytes, _MOST) // frame_bytes, frames.graph_chunk)
        return max(1, self.nbytes // (frame_bytes * run), -(-frames.graph_chunk // run)) * run

    def __len__(self) -> int:
        return -(-len(self.source) // self.frames_per_block)

    def __iter__(self) -> Iterator[Block]:
        backends.settle()
        source, step = self.source, self.frames_per_block
        #: Of a loop that keeps nothing, one is in use while the other is filled.
        buffers = _Buffers((min(step, len(source)), *source.frame_shape), source.dtype)
        for first in range(0, len(source), step):
            part = source[first : first + step]
            frames = buffers.unused()[: len(part)]
            part.load(frames)
            if self.convert is not None:
                frames = self.convert(frames, part)
            frames = frames.astype(frames.dtype.newbyteorder("="), copy=False)
            last = first + len(part)
            positions = np.arange(first, last) if self.places is None else self.places[first:last]
            index = np.unravel_index(positions, self.shape) if self.shape else ()
            blanks = part.blanks
            blanks = np.zeros(len(part), bool) if blanks is None else blanks
            yield Block(frames, positions, tuple(index), blanks)
            del frames


class _Buffers:
    """Two arrays that are filled in turn, and replaced if somebody keeps them."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype
        self.arrays = [np.empty(0), np.empty(0)]
        self.turn = 0
        #: What is counted of an array that nobody else has.
        self.references = sys.getrefcount(self.arrays[0])

    def unused(self) -> npt.NDArray[Any]:
        """Return one that nobody has."""
        self.turn = 1 - self.turn
        kept = sys.getrefcount(self.arrays[self.turn]) > self.references
        if kept or self.arrays[self.turn].shape != self.shape:
            self.arrays[self.turn] = np.empty(self.shape, self.dtype)
        return self.arrays[self.turn]
