# SPDX-License-Identifier: GPL-3.0-or-later
"""Reductions of lazy arrays are streamed, and are what dask makes of whole chunks.

Each operation is computed by numpy, by dask as it is, and with chunks that are read piece by piece.
"""

from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import dask
import dask.array as da
import numpy as np
import pytest
from samples import Sample
from writers import mib as mib_writer

import rsciio_tem
from rsciio_tem.reading import lazy_chunks, lazy_graphs, lazy_joins
from rsciio_tem.reading.lazy_chunks import ChunkSource, LazyChunk

SHAPE = (6, 7, 24, 40)
KINDS = ("u1", "u2", ">u2", "u4", "i2", "i8", "u8", "f4", "f8", "?")

MASK = np.random.default_rng(1).random(SHAPE[2:]) > 0.5
WEIGHTS = np.random.default_rng(2).random(SHAPE[2:])

AXES: tuple[tuple[int, ...] | int | None, ...] = (
    *((0, 1), (2, 3), None, 0, 1, 2, -1, (0, 2), (1, 3), (0, 1, 2), (1, 2, 3), (0, 1, 2, 3)),
)

COUNTS = np.random.default_rng(7).integers(0, 9, SHAPE[2:]).astype("u1")

#: What is done before a reduction.
BEFORE: dict[str, Callable[[Any, Any], Any]] = {
    "all": lambda x, xp: x,
    "inav": lambda x, xp: x[1:5, 2:6],
    "one line": lambda x, xp: x[2],
    "one column": lambda x, xp: x[:, -1],
    "every second": lambda x, xp: x[::2, ::3],
    "backwards": lambda x, xp: x[::-1, ::-1],
    "isig rows": lambda x, xp: x[:, :, 3:9],
    "isig": lambda x, xp: x[:, :, 3:9, 5:30],
    "isig in steps": lambda x, xp: x[:, :, ::2, 1::3],
    "both": lambda x, xp: x[1:, :-1, 3:9, 5:30],
    "picked": lambda x, xp: x[[0, 2, 5]],
    "new axis": lambda x, xp: x[:, :, None],
    "transposed": lambda x, xp: x.transpose(2, 3, 0, 1),
    "mask": lambda x, xp: x * MASK,
    "mask first": lambda x, xp: MASK * x,
    "weights": lambda x, xp: x * WEIGHTS,
    "weights of float32": lambda x, xp: x * WEIGHTS.astype("f4"),
    "weights of each position": lambda x, xp: x * (np.arange(42.0).reshape(6, 7, 1, 1)),
    "all but a mask": lambda x, xp: xp.where(MASK, np.nan, x),
    "mask, or zero": lambda x, xp: xp.where(MASK, x, 0),
    "mask, or one": lambda x, xp: xp.where(MASK, x, 1),
    "mask in a crop": lambda x, xp: xp.where(MASK[3:9, 5:30], np.nan, x[:, :, 3:9, 5:30]),
    "negated": lambda x, xp: -(x.astype("f8")),
    "cast": lambda x, xp: x.astype("f4"),
    "shifted": lambda x, xp: x - 3.5,
    "compared": lambda x, xp: x > 50,
    "logarithm": lambda x, xp: xp.log(abs(x.astype("f8")) + 1),
    "doubled": lambda x, xp: x * 2,
    "whole weights": lambda x, xp: x * COUNTS,
    "negative weights": lambda x, xp: x * -COUNTS.astype("i1"),
    "bytes swapped": lambda x, xp: x.astype("f4").astype(">u4"),
    "twice": lambda x, xp: (x * MASK) * 2.0,
    "with itself": lambda x, xp: x * (x > 20),
    "squared": lambda x, xp: x.astype("f8") ** 2,
    "divided": lambda x, xp: x / 7,
}

REDUCTIONS = (
    *("sum", "mean", "max", "min", "std", "var", "any", "all", "prod"),
    *("nansum", "nanmean", "nanmax", "nanmin", "nanstd", "nanprod"),
)


def values_of(kind: str) -> np.ndarray:
    values = np.random.default_rng(3).random(SHAPE) * 120
    array = (values > 60) if kind == "?" else values.astype(kind)
    if kind == "i2":
        array -= 50
    return array


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lazy-sums")


