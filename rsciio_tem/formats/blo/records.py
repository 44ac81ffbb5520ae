# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of patterns: numbers and places, sampled or all; the image ahead of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Problem, Problems
from rsciio_tem.formats.blo.header import MARK, RECORD, Endianness, Ints, read_header
from rsciio_tem.frames.table import FrameTable, Labels
from rsciio_tem.parsing.checks import number_ranges, numbering, trailing_bytes
from rsciio_tem.recording.recording import Recording, StoredImage
from rsciio_tem.scan.frame_headers import read_headers, read_headers_at, sampled
from rsciio_tem.scan.mapping import frames_at_positions
from rsciio_tem.scan.times import FrameTimes
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import DataFile

#: Frames up to which every record is checked: on a disk, and on a server, where each is a request.
READ_ALL_BELOW, READ_ALL_BELOW_REMOTE = 4096, 1024

#: Records of longer recordings that are looked at first.
SAMPLED_RECORDS = 500

_PLACEMENT = (
    'Pass placement="numbers" to put all records where their numbers say, or placement="stored" to '
    "take them as they come."
)


def _ids(
    frames: FrameTable, endianness: Endianness, index: Ints | None
) -> tuple[npt.NDArray[np.bool_], Ints]:
    """Return whether records have their mark, and their numbers; of some, or of all."""
    size = RECORD.itemsize
    if index is None:
        raw = read_headers(frames, 0, len(frames), size, size)
    else:
        raw = read_headers_at(frames, index, size, size)
    records = _records(raw, endianness)
    marked: npt.NDArray[np.bool_] = records["mark"] == MARK
    return marked, records["id"].astype(np.int64)


@dataclass(frozen=True)
class _Numbers:
    """What records between the sampled ones must be: marked, and numbered by their places."""

    path: str
    start: int  # of the first record
    stride: int
    endianness: Endianness

    def __call__(self, file: int, places: Ints, raw: npt.NDArray[np.uint8]) -> None:
        """Raise FormatError if a record has another number, or no mark."""
        del file
        records = _records(raw, self.endianness)
        numbers = (places - self.start) // self.stride
        wrong = np.flatnonzero((records["mark"] != MARK) | (records["id"] != numbers))
        if len(wrong):
            first, number = records[wrong[0]], numbers[wrong[0]]
            tells = f"has the number {first['id']}" if first["mark"] == MARK else "has no mark"
            raise FormatError(
                self.path,
                f"record {number} {tells}. When it was opened, only some of its records were "
                "looked at, which simply follow each other.",
                _PLACEMENT,
            )


def _records(raw: npt.NDArray[np.uint8], endianness: Endianness) -> npt.NDArray[np.void]:
    """Return marks and numbers from their bytes."""
    return np.ascontiguousarray(raw).view(RECORD.newbyteorder(endianness))[:, 0]


def _all_below(frames: FrameTable) -> int:
    """Return the number of frames up to which every record is checked."""
    on_server = frames.files[0].origin is not None
    return READ_ALL_BELOW_REMOTE if on_server else READ_ALL_BELOW


def in_scan_order(
    frames: FrameTable,
    positions: int,
    endianness: Endianness,
    path: str,
    problems: Problems,
    every: bool,
) -> FrameTable:
    """Put frames at the scan positions that their numbers name.

    Records that simply follow each other, as all recorded ones did, are only sampled, unless
    `every` one is wanted. The others are looked at together with their pixels.
    """
    count = len(frames)
    index = None
    if count > _all_below(frames) and not every:
        index = sampled(count, SAMPLED_RECORDS)
    marked, ids = _ids(frames, endianness, index)
    expected = np.arange(count) if index is None else index
    if marked.all() and (ids == expected).all():
        if index is None:
            return frames
        start, stride = (int(frames.runs[name][0]) for name in ("start", "stride"))
        numbers = _Numbers(path, start - RECORD.itemsize, stride, endianness)
        return replace(frames, labels=Labels(RECORD.itemsize, RECORD.itemsize, numbers))
    if index is not None:
        marked, ids = _ids(frames, endianness, None)
    if not marked.any():
        problems.warn(
            f"no record begins with the bytes AA 55: the first is at byte "
            f"{int(frames.runs['start'][0]) - RECORD.itemsize}, and they are "
            f"{int(frames.runs['stride'][0])} bytes apart by the header.",
            "Patterns that look sheared mean that the header is wrong.",
        )
        return frames
    if 2 * np.count_nonzero(marked) < count:
        first = int(np.argmin(marked))
        raise FormatError(
            path,
            f"only {np.count_nonzero(marked)} of {count} records begin with the bytes AA 55; from "
            f"record {first} on, bytes are missing or too many.",
        )
    if lost := int(np.count_nonzero(~marked)):
        problems.warn(
            f"{lost} records, the first of them number {int(np.argmin(marked))}, do not begin "
            "with the bytes AA 55 and are left out."
        )
    return _by_numbers(frames, np.flatnonzero(marked), ids[marked], max(positions, 1), problems)


