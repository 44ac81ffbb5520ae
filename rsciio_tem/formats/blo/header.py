# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of a blockfile: layout, byte order, depth."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Problems, Truncated
from rsciio_tem.storage import files

Ints = npt.NDArray[np.int64]


Endianness = Literal["<", ">"]


#: File header. Little-endian in every recorded file.
HEADER = np.dtype(
    [
        ("ID", "S6"),  # 0: IMGBLO
        ("MAGIC", "<u2"),  # 6: 258 for 8-bit pixels, 259 for files that say how many bits
        ("Data_offset_1", "<u4"),  # 8: where the image of the scan begins; 4096 so far
        ("Data_offset_2", "<u4"),  # 12: where the first record begins
        ("UNKNOWN1", "<u4"),  # 16: 131135 or 131141
        ("DP_SZ", "<u2"),  # 20: rows and columns of a pattern
        ("DP_rotation", "<u2"),  # 22: degrees / 100, presumably
        ("NX", "<u2"),  # 24: scan positions along the fast axis
        ("NY", "<u2"),  # 26: along the slow axis
        ("Scan_rotation", "<u2"),  # 28: degrees / 100
        ("SX", "<f8"),  # 30: nm per scan position, fast axis
        ("SY", "<f8"),  # 38: slow axis
        ("Beam_energy", "<u4"),  # 46: V
        ("SDP", "<u2"),  # 50: pixels per cm, times 100
        ("Camera_length", "<u4"),  # 52: 0.1 mm
        ("Acquisition_time", "<f8"),  # 56: days since 1899-12-30
        *((f"Centering_N{i}", "<f8") for i in range(8)),  # 64: polynomial of the centring
        *((f"Distortion_N{i:02d}", "<f8") for i in range(14)),  # 128: of the distortion
    ]
)


#: What comes before the pixels of each record.
RECORD = np.dtype(
    [
        ("mark", "<u2"),  # 0: 0x55AA
        ("id", "<u4"),  # 2: number of the scan position, from 0
    ]
)


ID, MARK = b"IMGBLO", 0x55AA


MAGIC_8, MAGIC_16 = 0x0102, 0x0103


VBF_OFFSET = 4096


BIT_DEPTH = re.compile(rb"Blo Bit Depth\s*:\s*(\d+)\s*bits", re.IGNORECASE)


def _decoded(head: bytes, endianness: Endianness) -> np.void:
    header: np.void = np.frombuffer(head, HEADER.newbyteorder(endianness), 1)[0]
    return header


def read_header(
    path: str, endianness: Endianness, problems: Problems
) -> tuple[np.void, Endianness, bytes]:
    """Read the header; returns it, its byte order, and the note behind it."""
    if endianness not in ("<", ">"):
        raise ValueError(f"endianness={endianness!r} is neither '<' nor '>'")
    head = files.read_start(path, HEADER.itemsize)
    if head[:6] != ID:
        raise NotThisFormat(path, f"is not a blockfile: it begins with {head[:6]!r}, not {ID!r}.")
    if len(head) < HEADER.itemsize:
        raise Truncated(path, f"ends inside its header, after {len(head)} bytes.")
    header = _decoded(head, endianness)
    if header["MAGIC"] not in (MAGIC_8, MAGIC_16):
        other: Endianness = ">" if endianness == "<" else "<"
        if _decoded(head, other)["MAGIC"] in (MAGIC_8, MAGIC_16):
            header, endianness = _decoded(head, other), other
            order = "little" if other == "<" else "big"
            problems.warn(f"is {order}-endian and is read as such.")
        else:
            problems.warn(
                "Blockfile has unrecognized header signature "
                f"{int(header['MAGIC'])}; it is read like one of 258."
            )
    begin, size = int(header["Data_offset_1"]), files.bytes_of(path)
    if not HEADER.itemsize <= begin <= int(header["Data_offset_2"]) or header["DP_SZ"] == 0:
        raise FormatError(
            path,
            f"has a damaged header: image of the scan at byte {begin}, patterns at byte "
            f"{int(header['Data_offset_2'])}, {int(header['DP_SZ'])} pixels along an edge.",
        )
    if int(header["Data_offset_2"]) >= size:
        raise Truncated(
            path,
            f"ends at byte {size}, before the first pattern at byte "
            f"{int(header['Data_offset_2'])}.",
        )
    return header, endianness, files.read_start(path, min(begin, 1 << 18))[HEADER.itemsize :]


def bytes_per_pixel(header: np.void, note: bytes, size: int, problems: Problems) -> int:
    """Return the bytes of a pixel: what the header says, unless the size of the file says other."""
    by_header = 1
    if header["MAGIC"] == MAGIC_16 and (line := BIT_DEPTH.search(note)):
        by_header = 2 if int(line[1]) > 8 else 1
    positions = int(header["NX"]) * int(header["NY"])
    pixels = int(header["DP_SZ"]) ** 2
    rest = size - int(header["Data_offset_2"])
    for other in (1, 2):
        if (
            positions
            and rest == positions * (RECORD.itemsize + pixels * other)
            and other != by_header
        ):
            problems.warn(
                f"pixels have {other * 8} bits by the size of the file, {by_header * 8} by its "
                f"header; {other * 8} is used."
            )
            return other
    return by_header