@pytest.fixture(autouse=True)
def results_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results of chunks are joined one by one though they are as small as here."""
    monkeypatch.setattr(lazy_joins, "_LEAST", 0)


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the chunks that are asked for a reduction."""
    chunks: list[Any] = []
    asked = LazyChunk.__array_function__

    def ask(self: LazyChunk, *args: Any) -> Any:
        chunks.append(self)
        return asked(self, *args)

    monkeypatch.setattr(LazyChunk, "__array_function__", ask)
    return chunks


def lazy_of(folder: Path, array: np.ndarray, **options: Any) -> Any:
    path = folder / f"{array.dtype.str.strip('<>|').replace('?', 'b1')}-{array.dtype.byteorder}.npy"
    if not path.exists():
        np.save(path, array)
    options = {"chunks": (4, 7, *SHAPE[2:]), **options}
    return rsciio_tem.load(path, lazy=True, **options)[0]["data"]


def compare(before: Any, name: str, axis: Any, lazy: Any, array: np.ndarray) -> None:
    """Compare what numpy, dask, and dask with streamed chunks make of an operation."""
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(before(array, np), axis=axis)
        ours = getattr(da, name)(before(lazy, da), axis=axis)
        with dask.config.set(array_optimize=None):
            theirs = ours.compute(scheduler="sync")
        streamed = ours.compute(scheduler="sync")
    assert type(streamed) is type(theirs)
    assert streamed.dtype == theirs.dtype
    assert streamed.shape == theirs.shape == np.shape(expected)
    fine = theirs.dtype.itemsize == 8 and array.dtype != "f4"
    scale = float(np.nanmax(np.abs(theirs), initial=0)) if theirs.dtype.kind == "f" else 0
    scale = scale if np.isfinite(scale) else 0
    if theirs.dtype.kind == "f":
        rtol = 1e-11 if fine else 2e-5
        np.testing.assert_allclose(streamed, theirs, rtol, rtol * scale)
    else:
        np.testing.assert_array_equal(streamed, theirs)


@pytest.mark.filterwarnings("ignore:(invalid|overflow|divide|All-NaN|Mean of|Degrees)")
@pytest.mark.parametrize("name", BEFORE)
def test_operations(folder: Path, name: str) -> None:
    """Also with pixels that are no numbers, in frames and detectors or beside them."""
    whole = name in ("all", "isig", "mask", "all but a mask")
    kinds = KINDS if whole else ("u2", "f4")
    for kind in kinds:
        if name in ("shifted", "negated") and kind == "?":
            continue
        array = values_of(kind)
        if kind == "f4":
            array[1, 2, 3, 4], array[2, 3, 10, 11] = np.nan, np.inf
        path = folder / kind.strip(">")
        path.mkdir(exist_ok=True)
        lazy = lazy_of(path, array)
        array = array.astype(array.dtype.newbyteorder("="))
        # the whole table for some, a part of it for the others
        axes = AXES if whole and kind == "u2" else AXES[:3]
        reductions = REDUCTIONS if kind == "u2" or (whole and kind == "f4") else REDUCTIONS[:6]
        ndim = BEFORE[name](array, np).ndim
        for reduction, axis in itertools.product(reductions, axes):
            if axis is not None and max(np.atleast_1d(axis), default=0) >= ndim:
                continue
            compare(BEFORE[name], reduction, axis, lazy, array)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_other_types_of_sums(folder: Path, kind: str) -> None:
    """Overflows wrap around, fractions are cut off, and masks mask as numpy does it."""
    path = folder / f"types-{kind}"
    path.mkdir()
    array = (values_of("f8") * 1.5 - (20 if kind == "f4" else 0)).astype(kind)
    lazy = lazy_of(path, array)
    masked = np.ma.masked_array(np.ones(SHAPE[2:], kind), MASK)
    for axis, dtype in itertools.product(((0, 1), (2, 3)), ("u1", "i2", "i8", "f4", "f8", object)):
        for before in (array, array * WEIGHTS):
            ours = lazy if before is array else lazy * WEIGHTS
            result = ours.sum(axis=axis, dtype=dtype).compute(scheduler="sync")
            with dask.config.set(array_optimize=None):
                expected = ours.sum(axis=axis, dtype=dtype).compute(scheduler="sync")
            assert result.dtype == expected.dtype
            rtol = 1e-5 if "f4" in (dtype, kind) else 1e-12
            np.testing.assert_allclose(result.astype("f8"), expected.astype("f8"), rtol=rtol)
    for operation in (
        lambda x: (x * masked).sum(axis=(2, 3)),
        lambda x: (x * da.from_array(masked)).mean(axis=(2, 3)),
        lambda x: (x * np.ones(SHAPE[2:], object)).sum(axis=(2, 3)),
        lambda x: da.frompyfunc(float, 1, 1)(x).sum(axis=(0, 1)),
    ):
        result = operation(lazy).compute(scheduler="sync")
        with dask.config.set(array_optimize=None):
            expected = operation(lazy).compute(scheduler="sync")
        assert type(result) is type(expected)
        np.testing.assert_allclose(result.astype("f8"), expected.astype("f8"), rtol=1e-5)


