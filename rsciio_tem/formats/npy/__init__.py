# SPDX-License-Identifier: GPL-3.0-or-later
"""NumPy arrays: .npy, and the members of .npz archives.

Source: the format description in numpy's documentation (NEP 1); ``specifications/npy.ksy``. The
header is a Python literal; nothing is ever unpickled or evaluated.
"""

from __future__ import annotations

import ast
import io
import lzma
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Unpack

import numpy as np

from rsciio_tem.errors import (
    FormatError,
    NotEnoughMemory,
    NotThisFormat,
    Problem,
    Truncated,
    Unsupported,
)
from rsciio_tem.frames.arrays import ArrayFrames
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.parsing.checks import trailing_bytes
from rsciio_tem.parsing.zip_archives import is_frame_cache
from rsciio_tem.reading import navigator
from rsciio_tem.reading.options import CommonOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.scan.times import FrameTimes
from rsciio_tem.storage import backends, files, machine
from rsciio_tem.storage.backends import DataFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rsciio_tem.writing.signal_frames import SignalFrames
    from rsciio_tem.writing.target import Target

__all__ = ["CHECKS", "file_reader", "file_writer", "parse", "parse_header", "sniff", "target"]

MAGIC = b"\x93NUMPY"
#: numpy pads to 64 bytes; a header of a plain array has some 100, one of many fields a few kB.
_LARGEST_HEADER = 1 << 16
_ZIP_LOCAL = struct.Struct("<4sHHHHHIIIHH")  # local file header of a zip member


