# SPDX-License-Identifier: GPL-3.0-or-later
"""Gatan K2 IS: eight streams of 12-bit blocks (.bin) and a tag file (.gtg).

The camera's image is read out in eight sectors side by side, each written to a file of its own:
``<name>1.bin`` (left) to ``<name>8.bin`` (right). A file is nothing but blocks of 22 360 bytes;
32 of them make one frame of a sector. The files start and end at different moments, and blocks may
be lost, so what belongs together is told by the running block number in each header, which is the
same in all sectors. ``<name>.gtg`` is a DigitalMicrograph file without image; it knows whether the
recording is a scan.

Byte layout and pixel packing are those of ``specifications/k2is.ksy``, on which two independent
readers (LiberTEM, py4DSTEM) agree and which was tested by exchanging files with LiberTEM. The use
of the hidden rows as dark rows is known from py4DSTEM alone. No recording with other sizes than
1860 x 2048 pixels is known: such sizes are taken from the block headers, with a warning.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Unpack, get_args

import numpy as np
import numpy.typing as npt

from rsciio_tem import backends, dmtags, files
from rsciio_tem.backends import Backend, DataFile
from rsciio_tem.blocks import BlockLayout, BlockTable, segments_of
from rsciio_tem.checking import listed
from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Truncated, Unsupported, warn
from rsciio_tem.frames import FrameIndex, Frames, Mosaic
from rsciio_tem.pixels import Region, full_region
from rsciio_tem.read import ReadOptions, read
from rsciio_tem.recording import Axis, Recording
from rsciio_tem.scan import ScanHint
from rsciio_tem.times import FrameTimes

__all__ = ["file_reader", "frame_ids", "parse", "sniff"]

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

Which = Literal["common", "any"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a sector by a block header, a tag file by the sectors beside it."""
    if path.lower().endswith(".gtg"):
        if not dmtags.is_dm(head):
            return None
        sectors, _ = _members(path)
        if sectors:
            return 0.97, f"is the tag file of a K2 IS recording of {len(sectors)} sectors", {}
        return 0.5, "is a tag file as K2 IS recordings have one", {}
    at = head.find(SYNC_BYTES)
    while at >= 0 and at + HEADER.itemsize <= len(head):
        if _geometry(np.frombuffer(head, HEADER, 1, at)[0]) is not None:
            where = "begins" if at == 0 else "continues"
            return (0.99 if at == 0 else 0.9), f"{where} with a block of a K2 IS sector", {}
        at = head.find(SYNC_BYTES, at + 1)
    return None


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


# ---------------------------------------------------------------- which files


def _members(path: str) -> tuple[dict[int, str], str | None]:
    """Find the sectors and the tag file that belong to one of them."""
    folder, base = os.path.split(path)
    stem, suffix = os.path.splitext(base)
    tags = suffix.lower() == ".gtg"
    if not tags and not re.fullmatch(r".*[1-8]", stem, re.DOTALL):
        return {}, None
    prefix = stem if tags else stem[:-1]
    try:
        listing = sorted(os.listdir(folder or "."))
    except OSError as error:
        raise FormatError(path, f"its folder cannot be listed: {error.strerror}.") from error
    for start in dict.fromkeys((prefix, prefix + "_") if tags else (prefix,)):
        pattern = re.compile(re.escape(start) + r"([1-8])\.bin", re.IGNORECASE)
        found = {
            int(match[1]): os.path.join(folder, entry)
            for entry in listing
            if (match := pattern.fullmatch(entry))
            and os.path.normcase(entry).startswith(os.path.normcase(start))
        }
        if found:
            break
    if tags:
        return found, path
    found[int(stem[-1])] = path
    wanted = {f"{prefix}.gtg".lower(), f"{prefix.rstrip('_')}.gtg".lower()}
    beside = [os.path.join(folder, entry) for entry in listing if entry.lower() in wanted]
    return found, beside[0] if beside else None


