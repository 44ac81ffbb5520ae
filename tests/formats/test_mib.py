# SPDX-License-Identifier: GPL-3.0-or-later
"""What is particular to Merlin recordings: layouts, scan evidence, sets of files, headers."""

from __future__ import annotations

import builtins
import importlib
import io
import logging
import math
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from writers import mib as writer

import rsciio_tem
from rsciio_tem.errors import FormatError, NotThisFormat, RecordingWarning, Truncated, Unsupported
from rsciio_tem.formats import mib
from rsciio_tem.formats.mib.times import frame_times

SMALL = (4, 16)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240607)


def read(path: Any, **options: Any) -> dict[str, Any]:
    (signal,) = mib.file_reader(path, **options)
    return signal


def images(rng: np.random.Generator, count: int, shape: tuple[int, int], depth: int) -> np.ndarray:
    return rng.integers(0, 1 << depth, (count, *shape))


def numbered(count: int, shape: tuple[int, int] = SMALL) -> np.ndarray:
    """Frames whose pixels say which frame they are."""
    return np.broadcast_to(np.arange(count)[:, np.newaxis, np.newaxis], (count, *shape))


def order(signal: dict[str, Any]) -> list[Any]:
    """Numbers of the frames that `numbered` made, in the shape of the scan."""
    return np.asarray(signal["data"])[..., 0, 0].tolist()


