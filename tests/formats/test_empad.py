# SPDX-License-Identifier: GPL-3.0-or-later
"""EMPAD: description versions, missing and renamed files, second-generation words."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles.empad import Empad
from upstream import needs_rosettasciio
from writers import empad as writer

import rsciio_tem
from rsciio_tem.errors import FormatError, NotThisFormat, RecordingWarning, Truncated
from rsciio_tem.formats import empad
from rsciio_tem.formats.empad.layout import FRAME_G1

RNG = np.random.default_rng(128)
SCAN = RNG.normal(10, 3, (3, 4, 128, 128)).astype("f4")


def load(path: Path, **options: Any) -> dict[str, Any]:
    (signal,) = empad.file_reader(path, **options)
    return signal


# ---------------------------------------------------------------- description and data


@pytest.mark.parametrize("version", ["0.51 211118", "1.2.0  (2020-10-29)", "1.2.2  (2021-08-20)"])
@pytest.mark.parametrize("lazy", [False, True])
def test_scan(tmp_path: Path, version: str, lazy: bool) -> None:
    signal = load(writer.write_empad(tmp_path, SCAN, version), lazy=lazy)
    np.testing.assert_array_equal(np.asarray(signal["data"]), SCAN)
    names = [axis["name"] for axis in signal["axes"]]
    assert names == ["scan_y", "scan_x", "height", "width"]
    factor = 1 if version.startswith("0") else 0.5
    for axis, view in zip(signal["axes"], (writer.VIEW[1], writer.VIEW[0]), strict=False):
        micrometres = view / factor / 4 * 1e6
        unit = "µm" if micrometres >= 1 else "nm"
        assert axis["units"] == unit
        scale = micrometres if unit == "µm" else micrometres * 1000
        np.testing.assert_allclose(axis["scale"], scale)
    if version.startswith("0"):
        np.testing.assert_allclose(signal["axes"][3]["scale"], writer.SCALE * 1e9)
        np.testing.assert_allclose(signal["axes"][3]["offset"], -64 * writer.SCALE * 1e9)
        assert signal["axes"][3]["units"] == "1/nm"
    else:
        assert (signal["axes"][3]["scale"], signal["axes"][3]["offset"]) == (1, -64)
    tem = signal["metadata"]["Acquisition_instrument"]["TEM"]
    assert tem["beam_energy"] == (300 if version.startswith("0") else 200)
    assert tem["camera_length"] == (722.5 if version.startswith("0") else 369)
    assert tem["Detector"]["Camera"]["exposure"] == 0.002


def test_series(tmp_path: Path) -> None:
    signal = load(writer.write_empad(tmp_path, SCAN[0]))
    np.testing.assert_array_equal(signal["data"], SCAN[0])
    assert signal["axes"][0]["name"] == "series_count"
    assert (signal["axes"][0]["units"], signal["axes"][0]["scale"]) == ("ms", 2)


def test_a_scan_of_square_number_is_no_square(tmp_path: Path) -> None:
    frames = np.zeros((2, 8, 128, 128), "f4")
    assert load(writer.write_empad(tmp_path, frames, "1.2.2"))["data"].shape[:2] == (2, 8)


def test_pix_x_wins_over_the_resolutions(tmp_path: Path) -> None:
    """LiberTEM takes the resolutions alone and fails on RosettaSciIO's own sample."""
    path = writer.write_empad(tmp_path, SCAN, acquire=(128, 128), name="other.raw")
    assert load(path)["data"].shape == SCAN.shape


@pytest.mark.parametrize(("acquire", "search"), [((4, 3), (64, 64)), ((64, 64), (4, 3))])
def test_the_mode_that_fits_the_data_is_taken(
    tmp_path: Path, acquire: tuple[int, int], search: tuple[int, int]
) -> None:
    path = writer.write_empad(
        tmp_path, SCAN, "1.2.2", name="renamed.raw", acquire=acquire, search=search
    )
    np.testing.assert_array_equal(load(path)["data"], SCAN)


