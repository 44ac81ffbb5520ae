# SPDX-License-Identifier: GPL-3.0-or-later
"""What was made from what: the record that conversions leave in their folder."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from rsciio_tem._version import __version__
from rsciio_tem.errors import FormatError
from rsciio_tem.storage.files import size_of
from rsciio_tem.tools.recordings import RECORDS, item_of
from rsciio_tem.writing.identity import identified, state

__all__ = ["Record", "Records", "bytes_of", "files_of"]

_logger = logging.getLogger(__name__)


class Record(dict[str, Any]):
    """What was made from what: a line of the file of records."""

    def unlike(self, mine: Mapping[str, Any], target: str) -> str:
        """Say why a target is not one of the conversion `mine`; "" if it is."""
        if self["source"] != mine["source"]:
            return "the recording has changed since, or is another one"
        if self["options"] != mine["options"]:
            return "it was made with other options"
        return "" if self["state"] == _state(target) else "it has changed since"


def _state(target: str) -> list[Any]:
    """Return sizes and times of the files of a target."""
    return [state(path)[1:] for path in files_of(target)] if os.path.lexists(target) else []


def files_of(target: str) -> Sequence[str]:
    """List all files of a target."""
    item = None if os.path.isdir(target) else item_of(target)
    return item.files if item is not None and item.files else [target]


def bytes_of(target: str) -> int:
    """Return the size of all files of a target together."""
    return sum(map(size_of, files_of(target)))


def _parsed(line: bytes) -> Record | None:
    """Parse a line of the file of records; None if it is none."""
    try:
        entry = Record(json.loads(line))
        row = entry["row"]
        texts = (entry["target"], row["target"])
        lists = (entry["source"], entry["state"], row["problems"])
        whole = isinstance(row["verified"], bool) and "options" in entry
    except (ValueError, TypeError, KeyError):
        return None
    whole = whole and all(isinstance(text, str) for text in texts)
    return entry if whole and all(isinstance(one, list) for one in lists) else None


class Records:
    """What was made from what: one line of JSON for each conversion into a folder."""

    def __init__(self, into: str) -> None:
        self.into = os.path.abspath(into)
        self.path = os.path.join(self.into, RECORDS)
        self.entries: dict[str, Record] = {}
        if not os.path.lexists(self.path):
            return
        if os.path.islink(self.path) or not os.path.isfile(self.path):
            raise FormatError(self.path, "is not a file with records.", "Move it away.")
        with open(self.path, "rb") as file:
            lines = file.read().splitlines()
        for number, line in enumerate(lines, 1):
            entry = _parsed(line)
            if entry is None:  # torn when the computer was switched off
                _logger.warning("%s: line %d is not a record of a conversion", self.path, number)
            else:
                self.entries[entry["target"]] = entry
        if lines and not self.entries and not lines[0].startswith(b"{"):
            raise FormatError(
                self.path, "holds no records of conversions.", "Move it away; it is not ours."
            )

    def _name(self, path: str) -> str:
        try:
            name = os.path.relpath(path, self.into)
        except ValueError:  # on another drive of Windows
            name = os.path.abspath(path)
        return name.replace(os.sep, "/")

    def here(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row with paths as seen from here; a record has them relative to its folder."""
        place = partial(os.path.join, self.into)
        return {
            **row,
            "files": [os.path.normpath(place(name)) for name in row.get("files", ())],
            "checksums": {
                os.path.normpath(place(name)): one for name, one in row.get("checksums", {}).items()
            },
        }

    def target_of(self, target: str) -> str | None:
        """Return the path of a target that exists; a series has its own names."""
        record = self.entries.get(self._name(target))
        paths = [target]
        if record is not None:  # relative to this folder, wherever it lies now
            paths.append(os.path.join(self.into, record["row"]["target"]))
        return next((path for path in paths if os.path.lexists(path)), None)

    def identity(
        self, target: str, files: Sequence[str], options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Identify a conversion: files by size and time, options by their content."""
        mine = {
            "target": self._name(target),
            "source": [[self._name(path), *state(path)[1:]] for path in sorted(files)],
            "options": identified(options),
        }
        plain: dict[str, Any] = json.loads(json.dumps(mine))
        return plain

    def add(self, mine: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        """Note a conversion, safely."""
        entry = {
            **mine,
            "state": _state(row["target"]),
            "version": __version__,
            "row": {
                **row,
                "target": self._name(row["target"]),
                "files": [self._name(name) for name in row.get("files", ())],
                "checksums": {self._name(name): one for name, one in row["checksums"].items()},
            },
        }
        line = json.dumps(entry).encode() + b"\n"
        import filelock

        with open(self.path, "ab+") as file:
            with suppress(OSError):  # network file systems that cannot lock
                filelock.lock_descriptor(file.fileno(), blocking=True)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
