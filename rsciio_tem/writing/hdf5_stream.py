# SPDX-License-Identifier: GPL-3.0-or-later
"""HDF5 files of which the library writes all but the chunks.

The HDF5 library lets one thread at a time do anything, and a file it did not close is worthless.
Here it lays out the file and says where each chunk belongs, but never gets to see one: chunks are
written by other threads, straight to their places. The result is byte by byte what the library
writes into a Python file object. As it gives the same places to chunks of the same sizes in the
same order, a file that was never closed is taken up by going through the sizes again.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from rsciio_tem.storage.files import write_whole

__all__ = ["ChunkedFile", "write_at"]


class _Layout(io.RawIOBase):
    """What the HDF5 library takes for its file.

    Errors of the disk are kept and raised by `ChunkedFile`: the library cannot cope with them. It
    is told the size that the file has so far; behind that there may be remains of an earlier
    attempt.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.at = self.size = 0
        self.error: BaseException | None = None
        self._stand_in: npt.NDArray[np.uint8] | None = None
        self._place: int | None = None

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self.at = offset + (0, self.at, self.size)[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def truncate(self, size: int | None = None, /) -> int:
        self.size = self.at if size is None else size
        return self.size

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)
        view[:] = bytes(len(view))  # behind the end there is nothing
        with self._kept_errors():
            self.file.seek(self.at)
            self.file.readinto(view[: max(0, self.size - self.at)])  # type: ignore[attr-defined]
        self.at += len(view)
        return len(view)

    def write(self, data: Any, /) -> int:
        view = memoryview(data)
        if self._is_stand_in(view):
            self._place = self.at
        else:
            with self._kept_errors():
                write_whole(self.file, self.at, view)
        self.at += len(view)
        self.size = max(self.size, self.at)
        return len(view)

    def expect(self, stand_in: npt.NDArray[np.uint8] | None) -> int | None:
        """Watch for what the library gets for a chunk; return where it wrote the one before."""
        place, self._place, self._stand_in = self._place, None, stand_in
        return place

    def _is_stand_in(self, view: memoryview) -> bool:
        """Whether these are, by their address, the bytes that stand in for a chunk."""
        if self._stand_in is None or len(view) != len(self._stand_in):
            return False
        content = np.frombuffer(view, np.uint8)
        return bool(content.ctypes.data == self._stand_in.ctypes.data)

    @contextlib.contextmanager
    def _kept_errors(self) -> Any:
        try:
            yield
        except BaseException as error:  # Ctrl-C, too, must not get lost in the library
            self.error = self.error or error


def write_at(path: str, parts: Iterable[tuple[int, Any]]) -> None:
    """Write bytes to places of a file, given as pairs of the place and what belongs there."""
    with open(path, "rb+", buffering=0) as file:
        for at, data in parts:
            write_whole(file, at, memoryview(data).cast("B"))


class ChunkedFile:
    """A new HDF5 file whose chunks are written by others.

    Parameters
    ----------
    path : str
        Of the file. If there is one that was never closed, its chunks stay where they are.
    libver : tuple of str, optional
        See `h5py.File`.

    Attributes
    ----------
    file : h5py.File
        For making groups, attributes and data sets.
    """

    def __init__(self, path: str, libver: Any = None) -> None:
        import h5py

        with contextlib.ExitStack() as stack:
            mode = "rb+" if os.path.exists(path) else "wb+"
            raw = stack.enter_context(open(path, mode, buffering=0))
            self._layout = _Layout(raw)
            self.file = h5py.File(self._layout, "w", libver=libver)
            self._stack = stack.pop_all()
        self._nothing = np.zeros(0, np.uint8)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def reserve(self, data: Any, corner: tuple[int, ...], size: int, mask: int = 0) -> int:
        """Add a chunk to the index of a data set.

        Parameters
        ----------
        data : h5py.Dataset
            Of this file.
        corner : tuple of int
            Index of the chunk's first pixel.
        size : int
            Bytes of the chunk as stored.
        mask : int
            The filters that were left out, a bit each.

        Returns
        -------
        int
            The byte of the file where the chunk is to be written.
        """
        if len(self._nothing) < size:
            self._nothing = np.zeros(2 * size, np.uint8)
        stand_in = self._nothing[:size]
        self._layout.expect(stand_in)
        try:
            data.id.write_direct_chunk(corner, stand_in, mask)
        finally:
            place = self._layout.expect(None)
        self._check()
        if place is None:
            raise RuntimeError("the HDF5 library did not write a chunk at once")
        return place

    def close(self) -> None:
        """Complete the file, when all chunks have been written."""
        try:
            self.file.close()
            self._check()
            self._layout.file.truncate(self._layout.size)
        finally:
            self._stack.close()

    def abandon(self) -> None:
        """Leave the file as it is; it can be taken up again, but not be read."""
        with contextlib.suppress(Exception):  # what went wrong before is what matters
            self.file.close()
        self._stack.close()

    def _check(self) -> None:
        if (error := self._layout.error) is not None:
            self._layout.error = None
            raise error
