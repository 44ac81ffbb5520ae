# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame caches in HDF5 (.fch5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Truncated, Unsupported
from rsciio_tem.formats.framecache import archive, layout
from rsciio_tem.formats.framecache.archive import _Entries
from rsciio_tem.formats.framecache.layout import (
    _LARGEST_METADATA,
    _MOST_METADATA,
    TABLES,
    VERSION,
    VERSION_KEY,
    _Described,
    _Header,
    _plain,
)
from rsciio_tem.frames.sparse import SparseFrames, Triplets
from rsciio_tem.parsing import hdf5
from rsciio_tem.parsing.hdf5 import groups_with, opened
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import Backend, DataFile


@dataclass(frozen=True)
class _Rows(_Entries):
    """A table of entries in HDF5, and where each frame's are in it."""

    group: str
    rows: int
    block: int

    def using(self, backend: Backend) -> _Rows:
        if backend != "auto":
            raise Unsupported(self.path, "io_backend has no meaning for frames in HDF5.")
        return self

    def _bounds(self, first: int, last: int, read: _Reader) -> tuple[npt.NDArray[np.int64], ...]:
        """Return where the entries of frames begin and end; not in the order of the frames."""
        ids = read("frame_ids", 2 * first, 2 * last).reshape(-1, 2)
        begins, ends = ids[:, 0].astype(np.int64), ids[:, 1].astype(np.int64)
        wrong = (begins < 0) | (ends < begins) | (ends > self.rows)
        if wrong.any():
            i = int(np.flatnonzero(wrong)[0])
            raise FormatError(
                self.path,
                f"frame {first + i} is said to have the entries from {ids[i, 0]} to {ids[i, 1]} "
                f"of {self.rows}.",
            )
        longest = int(np.argmax(ends - begins))
        self._check_length(first + longest, int((ends - begins)[longest]))
        return begins, ends

    def sizes(self, first: int, last: int) -> npt.NDArray[np.int64]:
        with _Reader(self) as read:
            begins, ends = self._bounds(first, last, read)
        return ends - begins

    def entries(self, first: int, last: int) -> Triplets:
        with _Reader(self) as read:
            begins, ends = self._bounds(first, last, read)
            lengths = ends - begins
            if not lengths.any():
                return Triplets.none(last - first, self.dtype)
            blocks, at = self._places(begins[lengths > 0], lengths[lengths > 0])
            total = int(lengths.sum())
            if last - first > 1 and len(blocks) * self.block > 4 * total + layout._FAR * self.block:
                middle = (first + last) // 2  # frames far apart from each other
                return Triplets.joined([self.entries(first, middle), self.entries(middle, last)])
            found = []
            for name in ("indices", "data"):
                parts = [read.block(name, number) for number in blocks]
                found.append((parts[0] if len(parts) == 1 else np.concatenate(parts))[at])
        indices, values = found
        pixels = self._flat(indices[:, 0], indices[:, 1])
        values = self._cast(values.reshape(-1), f"one of the frames {first} to {last - 1}")
        return Triplets(np.concatenate([[0], np.cumsum(lengths)]), pixels, values)

    def _places(
        self, begins: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
    ) -> tuple[list[int], Any]:
        """Return the blocks that hold some frames, and an index into them side by side."""
        low, high = begins // self.block, (begins + lengths - 1) // self.block
        wide = np.flatnonzero(high - low > 1).tolist()
        between = [np.arange(low[i] + 1, high[i]) for i in wide]
        blocks = np.unique(np.concatenate([low, high, *between]))
        places = np.searchsorted(blocks, low) * self.block + begins % self.block
        if (places[1:] == places[:-1] + lengths[:-1]).all():  # nothing to gather
            return blocks.tolist(), slice(int(places[0]), int(places[-1] + lengths[-1]))
        ends = np.cumsum(lengths)
        at = np.repeat(places - (ends - lengths), lengths) + np.arange(ends[-1])
        return blocks.tolist(), at


