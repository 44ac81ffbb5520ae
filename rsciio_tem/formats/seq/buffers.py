# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that are buffers of many half frames (Celeritas), put together to frames."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from rsciio_tem.errors import FormatError, Problems
from rsciio_tem.formats.seq.camera import Camera
from rsciio_tem.formats.seq.halves import Halves
from rsciio_tem.formats.seq.metadata_file import COUNTER_KIND, MetadataFile, open_metadata
from rsciio_tem.formats.seq.sequence import (
    Sequence,
    frame_times,
    frame_times_at,
    read_sequence,
)
from rsciio_tem.formats.seq.sides import Sides, beside, first_of
from rsciio_tem.frames.combined import Mosaic
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.scan.times import Ints, Times
from rsciio_tem.storage import files

#: What becomes of frames in buffers that were lost.
Lost = Literal["blank", "drop"]


@dataclass(frozen=True, eq=False)
class Images:
    """The frames of a recording, and the images that they are cut from."""

    frames: Frames
    stored: FrameTable  # the images, for their times
    stamp_size: int
    each: int = 1  # frames in an image
    members: tuple[str | None, ...] = ()  # files
    summary: dict[str, Any] = field(default_factory=dict)  # what to tell in the metadata

    def times(self, version: int) -> Times:
        """Return the access to the times of the frames."""
        buffered = self.each > 1
        return Times(
            len(self.frames),
            partial(frame_times, self.stored, self.stamp_size, self.each),
            at=partial(frame_times_at, self.stored, self.stamp_size, self.each),
            # within a buffer there is only one time
            resolution_ns=3600 * 10**9 if buffered else 1000 if version >= 5 else 10**6,
            remote=self.stored.files[0].origin is not None,
            external_trigger=False if buffered else None,
        )


def join(
    halves: Halves,
    opened: Sequence,
    camera: Camera,
    sides: Sides,
    all_slots: bool,
    prebuffer: int | None,
    lost: Lost,
    problems: Problems,
) -> Images:
    """Put the frames of two halves together; one of them was opened already."""
    path = opened.file.path
    upper, lower = (
        _half(name, opened, all_slots, problems) for name in (halves.top, halves.bottom)
    )
    if upper.pixels != lower.pixels:
        raise FormatError(
            path,
            f"cannot be joined to its other half: images of {upper.pixels.shape} pixels "
            f"({upper.pixels.stored}) above, {lower.pixels.shape} ({lower.pixels.stored}) below.",
            "Pass celeritas=False for this half as it is stored.",
        )
    rows, columns = upper.pixels.shape
    each = _frames_per_buffer(prebuffer, camera, sides, (rows, columns), path, problems)
    (top_side, at_top), (bottom_side, at_bottom) = (_numbers(s, problems) for s in (upper, lower))
    pairs = _paired((upper.count, lower.count), (at_top, at_bottom), lost, path, problems)
    half = rows // each
    above, below = upper.parts(each), lower.parts(each)
    above = replace(above, pixels=above.pixels.with_flip(True))  # its last row is the uppermost
    frames = Mosaic(
        (_frames_of(above, pairs.top, each), _frames_of(below, pairs.bottom, each)),
        ((slice(0, half), slice(0, columns)), (slice(half, 2 * half), slice(0, columns))),
        (2 * half, columns),
        flip_y=False,
    )
    summary = {
        "top": os.path.basename(halves.top),
        "bottom": os.path.basename(halves.bottom),
        "frames_per_buffer": each,
        **pairs.summary,
    }
    buffers = _frames_of(upper.table(), pairs.top, 1)
    members = halves.top, halves.bottom, top_side, bottom_side
    return Images(frames, buffers, upper.stamp_size, each, members, summary)


def _half(name: str, opened: Sequence, all_slots: bool, problems: Problems) -> Sequence:
    """Describe a half; what is odd with it is told with its name, but not twice."""
    if files.same_file(name, opened.file.path):
        return opened
    own_problems = Problems()
    sequence = read_sequence(name, all_slots, own_problems)
    messages = {problem.message for problem in problems}
    problems += [
        replace(p, message=f"{os.path.basename(name)} {p.message}")
        for p in own_problems
        if p.message not in messages
    ]
    return sequence


def _numbers(sequence: Sequence, problems: Problems) -> tuple[str | None, Ints | None]:
    """Return the .metadata beside a half, and the numbers of its buffers."""
    path = sequence.file.path
    side = beside(path, os.path.basename(path), ".metadata")
    numbers = _counters(open_metadata(side, problems), sequence.slots())
    if side is not None and numbers is None:
        problems.warn(
            f"{os.path.basename(side)} does not number the buffers: whether some were lost "
            "is unknown."
        )
    return side, numbers


