# SPDX-License-Identifier: GPL-3.0-or-later
"""Captures of an Eiger's stream: both versions, every compression, thresholds, damage."""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy import sparse
from writers import eigerstream as writer
from writers.eigerstream import write_stream

import rsciio_tem
from rsciio_tem.errors import FormatError, NotThisFormat, RecordingWarning, Unsupported
from rsciio_tem.formats import eigerstream

RNG = np.random.default_rng(12)


def counts(count: int = 4, dtype: str = "u4", shape: tuple[int, int] = (37, 50)) -> np.ndarray:
    return RNG.poisson(0.3, (count, *shape)).astype(dtype)


def load(path: Path, **options: Any) -> Any:
    (signal,) = eigerstream.file_reader(path, **options)
    return signal["data"]


def change(path: Path, name: str, value: Any) -> None:
    """Replace a data set of a file, or remove it."""
    with h5py.File(path, "r+") as file:
        del file[name]
        if value is not None:
            file[name] = value


# -- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["bslz4", "lz4", "csrnpz", "none"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i4", "f4", "u8"])
def test_every_compression(tmp_path: Path, compression: str, dtype: str) -> None:
    frames = counts(dtype=dtype)
    path = write_stream(tmp_path / "a.h5", frames, compression=compression)
    for lazy in (False, True):
        data = load(path, lazy=lazy)
        assert data.dtype == dtype
        np.testing.assert_array_equal(data, frames)
    assert rsciio_tem.detect(path)[0].format == "eigerstream"


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (64, 64), (100, 257), (5, 4099)])
@pytest.mark.parametrize("compression", ["bslz4", "lz4"])
def test_every_size(tmp_path: Path, shape: tuple[int, int], compression: str) -> None:
    frames = RNG.integers(0, 1 << 32, (2, *shape), dtype="u4")
    path = write_stream(tmp_path / "a.h5", frames, compression=compression)
    np.testing.assert_array_equal(load(path), frames)


def test_lz4_of_literals(tmp_path: Path) -> None:
    """Written without any codec."""
    frames = counts(1)
    path = write_stream(tmp_path / "a.h5", frames, compression="lz4")
    for block in (100, 15, 14, 400, frames.nbytes):
        change(path, "data/0/data", np.void(writer.literal_lz4(frames[0], block)))
        np.testing.assert_array_equal(load(path), frames[0])


def test_one_block_for_the_whole_frame(tmp_path: Path) -> None:
    """As the receiver writes its LZ4 frames."""
    frame = counts(1, "u1", (100, 100))[0]
    literal = writer.literal_lz4(frame, frame.nbytes)
    path = write_stream(tmp_path / "a.h5", frame[np.newaxis], compression="lz4")
    change(path, "data/0/data", np.void(literal))
    np.testing.assert_array_equal(load(path), frame)


def test_big_endian(tmp_path: Path) -> None:
    frames = counts().astype(">u4")
    for compression in ("bslz4", "lz4", "none"):
        path = write_stream(tmp_path / "a.h5", frames, compression=compression)
        data = load(path)
        assert data.dtype == "u4"
        np.testing.assert_array_equal(data, frames)


THRESHOLDS = {
    None: lambda low, high: low,
    "threshold_1": lambda low, high: low,
    "threshold_2": lambda low, high: high,
    "man_diff": lambda low, high: low.astype("f8") - 1.9111 * high,
}


@pytest.mark.parametrize("setting", THRESHOLDS)
@pytest.mark.parametrize("lazy", [False, True])
def test_thresholds(tmp_path: Path, setting: Any, lazy: bool) -> None:
    low, high = counts() * 3, counts()
    path = write_stream(tmp_path / "a.h5", low, high)
    data = load(path, threshold_setting=setting, multiplier=1.9111, lazy=lazy)
    assert data.dtype == ("f8" if setting == "man_diff" else "u4")
    np.testing.assert_array_equal(data, THRESHOLDS[setting](low, high))


