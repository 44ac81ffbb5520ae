# SPDX-License-Identifier: GPL-3.0-or-later
"""Defective pixels as the cameras' XML files list them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Problems
from rsciio_tem.formats.seq.camera import Camera, elements
from rsciio_tem.parsing.text import to_number

#: Orientation of the list: as listed, as the XML says images are, or what is likely.
Defects = Literal["auto", "listed", "turned"]


def _span(text: Any) -> tuple[int, int] | None:
    """Parse ``7`` or ``7-12``, both ends included."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", str(text))
    if match is None:
        return None
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    return min(first, last), max(first, last)


def excluded_pixels(
    camera: Camera, shape: tuple[int, ...], defects: Defects, problems: Problems
) -> npt.NDArray[np.bool_] | None:
    """Mark the defective pixels that the XML lists, None if there are none within the frames.

    They are listed in coordinates of the sensor, from 0, for one binning or several; frames are a
    window of it.
    """
    listed, factor, binning = _map_for_binning(camera, problems)
    if listed is None:
        return None
    rotation = camera.either("RotationMode", "rotation")
    turns = (rotation // 90 if rotation >= 90 else rotation) % 4  # degrees, or quarter turns
    flip = (camera.value("Flip") or "").lower()
    turned = defects == "turned" or (defects == "auto" and bool(turns))
    window = shape[::-1] if turned and turns % 2 else shape
    offset = tuple(
        camera.either(f"ImageOffset{axis}", f"offset_{axis.lower()}") // binning for axis in "YX"
    )
    sensor = tuple(int(to_number(listed.get(name)) or 0) for name in ("Rows", "Columns"))
    for name, at, n, full in zip(("rows", "columns"), offset, window, sensor, strict=True):
        if full and (at + n) * factor > full:
            problems.warn(
                f"the frames' {name} {at} to {at + n - 1} lie beyond the {full // factor} of "
                "the map of defective pixels: they are not excluded.",
            )
            return None
    mask = np.zeros(window, bool)
    odd: list[str] = []
    for defect in elements(listed, "Defect"):
        _mark(mask, defect, offset, factor, sensor, odd)
    if odd:
        problems.warn(
            f"the list of defective pixels has {len(odd)} odd entries, the first: {odd[0]}."
        )
    if mask.mean() > 0.25:
        problems.warn(
            f"{mask.mean():.0%} of all pixels are listed as defective: none is excluded.",
        )
        return None
    return _oriented(mask, turns, flip, turned, defects, problems) if mask.any() else None


def _map_for_binning(
    camera: Camera, problems: Problems
) -> tuple[Mapping[str, Any] | None, int, int]:
    """Choose a list of defects: also returns its pixels along one of ours, and the binning."""
    maps = [
        entry
        for bad in elements(camera.tree, "BadPixels")
        for entry in elements(bad, "BadPixelMap")
        if elements(entry, "Defect")
    ]
    if not maps:
        return None, 1, 1
    hardware = camera.either("ImageBinning", "hardware_binning") or 1
    software = camera.whole("SWBinning") or 1
    binning = hardware * software
    if binning > 64:
        problems.warn(f"a binning of {binning} is impossible: defective pixels are not excluded.")
        return None, 1, binning
    if software > 1:
        problems.warn(
            f"frames were binned by software too (SWBinning {software}); that defective pixels "
            "are binned likewise is a guess.",
        )
    by_binning = {int(to_number(m.get("Binning")) or 1): m for m in reversed(maps)}
    if hardware in by_binning:
        return by_binning[hardware], software, binning
    if 1 not in by_binning:
        problems.warn(
            f"defective pixels are listed for binning {sorted(by_binning)}, not for {hardware}: "
            "they are not excluded.",
        )
    return by_binning.get(1), binning, binning


def _oriented(
    mask: npt.NDArray[np.bool_],
    turns: int,
    flip: str,
    turned: bool,
    defects: Defects,
    problems: Problems,
) -> npt.NDArray[np.bool_]:
    """Turn a mask from the sensor's orientation to that of the frames."""
    result = np.rot90(mask, -turns) if turned else mask
    flips = tuple(a for a, name in enumerate(("vertical", "horizontal")) if name in flip)
    flips = (0, 1) if "both" in flip else flips
    other = np.flip(result, flips)
    if defects == "turned":
        result = other
    elif defects == "auto" and (turned or not np.array_equal(result, other)):
        what = [f"rotated by {90 * turns}°"] if turns else []
        what += [f"flipped ({flip})"] if flips else []
        done = "turned but not flipped" if turned else "left as listed"
        problems.warn(
            f"the XML says that images are {' and '.join(what)}; whether this holds for the "
            f"list of defective pixels too is unknown. It is {done}.",
            'Pass defects="listed" or "turned", or excluded_pixels=.',
        )
    return np.ascontiguousarray(result)


def _mark(
    mask: npt.NDArray[np.bool_],
    defect: Mapping[str, Any],
    offset: tuple[int, ...],
    factor: int,
    sensor: tuple[int, ...],
    odd: list[str],
) -> None:
    """Mark one defect: whole rows or columns, pixels, or spans of them.

    What is wrong with it is added to `odd`.
    """
    spans: list[tuple[int, int] | None] = []
    ranged = []
    for one, many in (("Row", "Rows"), ("Column", "Columns")):
        text = defect.get(one, defect.get(many))
        spans.append(None if text is None else _span(text))
        ranged.append(text is not None and "-" in str(text))
        if text is not None and spans[-1] is None:
            odd.append(f"{dict(defect)} cannot be understood")
            return
    pattern = str(defect.get("pattern", defect.get("Pattern", "")))
    # a pattern runs along the range, or along the whole row or column
    axes = [a for a in (0, 1) if ranged[a]] or [a for a in (0, 1) if spans[a] is None]
    along = axes[0] if pattern and len(axes) == 1 and re.fullmatch("[01]+", pattern) else None
    if pattern and along is None:
        odd.append(f"{dict(defect)} has a pattern that is not understood: all is excluded")
    if spans == [None, None]:
        odd.append(f"{dict(defect)} names no row or column")
        return
    indices = []
    for axis, span in enumerate(spans):
        size = mask.shape[axis]
        first, last = span or (0, (sensor[axis] or (offset[axis] + size) * factor) - 1)
        # nothing but what lies within the frames, and there may be much else
        low = max(first, offset[axis] * factor)
        high = min(last, (offset[axis] + size) * factor - 1)
        index = np.arange(low, high + 1, dtype=np.int64)
        if along == axis:
            marked = np.frombuffer(pattern.encode(), np.uint8) == ord("1")
            index = index[marked[(index - first) % len(marked)]]
        indices.append(np.unique(index // factor - offset[axis]))
    mask[np.ix_(*indices)] = True
