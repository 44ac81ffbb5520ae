# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames as a sequence: indexing, blanks, spans and loading, against plain numpy arrays."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rsciio_tem.errors import FormatError, Truncated, Unsupported
from rsciio_tem.frames.arrays import ArrayFrames, DaskFrames
from rsciio_tem.frames.combined import Mosaic
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, Labels, Walk, runs_of
from rsciio_tem.reading.lazy import LazyFrames
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import DataFile

SHAPE = (3, 4)
COUNT = 30
FILL = 77


def plain_table(folder: Path) -> tuple[FrameTable, np.ndarray]:
    """Thirty frames in three files, in runs with different gaps; the files have rests."""
    frames = np.random.default_rng(5).integers(0, 60_000, (COUNT, *SHAPE)).astype(">u2")
    files, rows, done = [], [], 0
    layout = [[(10, 0, 7)], [(0, 3, 1), (50, 16, 8)], [(5, 1, 4), (0, 0, 10)]]
    for i, runs in enumerate(layout):
        content = b""
        for before, gap, count in runs:
            content += b"\xaa" * before
            rows.append((i, len(content), 24 + gap, count))
            for frame in frames[done : done + count]:
                content += frame.tobytes() + b"\xbb" * gap
            done += count
        path = folder / f"{i}.bin"
        path.write_bytes(content + b"\xcc" * 5)
        files.append(DataFile.of(path))
    table = FrameTable(tuple(files), runs_of(rows), Pixels(SHAPE, np.dtype(">u2")))
    return table, frames.astype("u2")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[FrameTable, np.ndarray]:
    return plain_table(tmp_path_factory.mktemp("table"))


def many(folder: Path) -> dict[str, tuple[Frames, np.ndarray]]:
    """One sequence of frames of each kind, all with the same pixels."""
    import dask.array as da

    stored, frames = plain_table(folder)
    left, right = (
        FrameTable(stored.files, stored.runs, Pixels((3, 4), np.dtype(">u2"))) for _ in range(2)
    )
    mosaic = Mosaic(
        (left, right),
        ((slice(0, 3), slice(0, 4)), (slice(3, 6), slice(5, 9))),
        (6, 9),
        fill=1,
    )
    wide = np.ones((COUNT, 6, 9), np.uint16)
    wide[:, :3, :4] = wide[:, 3:, 5:] = frames
    scan = frames.reshape(5, 6, *SHAPE)
    fortran = np.asfortranarray(scan)
    return {
        "table": (stored, frames),
        "array": (ArrayFrames(lambda: scan, (5, 6), SHAPE, np.dtype("u2")), frames),
        "fortran": (
            ArrayFrames(lambda: fortran, (5, 6), SHAPE, np.dtype("u2"), detector_major=True),
            frames,
        ),
        "dask": (DaskFrames(da.from_array(frames, chunks=(7, 3, 4))), frames),
        "mosaic": (mosaic, wide),
    }


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Frames, np.ndarray]]:
    return many(tmp_path_factory.mktemp("kinds"))


def loaded(
    frames: Frames, region: tuple[slice, ...] | None = None, dtype: Any = None
) -> np.ndarray:
    shape = frames.frame_shape if region is None else tuple(s.stop - s.start for s in region)
    out = np.full((len(frames), *shape), 99, dtype or frames.dtype)
    frames.load(out, region)
    return out


slices = st.builds(
    slice,
    st.none() | st.integers(-35, 35),
    st.none() | st.integers(-35, 35),
    st.none() | st.sampled_from([1, 2, 3, -1, -2, 7]),
)
#: An index, made to fit when the number of frames is known: pieces that run up or down, and blanks.
pieces = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(1, 9), st.sampled_from([1, -1, 0, 2])),
    max_size=5,
)
steps = st.lists(slices | pieces, max_size=4)


def fitted(step: Any, n: int) -> slice | np.ndarray:
    if isinstance(step, slice):
        return step
    index: list[int] = []
    for first, count, direction in step if n else ():
        if direction == 0:
            index += [-1] * count
        else:
            index += [i for k in range(count) if 0 <= (i := first % n + k * direction) < n]
    return np.array(index, np.int64)


