# SPDX-License-Identifier: GPL-3.0-or-later
"""Side files of ours: what is written down about a recording is what every reader makes of it."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import SPECS, Sample, Spec
from writers import mib as mib_writer

import rsciio_tem
from rsciio_tem import cli
from rsciio_tem.errors import FormatError, RecordingWarning
from rsciio_tem.recording.annotation import CALIBRATION, CORRECTIONS, SCAN, SUFFIX

WRITTEN = {"scan_step": "0.5 nm", "detector_step": "0.02,0.03 1/nm", "beam_energy": 200}


def factors(n: int) -> tuple[int, int]:
    """A scan shape (x, y) of so many positions."""
    lines = next((k for k in range(2, n) if n % k == 0), 1)
    return n // lines, lines


def axes_of(signal: dict[str, Any]) -> list[tuple[Any, ...]]:
    keys = ("name", "size", "scale", "offset", "units", "navigate")
    return [tuple(axis.get(key) for key in keys) for axis in signal["axes"]]


def bare(sample: Sample, folder: Path) -> Sample:
    """A copy of a sample that is read without saying how its frames are arranged."""
    taken = {*SCAN, *CALIBRATION, "nav_shape", "missing", "roi", "sync_offset", "scan_shape"}
    options = {n: v for n, v in sample.options.items() if n not in taken}
    return dataclasses.replace(sample.moved(folder), options=options)


@pytest.mark.per_kind
def test_every_reader_uses_it(file_sample: Sample, tmp_path: Path) -> None:
    """With a side file, a recording is what the same keywords make of it."""
    sample = bare(file_sample, tmp_path / "a")
    if sample.format == "tvips":  # else a shape is about frames as stored, or as their counters say
        options = {**sample.options, "placement": "stored"}
        sample = dataclasses.replace(sample, options=options)
    recording = sample.parse()
    shape = factors(recording.count // recording.layers)
    values: dict[str, Any] = {"navigation_shape": shape}
    if len(recording.frames.frame_shape) == 2:
        values |= WRITTEN
    asked = sample.read_quietly(**values)
    if asked["original_metadata"]["rsciio_tem"]["scan"]["shape"][-2:] != list(shape[::-1]):
        pytest.skip("frames of this sample cannot be arranged otherwise")
    side = quietly(
        rsciio_tem.annotate, sample.path, sample.format, **sample.format_options, **values
    )
    signal = sample.read_quietly(lazy=True)
    np.testing.assert_array_equal(np.asarray(signal["data"]), asked["data"])
    assert axes_of(signal) == axes_of(asked)
    ours = signal["original_metadata"]["rsciio_tem"]
    assert os.path.samefile(side, ours["side_file"]["path"])
    assert ours["files"][-1] == ours["side_file"]["path"]
    assert ours["scan"]["rule"] == "annotation"
    tem = signal["metadata"].get("Acquisition_instrument", {}).get("TEM", {})
    assert tem.get("beam_energy") == values.get("beam_energy", tem.get("beam_energy"))


def test_every_member_leads_to_it(first_sample: Sample, tmp_path: Path) -> None:
    """Whichever file a recording is opened through, its side file is the same."""
    sample = first_sample.moved(tmp_path / "a")
    opening = dict(sample.format_options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        side = rsciio_tem.annotate(sample.path, sample.format, **opening, notes="of all")
        for path in sample.parse().files:
            try:
                recording = rsciio_tem.open(path, sample.format, **opening)
            except FormatError:
                continue  # it is no way in
            assert recording.annotation is not None, path
            assert os.path.samefile(recording.annotation.path, side)
            assert recording.annotation.notes == "of all"


# -- one recording -------------------------------------------------------------------------------

FRAMES = np.random.default_rng(3).integers(0, 900, (96, 8, 10)).astype("u2")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A Merlin recording of 96 frames that only times say the lines of: 12 x 8."""
    times, exposures = mib_writer.scan_times((8, 12), jitter_ns=0)
    path = tmp_path / "scan.mib"
    hdr = {"frames": 96}
    mib_writer.write_mib(path, FRAMES, 12, times_ns=times, exposures_ns=exposures, hdr=hdr)
    return path


