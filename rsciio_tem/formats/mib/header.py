# SPDX-License-Identifier: GPL-3.0-or-later
"""The ASCII header of a frame: its layout, and what the first one says of the recording."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from rsciio_tem.errors import NotThisFormat
from rsciio_tem.parsing.metadata import general, put
from rsciio_tem.parsing.text import comma_fields, to_number

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

#: Sequence numbers have six digits, and go on with 1.
LAST_NUMBER = 999_999

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

_LARGEST_HEADER = 1 << 16

#: Bytes at the beginning of a file that hold everything which the first header says.
HEAD_BYTES = 4096


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


def integer(text: str, default: int = -1) -> int:
    """Return a number that a field consists of, or the default."""
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
    if head and not any(head):
        raise NotThisFormat(
            path,
            "holds nothing but zeros where its first header should be: it was never written there, "
            "or a copy was interrupted.",
            "Copy it again.",
        )
    if not re.match(rb"MQ1,\s*\d+,\s*\d{1,5},\s*\d+,", head):
        raise NotThisFormat(
            path,
            f"is not a Merlin recording: it begins with {head[:16]!r} instead of 'MQ1,'.",
            "Pass the .mib file, or its .hdr.",
        )
    size = integer(head.split(b",", 3)[2].strip().decode())
    fields = comma_fields(head[:size])
    if not 30 <= size <= _LARGEST_HEADER or len(fields) < 8:
        raise NotThisFormat(path, f"has a damaged first header: {head[:48]!r}.")
    width, height, chips = integer(fields[4]), integer(fields[5]), integer(fields[3], 1)
    if width <= 0 or height <= 0:
        raise NotThisFormat(path, f"has a first header without image size: {head[:48]!r}.")

    def field(i: int) -> str:
        return fields[i] if i < len(fields) else ""

    thresholds: tuple[float, ...] = ()
    dacs: list[dict[str, int]] = []
    if field(14) and field(14) != "MQ1A":
        # each keeps its place; some versions write malformed ones (0.000000+0)
        energies = [to_number(field(i)) for i in THRESHOLDS]
        thresholds = tuple(math.nan if energy is None else energy for energy in energies)
        # Lancelot cameras put a block OPT1, ..., END1 ahead of the DACs
        chips_at = fields.index("END1") + 1 if "END1" in fields else 22
        for chip in range(chips):
            at = chips_at + 28 * chip
            if not field(at).startswith("3"):  # 3RX, or 3.0 for the previous chip
                break
            values = [integer(field(at + 1 + i)) for i in range(27)]
            dacs.append(dict(zip(DACS, values, strict=True)))
    exposure = to_number(field(EXPOSURE))
    exposure_ns = -1 if exposure is None or exposure < 0 else round(min(exposure, 1e9) * 1e9)
    utc, depth = "", 0
    if "MQ1A" in fields:
        at = fields.index("MQ1A")
        utc, depth = field(at + 1), integer(field(at + 3), 0)
        exact = re.fullmatch(r"(\d{1,18})\s*n[sS]", field(at + 2))
        exposure_ns = int(exact[1]) if exact else exposure_ns
    gain = integer(field(GAIN))
    return Header(
        size=size,
        chips=max(1, chips),
        width=width,
        height=height,
        pixel_type=fields[6].upper(),
        layout=fields[7],
        sequence=integer(fields[1]),
        local_time=field(LOCAL_TIME),
        exposure_ns=exposure_ns,
        counter=integer(field(COUNTER), 0),
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
        sequence=integer(fields[1]),
        local_time=fields[3],
        exposure_ns=-1 if exposure is None or exposure < 0 else round(min(exposure, 1e9) * 1e6),
        thresholds=tuple(t for f in fields[5:7] if (t := to_number(f)) is not None),
        depth=12 if twelve else 24,
    )


def header_tree(header: Header) -> dict[str, Any]:
    """Return a frame's header as plain values."""
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


def _date_and_time(header: Header) -> dict[str, Any]:
    """Return the moment of a frame as entries of the General part, all digits as written."""
    stamp = header.utc or header.local_time
    clock = r"(\d\d:\d\d:\d\d(?:\.\d+)?)"
    if match := re.match(rf"(\d{{4}}-\d\d-\d\d)[T ]{clock}", stamp):
        zone = {"time_zone": "UTC"} if header.utc else {}
        return {"date": match[1], "time": match[2], **zone}
    if match := re.match(rf"(\d\d)/(\d\d)/(\d{{4}}) {clock}", stamp):
        return {"date": f"{match[3]}-{match[2]}-{match[1]}", "time": match[4]}
    return {}


def metadata(header: Header, path: str) -> dict[str, Any]:
    """Return what the first header says, as RosettaSciIO's metadata."""
    tree: dict[str, Any] = {
        "General": general(path, "", **_date_and_time(header)),
        "Signal": {"signal_type": "electron_diffraction"},
    }
    if header.exposure_ns >= 0:
        seconds = header.exposure_ns / 1e9
        put(tree, "Acquisition_instrument.dwell_time", seconds)
        put(tree, "Acquisition_instrument.TEM.Detector.Camera.name", "Merlin")
        put(tree, "Acquisition_instrument.TEM.Detector.Camera.exposure", seconds)
    return tree
