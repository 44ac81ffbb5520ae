# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse frames, and archives of many arrays: compiled loops against slow twins, bad archives."""

from __future__ import annotations

import io
import pickle
import re
import struct
import tracemalloc
import zipfile
import zlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from rsciio_tem.errors import FormatError, NotThisFormat, Truncated, Unsupported
from rsciio_tem.frames.pixels import Region
from rsciio_tem.frames.sparse import SparseFrames, Triplets, checked_shape, frames_of_matrix
from rsciio_tem.frames.wrapped import Transformed
from rsciio_tem.kernels.sparse import scatter
from rsciio_tem.parsing import zip_archives
from rsciio_tem.parsing.zip_archives import Directory, is_frame_cache
from rsciio_tem.reduction.plan import _stripes_of_entries
from rsciio_tem.reduction.single_pass import one_pass
from rsciio_tem.storage.backends import DataFile

SHAPE = (5, 7)


@dataclass(frozen=True)
class InMemory:
    """Entries in arrays, a list of (place, value) for each frame."""

    frames: list[list[tuple[int, float]]]
    kind: str = "u2"
    path: str = "memory"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.kind)

    def __len__(self) -> int:
        return len(self.frames)

    def using(self, backend: str) -> InMemory:
        return self

    def sizes(self, first: int, last: int) -> np.ndarray:
        return np.array([len(f) for f in self.frames[first:last]], np.int64)

    def entries(self, first: int, last: int) -> Triplets:
        bounds = np.concatenate([[0], np.cumsum(self.sizes(first, last))])
        flat = [entry for frame in self.frames[first:last] for entry in frame]
        pixels = np.array([place for place, _ in flat], np.int64)
        return Triplets(bounds, pixels, np.array([value for _, value in flat], self.dtype))


def dense(source: InMemory, shape: tuple[int, ...]) -> np.ndarray:
    """Fill frames one entry after the other."""
    out = np.zeros((len(source), int(np.prod(shape))), source.dtype)
    for frame, entries in zip(out, source.frames, strict=True):
        for place, value in entries:
            frame[place] += np.array(value).astype(source.dtype)
    return out.reshape(len(source), *shape)


frames_of = st.lists(
    st.lists(st.tuples(st.integers(0, 34), st.integers(1, 90)), max_size=9), min_size=1, max_size=8
)
orders = st.lists(st.integers(-1, 7), max_size=12)


@settings(max_examples=150)
@given(frames_of, orders, st.data())
def test_frames_against_loops(
    stored: list[list[tuple[int, float]]], order: list[int], data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(["u2", "i4", "f4", "f8", "c8", "f2", "u8"]))
    shape = data.draw(st.sampled_from([(5, 7), (7, 5), (35,), (5, 7, 1), (1, 5, 7)]))
    source = InMemory(stored, kind)
    frames, expected = SparseFrames(source, shape), dense(source, shape)
    if order := [min(i, len(stored) - 1) for i in order]:
        frames = frames[np.array(order)].read_as(fill=7)
        expected = expected[order]
        expected[np.array(order) < 0] = 7
    region: Region = tuple(
        slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in shape
    )
    out = np.full((len(frames), *shape), 99, kind)
    frames.load(out)
    np.testing.assert_array_equal(out, expected)
    there = (slice(None), *region)
    part = np.full(expected[there].shape, 99, kind)
    frames.load(part, region)
    np.testing.assert_array_equal(part, expected[there])
    spread = np.full((len(frames), *shape), 99, kind)[..., ::-1]  # not contiguous
    frames.load(spread)
    np.testing.assert_array_equal(spread, expected)
    entries = frames.read_as(fill=0).triplets()
    assert len(entries.bounds) == len(frames) + 1
    again = np.zeros((len(frames), int(np.prod(shape))), kind)
    np.add.at(again, (entries.frames, entries.pixels), entries.values)
    expected[np.array(order) < 0] = 0
    np.testing.assert_array_equal(again.reshape(expected.shape), expected)
    once = frames.read_as(fill=0).summed()
    keys = once.frames * 35 + once.pixels
    assert (np.diff(keys) > 0).all()
    again[...] = 0
    again[once.frames, once.pixels] = once.values
    np.testing.assert_array_equal(again.reshape(expected.shape), expected)


