# SPDX-License-Identifier: GPL-3.0-or-later
"""NumPy arrays: .npy, and the members of .npz archives.

Source: the format description in numpy's documentation (NEP 1); ``specifications/npy.ksy``. The
header is a Python literal; nothing is ever unpickled or evaluated.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Unpack

import numpy as np

from rsciio_tem.errors import FormatError, Problem, Problems, Truncated, Unsupported
from rsciio_tem.formats.npy.archive import (
    ZIP,
    Packed,
    Stored,
    members,
    stored_member,
    text_member,
)
from rsciio_tem.formats.npy.header import LARGEST_HEADER, MAGIC, Header, parse_header
from rsciio_tem.formats.npy.writer import file_writer, target
from rsciio_tem.frames.arrays import ArrayFrames
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.parsing import nion
from rsciio_tem.parsing.checks import trailing_bytes
from rsciio_tem.parsing.metadata import general
from rsciio_tem.parsing.zip_archives import is_frame_cache
from rsciio_tem.reading import navigator
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.lazy import chunked
from rsciio_tem.reading.options import CommonOptions, sizes
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.scan.times import FrameTimes
from rsciio_tem.storage import backends, files
from rsciio_tem.storage.backends import DataFile

#: Bytes of a description beside an array at most.
_LONGEST_JSON = 1 << 22

__all__ = ["CHECKS", "file_reader", "file_writer", "parse", "parse_header", "sniff", "target"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise .npy by its magic, .npz by the names of its members."""
    if head[:6] == MAGIC:
        try:
            parse_header(head, path)
        except Truncated:
            return 0.6, "begins like a .npy", {}
        return 0.99, "begins with numpy's magic", {}
    if head[:4] == ZIP:
        if is_frame_cache(path, head):
            return None  # a sparse recording, whose very many arrays take long to list here
        try:
            names = members(path)
        except FormatError:
            return None
        if "data" in names and path.lower().endswith((".ndata", ".ndata1")):
            return 0.9, "is an archive of Nion Swift", {}
        if not path.lower().endswith(".npz"):
            return None  # another format that happens to be an archive
        if names:
            return 0.6, f"is a zip archive of arrays: {', '.join(sorted(names)[:5])}", {}
    return None


