# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``check`` looks at in every frame header."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from rsciio_tem.errors import Problem
from rsciio_tem.formats.tvips.header import read_frame_headers
from rsciio_tem.parsing.checks import number_ranges
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.times import FrameTimes


def _every_counter(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Follow the counter of the camera, which may start over but leaves out no frame."""
    del seen
    times = recording.stored_times or recording.times
    assert times is not None
    source = times.read
    assert isinstance(source, partial)
    frames, before = source.args
    count = len(frames)
    counters = np.zeros(count, np.int64)
    modes = np.zeros(count, np.int64)
    for a in range(0, count, 1 << 16):
        part = read_frame_headers(frames, before, a, min(a + (1 << 16), count))
        counters[a : a + len(part)], modes[a : a + len(part)] = part["counter"], part["mode"]
    steps = np.diff(counters)
    regular = bool(len(steps)) and np.count_nonzero(steps == 1) >= 0.9 * len(steps)
    if regular and (ahead := steps > 1).any():
        at = np.flatnonzero(ahead) + 1
        lost = int((steps[ahead] - 1).sum())
        yield Problem(
            "warning",
            f"{lost} frames are missing by the counter in the frame headers, before frame "
            f"{number_ranges(at)} (as stored, from 0).",
            "The camera was faster than the disk, or a file was cut.",
        )
    if regular and (same := steps == 0).any():
        yield Problem(
            "warning",
            f"{int(same.sum())} of {count} frames have the same counter as the frame before: "
            f"{number_ranges(np.flatnonzero(same) + 1)} (as stored, from 0).",
            "They may have been stored twice.",
        )
    if regular and (back := steps < 0).any():
        yield Problem(
            "info",
            f"the counter in the frame headers starts over at frame "
            f"{number_ranges(np.flatnonzero(back) + 1)}: another recording was appended, or the "
            "camera was started again.",
        )
    if before >= 28 and (modes != modes[0]).any():
        yield Problem(
            "warning",
            f"the microscope changed between imaging and diffraction at frame "
            f"{number_ranges(np.flatnonzero(np.diff(modes)) + 1)}, by the frame headers.",
            "The calibration of the first frame is used for all.",
        )


CHECKS = (_every_counter,)