def slow_scatter(
    entries: Triplets, places: np.ndarray, out: np.ndarray, shape: Any, corner: Any
) -> tuple[int, bool] | None:
    """Twin of `kernels.scatter`."""
    for f, place in enumerate(places):
        out[place] = 0
        for k in range(entries.bounds[f], entries.bounds[f + 1]):
            pixel = int(entries.pixels[k])
            if not 0 <= pixel < shape[0] * shape[1]:
                return f, False
            row, column = pixel // shape[1] - corner[0], pixel % shape[1] - corner[1]
            if 0 <= row < out.shape[1] and 0 <= column < out.shape[2]:
                total = int(out[place, row, column]) + int(entries.values[k])
                if total > np.iinfo(out.dtype).max:
                    return f, True
                out[place, row, column] = total
    return None


@settings(max_examples=100)
@given(frames_of, st.data())
def test_scatter_against_loops(stored: list[list[tuple[int, float]]], data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["u1", "i1", "u2", "i8"]))
    stored = [[(p + data.draw(st.sampled_from([0, 0, -40, 40])), v) for p, v in f] for f in stored]
    entries = InMemory(stored, kind).entries(0, len(stored))
    places = np.array(data.draw(st.permutations(range(len(stored)))))
    ours, slow = (np.full((len(stored), 3, 4), 9, kind) for _ in range(2))
    corner = data.draw(st.tuples(st.integers(0, 2), st.integers(0, 3)))
    bad = scatter(*entries, places, ours, SHAPE, corner)
    assert bad == slow_scatter(entries, places, slow, SHAPE, corner)
    if bad is None:
        np.testing.assert_array_equal(ours, slow)


def test_scatter_checks_what_it_is_given() -> None:
    bounds, pixels, values = np.array([0, 2]), np.array([0, 1]), np.ones(2, "u2")
    out = np.zeros((1, 1, 4), "u2")
    for arguments in (
        (bounds, pixels, values, np.array([1]), out),
        (bounds, pixels, values, np.array([-1]), out),
        (np.array([0, 3]), pixels, values, np.array([0]), out),
        (np.array([-1, 1]), pixels, values, np.array([0]), out),
        (bounds, pixels, values[:1], np.array([0]), out),
        (bounds, pixels, values, np.array([0, 0]), out),
    ):
        with pytest.raises(ValueError, match=r"contradict|outside"):
            scatter(*arguments, (1, 4))


def test_sums_that_do_not_fit_are_errors() -> None:
    """SciPy wraps around: 200 + 100 in 8 bits is 44."""
    frames = SparseFrames(InMemory([[], [(3, 200), (3, 100)]], "u1"), SHAPE)
    out = np.zeros((2, *SHAPE), "u1")
    for use in (lambda: frames.load(out), frames.summed):
        with pytest.raises(FormatError, match="frame 1 lists a pixel several times"):
            use()
    wide = frames.widened("u2")
    out = np.zeros((2, *SHAPE), "u2")
    wide.load(out)
    assert out[1, 0, 3] == 300
    assert wide.summed().values.tolist() == [300]
    assert frames.widened("i1") is frames
    assert frames.widened(None) is frames
    assert frames.widened("stored") is frames


# ---------------------------------------------------------------- reductions


def _nothing(block: np.ndarray) -> None:
    """What `dense_of` does to loaded frames."""


def dense_of(frames: SparseFrames) -> Transformed:
    """The same frames, of which a reduction does not know that they are sparse."""
    return Transformed(frames, _nothing)


def same_reductions(frames: SparseFrames, what: Any, masks: Any, **options: Any) -> None:
    """Compare entries added up with dense frames added up: values, types, or the error."""
    found: dict[str, Any] = {}
    for name, source in (("dense", dense_of(frames)), ("sparse", frames)):
        try:
            found[name] = one_pass(source, what=what, masks=masks, **options)
        except FormatError as error:
            found[name] = str(error)
    if isinstance(found["dense"], str):  # of several damaged frames, either may be named
        dense, sparse = (re.sub(r"frame \d+", "a frame", str(found[n])) for n in found)
        assert sparse == dense
        return
    assert list(found["sparse"]) == list(found["dense"])
    for name, expected in found["dense"].items():
        ours = found["sparse"][name]
        assert (ours.dtype, ours.shape) == (expected.dtype, expected.shape)
        if expected.dtype.kind in "biu" or name == "max":
            np.testing.assert_array_equal(ours, expected, name)
        else:
            scale = np.abs(expected[np.isfinite(expected)]).max(initial=1)
            np.testing.assert_allclose(ours, expected, 1e-9, 1e-9 * scale, err_msg=name)


