# SPDX-License-Identifier: GPL-3.0-or-later
"""TVIPS recordings: versions 1 and 2, frame headers of any length, split series."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

#: Fields of a frame header of version 2: name and code, four bytes each.
FIELDS = (
    *(("counter", "I"), ("timestamp", "I"), ("ms", "I"), ("lut_index", "I"), ("faraday", "f")),
    *(("mag", "I"), ("mode", "I"), ("stage_x", "f"), ("stage_y", "f"), ("stage_z", "f")),
    *(("stage_alpha", "f"), ("stage_beta", "f"), ("rotidx", "I"), ("dens_t", "f")),
    *(("dens_t_set", "f"), ("dens_power", "f"), ("objective", "f"), ("scan_x", "f")),
    *((name, "f") for name in ("scan_y", "bias_u_set", "bias_u", "bias_i_set", "bias_i")),
    *((name, "f") for name in ("bias_e_set", "bias_r", "bias_limit_u", "bias_limit_i")),
)
TIME = 1_600_000_000


def series_header(
    shape: tuple[int, int],
    bits: int = 16,
    version: int = 2,
    frame_header: int = 128,
    *,
    pixel_size: int = 3,
    offset: tuple[int, int] = (0, 0),
    magnification: int = 80,
    high_tension: int = 200,
    filler: bytes = b"TVIPS ",
    size: int = 256,
) -> bytes:
    """Return the header of the first file; `shape` is (rows, columns)."""
    rows, columns = shape
    start = struct.pack(
        "<12I",
        *(size, version, columns, rows, bits, *offset, 1, 1),
        *(pixel_size, high_tension, magnification),
    )
    text = filler * (300 // len(filler))
    own = struct.pack("<I", frame_header) if version != 1 else b""
    return (start + own + text)[:256].ljust(size, b"\0")


def frame_header(length: int = 128, **values: Any) -> bytes:
    """Return the header of one frame, cut or padded to `length` bytes."""
    values = {"timestamp": TIME, "mode": 2, **values}
    packed = b"".join(struct.pack(f"<{code}", values.get(name, 0)) for name, code in FIELDS)
    return packed[:length].ljust(length, b"\0")


def write_tvips(
    path: str | os.PathLike[str],
    frames: NDArray[Any],
    version: int = 2,
    frame_header_bytes: int = 128,
    *,
    files: Sequence[int] = (),
    rotator: Sequence[int] | None = None,
    scan: Sequence[tuple[float, float]] | None = None,
    times_ms: Sequence[int] | None = None,
    truncate: int = 0,
    fields: dict[str, Any] | None = None,
    **header: Any,
) -> Path:
    """Write a recording; returns the path of its first file.

    Parameters
    ----------
    path : path
        ``NAME_000.tvips``; with `files` the others are named after it.
    frames : ndarray of uint8 or uint16, shape (n, rows, columns)
    version, frame_header_bytes : int
        Version 1 always has frame headers of 12 bytes.
    files : sequence of int
        Number of frames in each file of a series.
    rotator, scan : sequence
        Rotator index, and scan coordinates (y, x), of each frame.
    times_ms : sequence of int
        Time of each frame in ms; by default 1 ms apart.
    truncate : int
        Bytes to cut from the end of the last file.
    fields : dict
        Other fields of all frame headers.
    header
        Keywords of `series_header`.
    """
    path = Path(path)
    length = 12 if version == 1 else frame_header_bytes
    start = series_header(
        frames.shape[1:], frames.dtype.itemsize * 8, version, frame_header_bytes, **header
    )
    stored = frames.astype(frames.dtype.newbyteorder("<"))
    begin = 0
    for number, count in enumerate(files or (len(frames),)):
        content = [start] if number == 0 else []
        for i in range(begin, begin + count):
            moment = i if times_ms is None else times_ms[i]
            values = dict(fields or {}, counter=i + 1)
            values |= {"timestamp": TIME + moment // 1000, "ms": moment % 1000}
            if rotator is not None:
                values["rotidx"] = rotator[i]
            if scan is not None:
                values["scan_y"], values["scan_x"] = scan[i]
            content += [frame_header(length, **values), stored[i].tobytes()]
        whole = b"".join(content)
        last = begin + count == len(frames)
        name = path.name.replace("_000", f"_{number:03d}")
        (path.parent / name).write_bytes(whole[: len(whole) - truncate] if last else whole)
        begin += count
    return path


def raster(ny: int, nx: int, winding: bool = False) -> list[tuple[int, int]]:
    """Return the coordinates (y, x) of a scan; `winding` runs every second line backwards."""
    return [(y, nx - 1 - x if winding and y % 2 else x) for y in range(ny) for x in range(nx)]
