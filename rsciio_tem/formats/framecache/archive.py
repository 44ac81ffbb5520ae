# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame caches in zip archives of arrays (.npz), two or three members per frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Problems
from rsciio_tem.formats.framecache import entries
from rsciio_tem.formats.framecache.entries import Entries
from rsciio_tem.formats.framecache.header import (
    ALL_METADATA,
    LARGEST_METADATA,
    MOST_METADATA,
    Described,
    Header,
    plain_value,
)
from rsciio_tem.frames.sparse import SparseFrames, Triplets, most_entries
from rsciio_tem.parsing.zip_archives import HEADER, Directory, directory
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import Backend, DataFile
from rsciio_tem.storage.identities import cached


@cached(4)
def _table(file: DataFile, count: int) -> npt.NDArray[np.int64]:
    """Return which members hold rows, columns and values of each frame; -1 if one is missing."""
    table = directory(file).table(count)
    table[:, (table < 0).any(axis=0)] = -1
    return table


@dataclass(frozen=True)
class _Members(Entries):
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
        parts = [
            entries.recent.get((self.file, self.header, first + i)) or () for i in range(count)
        ]
        missing = np.array([i for i, part in enumerate(parts) if not part], np.int64)
        for i, part in self._read(missing, first):
            parts[i] = part
        bounds = np.cumsum([0, *(len(part[0]) for part in parts)])
        pixels = np.concatenate([part[0] for part in parts])
        return Triplets(bounds, pixels, np.concatenate([part[1] for part in parts]))

    def _read(
        self, numbers: npt.NDArray[np.int64], first: int
    ) -> Iterator[tuple[int, tuple[npt.NDArray[Any], ...]]]:
        """Read frames, counted from `first` on; places and values of each."""
        members = _table(self.file, len(self))[:, first + numbers]
        lost = members[0] < 0
        for i in numbers[lost].tolist():
            yield i, (np.zeros(0, np.uint32), np.zeros(0, self.dtype))
        numbers, members = numbers[~lost], members[:, ~lost]
        if not len(numbers):
            return
        arrays = self._arrays(members.T.reshape(-1))
        lengths = np.array([len(array) for array in arrays]).reshape(-1, 3)
        odd = (lengths != lengths[:, :1]).any(axis=1)
        if odd.any():
            i = int(np.flatnonzero(odd)[0])
            raise FormatError(
                self.path,
                f"frame {first + int(numbers[i])} has {lengths[i, 0]} rows, {lengths[i, 1]} "
                f"columns and {lengths[i, 2]} values.",
            )
        bounds = np.cumsum([0, *lengths[:, 0].tolist()]).tolist()
        pixels = self.flat(np.concatenate(arrays[::3]), np.concatenate(arrays[1::3]))
        values = np.concatenate(arrays[2::3])
        values = self.cast(values, f"one of the frames {first} to {first + int(numbers.max())}")
        for i, a, b in zip(numbers.tolist(), bounds[:-1], bounds[1:], strict=True):
            part = pixels[a:b].copy(), values[a:b].copy()
            self.check_length(first + i, b - a)
            entries.recent.keep((self.file, self.header, first + i), *part)
            yield i, part

    def _arrays(self, members: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
        """Read members: rows, columns and values of one frame after the other."""
        archive = directory(self.file)
        rows, columns = self.header.shape
        large = archive.members["size"][members] > 16 * most_entries(rows * columns) + (1 << 16)
        if large.any():  # told before anything is inflated
            name = archive.name(int(members[large][0]))
            raise FormatError(
                self.path, f"{name} is larger than frames of {rows} x {columns} pixels can need."
            )
        arrays: list[npt.NDArray[Any]] = [np.zeros(0)] * members.size
        for k, content in archive.contents(members, self.backend):
            array = archive.array(int(members[k]), content)
            if array.ndim != 1 or array.dtype.kind not in ("buifc" if k % 3 == 2 else "iu"):
                raise FormatError(
                    self.path,
                    f"{archive.name(int(members[k]))} has {array.shape} elements of type "
                    f"{array.dtype}.",
                )
            arrays[k] = array.copy()
        return arrays


# ---------------------------------------------------------------- description


def described_archive(path: str, header: Header | None, problems: Problems) -> Described:
    """Describe an .npz; `header` is what a YAML file says of it."""
    file = DataFile.of(path)
    archive = directory(file)
    values = _small_arrays(archive, problems)
    if header is None:
        header = _header(archive, values)
    numbers = archive.members["number"][archive.members["part"] >= 0]
    stored = int(numbers.max()) + 1 if len(numbers) else 0
    if header.frames > 10 * len(numbers) + 1000 or not stored:
        raise FormatError(
            path, f"is said to have {header.frames} frames, and holds arrays of {stored}."
        )
    if stored > header.frames:
        problems.warn(
            f"holds arrays of {stored} frames, and is said to have {header.frames}; the others "
            "are ignored."
        )
    frames = SparseFrames(_Members(file, header), header.shape)
    lost = _table(file, header.frames)[0] < 0
    if lost.all():
        raise FormatError(path, f"holds none of its {header.frames} frames.")
    if lost.any():
        listed = ", ".join(map(str, np.flatnonzero(lost)[:10].tolist()))
        problems.warn(
            f"lacks arrays of {int(lost.sum())} of {header.frames} frames, which are filled: "
            f"{listed}{', …' if lost.sum() > 10 else ''}."
        )
        frames = frames[np.where(lost, -1, np.arange(len(lost)))]
    metadata = {k: plain_value(v) for k, v in values.items() if f"{k}.npy" not in HEADER}
    return Described(frames, metadata, (path,))


def _small_arrays(archive: Directory, problems: Problems) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays that belong to no frame, if they are not too large."""
    sizes = {name: int(archive.members["size"][i]) for name, i in archive.others.items()}
    small = [n for n, size in sizes.items() if n.endswith(".npy") and size <= LARGEST_METADATA]
    values: dict[str, npt.NDArray[Any]] = {}
    remaining = ALL_METADATA
    for name in sorted(small, key=lambda name: name not in HEADER)[:MOST_METADATA]:
        remaining -= sizes[name]
        if remaining < 0:
            break
        member = np.array([archive.others[name]])
        try:
            for _, content in archive.contents(member):
                values[name[:-4]] = archive.array(int(member[0]), content).copy()
        except FormatError as error:
            problems.warn(f"{error.problem} It is left out.")
    if len(values) < len(sizes) and not problems:
        problems.warn("some of the metadata are too large, and left out.")
    return values


def _header(archive: Directory, values: dict[str, npt.NDArray[Any]]) -> Header:
    """Return what the archive says of its frames."""
    path = archive.file.path
    lacking = [name for name in ("shape", "nframes", "dtype") if name not in values]
    if lacking and not (archive.members["part"] >= 0).any():
        raise NotThisFormat(
            path, f"is not a frame cache; its arrays are {', '.join(archive.others) or 'none'}."
        )
    if lacking:
        raise FormatError(
            path,
            f"is a frame cache without {', '.join(lacking)}.",
            "If there is a .yml beside it, open that one.",
        )
    return Header.of(values["shape"], values["nframes"], values["dtype"], path)
