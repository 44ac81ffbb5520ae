# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of a .npy: a Python literal, which is never evaluated."""

from __future__ import annotations

import ast
import math
import re
import struct
from typing import Any, NamedTuple

import numpy as np

from rsciio_tem.errors import NotThisFormat, Truncated, Unsupported

MAGIC = b"\x93NUMPY"
#: numpy pads to 64 bytes; a header of a plain array has some 100, one of many fields a few kB.
LARGEST_HEADER = (1 << 16) + 16


class Header(NamedTuple):
    """What the header of a .npy says; the data begin at `offset`."""

    dtype: np.dtype[Any]
    fortran_order: bool
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of the data."""
        return math.prod(self.shape) * self.dtype.itemsize


def parse_header(head: bytes, path: str) -> Header:
    """Decode the header of a .npy.

    Parameters
    ----------
    head : bytes
        The beginning of the file, the header included.
    path : str
        For messages.

    Returns
    -------
    Header

    Raises
    ------
    NotThisFormat
        It is no .npy, or its header is damaged.
    Unsupported
        Elements are objects, records or text.
    """
    if head[:6] != MAGIC or len(head) < 10:
        raise NotThisFormat(path, f"is not a .npy file: it begins with {head[:8]!r}.")
    major = head[6]
    if major == 1:
        start, length = 10, struct.unpack_from("<H", head, 8)[0]
    elif major in (2, 3) and len(head) >= 12:
        start, length = 12, struct.unpack_from("<I", head, 8)[0]
    else:
        raise Unsupported(path, f"is a .npy of version {major}, known are 1 to 3.")
    if start + length > len(head) or length > 1 << 16:
        raise Truncated(path, f"announces a header of {length} bytes, which is not there.")
    text = head[start : start + length].decode("utf-8" if major == 3 else "latin-1", "replace")
    try:
        if major < 3:  # Python 2 wrote sizes as 10L
            text = re.sub(r"(\d)L\b", r"\1", text)
        tree = ast.literal_eval(text.strip())
        descr, fortran, shape = tree["descr"], tree["fortran_order"], tree["shape"]
        dtype = np.lib.format.descr_to_dtype(descr)
    except (ValueError, SyntaxError, TypeError, KeyError, IndexError, MemoryError, RecursionError):
        raise NotThisFormat(path, f"has a damaged .npy header: {text[:80]!r}.") from None
    if (
        not isinstance(shape, tuple)
        or not isinstance(fortran, bool)
        or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape)
    ):
        raise NotThisFormat(path, f"has a damaged .npy header: {text[:80]!r}.")
    if len(shape) > 32:
        raise Unsupported(path, f"holds an array of {len(shape)} dimensions.")
    if dtype.hasobject:
        raise Unsupported(path, "holds pickled Python objects, which are never loaded.")
    if dtype.subdtype is not None:
        raise Unsupported(path, f"holds arrays {dtype} instead of numbers.")
    if dtype.kind not in "buifc":
        raise Unsupported(path, f"holds elements of type {dtype}, which are no pixels.")
    return Header(dtype, fortran, shape, start + length)
