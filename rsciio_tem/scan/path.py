# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames put into lines one by one: the cheapest explanation of all steps for one line length.

The state of a frame is its column, before the scan, or behind it. Between outstanding steps the
column advances rigidly; at an outstanding step frames may have been lost, a line may have been cut
short, the scan may begin or end. Every such event has a price in nats (log odds), so that a lost
frame, a line end and a clock that was set compete on equal terms, and the dearest explanation is
never needed to place what follows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsciio_tem.scan.events import Events, Floats
from rsciio_tem.scan.times import Ints

__all__ = ["Gap", "Path", "cheapest_path", "gap_at", "line_end_cost", "step_cost"]

#: log of the range of sizes that a freak step may have: it is taken to be log-uniform.
_RANGE = 40.0

#: Steps that exceed so many scatters may be more than a step or a line end.
OUTSTANDING = 6.0


@dataclass(frozen=True)
class Gap:
    """Time between lines in which no frame is taken.

    Parameters
    ----------
    size, scatter : float
        ns.
    z : float
        How far it stands out of the scatter, averaged over lines.
    place : int
        Slot, modulo the line length, at which lines begin.
    """

    size: float
    scatter: float
    z: float
    place: int

    @property
    def visible(self) -> bool:
        """Whether lines are seen at all."""
        # the largest of many places stands out by chance; at the first one nothing was chosen
        return self.z > (4.5 if self.place else 3) and self.size > 0


@dataclass(frozen=True, eq=False)
class Path:
    """Where each event belongs.

    Parameters
    ----------
    slot : ndarray of int64, shape (events,)
        Line times line length plus column; -1 for frames that are not part of the scan.
    cost : float
        Nats, relative to a series of usual steps without scatter.
    cut : tuple of int
        Lines cut short of which nothing tells which columns are missing.
    losses : int
        Times at which frames were lost that no frame number tells.
    vague : int
        How many of them may belong to another line, or be no loss at all.
    ends : ndarray of int64
        Events that begin a line, the first excluded.
    uncharged : float
        Nats for steps into and out of the scan, which may have any size; a series without lines
        would have to explain them.
    """

    slot: Ints
    cost: float
    cut: tuple[int, ...] = ()
    losses: int = 0
    vague: int = 0
    ends: Ints | None = None
    uncharged: float = 0.0


def step_cost(excess: Floats, scatter: float) -> Floats:
    """Cost of usual steps: scatter, and one freak step in a hundred of any size."""
    z = np.abs(excess) / scatter
    return np.asarray(-np.log(0.99 * np.exp(-0.5 * np.minimum(z, 38.0) ** 2) + _freak(z, 0.01)))


def line_end_cost(excess: Floats, scatter: float, gap: Gap) -> Floats:
    """Cost of steps across a line end."""
    z = (excess - gap.size) / gap.scatter
    regular = 0.98 * scatter / gap.scatter * np.exp(-0.5 * np.minimum(np.abs(z), 38.0) ** 2)
    return np.asarray(-np.log(regular + _freak(np.abs(excess) / scatter, 0.02)))


def _rounded(rest: float, grain: float) -> float:
    """Return what is left of an excess, less a part of it, beyond the rounding of the clock."""
    whole = rest + grain  # the excess was shrunk towards 0
    return math.copysign(max(abs(whole) - grain, 0.0), whole)


def _freak(z: Floats, share: float) -> Floats:
    return share / (_RANGE * np.maximum(z, 1.0))


def gap_at(events: Events, length: int) -> Gap:
    """Fold the excess over lines of one length: where they begin, how long the gap is."""
    scatter = events.scatter
    if not events.timed:
        return Gap(0.0, scatter, 0.0, 0)
    slot = events.slot[1:] % length
    values = np.clip(events.excess[1:] / scatter, -4.0, 8.0)
    sums = np.bincount(slot, values, length)
    counts = np.bincount(slot, minlength=length)
    z = sums / np.sqrt(np.maximum(counts, 1))
    place = int(np.argmax(z))
    ends = np.flatnonzero(slot == place) + 1
    apart = _apart(events, length)
    if len(apart) > max(1, 0.4 * events.slot[-1] / length):
        ends = apart  # lost frames shift the place, not the distance
    return _measured(events, ends, float(z[place]), place)


