# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking around in HDF5 files: which data sets there are, and what their attributes say.

Nothing here reads pixels, and no file stays open. h5py is imported when a file is opened.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rsciio_tem.errors import FormatError, NotThisFormat, Truncated
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import giving_way, opener, require_file

__all__ = [
    "DAMAGE",
    "Walk",
    "address",
    "attributes",
    "dectris_links",
    "groups_with",
    "is_converted",
    "is_hdf5",
    "numbers",
    "opened",
    "plain",
    "require_hdf5",
    "text",
    "tree",
    "walk",
]

SIGNATURE = b"\x89HDF\r\n\x1a\n"


#: What h5py raises when a file, or a part of it, is damaged or has a type that numpy lacks.
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)


#: Links that are followed at most, so that a file of a million groups does not take minutes.
_MOST_LINKS = 20_000


#: Groups that are looked at for an attribute.
_MOST_GROUPS = 2000


#: Of a tree of metadata: entries, depth, values of an array, characters of a text.
_MOST_ENTRIES, _DEPTH, _SHORT, _LONGEST_TEXT = 3000, 16, 64, 1 << 16


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
    with open(path, "rb", opener=opener) as file:
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
    """Raise if a file is no HDF5."""
    head = files.read_start(path, 4096)
    if not is_hdf5(path, head):
        raise NotThisFormat(path, f"is no HDF5 file: it begins with {head[:8]!r}.")


@contextlib.contextmanager
def opened(path: str) -> Iterator[Any]:
    """Open a file for looking around; whatever h5py finds wrong with it is a FormatError."""
    import h5py

    with contextlib.suppress(OSError):  # HDF5 says better what is wrong
        require_file(path, os.stat(path))
    try:
        file = giving_way(lambda: _open(h5py, path))
    except DAMAGE as error:
        if not isinstance(error, OSError) or "signature not found" in str(error):
            raise NotThisFormat(path, "is no HDF5 file.") from None
        if "truncated file" in str(error):
            raise Truncated(
                path,
                f"is an HDF5 file that ends early, after {os.path.getsize(path)} bytes.",
                "It was probably not copied, or not closed, completely.",
            ) from None
        raise FormatError(path, f"cannot be opened as HDF5: {error}.") from None
    with file:
        try:
            yield file
        except FormatError:
            raise
        except (*DAMAGE, IndexError, AttributeError) as error:
            raise FormatError(path, f"is a damaged HDF5 file: {error}.") from error


def _open(h5py: Any, path: str) -> Any:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        # locks fail on some network drives, and while a camera is still writing
        if "lock" not in str(error):
            raise
        return h5py.File(path, "r", locking=False)


# ---------------------------------------------------------------- values


def text(value: Any) -> str:
    """Return a text attribute or data set as str; empty if it is none."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value.strip("\0 ") if isinstance(value, str) else ""


def plain(value: Any) -> Any:
    """Return a value of h5py as numbers, text and lists, arrays of more than a few values cut."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").rstrip("\0")[:_LONGEST_TEXT]
    if isinstance(value, str):
        return value[:_LONGEST_TEXT]
    if isinstance(value, np.void):
        names = value.dtype.names
        return {n: plain(value[n]) for n in names} if names else value.tobytes().hex()
    if isinstance(value, np.generic):
        return plain(value.item()) if not isinstance(value.item(), np.generic) else str(value)
    if isinstance(value, np.ndarray):
        if value.size > 64 * _SHORT:
            return f"array of {value.shape} {value.dtype}"
        return [plain(v) for v in value] if value.ndim else plain(value[()])
    if isinstance(value, (bool, int, float, complex)) or value is None:
        return value
    return str(value)


def attributes(thing: Any) -> dict[str, Any]:
    """Return the attributes of a group or data set; those that cannot be read are left out."""
    values = {}
    with contextlib.suppress(*DAMAGE):
        for name in thing.attrs:
            with contextlib.suppress(*DAMAGE):
                values[str(name)] = plain(thing.attrs[name])
    return values


def numbers(dataset: Any) -> list[float]:
    """Return a short one-dimensional data set of finite numbers as a list, otherwise nothing."""
    shape = getattr(dataset, "shape", None)
    if shape is None or len(shape) != 1 or not 0 < shape[0] <= 1 << 20:
        return []
    with contextlib.suppress(*DAMAGE):
        if dataset.dtype.kind in "iuf":
            values = np.asarray(dataset[()], np.float64)
            if np.isfinite(values).all():
                result: list[float] = values.tolist()
                return result
    return []


