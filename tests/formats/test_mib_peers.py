# SPDX-License-Identifier: GPL-3.0-or-later
"""What other readers of Merlin recordings get wrong, one test for each, shown to be right here.

The findings were made with LiberTEM 0.16 and RosettaSciIO 0.15, some are from their issue lists
and those of pyxem.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from writers import mib as writer

from rsciio_tem.errors import RecordingWarning
from rsciio_tem.formats import mib


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(19)


def read(path: Any, **options: Any) -> dict[str, Any]:
    (signal,) = mib.file_reader(path, **options)
    return signal


def stack(count: int) -> np.ndarray:
    return np.arange(count)[:, np.newaxis, np.newaxis] + np.zeros((1, 4, 16), int)


def positions(signal: dict[str, Any]) -> list[Any]:
    return np.asarray(signal["data"])[..., 0, 0].tolist()


@pytest.mark.parametrize(("layout", "shape"), [("1x1", (256, 256)), ("2x2", (512, 512))])
@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("backend", ["auto", "mmap", "buffered", "direct"])
def test_1_raw_1_bit_of_any_frame_count(
    tmp_path: Path,
    rng: np.random.Generator,
    layout: str,
    shape: tuple[int, int],
    count: int,
    backend: str,
) -> None:
    """LiberTEM's default backend wants a multiple of 512 or 1024 frames, and gives uint64."""
    frames = rng.integers(0, 2, (count, *shape))
    path = writer.write_mib(tmp_path / "a.mib", frames, 1, "raw", layout)
    data = read(path, io_backend=backend, nav_shape=(count,))["data"]
    assert data.dtype == np.uint8
    np.testing.assert_array_equal(data, frames[:, ::-1])


