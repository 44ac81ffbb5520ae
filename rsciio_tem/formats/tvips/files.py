# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbered files of a series, and where frames are in them."""

from __future__ import annotations

import os
import re

import numpy as np

from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Problems, Truncated, Unsupported
from rsciio_tem.formats.tvips.header import HEADER, frame_header_bytes, series_header
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

_NAME = re.compile(r"(.*_)(\d{3,})$", re.DOTALL)


def header_of(path: str) -> np.void | None:
    """Return the series header that a file begins with, None if it begins with something else."""
    try:
        return series_header(files.read_start(path, HEADER.itemsize), files.bytes_of(path))
    except (FormatError, OSError):
        return None


def member_of(path: str) -> tuple[str, int] | None:
    """Split the path of a member of a series into what all share, and its number."""
    stem, _ = os.path.splitext(path)
    match = _NAME.fullmatch(os.path.basename(stem))
    if match is None:
        return None
    return files.joined(os.path.dirname(path), match[1]), int(match[2])


def numbered(path: str) -> dict[int, DataFile]:
    """List the files named like `path` but for their number, by number."""
    members: dict[int, DataFile] = {}
    name = member_of(path)
    stem = os.path.splitext(os.path.basename(path))[0]
    for file in files.numbered_set(path, files.split_number(stem)[0]):
        other = member_of(file.path)
        if name is None or other is None or other[0].lower() != name[0].lower():
            continue
        same_case = os.path.splitext(file.path)[1] == os.path.splitext(path)[1]
        if same_case or other[1] not in members:
            members[other[1]] = file
    return members


def _among_others(path: str) -> str:
    """Return the path, or what it is a link to, whichever is one of several numbered files."""
    several = (p for p in files.places(path) if member_of(p) and len(numbered(p)) > 1)
    return next(several, path)


def _no_header(path: str) -> NotThisFormat:
    start = files.read_start(path, 16)
    return NotThisFormat(path, f"does not begin with a TVIPS header ({start!r}).")


def series(path: str) -> tuple[list[DataFile], np.void, Problems]:
    """Find the files of the series that `path` belongs to, and their header."""
    path = _among_others(path)
    header, member = header_of(path), member_of(path)
    problems = Problems()
    by_number = numbered(path) if member else {}
    if member is None or (header is not None and member[1] != 0):
        if header is None:
            raise _no_header(path)
        if member is not None and 0 in by_number:
            message = f"{os.path.basename(path)} begins a recording of its own and is read alone."
            problems.append(Problem("info", message))
        return [DataFile.of(path)], header, problems
    name = os.path.basename(member[0])
    if 0 not in by_number:
        raise FormatError(
            path,
            f"belongs to a series whose first file, {name}000.tvips, is not beside it.",
            "Only the first file says how large the frames are.",
        )
    first = by_number[0]
    header = header_of(first.path)
    if header is None:
        raise _no_header(first.path)
    members = [first]
    while (number := len(members)) in by_number:
        if header_of(by_number[number].path) is not None:
            break  # the next recording was given the next number
        members.append(by_number[number])
    if member[1] >= len(members):
        raise FormatError(
            path,
            f"cannot be joined to its series: {name}{len(members):03d}.tvips is missing, or begins "
            "another recording.",
            f"Open {name}000.tvips for the files before.",
        )
    behind = sum(number >= len(members) for number in by_number)
    if behind and len(members) not in by_number:
        problems.warn(
            f"{name}{len(members):03d}.tvips is missing: of the series, only the "
            f"{len(members)} files before are read, {behind} behind it are not.",
        )
    return members, header, problems


def frame_table(
    members: list[DataFile], header: np.void, problems: Problems
) -> tuple[FrameTable, int]:
    """Locate the frames; returns the table and the bytes before each frame's pixels."""
    path = members[0].path
    bits = int(header["bitsperpixel"])
    if bits not in (8, 16, 32, 64):
        raise Unsupported(path, f"has {bits} bits per pixel; only 8 and 16 are known.")
    if bits > 16:
        problems.append(
            Problem(
                "info",
                f"{bits} bits per pixel are not a TVIPS format, but RosettaSciIO writes them.",
            )
        )
    before = frame_header_bytes(header, path)
    pixels = Pixels((int(header["dimy"]), int(header["dimx"])), np.dtype(f"<u{bits // 8}"))
    stride = before + pixels.nbytes
    runs = []
    for i, file in enumerate(members):
        start = int(header["size"]) if i == 0 else 0
        count, rest = divmod(max(0, file.size - start), stride)
        if i == 0 and not count:
            raise Truncated(
                path,
                f"has {file.size} bytes; its header of {start} bytes announces frames of "
                f"{stride} bytes, and there is no complete one.",
            )
        if rest:
            problems.warn(
                f"{os.path.basename(file.path)} ends inside a frame "
                f"({rest} of {stride} bytes); that last frame is incomplete and ignored"
                + (", frames behind it move up." if i + 1 < len(members) else ".")
            )
        if count:
            runs.append((i, start + before, stride, count))
    return FrameTable(tuple(members), runs_of(runs), pixels), before
