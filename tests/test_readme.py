# SPDX-License-Identifier: GPL-3.0-or-later
"""What README and documentation say is true: examples run, and nothing is left out."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import itertools
import re
import runpy
import shlex
import shutil
import textwrap
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from interpreter import Interpreter
from PIL import Image
from writers import mib as mib_writer

import rsciio_tem
from rsciio_tem import cli
from rsciio_tem.errors import FormatError, RecordingWarning
from rsciio_tem.reading.options import CommonOptions, ReadOptions
from rsciio_tem.registry import FORMATS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    # the web site that was built has copies
    *(page for page in sorted(DOCS.rglob("*.md")) if DOCS / "_build" not in page.parents),
]
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# -- examples ------------------------------------------------------------------------------------


EXAMPLES = runpy.run_path(str(DOCS / "examples.py"))
BLOCKS = {page: EXAMPLES["blocks"](TEXT[page]) for page in PAGES}
PICTURES = DOCS / "images"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan of 12 x 8 positions that only times tell of."""
    path = tmp_path_factory.mktemp("examples") / "scan.mib"
    times, exposures = mib_writer.scan_times((8, 12), jitter_ns=0)
    rng = np.random.default_rng(5)
    frames = rng.poisson(3, (96, 256, 256)).astype("u2")
    frames[:, 100:150, 100:150] += 50
    hdr = {"frames": len(frames)}
    mib_writer.write_mib(path, frames, 12, times_ns=times, exposures_ns=exposures, hdr=hdr)
    return path


@pytest.fixture
def folder(recording: Path, tmp_path: Path) -> Path:
    """Where the examples of a page run: with the recording that they are about."""
    for file in (recording, recording.with_suffix(".hdr")):
        shutil.copy2(file, tmp_path)
    return tmp_path


