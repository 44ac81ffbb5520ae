# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of series and frames, versions 1 and 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Unsupported
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.scan.frame_headers import read_headers, read_headers_at
from rsciio_tem.scan.times import FrameTimes

Ints = npt.NDArray[np.int64]


Placement = Literal["auto", "counters", "scan", "rotator", "stored"]


#: Series header, little-endian, at the beginning of the first file.
HEADER = np.dtype(
    [
        ("size", "<u4"),  # 0: bytes of this header, 256
        ("version", "<u4"),  # 4: 1 or 2
        ("dimx", "<u4"),  # 8: columns of a frame
        ("dimy", "<u4"),  # 12: rows of a frame
        ("bitsperpixel", "<u4"),  # 16: 8 or 16
        ("offsetx", "<u4"),  # 20: origin of the frame, in units of the axis
        ("offsety", "<u4"),  # 24
        ("binx", "<u4"),  # 28: binning of the camera
        ("biny", "<u4"),  # 32
        ("pixelsize", "<u4"),  # 36: nm (images) or 1/nm (diffraction) per pixel, whole numbers
        ("ht", "<u4"),  # 40: high tension, kV
        ("magtotal", "<u4"),  # 44: magnification, or camera length in diffraction mode
        ("frameheaderbytes", "<u4"),  # 48: bytes before each frame's pixels; version 2 only
        ("dummy", "S204"),  # 52: filler, "TVIPS TVIPS ..."
    ]
)


#: Frame header of version 1; version 2 begins alike.
FRAME_V1 = np.dtype(
    [
        ("counter", "<u4"),  # 0: frame counter, may start over
        ("timestamp", "<u4"),  # 4: s since 1970-01-01 UTC
        ("ms", "<u4"),  # 8: ms to add
    ]
)


#: Frame header of version 2. Shorter ones end after any field, longer ones are padded.
FRAME = np.dtype(
    [
        ("counter", "<u4"),  # 0: as in version 1
        ("timestamp", "<u4"),  # 4
        ("ms", "<u4"),  # 8
        ("lut_index", "<u4"),  # 12: colour table
        ("faraday", "<f4"),  # 16: Faraday cup
        ("mag", "<u4"),  # 20: magnification as set at the microscope
        ("mode", "<u4"),  # 24: 1 image, 2 diffraction
        ("stage_x", "<f4"),  # 28: nm
        ("stage_y", "<f4"),  # 32: nm
        ("stage_z", "<f4"),  # 36: nm
        ("stage_alpha", "<f4"),  # 40: degrees
        ("stage_beta", "<f4"),  # 44: degrees
        ("rotidx", "<u4"),  # 48: rotator index, counts scan positions from 1; 0 outside a scan
        ("dens_t", "<f4"),  # 52: heating holder, temperature measured
        ("dens_t_set", "<f4"),  # 56: temperature set
        ("dens_power", "<f4"),  # 60: heating power
        ("objective", "<f4"),  # 64: current of the objective lens
        ("scan_x", "<f4"),  # 68: scan coordinates, whole numbers
        ("scan_y", "<f4"),  # 72
        ("bias_u_set", "<f4"),  # 76: biasing holder
        ("bias_u", "<f4"),  # 80
        ("bias_i_set", "<f4"),  # 84
        ("bias_i", "<f4"),  # 88
        ("bias_e_set", "<f4"),  # 92
        ("bias_r", "<f4"),  # 96
        ("bias_limit_u", "<f4"),  # 100
        ("bias_limit_i", "<f4"),  # 104
    ]
)


#: Bytes that a frame header needs for its rotator index, and for its scan coordinates.
ROTATOR_END, SCAN_END = 52, 76


#: RosettaSciIO writes this much of it.
_SHORT = 60


LARGEST_SIDE = 1 << 16


