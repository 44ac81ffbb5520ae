# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays in the folders of Zarr stores, opened with the zarr package."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from rsciio_tem.errors import FormatError, Unsupported
from rsciio_tem.parsing.kept import Kept
from rsciio_tem.parsing.trees import json_value, side_content
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import DataFile
from rsciio_tem.storage.identities import cached

#: Files that describe an array, or a group; the last one is that of version 3.
DESCRIPTIONS = (".zarray", ".zgroup", "zarr.json")

#: Further files beside these.
_BESIDE_DESCRIPTIONS = (".zattrs", ".zmetadata")

#: Attributes in which ``convert`` keeps what is JSON, and the folder with arrays.
KEPT = ("axes", "metadata", "original_metadata", "frames")
BESIDE = "rsciio_tem"

#: Attribute of the arrays of ``convert``: every chunk has been written, also one of zeros, so that
#: a missing file is a loss. In Zarr it would be the fill value.
COMPLETE = "all_chunks_stored"


def folder_of(path: str | os.PathLike[str]) -> str:
    """Return the folder that a path names: itself, or by a file in it that describes the array.

    Programs that take files only, as ``hs.load`` does, can name it by that.
    """
    name = os.fspath(path)
    name = name.rstrip("/" if os.name != "nt" else "/\\") or name
    described = os.path.basename(name) in (*DESCRIPTIONS, *_BESIDE_DESCRIPTIONS)
    return os.path.dirname(name) or "." if described and os.path.isfile(name) else name


def description_of(path: str) -> str | None:
    """Return the file that describes the array or group in a folder, None if there is none."""
    files = (os.path.join(path, name) for name in DESCRIPTIONS)
    return next((file for file in files if os.path.isfile(file)), None)


def is_store(path: str) -> bool:
    """Whether a path is the folder of a Zarr array or group."""
    return description_of(path) is not None


def newest_format() -> int:
    """Return the version of stores that the installed package writes by itself."""
    import zarr

    return 3 if int(zarr.__version__.split(".")[0]) >= 3 else 2


_CHUNK = re.compile(r"(c[./])?\d+([./]\d+)*")

#: Steps by which chunks are encoded that only compute. Others, of which the package zarr finds some
#: by their names, may run what is stored.
CODECS = frozenset(
    {
        *("adler32", "astype", "bitround", "blosc", "bytes", "bz2", "crc32", "crc32c", "delta"),
        *("endian", "fixedscaleoffset", "fletcher32", "gzip", "jenkins_lookup3", "lz4", "lzma"),
        *("packbits", "quantize", "sharding_indexed", "shuffle", "transpose", "zfpy", "zlib"),
        *("zstd", "pcodec", "bitshuffle", "default", "bitinformation"),
    }
)
#: Of a store: descriptions that are looked at, bytes of each, folders within each other.
_MOST_NODES, _LARGEST, _DEEPEST = 10_000, 16 << 20, 16


def require_codecs(path: str) -> None:
    """Look at the descriptions of all arrays of a store before the package zarr opens one.

    Raises
    ------
    Unsupported
        An array is encoded by what may run code, such as pickles of objects, or is not known to be
        harmless.
    FormatError
        A description is damaged or much too large, or there are too many.
    """
    waiting, count = [(path, 0)], 0
    while waiting:
        folder, depth = waiting.pop()
        inner = os.path.relpath(folder, path)
        is_group = False
        for name in (*DESCRIPTIONS, ".zmetadata"):
            file = os.path.join(folder, name)
            if not os.path.exists(file):
                continue
            count += 1
            if count > _MOST_NODES or depth > _DEEPEST:
                raise FormatError(path, "has too many arrays and groups, or too deep ones.")
            tree = json_value(side_content(file, _LARGEST))
            if not isinstance(tree, dict):
                raise FormatError(path, f"has a damaged {name} in {inner}.")
            for codec in _codecs(tree):
                if codec.removeprefix("numcodecs.").lower() not in CODECS:
                    raise Unsupported(
                        path,
                        f"has an array in {inner} that is encoded by {codec!r}, which is not "
                        "decoded here: it may run code.",
                    )
            for shape, chunks in _described_sizes(name, tree):
                if not _possible(shape, chunks):
                    raise FormatError(
                        path, f"has an array in {inner} with shape {shape} and chunks {chunks}."
                    )
            is_group |= name != ".zarray" and tree.get("node_type") != "array"
        if is_group:  # in the folder of an array are its chunks
            with os.scandir(folder) as entries:
                waiting += [(entry.path, depth + 1) for entry in entries if entry.is_dir()]


