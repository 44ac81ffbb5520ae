# SPDX-License-Identifier: GPL-3.0-or-later
"""Scan lines as the images show them: for recordings whose headers and times do not tell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import warn
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.wrapped import Floats, Grey, long_integers
from rsciio_tem.recording.recording import Recording
from rsciio_tem.reduction.single_pass import one_pass
from rsciio_tem.scan.content import LineContent, content_agrees, content_lines
from rsciio_tem.scan.scan import Scan, ScanHint

__all__ = ["agreement", "content_hint", "hint_of", "part_masks", "sums_of_parts", "with_content"]

#: Rows and columns of parts that a detector is divided into.
_PARTS = 4


def part_masks(frame_shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return masks of the parts of a detector whose sums show where lines end."""
    rows, columns = (
        np.minimum(np.arange(n) * _PARTS // max(n, 1), _PARTS - 1) for n in frame_shape[:2]
    )
    part = rows[:, np.newaxis] * _PARTS + columns
    return np.stack([part == i for i in np.unique(part)])


def sums_of_parts(
    frames: Frames, progress: Callable[[int], object] | None = None
) -> npt.NDArray[np.float64]:
    """Read all frames once; return the sum of each part of the detector, shape (frames, parts).

    Parameters
    ----------
    frames : Frames
        In the order of recording.
    progress : callable, optional
        Is called with the number of frames just read.
    """
    if frames.dtype.names:
        frames = Grey(frames)
    elif long_integers(frames.dtype):
        frames = Floats(frames)
    if len(frames.frame_shape) != 2:
        reduced = one_pass(frames, what=["navigator"], progress=progress)
        return np.asarray(np.abs(reduced["navigator"]), np.float64)[:, np.newaxis]
    masks = part_masks(frames.frame_shape)
    reduced = one_pass(frames, what=(), masks=masks, progress=progress)
    return np.ascontiguousarray(np.abs(reduced["masks"]).T, np.float64)


def content_hint(
    recording: Recording,
    first_frame: int | None = None,
    last_frame: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> ScanHint | None:
    """Read all frames of a recording once, and return the scan that they show; None if none.

    Parameters
    ----------
    recording : Recording
        With several frames per position, the first of each is looked at.
    first_frame, last_frame : int, optional
        Slice bounds on the stored frames.
    progress : callable, optional
        Is called with the number of frames just read.
    """
    first, last, _ = slice(first_frame, last_frame).indices(recording.count)
    frames = recording.frames[np.arange(first, last, recording.layers)]
    if len(frames) < 1:
        return None
    return hint_of(content_lines(sums_of_parts(frames, progress)), len(frames))


def hint_of(lines: LineContent | None, count: int) -> ScanHint | None:
    """Turn lines that images show into a scan of `count` frames."""
    if lines is None or count - lines.start < 2 * lines.length:
        return None
    shape = (-(-(count - lines.start) // lines.length), lines.length)
    reason = lines.reason + ("; every other line seems to run backwards" * lines.serpentine)
    return ScanHint("content", shape, 0.7 if lines.sure else 0.4, reason, start=lines.start)


def agreement(scan: Scan, parts: npt.NDArray[np.float64]) -> str:
    """Say whether the images speak against a scan whose frames follow each other; "" if not.

    Parameters
    ----------
    scan : Scan
        As it was decided.
    parts : ndarray of float64, shape (positions, parts)
        Sums in the order of the scan.
    """
    if len(scan.shape) < 2 or scan.shape[-1] < 4:
        return ""
    value = content_agrees(parts, scan.shape[-1])
    if value is None or value >= 0:
        return ""
    other = hint_of(content_lines(parts), len(parts))
    better = f": {other.reason}" if other is not None else ""
    return f"the images speak against lines of {scan.shape[-1]} frames{better}."


def with_content(
    recording: Recording, first_frame: int | None, last_frame: int | None
) -> tuple[ScanHint, ...]:
    """Return the hints of a recording and what its images show, for ``scan="content"``."""
    hint = content_hint(recording, first_frame, last_frame)
    if hint is None:
        return recording.hints
    warn(
        recording.path,
        f"the scan shape rests on the images alone: {hint.reason} Look at an image of the scan, "
        "and pass navigation_shape=(x, y) once you are sure.",
    )
    return (*recording.hints, hint)
