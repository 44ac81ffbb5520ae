# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams of Timepix3 packets, as the readout board of a camera sends them.

Times are in ticks of 25/96 ns: 6 of them are the smallest step of a hit.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

SECOND = 3_840_000_000
#: Ticks after which the counter of hits, and that of triggers, begin again.
HITS, TRIGGERS = 2**30 * 96, 2**32 * 96

EDGES = {"TDC1 rising": 0x6F, "TDC1 falling": 0x6A, "TDC2 rising": 0x6E, "TDC2 falling": 0x6B}

Words = np.ndarray[Any, np.dtype[np.uint64]]


def hits(x: Any, y: Any, ticks: Any, tot: Any = 10) -> Words:
    """Make packets of pixels x, y of a chip."""
    x, y, ticks, tot = (np.asarray(v, np.int64) for v in np.broadcast_arrays(x, y, ticks, tot))
    slow = -(-ticks // 96)  # the fine time is subtracted
    fine = (slow * 96 - ticks) // 6
    address = x // 2 * 512 + y // 4 * 8 + x % 2 * 4 + y % 4
    low = slow // 16384 % 65536 + fine * 2**16 + tot * 2**20 + slow % 16384 * 2**30
    return low.astype("u8") + (address.astype("u8") << np.uint64(44)) + np.uint64(0xB << 60)


def triggers(edge: str, ticks: Any, number: Any = 0) -> Words:
    """Make packets of an edge."""
    ticks, number = (np.asarray(v, np.int64) for v in np.broadcast_arrays(ticks, number))
    low = (ticks % 12 + 1) * 32 + ticks // 12 % 2**35 * 512
    kind = np.uint64(EDGES[edge] << 56)
    return low.astype("u8") + ((number % 4096).astype("u8") << np.uint64(44)) + kind


def global_time(ticks: int) -> Words:
    """Make the two packets of a global time."""
    steps = ticks // 96
    low, high = steps % 2**32, steps >> 32
    return np.array([(0x44 << 56) + (low << 16), (0x45 << 56) + (high << 16)], "u8")


def chunk(words: Any, chip: int = 0) -> bytes:
    """Make a chunk."""
    content = np.asarray(words, "<u8").tobytes()
    return struct.pack("<4sBBH", b"TPX3", chip, 0, len(content)) + content


def stream(words: Any, chips: Any = 0, most: int = 100) -> bytes:
    """Make chunks of packets in this order, each of one chip and of `most` packets at most."""
    words = np.asarray(words, "u8")
    chips = np.broadcast_to(chips, words.shape)
    parts, first = [], 0
    while first < len(words):
        last = first + 1
        while last < len(words) and last - first < most and chips[last] == chips[first]:
            last += 1
        parts.append(chunk(words[first:last], int(chips[first])))
        first = last
    return b"".join(parts)


#: Chip, x and y of each quarter of a square of chips, and back.
def chip_of(rows: Any, columns: Any) -> tuple[Any, Any, Any]:
    """Return the chip and its pixel for places in a square of 512 x 512 pixels."""
    upper, right = rows >= 256, columns >= 256
    chip = np.where(upper, np.where(right, 1, 2), np.where(right, 0, 3))
    x, y = columns % 256, rows % 256
    return chip, np.where(upper, 255 - x, x), np.where(upper, 255 - y, y)


def write_counts(
    path: Path,
    counts: Any,
    starts: Any,
    dwell: int,
    rng: np.random.Generator,
    *,
    marks: Any = None,
    edge: str = "TDC1 rising",
    tot: int = 10,
    disorder: int = 0,
    copies: bool = False,
) -> Path:
    """Write frames as hits at random times in them.

    Parameters
    ----------
    path : Path
        The file.
    counts : ndarray of int, shape (frames, rows, columns)
        Hits of each pixel, of one chip or of four in a square.
    starts : ndarray of int
        Ticks at which each frame begins.
    dwell : int
        Ticks that a frame takes.
    rng : numpy.random.Generator
        For the times.
    marks : ndarray of int, optional
        Ticks of triggers, by default `starts`.
    edge : str
        Edge of the triggers.
    tot : int
        Time over threshold of each hit.
    disorder : int
        Ticks by which packets come later than their neighbours.
    copies : bool
        Whether each chip reports the triggers.
    """
    counts = np.asarray(counts)
    frames, rows, columns = (np.repeat(where, counts[counts > 0]) for where in np.nonzero(counts))
    times = np.asarray(starts)[frames] + rng.integers(0, dwell // 6, len(frames)) * 6
    times = -(-times // 6) * 6  # the steps of hits
    times = np.minimum(times, (np.asarray(starts)[frames] + dwell - 1) // 6 * 6)
    if counts.shape[1:] == (512, 512):
        chips, x, y = chip_of(rows, columns)
    else:
        chips, x, y = np.zeros(len(rows), np.int64), columns, rows
    marks = np.asarray(starts if marks is None else marks)
    words, when, of = [hits(x, y, times, tot)], [times], [chips]
    for chip in range(4 if copies else 1):
        words.append(triggers(edge, marks, np.arange(len(marks))))
        when.append(marks)
        of.append(np.full(len(marks), chip))
    late = np.concatenate(when)
    late = late + rng.integers(0, disorder + 1, len(late))
    order = np.argsort(late, kind="stable")
    path.write_bytes(stream(np.concatenate(words)[order], np.concatenate(of)[order]))
    return path
