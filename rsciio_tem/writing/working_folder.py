# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder ``TARGET.partial`` in which a conversion works, until its files take their names.

It belongs to one process at a time, by a lock in it. Only what conversions have made is ever
removed from it. Files that belong together take their names together: a record says which, before
the first of them does, so that the next call completes what was stopped in between, or undoes it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, ClassVar

from rsciio_tem.errors import FormatError
from rsciio_tem.storage.files import when_free
from rsciio_tem.writing.target import ENTRY, Block, Payloads

__all__ = ["Naming", "Work", "give_name", "sync", "sync_folder", "unfinished"]

_logger = logging.getLogger(__name__)

#: First entry of the journal; a change of the layout of working folders changes it.
_VERSION = 3

#: How a lock begins, by which a folder is known as ours; then a line with the names of its files.
_MARK = b"rsciio_tem works in this folder\n"


@dataclass(frozen=True)
class Naming:
    """Files that take their names together.

    Parameters
    ----------
    new : dict
        What tells each of the new files from others, in the order in which they take their names.
    old : dict
        The same of those that they replace; and of those that go without being replaced.
    verified : bool
        Whether the new files were read back.
    """

    new: dict[str, Any]
    old: dict[str, Any]
    verified: bool

    @property
    def gone(self) -> list[str]:
        """Names that nothing has afterwards, such as those at the end of a longer series."""
        return [name for name in self.old if name not in self.new]


