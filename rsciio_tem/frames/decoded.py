# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that a library decodes one by one, as frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Unsupported
from rsciio_tem.frames.pixels import Region, full_region
from rsciio_tem.frames.protocol import Order, OrderedFrames, ReadAs, picked

__all__ = ["Decoded"]


@dataclass(frozen=True, eq=False)
class Decoded(OrderedFrames):
    """Whole frames that a function decodes.

    Parameters
    ----------
    decode : callable
        Takes a list of numbers of stored frames, and yields these frames; can be pickled.
    count : int
        Number of stored frames.
    frame_shape : tuple of int
        Shape of a frame.
    dtype : numpy.dtype
        Type of a pixel, in the machine's byte order.
    order, fill
        As in `Chain`.
    """

    decode: Callable[[list[int]], Iterable[npt.NDArray[Any]]]
    count: int
    frame_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Order = None
    fill: float = 0

    @property
    def stored_count(self) -> int:
        """Number of stored frames."""
        return self.count

    def _read_as(self, how: ReadAs) -> Self:
        # they are decoded into the machine's byte order
        if how.backend != "auto" or how.flip_y is not None:
            raise Unsupported("", "io_backend and flip_y have no meaning for compressed frames.")
        shape = how.reshaped(self.frame_shape, "")
        return replace(self, frame_shape=shape, fill=how.filled(self.fill))

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        region = region or full_region(self.frame_shape)
        order = picked(self.order, self.count, slice(None))
        out[order < 0] = self.fill
        filled = np.flatnonzero(order >= 0)
        if not len(filled) or not math.prod(out.shape[1:]):
            return
        numbers, counts = np.unique(order[filled], return_counts=True)
        targets = np.split(filled[np.argsort(order[filled], kind="stable")], np.cumsum(counts)[:-1])
        for target, frame in zip(targets, self.decode(numbers.tolist()), strict=True):
            out[target] = frame.reshape(self.frame_shape)[region]
