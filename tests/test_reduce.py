# SPDX-License-Identifier: GPL-3.0-or-later
"""One pass over frames gives what numpy gives for the whole array, in bounded memory."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from writers import raw as raw_writer

import rsciio_tem
from rsciio_tem.arrays import ArrayFrames
from rsciio_tem.frames import Frames
from rsciio_tem.reduce import accumulator, one_pass

EVERYTHING = ("navigator", "sum", "max")


def frames_of(data: np.ndarray) -> ArrayFrames:
    return ArrayFrames(lambda: data, data.shape[:1], data.shape[1:], data.dtype)


def check(frames: Frames, data: np.ndarray, **options: Any) -> None:
    """Compare with numpy; `data` is what the frames hold."""
    masks = np.random.default_rng(1).random((3, *data.shape[1:]))
    found = one_pass(frames, what=EVERYTHING, masks=masks, **options)
    total = accumulator(data.dtype)
    axes = tuple(range(1, data.ndim))
    same = np.testing.assert_array_equal if total.kind in "iu" else np.testing.assert_allclose
    same(found["navigator"], data.sum(axis=axes, dtype=total))
    same(found["sum"], data.sum(axis=0, dtype=total))
    np.testing.assert_array_equal(found["max"], data.max(axis=0))
    flat = data.reshape(len(data), -1)
    np.testing.assert_allclose(found["masks"], masks.reshape(3, -1) @ flat.T, rtol=1e-10)
    assert found["navigator"].dtype == found["sum"].dtype == total
    assert found["max"].dtype == data.dtype


@pytest.mark.parametrize(
    "dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8", "?", "c8"]
)
def test_types(dtype: str) -> None:
    random = np.random.default_rng(0).integers(0, 100, (37, 12, 10))
    data = random.astype(dtype) if dtype[0] != "i" else (random - 50).astype(dtype)
    check(frames_of(data), data)


@pytest.mark.parametrize("shape", [(1, 8, 8), (5, 1, 1), (7, 30), (3, 2, 4, 6), (3000, 33, 31)])
def test_shapes(shape: tuple[int, ...]) -> None:
    data = np.random.default_rng(0).integers(0, 4096, shape, dtype=np.uint16)
    check(frames_of(data), data)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Frames, np.ndarray]:
    data = np.random.default_rng(2).integers(0, 1 << 16, (150, 128, 96), dtype=np.uint16)
    path = tmp_path_factory.mktemp("reduce") / "frames.raw"
    raw_writer.write_raw(path, data)
    return rsciio_tem.open(path, "raw", dtype="<u2", sig_shape=(128, 96)).frames, data


@pytest.mark.parametrize("threads", [1, 2, 7, None])
def test_file_and_threads(recorded: tuple[Frames, np.ndarray], threads: int | None) -> None:
    check(*recorded, threads=threads)


def test_region_of_interest(recorded: tuple[Frames, np.ndarray]) -> None:
    frames, data = recorded
    check(frames[20:130], data[20:130])
    index = np.array([140, 3, 4, 5, 90, 89, 88, 3])
    check(frames[index], data[index])


def test_missing_frames_are_blank(recorded: tuple[Frames, np.ndarray]) -> None:
    frames, data = recorded
    index = np.concatenate([[-1] * 40, np.arange(60), [-1], np.arange(60, 150), [-1] * 9])
    expected = np.where((index < 0)[:, np.newaxis, np.newaxis], 0, data[index])
    check(frames[index], expected.astype(data.dtype), threads=3)


def test_integers_stay_exact() -> None:
    data = np.full((3, 300, 300), np.iinfo(np.uint32).max, np.uint32)
    found = one_pass(frames_of(data), masks=np.ones((1, 300, 300)))
    assert (found["sum"] == 3 * (2**32 - 1)).all()
    assert (found["navigator"] == 90_000 * (2**32 - 1)).all()
    assert (found["masks"] == 90_000 * (2**32 - 1)).all()  # below 2**53


def test_only_what_is_asked() -> None:
    data = np.ones((4, 8, 8), np.uint8)
    assert set(one_pass(frames_of(data))) == {"navigator", "sum"}
    assert set(one_pass(frames_of(data), what=["max"])) == {"max"}
    assert set(one_pass(frames_of(data), what=(), masks=np.ones((2, 8, 8)))) == {"masks"}


class Generated:
    """Frames that exist nowhere: frame i is full of i."""

    frame_shape = (256, 128)
    dtype = np.dtype("u2")

    def __init__(self, index: range, broken: int = -1) -> None:
        self.index, self.broken = index, broken
        self.loads: list[int] = []

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: Any, /) -> Generated:
        part = Generated(self.index[index], self.broken)
        part.loads = self.loads
        return part

    def load(self, out: np.ndarray, region: Any = None) -> None:
        self.loads += [*self.index]
        if self.broken in self.index:
            raise OSError("the disk is gone")
        out[...] = np.array([*self.index], self.dtype)[:, np.newaxis, np.newaxis]


def test_memory_does_not_grow_with_the_recording() -> None:
    frames = Generated(range(20_000))  # 1.3 GB
    tracemalloc.start()
    try:
        found = one_pass(frames, what=EVERYTHING, masks=np.ones((1, 256, 128)), threads=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 << 20
    assert sorted(frames.loads) == list(range(20_000))  # each frame once
    np.testing.assert_array_equal(found["navigator"], np.arange(20_000) * 256 * 128)


def test_an_error_ends_the_pass() -> None:
    frames = Generated(range(20_000), broken=100)
    with pytest.raises(OSError, match="the disk is gone"):
        one_pass(frames, threads=4)
    assert len(frames.loads) < 10_000


def test_progress() -> None:
    seen: list[int] = []
    inside = threading.Lock()

    def progress(n: int) -> None:
        assert inside.acquire(blocking=False), "called by two threads at once"
        seen.append(n)
        inside.release()

    one_pass(Generated(range(1000)), threads=4, progress=progress)
    assert sum(seen) == 1000
    assert len(seen) > 10


def test_what_makes_no_sense() -> None:
    data = np.ones((4, 8, 8), np.uint8)
    with pytest.raises(ValueError, match="median"):
        one_pass(frames_of(data), what=["median"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="masks have shape"):
        one_pass(frames_of(data), masks=np.ones((8, 8)))
    with pytest.raises(ValueError, match="no frames"):
        one_pass(frames_of(data[:0]))


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 60),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    dtype=st.sampled_from(["u1", "i2", "u4", "f4"]),
    threads=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_selection(
    count: int, shape: tuple[int, int], dtype: str, threads: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 100, (count, *shape)).astype(dtype)
    index = rng.integers(-1, count, rng.integers(1, 2 * count + 1))
    expected = np.where((index < 0)[:, np.newaxis, np.newaxis], 0, data[index]).astype(dtype)
    check(frames_of(data)[index], expected, threads=threads)
