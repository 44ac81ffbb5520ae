# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames inside HDF5 data sets, compared with what h5py reads."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsciio_tem.errors import FormatError, Truncated, Unsupported
from rsciio_tem.frames.arrays import PixelMajor
from rsciio_tem.frames.protocol import ChunkHint, Frames, tiles
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.parsing import hdf5_chunks, hdf5_filters, hdf5_frames, hdf5_index
from rsciio_tem.parsing.hdf5_chunks import ChunkedFrames, _decode
from rsciio_tem.parsing.hdf5_filters import Filter, announced
from rsciio_tem.parsing.hdf5_frames import _filters, frames_of, storage
from rsciio_tem.parsing.hdf5_index import DataSet
from rsciio_tem.reading.lazy import LazyFrames, default_chunks
from rsciio_tem.reading.read import _lazy, _load
from rsciio_tem.reduction.single_pass import one_pass
from rsciio_tem.storage import backends

Array = np.ndarray[Any, Any]

#: How to make a data set, and whether the chunks are decoded without the library.
FILTERS: dict[str, tuple[dict[str, Any], bool]] = {
    "none": ({}, True),
    "gzip": ({"compression": "gzip"}, True),
    "shuffle": ({"shuffle": True}, True),
    "shuffle, gzip": ({"shuffle": True, "compression": "gzip"}, True),
    "fletcher32": ({"fletcher32": True}, True),
    "shuffle, gzip, fletcher32": (
        {"shuffle": True, "compression": "gzip", "fletcher32": True},
        True,
    ),
    "bitshuffle-lz4": (dict(hdf5plugin.Bitshuffle()), True),
    "bitshuffle-lz4, small blocks": (dict(hdf5plugin.Bitshuffle(nelems=16)), True),
    "bitshuffle-lz4, fletcher32": ({**hdf5plugin.Bitshuffle(), "fletcher32": True}, True),
    "bitshuffle": (dict(hdf5plugin.Bitshuffle(cname="none")), True),
    "bitshuffle, small blocks": (dict(hdf5plugin.Bitshuffle(cname="none", nelems=24)), True),
    "lz4": (dict(hdf5plugin.LZ4()), True),
    "lz4, small blocks": (dict(hdf5plugin.LZ4(nbytes=100)), True),
    "shuffle, lz4": ({**hdf5plugin.LZ4(), "shuffle": True}, True),
    "bitshuffle-zstd": (dict(hdf5plugin.Bitshuffle(cname="zstd")), False),
    "lzf": ({"compression": "lzf"}, False),
    "scaleoffset": ({"scaleoffset": 0}, False),
    "blosc": (dict(hdf5plugin.Blosc()), Filter(32001, (), "").decodable),
    "blosc2": (dict(hdf5plugin.Blosc2()), False),
    "zstd": (dict(hdf5plugin.Zstd()), Filter(32015, (), "").decodable),
    "shuffle, zstd": ({**hdf5plugin.Zstd(), "shuffle": True}, Filter(32015, (), "").decodable),
}
TYPES = ["u1", "<u2", ">u2", "<i4", ">u4", "<u8", "<f4", ">f8", "<c8", "?"]


