# SPDX-License-Identifier: GPL-3.0-or-later
"""FRMS6 recordings of pnCCD cameras."""

from __future__ import annotations

import os
import struct
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from writers import frms6 as writer
from writers import mib as mib_writer

import rsciio_tem
from rsciio_tem.errors import FormatError, NotThisFormat, RecordingWarning, Truncated, Unsupported
from rsciio_tem.formats import frms6
from rsciio_tem.frames.combined import Chain
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.storage import backends

Array = np.ndarray


def images(*shape: int, binning: int = 1, seed: int = 3, low: int = 0) -> Array:
    """Return random frames, of which rows of the same bin are alike."""
    *nav, rows, columns = shape
    rng = np.random.default_rng(seed)
    found = rng.integers(low, 1 << 14, (*nav, rows // binning, columns), np.uint16)
    return found.repeat(binning, axis=-2)


def load(path: Path, **options: Any) -> Array:
    (signal,) = frms6.file_reader(path, **options)
    return np.asarray(signal["data"])


def raw(path: Path, **options: Any) -> Array:
    return load(path, corrections=False, **options)


# -- LiberTEM as witness -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def libertem() -> Iterator[Any]:
    api = pytest.importorskip("libertem.api", reason="LiberTEM is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with api.Context.make_with("inline") as context:
            yield context


def libertem_frames(context: Any, path: Path, **options: Any) -> Array:
    from libertem.udf.raw import PickUDF

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = context.load("frms6", path=str(path), **options)
        roi = np.ones(dataset.shape.nav, dtype=bool)
        found = context.run_udf(dataset=dataset, udf=PickUDF(), roi=roi)["intensity"].data
    return np.asarray(found).reshape(tuple(dataset.shape))


@pytest.mark.parametrize("binning", [1, 2, 4])
@pytest.mark.parametrize("files", [(), (4, 3)])
@pytest.mark.parametrize("opened", [".hdr", "_000.frms6", "_001.frms6"])
def test_same_as_libertem(
    tmp_path: Path, libertem: Any, binning: int, files: tuple[int, ...], opened: str
) -> None:
    frames = images(3, 3, 24, 20, binning=binning)
    dark = images(5, 24, 20, binning=binning, seed=4)
    path = writer.write_recording(tmp_path, frames, dark, binning=binning, files=files)
    path = path.with_name("scan" + opened)
    corrected, stored = load(path), raw(path)
    assert (corrected.dtype, stored.dtype) == (np.float32, np.uint16)
    np.testing.assert_array_equal(stored, frames)
    np.testing.assert_array_equal(
        stored, libertem_frames(libertem, path, enable_offset_correction=False)
    )
    np.testing.assert_array_equal(corrected, libertem_frames(libertem, path))


@pytest.mark.parametrize("suffix", [".mat", ".csv"])
def test_same_gain_as_libertem(tmp_path: Path, libertem: Any, suffix: str) -> None:
    frames, dark = images(2, 2, 24, 20), images(3, 24, 20, seed=4)
    path = writer.write_recording(tmp_path, frames, dark)
    gain = np.random.default_rng(5).uniform(0.5, 2, (24, 20))
    side = write_gain(tmp_path / f"gain{suffix}", gain)
    ours = load(path, gain_map_path=side)
    theirs = libertem_frames(libertem, path, gain_map_path=str(side))
    np.testing.assert_allclose(ours, theirs, rtol=2e-7)  # LiberTEM multiplies in double precision
    mean = dark.mean(axis=0, dtype="f4")
    np.testing.assert_allclose(ours, (frames - mean) * gain, rtol=1e-5, atol=1e-2)


def write_gain(path: Path, gain: Array) -> Path:
    if path.suffix == ".csv":
        text = "\n".join(";".join(repr(float(v)) for v in line) + ";" for line in gain.T)
        path.write_text(text, encoding="ascii")
    else:
        scipy_io = pytest.importorskip("scipy.io", reason="SciPy is not installed")
        scipy_io.savemat(path, {"GainMap": gain, "other": np.zeros(3)})
    return path


@pytest.mark.parametrize("offset", [-4, -1, 2])
def test_same_sync_offset_as_libertem(tmp_path: Path, libertem: Any, offset: int) -> None:
    path = writer.write_recording(tmp_path, images(3, 3, 8, 6), images(2, 8, 6, seed=4))
    theirs = libertem_frames(libertem, path, sync_offset=offset)
    if offset > 0:
        with pytest.warns(RecordingWarning, match="2 of 9"):
            ours = load(path, nav_shape=(3, 3), sync_offset=offset)
    else:
        ours = load(path, nav_shape=(3, 3), sync_offset=offset)
    np.testing.assert_array_equal(ours, theirs)


def test_same_order_of_the_scan_axes_as_libertem(tmp_path: Path, libertem: Any) -> None:
    path = writer.write_recording(tmp_path, images(2, 5, 8, 6))
    with pytest.warns(RecordingWarning, match=r"2x5.*2 lines of 5 .*navigation_shape=\(2, 5\)"):
        ours = raw(path)
    (tmp_path / "scan_000.frms6").write_bytes((tmp_path / "scan_001.frms6").read_bytes())
    theirs = libertem_frames(libertem, path, enable_offset_correction=False)
    assert ours.shape[:2] == (2, 5)
    np.testing.assert_array_equal(ours, theirs)
    # the other order, as the warning says, and nothing is left to warn of
    other = raw(path, navigation_shape=(2, 5))
    np.testing.assert_array_equal(other.reshape(ours.shape), ours)
    assert other.shape[:2] == (5, 2)


def test_dark_mean_is_that_of_libertem(tmp_path: Path, libertem: Any) -> None:
    """Sums of the dark frames are exact in both, so the means are the same bits."""
    dark = images(37, 24, 20, seed=9)
    path = writer.write_recording(tmp_path, images(7, 7, 24, 20), dark)
    dataset = libertem.load("frms6", path=str(path))
    theirs = dataset.get_correction_data().get_dark_frame()
    np.testing.assert_array_equal(dark_of(path), theirs)


def dark_of(path: Path) -> Array:
    corrections = frms6.parse(path).corrections
    assert corrections is not None
    return np.asarray(corrections.dark)


# -- what LiberTEM does not read, or reads wrongly -----------------------------------------------


@pytest.mark.parametrize("quotes", ["", "'"])
def test_readout_mode_without_quotes(tmp_path: Path, quotes: str) -> None:
    """LiberTEM cannot open a recording whose .hdr has no quotes around the readout mode."""
    frames = images(3, 3, 8, 6, binning=4)
    path = writer.write_recording(tmp_path, frames, binning=4, hdr={"quotes": quotes})
    np.testing.assert_array_equal(raw(path), frames)


@pytest.mark.parametrize("binning", [3, 6])
def test_binning_other_than_1_2_and_4(tmp_path: Path, binning: int) -> None:
    """LiberTEM fails."""
    frames = images(2, 2, 24, 6, binning=binning)
    path = writer.write_recording(tmp_path, frames, binning=binning)
    np.testing.assert_array_equal(raw(path), frames)


def test_missing_dark_file(tmp_path: Path) -> None:
    """LiberTEM takes the first file of frames for dark frames, subtracts their mean, drops them."""
    frames = images(3, 3, 8, 6)
    path = writer.write_recording(tmp_path, frames, files=(4,))
    with pytest.warns(RecordingWarning, match=r"no dark frames: no file .* number 000"):
        data = load(path)
    assert data.dtype == np.uint16
    np.testing.assert_array_equal(data, frames)
    dark = np.full((8, 6), 7)
    np.testing.assert_array_equal(load(path, dark=dark), frames.astype("f4") - 7)
    np.testing.assert_array_equal(raw(path), frames)  # what was asked for needs no warning


@pytest.mark.parametrize("opened", ["scan_001.frms6", "scan_000.frms6", "scan.hdr"])
def test_other_recording_whose_name_begins_alike(tmp_path: Path, opened: str) -> None:
    """LiberTEM joins all files that begin with ``scan_``, and takes the first for dark frames."""
    frames, dark = images(3, 3, 8, 6), images(2, 8, 6, seed=4)
    writer.write_recording(tmp_path, frames, dark)
    for name in ("scan_(copy)", "scan_b", "scan_2", "scan_000", "sca", "scan2", "xscan"):
        writer.write_recording(tmp_path, images(2, 2, 8, 6, seed=5), dark, name=name)
    np.testing.assert_array_equal(raw(tmp_path / opened), frames)


def test_files_are_ordered_by_their_numbers(tmp_path: Path) -> None:
    """LiberTEM sorts names as text: 1, 10, 2."""
    frames = images(1, 12, 4, 6)
    stored = writer.in_stored_order(frames[0])
    for i in range(12):
        writer.write_frms6(tmp_path / f"scan_{i + 1}.frms6", stored[i : i + 1], first=i)
    path = tmp_path / "scan.hdr"
    path.write_text(writer.hdr_text((1, 12), 12), encoding="ascii")
    with pytest.warns(RecordingWarning, match="1 lines of 12"):
        np.testing.assert_array_equal(raw(path), frames)


def test_two_files_of_one_number(tmp_path: Path) -> None:
    frames = images(2, 2, 4, 6)
    path = writer.write_recording(tmp_path, frames)
    writer.write_frms6(tmp_path / "scan_01.frms6", writer.in_stored_order(frames[0]))
    with pytest.warns(RecordingWarning, match=r"scan_0\d+.frms6 has the same number"):
        raw(path)


@pytest.mark.parametrize("suffix", [".FRMS6", ".Frms6"])
def test_suffix_in_upper_case(tmp_path: Path, suffix: str) -> None:
    """LiberTEM knows lower case only."""
    frames, dark = images(2, 2, 4, 6), images(2, 4, 6, seed=4)
    path = writer.write_recording(tmp_path, frames, dark, suffix=suffix)
    path = path.rename(path.with_suffix(".HDR"))
    expected = frames - dark.mean(axis=0, dtype="f4")
    np.testing.assert_array_equal(load(path), expected)
    np.testing.assert_array_equal(load(tmp_path / f"scan_001{suffix}"), expected)


def test_more_frames_announced_than_recorded(tmp_path: Path) -> None:
    """LiberTEM believes the .hdr, and fails when it reads what is not there."""
    frames = images(4, 4, 4, 6)
    path = writer.write_recording(tmp_path, frames[:2].reshape(8, 4, 6))
    path.write_text(writer.hdr_text((4, 4), 16), encoding="ascii")
    with pytest.warns(
        RecordingWarning, match="announces 16 frames, the files hold 8|2 of 4 lines|one entry"
    ):
        data = raw(path)
    np.testing.assert_array_equal(data, frames[:2])
    assert frms6.parse(path).count == 8  # LiberTEM's detection says 16


def test_fewer_frames_announced_than_recorded(tmp_path: Path) -> None:
    frames = images(10, 4, 6)
    path = writer.write_recording(tmp_path, frames)
    path.write_text(writer.hdr_text((2, 4), 8), encoding="ascii")
    with pytest.warns(RecordingWarning, match="announces 8 frames, the files hold 10|2 lines of 4|"
                      "2 of 10 frames lie beyond|one entry"):  # fmt: skip
        data = raw(path)
    np.testing.assert_array_equal(data.reshape(8, 4, 6), frames[:8])


def test_scan_size_that_is_not_the_number_of_frames(tmp_path: Path) -> None:
    """LiberTEM shows one frame of the ten."""
    frames = images(10, 4, 6)
    path = writer.write_recording(tmp_path, frames)
    path.write_text(writer.hdr_text((1, 1), 10), encoding="ascii")
    with pytest.warns(RecordingWarning, match="1x1, which is not the number of frames, 10"):
        data = raw(path)
    np.testing.assert_array_equal(data, frames)


@pytest.mark.parametrize("opened", ["scan_001.frms6", "scan_002.frms6", "scan_000.frms6"])
def test_missing_hdr(tmp_path: Path, opened: str) -> None:
    """LiberTEM cannot open it."""
    frames, dark = images(9, 4, 6), images(3, 4, 6, seed=4)
    writer.write_recording(tmp_path, frames, dark, has_hdr=False, files=(5,))
    with pytest.warns(RecordingWarning, match="no .hdr says how rows were binned; 1 is taken"):
        data = load(tmp_path / opened)
    np.testing.assert_array_equal(data, frames - dark.mean(axis=0, dtype="f4"))


@pytest.mark.parametrize("binning", [1, 2, 4])
def test_missing_hdr_of_the_standard_camera(tmp_path: Path, binning: int) -> None:
    frames = images(2, 264, 264, binning=binning)
    writer.write_recording(tmp_path, frames, binning=binning, has_hdr=False)
    path = tmp_path / "scan_001.frms6"
    size = f"{132 // binning} x 528"
    with pytest.warns(RecordingWarning, match=f"; {binning} is taken from the size of {size}"):
        data = raw(path)
    np.testing.assert_array_equal(data, frames)
    np.testing.assert_array_equal(raw(path, binning=binning), frames)


def test_hdr_of_another_kind(tmp_path: Path) -> None:
    frames = images(4, 4, 6)
    path = writer.write_recording(tmp_path, frames)
    mib_writer.write_mib(tmp_path / "scan.mib", images(2, 64, 256), hdr={"frames": 2})
    assert path.read_bytes().startswith(b"HDR")
    with pytest.warns(
        RecordingWarning, match=r"no \[measurementInfo\]. It is ignored|no .hdr says"
    ):
        data = raw(tmp_path / "scan_001.frms6")
    np.testing.assert_array_equal(data, frames)


@pytest.mark.parametrize(
    ("line", "warns"),
    [
        ("readoutmode=", "no .hdr says how rows were binned"),
        ("readoutmode=bin: 0", "no .hdr says how rows were binned"),
        ("readoutmode=bin: 99999", "no .hdr says how rows were binned"),
        ("stemimagesize", ""),
        ("stemimagesize=square", ""),
        ("stemimagesize=0x4", ""),
        ("stemimagesize=99999999x4", ""),
        ("signalframes=many", ""),
        ("signalframes=-4", ""),
        ("signalframes=1e400", ""),
        ("dwelltimemicroseconds=%d", ""),
        ("gain\n  continues what has no value", ""),
        ("[measurementInfo]", ""),
        ("[other]\nx=1", ""),
    ],
)
def test_odd_lines_in_hdr(tmp_path: Path, line: str, warns: str) -> None:
    frames = images(4, 4, 6)
    path = writer.write_recording(tmp_path, frames)
    key = line.split("=")[0]
    lines = [x for x in path.read_text().splitlines() if not x.startswith(key) or key[0] == "["]
    path.write_text("\n".join([*lines, line]), encoding="ascii")
    if warns:
        with pytest.warns(RecordingWarning, match=warns):
            data = raw(path)
    else:
        data = raw(path)
    np.testing.assert_array_equal(data.reshape(frames.shape), frames)


def test_hdr_with_byte_order_mark_and_other_sections(tmp_path: Path) -> None:
    frames = images(2, 2, 4, 6, binning=2)
    path = writer.write_recording(tmp_path, frames, binning=2)
    text = "[general]\nname=µ\n" + path.read_text().replace("bin: 2", "bin:2") + "a line\n[end]\n"
    path.write_text("\ufeff" + text, encoding="utf-8")
    np.testing.assert_array_equal(raw(path), frames)


# -- counts of frames ----------------------------------------------------------------------------


def test_frame_count_absent(tmp_path: Path) -> None:
    frames, dark = images(3, 3, 8, 6), images(2, 8, 6, seed=4)
    path = writer.write_recording(tmp_path, frames, dark, count=0, files=(4,))
    np.testing.assert_array_equal(load(path), frames - dark.mean(axis=0, dtype="f4"))


def test_frame_count_absent_and_last_frame_cut(tmp_path: Path) -> None:
    """LiberTEM: could not determine number of frames."""
    frames = images(9, 8, 6)
    path = writer.write_recording(tmp_path, frames, count=0, truncate=10)
    match = "goes on for 150 bytes behind its last complete frame, unread|files hold 8"
    with pytest.warns(RecordingWarning, match=match):
        data = raw(path)
    np.testing.assert_array_equal(data, frames[:8])


def test_last_file_short(tmp_path: Path) -> None:
    """LiberTEM fails when it reads what is not there."""
    frames = images(3, 3, 8, 6)
    path = writer.write_recording(tmp_path, frames, truncate=200)
    match = (
        "scan_001.frms6 holds 7 of the 9 frames it announces|files hold 7|2 of 3 lines|one entry"
    )
    with pytest.warns(RecordingWarning, match=match):
        data = raw(path)
    np.testing.assert_array_equal(data, frames[:2])


def test_more_in_file_than_announced(tmp_path: Path) -> None:
    frames = images(9, 8, 6)
    path = writer.write_recording(tmp_path, frames, count=8)
    with pytest.warns(RecordingWarning, match="160 bytes behind the 8 it announces|files hold 8"):
        data = raw(path)
    np.testing.assert_array_equal(data, frames[:8])


def test_short_file_before_others(tmp_path: Path) -> None:
    """Frames behind it stay in their places; LiberTEM fails."""
    frames = images(9, 8, 6)
    path = writer.write_recording(tmp_path, frames, files=(3, 3))
    cut(tmp_path / "scan_001.frms6", 170)
    match = "holds 1 of the 3 frames|2 blanks are in place of missing frames.$"
    with pytest.warns(RecordingWarning, match=match):
        data = raw(path)
    np.testing.assert_array_equal(data, np.concatenate([frames[:1], 0 * frames[:2], frames[3:]]))
    assert not frms6.frame_headers(path)["tv_sec"][1:3].any()


def cut(path: Path, nbytes: int) -> None:
    os.truncate(path, path.stat().st_size - nbytes)


@pytest.mark.parametrize("gone", [1, 2, 3])
@pytest.mark.parametrize("how", ["missing", "empty", "damaged"])
def test_missing_file(tmp_path: Path, gone: int, how: str) -> None:
    """LiberTEM moves the frames of later files up, or fails."""
    frames = images(10, 8, 6)
    path = writer.write_recording(tmp_path, frames, files=(3, 3, 3))
    file = tmp_path / f"scan_{gone:03d}.frms6"
    if how == "missing":
        file.unlink()
    elif how == "empty":
        file.write_bytes(b"")
    else:
        file.write_bytes(b"\xff" * 5000)
    match = "3 blanks are in place of missing frames and of 1 files|a file is not read"
    with pytest.warns(RecordingWarning, match=match):
        data = raw(path)
    expected = frames.copy()
    expected[3 * gone - 3 : 3 * gone] = 0
    np.testing.assert_array_equal(data, expected)


def test_missing_last_file(tmp_path: Path) -> None:
    frames = images(9, 8, 6)
    path = writer.write_recording(tmp_path, frames, files=(3, 3))
    (tmp_path / "scan_003.frms6").unlink()
    with pytest.warns(RecordingWarning, match="announces 9 frames, the files hold 6"):
        np.testing.assert_array_equal(raw(path), frames[:6])


def test_missing_file_of_unknown_size(tmp_path: Path) -> None:
    frames = images(12, 8, 6)
    path = writer.write_recording(tmp_path, frames, files=(3, 4, 2))
    (tmp_path / "scan_002.frms6").unlink()
    match = "2 files, from .frms6 number 3 on, are not read|announces 12 frames"
    with pytest.warns(RecordingWarning, match=match):
        np.testing.assert_array_equal(raw(path), frames[:3])
    (tmp_path / "scan_001.frms6").unlink()
    with pytest.warns(RecordingWarning, match="begin with .frms6 number 3|announces 12 frames"):
        np.testing.assert_array_equal(raw(path), frames[7:])


def test_numbers_far_apart(tmp_path: Path) -> None:
    frames = images(4, 8, 6)
    path = writer.write_recording(tmp_path, frames, files=(2,), numbers=[1, 999_999_999])
    with pytest.warns(RecordingWarning, match="1 files, from .frms6 number 999999999|files hold 2"):
        np.testing.assert_array_equal(raw(path), frames[:2])


def test_absurd_count_in_a_short_file(tmp_path: Path) -> None:
    frames = images(6, 8, 6)
    path = writer.write_recording(tmp_path, frames, files=(3,))
    patch(tmp_path / "scan_001.frms6", 1020, struct.pack("<I", 2**32 - 1))
    match = "holds 3 of the 4294967295|1 files, from .frms6 number 2 on, are not read|files hold 3"
    with pytest.warns(RecordingWarning, match=match):
        np.testing.assert_array_equal(raw(path), frames[:3])


def patch(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def test_dark_frames_that_hdr_does_not_count(tmp_path: Path) -> None:
    frames, dark = images(4, 8, 6), images(3, 8, 6, seed=4)
    path = writer.write_recording(tmp_path, frames, dark)
    path.write_text(path.read_text().replace("darkframes=3", "darkframes=5"))
    with pytest.warns(RecordingWarning, match="announces 5 dark frames, the file holds 3"):
        np.testing.assert_array_equal(load(path), frames - dark.mean(axis=0, dtype="f4"))


def test_frames_that_the_camera_lost(tmp_path: Path) -> None:
    frames = images(5, 8, 6)
    path = writer.write_recording(tmp_path, frames, indices=[10, 11, 13, 14, 16])
    with pytest.warns(
        RecordingWarning, match="2 frames are missing by the numbers .*, 5 are there"
    ):
        np.testing.assert_array_equal(raw(path), frames)


@pytest.mark.parametrize("indices", [[0] * 5, [5, 4, 3, 2, 1], [0, 100, 200, 300, 400]])
def test_numbers_that_do_not_count_frames(tmp_path: Path, indices: list[int]) -> None:
    frames = images(5, 8, 6)
    path = writer.write_recording(tmp_path, frames, indices=indices)
    np.testing.assert_array_equal(raw(path), frames)


# -- windows -------------------------------------------------------------------------------------


def windowed(frames: Array, windows: list[tuple[int, int]]) -> Array:
    """Keep the rows of windows, in unfolded frames."""
    out = np.zeros_like(frames)
    for i, (start, height) in enumerate(windows):
        for rows in (slice(start, start + height), slice(-start - height, -start or None)):
            out[i, rows] = frames[i, rows]
    return out


@pytest.mark.parametrize("window", [(0, 5), (3, 5), (7, 5), (11, 1)])
def test_window(tmp_path: Path, window: tuple[int, int]) -> None:
    """LiberTEM takes all frames for full ones, and fails."""
    frames = images(6, 24, 8)
    path = writer.write_recording(tmp_path, frames, windows=[window] * 6)
    with pytest.warns(RecordingWarning, match="windows of 12 stored rows; .* No recorded file"):
        np.testing.assert_array_equal(raw(path), windowed(frames, [window] * 6))
    recording = frms6.parse(path)
    assert isinstance(recording.frames, FrameTable)
    assert len(recording.frames.runs) == 1


@pytest.mark.parametrize("damage", [{"max_height": 65284}, {"heights": 7, "max_height": 40000}])
def test_windows_that_no_sensor_has(tmp_path: Path, damage: dict[str, int]) -> None:
    path = writer.write_recording(tmp_path, images(6, 24, 16), windows=[(3, 5)] * 6, **damage)
    with pytest.raises(FormatError, match="headers of frames have windows that end at row"):
        load(path)


def test_windows_that_differ(tmp_path: Path) -> None:
    frames = images(7, 24, 8)
    windows = [(0, 12), (3, 5), (3, 5), (0, 12), (6, 6), (3, 5), (0, 1)]
    path = writer.write_recording(tmp_path, frames, windows=windows)
    with pytest.warns(RecordingWarning, match="frames are windows"):
        data = raw(path)
    np.testing.assert_array_equal(data, windowed(frames, windows))
    recording = frms6.parse(path)
    assert isinstance(recording.frames, Chain)
    assert recording.times is not None
    moments = recording.times.read(0, 7).time_ns
    np.testing.assert_array_equal(moments, writer.SECONDS * 10**9 + np.arange(7) * 10**6)
    assert frms6.frame_headers(path)["external_id"].tolist() == list(range(100, 107))
    assert [tuple(h) for h in frms6.frame_headers(path)[["the_start", "the_height"]]] == windows


def test_windows_that_differ_between_files(tmp_path: Path) -> None:
    frames = images(8, 24, 8)
    windows = [(3, 5)] * 4 + [(4, 6)] * 4
    path = writer.write_recording(tmp_path, frames)
    stored = writer.in_stored_order(frames)
    for number, half in ((1, slice(4)), (2, slice(4, 8))):
        writer.write_frms6(
            tmp_path / f"scan_{number:03d}.frms6", stored[half], windows=windows[half]
        )
    with pytest.warns(RecordingWarning, match="frames are windows"):
        np.testing.assert_array_equal(raw(path), windowed(frames, windows))
    cut(tmp_path / "scan_001.frms6", 10)  # a blank among frames of different windows
    with pytest.warns(RecordingWarning, match="frames are windows|holds 3 of the 4|1 blanks"):
        data = raw(path)
    frames[3] = 0
    np.testing.assert_array_equal(data, windowed(frames, windows))


def test_alternating_windows_of_many_frames(tmp_path: Path) -> None:
    frames = images(1000, 8, 4)
    windows = [(1, 3), (0, 2)] * 500
    path = writer.write_recording(tmp_path, frames, windows=windows)
    with pytest.warns(RecordingWarning, match="frames are windows"):
        np.testing.assert_array_equal(raw(path), windowed(frames, windows))


def test_one_other_window_among_many_frames(tmp_path: Path) -> None:
    """It moves all frames behind it; so it is found even where not every header is looked at."""
    frames = images(5000, 4, 2)
    windows = [(0, 2)] * 5000
    windows[4321] = (1, 1)
    path = writer.write_recording(tmp_path, frames, windows=windows)
    with pytest.warns(RecordingWarning, match="frames are windows"):
        np.testing.assert_array_equal(raw(path), windowed(frames, windows))


def test_window_as_high_as_the_header_says(tmp_path: Path) -> None:
    """The header has the height of the window: the sensor's is known if it is the standard one."""
    frames = images(2, 264, 264)
    path = writer.write_recording(tmp_path, frames, windows=[(40, 20)] * 2, max_height=20)
    with pytest.warns(RecordingWarning, match="windows of 132 stored rows"):
        np.testing.assert_array_equal(raw(path), windowed(frames, [(40, 20)] * 2))
    small = images(2, 24, 8)
    path = writer.write_recording(tmp_path, small, windows=[(3, 5)] * 2, max_height=5, name="b")
    with pytest.warns(RecordingWarning, match="windows of 8 stored rows"):
        data = raw(path)
    np.testing.assert_array_equal(data[:, 3:13], np.delete(small, np.s_[8:16], 1)[:, 3:13])


def test_window_not_unfolded(tmp_path: Path) -> None:
    frames = images(3, 24, 8)
    path = writer.write_recording(tmp_path, frames, windows=[(3, 5)] * 3)
    expected = writer.in_stored_order(frames)
    expected[:, :3] = expected[:, 8:] = 0
    with pytest.warns(RecordingWarning, match="frames are windows"):
        np.testing.assert_array_equal(raw(path, unfold=False), expected)


def test_dark_frames_of_a_window(tmp_path: Path) -> None:
    frames, dark = images(4, 24, 8, low=100), images(3, 24, 8, seed=4)
    windows = [(3, 5)] * 4
    path = writer.write_recording(tmp_path, frames, dark, windows=windows)
    mean = dark.mean(axis=0, dtype="f4")
    with pytest.warns(RecordingWarning, match="frames are windows"):
        data = load(path)
    np.testing.assert_array_equal(data, windowed(frames - mean, windows))


@pytest.mark.parametrize("unfit", ["window", "rows", "columns", "none"])
def test_dark_frames_that_do_not_fit(tmp_path: Path, unfit: str) -> None:
    frames, dark = images(4, 24, 8), images(2, 24, 8, seed=4)
    path = writer.write_recording(tmp_path, frames, dark)
    shapes = {"rows": (2, 12, 8), "columns": (2, 24, 6), "none": (0, 24, 8), "window": (2, 24, 8)}
    writer.write_frms6(
        tmp_path / "scan_000.frms6",
        writer.in_stored_order(images(*shapes[unfit])),
        windows=[(1, 3)] * 2 if unfit == "window" else None,
    )
    match = "no dark frames that fit: those in scan_000.frms6|announces 2 dark frames"
    with pytest.warns(RecordingWarning, match=match):
        data = load(path)
    assert data.dtype == np.uint16
    np.testing.assert_array_equal(data, frames)


@pytest.mark.parametrize("said", [5, 200])
def test_heights_that_are_not_true(tmp_path: Path, said: int) -> None:
    """The size of the file is right where it is that of full frames."""
    frames = images(6, 24, 8)
    path = writer.write_recording(tmp_path, frames, heights=said)
    with pytest.warns(RecordingWarning, match="other numbers of rows than 12, but the file has"):
        np.testing.assert_array_equal(raw(path), frames)


def test_heights_of_zero(tmp_path: Path) -> None:
    frames = images(6, 24, 8)
    path = writer.write_recording(tmp_path, frames, heights=0)
    np.testing.assert_array_equal(raw(path), frames)


def test_damaged_frame_header(tmp_path: Path) -> None:
    frames = images(6, 24, 8)
    path = writer.write_recording(tmp_path, frames)
    file = tmp_path / "scan_001.frms6"
    patch(file, 1024 + 3 * (64 + 384) + 24, b"\xff" * 8)
    with pytest.warns(RecordingWarning, match="has the size of full frames, and is read as such"):
        np.testing.assert_array_equal(raw(path), frames)
    # without that size, what is behind cannot be trusted
    cut(file, 10)
    match = (
        "holds 3 of the 6 frames it announces; behind them, at byte 2368, there is no header|hold 3"
    )
    with pytest.warns(RecordingWarning, match=match):
        np.testing.assert_array_equal(raw(path), frames[:3])


# -- dark and gain -------------------------------------------------------------------------------


def test_describing_reads_no_dark_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dark = images(3, 24, 8, seed=4)
    path = writer.write_recording(tmp_path, images(4, 24, 8), dark)
    read: list[str] = []
    original = backends.read

    def counting(file: Any, *arguments: Any) -> Any:
        read.append(Path(file.path).name)
        return original(file, *arguments)

    monkeypatch.setattr(backends, "read", counting)
    recording = frms6.parse(path)
    raw(path)
    assert "scan_000.frms6" not in read
    assert recording.corrections is not None
    assert recording.corrections.dark is not None
    assert recording.corrections.dark.shape == (24, 8)
    np.testing.assert_array_equal(recording.corrections.dark, dark.mean(axis=0, dtype="f4"))


def test_dark_mean_of_many_frames(tmp_path: Path) -> None:
    """Sums that single precision cannot hold; LiberTEM's mean is off here."""
    dark = images(3000, 4, 2, seed=4)
    dark[:, 0, 0] = 16383
    path = writer.write_recording(tmp_path, images(4, 4, 2), dark)
    mean = dark_of(path)
    np.testing.assert_array_equal(mean, dark.mean(axis=0, dtype="f8").astype("f4"))
    assert mean[0, 0] == 16383


def test_more_dark_frames_than_scan_positions(tmp_path: Path) -> None:
    """LiberTEM adds up as many as there are scan positions, and divides by the number of all."""
    dark = images(37, 24, 20, seed=9)
    path = writer.write_recording(tmp_path, images(3, 3, 24, 20), dark)
    np.testing.assert_array_equal(dark_of(path), dark.mean(axis=0, dtype="f8").astype("f4"))


def test_dark_frames_of_another_recording(tmp_path: Path) -> None:
    """The file given is averaged, not the recording that it belongs to."""
    frames, dark = images(4, 24, 8, binning=2), images(3, 24, 8, binning=2, seed=4)
    path = writer.write_recording(tmp_path, frames, binning=2)
    writer.write_recording(tmp_path, frames[::-1], dark, binning=2, name="other", has_hdr=False)
    data = load(path, dark=tmp_path / "other_000.frms6")
    np.testing.assert_array_equal(data, frames - dark.mean(axis=0, dtype="f4"))


def test_dark_frames_alone(tmp_path: Path) -> None:
    frames, dark = images(3, 3, 24, 8), images(5, 24, 8, seed=4)
    path = writer.write_recording(tmp_path, frames, dark)
    np.testing.assert_array_equal(load(tmp_path / "scan_000.frms6", single_file=True), dark)
    np.testing.assert_array_equal(
        load(tmp_path / "scan_001.frms6", single_file=True), frames.reshape(9, 24, 8)
    )
    (tmp_path / "scan_001.frms6").unlink()
    for opened in (path, tmp_path / "scan_000.frms6"):
        with pytest.raises(FormatError, match=r"only dark frames .*no scan_001.*single_file=True"):
            load(opened)


def test_gain_without_dark(tmp_path: Path) -> None:
    frames, gain = images(4, 24, 8), np.random.default_rng(5).uniform(0.5, 2, (24, 8))
    path = writer.write_recording(tmp_path, frames)
    side = write_gain(tmp_path / "gain.csv", gain)
    with pytest.warns(RecordingWarning, match="no dark frames"):
        data = load(path, gain_map_path=side)
    np.testing.assert_array_equal(data, frames * gain.astype("f4"))
    np.testing.assert_array_equal(raw(path, gain_map_path=side), frames)
    assert str(side) in frms6.parse(path, gain_map_path=side).files


def test_gain_with_decimal_commas(tmp_path: Path) -> None:
    """LiberTEM: could not convert string to float."""
    frames, dark = images(4, 4, 2), images(1, 4, 2, seed=4)
    path = writer.write_recording(tmp_path, frames, dark)
    side = tmp_path / "gain.csv"
    side.write_text("1,5;2;1;1\n1;1;1;0,25\n\n")
    gain = np.array([[1.5, 1], [2, 1], [1, 1], [1, 0.25]], "f4")
    data = load(path, gain_map_path=side)
    np.testing.assert_array_equal(data, (frames - dark.astype("f4")) * gain)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("gain.csv", b"1;2\n1\n", "not a table of numbers"),
        ("gain.csv", b"1;two\n1;2\n", "not a table of numbers"),
        ("gain.csv", b"", "holds no image"),
        ("gain.csv", b"1;2\n3;4\n", r"gain has shape \(2, 2\), the frames \(4, 2\)"),
        ("gain.mat", b"", "not a readable MATLAB file"),
        ("gain.mat", b"MATLAB" * 100, "not a readable MATLAB file|version 7.3"),
        ("gain.png", b"", "neither .mat nor .csv"),
        ("gain", None, "does not exist"),
    ],
)
def test_unusable_gain(tmp_path: Path, name: str, content: bytes | None, match: str) -> None:
    path = writer.write_recording(tmp_path, images(4, 4, 2), images(1, 4, 2, seed=4))
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=match):
        load(path, gain_map_path=tmp_path / name)


def test_gain_variable_of_another_name(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io", reason="SciPy is not installed")
    path = writer.write_recording(tmp_path, images(4, 4, 2), images(1, 4, 2, seed=4))
    scipy_io.savemat(tmp_path / "gain.mat", {"gain": np.ones((4, 2)), "x": np.ones(3)})
    with pytest.raises(FormatError, match="has no variable GainMap; there are gain, x"):
        load(path, gain_map_path=tmp_path / "gain.mat")


def test_gain_without_scipy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = writer.write_recording(tmp_path, images(4, 4, 2), images(1, 4, 2, seed=4))
    (tmp_path / "gain.mat").write_bytes(b"MATLAB 5.0")
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(Unsupported, match=r"SciPy, .* is not installed.*pip install scipy"):
        load(path, gain_map_path=tmp_path / "gain.mat")


def test_libertems_keyword(tmp_path: Path) -> None:
    path = writer.write_recording(tmp_path, images(4, 4, 2))
    with pytest.raises(TypeError, match="here it is called corrections"):
        load(path, enable_offset_correction=False)


# -- unfolding, slices, options ------------------------------------------------------------------


@pytest.mark.parametrize("binning", [1, 2, 3, 4])
def test_every_pixel_is_where_the_rule_puts_it(tmp_path: Path, binning: int) -> None:
    """Slow and obvious: lower row j of the image is stored row h - 1 - j, from right to left."""
    h, w = 12 // binning, 10
    stored = np.arange(h * w, dtype="u2").reshape(1, h, w)
    path = writer.write_frms6(tmp_path / "scan_001.frms6", stored)
    image = raw(path, binning=binning)
    assert image.shape == (2 * h * binning, w // 2)
    for y, x in np.ndindex(image.shape):
        row = y // binning
        expected = stored[0, row, x] if row < h else stored[0, 2 * h - 1 - row, w - 1 - x]
        assert image[y, x] == expected


@pytest.mark.parametrize("binning", [1, 2, 4])
@pytest.mark.parametrize("flip_y", [False, True])
def test_parts_of_frames(tmp_path: Path, binning: int, flip_y: bool) -> None:
    """Rows that begin or end within a bin, lazily."""
    frames, dark = images(2, 3, 24, 10, binning=binning), images(2, 24, 10, binning=binning)
    path = writer.write_recording(tmp_path, frames, dark, binning=binning)
    options = {"nav_shape": (2, 3), "flip_y": flip_y, "lazy": True}
    (signal,) = frms6.file_reader(path, **options)
    expected = frames - dark.mean(axis=0, dtype="f4")
    expected = expected[..., ::-1, :] if flip_y else expected
    for rows in (slice(0, 24), slice(1, 2), slice(3, 23), slice(4, 20), slice(11, 14)):
        found = signal["data"][1:, :, rows, 2:7].compute()
        np.testing.assert_array_equal(found, expected[1:, :, rows, 2:7])
    with pytest.warns(RecordingWarning, match="2 lines of 3"):
        np.testing.assert_array_equal(raw(path, dtype="f8"), frames.astype("f8"))


def test_rows_of_a_lower_half_are_read_alone(tmp_path: Path, monkeypatch: Any) -> None:
    path = writer.write_recording(tmp_path, images(1, 24, 10))
    (signal,) = frms6.file_reader(path, lazy=True, corrections=False)
    lengths = []
    original = backends.read

    def counting(file: Any, offset: int, nbytes: int, backend: Any, *more: Any) -> Any:
        lengths.append(nbytes)
        return original(file, offset, nbytes, backend, *more)

    monkeypatch.setattr(backends, "read", counting)
    signal["data"][..., 20:, :].compute()
    assert lengths == [4 * 40]


@pytest.mark.parametrize("binning", [0, -1, 1.5, "2", True])
def test_binning_that_is_none(tmp_path: Path, binning: Any) -> None:
    path = writer.write_recording(tmp_path, images(1, 24, 10))
    with pytest.raises(ValueError, match="binning="):
        load(path, binning=binning)


def test_several_sensors(tmp_path: Path) -> None:
    path = writer.write_recording(tmp_path, images(4, 24, 10), ccds=2)
    with pytest.warns(RecordingWarning, match="2 sensors were read out"):
        raw(path)


# -- metadata, times, headers --------------------------------------------------------------------


def test_metadata(tmp_path: Path) -> None:
    path = writer.write_recording(tmp_path, images(3, 3, 24, 10, binning=2), binning=2)
    (signal,) = frms6.file_reader(path, corrections=False)
    metadata, original = signal["metadata"], signal["original_metadata"]
    assert metadata["General"]["title"] == "scan"
    assert metadata["General"]["date"] == "2016-03-04"
    assert metadata["General"]["time"] == "05:06:07.000000"
    assert metadata["General"]["time_zone"] == "UTC"
    assert metadata["Acquisition_instrument"]["TEM"]["dwell_time"] == pytest.approx(1e-3)
    assert metadata["Signal"]["signal_type"] == "electron_diffraction"
    assert original["frms6_header"]["dataset_id"] == "TEM"
    assert original["frms6_header"]["width"] == 20
    assert original["frms6_header"]["num_frames"] == 9
    assert original["frms6_first_frame"]["external_id"] == 100
    assert original["frms6_last_frame"]["index"] == 8
    assert original["frms6_last_frame"]["temperature"] == -1.25
    assert original["frms6_last_frame"]["bunch_id"] == 7008
    assert original["frms6_layout"] == {"stored_rows": 6, "binning": 2}
    assert original["measurementInfo"]["stemimagesize"] == "3x3"
    assert original["measurementInfo"]["readoutmode"] == '"bin: 2, windowing: 264 x 264"'
    assert [axis["units"] for axis in signal["axes"]] == ["", "", "px", "px"]
    assert original["rsciio_tem"]["scan"]["rule"] == "header"


def test_frame_headers_and_times(tmp_path: Path) -> None:
    path = writer.write_recording(tmp_path, images(9, 4, 2), images(2, 4, 2), files=(4,))
    found = frms6.frame_headers(path)
    assert found["index"].tolist() == list(range(9))
    assert found["external_id"].tolist() == list(range(100, 109))
    assert found["tv_usec"].tolist() == [1000 * i for i in range(9)]
    assert (found["tv_sec"] == writer.SECONDS).all()
    recording = frms6.parse(path)
    assert recording.times is not None
    moments = recording.times.read(2, 9).time_ns
    np.testing.assert_array_equal(moments, writer.SECONDS * 10**9 + np.arange(2, 9) * 10**6)
    assert len(frms6.frame_headers(tmp_path / "scan_000.frms6", single_file=True)) == 2


def test_files_of_the_recording(tmp_path: Path) -> None:
    path = writer.write_recording(tmp_path, images(9, 4, 2), images(2, 4, 2), files=(4,))
    names = [Path(file).name for file in frms6.parse(path).files]
    assert sorted(names) == ["scan.hdr", "scan_000.frms6", "scan_001.frms6", "scan_002.frms6"]


# -- recognised, refused -------------------------------------------------------------------------


def test_detect(tmp_path: Path) -> None:
    path = writer.write_recording(tmp_path, images(3, 3, 4, 2), images(2, 4, 2))
    for file in (path, tmp_path / "scan_000.frms6", tmp_path / "scan_001.frms6"):
        best = rsciio_tem.detect(file)[0]
        assert (best.format, best.confidence) == ("frms6", 0.99)
    mib_writer.write_mib(tmp_path / "other.mib", images(2, 64, 256), hdr={"frames": 2})
    assert rsciio_tem.detect(tmp_path / "other.hdr")[0].format == "mib"
    bare = tmp_path / "renamed.dat"
    bare.write_bytes((tmp_path / "scan_001.frms6").read_bytes())
    assert rsciio_tem.detect(bare)[0].format == "frms6"
    with pytest.warns(RecordingWarning, match="no .hdr says"):
        assert rsciio_tem.load(bare)[0]["data"].shape == (9, 4, 2)


@pytest.mark.parametrize("opened", ["scan.hdr", "scan_001.frms6"])
def test_hyperspy(tmp_path: Path, opened: str) -> None:
    hs = pytest.importorskip("hyperspy.api", reason="HyperSpy is not installed")
    frames = images(3, 3, 8, 6)
    writer.write_recording(tmp_path, frames, images(2, 8, 6, seed=4))
    signal = hs.load(tmp_path / opened, corrections=False)
    np.testing.assert_array_equal(signal.data, frames)


@pytest.mark.parametrize("version", [4, 5, 7])
def test_other_versions(tmp_path: Path, version: int) -> None:
    path = writer.write_recording(tmp_path, images(4, 4, 2), version=version)
    for opened in (path, tmp_path / "scan_001.frms6"):
        with pytest.raises(Unsupported, match=f"FRMS version {version}; only 6 is known"):
            load(opened)


@pytest.mark.parametrize(
    ("at", "content", "error", "match"),
    [
        (0, b"\x00\x08", NotThisFormat, "not an FRMS6 file"),
        (2, b"\x80\x00", NotThisFormat, "not an FRMS6 file"),
        (88, b"\x00\x00", FormatError, "0 columns, which are not two halves"),
        (88, b"\x07\x00", FormatError, "7 columns, which are not two halves"),
        (90, b"\x00\x00", FormatError, "frames of 0 rows"),
        (88, b"\xfe\xff\xff\xff", Truncated, "no complete frame"),
    ],
)
def test_damaged_header(
    tmp_path: Path, at: int, content: bytes, error: type[FormatError], match: str
) -> None:
    writer.write_recording(tmp_path, images(4, 4, 2))
    path = tmp_path / "scan_001.frms6"
    patch(path, at, content)
    with pytest.raises(error, match=match):
        load(path)


@pytest.mark.parametrize("size", [0, 3, 500, 1024, 1050, 1095])
@pytest.mark.parametrize("single_file", [False, True])
def test_file_without_a_frame(tmp_path: Path, size: int, single_file: bool) -> None:
    writer.write_recording(tmp_path, images(4, 4, 4))
    path = tmp_path / "scan_001.frms6"
    os.truncate(path, size)
    with pytest.raises(FormatError, match=r"ends inside its header|no complete frame|no \[measure"):
        load(path, single_file=single_file)


def test_hdr_alone(tmp_path: Path) -> None:
    path = writer.write_recording(tmp_path, images(4, 4, 2))
    (tmp_path / "scan_001.frms6").unlink()
    with pytest.raises(FormatError, match=r"has no scan_000.frms6, scan_001.frms6, … beside it"):
        load(path)


def test_files_of_different_size(tmp_path: Path) -> None:
    frames = images(4, 4, 2)
    path = writer.write_recording(tmp_path, frames)
    writer.write_frms6(tmp_path / "scan_002.frms6", writer.in_stored_order(images(4, 8, 2)))
    with pytest.warns(
        RecordingWarning, match=r"a file is not read: .*scan_002.*\(4, 4\).*\(2, 4\)"
    ):
        np.testing.assert_array_equal(raw(path), frames)
    with pytest.raises(FormatError, match="single_file=True"):
        load(tmp_path / "scan_002.frms6")
