# SPDX-License-Identifier: GPL-3.0-or-later
"""The lists of electrons, and which of them belong to each position of the scan."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Truncated
from rsciio_tem.frames.sparse import Triplets, most_entries, places_of
from rsciio_tem.parsing.hdf5 import opened
from rsciio_tem.parsing.hdf5_links import member
from rsciio_tem.parsing.hdf5_values import part
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import Backend, DataFile
from rsciio_tem.storage.identities import cached

GROUP = "electron_events"
FRAMES, POSITIONS = f"{GROUP}/frames", f"{GROUP}/scan_positions"

#: What the data set holds of a list.
REFERENCE = np.dtype(
    [
        ("count", "<u4"),  # 0, of electrons
        ("heap", "<u8"),  # 4, where the global heap begins that has the list
        ("number", "<u4"),  # 12, of the list in that heap
    ]
)
#: Bytes of positions at most.
_MOST_POSITIONS = 1 << 31
#: Bytes of a heap that holds several lists; bytes of heaps that are read at once; bytes between
#: two of them that are read along.
_HEAP, _SPAN, _GAP = 1 << 16, 16 << 20, 1 << 16
#: References that are not needed and read along.
_NEAR = 256


@dataclass(frozen=True)
class Events:
    """Lists of the electrons of frames; see `rsciio_tem.frames.sparse.Source`.

    Parameters
    ----------
    file : DataFile
        The HDF5 file.
    start : int
        Where the references to the lists begin in it.
    lists : int
        Number of lists, each of them those of one frame of the camera.
    count : int
        Number of scan positions.
    positioned : bool
        Whether the file says to which position each list belongs; otherwise those of a position
        follow each other, as many for each.
    stored : str
        Type of a place.
    origin : int
        Byte from which HDF5 counts.
    pixels : int
        Pixels of a frame.
    value : str
        Type of a pixel.
    """

    file: DataFile
    start: int
    lists: int
    count: int
    positioned: bool
    stored: str
    origin: int
    pixels: int
    value: str
    backend: Backend = "auto"

    @property
    def path(self) -> str:
        """File that errors are about."""
        return self.file.path

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return np.dtype(self.value)

    def __len__(self) -> int:
        return self.count

    def using(self, backend: Backend) -> Events:
        """Return the same lists, fetched in another way."""
        return replace(self, backend=backend)

    # ------------------------------------------------------------------ references

    def bounds(self, first: int, last: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the numbers of the lists of some positions, and where those of each begin."""
        table = _order(self.file, self.lists, self.count) if self.positioned else None
        if table is None:
            each = self.lists // self.count
            return np.arange(first * each, last * each), np.arange(last - first + 1) * each
        starts, lists = table
        begins = starts[first : last + 1]
        return lists[begins[0] : begins[-1]], begins - begins[0]

    def _references(self, lists: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
        """Return the references to some lists."""
        references = np.empty(len(lists), REFERENCE)
        order = np.argsort(lists, kind="stable")
        ascending = lists[order]
        cuts = np.flatnonzero(np.diff(ascending) > _NEAR) + 1
        for some in np.split(order, cuts) if len(lists) else ():
            low, high = int(lists[some[0]]), int(lists[some[-1]]) + 1
            size = REFERENCE.itemsize
            raw = backends.read(
                self.file, self.start + low * size, (high - low) * size, self.backend
            )
            references[some] = raw.view(REFERENCE)[lists[some] - low]
        return references

    def sizes(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """Return the number of electrons of each position."""
        lists, begins = self.bounds(first, last)
        return self._lengths(first, begins, self._references(lists)["count"])

    def _lengths(
        self, first: int, begins: npt.NDArray[np.int64], counts: npt.NDArray[Any]
    ) -> npt.NDArray[np.int64]:
        """Return the number of electrons of each position, if it is possible."""
        ends = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])[begins]
        lengths = np.diff(ends)
        if len(lengths) and int(lengths.max()) > most_entries(self.pixels):
            position = int(np.argmax(lengths))
            raise FormatError(
                self.path,
                f"position {first + position} has {lengths[position]} electrons, many more than "
                f"the {self.pixels} pixels of a frame.",
            )
        return lengths

    # ------------------------------------------------------------------ electrons

    def entries(self, first: int, last: int) -> Triplets:
        """Return the electrons of each position."""
        lists, begins = self.bounds(first, last)
        references = self._references(lists)
        lengths = self._lengths(first, begins, references["count"])
        stored = np.dtype(self.stored)
        nbytes = references["count"].astype(np.int64) * stored.itemsize
        targets = np.concatenate([[0], np.cumsum(nbytes)])
        out = np.empty(int(targets[-1]), np.uint8)
        self._fill(out, lists, references, nbytes, targets[:-1])
        places = out.view(stored)
        native = places.astype(stored.newbyteorder("="), copy=False)
        values = np.ones(len(places), self.dtype)
        return Triplets(np.concatenate([[0], np.cumsum(lengths)]), places_of(native), values)

    def _fill(
        self,
        out: npt.NDArray[np.uint8],
        lists: npt.NDArray[np.int64],
        references: npt.NDArray[np.void],
        nbytes: npt.NDArray[np.int64],
        targets: npt.NDArray[np.int64],
    ) -> None:
        """Fetch lists from the heaps."""
        from rsciio_tem.kernels.heaps import gather

        kept = np.flatnonzero(nbytes)
        heaps = references["heap"][kept].astype(np.uint64)
        beyond = heaps >= np.uint64(self.file.size)
        if beyond.any():
            raise self._lost(int(lists[kept[np.argmax(beyond)]]))
        at = heaps.astype(np.int64) + self.origin
        if (np.diff(at) < 0).any():
            order = np.argsort(at, kind="stable")
            at, kept = at[order], kept[order]
        numbers = references["number"][kept].astype(np.int64)
        for low, high, begin, end in self._spans(at, nbytes[kept], lists[kept]):
            raw = backends.read(self.file, begin, end - begin, self.backend)
            some = slice(low, high)
            objects = at[some], numbers[some], nbytes[kept[some]], targets[kept[some]]
            if (bad := gather(raw, begin, *objects, out)) >= 0:
                raise self._lost(int(lists[kept[low + bad]]))

    def _spans(
        self,
        at: npt.NDArray[np.int64],
        nbytes: npt.NDArray[np.int64],
        lists: npt.NDArray[np.int64],
    ) -> Iterator[tuple[int, int, int, int]]:
        """Divide lists, in the order of their heaps, into those that are read at once.

        Yields
        ------
        (int, int, int, int)
            First and last list, and the bytes of the file in which their heaps are.
        """
        if not len(at):
            return
        firsts = np.concatenate([[0], np.flatnonzero(np.diff(at)) + 1])
        needed = np.add.reduceat(nbytes, firsts)
        heaps = at[firsts]
        far = np.diff(heaps) > 4 * needed[:-1] + _GAP
        full = np.diff((heaps - heaps[0]) // _SPAN) > 0
        cuts = [0, *(np.flatnonzero(far | full) + 1).tolist(), len(heaps)]
        for a, b in pairwise(cuts):
            low, high = int(firsts[a]), int(firsts[b]) if b < len(firsts) else len(at)
            begin, last = int(heaps[a]), int(heaps[b - 1])
            if last + 16 > self.file.size:
                raise self._lost(int(lists[high - 1]))
            head = backends.read(self.file, last, 16, self.backend, None, "heap").tobytes()
            size = int.from_bytes(head[8:], "little")
            # a heap of several lists is small, another one as large as its list
            most = _HEAP + most_entries(self.pixels) * np.dtype(self.stored).itemsize
            if head[:5] != b"GCOL\1" or not 16 <= size <= min(most, self.file.size - last):
                raise self._lost(int(lists[high - 1]))
            yield low, high, begin, last + size

    def _lost(self, number: int) -> FormatError:
        return FormatError(
            self.path,
            f"the electrons of list {number} of {FRAMES} are not where the file says.",
            "It is damaged, or was not copied completely.",
        )


@cached(16)
def _order(
    file: DataFile, lists: int, count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Return where the lists of each position begin in the second array, and their numbers.

    None if there is one for each position, in their order.
    """
    backends.check_unchanged(file)
    with opened(file.path) as opened_file:
        values = np.asarray(part(member(opened_file, POSITIONS), (), _MOST_POSITIONS))
    if values.dtype.kind not in "iu" or values.shape != (lists,):
        raise FormatError(file.path, f"{POSITIONS} has no position for each of {lists} frames.")
    if lists == count and (values == np.arange(count)).all():
        return None
    outside = (values < 0) | (values >= count)
    if outside.any():
        i = int(np.argmax(outside))
        raise FormatError(file.path, f"frame {i} is said to be at position {values[i]} of {count}.")
    positions = values.astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(np.bincount(positions, minlength=count))])
    return starts, np.argsort(positions, kind="stable")


# ---------------------------------------------------------------- description


def place_of_lists(file: Any, path: str) -> tuple[int, int, str, int]:
    """Return where the references begin, how many there are, the type of a place, and the origin.

    Raises
    ------
    FormatError
        The data set is none of lists, or is stored in another way than stempy stores it.
    """
    import h5py

    from rsciio_tem.errors import Unsupported

    dataset = member(file, FRAMES)
    kind = dataset.id.get_type()
    base = kind.get_super() if kind.get_class() == h5py.h5t.VLEN else None
    if base is None or base.get_class() != h5py.h5t.INTEGER or len(dataset.shape or ()) != 1:
        raise FormatError(path, f"{FRAMES} is not a data set of lists of pixels.")
    stored = np.dtype(base.dtype)
    plist = dataset.id.get_create_plist()
    sizes = file.id.get_create_plist().get_sizes()
    if (
        plist.get_layout() != h5py.h5d.CONTIGUOUS
        or plist.get_external_count()
        or sizes != (8, 8)
        or stored.itemsize not in (1, 2, 4, 8)
    ):
        raise Unsupported(
            path,
            f"{FRAMES} is not stored as stempy stores it, in one piece.",
            'Let stempy write it again: SparseArray.from_hdf5("a.h5").write_to_hdf5("b.h5").',
        )
    lists, start = int(dataset.shape[0]), dataset.id.get_offset()
    if not lists:
        raise Truncated(path, "has no frames.")
    origin = int(file.id.get_create_plist().get_userblock())
    if start is None or start + lists * REFERENCE.itemsize > DataFile.of(path).size:
        raise Truncated(path, f"announces {lists} frames that were never written.")
    return int(start), lists, stored.str, origin


def shape_of(thing: Any, path: str, what: str) -> tuple[int, int]:
    """Return Nx and Ny of a data set."""
    from rsciio_tem.parsing.hdf5_values import attribute

    values = [np.asarray(attribute(thing, name)).reshape(-1) for name in ("Nx", "Ny")]
    if any(len(v) != 1 or v.dtype.kind not in "iu" or not 0 < v[0] < 1 << 40 for v in values):
        raise FormatError(path, f"{what} has no attributes Nx and Ny that are sizes.")
    return int(values[0][0]), int(values[1][0])


def checked_count(lists: int, scan: tuple[int, int], positioned: bool, path: str) -> int:
    """Return the number of positions, if there can be so many."""
    count = math.prod(scan)
    if not positioned and lists % count:
        raise Truncated(
            path,
            f"has {lists} frames, which are not as many for each of {scan[0]} x {scan[1]} "
            "positions.",
        )
    if count > 64 * lists + 1024:
        raise FormatError(
            path, f"has {lists} frames for a scan of {scan[0]} x {scan[1]} positions."
        )
    return count
