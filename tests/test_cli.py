# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: what it says, what it draws, and that it is polite."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from writers import blo as blo_writer
from writers import mib as mib_writer
from writers import npy as npy_writer
from writers import raw as raw_writer

import rsciio_tem
from rsciio_tem import cli
from rsciio_tem.cli.info import SCHEMA as INFO_SCHEMA
from rsciio_tem.cli.words import as_options
from rsciio_tem.registry import FORMATS
from rsciio_tem.storage import files
from rsciio_tem.tools import demo


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.main, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def one_line(text: str) -> str:
    """Undo the wrapping to the width of the terminal."""
    return " ".join(text.split())


# ---------------------------------------------------------------- a recording to look at

SCAN = (12, 16)  # lines, columns


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's recording."""
    path = tmp_path_factory.mktemp("demo")
    demo.write(path / "grains.mib", SCAN)
    return path


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return np.stack(list(demo.simulate(SCAN)))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---------------------------------------------------------------- formats


def test_formats() -> None:
    text = run("formats").stdout
    for row in FORMATS.values():
        (line,) = (line for line in text.splitlines() if line.startswith(row.name + " "))
        assert row.description in line
        assert all(f".{s}" in line for s in row.suffixes)


def test_formats_json() -> None:
    rows = {row["format"]: row for row in json.loads(run("formats", "--json").stdout)}
    assert list(rows) == list(FORMATS)
    assert rows["mib"]["suffixes"] == ["mib", "hdr"]
    assert rows["mib"]["hs_load"] == {"mib": "ours", "hdr": "content"}


def test_formats_without_takeover() -> None:
    try:
        rsciio_tem.register("none")
        rows = {row["format"]: row for row in json.loads(run("formats", "--json").stdout)}
        assert rows["mib"]["hs_load"]["mib"] == "RosettaSciIO"
        rsciio_tem.unregister()
        rows = {row["format"]: row for row in json.loads(run("formats", "--json").stdout)}
        assert rows["raw"]["hs_load"]["bin"] == "no"
    finally:
        rsciio_tem.register()


# ---------------------------------------------------------------- info


def test_info(folder: Path) -> None:
    text = one_line(run("info", folder / "grains.mib").stdout)
    for expected in (
        "grains.mib Format mib, Merlin",
        "begins with a Merlin frame header",
        "grains.hdr, 2.05 kB",
        "192 of 256 × 256 px, uint16, 25.2 MB",
        "Scan 16 × 12 (x, y) from the timestamps (95%): every 16 frames",
        "--scan stack: stack of 192 frames",
        "Trigger external",
        "Exposure 950 µs, a frame every 1 ms",
        "Acquired 2024-03-14 09:26:53.589 UTC",
        "Data (12, 16, 256, 256) uint16",
        "Problems none",
    ):
        assert expected in text


def check_types(value: Any, example: Any, where: str = "info") -> None:
    """Compare the structure of a JSON value with that of an example."""
    if isinstance(example, dict):
        assert set(value) == set(example), where
        for key in example:
            check_types(value[key], example[key], f"{where}.{key}")
    elif isinstance(example, list):
        assert isinstance(value, list), where
        for item in value:
            check_types(item, example[0], f"{where}[]")
    else:
        assert isinstance(value, example), f"{where} is {value!r}"


OPTIONAL = (float, type(None))
SCHEMA = {
    "schema": int,
    "version": str,
    "path": str,
    "format": str,
    "description": str,
    "candidates": [{"format": str, "confidence": float, "reason": str}],
    "files": [{"path": str, "size": int}],
    "frames": {"stored": int, "shape": [int], "dtype": str, "nbytes": int},
    "layers": int,
    "scan": {
        "rule": str,
        "shape": [int],
        "navigation_shape": [int],
        "confidence": float,
        "reason": str,
        "contradictions": [str],
        "incomplete_lines": int,
        "lines": [{"line": int, "first": int, "frames": int, "blanks": int}],
        "alternatives": [
            {
                "rule": str,
                "shape": [int],
                "navigation_shape": [int],
                "confidence": float,
                "reason": str,
                "options": object,
            }
        ],
        "frames": {
            "announced": int,
            "blank": int,
            "stored": int,
            "first": int,
            "last": int,
            "skipped_start": int,
            "inserted_start": int,
            "inserted_end": int,
            "skipped_in_lines": int,
            "ignored_end": int,
            "complete": bool,
        },
    },
    "microscope": {"beam_energy": OPTIONAL, "camera_length": OPTIONAL},
    "times": {
        "trigger": (str, type(None)),
        "exposure": OPTIONAL,
        "period": OPTIONAL,
        "start": (str, type(None)),
        "duration": OPTIONAL,
    },
    "data": {
        "shape": [int],
        "dtype": str,
        "nbytes": int,
        "chunks": [int],
        "chunk_nbytes": int,
        "chunk_count": int,
    },
    "axes": [
        {
            "name": str,
            "units": str,
            "scale": float,
            "offset": float,
            "size": int,
            "navigate": bool,
        }
    ],
    "side_file": (dict, type(None)),
    "problems": [{"severity": str, "message": str, "hint": str}],
}


