# SPDX-License-Identifier: GPL-3.0-or-later
"""Zarr arrays of version 2, written without the zarr package: a folder with two JSON files and one
file per chunk, uncompressed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_zarr(
    path: str | os.PathLike[str],
    array: NDArray[Any],
    chunks: Sequence[int] | None = None,
    attributes: Mapping[str, Any] | None = None,
    separator: str = ".",
) -> Path:
    """Write an array; chunks beyond its end are filled up with zeros."""
    folder = Path(path)
    folder.mkdir()
    chunks = tuple(chunks or array.shape)
    description = {
        "zarr_format": 2,
        "shape": list(array.shape),
        "chunks": list(chunks),
        "dtype": array.dtype.str,
        "compressor": None,
        "fill_value": 0,
        "order": "C",
        "filters": None,
        "dimension_separator": separator,
    }
    (folder / ".zarray").write_text(json.dumps(description))
    (folder / ".zattrs").write_text(json.dumps(dict(attributes or {})))
    counts = [-(-n // k) for n, k in zip(array.shape, chunks, strict=True)]
    for index in product(*map(range, counts)):
        box = tuple(slice(i * k, (i + 1) * k) for i, k in zip(index, chunks, strict=True))
        chunk = np.zeros(chunks, array.dtype)
        part = array[box]
        chunk[tuple(slice(n) for n in part.shape)] = part
        file = folder / separator.join(map(str, index))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(chunk.tobytes())
    return folder
