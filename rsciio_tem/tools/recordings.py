# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the recordings below a folder: each once, without skipping anything that may be one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Unsupported, collected
from rsciio_tem.readers import detect, is_zspy
from rsciio_tem.recording.annotation import SUFFIX
from rsciio_tem.registry import candidates, every_format
from rsciio_tem.storage.files import read_start
from rsciio_tem.tools.open import open
from rsciio_tem.writing.working_folder import unfinished

__all__ = [
    "CHECKSUMS",
    "RECORDS",
    "Item",
    "Search",
    "is_searched",
    "item_of",
    "pairs",
    "recordings_below",
]

#: Suffixes of texts that mean a recording only if their content says so.
_TEXTS = frozenset(("xml", "yml", "yaml", "toml"))

#: Suffixes that other programs use as well, for what is no recording.
_COMMON = frozenset(
    ("hdr", "raw", "bin", "npz", "h5", "hdf5", "map", "st", "ali", "rec", "dm", "nxs")
)


#: What is said of files that are not looked into.
_OF_HYPERSPY = "is a file of HyperSpy, which hs.load opens."


#: What conversions leave beside their targets: a line of JSON for each, and a list of checksums.
RECORDS, CHECKSUMS = "conversions.jsonl", "SHA256SUMS"


class Item(NamedTuple):
    """A result of a search.

    Parameters
    ----------
    path : str
        A file, or a folder that is a recording.
    problem : Problem, optional
        Why it cannot be used as a recording. Without a problem, it is a recording, possibly
        damaged.
    files : tuple of str
        Its files, as absolute paths; empty if it is not a recording.
    """

    path: str
    problem: Problem | None = None
    files: tuple[str, ...] = ()


@dataclass
class Search:
    """What lies below a folder.

    Parameters
    ----------
    items : list of Item
        Recordings, and what may be one.
    others : Counter
        Suffixes of other files, and how often each occurred.
    """

    items: list[Item] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


def recordings_below(
    folder: str | os.PathLike[str], *, raw: bool = False, leave_out: Iterable[str] = ()
) -> Search:
    """Search a folder, and those in it, for recordings.

    Parameters
    ----------
    folder : path
        Where to begin. Links to folders are not followed.
    raw : bool
        Files without a header are recordings: the caller knows what is in them.
    leave_out : iterable of str
        Folders to skip.

    Returns
    -------
    Search
        Each recording once, under the file that was found first. A file with one of our suffixes
        whose content is not recognised, is empty, or was overwritten with zeros is also an item;
        so are unfinished conversions, and folders that cannot be read.
    """
    result = Search()
    opened: dict[str, Item] = {}
    doubtful: list[Item] = []
    seen: set[str] = set()
    avoided = {os.path.realpath(path) for path in leave_out}

    def unreadable(error: OSError) -> None:
        problem = Problem("error", f"cannot be looked into: {error.strerror}.")
        doubtful.append(Item(str(error.filename), problem))

    for place, below, names in os.walk(folder, onerror=unreadable):
        for name in sorted(below):
            path = os.path.join(place, name)
            if os.path.realpath(path) in avoided:
                below.remove(name)
            elif os.path.islink(path):
                result.others["links to folders"] += 1
            elif unfinished(path):
                below.remove(name)
                doubtful.append(Item(path, Problem("warning", "is an unfinished conversion.")))
            elif name.lower().endswith(".zspy"):
                below.remove(name)
                doubtful.append(Item(path, Problem("warning", _OF_HYPERSPY)))
            elif candidates(path, b""):  # a folder that is a recording
                below.remove(name)
                names.append(name)
            elif name.lower().endswith(".zarr"):
                below.remove(name)
                problem = "has the name of a Zarr store, and no file that describes one."
                doubtful.append(Item(path, Problem("error", problem)))
        below.sort()
        for name in sorted(names):
            path = os.path.join(place, name)
            if (
                os.path.abspath(path) in seen
                or name in (RECORDS, CHECKSUMS)
                or name.endswith(SUFFIX)
                or _is_apple_double(path)
            ):
                continue
            item = item_of(path, raw)
            if item is None:
                result.others[os.path.splitext(name)[1].lower()] += 1
            elif item.files:
                opened[item.path] = item
                seen.update(item.files)
            else:
                doubtful.append(item)
    # a side file or a dark image may have been met before the recording it belongs to
    groups: dict[str, list[Item]] = {}
    for item in opened.values():
        for file in item.files:
            groups.setdefault(file, []).append(item)
    for path, item in opened.items():
        others = groups[os.path.abspath(path)]
        if all(len(other.files) <= len(item.files) for other in others):
            result.items.append(item)
    result.items += [item for item in doubtful if os.path.abspath(item.path) not in seen]
    result.items.sort(key=lambda item: item.path)
    return result


