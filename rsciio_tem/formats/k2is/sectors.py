# SPDX-License-Identifier: GPL-3.0-or-later
"""The sectors of a recording together: which frames they have, what is lost, when it began."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from rsciio_tem.errors import NotThisFormat, Problems, Truncated
from rsciio_tem.formats.k2is.blocks import Sector
from rsciio_tem.formats.k2is.header import FULL, SECTORS, SHUTTER, Geometry
from rsciio_tem.formats.k2is.members import members_of, open_sectors
from rsciio_tem.formats.k2is.order import block_order
from rsciio_tem.frames.blocks import BlockTable, segments_of

Which = Literal["common", "any"]


@dataclass(frozen=True)
class Sectors:
    """The sectors of a recording, and the frames that are read."""

    members: list[Sector]
    base: int  # block_count of the first block
    count: int  # frames
    cells: tuple[int, ...]  # of the blocks of a frame
    gtg: str | None  # the tag file

    @property
    def geometry(self) -> Geometry:
        """Sizes that all blocks share."""
        return self.members[0].sizes

    @property
    def per_frame(self) -> int:
        """Blocks of one frame of a sector."""
        return self.geometry.per_frame

    @property
    def first_header(self) -> Any:
        """The first block header that can be read."""
        return next(h for s in self.members if (h := s.at(s.low)) is not None)

    def tables(self) -> tuple[BlockTable, ...]:
        """Return the frames of each sector."""
        layout = self.geometry.layout(self.cells)
        return tuple(
            BlockTable(
                sector.file,
                segments_of([(number - self.base, byte, n) for number, byte, n in sector.segments]),
                layout,
                self.base,
                self.count,
            )
            for sector in self.members
        )

    def regions(self) -> tuple[tuple[slice, slice], ...]:
        """Return where the sectors are in the frame."""
        height, width = self.geometry.height, self.geometry.width
        return tuple(
            (slice(0, height), slice((s.number - 1) * width, s.number * width))
            for s in self.members
        )


def describe(path: str, which: Which, problems: Problems) -> Sectors:
    """Find the sectors of a recording, and the frames that all of them, or any of them, have."""
    if which not in get_args(Which):
        raise ValueError(f"sectors={which!r} is none of {', '.join(get_args(Which))}")
    members, gtg = members_of(path)
    if not members and gtg is None:
        raise NotThisFormat(
            path,
            "is not a sector of a K2 IS recording: its name does not end with a digit from 1 to 8.",
        )
    opened = open_sectors(path, members, problems)
    phase, cells = block_order(opened, problems)
    base, count = _range(opened, phase, which, problems)
    return Sectors(opened, base, count, cells, gtg)


def _range(sectors: list[Sector], phase: int, which: Which, problems: Problems) -> tuple[int, int]:
    """Return number of the first block, and number of frames, that are read."""
    n = sectors[0].sizes.per_frame

    def frames(low: int, high: int) -> tuple[int, int]:
        """Complete frames between two block numbers: the first, and the one after the last."""
        return -((phase - low) // n), (high - phase) // n

    first, last = frames(max(s.low for s in sectors), min(s.high for s in sectors))
    complete = [frames(s.low, s.high) for s in sectors]
    earliest, latest = min(a for a, _ in complete), max(b for _, b in complete)
    if which == "any":
        low, high = min(s.low for s in sectors), max(s.high for s in sectors)
        first, last = (low - phase) // n, -((phase - high) // n)
        if earliest < latest and last - first > latest - earliest:
            first, last = earliest, latest  # what no sector has in full is of no use
    if last <= first:
        worst = min(sectors, key=lambda s: s.blocks)
        ranges = ", ".join(f"{s.name} has blocks {s.low} to {s.high - 1}" for s in sectors)
        raise Truncated(
            worst.file.path,
            f"holds {worst.blocks} blocks; no frame ({n} blocks in each sector) is complete in "
            f"all sectors: {ranges}.",
            'Pass sectors="any" to read what there is.' if which == "common" else "",
        )
    if which == "common":
        begun, ended = max(sectors, key=lambda s: s.low), min(sectors, key=lambda s: s.high)
        _tell_left_out(first - earliest, "start", f"{begun.name} lacks the first ones", problems)
        _tell_left_out(latest - last, "end", f"{ended.name} lacks the last ones", problems)
    return phase + first * n, last - first


def _tell_left_out(count: int, end: str, reason: str, problems: Problems) -> None:
    if count > 0:
        (problems.warn if count > 1 else problems.info)(
            f"{count} frames at the {end} are not in all sectors ({reason}) and are left out.",
            'Pass sectors="any" to read them, with what is missing filled.',
        )


def tell_losses(sectors: Sectors, problems: Problems) -> dict[str, Any]:
    """Report blocks that are lost within the frames that are read; describe the sectors."""
    described: dict[str, Any] = {}
    for sector in sectors.members:
        gaps = _gaps(sector, sectors.base, sectors.base + sectors.count * sectors.per_frame)
        total, damaged = _damaged(gaps, sectors.base, sectors.per_frame)
        lost = sum(b - a for a, b in gaps)
        described[str(sector.number)] = {
            "file": sector.name,
            "first_block": sector.low,
            "stored_blocks": sector.blocks,
            "lost_blocks": lost,
            "incomplete_frames": damaged,
        }
        for message in sector.problems:
            problems.warn(message)
        if lost:
            listed = ", ".join(map(str, damaged[:10])) + (", …" if total > 10 else "")
            problems.warn(
                f"{sector.name}: {lost} blocks are lost in {total} of {sectors.count} frames "
                f"({listed}); their pixels are filled.",
            )
    return described


def _gaps(sector: Sector, base: int, stop: int) -> list[tuple[int, int]]:
    """List the numbers of lost blocks, as ranges."""
    gaps, at = [], base
    for number, _, n in [*sector.segments, (stop, 0, 0)]:
        if at < (end := min(number, stop)):
            gaps.append((at, end))
        at = max(at, number + n)
    return gaps


def _damaged(gaps: list[tuple[int, int]], base: int, per_frame: int) -> tuple[int, list[int]]:
    """Return the number of frames that gaps touch, and the first thousand of them."""
    damaged: list[int] = []
    total = 0
    for a, b in gaps:
        frames = range((a - base) // per_frame, (b - 1 - base) // per_frame + 1)
        again = bool(damaged) and damaged[-1] == frames[0]
        total += len(frames) - again
        damaged += list(frames[again : max(0, 1000 - len(damaged))])
    return total, damaged[:1000]


def tell_oddities(sectors: Sectors, problems: Problems) -> None:
    """Compare the camera's frame numbers between sectors, at both ends; tell unknown sizes."""
    for frame in sorted({0, sectors.count - 1}):
        first = sectors.base + frame * sectors.per_frame
        heads = [s.at(first + k) for s in sectors.members for k in (0, sectors.per_frame - 1)]
        ids = {int(head["frame_id"]) for head in heads if head is not None}
        if len(ids) > 1:
            problems.warn(
                f"The camera's numbers of frame {frame} differ between or within sectors "
                f"({sorted(ids)[:5]}): they may not belong to the same moment.",
            )
            break
    sizes = sectors.geometry
    if (sizes.height, sizes.width * SECTORS) != FULL or sizes.per_frame != 32:
        problems.warn(
            f"Sectors have {sizes.height} x {sizes.width} pixels in blocks of "
            f"{sizes.block_height} x {sizes.block_width}, other than the known "
            "1860 x 256 in 930 x 16. That the headers describe these as they do the known ones "
            "is a hypothesis.",
        )


