# SPDX-License-Identifier: GPL-3.0-or-later
"""What every reader must do, for every sample of every format (see ``conftest.py``)."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pickle
import re
import subprocess
import sys
import textwrap
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from samples import SPECS, Mapping, Sample, Spec
from writers import blo as blo_writer
from writers import mib as mib_writer
from writers import mrc as mrc_writer
from writers import npy as npy_writer
from writers import seq as seq_writer
from writers import ser as ser_writer
from writers import tvips as tvips_writer

import rsciio_tem.reading.read
from rsciio_tem.errors import FormatError, NotEnoughMemory, RecordingWarning, Unsupported
from rsciio_tem.frames.arrays import PixelMajor
from rsciio_tem.frames.blocks import BlockTable
from rsciio_tem.frames.combined import Chain, Mosaic
from rsciio_tem.frames.sparse import SparseFrames
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.frames.wrapped import Transformed
from rsciio_tem.parsing.hdf5_chunks import ChunkedFrames
from rsciio_tem.storage import backends

AXIS_KEYS = {"index_in_array", "name", "navigate", "offset", "scale", "size", "units"}
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="counts bytes in /proc/self/io")


def is_dask(data: Any) -> bool:
    return hasattr(data, "dask")


def frames_of(sample: Sample) -> Any:
    """Stored frames of the sample's recording, whatever is done to them after loading."""
    frames = sample.parse().frames
    while isinstance(frames, Transformed):
        frames = frames.frames
    return frames


def frame_bytes(frames: Any) -> int:
    """Bytes that one frame takes in its files; 0 where that is not known."""
    if isinstance(frames, Mosaic):
        return sum(map(frame_bytes, frames.parts))
    if isinstance(frames, BlockTable):
        return len(frames.layout.cells) * frames.layout.nbytes
    return frames.pixels.nbytes if isinstance(frames, FrameTable) else 0


def read_bytes() -> int:
    """Bytes this process has asked the system for."""
    text = Path("/proc/self/io").read_text(encoding="ascii")
    return int(text.split("rchar:")[1].split()[0])


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the pieces that pixels are read in."""
    lengths: list[int] = []
    read = backends.read

    def counting(file: Any, offset: int, nbytes: int, backend: Any, *more: Any) -> Any:
        lengths.append(nbytes)
        return read(file, offset, nbytes, backend, *more)

    monkeypatch.setattr(backends, "read", counting)
    return lengths


# -- values --------------------------------------------------------------------------------------


def keys(tree: Any) -> Iterator[Any]:
    for key, value in tree.items():
        yield key
        if isinstance(value, dict):
            yield from keys(value)


def check_dictionary(sample: Sample, signal: dict[str, Any]) -> None:
    """Compare all but the values with what readers of RosettaSciIO return."""
    assert {"data", "axes", "metadata", "original_metadata"} <= set(signal)
    data, axes = signal["data"], signal["axes"]
    assert data.shape == sample.expected.shape
    assert data.dtype == sample.expected.dtype
    assert [axis["size"] for axis in axes] == list(data.shape)
    assert [axis["index_in_array"] for axis in axes] == list(range(data.ndim))
    assert [axis["navigate"] for axis in axes] == [
        i < len(sample.nav_shape) for i in range(len(axes))
    ]
    for axis in axes:
        assert set(axis) == AXIS_KEYS
        assert type(axis["size"]) is int
        assert type(axis["scale"]) is float
        assert axis["scale"] != 0
    for tree in (signal["metadata"], signal["original_metadata"]):
        assert all(type(key) is str for key in keys(tree))
    assert {"General", "Signal"} <= set(signal["metadata"])
    if sample.path is not None:
        general = signal["metadata"]["General"]
        stem = general["original_filename"].split(".")[0]
        untitled = ("mib", "npy", "tvips", "blo", "ser", "mrc")  # RosettaSciIO's readers give none
        assert stem in general.get("title", stem if sample.format in untitled else "")
    own = signal["original_metadata"]["rsciio_tem"]
    assert own["format"] == sample.format
    assert own["version"] == rsciio_tem.__version__
    assert own["scan"]["shape"] == list(sample.nav_shape)
    assert {"stored", "inserted_start", "inserted_end", "ignored_end"} <= set(own["frames"])
    json.dumps({k: v for k, v in own.items() if k != "missing_mask"})
    pickle.dumps(signal["metadata"])
    pickle.dumps(signal["original_metadata"])


def test_eager(sample: Sample) -> None:
    signal = sample.read(lazy=False)
    check_dictionary(sample, signal)
    assert type(signal["data"]) is np.ndarray
    np.testing.assert_array_equal(signal["data"], sample.expected, strict=True)


def test_lazy(sample: Sample) -> None:
    signal = sample.read(lazy=True)
    check_dictionary(sample, signal)
    assert is_dask(signal["data"])
    computed = signal["data"].compute(scheduler="threads")
    assert computed.dtype == sample.expected.dtype
    np.testing.assert_array_equal(computed, sample.expected)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was loaded into memory."""
    sources = []

    def load(source: Any, load: Any = rsciio_tem.reading.read._load) -> Any:
        sources.append(source)
        return load(source)

    monkeypatch.setattr("rsciio_tem.reading.read._load", load)
    return sources


def test_mapped(file_sample: Sample, loaded: list[Any]) -> None:
    data = file_sample.read(mmap_mode="r")["data"]
    np.testing.assert_array_equal(data, file_sample.expected)
    assert bool(loaded) != file_sample.plain
    assert not (file_sample.plain and data.flags.writeable)


@pytest.mark.per_kind
def test_mapped_copy_on_write(file_sample: Sample, loaded: list[Any]) -> None:
    data = file_sample.read(mmap_mode="c")["data"]
    np.testing.assert_array_equal(data, file_sample.expected)
    assert bool(loaded) != file_sample.plain
    assert data.flags.writeable


def test_copy_on_write_leaves_file_alone(first_sample: Sample) -> None:
    assert first_sample.path is not None
    before = first_sample.path.read_bytes()
    data = first_sample.read(mmap_mode="c")["data"]
    data[...] = 0
    assert not data.any()
    del data
    assert first_sample.path.read_bytes() == before


def test_mmap_mode_that_writes(first_sample: Sample) -> None:
    with pytest.raises(ValueError, match="never written"):
        first_sample.read_quietly(mmap_mode="r+")


