# SPDX-License-Identifier: GPL-3.0-or-later
"""StreamPix sequences: slots, image formats, times, side files, recordings in halves."""

from __future__ import annotations

import contextlib
import csv
import importlib
import os
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from writers import seq as writer

import rsciio_tem
from rsciio_tem.errors import FormatError, NotThisFormat, RecordingWarning, Truncated, Unsupported
from rsciio_tem.formats import seq
from rsciio_tem.formats.seq.metadata_file import MetadataFile
from rsciio_tem.formats.seq.sides import read_reference

Array = NDArray[Any]
RNG = np.random.default_rng(85)
FRAMES = RNG.integers(0, 4096, (12, 20, 30)).astype("u2")
TOP = "Movie_00785_Top_13-49-04.160.seq"
BOTTOM = "Movie_00785_Bottom_13-49-04.196.seq"


def load(path: Path, **options: Any) -> dict[str, Any]:
    (signal,) = seq.file_reader(path, **options)
    return signal


def warned(match: str) -> Any:
    return pytest.warns(RecordingWarning, match=match)


def read_with(path: Path, *patterns: str, **options: Any) -> dict[str, Any]:
    """Load; every pattern must be met by a warning, and there must be no others."""
    with contextlib.ExitStack() as stack:
        for pattern in patterns:
            stack.enter_context(warned(pattern))
        return load(path, **options)


def messages(path: Path, **options: Any) -> list[str]:
    """Return what parsing finds odd, warnings and remarks."""
    return [str(problem) for problem in seq.parse(path, **options).problems]


def times_of(path: Path, **options: Any) -> Array:
    recording = seq.parse(path, **options)
    assert recording.times is not None
    return recording.times.read(0, recording.count).time_ns


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return writer.write_seq(tmp_path / "scan.seq", FRAMES, alignment=8192)


# ---------------------------------------------------------------- header and image formats


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
@pytest.mark.parametrize("alignment", [0, 512])
def test_versions_and_depths(tmp_path: Path, version: int, dtype: str, alignment: int) -> None:
    """LiberTEM fails for 32 bit before version 5: its footer of 6 bytes is not a whole pixel."""
    frames = RNG.integers(0, np.iinfo(dtype).max, (5, 7, 11), dtype, endpoint=True)
    path = writer.write_seq(tmp_path / "a.seq", frames, version=version, alignment=alignment)
    for lazy in (False, True):
        data = load(path, lazy=lazy)["data"]
        assert data.dtype == dtype
        np.testing.assert_array_equal(np.asarray(data), frames)


@pytest.mark.parametrize("version", [1, 3, 6])
def test_other_versions_are_read_with_a_warning(tmp_path: Path, version: int) -> None:
    path = writer.write_seq(tmp_path / "a.seq", FRAMES, version=version)
    near = 4 if version < 5 else 5
    data = read_with(path, f"version {version} and is read as version {near}")["data"]
    np.testing.assert_array_equal(data, FRAMES)


@pytest.mark.parametrize("image_format", [112, 113, 114, 115])
@pytest.mark.parametrize(("dtype", "real"), [("u2", 10), ("u2", 12), ("u2", 16), ("u4", 24)])
def test_uppermost_bits(tmp_path: Path, image_format: int, dtype: str, real: int) -> None:
    frames = RNG.integers(0, 1 << real, (3, 8, 9)).astype(dtype)
    path = writer.write_seq(tmp_path / "a.seq", frames, image_format=image_format, real=real)
    factor = 1 << (frames.dtype.itemsize * 8 - real)
    shown = f"divided by {factor}, as" if factor > 1 else f"format {image_format}"
    data = read_with(path, shown)["data"]
    assert data.dtype == dtype
    np.testing.assert_array_equal(data, frames)
    with warned("vendor's list"):
        part = load(path, lazy=True)["data"][1, 2:5, 3:].compute()
    np.testing.assert_array_equal(part, frames[1, 2:5, 3:])
    flipped = read_with(path, "vendor's list", "1 of 4", flip_y=True, nav_shape=(4,), fill_value=7)
    np.testing.assert_array_equal(flipped["data"][:3], frames[:, ::-1])
    assert (flipped["data"][3] == 7).all()  # what was never recorded is not divided
    with warned("vendor's list"):
        corrected = load(path, dark=np.full((8, 9), 1.0), sig_shape=(8, 9))["data"]
    np.testing.assert_array_equal(corrected, frames.astype(corrected.dtype) - 1)


def test_uppermost_bits_of_8_bit_pixels_are_all(tmp_path: Path) -> None:
    frames = FRAMES.astype("u1")
    path = writer.write_seq(tmp_path / "a.seq", frames, image_format=112)
    np.testing.assert_array_equal(load(path)["data"], frames)


def test_impossible_number_of_real_bits(tmp_path: Path) -> None:
    path = writer.write_seq(tmp_path / "a.seq", FRAMES, image_format=112)
    content = bytearray(path.read_bytes())
    content[560] = 17
    path.write_bytes(content)
    data = read_with(path, "17 in use, which is impossible", "read as all bits of 16")["data"]
    np.testing.assert_array_equal(data, FRAMES)


@pytest.mark.parametrize("image_format", [200, 400, 500])
def test_colours(tmp_path: Path, image_format: int) -> None:
    frames = RNG.integers(0, 256, (3, 6, 5, 3)).astype("u1")
    path = writer.write_seq(tmp_path / "a.seq", frames, image_format=image_format)
    with warned("vendor's list"):
        signal = load(path)
    assert signal["data"].dtype == np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert [axis["size"] for axis in signal["axes"]] == [3, 6, 5]
    for i, name in enumerate("RGB"):
        np.testing.assert_array_equal(signal["data"][name], frames[..., i])
    with warned("vendor's list"):
        np.testing.assert_array_equal(load(path, mmap_mode="r")["data"], signal["data"])
    with warned("vendor's list"):
        stored = load(path, dtype="stored")["data"]
    np.testing.assert_array_equal(stored["R"], frames[..., 0])


@pytest.mark.filterwarnings("ignore")
def test_colours_in_hyperspy(tmp_path: Path) -> None:
    hs = pytest.importorskip("hyperspy.api")
    frames = RNG.integers(0, 256, (3, 6, 5, 3)).astype("u1")
    signal = hs.load(writer.write_seq(tmp_path / "a.seq", frames, image_format=200))
    signal.change_dtype("uint8")  # colours become an axis
    np.testing.assert_array_equal(signal.data, frames)


@pytest.mark.parametrize(
    ("image_format", "name"),
    [(0, "unknown"), (124, "10-bit BGR packed"), (131, "packed mono"), (300, "planar"),
     (600, "YUV422"), (906, "BGR565"), (1001, "Euresys JPEG"), (4711, "not in the vendor's list")],
)  # fmt: skip
def test_formats_that_are_not_read_are_named(tmp_path: Path, image_format: int, name: str) -> None:
    path = writer.write_seq(tmp_path / "a.seq", FRAMES, image_format=image_format)
    with pytest.raises(Unsupported, match=rf"image format {image_format} \({name}"):
        load(path)


@pytest.mark.parametrize(
    ("compression", "name"), [(1, "JPEG"), (8, r"H\.264"), (18, "Cayer"), (99, "an unknown method")]
)
def test_compression_is_named(tmp_path: Path, compression: int, name: str) -> None:
    path = writer.write_seq(tmp_path / "a.seq", FRAMES, compression=compression)
    with pytest.raises(Unsupported, match=rf"compressed \({name}, {compression}\)"):
        load(path)


def test_header_size_is_not_where_images_begin(plain: Path) -> None:
    """It is always 1024."""
    assert load(plain)["original_metadata"]["seq_header"]["header_size"] == 1024
    np.testing.assert_array_equal(load(plain)["data"], FRAMES)


@pytest.mark.parametrize(
    ("kind", "text"), [(0, "Camera 1 – α"), (1, "Camera 1"), (2, "Camera 1".encode("utf-16").hex())]
)
def test_description(tmp_path: Path, kind: int, text: str) -> None:
    path = writer.write_seq(
        tmp_path / "a.seq", FRAMES, description_format=kind, description=text if kind < 2 else "x"
    )
    found = load(path)["original_metadata"]["seq_header"]["description"]
    assert found == (text if kind < 2 else "78")


