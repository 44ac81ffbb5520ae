# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the chunks of a data set are in its file, and the library that is asked for it."""

from __future__ import annotations

import math
import os
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Unsupported
from rsciio_tem.parsing.hdf5 import opened
from rsciio_tem.parsing.hdf5_filters import SHUFFLE, Filter, Ints, announced, plugins
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import DataFile
from rsciio_tem.storage.identities import cached

__all__ = ["DataSet", "userblock"]

#: So many data sets' chunks are remembered in a process.
_MAX_INDEXES = 1024


#: Bytes at the beginning of a chunk in which a compression says what it decodes to.
_HEAD = 18


@dataclass(frozen=True)
class DataSet:
    """One data set that is read chunk by chunk, or through the library.

    Parameters
    ----------
    file : DataFile
        The file that its pixels are in.
    path, name : str
        How it is opened: a file, and the path in it. There may be links on the way.
    shape, chunks : tuple of int
        Of the data set, and of a chunk; chunks are None where there are none.
    stored : numpy.dtype
        Type of a pixel in the file.
    filters : tuple of Filter
        In the order of writing.
    unset : bytes
        The pixel, as stored, in places that were never written.
    direct : bool
        Whether chunks can be decoded without the library.
    others : tuple of DataFile
        Files that hold its pixels if it is virtual or external.
    """

    file: DataFile
    path: str
    name: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...] | None
    stored: np.dtype[Any]
    filters: tuple[Filter, ...] = ()
    unset: bytes = b""
    direct: bool = False
    others: tuple[DataFile, ...] = ()

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks along each axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunks or self.shape, strict=True))

    def at_edge(self, numbers: Ints) -> npt.NDArray[np.bool_]:
        """Return which chunks, by their numbers, reach over the edge of the data set."""
        assert self.chunks is not None
        result = np.zeros(len(numbers), bool)
        cells = np.unravel_index(numbers, self.grid)
        for cell, last, n, c in zip(cells, self.grid, self.shape, self.chunks, strict=True):
            if n % c:
                result |= cell == last - 1
        return result

    @property
    def decodable(self) -> bool:
        """Whether this process can decode chunks without the library."""
        return self.direct and all(step.decodable for step in self.filters)

    @cached_property
    def chunk_bytes(self) -> int:
        """Bytes of a decoded chunk."""
        return math.prod(self.chunks or self.shape) * self.stored.itemsize


def userblock(ds: Any, *, chunked: bool) -> int:
    """Return what has to be added to the library's offsets if the file begins with other bytes."""
    import h5py

    size = int(h5py.h5i.get_file_id(ds.id).get_create_plist().get_userblock())
    return size if size and not _counts_userblock(chunked) else 0


@lru_cache
def _counts_userblock(chunked: bool) -> bool:
    """Whether this HDF5 library counts from the beginning of a file; versions differ."""
    import tempfile

    import h5py

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "userblock.h5")
        data = np.arange(1, 251, dtype=np.uint8)
        with h5py.File(path, "w", userblock_size=512) as file:
            file.create_dataset("data", data=data, chunks=(250,) if chunked else None)
        with h5py.File(path, "r") as file:
            dataset = file["data"].id
            offset = dataset.get_chunk_info(0).byte_offset if chunked else dataset.get_offset()
        with open(path, "rb") as raw:
            place = raw.read().find(data.tobytes())
    return place == int(offset)


# ---------------------------------------------------------------- where chunks are


@dataclass(frozen=True, eq=False)
class _Index:
    """Where the chunks of a data set are, sorted by their numbers in C order."""

    numbers: Ints
    starts: Ints
    lengths: Ints
    masks: Ints  # bit i: filter i was left out

    def find(self, numbers: Ints) -> tuple[Ints, Ints, Ints]:
        """Return starts, lengths and masks; starts are -1 where a chunk was never written."""
        if not len(self.numbers):
            nothing = np.full_like(numbers, -1)
            return nothing, nothing * 0, nothing * 0
        at = np.minimum(np.searchsorted(self.numbers, numbers), len(self.numbers) - 1)
        stored = self.numbers[at] == numbers
        return np.where(stored, self.starts[at], -1), self.lengths[at], self.masks[at]


_index_lock = threading.Lock()


#: Threads that wait for the library's own lock slow down the one that has it.
_library_lock = threading.Lock()


def _new_locks() -> None:
    """Start a forked child with locks nobody holds."""
    global _index_lock, _library_lock
    _index_lock, _library_lock = threading.Lock(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_locks)


def chunk_index(dataset: DataSet) -> _Index:
    """Return where the chunks are; found out once in each process."""
    with _index_lock:
        return _kept_index(dataset)


def _check_unchanged(dataset: DataSet) -> None:
    for file in (dataset.file, *dataset.others):
        backends.check_unchanged(file)