def numbers(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    """Pixels that compress, with a few large ones."""
    rng = np.random.default_rng(seed)
    values = rng.poisson(0.7, shape) + 100 * (rng.random(shape) < 0.05)
    return (values.astype("u1") % 101).astype(dtype)


def store(path: Path, data: Array, name: str = "data", **options: Any) -> Path:
    with h5py.File(path, "a") as file:
        file.create_dataset(name, data=data, **options)
    return path


def arranged(data: Array, frame_axes: tuple[int, ...] = (-2, -1)) -> Array:
    """The frames of an array, in the machine's byte order."""
    axes = [i % data.ndim for i in frame_axes]
    nav = [i for i in range(data.ndim) if i not in axes]
    moved = data.transpose(*nav, *axes)
    native = moved.astype(data.dtype.newbyteorder("="))
    return native.reshape(-1, *(data.shape[i] for i in axes))


def by_h5py(path: Path, name: str = "data", frame_axes: tuple[int, ...] = (-2, -1)) -> Array:
    with h5py.File(path, "r") as file:
        return arranged(file[name][()], frame_axes)


def load(frames: Frames, region: tuple[slice, ...] | None = None) -> Array:
    sizes = frames.frame_shape if region is None else [s.stop - s.start for s in region]
    out = np.full((len(frames), *sizes), 77, frames.dtype)
    frames.load(out, region)
    return out


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Where and how much is read from files past the library."""
    original, calls = backends.read, []

    def reading(file: Any, offset: int, nbytes: int, backend: Any, *more: Any) -> Any:
        calls.append((offset, nbytes))
        return original(file, offset, nbytes, backend, *more)

    monkeypatch.setattr(backends, "read", reading)
    return calls


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """After it is called, reading pixels through the library is an error."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("the library reads pixels")

    return lambda: monkeypatch.setattr(hdf5_index, "library", refuse)


# -- every filter, type and shape of chunk -------------------------------------------------------

SHAPES = {
    "one frame": ((6, 20, 24), (1, 20, 24)),
    "some frames": ((7, 12, 10), (3, 12, 10)),
    "parts of a frame": ((5, 21, 19), (1, 8, 16)),
    "parts of some frames": ((5, 21, 19), (2, 8, 16)),
    "scan": ((5, 6, 9, 7), (2, 4, 9, 7)),
    "line": ((4, 6, 9, 8), (1, 6, 9, 8)),
    "pixels": ((4, 5, 9, 8), (4, 5, 2, 8)),
    "everything": ((4, 5, 9, 8), (4, 5, 9, 8)),
    "image": ((21, 19), (8, 16)),
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", FILTERS)
def test_filters(tmp_path: Path, name: str, dtype: str, no_library: Callable[[], None]) -> None:
    options, direct = FILTERS[name]
    if name == "scaleoffset" and np.dtype(dtype).kind in "fcb":
        pytest.skip("HDF5 does not do that")
    data = numbers((7, 12, 10), dtype)
    path = store(tmp_path / "a.h5", data, chunks=(1, 12, 10), **options)
    frames = frames_of(path, "data")
    assert isinstance(frames, ChunkedFrames)
    assert frames.datasets[0].direct is direct
    assert frames.dtype == np.dtype(dtype).newbyteorder("=")
    expected = by_h5py(path)
    np.testing.assert_array_equal(expected, arranged(data))
    if direct and name != "shuffle":
        no_library()
    np.testing.assert_array_equal(load(frames), expected)
    stored = frames.read_as(native=False)
    assert stored.dtype == dtype
    np.testing.assert_array_equal(load(stored), expected)
    region = (slice(3, 9), slice(2, 5))
    np.testing.assert_array_equal(load(frames[1:6], region), expected[1:6, 3:9, 2:5])


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", ["none", "shuffle, gzip", "bitshuffle-lz4", "lz4", "lzf"])
def test_shapes(tmp_path: Path, name: str, shapes: tuple[Any, Any]) -> None:
    shape, chunks = shapes
    for dtype in ("<u2", ">u4"):
        data = numbers(shape, dtype)
        path = store(tmp_path / f"{dtype[1:]}.h5", data, chunks=chunks, **FILTERS[name][0])
        frames = frames_of(path, "data")
        expected = arranged(data)
        assert len(frames) == len(expected)
        np.testing.assert_array_equal(load(frames), expected)
        region = (slice(2, 7), slice(1, 6))
        np.testing.assert_array_equal(load(frames, region), expected[:, 2:7, 1:6])
        backwards = frames[::-1]
        np.testing.assert_array_equal(load(backwards), expected[::-1])
        wider = np.empty(expected.shape, "f8")
        frames.load(wider)
        np.testing.assert_array_equal(wider, expected)
        strided = np.zeros((2 * len(expected), *expected.shape[1:]), frames.dtype)
        frames.load(strided[::2])
        np.testing.assert_array_equal(strided[::2], expected)
        assert not strided[1::2].any()


@settings(max_examples=120)
@given(data=st.data())
def test_anything(data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    draw = data.draw
    ndim = draw(st.integers(1, 4))
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=ndim, max_size=ndim)))
    chunks = tuple(draw(st.integers(1, n)) for n in shape)
    order = draw(st.permutations(range(ndim)))
    frame_axes = tuple(order[: draw(st.integers(1, min(3, ndim)))])
    if draw(st.booleans()):
        frame_axes = tuple(range(ndim - len(frame_axes), ndim))
    options, _ = FILTERS[draw(st.sampled_from(["none", "shuffle, gzip", "bitshuffle-lz4", "lzf"]))]
    values = numbers(shape, draw(st.sampled_from(["u1", ">u2", "<f4"])), draw(st.integers(0, 99)))
    path = tmp_path_factory.mktemp("h5") / "a.h5"
    with h5py.File(path, "w") as file:
        fill = draw(st.sampled_from([0, 9]))
        ds = file.create_dataset(
            "data", shape, values.dtype, chunks=chunks, fillvalue=fill, **options
        )
        # some chunks are never written
        some = tuple(slice(0, draw(st.integers(0, n))) for n in shape)
        ds[some] = values[some]
    expected = by_h5py(path, frame_axes=frame_axes)
    frames = frames_of(path, "data", frame_axes=frame_axes)
    count = len(expected)
    assert (len(frames), frames.frame_shape) == (count, expected.shape[1:])
    kind = draw(st.sampled_from(["all", "slice", "index"]))
    if kind == "slice":
        index: Any = slice(draw(st.integers(-9, 9)), draw(st.integers(-9, 99)))
        frames, expected = frames[index], expected[index]
    elif kind == "index":
        index = np.array(draw(st.lists(st.integers(-1, count - 1), max_size=20)), np.int64)
        frames = frames[index].read_as(fill=5)
        assert (frames.blanks is not None) == bool((index < 0).any())
        expected = expected[index]
        expected[index < 0] = 5
    region = None
    if draw(st.booleans()):
        starts = [draw(st.integers(0, n - 1)) for n in frames.frame_shape]
        region = tuple(
            slice(a, draw(st.integers(a + 1, n)))
            for a, n in zip(starts, frames.frame_shape, strict=True)
        )
    if draw(st.booleans()):
        frames, expected = frames.read_as(flip_y=True), expected[:, ::-1]
    if region is not None:
        expected = expected[(slice(None), *region)]
    frames = pickle.loads(pickle.dumps(frames))
    np.testing.assert_array_equal(load(frames, region), expected)


@pytest.mark.parametrize("backend", ["auto", "buffered", "mmap", "direct"])
def test_backends(tmp_path: Path, backend: Any) -> None:
    data = numbers((9, 12, 16), "<u2")
    for i, name in enumerate(("none", "bitshuffle-lz4", "gzip", "lzf")):
        path = store(tmp_path / f"{i}.h5", data, chunks=(2, 12, 16), **FILTERS[name][0])
        frames = frames_of(path, "data").read_as(backend=backend)
        np.testing.assert_array_equal(load(frames), data)


def test_large_chunks_and_blocks(tmp_path: Path) -> None:
    """Chunks of many blocks, and more chunks than are fetched with one read."""
    data = numbers((50, 200, 301), "<u2")
    for i, name in enumerate(("bitshuffle-lz4", "lz4", "shuffle, gzip", "none")):
        for chunks in ((1, 200, 301), (7, 200, 301), (3, 150, 100)):
            path = store(tmp_path / f"{i}{chunks[0]}.h5", data, chunks=chunks, **FILTERS[name][0])
            np.testing.assert_array_equal(load(frames_of(path, "data")), data)


@pytest.mark.parametrize("name", ["bitshuffle-lz4", "bitshuffle", "lz4"])
def test_pixels_that_do_not_compress(tmp_path: Path, name: str) -> None:
    data = np.random.default_rng(1).integers(0, 2**16, (5, 33, 65), "u2")
    path = store(tmp_path / "a.h5", data, chunks=(1, 33, 65), **FILTERS[name][0])
    np.testing.assert_array_equal(load(frames_of(path, "data")), data)


def test_chunks_without_some_filters(tmp_path: Path) -> None:
    """Writers may leave out filters of single chunks; a mask says so."""
    data = numbers((6, 8, 8), "<u2")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        ds = file.create_dataset(
            "data", data.shape, data.dtype, chunks=(1, 8, 8), shuffle=True, compression="gzip"
        )
        ds[...] = data
        for i, mask in ((1, 0b11), (2, 0b10), (4, 0b01)):
            raw = data[i].tobytes()
            if not mask & 1:
                raw = np.frombuffer(raw, "u1").reshape(-1, 2).T.tobytes()
            if not mask & 2:
                import zlib

                raw = zlib.compress(raw)
            ds.id.write_direct_chunk((i, 0, 0), raw, mask)
    np.testing.assert_array_equal(by_h5py(path), data)
    np.testing.assert_array_equal(load(frames_of(path, "data")), data)


