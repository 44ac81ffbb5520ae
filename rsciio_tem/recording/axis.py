# SPDX-License-Identifier: GPL-3.0-or-later
"""Calibration of one axis."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Axis"]


#: Numbers beyond this, or so much closer to zero than 1, are none of an instrument.
_LARGEST = 1e60


@dataclass(frozen=True)
class Axis:
    """Calibration of one axis; the coordinate of index i is ``offset + i * scale``.

    A scale of 0, or a scale or offset that is not a finite number, is unknown: a step of 1
    without a unit. If there are `values`, these are the coordinates instead: strictly rising or
    falling. A `Recording` leaves out a scale or offset of absurd size, with a warning.
    """

    name: str | None = ""
    units: str | None = ""
    scale: float = 1.0
    offset: float = 0.0
    values: npt.NDArray[np.float64] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        try:
            calibrated = (
                self.scale != 0 and math.isfinite(self.scale) and math.isfinite(self.offset)
            )
        except (TypeError, OverflowError):  # absurd; `measures` tells
            return
        if not calibrated:
            units = None if self.units is None else ""
            for name, value in (("units", units), ("scale", 1.0), ("offset", 0.0)):
                object.__setattr__(self, name, value)

    @property
    def measures(self) -> bool:
        """Whether scale and offset are numbers that something can be measured with."""
        try:
            scale, offset = abs(float(self.scale)), abs(float(self.offset))
        except (TypeError, ValueError, OverflowError):
            return False
        return 1 / _LARGEST < scale < _LARGEST and offset < _LARGEST  # none is NaN

    def cut(self, first: int, size: int) -> Axis:
        """Return the axis of so many indices from one on; without `values` any will do."""
        if self.values is None:
            return self if not first else replace(self, offset=self.offset + first * self.scale)
        if first < 0 or first + size > len(self.values):
            return replace(self, scale=0.0, values=None)
        return replace(self, values=self.values[first : first + size])

    def centred(self, index: float) -> Axis:
        """Return the axis with its zero at an index, which may lie between two pixels."""
        if self.values is None:
            return replace(self, offset=-index * self.scale)
        zero = np.interp(index, np.arange(len(self.values)), self.values)
        return replace(self, values=self.values - zero)

    def mirrored(self, size: int) -> Axis:
        """Return the axis of so many pixels in reverse order, its zero at the same feature.

        If its zero is none of them, or the first as of axes that count pixels, nothing in the image
        is there: the axis stays as it is.
        """
        if self.values is not None or not self.offset or self.scale == 0:
            return self
        if not 0 <= -self.offset / self.scale <= size - 1:
            return self
        return replace(self, offset=-self.offset - (size - 1) * self.scale)

    def binned(self, size: int, count: int) -> Axis:
        """Return the axis of `count` bins of so many pixels each: a bin is where its middle is."""
        if size == 1:
            return self
        if self.values is not None:
            return replace(self, values=self.values[: count * size].reshape(count, size).mean(1))
        offset = self.offset + self.scale * (size - 1) / 2
        return replace(self, scale=self.scale * size, offset=offset)

    def to_dict(self, index: int, size: int, navigate: bool) -> dict[str, Any]:
        """Return the axis as RosettaSciIO describes one."""
        if self.values is not None:
            return {
                "axis": self.values,
                "index_in_array": index,
                "name": self.name,
                "navigate": navigate,
                "size": int(size),
                "units": self.units,
            }
        return {
            "index_in_array": index,
            "name": self.name,
            "navigate": navigate,
            "offset": float(self.offset),
            "scale": float(self.scale),
            "size": int(size),
            "units": self.units,
        }
