# SPDX-License-Identifier: GPL-3.0-or-later
"""From stored rows to the frame: halves, binning, windows; and the dark frame."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rsciio_tem.errors import Problems
from rsciio_tem.formats.frms6.header import FRAME, SENSOR, Ints, Records, Window, _Member, _records
from rsciio_tem.frames.combined import Chain
from rsciio_tem.frames.corrections import MeanImage
from rsciio_tem.frames.pixels import Pixels, Tile
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.scan.frame_headers import read_headers
from rsciio_tem.scan.times import FrameTimes

#: How problems begin that something the caller passes may settle.
_ORDER, _NO_DARK = "the .hdr gives the scan as", "there are no dark frames"


#: Frame headers, seen as frames.
_BYTES = Pixels((FRAME.itemsize,), np.dtype("u1"))


# ---------------------------------------------------------------- frames


@dataclass(frozen=True)
class _Geometry:
    """How stored rows become an image."""

    rows: int  # stored rows of the whole sensor
    width: int  # stored columns
    binning: int
    unfold: bool

    def pixels(self, window: Window) -> Pixels:
        """Describe frames of which only the rows of a window are stored."""
        (start, height), half = window, self.width // 2
        shape, stored = (self.rows, self.width), np.dtype("<u2")
        if not self.unfold and window == (0, self.rows):
            return Pixels(shape, stored)
        tiles, across = [Tile(0, 0, start, 0, False)], self.width
        if self.unfold:
            tiles.append(Tile(0, half, 2 * self.rows - start - height, 0, True))
            shape, across = (2 * self.rows * self.binning, half), half
        return Pixels(
            shape,
            stored,
            tiles=tuple(tiles),
            tile_shape=(height, across),
            stored_shape=(height, self.width),
            repeat=self.binning if self.unfold else 1,
        )


@dataclass(frozen=True, eq=False)
class _Located:
    """The frames of several files in acquisition order, and their headers."""

    frames: Frames
    heads: FrameTable
    windows: tuple[Window, ...]  # those that occur

    def headers(self, first: int, last: int) -> Records:
        """Read the headers of frames; those of blanks are zero."""
        return _records(read_headers(self.heads, first, last, 0, FRAME.itemsize))

    def times(self, first: int, last: int) -> FrameTimes:
        """Read the times of frames."""
        found = self.headers(first, last)
        micro = found["tv_sec"].astype(np.int64) * 1_000_000 + found["tv_usec"]
        return FrameTimes(np.where(micro > 0, micro * 1000, -1), np.full(len(found), -1))


def _located(members: Sequence[_Member], blanks: Sequence[int], geometry: _Geometry) -> _Located:
    """Put the frames of files one after the other, ``blanks[i]`` blanks before those of file i."""
    sources = tuple(member.file for member in members)
    rows = [(i, *run) for i, member in enumerate(members) for run in member.runs]
    windows = tuple(dict.fromkeys(row[4] for row in rows))
    order, done = None, 0
    if any(blanks):
        parts: list[Ints] = []
        for member, before in zip(members, blanks, strict=True):
            parts += [np.full(before, -1), np.arange(done, done + member.count)]
            done += member.count
        order = np.concatenate(parts).astype(np.int64)
    heads = FrameTable(sources, runs_of([row[:4] for row in rows]), _BYTES, order)
    tables = []
    for window in windows:
        runs = [(i, at + FRAME.itemsize, by, n) for i, at, by, n, w in rows if w == window]
        tables.append(FrameTable(sources, runs_of(runs), geometry.pixels(window)))
    if len(tables) == 1:
        return _Located(replace(tables[0], order=order), heads, windows)
    # the chain has the frames sorted by their windows; where in it is each of them?
    which = np.repeat([windows.index(row[4]) for row in rows], [row[3] for row in rows])
    place = np.empty(len(which), np.int64)
    place[np.argsort(which, kind="stable")] = np.arange(len(which))
    if order is not None:
        place = np.where(order < 0, -1, place[order])
    return _Located(Chain(tuple(tables), tables[0].dtype, place), heads, windows)


def _in_order(
    members: dict[int, _Member], announced: int, problems: Problems
) -> tuple[list[_Member], list[int]]:
    """Return the files in order, and the blanks before each in place of frames that are missing.

    What a file lacks is known from its header; how many frames a missing file had, if all others
    but the last have the same number. Where it is not known, the files behind are left out.
    """
    numbers = list(members)
    gaps = numbers[-1] - len(numbers)
    sizes = [members[n].count + members[n].lack for n in numbers[:-1]]
    size = sizes[0] if len(set(sizes)) == 1 else 0
    found = sum(member.count for member in members.values())
    total = found + gaps * size + sum(members[n].lack for n in numbers[:-1])
    known = total <= min(announced or 2 * found, 16 * found)
    known = known and (not gaps or (size > 0 and (len(sizes) > 1 or total == announced)))
    ordered: list[_Member] = []
    blanks, last, lacking = [], 0, 0
    for number in numbers:
        if not known and ordered and (lacking or number > last + 1):
            left = (
                f"{len(numbers) - len(ordered)} files, from .frms6 number {number} on, are not read"
            )
            message = f"{left}: how many frames are missing before them is not known."
            problems.warn(message, "Open one of them with single_file=True.")
            break
        blanks.append(lacking + (number - last - 1) * size if known else 0)
        ordered.append(members[number])
        last, lacking = number, members[number].lack
    if not known and numbers[0] > 1:
        message = f"the files begin with .frms6 number {numbers[0]}: the first frames are missing."
        problems.warn(message, "Pass sync_offset=-N if you know how many.")
    if any(blanks):
        absent = f" and of {gaps} files that are not there" if gaps else ""
        problems.warn(f"{sum(blanks)} blanks are in place of missing frames{absent}.")
    return ordered, blanks


def _full_rows(members: Sequence[_Member], binning: int, problems: Problems) -> int:
    """Return the stored rows of the whole sensor."""
    rows, width = members[0].size
    windows = {run[3] for member in members for run in member.runs}
    if windows == {(0, rows)}:
        return rows
    end = max(map(sum, windows))
    if end > rows:  # the header has the height of the window
        standard = SENSOR[0] // binning
        rows = standard if width == SENSOR[1] and end <= standard else end
    message = f"frames are windows of {rows} stored rows; they are put where their headers say"
    problems.warn(f"{message}, the rest is zero. No recorded file confirms this.")
    return rows


# ---------------------------------------------------------------- dark and gain


def _dark(
    member: _Member, located: _Located, geometry: _Geometry, problems: Problems
) -> MeanImage | None:
    """Return the mean of the dark frames, None if they do not fit the recording."""
    fits = {run[3] for run in member.runs} == set(located.windows) and len(located.windows) == 1
    if fits and member.size[1] == geometry.width:
        return MeanImage(_located([member], [0], geometry).frames)
    reason = "have another size or window" if member.count else "are none"
    message = f"{_NO_DARK} that fit: those in {os.path.basename(member.file.path)} {reason}."
    problems.warn(f"{message} Values are as recorded.", "Pass dark=, or corrections=False.")
    return None
