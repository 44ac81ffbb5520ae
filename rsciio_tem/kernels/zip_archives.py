# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of a zip archive with millions of members."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.kernels.common import jit, little, load8

__all__ = ["zip_ends", "zip_members", "zip_table"]


@jit
def _zip_members(raw, words, starts, lengths, table):
    at: Any = 0
    half = np.uint64(0xFFFF)
    for i in range(table.shape[1]):
        if at + 46 > len(raw) or load8(raw, at) & np.uint64(0xFFFFFFFF) != np.uint64(0x02014B50):
            return i
        kind, sums, sizes = load8(raw, at + 8), load8(raw, at + 16), load8(raw, at + 24)
        name_at = at + 46
        n, extra = np.int64((sizes >> np.uint64(32)) & half), np.int64(sizes >> np.uint64(48))
        end = name_at + n + extra + np.int64(load8(raw, at + 32) & half)
        if end > len(raw):
            return i
        row = table[:, i]
        row[0], row[1] = name_at, n
        row[4], row[5] = kind & half, (kind >> np.uint64(16)) & half
        row[6], row[7] = sums & np.uint64(0xFFFFFFFF), sums >> np.uint64(32)
        row[8], row[9] = sizes & np.uint64(0xFFFFFFFF), load8(raw, at + 38) >> np.uint64(32)
        # what does not fit into 32 bits is in the extra field 1, in this order
        here, stop = name_at + n, name_at + n + extra
        while here + 4 <= stop:
            code, left = little(raw, here, 2), min(little(raw, here + 2, 2), stop - here - 4)
            here += 4
            if code == 1:
                part = here
                for field in (8, 7, 9):
                    if row[field] == 0xFFFFFFFF and part + 8 <= here + left:
                        row[field] = little(raw, part, 8)
                        part += 8
            here += left
        # a number without leading zeros, and one of the words
        digits = 0
        number: Any = np.int64(0)
        while digits < n and digits < 18 and 48 <= raw[name_at + digits] <= 57:
            number = number * 10 + np.int64(raw[name_at + digits]) - 48
            digits += 1
        row[2] = row[3] = -1
        if digits and not (raw[name_at] == 48 and digits > 1):
            for w in range(len(words)):
                if n != digits + lengths[w] or load8(raw, name_at + digits) != starts[w]:
                    continue
                same = True
                for j in range(8, lengths[w]):
                    same &= raw[name_at + digits + j] == words[w, j]
                if same:
                    row[2], row[3] = w, number
        at = end
    return -1


def zip_members(
    raw: npt.NDArray[np.uint8], words: tuple[bytes, ...], table: npt.NDArray[np.int64]
) -> int:
    """Parse the central directory of a zip archive; see `rsciio_tem.parsing.zip_archives.FIELDS`.

    Parameters
    ----------
    raw : ndarray of uint8
        The directory.
    words : tuple of bytes
        What follows the number in the names of numbered members; of 8 letters at least.
    table : ndarray of int64, shape (10, members)
        Is filled.

    Returns
    -------
    int
        The first member that is damaged, -1 if none is.
    """
    lengths = np.array([len(word) for word in words])
    letters = np.zeros((len(words), int(lengths.max())), np.uint8)
    for i, word in enumerate(words):
        letters[i, : len(word)] = np.frombuffer(word, np.uint8)
    starts = np.array([int.from_bytes(word[:8], "little") for word in words], np.uint64)
    return int(_zip_members(raw, letters, starts, lengths, table))


@jit
def _zip_ends(table, first, longest, ends):
    count = len(ends)
    for i in range(count):
        offset, packed = table[9, i], table[7, i]
        end = table[9, i + 1] if i + 1 < count else first
        if offset < 0 or packed < 0 or table[8, i] < 0 or end <= offset or end > first:
            return False
        end = min(end, offset + longest + table[1, i] + packed)
        if end - offset < 30 or packed > end - offset:
            return False
        ends[i] = end
    return True


def zip_ends(
    table: npt.NDArray[np.int64], first: int, longest: int, ends: npt.NDArray[np.int64]
) -> bool:
    """Fill `ends` with where members end at the latest, if they lie one behind the other.

    Parameters
    ----------
    table : ndarray of int64, shape (10, members)
        As `zip_members` fills it.
    first : int
        Byte at which the directory begins.
    longest : int
        Most bytes that a member has beside its name and its content.
    ends : ndarray of int64
        Is filled.

    Returns
    -------
    bool
        False if they lie in another order, or one is damaged.
    """
    return bool(_zip_ends(table, first, longest, ends))


@jit
def _zip_table(parts, numbers, table):
    for i in range(len(parts)):
        if 0 <= parts[i] < table.shape[0] and 0 <= numbers[i] < table.shape[1]:
            table[parts[i], numbers[i]] = i


def zip_table(
    parts: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64], table: npt.NDArray[np.int64]
) -> None:
    """Set ``table[parts[i], numbers[i]]`` to i where there is such a place; the last i counts."""
    _zip_table(parts, numbers, table)
