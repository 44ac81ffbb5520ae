# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays in .npz archives: those that are stored are read in place, others decompressed whole."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

import numpy as np

from rsciio_tem.errors import FormatError, NotEnoughMemory, NotThisFormat, Truncated
from rsciio_tem.formats.npy.header import LARGEST_HEADER, Header
from rsciio_tem.parsing.zip_archives import is_frame_cache
from rsciio_tem.storage import backends, machine
from rsciio_tem.storage.backends import DataFile

ZIP = b"PK\x03\x04"
_LOCAL = struct.Struct("<4sHHHHHIIIHH")  # local file header of a zip member


class Stored(NamedTuple):
    """The bytes of a .npy: a file of its own, or in an archive.

    Parameters
    ----------
    head : bytes
        The first of them.
    size : int
        How many there are.
    start : int
        Where they begin in the file.
    key : str
        Name of the array in an archive.
    packed : str
        Name of the member if it is compressed.
    """

    head: bytes
    size: int
    start: int = 0
    key: str = ""
    packed: str = ""


def members(path: str) -> dict[str, zipfile.ZipInfo]:
    """List the arrays of an archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {i.filename[:-4]: i for i in archive.infolist() if i.filename.endswith(".npy")}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise NotThisFormat(path, f"is no readable .npz: {error}.") from error


def stored_member(file: DataFile, key: str | None) -> Stored:
    """Return where the array of a name is, by default the largest."""
    key, info = _member(file.path, key)
    if info.compress_type != zipfile.ZIP_STORED:
        with _opened(file.path, info.filename) as member:
            return Stored(member.read(LARGEST_HEADER), info.file_size, 0, key, info.filename)
    start = _inside(file, info)
    if start + info.file_size > file.size:
        raise Truncated(file.path, f"ends inside the array {key!r}.")
    head = bytes(backends.read(file, start, min(info.file_size, LARGEST_HEADER), "auto"))
    return Stored(head, info.file_size, start, key)


def _member(path: str, key: str | None) -> tuple[str, zipfile.ZipInfo]:
    """Choose the member to read: the one named, or the largest."""
    arrays = members(path)
    if key is not None and key not in arrays:
        raise FormatError(path, f"has no array {key!r}.", f"It has {', '.join(arrays)}.")
    if key is not None:
        return key, arrays[key]
    if not arrays:
        raise NotThisFormat(path, "is a zip archive without arrays.")
    if is_frame_cache(path, ZIP):
        raise NotThisFormat(
            path,
            "is a frame cache of hexrd, which stores frames as lists of pixels.",
            f"Name one of its {len(arrays)} arrays with key= to look at it.",
        )
    return max(arrays.items(), key=lambda item: item[1].file_size)


def _inside(file: DataFile, info: zipfile.ZipInfo) -> int:
    """Return where the bytes of a stored member begin."""
    local = bytes(backends.read(file, info.header_offset, _LOCAL.size, "auto"))
    magic, *_, name_length, extra_length = _LOCAL.unpack(local)
    if magic != ZIP:
        raise NotThisFormat(file.path, f"has a damaged entry for {info.filename}.")
    return int(info.header_offset + _LOCAL.size + name_length + extra_length)


@contextmanager
def _opened(path: str, name: str) -> Iterator[IO[bytes]]:
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


def load_member(file: DataFile, name: str, header: Header) -> Any:
    """Decompress a whole member."""
    backends.read(file, 0, 4, "auto")  # checks that the file is still the one that was described
    size, free = header.nbytes, machine.free_memory()
    if free is not None and size > 0.95 * free:
        raise NotEnoughMemory(
            file.path,
            f"{name} is compressed and takes {size / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB "
            "are free.",
            "Arrays saved without compression are read piece by piece.",
        )
    content = np.empty(size, np.uint8)
    done = 0
    with _opened(file.path, name) as member:
        member.read(header.offset)
        while done < size and (block := member.read(min(1 << 20, size - done))):
            content[done : done + len(block)] = np.frombuffer(block, np.uint8)
            done += len(block)
    if done < size:
        raise Truncated(file.path, f"ends inside the array {name}.")
    return content.view(header.dtype).reshape(
        header.shape, order="F" if header.fortran_order else "C"
    )
