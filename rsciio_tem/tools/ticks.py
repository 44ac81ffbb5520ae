# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers in pictures: short ones in texts, round ones at axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.tools.direct_beam import real

__all__ = ["compact", "labels_of", "number_in_words", "span", "ticks_between"]

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def number_in_words(value: float) -> str:
    """Write a number in four digits, its power of ten as such: ``1.55 × 10²²``."""
    mantissa, e, power = f"{value:.4g}".partition("e")
    return f"{mantissa} × 10{str(int(power)).translate(_SUPERSCRIPT)}" if e else mantissa


def compact(value: float) -> str:
    """Format a number in a few characters: ``12.3 k``, ``1.55 × 10²²``."""
    if not 9999.5 <= abs(value) < 999.5e12:
        return number_in_words(value)
    size = abs(float(f"{value:.3g}"))
    unit, name = next(u for u in _UNITS if size >= u[0])
    return f"{value / unit:.3g} {name}"


def span(values: npt.NDArray[Any]) -> str:
    """Say from which number to which values reach."""
    values = real(values)
    values = values[np.isfinite(values)]
    if not values.size:
        return "nothing"
    least, most = float(values.min()), float(values.max())
    low, high = compact(least), compact(most)
    if low == high and least != most:  # do not say that they are all alike
        low, high = f"{least:.8g}", f"{most:.8g}"
    return f"{low} to {high}" if low != high else f"all {low}"


def ticks_between(low: float, high: float, count: int, *, log: bool = False) -> list[float]:
    """Choose round numbers between two: about so many; of a long logarithmic axis powers of 10."""
    from matplotlib.ticker import MaxNLocator

    if log and high / low > 50:
        first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
        step = max(1, math.ceil((last - first) / count))
        ticks = [float(f"1e{power}") for power in range(first, last + 1, step)]
    elif log and high / low > 3:
        first = math.floor(math.log10(low))
        ticks = [n * 10.0**p for p in range(first, first + 4) for n in (1, 2, 5)]
    else:
        rounds = MaxNLocator(count, steps=[1, 2, 2.5, 5, 10])
        ticks = np.asarray(rounds.tick_values(low, high)).tolist()
    room = (high - low) * 1e-9
    return [tick for tick in ticks if low - room <= tick <= high + room]


def labels_of(ticks: Sequence[float]) -> list[str]:
    """Write the numbers of an axis: with as many digits as tell them apart, large ones in k or M.

    Of an axis of many powers of ten each number has its own unit.
    """
    sizes = [abs(tick) for tick in ticks if tick]
    if not sizes:
        return ["0"] * len(ticks)
    largest, spread = max(sizes), max(sizes) / min(sizes)
    if spread >= 100 and len(ticks) > 1 and all(_is_power(size) for size in sizes):
        return [_power_in_words(tick) for tick in ticks]
    steps = np.diff(sorted(ticks))
    step = float(steps.min()) if len(steps) and steps.min() > 0 else largest
    if largest < 1e-3 or largest >= 999.5e12:
        power = math.floor(math.log10(largest))
        decimals = max(0, power - math.floor(math.log10(step) + 1e-9))
        ending = f"×10{str(power).translate(_SUPERSCRIPT)}"
        return [f"{tick / 10.0**power:.{decimals}f}{ending}" if tick else "0" for tick in ticks]
    unit, name = next((u for u in _UNITS if largest >= max(u[0], 1e4)), (1.0, ""))
    decimals = _decimals(step / unit)
    if unit > 1 and decimals > 2:  # the whole number is not longer
        unit, name, decimals = 1.0, "", _decimals(step)
    ending = f" {name}" if name else ""
    return [f"{tick / unit:.{decimals}f}{ending}" if tick else "0" for tick in ticks]


def _decimals(step: float) -> int:
    """Return how many digits after the point tell multiples of a step apart."""
    return next((n for n in range(12) if abs(step - round(step, n)) < 1e-6 * step), 12)


def _is_power(size: float) -> bool:
    return math.isclose(10.0 ** round(math.log10(size)), size)


def _power_in_words(tick: float) -> str:
    power = round(math.log10(tick))
    unit, name = next((u for u in _UNITS if tick >= u[0]), (1.0, ""))
    if not -3 <= power < 15:
        return f"10{str(power).translate(_SUPERSCRIPT)}"
    return f"{tick / unit:g} {name}".strip()
