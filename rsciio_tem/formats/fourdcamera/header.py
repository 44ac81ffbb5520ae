# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of frames and sectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import DataFile

HEADER = np.dtype(
    [
        ("scan_number", "<u4"),  # 0
        ("frame_number", "<u4"),  # 4, counted by the camera
        ("width", "<u2"),  # 8, positions of a line of the scan
        ("height", "<u2"),  # 10, lines of the scan
        ("x", "<u2"),  # 12, position of this frame in its line
        ("y", "<u2"),  # 14, line of this frame
    ]
)
#: Rows and columns of the sensor, and its sectors.
SENSOR, SECTORS = (576, 576), 4
#: Rows and columns of what follows a header, by version.
SHAPES = {3: SENSOR, 4: (576, 144), 5: (144, 576)}


def record_bytes(version: int) -> int:
    """Return the bytes of a header and what follows it."""
    rows, columns = SHAPES[version]
    return HEADER.itemsize + 2 * rows * columns


def is_header(header: Any) -> bool:
    """Whether a header names a position within a scan."""
    return bool(header["x"] < header["width"] and header["y"] < header["height"])


def read_headers(file: DataFile, version: int, numbers: npt.NDArray[np.int64]) -> Any:
    """Return the headers of some records of a file."""
    size = record_bytes(version)
    headers = np.empty(len(numbers), HEADER)
    raw = headers.view(np.uint8).reshape(-1, HEADER.itemsize)
    backends.read_pieces_at(file, (numbers * size).tolist(), raw)
    return headers