def pairs(
    first: str, second: str, *, raw: bool = False
) -> tuple[list[tuple[str, str]], list[Item]]:
    """Pair the recordings below two folders by their names, as ``convert --into`` gives them.

    Returns
    -------
    pairs : list of (str, str)
        Paths in the first folder, and in the second.
    rest : list of Item
        Recordings without a counterpart, and items that cannot be used; each with its problem.
    """

    def stem(name: str) -> str:
        return os.path.splitext(name)[0].removesuffix("_000")

    below = [
        {
            os.path.relpath(item.path, folder): item
            for item in recordings_below(folder, raw=raw).items
        }
        for folder in (first, second)
    ]
    rest = [item for items in below for item in items.values() if item.problem is not None]
    ours, theirs = (
        {name: item for name, item in items.items() if item.problem is None} for items in below
    )
    matched: list[tuple[str, str]] = []
    for name, item in ours.items():
        for names in (
            [name] if name in theirs else [],
            [other for other in theirs if stem(other) == name],  # scan.mib.h5
            [other for other in theirs if stem(other) == stem(name)],
        ):
            if names:
                matched += [(item.path, theirs[other].path) for other in names]
                break
    for items, side, folder in ((ours, 0, second), (theirs, 1, first)):
        seen = {pair[side] for pair in matched}
        problem = Problem("warning", f"has no counterpart in {folder}.")
        rest += [Item(one.path, problem) for one in items.values() if one.path not in seen]
    return matched, rest


def is_searched(path: str) -> bool:
    """Say whether a path is a folder that is not itself a recording, as a Zarr store is."""
    return os.path.isdir(path) and not candidates(path, b"") and not is_zspy(path)


def _is_apple_double(path: str) -> bool:
    """Whether a file is one that macOS leaves on other disks: attributes of a file beside it."""
    if not os.path.basename(path).startswith("._") or not os.path.isfile(path):
        return False
    return read_start(path, 4) == b"\0\5\x16\7"


def item_of(path: str, raw: bool = False) -> Item | None:
    """Say what a file is, and which files belong to it; None if it is not one of ours."""
    if is_zspy(path):
        return Item(path, Problem("warning", _OF_HYPERSPY))
    suffix = os.path.splitext(path)[1].lower().lstrip(".")
    ours = any(suffix in row.suffixes for row in every_format().values())
    headless = raw and suffix in ("raw", "bin")
    itself = os.path.abspath(path)
    with collected():  # what is odd about it is told when it is checked
        try:
            formats = [c for c in detect(path) if c.format in every_format()]
            if formats and formats[0].confidence >= 0.5:
                ours = True
                recording = open(path)
                files = dict.fromkeys([itself, *map(os.path.abspath, recording.files)])
                # a data file may need its side file: raw pixels that another name describes
                alone = recording.path == path or any(
                    c.confidence >= 0.5 for c in detect(recording.path)
                )
                return Item(recording.path if alone else path, files=tuple(files))
        except (Unsupported, NotThisFormat) as error:
            if not headless:
                return Item(path, Problem("warning", error.problem, error.hint))
        except FormatError:  # a check of it says why
            return Item(path, files=(itself,)) if ours else None
    if suffix == "hspy":
        return Item(path, Problem("warning", _OF_HYPERSPY))
    if not ours:
        return None
    if headless:
        return Item(path, files=(itself,))
    head = read_start(path, 4096)
    if any(head) and suffix in _TEXTS:
        return None
    if (any(head) and suffix in _COMMON) or (head and suffix in ("raw", "bin")):
        problem = f"is not recognised as a recording; it begins with {head[:16]!r}."
        return Item(path, Problem("warning", problem))
    return Item(path)  # it has the name of a recording, and is destroyed
