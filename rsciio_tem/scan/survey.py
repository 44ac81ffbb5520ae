# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading no more headers than it takes to put every frame in its place.

Of a short recording all headers are read. Of a long one the beginning is, and where lines should
begin in the rest: a shift of a line stays for all that follow, so the place of a loss is located by
bisection over lines, within the line over times, and over frame numbers where there are any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from rsciio_tem.scan.events import Events, events_of, unit_of
from rsciio_tem.scan.hypotheses import Claims, Fit, best_fits
from rsciio_tem.scan.path import OUTSTANDING, Gap, Path
from rsciio_tem.scan.placement import Placement, merged, placement_of
from rsciio_tem.scan.times import FrameTimes, Times

__all__ = ["Survey", "survey"]

#: Recordings of up to so many frames are read whole.
_WHOLE = 4096

#: The same of those on a server, and frames that are looked at first; more, if they show no lines.
_WHOLE_REMOTE = 256

#: Frames looked at first, and at most, of a longer recording to learn its lines; on a server each
#: is a request.
_SAMPLE, _SAMPLE_MAX, _SAMPLE_MAX_REMOTE = 2048, 1 << 14, 4096

#: Lines checked all over a long recording, and headers read at most to locate losses.
_CHECKED, _BUDGET = 32, 1 << 14

#: Line ends looked at where a header says where they are.
_CLAIMED = 16


@dataclass(frozen=True, eq=False)
class Survey:
    """What the headers of a recording tell about its lines.

    Parameters
    ----------
    events : Events
        Of the frames that were read one after the other.
    fits : list of Fit
        Line lengths that anything speaks for, the most credible first.
    complete : bool
        Whether all headers were read.
    """

    events: Events
    fits: list[Fit]
    complete: bool
    placements: dict[int, Placement]

    def placement(self, fit: Fit) -> Placement | None:
        """Return where all frames belong for one of the fits."""
        if fit.length in self.placements:
            return self.placements[fit.length]
        return placement_of(fit.length, self.events.frame, fit.path.slot)


def survey(
    times: Times | None,
    first: int,
    last: int,
    claims: Claims,
    *,
    rule: str = "auto",
    exhaustive: bool = False,
    brief: bool = False,
) -> Survey:
    """Look at stored frames first..last; frame numbers in the result count from `first`.

    Parameters
    ----------
    times : Times, optional
        Access to what the headers say.
    claims : Claims
        What header and side files say about the scan.
    rule : {"auto", "header", "exposures", "timestamps"}
        Kind of evidence to go by.
    exhaustive : bool
        Read all headers, whatever the number of frames.
    brief : bool
        Look at one sample only, where lines are not seen at once.
    """
    total = last - first
    if times is None:
        none = np.full(total if total <= _WHOLE else 2, -1, np.int64)
        return _without_headers(total, claims, rule, none)
    if total <= (_WHOLE_REMOTE if times.remote else _WHOLE):
        events = events_of(times.read(first, last))
        return Survey(events, best_fits(events, claims, rule=rule), True, {})
    return _Long(times, first, total, claims, rule, brief).look(exhaustive)


def _without_headers(total: int, claims: Claims, rule: str, none: np.ndarray) -> Survey:
    events = events_of(FrameTimes(none, none, none, none))
    size = min(len(none), total)
    events = replace(events, frame=np.arange(size), advance=np.minimum(np.arange(size), 1))
    fits = best_fits(events, claims, rule=rule, slots=total)
    placements = {fit.length: merged(fit.length, [(0, 0, total)]) for fit in fits}
    return Survey(events, fits, True, placements)