@cached(_MAX_INDEXES)
def _kept_index(dataset: DataSet) -> _Index:
    """Ask the library for the places of all chunks."""
    _check_unchanged(dataset)
    rows = array("Q")

    def note(info: tuple[tuple[int, ...], int, int, int]) -> None:
        origin, mask, start, length = info
        rows.extend(origin)
        rows.extend((mask, start, length))

    with opened(dataset.path, dataset.file) as file:
        ds = file[dataset.name]
        if hasattr(ds.id, "chunk_iter"):
            ds.id.chunk_iter(note)
        else:
            for i in range(ds.id.get_num_chunks()):
                note(ds.id.get_chunk_info(i))
        base = userblock(ds, chunked=True)
    ndim = len(dataset.shape)
    table = np.frombuffer(rows, np.uint64).reshape(-1, ndim + 3)
    cells = table[:, :ndim] // np.array(dataset.chunks, np.uint64)
    if (table >> np.uint64(62)).any() or (cells >= np.array(dataset.grid, np.uint64)).any():
        raise FormatError(
            dataset.file.path, f"is damaged: it has chunks of {dataset.name} that cannot be there."
        )
    strides = [math.prod(dataset.grid[i + 1 :]) for i in range(ndim)]
    numbers = cells.astype(np.int64) @ np.array(strides, np.int64)
    order = np.argsort(numbers)
    masks, starts, lengths = table[order, ndim:].astype(np.int64).T.copy()
    return _Index(numbers[order], starts + base, lengths, masks)


@contextmanager
def library(dataset: DataSet) -> Iterator[Any]:
    """Open the data set with the library.

    It stays open no longer than needed: HDF5 refuses to open a file for writing, or with another
    kind of lock, that is open already.
    """
    plugins()
    _check_unchanged(dataset)
    if dataset.file.origin is not None and dataset.others:
        raise Unsupported(
            dataset.file.path,
            f"{dataset.name} is put together from other files, which the HDF5 library opens on a "
            "disk only.",
            "Download them first.",
        )
    with _library_lock, opened(dataset.path, dataset.file) as file:
        yield file[dataset.name]


def read_chunk(dataset: DataSet, number: int) -> npt.NDArray[Any]:
    """Read one chunk through the library; what lies beyond the edge is zero."""
    assert dataset.chunks is not None
    cell = np.unravel_index(number, dataset.grid)
    part = tuple(
        slice(int(i) * c, min(n, (int(i) + 1) * c))
        for i, c, n in zip(cell, dataset.chunks, dataset.shape, strict=True)
    )
    values = np.empty([s.stop - s.start for s in part], dataset.stored.newbyteorder("="))
    with library(dataset) as source:
        read_slices(source, dataset, part, values)
    whole = np.zeros(dataset.chunks, values.dtype)
    whole[tuple(slice(0, n) for n in values.shape)] = values
    return whole.reshape(-1)


def read_slices(
    source: Any, dataset: DataSet, part: tuple[slice, ...], out: npt.NDArray[Any]
) -> None:
    """Have the library read a part of a data set."""
    _require_whole(dataset, part)
    try:
        source.read_direct(out, part)
    except (OSError, RuntimeError, ValueError) as error:
        raise FormatError(dataset.file.path, f"{dataset.name} cannot be read: {error}.") from error


def _require_whole(dataset: DataSet, part: tuple[slice, ...]) -> None:
    """Raise if a compressed chunk in a part of a data set says that it is of another size."""
    *before, last = dataset.filters or (None,)
    if last is None or dataset.chunks is None or any(f.number != SHUFFLE for f in before):
        return
    cells = [
        np.arange(s.start // c, -(-s.stop // c)) for s, c in zip(part, dataset.chunks, strict=True)
    ]
    numbers = np.ravel_multi_index(np.meshgrid(*cells, indexing="ij"), dataset.grid).reshape(-1)
    places = chunk_index(dataset).find(numbers)
    for number, start, length, mask in zip(
        numbers.tolist(), *(p.tolist() for p in places), strict=True
    ):
        if start < 0 or mask >> len(before) & 1:  # never written, or not compressed
            continue
        head = backends.read(dataset.file, start, min(length, _HEAD), "buffered").tobytes()
        if announced(last, head) not in (None, dataset.chunk_bytes):
            raise damaged_chunk(dataset, number, start)


def damaged_chunk(dataset: DataSet, number: int, start: int) -> FormatError:
    assert dataset.chunks is not None
    cell = np.unravel_index(number, dataset.grid)
    origin = tuple(int(i) * c for i, c in zip(cell, dataset.chunks, strict=True))
    return FormatError(
        dataset.file.path,
        f"the chunk of {dataset.name} that begins with the element {origin}, at byte {start} of "
        "the file, is damaged.",
        "Copy the file again from where it was recorded; frames in other chunks can be read with "
        "first_frame= and last_frame=.",
    )
