# SPDX-License-Identifier: GPL-3.0-or-later
"""One .seq file: its frames and their time stamps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rsciio_tem.errors import FormatError, NotThisFormat, Truncated, Unsupported
from rsciio_tem.formats.seq.layout import (
    _MAX_SIDE,
    _OLD_STAMP,
    COLOUR,
    COMPRESSIONS,
    HEADER,
    MAGIC,
    MONO,
    OTHERS,
    STAMP,
    Ints,
    _Problems,
)
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.table import RUN, FrameTable, runs_of
from rsciio_tem.scan.frame_headers import read_headers
from rsciio_tem.scan.times import FrameTimes
from rsciio_tem.storage import backends, files
from rsciio_tem.storage.backends import DataFile


@dataclass(frozen=True)
class _Sequence:
    """One .seq file: its header, and where its images are."""

    file: DataFile
    header: np.void
    base: int  # byte at which the first slot begins
    count: int  # slots that hold an image
    oldest: int  # slot that was written first
    pixels: Pixels  # of one image

    @property
    def stride(self) -> int:
        return int(self.header["true_image_size"])

    @property
    def stamp_size(self) -> int:
        """Bytes of a time that lie within a slot, 0 if there are no times."""
        size = STAMP.itemsize if self.header["version"] >= 5 else _OLD_STAMP
        return size if self.stride >= self.pixels.nbytes + size else 0

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
        """Return the images cut into `each` pieces of equally many rows, as frames."""
        rows, columns = self.pixels.shape
        pixels = replace(self.pixels, shape=(rows // each, columns))
        if each == 1:
            return self.table()
        runs = np.zeros(self.count, RUN)
        runs["start"] = self.base + self.slots() * self.stride
        runs["stride"], runs["count"] = pixels.nbytes, each
        return FrameTable((self.file,), runs, pixels)


def _pixels(header: np.void, path: str, problems: _Problems) -> Pixels:
    """Return how an image is stored."""
    kind, depth = int(header["image_format"]), int(header["bit_depth"])
    real = int(header["bit_depth_real"])
    shape = (int(header["height"]), int(header["width"]))
    if compression := int(header["compression"]):
        name = COMPRESSIONS.get(compression, "an unknown method")
        raise Unsupported(
            path,
            f"is compressed ({name}, {compression}).",
            "Export it uncompressed with StreamPix.",
        )
    if kind in COLOUR:
        size, places = COLOUR[kind]
        if depth != 8 * size:
            raise Unsupported(path, f"holds colours (format {kind}) of {depth} bits per pixel.")
        problems.warn(
            f"colours (format {kind}) are read as the vendor's list describes them; no such "
            "file was at hand for a comparison.",
        )
        return Pixels(
            shape,
            np.dtype(
                {
                    "names": ["R", "G", "B"],
                    "formats": ["u1"] * 3,
                    "offsets": list(places),
                    "itemsize": size,
                }
            ),
        )
    if kind not in MONO:
        name = OTHERS.get(kind, "not in the vendor's list")
        raise Unsupported(
            path,
            f"has image format {kind} ({name}), which is not supported.",
            "Export it as uncompressed monochrome images with StreamPix.",
        )
    if depth not in (8, 16, 32):
        raise Unsupported(path, f"has monochrome pixels of {depth} bits; known are 8, 16 and 32.")
    big, uppermost = MONO[kind]
    shift = 0
    if uppermost and depth > 8:
        if not 1 <= real <= depth:
            problems.warn(
                f"pixels of {depth} bits should have {real} in use, which is impossible; "
                "values are returned as stored.",
            )
        else:
            shift = depth - real
    if uppermost and depth > 8:
        what = f"the uppermost {real} bits" if shift else "all bits"
        problems.warn(
            f"pixels are read as {what} of {depth}, {'big' if big else 'little'}-endian (format "
            f"{kind})" + f" and divided by {1 << shift}" * bool(shift) + ", as the vendor's list "
            "describes them; no such file was at hand for a comparison.",
        )
    return Pixels(shape, np.dtype(f"{'>' if big else '<'}u{depth // 8}"), shift=shift)


def _sequence(path: str, all_slots: bool, problems: _Problems) -> _Sequence:
    """Describe one .seq file; problems of its header are added to `problems`."""
    head = files.read_start(path, HEADER.itemsize)
    if head[:4] != MAGIC.to_bytes(4, "little"):
        raise NotThisFormat(path, f"does not begin as a Norpix sequence ({head[:16]!r}).")
    if len(head) < HEADER.itemsize:
        raise Truncated(path, f"ends within its header, after {len(head)} bytes.")
    header: np.void = np.frombuffer(head, HEADER, 1)[0]
    version = int(header["version"])
    if not 1 <= version <= 20:
        raise Unsupported(path, f"is a Norpix sequence of version {version}; known are 4 and 5.")
    if version not in (4, 5):
        problems.warn(
            f"is of version {version} and is read as version {4 if version < 5 else 5}, "
            "the nearest that is known.",
        )
    sides = (int(header["width"]), int(header["height"]))
    if not all(0 < n <= _MAX_SIDE for n in sides):
        raise FormatError(path, f"announces images of {sides[0]} x {sides[1]} pixels.")
    pixels = _pixels(header, path, problems)
    stride, size = int(header["true_image_size"]), int(header["image_size"])
    if size != pixels.nbytes:
        raise FormatError(
            path,
            f"announces images of {size} bytes, but {sides[0]} x {sides[1]} pixels of "
            f"{int(header['bit_depth'])} bits take {pixels.nbytes}.",
        )
    if stride < size:
        raise FormatError(
            path, f"announces slots of {stride} bytes for images of {size} bytes each."
        )
    file = DataFile.of(path)
    base = 8192 if version >= 5 else 1024
    if file.size < base + size:
        raise Truncated(
            path,
            f"has {file.size} bytes, its header and first image take {base + size}.",
        )
    # the padding behind the last image may be missing
    stored = (file.size - base) // stride + ((file.size - base) % stride >= size)
    sequence = _Sequence(file, header, base, stored, 0, pixels)
    if not sequence.stamp_size:
        problems.info("has no room for times behind its images.")
    if all_slots:
        return sequence
    return _in_use(sequence, problems)


def _in_use(sequence: _Sequence, problems: _Problems) -> _Sequence:
    """Leave out slots without an image, and begin with the oldest one."""
    header, stored = sequence.header, sequence.count
    announced = int(header["allocated_frames"])
    count = min(announced, stored) or stored
    hint = "Pass all_slots=True to read every slot."
    if not announced:
        problems.warn(
            "was not closed: its header counts no images. What was recorded is told by the "
            "times of the images.",
            hint,
        )
    elif announced > stored:
        problems.warn(
            f"is shorter than its header says: it holds {stored} of {announced} images.",
        )
    # the time of the last image may have been cut off with the padding
    end = sequence.base + (count - 1) * sequence.stride + sequence.pixels.nbytes
    last = count - 1 if end + sequence.stamp_size <= sequence.file.size else count - 2
    if last > 0 and _stamped(sequence, 0) and not _stamped(sequence, last):
        low, high = 0, last  # slots are written one after the other
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _stamped(sequence, middle) else (low, middle)
        problems.warn(
            f"{count - high} of {count} slots were never written (they have no time) and are "
            "left out.",
            hint,
        )
        count = high
    if announced and stored > announced:
        beyond = f"{stored - announced} slots behind the {announced} images that the header counts"
        if count == announced and _stamped(sequence, announced):
            problems.warn(f"{beyond} have times too; left out.", hint)
        else:
            problems.info(f"{beyond} are left out.", hint)
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
    return replace(sequence, count=count, oldest=oldest)


def _stamped(sequence: _Sequence, slot: int) -> bool:
    """Whether a slot has a time."""
    stamp = np.zeros((1, STAMP.itemsize), np.uint8)
    if size := sequence.stamp_size:
        place = sequence.base + slot * sequence.stride + sequence.pixels.nbytes
        backends.read_pieces(sequence.file, place, 0, stamp[:, :size])
    return bool(stamp[0, :4].any())


def _frame_times(
    images: FrameTable, stamp_size: int, each: int, first: int, last: int
) -> FrameTimes:
    """Read the times of some frames, of which each image holds `each`.

    All frames of an image share its time.
    """
    a, b = first // each, max(first // each, -(-last // each))
    raw = np.zeros((b - a, STAMP.itemsize), np.uint8)
    if stamp_size:
        raw[:, :stamp_size] = read_headers(images, a, b, -images.pixels.nbytes, stamp_size)
    stamps = raw.view(STAMP)[:, 0]
    seconds = stamps["seconds"].astype(np.int64)
    time = (seconds * 1000 + stamps["milliseconds"]) * 1_000_000
    time += stamps["microseconds"].astype(np.int64) * 1000
    time = np.where(seconds > 0, time, -1)
    time = np.repeat(time, each)[first - a * each :][: max(0, last - first)]
    return FrameTimes(time, np.full(len(time), -1, np.int64))
