# SPDX-License-Identifier: GPL-3.0-or-later
"""`rsciio_tem.reference`: let other programs read a recording where it is, as a Zarr store."""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from rsciio_tem._version import __version__
from rsciio_tem.errors import FormatError, collected, warn
from rsciio_tem.parsing.hdf5_filters import BLOSC, FLETCHER32, GZIP, SHUFFLE, ZSTD, Filter
from rsciio_tem.readers import load
from rsciio_tem.reading.lazy import lazy_source
from rsciio_tem.recording.json_arrays import packed
from rsciio_tem.storage.files import check_name_is_free, replacing, same_file
from rsciio_tem.storage.remote.address import folder_of, is_address
from rsciio_tem.storage.remote.session import shown
from rsciio_tem.tools import parquet_references as parquet
from rsciio_tem.tools.byte_ranges import ByteRanges, byte_ranges, refuse
from rsciio_tem.writing.new_folder import replacing_folder

__all__ = ["ARRAY", "SUFFIX", "reference", "usual_name"]

#: Name of the array in the store.
ARRAY = "data"

#: What names of reference files end with by default.
SUFFIX = ".zarr.json"

#: Chunks at most of a JSON file, in which each is an entry.
_MOST_CHUNKS = 5_000_000

#: The template for the folder of the recording.
_FOLDER = "folder"


def usual_name(path: str | os.PathLike[str]) -> str:
    """Return the name of the reference file of a recording, beside it."""
    return os.path.splitext(os.path.normpath(os.fspath(path)))[0] + SUFFIX


