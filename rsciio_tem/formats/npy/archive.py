# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays in .npz archives: those that are stored are read in place, others as they are inflated."""

from __future__ import annotations

import lzma
import math
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import (
    FormatError,
    NotEnoughMemory,
    NotThisFormat,
    Problems,
    Truncated,
    Unsupported,
)
from rsciio_tem.formats.npy.header import LARGEST_HEADER, Header, parse_header
from rsciio_tem.parsing.zip_archives import is_frame_cache
from rsciio_tem.storage import backends, files, inflate, machine
from rsciio_tem.storage.backends import DataFile
from rsciio_tem.storage.identities import cached

#: Bytes of a description at most.
_LONGEST_JSON = 1 << 22

ZIP = b"PK\x03\x04"
_LOCAL = struct.Struct("<4sHHHHHIIIHH")  # local file header of a zip member


#: Names of the arrays of which a sparse one consists, and the package that saved it.
_SPARSE = (
    (frozenset(("coords", "data", "shape", "fill_value")), "sparse"),
    *(
        (frozenset((*names, "data", "shape", "format")), "scipy.sparse")
        for names in (("indices", "indptr"), ("row", "col"), ("offsets",))
    ),
)
#: Of archives of more arrays the headers are not looked at, and the largest is taken.
_MOST_HEADERS = 100
#: What counts for an array whose header cannot be read.
_DAMAGED = -1
#: Bytes that are inflated at a time, and members that are being inflated at most.
_PIECE, _STREAMS = 1 << 20, 3
#: Rows and columns of a frame at least.
_LEAST_FRAME = 4


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
        with zipfile.ZipFile(files.openable(path)) as archive:
            return {i.filename[:-4]: i for i in archive.infolist() if i.filename.endswith(".npy")}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise NotThisFormat(path, f"is not a readable .npz: {error}.") from error


def stored_member(file: DataFile, key: str | None, problems: Problems) -> Stored:
    """Return where the array of a name is, by default the one that looks most like a recording."""
    key, info = _member(file, key, problems)
    if info.compress_type != zipfile.ZIP_STORED:
        with _opened(file.path, info.filename) as member:
            return Stored(member.read(LARGEST_HEADER), info.file_size, 0, key, info.filename)
    start = _inside(file, info)
    if start + info.file_size > file.size:
        raise Truncated(file.path, f"ends inside the array {key!r}.")
    head = bytes(backends.read(file, start, min(info.file_size, LARGEST_HEADER), "auto"))
    return Stored(head, info.file_size, start, key)


def _member(file: DataFile, key: str | None, problems: Problems) -> tuple[str, zipfile.ZipInfo]:
    """Choose the member to read: the one named, or the best."""
    path = file.path
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
    sparse = next((name for keys, name in _SPARSE if keys <= arrays.keys()), None)
    if sparse is not None:
        raise Unsupported(
            path,
            f"is a sparse array, saved by {sparse}.",
            f"Load it with {sparse}.load_npz, and pass its dense form to rsciio_tem.from_array; "
            f"key= reads one of its lists {', '.join(arrays)}.",
        )
    if len(arrays) == 1 or len(arrays) > _MOST_HEADERS:
        return max(arrays.items(), key=lambda item: item[1].file_size)
    ranks = {name: _rank(path, info) for name, info in arrays.items()}
    best, *others = sorted(arrays, key=lambda name: ranks[name], reverse=True)
    damaged = [name for name in others if ranks[name][0] == _DAMAGED]
    if damaged and ranks[damaged[0]][1] > ranks[best][1]:
        return damaged[0], arrays[damaged[0]]  # rather an error than another array
    alike = [name for name in others if ranks[name][0] == ranks[best][0]]
    alike = [name for name in alike if 2 * ranks[name][1] > ranks[best][1]]
    listed = ", ".join((alike or others)[:5])
    if alike and ranks[best][0] > 0:
        problems.warn(
            f"holds several arrays of the same kind; {best} is read, not {listed}.",
            "Pass key= to choose.",
        )
    else:
        problems.info(f"{best} is read, not {listed}.", "key= chooses.")
    return best, arrays[best]