@pytest.fixture
def timeless(tmp_path: Path) -> Path:
    """96 frames of which nothing tells a shape."""
    path = tmp_path / "plain.npy"
    np.save(path, FRAMES)
    return path


def quietly(function: Any, *args: Any, **keywords: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        return function(*args, **keywords)


def shape_of(path: Path, **options: Any) -> tuple[int, ...]:
    return quietly(rsciio_tem.load, path, lazy=True, **options)[0]["data"].shape[:-2]


def side_of(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def run(*arguments: Any, status: int = 0) -> Any:
    result = CliRunner().invoke(cli.main, [str(a) for a in arguments])
    assert result.exit_code == status, result.output
    return result


def test_written_and_read(timeless: Path) -> None:
    side = rsciio_tem.annotate(
        timeless,
        navigation_shape=(-1, 6),
        snake=True,
        centre=(np.float64(4.5), 3),
        notes='"\\\x7fµ',
    )
    assert side == str(side_of(timeless))
    tree = tomllib.loads(Path(side).read_text(encoding="utf-8"))
    assert tree["recording"] == {
        "name": "plain.npy",
        "size": timeless.stat().st_size,
        "frames": 96,
    }
    assert tree["rsciio-tem"]["version"] == rsciio_tem.__version__
    assert tree["rsciio-tem"]["notes"] == '"\\\x7fµ'
    assert tree["scan"] == {"navigation_shape": [-1, 6], "snake": True}
    signal = rsciio_tem.load(timeless)[0]
    expected = FRAMES.reshape(6, 16, 8, 10).copy()
    expected[1::2] = expected[1::2, ::-1]
    np.testing.assert_array_equal(signal["data"], expected)
    assert [axis["offset"] for axis in signal["axes"][2:]] == [-3, -4.5]
    assert rsciio_tem.open(timeless).scan().shape == (6, 16)
    assert rsciio_tem.check(timeless) == []
    assert rsciio_tem.reduce(timeless)["navigator"].shape == (6, 16)
    assert sorted(p.name for p in timeless.parent.iterdir()) == ["plain.npy", Path(side).name]


def test_hyperspy(path: Path) -> None:
    import hyperspy.api as hs

    run("annotate", path, "--navigation-shape", "24,4", "--scan-step", "0.5nm")
    with pytest.warns(RecordingWarning, match="every 12 frames"):  # the times say something else
        signal = hs.load(str(path), lazy=True)
    assert signal.axes_manager.navigation_shape == (24, 4)
    assert [axis.scale for axis in signal.axes_manager.navigation_axes] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (6, 16)),
        ({"navigation_shape": (48, 2)}, (2, 48)),
        ({"nav_shape": (2, 48)}, (2, 48)),
        ({"scan": "stack"}, (96,)),
        ({"scan": "auto"}, (96,)),
        ({"first_frame": 0}, (6, 16)),
        ({"first_frame": 16}, (5, 16)),
        ({"sync_offset": 0}, (6, 16)),
        ({"roi": np.arange(5)}, (5,)),
        ({"missing": "fill"}, (6, 16)),
    ],
)
def test_keywords_win(timeless: Path, options: dict[str, Any], shape: tuple[int, ...]) -> None:
    rsciio_tem.annotate(timeless, navigation_shape=(16, 6), scan_step=2)
    assert shape_of(timeless, **options) == shape
    signal = quietly(rsciio_tem.load, timeless, lazy=True, **options)[0]
    assert signal["axes"][0]["scale"] == (2 if len(shape) == 2 else 1)


def test_options_win(timeless: Path) -> None:
    run("annotate", timeless, "--navigation-shape", "16,6", "--scan-step", "2 nm")
    said = json.loads(run("info", "--json", timeless, "--scan-step", "3 µm").stdout)
    assert [axis["scale"] for axis in said["axes"][:2]] == [3, 3]
    assert said["scan"]["rule"] == "annotation"
    said = json.loads(run("info", "--json", timeless, "--navigation-shape", "48,2").stdout)
    assert said["scan"]["navigation_shape"] == [48, 2]
    assert said["scan"]["rule"] == "argument"
    assert [axis["scale"] for axis in said["axes"][:2]] == [2, 2]
    said = json.loads(run("info", "--json", timeless, "--scan", "stack").stdout)
    assert said["scan"]["navigation_shape"] == [96]


