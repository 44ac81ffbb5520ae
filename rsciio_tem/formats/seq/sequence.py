# SPDX-License-Identifier: GPL-3.0-or-later
"""One .seq file: its frames and their time stamps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Problems, Truncated, Unsupported
from rsciio_tem.formats.seq.header import HEADER, MAGIC, MAX_SIDE, OLD_STAMP, STAMP
from rsciio_tem.formats.seq.pixels import pixels_of
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.table import RUN, FrameTable, runs_of
from rsciio_tem.scan.frame_headers import read_headers, read_headers_at
from rsciio_tem.scan.times import FrameTimes, Ints
from rsciio_tem.storage import backends, files
from rsciio_tem.storage.backends import DataFile


@dataclass(frozen=True)
class Sequence:
    """One .seq file: its header, and where its images are."""

    file: DataFile
    header: np.void
    base: int  # byte at which the first slot begins
    count: int  # slots that hold an image
    oldest: int  # slot that was written first
    pixels: Pixels  # of one image

    @property
    def stride(self) -> int:
        """Bytes from slot to slot."""
        return int(self.header["true_image_size"])

    @property
    def stamp_size(self) -> int:
        """Bytes of a time that lie within a slot, 0 if there are no times."""
        size = STAMP.itemsize if self.header["version"] >= 5 else OLD_STAMP
        return size if self.stride >= self.pixels.nbytes + size else 0

    def stamped(self, slot: int) -> bool:
        """Whether a slot has a time."""
        stamp = np.zeros((1, STAMP.itemsize), np.uint8)
        if size := self.stamp_size:
            at = self.base + slot * self.stride + self.pixels.nbytes
            backends.read_pieces(self.file, at, 0, stamp[:, :size])
        return bool(stamp[0, :4].any())

    def slots(self) -> Ints:
        """Return the slots in the order in which they were written."""
        return (np.arange(self.count, dtype=np.int64) + self.oldest) % self.count

    def table(self) -> FrameTable:
        """Return the images in the order in which they were written."""
        runs = [(0, self.base + self.oldest * self.stride, self.stride, self.count - self.oldest)]
        if self.oldest:
            runs.append((0, self.base, self.stride, self.oldest))
        return FrameTable((self.file,), runs_of(runs), self.pixels)

    def parts(self, each: int) -> FrameTable:
        """Return the images cut into `each` regions of equally many rows, as frames."""
        rows, columns = self.pixels.shape
        pixels = replace(self.pixels, shape=(rows // each, columns))
        if each == 1:
            return self.table()
        runs = np.zeros(self.count, RUN)
        runs["start"] = self.base + self.slots() * self.stride
        runs["stride"], runs["count"] = pixels.nbytes, each
        return FrameTable((self.file,), runs, pixels)


def _read_header(path: str, problems: Problems) -> np.void:
    """Read and check the header of a file."""
    head = files.read_start(path, HEADER.itemsize)
    if head[:4] != MAGIC.to_bytes(4, "little"):
        raise NotThisFormat(path, f"does not begin as a Norpix sequence ({head[:16]!r}).")
    if len(head) < HEADER.itemsize:
        raise Truncated(path, f"ends within its header, after {len(head)} bytes.")
    header: np.void = np.frombuffer(head, HEADER, 1)[0]
    version = int(header["version"])
    if not 1 <= version <= 20:
        raise Unsupported(
            path, f"is a Norpix sequence of version {version}; only 4 and 5 are known."
        )
    if version not in (4, 5):
        problems.warn(
            f"is of version {version} and is read as version {4 if version < 5 else 5}, "
            "the nearest that is known.",
        )
    sides = (int(header["width"]), int(header["height"]))
    if not all(0 < n <= MAX_SIDE for n in sides):
        raise FormatError(path, f"announces images of {sides[0]} x {sides[1]} pixels.")
    return header


def read_sequence(path: str, all_slots: bool, problems: Problems) -> Sequence:
    """Describe one .seq file; problems of its header are added to `problems`."""
    header = _read_header(path, problems)
    pixels = pixels_of(header, path, problems)
    stride, size = int(header["true_image_size"]), int(header["image_size"])
    if size != pixels.nbytes:
        raise FormatError(
            path,
            f"announces images of {size} bytes, but {header['width']} x {header['height']} pixels "
            f"of {header['bit_depth']} bits take {pixels.nbytes}.",
        )
    if stride < size:
        raise FormatError(
            path, f"announces slots of {stride} bytes for images of {size} bytes each."
        )
    file = DataFile.of(path)
    base = 8192 if header["version"] >= 5 else 1024
    if file.size < base + size:
        raise Truncated(
            path, f"has {file.size} bytes, its header and first image take {base + size}."
        )
    # the padding behind the last image may be missing
    stored = (file.size - base) // stride + ((file.size - base) % stride >= size)
    sequence = Sequence(file, header, base, stored, 0, pixels)
    if not sequence.stamp_size:
        problems.info("has no room for times behind its images.")
    return sequence if all_slots else _in_use(sequence, problems)


#: What to do about slots that are left out.
_ALL_SLOTS = "Pass all_slots=True to read every slot."


def _in_use(sequence: Sequence, problems: Problems) -> Sequence:
    """Leave out slots without an image, and begin with the oldest one."""
    stored, announced = sequence.count, int(sequence.header["allocated_frames"])
    if not announced:
        problems.warn(
            "was not closed: its header counts no images. The times of the images show what was "
            "recorded.",
            _ALL_SLOTS,
        )
    elif announced > stored:
        problems.warn(f"is shorter than its header says: it holds {stored} of {announced} images.")
    count = min(announced, stored) or stored
    written = _written(sequence, count)
    if written < count:
        problems.warn(
            f"{count - written} of {count} slots were never written (they have no time) and are "
            "left out.",
            _ALL_SLOTS,
        )
    if announced and stored > announced:
        beyond = f"{stored - announced} slots behind the {announced} images that the header counts"
        if written == announced and sequence.stamped(announced):
            problems.warn(f"{beyond} have times too; left out.", _ALL_SLOTS)
        else:
            problems.info(f"{beyond} are left out.", _ALL_SLOTS)
    return replace(sequence, count=written, oldest=_oldest(sequence.header, written, problems))


def _written(sequence: Sequence, count: int) -> int:
    """Return how many of the first `count` slots were written: one after the other, with a time."""
    # the time of the last image may have been cut off with the padding
    end = sequence.base + (count - 1) * sequence.stride + sequence.pixels.nbytes
    last = count - 1 if end + sequence.stamp_size <= sequence.file.size else count - 2
    if last <= 0 or not sequence.stamped(0) or sequence.stamped(last):
        return count
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if sequence.stamped(middle) else (low, middle)
    return high


def _oldest(header: np.void, count: int, problems: Problems) -> int:
    """Return the slot that was written first; recordings in a loop overwrite their beginning."""
    oldest = int(header["oldest_frame"])
    if oldest and oldest >= count:
        problems.warn(
            f"should begin with slot {oldest} (loop recording), but has {count}; images are "
            "returned as stored.",
        )
        oldest = 0
    if header["origin"] and not oldest:
        problems.warn(
            f"was recorded around a trigger (origin {int(header['origin'])}); images are "
            "returned in the order in which they are stored.",
        )
    return oldest


def frame_times(
    images: FrameTable, stamp_size: int, each: int, first: int, last: int
) -> FrameTimes:
    """Read the times of some frames, of which each image holds `each`.

    All frames of an image share its time.
    """
    a, b = first // each, max(first // each, -(-last // each))
    raw = np.zeros((b - a, STAMP.itemsize), np.uint8)
    if stamp_size:
        raw[:, :stamp_size] = read_headers(images, a, b, -images.pixels.nbytes, stamp_size)
    time = np.repeat(_time_of(raw), each)[first - a * each :][: max(0, last - first)]
    return FrameTimes(time, np.full(len(time), -1, np.int64))


def frame_times_at(
    images: FrameTable, stamp_size: int, each: int, index: npt.NDArray[np.int64]
) -> FrameTimes:
    """Read the times of frames anywhere."""
    raw = np.zeros((len(index), STAMP.itemsize), np.uint8)
    if stamp_size:
        behind = -images.pixels.nbytes
        raw[:, :stamp_size] = read_headers_at(images, index // each, behind, stamp_size)
    return FrameTimes(_time_of(raw), np.full(len(index), -1, np.int64))


def _time_of(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    stamps = raw.view(STAMP)[:, 0]
    seconds = stamps["seconds"].astype(np.int64)
    time = (seconds * 1000 + stamps["milliseconds"]) * 1_000_000
    time += stamps["microseconds"].astype(np.int64) * 1000
    return np.where(seconds > 0, time, -1)
