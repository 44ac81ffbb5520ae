# SPDX-License-Identifier: GPL-3.0-or-later
"""One pass over frames gives what numpy gives for the whole array, in bounded memory."""

from __future__ import annotations

import threading
import tracemalloc
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from writers import framecache, raw_csr
from writers import raw as raw_writer

import rsciio_tem
from rsciio_tem import Annulus, Disk
from rsciio_tem.errors import FormatError
from rsciio_tem.frames.arrays import ArrayFrames
from rsciio_tem.frames.protocol import Frames, FramesBase, ReadAs
from rsciio_tem.frames.sparse import SparseFrames, frames_of_matrix
from rsciio_tem.reduction import plan
from rsciio_tem.reduction.quantities import accumulator
from rsciio_tem.reduction.single_pass import one_pass

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
    "dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "?", "c8"]
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


class Generated(FramesBase):
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

    def _read_as(self, how: ReadAs) -> Self:
        raise NotImplementedError

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


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8"])
def test_sums_of_what_is_no_number_warn_of_nothing(dtype: str) -> None:
    data = np.ones((4, 3, 5), dtype)
    data[1, 0, :3] = np.inf, -np.inf, np.nan
    data[2, 0, 1] = np.inf
    what = ("navigator", "sum") if dtype == "c8" else ("navigator", "sum", "max", "variance", "com")
    result = one_pass(frames_of(data), what=what)
    assert not np.isfinite(result["navigator"][1:3]).any()
    assert np.isfinite(result["navigator"][[0, 3]]).all()
    assert np.isnan(result["sum"][0, 1])


def test_a_single_mask() -> None:
    data = np.random.default_rng(1).integers(0, 9, (4, 8, 8))
    for mask in (np.eye(8), [np.eye(8)], {"diagonal": np.eye(8)}, lambda shape: np.eye(*shape)):
        sums = one_pass(frames_of(data), masks=mask)["masks"]
        np.testing.assert_array_equal(sums.reshape(-1), np.trace(data, axis1=1, axis2=2))


def test_what_makes_no_sense() -> None:
    data = np.ones((4, 8, 8), np.uint8)
    with pytest.raises(ValueError, match="median"):
        one_pass(frames_of(data), what=["median"])  # type: ignore[list-item]
    for no_mask in (5, "disk"):
        with pytest.raises(TypeError, match="is no virtual detector: pass Disk"):
            one_pass(frames_of(data), masks=no_mask)
    with pytest.raises(ValueError, match="masks have shape"):
        one_pass(frames_of(data), masks=np.ones((8, 7)))
    with pytest.raises(ValueError, match="no frames"):
        one_pass(frames_of(data[:0]))


@settings(max_examples=40)
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


# ---------------------------------------------------------------- everything against numpy


def centres(data: np.ndarray) -> np.ndarray:
    values = data.astype(np.float64)
    mass = values.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        y = (values.sum(axis=2) @ np.arange(data.shape[1])) / mass
        x = (values.sum(axis=1) @ np.arange(data.shape[2])) / mass
    return np.where(mass != 0, np.stack([y, x]), np.nan)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "f4", "f8", "?"])
@pytest.mark.parametrize("shape", [(41, 16, 24), (5, 7, 9), (3, 64, 8)])
def test_centre_of_mass_mean_and_variance(dtype: str, shape: tuple[int, ...]) -> None:
    data = np.random.default_rng(4).integers(0, 2 if dtype == "?" else 200, shape).astype(dtype)
    data[1] = 0
    found = one_pass(frames_of(data), what=("com", "mean", "variance"))
    assert set(found) == {"com", "mean", "variance"}
    np.testing.assert_allclose(found["com"], centres(data), rtol=1e-12)
    np.testing.assert_allclose(found["mean"], data.mean(axis=0, dtype="f8"), rtol=1e-12)
    np.testing.assert_allclose(found["variance"], data.astype("f8").var(axis=0), rtol=1e-7)


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<i4", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("backend", ["mmap", "buffered"])
def test_pixels_that_begin_at_any_byte(tmp_path: Path, dtype: str, backend: str) -> None:
    """As in DM files: numbers do not begin at multiples of their size."""
    data = np.random.default_rng(3).integers(0, 200, (5, 4, 9, 8)).astype(dtype)
    mask = np.zeros((9, 8))
    mask[2:5, 3:6] = 1
    for offset in (1, 2, 3, 5):
        path = tmp_path / f"{offset}.raw"
        path.write_bytes(bytes(offset) + data.tobytes())
        shapes: dict[str, Any] = {"sig_shape": (9, 8), "nav_shape": (5, 4)}
        options = {"dtype": dtype, "offset": offset, "io_backend": backend, **shapes}
        found = rsciio_tem.reduce(
            path, ("navigator", "sum", "max", "variance", "com"), masks=[mask], **options
        )
        values = data.astype("f8")
        np.testing.assert_array_equal(found["navigator"], values.sum(axis=(2, 3)))
        np.testing.assert_array_equal(found["sum"], values.sum(axis=(0, 1)))
        np.testing.assert_array_equal(found["max"], values.max(axis=(0, 1)))
        np.testing.assert_allclose(found["variance"], values.var(axis=(0, 1)))
        np.testing.assert_allclose(found["masks"][0], (values * mask).sum(axis=(2, 3)))
        rows = (values.sum(axis=3) @ np.arange(9)) / values.sum(axis=(2, 3))
        np.testing.assert_allclose(found["com"][0], rows)
        lazy = rsciio_tem.load(path, lazy=True, **options)[0]["data"]
        for name in ("min", "std"):
            expected = getattr(data.astype(data.dtype.newbyteorder("=")), name)(axis=(0, 1))
            result = getattr(lazy, name)(axis=(0, 1)).compute()
            assert result.dtype == expected.dtype
            np.testing.assert_allclose(result, expected, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["f2", "f8", "g", "G"])
