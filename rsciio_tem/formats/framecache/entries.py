# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of frames: what the sources for both kinds of file share."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError
from rsciio_tem.formats.framecache.header import Header
from rsciio_tem.frames.sparse import most_entries
from rsciio_tem.storage.backends import DataFile
from rsciio_tem.storage.identities import forgetting

#: Bytes of decompressed entries that a process keeps.
RECENT_BYTES = 64 << 20
#: A place outside of any frame.
_NOWHERE = 0xFFFFFFFF


class Recent:
    """Arrays that were decompressed last, so that a second look at them costs nothing."""

    def __init__(self, most: int) -> None:
        self.most, self.size = most, 0
        self.arrays: OrderedDict[Any, tuple[npt.NDArray[Any], ...]] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, key: Any) -> tuple[npt.NDArray[Any], ...] | None:
        """Return what was kept for a key, None if there is nothing."""
        with self.lock:
            if (arrays := self.arrays.get(key)) is not None:
                self.arrays.move_to_end(key)
            return arrays

    def keep(self, key: Any, *arrays: npt.NDArray[Any]) -> None:
        """Keep arrays, and forget the oldest ones if there are too many bytes of them."""
        with self.lock:
            if key not in self.arrays:
                self.size += sum(array.nbytes for array in arrays) + 500
            self.arrays[key] = arrays
            while self.size > self.most:
                self.size -= sum(a.nbytes for a in self.arrays.popitem(last=False)[1]) + 500


recent = Recent(RECENT_BYTES)


@forgetting
def forget() -> None:
    """Keep nothing; a forked child starts so, with a lock that nobody holds."""
    global recent
    recent = Recent(RECENT_BYTES)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)


@dataclass(frozen=True)
class Entries:
    """What the sources for both kinds of file share; see `rsciio_tem.frames.sparse.Source`."""

    file: DataFile
    header: Header

    @property
    def path(self) -> str:
        """File that errors are about."""
        return self.file.path

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value."""
        return np.dtype(self.header.dtype)

    def __len__(self) -> int:
        return self.header.frames

    def flat(self, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
        """Return places in the flat frame; the largest number where there is none."""
        height, width = self.header.shape
        outside = (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)
        flat = rows.astype(np.uint32) * np.uint32(width) + columns.astype(np.uint32)
        flat[outside] = _NOWHERE
        return flat

    def cast(self, values: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        """Return values of `name` in the type of the header, if they fit into it."""
        dtype = self.dtype
        if values.dtype == dtype:
            return values.copy()
        if values.dtype.kind == "c" and dtype.kind != "c":
            raise FormatError(self.path, f"{name} has values of type {values.dtype}, not {dtype}.")
        with np.errstate(invalid="ignore", over="ignore"):
            cast = values.astype(dtype)
        if ((cast != values) & (values == values)).any() and dtype.kind not in "fc":
            raise FormatError(
                self.path,
                f"{name} has values of type {values.dtype} that are not {dtype}, the type that "
                "the file tells.",
            )
        return cast

    def check_length(self, frame: int, entries: int) -> None:
        """Raise if a frame has more entries than its pixels can need."""
        rows, columns = self.header.shape
        if entries > most_entries(rows * columns):
            raise FormatError(
                self.path,
                f"frame {frame} has {entries} entries, many more than its {rows} x {columns} "
                "pixels.",
            )
