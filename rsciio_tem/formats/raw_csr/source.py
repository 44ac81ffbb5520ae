# SPDX-License-Identifier: GPL-3.0-or-later
"""The three binary files, and the entries of frames in them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Problems, Truncated
from rsciio_tem.frames.sparse import Triplets, places_of
from rsciio_tem.parsing.text import numpy_type
from rsciio_tem.storage import backends, files
from rsciio_tem.storage.backends import Backend, DataFile

#: The binary files, and the kinds of numbers that they may hold.
PARTS = {"indptr": "iu", "indices": "iu", "data": "buifc"}
#: Memory for so many bytes of each file is kept for the next ones.
_REUSED = 8 << 20


@dataclass(frozen=True)
class _Column:
    """One of the binary files: numbers back to back."""

    name: str
    file: DataFile
    stored: np.dtype[Any]

    @property
    def native(self) -> np.dtype[Any]:
        """Type of a number, in the machine's byte order."""
        return self.stored.newbyteorder("=")

    def __len__(self) -> int:
        return self.file.size // self.stored.itemsize

    def read(
        self, first: int, last: int, dtype: np.dtype[Any] | type, backend: Backend
    ) -> npt.NDArray[Any]:
        """Return the numbers first..last as `dtype`, until others of this column are read."""
        size = self.stored.itemsize
        nbytes = (last - first) * size
        into = None if nbytes <= _REUSED else np.empty(nbytes, np.uint8)
        backend = backend if nbytes else "auto"  # an empty file cannot be mapped
        raw = backends.read(self.file, first * size, nbytes, backend, into, self.name)
        return raw.view(self.stored).astype(dtype, copy=False)


@dataclass(frozen=True)
class _Csr:
    """The three files; see `rsciio_tem.frames.sparse.Source`."""

    indptr: _Column
    indices: _Column
    data: _Column
    count: int
    backend: Backend = "auto"

    @property
    def path(self) -> str:
        return self.indices.file.path

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.native

    def __len__(self) -> int:
        return self.count

    def using(self, backend: Backend) -> _Csr:
        return replace(self, backend=backend)

    def _bounds(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """Return where the frames first..last begin and end, if that makes sense."""
        bounds = self.indptr.read(first, last + 1, np.int64, self.backend)
        begins, ends = bounds[:-1], bounds[1:]
        if bounds[0] < 0 or bounds[-1] > len(self.indices) or (begins > ends).any():
            wrong = (begins > ends) | (begins < 0) | (ends > len(self.indices))
            i = int(np.flatnonzero(wrong)[0])
            raise FormatError(
                self.indptr.file.path,
                f"frame {first + i} is said to have the entries from {bounds[i]} to "
                f"{bounds[i + 1]} of {len(self.indices)}.",
                "indptr_dtype in the TOML file may be wrong.",
            )
        return bounds

    def sizes(self, first: int, last: int) -> npt.NDArray[np.int64]:
        return np.diff(self._bounds(first, last))

    def entries(self, first: int, last: int) -> Triplets:
        bounds = self._bounds(first, last)
        begin, end = int(bounds[0]), int(bounds[-1])
        # read even if there is nothing to read: changed files are errors
        pixels = self.indices.read(begin, end, self.indices.native, self.backend)
        values = self.data.read(begin, end, self.dtype, self.backend)
        return Triplets(bounds - begin, places_of(pixels), values)


# ---------------------------------------------------------------- description


def _column(path: str, table: Mapping[str, Any], part: str, problems: Problems) -> _Column:
    """Return one of the binary files."""
    name, text = table.get(f"{part}_file"), table.get(f"{part}_dtype")
    if not isinstance(name, str) or not name or not isinstance(text, str):
        raise FormatError(path, f"lacks {part}_file or {part}_dtype in [raw_csr].")
    stored = numpy_type(text)
    if stored is None:
        raise FormatError(
            path, f"{part}_dtype = {text!r} is unknown.", "Use numpy's names, such as '<i4'."
        )
    if stored.kind not in PARTS[part] or stored.itemsize > (16 if stored.kind == "c" else 8):
        what = "numbers" if part == "data" else "whole numbers"
        raise FormatError(path, f"{part}_dtype = {text!r} is not a type of {what}.")
    if "\0" in name:
        raise FormatError(path, f"{part}_file = {name!r} is not a name of a file.")
    file = DataFile.of(files.existing(files.beside(path, name)))
    if rest := file.size % stored.itemsize:
        problems.warn(
            f"{rest} bytes at the end of {name} are not whole {stored}, and are ignored.",
            f"The file was cut, or {part}_dtype is wrong.",
        )
    return _Column(f"raw_csr {part}", file, stored)


def _complete(source: _Csr) -> int:
    """Return how many frames have all their entries, by looking at few of them."""
    low, high = 0, source.count
    while low < high:
        middle = (low + high + 1) // 2
        end = source.indptr.read(middle, middle + 1, np.int64, "auto")[0]
        low, high = (middle, high) if 0 <= end <= len(source.indices) else (low, middle - 1)
    return low


def source_of(path: str, table: Mapping[str, Any], problems: Problems) -> _Csr:
    """Return the three files, if they fit each other."""
    indptr, indices, data = (_column(path, table, part, problems) for part in PARTS)
    if len(indices) != len(data):
        raise FormatError(
            path,
            f"{os.path.basename(indices.file.path)} has {len(indices)} entries, "
            f"{os.path.basename(data.file.path)} {len(data)}.",
            "One of them was cut, or its dtype in the TOML file is wrong.",
        )
    source = _Csr(indptr, indices, data, len(indptr) - 1)
    if source.count < 1:
        raise Truncated(indptr.file.path, f"has {indptr.file.size} bytes, which hold no frame.")
    first = int(indptr.read(0, 1, np.int64, "auto")[0])
    last = int(indptr.read(source.count, source.count + 1, np.int64, "auto")[0])
    if first != 0:
        raise FormatError(
            indptr.file.path,
            f"begins with {first} instead of 0.",
            "indptr_dtype in the TOML file may be wrong.",
        )
    if not 0 <= last <= len(indices):
        complete = _complete(source)
        if not complete:
            raise Truncated(
                indices.file.path, f"has {len(indices)} entries, no frame has all of its own."
            )
        problems.warn(
            f"ends early: {len(indices)} of {last} entries are there, and {complete} of "
            f"{source.count} frames are complete.",
        )
        source = replace(source, count=complete)
    elif last < len(indices):
        problems.warn(
            f"{len(indices) - last} of {len(indices)} entries belong to no frame.",
            f"{os.path.basename(indptr.file.path)} was cut, or indptr_dtype is wrong.",
        )
    return source