class _Reader:
    """Reads tables in blocks of rows; opens the file only for blocks that are not known."""

    def __init__(self, source: _Rows) -> None:
        self.source = source
        self.opened: Any = None
        self.file: Any = None

    def __enter__(self) -> _Reader:
        backends.read(self.source.file, 0, 1, "auto")  # checks that it is the file described
        return self

    def __exit__(self, *error: Any) -> None:
        if self.opened is not None:
            self.opened.__exit__(*error)

    def block(self, name: str, number: int) -> npt.NDArray[Any]:
        """Return the rows of a table from ``number * block`` on."""
        source = self.source
        key = (source.file, source.group, name, number)
        if (known := archive._recent.get(key)) is not None:
            return known[0]
        if self.opened is None:
            import hdf5plugin  # noqa: F401  registers filters

            self.opened = opened(source.path)
            self.file = self.opened.__enter__()
        first = number * source.block
        rows = np.asarray(self.file[source.group][name][first : first + source.block])
        archive._recent.keep(key, rows)
        return rows

    def __call__(self, name: str, first: int, last: int) -> npt.NDArray[Any]:
        """Return the elements first..last of a table."""
        size = self.source.block
        parts = []
        for number in range(first // size, -(-last // size)):
            begin = number * size
            part = self.block(name, number).reshape(-1)
            parts.append(part[max(0, first - begin) : last - begin])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _metadata(group: Any, left: list[int], depth: int = 0) -> dict[str, Any]:
    """Return data sets and groups as dictionaries."""
    import h5py

    found: dict[str, Any] = {}
    for name in group:
        left[0] -= 1
        if left[0] < 0 or depth > 16:
            break
        if group.get(name, getclass=True, getlink=True) is not h5py.HardLink:
            continue
        value = group[name]
        if isinstance(value, h5py.Group):
            found[str(name)] = _metadata(value, left, depth + 1)
        elif isinstance(value, h5py.Dataset) and value.shape is not None:
            if value.size * value.dtype.itemsize > _LARGEST_METADATA:
                continue
            content = np.asarray(value[()])
            if content.dtype.kind == "O":  # text of any length
                texts = [hdf5.text(text) for text in content.reshape(-1).tolist()]
                content = np.array(texts, str).reshape(content.shape)
            if content.dtype.kind in "buifcSU":
                found[str(name)] = _plain(content)
    return found


def _cache_groups(path: str, wanted: str | None) -> list[str]:
    """Return the groups of an HDF5 file to read."""
    with opened(path) as file:
        if wanted is not None:
            import h5py

            group = file.get(wanted)
            if not isinstance(group, h5py.Group) or VERSION_KEY not in group.attrs:
                raise FormatError(
                    path,
                    f"has no frame cache in {wanted!r}.",
                    f"It has some in {', '.join(groups_with(file, VERSION_KEY)) or 'no group'}.",
                )
            return [str(group.name)]
        found = groups_with(file, VERSION_KEY)
    if not found:
        raise NotThisFormat(
            path, f"is an HDF5 file without frame cache: no group has the attribute {VERSION_KEY}."
        )
    return found


def _rows_of(path: str, name: str, problems: list[Problem]) -> _Described:
    """Describe a group of an HDF5 file."""
    import h5py

    del problems  # nothing here is odd and still readable
    described = DataFile.of(path)
    with opened(path) as file:
        group = file[name]
        version = np.asarray(group.attrs[VERSION_KEY]).reshape(-1).tolist()
        if version != [VERSION]:
            raise Unsupported(
                path, f"is a frame cache of version {version}, known is version {VERSION}."
            )
        lacking = [
            key
            for key in (*TABLES, "shape", "nframes", "dtype")
            if not isinstance(group.get(key), h5py.Dataset) or group[key].shape is None
        ]
        if lacking:
            raise FormatError(path, f"is a frame cache without {', '.join(lacking)}.")
        for key in ("shape", "nframes", "dtype"):
            if group[key].size > 16:
                raise FormatError(path, f"{key} has {group[key].size} elements.")
        header = _Header.of(group["shape"][()], group["nframes"][()], group["dtype"][()], path)
        data, indices, ids = (group[key] for key in TABLES)
        rows = int(indices.shape[0]) if indices.shape else 0
        good = indices.shape == (rows, 2) and data.shape in ((rows,), (rows, 1))
        if not good or indices.dtype.kind not in "iu" or data.dtype.kind not in "buifc":
            raise FormatError(
                path,
                f"has {indices.shape} indices of type {indices.dtype} and {data.shape} values of "
                f"type {data.dtype}.",
            )
        if ids.dtype.kind not in "iu" or ids.size < 2 * header.frames:
            raise Truncated(
                path,
                f"has frame_ids of {ids.size} elements of type {ids.dtype}, "
                f"{header.frames} frames need {2 * header.frames}.",
            )
        chunk = int(data.chunks[0]) if data.chunks else 0
        block = chunk if layout._ROWS >> 5 <= chunk <= layout._ROWS << 2 else layout._ROWS
        metadata = group.get("metadata")
        tree = _metadata(metadata, [_MOST_METADATA]) if isinstance(metadata, h5py.Group) else {}
        _require_filters(group, path)
    frames = SparseFrames(_Rows(described, header, name, rows, block), header.shape)
    return _Described(frames, tree, (path,), "" if name == "/" else name.rpartition("/")[2])


def _require_filters(group: Any, path: str) -> None:
    """Raise if the HDF5 library lacks a filter of the tables."""
    import h5py
    import hdf5plugin  # noqa: F401  registers filters

    for key in TABLES:
        plist = group[key].id.get_create_plist()
        for i in range(plist.get_nfilters()):
            code, _, _, name = plist.get_filter(i)
            if not h5py.h5z.filter_avail(code):
                raise Unsupported(
                    path,
                    f"{key} is compressed with {name.decode('utf-8', 'replace')!r} (HDF5 filter "
                    f"{code}), which is not installed.",
                )
