# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled loops over the packets of Timepix3 cameras, and the times in them.

All times are whole ticks of 25/96 ns, of which there are `TICKS_PER_SECOND`: 6 of them are the
1.5625 ns of a hit, 12 the 3.125 ns of a trigger, one the smallest step of a trigger.

Counters of the camera start again, that of hits after 26.8 s, that of triggers after 107.4 s. A
time is taken to be at most `BACK` before the last one, or as little after it as the counter allows.
A single packet that is more than a second from the last one does not move the clock, if the next is
near the last time again. If that agrees with the first, or is far from both, it does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rsciio_tem.kernels.common import jit, little, load8

__all__ = ["frame_numbers", "hits_of", "in_groups", "walk"]

TICKS_PER_SECOND = 3_840_000_000

#: Ticks after which the counter of hits, and that of triggers, start again.
_HITS, _TRIGGERS = 96 << 30, 96 << 32
#: How far before the last time another may be; how near two are that confirm each other.
BACK, _NEAR = _HITS // 4, TICKS_PER_SECOND
#: Times beyond this are damage.
_LATEST = 1 << 60
#: No time.
_NONE = -(1 << 62)

#: Fields of the state of the clock: the last time; whether there is one; far times that wait for
#: another that confirms them, of hits and of triggers; which of the two was the last packet, or 0;
#: whether a trigger has been seen, and the multiple of `_HITS` by which its counter is ahead of the
#: first hits; whether the global time is known, and its difference; its lower half, or -1; how
#: often the clock was moved.
STATE = 11
_LAST, _STARTED, _FAR_HIT, _FAR_TRIGGER, _FRESH, _SEEN, SHIFT = range(7)
_GLOBAL, _BEHIND, _LOW, JUMPS = range(7, STATE)

#: Fields of what is counted beside the packets: bytes outside of chunks, chunks whose size is
#: wrong, bytes at the end of chunks that are not a packet, packets that are cut off with the file,
#: chunks, triggers without a valid fine time.
COUNTS = 6
STRAY, DAMAGED, ODD, CUT, CHUNKS, NOT_FINE = range(COUNTS)

_MAGIC = 0x33585054  # "TPX3"
#: Kinds of triggers by the lower half of their first byte: which edge of which input.
_EDGES = np.array([-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 1, 3, -1, -1, 2, 0])


def new_state() -> npt.NDArray[np.int64]:
    """Return a clock that has seen nothing."""
    state = np.zeros(STATE, np.int64)
    state[[_FAR_HIT, _FAR_TRIGGER]] = _NONE
    state[_LOW] = -1
    return state


@jit
def _near(a, b):
    return a != _NONE and b != _NONE and -_NEAR <= a - b <= _NEAR