def _codecs(tree: Any) -> Iterator[str]:
    """Give the names of all codecs in a description, with those inside of others."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            steps = [node.get("compressor")]
            for key in ("filters", "codecs", "index_codecs"):
                listed = node.get(key)
                steps += listed if isinstance(listed, list) else [listed]
            for step in steps:
                if isinstance(step, dict):
                    yield str(step.get("id", step.get("name")))
            waiting += node.values()


def _described_sizes(name: str, tree: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Give shape and chunks of all arrays in a description, as written; () for unknown chunks.

    Versions of the package zarr make others of what cannot be, or refuse it.
    """
    listed: list[Any] = [tree] if name in DESCRIPTIONS else []
    for place in (tree, tree.get("consolidated_metadata")):
        inside = place.get("metadata") if isinstance(place, dict) else None
        if isinstance(inside, dict):
            listed += [n for key, n in inside.items() if not key.endswith((".zattrs", ".zgroup"))]
    for node in listed:
        if isinstance(node, dict) and "shape" in node:
            grid = node.get("chunk_grid")
            settings = grid.get("configuration") if isinstance(grid, dict) else None
            regular = settings.get("chunk_shape", ()) if isinstance(settings, dict) else ()
            yield node["shape"], node.get("chunks", regular)


def _possible(shape: Any, chunks: Any) -> bool:
    """Tell whether an array can have this shape in these chunks, () if they are not known."""
    for sizes, least in ((shape, 0), (chunks, 1)):
        if not isinstance(sizes, (list, tuple)):
            return False
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= least for n in sizes):
            return False
    return not chunks or len(shape) == len(chunks)


@contextmanager
def _complaining(path: str, problem: str, hint: str = "") -> Iterator[None]:
    """Turn whatever stores and codecs raise into an error about the store."""
    try:
        yield
    except (FormatError, MemoryError):
        raise
    except Exception as error:
        raise FormatError(path, f"{problem}: {error!r}.", hint) from error


def _node(path: str) -> Any:
    """Open the array or group in a folder."""
    try:
        import zarr
    except ImportError as error:
        raise Unsupported(
            path, "is a Zarr store, and the package zarr is not installed.", "pip install zarr"
        ) from error
    if os.path.basename(description_of(path) or "") == DESCRIPTIONS[-1] and newest_format() < 3:
        raise Unsupported(
            path,
            f"is a Zarr store of version 3, and zarr {zarr.__version__} reads version 2 only.",
            "pip install 'zarr>=3'",
        )
    require_codecs(path)
    with _complaining(path, "cannot be opened as a Zarr store"):
        node = zarr.open(path, mode="r")
        if hasattr(node, "shape"):
            _sizes(node)
        return node


def _sizes(array: Any) -> tuple[int, ...]:
    """Return the shape of an array; a ValueError if the store describes none that there can be."""
    shape, chunks = tuple(array.shape), tuple(array.chunks)
    for sizes in (shape, chunks):
        if not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in sizes):
            raise ValueError(f"a size in {sizes} is not a whole number")
    if len(shape) != len(chunks) or any(n < 0 for n in shape) or any(n < 1 for n in chunks):
        raise ValueError(f"a shape of {shape} in chunks of {chunks}")
    if math.prod(shape) * array.dtype.itemsize >= 1 << 62:
        raise ValueError(f"a shape of {shape}")
    return shape