def test_the_file_name_decides_when_the_description_does_not_fit(tmp_path: Path) -> None:
    path = writer.write_empad(tmp_path, SCAN, "1.2.2", acquire=(100, 100))
    np.testing.assert_array_equal(load(path)["data"], SCAN)


def test_interrupted(tmp_path: Path) -> None:
    """RosettaSciIO and LiberTEM fail to reshape."""
    path = writer.write_empad(tmp_path, SCAN, "1.2.2", truncate=FRAME_G1 * 2 + 1000)
    with (
        pytest.warns(RecordingWarning, match="only 2 of 3 lines"),
        pytest.warns(RecordingWarning, match="not a complete frame"),
    ):
        np.testing.assert_array_equal(load(path)["data"], SCAN[:2])
    with (
        pytest.warns(RecordingWarning, match="3 of 12 scan positions"),
        pytest.warns(RecordingWarning, match="not a complete frame"),
    ):
        filled = load(path, missing="fill")["data"]
    np.testing.assert_array_equal(filled.reshape(-1, 128, 128)[:9], SCAN.reshape(-1, 128, 128)[:9])
    assert not filled[2, 1:].any()


# ---------------------------------------------------------------- finding the data


@pytest.mark.parametrize(
    "named", [r"C:\empad\projects\1\scan_x4_y3.raw", "/home/empad/1/scan_x4_y3.raw"]
)
def test_absolute_paths_of_another_computer(tmp_path: Path, named: str) -> None:
    path = writer.write_empad(tmp_path, SCAN, described_as=named)
    np.testing.assert_array_equal(load(path)["data"], SCAN)


def test_renamed_raw(tmp_path: Path) -> None:
    """Files that got another name together are found; the .raw of another recording never is."""
    path = writer.write_empad(tmp_path, SCAN, "1.2.2", name="mine.raw", described_as="gone.raw")
    with pytest.raises(FormatError, match=r"names the data file 'gone\.raw'.*mine\.raw"):
        load(path)
    shutil.copy(tmp_path / "mine.raw", tmp_path / "scan.raw")
    with pytest.warns(RecordingWarning, match=r"scan\.raw, which is named like the \.xml"):
        np.testing.assert_array_equal(load(path)["data"], SCAN)
    writer.write_empad(tmp_path, SCAN, "1.2.2", name="scan.raw", stem="other")
    with pytest.raises(FormatError, match=r"names the data file 'gone\.raw'"):
        load(path)


def test_raw_of_another_xml(tmp_path: Path) -> None:
    writer.write_empad(tmp_path, SCAN, "1.2.2", name="monday_x4_y3.raw", stem="monday")
    path = writer.write_empad(tmp_path, SCAN, "1.2.2", name="tuesday_x4_y3.raw", stem="tuesday")
    (tmp_path / "tuesday_x4_y3.raw").unlink()
    with pytest.raises(FormatError, match=r"tuesday\.xml: names the data file"):
        load(path)
    (problem,) = rsciio_tem.check(path)
    assert problem.severity == "error"
    # a part of a name is another name
    (tmp_path / "day_x4_y3.raw").write_bytes((tmp_path / "monday_x4_y3.raw").read_bytes())
    assert empad.parse(tmp_path / "day_x4_y3.raw").files == (str(tmp_path / "day_x4_y3.raw"),)


def test_through_a_link(tmp_path: Path) -> None:
    archive, mine = tmp_path / "archive", tmp_path / "mine"
    archive.mkdir()
    mine.mkdir()
    path = writer.write_empad(archive, SCAN)
    for name in (path.name, "scan_x4_y3.raw"):
        (mine / "linked").with_suffix(Path(name).suffix).symlink_to(archive / name)
    (mine / "linked.raw").rename(mine / "linked_x4_y3.raw")
    for name in ("linked.xml", "linked_x4_y3.raw"):
        signal = load(mine / name)
        np.testing.assert_array_equal(signal["data"], SCAN)
        assert signal["original_metadata"]["root"]


