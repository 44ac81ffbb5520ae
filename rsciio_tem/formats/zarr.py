# SPDX-License-Identifier: GPL-3.0-or-later
"""Zarr arrays, versions 2 and 3: folders that hold one array each, and its axes.

The bytes are read and written by the ``zarr`` package, which need not be installed otherwise.
``specifications/zarr.md`` says what our arrays hold besides pixels. HyperSpy's ``.zspy`` folders
are RosettaSciIO's.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Unpack

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Unsupported
from rsciio_tem.parsing.checks import Check
from rsciio_tem.parsing.text import to_number
from rsciio_tem.reading.from_array import recording_of
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.writing import signal_frames
from rsciio_tem.writing.stream import write
from rsciio_tem.writing.target import Target

__all__ = ["CHECKS", "file_reader", "file_writer", "is_store", "parse", "sniff", "target"]

#: Files that describe an array or a group, of versions 2 and 3.
DESCRIPTIONS = (".zarray", ".zgroup", "zarr.json")


#: Bytes of pixels in a chunk, and in a shard (a file of version 3 that holds many chunks).
CHUNK, SHARD = 512 << 10, 64 << 20


def is_store(path: str) -> bool:
    """Whether a path is the folder of a Zarr array or group."""
    return any(os.path.isfile(os.path.join(path, name)) for name in DESCRIPTIONS)


def _array(path: str, name: str | None) -> Any:
    """Open an array of a store with the zarr package."""
    try:
        import zarr
    except ImportError as error:
        raise Unsupported(
            path, "is a Zarr store, and the package zarr is not installed.", "pip install zarr"
        ) from error
    try:
        node = zarr.open(path, mode="r")
    except Exception as error:  # whatever stores and codecs raise
        raise FormatError(path, f"cannot be opened as a Zarr store: {error!r}.") from error
    if hasattr(node, "shape"):
        return node
    arrays = {key: array for key, array in _arrays(node).items() if array.dtype.kind in "biufc"}
    if name is None and arrays:
        name = max(arrays, key=lambda key: (min(arrays[key].ndim, 4), arrays[key].size))
    if name not in arrays:
        raise FormatError(
            path,
            "has no array with pixels." if name is None else f"has no array {name!r}.",
            f"Pass dataset= one of {', '.join(arrays)}." if arrays else "",
        )
    return arrays[name]


def _arrays(node: Any, prefix: str = "") -> dict[str, Any]:
    """List the arrays of a group and of the groups in it."""
    found = {f"{prefix}{name}": array for name, array in node.arrays()}
    for name, group in node.groups():
        found |= _arrays(group, f"{prefix}{name}/")
    return found


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Say whether a folder is a Zarr array or group; HyperSpy's own are RosettaSciIO's."""
    del head
    if not is_store(path) or path.rstrip("/\\").lower().endswith(".zspy"):
        return None
    return 1.0, "a folder that describes a Zarr array or group", {}


def parse(path: str | os.PathLike[str], *, dataset: str | None = None) -> Recording:
    """Describe an array; `file_reader` explains the keywords and errors."""
    name = os.fspath(path)
    if not is_store(name):
        raise NotThisFormat(name, "is no folder of a Zarr array or group.")
    array = _array(name, dataset)
    attributes = dict(array.attrs)
    axes = attributes.get("axes")
    if not isinstance(axes, list) or len(axes) != array.ndim:
        axes = []
    known = [_axis(axis) for axis in axes]
    count = max(0, array.ndim - 2)
    if any(isinstance(axis, Mapping) and "navigate" in axis for axis in axes):
        scanned = [bool(isinstance(axis, Mapping) and axis.get("navigate")) for axis in axes]
        if not all(scanned) and scanned == sorted(scanned, reverse=True):  # as frames are
            count = sum(scanned)
    base = os.path.basename(name.rstrip("/\\"))
    recording = recording_of(array, sig_dims=array.ndim - count)
    return replace(
        recording,
        format="zarr",
        path=name,
        files=(name,),
        signal_axes=tuple(known[count:]) or recording.signal_axes,
        scan_axes=tuple(known[:count]),
        metadata={
            "General": {"title": os.path.splitext(base)[0], "original_filename": base},
            "Signal": {"signal_type": ""},
        },
        original_metadata={"attributes": attributes},
    )


def _axis(described: Any) -> Axis:
    """Return an axis as `convert` describes it in the attributes of an array."""
    if not isinstance(described, Mapping):
        return Axis()
    scale, offset = (to_number(described.get(name)) for name in ("scale", "offset"))
    return Axis(
        name=str(described.get("name") or ""),
        units=str(described.get("units") or ""),
        scale=scale if scale and math.isfinite(scale) else 1.0,
        offset=offset if offset is not None and math.isfinite(offset) else 0.0,
    )


CHECKS: tuple[Check, ...] = ()


