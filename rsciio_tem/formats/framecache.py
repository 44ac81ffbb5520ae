# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame caches of hexrd's imageseries: the pixels above a threshold, frame by frame.

Sources: hexrd's documentation and the behaviour of its reader and writer, its pull requests 728
and 955, and frame caches of its examples. ``specifications/framecache.md`` describes the files.

There are three styles: an .npz with three small arrays for each frame; an HDF5 file (.fch5), or a
group of one, with the entries of all frames in one table; and, no longer written by hexrd, a YAML
file that says what the arrays of an .npz beside it are.
"""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import numpy as np
import numpy.typing as npt

from rsciio_tem import archives, backends, files, h5, headers
from rsciio_tem import omega as rotation
from rsciio_tem.backends import Backend, DataFile
from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Truncated, Unsupported
from rsciio_tem.frames import Frames
from rsciio_tem.processing import processed
from rsciio_tem.read import ReadOptions, SparseKind, read
from rsciio_tem.recording import Axis, Recording
from rsciio_tem.scan import ScanHint
from rsciio_tem.sparse import SparseFrames, Triplets, checked_shape, most_entries

if TYPE_CHECKING:
    from rsciio_tem.export import Target
    from rsciio_tem.signals import SignalFrames
    from rsciio_tem.sparsewrite import Compression

__all__ = ["file_reader", "file_writer", "parse", "sniff", "target"]

#: Attribute of the group of a frame cache in HDF5, and its value.
VERSION_KEY, VERSION = "HEXRD_FRAMECACHE_VERSION", 1
#: Data sets of such a group.
TABLES = ("data", "indices", "frame_ids")
#: Keys of ``data`` in the YAML file.
YAML_KEYS = ("file", "dtype", "nframes", "shape")

#: Metadata are read up to so many entries, and so many bytes each.
_MOST_METADATA, _LARGEST_METADATA = 1000, 16 << 20
#: Bytes of decompressed entries that a process keeps.
_KEPT = 64 << 20
#: A place outside of any frame.
_NOWHERE = 0xFFFFFFFF
#: So many blocks of rows may be needed for frames that have few entries in them.
_FAR = 16
#: Rows of a table in HDF5 that are read at a time where its chunks are much smaller or larger.
_ROWS = 1 << 17

_YAML = re.compile(rb"""^[{\s]*["']?data["']?\s*:""", re.MULTILINE)


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise the .npz by its members, HDF5 by an attribute, the YAML file by its keys."""
    if archives.is_frame_cache(path, head):
        return 0.97, "is a frame cache of hexrd", {}
    if h5.is_hdf5(path, head):
        # The library is not asked: a damaged file can keep it busy for ever.
        if VERSION_KEY.encode() in head or path.lower().endswith(".fch5"):
            return 0.97, "is a frame cache of hexrd by its name or its attributes", {}
    elif b"\0" not in head and b"nframes" in head and _YAML.search(head):
        data = headers.yaml_tree(path).get("data")
        if isinstance(data, dict) and set(YAML_KEYS) <= set(data):
            return 0.97, "names the .npz of a frame cache", {}
    return None


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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


# ---------------------------------------------------------------- entries


class _Header(NamedTuple):
    """What every style says of the frames."""

    shape: tuple[int, int]
    frames: int
    dtype: str

    @classmethod
    def of(cls, shape: Any, nframes: Any, dtype: Any, path: str) -> _Header:
        """Check what a file says."""
        sizes = checked_shape(np.asarray(shape).reshape(-1).tolist(), path, "shape")
        counts = np.asarray(nframes).reshape(-1)
        if len(sizes) != 2:
            raise FormatError(path, f"shape is {sizes}, frames have two axes.")
        if counts.dtype.kind not in "iu" or len(counts) != 1 or not 0 < counts[0] < 1 << 48:
            raise FormatError(path, f"nframes is {nframes!r}, which is no number of frames.")
        text = h5.text(np.asarray(dtype)[()]) if not isinstance(dtype, str) else dtype
        try:
            stored = np.dtype(text)
        except (TypeError, ValueError, SyntaxError):
            raise FormatError(path, f"dtype is {text!r}, which is no type.") from None
        if stored.kind not in "buifc" or stored.itemsize > (16 if stored.kind == "c" else 8):
            raise FormatError(path, f"dtype is {text!r}, which is no type of pixels.")
        return cls((sizes[0], sizes[1]), int(counts[0]), stored.newbyteorder("=").str)


@dataclass(frozen=True)
class _Entries:
    """What the sources for both kinds of file share; see `rsciio_tem.sparse.Source`."""

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
    table = archives.directory(file).table(count)
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
        size = archives.directory(self.file).members["size"][members]
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
        found = archives.directory(self.file)
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
            if last - first > 1 and len(blocks) * self.block > 4 * total + _FAR * self.block:
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
        if (known := _recent.get(key)) is not None:
            return known[0]
        if self.opened is None:
            import hdf5plugin  # noqa: F401  registers filters

            self.opened = h5.opened(source.path)
            self.file = self.opened.__enter__()
        first = number * source.block
        rows = np.asarray(self.file[source.group][name][first : first + source.block])
        _recent.keep(key, rows)
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


# ---------------------------------------------------------------- description


class _Described(NamedTuple):
    """What the three styles have in common, ready for a `Recording`."""

    frames: SparseFrames
    metadata: dict[str, Any]
    files: tuple[str, ...]
    group: str = ""


def _plain(value: npt.NDArray[Any]) -> Any:
    """Return a value of the metadata: one of one element as a scalar, bytes as text."""
    value = np.asarray(value)
    if value.dtype.kind == "S":
        value = np.char.decode(value, "utf-8", "replace")
    return value.reshape(-1)[0].item() if value.size == 1 else value


def _members_of(path: str, told: _Header | None, problems: list[Problem]) -> _Described:
    """Describe an .npz; `told` is what a YAML file says of it."""
    file = DataFile.of(path)
    found = archives.directory(file)
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
    metadata = {k: _plain(v) for k, v in values.items() if f"{k}.npy" not in archives.HEADER}
    return _Described(frames, metadata, (path,))


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
                texts = [h5.text(text) for text in content.reshape(-1).tolist()]
                content = np.array(texts, str).reshape(content.shape)
            if content.dtype.kind in "buifcSU":
                found[str(name)] = _plain(content)
    return found


def _cache_groups(path: str, wanted: str | None) -> list[str]:
    """Return the groups of an HDF5 file to read."""
    with h5.opened(path) as file:
        if wanted is not None:
            import h5py

            group = file.get(wanted)
            if not isinstance(group, h5py.Group) or VERSION_KEY not in group.attrs:
                raise FormatError(
                    path,
                    f"has no frame cache in {wanted!r}.",
                    f"It has some in {', '.join(h5.groups_with(file, VERSION_KEY)) or 'no group'}.",
                )
            return [str(group.name)]
        found = h5.groups_with(file, VERSION_KEY)
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
    with h5.opened(path) as file:
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
        block = chunk if _ROWS >> 5 <= chunk <= _ROWS << 2 else _ROWS
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


def _yaml(path: str, problems: list[Problem]) -> _Described:
    """Describe a YAML file, and the .npz that it names."""
    tree = headers.yaml_tree(path)
    data, meta = tree.get("data"), tree.get("meta")
    if not isinstance(data, dict) or not set(YAML_KEYS) <= set(data):
        raise NotThisFormat(
            path, f"has no section data with {', '.join(YAML_KEYS)}, so it is no frame cache."
        )
    if meta is not None and not isinstance(meta, dict):
        raise FormatError(path, f"has a section meta that holds {meta!r} instead of keys.")
    header = _Header.of(data["shape"], data["nframes"], data["dtype"], path)
    folder, name = os.path.dirname(path), data["file"]
    if not isinstance(name, str) or not name:
        raise FormatError(path, f"names the file {name!r}.")
    name = os.path.expanduser(name)
    beside = os.path.join(folder, name)
    named = beside if os.path.exists(beside) or not os.path.exists(name) else name
    described = _members_of(files.existing(named), header, problems)
    folders = list(dict.fromkeys((folder, os.path.dirname(name), os.path.dirname(named))))
    entries = rotation.side_metadata(meta or {}, folders, problems)
    return described._replace(
        metadata={**described.metadata, **entries}, files=(path, *described.files)
    )


def _recording(
    path: str,
    described: _Described,
    problems: Sequence[Problem],
    dtype: Any,
    omega: Any,
    processing: Sequence[Any] | None,
) -> Recording:
    metadata = dict(described.metadata)
    frames: Frames = described.frames.widened(dtype)
    rows, odd = rotation.given(omega, metadata.get("omega"), len(frames), path)
    if rows is not None and isinstance(omega, str) and omega == "auto":
        metadata.pop("omega", None)
    hints: tuple[ScanHint, ...] = ()
    nav = np.asarray(metadata.get("navigation_shape", ())).reshape(-1)
    if nav.size > 1 and nav.dtype.kind in "iu" and (nav > 0).all():
        shape = tuple(nav[::-1].tolist())
        hints = (ScanHint("header", shape, 0.95, "navigation_shape in the file"),)
    name = os.path.basename(path)
    panel = metadata.get("panel", metadata.get("panel_id"))
    panel = "_".join(map(str, panel)) if isinstance(panel, (list, np.ndarray)) else panel
    title = " ".join(filter(None, (os.path.splitext(name)[0], described.group)))
    recording = Recording(
        format="framecache",
        path=path,
        frames=frames,
        signal_axes=(Axis("height", "px"), Axis("width", "px")),
        hints=hints,
        omega=rows,
        metadata={
            "General": {"title": str(panel or title), "original_filename": name},
            "Signal": {"signal_type": ""},
        },
        original_metadata=metadata,
        files=described.files,
        problems=(*problems, *odd),
    )
    return processed(recording, processing)


def _recordings(
    filename: str | os.PathLike[str],
    group: str | None,
    dtype: Any,
    omega: Any,
    processing: Sequence[Any] | None,
) -> list[Callable[[], Recording]]:
    """Return what describes each frame cache of a file."""
    path = files.existing(filename)
    head = files.read_start(path, 4096)

    def of(describe: Callable[[list[Problem]], _Described]) -> Callable[[], Recording]:
        def recording() -> Recording:
            problems: list[Problem] = []
            described = describe(problems)
            return _recording(path, described, problems, dtype, omega, processing)

        return recording

    if h5.is_hdf5(path, head):
        names = _cache_groups(path, group)
        return [of(partial(_rows_of, path, name)) for name in names]
    if group is not None:
        raise FormatError(path, f"is no HDF5 file, so it has no group {group!r}.")
    if head[:2] == b"PK":
        return [of(partial(_members_of, path, None))]
    if not head.strip() or b"\0" in head or not _YAML.search(head):
        raise NotThisFormat(path, f"is neither .npz, HDF5 nor YAML: it begins with {head[:16]!r}.")
    return [of(partial(_yaml, path))]


def parse(
    filename: str | os.PathLike[str],
    *,
    group: str | None = None,
    dtype: Any = None,
    omega: Any = "auto",
    processing: Sequence[Any] | None = None,
) -> Recording:
    """Describe a frame cache; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    found = _recordings(filename, group, dtype, omega, processing)
    if len(found) > 1:
        raise FormatError(
            filename,
            f"holds {len(found)} frame caches.",
            f"Pass group= with one of {', '.join(_cache_groups(os.fspath(filename), None))}.",
        )
    return found[0]()


def file_reader(
    filename: str | os.PathLike[str],
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: int | tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool = False,
    *,
    group: str | None = None,
    omega: Any = "auto",
    processing: Sequence[Any] | None = None,
    sparse: SparseKind = False,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a frame cache.

    Parameters
    ----------
    filename : str or path
        The .npz, .fch5 (or other HDF5 file with frame caches), or YAML file.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    group : str
        Group of an HDF5 file; by default the root, or all groups that are frame caches.
    omega : "auto", None, path or array of N x 2
        Angles of the rotation series, by default those of the metadata.
    processing : list of (code, argument)
        See `rsciio_tem.processing`.
    sparse : {False, True, "scipy"}
        Return dense frames; a ``sparse.COO`` of the same shape (blocks of it, if lazy); or a
        ``scipy.sparse.csr_array`` with a row for each frame and a column for each pixel.
    **options
        `ReadOptions`.

    Returns
    -------
    list of dict
        One, unless an HDF5 file has several groups.

    Raises
    ------
    NotThisFormat
        The file is no frame cache.
    Truncated, FormatError
        It is damaged.
    """
    del distributed  # nothing is left to do for it
    result = []
    for recording in _recordings(filename, group, options.get("dtype"), omega, processing):
        result += read(
            recording(),
            lazy=lazy,
            chunks=chunks,
            mmap_mode=mmap_mode,
            navigation_shape=navigation_shape,
            first_frame=first_frame,
            last_frame=last_frame,
            options=options,
            sparse=sparse,
        )
    return result


# ---------------------------------------------------------------- writing


def target(
    frames: SignalFrames,
    path: str,
    *,
    threshold: float | None = None,
    group: str = "/",
    compression: Compression = "deflate",
    output_yaml: bool = False,
    omega: Any = "auto",
) -> Target:
    """Return what `rsciio_tem.convert` streams frames into; parameters as in `file_writer`."""
    from rsciio_tem import sparsewrite

    suffix = os.path.splitext(path)[1].lower()
    angles = sparsewrite.angles(frames, omega, path)
    if suffix in (".npz", ".yml", ".yaml"):
        if group != "/":
            raise ValueError(f"group={group!r}: only HDF5 files (.fch5) have groups")
        return sparsewrite.Npz(path, frames, threshold, angles, compression, output_yaml)
    if suffix not in (".fch5", ".h5", ".hdf5"):
        raise ValueError(f"{path!r}: frame caches are called .npz, .fch5 or .yml")
    if output_yaml:
        raise ValueError("output_yaml=True: the YAML file of a frame cache names an .npz")
    if compression != "deflate":
        raise ValueError(f"compression={compression!r} is for .npz")
    return sparsewrite.Fch5(path, frames, threshold, angles, group)


def file_writer(
    filename: str | os.PathLike[str],
    signal: Mapping[str, Any],
    *,
    threshold: float | None = None,
    group: str = "/",
    compression: Compression = "deflate",
    output_yaml: bool = False,
    omega: Any = "auto",
    overwrite: bool = False,
) -> None:
    """Write a signal as a frame cache that hexrd reads, piece by piece if it is lazy.

    Scans become stacks of frames in hexrd; their shape is kept as ``navigation_shape``.

    Parameters
    ----------
    filename : str or path
        The ``.npz``, ``.fch5`` or ``.yml`` file; it appears under its name when it is complete.
    signal : dict
        As RosettaSciIO's writers receive it.
    threshold : float, optional
        Only values above it are stored, as in hexrd. By default all values other than zero are, so
        that nothing is lost.
    group : str
        Group of an HDF5 file.
    compression : {"deflate", "stored"}
        How the arrays of an .npz are stored.
    output_yaml : bool
        Write the YAML file that names an .npz, too.
    omega : "auto", None, path or array of N x 2
        Angles of the rotation series; by default those that the signal was read with, or those of
        an axis named "omega".
    overwrite : bool
        Replace a file of this name. The recording that the signal was read from is never replaced.

    Raises
    ------
    FileExistsError
        There is such a file.
    """
    from rsciio_tem import export
    from rsciio_tem.signals import SignalFrames

    frames = SignalFrames.of(signal, "framecache")
    made = target(
        frames,
        os.fspath(filename),
        threshold=threshold,
        group=group,
        compression=compression,
        output_yaml=output_yaml,
        omega=omega,
    )
    export.write(made, frames, filename, overwrite=overwrite)