def test_begin(timeless: Path) -> None:
    rsciio_tem.annotate(timeless, navigation_shape=(15, 6), first_frame=2)
    data = rsciio_tem.load(timeless)[0]["data"]
    np.testing.assert_array_equal(data, FRAMES[2:92].reshape(6, 15, 8, 10))
    data = quietly(rsciio_tem.load, timeless, sync_offset=1)[0]["data"]
    np.testing.assert_array_equal(data, FRAMES[1:91].reshape(6, 15, 8, 10))


def test_calibration_by_both(timeless: Path) -> None:
    rsciio_tem.annotate(timeless, camera_length=110, pixel_size=55)
    one = rsciio_tem.load(timeless, lazy=True)[0]
    assert [axis["units"] for axis in one["axes"][-2:]] == ["mrad", "mrad"]
    assert one["metadata"]["Acquisition_instrument"]["TEM"]["camera_length"] == 110
    two = rsciio_tem.load(timeless, lazy=True, beam_energy=200)[0]
    bare = rsciio_tem.load(timeless, lazy=True, beam_energy=200, camera_length=110, pixel_size=55)[
        0
    ]
    assert axes_of(two) == axes_of(bare)
    assert two["axes"][-1]["units"] == "1/nm"
    other = rsciio_tem.load(timeless, lazy=True, detector_step="3 mrad")[0]
    assert other["axes"][-1]["scale"] == 3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"flip_x": True},
        {"flip_y": False},
        {"rot90": 1},
        {"transpose": True, "flip_x": True},
        {"rot90": 3, "flip_y": False, "transpose": True},
    ],
)
def test_centre_stays_at_the_beam(path: Path, options: dict[str, Any]) -> None:
    """The zero of the axes is where the brightest pixel is, however frames are turned."""
    frames = np.zeros((4, 8, 10), "u2")
    frames[:, 2, 7] = 9
    path.with_suffix(".hdr").unlink()
    mib_writer.write_mib(path, frames, 12)
    row, column = np.argwhere(quietly(rsciio_tem.load, path)[0]["data"][0])[0].tolist()
    quietly(rsciio_tem.annotate, path, centre=(column, row), detector_step=(0.5, 0.25))
    signal = quietly(rsciio_tem.load, path, **options)[0]
    ys, xs = signal["axes"][-2:]
    row, column = np.argwhere(signal["data"][0])[0].tolist()
    assert ys["offset"] + row * ys["scale"] == pytest.approx(0)
    assert xs["offset"] + column * xs["scale"] == pytest.approx(0)
    assert {ys["scale"], xs["scale"]} == {0.5, 0.25}


def test_corrections(timeless: Path) -> None:
    dark = np.full((8, 10), 3, "u2")
    np.save(timeless.with_name("dark.npy"), dark)
    rsciio_tem.annotate(timeless, dark=timeless.with_name("dark.npy"))
    signal = rsciio_tem.load(timeless)[0]
    np.testing.assert_array_equal(signal["data"], FRAMES.astype("f4") - 3)
    files = [os.path.basename(name) for name in signal["original_metadata"]["rsciio_tem"]["files"]]
    assert files == ["plain.npy", "dark.npy", "plain.npy" + SUFFIX]
    assert rsciio_tem.load(timeless, corrections=False)[0]["data"].dtype == "u2"
    rsciio_tem.annotate(timeless, corrections=False)
    assert rsciio_tem.load(timeless)[0]["data"].dtype == "u2"
    assert rsciio_tem.load(timeless, corrections="auto")[0]["data"].dtype == "f4"


def test_dark_image_that_leads_back(timeless: Path) -> None:
    """A dark image whose own side file names the recording as its dark image."""
    dark = timeless.with_name("dark.npy")
    np.save(dark, FRAMES)
    rsciio_tem.annotate(timeless, dark=dark)
    rsciio_tem.annotate(dark, dark=timeless)
    assert rsciio_tem.load(timeless)[0]["data"].dtype == "f4"


