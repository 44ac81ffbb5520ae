# SPDX-License-Identifier: GPL-3.0-or-later
"""Two files with half a frame each (Celeritas): which belong together, which frames."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rsciio_tem.errors import FormatError
from rsciio_tem.formats.seq.layout import COUNTER_KIND, Half, Ints, Lost, _Problems
from rsciio_tem.formats.seq.sequence import _Sequence, _sequence
from rsciio_tem.formats.seq.sides import _beside, _Metadata, _metadata_file, _whole
from rsciio_tem.frames.combined import Mosaic
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.storage import files

#: ``NAME_Top_HH-MM-SS.mmm``, or without the time.
_HALF = re.compile(
    r"(?P<base>.+)_(?P<half>top|bottom)(?:_(?P<time>\d\d-\d\d-\d\d(?:\.\d+)?))?",
    re.IGNORECASE | re.DOTALL,
)


# ---------------------------------------------------------------- frames in two halves


@dataclass(frozen=True)
class _Halves:
    """The two sequences of a recording in halves."""

    top: str
    bottom: str
    base: str  # what the names of side files begin with


def _seconds(text: str | None) -> float | None:
    if not text:
        return None
    hours, minutes, seconds = text.split("-")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _apart(a: float | None, b: float | None) -> float:
    """Return how far apart two times of day are, in seconds."""
    if a is None or b is None:
        return 0.0 if a is b else 1.0
    distance = abs(a - b) % 86400
    return min(distance, 86400 - distance)


def _named_halves(path: str) -> tuple[str, Half, str | None] | None:
    """Split the name of a half: base, which half, time."""
    stem, suffix = os.path.splitext(os.path.basename(path))
    match = _HALF.fullmatch(stem)
    if match is None or suffix.lower() != ".seq":
        return None
    half: Half = "top" if match["half"].lower() == "top" else "bottom"
    return match["base"], half, match["time"]


def _find_halves(path: str, wanted: bool | None, problems: _Problems) -> _Halves | None:
    """Find the other half of a recording by its name, None if it is no half."""
    named = _named_halves(path)
    if named is None:
        if wanted:
            raise FormatError(
                path,
                "is not named like a half of a recording (NAME_Top_TIME.seq).",
                "Pass the other one as top= or bottom=.",
            )
        return None
    base, half, time = named
    folder = os.path.dirname(path)
    same: list[float | None] = []  # times of the halves of either kind
    others: list[tuple[float, str, float | None]] = []
    for entry in sorted(os.listdir(folder or ".")):
        found = _named_halves(entry)
        if found is None or found[0].lower() != base.lower():
            continue
        moment = _seconds(found[2])
        if found[1] == half:
            same.append(moment)
        else:
            others.append((_apart(moment, _seconds(time)), entry, moment))
    if not others:
        if time is None and not wanted:
            return None  # an ordinary file of this name
        raise FormatError(
            path,
            f"is the {half} half of a recording; the other one is not beside it.",
            "Pass it as top= or bottom=, or celeritas=False for this half as it is stored.",
        )
    distance, entry, moment = min(others, key=lambda other: other[0])
    if any(_apart(moment, other) < distance for other in same):
        raise FormatError(
            path,
            f"is the {half} half of a recording; {entry}, the nearest other half, belongs to "
            "another one.",
            "Pass the right one as top= or bottom=, or celeritas=False for this half alone.",
        )
    if distance > 5:
        problems.warn(
            f"{entry} is taken as the other half, though its time is {distance:g} s apart.",
        )
    other = os.path.join(folder, entry)
    top, bottom = (path, other) if half == "top" else (other, path)
    return _Halves(top, bottom, base)


def _given_halves(path: str, top: Any, bottom: Any) -> _Halves:
    """Take the halves that the caller names."""
    if top is not None and bottom is not None:
        pair = files.existing(top), files.existing(bottom)
    elif top is not None:
        pair = files.existing(top), path
    else:
        pair = path, files.existing(bottom)
    if not any(os.path.samefile(path, half) for half in pair):
        raise FormatError(path, "is neither the top nor the bottom half that is passed with it.")
    if os.path.samefile(*pair):
        raise FormatError(path, "cannot be both halves of a recording.")
    named = _named_halves(pair[0])
    base = named[0] if named else os.path.splitext(os.path.basename(pair[0]))[0]
    return _Halves(*pair, base)


def _frames_per_buffer(
    given: int | None,
    tree: Mapping[str, Any],
    references: list[str],
    buffer: tuple[int, ...],
    path: str,
    problems: _Problems,
) -> int:
    """Return how many half frames an image of a half holds.

    What the caller says wins, then the XML, then the size of dark and gain images, then the
    guess that frames are square.
    """
    rows, columns = buffer
    found: list[tuple[str, int]] = []
    if given is not None:
        found.append(("prebuffer=", int(given)))
    if stated := _whole(tree, "SegmentPreBuffer"):
        found.append(("SegmentPreBuffer in the XML", stated))
    for name in references:
        height = int(np.frombuffer(files.read_start(name, 8).ljust(8, b"\0"), "<i4")[1])
        if height > 1 and 2 * rows % height == 0:
            found.append((f"the size of {os.path.basename(name)}", 2 * rows // height))
    if not found:
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
        found.append(("square frames", 2 * rows // columns))
    (source, number), *others = found
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


def _counters(metadata: _Metadata | None, slots: Ints) -> Ints | None:
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
    problems: _Problems,
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
        shown = ", ".join(map(str, gone[:10].tolist())) + (", …" if len(gone) > 10 else "")
        what = "their frames are blanks" if lost == "blank" else "the others follow each other"
        problems.warn(
            f"{len(gone)} of {last - first + 1} buffers were lost ({shown}); {what}.",
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
    places = np.full((2, last - first + 1), -1, np.int64)
    places[0, common - first], places[1, common - first] = at_top, at_bottom
    return _Pairs(places[0], places[1], summary)


def _frames_of(table: FrameTable, buffers: Ints, each: int) -> FrameTable:
    """Pick the frames of some buffers; -1 for buffers that do not exist."""
    if len(buffers) and buffers[0] >= 0 and (np.diff(buffers) == 1).all():
        first = int(buffers[0]) * each
        return table[first : first + len(buffers) * each]
    index = buffers[:, np.newaxis] * each + np.arange(each)
    return table[np.where(buffers[:, np.newaxis] < 0, -1, index).reshape(-1)]


@dataclass(frozen=True, eq=False)
class _Joined:
    """A recording in halves, put together."""

    frames: Mosaic
    upper: _Sequence
    buffers: FrameTable  # of the top half, for their times
    each: int  # frames in a buffer
    members: list[str | None]  # files
    summary: dict[str, Any]  # what to tell in the metadata


def _joined(
    halves: _Halves,
    own: _Sequence,
    tree: Mapping[str, Any],
    references: list[str],
    all_slots: bool,
    prebuffer: int | None,
    lost: Lost,
    problems: _Problems,
) -> _Joined:
    """Put the frames of two halves together."""
    path = own.file.path
    found: list[_Sequence] = []
    for name in (halves.top, halves.bottom):
        if os.path.samefile(name, path):
            found.append(own)
            continue
        told = _Problems()
        found.append(_sequence(name, all_slots, told))
        problems += [
            replace(p, message=f"{os.path.basename(name)} {p.message}")
            for p in told
            if p.message not in {q.message for q in problems}
        ]
    upper, lower = found
    if upper.pixels != lower.pixels:
        raise FormatError(
            path,
            f"cannot be joined to its other half: images of {upper.pixels.shape} pixels "
            f"({upper.pixels.stored}) above, {lower.pixels.shape} ({lower.pixels.stored}) below.",
            "Pass celeritas=False for this half as it is stored.",
        )
    rows, columns = upper.pixels.shape
    each = _frames_per_buffer(prebuffer, tree, references, (rows, columns), path, problems)
    members: list[str | None] = [halves.top, halves.bottom]
    numbers = []
    for sequence in found:
        name = os.path.basename(sequence.file.path)
        side = _beside(sequence.file.path, (name, os.path.splitext(name)[0]), ".metadata")
        known = _counters(_metadata_file(side, problems), sequence.slots())
        if side is not None and known is None:
            problems.warn(
                f"{os.path.basename(side)} does not number the buffers: whether some were lost "
                "is unknown."
            )
        members.append(side)
        numbers.append(known)
    pairs = _paired((upper.count, lower.count), (numbers[0], numbers[1]), lost, path, problems)
    half = rows // each
    above, below = upper.parts(each), lower.parts(each)
    above = replace(above, pixels=above.pixels.with_flip(True))  # its last row is the uppermost
    frames = Mosaic(
        (_frames_of(above, pairs.top, each), _frames_of(below, pairs.bottom, each)),
        (
            (slice(0, half), slice(0, columns)),
            (slice(half, 2 * half), slice(0, columns)),
        ),
        (2 * half, columns),
        flip_y=False,
    )
    buffers = _frames_of(upper.table(), pairs.top, 1)
    summary = {
        "top": os.path.basename(halves.top),
        "bottom": os.path.basename(halves.bottom),
        "frames_per_buffer": each,
        **pairs.summary,
    }
    return _Joined(frames, upper, buffers, each, members, summary)