@pytest.mark.per_kind
@pytest.mark.parametrize("backend", ["auto", "mmap", "buffered", "direct"])
def test_backends(file_sample: Sample, backend: str) -> None:
    frames = frames_of(file_sample)
    kinds = (FrameTable, Mosaic, PixelMajor, ChunkedFrames, SparseFrames)
    if not isinstance(frames, kinds) or str(file_sample.path).endswith(".fch5"):
        if backend != "auto":
            with pytest.raises(Unsupported, match="io_backend"):
                file_sample.read_quietly(io_backend=backend)
        return
    data = file_sample.read(io_backend=backend)["data"]
    np.testing.assert_array_equal(data, file_sample.expected)
    lazy = file_sample.read(lazy=True, io_backend=backend)["data"]
    np.testing.assert_array_equal(lazy, file_sample.expected)


def test_unknown_backend(first_sample: Sample) -> None:
    with pytest.raises(ValueError, match="io_backend='fast' is none of auto, mmap"):
        first_sample.read_quietly(io_backend="fast")


def test_array_in_memory_stays_what_it_is() -> None:
    import dask.array as da

    array = np.arange(24).reshape(2, 3, 4)
    assert isinstance(rsciio_tem.from_array(array)[0]["data"], np.ndarray)
    assert is_dask(rsciio_tem.from_array(da.from_array(array))[0]["data"])
    assert is_dask(rsciio_tem.from_array(array, lazy=True)[0]["data"])


def test_dask_array_stays_lazy() -> None:
    """Chunks that are not asked for are not computed, and no task computes another graph."""
    import dask.array as da

    seen = []

    def block(block_id: Any = None) -> Any:
        seen.append(block_id)
        return np.full((1, 2, 4, 4), block_id[0])

    array = da.map_blocks(block, chunks=((1,) * 5, (2,), (4,), (4,)), dtype=int, meta=np.empty(0))
    data = rsciio_tem.from_array(array)[0]["data"]
    assert not seen
    np.testing.assert_array_equal(data[3].compute(), np.full((2, 4, 4), 3))
    assert seen == [(3, 0, 0, 0)]
    seen.clear()
    # blanks are blocks of their own
    with pytest.warns(RecordingWarning, match="2 of 12"):
        filled = rsciio_tem.from_array(array, nav_shape=(6, 2), fill_value=7)[0]["data"]
    np.testing.assert_array_equal(filled[5].compute(), np.full((2, 4, 4), 7))
    assert not seen
    with pytest.warns(RecordingWarning, match="2 of 12"):
        cast = rsciio_tem.from_array(array, nav_shape=(6, 2), fill_value=np.nan, dtype="f4")
    assert cast[0]["data"].dtype == "f4"
    assert np.isnan(cast[0]["data"][5].compute()).all()


# -- arrangement ---------------------------------------------------------------------------------


def expected_mapping(sample: Sample, mapping: Mapping, fill: Any = 0) -> np.ndarray:
    assert mapping.shape is not None
    frames = sample.expected.reshape(-1, *sample.frame_shape)
    out = np.full((len(mapping.sources), *sample.frame_shape), fill, frames.dtype)
    for i, source in enumerate(mapping.sources):
        if source >= 0:
            out[i] = frames[source]
    return out.reshape(*mapping.shape, *sample.frame_shape)


def test_frame_mapping(ten: Sample, mapping: Mapping) -> None:
    for lazy in (False, True):
        check_mapping(ten, mapping, lazy)


def check_mapping(ten: Sample, mapping: Mapping, lazy: bool) -> None:
    options = {**mapping.options, "lazy": lazy, "fill_value": 3}
    if mapping.shape is None:
        with pytest.raises(ValueError, match=str(ten.path or "<array>")):
            ten.read(**options)
        return
    if mapping.warns:
        with pytest.warns(RecordingWarning, match=mapping.warns):
            signal = ten.read(**options)
    else:
        signal = ten.read(**options)
    wanted = expected_mapping(ten, mapping, 3)
    assert [axis["size"] for axis in signal["axes"]] == list(wanted.shape)
    np.testing.assert_array_equal(signal["data"], wanted)
    found = signal["original_metadata"]["rsciio_tem"]
    missing = np.array(mapping.sources).reshape(mapping.shape) < 0
    if missing.any():
        np.testing.assert_array_equal(found["missing_mask"], missing)
    else:
        assert "missing_mask" not in found
    assert found["frames"]["stored"] == 10
    assert found["frames"]["complete"] == (not missing.any())


@pytest.mark.per_format
def test_both_shapes_given(sample: Sample) -> None:
    with pytest.raises(TypeError, match=r"either navigation_shape .* or nav_shape"):
        sample.read_quietly(navigation_shape=(2, 1), nav_shape=(1, 2))


@pytest.mark.parametrize("rule", ["exposures", "timestamps"])
def test_scan_rule_that_finds_nothing(ten: Sample, rule: str) -> None:
    with pytest.raises(FormatError, match="finds no scan shape for 10 frames"):
        ten.read(scan=rule)


def test_square_only_if_asked(tmp_path: Path) -> None:
    path = mib_writer.write_mib(tmp_path / "a.mib", np.zeros((9, 4, 16), np.uint8), 6)
    assert rsciio_tem.load(path)[0]["data"].shape == (9, 4, 16)
    with pytest.warns(RecordingWarning, match="perfect square"):
        assert rsciio_tem.load(path, scan="square")[0]["data"].shape == (3, 3, 4, 16)


@pytest.mark.per_kind
@pytest.mark.parametrize("chunks", [1, -1, "auto", "8 KiB", (1, 3), {1: 2}])
def test_chunks(sample: Sample, chunks: Any) -> None:
    if isinstance(chunks, tuple) and len(sample.nav_shape) != 2:
        chunks = tuple(chunks[:1]) * sample.expected.ndim
    if isinstance(chunks, dict) and sample.expected.ndim < 2:
        pytest.skip("too few axes")
    small = chunks if isinstance(chunks, int) else max(chunks) if isinstance(chunks, tuple) else 99
    every_axis = isinstance(chunks, int) or len(chunks) == sample.expected.ndim
    if 0 < small < 9 and every_axis and max(sample.expected.shape) > 256:
        pytest.skip("millions of chunks, on which dask alone spends seconds")
    data = sample.read(lazy=True, chunks=chunks)["data"]
    if isinstance(chunks, int):
        size = [min(n, chunks) if chunks > 0 else n for n in data.shape]
        assert list(data.chunksize) == size
    elif isinstance(chunks, tuple):
        assert data.chunksize[: len(chunks)] == tuple(
            min(a, b) for a, b in zip(chunks, data.shape, strict=False)
        )
    elif isinstance(chunks, dict):
        (axis, size), *_ = chunks.items()
        assert data.chunksize[axis] == min(size, data.shape[axis])
    if data.npartitions > 200:  # single pixels
        data = data[..., :2, :2] if sample.sig_dims == 2 else data[..., :2]
        np.testing.assert_array_equal(data, _corner(sample, sample.expected))
        return
    np.testing.assert_array_equal(data, sample.expected)


