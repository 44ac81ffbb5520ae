# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames inside HDF5 data sets, described so that they are read past the HDF5 library.

Pixels that lie plainly in a file become a `FrameTable`, like those of any other file; data sets in
chunks, and everything unusual, become `ChunkedFrames`.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rsciio_tem.errors import FormatError, Unsupported
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.parsing.hdf5 import opened
from rsciio_tem.parsing.hdf5_chunks import ChunkedFrames
from rsciio_tem.parsing.hdf5_filters import Filter, plugins
from rsciio_tem.parsing.hdf5_index import DataSet, userblock
from rsciio_tem.parsing.hdf5_links import dataset_of, referred, sources_of
from rsciio_tem.parsing.hdf5_values import creation_of, filename_of
from rsciio_tem.storage.backends import DataFile
from rsciio_tem.storage.files import exists

__all__ = ["Storage", "frames_of", "storage"]

Path = str | os.PathLike[str]


#: In a grid of more chunks than this they are not numbered; the library looks each of them up.
_MOST_CHUNKS = 1 << 62


#: So many are looked up one by one where h5py is too old for more.
_FEW_CHUNKS = 10_000


#: Parts that a virtual data set is described by at most; else the library puts it together.
_MOST_PARTS = 100_000


#: Bytes of a data set at most.
_MOST_BYTES = 1 << 50


#: Filters that hdf5plugin brings.
_IN_HDF5PLUGIN = (307, 32001, 32004, 32008, 32013, 32015, 32017, 32018, 32024, 32026, 32028, 40070)