@jit
def _after(raw, period, earliest):
    """Return the first time from `earliest` on at which a counter has this value."""
    return raw + -((raw - earliest) // period) * period


@jit
def _settled(state, t, raw, period, waiting):
    """Return the time of a packet whose time is far from the last one."""
    for which in (waiting, _FAR_HIT + _FAR_TRIGGER - waiting):
        far = state[which]
        if far == _NONE or far < state[_LAST] - BACK:  # the time has gone on without it
            continue
        other = t if period == 0 else _after(raw, period, far - period // 2)
        if _near(other, far) and -_LATEST < other < _LATEST:
            state[_LAST] = other
            state[_FAR_HIT] = _NONE
            state[_FAR_TRIGGER] = _NONE
            state[_FRESH] = 0
            state[JUMPS] += 1
            return other
    if state[_FRESH] != 0:  # nothing came back to the last time
        state[_LAST] = state[state[_FRESH]]
        state[JUMPS] += 1
        if period != 0:
            t = _after(raw, period, state[_LAST] - BACK)
    if -_LATEST < t < _LATEST:
        state[waiting] = t
        state[_FRESH] = waiting
        return t
    return state[_LAST]


@jit
def _hit_time(state, raw):
    """Return the time of a hit that is the first, or not near the last time."""
    if state[_STARTED] == 0:
        state[_STARTED] = 1
        state[_LAST] = raw
        return raw
    t = _after(raw, _HITS, state[_LAST] - BACK)
    if _near(t, state[_LAST]):
        state[_LAST] = t
        state[_FAR_HIT] = _NONE
        state[_FRESH] = 0
        return t
    return _settled(state, t, raw, _HITS, _FAR_HIT)


@jit
def _trigger_time(state, raw, absolute):
    """Return the time of a trigger, or of a global time, if that is `absolute` (else -1)."""
    if state[_STARTED] == 0:
        state[_STARTED] = 1
        state[_SEEN] = 1
        state[_LAST] = raw
        if absolute >= 0:
            state[_GLOBAL] = 1
            state[_BEHIND] = absolute - raw
        return raw
    if state[_SEEN] == 0:  # hits came first: how often their counter had started again is unknown
        state[_SEEN] = 1
        last = state[state[_FRESH]] if state[_FRESH] != 0 else state[_LAST]
        state[SHIFT] = raw - _after(raw, _HITS, last - BACK)
    raw -= state[SHIFT]
    period = _TRIGGERS
    if absolute >= 0 and state[_GLOBAL] != 0:
        t = absolute - state[_BEHIND]
        period = 0
    else:
        t = _after(raw, _TRIGGERS, state[_LAST] - BACK)
    if _near(t, state[_LAST]):
        state[_LAST] = t
        state[_FAR_TRIGGER] = _NONE
        state[_FRESH] = 0
    else:
        t = _settled(state, t, raw, period, _FAR_TRIGGER)
    if absolute >= 0 and state[_GLOBAL] == 0 and state[_LAST] == t:
        state[_GLOBAL] = 1
        state[_BEHIND] = absolute - t
    return t


@jit
def _chunk_end(raw, at, size, final, counts):
    """Return where the packets of the chunk at `at` end."""
    end = at + 8 + size
    behind = len(raw) - end
    alone = final and 0 <= behind < 8  # no other chunk follows
    whole = alone or (behind >= 4 and little(raw, end, 4) == _MAGIC)
    if whole and size % 8 == 0:
        return end
    if behind < 0 and final:
        counts[CUT] += (7 - behind) // 8
        end = len(raw)
        whole = size % 8 == 0
    if not whole:
        counts[DAMAGED] += 1
        for place in range(at + 8, min(end, len(raw) - 4)):
            if raw[place] == 84 and little(raw, place, 4) == _MAGIC:
                return place
    return end


@jit
def _walk(
    raw, at, stop, final, state, counting, counts, kinds, chips, triggers, window, layout, out
):
    """Go through chunks; if `counting`, count packets and keep triggers, else keep hits."""
    n_out, n_hits = 0, 0
    least, most = np.int64(1 << 62), np.int64(-(1 << 62))
    base = np.int64(0)
    last = state[_LAST] if state[_STARTED] != 0 else np.int64(_NONE)
    if state[_STARTED] != 0:
        base = last // _HITS * _HITS
    while at < stop and at + 8 <= len(raw):
        word = load8(raw, at)
        if word & np.uint64(0xFFFFFFFF) != np.uint64(_MAGIC):
            counts[STRAY] += 1
            at += 1
            continue
        chip = np.int64((word >> np.uint64(32)) & np.uint64(0xFF))
        size = np.int64(word >> np.uint64(48))
        end = _chunk_end(raw, at, size, final, counts)
        counts[CHUNKS] += 1
        counts[ODD] += (end - at) % 8
        place = at + 8
        if counting:
            chips[0, chip] += 1
        while place + 8 <= end:
            word = load8(raw, place)
            place += 8
            kind = np.int64(word >> np.uint64(56))
            if counting:
                kinds[kind] += 1
            if kind >> 4 == 0xB:
                count = (word & np.uint64(0xFFFF)) << np.uint64(14)
                count |= (word >> np.uint64(30)) & np.uint64(0x3FFF)
                fine = (word >> np.uint64(16)) & np.uint64(0xF)
                ticks = 96 * np.int64(count) - 6 * np.int64(fine)
                t = ticks + base
                step = t - last
                if -_NEAR <= step <= _NEAR:
                    last = t
                    state[_FAR_HIT] = _NONE
                    state[_FRESH] = 0
                else:
                    state[_LAST] = last
                    t = _hit_time(state, ticks)
                    last = state[_LAST]
                    base = last // _HITS * _HITS
                if counting:
                    n_hits += 1
                    chips[1, chip] += 1
                    least = min(least, t)
                    most = max(most, t)
                elif window[0] <= t < window[1] and layout[chip, 4] > 0:
                    address = np.int64((word >> np.uint64(44)) & np.uint64(0xFFFF))
                    x = (address >> 9) * 2 + ((address >> 2) & 1)
                    y = ((address >> 3) & 63) * 4 + (address & 3)
                    row = layout[chip, 2] + layout[chip, 3] * y
                    out[0][n_out] = t
                    out[1][n_out] = row * layout[chip, 4] + layout[chip, 0] + layout[chip, 1] * x
                    out[2][n_out] = (word >> np.uint64(20)) & np.uint64(0x3FF)
                    n_out += 1
            elif kind >> 4 == 6:
                edge = _EDGES[kind & 15]
                if edge < 0:
                    continue
                fine = (word >> np.uint64(5)) & np.uint64(0xF)
                coarse = (word >> np.uint64(9)) & np.uint64(0x7FFFFFFFF)
                ticks = 12 * np.int64(coarse)
                if 1 <= fine <= 12:
                    ticks += np.int64(fine) - 1
                else:
                    counts[NOT_FINE] += 1
                state[_LAST] = last
                t = _trigger_time(state, ticks, np.int64(-1))
                last = state[_LAST]
                base = last // _HITS * _HITS
                if counting:
                    triggers[0][n_out] = t
                    triggers[1][n_out] = chip << 2 | edge
                    triggers[2][n_out] = (word >> np.uint64(44)) & np.uint64(0xFFF)
                    n_out += 1
            elif kind == 0x44:
                state[_LOW] = np.int64((word >> np.uint64(16)) & np.uint64(0xFFFFFFFF))
            elif kind == 0x45 and state[_LOW] >= 0:
                high = np.int64((word >> np.uint64(16)) & np.uint64(0xFFFF))
                ticks = 96 * state[_LOW]
                state[_LAST] = last
                _trigger_time(state, ticks, 96 * (high << 32 | state[_LOW]))
                last = state[_LAST]
                base = last // _HITS * _HITS
                state[_LOW] = -1
        at = end
    if state[_STARTED] != 0:
        state[_LAST] = last
    if final and at < stop:
        counts[STRAY] += stop - at
        at = stop
    return at, n_out, n_hits, least, most


def _no_hits(room):
    """Return an empty window, a layout without chips, and room for hits."""
    out = np.empty(room, np.int64), np.empty(room, np.uint32), np.empty(room, np.uint16)
    return np.zeros(2, np.int64), np.zeros((256, 5), np.int64), out


def _no_triggers():
    return np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint16)


def walk(
    raw: npt.NDArray[np.uint8],
    at: int,
    stop: int,
    final: bool,
    state: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    kinds: npt.NDArray[np.int64],
    chips: npt.NDArray[np.int64],
    triggers: tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16], npt.NDArray[np.uint16]],
) -> tuple[int, int, int, int, int]:
    """Count the packets of the chunks that begin in ``raw[at:stop]``, and keep their triggers.

    Parameters
    ----------
    raw : ndarray of uint8
        Bytes of a file; unless `final`, with 64 KiB and some behind `stop`.
    at, stop : int
        Where the first chunk begins, and from where on no other may begin.
    final : bool
        Whether the file ends with these bytes.
    state : ndarray of int64, shape (STATE,)
        The clock: what earlier bytes left behind, updated.
    counts, kinds, chips : ndarray of int64, shapes (COUNTS,), (256,) and (2, 256)
        What is counted is added: what is wrong; packets by their first byte; chunks and hits of
        each chip.
    triggers : tuple of ndarray
        Filled with the time of each trigger; its chip, times 4, plus its edge (0 and 1 the rising
        and falling one of the first input, 2 and 3 of the second); and its number. They have room
        for as many as there are packets.

    Returns
    -------
    (int, int, int, int, int)
        Where the next chunk begins; triggers; hits, their first and their last time.
    """
    if min(len(array) for array in triggers) < (len(raw) - at) // 8 or at < 0:
        raise ValueError("there is no room for the triggers")
    if (len(state), len(counts), kinds.shape, chips.shape) != (STATE, COUNTS, (256,), (2, 256)):
        raise ValueError("state, counts, kinds or chips have another shape")
    counted = counts, kinds, chips, triggers
    result = _walk(raw, at, stop, final, state, True, *counted, *_no_hits(0))
    place, n_triggers, n_hits, least, most = map(int, result)
    return place, n_triggers, n_hits, least, most