def test_unusual_floats(dtype: str) -> None:
    """Half precision, and more than double where the machine has it, are added up in double."""
    data = np.random.default_rng(2).normal(size=(7, 6, 5)).astype(dtype)
    what = ("navigator", "sum") if dtype == "G" else ("navigator", "sum", "max", "variance", "com")
    found = one_pass(frames_of(data), what=what)
    wide = data.astype("c16" if dtype == "G" else "f8")
    np.testing.assert_allclose(found["navigator"], wide.sum(axis=(1, 2)), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found["sum"], wide.sum(axis=0), rtol=1e-12, atol=1e-12)
    if dtype != "G":
        np.testing.assert_array_equal(found["max"], data.max(axis=0))
        np.testing.assert_allclose(found["variance"], wide.var(axis=0), rtol=1e-6)
        assert found["com"].shape == (2, 7)


def test_variance_of_huge_values() -> None:
    """The square of their mean is infinite, their differences are not."""
    data = np.full((4, 3, 3), 2e154)
    data[:2] *= 1 + 1e-10
    np.testing.assert_allclose(
        one_pass(frames_of(data), what=("variance",))["variance"], (1e144) ** 2, rtol=1e-4
    )


def test_variance_of_little_noise_on_a_large_offset() -> None:
    """A difference of two large numbers would leave nothing of it."""
    noise = np.random.default_rng(1).integers(0, 3, (4000, 4, 6))
    for dtype, offset in (("u2", 65000), ("u4", 4_000_000_000), ("f8", 1e9)):
        data = (noise + offset).astype(dtype)
        found = one_pass(frames_of(data), what=["variance"])["variance"]
        np.testing.assert_allclose(found, noise.var(axis=0), rtol=1e-6)


def test_brightest_pixels_do_not_overflow() -> None:
    for dtype in ("u1", "u2", "u4"):
        data = np.full((700, 10, 200), np.iinfo(dtype).max, dtype)
        check(frames_of(data), data)
        assert (one_pass(frames_of(data), what=["variance"])["variance"] == 0).all()


@pytest.mark.parametrize("dtype", ["f4", "u2", "c8"])
def test_the_number_of_threads_changes_no_bit(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_STRIPE", 1 << 16)
    values = np.random.default_rng(9).normal(100, 30, (900, 12, 20)).astype(dtype)
    what = ["sum", "navigator", *(["variance", "com", "mean"] if dtype != "c8" else [])]
    results = [
        one_pass(frames_of(values), what=what, masks=[Disk(4)], threads=n) for n in (1, 2, 5)
    ]
    for other in results[1:]:
        for name, array in results[0].items():
            np.testing.assert_array_equal(other[name], array)


@pytest.mark.parametrize("detector", [Annulus(5, 3), Disk(2, (40, 40)), Disk(0)])
def test_detectors_without_a_pixel(detector: Annulus) -> None:
    """Their image would be black, which looks like a result."""
    data = np.ones((4, 9, 13), "u2")
    for masks in (detector, [detector], {"dark field": detector}):
        with pytest.raises(ValueError, match=r"covers no pixel of frames of the shape \(9, 13\)"):
            rsciio_tem.reduce(rsciio_tem.from_array(data), masks=masks)


def test_detectors() -> None:
    disk = Disk(3)((9, 13))
    assert disk.shape == (9, 13)
    assert disk[4, 6]
    assert disk.sum() == sum(np.hypot(y - 4, x - 6) < 3 for y in range(9) for x in range(13))
    ring = Annulus(3, 5, (2, 2.5))((9, 13))
    expected = [[3 <= np.hypot(y - 2, x - 2.5) < 5 for x in range(13)] for y in range(9)]
    np.testing.assert_array_equal(ring, expected)


# ---------------------------------------------------------------- what users call


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, np.ndarray]:
    data = np.random.default_rng(2).integers(0, 5000, (6, 8, 32, 48), dtype=np.uint16)
    path = tmp_path_factory.mktemp("scan") / "scan.raw"
    rsciio_tem.raw.file_writer(path, {"data": data, "axes": axes_of(data)})
    return path, data