@settings(max_examples=250)
@given(data=st.data(), kind=st.sampled_from(["?", "u1", "u2", "u8", "i1", "i4", "i8", "f2", "f4",
                                             "f8", "c8"]))  # fmt: skip
def test_reductions_as_of_dense_frames(data: st.DataObject, kind: str) -> None:
    """Duplicates, empty frames, blanks, any order, sums that do not fit, places outside."""
    dtype = np.dtype(kind)
    most = {"?": 1, "u1": 200, "i1": 100, "u8": 1 << 56, "i8": 1 << 55}.get(kind, 90)
    least = 0 if kind[0] in "?u" else -most
    places = st.one_of(st.integers(0, 34), st.integers(0, 34), st.integers(0, 4))
    if data.draw(st.integers(0, 9)) == 0:
        places = st.integers(-1, 35)
    entries = st.lists(st.tuples(places, st.integers(least, most)), max_size=9)
    stored = data.draw(st.lists(entries, min_size=1, max_size=8))
    frames = SparseFrames(InMemory(stored, kind), data.draw(st.sampled_from([(5, 7), (35, 1)])))
    if order := data.draw(st.lists(st.integers(-1, len(stored) - 1), max_size=12)):
        frames = frames[np.array(order)].read_as(fill=data.draw(st.sampled_from([0, 7])))
    if kind in ("u1", "u2") and data.draw(st.booleans()):
        frames = frames.widened("u4")
    what = ["navigator", "sum", "mean", "max"] + ["variance", "com"] * (dtype.kind != "c")
    masks = np.random.default_rng(1).random((2, *frames.frame_shape))
    masks = data.draw(st.sampled_from([masks, masks[:1] > 0.5, masks + 1j, masks.astype("g")]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rsciio_tem.frames.sparse._ENTRIES", data.draw(st.integers(1, 400)))
        patch.setattr("rsciio_tem.reduction.plan._STRIPE_ENTRIES", data.draw(st.integers(1, 60)))
        same_reductions(frames, what, masks, threads=1)
        damaged = any(not 0 <= p < 35 for frame in stored for p, _ in frame)
        try:
            one = one_pass(frames, what=what, masks=masks, threads=1)
        except FormatError:
            with pytest.raises(FormatError):
                one_pass(frames, what=what, masks=masks, threads=3)
            return
        assert not damaged or order
        many = one_pass(frames, what=what, masks=masks, threads=3)
        for name, array in one.items():
            np.testing.assert_array_equal(many[name], array)


def test_variance_of_entries_on_a_large_offset() -> None:
    """A difference of two large numbers would leave nothing of it."""
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 3, (2000, 4))
    for kind, offset in (("u2", 65000), ("i4", 2_000_000_000), ("f8", 1e9)):
        stored = [[(i, int(v + offset)) for i, v in enumerate(frame)] for frame in noise]
        found = one_pass(SparseFrames(InMemory(stored, kind), (5, 7)), what=["variance"])
        variance = found["variance"].reshape(-1)
        np.testing.assert_allclose(variance[:4], noise.var(axis=0), rtol=1e-6)
        assert (variance[4:] == 0).all()


def test_sums_over_many_frames_do_not_go_round() -> None:
    """More frames than 32 bits have room for the largest 16-bit values of."""
    count = 70_000
    bounds, pixels = np.arange(count + 1), np.full(count, 2)
    matrix = scipy.sparse.csr_array((np.full(count, 65535, "u2"), pixels, bounds), (count, 4))
    frames = frames_of_matrix(matrix, (2, 2))
    found = one_pass(frames, what=["sum", "variance", "mean"])
    assert found["sum"].tolist() == [[0, 0], [count * 65535, 0]]
    assert found["mean"].tolist() == [[0, 0], [65535, 0]]
    assert (found["variance"] == 0).all()


def test_reductions_do_not_make_dense_frames() -> None:
    """Memory, and that every entry is looked at once."""
    count, shape = 3000, (1024, 1024)  # 6 GB if they were dense
    rng = np.random.default_rng(2)
    source = frames_of_matrix(
        scipy.sparse.random_array(
            (count, 1 << 20), density=1e-4, format="csr", rng=rng, dtype=np.float32
        ),
        shape,
    ).source
    seen: list[tuple[int, int]] = []

    class Watched:
        path, dtype = "memory", source.dtype
        sizes = staticmethod(source.sizes)

        def __len__(self) -> int:
            return count

        def entries(self, first: int, last: int) -> Triplets:
            seen.append((first, last))
            return source.entries(first, last)

    tracemalloc.start()
    try:
        found = one_pass(SparseFrames(Watched(), shape), what=["sum", "navigator"], threads=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100 << 20
    assert [a for a, _ in sorted(seen)] == [0, *(b for _, b in sorted(seen)[:-1])]
    np.testing.assert_allclose(found["sum"].sum(), source.values.sum(dtype=float))


def test_stripes_have_equally_many_entries() -> None:
    """Rather than frames, which may be empty."""
    stored: list[list[tuple[int, float]]] = [[]] * 1000 + [[(i, 1) for i in range(35)]] * 300
    frames = SparseFrames(InMemory(stored), SHAPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rsciio_tem.reduction.plan._STRIPE_ENTRIES", 1000)
        stripes = _stripes_of_entries(frames)
    weights = [sum(1 + len(frame) for frame in stored[a:b]) for a, b in stripes]
    assert stripes[0][0] == 0
    assert stripes[-1][1] == 1300
    assert all(a[1] == b[0] for a, b in pairwise(stripes))
    assert len(stripes) in (11, 12)
    assert max(weights) < 1000 + 2 * 36
    order = np.array([-1, 5, 1100, -1])
    assert frames[order].sizes().tolist() == [0, 0, 35, 0]
    assert frames[order].read_as(fill=1).sizes().tolist() == [35, 0, 35, 35]
    assert frames[np.array([-1])].sizes().tolist() == [0]
    assert frames[200:1002].sizes().tolist() == [0] * 800 + [35] * 2


@pytest.mark.parametrize("place", [-1, 35, 1 << 40])
def test_places_outside_of_the_frame_are_errors(place: int) -> None:
    frames = SparseFrames(InMemory([[(1, 1)], [(34, 1)], [(2, 1), (place, 1)]]), SHAPE)
    out = np.zeros((3, *SHAPE), "u2")
    for use in (lambda: frames.load(out), frames.triplets, lambda: frames[::-1].load(out)):
        with pytest.raises(FormatError, match="frame 2 lists pixels outside"):
            use()
    with pytest.raises(FormatError, match="frame 2 lists"):
        frames.load(np.zeros((3, 1, 1), "u2"), (slice(0, 1), slice(0, 1)))


def test_many_entries_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsciio_tem.frames.sparse._ENTRIES", 10)
    monkeypatch.setattr("rsciio_tem.frames.sparse._FRAMES", 6)
    rng = np.random.default_rng(1)
    stored = [[(int(p), 1) for p in rng.integers(0, 35, rng.integers(0, 30))] for _ in range(40)]
    source = InMemory(stored)
    frames = SparseFrames(source, SHAPE)
    out = np.empty((40, *SHAPE), "u2")
    frames.load(out)
    np.testing.assert_array_equal(out, dense(source, SHAPE))
    assert sum(b - a for a, b in frames.spans()) == 40
    frames[::-1].load(out)
    np.testing.assert_array_equal(out, dense(source, SHAPE)[::-1])


def test_indexing() -> None:
    frames = SparseFrames(InMemory([[(i, i + 1)] for i in range(5)]), SHAPE)
    assert frames[0:5] is frames
    assert len(frames[1:3]) == 2
    assert frames[1:3][::-1].order.tolist() == [2, 1]
    assert frames[np.array([4, -1])].blanks.tolist() == [False, True]
    for index in ([5], [-2], [[1]]):
        with pytest.raises(IndexError):
            frames[np.array(index)]
    with pytest.raises(Unsupported, match="sig_shape"):
        frames.read_as(frame_shape=(5, 8))
    assert pickle.loads(pickle.dumps(frames[2:4])).order.tolist() == [2, 3]
    with pytest.raises(ValueError, match="is needed"):
        frames.load(np.zeros((5, 7, 5), "u2"))


@pytest.mark.parametrize("shape", [(0, 3), (-1,), (), "ab", (2.5, 3), None])
def test_bad_shapes(shape: Any) -> None:
    with pytest.raises(FormatError, match="not a shape"):
        checked_shape(shape, "file", "shape")


def test_absurd_shapes() -> None:
    for shape in ((1 << 40, 1 << 40), (1e300,)):
        with pytest.raises(Unsupported, match="frames of more than"):
            checked_shape(shape, "file", "shape")


# ---------------------------------------------------------------- archives


def names(count: int, digits: int) -> list[str]:
    rng = np.random.default_rng(count)
    plain = [f"{i}_{part}.npy" for i in range(count) for part in ("row", "col", "data")]
    odd = ["omega.npy", "0", "00_row.npy", "1_row.npz", "_row.npy", "1_rowx.npy", "x1_row.npy",
           "5_dat.npy", "7_data.npz", f"{10**digits}_col.npy", "µ.npy"]  # fmt: skip
    both = plain + odd
    return [both[i] for i in rng.permutation(len(both))]


def listed(path: Path) -> Directory:
    zip_archives.directory.cache_clear()
    return zip_archives.directory(DataFile.of(path))


@pytest.mark.parametrize("digits", [3, 17, 18, 25])
@pytest.mark.parametrize("comment", [b"", b"a comment"])
def test_directory_as_zipfile_sees_it(
    tmp_path: Path, digits: int, comment: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, name in enumerate(names(30, digits)):
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=i % 3 == 0) as member:
                member.write(bytes([i]) * i * 10)
        archive.comment = comment
    with zipfile.ZipFile(path) as archive:
        wanted = archive.infolist()
    for few in (0, 10**9):  # compiled, and not
        monkeypatch.setattr(zip_archives, "_FEW", few)
        found = listed(path)
        columns = [found.members[k].tolist() for k in ("offset", "packed", "size", "crc", "method")]
        assert list(zip(*columns, strict=True)) == [
            (i.header_offset, i.compress_size, i.file_size, i.CRC, i.compress_type) for i in wanted
        ]
        for i, info in enumerate(wanted):
            assert found.name(i) == info.filename
        members = np.arange(len(wanted))
        contents = {i: bytes(content) for i, content in found.contents(members)}
        with zipfile.ZipFile(path) as archive:
            assert contents == {i: archive.read(info) for i, info in enumerate(wanted)}
        table = found.table(30)
        assert (table >= 0).all()
        assert found.name(int(table[2, 7])) == "7_data.npy"


@pytest.mark.parametrize("few", [0, 10**9])
def test_sizes_and_places_beyond_32_bits(
    few: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory has them in an extra field; here it says so of small numbers."""
    monkeypatch.setattr(zip_archives, "_FEW", few)
    path = tmp_path / "a.npz"
    content = b"abc" * 10
    name = b"0_row.npy"
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 0, 0, 33, zlib.crc32(content), 30, 30, 9, 0)
    filler = struct.pack("<2H", 99, 5) + b"12345"
    extra = filler + struct.pack("<2H3Q", 1, 24, 30, 30, 0)
    central = struct.pack("<4s6H3I5H2I", b"PK\1\2", 45, 45, 0, 0, 0, 33, zlib.crc32(content),
                          *(0xFFFFFFFF, 0xFFFFFFFF, 9, len(extra)),
                          *(0, 0, 0, 0, 0xFFFFFFFF))  # fmt: skip
    directory = central + name + extra
    begin = len(local) + 9 + 30
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(directory), begin)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, begin + len(directory), 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(local + name + content + directory + end64 + locator + end)
    found = listed(path)
    assert {k: found.members[k].tolist() for k in ("size", "packed", "offset", "part")} == {
        "size": [30], "packed": [30], "offset": [0], "part": [0]
    }  # fmt: skip
    assert [bytes(c) for _, c in found.contents(np.array([0]))] == [content]
    with zipfile.ZipFile(path) as archive:  # the witness agrees that it is an archive
        assert archive.read("0_row.npy") == content


def first_array(path: Path) -> np.ndarray:
    found = listed(path)
    ((i, content),) = found.contents(np.array([0]))
    return found.array(i, content).copy()


def archive_of(path: Path, **arrays: Any) -> bytes:
    np.savez_compressed(path, **arrays)
    return path.read_bytes()


def test_what_precedes_an_archive(tmp_path: Path) -> None:
    content = archive_of(tmp_path / "a.npz", a=np.arange(5))
    path = tmp_path / "b.npz"
    path.write_bytes(b"PK\3\4 something else " + content)
    assert first_array(path).tolist() == [0, 1, 2, 3, 4]


def test_arrays_of_all_kinds(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    arrays = {
        "flat": np.arange(6, dtype=">i4"),
        "none": np.zeros(0, "u2"),
        "scalar": np.array(5),
        "text": np.array(["a", "bcd"]),
        "bytes": np.array(b"uint16"),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "flags": np.array([True, False]),
    }
    archive_of(path, **arrays)
    found = listed(path)
    for i, content in found.contents(np.arange(len(arrays))):
        wanted = arrays[found.name(i)[:-4]]
        array = found.array(i, content)
        assert array.dtype == wanted.dtype
        np.testing.assert_array_equal(array, wanted)


def member(content: bytes, name: str = "a.npy", **changed: int) -> bytes:
    """An archive of one deflated member, with fields of its directory changed."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = deflate.compress(content) + deflate.flush()
    fields = {"flags": 0, "method": 8, "crc": zlib.crc32(content), "packed": len(packed),
              "size": len(content), "offset": 0, **changed}  # fmt: skip
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 33, 0, 0, 0, len(name), 0)
    local += name.encode()
    central = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, fields["flags"], fields["method"], 0,
                          33, fields["crc"], fields["packed"], fields["size"], len(name), 0, 0, 0,
                          0, 0, fields["offset"]) + name.encode()  # fmt: skip
    begin = len(local) + len(packed)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(central), begin, 0)
    return local + packed + central + end


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array))
    return stream.getvalue()