def test_2_raw_24_bit_beyond_the_first_frame_and_beyond_16_bit(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """LiberTEM gives values modulo 65536, and garbage from the second frame on."""
    frames = rng.integers(1 << 16, 1 << 24, (4, 256, 256))
    path = writer.write_mib(tmp_path / "a.mib", frames, 24, "raw")
    data = read(path)["data"]
    assert data.dtype == np.uint32
    np.testing.assert_array_equal(data, frames[:, ::-1])
    np.testing.assert_array_equal(read(path, lazy=True)["data"][3].compute(), frames[3, ::-1])


def test_3_quad_raw_24_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    """NotImplementedError in LiberTEM."""
    frames = rng.integers(0, 1 << 24, (2, 512, 512))
    path = writer.write_mib(tmp_path / "a.mib", frames, 24, "raw", "2x2")
    with pytest.warns(RecordingWarning, match="undocumented"):
        np.testing.assert_array_equal(read(path)["data"], frames[:, ::-1])


@pytest.mark.parametrize("layout", ["   Nx1", "  Nx1G", "   2x1", "   3x1", "   1x2"])
@pytest.mark.parametrize("chips", [2, 3, 4])
def test_3_processed_chips_in_a_row(
    tmp_path: Path, rng: np.random.Generator, layout: str, chips: int
) -> None:
    """LiberTEM takes N for a number; it refuses 2x1 and 3x1."""
    frames = rng.integers(0, 4096, (2, 16, 256 * chips))
    path = writer.write_mib(tmp_path / "a.mib", frames, 12, layout="Nx1", chips=chips)
    path.write_bytes(path.read_bytes().replace(b",   Nx1,", f",{layout},".encode()))
    np.testing.assert_array_equal(read(path)["data"], frames[:, ::-1])


def test_4_header_padded_with_spaces(tmp_path: Path) -> None:
    """ValueError in LiberTEM."""
    path = writer.write_mib(tmp_path / "a.mib", stack(3), 12, pad=b" ")
    assert positions(read(path)) == [0, 1, 2]


@pytest.mark.parametrize("through", [".mib", ".hdr"])
@pytest.mark.parametrize(
    ("hdr", "expected"),
    [
        ({"frames_per_trigger": 0}, (12,)),  # 4, 6: ZeroDivisionError in both
        ({"drop": ("Frames per Trigger",)}, (12,)),  # 4, 6: KeyError in both
        ({"micro": True, "frames_per_trigger": 3}, (4, 3)),  # 6: UnicodeDecodeError in RosettaSciIO
        ({"scan_x": 3, "scan_y": 4}, (4, 3)),  # 6: ignored by RosettaSciIO
        ({"frames": 0, "frames_per_trigger": 0}, (12,)),
    ],
    ids=str,
)
def test_4_and_6_hdr(
    tmp_path: Path, hdr: dict[str, Any], expected: tuple[int, ...], through: str
) -> None:
    path = writer.write_mib(tmp_path / "a.mib", stack(12), 6, hdr=hdr)
    assert read(path.with_suffix(through))["data"].shape[:-2] == expected


def test_4_frames_per_trigger_that_do_not_divide_are_told(tmp_path: Path) -> None:
    """LiberTEM makes (2, 5) of twelve frames and says nothing."""
    path = writer.write_mib(tmp_path / "a.mib", stack(12), 6, hdr={"frames_per_trigger": 5})
    with pytest.warns(RecordingWarning, match="2 frames of the next line|but one entry"):
        assert positions(read(path)) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


@pytest.mark.parametrize("depth", [1, 6, 12, 24])
@pytest.mark.parametrize(("layout", "shape"), [("1x1", (256, 256)), ("2x2", (512, 512))])
def test_5_raw(
    tmp_path: Path, rng: np.random.Generator, depth: int, layout: str, shape: tuple[int, int]
) -> None:
    """NotImplementedError in RosettaSciIO."""
    frames = rng.integers(0, 1 << depth, (2, *shape))
    path = writer.write_mib(tmp_path / "a.mib", frames, depth, "raw", layout)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        np.testing.assert_array_equal(read(path)["data"], frames[:, ::-1])


@pytest.mark.parametrize("chips", [1, 2, 3, 4])
@pytest.mark.parametrize("more", [0, 128, 256])
def test_5_header_of_any_size(
    tmp_path: Path, rng: np.random.Generator, chips: int, more: int
) -> None:
    """RosettaSciIO knows 384 and 768 bytes; else it fails or gives wrong pixels."""
    frames = rng.integers(0, 4096, (3, 4, 256 * chips))
    path = writer.write_mib(
        tmp_path / "a.mib", frames, 12, layout="Nx1", data_offset=256 + 128 * chips + more
    )
    np.testing.assert_array_equal(read(path)["data"], frames[:, ::-1])


def test_5_header_without_extension(tmp_path: Path) -> None:
    """ValueError in RosettaSciIO."""
    path = writer.write_mib(tmp_path / "a.mib", stack(3), 12, mq1a=False, exposures_ns=2_000_000)
    signal = read(path)
    assert positions(signal) == [0, 1, 2]
    assert signal["metadata"]["Acquisition_instrument"]["dwell_time"] == 0.002
    assert signal["metadata"]["General"]["date"] == "2021-05-07"


def test_5_pixels_of_64_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    """RosettaSciIO takes them for float64."""
    frames = rng.integers(0, 1 << 63, (3, 4, 16), dtype=np.uint64)
    path = writer.write_mib(tmp_path / "a.mib", frames, 24, pixel_type="U64")
    data = read(path)["data"]
    assert data.dtype == np.uint64
    np.testing.assert_array_equal(data, frames[:, ::-1])


@pytest.mark.parametrize("seed", range(20))
def test_7_jitter_makes_no_scan(tmp_path: Path, seed: int) -> None:
    """RosettaSciIO's shape of an internally triggered series depends on the clock's jitter."""
    times, exposures = writer.scan_times(
        (1, 9), dwell_ns=2_095_240, jitter_ns=10, rng=np.random.default_rng(seed)
    )
    path = writer.write_mib(
        tmp_path / "a.mib", stack(9), 24, times_ns=times, exposures_ns=exposures
    )
    assert read(path)["data"].shape[:-2] == (9,)


@pytest.mark.parametrize("gap_ns", [20_000, 50_000_000])
def test_7_short_line_gaps_make_one(tmp_path: Path, rng: np.random.Generator, gap_ns: int) -> None:
    """A real line end was late by 0.02 % of the step."""
    times, exposures = writer.scan_times((2, 4), 102_000_000, gap_ns, rng=rng)
    path = writer.write_mib(
        tmp_path / "a.mib", stack(8), 6, times_ns=times, exposures_ns=exposures, hdr={}
    )
    assert positions(read(path)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("opened", ["s.mib", "s1.mib", "s2.mib", "s.hdr"])
def test_8_set_of_files(tmp_path: Path, opened: str) -> None:
    """RosettaSciIO loads one file, and finds no .hdr for the second."""
    frames = stack(12)
    for i, name in enumerate(("s.mib", "s1.mib", "s2.mib")):
        times = writer.START_NS + np.arange(4 * i, 4 * i + 4) * 1_000_000
        part = frames[4 * i : 4 * i + 4]
        writer.write_mib(tmp_path / name, part, 6, first_sequence=4 * i + 1, times_ns=times)
    (tmp_path / "s.hdr").write_bytes(writer.hdr_text(12, 6, 6))
    # LiberTEM merges whatever begins alike
    writer.write_mib(tmp_path / "s_U08.mib", frames, 6)
    writer.write_mib(tmp_path / "s_U16.mib", frames, 12)
    signal = read(tmp_path / opened)
    assert positions(signal) == np.arange(12).reshape(2, 6).tolist()
    assert "hdr_file" in signal["original_metadata"]


def test_8_files_that_all_begin_at_one_are_not_merged(tmp_path: Path) -> None:
    """LiberTEM makes ten frames of four."""
    for name, count in (("a1.mib", 4), ("a2.mib", 6)):
        writer.write_mib(tmp_path / name, stack(count), 6)
    assert positions(read(tmp_path / "a1.mib")) == [0, 1, 2, 3]
    assert positions(read(tmp_path / "a2.mib")) == [0, 1, 2, 3, 4, 5]


def test_9_interrupted_recording_is_told_and_can_be_filled(tmp_path: Path) -> None:
    """Both take what there is; LiberTEM fills with zeros, RosettaSciIO drops the partial line."""
    path = writer.write_mib(
        tmp_path / "a.mib", stack(12) + 1, 6, hdr={"frames_per_trigger": 4}, truncate=100
    )
    with pytest.warns(RecordingWarning) as told:
        assert positions(read(path)) == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert [w for w in told if "last frame is incomplete" in str(w.message)]
    assert [w for w in told if "only 2 of 3 lines are complete" in str(w.message)]
    with pytest.warns(RecordingWarning):
        assert positions(read(path, nav_shape=(3, 4)))[2] == [9, 10, 11, 0]
    with pytest.warns(RecordingWarning):
        signal = read(path, nav_shape=(3, 4), fill_value=255)
    assert positions(signal)[2] == [9, 10, 11, 255]
    mask = signal["original_metadata"]["rsciio_tem"]["missing_mask"]
    assert np.argwhere(mask).tolist() == [[2, 3]]


def test_10_one_trigger_for_the_whole_scan(tmp_path: Path, rng: np.random.Generator) -> None:
    """Frames per Trigger is that of the acquisition: only times tell."""
    times, exposures = writer.scan_times((3, 4), rng=rng)
    path = writer.write_mib(
        tmp_path / "a.mib",
        stack(12),
        6,
        times_ns=times,
        exposures_ns=exposures,
        hdr={"frames_per_trigger": 12},
    )
    assert positions(read(path)) == np.arange(12).reshape(3, 4).tolist()
    assert read(path, navigation_shape=(6, 2))["data"].shape[:2] == (2, 6)


@pytest.mark.parametrize("cut", [0, 3, 100])
def test_11_long_first_frame_and_flyback(tmp_path: Path, cut: int) -> None:
    """pyxem issue 634: 0.326 s at first, 0.9 ms dwell, 1.8 ms at each line's beginning."""
    exposures = writer.flyback_exposures(20, 257, 41)
    exposures = exposures[: len(exposures) - cut]
    frames = np.arange(len(exposures))[:, np.newaxis, np.newaxis] % 251 + np.zeros((1, 1, 8), int)
    path = writer.write_mib(tmp_path / "a.mib", frames, 12, exposures_ns=exposures)
    lines = 21 if not cut else 20
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept = read(path, lazy=True, flyback="keep")
        dropped = read(path, lazy=True)
    assert any("line 0 columns 0 to 214 were not recorded" in str(w.message) for w in caught)
    assert kept["data"].shape == (lines, 257, 1, 8)
    assert dropped["data"].shape == (lines, 256, 1, 8)
    grid = (41 + np.arange(20 * 257).reshape(20, 257)) % 251
    np.testing.assert_array_equal(kept["data"][1:, :, 0, 0], grid[: lines - 1])
    np.testing.assert_array_equal(dropped["data"][1:, :, 0, 0], grid[: lines - 1, 1:])
    assert dropped["data"][0, -41:, 0, 0].compute().tolist() == list(range(41))


def test_11_short_lines_at_the_start(tmp_path: Path) -> None:
    """pyxem issue 846: lines of a 1-bit scan that are too short until the scan has settled."""
    exposures = np.full(3 + 7 + 12 * 10, 10**6)
    starts = [0, 3, *range(10, 130, 10)]
    exposures[starts] = 2 * 10**6
    frames = np.arange(130)[:, np.newaxis, np.newaxis] + np.zeros((1, 1, 8), int)
    path = writer.write_mib(tmp_path / "a.mib", frames, 12, exposures_ns=exposures)
    with pytest.warns(RecordingWarning, match="8 frames before the first line"):
        signal = read(path)
    assert positions(signal) == np.arange(10, 130).reshape(12, 10)[:, 1:].tolist()


def test_11_one_frame_more_per_line(tmp_path: Path) -> None:
    """RosettaSciIO issues 270 and 272: 257 frames per line of 256."""
    frames = np.arange(257 * 3)[:, np.newaxis, np.newaxis] + np.zeros((1, 1, 8), int)
    path = writer.write_mib(tmp_path / "a.mib", frames, 12)
    grid = np.arange(257 * 3).reshape(3, 257)
    assert positions(read(path, navigation_shape=(256, 3), line_skip=1)) == grid[:, :256].tolist()
    # and if the frame too many comes first
    signal = read(path, navigation_shape=(256, 3), line_skip=1, first_frame=1)
    assert positions(signal) == grid[:, 1:].tolist()


@pytest.mark.parametrize("count", [16, 64])
def test_12_no_evidence_is_no_scan(tmp_path: Path, count: int) -> None:
    """Without exposures others take the square root of the number of frames."""
    path = writer.write_mib(tmp_path / "a.mib", stack(count), 6, mq1a=False)
    signal = read(path)
    assert signal["data"].shape[:-2] == (count,)
    scan = signal["original_metadata"]["rsciio_tem"]["scan"]
    assert scan["rule"] == "stack"
    assert scan["reason"] == "nothing tells a scan shape"
