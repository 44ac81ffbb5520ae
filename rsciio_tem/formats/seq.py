# SPDX-License-Identifier: GPL-3.0-or-later
"""Norpix StreamPix sequences (.seq), among them Direct Electron's DE-16 and Celeritas cameras.

Sources: Norpix's description of the sequence and metadata files, LiberTEM's and PIMS' readers, the
open RosettaSciIO proposal for Direct Electron files, and real files of StreamPix, of a Celeritas
camera in one file and of one in two. ``specifications/seq.ksy``, ``seq_metadata.ksy`` and
``seq_sides.md`` write the layouts down.

A sequence is a header and slots of equal size; a slot is the pixels of an image, the time when it
was taken, and padding. Camera software puts further files beside ``x.seq``: ``x.seq.metadata`` (a
few bytes for every slot), ``x.seq.Config.Metadata.xml``, ``x.seq.dark.mrc``, ``x.seq.gain.mrc``
and ``x.seq.Missing_Frame_Info.txt``. A fast Celeritas camera writes the two halves of its frames
into two sequences, ``x_Top_TIME.seq`` and ``x_Bottom_TIME.seq``, whose "images" are buffers of
many half frames.
"""

from __future__ import annotations

import datetime
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Unpack, get_args

import numpy as np
import numpy.typing as npt

from rsciio_tem import backends, files, headers
from rsciio_tem.backends import DataFile
from rsciio_tem.corrections import Corrections
from rsciio_tem.errors import (
    FormatError,
    NotThisFormat,
    Problem,
    Truncated,
    Unsupported,
)
from rsciio_tem.frames import RUN, Frames, FrameTable, Mosaic, runs_of
from rsciio_tem.pixels import Pixels
from rsciio_tem.read import ReadOptions, read
from rsciio_tem.recording import Axis, Recording
from rsciio_tem.scan import ScanHint
from rsciio_tem.times import FrameTimes, Times, read_headers

__all__ = ["file_reader", "parse", "sniff"]

Ints = npt.NDArray[np.int64]
Half = Literal["top", "bottom"]
Defects = Literal["auto", "listed", "turned"]
Lost = Literal["blank", "drop"]

MAGIC = 0xFEED
NAME = "Norpix seq".encode("utf-16-le")

#: File header, little-endian: offset, name and type of each field.
_FIELDS = [
    (0, "magic", "<u4"),  # 0xFEED
    (4, "name", "S24"),  # "Norpix seq\n", UTF-16
    (28, "version", "<i4"),  # 5 in every known file of today; 4 and before: shorter file header
    (32, "header_size", "<i4"),  # always 1024, whatever precedes the first image
    (36, "description", "S512"),  # see description_format
    (548, "width", "<u4"),  # columns
    (552, "height", "<u4"),  # rows; of a whole buffer in halves of a Celeritas camera
    (556, "bit_depth", "<u4"),  # bits that a stored pixel takes
    (560, "bit_depth_real", "<u4"),  # bits of it that the camera uses
    (564, "image_size", "<u4"),  # bytes of pixels; the time of the image follows them
    (568, "image_format", "<u4"),  # see IMAGE_FORMATS
    (572, "allocated_frames", "<u4"),  # slots in use when the file was closed
    (576, "origin", "<u4"),  # not 0 for recordings around a trigger
    (580, "true_image_size", "<u4"),  # bytes from one slot to the next
    (584, "frame_rate", "<f8"),  # suggested for playback, 1/s
    (592, "description_format", "<i4"),  # 0 UTF-16, 1 ASCII, 2 data
    (596, "reference_frame", "<u4"),
    (600, "fixed_size", "<u4"),  # compressed files only
    (604, "flags", "<u4"),
    (608, "bayer_pattern", "<i4"),
    (612, "time_offset", "<i4"),  # µs
    (616, "extended_header_size", "<i4"),
    (620, "compression", "<u4"),  # see COMPRESSIONS
    (624, "reference_time", "<i4"),  # s
    (628, "reference_time_ms", "<u2"),
    (630, "reference_time_us", "<u2"),
    (632, "h264_gop", "<u4"),
    (636, "h264_bitrate", "<u4"),
    (640, "jpeg_quality", "<u4"),
    (644, "h264_decode_format", "<u4"),
    (648, "index_offset", "<i8"),  # compressed files: place of the index
    (656, "oldest_frame", "<u4"),  # loop recordings: slot that was written first
    (660, "alignment", "<u4"),  # bytes that the size of a slot is a multiple of
    (664, "padding", "S360"),  # not necessarily zero
]
HEADER = np.dtype(
    {
        "names": [name for _, name, _ in _FIELDS],
        "formats": [kind for _, _, kind in _FIELDS],
        "offsets": [offset for offset, _, _ in _FIELDS],
        "itemsize": 1024,
    }
)
#: Time of an image, behind its pixels; versions before 5 end after the milliseconds.
STAMP = np.dtype(
    [
        ("seconds", "<u4"),  # since 1970-01-01 UTC
        ("milliseconds", "<u2"),
        ("microseconds", "<u2"),
    ]
)
_OLD_STAMP = 6

