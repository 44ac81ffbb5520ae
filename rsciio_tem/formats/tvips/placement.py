# SPDX-License-Identifier: GPL-3.0-or-later
"""Where frames belong, from scan coordinates, rotator and counters."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Problem, Problems
from rsciio_tem.formats.tvips.header import (
    LARGEST_SIDE,
    ROTATOR_END,
    SCAN_END,
    Ints,
    frame_headers,
    read_frame_headers,
    read_frame_headers_at,
)
from rsciio_tem.frames.table import FrameTable, Labels
from rsciio_tem.scan.frame_headers import sampled
from rsciio_tem.scan.mapping import frames_at_positions
from rsciio_tem.storage.backends import DataFile

#: Frames up to which every header is read: on a disk, and on a server, where each is a request.
READ_ALL_BELOW, READ_ALL_BELOW_REMOTE = 4096, 1024

#: Headers at the beginning of longer recordings that are read, and where the rest is checked.
READ_FIRST, SAMPLED_HEADERS = 1024, 512


@dataclass(frozen=True)
class Arrangement:
    """Frames of a scan, put where their counters say."""

    shape: tuple[int, ...]
    index: Ints | slice  # position, or what there is of it, to stored frame
    reason: str
    counted: dict[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    labels: Labels | None = None  # headers that were not looked at

    def of(self, frames: FrameTable) -> FrameTable:
        """Return the frames in their places."""
        return replace(frames[self.index], labels=self.labels)


@dataclass(frozen=True)
class _Coordinates:
    """What headers between the sampled ones must say: frames follow each other in lines."""

    files: tuple[DataFile, ...]
    runs: dict[int, tuple[int, int, int]]  # of a file: its first header, stride, number of frame
    start: int  # frame of the first position
    width: int

    def __call__(self, file: int, places: Ints, raw: npt.NDArray[np.uint8]) -> None:
        """Raise FormatError if a frame is of another position."""
        first, stride, number = self.runs[file]
        index = (places - first) // stride + number
        _, y, x = _coordinates(frame_headers(raw))
        line, column = np.divmod(index - self.start, self.width)
        wrong = np.flatnonzero((y != line) | (x != column))
        if len(wrong):
            at = wrong[0]
            raise FormatError(
                self.files[file].path,
                f"frame {index[at]} has the scan coordinates x = {x[at]}, y = {y[at]}, and not "
                f"{column[at]}, {line[at]}. When it was opened, only some of its headers were "
                "looked at, where frames simply follow each other.",
                'Pass placement="scan" to put all frames where their headers say, or '
                'placement="stored" to take them as they come.',
            )


def _whole(values: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Whether values are scan coordinates: whole numbers from 0 on."""
    whole = (values >= 0) & (values < LARGEST_SIDE)  # neither NaN nor infinite
    with np.errstate(invalid="ignore"):  # NaN of either kind
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
) -> Arrangement | None:
    """Place frames by their scan coordinates; None if these describe no scan."""
    changes_y, changes_x = np.count_nonzero(np.diff(y)), np.count_nonzero(np.diff(x))
    if changes_x + changes_y == 0:
        return None
    along_y = changes_y > changes_x  # the scan runs along columns
    slow, fast = (x, y) if along_y else (y, x)
    single = slow.min() == slow.max()  # a single line, maybe recorded again and again
    parts = _parts(fast, slow) if single else _parts(slow, fast)

    def extent(a: int, b: int) -> tuple[int, int, int, int, int]:
        covered = len(np.unique(y[a:b] * LARGEST_SIDE + x[a:b]))
        low, high = (y[a:b].min(), x[a:b].min()), (y[a:b].max(), x[a:b].max())
        return covered, int(low[0]), int(low[1]), int(high[0]), int(high[1])

    extents = [extent(a, b) for a, b in parts]
    covered, y0, x0, y1, x1 = max(extents, key=lambda e: e[0])
    ny, nx = y1 - y0 + 1, x1 - x0 + 1
    if covered < 2 or ny * nx > 16 * covered:
        return None
    # scans of the same area that were completed too
    alike = [p for p, e in zip(parts, extents, strict=True) if e == (covered, y0, x0, y1, x1)]
    scans = alike if covered == ny * nx else alike[:1]
    index = np.concatenate(
        [
            frames_at_positions((y[a:b] - y0) * nx + x[a:b] - x0, stored[a:b], ny * nx, keep)
            for a, b in scans
        ]
    )
    if len(scans) == 1:  # what is missing at the end is for the scan shape to decide
        index = index[: int(np.flatnonzero(index >= 0)[-1]) + 1]
    inside = sum(b - a for a, b in scans)
    blanks, used = int((index < 0).sum()), int((index >= 0).sum())
    begin, end = scans[0][0], scans[-1][1]
    problems = Problems()
    if blanks:
        problems.warn(
            f"{blanks} of {len(index)} scan positions {(ny, nx)} have no frame by the scan "
            "coordinates in the frame headers; they are filled."
        )
    if repeated := inside - used:
        problems.warn(
            f"{repeated} frames were recorded at a scan position that had one already; the "
            f"{keep} of each is used.",
            'placement="stored" returns all frames.',
        )
    others = [e[0] for p, e in zip(parts, extents, strict=True) if p not in scans and e[0] > 1]
    if others:
        problems.warn(
            f"{sum(others)} frames belong to {len(others)} further scans that are not complete "
            "or of another area; they are left out.",
            'placement="stored" returns all frames.',
        )
    shape = (ny, nx) if ny > 1 else (nx,)
    shape = (len(scans), *shape) if len(scans) > 1 else shape
    first, last = int(stored[begin]), int(stored[end - 1])
    return Arrangement(
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


def _regular(frames: FrameTable, before: int) -> Arrangement | None:
    """Recognise a scan whose frames simply follow each other, from a part of its headers.

    The beginning is looked at frame by frame, the rest at `SAMPLED_HEADERS` places, so that opening
    does not take longer for longer recordings.
    """
    count = len(frames)
    valid, y, x = _coordinates(read_frame_headers(frames, before, 0, min(count, READ_FIRST)))
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
        _, y, x = _coordinates(read_frame_headers_at(frames, before, index))
        return fits(index, y, x)

    if width < 2 or not fits(np.arange(start, len(y)), y[start:], x[start:]).all():
        return None
    places = np.unique(np.linspace(len(y) - 1, count - 1, SAMPLED_HEADERS).astype(np.int64))
    good = agrees(places)
    ends = int(np.argmin(good)) if not good.all() else len(good)
    if good[ends:].any():
        return None
    end = count
    if ends < len(good):  # the scan is over before the recording is: find where
        low, high = int(places[ends - 1]), int(places[ends])
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if agrees(np.array([middle]))[0] else (low, middle)
        end = high
        _, y, x = _coordinates(
            read_frame_headers_at(frames, before, np.array([end, *places[ends:]]))
        )
        if (y != y[0]).any() or (x != x[0]).any():
            return None  # not waiting: something else happens there
    lines = -(-(end - start) // width)
    begins = np.cumsum([0, *frames.runs["count"]])
    runs = {
        file: (first - before, stride, int(number))
        for (file, first, stride, _), number in zip(frames.runs.tolist(), begins[:-1], strict=True)
    }
    labels = Labels(before, SCAN_END, _Coordinates(frames.files, runs, start, width))
    return Arrangement(
        (lines, width),
        slice(start, end),
        f"scan coordinates in the frame headers, frames {start} to {end - 1} "
        f"(checked at {len(np.union1d(np.arange(READ_FIRST), places))} of {count} frames)",
        {
            "counter": "scan coordinates",
            "first_frame": start,
            "last_frame": end - 1,
            "origin": [0, 0],
            "repeated": 0,
            "blank": 0,
        },
        labels=labels,
    )


def by_scan(
    frames: FrameTable, before: int, keep: Literal["first", "last"], every: bool
) -> Arrangement | None:
    """Place frames by their scan coordinates; None if these describe no scan.

    Long recordings whose frames simply follow each other are only sampled, unless `every` header
    is wanted.
    """
    if before < SCAN_END:
        return None
    count = len(frames)
    on_server = frames.files[0].origin is not None
    if count > (READ_ALL_BELOW_REMOTE if on_server else READ_ALL_BELOW) and not every:
        if (regular := _regular(frames, before)) is not None:
            return regular
        some = sampled(count, SAMPLED_HEADERS)
        some = np.union1d(some, np.arange(64))
        valid, y, x = _coordinates(read_frame_headers_at(frames, before, some))
        y, x = y[valid], x[valid]
        if not len(y) or (y.min() == y.max() and x.min() == x.max()):
            return None
    headers = read_frame_headers(frames, before, 0, count)
    valid, y, x = _coordinates(headers)
    stored = np.flatnonzero(valid)
    if len(stored) < 2:
        return None
    scan = _by_coordinates(stored, y[valid], x[valid], keep)
    return None if scan is None else replace(scan, index=_straight(np.asarray(scan.index)))


def _one_rotation(frames: FrameTable, before: int, path: str) -> tuple[Ints, Ints]:
    """Return the rotator index of the frames of the longest scan, and which frames these are."""
    nothing = FormatError(
        path,
        "the rotator index in the frame headers does not count scan positions.",
        "Pass navigation_shape=(x, y).",
    )
    if before < ROTATOR_END:
        raise nothing
    rotator = read_frame_headers(frames, before, 0, len(frames))["rotidx"].astype(np.int64)
    stored = np.flatnonzero(rotator > 0)  # 0: no scan at that time
    rotator = rotator[stored]
    if len(stored) < 2 or rotator.min() == rotator.max():
        raise nothing
    # the index starts over with each scan, and falls back after it
    parts = _parts(rotator, np.zeros_like(rotator))
    begin, end = max(parts, key=lambda p: len(np.unique(rotator[p[0] : p[1]])))
    return rotator[begin:end], stored[begin:end]


def _shape_for(total: int, shape: tuple[int, ...] | None, path: str) -> tuple[int, ...]:
    """Return the scan shape: a square, or that of the caller with -1 filled in."""
    if shape is None:
        side = math.isqrt(total)
        if side * side != total:
            raise FormatError(
                path,
                f"the rotator index counts {total} scan positions, which is not a square scan.",
                "Pass placement='rotator' with scan_shape=(y, x), of which one may be -1.",
            )
        return side, side
    shape = tuple(int(n) for n in shape)
    if any(n == 0 or n < -1 for n in shape) or shape.count(-1) > 1:
        raise FormatError(path, f"{shape} is not a scan shape.")
    if -1 in shape:
        others = math.prod(n for n in shape if n != -1)
        shape = tuple(-(-total // others) if n == -1 else n for n in shape)
    return shape


def by_rotator(
    frames: FrameTable,
    before: int,
    shape: tuple[int, ...] | None,
    keep: Literal["first", "last"],
    previous: bool,
    path: str,
) -> Arrangement:
    """Place frames by their rotator index.

    Raises
    ------
    FormatError
        The rotator does not count, or the shape of the scan remains unknown.
    """
    rotator, stored = _one_rotation(frames, before, path)
    total = int(rotator[-1])
    problems = Problems()
    shape = _shape_for(total, shape, path)
    size = math.prod(shape)
    if size > 16 * len(frames) + 1024:
        raise FormatError(path, f"{len(frames)} frames are too few for the scan shape {shape}.")
    positions = rotator - 1
    if total > size and rotator[0] > 1 and total - rotator[0] < size:
        problems.warn(
            f"the rotator index counts from {rotator[0]}, which is taken as the first position"
        )
        positions = rotator - rotator[0]
    inside = positions < size
    if outside := int((~inside).sum()):
        problems.warn(
            f"the rotator index counts {total} positions, the scan shape {shape} has {size}; "
            f"{outside} frames are left out."
        )
    positions, stored = positions[inside], stored[inside]
    if not len(stored):
        raise FormatError(
            path, f"the rotator index counts to {total}, beyond the scan shape {shape}."
        )
    # what is missing at the end is for the scan shape to decide
    index = frames_at_positions(positions, stored, int(positions.max()) + 1, keep)
    blanks = int((index < 0).sum())
    repeated = len(stored) - (len(index) - blanks)
    if blanks and previous:
        index = _repeated(index, positions, stored)
    if repeated:
        message = f"{repeated} frames repeat a rotator index; the {keep} of each is used."
        problems.append(Problem("info", message))
    if blanks:
        what = "repeat the frame before" if previous else "are filled"
        problems.warn(
            f"{blanks} of {size} scan positions {shape} have no frame by the rotator index; "
            f"they {what}."
        )
    return Arrangement(
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
