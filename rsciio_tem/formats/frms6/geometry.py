# SPDX-License-Identifier: GPL-3.0-or-later
"""From stored rows to the frame: halves, binning, windows; and the dark frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rsciio_tem.errors import FormatError, Problems
from rsciio_tem.formats.frms6.header import FRAME, SENSOR, Records, records
from rsciio_tem.formats.frms6.member import Member, Window
from rsciio_tem.formats.frms6.members import Members
from rsciio_tem.formats.frms6.side_file import NO_DARK, binning_of
from rsciio_tem.frames.combined import Chain
from rsciio_tem.frames.corrections import MeanImage
from rsciio_tem.frames.pixels import Pixels, Tile
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.scan.frame_headers import read_headers, read_headers_at
from rsciio_tem.scan.times import FrameTimes, Ints

#: No frame is so many times as high as the sensor.
_MOST = 16

#: Frame headers, seen as frames.
_BYTES = Pixels((FRAME.itemsize,), np.dtype("u1"))


@dataclass(frozen=True)
class Geometry:
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
class Located:
    """The frames of several files in acquisition order, and their headers."""

    frames: Frames
    heads: FrameTable
    windows: tuple[Window, ...]  # those that occur

    def headers(self, first: int, last: int) -> Records:
        """Read the headers of frames; those of blanks are zero."""
        return records(read_headers(self.heads, first, last, 0, FRAME.itemsize))

    def __call__(self, first: int, last: int) -> FrameTimes:
        """Read the times of frames."""
        return _times_in(self.headers(first, last))

    def at(self, index: Ints) -> FrameTimes:
        """Read the times of frames anywhere."""
        return _times_in(records(read_headers_at(self.heads, index, 0, FRAME.itemsize)))


def _times_in(heads: Records) -> FrameTimes:
    micro = heads["tv_sec"].astype(np.int64) * 1_000_000 + heads["tv_usec"]
    return FrameTimes(np.where(micro > 0, micro * 1000, -1), np.full(len(heads), -1))


def locate(members: Sequence[Member], blanks: Sequence[int], geometry: Geometry) -> Located:
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
        return Located(replace(tables[0], order=order), heads, windows)
    # the chain has the frames sorted by their windows; where in it is each of them?
    which = np.repeat([windows.index(row[4]) for row in rows], [row[3] for row in rows])
    position = np.empty(len(which), np.int64)
    position[np.argsort(which, kind="stable")] = np.arange(len(which))
    if order is not None:
        position = np.where(order < 0, -1, position[order])
    return Located(Chain(tuple(tables), tables[0].dtype, position), heads, windows)


def _full_rows(members: Sequence[Member], binning: int, problems: Problems) -> int:
    """Return the stored rows of the whole sensor."""
    rows, width = members[0].size
    windows = {run.window for member in members for run in member.runs}
    if windows == {(0, rows)}:
        return rows
    end = max(map(sum, windows))
    if max(rows, end) > _MOST * SENSOR[0]:
        raise FormatError(
            members[0].file.path,
            f"the headers of frames have windows that end at row {end}, that of the file has "
            f"{rows} rows: one of them is damaged.",
        )
    if end > rows:  # the header has the height of the window
        standard = SENSOR[0] // binning
        rows = standard if width == SENSOR[1] and end <= standard else end
    message = f"frames are windows of {rows} stored rows; they are put where their headers say"
    problems.warn(f"{message}, the rest is zero. No recorded file confirms this.")
    return rows


def geometry_of(
    members: Members, binning: int | None, unfold: bool, problems: Problems
) -> Geometry:
    """Say how stored rows become an image; parameters as in `file_reader`."""
    first = members.signal[0]
    if (sensors := int(first.header["n_ccds"])) > 1:
        message = f"{sensors} sensors were read out; how their frames are arranged is not known"
        problems.warn(f"{message}, and they follow each other as stored.")
    if binning is None:
        binning = binning_of(members.hdr, first.size, problems)
    elif isinstance(binning, bool) or not isinstance(binning, (int, np.integer)) or binning < 1:
        raise ValueError(f"binning={binning!r} is not a positive number of rows")
    rows = _full_rows(members.signal, int(binning), problems)
    return Geometry(rows, first.size[1], int(binning), bool(unfold))


def mean_dark(
    member: Member | None, located: Located, geometry: Geometry, problems: Problems
) -> MeanImage | None:
    """Return the mean of the dark frames, None if they do not fit the recording."""
    if member is None:
        return None
    fits = {run.window for run in member.runs} == set(located.windows) and len(located.windows) == 1
    if fits and member.size[1] == geometry.width:
        return MeanImage(locate([member], [0], geometry).frames)
    reason = "have another size or window" if member.count else "are none"
    message = f"{NO_DARK} that fit: those in {member.name} {reason}."
    problems.warn(f"{message} Values are as recorded.", "Pass dark=, or corrections=False.")
    return None