def parse(
    filename: str | os.PathLike[str],
    *,
    sig_dims: int | None = None,
    sig_shape: tuple[int, ...] | None = None,
    key: str | None = None,
) -> Recording:
    """Describe a .npy, or one array of a .npz; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    path = files.existing(filename)
    file, head = DataFile.of(path), files.read_start(path, LARGEST_HEADER)
    if head[:4] != ZIP and key is not None:
        raise FormatError(path, f"is a single array, not an archive with {key!r}.")
    problems = Problems()
    stored = stored_member(file, key, problems) if head[:4] == ZIP else Stored(head, file.size)
    header = parse_header(stored.head, path)
    dtype, fortran, shape, offset = header
    if offset + header.nbytes > stored.size:
        raise Truncated(
            path,
            f"ends after {max(0, stored.size - offset)} of the {header.nbytes} bytes that {shape} "
            f"elements of type {dtype} take.",
        )
    described, beside = _by_nion_swift(path, stored, len(shape))
    if described is not None and sig_dims is None and sig_shape is None:
        sig_dims = described.sig_dims
    nav_shape, frame_shape = _divide(shape, sig_dims, sig_shape, fortran, path)
    axes = (Axis(),) * (len(nav_shape) + len(frame_shape))
    if described is not None and (*nav_shape, *frame_shape) == shape:
        axes = described.axes
    stem = os.path.splitext(os.path.basename(path))[0]
    title = f"{stem} {stored.key}" if head[:4] == ZIP else None
    return Recording(
        format="npy",
        path=path,
        frames=_frames(file, stored, header, nav_shape, frame_shape),
        signal_axes=axes[len(nav_shape) :],
        scan_axes=axes[: len(nav_shape)],
        hints=(ScanHint("header", nav_shape, 0.95, "shape of the array", exact=True),)
        if nav_shape
        else (),
        metadata={
            "General": general(path, described.title if described else title or ""),
            "Signal": {"signal_type": ""},
        },
        original_metadata={
            "npy": {"descr": dtype.str, "fortran_order": fortran, "shape": list(shape)},
            **({"nion_swift": dict(described.tree)} if described else {}),
        },
        files=tuple(dict.fromkeys((path, beside))),
        problems=tuple(problems),
    )


def _by_nion_swift(path: str, stored: Stored, ndim: int) -> tuple[nion.Properties | None, str]:
    """Return what Nion Swift says of an array, in its archive or in a file beside it, and where."""
    if stored.key:
        inside = stored.key == "data"
        return nion.properties(text_member(path, "metadata.json"), ndim) if inside else None, path
    beside = os.path.splitext(path)[0] + ".json"
    if not files.is_file(beside) or files.bytes_of(beside) > _LONGEST_JSON:
        return None, path
    described = nion.properties(files.read_start(beside, _LONGEST_JSON), ndim)
    return described, beside if described else path


def _divide(
    shape: tuple[int, ...],
    sig_dims: int | None,
    sig_shape: tuple[int, ...] | None,
    fortran: bool,
    path: str,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Divide the array's shape into scan and frame; -> nav_shape, frame_shape."""
    if not shape:
        raise Unsupported(path, "holds a single value.")
    if math.prod(shape) == 0:
        raise FormatError(path, f"holds an empty array of shape {shape}.")
    if sig_shape is not None:
        frame = sizes("sig_shape", sig_shape)
        if sig_dims is not None and sig_dims != len(frame):
            raise ValueError(f"sig_dims={sig_dims} contradicts sig_shape={frame}")
        if shape[len(shape) - len(frame) :] == frame:
            return shape[: len(shape) - len(frame)], frame
        if any(n < 1 for n in frame) or fortran or math.prod(frame) > math.prod(shape):
            raise FormatError(
                path,
                f"an array of {shape}"
                + (" in Fortran order" if fortran else "")
                + f" cannot be cut into frames of {frame}.",
            )
        return (math.prod(shape) // math.prod(frame),), frame
    dims = min(2, len(shape)) if sig_dims is None else sig_dims
    if not 0 < dims <= len(shape):
        raise FormatError(path, f"sig_dims={sig_dims} for an array of {len(shape)} dimensions.")
    return shape[: len(shape) - dims], shape[len(shape) - dims :]


def _frames(
    file: DataFile,
    stored: Stored,
    header: Header,
    nav_shape: tuple[int, ...],
    frame_shape: tuple[int, ...],
) -> Frames:
    dtype, start = header.dtype.newbyteorder("="), stored.start + header.offset
    if stored.packed:
        return ArrayFrames(Packed(file, stored.packed, header), nav_shape, frame_shape, dtype)
    if header.fortran_order:
        load = partial(_map_fortran, file, start, header)
        return ArrayFrames(load, nav_shape, frame_shape, dtype, detector_major=True)
    pixels = Pixels(frame_shape, header.dtype)
    runs = runs_of([(0, start, pixels.nbytes, math.prod(nav_shape))])
    return FrameTable((file,), runs, pixels)


def _map_fortran(file: DataFile, start: int, header: Header) -> Any:
    raw = backends.map_file(file)[start : start + header.nbytes]
    return raw.view(header.dtype).reshape(header.shape, order="F")


def _behind(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Tell what follows the array in its file; an archive has other members there."""
    if files.read_start(recording.path, 4) != ZIP:
        yield from trailing_bytes(recording, seen)


CHECKS = (_behind,)


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
    sig_dims: int | None = None,
    sig_shape: tuple[int, ...] | None = None,
    navigation_axes: list[int] | tuple[int, ...] | str | None = "auto",
    key: str | None = None,
    **options: Unpack[CommonOptions],
) -> list[dict[str, Any]]:
    """Read an array.

    Parameters
    ----------
    filename : str or path
        A .npy of version 1 to 3, C or Fortran order, or a .npz.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
    sig_dims : int
        Number of axes of a frame, by default 2: the last two.
    sig_shape : tuple of int
        Reshape the array into frames of this shape.
    navigation_axes : list of int, None or "auto"
        As in `rsciio.numpy`: indices of the navigation axes; None or an empty list makes all
        axes signal axes. "auto" takes all but the last `sig_dims`.
    key : str
        Array of a .npz; by default the largest.
    **options
        `CommonOptions`.

    Returns
    -------
    list of one dict
        ``data`` in native byte order.

    Raises
    ------
    NotThisFormat
        The file is not a .npy or .npz.
    Truncated
        It ends before the end of the array.
    Unsupported
        It holds Python objects, which would have to be unpickled.
    """
    del distributed  # nothing is left to do for it
    try:
        recording = parse(filename, sig_dims=sig_dims, sig_shape=sig_shape, key=key)
    except Unsupported as error:
        others = ("elements of type", "single value")
        if not any(words in error.problem for words in others):
            raise
        if files.read_start(filename, 6) != MAGIC:
            raise
        return _by_rosettasciio(filename, lazy, chunks)
    frames = recording.frames
    if not lazy and isinstance(frames, ArrayFrames) and isinstance(frames.open, Packed):
        array = frames.open.whole()  # decompress once, not for each tile that is copied
        recording = replace(recording, frames=replace(frames, open=lambda: array))
    common = (lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame)
    (signal,) = read(recording, *common, options=options)
    if not isinstance(navigation_axes, str):
        chosen = {int(i) for i in navigation_axes or ()}
        for i, axis in enumerate(signal["axes"]):
            axis["navigate"] = i in chosen
        navigator.follow_axes(signal)
    return [signal]


def _by_rosettasciio(
    filename: str | os.PathLike[str], lazy: bool, chunks: Any
) -> list[dict[str, Any]]:
    """Read single values, records, text and dates, which are not recordings."""
    from rsciio.numpy import file_reader as upstream

    try:
        signals: list[dict[str, Any]] = upstream(os.fspath(filename))
        if lazy and (array := signals[0]["data"]).ndim:  # lazily, it fails on records
            stored = np.load(filename, mmap_mode="r", allow_pickle=False).reshape(array.shape)
            signals[0]["data"] = chunked(stored, chunks)
    except ValueError as damage:
        raise FormatError(filename, f"cannot be read: {damage}.") from damage
    return signals
