# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files belong together: numbered sets, side files, natural order.

What is looked for lies beside the path that was passed; if that is a symbolic link, and nothing
belongs to it there, beside the file that it leads to. `places` is the one rule for that.

Whoever asks for a file here need not know whether its path leads to a disk or to a server.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeVar

from rsciio_tem.errors import FormatError, Unsupported
from rsciio_tem.storage.backends import DataFile, close_all, opener, require_file
from rsciio_tem.storage.remote import session as remote
from rsciio_tem.storage.remote.address import is_address
from rsciio_tem.storage.remote.stream import Stream

__all__ = [
    "ANNOTATION",
    "LINK",
    "absolute",
    "beside",
    "bytes_of",
    "check_name_is_free",
    "decoded",
    "existing",
    "exists",
    "first_found",
    "in_folder",
    "is_array",
    "is_file",
    "is_folder",
    "joined",
    "listing",
    "natural_key",
    "numbered_set",
    "open_binary",
    "openable",
    "opened_as_described",
    "places",
    "plain_file",
    "read_start",
    "recording_of",
    "replacing",
    "same_file",
    "side_file",
    "size_of",
    "split_number",
    "unmarked",
    "when_free",
    "write_whole",
]

T = TypeVar("T")

#: What the name of a side file of ours has behind that of the recording.
ANNOTATION = ".rsciio-tem.toml"

#: What the name of a file ends with that stands for an address.
LINK = ".rsciio-tem-link.toml"

#: Links that are followed, one leading to the next, at most; as Linux does.
_LINKS = 40

#: Bytes that are fetched at least where somebody looks into a remote file.
_PEEK = 16 << 10

#: Members of a numbered set that are asked for one by one, where a server lists no names.
_MOST_ASKED = 1000

#: What a text may begin with, and the encoding that this means.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def path_of(value: Any) -> str:
    """Return a path that a function was given as a string; a TypeError says what is not a path."""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if isinstance(value, (str, bytes, os.PathLike)):
        return remote.shown(os.fsdecode(value))
    if isinstance(value, (list, tuple)):
        raise TypeError(f"pass the path of one recording, not {len(value)} of them")
    what = type(value).__name__
    if isinstance(value, Mapping) or hasattr(value, "axes_manager"):
        raise TypeError(f"pass the path of a recording; {what} is a signal, loaded already")
    if is_array(value):
        raise TypeError(
            f"pass the path of a recording, not {what}; rsciio_tem.from_array(...) takes arrays"
        )
    raise TypeError(f"pass the path of a recording, not {what}")


def is_array(value: Any) -> bool:
    """Whether something is an array; a ValueError says so if it is one of a closed HDF5 file."""
    if not getattr(getattr(value, "id", None), "valid", True):
        raise ValueError(
            f"the {type(value).__name__} cannot be read, because its file was closed; keep the "
            "file open, or pass its path"
        )
    return hasattr(value, "shape") and hasattr(value, "dtype")


def recording_of(value: Any) -> str:
    """Return a path as `path_of`; for a side file of ours, that of what it lies beside."""
    path = path_of(value)
    beside_it = path.removesuffix(ANNOTATION)
    return beside_it if beside_it != path and exists(beside_it) else path


# ---------------------------------------------------------------- on a disk, or on a server


def is_file(path: str) -> bool:
    """Whether a path leads to a file."""
    session = remote.current()
    if is_address(path):
        return session.exists(path)
    return not session.hides(path) and os.path.isfile(path)


