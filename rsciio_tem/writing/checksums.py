# SPDX-License-Identifier: GPL-3.0-or-later
"""SHA-256 of files, and lists of them that ``sha256sum -c`` reads."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping

from rsciio_tem.errors import FormatError
from rsciio_tem.storage.files import open_binary, replacing
from rsciio_tem.writing.identity import state

__all__ = ["add_to_list", "check_list", "checksums"]

#: Bytes that are read at a time.
_PIECE = 4 << 20

#: A line: a backslash if the name has escapes, the checksum, how it was read, the name.
_LINE = re.compile(rb"(\\?)([0-9a-f]{64}) [ *](.+)")


def checksums(
    paths: Iterable[str], progress: Callable[[int], object] | None = None
) -> dict[str, str]:
    """Return the SHA-256 of files by their paths; of folders, those of all files in them.

    Raises
    ------
    FormatError
        A file changed meanwhile.
    """
    sums = {}
    for path in _files(paths):
        before = state(path)
        digest = hashlib.sha256()
        with open_binary(path) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
                if progress is not None:
                    progress(len(piece))
        if state(path) != before:
            raise FormatError(
                path, "changed while its checksum was made.", "Wait until it is complete."
            )
        sums[path] = digest.hexdigest()
    return sums


def _files(paths: Iterable[str]) -> Iterable[str]:
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        for folder, below, names in os.walk(path):
            below.sort()
            yield from (os.path.join(folder, name) for name in sorted(names))


def check_list(path: str) -> dict[bytes, bytes]:
    """Return the lines of a list by the names in them; empty if there is none.

    Raises
    ------
    FormatError
        There is such a file, and it is not a list of checksums.
    """
    lines: dict[bytes, bytes] = {}
    if os.path.lexists(path):
        content = b""
        if os.path.isfile(path):
            with open(path, "rb") as file:
                content = file.read()
        for line in content.splitlines():
            match = _LINE.fullmatch(line)
            if match is None:
                raise FormatError(
                    path, "is not a list of checksums, and is not replaced.", "Move it away."
                )
            lines[match[1] + match[3]] = line
    return lines


def add_to_list(path: str, sums: Mapping[str, str]) -> None:
    """Add checksums to a list, or replace those of the same files.

    The names are relative to the folder of the list: ``sha256sum -c`` is called there.
    """
    lines = check_list(path)
    folder = os.path.dirname(os.path.abspath(path))
    for file, checksum in sums.items():
        try:
            name = os.path.relpath(file, folder)
        except ValueError:  # on another drive of Windows
            name = os.path.abspath(file)
        raw = os.fsencode(name)
        if os.name == "nt":
            raw = raw.replace(b"\\", b"/")
        escaped = raw.replace(b"\\", rb"\\").replace(b"\n", rb"\n").replace(b"\r", rb"\r")
        mark = b"\\" if escaped != raw else b""
        lines[mark + escaped] = mark + checksum.encode() + b"  " + escaped
    with replacing(path, overwrite=True) as temporary, open(temporary, "wb") as out:
        out.write(b"".join(lines[name] + b"\n" for name in sorted(lines)))
