# SPDX-License-Identifier: GPL-3.0-or-later
"""FRMS6 recordings of pnCCD cameras (PNDetector, pnSensor), for example in 4D-STEM.

Sources: the vendor's structures as published with CASS, and the readers of LiberTEM and stemtool,
which agree. ``specifications/frms6.ksy`` and ``specifications/frms6_hdr.md`` write the layout
down. No recorded file was at hand; what only follows from the structures warns where it is used.

A recording is ``NAME.hdr`` (text), ``NAME_000.frms6`` (dark frames) and ``NAME_001.frms6`` …
(frames). Two halves of the sensor are stored side by side: the left half of the stored columns is
the upper half of the image, the right one the lower half, turned by 180 degrees. Only rows are
binned; each stored row is shown as often as it was.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from rsciio_tem import backends, files, headers
from rsciio_tem.backends import DataFile
from rsciio_tem.checking import listed, numbering
from rsciio_tem.corrections import Corrections, MeanImage, image_of
from rsciio_tem.errors import (
    FormatError,
    NotThisFormat,
    Problem,
    Problems,
    Truncated,
    Unsupported,
)
from rsciio_tem.frames import Frames, FrameTable, runs_of
from rsciio_tem.pixels import Pixels, Tile
from rsciio_tem.read import ReadOptions, read
from rsciio_tem.recording import Axis, Recording
from rsciio_tem.scan import ScanHint
from rsciio_tem.series import Chain
from rsciio_tem.times import FrameTimes, Times, read_headers

__all__ = ["file_reader", "frame_headers", "parse", "sniff"]

Ints = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

#: File header, little-endian.
HEADER = np.dtype(
    [
        ("my_length", "<u2"),  # 0: bytes of this header, 1024
        ("frame_header_length", "<u2"),  # 2: bytes of a frame header, 64
        ("n_ccds", "u1"),  # 4: sensors that are read out
        ("width8", "u1"),  # 5: width in older versions
        ("max_height8", "u1"),  # 6: height in older versions
        ("version", "u1"),  # 7: 6
        ("dataset_id", "S80"),  # 8: text
        ("width", "<u2"),  # 88: stored columns, those of both halves
        ("max_height", "<u2"),  # 90: most rows that a frame has
        ("fill", "V928"),  # 92: unused
        ("num_frames", "<u4"),  # 1020: frames in this file; 0 in older files
    ]
)
#: What comes before the pixels of each frame.
FRAME = np.dtype(
    [
        ("start", "u1"),  # 0: as the_start, in older versions
        ("info", "u1"),  # 1: flags
        ("ccd_id", "u1"),  # 2: sensor
        ("height8", "u1"),  # 3: height in older versions
        ("tv_sec", "<u4"),  # 4: s since 1970-01-01 UTC
        ("tv_usec", "<u4"),  # 8: µs to add
        ("index", "<u4"),  # 12: number of the frame
        ("temperature", "<f8"),  # 16: voltage of the temperature sensor
        ("the_start", "<u2"),  # 24: first row of the window
        ("the_height", "<u2"),  # 26: rows of this frame
        ("external_id", "<u4"),  # 28: number given from outside
        ("bunch_id", "<u8"),  # 32: number of the X-ray pulse
        ("fill", "V24"),  # 40: unused
    ]
)
#: The first bytes of a file: both header lengths.
START = b"\x00\x04\x40\x00"
VERSION = 6
#: Stored rows and columns of the camera when nothing is binned.
SENSOR = 132, 528
#: Rows that no such sensor exceeds.
_LIMIT = 512
#: Frame headers that are looked at when a recording is described.
_SAMPLES = 512
_NAME = re.compile(r"(.*)_(\d+)\.frms6", re.IGNORECASE | re.DOTALL)
_SECTION = "measurementInfo"
#: How problems begin that something the caller passes may settle.
_ORDER, _NO_DARK = "the .hdr gives the scan as", "there are no dark frames"

#: Frame headers, seen as frames.
_BYTES = Pixels((FRAME.itemsize,), np.dtype("u1"))

#: First of the stored rows, and their number.
Window = tuple[int, int]
#: Byte of the first frame header, bytes from frame to frame, frames, window.
Run = tuple[int, int, int, Window]


# ---------------------------------------------------------------- one file


def _file_header(file: DataFile) -> np.void:
    """Read and check the header of a .frms6 file."""
    content = files.read_start(file.path, HEADER.itemsize)
    if content[:4] != START[: len(content)]:
        raise NotThisFormat(file.path, f"is no FRMS6 file: it begins with {content[:4].hex(' ')}.")
    if len(content) < HEADER.itemsize:
        raise Truncated(file.path, f"ends inside its header, after {len(content)} bytes.")
    header: np.void = np.frombuffer(content, HEADER, 1)[0]
    if header["version"] != VERSION:
        raise Unsupported(file.path, f"has FRMS version {header['version']}; only 6 is known.")
    rows, columns = int(header["max_height"]), int(header["width"])
    if not rows or not columns or columns % 2:
        shape = f"frames of {rows} rows and {columns} columns, which are no two halves"
        raise FormatError(file.path, f"has a damaged header: {shape}.")
    return header


@dataclass(frozen=True)
class _Member:
    """One .frms6 file: its header, and where its complete frames are."""

    file: DataFile
    header: np.void
    runs: tuple[Run, ...]

    @property
    def count(self) -> int:
        """Frames that are complete."""
        return sum(run[2] for run in self.runs)

    @property
    def lack(self) -> int:
        """Frames that should be there too."""
        return max(0, int(self.header["num_frames"]) - self.count)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns that frames have at most."""
        return int(self.header["max_height"]), int(self.header["width"])