def exists(path: str) -> bool:
    """Whether a path leads to anything."""
    session = remote.current()
    if is_address(path):
        return session.exists(path)
    return not session.hides(path) and os.path.exists(path)


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a path leads to a folder of this machine; those of servers are not opened."""
    return os.path.isdir(path)


def joined(folder: str, name: str) -> str:
    """Return the path of something in a folder; addresses have slashes on every system."""
    if is_address(folder):
        return f"{folder}{'' if folder.endswith('/') else '/'}{name}"
    return os.path.join(folder, name)


def bytes_of(path: str | os.PathLike[str]) -> int:
    """Return the bytes of a file.

    Raises
    ------
    OSError, FormatError
        There is none.
    """
    name = os.fspath(path)
    return remote.current().described(name).size if is_address(name) else os.path.getsize(name)


def absolute(path: str | os.PathLike[str]) -> str:
    """Return a path that leads to the same from every folder."""
    name = os.fsdecode(path)
    return name if is_address(name) else os.path.abspath(name)


def open_binary(path: str | os.PathLike[str] | DataFile, buffering: int = -1) -> BinaryIO:
    """Open a file for reading, of a remote one that was described the one described.

    Raises
    ------
    OSError, FormatError
        It cannot be opened.
    """
    if isinstance(path, DataFile) and path.origin is not None:
        return opened_as_described(path)
    name = path.path if isinstance(path, DataFile) else os.fspath(path)
    if is_address(name):
        return opened_as_described(DataFile.of(name))
    return open(name, "rb", buffering=buffering, opener=opener)


def opened_as_described(file: DataFile) -> BinaryIO:
    """Open a remote file for reading, as it was described."""
    assert file.origin is not None
    stream = Stream(file.path, file.size, file.origin, block=_PEEK)
    return io.BufferedReader(stream, 4096)


def openable(source: str | DataFile) -> str | BinaryIO:
    """Return what libraries open that take a path or a file object: for a disk, the path."""
    path = source if isinstance(source, str) else source.path
    return open_binary(source) if is_address(path) else path


def plain_file(path: str, reader: str) -> str:
    """Return a path; a FormatError says that what opens it needs a file on a disk.

    Parameters
    ----------
    path : str
        Of the file.
    reader : str
        What opens it.
    """
    if is_address(path):
        raise Unsupported(
            path, f"is on a server, and {reader} opens files on a disk only.", "Download it first."
        )
    return path


def existing(path: str | os.PathLike[str]) -> str:
    """Return `path` as a string; a FormatError says what is there instead if it is not a file."""
    name = path_of(path)
    if is_address(name):
        return _existing_on_server(name)
    remote.check_local(name)
    if os.path.isfile(name):
        return name
    if os.path.isdir(name):
        raise FormatError(name, "is a folder.", "Pass one of the recording's files.")
    if os.path.exists(name):
        require_file(name, os.stat(name))
    if os.path.islink(name):
        raise FormatError(name, f"is a link to {os.readlink(name)}, which does not exist.")
    if match := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):[/\\](?![/\\])", name):
        raise FormatError(
            name,
            "does not exist; as an address it lacks a slash, which pathlib takes away.",
            f'Pass addresses as text: "{match[1]}://…".',
        )
    if any(mark in name for mark in "*?"):
        raise FormatError(
            name, "does not exist.", "For several recordings, call it for each name in glob.glob()."
        )
    folder = os.path.dirname(name) or "."
    if not os.path.isdir(folder):
        raise FormatError(name, f"does not exist, nor does the folder {folder}.")
    lower = os.path.basename(name).lower()
    close = [entry for entry in os.listdir(folder) if entry.lower() == lower]
    hint = f"Did you mean {close[0]}?" if close else ""
    if os.path.isfile(os.path.join(f"{name}.partial", "journal")):
        hint = "A conversion to it was stopped; the same call or command finishes it."
    raise FormatError(name, "does not exist.", hint)


def _existing_on_server(name: str) -> str:
    session = remote.current()
    try:
        session.described(name)
    except FormatError as error:
        if "does not exist" in error.problem and session.names(name.rstrip("/")):
            raise FormatError(
                name,
                "is a folder on a server, of which only the files are opened.",
                "Pass one of the recording's files; for a Zarr store, download it first.",
            ) from None
        raise
    return name


def read_start(path: str | os.PathLike[str], size: int) -> bytes:
    """Return the first `size` bytes of a file, fewer if it is shorter."""
    if is_address(name := os.fspath(path)):
        return remote.current().read(name, 0, size)
    try:
        with open(path, "rb", opener=opener) as file:
            return file.read(size)
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}.") from error


def decoded(content: bytes, encoding: str = "utf-8") -> str:
    """Return a text without the byte order mark, which else says what its encoding is."""
    for mark, named in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(named, "replace")
    return content.decode(encoding)


def unmarked(head: bytes) -> bytes:
    """Return the beginning of a file; of a text with a byte order mark, in UTF-8 without it."""
    if any(head.startswith(mark) for mark, _ in _MARKS):
        return decoded(head).encode("utf-8", "replace")
    return head


def places(path: str | os.PathLike[str]) -> Iterator[str]:
    """Give the paths beside which files that belong to `path` may lie, the best first.

    Itself, then the file that it is a symbolic link to, with the name that it has there.
    """
    name = os.fspath(path)
    yield name
    if is_address(name):
        return
    for _ in range(_LINKS):
        try:
            target = os.readlink(name)
        except OSError:  # no link, or a system without any
            break
        name = os.path.join(os.path.dirname(name), target)
        yield name
    else:
        return
    if name == os.fspath(path):
        return
    real = os.path.realpath(path)  # a folder above may be a link, too
    if os.path.normcase(real) != os.path.normcase(name):
        yield real


def first_found(path: str | os.PathLike[str], look: Callable[[str], T]) -> T:
    """Return the first result of `look` for the places of a path that is not empty, or None.

    If there is none, return the one for the path itself.
    """
    results = []
    for place in places(path):
        if result := look(place):
            return result
        results.append(result)
    return results[0]


def beside(path: str | os.PathLike[str], name: str) -> str:
    """Return the path of a file that `path` names; where it is missing, where it should be."""
    paths = [joined(os.path.dirname(place), name) for place in places(path)]
    return next(filter(exists, paths), paths[0])


def listing(folder: str) -> list[str]:
    """Return the names in a folder, sorted; none where a server does not list them."""
    if is_address(folder):
        return sorted(remote.current().names(folder) or ())
    try:
        return sorted(os.listdir(folder or "."))
    except OSError as error:
        raise FormatError(folder, f"cannot be listed: {error.strerror}.") from error


def size_of(path: str | os.PathLike[str]) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if not os.path.isdir(path):
        return bytes_of(path)
    return sum(
        os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(path)
        for name in names
    )


def same_file(path: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether two paths lead to one file; those that lead nowhere do not."""
    if is_address(name := os.fspath(path)) or is_address(os.fspath(other)):
        return name == os.fspath(other)
    try:
        return os.path.samefile(path, other)
    except OSError:  # also links that lead to each other
        return False


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
    all but the digits that the stem ends with; and where nothing lies beside a link, the set is
    that of its target.
    """
    name = os.fspath(path)
    if prefix is not None:
        return _numbered(name, prefix)
    sets = []
    for place in places(name):
        stem = os.path.splitext(os.path.basename(place))[0]
        sets.append(_numbered(place, split_number(stem)[0]))
        if len(sets[-1]) > 1:
            return sets[-1]
    return sets[0]


def _numbered(name: str, prefix: str) -> list[DataFile]:
    folder, base = os.path.split(name)
    suffix = os.path.splitext(base)[1]
    pattern = re.compile(re.escape(prefix) + r"(\d*)" + re.escape(suffix), re.IGNORECASE)
    members: list[tuple[int, str]] = []
    for entry in listing(folder):
        match = pattern.fullmatch(entry)
        if match and os.path.normcase(entry).startswith(os.path.normcase(prefix)):
            members.append((int(match[1]) if match[1] else -1, entry))
    members.sort()
    if is_address(name):
        return _on_server(name, prefix, [joined(folder, entry) for _, entry in members])
    if not any(os.path.normcase(entry) == os.path.normcase(base) for _, entry in members):
        return [DataFile.of(name)]  # a disk that ignores case in a system that does not
    beginning = os.path.join(folder, "")
    described = [DataFile.listed(beginning + entry) for _, entry in members]
    newest = max(range(len(described)), key=lambda i: described[i].mtime_ns)
    described[newest] = DataFile.of(described[newest].path)  # the one that may be growing
    return described


def _on_server(name: str, prefix: str, members: list[str]) -> list[DataFile]:
    """Describe the members of a numbered set; without a list of names, those that follow `name`."""
    if name not in members:
        members = [name]
        stem, suffix = os.path.splitext(os.path.basename(name))
        digits = stem[len(prefix) :]
        number = int(digits or 0) + 1
        while len(members) < _MOST_ASKED:
            following = f"{prefix}{number:0{len(digits)}d}{suffix}"
            following = joined(os.path.dirname(name), following)
            if not exists(following):
                break
            members.append(following)
            number += 1
    return [DataFile.listed(member) for member in members]


def in_folder(folder: str, name: str, listed: dict[str, list[str]] | None = None) -> str | None:
    """Find a file in a folder: of this name, else of one that differs in its case only.

    Who looks for several files at once passes the same dict each time, for the names in folders.
    """
    if is_address(folder) and remote.current().names(folder) is None:
        asked_for = joined(folder, name)
        return asked_for if exists(asked_for) else None
    listed = {} if listed is None else listed
    if folder not in listed:
        listed[folder] = listing(folder)
    entries = listed[folder]
    alike = [name] if name in entries else [e for e in entries if e.lower() == name.lower()]
    path = joined(folder, alike[0] if alike else "")
    return path if alike and is_file(path) else None


def side_file(
    path: str | os.PathLike[str], suffixes: tuple[str, ...], *, shared: bool = False
) -> str | None:
    """Find the side file of `path` with one of the suffixes, in any case.

    A member of a numbered set may share the side file of the set: ``scan_000001.mib`` has
    ``scan_000001.hdr``, or else ``scan.hdr`` if that may be `shared`, and is not the side file of
    another ``scan.mib``.
    """
    listed: dict[str, list[str]] = {}

    def side_at(place: str) -> str | None:
        folder, base = os.path.split(place)
        stem, suffix_of_path = os.path.splitext(base)
        prefix, _ = split_number(stem)
        for one in dict.fromkeys((stem, prefix, prefix.rstrip("_-. ")) if shared else (stem,)):
            if not one or (one != stem and in_folder(folder, one + suffix_of_path, listed)):
                continue
            for suffix in suffixes:
                side = in_folder(folder, one + suffix, listed)
                if side is None:
                    continue
                # a.hdr is not that of A.mib if there is an a.mib
                owner = os.path.splitext(os.path.basename(side))[0] + suffix_of_path
                if not (owner != base and one == stem and owner in listing(folder)):
                    return side if is_address(side) else str(Path(side))
        return None

    return first_found(path, side_at)


#: How long to wait, in seconds, for a file that is open: Windows gives it no other name as long.
_PAUSES = (0.0, 0.05, 0.2, 0.5, 1.0) if os.name == "nt" else ()


def when_free(action: Callable[[], object]) -> None:
    """Rename or replace a file, on Windows once nobody has it open.

    Files that this process only keeps open are closed. Scanners for viruses and indexers look into
    new files for a moment.

    Raises
    ------
    PermissionError
        It may not be done, or somebody keeps the file open.
    """
    for pause in _PAUSES:
        try:
            action()
        except PermissionError:
            close_all()
            time.sleep(pause)
        else:
            return
    try:
        action()
    except PermissionError as error:
        if _PAUSES:
            error.add_note(
                "The file may be open in another program, or here: as a signal that was loaded "
                "with mmap_mode, for example. Close it there, and repeat the call."
            )
        raise


def check_name_is_free(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Refuse a name that a folder has, or, unless it is to be overwritten, a file."""
    name = os.fspath(path)
    if os.path.isdir(name) and not os.path.islink(name.rstrip(os.sep)):
        raise FormatError(name, "is a folder, and is not replaced.", "Name a file in it.")
    if not overwrite and os.path.lexists(name):
        raise FileExistsError(errno.EEXIST, "exists already, and is not overwritten", name)


@contextmanager
def replacing(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[str]:
    """Give a temporary name beside `path`; what was written there becomes `path` at the end.

    If anything goes wrong, `path` is as it was and the temporary file is gone.

    Raises
    ------
    FileExistsError
        There is such a file and `overwrite` is False.
    FormatError
        There is a folder of this name.
    """
    name = os.fspath(path)
    check_name_is_free(name, overwrite)
    folder, base = os.path.split(name)
    if folder and not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", folder)
    # of a long name, only the beginning: there is room for no more than 255 bytes
    temporary = os.path.join(folder, f".{base[:40]}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        check_name_is_free(name, overwrite)
        when_free(lambda: os.replace(temporary, name))
    except BaseException as error:
        if isinstance(error, OSError) and error.filename == temporary:
            error.filename, error.filename2 = name, None  # too long a name, for example
        with suppress(OSError):
            os.unlink(temporary)
        raise


def write_whole(file: IO[bytes], at: int, data: memoryview) -> None:
    """Write all bytes to a place of an unbuffered file, which may take fewer at a time."""
    file.seek(at)
    while data:
        data = data[file.write(data) :]