def _opened(asked: str, members: dict[int, str], problems: list[Problem]) -> list[_Sector]:
    """Open the sectors; those without a single block are left out, with a warning."""
    sectors = []
    for number in range(1, SECTORS + 1):
        path = members.get(number)
        if path is None:
            problems.append(_left_out(number, "its file is missing"))
            continue
        sector = _Sector(number, DataFile.of(path))
        if sector.open():
            sectors.append(sector)
            continue
        if path == asked:
            start = files.read_start(path, 4)
            what = f"has {sector.file.size} bytes" if start == SYNC_BYTES else "holds no block"
            kind = Truncated if start == SYNC_BYTES else NotThisFormat
            raise kind(
                path,
                f"{what} of a K2 IS recording"
                + (", less than one block." if start == SYNC_BYTES else "."),
                "If other sectors are good, open one of them to read the recording without this.",
            )
        problems.append(_left_out(number, f"{sector.name} holds no block"))
    if not sectors:
        raise FormatError(
            asked,
            "has no sector beside it: there is no "
            f"{os.path.splitext(os.path.basename(asked))[0]}1.bin … 8.bin with blocks in it.",
        )
    reference = sectors[0]
    for sector in sectors[1:]:
        if sector.geometry != reference.geometry:
            raise FormatError(
                sector.file.path,
                f"has blocks of other sizes ({sector.geometry}) than {reference.name} "
                f"({reference.geometry}).",
                "Move files of other recordings away.",
            )
    return sectors


def _left_out(number: int, why: str) -> Problem:
    return Problem("warning", f"Sector {number}: {why}; its part of the image is filled.")


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


def _cycle(sectors: list[_Sector], problems: list[Problem]) -> tuple[int, tuple[int, ...]]:
    """Find which block numbers begin a frame, and the cells of a frame's blocks in this order."""
    geometry = sectors[0].geometry
    assert geometry is not None
    n = geometry.per_frame
    canonical = _canonical(geometry)
    # two frames from the longest stretch without losses
    longest, (number, _, blocks) = max(
        ((s, segment) for s in sectors for segment in s.segments), key=lambda pair: pair[1][2]
    )
    heads = [longest.at(number + i) for i in range(min(blocks, 2 * n + 1))]
    heads = [h for h in heads if h is not None]

    def phase_of(header: Any) -> int:
        return (int(header["block_count"]) - canonical.index(_cell(geometry, header))) % n

    phases = Counter(phase_of(h) for h in heads)
    usual, agreeing = phases.most_common(1)[0]
    changes = Counter(
        int(b["block_count"]) % n
        for a, b in pairwise(heads)
        if a["frame_id"] != b["frame_id"] and int(b["block_count"]) - int(a["block_count"]) == 1
    )
    if 10 * agreeing >= 9 * len(heads) and (not changes or changes.most_common(1)[0][0] == usual):
        phase, cells = usual, canonical
    else:
        if not changes:
            raise FormatError(
                longest.file.path,
                f"{len(heads)} blocks are stored in an unknown order, and none begins a frame.",
            )
        phase = changes.most_common(1)[0][0]
        order = {(int(h["block_count"]) - phase) % n: _cell(geometry, h) for h in heads}
        cells = [order.get(i, -1) for i in range(n)]
        if sorted(cells) != list(range(n)):
            raise FormatError(
                longest.file.path,
                f"the first blocks do not cover a frame: their places are {cells}.",
            )
        problems.append(
            Problem("warning", "Blocks are stored in another order than usual; headers decide.")
        )
    for sector in sectors:
        known = [h for i in (sector.low, sector.high - 1) if (h := sector.at(i)) is not None]
        right = [cells[(int(h["block_count"]) - phase) % n] == _cell(geometry, h) for h in known]
        if right and not any(right):
            raise FormatError(
                sector.file.path,
                f"its blocks are numbered otherwise than those of {longest.name}.",
                "Move it away to read the recording without it; its part of the image is filled.",
            )
    return phase, tuple(cells)


