# SPDX-License-Identifier: GPL-3.0-or-later
"""From the coordinates of an axis, as files list them, to its calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Problems
from rsciio_tem.recording.axis import Axis

__all__ = ["axis_of"]

#: Part of a step by which no coordinate of an even axis is off: nobody can tell the difference.
_STEP = 0.01
#: Coordinates of this size and more are none, and neither are those that are no numbers.
_LARGEST = 1e100
#: Least number of coordinates, and of last digits between the first and the last of them, for
#: which rounding can be told from steps that are uneven.
_COUNT, _DIGITS = 8, 20


def axis_of(
    name: str,
    units: str | None,
    values: Sequence[float] | npt.NDArray[np.float64],
    size: int,
    problems: Problems | None = None,
) -> Axis:
    """Calibrate an axis by its coordinates, by the first two of them, or by edges of pixels.

    Coordinates of equal steps, within what rounding explains, make an axis of offset and scale:
    none is off by more than a hundredth of a step, by the noise of 32-bit numbers, or, of eight and
    more that are written with so many decimal places, by one in the last place. Others make a
    non-uniform axis if they only rise or only fall. What is left has no calibration.

    Parameters
    ----------
    name, units : str
        What the axis is called, and the unit of its coordinates.
    values : sequence of float
        One for each index, two, or those of the edges, one more than there are indices.
    size : int
        Length of the axis.
    problems : Problems, optional
        Where it goes that coordinates make no axis.
    """
    vector = np.asarray(values, np.float64)
    usable = bool((np.abs(vector) < _LARGEST).all())
    if len(vector) == 1 == size and usable:
        return Axis(name, units, 1.0, float(vector[0]))
    if usable and len(vector) == size + 1 and size != 1:  # edges, as of a histogram
        vector = (vector[1:] + vector[:-1]) / 2
    if len(vector) not in (2, size):
        return Axis(name, units, 0.0)
    line = _line(vector) if usable else None
    if line is not None:
        return Axis(name, units, *line)
    steps = np.diff(vector) if usable else np.zeros(1)
    if (steps > 0).all() or (steps < 0).all():
        return Axis(name, units, values=vector)
    if problems is not None and vector.any():  # zeros: nobody calibrated
        problems.warn(
            f"the coordinates of axis {name!r} neither only rise nor only fall; it is left without "
            "calibration."
        )
    return Axis(name, units, 0.0)


def _line(values: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """Return step and first coordinate of an even axis, None of any other."""
    count = len(values)
    first, step = float(values[0]), float(values[-1] - values[0]) / (count - 1)
    if not step:
        return None
    index = np.arange(count)
    off = np.abs(values - first - step * index).max()
    if off <= max(_STEP * abs(step), _noise(values)):
        return step, first
    last_place = _last_place(values)
    if count < _COUNT or abs(values[-1] - first) < _DIGITS * last_place:
        return None
    # rounded to decimal places: the ends are as rounded as the others, so all count
    step, first = (float(number) for number in np.polyfit(index, values, 1))
    off = np.abs(values - first - step * index).max()
    return (step, first) if step and off <= last_place else None


def _noise(values: npt.NDArray[np.float64]) -> float:
    """Return how far off 32-bit numbers are that were computed as such."""
    most = np.abs(values).max()
    if most > np.finfo(np.float32).max or np.array_equal(values, np.rint(values)):
        return 0.0
    single = values.astype(np.float32)
    return 2 * float(np.spacing(np.float32(most))) if np.array_equal(single, values) else 0.0


def _last_place(values: npt.NDArray[np.float64]) -> float:
    """Return the last decimal place that numbers were rounded to, without limit if there is none.

    Whole numbers are rounded to nothing: counts and angles are often uneven.
    """
    most = float(np.abs(values).max())
    precision = float(np.finfo(np.float32).eps) if _noise(values) else float(np.finfo(float).eps)
    for places in range(16):
        scaled = values * 10.0**places
        if most * 10.0**places * precision > 1e-3:  # whatever they are, all are whole by now
            break
        if np.abs(scaled - np.rint(scaled)).max() <= 4 * precision * most * 10.0**places:
            return 10.0**-places if places else math.inf
    return math.inf