def _records(raw: npt.NDArray[np.uint8]) -> Records:
    return np.ascontiguousarray(raw).view(FRAME)[:, 0]


def _pieces(file: DataFile, start: int, stride: int, count: int) -> Records:
    raw = np.zeros((count, FRAME.itemsize), np.uint8)
    backends.read_pieces(file, start, stride, raw)
    return _records(raw)


def _member(file: DataFile, samples: int, problems: Problems) -> _Member:
    """Locate the frames of a file; of many, only `samples` headers are read."""
    header = _file_header(file)
    name, announced = os.path.basename(file.path), int(header["num_frames"])
    rows, row_bytes = int(header["max_height"]), 2 * int(header["width"])
    begin, size = HEADER.itemsize, file.size - HEADER.itemsize

    def evenly(window: Window) -> Run:
        stride = FRAME.itemsize + window[1] * row_bytes
        return begin, stride, min(size // stride, announced or size), window

    first = _pieces(file, begin, 0, 1)[0]
    window = (int(first["the_start"]), int(first["the_height"]))
    run = evenly(window if window[1] else (0, rows))
    # a window of all the rows that the header names may begin anywhere: these are not the sensor's
    highest = rows if window[1] < rows else max(rows, _LIMIT)
    sound, alike = True, window[1] <= rows and sum(window) <= highest
    if alike and run[2]:
        _, stride, n, _ = run
        step = -(-n // samples)
        index = np.append(np.arange(0, n, step), n - 1)
        spread = _pieces(file, begin, stride * step, len(index) - 1)
        found = np.append(spread, _pieces(file, begin + (n - 1) * stride, 0, 1))
        alike = bool(((found["the_start"] == window[0]) & (found["the_height"] == window[1])).all())
        if alike and (lost := _lost(index, found)):
            message = f"{name}: {lost} frames are missing by the numbers in the frame headers"
            text, hint = f"{message}, {run[2]} are there.", "They are not filled in."
            problems.append(Problem("warning", text, hint, "number"))
    runs = [run]
    if not alike:
        runs, sound = _walk(file, row_bytes, rows, announced)
        run = evenly((0, rows))
        if not sound and size == run[1] * (announced or size // run[1]):
            message = f"{name}: frame headers name other numbers of rows than {rows}, but the file"
            problems.warn(f"{message} has the size of full frames, and is read so.")
            runs = [run]
    member = _Member(file, header, tuple(run for run in runs if run[2]))
    end = max((at + n * stride for at, stride, n, _ in member.runs), default=begin)
    damaged = "" if sound or end >= file.size else f"; behind them, at byte {end}, is no header"
    message = ""
    if member.lack:
        message = f"holds {member.count} of the {announced} frames it announces"
    elif member.count and end < file.size:
        behind = f"the {announced} it announces" if announced else "its last complete frame"
        message = f"goes on for {file.size - end} bytes behind {behind}, unread"
    if message:
        problems.warn(f"{name} {message}{damaged}.")
    return member


def _lost(index: Ints, found: Records) -> int:
    """Return how many frames the numbers in the headers leave out; 0 if these count otherwise."""
    ahead = found["index"].astype(np.int64) - index
    lost = int(ahead[-1] - ahead[0])
    return lost if (np.diff(ahead) >= 0).all() and 0 < lost <= index[-1] else 0


def _walk(file: DataFile, row_bytes: int, most: int, announced: int) -> tuple[list[Run], bool]:
    """Go from frame to frame, as their sizes differ; tells whether all headers were sound."""
    runs: list[Run] = []
    at, left, ahead = HEADER.itemsize, announced or file.size, 1
    while left and at + FRAME.itemsize <= file.size:
        one = _pieces(file, at, 0, 1)[0]
        window = int(one["the_start"]), int(one["the_height"])
        if not window[1] or sum(window) > most:
            return runs, False
        stride = FRAME.itemsize + window[1] * row_bytes
        n = min(ahead, left, (file.size - at) // stride)
        if n < 1:  # the last frame is cut
            break
        like = _pieces(file, at, stride, n)
        same = (like["the_start"] == window[0]) & (like["the_height"] == window[1])
        n = n if same.all() else int(np.argmin(same))
        ahead = min(2 * n, _SAMPLES)  # frames expected to be like these
        if runs and runs[-1][3] == window:
            runs[-1] = (runs[-1][0], stride, runs[-1][2] + n, window)
        else:
            runs.append((at, stride, n, window))
        at, left = at + n * stride, left - n
    return runs, True


# ---------------------------------------------------------------- .hdr


def _hdr(path: str) -> dict[str, str]:
    """Read the ``[measurementInfo]`` of a .hdr; keys are lower case."""
    text = files.read_start(path, 1 << 16).decode("latin-1")
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    try:
        parser.read_string(text.removeprefix("\xef\xbb\xbf").replace("\0", ""))
        return {key: value or "" for key, value in parser[_SECTION].items()}
    except (configparser.Error, KeyError):
        raise NotThisFormat(path, f"is no header file of a pnCCD: no [{_SECTION}].") from None


def _count(hdr: dict[str, str], key: str) -> int:
    """Return a count from the .hdr, 0 if it does not say."""
    value = headers.number(hdr.get(key))
    return int(value) if value is not None and 0 < value < 1 << 40 else 0


def _binning(hdr: dict[str, str], size: tuple[int, int], problems: Problems) -> int:
    """Return how often each row is shown."""
    mode = re.search(r"bin\s*:\s*(\d{1,3})\b", hdr.get("readoutmode", ""))
    if mode and 1 <= int(mode[1]) <= SENSOR[0]:
        return int(mode[1])
    rows, columns = size
    fits = columns == SENSOR[1] and SENSOR[0] % rows == 0
    binning = SENSOR[0] // rows if fits else 1
    stored = f"the size of {rows} x {columns} stored pixels"
    message = f"no .hdr says how rows were binned; {binning} is taken from {stored}."
    problems.warn(message, "Pass binning= if that is wrong.")
    return binning


def _hints(hdr: dict[str, str], count: int, problems: Problems) -> tuple[ScanHint, ...]:
    """Read the scan shape from the .hdr, and compare the number of frames."""
    announced = _count(hdr, "signalframes")
    if announced and announced != count:
        problems.warn(f"the .hdr announces {announced} frames, the files hold {count}.")
    text = hdr.get("stemimagesize", "").strip(' "')
    match = re.fullmatch(r"(\d{1,6})\s*x\s*(\d{1,6})", text, re.IGNORECASE)
    shape = (int(match[1]), int(match[2])) if match else (0, 0)
    positions = shape[0] * shape[1]
    if not positions:
        return ()
    if positions not in (announced or positions, count):
        message = f"{_ORDER} {text}, which is not the number of frames, {announced or count}"
        problems.warn(f"{message}; it is not used.", "Pass navigation_shape=(x, y).")
        return ()
    if shape[0] != shape[1]:
        problems.warn(
            f"{_ORDER} {text}, which is taken as {shape[0]} lines of {shape[1]} positions, as in "
            "LiberTEM; no recorded file confirms this order.",
            f"If the image of the scan looks sheared, pass navigation_shape={shape}.",
        )
    return (ScanHint("header", shape, 0.9, f"stemimagesize = {text} in the .hdr"),)


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


# ---------------------------------------------------------------- description


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a .frms6 by its header, the .hdr by its section."""
    named = path.lower().endswith(".frms6")
    if head[:4] == START and len(head) >= 8 and (head[7] == VERSION or named):
        sure = 0.99 if named and head[7] == VERSION else 0.7
        return sure, f"begins with a FRMS header of version {head[7]}", {}
    if path.lower().endswith(".hdr") and f"[{_SECTION}]".encode() in head:
        return 0.99, f"has the section [{_SECTION}] of a pnCCD", {}
    return None


def _members(path: str, base: str, problems: Problems) -> dict[int, _Member]:
    """Describe the .frms6 files of a recording, by number."""
    folder, name = os.path.split(base)
    sources: dict[int, DataFile] = {}
    for entry in sorted(os.listdir(folder or ".")):
        match = _NAME.fullmatch(entry)
        if match and os.path.normcase(match[1]) == os.path.normcase(name):
            file = DataFile.of(os.path.join(folder, entry))
            if sources.setdefault(int(match[2]), file) is not file:
                problems.warn(f"{entry} has the same number as another file, and is ignored.")
    if not sources:
        raise FormatError(path, f"has no {name}_000.frms6, {name}_001.frms6, … beside it.")
    members: dict[int, _Member] = {}
    errors: list[FormatError] = []
    size: tuple[int, int] | None = None
    for number, file in sorted(sources.items()):
        try:
            member = _member(file, max(32, _SAMPLES // len(sources)), problems)
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
        hint = "Pass the _000.frms6 with single_file=True to read the dark frames."
        raise FormatError(path, f"has only dark frames beside it, no {name}_001.frms6.", hint)
    return members


def _find(
    path: str, binning: int | None, unfold: bool, single_file: bool, problems: Problems
) -> tuple[_Located, _Geometry, _Member | None, dict[str, str], list[str]]:
    """Find the frames of a recording, its geometry, dark frames, .hdr, and all of its files."""
    numbered = _NAME.fullmatch(path)
    through_hdr = not numbered and files.read_start(path, 4) != START
    base = numbered[1] if numbered else os.path.splitext(path)[0]
    hdr: dict[str, str] = {}
    sides = (
        [path] if through_hdr else [f for f in (base + ".hdr", base + ".HDR") if os.path.isfile(f)]
    )
    del sides[1:]
    for side in sides:
        try:
            hdr = _hdr(side)
        except FormatError as error:
            if through_hdr:
                raise
            problems.warn(f"{error} It is ignored.")
    if through_hdr or (numbered and not single_file):
        members = _members(path, base, problems)
        dark = members.pop(0, None)
        if dark is None:
            message = f"{_NO_DARK}: no file of the recording is number 000. Values are as recorded."
            problems.warn(message, "Pass dark=, or corrections=False.")
        elif (said := _count(hdr, "darkframes")) and said != dark.count:
            problems.warn(f"the .hdr announces {said} dark frames, the file holds {dark.count}.")
        ordered, blanks = _in_order(members, _count(hdr, "signalframes"), problems)
    else:
        member = _member(DataFile.of(path), _SAMPLES, problems)
        if not member.count:
            raise Truncated(path, "holds no complete frame.")
        ordered, blanks, dark = [member], [0], None
    if (sensors := int(ordered[0].header["n_ccds"])) > 1:
        message = f"{sensors} sensors were read out; how their frames are arranged is not known"
        problems.warn(f"{message}, and they follow each other as stored.")
    if binning is None:
        binning = _binning(hdr, ordered[0].size, problems)
    elif isinstance(binning, bool) or not isinstance(binning, (int, np.integer)) or binning < 1:
        raise ValueError(f"binning={binning!r} is no positive number of rows")
    rows = _full_rows(ordered, int(binning), problems)
    geometry = _Geometry(rows, ordered[0].size[1], int(binning), bool(unfold))
    located = _located(ordered, blanks, geometry)
    sides += [] if dark is None else [dark.file.path]
    return located, geometry, dark, hdr, [*(member.file.path for member in ordered), *sides]


def _every_frame(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Compare all frame headers: rows, sensor, and numbers, which each file counts for itself."""
    del seen
    assert recording.times is not None
    located = recording.times.read.__self__  # type: ignore[attr-defined]
    assert isinstance(located, _Located)
    count, blanks = recording.count, recording.frames.blanks
    stored = np.arange(count) if blanks is None else np.flatnonzero(~blanks)
    index, odd = np.full(count, -1, np.int64), np.zeros(count, bool)
    sensors = np.zeros(count, np.uint8)
    for a in range(0, count, 1 << 16):
        part = located.headers(a, min(a + (1 << 16), count))
        index[a : a + len(part)] = part["index"]
        named = np.zeros(len(part), bool)
        for start, height in located.windows:
            named |= (part["the_start"] == start) & (part["the_height"] == height)
        odd[a : a + len(part)] = ~named
        sensors[a : a + len(part)] = part["ccd_id"]
    known, numbers = np.unique(sensors[stored], return_counts=True)
    if numbers.max() < 0.9 * len(stored):
        return  # several sensors take turns, and nobody knows how they count
    odd |= sensors != known[np.argmax(numbers)]
    if (wrong := stored[odd[stored]]).size:
        yield Problem(
            "error",
            f"{len(wrong)} of {len(stored)} frame headers do not fit the others, in their rows or "
            f"sensor: those of the frames {listed(wrong)}.",
            "They are damaged, or bytes are missing before them: copy the recording again.",
        )
    table, done = located.heads, 0
    for i, file in enumerate(table.files):
        n = int(table.runs["count"][table.runs["file"] == i].sum())
        own = stored[done : done + n]
        done += n
        name = os.path.basename(file.path)
        for problem in numbering(np.where(odd[own], -1, index[own])):
            yield replace(problem, message=f"{name}: {problem.message}")


CHECKS = (_every_frame,)


def parse(
    filename: str | os.PathLike[str],
    *,
    binning: int | None = None,
    unfold: bool = True,
    gain_map_path: str | os.PathLike[str] | None = None,
    single_file: bool = False,
) -> Recording:
    """Describe a recording; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    path = files.existing(filename)
    problems = Problems()
    located, geometry, dark_file, hdr, sources = _find(path, binning, unfold, single_file, problems)
    count = len(located.frames)
    hints = () if single_file else _hints(hdr, count, problems)
    dark = None if dark_file is None else _dark(dark_file, located, geometry, problems)
    gain = None if gain_map_path is None else image_of(gain_map_path, "GainMap")
    if gain is not None and os.fspath(gain_map_path or "").lower().endswith(".csv"):
        gain = gain.T  # it has a line for each column
    corrections = Corrections(dark=dark, gain=gain)  # type: ignore[arg-type]  # like an array
    first, last = located.headers(0, 1)[0], located.headers(count - 1, count)[0]
    sources += [] if gain_map_path is None else [os.fspath(gain_map_path)]
    original: dict[str, Any] = {
        "frms6_header": _values(_file_header(located.heads.files[0])),
        "frms6_first_frame": _values(first),
        "frms6_last_frame": _values(last),
        "frms6_layout": {"stored_rows": geometry.rows, "binning": geometry.binning},
    }
    if hdr:
        original["measurementInfo"] = hdr
    return Recording(
        format="frms6",
        path=path if path.lower().endswith(".frms6") else sources[0],
        frames=located.frames,
        signal_axes=(Axis("ky", "px"), Axis("kx", "px")),
        scan_axes=(Axis("y"), Axis("x")),
        hints=hints,
        times=Times(count, located.times, resolution_ns=1000),
        corrections=corrections if corrections else None,
        metadata=_metadata(hdr, path, first),
        original_metadata=original,
        files=tuple(sources),
        problems=tuple(problems),
    )


def frame_headers(filename: str | os.PathLike[str], *, single_file: bool = False) -> Records:
    """Read what is stored with each frame: times, numbers, temperature, window.

    Parameters
    ----------
    filename, single_file
        As in `file_reader`.

    Returns
    -------
    ndarray of `FRAME`
        Zero for frames that are missing.
    """
    located = _find(files.existing(filename), 1, True, single_file, Problems())[0]
    return located.headers(0, len(located.frames))


def _values(record: np.void) -> dict[str, Any]:
    """Return a header as plain values."""
    values = {name: record[name].item() for name in record.dtype.names or () if name != "fill"}
    return {k: v.decode("latin-1") if isinstance(v, bytes) else v for k, v in values.items()}


def _metadata(hdr: dict[str, str], path: str, first: np.void) -> dict[str, Any]:
    name = os.path.basename(path)
    general = {"title": os.path.splitext(name)[0], "original_filename": name}
    if first["tv_sec"]:
        moment = np.datetime64(int(first["tv_sec"]) * 10**6 + int(first["tv_usec"]), "us")
        general["date"], _, general["time"] = str(moment).partition("T")
        general["time_zone"] = "UTC"
    tem: dict[str, Any] = {"Detector": {"Camera": {"name": "pnCCD"}}}
    if dwell := _count(hdr, "dwelltimemicroseconds"):
        tem["dwell_time"] = dwell * 1e-6
    return {
        "General": general,
        "Signal": {"signal_type": "electron_diffraction"},
        "Acquisition_instrument": {"TEM": tem},
    }


# ---------------------------------------------------------------- reader


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
    binning: int | None = None,
    unfold: bool = True,
    gain_map_path: str | os.PathLike[str] | None = None,
    single_file: bool = False,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a FRMS6 recording of a pnCCD camera.

    The mean of the dark frames in ``NAME_000.frms6`` is subtracted unless ``corrections=False``.

    Parameters
    ----------
    filename : str or path
        The .hdr or any of the .frms6 files.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    binning : int, optional
        How often each stored row is shown; by default what the .hdr says.
    unfold : bool
        False returns frames as they are stored: halves side by side, no row repeated.
    gain_map_path : str or path, optional
        Gain map, by which frames are multiplied once the dark frames are subtracted: a .mat with
        a variable ``GainMap``, or a .csv with semicolons that has a line per column of the image.
    single_file : bool
        Read just the file given, without dark frames and scan shape.
    **options
        `ReadOptions`. ``dark`` takes a .frms6 too, of which the frames are averaged.

    Returns
    -------
    list of one dict

    Raises
    ------
    NotThisFormat, Unsupported, Truncated, FormatError
        No FRMS6 file, or of another version; no complete frame; a damaged header, missing files.
    """
    del distributed  # nothing is left to do for it
    own: dict[str, Any] = {"binning": binning, "unfold": unfold}
    recording = parse(filename, **own, gain_map_path=gain_map_path, single_file=single_file)
    dark = options.get("dark")
    if isinstance(dark, (str, os.PathLike)) and os.fspath(dark).lower().endswith(".frms6"):
        own["binning"] = recording.original_metadata["frms6_layout"]["binning"]
        options["dark"] = np.asarray(MeanImage(parse(dark, **own, single_file=True).frames))
    shaped = navigation_shape is not None or options.get("nav_shape") is not None
    as_stored = dark is not None or options.get("corrections", "auto") not in ("auto", True)
    settled = [_ORDER] * shaped + [_NO_DARK] * as_stored
    problems = [p for p in recording.problems if not p.message.startswith(tuple(settled))]
    return read(
        replace(recording, problems=tuple(problems)),
        lazy=lazy,
        chunks=chunks,
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )
