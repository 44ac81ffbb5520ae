# SPDX-License-Identifier: GPL-3.0-or-later
"""TVIPS recordings (EMMENU, TemCam cameras): movies and 4D-STEM, one file or a numbered series.

Sources: the layouts that RosettaSciIO, LiberTEM and two published converters agree on, and files
written by RosettaSciIO. ``specifications/tvips.ksy`` writes the layout down.

A series is ``NAME_000.tvips``, ``NAME_001.tvips``, …; only the first file begins with the series
header. Every frame is a frame header followed by its pixels; no frame spans two files. The camera
runs on its own clock: frames are recorded before, between and after the positions of a scan. Two
counters in the frame headers of version 2 tell which position a frame belongs to: the scan
coordinates where the header is long enough, and the rotator index.
"""

from __future__ import annotations

import datetime
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, Unpack, get_args

import numpy as np
import numpy.typing as npt

from rsciio_tem import files, signals
from rsciio_tem.backends import DataFile
from rsciio_tem.checking import listed
from rsciio_tem.errors import (
    FormatError,
    NotThisFormat,
    Problem,
    Truncated,
    Unsupported,
    warn,
)
from rsciio_tem.frames import FrameTable, runs_of
from rsciio_tem.pixels import Pixels
from rsciio_tem.read import ReadOptions, read
from rsciio_tem.recording import Axis, Recording
from rsciio_tem.scan import ScanHint, place
from rsciio_tem.times import FrameTimes, Times, read_headers, read_headers_at

__all__ = ["file_reader", "file_writer", "parse", "sniff"]

Ints = npt.NDArray[np.int64]
Placement = Literal["auto", "counters", "scan", "rotator", "stored"]

#: Series header, little-endian, at the beginning of the first file.
HEADER = np.dtype(
    [
        ("size", "<u4"),  # 0: bytes of this header, 256
        ("version", "<u4"),  # 4: 1 or 2
        ("dimx", "<u4"),  # 8: columns of a frame
        ("dimy", "<u4"),  # 12: rows of a frame
        ("bitsperpixel", "<u4"),  # 16: 8 or 16
        ("offsetx", "<u4"),  # 20: origin of the frame, in units of the axis
        ("offsety", "<u4"),  # 24
        ("binx", "<u4"),  # 28: binning of the camera
        ("biny", "<u4"),  # 32
        ("pixelsize", "<u4"),  # 36: nm (images) or 1/nm (diffraction) per pixel, whole numbers
        ("ht", "<u4"),  # 40: high tension, kV
        ("magtotal", "<u4"),  # 44: magnification, or camera length in diffraction mode
        ("frameheaderbytes", "<u4"),  # 48: bytes before each frame's pixels; version 2 only
        ("dummy", "S204"),  # 52: filler, "TVIPS TVIPS ..."
    ]
)
#: Frame header of version 1; version 2 begins alike.
FRAME_V1 = np.dtype(
    [
        ("counter", "<u4"),  # 0: frame counter, may start over
        ("timestamp", "<u4"),  # 4: s since 1970-01-01 UTC
        ("ms", "<u4"),  # 8: ms to add
    ]
)
#: Frame header of version 2. Shorter ones end after any field, longer ones are padded.
FRAME = np.dtype(
    [
        ("counter", "<u4"),  # 0: as in version 1
        ("timestamp", "<u4"),  # 4
        ("ms", "<u4"),  # 8
        ("lut_index", "<u4"),  # 12: colour table
        ("faraday", "<f4"),  # 16: Faraday cup
        ("mag", "<u4"),  # 20: magnification as set at the microscope
        ("mode", "<u4"),  # 24: 1 image, 2 diffraction
        ("stage_x", "<f4"),  # 28: nm
        ("stage_y", "<f4"),  # 32: nm
        ("stage_z", "<f4"),  # 36: nm
        ("stage_alpha", "<f4"),  # 40: degrees
        ("stage_beta", "<f4"),  # 44: degrees
        ("rotidx", "<u4"),  # 48: rotator index, counts scan positions from 1; 0 outside a scan
        ("dens_t", "<f4"),  # 52: heating holder, temperature measured
        ("dens_t_set", "<f4"),  # 56: temperature set
        ("dens_power", "<f4"),  # 60: heating power
        ("objective", "<f4"),  # 64: current of the objective lens
        ("scan_x", "<f4"),  # 68: scan coordinates, whole numbers
        ("scan_y", "<f4"),  # 72
        ("bias_u_set", "<f4"),  # 76: biasing holder
        ("bias_u", "<f4"),  # 80
        ("bias_i_set", "<f4"),  # 84
        ("bias_i", "<f4"),  # 88
        ("bias_e_set", "<f4"),  # 92
        ("bias_r", "<f4"),  # 96
        ("bias_limit_u", "<f4"),  # 100
        ("bias_limit_i", "<f4"),  # 104
    ]
)
#: Bytes that a frame header needs for its rotator index, and for its scan coordinates.
_ROTATOR_END, _SCAN_END = 52, 76
#: RosettaSciIO writes this much of it.
_SHORT = 60
#: This writer writes as much as TVIPS; LiberTEM expects at least 108 bytes.
_WRITTEN = 128
#: Frames up to which every header is read; beyond, a regular scan is checked at so many of them.
_ALL, _SAMPLES = 4096, 512
_MAX_SIDE = 1 << 16
_NAME = re.compile(r"(.*_)(\d{3,})$", re.DOTALL)


# ---------------------------------------------------------------- the files of a series


def _series_header(head: bytes, size: int) -> np.void | None:
    """Return the series header that `head` begins with, None if it begins with something else."""
    if len(head) < HEADER.itemsize:
        return None
    header: np.void = np.frombuffer(head, HEADER, 1)[0]
    known = header["version"] in (1, 2) or b"TVIPS" in head[52:256]
    plain = 52 <= header["size"] <= min(size, _MAX_SIDE) and header["bitsperpixel"] <= 128
    sides = 0 < header["dimx"] < _MAX_SIDE and 0 < header["dimy"] < _MAX_SIDE
    return header if known and plain and sides else None


