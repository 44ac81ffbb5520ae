# SPDX-License-Identifier: GPL-3.0-or-later
"""TVIPS: series, frame headers of all lengths, frames placed by their counters, writing."""

from __future__ import annotations

import datetime
import errno
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from writers import tvips as writer
from writers.tvips import raster, write_tvips

import rsciio_tem
from rsciio_tem.errors import FormatError, NotThisFormat, RecordingWarning, Truncated, Unsupported
from rsciio_tem.formats import tvips
from rsciio_tem.formats.tvips.header import FRAME
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.storage import backends
from rsciio_tem.writing import stream

SIG = (6, 8)


def stack(count: int, sig: tuple[int, int] = SIG, dtype: str = "u2") -> np.ndarray:
    """Frames whose first pixel is their number."""
    frames = np.random.default_rng(count).integers(0, 200, (count, *sig)).astype(dtype)
    frames[:, 0, 0] = np.arange(count)
    return frames


def load(path: Any, **options: Any) -> dict[str, Any]:
    (signal,) = tvips.file_reader(path, **options)
    return signal


def numbers(signal: dict[str, Any]) -> list[Any]:
    return np.asarray(signal["data"])[..., 0, 0].tolist()


def upstream(path: Path, **options: Any) -> dict[str, Any]:
    from rsciio.tvips import file_reader

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return file_reader(str(path), **options)[0]


@pytest.fixture(scope="module")
def libertem() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api = pytest.importorskip("libertem.api")
        return api.Context.make_with("inline")


def by_libertem(context: Any, path: Path, **options: Any) -> np.ndarray:
    """All frames as LiberTEM delivers them."""
    from libertem.udf.raw import PickUDF

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = context.load("tvips", str(path), **options)
        shape = tuple(data.shape)
        picked = context.run_udf(data, PickUDF(), roi=np.ones(shape[:-2], bool))
    return np.array(picked["intensity"].data).reshape(shape)


# ---------------------------------------------------------------- the test writer has witnesses


@pytest.mark.parametrize("length", [60, 108, 128])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_written_files_read_alike_by_rosettasciio(tmp_path: Path, length: int, dtype: str) -> None:
    frames = stack(12, dtype=dtype)
    path = write_tvips(tmp_path / "a_000.tvips", frames, frame_header_bytes=length, files=(5, 4, 3))
    theirs = upstream(path)
    np.testing.assert_array_equal(theirs["data"], frames)
    ours = load(path)
    np.testing.assert_array_equal(ours["data"], frames, strict=True)
    for key in ("name", "units", "navigate", "size", "scale", "offset"):
        values = [axis[key] for axis in ours["axes"]]
        if key in ("scale", "offset"):
            np.testing.assert_allclose(values, [float(a[key]) for a in theirs["axes"]], rtol=1e-3)
        else:
            assert values == [axis[key] for axis in theirs["axes"]]
    scan, axes = upstream(path, scan_shape=(3, 4))["axes"], load(path, scan_shape=(3, 4))["axes"]
    assert [(a["name"], a["navigate"]) for a in axes] == [(a["name"], a["navigate"]) for a in scan]
    assert [a["units"] for a in axes[2:]] == [a["units"] for a in scan[2:]]
    # the file does not say how far apart positions are: no step of 1 nm, as RosettaSciIO has it
    assert [(a["scale"], a["units"]) for a in axes[:2]] == [(1, ""), (1, "")]


@pytest.mark.parametrize(("version", "length"), [(1, 12), (2, 60), (2, 128)])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_written_files_read_alike_by_libertem(
    tmp_path: Path, libertem: Any, version: int, length: int, dtype: str
) -> None:
    frames = stack(12, dtype=dtype)
    path = write_tvips(tmp_path / "a_000.tvips", frames, version, length)
    theirs = by_libertem(libertem, path, nav_shape=(3, 4), sync_offset=0)
    np.testing.assert_array_equal(theirs.reshape(frames.shape), frames)
    ours = load(path, nav_shape=(3, 4))["data"]
    np.testing.assert_array_equal(ours.reshape(frames.shape), frames)


@pytest.mark.parametrize("sync_offset", [-3, 0, 2])
def test_sync_offset_as_in_libertem(tmp_path: Path, libertem: Any, sync_offset: int) -> None:
    frames = stack(12)
    path = write_tvips(tmp_path / "a_000.tvips", frames)
    expected = np.zeros_like(frames)
    for i in range(12):
        if 0 <= i + sync_offset < 12:
            expected[i] = frames[i + sync_offset]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        data = load(path, nav_shape=(3, 4), sync_offset=sync_offset)["data"]
    np.testing.assert_array_equal(data.reshape(frames.shape), expected)


# ---------------------------------------------------------------- real files