def _apart(events: Events, length: int) -> Ints:
    """Return the outstanding steps that have another one line before or behind them."""
    late = np.flatnonzero(events.excess > OUTSTANDING * events.scatter)
    slot = events.slot[late]
    return late[np.isin(slot + length, slot) | np.isin(slot - length, slot)]


def _measured(events: Events, ends: Ints, z: float, place: int) -> Gap:
    excess = events.excess[ends]
    if not len(excess):
        return Gap(0.0, events.scatter, 0.0, place)
    size = float(np.median(excess))
    spread = 1.4826 * float(np.median(np.abs(excess - size)))
    return Gap(size, max(events.scatter, 0.6 * events.unit, spread), z, place)


def cheapest_path(events: Events, length: int, gap: Gap) -> Path:
    """Find where each event belongs if lines have `length` places.

    The gap is measured anew at the line ends of the first path, and the path found again.
    """
    path = _search(events, length, gap)
    if not gap.visible or path.ends is None or len(path.ends) < 2:
        return path
    # line ends with an outstanding step of another size hide losses
    again = _measured(events, path.ends, gap.z, gap.place)
    if again.size <= 0 or (again.size, again.scatter) == (gap.size, gap.scatter):
        return path
    better = _search(events, length, again)
    return better if better.cost < path.cost else path


def _search(events: Events, length: int, gap: Gap) -> Path:
    usual = step_cost(events.excess, events.scatter)
    usual[0] = 0.0
    saving = np.zeros(len(events))
    if gap.visible:
        saving = line_end_cost(events.excess, events.scatter, gap) - usual
    special = np.abs(events.excess) > OUTSTANDING * events.scatter
    if events.grain:  # rounding hides most of a lost frame
        special |= (events.excess > 0) & (events.excess + events.grain > 0.75 * events.step)
    special |= (events.advance != 1) | events.after_mark
    special[0] = True
    rigid = _rigid(events, length, gap, usual, saving, special)
    if rigid is not None:
        return rigid
    if gap.visible:
        # a scan may begin one line before the first line end that is seen, and end behind the last
        seen = np.flatnonzero(np.abs(events.excess - gap.size) < 3 * gap.scatter)
        near = np.concatenate([seen[:3] - length, seen[-3:] + length])
        special[near[(near > 0) & (near < len(events))]] = True
    return _Search(events, length, gap, usual, saving, np.flatnonzero(special)).run()


