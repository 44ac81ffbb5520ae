# SPDX-License-Identifier: GPL-3.0-or-later
"""The ASCII header of a frame: layout, decoding of one, times of many."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import NotThisFormat
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.parsing.text import comma_fields, to_number
from rsciio_tem.scan import times
from rsciio_tem.scan.frame_headers import decimals, integers, moments, read_headers

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
    fields = comma_fields(head[:size])
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
        found = [to_number(field(i)) for i in THRESHOLDS]
        thresholds = tuple(math.nan if t is None else t for t in found)
        # Lancelot cameras put a block OPT1, ..., END1 ahead of the DACs
        chips_at = fields.index("END1") + 1 if "END1" in fields else 22
        for chip in range(chips):
            at = chips_at + 28 * chip
            if not field(at).startswith("3"):  # 3RX, or 3.0 for the previous chip
                break
            values = [_int(field(at + 1 + i)) for i in range(27)]
            dacs.append(dict(zip(DACS, values, strict=True)))
    exposure = to_number(field(EXPOSURE))
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
    fields = [*comma_fields(head[:256]), *[""] * 7]
    exposure = to_number(fields[4])
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
        thresholds=tuple(t for f in fields[5:7] if (t := to_number(f)) is not None),
        depth=12 if twelve else 24,
    )


# ---------------------------------------------------------------- per-frame numbers


@dataclass(frozen=True)
class MerlinTimes:
    """Reads sequence numbers, times, exposures and counters from the headers of frames."""

    frames: FrameTable
    size: int  # bytes of a header

    def __call__(self, first: int, last: int) -> times.FrameTimes:
        """Read the times of stored frames first..last."""
        parts = []
        step = 4096
        for a in range(first, max(last, first + 1), step):
            text = read_headers(self.frames, a, min(a + step, last), self.size, self.size)
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
        result.sequence[rows] = integers(column(1))
        result.time_ns[rows] = moments(_iso(column(3)))
        result.exposure_ns[rows] = decimals(column(4), 1_000_000)
        return
    if first[:3] != b"MQ1" or len(starts) <= EXPOSURE:
        return
    result.sequence[rows] = integers(column(1))
    result.counter[rows] = integers(column(COUNTER))
    moment = moments(_iso(column(LOCAL_TIME)))
    exposure = decimals(column(EXPOSURE), 1_000_000_000)
    for i in range(len(starts) - 2, EXPOSURE, -1):
        if first[starts[i] : stops[i]] == b"MQ1A":
            moment = moments(column(i + 1))
            exact = column(i + 2)
            digits = exact.shape[1]
            while digits and not ord("0") <= exact[0, digits - 1] <= ord("9"):
                digits -= 1  # the unit: ns, or nS in 2015
            exact_ns = integers(exact[:, :digits]) if 0 < digits < 19 else exposure
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