def warned(path: Any, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """Read a recording; return the texts of its warnings as well."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        signal = read(path, **options)
    assert {warning.category for warning in caught} <= {RecordingWarning}
    return signal, [str(warning.message) for warning in caught]


def nav(signal: dict[str, Any]) -> tuple[int, ...]:
    return signal["data"].shape[:-2]


def evidence(signal: dict[str, Any]) -> dict[str, Any]:
    return signal["original_metadata"]["rsciio_tem"]["scan"]


# -- processed pixels ----------------------------------------------------------------------------


@pytest.mark.parametrize("flip_y", [True, False])
@pytest.mark.parametrize(
    ("pixel_type", "bits", "dtype"),
    [("U08", 6, "u1"), ("U16", 12, "u2"), ("U32", 24, "u4"), ("U64", 63, "u8")],
)
def test_processed(
    tmp_path: Path,
    rng: np.random.Generator,
    pixel_type: str,
    bits: int,
    dtype: str,
    flip_y: bool,
) -> None:
    frames = rng.integers(0, 1 << bits, (3, 5, 7), dtype=np.uint64)
    frames[1, 2, 3] = (1 << bits) - 1
    path = writer.write_mib(
        tmp_path / "a.mib", frames, 12 if bits == 63 else bits, pixel_type=pixel_type
    )
    signal = read(path, flip_y=flip_y)
    assert signal["data"].dtype == np.dtype(dtype)
    assert signal["data"].dtype.isnative
    np.testing.assert_array_equal(signal["data"], frames[:, ::-1] if flip_y else frames)
    assert signal["original_metadata"]["rsciio_tem"]["orientation"] == {"flip_y": flip_y}


def test_flipped_unless_asked_otherwise(tmp_path: Path) -> None:
    frame = np.arange(4)[:, np.newaxis] + np.zeros((1, 16), int)
    path = writer.write_mib(tmp_path / "a.mib", frame, 6)
    for mode in (None, "r", "c"):
        data = read(path, mmap_mode=mode)["data"]
        assert data[:, 0].tolist() == [3, 2, 1, 0]
        assert (data.strides[0] < 0) == (mode is not None)  # a view, or a copy


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_binary_pixels(tmp_path: Path, rng: np.random.Generator, packed: bool, count: int) -> None:
    frames = images(rng, count, (8, 24), 1).astype(np.uint8)
    pixels = frames.reshape(count, -1)
    pixels = np.packbits(pixels, axis=1) if packed else pixels
    heads = writer.headers(np.arange(1, count + 1), (8, 24), 1, "U01")
    path = tmp_path / "a.mib"
    path.write_bytes(np.concatenate([heads, pixels], axis=1).tobytes())
    if packed:
        with pytest.warns(RecordingWarning, match="bit order of packed U01 pixels"):
            signal = read(path)
    else:
        signal = read(path)
    np.testing.assert_array_equal(signal["data"].reshape(frames.shape), frames[:, ::-1])


@pytest.mark.parametrize("layout", ["Nx1", "Nx1G", "2x1", "3x1"])
@pytest.mark.parametrize("chips", [2, 3])
def test_processed_chips_in_a_row(
    tmp_path: Path, rng: np.random.Generator, chips: int, layout: str
) -> None:
    frames = images(rng, 2, (8, 256 * chips), 12)
    path = writer.write_mib(
        tmp_path / "a.mib", frames, layout="Nx1", chips=chips, data_offset=256 + 128 * chips
    )
    path.write_bytes(path.read_bytes().replace(b",   Nx1,", b",%6s," % layout.encode()))
    np.testing.assert_array_equal(read(path)["data"], frames[:, ::-1])


@pytest.mark.parametrize("size", [512, 514, 515, 516])
def test_processed_quad_with_any_gap_pixels(
    tmp_path: Path, rng: np.random.Generator, size: int
) -> None:
    frames = images(rng, 1, (size, size), 6)
    path = writer.write_mib(tmp_path / "a.mib", frames, 6, layout="2x2G")
    np.testing.assert_array_equal(read(path)["data"], frames[0, ::-1])


@pytest.mark.parametrize(("gap", "between"), [(3, 3), ("header", 2)])
def test_gap_put_into_processed_quad(
    tmp_path: Path, rng: np.random.Generator, gap: Any, between: int
) -> None:
    frame = 1 + images(rng, 1, (512, 512), 6)[0]
    path = writer.write_mib(tmp_path / "a.mib", frame, 12, layout="2x2G")
    data = read(path, gap=gap, flip_y=False)["data"]
    assert data.shape == (512 + between, 512 + between)
    assert not data[256 : 256 + between].any()
    assert not data[:, 256 : 256 + between].any()
    kept = [*range(256), *range(256 + between, 512 + between)]
    np.testing.assert_array_equal(data[np.ix_(kept, kept)], frame)


def test_one_chip_of_128_pixels_that_calls_itself_2x2(tmp_path: Path) -> None:
    """Software 0.65.8 in colour mode: neither chips nor size follow from the layout."""
    frames = numbered(4, (128, 128))
    path = writer.write_mib(
        tmp_path / "a.mib", frames, 12, layout="2x2", chips=1, ns_unit="nS", exposures_ns=10**7
    )
    signal = read(path)
    assert signal["data"].shape == (4, 128, 128)
    assert signal["metadata"]["Acquisition_instrument"]["dwell_time"] == 0.01


# -- RAW pixels ----------------------------------------------------------------------------------

DEPTHS = pytest.mark.parametrize(("depth", "dtype"), [(1, "u1"), (6, "u1"), (12, "u2"), (24, "u4")])


@DEPTHS
@pytest.mark.parametrize("rows", [256, 64, 1])
@pytest.mark.parametrize("count", [1, 3])
def test_raw_single(
    tmp_path: Path, rng: np.random.Generator, depth: int, dtype: str, rows: int, count: int
) -> None:
    frames = images(rng, count, (rows, 256), depth)
    frames[0, -1, -1] = (1 << depth) - 1
    path = writer.write_mib(tmp_path / "a.mib", frames, depth, "raw")
    data = read(path)["data"]
    assert data.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(data.reshape(frames.shape), frames[:, ::-1])


@DEPTHS
@pytest.mark.parametrize(
    ("layout", "gap", "between"),
    [
        ("2x2", None, 0),
        ("2x2G", None, 0),
        ("2x2G", "header", 2),
        ("2x2", "header", 0),
        ("2x2", 3, 3),
    ],
)
def test_raw_quad(
    tmp_path: Path,
    rng: np.random.Generator,
    depth: int,
    dtype: str,
    layout: str,
    gap: Any,
    between: int,
) -> None:
    frames = images(rng, 2, (512, 512), depth)
    path = writer.write_mib(tmp_path / "a.mib", frames, depth, "raw", layout)
    if depth == 24:
        with pytest.warns(RecordingWarning, match="RAW 24-bit of several chips is undocumented"):
            signal = read(path, gap=gap, flip_y=False)
    else:
        signal = read(path, gap=gap, flip_y=False)
    data = signal["data"]
    assert data.dtype == np.dtype(dtype)
    assert data.shape == (2, 512 + between, 512 + between)
    kept = [*range(256), *range(256 + between, 512 + between)]
    np.testing.assert_array_equal(data[:, kept][:, :, kept], frames)
    assert not data[:, 256 : 256 + between].any()
    assert not data[:, :, 256 : 256 + between].any()


@DEPTHS
@pytest.mark.parametrize("rows", [2, 128])
def test_raw_quad_of_some_rows(
    tmp_path: Path, rng: np.random.Generator, depth: int, dtype: str, rows: int
) -> None:
    frames = images(rng, 2, (rows, 512), depth)
    path = writer.write_mib(tmp_path / "a.mib", frames, depth, "raw", "2x2")
    signal, told = warned(path)
    assert any("part of the rows of a 2x2 detector is undocumented" in text for text in told)
    assert len(told) == (2 if depth == 24 else 1)
    np.testing.assert_array_equal(signal["data"], frames[:, ::-1])


@DEPTHS
@pytest.mark.parametrize("chips", [2, 3, 4])
def test_raw_chips_in_a_row(
    tmp_path: Path, rng: np.random.Generator, depth: int, dtype: str, chips: int
) -> None:
    frames = images(rng, 2, (8, 256 * chips), depth)
    path = writer.write_mib(tmp_path / "a.mib", frames, depth, "raw", "Nx1", chips=chips)
    signal, told = warned(path)
    assert len(told) == (2 if depth == 24 else 1)
    assert "in a row is undocumented. Compare with the camera's display" in told[-1]
    np.testing.assert_array_equal(signal["data"], frames[:, ::-1])


def test_raw_chips_in_a_row_with_gap(tmp_path: Path, rng: np.random.Generator) -> None:
    frames = images(rng, 1, (8, 512), 12)
    path = writer.write_mib(tmp_path / "a.mib", frames, 12, "raw", "Nx1G", chips=2)
    with pytest.warns(RecordingWarning, match="undocumented"):
        data = read(path, gap="header")["data"]
    assert data.shape == (8, 514)
    assert not data[:, 256:258].any()
    np.testing.assert_array_equal(data[:, :256], frames[0, ::-1, :256])
    np.testing.assert_array_equal(data[:, 258:], frames[0, ::-1, 256:])


def test_layout_given_by_the_caller_is_what_the_warning_is_about(tmp_path: Path) -> None:
    frames = numbered(1, (512, 512))
    path = writer.write_mib(tmp_path / "a.mib", frames, 12, "raw", "2x2")
    path.write_bytes(path.read_bytes().replace(b",   2x2,", b",   Nx1,"))
    assert read(path, layout="2x2")["data"].shape == (512, 512)  # warns of nothing
    with pytest.warns(RecordingWarning, match="in a row"):
        assert read(path)["data"].shape == (256, 1024)
    path.write_bytes(path.read_bytes().replace(b",   Nx1,", b",   2x2,"))
    with pytest.warns(RecordingWarning, match="in a row"):
        assert read(path, layout="Nx1")["data"].shape == (256, 1024)
    assert read(path, layout="1x1")["data"].shape == (256, 1024)


@DEPTHS
@pytest.mark.parametrize("count", [1, 2])
def test_raw_depth_found_without_extension(
    tmp_path: Path, rng: np.random.Generator, depth: int, dtype: str, count: int
) -> None:
    """Before 2016 no header says the depth; the size of a frame does."""
    frames = images(rng, count, (256, 256), depth)
    path = writer.write_mib(tmp_path / "a.mib", frames, depth, "raw", mq1a=False)
    np.testing.assert_array_equal(read(path)["data"].reshape(frames.shape), frames[:, ::-1])


def test_depth_that_cannot_be_found_is_asked_for(tmp_path: Path, rng: np.random.Generator) -> None:
    frames = images(rng, 4, (256, 256), 6)
    path = writer.write_mib(tmp_path / "a.mib", frames, 6, "raw")
    content = path.read_bytes().replace(b"ns,6,", b"ns,12,")  # a header that is wrong
    path.write_bytes(b"".join(content[i : i + 384] + content[i + 385 : i + 65921]
                              for i in range(0, len(content), 65921)))  # fmt: skip
    _, told = warned(path)
    assert "frame 1 does not begin with a header" in told[0]
    assert "pass depth=1, 6, 12 or 24" in told[0]
    np.testing.assert_array_equal(read(path, depth=6)["data"], frames[:, ::-1])


def test_raw_header_of_2017(tmp_path: Path, rng: np.random.Generator) -> None:
    frames = images(rng, 2, (256, 256), 24)
    path = writer.write_mib(tmp_path / "a.mib", frames, 24, "raw", dacs=False)
    signal = read(path)
    np.testing.assert_array_equal(signal["data"], frames[:, ::-1])
    head = signal["original_metadata"]["mib_header"]
    assert head["thresholds_keV"] == []
    assert "DACs_chip_1" not in head
    assert head["counter_depth"] == 24


def test_unknown_readouts_are_refused(tmp_path: Path) -> None:
    path = writer.write_mib(tmp_path / "a.mib", numbered(1, (3, 64)), 12, "raw")
    path.write_bytes(path.read_bytes().replace(b",0064,0003,", b",0065,0003,"))
    with pytest.raises(Unsupported, match=r"a\.mib: has RAW frames of 65 x 3 pixels from 1 chips"):
        read(path)
    path = writer.write_mib(tmp_path / "b.mib", numbered(1), 6)
    path.write_bytes(path.read_bytes().replace(b"U08", b"I08"))
    with pytest.raises(Unsupported, match="unknown type 'I08'"):
        read(path)


# -- containers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"pad": b" "},
        {"pad": b"\n"},
        {"pad": None},
        {"data_offset": 512},
        {"data_offset": 640, "pad": b" "},
        {"data_offset": 386},
        {"mq1a": False},
        {"mq1a": False, "dacs": False},
        {"mq1a": False, "pad": None},
        {"inserted": ("OPT1", "0", "0", "256", "256", "END1"), "data_offset": 512},
        {"chip_type": "3.0"},
    ],
    ids=str,
)
def test_header_variants(tmp_path: Path, rng: np.random.Generator, options: dict[str, Any]) -> None:
    frames = images(rng, 5, SMALL, 12)
    exposures = 1_000_000 * np.array([1, 2, 3, 4, 5])
    path = writer.write_mib(
        tmp_path / "a.mib", frames, exposures_ns=exposures, first_sequence=7, **options
    )
    recording = mib.parse(path)
    np.testing.assert_array_equal(read(path)["data"], frames[:, ::-1])
    seen = recording.times.read(0, 5)
    assert seen.sequence.tolist() == [7, 8, 9, 10, 11]
    assert seen.exposure_ns.tolist() == exposures.tolist()
    expected = writer.START_NS + np.array([0, 1, 3, 6, 10]) * 1_000_000
    if not options.get("mq1a", True):
        expected = expected // 1000 * 1000  # the local clock shows µs
    assert seen.time_ns.tolist() == expected.tolist()
    head = recording.original_metadata["mib_header"]
    if options.get("dacs", True):
        assert head["thresholds_keV"][:3] == [2.0, 511.0, 0.0]
        assert list(head["DACs_chip_1"].values()) == list(writer.DACS)
        assert head["DACs_chip_1"]["TPRefB"] == 511


def test_malformed_threshold_keeps_its_place(tmp_path: Path) -> None:
    """Software 0.77.0.16 writes 0.000000+0."""
    thresholds = ["5.700000E+1", "0.000000+0", "5.110000E+2", *["0.000000E+0"] * 5]
    path = writer.write_mib(tmp_path / "a.mib", numbered(1), 6, thresholds=thresholds)
    found = mib.parse(path).original_metadata["mib_header"]["thresholds_keV"]
    assert len(found) == 8
    assert found[0] == 57
    assert math.isnan(found[1])
    assert found[2] == 511


def test_four_chips_have_four_sets_of_dacs(tmp_path: Path) -> None:
    dacs = [[100 * chip + i for i in range(27)] for chip in range(1, 5)]
    path = writer.write_mib(
        tmp_path / "a.mib", numbered(1, (4, 512)), 6, layout="2x2", dac_values=dacs
    )
    head = mib.parse(path).original_metadata["mib_header"]
    assert [list(head[f"DACs_chip_{i}"].values()) for i in (1, 2, 3, 4)] == dacs


@pytest.mark.parametrize("kind", ["processed", "raw"])
def test_stream_dump(tmp_path: Path, rng: np.random.Generator, kind: Any) -> None:
    frames = images(rng, 6, (4, 256), 12)
    hdr = {"frames_per_trigger": 3}
    path = writer.write_mib(tmp_path / "a.mib", frames, 12, kind, mpx=True, hdr=hdr)
    path.with_suffix(".hdr").unlink()  # the dump holds it
    signal = read(path)
    np.testing.assert_array_equal(signal["data"], frames[:, ::-1].reshape(2, 3, 4, 256))
    assert signal["original_metadata"]["hdr_file"]["Frames per Trigger (Number)"] == "3"
    assert read(path, navigation_shape=(6,), lazy=True)["data"][4].compute().tolist() == (
        frames[4, ::-1].tolist()
    )


def test_stream_dump_without_acquisition_header(tmp_path: Path, rng: np.random.Generator) -> None:
    frames = images(rng, 2, SMALL, 12)
    path = writer.write_mib(tmp_path / "a.mib", frames, mpx=True)
    path.write_bytes(path.read_bytes()[15 + 2048 :])
    assert path.read_bytes()[15:19] == b"MQ1,"
    np.testing.assert_array_equal(read(path)["data"], frames[:, ::-1])


def test_broken_stream_dumps(tmp_path: Path) -> None:
    path = writer.write_mib(tmp_path / "a.mib", numbered(3), 6, mpx=True)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.warns(RecordingWarning, match=r"last frame is incomplete|3 frames, 2 are stored"):
        assert nav(read(path)) == (2,)
    path.write_bytes(content[:2063])
    with pytest.raises(Truncated, match="ends before any image"):
        read(path)
    path.write_bytes(content[:2063] + b"garbage of some length")
    with pytest.raises(NotThisFormat, match=r"damaged dump of .* stream.*at byte 2063"):
        read(path)
    path.write_bytes(content[:2063] * 5)
    with pytest.raises(NotThisFormat, match="without images"):
        read(path)


@pytest.mark.parametrize(("legacy", "dtype"), [("12B", "u2"), ("24B", "u4")])
def test_headers_of_256_bytes(
    tmp_path: Path, rng: np.random.Generator, legacy: Any, dtype: str
) -> None:
    depth = int(legacy[:2])
    frames = images(rng, 3, (256, 256), depth)
    path = writer.write_mib(
        tmp_path / "a.mib", frames, depth, legacy=legacy, exposures_ns=2_500_000, first_sequence=4
    )
    recording = mib.parse(path)
    signal = read(path)
    assert signal["data"].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(signal["data"], frames[:, ::-1])
    assert signal["metadata"]["General"]["date"] == "2021-05-07"
    assert signal["metadata"]["General"]["time"] == "16:51:10.905"
    assert "time_zone" not in signal["metadata"]["General"]
    assert signal["metadata"]["Acquisition_instrument"]["dwell_time"] == 0.0025
    seen = recording.times.read(0, 3)
    assert seen.sequence.tolist() == [4, 5, 6]
    assert seen.exposure_ns.tolist() == [2_500_000] * 3
    assert np.diff(seen.time_ns).tolist() == [3_000_000, 2_000_000]
    assert recording.original_metadata["mib_header"]["thresholds_keV"] == [27.0, 3.6]


def test_clock_of_2015_makes_no_scan_lines(tmp_path: Path) -> None:
    """It shows milliseconds: every tenth step of 1.1 ms seems twice as long."""
    heads = writer.legacy_headers(
        np.arange(1, 61),
        times_ns=writer.START_NS + np.arange(60) * 1_100_000,
        exposures_ns=1_100_000,
    )
    seen = frame_times(heads)
    assert set(np.diff(seen.time_ns).tolist()) == {1_000_000, 2_000_000}
    path = tmp_path / "a.mib"
    pixels = np.zeros((60, 256 * 256 * 2), np.uint8)
    path.write_bytes(np.concatenate([heads, pixels], axis=1).tobytes())
    assert nav(read(path, lazy=True)) == (60,)


# -- damage --------------------------------------------------------------------------------------


def test_last_frame_incomplete(tmp_path: Path) -> None:
    path = writer.write_mib(tmp_path / "a.mib", numbered(5), 6, truncate=1)
    with pytest.warns(RecordingWarning, match=r"last frame is incomplete \(447 of 448 bytes\)"):
        assert order(read(path)) == [0, 1, 2, 3]


def test_last_frame_damaged(tmp_path: Path) -> None:
    path = writer.write_mib(tmp_path / "a.mib", numbered(5), 6)
    content = bytearray(path.read_bytes())
    content[4 * 448 : 4 * 448 + 384] = bytes(384)
    path.write_bytes(content)
    with pytest.warns(RecordingWarning, match=r"last frame \(4\) has no header.*last_frame="):
        signal = read(path)
    assert order(signal) == [0, 1, 2, 3, 4]  # pixels are there, the caller decides
    with pytest.warns(RecordingWarning, match="no header"):
        assert order(read(path, last_frame=-1)) == [0, 1, 2, 3]


def test_lost_frames_are_told(tmp_path: Path) -> None:
    path = writer.write_mib(tmp_path / "a.mib", numbered(5), 6, sequences=[3, 4, 7, 8, 9])
    with pytest.warns(RecordingWarning, match="2 frames were lost: .* numbered 3 to 9"):
        assert nav(read(path)) == (5,)
    # repeated numbers, and a counter that starts again, are no loss
    for sequences in ([1, 1, 1, 1, 1], [999_997, 999_998, 999_999, 1, 2]):
        path = writer.write_mib(tmp_path / "b.mib", numbered(5), 6, sequences=sequences)
        assert nav(read(path)) == (5,)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", Truncated, "is empty"),
        (b"MQ1,000001,00384,01,", NotThisFormat, "damaged first header"),
        (b"not a recording at all", NotThisFormat, "begins with b'not a recording"),
        (writer.header()[:383], Truncated, "holds no complete frame"),
        (writer.header(), Truncated, "holds no complete frame"),
        (writer.header().replace(b",0256,0256,", b",0000,0256,"), NotThisFormat, "image size"),
        (writer.header().replace(b"00384", b"00010"), NotThisFormat, "damaged first header"),
        (b"PR1" + writer.header()[3:], NotThisFormat, "instead of 'MQ1,'"),
        (bytes(1000), NotThisFormat, "nothing but zeros"),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, content: bytes, error: type[FormatError], message: str
) -> None:
    path = tmp_path / "broken.mib"
    path.write_bytes(content)
    with pytest.raises(error, match=r"broken\.mib: .*" + message):
        read(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gap": "2"}, "gap='2' is neither"),
        ({"gap": -1}, "gap=-1 is neither"),
        ({"depth": 8}, "depth=8 is none of 1, 6, 12, 24"),
        ({"layout": "4x4"}, "layout='4x4' is none of"),
        ({"layers": 9}, "layers=9 for a recording of 4 frames"),
        ({"layers": 0}, "layers=0"),
        ({"scan": "guess"}, "scan='guess' is none of"),
        ({"flyback": "remove"}, "flyback='remove' is none of"),
    ],
)
def test_impossible_keywords(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = writer.write_mib(tmp_path / "a.mib", numbered(4), 6)
    with pytest.raises(ValueError, match=message):
        read(path, **options)


# -- scan shape: the .hdr ------------------------------------------------------------------------


def written(tmp_path: Path, count: int, hdr: dict[str, Any] | None = None, **more: Any) -> Path:
    return writer.write_mib(tmp_path / "a.mib", numbered(count), 6, hdr=hdr, **more)


@pytest.mark.parametrize("per_trigger", [0, 1, 3, 12])
def test_scan_size_of_the_camera(tmp_path: Path, per_trigger: int) -> None:
    path = written(
        tmp_path,
        12,
        {"frames_per_trigger": per_trigger, "scan_x": 3, "scan_y": 4, "software": "1.5"},
    )
    signal = read(path)
    assert nav(signal) == (4, 3)
    assert evidence(signal)["rule"] == "header"
    assert "ScanX = 3, ScanY = 4" in evidence(signal)["reason"]
    assert [axis["size"] for axis in signal["axes"]] == [4, 3, 4, 16]


def test_scan_size_with_flyback_columns(tmp_path: Path) -> None:
    """Five frames per trigger for three columns: nothing says which two are of the flyback."""
    path = written(tmp_path, 20, {"frames_per_trigger": 5, "scan_x": 3, "scan_y": 4})
    with pytest.warns(
        RecordingWarning, match="5 frames are stored per line of 3, and nothing says which"
    ):
        signal = read(path)
    assert order(signal) == np.arange(20).reshape(4, 5).tolist()
    assert "5 frames per trigger" in evidence(signal)["reason"]
    with pytest.warns(RecordingWarning, match="the last 2 frames of each line of 5 are left out"):
        dropped = read(path, flyback="drop")
    assert order(dropped) == [[0, 1, 2], [5, 6, 7], [10, 11, 12], [15, 16, 17]]
    assert dropped["original_metadata"]["rsciio_tem"]["frames"]["skipped_in_lines"] == 6


def test_scan_size_with_flyback_columns_that_the_exposures_show(tmp_path: Path) -> None:
    exposures = np.full(20, 10**6)
    exposures[::5] = 3 * 10**6
    path = written(
        tmp_path, 20, {"frames_per_trigger": 5, "scan_x": 4, "scan_y": 4}, exposures_ns=exposures
    )
    assert order(read(path)) == [list(range(i + 1, i + 5)) for i in (0, 5, 10, 15)]


def test_scan_size_with_flyback_columns_by_counting(tmp_path: Path) -> None:
    path = written(tmp_path, 16, {"scan_x": 3, "scan_y": 4})
    with pytest.warns(RecordingWarning, match="4 frames are stored per line of 3"):
        signal = read(path)
    assert order(signal) == np.arange(16).reshape(4, 4).tolist()
    assert evidence(signal)["confidence"] >= 0.8


def test_scan_size_too_small_or_too_large(tmp_path: Path) -> None:
    path = written(tmp_path, 13, {"scan_x": 4, "scan_y": 2})
    with pytest.warns(RecordingWarning) as caught:
        signal = read(path)
    assert order(signal) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    text = " ".join(str(w.message) for w in caught)
    assert "5 of 13 frames lie beyond the scan of 8" in text
    assert "nothing but one entry tells the lines" in text
    assert evidence(signal)["confidence"] < 0.8
    path = written(tmp_path, 10, {"scan_x": 4, "scan_y": 4})
    with pytest.warns(RecordingWarning, match="only 2 of 4 lines are complete|but one entry"):
        assert nav(read(path)) == (2, 4)
    with pytest.warns(RecordingWarning, match="6 of 16 scan positions|but one entry"):
        assert nav(read(path, missing="fill")) == (4, 4)


def test_frames_per_trigger(tmp_path: Path) -> None:
    path = written(tmp_path, 12, {"frames_per_trigger": 4})
    signal = read(path)
    assert order(signal) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert evidence(signal)["rule"] == "trigger"
    assert nav(read(path.with_suffix(".hdr"))) == (3, 4)
    assert nav(read(path, navigation_shape=(2, 6))) == (6, 2)
    assert nav(read(path, scan="stack")) == (12,)


def test_frames_per_trigger_of_an_interrupted_scan(tmp_path: Path) -> None:
    path = written(tmp_path, 14, {"frames": 20, "frames_per_trigger": 4})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RecordingWarning)
        assert nav(read(path)) == (3, 4)
    text = " ".join(str(w.message) for w in caught)
    assert "only 3 of 5 lines are complete" in text
    assert "announces 20 frames, 14 are stored" in text
    with pytest.warns(RecordingWarning, match="6 of 20 scan positions|20 frames, 14|but one entry"):
        data = read(path, missing="fill", fill_value=99)["data"][..., 0, 0]
    assert data.tolist() == [*np.arange(12).reshape(3, 4).tolist(), [12, 13, 99, 99], [99] * 4]


def test_frames_per_trigger_that_do_not_divide(tmp_path: Path) -> None:
    path = written(tmp_path, 12, {"frames_per_trigger": 5})
    with pytest.warns(
        RecordingWarning, match="only 2 of 3 lines.*2 frames of the next line|but one entry"
    ):
        assert nav(read(path)) == (2, 5)


def test_acquisition_until_stopped(tmp_path: Path) -> None:
    """Frames in Acquisition is 0 then."""
    path = written(tmp_path, 12, {"frames": 0, "frames_per_trigger": 3})
    with pytest.warns(RecordingWarning, match="nothing but one entry tells the lines"):
        assert nav(read(path)) == (4, 3)
    path = written(tmp_path, 12, {"frames": 0, "frames_per_trigger": 0})
    assert nav(read(path)) == (12,)


@pytest.mark.parametrize("scan", [False, True])
def test_one_trigger_for_all_frames_says_nothing(
    tmp_path: Path, rng: np.random.Generator, scan: bool
) -> None:
    times, exposures = writer.scan_times((3, 4), line_gap_ns=20_000 if scan else 0, rng=rng)
    path = written(tmp_path, 12, {"frames_per_trigger": 12}, times_ns=times, exposures_ns=exposures)
    signal = read(path)
    assert nav(signal) == ((3, 4) if scan else (12,))
    assert evidence(signal)["rule"] == ("timestamps" if scan else "stack")


@pytest.mark.parametrize(
    "drop",
    [
        ("Frames per Trigger",),
        ("Frames in Acquisition",),
        ("Frames per Trigger", "Frames in Acquisition", "Trigger Start", "Trigger Stop"),
        ("Gap Fill Mode", "Humidity", "DAC File", "Frames per Trigger", "End"),
        ("Active Counters", "Software Version", "Counter Depth"),
    ],
    ids=str,
)
def test_keys_missing_in_hdr(tmp_path: Path, drop: tuple[str, ...]) -> None:
    path = written(tmp_path, 12, {"frames_per_trigger": 4, "drop": drop, "micro": True})
    expected = (12,) if "Frames per Trigger" in drop else (3, 4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RecordingWarning)
        assert nav(read(path)) == expected
    uncertain = [w for w in caught if "nothing but one entry" in str(w.message)]
    assert bool(uncertain) == (drop == ("Frames in Acquisition",))


def test_side_file_that_is_something_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, 4)
    path.with_suffix(".hdr").write_bytes(b"ENVI\ndescription = {}")
    with caplog.at_level(logging.INFO):
        signal = read(path)
    assert "side file ignored" in caplog.text
    assert "hdr_file" not in signal["original_metadata"]
    with pytest.raises(NotThisFormat, match="does not begin with HDR"):
        read(path.with_suffix(".hdr"))


# -- scan shape: times ---------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", [None, "Rising Edge", "Falling Edge LVDS", "Internal"])
def test_line_ends_in_the_timestamps(
    tmp_path: Path, rng: np.random.Generator, trigger: str | None
) -> None:
    times, exposures = writer.scan_times((5, 4), rng=rng)
    hdr = {"trigger_start": trigger} if trigger else None
    path = written(tmp_path, 20, hdr, times_ns=times, exposures_ns=exposures)
    signal = read(path)
    if trigger == "Internal":  # the camera's own clock knows nothing of lines
        assert nav(signal) == (20,)
        assert nav(read(path, scan="timestamps")) == (5, 4)
    else:
        assert nav(signal) == (5, 4)
        assert evidence(signal)["rule"] == "timestamps"


def test_line_ends_in_local_times(tmp_path: Path, rng: np.random.Generator) -> None:
    """Without extension there is only a clock of µs, written dd/mm/yyyy before 2018."""
    times, exposures = writer.scan_times((5, 4), line_gap_ns=50_000, rng=rng)
    path = written(tmp_path, 20, times_ns=times, exposures_ns=exposures, mq1a=False, day_first=True)
    signal = read(path)
    assert nav(signal) == (5, 4)
    assert signal["metadata"]["General"]["date"] == "2021-05-07"
    assert signal["metadata"]["General"]["time"] == "16:51:10.905800"
    first = mib.parse(path).times.read(0, 1).time_ns.tolist()
    assert first == [int(times[0]) // 1000 * 1000]
    path = written(tmp_path, 60, exposures_ns=1_000_500, mq1a=False)  # steps of 1000 and 1001 µs
    assert nav(read(path)) == (60,)


@pytest.mark.parametrize("count", [4, 9, 16, 100])
def test_square_is_never_taken_silently(
    tmp_path: Path, rng: np.random.Generator, count: int
) -> None:
    times, exposures = writer.scan_times((1, count), rng=rng)
    path = written(tmp_path, count, times_ns=times, exposures_ns=exposures)
    signal = read(path)
    assert nav(signal) == (count,)
    side = math.isqrt(count)
    assert [side, side] in [other["shape"] for other in evidence(signal)["alternatives"]]
    with pytest.warns(RecordingWarning, match="perfect square"):
        assert nav(read(path, scan="square")) == (side, side)


def test_no_square_to_take(tmp_path: Path) -> None:
    path = written(tmp_path, 7)
    with pytest.raises(FormatError, match='scan="square" finds no scan shape for 7 frames'):
        read(path, scan="square")


def test_flyback_frames_kept_and_dropped(tmp_path: Path) -> None:
    exposures = writer.flyback_exposures(6, 5, 0, startup_ns=None)
    path = written(tmp_path, 30, exposures_ns=exposures)
    signal = read(path)
    grid = np.arange(30).reshape(6, 5)
    dropped = grid[:, 1:].tolist()
    assert order(signal) == dropped
    assert evidence(signal)["rule"] == "exposures"
    assert signal["original_metadata"]["rsciio_tem"]["frames"]["skipped_in_lines"] == 5
    assert order(read(path, flyback="keep")) == grid.tolist()
    assert order(read(path, flyback="drop")) == dropped
    assert order(read(path, flyback="drop", nav_shape=(6, 4))) == dropped
    assert order(read(path, flyback="drop", navigation_shape=(4, 5))) == dropped[:5]
    assert order(read(path, flyback="drop", lazy=True)) == dropped


def test_flyback_of_an_interrupted_scan(tmp_path: Path) -> None:
    exposures = writer.flyback_exposures(6, 5, 0, startup_ns=None)[:28]
    path = written(tmp_path, 28, exposures_ns=exposures)
    grid = np.arange(25).reshape(5, 5)
    for options, expected in (({}, grid[:, 1:]), ({"flyback": "keep"}, grid)):
        with pytest.warns(RecordingWarning, match="only 5 of 6 lines are complete"):
            assert order(read(path, **options)) == expected.tolist()


def test_frames_before_the_first_flyback(tmp_path: Path) -> None:
    """They are the end of a line: the rest of it was not recorded."""
    exposures = writer.flyback_exposures(6, 5, 2)
    path = written(tmp_path, 32, exposures_ns=exposures)
    with pytest.warns(RecordingWarning, match="line 0 columns 0 to 1 were not recorded"):
        lines = order(read(path))
    assert lines[0][2:] == [0, 1]
    assert lines[1:] == (np.arange(2, 32).reshape(6, 5)[:, 1:]).tolist()


def test_flyback_that_nobody_sees(tmp_path: Path) -> None:
    path = written(tmp_path, 12, {"frames_per_trigger": 4})
    with pytest.raises(FormatError, match=r"no flyback frames are seen.*line_skip="):
        read(path, flyback="drop")


def test_line_skip(tmp_path: Path) -> None:
    path = written(tmp_path, 15)
    kept = np.arange(15).reshape(3, 5)[:, :4]
    assert order(read(path, navigation_shape=(4, 3), line_skip=1)) == kept.tolist()
    assert order(read(path, nav_shape=(3, 4), line_skip=1)) == kept.tolist()
    assert order(read(path, nav_shape=(-1, 4), line_skip=1)) == kept.tolist()
    assert order(read(path, nav_shape=(3, 4), line_skip=1, lazy=True)) == kept.tolist()
    # the skipped frame of the last line need not exist
    assert order(read(path, nav_shape=(3, 4), line_skip=1, last_frame=14)) == kept.tolist()
    assert order(read(path, nav_shape=(-1, 4), line_skip=1, last_frame=14)) == kept.tolist()
    assert order(read(path, nav_shape=(2, 4), line_skip=1, first_frame=5)) == kept[1:].tolist()
    # the skipped frames lie ahead of the lines: begin one later
    assert order(read(path, nav_shape=(3, 4), line_skip=1, first_frame=1)) == (kept + 1).tolist()
    # what the file says of its lines, less the skipped frames
    path = written(tmp_path, 15, {"frames_per_trigger": 5})
    assert order(read(path, line_skip=1)) == kept.tolist()
    with pytest.raises(FormatError, match="line_skip=5 leaves nothing of lines of 5 frames"):
        read(path, line_skip=5)


def test_257_frames_per_line_of_256(tmp_path: Path) -> None:
    path = writer.write_mib(
        tmp_path / "a.mib", np.arange(257 * 4).reshape(-1, 1, 1) + np.zeros((1, 1, 4), int)
    )
    data = read(path, navigation_shape=(256, 4), line_skip=1, lazy=True)["data"]
    assert data.shape == (4, 256, 1, 4)
    expected = np.arange(257 * 4).reshape(4, 257)[:, :256]
    np.testing.assert_array_equal(data[..., 0, 0].compute(), expected)


# -- colour and two counters ---------------------------------------------------------------------


@pytest.mark.parametrize("layers", [4, 8])
def test_colour(tmp_path: Path, layers: int) -> None:
    path = written(tmp_path, 6 * layers, colour=1, counters=np.arange(6 * layers) % layers)
    signal = read(path)
    assert order(signal) == np.arange(6 * layers).reshape(6, layers).T.tolist()
    assert signal["axes"][0]["name"] == "counter"
    assert signal["axes"][0]["size"] == layers
    signal = read(path, navigation_shape=(3, 2))
    assert order(signal) == np.arange(6 * layers).reshape(2, 3, layers).transpose(2, 0, 1).tolist()
    assert [axis["size"] for axis in signal["axes"]] == [layers, 2, 3, 4, 16]
    assert nav(read(path, layers=1)) == (6 * layers,)


def test_colour_with_trigger_and_an_odd_end(tmp_path: Path) -> None:
    hdr = {"frames_per_trigger": 3, "chip_mode": "CM"}
    path = written(tmp_path, 24, hdr, colour=1, counters=np.arange(24) % 4)
    assert nav(read(path)) == (4, 2, 3)
    path.with_suffix(".hdr").unlink()
    path = written(tmp_path, 23, colour=1, counters=np.arange(23) % 4)
    with pytest.warns(RecordingWarning, match="23 frames are not a multiple of 4 counters"):
        assert nav(read(path)) == (4, 5)


def test_two_counters(tmp_path: Path) -> None:
    counters = np.arange(12) % 2
    path = written(tmp_path, 12, {"active_counters": "Counter 0 & Counter 1"}, counters=counters)
    assert order(read(path)) == [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]
    for active in ("Alternating", "Counter 0"):
        path = written(tmp_path, 12, {"active_counters": active}, counters=counters)
        assert nav(read(path)) == (12,)


def test_two_counters_without_hdr(tmp_path: Path) -> None:
    counters = np.arange(12) % 2
    path = written(tmp_path, 12, counters=counters)
    with pytest.warns(RecordingWarning, match="alternate between two counters.*layers=2"):
        assert nav(read(path)) == (12,)
    path = written(tmp_path, 12, counters=counters, times_ns=0, mq1a=False)
    with pytest.warns(RecordingWarning, match="alternate"):  # no times to go by
        assert nav(read(path)) == (12,)
    assert nav(read(path, layers=2)) == (2, 6)
    times = writer.START_NS + np.arange(12) // 2 * 10**6 + counters * 1000
    path = written(tmp_path, 12, counters=counters, times_ns=times)
    assert order(read(path)) == [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]


def test_layers_with_selection(tmp_path: Path) -> None:
    path = written(tmp_path, 24)
    signal = read(path, layers=2, nav_shape=(3, 4), snake=True)
    grid = np.arange(24).reshape(3, 4, 2)
    grid[1] = grid[1, ::-1]
    assert order(signal) == grid.transpose(2, 0, 1).tolist()
    signal = read(path, layers=2, nav_shape=(2, 4), line_skip=1, first_frame=2)
    grid = np.arange(2, 20).reshape(-1, 2)
    assert order(signal) == [[grid[:4, i].tolist(), grid[5:9, i].tolist()] for i in (0, 1)]


# -- several files -------------------------------------------------------------------------------


def write_set(
    folder: Path, names: list[str], each: int = 3, first: int = 1, hdr: str = "", **more: Any
) -> list[Path]:
    frames = numbered(each * len(names)) % 64
    paths = [
        writer.write_mib(
            folder / name,
            frames[i * each : (i + 1) * each],
            6,
            first_sequence=first + i * each,
            times_ns=writer.START_NS + 10**9 * np.arange(i * each, (i + 1) * each),
            **more,
        )
        for i, name in enumerate(names)
    ]
    if hdr:
        (folder / hdr).write_bytes(writer.hdr_text(each * len(names), each * len(names) // 2, 6))
    return paths


SETS = [
    ["scan.mib", "scan1.mib", "scan2.mib", "scan3.mib"],
    ["scan_000001.mib", "scan_000002.mib", "scan_000003.mib", "scan_000004.mib"],
    ["scan8.mib", "scan9.mib", "scan10.mib", "scan11.mib"],
    ["SCAN1.MIB", "SCAN2.MIB", "SCAN3.MIB", "SCAN4.MIB"],
    ["a[1] x_1.mib", "a[1] x_2.mib", "a[1] x_3.mib", "a[1] x_4.mib"],
]


@pytest.mark.parametrize("opened", [0, 1, 3, "hdr"])
@pytest.mark.parametrize("names", SETS, ids=lambda names: names[0])
def test_set_opened_through_any_member(tmp_path: Path, names: list[str], opened: Any) -> None:
    suffix = ".HDR" if names[0].isupper() else ".hdr"
    hdr = os.path.splitext(names[0])[0].rstrip("_0123456789") + suffix
    paths = write_set(tmp_path, names, hdr=hdr)
    path = tmp_path / hdr if opened == "hdr" else paths[opened]
    signal = read(path)
    assert order(signal) == np.arange(12).reshape(2, 6).tolist()
    assert "Frames per Trigger (Number)" in signal["original_metadata"]["hdr_file"]
    files = signal["original_metadata"]["rsciio_tem"]["files"]
    assert files == [str(p) for p in [*paths, tmp_path / hdr]]
    # what is said about the recording is said by its first frame
    assert signal["metadata"]["General"]["time"] == "16:51:10.905800928"
    assert signal["original_metadata"]["mib_header"]["first_sequence_number"] == 1
    assert order(read(path, lazy=True)) == order(signal)
    assert mib.parse(path).times.read(0, 12).sequence.tolist() == list(range(1, 13))


def test_single_file_of_a_set(tmp_path: Path) -> None:
    paths = write_set(tmp_path, SETS[0])
    assert order(read(paths[1], single_file=True)) == [3, 4, 5]
    assert order(read(paths[1])) == list(range(12))


def test_gap_in_the_numbering_is_told(tmp_path: Path) -> None:
    paths = write_set(tmp_path, SETS[1])
    paths[1].unlink()
    with pytest.warns(
        RecordingWarning,
        match="scan_000003.mib is not read with scan_000001.mib: it begins with frame number 7",
    ):
        assert order(read(paths[0])) == [0, 1, 2]
    # seen from behind, what precedes may be another recording
    assert order(read(paths[2])) == [6, 7, 8, 9, 10, 11]


def test_recordings_with_a_common_name_are_kept_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in (1, 2, 3):
        write_set(tmp_path, [f"a{i}.mib"])
    with caplog.at_level(logging.INFO):
        signal = read(tmp_path / "a2.mib")
    assert order(signal) == [0, 1, 2]
    assert signal["original_metadata"]["rsciio_tem"]["files"] == [str(tmp_path / "a2.mib")]
    assert "a1.mib is not read with a2.mib: it begins with frame number 1" in caplog.text


def test_members_of_another_kind_are_not_merged(tmp_path: Path) -> None:
    first = writer.write_mib(tmp_path / "s1.mib", numbered(3), 6)
    writer.write_mib(tmp_path / "s2.mib", numbered(3), 12, first_sequence=4)
    writer.write_mib(tmp_path / "s_U16.mib", numbered(3), 12, first_sequence=4)
    writer.write_mib(tmp_path / "t2.mib", numbered(3), 6, first_sequence=4)
    assert order(read(first)) == [0, 1, 2]
    assert order(read(tmp_path / "s2.mib")) == [0, 1, 2]
    writer.write_mib(tmp_path / "s2.mib", numbered(3, (8, 16)), 6, first_sequence=4)
    assert order(read(first)) == [0, 1, 2]


def test_empty_member(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = write_set(tmp_path, SETS[0])
    paths[3].write_bytes(b"")
    with caplog.at_level(logging.INFO):
        assert order(read(paths[0])) == list(range(9))
    assert "scan3.mib is not read with scan.mib: it holds no complete frame" in caplog.text


def test_interrupted_set(tmp_path: Path) -> None:
    paths = write_set(tmp_path, SETS[0])
    content = paths[3].read_bytes()
    paths[3].write_bytes(content[:-5])
    with pytest.warns(RecordingWarning, match=r"scan3\.mib ends with 443 bytes of a frame"):
        assert order(read(paths[0])) == list(range(11))
    paths[3].write_bytes(content[:300])
    with pytest.warns(RecordingWarning, match=r"scan3\.mib .*holds no complete frame"):
        assert order(read(paths[0])) == list(range(9))


@pytest.mark.parametrize(
    "first", [999_995, 999_999 - 5, 1_000_000 - 6, 999_999, 1_234_567], ids=str
)
@pytest.mark.parametrize("wrap", [False, True])
def test_more_than_a_million_frames(tmp_path: Path, first: int, wrap: bool) -> None:
    """The number of a frame outgrows its six digits, or starts again at 1."""
    frames = numbered(12)
    numbers = first + np.arange(12)
    numbers = (numbers - 1) % 999_999 + 1 if wrap else numbers
    for i in range(4):
        part = slice(3 * i, 3 * i + 3)
        writer.write_mib(tmp_path / f"s{i + 1}.mib", frames[part], 6, sequences=numbers[part])
    for i in (1, 2, 4):
        assert order(read(tmp_path / f"s{i}.mib")) == list(range(12))
    recording = mib.parse(tmp_path / "s1.mib")
    assert recording.times.read(0, 12).sequence.tolist() == numbers.tolist()


@pytest.mark.parametrize("opened", ["scan5.mib", "scan51.mib", "scan52.mib", "scan5.hdr"])
def test_stem_that_ends_with_a_digit(tmp_path: Path, opened: str) -> None:
    write_set(tmp_path, ["scan5.mib", "scan51.mib", "scan52.mib", "scan53.mib"], hdr="scan5.hdr")
    for i in (4, 6, 7):  # other recordings
        write_set(tmp_path, [f"scan{i}.mib"])
    signal = read(tmp_path / opened)
    assert order(signal) == np.arange(12).reshape(2, 6).tolist()
    names = [Path(path).name for path in signal["original_metadata"]["rsciio_tem"]["files"]]
    assert names == ["scan5.mib", "scan51.mib", "scan52.mib", "scan53.mib", "scan5.hdr"]
    assert order(read(tmp_path / "scan6.mib")) == [0, 1, 2]
    # 51 would continue the frame numbers of 7 as well
    with pytest.warns(RecordingWarning, match=r"scan51\.mib .*a number is missing between"):
        assert order(read(tmp_path / "scan7.mib")) == [0, 1, 2]


def test_hdr_finds_its_own_recording(tmp_path: Path) -> None:
    for name, count in (("a.mib", 4), ("a1.mib", 6), ("a12.mib", 8)):
        writer.write_mib(tmp_path / name, numbered(count), 6, hdr={})
    assert nav(read(tmp_path / "a.hdr")) == (4,)
    assert nav(read(tmp_path / "a1.hdr")) == (6,)
    (tmp_path / "a1.mib").unlink()
    with pytest.raises(FormatError, match=r"a1\.hdr: no \.mib file lies beside it.*a1\.mib"):
        read(tmp_path / "a1.hdr")


def test_hdr_of_a_member_goes_before_that_of_the_set(tmp_path: Path) -> None:
    paths = write_set(tmp_path, SETS[1], hdr="scan.hdr")
    assert nav(read(paths[2])) == (2, 6)
    paths[2].with_suffix(".hdr").write_bytes(writer.hdr_text(12, 4, 6))
    assert nav(read(paths[2])) == (3, 4)


def test_members_that_change_are_noticed(tmp_path: Path) -> None:
    paths = write_set(tmp_path, SETS[0])
    data = read(paths[0], lazy=True)["data"]
    with paths[2].open("ab") as file:
        file.write(b"more")
    with pytest.raises(FormatError, match=r"scan2\.mib: changed since it was opened"):
        data[7].compute()


def test_hdr_of_another_recording(tmp_path: Path) -> None:
    """A .hdr without the number is that of a set, or of one recording; never of two."""
    for name in ("run.mib", "run2.mib"):
        write_set(tmp_path, [name], each=6)
    (tmp_path / "run.hdr").write_bytes(writer.hdr_text(6, 2, 6))
    assert mib.parse(tmp_path / "run.mib").files[1:] == (str(tmp_path / "run.hdr"),)
    assert mib.parse(tmp_path / "run2.mib").files[1:] == ()
    (tmp_path / "run.mib").rename(tmp_path / "run1.mib")
    with pytest.warns(RecordingWarning, match=r"run\.hdr is not read: run1\.mib, which begins"):
        assert "hdr_file" not in read(tmp_path / "run2.mib")["original_metadata"]
    (tmp_path / "run1.mib").unlink()
    assert mib.parse(tmp_path / "run2.mib").files[1:] == (str(tmp_path / "run.hdr"),)


@pytest.mark.parametrize(
    ("asked", "depth", "reason"),
    [(6, 12, "it says 12 bits of counter depth, the frames 6"), (4, 6, "it announces 4 frames")],
)
def test_hdr_that_contradicts_a_set(tmp_path: Path, asked: int, depth: int, reason: str) -> None:
    (path,) = write_set(tmp_path, ["run_000001.mib"], each=6)
    (tmp_path / "run.hdr").write_bytes(writer.hdr_text(asked, 2, depth))
    recording = mib.parse(path)
    assert recording.files == (str(path),)
    assert [reason in problem.message for problem in recording.problems] == [True]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_hdr_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    (path,) = write_set(tmp_path, ["run.mib"], each=6)
    text = writer.hdr_text(6, 2, 6).decode("latin-1")
    (tmp_path / "run.hdr").write_bytes(text.encode(encoding))
    for name in (path, tmp_path / "run.hdr"):
        assert nav(read(name)) == (3, 2)
        assert rsciio_tem.detect(name)[0].format == "mib"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipe_beside_a_recording(tmp_path: Path) -> None:
    (path,) = write_set(tmp_path, ["run.mib"])
    os.mkfifo(tmp_path / "run1.mib")
    os.mkfifo(tmp_path / "run.hdr")
    with pytest.raises(FormatError, match=r"run1\.mib: is a pipe, not a file"):
        read(path)
    assert order(read(path, single_file=True)) == [0, 1, 2]
    with pytest.raises(FormatError, match=r"run1\.mib: is a pipe, not a file"):
        read(tmp_path / "run1.mib")


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """List the .mib files that are opened."""
    opened: list[str] = []
    real_open, real_os_open = builtins.open, os.open

    def count(path: Any) -> None:
        if str(path).endswith(".mib"):
            opened.append(str(path))

    def open_(path: Any, *args: Any, **kwargs: Any) -> Any:
        count(path)
        return real_open(path, *args, **kwargs)

    def os_open(path: Any, *args: Any, **kwargs: Any) -> Any:
        count(path)
        return real_os_open(path, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "open", open_)
        patch.setattr(io, "open", open_)
        patch.setattr(os, "open", os_open)
        yield opened


@pytest.fixture(scope="module")
def ten_thousand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("many")
    heads = writer.headers(
        np.arange(1, 10_001), (1, 4), 12, times_ns=writer.START_NS + np.arange(10_000) * 10**6
    )
    for i, head in enumerate(heads):
        pixels = np.full(4, i, ">u2").tobytes()
        (folder / f"scan_{i + 1:06d}.mib").write_bytes(head.tobytes() + pixels)
    yield folder
    shutil.rmtree(folder)


def test_ten_thousand_files_as_one_recording(ten_thousand: Path) -> None:
    path = ten_thousand / "scan_000001.mib"
    begin = time.perf_counter()
    with opened_files() as opened:
        signal = read(path, lazy=True, nav_shape=(100, 100))
    elapsed = time.perf_counter() - begin
    assert signal["data"].shape == (100, 100, 1, 4)
    assert 0 < len(opened) < 100
    assert elapsed < 3
    with opened_files() as opened:
        assert signal["data"][12, 34].compute().tolist() == [[1234] * 4]
    assert opened == [str(ten_thousand / "scan_001235.mib")]


def test_ten_thousand_files_eagerly(ten_thousand: Path) -> None:
    begin = time.perf_counter()
    data = read(ten_thousand / "scan_005000.mib")["data"]
    assert time.perf_counter() - begin < 10
    assert data.shape == (10_000, 1, 4)
    np.testing.assert_array_equal(data[:, 0, 0], np.arange(10_000))


def test_file_missing_among_ten_thousand(ten_thousand: Path, tmp_path: Path) -> None:
    lost = ten_thousand / "scan_007001.mib"
    kept = shutil.move(lost, tmp_path / lost.name)
    try:
        with pytest.warns(RecordingWarning, match="scan_007002.mib is not read with"):
            signal = read(ten_thousand / "scan_000001.mib", lazy=True, scan="stack")
        assert signal["data"].shape == (7000, 1, 4)
    finally:
        shutil.move(kept, lost)


# -- .hdr ----------------------------------------------------------------------------------------


def test_hdr_of_current_software(tmp_path: Path) -> None:
    path = tmp_path / "a.hdr"
    path.write_bytes(writer.hdr_text(35, 7, scan_x=7, scan_y=5, software="1.5"))
    found = mib.parse_hdr_file(path)
    assert found["ScanX"] == "7"
    assert found["ScanY"] == "5"
    assert found["Software Version"] == "1.5"
    assert found["Frames per Trigger (Number)"] == "7"
    assert found["Sensor Bias (V)"] == "120 V"
    assert not {"HDR", "HDR,", "End"} & set(found)
    assert mib.parse_hdr_file(str(path)) == found


def test_hdr_of_old_software(tmp_path: Path) -> None:
    path = tmp_path / "a.hdr"
    drop = ("Frames per Trigger", "Gap Fill Mode", "Humidity", "DAC File", "End")
    path.write_bytes(writer.hdr_text(9, micro=True, drop=drop, software="0.65.8"))
    assert b"\xb5" in path.read_bytes()
    found = mib.parse_hdr_file(path)
    assert found["Sensor Bias (V, µA)"] == "120 V"
    assert found["Software Version"] == "0.65.8"
    assert "Frames per Trigger (Number)" not in found


@pytest.mark.parametrize("change", [(b"\r\n", b"\n"), (b"\r\n", b"\r"), (b"End\t", b"End")])
def test_hdr_with_other_line_ends(tmp_path: Path, change: tuple[bytes, bytes]) -> None:
    path = tmp_path / "a.hdr"
    text = writer.hdr_text(12, 4)
    path.write_bytes(text)
    expected = mib.parse_hdr_file(path)
    path.write_bytes(text.replace(*change).rstrip())
    assert mib.parse_hdr_file(path) == expected


def test_hdr_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.hdr"
    path.write_bytes(b"ENVI\n")
    with pytest.raises(NotThisFormat, match=r"a\.hdr: is not a Merlin header file"):
        mib.parse_hdr_file(path)
    with pytest.raises(FormatError, match=r"b\.hdr: does not exist"):
        mib.parse_hdr_file(tmp_path / "b.hdr")


@pytest.mark.parametrize("name", ["a.mib", "a.MIB", "a.mpx", "a.dat"])
def test_recognised_by_content(tmp_path: Path, name: str) -> None:
    path = writer.write_mib(tmp_path / name, numbered(2), 6, mpx=name == "a.mpx")
    best = rsciio_tem.detect(path)[0]
    assert best.format == "mib"
    assert best.confidence > 0.9
    path.write_bytes(b"MQ2" + path.read_bytes()[3:])
    assert not [c for c in rsciio_tem.detect(path) if c.format == "mib" and c.confidence > 0.5]


# -- as in rsciio.quantumdetector ----------------------------------------------------------------


@pytest.fixture
def peer() -> Any:
    return pytest.importorskip("rsciio.quantumdetector")


def contains(ours: Any, theirs: Any, where: str = "") -> None:
    """Check that a tree of dictionaries holds at least what another one holds."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), where
        for key, value in theirs.items():
            assert key in ours, f"{where}.{key}"
            contains(ours[key], value, f"{where}.{key}")
    elif theirs is not None and str(theirs) not in ("", "()"):  # they leave some properties empty
        assert ours == theirs, f"{where}: {ours!r}, RosettaSciIO {theirs!r}"
        assert isinstance(ours, (bool, int, float, str, tuple)), where


@pytest.mark.parametrize("layout", ["1x1", "2x2"])
@pytest.mark.parametrize("depth", [1, 6, 12, 24])
@pytest.mark.parametrize("hdr", [None, {"frames_per_trigger": 3}])
def test_metadata_is_a_superset(
    tmp_path: Path, peer: Any, layout: str, depth: int, hdr: Any
) -> None:
    shape = (64, 256) if layout == "1x1" else (128, 512)
    path = writer.write_mib(
        tmp_path / "a.mib",
        numbered(6, shape) % 2,
        depth,
        layout=layout,
        hdr=hdr,
        exposures_ns=1_234_567,
        times_ns=writer.START_NS + np.array([0, 1, 2, 8, 9, 10]) * 10**7,
    )
    (theirs,) = peer.file_reader(str(path))
    assert theirs["data"].shape[:2] == (2, 3)  # one pause is not a raster for us
    ours = read(str(path), navigation_shape=(3, 2))
    np.testing.assert_array_equal(ours["data"], theirs["data"])
    # they have no names in RosettaSciIO
    assert [a.pop("name") for a in ours["axes"]] == ["y", "x", "ky", "kx"]
    assert ours["axes"] == [{k: v for k, v in a.items() if k != "name"} for a in theirs["axes"]]
    contains(ours["metadata"], theirs["metadata"])
    contains(ours["original_metadata"], theirs["original_metadata"])
    assert ours["mapping"] == theirs["mapping"]
    assert set(theirs) <= set(ours)


def test_properties(tmp_path: Path) -> None:
    path = writer.write_mib(tmp_path / "a.mib", numbered(6, (64, 256)), 12, hdr={})
    theirs = importlib.import_module("rsciio.quantumdetector._api").MIBProperties()
    ours = mib.MIBProperties()
    ours.parse_file(str(path))
    theirs.parse_file(str(path))
    contains(vars(ours), vars(theirs))
    assert set(vars(theirs)) <= set(vars(ours))
    assert ours.merlin_size == (64, 256)  # rows, columns
    assert ours.dtype == "uint16"
    assert ours.exposure == 1.0
    text = str(ours)
    assert "Data is processed" in text
    assert "12-bit" in text

    again = mib.MIBProperties()
    again.parse_file(path.read_bytes())
    assert again.buffer
    assert again.merlin_size == (64, 256)
    raw = mib.MIBProperties()
    raw.parse_file(writer.write_mib(tmp_path / "b.mib", numbered(2, (512, 512)), 24, "raw", "2x2"))
    assert raw.raw
    assert raw.assembly_size == "quad"
    assert raw.merlin_size == (512, 512)
    assert raw.dynamic_range == "24-bit"


def test_print_info(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = writer.write_mib(tmp_path / "a.mib", numbered(6, (64, 256)), 12)
    read(path, print_info=True)
    mib.load_mib_data(str(path), print_info=True)
    shown = capsys.readouterr().out
    assert shown.count(f"Path: {path}") == 2
    assert shown.count("Number of frames to be read: 6") == 2


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"first_frame": 2},
        {"first_frame": 1, "last_frame": -2},
        {"navigation_shape": (4, 3)},
        {"navigation_shape": (2, 3)},
        {"navigation_shape": (12,)},
        {"return_mmap": False},
        {"return_mmap": False, "navigation_shape": (12, 1)},
        {"return_mmap": False, "last_frame": 1},
        {"mmap_mode": "r"},
        {"lazy": True},
    ],
    ids=str,
)
def test_load_mib_data(
    tmp_path: Path, rng: np.random.Generator, peer: Any, options: dict[str, Any]
) -> None:
    frames = images(rng, 12, (64, 256), 12)
    path = writer.write_mib(tmp_path / "a.mib", frames)
    ours = mib.load_mib_data(str(path), **options)
    theirs = peer.load_mib_data(str(path), **options)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)
    if options.get("return_mmap", True):
        assert isinstance(ours, np.memmap)
        assert ours.flags.writeable == theirs.flags.writeable


