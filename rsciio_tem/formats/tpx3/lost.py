# SPDX-License-Identifier: GPL-3.0-or-later
"""Triggers that were lost: which they are, by their numbers, and when they must have been."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Triggers", "restored"]

#: Numbers of triggers have 12 bits.
_NUMBERS = 1 << 12
#: Intervals that are so many times as long as usual have a pause in them.
_LONG = 1.2
#: How far the time of lost triggers may be from what is expected, in intervals: of any; for each
#: interval; the same if numbers started again meanwhile.
_APART, _EACH, _EACH_AGAIN = 0.5, 0.02, 0.005

Ints = npt.NDArray[np.int64]


class Triggers(NamedTuple):
    """Times of triggers, ascending, and which of them were lost and put in."""

    times: Ints
    lost: Ints
    unsure: int = 0  # lost ones of which it is not known on which side of a pause they were
    gaps: int = 0  # in the numbers, that the time does not explain


def gaps_in(steps: Ints) -> int:
    """Return how many steps are not the usual one."""
    return int(np.count_nonzero(steps != np.bincount(steps).argmax())) if len(steps) else 0


class _Pace(NamedTuple):
    """How triggers follow each other where none was lost."""

    by: int  # from one number to the next
    usual: float  # from one trigger to the next
    pause: float  # by how much long intervals are longer
    longest: float  # by how much the longest one is
    width: int  # triggers from one pause to the next, 0 if pauses do not come evenly
    at: Ints  # intervals that are long


def steps_of(numbers: Ints) -> Ints:
    """Return the steps from each number to the next; after the largest they start again."""
    return np.diff(numbers) % _NUMBERS


def restored(times: Ints, steps: Ints, whole: npt.NDArray[np.bool_]) -> Triggers:
    """Return triggers with those that were lost where they must have been.

    Each trigger has a number. Where numbers are left out, and the time to the next trigger is as
    much longer, triggers are put in at the usual intervals, with the pauses between lines: the hits
    of their frames are there.

    Parameters
    ----------
    times : ndarray of int64
        Of the triggers that are there, in the order of time.
    steps : ndarray of int64
        From the number of each to that of the next.
    whole : ndarray of bool
        Steps of which it is known that nothing was lost.
    """
    intervals = np.diff(times).astype(np.float64)
    if len(steps):
        steps = np.where(whole, np.bincount(steps).argmax(), steps)
    gaps = gaps_in(steps)
    nothing = Triggers(times, times[:0], 0, gaps)
    pace = _pace(steps, intervals)
    if pace is None:
        return nothing
    lost, pauses, unsure = _gaps(steps, intervals, pace)
    if not 0 < lost.sum() <= len(times):  # more than there are: nobody has counted so
        return nothing
    after = np.repeat(np.arange(len(lost)), lost)
    place = 1 + np.arange(len(after)) - np.repeat(np.cumsum(lost) - lost, lost)
    sure = ~unsure[after]
    # the pauses before each of them; what is left of the time is spread evenly
    begun = np.where(sure, _pauses(place, pauses[after], pace.width), 0)
    count = lost + 1
    every = _pauses(count, pauses, pace.width)
    left = (intervals - count * pace.usual - every * pace.pause) / count
    put_in = place * (pace.usual + np.where(sure, left[after], 0)) + begun * pace.pause
    filled = np.insert(times, after + 1, times[after] + np.rint(put_in).astype(np.int64))
    gaps -= int(np.count_nonzero(lost))
    return Triggers(filled, after + 1 + np.arange(len(after)), int(lost[unsure].sum()), gaps)


def _pace(steps: Ints, intervals: npt.NDArray[np.float64]) -> _Pace | None:
    """Return how triggers follow each other, None if they do so in no way."""
    if len(steps) < 3:
        return None
    by = int(np.bincount(steps).argmax())  # 2 if edges of both directions are counted together
    even = steps == by
    median = float(np.median(intervals[even]))
    if not by or median <= 0 or even.mean() <= 0.8:
        return None
    long = even & (intervals > _LONG * median)
    at = np.flatnonzero(long)
    usual = float(intervals[even & ~long].mean())
    if usual <= 0:  # half of them were stored at the same time as others
        return None
    pauses = intervals[at] - usual
    width, pause = 0, 0.0
    if len(at):
        pause = float(np.median(pauses))
    if len(at) > 1:
        places = _places(steps, by)
        apart = np.diff(places[at])
        width = int(np.median(apart))
        if width < 2 or (apart % width == 0).mean() <= 0.8:
            width = 0
    return _Pace(by, usual, pause, float(pauses.max(initial=0)), width, at)


def _places(steps: Ints, by: int) -> Ints:
    """Return the number of each trigger among all, by the numbers that they have."""
    return np.concatenate([[0], np.cumsum(np.rint(steps / by).astype(np.int64))])


def _pauses(count: Any, first: Any, width: int) -> Any:
    """Return how many of the first intervals are pauses: `first` and each `width`-th from there."""
    return np.where(count > first, (count - first - 1) // max(1, width) + 1, 0) if width else 0


def _gaps(
    steps: Ints, intervals: npt.NDArray[np.float64], pace: _Pace
) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
    """Return how many triggers were lost after each, the first pause there, and what is unsure."""
    by, width, usual = pace.by, pace.width, pace.usual
    count = np.where(steps % by == 0, steps // by, 1)
    mean = usual + (pace.pause / width if width else 0)
    if _NUMBERS % by == 0:  # numbers may have started again, but hardly all of them were lost
        period = _NUMBERS // by
        again = np.rint((intervals / mean - count) / period).clip(0, len(steps) // period + 1)
        count = np.where((steps != by) & (steps % by == 0), count + again * period, count)
        count = count.astype(np.int64)
    places, which = _places(steps, by), np.arange(len(steps))
    pauses = np.zeros(len(steps), np.int64)
    if width:
        # a pause that is known before, or the next one after
        before = np.searchsorted(pace.at, which) - 1
        behind = pace.at[np.minimum(before + 1, len(pace.at) - 1)]
        early = places[pace.at[np.maximum(before, 0)]] - places[which]
        pauses = np.where(before >= 0, early, places[behind] - places[which + 1] + count) % width
    expected = count * usual + _pauses(count, pauses, width) * pace.pause
    each = np.where(count * by > _NUMBERS, _EACH_AGAIN, _EACH)
    apart = (_APART + each * count) * usual
    left_out = count > 1
    # nor may it be a pause that nobody knows of
    most = np.minimum(apart, max(0.3 * usual, pace.pause / 2)) if len(pace.at) else apart
    fits = np.abs(intervals - expected) < most
    # not if numbers begin again after a pause
    more = intervals - count * usual
    unsure = left_out & ~fits & (more > -apart) & (more < pace.longest + apart)
    unsure &= count * by <= _NUMBERS
    return np.where(left_out & (fits | unsure), count - 1, 0), pauses, unsure
