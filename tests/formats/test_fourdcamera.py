# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw files of the 4D Camera: sectors, positions, losses, other files, and stempy as a witness."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from writers.fourdcamera import write_fourdcamera

import rsciio_tem
from rsciio_tem.errors import FormatError, NotThisFormat, RecordingWarning, Truncated
from rsciio_tem.formats import fourdcamera
from rsciio_tem.formats.fourdcamera.header import read_headers
from rsciio_tem.frames.combined import Mosaic
from rsciio_tem.frames.table import FrameTable

SCAN = (2, 3)
RECORD = 16 + 2 * 144 * 576


def frames(count: int = 6) -> np.ndarray:
    return np.random.default_rng(4).integers(1, 4000, (count, 576, 576)).astype("u2")


def load(path: Any, **options: Any) -> np.ndarray:
    (signal,) = fourdcamera.file_reader(path, **options)
    return np.asarray(signal["data"])


def quietly(path: Any, **options: Any) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        return load(path, **options)


def theirs(folder: Path, version: int) -> np.ndarray:
    """Frames as stempy's compiled reader gives them, by position."""
    reader = pytest.importorskip("stempy.io", reason="stempy is not installed").reader
    out = None
    for block in reader(sorted(map(str, folder.glob("*.data"))), version=version):
        width, height = block.header.scan_dimensions
        out = np.zeros((height * width, 576, 576), "u2") if out is None else out
        out[block.header.image_numbers[0]] = block.data.reshape(576, 576)
    assert out is not None
    return out.reshape(height, width, 576, 576)


@pytest.mark.parametrize("order", ["line by line", "any"])
@pytest.mark.parametrize(("version", "files"), [(3, 1), (4, 1), (4, 2), (5, 1), (5, 3)])
def test_frames_at_their_positions(tmp_path: Path, version: int, files: int, order: str) -> None:
    data = frames()
    at = np.arange(6) if order != "any" else np.random.default_rng(2).permutation(6)
    positions = [divmod(int(p), 3) for p in at]
    path = write_fourdcamera(tmp_path, data, positions, scan=SCAN, version=version, files=files)
    expected = np.empty_like(data)
    expected[at] = data
    expected = expected.reshape(*SCAN, 576, 576)
    options = {"version": 4} if version == 4 else {}
    for file in tmp_path.iterdir():  # any of them
        np.testing.assert_array_equal(load(file, **options), expected, strict=True)
    lazy = fourdcamera.file_reader(path, lazy=True, **options)[0]["data"]
    np.testing.assert_array_equal(lazy[1, 2, 140:150, 3:5].compute(), expected[1, 2, 140:150, 3:5])
    assert rsciio_tem.check(path, **({"format": "fourdcamera"} if version == 4 else {})) == []
    assert rsciio_tem.detect(path)[0].format == "fourdcamera"
    np.testing.assert_array_equal(theirs(tmp_path, version), expected)