#: Beginning of a ``.seq.metadata`` file, little-endian.
CONTAINER = np.dtype(
    [
        ("version", "<i4"),  # 0: 1
        ("header_size", "<i4"),  # 4: 256
        ("unit_count", "<u4"),  # 8: units, one for each slot
        ("unit_size", "<u4"),  # 12: bytes of a unit, 0 if they differ
        ("info_size", "<u4"),  # 16: bytes of the section behind this header
        ("lead_size", "<u4"),  # 20: bytes of the section behind that; units follow
        ("padding", "S232"),  # 24
    ]
)
#: Beginning of a unit of metadata, with its first entry.
UNIT = np.dtype(
    [
        ("size", "<u4"),  # 0: bytes of the unit in use
        ("entries", "<u4"),  # 4: number of entries
        ("entry_kind", "<u4"),  # 8: what the content of the first entry is, see below
        ("entry_size", "<u4"),  # 12: bytes of this content, which follows
    ]
)
#: Kinds of entries that Direct Electron writes: settings of a camera (whole frames), and the
#: number of a buffer (halves), i8, from 1.
SETTINGS_KIND, COUNTER_KIND = 8, 10

_SETTINGS = [
    (0, "size", "<u4"),  # of these settings, 208
    (4, "version", "<u4"),  # 16
    (8, "unbinned_width", "<u4"),  # of the frame, in pixels of the sensor
    (12, "unbinned_height", "<u4"),
    (16, "offset_x", "<u4"),  # of the frame on the sensor
    (20, "offset_y", "<u4"),
    (24, "hardware_binning", "<u4"),
    (28, "bit_mode", "<u4"),  # 12
    (32, "frame_rate", "<f8"),  # 1/s
    (40, "rotation", "<u4"),
    (44, "flip", "<u4"),  # 2: vertical
    (48, "okra", "?"),
    (49, "global_shutter", "?"),
    (50, "off_chip_cds", "?"),
    (51, "akra", "?"),
    (52, "sensor_sequence", "<u4"),
    (56, "camera_type", "<u4"),
    (60, "gain_mode", "<u4"),
    (64, "sensor_gain", "<f8"),
    (72, "magnification", "<f8"),
    (80, "pixel_size", "<f8"),
    (88, "camera_length", "<f8"),
    (96, "diffraction_pixel_size", "<f8"),
    (152, "date_time", "S32"),  # local time of the computer
    (184, "grabber", "S8"),
    (192, "firmware", "<f8"),
]
#: Settings of version 16.
SETTINGS = np.dtype(
    {
        "names": [name for _, name, _ in _SETTINGS],
        "formats": [kind for _, _, kind in _SETTINGS],
        "offsets": [offset for offset, _, _ in _SETTINGS],
        "itemsize": 208,
    }
)
#: Settings of older versions (DE-16), known from a single source.
OLD_SETTINGS = np.dtype(
    {
        "names": [
            *(name for _, name, _ in _SETTINGS[:8]),
            *("frame_rate", "rotation", "flip", "okra", "sensor_gain", "magnification"),
            *("pixel_size", "camera_length", "diffraction_pixel_size"),
        ],
        "formats": [*("<u4",) * 8, "<i4", "<u4", "<u4", "?", "<f8", "<f8", "<f8", "<f8", "<f8"],
        "offsets": [*range(0, 44, 4), 44, 48, 56, 64, 72, 80],
        "itemsize": 88,
    }
)

#: Image formats of Norpix' list. Those with one number per pixel: (big-endian, uppermost bits).
MONO = {
    100: (False, False),
    101: (False, False),  # Bayer, as stored
    112: (False, True),
    113: (False, True),
    114: (True, True),
    115: (True, True),
}
#: Colours of 8 bits: bytes per pixel, and where red, green and blue are.
COLOUR = {200: (3, (2, 1, 0)), 400: (3, (0, 1, 2)), 500: (4, (2, 1, 0))}
#: The others, which we do not read.
OTHERS = {
    0: "unknown",
    123: "10-bit BGR packed",
    124: "10-bit BGR packed",
    125: "10-bit RGB packed",
    131: "packed mono",
    132: "packed Bayer",
    133: "packed mono 8448",
    134: "packed Bayer 8448",
    135: "GVSP BGR10",
    136: "GVSP BGR10",
    300: "planar colour",
    600: "YUV422",
    610: "YUV422",
    700: "UVY422",
    800: "UVY411",
    900: "UVY444",
    905: "BGR555",
    906: "BGR565",
    1000: "Basler",
    1001: "Euresys JPEG",
    1002: "ISG JPEG",
}
COMPRESSIONS = {
    1: "JPEG",
    2: "RLE",
    3: "Huffman",
    4: "LZ",
    5: "fast RLE",
    6: "fast Huffman",
    7: "fast LZ",
    8: "H.264",
    9: "wavelet",
    16: "H.264 RGB",
    17: "lossless JPEG",
    18: "Cayer",
}
_MAX_SIDE = 1 << 17
#: ``NAME_Top_HH-MM-SS.mmm``, or without the time.
_HALF = re.compile(
    r"(?P<base>.+)_(?P<half>top|bottom)(?:_(?P<time>\d\d-\d\d-\d\d(?:\.\d+)?))?",
    re.IGNORECASE | re.DOTALL,
)
_SIDE_PARAMETERS = (".toml", ".yaml", ".yml")


