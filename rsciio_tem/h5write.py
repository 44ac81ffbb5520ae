# SPDX-License-Identifier: GPL-3.0-or-later
"""HDF5 files that frames are streamed into.

A half-written HDF5 file is worthless, so chunks are compressed first and kept in the working
folder of the conversion; the file itself is made of them in one go at the end. Uncompressed data
are written in place. Two layouts are known: EMD 1.0, which py4DSTEM, emdfile and this package
open, and the group of hexrd's imageseries.
"""

from __future__ import annotations

import json
import math
import os
import struct
import uuid
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rsciio_tem import __version__
from rsciio_tem.export import Payloads, Placed, Target
from rsciio_tem.signals import SignalFrames

__all__ = ["Compression", "Hdf5", "Layout"]

Layout = Literal["emd", "hexrd"]
Compression = Literal["bitshuffle-lz4", "gzip", "none"]

#: Chunks hold about this many bytes of whole frames.
_CHUNK = 256 << 10
_CHUNK_HEAD = struct.Struct("<QI")  # bytes of a stored chunk, its filter mask


def filters(compression: Compression | Mapping[str, Any], gzip: int, shuffle: bool) -> Any:
    """Return the keywords of `h5py.Group.create_dataset` for a compression."""
    if not 0 <= gzip <= 9:
        raise ValueError(f"gzip={gzip} is no level from 0 to 9")
    if isinstance(compression, Mapping):
        return dict(compression)
    if compression == "bitshuffle-lz4":
        import hdf5plugin

        return dict(hdf5plugin.Bitshuffle())
    if compression == "gzip":
        level = {"compression": "gzip", "compression_opts": gzip} if gzip else {}
        return {**level, "shuffle": shuffle}
    if compression in (None, "none"):
        return {}
    raise ValueError(
        f"compression={compression!r} is none of bitshuffle-lz4, gzip, none, and no mapping of "
        "keywords of h5py's create_dataset"
    )


