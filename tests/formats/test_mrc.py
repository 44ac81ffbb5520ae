# SPDX-License-Identifier: GPL-3.0-or-later
"""MRC files: pixel types, extended headers, movies of Direct Electron, compression, writing."""

from __future__ import annotations

import bz2
import csv
import errno
import gc
import gzip
import json
import os
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from upstream import needs_rosettasciio
from writers import mrc as writer
from writers.mrc import write_movie, write_mrc

import rsciio_tem
from rsciio_tem.errors import (
    FormatError,
    NotEnoughMemory,
    NotThisFormat,
    RecordingWarning,
    Truncated,
    Unsupported,
)
from rsciio_tem.formats import mrc
from rsciio_tem.formats.mrc.extended import FEI1, FEI2
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.storage import backends, machine
from rsciio_tem.writing import stream

RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
KINDS = {0: "i1", 1: "i2", 2: "f4", 3: "c8", 4: "c8", 6: "u2", 12: "f2", 16: RGB, 101: "u1"}


def images(count: int = 6, shape: tuple[int, int] = (5, 8), dtype: Any = "u2") -> np.ndarray:
    """Images whose first pixel is their number."""
    rng = np.random.default_rng(3)
    if np.dtype(dtype).names:
        return rng.integers(0, 256, (count, *shape, 3), np.uint8).view(dtype)[..., 0]
    data = rng.integers(0, 16, (count, *shape)).astype(dtype)
    data[:, 0, 0] = np.arange(count)
    return data


def load(path: Any, **options: Any) -> dict[str, Any]:
    (signal,) = mrc.file_reader(path, **options)
    return signal