class _Problems(list[Problem]):
    """What is found odd while files are described."""

    def warn(self, message: str, hint: str = "") -> None:
        self.append(Problem("warning", message, hint))

    def info(self, message: str, hint: str = "") -> None:
        self.append(Problem("info", message, hint))


# ---------------------------------------------------------------- one sequence


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise the magic number and the name behind it."""
    if head[:4] != MAGIC.to_bytes(4, "little"):
        return None
    if head[4 : 4 + len(NAME)] == NAME:
        return 0.99, "begins as a Norpix sequence", {}
    if path.lower().endswith(".seq"):
        return 0.9, "begins with the number of a Norpix sequence", {}
    return None


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


# ---------------------------------------------------------------- side files


def _beside(path: str, stems: tuple[str, ...], suffix: str) -> str | None:
    """Find a file named like one of the stems with a suffix, in any case."""
    folder = os.path.dirname(path)
    listing = {entry.lower(): entry for entry in os.listdir(folder or ".")}
    for stem in stems:
        entry = listing.get((stem + suffix).lower())
        if entry is not None and os.path.isfile(os.path.join(folder, entry)):
            return os.path.join(folder, entry)
    return None


@dataclass(frozen=True)
class _Metadata:
    """A ``.seq.metadata`` file."""

    file: DataFile
    header: np.void

    @property
    def start(self) -> int:
        """Byte at which the first unit begins."""
        sizes = ("header_size", "info_size", "lead_size")
        return sum(int(self.header[name]) for name in sizes)

    @property
    def unit_size(self) -> int:
        """Bytes of a unit; where they may differ, those of the first."""
        if size := int(self.header["unit_size"]):
            return size
        raw = bytes(backends.read(self.file, self.start, UNIT.itemsize, "buffered"))
        return int(np.frombuffer(raw, UNIT, 1)["size"][0])

    def entry(self, unit: int, kind: int, size: int) -> bytes | None:
        """Return the content of the first entry of a unit, None if it is of another kind."""
        place = self.start + unit * self.unit_size
        end = place + UNIT.itemsize + size
        if unit >= self.header["unit_count"] or end > self.file.size:
            return None
        raw = bytes(backends.read(self.file, place, end - place, "buffered"))
        record = np.frombuffer(raw, UNIT, 1)[0]
        if record["entry_kind"] != kind or record["entry_size"] < size or record["entries"] < 1:
            return None
        return raw[UNIT.itemsize :]


def _metadata_file(path: str | None, problems: _Problems) -> _Metadata | None:
    """Open the metadata beside a sequence; what is wrong with it is a problem, not an error."""
    if path is None:
        return None
    head = files.read_start(path, CONTAINER.itemsize)
    header = np.frombuffer(head.ljust(CONTAINER.itemsize, b"\0"), CONTAINER, 1)[0]
    metadata = _Metadata(DataFile.of(path), header)
    known = header["version"] == 1 and header["header_size"] == CONTAINER.itemsize
    if not known or metadata.start + UNIT.itemsize > metadata.file.size:
        problems.warn(f"{os.path.basename(path)} is no metadata that we know, and is ignored.")
        return None
    return metadata


def _settings(metadata: _Metadata | None, problems: _Problems) -> dict[str, Any]:
    """Return the camera's settings for the first image, empty if there are none."""
    if metadata is None:
        return {}
    content = metadata.entry(0, SETTINGS_KIND, 8)
    if content is None:
        return {}
    size, version = (int(n) for n in np.frombuffer(content, "<u4"))
    kind = SETTINGS if version >= 16 else OLD_SETTINGS
    content = metadata.entry(0, SETTINGS_KIND, kind.itemsize)
    name = os.path.basename(metadata.file.path)
    if content is None or size < kind.itemsize:
        problems.warn(f"{name}: unknown settings of {size} bytes, ignored.")
        return {}
    if version != 16:
        problems.warn(
            f"{name}: settings of version {version} are read as those of version "
            f"{16 if version > 16 else 'DE-16, which is known from a single source'}.",
        )
    return _tree(np.frombuffer(content, kind, 1)[0])


