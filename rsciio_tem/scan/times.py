# SPDX-License-Identifier: GPL-3.0-or-later
"""When frames were recorded and for how long, and the scan lines this gives away.

Per-frame times are read straight from header bytes into integer arrays (nanoseconds), never one
Python object per frame. Two rules turn them into a scan shape: a flyback frame is exposed longer
than the others, and the step from one line to the next takes longer than the dwell time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["FrameTimes", "LineGuess", "Times", "exposure_lines", "guess_lines", "timestamp_lines"]

Ints = npt.NDArray[np.int64]


Bytes = npt.NDArray[np.uint8]


#: Frames looked at first, and at most, before the recording is taken to have no lines.
_SAMPLE, _SAMPLE_MAX = 2048, 1 << 14


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
    """

    count: int
    read: Callable[[int, int], FrameTimes]
    resolution_ns: int = 100
    external_trigger: bool | None = None


@dataclass(frozen=True)
class LineGuess:
    """Scan lines found in the times: `length` frames each, the first begins at frame `start`."""

    rule: str
    start: int
    length: int
    confidence: float
    reason: str


# ---------------------------------------------------------------- rules


def exposure_lines(exposure_ns: Ints) -> LineGuess | None:
    """Find scan lines that begin with a frame exposed longer than the others.

    While the beam flies back the shutter stays open, so the frame at each line's beginning has a
    longer exposure. A single long frame at the very start of an acquisition does not count.
    """
    valid = exposure_ns >= 0
    n = len(exposure_ns) if valid.all() else int(np.argmin(valid))
    exposure = (exposure_ns[:n] + 500) // 1000  # 1 µs
    if n < 4:
        return None
    values, counts = np.unique(exposure, return_counts=True)
    dwell = int(values[np.argmax(counts)])
    long = np.flatnonzero(exposure > 1.5 * dwell)
    if len(long) > 3 and exposure[long[0]] > 2 * np.median(exposure[long[1:]]):
        long = long[1:]  # the camera waited for the scan to start
    if len(long) < 3 or dwell <= 0:
        return None
    distances = np.diff(long)
    lengths, counts = np.unique(distances, return_counts=True)
    length = int(lengths[np.argmax(counts)])
    share = counts.max() / len(distances)
    if length < 2 or share < 0.8:
        return None
    start = int(long[np.argmax(distances == length)])
    flyback = np.median(exposure[long]) / dwell
    return LineGuess(
        "exposures",
        start,
        length,
        0.85 if share > 0.98 else 0.75,
        f"every {length} frames one is exposed {flyback:.3g} times as long as the others "
        f"({dwell / 1000:g} ms), from frame {start} on",
    )


def timestamp_lines(time_ns: Ints, total: int, resolution_ns: int = 100) -> LineGuess | None:
    """Find scan lines by the longer time step between them.

    The step must stand out from the scatter of the others (robustly estimated), not merely exceed
    their mean: clocks jitter by some 10 ns, real line ends are seen from 20 µs on.

    Parameters
    ----------
    time_ns : ndarray of int64
        Times of the first frames, or of all.
    total : int
        Number of frames of the recording.
    resolution_ns : int
        Smallest scatter to assume.
    """
    valid = time_ns >= 0
    n = len(time_ns) if valid.all() else int(np.argmin(valid))
    complete = n == total
    if n < 4:
        return None
    steps = np.diff(time_ns[:n])
    median = np.median(steps)
    scatter = max(1.4826 * float(np.median(np.abs(steps - median))), resolution_ns)
    ends = np.flatnonzero(steps > median + 8 * scatter) + 1
    if not len(ends):
        return None
    length, start = int(ends[0]), 0
    if len(ends) == 1:
        if not complete or total != 2 * length:
            return None
    else:
        distances = np.diff(ends)
        lengths, counts = np.unique(distances, return_counts=True)
        if length != (usual := int(lengths[np.argmax(counts)])):
            if counts.max() < max(2, 0.5 * len(distances)):
                return None  # pauses anywhere, not lines behind a few frames of start-up
            length, start = usual, int(ends[np.argmax(distances == usual)])
        inner = ends[ends >= start]
        off = np.count_nonzero(np.diff(inner) != length)
        if off > 0.05 * len(inner) or total - start < 2 * length:
            return None
    if length < 2:
        return None
    gap = float(np.median(steps[ends - 1])) - float(median)
    return LineGuess(
        "timestamps",
        start,
        length,
        0.8 if len(ends) > 2 else 0.7,
        f"every {length} frames the next one comes {gap / 1000:.4g} µs late "
        f"(usual step {float(median) / 1e6:.6g} ms)"
        + (f", from frame {start} on" if start else ""),
    )


def guess_lines(times: Times, first: int, last: int, rule: str = "auto") -> LineGuess | None:
    """Look for scan lines in stored frames first..last; frame numbers count from `first`.

    A sample from the beginning decides, if it shows several lines and the same holds where lines
    should begin in the rest of the recording; otherwise more is read.

    Parameters
    ----------
    rule : {"auto", "exposures", "timestamps"}
        Which rules to try. "auto" tries exposures, then timestamps unless the camera ran on its
        internal clock.
    """
    total = last - first
    use_timestamps = rule == "timestamps" or (
        rule == "auto" and times.external_trigger is not False
    )

    def look(part: FrameTimes) -> LineGuess | None:
        guess = exposure_lines(part.exposure_ns) if rule != "timestamps" else None
        if guess is None and use_timestamps:
            guess = timestamp_lines(part.time_ns, total, times.resolution_ns)
        return guess

    size = min(_SAMPLE, total)
    while True:
        part = times.read(first, first + size)
        guess = look(part)
        if not use_timestamps and (part.exposure_ns < 0).all():
            return None  # there are no exposures to look at
        if size == total or (guess is None and part.time_ns[-1] < 0 and part.exposure_ns[-1] < 0):
            return guess  # everything was seen, or headers end here
        if (
            guess
            and (size - guess.start) // guess.length >= 4
            and _holds(times, first, total, guess)
        ):
            return guess
        if size >= _SAMPLE_MAX:
            # no line is longer than this; a pattern that breaks later needs everything
            return look(times.read(first, last)) if guess else None
        size = min(size * 8, total)


def _holds(times: Times, first: int, total: int, guess: LineGuess) -> bool:
    """Check the guess at up to 32 line beginnings spread over the recording."""
    lines = (total - guess.start) // guess.length
    good = checked = 0
    for line in np.unique(np.linspace(2, lines - 1, 32).astype(int)).tolist():
        begin = first + guess.start + line * guess.length
        part = times.read(begin - 2, min(begin + 2, first + total))
        if len(part) < 4 or (part.time_ns < 0).any():
            continue
        checked += 1
        if guess.rule == "exposures":
            others = np.delete(part.exposure_ns, 2)
            good += int(part.exposure_ns[2] > 1.4 * others.max())
        else:
            steps = np.diff(part.time_ns)
            good += int(steps[1] > max(steps[0], steps[2]) + 4 * times.resolution_ns)
    return good >= 0.95 * checked