def _head(path: str) -> np.void | None:
    try:
        return _series_header(files.read_start(path, HEADER.itemsize), os.path.getsize(path))
    except (FormatError, OSError):
        return None


def _member(path: str) -> tuple[str, int] | None:
    """Split the path of a member of a series into what all share, and its number."""
    stem, _ = os.path.splitext(path)
    match = _NAME.fullmatch(os.path.basename(stem))
    if match is None:
        return None
    return os.path.join(os.path.dirname(path), match[1]), int(match[2])


def _numbered(path: str) -> dict[int, DataFile]:
    """List the files named like `path` but for their number, by number."""
    found: dict[int, DataFile] = {}
    own = _member(path)
    for file in files.numbered_set(path):
        other = _member(file.path)
        if own is None or other is None or other[0].lower() != own[0].lower():
            continue
        same_case = os.path.splitext(file.path)[1] == os.path.splitext(path)[1]
        if same_case or other[1] not in found:
            found[other[1]] = file
    return found


def _series(path: str) -> tuple[list[DataFile], np.void, list[Problem]]:
    """Find the files of the series that `path` belongs to, and their header."""
    header, own = _head(path), _member(path)
    problems: list[Problem] = []
    found = _numbered(path) if own else {}
    if own is None or (header is not None and own[1] != 0):
        if header is None:
            raise NotThisFormat(
                path,
                f"does not begin with a TVIPS header ({files.read_start(path, 16)!r}).",
            )
        if own is not None and 0 in found:
            message = f"{os.path.basename(path)} begins a recording of its own and is read alone."
            problems.append(Problem("info", message))
        return [DataFile.of(path)], header, problems
    name = os.path.basename(own[0])
    if 0 not in found:
        raise FormatError(
            path,
            f"belongs to a series whose first file, {name}000.tvips, is not beside it.",
            "Only the first file says how large the frames are.",
        )
    first = found[0]
    header = _head(first.path)
    if header is None:
        raise NotThisFormat(
            first.path,
            f"does not begin with a TVIPS header ({files.read_start(first.path, 16)!r}).",
        )
    members = [first]
    while (number := len(members)) in found:
        if _head(found[number].path) is not None:
            break  # the next recording was given the next number
        members.append(found[number])
    if own[1] >= len(members):
        raise FormatError(
            path,
            f"cannot be joined to its series: {name}{len(members):03d}.tvips is missing, or begins "
            "another recording.",
            f"Open {name}000.tvips for the files before.",
        )
    rest = sorted(number for number in found if number >= len(members))
    if rest and len(members) not in found:
        problems.append(
            Problem(
                "warning",
                f"{name}{len(members):03d}.tvips is missing: of the series, only the "
                f"{len(members)} files before are read, {len(rest)} behind it are not.",
            )
        )
    return members, header, problems


def _frame_header_bytes(header: np.void, path: str) -> int:
    """Return how many bytes lie before the pixels of each frame."""
    version, given = int(header["version"]), int(header["frameheaderbytes"])
    if version == 1:
        # RosettaSciIO writes headers of version 2 whatever the version it is told
        written_so = bytes(header["dummy"]).startswith(b"HYPERSPY") and given >= _SHORT
        return given if written_so else FRAME_V1.itemsize
    if version != 2:
        raise Unsupported(path, f"is a TVIPS recording of version {version}; known are 1 and 2.")
    if not FRAME_V1.itemsize <= given <= _MAX_SIDE:
        raise FormatError(path, f"announces frame headers of {given} bytes.")
    return given


def _table(
    members: list[DataFile], header: np.void, problems: list[Problem]
) -> tuple[FrameTable, int]:
    """Locate the frames; returns the table and the bytes before each frame's pixels."""
    path = members[0].path
    bits = int(header["bitsperpixel"])
    if bits not in (8, 16, 32, 64):
        raise Unsupported(path, f"has {bits} bits per pixel; known are 8 and 16.")
    if bits > 16:
        problems.append(
            Problem(
                "info", f"{bits} bits per pixel are no TVIPS format, but RosettaSciIO writes them."
            )
        )
    before = _frame_header_bytes(header, path)
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
            problems.append(
                Problem(
                    "warning",
                    f"{os.path.basename(file.path)} ends inside a frame "
                    f"({rest} of {stride} bytes); that last frame is incomplete and ignored"
                    + (", frames behind it move up." if i + 1 < len(members) else "."),
                )
            )
        if count:
            runs.append((i, start + before, stride, count))
    return FrameTable(tuple(members), runs_of(runs), pixels), before


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a recording by its series header, a later file of a series by its first one."""
    named = path.lower().endswith(".tvips")
    header = _series_header(head, os.path.getsize(path))
    if header is not None:
        marked = any(word in bytes(header["dummy"]) for word in (b"TVIPS", b"HYPERSPY"))
        if marked or named:
            return (0.99 if marked else 0.9), "begins with a TVIPS series header", {}
        return None
    own = _member(path) if named else None
    if own is not None and own[1] > 0:
        first = _numbered(path).get(0)
        if first is not None and _head(first.path) is not None:
            name = os.path.basename(first.path)
            return 0.95, f"continues the TVIPS series that begins with {name}", {}
    return None


# ---------------------------------------------------------------- frame headers


def _decoded(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.void]:
    """Return frame headers as records; fields beyond the end of short ones are zero."""
    padded = np.zeros((len(raw), FRAME.itemsize), np.uint8)
    size = min(raw.shape[1], FRAME.itemsize)
    padded[:, :size] = raw[:, :size]
    return padded.view(FRAME)[:, 0]


def _headers(frames: FrameTable, before: int, first: int, last: int) -> npt.NDArray[np.void]:
    return _decoded(read_headers(frames, first, last, before, min(before, FRAME.itemsize)))


def _headers_at(frames: FrameTable, before: int, index: Ints) -> npt.NDArray[np.void]:
    return _decoded(read_headers_at(frames, index, before, min(before, FRAME.itemsize)))


def _milliseconds(headers: npt.NDArray[np.void]) -> Ints:
    result: Ints = headers["timestamp"].astype(np.int64) * 1000 + headers["ms"]
    return result


def _frame_times(frames: FrameTable, before: int, first: int, last: int) -> FrameTimes:
    """Read the times of frames; a blank has none."""
    headers = _decoded(read_headers(frames, first, last, before, FRAME_V1.itemsize))
    moments = _milliseconds(headers)
    nothing = np.full(len(headers), -1, np.int64)
    # counters of the camera start over, so they number nothing
    return FrameTimes(np.where(moments > 0, moments * 1_000_000, -1), nothing, nothing, nothing)


# ---------------------------------------------------------------- where frames belong


@dataclass(frozen=True)
class _Placed:
    """Frames of a scan, put where their counters say."""

    shape: tuple[int, ...]
    index: Ints | slice  # position, or what there is of it, to stored frame
    reason: str
    found: dict[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def _whole(values: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Whether values are scan coordinates: whole numbers from 0 on."""
    whole = (values >= 0) & (values < _MAX_SIDE)  # neither NaN nor infinite
    whole &= values == np.rint(values)
    return whole


