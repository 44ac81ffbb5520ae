# SPDX-License-Identifier: GPL-3.0-or-later
"""Which .raw and which .xml belong together."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

from rsciio_tem.errors import FormatError, NotThisFormat, Problems
from rsciio_tem.parsing.trees import value_at, xml_tree
from rsciio_tem.storage import files


class Members(NamedTuple):
    """The files of a recording, and what the .xml says."""

    raw: str
    xml: str | None
    tree: dict[str, Any]


def members_of(path: str, problems: Problems) -> Members:
    """Find the .xml of a .raw, or the .raw of an .xml."""
    if path.lower().endswith(".raw"):
        xml = xml_of(path)
        return Members(path, xml, {} if xml is None else xml_tree(xml))
    tree = xml_tree(path)
    name = value_at(tree, "raw_file", "filename") or value_at(tree, "rawfile", "filename")
    if not name:
        raise NotThisFormat(path, "is no EMPAD description: it names no raw_file.")
    return Members(_raw_of(path, str(name), problems), path, tree)


def xml_of(raw: str) -> str | None:
    """Find the .xml beside a .raw that names it."""
    folder, base = os.path.split(raw)
    entries = sorted(os.listdir(folder or "."))[:5000]
    for entry in [entry for entry in entries if entry.lower().endswith(".xml")][:200]:
        xml = os.path.join(folder, entry)
        if base.encode() in files.read_start(xml, 1 << 14):
            return xml
    return None


def _raw_of(xml: str, name: str, problems: Problems) -> str:
    """Find the .raw that an .xml names: by its name alone, whatever folder it once was in."""
    folder = os.path.dirname(xml)
    base = re.split(r"[/\\]", name.strip())[-1]
    listing = {entry.lower(): entry for entry in os.listdir(folder or ".")}
    if base and (entry := listing.get(base.lower())):
        return os.path.join(folder, entry)
    lacking = f"{base!r}, which the .xml names, is not there"
    if entry := listing.get(f"{os.path.splitext(os.path.basename(xml))[0]}.raw".lower()):
        problems.warn(f"{lacking}; {entry} is read instead.")
        return os.path.join(folder, entry)
    others = [entry for key, entry in listing.items() if key.endswith(".raw")]
    if len(others) == 1:
        problems.warn(f"{lacking}; {others[0]}, the only .raw in the folder, is read instead.")
        return os.path.join(folder, others[0])
    raise FormatError(
        xml,
        f"names the data file {base!r}, which is not beside it"
        + (f" (there are {', '.join(sorted(others)[:5])})." if others else "."),
        "Put it there, or open the .raw itself.",
    )
