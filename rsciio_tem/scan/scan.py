# SPDX-License-Identifier: GPL-3.0-or-later
"""How the frames of a recording are arranged: the scan shape, its evidence, and the frame mapping.

`resolve_scan` is the one place, for every format, where this is decided. A shape that the user
gives is used. Otherwise what headers claim, frame numbers, times and exposures are compared with
each other, and what contradicts the result is kept with it. A perfect square is never assumed
unless asked for. The result is an index into the stored frames, with -1 for positions that no
frame was recorded for.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.protocol import FrameIndex

__all__ = ["Flyback", "Missing", "Scan", "ScanHint", "ScanRequest"]

_logger = logging.getLogger(__name__)


Missing = Literal["auto", "fill", "crop", "raise"]


Flyback = Literal["auto", "keep", "drop"]


#: Names that the keyword ``scan`` takes.
RULES = ("auto", "header", "exposures", "timestamps", "content", "square", "stack", "rosettasciio")


@dataclass(frozen=True)
class ScanHint:
    """A scan shape for which the recording has evidence.

    Parameters
    ----------
    rule : str
        Which rule found it: "header", "trigger", "exposures", "timestamps", "square", "stack";
        "argument" for the caller's shape, "annotation" for that of one of our side files.
    shape : tuple of int
        Array order, slow axis first.
    confidence : float
        0 to 1.
    reason : str
        What was seen, in words.
    start : int
        Stored frame at which the first line begins.
    line : int
        Stored frames per line; more than ``shape[-1]`` where frames are recorded during flyback.
    column : int
        First kept frame of each stored line.
    exact : bool
        Whether the frames are certain to have this order, from coordinates or because they are an
        array of this shape; times are then ignored.
    """

    rule: str
    shape: tuple[int, ...]
    confidence: float
    reason: str
    start: int = 0
    line: int = 0
    column: int = 0
    exact: bool = False

    @property
    def line_length(self) -> int:
        """Stored frames per line."""
        return self.line or (self.shape[-1] if self.shape else 1)

    @property
    def repeated(self) -> bool:
        """Whether it is a scan that was repeated, the repeats being the slowest axis."""
        return (
            len(self.shape) == 3 and not self.exact and self.rule not in ("argument", "annotation")
        )

    def describe(self) -> dict[str, Any]:
        """Return the hint as plain values for ``original_metadata`` and JSON."""
        return {
            "rule": self.rule,
            "shape": list(self.shape),
            "confidence": self.confidence,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class ScanRequest:
    """What the caller asked for; see ``docs/parameters.md``."""

    shape: tuple[int, ...] | None = None  # array order, one -1 allowed
    hyperspy_order: bool = False  # whether it was given as navigation_shape
    first_frame: int | None = None
    last_frame: int | None = None
    sync_offset: int | None = None  # None: where the recording itself says that it begins
    missing: Missing = "auto"
    rule: str = "auto"
    flyback: Flyback = "auto"
    line_skip: int = 0
    snake: bool = False
    winding: Literal["x", "y"] | None = None  # as RosettaSciIO: the first line is reversed
    hysteresis: int = 0


#: What is known of a line of a scan.
LINE = np.dtype([("first", np.int64), ("frames", np.int64), ("blanks", np.int64)])


@dataclass(frozen=True)
class Scan:
    """The decided arrangement of frames.

    Parameters
    ----------
    shape : tuple of int
        Scan shape in array order, leading layer axis included.
    index : slice or ndarray of int64
        Stored frame of each position in the scan (flattened); -1 where there is none.
    evidence : ScanHint
        What decided.
    alternatives : tuple of ScanHint
        Other possible arrangements.
    counts : dict
        Frames stored, used, skipped, inserted, ignored.
    contradictions : tuple of str
        What disagrees with the decision, each with its source; if there is one, the confidence is
        below 0.8.

    Examples
    --------
    >>> scan = rsciio_tem.open("scan.mib").scan()
    >>> scan.shape
    (60, 50)
    >>> scan.lines[10]
    (499, 49, 1)
    """

    shape: tuple[int, ...]
    index: FrameIndex
    evidence: ScanHint
    alternatives: tuple[ScanHint, ...] = ()
    counts: dict[str, Any] | None = None
    contradictions: tuple[str, ...] = ()

    @property
    def lines(self) -> npt.NDArray[np.void]:
        """First stored frame of each line (-1 if it has none), its frames, its blanks.

        A structured array with the fields ``first``, ``frames`` and ``blanks``.
        """
        columns = self.shape[-1] if self.shape else 1
        count = math.prod(self.shape) // columns if columns else 0
        lines = np.zeros(count, LINE)
        if isinstance(self.index, slice):
            lines["first"] = self.index.start + columns * np.arange(count)
            lines["frames"] = columns
            return lines
        grid = self.index.reshape(count, columns)
        recorded = grid >= 0
        lines["frames"] = recorded.sum(axis=1)
        lines["blanks"] = columns - lines["frames"]
        earliest = np.where(recorded, grid, np.iinfo(np.int64).max).min(axis=1, initial=1 << 62)
        lines["first"] = np.where(recorded.any(axis=1), earliest, -1)
        return lines

    def describe(self, most: int = 100) -> dict[str, Any]:
        """Return the decision as plain values for ``original_metadata`` and JSON.

        Parameters
        ----------
        most : int
            Lines with losses to list.
        """
        result: dict[str, Any] = {
            **self.evidence.describe(),
            "shape": list(self.shape),
            "contradictions": list(self.contradictions),
            "alternatives": [hint.describe() for hint in self.alternatives],
        }
        if len(self.shape) > 1 and not isinstance(self.index, slice):
            lines = self.lines
            incomplete = np.flatnonzero(lines["blanks"])
            if len(incomplete):
                result["incomplete_lines"] = len(incomplete)
                result["lines"] = [
                    {"line": int(i), **{n: int(lines[i][n]) for n in LINE.names or ()}}
                    for i in incomplete[:most]
                ]
        return result

    @property
    def missing_mask(self) -> npt.NDArray[np.bool_] | None:
        """Where no frame was recorded, shape of the scan; None if nothing is missing."""
        if isinstance(self.index, slice) or not (self.index < 0).any():
            return None
        return (self.index < 0).reshape(self.shape)