@dataclass(frozen=True)
class Storage:
    """How a data set is stored, for people: ``str()`` of it is one line.

    Parameters
    ----------
    shape : tuple of int
        Shape of the data set.
    dtype : numpy.dtype
        Type of an element as stored.
    layout : {"contiguous", "external", "chunked", "compact", "virtual"}
        Kind of storage.
    chunks : tuple of int, optional
        Shape of a chunk.
    filters : tuple of str
        Names of its filters in the order of writing, such as "shuffle", "gzip",
        "bitshuffle-lz4".
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    layout: str
    chunks: tuple[int, ...] | None
    filters: tuple[str, ...]

    def __str__(self) -> str:
        chunks = "" if self.chunks is None else f" {' x '.join(map(str, self.chunks))}"
        return ", ".join((f"{self.layout}{chunks}", *self.filters))


def storage(source: Any, dataset: str) -> Storage:
    """Describe how a data set is stored; `source` is a path, or an open `h5py.File`."""
    if isinstance(source, (str, os.PathLike)):
        with opened(os.fspath(source)) as file:
            return storage(file, dataset)
    ds = dataset_of(source, dataset)
    filters = tuple(f.name for f in _filters(ds))
    return Storage(tuple(ds.shape or ()), np.dtype(ds.dtype), _layout(ds), ds.chunks, filters)


# ---------------------------------------------------------------- describing


class _Bytes(NamedTuple):
    """Pixels that lie one after the other in a file."""

    file: DataFile
    start: int
    size: int


class _Part(NamedTuple):
    """What one data set contributes: `frames` of its frames, from `first` on."""

    dataset: DataSet
    plain: tuple[_Bytes, ...]  # its pixels, if they lie plainly in files
    first: int
    frames: int


def frames_of(
    source: Path | Sequence[Path],
    dataset: str | Sequence[str],
    *,
    frame_axes: Sequence[int] = (-2, -1),
) -> Frames:
    """Describe the frames in one or several data sets, without reading a pixel.

    Parameters
    ----------
    source : path, or sequence of paths
        Files. Links, external links too, are followed.
    dataset : str, or sequence of str
        Data set in the file. Several sources or data sets (a single one of either counts for all
        of the others) follow each other: the frames of the second come after all of the first.
        Frame shape and type must be the same in all.
    frame_axes : sequence of int
        Which axes of a data set are the frame, rows first; negative ones count from the end.
        ``(-2, -1)``: one frame after the other. ``(0, 1)``: detector axes first (Velox).
        ``(-1,)``, ``(-3, -2, -1)``: one- and three-dimensional frames. ``(-1, -2)``: transposed.
        The other axes are the scan, in their order; a data set may have none, and is one frame.

    Returns
    -------
    Frames
        Flat sequence over the scan axes in C order: a `FrameTable` where the pixels lie plainly
        in a file (also for external storage), `PixelMajor` where they do with the detector axes
        first, otherwise `ChunkedFrames`. All pickle, and hold no open file. The shape of the scan
        is not part of it: take it from the data set's shape.

    Raises
    ------
    FormatError
        There is no such file or data set, it does not hold numbers, has too few axes, the data
        sets differ, or a file that they refer to is missing.
    Unsupported
        A filter is needed that is not installed; the message names it and the way to get it.
    """
    paths = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    names = [dataset] if isinstance(dataset, str) else list(dataset)
    count = max(len(paths), len(names))
    if min(len(paths), len(names)) not in (1, count) or not paths or not names:
        raise ValueError(f"{len(paths)} files for {len(names)} data sets")
    parts: list[_Part] = []
    for path, name in zip(
        paths if len(paths) == count else paths * count,
        names if len(names) == count else names * count,
        strict=True,
    ):
        parts += _parts(os.fspath(path), name, tuple(frame_axes))
    first = parts[0].dataset
    axes = _positive(frame_axes, len(first.shape))
    frame_shape = tuple(first.shape[i] for i in axes)
    for part in parts:
        other = part.dataset
        if (
            len(other.shape) != len(first.shape)
            or tuple(other.shape[i] for i in axes) != frame_shape
            or other.stored != first.stored
        ):
            raise FormatError(
                other.file.path,
                f"{other.name} has the shape {other.shape} and type {other.stored}, {first.name} "
                f"of {os.path.basename(first.file.path)} {first.shape} and {first.stored}: they "
                "are not parts of one recording.",
                "Read them one by one.",
            )
    parts = [part for part in parts if part.frames]
    if not parts or not math.prod(frame_shape):
        raise FormatError(first.file.path, f"{first.name} of shape {first.shape} is empty.")
    plain = all(part.plain for part in parts)
    trailing = axes == tuple(range(len(first.shape) - len(axes), len(first.shape)))
    if plain and trailing and (table := _table(parts, frame_shape)) is not None:
        return table
    whole = parts[0].plain
    if len(parts) == len(whole) == 1 and axes == tuple(range(len(axes))):
        from rsciio_tem.frames.arrays import PixelMajor

        nav = math.prod(first.shape[len(axes) :])
        major = PixelMajor(whole[0].file, whole[0].start, first.stored, nav, frame_shape)
        return major[parts[0].first : parts[0].first + parts[0].frames]
    frames = ChunkedFrames(tuple(part.dataset for part in parts), axes)
    if len(frames) == sum(part.frames for part in parts):
        return frames
    indices = [
        np.arange(part.first, part.first + part.frames) + start
        for part, start in zip(parts, frames.begins, strict=True)
    ]
    return frames[np.concatenate(indices)]


def _positive(axes: Sequence[int], ndim: int) -> tuple[int, ...]:
    return tuple(i % ndim for i in axes)


def _table(parts: list[_Part], frame_shape: tuple[int, ...]) -> FrameTable | None:
    """Return plain frames as a table, None where a frame is spread over two files."""
    pixels = Pixels(frame_shape, parts[0].dataset.stored)
    files: dict[DataFile, int] = {}
    tables = []
    for part in parts:
        if any(run.size % pixels.nbytes for run in part.plain):
            return None
        rows = [
            (
                files.setdefault(run.file, len(files)),
                run.start,
                pixels.nbytes,
                run.size // pixels.nbytes,
            )
            for run in part.plain
        ]
        whole = FrameTable((), runs_of(rows), pixels)
        part_of_it = (part.first, part.frames) != (0, len(whole))
        taken = whole[part.first : part.first + part.frames] if part_of_it else whole
        tables.append(taken.runs)
    return FrameTable(tuple(files), np.concatenate(tables), pixels)


def _parts(path: str, name: str, frame_axes: tuple[int, ...], depth: int = 0) -> list[_Part]:
    """Describe a data set; one that is put together from others frame by frame, as these."""
    with opened(path) as file:
        ds = dataset_of(file, name)
        owner = filename_of(ds)
        shape, stored = _numbers(ds, owner), np.dtype(ds.dtype)
        axes = _positive(frame_axes, len(shape))
        if not axes or len(set(axes)) < len(frame_axes) or max(map(abs, frame_axes)) > len(shape):
            raise FormatError(
                owner,
                f"{name} has {len(shape)} axes, which is not enough for frames along the axes "
                f"{frame_axes}.",
            )
        nav = math.prod(n for i, n in enumerate(shape) if i not in axes)
        layout, filters, usual = _layout(ds), _filters(ds), _is_usual(ds)
        described = DataFile.of(owner)
        others: tuple[DataFile, ...] = ()
        if layout == "virtual":
            others = tuple(map(DataFile.of, sorted(sources_of(ds, owner))))
            sources = _virtual(ds, owner) if 0 not in axes and usual and depth < 8 else []
            if sources:
                parts = _assembled(sources, frame_axes, shape, depth)
                if parts and all(part.dataset.stored == stored for part in parts):
                    return parts
        plain: tuple[_Bytes, ...] = ()
        nbytes = math.prod(shape) * stored.itemsize
        if layout == "external":
            plain = _external(ds, owner, nbytes)
            others = tuple(run.file for run in plain)
        elif layout == "contiguous" and usual:
            offset = ds.id.get_offset()
            if offset is not None:
                start = int(offset) + userblock(ds, chunked=False)
                plain = (_Bytes(described, start, nbytes),)
        direct = (
            layout == "chunked"
            and usual
            and all(f.decodable for f in filters)
            and math.prod(-(-n // c) for n, c in zip(shape, ds.chunks, strict=True)) < _MOST_CHUNKS
            and (hasattr(ds.id, "chunk_iter") or ds.id.get_num_chunks() < _FEW_CHUNKS)
        )
        if not direct:
            _require(filters, owner, name)
        unset = fill_bytes(ds, stored)
        dataset = DataSet(
            described, path, name, shape, ds.chunks, stored, filters, unset, direct, others
        )
    return [_Part(dataset, plain if usual else (), 0, nav)]


def fill_bytes(ds: Any, stored: np.dtype[Any]) -> bytes:
    """Return the bytes of an element that was never written; zeros if its value is damaged.

    The library does not survive reading some damaged values, which it knows to be so.
    """
    import h5py

    with contextlib.suppress(RuntimeError, TypeError, ValueError):
        status = creation_of(ds).fill_value_defined()
        if status != h5py.h5d.FILL_VALUE_UNDEFINED:
            content = np.zeros(1, ds.dtype)
            creation_of(ds).get_fill_value(content)
            return content.astype(stored, copy=False).tobytes()
    return bytes(stored.itemsize)


def _numbers(ds: Any, path: str) -> tuple[int, ...]:
    """Return the shape of a data set, if it has one and holds numbers."""
    if ds.shape is None or not ds.shape:
        raise FormatError(path, f"{ds.name} is a single value, not an array.")
    dtype = np.dtype(ds.dtype)
    if dtype.kind not in "buifc":
        kind = "text or references" if dtype.kind in "OSU" else f"elements of type {dtype}"
        raise FormatError(path, f"{ds.name} holds {kind}, not numbers.")
    shape = tuple(int(n) for n in ds.shape)
    if math.prod(shape) * dtype.itemsize > _MOST_BYTES:
        raise FormatError(
            path, f"{ds.name} has the shape {shape}, more than 1 PiB, which no file holds."
        )
    return shape


def _is_usual(ds: Any) -> bool:
    """Whether an element's bytes are a numpy scalar: no odd precision, padding or float format."""
    import h5py

    usual: bool = h5py.h5t.py_create(ds.dtype, logical=True).equal(ds.id.get_type())
    return usual


