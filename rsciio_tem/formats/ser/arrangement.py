# SPDX-License-Identifier: GPL-3.0-or-later
"""From the dimensions of the header to axes and scan."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rsciio_tem.formats.ser.description import Description
from rsciio_tem.formats.ser.header import Dimension, Header
from rsciio_tem.recording.axis import Axis
from rsciio_tem.scan.scan import ScanHint


def _axis(name: str | None, units: str, delta: float, offset: float, element: float) -> Axis:
    """Calibrate an axis; lengths of TIA are in metres, HyperSpy's in nm."""
    offset -= element * delta
    if not (math.isfinite(delta) and math.isfinite(offset) and delta):
        return Axis(name, None)
    if units == "meters":
        return Axis(name, "nm", delta * 1e9, offset * 1e9)
    if units == "1/meters":
        return Axis(name, "1 / nm", delta / 1e9, offset / 1e9)
    return Axis(name, units or None, delta, offset)


def signal_axes(header: Header, head: np.void, description: Description | None) -> tuple[Axis, ...]:
    """Calibrate the axes of an element."""

    def calibration(suffix: str = "") -> tuple[float, float, int]:
        names = (f"Calibration{n}{suffix}" for n in ("Delta", "Offset", "Element"))
        delta, offset, element = (head[name].item() for name in names)
        return delta, offset, element

    if header.spectral:
        return (_axis("Energy", "eV", *calibration()),)
    units = _units(header, abs(float(head["CalibrationDeltaX"])), description)
    return _axis("y", units, *calibration("Y")), _axis("x", units, *calibration("X"))


def _units(header: Header, delta: float, description: Description | None) -> str:
    """Tell images from diffraction patterns.

    A pixel of more than a metre is one of a diffraction pattern in 1/m, whatever else is said.
    """
    if delta > 1:
        return "1/meters"
    if description is None:
        return "meters"
    first = description.first or {}
    experiment, acquired = (first.get(n) for n in ("ExperimentalDescription", "AcquireInfo"))
    mode = experiment.get("Mode") if isinstance(experiment, dict) else None
    if mode is None or not header.dimensions:
        return "meters"
    camera = isinstance(acquired, dict) and "CameraNamePath" in acquired
    dimension = header.dimensions[0]
    scanned = dimension.size > 1 and bool(dimension.units)
    diffraction = camera or scanned if "STEM" in mode else "Diffraction" in mode
    return "1/meters" if diffraction else "meters"


class Arrangement(NamedTuple):
    """How the elements of a series are arranged."""

    hints: tuple[ScanHint, ...] = ()
    scan_axes: tuple[Axis, ...] = (Axis("y"), Axis("x"))
    stack_axis: Axis | None = None


def arranged(
    header: Header,
    count: int,
    tags: npt.NDArray[np.void],
    only_valid_data: bool,
) -> Arrangement:
    """Arrange elements in the dimensions of the header.

    As in RosettaSciIO, images have no dimensions of one element, and one dimension is cut to what
    was recorded.
    """
    kept = [d for d in header.dimensions if header.spectral or d.size != 1]
    values, sizes = header.values, [d.size for d in kept]
    sure = 0.95 if only_valid_data else 1.0  # the caller wants these dimensions
    if not kept or 0 in sizes:
        return Arrangement(stack_axis=Axis(None, None))
    if len(kept) == 1:
        axis = _of_dimension(kept[0], "x")
        asked = kept[0].size
        complete = values["TotalNumberElements"] == values["ValidNumberElements"]
        if (asked > count and not only_valid_data) or (asked == count == 1 and complete):
            reason = f"the header says that {asked} elements were asked for"
            return Arrangement((ScanHint("header", (asked,), sure, reason, exact=True),), (axis,))
        reason = f"one dimension of {asked} elements in the header"
        stack = (ScanHint("stack", (count,), 0.95, reason),) if count > 1 else ()
        return Arrangement(stack, stack_axis=axis)
    reason = f"dimensions of {' and '.join(map(str, sizes))} elements in the header"
    slow_first = kept[::-1]
    if len(kept) == 2 and len(tags) and "PositionX" in (tags.dtype.names or ()):
        fast = _fast_dimension((sizes[0], sizes[1]), tags)
        if fast is not None:
            reason += ", the faster of which the positions of the beam tell"
            slow_first = [kept[1 - fast], kept[fast]]
    names = [*[None] * (len(kept) - 2), "y", "x"]
    axes = tuple(_of_dimension(d, n) for d, n in zip(slow_first, names, strict=True))
    shape = tuple(d.size for d in slow_first)
    return Arrangement((ScanHint("header", shape, sure, reason, exact=True),), axes)


def _of_dimension(dimension: Dimension, name: str | None) -> Axis:
    _, offset, delta, element, units = dimension
    return _axis(name if units == "meters" else None, units, delta, offset, element)


def _fast_dimension(sizes: tuple[int, int], tags: npt.NDArray[np.void]) -> int | None:
    """Return which of two dimensions is the faster one by the positions, None if they do not tell.

    Along a line, which may lie at any angle, the beam takes equal steps.
    """
    steps = np.diff(tags["PositionX"] + 1j * tags["PositionY"])
    if not len(steps) or not np.isfinite(steps).all() or not abs(steps[0]):
        return None
    turns = np.flatnonzero(abs(steps - steps[0]) > 0.5 * abs(steps[0]))
    line = int(turns[0]) + 1 if len(turns) else 0
    if sizes[0] != sizes[1]:
        return sizes.index(line) if line in sizes else None
    return 1 if line == sizes[0] and steps[0].real == 0 else None
