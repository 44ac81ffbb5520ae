# SPDX-License-Identifier: GPL-3.0-or-later
"""The .emi file and its XML: which series it describes, and what it says of each."""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from rsciio_tem.errors import FormatError, Problems
from rsciio_tem.parsing.text import legible, to_number
from rsciio_tem.parsing.trees import xml_content
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import opener
from rsciio_tem.storage.remote.address import is_address

_logger = logging.getLogger(__name__)

#: What all descriptions begin with.
EMI = b"JK\0\2"
#: Blocks of XML in a description at most; a block longer than this is refused anyway.
_MAX_OBJECTS, _BLOCK_LIMIT = 256, (1 << 20) + 1

# ---------------------------------------------------------------- which files


class Description(NamedTuple):
    """What a .emi says about one series."""

    path: str
    block: dict[str, Any] | None  # about this series
    first: dict[str, Any] | None  # about the first one
    others: dict[str, Any]


class Members(NamedTuple):
    """The series that belong to a file, their description, and the blocks that it has."""

    series: list[str]
    emi: str | None
    objects: list[dict[str, Any]]

    def description_of(self, path: str) -> Description | None:
        """Return what the description says about a series: the block with its number."""
        if self.emi is None:
            return None
        match = re.search(r"_(\d+)$", os.path.splitext(os.path.basename(path))[0])
        index = int(match[1]) - 1 if match else -1
        block = self.objects[index] if 0 <= index < len(self.objects) else None
        if block is None:
            _logger.warning(
                "%s did not contain any metadata for %s: only the header of the series is used",
                *(self.emi, path),
            )
        others = {
            f"ObjectInfo_{i}": o
            for i, o in enumerate(self.objects, start=1)
            if o is not block and len(o) > 1
        }
        return Description(self.emi, block, next(iter(self.objects), None), others)


def members_of(filename: str | os.PathLike[str], problems: Problems) -> Members:
    """Find what belongs to a series, or to a description."""
    path = files.existing(filename)
    if files.read_start(path, len(EMI)) == EMI or path.lower().endswith(".emi"):
        return Members(series_of(path), path, _objects(path, problems))
    emi = description_of(path)
    return Members([path], emi, [] if emi is None else _objects(emi, problems))


def description_of(path: str) -> str | None:
    """Find the .emi of a series: ``name.emi`` for ``name_1.ser``."""
    return files.first_found(path, _description_at)


def _description_at(path: str) -> str | None:
    folder, base = os.path.split(path)
    match = re.fullmatch(r"(.+)_\d+", os.path.splitext(base)[0], re.DOTALL)
    if match is None:
        return None
    pattern = re.compile(re.escape(match[1]) + r"\.[eE][mM][iI]")
    name = next(filter(pattern.fullmatch, files.listing(folder)), None)
    emi = None if name is None else files.joined(folder, name)
    return emi if emi is not None and files.is_file(emi) else None


def series_of(emi: str) -> list[str]:
    """List the series of a description in the order of their numbers."""
    series = files.first_found(emi, _series_at)
    if not series:
        stem = os.path.splitext(os.path.basename(emi))[0]
        raise FormatError(
            emi,
            f"describes series, of which none lies beside it: there is no {stem}_1.ser.",
            "Put the .ser files into its folder.",
        )
    return series


def _series_at(emi: str) -> list[str]:
    folder, base = os.path.split(emi)
    stem = os.path.splitext(base)[0]
    pattern = re.compile(re.escape(stem) + r"_(\d+)\.[sS][eE][rR]")
    numbered = [(int(m[1]), m[0]) for m in map(pattern.fullmatch, files.listing(folder)) if m]
    return [files.joined(folder, name) for _, name in sorted(numbered)]


# ---------------------------------------------------------------- what it says


def _objects(path: str, problems: Problems) -> list[dict[str, Any]]:
    """Return the blocks ``<ObjectInfo>…</ObjectInfo>`` of a description, in their order."""
    first, last = b"<ObjectInfo>", b"</ObjectInfo>"
    objects: list[dict[str, Any]] = []
    if not files.bytes_of(path):
        problems.warn(f"{os.path.basename(path)} is empty.")
        return objects
    with _content(path) as content:
        at = content.find(first)
        while at >= 0 and len(objects) < _MAX_OBJECTS:
            stop = content.find(last, at)
            if stop < 0:
                problems.warn(f"{os.path.basename(path)} was cut off.")
                break
            try:
                block = content[at : min(stop + len(last), at + _BLOCK_LIMIT)]
                objects.append(_object(block, path))
            except FormatError as error:
                objects.append({})
                problems.warn(f"{os.path.basename(path)} {error.problem}")
            at = content.find(first, stop)
    return objects


@contextlib.contextmanager
def _content(path: str) -> Iterator[mmap.mmap | bytes]:
    """Give the bytes of a description: mapped, where it is on a disk."""
    if is_address(path):
        yield files.read_start(path, files.bytes_of(path))
        return
    with (
        open(path, "rb", opener=opener) as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        yield content


def _object(text: bytes, path: str) -> dict[str, Any]:
    """Parse one block; labels and units become keys as in RosettaSciIO."""
    tree = xml_content(legible(text).encode(), path)
    if isinstance(described := tree.get("ExperimentalDescription"), dict):
        tree["ExperimentalDescription"] = dict(_labelled(described))
    if isinstance(inner := tree.get("TrueImageHeaderInfo"), str):  # XML as text of XML
        with contextlib.suppress(FormatError):  # then it stays text
            entries = _entries(xml_content(inner.encode(), path) if inner else {})
            tree["TrueImageHeaderInfo"] = {
                str(e.get("Index")): to_number(e.get("Value")) for e in entries
            }
    return tree


def _entries(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """List the elements ``<Data>`` of a tree."""
    entries = tree.get("Data_list", [tree["Data"]] if "Data" in tree else [])
    return [entry for entry in entries if isinstance(entry, dict)]


def _labelled(tree: dict[str, Any]) -> list[tuple[str, Any]]:
    root = tree.get("Root")
    labelled: list[tuple[str, Any]] = []
    for entry in _entries(root) if isinstance(root, dict) else []:
        label, value, unit = (entry.get(name) for name in ("Label", "Value", "Unit"))
        if not unit:
            labelled.append((str(label), value or None))
            continue
        try:
            value = float(str(value))
        except ValueError:
            _logger.warning("Expected decimal value for %s, not %r", label, value)
        labelled.append((f"{label}_{unit}", value))
    return labelled
