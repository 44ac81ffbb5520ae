# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept while a remote recording is opened: options, lists of folders, first bytes.

A session begins where a user names a recording, and ends when that call returns. What is described
in it carries an `Origin`, with which its bytes are fetched later, in other processes too.

Only addresses that a user names, and what lies beside them, are opened: a file never leads to
another server, and one from a server never to files of this machine.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from rsciio_tem.errors import FormatError
from rsciio_tem.storage.remote import transport
from rsciio_tem.storage.remote.address import Secrets, cleaned, folder_of, is_address, protocol_of
from rsciio_tem.storage.remote.errors import Unanswered
from rsciio_tem.storage.remote.transport import PIECE, Answer, Remote

__all__ = [
    "BLOCK",
    "Origin",
    "Session",
    "asked",
    "check_local",
    "current",
    "fetch",
    "shown",
]

#: What opening reads is kept in blocks of so many bytes, so many of them.
BLOCK, _MOST_BLOCKS = 16 << 10, 2048
#: Bytes between two ranges that are fetched along, instead of sending another request.
_GAP = 64 << 10
#: Bytes of ranges that are put together, in memory at the same time.
_SCATTERED = 32 << 20


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Origin:
    """How the bytes of a remote file are fetched, and what tells it from a later one.

    Parameters
    ----------
    options : dict
        What is passed to fsspec; never shown.
    secrets : Secrets
        What of the address is not shown.
    identity : str
        Checksum or time that the server told.
    """

    options: Mapping[str, Any]
    secrets: Secrets
    identity: str

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Origin):
            return NotImplemented
        mine, theirs = ((one.identity, one.secrets, one.options) for one in (self, other))
        return mine == theirs

    def __hash__(self) -> int:
        return hash(self.identity)

    def __repr__(self) -> str:
        return "Origin(...)"


