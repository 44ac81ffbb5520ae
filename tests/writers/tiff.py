# SPDX-License-Identifier: GPL-3.0-or-later
"""TIFF stacks with a description of the scan."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from writers.imagefiles import write_tiff

_FORMATS = {"u": 1, "i": 2, "f": 3}

#: Name, units, scale and offset of the axes of a frame.
FRAME = (("ky", "1/nm", 0.25, -1.5), ("kx", "1/nm", 0.25, -2.0))
#: Those of a scan.
SCAN = (("z", "nm", 3.0, 0.0), ("y", "nm", 2.0, 1.0), ("x", "nm", 0.5, 0.0))


def description(
    nav: Sequence[int], sig: Sequence[int], *, imagej: bool = True, **changed: Any
) -> str:
    """Return the text of the first image.

    Parameters
    ----------
    nav, sig : tuple of int
        Shapes of scan and frame.
    imagej : bool
        As ImageJ writes it; otherwise JSON.
    **changed
        Entries of ours with other values.
    """
    axes = [*SCAN[len(SCAN) - len(nav) :], *FRAME]
    entry = {
        "images": math.prod(nav),
        "nav_shape": [*nav],
        "axes": [dict(zip(("name", "units", "scale", "offset"), a, strict=True)) for a in axes],
        **changed,
    }
    if not imagej:
        return json.dumps({"shape": [*nav, *sig], "rsciio_tem": entry})
    lines = ["ImageJ=1.53t", f"rsciio_tem={json.dumps(entry)}", f"images={math.prod(nav)}"]
    names = ("slices",) if len(nav) == 1 else ("frames", "slices", "channels")
    lines += [f"{name}={size}" for name, size in zip(names, nav, strict=False)]
    return "\n".join([*lines, "hyperstack=true", ""])


def write_stack(
    path: str | os.PathLike[str],
    frames: NDArray[Any],
    *,
    order: str = "<",
    big: bool = False,
    text: str | None = None,
    imagej: bool = True,
    scattered: bool = False,
    **layout: Any,
) -> Path:
    """Write a stack: header of the first image, all images, headers of the others.

    Parameters
    ----------
    path : path
    frames : ndarray
        Scan axes first.
    order, big
        As in `write_tiff`.
    text : str, optional
        Of the first image.
    imagej : bool
        Whether the text that it gets otherwise is one of ImageJ.
    scattered : bool
        Let `write_tiff` write it, which puts a header behind each image, with its parameters.
    """
    nav, (rows, columns) = frames.shape[:-2], frames.shape[-2:]
    text = description(nav, (rows, columns), imagej=imagej) if text is None else text
    if scattered:
        return write_tiff(path, frames, order=order, big=big, description=text, **layout)
    count, nbytes = math.prod(nav), rows * columns * frames.dtype.itemsize
    counter, pointer = ("Q", "Q") if big else ("H", "I")
    tags = 11
    size = struct.calcsize(f"={counter}") + tags * (20 if big else 12) + struct.calcsize(pointer)
    begin = 16 if big else 8
    start = begin + size + len(text.encode()) + 1
    headers = start + count * nbytes

    def header(number: int, follower: int) -> bytes:
        described = [(270, 2, len(text.encode()) + 1, begin + size)] if number == 0 else []
        entries = [
            (256, 4, 1, columns),
            (257, 4, 1, rows),
            (258, 3, 1, frames.dtype.itemsize * 8),
            (259, 3, 1, 1),
            (262, 3, 1, 1),
            *described,
            (273, 16 if big else 4, 1, start + number * nbytes),
            (277, 3, 1, 1),
            (278, 4, 1, rows),
            (279, 16 if big else 4, 1, nbytes),
            (339, 3, 1, _FORMATS[frames.dtype.kind]),
        ]
        content = struct.pack(order + counter, len(entries))
        for tag, kind, many, value in entries:
            content += struct.pack(f"{order}HH{pointer}", tag, kind, many)
            width = {3: "H", 4: "I", 16: "Q", 2: pointer}[kind]
            content += struct.pack(order + width, value).ljust(struct.calcsize(pointer), b"\0")
        return content + struct.pack(order + pointer, follower)

    mark = b"II" if order == "<" else b"MM"
    magic = struct.pack(f"{order}HHHQ", 43, 8, 0, 16) if big else struct.pack(f"{order}HI", 42, 8)
    step = size - (20 if big else 12)  # without a description
    follower = [headers + i * step for i in range(count - 1)] + [0]
    content = mark + magic + header(0, follower[0]) + text.encode() + b"\0"
    assert len(content) == start
    content += frames.astype(frames.dtype.newbyteorder(order)).tobytes()
    content += b"".join(header(i, follower[i]) for i in range(1, count))
    path = Path(path)
    path.write_bytes(content)
    return path
