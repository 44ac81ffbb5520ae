# SPDX-License-Identifier: GPL-3.0-or-later
"""Zarr arrays, versions 2 and 3: folders that hold one array each, and its axes.

The bytes are read and written by the ``zarr`` package, which need not be installed otherwise.
``specifications/zarr.md`` says what our arrays hold besides pixels. HyperSpy's ``.zspy`` folders
are RosettaSciIO's.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any, Unpack

import numpy as np

from rsciio_tem.errors import NotThisFormat, Problem, Problems
from rsciio_tem.formats.zarr.frames import StoreFrames
from rsciio_tem.formats.zarr.store import (
    COMPLETE,
    Opener,
    StoredArray,
    count_files,
    folder_of,
    is_store,
    kept_beside,
    stored_array,
)
from rsciio_tem.formats.zarr.writer import file_writer, target
from rsciio_tem.parsing.kept import axes_of, restored
from rsciio_tem.parsing.metadata import general
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.scan.times import FrameTimes
from rsciio_tem.storage import files

__all__ = ["CHECKS", "file_reader", "file_writer", "is_store", "parse", "sniff", "target"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Say whether a folder is a Zarr array or group; HyperSpy's own are RosettaSciIO's.

    The files that describe it stand for it.
    """
    del head
    folder = folder_of(path)
    if not is_store(folder) or folder.lower().endswith(".zspy"):
        return None
    return 1.0, "is a folder that describes a Zarr array or group", {}


def parse(filename: str | os.PathLike[str], *, dataset: str | None = None) -> Recording:
    """Describe an array; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    path = folder_of(filename)
    if not is_store(path):
        if not os.path.isdir(path):
            files.existing(path)  # or else an error that says so
        raise NotThisFormat(path, "is not a folder of a Zarr array or group.")
    problems = Problems()
    stored = stored_array(path, dataset)
    array, shape = stored.array, tuple(int(n) for n in stored.array.shape)
    chunks, attributes = tuple(int(n) for n in array.chunks), stored.attributes
    _tell_others(stored, problems)
    described = attributes.get("axes")
    described = described if isinstance(described, list) and len(described) == len(shape) else []
    kept = kept_beside(stored)
    axes = axes_of(kept, (Axis(),) * len(shape))
    count = _scan_axes(described, len(shape))
    nav_shape, frame_shape = shape[:count], shape[count:]
    native = np.dtype(array.dtype).newbyteorder("=")
    recording = Recording(
        format="zarr",
        path=path,
        frames=StoreFrames(stored.open, nav_shape, frame_shape, native, chunks=chunks),
        signal_axes=tuple(axes[count:]),
        scan_axes=tuple(axes[:count]),
        hints=(ScanHint("header", nav_shape, 1.0, "shape of the array", exact=True),)
        if nav_shape
        else (),
        metadata={"General": general(os.path.normpath(path)), "Signal": {"signal_type": ""}},
        original_metadata={
            "attributes": {
                k: v
                for k, v in attributes.items()
                if k == "axes" or (k not in kept.entries and k != COMPLETE)
            },
            "zarr": {
                "array": stored.name,
                "shape": list(shape),
                "chunks": list(chunks),
                "dtype": str(array.dtype),
                "others": list(stored.others),
            },
        },
        files=(path,),
        problems=tuple(problems),
    )
    return restored(recording, kept, nav_shape)


def _tell_others(stored: StoredArray, problems: Problems) -> None:
    if not stored.others:
        return
    listed = ", ".join(stored.others[:5]) + (", …" if len(stored.others) > 5 else "")
    message = f"{stored.name} is read, not {listed}."
    problems.append(Problem("info", message, "dataset= chooses."))


def _scan_axes(described: list[Any], ndim: int) -> int:
    """Return how many axes are those of the scan: as the attributes say, or all but two."""
    if any(isinstance(axis, Mapping) and "navigate" in axis for axis in described):
        scanned = [bool(isinstance(axis, Mapping) and axis.get("navigate")) for axis in described]
        if not all(scanned) and scanned == sorted(scanned, reverse=True):  # as frames are
            return sum(scanned)
    return max(0, ndim - 2)


def _missing_chunks(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Tell chunks, or whole shards, that are not stored."""
    del seen
    frames = recording.frames
    assert isinstance(frames, StoreFrames)
    assert isinstance(frames.open, Opener)
    values = frames.open()
    array = values.array
    if values.is_complete:
        names = list(values.chunk_files())
        lost = [n for n in names if not os.path.exists(os.path.join(frames.open.path, n))]
        if lost:
            listed = ", ".join(lost[:3]) + (", …" if len(lost) > 3 else "")
            yield Problem(
                "error",
                f"{len(lost)} of {len(names)} files of chunks are lost: {listed}.",
                "Copy the store again.",
            )
        return
    stored = getattr(array, "shards", None) or array.chunks
    count = math.prod(-(-n // k) for n, k in zip(array.shape, stored, strict=True))
    if (missing := count - count_files(frames.open.path)) > 0:
        yield Problem(
            "info",
            f"{missing} of {count} files of chunks are not there, and read as the fill value.",
            "They were never written, or hold nothing else.",
        )


CHECKS = (_missing_chunks,)


@documented
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
    dataset: str | None = None,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read an array.

    Parameters
    ----------
    filename : str or path
        The folder; or the file in it that describes the array or group, ``.zarray``, ``.zgroup``
        or ``zarr.json``.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
    dataset : str, optional
        Array of a group, or a group in it; by default the one with the most axes, up to four, and
        the most pixels. The others are listed.
    **options
        `ReadOptions`. Without a shape, the array keeps its own.

    Returns
    -------
    list of one dict
        ``data`` has the shape of the array.

    Raises
    ------
    NotThisFormat
        It is not a folder of an array or group.
    Unsupported
        The package zarr is not installed, or too old for the store.
    FormatError
        The array cannot be opened, no array has pixels, or a chunk is damaged. Missing chunks are
        not an error: they read as the fill value of the array.
    """
    del distributed  # nothing is left to do for it
    recording = parse(filename, dataset=dataset)
    common = (lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame)
    return read(recording, *common, options=options)
