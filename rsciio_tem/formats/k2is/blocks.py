# SPDX-License-Identifier: GPL-3.0-or-later
"""One sector file: where its blocks are, found from few headers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from rsciio_tem.formats.k2is.header import HEADER, SYNC_BYTES, Geometry, geometry_of
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import DataFile

#: How far a file is searched for its first block.
_SEARCH = 1 << 20


class Segment(NamedTuple):
    """Blocks that follow each other, in numbers and in the file."""

    number: int  # block_count of the first one
    byte: int
    blocks: int

    @property
    def end(self) -> int:
        """Number behind the last block."""
        return self.number + self.blocks


@dataclass
class Sector:
    """One .bin file while it is being described."""

    number: int  # 1 to 8, from left to right
    file: DataFile
    start: int = 0  # byte of the first block
    geometry: Geometry | None = None
    segments: list[Segment] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _headers: dict[int, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the file."""
        return os.path.basename(self.file.path)

    @property
    def blocks(self) -> int:
        """Number of blocks in the segments."""
        return sum(segment.blocks for segment in self.segments)

    @property
    def low(self) -> int:
        """Number of the first block."""
        return self.segments[0].number

    @property
    def high(self) -> int:
        """Number behind the last block."""
        return self.segments[-1].end

    @classmethod
    def opened(cls, number: int, file: DataFile) -> Sector | None:
        """Find the first block, and with it the sizes; None if there is none."""
        sector = cls(number, file)
        start = sector.find(0)
        if start is None:
            return None
        first = sector.header(start)
        sector.start, sector.geometry = start, geometry_of(first)
        sector._headers = {start: first}
        if start:
            sector.problems.append(
                f"{sector.name}: {start} bytes before the first block are ignored."
            )
        return sector

    @property
    def sizes(self) -> Geometry:
        """Sizes of the blocks, once one was read."""
        assert self.geometry is not None
        return self.geometry

    def header(self, byte: int) -> Any:
        """Read the header of the block at `byte`; None if there is no complete block."""
        if byte not in self._headers:
            self._headers[byte] = self._read_header(byte)
        return self._headers[byte]

    def _read_header(self, byte: int) -> Any:
        if not 0 <= byte <= self.file.size - HEADER.itemsize:
            return None
        raw = bytes(backends.read(self.file, byte, HEADER.itemsize, "buffered"))
        header = np.frombuffer(raw, HEADER)[0]
        sizes = geometry_of(header)
        if sizes is None or sizes != (self.geometry or sizes):
            return None
        return header if byte + sizes.nbytes <= self.file.size else None

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
                if self._followed(byte + at):
                    return byte + at
                at = content.find(SYNC_BYTES, at + 1)
            byte += max(1, size - len(SYNC_BYTES) + 1)
        return None

    def _followed(self, byte: int) -> bool:
        """Whether a block is followed by a block: four bytes may be pixels by chance."""
        if (header := self.header(byte)) is None:
            return False
        after = byte + int(header["block_size"])
        return after + HEADER.itemsize > self.file.size or self.header(after) is not None

    def explore(self) -> None:
        """Find the segments without losses from a few planned headers, and what lies between.

        Between two blocks of which numbers and positions are equally far apart nothing is missing;
        otherwise the interval is halved until the gap is found.
        """
        size = self.sizes.nbytes
        at: int | None = self.start
        segments: list[Segment] = []
        while at is not None:
            total = (self.file.size - at) // size
            count = _Counts(self, at, size)
            last = total - 1
            if count(last) is None:  # for example zeros at the end, written in advance
                last = _edge(count, 0, last)
            segments += [
                Segment(count.number(a), at + a * size, b - a + 1) for a, b in _joined(count, last)
            ]
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
                segments[-1] = segments[-1]._replace(blocks=segments[-1].blocks - 1)
                end -= size
            skipped = (self.file.size if at is None else at) - end
            self.problems.append(
                f"{self.name}: {skipped} bytes from byte {end} on are not blocks and are ignored."
            )
        self.segments = self._ordered(segments)

    def _ordered(self, segments: list[Segment]) -> list[Segment]:
        """Sort segments by number; leave out what came before, or cannot belong to the others."""
        main = max(segments, key=lambda s: s.blocks)
        reach = 8 * sum(s.blocks for s in segments) + 1000
        kept: list[Segment] = []
        dropped = 0
        for number, byte, n in sorted(segments):
            repeated = max(0, kept[-1].end - number) if kept else 0
            if abs(number - main.number) > reach or repeated >= n:
                dropped += n
                continue
            dropped += repeated
            byte += repeated * self.sizes.nbytes
            kept.append(Segment(number + repeated, byte, n - repeated))
        if dropped:
            self.problems.append(
                f"{self.name}: {dropped} blocks repeat others or have impossible numbers, ignored."
            )
        return kept

    def at(self, number: int) -> Any:
        """Read the header of the block with this ``block_count``; None if it is lost."""
        for segment in self.segments:
            if segment.number <= number < segment.end:
                return self.header(segment.byte + (number - segment.number) * self.sizes.nbytes)
        return None


@dataclass(frozen=True)
class _Counts:
    """Numbers of blocks by their position in the file; None where there is no block."""

    sector: Sector
    start: int
    size: int

    def __call__(self, i: int) -> int | None:
        header = self.sector.header(self.start + i * self.size)
        return None if header is None else int(header["block_count"])

    def number(self, i: int) -> int:
        """Return the number of a block that is there."""
        number = self(i)
        assert number is not None
        return number


def _joined(count: _Counts, last: int) -> Iterator[tuple[int, int]]:
    """Yield the positions between which nothing is missing, from planned ones on; both included."""
    planned = sorted({last * k // 8 for k in range(9)})
    good = [i for i in planned if count(i) is not None]
    first = begin = good[0]
    for i, j in zip(good, [*good[1:], good[-1]], strict=True):
        for a, b in _consecutive(count, i, j):
            if a != begin:
                yield first, begin
                first = a
            begin = b
    yield first, begin


def _edge(count: _Counts, good: int, bad: int) -> int:
    """Return the position of a block next to those without, between `good` and `bad`."""
    while abs(bad - good) > 1:
        middle = (good + bad) // 2
        if count(middle) is None:
            bad = middle
        else:
            good = middle
    return good


def _consecutive(count: _Counts, i: int, j: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of positions i..j in which numbers follow each other; ends are inclusive."""
    if count.number(j) - count.number(i) == j - i:
        yield i, j
    elif j == i + 1:
        yield i, i
        yield j, j
    else:
        middle = (i + j) // 2
        before = after = middle
        if count(middle) is None:
            before, after = _edge(count, i, middle), _edge(count, j, middle)
        yield from _consecutive(count, i, before)
        yield from _consecutive(count, after, j)
