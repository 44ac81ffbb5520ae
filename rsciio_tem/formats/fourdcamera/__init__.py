# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw recordings of the 4D Camera of NCEM: a file, or several, for each of its four modules.

Sources: stempy's description of the versions of the headers, and what its reader makes of such
files. ``specifications/fourdcamera.md`` says where each byte is.

Every sector of a frame has a header with the number of the frame and its position in the scan.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal, Unpack, get_args

import numpy as np

from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Problems
from rsciio_tem.formats.fourdcamera.header import (
    HEADER,
    SECTORS,
    SENSOR,
    SHAPES,
    is_header,
    read_headers,
    record_bytes,
)
from rsciio_tem.formats.fourdcamera.members import (
    Ints,
    Member,
    Sequences,
    members_of,
    module_of,
)
from rsciio_tem.frames.combined import Mosaic
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, Labels, runs_of
from rsciio_tem.parsing.checks import counted
from rsciio_tem.parsing.metadata import general
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.scan.times import FrameTimes
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

__all__ = ["CHECKS", "file_reader", "parse", "sniff"]

Version = Literal[3, 4, 5]

Placement = Literal["auto", "headers"]

#: Positions that a scan has at most, beside 64 for each header.
_MOST_BLANKS = 1 << 24


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise two headers, as far apart as a sector, or a frame, is long."""
    if not path.lower().endswith(".data") or len(head) < HEADER.itemsize:
        return None
    first = np.frombuffer(head, HEADER, 1)[0]
    version = _usual_version(path)
    count, rest = divmod(os.path.getsize(path), record_bytes(version))
    if not is_header(first) or not count or (count == 1 and rest):
        return None
    if count > 1:
        second = read_headers(DataFile.of(path), version, np.ones(1, np.int64))[0]
        if not is_header(second) or second["scan_number"] != first["scan_number"]:
            return None
    what = "a frame" if version == 3 else "a sector"
    return 0.95, f"has headers of the 4D Camera before {what}", {}


def _usual_version(path: str) -> Version:
    """Return the version of a file; 4 looks like 5, which replaced it."""
    return 3 if module_of(path) is None else 5


def parse(
    filename: str | os.PathLike[str],
    *,
    version: Version | None = None,
    placement: Placement = "auto",
) -> Recording:
    """Describe a recording of the 4D Camera; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    if placement not in get_args(Placement):
        raise ValueError(f"placement={placement!r} is none of {', '.join(get_args(Placement))}")
    return _described(files.existing(filename), version, exhaustive=placement == "headers")


def _described(path: str, version: Version | None, exhaustive: bool) -> Recording:
    if version is not None and version not in get_args(Version):
        raise ValueError(f"version={version!r} is none of 3, 4, 5")
    version = version or _usual_version(path)
    if version > 3 and module_of(path) is None:
        raise NotThisFormat(
            path,
            "has no number of a module in its name, as in scan1_module0.data.",
            "Pass version=3 if it holds whole frames.",
        )
    if files.size_of(path) < HEADER.itemsize:
        raise NotThisFormat(path, "is shorter than the header of a frame.")
    sizes = [files.size_of(path) % record_bytes(v) for v in (3, 5)]
    if version == 3 and sizes[0] and not sizes[1]:
        raise FormatError(
            path,
            "has the size of sectors, not that of whole frames.",
            "Give it its name back, with the number of its module.",
        )
    problems = Problems()
    members = members_of(path, version, problems)
    first = members[0].first
    scan = int(first["height"]), int(first["width"])
    records = sum(member.count for member in members)
    if scan[0] * scan[1] > _MOST_BLANKS + 64 * records:
        raise FormatError(
            path,
            f"has {counted(records, 'header')} for a scan of {scan[1]} x {scan[0]} positions.",
            "It is damaged, or is no recording of the 4D Camera.",
        )
    tables, positions, expected = _joined(members, version, exhaustive, path, problems)
    order, layers = _order_of(positions, scan[0] * scan[1], problems)
    line = (scan[0] * scan[1],) if max(scan) > 1 else ()  # unless there are several
    nav_shape = scan if min(scan) > 1 else line
    shape = nav_shape if layers == 1 else (*nav_shape, layers)
    frames: Frames = _together(members, tables, order, expected, version)
    reason = "positions in the headers of the frames"
    return Recording(
        format="fourdcamera",
        path=path,
        frames=frames,
        signal_axes=(Axis("ky"), Axis("kx")),
        scan_axes=(
            *(Axis("y"), Axis("x"))[2 - len(nav_shape) :],
            *(Axis("frame"),) * (layers > 1),
        ),
        hints=(ScanHint("header", shape, 0.95, reason, exact=True),) * (len(shape) > 1),
        metadata={
            "General": general(path),
            "Signal": {"signal_type": "electron_diffraction"},
        },
        original_metadata={
            "version": version,
            "first_header": {name: int(first[name]) for name in HEADER.names or ()},
            "modules": sorted({member.sector for member in members}) if version > 3 else [],
            "frames_per_position": layers,
        },
        files=tuple(member.file.path for member in members),
        problems=tuple(problems),
    )


