# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames as their bytes lie in the file, for sums to which the order of pixels does not matter.

Decoding is most of the work of adding up packed frames, and none of it is needed: the weights of a
virtual detector can be put into the order of the file once, and the sum over all frames is put into
the order of the image once. What is read is then added up as it is: pixels in the other byte order,
chips that are not yet arranged, and single bits, 64 of which are added at a time.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable

__all__ = ["StoredOrder", "in_stored_order"]

#: Frames of more pixels are not worth a table of their places.
_MOST_PLACES = 1 << 24


@dataclass(frozen=True, eq=False)
class StoredOrder:
    """Frames in stored order.

    Parameters
    ----------
    frames : FrameTable
        Their frames have the same pixels in another order, or words of 64 pixels of one bit.
    frame_shape : tuple of int
        Shape of a decoded frame.
    dtype : numpy.dtype
        Type of a decoded pixel.
    flipped : bool
        The rows are in reverse order, and nothing else is.
    places : ndarray of int64, optional
        Where the pixels of a decoded frame are among the stored ones, -1 for a gap between chips.
    bits : bool
        Stored are words; bit b of word w is pixel ``64 * w + b``.
    """

    frames: FrameTable
    frame_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    flipped: bool = False
    places: npt.NDArray[np.int64] | None = None
    bits: bool = False

    @property
    def in_rows(self) -> bool:
        """Whether rows of stored pixels are rows of the image, in one order or the other."""
        return self.places is None

    def unfold(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Put pixels, shape (stored pixels,), into their places in a frame; gaps are zero."""
        if self.places is None:
            frame = stored.reshape(self.frame_shape)
            return frame[::-1] if self.flipped else frame
        frame = stored[self.places]
        frame[self.places < 0] = 0
        return frame.reshape(self.frame_shape)

    def fold(self, weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Put weights, shape (masks, *frame_shape), into stored order, shape (masks, pixels)."""
        if self.places is None:
            weights = weights[:, ::-1] if self.flipped else weights
            return weights.reshape(len(weights), -1)
        count = math.prod(self.frames.frame_shape) * (64 if self.bits else 1)
        stored = np.zeros((len(weights), count), weights.dtype)
        used = self.places >= 0
        stored[:, self.places[used]] = weights.reshape(len(weights), -1)[:, used]
        return stored


def in_stored_order(frames: Frames) -> StoredOrder | None:
    """Return frames in stored order, None where that has no meaning."""
    if type(frames) is not FrameTable or sys.byteorder != "little":
        return None
    pixels, fill = frames.pixels, frames.fill
    if pixels.shift or pixels.repeat != 1 or not pixels.native or pixels.stored.names is not None:
        return None
    if len(pixels.shape) != 2:
        return None
    stored = pixels.stored
    if pixels.packing == "medipix12":
        stored = np.dtype(">u2")  # of four pixels, the last one is stored first
    elif pixels.packing == "medipix1":
        if pixels.stored_pixels % 64 or (fill != 0 and frames.blanks is not None):
            return None
        stored = np.dtype(np.uint64)
    elif pixels.packing not in ("plain", "medipix6"):
        return None
    if not stored.isnative and stored.str != ">u2":
        return None
    if pixels.in_rows:
        plain = replace(pixels, flip_y=False, native=False)
        return StoredOrder(_as(frames, plain), pixels.shape, frames.dtype, flipped=pixels.flip_y)
    if pixels.stored_pixels > _MOST_PLACES:
        return None
    places = _places(pixels)
    if fill != 0 and frames.blanks is not None and (places < 0).any():
        return None  # in a blank, the gaps are filled, too
    count = pixels.nbytes // stored.itemsize
    plain = Pixels((count,), stored, native=False)
    bits = pixels.packing == "medipix1"
    return StoredOrder(_as(frames, plain), pixels.shape, frames.dtype, places=places, bits=bits)


def _as(frames: FrameTable, pixels: Pixels) -> FrameTable:
    assert pixels.nbytes == frames.pixels.nbytes
    return replace(frames, pixels=pixels)


@lru_cache(maxsize=8)
def _places(pixels: Pixels) -> npt.NDArray[np.int64]:
    """Find out by decoding frames whose pixels are numbered, digit by digit."""
    count = pixels.stored_pixels
    numbers = np.arange(count, dtype=np.int64) + 1  # so that 0 is a gap
    places = np.zeros(pixels.shape, np.int64)
    one_bit = pixels.packing == "medipix1"
    digit = 1 if one_bit else 8
    plain = pixels
    if pixels.packing == "plain":
        plain = replace(pixels, stored=np.dtype(f"u{pixels.stored.itemsize}"))
    out = np.empty((1, *pixels.shape), plain.dtype)
    for shift in range(0, int(count).bit_length(), digit):
        values = (numbers >> shift) & ((1 << digit) - 1)
        if one_bit:
            raw = np.packbits(values.astype(np.uint8), bitorder="little")
        else:
            kind = {"medipix6": "u1", "medipix12": ">u2"}.get(pixels.packing, plain.stored.str)
            raw = values.astype(kind).view(np.uint8)
        plain.decode(raw[np.newaxis], out)
        places |= out[0].astype(np.int64) << shift
    return places.reshape(-1) - 1
