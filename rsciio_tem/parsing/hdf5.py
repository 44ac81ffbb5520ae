# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening HDF5 files for looking around, and what they hold as a tree of plain values.

Nothing here reads pixels, and no file stays open. h5py is imported when a file is opened.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
from collections import deque
from collections.abc import Hashable, Iterator
from typing import Any

from rsciio_tem.errors import FormatError, NotThisFormat, Truncated
from rsciio_tem.parsing.hdf5_values import (
    DAMAGE,
    address,
    attributes,
    has_attribute,
    inside,
    is_hard,
    names_in,
    plain,
    remembering,
    value,
)
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile, giving_way, require_file
from rsciio_tem.storage.identities import content_of
from rsciio_tem.storage.remote import session as remote
from rsciio_tem.storage.remote.address import is_address
from rsciio_tem.storage.remote.stream import Stream
from rsciio_tem.storage.remote.transport import HEAD

__all__ = [
    "address",
    "groups_with",
    "is_converted",
    "is_hdf5",
    "kept_open",
    "opened",
    "require_hdf5",
    "tree",
]

SIGNATURE = b"\x89HDF\r\n\x1a\n"


#: Groups that are looked at for an attribute, and links in them.
_MOST_GROUPS, _MOST_LINKS = 2000, 20_000


#: Of a tree of metadata: entries, depth, values of an array, bytes of all values.
_MOST_ENTRIES, _DEPTH, _SHORT, _MOST_BYTES = 3000, 16, 64, 64 << 20
#: Bytes of one of its values.
_LONGEST = 1 << 20


#: Files that are kept open in a thread, see `kept_open`; how many at most.
_local, _MOST_FILES = threading.local(), 33

#: The properties with which h5py opens files.
_usual: list[Any] = []


def is_converted(head: bytes) -> bool:
    """Whether ``convert`` wrote a file; what that says of its source is only text."""
    return b"emd_group_type" in head and (b"rsciio-tem " in head or b"rsciio_tem" in head)


def is_hdf5(path: str, head: bytes) -> bool:
    """Whether a file that begins with `head` is HDF5.

    The signature is at 0, or behind a block for the user at 512, 1024, 2048, …
    """
    if head[: len(SIGNATURE)] == SIGNATURE:
        return True
    at = 512
    while at + len(SIGNATURE) <= len(head):
        if head[at : at + len(SIGNATURE)] == SIGNATURE:
            return True
        at *= 2
    if len(head) < 4096:
        return False
    if is_address(path):  # what came along when it was described: nobody waits for more
        head = files.read_start(path, HEAD)
        return any(head.startswith(SIGNATURE, 512 << i) for i in range(3, 8))
    status = os.stat(path)
    return _has_signature_behind(path, at, content_of(status))


@functools.lru_cache(maxsize=64)
def _has_signature_behind(path: str, at: int, content: Hashable) -> bool:
    """Look for the signature behind what is at the beginning; each reader of HDF5 asks."""
    del content
    with files.open_binary(path, 0) as file:
        while at <= 1 << 20:
            file.seek(at)
            signature = file.read(len(SIGNATURE))
            if signature == SIGNATURE:
                return True
            if len(signature) < len(SIGNATURE):
                return False
            at *= 2
    return False


def require_hdf5(path: str) -> None:
    """Raise if a file is not an HDF5 file."""
    head = files.read_start(path, 4096)
    if not is_hdf5(path, head):
        raise NotThisFormat(path, f"is not an HDF5 file: it begins with {head[:8]!r}.")


@contextlib.contextmanager
def opened(path: str, described: DataFile | None = None) -> Iterator[Any]:
    """Open a file for looking around; whatever h5py finds wrong with it is a FormatError.

    Parameters
    ----------
    path : str
        The file.
    described : DataFile, optional
        Itself or a file beside it, if it was described before.
    """
    session: _Session | None = getattr(_local, "session", None)
    if session is not None and (file := session.file(path)) is not None:
        with _damage_of(path):
            yield file
        return
    with remote.again(described), _opened(path) as file, _damage_of(path):
        yield file


@contextlib.contextmanager
def kept_open(path: str) -> Iterator[None]:
    """Keep what `opened` opens inside of the block, of this thread, open until its end.

    Each opening takes a good part of a millisecond. The file `path` is opened at once; of others
    so many stay open as may.
    """
    if getattr(_local, "session", None) is not None:
        yield
        return
    with contextlib.ExitStack() as stack, remembering():
        session = _Session(stack)
        session.keep(path)
        _local.session = session
        try:
            yield
        finally:
            _local.session = None