GOOD = npy(np.arange(100))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (member(GOOD, size=len(GOOD) - 1), "announced"),
        (member(GOOD, size=len(GOOD) + 1), "announced"),
        (member(GOOD, size=0xFFFFFFF0), "cannot become"),
        (member(bytes(1 << 24), size=1000), "announced"),  # a bomb that says it is small
        (member(GOOD, crc=5), "checksum"),
        (member(GOOD, packed=50), "damaged"),
        (member(GOOD, packed=10**6), "damaged at member 0"),
        (member(GOOD, offset=5), "not where the directory says"),
        (member(GOOD, offset=10**6), "damaged at member 0"),
        (member(GOOD, flags=1), "encrypted"),
        (member(GOOD, method=14), "compressed with method 14"),
        (member(b"no array"), "not a .npy"),
        (member(GOOD[:40]), "header is wrong"),
        (member(GOOD[:-8]), "does not hold"),
        (member(GOOD.replace(b"(100,)", b"(-10,)")), "header is wrong|Unsupported|not numbers"),
        (member(GOOD.replace(b"'<i8'", b"'|O8'")), "header is wrong|pickle|not numbers"),
        (member(npy(np.array([(1, 2)], "i4,i4"))), "not numbers"),
    ],
)
def test_bad_members(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=match) as caught:
        first_array(path)
    assert caught.value.path == str(path)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "executed",)

    path = tmp_path / "a.npz"
    np.savez(path, a=np.array([Trap()], object))
    with pytest.raises(FormatError, match="nothing is unpickled"):
        first_array(path)
    assert not (tmp_path / "executed").exists()