def parse_header(head: bytes, path: str) -> tuple[np.dtype[Any], bool, tuple[int, ...], int]:
    """Decode the header of a .npy.

    Parameters
    ----------
    head : bytes
        The beginning of the file, the header included.
    path : str
        For messages.

    Returns
    -------
    dtype, fortran_order, shape, offset
        `offset` is where the data begin.

    Raises
    ------
    NotThisFormat
        It is no .npy, or its header is damaged.
    Unsupported
        Elements are objects, records or text.
    """
    if head[:6] != MAGIC or len(head) < 10:
        raise NotThisFormat(path, f"is not a .npy file: it begins with {head[:8]!r}.")
    major = head[6]
    if major == 1:
        start, length = 10, struct.unpack_from("<H", head, 8)[0]
    elif major in (2, 3) and len(head) >= 12:
        start, length = 12, struct.unpack_from("<I", head, 8)[0]
    else:
        raise Unsupported(path, f"is a .npy of version {major}, known are 1 to 3.")
    if start + length > len(head) or length > _LARGEST_HEADER:
        raise Truncated(path, f"announces a header of {length} bytes, which is not there.")
    text = head[start : start + length].decode("utf-8" if major == 3 else "latin-1", "replace")
    try:
        if major < 3:  # Python 2 wrote sizes as 10L
            text = re.sub(r"(\d)L\b", r"\1", text)
        tree = ast.literal_eval(text.strip())
        descr, fortran, shape = tree["descr"], tree["fortran_order"], tree["shape"]
        dtype = np.lib.format.descr_to_dtype(descr)
    except (ValueError, SyntaxError, TypeError, KeyError, IndexError, MemoryError, RecursionError):
        raise NotThisFormat(path, f"has a damaged .npy header: {text[:80]!r}.") from None
    if (
        not isinstance(shape, tuple)
        or not isinstance(fortran, bool)
        or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape)
    ):
        raise NotThisFormat(path, f"has a damaged .npy header: {text[:80]!r}.")
    if len(shape) > 32:
        raise Unsupported(path, f"holds an array of {len(shape)} dimensions.")
    if dtype.hasobject:
        raise Unsupported(path, "holds pickled Python objects, which are never loaded.")
    if dtype.subdtype is not None:
        raise Unsupported(path, f"holds arrays {dtype} instead of numbers.")
    if dtype.kind not in "buifc":
        raise Unsupported(path, f"holds elements of type {dtype}, which are no pixels.")
    return dtype, fortran, shape, start + length


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise .npy by its magic, .npz by the names of its members."""
    if head[:6] == MAGIC:
        try:
            parse_header(head, path)
        except Truncated:
            return 0.6, "begins like a .npy", {}
        return 0.99, "begins with numpy's magic", {}
    if head[:4] == b"PK\x03\x04":
        if is_frame_cache(path, head):
            return None  # a sparse recording, whose very many arrays take long to list here
        try:
            names = _members(path)
        except FormatError:
            return None
        if not path.lower().endswith(".npz"):
            return None  # another format that happens to be an archive
        if names:
            return 0.6, f"is a zip archive of arrays: {', '.join(sorted(names)[:5])}", {}
    return None


def _members(path: str) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {i.filename[:-4]: i for i in archive.infolist() if i.filename.endswith(".npy")}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise NotThisFormat(path, f"is no readable .npz: {error}.") from error


def _member(path: str, key: str | None) -> tuple[str, zipfile.ZipInfo]:
    """Choose the member to read: the one named, or the largest."""
    found = _members(path)
    if key is not None:
        if key not in found:
            raise FormatError(path, f"has no array {key!r}.", f"It has {', '.join(found)}.")
        return key, found[key]
    if not found:
        raise NotThisFormat(path, "is a zip archive without arrays.")
    if is_frame_cache(path, b"PK\x03\x04"):
        raise NotThisFormat(
            path,
            "is a frame cache of hexrd, which stores frames as lists of pixels.",
            f"Name one of its {len(found)} arrays with key= to look at it.",
        )
    return max(found.items(), key=lambda item: item[1].file_size)


def _inside_zip(file: DataFile, info: zipfile.ZipInfo) -> int:
    """Return where the bytes of a stored member begin."""
    local = bytes(backends.read(file, info.header_offset, _ZIP_LOCAL.size, "auto"))
    magic, *_, name_length, extra_length = _ZIP_LOCAL.unpack(local)
    if magic != b"PK\x03\x04":
        raise NotThisFormat(file.path, f"has a damaged entry for {info.filename}.")
    return int(info.header_offset + _ZIP_LOCAL.size + name_length + extra_length)


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
    file = DataFile.of(path)
    head = files.read_start(path, _LARGEST_HEADER + 16)
    title = os.path.splitext(os.path.basename(path))[0]
    start, size, compressed = 0, file.size, None
    if head[:4] == b"PK\x03\x04":
        key, info = _member(path, key)
        title = f"{title} {key}"
        size = info.file_size
        if info.compress_type == zipfile.ZIP_STORED:
            start = _inside_zip(file, info)
            if start + size > file.size:
                raise Truncated(path, f"ends inside the array {key!r}.")
            head = bytes(backends.read(file, start, min(size, _LARGEST_HEADER + 16), "auto"))
        else:
            compressed = info
            with _open_member(path, info.filename) as member:
                head = member.read(_LARGEST_HEADER + 16)
    elif key is not None:
        raise FormatError(path, f"is a single array, not an archive with {key!r}.")
    dtype, fortran, shape, offset = parse_header(head, path)
    nbytes = math.prod(shape) * dtype.itemsize
    if offset + nbytes > size:
        raise Truncated(
            path,
            f"ends after {max(0, size - offset)} of the {nbytes} bytes that {shape} elements of "
            f"type {dtype} take.",
        )
    nav_shape, frame_shape = _divide(shape, sig_dims, sig_shape, fortran, path)
    frames: Frames
    if compressed is not None:
        frames = ArrayFrames(
            partial(_load_member, file, compressed.filename, offset, dtype.str, shape, fortran),
            nav_shape,
            frame_shape,
            dtype.newbyteorder("="),
        )
    elif fortran:
        frames = ArrayFrames(
            partial(_map_fortran, file, start + offset, dtype.str, shape),
            nav_shape,
            frame_shape,
            dtype.newbyteorder("="),
            detector_major=True,
        )
    else:
        pixels = Pixels(frame_shape, dtype)
        count = math.prod(nav_shape)
        frames = FrameTable((file,), runs_of([(0, start + offset, pixels.nbytes, count)]), pixels)
    hints = (ScanHint("header", nav_shape, 0.95, "shape of the array"),) if nav_shape else ()
    return Recording(
        format="npy",
        path=path,
        frames=frames,
        signal_axes=(Axis(),) * len(frame_shape),
        hints=hints,
        metadata={
            "General": {"title": title, "original_filename": os.path.basename(path)},
            "Signal": {"signal_type": ""},
        },
        original_metadata={
            "npy": {"descr": dtype.str, "fortran_order": fortran, "shape": list(shape)}
        },
        files=(path,),
    )


def _behind(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Tell what follows the array in its file; an archive has other members there."""
    if files.read_start(recording.path, 4) != b"PK\x03\x04":
        yield from trailing_bytes(recording, seen)


CHECKS = (_behind,)


