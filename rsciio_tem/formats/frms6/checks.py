# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``check`` looks at in every frame header."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from rsciio_tem.errors import Problem
from rsciio_tem.formats.frms6.geometry import Located
from rsciio_tem.parsing.checks import number_ranges, numbering
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.times import FrameTimes


def _every_frame(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Compare all frame headers: rows, sensor, and numbers, which each file counts for itself."""
    del seen
    assert recording.times is not None
    located = recording.times.read
    assert isinstance(located, Located)
    count, blanks = recording.count, recording.frames.blanks
    stored = np.arange(count) if blanks is None else np.flatnonzero(~blanks)
    index, odd = np.full(count, -1, np.int64), np.zeros(count, bool)
    sensors = np.zeros(count, np.uint8)
    for a in range(0, count, 1 << 16):
        part = located.headers(a, min(a + (1 << 16), count))
        index[a : a + len(part)] = part["index"]
        named = np.zeros(len(part), bool)
        for start, height in located.windows:
            named |= (part["the_start"] == start) & (part["the_height"] == height)
        odd[a : a + len(part)] = ~named
        sensors[a : a + len(part)] = part["ccd_id"]
    ids, numbers = np.unique(sensors[stored], return_counts=True)
    if numbers.max() < 0.9 * len(stored):
        return  # several sensors take turns, and nobody knows how they count
    odd |= sensors != ids[np.argmax(numbers)]
    if (wrong := stored[odd[stored]]).size:
        yield Problem(
            "error",
            f"{len(wrong)} of {len(stored)} frame headers do not fit the others, in their rows or "
            f"sensor: those of the frames {number_ranges(wrong)}.",
            "They are damaged, or bytes are missing before them: copy the recording again.",
        )
    table, done = located.heads, 0
    for i, file in enumerate(table.files):
        n = int(table.runs["count"][table.runs["file"] == i].sum())
        numbered = stored[done : done + n]
        done += n
        name = os.path.basename(file.path)
        for problem in numbering(np.where(odd[numbered], -1, index[numbered])):
            yield replace(problem, message=f"{name}: {problem.message}")


CHECKS = (_every_frame,)
