# SPDX-License-Identifier: GPL-3.0-or-later
"""What HDF5 files refer to: members, links, other files, data sets put together from others.

The library opens whatever a file names: a pipe, which keeps it waiting; a data set that consists
of itself, which ends the process. So what is named is looked at first: a file has to be a regular
one and HDF5. One whose bytes are pixels as they are (external storage) may be of any kind, such as
a letter; it has to lie *near*: somewhere below the folder of the one that names it, below the
folder above, or below the current folder. Symbolic links count as where they lie.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rsciio_tem.errors import FormatError
from rsciio_tem.parsing.hdf5 import address, is_hdf5, opened
from rsciio_tem.parsing.hdf5_values import (
    DAMAGE,
    creation_of,
    filename_of,
    has_link,
    inside,
    is_hard,
    link_of,
    names_in,
    remembered,
)
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import require_file
from rsciio_tem.storage.remote.address import is_address

__all__ = [
    "Walk",
    "above",
    "behind",
    "children",
    "dataset_of",
    "dectris_links",
    "is_at",
    "member",
    "opened_at",
    "referred",
    "refuse_pipes",
    "require_links",
    "require_near",
    "require_sources",
    "sources_of",
    "walk",
]

#: Links that are followed at most, so that a file of a million groups does not take minutes.
_MOST_LINKS = 20_000
#: Groups that are looked at for links to pipes.
_MOST_GROUPS = 2000
#: Links that a path leads through, one to the next.
_DEEPEST = 16
#: Of a virtual data set: sources, and sources of sources.
_MOST_SOURCES, _DEEPEST_SOURCE = 100_000, 8


# ---------------------------------------------------------------- other files


def referred(path: str, name: str, plain: bool = False) -> str:
    """Return the path of a file that the HDF5 file `path` names: beside it, or in the current one.

    Parameters
    ----------
    path, name : str
        Who refers, and to what.
    plain : bool
        The bytes of the file are pixels as they are.

    Raises
    ------
    FormatError
        It is not a regular file, or no HDF5; a plain one that is not near.
    """
    return remembered("referred", None, (path, name, plain), _referred, path, name, plain)


def _referred(path: str, name: str, plain: bool) -> str:
    other = files.beside(path, name)
    if is_address(path) and not is_address(other):
        raise FormatError(path, f"refers to {name}, which is not beside it.")
    if not is_address(path) and not files.exists(other) and files.exists(name):
        other = name  # the library looks there, too
    if plain and not _is_near(path, other):
        raise FormatError(
            path,
            f"refers to {name}, which is in another place.",
            "Put that file into the folder of the recording, or a symbolic link to it.",
        )
    with contextlib.suppress(OSError):  # missing
        if not is_address(other):
            require_file(other, os.stat(other))
        elif not files.exists(other):
            return other
        if not plain and not is_hdf5(other, files.read_start(other, 4096)):
            raise FormatError(path, f"refers to {name}, which is not an HDF5 file.")
    return other


def _is_near(path: str, other: str) -> bool:
    if is_address(other):  # no other is opened
        return True
    target = os.path.normcase(os.path.abspath(other))
    roots = [os.getcwd()]
    for place in files.places(path):
        folder = os.path.dirname(os.path.abspath(place))
        above = os.path.dirname(folder)
        roots.append(folder if above == os.path.dirname(above) else above)
    return any(
        target.startswith(os.path.join(os.path.normcase(root).rstrip(os.sep), "")) for root in roots
    )


# ---------------------------------------------------------------- members


def require_links(start: Any, path: str, depth: int = 0) -> set[str]:
    """Return the other files that a path in an open file leads through.

    Raises
    ------
    FormatError
        One of them is not an HDF5 file, or there is no end of links.
    """
    return set(remembered("links", start, (path, depth), _required, start, path, depth))


def _required(start: Any, path: str, depth: int) -> set[str]:
    import h5py

    others: set[str] = set()
    with contextlib.suppress(*DAMAGE, AttributeError):
        if not _without_links(start, path)[1]:
            return others
    if depth > _DEEPEST:
        raise FormatError(filename_of(start), f"{path} leads through more than {_DEEPEST} links.")
    node = start.file if path.startswith("/") and start.name != "/" else start
    names = path.strip("/").split("/")
    for i, name in enumerate(names, start=1):
        if isinstance(node, h5py.Group) and is_hard(node, name):
            if i == len(names):
                return others
            try:
                node = inside(node, name)
            except DAMAGE:
                return others
            continue
        try:
            link = link_of(node, name) if isinstance(node, h5py.Group) else None
        except DAMAGE:
            return others
        if isinstance(link, h5py.SoftLink):
            others |= require_links(node, link.path, depth + 1)
        elif isinstance(link, h5py.ExternalLink):
            other = referred(filename_of(node), link.filename)
            if not files.exists(other):
                return others
            with opened(other) as file:
                others |= {other, *require_links(file, link.path, depth + 1)}
        elif not isinstance(link, h5py.HardLink):
            return others
        try:
            node = node[name]
        except DAMAGE:
            return others
    return others


def member(group: Any, path: str) -> Any:
    """Return a group or data set by its path; None where there is none that can be opened."""
    import h5py

    if not hasattr(group, "keys"):
        return None
    try:
        thing, names = _without_links(group, path)
        if names and isinstance(thing, h5py.Dataset):
            return None  # there is nothing in it
        relative = path[:1] != "/" or group.name == "/"
        if names and relative and names[0] != "." and not has_link(thing, names[0]):
            return None
        if names:
            require_links(group, path)
            thing = opened_at(group, path)
        if thing is not None:
            require_near(thing)
    except (FormatError, *DAMAGE):
        return None
    return thing


def is_at(group: Any, path: str) -> bool:
    """Whether there is anything at a path that can be opened, as ``path in group``."""
    try:
        return not _without_links(group, path)[1] or path in group
    except DAMAGE:
        return path in group


def opened_at(group: Any, path: str) -> Any:
    """Open what is at a path, as ``group[path]`` does; what was opened before is not again."""
    thing, names = _without_links(group, path)
    return remembered("opened", group, path, group.__getitem__, path) if names else thing


def above(file: Any, path: str, group: Any) -> Any:
    """Return the ``parent`` of a group, which is at a path in an open file."""
    node, names = _without_links(file, path.rpartition("/")[0] or "/")
    if names or _without_links(file, path or "/")[0] is not group:
        return group.parent
    return node


def _without_links(group: Any, path: str) -> tuple[Any, list[str]]:
    """Follow a path as far as it leads through groups alone; return where, and what is left."""
    return remembered("without links", group, path, _follow, group, path)


def _follow(group: Any, path: str) -> tuple[Any, list[str]]:
    names = path.strip("/").split("/")
    if path[:1] == "/" and group.name != "/":
        return group, names
    if path == "/":
        return group, []
    for i, name in enumerate(names):
        if not (name and hasattr(group, "keys") and is_hard(group, name)):
            return group, names[i:]
        group = inside(group, name)
    return group, []


def children(group: Any) -> Iterator[tuple[str, Any]]:
    """Give the members of a group that can be opened; nothing if it is none."""
    if not hasattr(group, "keys"):
        return
    with contextlib.suppress(*DAMAGE):
        for i, name in enumerate(names_in(group)):
            if i >= _MOST_LINKS:
                return
            if (thing := member(group, name)) is not None:
                yield str(name), thing


def dataset_of(file: Any, name: str) -> Any:
    """Return a data set of an open file; a FormatError says what is there instead."""
    import h5py

    path = filename_of(file)
    require_links(file, name)
    try:
        thing = opened_at(file, name)
    except DAMAGE as error:
        try:
            link = file.get(name, getlink=True)
        except DAMAGE:
            link = None
        if isinstance(link, h5py.ExternalLink):
            raise FormatError(
                path,
                f"{name} is in another file, {link.filename}, which is missing or has no "
                f"{link.path}.",
                "Put all files of the recording into one folder.",
            ) from None
        if isinstance(link, h5py.HardLink):
            raise FormatError(path, f"{name!r} cannot be opened: {error}.") from None
        raise FormatError(path, f"has no data set {name!r}.") from None
    if not isinstance(thing, h5py.Dataset):
        raise FormatError(path, f"{name!r} is a {type(thing).__name__.lower()}, not a data set.")
    require_near(thing)
    return thing


def require_near(thing: Any) -> None:
    """Raise if a data set refers to what is not a file, or to plain bytes that are not near.

    The shape of one whose sources go on without limit is enough for the library to open them.
    """
    import h5py

    if not isinstance(thing, h5py.Dataset):
        return
    layout = creation_of(thing)
    if layout.get_layout() != h5py.h5d.VIRTUAL and not layout.get_external_count():
        return
    if layout.get_layout() == h5py.h5d.VIRTUAL:
        count = layout.get_virtual_count()
        if count > _MOST_SOURCES:
            raise FormatError(
                filename_of(thing), f"{thing.name} is put together from {count} parts."
            )
        names = {layout.get_virtual_filename(i) for i in range(count)} - {"."}
    else:
        names = {os.fsdecode(layout.get_external(i)[0]) for i in range(layout.get_external_count())}
    plain = layout.get_layout() != h5py.h5d.VIRTUAL
    for name in names:
        referred(filename_of(thing), name, plain)


# ---------------------------------------------------------------- virtual data sets


def require_sources(
    dataset: Any,
    path: str,
    above: tuple[tuple[str, str], ...] = (),
    seen: set[tuple[str, str]] | None = None,
) -> set[str]:
    """Look at all that a virtual data set is put together from; return the files.

    HDF5 shows pixels of sources that are missing as if they were stored with the fill value; here
    that is an error.

    Parameters
    ----------
    dataset : h5py.Dataset
        The data set; nothing of it is read.
    path : str
        The file that it is in.
    above, seen
        What is put together from it, and what was looked at.

    Raises
    ------
    FormatError
        A source is missing, no regular file, not near, or the data set itself; there are too many.
    """
    import h5py

    seen = set() if seen is None else seen
    layout = creation_of(dataset)
    if layout.get_layout() != h5py.h5d.VIRTUAL:
        return set()
    here = (os.path.realpath(path), str(dataset.name))
    if here in above:
        raise FormatError(path, f"{dataset.name} is put together from itself.")
    if len(above) >= _DEEPEST_SOURCE:
        raise FormatError(
            path, f"{dataset.name} is put together from parts that are so, too, and so on."
        )
    require_near(dataset)
    members: set[str] = set()
    pairs = {
        (layout.get_virtual_filename(i), layout.get_virtual_dsetname(i))
        for i in range(layout.get_virtual_count())
    }
    for name, inner in sorted(pairs):
        for number in range(_MOST_SOURCES) if "%b" in name + inner else (-1,):
            other = path if name == "." else referred(path, _numbered(name, number))
            source = _numbered(inner, number)
            if not files.exists(other):
                if number >= 0:
                    break  # numbered sources, as many as there are
                raise FormatError(
                    path,
                    f"{dataset.name} is put together from other files, of which {name} is missing.",
                    "Put all files of the recording into one folder.",
                )
            there = (os.path.realpath(other), f"/{source.strip('/')}")
            if there in seen and there not in (*above, here):
                continue
            if len(seen) > _MOST_SOURCES:
                raise FormatError(path, f"{dataset.name} is put together from too many parts.")
            seen.add(there)
            members.add(other)
            with opened(other) as file:
                if number >= 0 and source not in file:
                    break
                members |= require_links(file, source)
                inner_set = dataset_of(file, source)
                members |= require_sources(inner_set, other, (*above, here), seen)
    return members


def sources_of(dataset: Any, path: str) -> frozenset[str]:
    """Return the files that a virtual data set is put together from, as `require_sources` does."""

    def sources() -> frozenset[str]:
        return frozenset(require_sources(dataset, path))

    return remembered("sources", dataset, None, sources)


def behind(file: Any, path: str, dataset: Any) -> set[str]:
    """Return all other files that a data set of an open file is read from."""
    owner = filename_of(dataset)
    others = require_links(file, path) | {owner} | sources_of(dataset, owner)
    created = creation_of(dataset)
    for i in range(created.get_external_count()):
        name = created.get_external(i)[0]
        others.add(referred(owner, os.fsdecode(name), plain=True))
    return others


def _numbered(name: str, number: int) -> str:
    """Return a name with its number; ``%%`` stands for one of these."""
    return name.replace("%b", str(number)).replace("%%", "%")


# ---------------------------------------------------------------- walking


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
            require_near(thing)
            tour.datasets.append((path.lstrip("/"), thing))
        elif isinstance(thing, h5py.Group) and (at := address(thing)) not in entered:
            entered.add(at)
            direct.append((path, thing))

    while direct or linked:
        if not direct:
            path, parent, name = linked.popleft()
            try:
                require_links(parent, name)
                meet(path, opened_at(parent, name))
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
        for name in names_in(group):
            count += 1
            if count > _MOST_LINKS:
                tour.complete = False
                return tour
            below = f"{path}/{name}"
            try:
                if is_hard(group, name):
                    meet(below, inside(group, name))
                    continue
                link = group.get(name, getlink=True)
                if isinstance(link, (h5py.SoftLink, h5py.ExternalLink)):
                    linked.append((below, group, name))
            except FormatError as error:
                kind = error.problem.rstrip(".")
                tour.broken.append((below.lstrip("/"), f"{error.path}, which {kind}"))
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
        for name in names_in(group):
            count += 1
            if count > _MOST_GROUPS:
                return
            try:
                if not is_hard(group, name):
                    link = group.get(name, getlink=True)
                    if isinstance(link, h5py.ExternalLink):
                        other = files.beside(filename_of(start), link.filename)
                        if not is_address(other) and files.exists(other):
                            require_file(other, os.stat(other))
                else:
                    below = inside(group, name)
                    if isinstance(below, h5py.Group) and (at := address(below)) not in entered:
                        entered.add(at)
                        waiting.append(below)
            except FormatError:
                raise
            except DAMAGE:
                continue


def dectris_links(file: Any) -> tuple[str, list[str]]:
    """Return the group, and the names in it, that link a Dectris master to its images.

    Nothing if the file is no such master: the names are ``data_000001``, …, in ``/entry/data``, or
    in ``/entry`` where the firmware is old.
    """
    if not hasattr(member(file, "entry/instrument/detector/detectorSpecific"), "keys"):
        return "", []
    for group in ("entry/data", "entry"):
        links = member(file, group)
        names = [
            name
            for name in (links if hasattr(links, "keys") else ())
            if name[:5] == "data_" and len(name) == 11 and name[5:].isdecimal()
        ]
        if names:
            return group, sorted(names)
    return "", []