def test_load_mib_data_writes_nothing(tmp_path: Path) -> None:
    path = writer.write_mib(tmp_path / "a.mib", numbered(2), 6)
    before = path.read_bytes()
    data = mib.load_mib_data(path)
    data[...] = 7
    del data
    assert path.read_bytes() == before
    data = mib.load_mib_data(path, mmap_mode="r")
    with pytest.raises(ValueError, match="read-only"):
        data[...] = 7


def test_load_mib_data_lazily(tmp_path: Path, rng: np.random.Generator) -> None:
    import dask.array as da

    frames = images(rng, 12, (64, 256), 12)
    path = writer.write_mib(tmp_path / "a.mib", frames, 12, "raw")
    data = mib.load_mib_data(path, lazy=True, navigation_shape=(4, 3))
    assert isinstance(data, da.Array)
    np.testing.assert_array_equal(data, frames.reshape(3, 4, 64, 256))
    path = writer.write_mib(tmp_path / "b.mib", frames, 12)
    data = mib.load_mib_data(path, lazy=True, return_mmap=False, chunks=(3, 64, 256))
    assert isinstance(data, da.Array)
    assert data.chunks[0] == (3, 3, 3, 3)
    np.testing.assert_array_equal(data, frames)


@pytest.mark.parametrize("kind", ["processed", "raw"])
def test_load_mib_data_from_bytes(
    tmp_path: Path, rng: np.random.Generator, peer: Any, kind: Any
) -> None:
    frames = images(rng, 6, (64, 256), 12)
    content = writer.write_mib(tmp_path / "a.mib", frames, 12, kind).read_bytes()
    for buffer in (content, bytearray(content), memoryview(content)):
        np.testing.assert_array_equal(mib.load_mib_data(buffer), frames)
    data, heads = mib.load_mib_data(
        content, navigation_shape=(3, 2), return_headers=True, first_frame=0
    )
    np.testing.assert_array_equal(data, frames.reshape(2, 3, 64, 256))
    assert heads.shape == (2, 3)
    assert heads[1, 2].startswith(b"MQ1,000006,")
    if kind == "processed":
        np.testing.assert_array_equal(data, peer.load_mib_data(content, navigation_shape=(3, 2)))
    with pytest.raises(ValueError, match="lazily from bytes"):
        mib.load_mib_data(content, lazy=True)
    with pytest.raises(Truncated, match="is empty"):
        mib.load_mib_data(b"")
    with pytest.raises(NotThisFormat, match="<bytes>"):
        mib.load_mib_data(b"something else")