#: Runs the blocks of a page in a folder.
RUNNER = """
import os, sys
sys.path.insert(0, DOCS)
from examples import prepare, run_page
prepare()

def run(page, blocks, folder, pictures):
    os.chdir(folder)
    sys.exit(run_page(page, blocks, pictures))
"""


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Interpreter]:
    interpreter = Interpreter(f"DOCS = {str(DOCS)!r}\n{RUNNER}", NO_COLOR="1", COLUMNS="100")
    yield interpreter
    interpreter.close()


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCKS[page]], ids=name_of)
def test_examples(
    page: Path, folder: Path, interpreter: Interpreter, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Examples run, in the order of the page, and draw the pictures that it shows."""
    pictures = tmp_path_factory.mktemp("pictures")
    call = "run(page, blocks, folder, pictures)"
    where = {"folder": str(folder), "pictures": str(pictures)}
    try:
        interpreter.run(call, page=name_of(page), blocks=BLOCKS[page], **where)
    finally:
        interpreter.run("import os; os.chdir('/')")  # Windows removes no folder that is in use
    expected = {block.picture for block in BLOCKS[page] if block.picture}
    assert {file.name for file in pictures.iterdir()} == expected
    for name in expected:
        same_picture(pictures / name, PICTURES / name)


def same_picture(drawn: Path, kept: Path) -> None:
    """A picture in the repository is what its code draws, if versions draw frames differently, too.

    Seen from far away: another of these pictures differs by 34 or more, one that is moved by a
    fortieth of its width by 17.
    """
    image, other = (
        np.asarray(Image.open(file).convert("L").resize((128, 96), Image.Resampling.BOX), float)
        for file in (drawn, kept)
    )
    difference = np.abs(image - other).mean()
    assert difference < 20, f"python docs/examples.py makes {kept.name} anew"


def test_examples_that_fail_are_noticed(folder: Path, interpreter: Interpreter) -> None:
    """The runner itself: every kind of block can fail."""
    wrong = {
        "python": "raise ValueError",
        "pycon": ">>> 1 + 1\n3\n",
        "console": "$ rsciio-tem info nothing.mib\n",
        "text": "what is this",
    }
    wrong_output = "$ rsciio-tem info scan.mib\nscan.mib holds nothing\n"
    for language, code in (*wrong.items(), ("console", wrong_output)):
        with pytest.raises(AssertionError):
            interpreter.run(
                "run('page', [[language, content, 1, '']], folder, '')",
                language=language,
                content=code,
                folder=str(folder),
            )
    interpreter.run("import os; os.chdir('/')")
    for text in ("<!-- run -->\nno block\n", "<!-- draw -->\n```python\nx = 1\n```\n\ntext\n"):
        with pytest.raises(ValueError, match="block"):
            EXAMPLES["blocks"](text)


def fences(page: Path) -> Iterator[tuple[str, str, str]]:
    """Give each block of code with its mark and language; adding_a_format.md has its own tests."""
    lines = iter(["", *TEXT[page].splitlines()])
    before = ""
    for line in lines:
        if match := re.fullmatch(r"( *)(```+)(\w+|\{.*)", line):
            code = "\n".join(itertools.takewhile((match[1] + match[2]).__ne__, lines))
            yield before.strip(), match[3], textwrap.dedent(code)
        before = line


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "adding_a_format.md"], ids=name_of
)
def test_all_code_is_run(page: Path) -> None:
    """Whatever can be run is run; of what cannot, the page says why, and it is not nonsense."""
    assert isinstance(cli.main, click.Group)
    for mark, language, code in fences(page):
        if mark in ("<!-- run -->", "<!-- draw -->") or language.startswith("{"):
            continue
        assert re.fullmatch(r"<!-- (no run: .+|test-command|install-command) -->", mark), code
        assert language != "pycon", f"{page}: an example is not run"
        if language == "python":
            ast.parse(code)
        for call in re.findall(r"^ *rsciio-tem (.*)$", code, re.MULTILINE):
            name, *arguments = shlex.split(call, comments=True)
            flags = {word.partition("=")[0] for word in arguments if word.startswith("-")}
            assert flags <= options(cli.main.commands[name]), f"{page}: {call}"


def test_enough_examples_are_run() -> None:
    assert sum(len(content) for content in BLOCKS.values()) >= 90


def test_pictures_are_small_and_used() -> None:
    sizes = {file.name: file.stat().st_size for file in PICTURES.iterdir()}
    assert max(sizes.values()) < 200_000
    assert sum(sizes.values()) < 2_000_000
    shown = {name for page in PAGES for name in re.findall(r"images/([\w.]+)\)", TEXT[page])}
    assert shown == set(sizes)


def test_every_page_is_in_the_contents() -> None:
    index = TEXT[DOCS / "index.md"]
    listed = set(
        re.findall(r"^(\w[\w/]*)$", "".join(re.findall(r"(?s)```{toctree}.*?```", index)), re.M)
    )
    pages = {p.relative_to(DOCS).with_suffix("").as_posix() for p in PAGES if DOCS in p.parents}
    formats = {f"formats/{name}" for name in (*FORMATS, "arrays")}
    fragments = {p for p in pages if p.startswith("changes/") and p != "changes/README"}
    assert listed == pages - formats - fragments - {"index"}


# -- README --------------------------------------------------------------------------------------


def test_test_command() -> None:
    ((_, language, command),) = [
        one for one in fences(ROOT / "README.md") if one[0] == "<!-- test-command -->"
    ]
    assert language == "bash"
    assert len(command.splitlines()) == 1
    extras = re.findall(r'pip install -e "\.\[([\w,]+)\]"', command)
    assert extras == ["test"]
    assert command.endswith(".venv/bin/pytest")


def test_install_commands_use_what_exists() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    for page in PAGES:
        for names in re.findall(r"pip install [^\n]*\.\[([\w,]+)\]", TEXT[page]):
            assert set(names.split(",")) <= set(extras), page
        # it is not on PyPI
        assert not re.search(r"pip install \S*rsciio-tem", TEXT[page]), page
    assert PROJECT["project"]["scripts"] == {"rsciio-tem": "rsciio_tem.cli:main"}
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert " ".join(licence.split()).startswith("GNU GENERAL PUBLIC LICENSE Version 3, 29 June")


def test_gallery_has_every_format() -> None:
    """The build of the web site needs a recording of each."""
    text = (DOCS / "previews.py").read_text(encoding="utf-8")
    assert [name for name in FORMATS if f'"{name}"' not in text] == []


def test_readme_lists_the_formats() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", TEXT[ROOT / "README.md"], re.MULTILINE)
    assert listed == list(FORMATS)


# -- documentation -------------------------------------------------------------------------------

PARAMETERS = DOCS / "parameters.md"


def shared_keywords() -> set[str]:
    return {
        *ReadOptions.__annotations__,
        *CommonOptions.__annotations__,
        *("lazy", "chunks", "mmap_mode", "navigation_shape"),
        *("first_frame", "last_frame", "distributed"),
    }


def test_every_shared_keyword_is_described_once() -> None:
    headings = re.findall(r"^### (`.*)$", TEXT[PARAMETERS], re.MULTILINE)
    described = [name for heading in headings for name in re.findall(r"`(\w+)`", heading)]
    assert sorted(described) == sorted(shared_keywords())


@pytest.mark.parametrize("name", FORMATS)
def test_every_own_keyword_is_described(name: str) -> None:
    module = importlib.import_module(FORMATS[name].module)
    own = {
        parameter.name
        for parameter in inspect.signature(module.file_reader).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    page = DOCS / "formats" / f"{name}.md"
    assert page in TEXT, f"the format {name} has no page"
    keywords = TEXT[page].partition("\n## Keywords\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", keywords, re.MULTILINE)) == own


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_the_same_headings(name: str) -> None:
    headings = re.findall(r"^## (.*)$", TEXT[DOCS / "formats" / f"{name}.md"], re.MULTILINE)
    assert headings[:5] == [
        "Files",
        "Keywords",
        "Scan shape",
        "Orientation",
        "Calibration and metadata",
    ]
    assert "Known traps" in headings


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_a_specification(name: str) -> None:
    folder = ROOT / "specifications"
    found = [f for f in (f"{name}.ksy", f"{name}.md") if (folder / f).is_file()]
    assert found, f"specifications/{name}.ksy or {name}.md is missing"
    index = (folder / "README.md").read_text(encoding="utf-8")
    for file in found:
        assert f"({file})" in index, f"specifications/README.md does not list {file}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links(page: Path) -> None:
    """Links inside the repository lead somewhere, to a heading too."""
    text = re.sub(r"^```.*?^```$", "", TEXT[page], flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", TEXT[there], re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]
            assert anchor in slugs, f"{page}: {target}"


def test_environment_variables_exist() -> None:
    files = [*(ROOT / "rsciio_tem").rglob("*.py"), ROOT / "tests" / "conftest.py"]
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    for page in PAGES:
        for name in re.findall(r"RSCIIO_TEM_\w+", TEXT[page]):
            assert name in source, f"{page}: {name}"


def options(command: click.Command) -> set[str]:
    return {
        flag
        for parameter in command.params
        for flag in (*parameter.opts, *parameter.secondary_opts)
        if flag.startswith("-")
    }


def test_every_option_of_the_command_line_is_described() -> None:
    assert isinstance(cli.main, click.Group)
    page = TEXT[DOCS / "command_line.md"]
    described = set(re.findall(r"(?<![\w-])--?[a-zA-Z][a-z0-9-]*", page))
    existing = {"--help"}
    for name, command in cli.main.commands.items():
        assert f"rsciio-tem {name}" in page
        existing |= options(command)
    assert described == existing


# -- the table of frame mappings -----------------------------------------------------------------


def mapping_rows() -> Iterator[tuple[str, str, str, str]]:
    table = TEXT[PARAMETERS].partition("| Keywords | Shape (array order) |")[2]
    for line in table.splitlines()[2:]:
        if not line.startswith("|"):
            return
        keywords, shape, frames, message = (cell.strip(" `") for cell in line.split("|")[1:-1])
        yield keywords, shape, frames, message


def test_the_table_has_rows() -> None:
    assert len(list(mapping_rows())) > 25


@pytest.mark.parametrize(("keywords", "shape", "frames", "message"), list(mapping_rows()))
def test_frame_mapping(keywords: str, shape: str, frames: str, message: str) -> None:
    call = ast.parse(f"f({keywords})", mode="eval").body
    assert isinstance(call, ast.Call)
    given: dict[str, Any] = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    ten = np.arange(10, dtype=np.int16).reshape(10, 1, 1)
    errors = pytest.raises(FormatError) if message == "error" else contextlib.nullcontext()
    with errors, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RecordingWarning)
        (signal,) = rsciio_tem.from_array(ten, fill_value=-1, **given)
        assert signal["data"].shape[:-2] == ast.literal_eval(shape)
        expected = [-1 if word == "·" else int(word) for word in frames.split()]
        assert signal["data"].reshape(-1).tolist() == expected
        assert bool(caught) == (message == "warning")
