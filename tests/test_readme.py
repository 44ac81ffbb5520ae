# SPDX-License-Identifier: GPL-3.0-or-later
"""What README and documentation say is true: examples run, and nothing is left out."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import re
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pytest
from interpreter import Interpreter
from writers import mib as mib_writer

import rsciio_tem
from rsciio_tem import cli
from rsciio_tem.errors import FormatError, RecordingWarning
from rsciio_tem.reading.options import CommonOptions, ReadOptions
from rsciio_tem.registry import FORMATS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# -- examples ------------------------------------------------------------------------------------


class Block(NamedTuple):
    language: str
    code: str
    line: int


def blocks(page: Path, marker: str = "<!-- run -->") -> list[Block]:
    """Return the fenced blocks that follow a marker line."""
    found = []
    pattern = rf"^{re.escape(marker)}\n```(\w+)\n(.*?)^```$"
    for match in re.finditer(pattern, TEXT[page], re.MULTILINE | re.DOTALL):
        line = TEXT[page].count("\n", 0, match.start(2))
        found.append(Block(match[1], match[2], line))
    assert len(found) == TEXT[page].count(f"{marker}\n"), f"{page}: a marker has no block"
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples run: with a scan of 12 x 8 positions that only times tell of."""
    path = tmp_path_factory.mktemp("examples")
    times, exposures = mib_writer.scan_times((8, 12), jitter_ns=0)
    rng = np.random.default_rng(5)
    frames = rng.poisson(3, (96, 256, 256)).astype("u2")
    frames[:, 100:150, 100:150] += 50
    hdr = {"frames": len(frames)}
    mib_writer.write_mib(
        path / "scan.mib", frames, 12, times_ns=times, exposures_ns=exposures, hdr=hdr
    )
    return path


#: Runs the blocks of a page one after the other, in one namespace; or a command.
RUNNER = """
import doctest, sys
import hyperspy.api as hs
hs.set_log_level("ERROR")
hs.preferences.General.show_progressbar = False
flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.FAIL_FAST

def run_page(page, blocks):
    names, failed = {}, 0
    for language, code, line in blocks:
        if language == "pycon":
            test = doctest.DocTestParser().get_doctest(code, names, page, page, line)
            runner = doctest.DocTestRunner(verbose=False, optionflags=flags)
            failed += runner.run(test, clear_globs=False).failed
            names = test.globs
        else:
            exec(compile("\\n" * line + code, page, "exec"), names)
    sys.exit(failed)

def run_command(arguments):
    from rsciio_tem.cli import main
    main(arguments, prog_name="rsciio-tem")
"""


@pytest.fixture(scope="module")
def interpreter(folder: Path) -> Iterator[Interpreter]:
    interpreter = Interpreter(RUNNER, folder, NO_COLOR="1", COLUMNS="100")
    yield interpreter
    interpreter.close()


@pytest.mark.parametrize("page", [p for p in PAGES if "<!-- run -->\n" in TEXT[p]], ids=name_of)
def test_examples(page: Path, folder: Path, interpreter: Interpreter) -> None:
    found = blocks(page)
    assert {block.language for block in found} <= {"python", "pycon", "console"}
    if python := [block for block in found if block.language != "console"]:
        interpreter.run("run_page(page, blocks)", page=name_of(page), blocks=python)
    for block in found:
        if block.language == "console":  # may look at files that Python has written
            check_console(block, folder, page, interpreter)


def check_console(block: Block, folder: Path, page: Path, interpreter: Interpreter) -> None:
    """Run the commands; what is shown below one is compared with what it prints."""
    import doctest
    import shlex

    for part in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        program, *arguments = shlex.split(command)
        assert program == "rsciio-tem"
        for i, argument in enumerate(arguments):
            if argument.endswith((".png", ".html")):
                (folder / argument).unlink(missing_ok=True)
            elif argument in ("preview", "inspect") and "-o" not in arguments:
                stem = Path(arguments[i + 1]).stem
                for made in (f"{stem}_preview.png", f"{stem}_inspect.html"):
                    (folder / made).unlink(missing_ok=True)
        printed = interpreter.run("run_command(arguments)", arguments=arguments)
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        same = doctest.OutputChecker().check_output(expected, printed, flags)
        assert not expected or same, f"{page}: $ {command} prints\n{printed}"


def test_enough_examples_are_run() -> None:
    assert sum(len(blocks(page)) for page in PAGES) >= 20
    for page in PAGES:  # whatever can be run is run, or says why not by being no example
        for match in re.finditer(r"(.*)\n```pycon\n", TEXT[page]):
            assert match[1] == "<!-- run -->", f"{page}: an example is not run"


# -- README --------------------------------------------------------------------------------------


def test_test_command() -> None:
    (command,) = blocks(ROOT / "README.md", "<!-- test-command -->")
    assert command.language == "bash"
    assert len(command.code.splitlines()) == 1
    extras = re.findall(r'pip install -e "\.\[([\w,]+)\]"', command.code)
    assert extras == ["test"]
    assert command.code.rstrip().endswith(".venv/bin/pytest")


def test_install_commands_use_what_exists() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    for page in PAGES:
        for names in re.findall(r"pip install [^\n]*\.\[([\w,]+)\]", TEXT[page]):
            assert set(names.split(",")) <= set(extras), page
    assert PROJECT["project"]["scripts"] == {"rsciio-tem": "rsciio_tem.cli:main"}
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert " ".join(licence.split()).startswith("GNU GENERAL PUBLIC LICENSE Version 3, 29 June")


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
