# SPDX-License-Identifier: GPL-3.0-or-later
"""How bytes are fetched from files, the same in every process and thread.

A `DataFile` is a path with the size and time it had when it was described. Reading checks them, so
that a file which changed in between is an error and never a mixture. One that was being written
while it was described may go on growing until `settle`, as long as its bytes at both ends of what
was described stay the same. Handles are opened on first use, cached per process as far as its limit
of open files allows, and closed in the order of their last use; nothing that is pickled holds one.
A file with an `Origin` is on a server: its path is an address, and its bytes are fetched.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import mmap
import os
import socket
import stat
import sys
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Truncated, Unsupported
from rsciio_tem.storage import identities, pages
from rsciio_tem.storage.recent import RecentPieces
from rsciio_tem.storage.remote import session as remote
from rsciio_tem.storage.remote.address import is_address
from rsciio_tem.storage.remote.transport import Remote

__all__ = [
    "BLOCK",
    "REMOTE_BLOCK",
    "Backend",
    "DataFile",
    "backend_name",
    "check_unchanged",
    "close_all",
    "giving_way",
    "in_place",
    "in_task",
    "map_file",
    "mapping",
    "open_file",
    "opener",
    "read",
    "read_pieces",
    "read_pieces_at",
    "read_rows",
    "read_spread",
    "require_file",
    "settle",
]

T = TypeVar("T")

Backend = Literal["auto", "mmap", "buffered", "direct"]


#: Bytes fetched and decoded at a time: small enough to stay in a core's cache, large enough that
#: the system call does not matter.
BLOCK = 2 << 20


#: The same for files on servers, where a request takes long; it is fetched in several pieces.
REMOTE_BLOCK = 16 << 20


#: Handles that are kept open at most; files that are left for others where fewer may be open.
_MAX_HANDLES, _RESERVE = 256, 64


#: Files that were written so many seconds ago may still be growing; bytes at either end of them
#: that have to stay; files of which they are remembered.
_FRESH, _END, _MOST_MARKS = 10.0, 4096, 1024


#: Bytes between two rows that are not read along.
_FAR = 8 << 10


#: Rows that one call of the system reads; it takes up to 1024 buffers.
_ROWS = 128


#: Pieces that are kept if they are so many at least: each is a call of the system.
_MANY_PIECES = 64


_PAGE = 4096


#: LiberTEM's class names are understood as well
_ALIASES = {
    "mmapbackend": "mmap",
    "bufferedbackend": "buffered",
    "directbackend": "direct",
    "none": "auto",
}


class DataFile(NamedTuple):
    """A file as it was when the recording was described."""

    path: str
    size: int
    mtime_ns: int
    origin: remote.Origin | None = None

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> DataFile:
        """Describe the file at `path`."""
        file = cls.listed(path)
        if file.origin is None and abs(time.time() - file.mtime_ns / 1e9) < _FRESH:
            _marks.put(file)
        return file

    @classmethod
    def listed(cls, path: str | os.PathLike[str]) -> DataFile:
        """Describe one of many files, which is not looked into: it must not grow afterwards."""
        if is_address(name := os.fspath(path)):
            session = remote.current()
            return cls(name, session.described(name).size, 0, session.origin(name))
        remote.check_local(path)
        try:
            status = os.stat(path)
        except OSError as error:
            raise FormatError(path, f"cannot be opened: {error.strerror}.") from error
        require_file(path, status)
        file = cls(os.fspath(path), status.st_size, status.st_mtime_ns)
        if identities.replaced(file, status):
            close_all()
        return file


#: What else than a file a path may lead to.
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def require_file(path: str | os.PathLike[str], status: os.stat_result) -> None:
    """Raise a FormatError if something is not a regular file; to read a pipe may take forever."""
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something special")
        raise FormatError(
            path,
            f"is {kind}, not a file.",
            "Pass a file; if this only lies beside the recording, move it away or rename it.",
        )


def open_file(path: str | os.PathLike[str], flags: int = 0) -> int:
    """Open a regular file for reading; return its descriptor.

    Raises
    ------
    OSError
        It cannot be opened.
    FormatError
        It is not a regular file.
    """
    for name in ("O_BINARY", "O_CLOEXEC", "O_NONBLOCK"):  # the last one: no waiting for pipes
        flags |= getattr(os, name, 0)
    remote.check_local(path)
    fd = giving_way(lambda: os.open(path, os.O_RDONLY | flags))
    try:
        require_file(path, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def opener(path: str, flags: int) -> int:
    """Open a regular file, for `open`."""
    del flags  # only for reading
    return open_file(path)


def giving_way(opening: Callable[[], T]) -> T:
    """Open something; where too many files are open, after those that are only kept are closed."""
    for pause in (0.0, 0.001, 0.01, 0.1):
        try:
            return opening()
        except OSError as error:
            # HDF5 tells the number in its text only
            text = str(error)
            if error.errno not in (errno.EMFILE, errno.ENFILE) and "Too many open" not in text:
                raise
        close_all()
        time.sleep(pause)  # other threads are reading from some
    return opening()


def backend_name(value: Any) -> Backend:
    """Return the backend that `value` names; a ValueError lists the names."""
    name = str(value if isinstance(value, str) or value is None else type(value).__name__).lower()
    name = _ALIASES.get(name, name)
    if name not in get_args(Backend):
        raise ValueError(f"io_backend={value!r} is none of {', '.join(get_args(Backend))}")
    return name  # type: ignore[return-value]


def check_unchanged(file: DataFile) -> None:
    """Raise a FormatError if a file is no longer the one that was described."""
    if file.origin is not None:
        origin = file.origin
        Remote(file.path, origin.options, origin.secrets).check(file.size, origin.identity)
        return
    try:
        status = os.stat(file.path)
    except OSError as error:
        raise _gone(file, error) from error
    _compare(file, status)


class _Marks:
    """What files that may be growing held, at both ends, when they were described."""

    def __init__(self) -> None:
        self._marks: OrderedDict[DataFile, int] = OrderedDict()

    def put(self, file: DataFile) -> None:
        """Remember a file that was just described."""
        with contextlib.suppress(OSError, FormatError):
            fd = open_file(file.path)
            try:
                mark = self.of(fd, file)
            finally:
                os.close(fd)
            if mark is not None:
                self._marks[file] = mark
        while len(self._marks) > _MOST_MARKS:
            self._marks.popitem(last=False)

    def of(self, fd: int, file: DataFile) -> int | None:
        """Return a checksum of both ends of what was described, None if they cannot be read."""
        size = min(file.size, _END)
        try:
            ends = [os.pread(fd, size, at) for at in (0, file.size - size)]
        except (OSError, AttributeError):  # unbuffered; Windows
            return None
        return zlib.crc32(b"".join(ends)) if all(len(end) == size for end in ends) else None

    def grown(self, fd: int, file: DataFile) -> bool:
        """Whether a file only goes on behind what was described."""
        mark = self._marks.get(file)
        return mark is not None and self.of(fd, file) == mark

    def __contains__(self, file: DataFile) -> bool:
        return file in self._marks

    def clear(self) -> None:
        """Let nothing grow any more."""
        self._marks.clear()


_marks = _Marks()


def settle() -> None:
    """Take every change of a file that was described for an error from now on.

    Called when lazy signals are computed, which may be long after they were described.
    """
    _marks.clear()


def _compare(file: DataFile, status: os.stat_result) -> None:
    if status.st_size != file.size:
        sizes = f"it had {file.size} bytes, now {status.st_size}"
        hint = "Load it again"
        if status.st_size > file.size:
            hint += "; while it is still being written, without lazy=True"
        raise FormatError(
            file.path, f"changed since it was opened ({sizes}).", f"{hint}." + _where()
        )
    if status.st_mtime_ns != file.mtime_ns:
        seconds = (status.st_mtime_ns - file.mtime_ns) / 1e9
        raise FormatError(
            file.path,
            f"changed since it was opened (written again, {seconds:+.3g} s from the time it had).",
            "Load it again." + _where(", where a copy has to keep the time of its original"),
        )


def _gone(file: DataFile, error: OSError) -> FormatError:
    """Return the error for a file that was there when it was described, and now cannot be read."""
    demand = ", which must see the file under this path"
    if not os.path.isabs(file.path):
        demand += f"; it is relative to {os.getcwd()} there, pass an absolute one"
    return FormatError(file.path, f"cannot be opened: {error.strerror}.", _where(demand).strip())


def _where(demand: str = "") -> str:
    """Say which machine met an error, if this is a task of a cluster; and what it is to do."""
    if not in_task():
        return ""
    return f" This is said by a worker on {socket.gethostname()}{demand}."


def in_task() -> bool:
    """Whether this is a task of a dask worker."""
    if (worker := sys.modules.get("distributed.worker")) is None:
        return False
    try:
        worker.get_worker()
    except ValueError:
        return False
    return True


class _Handle:
    """An open file, shared by the threads of this process."""

    def __init__(self, file: DataFile, direct: bool) -> None:
        try:
            self.fd = open_file(file.path, getattr(os, "O_DIRECT", 0) if direct else 0)
        except OSError as error:
            raise _gone(file, error) from error
        self.file = file
        self.lock = threading.Lock()
        self._map: npt.NDArray[np.uint8] | None = None
        self._pages: mmap.mmap | None = None
        self._grown: tuple[int, int] | None = None  # size and time of growth that was looked at
        self.check()

    def __del__(self) -> None:
        if (fd := getattr(self, "fd", -1)) >= 0:
            self.fd = -1
            os.close(fd)

    def check(self) -> None:
        """Raise if the file is no longer the one that was described."""
        status, file = os.fstat(self.fd), self.file
        now = status.st_size, status.st_mtime_ns
        if now in ((file.size, file.mtime_ns), self._grown):
            return
        if now[0] == file.size:  # a new time comes shortly before the bytes that are added
            time.sleep(0.002)
            status = os.fstat(self.fd)
        if status.st_size > file.size and _marks.grown(self.fd, file):
            self._grown = status.st_size, status.st_mtime_ns
            return
        _compare(file, status)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; return the number of bytes that were there."""
        done = 0
        while done < len(buffer):
            if hasattr(os, "preadv"):
                n = os.preadv(self.fd, [buffer[done:]], offset + done)
            else:  # Windows: the file position is shared, so seek and read belong together
                with self.lock:
                    os.lseek(self.fd, offset + done, os.SEEK_SET)
                    chunk = os.read(self.fd, len(buffer) - done)
                n = len(chunk)
                buffer[done : done + n] = chunk
            if n == 0:
                break
            done += n
        return done

    @functools.cached_property
    def on_local_disk(self) -> bool:
        """Whether the file is on a fixed disk of this machine."""
        return pages.is_on_local_disk(self.file.path, os.fstat(self.fd).st_dev)

    def pages(self) -> mmap.mmap:
        """Return a mapping for kernels: it can be written, so that they are compiled once only."""
        with self.lock:
            if self._pages is None:
                self._pages = giving_way(lambda: mmap.mmap(self.fd, 0, access=mmap.ACCESS_COPY))
            return self._pages

    def mapped(self) -> npt.NDArray[np.uint8]:
        """Return the mapping whose parts are handed out, read-only."""
        with self.lock:
            if self._map is None:
                mapped = giving_way(lambda: mmap.mmap(self.fd, 0, access=mmap.ACCESS_READ))
                self._map = np.frombuffer(mapped, dtype=np.uint8)
            return self._map