def _rigid(
    events: Events,
    length: int,
    gap: Gap,
    usual: Floats,
    saving: Floats,
    special: npt.NDArray[np.bool_],
) -> Path | None:
    """Return the path of a recording in which nothing happened but line ends; else None."""
    slot = events.slot
    if not gap.visible:
        if special[1:].any() and (events.advance[1:][special[1:]] == 1).any():
            return None
        return Path(slot, float(usual.sum()), ends=np.flatnonzero(np.diff(slot // length)) + 1)
    if (events.advance[1:] != 1).any():
        return None
    at_end = slot % length == gap.place
    at_end[0] = False
    near = np.abs(events.excess - gap.size) < 4 * gap.scatter
    strange = special & ~(at_end & near)
    if gap.size > OUTSTANDING * events.scatter:
        strange |= at_end & ~near
    if strange[1:].any():
        return None
    slot = slot + -gap.place % length
    cost = float(usual.sum() + saving[at_end].sum())
    cost += _begun_at(int(slot[0]), length) + float((slot[-1] + 1) % length > 0)
    return Path(slot, cost, ends=np.flatnonzero(at_end))


def _begun_at(column: int, length: int) -> float:
    return math.log(length) + 1 if column else 0.0


#: What happened at an outstanding step, where no frames were lost.
_CUT, _ENTER = -1, -2


@dataclass
class _Search:
    """A dynamic programme over outstanding steps; its state is the column of the frame there."""

    events: Events
    length: int
    gap: Gap
    usual: Floats
    saving: Floats
    breaks: Ints

    def run(self) -> Path:
        """Return the cheapest path."""
        length, count = self.length, len(self.events)
        self.rare = math.log(count) + 2
        stops = np.append(self.breaks[1:], count)
        lengths = stops - self.breaks
        inner = np.add.reduceat(self.usual, self.breaks) - self.usual[self.breaks]
        cost = np.full(length, math.log(length) + 1)
        cost[0] = 0.0
        cost += self._within(0, int(stops[0])) + inner[0]
        before = float(inner[0])  # nothing yet is part of the scan
        behind, left_at, left_from = math.inf, 0, 0  # the scan is over
        trail: list[tuple[Ints, int]] = []
        for j in range(1, len(self.breaks)):
            begin, stop = int(self.breaks[j]), int(stops[j])
            at_end = np.roll(cost, int(lengths[j - 1]) - 1)  # by column of the frame before
            leaving = at_end + self.rare + 2 + 6.0
            leaving[-1] -= 6.0
            leaving += self._charge(begin, count - begin)
            column = int(np.argmin(leaving))
            outside = float(self.usual[begin]) + 8.0 * bool(self.events.after_mark[begin])
            if leaving[column] < behind + outside:
                behind, left_at, left_from = float(leaving[column]), j, column
            else:
                behind += outside
            behind += float(inner[j])
            # 2 more: a loss explains a step that suits it better than a pause before the scan
            entering = before + self.rare + 2 + self._charge(begin, begin)
            if self._no_line_begins(begin):
                entering = math.inf
            cost, how, short = self._across(begin, at_end, entering)
            trail.append((how, short))
            before += outside + float(inner[j])
            cost = cost + self._within(begin, stop) + inner[j]
        last = np.roll(cost, int(lengths[-1]) - 1)
        last[:-1] += 1.0
        column = int(np.argmin(last))
        value = float(last[column])
        if before <= min(value, behind):
            return Path(np.full(count, -1, np.int64), before)
        if behind < value:
            return self._traced(trail[: left_at - 1], lengths[:left_at], left_from, behind)
        return self._traced(trail, lengths, column, value)

    def _no_line_begins(self, begin: int) -> bool:
        """Whether a line end is seen less than a line behind a step: no line can begin there."""
        if not self.gap.visible:
            return False
        excess = self.events.excess[begin + 1 : begin + self.length]
        # a gap that varies much is no reason to take a late stamp for one
        near = np.abs(excess - self.gap.size) < min(4 * self.gap.scatter, 0.5 * self.gap.size)
        return bool((near & (excess > OUTSTANDING * self.events.scatter)).any())

    def _charge(self, begin: int, outside: int) -> float:
        """Cost of the step into or out of the scan.

        None if it is neither a usual step nor a line end, unless just whole lines lie outside: a
        few frames of a line that began before the recording are part of the scan.
        """
        excess, gap = float(self.events.excess[begin]), self.gap
        # a clock that was set back is no pause
        ordinary = excess < OUTSTANDING * self.events.scatter
        ordinary |= gap.visible and abs(excess - gap.size) < max(4 * gap.scatter, gap.size)
        if outside % self.length and not ordinary:
            return 0.0
        return float(min(self.usual[begin], self.usual[begin] + self.saving[begin]))

    def _within(self, begin: int, stop: int) -> Floats:
        """Add up what line ends save between two breaks, for each column of the first frame."""
        length = self.length
        if not self.gap.visible or stop - begin < 2:
            return np.zeros(length)
        offset = np.arange(1, stop - begin) % length
        by_offset = np.bincount(offset, self.saving[begin + 1 : stop], length)
        return np.asarray(by_offset[-np.arange(length) % length], np.float64)

    def _across(self, begin: int, cost: Floats, entering: float) -> tuple[Floats, Ints, int]:
        """Return cost by column of the frame at a break, and what happened there.

        The last is the column at which a line was cut short, if one was.
        """
        events, length, gap = self.events, self.length, self.gap
        advance, excess = int(events.advance[begin]), float(events.excess[begin])
        marked = bool(events.after_mark[begin])
        lost = {0}
        if events.timed and excess + events.grain * (excess > 0) > 0.5 * events.step:
            lost |= {round((excess + part) / events.step) for part in (0.0, events.grain)}
            for ends in (1, 2) if gap.visible else ():
                # a gap that varies by more than a step hides how many frames were lost with it
                middle = round((excess - ends * gap.size) / events.step)
                reach = min(8, int(2.5 * gap.scatter / events.step + 0.5))
                lost |= set(range(middle - reach, middle + reach + 1))
        best = np.full(length, math.inf)
        how = np.zeros(length, np.int64)
        for k in sorted(lost):
            if not 0 <= k <= 2 * length:
                continue
            price, rest = 0.0, excess
            if k:
                price = self.rare + 0.5 * (k > 1)
                price += 2.0 * (events.numbered and events.jumps > 0)
                rest = _rounded(excess - k * events.step, events.grain)
            lines, turn = divmod(advance + k, length)
            tried = np.empty(length)
            tried[turn:] = cost[: length - turn] + price + self._step(rest, lines, marked)
            further = self._step(excess - k * events.step, lines + 1, marked)
            tried[:turn] = cost[length - turn :] + price + further
            if k:
                how[tried < best] = k
            np.minimum(best, tried, out=best)
        # a line cut short: the next one begins here, what is missing is not known
        short = int(np.argmin(cost[:-1])) if length > 1 else 0
        price = self.rare - 1 if marked else self.rare + math.log(length) + 1
        cut = float(cost[short]) + price + self._step(excess, 1, marked)
        if cut < best[0]:
            best[0], how[0] = cut, _CUT
        if entering < best[0]:
            best[0], how[0] = entering, _ENTER
        return best, how, short

    def _step(self, excess: float, lines: int, marked: bool) -> float:
        """Cost of a step that crosses so many line ends; `step_cost` and `line_end_cost` of one."""
        scatter, gap = self.events.scatter, self.gap
        if lines == 0 or not gap.visible:
            z = abs(excess) / scatter
            usual = 0.99 * math.exp(-0.5 * min(z, 38.0) ** 2) + 0.01 / (_RANGE * max(z, 1.0))
            return -math.log(usual) + 8.0 * (marked and lines == 0)
        excess -= (lines - 1) * gap.size
        z = abs(excess - gap.size) / gap.scatter
        regular = 0.98 * scatter / gap.scatter * math.exp(-0.5 * min(z, 38.0) ** 2)
        return -math.log(regular + 0.02 / (_RANGE * max(abs(excess) / scatter, 1.0)))

    def _traced(
        self, trail: list[tuple[Ints, int]], lengths: Ints, column: int, cost: float
    ) -> Path:
        """Go back from the column of the last frame, then lay out what was gone through."""
        length = self.length
        happened: list[int] = []
        first = len(trail)
        begin_column = (column - int(lengths[first]) + 1) % length
        for j in range(len(trail), 0, -1):
            how, short = trail[j - 1]
            kind = int(how[begin_column])
            if kind == _ENTER:
                break
            happened.append(kind)
            first = j - 1
            advance = int(self.events.advance[int(self.breaks[j])])
            before = short if kind == _CUT else begin_column - advance - kind
            begin_column = (before - int(lengths[first]) + 1) % length
        happened.reverse()
        slot = np.full(len(self.events), -1, np.int64)
        cut: list[int] = []
        losses = vague = 0
        at = begin_column
        for j in range(first, len(trail) + 1):
            begin = int(self.breaks[j])
            if j > first:
                kind = happened[j - first - 1]
                if kind == _CUT:
                    cut.append((at - 1) // length)
                    at += -at % length
                else:
                    before = at - 1
                    at += int(self.events.advance[begin]) - 1 + kind
                    losses += kind > 0
                    # as many places as the gap varies by could be missing in the line before
                    blurred = self.gap.visible and self.gap.scatter > 0.25 * self.events.step
                    vague += kind > 0 and (
                        2 * kind > length or (blurred and before // length != at // length)
                    )
            size = int(lengths[j])
            slot[begin : begin + size] = at + np.arange(size)
            at += size
        line = slot // length
        inside = (slot[1:] >= 0) & (slot[:-1] >= 0)
        plain = inside & (line[1:] == line[:-1] + 1) & (slot[1:] == slot[:-1] + 1)
        edges = np.flatnonzero((slot[1:] >= 0) != (slot[:-1] >= 0)) + 1
        return Path(
            slot,
            cost,
            tuple(cut),
            losses,
            vague,
            np.flatnonzero(plain) + 1,
            float(self.usual[edges].sum()),
        )
