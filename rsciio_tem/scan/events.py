# SPDX-License-Identifier: GPL-3.0-or-later
"""What the headers of frames tell, cleaned: one event per scan position, and the clock it has.

Every step from one frame to the next is split into what the frame numbers explain, the usual time
between frames, and an excess. A line end, a lost frame and a clock that was set are excesses of
different sizes at different places; which is which is decided in `rsciio_tem.scan.path`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsciio_tem.scan.times import FrameTimes, Ints

__all__ = ["Events", "events_of", "unit_of"]

Floats = npt.NDArray[np.float64]

#: Units in which clocks of cameras and computers count, ns: 1/64 s of old Windows, ms, µs, ….
#: The greatest common divisor itself is no clock: with a perfect one it would be the dwell time.
_UNITS = (15_625_000, 1_000_000, 1_000, 100, 10, 1)

#: Merlin's frame numbers have six digits.
_WRAP = 1_000_000


@dataclass(frozen=True)
class Events:
    """Frames in the order of recording, one for each scan position.

    Parameters
    ----------
    frame : ndarray of int64, shape (n,)
        Stored position, counted from the first one looked at.
    advance : ndarray of int64, shape (n,)
        By how much the frame number went on: 1, or k + 1 where k frames were lost; 0 for the first.
    excess : ndarray of float64, shape (n,)
        Time in ns since the event before, beyond `advance` usual steps; 0 if times do not count.
    after_mark : ndarray of bool, shape (n,)
        Whether a frame exposed during flyback was taken out just before.
    marks, doubled : ndarray of int64
        Frames that were taken out: exposed during flyback, stored twice.
    step, scatter, unit : float
        Usual time between frames, its robust scatter, and what the clock counts in; ns.
    exposure : float
        Usual exposure time, ns; 0 if unknown.
    timed, numbered : bool
        Whether times, and frame numbers, are evidence.
    jumps : int
        How often the number went on by more than one.
    remark : str
        Why the times are not evidence, in words.
    grain : float
        Rounding by which `excess` was shrunk, ns; 0 unless the clock is coarse.
    """

    frame: Ints
    advance: Ints
    excess: Floats
    after_mark: npt.NDArray[np.bool_]
    marks: Ints
    doubled: Ints
    step: float = 0.0
    scatter: float = 1.0
    unit: float = 1.0
    exposure: float = 0.0
    timed: bool = False
    numbered: bool = False
    jumps: int = 0
    remark: str = ""
    grain: float = 0.0

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def marks_per_line(self) -> int:
        """Frames that were taken out at each line end; 0 if none were."""
        if not len(self.marks):
            return 0
        sizes = np.diff(np.flatnonzero(np.diff(self.marks, prepend=-2, append=-2) != 1))
        each, counts = np.unique(sizes, return_counts=True)
        return int(each[np.argmax(counts)])

    @property
    def slot(self) -> Ints:
        """Places counted by frame numbers, those of lost frames included."""
        return np.cumsum(self.advance)


def events_of(seen: FrameTimes) -> Events:
    """Clean what the headers of consecutive frames say.

    Parameters
    ----------
    seen : FrameTimes
        Of consecutive stored positions.
    """
    n = len(seen)
    frame = np.arange(n, dtype=np.int64)
    numbers = _trusted_numbers(seen.sequence, n)
    doubled = np.zeros(n, np.bool_)
    if numbers is not None:
        doubled[1:] = np.diff(numbers) == 0
    marked = _flyback_marks(seen.exposure_ns) & ~doubled
    keep = ~(doubled | marked)
    if np.count_nonzero(keep) < 2:
        keep, marked = ~doubled, np.zeros(n, np.bool_)
    # a mark before the first frame kept opens no line that could be seen to end
    passed = np.cumsum(marked)[keep]
    after_mark = np.diff(passed, prepend=0) > 0
    advance = np.ones(np.count_nonzero(keep), np.int64)
    if numbers is not None:
        advance[1:] = np.diff(numbers[keep]) - np.diff(passed)
        advance = np.maximum(advance, 1)
    advance[:1] = 0
    events = Events(
        frame[keep],
        advance,
        np.zeros(len(advance)),
        after_mark,
        frame[marked],
        frame[doubled],
        exposure=_usual(seen.exposure_ns[keep]),
        numbered=numbers is not None,
        jumps=int(np.count_nonzero(advance > 1)),
    )
    return _with_clock(events, seen.time_ns[keep])


def _usual(values: Ints) -> float:
    valid = values[values >= 0]
    return float(np.median(valid)) if len(valid) else 0.0


def _trusted_numbers(sequence: Ints, n: int) -> Ints | None:
    """Return frame numbers that never fall; None if they number nothing."""
    if len(sequence) != n or n < 2 or (sequence < 0).any():
        return None
    steps = np.diff(sequence)
    wrapped = (steps < 0) & (sequence[:-1] >= _WRAP // 2) & (sequence[:-1] < _WRAP)
    wrapped &= sequence[1:] < _WRAP // 2
    steps = np.where(wrapped, steps + _WRAP, steps)
    if (steps < 0).any() or np.count_nonzero(steps == 0) > 0.5 * len(steps):
        return None
    going = steps[steps > 0]
    each, counts = np.unique(going, return_counts=True)
    usual = int(each[np.argmax(counts)])  # more than 1 if counters or colours are numbered, too
    if usual > 1 and not (going % usual == 0).all():
        return None
    steps = steps // usual
    if steps.max(initial=0) > 1000 + 10 * n:  # numbers of something else
        return None
    return np.concatenate([[0], np.cumsum(steps)])


def _flyback_marks(exposure: Ints) -> npt.NDArray[np.bool_]:
    """Find frames exposed longer because the beam flew back meanwhile: at equal distances.

    Single long frames are none, nor is the one at the very beginning for which the camera waited.
    Shorter ones are reference images.
    """
    nothing = np.zeros(len(exposure), np.bool_)
    if len(exposure) < 4 or (exposure < 0).any():
        return nothing
    median = float(np.median(exposure))
    spread = 1.4826 * float(np.median(np.abs(exposure - median)))
    long = exposure > median + max(0.4 * median, 4.5 * spread)
    places = np.flatnonzero(long)
    first = np.flatnonzero(np.diff(places, prepend=-2) > 1)
    sizes = np.diff(np.append(first, len(places)))
    places = places[first]  # several may follow each other in each line
    if len(places) > 3 and exposure[places[0]] > 2 * np.median(exposure[places[1:]]):
        places, sizes = places[1:], sizes[1:]  # the camera waited for the scan to start
    if not len(places) >= 3 or not sizes.sum() < 0.4 * len(exposure):
        return nothing
    distances = np.diff(places)
    each, counts = np.unique(distances, return_counts=True)
    if counts.max() < 0.6 * len(distances) or each[np.argmax(counts)] - np.median(sizes) < 2:
        return nothing
    nothing[np.repeat(places, sizes) + _within_runs(sizes)] = True
    return nothing


def _within_runs(sizes: Ints) -> Ints:
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def _with_clock(events: Events, time: Ints) -> Events:
    """Add the clock: its unit, the usual step and its scatter, and the excess of each step."""
    valid = time >= 0
    if len(time) < 3 or np.count_nonzero(valid) < max(3, 0.5 * len(time)):
        return _without_times(events, "")
    steps = np.diff(time).astype(np.float64)
    real = valid[1:] & valid[:-1]
    plain = real & (events.advance[1:] == 1) & ~events.after_mark[1:]
    if np.count_nonzero(plain) < 2:
        return _without_times(events, "")
    unit = unit_of(time[valid])
    usual = steps[plain]
    step = float(np.median(usual))
    if np.count_nonzero(usual < 0.75 * step) >= 0.3 * len(usual):
        # lines of two or three positions: many steps are line ends
        step = float(np.median(usual[usual < 0.75 * step]))
    if step <= 0:
        return _without_times(events, "the times of most frames are equal")
    deviation = 1.4826 * float(np.median(np.abs(usual - step)))
    if events.exposure and step + unit < 0.8 * events.exposure:
        return _without_times(
            events,
            "the times come in batches: the usual step between frames is shorter than their "
            "exposure",
        )
    if deviation > 0.35 * step and deviation >= 1.6 * unit:
        return _without_times(events, "the times are too uneven, as of frames stamped in batches")
    long = usual > 4 * step
    share = float(np.mean(long))
    # one long pause, or a clock that was set, makes no batches
    pauses = float(np.median(usual[long])) if np.count_nonzero(long) > 2 else step
    tiny = step <= 5 * unit or step < 20_000  # no camera is that fast
    if tiny and not events.exposure and (1 - share) * step + share * pauses > 4 * step:
        return _without_times(
            events, "the times come in batches: most frames follow each other at once"
        )
    near = usual[np.abs(usual - step) <= max(3 * unit, 0.25 * step)]
    coarse = unit > 0.005 * step and np.mean(np.abs(near - step) <= 1.01 * unit) >= 0.95
    if coarse:
        step = float(np.mean(near[np.abs(near - step) <= 1.01 * unit]))
    excess = np.zeros(len(time))
    excess[1:] = np.where(real, steps - events.advance[1:] * step, 0.0)
    if coarse:  # one unit more or less is rounding
        excess = np.sign(excess) * np.maximum(np.abs(excess) - unit, 0.0)
    elif len(excess) > 150:
        excess = _without_drift(excess, real, step)
    inner = excess[1:][plain]
    scatter = 1.4826 * float(np.median(np.abs(inner - np.median(inner))))
    scatter = max(scatter, (0.15 if coarse else 0.6) * unit, 20.0, 1e-7 * step)
    # a stamp that came late: the two steps around it belong together
    late = np.flatnonzero((excess[1:-1] > 3 * scatter) & (excess[2:] < -5 * scatter)) + 1
    late = late[~events.after_mark[late + 1]]
    excess[late] += excess[late + 1]
    excess[late + 1] = 0.0
    advance = _glitches(events.advance, excess, step, scatter)
    excess += (events.advance - advance) * step
    return Events(
        events.frame,
        advance,
        excess,
        events.after_mark,
        events.marks,
        events.doubled,
        step,
        scatter,
        float(unit),
        events.exposure,
        True,
        events.numbered,
        int(np.count_nonzero(advance > 1)),
        grain=float(unit) if coarse else 0.0,
    )


def _without_times(events: Events, remark: str) -> Events:
    return Events(
        events.frame,
        events.advance,
        events.excess,
        events.after_mark,
        events.marks,
        events.doubled,
        exposure=events.exposure,
        numbered=events.numbered,
        jumps=events.jumps,
        remark=remark,
    )


def unit_of(time: Ints) -> int:
    """Return what a clock counts in: the largest usual unit that divides all steps."""
    common = int(np.gcd.reduce(np.abs(np.diff(time)))) or 1
    return next(unit for unit in _UNITS if common % unit == 0)


def _without_drift(excess: Floats, real: npt.NDArray[np.bool_], step: float) -> Floats:
    """Subtract a usual step that changes during the recording, if it does."""
    half = 30
    values = np.where(np.abs(excess) < 0.5 * step, excess, 0.0)
    values[0] = values[1]
    padded = np.pad(values, half, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    running = np.median(windows[::8], axis=1)
    middle = float(np.median(values))
    spread = float(np.median(np.abs(values - middle)))
    if np.ptp(running) <= 6 * 1.4826 * spread / np.sqrt(2 * half + 1) + 20.0:
        return excess
    smooth = np.interp(np.arange(len(values)), np.arange(len(running)) * 8, running)
    result = np.where(real[np.arange(len(excess)) - 1], excess - smooth, excess)
    result[0] = 0.0
    return result


def _glitches(advance: Ints, excess: Floats, step: float, scatter: float) -> Ints:
    """Take back jumps of the number for which no time passed: no frame was lost there."""
    jumped = (advance > 1) & (excess < -0.5 * step) & (excess < -6 * scatter)
    if not jumped.any():
        return advance
    result = advance.copy()
    result[jumped] = np.maximum(
        1, advance[jumped] + np.round(excess[jumped] / step).astype(np.int64)
    )
    return result