def test_load_mib_data_refuses(tmp_path: Path) -> None:
    path = writer.write_mib(tmp_path / "a.mib", numbered(6), 6)
    with pytest.raises(ValueError, match="return_mmap=True"):
        mib.load_mib_data(path, return_headers=True, return_mmap=False)
    with pytest.raises(TypeError, match="must be `None` or of tuple type"):
        mib.load_mib_data(path, navigation_shape=[3, 2])  # type: ignore[arg-type]


def test_distributed_is_deprecated_as_upstream(tmp_path: Path) -> None:
    from rsciio.exceptions import VisibleDeprecationWarning

    path = writer.write_mib(tmp_path / "a.mib", numbered(6), 6)
    with pytest.warns(VisibleDeprecationWarning, match="distributed"):
        read(path, distributed=True)
    with pytest.warns(VisibleDeprecationWarning, match="distributed"):
        mib.load_mib_data(path, distributed=False)


def test_mib_prop_is_filled(tmp_path: Path) -> None:
    path = writer.write_mib(tmp_path / "a.mib", numbered(6), 6)
    properties = mib.MIBProperties()
    mib.load_mib_data(path, navigation_shape=(3, 2), mib_prop=properties)
    assert properties.navigation_shape == (2, 3)
    assert properties.xy == 6
    assert properties.head_size == 384
    assert properties.frame_number_in_file == 6


