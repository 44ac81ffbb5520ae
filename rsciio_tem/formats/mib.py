# SPDX-License-Identifier: GPL-3.0-or-later
"""Merlin / MerlinEM recordings (.mib with .hdr) of Quantum Detectors' Medipix3 cameras.

Sources: Quantum Detectors' file description (TDI-CTRL-TNO-0041), vendor sample files of software
0.76 to 0.77, header collections of the fpd and pyxem communities. The byte layout is written down
in ``specifications/mib.ksy`` and ``specifications/hdr.md``.

A file is frames back to back: an ASCII header of comma-separated fields, whose third field is its
own length, then the pixels. Processed pixels (U08 … U64) are big-endian, the first stored row is
the bottom of the image. RAW pixels (R64) come as they leave the chips, in 64-bit big-endian words.
"""

from __future__ import annotations

import logging
import math
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Unpack

import numpy as np
import numpy.typing as npt

from rsciio_tem import backends, files, headers, times
from rsciio_tem.backends import DataFile
from rsciio_tem.checking import listed, numbering
from rsciio_tem.errors import (
    FormatError,
    NotThisFormat,
    Problem,
    Truncated,
    Unsupported,
)
from rsciio_tem.frames import RUN, FrameTable, runs_of
from rsciio_tem.pixels import Packing, Pixels, Tile, quad_tiles
from rsciio_tem.read import ReadOptions, read
from rsciio_tem.recording import Axis, Recording
from rsciio_tem.scan import ScanHint, ScanRequest, map_frames

__all__ = [
    "MIBProperties",
    "file_reader",
    "load_mib_data",
    "parse",
    "parse_exposures",
    "parse_hdr_file",
    "parse_timestamps",
    "sniff",
]

_logger = logging.getLogger(__name__)

#: The fields at fixed places; all later ones vary in length and are found by counting commas.
HEADER = np.dtype(
    [
        ("type_id", "S3"),  # 0  MQ1 for images
        ("c0", "S1"),
        ("sequence", "S6"),  # 4  frame number, from 000001 at the start of an acquisition
        ("c1", "S1"),
        ("offset", "S5"),  # 11 bytes of this header
        ("c2", "S1"),
        ("chips", "S2"),  # 17 number of detector chips
        ("c3", "S1"),
        ("width", "S4"),  # 20 stored columns; RAW: of all chips side by side
        ("c4", "S1"),
        ("height", "S4"),  # 25 stored rows
        ("c5", "S1"),
        ("pixel_type", "S3"),  # 30 U01 U08 U16 U32 U64, R64 for RAW
        ("c6", "S1"),
        ("layout", "S6"),  # 34 1x1, 2x2, Nx1, 2x2G, Nx1G; says nothing about the size
        ("c7", "S1"),
        ("chip_select", "S2"),  # 41 bit mask of the chips, hexadecimal
        ("c8", "S1"),
    ]
)

#: Comma fields behind the fixed ones.
LOCAL_TIME, EXPOSURE, COUNTER, COLOUR, GAIN, THRESHOLDS = 9, 10, 11, 12, 13, range(14, 22)
#: Names of the 27 DAC values that follow the thresholds for each chip, behind the chip's type.
DACS = (
    *(f"Threshold{i}" for i in range(8)),
    *("Preamp", "Ikrum", "Shaper", "Disc", "DiscLS", "ShaperTest", "DACDiscL", "DACTest"),
    *("DACDISCH", "Delay", "TPBuffIn", "TPBuffOut", "RPZ", "GND", "TPRef", "FBK", "Cas"),
    *("TPRefA", "TPRefB"),
)
GAINS = ("SLGM", "LGM", "HGM", "SHGM")
CHIP = 256  # pixels along the edge of a Medipix3 chip

#: A dump of the camera's data socket puts this in front of each message: MPX,<10 digits>,
_MPX = 15
_LARGEST_HEADER = 1 << 16
_HEAD = 4096


@dataclass(frozen=True)
class Header:
    """One frame header, decoded. Times in ns since 1970 UTC, -1 where it does not say."""

    size: int
    chips: int
    width: int
    height: int
    pixel_type: str
    layout: str
    sequence: int
    local_time: str = ""
    exposure_ns: int = -1
    counter: int = 0
    colour: bool = False
    gain: str = ""
    thresholds: tuple[float, ...] = ()
    dacs: tuple[dict[str, int], ...] = ()
    utc: str = ""
    depth: int = 0  # counter depth in bits, 0 where the header does not say

    @property
    def raw(self) -> bool:
        """Whether pixels are stored as they leave the chips."""
        return self.pixel_type.startswith("R")


# ---------------------------------------------------------------- headers


def _int(text: str, default: int = -1) -> int:
    return int(text) if text.isdecimal() and len(text) < 19 else default


def parse_header(head: bytes, path: str) -> Header:
    """Decode the header that `head` begins with.

    Raises
    ------
    NotThisFormat
        It is not a Merlin header.
    """
    if head[:4] in (b"12B,", b"24B,"):
        return _parse_legacy(head)
    if not re.match(rb"MQ1,\s*\d+,\s*\d{1,5},\s*\d+,", head):
        raise NotThisFormat(
            path,
            f"is not a Merlin recording: it begins with {head[:16]!r} instead of 'MQ1,'.",
            "Pass the .mib file, or its .hdr.",
        )
    size = _int(head.split(b",", 3)[2].strip().decode())
    fields = headers.comma_fields(head[:size])
    if not 30 <= size <= _LARGEST_HEADER or len(fields) < 8:
        raise NotThisFormat(path, f"has a damaged first header: {head[:48]!r}.")
    width, height, chips = _int(fields[4]), _int(fields[5]), _int(fields[3], 1)
    if width <= 0 or height <= 0:
        raise NotThisFormat(path, f"has a first header without image size: {head[:48]!r}.")

    def field(i: int) -> str:
        return fields[i] if i < len(fields) else ""

    thresholds: tuple[float, ...] = ()
    dacs: list[dict[str, int]] = []
    if field(14) and field(14) != "MQ1A":
        # each keeps its place; some versions write malformed ones (0.000000+0)
        found = [headers.number(field(i)) for i in THRESHOLDS]
        thresholds = tuple(math.nan if t is None else t for t in found)
        # Lancelot cameras put a block OPT1, ..., END1 ahead of the DACs
        chips_at = fields.index("END1") + 1 if "END1" in fields else 22
        for chip in range(chips):
            at = chips_at + 28 * chip
            if not field(at).startswith("3"):  # 3RX, or 3.0 for the previous chip
                break
            values = [_int(field(at + 1 + i)) for i in range(27)]
            dacs.append(dict(zip(DACS, values, strict=True)))
    exposure = headers.number(field(EXPOSURE))
    exposure_ns = -1 if exposure is None or exposure < 0 else round(min(exposure, 1e9) * 1e9)
    utc, depth = "", 0
    if "MQ1A" in fields:
        at = fields.index("MQ1A")
        utc, depth = field(at + 1), _int(field(at + 3), 0)
        exact = re.fullmatch(r"(\d{1,18})\s*n[sS]", field(at + 2))
        exposure_ns = int(exact[1]) if exact else exposure_ns
    gain = _int(field(GAIN))
    return Header(
        size=size,
        chips=max(1, chips),
        width=width,
        height=height,
        pixel_type=fields[6].upper(),
        layout=fields[7],
        sequence=_int(fields[1]),
        local_time=field(LOCAL_TIME),
        exposure_ns=exposure_ns,
        counter=_int(field(COUNTER), 0),
        colour=field(COLOUR) == "1",
        gain=GAINS[gain] if 0 <= gain < 4 else "",
        thresholds=thresholds,
        dacs=tuple(dacs),
        utc=utc,
        depth=depth if depth in (1, 6, 12, 24) else 0,
    )


