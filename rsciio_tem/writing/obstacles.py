# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the way of new files, found before anything is written or removed."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from rsciio_tem.errors import FormatError

__all__ = [
    "check_apart",
    "check_free",
    "check_names",
    "check_text",
    "file_obstacle",
    "store_obstacle",
]


def check_apart(targets: Sequence[str], sources: Iterable[str]) -> None:
    """Refuse targets that are, hold, or lie in what is being read, whatever they are called.

    Links, other spellings and other letter cases are followed as far as the system tells.
    """
    status = lru_cache(maxsize=None)(_status)
    present = [(target, status(target)) for target in targets]
    around = {target: [*_folders(target)] for target in targets}
    for source in sources:
        source_status = status(source)
        if source_status is None:
            continue
        for target, there in present:
            if there is not None and there == source_status:
                _refuse(target, "is the recording that is being read, and is not overwritten.")
            if there is not None and there in map(status, _folders(source)):
                _refuse(target, f"holds the recording that is being read, {source}.")
            if source_status in map(status, around[target]):
                _refuse(target, f"is in the recording that is being read, {source}.")


def _refuse(target: str, problem: str) -> None:
    raise FormatError(target, problem, "Choose another name.")


def _status(path: str) -> tuple[int, int] | None:
    """Return what `os.path.samefile` compares; None if there is nothing."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _folders(path: str) -> Iterator[str]:
    """List the folders in which a path lies, as it is spelled and with links followed."""
    for spelled in dict.fromkeys([os.path.abspath(path), os.path.realpath(path)]):
        here = os.path.dirname(spelled)
        yield here
        while (above := os.path.dirname(here)) != here:
            yield (here := above)


def check_names(paths: Iterable[str]) -> None:
    """Look whether the disk can have such names."""
    for path in paths:
        try:
            os.lstat(path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                long = "is too long a name for this disk; choose a shorter one"
                raise OSError(errno.ENAMETOOLONG, long, path) from error


def check_text(path: str) -> None:
    """Refuse a name that a text, which is to name files, cannot hold."""
    try:
        os.path.basename(path).encode()
    except UnicodeEncodeError as error:
        problem = "has a name that is not UTF-8; the side file could not name what belongs to it."
        raise FormatError(path, problem, "Choose another name.") from error


def check_free(finals: Iterable[str], overwrite: bool, obstacle: Callable[[str], str]) -> None:
    """Look whether files can get their names.

    Parameters
    ----------
    finals : iterable of str
        Their paths.
    overwrite : bool
        Whether earlier files are replaced.
    obstacle : callable
        Says what is wrong with something that has the name; "" if it can be replaced.
    """
    for final in finals:
        folder = os.path.dirname(final)
        if not os.path.isdir(folder):
            raise FileNotFoundError(errno.ENOENT, "there is no such folder", folder)
        if not os.path.lexists(final):
            continue
        if not overwrite:
            raise FileExistsError(errno.EEXIST, "exists already, and is not overwritten", final)
        if problem := obstacle(final):
            raise FormatError(
                final, f"{problem}, and is not replaced.", "Move it away, or choose another name."
            )
        if not _replaceable(final, folder):
            problem = "may not be replaced by you: change its permissions or choose another name"
            raise PermissionError(errno.EACCES, problem, final)


def _replaceable(final: str, folder: str) -> bool:
    here, above = os.lstat(final), os.stat(folder)
    if os.name == "nt":
        return os.access(final, os.W_OK)
    if above.st_mode & stat.S_ISVTX and os.geteuid() not in (0, here.st_uid, above.st_uid):
        return False
    return not stat.S_ISDIR(here.st_mode) or os.access(final, os.W_OK | os.X_OK)


def file_obstacle(path: str) -> str:
    """Say why something is not replaced by a file."""
    if os.path.isdir(path) and not os.path.islink(path):
        return "is a folder"
    return "" if os.path.isfile(path) or os.path.islink(path) else "is not a file"


#: What zarr leaves of a file that it was writing when it was killed.
TORN = re.compile(r".*\.[0-9a-f]{32}\.partial")

#: Files of Zarr stores: those that describe arrays and groups, and chunks by their numbers.
_STORED = re.compile(
    r"\.zarray|\.zgroup|\.zattrs|\.zmetadata|zarr\.json|(c[./])?\d+([./]\d+)*|c|" + TORN.pattern
)


def store_obstacle(path: str) -> str:
    """Say why something is not replaced by a Zarr store."""
    if not os.path.isdir(path):
        return "is not a folder"
    if not any(os.path.isfile(os.path.join(path, n)) for n in (".zarray", ".zgroup", "zarr.json")):
        return "is a folder, but no Zarr store"
    for folder, below, names in os.walk(path):
        for name in below:
            if name.lower().endswith((".zarr", ".zspy")):  # another one, which lies in it
                other = os.path.relpath(os.path.join(folder, name), path)
                return f"is a folder that holds {other!r}, which is a store of its own"
        for name in names:
            if not _STORED.fullmatch(name) and name != ".DS_Store":
                other = os.path.relpath(os.path.join(folder, name), path)
                return f"is a folder that holds {other!r}, which is not a part of a Zarr store"
    return ""