def _divide(
    shape: tuple[int, ...],
    sig_dims: int | None,
    sig_shape: tuple[int, ...] | None,
    fortran: bool,
    path: str,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Divide the array's shape into scan and frame; -> nav_shape, frame_shape."""
    if math.prod(shape) == 0:
        raise FormatError(path, f"holds an empty array of shape {shape}.")
    if sig_shape is not None:
        frame = tuple(int(n) for n in sig_shape)
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


def _map_fortran(file: DataFile, offset: int, dtype: str, shape: tuple[int, ...]) -> Any:
    raw = backends.map_file(file)[offset : offset + math.prod(shape) * np.dtype(dtype).itemsize]
    return raw.view(dtype).reshape(shape, order="F")


@contextmanager
def _open_member(path: str, name: str) -> Iterator[IO[bytes]]:
    """Decompress a member as it is read; what it announces is never trusted."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as member:
            yield member
    except FormatError:
        raise
    except (
        *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
        *(OSError, ValueError, KeyError, RuntimeError, EOFError),
    ) as error:
        raise FormatError(path, f"the array {name} cannot be read: {error}.") from error


def _load_member(
    file: DataFile, name: str, offset: int, dtype: str, shape: tuple[int, ...], fortran: bool
) -> Any:
    """Decompress a whole member."""
    backends.read(file, 0, 4, "auto")  # checks that the file is still the one that was described
    size, free = math.prod(shape) * np.dtype(dtype).itemsize, machine.free_memory()
    if free is not None and size > 0.95 * free:
        raise NotEnoughMemory(
            file.path,
            f"{name} is compressed and takes {size / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB "
            "are free.",
            "Arrays saved without compression are read piece by piece.",
        )
    content = np.empty(size, np.uint8)
    done = 0
    with _open_member(file.path, name) as member:
        member.read(offset)
        while done < size and (piece := member.read(min(1 << 20, size - done))):
            content[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
            done += len(piece)
    if done < size:
        raise Truncated(file.path, f"ends inside the array {name}.")
    return content.view(dtype).reshape(shape, order="F" if fortran else "C")


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
        As in every reader, see ``docs/parameters.md``.
    sig_dims : int
        Number of axes of a frame, by default the last two.
    sig_shape : tuple of int
        Cut the array anew into frames of this shape.
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
        The file is no .npy or .npz.
    Truncated
        It ends before the array does.
    Unsupported
        It holds Python objects, which would have to be unpickled.
    """
    del distributed  # nothing is left to do for it
    listed = navigation_axes if not isinstance(navigation_axes, str) else None
    plain_axes = navigation_axes is None or listed is not None
    try:
        recording = parse(filename, sig_dims=sig_dims, sig_shape=sig_shape, key=key)
    except Unsupported as error:
        if "elements of type" not in error.problem or files.read_start(filename, 6) != MAGIC:
            raise
        # records, text and dates are no recordings: RosettaSciIO's reader knows them
        from rsciio.numpy import file_reader as upstream

        try:
            result = upstream(os.fspath(filename), lazy=lazy, chunks=chunks)
        except ValueError as damage:
            raise FormatError(filename, f"cannot be read: {damage}.") from damage
        return result  # type: ignore[no-any-return]
    frames = recording.frames
    if not lazy and isinstance(frames, ArrayFrames) and not frames.detector_major:
        array = frames.open()  # decompress once, not for each piece that is copied
        recording = replace(recording, frames=replace(frames, open=lambda: array))
    result = read(
        recording,
        lazy=lazy,
        chunks=chunks,
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )
    if plain_axes:
        axes = {int(i) for i in listed or ()}
        for i, axis in enumerate(result[0]["axes"]):
            axis["navigate"] = i in axes
        navigator.follow_axes(result[0])
    return result


# ---------------------------------------------------------------- writing


def target(frames: SignalFrames, path: str) -> Target:
    """Return what `rsciio_tem.convert` streams frames into: one .npy, version 1, C order."""
    from rsciio_tem.writing.target import Placed

    head = io.BytesIO()
    dtype = frames.dtype.newbyteorder("<")
    shape = (*frames.nav_shape, *frames.frame_shape)
    description = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, description)
    stored = np.dtype((dtype, frames.frame_shape))
    return Placed(os.path.basename(path), head.getvalue(), stored, len(frames))


def file_writer(
    filename: str | os.PathLike[str], signal: Mapping[str, Any], *, overwrite: bool = False
) -> None:
    """Write a signal as a .npy, piece by piece if it is lazy. Axes are not stored.

    Parameters
    ----------
    filename : str or path
        The file; it appears under its name when it is complete.
    signal : dict
        As RosettaSciIO's writers receive it.
    overwrite : bool
        Replace a file of this name. The recording that the signal was read from is never replaced.

    Raises
    ------
    FileExistsError
        There is such a file.
    """
    from rsciio_tem.writing.signal_frames import SignalFrames
    from rsciio_tem.writing.stream import write

    frames = SignalFrames.of(signal, "npy")
    write(target(frames, os.fspath(filename)), frames, filename, overwrite=overwrite)