def _frames_per_buffer(
    prebuffer: int | None,
    camera: Camera,
    sides: Sides,
    buffer: tuple[int, ...],
    path: str,
    problems: Problems,
) -> int:
    """Return how many half frames an image of a half holds.

    What the caller says wins, then the XML, then the size of dark and gain images, then the
    guess that frames are square.
    """
    rows, columns = buffer
    claims: list[tuple[str, int]] = []
    if prebuffer is not None:
        claims.append(("prebuffer=", int(prebuffer)))
    if stated := camera.whole("SegmentPreBuffer"):
        claims.append(("SegmentPreBuffer in the XML", stated))
    for name in filter(None, (sides.dark, sides.gain)):
        height = int(np.frombuffer(files.read_start(name, 8).ljust(8, b"\0"), "<i4")[1])
        if height > 1 and 2 * rows % height == 0:
            claims.append((f"the size of {os.path.basename(name)}", 2 * rows // height))
    if not claims:
        if 2 * rows % columns:
            raise FormatError(
                path,
                f"holds buffers of {rows} rows and {columns} columns, and nothing says how many "
                "half frames these are.",
                "Pass prebuffer=, the number of frames in a buffer.",
            )
        problems.warn(
            f"nothing says how many half frames a buffer of {rows} rows holds; "
            f"{2 * rows // columns} are assumed, so that frames are square.",
            "Pass prebuffer= if they are not.",
        )
        claims.append(("square frames", 2 * rows // columns))
    (source, number), *others = claims
    if number < 1 or rows % number:
        raise FormatError(
            path,
            f"holds buffers of {rows} rows, which are not {number} half frames ({source}).",
            "Pass prebuffer=, the number of frames in a buffer.",
        )
    for other, value in others:
        if value != number:
            problems.warn(
                f"{source} says {number} frames per buffer, {other} {value}; {number} is used.",
            )
    return number


def _counters(metadata: MetadataFile | None, slots: Ints) -> Ints | None:
    """Return the number of each buffer, None if they are not known.

    They rise by one from buffer to buffer unless buffers were lost, so few need to be read.
    """
    if metadata is None:
        return None

    def number(i: int) -> int:
        content = metadata.entry(int(slots[i]), COUNTER_KIND, 8)
        return -1 if content is None else int.from_bytes(content, "little", signed=True)

    return _rising(number, len(slots))


def _rising(value: Callable[[int], int], count: int) -> Ints | None:
    """Return count values that rise by one or more each, reading only where they jump.

    None if they do not rise, or are negative.
    """
    first, last = value(0), value(count - 1)
    if first < 0 or last - first > 16 * count + 1024:
        return None
    result = np.empty(count, np.int64)
    todo = [(0, first, count - 1, last)]
    while todo:
        a, low, b, high = todo.pop()
        if low < 0 or high < 0 or high - low < b - a:
            return None
        if high - low == b - a:
            result[a : b + 1] = np.arange(low, high + 1)
        elif b - a == 1:
            result[a], result[b] = low, high
        else:
            middle = (a + b) // 2
            between = value(middle)
            todo += [(a, low, middle, between), (middle, between, b, high)]
    return result


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Which buffers of the two halves belong together; -1 where one of them was lost."""

    top: Ints
    bottom: Ints
    summary: dict[str, Any]


def _paired(
    counts: tuple[int, int],
    counters: tuple[Ints | None, Ints | None],
    lost: Lost,
    path: str,
    problems: Problems,
) -> _Pairs:
    """Put the buffers of the halves together by their numbers, or else in their order."""
    top, bottom = counters
    if top is None or bottom is None:
        n = min(counts)
        if counts[0] != counts[1]:
            problems.warn(
                f"the halves hold {counts[0]} (top) and {counts[1]} (bottom) buffers, and "
                f"nothing numbers them: the first {n} are put together in their order.",
            )
        order = np.arange(n, dtype=np.int64)
        return _Pairs(order, order, {"numbered": False, "buffers": n, "lost_buffers": []})
    common, at_top, at_bottom = np.intersect1d(top, bottom, return_indices=True)
    if not len(common):
        raise FormatError(
            path,
            f"has buffers {top[0]} to {top[-1]} in its top half, {bottom[0]} to {bottom[-1]} in "
            "the other: none in both.",
            "Pass the halves that belong together as top= and bottom=.",
        )
    first, last = int(common[0]), int(common[-1])
    if outside := sum(int(((n < first) | (n > last)).sum()) for n in (top, bottom)):
        problems.warn(
            f"of {outside} buffers at the beginning or end only one half was stored; they are left "
            f"out (the halves hold {counts[0]} and {counts[1]} buffers).",
        )
    gone = np.setdiff1d(np.arange(first, last + 1), common)
    if len(gone):
        what = "their frames are blanks" if lost == "blank" else "the others follow each other"
        problems.warn(
            f"{len(gone)} of {last - first + 1} buffers were lost "
            f"({first_of(gone.tolist())}); {what}.",
            'Pass lost="drop" to leave them out.' if lost == "blank" else "",
        )
    summary = {
        "numbered": True,
        "buffers": len(common),
        "first_buffer": first,
        "last_buffer": last,
        "lost_buffers": gone[:1000].tolist(),
    }
    if lost == "drop" or not len(gone):
        return _Pairs(at_top.astype(np.int64), at_bottom.astype(np.int64), summary)
    slots = np.full((2, last - first + 1), -1, np.int64)
    slots[0, common - first], slots[1, common - first] = at_top, at_bottom
    return _Pairs(slots[0], slots[1], summary)


def _frames_of(table: FrameTable, buffers: Ints, each: int) -> FrameTable:
    """Pick the frames of some buffers; -1 for buffers that do not exist."""
    if len(buffers) and buffers[0] >= 0 and (np.diff(buffers) == 1).all():
        first = int(buffers[0]) * each
        return table[first : first + len(buffers) * each]
    index = buffers[:, np.newaxis] * each + np.arange(each)
    return table[np.where(buffers[:, np.newaxis] < 0, -1, index).reshape(-1)]