def quietly(path: Any, **options: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        return load(path, **options)


def numbers(signal: dict[str, Any]) -> Any:
    return np.asarray(signal["data"])[..., 0, 0].tolist()


def axes(signal: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(a["name"], a["units"], pytest.approx(a["scale"])) for a in signal["axes"]]


def upstream(path: Path, **options: Any) -> dict[str, Any]:
    from rsciio.mrc import file_reader

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return file_reader(str(path), **options)[0]
        except Exception as error:  # it leaves its file open: to be closed while that is ignored
            failure = type(error)(*error.args)
        gc.collect()
    raise failure


def by_mrcfile(path: Path) -> np.ndarray:
    mrcfile = pytest.importorskip("mrcfile")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.open(path, permissive=True) as file:
            return np.array(file.data)


def by_ncempy(path: Path) -> np.ndarray:
    module = pytest.importorskip("ncempy.io.mrc")
    return module.mrcReader(str(path))["data"]


def by_libertem(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api = pytest.importorskip("libertem.api")
        from libertem.udf.raw import PickUDF

        context = api.Context.make_with("inline")
        data = context.load("mrc", str(path))
        shape = tuple(data.shape)
        picked = context.run_udf(data, PickUDF(), roi=np.ones(shape[:-2], bool))
    return np.array(picked["intensity"].data).reshape(shape)


# ---------------------------------------------------------------- pixels


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", KINDS)
def test_every_mode_in_both_byte_orders(tmp_path: Path, mode: int, order: str) -> None:
    data = images(dtype=KINDS[mode])
    path = write_mrc(tmp_path / "a.mrc", data, mode, order=order)
    for options in ({}, {"lazy": True}, {"mmap_mode": "r"}):
        found = load(path, **options)["data"]
        assert found.dtype.newbyteorder("=") == data.dtype
        np.testing.assert_array_equal(found, data)
    np.testing.assert_array_equal(load(path, lazy=True)["data"][1:, 2:4, 3:6], data[1:, 2:4, 3:6])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", [0, 1, 2, 4, 6, 12])
def test_as_in_mrcfile(tmp_path: Path, mode: int, order: str) -> None:
    data = images(dtype=KINDS[mode])
    path = write_mrc(tmp_path / "a.mrc", data, mode, order=order, extended=b"\0" * 80, kind=b"CCP4")
    np.testing.assert_array_equal(by_mrcfile(path), data)
    np.testing.assert_array_equal(load(path)["data"], data)


@pytest.mark.parametrize("mode", [0, 1, 2, 6])
def test_as_in_ncempy(tmp_path: Path, mode: int) -> None:
    path = write_mrc(tmp_path / "a.mrc", images(dtype=KINDS[mode]), mode, cell=(16, 10, 12))
    np.testing.assert_array_equal(load(path)["data"], by_ncempy(path))


@needs_rosettasciio("0.14")
@pytest.mark.parametrize("mode", [1, 2, 4, 6, 12])
def test_as_in_rosettasciio(tmp_path: Path, mode: int) -> None:
    path = write_mrc(
        tmp_path / "a.mrc", images(dtype=KINDS[mode]), mode, cell=(16, 10, 12), origin=(5, 6, 7)
    )
    ours, theirs = load(path), upstream(path)
    np.testing.assert_array_equal(ours["data"], theirs["data"])
    assert [{**a, "scale": pytest.approx(a["scale"])} for a in theirs["axes"]] == ours["axes"]
    header = ours["original_metadata"]["std_header"]
    for name, value in theirs["original_metadata"]["std_header"].items():
        if name != "NSYMBT":  # there the upper half of ISPG
            np.testing.assert_equal(header[name], value, err_msg=name)


def test_as_in_libertem(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", images(), grid=(8, 5, 1))
    np.testing.assert_array_equal(load(path)["data"], by_libertem(path))


def test_rows_of_4_bit_pixels_begin_with_a_new_byte(tmp_path: Path) -> None:
    data = images(3, (3, 5), "u1")
    path = write_mrc(tmp_path / "a.mrc", data, 101)
    assert path.stat().st_size == 1024 + 3 * 3 * 3
    content = path.read_bytes()[1024:]
    assert (content[0] & 15, content[0] >> 4, content[2]) == (*data[0, 0, :2], data[0, 0, 4])
    np.testing.assert_array_equal(load(path)["data"], data)
    np.testing.assert_array_equal(load(path, flip_y=True)["data"], data[:, ::-1])


# ---------------------------------------------------------------- sign of bytes


@pytest.mark.parametrize(
    ("header", "signed"),
    [
        ({}, True),  # MRC2014 says so
        ({"imod": 1, "version": 0}, True),
        ({"imod": 0}, False),  # what IMOD says counts more than the version
        ({"imod": 0, "limits": (-5, 5, 0)}, False),
        ({"limits": (-5, 5, 0), "version": 0}, True),
        ({"limits": (0, 200, 0)}, False),
        ({"limits": (2, 1, 0), "cell": (-80, -50, 0)}, False),  # as Direct Electron writes
        ({"limits": (0, 127, 0), "version": 20141}, True),
    ],
)
def test_sign_of_bytes(tmp_path: Path, header: dict[str, Any], signed: bool) -> None:
    data = images(dtype="u1")
    data[:, 1] = 251
    path = write_mrc(tmp_path / "a.mrc", data, 0, **header)
    found = load(path)["data"]
    assert found.dtype == ("i1" if signed else "u1")
    assert found[0, 1, 0] == (-5 if signed else 251)
    for told in (True, False):
        assert load(path, signed=told)["data"].dtype == ("i1" if told else "u1")


def test_sign_of_bytes_that_nothing_tells(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", images(dtype="u1"), 0, version=0)
    with pytest.warns(RecordingWarning, match="whether its 8-bit pixels are signed.*signed=True"):
        assert load(path)["data"].dtype == "u1"
    assert load(path, signed=True)["data"].dtype == "i1"


def test_sign_of_other_pixels_is_no_question(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="MODE 6"):
        load(write_mrc(tmp_path / "a.mrc", images()), signed=True)


def test_bytes_of_a_movie_are_unsigned(tmp_path: Path) -> None:
    data = images(dtype="u1") + 200
    told = {"Autosave Counted Movie Pixel Format": "uint8", "Scan - Enable": "Disable"}
    path = write_movie(tmp_path, data, told, cell=(0, 0, 0))
    np.testing.assert_array_equal(load(path)["data"], data)


# ---------------------------------------------------------------- peers' bugs


def test_geometry_is_not_taken_from_the_cell(tmp_path: Path) -> None:
    """LiberTEM takes rows and columns from MX, MY, MZ, and fails on every volume."""
    path = write_mrc(tmp_path / "a.mrc", images(), grid=(3, 4, 6))
    np.testing.assert_array_equal(load(path)["data"], images())


@pytest.mark.parametrize("mode", [3, 4, 12, 101])
def test_modes_that_libertem_does_not_know(tmp_path: Path, mode: int) -> None:
    data = images(dtype=KINDS[mode])
    path = write_mrc(tmp_path / "a.mrc", data, mode, grid=(8, 5, 1))
    np.testing.assert_array_equal(load(path)["data"], data)


@needs_rosettasciio("0.14")
def test_negative_bytes(tmp_path: Path) -> None:
    """RosettaSciIO reads -5 as 251."""
    data = images(dtype="i1") - 5
    path = write_mrc(tmp_path / "a.mrc", data)
    assert upstream(path)["data"].max() > 127
    np.testing.assert_array_equal(load(path)["data"], data)


@needs_rosettasciio("0.13")
@pytest.mark.parametrize("endianness", [None, ">"])
def test_big_endian_pixels_are_swapped(tmp_path: Path, endianness: Any) -> None:
    """RosettaSciIO reads such headers only when told, and then does not swap the pixels."""
    path = write_mrc(tmp_path / "a.mrc", images(), order=">")
    assert upstream(path, endianness=">")["data"].max() > 255
    signal = load(path, endianness=endianness)
    np.testing.assert_array_equal(signal["data"], images())
    assert signal["data"].dtype.isnative


def test_truncated_file(tmp_path: Path) -> None:
    """Every peer raises an error."""
    path = write_mrc(tmp_path / "a.mrc", images(), truncate=81)
    with pytest.raises(ValueError, match="mmap length"):
        upstream(path)
    with pytest.warns(RecordingWarning, match="announces 6 images, but holds 4 and a part of one"):
        np.testing.assert_array_equal(load(path)["data"], images()[:4])


def test_announcement_without_end(tmp_path: Path) -> None:
    """References of Direct Electron announce 32766 images and hold one."""
    path = write_mrc(tmp_path / "a.mrc", images(1), announced=32766)
    with pytest.warns(RecordingWarning, match="announces 32766 images, but holds 1"):
        assert load(path)["data"].shape == (5, 8)


def test_shape_larger_than_the_file(tmp_path: Path) -> None:
    """RosettaSciIO: mmap length is greater than file size."""
    path = write_mrc(tmp_path / "a.mrc", images())
    with pytest.raises(ValueError, match="mmap length"):
        upstream(path, navigation_shape=(4, 2))
    with pytest.warns(RecordingWarning, match="1 of 2 lines"):
        assert load(path, navigation_shape=(4, 2))["data"].shape == (1, 4, 5, 8)


def test_calibration_of_a_movie(tmp_path: Path) -> None:
    """RosettaSciIO makes all scales 1."""
    path = write_movie(tmp_path, images(), {"Scan - Size X": 3, "Scan - Size Y": 2})
    assert {a["scale"] for a in upstream(path)["axes"]} == {1}
    assert axes(load(path)) == [
        ("y", "nm", 4),
        ("x", "nm", 2),
        ("ky", "nm^-1", 0.25),
        ("kx", "nm^-1", 0.125),
    ]


def test_axes_of_repeated_positions(tmp_path: Path) -> None:
    """RosettaSciIO labels data of (y, x, repeat) as (time, y, x), with wrong sizes."""
    places = [(0, 0), (1, 0), (2, 1)] * 2
    path = write_movie(tmp_path, images(), {"Scan - Type": "XY File"}, positions=places)
    signal = load(path)
    assert [(a["name"], a["size"]) for a in signal["axes"]] == [
        ("y", 2),
        ("x", 3),
        ("repeats", 2),
        ("ky", 5),
        ("kx", 8),
    ]
    assert axes(signal)[:2] == [("y", "nm", 4), ("x", "nm", 2)]
    assert numbers(signal) == [[[0, 3], [1, 4], [0, 0]], [[0, 0], [0, 0], [2, 5]]]


def test_time_between_scans_is_a_sum_of_numbers(tmp_path: Path) -> None:
    """RosettaSciIO joins the texts "0.5" and "3"."""
    told = {"Scan - Size X": 3, "Scan - Size Y": 1, "Scan - Repeats": 2}
    signal = load(write_movie(tmp_path, images(), told))
    assert axes(signal)[0] == ("time", "sec", 3.5)
    assert numbers(signal) == [[0, 1, 2], [3, 4, 5]]


def test_word_movie_in_the_path(tmp_path: Path) -> None:
    """RosettaSciIO looks for files beside a movie if "movie" is anywhere in the path."""
    folder = tmp_path / "movie"
    folder.mkdir()
    write_movie(folder, images(), {"Scan - Size X": 3, "Scan - Size Y": 2})
    path = write_mrc(folder / "movie_of_a_cat.mrc", images())
    assert load(path)["data"].shape == (6, 5, 8)
    assert "de_metadata" not in load(path)["original_metadata"]


def test_names_of_images_go_with_their_files(tmp_path: Path) -> None:
    """RosettaSciIO sorts the files, but not the names."""
    stem = "20250102_00042"
    path = write_movie(tmp_path, images(), {"Scan - Size X": 3, "Scan - Size Y": 2})
    for i in (10, 2, 0, 1):
        write_mrc(tmp_path / f"{stem}_{i}_V{i}_sum.mrc", np.full((2, 3), i, "f4"))
    tree = load(path)["metadata"]["_HyperSpy"]
    assert list(tree["navigators"]) == ["_sig_V0", "_sig_V1", "_sig_V2", "_sig_V10"]
    for i in (0, 1, 2, 10):
        assert (tree["navigators"][f"_sig_V{i}"]["data"] == i).all()


def test_axes_of_the_cell_in_another_order(tmp_path: Path) -> None:
    """RosettaSciIO takes columns for the first axis of the cell, whatever MAPC says."""
    path = write_mrc(
        tmp_path / "a.mrc", images(), cell=(10, 20, 30), grid=(4, 10, 5), axes=(3, 1, 2),
        origin=(1, 2, 3), ispg=4,
    )  # fmt: skip
    signal = load(path)
    assert axes(signal) == [("z", "nm", 0.2), ("y", "nm", 0.25), ("x", "nm", 0.6)]
    assert [a["offset"] for a in signal["axes"]] == pytest.approx([0.2, 0.1, 0.3])


def test_step_between_summed_frames(tmp_path: Path) -> None:
    """RosettaSciIO divides by the number of frames summed, instead of multiplying."""
    told = {"Scan - Enable": "Disable", "Autosave Movie Sum Count": 10}
    assert axes(load(write_movie(tmp_path, images(), told)))[0] == ("time", "sec", 0.02)


def test_no_counts_per_electron(tmp_path: Path) -> None:
    """RosettaSciIO divides by zero."""
    path = write_movie(tmp_path, images(), {"ADUs Per Electron Bin1x": 0, "Scan - Enable": "Off"})
    with pytest.raises(ZeroDivisionError):
        upstream(path)
    noise = load(path)["metadata"]["Signal"]["Noise_properties"]
    assert noise == {"gain_factor": 1}


def test_extended_header_of_serialem_is_not_taken_for_anything_else(tmp_path: Path) -> None:
    """Ncempy reads 15 floats from any extended header."""
    extended = np.random.default_rng(1).bytes(131072)
    path = write_mrc(tmp_path / "a.st", images(), extended=extended, kind=b"SERI")
    tree = load(path)["original_metadata"]
    assert tree["extended_header"] == {"type": "SERI", "bytes": 131072}
    assert "fei_header" not in tree
    np.testing.assert_array_equal(load(path)["data"], images())


def serialem_floats(values: list[float]) -> list[tuple[int, int]]:
    """Return the two numbers of 16 bits for each, as IMOD's documentation describes them."""
    pairs = []
    for value in values:
        mantissa, exponent = np.frexp(value)
        whole, exponent = round(float(mantissa) * (1 << 22)), int(exponent) - 22
        sign = -1 if exponent < 0 else 1
        pairs.append((whole // 256, sign * (whole % 256 + 256 * abs(exponent))))
    return pairs


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [b"SERI", b""])
def test_serialem(tmp_path: Path, order: str, kind: bytes) -> None:
    count = len(images())
    tilts, doses = [-60.0 + 3 * i for i in range(count)], [1.5 + i / 8 for i in range(count)]
    rows = [
        [round(100 * tilt), 40000 - 65536, 1, i, 250, -50, 420, *dose]
        for i, (tilt, dose) in enumerate(zip(tilts, serialem_floats(doses), strict=True))
    ]
    path = write_mrc(
        tmp_path / "a.st", images(), order=order, kind=kind, serialem=(18, 1 | 2 | 4 | 8 | 32),
        extended=np.array(rows, f"{order}i2").tobytes(),
    )  # fmt: skip
    signal = load(path)
    np.testing.assert_array_equal(signal["data"], images())
    tem = signal["metadata"]["Acquisition_instrument"]["TEM"]
    np.testing.assert_allclose(tem["Stage"]["tilt_alpha"], tilts)
    assert (tem["Stage"]["x"], tem["Stage"]["y"]) == pytest.approx((0.01, -0.002))  # mm
    assert tem["magnification"] == 42000
    columns = signal["original_metadata"]["serialem"]
    np.testing.assert_allclose(columns["dose"], doses, rtol=1e-5)
    assert list(columns["piece_x"]) == [40000] * count
    assert list(columns["piece_z"]) == list(range(count))


def test_flags_that_do_not_make_the_record(tmp_path: Path) -> None:
    extended = np.zeros(60, "<i2").tobytes()
    path = write_mrc(tmp_path / "a.st", images(), serialem=(8, 1), extended=extended)
    assert "serialem" not in load(path)["original_metadata"]


def test_older_fei_of_many_images(tmp_path: Path) -> None:
    frames = np.arange(1030 * 4, dtype="i2").reshape(1030, 2, 2)
    rows = np.zeros((8192, 32), "<f4")
    rows[:, 0], rows[:, 11], rows[:, 12] = np.arange(8192) / 100, 2e-9, 50000
    signal = load(write_mrc(tmp_path / "a.mrc", frames, extended=rows.tobytes()))
    np.testing.assert_array_equal(signal["data"], frames)
    assert axes(signal)[1:] == [("y", "nm", pytest.approx(2)), ("x", "nm", pytest.approx(2))]
    tem = signal["metadata"]["Acquisition_instrument"]["TEM"]
    np.testing.assert_allclose(tem["Stage"]["tilt_alpha"], np.arange(1030) / 100, rtol=1e-5)
    assert tem["magnification"] == 50000


@pytest.mark.parametrize("dtype", ["i2", "i4", "u4"])
def test_what_hyperspy_saves(tmp_path: Path, dtype: str) -> None:
    kept = {"General": {"title": "gold"}, "Signal": {"signal_type": ""}, "_HyperSpy": {"x": 1}}
    frames = np.arange(3 * 4 * 5, dtype=dtype).reshape(3, 4, 5)
    path = write_mrc(
        tmp_path / "a.mrc", frames, extended=json.dumps(kept).encode(), kind=b"json",
        cell=(125, 60, 15), grid=(0, 0, 0), labels=[b"MRCZ0.5.7"], version=0,
    )  # fmt: skip
    signal = load(path)
    np.testing.assert_array_equal(signal["data"], frames, strict=True)
    assert axes(signal) == [("z", "nm", 0.5), ("y", "nm", 1.5), ("x", "nm", 2.5)]
    assert signal["metadata"]["General"]["title"] == "gold"
    assert signal["metadata"]["General"]["original_filename"] == "a.mrc"


def test_what_hyperspy_really_saves(tmp_path: Path) -> None:
    pytest.importorskip("mrcz", reason="mrcz is not installed")
    hs = pytest.importorskip("hyperspy.api", reason="HyperSpy is not installed")
    signal = hs.signals.Signal2D(np.arange(210, dtype="int32").reshape(7, 5, 6))
    for axis, scale in zip(signal.axes_manager._axes, (0.5, 1.5, 2.5), strict=True):
        axis.scale, axis.units = scale, "nm"
    signal.metadata.General.title = "gold"
    signal.save(tmp_path / "a.mrc")
    ours = load(tmp_path / "a.mrc")
    np.testing.assert_array_equal(ours["data"], signal.data)
    assert [(a["scale"], a["units"]) for a in ours["axes"]] == [
        (0.5, "nm"),
        (1.5, "nm"),
        (2.5, "nm"),
    ]
    assert ours["metadata"]["General"]["title"] == "gold"


def test_metadata_that_are_no_json(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", images(), extended=b"{no json", kind=b"json")
    with pytest.warns(RecordingWarning, match="metadata that are not JSON"):
        np.testing.assert_array_equal(load(path)["data"], images())


@pytest.mark.parametrize("size", [1024, 5000])
def test_file_of_zeros(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(bytes(size))
    with pytest.raises(NotThisFormat, match=r"header should be, which was never .*ncempy"):
        rsciio_tem.load(path)


def test_str_and_path(tmp_path: Path) -> None:
    """RosettaSciIO fails on pathlib.Path."""
    path = write_movie(tmp_path, images(), {"Scan - Size X": 3, "Scan - Size Y": 2})
    for name in (path, str(path)):
        assert load(name, metadata_file=tmp_path / "20250102_00042_info.txt")["data"].ndim == 4


# ---------------------------------------------------------------- header


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("stamp", [b"\0\0\0\0", b"DA\0\0", b"\x11\x11\0\0", b"\xff\xff\0\0"])
def test_byte_order_without_a_good_mark(tmp_path: Path, order: str, stamp: bytes) -> None:
    path = write_mrc(tmp_path / "a.mrc", images(), order=order, stamp=stamp, mark=b"")
    wrong = {b"D": "<", b"\x11": ">"}.get(stamp[:1], order) != order
    if wrong:
        with pytest.warns(RecordingWarning, match="mark of the other byte order"):
            signal = load(path)
    else:
        signal = load(path)
    np.testing.assert_array_equal(signal["data"], images())


def test_byte_order_that_is_not(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", images())
    with pytest.raises(NotThisFormat, match=r"endianness='>'.*Leave endianness out"):
        load(path, endianness=">")
    with pytest.raises(ValueError, match="neither"):
        load(path, endianness="big")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({}, [("z", None, 1), ("y", None, 1), ("x", None, 1)]),
        ({"cell": (-80, -50, 0)}, [("z", None, 1), ("y", None, 1), ("x", None, 1)]),
        ({"cell": (1e-43, 1e-43, 1e-45)}, [("z", None, 1), ("y", None, 1), ("x", None, 1)]),
        ({"cell": (80, 100, 60)}, [("z", None, 1), ("y", "nm", 2), ("x", "nm", 1)]),
        ({"cell": (80, 100, 60), "ispg": 1}, [("z", "nm", 1), ("y", "nm", 2), ("x", "nm", 1)]),
        ({"cell": (80, 100, 60), "grid": (0, 0, 0)}, [("z", None, 1), ("y", None, 1),
         ("x", None, 1)]),
        ({"cell": (80, 100, 60), "axes": (0, 0, 0)}, [("z", None, 1), ("y", "nm", 2),
         ("x", "nm", 1)]),
        ({"cell": (float("nan"), float("inf"), 0)}, [("z", None, 1), ("y", None, 1),
         ("x", None, 1)]),
    ],
)  # fmt: skip
def test_calibration(tmp_path: Path, header: dict[str, Any], expected: list[Any]) -> None:
    assert axes(load(write_mrc(tmp_path / "a.mrc", images(), **header))) == expected


def test_first_frame_keeps_the_depth(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.rec", images(), cell=(80, 50, 120), ispg=1, origin=(0, 0, 10))
    z = load(path, first_frame=2)["axes"][0]
    assert (z["scale"], z["offset"]) == pytest.approx((2, 1 + 2 * 2))


def test_stack_of_volumes(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", images(), ispg=401, grid=(8, 5, 3))
    signal = load(path)
    assert signal["data"].shape == by_mrcfile(path).shape == (2, 3, 5, 8)
    assert [a["name"] for a in signal["axes"]] == ["volume", "z", "y", "x"]
    assert load(path, scan="stack")["data"].shape == (6, 5, 8)


def test_labels_and_symmetry(tmp_path: Path) -> None:
    operators = b"X,Y,Z".ljust(80) + b"-X,  Y+1/2,  -Z".ljust(80)
    path = write_mrc(tmp_path / "a.map", images(), extended=operators, labels=[b"one", b"two"])
    tree = load(path)["original_metadata"]
    assert tree["labels"] == ["one", "two"]
    assert tree["symmetry"] == ["X,Y,Z", "-X,  Y+1/2,  -Z"]


def test_surplus(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", images(), announced=4)
    with pytest.warns(RecordingWarning, match="announces 4 images, and has room for 2 more"):
        assert numbers(load(path)) == [0, 1, 2, 3]
    path = write_mrc(tmp_path / "b.mrc", images(), junk=b"\0" * 79)  # less than an image
    assert numbers(load(path)) == list(range(6))
    path = write_mrc(tmp_path / "c.mrc", images(), announced=0)
    with pytest.warns(RecordingWarning, match="announces no images; it holds 6"):
        assert numbers(load(path)) == list(range(6))


def test_modes_that_are_refused(tmp_path: Path) -> None:
    for mode, match in ((5, "MODE 5; only 0, 1, 2"), (1002, 'MRCZ.*file_format="MRCZ"')):
        path = tmp_path / "a.mrc"
        path.write_bytes(writer.mrc_header((1, 4, 4), mode) + bytes(100))
        with pytest.raises(Unsupported, match=match):
            load(path)


def test_file_that_ends_early(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    for size, match in ((1000, "inside its header"), (1024, "before the first"), (1030, "6 bytes")):
        path.write_bytes(writer.mrc_header((3, 4, 4), 6).ljust(2000, b"\0")[:size])
        with pytest.raises(Truncated, match=match):
            load(path)


# ---------------------------------------------------------------- extended headers of FEI


def fei_stack(tmp_path: Path, kind: str, count: int = 3, **more: Any) -> Path:
    """Write a tilt series."""
    told = {"ht": (84, "d", 3e5), "magnification": (289, "d", 5e4), "length": (301, "d", 0.5)}
    told |= {"date": (12, "d", 44900.5), "camera": (435, "16s", b"BM-Ceta"), **more}
    extended = b"".join(
        writer.fei_record(
            kind, **{**told, "tilt": (100, "d", 2.0 * i - 2), "x": (116, "d", 1e-5), **more}
        )
        for i in range(count)
    )
    data = images(count)
    return write_mrc(tmp_path / "a.mrc", data, extended=extended, kind=kind.encode())


@pytest.mark.parametrize("kind", ["FEI1", "FEI2"])
def test_records_of_fei(tmp_path: Path, kind: str) -> None:
    signal = load(fei_stack(tmp_path, kind))
    np.testing.assert_array_equal(signal["data"], images(3))
    fei = signal["original_metadata"]["fei_header"]
    assert fei["alpha_tilt"].tolist() == [-2, 0, 2]
    assert fei["ht"] == 3e5
    assert ("scan_rotation" in fei) == (kind == "FEI2")
    general, tem = (signal["metadata"][k] for k in ("General", "Acquisition_instrument"))
    tem = tem["TEM"]
    assert (general["date"], general["time"]) == ("2022-12-05", "12:00:00")
    assert tem["Stage"]["tilt_alpha"].tolist() == [-2, 0, 2]
    assert tem["Stage"]["x"] == pytest.approx(0.01)  # mm
    assert (tem["beam_energy"], tem["camera_length"]) == (300, 500)
    assert tem["magnification"] == 5e4
    assert tem["Detector"]["Camera"]["Name"] == "BM-Ceta"


def test_fields_of_fei_as_in_mrcfile(tmp_path: Path) -> None:
    dtypes = pytest.importorskip("mrcfile.dtypes")
    for kind, ours in (("FEI1", FEI1), ("FEI2", FEI2)):
        theirs = dtypes.get_ext_header_dtype(kind.encode(), "<")
        places = {theirs.fields[n][1]: theirs.fields[n][0] for n in theirs.names}
        assert ours.itemsize == theirs.itemsize
        for name in ours.names or ():
            dtype, offset = ours.fields[name][:2]  # type: ignore[index]
            if dtype.kind != "V":
                assert places[offset] == dtype, name


def test_more_records_than_are_looked_at(tmp_path: Path) -> None:
    path = fei_stack(tmp_path, "FEI2", 1300)
    recording = mrc.parse(path)
    assert recording.count == 1300
    assert recording.original_metadata["extended_header"]["records"] == (1 << 20) // 888


def test_records_of_no_size(tmp_path: Path) -> None:
    for size in (0, -888, 100, 2**31 - 1):
        extended = np.array([size], "<i4").tobytes().ljust(888, b"\0")
        path = write_mrc(tmp_path / "a.mrc", images(), extended=extended, kind=b"FEI2")
        with pytest.warns(RecordingWarning, match=f"records of {size} bytes"):
            np.testing.assert_array_equal(load(path)["data"], images())


def test_scan_area_of_fei(tmp_path: Path) -> None:
    area = {"right": (595, "i", 3), "bottom": (599, "i", 2)}
    area |= {"fov_x": (603, "d", 3e-8), "fov_y": (611, "d", 4e-8)}
    path = fei_stack(tmp_path, "FEI2", 6, **area)
    with pytest.warns(RecordingWarning, match="taken from the extended header, whose scan area"):
        signal = load(path)
    assert signal["data"].shape == (2, 3, 5, 8)
    assert axes(signal)[:2] == [("y", "nm", 20), ("x", "nm", 10)]
    path = fei_stack(tmp_path, "FEI2", 5, **area)  # does not account for them
    assert load(path)["data"].shape == (5, 5, 8)


@pytest.mark.parametrize("order", ["<", ">"])
def test_old_records_of_fei(tmp_path: Path, order: str) -> None:
    rows = [(i, 0.5, 1e-5, 2e-5, 3e-5, 0, 0, -1e-6, 1.5, 100, 85, 2e-9, 5e4) for i in (-1, 0, 1)]
    extended = writer.old_fei(rows, order)
    path = write_mrc(tmp_path / "a.st", images(3), extended=extended, order=order)
    signal = load(path)
    np.testing.assert_array_equal(signal["data"], images(3))
    assert axes(signal) == [("z", None, 1), ("y", "nm", 2), ("x", "nm", 2)]
    fei = signal["original_metadata"]["fei_header"]
    assert fei["a_tilt"].tolist() == [-1, 0, 1]
    tem = signal["metadata"]["Acquisition_instrument"]["TEM"]
    assert tem["Stage"]["tilt_alpha"].tolist() == [-1, 0, 1]
    assert tem["Stage"]["z"] == pytest.approx(0.03)  # mm
    assert tem["Detector"]["Camera"]["exposure"] == 1.5
    if order == "<":
        theirs = upstream(path)
        for name, value in theirs["original_metadata"]["fei_header"].items():
            np.testing.assert_array_equal(np.broadcast_to(fei[name], 3), value[:3])


def test_scales_of_old_records_of_fei_are_those_of_rosettasciio(tmp_path: Path) -> None:
    """To the last digit: etspy loads a file by its suffix and by name, and compares."""
    rows = [(i, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 5.3e-10, 1) for i in (-1, 0, 1)]
    path = write_mrc(tmp_path / "a.mrc", images(3), extended=writer.old_fei(rows, "<"))
    ours, theirs = load(path)["axes"], upstream(path)["axes"]
    assert [float(axis["scale"]) for axis in ours] == [float(axis["scale"]) for axis in theirs]


# ---------------------------------------------------------------- Direct Electron: rasters


def test_movie(tmp_path: Path) -> None:
    path = write_movie(tmp_path, images(), {"Scan - Size X": 3, "Scan - Size Y": 2})
    signal = load(path)
    assert numbers(signal) == [[0, 1, 2], [3, 4, 5]]
    theirs = upstream(path)
    np.testing.assert_array_equal(signal["data"], theirs["data"])
    assert signal["original_metadata"]["de_metadata"] == theirs["original_metadata"]["de_metadata"]
    ours = signal["metadata"]
    for node in ("Signal", "Acquisition_instrument"):
        expected = theirs["metadata"][node]
        found = {**ours[node], **({"TEM": dict(ours[node]["TEM"])} if "TEM" in expected else {})}
        if "TEM" in expected:
            assert expected["TEM"].items() <= found["TEM"].items()
        else:
            assert expected.items() <= found.items()
    tem = ours["Acquisition_instrument"]["TEM"]
    assert (tem["beam_energy"], tem["camera_length"]) == (300, 200)
    assert (tem["dwell_time"], tem["rotation"]) == (pytest.approx(0.002), 15)
    general = ours["General"]
    assert general["timestamp"] == "1729539410"
    assert [general[k] for k in ("date", "time", "time_zone")] == ["2024-10-21", "19:36:50", "UTC"]
    files = signal["original_metadata"]["rsciio_tem"]["files"]
    assert [Path(f).name for f in files] == [path.name, "20250102_00042_info.txt"]


def test_movie_of_a_region(tmp_path: Path) -> None:
    told = {"Scan - Size X": 30, "Scan - Size Y": 20, "Scan - ROI Enable": "Enable"}
    told |= {"Scan - ROI Size X": 3, "Scan - ROI Size Y": 2}
    assert load(write_movie(tmp_path, images(), told))["data"].shape == (2, 3, 5, 8)


def test_unknown_calibration(tmp_path: Path) -> None:
    keys = [f"Specimen Pixel Size {a} (nanometers)" for a in "XY"]
    keys += [f"Diffraction Pixel Size {a}" for a in "XY"]
    for value in (-1, 0, None, "n/a"):
        told = {**dict.fromkeys(keys, value), "Scan - Size X": 3, "Scan - Size Y": 2}
        signal = load(write_movie(tmp_path, images(), told))
        assert axes(signal) == [(n, None, 1) for n in ("y", "x", "ky", "kx")]


@pytest.mark.parametrize(
    ("mode", "scan", "length", "shape", "names"),
    [
        (-1, "Enable", -1, (2, 3), ["y", "x", "ky", "kx"]),
        (1, "Enable", 20, (2, 3), ["y", "x", "ky", "kx"]),
        (1, "Disable", -1, (6,), ["time", "ky", "kx"]),
        (0, "Disable", 20, (6,), ["time", "ky", "kx"]),
        (0, "Disable", -1, (6,), ["time", "y", "x"]),
        (0, "Enable", -1, (6,), ["time", "ky", "kx"]),  # TEM: the scan was that of before
    ],
)
def test_modes_of_the_microscope(
    tmp_path: Path, mode: int, scan: str, length: int, shape: Any, names: list[str]
) -> None:
    told = {"Scan - Size X": 3, "Scan - Size Y": 2, "Scan - Enable": scan}
    told |= {"Instrument Project TEMorSTEM Mode": mode}
    told |= {"Instrument Project Camera Length (centimeters)": length}
    signal = load(write_movie(tmp_path, images(), told))
    assert signal["data"].shape == (*shape, 5, 8)
    assert [a["name"] for a in signal["axes"]] == names
    if names[0] == "time":
        assert axes(signal)[0] == ("time", "sec", 1 / 500)


def test_repeated_scans(tmp_path: Path) -> None:
    told = {"Scan - Size X": 2, "Scan - Size Y": 2, "Scan - Repeats": 3}
    path = write_movie(tmp_path, images(12), told)
    signal = load(path)
    assert numbers(signal) == np.arange(12).reshape(3, 2, 2).tolist()
    assert axes(signal)[:3] == [("time", "sec", 3.5), ("y", "nm", 4), ("x", "nm", 2)]
    path = write_movie(tmp_path, images(10), told)  # the third was not finished
    with pytest.warns(RecordingWarning, match="2 of 10 frames lie beyond"):
        assert load(path)["data"].shape == (2, 2, 2, 5, 8)
    path = write_movie(tmp_path, images(3), told)
    with pytest.warns(RecordingWarning, match="1 of 2 lines"):
        assert load(path)["data"].shape == (1, 2, 5, 8)


def test_frames_per_point(tmp_path: Path) -> None:
    told = {"Scan - Size X": 3, "Scan - Size Y": 2, "Scan - Camera Frames Per Point": 2}
    path = write_movie(tmp_path, images(12), told)
    with pytest.warns(RecordingWarning, match="2 frames were recorded at each scan point"):
        signal = load(path)
    assert numbers(signal) == np.arange(12).reshape(2, 3, 2).transpose(2, 0, 1).tolist()
    assert [a["name"] for a in signal["axes"]] == ["frame", "y", "x", "ky", "kx"]
    path = write_movie(tmp_path, images(6), told)  # summed
    assert load(path)["data"].shape == (2, 3, 5, 8)


def test_interrupted_scan(tmp_path: Path) -> None:
    path = write_movie(tmp_path, images(), {"Scan - Size X": 4, "Scan - Size Y": 3})
    with pytest.warns(RecordingWarning, match="only 1 of 3 lines are complete"):
        assert load(path)["data"].shape == (1, 4, 5, 8)
    with pytest.warns(RecordingWarning, match="6 of 12 scan positions were not recorded"):
        assert load(path, missing="fill")["data"].shape == (3, 4, 5, 8)


def test_shape_of_the_caller(tmp_path: Path) -> None:
    path = write_movie(tmp_path, images(), {"Scan - Size X": 3, "Scan - Size Y": 2})
    signal = load(path, navigation_shape=(2, 3))
    assert signal["data"].shape == (3, 2, 5, 8)
    assert axes(signal)[:2] == [("y", "nm", 4), ("x", "nm", 2)]
    signal = load(path, navigation_shape=(1, 2, 3))
    assert [a["name"] for a in signal["axes"]][:3] == ["time", "y", "x"]


def test_without_the_description(tmp_path: Path) -> None:
    path = write_movie(tmp_path, images(), {"Scan - Size X": 3, "Scan - Size Y": 2})
    signal = load(path, metadata_file=None)
    assert signal["data"].shape == (6, 5, 8)
    assert "de_metadata" not in signal["original_metadata"]
    (tmp_path / "20250102_00042_info.txt").unlink()
    assert load(path)["data"].shape == (6, 5, 8)


def test_description_of_another_name(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", images())
    told = writer.write_info(tmp_path / "b.txt", {"Scan - Size X": 3, "Scan - Size Y": 2})
    assert load(path)["data"].shape == (6, 5, 8)
    assert load(path, metadata_file=told)["data"].shape == (2, 3, 5, 8)


def test_description_of_this_very_movie(tmp_path: Path) -> None:
    """Of several of one acquisition, the one with the movie's own suffix."""
    write_movie(tmp_path, images(), {"Scan - Size X": 3, "Scan - Size Y": 2})
    path = write_movie(tmp_path, images(), {"Scan - Size X": 2, "Scan - Size Y": 3}, suffix="b")
    write_movie(tmp_path, images(), {"Scan - Size X": 6, "Scan - Size Y": 1}, suffix="c")
    assert load(path)["data"].shape == (3, 2, 5, 8)
    (tmp_path / "20250102_00042_b_info.txt").unlink()
    assert load(path)["data"].shape in ((2, 3, 5, 8), (6, 5, 8))


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"hello\n" * 10, b"x" * (2 << 20)])
def test_description_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = write_movie(tmp_path, images())
    (tmp_path / "20250102_00042_info.txt").write_bytes(content)
    with pytest.raises(FormatError, match=r"info\.txt"):
        load(path)
    with pytest.raises(FormatError, match=r"none\.txt.*does not exist"):
        load(path, metadata_file=tmp_path / "none.txt")


@pytest.mark.parametrize("value", ["", "x", "nan", "inf", "-3", "1e300", "9" * 400])
def test_numbers_that_are_none(tmp_path: Path, value: str) -> None:
    info = {key: value for key in writer.INFO if key not in ("Scan - Enable", "Scan - Type")}
    signal = quietly(write_movie(tmp_path, images(), {**info, "Scan - Size X": value}))
    assert signal["data"].size == images().size


# ---------------------------------------------------------------- Direct Electron: positions

XY = {"Scan - Type": "XY File"}


def test_positions(tmp_path: Path) -> None:
    places = [(2, 1), (0, 0), (1, 2), (2, 0), (0, 2), (1, 0)]
    path = write_movie(tmp_path, images() + 1, XY, positions=places)
    signal = load(path)
    assert numbers(signal) == [[2, 6, 4], [0, 0, 1], [5, 3, 0]]
    np.testing.assert_array_equal(signal["data"], upstream(path)["data"])
    mask = signal["original_metadata"]["rsciio_tem"].get("missing_mask")
    assert mask is None or mask.sum() == 3
    assert (load(path, fill_value=7)["data"][1, 0] == 7).all()
    assert numbers(load(path, metadata_file=None)) == [1, 2, 3, 4, 5, 6]


def test_positions_are_an_index_and_nothing_is_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    places = [(int(i) % 8, int(i) // 8) for i in rng.permutation(64)[:40]]
    path = write_movie(tmp_path, images(40), XY, positions=places)
    frames = mrc.parse(path).frames
    assert isinstance(frames, FrameTable)
    assert frames.order is not None
    assert (frames.order < 0).sum() == len(frames) - 40
    lengths = []
    read = backends.read

    def counting(file: Any, offset: int, nbytes: int, backend: Any, *more: Any) -> Any:
        lengths.append(nbytes)
        return read(file, offset, nbytes, backend, *more)

    data = load(path, lazy=True, chunks=(2, 4))["data"]
    assert data.shape[:2] == (max(y for _, y in places) + 1, max(x for x, _ in places) + 1)
    monkeypatch.setattr(backends, "read", counting)
    x, y = places[7]
    assert data[y, x, 0, 0].compute() == 7
    assert sum(lengths) <= 80
    lengths.clear()
    data[:2, :4].compute(scheduler="sync")
    assert sum(lengths) <= 8 * 80


@pytest.mark.parametrize("chunks", ["auto", (1, 1, 1), (2, 3, 1, 2, 2), 1])
def test_chunks_of_repeated_positions(tmp_path: Path, chunks: Any) -> None:
    places = [(0, 0), (1, 0), (0, 0), (2, 1), (1, 0), (0, 0)]
    path = write_movie(tmp_path, images(), XY, positions=places)
    expected = load(path)["data"]
    assert expected[..., 0, 0].tolist() == [[[0, 2, 5], [1, 4, 0], [0, 0, 0]], [[0] * 3, [0] * 3,
                                            [3, 0, 0]]]  # fmt: skip
    np.testing.assert_array_equal(load(path, lazy=True, chunks=chunks)["data"], expected)


def test_frames_per_position(tmp_path: Path) -> None:
    told = {**XY, "Scan - Camera Frames Per Point": 2}
    path = write_movie(tmp_path, images(), told, positions=[(0, 0), (2, 0), (1, 0)])
    assert numbers(load(path)) == [[[0, 1], [4, 5], [2, 3]]]


def test_more_positions_than_frames(tmp_path: Path) -> None:
    places = [(i % 4, i // 4) for i in range(8)]
    path = write_movie(tmp_path, images() + 1, XY, positions=places)
    with pytest.warns(RecordingWarning, match="8 scan positions for 6 frames; those without"):
        assert numbers(load(path)) == [[1, 2, 3, 4], [5, 6, 0, 0]]
    path = write_movie(tmp_path, images() + 1, XY, positions=places[:4])
    with pytest.warns(RecordingWarning, match="4 scan positions for 6 frames; the rest is left"):
        assert numbers(load(path)) == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "it is empty"),
        ("x,y\n0,0\n", "holds no scan positions"),
        ("0;0\n", "holds no scan positions"),
        ("0\n1\n", "a line has one number"),
        ("0,0\n0,-1\n", "line 2 is not a position"),
        ("0,0\n0.5,1\n", "line 2 is not a position"),
        ("nan,0\n", "line 1 is not a position"),
        ("1e30,0\n", "line 1 is not a position"),
        ("inf,0\n", "line 1 is not a position"),
        ("0,0\n1,2,3\n", "holds no scan positions"),
        ("0,0\n2000000000,2000000000\n", "grid of 2000000001 x 2000000001"),
    ],
)
def test_bad_positions(tmp_path: Path, text: str, match: str) -> None:
    path = write_movie(tmp_path, images(), XY, positions=[])
    (tmp_path / "20250102_00042_scan_coordinates.csv").write_text(text)
    with pytest.raises(FormatError, match=match) as caught:
        load(path)
    assert caught.value.path.endswith(".csv")


def test_no_positions(tmp_path: Path) -> None:
    path = write_movie(tmp_path, images(), XY)
    with pytest.raises(FormatError, match=r"'XY File'.*Pass scan_file=, or metadata_file=None"):
        load(path)
    write_movie(tmp_path, images(), XY, positions=[(0, 0)])
    info = tmp_path / "20250102_00042_info.txt"
    with pytest.raises(FormatError, match=r"Pass scan_file='.*_scan_coordinates\.csv'"):
        load(path, metadata_file=info)
    places = tmp_path / "other.csv"
    places.write_text("".join(f"{i},0\n" for i in range(6)))
    assert numbers(load(path, metadata_file=info, scan_file=places)) == [[0, 1, 2, 3, 4, 5]]
    assert numbers(load(path, scan_file=places)) == [[0, 1, 2, 3, 4, 5]]  # before what is found


# ---------------------------------------------------------------- images of the scan

SCAN = {"Scan - Size X": 3, "Scan - Size Y": 2}
IMAGE = np.arange(6, dtype="f4").reshape(2, 3)


def test_images_of_the_scan(tmp_path: Path) -> None:
    path = write_movie(
        tmp_path,
        images(),
        SCAN,
        virtual={"BF": IMAGE, "ADF": -IMAGE},
        external={"HAADF": IMAGE + 9},
    )
    for lazy in (False, True):
        tree = load(path, lazy=lazy)["metadata"]["_HyperSpy"]
        assert list(tree["navigators"]) == ["_sig_BF", "_sig_ADF", "_sig_HAADF"]
        np.testing.assert_array_equal(tree["_sig_navigator"]["data"], IMAGE)
        np.testing.assert_array_equal(tree["navigators"]["_sig_HAADF"]["data"], IMAGE + 9)
        assert axes(tree["_sig_navigator"]) == [("y", "nm", 4), ("x", "nm", 2)]
    files = load(path)["original_metadata"]["rsciio_tem"]["files"]
    assert len(files) == 5


def test_images_in_hyperspy(tmp_path: Path) -> None:
    hs = pytest.importorskip("hyperspy.api")
    path = write_movie(tmp_path, images(), SCAN, virtual={"BF": IMAGE})
    signal = hs.load(path, lazy=True)
    assert signal.metadata.General.FileIO.as_dictionary()["0"]["io_plugin"].endswith("formats.mrc")
    np.testing.assert_array_equal(signal.navigator.data, IMAGE)
    assert signal.metadata._HyperSpy.navigators["BF"].axes_manager.signal_shape == (3, 2)


def test_images_with_the_same_name(tmp_path: Path) -> None:
    path = write_movie(tmp_path, images(), SCAN)
    for i in range(3):
        write_mrc(tmp_path / f"20250102_00042_{i}_BF_sum.mrc", IMAGE + i)
    found = load(path)["metadata"]["_HyperSpy"]["navigators"]
    assert {k: v["data"].min() for k, v in found.items()} == {
        "_sig_BF": 0,
        "_sig_BF_1": 1,
        "_sig_BF_2": 2,
    }


def test_scan_of_another_shape(tmp_path: Path) -> None:
    path = write_movie(tmp_path, images(), SCAN, virtual={"BF": IMAGE})
    tree = load(path, navigation_shape=(2, 3))["metadata"]["_HyperSpy"]
    np.testing.assert_array_equal(tree["_sig_navigator"]["data"], IMAGE.reshape(3, 2))
    assert [a["size"] for a in tree["_sig_navigator"]["axes"]] == [3, 2]
    for options in (
        {"last_frame": 3, "nav_shape": (3,)},
        {"roi": [1, 2]},
        {"navigation_shape": (3, 1)},
    ):
        with pytest.warns(RecordingWarning, match=r"BF_sum\.mrc has \(2, 3\) pixels"):
            tree = load(path, **options)["metadata"]["_HyperSpy"]
        assert "_sig_navigator" not in tree
        assert tree["navigators"]["_sig_BF"]["data"].shape == (2, 3)
    tree = load(path, roi=[0, 1, 2, 3, 4, 5])["metadata"]["_HyperSpy"]
    assert tree["navigators"]["_sig_BF"]["data"].shape == (6,)


def test_damaged_image_of_the_scan(tmp_path: Path) -> None:
    path = write_movie(tmp_path, images(), SCAN, virtual={"BF": IMAGE, "ADF": IMAGE})
    bad = tmp_path / "20250102_00042_0_BF_sum.mrc"
    for content in (b"", bad.read_bytes()[:1030], writer.mrc_header((2, 1, 1), 6) + bytes(9)):
        bad.write_bytes(content)
        with pytest.warns(RecordingWarning, match="image of the scan is left out.*BF_sum"):
            signal = load(path)
        assert list(signal["metadata"]["_HyperSpy"]["navigators"]) == ["_sig_ADF"]
        assert "_sig_navigator" in signal["metadata"]["_HyperSpy"]


def test_images_that_are_given(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", images())
    given = [write_mrc(tmp_path / f"{i}.mrc", IMAGE + i) for i in range(3)]
    options = {"virtual_images": given[:2], "external_images": [str(given[2])]}
    tree = load(path, navigation_shape=(3, 2), **options)["metadata"]["_HyperSpy"]
    assert list(tree["navigators"]) == [
        "_sig_virtual_image_0",
        "_sig_virtual_image_1",
        "_sig_external_image_0",
    ]
    np.testing.assert_array_equal(tree["_sig_navigator"]["data"], IMAGE)
    with pytest.raises(FormatError, match="does not exist"):
        load(path, virtual_images=[tmp_path / "none.mrc"])
    movie = write_movie(tmp_path, images(), SCAN, virtual={"BF": IMAGE})
    assert "navigators" not in load(movie, virtual_images=[])["metadata"].get("_HyperSpy", {})


# ---------------------------------------------------------------- compressed files


@pytest.mark.parametrize("suffix", [".mrc.gz", ".map.bz2", ".REC.GZ"])
@pytest.mark.parametrize("mode", KINDS)
def test_compressed(tmp_path: Path, suffix: str, mode: int) -> None:
    data = images(dtype=KINDS[mode])
    plain = write_mrc(tmp_path / "a.mrc", data, mode, extended=b"x" * 160, order=">")
    path = tmp_path / f"a{suffix}"
    path.write_bytes((bz2 if "bz2" in suffix else gzip).compress(plain.read_bytes()))
    assert rsciio_tem.detect(path)[0].format == "mrc"
    (signal,) = rsciio_tem.load(path, navigation_shape=(3, 2))
    np.testing.assert_array_equal(signal["data"], data.reshape(2, 3, 5, 8))
    assert "title" not in signal["metadata"]["General"]  # RosettaSciIO gives none
    with pytest.raises(Unsupported, match=r"compressed.*lazily.*Unpack it"):
        load(path, lazy=True)


def test_compressed_header_only(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc.gz"
    path.write_bytes(gzip.compress(writer.mrc_header((5, 4, 4), 6)))
    with pytest.raises(Truncated):
        load(path)


def test_compressed_and_cut(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    data = rng.integers(0, 65536, (400, 64, 64)).astype("u2")
    content = gzip.compress(write_mrc(tmp_path / "a.mrc", data).read_bytes())
    path = tmp_path / "a.mrc.gz"
    path.write_bytes(content[: len(content) * 3 // 4])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = load(path)["data"]
    messages = " ".join(str(w.message) for w in caught)
    assert "cannot be unpacked to its end" in messages
    assert "announces 400 images, but holds" in messages
    assert 200 < len(found) < 300
    np.testing.assert_array_equal(found, data[: len(found)])
    for bad in (content[:12], content[:10] + b"\xff" * 50, b"\x1f\x8b\x08" + bytes(40)):
        path.write_bytes(bad)
        with pytest.raises(FormatError, match=r"a\.mrc\.gz"):
            load(path)


@pytest.mark.parametrize("module", [gzip, bz2])
def test_bomb(tmp_path: Path, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What unpacks to more than memory holds is refused in good time."""
    path = tmp_path / ("bomb.mrc.gz" if module is gzip else "bomb.mrc.bz2")
    head = writer.mrc_header((32766, 4096, 4096), 2)
    path.write_bytes(module.compress(head + bytes(200 << 20)))
    assert path.stat().st_size < 1 << 20
    monkeypatch.setattr(machine, "free_memory", lambda: 80 << 20)
    with pytest.raises(NotEnoughMemory, match=r"unpacked so far.*Unpack the file on disk"):
        load(path)


def test_compressed_but_something_else(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc.gz"
    path.write_bytes(gzip.compress(b"\x89PNG\r\n" * 1000))
    assert not [c for c in rsciio_tem.detect(path) if c.format == "mrc"]
    with pytest.raises(NotThisFormat):
        load(path)
    other = tmp_path / "a.tif.gz"
    other.write_bytes(gzip.compress(writer.mrc_header((1, 4, 4), 6)))
    assert not [c for c in rsciio_tem.detect(other) if c.format == "mrc"]


# ---------------------------------------------------------------- recognition, keywords


@pytest.mark.parametrize("suffix", ["mrc", "mrcs", "st", "ali", "rec", "map", "dat"])
def test_recognised(tmp_path: Path, suffix: str) -> None:
    path = write_mrc(tmp_path / f"a.{suffix}", images())
    assert rsciio_tem.detect(path)[0].format == "mrc"
    old = write_mrc(tmp_path / f"b.{suffix}", images(), mark=b"", stamp=bytes(4), order=">")
    found = [c.confidence for c in rsciio_tem.detect(old) if c.format == "mrc"]
    assert found == ([] if suffix == "dat" else [0.6])


@pytest.mark.parametrize("suffix", ["mrc", "mrcs", "st", "ali", "rec", "map"])
def test_hyperspy_loads_every_suffix(tmp_path: Path, suffix: str) -> None:
    hs = pytest.importorskip("hyperspy.api")
    signal = hs.load(write_mrc(tmp_path / f"a.{suffix}", images()))
    np.testing.assert_array_equal(signal.data, images())


def test_map_of_another_vendor_is_handed_over(tmp_path: Path, monkeypatch: Any) -> None:
    hs = pytest.importorskip("hyperspy.api")
    import rsciio.jeol

    asked = []

    def reader(filename: str, **options: Any) -> Any:
        asked.append(filename)
        return [{"data": np.zeros(3), "axes": [], "metadata": {}, "original_metadata": {}}]

    monkeypatch.setattr(rsciio.jeol, "file_reader", reader)
    path = tmp_path / "a.map"
    path.write_bytes(b"JEOL" * 500)
    hs.load(path)
    assert asked == [str(path)]


def test_old_keywords(tmp_path: Path) -> None:
    from rsciio.exceptions import VisibleDeprecationWarning

    path = write_mrc(tmp_path / "a.mrc", images(), order=">")
    with pytest.warns(VisibleDeprecationWarning, match="endianness"):
        np.testing.assert_array_equal(load(path, endianess=">")["data"], images())
    for value in (True, False):
        with pytest.warns(VisibleDeprecationWarning, match="distributed"):
            load(path, distributed=value)


# ---------------------------------------------------------------- real files


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "manifest.csv", encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["format"] == "mrc"]


def test_real_files(realdata: Path) -> None:
    """Shape, type and sum of each file, and its bytes as in the peers."""
    seen = 0
    for row in rows(realdata):
        path = realdata / row["file"]
        if not row["shape"] or not path.exists():
            continue
        data = load(path)["data"]
        assert "x".join(map(str, data.shape)) == row["shape"], row["file"]
        assert data.dtype == row["dtype"]
        assert float(data.sum(dtype=np.float64)) == pytest.approx(float(row["sum"]))
        checksum = f"{zlib.crc32(np.ascontiguousarray(data).tobytes()):08x}"
        assert {peer.strip().rsplit(":", 1)[1] for peer in row["oracle"].split("|")} == {checksum}
        seen += 1
    assert seen > 15


def test_real_maps(realdata: Path) -> None:
    folder = realdata / "mrc" / "mrcfile"
    plain, packed = folder / "EMD-3001.map", folder / "EMD-3001.map.bz2"
    if not plain.exists():
        pytest.skip(f"no maps in {folder}")
    signal = load(plain)
    np.testing.assert_array_equal(signal["data"], by_mrcfile(plain))
    np.testing.assert_array_equal(signal["data"], load(packed)["data"])
    assert signal["original_metadata"]["symmetry"] == ["X,  Y,  Z", "-X,  Y+1/2,  -Z"]
    # columns count along the third axis of the cell
    assert axes(signal) == [
        ("z", "nm", 0.471 / 12),
        ("y", "nm", 1.793 / 40),
        ("x", "nm", 3.303 / 72),
    ]
    for name in ("emd_3197.png.gz", "emd_3197.png"):
        with pytest.raises(NotThisFormat, match="is not an MRC file"):
            load(folder / name)


def test_real_velox_image(realdata: Path) -> None:
    path = realdata / "rosettasciio" / "mrc" / "HAADFscan.mrc"
    if not path.exists():
        pytest.skip(f"no {path}")
    signal = load(path)
    theirs = upstream(path)
    np.testing.assert_array_equal(signal["data"], theirs["data"])
    assert signal["axes"] == theirs["axes"]
    fei = signal["original_metadata"]["fei_header"]
    assert (fei["microscope_type"], fei["stem_detector_name"]) == ("Spectra", "HAADF")
    assert fei["pixel_size_x"] * 1e9 == pytest.approx(signal["axes"][1]["scale"])
    tem = signal["metadata"]["Acquisition_instrument"]["TEM"]
    assert tem["camera_length"] == pytest.approx(91.1)
    assert tem["convergence_angle"] == pytest.approx(14.327, abs=1e-3)
    assert signal["metadata"]["General"]["date"] == "2022-12-05"
    dtypes = pytest.importorskip("mrcfile.dtypes")
    record = np.frombuffer(
        path.read_bytes()[1024 : 1024 + 888], dtypes.get_ext_header_dtype(b"FEI2", "<")
    )[0]
    places = {dtypes.get_ext_header_dtype(b"FEI2", "<").fields[n][1]: n for n in record.dtype.names}
    for name in FEI2.names or ():
        dtype, offset = FEI2.fields[name][:2]  # type: ignore[index]
        if dtype.kind == "V":
            continue
        value = record[places[offset]]
        assert fei[name] == (value.decode() if dtype.kind == "S" else value)


def test_real_movie(realdata: Path) -> None:
    path = realdata / "rosettasciio" / "mrc" / "20241021_00405_movie.mrc"
    if not path.exists():
        pytest.skip(f"no {path}")
    signal, theirs = load(path), upstream(path)
    np.testing.assert_array_equal(signal["data"], theirs["data"])
    assert [a["name"] for a in signal["axes"]] == [a["name"] for a in theirs["axes"]]
    assert [a["units"] for a in signal["axes"]] == [a["units"] for a in theirs["axes"]]
    assert [a["scale"] for a in signal["axes"]] == [0.2, 0.1, 0.1, 0.1]
    tree = signal["metadata"]["_HyperSpy"]
    assert sorted(tree["navigators"]) == ["_sig_Ext 1", "_sig_Virt 0", "_sig_Virt 1"]
    assert signal["metadata"]["Signal"]["Noise_properties"]["gain_factor"] == pytest.approx(1 / 51)


def test_real_positions(realdata: Path) -> None:
    folder = realdata / "rosettasciio" / "mrc"
    for name, shape in (("Custom", (5, 5, 2)), ("ROI_Random_Scan", (29, 12))):
        path = folder / f"{name}_movie.mrc"
        if not path.exists():
            pytest.skip(f"no {path}")
        options = {
            "metadata_file": folder / f"{name}_info.txt",
            "scan_file": folder / f"{name}_scan_coordinates.csv",
        }
        signal = load(path, **options)
        assert signal["data"].shape == (*shape, 16, 16)
        np.testing.assert_array_equal(signal["data"], upstream(path, **options)["data"])
        if name != "Custom":  # the server's own sum of each pattern
            total = load(folder / f"{name}_Sum.mrc")["data"]
            np.testing.assert_allclose(signal["data"].sum((-2, -1)), total, rtol=1e-4)


def test_real_references(realdata: Path) -> None:
    path = realdata / "seq" / "de_celeritas_256" / "Movie_00785.seq.dark.mrc"
    if not path.exists():
        pytest.skip(f"no {path}")
    with pytest.warns(RecordingWarning, match="announces 32766 images, but holds 1"):
        signal = load(path)
    assert signal["data"].shape == (256, 256)
    assert axes(signal) == [("y", None, 1), ("x", None, 1)]  # not 1e-46 nm


# ---------------------------------------------------------------- writing


def signal_of(data: Any, units: str = "nm", **metadata: Any) -> dict[str, Any]:
    n_nav = data.ndim - 2
    names = [None, None, "y", "x"][-n_nav:] if n_nav else []
    return {
        "data": data,
        "axes": [
            {
                "name": name,
                "size": n,
                "scale": 0.5 * (i + 1),
                "offset": 1.0 * i,
                "units": units,
                "navigate": i < n_nav,
            }
            for i, (name, n) in enumerate(zip([*names, "ky", "kx"], data.shape, strict=True))
        ],
        "metadata": {"General": {}, **metadata},
        "original_metadata": {},
    }


# mrcfile 1.5.4 changes the type of an array in place, which NumPy 2.5 deprecates
@pytest.mark.filterwarnings("ignore:Setting the dtype:DeprecationWarning")
@pytest.mark.parametrize("nav", [(), (6,), (2, 3)])
@pytest.mark.parametrize("dtype", ["i1", "i2", "f4", "c8", "u2", "f2", "u1", ">f4", ">u2"])
@pytest.mark.parametrize("lazy", [False, True])
def test_written(tmp_path: Path, nav: tuple[int, ...], dtype: str, lazy: bool) -> None:
    data = images(6 if nav else 1).astype(dtype).reshape(*nav, 5, 8)
    array: Any = data
    if lazy:
        import dask.array as da

        array = da.from_array(data, chunks=(*(2,) * len(nav), 5, 8))
    path = tmp_path / "a.mrc"
    mrc.file_writer(path, signal_of(array), show_progressbar=False)
    signal = load(path)
    np.testing.assert_array_equal(signal["data"], data)
    assert signal["data"].dtype == {"u1": "u2"}.get(dtype, data.dtype.newbyteorder("="))
    scales = [0.5 * (i + 1) for i in range(data.ndim)]
    assert [a["scale"] for a in signal["axes"]][-2:] == pytest.approx(scales[-2:])
    assert [a["offset"] for a in signal["axes"]][-2:] == [len(nav), len(nav) + 1]
    if nav:
        assert signal["axes"][len(nav) - 1]["scale"] == pytest.approx(scales[len(nav) - 1])
    mrcfile = pytest.importorskip("mrcfile")
    with open(os.devnull, "w") as nowhere:
        assert mrcfile.validate(str(path), print_file=nowhere)
    np.testing.assert_array_equal(by_mrcfile(path), data)
    if dtype != "i1":
        np.testing.assert_array_equal(upstream(path)["data"], data.reshape(*(6,)[: len(nav)], 5, 8))
    with mrcfile.open(path, header_only=True) as file:
        if dtype != "c8":
            assert file.header.dmin == pytest.approx(float(data.min()))
            assert file.header.dmax == pytest.approx(float(data.max()))
            assert file.header.dmean == pytest.approx(data.mean(dtype="f8"), rel=1e-6)
            assert file.header.rms == pytest.approx(data.std(dtype="f8"), rel=1e-4)


def test_written_units(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    with pytest.warns(RecordingWarning, match=r"1/nm of axis '\w+' is not stored") as caught:
        mrc.file_writer(path, signal_of(images(), "1/nm"), show_progressbar=False)
    assert len(caught) == 3
    assert axes(load(path)) == [("z", None, 1), ("y", None, 1), ("x", None, 1)]
    mrc.file_writer(path, signal_of(images(), "Å"), show_progressbar=False, overwrite=True)
    assert axes(load(path))[1:] == [("y", "nm", 0.1), ("x", "nm", 0.15)]


@pytest.mark.parametrize("dtype", ["f8", "u4", "i8", "?", "c16"])
def test_types_that_are_not_written(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(ValueError, match=r"hold no \w+ pixels, .*change the type"):
        mrc.file_writer(tmp_path / "a.mrc", signal_of(np.zeros((2, 3, 4), dtype)))
    assert not list(tmp_path.iterdir())


def test_too_many_axes(tmp_path: Path) -> None:
    data = np.zeros((2, 2, 2, 3, 4), "u2")
    signal = signal_of(data[0])
    signal["data"] = data
    signal["axes"].insert(0, {**signal["axes"][0], "size": 2})
    with pytest.raises(ValueError, match="up to two scan axes"):
        mrc.file_writer(tmp_path / "a.mrc", signal)


def test_existing_files(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", images())
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        mrc.file_writer(path, signal_of(images(2)))
    with pytest.raises(FormatError, match="is the recording"):
        mrc.file_writer(path, load(path), overwrite=True)
    assert path.read_bytes() == before
    mrc.file_writer(path, signal_of(images(2)), overwrite=True)
    assert load(path)["data"].shape == (2, 5, 8)


def test_nothing_remains_of_what_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dask.array as da

    def fail(block: Any) -> Any:
        raise OSError(errno.EIO, "broken")

    data = da.zeros((4, 3, 3), "u2", chunks=(1, 3, 3)).map_blocks(
        fail, dtype="u2", meta=np.empty(0)
    )
    with pytest.raises(OSError, match="broken"):
        mrc.file_writer(tmp_path / "a.mrc", signal_of(data), show_progressbar=False)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(
        stream.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10})()
    )
    with pytest.raises(OSError, match="are free"):
        mrc.file_writer(tmp_path / "a.mrc", signal_of(images()))