def file_reader(
    filename: str | os.PathLike[str],
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: int | tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool | None = None,
    *,
    dataset: str | None = None,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read an array.

    Parameters
    ----------
    filename : str or path
        The folder.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``. Without a shape that of the array is kept.
    dataset : str, optional
        Array of a group; by default the one with most axes, up to four, and most pixels.
    **options
        `ReadOptions`.

    Returns
    -------
    list of one dict
        ``data`` has the shape of the array.

    Raises
    ------
    NotThisFormat
        It is no folder of an array or group.
    Unsupported
        The package zarr is not installed.
    FormatError
        The array cannot be opened, or there is none with pixels.
    """
    del distributed  # every lazy signal works on a cluster
    return read(
        parse(filename, dataset=dataset),
        lazy=lazy,
        chunks=chunks,
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )


# ---------------------------------------------------------------- writing


class _Array(Target):
    """The folder of one array."""

    def __init__(self, path: str, frames: signal_frames.SignalFrames, version: int) -> None:
        import zarr

        if version == 3 and int(zarr.__version__.split(".")[0]) < 3:
            raise ValueError(
                f"zarr {zarr.__version__} writes version 2 only; pip install 'zarr>=3' for 3"
            )
        self.names = (os.path.basename(path),)
        self.version, self.nav_shape = version, frames.nav_shape
        self.shape = (*frames.nav_shape, *frames.frame_shape)
        self.dtype = frames.dtype.newbyteorder("<")
        columns = frames.nav_shape[-1] if frames.nav_shape else 1
        per_chunk = _divisor(columns, CHUNK // max(1, frames.frame_bytes))
        # a shard: whole chunks of a line, or whole lines
        per_shard = per_chunk * _divisor(
            columns // per_chunk, SHARD // max(1, frames.frame_bytes * per_chunk)
        )
        rows = frames.nav_shape[-2] if len(frames.nav_shape) > 1 else 1
        lines = 1
        if per_shard == columns:
            lines = _divisor(rows, SHARD // max(1, frames.frame_bytes * columns))
        ones = (1,) * max(0, len(self.nav_shape) - 2)
        nav = len(self.nav_shape)
        self.chunks = (*(*ones, 1, per_chunk)[-nav:][: nav or None], *frames.frame_shape)
        self.shards = (*(*ones, lines, per_shard)[-nav:][: nav or None], *frames.frame_shape)
        if not nav:
            self.chunks = self.shards = frames.frame_shape
        self.frames_per_block = lines * per_shard if version == 3 else per_chunk
        self.attributes = json.loads(
            json.dumps(
                {
                    "axes": [
                        {k: axis.get(k) for k in ("name", "units", "scale", "offset", "navigate")}
                        for axis in (*frames.nav_axes, *frames.sig_axes)
                    ],
                    "metadata": frames.metadata,
                    "original_metadata": frames.original_metadata,
                },
                default=str,
            )
        )

    def create(self, folder: str) -> None:
        """Make the folder without chunks."""
        import zarr

        path = os.path.join(folder, self.names[0])
        if int(zarr.__version__.split(".")[0]) >= 3:
            codec: Any
            if self.version == 3:
                codec = zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")
            else:
                import numcodecs

                codec = numcodecs.Blosc(cname="lz4", clevel=5, shuffle=numcodecs.Blosc.BITSHUFFLE)
            array = zarr.create_array(
                path,
                shape=self.shape,
                dtype=self.dtype,
                chunks=self.chunks,
                shards=self.shards if self.version == 3 else None,
                compressors=codec,
                zarr_format=self.version,
            )
        else:
            import numcodecs

            array = zarr.open(
                path,
                mode="w",
                shape=self.shape,
                dtype=self.dtype,
                chunks=self.chunks,
                compressor=numcodecs.Blosc(
                    cname="lz4", clevel=5, shuffle=numcodecs.Blosc.BITSHUFFLE
                ),
                dimension_separator="/",
            )
        array.attrs.update(self.attributes)

    def put(self, folder: str, first: int, frames: npt.NDArray[Any]) -> None:
        """Write whole chunks."""
        import zarr

        array = zarr.open(os.path.join(folder, self.names[0]), mode="r+")
        done = 0
        for box in signal_frames.boxes(first, first + len(frames), self.nav_shape):
            shape = tuple(len(range(*s.indices(n))) for s, n in zip(box, self.nav_shape))  # noqa: B905
            count = math.prod(shape)
            part = frames[done : done + count].reshape(*shape, *self.shape[-2:])
            array[(*box, slice(None), slice(None))] = part
            done += count

    def read(self, folder: str, first: int, count: int) -> npt.NDArray[Any]:
        """Read frames."""
        array = _array(os.path.join(folder, self.names[0]), None)
        boxes = signal_frames.boxes(first, first + count, self.nav_shape)
        frames = np.concatenate([array[box].reshape(-1, *self.shape[-2:]) for box in boxes])
        return frames.astype(frames.dtype.newbyteorder("="), copy=False)


def _divisor(size: int, most: int) -> int:
    """Return the largest divisor of `size` that is not above `most`, at least 1."""
    return next(n for n in range(max(1, min(size, most)), 0, -1) if size % n == 0)


def target(
    frames: signal_frames.SignalFrames, path: str, *, zarr_format: Literal[2, 3] | None = None
) -> Target:
    """Return what `rsciio_tem.convert` streams frames into.

    Parameters
    ----------
    frames : SignalFrames
        What is written.
    path : str
        The new folder.
    zarr_format : {2, 3}
        Version; 3 stores many chunks in a file (a shard). By default 3 if zarr 3 is installed.
    """
    try:
        import zarr
    except ImportError as error:
        raise ValueError("the package zarr is not installed: pip install zarr") from error
    newest = 3 if int(zarr.__version__.split(".")[0]) >= 3 else 2
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
        The new folder; it appears under its name when it is complete.
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
        There is such a folder.
    """
    frames = signal_frames.SignalFrames.of(signal, "zarr")
    made = target(frames, os.fspath(filename), zarr_format=zarr_format)
    write(made, frames, filename, overwrite=overwrite)