def info(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("info", *arguments, "--json").stdout)
    check_types(found, SCHEMA)
    assert found["schema"] == INFO_SCHEMA
    return found


def test_info_json(folder: Path) -> None:
    found = info(folder / "grains.mib")
    assert found["scan"]["shape"] == [12, 16]
    assert found["scan"]["navigation_shape"] == [16, 12]
    assert found["scan"]["rule"] == "timestamps"
    assert found["data"]["shape"] == [12, 16, 256, 256]
    assert found["frames"]["stored"] == 192
    assert found["times"]["exposure"] == 0.00095
    assert found["times"]["period"] == pytest.approx(0.001, rel=1e-3)
    assert found["times"]["duration"] == pytest.approx(0.192 + 11 * 0.0015, rel=1e-2)
    assert found["problems"] == []
    (stack,) = found["scan"]["alternatives"]
    assert stack["options"] == {"scan": "stack"}
    again = info(folder / "grains.mib", "--scan", "stack")
    assert again["scan"]["shape"] == stack["shape"] == [192]
    assert again["scan"]["alternatives"][0]["options"] == {"scan": "timestamps"}


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        (["--navigation-shape", "24,8"], [8, 24]),
        (["--navigation-shape", "24x8"], [8, 24]),
        (["--navigation-shape", "-1,8"], [8, 24]),
        (["--nav-shape", "8,24"], [8, 24]),
        (["--nav-shape", "2,6,16"], [2, 6, 16]),
        (["--first-frame", "32", "--last-frame", "96"], [4, 16]),
        (["--line-skip", "1"], [12, 15]),
        (["--sync-offset", "-5", "--nav-shape", "13,16"], [13, 16]),
    ],
)
def test_reader_options(folder: Path, arguments: list[str], shape: list[int]) -> None:
    assert info(folder / "grains.mib", *arguments)["scan"]["shape"] == shape


def test_info_tells_of_missing_lines(folder: Path) -> None:
    found = info(folder / "grains.mib", "--navigation-shape", "16,20")
    (problem,) = found["problems"]
    assert problem["severity"] == "warning"
    assert "12 of 20 lines" in problem["message"]
    text = one_line(run("info", folder / "grains.mib", "--navigation-shape", "16,20").stdout)
    assert "Problems only 12 of 20 lines are complete" in text


def test_info_offers_to_keep_the_flyback(tmp_path: Path) -> None:
    exposures = mib_writer.flyback_exposures(6, 9, start=5)
    frames = np.zeros((len(exposures), 256, 256), np.uint16)
    mib_writer.write_mib(tmp_path / "a.mib", frames, 12, exposures_ns=exposures)
    found = info(tmp_path / "a.mib")
    assert found["scan"]["shape"] == [7, 8]
    assert found["scan"]["rule"] == "exposures"
    (wide,) = (a for a in found["scan"]["alternatives"] if "flyback" in a["options"])
    assert wide["shape"] == [7, 9]
    assert info(tmp_path / "a.mib", "--flyback", "keep")["scan"]["shape"] == [7, 9]


def test_info_of_a_stack_suggests_shapes(tmp_path: Path) -> None:
    npy_writer.write_npy(tmp_path / "a.npy", np.zeros((60, 4, 4), np.uint8))
    text = one_line(run("info", tmp_path / "a.npy", "--scan", "stack").stdout)
    assert "Scan stack of 60 frames" in text
    raw_writer.write_raw(tmp_path / "b.raw", np.zeros((60, 4, 4), np.uint8))
    text = one_line(run("info", tmp_path / "b.raw", "--dtype", "u1", "--sig-shape", "4,4").stdout)
    assert "nothing tells a scan shape" in text
    assert "--navigation-shape X,Y: 60 frames would fill 6,10, 10,6, 5,12" in text