def reference(frames: np.ndarray, blank: np.ndarray, index: Any) -> tuple[np.ndarray, np.ndarray]:
    """Index frames and the mask of blanks with numpy."""
    if isinstance(index, slice):
        return frames[index], blank[index]
    if not len(frames):
        return frames, blank
    out = frames[np.maximum(index, 0)].copy()
    out[index < 0] = FILL
    return out, np.where(index < 0, True, blank[np.maximum(index, 0)])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, rows=st.tuples(st.integers(0, 2), st.integers(1, 3)), data=st.data())
@pytest.mark.parametrize("kind", ["table", "array", "fortran", "dask", "mosaic"])
def test_indexing(
    kinds: dict[str, tuple[Frames, np.ndarray]], kind: str, steps: list[Any], rows: Any, data: Any
) -> None:
    frames, expected = kinds[kind]
    frames = frames.read_as(fill=FILL)
    if kind == "mosaic":
        expected = expected.copy()
        expected[:, :3, 4:] = expected[:, 3:, :5] = FILL
    blank = np.zeros(len(expected), bool)
    for step in steps:
        index = fitted(step, len(expected))
        frames = frames[index]
        expected, blank = reference(expected, blank, index)
    assert isinstance(frames, Frames)
    assert len(frames) == len(expected)
    assert frames.frame_shape == expected.shape[1:]
    found = frames.blanks
    np.testing.assert_array_equal(np.zeros(len(blank), bool) if found is None else found, blank)
    np.testing.assert_array_equal(loaded(frames), expected)
    region = (slice(min(rows[0], rows[1] - 1), max(rows[1], rows[0] + 1)), slice(1, 3))
    np.testing.assert_array_equal(loaded(frames, region), expected[(slice(None), *region)])
    np.testing.assert_array_equal(loaded(frames, region, "f8"), expected[(slice(None), *region)])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_spans(table: tuple[FrameTable, np.ndarray], steps: list[Any]) -> None:
    """Spans cover every frame once, at the right place, and are as long as they can be."""
    frames = table[0]
    places = [
        (int(run["file"]), int(run["start"] + k * run["stride"]))
        for run in frames.runs
        for k in range(run["count"])
    ]
    for step in steps:
        index = fitted(step, len(places))
        frames = frames[index]
        if isinstance(index, slice):
            places = places[index]
        else:
            places = [places[i] if i >= 0 else (-1, 0) for i in index]
    found: dict[int, tuple[int, int]] = {}
    spans = list(frames.spans())
    for span in spans:
        for k in range(span.count):
            at = span.first + span.step * k
            assert at not in found
            found[at] = (span.file, span.start + k * span.stride if span.file >= 0 else 0)
    assert [found[i] for i in range(len(places))] == places
    assert len(found) == len(places)


def test_regular_index_is_few_spans(table: tuple[FrameTable, np.ndarray]) -> None:
    frames = table[0]
    runs = len(frames.runs)
    assert len(list(frames.spans())) == runs
    assert len(list(frames[np.arange(COUNT)].spans())) == runs
    assert len(list(frames[np.arange(COUNT)[::-1]].spans())) == runs
    assert len(list(frames[::-1].spans())) == runs
    blanks = np.concatenate([[-1] * 5, np.arange(3, 6), [-1] * 4])
    assert [s.count for s in frames[blanks].spans()] == [5, 3, 4]
    snake = np.concatenate([[0, 1, 2, 3], [6, 5, 4]])
    assert [(s.first, s.step, s.count) for s in frames[snake].spans()] == [(0, 1, 4), (6, -1, 3)]
    assert not list(frames[:0].spans())
    assert not list(frames[np.empty(0, int)].spans())


def test_slices_keep_no_index(table: tuple[FrameTable, np.ndarray]) -> None:
    frames = table[0]
    assert frames[3:20].order is None
    assert frames[3:20].stored_count == len(frames[3:20]) == 17
    assert len(pickle.dumps(frames[3:20])) < 2000


