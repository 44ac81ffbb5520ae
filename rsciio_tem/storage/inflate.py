# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces that were compressed with deflate, inflated whole.

Nothing becomes larger than its reader says. The package `deflate` (libdeflate) does in one call
what zlib does step by step, 2 to 10 times as fast, and without Python's lock. Where it is not
installed, or refuses a piece, zlib decides: what is damaged does not depend on what is installed.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any

__all__ = ["Content", "at_once", "crc32", "inflate"]

Content = bytes | bytearray | memoryview

#: The package `deflate` is told sizes in 32 bits.
_MOST = (1 << 32) - 1


@lru_cache(maxsize=1)
def _libdeflate() -> Any:
    try:
        import deflate
    except ImportError:
        return None
    return deflate


def at_once(limit: int) -> bool:
    """Whether so many bytes are inflated without ever being in memory twice."""
    return _libdeflate() is not None and 0 < limit <= _MOST


def inflate(packed: Content, limit: int, *, bare: bool = False) -> bytes | bytearray:
    """Return what a piece holds.

    Parameters
    ----------
    packed : bytes-like
        A stream of zlib; what follows its end is ignored.
    limit : int
        Bytes that it may hold.
    bare : bool
        It has neither zlib's header nor a checksum, as in zip archives.

    Raises
    ------
    zlib.error
        It is damaged, ends early, or holds more.
    """
    if at_once(limit):
        fast = _libdeflate()
        inflated = fast.deflate_decompress if bare else fast.zlib_decompress
        try:
            return inflated(packed, limit)  # type: ignore[no-any-return]
        except fast.DeflateError:
            pass
    stream = zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS)
    slow = stream.decompress(packed, limit + 1)
    if len(slow) > limit:
        raise zlib.error(f"it has more than the {limit} bytes that are announced")
    if not stream.eof:
        raise zlib.error(f"it ends early, with {len(slow)} bytes")
    return slow


def crc32(content: Content) -> int:
    """Return the checksum of zip archives."""
    fast = _libdeflate()
    return int(fast.crc32(content)) if fast is not None else zlib.crc32(content)