def test_info_of_a_single_frame(tmp_path: Path) -> None:
    frame = np.ones((1, 256, 256), np.uint16)
    mib_writer.write_mib(tmp_path / "a.mib", frame, 12)
    assert info(tmp_path / "a.mib")["data"]["shape"] == [256, 256]
    text = one_line(run("info", tmp_path / "a.mib").stdout)
    assert "Scan a single frame" in text
    assert "Or force" not in text


def test_raw_options(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    raw_writer.write_raw(path, np.arange(6 * 30, dtype=">u2").reshape(6, 5, 6))
    text = run("info", path, code=2).stderr
    assert text.startswith("error: ")
    assert "--sig-shape" in text
    found = info(path, "--dtype", ">u2", "--sig-shape", "5,6", "--navigation-shape", "3,2")
    assert found["data"]["shape"] == [2, 3, 5, 6]
    found = info(
        *(path, "--format", "raw", "--dtype", "u1", "--sig-shape", "5,6"),
        *("--offset", "60", "--frame-header", "10", "--frame-footer", "20"),
    )
    assert found["frames"]["stored"] == 5


def test_a_set_of_many_files_is_told_briefly(tmp_path: Path) -> None:
    for i in range(9):
        mib_writer.write_mib(
            tmp_path / f"a_{i:03}.mib", np.zeros((1, 64, 256), np.uint16), 12, first_sequence=i + 1
        )
    text = one_line(run("info", tmp_path / "a_000.mib").stdout)
    assert "9 files" in text
    assert "a_008.mib" in text
    assert "a_004.mib" not in text


# ---------------------------------------------------------------- errors and warnings


def test_errors_are_one_message(folder: Path, tmp_path: Path) -> None:
    def error(*arguments: object) -> str:
        result = run(*arguments, code=2)
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        return result.stderr

    missing = error("info", tmp_path / "nothing.mib")
    assert missing == f"error: {tmp_path / 'nothing.mib'}: does not exist.\n"
    (tmp_path / "empty").mkdir()
    assert "holds no recording in a known format" in error("info", tmp_path / "empty")
    assert "--scan exposures finds no scan shape" in error(
        "info", folder / "grains.mib", "--scan", "exposures"
    )
    assert "pass either navigation_shape" in error(
        "info", folder / "grains.mib", "--nav-shape", "1,2", "--navigation-shape", "2,1"
    )
    assert "--offset: has no meaning for files of the format mib" in error(
        "info", folder / "grains.mib", "--offset", "1"
    )
    assert "-O dept: has no meaning for files of the format mib; did you mean -O depth?" in error(
        "info", folder / "grains.mib", "-O", "dept=12"
    )
    assert "not a list of sizes" in error("info", folder / "grains.mib", "--nav-shape", "a,b")
    (tmp_path / "text.mib").write_text("no image")
    assert "not a Merlin recording" in error("info", tmp_path / "text.mib", "--format", "mib")
    (tmp_path / "text.xyz").write_text("no image")
    assert "is not in a known format" in error("info", tmp_path / "text.xyz")
    (tmp_path / "text.tif").write_text("no image")
    assert "RosettaSciIO's reader 'tiff'" in error("info", tmp_path / "text.tif")
    assert "there is no folder" in error(
        "preview", folder / "grains.mib", "-o", tmp_path / "no" / "a.png"
    )


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    text = run("info", tmp_path / "nothing.mib", "--debug", code=2).stderr
    assert "Traceback" in text
    assert "does not exist" in text


def test_warnings_are_lines(folder: Path, tmp_path: Path) -> None:
    path = folder / "grains.mib"
    result = run("preview", path, "-o", tmp_path / "a.png", "--navigation-shape", "16,20")
    assert result.stderr.startswith(f"warning: {path}: only 12 of 20 lines are complete")
    assert result.stderr.count("\n") == 1
    assert result.stdout == f"{tmp_path / 'a.png'}\n"


def test_colour_only_in_terminals(folder: Path) -> None:
    arguments = ["info", str(folder / "grains.mib")]
    assert "\x1b[" not in CliRunner().invoke(cli.main, arguments).output
    assert "\x1b[" in CliRunner().invoke(cli.main, arguments, color=True).output
    plain = CliRunner(env={"NO_COLOR": "1"}).invoke(cli.main, arguments, color=True)
    assert "\x1b[" not in plain.output


# ---------------------------------------------------------------- demo


def test_demo(here: Path, truth: np.ndarray) -> None:
    result = run("demo", "try", "--size", "16,12")
    text = one_line(result.stdout)
    assert "16 × 12 (x, y) from the timestamps (95%): every 16 frames" in text
    assert 'hs.load("' in text or "HyperSpy is not installed" in text
    assert "(16, 12|256, 256)" in text or "(12, 16, 256, 256)" in text
    assert "rsciio-tem info try" in text
    assert sorted(os.listdir("try")) == ["grains.hdr", "grains.mib", "grains_preview.png"]

    for lazy in (False, True):
        (signal,) = rsciio_tem.load(Path("try") / "grains.mib", lazy=lazy)
        np.testing.assert_array_equal(np.asarray(signal["data"]), truth)

    again = run("demo", "try", "--size", "16,12", code=2)
    assert "exists already" in again.stderr
    assert "--overwrite" in again.stderr
    run("demo", "try", "--size", "16,11", "--overwrite")
    assert info(Path("try") / "grains.mib")["scan"]["shape"] == [11, 16]
    assert "two sizes" in run("demo", "other", "--size", "5", code=2).stderr
    assert not Path("other").exists()


def test_demo_in_hyperspy(folder: Path, truth: np.ndarray) -> None:
    hs = pytest.importorskip("hyperspy.api")
    signal = hs.load(str(folder / "grains.mib"), lazy=True)
    assert signal.axes_manager.navigation_shape == (16, 12)
    np.testing.assert_array_equal(signal.inav[5, 3].data.compute(), truth[3, 5])


def test_demo_without_hyperspy(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    text = run("demo", "--size", "8,6").stdout
    assert "HyperSpy is not installed" in text
    assert "rsciio_tem.load(" in text
    assert Path("rsciio-tem-demo", "grains.mib").exists()


def test_demo_files_are_as_the_camera_writes_them(folder: Path) -> None:
    times = np.array([demo.START_NS, demo.START_NS + demo.DWELL_NS], np.int64)
    expected = mib_writer.headers([5, 6], times_ns=times, exposures_ns=demo.EXPOSURE_NS)
    assert b"".join(demo.frame_headers(4, times)) == expected.tobytes()
    hdr = (folder / "grains.hdr").read_bytes()
    assert len(hdr) == 2048

    def keys(text: bytes) -> list[bytes]:
        return [line.split(b":\t")[0].strip() for line in text.split(b"\r\n")]

    assert keys(hdr) == keys(mib_writer.hdr_text(192))
    assert b"Frames per Trigger (Number):\t1\r\n" in hdr
    assert b"Scan" not in hdr


def test_demo_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        yield np.zeros((4, 256, 256), np.uint16)
        raise OSError("no space left")

    monkeypatch.setattr(demo, "simulate", broken)
    with pytest.raises(OSError, match="no space left"):
        demo.write(tmp_path / "a.mib", (3, 4))
    assert not os.listdir(tmp_path)


def test_replacing(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"

    def write(text: str, **options: bool) -> None:
        with files.replacing(target, **options) as temporary:
            Path(temporary).write_text(text)

    write("one")
    with pytest.raises(FileExistsError):
        write("two")
    assert target.read_text() == "one"
    write("two", overwrite=True)
    assert target.read_text() == "two"
    assert os.listdir(tmp_path) == ["a.txt"]


# ---------------------------------------------------------------- as a program


def test_program(folder: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "rsciio_tem.cli"]
    result = subprocess.run(
        [*command, "info", str(folder / "grains.mib"), "--json"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        check=True,
    )
    assert json.loads(result.stdout)["scan"]["navigation_shape"] == [16, 12]
    assert result.stderr == ""
    result = subprocess.run([*command, "info", "nothing"], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == "error: nothing: does not exist.\n"


def test_only_the_command_line_needs_click_and_pillow() -> None:
    code = (
        "import sys, rsciio_tem, rsciio_tem.readers, rsciio_tem.reading.read\n"
        "import rsciio_tem.reduction.single_pass\n"
        "import rsciio_tem.formats.mib\n"
        "assert not {'PIL', 'tqdm', 'click'} & set(sys.modules), sys.modules.keys()"
    )
    assert importlib.util.find_spec("PIL")
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("or pass resume=False to begin anew.", "or pass --no-resume to begin anew."),
        ('missing="fill" keeps them.', "-O missing=fill keeps them."),
        (
            'format="raw", dtype="uint16", sig_shape=(256, 256).',
            "--format raw, --dtype uint16, --sig-shape 256,256.",
        ),
        ("navigation_shape=(48, 40) or flip_y=False", "--navigation-shape 48,40 or --no-flip-y"),
        ("first_frame=3, last_frame=7", "--first-frame 3, --last-frame 7"),
        ("pass dataset= one of a, b", "pass -O dataset= one of a, b"),
        ("a list: roi=[0, 5, 7]", "a list: -O 'roi=[0,5,7]'"),
        ("write scan_step='1.5 nm' or", "write --scan-step '1.5 nm' or"),
        ("with dtype='>u2'", "with --dtype '>u2'"),
        ("order='F' exchanges them", "-O order=F exchanges them"),
        ("metadata_file=None for", "-O metadata_file=null for"),
        ("Pass to= with one", "Pass --to with one"),
        ("single_file=True if they are separate", "-O single_file=true if they are separate"),
        ("the header says dose=5 and f(dtype=1)", "the header says dose=5 and f(dtype=1)"),
        ("rsciio_tem.load(path, 1)", "rsciio_tem.load(path, 1)"),
    ],
)  # fmt: skip
def test_messages_have_options_of_the_command(said: str, shown: str) -> None:
    assert as_options(said) == shown


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--beam-energy", "199,5", "write 199.5"),
        ("--camera-length", "1e", "'1e' is not a number"),
        ("--centre", "127,5,130,25", "write 127.5,130.25"),
        ("--centre", "3", "not a pixel such as 127.5,130"),
        ("--scan-step", "1,5nm", "write --scan-step '1.5 nm' or --scan-step '1.0,5.0 nm'"),
    ],
)
def test_decimal_commas(folder: Path, option: str, value: str, said: str) -> None:
    assert said in run("info", folder / "grains.mib", option, value, code=2).stderr


def test_info_tells_the_microscope(folder: Path, tmp_path: Path) -> None:
    """Energy and camera length are those of the file, unless options say otherwise."""
    path = tmp_path / "a.blo"
    frames = np.ones((2, 3, 4, 4), "u1")
    blo_writer.write_blo(path, frames, energy=200_000, camera_length=8000)
    assert "Microscope  200 keV, camera length 800 mm" in run("info", path).stdout
    stored = json.loads(run("info", path, "--json").stdout)["microscope"]
    assert stored == {"beam_energy": 200, "camera_length": 800}
    option = ("--camera-length", "600", "--pixel-size", "55")
    assert "Microscope  200 keV, camera length 600 mm" in run("info", path, *option).stdout
    (signal,) = rsciio_tem.load(path, camera_length=600, pixel_size=55)
    tem = signal["metadata"]["Acquisition_instrument"]["TEM"]
    assert (tem["camera_length"], "camera_length_units" in tem) == (600, False)
    assert "Microscope" not in run("info", folder / "grains.mib").stdout


def test_hints_are_what_to_type(folder: Path, tmp_path: Path) -> None:
    """Following a hint to the letter works."""
    raw = tmp_path / "pixels.raw"
    raw_writer.write_raw(raw, np.zeros((6, 256, 256), np.uint16))
    said = run("info", raw, code=2).stderr
    assert "dtype" in said
    target = tmp_path / "a.npy"
    run("convert", folder / "grains.mib", target, "--quiet")
    said = run("convert", folder / "grains.mib", target, "--quiet", code=2).stderr
    (flag,) = re.findall(r"--over\w+", said)
    run("convert", folder / "grains.mib", target, "--quiet", flag)
    said = run("check", folder / "grains.mib", "-O", "dpth=12", code=2).stderr
    assert "did you mean 'depth'" in said


def test_numbers_with_an_exponent() -> None:
    from rsciio_tem.cli.options import assignments

    texts = ["a=1e-6", "b=2.5e-3", "c=-3E4", "d=1e", "e=0x1e5", "f=1"]
    expected = {"a": 1e-6, "b": 2.5e-3, "c": -3e4, "d": "1e", "e": 0x1E5, "f": 1}
    assert assignments(texts) == expected
