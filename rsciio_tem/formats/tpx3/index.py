# SPDX-License-Identifier: GPL-3.0-or-later
"""What one pass over the packets of a file tells: its triggers, and when each part was recorded."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Unsupported
from rsciio_tem.formats.tpx3.lost import Triggers, gaps_in, restored, steps_of
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import DataFile
from rsciio_tem.storage.identities import cached

__all__ = ["BLOCK", "EDGES", "Index", "index_of"]

#: The edges of the trigger inputs, in the order in which the kernel numbers them.
EDGES = ("TDC1 rising", "TDC1 falling", "TDC2 rising", "TDC2 falling")

#: Bytes of a block, about: all of it is read where a frame needs some of it.
BLOCK = 256 << 10
#: Bytes of a chunk at most, with the header behind it.
_CHUNK = (64 << 10) + 16
#: Triggers that are kept at most.
_MOST_TRIGGERS = 1 << 27


@dataclass(frozen=True, eq=False)
class Index:
    """Where the packets of a file are in time.

    Parameters
    ----------
    begins : ndarray of int64, shape (blocks + 1,)
        Byte at which each block begins, the last one ends.
    reaches : ndarray of int64, shape (blocks,)
        Byte at which those end that say which chunks a block has: behind damaged ones they are
        some of the next block.
    states : ndarray of int64, shape (blocks, STATE)
        The clock at the beginning of each block.
    hits, least, most : ndarray of int64, shape (blocks,)
        Hits of each block, the time of the first and of the last.
    times, edges, chips, numbers : ndarray, shape (triggers,)
        Of each trigger the time, its edge as in `EDGES`, its chip, and the number that it has.
    counts, kinds, chunks_of, hits_of : ndarray of int64
        What is wrong (see the kernel); packets by their first byte; chunks and hits of each chip.
    shift, jumps : int
        Ticks by which the clock of triggers was ahead of that of hits; how often the clock moved.
    """

    begins: npt.NDArray[np.int64]
    reaches: npt.NDArray[np.int64]
    states: npt.NDArray[np.int64]
    hits: npt.NDArray[np.int64]
    least: npt.NDArray[np.int64]
    most: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    edges: npt.NDArray[np.uint8]
    chips: npt.NDArray[np.uint8]
    numbers: npt.NDArray[np.uint16]
    counts: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]
    chunks_of: npt.NDArray[np.int64]
    hits_of: npt.NDArray[np.int64]
    shift: int
    jumps: int

    @functools.cached_property
    def span(self) -> tuple[int, int]:
        """Time of the first hit, and that behind the last; of the triggers if there are none."""
        some = self.hits > 0
        if some.any():
            return int(self.least[some].min()), int(self.most[some].max()) + 1
        return int(self.times.min()), int(self.times.max()) + 1

    def reports(self, edge: int, chip: int) -> npt.NDArray[np.bool_]:
        """Return which triggers are of an edge, and reported by a chip, or by any if it is -1."""
        chosen: npt.NDArray[np.bool_] = self.edges == edge
        return chosen if chip < 0 else chosen & (self.chips == chip)

    def of_edge(self, edge: int, chip: int) -> npt.NDArray[np.int64]:
        """Return the times of these triggers, ascending."""
        return np.sort(self.times[self.reports(edge, chip)])

    def triggers(self, edge: int, chip: int) -> Triggers:
        """Return the times of these triggers, with those that were lost, see `restored`."""
        if (edge, chip) not in self._triggers:  # of many, all is sorted for it
            self._triggers[edge, chip] = self._restored(edge, chip)
        return self._triggers[edge, chip]

    @functools.cached_property
    def _triggers(self) -> dict[tuple[int, int], Triggers]:
        return {}

    def _restored(self, edge: int, chip: int) -> Triggers:
        of_chip = self.chips == chip if chip >= 0 else np.ones(len(self.chips), np.bool_)
        order = np.flatnonzero(of_chip)
        order = order[np.argsort(self.times[order], kind="stable")]
        every, numbers = self.times[order], self.numbers[order].astype(np.int64)
        chosen = np.flatnonzero(self.edges[order] == edge)
        # packets that were stored twice
        twice = (np.diff(every[chosen]) == 0) & (np.diff(numbers[chosen]) == 0)
        chosen = chosen[np.append(True, ~twice)] if chip >= 0 else chosen
        times, steps = every[chosen], steps_of(numbers[chosen])
        if chip < 0:  # each has numbers of its own
            return Triggers(times, times[:0], 0, gaps_in(steps))
        all_steps, whole = steps_of(numbers), np.zeros(len(steps), np.bool_)
        if len(all_steps) and (all_steps == 1).mean() > 0.8:  # all edges are counted together
            whole = steps == np.diff(chosen)
        return restored(times, steps, whole)

    def reported(self, edge: int) -> dict[int, int]:
        """Return how many triggers of an edge each chip reports."""
        counts = np.bincount(self.chips[self.edges == edge], minlength=1)
        return {int(chip): int(counts[chip]) for chip in np.flatnonzero(counts)}

    @functools.cached_property
    def _growth(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Return times between which the number of hits grows evenly, and this number."""
        some = self.hits > 0
        least, most, hits = self.least[some], self.most[some] + 1, self.hits[some]
        if not len(hits):
            return np.zeros(1, np.int64), np.zeros(1)
        rates = hits / (most - least)
        moments, changes = np.concatenate([least, most]), np.concatenate([rates, -rates])
        order = np.argsort(moments, kind="stable")
        moments = moments[order]
        rate = np.maximum(np.cumsum(changes[order])[:-1], 0)
        return moments, np.concatenate([[0.0], np.cumsum(rate * np.diff(moments))])

    def about(self, times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return about how many hits come before each time."""
        return np.interp(times, *self._growth)

    def overlapping(self, window: tuple[int, int]) -> npt.NDArray[np.int64]:
        """Return the blocks with hits that may lie in an interval of time."""
        first, last = window
        return np.flatnonzero((self.hits > 0) & (self.least < last) & (self.most >= first))


_lock = threading.Lock()


def index_of(file: DataFile) -> Index:
    """Return what a pass over a file tells; each process goes over it once."""
    with _lock:  # threads that come at the same time wait for one pass
        return _index_of(file)


@cached(4)
def _index_of(file: DataFile) -> Index:
    from rsciio_tem.kernels import timepix3 as kernel

    backends.check_unchanged(file)
    state, counts = kernel.new_state(), np.zeros(kernel.COUNTS, np.int64)
    kinds, chips = np.zeros(256, np.int64), np.zeros((2, 256), np.int64)
    room = (BLOCK + _CHUNK) // 8
    some = np.empty(room, np.int64), np.empty(room, np.uint16), np.empty(room, np.uint16)
    rows: list[tuple[int, int, int, int, int]] = []
    states: list[npt.NDArray[np.int64]] = []
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    piece = (backends.BLOCK if file.origin is None else backends.REMOTE_BLOCK) + BLOCK + _CHUNK
    at, triggers = 0, 0
    while at < file.size:
        nbytes = min(piece, file.size - at)
        raw = backends.read(file, at, nbytes, "auto")
        last = at + nbytes == file.size
        place = 0
        while place < nbytes and (last or place + BLOCK + _CHUNK <= nbytes):
            states.append(state.copy())
            view = raw[place : place + BLOCK + _CHUNK]
            final = last and place + len(view) == nbytes
            stop, damaged = min(BLOCK, len(view)), counts[kernel.DAMAGED]
            end, count, hits, least, most = kernel.walk(
                view, 0, stop, final, state, counts, kinds, chips, some
            )
            reach = end if counts[kernel.DAMAGED] == damaged else min(end + _CHUNK, len(view))
            rows.append((at + place, at + place + reach, hits, least, most))
            if count:
                parts.append(tuple(array[:count].copy() for array in some))
                triggers += count
            if triggers > _MOST_TRIGGERS:
                raise Unsupported(file.path, f"has more than {_MOST_TRIGGERS} triggers.")
            place += end
        at += place
    table = np.array(rows, np.int64).reshape(-1, 5)
    parts.append(tuple(array[:0] for array in some))
    times, tags, numbers = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Index(
        np.append(table[:, 0], file.size),
        table[:, 1],
        np.array(states).reshape(-1, kernel.STATE),
        hits=table[:, 2],
        least=table[:, 3],
        most=table[:, 4],
        times=times,
        edges=(tags & 3).astype(np.uint8),
        chips=(tags >> 2).astype(np.uint8),
        numbers=numbers,
        counts=counts,
        kinds=kinds,
        chunks_of=chips[0],
        hits_of=chips[1],
        shift=int(state[kernel.SHIFT]),
        jumps=int(state[kernel.JUMPS]),
    )