def test_headers_and_their_times(tmp_path: Path, rng: np.random.Generator, peer: Any) -> None:
    times = writer.START_NS + rng.integers(0, 10**15, 12)
    exposures = rng.integers(1, 10**10, 12)  # of many lengths
    path = writer.write_mib(
        tmp_path / "a.mib", numbered(12, (4, 256)), 6, times_ns=times, exposures_ns=exposures
    )
    _, heads = mib.load_mib_data(str(path), return_headers=True)
    _, theirs = peer.load_mib_data(str(path), return_headers=True)
    np.testing.assert_array_equal(heads, theirs)
    assert mib.parse_timestamps(heads) == peer.parse_timestamps(theirs)
    assert mib.parse_exposures(heads) == pytest.approx(peer.parse_exposures(theirs), rel=1e-12)
    assert mib.parse_timestamps(heads[3]) == [peer.parse_timestamps(heads[3])[0]]
    assert mib.parse_exposures(bytes(heads[3])) == [exposures[3] / 1e6]
    assert mib.parse_exposures(list(heads[:2])) == (exposures[:2] / 1e6).tolist()
    for most in (0, 1, 5, 12, 99):
        assert len(mib.parse_timestamps(heads, max_index=most)) == min(most, 12)
        assert len(mib.parse_exposures(heads, max_index=most)) == min(most, 12)
    # arrays of the scan's shape, and really all of them
    grid = heads.reshape(3, 4)
    assert mib.parse_timestamps(grid, max_index=-1) == peer.parse_timestamps(theirs)
    assert mib.parse_exposures(grid, max_index=-1) == (exposures / 1e6).tolist()
    assert mib.parse_exposures([]) == []
    assert mib.parse_timestamps([]) == []
    with pytest.raises(TypeError, match="headers are bytes"):
        mib.parse_exposures(["MQ1"])  # type: ignore[list-item]