def _arrays(node: Any, prefix: str = "") -> dict[str, Any]:
    """List the arrays of a group and of the groups in it."""
    arrays = {f"{prefix}{name}": array for name, array in node.arrays()}
    for name, group in node.groups():
        arrays |= _arrays(group, f"{prefix}{name}/")
    return arrays


def count_files(path: str) -> int:
    """Count the files with chunks, or shards, of the array in a folder."""
    count = 0
    for folder, _, names in os.walk(path):
        below = os.path.relpath(folder, path).replace(os.sep, "/")
        prefix = "" if below == "." else f"{below}/"
        count += sum(_CHUNK.fullmatch(prefix + name) is not None for name in names)
    return count


# ---------------------------------------------------------------- reading


def _chunk_names(path: str) -> tuple[str, str]:
    """Return how the files of chunks begin, and what is between the numbers in their names."""
    file = description_of(path) or ""
    tree = json_value(side_content(file, _LARGEST))
    if os.path.basename(file) != DESCRIPTIONS[-1]:
        return "", str(tree.get("dimension_separator", "."))
    encoding = tree["chunk_key_encoding"]
    is_default = encoding["name"] == "default"
    configuration = encoding.get("configuration", {})
    separator = str(configuration.get("separator", "/" if is_default else "."))
    return "c" + separator if is_default else "", separator


