# SPDX-License-Identifier: GPL-3.0-or-later
"""Blockfiles of 8 and 16 bit."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Bytes before the note.
HEADER_SIZE = 240
#: 2015-12-01 15:43:09.828 as a serial date.
SERIAL = 42339.654974861114


def blo_header(
    scan: tuple[int, int],
    edge: int,
    *,
    magic: int = 258,
    image_at: int = 4096,
    records_at: int = 4112,
    steps: tuple[float, float] = (12.8, 25.6),
    density: int = 6226,
    rotation: int = 2500,
    energy: int = 200_000,
    camera_length: int = 2000,
    serial: float = SERIAL,
    centering: Sequence[float] = (0.0,) * 8,
    distortion: Sequence[float] = (0.0, 0.98, *(0.0,) * 7, 0.945, *(0.0,) * 4),
    order: str = "<",
) -> bytes:
    """Return the header; `scan` is (NY, NX), `steps` are (SX, SY) in nm."""
    ny, nx = scan
    start = struct.pack(
        f"{order}6sHIIIHHHHHddIHId",
        *(b"IMGBLO", magic, image_at, records_at, 131135, edge, 0, nx, ny, rotation),
        *(*steps, energy, density, camera_length, serial),
    )
    return start + struct.pack(f"{order}22d", *centering, *distortion)


def write_blo(
    path: str | os.PathLike[str],
    frames: NDArray[Any],
    scan: tuple[int, int] | None = None,
    *,
    note: str = "Precession angle : \r\nCamera gamma : on",
    image: NDArray[Any] | None = None,
    ids: Sequence[int] | None = None,
    unmarked: Sequence[int] = (),
    truncate: int = 0,
    order: str = "<",
    magic: int | None = None,
    told_bits: int | None = None,
    image_at: int = 4096,
    gap: int | None = None,
    **header: Any,
) -> Path:
    """Write a blockfile.

    Parameters
    ----------
    path : path
    frames : ndarray of uint8 or uint16, shape (NY, NX, edge, edge) or (n, edge, edge)
    scan : (int, int), optional
        NY and NX as the header says them, if not those of `frames`.
    note : str
        Text of the note; the line that tells the bit depth is added for 16 bits.
    image : ndarray of uint8
        Image of the scan, by default zeros.
    ids : sequence of int
        Numbers in the records, by default 0, 1, 2, …
    unmarked : sequence of int
        Records that get no mark.
    truncate : int
        Bytes to cut from the end.
    order : {"<", ">"}
        Byte order.
    magic, told_bits : int
        Signature and bit depth that the header says, if not those of `frames`.
    image_at, gap : int
        Where the image begins, and bytes between it and the records.
    header
        Keywords of `blo_header`.
    """
    scan = scan or frames.shape[:2]
    edge = frames.shape[-1]
    bits = told_bits or frames.dtype.itemsize * 8
    magic = magic or (258 if bits == 8 else 259)
    if bits != 8:
        note = f"Blo Bit Depth: {bits} bits\r\n{note}"
    positions = scan[0] * scan[1]
    records_at = image_at + positions
    records_at += (records_at % 16) if gap is None else gap
    text = note.encode("latin-1")
    stored_image = np.zeros(positions, "u1") if image is None else np.asarray(image, "u1")
    content = bytearray(records_at)
    start = blo_header(
        scan, edge, magic=magic, image_at=image_at, records_at=records_at, order=order, **header
    )
    assert len(start) == HEADER_SIZE
    content[: len(start)] = start
    content[HEADER_SIZE : HEADER_SIZE + len(text)] = text
    content[image_at : image_at + positions] = stored_image.tobytes()
    flat = frames.reshape(-1, edge, edge).astype(frames.dtype.newbyteorder(order))
    for i, frame in enumerate(flat):
        number = i if ids is None else ids[i]
        content += struct.pack(f"{order}HI", 0 if i in unmarked else 0x55AA, number)
        content += frame.tobytes()
    path = Path(path)
    path.write_bytes(bytes(content[: len(content) - truncate]))
    return path