def test_chunks_that_were_never_written(tmp_path: Path, read_bytes: list[tuple[int, int]]) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name, options in (("a", {}), ("b", {"compression": "gzip"}), ("c", {"chunks": None})):
            file.create_dataset(
                name, (5, 4, 4), ">u2", fillvalue=513, **{"chunks": (2, 4, 4), **options}
            )
        file["b"][0:2] = 7
    for name in "abc":
        np.testing.assert_array_equal(load(frames_of(path, name)), by_h5py(path, name))
    assert sum(n for _, n in read_bytes) < 100


# -- plain pixels --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TYPES)
def test_contiguous_is_a_table(tmp_path: Path, dtype: str) -> None:
    data = numbers((3, 4, 5, 6), dtype)
    path = store(tmp_path / "a.h5", data)
    frames = frames_of(path, "data")
    assert isinstance(frames, FrameTable)
    np.testing.assert_array_equal(load(frames), arranged(data))
    view = frames.mapped()
    assert view is not None
    np.testing.assert_array_equal(view, data.reshape(12, 5, 6))
    single = frames_of(path, "data", frame_axes=(-1,))
    assert single.frame_shape == (6,)
    np.testing.assert_array_equal(load(single), arranged(data, (-1,)))
    cube = frames_of(path, "data", frame_axes=(-3, -2, -1))
    np.testing.assert_array_equal(load(cube), arranged(data, (-3, -2, -1)))


def test_contiguous_in_another_order(tmp_path: Path) -> None:
    data = numbers((4, 5, 6, 7), ">u2")
    path = store(tmp_path / "a.h5", data)
    for axes in ((0, 1), (0,), (0, 1, 2)):
        frames = frames_of(path, "data", frame_axes=axes)
        assert isinstance(frames, PixelMajor)
        np.testing.assert_array_equal(load(frames), arranged(data, axes))
    for axes in ((-1, -2), (1, 3), (2, 1), (3, 0)):
        frames = frames_of(path, "data", frame_axes=axes)
        assert isinstance(frames, ChunkedFrames)
        np.testing.assert_array_equal(load(frames), arranged(data, axes))
        np.testing.assert_array_equal(
            load(frames[3:9], (slice(1, 3), slice(2, 4))), arranged(data, axes)[3:9, 1:3, 2:4]
        )


@pytest.mark.parametrize("size", [512, 2048])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_user_block(tmp_path: Path, size: int, libver: str) -> None:
    data = numbers((5, 6, 7), "<u2")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", userblock_size=size, libver=libver) as file:
        file["plain"] = data
        file.create_dataset("chunked", data=data, chunks=(2, 6, 7), compression="gzip")
        file.create_dataset("lzf", data=data, chunks=(2, 6, 7), compression="lzf")
    with path.open("r+b") as raw:
        raw.write(b"#!" * 100)
    for name in ("plain", "chunked", "lzf"):
        np.testing.assert_array_equal(load(frames_of(path, name)), data)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("maxshape", [None, (None, 6, 7), (None, None, 7)])
def test_every_kind_of_index(tmp_path: Path, libver: str, maxshape: Any) -> None:
    """One chunk, a fixed or growing array, and trees of both versions."""
    data = numbers((40, 6, 7), "<u2")
    for i, chunks in enumerate([(40, 6, 7), (1, 6, 7), (3, 4, 5)]):
        for k, name in enumerate(("none", "gzip")):
            path = tmp_path / f"{i}{k}.h5"
            with h5py.File(path, "w", libver=libver) as file:
                file.create_dataset(
                    "data", data=data, chunks=chunks, maxshape=maxshape, **FILTERS[name][0]
                )
            np.testing.assert_array_equal(load(frames_of(path, "data")), data)


def test_resized(tmp_path: Path) -> None:
    data = numbers((9, 6, 7), "<u2")
    path = store(tmp_path / "a.h5", data, chunks=(2, 6, 7), maxshape=(None, 6, 7))
    for size in (4, 11):
        with h5py.File(path, "a") as file:
            file["data"].resize(size, axis=0)
        np.testing.assert_array_equal(load(frames_of(path, "data")), by_h5py(path))


def test_compact(tmp_path: Path) -> None:
    data = numbers((3, 4, 5), ">u2")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        kind = h5py.h5t.py_create(data.dtype, logical=True)
        space = h5py.h5s.create_simple(data.shape)
        h5py.Dataset(h5py.h5d.create(file.id, b"data", kind, space, plist))[...] = data
    assert storage(path, "data").layout == "compact"
    np.testing.assert_array_equal(load(frames_of(path, "data")), data)


def test_types_that_numpy_lacks(tmp_path: Path) -> None:
    """12 bits in 16, shifted: only the library can tell what they mean."""
    path = tmp_path / "a.h5"
    data = numbers((3, 4, 5), "<u2")
    with h5py.File(path, "w") as file:
        kind = h5py.h5t.STD_U16LE.copy()
        kind.set_precision(12)
        kind.set_offset(4)
        for name, chunks in (("plain", None), ("chunked", (1, 4, 5))):
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            if chunks:
                plist.set_chunk(chunks)
            space = h5py.h5s.create_simple(data.shape)
            h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, plist))[...] = data
    for name in ("plain", "chunked"):
        frames = frames_of(path, name)
        assert isinstance(frames, ChunkedFrames)
        np.testing.assert_array_equal(load(frames), data)


