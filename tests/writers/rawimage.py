# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw images, and hexrd's description of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray


def write_rawimage(
    path: str | os.PathLike[str],
    frames: NDArray[Any],
    *,
    data: str = "data.bin",
    named: Any = None,
    skip: int | None = 0,
    gap: int = 0,
    rest: int = 0,
    **changed: Any,
) -> Path:
    """Write raw images beside their description.

    Parameters
    ----------
    path : path
        The description.
    frames : ndarray, shape (n, rows, columns)
        Stored in their byte order.
    data : str
        Name of the file for the pixels.
    named : str or list of str
        What the description calls it.
    skip, gap, rest : int
        Bytes before the first image, between images, and at the end.
    changed
        Keys of the description with other values; None leaves one out.
    """
    path = Path(path)
    pieces = [frame.tobytes() for frame in frames]
    content = b"\xaa" * (skip or 0) + (b"\xbb" * gap).join(pieces) + b"\xcc" * rest
    (path.parent / data).write_bytes(content)
    dtype = frames.dtype
    name = {"f": "f" if dtype.itemsize == 4 else "d", "b": "b"}.get(dtype.kind, "i")
    big = dtype.newbyteorder("=") != dtype and np.little_endian
    tree: dict[str, Any] = {
        "filename": named or data,
        "shape": f"{frames.shape[1]} {frames.shape[2]}",
        "skip": skip,
        "scalar": {
            "type": name,
            "bytes": dtype.itemsize,
            "signed": dtype.kind == "i",
            "endian": "big" if big else "little",
        },
    }
    if gap:
        tree["gap"] = gap
    tree |= changed
    tree = {key: value for key, value in tree.items() if value is not None}
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path
