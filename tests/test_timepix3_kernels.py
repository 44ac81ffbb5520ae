# SPDX-License-Identifier: GPL-3.0-or-later
"""The compiled loops over Timepix3 packets against slow twins."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from writers import tpx3 as writer

from rsciio_tem.kernels import timepix3
from rsciio_tem.kernels.timepix3 import frame_numbers, hits_of, in_groups, walk

SECOND = writer.SECOND
BACK = writer.HITS // 4


class Clock:
    """The clock in words: a time near the last one moves it on, a far one waits for another."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.far: dict[str, int | None] = {"hit": None, "trigger": None}
        self.fresh = ""  # whose far time was the last packet
        self.shift: int | None = None
        self.behind: int | None = None
        self.low: int | None = None
        self.jumps = 0

    def first_after(self, raw: int, period: int, earliest: int) -> int:
        return earliest + (raw - earliest) % period

    def near(self, a: int | None, b: int | None) -> bool:
        return a is not None and b is not None and abs(a - b) <= SECOND

    def hit(self, raw: int) -> int:
        if self.last is None:
            self.last = raw
            return raw
        return self.settle("hit", self.first_after(raw, writer.HITS, self.last - BACK), raw)

    def trigger(self, raw: int, absolute: int | None = None) -> int:
        if self.last is None:
            self.last, self.shift = raw, 0
            if absolute is not None:
                self.behind = absolute - raw
            return raw
        if self.shift is None:
            last = self.far[self.fresh] if self.fresh else self.last
            assert last is not None
            self.shift = raw - self.first_after(raw, writer.HITS, last - BACK)
        raw -= self.shift
        if absolute is not None and self.behind is not None:
            return self.settle("trigger", absolute - self.behind, None)
        t = self.settle("trigger", self.first_after(raw, writer.TRIGGERS, self.last - BACK), raw)
        if absolute is not None and self.last == t:
            self.behind = absolute - t
        return t

    def settle(self, kind: str, t: int, raw: int | None) -> int:
        period = writer.HITS if kind == "hit" else writer.TRIGGERS
        if self.near(t, self.last):
            self.last, self.far[kind], self.fresh = t, None, ""
            return t
        for far in (self.far[kind], self.far["trigger" if kind == "hit" else "hit"]):
            assert self.last is not None
            if far is None or far < self.last - BACK:
                continue
            other = t if raw is None else self.first_after(raw, period, far - period // 2)
            if self.near(other, far):
                self.last, self.far, self.fresh = other, {"hit": None, "trigger": None}, ""
                self.jumps += 1
                return other
        if self.fresh:
            self.last = self.far[self.fresh]
            assert self.last is not None
            self.jumps += 1
            if raw is not None:
                t = self.first_after(raw, period, self.last - BACK)
        self.far[kind], self.fresh = t, kind
        return t


def slow_chunks(content: bytes) -> tuple[list[tuple[int, int, int, list[int]]], dict[str, int]]:
    """Divide a file into chunks: place, end, chip, packets; and what is wrong."""
    wrong = dict.fromkeys(("stray", "damaged", "odd", "cut", "chunks"), 0)
    chunks, at = [], 0
    while at < len(content):
        if len(content) - at < 8:
            wrong["stray"] += len(content) - at
            break
        if content[at : at + 4] != b"TPX3":
            wrong["stray"] += 1
            at += 1
            continue
        chip, size = content[at + 4], struct.unpack("<H", content[at + 6 : at + 8])[0]
        end = at + 8 + size
        good = content[end : end + 4] == b"TPX3" or 0 <= len(content) - end < 8
        if end > len(content):
            wrong["cut"] += (7 + end - len(content)) // 8
            end, good = len(content), size % 8 == 0
        if not (good and size % 8 == 0):
            wrong["damaged"] += 1
            place = content.find(b"TPX3", at + 8, min(end, len(content) - 4) + 3)
            end = end if place < 0 else place
        wrong["chunks"] += 1
        wrong["odd"] += (end - at) % 8
        count = (end - at - 8) // 8
        words = struct.unpack_from(f"<{count}Q", content, at + 8)
        chunks.append((at, end, chip, list(words)))
        at = end
    return chunks, wrong


def slow_walk(content: bytes) -> dict[str, Any]:
    """Decode a file packet by packet."""
    clock, hits, triggers, kinds = Clock(), [], [], [0] * 256
    chunks, wrong = slow_chunks(content)
    wrong["not fine"] = 0
    for _, _, chip, words in chunks:
        for word in words:
            kind = word >> 56
            kinds[kind] += 1
            if kind >> 4 == 0xB:
                slow = (word & 0xFFFF) << 14 | word >> 30 & 0x3FFF
                t = clock.hit(slow * 96 - (word >> 16 & 15) * 6)
                address = word >> 44 & 0xFFFF
                x = (address >> 9) * 2 + (address >> 2 & 1)
                y = (address >> 3 & 63) * 4 + (address & 3)
                hits.append((t, chip, x, y, word >> 20 & 0x3FF))
            elif kind in (0x6F, 0x6A, 0x6E, 0x6B):
                fine = word >> 5 & 15
                wrong["not fine"] += not 1 <= fine <= 12
                ticks = (word >> 9 & (1 << 35) - 1) * 12 + (fine - 1 if 1 <= fine <= 12 else 0)
                edge = (0x6F, 0x6A, 0x6E, 0x6B).index(kind)
                triggers.append((clock.trigger(ticks), chip, edge, word >> 44 & 0xFFF))
            elif kind == 0x44:
                clock.low = word >> 16 & 0xFFFFFFFF
            elif kind == 0x45 and clock.low is not None:
                high = word >> 16 & 0xFFFF
                clock.trigger(clock.low * 96, (high << 32 | clock.low) * 96)
                clock.low = None
    return {"hits": hits, "triggers": triggers, "kinds": kinds, "wrong": wrong, "clock": clock}


def walked(content: bytes, stops: list[int]) -> dict[str, Any]:
    """Do the same with the compiled loops, in pieces that end behind `stops`."""
    raw = np.frombuffer(content, np.uint8)
    state, counts = timepix3.new_state(), np.zeros(timepix3.COUNTS, np.int64)
    kinds, chips = np.zeros(256, np.int64), np.zeros((2, 256), np.int64)
    room = len(raw) // 8 + 1
    some = np.empty(room, np.int64), np.empty(room, np.uint16), np.empty(room, np.uint16)
    layout = np.zeros((256, 5), np.int64)
    layout[:, 1] = layout[:, 3] = 1
    layout[:, 4] = 256
    layout[:, 2] = 256 * np.arange(256)  # chips below each other
    hits: list[Any] = []
    triggers: list[Any] = []
    at = 0
    for stop in [*sorted(stops), len(raw)]:
        if at >= stop:
            continue
        before, damaged = state.copy(), counts[timepix3.DAMAGED]
        end, count, n_hits, least, most = walk(
            raw, at, stop, True, state, counts, kinds, chips, some
        )
        assert end > at
        times, tags, numbers = (array[:count].tolist() for array in some)
        triggers += [
            (t, tag >> 2, tag & 3, number)
            for t, tag, number in zip(times, tags, numbers, strict=True)
        ]
        window = (least, most + 1) if n_hits else (0, 0)
        reach = end if counts[timepix3.DAMAGED] == damaged else min(end + (64 << 10) + 16, len(raw))
        piece, final = (raw[at:reach], end - at), reach in (end, len(raw))
        times, places, tots = hits_of(*piece, final, before, window, layout)
        assert len(times) == n_hits
        assert (before == state).all()
        if n_hits:
            assert (times.min(), times.max()) == (least, most)
            half = hits_of(*piece, final, timepix3.new_state(), (0, 0), layout)
            assert len(half[0]) == 0
        rows, columns = np.divmod(places.astype(int), 256)
        columns_of = (times, rows // 256, columns, rows % 256, tots)
        hits += list(zip(*(c.tolist() for c in columns_of), strict=True))
        at = end
    return {
        "hits": hits,
        "triggers": triggers,
        "kinds": kinds.tolist(),
        "wrong": dict(
            zip(
                ("stray", "damaged", "odd", "cut", "chunks", "not fine"),
                counts.tolist(),
                strict=True,
            )
        ),
        "state": state,
        "chips": chips,
    }


times = st.one_of(
    st.integers(0, 1 << 42), st.sampled_from([0, writer.HITS - 6, writer.HITS, writer.TRIGGERS - 1])
)
packets = st.one_of(
    st.tuples(st.just("hit"), st.integers(0, 255), st.integers(0, 255), times),
    st.tuples(
        st.just("trigger"), st.sampled_from(sorted(writer.EDGES)), st.integers(0, 5000), times
    ),
    st.tuples(st.just("global"), times),
    st.tuples(st.just("word"), st.integers(0, (1 << 64) - 1)),
    st.tuples(st.just("later"), st.integers(-SECOND, 3 * SECOND)),
)


def words_of(sequence: list[Any]) -> np.ndarray:
    """Make packets; "later" ones are hits some time after the one before."""
    words, last = [np.zeros(0, "u8")], 0
    for kind, *rest in sequence:
        if kind == "word":
            words.append(np.array(rest, "u8"))
            continue
        last = max(0, last + rest[-1]) if kind == "later" else rest[-1]
        if kind == "hit":
            words.append(writer.hits(*rest[:2], [last // 6 * 6]))
        elif kind == "later":
            words.append(writer.hits(3, 7, [last // 6 * 6]))
        elif kind == "trigger":
            words.append(writer.triggers(rest[0], [last], rest[1]))
        else:
            words.append(writer.global_time(last))
    return np.concatenate(words)


@given(
    st.lists(st.tuples(st.lists(packets, max_size=12), st.integers(0, 4)), max_size=8),
    st.lists(st.integers(0, 600), max_size=4),
    st.lists(st.tuples(st.integers(0, 600), st.binary(max_size=9), st.integers(0, 20)), max_size=2),
)
@settings(max_examples=300)
def test_walk_and_hits(
    chunks: list[Any], stops: list[int], damage: list[tuple[int, bytes, int]]
) -> None:
    """Any packets, in chunks that may be damaged: bytes are put in, and others taken out."""
    content = b"".join(writer.chunk(words_of(some), chip) for some, chip in chunks)
    for at, more, lost in damage:
        content = content[:at] + more + content[at + lost :]
    expected, result = slow_walk(content), walked(content, [s for s in stops if s < len(content)])
    for name in ("hits", "triggers", "kinds", "wrong"):
        assert result[name] == expected[name], name
    assert int(result["state"][timepix3.JUMPS]) == expected["clock"].jumps
    assert int(result["state"][timepix3.SHIFT]) == (expected["clock"].shift or 0)
    assert result["chips"][1].sum() == len(expected["hits"])


def test_times_beyond_all_bounds() -> None:
    """A stream that winds the clock forward for ever does not overflow it."""
    ticks = np.arange(400_000) * (3 * writer.TRIGGERS // 4) % writer.TRIGGERS
    content = writer.stream(writer.triggers("TDC1 rising", ticks))
    result = walked(content, [])
    assert all(abs(row[0]) < 1 << 61 for row in result["triggers"])


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 60)), min_size=1, max_size=8),
    st.integers(1, 5),
    st.lists(st.integers(-20, 420), max_size=30),
)
@settings(max_examples=200)
def test_frame_numbers(lines: list[tuple[int, int]], positions: int, moments: list[int]) -> None:
    starts = np.cumsum([gap for gap, _ in lines])
    durations = np.array([duration for _, duration in lines])
    steps = np.maximum(durations, 1) / positions
    result = frame_numbers(np.array(moments, np.int64), starts, durations, steps, positions)
    for t, number in zip(moments, result.tolist(), strict=True):
        line = max((i for i in range(len(lines)) if starts[i] <= t), default=-1)
        expected = -1
        if line >= 0 and t - starts[line] < durations[line]:
            # the step as it is, without rounding
            position = (t - int(starts[line])) * positions // max(1, int(durations[line]))
            expected = line * positions + position
        assert number == expected


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 99), st.integers(0, 1023)), max_size=40)
)
def test_in_groups(rows: list[tuple[int, int, int]]) -> None:
    groups, places, values = np.array(rows, np.int64).reshape(-1, 3).T
    bounds, *columns = in_groups(groups, 7, places.astype("u4"), values.astype("u2"))
    expected = sorted(rows, key=lambda row: row[0])
    assert list(zip(*(c.tolist() for c in columns), strict=True)) == [r[1:] for r in expected]
    assert bounds.tolist() == np.searchsorted([r[0] for r in expected], np.arange(8)).tolist()
    same, sorted_places, _ = in_groups(groups, 7, places.astype("u4"), None)
    assert same.tolist() == bounds.tolist()
    assert sorted_places.tolist() == columns[0].tolist()


def test_what_kernels_refuse() -> None:
    one = np.zeros(1, np.int64)
    with pytest.raises(ValueError, match="groups"):
        in_groups(one + 7, 7, one.astype("u4"), None)
    with pytest.raises(ValueError, match="contradict"):
        in_groups(one, 7, np.zeros(2, "u4"), None)
    with pytest.raises(ValueError, match="contradict"):
        frame_numbers(one, np.array([5, 3]), np.ones(2, int), np.ones(2), 1)
    with pytest.raises(ValueError, match="positive"):
        frame_numbers(one, one, one, np.zeros(1), 1)
    with pytest.raises(ValueError, match="shape"):
        hits_of(np.zeros(8, "u1"), 8, True, one, (0, 1), np.zeros((256, 5), np.int64))