def reference(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    format: str = "auto",
    *,
    zarr_format: Literal[2, 3] | None = None,
    overwrite: bool = False,
    **options: Any,
) -> str:
    """Write a small file through which other programs read a recording where it is.

    They need Zarr and fsspec, not rsciio-tem: the file is a Zarr store of which the chunks are
    ranges of bytes of the recording, in kerchunk's layout. No pixel is copied.

    Parameters
    ----------
    path : str or path
        One file of the recording.
    target : str or path, optional
        The new file, whose name ends with ``.json``; by default ``NAME.zarr.json`` beside the
        recording. If it ends with ``.parq`` or ``.parquet``, it is a folder of Parquet files
        instead, for recordings of very many frames: programs read only the parts that they need.
    format : str
        Name of the format; "auto" goes by the content.
    zarr_format : {2, 3}, optional
        Version of the store. By default 2, which zarr 2 and 3 read; 3, for zarr 3 only, if
        positions of the scan have no frame: of a store of version 2, xarray takes every pixel that
        is equal to the fill value for a missing one. In Parquet there is version 2 only.
    overwrite : bool
        Replace an earlier file, or folder of references.
    **options
        Keywords of the readers, as for `load`: ``navigation_shape``, ``scan``, ``dark`` and so on.

    Returns
    -------
    str
        Path of the new file or folder.

    Raises
    ------
    FormatError
        The recording cannot be arranged as asked, its frames are not ranges of bytes, the target
        has another name, or the package pyarrow, which writes Parquet files, is not installed.
    FileExistsError
        The file exists, and `overwrite` is False.
    TypeError, ValueError
        A keyword is unknown or has an impossible value.

    Notes
    -----
    The array is what `load` returns with the same keywords, with one exception. Detectors such as
    Merlin store the bottom row first. Plain frames of these are left as they are stored, because a
    range of bytes cannot be turned around; a warning and the attribute ``first_row`` say so, and
    ``load(..., flip_y=False)`` returns the same. Pass ``flip_y=True`` for upright frames.

    Upright, packed and corrected frames, and some compressions of HDF5, need the codec
    ``rsciio_tem.frames``: programs read them if rsciio-tem is installed beside them.

    Examples
    --------
    >>> path = rsciio_tem.reference("scan.raw", dtype="<u2", sig_shape=(256, 256))
    >>> xarray.open_zarr("reference://", storage_options={"fo": path}, chunks={})["data"]
    """
    if zarr_format not in (None, 2, 3):
        raise ValueError(f"zarr_format={zarr_format!r} is neither 2 nor 3")
    out = os.fspath(usual_name(path) if target is None else target)
    if is_address(out):
        raise ValueError(
            f"{shown(out)!r} is on a server; the reference file is written to a disk, and target= "
            "names it"
        )
    out = os.path.abspath(out)
    in_parquet = out.endswith(parquet.SUFFIXES)
    if not in_parquet and not out.lower().endswith(".json"):
        raise FormatError(
            out,
            "is no name of a reference file.",
            "Let it end with .json, or with .parq for a folder of Parquet files.",
        )
    if not in_parquet:
        check_name_is_free(out, overwrite=True)  # a folder is never replaced
    else:
        parquet.require_package(out)
        if zarr_format == 3:
            raise ValueError(f"{out!r}: fsspec reads Zarr of version 2 only from Parquet files")
    signal, ranges, messages = _described(path, format, options)
    if _flip_y(signal) and "flip_y" not in options and ranges.pixels is not None:
        as_stored, plain, others = _described(path, format, {**options, "flip_y": False})
        if plain.pixels is None:
            signal, ranges, messages = as_stored, plain, others
            warn(
                _path(signal),
                "frames are stored with their bottom row first, and are left as they are stored: "
                "other programs show them upside down. With flip_y=True they are upright, and only "
                "programs with rsciio-tem beside them read them.",
            )
    for said_of, message in messages:
        warn(said_of, message)
    for name in (*_ours(signal).get("files", ()), *(file.path for file in ranges.files)):
        if same_file(out, name):
            raise FormatError(out, "is a file of the recording, which is never replaced.")
    if len(ranges.file) > _MOST_CHUNKS and not in_parquet:
        refuse(
            _path(signal),
            f"it would take {len(ranges.file)} entries, more than {_MOST_CHUNKS}",
            "Let the name of the target end with .parq, or write a copy with rsciio-tem convert.",
        )
    version = zarr_format or (3 if ranges.has_blanks and not in_parquet else 2)
    if version == 2 and ranges.has_blanks:
        better = "zarr_format=3 has no such trap."
        if in_parquet:
            better = "a target whose name ends with .json has no such trap."
        warn(
            _path(signal),
            f"some positions have no frame. xarray takes every pixel of {ranges.fill} for missing "
            f"unless it gets mask_and_scale=False; {better}",
        )
    store = _store(signal, ranges, version)
    folder, paths = _places([file.path for file in ranges.files])
    if in_parquet:
        urls = [f"{folder}/{path}" for path in paths]
        with replacing_folder(out, overwrite=overwrite, obstacle=parquet.obstacle) as temporary:
            parquet.write(temporary, store.texts, store.inside, ARRAY, ranges, urls)
        return out
    refs = store.finished() | _entries(ranges, paths)
    content = {"version": 1, "templates": {_FOLDER: folder}, "refs": refs}
    text = json.dumps(content, separators=(",", ":"))
    with replacing(out, overwrite=overwrite) as temporary, open(temporary, "w") as file:
        file.write(text)
    return out


def _described(
    path: str | os.PathLike[str], format: str, options: Mapping[str, Any]
) -> tuple[dict[str, Any], ByteRanges, list[tuple[str, str]]]:
    """Load lazily, so that all is as in `load`; say where the bytes are, and what is warned of."""
    with collected() as messages:
        signals = load(path, format, lazy=True, **options)
        source = lazy_source(signals[0]["data"])
        if source is None:
            refuse(shown(os.fspath(path)), "its frames are not ranges of bytes of a file")
        ranges = byte_ranges(source)
        if len(signals) > 1:
            warn(_path(signals[0]), f"holds {len(signals)} signals; the reference is to the first.")
    return signals[0], ranges, messages


def _ours(signal: Mapping[str, Any]) -> dict[str, Any]:
    ours: dict[str, Any] = signal["original_metadata"]["rsciio_tem"]
    return ours


def _path(signal: Mapping[str, Any]) -> str:
    """Return the path of the recording; nothing secret is in it."""
    source = lazy_source(signal["data"])
    assert source is not None
    return source.path


def _flip_y(signal: Mapping[str, Any]) -> bool | None:
    """Return whether rows were turned around, None if the format has no such choice."""
    flip_y: bool | None = _ours(signal).get("orientation", {}).get("flip_y")
    return flip_y


