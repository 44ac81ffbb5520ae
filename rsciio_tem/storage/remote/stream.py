# SPDX-License-Identifier: GPL-3.0-or-later
"""A remote file as a file object, for libraries that ask for one."""

from __future__ import annotations

import gc
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rsciio_tem.storage.remote.session import Origin, current, fetch

__all__ = ["Stream"]


class Stream(io.RawIOBase):
    """Reads a remote file in blocks, the last of which are kept.

    Parameters
    ----------
    address : str
        As it is shown.
    size : int
        Bytes of the file.
    origin : Origin
        How it is fetched.
    block, most : int
        Bytes of a block, and blocks that are kept.
    """

    def __init__(
        self, address: str, size: int, origin: Origin, block: int = 256 << 10, most: int = 64
    ) -> None:
        super().__init__()
        session = current()
        self._session = session if session.knows(address, size, origin) else None
        self.name, self.size, self.origin = address, size, origin
        self._block, self._most = block, most
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._at = 0
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        """Return the address: it is what h5py calls the file."""
        return self.name

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place that is read next."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; return the number of bytes."""
        target = memoryview(buffer).cast("B")
        length = max(0, min(len(target), self.size - self._at))
        if not length:
            return 0
        with self._lock, _uncollected():
            if length > 4 * self._block:  # pixels: they are not read twice
                fetch(self.name, self.size, self.origin, [(self._at, target[:length])])
            else:
                target[:length] = self._kept(self._at, length)
            self._at += length
        return length

    def _kept(self, start: int, length: int) -> bytes:
        numbers = range(start // self._block, -(-(start + length) // self._block))
        lacking = [n for n in numbers if n not in self._blocks]
        buffers = {n: bytearray(min(self._block, self.size - n * self._block)) for n in lacking}
        parts = [(n * self._block, memoryview(buffer)) for n, buffer in buffers.items()]
        if parts and self._session is not None:
            self._session.fill(self.name, parts)
        elif parts:
            fetch(self.name, self.size, self.origin, parts)
        self._blocks.update((n, bytes(buffer)) for n, buffer in buffers.items())
        whole = b"".join(self._blocks[n] for n in numbers)
        for n in numbers:
            self._blocks.move_to_end(n)
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)
        return whole[start - numbers[0] * self._block :][:length]


_waiting = 0
_waiting_lock = threading.Lock()
_collects = False


@contextmanager
def _uncollected() -> Iterator[None]:
    """Hold back the garbage collector while a library that has a lock waits for bytes.

    HDF5 calls a stream with its lock taken. The thread that fetches the bytes would wait for that
    lock for ever, if it happened to collect an object of HDF5.
    """
    global _waiting, _collects
    with _waiting_lock:
        if not _waiting:
            _collects = gc.isenabled()
            gc.disable()
        _waiting += 1
    try:
        yield
    finally:
        with _waiting_lock:
            _waiting -= 1
            if not _waiting and _collects:
                gc.enable()
