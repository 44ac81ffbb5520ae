# SPDX-License-Identifier: GPL-3.0-or-later
"""The blocks of a sector file: header, size, place in the frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import DataFile

#: Header of a block, big-endian.
HEADER = np.dtype(
    [
        ("sync", ">u4"),  # 0: always 0xFFFF0055
        ("unknown1", "V4"),  # 4
        ("version", "u1"),  # 8
        ("flags", "u1"),  # 9: bit 0 set while the shutter is active
        ("unknown2", "V6"),  # 10
        ("block_count", ">u4"),  # 16: number of the block, the same in all sectors
        ("width", ">u2"),  # 20: columns of the sector (256)
        ("height", ">u2"),  # 22: rows of the sector (1860)
        ("frame_id", ">u4"),  # 24: number of the frame; may jump back
        ("x_start", ">u2"),  # 28: first column of the block within the sector
        ("y_start", ">u2"),  # 30: first row
        ("x_end", ">u2"),  # 32: last column, inclusive
        ("y_end", ">u2"),  # 34: last row, inclusive
        ("block_size", ">u4"),  # 36: bytes of the block with this header (22 360)
    ]
)


SYNC = 0xFFFF0055


SYNC_BYTES = SYNC.to_bytes(4, "big")


SHUTTER = 1


SECTORS = 8


#: Rows and columns of a full frame, and of the part of it that sees the image.
FULL = (1860, 2048)


USABLE = (1792, 1920)


#: How far a file is searched for its first block.
_SEARCH = 1 << 20


# ---------------------------------------------------------------- blocks of one sector


class Geometry(NamedTuple):
    """Sizes that all blocks of a recording share."""

    width: int  # of the sector
    height: int
    block_width: int
    block_height: int
    nbytes: int  # of a block, header included

    @property
    def per_frame(self) -> int:
        """Blocks of one frame of a sector."""
        return (self.width // self.block_width) * (self.height // self.block_height)


def _geometry(header: Any) -> Geometry | None:
    """Return the sizes that a block header states, None if it is no block header."""
    h = {name: int(header[name]) for name in HEADER.names or () if not name.startswith("unknown")}
    width, height = h["x_end"] - h["x_start"] + 1, h["y_end"] - h["y_start"] + 1
    if (
        h["sync"] != SYNC
        or width <= 0
        or height <= 0
        or width % 2
        or h["width"] == 0
        or h["height"] == 0
        or h["width"] % width
        or h["height"] % height
        or h["x_start"] % width
        or h["y_start"] % height
        or h["x_end"] >= h["width"]
        or h["y_end"] >= h["height"]
        or h["block_size"] != HEADER.itemsize + width * height * 3 // 2
    ):
        return None
    return Geometry(h["width"], h["height"], width, height, h["block_size"])


@dataclass
class _Sector:
    """One .bin file while it is being described."""

    number: int  # 1 to 8, from left to right
    file: DataFile
    start: int = 0  # byte of the first block
    geometry: Geometry | None = None
    segments: list[tuple[int, int, int]] = field(default_factory=list)  # block_count, byte, blocks
    problems: list[str] = field(default_factory=list)
    _seen: dict[int, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return os.path.basename(self.file.path)

    @property
    def blocks(self) -> int:
        return sum(n for _, _, n in self.segments)

    @property
    def low(self) -> int:
        return self.segments[0][0]

    @property
    def high(self) -> int:
        return self.segments[-1][0] + self.segments[-1][2]

    def header(self, byte: int) -> Any:
        """Read the header of the block at `byte`; None if there is no complete block."""
        if byte not in self._seen:
            header = None
            if 0 <= byte <= self.file.size - HEADER.itemsize:
                raw = bytes(backends.read(self.file, byte, HEADER.itemsize, "buffered"))
                header = np.frombuffer(raw, HEADER)[0]
                found = _geometry(header)
                wanted = self.geometry or found
                if found is None or found != wanted or byte + found.nbytes > self.file.size:
                    header = None
            self._seen[byte] = header
        return self._seen[byte]

    def find(self, byte: int) -> int | None:
        """Return where the next block begins, searching at most 1 MiB from `byte`."""
        if self.header(byte) is not None:
            return byte
        end = min(self.file.size, byte + _SEARCH)
        while byte < end:
            size = min(1 << 16, end - byte)
            content = bytes(backends.read(self.file, byte, size, "buffered"))
            at = content.find(SYNC_BYTES)
            while at >= 0:
                if (header := self.header(byte + at)) is not None:
                    # four bytes may be pixels by chance; a block is followed by a block
                    after = byte + at + int(header["block_size"])
                    if after + HEADER.itemsize > self.file.size or self.header(after) is not None:
                        return byte + at
                at = content.find(SYNC_BYTES, at + 1)
            byte += max(1, size - len(SYNC_BYTES) + 1)
        return None

    def open(self) -> bool:
        """Find the first block, and with it the sizes; False if there is none."""
        found = self.find(0)
        if found is None:
            return False
        self.start = found
        self.geometry = _geometry(self.header(found))
        self._seen = {found: self.header(found)}
        if found:
            self.problems.append(f"{self.name}: {found} bytes before the first block are ignored.")
        return True

    def explore(self) -> None:
        """Find the stretches without losses from a few planned headers, and what lies between.

        Between two blocks of which numbers and places are equally far apart nothing is missing;
        otherwise the interval is halved until the gap is found.
        """
        assert self.geometry is not None
        size = self.geometry.nbytes
        at: int | None = self.start
        found: list[tuple[int, int, int]] = []
        while at is not None:
            total = (self.file.size - at) // size
            count = _Counts(self, at, size)
            last = total - 1
            if count(last) is None:  # for example zeros at the end, written in advance
                last = _edge(count, 0, last)
            planned = sorted({last * k // 8 for k in range(9)})
            known = [i for i in planned if count(i) is not None]
            ranges: list[tuple[int, int]] = []
            for i, j in zip(known, [*known[1:], known[-1]], strict=True):
                for a, b in _consecutive(count, i, j):
                    if ranges and ranges[-1][1] == a:
                        ranges[-1] = (ranges[-1][0], b)
                    else:
                        ranges.append((a, b))
            for a, b in ranges:
                number = count(a)
                assert number is not None
                found.append((number, at + a * size, b - a + 1))
            end = at + (last + 1) * size
            if last + 1 == total:
                if end < self.file.size:
                    self.problems.append(
                        f"{self.name}: the last block is cut off after {self.file.size - end} "
                        "bytes, ignored."
                    )
                break
            # something that is no block: look for where blocks go on, maybe within the last one
            at = self.find(end - size + HEADER.itemsize)
            if at is not None and at < end:
                number, byte, n = found.pop()
                found.append((number, byte, n - 1))
                end -= size
            skipped = (self.file.size if at is None else at) - end
            self.problems.append(
                f"{self.name}: {skipped} bytes from byte {end} on are no blocks, ignored."
            )
        self.segments = self._ordered(found)

    def _ordered(self, found: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        """Sort stretches by number; leave out what came before, or cannot belong here."""
        main = max(found, key=lambda s: s[2])
        reach = 8 * sum(n for *_, n in found) + 1000
        kept: list[tuple[int, int, int]] = []
        dropped = 0
        assert self.geometry is not None
        for number, byte, n in sorted(found):
            repeated = max(0, kept[-1][0] + kept[-1][2] - number) if kept else 0
            if abs(number - main[0]) > reach or repeated >= n:
                dropped += n
                continue
            dropped += repeated
            kept.append((number + repeated, byte + repeated * self.geometry.nbytes, n - repeated))
        if dropped:
            self.problems.append(
                f"{self.name}: {dropped} blocks repeat others or have impossible numbers, ignored."
            )
        return kept

    def at(self, number: int) -> Any:
        """Read the header of the block with this ``block_count``; None if it is lost."""
        assert self.geometry is not None
        for first, byte, n in self.segments:
            if first <= number < first + n:
                return self.header(byte + (number - first) * self.geometry.nbytes)
        return None


@dataclass(frozen=True)
class _Counts:
    """Numbers of blocks by their place in the file; None where there is no block."""

    sector: _Sector
    start: int
    size: int

    def __call__(self, i: int) -> int | None:
        header = self.sector.header(self.start + i * self.size)
        return None if header is None else int(header["block_count"])


def _edge(count: Callable[[int], int | None], good: int, bad: int) -> int:
    """Return the place of a block next to places without, between `good` and `bad`."""
    while abs(bad - good) > 1:
        middle = (good + bad) // 2
        if count(middle) is None:
            bad = middle
        else:
            good = middle
    return good


def _consecutive(count: Callable[[int], int | None], i: int, j: int) -> Iterator[tuple[int, int]]:
    """Yield the stretches of places i..j in which numbers follow each other; ends are inclusive."""
    a, b = count(i), count(j)
    assert a is not None
    assert b is not None
    if b - a == j - i:
        yield i, j
    elif j == i + 1:
        yield i, i
        yield j, j
    else:
        middle = (i + j) // 2
        left = right = middle
        if count(middle) is None:
            left, right = _edge(count, i, middle), _edge(count, j, middle)
        yield from _consecutive(count, i, left)
        yield from _consecutive(count, right, j)


# ---------------------------------------------------------------- order of the blocks


def _canonical(geometry: Geometry) -> list[int]:
    """Cells of the blocks of a frame as documented: upper half first, each from right to left."""
    columns = geometry.width // geometry.block_width
    rows = geometry.height // geometry.block_height
    return [r * columns + c for r in range(rows) for c in reversed(range(columns))]


def _cell(geometry: Geometry, header: Any) -> int:
    columns = geometry.width // geometry.block_width
    row = int(header["y_start"]) // geometry.block_height
    return row * columns + int(header["x_start"]) // geometry.block_width
