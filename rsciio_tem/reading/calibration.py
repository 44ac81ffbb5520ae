# SPDX-License-Identifier: GPL-3.0-or-later
"""What axes are called, and their calibration by keywords."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rsciio_tem.recording.axis import Axis

__all__ = ["calibrated", "energy_and_length", "named", "wavelength"]

#: Names of axes that have none, fastest first.
_SCAN = ("x", "y", "z", "t")
_STACK = ("frame",)  # of which nobody says what changes from one to the next
_PATTERN = ("kx", "ky")  # of diffraction patterns
_DETECTOR = ("dx", "dy")  # of frames of which nobody says what they are
_IMAGE = ("x", "y", "z")


def named(
    nav: Sequence[Axis], sig: Sequence[Axis], signal_type: str
) -> tuple[list[Axis], list[Axis]]:
    """Give a name to axes without one; see "Names of axes" in ``docs/parameters.md``.

    Parameters
    ----------
    nav, sig : sequence of Axis
        Axes of the scan and of a frame, slowest first.
    signal_type : str
        HyperSpy's name of the kind of signal; may be empty.
    """
    names: tuple[str, ...] = _SCAN if len(nav) > 1 else _STACK
    if len(sig) == 1:
        kinds: tuple[str, ...] = ("Energy",) if sig[0].units == "eV" else ("channel",)
    elif len(sig) == 2 and ("diffraction" in signal_type or signal_type == "EBSD"):
        kinds = _PATTERN if "diffraction" in signal_type else _DETECTOR
    elif len(sig) == 2 and len(nav) > 1:
        kinds = _DETECTOR
    else:
        kinds = _IMAGE
    return _with_names(nav, names), _with_names(sig, kinds)


def _with_names(axes: Sequence[Axis], names: tuple[str, ...]) -> list[Axis]:
    count = len(axes)
    result = []
    for i, axis in enumerate(axes):
        place = count - 1 - i
        name = names[place] if place < len(names) else f"axis {i}"
        # None is what RosettaSciIO leaves undefined, which its own tests ask for
        result.append(axis if axis.name or axis.name is None else replace(axis, name=name))
    return result


def calibrated(
    nav: Sequence[Axis], sig: Sequence[Axis], options: Mapping[str, Any], stack: bool
) -> tuple[list[Axis], list[Axis]]:
    """Calibrate axes as the keywords of the caller say.

    Parameters
    ----------
    nav, sig : sequence of Axis
        Axes of the scan and of a frame, slowest first.
    options : dict
        ``scan_step``, ``detector_step``, ``camera_length`` in mm, ``pixel_size`` in µm,
        ``beam_energy`` in keV and ``centre``, as in ``docs/parameters.md``.
    stack : bool
        Whether the frames form no scan.

    Raises
    ------
    ValueError
        A value is impossible, or there is no such axis.
    """
    nav, sig = list(nav), list(sig)
    if options.get("scan_step") is not None:
        steps, units = _steps("scan_step", options["scan_step"], "nm")
        if not nav or stack:
            raise ValueError("scan_step: the frames form no scan; pass its navigation_shape")
        for place, one in enumerate(steps[: len(nav)], 1):
            axis = replace(nav[-place], scale=one, units=units, offset=0.0, values=None)
            nav[-place] = replace(axis, name="x") if axis.name in _STACK else axis
    step = options.get("detector_step")
    if step is None and (options.get("camera_length") or options.get("pixel_size")) is not None:
        step = _from_camera_length(options)
    asked = step is not None or options.get("centre") is not None
    if asked and len(sig) != 2:
        raise ValueError(
            "detector_step, camera_length and centre are for frames of two axes, these have "
            f"{len(sig)}"
        )
    if step is not None:
        steps, units = _steps("detector_step", step, "1/nm")
        for place, one in enumerate(steps, 1):
            sig[-place] = replace(sig[-place], scale=one, units=units, offset=0.0, values=None)
    if options.get("centre") is not None:
        asked_centre = options["centre"]
        centre = [] if isinstance(asked_centre, str) else _numbers("centre", asked_centre)
        if len(centre) != 2:
            raise ValueError("centre: pass the pixel (x, y) of the direct beam")
        for place, pixel in enumerate(centre, 1):
            sig[-place] = sig[-place].centred(pixel)
    return nav, sig


def energy_and_length(options: Mapping[str, Any]) -> dict[str, float]:
    """Return what goes to ``metadata.Acquisition_instrument.TEM``: keV and mm."""
    return {
        name: _positive(name, options[name])
        for name in ("beam_energy", "camera_length")
        if options.get(name) is not None
    }


def wavelength(energy: float) -> float:
    """Return the wavelength in nm of electrons of an energy in keV.

    Relativistic: h c / sqrt(E (E + 2 m c²)), with CODATA 2018 values.
    """
    return 1.23984198 / math.sqrt(energy * (energy + 2 * 510.99895))


def _from_camera_length(options: Mapping[str, Any]) -> str:
    """Return the step of a detector pixel: 1/nm if the energy is given, else mrad."""
    for name in ("camera_length", "pixel_size"):
        if options.get(name) is None:
            raise ValueError(f"camera_length (mm) and pixel_size (µm) go together; pass {name}")
    length = _positive("camera_length", options["camera_length"])
    angle = _positive("pixel_size", options["pixel_size"]) * 1e-3 / length
    if options.get("beam_energy") is None:
        return f"{angle * 1e3!r} mrad"
    return f"{angle / wavelength(_positive('beam_energy', options['beam_energy']))!r} 1/nm"


#: Units of keywords, and what is no value of a microscope in them but may be one in another unit.
_PLAUSIBLE = {
    "beam_energy": ("keV", 0.1, 5000),
    "camera_length": ("mm", 1, 100_000),
    "pixel_size": ("µm", 0.1, 10_000),
}


#: What can follow the number of a step.
_UNIT = r"(?:(?:(?<!\d)1\s*)?/\s*)?[^\W\d][^\s,;]*|°|"


def _with_point(text: str) -> str:
    """Say how numbers with decimal commas are written here; "" if there are none in a text."""
    pointed = re.sub(r"(?<=\d),(?=\d)", ".", text)
    # of several numbers every second comma is that between them
    if len(parts := re.findall(r"\d+,\d+", text)) > 1:
        unit = re.search(r"[^\d,.;\s].*", text)
        pointed = ",".join(part.replace(",", ".") for part in parts) + (
            f" {unit[0]}" if unit else ""
        )
    return f"; with decimal points it is {pointed!r}" if pointed != text else ""


def _positive(name: str, value: Any) -> float:
    unit, least, most = _PLAUSIBLE[name]
    if isinstance(value, str):
        raise ValueError(f"{name} is a number, in {unit}, not {value!r}{_with_point(value)}")
    numbers = _numbers(name, value)
    if len(numbers) == 1 and numbers[0] > 0 and not least <= numbers[0] <= most:
        raise ValueError(f"{name}={value!r}: the unit is {unit}")
    if len(numbers) != 1 or not numbers[0] > 0:
        raise ValueError(f"{name}={value!r} is not a positive number")
    return numbers[0]


def _numbers(name: str, value: Any) -> list[float]:
    values = value if isinstance(value, (list, tuple)) else [value]
    try:
        numbers = [float(one) for one in values]
    except (TypeError, ValueError):
        raise ValueError(f"{name}={value!r} holds something that is not a number") from None
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{name}={value!r} is not finite")
    return numbers


def _steps(name: str, value: Any, units: str) -> tuple[list[float], str]:
    """Return the steps along x and y, and their unit: ``0.5``, ``(0.5, 0.6)``, ``"0.5,0.6 µm"``."""
    if isinstance(value, str):
        number = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
        match = re.fullmatch(rf"\s*({number})\s*(?:,\s*({number}))?\s*({_UNIT})\s*", value)
        if match is None:
            raise ValueError(
                f"{name}={value!r} is not a step such as 0.5 or '0.5 {units}'{_with_point(value)}"
            )
        units = re.sub(r"^/", "1/", match[3]) or units
        parts = [part for part in match.groups()[:2] if part]
        if len(parts) == 2 and all(part.isdigit() for part in parts):
            one, two = (".".join(parts), ",".join(f"{part}.0" for part in parts))
            if not int(parts[0]):  # no step
                raise ValueError(
                    f"{name}={value!r} has a decimal comma: write {name}='{one} {units}'"
                )
            raise ValueError(
                f"{name}={value!r} may be one step with a decimal comma, or two steps: "
                f"write {name}='{one} {units}' or {name}='{two} {units}'"
            )
        value = parts
    steps = _numbers(name, value)
    if len(steps) not in (1, 2) or not all(step > 0 for step in steps):
        raise ValueError(f"{name}={value!r} is not a positive number, nor two of them, (x, y)")
    return [*steps, steps[0]][:2], units