def _coordinates(headers: npt.NDArray[np.void]) -> tuple[npt.NDArray[np.bool_], Ints, Ints]:
    """Return which frames have scan coordinates, and y and x; -1 where they have none."""
    x, y = headers["scan_x"], headers["scan_y"]
    valid = _whole(x) & _whole(y)
    return (
        valid,
        np.where(valid, y, -1).astype(np.int64),
        np.where(valid, x, -1).astype(np.int64),
    )


def _parts(slow: Ints, fast: Ints) -> list[tuple[int, int]]:
    """Cut where a scan begins anew; returns begin and end of its parts, waiting frames left out."""
    bounds = np.flatnonzero(np.diff(slow) < 0) + 1
    parts = []
    for a, b in zip([0, *bounds.tolist()], [*bounds.tolist(), len(slow)], strict=True):
        moves = np.flatnonzero((np.diff(slow[a:b]) != 0) | (np.diff(fast[a:b]) != 0))
        if not len(moves):
            parts.append((a, b))
            continue
        begin, end = a + int(moves[0]), a + int(moves[-1]) + 2
        jumps_back = slow[begin + 1] == slow[begin] and fast[begin + 1] < fast[begin] - 1
        parts.append((begin + 1 if jumps_back else begin, end))
    return parts


def _by_coordinates(
    stored: Ints, y: Ints, x: Ints, keep: Literal["first", "last"]
) -> _Placed | None:
    """Place frames by their scan coordinates; None if these describe no scan."""
    changes_y, changes_x = np.count_nonzero(np.diff(y)), np.count_nonzero(np.diff(x))
    if changes_x + changes_y == 0:
        return None
    along_y = changes_y > changes_x  # the scan runs along columns
    slow, fast = (x, y) if along_y else (y, x)
    single = slow.min() == slow.max()  # a single line, maybe recorded again and again
    parts = _parts(fast, slow) if single else _parts(slow, fast)

    def extent(a: int, b: int) -> tuple[int, int, int, int, int]:
        covered = len(np.unique(y[a:b] * _MAX_SIDE + x[a:b]))
        low, high = (y[a:b].min(), x[a:b].min()), (y[a:b].max(), x[a:b].max())
        return covered, int(low[0]), int(low[1]), int(high[0]), int(high[1])

    extents = [extent(a, b) for a, b in parts]
    covered, y0, x0, y1, x1 = max(extents, key=lambda e: e[0])
    ny, nx = y1 - y0 + 1, x1 - x0 + 1
    if covered < 2 or ny * nx > 16 * covered:
        return None
    # scans of the same area that were completed too
    alike = [p for p, e in zip(parts, extents, strict=True) if e == (covered, y0, x0, y1, x1)]
    chosen = alike if covered == ny * nx else alike[:1]
    index = np.concatenate(
        [place((y[a:b] - y0) * nx + x[a:b] - x0, stored[a:b], ny * nx, keep) for a, b in chosen]
    )
    if len(chosen) == 1:  # what is missing at the end is for the scan shape to decide
        index = index[: int(np.flatnonzero(index >= 0)[-1]) + 1]
    inside = sum(b - a for a, b in chosen)
    blanks, used = int((index < 0).sum()), int((index >= 0).sum())
    begin, end = chosen[0][0], chosen[-1][1]
    problems = []
    if blanks:
        problems.append(
            Problem(
                "warning",
                f"{blanks} of {len(index)} scan positions {(ny, nx)} have no frame by the scan "
                "coordinates in the frame headers; they are filled.",
            )
        )
    if repeated := inside - used:
        problems.append(
            Problem(
                "warning",
                f"{repeated} frames were recorded at a scan position that had one already; the "
                f"{keep} of each is used.",
                'placement="stored" returns all frames.',
            )
        )
    others = [e[0] for p, e in zip(parts, extents, strict=True) if p not in chosen and e[0] > 1]
    if others:
        problems.append(
            Problem(
                "warning",
                f"{sum(others)} frames belong to {len(others)} further scans that are not complete "
                "or of another area; they are left out.",
                'placement="stored" returns all frames.',
            )
        )
    shape = (ny, nx) if ny > 1 else (nx,)
    shape = (len(chosen), *shape) if len(chosen) > 1 else shape
    first, last = int(stored[begin]), int(stored[end - 1])
    return _Placed(
        shape,
        index,
        f"scan coordinates in the frame headers, frames {first} to {last}",
        {
            "counter": "scan coordinates",
            "first_frame": first,
            "last_frame": last,
            "origin": [y0, x0],
            "repeated": repeated,
            "blank": blanks,
        },
        tuple(problems),
    )


def _straight(index: Ints) -> Ints | slice:
    """Return an index as a slice where frames simply follow each other."""
    if len(index) and index[0] >= 0 and (np.diff(index) == 1).all():
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


