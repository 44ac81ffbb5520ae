# SPDX-License-Identifier: GPL-3.0-or-later
"""The elements of a series: where they are, what kind they have."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Problems, Truncated
from rsciio_tem.formats.ser.header import HEADER, TYPES, Header, Ints, read_header
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.scan.frame_headers import read_headers, sampled
from rsciio_tem.scan.times import FrameTimes, Times
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import DataFile

#: Elements up to which all their headers are read; beyond, so many if the elements lie evenly.
READ_ALL_BELOW, SAMPLED_HEADERS = 4096, 256
#: Kinds of elements of a series at most.
_MAX_KINDS = 16

# ---------------------------------------------------------------- the table


class Series(NamedTuple):
    """A series, and where its elements and their tags begin."""

    file: DataFile
    header: Header
    offsets: Ints
    tags: Ints


def read_series(path: str, problems: Problems) -> Series:
    """Read header and table of a series.

    The table has an entry for each element that was asked for, then as many for the tags.
    """
    header, file = read_header(path, problems), DataFile.of(path)
    total, valid, start = (
        header.values[name]
        for name in ("TotalNumberElements", "ValidNumberElements", "OffsetArrayOffset")
    )
    if not valid:
        raise FormatError(
            path,
            "holds no element.",
            "The data of a single spectrum or point are in the .emi, which cannot be read.",
        )
    if valid > total:
        raise FormatError(path, f"has a damaged header: {valid} of {total} elements recorded.")
    size = header.entry.itemsize
    if start < HEADER.itemsize or start + valid * size > file.size:
        raise Truncated(
            path,
            f"ends at byte {file.size}, inside or before the table of its {valid} elements at "
            f"byte {start}.",
        )

    def entries(at: int) -> Ints:
        if at + valid * size > file.size:
            return np.empty(0, np.int64)
        stored = np.frombuffer(backends.read(file, at, valid * size, "buffered"), header.entry)
        limited: Ints = np.minimum(stored, np.uint64(2**62)).astype(np.int64)
        return limited

    return Series(file, header, entries(start), entries(start + total * size))


def _evenly(offsets: Ints) -> npt.NDArray[np.void]:
    """Make runs of what lies evenly spaced."""
    steps = np.diff(offsets)
    strides, counts = np.unique(steps[steps > 0], return_counts=True)
    stride = int(strides[np.argmax(counts)]) if len(strides) else 0
    first = np.array([0, *(np.flatnonzero(steps != stride) + 1).tolist()])
    runs = runs_of([(0, 0, stride, 0)] * len(first))
    runs["start"], runs["count"] = offsets[first], np.diff([*first.tolist(), len(offsets)])
    return runs


def read_records(file: DataFile, offsets: Ints, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """Read small records; those that are not in the file are zeros."""
    out = np.zeros((len(offsets), dtype.itemsize), np.uint8)
    inside = np.flatnonzero(_inside(file, offsets, dtype.itemsize))
    if len(inside):
        table = FrameTable((file,), _evenly(offsets[inside]), Pixels((1,), np.dtype(np.uint8)))
        out[inside] = read_headers(table, 0, len(inside), 0, dtype.itemsize)
    return out.view(dtype)[:, 0]


def _inside(file: DataFile, offsets: Ints, size: int) -> npt.NDArray[np.bool_]:
    inside: npt.NDArray[np.bool_] = (offsets >= HEADER.itemsize) & (offsets + size <= file.size)
    return inside


# ---------------------------------------------------------------- kinds


class Elements(NamedTuple):
    """The elements of a series that are all of one kind."""

    numbers: Ints
    offsets: Ints
    stored: npt.NDArray[np.bool_]
    heads: npt.NDArray[np.void]  # of all, or of the first one
    pixels: Pixels
    alone: bool  # the series has no other kind
    tags: npt.NDArray[np.void] | None = None  # of all, where they were read with the headers

    @property
    def positions(self) -> Ints:
        """Where they belong; one that is not in the file leaves its position blank."""
        return self.numbers if self.alone else np.arange(len(self.numbers))

    @property
    def length(self) -> int:
        """Number of positions; what was cut off comes last and has none."""
        return int(self.positions[self.stored][-1]) + 1

    def spread(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Put the values of elements, if there are any, at their positions, zeros at the others."""
        if not len(values):
            return values
        out, positions = np.zeros(self.length, values.dtype), self.positions
        out[positions[positions < self.length]] = values[positions < self.length]
        return out


def kinds_of(series: Series, problems: Problems) -> list[Elements]:
    """Look at the headers of elements, and sort the elements by type and size."""
    file, header, offsets, _ = series
    size = header.element.itemsize
    numbers = np.flatnonzero(_inside(file, offsets, size))
    if not len(numbers):
        raise Truncated(
            file.path, f"ends at byte {file.size}, before the first of its elements does."
        )
    heads, tags = _heads(series, numbers)
    kinds, firsts, which = np.unique(heads[header.decisive], return_index=True, return_inverse=True)
    if len(kinds) > _MAX_KINDS:
        raise FormatError(
            file.path,
            f"has a damaged table: its elements would be of {len(kinds)} types and sizes.",
        )
    groups = []
    for k in np.argsort(firsts):
        try:
            pixels = _pixels(file, header, kinds[k], int(numbers[firsts[k]]))
        except FormatError:
            if len(kinds) == 1:
                raise
            continue  # told as lost below; if nothing is left, as an error
        alike = which.reshape(-1) == k
        members = numbers[alike] if len(heads) == len(numbers) else numbers
        stored = _inside(file, offsets[members], size + pixels.nbytes)
        groups.append(Elements(members, offsets[members], stored, heads[alike], pixels, False))
    _check_stored(series, groups, problems)
    return groups if len(groups) > 1 else [groups[0]._replace(alone=True, tags=tags)]


