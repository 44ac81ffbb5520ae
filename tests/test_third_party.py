# SPDX-License-Identifier: GPL-3.0-or-later
"""Formats that other packages bring: as good as ours, and harmless if they are broken."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import logging
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rsciio
from click.testing import CliRunner

import rsciio_tem
from rsciio_tem import cli, registry
from rsciio_tem.errors import FormatError, Truncated
from rsciio_tem.registry import FORMATS
from rsciio_tem.tools import demo as demo_tool

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = Path(__file__).parent / "example_package"
EXAMPLE = (PACKAGE / "rsciio_tem_example.py").read_text(encoding="utf-8")
FRAMES = np.arange(12 * 5 * 6, dtype="<u2").reshape(12, 5, 6)


def write(path: Path, frames: np.ndarray = FRAMES, line: int = 4, first: int = 1) -> Path:
    """Write a file of the example's format, by its description."""
    numbered = [
        (first + i).to_bytes(4, "little") + frame.tobytes() for i, frame in enumerate(frames)
    ]
    header = b"EXAMPLE1" + np.array((*frames.shape[1:], line), "<u4").tobytes()
    path.write_bytes(header + b"".join(numbered))
    return path


def install(folder: Path, name: str, entries: dict[str, str], **modules: str) -> Path:
    """Install a package into a folder, as pip would: modules, and what it says of itself."""
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{key} = {value}" for key, value in entries.items()]
    (about / "entry_points.txt").write_text("\n".join([f"[{registry.GROUP}]", *lines]) + "\n")
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text, encoding="utf-8")
    return folder


def install_example(folder: Path) -> Path:
    entries = {"example": "rsciio_tem_example:FORMAT"}
    return install(folder, "rsciio_tem_example", entries, rsciio_tem_example=EXAMPLE)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for packages, of which this process does not yet know anything."""
    plugins, modules = list(rsciio.IO_PLUGINS), set(sys.modules)
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(registry, "_third_party", None)
    monkeypatch.setattr(registry, "_failing", set())
    rsciio_tem.register()
    yield folder
    rsciio.IO_PLUGINS[:] = plugins
    for name in set(sys.modules) - modules:
        if (
            getattr(sys.modules[name], "__file__", "")
            and folder in Path(str(sys.modules[name].__file__)).parents
        ):
            del sys.modules[name]
    rsciio_tem.register()


@pytest.fixture
def example(site: Path) -> Path:
    return install_example(site)


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli.main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def plugins(name: str = "TEM-") -> dict[str, dict[str, Any]]:
    return {p["name"]: p for p in rsciio.IO_PLUGINS if p["name"].startswith(name)}


# -- as good as ours -----------------------------------------------------------------------------


def python(code: str, *folders: Path, **environment: str) -> list[str]:
    """Run code in a fresh interpreter; return the lines that it prints, without HyperSpy's log."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*map(str, folders), str(REPOSITORY)]),
            **environment,
        },
        cwd=REPOSITORY.parent,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if "| Hyperspy |" not in line]


LOAD = """
{first}
import sys
import hyperspy.api as hs
print("rsciio_tem_example" in sys.modules)
for options in ({{}}, {{"file_format": "TEM-example"}}, {{"nav_shape": (2, 6)}}):
    s = hs.load({path!r}, lazy=True, **options)
    print(s.metadata.General.FileIO.as_dictionary()["0"]["io_plugin"], s.data.shape,
          int(s.data.sum()))
"""


@pytest.mark.parametrize(
    "first", ["", "import rsciio_tem", "import rsciio_tem_example, rsciio_tem.readers"]
)
def test_hs_load(tmp_path: Path, first: str) -> None:
    install_example(tmp_path)
    path = str(write(tmp_path / "a.xmpl"))
    total = FRAMES.sum()
    imported, *signals = python(LOAD.format(first=first, path=path), tmp_path)
    assert imported == str("example" in first)
    assert signals == [
        f"rsciio_tem_example {shape} {total}"
        for shape in [(3, 4, 5, 6), (3, 4, 5, 6), (2, 6, 5, 6)]
    ]