def test_missing_raw_is_said_at_once_even_lazily(tmp_path: Path) -> None:
    path = writer.write_empad(tmp_path, SCAN)
    (tmp_path / "scan_x4_y3.raw").unlink()
    with pytest.raises(FormatError, match=r"scan\.xml: names the data file 'scan_x4_y3\.raw'"):
        load(path, lazy=True)


def test_raw_alone(tmp_path: Path) -> None:
    path = writer.write_empad(tmp_path, SCAN)
    raw = tmp_path / "scan_x4_y3.raw"
    np.testing.assert_array_equal(load(raw)["data"], SCAN)
    assert load(raw)["axes"][0]["units"] in ("nm", "µm")  # the .xml beside it was found
    path.unlink()
    np.testing.assert_array_equal(load(raw)["data"], SCAN)
    assert rsciio_tem.detect(raw)[0].format == "empad"
    plain = raw.rename(tmp_path / "frames.raw")
    assert load(plain)["data"].shape == (12, 128, 128)


def test_counters_behind_the_pixels(tmp_path: Path) -> None:
    path = writer.write_empad(tmp_path, SCAN, name="frames.raw", counters=(4, 3))
    path.unlink()
    signal = load(tmp_path / "frames.raw")
    np.testing.assert_array_equal(signal["data"], SCAN)
    assert "single source" in signal["original_metadata"]["rsciio_tem"]["scan"]["reason"]


def test_footer_on_request(tmp_path: Path) -> None:
    data = load(writer.write_empad(tmp_path, SCAN), keep_footer=True)["data"]
    assert data.shape == (3, 4, 130, 128)
    np.testing.assert_array_equal(data[:, :, :128], SCAN)
    assert (data[:, :, 128:] == -7).all()


@pytest.mark.parametrize("lazy", [False, True])
def test_nans(tmp_path: Path, lazy: bool) -> None:
    frames = SCAN.copy()
    frames[1, 2, 3, 4] = np.nan
    path = writer.write_empad(tmp_path, frames)
    assert np.isnan(np.asarray(load(path, lazy=lazy)["data"])).sum() == 1
    cleaned = np.asarray(load(path, lazy=lazy, remove_nans=True)["data"])
    np.testing.assert_array_equal(cleaned, np.nan_to_num(frames))


def test_errors(tmp_path: Path) -> None:
    foreign = tmp_path / "a.xml"
    foreign.write_text("<LSX_Data/>")
    with pytest.raises(NotThisFormat, match="names no raw_file"):
        load(foreign)
    foreign.write_text("<root><raw_file filename=")
    with pytest.raises(FormatError, match="not valid XML"):
        load(foreign)
    foreign.write_text('<!DOCTYPE x [<!ENTITY a "aaaa">]><root>&a;</root>')
    with pytest.raises(FormatError, match="XML entities"):
        load(foreign)
    short = tmp_path / "scan_x1_y1.raw"
    short.write_bytes(bytes(1000))
    with pytest.raises(Truncated, match="has 1000 bytes"):
        load(short)


# ---------------------------------------------------------------- second generation

ANALOG = RNG.integers(0, 1 << 14, (2, 3, 128, 128))
DIGITAL = RNG.integers(0, 50, (2, 3, 128, 128))
HIGH = RNG.integers(0, 2, (2, 3, 128, 128))
WORDS = writer.g2_words(ANALOG, DIGITAL, HIGH)
LINEAR = {
    "G1": RNG.normal(1.2, 0.1, (2, 128, 128)),
    "G2": RNG.normal(700, 10, (2, 128, 128)),
    "B2": RNG.normal(80, 5, (2, 128, 128)),
}
PARITY = np.arange(6).reshape(2, 3) % 2


def linear(maps: dict[str, Any]) -> np.ndarray[Any, Any]:
    g1, g2, b2 = (maps[name][PARITY] for name in ("G1", "G2", "B2"))
    return ANALOG * (1 - HIGH) + g1 * (ANALOG - b2) * HIGH + g2 * DIGITAL