def _joined(
    members: list[Member], version: int, exhaustive: bool, path: str, problems: Problems
) -> tuple[dict[int, Ints], Ints, dict[int, Sequences]]:
    """Join sectors of the same frame.

    Returns
    -------
    dict of ndarray
        For each sector: which of its records belongs to each frame, -1 for none.
    ndarray
        Position of each frame.
    dict of Sequences
        For each sector: what those headers must say that were not looked at.
    """
    numbers: dict[int, Ints] = {}
    places: dict[int, Ints] = {}
    expected: dict[int, Sequences] = {}
    for sector in sorted({member.sector for member in members}):
        said = [m.frames(version, exhaustive) for m in members if m.sector == sector]
        numbers[sector] = np.concatenate([one for one, _, _ in said])
        places[sector] = np.concatenate([one for _, one, _ in said])
        if any(one is not None for _, _, one in said):
            expected[sector] = Sequences(tuple(one for _, _, one in said))
    outside = sum(int((one < 0).sum()) for one in places.values())
    if 2 * outside > sum(map(len, places.values())):
        raise FormatError(
            path,
            f"has {counted(outside, 'header')} that make no sense, as version {version}.",
            "Pass version=3 for whole frames, version=5 for sectors of 144 rows.",
        )
    if outside:
        problems.warn(
            f"{counted(outside, 'header')} of another scan, or of positions outside of it; what "
            "follows them is left out."
        )
    inside = [numbers[sector][places[sector] >= 0] for sector in numbers]
    frames = np.unique(np.concatenate(inside))
    if not len(frames):
        raise FormatError(path, "has no frame at a position of its scan.")
    said_by = np.full((len(numbers), len(frames)), -1, np.int64)
    tables: dict[int, Ints] = {}
    repeated = 0
    for row, (sector, mine) in zip(said_by, numbers.items(), strict=True):
        good = np.flatnonzero(places[sector] >= 0)
        unique, first = np.unique(mine[good], return_index=True)
        repeated += len(good) - len(unique)
        at = np.searchsorted(frames, unique)
        tables[sector] = np.full(len(frames), -1, np.int64)
        tables[sector][at] = good[first]
        row[at] = places[sector][good[first]]
    votes = [(said_by == row).sum(axis=0) * (row >= 0) for row in said_by]
    positions = said_by[np.argmax(votes, axis=0), np.arange(len(frames))]
    contradicting = int(((said_by >= 0) & (said_by != positions)).sum())
    if repeated:
        problems.warn(
            f"{counted(repeated, 'header')} with a number that another one of the same module "
            "has; the first of each is used."
        )
    if contradicting:
        problems.warn(
            f"modules contradict each other about the positions of "
            f"{counted(contradicting, 'sector')}; what most of them say is used.",
        )
    lost = {s: int((table < 0).sum()) for s, table in tables.items() if (table < 0).any()}
    if lost:
        listed = ", ".join(f"{count} of module {sector}" for sector, count in lost.items())
        problems.warn(f"sectors are missing, which are filled: {listed}.")
    return tables, positions, expected