def _corner(sample: Sample, data: np.ndarray) -> np.ndarray:
    return data[..., :2, :2] if sample.sig_dims == 2 else data[..., :2]


@pytest.mark.per_kind
def test_automatic_chunks_keep_frames_whole(file_sample: Sample) -> None:
    data = file_sample.read(lazy=True)["data"]
    assert data.chunksize[data.ndim - file_sample.sig_dims :] == file_sample.frame_shape


@pytest.mark.per_kind
@pytest.mark.parametrize("lazy", [False, True])
def test_roi(sample: Sample, lazy: bool) -> None:
    nav = sample.nav_shape
    if not nav:
        pytest.skip("a single frame has no region of interest")
    rng = np.random.default_rng(1)
    mask = rng.random(nav) < 0.4
    mask.flat[-1] = True
    chosen = sample.expected[mask]
    index = np.nonzero(mask)
    flat = np.flatnonzero(mask)
    for roi, wanted in (
        (mask, chosen),
        (index, chosen),
        (flat, chosen),
        (flat[::-1].tolist(), chosen[::-1]),  # any order, any number of times
        (np.array([0, 0, -1]), sample.expected.reshape(-1, *sample.frame_shape)[[0, 0, -1]]),
    ):
        signal = sample.read(lazy=lazy, roi=roi)
        np.testing.assert_array_equal(signal["data"], wanted)
        assert [a["navigate"] for a in signal["axes"]] == [True] + [False] * sample.sig_dims
        positions = signal["original_metadata"]["rsciio_tem"]["roi_flat_index"]
        np.testing.assert_array_equal(
            sample.expected.reshape(-1, *sample.frame_shape)[positions], wanted
        )


def test_roi_that_does_not_fit(ten: Sample) -> None:
    for roi in (np.ones(9, bool), [10], [-11], np.zeros(10, bool), np.ones((2, 5), bool)):
        with pytest.raises(ValueError, match="roi"):
            ten.read(roi=roi)
    with pytest.raises(ValueError, match=r"roi has indices outside 0\.\.9 along axis 0"):
        ten.read(roi=(np.array([10]),))
    with pytest.raises(ValueError, match=r"a tuple of 3, .* the scan has 1\..*roi=\[0, 5, 7\]"):
        ten.read(roi=(0, 5, 7))
    np.testing.assert_array_equal(ten.read(roi=(-1,))["data"], ten.expected[[9]])


SLICES = [
    (Ellipsis, slice(1, 4)),
    (Ellipsis, slice(None, None, -1)),
    (Ellipsis, slice(0, 5, 2)),
    (Ellipsis, -1),
    (0,),
    (-1,),
    (slice(None, None, 2),),
    (slice(None, None, -1),),
    ([0],),
]


@pytest.mark.per_kind
def test_slices_of_lazy_data(sample: Sample) -> None:
    data = sample.read(lazy=True)["data"]
    for key in SLICES:
        np.testing.assert_array_equal(data[key], sample.expected[key], err_msg=str(key))
    if data.ndim > 2:
        for key in [
            (0, 0),
            (slice(None), 0),
            (slice(None), slice(None, None, -2)),
            (slice(0, 2), slice(1, 2), slice(0, 1)),
            (slice(0, 0),),
            (Ellipsis, slice(0, 1), slice(2, 5)),
            (Ellipsis, slice(None, None, -3), slice(6, 1, -2)),
        ]:
            np.testing.assert_array_equal(data[key], sample.expected[key], err_msg=str(key))


@pytest.mark.per_kind
@pytest.mark.parametrize("flip_y", [False, True])
def test_flip(file_sample: Sample, flip_y: bool) -> None:
    frames = frames_of(file_sample)
    if not isinstance(frames, FrameTable) and getattr(frames, "flip_y", None) is None:
        with pytest.raises(Unsupported, match="flip"):
            file_sample.read_quietly(flip_y=flip_y)
        return
    stored = frames.pixels.flip_y if isinstance(frames, FrameTable) else frames.flip_y
    flipped = file_sample.options.get("flip_y", stored)
    axis = file_sample.expected.ndim - file_sample.sig_dims
    wanted = np.flip(file_sample.expected, axis) if flipped != flip_y else file_sample.expected
    signal = file_sample.read(flip_y=flip_y)
    np.testing.assert_array_equal(signal["data"], wanted)
    assert signal["original_metadata"]["rsciio_tem"]["orientation"] == {"flip_y": flip_y}


