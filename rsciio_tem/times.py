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

from rsciio_tem import backends
from rsciio_tem.frames import FrameTable

__all__ = [
    "FrameTimes",
    "LineGuess",
    "Times",
    "decimals",
    "exposure_lines",
    "guess_lines",
    "integers",
    "moments",
    "read_headers",
    "read_headers_at",
    "timestamp_lines",
]

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


# ---------------------------------------------------------------- text in headers, vectorised


def integers(text: Bytes) -> Ints:
    """Value of columns of digits, shape (frames, digits); -1 where there is anything else.

    Leading blanks count as zeros.
    """
    digits = text.astype(np.int64) - ord("0")
    digits[text == ord(" ")] = 0
    bad = ((digits < 0) | (digits > 9)).any(axis=1)
    value = digits @ (10 ** np.arange(text.shape[1] - 1, -1, -1, dtype=np.int64))
    return np.where(bad | (text.shape[1] == 0), -1, value)


def decimals(text: Bytes, unit: int) -> Ints:
    """Value of columns such as ``0.001000`` or ``2.5E+1`` in 1/unit; -1 where there is no such."""
    if not text.size:
        return np.full(len(text), -1, np.int64)
    if (marks := np.flatnonzero((text[0] == ord("E")) | (text[0] == ord("e")))).size:
        return _scientific(text, int(marks[0]), unit)
    dots = np.flatnonzero(text[0] == ord("."))
    if len(dots) > 1:
        return np.full(len(text), -1, np.int64)
    dot = int(dots[0]) if len(dots) else text.shape[1]
    places = len(str(unit)) - 1
    whole = integers(text[:, :dot])
    after = text[:, dot + 1 : dot + 1 + places]
    fraction = integers(after) if after.shape[1] else np.zeros(len(text), np.int64)
    value = whole * unit + fraction * 10 ** (places - after.shape[1])
    return np.where((whole < 0) | (fraction < 0), -1, value)


def _scientific(text: Bytes, mark: int, unit: int) -> Ints:
    """Value of decimals with an exponent behind column `mark`."""
    mantissa, tail = decimals(text[:, :mark], unit), text[:, mark + 1 :]
    signed = tail.shape[1] > 1 and tail[0, 0] in b"+-"
    exponent = integers(tail[:, 1:] if signed else tail)
    negative = tail[:, 0] == ord("-") if signed else np.zeros(len(text), np.bool_)
    good = (mantissa >= 0) & (exponent >= 0) & (exponent < 10)
    if signed:
        good &= negative | (tail[:, 0] == ord("+"))
    power = 10 ** np.where(good, exponent, 0)
    good &= mantissa < 10**18 // power
    return np.where(good, np.where(negative, mantissa // power, mantissa * power), -1)


def moments(text: Bytes) -> Ints:
    """Nanoseconds since 1970 of columns ``YYYY-MM-DD?hh:mm:ss[.fraction]``; -1 if they are none."""
    n, width = text.shape
    nothing = np.full(n, -1, np.int64)
    if width < 19 or not n:
        return nothing
    year, month, day, hour, minute, second = (
        integers(text[:, a:b]) for a, b in ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))
    )
    end = 20
    while end < min(width, 29) and ord("0") <= text[0, end] <= ord("9"):
        end += 1
    fraction = integers(text[:, 20:end]) if end > 20 else np.zeros(n, np.int64)
    good = (year >= 1970) & (month >= 1) & (month <= 12) & (day >= 1) & (fraction >= 0)
    good &= (
        (hour >= 0) & (minute >= 0) & (second >= 0) & (hour < 24) & (minute < 60) & (second < 60)
    )
    month, year = np.clip(month, 1, 12), np.clip(year, 1970, 9999)
    months = (year - 1970).astype("M8[Y]").astype("M8[M]") + (month - 1).astype("m8[M]")
    first_day, next_first = (
        months.astype("M8[D]"),
        (months + np.timedelta64(1, "M")).astype("M8[D]"),
    )
    good &= first_day + (day - 1).astype("m8[D]") < next_first
    days = first_day.astype(np.int64) + day - 1
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    value = seconds * 1_000_000_000 + fraction * 10 ** (29 - end if end > 20 else 0)
    return np.where(good, value, nothing)


def read_headers(frames: FrameTable, first: int, last: int, before: int, size: int) -> Bytes:
    """Read `size` header bytes that begin `before` bytes ahead of the pixels of each frame.

    Parameters
    ----------
    frames : FrameTable
        The frames; blanks have headers of zeros.
    first, last : int
        Range of frames.
    before, size : int
        Place of the header relative to the first pixel, and its length.

    Returns
    -------
    ndarray of uint8, shape (last - first, size)
        Bytes beyond the end of a file are zero.
    """
    headers = np.zeros((max(0, last - first), size), np.uint8)
    for span in frames[first:last].spans():
        if span.file < 0:
            continue  # a blank has no header
        file = frames.files[span.file]
        target = headers[span.first :: span.step][: span.count]
        begin, stride = span.start - before, span.stride
        end = begin + (span.count - 1) * stride + size
        if 0 < stride <= 4 * size and end <= file.size:  # small frames: read through
            step = max(1, backends.BLOCK // stride)
            for i in range(0, span.count, step):
                n = min(step, span.count - i)
                block = backends.read(file, begin + i * stride, (n - 1) * stride + size, "auto")
                target[i : i + n] = np.ndarray(
                    (n, size),
                    np.uint8,
                    buffer=block,
                    strides=(stride, 1),
                )
        else:
            backends.read_pieces(file, begin, stride, target)
    return headers


def read_headers_at(
    frames: FrameTable, index: npt.NDArray[np.int64], before: int, size: int
) -> Bytes:
    """Read the headers of some frames, as `read_headers` does.

    Parameters
    ----------
    frames : FrameTable
        Frames in the order of the files, no index applied.
    index : ndarray of int64
        The wanted ones.
    before, size : int
        As in `read_headers`.
    """
    runs, ends = frames.runs, np.cumsum(frames.runs["count"], dtype=np.int64)
    run = np.searchsorted(ends, index, "right")
    local = index - (ends - runs["count"])[run]
    offsets = runs["start"][run] + runs["stride"][run] * local - before
    headers = np.zeros((len(index), size), np.uint8)
    for i, (file, offset) in enumerate(
        zip(runs["file"][run].tolist(), offsets.tolist(), strict=True)
    ):
        backends.read_pieces(frames.files[file], offset, 0, headers[i : i + 1])
    return headers


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
        found = exposure_lines(part.exposure_ns) if rule != "timestamps" else None
        if found is None and use_timestamps:
            found = timestamp_lines(part.time_ns, total, times.resolution_ns)
        return found

    size = min(_SAMPLE, total)
    while True:
        part = times.read(first, first + size)
        found = look(part)
        if not use_timestamps and (part.exposure_ns < 0).all():
            return None  # there are no exposures to look at
        if size == total or (found is None and part.time_ns[-1] < 0 and part.exposure_ns[-1] < 0):
            return found  # everything was seen, or headers end here
        if (
            found
            and (size - found.start) // found.length >= 4
            and _holds(times, first, total, found)
        ):
            return found
        if size >= _SAMPLE_MAX:
            # no line is longer than this; a pattern that breaks later needs everything
            return look(times.read(first, last)) if found else None
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
