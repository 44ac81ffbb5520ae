# SPDX-License-Identifier: GPL-3.0-or-later
"""What units tell of axes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

__all__ = ["FrameAxes", "frame_axes"]

#: Units of lengths, and of diffraction patterns.
_LENGTH = re.compile(r"[pnmcµμu]?m|Å|A|angstroms?|microns?|nanometers?", re.IGNORECASE)
_RECIPROCAL = re.compile(r"1\s*/.*|.*(\^?-1|⁻¹)|[mµμu]?rad|deg|°", re.IGNORECASE)


class FrameAxes(NamedTuple):
    """At which end of the axes those of the frame are, and the unit that says so."""

    end: Literal["first", "last"]
    reason: str


def frame_axes(units: Sequence[str]) -> FrameAxes | None:
    """Return where units say that the two axes of the frame are, None if they do not tell.

    The axes in 1/nm, mrad, … are those of a diffraction pattern. If there are none, two of four
    axes in nm, µm, … are the scan.
    """
    units = [unit.strip() for unit in units]
    first, last = (all(_RECIPROCAL.fullmatch(u) for u in pair) for pair in (units[:2], units[-2:]))
    if first != last:
        return FrameAxes("first" if first else "last", f"units {units[0 if first else -1]!r}")
    lengths = [i for i, unit in enumerate(units) if _LENGTH.fullmatch(unit)]
    if len(units) == 4 and lengths in ([0, 1], [2, 3]):
        end: Literal["first", "last"] = "last" if lengths[0] == 0 else "first"
        return FrameAxes(end, f"units {units[lengths[0]]!r} of two axes")
    return None
