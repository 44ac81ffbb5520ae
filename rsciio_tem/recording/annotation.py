# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody wrote down about a recording, in a side file of ours beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rsciio_tem.scan.scan import Scan
from rsciio_tem.storage.files import ANNOTATION

__all__ = ["CALIBRATION", "CORRECTIONS", "SCAN", "SUFFIX", "Annotation"]

#: The name of a side file is that of the recording, and this.
SUFFIX = ANNOTATION

#: Keywords of readers that a side file may have, by the tables that they are in.
SCAN = (
    *("navigation_shape", "scan", "first_frame", "last_frame", "sync_offset", "flyback"),
    *("line_skip", "snake", "winding_scan_axis", "hysteresis"),
)
CALIBRATION = (
    *("scan_step", "detector_step", "camera_length", "pixel_size", "beam_energy", "centre"),
)
CORRECTIONS = ("corrections", "dark", "gain", "excluded_pixels", "repair")

#: Keywords that are about the arrangement as a whole: with one of them, nothing else of it is
#: taken from a side file.
_WHOLE = frozenset(("navigation_shape", "nav_shape", "scan"))
#: Where a scan begins.
_BEGIN = frozenset(("first_frame", "sync_offset"))
_ORDER = frozenset(("snake", "winding_scan_axis"))


@dataclass(frozen=True, eq=False)
class Annotation:
    """What a side file says.

    Parameters
    ----------
    path : str
        The side file.
    values : dict
        Keywords of readers, and what they are.
    notes : str
        For people.
    written : dict
        ``by``, ``version`` and ``time``: what wrote it, and when.
    scan : Scan, optional
        How the frames are arranged if nothing else is asked for; None if it does not say that.
    messages : tuple of (str, str)
        Paths and warnings that belong to that arrangement.
    """

    path: str
    values: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""
    written: Mapping[str, Any] = field(default_factory=dict)
    scan: Scan | None = None
    messages: tuple[tuple[str, str], ...] = ()

    def arrangement(self, keywords: Mapping[str, Any]) -> dict[str, Any]:
        """Return what it says of the scan, as far as the keywords of a caller leave that open.

        Parameters
        ----------
        keywords : dict
            Those that are set: a shape, or a rule, is a word on the whole arrangement.
        """
        if _WHOLE & keywords.keys():
            return {}
        taken = set(keywords)
        for alike in (_BEGIN, _ORDER):
            if alike & taken:
                taken |= alike
        return {n: v for n, v in self.values.items() if n in SCAN and n not in taken}

    def optics(self, keywords: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is needed besides the keywords of a caller to calculate a detector step."""
        names = ("camera_length", "pixel_size", "beam_energy")
        if not set(names) & keywords.keys() or "detector_step" in {*keywords, *self.values}:
            return {}
        return {n: self.values[n] for n in names if n in self.values and n not in keywords}

    def describe(self) -> dict[str, Any]:
        """Return it as plain values for ``original_metadata`` and JSON."""
        result = {"path": self.path, "values": dict(self.values), "written": dict(self.written)}
        return {**result, "notes": self.notes} if self.notes else result