def series_header(head: bytes, size: int) -> np.void | None:
    """Return the series header that `head` begins with, None if it begins with something else."""
    if len(head) < HEADER.itemsize:
        return None
    header: np.void = np.frombuffer(head, HEADER, 1)[0]
    marked = header["version"] in (1, 2) or b"TVIPS" in head[52:256]
    plain = 52 <= header["size"] <= min(size, LARGEST_SIDE) and header["bitsperpixel"] <= 128
    sides = 0 < header["dimx"] < LARGEST_SIDE and 0 < header["dimy"] < LARGEST_SIDE
    return header if marked and plain and sides else None


def frame_header_bytes(header: np.void, path: str) -> int:
    """Return how many bytes lie before the pixels of each frame."""
    version, announced = int(header["version"]), int(header["frameheaderbytes"])
    if version == 1:
        # RosettaSciIO writes headers of version 2 whatever the version it is told
        written_so = bytes(header["dummy"]).startswith(b"HYPERSPY") and announced >= _SHORT
        return announced if written_so else FRAME_V1.itemsize
    if version != 2:
        raise Unsupported(
            path, f"is a TVIPS recording of version {version}; only 1 and 2 are known."
        )
    if not FRAME_V1.itemsize <= announced <= LARGEST_SIDE:
        raise FormatError(path, f"announces frame headers of {announced} bytes.")
    return announced


def frame_headers(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.void]:
    """Return frame headers as records; fields beyond the end of short ones are zero."""
    padded = np.zeros((len(raw), FRAME.itemsize), np.uint8)
    size = min(raw.shape[1], FRAME.itemsize)
    padded[:, :size] = raw[:, :size]
    return padded.view(FRAME)[:, 0]


def read_frame_headers(
    frames: FrameTable, before: int, first: int, last: int
) -> npt.NDArray[np.void]:
    """Return the headers of a range of frames."""
    return frame_headers(read_headers(frames, first, last, before, min(before, FRAME.itemsize)))


def read_frame_headers_at(frames: FrameTable, before: int, index: Ints) -> npt.NDArray[np.void]:
    """Return the headers of some frames."""
    return frame_headers(read_headers_at(frames, index, before, min(before, FRAME.itemsize)))


#: Milliseconds of a year: no recording is of the year 1970.
_YEAR = 365 * 86_400_000


def milliseconds(headers: npt.NDArray[np.void]) -> Ints:
    """Return the times of frames, in ms since 1970."""
    result: Ints = headers["timestamp"].astype(np.int64) * 1000 + headers["ms"]
    return result


def frame_times(frames: FrameTable, before: int, first: int, last: int) -> FrameTimes:
    """Read the times of frames; a blank has none."""
    headers = frame_headers(read_headers(frames, first, last, before, FRAME_V1.itemsize))
    return _times_in(headers, first == 0)


def frame_times_at(frames: FrameTable, before: int, index: Ints) -> FrameTimes:
    """Read the times of some frames."""
    headers = frame_headers(read_headers_at(frames, index, before, FRAME_V1.itemsize))
    return _times_in(headers, index[:2].tolist() == [0, 1])


def _times_in(headers: npt.NDArray[np.void], from_first: bool) -> FrameTimes:
    moments = milliseconds(headers)
    nothing = np.full(len(headers), -1, np.int64)
    stamped = moments > 0
    if from_first and len(moments) > 1 and moments[0] == 0:
        stamped[0] = 0 < moments[1] < _YEAR  # a clock that starts with the recording
    # counters of the camera start over, so they number nothing
    return FrameTimes(np.where(stamped, moments * 1_000_000, -1), nothing, nothing, nothing)


def fields_of(record: np.void, size: int = 1 << 30) -> dict[str, Any]:
    """Return the fields of a record that lie within its first `size` bytes."""
    fields: Mapping[str, Any] = record.dtype.fields or {}
    result = {}
    for name in record.dtype.names or ():
        if fields[name][1] + fields[name][0].itemsize <= size:
            value = record[name].item()
            result[name] = value.decode("latin-1") if isinstance(value, bytes) else value
    return result