class _Session:
    """Files that stay open while a recording is described."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.stack = stack
        self.files: dict[str, Any] = {}

    def keep(self, path: str) -> Any:
        """Open a file for as long as the session is."""
        file = self.files[path] = self.stack.enter_context(_opened(path))
        return file

    def file(self, path: str) -> Any:
        """Return a file that is open; None where it has to be opened for a moment."""
        if (file := self.files.get(path)) is not None:
            return file
        if len(self.files) >= _MOST_FILES or is_address(path):
            return None
        return self.keep(path)


def _opened(path: str) -> Any:
    import h5py

    if is_address(path):
        return _on_server(h5py, path)
    remote.check_local(path)
    with contextlib.suppress(OSError):  # HDF5 says better what is wrong
        require_file(path, os.stat(path))
    try:
        return giving_way(lambda: _open(h5py, path))
    except DAMAGE as error:
        if not isinstance(error, OSError) or "signature not found" in str(error):
            raise NotThisFormat(path, "is not an HDF5 file.") from None
        if "truncated file" in str(error):
            raise Truncated(
                path,
                f"is an HDF5 file that ends early, after {files.bytes_of(path)} bytes.",
                "It was probably not copied, or not closed, completely.",
            ) from None
        raise FormatError(path, f"cannot be opened as HDF5: {error}.") from None


@contextlib.contextmanager
def _damage_of(path: str) -> Iterator[None]:
    try:
        yield
    except FormatError:
        raise
    except (*DAMAGE, IndexError, AttributeError) as error:
        raise FormatError(path, f"is a damaged HDF5 file: {error}.") from error


def _on_server(h5py: Any, path: str) -> Any:
    """Open a remote file; the library asks for its bytes piece by piece."""
    file = DataFile.of(path)
    assert file.origin is not None
    try:
        return h5py.File(Stream(file.path, file.size, file.origin), "r")
    except FormatError:
        raise
    except DAMAGE as error:
        raise FormatError(path, f"cannot be opened as HDF5: {error}.") from None


def _open(h5py: Any, path: str) -> Any:
    try:
        if not _usual:
            file = h5py.File(path, "r")
            _usual.append(file.id.get_access_plist())
            return file
        # the properties are those that h5py has just asked for, which takes long
        return h5py.File(h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, fapl=_usual[0]))
    except OSError as error:
        # locks fail on some network drives, and while a camera is still writing
        if "lock" not in str(error):
            raise
        return h5py.File(path, "r", locking=False)


# ---------------------------------------------------------------- trees


def tree(group: Any, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return groups, attributes and small data sets as nested dictionaries.

    Attributes are under ``attributes``; a data set that has some is a dictionary too, with its
    ``value``. Data sets of more than a few values are described instead of read. Links to other
    files, and the paths in `without`, are left out.
    """
    return _tree(group, without, [_MOST_ENTRIES, _MOST_BYTES], 0, set())


def _tree(
    group: Any, without: frozenset[str], budget: list[int], depth: int, above: set[Any]
) -> dict[str, Any]:
    import h5py

    entries: dict[str, Any] = {}
    if described := attributes(group):
        entries["attributes"] = described
    if depth >= _DEPTH:
        return entries
    above = above | {address(group)}
    for name in names_in(group):
        if budget[0] <= 0:
            break
        budget[0] -= 1
        with contextlib.suppress(*DAMAGE):
            if not is_hard(group, name):
                continue
            thing = inside(group, name)
            if thing.name in without or address(thing) in above:
                continue
            if isinstance(thing, h5py.Group):
                entries[str(name)] = _tree(thing, without, budget, depth + 1, above)
            elif isinstance(thing, h5py.Dataset):
                entries[str(name)] = _entry(thing, budget)
    return entries


def _entry(dataset: Any, budget: list[int]) -> Any:
    content, described = None, attributes(dataset)
    shape = dataset.shape
    if shape is not None:
        short = math.prod(shape) <= _SHORT
        stored = value(dataset, min(_LONGEST, budget[1])) if short else None
        if stored is None:
            content = f"{'x'.join(map(str, shape))} {dataset.dtype}"
        else:
            budget[1] -= getattr(stored, "nbytes", None) or len(stored)
            content = plain(stored)
    return {"value": content, "attributes": described} if described else content


# ---------------------------------------------------------------- walking


def groups_with(start: Any, attribute: str) -> list[str]:
    """Return the groups that have an attribute; `start` alone if it has, none inside of others.

    Links to other files, and soft ones, are not followed.
    """
    import h5py

    if has_attribute(start, attribute):
        return [str(start.name)]
    names: list[str] = []
    entered, waiting, count = {address(start)}, deque([start]), 0
    while waiting:
        group = waiting.popleft()
        for name in names_in(group):
            count += 1
            if count > _MOST_LINKS or len(entered) >= _MOST_GROUPS:
                return names
            try:
                if not is_hard(group, name):
                    continue
                below = inside(group, name)
                if not isinstance(below, h5py.Group):
                    continue
                at = address(below)
            except DAMAGE:
                continue  # one that cannot be opened is no reason to give up
            if at in entered:
                continue
            entered.add(at)
            if has_attribute(below, attribute):
                names.append(str(below.name))
            else:
                waiting.append(below)
    return names
