# SPDX-License-Identifier: GPL-3.0-or-later
"""TIFF files and hexrd's lists of images."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from numpy.typing import NDArray

_FORMATS = {"u": 1, "i": 2, "f": 3, "b": 1}


def write_tiff(
    path: str | os.PathLike[str],
    images: NDArray[Any],
    *,
    order: str = "<",
    big: bool = False,
    rows_per_strip: int | None = None,
    gap: int = 0,
    header_first: bool = False,
    deflate: bool = False,
    description: str = "",
    tags: dict[int, int] | None = None,
    truncate: int = 0,
) -> Path:
    """Write a TIFF file.

    Parameters
    ----------
    path : path
    images : ndarray, shape (rows, columns) or (images, rows, columns)
    order : {"<", ">"}
        Byte order.
    big : bool
        BigTIFF.
    rows_per_strip : int
        By default one strip.
    gap : int
        Bytes between strips.
    header_first : bool
        Headers stand before the pixels of each image, not behind them.
    deflate : bool
        Compress the strips.
    description : str
        Text of the first image.
    tags : dict
        Values that are written instead of the right ones, as SHORT.
    truncate : int
        Bytes to cut from the end.
    """
    stack = images.reshape(-1, *images.shape[-2:])
    _, rows, columns = stack.shape
    per_strip = rows_per_strip or rows
    pointer, counter, entry_size, width = ("Q", "Q", 20, 8) if big else ("I", "H", 12, 4)
    mark = b"II" if order == "<" else b"MM"
    out = bytearray(mark + struct.pack(f"{order}H", 43 if big else 42))
    if big:
        out += struct.pack(f"{order}HH", 8, 0)
    link = len(out)
    out += bytes(width)

    def directory(strips: list[int], counts: list[int], text: bytes, at: int) -> bytes:
        """Return a header at byte `at` with the values that do not fit into it behind."""
        values: list[tuple[int, str, list[int]]] = [
            (256, "H", [columns]),
            (257, "H", [rows]),
            (258, "H", [images.dtype.itemsize * 8]),
            (259, "H", [8 if deflate else 1]),
            (262, "H", [1]),
            *([(270, "c", list(text))] if text else []),
            (273, pointer, strips),
            (277, "H", [1]),
            (278, "H", [per_strip]),
            (279, pointer, counts),
            (339, "H", [_FORMATS[images.dtype.kind]]),
        ]
        for tag, value in (tags or {}).items():
            values = [v for v in values if v[0] != tag] + [(tag, "H", [value])]
        values.sort(key=lambda v: v[0])
        body, rest = b"", b""
        after = at + struct.calcsize(counter) + len(values) * entry_size + width
        for tag, code, numbers in values:
            kind = {"H": 3, "I": 4, "Q": 16, "c": 2}[code]
            raw = (
                bytes(numbers)
                if code == "c"
                else struct.pack(f"{order}{len(numbers)}{code}", *numbers)
            )
            body += struct.pack(f"{order}HH{pointer}", tag, kind, len(numbers))
            if len(raw) <= width:
                body += raw.ljust(width, b"\0")
            else:
                body += struct.pack(f"{order}{pointer}", after + len(rest))
                rest += raw + bytes(len(raw) % 2)
        return struct.pack(f"{order}{counter}", len(values)) + body + bytes(width) + rest

    for number, image in enumerate(stack):
        stored = image.astype(image.dtype.newbyteorder(order))
        pieces = [stored[i : i + per_strip].tobytes() for i in range(0, rows, per_strip)]
        if deflate:
            pieces = [zlib.compress(piece) for piece in pieces]
        counts = [len(piece) for piece in pieces]
        text = description.encode() + b"\0" if description and not number else b""
        if len(out) % 2:
            out += b"\0"
        here = len(out)
        size = len(directory([0] * len(pieces), counts, text, 0))
        start = here + size if header_first else here
        strips = [start + sum(counts[:i]) + i * gap for i in range(len(counts))]
        pixels = b"".join(piece + bytes(gap) for piece in pieces)
        if header_first:
            at = here
            out += directory(strips, counts, text, at) + pixels
        else:
            at = here + len(pixels) + len(pixels) % 2
            out += pixels + bytes(len(pixels) % 2) + directory(strips, counts, text, at)
        out[link : link + width] = struct.pack(f"{order}{pointer}", at)
        n_tags = struct.unpack_from(f"{order}{counter}", out, at)[0]
        link = at + struct.calcsize(counter) + n_tags * entry_size
    path = Path(path)
    path.write_bytes(bytes(out[: len(out) - truncate]))
    return path


def write_series(
    folder: Path, frames: NDArray[Any], pattern: str = "im_{}.tif", **layout: Any
) -> list[Path]:
    """Write one TIFF file for each frame, numbered from 1 without zeros in front."""
    return [
        write_tiff(folder / pattern.format(i), frame, **layout) for i, frame in enumerate(frames, 1)
    ]


def write_list(
    path: str | os.PathLike[str],
    names: str | Sequence[str],
    directory: str | None = None,
    **sections: Any,
) -> Path:
    """Write the YAML; `sections` are its other keys, hyphens written as underscores."""
    tree: dict[str, Any] = {"image-files": {"files": names}}
    if directory is not None:
        tree["image-files"]["directory"] = directory
    tree |= {key.replace("_", "-"): value for key, value in sections.items()}
    path = Path(path)
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path