def test_exported_frames(tmp_path: Path) -> None:
    data = RNG.normal(0, 1, (2, 3, 128, 128)).astype("f4")
    signal = load(writer.write_g2(tmp_path, data, acquired=False))
    np.testing.assert_array_equal(signal["data"], data)
    camera = signal["metadata"]["Acquisition_instrument"]["TEM"]["Detector"]["Camera"]
    assert camera == {"name": "EMPAD-G2", "exposure": 0.0001}


def test_scan_shape_of_thousands_of_digits(tmp_path: Path) -> None:
    data = RNG.normal(size=(2, 3, 128, 128)).astype("f4")
    path = writer.write_g2(tmp_path, data, acquired=False)
    path.write_text(path.read_text().replace("<shape>2, 3<", f"<shape>{'9' * 5000}, 3<"))
    np.testing.assert_array_equal(load(path)["data"].reshape(data.shape), data)


def test_words_without_calibration_are_words_and_say_so(tmp_path: Path) -> None:
    path = writer.write_g2(tmp_path, WORDS, acquired=True)
    with pytest.warns(RecordingWarning, match="unconverted EMPAD-G2 words"):
        data = load(path)["data"]
    assert data.dtype == np.uint32
    np.testing.assert_array_equal(data, WORDS)


@pytest.mark.parametrize("lazy", [False, True])
def test_linear_calibration_from_a_folder(tmp_path: Path, lazy: bool) -> None:
    path = writer.write_g2(tmp_path, WORDS, acquired=True)
    folder = tmp_path / "calibration"
    folder.mkdir()
    flat = RNG.normal(1, 0.05, (2, 128, 128))
    for name, image in LINEAR.items():
        for half, part in zip("AB", image, strict=True):
            part.astype("<f4").tofile(folder / f"{name}{half}.r32")
    flat[0].astype("<f4").tofile(folder / "FFA.r32")
    flat[1].astype("<f4").tofile(folder / "FFB_prelim.r32")
    data = load(path, calibration=folder, debounce=False, lazy=lazy)["data"]
    np.testing.assert_allclose(np.asarray(data), linear(LINEAR) * flat[PARITY], rtol=1e-4, atol=0.1)
    if lazy:
        one = np.asarray(data[1, 1, 5:9, 7:20])  # parity is that of the stored frame
        np.testing.assert_allclose(
            one, (linear(LINEAR) * flat[PARITY])[1, 1, 5:9, 7:20], rtol=1e-4, atol=0.1
        )


def test_quadratic_calibration_and_dark(tmp_path: Path) -> None:
    path = writer.write_g2(tmp_path, WORDS, acquired=True)
    maps = {name: RNG.normal(1, 0.1, (2, 128, 128)) for name in ("Ml", "Md", "Oh", "Ot")}
    maps["alpha"] = RNG.normal(1e-5, 1e-6, (2, 128, 128))
    m = {name: image[PARITY] for name, image in maps.items()}
    expected = (
        ANALOG * (1 - HIGH)
        + m["Ml"] * ANALOG * HIGH
        + m["alpha"] * (ANALOG * HIGH) ** 2
        + m["Md"] * DIGITAL
        + m["Oh"] * HIGH
        - m["Ot"]
    )
    data = load(path, calibration=maps, debounce=False)["data"]
    np.testing.assert_allclose(data, expected, rtol=1e-4, atol=0.1)
    dark = tmp_path / "dark.raw"
    dark.write_bytes(WORDS.astype("<u4").tobytes())
    less = load(path, calibration=maps, debounce=False, dark_frames=dark)["data"]
    flat = expected.reshape(6, 128, 128)
    means = np.stack([flat[::2].mean(axis=0), flat[1::2].mean(axis=0)])
    np.testing.assert_allclose(less, expected - means[PARITY], rtol=1e-3, atol=0.5)