def test_header_in_the_metadata(plain: Path) -> None:
    header = load(plain)["original_metadata"]["seq_header"]
    assert header["name"] == "Norpix seq"
    assert (header["width"], header["height"], header["bit_depth"]) == (30, 20, 16)
    assert (header["alignment"], header["true_image_size"]) == (8192, 8192)
    assert "padding" not in header


def test_recognised(plain: Path, tmp_path: Path) -> None:
    (first, *_) = rsciio_tem.detect(plain)
    assert (first.format, first.confidence) == ("seq", 0.99)
    other = tmp_path / "image.seq"  # the same suffix, another format
    other.write_bytes(b"\0" * 10000)
    assert [c.format for c in rsciio_tem.detect(other)] == []
    with pytest.raises(NotThisFormat, match="does not begin as a Norpix sequence"):
        load(other)


@pytest.mark.filterwarnings("ignore")
def test_hs_load_finds_it(plain: Path) -> None:
    hs = pytest.importorskip("hyperspy.api")
    signal = hs.load(plain, navigation_shape=(4, 3), lazy=True)
    assert signal.axes_manager.navigation_shape == (4, 3)
    np.testing.assert_array_equal(signal.inav[1, 2].data.compute(), FRAMES[9])


# ---------------------------------------------------------------- slots


@pytest.mark.parametrize("cut", [1, 100, 8192 - 1200 - 8, 8192 - 1200 - 7, 8192 - 1200])
def test_last_image_counts_if_only_padding_or_time_is_missing(tmp_path: Path, cut: int) -> None:
    """LiberTEM drops it."""
    path = writer.write_seq(tmp_path / "a.seq", FRAMES, alignment=8192, truncate=cut)
    np.testing.assert_array_equal(load(path)["data"], FRAMES)
    times = times_of(path)
    assert (np.diff(times[:-1]) == writer.STEP).all()
    if cut == 8192 - 1200:
        assert times[-1] == -1
    elif cut > 8192 - 1200 - 8:  # microseconds are missing
        assert abs(times[-1] - times[-2] - writer.STEP) < 10**6
    else:
        assert times[-1] == times[-2] + writer.STEP


def test_last_image_that_is_cut_does_not_count(tmp_path: Path) -> None:
    path = writer.write_seq(tmp_path / "a.seq", FRAMES, alignment=8192, truncate=8192 - 1199)
    data = read_with(path, "holds 11 of 12 images")["data"]
    np.testing.assert_array_equal(data, FRAMES[:-1])


@pytest.mark.parametrize("unwritten", [1, 2, 3, 30])
def test_slots_that_were_never_written(tmp_path: Path, unwritten: int) -> None:
    path = writer.write_seq(tmp_path / "a.seq", FRAMES, unwritten=unwritten)
    data = read_with(path, f"{unwritten} of {12 + unwritten} slots were never written")["data"]
    np.testing.assert_array_equal(data, FRAMES)
    every = load(path, all_slots=True)["data"]
    np.testing.assert_array_equal(every[:12], FRAMES)
    assert every.shape[0] == 12 + unwritten
    assert not every[12:].any()


def test_slots_that_the_header_does_not_count(tmp_path: Path) -> None:
    path = writer.write_seq(tmp_path / "a.seq", FRAMES, unwritten=5, allocated=12)
    np.testing.assert_array_equal(load(path)["data"], FRAMES)  # nothing to worry about
    assert any("5 slots behind the 12 images" in message for message in messages(path))


def test_images_that_the_header_does_not_count(tmp_path: Path) -> None:
    """They have times, so the header may be wrong: this is said."""
    path = writer.write_seq(tmp_path / "a.seq", FRAMES, allocated=10)
    data = read_with(path, "2 slots behind the 10 images that the header counts have times")["data"]
    np.testing.assert_array_equal(data, FRAMES[:10])
    np.testing.assert_array_equal(load(path, all_slots=True)["data"], FRAMES)


def test_file_that_was_not_closed(tmp_path: Path) -> None:
    path = writer.write_seq(tmp_path / "a.seq", FRAMES, allocated=0)
    np.testing.assert_array_equal(read_with(path, "was not closed")["data"], FRAMES)
    path = writer.write_seq(tmp_path / "b.seq", FRAMES, allocated=0, unwritten=7)
    data = read_with(path, "was not closed", "7 of 19 slots were never written")["data"]
    np.testing.assert_array_equal(data, FRAMES)


def test_recording_without_times_keeps_all_its_images(tmp_path: Path) -> None:
    path = writer.write_seq(tmp_path / "a.seq", FRAMES, times=[0] * 12)
    signal = load(path)
    np.testing.assert_array_equal(signal["data"], FRAMES)
    assert (signal["axes"][0]["units"], signal["axes"][0]["scale"]) == ("", 1)
    assert "date" not in signal["metadata"]["General"]
    assert (times_of(path) == -1).all()


@pytest.mark.parametrize("oldest", [1, 5, 11])
@pytest.mark.parametrize("lazy", [False, True])
def test_loop_recordings_begin_with_the_oldest_image(
    tmp_path: Path, oldest: int, lazy: bool
) -> None:
    path = writer.write_seq(tmp_path / "a.seq", FRAMES, oldest=oldest, alignment=2048)
    signal = load(path, lazy=lazy)
    np.testing.assert_array_equal(np.asarray(signal["data"]), FRAMES)
    assert (np.diff(times_of(path)) == writer.STEP).all()
    assert signal["metadata"]["General"]["time"].startswith("19:21:27")
    stored = np.roll(FRAMES, oldest, axis=0)
    np.testing.assert_array_equal(load(path, all_slots=True)["data"], stored)


def test_loop_that_cannot_be(tmp_path: Path) -> None:
    path = writer.write_seq(tmp_path / "a.seq", FRAMES)
    content = bytearray(path.read_bytes())
    content[656:660] = (12).to_bytes(4, "little")
    path.write_bytes(content)
    data = read_with(path, "should begin with slot 12")["data"]
    np.testing.assert_array_equal(data, FRAMES)


def test_recording_around_a_trigger_says_so(tmp_path: Path) -> None:
    path = writer.write_seq(tmp_path / "a.seq", FRAMES, origin=4)
    np.testing.assert_array_equal(read_with(path, r"trigger \(origin 4\)")["data"], FRAMES)


def test_slots_without_room_for_a_time(tmp_path: Path) -> None:
    head = writer.header(
        width=4, height=2, bit_depth=8, bit_depth_real=8, image_size=8, allocated=3, stride=8
    )
    path = tmp_path / "a.seq"
    path.write_bytes(head.ljust(8192, b"\0") + bytes(range(24)))
    np.testing.assert_array_equal(load(path)["data"].ravel(), np.arange(24))
    assert any("no room for times" in message for message in messages(path))


def test_tiny_images_with_the_last_time_cut_off(tmp_path: Path) -> None:
    frames = RNG.integers(0, 256, (9, 2, 3)).astype("u1")
    path = writer.write_seq(tmp_path / "a.seq", frames, truncate=5)
    np.testing.assert_array_equal(load(path)["data"], frames)
    assert times_of(path)[-2] == writer.BEGIN + 7 * writer.STEP


def test_truncated(plain: Path) -> None:
    content = plain.read_bytes()
    for size, what in ((8192 + 1199, "first image take 9392"), (1023, "within its header")):
        plain.write_bytes(content[:size])
        with pytest.raises(Truncated, match=what):
            load(plain)


def test_more_than_4_gib(tmp_path: Path) -> None:
    path = tmp_path / "big.seq"
    stride, count = 1024 * 1024 * 2 + 8192, 2300
    head = writer.header(
        width=1024, height=1024, bit_depth=16, bit_depth_real=12, image_size=1024 * 1024 * 2,
        allocated=count, stride=stride, alignment=8192,
    )  # fmt: skip
    ramp = np.arange(1024 * 1024, dtype="u4").astype("<u2")
    path.write_bytes(head)
    os.truncate(path, 8192 + count * stride)
    with path.open("r+b") as file:
        file.seek(8192 + (count - 1) * stride)
        file.write(ramp.tobytes())
    data = load(path, lazy=True, navigation_shape=(23, 100))["data"]
    assert data.shape == (100, 23, 1024, 1024)
    np.testing.assert_array_equal(data[-1, -1].compute().ravel(), ramp)


# ---------------------------------------------------------------- times and scan shape