class Session:
    """What is known of the files beside each other that one call asks for.

    Parameters
    ----------
    options : dict
        ``storage_options``.
    guarded : bool
        Whether files of this machine are refused that the user did not name.
    """

    def __init__(self, options: Mapping[str, Any] | None = None, guarded: bool = False) -> None:
        self.options = dict(options or {})
        self.guarded = guarded
        self._secrets: dict[str, Secrets] = {}
        self._users: dict[str, str] = {}
        self._folders: set[str] = set()
        self._paths: set[str] = set()
        self._answers: dict[str, Answer | None] = {}
        self._lists: dict[str, dict[str, Answer | None] | None] = {}
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = threading.RLock()

    # -------------------------------------------------------------- what may be opened

    def named(self, value: Any) -> Any:
        """Note what a user names, and return it without what is secret."""
        if isinstance(value, str) and is_address(value):
            address, secrets = cleaned(value)
            if not is_address(address):  # file://
                self._paths.add(address)
                return address
            if secrets != Secrets():
                self._secrets[address] = secrets
            self._users[_server(address)] = secrets.user or self._users.get(_server(address), "")
            self._folders.add(folder_of(address))
            return address
        if isinstance(value, (str, os.PathLike)):
            self._paths.add(os.fsdecode(value))
        elif type(value) in (list, tuple) and value and isinstance(value[0], _NAMES):
            return type(value)([self.named(one) for one in value])
        elif type(value) is dict:
            return {name: self.named(one) for name, one in value.items()}
        return value

    def within(self, outer: Session) -> None:
        """See what a session around this one knows."""
        self.options = self.options or outer.options
        for name in ("_secrets", "_users", "_folders", "_paths", "_answers", "_lists", "_blocks"):
            setattr(self, name, getattr(outer, name))
        self._lock = outer._lock

    def admits(self, address: str) -> bool:
        """Whether the user named an address, or something beside or below it."""
        if not any(f"{address}/".startswith(f"{folder}/") for folder in self._folders):
            return False
        path = address
        if protocol_of(address) in ("http", "https"):
            if "?" in address or "#" in address:  # of the addresses that users pass, it is cut off
                return False
            path = unquote(address)
        return ".." not in path.replace("\\", "/").split("/")

    def hides(self, path: str) -> bool:
        """Whether nobody may look for a path of this machine: only a remote file can name it."""
        if not self.guarded or not self._folders:
            return False
        return os.path.abspath(path) not in map(os.path.abspath, self._paths)

    def check_local(self, path: str) -> None:
        """Raise if what a remote file says leads to a file of this machine."""
        if self.hides(path):
            raise FormatError(
                path,
                "is named by a remote file, and would be read from this machine.",
                "Copy the recording to a disk first, if you trust it.",
            )

    # -------------------------------------------------------------- asking

    def secrets_of(self, address: str) -> Secrets:
        """Return what of an address is not shown."""
        return self._secrets.get(address) or Secrets(self._users.get(_server(address), ""))

    def origin(self, address: str) -> Origin:
        """Return how a file is fetched that was described."""
        return Origin(self.options, self.secrets_of(address), self.described(address).identity)

    def described(self, address: str) -> Answer:
        """Ask for the size and identity of a file, once.

        Raises
        ------
        FormatError
            There is no such file, it may not be read, or nobody asked for it.
        """
        address = address.replace("\\", "/")
        if not self.admits(address):
            raise FormatError(
                address,
                "is an address that a file names; only what lies beside an address that you pass "
                "is opened.",
                "Pass the address itself.",
            )
        with self._lock:
            listed = self._lists.get(folder_of(address))
            answer = self._answers.get(address) or (listed or {}).get(_name(address))
            if answer is None:
                answer = Remote(address, self.options, self.secrets_of(address)).describe()
            self.keep(address, answer)
        return answer

    def keep(self, address: str, answer: Answer) -> None:
        """Note what a server said of a file, and what came along."""
        self._answers[address] = answer
        content = answer.content
        for begin in range(0, len(content), BLOCK):
            if len(content) - begin >= BLOCK or len(content) == answer.size:
                self._blocks[address, begin // BLOCK] = content[begin : begin + BLOCK]

    def exists(self, address: str) -> bool:
        """Whether there is a file; the list of its folder tells, or else the server.

        Raises
        ------
        Unanswered
            The server does not say: what belongs to a recording is not left out because of that.
        """
        address = address.replace("\\", "/")
        if not self.admits(address):
            return False
        if self._answers.get(address) is not None:
            return True
        names = self.names(folder_of(address))
        if names is not None:
            return _name(address) in names
        with self._lock:
            if address not in self._answers:
                try:
                    self.described(address)
                except Unanswered:
                    raise
                except FormatError:
                    self._answers[address] = None
            return self._answers[address] is not None

    def names(self, folder: str) -> dict[str, Answer | None] | None:
        """Return the names of the files in a folder; None if the server does not list them."""
        folder = folder.replace("\\", "/").rstrip("/") if "://" in folder else folder
        if not self.admits(folder):
            return None
        with self._lock:
            if folder not in self._lists:
                inside = f"{folder}/ " if folder != "memory:" else "memory:// "
                remote = Remote(inside, self.options, self.secrets_of(inside))
                answered = [a for a in self._answers if self._answers[a] and folder_of(a) == folder]
                self._lists[folder] = _as_asked(remote.names(), map(_name, answered))
            return self._lists[folder]

    def knows(self, address: str, size: int, origin: Origin) -> bool:
        """Whether what is kept here is of a file that was described."""
        answer = self._answers.get(address)
        return answer is not None and (answer.size, answer.identity) == (size, origin.identity)

    def read(self, address: str, start: int, length: int) -> bytes:
        """Read some bytes, fewer at the end of a file; what is small is kept."""
        size = self.described(address).size
        content = bytearray(max(0, min(length, size - start)))
        self.fill(address, [(start, memoryview(content))])
        return bytes(content)

    def fill(self, address: str, parts: Sequence[tuple[int, memoryview]]) -> None:
        """Fill buffers with bytes of a file through the blocks that are kept."""
        size, origin = self.described(address).size, self.origin(address)
        numbers = {
            n
            for start, target in parts
            for n in range(start // BLOCK, -(-(start + len(target)) // BLOCK))
        }
        if len(numbers) > _MOST_BLOCKS // 4:
            fetch(address, size, origin, parts)
            return
        with self._lock:
            lacking = {
                n: bytearray(min(BLOCK, size - n * BLOCK))
                for n in sorted(numbers)
                if (address, n) not in self._blocks
            }
            fetch(
                *(address, size, origin),
                [(n * BLOCK, memoryview(block)) for n, block in lacking.items()],
            )
            self._blocks.update(((address, n), bytes(block)) for n, block in lacking.items())
            for start, target in parts:
                first, last = start // BLOCK, -(-(start + len(target)) // BLOCK)
                whole = b"".join(self._blocks[address, n] for n in range(first, last))
                target[:] = whole[start - first * BLOCK :][: len(target)]
            for n in numbers:
                self._blocks.move_to_end((address, n))
            while len(self._blocks) > _MOST_BLOCKS:
                self._blocks.popitem(last=False)


#: What may be, or hold, names of files.
_NAMES = (str, os.PathLike, list, tuple, dict)


def _server(address: str) -> str:
    return "/".join(address.split("/", 3)[:3])


def _name(address: str) -> str:
    return address.rpartition("/")[2]


def _as_asked(
    names: dict[str, Answer | None] | None, answered: Iterable[str]
) -> dict[str, Answer | None] | None:
    """Return a list of names as these are written in addresses; None if it is not one of files.

    Web servers give pages of other kinds, too: they do not name the files that are there.
    """
    lacking = [name for name in answered if names and name not in names]
    if names is None or not lacking:
        return names
    written = {quote(name): answer for name, answer in names.items()}
    return written if all(name in written for name in lacking) else None


_current: ContextVar[Session | None] = ContextVar("remote", default=None)


def current() -> Session:
    """Return the session of this call; outside of all, one that admits nothing."""
    return _current.get() or Session()


def check_local(path: str | os.PathLike[str]) -> None:
    """Raise if a path must not be opened, because only a remote file names it."""
    if (session := _current.get()) is not None:
        session.check_local(os.fspath(path))


def shown(path: str) -> str:
    """Return a path as it is shown: an address without what is secret."""
    return cleaned(path)[0] if is_address(path) else path


def _flat(names: Sequence[Any]) -> Iterator[Any]:
    for name in names:
        if isinstance(name, (list, tuple)):
            yield from _flat(name)
        else:
            yield name


@contextmanager
def asked(
    named: Sequence[Any], options: Mapping[str, Any] | None, *, guarded: bool = True
) -> Iterator[list[Any]]:
    """Open a session for what a user names; give it without what is secret.

    Parameters
    ----------
    named : sequence
        The path or address of the recording, or several, and whatever else a call was given.
    options : dict, optional
        ``storage_options``.
    guarded : bool
        Whether files of this machine are refused that are not among them, where the recording has
        an address.
    """
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(
            f"storage_options must be a dict such as {{'anon': True}}, not {type(options).__name__}"
        )
    outer = _current.get()
    # a recording on a disk has its side files there, wherever its dark frame comes from
    remotely = any(isinstance(name, str) and is_address(name) for name in _flat(named[:1]))
    session = Session(options, guarded and (remotely or (outer is not None and outer.guarded)))
    if outer is not None:
        session.within(outer)
    token = _current.set(session)
    try:
        yield [session.named(value) for value in named]
    finally:
        _current.reset(token)


@contextmanager
def again(file: Any) -> Iterator[None]:
    """Open the session again in which a file was described; nothing for None, or one on a disk.

    Parameters
    ----------
    file : DataFile, optional
        The file, whatever has its path, size and origin.
    """
    if file is None or file.origin is None:
        yield
        return
    session = Session(file.origin.options, guarded=True)
    session.named(file.origin.secrets.put_into(file.path))
    session.keep(file.path, Answer(file.size, file.origin.identity))
    token = _current.set(session)
    try:
        yield
    finally:
        _current.reset(token)


# ---------------------------------------------------------------- fetching


def fetch(address: str, size: int, origin: Origin, parts: Sequence[tuple[int, memoryview]]) -> None:
    """Fill buffers with bytes of a file: what lies close together with one request, in pieces.

    Raises
    ------
    FormatError
        The file is not the one described any more, or cannot be read.
    """
    if not parts:
        return
    remote = Remote(address, origin.options, origin.secrets)
    whole: list[tuple[int, memoryview]] = []
    spread: list[list[tuple[int, memoryview]]] = []
    for group in _grouped(parts):
        if len(group) > 1:
            spread.append(group)
            continue
        ((start, target),) = group
        whole += [(start + at, target[at : at + PIECE]) for at in range(0, len(target), PIECE)]
    if whole and not spread:
        remote.fill(whole, size, origin.identity)
    batch: list[tuple[int, memoryview]] = whole if spread else []
    groups: list[list[tuple[int, memoryview]]] = []
    for i, group in enumerate(spread):
        start, stop = group[0][0], max(at + len(target) for at, target in group)
        batch.append((start, memoryview(bytearray(stop - start))))
        groups.append(group)
        if i + 1 < len(spread) and sum(len(b) for _, b in batch[-len(groups) :]) < _SCATTERED:
            continue
        remote.fill(batch, size, origin.identity)
        for (start, buffer), group_of_it in zip(batch[-len(groups) :], groups, strict=True):
            for at, target in group_of_it:
                target[:] = buffer[at - start : at - start + len(target)]
        batch, groups = [], []


def _grouped(
    parts: Sequence[tuple[int, memoryview]],
) -> Iterator[list[tuple[int, memoryview]]]:
    """Put ranges together that lie close to each other, up to a piece."""
    group: list[tuple[int, memoryview]] = []
    stop = 0
    for at, target in sorted((p for p in parts if len(p[1])), key=lambda part: part[0]):
        end = at + len(target)
        if group and (at - stop > _GAP or max(end, stop) - group[0][0] > PIECE * 5 // 4):
            yield group
            group = []
        stop = max(end, stop) if group else end
        group.append((at, target))
    if group:
        yield group


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=transport.forget_after_fork)
