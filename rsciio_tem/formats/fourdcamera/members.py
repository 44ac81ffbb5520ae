# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a scan, and the headers in them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Problems, Truncated
from rsciio_tem.formats.fourdcamera.header import (
    HEADER,
    SECTORS,
    is_header,
    read_headers,
    record_bytes,
)
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

#: Frames of a file up to which every header is read; beyond, so many if frames follow each other.
_READ_ALL_BELOW, _SAMPLED = 4096, 512

_MODULE = re.compile(r"(.*)module(\d{1,3})(.*)\.data", re.IGNORECASE | re.DOTALL)
_SCAN = re.compile(r"scan0*(\d+)", re.IGNORECASE)

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Member:
    """One file: records of one sector, or whole frames."""

    file: DataFile
    sector: int
    count: int
    first: Any  # its first header

    def frames(self, version: int, exhaustive: bool) -> tuple[Ints, Ints, Sequence | None]:
        """Return number and position of each frame; position -1 is outside of the scan.

        Where the first and the last header, and some between them, say that frames simply follow
        each other, the others are not read; then it is also returned what these must say.
        """
        every = np.arange(self.count)
        if not exhaustive and self.count > _READ_ALL_BELOW:
            places = np.unique(np.linspace(0, self.count - 1, _SAMPLED).astype(np.int64))
            some = read_headers(self.file, version, places)
            numbers, positions = _numbers_and_positions(some, self.first)
            ahead = numbers - places
            behind = positions - numbers
            if (ahead == ahead[0]).all() and (behind == behind[0]).all() and positions.min() >= 0:
                expected = Sequence(self, record_bytes(version), int(ahead[0]), int(behind[0]))
                return every + ahead[0], every + ahead[0] + behind[0], expected
        every_header = read_headers(self.file, version, every)
        return *_numbers_and_positions(every_header, self.first), None


@dataclass(frozen=True)
class Sequence:
    """What the headers of a file say, if frames simply follow each other."""

    member: Member
    stride: int
    number: int  # of the first record
    position: int  # of the frame with number 0

    def check(self, places: Ints, headers: Any) -> None:
        """Raise FormatError if headers that begin at `places` say something else."""
        numbers, positions = _numbers_and_positions(headers, self.member.first)
        index = places // self.stride
        expected = index + self.number
        wrong = np.flatnonzero((numbers != expected) | (positions != expected + self.position))
        if len(wrong):
            at = wrong[0]
            raise FormatError(
                self.member.file.path,
                f"record {index[at]} is of frame {numbers[at]}, position {positions[at]}, and not "
                f"of frame {expected[at]}, position {expected[at] + self.position}. When it was "
                "opened, only some of its headers were looked at, where frames simply follow each "
                "other.",
                'Pass placement="headers" to put all frames where their headers say.',
            )


@dataclass(frozen=True)
class Sequences:
    """What the headers of files say, as far as they were not looked at; see `Labels`."""

    of_files: tuple[Sequence | None, ...]

    def __call__(self, file: int, places: Ints, raw: npt.NDArray[np.uint8]) -> None:
        """Raise FormatError if a header says something else."""
        expected = self.of_files[file]
        if expected is not None:
            expected.check(places, np.ascontiguousarray(raw).view(HEADER)[:, 0])


def _numbers_and_positions(headers: Any, first: Any) -> tuple[Ints, Ints]:
    """Return numbers and positions as headers tell them; -1 outside of the scan of the first."""
    columns = {name: headers[name].astype(np.int64) for name in HEADER.names or ()}
    inside = (columns["x"] < columns["width"]) & (columns["y"] < columns["height"])
    for name in ("scan_number", "width", "height"):
        inside &= columns[name] == int(first[name])
    positions = columns["y"] * columns["width"] + columns["x"]
    return columns["frame_number"], np.where(inside, positions, -1)


def module_of(path: str) -> int | None:
    """Return the number of the module in the name of a file, or of what it is a link to."""
    match = files.first_found(path, lambda place: _MODULE.fullmatch(os.path.basename(place)))
    return int(match[2]) if match else None


def _others(path: str) -> list[tuple[str, int]]:
    """List the other files of the same scan beside one of them, with their modules."""
    folder, base = os.path.split(path)
    this = _MODULE.fullmatch(base)
    if this is None:
        return []
    scan = _SCAN.search(base)
    members = []
    for name in files.listing(folder):
        match = _MODULE.fullmatch(name)
        if match is None or os.path.normcase(name) == os.path.normcase(base):
            continue
        other = _SCAN.search(name)
        alike = other is not None and other[1] == scan[1] if scan else match[1] == this[1]
        if alike:
            members.append((files.joined(folder, name), int(match[2])))
    return members


def members_of(path: str, version: int, problems: Problems) -> list[Member]:
    """Describe the files of the scan that one of them belongs to."""
    this = _described(path, (module_of(path) or 0) if version > 3 else 0, version)
    members, others = [this], list[str]()
    for name, sector in files.first_found(path, _others) if version > 3 else []:
        if sector >= SECTORS:
            others.append(name)
            continue
        try:
            member = _described(name, sector, version)
        except Truncated:
            problems.warn(f"{os.path.basename(name)} holds no complete frame and is left out.")
            continue
        same = all(
            member.first[key] == this.first[key] for key in ("scan_number", "width", "height")
        )
        if same:
            members.append(member)
        else:
            others.append(name)
    if others:
        listed = ", ".join(os.path.basename(name) for name in others[:5])
        problems.warn(
            f"{listed}{', …' if len(others) > 5 else ''} belong to other scans by their headers, "
            "or to no sector, and are left out."
        )
    if this.sector >= SECTORS:
        raise NotThisFormat(path, f"is of module {this.sector}; the camera has {SECTORS}, from 0.")
    for member in members:
        if rest := member.file.size % record_bytes(version):
            problems.warn(
                f"{rest} bytes at the end of {os.path.basename(member.file.path)} are not a "
                "complete frame and are left out.",
                "The recording may have been interrupted.",
            )
    if version > 3 and (lost := set(range(SECTORS)) - {member.sector for member in members}):
        problems.warn(
            f"there is no file of module {', '.join(map(str, sorted(lost)))}; this part of the "
            "image is filled.",
            "Put the files of all modules into one folder.",
        )
    return sorted(members, key=lambda member: (member.sector, member.file.path))


def _described(path: str, sector: int, version: int) -> Member:
    file = DataFile.of(path)
    count = file.size // record_bytes(version)
    if not count:
        raise Truncated(path, f"has {file.size} bytes, a frame of version {version} more.")
    first = read_headers(file, version, np.zeros(1, np.int64))[0]
    if not is_header(first):
        raise NotThisFormat(
            path,
            f"does not begin with the header of a frame: position {first['x']}, {first['y']} of a "
            f"scan of {first['width']} x {first['height']}.",
        )
    return Member(file, sector, count, first)