def _parse_legacy(head: bytes) -> Header:
    """Decode a header of 2015: 12B or 24B, number, 0, date, exposure in ms, thresholds, DACs."""
    fields = [*headers.comma_fields(head[:256]), *[""] * 7]
    exposure = headers.number(fields[4])
    twelve = fields[0] == "12B"
    return Header(
        size=256,
        chips=1,
        width=CHIP,
        height=CHIP,
        pixel_type="U16" if twelve else "U32",
        layout="1x1",
        sequence=_int(fields[1]),
        local_time=fields[3],
        exposure_ns=-1 if exposure is None or exposure < 0 else round(min(exposure, 1e9) * 1e6),
        thresholds=tuple(t for f in fields[5:7] if (t := headers.number(f)) is not None),
        depth=12 if twelve else 24,
    )


# ---------------------------------------------------------------- geometry


def _pixels(header: Header, gap: int | str | None, layout: str, path: str) -> Iterator[Pixels]:
    """Yield the pixel layouts that a header may mean, the most credible first."""
    height, width = header.height, header.width
    if not header.raw:
        bits = _int(header.pixel_type[1:])
        if header.pixel_type[:1] != "U" or bits not in (1, 8, 16, 32, 64):
            raise Unsupported(path, f"has pixels of unknown type {header.pixel_type!r}.")
        if bits == 1:  # eight pixels per byte by the description, one byte each in practice
            yield Pixels((height, width), np.dtype("u1"), flip_y=True)
            if width * height % 8 == 0:
                yield Pixels((height, width), np.dtype("u1"), "bits-be", flip_y=True)
            return
        stored = np.dtype(f">u{bits // 8}")
        between = _gap(gap, layout)
        if between and height == width == 2 * CHIP:
            yield Pixels(
                (height + between, width + between),
                stored,
                tiles=tuple(
                    Tile(r, c, r and r + between, c and c + between, False)
                    for r in (0, CHIP)
                    for c in (0, CHIP)
                ),
                tile_shape=(CHIP, CHIP),
                stored_shape=(height, width),
                flip_y=True,
            )
            return
        yield Pixels((height, width), stored, flip_y=True)
        return

    packings: dict[int, tuple[Packing, str]] = {
        1: ("medipix1", "u1"),
        6: ("medipix6", "u1"),
        12: ("medipix12", ">u2"),
        24: ("medipix24", ">u4"),
    }
    depths = [header.depth] if header.depth else [12, 6, 24, 1]
    if not header.depth and width == 2 * CHIP * header.chips:
        depths = [24, 12, 6, 1]  # twice the columns of the chips
    for depth in depths:
        packing, stored_type = packings[depth]
        # 24-bit frames are two 12-bit images; the header counts the columns of both
        widths = [width // 2, width] if depth == 24 else [width]
        if depth == 24 and width == CHIP * header.chips:
            widths.reverse()
        for columns in widths:
            if (columns % CHIP and header.chips > 1) or columns * height % 64:
                continue
            if columns < 1 or columns % {1: 64, 6: 8}.get(depth, 4):
                continue  # rows are whole 64-bit words
            stored = np.dtype(stored_type)
            blocks = columns // CHIP
            if header.chips == 1 or blocks <= 1 or layout == "1x1":
                yield Pixels((height, columns), stored, packing, flip_y=True)
                continue
            quad = layout.lower().startswith("2x2") and blocks == 4
            between = _gap(gap, layout)
            if quad:
                tiles = quad_tiles(height, CHIP, between)
                shape = (2 * height + between, 2 * CHIP + between)
            else:
                # chips side by side, read out from the last to the first
                tiles = tuple(
                    Tile(0, i * CHIP, 0, (blocks - 1 - i) * (CHIP + between), False)
                    for i in range(blocks)
                )
                shape = (height, blocks * (CHIP + between) - between)
            yield Pixels(
                shape,
                stored,
                packing,
                tiles=tiles,
                tile_shape=(height, CHIP),
                stored_shape=(height, columns),
                flip_y=True,
            )


def _gap(gap: int | str | None, layout: str) -> int:
    """Return the number of pixels to put between chips."""
    if gap == "header":
        return 2 if layout.upper().endswith("G") else 0
    return int(gap or 0)


def _hypotheses(header: Header, pixels: Pixels) -> list[Problem]:
    """Say what in the layout rests on no documentation."""
    found = []
    compare = "Compare with the camera's display, and tell us if it is wrong or right."
    if pixels.packing == "medipix24" and pixels.tiles:
        found.append(Problem("warning", "RAW 24-bit of several chips is undocumented.", compare))
    elif pixels.packing == "medipix24":
        found.append(
            Problem("info", "RAW 24-bit: the high 12 bits are taken to come first (one source).")
        )
    if pixels.tiles and header.raw and len(pixels.tiles) != 4:
        found.append(
            Problem("warning", f"RAW of {header.chips} chips in a row is undocumented.", compare)
        )
    elif pixels.tiles and header.raw and not header.layout.lower().startswith("2x2"):
        found.append(Problem("warning", "RAW of chips in a row is undocumented.", compare))
    elif pixels.tiles and header.raw and pixels.stored_shape[0] != CHIP:
        found.append(
            Problem(
                "warning", "RAW of part of the rows of a 2x2 detector is undocumented.", compare
            )
        )
    if pixels.packing == "bits-be":
        found.append(
            Problem("warning", "the bit order of packed U01 pixels is undocumented.", compare)
        )
    if header.size == 256 and header.utc == "" and header.chips == 1 and header.layout == "1x1":
        found.append(
            Problem("info", "headers of 256 bytes are known from a single description only.")
        )
    return found


@dataclass(frozen=True)
class _Layout:
    """Where frames are in one file or buffer."""

    header: Header
    pixels: Pixels
    start: int  # of the first header
    stride: int
    count: int
    hdr: dict[str, str] | None = None  # of a stream dump
    problems: tuple[Problem, ...] = ()


def _describe(
    head: bytes,
    size: int,
    path: str,
    peek: Any,
    *,
    gap: int | str | None = None,
    layout: str = "auto",
    depth: int | None = None,
) -> _Layout:
    """Work out the layout of a file of `size` bytes; ``peek(offset, n)`` reads from it."""
    start, between, hdr = 0, 0, None
    if head[:4] == b"MPX,":
        between = _MPX
        start, hdr = _first_image(head, path, peek)
        head = peek(start + _MPX, _HEAD)
        start += _MPX
    header = parse_header(head, path)
    if depth is not None:
        header = replace(header, depth=depth)
    named = header.layout if layout == "auto" else layout
    problems: list[Problem] = []
    candidates = list(_pixels(header, gap, named, path))
    if not candidates:
        raise Unsupported(
            path,
            f"has RAW frames of {header.width} x {header.height} pixels from {header.chips} chips, "
            "which is no known readout.",
        )
    for pixels in candidates:
        stride = header.size + pixels.nbytes + between
        count = (size - start + between) // stride
        following = peek(start + stride, 4) if count > 1 else b""
        if following[:3] == head[:3] or (count == 1 and (size - start + between) % stride == 0):
            break
    else:
        pixels = candidates[0]
        stride = header.size + pixels.nbytes + between
        count = (size - start + between) // stride
        if count > 1:
            problems.append(
                Problem(
                    "warning",
                    f"frame 1 does not begin with a header at byte {start + stride} as header 0 "
                    f"says ({header.pixel_type}, {header.width} x {header.height}).",
                    "Pixel values may be wrong; for RAW data pass depth=1, 6, 12 or 24.",
                    "header",
                )
            )
    if count < 1:
        raise Truncated(
            path,
            f"has {size} bytes, a frame of {pixels.shape[0]} x {pixels.shape[1]} "
            f"{header.pixel_type} pixels with its header takes {stride}.",
            "The recording holds no complete frame.",
        )
    if count > 2 and not problems and peek(start + (count - 1) * stride, 3) != head[:3]:
        problems.append(
            Problem(
                "warning",
                f"the last frame ({count - 1}) has no header: the file was cut and extended, or "
                "bytes were lost on the way.",
                "Look at the frames, and pass last_frame= to leave out the damaged ones.",
                "header",
            )
        )
    if rest := (size - start + between) % stride:
        problems.append(
            Problem("warning", f"the last frame is incomplete ({rest} of {stride} bytes), ignored.")
        )
    if count > 1 and header.sequence >= 0:
        last = peek(start + (count - 1) * stride, 16).split(b",")
        number = _int(last[1].decode("latin-1").strip()) if len(last) > 2 else -1
        if (lost := number - header.sequence - (count - 1)) > 0:
            problems.append(
                Problem(
                    "warning",
                    f"{lost} frames were lost: they are numbered {header.sequence} to {number}, "
                    f"but only {count} are stored.",
                    "Frames after the loss are shifted against the scan.",
                    "number",
                )
            )
    problems += _hypotheses(replace(header, layout=named), pixels)
    return _Layout(header, pixels, start, stride, count, hdr, tuple(problems))


def _first_image(head: bytes, path: str, peek: Any) -> tuple[int, dict[str, str] | None]:
    """Skip the acquisition header of a stream dump; return the first image message."""
    at, hdr = 0, None
    for _ in range(4):
        prefix = peek(at, _MPX + 3)
        if len(prefix) < _MPX + 3:
            raise Truncated(path, "is a dump of a Merlin data stream that ends before any image.")
        length = prefix[4:14]
        if prefix[:4] != b"MPX," or not length.isdigit() or prefix[14:15] != b",":
            raise NotThisFormat(
                path, f"is a damaged dump of a Merlin data stream: {prefix!r} at byte {at}."
            )
        if prefix[_MPX:] != b"HDR":
            return at, hdr
        text = peek(at + _MPX, min(int(length), _HEAD))
        hdr = _parse_hdr(text)
        at += _MPX + int(length) - 1
    raise NotThisFormat(path, "is a dump of a Merlin data stream without images.")


# ---------------------------------------------------------------- .hdr


def _parse_hdr(content: bytes) -> dict[str, str]:
    """Parse the text of a .hdr; old versions write µ as one byte, and leave out keys and colons."""
    text = content.split(b"\0", 1)[0].decode("latin-1")
    found = headers.key_values(text)
    return {
        key: value for key, value in found.items() if key.strip(" ,:").upper() not in ("HDR", "END")
    }


def parse_hdr_file(hdr_file: str | os.PathLike[str]) -> dict[str, str]:
    """Parse the .hdr text file that Merlin writes beside a recording.

    Parameters
    ----------
    hdr_file : str or path
        File of some 2 kB of ``Key:<tab>value`` lines, Latin-1.

    Returns
    -------
    dict
        Values as text, under the keys as written.

    Raises
    ------
    NotThisFormat
        It does not begin with ``HDR``.
    """
    content = files.read_start(files.existing(hdr_file), 1 << 16)
    if not content.lstrip().upper().startswith(b"HDR"):
        raise NotThisFormat(hdr_file, "is not a Merlin header file: it does not begin with HDR.")
    return _parse_hdr(content)


def _hdr_hints(hdr: dict[str, str], count: int, layers: int = 1) -> list[ScanHint]:
    """Read the shape of a scan of `count` positions from what the .hdr says about triggers."""

    def whole(name: str) -> int:
        value = headers.number(headers.value_of(hdr, name))
        return int(value) if value is not None else 0

    hints = []
    columns, lines = whole("ScanX"), whole("ScanY")
    in_acquisition, per_trigger = whole("Frames in Acquisition"), whole("Frames per Trigger")
    if columns > 0 and lines > 0 and columns * lines > 1:
        stored = columns
        if per_trigger > columns and per_trigger < 2 * columns:
            stored = per_trigger
        elif count % lines == 0 and 0 < count // lines - columns <= max(1, columns // 8):
            stored = count // lines
        reason = f"the .hdr says ScanX = {columns}, ScanY = {lines}"
        if stored > columns:
            reason += f"; {stored} frames are stored per line, {stored - columns} of them flyback"
        hints.append(ScanHint("header", (lines, columns), 0.95, reason, line=stored))
    total = in_acquisition or count
    if layers > 1:  # whether the .hdr counts positions or frames is not known
        total = min(total, count)
    if 1 < per_trigger < min(total, count):
        hints.append(
            ScanHint(
                "trigger",
                (-(-total // per_trigger), per_trigger),
                0.9,
                f"the .hdr says {per_trigger} frames per trigger"
                + (f" of {in_acquisition} frames" if in_acquisition else ""),
            )
        )
    return hints


def _external_trigger(hdr: dict[str, str] | None) -> bool | None:
    start = headers.value_of(hdr or {}, "Trigger Start")
    return None if not start else "internal" not in str(start).lower()


# ---------------------------------------------------------------- per-frame numbers


@dataclass(frozen=True)
class MerlinTimes:
    """Reads sequence numbers, times, exposures and counters from the headers of frames."""

    frames: FrameTable
    size: int  # bytes of a header

    def __call__(self, first: int, last: int) -> times.FrameTimes:
        parts = []
        step = 4096
        for a in range(first, max(last, first + 1), step):
            text = times.read_headers(self.frames, a, min(a + step, last), self.size, self.size)
            parts.append(frame_times(text))
        if len(parts) == 1:
            return parts[0]
        return times.FrameTimes(
            *(
                np.concatenate([getattr(p, name) for p in parts])
                for name in ("time_ns", "exposure_ns", "sequence", "counter")
            )
        )


def frame_times(text: npt.NDArray[np.uint8]) -> times.FrameTimes:
    """Decode the numbers that change from frame to frame, for many headers at once.

    Parameters
    ----------
    text : ndarray of uint8, shape (frames, header bytes)

    Returns
    -------
    FrameTimes
        -1 where a header does not say.
    """
    n = len(text)
    result = times.FrameTimes(*(np.full(n, -1, np.int64) for _ in range(4)))
    commas = text == ord(",")
    left = np.arange(n)
    # Headers of one recording differ in their digits, hardly ever in where the commas are: all
    # headers laid out like the first one left are decoded together.
    for _ in range(64):
        if not len(left):
            break
        example = left[0]
        same = left[(commas[left] == commas[example]).all(axis=1)]
        left = left[(commas[left] != commas[example]).any(axis=1)]
        _decode_alike(text, same, np.flatnonzero(commas[example]), result)
    return result


def _decode_alike(
    text: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    commas: npt.NDArray[np.int64],
    result: times.FrameTimes,
) -> None:
    starts = [0, *(commas + 1).tolist()]
    stops = [*commas.tolist(), text.shape[1]]
    block = text[rows]
    first = bytes(block[0])

    def column(i: int) -> npt.NDArray[np.uint8]:
        return block[:, starts[i] : stops[i]] if i < len(starts) else block[:, :0]

    if first[:4] in (b"12B,", b"24B,"):
        result.sequence[rows] = times.integers(column(1))
        result.time_ns[rows] = times.moments(_iso(column(3)))
        result.exposure_ns[rows] = times.decimals(column(4), 1_000_000)
        return
    if first[:3] != b"MQ1" or len(starts) <= EXPOSURE:
        return
    result.sequence[rows] = times.integers(column(1))
    result.counter[rows] = times.integers(column(COUNTER))
    moment = times.moments(_iso(column(LOCAL_TIME)))
    exposure = times.decimals(column(EXPOSURE), 1_000_000_000)
    for i in range(len(starts) - 2, EXPOSURE, -1):
        if first[starts[i] : stops[i]] == b"MQ1A":
            moment = times.moments(column(i + 1))
            exact = column(i + 2)
            digits = exact.shape[1]
            while digits and not ord("0") <= exact[0, digits - 1] <= ord("9"):
                digits -= 1  # the unit: ns, or nS in 2015
            exact_ns = times.integers(exact[:, :digits]) if 0 < digits < 19 else exposure
            exposure = np.where(exact_ns >= 0, exact_ns, exposure)
            break
    result.time_ns[rows] = moment
    result.exposure_ns[rows] = exposure


def _iso(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Turn columns of dd/mm/yyyy hh:mm:ss into yyyy-mm-dd; software before 2018 wrote them."""
    if text.shape[1] >= 19 and text[0, 2] == ord("/"):
        order = [6, 7, 8, 9, 2, 3, 4, 5, 0, 1, *range(10, text.shape[1])]
        return text[:, order]
    return text


# ---------------------------------------------------------------- checks

#: Fields at the beginning of a header that must be the same in all of a recording.
_CONSTANT = {
    2: "header size",
    3: "number of chips",
    4: "columns",
    5: "rows",
    6: "pixel type",
    7: "layout",
    8: "chip mask",
}
#: Sequence numbers have six digits, and go on with 1.
_SEQUENCE = 999_999


def _every_header(recording: Recording, seen: times.FrameTimes | None) -> Iterator[Problem]:
    """Compare what all headers have to have in common."""
    assert recording.times is not None
    reader = recording.times.read
    assert isinstance(reader, MerlinTimes)
    frames, count = reader.frames, recording.count
    first = bytes(times.read_headers(frames, 0, 1, reader.size, reader.size)[0])
    kind = first.partition(b",")[0]
    fields = first.split(b",")
    ends = np.cumsum([len(field) + 1 for field in fields]) - 1
    size = int(ends[min(8, len(ends) - 1)])
    example = np.frombuffer(first[:size], np.uint8)
    known = _CONSTANT if kind == b"MQ1" else {}
    headless: list[npt.NDArray[np.int64]] = []
    other: dict[int, list[npt.NDArray[np.int64]]] = {}
    for a in range(0, count, 1 << 16):
        text = times.read_headers(frames, a, min(a + (1 << 16), count), reader.size, size)
        differs = text != example
        lacking = differs[:, : len(kind) + 1].any(axis=1)
        headless.append(np.flatnonzero(lacking) + a)
        for i in known:
            if i < len(ends) and ends[i] <= size:
                wrong = differs[:, int(ends[i - 1]) + 1 : int(ends[i])].any(axis=1) & ~lacking
                if wrong.any():
                    other.setdefault(i, []).append(np.flatnonzero(wrong) + a)
    lost = np.concatenate(headless)
    if len(lost):
        yield Problem(
            "error",
            f"{len(lost)} of {count} frames do not begin with a header: {listed(lost)}. "
            + _displaced(frames, reader.size, int(lost[0]), kind),
            "Pixels of these frames are no measurement. Copy the recording again; last_frame= "
            "leaves out what follows the damage.",
            "every header",
        )
    for i, parts in other.items():
        wrong = np.concatenate(parts)
        header = times.read_headers(frames, int(wrong[0]), int(wrong[0]) + 1, reader.size, size)
        found = bytes(header[0]).split(b",")[i].strip().decode("latin-1")
        usual = fields[i].strip().decode("latin-1")
        yield Problem(
            "error",
            f"{len(wrong)} of {count} frames have another {_CONSTANT[i]} in their headers than the "
            f"first one, {found} instead of {usual}: {listed(wrong)}.",
            "They cannot be read like the others: are these several recordings in one file?",
        )


def _displaced(frames: FrameTable, size: int, lost: int, kind: bytes) -> str:
    """Say where the header of a frame is instead of where it should be."""
    before = frames[max(0, lost - 1) : lost + 1]
    span = list(before.spans())[-1]
    file, stride = frames.files[span.file], span.stride
    expected = span.start + (span.count - 1) * stride - size
    begin = max(0, expected - stride + len(kind) + 1)
    length = min(file.size - begin, 3 * stride)
    content = bytes(backends.read(file, begin, length, "buffered"))
    match = re.search(re.escape(kind) + rb",\s*\d+,", content)
    if match is None:
        return "There is none within the next frames either: they were never written, or lost."
    place = begin + match.start()
    apart = place - expected
    return (
        f"The one of frame {lost} should be at byte {expected}, the next is at {place}: "
        + (f"{-apart} bytes are missing" if apart < 0 else f"{apart} bytes are too many")
        + " before it."
    )


def _every_number(recording: Recording, seen: times.FrameTimes | None) -> Iterator[Problem]:
    """Follow the sequence numbers, and the counters of colour layers."""
    if seen is None:
        return
    layers = recording.layers
    groups = seen.sequence[: recording.count // layers * layers].reshape(-1, layers)
    shared = layers > 1 and bool((groups == groups[:, :1]).all())
    yield from numbering(groups[:, 0] if shared else seen.sequence, modulo=_SEQUENCE)
    cycle = seen.counter[:layers]
    wrong = np.flatnonzero(seen.counter != np.resize(cycle, recording.count))
    if layers == 1 and recording.original_metadata["mib_header"]["colour_mode"] and len(wrong):
        yield Problem(
            "warning",
            "the camera was in colour mode, but the counters in the headers do not take turns: "
            f"they begin with {', '.join(map(str, seen.counter[:16].tolist()))}.",
            "Frames are read as a plain series; pass layers= if you know the number.",
        )
    if layers > 1 and len(wrong):
        yield Problem(
            "warning",
            f"the {layers} counters of each position do not take turns from frame {wrong[0]} on: "
            f"it is of counter {seen.counter[wrong[0]]} instead of {cycle[wrong[0] % layers]}.",
            "Layers are mixed up from there on; pass last_frame= to leave that out.",
        )


def _against_hdr(recording: Recording, seen: times.FrameTimes | None) -> Iterator[Problem]:
    """Compare the recording with its .hdr."""
    hdr = recording.original_metadata.get("hdr_file")
    if not hdr:
        yield Problem(
            "info",
            "there is no .hdr beside it, which says how many frames were asked for.",
            "Keep it with the recording if the camera computer has one.",
        )
        return
    header, count = recording.original_metadata["mib_header"], recording.count
    asked = headers.number(headers.value_of(hdr, "Frames in Acquisition")) or 0
    if asked and asked not in (count, count // recording.layers):
        yield Problem(
            "warning" if count < asked else "info",
            f"the .hdr announces {int(asked)} frames, {count} are stored.",
            "The acquisition was stopped, or files of a numbered set are missing."
            if count < asked
            else "",
        )
    depth = headers.number(headers.value_of(hdr, "Counter Depth"))
    if depth and header["counter_depth"] and depth != header["counter_depth"]:
        yield Problem(
            "warning",
            f"the .hdr says {int(depth)} bits of counter depth, the frames "
            f"{header['counter_depth']}.",
            "It may belong to another recording.",
        )


CHECKS = (_every_header, _every_number, _against_hdr)


# ---------------------------------------------------------------- multi-file recordings


def _members(first: DataFile, described: _Layout) -> tuple[list[DataFile], list[Problem]]:
    """Collect the files that continue each other's frame numbers, around the one opened."""
    stem, suffix = os.path.splitext(first.path)
    digits = files.split_number(os.path.basename(stem))[1]
    for n in range(len(digits)):  # digits may belong to the stem: scan5.mib, scan51.mib, …
        base = stem[: len(stem) - n]
        if n == 0 or os.path.isfile(base + suffix):
            found, problems = _chain(first, described, os.path.basename(base))
            if len(found) > 1 and os.path.samefile(found[0].path, base + suffix):
                return found, problems
    return _chain(first, described)


def _chain(
    first: DataFile, described: _Layout, prefix: str | None = None
) -> tuple[list[DataFile], list[Problem]]:
    found = files.numbered_set(first.path, prefix)
    own = os.path.basename(first.path)
    if len(found) == 1:
        return [first], []
    same = os.path.normcase(own)
    here = next(
        i for i, f in enumerate(found) if os.path.normcase(os.path.basename(f.path)) == same
    )
    frames = [f.size // described.stride for f in found]
    prefix = files.split_number(os.path.splitext(own)[0])[0] if prefix is None else prefix
    names = [os.path.splitext(os.path.basename(f.path))[0] for f in found]
    numbers = np.array([int(name[len(prefix) :] or -1) for name in names])
    follows = np.append(False, (np.diff(numbers) == 1) | (numbers[:-1] == -1))
    ends = np.cumsum(frames)
    begins = ends - frames
    start = described.header.sequence - int(begins[here])

    def beginning(i: int) -> tuple[int, list[bytes]]:
        """Return the first frame's number, and what must be the same in all files."""
        head = files.read_start(found[i].path, 64).split(b",")
        number = _int(head[1].decode("latin-1").strip()) if len(head) > 1 else -1
        return number, [head[0], *head[2:8]]

    _, same_type = beginning(here)

    def continues(i: int) -> bool:
        number, kind = beginning(i)
        expected = (start + int(begins[i]) - 1) % 999_999 + 1
        return kind == same_type and number in (expected, start + int(begins[i]))

    def reach(direction: int) -> int:
        last = here
        while 0 <= (i := last + direction) < len(found) and frames[i] and continues(i):
            if not follows[max(i, last)]:
                break
            last = i
        return last

    # Ten thousand files of the same size whose numbering fits at twenty places are one recording.
    sample = np.unique(np.linspace(0, len(found) - 1, 20).astype(int)).tolist()
    uniform = len({f.size for f in found[:-1]}) == 1 and len(found) > 64
    if uniform and follows[1:].all() and all(continues(i) for i in sample):
        return found, []
    low, high = reach(-1), reach(+1)
    problems = []
    for i in (low - 1, high + 1):
        if 0 <= i < len(found):
            number, kind = beginning(i)
            reason = f"it begins with frame number {number}, which does not continue the numbering"
            if not frames[i]:
                reason = "it holds no complete frame"
            elif kind != same_type:
                reason = "its frames are of another kind"
            elif continues(i):
                reason = "a number is missing between their names"
            text = f"{os.path.basename(found[i].path)} is not read with {own}: {reason}."
            lost = number > 1 and i > high and kind == same_type
            problems.append(Problem("warning" if lost else "info", text))
    for i in range(low, high + 1):
        if i != here and (rest := found[i].size % described.stride):
            name = os.path.basename(found[i].path)
            problems.append(Problem("warning", f"{name} ends with {rest} bytes of a frame."))
    return found[low : high + 1], problems


# ---------------------------------------------------------------- recording


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Say how sure the first bytes make us that this is a Merlin recording."""
    if re.match(rb"MQ1,\s*\d+,\s*\d{1,5},", head):
        return 0.99, "begins with a Merlin frame header (MQ1)", {}
    if re.match(rb"MPX,\d{10},(HDR|MQ1)", head):
        return 0.99, "is a dump of a Merlin data stream (MPX)", {}
    if re.match(rb"(12|24)B,\s*\d+,", head):
        return 0.9, "begins with a Merlin frame header of 2015", {}
    if path.lower().endswith(".hdr") and head.lstrip()[:3].upper() == b"HDR":
        try:
            target = _mib_of(path)
        except FormatError:
            return 0.6, "is a Merlin .hdr, but no .mib lies beside it", {}
        return 0.99, f"is the Merlin .hdr of {os.path.basename(target)}", {}
    return None


def _mib_of(hdr_path: str) -> str:
    """Find the recording that a .hdr belongs to."""
    folder, base = os.path.split(hdr_path)
    stem = os.path.splitext(base)[0].lower()
    matches = []
    for entry in os.listdir(folder or "."):
        name, suffix = os.path.splitext(entry)
        if suffix.lower() != ".mib" or not name.lower().startswith(stem):
            continue
        rest = name[len(stem) :]
        if not rest:
            return os.path.join(folder, entry)
        # scan1.hdr is not the side file of scan12.mib
        if re.fullmatch(r"[_\-. ]\d+" if stem[-1:].isdigit() else r"[_\-. ]?\d+", rest):
            matches.append(entry)
    if not matches:
        raise FormatError(
            hdr_path,
            "no .mib file lies beside it.",
            f"Expected {os.path.splitext(base)[0]}.mib in the same folder.",
        )
    return os.path.join(folder, min(matches, key=files.natural_key))


def parse(
    filename: str | os.PathLike[str],
    *,
    gap: Literal["header"] | int | None = None,
    layout: str = "auto",
    depth: int | None = None,
    layers: int | Literal["auto"] = "auto",
    single_file: bool = False,
) -> Recording:
    """Describe a Merlin recording; reads headers only.

    Parameters
    ----------
    filename : str or path
        A .mib, any member of a numbered set, or the .hdr.
    gap, layout, depth, layers, single_file
        As in `file_reader`.

    Returns
    -------
    Recording

    Raises
    ------
    FormatError
        See `file_reader`.
    """
    asked = files.existing(filename)
    path = asked
    if asked.lower().endswith(".hdr"):
        parse_hdr_file(asked)
        path = _mib_of(asked)
    if gap not in (None, "header") and not (isinstance(gap, int) and 0 <= gap <= 64):
        raise ValueError(f'gap={gap!r} is neither None, "header" nor a number of pixels')
    if layout.lower() not in ("auto", "1x1", "2x2", "2x2g", "nx1", "nx1g"):
        raise ValueError(f"layout={layout!r} is none of auto, 1x1, 2x2, 2x2G, Nx1, Nx1G")
    if depth not in (None, 1, 6, 12, 24):
        raise ValueError(f"depth={depth!r} is none of 1, 6, 12, 24")
    file = DataFile.of(path)
    with open(path, "rb") as stream:

        def peek(offset: int, n: int) -> bytes:
            stream.seek(offset)
            return stream.read(n)

        head = peek(0, _HEAD)
        if not head:
            raise Truncated(path, "is empty.")
        described = _describe(head, file.size, path, peek, gap=gap, layout=layout, depth=depth)
    header, problems = described.header, list(described.problems)
    members = [file]
    if not single_file and described.start == 0 and header.sequence >= 0:
        members, more = _members(file, described)
        problems += more
    if members[0] != file:  # what is said about the whole recording is said by its first frame
        header = parse_header(files.read_start(members[0].path, _HEAD), members[0].path)
        header = header if depth is None else replace(header, depth=depth)
        described = replace(described, header=header)
    counts = [
        described.count if f is file or f == file else f.size // described.stride for f in members
    ]
    rows = np.zeros(len(members), RUN)
    rows["file"] = np.arange(len(members))
    rows["start"] = described.start + header.size
    rows["stride"] = described.stride
    rows["count"] = counts
    frames = FrameTable(tuple(members), rows, described.pixels)

    hdr_path: str | None = asked
    if not asked.lower().endswith(".hdr"):
        hdr_path = files.side_file(path, (".hdr",)) or files.side_file(members[0].path, (".hdr",))
    hdr = described.hdr
    if hdr is None and hdr_path is not None:
        try:
            hdr = parse_hdr_file(hdr_path)
        except NotThisFormat as error:
            hdr_path = None
            problems.append(Problem("info", f"side file ignored: {error}"))
    reader = MerlinTimes(frames, header.size)
    count = len(frames)
    n_layers = _layers(header, hdr, reader, count, problems) if layers == "auto" else int(layers)
    if not 1 <= n_layers <= count:
        raise ValueError(f"layers={layers!r} for a recording of {count} frames")
    mib_times = times.Times(
        count,
        reader,
        # of MQ1A, of the local time, of the headers of 2015
        resolution_ns=100 if header.utc else 2000 if "." in header.local_time[-7:-6] else 1_000_000,
        external_trigger=_external_trigger(hdr),
    )
    return Recording(
        format="mib",
        path=path,
        frames=frames,
        signal_axes=(Axis(), Axis()),
        hints=tuple(_hdr_hints(hdr or {}, count // n_layers, n_layers)),
        times=mib_times,
        layers=n_layers,
        layer_axis=Axis("counter"),
        metadata=_metadata(header, path),
        original_metadata={
            "mib_properties": vars(_properties(described, path, file.size, count)).copy(),
            "mib_header": _header_tree(header),
            **({"hdr_file": hdr} if hdr else {}),
        },
        files=(*(f.path for f in members), *([hdr_path] if hdr_path else [])),
        problems=tuple(problems),
    )


def _layers(
    header: Header,
    hdr: dict[str, str] | None,
    reader: MerlinTimes,
    count: int,
    problems: list[Problem],
) -> int:
    """Count the images taken at each position: one per colour or active counter.

    Continuous recording also alternates between the counters, but there each image is another
    moment; the .hdr calls this "Alternating".
    """
    active = str(headers.value_of(hdr or {}, "Active Counters") or "").lower()
    if "alternat" in active or count < 2:
        return 1
    if not header.colour and hdr and "&" not in active:
        return 1
    part = reader(0, min(count, 16))
    cycle = len(np.unique(part.counter))
    if cycle < 2 or not np.array_equal(part.counter[cycle:], part.counter[:-cycle]):
        return 1
    if not header.colour and not hdr:
        steps = np.diff(part.time_ns[: 2 * (len(part) // 2)])
        inside, between = steps[::2], steps[1::2]
        if not len(between) or inside.max() >= 0.5 * between.min():
            problems.append(
                Problem(
                    "warning",
                    "frames alternate between two counters; without a .hdr they are taken to be "
                    "a plain series (continuous readout).",
                    "Pass layers=2 if both counters were read for each position.",
                )
            )
            return 1
    if count % cycle:
        problems.append(
            Problem("warning", f"{count} frames are no multiple of {cycle} counters per position.")
        )
    return cycle


def _metadata(header: Header, path: str) -> dict[str, Any]:
    general: dict[str, Any] = {
        "title": os.path.splitext(os.path.basename(path))[0],
        "original_filename": os.path.basename(path),
    }
    stamp = header.utc or header.local_time
    if match := re.match(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d(?:\.\d+)?)", stamp):
        general["date"], general["time"] = match[1], match[2]
        if header.utc:
            general["time_zone"] = "UTC"
    elif match := re.match(r"(\d\d)/(\d\d)/(\d{4}) (\d\d:\d\d:\d\d(?:\.\d+)?)", stamp):
        general["date"] = f"{match[3]}-{match[2]}-{match[1]}"
        general["time"] = match[4]
    instrument: dict[str, Any] = {}
    if header.exposure_ns >= 0:
        seconds = header.exposure_ns / 1e9
        camera = {"name": "Merlin", "exposure": seconds}
        instrument = {"dwell_time": seconds, "TEM": {"Detector": {"Camera": camera}}}
    return {
        "General": general,
        "Signal": {"signal_type": "electron_diffraction"},
        **({"Acquisition_instrument": instrument} if instrument else {}),
    }


def _header_tree(header: Header) -> dict[str, Any]:
    """Return the first frame's header as plain values."""
    tree: dict[str, Any] = {
        "DataOffset": header.size,
        "chips": header.chips,
        "width": header.width,
        "height": header.height,
        "pixel_type": header.pixel_type,
        "layout": header.layout,
        "first_sequence_number": header.sequence,
        "counter_depth": header.depth,
        "gain": header.gain,
        "colour_mode": header.colour,
        "thresholds_keV": list(header.thresholds),
        "exposure_ns": header.exposure_ns,
        "utc": header.utc,
        "local_time": header.local_time,
    }
    for i, dacs in enumerate(header.dacs):
        tree[f"DACs_chip_{i + 1}"] = dict(dacs)
    return tree


# ---------------------------------------------------------------- reader


def file_reader(
    filename: str | os.PathLike[str],
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: int | tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool | None = None,
    *,
    gap: Literal["header"] | int | None = None,
    layout: str = "auto",
    depth: int | None = None,
    layers: int | Literal["auto"] = "auto",
    single_file: bool = False,
    print_info: bool = False,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a Merlin recording.

    Parameters
    ----------
    filename : str or path
        A .mib, any member of a numbered set, or the .hdr.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame
        As in every reader, see ``docs/parameters.md``.
    distributed : bool, optional
        Has no effect: every lazy signal works on a cluster. Passing it gives RosettaSciIO's
        deprecation warning.
    gap : None, "header" or int
        Width in pixels of the empty cross (or columns) to put between the chips of RAW and of
        512 x 512 processed frames; "header" puts 2 pixels where the layout field ends with G.
    layout : str
        Overrides the header's chip layout of RAW frames: "1x1", "2x2", "Nx1".
    depth : {1, 6, 12, 24}, optional
        Overrides the counter depth of RAW frames.
    layers : int or "auto"
        Frames stored per scan position, one after the other: colour layers or both counters.
        They become a leading navigation axis.
    single_file : bool
        Read just this file even if numbered siblings continue it.
    print_info : bool
        Print the properties of the recording.
    **options
        `ReadOptions`. ``flip_y`` is True by default: the first stored row is the bottom one.

    Returns
    -------
    list of one dict
        ``data`` has the shape (scan lines, scan columns, detector rows, detector columns), in
        unsigned integers of 8 bit (counter depth 1 and 6), 16 bit (12) or 32 bit (24).

    Raises
    ------
    NotThisFormat
        The file does not begin with a Merlin header.
    Truncated
        Not even one frame is complete.
    Unsupported
        A pixel type or chip arrangement that nobody has described.
    FormatError
        The frames cannot be arranged as asked.
    """
    _warn_distributed(distributed)
    recording = parse(
        filename, gap=gap, layout=layout, depth=depth, layers=layers, single_file=single_file
    )
    result = read(
        recording,
        lazy=lazy,
        chunks=chunks,
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )
    (signal,) = result
    original = signal["original_metadata"]
    nav = tuple(axis["size"] for axis in signal["axes"] if axis["navigate"])
    original["mib_properties"] = {
        **original["mib_properties"],
        "navigation_shape": nav,
        "xy": math.prod(nav),
    }
    signal["mapping"] = {}
    if print_info:
        properties = MIBProperties()
        properties.__dict__.update(original["mib_properties"])
        print(properties)  # noqa: T201 - asked for
    return result


def _warn_distributed(distributed: bool | None) -> None:
    if distributed is not None:
        from rsciio.exceptions import VisibleDeprecationWarning

        warnings.warn(
            "`distributed` has no effect: every lazy signal can be computed on a cluster.",
            VisibleDeprecationWarning,
            stacklevel=3,
        )


# ---------------------------------------------------------------- as in rsciio.quantumdetector


class MIBProperties:
    """Properties of a Merlin recording, under the names that `rsciio.quantumdetector` uses.

    Call `parse_file` to fill them.
    """

    def __init__(self) -> None:
        self.path: str = ""
        self.buffer = True
        self.merlin_size: tuple[int, ...] = ()
        self.assembly_size: str | None = None
        self.raw: bool | None = None
        self.dynamic_range: str | None = None
        self.packed: bool | None = None
        self.dtype: Any = None
        self.head_size = 0
        self.offset = 0
        self.navigation_shape: tuple[int, ...] = ()
        self.xy = 1
        self.number_of_frames_in_file: int | None = None
        self.frame_number_in_file: int | None = None
        self.gap: bool | None = None
        self.quad_scale: int | None = None
        self.detector_geometry: str = ""
        self.frame_double: bool | None = None
        self.roi_rows: int | None = None
        self.exposure: float | None = None
        self.timestamp: str | None = None
        self.file_size = 0

    def parse_file(self, path: str | os.PathLike[str] | bytes) -> None:
        """Fill the properties from a file, or from its content as bytes."""
        described, name, size = _describe_any(path)
        self.__dict__.update(vars(_properties(described, name, size, described.count)))

    def __repr__(self) -> str:
        return "\n".join(
            (
                f"\nPath: {self.path}" if not self.buffer else "\nPath: (in memory)",
                f"Chip configuration is {self.assembly_size}",
                f"Detector geometry: {self.detector_geometry}",
                f"Data size {self.merlin_size}",
                f"Data is {'raw' if self.raw else 'processed'}",
                f"Data type: {self.dtype}",
                f"Dynamic range: {self.dynamic_range}",
                f"Header size: {self.head_size} bytes",
                f"Number of frames in the file/buffer: {self.frame_number_in_file}",
                f"Number of frames to be read: {self.xy}",
                f"exposure: {self.exposure}",
                f"timestamp: {self.timestamp}",
            )
        )


def _properties(described: _Layout, path: str, size: int, count: int) -> MIBProperties:
    header, pixels = described.header, described.pixels
    found = MIBProperties()
    found.path, found.buffer, found.file_size = path, not path, size
    found.merlin_size = (pixels.shape[0], pixels.shape[1])
    found.assembly_size = {1: "single", 4: "quad"}.get(header.chips, f"{header.chips} chips")
    found.raw = header.raw
    found.packed = header.raw
    found.dtype = pixels.dtype.name
    depth = header.depth or {1: 6, 2: 12, 4: 24}.get(pixels.dtype.itemsize, 0)
    found.dynamic_range = "1 or 6-bit" if depth in (1, 6) else f"{depth}-bit"
    found.head_size = header.size
    found.offset = described.start
    found.frame_number_in_file = count
    found.navigation_shape, found.xy = (count,), count
    found.gap = header.layout.upper().endswith("G")
    found.detector_geometry = "" if header.layout == "1x1" else header.layout
    found.exposure = header.exposure_ns / 1e6 if header.exposure_ns >= 0 else None
    found.timestamp = header.utc or header.local_time or None
    return found


def _describe_any(path: str | os.PathLike[str] | bytes) -> tuple[_Layout, str, int]:
    """Describe one file, or its content given as bytes."""
    if isinstance(path, (bytes, bytearray, memoryview)):
        content = bytes(path)
        if not content:
            raise Truncated("<bytes>", "is empty.")
        described = _describe(
            content[:_HEAD], len(content), "<bytes>", lambda at, n: content[at : at + n]
        )
        return described, "", len(content)
    name = files.existing(path)
    if name.lower().endswith(".hdr"):
        name = _mib_of(name)
    with open(name, "rb") as stream:

        def peek(offset: int, n: int) -> bytes:
            stream.seek(offset)
            return stream.read(n)

        head = peek(0, _HEAD)
        if not head:
            raise Truncated(name, "is empty.")
        size = os.fstat(stream.fileno()).st_size
        return _describe(head, size, name, peek), name, size


def load_mib_data(
    path: str | os.PathLike[str] | bytes,
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool | None = None,
    mib_prop: MIBProperties | None = None,
    return_headers: bool = False,
    print_info: bool = False,
    return_mmap: bool = True,
) -> Any:
    """Load the frames of one .mib file as they are stored, not flipped.

    Parameters
    ----------
    path : str, path or bytes
        The file, or its content (not with `lazy`).
    lazy, chunks, first_frame, last_frame, navigation_shape
        As in `file_reader`.
    mmap_mode : {None, "r", "c"}
        Mode of the memory map; by default copy-on-write, read-only if `lazy`.
    distributed : bool, optional
        Has no effect, see `file_reader`.
    mib_prop : MIBProperties, optional
        Is filled with the properties of the file.
    return_headers : bool
        Also return the frame headers, as an array of bytes of the scan's shape.
    print_info : bool
        Print the properties.
    return_mmap : bool
        Return a memory map where the pixels are plain; RAW pixels are decoded. Otherwise scan
        axes of length 1 are left out, as RosettaSciIO does.

    Returns
    -------
    data : ndarray or dask.array.Array, shape (scan..., rows, columns)
        Big-endian where it is a memory map.
    headers : ndarray of bytes
        Only with `return_headers`.

    Raises
    ------
    ValueError
        Lazy loading from bytes, or headers without a memory map, is asked for.
    """
    _warn_distributed(distributed)
    mmap_mode = mmap_mode or ("r" if lazy else "c")
    in_memory = isinstance(path, (bytes, bytearray, memoryview))
    if in_memory and lazy:
        raise ValueError("loading lazily from bytes is not possible")
    if return_headers and not return_mmap:
        raise ValueError("return_headers=True needs return_mmap=True")
    described, name, size = _describe_any(path)
    properties = mib_prop if mib_prop is not None else MIBProperties()
    properties.__dict__.update(vars(_properties(described, name, size, described.count)))
    if navigation_shape is not None and not isinstance(navigation_shape, tuple):
        raise TypeError("`navigation_shape` must be `None` or of tuple type.")
    request = ScanRequest(
        shape=navigation_shape[::-1] if navigation_shape else None,
        hyperspy_order=True,
        first_frame=first_frame,
        last_frame=last_frame,
    )
    nav_shape, index, _ = map_frames(described.count, request, path=name or "<bytes>")
    properties.navigation_shape, properties.xy = nav_shape, math.prod(nav_shape)
    if print_info:
        print(properties)  # noqa: T201 - asked for
    pixels = replace(described.pixels, flip_y=False)
    shape = (*nav_shape, *pixels.shape)

    whole = (
        np.frombuffer(path, np.uint8)  # type: ignore[arg-type]
        if in_memory
        else np.memmap(name, np.uint8, mode="c" if mmap_mode == "c" else "r")
    )
    assert isinstance(index, slice)
    n = math.prod(nav_shape)
    begin = described.start + index.start * described.stride

    def column(offset: int, width: int) -> npt.NDArray[np.uint8]:
        return np.lib.stride_tricks.as_strided(
            whole[begin + offset :],
            (n, width),
            (described.stride, 1),
            subok=True,
            writeable=mmap_mode == "c",
        )

    data: Any
    if lazy and not (return_mmap and pixels.plain):
        file = DataFile.of(name)
        run = (0, described.start + described.header.size, described.stride, described.count)
        recording = Recording(
            format="mib",
            path=name,
            frames=FrameTable((file,), runs_of([run]), pixels),
            signal_axes=(Axis(), Axis()),
        )
        (signal,) = read(
            recording,
            lazy=True,
            chunks=chunks,
            navigation_shape=navigation_shape,
            first_frame=first_frame,
            last_frame=last_frame,
        )
        data = signal["data"]
    else:
        raw = column(described.header.size, pixels.nbytes)
        if pixels.plain:
            data = pixels.view(raw).reshape(shape)
            if not (return_mmap or in_memory):
                data = np.array(data)
        else:
            data = np.empty((n, *pixels.shape), pixels.dtype)
            pixels.decode(np.asarray(raw), data)
            data = data.reshape(shape)
    if not return_mmap:
        data = data.reshape(*(k for k in nav_shape if k != 1), *pixels.shape)
    if not return_headers:
        return data
    head = column(0, described.header.size)
    return data, head.view(f"S{described.header.size}")[:, 0].reshape(nav_shape)


def _header_bytes(found: Any, max_index: int) -> npt.NDArray[np.uint8]:
    """Return headers, in whatever form, as an array (frames, bytes)."""
    flat = np.atleast_1d(np.asarray(found)).reshape(-1)
    if not flat.size:
        return np.empty((0, 0), np.uint8)
    if max_index is not None and max_index >= 0:
        flat = flat[:max_index]
    if flat.dtype.kind != "S":
        raise TypeError(f"headers are bytes, not {flat.dtype}")
    flat = np.ascontiguousarray(flat)
    return flat.view(np.uint8).reshape(len(flat), flat.dtype.itemsize)


def parse_exposures(headers: Sequence[bytes] | bytes, max_index: int = 10000) -> list[float]:
    """Return the exposures in ms from frame headers.

    Parameters
    ----------
    headers : bytes or array of bytes, any shape
        As returned by `load_mib_data` with ``return_headers=True``.
    max_index : int
        Number of headers to look at; -1 for all.

    Returns
    -------
    list of float
        NaN where a header does not say.
    """
    exposure = frame_times(_header_bytes(headers, max_index)).exposure_ns
    return [e / 1e6 if e >= 0 else math.nan for e in exposure.tolist()]


def parse_timestamps(headers: Sequence[bytes] | bytes, max_index: int = 10000) -> list[str]:
    """Return the times of frames as ISO 8601 text with nanoseconds.

    Parameters
    ----------
    headers : bytes or array of bytes, any shape
        As returned by `load_mib_data` with ``return_headers=True``.
    max_index : int
        Number of headers to look at; -1 for all.

    Returns
    -------
    list of str
        Ends with Z where the header has UTC; empty where it has no time at all.
    """
    text = _header_bytes(headers, max_index)
    moments = frame_times(text).time_ns
    utc = "Z" if len(text) and b"MQ1A" in bytes(text[0]) else ""
    return [
        np.datetime_as_string(np.datetime64(t, "ns")) + utc if t >= 0 else ""
        for t in moments.tolist()
    ]