# -- side files that are not used ----------------------------------------------------------------


def content(path: Path, **tables: Any) -> str:
    size = path.stat().st_size
    usual = {
        "rsciio-tem": "schema = 1",
        "recording": f'name = "{path.name}"\nsize = {size}\nframes = 96',
        "scan": "navigation_shape = [16, 6]",
    }
    return "".join(f"[{name}]\n{text}\n" for name, text in {**usual, **tables}.items())


DAMAGED: dict[str, dict[str, str]] = {
    "does not fit 96 frames": {"scan": "navigation_shape = [16, 7]"},
    "does not fit": {"scan": "navigation_shape = [97]"},
    "a scan of \\d+ positions": {
        "scan": "navigation_shape = [1000000000, 1000000000]\nsync_offset = 0"
    },
    "no number of frames": {"scan": "navigation_shape = [1e3, 6]"},
    "is no number of": {"scan": "first_frame = 99999999999999999999999"},
    "select nothing": {"scan": "first_frame = 1000"},
    "is not a scan shape": {"scan": "navigation_shape = [0, 6]"},
    "scan is none of": {"scan": 'scan = "content"'},
    "flyback is no text": {"scan": "flyback = [1]"},
    "neither true nor false": {"scan": 'navigation_shape = [16, 6]\nsnake = "no"'},
    "written for 'other.npy'": {"recording": 'name = "other.npy"\nsize = 1\nframes = 96'},
    "of 1 bytes": {"recording": 'name = "plain.npy"\nsize = 1\nframes = 96'},
    "written for None": {"recording": ""},
    "'navigation_shapes' in \\[scan\\]": {"scan": "navigation_shapes = [16, 6]"},
    "an entry 'more'": {"more": ""},
    "with schema = 1": {"rsciio-tem": "schema = 2"},
    "table \\[rsciio-tem\\] with schema = 1": {"rsciio-tem": "schema = true"},
    "is no text": {"rsciio-tem": "schema = 1\nnotes = 3"},
    "not a step such as": {"calibration": 'scan_step = "wide"'},
    "the unit is keV": {"calibration": "beam_energy = 200000"},
    "finite": {"calibration": "detector_step = inf"},
    "in the same folder": {"corrections": 'dark = "../dark.npy"'},
    "is not the name of a file": {"corrections": 'gain = "/etc/hostname"'},
    "does not exist": {"corrections": 'dark = "dark.npy"'},
    "repair is none of": {"corrections": 'repair = "all"'},
}


@pytest.mark.parametrize("why", DAMAGED)
def test_not_used(timeless: Path, why: str) -> None:
    side_of(timeless).write_text(content(timeless, **DAMAGED[why]), encoding="utf-8")
    with pytest.warns(RecordingWarning, match=f"is not used: .*{why}"):
        (signal,) = rsciio_tem.load(timeless)
    np.testing.assert_array_equal(signal["data"], FRAMES)
    assert "side_file" not in signal["original_metadata"]["rsciio_tem"]
    (problem,) = rsciio_tem.check(timeless)
    assert problem.severity == "warning"
    assert "is not used" in problem.message
    info = json.loads(run("info", "--json", timeless).stdout)
    assert info["side_file"]["used"] is False
    assert "not used" in run("info", timeless).stdout


NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 1, 6, 16, 96, -1])
VALUES = (
    NUMBERS
    | st.booleans()
    | st.text(max_size=8)
    | st.sampled_from(["drop", "x", "y", "0.5 nm", "dark.npy", "plain.npy", "stack", "header"])
    | st.lists(NUMBERS, max_size=4)
    | st.datetimes()
)
TABLES = {"scan": SCAN, "calibration": CALIBRATION, "corrections": CORRECTIONS}