def _rank(path: str, info: zipfile.ZipInfo) -> tuple[int, int]:
    """Return what decides between arrays: scans of frames before stacks, these before images."""
    try:
        with _opened(path, info.filename) as member:
            header = parse_header(member.read(LARGEST_HEADER), path)
    except Unsupported:  # text, objects
        return -2, info.file_size
    except FormatError:
        return _DAMAGED, info.file_size
    shape = header.shape
    if len(shape) == 4 and min(shape[-2:]) >= _LEAST_FRAME:
        return 3, header.nbytes
    return {0: 0, 1: 0, 2: 1}.get(len(shape), 2), header.nbytes


def _inside(file: DataFile, info: zipfile.ZipInfo) -> int:
    """Return where the bytes of a stored member begin."""
    local = bytes(backends.read(file, info.header_offset, _LOCAL.size, "auto"))
    magic, *_, name_length, extra_length = _LOCAL.unpack(local)
    if magic != ZIP:
        raise NotThisFormat(file.path, f"has a damaged entry for {info.filename}.")
    return int(info.header_offset + _LOCAL.size + name_length + extra_length)


def text_member(path: str, name: str) -> bytes:
    """Return a small member of an archive; nothing if there is none."""
    try:
        with _opened(path, name) as member:
            content = member.read(_LONGEST_JSON + 1)
    except FormatError:
        return b""
    return content if len(content) <= _LONGEST_JSON else b""


@contextmanager
def _opened(source: str | DataFile, name: str) -> Iterator[IO[bytes]]:
    """Decompress a member as it is read; what it announces is never trusted."""
    path = source if isinstance(source, str) else source.path
    with (
        _errors_of(path, name),
        zipfile.ZipFile(files.openable(source)) as archive,
        archive.open(name) as member,
    ):
        yield member


@contextmanager
def _errors_of(path: str, name: str) -> Iterator[None]:
    """Make errors of the archive say where they come from."""
    try:
        yield
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
    content = _inflated_at_once(file, name, header, free)
    if content is None:
        content = _inflated_by_pieces(file, name, header)
    return content.view(header.dtype).reshape(
        header.shape, order="F" if header.fortran_order else "C"
    )


def _inflated_by_pieces(file: DataFile, name: str, header: Header) -> npt.NDArray[np.uint8]:
    content, done = np.empty(header.nbytes, np.uint8), 0
    with _opened(file, name) as member:
        member.read(header.offset)
        while done < len(content) and (block := member.read(min(_PIECE, len(content) - done))):
            content[done : done + len(block)] = np.frombuffer(block, np.uint8)
            done += len(block)
    if done < len(content):
        raise Truncated(file.path, f"ends inside the array {name}.")
    return content


def _inflated_at_once(
    file: DataFile, name: str, header: Header, free: int | None
) -> npt.NDArray[np.uint8] | None:
    """Inflate a member in one go, which is faster; None where that is not possible."""
    with _errors_of(file.path, name), zipfile.ZipFile(files.openable(file)) as archive:
        info = archive.getinfo(name)
    packed, size = info.compress_size, header.offset + header.nbytes
    if (
        (info.compress_type, info.flag_bits & 1, info.file_size) != (zipfile.ZIP_DEFLATED, 0, size)
        or header.offset % header.dtype.alignment
        or not inflate.at_once(size)
        or (free is not None and size + packed > 0.95 * free)
    ):
        return None
    try:
        raw = backends.read(file, _inside(file, info), packed, "auto", np.empty(packed, np.uint8))
        content = np.frombuffer(inflate.inflate(raw.data, size, bare=True), np.uint8)
    except (FormatError, zlib.error):  # it is read piece by piece then, and what is wrong is told
        return None
    if len(content) != size or inflate.crc32(content.data) != info.CRC:
        return None
    return content[header.offset :]


