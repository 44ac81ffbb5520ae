# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made from the rows of the registry: entry points, and tables of the documentation."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest

from rsciio_tem import cli
from rsciio_tem.registry import FORMATS

ROOT = Path(__file__).resolve().parents[1]


def loaded(path: str) -> Any:
    """A module of the repository that is not a part of the package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_entry_points() -> None:
    """What is put into the package when it is built."""
    pytest.importorskip("hatchling")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "entry-points" in project["project"]["dynamic"]
    metadata: dict[str, Any] = {}
    loaded("hatch_build.py").EntryPoints(str(ROOT), {}).update(metadata)
    groups = metadata["entry-points"]
    assert groups["rosettasciio.plugins"] == {name: row.module for name, row in FORMATS.items()}
    ((name, module),) = groups["hyperspy.extensions"].items()
    assert name == module
    assert importlib.import_module(module)
    pytest.importorskip("numcodecs")
    ((name, place),) = groups["numcodecs.codecs"].items()
    module, _, attribute = place.partition(":")
    assert getattr(importlib.import_module(module), attribute).codec_id == name
    # under the second name, programs find the codec of a store of version 2
    assert set(groups["zarr.codecs"]) == {name, f"numcodecs.{name}"}
    (place,) = set(groups["zarr.codecs"].values())
    codec = importlib.import_module(place.partition(":")[0])
    assert name == codec.NAME


def test_the_package_is_built_without_what_it_needs() -> None:
    """Making the entry points imports nothing but the standard library."""
    code = """
    import runpy, sys
    before = set(sys.modules)
    assert runpy.run_path("rsciio_tem/registry.py")["FORMATS"]
    names = {name.partition(".")[0] for name in set(sys.modules) - before}
    print(*names - sys.stdlib_module_names)
    """
    command = [sys.executable, "-I", "-S", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def test_tables_in_files() -> None:
    """``python docs/tables.py`` writes them; nobody does so by hand."""
    tables = loaded("docs/tables.py")
    assert set(tables.IN_FILES) == {"README.md", "specifications/README.md"}
    for name in tables.IN_FILES:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert text == tables.updated(name), f"{name} is out of date: python docs/tables.py"


def test_tables_of_the_web_site() -> None:
    tables = loaded("docs/tables.py")
    assert set(tables.ON_THE_WEB) == {"formats/index", "changes/README", "specifications"}
    for name in tables.ON_THE_WEB:
        text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
        assert text.count(f"{tables.MARK}\n") == 1
    listed = tables.formats()
    contents = listed.partition("```{toctree}\n:hidden:\n\n")[2].removesuffix("\n```").split("\n")
    pages = [page.stem for page in (ROOT / "docs" / "formats").glob("*.md")]
    assert sorted(contents) == sorted({*pages} - {"index"})
    for row in FORMATS.values():
        suffixes = ", ".join(f"`.{suffix}`" for suffix in row.suffixes) or "–"
        assert f"| [{row.name}]({row.name}.md) | {suffixes} | {row.files} |" in listed
    linked = tables.linked_specifications()
    for file in (ROOT / "specifications").glob("*.ksy"):
        assert f"[{file.name}](../specifications/{file.name})" in linked
    changes = tables.changes()
    for fragment in (ROOT / "docs" / "changes").glob("*.*.md"):
        first = fragment.read_text(encoding="utf-8").partition("\n")[0]
        assert f"- {first}" in changes, fragment


def test_every_specification_is_of_a_format() -> None:
    folder = ROOT / "specifications"
    files = {file.name for suffix in ("ksy", "md") for file in folder.glob(f"*.{suffix}")}
    index = (folder / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (?:`\w+`|all) \| \[([\w.]+)\]", index, re.MULTILINE)
    assert sorted(listed) == sorted(files - {"README.md"})


def test_how_files_are_opened_is_as_the_table_says() -> None:
    tables = loaded("docs/tables.py")
    for row in FORMATS.values():
        readers = {cli._opens(suffix) for suffix in row.suffixes}
        said = tables.opened_by(row)
        if row.folder or not row.suffixes:
            continue  # hs.load takes none
        if said == "yes, by content":
            assert readers == {"content"}, row
        elif said.startswith("yes, by content; "):
            assert {"content", "RosettaSciIO"} <= readers, row
        else:
            assert said == "yes" or row.takeover, row
            assert readers <= {"ours", "content"}, row