def test_times(plain: Path) -> None:
    np.testing.assert_array_equal(times_of(plain), writer.BEGIN + np.arange(12) * writer.STEP)
    signal = load(plain)
    general = signal["metadata"]["General"]
    assert (general["date"], general["time"]) == ("2022-08-11", "19:21:27")
    assert general["time_zone"] == "UTC"
    axis = signal["axes"][0]
    assert (axis["name"], axis["units"]) == ("time", "s")
    np.testing.assert_allclose(axis["scale"], writer.STEP / 1e9)


def test_times_before_version_5_have_milliseconds(tmp_path: Path) -> None:
    moments = [1_000_000_000_123_456_000, 1_000_000_001_999_999_000]
    for version, unit in ((5, 1000), (4, 10**6)):
        path = writer.write_seq(tmp_path / "a.seq", FRAMES[:2], version=version, times=moments)
        assert times_of(path).tolist() == [t // unit * unit for t in moments]


def test_clock_that_steps_back(tmp_path: Path) -> None:
    moments = writer.BEGIN + np.arange(12) * writer.STEP
    moments[6:] -= 10**9
    path = writer.write_seq(tmp_path / "a.seq", FRAMES, times=moments.tolist())
    signal = load(path)
    np.testing.assert_array_equal(signal["data"], FRAMES)
    assert signal["axes"][0]["units"] == ""


@pytest.mark.parametrize("jitter", [0, 3000])
def test_scan_lines_by_times(tmp_path: Path, jitter: int) -> None:
    frames = RNG.integers(0, 99, (60, 4, 5)).astype("u2")
    steps = np.full(60, writer.STEP) + RNG.integers(-jitter, jitter + 1, 60)
    steps[::10] += 100_000
    moments = writer.BEGIN + np.cumsum(steps)
    path = writer.write_seq(tmp_path / "a.seq", frames, times=moments.tolist())
    signal = load(path)
    assert signal["data"].shape == (6, 10, 4, 5)
    assert signal["original_metadata"]["rsciio_tem"]["scan"]["rule"] == "timestamps"
    np.testing.assert_array_equal(signal["data"].reshape(frames.shape), frames)


def test_equal_times_are_no_scan(tmp_path: Path) -> None:
    """Direct Electron's software gives all frames of a transfer the same time."""
    path = writer.write_seq(tmp_path / "a.seq", FRAMES, times=[writer.BEGIN] * 12)
    signal = load(path)
    assert signal["data"].shape == FRAMES.shape
    assert signal["axes"][0]["units"] == ""


@pytest.mark.parametrize("name", ["scan.toml", "scan.seq.yaml", "SCAN.YML"])
def test_scan_shape_in_a_parameter_file(plain: Path, name: str) -> None:
    text = "[params]\nnav_shape = [3, 4]\n" if "toml" in name else "params:\n  nav_shape: [3, 4]\n"
    (plain.parent / name).write_text(text)
    signal = load(plain)
    np.testing.assert_array_equal(signal["data"], FRAMES.reshape(3, 4, 20, 30))
    assert [axis["name"] for axis in signal["axes"]] == ["y", "x", "height", "width"]
    told = signal["original_metadata"]["rsciio_tem"]
    assert told["scan"]["reason"] == f"nav_shape in {name}"
    assert str(plain.parent / name) in told["files"]


@pytest.mark.parametrize(
    ("text", "warns"),
    [("params:\n  nav_shape: [3, x]\n", True), ("params:\n  nav_shape: 0\n", True),
     ("params:\n  dtype: u2\n", False), ("something: else\n", False), ("a: [", False)],
)  # fmt: skip
def test_parameter_files_that_do_not_help(plain: Path, text: str, warns: bool) -> None:
    (plain.parent / "scan.yaml").write_text(text)
    patterns = ["is not a shape and is ignored"] if warns else []
    np.testing.assert_array_equal(read_with(plain, *patterns)["data"], FRAMES)


# ---------------------------------------------------------------- camera settings


@pytest.mark.parametrize("sections", [0, 64])
@pytest.mark.parametrize("unit_size", [224, 4096, 0])
def test_camera_settings(plain: Path, sections: int, unit_size: int) -> None:
    contents = [writer.settings(rate=800.0, x=480, y=16)] * 12
    side = plain.with_name("scan.seq.metadata")
    writer.write_metadata(side, 8, contents, unit_size, sections)
    signal = load(plain)
    found = signal["original_metadata"]["camera_settings"]
    assert (found["version"], found["offset_x"], found["offset_y"]) == (16, 480, 16)
    assert (found["frame_rate"], found["flip"], found["global_shutter"]) == (800, 2, True)
    assert (found["grabber"], found["firmware"]) == ("Kaya", 1.12)
    assert found["date_time"] == "2022-08-11 14:21:27.69"
    np.testing.assert_allclose(signal["axes"][0]["scale"], 1 / 800)
    assert signal["metadata"]["Acquisition_instrument"]["TEM"]["frames_per_second"] == 800


def test_older_camera_settings(plain: Path) -> None:
    side = plain.with_name("scan.seq.metadata")
    writer.write_metadata(side, 8, [writer.old_settings(2, (16, 32))] * 12, 128)
    signal = read_with(plain, "DE-16, which is known from a single source", r"0\.25 nm")
    found = signal["original_metadata"]["camera_settings"]
    assert (found["hardware_binning"], found["offset_y"], found["offset_x"]) == (2, 16, 32)
    assert (found["frame_rate"], found["sensor_gain"], found["magnification"]) == (100, 1.5, 2000)
    assert signal["axes"][2]["scale"] == 0.25


@pytest.mark.parametrize("content", [b"", b"\1\0\0\0", b"\xff" * 400, b"\1\0\0\0\0\1\0\0" * 40])
def test_metadata_that_is_none(plain: Path, content: bytes) -> None:
    plain.with_name("scan.seq.metadata").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(load(plain)["data"], FRAMES)


@pytest.mark.parametrize(
    ("given_", "units", "scale"),
    [({"pixel": 0.4}, "nm", 0.4), ({"diffraction": 0.02, "length": 1.5}, "1/nm", 0.02)],
)
def test_pixel_size_of_the_settings(
    plain: Path, given_: dict[str, float], units: str, scale: float
) -> None:
    contents = [writer.settings(**given_)] * 12
    writer.write_metadata(plain.with_name("scan.seq.metadata"), 8, contents)
    signal = read_with(plain, "units are not documented")
    assert [(a["units"], a["scale"]) for a in signal["axes"][1:]] == [(units, scale)] * 2


def test_pixel_size_of_the_xml(plain: Path) -> None:
    for info, scale in (({"PixelSize": 0.3, "Mag": 10}, 0.3), ({"PixelSize": 0, "Mag": 13}, 0.67)):
        writer.write_sides(plain.parent, info=info)
        signal = read_with(plain, "units are not documented")
        assert (signal["axes"][2]["units"], signal["axes"][2]["scale"]) == ("nm", scale)
    writer.write_sides(plain.parent, info={"PixelSize": 0, "Mag": 11})
    assert load(plain)["axes"][2]["units"] == ""


def test_metadata_of_the_xml(plain: Path) -> None:
    writer.write_sides(
        plain.parent,
        info={"CameraType": "DE-16", "HT": 200, "FrameRate": 92.0, "ImageSizeX": 30,
              "ImageSizeY": 20},
    )  # fmt: skip
    signal = load(plain)
    tem = signal["metadata"]["Acquisition_instrument"]["TEM"]
    assert tem["Detector"]["Camera"]["name"] == "DE-16"
    assert (tem["beam_energy"], tem["frames_per_second"]) == (200, 92)
    assert signal["original_metadata"]["Configuration"]["FileInfo"]["HT"]["Value"] == "200"
    np.testing.assert_allclose(signal["axes"][0]["scale"], 1 / 92)


def test_xml_of_another_recording(plain: Path) -> None:
    writer.write_sides(plain.parent, info={"ImageSizeX": 64, "ImageSizeY": 64})
    np.testing.assert_array_equal(read_with(plain, "describes frames of 64 x 64")["data"], FRAMES)


@pytest.mark.parametrize(
    "text", ["", "<Configuration>", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"]
)
def test_xml_that_is_none(plain: Path, text: str) -> None:
    plain.with_name("scan.seq.Config.Metadata.xml").write_text(text)
    np.testing.assert_array_equal(read_with(plain, "It is ignored")["data"], FRAMES)


def test_missing_frames_are_told(plain: Path) -> None:
    writer.write_sides(plain.parent, missing="")
    np.testing.assert_array_equal(load(plain)["data"], FRAMES)
    writer.write_sides(plain.parent, missing="3, 17\n18")
    signal = read_with(plain, r"lists 3 frames as missing \(3, 17, 18\)")
    assert signal["original_metadata"]["missing_frames"] == [3, 17, 18]


# ---------------------------------------------------------------- dark, gain


DARK = RNG.normal(300, 20, (20, 30)).astype("f4")
GAIN = RNG.normal(1, 0.1, (20, 30)).astype("f4")


def test_dark_and_gain_with_a_number_of_images_that_is_not_true(plain: Path) -> None:
    """LiberTEM cannot open any recording with such images: it asks for 32766 of them."""
    writer.write_sides(plain.parent, dark=DARK, gain=GAIN)
    for lazy in (False, True):
        signal = load(plain, lazy=lazy)
        assert signal["data"].dtype == np.float32
        np.testing.assert_allclose(
            np.asarray(signal["data"]), (FRAMES - DARK) * GAIN, rtol=1e-5, atol=1e-3
        )
        told = signal["original_metadata"]["rsciio_tem"]["corrections"]
        assert told == {"dark": True, "gain": True, "excluded_pixels": 0}
    raw = load(plain, corrections=False)["data"]
    assert raw.dtype == np.uint16
    np.testing.assert_array_equal(raw, FRAMES)


def test_values_are_not_clamped(plain: Path) -> None:
    """An early program set what is negative or beyond 12 bits to 0."""
    writer.write_sides(plain.parent, dark=np.full((20, 30), 4000, "f4"))
    assert load(plain)["data"].min() < -3000


@pytest.mark.parametrize("name", ["scan.dark.mrc", "SCAN.SEQ.DARK.MRC", "scan.seq.Dark.mrc"])
def test_names_of_dark_images(plain: Path, name: str) -> None:
    """LiberTEM documents names without .seq, and looks for names with it."""
    writer.write_mrc(plain.parent / name, DARK)
    np.testing.assert_allclose(load(plain)["data"], FRAMES - DARK, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("dtype", ["i1", "i2", "u2", "f4"])
def test_dark_image_of_another_type_passed_as_a_path(plain: Path, dtype: str) -> None:
    dark = RNG.integers(0, 100, (20, 30)).astype(dtype)
    other = writer.write_mrc(plain.parent / "other.mrc", dark, count=1, junk=0)
    np.testing.assert_array_equal(load(plain, dark=other)["data"], FRAMES - dark.astype("f4"))
    np.testing.assert_array_equal(load(plain, gain=str(other))["data"], FRAMES * dark.astype("f4"))


def test_dark_images_that_do_not_fit(plain: Path) -> None:
    side = plain.with_name("scan.seq.dark.mrc")
    writer.write_mrc(side, DARK[:10])
    read_with(plain, r"dark\.mrc has \(10, 30\) pixels, the frames \(20, 30\): it is not applied")
    writer.write_mrc(side, DARK)
    content = side.read_bytes()
    side.write_bytes(content[:2000])
    read_with(plain, "ends before its image")
    side.write_bytes(b"\xff" * 4000)
    data = read_with(plain, "not an MRC file that we can read")["data"]
    np.testing.assert_array_equal(data, FRAMES)
    with pytest.raises(FormatError, match="not an MRC file"):
        load(plain, dark=side, corrections=False)


def test_flipped_with_dark_image(plain: Path) -> None:
    writer.write_sides(plain.parent, dark=DARK)
    data = load(plain, flip_y=True)["data"]
    np.testing.assert_allclose(data, (FRAMES - DARK)[:, ::-1], rtol=1e-5, atol=1e-3)


# ---------------------------------------------------------------- defective pixels


def stretch(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def sensor_mask(rows: int, columns: int, defects: list[dict[str, str]]) -> Array:
    """Mark defects pixel by pixel on the whole sensor."""
    mask = np.zeros((rows, columns), bool)
    for defect in defects:
        r0, r1 = stretch(defect.get("Row", defect.get("Rows", f"0-{rows - 1}")))
        c0, c1 = stretch(defect.get("Column", defect.get("Columns", f"0-{columns - 1}")))
        pattern = defect.get("pattern", "1")
        along_rows = "-" in defect.get("Rows", "") or ("Row" not in str(defect) and r1 > r0)
        if "-" in defect.get("Columns", ""):
            along_rows = False
        for r in range(r0, min(r1, rows - 1) + 1):
            for c in range(c0, min(c1, columns - 1) + 1):
                step = r - r0 if along_rows else c - c0
                mask[r, c] |= pattern[step % len(pattern)] == "1"
    return mask


def excluded(path: Path, **options: Any) -> Array:
    recording = seq.parse(path, **options)
    if recording.corrections is None or recording.corrections.excluded is None:
        return np.zeros(recording.frames.frame_shape, bool)
    return recording.corrections.excluded


FORMS = {
    "row": {"Row": "9"},
    "first row": {"Row": "0"},
    "rows": {"Rows": "9-11"},
    "column": {"Column": "13"},
    "columns": {"Columns": "13-15"},
    "pixel": {"Column": "14", "Row": "12"},
    "columns of a row": {"Columns": "10-25", "Row": "12"},
    "rows of a column": {"Column": "14", "Rows": "6-18"},
    "rectangle": {"Columns": "10-12", "Rows": "6-9"},
    "one as a range": {"Columns": "14-14", "Rows": "6-6"},
    "pattern in a row": {"Columns": "3-39", "Row": "12", "pattern": "00110011"},
    "pattern in a column": {"Column": "14", "Rows": "1-20", "pattern": "011"},
    "pattern of rows": {"Rows": "2-20", "pattern": "0001"},
    "pattern of columns": {"Columns": "2-35", "pattern": "10000"},
    "pattern along a whole row": {"Row": "12", "pattern": "0001"},
    "pattern along a whole column": {"Column": "14", "pattern": "01"},
    "beyond the window": {"Row": "1"},
    "range that begins outside": {"Columns": "0-9", "Row": "12"},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_defect(plain: Path, form: str) -> None:
    """LiberTEM fails for Column + Rows and Columns + Row, and transposes sensors that are not
    square; others take 0 for no row and leave out the end of a range.
    """
    info = {"ImageSizeX": 30, "ImageSizeY": 20, "ImageOffsetX": 7, "ImageOffsetY": 3}
    maps = [({"Rows": 24, "Columns": 40}, [FORMS[form]])]
    writer.write_sides(plain.parent, info=info, maps=maps)
    wanted = sensor_mask(24, 40, [FORMS[form]])[3:23, 7:37]
    np.testing.assert_array_equal(excluded(plain), wanted)
    assert wanted.any() != (form in ("beyond the window", "first row"))


@pytest.mark.parametrize("binning", [1, 2, 3])
@pytest.mark.parametrize("offset", [(0, 0), (5, 7), (6, 12)])
def test_binned_and_cropped(plain: Path, binning: int, offset: tuple[int, int]) -> None:
    """LiberTEM always halves, and loses a row or column of windows with odd places."""
    defects = [*FORMS.values(), {"Column": "60", "Row": "41"}]
    info = {"ImageOffsetY": offset[0], "ImageOffsetX": offset[1], "ImageBinning": binning}
    writer.write_sides(plain.parent, info=info, maps=[({"Rows": 90, "Columns": 132}, defects)])
    full = sensor_mask(90, 132, defects)
    binned = full.reshape(90 // binning, binning, 132 // binning, binning).any(axis=(1, 3))
    y, x = offset[0] // binning, offset[1] // binning
    wanted = binned[y : y + 20, x : x + 30]
    if wanted.mean() > 0.25:
        with warned("are listed as defective: none is excluded"):
            load(plain)
        return
    np.testing.assert_array_equal(excluded(plain), wanted)


def test_map_of_the_same_binning_is_taken(plain: Path) -> None:
    maps = [
        ({"Rows": 40, "Columns": 60}, [{"Row": "8"}]),
        ({"Rows": 20, "Columns": 30, "Binning": 2}, [{"Row": "9"}]),
    ]
    for binning, row in ((1, 8), (2, 9), (None, 8)):
        info = {} if binning is None else {"ImageBinning": binning}
        writer.write_sides(plain.parent, info=info, maps=maps)
        assert np.flatnonzero(excluded(plain).all(axis=1)).tolist() == [row]
    writer.write_sides(plain.parent, info={"ImageBinning": 4}, maps=maps[1:])
    assert not excluded(plain).any()
    read_with(plain, r"listed for binning \[2\], not for 4")


def test_binning_and_place_in_the_camera_settings(plain: Path) -> None:
    """LiberTEM reads the settings 10 bytes late, and makes a mask of 1024 x 1024 pixels."""
    writer.write_sides(plain.parent, maps=[({"Rows": 80, "Columns": 120}, [{"Column": "31"}])])
    contents = [writer.settings(binning=2, x=20, y=8)] * 12
    writer.write_metadata(plain.with_name("scan.seq.metadata"), 8, contents)
    mask = excluded(plain)
    assert mask.shape == (20, 30)
    assert np.flatnonzero(mask.all(axis=0)).tolist() == [31 // 2 - 10]


def test_software_binning_is_a_guess_and_says_so(plain: Path) -> None:
    writer.write_sides(
        plain.parent, info={"SWBinning": 2}, maps=[({"Rows": 40, "Columns": 60}, [{"Row": "9"}])]
    )
    assert np.flatnonzero(excluded(plain).all(axis=1)).tolist() == [4]
    read_with(plain, "SWBinning 2")


def test_impossible_binning(plain: Path) -> None:
    writer.write_sides(
        plain.parent, info={"ImageBinning": 10**9}, maps=[({"Rows": 40}, [{"Row": "0-999999999"}])]
    )
    read_with(plain, "binning of 1000000000 is impossible")


@pytest.mark.parametrize(
    ("rotation", "turns"), [(1, 1), (2, 2), (3, 3), (90, 1), (180, 2), (270, 3)]
)
def test_rotated_images(plain: Path, rotation: int, turns: int) -> None:
    window = (20, 30) if turns == 2 else (30, 20)
    defects = [{"Column": "9", "Row": "4"}, {"Row": "2"}]
    maps = [({"Rows": 50, "Columns": 50}, defects)]
    info = {"RotationMode": rotation, "ImageOffsetX": 3, "ImageOffsetY": 1}
    writer.write_sides(plain.parent, info=info, maps=maps)
    sensor = sensor_mask(50, 50, defects)[1 : 1 + window[0], 3 : 3 + window[1]]
    with warned(f"rotated by {90 * turns}°"):
        load(plain)
    np.testing.assert_array_equal(excluded(plain), np.rot90(sensor, -turns))
    if turns == 2:  # only then a window that is not rotated fits
        listed = load(plain, defects="listed")  # no warning: this was decided
        assert listed["original_metadata"]["rsciio_tem"]["corrections"]["excluded_pixels"] == 31
        np.testing.assert_array_equal(excluded(plain, defects="listed"), sensor)


def test_flipped_images(plain: Path) -> None:
    maps = [({"Rows": 20, "Columns": 30}, [{"Row": "4"}])]
    writer.write_sides(plain.parent, info={"Flip": "Vertical"}, maps=maps)
    read_with(plain, r"flipped \(vertical\).*It is left as listed")
    for defects, row in (("auto", 4), ("listed", 4), ("turned", 15)):
        mask = excluded(plain, defects=defects)
        assert np.flatnonzero(mask.all(axis=1)).tolist() == [row]
    # where a flip changes nothing there is nothing to warn of
    maps = [({"Rows": 20, "Columns": 30}, [{"Column": "4"}])]
    writer.write_sides(plain.parent, info={"Flip": "Vertical"}, maps=maps)
    load(plain)
    with pytest.raises(ValueError, match="defects='sensor' is none of auto, listed, turned"):
        load(plain, defects="sensor")


@pytest.mark.parametrize(
    ("defect", "match"),
    [({"Row": "a"}, "cannot be understood"), ({"Rows": "3-"}, "cannot be understood"),
     ({"Row": "-1"}, "cannot be understood"), ({"Pixel": "7"}, "names no row or column"),
     ({"Row": "3", "Column": "4", "pattern": "01"}, "pattern"),
     ({"Row": "3", "pattern": "0a"}, "pattern")],
)  # fmt: skip
def test_defects_that_are_odd(plain: Path, defect: dict[str, str], match: str) -> None:
    maps = [({"Rows": 20, "Columns": 30}, [{"Row": "7"}, defect])]
    writer.write_sides(plain.parent, maps=maps)
    read_with(plain, f"1 odd entries, the first: .*{match}")
    assert excluded(plain)[7].all()


def test_window_beyond_the_sensor(plain: Path) -> None:
    maps = [({"Rows": 20, "Columns": 30}, [{"Row": "7"}])]
    writer.write_sides(plain.parent, info={"ImageOffsetY": 1}, maps=maps)
    data = read_with(plain, "rows 1 to 20 lie beyond the 20 of the map")["data"]
    np.testing.assert_array_equal(data, FRAMES)


def test_bands_of_defects_are_filled(plain: Path) -> None:
    """The inside of a band has no good neighbour; that must not be an error."""
    maps = [({"Rows": 20, "Columns": 30}, [{"Columns": "10-14"}])]
    writer.write_sides(plain.parent, maps=maps)
    data = load(plain)["data"]
    np.testing.assert_array_equal(data[:, :, :10], FRAMES[:, :, :10])
    near = FRAMES[0, 4:7, 9].astype(float).mean()
    np.testing.assert_allclose(data[0, 5, 10], near, rtol=1e-6)
    assert np.isfinite(data).all()


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    at=st.integers(0, 700),
    text=st.sampled_from(
        [b"", b"0", b"99999999999", b"-1", b"1e300", b"nan", b'"', b"<", b">", b"Rows", b"Binning",
         b"pattern", b"0-999999999", b"\xff", b"BadPixelMap", b"<Defect/>"]
    ),
    remove=st.integers(0, 12),
)  # fmt: skip
def test_damaged_xml(tmp_path_factory: Any, at: int, text: bytes, remove: int) -> None:
    """Whatever it says, images are read, soon and without much memory."""
    folder = tmp_path_factory.mktemp("xml")
    path = writer.write_seq(folder / "scan.seq", FRAMES[:2])
    info = {"ImageOffsetX": 2, "ImageBinning": 1, "RotationMode": 0, "SegmentPreBuffer": 2}
    xml = writer.xml_text(info, [({"Rows": 90, "Columns": 90}, list(FORMS.values()))]).encode()
    start = xml.index(b"<BadPixelMap") + at if at < 500 else max(0, len(xml) - at + 200)
    damaged = xml[:start] + text + xml[start + remove :]
    (folder / "scan.seq.Config.Metadata.xml").write_bytes(damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = load(path, corrections=False)["data"]
        load(path)
    np.testing.assert_array_equal(data, FRAMES[:2])


# ---------------------------------------------------------------- damage


FIELDS = sorted(place for place, _ in writer.PLACES.values())


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("halves")
    top, _ = writer.write_halves(folder, FRAMES, 3, without=([1], []))
    return top


@settings(max_examples=200)
@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(FIELDS) | st.integers(0, 1023),
            st.sampled_from([0, 1, 2, 8, 255, 4096, 1 << 16, (1 << 31) - 1, (1 << 32) - 1])
            | st.integers(0, (1 << 32) - 1),
        ),
        min_size=1,
        max_size=3,
    ),
    cut=st.just(None) | st.integers(0, 12000),
    where=st.sampled_from([TOP, BOTTOM, f"{TOP}.metadata", f"{BOTTOM}.metadata"]),
)
def test_damaged_headers(
    halves: Path, changes: list[tuple[int, int]], cut: int | None, where: str
) -> None:
    """Right pixels in the right shape, or an error that names a file."""
    victim = halves.with_name(where)
    good = victim.read_bytes()
    content = bytearray(good)
    for place, value in changes:
        place %= len(content) - 4
        content[place : place + 4] = value.to_bytes(4, "little")
    victim.write_bytes(content[:cut])
    refusals: list[str] = []
    try:
        for more in ({}, {"celeritas": False}, {"all_slots": True, "lazy": True}):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    signal = load(halves, corrections=False, **more)
                except FormatError as error:
                    refusals.append(str(error))
                    continue
            assert signal["data"].shape == tuple(axis["size"] for axis in signal["axes"])
            assert signal["data"].nbytes < 1 << 24
            np.asarray(signal["data"])
    finally:
        victim.write_bytes(good)
    assert all(str(halves.parent) in refusal for refusal in refusals)


# ---------------------------------------------------------------- recordings in halves


WHOLE = RNG.integers(0, 4096, (12, 16, 24)).astype("u2")


@pytest.mark.parametrize("each", [1, 3, 4, 12])
@pytest.mark.parametrize("alignment", [0, 8192])
@pytest.mark.parametrize("lazy", [False, True])
def test_halves(tmp_path: Path, each: int, alignment: int, lazy: bool) -> None:
    """The top half is stored upside down, and buffers hold `each` half frames.

    The open RosettaSciIO proposal takes half of that number.
    """
    top, bottom = writer.write_halves(tmp_path, WHOLE, each, alignment=alignment)
    for path in (top, bottom):
        signal = load(path, lazy=lazy)
        np.testing.assert_array_equal(np.asarray(signal["data"]), WHOLE)
        told = signal["original_metadata"]["celeritas"]
        assert told["frames_per_buffer"] == each
        assert (told["top"], told["bottom"]) == (TOP, BOTTOM)
        names = {Path(name).name for name in signal["original_metadata"]["rsciio_tem"]["files"]}
        sides = {f"{name}.metadata" for name in (TOP, BOTTOM)}
        assert names == {TOP, BOTTOM, *sides, "Movie_00785.seq.Config.Metadata.xml"}
        np.testing.assert_allclose(signal["axes"][0]["scale"], 1 / 800)
    if lazy:
        data = load(top, lazy=True)["data"]
        np.testing.assert_array_equal(data[5, 3:11, 4:7], WHOLE[5, 3:11, 4:7])
        np.testing.assert_array_equal(data[::5, 8:], WHOLE[::5, 8:])


def test_half_that_is_a_link_to_itself(tmp_path: Path) -> None:
    top, bottom = writer.write_halves(tmp_path, WHOLE, 4)
    bottom.unlink()
    bottom.symlink_to(bottom.name)
    with pytest.raises(FormatError, match=r"Bottom.*: (cannot be opened|cannot be read)"):
        load(top)
    with pytest.raises(FormatError, match=str(tmp_path)):
        load(top, bottom=bottom)


def test_halves_arranged(tmp_path: Path) -> None:
    top, _ = writer.write_halves(tmp_path, WHOLE, 4)
    data = load(top, navigation_shape=(4, 3))["data"]
    np.testing.assert_array_equal(data, WHOLE.reshape(3, 4, 16, 24))
    with warned("3 of 15 scan positions"):
        shifted = load(top, nav_shape=(3, 5), snake=True, fill_value=9)["data"]
    np.testing.assert_array_equal(shifted[1], WHOLE[5:10][::-1])
    np.testing.assert_array_equal(shifted[2, :2], WHOLE[10:])
    assert (shifted[2, 2:] == 9).all()


def test_halves_flipped_as_a_whole(tmp_path: Path) -> None:
    top, _ = writer.write_halves(tmp_path, WHOLE, 4)
    dark = RNG.integers(0, 100, (16, 24)).astype("f4")
    np.testing.assert_array_equal(load(top, flip_y=True)["data"], WHOLE[:, ::-1])
    lazy = load(top, flip_y=True, lazy=True)["data"]
    np.testing.assert_array_equal(lazy[3, 2:9, 5:].compute(), WHOLE[3, ::-1][2:9, 5:])
    writer.write_sides(tmp_path, "Movie_00785.seq", dark=dark)
    np.testing.assert_array_equal(load(top)["data"], WHOLE - dark)
    np.testing.assert_array_equal(load(top, flip_y=True)["data"], (WHOLE - dark)[:, ::-1])


def test_a_half_as_it_is_stored(tmp_path: Path) -> None:
    top, bottom = writer.write_halves(tmp_path, WHOLE, 4)
    data = load(bottom, celeritas=False)["data"]
    np.testing.assert_array_equal(data, WHOLE[:, 8:].reshape(3, 32, 24))
    data = load(top, celeritas=False)["data"]
    np.testing.assert_array_equal(data, WHOLE[:, :8][:, ::-1].reshape(3, 32, 24))
    with pytest.raises(TypeError, match="celeritas=False says no"):
        load(top, celeritas=False, bottom=bottom)


def test_named_halves(tmp_path: Path) -> None:
    """The open RosettaSciIO proposal reads the top twice if both are passed."""
    top, bottom = writer.write_halves(tmp_path, WHOLE, 4, xml=False)
    a, b = top.rename(tmp_path / "a.seq"), bottom.rename(tmp_path / "b.seq")
    for path, more in (
        (a, {"bottom": b}),
        (b, {"top": str(a)}),
        (a, {"top": a, "bottom": b}),
        (b, {"top": a, "bottom": b}),
    ):
        np.testing.assert_array_equal(load(path, prebuffer=4, **more)["data"], WHOLE)
    with pytest.raises(FormatError, match="cannot be both halves"):
        load(a, bottom=a)
    c = writer.write_seq(tmp_path / "c.seq", FRAMES)
    with pytest.raises(FormatError, match="neither the top nor the bottom"):
        load(c, top=a, bottom=b)
    with pytest.raises(FormatError, match=r"cannot be joined.*\(32, 24\).*\(20, 30\)"):
        load(a, bottom=c)
    with pytest.raises(FormatError, match="not named like a half"):
        load(a, celeritas=True)


def test_the_other_half_is_missing(tmp_path: Path) -> None:
    top, bottom = writer.write_halves(tmp_path, WHOLE, 4)
    bottom.unlink()
    with pytest.raises(FormatError, match=r"top half of a recording; the other one is not beside"):
        load(top)


def test_an_ordinary_file_may_be_named_top(tmp_path: Path) -> None:
    path = writer.write_seq(tmp_path / "hat_top.seq", FRAMES)
    np.testing.assert_array_equal(load(path)["data"], FRAMES)


def test_halves_without_times_in_their_names(tmp_path: Path) -> None:
    top, _ = writer.write_halves(tmp_path, WHOLE, 4, times=("", ""))
    np.testing.assert_array_equal(load(top)["data"], WHOLE)


def test_halves_with_upper_case_names(tmp_path: Path) -> None:
    writer.write_halves(tmp_path, WHOLE, 4)
    for path in list(tmp_path.iterdir()):
        path.rename(path.with_name(path.name.upper()))
    np.testing.assert_array_equal(load(tmp_path / TOP.upper())["data"], WHOLE)


def test_takes_of_the_same_name_are_told_apart_by_their_times(tmp_path: Path) -> None:
    first = ("23-59-59.980", "00-00-00.020")  # around midnight
    second = ("00-03-10.000", "00-03-10.041")
    writer.write_halves(tmp_path, WHOLE, 4, times=first)
    writer.write_halves(tmp_path, WHOLE[::-1], 4, times=second)
    for times, wanted in ((first, WHOLE), (second, WHOLE[::-1])):
        for half, time in zip(("Top", "Bottom"), times, strict=True):
            data = load(tmp_path / f"Movie_00785_{half}_{time}.seq")["data"]
            np.testing.assert_array_equal(data, wanted)
    (tmp_path / f"Movie_00785_Bottom_{first[1]}.seq").unlink()
    with pytest.raises(FormatError, match="belongs to another one"):
        load(tmp_path / f"Movie_00785_Top_{first[0]}.seq")


def test_halves_far_apart(tmp_path: Path) -> None:
    top, _ = writer.write_halves(tmp_path, WHOLE, 4, times=("10-00-00.000", "10-00-07.500"))
    np.testing.assert_array_equal(read_with(top, r"7\.5 s apart")["data"], WHOLE)


def test_halves_of_different_takes(tmp_path: Path) -> None:
    top, _ = writer.write_halves(tmp_path, WHOLE, 4, times=("10-00-00.000", "10-05-00.000"))
    with pytest.raises(FormatError, match="300 s apart from it by their names"):
        load(top)


# ---- frames per buffer


def test_frames_per_buffer_by_the_dark_image(tmp_path: Path) -> None:
    top, _ = writer.write_halves(tmp_path, WHOLE, 4, xml=False)
    writer.write_sides(tmp_path, "Movie_00785.seq", gain=np.ones((16, 24), "f4"))
    np.testing.assert_array_equal(load(top)["data"], WHOLE)


def test_frames_per_buffer_if_nothing_is_known(tmp_path: Path) -> None:
    square = RNG.integers(0, 4096, (12, 24, 24)).astype("u2")
    top, _ = writer.write_halves(tmp_path, square, 4, xml=False)
    data = read_with(top, "4 are assumed, so that frames are square")["data"]
    np.testing.assert_array_equal(data, square)
    np.testing.assert_array_equal(load(top, prebuffer=4)["data"], square)
    top, _ = writer.write_halves(tmp_path, WHOLE[:, :, :20], 4, xml=False, base="other")
    with pytest.raises(FormatError, match="Pass prebuffer="):
        load(top)


def test_frames_per_buffer_that_are_contradicted(tmp_path: Path) -> None:
    top, _ = writer.write_halves(tmp_path, WHOLE, 4, info={"SegmentPreBuffer": 2})
    writer.write_sides(tmp_path, "Movie_00785.seq", gain=np.ones((16, 24), "f4"))
    signal = read_with(
        top,
        "SegmentPreBuffer in the XML says 2 frames per buffer, the size of",
        "describes frames of 16 x 24 pixels, these have 32 x 24",
        r"gain\.mrc has \(16, 24\) pixels",
    )
    assert signal["data"].shape == (6, 32, 24)
    signal = read_with(top, "prebuffer= says 4 frames per buffer, SegmentPreBuffer", prebuffer=4)
    np.testing.assert_array_equal(signal["data"], WHOLE)
    with pytest.raises(FormatError, match="32 rows, which are not 5 half frames"):
        load(top, prebuffer=5)
    with pytest.raises(FormatError, match="which are not 0 half frames"):
        load(top, prebuffer=0)


def test_prebuffer_means_nothing_for_whole_frames(plain: Path) -> None:
    writer.write_sides(plain.parent, info={"SegmentPreBuffer": 256})
    np.testing.assert_array_equal(load(plain)["data"], FRAMES)


# ---- lost buffers


def filled(frames: Array, each: int, lost: list[int]) -> Array:
    out = frames.copy().reshape(-1, each, *frames.shape[1:])
    out[lost] = 0
    return out.reshape(frames.shape)


MANY = RNG.integers(1, 4096, (40, 4, 6)).astype("u2")  # 20 buffers of 2 frames


@pytest.mark.parametrize(
    ("top", "bottom", "lost"),
    [([3], [], [3]), ([], [3], [3]), ([3], [3], [3]), ([3, 4], [9], [3, 4, 9]),
     ([1, 3, 5, 7], [2, 4, 6, 8], list(range(1, 9)))],
)  # fmt: skip
def test_lost_buffers_are_blanks_in_their_places(
    tmp_path: Path, top: list[int], bottom: list[int], lost: list[int]
) -> None:
    """Joining what is left one by one would put halves of different frames together."""
    path, _ = writer.write_halves(tmp_path, MANY, 2, without=(top, bottom))
    signal = read_with(path, f"{len(lost)} of 20 buffers were lost", navigation_shape=(8, 5))
    wanted = filled(MANY, 2, lost)
    np.testing.assert_array_equal(signal["data"].reshape(MANY.shape), wanted)
    told = signal["original_metadata"]["celeritas"]
    assert told["lost_buffers"] == [i + 1 for i in lost]
    with warned("were lost"):
        data = load(path, lazy=True, fill_value=5)["data"]
    np.testing.assert_array_equal(data, np.where(wanted == 0, 5, wanted))
    kept = np.delete(MANY.reshape(20, 2, 4, 6), lost, axis=0).reshape(-1, 4, 6)
    with warned("the others follow each other"):
        np.testing.assert_array_equal(load(path, lost="drop")["data"], kept)
    times = times_of(path)
    assert ((times < 0) == (wanted == 0).all(axis=(1, 2))).all()


def test_buffers_of_only_one_half_at_the_ends(tmp_path: Path) -> None:
    path, _ = writer.write_halves(tmp_path, MANY, 2, without=([0], [18, 19]))
    data = read_with(path, r"of 3 buffers at the beginning or end .*\(the halves hold 19 and 18")
    np.testing.assert_array_equal(data["data"], MANY[2:36])


def test_halves_of_different_length_that_nothing_numbers(tmp_path: Path) -> None:
    path, _ = writer.write_halves(tmp_path, MANY, 2, without=([19], []), numbered=False)
    data = read_with(path, r"hold 19 \(top\) and 20 \(bottom\) buffers, and nothing numbers them")
    np.testing.assert_array_equal(data["data"], MANY[:38])
    assert not data["original_metadata"]["celeritas"]["numbered"]


def test_numbers_need_not_begin_at_one(tmp_path: Path) -> None:
    path, _ = writer.write_halves(tmp_path, MANY, 2, first_number=10**12, without=([4], []))
    data = read_with(path, "1 of 20 buffers were lost")["data"]
    np.testing.assert_array_equal(data, filled(MANY, 2, [4]))


def test_halves_of_different_recordings(tmp_path: Path) -> None:
    top, bottom = writer.write_halves(tmp_path, MANY, 2)
    side = tmp_path / f"{bottom.name}.metadata"
    writer.write_metadata(side, 10, writer.counters(range(101, 121)))
    with pytest.raises(FormatError, match=r"buffers 1 to 20 in its top half, 101 to 120"):
        load(top)


@pytest.mark.parametrize(
    "numbers",
    [[5] * 20, list(range(20, 0, -1)), [1, 2, 3, 2, *range(5, 21)], [-5, *range(2, 21)],
     list(range(1, 20)), [*range(1, 20), 1 << 60]],
)  # fmt: skip
def test_numbers_that_make_no_sense(tmp_path: Path, numbers: list[int]) -> None:
    top, _ = writer.write_halves(tmp_path, MANY, 2)
    writer.write_metadata(tmp_path / f"{top.name}.metadata", 10, writer.counters(numbers))
    if numbers[2:4] == [3, 2]:  # a repeated number between good ones is not looked for
        np.testing.assert_array_equal(load(top)["data"], MANY)
        return
    data = read_with(top, "does not number the buffers")["data"]
    np.testing.assert_array_equal(data, MANY)


def test_numbers_in_metadata_of_varying_size(tmp_path: Path) -> None:
    top, bottom = writer.write_halves(tmp_path, MANY, 2, without=([4], []))
    numbers = [i + 1 for i in range(20) if i != 4]
    side = tmp_path / f"{top.name}.metadata"
    writer.write_metadata(side, 10, writer.counters(numbers), unit_size=0)
    data = read_with(bottom, "1 of 20 buffers were lost")["data"]
    np.testing.assert_array_equal(data, filled(MANY, 2, [4]))


def test_few_numbers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the length of a recording, opening it stays quick."""
    frames = np.ones((4000, 2, 2), "u1")
    top, _ = writer.write_halves(tmp_path, frames, 1, without=([77, 1000], [2345]))
    read: list[int] = []
    entry = MetadataFile.entry
    monkeypatch.setattr(
        MetadataFile, "entry", lambda self, *args: (read.append(args[0]), entry(self, *args))[1]
    )
    with warned("3 of 4000 buffers were lost"):
        data = load(top)["data"]
    assert len(read) < 100
    assert np.flatnonzero(data[:, 0, 0] == 0).tolist() == [77, 1000, 2345]


def test_interrupted_halves(tmp_path: Path) -> None:
    top, bottom = writer.write_halves(tmp_path, MANY, 2)
    content = bottom.read_bytes()
    stride = 2 * 2 * 6 * 2 + 8
    bottom.write_bytes(content[: 8192 + 15 * stride + 20])
    data = read_with(top, "holds 15 of 20 images", "of 5 buffers at the beginning or end")["data"]
    np.testing.assert_array_equal(data, MANY[:30])


def test_loop_recording_in_halves(tmp_path: Path) -> None:
    top, bottom = writer.write_halves(tmp_path, MANY, 2, oldest=7)
    for path in (top, bottom):  # metadata are those of the slots
        numbers = writer.counters(np.roll(np.arange(1, 21), 7).tolist())
        writer.write_metadata(tmp_path / f"{path.name}.metadata", 10, numbers)
    np.testing.assert_array_equal(load(top)["data"], MANY)


def test_times_of_buffers(tmp_path: Path) -> None:
    """A buffer has one time; lines are not made of buffers."""
    top, bottom = writer.write_halves(tmp_path, MANY, 2)
    wanted = writer.BEGIN + np.repeat(np.arange(20), 2) * 2 * writer.STEP
    for path in (top, bottom):
        np.testing.assert_array_equal(times_of(path), wanted)
    recording = seq.parse(top)
    assert recording.times is not None
    np.testing.assert_array_equal(recording.times.read(3, 8).time_ns, wanted[3:8])
    assert len(recording.times.read(5, 5)) == 0
    assert load(top)["data"].shape == MANY.shape
    with pytest.raises(FormatError, match="finds no scan shape"):
        load(top, scan="timestamps")


def test_defective_pixels_of_halves(tmp_path: Path) -> None:
    info = {"ImageOffsetX": 10, "ImageOffsetY": 40}
    top, _ = writer.write_halves(tmp_path, WHOLE, 4, info=info)
    xml = tmp_path / "Movie_00785.seq.Config.Metadata.xml"
    defect = ' <BadPixelMap Rows="64" Columns="64"><Defect Row="42" Column="13" /></BadPixelMap>'
    xml.write_text(xml.read_text().replace("</BadPixels>", defect + "</BadPixels>"))
    assert np.argwhere(excluded(top)).tolist() == [[2, 3]]
    data = load(top)["data"]
    near = np.delete(WHOLE[:, 1:4, 2:5].reshape(12, 9), 4, axis=1)
    np.testing.assert_allclose(data[:, 2, 3], near.mean(axis=1), rtol=1e-6)


def test_values_of_keywords(plain: Path) -> None:
    with pytest.raises(ValueError, match="lost='keep' is none of blank, drop"):
        load(plain, lost="keep")


# ---------------------------------------------------------------- witnesses and real recordings


def crc(data: Array) -> str:
    little = np.ascontiguousarray(data, data.dtype.newbyteorder("<"))
    return f"{zlib.crc32(little.tobytes()):08x}"


REAL = [
    ("seq/pims/sample_norpix6.seq", {}),
    ("seq/de_single/test.seq", {"all_slots": True}),
    (f"seq/de_celeritas_256/{TOP}", {"celeritas": False}),
    (f"seq/de_celeritas_256/{BOTTOM}", {"celeritas": False}),
]


@pytest.mark.parametrize(("name", "options"), REAL, ids=lambda v: str(v).rsplit("/", 1)[-1])
@pytest.mark.parametrize("lazy", [False, True])
def test_real_recordings(realdata: Path, name: str, options: dict[str, Any], lazy: bool) -> None:
    """Shape, type, sum and checksum are those that PIMS and LiberTEM gave."""
    with (realdata / "manifest.csv").open(newline="", encoding="utf-8") as file:
        (row,) = (row for row in csv.DictReader(file) if row["file"] == name)
    data = np.asarray(load(realdata / name, corrections=False, lazy=lazy, **options)["data"])
    assert "x".join(map(str, data.shape)) == row["shape"]
    assert (str(data.dtype), int(data.sum(dtype="u8"))) == (row["dtype"], int(row["sum"]))
    witnesses = [w.rsplit(":", 1) for w in row["oracle"].split(" | ")]
    assert sum(found == crc(data) for _, found in witnesses) >= 1


def test_real_sequence_of_streampix(realdata: Path) -> None:
    """Times as PIMS reads them."""
    path = realdata / "seq" / "pims" / "sample_norpix6.seq"
    steps = np.diff(times_of(path)) // 1000
    assert times_of(path)[0] == 1435776075_775430_000
    assert steps.tolist() == [32797, 33001, 33002, 36589, 33554]
    assert load(path)["axes"][0]["size"] == 6  # no scan


def test_real_celeritas_recording_in_one_file(realdata: Path) -> None:
    path = realdata / "seq" / "de_single" / "test.seq"
    signal = load(path)
    raw = load(path, corrections=False)["data"]
    assert raw.shape == (10, 64, 64)  # 5 more slots were never used
    assert signal["data"].dtype == np.float32
    dark = read_reference(str(path) + ".dark.mrc")
    np.testing.assert_array_equal(signal["data"], raw - dark)  # the gain is 1
    assert abs(signal["data"].mean()) < 1
    found = signal["original_metadata"]["camera_settings"]
    assert (found["version"], found["unbinned_width"], found["offset_x"]) == (16, 64, 480)
    np.testing.assert_allclose(found["frame_rate"], 86956.5218)
    assert (found["flip"], found["grabber"], found["firmware"]) == (2, "Kaya", 1.12)
    assert signal["metadata"]["General"]["time"].startswith("19:21:27.069646")
    assert found["date_time"].startswith("2022-08-11 14:21:27")  # five hours behind UTC
    assert not excluded(path).any()  # the only defect, column 248, lies beside the frame


def test_real_celeritas_recording_in_halves(realdata: Path) -> None:
    folder = realdata / "seq" / "de_celeritas_256"
    raw = load(folder / TOP, corrections=False)["data"]
    assert raw.shape == (5, 256, 256)
    assert int(raw.sum(dtype="u8")) == 56512697 + 54039145
    np.testing.assert_array_equal(load(folder / BOTTOM, corrections=False)["data"], raw)
    signal = load(folder / TOP)
    told = signal["original_metadata"]["celeritas"]
    assert (told["frames_per_buffer"], told["numbered"], told["buffers"]) == (1, True, 5)
    dark = read_reference(str(folder / "Movie_00785.seq.dark.mrc"))
    np.testing.assert_array_equal(signal["data"], raw - dark)

    def likeness(image: Array) -> float:
        return float(np.corrcoef(image.ravel(), dark.ravel())[0, 1])

    mean = raw.mean(axis=0)
    unturned = np.concatenate([mean[:128][::-1], mean[128:]])
    assert likeness(mean) > 0.97  # the dark image shows how frames are put together
    assert likeness(unturned) < 0.8
    other = load(folder / TOP, gain=folder / "Movie_00784.seq.gain.mrc")["data"]
    assert other.shape == raw.shape


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
@pytest.mark.parametrize("version", [4, 5])
def test_same_as_libertem(tmp_path: Path, dtype: str, version: int) -> None:
    if (dtype, version) == ("u4", 4):
        pytest.skip("LiberTEM cannot read 32 bit before version 5")
    api = pytest.importorskip("libertem.api", reason="LiberTEM is not installed")
    frames = RNG.integers(0, np.iinfo(dtype).max, (12, 16, 24)).astype(dtype)
    path = writer.write_seq(tmp_path / "a.seq", frames, version=version)
    with api.Context.make_with("inline") as context:
        dataset = context.load("seq", str(path), nav_shape=(3, 4))
        picked = context.run(context.create_pick_analysis(dataset, x=1, y=2))
    data = load(path, nav_shape=(3, 4))["data"]
    np.testing.assert_array_equal(picked.intensity.raw_data, data[2, 1])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["row", "rows", "column", "columns", "pixel"])
@pytest.mark.parametrize("offset", [(0, 0), (4, 8)])
def test_same_corrections_as_libertem(tmp_path: Path, form: str, offset: tuple[int, int]) -> None:
    """For what LiberTEM can do: square sensors, one image in each MRC file."""
    api = pytest.importorskip("libertem.api", reason="LiberTEM is not installed")
    from libertem.udf.raw import PickUDF

    frames = RNG.integers(0, 4096, (4, 20, 20)).astype("u2")
    path = writer.write_seq(tmp_path / "scan.seq", frames)
    info = {"ImageOffsetY": offset[0], "ImageOffsetX": offset[1]}
    defects = [FORMS[form]] if form in ("row", "column", "pixel") else [FORMS[form], {"Row": "17"}]
    if form in ("rows", "columns"):  # a band has pixels without good neighbours there
        defects = [{k: "12-13" for k in FORMS[form]}]
    writer.write_sides(tmp_path, info=info, maps=[({"Rows": 40, "Columns": 40}, defects)])
    for name in ("dark", "gain"):
        image = RNG.normal(2, 0.1, (20, 20)).astype("f4")
        writer.write_mrc(tmp_path / f"scan.seq.{name}.mrc", image, count=1, junk=0)
    # where LiberTEM looks for the settings
    side = tmp_path / "scan.seq.metadata"
    head = writer.write_metadata(side, 0, [b"\0" * 200]).read_bytes()
    told = writer.old_settings(1, offset)[:44].replace(b"\x40\0\0\0", b"\x14\0\0\0")
    side.write_bytes(head[:282] + told + head[282 + 44 :])
    with api.Context.make_with("inline") as context:
        dataset = context.load("seq", str(path), nav_shape=(2, 2))
        theirs = context.run_udf(dataset=dataset, udf=PickUDF(), corrections=None)
    np.testing.assert_allclose(
        load(path)["data"], theirs["intensity"].data.reshape(4, 20, 20), rtol=1e-5, atol=1e-2
    )


def test_module_is_reached_by_name() -> None:
    assert importlib.import_module("rsciio_tem.formats.seq") is rsciio_tem.seq
