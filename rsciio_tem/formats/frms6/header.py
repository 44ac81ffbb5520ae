# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of a file and of its frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Truncated, Unsupported
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

#: Frame headers.
Records = npt.NDArray[np.void]

#: File header, little-endian.
HEADER = np.dtype(
    [
        ("my_length", "<u2"),  # 0: bytes of this header, 1024
        ("frame_header_length", "<u2"),  # 2: bytes of a frame header, 64
        ("n_ccds", "u1"),  # 4: sensors that are read out
        ("width8", "u1"),  # 5: width in older versions
        ("max_height8", "u1"),  # 6: height in older versions
        ("version", "u1"),  # 7: 6
        ("dataset_id", "S80"),  # 8: text
        ("width", "<u2"),  # 88: stored columns, those of both halves
        ("max_height", "<u2"),  # 90: most rows that a frame has
        ("fill", "V928"),  # 92: unused
        ("num_frames", "<u4"),  # 1020: frames in this file; 0 in older files
    ]
)

#: What comes before the pixels of each frame.
FRAME = np.dtype(
    [
        ("start", "u1"),  # 0: as the_start, in older versions
        ("info", "u1"),  # 1: flags
        ("ccd_id", "u1"),  # 2: sensor
        ("height8", "u1"),  # 3: height in older versions
        ("tv_sec", "<u4"),  # 4: s since 1970-01-01 UTC
        ("tv_usec", "<u4"),  # 8: µs to add
        ("index", "<u4"),  # 12: number of the frame
        ("temperature", "<f8"),  # 16: voltage of the temperature sensor
        ("the_start", "<u2"),  # 24: first row of the window
        ("the_height", "<u2"),  # 26: rows of this frame
        ("external_id", "<u4"),  # 28: number given from outside
        ("bunch_id", "<u8"),  # 32: number of the X-ray pulse
        ("fill", "V24"),  # 40: unused
    ]
)

#: The first bytes of a file: both header lengths.
START = b"\x00\x04\x40\x00"

VERSION = 6

#: Stored rows and columns of the camera when nothing is binned.
SENSOR = 132, 528


def read_file_header(file: DataFile) -> np.void:
    """Read and check the header of a .frms6 file."""
    content = files.read_start(file.path, HEADER.itemsize)
    if content[:4] != START[: len(content)]:
        raise NotThisFormat(
            file.path, f"is not an FRMS6 file: it begins with {content[:4].hex(' ')}."
        )
    if len(content) < HEADER.itemsize:
        raise Truncated(file.path, f"ends inside its header, after {len(content)} bytes.")
    header: np.void = np.frombuffer(content, HEADER, 1)[0]
    if header["version"] != VERSION:
        raise Unsupported(file.path, f"has FRMS version {header['version']}; only 6 is known.")
    rows, columns = int(header["max_height"]), int(header["width"])
    if not rows or not columns or columns % 2:
        shape = f"frames of {rows} rows and {columns} columns, which are not two halves"
        raise FormatError(file.path, f"has a damaged header: {shape}.")
    return header


def records(raw: npt.NDArray[np.uint8]) -> Records:
    """See the bytes of frame headers, one row each, as records."""
    return np.ascontiguousarray(raw).view(FRAME)[:, 0]


def plain_values(record: np.void) -> dict[str, Any]:
    """Return a header as plain values."""
    values = {name: record[name].item() for name in record.dtype.names or () if name != "fill"}
    return {k: v.decode("latin-1") if isinstance(v, bytes) else v for k, v in values.items()}