def _rows(signal: Mapping[str, Any]) -> dict[str, Any]:
    """Say which row comes first, for formats in which that can be chosen."""
    flip_y, source = _flip_y(signal), lazy_source(signal["data"])
    if flip_y is None or source is None or source.origin is None:
        return {}
    upright = flip_y == source.origin.recording.frames.upside_down
    return {"flip_y": flip_y, "first_row": "top of the image" if upright else "bottom of the image"}


# ---------------------------------------------------------------- the store


def _store(signal: Mapping[str, Any], ranges: ByteRanges, version: int) -> _Store:
    """Describe the array and its axes."""
    axes, ours = signal["axes"], _ours(signal)
    names = _unique([str(axis["name"] or f"axis_{i}") for i, axis in enumerate(axes)])
    described = [packed({**axis, "dimension": n}, {}) for axis, n in zip(axes, names, strict=True)]
    for entry, axis in zip(described, axes, strict=True):
        if "axis" in axis:
            entry.pop("axis")  # an array of the store
    rows = _rows(signal)
    codec = _codec(ranges)
    attributes = {
        "title": str(signal["metadata"].get("General", {}).get("title", "")),
        "source": os.path.basename(os.path.normpath(_path(signal))),
        "rsciio_tem": {
            "version": __version__,
            "format": ours["format"],
            "scan": packed(ours["scan"], {}),
            "files": [
                {"path": file.path, "size": file.size, "mtime_ns": file.mtime_ns}
                for file in ranges.files
            ],
            **rows,
            **({"needs": "pip install rsciio-tem"} if codec is not None else {}),
        },
        "axes": described,
    }
    store = _Store(version, attributes)
    store.array(
        ARRAY,
        ranges.shape,
        ranges.chunks,
        ranges.stored,
        names,
        fill=ranges.fill if version == 3 or ranges.has_blanks else None,
        steps=codec or _numcodecs(ranges.filters) or [],
        attributes=rows,
    )
    for axis, name, size in zip(axes, names, ranges.shape, strict=True):
        units = axis["units"] if isinstance(axis["units"], str) else ""
        if "axis" in axis:
            values = np.asarray(axis["axis"], "<f8")
        else:
            values = np.asarray(axis["offset"] + axis["scale"] * np.arange(size), "<f8")
            if not units and axis["scale"] == 1 and axis["offset"] == 0:
                continue  # nothing but a number of pixels
        extra = {"units": units} if units else {}
        store.array(name, (size,), (size,), values.dtype, [name], attributes=extra)
        store.inside[name] = values.tobytes()
    return store


def _unique(names: Sequence[str]) -> list[str]:
    """Return names of dimensions, each of which names one array of the store."""
    result: list[str] = []
    for name in names:
        name = "".join(c if c.isalnum() or c in "_- " else "_" for c in name).strip() or "axis"
        while name in result or name == ARRAY:
            name += "_"
        result.append(name)
    return result


