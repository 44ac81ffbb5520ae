# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame caches in HDF5 (.fch5)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Problems, Truncated, Unsupported
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
from rsciio_tem.frames.sparse import SparseFrames, Triplets
from rsciio_tem.parsing.hdf5 import groups_with, opened
from rsciio_tem.parsing.hdf5_links import member, require_sources
from rsciio_tem.parsing.hdf5_values import (
    DAMAGE,
    attribute,
    has_attribute,
    inside,
    is_hard,
    text,
    value,
)
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import Backend, DataFile
from rsciio_tem.storage.files import plain_file

#: Attribute of the group of a frame cache, and its value.
VERSION_KEY, VERSION = "HEXRD_FRAMECACHE_VERSION", 1
#: Data sets of such a group.
TABLES = ("data", "indices", "frame_ids")
#: Rows of a table that are read at a time where its chunks are much smaller or larger.
_ROWS = 1 << 17
#: Numbers that compression makes of a byte at most.
_SMALLEST = 4096
#: So many blocks of rows may be needed for frames that have few entries in them.
_FAR = 16


@dataclass(frozen=True)
class _Rows(Entries):
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
        self.check_length(first + longest, int((ends - begins)[longest]))
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
            if last - first > 1 and len(blocks) * self.block > 4 * total + _FAR * self.block:
                middle = (first + last) // 2  # frames far apart from each other
                return Triplets.joined([self.entries(first, middle), self.entries(middle, last)])
            indices, values = (
                np.concatenate([read.block(name, number) for number in blocks])[at]
                if len(blocks) > 1
                else read.block(name, blocks[0])[at]
                for name in ("indices", "data")
            )
        pixels = self.flat(indices[:, 0], indices[:, 1])
        values = self.cast(values.reshape(-1), f"one of the frames {first} to {last - 1}")
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
    """Reads tables in blocks of rows; opens the file only for blocks that were not read lately."""

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
        if (kept := entries.recent.get(key)) is not None:
            return kept[0]
        if self.opened is None:
            import hdf5plugin  # noqa: F401  registers filters

            self.opened = opened(source.path)
            self.file = self.opened.__enter__()
        first = number * source.block
        rows = np.asarray(self.file[source.group][name][first : first + source.block])
        entries.recent.keep(key, rows)
        return rows

    def __call__(self, name: str, first: int, last: int) -> npt.NDArray[Any]:
        """Return the elements first..last of a table."""
        size = self.source.block
        parts = []
        for number in range(first // size, -(-last // size)):
            start = number * size
            part = self.block(name, number).reshape(-1)
            parts.append(part[max(0, first - start) : last - start])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _metadata(group: Any, budget: list[int], depth: int = 0) -> dict[str, Any]:
    """Return data sets and groups as dictionaries."""
    import h5py

    values: dict[str, Any] = {}
    for name in group:
        budget[0] -= 1
        if budget[0] < 0 or depth > 16:
            break
        try:
            if not is_hard(group, name):
                continue
            thing = inside(group, name)
        except DAMAGE:
            continue
        if isinstance(thing, h5py.Group):
            values[str(name)] = _metadata(thing, budget, depth + 1)
        elif (stored := value(thing, min(LARGEST_METADATA, budget[1]))) is not None:
            content = np.asarray(stored)
            if content.dtype.kind == "O":  # text of any length
                texts = [text(one) for one in content.reshape(-1).tolist()]
                content = np.array(texts, str).reshape(content.shape)
            budget[1] -= content.nbytes
            if content.dtype.kind in "buifcSU":
                values[str(name)] = plain_value(content)
    return values


def cache_groups(path: str, name: str | None) -> list[str]:
    """Return the groups of an HDF5 file to read: that of a name, by default all."""
    import h5py

    with opened(path) as file:
        names = groups_with(file, VERSION_KEY) if name is None else []
        if name is not None:
            group = member(file, name)
            if not isinstance(group, h5py.Group) or not has_attribute(group, VERSION_KEY):
                raise FormatError(
                    path,
                    f"has no frame cache in {name!r}.",
                    f"It has some in {', '.join(groups_with(file, VERSION_KEY)) or 'no group'}.",
                )
            names = [str(group.name)]
    if not names:
        raise NotThisFormat(
            path, f"is an HDF5 file without frame cache: no group has the attribute {VERSION_KEY}."
        )
    return names


def described_group(path: str, name: str, problems: Problems) -> Described:
    """Describe a group of an HDF5 file."""
    import h5py

    del problems  # nothing here is odd and still readable
    described = DataFile.of(plain_file(path, "the reader of frame caches in HDF5"))
    with opened(path) as file:
        group = file[name]
        header = _header(group, path)
        rows = _checked_tables(group, header, path)
        chunks = group["data"].chunks
        chunk = int(chunks[0]) if chunks else 0
        block = chunk if _ROWS >> 5 <= chunk <= _ROWS << 2 else _ROWS
        metadata = member(group, "metadata")
        tree = (
            _metadata(metadata, [MOST_METADATA, ALL_METADATA])
            if isinstance(metadata, h5py.Group)
            else {}
        )
        _require_filters(group, path)
    frames = SparseFrames(_Rows(described, header, name, rows, block), header.shape)
    return Described(frames, tree, (path,), "" if name == "/" else name.rpartition("/")[2])


def _header(group: Any, path: str) -> Header:
    """Return what a group says of its frames."""
    import h5py

    version = np.asarray(attribute(group, VERSION_KEY)).reshape(-1).tolist()
    if version != [VERSION]:
        raise Unsupported(
            path, f"is a frame cache of version {version}; only version {VERSION} is known."
        )
    lacking = [
        key
        for key in (*TABLES, "shape", "nframes", "dtype")
        if not isinstance(thing := member(group, key), h5py.Dataset) or thing.shape is None
    ]
    if lacking:
        raise FormatError(path, f"is a frame cache without {', '.join(lacking)}.")
    for key in ("shape", "nframes", "dtype"):
        if (size := math.prod(group[key].shape)) > 16:
            raise FormatError(path, f"{key} has {size} elements.")
    said = {key: value(group[key], 1 << 10) for key in ("shape", "nframes", "dtype")}
    if wrong := [key for key, content in said.items() if content is None]:
        raise FormatError(path, f"{wrong[0]} has no values of numbers or text that can be read.")
    return Header.of(said["shape"], said["nframes"], said["dtype"], path)


def _checked_tables(group: Any, header: Header, path: str) -> int:
    """Return how many entries there are, if the tables fit each other and the header."""
    data, indices, ids = (group[key] for key in TABLES)
    for table in (data, indices, ids):
        require_sources(table, path)
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
    if ids.id.get_storage_size() * _SMALLEST < 2 * header.frames:
        raise Truncated(path, f"has frame_ids for {header.frames} frames that were never written.")
    return rows


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
