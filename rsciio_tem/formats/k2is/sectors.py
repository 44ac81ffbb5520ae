# SPDX-License-Identifier: GPL-3.0-or-later
"""The eight sector files: which frames each has, and which all of them have."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Truncated
from rsciio_tem.formats.k2is.blocks import (
    FULL,
    HEADER,
    SECTORS,
    SHUTTER,
    SYNC,
    SYNC_BYTES,
    Geometry,
    _canonical,
    _cell,
    _Sector,
)
from rsciio_tem.frames.blocks import BlockLayout, BlockTable, segments_of
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

Which = Literal["common", "any"]


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