def test_more_headers_than_the_default_limit() -> None:
    heads = writer.headers(np.arange(1, 10_501), SMALL, 6, exposures_ns=np.arange(10_500) + 1)
    texts = heads.view("S384")[:, 0]
    assert len(mib.parse_exposures(texts)) == 10_000
    assert len(mib.parse_exposures(texts, max_index=-1)) == 10_500
    assert mib.parse_exposures(texts, max_index=-1)[-1] == 0.0105


def test_headers_that_do_not_say(tmp_path: Path) -> None:
    local = writer.header(mq1a=False)
    assert mib.parse_timestamps(local) == ["2021-05-07T16:51:10.905800000"]
    assert mib.parse_exposures(local) == [1.0]
    assert mib.parse_timestamps(bytes(384)) == [""]
    assert math.isnan(mib.parse_exposures(bytes(384))[0])
    assert math.isnan(mib.parse_exposures(b"MQ1,000001")[0])


def test_zeros_instead_of_a_header(tmp_path: Path) -> None:
    """An interrupted copy looks like this."""
    path = tmp_path / "a.mib"
    path.write_bytes(bytes(5000))
    for call in (mib.parse, rsciio_tem.load):
        with pytest.raises(FormatError, match=r"nothing but zeros.*Copy it again"):
            call(path)
