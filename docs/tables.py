# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of the documentation that are made from the rows of the registry, and from files.

As a command, ``python docs/tables.py``, it writes those that are read without a web site, between
their marks in README.md and specifications/README.md. As an extension of Sphinx, it puts those of
the web site in place of their marks.
"""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
REGISTRY = runpy.run_path(str(ROOT / "rsciio_tem" / "registry.py"))
FORMATS = list(REGISTRY["FORMATS"].values())

#: Not a format, but a page among theirs.
ARRAYS = "arrays in memory, h5py, zarr and dask arrays"

#: Kinds of changes, in their order, and their headings.
CHANGES = {"feature": "New", "change": "Changed", "fix": "Fixed", "remove": "Removed"}


def table(*rows: Iterable[str]) -> str:
    """Return a table whose first row are headings."""
    lines = [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows]
    return "\n".join([lines[0], "|" + "---|" * (lines[0].count("|") - 1), *lines[1:]])


def opened_by(row: Any) -> str:
    """Say how the files of a format are opened: by ``hs.load``, if it can find the reader."""
    contested = {*REGISTRY["SHARED"], *REGISTRY["CONTESTED"]}
    if row.folder or not row.suffixes:  # which are RosettaSciIO's
        return "`rsciio_tem.load`"
    if row.takeover:
        return "yes, instead of RosettaSciIO's reader"
    if contested.issuperset(row.suffixes):
        return "yes, by content"
    if row.owned_by:
        return "yes, by content; `rsciio_tem.load` where the suffix is RosettaSciIO's"
    return "yes"


def readme() -> str:
    """List the formats for people who look for theirs."""
    rows = [
        (f"`{row.name}`", row.files, opened_by(row), f"[{row.name}](docs/formats/{row.name}.md)")
        for row in FORMATS
    ]
    arrays = ("", ARRAYS, "`rsciio_tem.from_array`", "[arrays](docs/formats/arrays.md)")
    return table(("Format", "Files", "Opened by `hs.load`", "Page"), *rows, arrays)


def formats() -> str:
    """List the pages of the formats, and add them to the contents."""
    rows = [
        (
            f"[{row.name}]({row.name}.md)",
            ", ".join(f"`.{s}`" for s in row.suffixes) or "–",
            row.files,
        )
        for row in FORMATS
    ]
    listed = table(("Format", "Suffixes", "Files"), *rows, ("[arrays](arrays.md)", "", ARRAYS))
    pages = "\n".join([*(row.name for row in FORMATS), "arrays"])
    return f"{listed}\n\n```{{toctree}}\n:hidden:\n\n{pages}\n```"


def specifications() -> str:
    """List the specifications: those of a format begin with its name."""
    rows = []
    for row in FORMATS:
        for file in files_of(row.name):
            oracle = ROOT / "tests" / "oracles" / f"{file.stem}.py"
            compiled = file.suffix == ".ksy" and oracle.is_file()
            rows.append(
                (
                    f"`{row.name}`",
                    f"[{file.name}]({file.name})",
                    title(file),
                    f"`tests/oracles/{oracle.name}`" if compiled else "",
                )
            )
    ours = ROOT / "specifications" / "side_file.md"
    rows.append(("all", f"[{ours.name}]({ours.name})", title(ours), ""))
    return table(("Format", "Specification", "Of", "Oracle"), *rows)


def linked_specifications() -> str:
    """List the specifications for a page of the documentation."""
    return re.sub(r"\]\((\w+\.\w+)\)", r"](../specifications/\1)", specifications())


def files_of(name: str) -> Iterator[Path]:
    """Give the specifications of a format, the one of its main file first."""
    files = [*(ROOT / "specifications").glob("*.ksy"), *(ROOT / "specifications").glob("*.md")]
    others = [row.name for row in FORMATS if row.name.startswith(f"{name}_")]
    for file in sorted(files, key=lambda file: (file.stem, file.suffix)):
        beginnings = [n for n in (name, *others) if f"{file.stem}_".startswith(f"{n}_")]
        if beginnings and max(beginnings, key=len) == name:  # raw_csr is not of raw
            yield file


def title(specification: Path) -> str:
    """Return what a specification calls itself."""
    pattern = r"^  title: (.*)$" if specification.suffix == ".ksy" else r"^# (.*)$"
    match = re.search(pattern, specification.read_text(encoding="utf-8"), re.MULTILINE)
    assert match is not None, f"{specification} has no title"
    return match[1]


def changes() -> str:
    """List the changes that are not yet released, from one file each."""
    parts = ["## Not yet released"]
    for kind in sorted({file.suffixes[-2][1:] for file in fragments()}, key=_order):
        parts.append(f"### {CHANGES.get(kind, kind.capitalize())}")
        texts = (f.read_text(encoding="utf-8") for f in fragments() if f.suffixes[-2] == f".{kind}")
        parts += ["- " + text.strip().replace("\n", "\n  ") for text in texts]
    return "\n\n".join(parts)


def fragments() -> list[Path]:
    """List the files of changes: ``SUBJECT.KIND.md``."""
    return sorted((ROOT / "docs" / "changes").glob("*.*.md"))


def _order(kind: str) -> tuple[int, str]:
    kinds = list(CHANGES)
    return kinds.index(kind) if kind in kinds else len(kinds), kind


# ---------------------------------------------------------------- in files


#: Tables that lie in files, between two marks, and those that only the web site has.
IN_FILES = {"README.md": readme, "specifications/README.md": specifications}
ON_THE_WEB = {
    "formats/index": formats,
    "changes/README": changes,
    "specifications": linked_specifications,
}

MARK = "<!-- made by docs/tables.py -->"
END = "<!-- end -->"


def updated(name: str) -> str:
    """Return the text of a file with its table as it has to be."""
    text = (ROOT / name).read_text(encoding="utf-8")
    before, mark, rest = text.partition(f"{MARK}\n")
    _, end, after = rest.partition(f"{END}\n")
    assert mark, f"{name} has no {MARK}"
    assert end, f"{name} has no {END}"
    return f"{before}{mark}{IN_FILES[name]()}\n{end}{after}"


def main() -> None:
    """Write the tables that lie in files."""
    for name in IN_FILES:
        (ROOT / name).write_text(updated(name), encoding="utf-8", newline="\n")


def signatures(name: str) -> str:
    """Describe the functions of a format, at the end of its page."""
    module = REGISTRY["FORMATS"][name].module
    written = "file_writer" in public(module)
    functions = ["file_reader", *(["file_writer"] if written else [])]
    calls = "\n".join(f".. autofunction:: rsciio_tem.{name}.{call}" for call in functions)
    return f"\n\n## Signatures\n\n```{{eval-rst}}\n{calls}\n```\n"


def public(module: str) -> list[str]:
    """Return what a module of a format lists in ``__all__``."""
    import importlib

    return list(importlib.import_module(module).__all__)


def _replaced(app: Sphinx, docname: str, source: list[str]) -> None:
    if docname in ON_THE_WEB:
        assert MARK in source[0], f"{docname} has no {MARK}"
        source[0] = source[0].replace(MARK, ON_THE_WEB[docname]())
        for file in (ROOT / "rsciio_tem" / "registry.py", *fragments()):
            app.env.note_dependency(str(file))
    name = docname.removeprefix("formats/")
    if docname != name and name in REGISTRY["FORMATS"]:
        source[0] += signatures(name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("source-read", _replaced)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    main()