class Values:
    """An array of a store, of which every part is read or is an error that names the store."""

    def __init__(self, array: Any, path: str) -> None:
        self.array, self.path = array, path
        self.is_complete = array.attrs.get(COMPLETE) is True

    def __getitem__(self, key: Any) -> Any:
        hint = "Copy the store again; other chunks of it can be read."
        keys = () if key is ... else key if isinstance(key, tuple) else (key,)
        key = (*keys, *[slice(None)] * (self.array.ndim - len(keys)))
        if self.is_complete:
            self._require_chunks(key)
        with _complaining(self.path, "a chunk cannot be read", hint):
            sizes = [len(range(*s.indices(n))) for s, n in zip(key, self.array.shape, strict=True)]
            if self.array.fill_value is not None or newest_format() > 2:
                values = np.asarray(self.array[key])
                if values.shape != tuple(sizes):
                    raise ValueError(f"{values.shape} elements instead of {tuple(sizes)}")
                return values
            # without a fill value zarr 2 leaves memory as it is where chunks are missing
            return self.array.get_basic_selection(key, out=np.zeros(sizes, self.array.dtype))

    def _require_chunks(self, key: tuple[slice, ...]) -> None:
        """Raise an error if a chunk of a part is not stored."""
        for name in self.chunk_files(key):
            if not os.path.exists(os.path.join(self.path, name)):
                raise FormatError(
                    self.path,
                    f"has lost the chunk {name}.",
                    "Copy the store again; other chunks of it can be read. If another program has "
                    f"changed the array, remove its attribute {COMPLETE}: what is missing then "
                    "reads as the fill value.",
                )

    def chunk_files(self, key: tuple[slice, ...] | None = None) -> Iterator[str]:
        """Give the files of the chunks, or shards, of a part; by default of all."""
        sizes = getattr(self.array, "shards", None) or self.array.chunks
        parts = key or [slice(None)] * self.array.ndim
        grid = []
        for part, size, count in zip(parts, sizes, self.array.shape, strict=True):
            numbers = range(*part.indices(count))
            ends = (min(numbers[0], numbers[-1]), max(numbers[0], numbers[-1])) if numbers else ()
            grid.append(range(ends[0] // size, ends[1] // size + 1) if ends else range(0))
        prefix, separator = _chunk_names(self.path)
        for index in product(*grid):
            yield prefix + separator.join(map(str, index))


@cached(64)
def _opened(path: str, description: DataFile) -> Values:
    """Open an array once in each process."""
    del description  # other arrays of the same name are described by other files
    return Values(_node(path), path)


@dataclass(frozen=True)
class Opener:
    """Opens the array that a folder held when it was described; pickles small.

    Parameters
    ----------
    path : str
        The folder.
    description : DataFile
        The file in it that describes the array.
    """

    path: str
    description: DataFile

    def __call__(self) -> Values:
        """Return the array."""
        backends.check_unchanged(self.description)
        return _opened(self.path, self.description)


class StoredArray(NamedTuple):
    """An array of a store.

    Parameters
    ----------
    array : zarr.Array
        It.
    open : Opener
        Opens it anywhere.
    attributes : dict
        What is said of it.
    name : str
        Path in the group that was opened, empty if it was opened itself.
    others : tuple of str
        Further arrays of numbers in that group, the largest first.
    """

    array: Any
    open: Opener
    attributes: dict[str, Any]
    name: str = ""
    others: tuple[str, ...] = ()


def stored_array(path: str, dataset: str | None = None) -> StoredArray:
    """Open a store and choose an array: that of a name, or the best one of a group.

    The best one has most axes, up to four, and most pixels.
    """
    node, name = _node(path), (dataset or "").strip("/")
    if hasattr(node, "shape"):
        if name:
            raise FormatError(path, f"is a single array, not a group with {dataset!r}.")
        _require_pixels(path, node)
        return _described(path, node)
    with _complaining(path, "has an array or group that cannot be opened"):
        arrays = _arrays(node)
        counts = {key: math.prod(_sizes(array)) for key, array in arrays.items()}
    names = [key for key, array in arrays.items() if array.dtype.kind in "biufc" and counts[key]]
    names.sort(key=lambda key: (min(arrays[key].ndim, 4), counts[key]), reverse=True)
    below = [key for key in names if not name or key == name or key.startswith(f"{name}/")]
    if name in arrays and not below:
        _require_pixels(path, arrays[name])
    if not below:
        raise FormatError(
            path,
            f"has no array {dataset!r}." if name else "has no array with pixels.",
            f"Pass dataset= one of {', '.join(names)}." if names else "",
        )
    chosen, *others = below
    return _described(path, arrays[chosen], chosen, others)


def _described(path: str, array: Any, name: str = "", others: Sequence[str] = ()) -> StoredArray:
    folder = os.path.join(path, *name.split("/")) if name else path
    description = description_of(folder)
    if description is None:
        raise FormatError(path, f"has no file that describes the array {name!r}.")
    with _complaining(folder, "has attributes that cannot be read"):
        attributes = dict(array.attrs)
    opener = Opener(folder, DataFile.of(description))
    return StoredArray(array, opener, attributes, name, tuple(others))


def kept_beside(stored: StoredArray) -> Kept:
    """Return what ``convert`` has kept beside an array, in its attributes and in a folder of it."""
    entries = {name: stored.attributes[name] for name in KEPT if name in stored.attributes}
    if not entries.keys() & {"metadata", "original_metadata"}:
        entries.pop("frames", None)  # a name that others use, too
    arrays: dict[str, Any] = {}
    folder = os.path.join(stored.open.path, BESIDE)
    if entries and is_store(folder):
        with _complaining(folder, "has an array or group that cannot be opened"):
            arrays = _arrays(_node(folder))
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}

    def read(name: str, part: Any) -> Any:
        values = Values(arrays[name], folder)[part]
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    return Kept(entries, shapes, read)


def _require_pixels(path: str, array: Any) -> None:
    if array.dtype.kind not in "biufc":
        raise Unsupported(path, f"holds elements of type {array.dtype}, which are not pixels.")
    if not array.ndim or not array.size:
        raise FormatError(path, f"holds an empty array of shape {tuple(array.shape)}.")