def _tree(record: np.void) -> dict[str, Any]:
    """Return a record as plain values; texts are cut at their end."""
    result = {}
    for name in record.dtype.names or ():
        value = record[name].item()
        if isinstance(value, bytes):
            value = value.split(b"\0", 1)[0].decode("latin-1")
        elif isinstance(value, float) and not math.isfinite(value):
            value = None
        result[name] = value
    return result


def _header_tree(header: np.void) -> dict[str, Any]:
    """Return the file header as plain values."""
    tree = _tree(header)
    tree.pop("padding")
    raw = header.tobytes()
    tree["name"] = _wide(raw[4:28])
    kind = header["description_format"]
    tree["description"] = (
        _wide(raw[36:548])
        if kind == 0
        else raw[36:548].split(b"\0", 1)[0].decode("latin-1")
        if kind == 1
        else raw[36:548].rstrip(b"\0").hex()
    )
    return tree


def _wide(raw: bytes) -> str:
    return raw.decode("utf-16-le", "replace").split("\0", 1)[0].strip()


def _described(path: str | None, problems: _Problems) -> dict[str, Any]:
    """Read the XML beside a recording; what is wrong with it is a problem, not an error."""
    if path is None:
        return {}
    try:
        return headers.xml_tree(path)
    except FormatError as error:
        problems.warn(f"{os.path.basename(path)} {error.problem} It is ignored.")
        return {}


def _value(tree: Mapping[str, Any], name: str) -> str | None:
    """Return a value of the XML's FileInfo."""
    info = tree.get("FileInfo")
    entry = info.get(name) if isinstance(info, Mapping) else None
    value = entry.get("Value") if isinstance(entry, Mapping) else None
    return None if value is None else str(value).strip()


def _whole(tree: Mapping[str, Any], name: str) -> int | None:
    """Return a whole number of the XML's FileInfo that is not negative."""
    number = headers.number(_value(tree, name))
    return int(number) if number is not None and 0 <= number < 1 << 31 else None


def _either(tree: Mapping[str, Any], name: str, settings: Mapping[str, Any], other: str) -> int:
    """Return a whole number of the XML, or of the camera's settings if it is not there."""
    number = _whole(tree, name)
    return int(settings.get(other, 0)) if number is None else number


def _elements(tree: Any, name: str) -> list[Mapping[str, Any]]:
    """Return the elements of a name within another, however many there are."""
    if not isinstance(tree, Mapping):
        return []
    found = tree.get(f"{name}_list", [tree[name]] if name in tree else [])
    return [entry for entry in found if isinstance(entry, Mapping)]


def _missing_numbers(path: str | None, problems: _Problems) -> list[int]:
    """Read the list of frames that the camera lost."""
    if path is None:
        return []
    text = files.read_start(path, 1 << 16).decode("latin-1").partition(":")[2]
    numbers = [int(n) for n in re.findall(r"\d{1,18}", text)]
    if numbers:
        shown = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
        problems.warn(
            f"{os.path.basename(path)} lists {len(numbers)} frames as missing ({shown}); those "
            "that follow are not moved to their places.",
        )
    return numbers


def _reference(path: str) -> npt.NDArray[Any]:
    """Read the first image of an MRC file; the number of images in its header means nothing.

    Raises
    ------
    FormatError
        It is no MRC file with an image.
    """
    head = files.read_start(path, 1024)
    words = np.frombuffer(head.ljust(1024, b"\0"), "<i4")
    dtype = {0: "<i1", 1: "<i2", 2: "<f4", 6: "<u2"}.get(int(words[3]))
    columns, rows, extended = int(words[0]), int(words[1]), int(words[23])
    if dtype is None or not (0 < columns <= _MAX_SIDE and 0 < rows <= _MAX_SIDE) or extended < 0:
        raise FormatError(path, "is no MRC file that we can read.")
    file = DataFile.of(path)
    nbytes = rows * columns * np.dtype(dtype).itemsize
    if 1024 + extended + nbytes > file.size:
        raise Truncated(path, f"ends before its image of {rows} x {columns} pixels does.")
    raw = bytes(backends.read(file, 1024 + extended, nbytes, "buffered"))
    return np.frombuffer(raw, dtype).reshape(rows, columns).astype(np.float32)


def _usable_reference(
    path: str | None, shape: tuple[int, ...], problems: _Problems
) -> npt.NDArray[Any] | None:
    """Read a dark or gain image that fits the frames; anything else is a problem."""
    if path is None:
        return None
    name = os.path.basename(path)
    try:
        image = _reference(path)
    except FormatError as error:
        problems.warn(f"{name} {error.problem} It is not applied.")
        return None
    if image.shape != shape:
        problems.warn(
            f"{name} has {image.shape} pixels, the frames {shape}: it is not applied.",
        )
        return None
    return image