def _layout(ds: Any) -> str:
    import h5py

    created = creation_of(ds)
    if created.get_external_count():
        return "external"
    kind = created.get_layout()
    names = {
        h5py.h5d.COMPACT: "compact",
        h5py.h5d.CONTIGUOUS: "contiguous",
        h5py.h5d.CHUNKED: "chunked",
        h5py.h5d.VIRTUAL: "virtual",
    }
    return names.get(kind, "unknown")


def _filters(ds: Any) -> tuple[Filter, ...]:
    plist = creation_of(ds)
    steps = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    return tuple(
        Filter(code, tuple(data), name.decode("utf-8", "replace")) for code, _, data, name in steps
    )


def _require(filters: tuple[Filter, ...], path: str, name: str) -> None:
    """Raise if the library lacks one of the filters."""
    import h5py

    plugins()
    for one in filters:
        if h5py.h5z.filter_avail(one.number):
            continue
        if one.number in _IN_HDF5PLUGIN:
            hint = "Install it with: pip install --upgrade hdf5plugin"
        else:
            hint = (
                "Install its plugin for HDF5 and set HDF5_PLUGIN_PATH to the plugin's folder, "
                "or repack the file: h5repack -f NONE old.h5 new.h5"
            )
        raise Unsupported(
            path,
            f"{name} is compressed with {one.name} (HDF5 filter {one.number}), which is not "
            "installed.",
            hint,
        )


