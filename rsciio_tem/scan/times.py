# SPDX-License-Identifier: GPL-3.0-or-later
"""When frames were recorded and for how long, as their headers say.

Per-frame times are read straight from header bytes into integer arrays (nanoseconds), never one
Python object per frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["FrameTimes", "Times"]

Ints = npt.NDArray[np.int64]


Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FrameTimes:
    """Numbers that the headers give for each frame; -1 where a header does not say."""

    time_ns: Ints  # since 1970-01-01 UTC, or of the local clock where only that is known
    exposure_ns: Ints
    sequence: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    counter: Ints = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.time_ns)


@dataclass(frozen=True)
class Times:
    """Access to the per-frame times of a recording.

    Parameters
    ----------
    count : int
        Number of stored frames.
    read : callable
        ``read(first, last)`` returns the `FrameTimes` of these stored frames.
    resolution_ns : int
        Step below which differences of time mean nothing.
    external_trigger : bool or None
        Whether a scan generator started each frame; None if unknown. Only then can the time
        between frames tell where a line ends.
    software_trigger : bool
        Whether a program started each frame.
    scattered : bool
        Whether nearly each frame is a file of its own: then a header costs opening one.
    remote : bool
        Whether each header costs a request to a server.
    blanks : ndarray of bool, optional
        Which of the frames were never recorded, or are not part of the recording any more.
    at : callable, optional
        ``at(index)`` returns the `FrameTimes` of some frames, at once where that is faster than to
        read them one after the other.
    """

    count: int
    read: Callable[[int, int], FrameTimes]
    resolution_ns: int = 100
    external_trigger: bool | None = None
    software_trigger: bool = False
    scattered: bool = False
    remote: bool = False
    blanks: npt.NDArray[np.bool_] | None = None
    at: Callable[[Ints], FrameTimes] | None = None

    def read_at(self, index: Ints) -> FrameTimes:
        """Read the times of some frames."""
        if self.at is not None:
            return self.at(index)
        parts = [vars(self.read(i, i + 1)).values() for i in index.tolist()]
        return FrameTimes(*(np.concatenate(column) for column in zip(*parts, strict=True)))
