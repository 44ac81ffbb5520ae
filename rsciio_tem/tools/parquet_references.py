# SPDX-License-Identifier: GPL-3.0-or-later
"""Reference sets as folders of Parquet files, of which programs read only the parts they need.

The layout is kerchunk's, as fsspec reads it: the file ``.zmetadata`` describes all arrays of a
store of version 2, and ``ARRAY/refs.N.parq`` has a row for each of the chunks N * RECORD and
following, in C order.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rsciio_tem.errors import Unsupported
from rsciio_tem.tools.byte_ranges import ByteRanges

__all__ = ["RECORD", "SUFFIXES", "obstacle", "require_package", "write"]

#: What names of such folders end with; others are JSON files.
SUFFIXES = (".parq", ".parquet")

#: Chunks in a file: each is read as a whole for the first of its chunks.
RECORD = 100_000

_METADATA = ".zmetadata"
_FILE = re.compile(r"refs\.\d+\.parq")


def require_package(path: str) -> None:
    """Raise an error if Parquet files cannot be written, or fsspec would not read this folder."""
    if ".json" in path:
        raise Unsupported(
            path, "has .json in its path, by which fsspec takes it for a JSON file.", "Rename it."
        )
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise Unsupported(
            path,
            "is to be a folder of Parquet files, and the package pyarrow is not installed.",
            "pip install pyarrow; or let the name end with .json.",
        ) from error


def write(
    folder: str,
    texts: Mapping[str, Any],
    arrays: Mapping[str, bytes],
    name: str,
    ranges: ByteRanges,
    urls: Sequence[str],
) -> None:
    """Write the files into an empty folder.

    Parameters
    ----------
    folder : str
        Where.
    texts : dict
        Descriptions of the group and its arrays by their keys, as JSON.
    arrays : dict of str to bytes
        Arrays of one chunk, which is in the files.
    name : str
        Array of which the chunks are elsewhere.
    ranges : ByteRanges
        Where they are.
    urls : sequence of str
        Of the files of `ranges`.
    """
    import pyarrow as pa

    content = {"zarr_consolidated_format": 1, "metadata": texts, "record_size": RECORD}
    with open(os.path.join(folder, _METADATA), "w") as file:
        json.dump(content, file)
    for key, values in arrays.items():
        _table(folder, key, 0, {"raw": pa.array([values], pa.binary())})
    names = pa.array(list(urls), pa.string())
    for number, first in enumerate(range(0, len(ranges.file), RECORD)):
        part = slice(first, first + RECORD)
        index, length = ranges.file[part], ranges.length[part]
        blank = index < 0
        # without the notes of pandas, by which blanks would be read as NaN, not as None
        paths = pa.DictionaryArray.from_arrays(pa.array(index.astype("i4"), mask=blank), names)
        columns = {
            "path": paths,
            "offset": pa.array(np.where(blank, 0, ranges.start[part])),
            "size": pa.array(np.where(blank, 0, length)),
        }
        _table(folder, name, number, columns)


def _table(folder: str, key: str, number: int, columns: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    os.makedirs(os.path.join(folder, key), exist_ok=True)
    with open(os.path.join(folder, key, f"refs.{number}.parq"), "wb") as file:
        # fastparquet, with which fsspec reads, takes these; the Arrow schema means nothing to it
        pq.write_table(pa.table(dict(columns)), file, compression="zstd", store_schema=False)


def obstacle(path: str) -> str:
    """Say why something is not replaced by a reference set; "" if it is one itself."""
    if os.path.islink(path) or not os.path.isdir(path):
        return "is not a folder"
    if not os.path.isfile(os.path.join(path, _METADATA)):
        return "is a folder, but not of references"
    for folder, below, names in os.walk(path):
        inside = os.path.relpath(folder, path)
        for name in names:
            if not (name == _METADATA if inside == "." else _FILE.fullmatch(name)):
                other = os.path.normpath(os.path.join(inside, name))
                return f"is a folder that holds {other!r}, which is not part of references"
        if inside != "." and below:
            return f"is a folder that holds {os.path.join(inside, below[0])!r}"
    return ""