def _range(
    asked: str, sectors: list[_Sector], phase: int, which: Which, problems: list[Problem]
) -> tuple[int, int]:
    """Return number of the first block, and number of frames, that are read."""
    geometry = sectors[0].geometry
    assert geometry is not None
    n = geometry.per_frame

    def frames(low: int, high: int) -> tuple[int, int]:
        """Complete frames between two block numbers: the first, and the one after the last."""
        return -((phase - low) // n), (high - phase) // n

    low, high = max(s.low for s in sectors), min(s.high for s in sectors)
    first, last = frames(low, high)
    widest = [frames(s.low, s.high) for s in sectors]
    earliest, latest = min(a for a, _ in widest), max(b for _, b in widest)
    if which == "any":
        low, high = min(s.low for s in sectors), max(s.high for s in sectors)
        first, last = (low - phase) // n, -((phase - high) // n)
        if last - first > latest - earliest:  # what no sector has in full is of no use
            first, last = (earliest, latest) if latest > earliest else (first, last)
    if last <= first:
        worst = min(sectors, key=lambda s: s.blocks)
        raise Truncated(
            worst.file.path,
            f"holds {worst.blocks} blocks; no frame ({n} blocks in each sector) is complete in "
            "all sectors: "
            + ", ".join(f"{s.name} has blocks {s.low} to {s.high - 1}" for s in sectors)
            + ".",
            'Pass sectors="any" to read what there is.' if which == "common" else "",
        )
    if which == "common":
        for lost, end, worst in (
            (first - earliest, "first", max(sectors, key=lambda s: s.low)),
            (latest - last, "last", min(sectors, key=lambda s: s.high)),
        ):
            if lost > 0:
                problems.append(
                    Problem(
                        "warning" if lost > 1 else "info",
                        f"{lost} frames at the {'start' if end == 'first' else 'end'} are not in "
                        f"all sectors ({worst.name} lacks the {end} ones) and are left out.",
                        'Pass sectors="any" to read them, with what is missing filled.',
                    )
                )
    return phase + first * n, last - first


def _tell_losses(
    sectors: list[_Sector], base: int, count: int, per_frame: int, problems: list[Problem]
) -> dict[str, Any]:
    """Report blocks that are lost within the frames that are read; describe the sectors."""
    described: dict[str, Any] = {}
    stop = base + count * per_frame
    for sector in sectors:
        gaps, at = [], base
        for number, _, n in [*sector.segments, (stop, 0, 0)]:
            if at < (end := min(number, stop)):
                gaps.append((at, end))
            at = max(at, number + n)
        lost = sum(b - a for a, b in gaps)
        damaged: list[int] = []
        total = 0
        for a, b in gaps:
            frames = range((a - base) // per_frame, (b - 1 - base) // per_frame + 1)
            again = bool(damaged) and damaged[-1] == frames[0]
            total += len(frames) - again
            damaged += list(frames[again : max(0, 1000 - len(damaged))])
        described[str(sector.number)] = {
            "file": sector.name,
            "first_block": sector.low,
            "stored_blocks": sector.blocks,
            "lost_blocks": lost,
            "incomplete_frames": damaged[:1000],
        }
        for message in sector.problems:
            problems.append(Problem("warning", message))
        if lost:
            listed = ", ".join(map(str, damaged[:10])) + (", …" if total > 10 else "")
            problems.append(
                Problem(
                    "warning",
                    f"{sector.name}: {lost} blocks are lost in {total} of {count} frames "
                    f"({listed}); their pixels are filled.",
                )
            )
    return described


# ---------------------------------------------------------------- shutter and scan


def _shutter(
    sectors: list[_Sector], base: int, count: int, per_frame: int, problems: list[Problem]
) -> int | None:
    """Return the first frame with the shutter flag, None if there is none.

    Looks at planned frames and then halves the interval, on the assumption that the flag stays.
    """

    def flags(frame: int) -> set[bool]:
        """Return the flags of all sectors, of the last stored block of the frame in each."""
        found = set()
        for sector in sectors:
            for k in reversed(range(per_frame)):
                if (header := sector.at(base + frame * per_frame + k)) is not None:
                    found.add(bool(int(header["flags"]) & SHUTTER))
                    break
        return found

    planned = {count * k // 64 for k in range(64)} | {count - 1}
    planned |= {min(count - 1, (1 << k) - 1) for k in range(count.bit_length())}
    before = -1
    for frame in sorted(planned):
        if flags(frame) != {True}:
            before = frame
            continue
        while frame - before > 1:
            middle = (before + frame) // 2
            if flags(middle) == {True}:
                frame = middle
            else:
                before = middle
        if frame and True in flags(frame - 1):
            problems.append(
                Problem(
                    "warning",
                    "Sectors do not agree on when the shutter opened; "
                    f"frame {frame}, in which it was open in all of them, is taken.",
                    "sync_offset= chooses another one.",
                )
            )
        return frame
    return None


def _positive(value: Any) -> int:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return int(value) if number and 1 <= value < 1 << 31 else 0


def _scan_hints(tags: dict[str, Any]) -> tuple[ScanHint, ...]:
    """Return the scan shapes in the tags: with flyback columns, and without."""
    size = dmtags.group(tags, "SI Dimensions")
    lines, columns = (_positive(dmtags.group(size, f"Size {a}")) for a in "YX")
    if not lines or not columns:
        return ()
    hints = [
        ScanHint(
            "header", (lines, columns), 0.95, f"SI Dimensions in the .gtg: {columns} x {lines}"
        )
    ]
    sampling = dmtags.group(tags, "SI Image Tags", "SI", "Acquisition", "Spatial Sampling")
    height, width = (
        _positive(dmtags.group(sampling, f"{a} (pixels)")) for a in ("Height", "Width")
    )
    if 0 < width < columns and 0 < height <= lines:
        hints.append(
            ScanHint(
                "header",
                (height, width),
                0.4,
                f"Spatial Sampling in the .gtg: {width} x {height}, so that {columns - width} of "
                f"{columns} frames of a line are flyback",
                line=columns,
            )
        )
    return tuple(hints)


# ---------------------------------------------------------------- pixels


@dataclass(frozen=True, eq=False)
class DarkRowsSubtracted:
    """Frames from which the mean of the hidden rows is subtracted, column by column.

    Parameters
    ----------
    frames : Frames
        Full frames.
    shape : (int, int)
        Rows and columns that are returned; the hidden rows are those below.
    hidden : int
        First hidden row.
    fill : float
        Value of blanks and of lost pixels.
    """

    frames: Frames
    shape: tuple[int, int]
    hidden: int
    fill: float = 0

    #: marks what is lost until the pixels are cast
    unused = -0x8000

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a frame."""
        return self.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel: differences may be negative."""
        return np.dtype(np.int16)

    @property
    def blanks(self) -> npt.NDArray[np.bool_] | None:
        """Which frames are blanks, None if none is."""
        return self.frames.blanks

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: FrameIndex, /) -> DarkRowsSubtracted:
        return replace(self, frames=self.frames[index])

    def configured(
        self,
        *,
        backend: Backend = "auto",
        fill: float | None = None,
        flip_y: bool | None = None,
        native: bool = True,
        frame_shape: tuple[int, ...] | None = None,
    ) -> DarkRowsSubtracted:
        """Return the same frames, read in another way; see `Frames`."""
        if flip_y is not None or (frame_shape is not None and frame_shape != self.shape):
            raise Unsupported(
                "", "frames are neither flipped (flip_y) nor reshaped (sig_shape) with dark_rows."
            )
        frames = self.frames.configured(
            backend=backend, fill=getattr(self.frames, "unused", None), native=native
        )
        return replace(self, frames=frames, fill=self.fill if fill is None else fill)

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        rows, columns = region or full_region(self.shape)
        height = self.frames.frame_shape[0]
        lost = getattr(self.frames, "unused", None)
        buffer = np.empty((1, height, columns.stop - columns.start), np.uint16)
        for i in range(len(self)):
            self.frames[i : i + 1].load(buffer, (slice(0, height), columns))
            dark, image = buffer[0, self.hidden :], buffer[0, rows]
            known = dark != lost
            total, number = (dark * known).sum(axis=0, dtype=np.int64), known.sum(axis=0)
            mean = total // np.maximum(number, 1)
            out[i] = np.where((image == lost) | (number == 0), self.fill, image - mean)


# ---------------------------------------------------------------- description


@dataclass(frozen=True)
class _Described:
    """What the files of a recording are."""

    sectors: list[_Sector]
    tables: tuple[BlockTable, ...]
    geometry: Geometry
    base: int
    count: int
    losses: dict[str, Any]
    gtg: str | None


def _described(asked: str, which: Which, problems: list[Problem]) -> _Described:
    if which not in get_args(Which):
        raise ValueError(f"sectors={which!r} is none of {', '.join(get_args(Which))}")
    members, gtg = _members(asked)
    if not members and gtg is None:
        raise NotThisFormat(
            asked,
            "is no sector of a K2 IS recording: its name does not end with a number from 1 to 8.",
        )
    sectors = _opened(asked, members, problems)
    for sector in sectors:
        sector.explore()
    geometry = sectors[0].geometry
    assert geometry is not None
    phase, cells = _cycle(sectors, problems)
    base, count = _range(asked, sectors, phase, which, problems)
    losses = _tell_losses(sectors, base, count, geometry.per_frame, problems)
    _same_frames(sectors, base, count, geometry.per_frame, problems)
    shape = (geometry.height, geometry.width)
    if (shape[0], shape[1] * SECTORS) != FULL or geometry.per_frame != 32:
        problems.append(
            Problem(
                "warning",
                f"Sectors have {shape[0]} x {shape[1]} pixels in blocks of "
                f"{geometry.block_height} x {geometry.block_width}, other than the known "
                "1860 x 256 in 930 x 16. That the headers describe these as they do the known ones "
                "is a hypothesis.",
            )
        )
    constant = (
        *(("sync", SYNC), ("width", geometry.width), ("height", geometry.height)),
        ("block_size", geometry.nbytes),
    )
    block = (geometry.block_height, geometry.block_width)
    layout = BlockLayout(HEADER, constant, geometry.nbytes, block, shape, cells)
    tables = tuple(
        BlockTable(
            s.file,
            segments_of([(number - base, byte, n) for number, byte, n in s.segments]),
            layout,
            base,
            count,
        )
        for s in sectors
    )
    return _Described(sectors, tables, geometry, base, count, losses, gtg)


def _same_frames(
    sectors: list[_Sector], base: int, count: int, per_frame: int, problems: list[Problem]
) -> None:
    """Compare the camera's frame numbers between sectors, at both ends."""
    for frame in sorted({0, count - 1}):
        numbers = [base + frame * per_frame + k for k in (0, per_frame - 1)]
        ids = {int(h["frame_id"]) for s in sectors for k in numbers if (h := s.at(k)) is not None}
        if len(ids) > 1:
            problems.append(
                Problem(
                    "warning",
                    f"The camera's numbers of frame {frame} differ between or within sectors "
                    f"({sorted(ids)[:5]}): they may not belong to the same moment.",
                )
            )
            return


def _metadata(asked: str, tags: dict[str, Any], scan: bool) -> dict[str, Any]:
    general = {
        "title": os.path.splitext(os.path.basename(asked))[0],
        "original_filename": os.path.basename(asked),
    }
    tem: dict[str, Any] = {"Detector": {"Camera": {"name": "Gatan K2 IS"}}}
    places = ((), ("SI Image Tags",), ("Image Tags",))
    microscope: Any = next(
        (m for p in places if (m := dmtags.group(tags, *p, "Microscope Info")) is not None), {}
    )
    for name, leaf, factor in (
        ("Voltage", "beam_energy", 1e-3),  # V to keV
        ("STEM Camera Length", "camera_length", 1.0),  # mm
        ("Indicated Magnification", "magnification", 1.0),
    ):
        value = dmtags.group(microscope, name)
        if isinstance(value, (int, float)) and 0 < value < 1e12:
            tem[leaf] = value * factor
    return {
        "General": general,
        "Signal": {"signal_type": "electron_diffraction" if scan else ""},
        "Acquisition_instrument": {"TEM": tem},
    }


def _tags(asked: str, gtg: str | None, problems: list[Problem]) -> dict[str, Any]:
    if gtg is None:
        problems.append(
            Problem("info", "There is no .gtg, which would tell whether this is a scan.")
        )
        return {}
    try:
        return dmtags.read_tags(gtg)
    except FormatError as error:
        if gtg == asked:
            raise type(error)(
                gtg, error.problem, "Open one of the .bin files to read the frames without it."
            ) from None
        problems.append(
            Problem(
                "warning", f"{os.path.basename(gtg)} {error.problem} The scan shape is unknown."
            )
        )
        return {}


def parse(
    filename: str | os.PathLike[str],
    *,
    sectors: Which = "common",
    crop: bool = False,
    dark_rows: bool = False,
) -> Recording:
    """Describe a K2 IS recording; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    asked = files.existing(filename)
    problems: list[Problem] = []
    found = _described(asked, sectors, problems)
    geometry, count, per_frame = found.geometry, found.count, found.geometry.per_frame
    tags = _tags(asked, found.gtg, problems)
    hints = _scan_hints(tags)

    height, width = geometry.height, geometry.width
    shape = (height, width * SECTORS)
    if (crop or dark_rows) and shape != FULL:
        raise Unsupported(
            asked,
            f"has frames of {shape} pixels; where these have hidden rows and columns is unknown.",
            "Pass crop=False, dark_rows=False.",
        )
    places = tuple(
        (slice(0, height), slice((s.number - 1) * width, s.number * width)) for s in found.sectors
    )
    # what lies outside of a cropped frame is never asked for
    shown = USABLE if crop and not dark_rows else shape
    frames: Frames = Mosaic(found.tables, places, shown, flip_y=False)
    if dark_rows:
        problems.append(
            Problem("warning", "That hidden rows hold the dark signal is known from one source.")
        )
        frames = DarkRowsSubtracted(frames, USABLE if crop else shape, USABLE[0])

    flagged = _shutter(found.sectors, found.base, count, per_frame, problems)
    begin = (0, 0)
    if flagged is None:
        problems.append(
            Problem(
                "warning" if hints else "info",
                "No frame has the shutter flag, so where the recording proper begins is unknown: "
                "the first frame is taken.",
                "sync_offset= chooses another one.",
            )
        )
    elif flagged == 0:
        if hints:
            problems.append(
                Problem(
                    "warning",
                    "The shutter was open from the first frame on, so where the scan begins is "
                    "unknown: the first frame is taken.",
                    "sync_offset= chooses another one.",
                )
            )
    else:
        begin = (flagged, flagged - 1)  # during a scan, the flag comes one frame late
        problems.append(
            Problem(
                "info",
                f"The shutter opened in frame {flagged}: a scan begins with frame {flagged - 1}, a "
                f"series with frame {flagged}.",
                "sync_offset= or first_frame= chooses another one.",
            )
        )
    first = next(h for s in found.sectors if (h := s.at(s.low)) is not None)
    original: dict[str, Any] = {
        "block_header": {
            name: int(first[name]) for name in HEADER.names or () if HEADER[name].kind == "u"
        },
        "sectors": found.losses,
        "shutter": {"first_flagged_frame": flagged},
    }
    if tags:
        original["gtg"] = dmtags.plain_tags(tags)
    return Recording(
        format="k2is",
        path=asked,
        frames=frames,
        signal_axes=(Axis("height"), Axis("width")),
        scan_axes=(Axis("scan_y"), Axis("scan_x")) if hints else (),
        hints=hints,
        begin=begin,
        metadata=_metadata(asked, tags, bool(hints)),
        original_metadata=original,
        files=(*(s.file.path for s in found.sectors), *((found.gtg,) if found.gtg else ())),
        problems=tuple(problems),
    )


def frame_ids(
    filename: str | os.PathLike[str], *, sectors: Which = "common"
) -> npt.NDArray[np.int64]:
    """Read the numbers that the camera gave to the frames; one header per frame and sector.

    Parameters
    ----------
    filename, sectors
        As in `file_reader`.

    Returns
    -------
    ndarray of int64, shape (frames, 8)
        -1 where a sector has no block of a frame. The camera's numbers may jump back.
    """
    found = _described(files.existing(filename), sectors, [])
    n, size = found.geometry.per_frame, found.geometry.nbytes
    ids = np.full((found.count, SECTORS), -1, np.int64)
    for sector, table in zip(found.sectors, found.tables, strict=True):
        for number, byte, blocks in table.segments.tolist():
            first = max(0, number)
            last = min(number + blocks, found.count * n)  # one past the last block
            if last <= first:
                continue
            frames = np.arange(first // n, (last - 1) // n + 1)
            begin = np.maximum(frames * n, first)  # first stored block of each frame
            heads = np.zeros((len(frames), HEADER.itemsize), np.uint8)
            backends.read_pieces(sector.file, byte + (first - number) * size, 0, heads[:1])
            if len(frames) > 1:
                second = byte + (int(begin[1]) - number) * size
                backends.read_pieces(sector.file, second, n * size, heads[1:])
            ids[frames, sector.number - 1] = heads.view(HEADER)["frame_id"][:, 0]
    return ids


def _every_block(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Compare the headers of all blocks with their places, and with those of their frame."""
    del seen
    frames: Any = recording.frames
    while not isinstance(frames, Mosaic):
        frames = frames.frames
    tables = [part for part in frames.parts if isinstance(part, BlockTable)]
    ids = np.full((len(tables), len(frames)), -1, np.int64)
    for k, table in enumerate(tables):
        name, n = os.path.basename(table.file.path), len(table.layout.cells)
        bad: list[npt.NDArray[np.int64]] = []
        mixed: list[npt.NDArray[np.int64]] = []
        for numbers, heads in _headers(table):
            expected = (numbers + table.base) & 0xFFFFFFFF
            wrong = (table.layout.cells_of(heads) < 0) | (heads["block_count"] != expected)
            bad.append(numbers[wrong] // n)
            frame, found = numbers[~wrong] // n, heads["frame_id"][~wrong].astype(np.int64)
            fresh = ids[k, frame] < 0
            ids[k, frame[fresh][::-1]] = found[fresh][::-1]  # the first block of a frame decides
            mixed.append(frame[ids[k, frame] != found])
        if (lost := np.concatenate([np.zeros(0, np.int64), *bad])).size:
            yield Problem(
                "error",
                f"{name}: the headers of {len(lost)} blocks are damaged or of other blocks, in "
                f"frames {listed(np.unique(lost))}. Their pixels are filled.",
                "Copy the file again.",
            )
        if (both := np.concatenate([np.zeros(0, np.int64), *mixed])).size:
            yield Problem(
                "warning",
                f"{name}: blocks of different frame numbers are in the frames "
                f"{listed(np.unique(both))}.",
                "They show more than one moment.",
            )
    most, least = ids.max(axis=0), np.where(ids < 0, 1 << 40, ids).min(axis=0)
    if (apart := np.flatnonzero((most >= 0) & (most != least))).size:
        yield Problem(
            "warning",
            f"the sectors have different frame numbers in {len(apart)} of {len(most)} frames: "
            f"{listed(apart)}.",
            "Parts of these frames may not belong to the same moment.",
        )


def _headers(
    table: BlockTable,
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.void]]]:
    """Read the headers of all blocks of the frames, some thousand at a time, with their numbers."""
    n, size = len(table.layout.cells), table.layout.nbytes
    for number, byte, blocks in table.segments.tolist():
        first = max(number, table.first * n)
        last = min(number + blocks, (table.first + table.count) * n)
        for a in range(first, last, 1 << 16):
            b = min(a + (1 << 16), last)
            raw = np.zeros((b - a, HEADER.itemsize), np.uint8)
            backends.read_pieces(table.file, byte + (a - number) * size, size, raw)
            yield np.arange(a, b), raw.view(HEADER)[:, 0]


CHECKS = (_every_block,)


def file_reader(
    filename: str | os.PathLike[str],
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: int | tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool = False,
    *,
    sectors: Which = "common",
    crop: bool = False,
    dark_rows: bool = False,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a K2 IS recording.

    Parameters
    ----------
    filename : str or path
        The .gtg, or any of the eight .bin files.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    sectors : {"common", "any"}
        Which frames are read: those that all sectors have, or those that at least one sector has.
        What a sector lacks is filled. A sector without any block does not count.
    crop : bool
        Return the 1792 x 1920 pixels that see the image, without hidden rows and columns.
    dark_rows : bool
        Subtract from each column the mean of its 68 hidden rows, rounded down, frame by frame;
        pixels are int16 then.
    **options
        `ReadOptions`. ``sync_offset=n`` lets the scan begin with frame n of the recording (counted
        from ``first_frame``); by default it begins where the shutter opened.

    Returns
    -------
    list of one dict
        ``data`` of shape (scan lines, scan columns, 1860, 2048), uint16. Columns of a scan that
        were recorded during flyback are kept unless ``flyback="drop"``.

    Raises
    ------
    NotThisFormat
        It is no K2 IS recording.
    Truncated
        No frame is complete in all sectors.
    FormatError
        Files contradict each other.
    """
    del distributed  # nothing is left to do for it
    recording = parse(filename, sectors=sectors, crop=crop, dark_rows=dark_rows)
    if options.get("flyback") == "drop":
        warn(
            recording.path,
            "that flyback frames are the last ones of each line is a hypothesis.",
        )
    return read(
        recording,
        lazy=lazy,
        chunks=chunks,
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )
