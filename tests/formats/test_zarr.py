# SPDX-License-Identifier: GPL-3.0-or-later
"""Zarr stores: arrays and groups, versions 2 and 3, missing and damaged chunks, dask workers."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from writers.zarr import write_zarr

import rsciio_tem
from rsciio_tem.cli import main
from rsciio_tem.errors import FormatError, NotThisFormat, Unsupported
from rsciio_tem.formats import zarr as format_zarr
from rsciio_tem.formats.zarr import store
from rsciio_tem.formats.zarr.frames import StoreFrames

zarr = pytest.importorskip("zarr")
ZARR_3 = int(zarr.__version__.split(".")[0]) >= 3
ARRAY = np.random.default_rng(5).integers(1, 4000, (5, 7, 4, 6)).astype("u2")
CHUNKS = (2, 3, 4, 6)


def load(path: Any, **options: Any) -> dict[str, Any]:
    (signal,) = format_zarr.file_reader(path, **options)
    return signal


def describe(path: Path, **entries: Any) -> None:
    """Change the description of an array of version 2."""
    file = path / ".zarray"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def group(path: Path, **arrays: np.ndarray) -> Path:
    """Write a group of version 2; names have "__" for "/"."""
    path.mkdir()
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    for name, array in arrays.items():
        parts = name.split("__")
        for i in range(1, len(parts)):
            path.joinpath(*parts[:i]).mkdir(exist_ok=True)
            path.joinpath(*parts[:i], ".zgroup").write_text('{"zarr_format": 2}')
        write_zarr(path.joinpath(*parts), array)
    return path


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the parts of arrays that are read."""
    keys: list[Any] = []
    read = store.Values.__getitem__
    monkeypatch.setattr(
        store.Values, "__getitem__", lambda self, key: keys.append(key) or read(self, key)
    )
    return keys


# ---------------------------------------------------------------- pixels


@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize("dtype", ["<u2", ">i4", "|b1", "<f4", ">f8", "<c8", "|u1"])
def test_values(tmp_path: Path, dtype: str, separator: str) -> None:
    array = (ARRAY % 200).astype(dtype)
    path = write_zarr(tmp_path / "a.zarr", array, CHUNKS, separator=separator)
    if array.dtype.kind == "c":
        describe(path, fill_value=[0, 0])
    for lazy in (False, True):
        data = np.asarray(load(path, lazy=lazy)["data"])
        assert data.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(data, array)