def test_long_recordings(tmp_path: Path) -> None:
    """Neither the number of frames nor their places cost anything."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"")
    file = DataFile(str(path), 10**17, 0)
    runs = runs_of([(0, 384, 131_456, 10**11)])
    frames = FrameTable((file,), runs, Pixels((256, 256), np.dtype(">u2")))
    assert len(frames) == 10**11
    (span,) = frames[10**10 : 10**10 + 3].spans()
    assert (span.start, span.count) == (384 + 131_456 * 10**10, 3)
    assert len(pickle.dumps(frames)) < 2000
    with pytest.raises(FormatError, match="changed"):
        loaded(frames[-1:])


@pytest.mark.parametrize("index", [[-2], [COUNT], [0, 10**9], [[0]]])
def test_index_out_of_range(table: tuple[FrameTable, np.ndarray], index: Any) -> None:
    with pytest.raises(IndexError, match="frame index must be 1-D with values from -1 to 29"):
        table[0][np.array(index)]


def test_out_of_another_shape(table: tuple[FrameTable, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="out has shape"):
        table[0].load(np.empty((COUNT, 4, 4)))
    with pytest.raises(ValueError, match="out has shape"):
        table[0].load(np.empty((COUNT, *SHAPE)), (slice(0, 2), slice(0, 4)))


def test_frames_behind_the_end(table: tuple[FrameTable, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "short.bin"
    path.write_bytes(b"\0" * 100)
    pixels = Pixels(SHAPE, np.dtype(">u2"))
    frames = FrameTable((DataFile.of(path),), runs_of([(0, 0, 24, 5)]), pixels)
    assert not loaded(frames[:4]).any()
    with pytest.raises(Truncated, match=r"short\.bin: ends at byte 100"):
        loaded(frames)
    # the rows that are there can be read
    last = frames[4:5]
    with pytest.raises(Truncated):
        loaded(last, (slice(0, 1), slice(0, 4)))


def test_large_frames_are_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of frames that lie far apart are fetched alone, near ones together."""
    path = tmp_path / "large.bin"
    frames = np.random.default_rng(2).integers(0, 256, (5, 300, 400), np.uint8)
    path.write_bytes(frames.tobytes())
    lengths = []
    read, read_pieces_at = backends.read, backends.read_pieces_at

    def counting(file: Any, offset: int, nbytes: int, backend: Any, *more: Any) -> Any:
        lengths.append(nbytes)
        return read(file, offset, nbytes, backend, *more)

    def pieces(file: Any, offsets: list[int], out: np.ndarray) -> int:
        lengths.extend(map(len, out))
        return read_pieces_at(file, offsets, out)

    monkeypatch.setattr(backends, "read", counting)
    monkeypatch.setattr(backends, "read_pieces_at", pieces)
    table = FrameTable(
        (DataFile.of(path),),
        runs_of([(0, 0, 120_000, 5)]),
        Pixels((300, 400), np.dtype("u1")),
    )
    region = (slice(10, 20), slice(0, 400))
    np.testing.assert_array_equal(loaded(table, region), frames[:, 10:20])
    assert lengths == [4000] * 5
    lengths.clear()
    np.testing.assert_array_equal(loaded(table), frames)
    assert lengths == [600_000]


