# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a recording: frames in order, dark frames, .hdr."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from rsciio_tem.errors import FormatError, Problems, Truncated
from rsciio_tem.formats.frms6.header import START
from rsciio_tem.formats.frms6.member import SAMPLED_HEADERS, Member, describe_member
from rsciio_tem.formats.frms6.side_file import NO_DARK, count_of, read_hdr
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

_NAME = re.compile(r"(.*)_(\d+)\.frms6", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Members:
    """The files of a recording."""

    signal: list[Member]  # in the order of the frames
    blanks: list[int]  # before each of them, in place of frames that are missing
    dark: Member | None = None
    hdr: dict[str, str] = field(default_factory=dict)
    hdr_path: str | None = None

    @property
    def paths(self) -> list[str]:
        """All of them."""
        dark = None if self.dark is None else self.dark.file.path
        sides = [path for path in (self.hdr_path, dark) if path is not None]
        return [*(member.file.path for member in self.signal), *sides]


def members_of(path: str, single_file: bool, problems: Problems) -> Members:
    """Find and describe the files of the recording that one of them belongs to."""
    hdr_path = files.first_found(path, _hdr_of)
    path = _among_others(path)
    numbered = _NAME.fullmatch(path)
    through_hdr = not numbered and files.read_start(path, 4) != START
    base = _base_of(path)
    hdr_path = path if through_hdr else hdr_path
    hdr: dict[str, str] = {}
    try:
        hdr = read_hdr(hdr_path) if hdr_path is not None else {}
    except FormatError as error:
        if through_hdr:
            raise
        problems.warn(f"{error} It is ignored.")
    if not through_hdr and (single_file or not numbered):
        member = describe_member(DataFile.of(path), SAMPLED_HEADERS, problems)
        if not member.count:
            raise Truncated(path, "holds no complete frame.")
        return Members([member], [0], None, hdr, hdr_path)
    members = _numbered(path, base, problems)
    dark, announced = members.pop(0, None), count_of(hdr, "darkframes")
    if dark is None:
        message = f"{NO_DARK}: no file of the recording is number 000. Values are as recorded."
        problems.warn(message, "Pass dark=, or corrections=False.")
    elif announced and announced != dark.count:
        problems.warn(f"the .hdr announces {announced} dark frames, the file holds {dark.count}.")
    signal, blanks = _in_order(members, count_of(hdr, "signalframes"), problems)
    return Members(signal, blanks, dark, hdr, hdr_path)


def _base_of(path: str) -> str:
    """Return what the paths of all files of a recording begin with."""
    numbered = _NAME.fullmatch(path)
    return numbered[1] if numbered else os.path.splitext(path)[0]


def _hdr_of(path: str) -> str | None:
    folder, name = os.path.split(_base_of(path))
    return files.in_folder(folder, name + ".hdr")


def _sources(path: str, problems: Problems) -> dict[int, DataFile]:
    """Find the .frms6 files of a recording, by number."""
    sources = _sources_at(path, problems)
    if not sources:
        name = os.path.basename(_base_of(path))
        raise FormatError(path, f"has no {name}_000.frms6, {name}_001.frms6, … beside it.")
    return sources


def _among_others(path: str) -> str:
    """Return the path, or what it is a link to, whichever is one of several numbered files."""
    several = (p for p in files.places(path) if len(_sources_at(p, Problems())) > 1)
    return next(several, path)


def _sources_at(path: str, problems: Problems) -> dict[int, DataFile]:
    folder, name = os.path.split(_base_of(path))
    sources: dict[int, DataFile] = {}
    for entry in files.listing(folder):
        match = _NAME.fullmatch(entry)
        if match and os.path.normcase(match[1]) == os.path.normcase(name):
            file = DataFile.of(os.path.join(folder, entry))
            if sources.setdefault(int(match[2]), file) is not file:
                problems.warn(f"{entry} has the same number as another file, and is ignored.")
    return sources


def _numbered(path: str, base: str, problems: Problems) -> dict[int, Member]:
    """Describe the .frms6 files of a recording, by number."""
    sources = _sources(path, problems)
    members: dict[int, Member] = {}
    errors: list[FormatError] = []
    size: tuple[int, int] | None = None
    for number, file in sorted(sources.items()):
        try:
            member = describe_member(file, max(32, SAMPLED_HEADERS // len(sources)), problems)
            size = size or (member.size if number else None)
            if number and member.size != size:
                problem = f"has frames of {member.size} stored pixels, the files before of {size}."
                raise FormatError(file.path, problem, "Pass single_file=True to read it alone.")
            if number and not member.count:
                raise Truncated(file.path, "holds no complete frame.")
            members[number] = member
        except FormatError as error:
            if os.path.basename(file.path) == os.path.basename(path):
                raise
            errors.append(error)
            problems.warn(f"a file is not read: {error}")
    if not set(members) - {0}:
        if errors:
            raise errors[0]
        name = os.path.basename(base)
        hint = "Pass the _000.frms6 with single_file=True to read the dark frames."
        raise FormatError(path, f"has only dark frames beside it, no {name}_001.frms6.", hint)
    return members


def _in_order(
    members: dict[int, Member], announced: int, problems: Problems
) -> tuple[list[Member], list[int]]:
    """Return the files in order, and the blanks before each in place of frames that are missing.

    What a file lacks is told by its header; how many frames a missing file had, if all others
    but the last have the same number. Where nothing tells, the files behind are left out.
    """
    numbers = list(members)
    gaps = numbers[-1] - len(numbers)
    sizes = [members[n].count + members[n].lack for n in numbers[:-1]]
    size = sizes[0] if len(set(sizes)) == 1 else 0
    stored = sum(member.count for member in members.values())
    total = stored + gaps * size + sum(members[n].lack for n in numbers[:-1])
    certain = total <= min(announced or 2 * stored, 16 * stored)
    certain = certain and (not gaps or (size > 0 and (len(sizes) > 1 or total == announced)))
    ordered: list[Member] = []
    blanks, last, lacking = [], 0, 0
    for number in numbers:
        if not certain and ordered and (lacking or number > last + 1):
            unread = f"{len(numbers) - len(ordered)} files, from .frms6 number {number} on,"
            message = (
                f"{unread} are not read: how many frames are missing before them is not known."
            )
            problems.warn(message, "Open one of them with single_file=True.")
            break
        blanks.append(lacking + (number - last - 1) * size if certain else 0)
        ordered.append(members[number])
        last, lacking = number, members[number].lack
    if not certain and numbers[0] > 1:
        message = f"the files begin with .frms6 number {numbers[0]}: the first frames are missing."
        problems.warn(message, "Pass sync_offset=-N if you know how many.")
    if any(blanks):
        absent = f" and of {gaps} files that are not there" if gaps else ""
        problems.warn(f"{sum(blanks)} blanks are in place of missing frames{absent}.")
    return ordered, blanks
