# SPDX-License-Identifier: GPL-3.0-or-later
"""Zarr arrays that frames are streamed into."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rsciio_tem.formats.zarr import ome
from rsciio_tem.formats.zarr.store import BESIDE, COMPLETE, newest_format, stored_array
from rsciio_tem.writing.kept import VERSION, kept_of
from rsciio_tem.writing.obstacles import TORN, store_obstacle
from rsciio_tem.writing.signal_frames import SignalFrames, boxes
from rsciio_tem.writing.stream import write_signal
from rsciio_tem.writing.target import Payloads, Target

__all__ = ["file_writer", "target"]

#: Bytes of pixels in a chunk, and in a shard (a file of version 3 that holds many chunks).
CHUNK, SHARD = 512 << 10, 64 << 20

#: The configuration of zarr 3 is that of the process.
_CONFIGURED = threading.Lock()


class _Array(Target):
    """The folder of one array, or of a group with an OME-Zarr image."""

    def __init__(self, path: str, frames: SignalFrames, version: int) -> None:
        import zarr

        frames.require_numbers("zarr")
        if version == 3 and newest_format() < 3:
            raise ValueError(
                f"zarr {zarr.__version__} writes version 2 only; pip install 'zarr>=3' for 3"
            )
        self.names = (os.path.basename(path),)
        self.version, self.nav_shape = version, frames.nav_shape
        self.shape = (*frames.nav_shape, *frames.frame_shape)
        self.dtype = frames.dtype.newbyteorder("<")
        per_chunk, lines, per_shard = _layout(frames.nav_shape, frames.frame_bytes)
        nav = len(frames.nav_shape)
        ones = (1,) * max(0, nav - 2)
        self.chunks = (*(*ones, 1, per_chunk)[len(ones) + 2 - nav :], *frames.frame_shape)
        self.shards = (*(*ones, lines, per_shard)[len(ones) + 2 - nav :], *frames.frame_shape)
        self.frames_per_block = lines * per_shard if version == 3 else per_chunk
        self.path, self.frames = path, frames
        self.identity = {"kept": VERSION}
        self.image = ome.OmeImage(frames, path) if ome.is_ome(path) else None

    def _array(self, folder: str) -> str:
        """Return the path of the array."""
        path = os.path.join(folder, self.names[0])
        return path if self.image is None else os.path.join(path, ome.ARRAY)

    def create(self, folder: str) -> None:
        """Make the folder without chunks."""
        import numcodecs
        import zarr

        path = self._array(folder)
        if self.image is not None:
            group = _new_group(os.path.dirname(path), self.version)
            group.attrs.update(self.image.attributes(self.version))
        shape: dict[str, Any] = {"shape": self.shape, "dtype": self.dtype, "chunks": self.chunks}
        blosc = numcodecs.Blosc(cname="lz4", clevel=5, shuffle=numcodecs.Blosc.BITSHUFFLE)
        if newest_format() < 3:
            array = zarr.open(path, mode="w", compressor=blosc, dimension_separator="/", **shape)
        elif self.version == 2:
            slashes = {"name": "v2", "separator": "/"}
            array = zarr.create_array(
                path, compressors=blosc, chunk_key_encoding=slashes, zarr_format=2, **shape
            )
        else:
            codec = zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")
            array = zarr.create_array(
                path,
                compressors=codec,
                shards=self.shards,
                zarr_format=3,
                dimension_names=self.image.names if self.image else _dimension_names(self.frames),
                **shape,
            )
        kept = kept_of(self.frames, self.path)
        array.attrs.update({**kept.entries, COMPLETE: True})
        if not kept.arrays:
            return
        group = _new_group(os.path.join(path, BESIDE), self.version)
        for name, values in kept.arrays.items():
            if newest_format() > 2:
                group.create_array(name, data=values)
            else:
                group.create_dataset(name, data=values, compressor=blosc)

    def take_up(self, folder: str, payloads: Payloads) -> None:
        """Remove what was torn when zarr was killed: it would become part of the store."""
        del payloads
        for below, _, names in os.walk(os.path.join(folder, self.names[0])):
            for name in filter(TORN.fullmatch, names):
                os.unlink(os.path.join(below, name))

    def put(self, folder: str, first: int, frames: npt.NDArray[Any]) -> None:
        """Write whole chunks."""
        array = _writable(self._array(folder))
        done = 0
        for box in boxes(first, first + len(frames), self.nav_shape):
            shape = tuple(len(range(*s.indices(n))) for s, n in zip(box, self.nav_shape))  # noqa: B905
            count = math.prod(shape)
            part = frames[done : done + count].reshape(*shape, *self.shape[-2:])
            array[(*box, slice(None), slice(None))] = part
            done += count

    def obstacle(self, path: str) -> str:
        """Say why what has the name of the folder is not replaced by it."""
        return store_obstacle(path)

    def read(self, folder: str, first: int, count: int) -> npt.NDArray[Any]:
        """Read frames."""
        array = stored_array(self._array(folder)).open()
        covered = boxes(first, first + count, self.nav_shape)
        frames = np.concatenate([array[box].reshape(-1, *self.shape[-2:]) for box in covered])
        return frames.astype(frames.dtype.newbyteorder("="), copy=False)


def _new_group(path: str, version: int) -> Any:
    """Make a group."""
    import zarr

    format = {"zarr_format": version} if newest_format() > 2 else {}
    return zarr.open_group(path, mode="w", **format)


def _dimension_names(frames: SignalFrames) -> list[str | None]:
    """Return the names of the axes, by which xarray and viewers tell them apart."""
    names = [str(axis.get("name") or "") for axis in (*frames.nav_axes, *frames.sig_axes)]
    return [name if name and names.count(name) == 1 else None for name in names]


def _writable(path: str) -> Any:
    """Open an array that also gets files for chunks of zeros, so that a missing one is a loss.

    zarr 2 does so by itself; zarr 3 looks into its configuration when an array is opened.
    """
    import zarr

    if newest_format() < 3:
        return zarr.open(path, mode="r+")
    with _CONFIGURED, zarr.config.set({"array.write_empty_chunks": True}):
        return zarr.open(path, mode="r+")


def _layout(nav_shape: tuple[int, ...], frame_bytes: int) -> tuple[int, int, int]:
    """Return frames of a line in a chunk; lines, and frames of each, in a shard."""
    rows, columns = (1, 1, *nav_shape)[-2:]
    frame_bytes = max(1, frame_bytes)
    per_chunk = _divisor(columns, CHUNK // frame_bytes)
    # a shard: whole chunks of a line, or whole lines
    per_shard = per_chunk * _divisor(columns // per_chunk, SHARD // (frame_bytes * per_chunk))
    whole = per_shard == columns
    lines = _divisor(rows, SHARD // (frame_bytes * columns)) if whole else 1
    return per_chunk, lines, per_shard


def _divisor(size: int, most: int) -> int:
    """Return the largest divisor of `size` that is not above `most`, at least 1."""
    return next(n for n in range(max(1, min(size, most)), 0, -1) if size % n == 0)


def target(frames: SignalFrames, path: str, *, zarr_format: Literal[2, 3] | None = None) -> Target:
    """Return what `rsciio_tem.convert` streams frames into.

    Parameters
    ----------
    frames : SignalFrames
        What is written.
    path : str
        The new folder. If its name ends with ``.ome.zarr``, it becomes an OME-Zarr image.
    zarr_format : {2, 3}
        Version; 3 stores many chunks in a file (a shard). By default 3 if zarr 3 is installed.
    """
    try:
        newest = newest_format()
    except ImportError as error:
        raise ValueError("the package zarr is not installed: pip install zarr") from error
    if zarr_format not in (None, 2, 3):
        raise ValueError(f"zarr_format={zarr_format!r} is neither 2 nor 3")
    return _Array(path, frames, zarr_format or newest)


def file_writer(
    filename: str | os.PathLike[str],
    signal: Mapping[str, Any],
    *,
    zarr_format: Literal[2, 3] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a signal as a Zarr array, piece by piece if it is lazy.

    Parameters
    ----------
    filename : str or path
        The new folder; it appears under its name when it is complete. If its name ends with
        ``.ome.zarr``, it is an OME-Zarr image, for images and stacks of images.
    signal : dict
        As RosettaSciIO's writers receive it.
    zarr_format : {2, 3}
        Version; by default 3 if zarr 3 is installed.
    overwrite : bool
        Replace a folder of this name. The recording that the signal was read from is never
        replaced.

    Raises
    ------
    FileExistsError
        The folder exists.
    """
    write_signal(target, filename, signal, "zarr", overwrite, zarr_format=zarr_format)
