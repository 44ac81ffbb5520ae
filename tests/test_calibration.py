# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of axes, calibration by keywords, and frames that are turned and binned while they load."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from writers import mib as mib_writer

import rsciio_tem
from rsciio_tem import cli
from rsciio_tem.errors import FormatError
from rsciio_tem.frames.arrays import ArrayFrames, InMemory
from rsciio_tem.frames.turned import Binned, Turn, Turned
from rsciio_tem.reading.calibration import wavelength

RNG = np.random.default_rng(9)


@pytest.fixture(scope="module")
def array() -> np.ndarray[Any, Any]:
    return RNG.integers(0, 60000, (3, 4, 6, 10)).astype("u2")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray[Any, Any]) -> Path:
    path = tmp_path_factory.mktemp("calibration") / "a.npy"
    np.save(path, array)
    return path


def load(path: Path, **options: Any) -> dict[str, Any]:
    (signal,) = rsciio_tem.load(path, **options)
    (lazy,) = rsciio_tem.load(path, lazy=True, **options)
    np.testing.assert_array_equal(lazy["data"].compute(), signal["data"], strict=True)
    column = min(2, signal["data"].shape[1] - 1)
    part = (slice(1, 3), column, slice(1, 3), slice(0, 2))[: signal["data"].ndim]
    np.testing.assert_array_equal(lazy["data"][part].compute(), signal["data"][part])
    assert lazy["axes"] == signal["axes"]
    return signal


def in_memory(images: np.ndarray[Any, Any]) -> ArrayFrames:
    return ArrayFrames(InMemory(images), images.shape[:1], images.shape[1:], images.dtype)


# ---------------------------------------------------------------- turned and binned


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"flip_x": True}, lambda a: a[..., ::-1]),
        ({"flip_x": True, "flip_y": True}, lambda a: a[..., ::-1, ::-1]),
        ({"transpose": True}, lambda a: a.swapaxes(-1, -2)),
        ({"rot90": 1}, lambda a: np.rot90(a, 1, (-2, -1))),
        ({"rot90": 2}, lambda a: np.rot90(a, 2, (-2, -1))),
        ({"rot90": -1}, lambda a: np.rot90(a, 3, (-2, -1))),
        (
            {"flip_x": True, "transpose": True, "rot90": 3},
            lambda a: np.rot90(a[..., ::-1].swapaxes(-1, -2), 3, (-2, -1)),
        ),
        ({"bin": 2}, lambda a: a.reshape(3, 4, 3, 2, 5, 2).sum((3, 5), dtype="u4")),
        ({"bin": (3, 2)}, lambda a: a[..., :9].reshape(3, 4, 3, 2, 3, 3).sum((3, 5), dtype="u4")),
        (
            {"transpose": True, "bin": (2, 5)},
            lambda a: a.swapaxes(-1, -2).reshape(3, 4, 2, 5, 3, 2).sum((3, 5), dtype="u4"),
        ),
        ({"bin": 2, "dtype": "f8"}, lambda a: a.reshape(3, 4, 3, 2, 5, 2).sum((3, 5), dtype="f8")),
    ],
)
def test_frames_are_turned_and_binned(
    path: Path, array: np.ndarray[Any, Any], options: dict[str, Any], expected: Any
) -> None:
    stored = {"flip_y": False, **options}
    signal = load(path, **stored)
    np.testing.assert_array_equal(signal["data"], expected(array), strict=True)
    sums = rsciio_tem.reduce(path, what=["sum"], **stored)
    np.testing.assert_allclose(sums["sum"], expected(array).sum((0, 1), dtype="f8"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"isig": "2:9,1:"}, lambda a: a[..., 1:, 2:9]),
        ({"isig": np.s_[2:-1]}, lambda a: a[..., 2:-1]),
        ({"isig": np.s_[:, 1:4]}, lambda a: a[..., 1:4, :]),
        ({"isig": ":99,:"}, lambda a: a),
        ({"isig": "1:8,2:6", "bin": (3, 2)},
         lambda a: a[..., 2:6, 1:7].reshape(3, 4, 2, 2, 2, 3).sum((3, 5), dtype="u4")),
        ({"isig": "1:5,3:9", "transpose": True}, lambda a: a.swapaxes(-1, -2)[..., 3:9, 1:5]),
        ({"isig": "1:5,3:9", "rot90": 1, "dtype": "f4"},
         lambda a: np.rot90(a, 1, (-2, -1))[..., 3:9, 1:5].astype("f4")),
        ({"inav": "1:3,1:"}, lambda a: a[1:, 1:3]),
        ({"inav": "1:3"}, lambda a: a[:, 1:3]),
        ({"inav": np.s_[:, 1:2]}, lambda a: a[1:2]),
        ({"inav": [slice(-2, None), slice(0, 2)], "isig": ":-5"}, lambda a: a[:2, -2:, :, :-5]),
        ({"inav": "1:", "snake": True, "nav_shape": (3, 4)},
         lambda a: np.stack([a[0], a[1, ::-1], a[2]])[:, 1:]),
    ],
)  # fmt: skip
def test_parts_are_those_of_numpy(
    path: Path, array: np.ndarray[Any, Any], options: dict[str, Any], expected: Any
) -> None:
    stored = {"flip_y": False, **options}
    signal = load(path, **stored)
    np.testing.assert_array_equal(signal["data"], expected(array), strict=True)
    sums = rsciio_tem.reduce(path, what=["sum", "navigator"], **stored)
    np.testing.assert_allclose(sums["sum"], expected(array).sum((0, 1), dtype="f8"))
    np.testing.assert_allclose(sums["navigator"], expected(array).sum((2, 3), dtype="f8"))