@dataclass
class Work:
    """The folder of an unfinished conversion.

    Parameters
    ----------
    folder : str
        Its path, which is that of the target with ``.partial``.
    identity : dict
        Tells the conversion from others; JSON. "files" has the names of what it makes.
    resumable : bool
        Whether a later call can go on with it.
    """

    folder: str
    identity: dict[str, Any]
    resumable: bool = True
    done: dict[int, Block] = field(default_factory=dict)
    _payload_end: int = 0
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _journal: IO[bytes] | None = None
    _payloads: IO[bytes] | None = None
    _mark_file: IO[bytes] | None = None

    JOURNAL: ClassVar = "journal"
    PAYLOADS: ClassVar = "payloads"
    LOCK: ClassVar = "lock"
    HEADER: ClassVar = "header"  #: what becomes the journal, or the record of names
    COMPLETE: ClassVar = "complete"  #: exists while the files are given their names
    REPLACED: ClassVar = "replaced"  #: earlier files, while new ones take their names
    OURS: ClassVar = (JOURNAL, PAYLOADS, LOCK, HEADER, COMPLETE, REPLACED)

    def path(self, name: str) -> str:
        """Return the path of something in the folder."""
        return os.path.join(self.folder, name)

    def final(self, name: str) -> str:
        """Return the path of a file once it has its name."""
        return os.path.join(os.path.dirname(self.folder), name)

    @property
    def names(self) -> list[str]:
        """Names of the files that are made, in the order in which they take them."""
        return list(self.identity["files"])

    @property
    def size(self) -> int:
        """Bytes that the files have so far."""
        paths = map(self.path, self.names)
        return sum(os.path.getsize(path) for path in paths if os.path.isfile(path))

    @property
    def payloads(self) -> Payloads:
        """What `keep` was given for the blocks that are done."""
        blocks = sorted(self.done.values(), key=lambda block: block.first)
        if self._payloads is not None:
            self._payloads.flush()
        return Payloads(self.path(self.PAYLOADS), blocks)

    @property
    def end(self) -> int:
        """Number of frames that are done; they are noted in order, from the first one on."""
        return max((block.first + block.count for block in self.done.values()), default=0)

    # ------------------------------------------------------------ whose folder it is

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if there is none, and let nobody else work in it.

        What is left of it at the end is cleared away, unless there is something to go on with.
        """
        file = self._lock()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # a full disk takes nothing more
                self.close()
            if os.path.lexists(self.path(self.JOURNAL)):
                file.close()  # which unlocks it
            else:
                self._clear(file)

    def _lock(self) -> IO[bytes]:
        for attempt in range(50):
            if attempt:
                time.sleep(0.01)  # the folder was just cleared away by another process
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.folder)
            try:
                self._check_ours()
                file = open(self.path(self.LOCK), "ab")  # noqa: SIM115 (it is held)
            except (FileNotFoundError, PermissionError):
                if os.path.isdir(self.folder) and not os.access(self.folder, os.W_OK | os.X_OK):
                    raise
                continue
            try:
                self._try(file)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file.fileno()), os.stat(self.path(self.LOCK))):
                        self._check_ours()
                        self._mark_file = file
                        return file
            except BaseException:
                file.close()
                raise
            file.close()
        raise self._in_use()

    def _in_use(self) -> FormatError:
        problem = "is in use by another process that writes the same target."
        return FormatError(self.folder, problem, "Wait for it.")

    def _try(self, file: IO[bytes]) -> None:
        """Lock a file until it is closed; it is one of its own, as Windows lets nobody read it."""
        import filelock

        try:
            locked = filelock.lock_descriptor(file.fileno(), blocking=False)
        except OSError as error:  # some network file systems
            _logger.info("%s cannot be locked: %s", self.folder, error)
            return
        if not locked:
            raise self._in_use()

    def _marked(self) -> bytes:
        """Return what the lock says."""
        try:
            return Path(self.path(self.LOCK)).read_bytes()
        except PermissionError:  # Windows: what is locked is not read
            return _MARK

    def _made(self) -> set[str]:
        """List the files of targets that conversions made in the folder, or will make."""
        header, names = self._header(), list(self.names)
        if isinstance(header, dict) and isinstance(header.get("files"), list):
            names += header["files"]
        with contextlib.suppress(OSError, ValueError):
            names += json.loads(self._marked().removeprefix(_MARK) or b"[]")
        names = [name for name in map(str, names) if name.strip(".")]
        return {name for name in names if os.path.basename(name) == name}

    def _check_ours(self) -> None:
        """Refuse a folder that no conversion made, before anything in it is touched."""
        if not os.path.isdir(self.folder) or os.path.islink(self.folder):
            if not os.path.lexists(self.folder):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.folder)
            raise FormatError(
                self.folder,
                "is not a folder; while a conversion runs, its files are in a folder of this name.",
                "Move it away, or choose another name.",
            )
        entries = {name for name in os.listdir(self.folder) if not name.startswith(".")}
        ours = False
        if self.LOCK in entries:
            mark = self._marked()
            ours = mark.startswith(_MARK) or (not mark and entries == {self.LOCK})
        header = self._header()
        ours = ours or (isinstance(header, dict) and {"version", "files"} <= set(header))
        others = sorted(entries - set(self.OURS) - (self._made() if ours else set()))
        if entries and (others or not ours):
            raise FormatError(
                self.folder,
                "is not a folder of an unfinished conversion: "
                f"{(others or sorted(entries))[0]!r} is in it.",
                "Move it away, or choose another name.",
            )

    def _clear(self, lock: IO[bytes]) -> None:
        """Remove what is ours, the lock last: as long as it is there, the folder is ours."""
        self.discard()
        with lock, contextlib.suppress(OSError):  # Windows does not remove what is open
            os.unlink(self.path(self.LOCK))
        if os.name == "nt":
            with contextlib.suppress(OSError):
                os.unlink(self.path(self.LOCK))
        with contextlib.suppress(OSError):  # somebody else's file is in it, or it is in use again
            os.rmdir(self.folder)

    def discard(self) -> None:
        """Remove what was done, so that nothing is left to go on with."""
        with contextlib.suppress(OSError):
            self.close()
        replaced = self.path(self.REPLACED)
        if os.path.isdir(replaced) and os.listdir(replaced):
            return  # earlier files that could not be given back their names
        made = self._made()
        # the journal first: without it, the rest is nothing
        for name in (self.JOURNAL, *made, self.PAYLOADS, self.HEADER, self.COMPLETE):
            _remove(self.path(name))
        _remove(replaced)

    # ------------------------------------------------------------ the journal

    def look(self, resume: bool) -> Naming | None:
        """See what is in the folder, once it is locked.

        What cannot be gone on with is removed if nothing is lost by that.

        Returns
        -------
        Naming or None
            If the files of this conversion are complete: how they take their names.

        Raises
        ------
        FormatError
            The unfinished conversion is another one, and `resume` is true.
        """
        header = self._header()
        if header is None:
            if self._naming() is not None:  # finished, but for clearing up
                _remove(self.path(self.REPLACED))
            self.discard()
            return None
        mine = resume and self.resumable and header == self._own_header()
        naming = self._naming()
        if naming is not None and not mine:
            if self._named(naming):
                self._finish()  # it was stopped when nothing but clearing up was left
                self.discard()
                return None
            self._undo(naming)
            Path(self.path(self.COMPLETE)).unlink(missing_ok=True)
        if mine:
            return naming
        if resume and isinstance(header, dict) and "source" in header:
            raise FormatError(
                self.folder,
                "holds an unfinished conversion of another source, or with other options.",
                "Finish that one first, delete the folder, or pass resume=False to begin anew.",
            )
        self.discard()
        return None

    def open(self, create: Callable[[str], None]) -> None:
        """Go on with what `look` has left, or begin, with what `create` makes in the folder."""
        if not os.path.lexists(self.path(self.JOURNAL)):
            assert self._mark_file is not None
            self._mark_file.truncate(0)
            self._mark_file.write(_MARK + json.dumps(self.names).encode() + b"\n")
            _force(self._mark_file)
            create(self.folder)
            Path(self.path(self.PAYLOADS)).touch()
            # the journal comes last, as a whole: without it, a folder is begun anew
            self._write(self.JOURNAL, json.dumps(self._own_header()).encode() + b"\n")
        with contextlib.ExitStack() as stack:
            self._journal = stack.enter_context(open(self.path(self.JOURNAL), "rb+"))
            self._read_journal()
            self._payloads = stack.enter_context(open(self.path(self.PAYLOADS), "rb+"))
            self._payloads.seek(self._payload_end)
            self._payloads.truncate()
            self._stack = stack.pop_all()

    def _write(self, name: str, content: bytes) -> None:
        """Make a file that is there as a whole, or not at all."""
        with open(self.path(self.HEADER), "wb") as file:
            file.write(content)
            _force(file)
        when_free(lambda: os.replace(self.path(self.HEADER), self.path(name)))

    def _own_header(self) -> dict[str, Any]:
        return {"version": _VERSION, **self.identity}

    def _header(self) -> Any:
        """Return the first entry of the journal, None if the conversion had not begun."""
        try:
            with open(self.path(self.JOURNAL), "rb") as journal:
                return json.loads(journal.readline())
        except OSError:
            return None
        except ValueError:
            return {}  # damaged

    def _read_journal(self) -> None:
        """Read the entries; one that is torn, and what follows it, does not count."""
        assert self._journal is not None
        self._journal.seek(0)
        self._journal.readline()
        self.done.clear()
        end = 0  # frames are noted in order
        while True:
            here = self._journal.tell()
            data = self._journal.read(ENTRY.size)
            if len(data) < ENTRY.size:
                break
            *values, check = ENTRY.unpack(data)
            if zlib.crc32(data[:-4]) != check:
                break
            block = Block(*values)
            if block.first != end:
                break
            self.done[block.first] = block
            end += block.count
        self._journal.seek(here)
        self._journal.truncate()
        # payloads are not forced onto the disk: after a power cut the last may be missing
        whole = True
        for first, _, content in self.payloads:
            block = self.done[first]
            whole = whole and len(content) == block.size and zlib.crc32(content) == block.payload
            if not whole:
                del self.done[first]
        ends = [block.offset + block.size for block in self.done.values()]
        self._payload_end = max(ends, default=0)

    def keep(self, block: Block, payload: Any) -> Block:
        """Append a block's bytes; return the entry that tells where they are."""
        assert self._payloads is not None
        at = self._payload_end
        size = self._payloads.write(payload)
        self._payload_end += size
        return replace(block, offset=at, size=size, payload=zlib.crc32(payload))

    def note(self, blocks: Sequence[Block]) -> None:
        """Make what was written safe, then say so in the journal."""
        assert self._journal is not None
        assert self._payloads is not None
        self._payloads.flush()
        for name in self.names:
            sync(self.path(name))
        self._journal.write(b"".join(block.packed() for block in blocks))
        _force(self._journal)
        self.done.update((block.first, block) for block in blocks)

    def close(self) -> None:
        """Close the journal; the folder stays locked."""
        self._stack.close()

    # ------------------------------------------------------------ files take their names

    def _naming(self) -> Naming | None:
        try:
            return Naming(**json.loads(Path(self.path(self.COMPLETE)).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def begun(self, naming: Naming) -> bool:
        """Whether some files had got, or lost, their names when it was stopped."""
        gone = any(not os.path.lexists(self.path(name)) for name in naming.new)
        return gone or os.path.lexists(self.path(self.REPLACED))

    def _named(self, naming: Naming) -> bool:
        return all(
            os.path.lexists(self.final(name)) and not os.path.lexists(self.path(name))
            for name in naming.new
        )

    def give_names(self, verified: bool, leftovers: Sequence[str] = ()) -> None:
        """Let the complete files take their names, all of them or, if something fails, none.

        With the files that they replace go the `leftovers`.
        """
        self.close()
        before = (*self.names, *leftovers)
        naming = Naming(
            {name: _mark(self.path(name)) for name in self.names},
            {name: mark for name in before if (mark := _mark(self.final(name)))},
            verified,
        )
        self._write(self.COMPLETE, json.dumps(naming.__dict__).encode())
        self.go_on(naming)

    def go_on(self, naming: Naming, overwrite: bool = False) -> None:
        """Complete what `give_names` began.

        Raises
        ------
        FileExistsError
            A file got one of the names meanwhile, and `overwrite` is False.
        """
        self.close()
        waiting = [name for name in naming.new if os.path.lexists(self.path(name))]
        for name in naming.new:
            final = self.final(name)
            if name not in waiting and _mark(final) != naming.new[name]:
                raise FormatError(
                    self.folder,
                    f"is what a finished conversion left, but {name} is not there any more, or "
                    "is another file.",
                    "Pass resume=False to begin anew.",
                )
            mark = _mark(final) if name in waiting else None
            aside = os.path.lexists(os.path.join(self.path(self.REPLACED), name))
            if mark and (aside or (mark != naming.old.get(name) and not overwrite)):
                raise FileExistsError(errno.EEXIST, "exists already, and is not overwritten", final)
        for name in naming.gone:
            mark = _mark(self.final(name))
            if mark and mark != naming.old[name]:
                stranger = "is not what it was, and would become part of the new recording"
                raise FileExistsError(errno.EEXIST, stranger, self.final(name))
        try:
            # one file replaces another at once; of several, and of folders, the earlier ones are
            # set aside, so that at no time some are old and some are new
            folders = any(os.path.isdir(self.path(name)) for name in waiting)
            if len(naming.new) > 1 or folders or naming.gone:
                os.makedirs(self.path(self.REPLACED), exist_ok=True)
                for name in (*reversed(waiting), *reversed(naming.gone)):
                    if os.path.lexists(self.final(name)):
                        away = os.path.join(self.path(self.REPLACED), name)
                        when_free(partial(os.rename, self.final(name), away))
            for name in waiting:
                give_name(self.path(name), self.final(name))
        except BaseException:
            if not self._named(naming):
                self._undo(naming)
            raise
        self._finish()

    def _undo(self, naming: Naming) -> None:
        """Take the names from the new files, and give them back to the earlier ones."""
        for name in reversed(naming.new):
            if not os.path.lexists(self.path(name)) and _mark(self.final(name)) == naming.new[name]:
                when_free(partial(os.rename, self.final(name), self.path(name)))
        replaced = self.path(self.REPLACED)
        for name in dict.fromkeys((*naming.old, *naming.new)):
            aside, final = os.path.join(replaced, name), self.final(name)
            if not os.path.lexists(aside):
                continue
            if os.path.lexists(final):
                raise FormatError(
                    aside,
                    f"was to be replaced, but meanwhile another {final} has appeared.",
                    "Move one of them away.",
                )
            when_free(partial(os.rename, aside, final))
        with contextlib.suppress(OSError):
            os.rmdir(replaced)

    def _finish(self) -> None:
        """Forget the conversion, as its files have their names, and what they have replaced."""
        sync_folder(os.path.dirname(self.folder))
        os.unlink(self.path(self.JOURNAL))
        _remove(self.path(self.REPLACED))


def unfinished(path: str) -> bool:
    """Say whether a path is a folder in which a conversion works, or was stopped."""
    if not path.endswith(".partial"):
        return False
    try:
        return Path(path, Work.LOCK).read_bytes().startswith(_MARK)
    except PermissionError:  # Windows: what is locked is not read
        return True
    except OSError:
        return False


def give_name(source: str, final: str) -> None:
    """Give a file or folder its name."""
    when_free(lambda: os.replace(source, final))


def _mark(path: str) -> Any:
    """Return what tells a file from another that has its name; None if there is none."""
    if os.path.isdir(path) and not os.path.islink(path):
        return "folder"
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        Path(path).unlink(missing_ok=True)


def _force(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync(path: str) -> None:
    """Make a file or a folder of files safe on disk, as far as it exists yet."""
    if os.path.isfile(path):
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
    elif os.path.isdir(path) and hasattr(os, "sync"):
        os.sync()


def sync_folder(folder: str) -> None:
    """Make the names of files safe on disk, where that can be asked for."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
