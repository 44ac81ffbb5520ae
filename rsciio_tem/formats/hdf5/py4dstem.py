# SPDX-License-Identifier: GPL-3.0-or-later
"""The calibration that py4DSTEM keeps beside a data cube.

Source: files written by py4DSTEM 0.13 and 0.14. The group ``metadatabundle/calibration`` beside the
cube holds the sizes of pixels, and the centre of the pattern in pixels. The coordinates of each
axis that are stored with the cube are made of them, not always rightly: version 0.14.18 subtracts
the centre from them in pixels, whatever their unit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rsciio_tem.errors import Problems
from rsciio_tem.formats.hdf5.meaning import units_of
from rsciio_tem.parsing.coordinates import axis_of
from rsciio_tem.parsing.hdf5_links import member
from rsciio_tem.parsing.hdf5_values import value
from rsciio_tem.parsing.text import to_number
from rsciio_tem.recording.axis import Axis


class Pixel(NamedTuple):
    """Size of a pixel along an axis, its unit, and the pixel at the centre of the pattern."""

    size: float
    units: str
    centre: float | None

    def axis(
        self, name: str, units: str, values: list[float], size: int, problems: Problems
    ) -> Axis:
        """Calibrate an axis; its coordinates only say what the calibration does not."""
        stored = axis_of(name, units, values, size)
        offset = stored.offset * (self.size if units in ("", "px") else 1.0)
        if self.centre is not None:
            offset = -self.centre * self.size
        elif units not in ("", "px", self.units):
            offset = 0.0
        elif stored.values is not None:
            offset = float(stored.values[0])
        axis = Axis(name, self.units, self.size, offset)
        if units not in ("", "px") and not _agree(axis, stored, size):
            problems.warn(
                f"the coordinates of axis {name} contradict the calibration beside them, a pixel "
                f"of {self.size:g} {self.units}; the calibration is used."
            )
        return axis


def _agree(axis: Axis, stored: Axis, size: int) -> bool:
    """Whether no coordinate of an axis differs by more than a pixel."""
    if stored.units != axis.units or stored.values is not None:
        return False
    ends = (0, size - 1)
    return all(
        abs(axis.offset - stored.offset + (axis.scale - stored.scale) * i) <= axis.scale
        for i in ends
    )


def calibration_of(bundle: Any) -> dict[str, Pixel]:
    """Return the calibration beside a cube: for ``Rx``, ``Ry``, ``Qx`` and ``Qy``, if there is."""
    pixels: dict[str, Pixel] = {}
    if bundle is None:
        return pixels
    for letter in "RQ":
        size = to_number(value(member(bundle, f"{letter}_pixel_size")))
        units = units_of(value(member(bundle, f"{letter}_pixel_units")))
        if size is None or size <= 0 or units in ("", "px"):
            continue
        for side in "xy":
            centre = to_number(value(member(bundle, f"q{side}0_mean"))) if letter == "Q" else None
            pixels[letter + side] = Pixel(size, units, centre)
    return pixels
