# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of a .npy whose elements are pixels."""

from __future__ import annotations

import struct

from rsciio_tem.errors import NotThisFormat, Truncated, Unsupported
from rsciio_tem.storage.npy_header import LONGEST, MAGIC, NpyHeader, array_described

__all__ = ["LARGEST_HEADER", "MAGIC", "Header", "parse_header"]

Header = NpyHeader

#: Bytes at the beginning of a file within which its header ends.
LARGEST_HEADER = LONGEST + 16


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
        It is not a .npy, or its header is damaged.
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
        raise Unsupported(path, f"is a .npy of version {major}; only 1 to 3 are known.")
    if start + length > len(head) or length > LONGEST:
        raise Truncated(path, f"announces a header of {length} bytes, which is not there.")
    text = head[start : start + length].decode("utf-8" if major == 3 else "latin-1", "replace")
    try:
        dtype, fortran, shape = array_described(text)
    except ValueError:
        raise NotThisFormat(path, f"has a damaged .npy header: {text[:80]!r}.") from None
    if len(shape) > 32:
        raise Unsupported(path, f"holds an array of {len(shape)} dimensions.")
    if dtype.hasobject:
        raise Unsupported(path, "holds pickled Python objects, which are never loaded.")
    if dtype.subdtype is not None:
        raise Unsupported(path, f"holds arrays {dtype} instead of numbers.")
    if dtype.kind not in "buifc":
        raise Unsupported(path, f"holds elements of type {dtype}, which are not pixels.")
    return Header(dtype, fortran, shape, start + length)
