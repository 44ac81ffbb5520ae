# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pixel measures, and how long a scale bar is: round numbers in a unit that suits them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rsciio_tem.tools.ticks import number_in_words

__all__ = ["Bar", "Step", "bar_of", "pixel_ratio", "step_of", "unit_in_words"]

_PREFIXES = {"p": -12, "n": -9, "µ": -6, "m": -3, "c": -2, "": 0}

#: Powers of ten of units, in metres and radians, as they are written in pictures.
_LENGTHS = {**{f"{prefix}m": power for prefix, power in _PREFIXES.items()}, "Å": -10}
_ANGLES = {"µrad": -6, "mrad": -3, "rad": 0}

#: Units that bars change to, if a number is too large or too small for the file's own unit.
_USUAL = {
    "length": ("pm", "nm", "µm", "mm", "m"),
    "reciprocal": ("Å⁻¹", "nm⁻¹", "µm⁻¹", "mm⁻¹", "m⁻¹"),
    "angle": ("µrad", "mrad", "rad"),
}

_WORDS = {
    **dict.fromkeys(("a", "angstrom", "angstroms", "å", "Å".lower()), "Å"),
    **dict.fromkeys(("micron", "microns"), "µm"),
    **dict.fromkeys(("nanometer", "nanometers"), "nm"),
    **dict.fromkeys(("deg", "degree", "degrees"), "°"),
}

_RECIPROCAL = re.compile(r"1\s*/\s*(?P<below>[^\W\d]+)|(?P<base>[^\W\d]+)\s*(?:\^?\s*-1|⁻¹)")


class Step(NamedTuple):
    """What one pixel measures along an axis.

    Parameters
    ----------
    size : float
        In the unit; positive.
    unit : str
        As it is written in pictures.
    kind : str
        "length", "reciprocal" or "angle"; of other units, the unit itself.
    power : int
        The unit in metres, reciprocal metres or radians, as a power of ten.
    """

    size: float
    unit: str
    kind: str
    power: int


@dataclass(frozen=True)
class Bar:
    """A scale bar.

    Parameters
    ----------
    pixels : float
        Its length in pixels.
    text : str
        Its length in words: ``20 nm``.
    """

    pixels: float
    text: str


def unit_in_words(unit: str | None) -> str:
    """Write a unit as it stands in pictures: ``nm⁻¹`` for ``1/nm``, ``µm`` for ``um``."""
    text = (unit or "").strip()
    if match := _RECIPROCAL.fullmatch(text):
        return f"{_plain(match['below'] or match['base'])}⁻¹"
    return _plain(text)


def _plain(text: str) -> str:
    text = _WORDS.get(text.lower(), text)
    micro = re.fullmatch(r"[uμµ](m|rad|s)", text)
    return f"µ{micro[1]}" if micro else text


def step_of(axis: Mapping[str, Any]) -> Step | None:
    """Return what a pixel of an axis measures; None if it is not calibrated.

    Parameters
    ----------
    axis : dict
        As readers return it: with "scale" and "units".
    """
    unit, scale = unit_in_words(axis.get("units")), axis.get("scale")
    if unit.lower() in ("", "px", "pixel", "pixels") or scale is None:
        return None
    size = abs(float(scale))
    if not (math.isfinite(size) and size > 0):
        return None
    if unit in _LENGTHS:
        return Step(size, unit, "length", _LENGTHS[unit])
    if unit in _ANGLES:
        return Step(size, unit, "angle", _ANGLES[unit])
    if unit.endswith("⁻¹") and (base := unit.removesuffix("⁻¹")) in _LENGTHS:
        return Step(size, unit, "reciprocal", -_LENGTHS[base])
    return Step(size, unit, unit, 0)


def pixel_ratio(vertical: Step | None, horizontal: Step | None) -> float:
    """Return height by width of a pixel; 1 where these cannot be compared."""
    if vertical is None or horizontal is None or vertical.kind != horizontal.kind:
        return 1.0
    return vertical.size / horizontal.size * 10.0 ** (vertical.power - horizontal.power)


def bar_of(step: Step, pixels: int) -> Bar:
    """Choose a scale bar for a picture: the longest of 1, 2, 5, 10, … that takes a third of it.

    Parameters
    ----------
    step : Step
        What a pixel measures horizontally.
    pixels : int
        Width of the picture.
    """
    room = step.size * pixels / 3
    power = math.floor(math.log10(room))
    leading = max(n for n in (0.5, 1, 2, 5) if n * 10.0**power <= room * (1 + 1e-9))
    length = leading * 10.0**power
    value, unit = _readable(length, step)
    return Bar(length / step.size, f"{number_in_words(value)} {unit}".replace(" °", "°"))


def _readable(value: float, step: Step) -> tuple[float, str]:
    """Change the unit of a value if its number is too large or too small."""
    least = 0.1 if step.kind == "length" else 0.01
    if least * (1 - 1e-9) <= value < 1000:
        return value, step.unit
    choices = []
    for unit in _USUAL.get(step.kind, ()):
        other = step_of({"units": unit, "scale": 1})
        assert other is not None
        number = value * 10.0 ** (step.power - other.power)
        choices.append((abs(math.log10(number) - 1), number, unit))
    return min(choices)[1:] if choices else (value, step.unit)