@pytest.mark.parametrize("shape", [(9,), (4, 6), (3, 4, 6), (2, 3, 2, 4, 6)])
def test_dimensions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    path = write_zarr(tmp_path / "a.zarr", array, tuple(max(1, n // 2) for n in shape))
    for lazy in (False, True):
        np.testing.assert_array_equal(load(path, lazy=lazy)["data"], array)


def test_parts_of_frames_and_scan(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", ARRAY, CHUNKS)
    lazy = load(path, lazy=True)["data"]
    np.testing.assert_array_equal(lazy[1:4, ::2, 1:3, 5], ARRAY[1:4, ::2, 1:3, 5])
    flat = ARRAY.reshape(-1, 4, 6)
    np.testing.assert_array_equal(load(path, nav_shape=(35,))["data"], flat)
    roi = np.zeros((5, 7), bool)
    roi[0, 6] = roi[4, 0] = roi[2, 3] = True
    np.testing.assert_array_equal(load(path, roi=roi)["data"], ARRAY[roi])
    (first,) = format_zarr.file_reader(path, sync_offset=-2, nav_shape=(5, 7))
    np.testing.assert_array_equal(first["data"].reshape(flat.shape)[2:], flat[:-2])
    assert not first["data"].reshape(flat.shape)[:2].any()


@pytest.mark.parametrize("lazy", [False, True])
def test_sig_shape(tmp_path: Path, lazy: bool) -> None:
    path = write_zarr(tmp_path / "a.zarr", ARRAY, CHUNKS)
    data = load(path, lazy=lazy, sig_shape=(2, 12))["data"]
    np.testing.assert_array_equal(data, ARRAY.reshape(5, 7, 2, 12))
    np.testing.assert_array_equal(
        data[1:3, 2:, 1, 3:5], ARRAY.reshape(5, 7, 2, 12)[1:3, 2:, 1, 3:5]
    )
    np.testing.assert_array_equal(load(path, lazy=lazy, sig_shape=(4, 6))["data"], ARRAY)
    with pytest.raises(Unsupported, match=r"a\.zarr: .*sig_shape"):
        load(path, lazy=lazy, sig_shape=(3, 6))


def test_frames_in_any_order() -> None:
    rng = np.random.default_rng(2)
    frames = StoreFrames(lambda: ARRAY, (5, 7), (4, 6), ARRAY.dtype, chunks=CHUNKS)
    flat = ARRAY.reshape(-1, 4, 6)
    for count in (1, 3, 20, 60):
        index = rng.integers(-1, 35, count)
        out = np.empty((count, 2, 6), "u2")
        frames[index].load(out, (slice(1, 3), slice(0, 6)))
        expected = np.where((index < 0)[:, None, None], 0, flat[index][:, 1:3])
        np.testing.assert_array_equal(out, expected)


def test_each_chunk_is_read_once(tmp_path: Path, counted: list[Any]) -> None:
    path = write_zarr(tmp_path / "a.zarr", ARRAY, CHUNKS)
    load(path)
    assert len(counted) == 1
    counted.clear()
    frames = format_zarr.parse(path).frames
    corners = np.array([34, 0, 6, 28])  # four chunks
    out = np.empty((4, 4, 6), "u2")
    frames[corners].load(out)
    np.testing.assert_array_equal(out, ARRAY.reshape(-1, 4, 6)[corners])
    assert len(counted) == 4
    assert all(key[0].stop - key[0].start == key[1].stop - key[1].start == 1 for key in counted)


def test_chunks_of_dask_are_whole_chunks(tmp_path: Path) -> None:
    array = np.zeros((64, 8, 128, 128), "f4")
    path = write_zarr(tmp_path / "a.zarr", array, (16, 8, 128, 128))
    data = load(path, lazy=True, navigator=False)["data"]
    assert all(n % 16 == 0 for n in data.chunks[0])
    assert data.chunks[1:] == ((8,), (128,), (128,))


# ---------------------------------------------------------------- missing and damaged


@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize("fill", [7, 0, None])
def test_missing_chunks_are_blanks(tmp_path: Path, fill: int | None, separator: str) -> None:
    path = write_zarr(tmp_path / "a.zarr", ARRAY, CHUNKS, separator=separator)
    assert rsciio_tem.check(path) == []
    describe(path, fill_value=fill)
    (path / separator.join("1100")).unlink()
    expected = ARRAY.copy()
    expected[2:4, 3:6] = fill or 0
    for lazy in (False, True):
        np.testing.assert_array_equal(load(path, lazy=lazy)["data"], expected)
    (problem,) = rsciio_tem.check(path)
    assert problem.severity == "info"
    assert "1 of 9 files of chunks are not there" in problem.message


@pytest.mark.parametrize("lazy", [False, True])
def test_cut_chunk(tmp_path: Path, lazy: bool) -> None:
    path = write_zarr(tmp_path / "a.zarr", ARRAY, CHUNKS)
    chunk = path / "1.1.0.0"
    chunk.write_bytes(chunk.read_bytes()[:50])
    with pytest.raises(FormatError, match=r"a\.zarr: a chunk cannot be read"):
        np.asarray(load(path, lazy=lazy, navigator=False)["data"])
    good = load(path, lazy=True, navigator=False)["data"][:2]
    np.testing.assert_array_equal(good.compute(), ARRAY[:2])
    problems = rsciio_tem.check(path, pixels=True)
    assert [p.severity for p in problems] == ["error"]


def test_cut_compressed_chunk(tmp_path: Path) -> None:
    signal = {"data": ARRAY, "axes": load(write_zarr(tmp_path / "a.zarr", ARRAY))["axes"]}
    signal |= {"metadata": {}, "original_metadata": {}}
    path = tmp_path / "b.zarr"
    format_zarr.file_writer(path, signal)
    chunks = [p for p in path.rglob("*") if p.is_file() and p.name.isdecimal()]
    largest = max(chunks, key=os.path.getsize)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    for lazy in (False, True):
        with pytest.raises(FormatError, match=r"b\.zarr: a chunk cannot be read"):
            np.asarray(load(path, lazy=lazy, navigator=False)["data"])
    with pytest.raises(FormatError, match=r"b\.zarr: a chunk cannot be read"):
        rsciio_tem.reduce(path, what=["navigator"])


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"zarr_format": 2}', "\0"])
def test_damaged_description(tmp_path: Path, content: str) -> None:
    path = write_zarr(tmp_path / "a.zarr", ARRAY)
    (path / ".zarray").write_text(content)
    with pytest.raises(FormatError, match=r"a\.zarr: "):
        load(path)
    (problem,) = rsciio_tem.check(path)
    assert problem.severity == "error"


@pytest.mark.parametrize("filters", [1, "gzip", [1], {"id": 1}])
def test_filters_that_are_none(tmp_path: Path, filters: Any) -> None:
    path = write_zarr(tmp_path / "a.zarr", ARRAY)
    describe(path, filters=filters)
    with pytest.raises(FormatError, match=r"a\.zarr: "):
        load(path)


@pytest.mark.parametrize(
    "entries",
    [
        {"shape": [5, 7, 4, -6]},
        {"shape": [5, 7, 4, 1e300]},
        {"shape": [5, 7, 4, None]},
        {"shape": [5, 7, 4, "6"]},
        {"shape": [5, 7, 4, True]},
        {"shape": [5, 7, 4]},
        {"shape": [2**62, 2**62, 4, 6]},
        {"chunks": [2, 3, 4, 0]},
        {"chunks": [2, 3, 4, [6]]},
        {"chunks": [2, 3, 4]},
    ],
)
@pytest.mark.parametrize("in_group", [False, True])
def test_impossible_sizes(tmp_path: Path, entries: dict[str, Any], in_group: bool) -> None:
    path = array = write_zarr(tmp_path / "a.zarr", ARRAY)
    if in_group:
        path = group(tmp_path / "b.zarr", inside=ARRAY)
        array = path / "inside"
    describe(array, **entries)
    with pytest.raises(FormatError, match=r"[ab]\.zarr: (cannot be opened|has an array)"):
        load(path)
    (problem,) = rsciio_tem.check(path)
    assert problem.severity == "error"


def test_sizes_in_consolidated_descriptions(tmp_path: Path) -> None:
    path = group(tmp_path / "b.zarr", inside=ARRAY)
    tree = json.loads((path / "inside" / ".zarray").read_text()) | {"chunks": [2, 3, 4, 0]}
    described = {".zgroup": {"zarr_format": 2}, "inside/.zarray": tree}
    text = json.dumps({"zarr_consolidated_format": 1, "metadata": described})
    (path / ".zmetadata").write_text(text)
    with pytest.raises(FormatError, match=r"has an array in \. with shape .* \[2, 3, 4, 0\]"):
        load(path)


def test_chunk_of_another_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zarr(tmp_path / "a.zarr", ARRAY, CHUNKS)
    lazy = load(path, lazy=True)["data"]
    monkeypatch.setattr(zarr.Array, "__getitem__", lambda *_: np.zeros(1, "u2"))
    with pytest.raises(FormatError, match=r"a chunk cannot be read: .* elements instead of"):
        lazy[0, 0].compute()


def test_damaged_attributes(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", ARRAY)
    (path / ".zattrs").write_text('{"axes": [')
    with pytest.raises(FormatError, match=r"a\.zarr: (has attributes that|cannot be opened)"):
        load(path)


def test_codec_that_is_not_there(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", ARRAY)
    describe(path, compressor={"id": "no-such-codec"})
    with pytest.raises(FormatError, match=r"a\.zarr: .*no-such-codec"):
        load(path)


def test_what_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="does not exist"):
        load(tmp_path / "a.zarr")
    with pytest.raises(NotThisFormat, match="is not a folder of a Zarr array"):
        load(tmp_path)
    (tmp_path / "a.txt").write_text("nothing")
    with pytest.raises(NotThisFormat, match=r"a\.txt: is not a folder of a Zarr array"):
        load(tmp_path / "a.txt")
    with pytest.raises(FormatError, match="has no array with pixels"):
        load(group(tmp_path / "empty.zarr"))
    path = write_zarr(tmp_path / "text.zarr", np.array(["ab", "cd"]))
    describe(path, fill_value="")
    with pytest.raises(Unsupported, match="holds elements of type"):
        load(path)
    path = write_zarr(tmp_path / "b.zarr", np.zeros((0, 4, 6)), (1, 4, 6))
    with pytest.raises(FormatError, match="holds an empty array"):
        load(path)


def test_changed_since_it_was_opened(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", ARRAY, CHUNKS)
    data = load(path, lazy=True, navigator=False)["data"]
    shutil.rmtree(path)
    write_zarr(path, ARRAY[:, :3], CHUNKS)
    os.utime(path / ".zarray", (1, 1))
    with pytest.raises(FormatError, match=r"zarray.*changed since it was opened"):
        data.compute()
    np.testing.assert_array_equal(load(path)["data"], ARRAY[:, :3])
    data = load(path, lazy=True, navigator=False)["data"]
    shutil.rmtree(path)
    with pytest.raises(FormatError, match="zarray"):
        data.compute()


# ---------------------------------------------------------------- groups


def test_groups(tmp_path: Path) -> None:
    arrays = {
        "scan": ARRAY,
        "more__stack": ARRAY[0],
        "more__deep__sum": ARRAY.sum(axis=(2, 3)),
        "text": np.array(["ab", "cd"]),
    }
    path = group(tmp_path / "a.zarr", **arrays)
    describe(path / "text", fill_value="")
    signal = load(path)
    np.testing.assert_array_equal(signal["data"], ARRAY)
    described = signal["original_metadata"]["zarr"]
    assert described["array"] == "scan"
    assert described["others"] == ["more/stack", "more/deep/sum"]
    np.testing.assert_array_equal(load(path, dataset="more/stack")["data"], ARRAY[0])
    np.testing.assert_array_equal(load(path, dataset="/more")["data"], ARRAY[0])
    np.testing.assert_array_equal(
        load(path, dataset="more/deep")["data"], arrays["more__deep__sum"]
    )
    np.testing.assert_array_equal(load(path / "more" / "stack")["data"], ARRAY[0])
    np.testing.assert_array_equal(load(path / "more", lazy=True)["data"], ARRAY[0])
    with pytest.raises(FormatError, match=r"no array 'x'.*scan, more/stack, more/deep/sum"):
        load(path, dataset="x")
    with pytest.raises(Unsupported, match="holds elements of type"):
        load(path, dataset="text")
    with pytest.raises(FormatError, match="is a single array, not a group with 'x'"):
        load(path / "scan", dataset="x")
    (problem,) = (p for p in rsciio_tem.check(path) if "is read" in p.message)
    assert problem.message == "scan is read, not more/stack, more/deep/sum."


def test_damaged_array_in_a_group(tmp_path: Path) -> None:
    path = group(tmp_path / "a.zarr", scan=ARRAY)
    (path / "scan" / ".zarray").write_text("{")
    with pytest.raises(FormatError, match=r"a\.zarr: has "):
        load(path)


# ---------------------------------------------------------------- metadata


def test_axes(tmp_path: Path) -> None:
    axes = [
        {"name": n, "units": u, "scale": s, "offset": 1.5, "navigate": i < 2}
        for i, (n, u, s) in enumerate(zip("yxvu", ["nm", "nm", "1/nm", "1/nm"], [1, 2, 3, 4]))  # noqa: B905
    ]
    path = write_zarr(tmp_path / "a.zarr", ARRAY, attributes={"axes": axes, "more": [1, "a"]})
    signal = load(path)
    for axis, ours in zip(axes, signal["axes"], strict=True):
        assert {name: ours[name] for name in axis} == axis
    assert signal["original_metadata"]["attributes"] == {"axes": axes, "more": [1, "a"]}
    assert signal["metadata"]["General"]["title"] == "a"
    assert signal["metadata"]["General"]["original_filename"] == "a.zarr"
    assert load(f"{path}{os.sep}")["metadata"]["General"]["title"] == "a"


@pytest.mark.parametrize(
    "axes", [None, 3, "yx", [1, 2], [None] * 4, [{"scale": "x", "offset": "inf"}] * 4]
)
def test_axes_of_others(tmp_path: Path, axes: Any) -> None:
    signal = load(write_zarr(tmp_path / "a.zarr", ARRAY, attributes={"axes": axes}))
    assert [axis["navigate"] for axis in signal["axes"]] == [True, True, False, False]
    assert [(axis["scale"], axis["offset"]) for axis in signal["axes"]] == [(1.0, 0.0)] * 4


# ---------------------------------------------------------------- workers


def _sum_of(frames: Any) -> int:
    out = np.empty((len(frames), *frames.frame_shape), frames.dtype)
    frames.load(out)
    return int(out.sum())


def test_pickles_small(tmp_path: Path) -> None:
    frames = format_zarr.parse(write_zarr(tmp_path / "a.zarr", ARRAY, CHUNKS)).frames
    content = pickle.dumps(frames)
    assert len(content) < 1500
    assert _sum_of(pickle.loads(content)) == ARRAY.sum()
    (tmp_path / "a.zarr" / "0.0.0.0").write_bytes(b"cut")
    with pytest.raises(FormatError, match=r"a\.zarr") as caught:
        _sum_of(frames)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("method", ["spawn", "fork"] if sys.platform == "linux" else ["spawn"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_in_another_process(tmp_path: Path, method: str) -> None:
    frames = format_zarr.parse(write_zarr(tmp_path / "a.zarr", ARRAY, CHUNKS)).frames
    assert _sum_of(frames) == ARRAY.sum()
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply_async(_sum_of, (frames,)).get(timeout=120) == ARRAY.sum()


def test_threads(tmp_path: Path) -> None:
    data = load(write_zarr(tmp_path / "a.zarr", ARRAY, CHUNKS), lazy=True, chunks=(1, 7))["data"]
    np.testing.assert_array_equal(data.compute(scheduler="threads", num_workers=8), ARRAY)


# ---------------------------------------------------------------- versions of the package


@pytest.mark.skipif(ZARR_3, reason="zarr 3 reads it")
def test_version_3_with_zarr_2(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    path.mkdir()
    (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "array"}')
    assert rsciio_tem.detect(path)[0].format == "zarr"
    with pytest.raises(Unsupported, match=r"of version 3, and zarr 2.*reads version 2 only"):
        load(path)


@pytest.mark.skipif(not ZARR_3, reason="needs zarr 3")
@pytest.mark.parametrize("shards", [None, (4, 6, 4, 6)])
def test_version_3(tmp_path: Path, shards: tuple[int, ...] | None) -> None:
    path = tmp_path / "a.zarr"
    array = zarr.create_array(
        path, shape=ARRAY.shape, dtype="u2", chunks=CHUNKS, shards=shards, fill_value=9
    )
    expected = np.full_like(ARRAY, 9)
    expected[:4, :6] = array[:4, :6] = ARRAY[:4, :6]
    for lazy in (False, True):
        np.testing.assert_array_equal(load(path, lazy=lazy)["data"], expected)
    (problem,) = rsciio_tem.check(path)
    files = "3 of 4" if shards else "5 of 9"
    assert problem.message.startswith(f"{files} files of chunks are not there")
    chunk = max((p for p in (path / "c").rglob("*") if p.is_file()), key=os.path.getsize)
    chunk.write_bytes(chunk.read_bytes()[:20])
    for lazy in (False, True):
        with pytest.raises(FormatError, match=r"a\.zarr: a chunk cannot be read"):
            np.asarray(load(path, lazy=lazy, navigator=False)["data"])


@pytest.mark.skipif(not ZARR_3, reason="needs zarr 3")
def test_group_of_version_3(tmp_path: Path) -> None:
    root = zarr.create_group(tmp_path / "a.zarr")
    root.create_group("deep").create_array("scan", data=ARRAY, chunks=CHUNKS)
    root.create_array("sum", data=ARRAY.sum(axis=(2, 3)))
    signal = load(tmp_path / "a.zarr")
    np.testing.assert_array_equal(signal["data"], ARRAY)
    assert signal["original_metadata"]["zarr"]["array"] == "deep/scan"
    assert signal["original_metadata"]["zarr"]["others"] == ["sum"]


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zarr(tmp_path / "a.zarr", ARRAY)
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(Unsupported, match="the package zarr is not installed"):
        load(path)
    with pytest.raises(ValueError, match="the package zarr is not installed"):
        format_zarr.file_writer(tmp_path / "b.zarr", load_npy(tmp_path))


def load_npy(folder: Path) -> dict[str, Any]:
    np.save(folder / "a.npy", ARRAY)
    (signal,) = rsciio_tem.load(folder / "a.npy")
    return signal


def test_zspy_is_left_to_rosettasciio(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zspy", ARRAY)
    assert format_zarr.sniff(str(path), b"") is None
    assert format_zarr.sniff(f"{path}{os.sep}", b"") is None
    with pytest.raises(FormatError, match="is a folder"):
        rsciio_tem.detect(path)


# ---------------------------------------------------------------- how a store is named


def test_names_of_a_store(tmp_path: Path) -> None:
    """With a slash, by a file that describes it, or by a path in it."""
    group(tmp_path / "g.zarr", deep__inside=ARRAY, small=ARRAY[0])
    path = str(tmp_path / "g.zarr")
    deep = os.path.join(path, "deep")
    names = [path, path + "/", f"{path}/.zgroup", deep, deep + "/", f"{deep}/inside"]
    names += [f"{deep}/inside/.zarray", Path(path)]
    for name in names:
        (best,) = rsciio_tem.detect(name)
        assert (best.format, best.confidence) == ("zarr", 1.0)
        for lazy in (False, True):
            data = rsciio_tem.load(name, lazy=lazy)[0]["data"]
            np.testing.assert_array_equal(data, ARRAY)
        assert rsciio_tem.open(name).path == str(name).rstrip("/").partition("/.")[0]
        problems = rsciio_tem.check(name)
        assert {p.severity for p in problems} <= {"info"}
        target = tmp_path / "copy.npy"
        rsciio_tem.convert(name, target, overwrite=True)
        np.testing.assert_array_equal(np.load(target), ARRAY)
    (signal,) = rsciio_tem.load(path + "/", dataset="/small/")
    np.testing.assert_array_equal(signal["data"], ARRAY[0])
    assert signal["metadata"]["General"]["original_filename"] == "g.zarr"
    chunk = next(Path(deep, "inside").glob("0*"))
    with pytest.raises(FormatError, match=r"is a part of the recording .*inside. Open that"):
        rsciio_tem.load(chunk)
    with pytest.raises(FormatError, match="does not exist"):
        rsciio_tem.load(f"{path}/nothing")


@pytest.mark.parametrize("name", ["s.zarr", "s.zarr/", "s.zarr/.zarray", "./s.zarr"])
def test_commands(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    write_zarr(tmp_path / "s.zarr", np.random.default_rng(1).random((3, 4, 16, 16)))
    run = CliRunner()
    for words in (
        ["info", name],
        ["check", "--pixels", name],
        ["preview", name, "-o", "a.png", "--overwrite"],
        ["convert", "--quiet", "--overwrite", name, "a.npy"],
        ["convert", "--quiet", "--overwrite", "--verify", name, "b.zarr/"],
    ):
        result = run.invoke(main, words)
        assert result.exit_code == 0, (words, result.output, result.exception)
    assert run.invoke(main, ["info", name]).output.startswith(
        ".zarray" if name.endswith("y") else "s.zarr\n"
    )
    np.testing.assert_array_equal(
        np.load(tmp_path / "a.npy"), rsciio_tem.load(tmp_path / "b.zarr")[0]["data"]
    )


def test_hs_load(tmp_path: Path) -> None:
    """HyperSpy takes no folders but .zspy; what docs/hyperspy.md says instead."""
    hs = pytest.importorskip("hyperspy.api")
    path = tmp_path / "s.zarr"
    rsciio_tem.convert(
        {
            "data": ARRAY,
            "axes": [
                {"size": n, "scale": 2.0, "offset": 0.0, "navigate": i < 2}
                for i, n in enumerate(ARRAY.shape)
            ],
        },
        path,
    )
    with pytest.raises(ValueError, match="No filename matches"):
        hs.load(str(path))
    described = store.description_of(str(path))
    for lazy in (False, True):
        signal = hs.load(described, lazy=lazy, file_format="TEM-zarr")
        assert signal._lazy == lazy
        np.testing.assert_array_equal(signal.data, ARRAY)
        assert signal.axes_manager[0].scale == 2.0


@pytest.mark.skipif(not ZARR_3, reason="version 2 has no names of dimensions")
def test_dimensions_have_the_names_of_axes(tmp_path: Path) -> None:
    signal = rsciio_tem.from_array(ARRAY)[0]
    for axis, name in zip(signal["axes"], ("y", "x", "ky", "ky"), strict=True):
        axis["name"] = name
    rsciio_tem.convert(signal, tmp_path / "scan.zarr", zarr_format=3)
    opened = zarr.open(tmp_path / "scan.zarr", mode="r")
    # a name stands for one dimension only
    assert opened.metadata.dimension_names == ("y", "x", None, None)
    assert [axis["name"] for axis in load(tmp_path / "scan.zarr")["axes"]] == ["y", "x", "ky", "ky"]


@pytest.mark.parametrize(
    "version",
    [
        2,
        pytest.param(
            3, marks=pytest.mark.skipif(not ZARR_3, reason="zarr 2 writes version 2 only")
        ),
    ],
)
def test_lost_chunks_of_converted_stores_are_told(tmp_path: Path, version: int) -> None:
    frames = ARRAY.copy()
    frames[2] = 0  # a row of zeros is stored as well
    np.save(tmp_path / "scan.npy", frames)
    path = tmp_path / "scan.zarr"
    rsciio_tem.convert(tmp_path / "scan.npy", path, zarr_format=version)
    is_chunk = re.compile(r"(c/)?\d+([./]\d+)+").fullmatch
    chunks = [file for file in path.rglob("*") if file.is_file()]
    chunks = [file for file in chunks if is_chunk(file.relative_to(path).as_posix())]
    opened = zarr.open(path, mode="r")
    sizes = getattr(opened, "shards", None) or opened.chunks
    assert len(chunks) == np.prod([-(-n // k) for n, k in zip(opened.shape, sizes, strict=True)])
    assert rsciio_tem.check(path) == []
    np.testing.assert_array_equal(load(path)["data"], frames)
    chunks[0].unlink()
    name = chunks[0].relative_to(path).as_posix()
    with pytest.raises(FormatError, match=f"lost the chunk {name}"):
        load(path)
    (problem,) = rsciio_tem.check(path)
    assert problem.severity == "error"
    assert f"1 of {len(chunks)} files of chunks are lost: {name}" in problem.message
    box = tuple(int(n) * k for n, k in zip(re.findall(r"\d+", name), sizes, strict=True))
    lazy = load(path, lazy=True)["data"]
    with pytest.raises(FormatError, match="lost the chunk"):
        lazy[box[:2]].compute()
    if len(chunks) > 1:
        other = (box[0] + sizes[0]) % frames.shape[0]
        np.testing.assert_array_equal(lazy[other].compute(), frames[other])
    # without the attribute it is what Zarr says: the fill value
    attributes = zarr.open(path, mode="r+").attrs
    del attributes[store.COMPLETE]
    store._opened.cache_clear()
    np.testing.assert_array_equal(load(path)["data"][box[:2]], np.zeros(frames.shape[2:]))