@settings(max_examples=300, suppress_health_check=[*HealthCheck])
@given(
    entries=st.dictionaries(
        st.sampled_from([(table, name) for table, names in TABLES.items() for name in names]),
        VALUES,
        min_size=1,
        max_size=5,
    )
)
def test_whatever_it_says(timeless: Path, entries: dict[tuple[str, str], Any]) -> None:
    """It is used, or it is told; a recording is read in either case, and stays small."""

    def toml(value: Any) -> str:
        if isinstance(value, list):
            return f"[{', '.join(map(toml, value))}]"
        if isinstance(value, str):
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        return value.isoformat() if hasattr(value, "isoformat") else str(value).lower()

    np.save(timeless.with_name("dark.npy"), FRAMES[0])
    texts = {
        table: "\n".join(f"{n} = {toml(v)}" for (t, n), v in entries.items() if t == table)
        for table in TABLES
    }
    text = content(timeless, **texts)
    side_of(timeless).write_bytes(text.encode("utf-8", "replace"))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", RecordingWarning)
        (signal,) = rsciio_tem.load(timeless, lazy=True)
    used = "side_file" in signal["original_metadata"]["rsciio_tem"]
    assert used != any("is not used" in str(one.message) for one in warned)
    assert signal["data"].nbytes < 40 * FRAMES.nbytes
    if not used:
        assert signal["data"].shape == FRAMES.shape
    assert all(np.isfinite([axis["scale"], axis["offset"]]).all() for axis in signal["axes"])


@pytest.mark.parametrize("offset", [-97, 97, -3744, 10**9])
def test_an_offset_beyond_all_frames(timeless: Path, offset: int) -> None:
    """Blank frames in place of those would make a recording of any size."""
    side_of(timeless).write_text(content(timeless, scan=f"sync_offset = {offset}"))
    with pytest.warns(RecordingWarning, match=f"is not used: sync_offset={offset} for 96 frames"):
        assert rsciio_tem.load(timeless, lazy=True)[0]["data"].shape == FRAMES.shape


@pytest.mark.parametrize(
    "damaged",
    [b"", b"\xff\xfe\0", b"not toml", b"[a\n", b"#" * (2 << 20), b"a." * 99 + b"b = 1", b"\0" * 99],
    ids=["empty", "utf-16", "text", "cut", "large", "deep", "zeros"],
)
def test_damaged(timeless: Path, damaged: bytes) -> None:
    side_of(timeless).write_bytes(damaged)
    with pytest.warns(RecordingWarning, match="is not used"):
        assert rsciio_tem.load(timeless)[0]["data"].shape == FRAMES.shape


def test_folder_of_its_name(timeless: Path) -> None:
    side_of(timeless).mkdir()
    with pytest.warns(RecordingWarning, match="is not used"):
        rsciio_tem.load(timeless)


def test_copied_to_another_recording(timeless: Path) -> None:
    rsciio_tem.annotate(timeless, navigation_shape=(16, 6))
    other = timeless.with_name("other.npy")
    np.save(other, FRAMES)
    side_of(other).write_bytes(side_of(timeless).read_bytes())
    with pytest.warns(RecordingWarning, match=r"written for 'plain\.npy'"):
        assert rsciio_tem.load(other)[0]["data"].shape == FRAMES.shape


# -- writing -------------------------------------------------------------------------------------


def test_never_written_unasked(path: Path) -> None:
    before = {p.name for p in path.parent.iterdir()}
    for command in ("info", "check", "preview"):
        extra = ("-o", path.with_suffix(".png")) if command == "preview" else ()
        run(command, path, *extra)
    rsciio_tem.load(path)
    assert {p.name for p in path.parent.iterdir()} - before == {"scan.png"}