def test_difference_is_signed(tmp_path: Path) -> None:
    low, high = counts(), counts() + 5
    path = write_stream(tmp_path / "a.h5", low, high)
    data = load(path, threshold_setting="man_diff")
    np.testing.assert_array_equal(data, low.astype(int) - high)
    (signal,) = eigerstream.file_reader(path, threshold_setting="man_diff", multiplier=2)
    original = signal["original_metadata"]
    assert (original["threshold_setting"], original["multiplier"]) == ("man_diff", 2.0)


def test_masked_pixels_stay_what_they_are(tmp_path: Path) -> None:
    """The detector marks them with the largest number; hexrd issue 355 wants them masked."""
    frames = counts()
    frames[:, 3, 4] = 0xFFFFFFFF
    path = write_stream(tmp_path / "a.h5", frames)
    assert (load(path)[:, 3, 4] == 0xFFFFFFFF).all()
    repaired = load(path, excluded_pixels=frames[0] == 0xFFFFFFFF)
    assert repaired[:, 3, 4].max() < 100


def test_settings_that_are_none(tmp_path: Path) -> None:
    one = write_stream(tmp_path / "one.h5", counts())
    two = write_stream(tmp_path / "two.h5", counts(), counts())
    for path in (one, two):
        with pytest.raises(ValueError, match="'both' is none of threshold_1, threshold_2, man"):
            load(path, threshold_setting="both")
        with pytest.raises(ValueError, match="multiplier"):
            load(path, multiplier=float("nan"))
    assert len(load(one, threshold_setting="threshold_1")) == 4
    for setting in ("threshold_2", "man_diff"):
        with pytest.raises(Unsupported, match=f"one threshold only, so there is no {setting}"):
            load(one, threshold_setting=setting)


# -- frames --------------------------------------------------------------------------------------


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """HDF5 lists them as text: 0, 1, 10, 11, 2, …"""
    frames = counts(12)
    np.testing.assert_array_equal(load(write_stream(tmp_path / "a.h5", frames)), frames)


def test_numbers_that_begin_later(tmp_path: Path) -> None:
    frames = counts(3)
    path = write_stream(tmp_path / "a.h5", frames, numbers=(100, 101, 102))
    np.testing.assert_array_equal(load(path), frames)


def test_hexrd_fails_at_a_lost_frame_here_it_is_a_blank(tmp_path: Path) -> None:
    frames = counts(3)
    path = write_stream(tmp_path / "a.h5", frames, numbers=(0, 1, 4))
    with pytest.warns(RecordingWarning, match="2 of 5 frames are missing and are filled"):
        data = load(path, fill_value=9)
    np.testing.assert_array_equal(data[[0, 1, 4]], frames)
    assert (data[[2, 3]] == 9).all()


def test_numbers_far_apart(tmp_path: Path) -> None:
    frames = counts(3)
    path = write_stream(tmp_path / "a.h5", frames, numbers=(0, 1, 10**14))
    with pytest.warns(RecordingWarning, match="numbers of frames are missing; they are ignored"):
        np.testing.assert_array_equal(load(path), frames)


def test_other_entries_beside_the_frames(tmp_path: Path) -> None:
    frames = counts(3)
    path = write_stream(tmp_path / "a.h5", frames)
    with h5py.File(path, "r+") as file:
        file["data/notes"] = "hello"
    with pytest.warns(RecordingWarning, match="1 entries of /data are not frames"):
        np.testing.assert_array_equal(load(path), frames)


# -- metadata ------------------------------------------------------------------------------------


def test_metadata(tmp_path: Path) -> None:
    om = np.array([[0, 0.5], [0.5, 1], [1, 1.5], [1.5, 2]])
    metadata = {"count_time": 0.5, "detector/name": "EIGER2", "omega": om,
                "detector/mask": np.zeros((37, 50), "u4")}  # fmt: skip
    path = write_stream(tmp_path / "scan.h5", counts(), metadata=metadata)
    (signal,) = eigerstream.file_reader(path)
    original = signal["original_metadata"]
    assert original["version"] == "CHESS_EIGER_STREAM_V1"
    assert original["compression_type"] == "bslz4"
    assert original["metadata"]["count_time"] == 0.5
    assert original["metadata"]["detector"] == {"name": "EIGER2", "mask": "37x50 uint32"}
    assert signal["axes"][0]["name"] == "omega"
    np.testing.assert_array_equal(original["omega"], om)
    assert signal["metadata"]["General"] == {"title": "scan", "original_filename": "scan.h5"}
    (signal,) = eigerstream.file_reader(path, omega=om + 90, first_frame=1)
    assert signal["axes"][0]["offset"] == 90.75


