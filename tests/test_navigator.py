# SPDX-License-Identifier: GPL-3.0-or-later
"""Navigators of lazy signals: what they show, what they cost, and that HyperSpy takes them."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from samples import Sample
from writers import blo as blo_writer
from writers import mib as mib_writer

import rsciio_tem
from rsciio_tem.errors import FormatError, RecordingWarning
from rsciio_tem.frames.arrays import ArrayFrames, PixelMajor
from rsciio_tem.frames.combined import Mosaic
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.reading import navigator
from rsciio_tem.reading.from_array import recording_of
from rsciio_tem.reading.lazy import LazyFrames
from rsciio_tem.reading.lazy_chunks import ChunkSource, LazyChunk
from rsciio_tem.reading.read import read
from rsciio_tem.recording.recording import StoredImage
from rsciio_tem.storage import backends, machine

Array = np.ndarray[Any, Any]


def image_of(signal: dict[str, Any]) -> dict[str, Any] | None:
    """Return the navigator of a signal as a reader hands it over."""
    image: dict[str, Any] | None = signal["metadata"].get("_HyperSpy", {}).get("_sig_navigator")
    return image


def summed(data: Array, nav_shape: tuple[int, ...]) -> Array:
    """Sum the finite pixels of each frame, in a type in which nothing overflows."""
    flat = data.reshape(*nav_shape, -1)
    if flat.dtype.kind in "iu" and flat.dtype.itemsize == 8:
        return flat.sum(axis=-1, dtype="f8")
    if flat.dtype.kind in "bui":
        return flat.sum(axis=-1, dtype="i8" if flat.dtype.kind == "i" else "u8")
    wide = np.where(np.isfinite(flat), flat, 0).astype("c16" if flat.dtype.kind == "c" else "f8")
    return np.abs(wide.sum(axis=-1)) if flat.dtype.kind == "c" else wide.sum(axis=-1)


def alike(found: Array, expected: Array) -> None:
    if expected.dtype.kind in "bui":
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-5)


# -- every format --------------------------------------------------------------------------------


@pytest.mark.per_kind
@pytest.mark.parametrize("kind", ["full", "fast"])
def test_sum_of_each_frame(sample: Sample, kind: str) -> None:
    """Recordings that are read in no time are summed in full by "fast", too."""
    signal = sample.read(lazy=True, navigator=kind)
    image = image_of(signal)
    if not sample.nav_shape or sample.expected.dtype.kind == "V":
        assert image is None
        return
    assert image is not None
    data = image["data"]
    assert data.shape == sample.nav_shape
    alike(data, summed(sample.expected, sample.nav_shape))
    nav_axes = [axis for axis in signal["axes"] if axis["navigate"]]
    assert [{**axis, "navigate": True} for axis in image["axes"]] == nav_axes
    how = signal["original_metadata"]["rsciio_tem"]["navigator"]
    assert how == {"kind": kind, "positions": data.size}
    assert image["original_metadata"]["rsciio_tem"]["navigator"] == how
    assert image["metadata"]["General"]["title"] == "Navigator"
    assert pickle.loads(pickle.dumps(image))["data"].shape == data.shape


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small recordings are treated as if they were too large to be summed."""
    monkeypatch.setattr(navigator, "_sums_in_time", lambda source: None)
    monkeypatch.setattr(navigator, "_TIME", 60)