def _nav_hint(
    path: str, stems: tuple[str, ...], count: int, problems: _Problems
) -> tuple[list[ScanHint], str | None]:
    """Take the scan shape from a parameter file beside the recording."""
    for suffix in _SIDE_PARAMETERS:
        side = _beside(path, stems, suffix)
        if side is None:
            continue
        name = os.path.basename(side)
        try:
            shape = headers.side_parameters(side).get("nav_shape")
        except FormatError as error:
            problems.info(f"{name} {error.problem} It is ignored.")
            continue
        if shape is None:
            continue
        entries = shape if isinstance(shape, (list, tuple)) else [shape]
        sizes = tuple(n for n in entries if type(n) is int and 0 < n < 1 << 40)
        if len(sizes) != len(entries) or not sizes:
            problems.warn(f"{name}: nav_shape = {shape!r} is no shape, ignored.")
            continue
        confidence = 0.95 if math.prod(sizes) == count else 0.85
        return [ScanHint("header", sizes, confidence, f"nav_shape in {name}")], side
    return [], None


# ---------------------------------------------------------------- defective pixels


def _span(text: Any) -> tuple[int, int] | None:
    """Parse ``7`` or ``7-12``, both ends included."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", str(text))
    if match is None:
        return None
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    return min(first, last), max(first, last)


def _excluded(
    tree: Mapping[str, Any],
    shape: tuple[int, ...],
    settings: Mapping[str, Any],
    defects: Defects,
    problems: _Problems,
) -> npt.NDArray[np.bool_] | None:
    """Mark the defective pixels that the XML lists, None if there are none within the frames.

    They are listed in coordinates of the sensor, from 0, for one binning or several; frames are a
    window of it.
    """
    maps = [
        entry
        for bad in _elements(tree, "BadPixels")
        for entry in _elements(bad, "BadPixelMap")
        if _elements(entry, "Defect")
    ]
    if not maps:
        return None
    hardware = _either(tree, "ImageBinning", settings, "hardware_binning") or 1
    software = _whole(tree, "SWBinning") or 1
    binning = hardware * software
    if binning > 64:
        problems.warn(f"a binning of {binning} is impossible: defective pixels are not excluded.")
        return None
    if software > 1:
        problems.warn(
            f"frames were binned by software too (SWBinning {software}); that defective pixels "
            "are binned likewise is a guess.",
        )
    listed = {int(headers.number(m.get("Binning")) or 1): m for m in reversed(maps)}
    chosen, factor = listed.get(hardware), software
    if chosen is None:
        chosen, factor = listed.get(1), binning
    if chosen is None:
        problems.warn(
            f"defective pixels are listed for binning {sorted(listed)}, not for {hardware}: "
            "they are not excluded.",
        )
        return None
    rotation = _either(tree, "RotationMode", settings, "rotation")
    turns = (rotation // 90 if rotation >= 90 else rotation) % 4  # degrees, or quarter turns
    flip = (_value(tree, "Flip") or "").lower()
    turned = defects == "turned" or (defects == "auto" and bool(turns))
    window = shape[::-1] if turned and turns % 2 else shape
    offset = tuple(
        _either(tree, f"ImageOffset{axis}", settings, f"offset_{axis.lower()}") // binning
        for axis in "YX"
    )
    sensor = tuple(int(headers.number(chosen.get(name)) or 0) for name in ("Rows", "Columns"))
    for name, at, n, full in zip(("rows", "columns"), offset, window, sensor, strict=True):
        if full and (at + n) * factor > full:
            problems.warn(
                f"the frames' {name} {at} to {at + n - 1} lie beyond the {full // factor} of "
                "the map of defective pixels: they are not excluded.",
            )
            return None
    mask = np.zeros(window, bool)
    odd: list[str] = []
    for defect in _elements(chosen, "Defect"):
        _mark(mask, defect, offset, factor, sensor, odd)
    if odd:
        problems.warn(
            f"the list of defective pixels has {len(odd)} odd entries, the first: {odd[0]}."
        )
    if not mask.any():
        return None
    if mask.mean() > 0.25:
        problems.warn(
            f"{mask.mean():.0%} of all pixels are listed as defective: none is excluded.",
        )
        return None
    return _oriented(mask, turns, flip, turned, defects, problems)


def _oriented(
    mask: npt.NDArray[np.bool_],
    turns: int,
    flip: str,
    turned: bool,
    defects: Defects,
    problems: _Problems,
) -> npt.NDArray[np.bool_]:
    """Turn a mask from the sensor's orientation to that of the frames."""
    result = np.rot90(mask, -turns) if turned else mask
    flips = tuple(a for a, name in enumerate(("vertical", "horizontal")) if name in flip)
    flips = (0, 1) if "both" in flip else flips
    other = np.flip(result, flips)
    if defects == "turned":
        result = other
    elif defects == "auto" and (turned or not np.array_equal(result, other)):
        what = [f"rotated by {90 * turns}°"] if turns else []
        what += [f"flipped ({flip})"] if flips else []
        done = "turned but not flipped" if turned else "left as listed"
        problems.warn(
            f"the XML says that images are {' and '.join(what)}; whether this holds for the "
            f"list of defective pixels too is unknown. It is {done}.",
            'Pass defects="listed" or "turned", or excluded_pixels=.',
        )
    return np.ascontiguousarray(result)


