# SPDX-License-Identifier: GPL-3.0-or-later
"""Series of TIA and their descriptions."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

TYPES = {"u1": 1, "u2": 2, "u4": 3, "i1": 4, "i2": 5, "i4": 6, "f4": 7, "f8": 8, "c8": 9, "c16": 10}
MAGIC = b"II\x97\x01"
TIME, TIME_AND_PLACE = 0x4152, 0x4142
#: 2016-02-22 19:18:23
START = 1456168703


class Dim(NamedTuple):
    """A dimension of the scan; the fastest comes first."""

    size: int
    offset: float = 0.0
    delta: float = 1.0
    element: int = 0
    description: str = "Number"
    units: str = ""


def place(size: int, delta: float = 2e-9, offset: float = 0.0, element: int = 0) -> Dim:
    """Return a dimension of places of the beam."""
    return Dim(size, offset, delta, element, "Position", "meters")


def dimension(dim: Dim) -> bytes:
    """Return a dimension as the header has it."""
    texts = [text.encode() for text in (dim.description, dim.units)]
    head = struct.pack("<IddI", dim.size, dim.offset, dim.delta, dim.element)
    return head + b"".join(struct.pack("<I", len(text)) + text for text in texts)


def ser_header(
    dims: Sequence[Dim],
    *,
    kind: int = 0x4122,
    tag: int = TIME,
    total: int = 1,
    valid: int | None = None,
    version: int = 0x0220,
    table_at: int | None = None,
    magic: bytes = MAGIC,
    dimensions: int | None = None,
) -> bytes:
    """Return a header; the table follows it unless `table_at` says other."""
    described = b"".join(map(dimension, dims))
    wide = version > 0x0210
    size = 30 + 4 * wide + len(described)
    return (
        magic
        + struct.pack("<HIIII", version, kind, tag, total, total if valid is None else valid)
        + struct.pack("<Q" if wide else "<I", size if table_at is None else table_at)
        + struct.pack("<I", len(dims) if dimensions is None else dimensions)
        + described
    )


def element(
    data: NDArray[Any],
    calibration: tuple[float, float, int] = (-1e-8, 5e-10, 0),
    *,
    code: int | None = None,
) -> bytes:
    """Return an element without its tag; rows of an image are stored from the bottom up."""
    code = TYPES[data.dtype.str[1:]] if code is None else code
    pixels = np.ascontiguousarray(data.astype(data.dtype.newbyteorder("<")))
    offset, delta, at = calibration
    one = struct.pack("<ddI", offset, delta, at)
    if data.ndim == 1:
        return one + struct.pack("<HI", code, len(data)) + pixels.tobytes()
    rows, columns = data.shape
    return one + one + struct.pack("<HII", code, columns, rows) + pixels[::-1].tobytes()


def write_ser(
    path: str | os.PathLike[str],
    elements: Sequence[NDArray[Any]] | NDArray[Any],
    dims: Sequence[Dim] | None = None,
    *,
    total: int | None = None,
    valid: int | None = None,
    tag: int = TIME,
    times: Sequence[int] | None = None,
    places: NDArray[Any] | None = None,
    calibrations: Sequence[tuple[float, float, int]] | None = None,
    version: int = 0x0220,
    order: Sequence[int] | None = None,
    gaps: Sequence[int] | None = None,
    tags_apart: bool = False,
    table_last: bool = False,
    tag_table: str = "total",
    truncate: int = 0,
    tail: bytes = b"",
    **header: Any,
) -> Path:
    """Write a series.

    Parameters
    ----------
    path : path
    elements : sequence of ndarray
        Images, top row first, or spectra.
    dims : sequence of Dim
        Dimensions, the fastest first; by default one of as many elements as were asked for.
    total : int
        Number of elements that were asked for, by default as many as there are.
    valid : int
        Number of recorded elements, by default as many as there are.
    tag : int
        Kind of the tags.
    times : sequence of int
        Seconds since 1970 of each element, by default one more for each.
    places : ndarray, shape (elements, 2)
        x and y of the beam in m.
    calibrations : sequence of (offset, delta, element)
        Of each element.
    order : sequence of int
        Elements in the order in which they lie in the file.
    gaps : sequence of int
        Bytes in front of each element.
    tags_apart : bool
        Put the tags behind all data, instead of each behind its element.
    table_last : bool
        Put the table behind everything.
    tag_table : {"total", "valid", "zeros"}
        Where the part of the table for tags is: behind as many entries as were asked for (as TIA
        does) or recorded, or not filled.
    truncate : int
        Bytes cut off the end.
    tail : bytes
        Appended.
    **header
        See `ser_header`.
    """
    n = len(elements)
    total = n if total is None else total
    valid = n if valid is None else valid
    dims = [Dim(total)] if dims is None else list(dims)
    times = [START + i for i in range(n)] if times is None else times
    spots = np.zeros((n, 2)) if places is None else places
    default = (-1e-8, 5e-10, 0) if elements[0].ndim == 2 else (-20.0, 0.2, 0)
    calibrations = [default] * n if calibrations is None else calibrations
    blocks = [element(e, c) for e, c in zip(elements, calibrations, strict=True)]
    tags = [struct.pack("<HHI", tag, 0, t) for t in times]
    if tag == TIME_AND_PLACE:
        tags = [t + struct.pack("<dd", *s) for t, s in zip(tags, spots.tolist(), strict=True)]
    header = {"kind": 0x4122 if elements[0].ndim == 2 else 0x4120, **header}
    told = {"total": total, "valid": valid, "tag": tag, "version": version, **header}
    head = ser_header(dims, **told)
    entry = "<u8" if version > 0x0210 else "<u4"
    table_size = 2 * total * np.dtype(entry).itemsize
    body, at = b"", len(head) + (0 if table_last else table_size)
    data_at, tag_at = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for k in range(n) if order is None else order:
        body += b"\xee" * (gaps[k] if gaps is not None else 0)
        data_at[k] = at + len(body)
        body += blocks[k]
        if not tags_apart:
            tag_at[k] = at + len(body)
            body += tags[k]
    for k in range(n) if tags_apart else ():
        tag_at[k] = at + len(body)
        body += tags[k]
    table = np.zeros(2 * total, entry)
    table[:n] = data_at
    if n < total:
        table[n] = at + len(body)  # TIA marks so where the next element would begin
    if tag_table != "zeros":
        first = total if tag_table == "total" else n
        table[first : first + n] = tag_at
    if table_last:
        head = ser_header(dims, **{**told, "table_at": len(head) + len(body)})
        content = head + body + table.tobytes()
    else:
        content = head + table.tobytes() + body
    content += tail
    path = Path(path)
    path.write_bytes(content[: len(content) - truncate])
    return path


def write_sparse_ser(
    path: Path, scan: tuple[int, int], images: dict[int, NDArray[Any]], pad: int = 0
) -> Path:
    """Write a map of the shape `scan` of which most images take no space on the disk.

    `images` are those with pixels; all others are zeros with a proper header.
    """
    count = scan[0] * scan[1]
    shown = next(iter(images.values()))
    one = element(shown)
    dims = [place(scan[1]), place(scan[0])]
    head = ser_header(dims, total=count, tag=TIME_AND_PLACE)
    stride = len(one) + 24 + pad
    first = len(head) + 16 * count
    offsets = first + stride * np.arange(count, dtype=np.uint64)
    with path.open("wb") as file:
        file.write(head + offsets.tobytes() + (offsets + np.uint64(len(one))).tobytes())
        for i in range(count):
            file.seek(int(offsets[i]))
            file.write(element(images[i]) if i in images else one[:50])
            file.seek(int(offsets[i]) + len(one))
            y, x = divmod(i, scan[1])
            file.write(
                struct.pack("<HHIdd", TIME_AND_PLACE, 0, START + i // 100, x * 2e-9, y * 2e-9)
            )
    return path


DESCRIBED = {
    "Microscope": ("Microscope Titan 300 kV", ""),
    "User": ("SUPERVISOR", ""),
    "High tension": ("300", "kV"),
    "Mode": (" STEM nP SA Zoom Diffraction", ""),
    "Magnification": ("115000", "x"),
    "Camera length": ("0.260", "m"),
    "Stage A": ("1.50", "deg"),
    "Stage B": ("-0.25", "deg"),
    "Stage X": ("0.150", "um"),
    "Stage Y": ("0.254", "um"),
    "Stage Z": ("0.021", "um"),
    "Filter mode": ("", ""),
}


def object_info(
    number: int = 1,
    described: dict[str, tuple[str, str]] | None = None,
    *,
    date: str = "Mon Feb 22 19:18:24 2016",
    camera: str = "",
) -> str:
    """Return the block of XML that describes a series."""
    rows = "".join(
        f"<Data><Label>{label}</Label><Value>{value}</Value><Unit>{unit}</Unit></Data>"
        for label, (value, unit) in (DESCRIBED if described is None else described).items()
    )
    inner = (
        "&lt;Root&gt;&lt;Data&gt;&lt;Index&gt;7&lt;/Index&gt;&lt;Value&gt;2.5&lt;/Value&gt;"
        "&lt;/Data&gt;&lt;/Root&gt;"
    )
    return (
        f"<ObjectInfo><Uuid>0000-{number}</Uuid>"
        f"<ExperimentalDescription><Root>{rows}</Root></ExperimentalDescription>"
        f"<TrueImageHeaderInfo>{inner}</TrueImageHeaderInfo>"
        + (f"<AcquireDate>{date}</AcquireDate>" if date else "")
        + "<AcquireInfo><DwellTimePath>0.050000</DwellTimePath>"
        + (f"<CameraNamePath>{camera}</CameraNamePath>" if camera else "")
        + "</AcquireInfo><Manufacturer>FEI</Manufacturer></ObjectInfo>"
    )


def write_emi(
    path: str | os.PathLike[str], objects: Sequence[str | bytes] = (), fill: int = 300
) -> Path:
    """Write a description: blocks of XML between bytes that mean nothing."""
    rng = np.random.default_rng(1)
    content = b"JK\0\2\0\0\0\0\4M\1\0"
    for block in objects or [object_info()]:
        noise = rng.integers(128, 256, fill).astype("u1").tobytes()
        content += noise + (block if isinstance(block, bytes) else block.encode())
    path = Path(path)
    path.write_bytes(content + b"\0" * 100)
    return path
