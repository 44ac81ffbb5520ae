# SPDX-License-Identifier: GPL-3.0-or-later
"""Blockfiles: bit depths, numbers in the records, the stored image of the scan, writing."""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from writers import blo as writer
from writers.blo import write_blo

import rsciio_tem
from rsciio_tem.errors import FormatError, NotThisFormat, RecordingWarning, Truncated
from rsciio_tem.formats import blo
from rsciio_tem.writing import stream

EDGE = 8


def patterns(nav: tuple[int, ...] = (3, 4), dtype: str = "u1", edge: int = EDGE) -> np.ndarray:
    """Patterns whose first pixel is their number."""
    rng = np.random.default_rng(5)
    data = rng.integers(0, np.iinfo(dtype).max, (*nav, edge, edge)).astype(dtype)
    data[..., 0, 0] = np.arange(np.prod(nav, dtype=int)).reshape(nav)
    return data


def load(path: Any, **options: Any) -> dict[str, Any]:
    (signal,) = blo.file_reader(path, **options)
    return signal


def quietly(path: Any, **options: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        return load(path, **options)


def numbers(signal: dict[str, Any]) -> list[Any]:
    return np.asarray(signal["data"])[..., 0, 0].tolist()


def upstream(path: Path, **options: Any) -> dict[str, Any]:
    pytest.importorskip("skimage")
    from rsciio.blockfile import file_reader

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return file_reader(str(path), **options)[0]


def by_libertem(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api = pytest.importorskip("libertem.api")
        from libertem.udf.raw import PickUDF

        context = api.Context.make_with("inline")
        data = context.load("blo", str(path))
        shape = tuple(data.shape)
        picked = context.run_udf(data, PickUDF(), roi=np.ones(shape[:-2], bool))
    return np.array(picked["intensity"].data).reshape(shape)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("nav", [(3, 4), (1, 5), (5, 1), (1, 1)])
@pytest.mark.parametrize("gap", [0, 12, 500])
def test_as_in_the_peers(tmp_path: Path, nav: tuple[int, int], gap: int) -> None:
    data = patterns(nav)
    path = write_blo(tmp_path / "a.blo", data, gap=gap)
    np.testing.assert_array_equal(by_libertem(path).reshape(data.shape), data)
    theirs = upstream(path)
    ours = load(path)
    np.testing.assert_array_equal(ours["data"], theirs["data"], strict=True)
    np.testing.assert_array_equal(np.asarray(load(path, lazy=True)["data"]), theirs["data"])
    if nav == (3, 4):
        assert [{k: v for k, v in a.items() if k != "index_in_array"} for a in ours["axes"]] == [
            {k: v for k, v in a.items() if k != "index_in_array"} for a in theirs["axes"]
        ]
    else:  # RosettaSciIO calls a row "y", and makes rows of patterns a scan axis
        names = [a["name"] for a in ours["axes"] if a["navigate"]]
        assert names == {(1, 5): ["x"], (5, 1): ["y"], (1, 1): []}[nav]


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit(tmp_path: Path, lazy: bool, order: Any) -> None:
    """RosettaSciIO crashes, or returns garbage of 8 bits when lazy."""
    data = patterns(dtype="u2")
    path = write_blo(tmp_path / "a.blo", data, order=order)
    result = np.asarray(load(path, lazy=lazy, endianness=order)["data"])
    np.testing.assert_array_equal(result, data, strict=True)


@pytest.mark.parametrize("name", ["test1.blo", "test2.blo"])
@pytest.mark.parametrize("lazy", [False, True])
def test_real_files(realdata: Path, name: str, lazy: bool) -> None:
    path = realdata / "rosettasciio" / "blockfile" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    shape, total = {
        "test1.blo": ((3, 2, 144, 144), 5164570),
        "test2.blo": ((2, 3, 5, 5), 2952),
    }[name]
    signal = load(path, lazy=lazy)
    data = np.asarray(signal["data"])
    assert (data.shape, data.dtype, int(data.sum())) == (shape, np.uint8, total)
    np.testing.assert_array_equal(data, upstream(path)["data"])
    np.testing.assert_array_equal(data, by_libertem(path))
    navigator = signal["metadata"]["_HyperSpy"]["_sig_navigator"]
    content = path.read_bytes()
    np.testing.assert_array_equal(
        navigator["data"].reshape(-1), np.frombuffer(content[4096:4102], "u1")
    )
    assert navigator["data"].shape == shape[:2]


# ---------------------------------------------------------------- bit depth and byte order


@pytest.mark.parametrize(
    ("dtype", "magic", "told", "warns"),
    [
        ("u1", 258, 8, ""),
        ("u1", 259, 8, ""),
        ("u2", 259, 16, ""),
        ("u2", 258, 8, "pixels have 16 bits by the size of the file, 8 by its header"),
        ("u1", 259, 16, "pixels have 8 bits by the size of the file, 16 by its header"),
    ],
)
def test_bit_depth(tmp_path: Path, dtype: str, magic: int, told: int, warns: str) -> None:
    data = patterns(dtype=dtype)
    path = write_blo(tmp_path / "a.blo", data, magic=magic, told_bits=told)
    if warns:
        with pytest.warns(RecordingWarning, match=warns):
            result = load(path)["data"]
    else:
        result = load(path)["data"]
    np.testing.assert_array_equal(result, data, strict=True)


def test_byte_order_by_the_signature(tmp_path: Path) -> None:
    data = patterns(dtype="u2")
    path = write_blo(tmp_path / "big.blo", data, order=">")
    with pytest.warns(RecordingWarning, match="big-endian"):
        np.testing.assert_array_equal(load(path)["data"], data)
    path = write_blo(tmp_path / "little.blo", data)
    with pytest.warns(RecordingWarning, match="little-endian"):
        np.testing.assert_array_equal(load(path, endianness=">")["data"], data)
    with pytest.raises(ValueError, match="endianness"):
        load(path, endianness="=")  # type: ignore[arg-type]


def test_old_spelling(tmp_path: Path) -> None:
    from rsciio.exceptions import VisibleDeprecationWarning

    path = write_blo(tmp_path / "a.blo", patterns())
    with pytest.warns(VisibleDeprecationWarning, match="endianness"):
        load(path, endianess="<")


def test_unknown_signature(tmp_path: Path) -> None:
    data = patterns()
    path = write_blo(tmp_path / "a.blo", data, magic=0xAFAF)
    with pytest.warns(RecordingWarning, match="Blockfile has unrecognized header signature 44975"):
        np.testing.assert_array_equal(load(path)["data"], data)


def test_another_file(tmp_path: Path) -> None:
    path = tmp_path / "a.blo"
    path.write_bytes(b"IMGBLA" + bytes(9000))
    with pytest.raises(NotThisFormat, match="is not a blockfile"):
        load(path)
    assert [c.format for c in rsciio_tem.detect(path)] == []
    named = write_blo(tmp_path / "a.dat", patterns())
    assert rsciio_tem.detect(named)[0].format == "blo"


# ---------------------------------------------------------------- number of records


@pytest.mark.parametrize("cut", [1, 30, 70, 71, 140])
@pytest.mark.parametrize("missing", ["auto", "crop", "fill", "raise"])
def test_interrupted(tmp_path: Path, cut: int, missing: str) -> None:
    """RosettaSciIO: ValueError when lazy; LiberTEM: AssertionError."""
    data = patterns()
    path = write_blo(tmp_path / "a.blo", data, truncate=cut)
    left = 12 - -(-cut // 70)
    if missing == "raise":
        with (
            pytest.warns(RecordingWarning, match="Blockfile header"),
            pytest.raises(FormatError, match="were not recorded"),
        ):
            load(path, missing=missing)
        return
    for lazy in (False, True):
        with pytest.warns(RecordingWarning, match="Blockfile header|lines are|are filled"):
            result = np.asarray(load(path, lazy=lazy, missing=missing)["data"])
        if missing == "fill":
            expected = data.copy()
            expected.reshape(12, EDGE, EDGE)[left:] = 0
            np.testing.assert_array_equal(result, expected)
            # what RosettaSciIO does when it is not lazy
            if cut in (70, 140):
                np.testing.assert_array_equal(result, upstream(path)["data"])
        else:
            np.testing.assert_array_equal(result, data[:2])


def test_surplus_records(tmp_path: Path) -> None:
    """RosettaSciIO: ValueError."""
    data = patterns((13,))
    path = write_blo(tmp_path / "a.blo", data, (3, 4))
    with pytest.warns(RecordingWarning, match="1 of 13 frames lie beyond the scan"):
        assert numbers(load(path)) == np.arange(12).reshape(3, 4).tolist()
    assert numbers(load(path, nav_shape=(13,))) == list(range(13))


@pytest.mark.parametrize("scan", [(0, 4), (3, 0)])
def test_no_scan_in_the_header(tmp_path: Path, scan: tuple[int, int]) -> None:
    path = write_blo(tmp_path / "a.blo", patterns((12,)), scan)
    with pytest.warns(RecordingWarning, match=r"Pass navigation_shape"):
        assert load(path)["data"].shape == (12, EDGE, EDGE)
    assert quietly(path, navigation_shape=(4, 3))["data"].shape == (3, 4, EDGE, EDGE)


def test_no_record(tmp_path: Path) -> None:
    path = write_blo(tmp_path / "a.blo", patterns((1, 1)), truncate=1)
    with pytest.raises(Truncated, match="one takes 70"):
        load(path)
    path = write_blo(tmp_path / "a.blo", patterns((1, 1)), truncate=70)
    with pytest.raises(Truncated, match="before the first pattern"):
        load(path)


# ---------------------------------------------------------------- numbers in the records


@pytest.mark.parametrize("lazy", [False, True])
def test_out_of_order(tmp_path: Path, lazy: bool) -> None:
    """Both peers take records as they come."""
    ids = np.random.default_rng(4).permutation(12).tolist()
    path = write_blo(tmp_path / "a.blo", patterns((12,)), (3, 4), ids=ids)
    with pytest.warns(RecordingWarning, match="not in the order of the scan"):
        data = np.array(numbers(load(path, lazy=lazy)))
    assert data.reshape(-1).tolist() == np.argsort(ids).tolist()


def test_missing_and_repeated_numbers(tmp_path: Path) -> None:
    path = write_blo(tmp_path / "a.blo", patterns((11,)), (3, 4), ids=[0, 1, 1, *range(4, 12)])
    with pytest.warns(
        RecordingWarning,
        match="2 of 12 scan positions have none .*; 1 repeat a number|header describes 12",
    ):
        data = np.array(numbers(load(path, fill_value=99))).reshape(-1)
    assert data.tolist() == [0, 1, 99, 99, *range(3, 11)]


@pytest.mark.parametrize("first", [1, 1000])
def test_numbers_that_do_not_begin_at_0(tmp_path: Path, first: int) -> None:
    ids = list(range(first, first + 12))
    path = write_blo(tmp_path / "a.blo", patterns(), ids=ids)
    with pytest.warns(RecordingWarning, match=f"numbered from {first} on"):
        assert numbers(load(path)) == np.arange(12).reshape(3, 4).tolist()


def test_first_records_lost(tmp_path: Path) -> None:
    path = write_blo(tmp_path / "a.blo", patterns((10,)), (3, 4), ids=range(2, 12))
    data = np.array(numbers(quietly(path, fill_value=99))).reshape(-1)
    assert data.tolist() == [99, 99, *range(10)]


def test_senseless_numbers(tmp_path: Path) -> None:
    path = write_blo(tmp_path / "a.blo", patterns(), ids=[7 * 10**6 * i for i in range(12)])
    with pytest.warns(RecordingWarning, match="the numbers are ignored"):
        assert numbers(load(path)) == np.arange(12).reshape(3, 4).tolist()


def test_unmarked_records(tmp_path: Path) -> None:
    path = write_blo(tmp_path / "a.blo", patterns(), unmarked=[5])
    with pytest.warns(RecordingWarning, match="1 records, the first of them number 5|1 of 12"):
        data = np.array(numbers(load(path, fill_value=99))).reshape(-1)
    assert data.tolist() == [0, 1, 2, 3, 4, 99, *range(6, 12)]
    path = write_blo(tmp_path / "b.blo", patterns(), unmarked=range(12))
    with pytest.warns(RecordingWarning, match="no record begins with the bytes AA 55"):
        assert numbers(load(path))[0] == [0, 1, 2, 3]


def test_bytes_lost_in_the_middle(tmp_path: Path) -> None:
    path = write_blo(tmp_path / "a.blo", patterns())
    content = path.read_bytes()
    start = len(content) - 12 * 70 + 3 * 70 + 9
    path.write_bytes(content[:start] + content[start + 5 :])
    with pytest.raises(FormatError, match="from record 4 on, bytes are missing or too many"):
        quietly(path)


def test_large_file_that_is_not_regular(tmp_path: Path) -> None:
    count = 5000  # more than are looked at one by one
    regular = write_blo(tmp_path / "a.blo", patterns((50, 100), "u2", 2))
    assert blo.parse(regular).frames.order is None
    ids = np.roll(np.arange(count), 1)
    path = write_blo(tmp_path / "b.blo", patterns((50, 100), "u2", 2), ids=ids.tolist())
    frames = blo.parse(path).frames
    assert frames.order is not None
    assert frames.order[:3].tolist() == [1, 2, 3]
    assert int(frames.order[-1]) == 0


@pytest.mark.parametrize("kind", ["swapped", "repeated", "one twice, the next but three lost"])
def test_every_number_of_a_usual_scan_is_read(tmp_path: Path, kind: str) -> None:
    """What is wrong in the middle and right again behind it is not between two samples."""
    ids = list(range(64 * 64))
    if kind == "swapped":
        ids[2050], ids[2053] = ids[2053], ids[2050]
    elif kind == "repeated":
        ids[2050] = ids[2049]
    else:
        ids = sorted([*(i for i in ids if i != 2047), 2044])
    path = write_blo(tmp_path / "a.blo", patterns((64, 64), "u2", 2), ids=ids)
    data = np.array(numbers(quietly(path, fill_value=5000))).reshape(-1)
    assert data.tolist() == [ids.index(i) if i in ids else 5000 for i in range(64 * 64)]
    with pytest.warns(RecordingWarning, match="numbers in the 4096 records"):
        load(path, lazy=True)


@pytest.mark.parametrize("edge", [2, 66])  # in blocks; straight from the file
@pytest.mark.parametrize("wrong", ["numbers", "mark"])
def test_records_between_those_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edge: int, wrong: str
) -> None:
    """No pattern goes to another position in silence, whoever asks for it in whatever way."""
    monkeypatch.setattr("rsciio_tem.formats.blo.records.READ_ALL_BELOW", 50)
    monkeypatch.setattr("rsciio_tem.formats.blo.records.SAMPLED_RECORDS", 11)
    ids = list(range(100))
    ids[33], ids[34] = 34, 33
    path = write_blo(tmp_path / "a.blo", patterns((10, 10), "u1", edge), ids=ids)
    if wrong == "mark":
        content = bytearray(path.read_bytes())
        stride = edge * edge + 6
        at = len(content) - 100 * stride
        content[at + 33 * stride] = 0
        path.write_bytes(content)
    frames = blo.parse(path).frames
    assert frames.order is None  # it looks regular
    message = "record 33 has the number 34" if wrong == "numbers" else "record 33 has no mark"
    lazy = load(path, lazy=True)["data"]
    asked: dict[str, Callable[[], object]] = {
        "all": lambda: load(path),
        "one": lambda: quietly(path, first_frame=33, last_frame=34),
        "lazily": lambda: lazy.compute(),
        "one, lazily": lambda: lazy[3, 3].compute(),
        "rows": lambda: lazy[:, :, 1:].compute(),
        "columns": lambda: lazy[..., 1:].compute(),
        "sum": lambda: lazy.sum(axis=(0, 1)).compute(),
        "sums": lambda: lazy.sum(axis=(2, 3)).compute(),
        "sums of rows": lambda: lazy[:, :, 1:].sum(axis=(2, 3)).compute(),
        "reduce": lambda: rsciio_tem.reduce(path, "sum"),
        "detector": lambda: rsciio_tem.reduce(path, masks=np.eye(edge)[::-1]),
        "backwards": lambda: frames[np.arange(99, -1, -1)].load(np.empty((100, edge, edge), "u1")),
        "cast": lambda: frames.load(np.empty((100, edge, edge), "f4")),
        "convert": lambda: rsciio_tem.convert(path, tmp_path / "b.npy"),
        "mapped": lambda: load(path, mmap_mode="r"),
        "mapped, lazily": lambda: load(path, lazy=True, io_backend="mmap")["data"].compute(),
        "reference": lambda: rsciio_tem.reference(path, tmp_path / "a.json"),
    }
    for name, ask in asked.items():
        with pytest.raises(FormatError, match=message):
            ask()
        assert name
    assert np.ravel(numbers(quietly(path, last_frame=30))).tolist() == list(range(30))
    if wrong == "numbers":
        said = "\n".join(str(problem) for problem in rsciio_tem.check(path))
        assert "2 of 100 records do not have the numbers" in said
        assert ": 33 to 34. Reading their patterns is an error. Pass placement=" in said
    (problem, *_) = rsciio_tem.check(path, pixels=True)
    if wrong == "numbers":
        assert "2 of 100 frames cannot be read: 33 to 34. record 33 has" in problem.message
        assert "(1 more reason)" in problem.message
        assert 'placement="numbers"' in problem.hint
    stored = load(path, placement="stored")
    assert np.ravel(numbers(stored)).tolist() == list(range(100))
    with pytest.warns(RecordingWarning, match="numbers in the 100 records|do not begin"):
        right = load(path, placement="numbers", fill_value=200)
    expected = list(range(100))
    expected[33:35] = [34, 33] if wrong == "numbers" else [34, 200]
    assert np.ravel(numbers(right)).tolist() == expected


# ---------------------------------------------------------------- metadata and navigator


def test_metadata(tmp_path: Path) -> None:
    path = write_blo(tmp_path / "a.blo", patterns(), centering=[1.5, *[0] * 7])
    signal = load(path)
    theirs = upstream(path)
    general = dict(signal["metadata"]["General"])
    assert "title" not in general  # RosettaSciIO gives none
    assert general["date"] == "2015-12-01"
    assert general["time"] == "15:43:09.828000"
    assert general["notes"] == theirs["metadata"]["General"]["notes"]
    assert general["original_filename"] == "a.blo"
    assert signal["metadata"]["Signal"] == theirs["metadata"]["Signal"]
    tem = signal["metadata"]["Acquisition_instrument"]["TEM"]
    header = theirs["original_metadata"]["blockfile_header"]
    for source, (target, function) in theirs["mapping"].items():
        assert tem[target.split(".")[-1]] == function(header[source.split(".")[-1]])
    assert tem["camera_length_units"] == "m"
    assert tem["Detector"]["Camera"]["centering"] == [1.5, *[0.0] * 7]
    assert tem["Detector"]["Camera"]["distortion"][1] == 0.98
    own = signal["original_metadata"]["blockfile_header"]
    assert list(own) == list(header)
    for key, value in header.items():
        assert own[key] == value
        assert not isinstance(own[key], np.generic)


@pytest.mark.parametrize("serial", [0.0, -5.0, 1e300, float("nan"), float("inf")])
def test_senseless_values(tmp_path: Path, serial: float) -> None:
    path = write_blo(
        tmp_path / "a.blo", patterns(), serial=serial, density=0, steps=(float("nan"), 0.0)
    )
    signal = load(path)
    assert "date" not in signal["metadata"]["General"]
    assert [axis["scale"] for axis in signal["axes"]] == [1.0] * 4


IMAGE = np.arange(1, 13, dtype="u1").reshape(3, 4)


def test_navigator(tmp_path: Path) -> None:
    path = write_blo(tmp_path / "a.blo", patterns(), image=IMAGE)
    navigator = load(path)["metadata"]["_HyperSpy"]["_sig_navigator"]
    np.testing.assert_array_equal(navigator["data"], IMAGE)
    axes = [(a["name"], a["units"], a["scale"], a["navigate"]) for a in navigator["axes"]]
    assert axes == [("y", "nm", 25.6, False), ("x", "nm", 12.8, False)]
    assert "_HyperSpy" in load(path, nav_shape=(3, 4))["metadata"]
    for options in (
        {"nav_shape": (4, 3)},
        {"first_frame": 1, "nav_shape": (3, 4)},
        {"sync_offset": -1, "nav_shape": (3, 4)},
        {"roi": np.ones((3, 4), bool)},
    ):
        assert "_HyperSpy" not in quietly(path, **options)["metadata"]
    line = write_blo(tmp_path / "line.blo", patterns((1, 5)), image=np.arange(5))
    assert load(line)["metadata"]["_HyperSpy"]["_sig_navigator"]["data"].tolist() == [0, 1, 2, 3, 4]
    one = write_blo(tmp_path / "one.blo", patterns((1, 1)), image=np.ones(1))
    assert "_HyperSpy" not in load(one)["metadata"]
    empty = write_blo(tmp_path / "empty.blo", patterns())
    assert "_HyperSpy" not in load(empty)["metadata"]
    cut = write_blo(tmp_path / "cut.blo", patterns(), image=IMAGE, truncate=80)
    navigator = quietly(cut)["metadata"]["_HyperSpy"]["_sig_navigator"]
    np.testing.assert_array_equal(navigator["data"], IMAGE[:2])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("lazy", [False, True])
def test_navigator_in_hyperspy(tmp_path: Path, lazy: bool) -> None:
    hs = pytest.importorskip("hyperspy.api")
    path = write_blo(tmp_path / "a.blo", patterns(), image=IMAGE)
    signal = hs.load(path, lazy=lazy)
    assert signal.metadata.General.FileIO.Number_0.io_plugin == "rsciio_tem.formats.blo"
    np.testing.assert_array_equal(signal.navigator.data, IMAGE)


# ---------------------------------------------------------------- writer


def signal_of(data: Any, **more: Any) -> dict[str, Any]:
    """Return a signal as HyperSpy hands it to a writer."""
    n = data.ndim - 2
    names = ["z", "y", "x"][-n:] if n else []
    axes = [
        {"_type": "UniformDataAxis", "name": [*names, "dy", "dx"][i], "navigate": i < n,
         "units": "nm" if i < n else "cm", "size": size, "scale": 1.0, "offset": 0.0,
         "is_binned": False}
        for i, size in enumerate(data.shape)
    ]  # fmt: skip
    lazy = not isinstance(data, np.ndarray)
    return {
        "data": data, "axes": axes, "metadata": {"General": {}, "Signal": {}},
        "original_metadata": {}, "attributes": {"_lazy": lazy, "ragged": False}, **more,
    }  # fmt: skip


def written(path: Path, signal: dict[str, Any], **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "16-bit", RecordingWarning)
        warnings.filterwarnings("ignore", ".*16-bit blockfiles", RecordingWarning)
        blo.file_writer(path, signal, **options)


@pytest.mark.parametrize("nav", [(), (5,), (3, 4)])
@pytest.mark.parametrize("dtype", ["u1", "u2", "bool"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_write_and_read(tmp_path: Path, nav: tuple[int, ...], dtype: str, order: Any) -> None:
    data = patterns(nav, "u1" if dtype == "bool" else dtype).astype(dtype)
    path = tmp_path / "w.blo"
    written(path, signal_of(data), endianness=order)
    result = load(path, endianness=order)
    np.testing.assert_array_equal(result["data"], data)
    assert result["data"].dtype == ("u1" if dtype == "bool" else dtype)
    if dtype != "u2" and order == "<":
        np.testing.assert_array_equal(upstream(path)["data"], data)
        np.testing.assert_array_equal(by_libertem(path).reshape(data.shape), data)


@pytest.mark.parametrize("chunks", [(2, 3, 8, 8), (1, 4, 8, 3), (3, 1, 2, 2), (3, 4, 8, 8)])
def test_write_lazy_data(
    tmp_path: Path, chunks: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    import dask.array as da

    monkeypatch.setattr(stream, "BLOCK", 300)  # two patterns
    data = patterns(dtype="u2")
    path = tmp_path / "w.blo"
    written(path, signal_of(da.from_array(data, chunks=chunks)), show_progressbar=False)
    result = load(path)
    np.testing.assert_array_equal(result["data"], data)
    means = data.mean(axis=(2, 3))
    expected = (means - means.min()) / (means.max() - means.min()) * 255
    navigator = result["metadata"]["_HyperSpy"]["_sig_navigator"]["data"]
    np.testing.assert_allclose(navigator, expected, atol=1)


def test_column_stays_a_column(tmp_path: Path) -> None:
    path = write_blo(tmp_path / "a.blo", patterns((5, 1)))
    written(tmp_path / "b.blo", {**load(path), "attributes": {"_lazy": False}})
    header = load(tmp_path / "b.blo")["original_metadata"]["blockfile_header"]
    assert (header["NX"], header["NY"], header["SY"]) == (1, 5, 25.6)


@pytest.mark.parametrize("scaling", ["dtype", "minmax", "crop", (5, 200), (50, 50)])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2"])
@pytest.mark.parametrize("lazy", [False, True])
def test_scaling_as_in_rosettasciio(tmp_path: Path, scaling: Any, dtype: str, lazy: bool) -> None:
    exposure = pytest.importorskip("skimage.exposure")
    import dask.array as da
    import skimage

    data = np.random.default_rng(3).integers(-99 if dtype == "i2" else 0, 255, (3, 4, 8, 8))
    data = data.astype(dtype)
    limits = {
        "dtype": lambda: skimage.dtype_limits(data),
        "minmax": lambda: (data.min(), data.max()),
        "crop": lambda: (0, 255),
    }.get(scaling if isinstance(scaling, str) else "", lambda: scaling)()
    expected = exposure.rescale_intensity(data, in_range=limits, out_range=np.uint8)
    signal = signal_of(da.from_array(data, chunks=(2, 2, 8, 8)) if lazy else data)
    path = tmp_path / "w.blo"
    blo.file_writer(path, signal, intensity_scaling=scaling, show_progressbar=False)
    np.testing.assert_array_equal(load(path)["data"], expected.astype("u1"))


def test_scaling_to_16_bit(tmp_path: Path) -> None:
    data = np.linspace(0, 1, 3 * 4 * 64).reshape(3, 4, 8, 8)
    path = tmp_path / "w.blo"
    written(path, signal_of(data), intensity_scaling="minmax", dtype="uint16")
    result = load(path)["data"]
    np.testing.assert_allclose(result, data * 65535, atol=1)


def test_values_never_wrap(tmp_path: Path) -> None:
    """RosettaSciIO stores 300 as 44."""
    path = tmp_path / "w.blo"
    data = patterns().astype("i8")
    written(path, signal_of(data))
    np.testing.assert_array_equal(load(path)["data"], data)
    for bad, match in ((300, "do not fit into uint8"), (-1, "do not fit"), (0.5, "fractions"),
                       (np.nan, "do not fit")):  # fmt: skip
        wrong = patterns().astype("f8")
        wrong[2, 3, 1, 1] = bad
        with pytest.raises(FormatError, match=match):
            blo.file_writer(tmp_path / "x.blo", signal_of(wrong))
        assert not (tmp_path / "x.blo").exists()
    assert [f.name for f in tmp_path.iterdir()] == ["w.blo"]


def test_16_bit_tells_who_cannot_read_it(tmp_path: Path) -> None:
    with pytest.warns(RecordingWarning, match="cannot be read by RosettaSciIO"):
        blo.file_writer(tmp_path / "w.blo", signal_of(patterns(dtype="u2")))
    header = load(tmp_path / "w.blo")["original_metadata"]["blockfile_header"]
    assert header["MAGIC"] == 259
    assert header["Note"] == "Blo Bit Depth: 16 bits"
    blo.file_writer(tmp_path / "v.blo", signal_of(patterns().astype("u2")), dtype="uint8")
    assert load(tmp_path / "v.blo")["data"].dtype == np.uint8


@pytest.mark.parametrize("given", ["array", "stored", "none", "mean", "float"])
def test_written_navigator(tmp_path: Path, given: str) -> None:
    signal = signal_of(patterns())
    options: dict[str, Any] = {}
    expected: Any = IMAGE
    if given == "array":
        options["navigator"] = IMAGE
    elif given == "stored":
        signal["metadata"]["_HyperSpy"] = {"_sig_navigator": {"data": IMAGE}}
    elif given == "none":
        options["navigator"], expected = None, None
    elif given == "float":
        options["navigator"] = IMAGE * 1000.0
        expected = ((IMAGE - 1) / 11 * 255).astype("u1")
    else:
        expected = signal["data"].mean(axis=(2, 3)).astype("u1")
    blo.file_writer(tmp_path / "w.blo", signal, **options)
    metadata = load(tmp_path / "w.blo")["metadata"]
    if expected is None:
        assert "_HyperSpy" not in metadata
    else:
        np.testing.assert_allclose(
            metadata["_HyperSpy"]["_sig_navigator"]["data"], expected, atol=1
        )


def test_written_metadata(tmp_path: Path) -> None:
    signal = signal_of(patterns())
    for axis, (units, scale) in zip(
        signal["axes"], [("µm", 0.02), ("Å", 150.0), ("mm", 0.25), ("mm", 0.25)], strict=True
    ):
        axis |= {"units": units, "scale": scale}
    signal["metadata"] = {
        "General": {"date": "2021-03-04", "time": "05:06:07", "time_zone": "Europe/Berlin"},
        "Acquisition_instrument": {"TEM": {"beam_energy": 300, "camera_length": 80.0}},
    }
    blo.file_writer(tmp_path / "w.blo", signal)
    read = load(tmp_path / "w.blo")
    np.testing.assert_allclose([a["scale"] for a in read["axes"]], [20, 15, 0.025, 0.025])
    general, tem = read["metadata"]["General"], read["metadata"]["Acquisition_instrument"]["TEM"]
    assert general["date"] == "2021-03-04"
    assert general["time"].startswith(("04:06:07", "04:06:06.99"))
    assert (tem["beam_energy"], tem["camera_length"]) == (300, pytest.approx(0.08))
    again = {**read, "attributes": {"_lazy": False}}
    blo.file_writer(tmp_path / "v.blo", again)
    second = load(tmp_path / "v.blo")
    assert (
        second["original_metadata"]["blockfile_header"]
        == (read["original_metadata"]["blockfile_header"])
    )


def test_what_blockfiles_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "w.blo"
    data = patterns()
    for wrong, match in (
        (data[..., :4], "square patterns"),
        (data[np.newaxis], "up to two scan axes"),
        (data[0, 0, 0], "two-dimensional"),
    ):
        with pytest.raises(ValueError, match=match):
            blo.file_writer(path, signal_of(wrong))
    for options, match in (
        ({"dtype": "f4"}, "8 or 16 bit"),
        ({"intensity_scaling": "some"}, "intensity_scaling='some'"),
        ({"navigator": "some"}, "navigator='some'"),
        ({"navigator": 3}, "must be an array"),
        ({"navigator": np.zeros((2, 2))}, r"has shape \(2, 2\)"),
        ({"endianness": "="}, "endianness"),
    ):
        with pytest.raises(ValueError, match=match):
            blo.file_writer(path, signal_of(data), **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="whole numbers"):
        blo.file_writer(path, signal_of(data / 2), intensity_scaling="dtype")
    bad = signal_of(data)
    bad["axes"][0]["size"] = 4
    with pytest.raises(ValueError, match="do not match the data"):
        blo.file_writer(path, bad)
    assert list(tmp_path.iterdir()) == []
    reciprocal = signal_of(data)
    reciprocal["axes"][2]["units"] = "1/Å"
    with pytest.warns(RecordingWarning, match=r"scales in cm; 1 1/Å of axis 'dy' cannot be"):
        blo.file_writer(path, reciprocal)


def test_long_note(tmp_path: Path) -> None:
    path = write_blo(tmp_path / "a.blo", patterns())
    signal = {**load(path), "attributes": {"_lazy": False}}
    signal["original_metadata"]["blockfile_header"]["Note"] = "µ" * 5000
    blo.file_writer(tmp_path / "b.blo", signal)
    result = load(tmp_path / "b.blo")
    assert result["metadata"]["General"]["notes"] == "µ" * (4096 - writer.HEADER_SIZE)
    np.testing.assert_array_equal(result["data"], signal["data"])


@pytest.mark.parametrize("lazy", [False, True])
def test_source_is_never_overwritten(tmp_path: Path, lazy: bool) -> None:
    path = write_blo(tmp_path / "a.blo", patterns())
    content = path.read_bytes()
    signal = {**load(path, lazy=lazy), "attributes": {"_lazy": lazy}}
    with pytest.raises(FormatError, match="is the recording that is being read"):
        blo.file_writer(path, signal, overwrite=True)
    os.link(path, tmp_path / "link.blo")
    with pytest.raises(FormatError, match="is being read"):
        blo.file_writer(tmp_path / "link.blo", signal, overwrite=True)
    mapped = {**upstream(path, lazy=False), "data": np.memmap(path, "u1")[-12 * 70 :]}
    mapped["data"] = mapped["data"].reshape(12, 70)[:, 6:].reshape(3, 4, 8, 8)
    with pytest.raises(FormatError, match="is being read"):
        blo.file_writer(path, {**mapped, "attributes": {}}, overwrite=True)
    assert path.read_bytes() == content
    shutil.copy(path, tmp_path / "c.blo")
    with pytest.raises(FileExistsError):
        blo.file_writer(tmp_path / "c.blo", signal, show_progressbar=False)
    blo.file_writer(tmp_path / "c.blo", signal, overwrite=True, show_progressbar=False)
    np.testing.assert_array_equal(load(tmp_path / "c.blo")["data"], patterns())


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(stream.shutil, "disk_usage", lambda path: usage(100, 90, 10))
    with pytest.raises(OSError, match="are needed") as caught:
        blo.file_writer(tmp_path / "w.blo", signal_of(patterns()))
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_steps_that_nobody_set(tmp_path: Path) -> None:
    path = tmp_path / "a.blo"
    write_blo(path, np.zeros((2, 3, 16, 16), "u1"), steps=(0.0, np.nan), density=0)
    (signal,) = rsciio_tem.load(path)
    assert [(a["name"], a["scale"], a["units"]) for a in signal["axes"]] == [
        (name, 1, "") for name in ("y", "x", "dy", "dx")
    ]