def first_flagged(sectors: Sectors, is_scan: bool, problems: Problems) -> int | None:
    """Return the first frame with the shutter flag, None if there is none."""
    frame = _shutter_frame(sectors)
    hint = "sync_offset= chooses another one."
    if frame is None:
        (problems.warn if is_scan else problems.info)(
            "No frame has the shutter flag, so where the recording proper begins is unknown: "
            "the first frame is taken.",
            hint,
        )
    elif frame and True in _flags(sectors, frame - 1):
        problems.warn(
            "Sectors do not agree on when the shutter opened; "
            f"frame {frame}, in which it was open in all of them, is taken.",
            hint,
        )
    if frame:
        problems.info(
            f"The shutter opened in frame {frame}: a scan begins with frame {frame - 1}, a "
            f"series with frame {frame}.",
            "sync_offset= or first_frame= chooses another one.",
        )
    elif frame == 0 and is_scan:
        problems.warn(
            "The shutter was open from the first frame on, so where the scan begins is "
            "unknown: the first frame is taken.",
            hint,
        )
    return frame


def _shutter_frame(sectors: Sectors) -> int | None:
    """Look at planned frames and then halve the interval, on the assumption that the flag stays."""
    count = sectors.count
    planned = {count * k // 64 for k in range(64)} | {count - 1}
    planned |= {min(count - 1, (1 << k) - 1) for k in range(count.bit_length())}
    before = -1
    for frame in sorted(planned):
        if _flags(sectors, frame) != {True}:
            before = frame
            continue
        while frame - before > 1:
            middle = (before + frame) // 2
            if _flags(sectors, middle) == {True}:
                frame = middle
            else:
                before = middle
        return frame
    return None


def _flags(sectors: Sectors, frame: int) -> set[bool]:
    """Return the flags of all sectors, of the last stored block of the frame in each."""
    first = sectors.base + frame * sectors.per_frame
    flags = set()
    for sector in sectors.members:
        heads = (sector.at(first + k) for k in reversed(range(sectors.per_frame)))
        head = next((head for head in heads if head is not None), None)
        if head is not None:
            flags.add(bool(int(head["flags"]) & SHUTTER))
    return flags