# ---------------------------------------------------------------- piece by piece


@dataclass(frozen=True)
class Packed:
    """Opens a compressed member of an archive; pickles small."""

    file: DataFile
    name: str
    header: Header

    def __call__(self) -> Any:
        """Return what can be sliced; in Fortran order, that is only all of it."""
        if self.header.fortran_order:
            return self.whole()
        backends.check_unchanged(self.file)
        return _inflated(self.file, self.name, self.header)

    def whole(self) -> Any:
        """Return the array."""
        return load_member(self.file, self.name, self.header)


@cached(4)
def _inflated(file: DataFile, name: str, header: Header) -> Inflated:
    """Keep the streams of an array, so that one piece after the other is inflated once."""
    return Inflated(file, name, header)


@dataclass
class _Stream:
    """A member that is being inflated; what lies before a byte has to be inflated as well."""

    archive: zipfile.ZipFile
    member: IO[bytes]
    at: int = 0


@dataclass
class Inflated:
    """An array in C order of which parts are inflated; nothing but the part is in memory."""

    file: DataFile
    name: str
    header: Header
    streams: list[_Stream] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.header.shape

    def __getitem__(self, key: tuple[Any, ...]) -> npt.NDArray[Any]:
        """Return a part: numbers for the slowest axes, then slices."""
        shape, dtype = self.header.shape, self.header.dtype
        key = (*key, *[slice(None)] * (len(shape) - len(key)))
        first = 0
        depth = next((i for i, k in enumerate(key) if isinstance(k, slice)), len(key))
        for i in range(depth):
            first += int(key[i]) * math.prod(shape[i + 1 :])
        inner = shape[depth + 1 :]
        begin, end, step = key[depth].indices(shape[depth]) if depth < len(key) else (0, 1, 1)
        assert step == 1
        first += begin * math.prod(inner)
        size = (end - begin) * math.prod(inner)
        content = self._bytes(first * dtype.itemsize, size * dtype.itemsize)
        if depth == len(key):
            return content.view(dtype).reshape(())
        return content.view(dtype).reshape(end - begin, *inner)[(slice(None), *key[depth + 1 :])]

    def _bytes(self, first: int, size: int) -> npt.NDArray[np.uint8]:
        """Inflate some bytes of the array; earlier ones are passed over."""
        content = np.empty(size, np.uint8)
        first += self.header.offset
        with self.lock, _errors_of(self.file.path, self.name):
            stream = self._before(first)
            while stream.at < first and (
                block := stream.member.read(min(_PIECE, first - stream.at))
            ):
                stream.at += len(block)
            done = 0
            while done < size and (block := stream.member.read(min(_PIECE, size - done))):
                content[done : done + len(block)] = np.frombuffer(block, np.uint8)
                done += len(block)
                stream.at += len(block)
        if done < size:
            raise Truncated(self.file.path, f"ends inside the array {self.name}.")
        return content

    def _before(self, first: int) -> _Stream:
        """Return the stream that has least to pass over; threads ask for pieces out of order."""
        behind = [stream for stream in self.streams if stream.at <= first]
        if behind:
            return max(behind, key=lambda stream: stream.at)
        while len(self.streams) >= _STREAMS:
            self._close(max(self.streams, key=lambda stream: stream.at))
        archive = zipfile.ZipFile(files.openable(self.file))
        try:
            self.streams.append(_Stream(archive, archive.open(self.name)))
        except BaseException:
            archive.close()
            raise
        return self.streams[-1]

    def _close(self, stream: _Stream) -> None:
        self.streams.remove(stream)
        with suppress(OSError):
            stream.member.close()
            stream.archive.close()

    def __del__(self) -> None:
        for stream in [*self.streams]:
            self._close(stream)
