# SPDX-License-Identifier: GPL-3.0-or-later
"""Which .raw and which .xml belong together."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

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
        raise NotThisFormat(path, "is not an EMPAD description: it names no raw_file.")
    return Members(_raw_of(path, str(name), problems), path, tree)


def xml_of(raw: str) -> str | None:
    """Find the .xml beside a .raw that names it."""
    return files.first_found(raw, _xml_at)


def _xml_at(raw: str) -> str | None:
    folder, base = os.path.split(raw)
    # the whole name, whatever folder is before it
    named = re.compile(rf"""["'>/\\]\s*{re.escape(escape(base))}\s*["'<]""", re.IGNORECASE)
    entries = [entry for entry in files.listing(folder)[:5000] if entry.lower().endswith(".xml")]
    for xml in [files.joined(folder, entry) for entry in entries[:200]]:
        if files.is_file(xml):
            content = files.read_start(xml, 1 << 14)
            if named.search(files.decoded(content, "latin-1")) or named.search(
                content.decode("utf-8", "replace")
            ):
                return xml
    return None


def _raw_of(xml: str, name: str, problems: Problems) -> str:
    """Find the .raw that an .xml names: by its name alone, whatever folder it once was in."""
    base = re.split(r"[/\\]", name.strip())[-1]
    if base and (raw := files.first_found(xml, lambda p: _beside(p, base))):
        return raw
    # both may have got another name, which must not be that of the .raw of another .xml
    renamed = files.first_found(xml, lambda p: _beside(p, f"{Path(p).stem}.raw"))
    if renamed and xml_of(renamed) is None:
        problems.warn(
            f"{base!r}, which the .xml names, is not there; {os.path.basename(renamed)}, which is "
            "named like the .xml, is read instead."
        )
        return renamed
    others = [e for e in files.listing(os.path.dirname(xml)) if e.lower().endswith(".raw")]
    raise FormatError(
        xml,
        f"names the data file {base!r}, which is not beside it"
        + (f" (there are {', '.join(others[:5])})." if others else "."),
        "Put it there, or open the right .raw itself; a .raw that was renamed is found if it is "
        "named like the .xml.",
    )


def _beside(path: str, name: str) -> str | None:
    return files.in_folder(os.path.dirname(path), name)