def test_bad_directories(tmp_path: Path) -> None:
    content = archive_of(tmp_path / "a.npz", a=np.arange(50), b=np.arange(9))
    path = tmp_path / "bad.npz"
    end = content.rindex(b"PK\5\6")
    middle = content.rindex(b"PK\1\2")
    cases = {
        "is not a zip archive": b"hello" * 10,
        "it was cut": content[: len(content) // 2],
        "of 60000 members": content[: end + 10] + struct.pack("<H", 60000) + content[end + 12 :],
        "damaged at member 1 of 2": content[:middle] + b"XX" + content[middle + 2 :],
        "one part of": content[: end + 4] + struct.pack("<H", 3) + content[end + 6 :],
        "has a damaged directory": content[: end + 12] + b"\xff\xff\xff\x7f" + content[end + 16 :],
    }
    for match, damaged in cases.items():
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match=match):
            listed(path)
    path.write_bytes(b"")
    with pytest.raises(NotThisFormat):
        listed(path)
    path.write_bytes(content[:-30])
    with pytest.raises(Truncated):
        listed(path)
    assert not is_frame_cache(str(path), content[:4])


@settings(max_examples=300)
@given(st.data())
def test_damaged_archives(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Both ways of listing agree on every damage, and only FormatError comes out."""
    folder = tmp_path_factory.getbasetemp()
    content = bytearray(
        archive_of(folder / "base.npz", **{"0_row": np.arange(3), "omega": np.ones((2, 2))})
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path = folder / "damaged.npz"
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    seen = []
    for few in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(zip_archives, "_FEW", few)
            try:
                found = listed(path)
                seen.append({k: v.tolist() for k, v in found.members.items()})
                for i, got in found.contents(np.arange(len(found.ends))):
                    found.array(i, got)
            except FormatError as error:
                seen.append(str(error))
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :]