def hits_of(
    raw: npt.NDArray[np.uint8],
    stop: int,
    final: bool,
    state: npt.NDArray[np.int64],
    window: tuple[int, int],
    layout: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32], npt.NDArray[np.uint16]]:
    """Return the hits of some chunks in an interval of time.

    Parameters
    ----------
    raw : ndarray of uint8
        Bytes from the beginning of a chunk on.
    stop : int
        Where `walk` said that the next chunk begins.
    final : bool
        Whether the file ends with these bytes; or, where no chunk is damaged, a chunk. What is
        behind a damaged chunk says where it ends: then `raw` has 64 KiB and some behind `stop`.
    state : ndarray of int64
        The clock: what earlier bytes left behind, updated.
    window : (int, int)
        The time with which the interval begins, and that before which it ends.
    layout : ndarray of int64, shape (256, 5)
        For each chip the column of its column 0 in the frame, +1 or -1 for the direction, the same
        for rows, and the width of the frame; 0 for chips that are left out.

    Returns
    -------
    (ndarray of int64, ndarray of uint32, ndarray of uint16)
        Time, place in the flat frame and time over threshold in 25 ns.
    """
    if layout.shape != (256, 5) or len(state) != STATE or not 0 <= stop <= len(raw):
        raise ValueError("layout, state or bytes have another shape")
    room = len(raw) // 8 + 1
    _, _, out = _no_hits(room)
    counted = np.zeros(COUNTS, np.int64), np.zeros(256, np.int64), np.zeros((2, 256), np.int64)
    limits = np.array(window, np.int64)
    kept = limits, layout, out
    result = _walk(raw, 0, stop, final, state, False, *counted, _no_triggers(), *kept)
    count = int(result[1])
    return out[0][:count], out[1][:count], out[2][:count]


