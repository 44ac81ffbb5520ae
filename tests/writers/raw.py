# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw binary files: frames one after another, with or without bytes around them."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

#: What bytes are made of that are no pixels: unlikely to pass unnoticed as a pixel.
FILL = b"\xee"


def write_raw(
    path: str | os.PathLike[str],
    frames: ArrayLike,
    dtype: DTypeLike | None = None,
    offset: int | bytes = 0,
    frame_header: int | bytes = 0,
    frame_footer: int | bytes = 0,
    truncate: int = 0,
    *,
    sig_dims: int = 2,
) -> Path:
    """Write frames to a file.

    Parameters
    ----------
    path : path-like
        The file.
    frames : array_like, (..., *sig)
        Frames of `sig_dims` dimensions each.
    dtype : dtype-like, optional
        Stored type with byte order, or one of the packed types "uint1" (first pixel in the lowest
        bit), ">uint1" (first pixel in the highest bit), "<uint12" and ">uint12" (two pixels in
        three bytes). By default the type of `frames`.
    offset, frame_header, frame_footer : int or bytes
        What precedes all frames, precedes and follows each frame: a number of bytes, or the bytes.
    truncate : int
        Number of bytes to cut off at the end of the file.
    """
    array = np.asarray(frames)
    count = math.prod(array.shape[: array.ndim - sig_dims])
    flat = array.reshape(count, math.prod(array.shape[array.ndim - sig_dims :]))
    pixels = _encode(flat, array.dtype if dtype is None else dtype)
    parts = [
        np.broadcast_to(np.frombuffer(around, np.uint8), (count, len(around)))
        for around in (_filling(frame_header), _filling(frame_footer))
    ]
    content = _filling(offset) + np.concatenate([parts[0], pixels, parts[1]], axis=1).tobytes()
    path = Path(path)
    path.write_bytes(content[: len(content) - truncate])
    return path


def side_file(
    path: str | os.PathLike[str], format: Literal["toml", "yaml"] = "toml", **params: Any
) -> Path:
    """Write a description beside a raw file, as a table "params"; return its path.

    Parameters
    ----------
    path : path-like
        The raw file, or the description itself; the suffix is replaced by the format.
    format : {"toml", "yaml"}
        Format of the description.
    **params
        Entries, such as dtype, sig_shape, nav_shape, offset, frame_header and frame_footer.
        ``filetype="raw"`` is added unless given.
    """
    # Strings, numbers, truth values and lists are written alike in JSON, TOML and YAML.
    entries = {"filetype": "raw", **params}
    lines = [(key, json.dumps(value, ensure_ascii=False)) for key, value in entries.items()]
    if format == "toml":
        text = "[params]\n" + "".join(f"{key} = {value}\n" for key, value in lines)
    else:
        text = "params:\n" + "".join(f"  {key}: {value}\n" for key, value in lines)
    path = Path(path).with_suffix(f".{format}")
    path.write_text(text, encoding="utf-8")
    return path


def pack(pixels: NDArray[Any], dtype: str) -> NDArray[np.uint8]:
    """Pack pixels (n, size) into rows of bytes."""
    per_unit, bits = {"1": (8, 1), "2": (2, 12)}[dtype[-1]]
    if pixels.shape[1] % per_unit:
        raise ValueError(f"{pixels.shape[1]} pixels of type {dtype} do not fill whole bytes")
    if pixels.size and not 0 <= int(pixels.min()) <= int(pixels.max()) < 1 << bits:
        raise ValueError(f"pixels do not fit into {dtype}")
    if dtype == "uint1":
        return np.packbits(pixels != 0, axis=1, bitorder="little")
    if dtype == ">uint1":
        return np.packbits(pixels != 0, axis=1, bitorder="big")

    first, second = pixels[:, 0::2].astype(np.uint16), pixels[:, 1::2].astype(np.uint16)
    if dtype == "<uint12":
        units = [first & 0xFF, first >> 8 | (second & 0xF) << 4, second >> 4]
    else:
        units = [first >> 4, (first & 0xF) << 4 | second >> 8, second & 0xFF]
    return np.stack(units, axis=-1).astype(np.uint8).reshape(len(pixels), -1)


def _encode(pixels: NDArray[Any], dtype: DTypeLike) -> NDArray[np.uint8]:
    """Return one row of bytes per frame."""
    if isinstance(dtype, str) and dtype in ("uint1", ">uint1", "<uint12", ">uint12"):
        return pack(pixels, dtype)
    stored = np.ascontiguousarray(pixels, dtype=dtype)
    if not np.array_equal(stored, pixels, equal_nan=pixels.dtype.kind in "fc"):
        raise ValueError(f"pixels do not fit into {np.dtype(dtype)}")
    return stored.view(np.uint8)


def _filling(content: int | bytes) -> bytes:
    """Bytes to write where there are no pixels."""
    return FILL * content if isinstance(content, int) else content