_handles: OrderedDict[tuple[DataFile, bool], _Handle] = OrderedDict()
_handles_lock = threading.Lock()
_local = threading.local()


def _handle(file: DataFile, direct: bool = False) -> _Handle:
    key = (file, direct)
    with _handles_lock:
        if (handle := _handles.get(key)) is not None:
            _handles.move_to_end(key)
    if handle is not None:
        handle.check()
        return handle
    handle = _Handle(file, direct)
    with _handles_lock:
        handle = _handles.setdefault(key, handle)
        while len(_handles) > _most_handles():
            _handles.popitem(last=False)  # closed when the last thread using it lets go
    return handle


def _most_handles() -> int:
    """Return how many handles are kept: a mapped file takes two of those that may be open."""
    return max(1, min(_MAX_HANDLES, (_open_file_limit() - _RESERVE) // 2))


@functools.lru_cache(maxsize=1)
def _limit_at(second: int) -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 512
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def _open_file_limit() -> int:
    """Return how many files this process may open; it may change its limit at any time."""
    return _limit_at(int(time.monotonic()))


def close_all() -> None:
    """Close every cached handle of this process, for example before deleting files on Windows."""
    with _handles_lock:
        _handles.clear()
    _pieces.clear()


if hasattr(os, "register_at_fork"):

    def _forget_handles() -> None:
        """Start a forked child without its parent's handles, and with a lock nobody holds."""
        global _handles_lock, _pieces
        _handles_lock, _pieces = threading.Lock(), RecentPieces()
        _handles.clear()

    os.register_at_fork(after_in_child=_forget_handles)


def _scratch(nbytes: int, slot: str = "buffer") -> npt.NDArray[np.uint8]:
    """Return a reusable buffer of this thread, aligned to pages."""
    buffer: npt.NDArray[np.uint8] | None = getattr(_local, slot, None)
    if buffer is None or len(buffer) < nbytes:
        size = max(nbytes, BLOCK) + _PAGE
        whole = np.empty(size, np.uint8)
        start = -whole.ctypes.data % _PAGE
        buffer = whole[start : start + size - _PAGE]
        setattr(_local, slot, buffer)
    return buffer[:nbytes]


def read(
    file: DataFile,
    offset: int,
    nbytes: int,
    backend: Backend,
    into: npt.NDArray[np.uint8] | None = None,
    slot: str = "buffer",
) -> npt.NDArray[np.uint8]:
    """Return `nbytes` bytes of `file` from `offset`, in the array `into` if there is one.

    Otherwise the array is valid until this thread reads again, with the same name as `slot`. "auto"
    reads into a small reused buffer, which is faster for a single pass than faulting in a mapping,
    works the same on network drives, and turns a file that shrinks under us into an error instead
    of a crash.

    Raises
    ------
    Truncated
        The file ends before.
    """
    if offset < 0 or offset + nbytes > file.size:
        raise Truncated(
            file.path, f"ends at byte {file.size}, data up to byte {offset + nbytes} are needed."
        )
    if file.origin is not None:
        buffer = _scratch(nbytes, slot) if into is None else into
        _fetch(file, [(offset, buffer.data)])
        return buffer
    if into is not None and (backend == "mmap" or backend == "direct"):
        into[...] = read(file, offset, nbytes, backend)
        return into
    if backend == "mmap":
        return _handle(file).mapped()[offset : offset + nbytes]
    if backend == "direct" and hasattr(os, "O_DIRECT"):
        start = offset // _PAGE * _PAGE
        stop = -(-(offset + nbytes) // _PAGE) * _PAGE
        buffer = _scratch(stop - start, slot)
        done = _handle(file, direct=True).read_into(start, buffer.data) - (offset - start)
        buffer = buffer[offset - start : offset - start + nbytes]
    else:
        buffer = _scratch(nbytes, slot) if into is None else into
        done = _handle(file).read_into(offset, buffer.data)
    if done < nbytes:
        raise Truncated(file.path, f"ended {nbytes - done} bytes early while it was being read.")
    return buffer


def _fetch(file: DataFile, parts: list[tuple[int, memoryview]]) -> None:
    """Fill buffers with bytes of a remote file; what is small is kept while it is described."""
    assert file.origin is not None
    session = remote.current()
    small = all(len(target) <= remote.BLOCK for _, target in parts)
    if small and session.knows(file.path, file.size, file.origin):
        session.fill(file.path, parts)
    else:
        remote.fetch(file.path, file.size, file.origin, parts)


def read_spread(
    file: DataFile, start: int, stride: int, count: int, nbytes: int
) -> npt.NDArray[np.uint8]:
    """Return rows of `nbytes` bytes from ``start + i * stride``, of a remote file or far apart.

    They are valid until this thread reads again. What lies between them is fetched if it is little.

    Raises
    ------
    Truncated
        The file ends before.
    """
    rows = _scratch(count * nbytes).reshape(count, nbytes)
    read_rows(file, start, stride, rows)
    return rows


def read_rows(file: DataFile, start: int, stride: int, out: npt.NDArray[np.uint8]) -> bool:
    """Fill row i of `out` with the bytes at ``start + i * stride``, straight from the file.

    What lies between the rows is thrown away. Returns False, and does nothing, where the system
    cannot read so.

    Raises
    ------
    Truncated
        The file ends before.
    """
    count, nbytes = out.shape
    if file.origin is None and not hasattr(os, "preadv") and stride - nbytes <= _FAR:
        return False
    if start < 0 or start + (count - 1) * stride + nbytes > file.size:
        raise Truncated(file.path, f"ends at byte {file.size}, before its last frame.")
    if file.origin is not None:
        _fetch(file, [(start + i * stride, row.data) for i, row in enumerate(out)])
        return True
    if stride - nbytes > _FAR:
        if read_pieces_at(file, [start + i * stride for i in range(count)], out) < out.size:
            raise Truncated(file.path, "ended early while it was being read.")
        return True
    handle, between = _handle(file), _scratch(stride - nbytes).data
    for first in range(0, count, _ROWS):
        rows = out[first : first + _ROWS]
        buffers = [part for row in rows for part in (row.data, between)][:-1]
        length = (len(rows) - 1) * stride + nbytes
        offset = start + first * stride
        if os.preadv(handle.fd, buffers, offset) == length:
            continue
        for i, row in enumerate(rows):  # in pieces, as some systems do
            if handle.read_into(offset + i * stride, row.data) < nbytes:
                raise Truncated(file.path, "ended early while it was being read.")
    return True


@contextlib.contextmanager
def in_place(
    file: DataFile, offset: int, nbytes: int, backend: Backend
) -> Iterator[npt.NDArray[np.uint8] | None]:
    """Give the bytes of a file where the system keeps them in memory, valid inside of the block.

    Nobody may write into them. None where they have to be read: "auto" takes only files of local
    disks that nobody was writing to when they were described, and bytes that are in memory.

    Raises
    ------
    Truncated
        The file ends before.
    """
    if backend not in ("auto", "mmap") or file.origin is not None:
        yield None
        return
    if offset < 0 or offset + nbytes > file.size:
        raise Truncated(
            file.path, f"ends at byte {file.size}, data up to byte {offset + nbytes} are needed."
        )
    handle = _handle(file)  # checks that it has not become shorter
    usable = backend == "mmap" or (
        handle.on_local_disk
        and file not in _marks
        and pages.are_in_memory(handle.fd, offset, nbytes)
    )
    if not usable or not nbytes:
        yield None
        return
    try:
        mapped = handle.pages()
    except OSError:  # no room for it: the system counts a whole file as if all was written to
        yield None
        return
    yield np.frombuffer(mapped, np.uint8, nbytes, offset)
    if hasattr(mmap, "MADV_DONTNEED"):  # they stay in memory, but do not count as ours
        first = -(-offset // mmap.PAGESIZE) * mmap.PAGESIZE
        last = (offset + nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first:
            mapped.madvise(mmap.MADV_DONTNEED, first, last - first)


def mapping(file: DataFile) -> npt.NDArray[np.uint8]:
    """Return the mapping of a whole file that this process keeps, read-only."""
    _require_disk(file)
    return _handle(file).mapped()


def map_file(file: DataFile, mode: str = "r") -> npt.NDArray[np.uint8]:
    """Map a whole file as bytes; mode "r" read-only, "c" copy-on-write."""
    _require_disk(file)
    _handle(file)  # checks that the file is still the one that was described
    name: Literal["c", "r"] = "c" if mode == "c" else "r"
    mapped: npt.NDArray[np.uint8] = giving_way(lambda: np.memmap(file.path, np.uint8, name))
    return mapped[: file.size]


def _require_disk(file: DataFile) -> None:
    if file.origin is not None:
        raise Unsupported(
            file.path,
            "is on a server, and would have to be mapped into memory, as mmap_mode, "
            'io_backend="mmap" and arrays in Fortran order are.',
            "Leave out mmap_mode and io_backend; download what is in Fortran order.",
        )


def read_pieces(
    file: DataFile, start: int, stride: int, out: npt.NDArray[np.uint8], *, keep: bool = False
) -> None:
    """Fill row i of `out` with the bytes at ``start + i * stride``.

    Rows that lie beyond the end of the file stay as they are. With `keep`, pieces of a file that
    has not changed for a while are kept, in case that they are asked for again.
    """
    count, nbytes = out.shape
    keep = keep and file.origin is None and count >= _MANY_PIECES and 0 <= start < start + stride
    if keep and start + (count - 1) * stride + nbytes <= file.size:
        # the handle checks the time, which can be set back after other bytes were written
        status = os.fstat(_handle(file).fd)
        key = file, status.st_ino, status.st_ctime_ns, start, stride, count, nbytes
        if (kept := _pieces.get(key)) is not None:
            out[...] = kept
            return
        read_pieces_at(file, [start + i * stride for i in range(count)], out)
        if time.time() - file.mtime_ns / 1e9 > _FRESH:
            _pieces.put(key, out)
        return
    read_pieces_at(file, [start + i * stride for i in range(count)], out)


_pieces = RecentPieces()


def read_pieces_at(file: DataFile, offsets: list[int], out: npt.NDArray[np.uint8]) -> int:
    """Fill row i of `out` with the bytes at ``offsets[i]``, as `read_pieces`; return how many."""
    if file.origin is not None:
        parts = [
            (offset, memoryview(row)[: file.size - offset])
            for offset, row in zip(offsets, out, strict=True)
            if 0 <= offset < file.size
        ]
        _fetch(file, parts)
        return sum(len(target) for _, target in parts)
    handle, nbytes = _handle(file), out.shape[1]
    small = len(offsets) > 1 and out.size <= REMOTE_BLOCK
    if hasattr(os, "pread") and small and max(offsets) + nbytes <= file.size:
        pread = os.pread  # hardly more than the calls of the system: there are many
        pieces = b"".join([pread(handle.fd, nbytes, offset) for offset in offsets])
        if len(pieces) == out.size:
            out[...] = np.frombuffer(pieces, np.uint8).reshape(out.shape)
            return out.size
    return sum(
        handle.read_into(offset, row.data)
        for offset, row in zip(offsets, out, strict=True)
        if offset < file.size
    )
