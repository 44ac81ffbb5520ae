# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse recordings that frames are streamed into.

How many entries a recording has is known when all of its frames were looked at. So the entries of
each block are kept in the working folder of the conversion, and the files are made of them in one
go at the end.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import struct
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import warn
from rsciio_tem.recording import rotation
from rsciio_tem.storage.inflate import inflate
from rsciio_tem.writing.obstacles import check_text
from rsciio_tem.writing.signal_frames import SignalFrames, toml_axes
from rsciio_tem.writing.target import Payloads, Target

__all__ = ["Compression", "Fch5", "Npz", "RawCsr", "SparseTarget", "angles", "metadata"]

Compression = Literal["deflate", "stored"]


#: Share of pixels above which a dense file is smaller.
_DENSE = 0.1


class SparseTarget(Target):
    """What the kinds have in common.

    Parameters
    ----------
    path : str
        Of the file that people open.
    frames : SignalFrames
        What is written.
    threshold : float, optional
        Values above it are stored; by default all but zeros.
    """

    def __init__(self, path: str, frames: SignalFrames, threshold: float | None) -> None:
        self.path, self.frames, self.threshold = path, frames, threshold
        self.dtype = frames.dtype.newbyteorder("<")
        if self.dtype.kind not in "buifc":
            raise ValueError(f"pixels of type {frames.dtype} are not numbers")
        if threshold is not None and self.dtype.kind == "c":
            raise TypeError("complex values are not above or below a threshold")
        if threshold is not None and not np.isfinite(threshold):
            raise ValueError(f"threshold={threshold!r} is not a number")

    def _kept(self, frames: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        if self.threshold is None:
            return np.asarray(frames != 0)
        if frames.dtype.kind == "f" and np.isnan(frames).any():
            raise ValueError(
                f"{self.path}: NaN is not above or below a threshold; leave threshold out to "
                "store all values"
            )
        return np.asarray(frames > self.threshold)

    def expected(self, frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return frames without what is not stored."""
        return np.where(self._kept(frames), frames, frames.dtype.type(0))

    def put(self, folder: str, first: int, frames: npt.NDArray[Any]) -> bytes:
        """Return the entries of a block of frames."""
        flat = frames.reshape(len(frames), -1)
        kept = self._kept(flat)
        counts = np.count_nonzero(kept, axis=1).astype("<i8")
        pixels = np.flatnonzero(kept) % flat.shape[1]
        return self._packed(first, counts, pixels, flat[kept].astype(self.dtype))

    def _packed(
        self,
        first: int,
        counts: npt.NDArray[np.int64],
        pixels: npt.NDArray[np.int64],
        values: npt.NDArray[Any],
    ) -> bytes:
        """Return what is kept of a block: numbers of entries, their places, their values."""
        del first
        return counts.tobytes() + self._places(pixels).tobytes() + values.tobytes()

    def _places(self, pixels: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return the places of entries as they are stored."""
        raise NotImplementedError

    def _blocks(
        self, payloads: Payloads, place: np.dtype[Any]
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[Any]]]:
        """Give what `_packed` kept of each block."""
        for _, frames, content in payloads:
            counts = np.frombuffer(content, "<i8", frames)
            n = int(counts.sum())
            pixels = np.frombuffer(content, place, n, counts.nbytes)
            yield (
                counts,
                pixels,
                np.frombuffer(content, self.dtype, n, counts.nbytes + pixels.nbytes),
            )

    def _tell(self, entries: int) -> None:
        """Warn if the recording is not sparse."""
        share = entries / (
            len(self.frames) * self.frames.frame_shape[0] * self.frames.frame_shape[1]
        )
        if share > _DENSE:
            warn(
                self.path,
                f"{100 * share:.0f} % of the pixels are stored one by one; "
                "a dense file would be smaller, or pass a threshold.",
            )

    def read(self, folder: str, first: int, count: int) -> npt.NDArray[Any]:
        """Read frames back: fill zeros with the entries of each."""
        rows, columns = self.frames.frame_shape
        out = np.zeros((count, rows * columns), self.frames.dtype.newbyteorder("="))
        for frame, (pixels, values) in zip(out, self._stored(folder, first, count), strict=True):
            frame[pixels] = values
        return out.reshape(count, rows, columns)

    @abstractmethod
    def _stored(
        self, folder: str, first: int, count: int
    ) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """Give places and values of each frame as they are in the files."""


class RawCsr(SparseTarget):
    """The TOML file of LiberTEM's ``raw_csr``, and its three binary files."""

    def __init__(self, path: str, frames: SignalFrames, threshold: float | None) -> None:
        super().__init__(path, frames, threshold)
        stem, suffix = os.path.splitext(os.path.basename(path))
        if suffix.lower() != ".toml":
            raise ValueError(f"{path!r} does not end with .toml")
        check_text(path)
        self.parts = {part: f"{stem}_{part}.bin" for part in ("indptr", "indices", "data")}
        self.names = (*self.parts.values(), stem + suffix)
        pixels = frames.frame_shape[0] * frames.frame_shape[1]
        self.index = np.dtype("<i4" if pixels <= 1 << 31 else "<i8")

    def _places(self, pixels: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        return pixels.astype(self.index)

    def finish(self, folder: str, payloads: Payloads) -> None:
        """Make the files of the blocks."""
        indptr, indices, data, toml = (os.path.join(folder, name) for name in self.names)
        end = np.int64(0)
        with open(indptr, "wb") as bounds, open(indices, "wb") as places, open(data, "wb") as all_:
            bounds.write(end.tobytes())
            for counts, pixels, values in self._blocks(payloads, self.index):
                ends = end + np.cumsum(counts)
                bounds.write(ends.astype("<i8").tobytes())
                places.write(pixels.tobytes())
                all_.write(values.tobytes())
                end = ends[-1]
        types = {"indptr": "<i8", "indices": self.index.str, "data": self.dtype.str}
        lines = [
            "[params]",
            'filetype = "raw_csr"',
            f"nav_shape = {list(self.frames.nav_shape) or [1]}",
            f"sig_shape = {list(self.frames.frame_shape)}",
            *toml_axes((*self.frames.nav_axes, *self.frames.sig_axes)),
            "",
            "[raw_csr]",
        ]
        for part, name in self.parts.items():
            lines += [
                f"{part}_file = {json.dumps(name)}",
                f"{part}_dtype = {json.dumps(types[part])}",
            ]
        Path(toml).write_text("\n".join([*lines, ""]), encoding="utf-8")
        self._tell(int(end))

    def _stored(
        self, folder: str, first: int, count: int
    ) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        indptr, indices, data, _ = (os.path.join(folder, name) for name in self.names)
        bounds = np.fromfile(indptr, "<i8", count + 1, offset=8 * first)
        for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            pixels = np.fromfile(indices, self.index, b - a, offset=a * self.index.itemsize)
            yield pixels, np.fromfile(data, self.dtype, b - a, offset=a * self.dtype.itemsize)


# ---------------------------------------------------------------- frame caches


def angles(frames: SignalFrames, omega: Any, path: str) -> npt.NDArray[np.float64] | None:
    """Return begin and end of each frame in degrees, if the signal is a rotation series."""
    count = len(frames)
    if not isinstance(omega, str) or omega != "auto":
        return rotation.angles_asked(omega, None, count, path)[0]
    stored = np.asarray(frames.original_metadata.get("omega", ()))
    if stored.shape == (count, 2) and stored.dtype.kind in "iuf" and np.isfinite(stored).all():
        return stored.astype(np.float64)
    if len(frames.nav_axes) != 1 or frames.nav_axes[0].get("name") != rotation.NAME:
        return None
    axis = frames.nav_axes[0]
    if "axis" in axis:
        middle = np.asarray(axis["axis"], np.float64)
        if count < 2:
            return None
        inner = (middle[1:] + middle[:-1]) / 2
        ends = 2 * middle[0] - inner[0], 2 * middle[-1] - inner[-1]
        edges = np.array([ends[0], *inner, ends[1]])
    else:
        edges = float(axis["offset"]) + (np.arange(count + 1) - 0.5) * float(axis["scale"])
    return np.stack([edges[:-1], edges[1:]], axis=1).astype(np.float64)


def _entry(value: Any) -> npt.NDArray[Any] | dict[str, Any] | None:
    """Return a value of the metadata as an array, or as a dictionary of such; None for nothing."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        entries = {str(key): _entry(below) for key, below in value.items()}
        return {key: below for key, below in entries.items() if below is not None}
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        array = np.asarray(None)
    if array.dtype.kind in "buifcSU":
        return array
    return np.asarray(json.dumps(value, default=str, ensure_ascii=False))


def metadata(
    frames: SignalFrames, omega: npt.NDArray[np.float64] | None
) -> dict[str, npt.NDArray[Any] | dict[str, Any]]:
    """Return the metadata to store."""
    ours = ("rsciio_tem", "omega", "omega_wedges", "navigation_shape")
    kept = {k: v for k, v in frames.original_metadata.items() if k not in ours}
    entries = _entry(kept)
    assert isinstance(entries, dict)
    if len(frames.nav_shape) != 1:
        entries["navigation_shape"] = np.array(frames.nav_shape[::-1], np.int64)
    if omega is not None:
        entries["omega"] = omega
    return entries


class _Cache(SparseTarget):
    """What the kinds of frame caches have in common."""

    def __init__(
        self,
        path: str,
        frames: SignalFrames,
        threshold: float | None,
        omega: npt.NDArray[np.float64] | None,
    ) -> None:
        super().__init__(path, frames, threshold)
        self.metadata = metadata(frames, omega)
        self.index = np.dtype("<u2" if max(frames.frame_shape) <= 1 << 16 else "<u4")
        self.header = {
            "shape": np.array(frames.frame_shape, np.int64),
            "nframes": np.array(len(frames), np.int64),
        }

    def _places(self, pixels: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        columns = self.frames.frame_shape[1]
        return np.stack([pixels // columns, pixels % columns], axis=1).astype(self.index)


_LOCAL = struct.Struct("<4s5H3I2H")


_CENTRAL = struct.Struct("<4s6H3I5H2I")


_MEMBER = struct.Struct("<IQQ")  # CRC-32, bytes, bytes in the archive


_1980 = 0x21  # the first day that the format knows


@lru_cache(maxsize=4096)
def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    description = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, description)
    return stream.getvalue()


class _Zip:
    """An archive that is written in one go, of members that are compressed already."""

    def __init__(self, file: IO[bytes], method: int) -> None:
        self.file, self.method = file, method
        self.at = self.count = 0
        self.central = io.BytesIO()

    def add(self, name: str, crc: int, size: int, packed: memoryview | bytes) -> int:
        """Append a member; return where it begins."""
        offset, text, sizes = self.at, name.encode(), (crc, len(packed), size)
        if max(sizes) >> 32:
            raise ValueError(f"{name} has {size} bytes, members have up to 4 GiB")
        large = offset >= 0xFFFFFFFF
        extra = struct.pack("<2HQ", 1, 8, offset) if large else b""
        flags = 0 if text.isascii() else 0x800
        common = (45 if large else 20, flags, self.method, 0, _1980, *sizes, len(text))
        self.file.write(_LOCAL.pack(b"PK\3\4", *common, 0) + text)
        self.file.write(packed)
        where = 0xFFFFFFFF if large else offset
        self.central.write(
            _CENTRAL.pack(b"PK\1\2", 45, *common, len(extra), 0, 0, 0, 0o600 << 16, where)
        )
        self.central.write(text + extra)
        self.at += _LOCAL.size + len(text) + len(packed)
        self.count += 1
        return offset

    def close(self) -> None:
        """Write the directory."""
        directory = self.central.getvalue()
        length, begin, count = len(directory), self.at, self.count
        self.file.write(directory)
        if count >= 0xFFFF or begin + length >= 0xFFFFFFFF:
            end = begin + length
            numbers = (44, 45, 45, 0, 0, count, count, length, begin)
            self.file.write(struct.pack("<4sQ2H2I4Q", b"PK\6\6", *numbers))
            self.file.write(struct.pack("<4sIQI", b"PK\6\7", 0, end, 1))
        few = (min(count, 0xFFFF), min(length, 0xFFFFFFFF), min(begin, 0xFFFFFFFF))
        self.file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, few[0], *few, 0))


#: What the YAML files that are written say of the archive.
_DATA = frozenset({"file", "dtype", "nframes", "shape"})


def _yaml_of(path: str) -> Mapping[str, Any]:
    """Return what a YAML file holds, nothing if it is none."""
    import yaml

    with contextlib.suppress(OSError, ValueError, yaml.YAMLError, RecursionError):
        if os.path.getsize(path) < 1 << 20:
            tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
            return tree if isinstance(tree, Mapping) else {}
    return {}


class Npz(_Cache):
    """Frame cache in an .npz, and the YAML file that names it, if that is asked for.

    Parameters
    ----------
    omega : ndarray, optional
        Begin and end of each frame.
    compression : {"deflate", "stored"}
        How members are stored.
    output_yaml : bool
        Whether the YAML file is written; it is if `path` is one.
    """

    def __init__(
        self,
        path: str,
        frames: SignalFrames,
        threshold: float | None,
        omega: npt.NDArray[np.float64] | None,
        compression: Compression,
        output_yaml: bool,
    ) -> None:
        super().__init__(path, frames, threshold, omega)
        if compression not in get_args(Compression):
            raise ValueError(f"compression={compression!r} is neither deflate nor stored")
        self.method = 8 if compression == "deflate" else 0
        stem, suffix = os.path.splitext(os.path.basename(path))
        self.archive = f"{stem}{suffix}" if suffix.lower() == ".npz" else f"{stem}.npz"
        self.sides = [f"{stem}-omega.npy"] if "omega" in self.metadata else []
        yaml = f"{stem}{suffix}" if self.archive != f"{stem}{suffix}" else f"{stem}.yml"
        self.yaml = yaml if output_yaml or self.archive != f"{stem}{suffix}" else ""
        self.names = (self.archive,)
        if self.yaml:
            check_text(path)
            two = (self.archive, self.yaml)
            self.names = (*self.sides, *(two if suffix.lower() != ".npz" else two[::-1]))
        self.offsets = np.zeros(0, np.int64)  # of the members of frames, once they are written

    def leftovers(self, folder: str) -> list[str]:
        """List a YAML file that names the archive which is replaced, and its angles."""
        stem = os.path.splitext(self.archive)[0]
        names: list[str] = []
        for name in (f"{stem}.yml", f"{stem}.yaml"):
            tree = _yaml_of(os.path.join(folder, name))
            data = tree.get("data")
            if not isinstance(data, Mapping) or data.get("file") != self.archive:
                continue
            angles = f"{stem}-omega.npy"
            if f"! load-numpy-array {angles}" in str(tree.get("meta")):
                names.append(angles)
            if name in self.names:
                continue
            if not {*tree} <= {"data", "meta"} or not {*data} <= _DATA:
                raise FileExistsError(
                    f"{os.path.join(folder, name)} describes {self.archive} and would not fit the "
                    "new one; move it away or choose another name"
                )
            names.append(name)
        return [n for n in names if n not in self.names and os.path.isfile(os.path.join(folder, n))]

    def _member(self, array: npt.NDArray[Any]) -> tuple[int, int, bytes]:
        """Return checksum and size of an array, and what is stored of it."""
        content = _npy_header(array.dtype.str, array.shape) + array.tobytes()
        packed = content
        if self.method:
            deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
            packed = deflate.compress(content) + deflate.flush()
        return zlib.crc32(content), len(content), packed

    def _packed(
        self,
        first: int,
        counts: npt.NDArray[np.int64],
        pixels: npt.NDArray[np.int64],
        values: npt.NDArray[Any],
    ) -> bytes:
        del first
        out = io.BytesIO()
        out.write(int(counts.sum()).to_bytes(8, "little"))
        places = self._places(pixels)
        ends = np.cumsum(counts).tolist()
        for a, b in zip([0, *ends[:-1]], ends, strict=True):
            for array in (places[a:b, 0], places[a:b, 1], values[a:b]):
                crc, size, packed = self._member(array)
                out.write(_MEMBER.pack(crc, size, len(packed)))
                out.write(packed)
        return out.getvalue()

    def finish(self, folder: str, payloads: Payloads) -> None:
        """Make the files of the blocks."""
        entries, offsets = 0, []
        with open(os.path.join(folder, self.archive), "wb") as file:
            archive = _Zip(file, self.method)
            for first, count, content in payloads:
                entries += int.from_bytes(content[:8], "little")
                at = 8
                for number in range(first, first + count):
                    for part in ("row", "col", "data"):
                        crc, size, length = _MEMBER.unpack_from(content, at)
                        at += _MEMBER.size
                        name = f"{number}_{part}.npy"
                        offsets.append(archive.add(name, crc, size, content[at : at + length]))
                        at += length
            for key, value in self._named():
                crc, size, packed = self._member(value)
                archive.add(f"{key}.npy", crc, size, packed)
            archive.close()
        self.offsets = np.array(offsets, np.int64)
        if self.yaml:
            self._write_yaml(folder)
        self._tell(entries)

    def _named(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """Give header and metadata by the names of their members."""
        dtype = np.array(str(self.dtype.newbyteorder("=")).encode())
        header = {**self.header, "dtype": dtype}
        yield from header.items()
        for key, value in self.metadata.items():
            name = key.replace("/", "_").replace("\\", "_")
            if name in header or re.fullmatch(r"\d+_(row|col|data)", name):
                name = f"metadata_{name}"
            if isinstance(value, dict):
                value = np.asarray(json.dumps(value, default=_listed, ensure_ascii=False))
            yield name, value

    def _write_yaml(self, folder: str) -> None:
        import yaml

        meta = {}
        for key, value in self.metadata.items():
            if key == "omega" and isinstance(value, np.ndarray):
                np.save(os.path.join(folder, self.sides[0]), value)
                meta[key] = f"! load-numpy-array {self.sides[0]}"
            elif isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "biufU":
                meta[key] = value.reshape(-1)[0].item()
        tree = {
            "data": {
                "file": self.archive,
                "dtype": str(self.dtype.newbyteorder("=")),
                "nframes": len(self.frames),
                "shape": list(self.frames.frame_shape),
            },
            "meta": meta,
        }
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
        Path(folder, self.yaml).write_text(text, encoding="utf-8")

    def _stored(
        self, folder: str, first: int, count: int
    ) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        with open(os.path.join(folder, self.archive), "rb") as file:
            for offsets in self.offsets.reshape(-1, 3)[first : first + count].tolist():
                arrays = []
                for offset in offsets:
                    file.seek(offset)
                    fields = _LOCAL.unpack(file.read(_LOCAL.size))
                    file.seek(fields[9] + fields[10], os.SEEK_CUR)
                    content: bytes | bytearray = file.read(fields[7])
                    if self.method:
                        content = inflate(content, fields[8], bare=True)
                    arrays.append(np.lib.format.read_array(io.BytesIO(content)))
                rows, columns, values = arrays
                yield rows.astype(np.int64) * self.frames.frame_shape[1] + columns, values


def _listed(value: Any) -> Any:
    """Return arrays inside of nested metadata as lists, for JSON."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


#: Rows of a chunk in HDF5.
_CHUNK = 1 << 17


class Fch5(_Cache):
    """Frame cache in a group of a new HDF5 file."""

    def __init__(
        self,
        path: str,
        frames: SignalFrames,
        threshold: float | None,
        omega: npt.NDArray[np.float64] | None,
        group: str,
    ) -> None:
        super().__init__(path, frames, threshold, omega)
        self.names = (os.path.basename(path),)
        self.group = "/" + group.strip("/")

    def finish(self, folder: str, payloads: Payloads) -> None:
        """Make the file of the blocks."""
        import h5py
        import hdf5plugin

        # as hexrd, chunks larger; frames in order
        compressed = dict(hdf5plugin.Blosc(cname="zstd", clevel=5))
        ids = np.zeros((len(self.frames), 2), np.uint64)
        end = 0
        with h5py.File(os.path.join(folder, self.names[0]), "w", rdcc_nbytes=16 << 20) as file:
            group = file.require_group(self.group)
            group.attrs["HEXRD_FRAMECACHE_VERSION"] = np.int64(1)
            for key, value in self.header.items():
                group.create_dataset(key, data=value)
            name = str(self.dtype.newbyteorder("="))
            group.create_dataset("dtype", data=name, dtype=h5py.string_dtype("ascii"))
            total = sum(int(np.frombuffer(c, "<i8", n).sum()) for _, n, c in payloads)
            columns = {"indices": (2, self.index), "data": (1, self.dtype)}
            indices, data = (
                group.create_dataset(
                    key, (total, n), kind, maxshape=(None, n), chunks=(_CHUNK, n), **compressed
                )
                for key, (n, kind) in columns.items()
            )
            first = 0
            place = np.dtype((self.index, 2))
            for counts, places, values in self._blocks(payloads, place):
                ends = end + np.cumsum(counts)
                ids[first : first + len(counts)] = np.stack([ends - counts, ends], axis=1)
                if len(values):
                    indices[end : end + len(values)] = places
                    data[end : end + len(values)] = values[:, np.newaxis]
                first, end = first + len(counts), int(ends[-1])
            group.create_dataset("frame_ids", data=ids.reshape(-1))
            _fill(group.create_group("metadata"), self.metadata)
        self._tell(end)

    def _stored(
        self, folder: str, first: int, count: int
    ) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        import h5py
        import hdf5plugin  # noqa: F401

        with h5py.File(os.path.join(folder, self.names[0]), "r") as file:
            group = file[self.group]
            ids = group["frame_ids"][2 * first : 2 * (first + count)].reshape(-1, 2).tolist()
            begin, end = int(ids[0][0]), int(ids[-1][1])
            places = group["indices"][begin:end].astype(np.int64)
            flat = places[:, 0] * self.frames.frame_shape[1] + places[:, 1]
            values = group["data"][begin:end, 0]
        for a, b in ids:
            yield flat[a - begin : b - begin], values[a - begin : b - begin]


def _fill(group: Any, entries: Mapping[str, Any]) -> None:
    """Write metadata as hexrd does: groups, and data sets of one dimension at least."""
    import h5py

    for key, value in entries.items():
        name = key.replace("/", "_").strip(".") or "_"
        if name in group:
            continue
        if isinstance(value, dict):
            _fill(group.create_group(name), value)
            continue
        value = np.atleast_1d(value)
        if value.dtype.kind == "U":
            group.create_dataset(name, data=value.astype(object), dtype=h5py.string_dtype())
        else:
            group.create_dataset(name, data=value)
