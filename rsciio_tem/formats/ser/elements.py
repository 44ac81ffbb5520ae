# SPDX-License-Identifier: GPL-3.0-or-later
"""The elements of a series: where they are, what kind they have."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Problem, Truncated
from rsciio_tem.formats.ser.layout import _MAX_KINDS, HEADER, TYPES, Header, Ints
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.scan.frame_headers import read_headers
from rsciio_tem.scan.times import FrameTimes
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import DataFile

#: Elements up to which all their headers are read; beyond, so many if the elements lie evenly.
_ALL, _SAMPLES = 4096, 256


def _table(path: str, file: DataFile, header: Header) -> tuple[Ints, Ints]:
    """Read where elements and their tags begin.

    The table has an entry for each element that was asked for, then as many for the tags.
    """
    total, valid, place = (
        header.values[name]
        for name in ("TotalNumberElements", "ValidNumberElements", "OffsetArrayOffset")
    )
    if not valid:
        raise FormatError(
            path,
            "holds no element.",
            "The data of a single spectrum or point are in the .emi, where nobody can read them.",
        )
    if valid > total:
        raise FormatError(path, f"has a damaged header: {valid} of {total} elements recorded.")
    size = header.entry.itemsize
    if place < HEADER.itemsize or place + valid * size > file.size:
        raise Truncated(
            path,
            f"ends at byte {file.size}, inside or before the table of its {valid} elements at "
            f"byte {place}.",
        )

    def entries(begin: int) -> Ints:
        if begin + valid * size > file.size:
            return np.empty(0, np.int64)
        found = np.frombuffer(backends.read(file, begin, valid * size, "buffered"), header.entry)
        limited: Ints = np.minimum(found, np.uint64(2**62)).astype(np.int64)
        return limited

    return entries(place), entries(place + total * size)


def _runs(offsets: Ints) -> npt.NDArray[np.void]:
    """Make runs of what lies evenly spaced."""
    steps = np.diff(offsets)
    known, counts = np.unique(steps[steps > 0], return_counts=True)
    stride = int(known[np.argmax(counts)]) if len(known) else 0
    first = np.array([0, *(np.flatnonzero(steps != stride) + 1).tolist()])
    runs = runs_of([(0, 0, stride, 0)] * len(first))
    runs["start"], runs["count"] = offsets[first], np.diff([*first.tolist(), len(offsets)])
    return runs


def _records(file: DataFile, offsets: Ints, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """Read small records; those that are not in the file are zeros."""
    out = np.zeros((len(offsets), dtype.itemsize), np.uint8)
    inside = np.flatnonzero(_inside(file, offsets, dtype.itemsize))
    if len(inside):
        table = FrameTable((file,), _runs(offsets[inside]), Pixels((1,), np.dtype(np.uint8)))
        out[inside] = read_headers(table, 0, len(inside), 0, dtype.itemsize)
    return out.view(dtype)[:, 0]


def _inside(file: DataFile, offsets: Ints, size: int | npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (offsets >= HEADER.itemsize) & (offsets + size <= file.size)
    return found


class Elements(NamedTuple):
    """The elements of a series that are all of one kind."""

    numbers: Ints
    offsets: Ints
    stored: npt.NDArray[np.bool_]
    heads: npt.NDArray[np.void]  # of all, or of the first one
    pixels: Pixels


def _kinds(
    path: str, file: DataFile, header: Header, offsets: Ints, problems: list[Problem]
) -> list[Elements]:
    """Look at the headers of elements, and sort the elements by type and size.

    Elements of a large series that lie evenly are only sampled.
    """
    dtype, count = header.element, len(offsets)
    known = _inside(file, offsets, dtype.itemsize)
    if not known.any():
        raise Truncated(path, f"ends at byte {file.size}, before the first of its elements does.")
    numbers = np.flatnonzero(known)
    sampled = count > _ALL and not np.ptp(np.diff(offsets[numbers]))
    look = numbers
    if sampled:
        look = np.unique(numbers[np.linspace(0, len(numbers) - 1, _SAMPLES).astype(np.int64)])
    heads = _records(file, offsets[look], dtype)
    decisive = [n for n in dtype.names or () if n == "DataType" or n.startswith("Array")]
    if sampled and (heads[decisive] != heads[decisive][0]).any():
        sampled, look = False, numbers
        heads = _records(file, offsets[look], dtype)
    kinds, firsts, which = np.unique(heads[decisive], return_index=True, return_inverse=True)
    if len(kinds) > _MAX_KINDS:
        raise FormatError(
            path, f"has a damaged table: its elements would be of {len(kinds)} types and sizes."
        )
    groups = []
    for k in np.argsort(firsts):
        try:
            pixels = _pixels(path, file.size, header, kinds[k], int(look[firsts[k]]))
        except FormatError:
            if len(kinds) == 1:
                raise
            continue  # told as lost below; if nothing is left, as an error
        own = numbers if sampled else look[which.reshape(-1) == k]
        stored = _inside(file, offsets[own], dtype.itemsize + pixels.nbytes)
        shown = heads[:1] if sampled else heads[which.reshape(-1) == k]
        groups.append(Elements(own, offsets[own], stored, shown, pixels))
    if not any(group.stored.any() for group in groups):
        raise Truncated(path, f"ends at byte {file.size}, inside the first of its elements.")
    whole = np.concatenate([group.numbers[group.stored] for group in groups])
    ends = [
        np.stack([g.offsets, g.offsets + dtype.itemsize + g.pixels.nbytes], axis=1)[g.stored]
        for g in groups
    ]
    spans = np.concatenate(ends)
    spans = spans[np.argsort(spans[:, 0])]
    if (spans[1:, 0] < spans[:-1, 1]).any():
        raise FormatError(path, "has a damaged table: elements overlap.")
    if len(whole) < count:
        lost = np.setdiff1d(np.arange(count), whole)
        problems.append(
            Problem(
                "warning",
                f"{len(lost)} of {count} elements, the first of them number {lost[0]}, cannot be "
                "read: the file was cut off, or is damaged there.",
            )
        )
    return groups


def _pixels(path: str, size: int, header: Header, kind: np.void, number: int) -> Pixels:
    code, *sizes = (int(kind[name]) for name in kind.dtype.names or ())
    if code not in TYPES or 0 in sizes:
        raise FormatError(
            path,
            f"element {number} has {' x '.join(map(str, sizes))} values of type {code}; there are "
            f"types 1 to {len(TYPES)}. Its header or the table of elements is damaged.",
        )
    stored = np.dtype(TYPES[code]).newbyteorder("<")
    if math.prod(sizes) * stored.itemsize > size:
        raise Truncated(
            path,
            f"has {size} bytes, fewer than the {' x '.join(map(str, sizes))} values of its element "
            f"{number} take.",
        )
    # columns come before rows in the file, and the bottom row is stored first
    return Pixels(tuple(reversed(sizes)), stored, flip_y=not header.spectral)


def _tag_offsets(file: DataFile, header: Header, tags: Ints, group: Elements) -> Ints:
    """Return where the tags of elements are: as the table says, or else behind their data."""
    behind = group.offsets + header.element.itemsize + group.pixels.nbytes
    for offsets in (tags[group.numbers] if len(tags) else tags, behind):
        first = _records(file, offsets[:1], header.tag)
        if len(first) and first["TagTypeID"][0] == header.values["TagTypeID"]:
            return offsets
    return tags[:0]


def _times(
    file: DataFile, tags: Ints, dtype: np.dtype[np.void], first: int, last: int
) -> FrameTimes:
    seconds = _records(file, tags[first:last], dtype)["Time"].astype(np.int64)
    nothing = np.full(len(seconds), -1, np.int64)
    return FrameTimes(np.where(seconds > 0, seconds * 10**9, -1), nothing)
