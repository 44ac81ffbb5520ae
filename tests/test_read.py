# SPDX-License-Identifier: GPL-3.0-or-later
"""From frames to arrays: slicing, chunks, casts, memory. The dictionaries: test_every_format.py."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rsciio_tem
from rsciio_tem.errors import FormatError, NotEnoughMemory, Problem, RecordingWarning
from rsciio_tem.frames.arrays import ArrayFrames
from rsciio_tem.parsing.metadata import general
from rsciio_tem.reading.lazy import LazyFrames, default_chunks
from rsciio_tem.reading.read import _load, read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import machine
from rsciio_tem.storage.machine import MiB


def lazy_frames(array: np.ndarray, nav: int, dtype: Any = None) -> LazyFrames:
    shape = array.shape[:nav]
    frames = ArrayFrames(lambda: array, shape, array.shape[nav:], array.dtype)
    return LazyFrames(frames, shape, np.dtype(dtype or array.dtype), "file.mib")


def recording(array: np.ndarray, nav: int = 1, **values: Any) -> Recording:
    frames = ArrayFrames(lambda: array, array.shape[:nav], array.shape[nav:], array.dtype)
    axes = (Axis(),) * (array.ndim - nav)
    return Recording("memory", "file.mib", frames, axes, **values)


# -- slicing -------------------------------------------------------------------------------------


def keys(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    def one(n: int) -> st.SearchStrategy[Any]:
        return st.one_of(
            st.slices(n),
            st.integers(-n, n - 1),
            st.integers(-n, n - 1).map(np.int64),
        )

    whole = st.tuples(*map(one, shape))
    part = whole.flatmap(lambda key: st.integers(0, len(shape)).map(lambda k: key[:k]))
    dotted = st.tuples(whole, st.integers(0, len(shape)), st.integers(0, len(shape))).map(
        lambda x: (*x[0][: min(x[1:])], Ellipsis, *x[0][max(x[1:]) :])
    )
    return whole | part | dotted | part.map(lambda key: key[0] if len(key) == 1 else key)


@settings(max_examples=300)
@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=5).map(tuple),
    sig_dims=st.integers(1, 3),
    data=st.data(),
)
def test_slicing(shape: tuple[int, ...], sig_dims: int, data: Any) -> None:
    array = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    source = lazy_frames(array, max(0, len(shape) - sig_dims))
    assert (source.shape, source.ndim) == (shape, len(shape))
    key = data.draw(keys(shape))
    found = source[key]
    assert isinstance(found, np.ndarray)
    assert found.shape == array[key].shape
    np.testing.assert_array_equal(found, array[key])


@settings(max_examples=100)
@given(data=st.data(), axis=st.integers(0, 3))
def test_one_list_of_indices(data: Any, axis: int) -> None:
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    source = lazy_frames(array, 2)
    n = array.shape[axis]
    index = data.draw(
        st.lists(st.integers(-n, n - 1), min_size=1, max_size=7).map(np.array)
        | st.lists(st.booleans(), min_size=n, max_size=n).map(np.array)
    )
    key = (*(slice(None),) * axis, index)
    np.testing.assert_array_equal(source[key], array[key])


@pytest.mark.parametrize("key", [(2,), (-3,), (0, 3), (0, 0, 4), (0,) * 5, (0, 0, 0, [5])])
def test_index_out_of_range(key: Any) -> None:
    source = lazy_frames(np.zeros((2, 3, 4, 5)), 2)
    with pytest.raises(IndexError):
        source[key]


def test_only_what_is_asked_for_is_loaded() -> None:
    asked: list[Any] = []

    class Watched:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __getitem__(self, key: Any) -> np.ndarray:
            asked.append(self.array[key].size)
            return self.array[key]

    array = np.arange(10 * 20 * 6 * 8).reshape(10, 20, 6, 8)
    frames = ArrayFrames(lambda: Watched(array), (10, 20), (6, 8), array.dtype)
    source = LazyFrames(frames, (10, 20), array.dtype, "file.mib")
    for key in ((3, 4), (3, 4, slice(2, 4)), (slice(2, 5), 7, 1, slice(3, 5)), (slice(0, 0),)):
        asked.clear()
        found = source[key]
        np.testing.assert_array_equal(found, array[key])
        assert sum(asked) == found.size


# -- chunks --------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(
    nav=st.lists(st.integers(1, 600), max_size=3).map(tuple),
    sig=st.lists(st.integers(1, 2048), min_size=1, max_size=2).map(tuple),
    itemsize=st.sampled_from([1, 2, 4, 8]),
)
def test_default_chunks(nav: tuple[int, ...], sig: tuple[int, ...], itemsize: int) -> None:
    chunks = default_chunks(nav, sig, itemsize)
    assert len(chunks) == len(nav) + len(sig)
    assert chunks[len(nav) :] == sig  # whole frames
    for size, n in zip(chunks, nav, strict=False):
        assert 1 <= size <= n
    nbytes, frame = math.prod(chunks) * itemsize, math.prod(sig) * itemsize
    assert nbytes <= max(frame, 256 * MiB)
    # one contiguous range of bytes: everything, then one axis in part, then one by one
    kinds = [size == n for size, n in zip(chunks, nav, strict=False)]
    split = max((i for i, full in enumerate(kinds) if not full), default=-1)
    assert all(size == 1 for size in chunks[: max(0, split)])
    if frame * math.prod(nav) > 256 * MiB and nav and frame < 8 * MiB and nav[-1] * frame > MiB:
        assert nbytes >= MiB  # not too small either


def test_chunks_of_a_usual_scan() -> None:
    y, x, *frame = default_chunks((256, 256), (256, 256), 2)
    assert (x, frame) == (256, [256, 256])
    assert 16 * MiB <= y * x * 131_072 <= 64 * MiB
    assert default_chunks((), (256, 256), 2) == (256, 256)
    assert default_chunks((5,), (4, 4), 2) == (5, 4, 4)


# -- casts ---------------------------------------------------------------------------------------

INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]


@settings(max_examples=200)
@given(
    source=st.sampled_from([*INTEGERS, "?"]),
    target=st.sampled_from([*INTEGERS, "?", "f4", "f8"]),
    data=st.data(),
)
def test_cast(source: str, target: str, data: Any) -> None:
    """A cast gives equal values or an error."""
    limits = (0, 1) if source == "?" else (np.iinfo(source).min, np.iinfo(source).max)
    values = data.draw(st.lists(st.integers(*limits) | st.integers(0, 1), min_size=1, max_size=5))
    array = np.array(values, source).reshape(-1, 1)
    room = (0, 1) if target == "?" else (-math.inf, math.inf)
    if target in INTEGERS:
        room = (np.iinfo(target).min, np.iinfo(target).max)
    lazy = lazy_frames(array, 1, target)
    if all(room[0] <= value <= room[1] for value in values):
        assert lazy[:].dtype == target
        np.testing.assert_array_equal(lazy[:], array.astype(target))
    else:
        with pytest.raises(FormatError, match=r"file\.mib: pixel values from .* do not fit into"):
            lazy[:]


@pytest.mark.parametrize(
    ("values", "target"),
    [([70000], "f2"), ([-70000], "f2"), ([1e300 + 1j], "c8"), ([1e300], "c8"), ([1e300j], "c8")],
)
def test_nothing_becomes_infinite(values: list[Any], target: str) -> None:
    array = np.array([[*values, 1]])
    with pytest.raises(FormatError, match="do not fit into"):
        lazy_frames(array, 1, target)[:]
    np.testing.assert_array_equal(lazy_frames(array[:, 1:], 1, target)[:], array[:, 1:])


@pytest.mark.parametrize("value", [1e300, -1e300])
def test_cast_of_large_floats(value: float) -> None:
    array = np.array([[value, np.nan, np.inf]])
    with pytest.raises(FormatError, match="do not fit into float32"):
        lazy_frames(array, 1, "f4")[:]
    np.testing.assert_array_equal(lazy_frames(array[:, 1:], 1, "f4")[:], array[:, 1:])


# -- loading -------------------------------------------------------------------------------------


def test_pieces_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(1000 * 6).reshape(1000, 2, 3)
    for unit, processors in ((1, 3), (21, 2), (10**9, 8), (300, 1)):
        monkeypatch.setattr(machine, "MiB", unit)
        monkeypatch.setattr(machine, "threads", lambda n=processors: n)
        np.testing.assert_array_equal(_load(lazy_frames(array, 1)), array)


def test_error_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MiB", 1)
    array = np.zeros((500, 2, 3), int)
    array[450] = 300
    with pytest.raises(FormatError, match="do not fit"):
        _load(lazy_frames(array, 1, "u1"))


def test_memory_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.zeros((10, 100, 100))
    monkeypatch.setattr(machine, "free_memory", lambda: 800_000)
    with pytest.raises(NotEnoughMemory) as caught:
        read(recording(array))
    text = str(caught.value)
    assert "Pass lazy=True" in text
    assert "first_frame=" in text
    assert isinstance(caught.value, FormatError)
    read(recording(array), first_frame=5)
    read(recording(array), lazy=True)


# -- the rest ------------------------------------------------------------------------------------


def test_problems_are_told(caplog: pytest.LogCaptureFixture) -> None:
    array = np.zeros((3, 2, 2))
    odd = recording(
        array, problems=(Problem("warning", "one is odd.", "Look."), Problem("info", "another."))
    )
    with (
        caplog.at_level("INFO", "rsciio_tem"),
        pytest.warns(RecordingWarning, match=r"file\.mib: one is odd\. Look\.") as caught,
    ):
        read(odd)
    assert len(caught) == 1
    assert caught[0].filename == __file__  # points at the caller, not into the package
    assert "another." in caplog.text


def test_axes() -> None:
    array = np.zeros((2, 3, 4, 5))
    described = recording(
        array,
        2,
        hints=(ScanHint("header", (2, 3), 1.0, ""),),
        scan_axes=(Axis("y", "nm", 2.0, 1.0), Axis("x", "nm", 3.0)),
    )
    axes = read(described)[0]["axes"]
    assert [(a["name"], a["units"], a["scale"], a["offset"]) for a in axes[:2]] == [
        ("y", "nm", 2.0, 1.0),
        ("x", "nm", 3.0, 0.0),
    ]
    # a longer scan shape: what is known belongs to the fast axes
    axes = read(described, options={"nav_shape": (1, 2, 3)})[0]["axes"]
    assert [a["name"] for a in axes[:3]] == ["z", "y", "x"]
    axes = read(described, options={"nav_shape": (6,)})[0]["axes"]
    assert axes[0]["name"] == "x"
    axes = read(described, options={"roi": [1, 2]})[0]["axes"]
    assert axes[0]["name"] == "frame"


@pytest.mark.parametrize("scale", [1e300, 5e-324, 10**99])
def test_calibrations_that_are_none(scale: float) -> None:
    described = recording(
        np.zeros((3, 4, 5)),
        stack_axis=Axis("time", "s", scale),
        scan_axes=(Axis("y", "nm", 1.0, 1e300),),
        layer_axis=Axis("layer", "eV", scale),
    )
    words = [problem.message for problem in described.problems]
    assert len(words) == 3
    assert all("makes no sense" in text and "left out" in text for text in words)
    with pytest.warns(RecordingWarning, match="makes no sense"):
        (signal,) = read(described)
    axis = signal["axes"][0]
    assert (axis["name"], axis["scale"], axis["offset"], axis["units"]) == ("time", 1.0, 0.0, "")


def test_frames_larger_than_any_memory() -> None:
    shape = (1, 1 << 30, 1 << 30)
    frames = ArrayFrames(np.zeros, shape[:1], shape[1:], np.dtype("u2"))
    source = LazyFrames(frames, shape[:1], frames.dtype, "file.mib")
    with pytest.raises(NotEnoughMemory, match=r"file\.mib: there is no memory for 1 x 1073741824"):
        source[0]


def test_more_chunks_than_dask_can_look_after() -> None:
    shape = (1 << 41, 1 << 10, 1 << 10)
    frames = ArrayFrames(np.zeros, shape[:1], shape[1:], np.dtype("u1"))
    described = Recording("memory", "file.mib", frames, (Axis(),) * 2)
    with pytest.raises(FormatError, match=r"file\.mib: describes .* more than dask can look after"):
        read(described, lazy=True)


def test_options_are_left_alone() -> None:
    options = {"nav_shape": (3, 1), "roi": [0]}
    before = dict(options)
    read(recording(np.zeros((3, 2, 2))), options=options)
    assert options == before


@pytest.fixture
def unpickled() -> LazyFrames:
    array = np.arange(24).reshape(2, 3, 4)
    source = LazyFrames(
        ArrayFrames(array.view, (2,), (3, 4), array.dtype), (2,), array.dtype, "file.mib"
    )
    return pickle.loads(pickle.dumps(source))


def test_pickle(unpickled: LazyFrames) -> None:
    np.testing.assert_array_equal(unpickled[1], np.arange(12, 24).reshape(3, 4))


def test_from_array_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="sig_dims=3"):
        rsciio_tem.from_array(np.zeros((2, 2)), sig_dims=3)
    with pytest.raises(ValueError, match="not numbers"):
        rsciio_tem.from_array(np.array([["a", "b"]]))
    with pytest.raises(ValueError, match="does not divide"):
        rsciio_tem.from_array(np.zeros((3, 5)), sig_shape=(2, 2))
    data = rsciio_tem.from_array(np.arange(24), sig_shape=(3, 4))[0]["data"]
    np.testing.assert_array_equal(data, np.arange(24).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("date", "time", "kept"),
    [
        ("2025-02-28", "13:59:59.123456789", True),
        ("2025-02-30", "13:59:59", False),
        ("2025-30-02", "13:59:59", False),
        ("2025-02-28", "25:00:00", False),
        ("2025-02-28", "", False),
        (20250228, "13:59:59", False),
    ],
)
def test_dates_that_no_calendar_has_are_left_out(date: Any, time: Any, kept: bool) -> None:
    entries = general("folder/a.mib", date=date, time=time, time_zone="UTC", notes=None)
    assert entries["title"] == "a"
    assert general("folder/a.mib", "") == {"original_filename": "a.mib"}
    assert (entries.keys() & {"date", "time", "time_zone"} == {"date", "time", "time_zone"}) is kept
    assert ("date" in entries) is kept


@pytest.mark.parametrize("count", [17, 63, 200])
def test_scans_of_too_many_axes(tmp_path: Path, count: int) -> None:
    np.save(tmp_path / "a.npy", np.ones((1, 4, 5), "u1"))
    with pytest.raises(ValueError, match=f"navigation_shape has {count} sizes, more than 16"):
        rsciio_tem.load(tmp_path / "a.npy", navigation_shape=(1,) * count)


def test_fill_value_as_text() -> None:
    array = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)
    with pytest.raises(TypeError, match="fill_value=nan needs a floating dtype="):
        rsciio_tem.from_array(array, fill_value="nan")
    with pytest.raises(TypeError, match="fill_value='none' is no number"):
        rsciio_tem.from_array(array, fill_value="none")
    shape: dict[str, Any] = {"nav_shape": (2, 2), "missing": "fill", "dtype": "float32"}
    with pytest.warns(RecordingWarning, match="1 of 4"):
        (signal,) = rsciio_tem.from_array(array, fill_value="nan", **shape)
    assert np.isnan(signal["data"][1, 1]).all()
    assert not np.isnan(signal["data"][:, 0]).any()
