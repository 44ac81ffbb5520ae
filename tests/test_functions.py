# SPDX-License-Identifier: GPL-3.0-or-later
"""Functions of the user in one pass, and blocks of frames, give what numpy gives for all of it."""

from __future__ import annotations

import functools
import math
import threading
import traceback
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import Sample
from writers import raw as raw_writer
from writers import raw_csr

import rsciio_tem
from rsciio_tem import Disk
from rsciio_tem.errors import FormatError, RecordingWarning
from rsciio_tem.frames.arrays import ArrayFrames
from rsciio_tem.reading.read import read
from rsciio_tem.reduction import plan, workers
from rsciio_tem.reduction.functions import UserFunctions
from rsciio_tem.reduction.single_pass import one_pass

Array = np.ndarray[Any, Any]


class Products:
    """Depends on the order in which frames come, unlike a sum."""

    def __init__(self, factor: float = 1.01) -> None:
        self.factor, self.value, self.count = factor, 0.0, 0

    def take(self, block: Array) -> None:
        for frame in block:
            self.value = self.value * self.factor + float(frame.sum())
            self.count += 1

    def merge(self, other: Products) -> None:
        self.value = self.value * self.factor**other.count + other.value
        self.count += other.count

    def result(self) -> Array:
        return np.array([self.value, self.count])


class Total:
    """Sum over the scan."""

    def __init__(self) -> None:
        self.sum: Any = 0

    def take(self, block: Array) -> None:
        self.sum = self.sum + block.sum(axis=0, dtype=np.float64)

    def merge(self, other: Total) -> None:
        self.sum = self.sum + other.sum

    def result(self) -> Array:
        return np.asarray(self.sum)


def brightest(block: Array) -> Array:
    return block.reshape(len(block), -1).argmax(axis=1)


def profile(block: Array) -> Array:
    return block.sum(axis=-1, dtype=np.complex128 if block.dtype.kind == "c" else np.float64)


def same(block: Array) -> Array:
    return block


