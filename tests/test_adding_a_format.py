# SPDX-License-Identifier: GPL-3.0-or-later
"""The example of docs/adding_a_format.md: from nothing to ``hs.load``, here and elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "adding_a_format.md").read_text(encoding="utf-8")


class Block(NamedTuple):
    mark: str
    language: str
    code: str


BLOCKS = [
    Block(*match)
    for match in re.findall(
        r"^<!-- ([^\n]*) -->\n```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL
    )
]


def block(mark: str) -> str:
    """Return the only block with a mark."""
    (code,) = (b.code for b in BLOCKS if b.mark == mark)
    return code


def files(kind: str) -> dict[str, str]:
    """Return the files that the page shows, by their names."""
    return {
        b.mark.removeprefix(f"{kind}: "): b.code for b in BLOCKS if b.mark.startswith(f"{kind}: ")
    }


def python(*arguments: str, path: list[Path], cwd: Path) -> str:
    """Run a fresh interpreter, with folders first on its path."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd=cwd,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        assert not (folder / name).exists(), f"{name} is there already"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, with what the page adds to it."""
    folder = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("__pycache__", "_build", "_drawn")
    for name in ("rsciio_tem", "docs", "specifications", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for file in (*ROOT.glob("*.md"), ROOT / "LICENSE", *ROOT.glob("*.toml"), *ROOT.glob("*.py")):
        shutil.copy2(file, folder)
    write(folder, files("file"))
    registry = folder / "rsciio_tem" / "registry.py"
    text = registry.read_text(encoding="utf-8")
    before = '        Format(\n            "raw",\n'
    assert text.count(before) == 1
    row = textwrap.indent(block("row").rstrip("\n"), " " * 8) + ",\n"
    registry.write_text(text.replace(before, row + before), encoding="utf-8")
    python("docs/tables.py", path=[], cwd=folder)
    return folder


def test_every_block_is_used() -> None:
    marks = [b.mark for b in BLOCKS]
    assert len(set(marks)) == len(marks)
    unmarked = TEXT.count("\n```") // 2 - len(BLOCKS)
    assert unmarked == 1, "only the command that makes the tables is not marked"
    assert "python docs/tables.py" in TEXT
    assert {m.partition(":")[0] for m in marks} == {
        *("file", "row", "package", "run in the project", "run with the package")
    }


def test_in_the_project(project: Path, tmp_path: Path) -> None:
    python("-c", block("run in the project"), path=[project], cwd=tmp_path)


#: Makes every sample, with the classes that the tests have for it, wherever they are.
SAMPLES = """
import importlib, pathlib, sys, tempfile
import numpy as np
try:
    from samples import Sample, Spec
except ImportError:
    sys.modules["samples"] = importlib.import_module("conftest")
import runpy
specs = runpy.run_path("tests/samples/lumen.py")["SPECS"]
for spec in specs:
    sample = spec.make(pathlib.Path(tempfile.mkdtemp()), np.random.default_rng(1))
    assert sample.parse().format == spec.format == "lumen"
    for lazy in (False, True):
        np.testing.assert_array_equal(sample.read(lazy=lazy)["data"], sample.expected)
    view = sample.read(mmap_mode="r")["data"]
    assert np.shares_memory(view, view.base) and not view.flags.writeable
    np.testing.assert_array_equal(view, sample.expected)
print(*specs, sep="\\n")
"""


def test_samples(project: Path) -> None:
    printed = python("-c", SAMPLES, path=[project, project / "tests"], cwd=project)
    assert printed.splitlines() == ["lumen: scan", "lumen: ten frames"]


def test_nothing_is_missing(project: Path) -> None:
    """The tests that ask for the parts of a format are content."""
    printed = python(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("tests/test_architecture.py", "tests/test_readme.py", "tests/test_generated.py"),
        *("-k", "lumen or complete or table or entry_points or lists or specification or links"),
        path=[project],
        cwd=project,
    )
    assert "failed" not in printed
    assert int(re.findall(r"(\d+) passed", printed)[0]) > 50


def test_it_is_written_as_the_rest(project: Path) -> None:
    if find_spec("ruff") is None:
        pytest.skip("ruff is not installed")
    names = [name for name in files("file") if name.endswith(".py")]
    check = ("check", "--no-cache", "--ignore=I")  # the order depends on where the classes are
    python("-m", "ruff", *check, *names, path=[], cwd=project)
    python("-m", "ruff", "format", "--no-cache", "--check", *names, path=[], cwd=project)


def test_as_another_package(tmp_path: Path) -> None:
    site = tmp_path / "site"
    texts = files("package")
    texts["rsciio_lumen/reader.py"] = files("file")["rsciio_tem/formats/lumen.py"]
    write(site, texts)
    described = tomllib.loads(texts["pyproject.toml"])["project"]
    about = {"METADATA": f"Metadata-Version: 2.1\nName: {described['name']}\nVersion: 1.0\n"}
    ((group, entries),) = described["entry-points"].items()
    lines = [f"{name} = {value}" for name, value in entries.items()]
    about["entry_points.txt"] = "\n".join([f"[{group}]", *lines])
    write(site / "rsciio_lumen-1.0.dist-info", about)
    file = block("run in the project").partition("s = hs.load")[0]  # what writes a.lumen
    python("-c", file, path=[ROOT], cwd=tmp_path)
    python("-c", block("run with the package"), path=[site, ROOT], cwd=tmp_path)
    code = "import sys, rsciio_lumen; print('numpy' in sys.modules)"
    assert python("-c", code, path=[site, ROOT], cwd=tmp_path) == "False\n"