@dataclass
class _Long:
    """A recording of which not all headers are read."""

    times: Times
    first: int
    total: int
    claims: Claims
    rule: str
    brief: bool = False
    read: int = 0

    def look(self, exhaustive: bool) -> Survey:
        """Learn the lines from a part, then follow them through the recording."""
        if self.rule == "auto" and not exhaustive and (quick := self._as_claimed()) is not None:
            return quick
        begin, size = 0, _SAMPLE
        sample, fits = self._first_sample(size)
        if not _clear(fits) and not self.brief and self._worth_more(sample):
            for start in (self.total // 2 - 350, self.total - 700):
                part, seen = self._sample(start, 700)
                if _clear(seen) and seen[0].lines > 4:  # the camera ran before the scan
                    begin, sample, fits = start, part, seen
                    break
            else:
                most = _SAMPLE_MAX_REMOTE if self.times.remote else _SAMPLE_MAX
                sample, fits = self._sample(0, min(most, self.total))
        if not fits or fits[0].score <= 3:
            return Survey(sample, fits, False, self._rigid(fits, sample))
        best = fits[0]
        if exhaustive or len(sample.marks):
            return self._everything(fits)
        numbered = self._by_number(sample)
        if numbered is None:
            return self._everything(fits)
        if not (best.gap.visible and best.gap.size > OUTSTANDING * sample.scatter):
            placements = self._rigid(fits, sample)
            if len(numbered) > 1:
                placements[best.length] = self._numbered_placement(best, begin, numbered)
            return Survey(sample, fits, False, placements)
        followed = _Lines(self, sample, best, begin, numbered).follow()
        if followed is None:
            return self._everything(fits)
        return Survey(sample, fits, False, {**self._rigid(fits, sample), best.length: followed})

    def _as_claimed(self) -> Survey | None:
        """Return a survey if line ends are where a header has them, all over the recording.

        Only of a recording that has exactly the frames of that scan, without a gap in numbers.
        """
        shapes = {h.shape for h in self.claims.sizes if math.prod(h.shape) == self.total}
        lengths = {h.shape[-1] for h in (*self.claims.sizes, *self.claims.per_trigger)}
        if len(shapes) != 1 or len(lengths) != 1 or self.claims.external is False:
            return None
        ((lines, length),) = shapes
        if length < 4 or lines < _CLAIMED:
            return None
        first, last = self.headers(0, 64), self.headers(self.total - 1, self.total)
        events = events_of(first)
        numbered = int(last.sequence[0] - first.sequence[0]) if len(first.sequence) else -1
        if (
            not events.timed
            or len(events.marks)
            or (events.numbered and numbered != self.total - 1)
        ):
            return None
        places = np.unique(np.linspace(1, lines - 1, _CLAIMED).astype(int)) * length
        parts = [self.headers(place - 2, place + 2).time_ns for place in places.tolist()]
        if any(len(part) < 4 or (part < 0).any() for part in parts):
            return None
        steps = np.diff(np.array(parts), axis=1).astype(np.float64)
        step = float(np.median(steps[:, [0, 2]]))
        unit = unit_of(np.append(first.time_ns, parts))
        scatter = max(0.6 * unit, 20.0, 1e-7 * step, float(np.abs(steps[:, [0, 2]] - step).max()))
        gaps = steps[:, 1] - step
        if unit > 0.005 * step or gaps.min() < 8 * scatter or gaps.max() > 3 * gaps.min():
            return None
        size = float(np.median(gaps))
        spread = 1.4826 * float(np.median(np.abs(gaps - size)))
        gap = Gap(size, max(scatter, spread), 8.0 * math.sqrt(len(gaps)), 0)
        events = replace(events, step=step, scatter=scatter, unit=float(unit))
        fit = Fit(length, gap, Path(np.arange(len(events)), 0.0), 40.0, 50.0)
        return Survey(events, [fit], False, {length: merged(length, [(0, 0, self.total)])})

    def headers(self, begin: int, end: int) -> FrameTimes:
        """Read headers, counted from the first frame of the survey."""
        begin, end = max(begin, 0), min(end, self.total)
        self.read += end - begin
        return self.times.read(self.first + begin, self.first + end)

    def _sample(self, begin: int, size: int) -> tuple[Events, list[Fit]]:
        begin = max(0, begin)
        events = events_of(self.headers(begin, begin + size))
        events = replace(events, frame=events.frame + begin)
        fits = best_fits(events, self.claims, rule=self.rule, whole=False, slots=self.total)
        return events, fits

    def _first_sample(self, size: int) -> tuple[Events, list[Fit]]:
        """Look at the first frames; on a server, at no more than show some lines."""
        end = min(_WHOLE_REMOTE, size) if self.times.remote else size
        heads = self.headers(0, end)
        while True:
            events = events_of(heads)
            fits = best_fits(events, self.claims, rule=self.rule, whole=False, slots=self.total)
            if end >= min(size, self.total) or (_clear(fits) and fits[0].lines > 4):
                return events, fits
            more = self.headers(end, 2 * end)
            heads = FrameTimes(
                *(
                    np.concatenate([getattr(part, name) for part in (heads, more)])
                    for name in ("time_ns", "exposure_ns", "sequence", "counter")
                )
            )
            end *= 2

    def _worth_more(self, sample: Events) -> bool:
        """Whether lines may be longer than the sample, or begin behind it."""
        return (
            sample.timed or bool(len(sample.marks)) or (sample.exposure > 0 and not sample.remark)
        )

    def _rigid(self, fits: list[Fit], sample: Events) -> dict[int, Placement]:
        """Lay lines over all frames, for lengths that were looked at in a sample only."""
        result = {}
        for fit in fits:
            inside = np.flatnonzero(fit.path.slot >= 0)
            if len(inside):
                start = int(sample.frame[inside[0]])
                slot = int(fit.path.slot[inside[0]])
                begin = max(0, start - start // fit.length * fit.length) if start else 0
                slot = (slot - (start - begin)) % fit.length
                result[fit.length] = merged(fit.length, [(begin, slot, self.total - begin)])
        return result

    def _everything(self, fits: list[Fit]) -> Survey:
        """Read all headers and place all frames, for the best lengths of a sample."""
        events = events_of(self.headers(0, self.total))
        lengths = [fit.length for fit in fits if fit.score > 3][:3]
        again = best_fits(events, self.claims, rule=self.rule, lengths=lengths)
        return Survey(events, again, True, {})

    def _by_number(self, sample: Events) -> list[tuple[int, int]] | None:
        """Return (frame, places before it) wherever the frame number jumps; None if there are many.

        The number of places before frame 0 is 0. Numbers that number nothing tell of no loss.
        """
        offsets = [(0, 0)]
        if not sample.numbered:
            return offsets
        ends = self.headers(0, 1).sequence, self.headers(self.total - 1, self.total).sequence
        each = self._usual_number()
        if min(ends[0].min(initial=0), ends[1].min(initial=0)) < 0 or not each:
            return offsets
        origin = int(ends[0][0])
        lost_before = {
            0: 0,
            self.total - 1: self._lost(int(ends[1][0]) - origin, self.total - 1, each),
        }
        if lost_before[self.total - 1] < 0 or lost_before[self.total - 1] > 10 * self.total:
            return offsets  # numbered anew somewhere
        todo = [(0, self.total - 1)]
        while todo:
            low, high = todo.pop()
            if lost_before[low] == lost_before[high]:
                continue
            if high - low == 1:
                offsets.append((high, lost_before[high]))
                continue
            if self.read > _BUDGET + _SAMPLE_MAX:
                return None
            middle = (low + high) // 2
            number = int(self.headers(middle, middle + 1).sequence[0])
            lost_before[middle] = self._lost(number - origin, middle, each)
            todo += [(low, middle), (middle, high)]
        if any(b < a for (_, a), (_, b) in zip(sorted(offsets), sorted(offsets)[1:], strict=False)):
            return None  # doubled frames: they are looked for one by one
        return sorted(offsets)

    @staticmethod
    def _lost(distance: int, frames: int, each: int) -> int:
        return distance // each - frames

    def _usual_number(self) -> int:
        numbers = self.headers(0, 16).sequence
        steps = np.diff(numbers)
        return int(np.median(steps)) if len(steps) and (steps > 0).all() else 1 * bool(len(steps))

    def _numbered_placement(
        self, fit: Fit, begin: int, offsets: list[tuple[int, int]]
    ) -> Placement:
        """Place frames by their numbers alone, in lines that begin where the sample says."""
        slot = int(fit.path.slot[0]) if begin == 0 else 0
        edges = [*offsets[1:], (self.total, 0)]
        return merged(
            fit.length,
            [
                (frame, frame + lost + slot, end - frame)
                for (frame, lost), (end, _) in zip(offsets, edges, strict=True)
            ],
        )


def _clear(fits: list[Fit]) -> bool:
    return bool(fits) and fits[0].score > 8 and fits[0].gap.visible


class _Lines:
    """Follows the lines of a long recording from one to the next, or over many at once."""

    def __init__(
        self, source: _Long, sample: Events, fit: Fit, begin: int, numbered: list[tuple[int, int]]
    ) -> None:
        self.source, self.sample, self.length, self.gap = source, sample, fit.length, fit.gap
        self.begin = begin
        self.head = placement_of(fit.length, sample.frame, fit.path.slot)
        self.frames, self.lost = zip(*numbered, strict=True)

    def offset(self, frame: int) -> int:
        """Places lost before a frame, by number."""
        return int(self.lost[int(np.searchsorted(self.frames, frame, "right")) - 1])

    def follow(self) -> Placement | None:
        """Return where all frames belong; None if everything has to be read."""
        if self.head is None:
            return None
        total, length = self.source.total, self.length
        frame, slot, count = (int(n) for n in self.head.runs[-1])
        # from the sample on, a place is: frame + what numbers say + shift
        last = frame + count - 1
        shift = slot + count - 1 - last - self.offset(last)
        final = total - 1 + self.offset(total - 1) + shift
        lines = range((last + self.offset(last) + shift) // length + 1, final // length + 1)
        if not lines:
            return self._laid(shift, [])
        changes: list[tuple[int, int]] = []
        checked = np.unique(np.linspace(lines[0], lines[-1], _CHECKED).astype(int)).tolist()
        good_line, at = lines[0] - 1, shift
        for line in checked:
            moved = self._shift_at(line, at)
            if moved is None:
                return None
            if moved != at:
                located = self._located(good_line, at, line, moved)
                if located is None:
                    return None
                changes += located
            good_line, at = line, moved
            if self.source.read > 2 * _BUDGET + _SAMPLE_MAX:
                return None
        # behind the last whole line
        return self._laid(shift, changes)

    def _frame_of(self, slot: int, shift: int) -> int:
        """Return the first frame at a place or behind it."""
        low, high = 0, self.source.total
        while low < high:
            middle = (low + high) // 2
            if middle + self.offset(middle) + shift < slot:
                low = middle + 1
            else:
                high = middle
        return low

    def _begins(self, frame: int) -> bool:
        seen = self.source.headers(frame - 2, frame + 2)
        excess = self._excess(seen, max(frame - 2, 0))
        at = min(frame, 2)
        if at >= len(excess) or at < 1:
            return False
        others = np.delete(excess, [0, at])
        return abs(excess[at] - self.gap.size) < self._tolerance() and bool(
            (np.abs(others) < 0.5 * self.gap.size).all()
        )

    def _tolerance(self) -> float:
        # a usual step must not pass for a line end, however much these vary
        return min(max(0.5 * self.gap.size, 6 * self.gap.scatter), 0.6 * self.gap.size)

    def _excess(self, seen: FrameTimes, begin: int) -> np.ndarray:
        frames = begin + np.arange(len(seen))
        lost = np.array([self.offset(int(frame)) for frame in frames])
        advance = np.diff(frames + lost, prepend=begin + lost[:1])
        steps = np.diff(seen.time_ns, prepend=seen.time_ns[:1]).astype(np.float64)
        return np.asarray(steps - advance * self.sample.step)

    def _shift_at(self, line: int, shift: int) -> int | None:
        """Return the shift that puts the beginning of a line where the times show it."""
        slot = line * self.length
        frame = self._frame_of(slot, shift)
        if frame >= self.source.total - 1 or self._begins(frame):
            return shift
        for reach in (16, 128, self.length):
            low = max(frame - reach - 1, 0)
            seen = self.source.headers(low, frame + reach + 1)
            excess = self._excess(seen, low)
            near = np.abs(excess - self.gap.size) < min(self._tolerance(), 0.4 * self.sample.step)
            if not near.any():
                near = np.abs(excess - self.gap.size) < self._tolerance()
            near[0] = False
            places = low + np.flatnonzero(near)
            if len(places):
                nearest = int(places[np.argmin(np.abs(places - frame))])
                return slot - nearest - self.offset(nearest)
        return None

    def _located(
        self, low: int, low_shift: int, high: int, high_shift: int
    ) -> list[tuple[int, int]] | None:
        """Return (frame, shift from there on) wherever the shift changes between two lines."""
        if low_shift == high_shift:
            return []
        if high - low <= 1:
            return self._within(low, low_shift, high, high_shift)
        middle = (low + high) // 2
        shift = self._shift_at(middle, low_shift)
        if shift is None:
            return None
        left = self._located(low, low_shift, middle, shift)
        right = self._located(middle, shift, high, high_shift)
        return None if left is None or right is None else left + right

    def _within(
        self, low: int, low_shift: int, high: int, high_shift: int
    ) -> list[tuple[int, int]] | None:
        """Locate the losses within a line by the time that has passed since its beginning."""
        begin = self._frame_of(low * self.length, low_shift)
        end = self._frame_of(high * self.length, high_shift)
        missing = high_shift - low_shift
        if missing < 0 or not 2 <= end - begin <= 2 * self.length:
            return None
        step = self.sample.step
        if self.length <= 256:
            seen = self.source.headers(begin, end)
            excess = self._excess(seen, begin)
            lost = np.round(excess / step).astype(np.int64)
            lost[np.abs(excess - lost * step) > max(0.3 * step, 6 * self.sample.scatter)] = 0
            places = np.flatnonzero(lost > 0)
            if lost[places].sum() == missing:
                return [
                    (begin + int(p), low_shift + int(n))
                    for p, n in zip(places, np.cumsum(lost[places]), strict=True)
                ]
            before_end = self._excess(self.source.headers(end - 1, end + 1), end - 1)[-1]
            if places.size == 0 and round((before_end - self.gap.size) / step) == missing:
                return [(end, high_shift)]
            return None
        origin = int(self.source.headers(begin, begin + 1).time_ns[0])

        def lag(frame: int) -> int:
            passed = int(self.source.headers(frame, frame + 1).time_ns[0]) - origin
            places = frame - begin + self.offset(frame) - self.offset(begin)
            return round((passed - places * step) / step)

        todo, lag_at = [(begin, end - 1)], {begin: 0, end - 1: lag(end - 1)}
        changes: list[tuple[int, int]] = []
        while todo:
            left, right = todo.pop()
            if lag_at[left] == lag_at[right]:
                continue
            if right - left == 1:
                changes.append((right, low_shift + lag_at[right]))
                continue
            if self.source.read > 2 * _BUDGET + _SAMPLE_MAX:
                return None
            middle = (left + right) // 2
            lag_at[middle] = lag(middle)
            todo += [(left, middle), (middle, right)]
        if lag_at[end - 1] == missing:
            return sorted(changes)
        return [*sorted(changes), (end, high_shift)] if lag_at[end - 1] == 0 else None

    def _laid(self, shift: int, changes: list[tuple[int, int]]) -> Placement | None:
        assert self.head is not None
        total = self.source.total
        runs = [tuple(int(n) for n in run) for run in self.head.runs[:-1]]
        frame = int(self.head.runs["frame"][-1])
        if self.begin and len(self.head.runs) == 1:
            return None  # the beginning of the scan lies before the sample
        edges = {frame: shift, **dict(changes)}
        bounds = sorted({*edges, *(f for f in self.frames if f > frame)})
        current = shift
        for i, begin in enumerate(bounds):
            current = edges.get(begin, current)
            end = bounds[i + 1] if i + 1 < len(bounds) else total
            runs.append((begin, begin + self.offset(begin) + current, end - begin))
        return merged(self.length, runs)  # type: ignore[arg-type]