@pytest.fixture
def small_stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Divide recordings of a few frames, too, and merge them in several levels of groups."""
    monkeypatch.setattr(plan, "_STRIPES", 5)
    monkeypatch.setattr(plan, "_STRIPE", 1)
    monkeypatch.setattr(plan, "_BLOCK", 1)
    monkeypatch.setattr(workers, "_TOGETHER", 2)


def reduced(data: Array, functions: dict[str, Any], **options: Any) -> dict[str, Any]:
    frames = ArrayFrames(lambda: data, data.shape[:1], data.shape[1:], data.dtype)
    options = {"what": (), **options}
    return one_pass(frames, functions=UserFunctions(functions), **options)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Array]:
    data = np.random.default_rng(2).integers(0, 5000, (6, 8, 32, 48), dtype=np.uint16)
    axes = [
        {"name": n, "size": s, "navigate": i < 2, "scale": 0.5, "offset": 1.0, "units": "nm"}
        for i, (n, s) in enumerate(zip("yxvu", data.shape, strict=True))
    ]
    path = tmp_path_factory.mktemp("scan") / "scan.raw"
    rsciio_tem.raw.file_writer(path, {"data": data, "axes": axes})
    return path, data


# -- values --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_stripes")
@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "i4", "u8", "f2", "f4", ">f8", "?", "c8"])
def test_types(dtype: str) -> None:
    """Functions get pixels of their type, in the byte order of the machine."""
    data = np.random.default_rng(0).integers(0, 100, (37, 12, 10)).astype(dtype)
    seen = set[np.dtype[Any]]()

    def look(block: Array) -> Array:
        seen.add(block.dtype)
        return block

    found = reduced(data, {"look": look, "profile": profile}, what=("navigator", "sum"))
    assert seen == {data.dtype.newbyteorder("=")}
    np.testing.assert_array_equal(found["look"], data)
    np.testing.assert_array_equal(found["profile"], profile(data))
    plain = reduced(data, {}, what=("navigator", "sum"))
    for name, values in plain.items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.usefixtures("small_stripes")
@pytest.mark.per_kind
def test_every_kind_of_frames(sample: Sample) -> None:
    data = sample.read_quietly()["data"]
    nav = data.shape[: data.ndim - sample.sig_dims]
    frames = data.reshape(-1, *sample.frame_shape)
    functions = {"same": same, "brightest": brightest, "total": Total}
    if data.dtype.kind in "Vc":
        functions = {"same": same}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        lazy = sample.read_quietly(lazy=True)
        found = rsciio_tem.reduce(lazy, (), functions=functions, threads=2)
    np.testing.assert_array_equal(found["same"], data)
    assert found["same"].dtype == data.dtype.newbyteorder("=")
    if len(functions) > 1:
        np.testing.assert_array_equal(found["brightest"], brightest(frames).reshape(nav))
        np.testing.assert_allclose(found["total"], frames.sum(axis=0, dtype=np.float64), 1e-12)


@settings(max_examples=60)
@given(data=st.data())
def test_any_frames_function_and_stripes(data: st.DataObject) -> None:
    draw = data.draw
    count, threads = draw(st.integers(1, 70)), draw(st.integers(1, 4))
    shape = (count, draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    frames = np.random.default_rng(count).integers(0, 255, shape).astype(draw(
        st.sampled_from(["u1", ">u2", "f4", "i8"])
    ))  # fmt: skip
    rest = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    kind = draw(st.sampled_from(["f4", "u1", "c16", "O"]))
    weights = np.random.default_rng(1).integers(0, 3, rest)

    def function(block: Array) -> Any:
        sums = block.sum(axis=(1, 2)).astype(np.int64) % 200
        return np.multiply.outer(sums, weights).astype(kind)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plan, "_STRIPES", draw(st.integers(1, 9)))
        patched.setattr(plan, "_STRIPE", draw(st.sampled_from([1, 500, 1 << 20])))
        patched.setattr(plan, "_BLOCK", draw(st.sampled_from([1, 300, 1 << 20])))
        patched.setattr(workers, "_TOGETHER", draw(st.integers(2, 8)))
        found = reduced(frames, {"f": function, "p": Products}, threads=threads)
        one = reduced(frames, {"p": Products}, threads=1)
    np.testing.assert_array_equal(found["f"], function(frames))
    assert found["f"].dtype == kind
    assert found["f"].shape == (count, *rest)
    assert found["p"].tobytes() == one["p"].tobytes()
    expected = Products()
    expected.take(frames)
    np.testing.assert_allclose(found["p"], expected.result(), 1e-9)


@pytest.mark.usefixtures("small_stripes")
def test_types_that_change_meet() -> None:
    def changing(block: Array) -> Array:
        kind = "u1" if block[0, 0, 0] < 20 else "f8"
        return (block[:, 0, 0] + (0 if kind == "u1" else 0.5)).astype(kind)

    data = np.arange(40).reshape(40, 1, 1).astype("u1")
    found = reduced(data, {"f": changing})["f"]
    np.testing.assert_array_equal(found, np.arange(40) + 0.5 * (np.arange(40) >= 20))
    assert found.dtype == np.float64


@pytest.mark.usefixtures("small_stripes")
@pytest.mark.parametrize(
    "accumulator",
    [
        Products,
        functools.partial(Products, 1.01),
        functools.partial(Products, factor=1.01),
        lambda: Products(1.01),
        Products(1.01),
    ],
    ids=["class", "partial", "partial by name", "lambda", "pattern"],
)
def test_accumulators(accumulator: Any) -> None:
    data = np.random.default_rng(0).integers(0, 100, (41, 4, 5))
    expected = Products()
    expected.take(data)
    for threads in (1, 2, 5):
        found = reduced(data, {"p": accumulator}, threads=threads)["p"]
        np.testing.assert_allclose(found, expected.result(), 1e-12)
    if isinstance(accumulator, Products):
        assert accumulator.count == 0  # each stripe has one of its own


def test_everything_together(scan: tuple[Path, Array]) -> None:
    path, data = scan
    roi = np.random.default_rng(3).random((6, 8)) < 0.5
    dark = np.full((32, 48), 7, "u2")
    options: dict[str, Any] = {"roi": roi, "dark": dark}
    corrected = rsciio_tem.load(path, **options)[0]["data"]
    found = rsciio_tem.reduce(
        path,
        ["navigator", "com"],
        masks={"disk": Disk(5)},
        functions={"profile": profile, "total": Total},
        **options,
    )
    plain = rsciio_tem.reduce(path, ["navigator", "com"], masks={"disk": Disk(5)}, **options)
    for name, values in plain.items():
        np.testing.assert_allclose(found[name], values, 1e-12)
    np.testing.assert_allclose(found["profile"], profile(corrected), 1e-6)
    np.testing.assert_allclose(found["total"], corrected.sum(axis=0, dtype="f8"), 1e-6)
    assert (corrected.min(), corrected.shape) == (data[roi].min() - 7.0, data[roi].shape)


@pytest.mark.filterwarnings("ignore::rsciio_tem.errors.RecordingWarning")
def test_missing_frames_have_the_fill_value(scan: tuple[Path, Array]) -> None:
    path, data = scan
    options: dict[str, Any] = {"nav_shape": (6, 8), "sync_offset": -3, "fill_value": 9}
    found = rsciio_tem.reduce(path, (), functions={"same": same}, **options)
    expected = np.full(data.shape, 9, data.dtype)
    expected.reshape(48, 32, 48)[3:] = data.reshape(48, 32, 48)[:-3]
    np.testing.assert_array_equal(found["same"], expected)


def test_sparse_recordings(tmp_path: Path) -> None:
    data = np.random.default_rng(1).poisson(0.05, (30, 16, 20)).astype("u2")
    path = raw_csr.write_raw_csr(tmp_path / "a.toml", data)
    found = rsciio_tem.reduce(path, functions={"profile": profile, "total": Total})
    frames = data.reshape(*found["navigator"].shape, 16, 20)
    np.testing.assert_array_equal(found["profile"], profile(frames))
    np.testing.assert_array_equal(found["total"], data.sum(axis=0))
    np.testing.assert_array_equal(found["navigator"], frames.sum(axis=(-2, -1)))


def test_signals(scan: tuple[Path, Array]) -> None:
    path, data = scan
    functions = {"profile": profile, "brightest": brightest, "total": Total, "same": same}
    functions["count"] = Products
    found = rsciio_tem.reduce(path, (), functions=functions)
    named = {
        name: [(axis["name"], axis["size"], axis["navigate"]) for axis in signal["axes"]]
        for name in functions
        for signal in [found.signal(name)]
    }
    assert named == {
        "profile": [("y", 6, True), ("x", 8, True), ("", 32, False)],
        "brightest": [("y", 6, False), ("x", 8, False)],
        "total": [("v", 32, False), ("u", 48, False)],
        "same": [("y", 6, True), ("x", 8, True), ("v", 32, False), ("u", 48, False)],
        "count": [("", 2, False)],
    }
    hs = pytest.importorskip("hyperspy.api")
    signal = hs.signals.Signal1D(**found.signal("profile"))
    assert signal.axes_manager.navigation_shape == (8, 6)
    np.testing.assert_array_equal(signal.data, profile(data))


# -- what functions may do -----------------------------------------------------------------------


@pytest.mark.usefixtures("small_stripes")
def test_blocks_may_be_kept() -> None:
    data = np.random.default_rng(0).integers(1, 100, (40, 6, 7)).astype("u2")

    class Keeping(Total):
        def __init__(self, part: Callable[[Array], Any]) -> None:
            self.part, self.parts = part, list[Any]()

        def take(self, block: Array) -> None:
            self.parts.append(self.part(block))

        def merge(self, other: Any) -> None:
            self.parts += other.parts

        def result(self) -> Array:
            return np.concatenate([np.asarray(part) for part in self.parts])

    whole, rows = Keeping(memoryview), Keeping(lambda block: block[:, 1:])
    for functions in (
        {"whole": whole},
        {"rows": rows},
        {"rows": rows, "whole": whole},
    ):
        found = reduced(data, functions, what=("navigator", "sum"), threads=2)
        for name, expected in (("whole", data), ("rows", data[:, 1:])):
            if name in functions:
                np.testing.assert_array_equal(found[name], expected)
        np.testing.assert_array_equal(found["sum"], data.sum(axis=0))
        np.testing.assert_array_equal(found["navigator"], data.sum(axis=(1, 2)))


@pytest.mark.parametrize("backend", ["auto", "mmap", "buffered"])
def test_blocks_of_files_may_be_kept(scan: tuple[Path, Array], backend: str) -> None:
    blocks: dict[int, Array] = {}
    lock = threading.Lock()

    def keep(block: Array) -> Array:
        with lock:
            blocks[int(block[0, 0, 0]) << 16 | int(block[0, 0, 1])] = block[:, :3]
        return block[:, 0, :2]

    path, data = scan
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plan, "_BLOCK", 1)
        found = rsciio_tem.reduce(path, (), functions={"f": keep}, io_backend=backend)["f"]
    np.testing.assert_array_equal(found, data[:, :, 0, :2])
    assert len(blocks) == 48
    for frame in data.reshape(48, 32, 48):
        kept = blocks[int(frame[0, 0]) << 16 | int(frame[0, 1])]
        np.testing.assert_array_equal(kept, frame[np.newaxis, :3])


def test_masked_results_are_refused(scan: tuple[Path, Array]) -> None:
    def bright(block: Array) -> Any:
        return np.ma.masked_less(block.max(axis=(1, 2)).astype(np.int64), 1 << 40)

    with pytest.raises(TypeError, match=r"'f' returned, with .* a part is masked"):
        rsciio_tem.reduce(scan[0], (), functions={"f": bright})
    whole = rsciio_tem.reduce(scan[0], (), functions={"f": lambda b: np.ma.array(b[:, 0, 0])})
    np.testing.assert_array_equal(whole["f"], scan[1][..., 0, 0])


@pytest.mark.parametrize("threads", [1, 2])
def test_end_of_a_loop_that_is_none(scan: tuple[Path, Array], threads: int) -> None:
    def ends(block: Array) -> Any:
        return next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration was raised") as caught:
        rsciio_tem.reduce(scan[0], (), functions={"f": ends}, threads=threads)
    assert "in the function 'f', with the frame" in caught.value.__notes__[0]


@pytest.mark.parametrize("backend", ["mmap", "buffered"])
def test_blocks_are_read_only(scan: tuple[Path, Array], backend: str) -> None:
    def spoil(block: Array) -> Array:
        block[...] = 0
        return block[:, 0, 0]

    with pytest.raises(ValueError, match="read-only") as caught:
        rsciio_tem.reduce(scan[0], (), functions={"f": spoil}, io_backend=backend)
    assert caught.value.__notes__[0].endswith("read-only, copy what is to be changed")
    np.testing.assert_array_equal(rsciio_tem.load(scan[0])[0]["data"], scan[1])


def test_numpy_warns_as_it_does_outside() -> None:
    data = np.zeros((4, 3, 3), "f4")

    def divide(block: Array) -> Array:
        return block.sum(axis=(1, 2)) / block.max(axis=(1, 2))

    with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
        reduced(data, {"f": divide})
    with pytest.warns(RuntimeWarning, match="invalid value"):
        reduced(data, {"f": divide})
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(reduced(data, {"f": divide})["f"]).all()


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    peaks = []
    for count in (2000, 6000):
        path = raw_writer.write_raw(tmp_path / f"{count}.raw", np.ones((count, 64, 64), "u2"))
        tracemalloc.start()
        options = {"dtype": "<u2", "sig_shape": (64, 64), "format": "raw"}
        found = rsciio_tem.reduce(path, functions={"b": brightest, "t": Total}, **options)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found["t"].sum() == count * 4096
    assert peaks[1] - peaks[0] < 10 << 20  # the file is 33 MB larger


def test_blocks_fit_into_a_cache(scan: tuple[Path, Array]) -> None:
    seen: list[int] = []
    lock = threading.Lock()

    def look(block: Array) -> Array:
        with lock:
            seen.append(block.nbytes)
        return block[:, 0, 0]

    rsciio_tem.reduce(scan[0], (), functions={"look": look})
    assert max(seen) <= 4 << 20


# -- errors --------------------------------------------------------------------------------------


class Odd(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__("odd")
        self.code = code

    def __reduce__(self) -> Any:
        return functools.partial(Odd, code=self.code), (), self.__dict__


def fails_late(block: Array) -> Array:
    if (block == 4321).any():
        raise Odd(code=5)
    return block[:, 0, 0]


class FailsInMerge(Total):
    def merge(self, other: Any) -> None:
        raise Odd(code=6)


class FailsInResult(Total):
    def result(self) -> Array:
        raise Odd(code=7)


@pytest.mark.usefixtures("small_stripes")
@pytest.mark.parametrize("threads", [1, 2])
def test_errors_come_through_with_a_note(threads: int) -> None:
    data = np.zeros((60, 4, 4), "u2")
    data[30:] = 4321
    with pytest.raises(Odd) as caught:
        reduced(data, {"mine": fails_late, "p": FailsInMerge}, threads=1)
    if threads == 1:
        assert caught.value.code in (5, 6)
    with pytest.raises(Odd) as caught:
        reduced(data, {"mine": fails_late}, threads=threads)
    assert caught.value.code == 5
    (note,) = caught.value.__notes__
    assert note.startswith("rsciio_tem.reduce: in the function 'mine', with the frame")
    first = int(note.split()[-3] if " to " in note else note.split()[-1])
    assert 19 <= first < 60
    assert "fails_late" in "".join(traceback.format_tb(caught.value.__traceback__))
    for kind, code, words in (
        (FailsInMerge, 6, "with what it found in the frames 12 to 23"),
        (FailsInResult, 7, "with all 60 frames"),
    ):
        with pytest.raises(Odd) as caught:
            reduced(data, {"mine": kind}, threads=threads)
        assert caught.value.code == code
        assert caught.value.__notes__ == [f"rsciio_tem.reduce: in the function 'mine', {words}"]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda block: block.sum(), r"'f' returned an array of shape \(\) with the frames 0 to 3"),
        (lambda block: block[:2], r"shape \(2, 5, 6\) with .* each of these 4 frames"),
        (lambda block: None, r"shape \(\)"),
        (lambda block: [[0] * (1 + int(f[0, 0]) % 2) for f in block], "values of different shapes"),
    ],
)
def test_wrong_shapes(function: Callable[[Array], Any], words: str) -> None:
    data = np.arange(120).reshape(4, 5, 6)
    data[1] += 1
    with pytest.raises(ValueError, match=words):
        reduced(data, {"f": function})


@pytest.mark.usefixtures("small_stripes")
@pytest.mark.parametrize("threads", [1, 2])
def test_shapes_that_change(threads: int) -> None:
    data = np.arange(40).reshape(40, 1, 1)

    def growing(block: Array) -> Array:
        return np.zeros((len(block), 1 + int(block[0, 0, 0]) // 20))

    words = r"returned, with the frames? 2\d.*, arrays of shape \(2,\) for each frame, and before"
    with pytest.raises(ValueError, match=words):
        reduced(data, {"f": growing}, threads=threads)


class Half:
    def take(self, block: Array) -> None:
        pass


def test_what_is_no_function(scan: tuple[Path, Array]) -> None:
    path, _ = scan
    for functions, kind, words in (
        ({"f": 5}, TypeError, "'f' is of type int: neither a function"),
        ({"f": np.ones((32, 48))}, TypeError, "'f' is of type ndarray"),
        ({"f": Half}, TypeError, "'f' lacks merge and result"),
        ({"f": lambda: 3}, TypeError, "'f' can only be called without a block"),
        ([same], TypeError, "should be a dict"),
        ({1: same}, TypeError, "should be a dict"),
        ({"sum": same}, ValueError, "no function can be called sum"),
        ({"masks": same}, ValueError, "no function can be called masks"),
        ({"disk": same}, ValueError, "no function can be called disk"),
    ):
        with pytest.raises(kind, match=words):
            rsciio_tem.reduce(path, masks={"disk": Disk(3)}, functions=functions)  # type: ignore[arg-type]


# -- blocks --------------------------------------------------------------------------------------


def gathered(blocks: Any, dtype: Any) -> tuple[Array, Array]:
    """Put blocks into an array of the scan; and where there was a frame."""
    whole = np.zeros((*blocks.shape, *blocks.frame_shape), dtype)
    seen = np.zeros(blocks.shape, int)
    count = 0
    for block in blocks:
        assert len(block) == len(block.frames) == len(block.positions) == len(block.blanks)
        assert block.frames.dtype == dtype
        whole[block.index] = block.frames
        np.add.at(seen, block.index, 1)
        np.testing.assert_array_equal(
            np.ravel_multi_index(block.index, blocks.shape) if blocks.shape else 0, block.positions
        )
        count += 1
    assert count == len(blocks)
    return whole, seen


BOUNDS = ("navigation_shape", "first_frame", "last_frame")


@pytest.mark.per_kind
def test_blocks_of_every_kind(sample: Sample) -> None:
    if sample.path is None or sample.expected.dtype.kind == "V":
        pytest.skip("arrays in memory are no recordings")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        recording, options = _opened(sample)
        bounds = {name: options[name] for name in BOUNDS if name in options}
        rest = {name: value for name, value in options.items() if name not in bounds}
        expected = read(recording, **bounds, options=rest)[0]["data"]
        for nbytes in (1, 3 * expected[..., 0].nbytes // 2, 4 << 20):
            blocks = recording.blocks(nbytes, **options)
            whole, seen = gathered(blocks, expected.dtype.newbyteorder("="))
            np.testing.assert_array_equal(whole.reshape(expected.shape), expected)
            assert (seen == 1).all()


def _opened(sample: Sample) -> tuple[Any, dict[str, Any]]:
    import inspect

    own = getattr(rsciio_tem, sample.format)
    parameters = inspect.signature(own.parse).parameters
    mine = {n: v for n, v in sample.options.items() if n in parameters}
    rest = {n: v for n, v in sample.options.items() if n not in parameters}
    return own.parse(sample.path, **mine), rest


def test_blocks_as_asked(scan: tuple[Path, Array]) -> None:
    path, data = scan
    recording = rsciio_tem.open(path)
    blocks = recording.blocks(5 * data[0, 0].nbytes)
    assert (blocks.shape, blocks.frame_shape, len(blocks)) == ((6, 8), (32, 48), 10)
    assert [len(block) for block in blocks] == [5] * 9 + [3]
    roi = np.random.default_rng(3).random((6, 8)) < 0.5
    whole, seen = gathered(recording.blocks(1 << 14, roi=roi), data.dtype)
    np.testing.assert_array_equal(seen, roi)
    np.testing.assert_array_equal(whole[roi], data[roi])
    dark = np.full((32, 48), 7, "u2")
    whole, _ = gathered(recording.blocks(1 << 14, dark=dark), np.dtype("f4"))
    np.testing.assert_array_equal(whole, rsciio_tem.load(path, dark=dark)[0]["data"])
    np.save(path.with_suffix(".npy"), data)
    cast = rsciio_tem.open(path.with_suffix(".npy")).blocks(1 << 14, dtype="f8")
    np.testing.assert_array_equal(gathered(cast, np.dtype("f8"))[0], data)
    wide, _ = gathered(recording.blocks(navigation_shape=(12, 2), first_frame=3), data.dtype)
    np.testing.assert_array_equal(wide, data.reshape(48, 32, 48)[3:27].reshape(2, 12, 32, 48))


@pytest.mark.filterwarnings("ignore::rsciio_tem.errors.RecordingWarning")
def test_blocks_tell_blanks(scan: tuple[Path, Array]) -> None:
    path, data = scan
    options: dict[str, Any] = {"nav_shape": (6, 8), "sync_offset": -3, "fill_value": 9}
    blocks = list(rsciio_tem.open(path).blocks(1 << 15, **options))
    blanks = np.concatenate([block.blanks for block in blocks])
    np.testing.assert_array_equal(blanks, np.arange(48) < 3)
    frames = np.concatenate([block.frames for block in blocks])  # kept, and not overwritten
    assert (frames[:3] == 9).all()
    np.testing.assert_array_equal(frames[3:], data.reshape(48, 32, 48)[:-3])


def test_blocks_may_be_changed_and_kept_too(scan: tuple[Path, Array]) -> None:
    path, data = scan
    blocks = rsciio_tem.open(path).blocks(1 << 14)
    views = []
    for i, block in enumerate(blocks):
        if i % 3:
            block.frames[:] = 0
        else:
            views.append((block.positions[0], block.frames[0, :2]))
    assert len(views) == 4
    for position, view in views:
        np.testing.assert_array_equal(view, data.reshape(48, 32, 48)[position, :2])
    for _ in range(2):  # as often as you like
        total = sum(block.frames.sum(axis=0, dtype=np.int64) for block in blocks)
        np.testing.assert_array_equal(total, data.sum(axis=(0, 1)))
    arrays = {block.frames.ctypes.data for block in blocks}
    assert len(arrays) == 2  # nothing was kept: they are filled in turn


def test_blocks_refuse(scan: tuple[Path, Array]) -> None:
    recording = rsciio_tem.open(scan[0])
    for nbytes in (0, -5, True):
        with pytest.raises(ValueError, match="is no size of a block"):
            recording.blocks(nbytes)
    with pytest.raises(TypeError):
        recording.blocks(1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="did you mean 'roi'"):
        recording.blocks(roy=3)
    with pytest.raises(ValueError, match="roi has shape"):
        recording.blocks(roi=np.ones((3, 3), bool))


def test_blocks_of_a_file_that_changed(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((5, 6, 16, 16), "u2"))
    blocks = rsciio_tem.open(tmp_path / "a.npy").blocks()
    assert len(list(blocks)) == 1
    np.save(tmp_path / "a.npy", np.ones((5, 6, 16, 17), "u2"))
    with pytest.raises(FormatError, match="changed since it was opened"):
        list(blocks)


# -- on a cluster --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            yield client


@pytest.mark.usefixtures("small_stripes")
@pytest.mark.filterwarnings("ignore::UserWarning:distributed")
def test_cluster(scan: tuple[Path, Array], client: Any) -> None:
    path, data = scan
    factor = 3
    functions = {
        "scaled": lambda block: factor * block[:, 3, 4].astype(float),
        "p": functools.partial(Products, 1.01),
        "pattern": Total(),
    }
    mine = rsciio_tem.reduce(path, functions=functions, threads=1)
    theirs = rsciio_tem.reduce(path, functions=functions, client=client)
    assert set(mine) == set(theirs) == {"navigator", "sum", *functions}
    for name in mine:
        assert mine[name].tobytes() == theirs[name].tobytes(), name
    np.testing.assert_array_equal(theirs["scaled"], 3.0 * data[:, :, 3, 4])
    with pytest.raises(Odd) as caught:
        rsciio_tem.reduce(path, functions={"mine": fails_at_once}, client=client)
    assert caught.value.code == 8
    assert "in the function 'mine', with the frame" in caught.value.__notes__[0]
    lock = threading.Lock()
    with pytest.raises(TypeError, match=r"'mine' cannot be sent to the workers.*pickle"):
        rsciio_tem.reduce(path, functions={"mine": lambda block: lock and block}, client=client)


def fails_at_once(block: Array) -> Array:
    raise Odd(code=8)


def test_sizes_of_blocks() -> None:
    """They have whole chunks, unless these are huge."""
    from rsciio_tem.recording.blocks import Blocks

    data = np.zeros((64, 8, 8), "u2")
    for run, nbytes, expected in ((1, 1000, 7), (1, 1, 1), (16, 1000, 16), (16, 5000, 32)):
        frames = ArrayFrames(lambda: data, (64,), (8, 8), data.dtype, chunks=(run, 8, 8))
        blocks = Blocks(frames, (64,), nbytes)
        assert blocks.frames_per_block == expected
        assert len(blocks) == math.ceil(64 / expected)
