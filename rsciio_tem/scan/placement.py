# SPDX-License-Identifier: GPL-3.0-or-later
"""Where each frame belongs, as runs of consecutive frames at consecutive places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsciio_tem.scan.times import Ints

__all__ = ["RUN", "Placement", "merged", "placement_of"]

#: First frame, its place (line times line length plus column), number of frames.
RUN = np.dtype([("frame", np.int64), ("slot", np.int64), ("count", np.int64)])


@dataclass(frozen=True, eq=False)
class Placement:
    """Frames put into lines.

    Parameters
    ----------
    length : int
        Places per line.
    runs : ndarray of `RUN`
        In the order of frames; what lies between them is not part of the scan.
    """

    length: int
    runs: npt.NDArray[np.void]

    @property
    def rigid(self) -> bool:
        """Whether all frames of the scan follow each other without a hole."""
        return len(self.runs) == 1

    @property
    def start(self) -> int:
        """Frame at the first line's first column; negative if that was not recorded."""
        return int(self.runs["frame"][0] - self.runs["slot"][0])

    @property
    def slots(self) -> int:
        """Places up to the last frame."""
        return int((self.runs["slot"] + self.runs["count"]).max())

    @property
    def lines(self) -> int:
        """Lines with at least one frame."""
        return -(-self.slots // self.length)

    def shifted(self, slots: int) -> Placement:
        """Return a placement in which the first `slots` places are left out."""
        runs = self.runs.copy()
        runs["slot"] -= slots
        cut = np.clip(-runs["slot"], 0, runs["count"])
        runs["frame"] += cut
        runs["slot"] += cut
        runs["count"] -= cut
        return Placement(self.length, runs[runs["count"] > 0])

    def frames(self, slots: int) -> Ints:
        """Return the frame at each of the first `slots` places, -1 where there is none."""
        index = np.full(slots, -1, np.int64)
        for frame, slot, count in self.runs.tolist():
            count = min(count, slots - slot)
            if count > 0:
                index[slot : slot + count] = np.arange(frame, frame + count)
        return index


def placement_of(length: int, frames: Ints, slots: Ints) -> Placement | None:
    """Collect runs; frames at slot -1 belong nowhere. None if there are no others."""
    inside = slots >= 0
    frames, slots = frames[inside], slots[inside]
    if not len(frames):
        return None
    breaks = np.flatnonzero((np.diff(frames) != 1) | (np.diff(slots) != 1)) + 1
    begins = np.concatenate([[0], breaks])
    runs = np.empty(len(begins), RUN)
    runs["frame"], runs["slot"] = frames[begins], slots[begins]
    runs["count"] = np.diff(np.append(begins, len(frames)))
    return Placement(length, runs)


def merged(length: int, runs: Iterable[tuple[int, int, int]]) -> Placement:
    """Join runs that follow each other without a hole."""
    result: list[list[int]] = []
    for frame, slot, count in runs:
        if count <= 0:
            continue
        if (
            result
            and frame == result[-1][0] + result[-1][2]
            and slot == result[-1][1] + result[-1][2]
        ):
            result[-1][2] += count
        else:
            result.append([frame, slot, count])
    return Placement(length, np.array([tuple(run) for run in result], RUN))