def _by_numbers(
    frames: FrameTable, stored: Ints, ids: Ints, size: int, problems: Problems
) -> FrameTable:
    """Put the records that have a mark at the positions that their numbers name."""
    count = len(frames)
    different = len(np.unique(ids))
    if 2 * different <= len(ids) > 1:
        numbers = (
            f"all {count} records have the number {ids[0]}"
            if different == 1
            else f"the numbers of the {count} records, {ids.min()} to {ids.max()}, repeat"
        )
        problems.warn(
            f"{numbers}: they do not number the records, so the order of the file is used."
        )
        return frames
    if ids.max() >= size:
        if int(ids.max() - ids.min()) >= max(size, count):
            problems.warn(
                f"records are numbered from {ids.min()} to {ids.max()}, for {size} scan "
                "positions; the numbers are ignored."
            )
            return frames
        if ids.min() != 0:
            problems.warn(
                f"records are numbered from {ids.min()} on, which is taken as the first scan "
                "position."
            )
            ids = ids - ids.min()
    # what is missing behind the last one is for the scan shape to decide
    order = frames_at_positions(ids, stored, int(ids.max()) + 1, "first")
    blanks = int((order < 0).sum())
    repeated = len(stored) - (len(order) - blanks)
    parts = [f"{blanks} of {len(order)} scan positions have none and are filled"] if blanks else []
    parts += [f"{repeated} repeat a number and are left out"] if repeated else []
    if (np.diff(ids) < 0).any():
        parts.append("they are not in the order of the scan, and are put there")
    if parts:
        problems.warn(f"numbers in the {count} records: {'; '.join(parts)}.")
    if (order == np.arange(len(order))).all():
        return frames[: len(order)]
    return frames[order]


def bright_field(
    file: DataFile, header: np.void, shape: tuple[int, ...]
) -> tuple[StoredImage, ...]:
    """Return the image of the scan that is stored ahead of the records, if there is room for it."""
    begin, end = int(header["Data_offset_1"]), int(header["Data_offset_2"])
    if not shape or math.prod(shape) > end - begin:
        return ()
    image = partial(_read_image, file, begin, shape)
    return (StoredImage("Virtual bright field", shape, image),)


def _read_image(file: DataFile, begin: int, shape: tuple[int, ...]) -> npt.NDArray[Any] | None:
    image = np.array(backends.read(file, begin, math.prod(shape), "buffered")).reshape(shape)
    return image if image.any() else None  # left empty by the program that wrote the file


def _every_record(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Read the marks and numbers of all records, where opening looked at some only."""
    del seen
    frames = recording.frames
    assert isinstance(frames, FrameTable)
    if frames.stored_count <= _all_below(frames) or frames.order is not None:
        return
    _, endianness, _ = read_header(recording.path, "<", Problems())
    marked, ids = np.zeros(len(frames), bool), np.full(len(frames), -1, np.int64)
    for a in range(0, len(frames), 1 << 16):
        part = frames[a : a + (1 << 16)]
        marked[a : a + len(part)], ids[a : a + len(part)] = _ids(part, endianness, None)
    if not marked.all():
        yield Problem(
            "error",
            f"{np.count_nonzero(~marked)} of {len(frames)} records do not begin with the bytes "
            f"AA 55: {number_ranges(np.flatnonzero(~marked))}. They are damaged, or bytes are "
            "missing before them.",
            "Copy the recording again.",
        )
    if len(other := np.flatnonzero(marked & (ids != np.arange(len(frames))))):
        yield Problem(
            "warning",
            f"{len(other)} of {len(frames)} records do not have the numbers that those which are "
            f"looked at first suggest: {number_ranges(other)}. Reading their patterns is an error.",
            _PLACEMENT,
        )
    yield from numbering(
        np.where(marked, ids, -1), what="record", counter="numbers of the scan positions"
    )


CHECKS = (trailing_bytes, _every_record)
