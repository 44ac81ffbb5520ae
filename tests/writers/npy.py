# SPDX-License-Identifier: GPL-3.0-or-later
"""NumPy files: ``.npy`` of all versions and both memory orders, and ``.npz`` archives of them.

The header is written here rather than by NumPy, so that NumPy can check it and so that headers
can be written that NumPy itself would not write.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAGIC = b"\x93NUMPY"


def npy_header(
    descr: str,
    shape: tuple[int, ...],
    fortran: bool = False,
    version: tuple[int, int] = (1, 0),
    align: int = 64,
) -> bytes:
    """Return everything before the pixels, a multiple of `align` bytes (16 before NumPy 1.14)."""
    entries = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape!r}, }}"
    text = entries.encode("utf-8" if version >= (3, 0) else "latin-1")
    size_bytes = 2 if version == (1, 0) else 4
    start = len(MAGIC) + 2 + size_bytes
    padding = -(start + len(text) + 1) % align
    text += b" " * padding + b"\n"
    return MAGIC + bytes(version) + len(text).to_bytes(size_bytes, "little") + text


def npy_bytes(
    array: ArrayLike, fortran: bool = False, version: tuple[int, int] = (1, 0), align: int = 64
) -> bytes:
    """Return the content of a ``.npy`` file."""
    values: NDArray[Any] = np.asarray(array)
    if values.dtype.hasobject or values.dtype.names:
        raise TypeError(f"only plain arrays can be written, not {values.dtype}")
    shape = tuple(int(size) for size in values.shape)
    start = npy_header(values.dtype.str, shape, fortran, version, align)
    return start + values.tobytes(order="F" if fortran else "C")


def write_npy(
    path: str | os.PathLike[str],
    array: ArrayLike,
    fortran: bool = False,
    version: tuple[int, int] = (1, 0),
    *,
    align: int = 64,
    truncate: int = 0,
) -> Path:
    """Write a ``.npy`` file.

    Parameters
    ----------
    path : path-like
        The file.
    array : array_like
        Values, stored with their own byte order.
    fortran : bool
        Store the first index as the fastest one.
    version : {(1, 0), (2, 0), (3, 0)}
        Version of the format.
    align : int
        Pixels start at a multiple of this number of bytes.
    truncate : int
        Number of bytes to cut off at the end of the file.
    """
    path = Path(path)
    content = npy_bytes(array, fortran, version, align)
    path.write_bytes(content[: len(content) - truncate])
    return path


def write_npz(
    path: str | os.PathLike[str],
    /,
    *,
    compressed: bool = False,
    fortran: bool = False,
    version: tuple[int, int] = (1, 0),
    **arrays: ArrayLike,
) -> Path:
    """Write an archive of arrays, stored as they are or deflated."""
    path = Path(path)
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, array in arrays.items():
            # ZipInfo without a date: the same arrays always make the same file
            member = zipfile.ZipInfo(f"{name}.npy")
            member.compress_type = method
            archive.writestr(member, npy_bytes(array, fortran, version))
    return path


def write_mixed_npz(
    path: str | os.PathLike[str],
    stored: dict[str, ArrayLike],
    deflated: dict[str, ArrayLike],
) -> Path:
    """Write an archive with members of both kinds."""
    path = Path(path)
    with zipfile.ZipFile(path, "w") as archive:
        for method, arrays in ((zipfile.ZIP_STORED, stored), (zipfile.ZIP_DEFLATED, deflated)):
            for name, array in arrays.items():
                member = zipfile.ZipInfo(f"{name}.npy")
                member.compress_type = method
                archive.writestr(member, npy_bytes(array))
    return path