def test_sig_shape(first_sample: Sample) -> None:
    rows, columns = first_sample.frame_shape
    wanted = (rows // 2, columns * 2)
    if isinstance(frames_of(first_sample), Mosaic):
        with pytest.raises(Unsupported, match="reshaped"):
            first_sample.read_quietly(sig_shape=wanted)
        return
    data = first_sample.read_quietly(sig_shape=wanted)["data"]
    if first_sample.format == "raw":  # there it is what the file is told to hold
        return
    per_frame = first_sample.expected.reshape(-1, rows * columns)
    if first_sample.format in ("mib", "ser"):  # reshaped as stored, then flipped
        stored = first_sample.expected[..., ::-1, :].reshape(-1, *wanted)
        np.testing.assert_array_equal(data.reshape(-1, *wanted), stored[:, ::-1])
    else:
        np.testing.assert_array_equal(data.reshape(per_frame.shape), per_frame)
    with pytest.raises(ValueError, match=r"sig_shape|cannot be cut"):
        first_sample.read_quietly(sig_shape=(rows * 1000, columns + 1))


# -- casts and blanks ----------------------------------------------------------------------------


def test_cast(ten: Sample) -> None:
    if ten.format == "raw":
        pytest.skip("dtype= is the stored type there")
    if ten.expected.dtype.kind != "u":
        pytest.skip("for counts")
    for dtype in ("uint32", "float32", "float64", "complex64", np.int64):
        wanted = ten.expected.astype(dtype)
        for lazy in (False, True):
            data = ten.read(dtype=dtype, lazy=lazy)["data"]
            assert data.dtype == dtype
            np.testing.assert_array_equal(data, wanted)
    assert ten.expected.max() > 127
    for lazy in (False, True):
        with pytest.raises(FormatError, match="do not fit into int8"):
            np.asarray(ten.read(dtype="int8", lazy=lazy)["data"])
    with pytest.raises(FormatError, match="do not fit into bool"):
        ten.read(dtype=bool)


def test_cast_that_loses_fractions(tmp_path: Path) -> None:
    path = npy_writer.write_npy(tmp_path / "a.npy", np.ones((2, 3, 4)))
    with pytest.raises(TypeError, match="fractions"):
        rsciio_tem.load(path, dtype="int32")
    path = npy_writer.write_npy(tmp_path / "b.npy", np.full((2, 3, 4), 1e300))
    with pytest.raises(FormatError, match="do not fit into float32"):
        rsciio_tem.load(path, dtype="float32")
    path = npy_writer.write_npy(tmp_path / "c.npy", np.full((2, 3, 4), np.inf))
    assert np.isinf(rsciio_tem.load(path, dtype="float32")[0]["data"]).all()
    path = npy_writer.write_npy(tmp_path / "d.npy", np.ones((2, 3, 4), complex))
    with pytest.raises(TypeError, match="cannot hold"):
        rsciio_tem.load(path, dtype="float32")


@pytest.mark.parametrize("lazy", [False, True])
def test_fill_value(ten: Sample, lazy: bool) -> None:
    if ten.expected.dtype.kind != "u":
        pytest.skip("for counts")
    options = {"nav_shape": (3, 4), "lazy": lazy}
    frames = ten.expected
    blank = np.zeros((2, *ten.frame_shape), frames.dtype)

    def filled(**more: Any) -> Any:
        with pytest.warns(RecordingWarning, match="2 of 12 scan positions"):
            data = ten.read(**options, **more)["data"]
        return np.asarray(data).reshape(12, *ten.frame_shape)

    np.testing.assert_array_equal(filled(), np.concatenate([frames, blank]))
    np.testing.assert_array_equal(filled(fill_value=9), np.concatenate([frames, blank + 9]))
    with pytest.warns(RecordingWarning), pytest.raises(TypeError, match="fill_value=nan"):
        ten.read(**options, fill_value=float("nan"))
    for value in (-1, 1.5, 1e10):
        with pytest.warns(RecordingWarning), pytest.raises(ValueError, match="fill_value="):
            ten.read(**options, fill_value=value)
    if ten.format == "raw":
        return
    data = filled(fill_value=np.nan, dtype="float32")
    assert data.dtype == "float32"
    np.testing.assert_array_equal(data[:10], frames)
    assert np.isnan(data[10:]).all()
    assert (filled(fill_value=-1, dtype="int32")[10:] == -1).all()


# -- the dictionary ------------------------------------------------------------------------------


@pytest.mark.per_format
def test_reads_do_not_share_metadata(sample: Sample) -> None:
    first, second = sample.read(), sample.read()
    first["metadata"]["General"]["title"] = "changed"
    first["axes"][0]["name"] = "changed"
    assert second["metadata"]["General"].get("title") != "changed"
    assert second["axes"][0]["name"] != "changed"


# -- paths ---------------------------------------------------------------------------------------


def test_str_and_path(first_sample: Sample) -> None:
    path = first_sample.path
    assert path is not None
    reader = first_sample.module.file_reader
    for name in (str(path), path, os.path.relpath(path)):
        for lazy in (False, True):
            with warnings.catch_warnings():
                if first_sample.warns:
                    warnings.simplefilter("ignore", RecordingWarning)
                (signal,) = reader(name, lazy=lazy, **first_sample.options)
            np.testing.assert_array_equal(signal["data"], first_sample.expected)


@pytest.mark.per_format
@pytest.mark.parametrize(
    "folder", ["with spaces [1]", "Proben_μm_ä", unicodedata.normalize("NFD", "é"), "a{0}%s*"]
)
def test_odd_folder(file_sample: Sample, tmp_path: Path, folder: str) -> None:
    if sys.platform == "win32" and "*" in folder:
        pytest.skip("no such names on Windows")
    moved = file_sample.moved(tmp_path / folder)
    np.testing.assert_array_equal(moved.read(lazy=True)["data"], file_sample.expected)


def names_others(sample: Sample) -> bool:
    """Whether the file that is opened names those with the pixels."""
    return sample.format == "raw_csr" or sample.variant.startswith("yml")


def test_odd_name(first_sample: Sample, tmp_path: Path) -> None:
    assert first_sample.path is not None
    only = first_sample.path.name if names_others(first_sample) else ""
    for i, prefix in enumerate(("a b ", "[0-9]", "µ²", "x.y.", "(")):
        moved = first_sample.moved(
            tmp_path / str(i), lambda name, p=prefix: p + name if only in ("", name) else name
        )
        np.testing.assert_array_equal(moved.read()["data"], first_sample.expected)


@pytest.mark.per_kind
def test_upper_case_suffix(file_sample: Sample, tmp_path: Path) -> None:
    assert file_sample.path is not None
    only = file_sample.path.name if names_others(file_sample) else ""

    def upper(name: str) -> str:
        if only not in ("", name):
            return name
        return name[: name.rindex(".")] + name[name.rindex(".") :].upper()

    if file_sample.options == {} and "side file" in file_sample.variant:
        return  # names its data file
    moved = file_sample.moved(tmp_path / "upper", upper)
    np.testing.assert_array_equal(moved.read()["data"], file_sample.expected)


# -- bad files -----------------------------------------------------------------------------------


def refused(sample: Sample, match: str | None = None) -> None:
    """Opening raises a FormatError that names a file of the recording."""
    assert sample.path is not None
    for lazy in (False, True):
        with pytest.raises(FormatError, match=match) as caught:
            np.asarray(sample.read_quietly(lazy=lazy)["data"])
        named = Path(caught.value.path)
        assert named.parent == sample.path.parent
        assert named.name in os.listdir(named.parent)
        assert caught.value.problem
        copy = pickle.loads(pickle.dumps(caught.value))
        assert type(copy) is type(caught.value)
        assert str(copy) == str(caught.value)


def data_file(sample: Sample) -> Path:
    """The file that holds the pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recording = sample.parse()
        if sample.format == "dectris":  # the master need not hold pixels
            return Path(next((f for f in recording.files if "_data_0" in f), recording.path))
        if sample.format in ("imagefiles", "rawimage"):  # the first is the list
            return Path(recording.files[1])
        if sample.format in ("raw_csr", "framecache"):
            return Path(recording.files[-1])
        return Path(recording.path)


@pytest.mark.per_format
def test_empty_file(file_sample: Sample, tmp_path: Path) -> None:
    moved = file_sample.moved(tmp_path / "empty")
    data_file(moved).write_bytes(b"")
    refused(moved)


@pytest.mark.per_kind
def test_start_of_a_file(file_sample: Sample, tmp_path: Path) -> None:
    """What is shorter than one frame is an error, wherever it ends."""
    frames = frames_of(file_sample)
    moved = file_sample.moved(tmp_path / "short")
    path = data_file(moved)
    content = path.read_bytes()
    one = len(content)
    if isinstance(frames, FrameTable) and file_sample.format != "npy":
        one = int(frames.runs["start"].min()) + frames.pixels.nbytes
    elif isinstance(frames, Mosaic):
        one = frame_bytes(frames.parts[0])
    elif isinstance(frames, Chain) and isinstance(frames.parts[0], FrameTable):
        one = min(int(part.runs["start"].min()) + part.pixels.nbytes for part in frames.parts)
    elif isinstance(frames, PixelMajor):
        one = frames.start + frames.count * int(np.prod(frames.frame_shape)) * frames.dtype.itemsize
    elif file_sample.format == "tpx3":  # events have no frames: a chunk with one packet is enough
        one = 16
    for size in (1, 3, 10, 40, 100, 300, one // 2, one - 1):
        if size < one:
            path.write_bytes(content[:size])
            refused(moved)


@pytest.mark.parametrize(
    "content",
    [
        b"\0" * 5000,
        b"\xff" * 5000,
        b"\x89PNG\r\n\x1a\n" + b"\0" * 5000,
        b"hello, world\n" * 400,
        b"MQ1,",
        b"\x93NUMPY",
        b"PK\x03\x04" + b"\0" * 500,
    ],
    ids=["zeros", "ones", "png", "text", "mib start", "npy start", "zip start"],
)
def test_foreign_file(first_sample: Sample, tmp_path: Path, content: bytes) -> None:
    moved = first_sample.moved(tmp_path / "foreign")
    assert moved.path is not None
    moved.path.write_bytes(content)
    if first_sample.format == "raw":  # takes any bytes
        with pytest.raises(FormatError, match="data"):
            moved.read_quietly(sig_shape=(1000, 1000))
        return
    refused(moved)


def test_missing_file(first_sample: Sample, tmp_path: Path) -> None:
    for path in (tmp_path / "none.mib", tmp_path / "no folder" / "a", tmp_path):
        with pytest.raises(FormatError) as caught:
            first_sample.module.file_reader(path, **first_sample.options)
        assert str(path) in str(caught.value)
        with pytest.raises(FormatError):
            rsciio_tem.detect(path)


def test_cut_anywhere(first_sample: Sample, tmp_path: Path) -> None:
    """A shortened file gives its whole frames, in full, or an error; never anything else."""
    if first_sample.format == "fourdcamera":
        pytest.skip("other modules have the rest of the frames: its own tests cut files")
    if first_sample.format == "tpx3":
        pytest.skip("hits come a little out of order: its own tests cut files")
    moved = first_sample.moved(tmp_path / "cut")
    assert moved.path is not None
    content = moved.path.read_bytes()
    flat = first_sample.expected.reshape(-1, *first_sample.frame_shape)
    least, frames = len(content) // len(flat), frames_of(first_sample)
    if isinstance(frames, FrameTable):
        least = max(least, int(frames.runs["start"][0]) + frames.pixels.nbytes)
    for size in np.random.default_rng(3).integers(0, len(content), 20):
        moved.path.write_bytes(content[:size])
        with contextlib.ExitStack() as stack:
            whole = (
                "npy",
                "hdf5",
                "dectris",
                "dm",
                "eigerstream",
                "raw_csr",
                "framecache",
                "stempy",
                "tiff",
            )
            if size < least or first_sample.format in whole:
                stack.enter_context(pytest.raises(FormatError, match=re.escape(str(moved.path))))
            data = None
            data = moved.read_quietly(nav_shape=None)["data"]
        if data is None:
            continue
        data = data.reshape(-1, *first_sample.frame_shape)
        assert 0 < len(data) <= size * len(flat) // len(content)
        np.testing.assert_array_equal(data, flat[: len(data)])


def lying_mib(old: bytes, new: bytes) -> bytes:
    """Write a header that is wrong, and pixels enough."""
    return mib_writer.header().replace(old, new) + b"\0" * 2**18


def lying_seq(**fields: int) -> bytes:
    """Write a sequence with a header that is wrong, and bytes enough."""
    told = {"width": 16, "height": 8, "bit_depth": 16, "bit_depth_real": 12, "image_size": 256}
    return seq_writer.header(**{**told, "stride": 264, "allocated": 10, **fields}) + b"\1" * 2**15


def lying_ser(
    *, pixels: tuple[int, int] = (4, 4), code: int = 2, at: int = 0, **told: Any
) -> bytes:
    """Write a series whose header, table or element is wrong, and bytes enough."""
    head = ser_writer.ser_header([ser_writer.Dim(2)], **{"total": 2, **told})
    first = len(head) + 32 + at
    table = np.array([first, first + 90, first + 82, first + 172], "<u8").tobytes()
    one = b"\0" * 40 + np.array([code], "<u2").tobytes() + np.array(pixels, "<u4").tobytes()
    return head + table + 2 * (one + b"\1" * 40) + b"\0" * 5000


LIES = {
    "ser": [
        lying_ser(valid=0),
        lying_ser(valid=3),
        lying_ser(total=2**32 - 1, valid=2**32 - 1),
        lying_ser(total=0, valid=0),
        lying_ser(dimensions=0xFFFFFFFF),
        lying_ser(dimensions=7),
        lying_ser(table_at=0),
        lying_ser(table_at=2**40),
        lying_ser(table_at=2**64 - 1),
        lying_ser(kind=0x4121),
        lying_ser(magic=b"MM\x01\x97"),
        lying_ser(code=0),
        lying_ser(code=11),
        lying_ser(pixels=(0, 4)),
        lying_ser(pixels=(2**32 - 1, 2**32 - 1)),
        lying_ser(pixels=(30, 30)),
        lying_ser(at=2**62),
        lying_ser(at=-60),
        lying_ser()[:40],
        lying_ser()[:100],
        lying_ser()[:150],
        ser_writer.MAGIC,
    ],
    "seq": [
        lying_seq(width=0),
        lying_seq(height=0),
        lying_seq(width=1 << 31, image_size=1 << 31),
        lying_seq(width=1 << 16, height=1 << 16, image_size=0),
        lying_seq(image_size=255),
        lying_seq(image_size=1 << 31),
        lying_seq(stride=0),
        lying_seq(stride=255),
        lying_seq(bit_depth=0),
        lying_seq(bit_depth=12),
        lying_seq(bit_depth=24),
        lying_seq(bit_depth=64),
        lying_seq(version=0),
        lying_seq(version=-1),
        lying_seq(version=99),
        lying_seq(image_format=0),
        lying_seq(image_format=200),
        lying_seq(image_format=77),
        lying_seq(compression=1),
        lying_seq(compression=255),
        lying_seq()[:1024],
        lying_seq()[:600],
        lying_seq()[:8400],
    ],
    "tvips": [
        tvips_writer.series_header((0, 30)) + b"\0" * 5000,
        tvips_writer.series_header((60000, 60000)) + b"\0" * 5000,
        tvips_writer.series_header((2**31, 2**31)) + b"\0" * 5000,
        tvips_writer.series_header((20, 30), bits=12) + b"\0" * 5000,
        tvips_writer.series_header((20, 30), bits=0) + b"\0" * 5000,
        tvips_writer.series_header((20, 30), version=3) + b"\0" * 5000,
        tvips_writer.series_header((20, 30), frame_header=0) + b"\0" * 5000,
        tvips_writer.series_header((20, 30), frame_header=2**31) + b"\0" * 5000,
        tvips_writer.series_header((20, 30))[:255],
        b"\xff\xff\xff\xff" + tvips_writer.series_header((20, 30))[4:] + b"\0" * 5000,
    ],
    "mrc": [
        mrc_writer.mrc_header((5, 0, 6), 6) + b"\0" * 5000,
        mrc_writer.mrc_header((5, -4, 6), 6) + b"\0" * 5000,
        mrc_writer.mrc_header((-1, 4, 6), 6) + b"\0" * 5000,
        mrc_writer.mrc_header((5, 1 << 23, 1 << 23), 6) + b"\0" * 5000,
        mrc_writer.mrc_header((2**31 - 1, 2**31 - 1, 2**31 - 1), 6) + b"\0" * 5000,
        mrc_writer.mrc_header((5, 4, 6), 5) + b"\0" * 5000,
        mrc_writer.mrc_header((5, 4, 6), 1002) + b"\0" * 5000,
        mrc_writer.mrc_header((5, 4, 6), -1) + b"\0" * 5000,
        mrc_writer.mrc_header((5, 4, 6), 6, extended=5000) + b"\0" * 5000,
        mrc_writer.mrc_header((5, 4, 6), 6, extended=2**31 - 1) + b"\0" * 5000,
        mrc_writer.mrc_header((5, 4, 6), 6, extended=-1) + b"\0" * 5000,
        mrc_writer.mrc_header((5, 4, 6), 6)[:1000],
        mrc_writer.mrc_header((5, 4, 6), 6) + b"\0" * 47,
        b"\x1f\x8b" + b"\0" * 5000,
        b"BZh9" + b"\0" * 5000,
    ],
    "blo": [
        blo_writer.blo_header((3, 4), 0) + b"\0" * 5000,
        blo_writer.blo_header((3, 4), 65535) + b"\0" * 5000,
        blo_writer.blo_header((3, 4), 24, records_at=2**32 - 1) + b"\0" * 5000,
        blo_writer.blo_header((3, 4), 24, image_at=2**32 - 1) + b"\0" * 5000,
        blo_writer.blo_header((3, 4), 24, image_at=3) + b"\0" * 5000,
        blo_writer.blo_header((3, 4), 24, image_at=5000) + b"\0" * 9000,
        blo_writer.blo_header((3, 4), 24)[:239],
    ],
    "mib": [
        mib_writer.header(shape=(4096, 4096)) + b"\0" * 1000,
        mib_writer.header(shape=(9999, 9999), pixel_type="U64"),
        mib_writer.header(shape=(0, 256)) + b"\0" * 70000,
        mib_writer.header(shape=(7, 9), pixel_type="R64") + b"\0" * 2**18,
        mib_writer.header(shape=(256, 1), depth=24, pixel_type="R64") + b"\0" * 2**18,
        lying_mib(b"U16", b"U17"),
        lying_mib(b"U16", b"F32"),
        lying_mib(b"U16", b""),
        lying_mib(b",00384,", b",99999,"),
        lying_mib(b",00384,", b",00003,"),
        lying_mib(b",0256,0256,", b",\xb256,\xb256,"),
        lying_mib(b",0256,0256,", b"," + b"9" * 5000 + b",0256,"),
        b"MPX,9999999999," + b"x" * 100,
        b"MPX,0000000384,HDR" + b"x" * 100,
    ],
    "npy": [
        npy_writer.npy_header("<u2", (10**9, 10**9)) + b"\0" * 100,
        npy_writer.npy_header("<u2", (10**30, 2)) + b"\0" * 100,
        npy_writer.npy_header("<u2", (0, 5)) + b"\0" * 100,
        npy_writer.npy_header("<u2", (-4, -5)) + b"\0" * 100,
        npy_writer.npy_header("<q9", (4, 5)) + b"\0" * 100,
        npy_writer.npy_header("9<u2", (4, 5)) + b"\0" * 500,
        npy_writer.npy_header("|O", (4, 5)) + b"\0" * 400,
        npy_writer.npy_header("<u2", (4, 5), version=(9, 0)) + b"\0" * 100,
        npy_writer.npy_header("<u2", (4, 5)).replace(b"descr", b"dexcr") + b"\0" * 100,
        npy_writer.npy_header("<u2", (4, 5)).replace(b"{", b"(") + b"\0" * 100,
        npy_writer.npy_header("<u2", (1,) * 70) + b"\0" * 100,
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}",
    ],
}


@pytest.mark.parametrize(
    ("format", "lie"), [(name, lie) for name, lies in LIES.items() for lie in lies]
)
def test_header_that_lies(tmp_path: Path, format: str, lie: bytes) -> None:
    path = tmp_path / f"liar.{format}"
    path.write_bytes(lie)
    for lazy in (False, True):
        with pytest.raises(FormatError, match=r"liar\."):
            rsciio_tem.load(path, format, lazy=lazy)
    rsciio_tem.detect(path)


def test_damaged_archive(sample_of: Callable[[Spec], Sample], tmp_path: Path) -> None:
    (spec,) = (s for s in SPECS if str(s) == "npy: npz, deflated")
    moved = sample_of(spec).moved(tmp_path / "zip")
    assert moved.path is not None
    content = bytearray(moved.path.read_bytes())
    at = content.index(b"data.npy") + 8
    content[at : at + 40] = b"\xff" * 40
    moved.path.write_bytes(content)
    refused(moved, "cannot be read|damaged")


@pytest.mark.parametrize(
    "text",
    [
        "params: [",
        "params: {dtype: 2001-99-99}",
        "params: {dtype: !!int ''}",
        "params: {sig_shape: 0x_}",
        "- params",
        "params: 5",
        "params: {dtype: uint99, sig_shape: [4, 4]}",
        "params: {dtype: '(', sig_shape: [4, 4]}",
        "params: {dtype: 'u2,u2', sig_shape: [4, 4]}",
        "params: {dtype: [1], sig_shape: [4, 4]}",
        "params: {dtype: u2, sig_shape: [4, -4]}",
        "params: {dtype: u2, sig_shape: []}",
        "params: {dtype: u2, sig_shape: [true, 4]}",
        "params: {dtype: u2, sig_shape: 4.5}",
        "params: {dtype: u2, sig_shape: [4, 4], offset: -1}",
        "params: {dtype: u2, sig_shape: [4, 4], offset: 1000000000000000000000}",
        "params: {dtype: u2, sig_shape: [4, 4], nav_shape: [0, 4]}",
        "params: {dtype: u2, sig_shape: [4, 4], nav_shape: [-1, -1]}",
        "params: {dtype: '<uint12', sig_shape: [3, 3]}",
        "params: {dtype: u2}",
        "params: {sig_shape: [4, 4]}",
    ],
)
def test_bad_side_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.raw").write_bytes(b"\0" * 640)
    (tmp_path / "data.yaml").write_text(text)
    for name in ("data.raw", "data.yaml"):
        with pytest.raises(FormatError, match=r"data\."):
            rsciio_tem.load(tmp_path / name, "raw")
        rsciio_tem.detect(tmp_path / name)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
@pytest.mark.per_kind
def test_through_a_link(file_sample: Sample, tmp_path: Path) -> None:
    """What lies beside the target belongs to the recording, whatever name the link has."""
    path = file_sample.path
    assert path is not None
    direct = file_sample.parse()
    for name in (path.name, f"linked{path.suffix}"):
        (tmp_path / name).symlink_to(path)
        linked = dataclasses.replace(file_sample, path=tmp_path / name).parse()
        assert len(linked.files) == len(direct.files)
        assert len(linked.frames) == len(direct.frames)
        assert linked.corrections == direct.corrections or linked.corrections is not None
        if name == path.name:  # some tell the shape of the scan
            assert [hint.shape for hint in linked.hints] == [hint.shape for hint in direct.hints]


# -- keywords ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("navigation_shap", "navigation_shape"),
        ("nav_shap", "nav_shape"),
        ("fist_frame", "first_frame"),
        ("sync_ofset", "sync_offset"),
        ("io_bakend", "io_backend"),
        ("scan_size", "nav_shape"),
        ("detector_size", "sig_shape"),
        ("zzz", "the keywords are"),
    ],
)
def test_unknown_keyword(first_sample: Sample, keyword: str, hint: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword '{keyword}'.*{hint}"):
        first_sample.read_quietly(**{keyword: 1})


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("missing", "ignore"),
        ("scan", "guess"),
        ("flyback", "remove"),
        ("navigation_shape", (2.5, 4)),
        ("navigation_shape", "auto"),
        ("first_frame", 1.5),
        ("last_frame", "7"),
        ("mmap_mode", "w+"),
    ],
)
def test_bad_value(ten: Sample, keyword: str, value: Any) -> None:
    if ten.path is None and keyword == "mmap_mode":
        pytest.skip("no file to map")
    with pytest.raises((TypeError, ValueError), match=keyword):
        ten.read_quietly(**{keyword: value})


def test_distributed_keyword(first_sample: Sample) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = first_sample.read_quietly(lazy=True, distributed=True)["data"]
    np.testing.assert_array_equal(data, first_sample.expected)


# -- pickling, changing files --------------------------------------------------------------------


@pytest.mark.per_kind
def test_pickle(file_sample: Sample) -> None:
    frames = frames_of(file_sample)
    text = pickle.dumps(frames)
    assert len(text) < 5000
    again = pickle.loads(text)
    assert (len(again), again.frame_shape, again.dtype) == (
        len(frames),
        frames.frame_shape,
        frames.dtype,
    )
    one, other = (np.empty((len(f), *f.frame_shape), f.dtype) for f in (frames, again))
    frames.load(one)
    again.load(other)
    np.testing.assert_array_equal(one, other)


@pytest.mark.per_kind
def test_pickle_of_graph(sample: Sample) -> None:
    data = sample.read(lazy=True)["data"]
    text = cloudpickle.dumps(data)
    if sample.path is not None:
        assert len(text) < 20_000
    np.testing.assert_array_equal(pickle.loads(text), sample.expected)


@pytest.mark.per_kind
@pytest.mark.parametrize("computed_before", [False, True])
def test_file_that_changes(file_sample: Sample, tmp_path: Path, computed_before: bool) -> None:
    moved = file_sample.moved(tmp_path / "changing")
    path = data_file(moved)
    data = moved.read(lazy=True)["data"]
    if computed_before:
        data.compute()
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
    with pytest.raises(FormatError, match="changed since it was opened"):
        data.compute()


@pytest.mark.per_kind
def test_file_that_shrinks(file_sample: Sample, tmp_path: Path) -> None:
    moved = file_sample.moved(tmp_path / "shrinking")
    path = data_file(moved)
    data = moved.read(lazy=True)["data"]
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(FormatError, match=r"changed|ends|early"):
        data.compute()


@pytest.mark.per_kind
def test_file_that_vanishes(file_sample: Sample, tmp_path: Path) -> None:
    moved = file_sample.moved(tmp_path / "vanishing")
    data = moved.read(lazy=True)["data"]
    data_file(moved).unlink()
    backends.close_all()
    with pytest.raises(FormatError, match=path_pattern(moved)):
        data.compute()


def path_pattern(sample: Sample) -> str:
    assert sample.path is not None
    return sample.path.parent.name


# -- cost ----------------------------------------------------------------------------------------


@on_linux
@pytest.mark.per_kind
def test_parse_reads_little(file_sample: Sample) -> None:
    file_sample.parse()  # imports
    before = read_bytes()
    file_sample.parse()
    assert read_bytes() - before < 1 << 20


def big_file(format: str, path: Path, gib: float) -> tuple[Path, dict[str, Any], int]:
    """Write a file of `gib` GiB that takes no space, its last frame a ramp; 256 x 256 uint16."""
    frame_bytes = 256 * 256 * 2
    count = int(gib * 2**30) // frame_bytes
    ramp = np.arange(256 * 256, dtype=np.uint16).reshape(256, 256)
    if format == "mib":
        mib_writer.write_sparse_mib(path, count, frames={count - 1: ramp}, positions=(1, 2))
        return path, {}, count
    if format == "npy":
        head = npy_writer.npy_header("<u2", (count, 256, 256))
        path.write_bytes(head)
        offset, options = len(head), {}
    else:
        path.touch()
        offset, options = 0, {"dtype": "<u2", "sig_shape": (256, 256)}
    os.truncate(path, offset + count * frame_bytes)
    with path.open("r+b") as file:
        file.seek(offset + (count - 1) * frame_bytes)
        file.write(ramp.tobytes())
    return path, options, count


@pytest.mark.parametrize("format", ["mib", "raw", "npy"])
def test_file_of_more_than_4_gib(tmp_path: Path, format: str, bytes_read: list[int]) -> None:
    path, options, count = big_file(format, tmp_path / f"big.{format}", 4.5)
    ramp = np.arange(256 * 256, dtype=np.uint16).reshape(256, 256)
    ramp = ramp[::-1] if format == "mib" else ramp
    reader = (
        rsciio_tem.mib.file_reader if format == "mib" else getattr(rsciio_tem, format).file_reader
    )
    if sys.platform == "linux":
        module = getattr(rsciio_tem, format)
        before = read_bytes()
        own = {k: v for k, v in options.items()}
        module.parse(path, **own)
        assert read_bytes() - before < 1 << 20
    (signal,) = reader(path, lazy=True, navigation_shape=(100, count // 100), **options)
    assert signal["data"].shape == (count // 100, 100, 256, 256)
    (signal,) = reader(path, lazy=True, first_frame=count - 3, navigation_shape=(3,), **options)
    bytes_read.clear()
    np.testing.assert_array_equal(signal["data"][-1], ramp)
    assert not signal["data"][:2].any()
    (mapped,) = reader(path, mmap_mode="r", navigation_shape=(count,), **options)
    np.testing.assert_array_equal(mapped["data"][count - 1], ramp)
    (roi,) = reader(path, navigation_shape=(count,), roi=[count - 1, 0], **options)
    np.testing.assert_array_equal(roi["data"][0], ramp)
    assert not roi["data"][1].any()
    assert sum(bytes_read) < 10 * 256 * 256 * 2


@pytest.mark.per_kind
def test_slicing_reads_only_what_is_needed(file_sample: Sample, bytes_read: list[int]) -> None:
    frames = frames_of(file_sample)
    nbytes = frame_bytes(frames)
    if not nbytes or not file_sample.nav_shape:
        pytest.skip("not read frame by frame")
    data = file_sample.read(lazy=True)["data"]
    bytes_read.clear()
    data[(0,) * len(file_sample.nav_shape)].compute()
    assert sum(bytes_read) <= nbytes
    bytes_read.clear()
    data[(-1,) * len(file_sample.nav_shape)].compute()
    assert sum(bytes_read) <= nbytes
    if not isinstance(frames, FrameTable):
        return
    rows = frames.pixels.shape[0]
    if frames.pixels._row_bytes and rows >= 4 and not frames.pixels.tiles:
        bytes_read.clear()
        (one,) = [(0,) * len(file_sample.nav_shape)]
        data[(*one, slice(0, rows // 4))].compute()
        assert sum(bytes_read) <= frames.pixels.nbytes // 4


@on_linux
@pytest.mark.parametrize("format", ["mib", "raw"])
def test_memory_of_lazy_reduction(tmp_path: Path, format: str) -> None:
    path, options, count = big_file(format, tmp_path / f"big.{format}", 1)
    code = f"""
    import resource, sys, threading
    import numpy as np
    import dask
    import rsciio_tem

    dask.config.set(scheduler="threads", num_workers=2)
    (signal,) = rsciio_tem.load({str(path)!r}, {format!r}, lazy=True,
                                navigation_shape=(64, {count // 64}), **{options!r})
    data = signal["data"]
    data[:1, :1].max().compute()  # compile kernels, import everything
    def peak():
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    before = peak()
    top = data.max(axis=(0, 1)).compute()
    assert top.shape == (256, 256)
    print(int(np.prod(data.chunksize)) * data.dtype.itemsize, (peak() - before) * 1024)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    chunk, grown = map(int, done.stdout.split())
    assert 8 << 20 <= chunk <= 256 << 20
    workers, constant = 2, 64 << 20
    assert grown < 2 * chunk * workers + constant


def test_memory_guard(ten: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsciio_tem.storage.machine.free_memory", lambda: 100)
    assert is_dask(ten.read(lazy=True)["data"])
    with pytest.raises(NotEnoughMemory, match=r"lazy=True") as caught:
        ten.read(lazy=False)
    if ten.path is not None:
        assert f"hs.load({str(ten.path)!r}, lazy=True)" in str(caught.value)
    monkeypatch.setattr("rsciio_tem.storage.machine.free_memory", lambda: None)
    np.testing.assert_array_equal(ten.read(lazy=False)["data"], ten.expected)


# -- HyperSpy ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def hs() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("hyperspy.api")


def file_format_of(sample: Sample) -> dict[str, str]:
    """What hs.load must be told of a sample: of these nothing shows that they are ours."""
    named = sample.format in ("raw", "tiff")
    return {"file_format": f"TEM-{sample.format}"} if named else {}


@pytest.mark.per_kind
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("lazy", [False, True])
def test_hyperspy(file_sample: Sample, hs: Any, lazy: bool) -> None:
    known = file_format_of(file_sample)
    signal = hs.load(file_sample.path, lazy=lazy, **known, **file_sample.options)
    assert signal._lazy == lazy
    assert signal.data.dtype == file_sample.expected.dtype
    if lazy:
        signal.compute(show_progressbar=False)
    np.testing.assert_array_equal(signal.data, file_sample.expected)
    assert signal.axes_manager.navigation_shape == file_sample.nav_shape[::-1]
    assert signal.axes_manager.signal_shape == file_sample.frame_shape[::-1]
    assert signal.metadata.General.FileIO[0].as_dictionary()["io_plugin"].startswith("rsciio_tem")


@pytest.mark.filterwarnings("ignore")
def test_hyperspy_slices_without_loading(
    first_sample: Sample, hs: Any, bytes_read: list[int]
) -> None:
    known = file_format_of(first_sample)
    signal = hs.load(first_sample.path, lazy=True, **known, **first_sample.options)
    nbytes = frame_bytes(frames_of(first_sample))
    bytes_read.clear()
    one = signal.inav[1, 2]
    one.compute(show_progressbar=False)
    np.testing.assert_array_equal(one.data, first_sample.expected[2, 1])
    if first_sample.format == "framecache":
        nbytes = 3000  # three arrays with their headers
    if first_sample.format == "stempy":
        nbytes = 4096 + 3 * 16  # the heap with the list; references to it
    assert sum(bytes_read) <= (nbytes or one.data.nbytes)  # a compressed chunk is a frame