@pytest.mark.parametrize("kind", ["f2", "f8", "g"])
def test_types_of_floats(folder: Path, kind: str) -> None:
    """Kernels calculate in single or double precision."""
    array = values_of(kind)
    path = folder / f"floats-{kind}"
    path.mkdir()
    lazy = lazy_of(path, array)
    names = ("max", "min") if kind == "f2" else ("max", "min", "sum", "mean", "std")
    for name, axis in itertools.product(names, (None, (0, 1), (2, 3), 0)):
        compare(BEFORE["all"], name, axis, lazy, array)


def test_what_is_used_twice_is_read_once(folder: Path, streamed: list[Any]) -> None:
    lazy = lazy_of(folder, values_of("u2"))
    operation = da.where(lazy > 5, lazy, 0).sum(axis=(2, 3))
    operation.compute(scheduler="sync")
    assert not streamed


@pytest.mark.per_kind
def test_every_kind_of_frames(sample: Sample) -> None:
    if sample.expected.dtype.kind not in "buif":
        pytest.skip("no order, or no sum")
    data = sample.read_quietly()["data"]
    lazy = sample.read_quietly(lazy=True)["data"]
    nav = tuple(range(data.ndim - sample.sig_dims))
    sig = tuple(range(len(nav), data.ndim))
    mask = np.random.default_rng(4).random(sample.frame_shape) > 0.5
    crop = tuple(slice(n // 4, max(n // 4 + 1, n // 2)) for n in sample.frame_shape)
    variants: list[tuple[Any, tuple[str, ...]]] = [
        (lambda x, xp: x, ("sum", "max", "mean", "std")),
        (lambda x, xp: x * mask, ("sum", "std")),
        (lambda x, xp: x[(..., *crop)], ("sum", "max")),
        (lambda x, xp: xp.where(mask, x, 0), ("sum",)),
    ]
    for before, names in variants:
        for name, axes in itertools.product(names, (nav, sig)):
            if axes or name == "sum":
                compare(before, name, axes or None, lazy, data)


@pytest.mark.filterwarnings("ignore:(invalid value|overflow)")
@pytest.mark.parametrize("spoiled", [None, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("factor", [1, -0.25, 3e30])
def test_floats_times_a_mask(
    folder: Path, monkeypatch: pytest.MonkeyPatch, spoiled: float | None, factor: float
) -> None:
    """What is no number stays none, wherever it is, if it is multiplied with zero."""
    array = np.random.default_rng(1).normal(0, 1e9, (3, 4, 70, 90)).astype("f4")
    if spoiled is not None:
        array[1, 2, 60, 80] = spoiled  # far from the mask
    mask = np.zeros((70, 90), "f4")
    mask[3:9, 5:30] = factor
    np.save(folder / "large.npy", array)
    lazy = rsciio_tem.load(folder / "large.npy", lazy=True, chunks=(2, 4, 70, 90))[0]["data"]
    asked, reduce = [], lazy_chunks.in_this_thread

    def count(*args: Any) -> Any:
        asked.append(args)
        return reduce(*args)

    monkeypatch.setattr(lazy_chunks, "in_this_thread", count)
    result = (lazy * mask).sum(axis=(2, 3)).compute(scheduler="sync")
    assert bool(asked) is (factor <= 1)  # products might overflow
    with np.errstate(all="ignore"):
        expected = (array * mask).sum(axis=(2, 3))
    assert result.dtype == expected.dtype
    scale = 1e9 * abs(factor)
    np.testing.assert_allclose(result / scale, expected / scale, rtol=1e-4, atol=1e-4)


def test_chunks_are_streamed(folder: Path, streamed: list[Any]) -> None:
    lazy = lazy_of(folder, values_of("u2"))
    for operation in (
        lazy.sum(axis=(0, 1)),
        lazy.sum(axis=(2, 3)),
        lazy.mean(axis=(2, 3)),
        lazy[1:4, 2:6].sum(axis=(2, 3)),
        lazy[:, :, 3:9, 5:20].sum(axis=(2, 3)),
        (lazy * MASK).sum(axis=(2, 3)),
        da.nansum(da.where(MASK, np.nan, lazy), axis=(2, 3)),
        lazy.max(),
        lazy.std(axis=(0, 1)),
    ):
        streamed.clear()
        operation.compute(scheduler="sync")
        assert streamed


def test_sums_are_those_of_kernels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual detectors and sums are not made by numpy."""
    used: list[Any] = []
    reduce = lazy_chunks.in_this_thread

    def count(frames: Any, what: Any, weights: Any = None) -> Any:
        used.append((sorted(what), sorted(weights or {})))
        return reduce(frames, what, weights)

    region_of = lazy_chunks.weighted_region

    def count_regions(frames: Any, region: Any, weights: Any) -> Any:
        used.append(("region", region))
        return region_of(frames, region, weights)

    monkeypatch.setattr(lazy_chunks, "in_this_thread", count)
    monkeypatch.setattr(lazy_chunks, "weighted_region", count_regions)
    region = (slice(3, 9), slice(5, 20))
    lazy = lazy_of(folder, values_of("u2"), chunks=(6, 7, *SHAPE[2:]))
    expected: list[tuple[Any, Any]] = [
        (lazy.sum(axis=(0, 1)), (["sum"], [])),
        (lazy.sum(axis=(2, 3)), (["navigator"], [])),
        (lazy[:, :, 3:9, 5:20].sum(axis=(2, 3)), ("region", region)),
        ((lazy * MASK).sum(axis=(2, 3)), ([], ["masks"])),
        ((lazy * WEIGHTS).mean(axis=(2, 3)), ([], ["masks"])),
        (da.nansum(da.where(MASK, np.nan, lazy), axis=(2, 3)), ([], ["masks"])),
        (lazy.max(axis=(0, 1)), (["max"], [])),
        (lazy.var(axis=(0, 1)), (["sum", "variance"], [])),
    ]
    for operation, call in expected:
        used.clear()
        operation.compute(scheduler="sync")
        assert call in used


# -- functions of users --------------------------------------------------------------------------


def plain(*blocks: Any) -> None:
    for block in blocks:
        assert type(block) is np.ndarray
        assert block.flags.writeable or block.base is not None


def doubled(block: Any) -> Any:
    plain(block)
    return block * 2


def total(block: Any, axis: Any = None, keepdims: bool = False) -> Any:
    if isinstance(block, list):
        block = np.concatenate(block)
    plain(block)
    return block.sum(axis=axis, keepdims=keepdims)


def summed(block: Any) -> Any:
    plain(block)
    return np.sum(block, axis=(2, 3))


def of_frames(block: Any) -> Any:
    plain(block)
    return block.sum(axis=(-2, -1))


def of_pixels(values: Any) -> Any:
    plain(values)
    return values.max()


def operations(lazy: Any) -> Iterator[Any]:
    """Give what hands chunks, or what was made of them, to functions of a user."""
    yield lazy.map_blocks(doubled).sum(axis=(0, 1))
    yield (lazy * MASK).map_blocks(doubled).sum(axis=(2, 3))
    yield da.map_blocks(np.add, lazy, lazy[::-1].rechunk(lazy.chunks)).sum()
    yield lazy.map_overlap(doubled, depth={0: 1, 1: 0, 2: 0, 3: 0}, boundary="none").sum()
    yield da.reduction(lazy, total, total, axis=(0, 1), dtype="u8")
    yield da.reduction(lazy * MASK, total, total, axis=(2, 3), dtype="u8")
    yield da.apply_gufunc(of_frames, "(i,j)->()", lazy, output_dtypes="u8")
    yield da.apply_along_axis(of_pixels, 3, lazy, dtype="u2", shape=())
    yield da.blockwise(doubled, "abcd", lazy, "abcd", dtype="u2").sum(axis=(0, 1))
    yield da.concatenate([lazy, lazy.map_blocks(doubled)]).sum(axis=(0, 1))
    yield lazy.rechunk((2, 3, 8, 40)).map_blocks(doubled).sum(axis=(2, 3))
    yield da.stack([lazy.sum(axis=(0, 1)), lazy.map_blocks(doubled).max(axis=(0, 1))])
    image = lazy.map_blocks(of_frames, drop_axis=(2, 3), dtype="u8")
    yield lazy[image.sum(axis=1) > 20_000].map_blocks(doubled)
    yield lazy.sum(axis=(0, 1)).map_blocks(doubled)
    yield lazy.map_blocks(summed, drop_axis=(2, 3), dtype="u8")
    yield da.einsum("abcd,cd->ab", lazy, MASK.astype("u2"))
    yield da.tensordot(lazy, MASK.astype("u2"), axes=((2, 3), (0, 1)))
    yield lazy.cumsum(axis=0)
    yield da.percentile(lazy[0, 0].ravel(), 50)
    yield da.histogram(lazy, bins=5, range=(0, 120))[0]
    yield da.topk(lazy[..., 0], 2, axis=1)
    yield da.median(lazy, axis=(0, 1))
    yield lazy.argmax(axis=3)
    yield da.unique(lazy[0])
    yield lazy[lazy > 110]
    yield lazy.T.sum(axis=0)


@pytest.mark.parametrize("kind", ["u1", ">u2", "i8", "f4", "?"])
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "any", "all", "prod"])
def test_results_of_chunks_are_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    """No two images of the sum over the scan are put together to be added up."""
    array = values_of(kind)
    if array.dtype.kind == "f":
        array[3, 4, 5, 6] = np.nan
        array /= 60  # products have room
    lazy = lazy_of(tmp_path, array, chunks=(1, 2, *SHAPE[2:]))
    joins: list[int] = []
    total = lazy_joins._total
    monkeypatch.setattr(
        lazy_joins, "_total", lambda parts, *a: joins.append(len(parts)) or total(parts, *a)
    )
    result = getattr(lazy, name)(axis=(0, 1)).compute(scheduler="sync")
    with dask.config.set({"array_optimize": None}):
        usual = getattr(da.from_array(array, chunks=lazy.chunks), name)(axis=(0, 1)).compute()
    assert result.dtype == usual.dtype
    np.testing.assert_array_equal(result, usual)
    rounds = 2 if name == "mean" else 1  # numbers of values, and their totals
    assert sum(joins) >= rounds * 6 * 4  # 6 lines of 4 chunks
    # another result of the same kind, which is no image
    np.testing.assert_array_equal(
        getattr(lazy, name)(axis=(0, 2)).compute(),
        getattr(da.from_array(array, chunks=lazy.chunks), name)(axis=(0, 2)).compute(),
    )


def test_joined_results_keep_their_axes(folder: Path) -> None:
    array = values_of("u2")
    lazy = lazy_of(folder, array)
    kept = lazy.sum(axis=(0, 1), keepdims=True).compute()
    np.testing.assert_array_equal(kept, array.sum(axis=(0, 1), keepdims=True))
    average = (lazy.mean(axis=(0, 1), keepdims=True) * 2.0).compute()
    np.testing.assert_allclose(average, array.mean(axis=(0, 1), keepdims=True) * 2)


def test_functions_of_users_get_arrays(folder: Path) -> None:
    array = values_of("u2")
    for ours, theirs in zip(
        operations(lazy_of(folder, array)),
        operations(da.from_array(array, chunks=(4, 7, *SHAPE[2:]))),
        strict=True,
    ):
        result = ours.compute(scheduler="sync")
        assert type(result) in (np.ndarray, np.uint64)
        np.testing.assert_allclose(result, theirs.compute(scheduler="sync"))


class Target:
    """Takes what is stored."""

    keys: ClassVar[list[Any]] = []
    shape, dtype = SHAPE, np.dtype("u2")

    def __setitem__(self, key: Any, value: Any) -> None:
        plain(value)
        self.keys.append(key)


def test_stored_results_are_arrays(folder: Path) -> None:
    lazy = lazy_of(folder, values_of("u2"))
    Target.keys.clear()
    da.store([lazy, lazy.sum(axis=(0, 1), keepdims=True)], [Target(), Target()])
    assert len(Target.keys) == 3
    (delayed,) = lazy[:2].to_delayed().ravel()
    plain(delayed.compute())
    plain(lazy.persist(scheduler="sync").blocks[0].compute())


def test_a_chunk_among_arguments_becomes_an_array() -> None:
    frames = values_of("u2")
    source = rsciio_tem.from_array(frames, lazy=True)[0]["data"]
    assert isinstance(source[0, 0].compute(), np.ndarray)
    assert lazy_chunks.in_memory([1, {"a": (2, "x")}]) == [1, {"a": (2, "x")}]


def chunk_of(folder: Path, key: tuple[Any, ...]) -> Any:
    from rsciio_tem.reading.lazy import lazy_source

    source = lazy_source(lazy_of(folder, values_of("u2")))
    assert source is not None
    return ChunkSource(source)[key]


def test_chunk_behaves_like_an_array(folder: Path) -> None:
    array = values_of("u2")
    key = (slice(1, 4), slice(0, 7), slice(0, 24), slice(2, 30))
    chunk, part = chunk_of(folder, key), array[key]
    assert isinstance(chunk, LazyChunk)
    assert (chunk.shape, chunk.ndim, chunk.size, chunk.nbytes, len(chunk)) == (
        *(part.shape, part.ndim, part.size, part.nbytes, len(part)),
    )
    np.testing.assert_array_equal(np.asarray(chunk), part)
    np.testing.assert_array_equal(np.asarray(chunk, "f4"), part.astype("f4"))
    np.testing.assert_array_equal(chunk[0, 1], part[0, 1])
    np.testing.assert_array_equal(chunk.ravel(), part.ravel())
    np.testing.assert_array_equal(np.add.reduce(chunk, axis=0), np.add.reduce(part, axis=0))
    np.testing.assert_array_equal(np.stack([chunk, chunk]), np.stack([part, part]))
    np.testing.assert_array_equal(
        np.sum(chunk, axis=0, where=part > 5), part.sum(axis=0, where=part > 5)
    )
    np.testing.assert_array_equal(np.where(part > 5, chunk, chunk), part)
    np.testing.assert_array_equal(np.asarray(chunk + chunk), part + part)
    np.testing.assert_array_equal(np.asarray(chunk == 5), part == 5)
    np.testing.assert_array_equal(np.modf(chunk + 0.5)[0], np.modf(part + 0.5)[0])
    with pytest.raises(AttributeError):
        _ = chunk.no_such_attribute
    with pytest.raises(ValueError, match="broadcast"):
        _ = chunk + np.ones((3, 5))
    again = pickle.loads(pickle.dumps(chunk))
    np.testing.assert_array_equal(np.sum(again, axis=(0, 1)), part.sum(axis=(0, 1)))


def test_other_keys_give_arrays(folder: Path) -> None:
    array = values_of("u2")
    for key in (
        (slice(None), slice(None), slice(None, None, 2), slice(None)),
        (slice(None), slice(None), 3, slice(None)),
        ([0, 2], slice(None), slice(None), slice(None)),
        (slice(0, 0), slice(None), slice(None), slice(None)),
        (0, 1),
    ):
        part = chunk_of(folder, key)
        assert type(part) is np.ndarray
        np.testing.assert_array_equal(part, array[key])


# -- how it is switched --------------------------------------------------------------------------


def test_setting_of_the_user_is_kept(folder: Path, streamed: list[Any]) -> None:
    calls = []

    def theirs(graph: Any, keys: Any, **options: Any) -> Any:
        calls.append(len(graph))
        return graph

    with dask.config.set(array_optimize=theirs):
        lazy = lazy_of(folder, values_of("u2"))
        assert dask.config.get("array_optimize") is theirs
        lazy.sum(axis=(0, 1)).compute(scheduler="sync")
    assert calls
    assert not streamed
    assert dask.config.get("array_optimize") is lazy_graphs.optimize


def test_none_is_a_setting_too(folder: Path) -> None:
    with dask.config.set(array_optimize=None):
        lazy_of(folder, values_of("u2"))
        assert dask.config.get("array_optimize") is None


def test_large_graphs_are_left_alone(
    folder: Path, streamed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy_graphs, "_MOST_TASKS", 3)
    lazy_of(folder, values_of("u2"), chunks=(1, 1, 24, 40)).sum(axis=(0, 1)).compute()
    assert not streamed


def test_off_switch(folder: Path) -> None:
    np.save(folder / "off.npy", values_of("u2"))
    code = f"""
        import dask, rsciio_tem
        data = rsciio_tem.load({str(folder / "off.npy")!r}, lazy=True)[0]["data"]
        print(dask.config.get("array_optimize", None), int(data.sum().compute()))
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, lazy_graphs.SWITCH: "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == ["None", str(int(values_of("u2").sum()))]


def test_graphs_without_our_arrays_are_left_alone() -> None:
    array = da.ones((10, 10), chunks=5)
    with dask.config.set(array_optimize=lazy_graphs.optimize):
        assert array.sum().compute(scheduler="sync") == 100
    assert lazy_graphs.optimize({"a": 1}, ["a"])["a"] is not None


def test_two_results_at_once(folder: Path) -> None:
    array = values_of("u2")
    lazy = lazy_of(folder, array)
    pattern, image = dask.compute(lazy.sum(axis=(0, 1)), lazy.sum(axis=(2, 3)))
    np.testing.assert_array_equal(pattern, array.sum(axis=(0, 1)))
    np.testing.assert_array_equal(image, array.sum(axis=(2, 3)))


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_schedulers(folder: Path, scheduler: str) -> None:
    array = values_of(">u2")
    lazy = lazy_of(folder, array)
    result = lazy.sum(axis=(0, 1)).compute(scheduler=scheduler, num_workers=2)
    np.testing.assert_array_equal(result, array.sum(axis=(0, 1)))


def test_in_hyperspy(folder: Path, streamed: list[Any]) -> None:
    """Virtual detectors as HyperSpy and pyxem write them."""
    import hyperspy.api as hs

    counts = np.random.default_rng(5).integers(0, 4000, (5, 6, 64, 64)).astype(">u2")
    path = folder / "scan.mib"
    mib_writer.write_mib(path, counts.reshape(-1, 64, 64), kind="U16")
    frames = counts[..., ::-1, :].astype("u2")
    signal = hs.load(path, lazy=True, navigation_shape=(6, 5))
    roi = hs.roi.CircleROI(30.0, 28.0, 10.0, 3.0)
    eager = hs.signals.Signal2D(frames)
    expected = roi(eager, axes=eager.axes_manager.signal_axes).nansum(axis=(2, 3))
    ours = roi(signal, axes=signal.axes_manager.signal_axes).nansum(axis=(2, 3))
    streamed.clear()
    ours.compute(progressbar=False)
    assert streamed
    np.testing.assert_allclose(ours.data, expected.data)
    for operation in (
        lambda s: s.sum(),
        lambda s: s.sum(axis=(2, 3)),
        lambda s: s.isig[10:20, 5:30].sum(axis=(2, 3)),
        lambda s: s.inav[1:4, 2:].mean(axis=(0, 1)),
        lambda s: s.max(axis=0),
        lambda s: s.std(axis=1),
        lambda s: (s * MASK_64).sum(axis=(2, 3)),
        lambda s: s.isig[8].sum(),
        lambda s: s.integrate1D(axis=2),
        lambda s: s.valuemax(axis=2),
        lambda s: s.rebin(scale=(1, 1, 2, 2)),
        lambda s: s.map(np.flipud, inplace=False),
        lambda s: s.transpose().sum(),
    ):
        lazy = operation(signal)
        lazy.compute(progressbar=False)
        np.testing.assert_allclose(lazy.data, operation(eager).data)


MASK_64 = np.random.default_rng(6).random((64, 64)) > 0.5