def test_no_metadata(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "a.h5", counts())
    with h5py.File(path, "r+") as file:
        del file["metadata"]
    assert eigerstream.parse(path).original_metadata["metadata"] == {}


def test_processing(tmp_path: Path) -> None:
    frames = counts()
    path = write_stream(tmp_path / "a.h5", frames)
    data = load(path, processing=[("dark", np.ones((37, 50), "u2")), ("flip", "r90")], lazy=True)
    expected = np.maximum(frames.astype(int) - 1, 0).transpose(0, 2, 1)[:, ::-1]
    np.testing.assert_array_equal(data, expected)


# -- what is wrong -------------------------------------------------------------------------------


def test_versions(tmp_path: Path) -> None:
    for version in ("", "CHESS_EIGER_STREAM_V3"):
        path = write_stream(tmp_path / f"a{version}.h5", counts(), version=version)
        assert not [c for c in rsciio_tem.detect(path) if c.format == "eigerstream"]
        with pytest.raises(NotThisFormat, match="captures of an Eiger's stream have CHESS_EIGER"):
            load(path)
    path = write_stream(tmp_path / "b.h5", counts(), version="CHESS_EIGER_STREAM_V2")
    with pytest.raises(FormatError, match=r"lacks data/0/threshold_1/dtype"):
        load(path)


@pytest.mark.parametrize("key", ["dtype", "shape", "data"])
def test_frames_without_a_key(tmp_path: Path, key: str) -> None:
    path = write_stream(tmp_path / "a.h5", counts())
    change(path, f"data/2/{key}", None)
    with pytest.raises(FormatError, match=f"lacks data/2/{key}"):
        load(path)
    change(path, f"data/0/{key}", None)
    with pytest.raises(FormatError, match=f"lacks data/0/{key}"):
        eigerstream.parse(path)


def test_no_frames(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "a.h5", counts())
    with h5py.File(path, "r+") as file:
        del file["data"]
    with pytest.raises(FormatError, match="holds no frames"):
        load(path)


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("compression_type", "zip", "compressed with 'zip'"),
        ("dtype", "<u99", "which is not a type"),
        ("dtype", "|O", "which is not a type"),
        ("shape", [1 << 20, 1 << 20], "is said to have"),
        ("shape", [37], r"has the shape \[37\]"),
        ("shape", [0, 50], "is said to have 0 x 50"),
        ("shape", [-37, -50], "is said to have"),
        ("shape", [37.5, 50], "has the shape"),
        ("shape", [38, 50], "payload of data/0 is damaged"),
        ("dtype", "<u2", "payload of data/0 is damaged"),
    ],
)
def test_descriptions_that_lie(tmp_path: Path, key: str, value: Any, match: str) -> None:
    path = write_stream(tmp_path / "a.h5", counts(1))
    change(path, f"data/0/{key}", value)
    with pytest.raises(FormatError, match=match):
        load(path)


def test_frames_that_differ(tmp_path: Path) -> None:
    frames = counts()
    path = write_stream(tmp_path / "a.h5", frames)
    with h5py.File(path, "r+") as file:
        del file["data/2"]
        writer.write_frame(file.create_group("data/2"), frames[2, :30], "bslz4")
    with pytest.raises(FormatError, match=r"data/2 has \(30, 50\) pixels.*first frame \(37, 50\)"):
        load(path)


