# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame caches in zip archives of arrays (.npz), two or three members per frame."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Problem
from rsciio_tem.formats.framecache.layout import (
    _KEPT,
    _LARGEST_METADATA,
    _MOST_METADATA,
    _NOWHERE,
    _Described,
    _Header,
    _plain,
)
from rsciio_tem.frames.sparse import SparseFrames, Triplets, most_entries
from rsciio_tem.parsing.zip_archives import HEADER, directory
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import Backend, DataFile

# ---------------------------------------------------------------- what was decompressed


class _Recent:
    """Arrays that were decompressed last, so that a second look at them costs nothing."""

    def __init__(self, most: int) -> None:
        self.most, self.size = most, 0
        self.known: OrderedDict[Any, tuple[npt.NDArray[Any], ...]] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, key: Any) -> tuple[npt.NDArray[Any], ...] | None:
        with self.lock:
            if (found := self.known.get(key)) is not None:
                self.known.move_to_end(key)
            return found

    def keep(self, key: Any, *arrays: npt.NDArray[Any]) -> None:
        with self.lock:
            if key not in self.known:
                self.size += sum(array.nbytes for array in arrays) + 500
            self.known[key] = arrays
            while self.size > self.most:
                self.size -= sum(a.nbytes for a in self.known.popitem(last=False)[1]) + 500


_recent = _Recent(_KEPT)


def _forget() -> None:
    """Start a forked child with a lock that nobody holds."""
    global _recent
    _recent = _Recent(_KEPT)