def test_nothing_is_looked_for_at_import(tmp_path: Path) -> None:
    install_example(tmp_path)
    code = "import sys, rsciio_tem; print({'importlib.metadata', 'rsciio_tem_example'} & {*%s})"
    (before,) = python(code % "sys.modules", tmp_path)
    assert before == "set()"
    (after,) = python("import rsciio_tem; print(rsciio_tem.formats()[-1].name)", tmp_path)
    assert after == "example"


def test_switched_off(tmp_path: Path) -> None:
    install_example(tmp_path)
    path = str(write(tmp_path / "a.xmpl"))
    code = f"""
    import rsciio, rsciio_tem
    (signal,) = rsciio_tem.load({path!r})
    print(signal["data"].shape, *(p for p in rsciio.IO_PLUGINS if "TEM" in p["name"]))
    """
    assert python(code, tmp_path, RSCIIO_TEM_AUTOREGISTER="0") == ["(3, 4, 5, 6)"]


def test_load_and_detect(example: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "any.name")
    (candidate,) = rsciio_tem.detect(path)
    assert (candidate.format, candidate.confidence) == ("example", 1.0)
    (signal,) = rsciio_tem.load(path)
    np.testing.assert_array_equal(signal["data"], FRAMES.reshape(3, 4, 5, 6))
    assert signal["original_metadata"]["rsciio_tem"]["format"] == "example"
    (signal,) = rsciio_tem.load(path, "example", lazy=True, nav_shape=(2, 6))
    np.testing.assert_array_equal(signal["data"].compute(), FRAMES.reshape(2, 6, 5, 6))
    assert rsciio_tem.open(path).format == "example"
    with pytest.raises(TypeError, match="nav_shap"):
        rsciio_tem.load(path, nav_shap=(2, 6))
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(Truncated, match="no complete frame of 5 x 6 pixels"):
        rsciio_tem.load(path)


def test_it_is_an_attribute(example: Path) -> None:
    module = rsciio_tem.example
    assert module.__file__ == str(example / "rsciio_tem_example.py")
    assert "example" in dir(rsciio_tem)
    assert [row.name for row in rsciio_tem.formats()] == [*FORMATS, "example"]
    assert rsciio_tem.formats()[-1].module == "rsciio_tem_example"