def _mark(
    mask: npt.NDArray[np.bool_],
    defect: Mapping[str, Any],
    offset: tuple[int, ...],
    factor: int,
    sensor: tuple[int, ...],
    odd: list[str],
) -> None:
    """Mark one defect: whole rows or columns, pixels, or stretches of them.

    What is wrong with it is added to `odd`.
    """
    spans: list[tuple[int, int] | None] = []
    ranged = []
    for one, many in (("Row", "Rows"), ("Column", "Columns")):
        text = defect.get(one, defect.get(many))
        spans.append(None if text is None else _span(text))
        ranged.append(text is not None and "-" in str(text))
        if text is not None and spans[-1] is None:
            odd.append(f"{dict(defect)} cannot be understood")
            return
    pattern = str(defect.get("pattern", defect.get("Pattern", "")))
    # a pattern runs along the range, or along the whole row or column
    along = None
    if pattern:
        open_axes = [a for a in (0, 1) if spans[a] is None]
        stretches = [a for a in (0, 1) if ranged[a]]
        candidates = stretches or open_axes
        if len(candidates) != 1 or re.fullmatch("[01]+", pattern) is None:
            odd.append(f"{dict(defect)} has a pattern that is not understood: all is excluded")
        else:
            (along,) = candidates
    if spans == [None, None]:
        odd.append(f"{dict(defect)} names no row or column")
        return
    places = []
    for axis, span in enumerate(spans):
        size = mask.shape[axis]
        first, last = span or (0, (sensor[axis] or (offset[axis] + size) * factor) - 1)
        # nothing but what lies within the frames, and there may be much else
        low = max(first, offset[axis] * factor)
        high = min(last, (offset[axis] + size) * factor - 1)
        index = np.arange(low, high + 1, dtype=np.int64)
        if along == axis:
            chosen = np.frombuffer(pattern.encode(), np.uint8) == ord("1")
            index = index[chosen[(index - first) % len(chosen)]]
        places.append(np.unique(index // factor - offset[axis]))
    mask[np.ix_(*places)] = True


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


# ---------------------------------------------------------------- description


def _metadata(
    path: str, tree: Mapping[str, Any], settings: Mapping[str, Any], time_ns: int
) -> dict[str, Any]:
    """Translate what the files say."""
    name = os.path.basename(path)
    general: dict[str, Any] = {
        "title": os.path.splitext(name)[0],
        "original_filename": name,
    }
    if time_ns >= 0:
        moment = datetime.datetime.fromtimestamp(time_ns // 10**9, datetime.UTC)
        moment = moment.replace(microsecond=time_ns // 1000 % 10**6)
        general["date"] = moment.date().isoformat()
        general["time"] = moment.time().isoformat()
        general["time_zone"] = "UTC"
    camera: dict[str, Any] = {}
    if kind := _value(tree, "CameraType"):
        camera["name"] = kind
    tem: dict[str, Any] = {"Detector": {"Camera": camera}} if camera else {}
    voltage = headers.number(_value(tree, "HT"))
    if voltage and voltage > 0:
        tem["beam_energy"] = voltage
    if rate := _frame_rate(tree, settings):
        tem["frames_per_second"] = rate
    metadata: dict[str, Any] = {"General": general, "Signal": {"signal_type": ""}}
    if tem:
        metadata["Acquisition_instrument"] = {"TEM": tem}
    return metadata


def _frame_rate(tree: Mapping[str, Any], settings: Mapping[str, Any]) -> float | None:
    """Return the camera's frames per second; the header of the sequence tells another number."""
    for value in (_value(tree, "FrameRate"), settings.get("frame_rate")):
        number = headers.number(value)
        if number is not None and number > 0:
            return number
    return None


def _signal_axes(
    tree: Mapping[str, Any], settings: Mapping[str, Any], problems: _Problems
) -> tuple[Axis, Axis]:
    """Calibrate the frames, if anything does."""
    diffraction = headers.number(settings.get("diffraction_pixel_size"))
    length = headers.number(settings.get("camera_length"))
    direct = headers.number(_value(tree, "PixelSize")) or headers.number(settings.get("pixel_size"))
    scale, units = 1.0, ""
    if diffraction and diffraction > 0 and length and length > 0:
        scale, units = diffraction, "1/nm"
    elif direct and direct > 0:
        scale, units = direct, "nm"
    else:
        magnification = headers.number(_value(tree, "Mag"))
        for entry in _elements(tree.get("PixelSize"), "Property"):
            value = headers.number(entry.get("Value"))
            if magnification and headers.number(entry.get("Mag")) == magnification and value:
                scale, units = value, "nm"
    if units:
        problems.warn(
            f"the size of a pixel, {scale:g} {units}, comes from the camera's settings; their "
            "units are not documented.",
        )
    return Axis("height", units, scale), Axis("width", units, scale)


def _time_axis(times: Times, rate: float | None) -> Axis:
    """Calibrate a stack of frames by the frame rate, or by the first and last time."""
    if rate is not None:
        return Axis("time", "s", 1 / rate)
    if times.count > 1 and times.resolution_ns < 10**9:
        first, last = (int(times.read(i, i + 1).time_ns[0]) for i in (0, times.count - 1))
        if 0 <= first < last:
            return Axis("time", "s", (last - first) / 1e9 / (times.count - 1))
    return Axis("time", "", 1.0)


def parse(
    filename: str | os.PathLike[str],
    *,
    all_slots: bool = False,
    celeritas: bool | None = None,
    top: str | os.PathLike[str] | None = None,
    bottom: str | os.PathLike[str] | None = None,
    prebuffer: int | None = None,
    lost: Lost = "blank",
    defects: Defects = "auto",
) -> Recording:
    """Describe a sequence; parameters as in `file_reader`.

    Dark and gain images beside it are read, one image each.

    Returns
    -------
    Recording
    """
    if lost not in get_args(Lost):
        raise ValueError(f"lost={lost!r} is none of {', '.join(get_args(Lost))}")
    if defects not in get_args(Defects):
        raise ValueError(f"defects={defects!r} is none of {', '.join(get_args(Defects))}")
    if celeritas is False and (top is not None or bottom is not None):
        raise TypeError("top= and bottom= are for recordings in halves; celeritas=False says no")
    path = files.existing(filename)
    problems = _Problems()
    own = _sequence(path, all_slots, problems)
    halves = None
    if top is not None or bottom is not None:
        halves = _given_halves(path, top, bottom)
    elif celeritas is not False:
        halves = _find_halves(path, celeritas, problems)

    base = os.path.basename(path) if halves is None else f"{halves.base}.seq"
    stems = (base, os.path.splitext(base)[0])
    sides = {
        suffix: _beside(path, stems, suffix)
        for suffix in (
            ".Config.Metadata.xml",
            ".dark.mrc",
            ".gain.mrc",
            ".Missing_Frame_Info.txt",
        )
    }
    tree = _described(sides[".Config.Metadata.xml"], problems)
    missing = _missing_numbers(sides[".Missing_Frame_Info.txt"], problems)
    original: dict[str, Any] = {"seq_header": _header_tree(own.header)}
    settings: dict[str, Any] = {}
    frames: Frames = own.table()
    images, each, timed = own.table(), 1, own
    if halves is None:
        members = [path, _beside(path, stems, ".metadata")]
        settings = _settings(_metadata_file(members[1], problems), problems)
    else:
        references = [r for r in (sides[".dark.mrc"], sides[".gain.mrc"]) if r is not None]
        joined = _joined(halves, own, tree, references, all_slots, prebuffer, lost, problems)
        frames, images, each, timed = joined.frames, joined.buffers, joined.each, joined.upper
        members = joined.members
        original["celeritas"] = joined.summary
    count, shape = len(frames), frames.frame_shape
    _compare_sizes(tree, shape, problems)
    if tree:
        original["Configuration"] = tree
    if settings:
        original["camera_settings"] = settings
    if missing:
        original["missing_frames"] = missing[:1000]

    rate = _frame_rate(tree, settings)
    buffered = each > 1
    times = Times(
        count,
        partial(_frame_times, images, timed.stamp_size, each),
        # within a buffer there is only one time
        resolution_ns=3600 * 10**9 if buffered else 1000 if own.header["version"] >= 5 else 10**6,
        external_trigger=False if buffered else None,
    )
    hints, side = _nav_hint(path, stems, count, problems)
    corrections = Corrections(
        dark=_usable_reference(sides[".dark.mrc"], shape, problems),
        gain=_usable_reference(sides[".gain.mrc"], shape, problems),
        excluded=_excluded(tree, shape, settings, defects, problems),
        repair="fill",  # whole bands of rows and columns may be listed
    )
    begun = int(times.read(0, 1).time_ns[0])
    members += [*sides.values(), side]
    return Recording(
        format="seq",
        path=path,
        frames=frames,
        signal_axes=_signal_axes(tree, settings, problems),
        scan_axes=(Axis("y"), Axis("x")),
        stack_axis=_time_axis(times, rate),
        hints=tuple(hints),
        times=times,
        corrections=corrections if corrections else None,
        metadata=_metadata(path, tree, settings, begun),
        original_metadata=original,
        files=tuple(dict.fromkeys(member for member in members if member is not None)),
        problems=tuple(problems),
    )


def _against_metadata(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Compare each sequence with the metadata beside it, which has a unit for every image."""
    del seen
    for path in recording.files:
        if not path.lower().endswith(".seq.metadata"):
            continue
        name, sequence_path = os.path.basename(path), path[: -len(".metadata")]
        metadata = _metadata_file(path, _Problems())
        if metadata is None or not os.path.isfile(sequence_path):
            continue
        told = int(metadata.header["unit_count"])
        held = _sequence(sequence_path, False, _Problems()).count
        if told != held:
            yield Problem(
                "warning" if told > held else "info",
                f"{name} describes {told} images, {os.path.basename(sequence_path)} holds {held}.",
                "The recording was cut, or images were lost." if told > held else "",
            )
        size = int(metadata.header["unit_size"])
        whole = (metadata.file.size - metadata.start) // size if size else told
        if whole < told:
            yield Problem("warning", f"{name} ends after {whole} of the {told} images it lists.")


def _against_xml(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Tell which of the usual files of a Direct Electron camera are not there."""
    del seen
    if "Configuration" not in recording.original_metadata:
        return
    there = {path.lower()[-9:] for path in recording.files}
    lacking = [name for name in ("dark", "gain") if f".{name}.mrc" not in there]
    if lacking:
        yield Problem(
            "info",
            f"there is no {' and no '.join(f'.seq.{name}.mrc' for name in lacking)} beside it.",
            "Copy them too if the camera computer has them; frames cannot be corrected without.",
        )


CHECKS = (_against_metadata, _against_xml)


def _compare_sizes(tree: Mapping[str, Any], shape: tuple[int, ...], problems: _Problems) -> None:
    """Tell if the XML describes frames of another size."""
    rows, columns = _whole(tree, "ImageSizeY"), _whole(tree, "ImageSizeX")
    if not rows or not columns:
        return
    binning = (_whole(tree, "ImageBinning") or 1) * (_whole(tree, "SWBinning") or 1)
    sizes = [(rows, columns), (rows // binning, columns // binning)]
    if shape not in sizes and shape[::-1] not in sizes:
        problems.warn(
            f"the XML describes frames of {rows} x {columns} pixels, these have "
            f"{shape[0]} x {shape[1]}.",
            "Check whether it belongs to this recording.",
        )


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
    all_slots: bool = False,
    celeritas: bool | None = None,
    top: str | os.PathLike[str] | None = None,
    bottom: str | os.PathLike[str] | None = None,
    prebuffer: int | None = None,
    lost: Lost = "blank",
    defects: Defects = "auto",
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a StreamPix sequence, or a Direct Electron recording in that format.

    Dark and gain images and defective pixels that come with the recording are applied unless
    ``corrections=False``.

    Parameters
    ----------
    filename : str or path
        The .seq; of a recording in halves, either of them.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    all_slots : bool
        Read every slot in the order of the file, also those that the header does not count or
        that were never written.
    celeritas : bool, optional
        Whether the file is half of a recording; by default its name tells (``NAME_Top_TIME.seq``).
        False reads a half as it is stored.
    top, bottom : path, optional
        The other half, or both, where the names do not tell.
    prebuffer : int, optional
        Frames in a buffer of a recording in halves; by default what the XML says.
    lost : {"blank", "drop"}
        What becomes of frames in buffers that were lost: blanks in their places, or nothing.
    defects : {"auto", "listed", "turned"}
        Orientation of the list of defective pixels: as listed, or rotated and flipped as the XML
        says images are. "auto" rotates only.
    **options
        `ReadOptions`. ``dark`` and ``gain`` take the MRC files of the camera too.

    Returns
    -------
    list of one dict
        ``data`` of unsigned integers, single-precision numbers if corrected, or ``rgb8``.

    Raises
    ------
    NotThisFormat, Unsupported
        The file is no sequence, or one that is compressed or of an unknown image format.
    Truncated
        It ends before its first image does.
    FormatError
        Its header contradicts itself, or the halves of a recording do not fit together.
    """
    del distributed  # nothing is left to do for it
    recording = parse(
        filename,
        all_slots=all_slots,
        celeritas=celeritas,
        top=top,
        bottom=bottom,
        prebuffer=prebuffer,
        lost=lost,
        defects=defects,
    )
    for name in ("dark", "gain"):
        given: Any = options.get(name)
        if isinstance(given, (str, os.PathLike)) and os.fspath(given).lower().endswith(".mrc"):
            options[name] = _reference(files.existing(given))
    return read(
        recording,
        lazy=lazy,
        chunks=chunks,
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )
