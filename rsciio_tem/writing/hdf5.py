# SPDX-License-Identifier: GPL-3.0-or-later
"""HDF5 files that frames are streamed into.

Threads compress chunks and write them to the places that the HDF5 library gives them, see
`rsciio_tem.writing.hdf5_stream`; uncompressed data are written in place. Two layouts are known:
EMD 1.0, which py4DSTEM, emdfile and this package open, and the group of hexrd's imageseries.
"""

from __future__ import annotations

import json
import math
import os
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rsciio_tem._version import __version__
from rsciio_tem.errors import FormatError
from rsciio_tem.writing.hdf5_stream import ChunkedFile, write_at
from rsciio_tem.writing.kept import VERSION, kept_of
from rsciio_tem.writing.signal_frames import SignalFrames
from rsciio_tem.writing.target import FlatFile, Payloads, Target

__all__ = ["Compression", "Hdf5", "Layout", "write_kept"]

Layout = Literal["emd", "hexrd"]


Compression = Literal["bitshuffle-lz4", "gzip", "none"]


#: Chunks hold about this many bytes of whole frames.
_CHUNK = 256 << 10


#: What is noted of a stored chunk.
_PLACED = np.dtype(
    [
        ("offset", "<u8"),  # where it is in the file
        ("size", "<u4"),  # its bytes
        ("mask", "<u4"),  # filters that were left out, a bit each
    ]
)