@jit
def _frame_numbers(times, starts, durations, steps, positions, out):
    line = np.int64(0)
    for i in range(len(times)):
        t = times[i]
        if t < starts[line] or (line + 1 < len(starts) and t >= starts[line + 1]):
            line = np.int64(np.searchsorted(starts, t, "right")) - 1
            if line < 0:
                line = np.int64(0)
        since = t - starts[line]
        out[i] = -1
        if 0 <= since < durations[line]:
            position = np.int64(since / steps[line])
            if position < positions:
                out[i] = line * positions + position


def frame_numbers(
    times: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    durations: npt.NDArray[np.int64],
    steps: npt.NDArray[np.float64],
    positions: int,
) -> npt.NDArray[np.int64]:
    """Return the frame that each time lies in, -1 if it lies in none.

    Parameters
    ----------
    times : ndarray of int64
        In any order; near ones beside each other are faster.
    starts, durations : ndarray of int64
        Beginning of each line, ascending, and how long it takes.
    steps : ndarray of float64
        How long a position of each line takes.
    positions : int
        Frames of a line.
    """
    if not len(starts) == len(durations) == len(steps) > 0 or (np.diff(starts) < 0).any():
        raise ValueError("starts, durations and steps contradict each other")
    if not (steps > 0).all():
        raise ValueError("steps must be positive")
    out = np.empty(len(times), np.int64)
    _frame_numbers(times, starts, durations, steps, positions, out)
    return out


@jit
def _in_groups(groups, places, values, bounds, nexts, out_places, out_values):
    for g in groups:
        bounds[g + 1] += 1
    for g in range(len(nexts)):
        bounds[g + 1] += bounds[g]
        nexts[g] = bounds[g]
    for i in range(len(groups)):
        k = nexts[groups[i]]
        nexts[groups[i]] += 1
        out_places[k] = places[i]
        if values is not None:
            out_values[k] = values[i]


def in_groups(
    groups: npt.NDArray[np.int64],
    count: int,
    places: npt.NDArray[np.uint32],
    values: npt.NDArray[np.uint16] | None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32], npt.NDArray[np.uint16]]:
    """Sort places and values by their group, those of a group stay in their order.

    Parameters
    ----------
    groups : ndarray of int64
        Number of the group of each, below `count`.
    count : int
        Number of groups.
    places, values : ndarray
        What is sorted.

    Returns
    -------
    bounds, places, values : ndarray
        Group i has those from ``bounds[i]`` to ``bounds[i + 1]``.
    """
    if len(groups) != len(places) or (values is not None and len(values) != len(groups)):
        raise ValueError("groups, places and values contradict each other")
    if len(groups) and not (groups.min() >= 0 and groups.max() < count):
        raise ValueError("there are not so many groups")
    bounds, nexts = np.zeros(count + 1, np.int64), np.empty(count, np.int64)
    out = np.empty_like(places), np.empty(0 if values is None else len(values), np.uint16)
    _in_groups(groups, places, values, bounds, nexts, *out)
    return bounds, *out