def _regular(frames: FrameTable, before: int) -> _Placed | None:
    """Recognise a scan whose frames simply follow each other, from a part of its headers.

    The beginning is looked at frame by frame, the rest at `_SAMPLES` places, so that opening does
    not take longer for longer recordings.
    """
    count = len(frames)
    valid, y, x = _coordinates(_headers(frames, before, 0, min(count, _ALL)))
    if not valid.any():
        return None
    lead = int(np.argmax(valid))
    moved = np.flatnonzero((y[lead:] != y[lead]) | (x[lead:] != x[lead]))
    if not len(moved):
        return None
    start = lead + int(moved[0]) - 1
    if (y[start], x[start]) != (0, 0):
        return None
    wraps = np.flatnonzero(y[start:] != 0)
    if not len(wraps):
        return None
    width = int(wraps[0])

    def fits(index: Ints, y: Ints, x: Ints) -> npt.NDArray[np.bool_]:
        line, column = np.divmod(index - start, width)
        result: npt.NDArray[np.bool_] = (y == line) & (x == column)
        return result

    def agrees(index: Ints) -> npt.NDArray[np.bool_]:
        _, y, x = _coordinates(_headers_at(frames, before, index))
        return fits(index, y, x)

    if width < 2 or not fits(np.arange(start, len(y)), y[start:], x[start:]).all():
        return None
    sampled = np.unique(np.linspace(len(y) - 1, count - 1, _SAMPLES).astype(np.int64))
    good = agrees(sampled)
    ends = int(np.argmin(good)) if not good.all() else len(good)
    if good[ends:].any():
        return None
    end = count
    if ends < len(good):  # the scan is over before the recording is: find where
        low, high = int(sampled[ends - 1]), int(sampled[ends])
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if agrees(np.array([middle]))[0] else (low, middle)
        end = high
        _, y, x = _coordinates(_headers_at(frames, before, np.array([end, *sampled[ends:]])))
        if (y != y[0]).any() or (x != x[0]).any():
            return None  # not waiting: something else happens there
    lines = -(-(end - start) // width)
    return _Placed(
        (lines, width),
        slice(start, end),
        f"scan coordinates in the frame headers, frames {start} to {end - 1} "
        f"(checked at {len(np.unique([*range(_ALL), *sampled.tolist()]))} of {count} frames)",
        {
            "counter": "scan coordinates",
            "first_frame": start,
            "last_frame": end - 1,
            "origin": [0, 0],
            "repeated": 0,
            "blank": 0,
        },
    )


def _placed_by_scan(
    frames: FrameTable, before: int, keep: Literal["first", "last"]
) -> _Placed | None:
    """Place frames by their scan coordinates; None if these describe no scan."""
    if before < _SCAN_END:
        return None
    count = len(frames)
    if count > _ALL:
        if (placed := _regular(frames, before)) is not None:
            return placed
        some = np.unique(np.linspace(0, count - 1, _SAMPLES).astype(np.int64))
        some = np.union1d(some, np.arange(64))
        valid, y, x = _coordinates(_headers_at(frames, before, some))
        y, x = y[valid], x[valid]
        if not len(y) or (y.min() == y.max() and x.min() == x.max()):
            return None
    headers = _headers(frames, before, 0, count)
    valid, y, x = _coordinates(headers)
    stored = np.flatnonzero(valid)
    if len(stored) < 2:
        return None
    placed = _by_coordinates(stored, y[valid], x[valid], keep)
    return placed if placed is None else replace(placed, index=_straight(np.asarray(placed.index)))


def _placed_by_rotator(
    frames: FrameTable,
    before: int,
    shape: tuple[int, ...] | None,
    keep: Literal["first", "last"],
    previous: bool,
    path: str,
) -> _Placed:
    """Place frames by their rotator index.

    Raises
    ------
    FormatError
        The rotator does not count, or the shape of the scan remains unknown.
    """
    nothing = FormatError(
        path,
        "the rotator index in the frame headers does not count scan positions.",
        "Pass navigation_shape=(x, y).",
    )
    if before < _ROTATOR_END:
        raise nothing
    rotator = _headers(frames, before, 0, len(frames))["rotidx"].astype(np.int64)
    stored = np.flatnonzero(rotator > 0)  # 0: no scan at that time
    rotator = rotator[stored]
    if len(stored) < 2 or rotator.min() == rotator.max():
        raise nothing
    # the index starts over with each scan, and falls back after it
    parts = _parts(rotator, np.zeros_like(rotator))
    begin, end = max(parts, key=lambda p: len(np.unique(rotator[p[0] : p[1]])))
    rotator, stored = rotator[begin:end], stored[begin:end]
    total = int(rotator[-1])
    problems = []
    if shape is None:
        side = math.isqrt(total)
        if side * side != total:
            raise FormatError(
                path,
                f"the rotator index counts {total} scan positions, which is no square scan.",
                "Pass scan_shape=(y, x), or (-1, x), with placement='rotator'.",
            )
        shape = (side, side)
    shape = tuple(int(n) for n in shape)
    if any(n == 0 or n < -1 for n in shape) or shape.count(-1) > 1:
        raise FormatError(path, f"{shape} is not a scan shape.")
    if -1 in shape:
        known = math.prod(n for n in shape if n != -1)
        shape = tuple(-(-total // known) if n == -1 else n for n in shape)
    size = math.prod(shape)
    if size > 16 * len(frames) + 1024:
        raise FormatError(path, f"{len(frames)} frames are too few for the scan shape {shape}.")
    positions = rotator - 1
    if total > size and rotator[0] > 1 and total - rotator[0] < size:
        problems.append(
            Problem(
                "warning",
                f"the rotator index counts from {rotator[0]}, which is taken as the first position",
            )
        )
        positions = rotator - rotator[0]
    inside = positions < size
    if outside := int((~inside).sum()):
        problems.append(
            Problem(
                "warning",
                f"the rotator index counts {total} positions, the scan shape {shape} has {size}; "
                f"{outside} frames are left out.",
            )
        )
    positions, stored = positions[inside], stored[inside]
    if not len(stored):
        raise FormatError(
            path, f"the rotator index counts to {total}, beyond the scan shape {shape}."
        )
    # what is missing at the end is for the scan shape to decide
    index = place(positions, stored, int(positions.max()) + 1, keep)
    blanks = int((index < 0).sum())
    repeated = len(stored) - (len(index) - blanks)
    if blanks and previous:
        index = _repeated(index, positions, stored)
    if repeated:
        message = f"{repeated} frames repeat a rotator index; the {keep} of each is used."
        problems.append(Problem("info", message))
    if blanks:
        what = "repeat the frame before" if previous else "are filled"
        problems.append(
            Problem(
                "warning",
                f"{blanks} of {size} scan positions {shape} have no frame by the rotator index; "
                f"they {what}.",
            )
        )
    return _Placed(
        shape,
        _straight(index),
        f"rotator index in the frame headers counts {total} positions, "
        f"frames {stored[0]} to {stored[-1]}",
        {
            "counter": "rotator index",
            "first_frame": int(stored[0]),
            "last_frame": int(stored[-1]),
            "repeated": repeated,
            "blank": blanks,
        },
        tuple(problems),
    )


def _repeated(index: Ints, positions: Ints, stored: Ints) -> Ints:
    """Fill positions without a frame as RosettaSciIO does.

    Further frames that were recorded at the position before come first; the last of them is
    repeated. What lies before the first position with a frame takes that frame.
    """
    filled = index >= 0
    at = np.maximum.accumulate(np.where(filled, np.arange(len(index)), -1))
    gap = np.arange(len(index)) - np.maximum(at, 0)
    # frames of one position follow each other in `stored`
    low = np.searchsorted(positions, np.maximum(at, 0), "left")
    high = np.searchsorted(positions, np.maximum(at, 0), "right")
    nth = np.minimum(low + gap, np.maximum(high - 1, low))
    taken = np.where(at < 0, stored[0], stored[np.minimum(nth, len(stored) - 1)])
    result: Ints = np.where(filled, index, taken)
    return result


# ---------------------------------------------------------------- description


def parse(
    filename: str | os.PathLike[str],
    *,
    placement: Placement = "auto",
    scan_shape: tuple[int, ...] | str | None = None,
    duplicates: Literal["first", "last"] = "first",
    gaps: Literal["auto", "blank", "previous"] = "auto",
) -> Recording:
    """Describe a TVIPS recording; parameters as in `file_reader`.

    `scan_shape` is needed only to place frames by their rotator index.

    Returns
    -------
    Recording
    """
    if placement not in get_args(Placement):
        raise ValueError(f"placement={placement!r} is none of {', '.join(get_args(Placement))}")
    if duplicates not in ("first", "last"):
        raise ValueError(f"duplicates={duplicates!r} is neither 'first' nor 'last'")
    if gaps not in ("auto", "blank", "previous"):
        raise ValueError(f"gaps={gaps!r} is none of auto, blank, previous")
    automatic = isinstance(scan_shape, str)
    if automatic and scan_shape != "auto":
        raise ValueError(f"scan_shape={scan_shape!r} is neither 'auto' nor a tuple")
    shape = scan_shape if isinstance(scan_shape, tuple) else None
    if automatic and placement == "auto":
        placement = "counters"

    members, header, problems = _series(files.existing(filename))
    path = members[0].path
    frames, before = _table(members, header, problems)
    count = len(frames)
    first = _headers(frames, before, 0, min(2, count))
    version = int(header["version"])

    placed: _Placed | None = None
    if placement in ("auto", "counters", "scan") and version == 2:
        placed = _placed_by_scan(frames, before, duplicates)
    if placement == "scan" and placed is None:
        raise FormatError(path, "has no scan coordinates in its frame headers.")
    if placement == "rotator" or (placement == "counters" and placed is None):
        previous = gaps == "previous" or (gaps == "auto" and automatic)
        if version == 1:
            raise FormatError(path, "is of version 1, which has no rotator index.")
        placed = _placed_by_rotator(frames, before, shape, duplicates, previous, path)
    hints: tuple[ScanHint, ...] = ()
    found = {}
    ordered = frames
    if placed is not None:
        problems.extend(placed.problems)
        ordered, found = frames[placed.index], placed.found
        hints = (ScanHint("header", placed.shape, 0.95, placed.reason),)

    scanning = False
    if before >= _ROTATOR_END:
        some = np.unique(np.linspace(0, count - 1, 33).astype(np.int64))
        scanning = len(np.unique(_headers_at(frames, before, some)["rotidx"])) > 1
    moments = _milliseconds(first)
    diffraction = version == 2 and int(first["mode"][0]) == 2
    units = "1/nm" if diffraction else "nm"
    if version == 1 and before == FRAME_V1.itemsize:
        units = ""  # nothing says whether these are images
    scale = float(header["pixelsize"])
    if not scale:  # not calibrated
        units, scale = "", 1.0
    step = float(moments[1] - moments[0]) / 1000 if count > 1 else 0.0
    if step <= 0 < count - 1:  # times come in steps of 1 ms, several frames may share one
        last = _headers_at(frames, before, np.array([count - 1]))
        step = float(_milliseconds(last)[0] - moments[0]) / 1000 / (count - 1)
    origin = float(moments[0]) / 1000
    # without times there is no calibration, only an order
    time = Axis("time", "s", step, origin) if step > 0 else Axis("time", "", 1.0, 0.0)
    return Recording(
        format="tvips",
        path=path,
        frames=ordered,
        signal_axes=(
            Axis("dy", units, scale, float(header["offsety"])),
            Axis("dx", units, scale, float(header["offsetx"])),
        ),
        # nothing says how far apart scan positions are
        scan_axes=(Axis("y", "nm"), Axis("x", "nm")),
        stack_axis=time,
        hints=hints,
        times=Times(
            len(ordered),
            partial(_frame_times, ordered, before),
            resolution_ns=2_000_000,
            # a camera without a scan runs on its own clock
            external_trigger=None if scanning else False,
        ),
        metadata=_metadata(header, first[0], path, version, diffraction),
        original_metadata={
            "tvips_header": _tree(header),
            "tvips_first_frame": _tree(first[0], before),
            **({"tvips_scan": found} if found else {}),
        },
        files=tuple(file.path for file in members),
        problems=tuple(problems),
    )


def stored_times(recording: Recording) -> Times:
    """Return the times of the frames as they are stored, wherever they belong in the scan."""
    times = parse(recording.path, placement="stored").times
    assert times is not None
    return times


def _every_counter(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Follow the counter of the camera, which may start over but leaves out no frame."""
    del seen
    source = stored_times(recording).read
    assert isinstance(source, partial)
    frames, before = source.args
    count = len(frames)
    counters = np.zeros(count, np.int64)
    modes = np.zeros(count, np.int64)
    for a in range(0, count, 1 << 16):
        part = _headers(frames, before, a, min(a + (1 << 16), count))
        counters[a : a + len(part)], modes[a : a + len(part)] = part["counter"], part["mode"]
    steps = np.diff(counters)
    regular = bool(len(steps)) and np.count_nonzero(steps == 1) >= 0.9 * len(steps)
    if regular and (ahead := steps > 1).any():
        at = np.flatnonzero(ahead) + 1
        lost = int((steps[ahead] - 1).sum())
        yield Problem(
            "warning",
            f"{lost} frames are missing by the counter in the frame headers, before frame "
            f"{listed(at)} (as stored, from 0).",
            "The camera was faster than the disk, or a file was cut.",
        )
    if regular and (same := steps == 0).any():
        yield Problem(
            "warning",
            f"{int(same.sum())} of {count} frames have the same counter as the frame before: "
            f"{listed(np.flatnonzero(same) + 1)} (as stored, from 0).",
            "They may have been stored twice.",
        )
    if regular and (back := steps < 0).any():
        yield Problem(
            "info",
            f"the counter in the frame headers starts over at frame "
            f"{listed(np.flatnonzero(back) + 1)}: another recording was appended, or the camera "
            "was started again.",
        )
    if before >= 28 and (modes != modes[0]).any():
        yield Problem(
            "warning",
            f"the microscope changed between imaging and diffraction at frame "
            f"{listed(np.flatnonzero(np.diff(modes)) + 1)}, by the frame headers.",
            "The calibration of the first frame is used for all.",
        )


CHECKS = (_every_counter,)


def _tree(record: np.void, size: int = 1 << 30) -> dict[str, Any]:
    """Return the fields of a record that lie within its first `size` bytes."""
    fields: Mapping[str, Any] = record.dtype.fields or {}
    result = {}
    for name in record.dtype.names or ():
        if fields[name][1] + fields[name][0].itemsize <= size:
            value = record[name].item()
            result[name] = value.decode("latin-1") if isinstance(value, bytes) else value
    return result


def _metadata(
    header: np.void, first: np.void, path: str, version: int, diffraction: bool
) -> dict[str, Any]:
    """Translate what the headers say."""
    name = os.path.basename(path)
    general: dict[str, Any] = {
        "title": os.path.splitext(name)[0],
        "original_filename": name,
    }
    if first["timestamp"]:
        moment = datetime.datetime.fromtimestamp(int(first["timestamp"]), datetime.UTC)
        general["date"] = moment.date().isoformat()
        general["time"] = moment.time().isoformat()
        general["time_zone"] = "UTC"
    tem: dict[str, Any] = {"beam_energy": int(header["ht"])}
    tem["camera_length" if diffraction else "magnification"] = int(header["magtotal"])
    if version == 2:
        tem["beam_current"] = float(first["faraday"])
        tem["Stage"] = {
            "tilt_alpha": float(first["stage_alpha"]),
            "tilt_beta": float(first["stage_beta"]),
            **{f"{a}": float(first[f"stage_{a}"]) for a in "xyz"},
            **{f"{a}_units": "nm" for a in "xyz"},
        }
    return {
        "General": general,
        "Signal": {"signal_type": "diffraction" if diffraction else ""},
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
    scan_shape: Any = None,
    scan_start_frame: int | None = None,
    rechunking: Any = "auto",
    placement: Placement = "auto",
    duplicates: Literal["first", "last"] = "first",
    gaps: Literal["auto", "blank", "previous"] = "auto",
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a TVIPS recording.

    Parameters
    ----------
    filename : str or path
        Any file of the series.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    scan_shape : tuple of int or "auto"
        As in `rsciio.tvips`: another name for ``nav_shape`` (y, x). "auto" finds it by the scan
        coordinates in the frame headers, or else a square by the rotator index.
    scan_start_frame : int
        As in `rsciio.tvips`: another name for ``first_frame``. Ignored with ``"auto"``.
    rechunking : "auto", False or chunks
        As in `rsciio.tvips`: another name for ``chunks``; False means "auto".
    placement : {"auto", "scan", "rotator", "stored"}
        What tells which position a frame belongs to. "scan": the scan coordinates in the frame
        headers. "rotator": the rotator index, with a shape of yours. "stored": nothing, frames
        are taken as they come. "auto" uses the scan coordinates where they describe a scan and
        you ask for no other frames or shape.
    duplicates : {"first", "last"}
        Which frame counts if several were recorded at a position.
    gaps : {"auto", "blank", "previous"}
        What becomes of positions without a frame: blank, or the frame before, as RosettaSciIO
        does. "auto" is "previous" with ``scan_shape="auto"`` and "blank" otherwise.
    **options
        `ReadOptions`, among them winding_scan_axis and hysteresis.

    Returns
    -------
    list of one dict

    Raises
    ------
    NotThisFormat, Unsupported
        The file is no TVIPS recording of version 1 or 2.
    Truncated
        It ends before its first frame does.
    FormatError
        The first file of the series is missing, or no scan is found as asked.
    """
    del distributed  # nothing is left to do for it
    name = os.fspath(filename)
    own: dict[str, Any] = dict(options)
    if scan_shape is not None and not isinstance(scan_shape, str):
        scan_shape = tuple(int(n) for n in np.atleast_1d(scan_shape).tolist())
    if scan_shape is not None:
        if navigation_shape is not None or own.get("nav_shape") is not None:
            raise TypeError(
                "pass either navigation_shape (HyperSpy order: x, y) or nav_shape (array order: "
                "y, x); scan_shape is another name for nav_shape"
            )
        if not isinstance(scan_shape, str):
            own["nav_shape"] = scan_shape
    if scan_start_frame is not None and scan_shape != "auto":
        if first_frame is not None and scan_start_frame:
            raise TypeError("pass either first_frame or scan_start_frame")
        first_frame = scan_start_frame or first_frame
    asked = own.get("nav_shape")
    shape: tuple[int, ...] | None = None
    if asked is not None:
        shape = tuple(int(n) for n in np.atleast_1d(asked).tolist())
    elif isinstance(navigation_shape, (tuple, int, np.integer)):
        shape = tuple(int(n) for n in np.atleast_1d(navigation_shape).tolist())[::-1]

    describe = partial(parse, name, duplicates=duplicates, gaps=gaps)
    selects = first_frame is not None or last_frame is not None or bool(own.get("sync_offset"))
    other_rule = own.get("scan", "auto") not in (None, "auto", "header")
    if placement == "auto" and scan_shape != "auto" and (selects or other_rule):
        recording = describe(placement="stored")
    elif placement == "rotator":
        recording = describe(placement=placement, scan_shape=scan_shape if shape is None else shape)
    else:
        recording = describe(
            placement=placement, scan_shape=scan_shape if isinstance(scan_shape, str) else None
        )
        if placement == "auto" and shape and not _fits(shape, recording):
            recording = describe(placement="stored")
    if placement == "scan" and shape and not _fits(shape, recording):
        raise FormatError(
            recording.path,
            "the scan coordinates in the frame headers describe a scan of "
            f"{recording.hints[0].shape}, not {shape} (array order).",
            'Pass placement="stored" to arrange the frames as they come.',
        )
    return read(
        recording,
        lazy=lazy,
        chunks=_chunks(chunks, rechunking),
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=own,
    )


def _fits(shape: tuple[int, ...], recording: Recording) -> bool:
    """Whether a shape, -1 standing for any size, is the one that the recording describes."""
    found = recording.hints[0].shape if recording.hints else ()
    return len(shape) == len(found) and all(a in (-1, b) for a, b in zip(shape, found, strict=True))


def _chunks(chunks: Any, rechunking: Any) -> Any:
    """Combine `chunks` with RosettaSciIO's name for it."""
    if rechunking is None or isinstance(rechunking, bool) or rechunking == "auto":
        return chunks
    if not (isinstance(chunks, str) and chunks == "auto"):
        raise TypeError("pass either chunks or rechunking")
    if isinstance(rechunking, Mapping):
        return {axis: -1 if size is None else size for axis, size in rechunking.items()}
    return rechunking


# ---------------------------------------------------------------- writer


def _mode(frames: signals.SignalFrames) -> int | None:
    """Tell images (1) from diffraction (2) by the units, else by the type of the signal."""
    units = frames.sig_axes[0].get("units")
    if signals.converted(1.0, units, "nm") is not None:
        return 1
    if signals.converted(1.0, units, "1/nm") is not None:
        return 2
    kind = str(frames.find("Signal.signal_type", ""))
    return 2 if "diffraction" in kind else None


def _stored_number(value: float, what: str, path: str) -> int:
    """Round to the whole number that a field can hold; warn if that changes the value."""
    number = min(max(round(value), 0), 0xFFFFFFFF)
    if abs(number - value) > 0.01 * abs(value):
        warn(path, f"TVIPS files hold whole numbers: {what} {value:g} is stored as {number}.")
    return number


def _series_record(
    frames: signals.SignalFrames, version: int, before: int, mode: int | None, path: str
) -> npt.NDArray[np.void]:
    """Return the series header for a signal."""
    unit = {1: "nm", 2: "1/nm"}.get(_mode(frames) or 0, "")
    rows, columns = frames.sig_axes

    def calibrated(value: Any) -> float:
        number = float(value) if value is not None else 0.0
        result = signals.converted(number, columns.get("units"), unit) if unit else None
        return number if result is None else result

    if not unit:
        warn(path, f"units {columns.get('units')!r} are no length; the scale is stored as it is.")
    header = np.zeros(1, HEADER)
    header["size"], header["version"] = HEADER.itemsize, version
    header["dimy"], header["dimx"] = frames.frame_shape
    header["bitsperpixel"] = frames.dtype.itemsize * 8
    header["binx"] = header["biny"] = 1
    header["frameheaderbytes"] = before if version == 2 else 0
    header["dummy"] = (b"TVIPS " * 34)[:204]
    header["pixelsize"] = _stored_number(calibrated(columns.get("scale", 1)), "pixel size", path)
    header["offsetx"] = _stored_number(calibrated(columns.get("offset", 0)), "offset x", path)
    header["offsety"] = _stored_number(calibrated(rows.get("offset", 0)), "offset y", path)
    tem = "Acquisition_instrument.TEM."
    header["ht"] = _stored_number(frames.number(tem + "beam_energy"), "beam energy", path)
    total = "camera_length" if mode == 2 else "magnification"
    header["magtotal"] = _stored_number(frames.number(tem + total), total, path)
    return header


def file_writer(
    filename: str | os.PathLike[str],
    signal: Mapping[str, Any],
    max_file_size: int | None = None,
    version: int = 2,
    frame_header_extra_bytes: int = 0,
    mode: int | None = None,
    show_progressbar: bool = True,
    *,
    overwrite: bool = False,
) -> None:
    """Write a signal as a TVIPS series.

    Lazy data are written piece by piece. The files appear under their names when all are complete.

    Parameters
    ----------
    filename : str or path
        ``NAME_000.tvips`` or ``NAME.tvips``; files are named NAME_000.tvips, NAME_001.tvips, ….
    signal : dict
        As RosettaSciIO's writers receive it.
    max_file_size : int, optional
        Approximate largest size of a file in bytes; by default there is one file.
    version : {2, 1}
        Of the format. Version 1 has only times in its frame headers.
    frame_header_extra_bytes : int
        Bytes to pad the frame headers of version 2 with, beyond their 128.
    mode : {None, 1, 2}
        1 for images, 2 for diffraction; by default what units and type of the signal say.
    show_progressbar : bool
        Show progress while lazy data are computed.
    overwrite : bool
        Replace files of these names. The recording that the signal was read from is never replaced.

    Raises
    ------
    ValueError
        The signal cannot be stored in this format.
    FileExistsError
        There are such files, or further files that would become part of the series.
    """
    name = os.fspath(filename)
    frames = signals.SignalFrames.of(signal, "TVIPS")
    if version not in (1, 2):
        raise ValueError(f"version={version!r} is neither 1 nor 2")
    if mode not in (None, 1, 2):
        raise ValueError(f"mode={mode!r} is neither 1 (images) nor 2 (diffraction)")
    dtype = np.dtype("u1") if frames.dtype == bool else frames.dtype
    if dtype.kind != "u":
        raise ValueError(
            f"TVIPS files hold unsigned whole numbers, not {dtype}; change the type of the signal"
        )
    if max(frames.frame_shape) >= _MAX_SIDE:
        raise ValueError(f"frames of {frames.frame_shape} pixels are too large for this format")
    extra = int(frame_header_extra_bytes)
    if extra < 0 or (version == 1 and extra):
        raise ValueError(f"frame_header_extra_bytes={extra} for version {version}")
    if dtype.itemsize > 2:
        warn(name, f"{dtype.itemsize * 8} bits per pixel are known to RosettaSciIO only.")
    before = _WRITTEN + extra if version == 2 else FRAME_V1.itemsize
    mode = mode or _mode(frames) or 2
    header = _series_record(frames, version, before, mode, name)
    record = np.dtype(
        [("header", "u1", (before,)), ("pixels", dtype.newbyteorder("<"), frames.frame_shape)]
    )
    per_file = _frames_per_file(len(frames), record.itemsize, max_file_size, name)
    targets = _targets(name, len(frames), per_file, record.itemsize)
    fields = _frame_fields(frames, mode, name)

    with signals.creating(targets, frames, overwrite=overwrite) as opened:
        opened[0].write(header.tobytes())
        for index, block in frames.slabs(show_progressbar):
            records = np.zeros(len(index), record)
            headers = _frame_headers(fields, index)
            size = min(before, FRAME.itemsize)
            records["header"][:, :size] = headers.view(np.uint8).reshape(len(index), -1)[:, :size]
            records["pixels"] = block
            number = index // per_file
            for a, b in signals.seek_runs(index):
                while a < b:
                    file = int(number[a])
                    stop = min(b, a + (file + 1) * per_file - int(index[a]))
                    start = HEADER.itemsize if file == 0 else 0
                    opened[file].seek(start + (int(index[a]) % per_file) * record.itemsize)
                    opened[file].write(records[a:stop].tobytes())
                    a = stop


def _frames_per_file(count: int, stride: int, limit: int | None, path: str) -> int:
    if limit is None:
        return count
    least = HEADER.itemsize + stride
    if limit < least:
        warn(path, f"a file takes at least {least} bytes, more than max_file_size={limit}.")
    return max(1, (limit - HEADER.itemsize) // stride)


def _targets(name: str, count: int, per_file: int, stride: int) -> dict[str, int]:
    """Name the files of a series, with their sizes; refuse to leave old ones behind it."""
    stem, suffix = os.path.splitext(name)
    stem = re.sub(r"_000$", "", stem)
    paths = [f"{stem}_{i:03d}{suffix}" for i in range(-(-count // per_file))]
    folder = os.path.dirname(name) or "."
    follower = f"{os.path.basename(stem)}_{len(paths):03d}{suffix}".lower()
    for entry in os.listdir(folder) if os.path.isdir(folder) else ():
        if entry.lower() == follower:
            raise FileExistsError(
                f"{os.path.join(folder, entry)} exists and would become part of the series that "
                "is to be written; remove it or choose another name"
            )
    sizes = [min(per_file, count - i * per_file) * stride for i in range(len(paths))]
    sizes[0] += HEADER.itemsize
    return dict(zip(paths, sizes, strict=True))


def _frame_fields(frames: signals.SignalFrames, mode: int, path: str) -> dict[str, Any]:
    """Return what all frame headers share, and the time of the first and of a step."""
    tem = "Acquisition_instrument.TEM."
    begin = signals.start_ns(frames.metadata, path)
    step = None
    if frames.nav_axes:
        fast = frames.nav_axes[-1]
        step = signals.converted(float(fast.get("scale", 1.0)), fast.get("units"), "ms")
    return {
        "begin_ms": max(0, begin // 1_000_000) if begin is not None else 0,
        "step_ms": step if step is not None and step > 0 else 1.0,
        "nav_shape": frames.nav_shape,
        "mode": mode,
        "faraday": frames.number(tem + "beam_current"),
        "stage_alpha": frames.number(tem + "Stage.tilt_alpha"),
        "stage_beta": frames.number(tem + "Stage.tilt_beta"),
        **{f"stage_{a}": frames.number(f"{tem}Stage.{a}") for a in "xyz"},
    }


def _frame_headers(fields: Mapping[str, Any], index: Ints) -> npt.NDArray[np.void]:
    headers: npt.NDArray[np.void] = np.zeros(len(index), FRAME)
    for key, value in fields.items():
        if key in (FRAME.names or ()):
            headers[key] = value
    moments = fields["begin_ms"] + np.rint(index * fields["step_ms"]).astype(np.int64)
    headers["timestamp"], headers["ms"] = np.divmod(moments, 1000)
    headers["counter"] = index + 1
    headers["rotidx"] = index + 1
    if len(fields["nav_shape"]) > 1:
        headers["scan_y"], headers["scan_x"] = np.unravel_index(index, fields["nav_shape"])[-2:]
    return headers