def test_debounce_moves_the_background_to_zero(tmp_path: Path) -> None:
    analog = np.clip(RNG.normal(37, 4, (1, 4, 128, 128)), 0, None).round().astype(int)
    path = writer.write_g2(tmp_path, writer.g2_words(analog, 0, 0), acquired=True)
    maps = {name: np.ones((2, 128, 128)) for name in ("G1", "G2", "B2")}
    raw = load(path, calibration=maps, debounce=False)["data"]
    moved = load(path, calibration=maps)["data"]
    assert abs(raw.mean() - 37) < 1
    assert abs(moved.mean()) < 3


def test_calibration_errors(tmp_path: Path) -> None:
    path = writer.write_g2(tmp_path, WORDS, acquired=True)
    with pytest.raises(FormatError, match=r"has no G1A\.r32"):
        load(path, calibration=tmp_path)
    with pytest.raises(FormatError, match="no map B2"):
        load(path, calibration={"G1": LINEAR["G1"], "G2": LINEAR["G2"]})
    with pytest.raises(FormatError, match="has shape"):
        load(path, calibration={**LINEAR, "B2": LINEAR["B2"][0]})


# ---------------------------------------------------------------- witnesses


def test_specification_agrees(tmp_path: Path) -> None:
    writer.write_empad(tmp_path, SCAN)
    oracle = Empad.from_file(str(tmp_path / "scan_x4_y3.raw"))
    flat = SCAN.reshape(-1, 128, 128)
    assert len(oracle.frames) == 12
    for frame, expected in zip(oracle.frames, flat, strict=True):
        np.testing.assert_array_equal(
            np.frombuffer(frame.pixels, "<f4").reshape(128, 128), expected
        )
        assert len(frame.footer) == 1024


@needs_rosettasciio("0.13")
@pytest.mark.filterwarnings("ignore")
def test_same_as_rosettasciio_and_libertem(tmp_path: Path) -> None:
    from rsciio.empad import file_reader as upstream

    path = writer.write_empad(tmp_path, SCAN)
    (theirs,) = upstream(str(path))
    ours = load(path)
    np.testing.assert_array_equal(ours["data"], theirs["data"])
    for own, other in zip(ours["axes"], theirs["axes"], strict=True):
        assert {k: own[k] for k in ("name", "size", "navigate")} == {
            k: other[k] for k in ("name", "size", "navigate")
        }
    api = pytest.importorskip("libertem.api", reason="LiberTEM is not installed")
    with api.Context.make_with("inline") as context:
        dataset = context.load("empad", str(tmp_path / "scan_x4_y3.raw"), nav_shape=(3, 4))
        picked = context.run(context.create_pick_analysis(dataset, x=2, y=1))
    np.testing.assert_array_equal(picked.intensity.raw_data, ours["data"][1, 2])


def test_real_descriptions(realdata: Path, tmp_path: Path) -> None:
    for source in sorted((realdata / "rosettasciio" / "empad").glob("*.xml")):
        shutil.copyfile(source, tmp_path / source.name)
    shutil.copyfile(
        realdata / "empad" / "rsciio" / "map128x128_version1.2.0.xml", tmp_path / "v120.xml"
    )
    expected = {
        "stack_images.xml": ("series_x10.raw", (10,)),
        "map4x4.xml": ("scan_x4_y4.raw", (4, 4)),
        "EMPAD_v1.2.2_x32_y64_size0.8.xml": ("scan_x32_y64.raw", (64, 32)),
        "v120.xml": ("scan_x128_y128.raw", (128, 128)),
    }
    for name, (raw, shape) in expected.items():
        with open(tmp_path / raw, "wb") as file:
            file.truncate(int(np.prod(shape)) * FRAME_G1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            signal = load(tmp_path / name, lazy=True)
        assert signal["data"].shape == (*shape, 128, 128)
        assert rsciio_tem.detect(tmp_path / name)[0].format == "empad"
