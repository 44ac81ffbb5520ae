# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files belong together: numbered sets, side files, natural order."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from rsciio_tem.errors import FormatError
from rsciio_tem.storage.backends import DataFile

__all__ = [
    "existing",
    "first_named",
    "natural_key",
    "numbered_set",
    "read_start",
    "replacing",
    "side_file",
    "size_of",
    "split_number",
    "write_whole",
]


def existing(path: str | os.PathLike[str]) -> str:
    """Return `path` as a string; a FormatError says what is there instead if it is no file."""
    name = os.fspath(path)
    if os.path.isfile(name):
        return name
    if os.path.isdir(name):
        raise FormatError(name, "is a folder.", "Pass one of the recording's files.")
    folder = os.path.dirname(name) or "."
    if not os.path.isdir(folder):
        raise FormatError(name, f"does not exist, nor does the folder {folder}.")
    lower = os.path.basename(name).lower()
    close = [entry for entry in os.listdir(folder) if entry.lower() == lower]
    hint = f"Did you mean {close[0]}?" if close else ""
    raise FormatError(name, "does not exist.", hint)


def read_start(path: str | os.PathLike[str], size: int) -> bytes:
    """Return the first `size` bytes of a file, fewer if it is shorter."""
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}.") from error


def size_of(path: str | os.PathLike[str]) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if not os.path.isdir(path):
        return os.path.getsize(path)
    return sum(
        os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(path)
        for name in names
    )


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts ``scan2`` before ``scan10``."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part.lower())
        for part in re.split(r"(\d+)", name)
        if part
    ]


def split_number(stem: str) -> tuple[str, str]:
    """Split ``scan_0012`` into ``scan_`` and ``0012``."""
    match = re.fullmatch(r"(.*?)(\d*)", stem, re.DOTALL)
    assert match is not None
    return match[1], match[2]


def numbered_set(path: str | os.PathLike[str], prefix: str | None = None) -> list[DataFile]:
    """List the files that differ from `path` only by a number at the end of the stem.

    ``stem.mib, stem1.mib, stem2.mib`` or ``stem_000001.mib, …``, in the order of the numbers;
    the suffix may be written in either case. `prefix` is what precedes the number, by default
    all but the digits that the stem ends with.
    """
    name = os.fspath(path)
    folder, base = os.path.split(name)
    stem, suffix = os.path.splitext(base)
    prefix = split_number(stem)[0] if prefix is None else prefix
    pattern = re.compile(re.escape(prefix) + r"(\d*)" + re.escape(suffix), re.IGNORECASE)
    members: list[tuple[int, str]] = []
    with os.scandir(folder or ".") as entries:
        for entry in entries:
            match = pattern.fullmatch(entry.name)
            if match and os.path.normcase(entry.name).startswith(os.path.normcase(prefix)):
                members.append((int(match[1]) if match[1] else -1, entry.name))
    members.sort()
    if not any(os.path.normcase(entry) == os.path.normcase(base) for _, entry in members):
        return [DataFile.of(name)]  # a disk that ignores case in a system that does not
    beginning = os.path.join(folder, "")
    return [DataFile.of(beginning + entry) for _, entry in members]


def first_named(folder: str, names: Iterable[str]) -> str | None:
    """Find the first of some files that is in a folder, in any case."""
    try:
        listing = {entry.lower(): entry for entry in os.listdir(folder or ".")}
    except OSError as error:
        raise FormatError(folder, f"cannot be listed: {error.strerror}.") from error
    paths = (os.path.join(folder, listing[n.lower()]) for n in names if n.lower() in listing)
    return next(filter(os.path.isfile, paths), None)


def side_file(path: str | os.PathLike[str], suffixes: tuple[str, ...]) -> str | None:
    """Find the side file of `path` with one of the suffixes, in any case.

    A member of a numbered set may share the side file of the set: ``scan_000001.mib`` has
    ``scan_000001.hdr``, or else ``scan.hdr``.
    """
    stem = Path(path).stem
    prefix, _ = split_number(stem)
    stems = dict.fromkeys((stem, prefix, prefix.rstrip("_-. ")))
    names = [stem + suffix for stem in stems if stem for suffix in suffixes]
    side = first_named(str(Path(path).parent), names)
    return None if side is None else str(Path(side))


@contextmanager
def replacing(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[str]:
    """Give a temporary name beside `path`; what was written there becomes `path` at the end.

    If anything goes wrong, `path` is as it was and the temporary file is gone.

    Raises
    ------
    FileExistsError
        There is such a file and `overwrite` is False.
    """
    name = os.fspath(path)

    def check() -> None:
        if not overwrite and os.path.lexists(name):
            raise FileExistsError(errno.EEXIST, "exists already, and is not overwritten", name)

    check()
    folder, base = os.path.split(name)
    if folder and not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", folder)
    temporary = os.path.join(folder, f".{base}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        check()
        os.replace(temporary, name)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def write_whole(file: IO[bytes], at: int, data: memoryview) -> None:
    """Write all bytes to a place of an unbuffered file, which may take fewer at a time."""
    file.seek(at)
    while data:
        data = data[file.write(data) :]