@pytest.mark.parametrize("compression", ["bslz4", "lz4", "csrnpz", "none"])
def test_damaged_payloads_end_in_an_error_or_in_pixels(tmp_path: Path, compression: str) -> None:
    frames = RNG.integers(0, 1000, (1, 37, 50)).astype("u4")
    path = write_stream(tmp_path / "a.h5", frames, compression=compression)
    good = writer.payload(frames[0], compression)
    rng = np.random.default_rng(1)
    errors = 0
    for i in range(150):
        bad = bytearray(good)
        for at in rng.integers(0, len(bad) if i % 2 else 60, 3):
            bad[at] = rng.integers(0, 256)
        bad = bad[: rng.integers(0, len(bad))] if i % 5 == 0 else bad
        change(path, "data/0/data", np.void(bytes(bad) or b"x"))
        try:
            assert load(path).shape == (37, 50)
        except FormatError as error:
            errors += 1
            assert str(path) in str(error)  # noqa: PT017
    assert errors > 25


def test_sparse_frames_that_lie(tmp_path: Path) -> None:
    frame = counts(1)[0]
    path = write_stream(tmp_path / "a.h5", frame[np.newaxis], compression="csrnpz")

    def refused(match: str, format: str = "csr", **arrays: Any) -> None:
        matrix = sparse.csr_matrix(frame)
        members = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr,
                   "shape": np.array(frame.shape), "format": np.array(format.encode())}  # fmt: skip
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{**members, **arrays})
        change(path, "data/0/data", np.void(bytes(8) + buffer.getvalue()))
        with pytest.raises(FormatError, match=match):
            load(path)

    matrix = sparse.csr_matrix(frame)
    refused("not a matrix of compressed rows", "csc")
    refused("column is outside", indices=matrix.indices + 50)
    refused("column is outside", indices=matrix.indices - 50)
    refused("rows make no sense", indptr=matrix.indptr[::-1])
    refused("rows make no sense", data=matrix.data[:-1])
    refused("has the shape", shape=np.array([50, 37]))
    refused("values are of type float64", data=matrix.data.astype(float))
    refused("data takes", data=np.zeros(1 << 20, "u4"))
    refused("holds", data=np.zeros((3, 3), "u4"))
    refused("not a sparse frame", data=np.array([{}], object))


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "a.h5", counts(1), compression="csrnpz")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("data", "indices", "indptr", "shape", "format"):
            archive.writestr(f"{name}.npy", b"\x80\x04cos\nsystem\n(S'touch ran'\ntR.csr")
    change(path, "data/0/data", np.void(bytes(8) + buffer.getvalue()))
    with pytest.raises(FormatError, match="not a sparse frame"):
        load(path)
    assert not Path("ran").exists()


def test_payload_of_another_type(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "a.h5", counts(1))
    change(path, "data/0/data", np.zeros(9000, "f8"))
    with pytest.raises(FormatError, match="not opaque bytes"):
        load(path)
    raw = np.frombuffer(writer.payload(counts(1)[0], "bslz4"), "u1")
    change(path, "data/0/data", raw)  # plain bytes are as good
    assert load(path).shape == (37, 50)


def test_damaged_file_ends_in_a_result_or_an_error(tmp_path: Path) -> None:
    content = write_stream(tmp_path / "a.h5", counts(2)).read_bytes()
    for size in (0, 8, 100, 1000, len(content) // 2, len(content) - 1):
        (tmp_path / "b.h5").write_bytes(content[:size])
        with pytest.raises(FormatError, match=r"b\.h5"):
            load(tmp_path / "b.h5")


def test_parse_reads_little(tmp_path: Path) -> None:
    frames = RNG.integers(0, 1 << 32, (40, 128, 128), dtype="u4")
    path = write_stream(tmp_path / "a.h5", frames)
    eigerstream.parse(path)
    with contextlib.suppress(FileNotFoundError):
        text = Path("/proc/self/io")

        def asked() -> int:
            return int(text.read_text(encoding="ascii").split("rchar:")[1].split()[0])

        before = asked()
        eigerstream.parse(path)
        assert asked() - before < 300_000


def test_hdf5_reader_leaves_captures_to_this_one(tmp_path: Path) -> None:
    """They hold no data set that could be shown."""
    path = write_stream(tmp_path / "a.h5", counts())
    assert rsciio_tem.load(path)[0]["data"].shape == (4, 37, 50)