def test_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of the pieces, the frames are the same."""
    table, expected = plain_table(tmp_path)
    for block in (1, 24, 25, 70, 100, 1000):
        monkeypatch.setattr(backends, "BLOCK", block)
        np.testing.assert_array_equal(loaded(table), expected)
        np.testing.assert_array_equal(loaded(table[::-1]), expected[::-1])


def test_chunks_are_views_of_a_mapping(tmp_path: Path) -> None:
    frames = np.arange(10 * 12, dtype="<u2").reshape(10, 3, 4)
    path = tmp_path / "a.bin"
    path.write_bytes(frames.tobytes())
    file, runs = DataFile.of(path), runs_of([(0, 0, 24, 10)])
    table = FrameTable((file,), runs, Pixels(SHAPE, np.dtype("<u2")))
    assert table.viewed() is None
    mapped = table.read_as(backend="mmap")
    source = LazyFrames(mapped, (2, 5), np.dtype("u2"), str(path), 0)
    expected = frames.reshape(2, 5, 3, 4)
    for key in (np.s_[:], np.s_[1, 2:4], np.s_[1, 4:1:-1], np.s_[:, :, 1:, ::2]):
        found = source[key]
        np.testing.assert_array_equal(found, expected[key])
    assert np.shares_memory(source[1], backends.mapping(file))
    assert not source[1].flags.writeable
    for other in (mapped[np.array([3, -1, 2])], mapped.read_as(flip_y=True)[[2, 4, 3]]):
        assert other.viewed() is None
    swapped = FrameTable((file,), runs, Pixels(SHAPE, np.dtype(">u2")), backend="mmap")
    assert swapped.viewed() is None
    backends.close_all()


def test_mapped(tmp_path: Path) -> None:
    frames = np.arange(10 * 12, dtype=">u2").reshape(10, 3, 4)
    path = tmp_path / "a.bin"
    path.write_bytes(b"HEAD" + b"".join(b"--" + f.tobytes() + b"!" for f in frames))
    table = FrameTable(
        (DataFile.of(path),), runs_of([(0, 6, 27, 10)]), Pixels(SHAPE, np.dtype(">u2"))
    )
    view = table.mapped()
    assert view is not None
    np.testing.assert_array_equal(view, frames)
    assert not view.flags.writeable
    np.testing.assert_array_equal(table[2:7].mapped(), frames[2:7])
    np.testing.assert_array_equal(table[::-1].mapped(), frames[::-1])
    np.testing.assert_array_equal(table[np.array([4, 5, 6])].mapped(), frames[4:7])
    copy = table.mapped("c")
    assert copy is not None
    copy[0] = 0
    np.testing.assert_array_equal(view, frames)
    assert table[np.array([0, 2])].mapped() is None
    assert table[np.array([-1, 0])].mapped() is None
    assert table[:0].mapped() is None
    assert plain_table(tmp_path)[0].mapped() is None
    packed = FrameTable(table.files, table.runs, Pixels((2, 8), np.dtype("u2"), "u12-le"))
    assert packed.mapped() is None


def test_read_as(table: tuple[FrameTable, np.ndarray]) -> None:
    frames, expected = table
    np.testing.assert_array_equal(loaded(frames.read_as(flip_y=True)), expected[:, ::-1])
    other = frames.read_as(frame_shape=(4, 3))
    np.testing.assert_array_equal(loaded(other), expected.reshape(-1, 4, 3))
    assert frames.read_as(native=False).dtype == ">u2"
    assert frames.read_as(backend="mmap").backend == "mmap"
    with pytest.raises(Unsupported, match="sig_shape"):
        frames.read_as(frame_shape=(4, 4))


def test_one_frame_arrays() -> None:
    array = np.arange(12.0).reshape(SHAPE)
    for major in (False, True):
        source = np.asfortranarray(array) if major else array
        frames = ArrayFrames(lambda s=source: s, (), SHAPE, array.dtype, detector_major=major)
        assert len(frames) == 1
        np.testing.assert_array_equal(loaded(frames), array[np.newaxis])
        np.testing.assert_array_equal(
            loaded(frames, (slice(1, 3), slice(0, 2))), array[np.newaxis, 1:3, :2]
        )
        np.testing.assert_array_equal(loaded(frames[np.array([-1, 0, 0])])[1:], [array, array])


def test_dask_frames_with_a_wild_order() -> None:
    import dask.array as da

    frames = np.random.default_rng(3).integers(0, 100, (200, 2, 3))
    index = np.random.default_rng(4).integers(-1, 200, 500)
    chunked = DaskFrames(da.from_array(frames, chunks=(50, 2, 3)), fill=7)[index]
    expected = frames[np.maximum(index, 0)]
    expected[index < 0] = 7
    np.testing.assert_array_equal(chunked.lazy().compute(), expected)


def test_mosaic_that_does_not_fit(table: tuple[FrameTable, np.ndarray]) -> None:
    place = (slice(0, 3), slice(0, 4))
    with pytest.raises(ValueError, match="equally many frames"):
        Mosaic((table[0], table[0][:3]), (place, place), (3, 4))
    with pytest.raises(ValueError, match="equally many frames"):
        Mosaic((table[0],), (place, place), (3, 4))
    with pytest.raises(ValueError, match="does not fit"):
        Mosaic((table[0],), ((slice(0, 3), slice(0, 5)),), (3, 5))


def test_mosaic_upside_down(table: tuple[FrameTable, np.ndarray]) -> None:
    frames, expected = table
    places = ((slice(0, 3), slice(0, 4)), (slice(4, 7), slice(1, 5)))
    whole = np.full((len(expected), 7, 5), 9, expected.dtype)
    whole[:, :3, :4] = whole[:, 4:, 1:] = expected
    mosaic = Mosaic((frames, frames), places, (7, 5), fill=9, flip_y=False)
    np.testing.assert_array_equal(loaded(mosaic), whole)
    turned = mosaic.read_as(flip_y=True)
    np.testing.assert_array_equal(loaded(turned), whole[:, ::-1])
    for region in ((slice(0, 2), slice(1, 5)), (slice(2, 6), slice(0, 3)), (slice(6, 7),) * 2):
        if region[1].stop > 5:
            region = (region[0], slice(4, 5))
        np.testing.assert_array_equal(
            loaded(turned, region), whole[:, ::-1][(slice(None), *region)]
        )
    np.testing.assert_array_equal(loaded(turned[::-1][:3]), whole[::-1, ::-1][:3])
    assert turned.read_as().flip_y is True
    assert turned.read_as(flip_y=False).flip_y is False
    fixed = Mosaic((frames, frames), places, (7, 5))
    with pytest.raises(Unsupported, match="flip_y"):
        fixed.read_as(flip_y=False)
    assert fixed.read_as().flip_y is None


# ---------------------------------------------------------------- labels


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_label_is_looked_at(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever is asked for, and in whatever way it is read: never a pixel without its label."""
    shape = data.draw(st.sampled_from([(2, 3), (64, 33), (300, 300)]))
    before, behind = data.draw(st.sampled_from([(4, 0), (12, 6), (70_000, 0), (4, 70_000)]))
    count = data.draw(st.integers(1, 12))
    pixels = np.random.default_rng(3).integers(0, 60_000, (count, *shape)).astype("<u2")
    record = [("label", "<u4"), ("rest", f"V{before - 4}"), ("pixels", "<u2", shape)]
    records = np.zeros(count, [*record, ("footer", f"V{behind}")])
    records["label"], records["pixels"] = np.arange(count) + 1000, pixels
    path = tmp_path / "labels.bin"
    path.write_bytes(b"head" + records.tobytes())
    looked_at: list[int] = []

    def check(file: int, places: np.ndarray, raw: np.ndarray) -> None:
        assert file == 0
        numbers = np.ascontiguousarray(raw).view("<u4")[:, 0]
        np.testing.assert_array_equal(numbers - 1000, (places - 4) // records.itemsize)
        looked_at.extend((numbers - 1000).tolist())

    backend = data.draw(st.sampled_from(["auto", "mmap", "buffered"]))
    described, place = Pixels(shape, np.dtype("<u2")), 4 + before
    table = FrameTable(
        (DataFile.of(path),),
        runs_of([(0, place, records.itemsize, count)]),
        described,
        labels=Labels(before, 4, check),
        backend=backend,
    )
    index = np.array(data.draw(st.lists(st.integers(-1, count - 1), min_size=1, max_size=9)))
    wanted = table[index] if data.draw(st.booleans()) else table[int(max(0, index[0])) :]
    numbers = wanted.order if wanted.order is not None else np.arange(count)[-len(wanted) :]
    top = data.draw(st.integers(0, shape[0] - 1))
    region = data.draw(st.sampled_from([None, (slice(top, shape[0]), slice(0, shape[1] - 1))]))
    expected = np.where((numbers < 0)[:, None, None], 0, pixels[numbers])
    if region is not None:
        expected = expected[(slice(None), *region)]
    if data.draw(st.booleans()):
        out = np.empty(expected.shape, data.draw(st.sampled_from(["u2", "f4"])))
        wanted.load(out, region)
        np.testing.assert_array_equal(out, expected)
    else:
        for first, block in Walk(wanted, 3, region):
            part = expected[first : first + len(block)]
            np.testing.assert_array_equal(block, part.reshape(len(part), -1))
    assert sorted(set(looked_at)) == sorted({int(n) for n in numbers if n >= 0})