def _external(ds: Any, path: str, nbytes: int) -> tuple[_Bytes, ...]:
    """Where the bytes of a data set with external storage are."""
    runs = []
    for name, start, size in ds.external:
        other = referred(path, os.fsdecode(name), plain=True)
        if not exists(other):
            raise FormatError(
                path,
                f"the pixels of {ds.name} are in another file, {os.fsdecode(name)}, which is "
                "missing.",
                "Put it into the same folder.",
            )
        size = min(int(size), nbytes)
        nbytes -= size
        if size:
            runs.append(_Bytes(DataFile.of(other), int(start), size))
    return tuple(runs)


class _Source(NamedTuple):
    """Slices of a data set, from `first` on, that are those of a virtual one from `at` on."""

    path: str
    name: str
    at: int
    first: int
    slices: int


def _virtual(ds: Any, path: str) -> list[_Source]:
    """Return the data sets that a virtual one consists of, one after the other.

    None where it is not as simple as that; all sources were looked at.
    """
    sources: list[_Source] = []
    shapes: dict[tuple[str, str], tuple[int, ...]] = {}
    for mapping in ds.virtual_sources():
        if "%" in mapping.file_name + mapping.dset_name:
            return []
        other = path if mapping.file_name == "." else referred(path, mapping.file_name)
        key = other, mapping.dset_name
        if key not in shapes:
            with opened(other) as file:
                shapes[key] = tuple(dataset_of(file, mapping.dset_name).shape)
        target = _slices(mapping.vspace, tuple(ds.shape))
        taken = _slices(mapping.src_space, shapes[key])
        if target is None or taken is None or target[1] != taken[1]:
            return []
        if shapes[key][1:] != tuple(ds.shape)[1:]:
            return []
        sources.append(_Source(*key, target[0], taken[0], target[1]))
    sources.sort(key=lambda source: source.at)
    ends = [0, *(source.at + source.slices for source in sources)]
    return sources if ends == [*(source.at for source in sources), ds.shape[0]] else []


def _slices(space: Any, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the first and the number of the slices along axis 0 that a selection consists of."""
    import h5py

    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return 0, shape[0]
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS or not space.get_select_npoints():
        return None
    low, high = space.get_select_bounds()
    sizes = tuple(b - a + 1 for a, b in zip(low, high, strict=True))
    if sizes[1:] != shape[1:] or math.prod(sizes) != space.get_select_npoints():
        return None
    return int(low[0]), int(sizes[0])


def _assembled(
    sources: list[_Source], frame_axes: tuple[int, ...], shape: tuple[int, ...], depth: int
) -> list[_Part]:
    """Describe a virtual data set by its sources; nothing if that takes too many parts."""
    axes = _positive(frame_axes, len(shape))
    each = math.prod(n for i, n in enumerate(shape) if i and i not in axes)
    result: list[_Part] = []
    described: dict[tuple[str, str], list[_Part]] = {}
    for source in sources:
        key = source.path, source.name
        if key not in described:
            described[key] = _parts(*key, frame_axes, depth + 1)
        skip, rest = source.first * each, source.slices * each
        for part in described[key]:
            count = max(0, min(part.frames - skip, rest))
            if count:
                result.append(part._replace(first=part.first + skip, frames=count))
            skip, rest = max(0, skip - part.frames), rest - count
            if not rest:
                break
        if len(result) > _MOST_PARTS:
            return []
    return result