def test_stempy_reads_frames_by_position(tmp_path: Path) -> None:
    """Its multi-pass reader, which joins sectors by the number of the frame."""
    data = frames(12)
    positions = [divmod(i // 2, 3) for i in range(12)]
    path = write_fourdcamera(tmp_path, data, positions, scan=SCAN)
    mine = load(path)
    assert mine.shape == (*SCAN, 2, 576, 576)
    np.testing.assert_array_equal(mine.reshape(12, 576, 576), data)
    reader = pytest.importorskip("stempy.io", reason="stempy is not installed").reader
    names = sorted(map(str, tmp_path.glob("*.data")))
    multi = reader(names, version=5, backend="multi-pass")
    assert tuple(multi.scan_shape) == SCAN
    for position in np.ndindex(*SCAN):
        for k, block in enumerate(multi.read_frames(position)):
            np.testing.assert_array_equal(block.data, mine[position][k])


def test_lost_sectors_and_frames(tmp_path: Path) -> None:
    data = frames()
    path = write_fourdcamera(
        tmp_path,
        data,
        scan=SCAN,
        lost=lambda module, frame: frame == 4 or (module, frame) == (0, 2),
    )
    expected = data.copy()
    expected[4] = 0
    expected[2, :144] = 0
    expected = expected.reshape(*SCAN, 576, 576)
    with pytest.warns(RecordingWarning) as told:
        got = load(path)
    text = " ".join(str(one.message) for one in told)
    assert "sectors are missing, which are filled: 1 of module 0." in text
    assert "by the headers, 1 frame of 6 was never stored; its position is filled." in text
    np.testing.assert_array_equal(got, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        recording = rsciio_tem.open(path)
    assert isinstance(recording.frames, Mosaic)
    # what has three sectors is no blank
    assert recording.frames.blanks.tolist() == [False] * 4 + [True, False]
    np.testing.assert_array_equal(theirs(tmp_path, 5), expected)


def test_a_module_without_files(tmp_path: Path) -> None:
    data = frames()
    path = write_fourdcamera(tmp_path, data, scan=SCAN)
    next(tmp_path.glob("*module2*")).unlink()
    with pytest.warns(RecordingWarning, match="no file of module 2; this part of the image"):
        got = load(path).reshape(data.shape)
    data[:, 288:432] = 0
    np.testing.assert_array_equal(got, data)


def test_frames_that_were_recorded_twice(tmp_path: Path) -> None:
    data = frames(8)
    positions = [divmod(i, 3) for i in (0, 1, 2, 2, 3, 4, 4, 5)]
    path = write_fourdcamera(tmp_path, data, positions, scan=SCAN)
    with pytest.warns(RecordingWarning, match="2 frames at positions that have 1 already"):
        got = load(path)
    np.testing.assert_array_equal(got.reshape(6, 576, 576), data[[0, 1, 2, 4, 5, 7]])
    numbers = [7, 8, 9, 9, 10, 11, 11, 12]  # twice the same number
    folder = tmp_path / "again"
    folder.mkdir()
    path = write_fourdcamera(folder, data, positions, scan=SCAN, numbers=numbers)
    with pytest.warns(RecordingWarning, match="8 headers with a number that another one"):
        got = load(path)
    np.testing.assert_array_equal(got.reshape(6, 576, 576), data[[0, 1, 2, 4, 5, 7]])


def test_modules_that_contradict_each_other(tmp_path: Path) -> None:
    data = frames()
    path = write_fourdcamera(tmp_path, data, scan=SCAN)
    other = next(tmp_path.glob("*module0*"))
    content = bytearray(other.read_bytes())
    struct.pack_into("<HH", content, 2 * RECORD + 12, 0, 1)  # frame 2 is said to be where 3 is
    other.write_bytes(content)
    with pytest.warns(RecordingWarning, match="modules contradict each other about the positions"):
        got = load(path)
    np.testing.assert_array_equal(got.reshape(data.shape), data)


def test_headers_outside_of_the_scan(tmp_path: Path) -> None:
    data = frames(7)
    positions = [*(divmod(i, 3) for i in range(6)), (2, 0)]
    path = write_fourdcamera(tmp_path, data, positions, scan=SCAN)
    with pytest.warns(RecordingWarning, match="4 headers of another scan, or of positions"):
        got = load(path)
    np.testing.assert_array_equal(got.reshape(6, 576, 576), data[:6])


def test_other_scans_in_the_folder(tmp_path: Path) -> None:
    data = frames()
    path = write_fourdcamera(tmp_path, data, scan=SCAN, scan_number=42)
    write_fourdcamera(tmp_path, data[::-1], scan=SCAN, scan_number=43)
    np.testing.assert_array_equal(load(path).reshape(data.shape), data)
    wrong = next(tmp_path.glob("*43*module1*"))  # a name of the one, and headers of the other
    wrong.rename(tmp_path / "data_scan0000000042_id0000_module1_0009.data")
    with pytest.warns(RecordingWarning, match="module1_0009.data belong to other scans"):
        got = load(path)
    np.testing.assert_array_equal(got.reshape(data.shape), data)


def test_an_interrupted_recording(tmp_path: Path) -> None:
    data = frames()
    path = write_fourdcamera(tmp_path, data, scan=SCAN, tail=b"\1" * 1000)
    with pytest.warns(RecordingWarning, match="1000 bytes at the end of .*module0.* complete"):
        got = load(path)
    np.testing.assert_array_equal(got.reshape(data.shape), data)
    path.write_bytes(path.read_bytes()[: 3 * RECORD + 5])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        got = load(path)
    assert any("filled: 3 of module 0" in str(one.message) for one in told)
    data[3:, :144] = 0
    np.testing.assert_array_equal(got.reshape(data.shape), data)


def test_every_header_of_a_small_recording_is_read(tmp_path: Path) -> None:
    """A frame is lost soon behind one that was recorded twice: all is right again behind it."""
    frames = np.arange(80, dtype="u2")[:, np.newaxis, np.newaxis] + np.ones((1, 576, 576), "u2")
    path = write_fourdcamera(tmp_path, frames, scan=(8, 10))
    spoiled = 0
    for one in tmp_path.glob("*.data"):
        content = bytearray(one.read_bytes())
        for i in range(len(content) // RECORD):
            x, y = struct.unpack_from("<HH", content, i * RECORD + 12)
            if (y, x) == (4, 2):
                struct.pack_into("<HH", content, i * RECORD + 12, 1, 4)
                spoiled += 1
        one.write_bytes(content)
    assert spoiled == 4
    with pytest.warns(RecordingWarning, match="1 frame of 80 was never stored|have 1 already"):
        (signal,) = rsciio_tem.load(path, lazy=True)
    assert signal["data"][..., 0, 0].compute().reshape(-1)[41:44].tolist() == [42, 0, 44]


def test_a_scan_that_no_memory_could_hold(tmp_path: Path) -> None:
    path = write_fourdcamera(tmp_path, np.zeros((2, 576, 576), "u2"), scan=(1, 2))
    for one in tmp_path.glob("*.data"):
        content = bytearray(one.read_bytes())
        for i in range(len(content) // RECORD):
            struct.pack_into("<HH", content, i * RECORD + 8, 65535, 65535)
        one.write_bytes(content)
    with pytest.raises(FormatError, match="8 headers for a scan of 65535 x 65535 positions"):
        fourdcamera.parse(path)


def test_the_check_reads_every_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening looks at some of many, if these say that frames follow each other."""
    monkeypatch.setattr("rsciio_tem.formats.fourdcamera.members._READ_ALL_BELOW", 50)
    monkeypatch.setattr("rsciio_tem.formats.fourdcamera.members._SAMPLED", 32)
    count = 80
    zeros = np.zeros((1, 576, 576), "u2").repeat(count, 0)
    path = write_fourdcamera(tmp_path, zeros, scan=(8, 10))
    content = bytearray(path.read_bytes())
    looked_at = np.unique(np.linspace(0, count - 1, 32).astype(int))
    hidden = next(i for i in range(40, count) if i not in looked_at)
    struct.pack_into("<HH", content, hidden * RECORD + 12, 0, 0)
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recording = rsciio_tem.open(path)
    assert recording.count == count
    messages = [problem.message for problem in rsciio_tem.check(path)]
    assert any("contradict each other about the positions of 1 sector" in m for m in messages)
    lazy = fourdcamera.file_reader(path, lazy=True)[0]["data"]
    assert not lazy[: hidden // 10].compute().any()
    for ask in (
        lazy[divmod(hidden, 10)].compute,
        lazy.compute,
        lambda: rsciio_tem.reduce(path, "navigator"),
    ):
        with pytest.raises(FormatError, match=f"record {hidden} is of .*, position 0, and"):
            ask()
    with pytest.warns(RecordingWarning, match="positions of 1 sector|only 4 of 8 lines"):
        (signal,) = fourdcamera.file_reader(path, placement="headers", last_frame=40)
    assert not signal["data"].any()


def test_a_regular_recording_opens_without_reading_all_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rsciio_tem.formats.fourdcamera.members._READ_ALL_BELOW", 50)
    monkeypatch.setattr("rsciio_tem.formats.fourdcamera.members._SAMPLED", 32)
    zeros = np.zeros((1, 576, 576), "u2").repeat(80, 0)
    path = write_fourdcamera(tmp_path, zeros, scan=(8, 10))
    asked: list[int] = []

    def counting(file: Any, version: int, numbers: Any) -> Any:
        asked.append(len(numbers))
        return read_headers(file, version, numbers)

    monkeypatch.setattr("rsciio_tem.formats.fourdcamera.members.read_headers", counting)
    assert fourdcamera.parse(path).count == 80
    assert sum(asked) == 4 * 33


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "scan1_module0.data"
    path.write_bytes(b"\0" * (RECORD * 2))
    assert not rsciio_tem.detect(path) or rsciio_tem.detect(path)[0].format != "fourdcamera"
    with pytest.raises(NotThisFormat, match="does not begin with the header of a frame"):
        load(path)
    path.write_bytes(struct.pack("<IIHHHH", 1, 2, 3, 4, 0, 0) + b"\0" * 100)
    with pytest.raises(Truncated, match="a frame of version 5 more"):
        load(path)
    path.write_bytes(b"short")
    with pytest.raises(NotThisFormat, match="shorter than the header"):
        load(path)
    data = frames()
    path = write_fourdcamera(tmp_path, data, scan=SCAN)
    with pytest.raises(ValueError, match="none of 3, 4, 5"):
        load(path, version=2)
    four = path.rename(tmp_path / "data_scan0000000017_module4.data")
    with pytest.raises(NotThisFormat, match="is of module 4; the camera has 4, from 0"):
        quietly(four)
    whole = four.rename(tmp_path / "whole.data")
    with pytest.raises(FormatError, match="has the size of sectors, not that of whole"):
        quietly(whole)  # of sectors
    with pytest.raises(NotThisFormat, match=r"Pass version=3 if it holds whole frames"):
        load(whole, version=5)


def test_single_lines_and_frames(tmp_path: Path) -> None:
    for scan, count, shape in (
        *(((1, 4), 4, (4,)), ((4, 1), 4, (4,)), ((1, 1), 1, ())),
        ((1, 4), 8, (4, 2)),
    ):
        data = frames(count)
        folder = tmp_path / f"{scan}{count}"
        folder.mkdir()
        each = count // (scan[0] * scan[1])
        positions = [divmod(i // each, scan[1]) for i in range(count)]
        path = write_fourdcamera(folder, data, positions, scan=scan)
        got = load(path)
        assert got.shape == (*shape, 576, 576)
        np.testing.assert_array_equal(got.reshape(data.shape), data)


def test_whole_frames_are_plain(tmp_path: Path) -> None:
    path = write_fourdcamera(tmp_path, frames(), scan=SCAN, version=3)
    named = path.rename(tmp_path / "scan17_module0.data")  # then it is taken for sectors
    with pytest.raises(FormatError, match="that make no sense, as version 5"):
        quietly(named)
    np.testing.assert_array_equal(load(named, version=3).reshape(-1, 576, 576), frames())
    path = named.rename(path)
    recording = fourdcamera.parse(path)
    assert isinstance(recording.frames, FrameTable)
    (signal,) = fourdcamera.file_reader(path, mmap_mode="r")
    np.testing.assert_array_equal(signal["data"].reshape(-1, 576, 576), frames())


def test_without_a_position_that_is_in_the_scan(tmp_path: Path) -> None:
    path = write_fourdcamera(tmp_path, frames(1), scan=(1, 1))
    assert load(path).shape == (576, 576)
    content = bytearray(path.read_bytes())
    for name in tmp_path.glob("*.data"):
        struct.pack_into("<HH", content, 12, 5, 5)
        name.write_bytes(content)
    with pytest.raises(FormatError, match="header of a frame: position 5, 5 of a scan of 1 x 1"):
        load(path)
