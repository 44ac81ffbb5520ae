# SPDX-License-Identifier: GPL-3.0-or-later
"""Layouts of the header, the times and the image formats of a .seq file."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

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

#: Bytes of a time before version 5.
OLD_STAMP = 6

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

#: Rows or columns that no image exceeds.
MAX_SIDE = 1 << 17


def plain_values(record: np.void) -> dict[str, Any]:
    """Return a record as plain values; texts are cut at their end."""
    result = {}
    for name in record.dtype.names or ():
        value = record[name].item()
        if isinstance(value, bytes):
            value = _narrow(value)
        elif isinstance(value, float) and not math.isfinite(value):
            value = None
        result[name] = value
    return result


def header_tree(header: np.void) -> dict[str, Any]:
    """Return the file header as plain values."""
    tree = plain_values(header)
    tree.pop("padding")
    raw = header.tobytes()
    tree["name"] = _wide(raw[4:28])
    decode = {0: _wide, 1: _narrow}.get(int(header["description_format"]), _hexadecimal)
    tree["description"] = decode(raw[36:548])
    return tree


def _wide(raw: bytes) -> str:
    return raw.decode("utf-16-le", "replace").split("\0", 1)[0].strip()


def _narrow(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("latin-1")


def _hexadecimal(raw: bytes) -> str:
    return raw.rstrip(b"\0").hex()