def test_it_is_named_where_formats_are_listed(example: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there are mib, .*, raw, example"):
        rsciio_tem.load(tmp_path / "a", "nothing")
    (tmp_path / "a").write_bytes(b"nothing that anybody knows")
    with pytest.raises(FormatError, match=r"rsciio-tem formats"):
        rsciio_tem.load(tmp_path / "a")
    with pytest.raises(ValueError, match=r"example \(\.xmpl\)"):
        rsciio_tem.convert(tmp_path / "a", tmp_path / "b.nothing")


def test_check(example: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.xmpl")
    assert rsciio_tem.check(path, pixels=True) == []
    data = bytearray(path.read_bytes())
    data[20 + 4 * 64] += 1  # the number of frame 4
    path.write_bytes(data)
    missing, repeated = rsciio_tem.check(path)
    assert "1 frame missing by the frame numbers: 1 before frame 4" in str(missing)
    assert "same number" in str(repeated)


def test_a_module_without_checks(site: Path, tmp_path: Path) -> None:
    assert "CHECKS = (numbers,)\n" in EXAMPLE
    text = EXAMPLE.replace("CHECKS = (numbers,)\n", "")
    install(site, "a", {"example": "rsciio_tem_example:FORMAT"}, rsciio_tem_example=text)
    assert rsciio_tem.check(write(tmp_path / "a.xmpl")) == []


def test_convert(example: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.xmpl")
    copy = rsciio_tem.convert(path, tmp_path / "copy.xmpl", verify=True)
    assert Path(copy).read_bytes() == path.read_bytes()
    rsciio_tem.convert(path, tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), FRAMES.reshape(3, 4, 5, 6))
    rsciio_tem.convert(tmp_path / "a.npy", tmp_path / "b.xmpl")
    assert (tmp_path / "b.xmpl").read_bytes() == path.read_bytes()


def test_command_line(example: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.xmpl")
    rows = {row["format"]: row for row in json.loads(run("formats", "--json"))}
    assert list(rows) == [*FORMATS, "example"]
    assert rows["example"] == {
        "format": "example",
        "description": "Numbered frames, from another package",
        "module": "rsciio_tem_example",
        "suffixes": ["xmpl"],
        "hs_load": {"xmpl": "ours"},
    }
    assert json.loads(run("info", path, "--json"))["description"].startswith("Numbered frames")
    assert "4 × 3 (x, y)" in run("info", path, "--format", "example")
    assert f"{path}: ok (example, 12 frames" in run("check", tmp_path)
    assert "is not one of auto, mib," in run("check", path, "--format", "nothing", code=2)
    run("preview", path, "-o", tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0


def test_names_are_completed(example: Path) -> None:
    (parameter,) = (p for p in cli.main.commands["info"].params if p.name == "format_name")
    context = cli.main.commands["info"].make_context("info", ["a"], resilient_parsing=True)
    names = [item.value for item in parameter.shell_complete(context, "e")]
    assert names == ["empad", "eigerstream", "example"]


def test_installed_with_pip(tmp_path: Path) -> None:
    if not (find_spec("pip") and find_spec("hatchling")):
        pytest.skip("needs pip and hatchling")
    shutil.copytree(PACKAGE, tmp_path / "source", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"),
            *("--no-build-isolation", "--disable-pip-version-check", "--no-compile"),
            *("--target", str(tmp_path / "site"), str(tmp_path / "source")),
        ],
        check=True,
        timeout=300,
    )
    path = str(write(tmp_path / "a.xmpl"))
    code = f"import rsciio_tem; print(rsciio_tem.load({path!r})[0]['data'].shape)"
    assert python(code, tmp_path / "site") == ["(3, 4, 5, 6)"]


# -- in RosettaSciIO's list ----------------------------------------------------------------------


def test_it_is_added_when_the_list_is_searched(example: Path) -> None:
    assert "TEM-example" not in plugins()
    assert "xmpl" not in plugins("TEM-auto")["TEM-auto"]["file_extensions"]  # which looks
    plugin = plugins()["TEM-example"]
    assert plugin["api"] == "rsciio_tem_example"
    assert plugin["file_extensions"] == ["xmpl", "tem-example"]
    assert plugin["writes"] is False
    count = len(rsciio.IO_PLUGINS)
    for _ in range(2):
        assert list(plugins()["TEM-auto"]["name_aliases"])
        assert len(rsciio.IO_PLUGINS) == count
    reader = importlib.import_module("rsciio.tem-example")
    assert reader.file_reader is rsciio_tem.example.file_reader
    rsciio_tem.unregister()
    assert not plugins()
    assert "rsciio.tem-example" not in sys.modules
    rsciio_tem.register()
    assert "TEM-example" not in plugins()


def test_many_threads_search_at_once(example: Path) -> None:
    def search(_: int) -> list[str]:
        return list(plugins()["TEM-auto"]["name_aliases"])

    with ThreadPoolExecutor(16) as pool:
        assert len(set(map(tuple, pool.map(search, range(64))))) == 1
    assert [p["name"] for p in rsciio.IO_PLUGINS].count("TEM-example") == 1


def renamed(name: str, *suffixes: str) -> str:
    """The example as another format."""
    text = EXAMPLE.replace('    "example",\n', f'    "{name}",\n')
    text = text.replace("EXAMPLE1", f"{name.upper():_<8.8}")
    return text.replace('("xmpl",),\n    module', f"{suffixes},\n    module")


def test_suffixes_that_others_have(site: Path, tmp_path: Path) -> None:
    """RosettaSciIO's stay with it; those of ours are for whose content it is."""
    before = plugins()
    assert "mib" in before["TEM-mib"]["name_aliases"]
    assert "seq" in before["TEM-seq"]["file_extensions"]
    text = renamed("one", "one", "shared", "mib", "seq", "h5", "hdr", "tif")
    install(site, "one", {"one": "first_package:FORMAT"}, first_package=text)
    install(site, "two", {"two": "other_package:FORMAT"}, other_package=renamed("two", "shared"))
    auto = plugins()["TEM-auto"]
    assert {"shared", "seq", "hdr"} <= set(auto["file_extensions"])
    assert {"mib", "h5"} <= set(auto["name_aliases"])
    assert plugins()["TEM-one"]["file_extensions"] == ["one", "tem-one"]
    assert plugins()["TEM-two"]["file_extensions"] == ["tem-two"]
    assert plugins()["TEM-seq"]["file_extensions"] == ["tem-seq"]
    assert plugins()["TEM-mib"]["name_aliases"] == ["rsciio_tem.formats.mib"]
    suffixes = [s for p in rsciio.IO_PLUGINS for s in p["file_extensions"]]
    for suffix in ("shared", "one", "mib", "seq", "tif"):
        assert suffixes.count(suffix) == 1, suffix

    hs = pytest.importorskip("hyperspy.api")
    for name in ("one", "two"):
        for suffix in ("shared", *(("mib", "seq") if name == "one" else ())):
            path = write(tmp_path / f"{name}.{suffix}")
            path.write_bytes(path.read_bytes().replace(b"EXAMPLE1", f"{name.upper():_<8}".encode()))
            signal = hs.load(str(path), lazy=True)
            assert signal.original_metadata.rsciio_tem.format == name
    demo = str(tmp_path / "demo.mib")
    demo_tool.write(demo, (3, 4))
    assert hs.load(demo, lazy=True).original_metadata.rsciio_tem.format == "mib"


# -- harmless if broken --------------------------------------------------------------------------

ROW = "from rsciio_tem.registry import Format\nFORMAT = Format({}, module=__name__{})\n"
WHOLE = "def sniff(path, head): return None\ndef parse(path): ...\ndef file_reader(path): ...\n"


def broken(row: str, more: str = "", functions: str = WHOLE) -> str:
    return ROW.format(row, more) + functions


#: What is wrong with a package: its module, and what the log says of it.
BROKEN = {
    "does not import": ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
    "raises": ("raise RuntimeError('on import')", "on import"),
    "exits": ("import sys; sys.exit('no')", "SystemExit: no"),
    "has no row": ("", "has no attribute 'FORMAT'"),
    "odd type": ("FORMAT = ('bad', 'A format', ('bad',))", "is not a rsciio_tem.registry.Format"),
    "odd value": ("def FORMAT(): return 3", "3 is not a rsciio_tem.registry.Format"),
    "function raises": ("def FORMAT(): raise KeyError('row')", "KeyError: 'row'"),
    "function takes more": ("def FORMAT(x): return x", "TypeError"),
    "unknown fields": (broken("'bad', 'A format', ('bad',), colour=3"), "colour"),
    "a name of ours": (broken("'mib', 'A format', ('bad',)"), "'mib' is taken by rsciio_tem"),
    "a function of ours": (broken("'load', 'A format', ('bad',)"), "'load' is taken"),
    "a module of ours": (broken("'scan', 'A format', ('bad',)"), "'scan' is taken"),
    "auto": (broken("'auto', 'A format', ('bad',)"), "'auto' is taken"),
    "odd name": (broken("'Bad Format', 'A format', ('bad',)"), "lower-case letters"),
    "number as name": (broken("3, 'A format', ('bad',)"), "lower-case letters"),
    "suffix as text": (broken("'bad', 'A format', 'bad'"), "'bad' is not a tuple"),
    "suffix with dot": (broken("'bad', 'A format', ('.bad',)"), "without dots"),
    "suffix in capitals": (broken("'bad', 'A format', ('BAD',)"), "lower-case suffixes"),
    "no module": (
        "from rsciio_tem.registry import Format\nFORMAT = Format('bad', 'A format', ('bad',))\n",
        "No module named 'rsciio_tem.formats.bad'",
    ),
    "no functions": (broken("'bad', 'A format', ('bad',)", "", ""), "sniff, parse, file_reader"),
    "no parse": (
        broken("'bad', 'A format', ('bad',)", "", WHOLE.replace("parse", "describe")),
        "has no function parse",
    ),
    "no target": (
        broken("'bad', 'A format', ('bad',)", ", writes=('bad',)"),
        "has no function target",
    ),
    "the name of another": (broken("'example', 'A format', ('bad',)"), "is taken by rsciio_tem_ex"),
}


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.WARNING, "rsciio_tem")
    return lambda: [r.getMessage() for r in caplog.records if r.name.startswith("rsciio_tem")]


@pytest.mark.parametrize(("text", "reason"), BROKEN.values(), ids=BROKEN)
def test_broken_ones_are_left_out(
    site: Path, tmp_path: Path, told: Callable[[], list[str]], text: str, reason: str
) -> None:
    install_example(site)
    install(site, "broken", {"zz": "broken_package:FORMAT"}, broken_package=text)
    assert [row.name for row in rsciio_tem.formats()] == [*FORMATS, "example"]
    (message,) = told()
    assert message.startswith("the format 'zz' of broken is left out: zz = broken_package:FORMAT: ")
    assert reason in message
    np.save(tmp_path / "a.npy", FRAMES)
    assert rsciio_tem.load(tmp_path / "a.npy")[0]["data"].shape == (12, 5, 6)
    assert list(plugins()["TEM-auto"]["file_extensions"])
    assert "TEM-example" in plugins()
    assert "TEM-bad" not in plugins()
    assert told() == [message]


def test_damaged_list_of_entry_points(
    site: Path, told: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(**_: str) -> None:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    monkeypatch.setattr(importlib.metadata, "entry_points", damaged)
    assert [row.name for row in rsciio_tem.formats()] == [*FORMATS]
    (message,) = told()
    assert "invalid start byte" in message


def test_a_package_that_asks_while_it_is_imported(
    site: Path, told: Callable[[], list[str]]
) -> None:
    asks = f"import rsciio_tem\nassert len(rsciio_tem.formats()) == {len(FORMATS)}\n"
    entries = {"example": "rsciio_tem_example:FORMAT"}
    install(site, "a", entries, rsciio_tem_example=asks + EXAMPLE.partition("annotations\n")[2])
    assert [row.name for row in rsciio_tem.formats()] == [*FORMATS, "example"]
    assert told() == []


#: Answers of `sniff`, and what the log says of them.
ANSWERS = {
    "None": "",
    "(0.2, 'looks so', {})": "",
    "(0.2, 'looks so')": "",
    "int('x')": "",  # a ValueError, as a FormatError is: this format makes no sense of it
    "open('/nothing/of/this/name')": "",
    "True": "TypeError",
    "0.9": "TypeError",
    "(2, 'looks so', {})": "is not (confidence, reason, options)",
    "(float('nan'), 'looks so', {})": "is not (confidence, reason, options)",
    "(0.9, None, {})": "is not (confidence, reason, options)",
    "('yes', 'looks so', {})": "TypeError",
    "(0.9, 'looks so', 3)": "TypeError",
    "1 / 0": "ZeroDivisionError",
    "head.nothing": "AttributeError",
}


@pytest.mark.parametrize(("answer", "reason"), ANSWERS.items())
def test_broken_sniff(
    site: Path, tmp_path: Path, told: Callable[[], list[str]], answer: str, reason: str
) -> None:
    text = broken("'bad', 'A format', ('bad',)").replace("return None", f"return {answer}")
    install(site, "a", {"bad": "broken_package:FORMAT"}, broken_package=text)
    np.save(tmp_path / "a.npy", FRAMES)
    for _ in range(2):
        candidates = rsciio_tem.detect(tmp_path / "a.npy")
        assert candidates[0].format == "npy"
        assert [c.format for c in candidates[1:]] == ["bad"] * answer.startswith("(0.2")
    if reason:
        (message,) = told()
        assert message.startswith("broken_package.sniff(")
        assert reason in message
    else:
        assert told() == []


def test_hyperspy_with_broken_packages(tmp_path: Path) -> None:
    for number, (text, _) in enumerate(BROKEN.values()):
        name = f"zz_{number}"  # behind the example, whose name one of them takes
        install(tmp_path, name, {name: f"{name}:FORMAT"}, **{name: text})
    install_example(tmp_path)
    path = str(write(tmp_path / "a.xmpl"))
    imported, *signals = python(LOAD.format(first="", path=path), tmp_path)
    assert imported == "False"
    assert [line.split()[0] for line in signals] == ["rsciio_tem_example"] * 3