def test_parts_keep_their_coordinates(path: Path) -> None:
    """As a signal of HyperSpy that is sliced afterwards."""
    steps = {"scan_step": (0.5, 0.25), "detector_step": 2.0, "centre": (4, 1)}
    hs = pytest.importorskip("hyperspy.api")
    whole = hs.load(path, lazy=True, **steps)
    part = hs.load(path, lazy=True, inav="1:3,2:", isig="2:,1:5", **steps)
    sliced = whole.inav[1:3, 2:].isig[2:, 1:5]
    for one, other in zip(part.axes_manager._axes, sliced.axes_manager._axes, strict=True):
        assert one.get_axis_dictionary() == other.get_axis_dictionary()
    ours = part.original_metadata.rsciio_tem
    assert (ours.inav, ours.isig) == ([[1, 3], [2, 3]], [[2, 10], [1, 5]])
    (binned,) = rsciio_tem.load(path, isig="2:,1:5", bin=2, **steps)
    assert [axis["offset"] for axis in binned["axes"][2:]] == [1.0, -3.0]


def test_parts_of_the_scan_know_their_blanks(path: Path, array: np.ndarray[Any, Any]) -> None:
    with pytest.warns(UserWarning, match="not recorded"):
        signal = load(path, nav_shape=(4, 4), missing="fill", fill_value=7, inav="2:,2:", bin=2)
    assert (signal["data"][1] == 7).all()
    mask = signal["original_metadata"]["rsciio_tem"]["missing_mask"]
    np.testing.assert_array_equal(mask, [[False, False], [True, True]])
    summed = array.reshape(3, 4, 3, 2, 5, 2).sum((3, 5), dtype="u4")
    np.testing.assert_array_equal(signal["data"][0], summed[2, 2:])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"isig": "3:3"}, ValueError, "leaves nothing of the 10 along axis 0"),
        ({"isig": ":,7:"}, ValueError, "leaves nothing of the 6 along axis 1"),
        ({"isig": "2"}, ValueError, "such as '16:240,:100'"),
        ({"isig": "0:8:2"}, ValueError, "such as '16:240,:100'"),
        ({"isig": np.s_[::2]}, TypeError, "without a step"),
        ({"isig": 3}, TypeError, r"such as slice\(16, 240\)"),
        ({"isig": np.s_[0.5:2.0]}, TypeError, "whole numbers, not 0.5"),
        ({"inav": ":,:,:"}, ValueError, "is for 3 axes; there are 2"),
        ({"inav": "1:", "roi": [0]}, TypeError, "either inav or roi"),
        ({"isig": "2:4", "bin": 3}, ValueError, r"larger than a frame of \(6, 2\)"),
    ],
)
def test_impossible_parts(
    path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        rsciio_tem.load(path, **options)


turns = st.builds(Turn, st.booleans(), st.booleans(), st.booleans())


@given(turns, st.integers(0, 3), st.data())
def test_regions_of_turned_frames(turn: Turn, quarters: int, data: st.DataObject) -> None:
    images = np.arange(2 * 5 * 7).reshape(2, 5, 7)
    whole = turn.apply(images)
    assert whole.shape[1:] == turn.shape((5, 7))
    np.testing.assert_array_equal(turn.transposed().apply(images), whole.swapaxes(1, 2))
    np.testing.assert_array_equal(turn.flipped_x().apply(images), whole[..., ::-1])
    rotated = turn.quarter(quarters).apply(images)
    np.testing.assert_array_equal(rotated, np.rot90(whole, quarters, (1, 2)))
    corners = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in whole.shape[1:]]
    region = tuple(slice(a, b) for a, b in corners)
    frames = Turned(in_memory(images), turn)
    out = np.empty((2, *(s.stop - s.start for s in region)), images.dtype)
    frames.load(out, region)
    np.testing.assert_array_equal(out, whole[:, region[0], region[1]])