@pytest.mark.parametrize(
    ("name", "shape", "total"),
    [
        ("test_tvips_2233_000", (4, 3, 3), 630),
        ("test_tvips_2345_000", (6, 4, 5), 7140),
        ("test_tvips_2345_split_000", (6, 4, 5), 7140),
        ("test_tvips_2345_split_001", (6, 4, 5), 7140),
        ("test_tvips_2345_split_002", (6, 4, 5), 7140),
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_real_files(
    realdata: Path, name: str, shape: tuple[int, ...], total: int, lazy: bool
) -> None:
    path = realdata / "rosettasciio" / "tvips" / f"{name}.tvips"
    if not path.is_file():
        pytest.skip(f"no {path}")
    data = np.asarray(load(path, lazy=lazy)["data"])
    assert (data.shape, data.dtype, int(data.sum())) == (shape, np.uint16, total)
    first = path.with_name(name[:-3] + "000.tvips")
    np.testing.assert_array_equal(data, upstream(first)["data"])


# ---------------------------------------------------------------- series


def test_series_through_any_member(tmp_path: Path) -> None:
    """LiberTEM: "Unknown TVIPS header version"; RosettaSciIO: ValueError."""
    frames = stack(10)
    write_tvips(tmp_path / "a_000.tvips", frames, files=(4, 0, 5, 1))
    write_tvips(tmp_path / "ab_000.tvips", frames[:2])  # a stranger
    for number in range(4):
        signal = load(tmp_path / f"a_{number:03d}.tvips")
        assert numbers(signal) == list(range(10))
        assert signal["metadata"]["General"]["original_filename"] == "a_000.tvips"
        names = [Path(f).name for f in signal["original_metadata"]["rsciio_tem"]["files"]]
        assert names == [f"a_{i:03d}.tvips" for i in range(4)]
    assert rsciio_tem.detect(tmp_path / "a_002.tvips")[0].format == "tvips"
    assert numbers(rsciio_tem.load(tmp_path / "a_002.tvips")[0]) == list(range(10))


def test_series_without_its_first_file(tmp_path: Path) -> None:
    path = write_tvips(tmp_path / "a_000.tvips", stack(6), files=(3, 3))
    path.unlink()
    with pytest.raises(FormatError, match=r"whose first file, a_000\.tvips, is not beside it"):
        load(tmp_path / "a_001.tvips")
    assert rsciio_tem.detect(tmp_path / "a_001.tvips") == []


def test_series_with_a_hole(tmp_path: Path) -> None:
    path = write_tvips(tmp_path / "a_000.tvips", stack(8), files=(2, 2, 2, 2))
    (tmp_path / "a_002.tvips").unlink()
    with pytest.warns(RecordingWarning, match=r"a_002\.tvips is missing.*1 behind it are not"):
        assert numbers(load(path)) == [0, 1, 2, 3]
    with pytest.raises(FormatError, match=r"a_002\.tvips is missing"):
        load(tmp_path / "a_003.tvips")


def test_next_recording_with_the_next_number(tmp_path: Path) -> None:
    path = write_tvips(tmp_path / "a_000.tvips", stack(3))
    other = write_tvips(tmp_path / "b_000.tvips", stack(5))
    shutil.move(other, tmp_path / "a_001.tvips")
    assert numbers(load(path)) == [0, 1, 2]
    assert numbers(load(tmp_path / "a_001.tvips")) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["recording.tvips", "a_1.tvips", "scan12.tvips", "a_007.TVIPS"])
def test_file_of_any_name(tmp_path: Path, name: str) -> None:
    """ValueError in both peers."""
    path = write_tvips(tmp_path / "x_000.tvips", stack(3)).rename(tmp_path / name)
    assert numbers(load(path)) == [0, 1, 2]


@pytest.mark.parametrize("cut", [1, 100, 2 * 48 + 127])
def test_truncated(tmp_path: Path, cut: int) -> None:
    """AssertionError in LiberTEM, ValueError in RosettaSciIO."""
    path = write_tvips(tmp_path / "a_000.tvips", stack(5), truncate=cut)
    with pytest.warns(RecordingWarning, match=r"last frame is incomplete and ignored"):
        assert numbers(load(path, lazy=True)) == [0, 1, 2, 3]


def test_file_inside_a_series_that_is_cut(tmp_path: Path) -> None:
    path = write_tvips(tmp_path / "a_000.tvips", stack(6), files=(2, 2, 2))
    os.truncate(tmp_path / "a_001.tvips", 300)
    with pytest.warns(RecordingWarning, match=r"a_001\.tvips ends inside .* move up"):
        assert numbers(load(path)) == [0, 1, 2, 4, 5]


def test_header_without_a_frame(tmp_path: Path) -> None:
    path = write_tvips(tmp_path / "a_000.tvips", stack(1), truncate=1)
    with pytest.raises(Truncated, match="no complete one"):
        load(path)


def test_long_series_header(tmp_path: Path) -> None:
    path = write_tvips(tmp_path / "a_000.tvips", stack(3), size=512)
    assert numbers(load(path)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("header", "error", "match"),
    [
        ({"version": 3}, Unsupported, "version 3"),
        ({"bits": 12}, Unsupported, "12 bits"),
        ({"frame_header": 8}, FormatError, "frame headers of 8 bytes"),
        ({"filler": b"x", "version": 9}, NotThisFormat, "does not begin with a TVIPS header"),
    ],
)
def test_headers_that_cannot_be_read(
    tmp_path: Path, header: dict[str, Any], error: type[Exception], match: str
) -> None:
    path = tmp_path / "a_000.tvips"
    path.write_bytes(writer.series_header(SIG, **header) + bytes(5000))
    with pytest.raises(error, match=match):
        load(path)


# ---------------------------------------------------------------- scan coordinates


def scan_file(tmp_path: Path, scan: list[Any], **options: Any) -> Path:
    frames = stack(len(scan))
    return write_tvips(tmp_path / "s_000.tvips", frames, scan=scan, **options)


def quietly(path: Path, **options: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        return load(path, **options)


def test_scan_coordinates_as_in_libertem(tmp_path: Path, libertem: Any) -> None:
    path = scan_file(tmp_path, [(0, 0)] * 3 + raster(3, 5))
    theirs = by_libertem(libertem, path)
    signal = load(path)
    assert signal["data"].shape == (3, 5, *SIG)
    np.testing.assert_array_equal(signal["data"], theirs)
    axes = signal["axes"][:2]
    assert [(a["name"], a["units"], a["scale"]) for a in axes] == [("y", "", 1), ("x", "", 1)]
    found = signal["original_metadata"]["tvips_scan"]
    assert (found["first_frame"], found["repeated"], found["blank"]) == (3, 0, 0)


@pytest.mark.parametrize("length", [60, 72, 75])
def test_no_scan_coordinates_in_short_headers(tmp_path: Path, length: int) -> None:
    """LiberTEM reads them from the pixels then."""
    path = scan_file(tmp_path, raster(3, 4), frame_header_bytes=length)
    assert load(path)["data"].shape == (12, *SIG)
    with pytest.raises(FormatError, match="no scan coordinates"):
        load(path, placement="scan")


def test_waiting_frames_do_not_make_the_scan_higher(tmp_path: Path, libertem: Any) -> None:
    """LiberTEM counts frames after the scan as lines."""
    path = scan_file(tmp_path, raster(3, 4) + [(2, 3)] * 9)
    assert by_libertem(libertem, path).shape[0] == 5
    assert numbers(load(path)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_repeated_positions_do_not_shift_the_rest(tmp_path: Path, libertem: Any) -> None:
    """LiberTEM makes 5 x 4 of a scan of 4 x 4 with one repetition in each line."""
    scan = [p for y in range(4) for p in [*[(y, x) for x in range(4)], (y, 3)]]
    path = scan_file(tmp_path, scan)
    assert by_libertem(libertem, path).shape[:2] == (5, 4)
    with pytest.warns(RecordingWarning, match="3 frames were recorded at a scan position"):
        signal = load(path)
    assert numbers(signal) == [[5 * y + x for x in range(4)] for y in range(4)]
    last = quietly(path, duplicates="last")
    assert [line[3] for line in numbers(last)] == [4, 9, 14, 18]
    assert numbers(load(path, placement="stored")) == list(range(20))


def test_missing_positions_are_blank(tmp_path: Path) -> None:
    scan = [p for p in raster(4, 5) if p not in [(1, 2), (2, 0), (2, 1)]]
    path = scan_file(tmp_path, scan)
    with pytest.warns(RecordingWarning, match=r"3 of 20 scan positions \(4, 5\) have no frame"):
        signal = load(path, fill_value=999)
    flat = np.array(numbers(signal))
    assert np.argwhere(flat == 999).tolist() == [[1, 2], [2, 0], [2, 1]]
    assert flat[flat != 999].tolist() == list(range(17))
    assert signal["original_metadata"]["tvips_scan"]["blank"] == 3


def test_frame_lost_soon_behind_one_recorded_twice(tmp_path: Path) -> None:
    """Camera and scan were not in step: all is right again behind the frame that was lost."""
    every = raster(64, 64)
    scan = sorted([*(p for p in every if p != (32, 1)), (31, 62)])
    path = write_tvips(tmp_path / "s_000.tvips", stack(len(scan), (2, 2)), scan=scan)
    with pytest.warns(RecordingWarning, match=r"1 of 4096 scan positions|1 frames were recorded"):
        flat = np.array(numbers(load(path, fill_value=9999))).reshape(-1)
    assert flat.tolist() == [scan.index(p) if p in scan else 9999 for p in every]


@pytest.mark.parametrize("edge", [2, 50])  # in blocks; straight from the file
def test_headers_between_those_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edge: int
) -> None:
    """No frame goes to another position in silence, in whichever file of the series it is."""
    monkeypatch.setattr("rsciio_tem.formats.tvips.placement.READ_ALL_BELOW", 50)
    monkeypatch.setattr("rsciio_tem.formats.tvips.placement.READ_FIRST", 25)
    monkeypatch.setattr("rsciio_tem.formats.tvips.placement.SAMPLED_HEADERS", 7)
    scan = raster(10, 10)
    scan[77], scan[78] = scan[78], scan[77]
    frames = stack(100, (edge, edge))
    path = write_tvips(tmp_path / "s_000.tvips", frames, scan=scan, files=(40, 30, 30))
    assert isinstance(tvips.parse(path).frames, FrameTable)
    lazy = load(path, lazy=True)["data"]
    for ask in (
        lambda: load(path),
        lazy.compute,
        lazy[7, 7].compute,
        lazy[7, :, 1:].compute,
        lazy.sum(axis=(0, 1)).compute,
        lambda: rsciio_tem.reduce(path, "navigator"),
    ):
        with pytest.raises(FormatError, match="frame 77 has the scan coordinates x = 8, y = 7"):
            ask()
    assert lazy[:7].compute()[..., 0, 0].reshape(-1).tolist() == list(range(70))
    right = np.array(numbers(load(path, placement="scan"))).reshape(-1)
    assert right.tolist() == [*range(77), 78, 77, *range(79, 100)]
    assert np.ravel(numbers(load(path, placement="stored"))).tolist() == list(range(100))


@pytest.mark.parametrize("missing", ["auto", "crop", "fill", "raise"])
def test_interrupted_scan(tmp_path: Path, missing: str) -> None:
    path = scan_file(tmp_path, raster(4, 5)[:17])
    if missing == "raise":
        with pytest.raises(FormatError, match="3 of 20 scan positions"):
            load(path, missing=missing)
        return
    with pytest.warns(RecordingWarning):
        data = np.array(numbers(load(path, missing=missing)))
    if missing == "fill":
        assert data.reshape(-1).tolist() == [*range(17), 0, 0, 0]
    else:
        assert data.reshape(-1).tolist() == list(range(15))


@pytest.mark.parametrize("along", ["x", "y"])
def test_winding_coordinates(tmp_path: Path, along: str) -> None:
    scan = raster(4, 5, winding=True)
    if along == "y":
        scan = [(x, y) for y, x in scan]
    path = scan_file(tmp_path, [scan[0]] * 2 + scan)
    data = np.array(numbers(load(path)))
    expected = np.zeros(data.shape, int)
    for i, (y, x) in enumerate(scan):
        expected[y, x] = i + 2
    np.testing.assert_array_equal(data, expected)


def test_scan_along_columns(tmp_path: Path) -> None:
    path = scan_file(tmp_path, [(y, x) for x in range(5) for y in range(4)])
    assert numbers(load(path)) == np.arange(20).reshape(5, 4).T.tolist()


def test_rest_of_an_earlier_scan(tmp_path: Path) -> None:
    """Frames left over from before must not take the place of the scan's own."""
    path = scan_file(tmp_path, [(2, 1), (2, 2), (2, 3), *raster(3, 4)])
    with pytest.warns(RecordingWarning, match="3 frames belong to 1 further scans"):
        assert np.array(numbers(load(path))).reshape(-1).tolist() == list(range(3, 15))


def test_waiting_elsewhere_in_the_first_line(tmp_path: Path) -> None:
    path = scan_file(tmp_path, [(0, 3)] * 4 + raster(3, 4))
    assert np.array(numbers(load(path))).reshape(-1).tolist() == list(range(4, 16))


def test_scans_one_after_the_other(tmp_path: Path) -> None:
    path = scan_file(tmp_path, [*raster(2, 3), *raster(2, 3), (1, 2), *raster(2, 3), (0, 0)])
    data = np.array(numbers(load(path)))
    assert data.shape == (3, 2, 3)
    assert data[:, 0, 0].tolist() == [0, 6, 13]


def test_lines_one_after_the_other(tmp_path: Path) -> None:
    path = scan_file(tmp_path, [(0, x) for _ in range(3) for x in range(5)])
    assert np.array(numbers(load(path))).tolist() == np.arange(15).reshape(3, 5).tolist()


def test_counting_from_one(tmp_path: Path) -> None:
    path = scan_file(tmp_path, [(y + 1, x + 1) for y, x in raster(3, 4)])
    signal = load(path)
    assert signal["data"].shape[:2] == (3, 4)
    assert signal["original_metadata"]["tvips_scan"]["origin"] == [1, 1]


@pytest.mark.parametrize(
    "scan",
    [
        [(0, 0)] * 12,
        [(0.25 * i, 0.5) for i in range(12)],
        [(float("nan"), i) for i in range(12)],
        [(-1, -1 - i) for i in range(12)],
        [(137 * i % 60000, 911 * i % 60000) for i in range(12)],
    ],
    ids=["constant", "fractions", "NaN", "negative", "scattered"],
)
def test_coordinates_that_are_no_scan(tmp_path: Path, scan: list[Any]) -> None:
    assert load(scan_file(tmp_path, scan))["data"].shape == (12, *SIG)


def test_frames_without_coordinates_are_left_out(tmp_path: Path) -> None:
    path = scan_file(tmp_path, [(-1, -1)] * 2 + raster(3, 4) + [(-1, -1)] * 3)
    assert np.array(numbers(load(path))).reshape(-1).tolist() == list(range(2, 14))


def test_shape_of_yours_wins(tmp_path: Path) -> None:
    path = scan_file(tmp_path, [(0, 0)] * 2 + raster(3, 4))
    assert np.array(numbers(load(path, nav_shape=(3, 4)))).reshape(-1).tolist() == list(
        range(2, 14)
    )
    assert numbers(load(path, navigation_shape=(4, -1)))[0] == [2, 3, 4, 5]
    assert numbers(load(path, nav_shape=(2, 7))) == np.arange(14).reshape(2, 7).tolist()
    with pytest.raises(FormatError, match=r"describe a scan of \(3, 4\), not \(4, 3\)"):
        load(path, nav_shape=(4, 3), placement="scan")
    assert numbers(load(path, first_frame=3, last_frame=5)) == [3, 4]
    assert len(numbers(load(path, scan="stack"))) == 14


# ---------------------------------------------------------------- rotator index


def rotator_file(tmp_path: Path, rotator: list[int], **options: Any) -> Path:
    return write_tvips(tmp_path / "r_000.tvips", stack(len(rotator)), rotator=rotator, **options)


def test_rotator_index_alone_makes_a_stack(tmp_path: Path) -> None:
    path = rotator_file(tmp_path, list(range(10)))
    assert load(path)["data"].shape == (10, *SIG)


def test_frame_after_the_scan(tmp_path: Path) -> None:
    """RosettaSciIO makes 1 x 1 of it: the difference of unsigned numbers wraps."""
    path = rotator_file(tmp_path, [*range(1, 10), 1, 1])
    assert upstream(path, scan_shape="auto")["data"].shape == (1, 1, *SIG)
    assert numbers(load(path, scan_shape="auto")) == np.arange(9).reshape(3, 3).tolist()


@pytest.mark.parametrize("rotator", [
    [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    [1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9],
    [1, 3, 3, 4, 5, 5, 9],
    [0, 0, 1, 3, 3, 4, 5, 5, 9],
    [1, 2, 2, 2, 5, 6, 7, 8, 9],
])  # fmt: skip
def test_auto_as_in_rosettasciio(tmp_path: Path, rotator: list[int]) -> None:
    path = rotator_file(tmp_path, rotator)
    expected = upstream(path, scan_shape="auto")["data"]
    np.testing.assert_array_equal(quietly(path, scan_shape="auto")["data"], expected)


@pytest.mark.parametrize("axis", ["x", "y", 0, 1, None])
@pytest.mark.parametrize("hysteresis", [-1, 0, 2])
@pytest.mark.parametrize(
    "options",
    [
        {"scan_shape": (3, 4)},
        {"scan_shape": (2, 5), "scan_start_frame": 2},
        {"scan_shape": (2, 2, 3)},
        {"scan_shape": "auto", "scan_start_frame": 7},
    ],
    ids=str,
)
@pytest.mark.parametrize("lazy", [False, True])
def test_winding_as_in_rosettasciio(
    tmp_path: Path, axis: Any, hysteresis: int, options: dict[str, Any], lazy: bool
) -> None:
    rotator = [*range(1, 10), 9, 9, 9, 9]
    path = rotator_file(tmp_path, rotator)
    more = {"winding_scan_axis": axis, "hysteresis": hysteresis, **options}
    expected = upstream(path, **more)["data"]
    np.testing.assert_array_equal(np.asarray(load(path, lazy=lazy, **more)["data"]), expected)


def test_winding_of_scan_coordinates(tmp_path: Path) -> None:
    path = scan_file(tmp_path, raster(2, 3))
    assert numbers(load(path, winding_scan_axis="x")) == [[2, 1, 0], [3, 4, 5]]


def test_winding_of_a_stack(tmp_path: Path) -> None:
    path = rotator_file(tmp_path, [0] * 6)
    with pytest.raises(FormatError, match="needs a scan shape"):
        load(path, winding_scan_axis="x")
    for bad in ("z", 2, True):
        with pytest.raises(ValueError, match="winding_scan_axis"):
            load(path, scan_shape=(2, 3), winding_scan_axis=bad)
    with pytest.raises(TypeError, match="either snake or winding"):
        load(path, scan_shape=(2, 3), winding_scan_axis="x", snake=True)


def test_scan_that_is_not_square(tmp_path: Path) -> None:
    """ValueError in RosettaSciIO, whatever is given."""
    path = rotator_file(tmp_path, [0, *range(1, 13), 1])
    with pytest.raises(FormatError, match="12 scan positions, which is not a square"):
        load(path, scan_shape="auto")
    for shape in ((3, 4), (-1, 4), (3, -1)):
        data = numbers(load(path, scan_shape=shape, placement="rotator"))
        assert data == np.arange(1, 13).reshape(3, 4).tolist()
    assert numbers(load(path, navigation_shape=(4, 3), placement="rotator")) == data


def test_rotator_with_gaps_and_repetitions(tmp_path: Path) -> None:
    path = rotator_file(tmp_path, [1, 2, 2, 2, 5, 6, 6, 8, 9, 9])
    options = {"scan_shape": (3, 3), "placement": "rotator", "fill_value": 99}
    with pytest.warns(RecordingWarning, match="3 of 9 scan positions"):
        assert numbers(load(path, **options)) == [[0, 1, 99], [99, 4, 5], [99, 7, 8]]
    assert numbers(quietly(path, duplicates="last", **options))[0] == [0, 3, 99]
    previous = numbers(quietly(path, gaps="previous", **options))
    assert previous == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]  # the spare frames are used up first


def test_rotator_that_stops_early_or_late(tmp_path: Path) -> None:
    path = rotator_file(tmp_path, list(range(1, 8)))
    with pytest.warns(RecordingWarning, match="2 of 9 scan positions were not recorded"):
        data = numbers(load(path, scan_shape=(3, 3), placement="rotator", fill_value=99))
    assert data == [[0, 1, 2], [3, 4, 5], [6, 99, 99]]
    with pytest.warns(RecordingWarning, match="3 frames are left out"):
        assert numbers(load(path, scan_shape=(2, 2), placement="rotator")) == [[0, 1], [2, 3]]


def test_rotator_that_starts_high(tmp_path: Path) -> None:
    path = rotator_file(tmp_path, list(range(1001, 1010)))
    with pytest.warns(RecordingWarning, match="counts from 1001"):
        data = numbers(load(path, scan_shape=(3, 3), placement="rotator"))
    assert data == np.arange(9).reshape(3, 3).tolist()
    with pytest.raises(FormatError, match="beyond the scan shape"):
        load(path, scan_shape=(2, 2), placement="rotator")


def test_single_zero_inside_a_scan(tmp_path: Path) -> None:
    path = rotator_file(tmp_path, [1, 2, 3, 4, 0, 5, 6, 7, 8, 9])
    assert numbers(load(path, scan_shape="auto")) == [[0, 1, 2], [3, 5, 6], [7, 8, 9]]


def test_longest_of_several_scans(tmp_path: Path) -> None:
    path = rotator_file(tmp_path, [2, 3, 4, *range(1, 10), 1, 2])
    assert numbers(load(path, scan_shape="auto"))[0] == [3, 4, 5]


@pytest.mark.parametrize("rotator", [[0] * 9, [1] * 9])
def test_rotator_that_does_not_count(tmp_path: Path, rotator: list[int]) -> None:
    path = rotator_file(tmp_path, rotator)
    with pytest.raises(FormatError, match="does not count scan positions"):
        load(path, scan_shape="auto")


def test_rotator_of_version_1_and_of_short_headers(tmp_path: Path) -> None:
    path = write_tvips(tmp_path / "a_000.tvips", stack(9), version=1)
    with pytest.raises(FormatError, match="version 1, which has no rotator"):
        load(path, scan_shape="auto")
    path = rotator_file(tmp_path, list(range(1, 10)), frame_header_bytes=48)
    with pytest.raises(FormatError, match="does not count"):
        load(path, scan_shape="auto")
    assert len(numbers(load(path))) == 9


def test_shape_larger_than_the_recording(tmp_path: Path) -> None:
    """ValueError in RosettaSciIO."""
    path = rotator_file(tmp_path, [0] * 7)
    with pytest.warns(RecordingWarning, match="2 of 9 scan positions"):
        assert numbers(load(path, scan_shape=(3, 3), fill_value=9))[2] == [6, 9, 9]
    with pytest.raises(FormatError, match="2 of 9 scan positions"):
        load(path, scan_shape=(3, 3), missing="raise")


def test_keywords_that_exclude_each_other(tmp_path: Path) -> None:
    path = rotator_file(tmp_path, [0] * 12)
    with pytest.raises(TypeError, match="scan_shape is another name for nav_shape"):
        load(path, scan_shape=(3, 4), nav_shape=(3, 4))
    with pytest.raises(TypeError, match="either first_frame or scan_start_frame"):
        load(path, scan_start_frame=2, first_frame=1)
    with pytest.raises(TypeError, match="either chunks or rechunking"):
        load(path, chunks=2, rechunking={0: 1})
    for name in ("placement", "duplicates", "gaps", "scan_shape"):
        with pytest.raises(ValueError, match=name):
            load(path, **{name: "some"})


@pytest.mark.parametrize(
    ("rechunking", "chunks"),
    [("auto", (3, 4)), (False, (3, 4)), (True, (3, 4)), ({0: 1, 1: 2, 2: None}, (1, 2))],
)
def test_rechunking(tmp_path: Path, rechunking: Any, chunks: tuple[int, int]) -> None:
    path = rotator_file(tmp_path, [0] * 12)
    data = load(path, scan_shape=(3, 4), lazy=True, rechunking=rechunking)["data"]
    assert data.chunksize == (*chunks, *SIG)


# ---------------------------------------------------------------- calibration and metadata


def test_metadata(tmp_path: Path) -> None:
    fields = {"faraday": 1.5, "stage_alpha": 10.0, "stage_beta": -3.5, "stage_x": 100.0,
              "objective": 7.0, "dens_t_set": 0.5, "bias_limit_i": 2.5}  # fmt: skip
    path = write_tvips(tmp_path / "a_000.tvips", stack(3), fields=fields, offset=(4, 5))
    signal = load(path)
    theirs = upstream(path)["metadata"]
    ours = signal["metadata"]
    for key in ("date", "original_filename", "time_zone"):
        assert ours["General"][key] == theirs["General"][key]
    assert ours["Signal"] == theirs["Signal"]
    tem, their_tem = (m["Acquisition_instrument"]["TEM"] for m in (ours, theirs))
    for key in ("beam_energy", "beam_current"):
        assert tem[key] == their_tem[key]
    for key, value in their_tem["Stage"].items():
        assert tem["Stage"][key] == value
        assert type(tem["Stage"][key]) is float
    assert tem["Stage"]["x_units"] == "nm"
    assert tem["camera_length"] == 80  # "magnification" in RosettaSciIO
    assert "defocus" not in tem  # in RosettaSciIO: the temperature set at the heating holder
    axes = signal["axes"]
    assert [(a["name"], a["units"], a["scale"], a["offset"]) for a in axes[1:]] == [
        ("dy", "1/nm", 3, 5),
        ("dx", "1/nm", 3, 4),
    ]
    first = signal["original_metadata"]["tvips_first_frame"]
    assert (first["objective"], first["dens_t_set"], first["bias_limit_i"]) == (7.0, 0.5, 2.5)
    assert signal["original_metadata"]["tvips_header"]["dimx"] == 8
    short = write_tvips(tmp_path / "b_000.tvips", stack(3), frame_header_bytes=60, fields=fields)
    assert "objective" not in load(short)["original_metadata"]["tvips_first_frame"]


def test_images(tmp_path: Path) -> None:
    path = write_tvips(tmp_path / "a_000.tvips", stack(3), fields={"mode": 1})
    signal = load(path)
    assert signal["axes"][1]["units"] == "nm"
    assert signal["metadata"]["Signal"]["signal_type"] == ""
    assert signal["metadata"]["Acquisition_instrument"]["TEM"]["magnification"] == 80


def test_version_1_does_not_say_what_a_pixel_is(tmp_path: Path) -> None:
    signal = load(write_tvips(tmp_path / "a_000.tvips", stack(3), version=1))
    assert [(a["units"], a["scale"]) for a in signal["axes"][1:]] == [("", 3.0)] * 2
    assert signal["metadata"]["General"]["date"] == "2020-09-13"


def test_no_calibration(tmp_path: Path) -> None:
    signal = load(write_tvips(tmp_path / "a_000.tvips", stack(3), pixel_size=0))
    assert [(a["units"], a["scale"]) for a in signal["axes"][1:]] == [("", 1.0)] * 2


@pytest.mark.parametrize(
    ("times", "units", "scale"),
    [
        ([0, 20, 40, 60], "s", 0.02),
        ([0, 0, 1, 1, 2], "s", 0.0005),  # several frames share a time
        ([5, 5, 5], "", 1.0),  # 0 in RosettaSciIO
        ([9, 8, 7], "", 1.0),
    ],
)
def test_time_axis(tmp_path: Path, times: list[int], units: str, scale: float) -> None:
    path = write_tvips(tmp_path / "a_000.tvips", stack(len(times)), times_ms=times)
    axis = load(path)["axes"][0]
    assert (axis["name"], axis["units"]) == ("time", units)
    assert axis["scale"] == pytest.approx(scale)
    if units:
        assert axis["offset"] == pytest.approx(writer.TIME + times[0] / 1000)
        later = load(path, first_frame=2)["axes"][0]
        assert later["offset"] == pytest.approx(axis["offset"] + 2 * scale, abs=1e-6)


def test_time_zone_of_the_computer_does_not_matter(tmp_path: Path) -> None:
    """RosettaSciIO gives the local time and calls it UTC."""
    path = write_tvips(tmp_path / "a_000.tvips", stack(2))
    code = (
        "import sys; from rsciio_tem.formats import tvips\n"
        "print(tvips.parse(sys.argv[1]).metadata['General']['time'])"
    )
    environment = {**os.environ, "TZ": "America/New_York"}
    result = subprocess.run(
        [sys.executable, "-c", code, path], env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    expected = datetime.datetime.fromtimestamp(writer.TIME, datetime.UTC).time().isoformat()
    assert result.stdout.strip() == expected


def test_frame_times(tmp_path: Path) -> None:
    path = scan_file(tmp_path, [(0, 0)] * 2 + raster(2, 3, winding=True), times_ms=range(0, 80, 10))
    read = tvips.parse(path).times
    assert read is not None
    part = read.read(0, 6)
    expected = writer.TIME * 10**9 + np.array([20, 30, 40, 70, 60, 50]) * 10**6
    # waiting frames are left out; the second line runs backwards
    assert part.time_ns.tolist() == expected.tolist()
    assert (part.exposure_ns == -1).all()


def test_frame_times_of_blanks(tmp_path: Path) -> None:
    path = scan_file(tmp_path, [p for p in raster(3, 3) if p != (1, 1)])
    read = tvips.parse(path).times
    assert read is not None
    assert np.flatnonzero(read.read(0, 9).time_ns < 0).tolist() == [4]


def test_pauses_of_a_movie_are_no_scan(tmp_path: Path) -> None:
    times = [10 * i + 200 * (i // 5) for i in range(30)]
    path = write_tvips(tmp_path / "a_000.tvips", stack(30), times_ms=times)
    assert load(path)["data"].shape == (30, *SIG)
    while_scanning = rotator_file(tmp_path, list(range(1, 31)), times_ms=times)
    assert load(while_scanning)["data"].shape == (6, 5, *SIG)


# ---------------------------------------------------------------- large recordings


def large(path: Path, count: int, **columns: Any) -> Path:
    """Write a recording that takes little space, with all its frame headers."""
    frame = np.dtype([("header", "V128"), ("pixels", "V131072")])
    with path.open("wb") as file:
        file.write(writer.series_header((256, 256)))
        file.truncate(256 + count * frame.itemsize)
        headers = np.zeros(count, FRAME)
        headers["timestamp"], headers["mode"] = writer.TIME, 2
        for name, values in columns.items():
            headers[name] = values
        for i in range(count):
            file.seek(256 + i * frame.itemsize)
            file.write(headers[i].tobytes())
    return path


def test_large_recordings_open_at_once(tmp_path: Path) -> None:
    count = 20_000  # more than are looked at one by one
    steps = np.clip(np.arange(count) - 40, 0, 19_199)
    path = large(tmp_path / "a_000.tvips", count, scan_x=steps % 160, scan_y=steps // 160)
    recording = tvips.parse(path)
    backends.close_all()
    begin = time.perf_counter()
    recording = tvips.parse(path)
    assert time.perf_counter() - begin < 0.2  # a tenth of that on an idle computer
    assert recording.hints[0].shape == (120, 160)
    assert recording.original_metadata["tvips_scan"]["first_frame"] == 40
    assert recording.original_metadata["tvips_scan"]["last_frame"] == 40 + 19_199
    assert recording.frames.runs["start"][0] == 256 + 40 * 131_200 + 128
    assert len(recording.frames) == 19_200
    (signal,) = tvips.file_reader(path, lazy=True)
    assert signal["data"].shape == (120, 160, 256, 256)


def test_large_recording_that_is_not_regular(tmp_path: Path) -> None:
    count = 6000
    steps = np.arange(count)
    steps[5000:] -= 1  # a frame repeats its position where nobody looks one by one
    path = large(tmp_path / "a_000.tvips", count, scan_x=steps % 60, scan_y=steps // 60)
    recording = tvips.parse(path)
    index = recording.frames.order
    assert index is not None
    assert index[4999:5002].tolist() == [4999, 5001, 5002]
    assert any("1 frames were recorded" in str(p) for p in recording.problems)


# ---------------------------------------------------------------- writer


def signal_of(data: Any, **more: Any) -> dict[str, Any]:
    """Return a signal as HyperSpy hands it to a writer."""
    n = data.ndim - 2
    units = ["nm"] * n + ["1/nm"] * 2
    axes = [
        {"_type": "UniformDataAxis", "name": f"a{i}", "units": units[i], "navigate": i < n,
         "size": size, "scale": 1.0, "offset": 0.0, "is_binned": False}
        for i, size in enumerate(data.shape)
    ]  # fmt: skip
    lazy = not isinstance(data, np.ndarray)
    return {
        "data": data, "axes": axes, "metadata": {"General": {}, "Signal": {}},
        "original_metadata": {}, "attributes": {"_lazy": lazy, "ragged": False}, **more,
    }  # fmt: skip


@pytest.mark.parametrize("shape", [(5, 6), (7, 5, 6), (3, 4, 5, 6), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("dtype", ["u1", "u2", "bool"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("size", [None, 1500])
def test_write_and_read(
    tmp_path: Path, libertem: Any, shape: tuple[int, ...], dtype: str, version: int,
    size: int | None,
) -> None:  # fmt: skip
    data = np.random.default_rng(1).integers(0, 2 if dtype == "bool" else 200, shape).astype(dtype)
    tvips.file_writer(tmp_path / "w.tvips", signal_of(data), version=version, max_file_size=size)
    path = tmp_path / "w_000.tvips"
    nav = shape[:-2]
    options = {"nav_shape": nav} if nav else {}
    np.testing.assert_array_equal(load(path, **options)["data"], data)
    if version == 2:
        if nav:  # it cannot read a single frame
            np.testing.assert_array_equal(upstream(path, scan_shape=nav)["data"], data)
        if len(nav) > 1:  # the scan is in the frame headers
            np.testing.assert_array_equal(load(path)["data"], data)
    if size is None and nav:  # with several files, LiberTEM wants 4096 frames in the first
        theirs = by_libertem(libertem, path, nav_shape=nav, sync_offset=0)
        np.testing.assert_array_equal(theirs, data)
    if size:
        assert all(f.stat().st_size <= size for f in tmp_path.iterdir())


@pytest.mark.parametrize("chunks", [(2, 3, 5, 6), (1, 4, 5, 3), (3, 1, 2, 2), (3, 4, 5, 6)])
@pytest.mark.parametrize("size", [None, 500])
def test_write_lazy_data(
    tmp_path: Path, chunks: tuple[int, ...], size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dask.array as da

    monkeypatch.setattr(stream, "BLOCK", 150)  # two frames
    data = np.random.default_rng(2).integers(0, 60000, (3, 4, 5, 6)).astype("u2")
    lazy = da.from_array(data, chunks=chunks)
    tvips.file_writer(
        tmp_path / "w_000.tvips", signal_of(lazy), max_file_size=size, show_progressbar=False
    )
    np.testing.assert_array_equal(load(tmp_path / "w_000.tvips", nav_shape=(3, 4))["data"], data)
    assert not [f for f in tmp_path.iterdir() if f.suffix != ".tvips"]


def test_written_metadata(tmp_path: Path) -> None:
    signal = signal_of(np.zeros((3, 4, 5), "u2"))
    signal["axes"][0] |= {"units": "s", "scale": 0.25}
    for axis in signal["axes"][1:]:
        axis |= {"units": "1/Å", "scale": 0.5}
    signal["axes"][2]["offset"] = 2.0
    signal["metadata"] = {
        "General": {"date": "2021-03-04", "time": "05:06:07.5", "time_zone": "+01:00"},
        "Acquisition_instrument": {
            "TEM": {"beam_energy": 300, "camera_length": 150, "beam_current": 2.5,
                    "Stage": {"tilt_alpha": 12.5, "x": 3.0}}
        },
    }  # fmt: skip
    tvips.file_writer(tmp_path / "w.tvips", signal, frame_header_extra_bytes=68)
    read = load(tmp_path / "w_000.tvips")
    general, tem = read["metadata"]["General"], read["metadata"]["Acquisition_instrument"]["TEM"]
    assert (general["date"], general["time"]) == ("2021-03-04", "04:06:07")
    assert (tem["beam_energy"], tem["camera_length"], tem["beam_current"]) == (300, 150, 2.5)
    # RosettaSciIO's writer looks for the tilts in the wrong place
    assert (tem["Stage"]["tilt_alpha"], tem["Stage"]["x"]) == (12.5, 3.0)
    axes = read["axes"]
    assert (axes[0]["scale"], axes[0]["units"]) == (0.25, "s")
    assert (axes[1]["scale"], axes[1]["units"], axes[2]["offset"]) == (5.0, "1/nm", 20.0)
    assert read["original_metadata"]["tvips_header"]["frameheaderbytes"] == 128 + 68


def test_writing_what_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "w_000.tvips"
    signal = signal_of(np.zeros((3, 4, 5), "u2"))
    signal["axes"][2]["scale"] = 0.3
    with pytest.warns(RecordingWarning, match=r"pixel size 0\.3 is stored as 0"):
        tvips.file_writer(path, signal)
    with pytest.warns(RecordingWarning, match="32 bits per pixel are known to RosettaSciIO only"):
        tvips.file_writer(path, signal_of(np.zeros((3, 4, 5), "u4")), overwrite=True)
    assert load(path)["data"].dtype == np.uint32
    for data, match in (
        (np.zeros((3, 4, 5), "f4"), "unsigned whole numbers, not float32"),
        (np.zeros((3, 4, 5), "i2"), "unsigned whole numbers"),
        (np.zeros((0, 4, 5), "u2"), "no pixels"),
    ):
        with pytest.raises(ValueError, match=match):
            tvips.file_writer(path, signal_of(data), overwrite=True)
    for options in ({"version": 3}, {"mode": 3}, {"frame_header_extra_bytes": -1},
                    {"version": 1, "frame_header_extra_bytes": 4}):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(options))):
            tvips.file_writer(path, signal_of(np.zeros((2, 4, 5), "u2")), **options)
    bad = signal_of(np.zeros((3, 4, 5), "u2"))
    bad["axes"][0]["size"] = 4
    with pytest.raises(ValueError, match="do not match the data"):
        tvips.file_writer(tmp_path / "x.tvips", bad)
    line = signal_of(np.zeros((3, 4, 5), "u2"))
    line["axes"][1]["navigate"] = True
    with pytest.raises(ValueError, match="two-dimensional frames"):
        tvips.file_writer(tmp_path / "x.tvips", line)
    with pytest.warns(RecordingWarning, match="a file takes at least"):
        tvips.file_writer(
            tmp_path / "y.tvips", signal_of(np.zeros((2, 4, 5), "u2")), max_file_size=9
        )


def test_ambiguous_time_zone(tmp_path: Path) -> None:
    signal = signal_of(np.zeros((2, 4, 5), "u2"))
    signal["metadata"]["General"] = {"date": "2021-03-04", "time": "05:06:07", "time_zone": "CST"}
    with pytest.warns(RecordingWarning, match="time zone 'CST' is not unique"):
        tvips.file_writer(tmp_path / "w.tvips", signal)
    assert load(tmp_path / "w_000.tvips")["metadata"]["General"]["time"] == "05:06:07"


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "w_000.tvips"
    one = signal_of(stack(4))
    tvips.file_writer(path, one)
    content = path.read_bytes()
    with pytest.raises(FileExistsError):
        tvips.file_writer(path, signal_of(stack(6)))
    assert path.read_bytes() == content
    tvips.file_writer(path, signal_of(stack(6)), overwrite=True)
    assert numbers(load(path)) == list(range(6))
    # an old file that would continue the new series
    shutil.copy(path, tmp_path / "v_001.tvips")
    with pytest.raises(FileExistsError, match="would become part of the series"):
        tvips.file_writer(tmp_path / "v_000.tvips", one, overwrite=True)
    assert not (tmp_path / "v_000.tvips").exists()


def test_a_shorter_series_replaces_a_longer_one(tmp_path: Path) -> None:
    path = tmp_path / "w_000.tvips"
    tvips.file_writer(path, signal_of(stack(9)), max_file_size=600)
    longer = sorted(p.name for p in tmp_path.iterdir())
    assert len(longer) > 4
    shutil.copy(path, tmp_path / "w_042.tvips")  # behind a gap: not part of it
    (tmp_path / "w_003.txt").touch()
    with pytest.raises(FileExistsError):
        tvips.file_writer(path, signal_of(stack(2)))
    tvips.file_writer(path, signal_of(stack(2)), overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("w_000.tvips", "w_003.txt", "w_042.tvips")
    ]
    (tmp_path / "w_042.tvips").unlink()
    assert numbers(load(path)) == [0, 1]
    # the next recording was given the next number: it is not part of the earlier series
    tvips.file_writer(path, signal_of(stack(4)), max_file_size=600, overwrite=True)
    count = len(list(tmp_path.glob("*.tvips")))
    shutil.copy(path, tmp_path / f"w_{count:03d}.tvips")
    tvips.file_writer(path, signal_of(stack(2)), overwrite=True)
    assert sorted(p.name for p in tmp_path.glob("*.tvips")) == [
        *("w_000.tvips", f"w_{count:03d}.tvips")
    ]


def test_the_end_of_a_longer_series_that_is_read(tmp_path: Path) -> None:
    """What would be removed may be what is converted."""
    tvips.file_writer(tmp_path / "w_000.tvips", signal_of(stack(9)), max_file_size=600)
    (tmp_path / "a.tvips").symlink_to("w_002.tvips")
    signal = signal_of(np.memmap(tmp_path / "w_002.tvips", "u2", "r", shape=(1, 4, 5)))
    content = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(FormatError, match="being read"):
        tvips.file_writer(tmp_path / "w_000.tvips", signal, overwrite=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == content


@pytest.mark.parametrize("lazy", [False, True])
def test_source_is_never_overwritten(tmp_path: Path, lazy: bool) -> None:
    path = write_tvips(tmp_path / "a_000.tvips", stack(6), files=(3, 3))
    content = path.read_bytes()
    read = load(path, lazy=lazy)
    signal = {**read, "attributes": {"_lazy": lazy}}
    for name in ("a_000.tvips", "a.tvips"):
        with pytest.raises((FormatError, FileExistsError)) as caught:
            tvips.file_writer(tmp_path / name, signal, overwrite=True, max_file_size=1100)
        assert "being read" in str(caught.value) or "part of the series" in str(caught.value)
    assert path.read_bytes() == content
    tvips.file_writer(tmp_path / "b.tvips", signal, show_progressbar=False)
    assert numbers(load(tmp_path / "b_000.tvips")) == list(range(6))


def test_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    import dask.array as da

    def broken(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        if block_info and block_info[0]["chunk-location"][0] == 2:
            raise RuntimeError("source is gone")
        return block

    data = da.from_array(stack(6), chunks=(2, *SIG)).map_blocks(broken, dtype="u2")
    with pytest.raises(RuntimeError, match="source is gone"):
        tvips.file_writer(tmp_path / "w.tvips", signal_of(data), show_progressbar=False)
    assert list(tmp_path.iterdir()) == []


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(stream.shutil, "disk_usage", lambda path: usage(100, 90, 10))
    with pytest.raises(OSError, match="are needed") as caught:
        tvips.file_writer(tmp_path / "w.tvips", signal_of(stack(6)))
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_version_1_of_rosettasciio(tmp_path: Path) -> None:
    """It cannot read its own files of version 1, which have frame headers of 60 bytes."""
    from rsciio.tvips import file_writer

    data = stack(6)
    file_writer(str(tmp_path / "u_000.tvips"), signal_of(data), version=1)
    with pytest.raises(ValueError, match="consumes more bytes"):
        upstream(tmp_path / "u_000.tvips")
    np.testing.assert_array_equal(load(tmp_path / "u_000.tvips")["data"], data)


def test_scan_coordinates_that_are_no_numbers(tmp_path: Path) -> None:
    path = write_tvips(tmp_path / "a_000.tvips", stack(6), scan=raster(2, 3))
    content = bytearray(path.read_bytes())
    place = 256 + FRAME.fields["scan_x"][1]  # of the first frame
    content[place : place + 4] = (0x7F800001).to_bytes(4, "little")
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        data = load(path)["data"]
    assert data.size >= 5 * 6 * 8


def test_a_clock_that_starts_with_the_recording(tmp_path: Path) -> None:
    """As our writer makes it of frames of which nobody knows the time."""
    np.save(tmp_path / "a.npy", np.arange(12 * 8 * 8).reshape(12, 8, 8).astype("u2"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of units
        target = rsciio_tem.convert(tmp_path / "a.npy", tmp_path / "a.tvips")
    assert [p.message for p in rsciio_tem.check(target) if p.severity != "info"] == []
