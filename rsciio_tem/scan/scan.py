# SPDX-License-Identifier: GPL-3.0-or-later
"""How the frames of a recording are arranged: the scan shape, its evidence, and the frame mapping.

`resolve_scan` is the one place, for every format, where a shape is decided. What the user says
wins; then what the file's header says; then what the frame times show. A perfect square is never
assumed unless asked for. The result is an index into the stored frames, with -1 for positions
that no frame was recorded for.
"""

from __future__ import annotations

import logging
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
RULES = ("auto", "header", "exposures", "timestamps", "square", "stack", "rosettasciio")


@dataclass(frozen=True)
class ScanHint:
    """A scan shape that something in the recording speaks for.

    Parameters
    ----------
    rule : str
        Which rule found it: "header", "trigger", "exposures", "timestamps", "square", "stack".
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
    """

    rule: str
    shape: tuple[int, ...]
    confidence: float
    reason: str
    start: int = 0
    line: int = 0
    column: int = 0

    @property
    def line_length(self) -> int:
        """Stored frames per line."""
        return self.line or (self.shape[-1] if self.shape else 1)

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


@dataclass(frozen=True)
class Scan:
    """The decided arrangement of frames.

    Parameters
    ----------
    shape : tuple of int
        Scan shape in array order, leading layer axis included.
    index : slice or ndarray of int64
        Position in the scan (flattened) to stored frame; -1 where there is none.
    evidence : ScanHint
        What decided.
    alternatives : tuple of ScanHint
        What else would have been possible.
    counts : dict
        Frames stored, used, skipped, inserted, ignored.
    """

    shape: tuple[int, ...]
    index: FrameIndex
    evidence: ScanHint
    alternatives: tuple[ScanHint, ...] = ()
    counts: dict[str, Any] | None = None

    @property
    def missing_mask(self) -> npt.NDArray[np.bool_] | None:
        """Where no frame was recorded, shape of the scan; None if nothing is missing."""
        if isinstance(self.index, slice) or not (self.index < 0).any():
            return None
        return (self.index < 0).reshape(self.shape)