def axes_of(data: np.ndarray) -> list[dict[str, Any]]:
    return [
        {"name": n, "size": s, "navigate": i < 2, "scale": 0.5, "offset": 1.0, "units": "nm"}
        for i, (n, s) in enumerate(zip("yxvu", data.shape, strict=True))
    ]


def test_reduce_a_file(scan: tuple[Any, np.ndarray]) -> None:
    path, data = scan
    found = rsciio_tem.reduce(
        path,
        ("navigator", "sum", "com", "max"),
        masks={"bright field": Disk(8), "dark field": Annulus(8, 16)},
    )
    np.testing.assert_array_equal(found["navigator"], data.sum(axis=(2, 3)))
    np.testing.assert_array_equal(found["sum"], data.sum(axis=(0, 1)))
    np.testing.assert_array_equal(found["max"], data.max(axis=(0, 1)))
    np.testing.assert_allclose(found["com"].reshape(2, -1), centres(data.reshape(-1, 32, 48)))
    mask = Disk(8)((32, 48))
    np.testing.assert_array_equal(found["bright field"], data[:, :, mask].sum(axis=2))
    assert found["masks"].shape == (2, 6, 8)
    assert {"dark field", "navigator"} <= set(found)
    signal = found.signal("bright field")
    assert [a["name"] for a in signal["axes"]] == ["y", "x"]
    assert [a["scale"] for a in found.signal("sum")["axes"]] == [0.5, 0.5]
    hyperspy = pytest.importorskip("hyperspy.api")
    for name in found:
        made = found.signal(name)
        assert hyperspy.signals.Signal2D(**made).data.shape == found[name].shape