@dataclass(frozen=True)
class _Entries:
    """What the sources for both kinds of file share; see `rsciio_tem.frames.sparse.Source`."""

    file: DataFile
    header: _Header

    @property
    def path(self) -> str:
        return self.file.path

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.header.dtype)

    def __len__(self) -> int:
        return self.header.frames

    def _flat(self, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
        """Return places in the flat frame; the largest number where there is none."""
        height, width = self.header.shape
        outside = (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)
        flat = rows.astype(np.uint32) * np.uint32(width) + columns.astype(np.uint32)
        flat[outside] = _NOWHERE
        return flat

    def _cast(self, values: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
        """Return values in the type of the header, if they fit into it."""
        dtype = self.dtype
        if values.dtype == dtype:
            return values.copy()
        if values.dtype.kind == "c" and dtype.kind != "c":
            raise FormatError(self.path, f"{where} has values of type {values.dtype}, not {dtype}.")
        with np.errstate(invalid="ignore", over="ignore"):
            cast = values.astype(dtype)
        if ((cast != values) & (values == values)).any() and dtype.kind not in "fc":
            raise FormatError(
                self.path,
                f"{where} has values of type {values.dtype} that are no {dtype}, the type that "
                "the file tells.",
            )
        return cast

    def _check_length(self, frame: int, entries: int) -> None:
        rows, columns = self.header.shape
        if entries > most_entries(rows * columns):
            raise FormatError(
                self.path,
                f"frame {frame} has {entries} entries, many more than its {rows} x {columns} "
                "pixels.",
            )


@lru_cache(maxsize=4)
def _table(file: DataFile, count: int) -> npt.NDArray[np.int64]:
    """Return which members hold rows, columns and values of each frame; -1 if one is missing."""
    table = directory(file).table(count)
    table[:, (table < 0).any(axis=0)] = -1
    return table


@dataclass(frozen=True)
class _Members(_Entries):
    """Three arrays for each frame in an .npz."""

    backend: Backend = "auto"

    def using(self, backend: Backend) -> _Members:
        return replace(self, backend=backend)

    def sizes(self, first: int, last: int) -> npt.NDArray[np.int64]:
        members = _table(self.file, len(self))[2, first:last]
        size = directory(self.file).members["size"][members]
        return np.where(members < 0, 0, size // self.dtype.itemsize)

    def entries(self, first: int, last: int) -> Triplets:
        backends.read(self.file, 0, 1, "auto")  # checks that it is still the file described
        count = last - first
        parts: list[tuple[npt.NDArray[Any], ...]] = [()] * count
        wanted = []
        for i in range(count):
            if (known := _recent.get((self.file, self.header, first + i))) is not None:
                parts[i] = known
            else:
                wanted.append(i)
        for i, part in self._read(np.array(wanted, np.int64), first):
            parts[i] = part
        bounds = np.cumsum([0, *(len(part[0]) for part in parts)])
        pixels = np.concatenate([part[0] for part in parts])
        return Triplets(bounds, pixels, np.concatenate([part[1] for part in parts]))

    def _read(
        self, wanted: npt.NDArray[np.int64], first: int
    ) -> Iterator[tuple[int, tuple[npt.NDArray[Any], ...]]]:
        """Read frames; places and values of each."""
        members = _table(self.file, len(self))[:, first + wanted]
        lost = members[0] < 0
        for i in wanted[lost].tolist():
            yield i, (np.zeros(0, np.uint32), np.zeros(0, self.dtype))
        wanted, members = wanted[~lost], members[:, ~lost]
        if not len(wanted):
            return
        found = directory(self.file)
        rows, columns = self.header.shape
        large = found.members["size"][members] > 16 * most_entries(rows * columns) + (1 << 16)
        if large.any():  # told before anything is inflated
            name = found.name(int(members[large][0]))
            raise FormatError(
                self.path, f"{name} is larger than frames of {rows} x {columns} pixels can need."
            )
        arrays: list[npt.NDArray[Any]] = [np.zeros(0)] * members.size
        flat = members.T.reshape(-1)
        for k, content in found.contents(flat, self.backend):
            array = found.array(int(flat[k]), content)
            if array.ndim != 1 or array.dtype.kind not in ("buifc" if k % 3 == 2 else "iu"):
                raise FormatError(
                    self.path,
                    f"{found.name(int(flat[k]))} has {array.shape} elements of type {array.dtype}.",
                )
            arrays[k] = array.copy()
        lengths = np.array([len(array) for array in arrays]).reshape(-1, 3)
        odd = (lengths != lengths[:, :1]).any(axis=1)
        if odd.any():
            i = int(np.flatnonzero(odd)[0])
            raise FormatError(
                self.path,
                f"frame {first + int(wanted[i])} has {lengths[i, 0]} rows, {lengths[i, 1]} "
                f"columns and {lengths[i, 2]} values.",
            )
        bounds = np.cumsum([0, *lengths[:, 0].tolist()]).tolist()
        pixels = self._flat(np.concatenate(arrays[::3]), np.concatenate(arrays[1::3]))
        values = np.concatenate(arrays[2::3])
        values = self._cast(values, f"one of the frames {first} to {first + int(wanted.max())}")
        for i, a, b in zip(wanted.tolist(), bounds[:-1], bounds[1:], strict=True):
            part = pixels[a:b].copy(), values[a:b].copy()
            self._check_length(first + i, b - a)
            _recent.keep((self.file, self.header, first + i), *part)
            yield i, part


def _members_of(path: str, told: _Header | None, problems: list[Problem]) -> _Described:
    """Describe an .npz; `told` is what a YAML file says of it."""
    file = DataFile.of(path)
    found = directory(file)
    sizes = {name: int(found.members["size"][i]) for name, i in found.others.items()}
    wanted = [n for n, size in sizes.items() if n.endswith(".npy") and size <= _LARGEST_METADATA]
    values: dict[str, Any] = {}
    for name in wanted[:_MOST_METADATA]:
        member = np.array([found.others[name]])
        try:
            for _, content in found.contents(member):
                values[name[:-4]] = found.array(int(member[0]), content).copy()
        except FormatError as error:
            problems.append(Problem("warning", f"{error.problem} It is left out."))
    if len(values) < len(sizes) and not problems:
        problems.append(Problem("warning", "some of the metadata are too large, and left out."))
    header = told
    if header is None:
        lacking = [name for name in ("shape", "nframes", "dtype") if name not in values]
        if lacking:
            if not (found.members["part"] >= 0).any():
                raise NotThisFormat(
                    path, f"is no frame cache; its arrays are {', '.join(found.others) or 'none'}."
                )
            raise FormatError(
                path,
                f"is a frame cache without {', '.join(lacking)}.",
                "If there is a .yml beside it, open that one.",
            )
        header = _Header.of(values["shape"], values["nframes"], values["dtype"], path)
    numbers = found.members["number"][found.members["part"] >= 0]
    there = int(numbers.max()) + 1 if len(numbers) else 0
    if header.frames > 10 * there + 1000 or not there:
        raise FormatError(
            path, f"is said to have {header.frames} frames, and holds arrays of {there}."
        )
    if there > header.frames:
        problems.append(
            Problem(
                "warning",
                f"holds arrays of {there} frames, and is said to have {header.frames}; the others "
                "are ignored.",
            )
        )
    frames = SparseFrames(_Members(file, header), header.shape)
    lost = _table(file, header.frames)[0] < 0
    if lost.any():
        listed = ", ".join(map(str, np.flatnonzero(lost)[:10].tolist()))
        if lost.all():
            raise FormatError(path, f"holds none of its {header.frames} frames.")
        problems.append(
            Problem(
                "warning",
                f"lacks arrays of {int(lost.sum())} of {header.frames} frames, which are filled: "
                f"{listed}{', …' if lost.sum() > 10 else ''}.",
            )
        )
        frames = frames[np.where(lost, -1, np.arange(len(lost)))]
    metadata = {k: _plain(v) for k, v in values.items() if f"{k}.npy" not in HEADER}
    return _Described(frames, metadata, (path,))
