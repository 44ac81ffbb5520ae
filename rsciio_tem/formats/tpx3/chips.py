# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the chips of a camera are."""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Unsupported

__all__ = ["Arrangement", "arrangement_of", "layout", "shape_of"]

#: One chip; four in a square; four in a row.
Arrangement = Literal["single", "quad", "row"]

_SIZE = 256

#: For each chip the column of its column 0, the direction of columns, and the same for rows.
_CHIPS: dict[Arrangement, tuple[tuple[int, int, int, int], ...]] = {
    "single": ((0, 1, 0, 1),),
    "quad": ((256, 1, 0, 1), (511, -1, 511, -1), (255, -1, 511, -1), (0, 1, 0, 1)),
    "row": ((768, 1, 0, 1), (0, 1, 0, 1), (256, 1, 0, 1), (512, 1, 0, 1)),
}
_SHAPES: dict[Arrangement, tuple[int, int]] = {
    "single": (_SIZE, _SIZE),
    "quad": (2 * _SIZE, 2 * _SIZE),
    "row": (_SIZE, 4 * _SIZE),
}


def shape_of(arrangement: Arrangement) -> tuple[int, int]:
    """Return rows and columns of a frame."""
    return _SHAPES[arrangement]


@functools.cache
def layout(arrangement: Arrangement) -> npt.NDArray[np.int64]:
    """Return the table that the kernel takes, a row for each number that a chip can have."""
    table = np.zeros((256, 5), np.int64)
    for chip, row in enumerate(_CHIPS[arrangement]):
        table[chip] = (*row, _SHAPES[arrangement][1])
    return table


def arrangement_of(chips: str, numbers: list[int], path: str) -> Arrangement:
    """Return how the chips with these numbers are arranged, as asked or as their numbers say."""
    if chips not in ("auto", *_CHIPS):
        raise ValueError(f"chips={chips!r} is none of 'auto', 'single', 'quad', 'row'")
    most = max(numbers, default=0)
    result: Arrangement = "quad" if most else "single"
    for name in _CHIPS:
        if name == chips:
            result = name
    if most >= (count := len(_CHIPS[result])):
        raise Unsupported(
            path,
            f"has data of chip {most}, beyond the {count} of this arrangement.",
            "Pass chips='quad' or chips='row'." if most < 4 else "",
        )
    return result