@pytest.mark.per_kind
@pytest.mark.usefixtures("hurried")
def test_estimate(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has values of the scan at some positions, and no more is loaded than allowed."""
    shape, count = sample.nav_shape, int(np.prod(sample.nav_shape))
    if not shape or sample.expected.dtype.kind == "V":
        return
    frame_bytes = sample.expected[(0,) * len(shape)].nbytes
    monkeypatch.setattr(navigator, "_MOST", frame_bytes * max(1, count // 3))
    monkeypatch.setattr(navigator, "_MOST_BY_PIXEL", 1)
    loaded: list[int] = []
    load = navigator._Finite.load

    def counting(frames: Any, out: Array, region: Any = None) -> None:
        loaded.append(out.nbytes)
        load(frames, out, region)

    monkeypatch.setattr(navigator._Finite, "load", counting)
    signal = sample.read(lazy=True, navigator="fast")
    image = image_of(signal)
    assert image is not None
    assert image["data"].shape == shape
    assert np.isfinite(image["data"]).all()
    how = signal["original_metadata"]["rsciio_tem"]["navigator"]
    if "pixels" in how:
        assert sum(loaded) == count * how["pixels"] * sample.expected.itemsize
        assert how["pixels"] < np.prod(sample.frame_shape)
        return
    itemsize = sample.expected.itemsize
    assert sum(loaded) <= navigator._MOST + navigator._SAMPLE * frame_bytes + itemsize
    sums = summed(sample.expected, shape)
    nearest = [
        np.minimum((np.arange(n) + k // 2) // k, (n - 1) // k) * k
        for n, k in zip(shape, how["steps"], strict=True)
    ]
    if "rows" not in how:
        alike(image["data"], sums[np.ix_(*nearest)])
        assert how["positions"] == np.prod([len(set(n)) for n in nearest])
    if how["positions"] < count:
        assert f"{how['positions']} of {count} positions" in image["metadata"]["General"]["title"]


@pytest.mark.parametrize("lazy", [False, True])
def test_none(first_sample: Sample, lazy: bool) -> None:
    for wanted in (None, False):
        signal = first_sample.read(lazy=lazy, navigator=wanted)
        assert wanted is None or image_of(signal) is None
        np.testing.assert_array_equal(signal["data"], first_sample.expected)


@pytest.mark.parametrize("wanted", ["slow", True, 3, np.zeros((2, 2))])
def test_unknown(first_sample: Sample, wanted: Any) -> None:
    with pytest.raises(ValueError, match='none of None, False, "fast", "full"'):
        first_sample.read_quietly(lazy=True, navigator=wanted)


# -- what a navigator shows ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "fast"])
@pytest.mark.parametrize(("value", "dtype"), [(1 << 54, "u8"), (2**64 - 1, "u8"), (-7, "i8")])
def test_integers_of_64_bits(tmp_path: Path, kind: str, value: int, dtype: str) -> None:
    """Sums are exact if they fit, floats if they do not: never wrapped around."""
    np.save(tmp_path / "a.npy", np.full((2, 3, 4, 5), value, dtype))
    signal = rsciio_tem.load(tmp_path / "a.npy", lazy=True, navigator=kind)[0]
    image = image_of(signal)
    assert image is not None
    fits = -(2**63) <= 20 * value < 2**64
    assert image["data"].dtype == (dtype if fits else "f8")
    np.testing.assert_array_equal(image["data"], np.full((2, 3), 20 * value, image["data"].dtype))


def source_of(frames: Any, nav_shape: tuple[int, ...]) -> LazyFrames:
    return LazyFrames(frames, nav_shape, frames.dtype, "a")


def in_memory(data: Array, nav_dims: int, **more: Any) -> ArrayFrames:
    return ArrayFrames(
        lambda: data, data.shape[:nav_dims], data.shape[nav_dims:], data.dtype, **more
    )


def test_refinements() -> None:
    steps = list(navigator._refinements((5, 1, 40)))
    assert steps[0] == (8, 1, 64)
    assert steps[-1] == (1, 1, 1)
    for coarse, fine in pairwise(steps):
        assert sorted(c // f for c, f in zip(coarse, fine, strict=True)) == [1, 1, 2]
    assert (1, 1, 8) in steps  # the short axis is complete before the long one
    assert list(navigator._refinements((1,))) == [(1,)]


@pytest.mark.parametrize("most", [1, 7, 64, 10_000])
def test_grid(most: int) -> None:
    """Every position shows the nearest one that was read; none is read twice."""
    rng = np.random.default_rng(3)
    data = rng.integers(0, 1000, (3, 17, 30, 2, 2)).astype("u2")
    read_at: list[int] = []

    class Counted(ArrayFrames):
        def load(self, out: Array, region: Any = None) -> None:
            read_at.extend(self.index.tolist())
            super().load(out, region)

    frames = Counted(lambda: data, data.shape[:3], (2, 2), data.dtype)
    values, steps = navigator._refined(frames, data.shape[:3], (slice(0, 2), slice(0, 2)), most)
    assert len(read_at) == len(set(read_at)) <= most
    assert len(read_at) == np.prod([-(-n // k) for n, k in zip(data.shape, steps, strict=False)])
    sums = data.sum(axis=(3, 4), dtype="u8")
    for position in np.ndindex(values.shape):
        nearest = [
            min(range(0, n, k), key=lambda i: (abs(i - p), -i))
            for n, k, p in zip(values.shape, steps, position, strict=True)
        ]
        assert values[position] == sums[tuple(nearest)]
    if most == 10_000:
        np.testing.assert_array_equal(values, sums)


def test_stops_when_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(0, 1000, 0.1))
    monkeypatch.setattr(navigator.time, "perf_counter", lambda: float(next(clock)))
    frames = in_memory(np.ones((64, 64, 2, 2), "u1"), 2)
    values, steps = navigator._refined(frames, (64, 64), (slice(0, 2), slice(0, 2)), 10**9)
    assert (values == 4).all()
    assert 1 < min(steps) < 64
    assert next(clock) < 2 * navigator._TIME


def test_gives_up_summing_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(navigator, "_STRETCH", 1)
    monkeypatch.setattr(machine, "threads", lambda: 1)
    source = source_of(in_memory(np.ones((8, 2, 2), "u1"), 1), (8,))
    assert navigator._sums_in_time(source).tolist() == [4] * 8  # type: ignore[union-attr]
    clock = iter(np.arange(0, 1000, 0.5))
    monkeypatch.setattr(navigator.time, "perf_counter", lambda: float(next(clock)))
    assert navigator._sums_in_time(source) is None
    assert next(clock) < 2
    monkeypatch.setattr(navigator, "_WHOLE", 31)  # nor is it tried
    assert navigator._sums_in_time(source) is None
    assert next(clock) < 2


@pytest.mark.usefixtures("hurried")
def test_rows_with_the_beam(tmp_path: Path) -> None:
    """Of large frames the rows with most intensity are read; a hot pixel does not attract."""
    rng = np.random.default_rng(1)
    frames = rng.poisson(0.1, (12, 256, 256)).astype("u2")
    frames[:, 180:220, 100:140] += np.arange(12, dtype="u2")[:, np.newaxis, np.newaxis]
    frames[:, 20, 30] = 4095
    path = mib_writer.write_mib(tmp_path / "a.mib", frames, 12)
    (signal,) = rsciio_tem.load(path, lazy=True, nav_shape=(3, 4), navigator="fast")
    image = image_of(signal)
    assert image is not None
    first, last = signal["original_metadata"]["rsciio_tem"]["navigator"]["rows"]
    assert first <= 256 - 220 + 8  # shown upside down
    assert last >= 256 - 180 - 8
    assert last - first == 64
    upright = frames[:, ::-1]
    expected = upright[:, first:last].sum(axis=(1, 2), dtype="u8").reshape(3, 4)
    np.testing.assert_array_equal(image["data"], expected)
    assert image["metadata"]["General"]["title"] == (
        f"Navigator (rows {first} to {last - 1} of each frame)"
    )


def test_rows_of_even_frames_are_in_the_middle() -> None:
    frames: Any = in_memory(np.ones((4, 100, 8), "f4"), 1)
    assert navigator._brightest_rows(frames, 1, 10) == slice(45, 55)
    assert navigator._brightest_rows(frames, 16, 32) in (slice(32, 64), slice(48, 80))
    dark: Any = in_memory(np.zeros((4, 100, 8), "u1"), 1)
    assert navigator._brightest_rows(dark, 1, 10) == slice(45, 55)


def test_how_many_rows() -> None:
    assert navigator._band_height((256, 256), 1, 512) == 64
    assert navigator._band_height((4096, 4096), 1, 8192) == 256
    assert navigator._band_height((4096, 4096), 1000, 8192) == 1000
    assert navigator._band_height((64, 64), 1, 128) == 64  # small frames are read whole
    assert navigator._band_height((4096, 4096), 4096, 8192) == 4096
    assert navigator._band_height((100_000,), 1, 8) == 100_000


def table(pixels: Pixels) -> FrameTable:
    return FrameTable((), runs_of([]), pixels)


def test_which_rows_can_be_read_alone() -> None:
    plain = table(Pixels((512, 512), np.dtype("u2")))
    assert navigator._rows_alone(plain) == 1
    assert navigator._rows_alone(table(Pixels((512, 512), np.dtype("u2"), "medipix12"))) == 1
    packed = table(Pixels((512, 512), np.dtype("u2"), "u12"))
    assert navigator._rows_alone(packed) == 512
    whole = Mosaic(
        (plain, plain),
        ((slice(0, 512), slice(0, 512)), (slice(512, 1024), slice(0, 512))),
        (1024, 512),
    )
    assert navigator._rows_alone(whole) == 1
    chunked = in_memory(np.zeros((2, 64, 64), "u1"), 1, chunks=(1, 16, 64))
    assert navigator._rows_alone(chunked) == 16
    assert navigator._rows_alone(in_memory(np.zeros((2, 64, 64), "u1"), 1)) == 64


def test_frames_that_are_too_large_for_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.zeros((4, 100, 8), "u1")
    data[:, :10] = 9
    frames: Any = in_memory(data, 1)
    assert navigator._brightest_rows(frames, 1, 10) == slice(0, 10)
    monkeypatch.setattr(navigator, "_SAMPLE_BYTES", 799)
    assert navigator._brightest_rows(frames, 1, 10) == slice(45, 55)


def test_everything_is_not_tried_where_it_is_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames stored pixel by pixel can only be summed all at once."""
    source = source_of(in_memory(np.ones((8, 2, 2), "u1"), 1, detector_major=True), (8,))
    assert navigator._sums_in_time(source) is not None
    monkeypatch.setattr(navigator, "_WHOLE", 8 * 31)
    assert navigator._sums_in_time(source) is None


@pytest.mark.usefixtures("hurried")
def test_pixel_by_pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of frames spread over the file, some pixels of all are read: nothing else is cheap."""
    data = np.random.default_rng(2).integers(0, 9, (20, 30, 40, 50)).astype("u2")
    path = tmp_path / "a.bin"
    path.write_bytes(data.transpose(2, 3, 0, 1).tobytes())
    frames = PixelMajor(backends.DataFile.of(os.fspath(path)), 0, data.dtype, 600, (40, 50))
    monkeypatch.setattr(navigator, "_MOST_BY_PIXEL", 16 * 600 * 2)
    lengths = []
    original = backends.read
    monkeypatch.setattr(
        backends,
        "read",
        lambda f, at, n, *more: lengths.append(n) or original(f, at, n, *more),
    )
    values, how = navigator._fast(source_of(frames, (20, 30)))
    assert how == {"kind": "fast", "positions": 600, "pixels": 16}
    assert sum(lengths) == navigator._MOST_BY_PIXEL
    expected = data[..., 18:22, 23:27].sum(axis=(2, 3), dtype="u8")
    np.testing.assert_array_equal(values.reshape(20, 30), expected)


def test_middle() -> None:
    assert navigator._middle((40, 50), (1, 1), 16) == (slice(18, 22), slice(23, 27))
    assert navigator._middle((40, 50), (16, 16), 1) == (slice(16, 32), slice(16, 32))
    assert navigator._middle((2, 2), (1, 1), 10**6) == (slice(0, 2), slice(0, 2))
    assert navigator._middle((7,), (1,), 3) == (slice(2, 5),)


# -- what a navigator costs ----------------------------------------------------------------------


def test_huge_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A "fast" navigator reads a bounded number of bytes, and looks at the whole scan."""
    path, frame = tmp_path / "huge.raw", np.zeros((512, 512), "u2")
    with path.open("wb") as file:
        file.truncate(10**6 * frame.nbytes)  # 524 GB, of holes
        for y in (500, 750):  # what lies at a position of any grid
            file.seek((y * 1000 + 500) * frame.nbytes)
            file.write((frame + 3).tobytes())
    monkeypatch.setattr(navigator, "_MOST", 20 << 20)
    lengths: list[int] = []
    original = backends.read

    def counting(file: Any, at: int, nbytes: int, *more: Any) -> Any:
        lengths.append(nbytes)
        return original(file, at, nbytes, *more)

    monkeypatch.setattr(backends, "read", counting)
    (signal,) = rsciio_tem.load(
        path, lazy=True, dtype="u2", sig_shape=(512, 512), nav_shape=(1000, 1000), navigator="fast"
    )
    image = image_of(signal)
    assert image is not None
    assert image["data"].shape == (1000, 1000)
    assert sum(lengths) <= (20 << 20) + navigator._SAMPLE * frame.nbytes
    how = signal["original_metadata"]["rsciio_tem"]["navigator"]
    assert how["positions"] > 256
    assert how["rows"] == [240, 272]


@pytest.mark.per_format
def test_reading_alone_costs_nothing(file_sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_full", "_fast"):
        monkeypatch.setattr(navigator, name, lambda source: pytest.fail("computed"))
    file_sample.read(lazy=True)
    file_sample.read(lazy=True, navigator=False)
    file_sample.read(lazy=False, navigator="full")  # HyperSpy computes that of data in memory


# -- what is no number ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "fast"])
@pytest.mark.parametrize("hurry", [False, True])
def test_not_finite(kind: str, hurry: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if hurry:
        monkeypatch.setattr(navigator, "_sums_in_time", lambda source: None)
    data = np.ones((3, 4, 8, 8), "f4")
    data[0, 1, 2, 3] = np.nan
    data[1, 2, :, 0] = np.inf
    data[2, 2] = np.nan
    (signal,) = rsciio_tem.from_array(data, lazy=True, navigator=kind)
    image = image_of(signal)
    assert image is not None
    expected = np.full((3, 4), 64.0)
    expected[0, 1], expected[1, 2], expected[2, 2] = 63, 56, 0
    np.testing.assert_array_equal(image["data"], expected)


@pytest.mark.parametrize("kind", ["full", "fast"])
def test_blanks(kind: str) -> None:
    data = np.arange(1, 11, dtype="u2")[:, np.newaxis, np.newaxis] * np.ones((2, 3), "u2")
    options: dict[str, Any] = {"lazy": True, "navigator": kind, "nav_shape": (3, 4)}
    for fill, dtype, expected in ((0, None, 0), (7, None, 42), (np.nan, "f4", 0), (3, "f4", 18)):
        with pytest.warns(RecordingWarning, match="missing|blank|fill"):
            (signal,) = rsciio_tem.from_array(
                data, missing="fill", fill_value=fill, dtype=dtype, **options
            )
        image = image_of(signal)
        assert image is not None
        np.testing.assert_array_equal(
            image["data"].reshape(-1), [*(6 * n for n in range(1, 11)), expected, expected]
        )


@pytest.mark.parametrize("kind", ["full", "fast"])
def test_dask_array(kind: str) -> None:
    """Its chunks are computed once each."""
    import dask.array as da

    seen: list[Any] = []

    def block(block_id: Any = None) -> Any:
        seen.append(block_id)
        return np.full((2, 5, 4, 4), np.nan if block_id[0] == 1 else block_id[0], "f4")

    array = da.map_blocks(
        block, chunks=((2, 2, 2), (5,), (4,), (4,)), dtype="f4", meta=np.empty((0,) * 4, "f4")
    )
    (signal,) = rsciio_tem.from_array(array, navigator=kind)
    image = image_of(signal)
    assert image is not None
    np.testing.assert_array_equal(
        image["data"], np.repeat([0, 0, 32], 2)[:, np.newaxis] * np.ones(5)
    )
    assert len(seen) <= 4  # that with NaN twice


def test_unreadable(tmp_path: Path) -> None:
    """A frame that cannot be read is told of when the signal is loaded."""
    path = tmp_path / "a.npy"
    np.save(path, np.full((2, 3, 4, 5), 1000, "u2"))
    with pytest.raises(FormatError, match="do not fit into uint8"):
        rsciio_tem.load(path, lazy=True, navigator="full", dtype="u1")


# -- stored images -------------------------------------------------------------------------------


def test_stored_image(tmp_path: Path) -> None:
    frames = np.arange(6 * 16, dtype="u1").reshape(6, 4, 4)
    stored = np.array([[1, 2, 3], [4, 5, 6]], "u1")
    path = blo_writer.write_blo(tmp_path / "a.blo", frames, (2, 3), image=stored)
    (signal,) = rsciio_tem.load(path, lazy=True)
    image = image_of(signal)
    assert image is not None
    np.testing.assert_array_equal(image["data"], stored)
    assert signal["original_metadata"]["rsciio_tem"]["navigator"] == {
        "kind": "stored",
        "title": "Virtual bright field",
    }
    (signal,) = rsciio_tem.load(path, lazy=True, navigator="full")
    image = image_of(signal)
    assert image is not None
    np.testing.assert_array_equal(image["data"].reshape(-1), frames.sum(axis=(1, 2)))
    kept = signal["metadata"]["_HyperSpy"]["navigators"]["_sig_Virtual bright field"]
    np.testing.assert_array_equal(kept["data"], stored)
    for lazy in (False, True):
        (signal,) = rsciio_tem.load(path, lazy=lazy, navigator=False)
        assert image_of(signal) is None


# -- axes that a reader changes later ------------------------------------------------------------


def test_zarr_axes(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    array = zarr.open(str(tmp_path / "a.zarr"), mode="w", shape=(2, 3, 4, 4), dtype="u2")
    array[:] = np.arange(96).reshape(2, 3, 4, 4)
    names = [{"name": n, "units": "nm", "scale": 0.5, "offset": 1.0} for n in ("y", "x", "v", "u")]
    array.attrs["axes"] = names
    (signal,) = rsciio_tem.load(tmp_path / "a.zarr", lazy=True, navigator="full")
    image = image_of(signal)
    assert image is not None
    assert [(a["name"], a["scale"], a["navigate"]) for a in image["axes"]] == [
        ("y", 0.5, False),
        ("x", 0.5, False),
    ]


def test_npy_axes(tmp_path: Path) -> None:
    data = np.arange(96).reshape(2, 3, 4, 4)
    path = tmp_path / "a.npy"
    np.save(path, data)
    for axes, fits in (((0, 1), True), ((), False), ((2,), False)):
        (signal,) = rsciio_tem.load(path, lazy=True, navigator="full", navigation_axes=axes)
        image = image_of(signal)
        assert (image is not None) == fits
        assert ("navigator" in signal["original_metadata"]["rsciio_tem"]) == fits
        if image is not None:
            np.testing.assert_array_equal(image["data"], data.sum(axis=(2, 3)))


# -- in HyperSpy ---------------------------------------------------------------------------------


@pytest.fixture
def hs() -> Any:
    pytest.importorskip("hyperspy")
    mpl.use("Agg")
    import hyperspy.api
    import matplotlib.pyplot as plt

    hyperspy.api.set_log_level("ERROR")
    yield hyperspy.api
    plt.close("all")


@pytest.fixture
def frames_loaded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of frames that a lazy array is asked for."""
    counts: list[int] = []
    original = LazyFrames.__getitem__

    def counting(source: LazyFrames, key: Any, /) -> Any:
        values = original(source, key)
        counts.append(values.size // int(np.prod(source.frames.frame_shape)))
        return values

    chunk = ChunkSource.__getitem__

    def counting_chunks(source: ChunkSource, key: Any, /) -> Any:
        values = chunk(source, key)
        if isinstance(values, LazyChunk):
            counts.append(len(values.frames))
        return values

    monkeypatch.setattr(LazyFrames, "__getitem__", counting)
    monkeypatch.setattr(ChunkSource, "__getitem__", counting_chunks)
    return counts


@pytest.mark.parametrize("nav_shape", [(24,), (4, 6), (1, 24), (2, 3, 4), (2, 2, 2, 3)], ids=str)
@pytest.mark.parametrize("kind", ["fast", "full"])
def test_plot(
    tmp_path: Path, hs: Any, frames_loaded: list[int], nav_shape: tuple[int, ...], kind: str
) -> None:
    """Plotting reads one frame; so does each step in the scan."""
    frames = np.random.default_rng(4).integers(0, 99, (24, 64, 256)).astype("u2")
    path = mib_writer.write_mib(tmp_path / "a.mib", frames, 12)
    signal = hs.load(path, lazy=True, nav_shape=nav_shape, navigator=kind, chunks={0: 1})
    assert type(signal.navigator).__name__ in ("Signal1D", "Signal2D", "BaseSignal")
    assert not signal.navigator._lazy
    np.testing.assert_array_equal(signal.navigator.data, frames.sum(axis=(1, 2)).reshape(nav_shape))
    assert signal.navigator.axes_manager.signal_shape == nav_shape[::-1]
    chunk = 24 // nav_shape[0]
    assert not frames_loaded
    signal.plot()
    assert frames_loaded
    assert sum(frames_loaded) <= chunk
    signal.axes_manager.indices = tuple(n - 1 for n in nav_shape[::-1])
    assert sum(frames_loaded) <= 2 * chunk


def test_plot_without(tmp_path: Path, hs: Any, frames_loaded: list[int]) -> None:
    """What the tests above would see if HyperSpy took no notice of the navigator."""
    path = mib_writer.write_mib(tmp_path / "a.mib", np.ones((24, 64, 256), "u2"), 12)
    signal = hs.load(path, lazy=True, nav_shape=(4, 6), chunks={0: 1})
    assert signal.navigator is None
    signal.plot()
    assert sum(frames_loaded) >= 24


def test_roi_and_rotation(tmp_path: Path, hs: Any, frames_loaded: list[int]) -> None:
    frames = np.random.default_rng(4).integers(0, 99, (24, 64, 256)).astype("u2")
    path = mib_writer.write_mib(tmp_path / "a.mib", frames, 12)
    signal = hs.load(
        path, lazy=True, nav_shape=(4, 6), roi=[3, 5, 22], navigator="fast", chunks=(1,)
    )
    assert signal.navigator.data.tolist() == frames[[3, 5, 22]].sum(axis=(1, 2)).tolist()
    signal.plot()
    assert sum(frames_loaded) == 1
    single = hs.load(path, lazy=True, first_frame=2, last_frame=3, nav_shape=(), navigator="fast")
    single.plot()


def test_kept_by_hyperspy(tmp_path: Path, hs: Any) -> None:
    """A copy and a saved signal have it; what has other axes has not."""
    pytest.importorskip("h5py")
    frames = np.random.default_rng(4).integers(0, 99, (24, 64, 256)).astype("u2")
    path = mib_writer.write_mib(tmp_path / "a.mib", frames, 12)
    signal = hs.load(path, lazy=True, nav_shape=(4, 6), navigator="full")
    expected = frames.sum(axis=(1, 2)).reshape(4, 6)
    np.testing.assert_array_equal(signal.deepcopy().navigator.data, expected)
    for other in (signal.inav[1:3, 2], signal.isig[:9, :9], signal.T, signal.sum(0)):
        assert other.navigator is None
    signal.save(tmp_path / "a.hspy")
    again = hs.load(tmp_path / "a.hspy", lazy=True)
    np.testing.assert_array_equal(again.navigator.data, expected)
    how = again.original_metadata.rsciio_tem.navigator
    assert (how.kind, how.positions) == ("full", 24)


def test_converted(tmp_path: Path, hs: Any) -> None:
    pytest.importorskip("h5py")
    frames = np.random.default_rng(4).integers(0, 99, (24, 64, 256)).astype("u2")
    path = mib_writer.write_mib(tmp_path / "a.mib", frames, 12)
    options: dict[str, Any] = {"nav_shape": (4, 6), "navigator": "full", "progress": False}
    rsciio_tem.convert(path, tmp_path / "a.hspy", **options)
    signal = hs.load(tmp_path / "a.hspy", lazy=True)
    np.testing.assert_array_equal(signal.navigator.data, frames.sum(axis=(1, 2)).reshape(4, 6))
    for name in ("a.h5", "a.npy", "a.raw", "a.zarr"):
        if name == "a.zarr":
            pytest.importorskip("zarr")
        rsciio_tem.convert(path, tmp_path / name, **options)


def test_stored_images_of_the_scan() -> None:
    """The first that fits frames as they were scanned is the navigator; the others are kept."""
    recording = recording_of(np.arange(6 * 16, dtype="u2").reshape(2, 3, 4, 4), title="a")
    images = {name: np.full((2, 3), i) for i, name in enumerate(("dark", "bright"))}
    stored = [StoredImage(name, (2, 3), partial(np.array, v)) for name, v in images.items()]
    other = StoredImage("overview", (9, 9), lambda: np.ones((9, 9)), always=True)
    nothing = StoredImage("empty", (2, 3), lambda: None)
    recording = replace(recording, images=(nothing, *stored, other))

    def titles(first: int | None = None, **options: Any) -> tuple[str | None, set[str]]:
        (signal,) = read(recording, first_frame=first, options=options)
        tree = signal["metadata"].get("_HyperSpy", {})
        navigator = tree.get("_sig_navigator")
        title = None if navigator is None else navigator["metadata"]["General"]["title"]
        return title, {key.removeprefix("_sig_") for key in tree.get("navigators", {})}

    assert titles() == ("dark", {"bright", "overview"})
    assert titles(navigator=False) == (None, {"dark", "bright", "overview"})
    assert titles(nav_shape=(1, 3))[0] == "dark"  # complete lines may be missing at the end
    assert titles(nav_shape=(3, 2)) == (None, {"overview"})
    assert titles(roi=np.eye(2, 3, dtype=bool)) == (None, {"overview"})
    assert titles(3, nav_shape=(1, 3)) == (None, {"overview"})
