# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of files in a text: names, names with spaces, patterns, in the order of the list."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from rsciio_tem.errors import FormatError, Problem, Problems
from rsciio_tem.storage import files

__all__ = ["listed_files"]

_GLOB = re.compile(r"[*?\[]")
#: Words of a name with spaces in a list that is separated by spaces, at most.
_WORDS = 16
#: Folders within each other in a pattern; files that a pattern finds.
_FOLDERS, _MOST_HITS = 64, 1 << 20


def listed_files(
    names: str | Sequence[str],
    directory: str,
    folders: Sequence[str],
    path: str,
    problems: Problems,
) -> list[str]:
    """List the files that are meant.

    Parameters
    ----------
    names : str or list of str
        Names and patterns (``* ? [] **``). In a text they are separated by spaces; a name with
        spaces in it is recognised by being there, or by quotation marks. In a list, one each.
    directory : str
        Goes before each of them.
    folders : sequence of str
        What relative paths start from: the first where something is found.
    path : str
        For messages.
    problems : Problems
        Is added to.

    Returns
    -------
    list of str
        In the order of the names; what a pattern finds in natural order (2 before 10).

    Raises
    ------
    FormatError
        A name or pattern finds nothing.
    """
    search = _Search(os.path.expanduser(directory), tuple(folders), path)
    if isinstance(names, str):
        search.take_text(names)
    else:
        for name in names:
            if not isinstance(name, str) or not name:
                raise FormatError(path, f"lists {name!r} among its files, which is not a name.")
            if not search.take(name):
                raise search.nothing(name)
    members = list(search.names)
    if not members:
        raise FormatError(path, "lists no files.")
    if search.repeated:
        problems.warn(f"{search.repeated} files are found by several patterns, and are taken once.")
    if members != sorted(members):
        message = (
            "files are in the order of the list, numbers in natural order; hexrd sorts them "
            "by characters, 10 before 2."
        )
        problems.append(Problem("info", message))
    return members


@dataclass
class _Search:
    directory: str
    folders: tuple[str, ...]
    path: str
    names: list[str] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    repeated: int = 0

    def take_text(self, text: str) -> None:
        """Add what names and patterns separated by spaces find."""
        words = [m.span() for m in re.finditer(r'"[^"]+"|\'[^\']+\'|\S+', text)]
        i = 0
        while i < len(words):
            for j in range(i, min(i + _WORDS, len(words))):
                name = text[words[i][0] : words[j][1]]
                if self.take(name.strip("\"'") if j == i else name):
                    i = j + 1
                    break
            else:
                raise self.nothing(text[slice(*words[i])].strip("\"'"))

    def take(self, name: str) -> bool:
        """Add what a name or pattern finds; False if it finds nothing."""
        named = os.path.join(self.directory, name)
        for folder in self.folders:
            candidate = os.path.join(folder, named)
            if os.path.isfile(candidate):
                self.names.append(candidate)
                self.taken.add(candidate)
                return True
            if _GLOB.search(named) and (hits := self._matching(folder, name)):
                new = [hit for hit in hits if hit not in self.taken]
                self.repeated += len(hits) - len(new)
                self.names += new
                self.taken.update(new)
                return True
        for folder in self.folders:  # a list that was written where case does not matter
            if (other := _in_other_case(os.path.join(folder, named))) is not None:
                self.names.append(other)
                self.taken.add(other)
                return True
        return False

    def _matching(self, folder: str, name: str) -> list[str]:
        directory = os.path.join(folder, self.directory)
        if os.path.isdir(directory):  # its brackets are not a pattern
            directory = glob.escape(directory)
        if len(re.findall(r"[/\\]", name)) > _FOLDERS:
            return []
        pattern = os.path.join(directory, name)
        hits = list(islice(glob.iglob(pattern, recursive=True), _MOST_HITS))
        return sorted((h for h in hits if os.path.isfile(h)), key=files.natural_key)

    def nothing(self, name: str) -> FormatError:
        """Return the error for a name or pattern that finds nothing."""
        searched = [os.path.abspath(os.path.join(f, self.directory)) for f in self.folders]
        return FormatError(
            self.path,
            f"lists {name}, which is not in {' nor in '.join(dict.fromkeys(searched))}.",
            "Relative folders start from the folder of this file, then from the current one.",
        )


def _in_other_case(path: str) -> str | None:
    folder, base = os.path.split(path)
    try:
        hits = [entry for entry in os.listdir(folder or ".") if entry.lower() == base.lower()]
    except OSError:
        return None
    other = os.path.join(folder, hits[0]) if len(hits) == 1 else ""
    return other if os.path.isfile(other) else None