def test_reduce_with_options_of_the_reader(scan: tuple[Any, np.ndarray]) -> None:
    path, data = scan
    found = rsciio_tem.reduce(path, ["navigator"], navigation_shape=(6, 8))
    np.testing.assert_array_equal(found["navigator"], data.sum(axis=(2, 3)).reshape(8, 6))
    roi = np.zeros((6, 8), bool)
    roi[2, 3:5] = roi[5, 7] = True
    found = rsciio_tem.reduce(path, ["navigator", "sum"], roi=roi)
    np.testing.assert_array_equal(found["navigator"], data[roi].sum(axis=(1, 2)))
    np.testing.assert_array_equal(found["sum"], data[roi].sum(axis=0))
    dark = np.full((32, 48), 7.0)
    found = rsciio_tem.reduce(path, ["navigator"], dark=dark)
    expected = (data - 7.0).sum(axis=(2, 3))
    np.testing.assert_allclose(found["navigator"], expected, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::rsciio_tem.errors.RecordingWarning")
def test_reduce_with_missing_frames(scan: tuple[Any, np.ndarray]) -> None:
    path, data = scan
    found = rsciio_tem.reduce(path, ["navigator", "sum"], nav_shape=(6, 8), sync_offset=-3)
    expected = np.concatenate([np.zeros(3), data.sum(axis=(2, 3)).reshape(-1)[:-3]])
    np.testing.assert_array_equal(found["navigator"].reshape(-1), expected)


@pytest.mark.parametrize("lazy", [True, False])
def test_reduce_signals(scan: tuple[Any, np.ndarray], lazy: bool) -> None:
    path, data = scan
    signal = rsciio_tem.load(path, lazy=lazy)[0]
    found = rsciio_tem.reduce(signal, ["navigator", "sum"])
    np.testing.assert_array_equal(found["navigator"], data.sum(axis=(2, 3)))
    if lazy:
        changed = {**signal, "data": (signal["data"] + 1).rechunk((4, 3, 32, 24))}
        found = rsciio_tem.reduce(changed, ["navigator", "sum"])
        np.testing.assert_array_equal(found["sum"], (data + 1).sum(axis=(0, 1)))
        np.testing.assert_array_equal(found["navigator"], (data + 1).sum(axis=(2, 3)))
        np.save(path.with_suffix(".npy"), data)
        cast = rsciio_tem.load(path.with_suffix(".npy"), lazy=True, dtype="f4")[0]
        np.testing.assert_allclose(rsciio_tem.reduce(cast)["sum"], data.sum(axis=(0, 1)))
    recording = rsciio_tem.open(path)
    np.testing.assert_array_equal(rsciio_tem.reduce(recording)["sum"], data.sum(axis=(0, 1)))


def test_reduce_refuses(scan: tuple[Any, np.ndarray]) -> None:
    path, _ = scan
    for options, text in (
        ({"what": ["median"]}, "none of navigator"),
        ({"masks": [np.ones((3, 3))]}, "frames"),
        ({"masks": {"sum": Disk(3)}}, "no detector can be called sum"),
    ):
        with pytest.raises(ValueError, match=text):
            rsciio_tem.reduce(path, **options)
    with pytest.raises(TypeError, match="navigation_shap"):
        rsciio_tem.reduce(path, navigation_shap=(6, 8))
    complex_frames = frames_of(np.ones((3, 4, 5), "c8"))
    for what in ("com", "variance"):
        with pytest.raises(ValueError, match="real pixels"):
            one_pass(complex_frames, what=[what])  # type: ignore[list-item]


@pytest.fixture(scope="module", params=["raw_csr", "raw_csr-shuffled", "npz", "fch5"])
def sparse_scan(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, np.ndarray]:
    """A recording of which only the entries are stored, and dense frames."""
    rng = np.random.default_rng(5)
    data = rng.integers(1, 5000, (6, 8, 32, 48), np.uint16)
    data[rng.random(data.shape) > 0.05] = 0
    data[1, 2:6] = 0
    folder = tmp_path_factory.mktemp("sparse")
    kind, _, shuffled = request.param.partition("-")
    if kind == "raw_csr":
        order = np.random.default_rng(6) if shuffled else None
        dtype = "<u2" if shuffled else "<i4"
        path = raw_csr.write_raw_csr(folder / "scan.toml", data, indices_dtype=dtype, shuffle=order)
    else:
        write = framecache.write_npz if kind == "npz" else framecache.write_fch5
        shape = {"navigation_shape": np.array([8, 6])}
        path = write(folder / f"scan.{kind}", data.reshape(48, 32, 48), metadata=shape)
    return path, data


EACH = ("navigator", "sum", "mean", "max", "variance", "com")


def expected_of(data: np.ndarray, frames: np.ndarray | slice = slice(None)) -> dict[str, Any]:
    """What numpy finds in frames of a scan."""
    flat = data.reshape(-1, *data.shape[-2:])[frames]
    return {
        "navigator": flat.sum(axis=(1, 2), dtype="u8"),
        "sum": flat.sum(axis=0, dtype="u8"),
        "mean": flat.mean(axis=0),
        "max": flat.max(axis=0),
        "variance": flat.var(axis=0),
        "com": centres(flat),
        "masks": flat[:, Disk(8)(flat.shape[1:])].sum(axis=1, dtype="f8"),
    }


def check_sparse(found: Any, expected: dict[str, Any]) -> None:
    for name, values in expected.items():
        ours = np.asarray(found[name]).reshape(values.shape)
        if name in ("mean", "variance", "com"):
            np.testing.assert_allclose(ours, values, 1e-9, err_msg=name)
        else:
            np.testing.assert_array_equal(ours, values, name)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_reduce_sparse_files(
    sparse_scan: tuple[Any, np.ndarray], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*arguments: Any) -> None:
        raise AssertionError("dense frames were made")

    path, data = sparse_scan
    monkeypatch.setattr(SparseFrames, "load", load)
    for entries in (1 << 20, 700):
        monkeypatch.setattr(plan, "_STRIPE_ENTRIES", entries)
        seen: list[int] = []
        options: Any = {"masks": [Disk(8)], "threads": threads, "progress": seen.append}
        check_sparse(rsciio_tem.reduce(path, EACH, **options), expected_of(data))
        assert sum(seen) == 48
        snake = np.concatenate([np.arange(8), np.arange(15, 7, -1), [40, 3], np.arange(17, 25)])
        found = rsciio_tem.reduce(path, EACH, roi=snake, **options)
        check_sparse(found, expected_of(data, snake))
        mask = np.random.default_rng(3).random((6, 8)) < 0.4
        found = rsciio_tem.reduce(path, EACH, roi=mask, **options)
        check_sparse(found, expected_of(data, np.flatnonzero(mask)))


@pytest.mark.filterwarnings("ignore::rsciio_tem.errors.RecordingWarning")
@pytest.mark.parametrize("fill", [None, 3])
def test_reduce_sparse_files_with_missing_frames(
    sparse_scan: tuple[Any, np.ndarray], fill: float | None
) -> None:
    path, data = sparse_scan
    options = {} if fill is None else {"fill_value": fill}
    found = rsciio_tem.reduce(
        path, EACH, masks=[Disk(8)], nav_shape=(6, 8), sync_offset=-11, **options
    )
    shifted = np.full((48, 32, 48), fill or 0, np.uint16)
    shifted[11:] = data.reshape(48, 32, 48)[:-11]
    check_sparse(found, expected_of(shifted))


def test_reduce_sparse_signals(
    sparse_scan: tuple[Any, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = sparse_scan
    monkeypatch.setattr(SparseFrames, "load", None)  # dense frames are not made
    signals = [
        rsciio_tem.load(path, **options)[0]
        for options in (
            {"lazy": True},
            {"lazy": True, "sparse": True},
            {"lazy": True, "dtype": "u4"},
            {"sparse": True},
            {"sparse": "scipy"},
        )
    ]
    for signal in (*signals, rsciio_tem.open(path)):
        found = rsciio_tem.reduce(signal, EACH, masks=[Disk(8)])
        assert found["navigator"].shape == (6, 8)
        check_sparse(found, expected_of(data))


@pytest.mark.parametrize("backend", ["mmap", "buffered", "direct"])
def test_reduce_sparse_files_by_any_backend(
    sparse_scan: tuple[Any, np.ndarray], backend: str
) -> None:
    path, data = sparse_scan
    if path.suffix == ".fch5":
        with pytest.raises(FormatError, match="no meaning for frames in HDF5"):
            rsciio_tem.reduce(path, io_backend=backend)
        return
    check_sparse(
        rsciio_tem.reduce(path, EACH, masks=[Disk(8)], io_backend=backend), expected_of(data)
    )


def test_reduce_a_damaged_sparse_file(tmp_path: Path) -> None:
    data = np.zeros((2, 3, 4, 5), "u1")
    data[..., 2, 3] = 200
    path = raw_csr.write_raw_csr(tmp_path / "a.toml", data)
    indices = np.fromfile(tmp_path / "a_indices.dat", "<i4")
    for place in (20, -1, 1 << 30):
        indices[4] = place
        indices.tofile(tmp_path / "a_indices.dat")
        with pytest.raises(FormatError, match="frame 4 lists pixels outside"):
            rsciio_tem.reduce(path)
    wrong = {"indptr": np.array([0, 2, 2, 3]), "indices": np.array([7, 7, 3])}
    raw_csr.write_arrays(
        path, **wrong, data=np.full(3, 200, "u1"), nav_shape=(3,), sig_shape=(4, 5)
    )
    with pytest.raises(FormatError, match="frame 0 lists a pixel several times"):
        rsciio_tem.reduce(path, ["max"])
    assert rsciio_tem.reduce(path, ["max"], dtype="u2")["max"].max() == 400


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8"])
@pytest.mark.parametrize("shape", [(5, 7), (64, 80)])  # within a block of weights; over several
@pytest.mark.parametrize("sparse", [False, True])
def test_pixels_outside_of_a_detector_do_not_count(
    dtype: str, shape: tuple[int, int], sparse: bool
) -> None:
    """A dead pixel that is NaN, or an infinite one, matters to the detectors that it is in."""
    if sparse and dtype in ("f2", "c8"):
        pytest.skip("SciPy has no such matrices, or the same path as f4")
    data = np.random.default_rng(4).random((6, *shape)).astype(dtype)
    data[1, 2, 3], data[2, 0, 0], data[3, -1, -1], data[4, 2, 3] = np.nan, np.inf, -np.inf, np.inf
    detector = np.zeros(shape)
    detector[1:4, 2:5] = np.random.default_rng(5).random((3, 3)) + 0.5
    frames: Frames = frames_of(data)
    if sparse:
        matrix = scipy.sparse.csr_array(data.reshape(6, -1))
        frames = frames_of_matrix(matrix, shape)
    (sums,) = one_pass(frames, masks=[detector])["masks"]
    with np.errstate(invalid="ignore"):
        part = data[:, 1:4, 2:5].astype(np.result_type(dtype, "f8"))
        expected = (part * detector[1:4, 2:5]).sum(axis=(1, 2))
    np.testing.assert_allclose(sums, expected, rtol=1e-6)
    assert np.isfinite(sums[[0, 2, 3, 5]]).all()