def filters(compression: Compression | Mapping[str, Any], gzip: int, shuffle: bool) -> Any:
    """Return the keywords of `h5py.Group.create_dataset` for a compression."""
    if not 0 <= gzip <= 9:
        raise ValueError(f"gzip={gzip} is not a level from 0 to 9")
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
    per_chunk = max(1, _CHUNK // max(1, frames.frame_bytes))
    columns = frames.nav_shape[-1] if frames.nav_shape else 1
    return next(n for n in range(min(per_chunk, columns), 0, -1) if columns % n == 0)


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
        frames.require_numbers("hdf5")
        if layout not in ("emd", "hexrd"):
            raise ValueError(f"layout={layout!r} is neither 'emd' nor 'hexrd'")
        if not group.strip("/"):
            raise ValueError(f"{group!r} is not a name of a group")
        rows, columns = frames.frame_shape
        if not 0 <= chunk_rows <= rows:
            raise ValueError(f"chunk_rows={chunk_rows} of frames of {rows} rows")
        self.path, self.names = path, (os.path.basename(path),)
        self.identity = {"kept": VERSION} if layout == "emd" else {}
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
        self.uncompressed: FlatFile | None = None
        self.chunked: ChunkedFile | None = None
        self.data: Any = None  # the data set of the file with chunks
        if self.filters:
            import h5py

            # another version may put chunks elsewhere
            self.identity["hdf5"] = h5py.version.hdf5_version
        if not self.filters:
            self.nbytes = math.prod(self.shape) * self.dtype.itemsize

    # ------------------------------------------------------------------ writing

    def create(self, folder: str) -> None:
        """Make the file at once if its size is known."""
        if not self.filters:
            import h5py

            with h5py.File(os.path.join(folder, self.names[0]), "w", libver=self._versions) as file:
                self._fill(file)

    def take_up(self, folder: str, payloads: Payloads) -> None:
        """Begin the file of compressed chunks; those noted in payloads are where they belong."""
        if not self.filters:
            return
        self.chunked = ChunkedFile(os.path.join(folder, self.names[0]), self._versions)
        self.data = self._fill(self.chunked.file)
        for first, _, content in payloads:
            for corner, chunk in zip(
                self._corners(first), np.frombuffer(content, _PLACED).tolist(), strict=False
            ):
                offset, size, mask = chunk
                if self.chunked.reserve(self.data, corner, size, mask) != offset:
                    raise FormatError(
                        folder,
                        "holds an unfinished HDF5 file that was laid out in another way.",
                        "Pass resume=False to begin anew.",
                    )

    def put(self, folder: str, first: int, frames: npt.NDArray[Any]) -> Any:
        """Compress frames; or write them in place."""
        if not self.filters:
            self._in_place(folder).put(folder, first, frames)
            return None
        return list(self._compressed(np.ascontiguousarray(frames, self.dtype)))

    def commit(
        self, folder: str, first: int, payload: Any
    ) -> tuple[bytes, Callable[[], None] | None]:
        """Find places for compressed chunks."""
        assert self.chunked is not None
        chunks = np.empty(len(payload), _PLACED)
        for i, (corner, (packed, mask)) in enumerate(
            zip(self._corners(first), payload, strict=False)
        ):
            offset = self.chunked.reserve(self.data, corner, len(packed), mask)
            chunks[i] = offset, len(packed), mask
        parts = [
            (at, packed) for at, (packed, _) in zip(chunks["offset"].tolist(), payload, strict=True)
        ]
        return chunks.tobytes(), partial(write_at, os.path.join(folder, self.names[0]), parts)

    def finish(self, folder: str, payloads: Payloads) -> None:
        """Close the file of compressed chunks."""
        del folder, payloads
        if self.chunked is not None:
            self.chunked.close()
            self.chunked = None

    def abandon(self) -> None:
        """Let go of the file."""
        if self.chunked is not None:
            self.chunked.abandon()
            self.chunked = None

    def read(self, folder: str, first: int, count: int) -> npt.NDArray[Any]:
        """Read frames with h5py."""
        import h5py
        import hdf5plugin  # noqa: F401

        from rsciio_tem.writing.signal_frames import boxes

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

    @property
    def _versions(self) -> tuple[str, str] | None:
        """The versions of HDF5 that can read the file, as h5py wants to be told."""
        # hexrd's metadata are attributes, which old files limit to 64 KiB
        return ("v108", "latest") if self.layout == "hexrd" else None

    def _corners(self, first: int) -> Iterator[tuple[int, ...]]:
        """Yield the indices where chunks begin, from that of a frame on."""
        for frame in range(first, math.prod(self.nav_shape), self.chunk[0]):
            nav = np.unravel_index(frame, self.nav_shape) if self.nav_shape else ()
            for row in range(0, self.shape[-2], self.chunk[1]):
                yield (*(int(i) for i in nav), row, 0)

    def _in_place(self, folder: str) -> FlatFile:
        import h5py

        if self.uncompressed is None:
            with h5py.File(os.path.join(folder, self.names[0]), "r") as file:
                offset = file[self._name].id.get_offset()
            stored = np.dtype((self.dtype, self.shape[-2:]))
            target = FlatFile(self.names[0], b"", stored, math.prod(self.nav_shape))
            target.offset = offset
            self.uncompressed = target
        return self.uncompressed

    def _compressed(self, frames: npt.NDArray[Any]) -> Iterator[tuple[bytes | memoryview, int]]:
        """Yield compressed chunks, and which filters were left out."""
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
                    yield zlib.compress(content.tobytes(), level), 0
            return
        if self.bitshuffled:  # likewise
            from rsciio_tem.kernels.codecs import pack_bitshuffle

            for first in range(0, len(frames), self.chunk[0]):
                whole = frames[first : first + self.chunk[0]]
                rows = range(0, self.shape[-2], self.chunk[1])
                parts = np.zeros((len(rows), *self.chunk), self.dtype)
                for part, row in zip(parts, rows, strict=True):
                    stored = whole[:, row : row + self.chunk[1]]
                    part[:, : stored.shape[1]] = stored
                content = parts.reshape(len(rows), -1).view(np.uint8)
                for chunk in pack_bitshuffle(content, self.dtype.itemsize):
                    yield chunk, 0
            return
        import h5py

        with h5py.File(uuid.uuid4().hex, "w", driver="core", backing_store=False) as file:
            data = file.create_dataset("data", data=frames, chunks=self.chunk, **self.filters)
            for first in range(0, len(frames), self.chunk[0]):
                for row in range(0, self.shape[-2], self.chunk[1]):
                    mask, packed = data.id.read_direct_chunk((first, row, 0))
                    yield packed, mask

    def _fill(self, file: Any) -> Any:
        """Write the structure of the file; return the data set."""
        make = {"emd": self._emd, "hexrd": self._hexrd}[self.layout]
        keywords: dict[str, Any] = dict(self.filters)
        if self.filters:
            chunk = (*(1,) * len(self.nav_shape), *self.chunk[1:])
            keywords["chunks"] = (
                (*chunk[:-3], self.chunk[0], *chunk[-2:]) if self.nav_shape else (chunk)
            )
        return make(file, keywords)

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
            UUID=str(uuid.uuid5(uuid.NAMESPACE_URL, self._identity())),
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
        group = root.create_group("rsciio_tem")  # without a type, so that EMD readers pass it by
        write_kept(group, self.frames, self.path)
        return data

    def _calibration(self, root: Any, axes: tuple[Mapping[str, Any], ...]) -> None:
        """Pixel sizes where py4DSTEM looks for them."""
        bundle = root.create_group("metadatabundle")
        bundle.attrs["emd_group_type"] = "metadatabundle"
        group = bundle.create_group("calibration")
        group.attrs.update(emd_group_type="metadata", python_class="Calibration")
        for letter, axis in (("R", axes[1]), ("Q", axes[3])):
            even = "axis" not in axis  # or else it has no one size
            size = group.create_dataset(f"{letter}_pixel_size", data=float(axis.get("scale", 1)))
            size.attrs["type"] = "number"
            units = group.create_dataset(
                f"{letter}_pixel_units", data=_units(axis) if even else "pixels"
            )
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

    def _identity(self) -> str:
        """Describe the data, for an identifier that is the same each time."""
        return f"{self.shape}{self.dtype.str}{sorted(self.frames.sources)}"


def write_kept(group: Any, frames: SignalFrames, path: str) -> None:
    """Keep in a group what belongs to the frames beside their pixels."""
    kept = kept_of(frames, path)
    for name, entry in kept.entries.items():
        group.create_dataset(name, data=_json(entry))
    for name, values in kept.arrays.items():
        group.create_dataset(
            name, data=values, chunks=True, compression="gzip", shuffle=True, track_times=False
        )


def _json(value: Any) -> bytes:
    """Return JSON in UTF-8; what that cannot say of a name is escaped."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")


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
    spellings = {"1/Å": "A^-1", "Å^-1": "A^-1", "1/nm": "nm^-1", "Å": "A"}
    return spellings.get(units, units)