class _Store:
    """A store in one of the versions of Zarr, without the chunks that are elsewhere."""

    def __init__(self, version: int, attributes: Mapping[str, Any]) -> None:
        self.version = version
        #: Descriptions, as JSON, by their keys.
        self.texts: dict[str, Any] = {}
        #: Arrays of one chunk.
        self.inside: dict[str, bytes] = {}
        if version == 2:
            self.texts |= {".zgroup": {"zarr_format": 2}, ".zattrs": dict(attributes)}
        else:
            self.texts["zarr.json"] = {
                "zarr_format": 3,
                "node_type": "group",
                "attributes": dict(attributes),
            }

    def array(
        self,
        name: str,
        shape: tuple[int, ...],
        chunks: tuple[int, ...],
        dtype: np.dtype[Any],
        dimensions: Sequence[str],
        *,
        fill: Any = None,
        steps: Sequence[Mapping[str, Any]] = (),
        attributes: Mapping[str, Any],
    ) -> None:
        """Describe an array."""
        if self.version == 2:
            self.texts[f"{name}/.zarray"] = {
                "zarr_format": 2,
                "shape": list(shape),
                "chunks": list(chunks),
                "dtype": dtype.str,
                "order": "C",
                "fill_value": None if fill is None else _number(fill),
                "compressor": None,
                "filters": list(steps) or None,
                "dimension_separator": ".",
            }
            self.texts[f"{name}/.zattrs"] = {"_ARRAY_DIMENSIONS": list(dimensions), **attributes}
            return
        endian = {"configuration": {"endian": "big" if dtype.str[0] == ">" else "little"}}
        codecs = [{"name": "bytes", **(endian if dtype.itemsize > 1 else {})}]
        for step in steps:
            rest = {key: value for key, value in step.items() if key != "id"}
            prefix = "" if str(step["id"]).startswith("rsciio_tem.") else "numcodecs."
            codecs.append({"name": f"{prefix}{step['id']}", "configuration": rest})
        if fill is None:
            fill = dtype.type(0)
        self.texts[f"{name}/zarr.json"] = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(shape),
            "data_type": dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
            "chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}},
            "fill_value": _number(fill),
            "codecs": codecs,
            "dimension_names": list(dimensions),
            "attributes": dict(attributes),
        }

    def finished(self) -> dict[str, Any]:
        """Return the entries; the descriptions once more in one place, where readers look first."""
        texts: dict[str, Any] = {key: json.dumps(value) for key, value in self.texts.items()}
        if self.version == 2:
            consolidated = {"zarr_consolidated_format": 1, "metadata": self.texts}
            texts[".zmetadata"] = json.dumps(consolidated)
        inside = {name: base64.b64encode(values) for name, values in self.inside.items()}
        return texts | {f"{name}/0": f"base64:{text.decode()}" for name, text in inside.items()}


def _number(value: Any) -> Any:
    """Return a fill value as the descriptions of arrays have it."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, complex):
        return [_number(value.real), _number(value.imag)]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def _codec(ranges: ByteRanges) -> list[dict[str, Any]] | None:
    """Return our codec if only that makes pixels of the bytes."""
    if ranges.pixels is None and _numcodecs(ranges.filters) is not None:
        return None
    from rsciio_tem.tools.frames_codec import NAME, configuration

    return [{"id": NAME, **configuration(ranges)}]


def _numcodecs(filters: Sequence[Filter]) -> list[dict[str, Any]] | None:
    """Return filters of HDF5 as codecs that everybody has; None if some are not among these."""
    names = {GZIP: "zlib", FLETCHER32: "fletcher32", ZSTD: "zstd", BLOSC: "blosc"}
    result: list[dict[str, Any]] = []
    for step in filters:
        if step.number == SHUFFLE:
            result.append({"id": "shuffle", "elementsize": step.data[0]})
        elif step.number in names:
            result.append({"id": names[step.number]})
        else:
            return None
    return result


def _places(paths: Sequence[str]) -> tuple[str, list[str]]:
    """Return the folder that all files are in, as a URL, and their paths in it."""
    if any(map(is_address, paths)):
        folder = folder_of(paths[0])
        while not all(path.startswith(f"{folder}/") for path in paths):
            folder = folder_of(folder)
        return folder, [path[len(folder) + 1 :] for path in paths]
    absolute = [os.path.abspath(path) for path in paths]
    folder = os.path.dirname(absolute[0])
    if len(absolute) > 1:
        folder = os.path.commonpath([os.path.dirname(path) for path in absolute])
    inside = [os.path.relpath(path, folder).replace(os.sep, "/") for path in absolute]
    # fsspec takes file:// off and the rest as it is: nothing is quoted in it
    return f"file://{folder.replace(os.sep, '/').rstrip('/')}", inside


def _entries(ranges: ByteRanges, paths: Sequence[str]) -> dict[str, Any]:
    """Return the chunks: their keys, files and ranges."""
    # braces in a name would begin a template
    urls = [f"{{{{{_FOLDER}}}}}/{path.replace('{', '{{{{').replace('}', '}}}}')}" for path in paths]
    rows = zip(ranges.file.tolist(), ranges.start.tolist(), ranges.length.tolist(), strict=True)
    return {
        f"{ARRAY}/{key}": [urls[file], start, length]
        for key, (file, start, length) in zip(_keys(ranges.grid), rows, strict=True)
        if file >= 0
    }


def _keys(grid: tuple[int, ...]) -> Iterator[str]:
    if not grid:
        yield "0"
        return
    for index in np.ndindex(*grid):
        yield ".".join(map(str, index))
