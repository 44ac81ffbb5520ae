# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files belong to a recording: sectors with blocks in them, and the tag file."""

from __future__ import annotations

import os
import re

from rsciio_tem.errors import FormatError, NotThisFormat, Problems, Truncated
from rsciio_tem.formats.k2is.blocks import Sector
from rsciio_tem.formats.k2is.header import SECTORS, SYNC_BYTES
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile


def members_of(path: str) -> tuple[dict[int, str], str | None]:
    """Find the sectors, by number, and the tag file that belong to one of them."""
    members, tags = _members_at(path)
    for place in files.places(path):
        if place != path and (len(members) < 2 or tags is None):  # what the link has not beside it
            others, other_tags = _members_at(place)
            if len(members) < 2:
                members = {**others, **members}
            tags = tags or other_tags
    return members, tags


def _members_at(path: str) -> tuple[dict[int, str], str | None]:
    folder, base = os.path.split(path)
    stem, suffix = os.path.splitext(base)
    if suffix.lower() == ".gtg":
        return _sectors_named(path, stem) or _sectors_named(path, stem + "_"), path
    if not re.fullmatch(r".*[1-8]", stem, re.DOTALL):
        return {}, None
    prefix = stem[:-1]
    names = f"{prefix.rstrip('_')}.gtg", f"{prefix}.gtg"
    tags = next((t for n in names if (t := files.in_folder(folder, n))), None)
    return {**_sectors_named(path, prefix), int(stem[-1]): path}, tags


def _sectors_named(path: str, prefix: str) -> dict[int, str]:
    """List the files beside `path` that are named like sectors."""
    folder = os.path.dirname(path)
    pattern = re.compile(re.escape(prefix) + r"([1-8])\.bin", re.IGNORECASE)
    return {
        int(match[1]): files.joined(folder, entry)
        for entry in files.listing(folder)
        if (match := pattern.fullmatch(entry))
        and os.path.normcase(entry).startswith(os.path.normcase(prefix))
    }


def open_sectors(path: str, members: dict[int, str], problems: Problems) -> list[Sector]:
    """Explore the sectors; those without a single block are left out, with a warning."""
    sectors = []
    for number in range(1, SECTORS + 1):
        lacking = "its file is missing"
        if (member := members.get(number)) is not None:
            file = DataFile.of(member)
            if (sector := Sector.opened(number, file)) is not None:
                sectors.append(sector)
                continue
            if member == path:
                raise _no_block(file)
            lacking = f"{os.path.basename(member)} holds no block"
        problems.warn(f"Sector {number}: {lacking}; its part of the image is filled.")
    if not sectors:
        raise FormatError(
            path,
            "has no sector beside it: there is no "
            f"{os.path.splitext(os.path.basename(path))[0]}1.bin … 8.bin with blocks in it.",
        )
    for sector in sectors[1:]:
        if sector.geometry != sectors[0].geometry:
            raise FormatError(
                sector.file.path,
                f"has blocks of other sizes ({sector.geometry}) than {sectors[0].name} "
                f"({sectors[0].geometry}).",
                "Move files of other recordings away.",
            )
    for sector in sectors:
        sector.explore()
    return sectors


def _no_block(file: DataFile) -> FormatError:
    hint = "If other sectors are good, open one of them to read the recording without this."
    if files.read_start(file.path, 4) == SYNC_BYTES:
        size = f"has {file.size} bytes of a K2 IS recording"
        return Truncated(file.path, f"{size}, less than one block.", hint)
    return NotThisFormat(file.path, "holds no block of a K2 IS recording.", hint)