def _order_of(positions: Ints, count: int, problems: Problems) -> tuple[Ints, int]:
    """Put frames at their positions.

    Returns
    -------
    ndarray
        The frame of each position, -1 for none.
    int
        Frames of each position.
    """
    each = np.bincount(positions, minlength=count)
    usual = np.bincount(each[each > 0])
    layers = int(np.argmax(usual))
    ranked = np.argsort(positions, kind="stable")
    at = positions[ranked]
    rank = np.arange(len(at)) - (np.cumsum(each) - each)[at]
    kept = rank < layers
    order = np.full(count * layers, -1, np.int64)
    order[at[kept] * layers + rank[kept]] = ranked[kept]
    if extra := int((~kept).sum()):
        problems.warn(
            f"{counted(extra)} at positions that have {layers} already; the first are used."
        )
    if blanks := int((order < 0).sum()):
        lost = "was never stored; its position is" if blanks == 1 else "were never stored; they are"
        problems.warn(f"by the headers, {counted(blanks)} of {len(order)} {lost} filled.")
    return order, layers


def _together(
    members: list[Member],
    tables: dict[int, Ints],
    order: Ints,
    expected: dict[int, Sequences],
    version: int,
) -> FrameTable | Mosaic:
    """Return the frames in the order of their positions."""
    pixels = Pixels(SHAPES[version], np.dtype("<u2"))
    size = record_bytes(version)
    parts, regions = [], []
    for sector, table in tables.items():
        mine = [member for member in members if member.sector == sector]
        runs = [(i, HEADER.itemsize, size, member.count) for i, member in enumerate(mine)]
        stored = FrameTable(tuple(member.file for member in mine), runs_of(runs), pixels)
        if sector in expected:
            labels = Labels(HEADER.itemsize, HEADER.itemsize, expected[sector])
            stored = replace(stored, labels=labels)
        index = np.where(order < 0, -1, table[order])
        straight = (index == np.arange(len(stored))).all() if len(index) == len(stored) else False
        parts.append(stored if straight else stored[index])
        slices = [slice(0, SENSOR[0]), slice(0, SENSOR[1])]
        axis = 0 if version == 5 else 1
        width = SENSOR[axis] // SECTORS
        slices[axis] = slice(sector * width, (sector + 1) * width)
        regions.append(tuple(slices))
    if version == 3:
        return parts[0]
    return Mosaic(tuple(parts), tuple(regions), SENSOR, flip_y=False)


def _every_header(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Read all headers, of which opening looks only at some if these are regular."""
    del seen
    version = recording.original_metadata["version"]
    exhaustive = _described(recording.path, version, exhaustive=True)
    for problem in exhaustive.problems:
        if problem not in recording.problems:
            yield Problem(
                "error",
                f"by the headers that were not looked at when it was opened: {problem.message}",
                "The scan that was read is wrong.",
            )


CHECKS = (_every_header,)


@documented
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
    version: Version | None = None,
    placement: Placement = "auto",
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a recording of the 4D Camera.

    Parameters
    ----------
    filename : str or path
        One of its files; the others of the scan are found beside it.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
    version : {3, 4, 5}
        Version of the headers. By default 5 for files of modules, whose sectors are 144 rows, and
        3, whole frames, for others. Sectors of version 4 are 144 columns; nothing in the files
        tells them from those of version 5.
    placement : {"auto", "headers"}
        "headers": every header is read for the position of its frame. "auto": of long recordings
        whose frames simply follow each other, some; the others together with their pixels.
    **options
        `ReadOptions`.

    Returns
    -------
    list of one dict

    Raises
    ------
    NotThisFormat
        The file does not begin with such a header.
    Truncated
        It holds no complete frame.
    """
    del distributed  # nothing is left to do for it
    recording = parse(filename, version=version, placement=placement)
    common = (lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame)
    return read(recording, *common, options=options)