def tree(group: Any, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return groups, attributes and small data sets as nested dictionaries.

    Attributes are under ``attributes``; a data set that has some is a dictionary too, with its
    ``value``. Data sets of more than a few values are described instead of read. Links to other
    files, and the paths in `without`, are left out.
    """
    return _tree(group, without, [_MOST_ENTRIES], 0, set())


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
    for name in group:
        if budget[0] <= 0:
            break
        budget[0] -= 1
        with contextlib.suppress(*DAMAGE):
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            thing = group[name]
            if thing.name in without or address(thing) in above:
                continue
            if isinstance(thing, h5py.Group):
                entries[str(name)] = _tree(thing, without, budget, depth + 1, above)
            elif isinstance(thing, h5py.Dataset):
                entries[str(name)] = _entry(thing)
    return entries


def _entry(dataset: Any) -> Any:
    if dataset.shape is None:
        value: Any = None
    elif dataset.size <= _SHORT and (dataset.dtype.kind in "buifcS" or dataset.size == 1):
        value = plain(dataset[()])
    else:
        value = f"{'x'.join(map(str, dataset.shape))} {dataset.dtype}"
    described = attributes(dataset)
    return {"value": value, "attributes": described} if described else value


# ---------------------------------------------------------------- walking


def address(thing: Any) -> tuple[Any, ...]:
    """Return what tells whether two groups or data sets are the same."""
    import h5py

    info = h5py.h5o.get_info(thing.id)
    return info.fileno, info.addr


@dataclass
class Walk:
    """The data sets of a file.

    Parameters
    ----------
    datasets : list of (str, h5py.Dataset)
        By path in the file; the same one may have several paths.
    broken : list of (str, str)
        Links that lead nowhere, and where they should lead.
    complete : bool
        Whether everything was looked at.
    """

    datasets: list[tuple[str, Any]] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    complete: bool = True


def require_files(start: Any, path: str, depth: int = 0) -> None:
    """Raise a FormatError if a path in an open file leads through a link to a pipe or device.

    The library would open that, and wait.
    """
    import h5py

    if depth > _DEPTH:
        raise FormatError(start.file.filename, f"{path} leads through more than {_DEPTH} links.")
    node = start.file if path.startswith("/") else start
    for name in path.strip("/").split("/"):
        try:
            link = node.get(name, getlink=True) if isinstance(node, h5py.Group) else None
        except DAMAGE:
            return
        if isinstance(link, h5py.SoftLink):
            require_files(node, link.path, depth + 1)
        elif isinstance(link, h5py.ExternalLink):
            other = files.beside(node.file.filename, link.filename)
            if not os.path.exists(other):
                other = link.filename  # the library looks there, too
            if not os.path.exists(other):
                return
            with opened(other) as file:
                require_files(file, link.path, depth + 1)
        elif not isinstance(link, h5py.HardLink):
            return
        try:
            node = node[name]
        except DAMAGE:
            return


def walk(start: Any) -> Walk:
    """Visit everything below a group, through soft and external links too.

    Groups close to the start come first, and what is in the file itself before what a link names,
    so that everything gets its proper path. Each group is entered once.
    """
    import h5py

    tour, entered, count = Walk(), {address(start)}, 0
    base = "" if start.name == "/" else start.name
    direct: deque[tuple[str, Any]] = deque([(base, start)])
    linked: deque[tuple[str, Any, str]] = deque()

    def meet(path: str, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset):
            tour.datasets.append((path.lstrip("/"), thing))
        elif isinstance(thing, h5py.Group) and (at := address(thing)) not in entered:
            entered.add(at)
            direct.append((path, thing))

    while direct or linked:
        if not direct:
            path, parent, name = linked.popleft()
            try:
                require_files(parent, name)
                meet(path, parent[name])
            except FormatError as error:
                kind = error.problem.rstrip(".")
                tour.broken.append((path.lstrip("/"), f"{error.path}, which {kind}"))
            except DAMAGE:
                link = parent.get(name, getlink=True)
                target = getattr(link, "filename", "")
                tour.broken.append(
                    (path.lstrip("/"), f"{target}:{link.path}" if target else link.path)
                )
            continue
        path, group = direct.popleft()
        for name in group:
            count += 1
            if count > _MOST_LINKS:
                tour.complete = False
                return tour
            below = f"{path}/{name}"
            try:
                link = group.get(name, getlink=True)
                if isinstance(link, h5py.HardLink):
                    meet(below, group[name])
                elif isinstance(link, (h5py.SoftLink, h5py.ExternalLink)):
                    linked.append((below, group, name))
            except DAMAGE as error:
                tour.broken.append((below.lstrip("/"), str(error)))
    return tour


def refuse_pipes(start: Any) -> None:
    """Raise a FormatError if links of an open file lead to a pipe or device.

    The library opens what a link leads to, and waits there, as soon as somebody looks.
    """
    import h5py

    count, entered, waiting = 0, {address(start)}, deque([start])
    while waiting:
        group = waiting.popleft()
        for name in group:
            count += 1
            if count > _MOST_GROUPS:
                return
            try:
                link = group.get(name, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    other = files.beside(start.file.filename, link.filename)
                    if os.path.exists(other):
                        require_file(other, os.stat(other))
                elif isinstance(link, h5py.HardLink):
                    below = group[name]
                    if isinstance(below, h5py.Group) and (at := address(below)) not in entered:
                        entered.add(at)
                        waiting.append(below)
            except FormatError:
                raise
            except DAMAGE:
                continue


def groups_with(start: Any, attribute: str) -> list[str]:
    """Return the groups that have an attribute; `start` alone if it has, none inside of others.

    Links to other files, and soft ones, are not followed.
    """
    import h5py

    if attribute in start.attrs:
        return [str(start.name)]
    names: list[str] = []
    entered, waiting = {address(start)}, deque([start])
    while waiting and len(entered) < _MOST_GROUPS:
        group = waiting.popleft()
        for name in group:
            if group.get(name, getclass=True, getlink=True) is not h5py.HardLink:
                continue
            if group.get(name, getclass=True) is not h5py.Group:
                continue
            below = group[name]
            if (at := address(below)) in entered or len(entered) >= _MOST_GROUPS:
                continue
            entered.add(at)
            if attribute in below.attrs:
                names.append(str(below.name))
            else:
                waiting.append(below)
    return names


def dectris_links(file: Any) -> tuple[str, list[str]]:
    """Return the group, and the names in it, that link a Dectris master to its images.

    Nothing if the file is no such master: the names are ``data_000001``, …, in ``/entry/data``, or
    in ``/entry`` where the firmware is old.
    """
    entry = file.get("entry")
    if "entry/instrument/detector/detectorSpecific" not in file:
        return "", []
    for group in ("entry/data", "entry"):
        links = file.get(group) if group != "entry" else entry
        names = [n for n in links or () if n[:5] == "data_" and len(n) == 11 and n[5:].isdecimal()]
        if names:
            return group, sorted(names)
    return "", []