def _frames_per_chunk(frames: SignalFrames) -> int:
    """Return the largest divisor of the fast scan axis whose frames fit into a chunk."""
    wanted = max(1, _CHUNK // max(1, frames.frame_bytes))
    columns = frames.nav_shape[-1] if frames.nav_shape else 1
    return next(n for n in range(min(wanted, columns), 0, -1) if columns % n == 0)


class Hdf5(Target):
    """One HDF5 file.

    Parameters
    ----------
    path : str
        Of the file.
    frames : SignalFrames
        What is written.
    layout : {"emd", "hexrd"}
        How the file is organised.
    group : str
        Where the data are: the name of the object in an EMD, the path of the group for hexrd.
    compression : {"bitshuffle-lz4", "gzip", "none"} or mapping
        How chunks are compressed; a mapping holds keywords of h5py's ``create_dataset``.
    gzip : int
        Level of "gzip"; 0 does not compress.
    shuffle : bool
        Whether "gzip" sorts bytes first.
    chunk_rows : int
        Rows of a frame that make a chunk; 0 for whole frames.
    """

    def __init__(
        self,
        path: str,
        frames: SignalFrames,
        *,
        layout: Layout = "emd",
        group: str,
        dataname: str = "data",
        compression: Compression | Mapping[str, Any] = "bitshuffle-lz4",
        gzip: int = 1,
        shuffle: bool = True,
        chunk_rows: int = 0,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        if layout not in ("emd", "hexrd"):
            raise ValueError(f"layout={layout!r} is neither 'emd' nor 'hexrd'")
        if not group.strip("/"):
            raise ValueError(f"{group!r} is no name of a group")
        rows, columns = frames.frame_shape
        if not 0 <= chunk_rows <= rows:
            raise ValueError(f"chunk_rows={chunk_rows} of frames of {rows} rows")
        self.names = (os.path.basename(path),)
        self.filters = filters(compression, gzip, shuffle)
        self.bitshuffled = compression == "bitshuffle-lz4" and frames.dtype.itemsize in (1, 2, 4, 8)
        flat = layout == "hexrd"
        self.frames_per_block = 1 if flat or chunk_rows else _frames_per_chunk(frames)
        self.chunk = (self.frames_per_block, chunk_rows or rows, columns)
        self.nav_shape = (len(frames),) if flat else frames.nav_shape
        self.shape = (*self.nav_shape, rows, columns)
        self.dtype = frames.dtype.newbyteorder("<")
        self.layout, self.group, self.dataname = layout, group.strip("/"), dataname
        self.frames, self.attributes = frames, dict(attributes or {})
        self.placed: Placed | None = None
        if not self.filters:
            self.nbytes = math.prod(self.shape) * self.dtype.itemsize

    # ------------------------------------------------------------------ writing

    def create(self, folder: str) -> None:
        """Make the file at once if its size is known."""
        if not self.filters:
            with self._new(folder) as file:
                self._fill(file, None)

    def put(self, folder: str, first: int, frames: npt.NDArray[Any]) -> Any:
        """Compress frames; or write them in place."""
        if not self.filters:
            self._in_place(folder).put(folder, first, frames)
            return None
        return b"".join(self._compressed(np.ascontiguousarray(frames, self.dtype)))

    def finish(self, folder: str, payloads: Payloads) -> None:
        """Make the file of compressed chunks."""
        if self.filters:
            with self._new(folder) as file:
                self._fill(file, payloads)

    def read(self, folder: str, first: int, count: int) -> npt.NDArray[Any]:
        """Read frames with h5py."""
        import h5py
        import hdf5plugin  # noqa: F401

        from rsciio_tem.signals import boxes

        with h5py.File(os.path.join(folder, self.names[0]), "r") as file:
            data = file[self._name]
            parts = [
                data[box].reshape(-1, *self.shape[-2:])
                for box in boxes(first, first + count, self.nav_shape)
            ]
        frames = np.concatenate(parts)
        return frames.astype(frames.dtype.newbyteorder("="), copy=False)

    @property
    def _name(self) -> str:
        """Path of the data set."""
        stem = f"{self.group}_root/{self.group}" if self.layout == "emd" else self.group
        return f"{stem}/{self.dataname}"

    def _new(self, folder: str) -> Any:
        import h5py

        # hexrd's metadata are attributes, which old files limit to 64 KiB
        versions = ("v108", "latest") if self.layout == "hexrd" else None
        return h5py.File(os.path.join(folder, self.names[0]), "w", libver=versions)

    def _in_place(self, folder: str) -> Placed:
        import h5py

        if self.placed is None:
            with h5py.File(os.path.join(folder, self.names[0]), "r") as file:
                offset = file[self._name].id.get_offset()
            stored = np.dtype((self.dtype, self.shape[-2:]))
            placed = Placed(self.names[0], b"", stored, math.prod(self.nav_shape))
            placed.offset = offset
            self.placed = placed
        return self.placed

    def _compressed(self, frames: npt.NDArray[Any]) -> Iterator[bytes | memoryview]:
        """Compress whole chunks."""
        level = self.filters.get("compression_opts")
        if self.filters.get("compression") == "gzip" and isinstance(level, int):
            # outside the HDF5 library, which lets only one thread compress at a time
            for first in range(0, len(frames), self.chunk[0]):
                for row in range(0, self.shape[-2], self.chunk[1]):
                    part = np.zeros(self.chunk, self.dtype)
                    stored = frames[first : first + self.chunk[0], row : row + self.chunk[1]]
                    part[:, : stored.shape[1]] = stored  # chunks are whole, also at the edge
                    content = part.reshape(-1, 1).view(np.uint8)
                    if self.filters.get("shuffle"):
                        content = content.T
                    packed = zlib.compress(content.tobytes(), level)
                    yield _CHUNK_HEAD.pack(len(packed), 0) + packed
            return
        if self.bitshuffled:  # likewise
            from rsciio_tem import kernels

            for first in range(0, len(frames), self.chunk[0]):
                whole = frames[first : first + self.chunk[0]]
                rows = range(0, self.shape[-2], self.chunk[1])
                parts = np.zeros((len(rows), *self.chunk), self.dtype)
                for part, row in zip(parts, rows, strict=True):
                    stored = whole[:, row : row + self.chunk[1]]
                    part[:, : stored.shape[1]] = stored
                content = parts.reshape(len(rows), -1).view(np.uint8)
                for chunk in kernels.pack_bitshuffle(content, self.dtype.itemsize):
                    yield _CHUNK_HEAD.pack(len(chunk), 0)
                    yield chunk
            return
        import h5py

        with h5py.File(uuid.uuid4().hex, "w", driver="core", backing_store=False) as file:
            data = file.create_dataset("data", data=frames, chunks=self.chunk, **self.filters)
            for first in range(0, len(frames), self.chunk[0]):
                for row in range(0, self.shape[-2], self.chunk[1]):
                    mask, packed = data.id.read_direct_chunk((first, row, 0))
                    yield _CHUNK_HEAD.pack(len(packed), mask) + packed

    def _fill(self, file: Any, payloads: Payloads | None) -> None:
        """Write the structure of the file, and its data if they are complete."""
        make = {"emd": self._emd, "hexrd": self._hexrd}[self.layout]
        keywords: dict[str, Any] = dict(self.filters)
        if self.filters:
            chunk = (*(1,) * len(self.nav_shape), *self.chunk[1:])
            keywords["chunks"] = (
                (*chunk[:-3], self.chunk[0], *chunk[-2:]) if self.nav_shape else (chunk)
            )
        data = make(file, keywords)
        if payloads is None:
            return
        for first, _, content in payloads:
            at, frame, row = 0, first, 0
            while at < len(content):
                size, mask = _CHUNK_HEAD.unpack_from(content, at)
                at += _CHUNK_HEAD.size
                nav = np.unravel_index(frame, self.nav_shape) if self.nav_shape else ()
                place = (*(int(i) for i in nav), row, 0)
                data.id.write_direct_chunk(place, bytes(content[at : at + size]), mask)
                at += size
                row += self.chunk[1]
                if row >= self.shape[-2]:
                    frame, row = frame + self.chunk[0], 0

    def _data(self, group: Any, keywords: Mapping[str, Any]) -> Any:
        import h5py

        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        if keywords:
            return group.create_dataset(
                self.dataname, self.shape, self.dtype, track_times=False, **keywords
            )
        creation.set_obj_track_times(False)
        creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        kind = h5py.h5t.py_create(self.dtype, logical=True)
        space = h5py.h5s.create_simple(self.shape)
        made = h5py.h5d.create(group.id, self.dataname.encode(), kind, space, dcpl=creation)
        return h5py.Dataset(made)

    # ------------------------------------------------------------------ layouts

    def _emd(self, file: Any, keywords: Mapping[str, Any]) -> Any:
        """EMD 1.0 as emdfile writes it: a root with one array, its axes, and its calibration."""
        file.attrs.update(
            emd_group_type="file",
            version_major=1,
            version_minor=0,
            authoring_program=f"rsciio-tem {__version__}",
            authoring_user="",
            UUID=str(uuid.uuid5(uuid.NAMESPACE_URL, self._told())),
        )
        root = file.create_group(f"{self.group}_root")
        root.attrs.update(emd_group_type="root", python_class="Root")
        array = root.create_group(self.group)
        four = len(self.shape) == 4
        array.attrs.update(emd_group_type="array", python_class="DataCube" if four else "Array")
        data = self._data(array, keywords)
        data.attrs["units"] = "pixel intensity"
        axes = (*self.frames.nav_axes, *self.frames.sig_axes)
        for i, (axis, size) in enumerate(zip(axes, self.shape, strict=True)):
            values = np.asarray(axis["axis"], float) if "axis" in axis else _first_two(axis)
            dim = array.create_dataset(f"dim{i}", data=values[: max(size, 2)])
            dim.attrs["name"] = str(axis.get("name") or f"dim{i}")
            dim.attrs["units"] = _units(axis)
        if four:
            self._calibration(root, axes)
        kept = root.create_group("rsciio_tem")  # without a type, so that EMD readers pass it by
        for name in ("metadata", "original_metadata"):
            text = json.dumps(getattr(self.frames, name), default=str, ensure_ascii=False)
            kept.create_dataset(name, data=text)
        return data

    def _calibration(self, root: Any, axes: tuple[Mapping[str, Any], ...]) -> None:
        """Pixel sizes where py4DSTEM looks for them."""
        bundle = root.create_group("metadatabundle")
        bundle.attrs["emd_group_type"] = "metadatabundle"
        group = bundle.create_group("calibration")
        group.attrs.update(emd_group_type="metadata", python_class="Calibration")
        for letter, axis in (("R", axes[1]), ("Q", axes[3])):
            size = group.create_dataset(f"{letter}_pixel_size", data=float(axis.get("scale", 1)))
            size.attrs["type"] = "number"
            units = group.create_dataset(f"{letter}_pixel_units", data=_units(axis))
            units.attrs["type"] = "string"
        path = group.create_dataset("_root_treepath", data="")
        path.attrs["type"] = "string"
        targets = group.create_group("_target_paths")
        targets.attrs.update(length=1, type="list_of_strings")
        targets.create_dataset("0", data=f"/{self.group}")

    def _hexrd(self, file: Any, keywords: Mapping[str, Any]) -> Any:
        """Write the group of hexrd's imageseries: one stack of images, metadata as attributes."""
        group = file.create_group(self.group)
        for name, value in self.attributes.items():
            # hexrd knows attributes only; of anything deeper it shows the text
            group.attrs[name] = (
                json.dumps(value, default=_plain) if isinstance(value, dict) else (_h5_value(value))
            )
        return self._data(group, keywords)

    def _told(self) -> str:
        """Describe the data, for an identifier that is the same each time."""
        return f"{self.shape}{self.dtype.str}{sorted(self.frames.sources)}"


def _first_two(axis: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    start, step = float(axis.get("offset", 0)), float(axis.get("scale", 1))
    return np.array([start, start + step])


def _h5_value(value: Any) -> Any:
    """Return text as HDF5 stores it: numpy's fixed-length Unicode has no counterpart there."""
    array = np.asarray(value)
    if array.dtype.kind == "U":
        return str(array) if array.ndim == 0 else [str(text) for text in array.reshape(-1)]
    return array


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


def _units(axis: Mapping[str, Any]) -> str:
    """Spell units as EMD files do; unknown ones are pixels."""
    units = axis.get("units")
    if not isinstance(units, str) or not units or units == "<undefined>":
        return "pixels"
    known = {"1/Å": "A^-1", "Å^-1": "A^-1", "1/nm": "nm^-1", "Å": "A"}
    return known.get(units, units)