@pytest.mark.parametrize(
    ("stored", "summed"),
    [("u1", "u4"), ("?", "u4"), (">u4", "u8"), ("u8", "u8"), ("i2", "i4"), ("i8", "i8"),
     ("f4", "f4"), ("c8", "c8")],
)  # fmt: skip
def test_types_of_sums(stored: str, summed: str) -> None:
    images = np.ones((3, 4, 4), stored)
    frames = Binned(in_memory(images), (2, 2))
    assert frames.dtype == summed
    out = np.empty((3, 2, 2), summed)
    frames.load(out)
    assert (out == 4).all()
    assert pickle.loads(pickle.dumps(frames)).frame_shape == (2, 2)


def test_blanks_are_no_sums(path: Path) -> None:
    with pytest.warns(UserWarning, match="not recorded"):
        signal = load(path, nav_shape=(4, 4), missing="fill", fill_value=7, bin=2, rot90=1)
    assert (signal["data"][3] == 7).all()
    with pytest.warns(UserWarning, match="not recorded"):
        signal = load(path, nav_shape=(4, 4), missing="fill", fill_value=np.nan, bin=2, dtype="f4")
    assert np.isnan(signal["data"][3]).all()
    assert not np.isnan(signal["data"][:3]).any()


def test_corrections_come_first(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Dark images and dead pixels are those of the camera, as it stores its frames."""
    dark = RNG.integers(0, 9, array.shape[2:]).astype("f4")
    signal = load(path, dark=dark, transpose=True, bin=2)
    corrected = (array.astype("f4") - dark).swapaxes(-1, -2)
    expected = corrected.reshape(3, 4, 5, 2, 3, 2).sum((3, 5))
    np.testing.assert_allclose(signal["data"], expected, rtol=1e-6)
    assert signal["original_metadata"]["rsciio_tem"]["corrections"]["dark"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bin": 0}, "not a number of pixels"),
        ({"bin": 0.0}, "not a number of pixels"),
        ({"bin": (1, 2, 3)}, "not a number of pixels"),
        ({"bin": 7}, r"larger than a frame of \(6, 10\)"),
        ({"scan_step": "much"}, "not a step such as"),
        ({"scan_step": 0}, "not a positive number"),
        ({"scan_step": "1,5 nm"}, r"write scan_step='1\.5 nm' or scan_step='1\.0,5\.0 nm'"),
        ({"scan_step": "0,021/nm"}, r"decimal comma: write scan_step='0\.021 1/nm'"),
        ({"detector_step": "0,02"}, r"write detector_step='0\.02 1/nm'"),
        ({"scan_step": "1,5,1,6 µm"}, r"with decimal points it is '1\.5,1\.6 µm'"),
        ({"camera_length": "600,5", "pixel_size": 55}, r"with decimal points it is '600\.5'"),
        ({"scan_step": float("nan")}, "not finite"),
        ({"scan_step": (1, "nm")}, "not a number"),
        ({"scan": "stack", "scan_step": 1}, "form no scan"),
        ({"camera_length": 100}, "pass pixel_size"),
        ({"pixel_size": 55}, "pass camera_length"),
        ({"camera_length": -1, "pixel_size": 55}, "not a positive number"),
        ({"centre": 3}, r"pixel \(x, y\)"),
        ({"centre": "3,4"}, r"pixel \(x, y\)"),
        ({"camera_length": "110 mm", "pixel_size": 55}, "is a number, in mm"),
        ({"camera_length": 0.11, "pixel_size": 55}, "the unit is mm"),
        ({"camera_length": 110, "pixel_size": 5.5e-5}, "the unit is µm"),
        ({"beam_energy": 200_000, "camera_length": 110, "pixel_size": 55}, "the unit is keV"),
    ],
)
def test_impossible_values(path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rsciio_tem.load(path, **options)


@pytest.mark.parametrize(
    ("step", "scales", "units"),
    [
        ("1.5 nm", (1.5, 1.5), "nm"),
        ("1.0,5.0 nm", (1.0, 5.0), "nm"),
        ("0.5,0.6nm", (0.5, 0.6), "nm"),
        ("1,0.5", (1.0, 0.5), "nm"),
        ("0.021/nm", (0.021, 0.021), "1/nm"),
        ("0.02 1/nm", (0.02, 0.02), "1/nm"),
        ("2°", (2, 2), "°"),
    ],
)
def test_steps_as_text(path: Path, step: str, scales: tuple[float, float], units: str) -> None:
    x, y = load(path, scan_step=step)["axes"][1::-1]
    assert ((x["scale"], y["scale"]), x["units"]) == (scales, units)


def test_frames_that_cannot_be_turned(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 4, 5)))
    with pytest.raises(FormatError, match="no frames of two axes"):
        rsciio_tem.load(tmp_path / "a.npy", sig_dims=1, flip_x=True)
    with pytest.raises(ValueError, match="two axes, these have 1"):
        rsciio_tem.load(tmp_path / "a.npy", sig_dims=1, detector_step=1)


# ---------------------------------------------------------------- calibration


def axis(signal: dict[str, Any], name: str) -> tuple[float, str, float]:
    (one,) = (a for a in signal["axes"] if a["name"] == name)
    return one["scale"], one["units"], one["offset"]


def test_steps(path: Path) -> None:
    signal = load(path, scan_step=0.5, detector_step=(0.1, 0.2))
    assert axis(signal, "x") == axis(signal, "y") == (0.5, "nm", 0)
    assert axis(signal, "dx") == (0.1, "1/nm", 0)
    assert axis(signal, "dy") == (0.2, "1/nm", 0)
    signal = load(path, scan_step="0.5, 2e-1 µm", detector_step="1.5mrad", centre=(4, 3))
    assert axis(signal, "x") == (0.5, "µm", 0)
    assert axis(signal, "y") == (0.2, "µm", 0)
    assert axis(signal, "dx") == (1.5, "mrad", -6)
    assert axis(signal, "dy") == (1.5, "mrad", -4.5)


def test_camera_length(path: Path) -> None:
    """55 µm at 100 mm are 0.55 mrad; 200 keV electrons have 2.5079 pm (Reimer, table 2.1)."""
    assert wavelength(200) == pytest.approx(2.5079e-3, rel=1e-4)
    assert wavelength(300) == pytest.approx(1.9687e-3, rel=1e-4)
    assert wavelength(80) == pytest.approx(4.1757e-3, rel=1e-4)
    signal = load(path, camera_length=100, pixel_size=55)
    assert axis(signal, "dx")[:2] == (pytest.approx(0.55), "mrad")
    signal = load(path, camera_length=100, pixel_size=55, beam_energy=200)
    assert axis(signal, "dx")[:2] == (pytest.approx(0.55e-3 / 2.5079e-3, rel=1e-4), "1/nm")
    instrument = signal["metadata"]["Acquisition_instrument"]["TEM"]
    assert instrument == {"beam_energy": 200.0, "camera_length": 100.0}


def test_bins_are_where_their_middle_is(path: Path) -> None:
    """Calibration is that of the pixels as they are recorded, whatever is binned."""
    signal = load(path, detector_step=2.0, centre=(3.5, 0.5), bin=(4, 2))
    assert axis(signal, "dx") == (8, "1/nm", 2 * (1.5 - 3.5))
    assert axis(signal, "dy") == (4, "1/nm", 0)


def test_transposed_axes_take_their_calibration_along(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 4, 6, 10)))
    rsciio_tem.convert(tmp_path / "a.npy", tmp_path / "a.h5", detector_step=(1, 3))
    signal = load(tmp_path / "a.h5", transpose=True)
    assert signal["data"].shape[2:] == (10, 6)
    assert axis(signal, "dx") == (3, "1/nm", 0)
    assert axis(signal, "dy") == (1, "1/nm", 0)


@pytest.mark.parametrize(
    ("shape", "options", "names"),
    [
        ((3, 4, 5, 6), {}, ["y", "x", "dy", "dx"]),
        ((2, 3, 4, 5, 6), {"sig_dims": 2}, ["z", "y", "x", "dy", "dx"]),
        ((3, 5, 6), {}, ["frame", "y", "x"]),
        ((5, 6), {}, ["y", "x"]),
        ((3, 4, 5), {"sig_dims": 1}, ["y", "x", "channel"]),
        ((3, 4, 5, 6), {"roi": [3, 5]}, ["frame", "y", "x"]),
    ],
)
def test_names(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any], names: list[str]
) -> None:
    np.save(tmp_path / "a.npy", np.ones(shape))
    (signal,) = rsciio_tem.load(tmp_path / "a.npy", **options)
    assert [a["name"] for a in signal["axes"]] == names


def test_names_of_patterns(tmp_path: Path) -> None:
    mib_writer.write_mib(tmp_path / "a.mib", np.zeros((12, 8, 16), "u2"))
    (signal,) = rsciio_tem.load(tmp_path / "a.mib", navigation_shape=(4, 3))
    assert [a["name"] for a in signal["axes"]] == ["y", "x", "ky", "kx"]


def test_command_line(path: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        result = CliRunner().invoke(cli.main, [str(a) for a in arguments])
        assert result.exit_code == 0, result.output
        return " ".join(result.stdout.split())

    assert "y, x: not calibrated (--scan-step) dy, dx: not calibrated (--detector-step)" in run(
        "info", path
    )
    options = ("--scan-step", "0.5 nm", "--detector-step", "2mrad", "--centre", "4.5,3")
    assert (
        "y: 0.5 nm / px x: 0.5 nm / px dy: 2 mrad / px, zero at 3 dx: 2 mrad / px, zero at 4.5"
        in run("info", path, *options)
    )
    run("convert", path, tmp_path / "b.h5", *options, "--bin", "2,2", "--rot90", "1", "--quiet")
    (signal,) = rsciio_tem.load(tmp_path / "b.h5")
    assert signal["data"].shape == (3, 4, 5, 3)
    assert axis(signal, "dx") == (4, "mrad", -8)


def test_parts_are_converted(path: Path, array: np.ndarray[Any, Any], tmp_path: Path) -> None:
    target = tmp_path / "part.npy"
    options = ("--inav", "1:3,1:", "--isig=-6:,:4", "--bin", "2,2", "--flip-y", "--quiet")
    result = CliRunner().invoke(cli.main, ["convert", str(path), str(target), *options])
    assert result.exit_code == 0, result.output
    part = array[1:, 1:3, ::-1][..., :4, -6:]
    expected = part.reshape(2, 2, 2, 2, 3, 2).sum((3, 5), dtype="u4")
    np.testing.assert_array_equal(np.load(target), expected, strict=True)
    wrong = CliRunner().invoke(cli.main, ["convert", str(path), str(target), "--isig", "5"])
    assert wrong.exit_code == 2
    assert "16:240" in wrong.output