def test_beyond_4_gib(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name, options in (("plain", {"chunks": None}), ("chunked", {"chunks": (1, 64, 64)})):
            ds = file.create_dataset(name, (700_000, 64, 64), "<u2", **options)
            ds[-1] = 5
            ds[3] = 4
    if path.stat().st_blocks * 512 > 1 << 30:
        pytest.skip("the file system stores the holes")
    for name in ("plain", "chunked"):
        frames = frames_of(path, name)
        assert len(frames) == 700_000
        found = load(frames[np.array([0, 3, 699_999])])
        np.testing.assert_array_equal(
            found, np.array([0, 4, 5])[:, None, None] + np.zeros((64, 64))
        )


# -- pixels in other files -----------------------------------------------------------------------


def test_external_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = numbers((6, 8, 8), ">u2")
    frame = data[0].nbytes
    (tmp_path / "one.raw").write_bytes(b"head" + data[:4].tobytes())
    (tmp_path / "two.raw").write_bytes(data[4:].tobytes())
    (tmp_path / "odd.raw").write_bytes(data.tobytes())
    path = tmp_path / "a.h5"
    cases = {
        "single": [("odd.raw", 0, h5py.h5f.UNLIMITED)],
        "two": [("one.raw", 4, 4 * frame), ("two.raw", 0, 2 * frame)],
        "split": [("odd.raw", 0, frame + 10), ("odd.raw", frame + 10, 5 * frame - 10)],
    }
    with h5py.File(path, "w") as file:
        for name, external in cases.items():
            file.create_dataset(name, data.shape, data.dtype, external=external)
    monkeypatch.chdir(tmp_path)  # where HDF5 looks for them
    for name in cases:
        frames = frames_of(path, name)
        assert isinstance(frames, FrameTable if name != "split" else ChunkedFrames)
        assert storage(path, name).layout == "external"
        np.testing.assert_array_equal(load(frames), by_h5py(path, name))
        np.testing.assert_array_equal(load(frames), data)
    monkeypatch.chdir(tmp_path.parent)  # where only we look
    for name in ("single", "two"):
        np.testing.assert_array_equal(load(frames_of(path, name)), data)
    (tmp_path / "odd.raw").unlink()
    with pytest.raises(FormatError, match=r"odd\.raw, which is missing"):
        frames_of(path, "single")
    (tmp_path / "two.raw").write_bytes(b"")
    with pytest.raises(Truncated):
        load(frames_of(path, "two"))


def virtual(path: Path, sources: list[tuple[Path, str, Any, Any]], shape: Any, dtype: str) -> None:
    layout = h5py.VirtualLayout(shape, dtype)
    for file, name, there, here in sources:
        with h5py.File(file, "r") as opened:
            full = opened[name].shape
        layout[here] = h5py.VirtualSource(file.name, name, shape=full)[there]
    with h5py.File(path, "a", libver="latest") as file:
        file.create_virtual_dataset("data", layout, fillvalue=9)


def test_virtual(tmp_path: Path, no_library: Callable[[], None]) -> None:
    data = numbers((9, 8, 8), "<u2")
    options = FILTERS["bitshuffle-lz4"][0]
    one = store(tmp_path / "one.h5", data[:5], chunks=(1, 8, 8), **options)
    two = store(tmp_path / "two.h5", data[5:], chunks=(1, 8, 8), **options)
    path = tmp_path / "a.h5"
    every = slice(None)
    virtual(
        path,
        [(one, "data", every, slice(0, 5)), (two, "data", every, slice(5, 9))],
        (9, 8, 8),
        "<u2",
    )
    assert storage(path, "data").layout == "virtual"
    cut = tmp_path / "cut.h5"
    virtual(
        cut,
        [(one, "data", slice(2, 5), slice(0, 3)), (two, "data", slice(1, 3), slice(3, 5))],
        (5, 8, 8),
        "<u2",
    )
    nested = tmp_path / "nested.h5"
    virtual(nested, [(cut, "data", slice(1, 5), slice(0, 4))], (4, 8, 8), "<u2")
    expected = {name: by_h5py(name) for name in (path, cut, nested)}
    np.testing.assert_array_equal(expected[path], data)
    np.testing.assert_array_equal(expected[nested], data[[3, 4, 6, 7]])
    no_library()  # their chunks are read where they are
    for name, values in expected.items():
        frames = frames_of(name, "data")
        assert isinstance(frames, ChunkedFrames)
        np.testing.assert_array_equal(load(frames), values)
    plain = store(tmp_path / "plain.h5", data)
    virtual(tmp_path / "b.h5", [(plain, "data", slice(3, 8), slice(0, 5))], (5, 8, 8), "<u2")
    frames = frames_of(tmp_path / "b.h5", "data")
    assert isinstance(frames, FrameTable)
    np.testing.assert_array_equal(load(frames), data[3:8])
    two.unlink()
    with pytest.raises(FormatError, match=r"two\.h5 is missing"):
        frames_of(path, "data")


def test_virtual_in_other_ways(tmp_path: Path) -> None:
    """Interleaved, beside each other, of another type, with holes: the library knows how."""
    data = numbers((6, 8, 8), "<u2")
    one = store(tmp_path / "one.h5", data[::2])
    two = store(tmp_path / "two.h5", data[1::2])
    every = slice(None)
    left, right = (every, every, slice(0, 8)), (every, every, slice(8, 16))

    def both(first: Any, second: Any) -> list[tuple[Path, str, Any, Any]]:
        return [(one, "data", every, first), (two, "data", every, second)]

    cases = {
        "interleaved": (both(slice(0, 6, 2), slice(1, 6, 2)), (6, 8, 8), "<u2"),
        "beside": (both(left, right), (3, 8, 16), "<u2"),
        "other type": (both(slice(0, 3), slice(3, 6)), (6, 8, 8), "<f4"),
        "holes": (both(slice(0, 3), slice(4, 7)), (8, 8, 8), "<u2"),
    }
    for name, (sources, shape, dtype) in cases.items():
        path = tmp_path / f"{name}.h5"
        virtual(path, sources, shape, dtype)
        frames = frames_of(path, "data")
        assert isinstance(frames, ChunkedFrames)
        np.testing.assert_array_equal(load(frames), by_h5py(path))
        np.testing.assert_array_equal(load(frames[1:3]), by_h5py(path)[1:3])
    with h5py.File(two, "a") as file:
        del file["data"]
    with pytest.raises(FormatError, match="has no data set"):
        frames_of(tmp_path / "holes.h5", "data")


def test_links(tmp_path: Path) -> None:
    data = numbers((4, 8, 8), "<u2")
    (tmp_path / "sub").mkdir()
    store(tmp_path / "sub" / "there.h5", data, chunks=(1, 8, 8), compression="gzip")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["far"] = h5py.ExternalLink("sub/there.h5", "/data")
        file["lost"] = h5py.ExternalLink("sub/lost.h5", "/data")
        file["soft"] = h5py.SoftLink("/far")
        file.create_group("group")
        file["text"] = "text"
        file["names"] = np.array([b"a", b"b"])
        file["void"] = np.zeros(3, [("a", "u1"), ("b", "f4")])
    for name in ("far", "soft"):
        np.testing.assert_array_equal(load(frames_of(path, name)), data)
    for name, message in {
        "lost": r"lost is in another file, sub/lost\.h5",
        "nothing": "has no data set 'nothing'",
        "group": "is a group",
        "text": "is a single value",
        "names": "holds text",
        "void": "holds elements of type",
    }.items():
        with pytest.raises(FormatError, match=message):
            frames_of(path, name)


# -- several data sets ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["chunked", "plain", "mixed", "lzf"])
def test_several(tmp_path: Path, kind: str) -> None:
    data = numbers((10, 8, 8), "<u2")
    bounds = [(0, 4), (4, 4), (4, 5), (5, 10)]
    paths = []
    for i, (a, b) in enumerate(bounds):
        options: dict[str, Any] = {"chunks": (2, 8, 8), "maxshape": (None, 8, 8)}
        if kind == "plain" or (kind == "mixed" and i == 0):
            options = {}
        elif kind == "lzf":
            options["compression"] = "lzf"
        paths.append(store(tmp_path / f"{i}.h5", data[a:b], **options))
    frames = frames_of(paths, "data")
    assert isinstance(frames, FrameTable if kind == "plain" else ChunkedFrames)
    np.testing.assert_array_equal(load(frames), data)
    index = np.array([9, -1, 3, 4, 4, 5, 0])
    np.testing.assert_array_equal(load(frames[index])[index >= 0], data[index[index >= 0]])
    inside = tmp_path / "inside.h5"
    for i, (a, b) in enumerate(bounds):
        store(inside, data[a:b], f"data_{i}")
    names = [f"data_{i}" for i in range(4)]
    np.testing.assert_array_equal(load(frames_of(inside, names)), data)
    with pytest.raises(ValueError, match="2 files for 3 data sets"):
        frames_of(paths[:2], ["a", "b", "c"])


def test_several_that_differ(tmp_path: Path) -> None:
    data = numbers((4, 8, 8), "<u2")
    path = tmp_path / "a.h5"
    for name, values in {
        "a": data,
        "narrow": data[:, :, :7],
        "wide": data.astype("u4"),
        "flat": data[0],
        "none": data[:0],
        "empty": data[:, :0],
    }.items():
        store(
            path,
            values,
            name,
            **({"chunks": (1, 1, 1), "maxshape": (None,) * 3} if name == "none" else {}),
        )
    for name in ("narrow", "wide", "flat"):
        with pytest.raises(FormatError, match="not parts of one recording"):
            frames_of(path, ["a", name])
    for name in ("none", "empty"):
        with pytest.raises(FormatError, match="is empty"):
            frames_of(path, name)
    with pytest.raises(FormatError, match="has 2 axes"):
        frames_of(path, "flat", frame_axes=(-3, -2, -1))


def test_sig_shape(tmp_path: Path) -> None:
    data = numbers((4, 6, 8), "<u2")
    for i, name in enumerate(("none", "lzf")):
        path = store(tmp_path / f"{i}.h5", data, chunks=(1, 6, 8), **FILTERS[name][0])
        frames = frames_of(path, "data").read_as(frame_shape=(12, 4))
        assert frames.frame_shape == (12, 4)
        expected = data.reshape(4, 12, 4)
        np.testing.assert_array_equal(load(frames), expected)
        flipped = frames.read_as(flip_y=True, frame_shape=(12, 4))
        region = (slice(1, 5), slice(2, 4))
        np.testing.assert_array_equal(load(flipped, region), expected[:, ::-1][:, 1:5, 2:4])
        with pytest.raises(Unsupported, match="sig_shape=\\(5, 5\\)"):
            frames.read_as(frame_shape=(5, 5))


# -- how much is read ----------------------------------------------------------------------------


def test_one_frame_is_one_chunk(tmp_path: Path, read_bytes: list[tuple[int, int]]) -> None:
    data = numbers((40, 30, 32), "<u2")
    path = store(tmp_path / "a.h5", data, chunks=(4, 10, 32), **FILTERS["bitshuffle-lz4"][0])
    with h5py.File(path, "r") as file:
        infos = [file["data"].id.get_chunk_info(i) for i in range(30)]
    sizes = {info.chunk_offset: (info.byte_offset, info.size) for info in infos}
    frames = frames_of(path, "data")
    np.testing.assert_array_equal(load(frames[17:18]), data[17:18])
    needed = [sizes[16, row, 0] for row in (0, 10, 20)]
    assert sum(n for _, n in read_bytes) == sum(n for _, n in needed)
    read_bytes.clear()
    region = (slice(11, 15), slice(3, 9))
    np.testing.assert_array_equal(load(frames[17:18], region), data[17:18, 11:15, 3:9])
    assert read_bytes == [sizes[16, 10, 0]]


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count decoded chunks."""
    original, counts, lock = _decode, [], threading.Lock()

    def counting(dataset: Any, mask: int, raw: Any, starts: Any, *others: Any) -> int:
        with lock:
            counts.append(len(starts))
        return original(dataset, mask, raw, starts, *others)

    monkeypatch.setattr(hdf5_chunks, "_decode", counting)
    return counts


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [((64, 8, 8), (10, 8, 8)), ((8, 8, 8, 8), (4, 4, 8, 8)), ((6, 4, 16, 16), (6, 4, 2, 4))],
)
def test_chunks_are_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: Any, chunks: Any
) -> None:
    """By one load, by the threads of an eager load, and by the tasks of a lazy one."""
    monkeypatch.setattr("rsciio_tem.storage.machine.MiB", 100)  # many pieces
    monkeypatch.setattr("rsciio_tem.storage.machine.threads", lambda: 4)
    data = numbers(shape, "<u2")
    path = store(tmp_path / "a.h5", data, chunks=chunks, **FILTERS["bitshuffle-lz4"][0])
    total = math.prod(-(-n // c) for n, c in zip(shape, chunks, strict=True))
    frames = frames_of(path, "data")
    counts = decoded(monkeypatch)
    load(frames)
    assert sum(counts) == total
    counts.clear()
    source = LazyFrames(frames, shape[:-2], frames.dtype, str(path))
    np.testing.assert_array_equal(_load(source), data)
    assert sum(counts) == total
    counts.clear()
    lazy = _lazy(source, "auto")
    assert lazy.npartitions > 1
    np.testing.assert_array_equal(lazy.compute(scheduler="threads"), data)
    assert sum(counts) == total
    counts.clear()
    found = one_pass(frames, threads=3)
    np.testing.assert_array_equal(found["navigator"], load(frames).sum((1, 2)))
    assert sum(counts) == 2 * total


def test_hints(tmp_path: Path) -> None:
    data = numbers((6, 8, 16, 16), "<u2")
    path = store(tmp_path / "a.h5", data, chunks=(3, 4, 16, 8))
    frames = frames_of(path, "data")
    hint = frames.chunk_hint
    assert hint == ChunkHint((6, 8), (3, 4), (16, 8))
    assert hint.run == 24
    assert hint.nav_block((6, 8)) == (3, 4)
    assert hint.nav_block((48,)) == (24,)
    assert hint.nav_block((4, 12)) == (2, 12)
    assert frames[5:20].chunk_hint == ChunkHint((15,), (15,), (16, 8))
    assert frames[::-1].chunk_hint == ChunkHint((48,), (24,), (16, 8))
    assert frames_of(store(tmp_path / "b.h5", data), "data").chunk_hint is None


@settings(max_examples=200)
@given(data=st.data())
def test_default_chunks_are_whole_blocks(data: Any) -> None:
    draw = data.draw
    nav = tuple(draw(st.lists(st.integers(1, 300), min_size=1, max_size=2)))
    sig = tuple(draw(st.lists(st.integers(1, 512), min_size=2, max_size=2)))
    hint = ChunkHint(
        nav,
        tuple(draw(st.integers(1, n)) for n in nav),
        tuple(draw(st.integers(1, n)) for n in sig),
    )
    chunks = default_chunks(nav, sig, 2, hint)
    for k, block, n in zip(chunks, (*hint.nav, *hint.sig), (*nav, *sig), strict=True):
        assert k == n or k % block == 0
    if chunks[len(nav) :] != sig:  # frames are cut only if blocks are very large
        assert chunks[: len(nav)] == hint.nav
        assert math.prod(hint.nav) * math.prod(sig) * 2 > 16 << 20
    flat = default_chunks((math.prod(nav),), sig, 2, hint)
    assert flat[0] == math.prod(nav) or flat[0] % hint.run == 0


@settings(max_examples=200)
@given(data=st.data())
def test_pieces_cover_everything_once(data: Any) -> None:
    draw = data.draw

    class Stored:
        dtype = np.dtype("u2")
        frame_shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
        count = draw(st.integers(1, 40))
        order = draw(st.sampled_from([(), tuple(range(len(frame_shape)))[::-1]]))
        chunk_hint = ChunkHint(
            (count,),
            (draw(st.integers(1, count)),),
            tuple(draw(st.integers(1, n)) for n in frame_shape),
            order,
        )

        def __len__(self) -> int:
            return self.count

    frames: Any = Stored()
    covered = np.zeros((len(frames), *frames.frame_shape), int)
    (run,), sig = frames.chunk_hint.nav, frames.chunk_hint.sig
    for chosen, region in tiles(frames, draw(st.integers(1, 2000))):
        assert chosen.start % run == 0
        assert chosen.stop % run == 0 or chosen.stop == len(frames)
        for s, k, n in zip(region or (), sig, frames.frame_shape, strict=False):
            assert s.start % k == 0
            assert s.stop % k == 0 or s.stop == n
        covered[(chosen, *(region or ()))] += 1
    assert (covered == 1).all()


# -- threads, processes --------------------------------------------------------------------------


def test_threads(tmp_path: Path) -> None:
    data = numbers((200, 16, 16), "<u2")
    paths = [
        store(tmp_path / f"{i}.h5", data, chunks=(3, 16, 16), **FILTERS[name][0])
        for i, name in enumerate(("bitshuffle-lz4", "shuffle, gzip", "lzf", "none"))
    ]
    for path in paths:
        frames = frames_of(path, "data")
        out = np.zeros(data.shape, "u2")

        def fill(i: int, frames: Frames = frames, out: Array = out) -> None:
            frames[i : i + 7].load(out[i : i + 7])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fill, range(0, 200, 7)))
        np.testing.assert_array_equal(out, data)


def test_no_file_stays_open(tmp_path: Path) -> None:
    data = numbers((6, 8, 8), "<u2")
    for i, name in enumerate(("bitshuffle-lz4", "lzf")):
        path = store(tmp_path / f"{i}.h5", data, chunks=(1, 8, 8), **FILTERS[name][0])
        frames = frames_of(path, "data")
        load(frames)
        with h5py.File(path, "r+", locking=True) as file:  # nobody else has it open
            file.attrs["a"] = 1
        assert len(pickle.dumps(frames[0:2])) < 3000


def test_fork(tmp_path: Path) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork")
    data = numbers((6, 8, 8), "<u2")
    path = store(tmp_path / "a.h5", data, chunks=(1, 8, 8), compression="gzip")
    code = f"""
        import os, sys, numpy as np
        from rsciio_tem.parsing.hdf5_frames import frames_of
        frames = frames_of({str(path)!r}, "data")
        out = np.empty((6, 8, 8), "u2")
        frames.load(out)
        total = int(out.sum())
        child = os.fork()
        frames.load(out)
        if not child:
            os._exit(0 if int(out.sum()) == total else 1)
        print(os.waitpid(child, 0)[1], total)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["0", str(int(data.sum()))]


@pytest.mark.filterwarnings("ignore::UserWarning:distributed")
def test_distributed(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    data = numbers((12, 8, 8), "<u2")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        for i, name in enumerate(("bitshuffle-lz4", "blosc", "shuffle, gzip")):
            path = store(tmp_path / f"{i}.h5", data, chunks=(1, 8, 8), **FILTERS[name][0])
            source = LazyFrames(frames_of(path, "data"), (3, 4), np.dtype("u2"), str(path))
            lazy = _lazy(source, (1, 2))
            found = client.compute(lazy).result(timeout=60)
            np.testing.assert_array_equal(found, data.reshape(3, 4, 8, 8))


# -- what can be wrong ---------------------------------------------------------------------------


def test_changed_file(tmp_path: Path) -> None:
    data = numbers((6, 8, 8), "<u2")
    for i, name in enumerate(("bitshuffle-lz4", "lzf")):
        path = store(tmp_path / f"{i}.h5", data, chunks=(1, 8, 8), **FILTERS[name][0])
        before = frames_of(path, "data")
        after = frames_of(path, "data")
        load(after)
        store(path, data, "more")
        for frames in (before, after):
            with pytest.raises(FormatError, match="changed since it was opened"):
                load(frames)
        np.testing.assert_array_equal(load(frames_of(path, "data")), data)


def test_changed_source(tmp_path: Path) -> None:
    data = numbers((6, 8, 8), "<u2")
    one = store(tmp_path / "one.h5", data[::2])
    path = tmp_path / "a.h5"
    virtual(path, [(one, "data", slice(None), slice(0, 6, 2))], (6, 8, 8), "<u2")
    frames = frames_of(path, "data")
    load(frames)
    store(one, data, "more")
    with pytest.raises(FormatError, match="changed since it was opened"):
        load(frames)


@pytest.mark.parametrize("name", [name for name, (_, direct) in FILTERS.items() if direct])
def test_damaged_chunk(tmp_path: Path, name: str) -> None:
    if name in ("none", "shuffle", "bitshuffle", "bitshuffle, small blocks"):
        pytest.skip("every content has a meaning")
    data = numbers((4, 16, 16), "<u2")
    path = store(tmp_path / "a.h5", data, chunks=(1, 16, 16), **FILTERS[name][0])
    with h5py.File(path, "r") as file:
        info = file["data"].id.get_chunk_info(2)
    with path.open("r+b") as raw:
        raw.seek(info.byte_offset + 4)
        raw.write(b"\xff" * (info.size - 8))
    frames = frames_of(path, "data")
    np.testing.assert_array_equal(load(frames[0:2]), data[0:2])
    with pytest.raises(FormatError, match=r"a\.h5: the chunk of data .* \(2, 0, 0\), at byte"):
        load(frames)


def cut_to(path: Path, size: int) -> None:
    os.truncate(path, size)


def test_truncated_file(tmp_path: Path) -> None:
    data = numbers((40, 16, 16), "<u2")
    path = store(tmp_path / "a.h5", data, chunks=(1, 16, 16), compression="gzip")
    cut_to(path, path.stat().st_size // 2)
    with pytest.raises(Truncated):
        frames_of(path, "data")
    path.write_bytes(b"no")
    with pytest.raises(FormatError):
        frames_of(path, "data")
    with pytest.raises(FormatError):
        frames_of(tmp_path / "none.h5", "data")


CODECS = ["gzip", "shuffle, gzip", "bitshuffle-lz4", "bitshuffle", "lz4", "lz4, small blocks",
          "bitshuffle-lz4, fletcher32", "shuffle, lz4", "bitshuffle-lz4, small blocks"]  # fmt: skip
CODECS += [name for name in ("zstd", "shuffle, zstd", "blosc") if FILTERS[name][1]]


@settings(max_examples=400)
@given(data=st.data())
def test_mutated_chunks(data: Any) -> None:
    """Whatever a chunk holds: pixels or an error, and nothing is written beside its place."""
    draw = data.draw
    name = draw(st.sampled_from(CODECS))
    dtype = draw(st.sampled_from(["u1", "<u2", "<u4", "<f8"]))
    shape = (1, draw(st.integers(1, 20)), draw(st.integers(1, 20)))
    mask, content, filters = _stored(name, dtype, shape)
    raw = bytearray(content)
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["set", "cut", "insert", "length"]))
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        if kind == "set" and raw:
            raw[at] = draw(st.sampled_from([0, 1, 15, 16, 127, 128, 240, 255]))
        elif kind == "cut":
            del raw[at : at + draw(st.integers(1, 20))]
        elif kind == "insert":
            raw[at:at] = bytes(draw(st.lists(st.integers(0, 255), max_size=20)))
        elif len(raw) > 16:
            raw[8:16] = draw(st.binary(min_size=8, max_size=8))
    dataset = DataSet(
        backends.DataFile("a.h5", 0, 0), "a.h5", "data", shape, shape, np.dtype(dtype), filters
    )
    nbytes = dataset.chunk_bytes
    before, after = draw(st.integers(0, 40)), draw(st.integers(0, 40))
    out = np.full(before + nbytes + after, 0xAB, np.uint8)
    noise = draw(st.integers(0, 40))
    source = np.frombuffer(b"\x11" * noise + bytes(raw), np.uint8)
    bad = _decode(
        dataset, mask, source, np.array([noise]), np.array([len(raw)]), out, np.array([before])
    )
    assert bad in (-1, 0)
    assert (out[:before] == 0xAB).all()
    assert (out[before + nbytes :] == 0xAB).all()
    if bytes(raw) == content:
        assert bad == -1
        assert out[before : before + nbytes].tobytes() == numbers(shape, dtype, 1).tobytes()


_made: dict[Any, tuple[int, bytes, tuple[Filter, ...]]] = {}


def _stored(name: str, dtype: str, shape: tuple[int, ...]) -> tuple[int, bytes, tuple[Filter, ...]]:
    """A chunk as HDF5 stores it, and which filters it left out."""
    key = (name, dtype, shape)
    if key not in _made:
        with h5py.File(f"{name}.h5", "w", driver="core", backing_store=False) as file:
            values = numbers(shape, dtype, 1)
            ds = file.create_dataset("data", data=values, chunks=shape, **FILTERS[name][0])
            file.flush()
            _made[key] = (*ds.id.read_direct_chunk((0,) * len(shape)), _filters(ds))
    return _made[key]


@pytest.mark.parametrize(
    ("kept", "words"),
    [(0, r"the chunk of data that begins with .*2, 0, 0"), (16, "data cannot be read")],
)
def test_damaged_in_the_library(
    tmp_path: Path, kept: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5_filters, "_module", lambda number: None)
    data = numbers((4, 16, 16), "<u2")
    path = store(tmp_path / "a.h5", data, chunks=(1, 16, 16), **FILTERS["blosc"][0])
    with h5py.File(path, "r") as file:
        info = file["data"].id.get_chunk_info(2)
    with path.open("r+b") as raw:
        raw.seek(info.byte_offset + kept)
        raw.write(b"\xff" * (info.size - kept))
    frames = frames_of(path, "data")
    np.testing.assert_array_equal(load(frames[0:2]), data[0:2])
    with pytest.raises(FormatError, match=rf"a\.h5: {words}"):
        load(frames)


@pytest.mark.parametrize("name", [n for n in ("zstd", "blosc") if FILTERS[n][1]])
def test_another_process_may_lack_a_package(
    tmp_path: Path, name: str, no_library: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames that were described where chunks can be decoded are read elsewhere, too."""
    data = numbers((4, 16, 16), "<u2")
    frames = frames_of(
        store(tmp_path / "a.h5", data, chunks=(1, 16, 16), **FILTERS[name][0]), "data"
    )
    assert frames.datasets[0].decodable
    monkeypatch.setattr(hdf5_filters, "_module", lambda number: None)
    assert not frames.datasets[0].decodable
    np.testing.assert_array_equal(load(frames), data)
    no_library()
    with pytest.raises(AssertionError, match="the library reads pixels"):
        load(frames)


@pytest.mark.parametrize("name", [n for n in ("zstd", "blosc") if FILTERS[n][1]])
def test_chunks_that_say_another_size(tmp_path: Path, name: str) -> None:
    """What is behind the end, or more than a chunk, is damage; memory for it is not taken."""
    shape = (1, 64, 64)
    larger = _stored(name, "<u2", (1, 64, 65))[1]
    _, content, filters = _stored(name, "<u2", shape)
    dataset = DataSet(
        backends.DataFile("a.h5", 0, 0), "a.h5", "data", shape, shape, np.dtype("<u2"), filters
    )
    for raw, expected in ((content, -1), (content + b"behind", 0), (content[:-1], 0), (larger, 0)):
        out = np.zeros(dataset.chunk_bytes, np.uint8)
        zero, length = np.zeros(1, np.int64), np.array([len(raw)])
        source = np.frombuffer(raw, np.uint8)
        assert _decode(dataset, 0, source, zero, length, out, zero) == expected


@pytest.fixture
def without_plugins(tmp_path: Path) -> Callable[[str], str]:
    """Run code where hdf5plugin cannot be imported."""
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "hdf5plugin.py").write_text("raise ImportError('none')")

    def run(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(fake), "HDF5_PLUGIN_PATH": str(fake)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_missing_plugin(tmp_path: Path, without_plugins: Callable[[str], str]) -> None:
    data = numbers((4, 16, 16), "<u2")
    path = store(tmp_path / "a.h5", data, chunks=(1, 16, 16), **FILTERS["blosc2"][0])
    store(path, data, "fast", chunks=(1, 16, 16), **FILTERS["bitshuffle-lz4"][0])
    out = without_plugins(
        f"""
        import numpy as np
        from rsciio_tem.errors import Unsupported
        from rsciio_tem.parsing.hdf5_frames import frames_of
        out = np.empty((4, 16, 16), "u2")
        frames_of({str(path)!r}, "fast").load(out)  # needs no plugin
        print(out.sum())
        try:
            frames_of({str(path)!r}, "data")
        except Unsupported as error:
            print(error)
        """
    )
    total, message = out.splitlines()
    assert int(total) == data.sum()
    assert message.endswith(
        "data is compressed with blosc2 (HDF5 filter 32026), which is not installed. "
        "Install it with: pip install --upgrade hdf5plugin"
    )


def test_unknown_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path / "a.h5", numbers((4, 8, 8), "<u2"), chunks=(1, 8, 8), compression="gzip")
    odd = (Filter(31999, (), "homemade; see nowhere"),)
    monkeypatch.setattr(hdf5_frames, "_filters", lambda ds: odd)
    with pytest.raises(Unsupported, match=r"homemade \(HDF5 filter 31999\).*HDF5_PLUGIN_PATH"):
        frames_of(path, "data")


def test_wrong_arguments(tmp_path: Path) -> None:
    path = store(tmp_path / "a.h5", numbers((4, 8, 8), "<u2"), chunks=(1, 8, 8))
    frames = frames_of(path, "data")
    for index in (np.array([4]), np.array([-2]), np.zeros((2, 2), int)):
        with pytest.raises(IndexError):
            frames[index]
    with pytest.raises(ValueError, match="out has shape"):
        frames.load(np.empty((4, 8, 7), "u2"))


# -- for people ----------------------------------------------------------------------------------


def test_storage(tmp_path: Path) -> None:
    data = numbers((4, 16, 16), ">u2")
    path = tmp_path / "a.h5"
    for name, (options, _) in FILTERS.items():
        store(path, data, name, chunks=(1, 16, 16), **options)
    store(path, data, "plain")
    for name in FILTERS:
        found = storage(path, name)
        assert found.layout == "chunked"
        assert found.chunks == (1, 16, 16)
        assert (found.shape, found.dtype) == (data.shape, data.dtype)
        wanted = name.replace(", small blocks", "").split(", ")
        assert found.filters == (() if name == "none" else tuple(wanted))
    assert str(storage(path, "shuffle, gzip")) == "chunked 1 x 16 x 16, shuffle, gzip"
    assert str(storage(path, "plain")) == "contiguous"
    with h5py.File(path, "r") as file:
        assert storage(file, "plain") == storage(path, "plain")


@pytest.mark.parametrize("name", ["zstd", "blosc", "bitshuffle-zstd"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 40, 40)])
def test_chunks_that_say_how_large_they_are(
    tmp_path: Path, name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin believes it, and the library takes what is missing from anywhere in memory."""
    data = numbers((5, *shape[1:]), "<u4")
    path = store(tmp_path / "a.h5", data, chunks=shape, **FILTERS[name][0])
    with h5py.File(path) as file:
        dataset = file["data"].id
        (step,) = _filters(file["data"])
        said = set()
        for i in range(dataset.get_num_chunks()):
            info = dataset.get_chunk_info(i)
            head = path.read_bytes()[info.byte_offset :][: min(info.size, hdf5_index._HEAD)]
            said.add(announced(step, head))
            assert announced(step, head[:4]) is None
            assert announced(Filter(32000, (), "lzf"), head) is None
    assert said == {4 * math.prod(shape)}
    out = np.empty((5, *shape[1:]), "u4")
    frames_of(path, "data").load(out)
    np.testing.assert_array_equal(out, data)
    # the library as well, where nothing else can decode them
    monkeypatch.setattr(hdf5_filters, "_module", lambda number: None)
    out[:] = 0
    frames_of(path, "data").load(out)
    np.testing.assert_array_equal(out, data)
    monkeypatch.setattr(hdf5_index, "announced", lambda *_: 4 * math.prod(shape) - 1)
    with pytest.raises(FormatError, match=r"a\.h5: the chunk of /?data that begins with"):
        frames_of(path, "data").load(out)
