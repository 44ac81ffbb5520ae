# SPDX-License-Identifier: GPL-3.0-or-later
"""MRC files of all modes, with extended headers, and what Direct Electron writes beside a movie."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

IMOD_STAMP = 1146047817
STAMPS = {"<": b"\x44\x44\0\0", ">": b"\x11\x11\0\0"}
#: mode of each type of pixel, unless told otherwise
MODES = {"i1": 0, "u1": 0, "i2": 1, "f4": 2, "c8": 4, "u2": 6, "f2": 12, "i4": 7, "u4": 8}


def mrc_header(
    shape: tuple[int, int, int],
    mode: int,
    *,
    order: str = "<",
    cell: tuple[float, float, float] = (0.0, 0.0, 0.0),
    grid: tuple[int, int, int] | None = None,
    axes: tuple[int, int, int] = (1, 2, 3),
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    limits: tuple[float, float, float] = (0.0, -1.0, -2.0),
    ispg: int = 0,
    extended: int = 0,
    kind: bytes = b"",
    version: int = 20140,
    imod: int | None = None,
    mark: bytes = b"MAP ",
    stamp: bytes | None = None,
    labels: Sequence[bytes] = (),
    serialem: tuple[int, int] = (0, 0),
) -> bytes:
    """Return the header; `shape` is (NZ, NY, NX), `grid` (MX, MY, MZ), `cell` in Å."""
    nz, ny, nx = shape
    content = struct.pack(
        f"{order}10i6f3i3f2i",
        *(nx, ny, nz, mode, 0, 0, 0),
        *((nx, ny, nz) if grid is None else grid),
        *(*cell, 90, 90, 90),
        *(*axes, *limits, ispg, extended),
    )
    content += bytes(8) + kind.ljust(4, b"\0") + struct.pack(f"{order}i", version) + bytes(16)
    content += struct.pack(f"{order}2h", *serialem) + bytes(20)
    content += struct.pack(f"{order}2i", *((IMOD_STAMP, imod) if imod is not None else (0, 0)))
    content += bytes(36) + struct.pack(f"{order}3f", *origin)
    content += mark.ljust(4, b"\0") + (STAMPS[order] if stamp is None else stamp)
    content += struct.pack(f"{order}fi", -1, len(labels))
    content += b"".join(label.ljust(80) for label in labels)
    return content.ljust(1024, b"\0")


def stored_pixels(frames: NDArray[Any], mode: int, order: str) -> bytes:
    """Return frames as they lie in the file, slowly and obviously."""
    if mode == 3:
        parts = np.empty((*frames.shape, 2), f"{order}i2")
        parts[..., 0], parts[..., 1] = frames.real, frames.imag
        return parts.tobytes()
    if mode == 101:
        stored = bytearray()
        for row in frames.reshape(-1, frames.shape[-1]).tolist():
            pairs = [*row, 0] if len(row) % 2 else row
            stored += bytes(a | b << 4 for a, b in zip(pairs[::2], pairs[1::2], strict=True))
        return bytes(stored)
    if frames.dtype.names:
        return frames.tobytes()
    return frames.astype(frames.dtype.newbyteorder(order)).tobytes()  # type: ignore[arg-type]


def write_mrc(
    path: str | os.PathLike[str],
    frames: NDArray[Any],
    mode: int | None = None,
    *,
    order: str = "<",
    extended: bytes = b"",
    announced: int | None = None,
    truncate: int = 0,
    junk: bytes = b"",
    **header: Any,
) -> Path:
    """Write an MRC file.

    Parameters
    ----------
    path : path
    frames : ndarray, shape (..., rows, columns)
    mode : int, optional
        By default that of the type of pixel.
    order : {"<", ">"}
    extended : bytes
        Extended header.
    announced : int, optional
        NZ, if it is not the number of frames.
    truncate : int
        Bytes that the file lacks at its end.
    junk : bytes
        Put behind the pixels.
    header
        As in `mrc_header`.
    """
    frames = frames.reshape(-1, *frames.shape[-2:])
    if mode is None:
        mode = 16 if frames.dtype.names else MODES[frames.dtype.str[1:]]
    shape = (len(frames) if announced is None else announced, *frames.shape[1:])
    content = mrc_header(shape, mode, order=order, extended=len(extended), **header)
    content += extended + stored_pixels(frames, mode, order) + junk
    path = Path(path)
    path.write_bytes(content[: len(content) - truncate])
    return path


# -- extended headers ----------------------------------------------------------------------------


def fei_record(kind: str = "FEI2", order: str = "<", **values: Any) -> bytes:
    """Return one record of FEI; `values` are (offset, format, value) by any name."""
    size = 888 if kind == "FEI2" else 768
    content = bytearray(size)
    struct.pack_into(f"{order}2i", content, 0, size, 2 if kind == "FEI2" else 0)
    for offset, form, value in values.values():
        struct.pack_into(order + form, content, offset, value)
    return bytes(content)


def old_fei(rows: Iterable[Sequence[float]], order: str = "<") -> bytes:
    """Return the 1024 records of older FEI software; up to 13 numbers each."""
    content = b"".join(struct.pack(f"{order}{len(r)}f", *r).ljust(128, b"\0") for r in rows)
    return content.ljust(1024 * 128, b"\0")


# -- Direct Electron -----------------------------------------------------------------------------

#: What a description says if it is not told otherwise.
INFO = {
    "Server Software Version": "2.7.4.10190",
    "Timestamp (seconds since Epoch)": "1729539410",
    "ADUs Per Electron Bin1x": "50",
    "Autosave Movie Sum Count": "1",
    "Camera Model": "DE-Sim",
    "Diffraction Pixel Size X": "0.125",
    "Diffraction Pixel Size Y": "0.25",
    "Frames Per Second": "500",
    "Instrument Accelerating Voltage (V)": "300000",
    "Instrument Project Camera Length (centimeters)": "20",
    "Instrument Project Magnification": "1000",
    "Instrument Project TEMorSTEM Mode": "-1",
    "Scan - Enable": "Enable",
    "Scan - Type": "Raster",
    "Scan - Camera Frames Per Point": "1",
    "Scan - Dwell Time (microseconds)": "2000",
    "Scan - ROI Enable": "Disable",
    "Scan - Repeats": "1",
    "Scan - Repeat Delay (seconds)": "3",
    "Scan - Time (seconds)": "0.5",
    "Scan - Rotation": "15",
    "Specimen Pixel Size X (nanometers)": "2",
    "Specimen Pixel Size Y (nanometers)": "4",
}


def write_info(path: str | os.PathLike[str], values: Mapping[str, Any] | None = None) -> Path:
    """Write the description of a movie; None leaves a key out."""
    lines = [
        f"{key:<64}= {value}"
        for key, value in {**INFO, **(values or {})}.items()
        if value is not None
    ]
    path = Path(path)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_movie(
    folder: Path,
    frames: NDArray[Any],
    info: Mapping[str, Any] | None = None,
    *,
    positions: Sequence[tuple[int, int]] | None = None,
    virtual: Mapping[str, NDArray[Any]] | None = None,
    external: Mapping[str, NDArray[Any]] | None = None,
    acquisition: str = "20250102_00042",
    suffix: str = "",
    **header: Any,
) -> Path:
    """Write a movie with what the server of Direct Electron puts beside it.

    `positions` are (x, y) of each frame; images go by their names.
    """
    stem = f"{acquisition}_{suffix}_" if suffix else f"{acquisition}_"
    _, ny, nx = frames.reshape(-1, *frames.shape[-2:]).shape
    told = {"cell": (-10.0 * nx, -10.0 * ny, 0.0), "ispg": 1, "limits": (2.0, 1.0, 0.0), **header}
    path = write_mrc(folder / f"{stem}movie.mrc", frames, **told)
    write_info(folder / f"{stem}info.txt", info)
    if positions is not None:
        text = "".join(f"{x},{y}\n" for x, y in positions)
        (folder / f"{stem}scan_coordinates.csv").write_text(text)
    for i, (name, image) in enumerate((virtual or {}).items()):
        write_mrc(folder / f"{stem}{i}_{name}_sum.mrc", image)
    for i, (name, image) in enumerate((external or {}).items(), start=1):
        write_mrc(folder / f"{stem}ext{i}_{name}.mrc", image)
    return path