def test_added_to(timeless: Path) -> None:
    run("annotate", timeless, "--navigation-shape", "16,6", "--first-frame", "0", "--notes", "one")
    run("annotate", timeless, "--scan-step", "2 nm", "--centre", "4,3")
    annotation = rsciio_tem.open(timeless).annotation
    assert annotation.values == {
        "navigation_shape": [16, 6],
        "first_frame": 0,
        "scan_step": "2 nm",
        "centre": [4.0, 3.0],
    }
    assert annotation.notes == "one"
    run("annotate", timeless, "--nav-shape", "2,48", "--remove", "centre")  # another arrangement
    assert rsciio_tem.open(timeless).annotation.values == {
        "navigation_shape": [48, 2],
        "scan_step": "2 nm",
    }
    run("annotate", timeless, "--beam-energy", "300", "--overwrite")
    assert rsciio_tem.open(timeless).annotation.values == {"beam_energy": 300.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"navigation_shape": (16, 7)}, "does not fit 96 frames"),
        ({"nav_shape": (6, 16), "navigation_shape": (16, 6)}, "either"),
        ({"navigation_shap": (16, 6)}, "did you mean 'navigation_shape'"),
        ({"roi": [1]}, "nothing that a side file says"),
        ({"dark": np.zeros((8, 10))}, "corrections|dark"),
        ({"dark": __file__}, "does not lie in the folder"),
        ({"scan_step": "wide"}, "not a step"),
        ({}, "say something"),
        ({"centre": object()}, "no number"),
    ],
)
def test_refused(timeless: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        rsciio_tem.annotate(timeless, **values)
    assert [p.name for p in timeless.parent.iterdir()] == ["plain.npy"]


def test_files_that_are_not_ours(timeless: Path) -> None:
    side = side_of(timeless)
    side.write_text("somebody's", encoding="utf-8")
    with pytest.raises(FormatError, match=r"exists already.*overwrite=True"):
        rsciio_tem.annotate(timeless, navigation_shape=(16, 6))
    assert side.read_text(encoding="utf-8") == "somebody's"
    assert "--overwrite" in run("annotate", timeless, "--snake", status=2).output
    run("annotate", timeless, "--navigation-shape", "16,6", "--overwrite")
    assert shape_of(timeless) == (6, 16)


def test_interrupted(timeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there stays until the new file is complete."""
    rsciio_tem.annotate(timeless, navigation_shape=(16, 6))

    def fail(*paths: Any) -> None:
        raise OSError(5, "the disk is gone")

    before = side_of(timeless).read_bytes()
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk is gone"):
        rsciio_tem.annotate(timeless, snake=True)
    assert side_of(timeless).read_bytes() == before
    assert len([*timeless.parent.iterdir()]) == 2


def test_through_a_link(timeless: Path, tmp_path: Path) -> None:
    rsciio_tem.annotate(timeless, navigation_shape=(16, 6))
    link = tmp_path / "elsewhere" / "link.npy"
    link.parent.mkdir()
    link.symlink_to(timeless)
    assert shape_of(link) == (6, 16)
    assert rsciio_tem.annotate(link, snake=True) == str(side_of(timeless))


def test_raw_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    FRAMES.tofile(path)
    what = {"dtype": "<u2", "sig_shape": (8, 10)}
    with pytest.warns(RecordingWarning, match=r"pass dtype=, sig_shape= each time"):
        rsciio_tem.annotate(path, navigation_shape=(16, 6), **what)
    assert rsciio_tem.load(path, **what)[0]["data"].shape == (6, 16, 8, 10)
    run("annotate", path, "-O", "dtype=<u2", "-O", "sig_shape=[8, 10]", "--snake")
    assert "snake" in side_of(path).read_text(encoding="utf-8")


def test_lines_of_events(tmp_path: Path, sample_of: Callable[[Spec], Sample]) -> None:
    """A side file cannot say by which keywords events are cut into frames, and says so."""
    lines = next(spec for spec in SPECS if str(spec) == "tpx3: triggers of lines")
    sample = sample_of(lines).moved(tmp_path / "a")
    keywords = {"navigation_shape": (4, 3), "dwell_time": 1e-5}
    with pytest.warns(RecordingWarning, match="pass dwell_time=, navigation_shape= each time"):
        side = rsciio_tem.annotate(sample.path, **keywords, scan_step="2 nm")
    assert "frames = 12" in Path(side).read_text(encoding="utf-8")
    axes = rsciio_tem.load(sample.path, **keywords)[0]["axes"]
    assert [axis["scale"] for axis in axes[:2]] == [2, 2]
    shape = ["--navigation-shape", "4,3", "-O", "dwell_time=1e-5"]
    result = run("annotate", sample.path, *shape, "--overwrite")
    assert "4 × 3 (x, y)" in result.stdout
    assert "pass -O dwell_time=, --navigation-shape each time" in result.stderr


def test_store(tmp_path: Path) -> None:
    """The side file of a folder lies beside it."""
    path = rsciio_tem.convert(rsciio_tem.from_array(FRAMES), tmp_path / "a.zarr")
    side = rsciio_tem.annotate(path + os.sep, navigation_shape=(16, 6))
    assert side == str(tmp_path / "a.zarr") + SUFFIX
    assert shape_of(tmp_path / "a.zarr") == (6, 16)


def test_opened_through_it(timeless: Path) -> None:
    """A side file is a way in, as other members of a recording are."""
    import hyperspy.api as hs

    side = rsciio_tem.annotate(timeless, navigation_shape=(16, 6))
    assert shape_of(Path(side)) == (6, 16)
    assert hs.load(side, lazy=True).axes_manager.navigation_shape == (16, 6)
    assert rsciio_tem.open(side).path == str(timeless)
    assert rsciio_tem.detect(side)[0].format == "npy"
    assert rsciio_tem.check(side) == []
    assert "16 × 6" in run("info", side).stdout
    assert rsciio_tem.annotate(side, scan_step=3) == side
    timeless.unlink()
    with pytest.raises(FormatError):
        rsciio_tem.load(side)


def test_array_in_memory() -> None:
    (signal,) = rsciio_tem.from_array(FRAMES)
    assert "side_file" not in signal["original_metadata"]["rsciio_tem"]


# -- which files belong together -----------------------------------------------------------------


def test_conversion(path: Path, tmp_path: Path) -> None:
    run("annotate", path, "--navigation-shape", "12,8", "--scan-step", "0.5 nm")
    side, into = side_of(path), tmp_path / "into"
    arguments = ("convert", path, "--into", into, "--to", "h5", "--quiet", "--checksums")
    run(*arguments)
    (signal,) = rsciio_tem.load(into / "scan.h5")
    assert [axis["scale"] for axis in signal["axes"][:2]] == [0.5, 0.5]
    assert signal["axes"][0]["units"] == "nm"
    assert side.name in repr(signal["original_metadata"])
    (record,) = (into / "conversions.jsonl").read_text(encoding="utf-8").splitlines()
    assert any(name.endswith(side.name) for name in json.loads(record)["row"]["files"])
    assert side.name in (into / "SHA256SUMS").read_text(encoding="utf-8")
    assert "converted before" in run(*arguments, "--skip-existing").stdout
    run("annotate", path, "--scan-step", "0.7 nm")
    output = run(*arguments, "--skip-existing", status=2).output
    assert "is another one" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("used", [True, False])
def test_never_overwritten_by_a_target(path: Path, used: bool) -> None:
    rsciio_tem.annotate(path, navigation_shape=(12, 8))
    side = side_of(path)
    if not used:
        side.write_text("other", encoding="utf-8")
    before = side.read_bytes()
    with pytest.raises(FormatError, match="is the recording that is being read"):
        quietly(rsciio_tem.convert, path, side, to="raw_csr", overwrite=True)
    assert side.read_bytes() == before


def test_folders(path: Path) -> None:
    rsciio_tem.annotate(path, navigation_shape=(12, 8))
    output = run("check", path.parent).output
    assert "1 toml" not in output
    assert "scan.mib: ok" in output


def test_info(path: Path) -> None:
    run("annotate", path, "--navigation-shape", "12,8", "--notes", "<b>\u200emine")
    text = run("info", path).stdout
    assert "navigation_shape = 12, 8" in text
    assert "<b>" in text
    side = json.loads(run("info", "--json", path).stdout)["side_file"]
    assert side["used"] is True
    assert side["values"] == {"navigation_shape": [12, 8]}
    assert side["notes"] == "<b>\u200emine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_folder_with_the_name_of_a_side_file(path: Path, overwrite: bool) -> None:
    side_of(path).mkdir()
    with pytest.raises(FormatError, match="is a folder, where a side file should be"):
        quietly(rsciio_tem.annotate, path, navigation_shape=(12, 8), overwrite=overwrite)
    assert side_of(path).is_dir()