def _heads(
    series: Series, numbers: Ints
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void] | None]:
    """Read the headers of elements; and the tags, where each lies just before the next header.

    Those of a large series that lie evenly are only sampled: if they are of one kind, the header of
    the first one is returned.
    """
    file, header, offsets, _ = series
    if len(offsets) > READ_ALL_BELOW and not np.ptp(np.diff(offsets[numbers])):
        some = numbers[sampled(len(numbers), SAMPLED_HEADERS)]
        heads = read_records(file, offsets[some], header.element)
        if (heads[header.decisive] == heads[header.decisive][0]).all():
            return heads[:1], None
    starts, tags = offsets[numbers], series.tags
    size = header.tag.itemsize
    near = len(tags) == len(numbers) > 1 and (tags[:-1] + size == starts[1:]).all()
    if near and tags.min() >= HEADER.itemsize:
        pair = np.dtype([("tag", header.tag), ("element", header.element)])
        pairs = read_records(file, starts[1:] - size, pair)
        first = read_records(file, starts[:1], header.element)
        last = read_records(file, tags[-1:], header.tag)
        heads = np.concatenate([first, pairs["element"]])
        return heads, np.concatenate([pairs["tag"], last])
    return read_records(file, starts, header.element), None


def _check_stored(series: Series, groups: list[Elements], problems: Problems) -> None:
    """Tell elements that cannot be read; raise if there are no others, or if they overlap."""
    path, size = series.file.path, series.file.size
    if not any(group.stored.any() for group in groups):
        raise Truncated(path, f"ends at byte {size}, inside the first of its elements.")
    head = series.header.element.itemsize
    starts = np.concatenate([g.offsets[g.stored] for g in groups])
    ends = np.concatenate([g.offsets[g.stored] + head + g.pixels.nbytes for g in groups])
    whole = np.concatenate([g.numbers[g.stored] for g in groups])
    by_start = np.argsort(starts)
    if (starts[by_start][1:] < ends[by_start][:-1]).any():
        raise FormatError(path, "has a damaged table: elements overlap.")
    count = len(series.offsets)
    if len(whole) < count:
        lost = np.setdiff1d(np.arange(count), whole)
        problems.warn(
            f"{len(lost)} of {count} elements, the first of them number {lost[0]}, cannot be "
            "read: the file was cut off, or is damaged there."
        )


def _pixels(file: DataFile, header: Header, kind: np.void, number: int) -> Pixels:
    code, *sizes = (int(kind[name]) for name in kind.dtype.names or ())
    shown = " x ".join(map(str, sizes))
    if code not in TYPES or 0 in sizes:
        raise FormatError(
            file.path,
            f"element {number} has {shown} values of type {code}; there are types 1 to "
            f"{len(TYPES)}. Its header or the table of elements is damaged.",
        )
    stored = np.dtype(TYPES[code]).newbyteorder("<")
    if math.prod(sizes) * stored.itemsize > file.size:
        raise Truncated(
            file.path,
            f"has {file.size} bytes, fewer than the {shown} values of its element {number} take.",
        )
    # columns come before rows in the file, and the bottom row is stored first
    return Pixels(tuple(reversed(sizes)), stored, flip_y=not header.spectral)


# ---------------------------------------------------------------- what is read of them


def frames_of(series: Series, group: Elements) -> FrameTable:
    """Return the frames of elements, blanks for those that are not in the file."""
    starts = group.offsets[group.stored] + series.header.element.itemsize
    frames = FrameTable((series.file,), _evenly(starts), group.pixels)
    if len(starts) == group.length:
        return frames
    order = np.full(group.length, -1, np.int64)
    order[group.positions[group.stored]] = np.arange(len(starts))
    return frames[order]


def tag_offsets(series: Series, group: Elements) -> Ints:
    """Return where the tags of elements are: as the table says, or else behind their data."""
    file, header, _, tags = series
    behind = group.offsets + header.element.itemsize + group.pixels.nbytes
    for offsets in (tags[group.numbers] if len(tags) else tags, behind):
        first = read_records(file, offsets[:1], header.tag)
        if len(first) and first["TagTypeID"][0] == header.values["TagTypeID"]:
            return offsets
    return tags[:0]


def times_of(series: Series, offsets: Ints) -> Times | None:
    """Return access to the times in the tags at these bytes."""
    if not len(offsets):
        return None
    where = series.file, offsets, series.header.tag
    return Times(
        len(offsets),
        functools.partial(_read_times, *where),
        resolution_ns=10**9,
        at=functools.partial(_read_times_at, *where),
    )


def _read_times(
    file: DataFile, tags: Ints, dtype: np.dtype[np.void], first: int, last: int
) -> FrameTimes:
    return _read_times_at(file, tags[first:last], dtype, slice(None))


def _read_times_at(
    file: DataFile, tags: Ints, dtype: np.dtype[np.void], index: slice | Ints
) -> FrameTimes:
    seconds = read_records(file, tags[index], dtype)["Time"].astype(np.int64)
    nothing = np.full(len(seconds), -1, np.int64)
    return FrameTimes(np.where(seconds > 0, seconds * 10**9, -1), nothing)
