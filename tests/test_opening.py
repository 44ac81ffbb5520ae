# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening a recording: what makes it fast changes no answer, and each file is opened once."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from samples import SPECS, Spec
from writers import blo, dectris, framecache, hdf5, mib, stempy

import rsciio_tem
from rsciio_tem.errors import FormatError
from rsciio_tem.formats import raw
from rsciio_tem.formats.mib import times as mib_times
from rsciio_tem.parsing import hdf5 as opening
from rsciio_tem.parsing import hdf5_links, hdf5_values
from rsciio_tem.parsing.hdf5_links import above, is_at, member, opened_at
from rsciio_tem.parsing.hdf5_values import attribute, attributes, link_of, value
from rsciio_tem.scan import hypotheses
from rsciio_tem.storage import recent
from rsciio_tem.storage.backends import Backend, DataFile, close_all, read_pieces
from rsciio_tem.storage.identities import cached

Array = np.ndarray[Any, Any]

FRAMES = np.random.default_rng(0).integers(0, 200, (6, 8, 16, 16)).astype("u2")

IN_HDF5 = [spec for spec in SPECS if spec.format in ("hdf5", "dectris", "eigerstream", "stempy")]


# -- HDF5: each file once ------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each file is opened as HDF5, by its name."""
    counts: Counter[str] = Counter()
    real = opening._open

    def count(library: Any, path: str) -> Any:
        counts[os.path.basename(path)] += 1
        return real(library, path)

    monkeypatch.setattr(opening, "_open", count)
    return counts


def test_each_file_is_opened_once(tmp_path: Path, opened: Counter[str]) -> None:
    flat = FRAMES.reshape(-1, 16, 16)
    paths = [
        hdf5.write_py4dstem(tmp_path / "cube.h5", FRAMES),
        hdf5.write_external_link(tmp_path / "link.h5", FRAMES),
        hdf5.write_virtual(tmp_path / "virtual.h5", flat, 5),
        dectris.write_dectris(tmp_path, flat, 4, base="a", scan=(6, 8)),
    ]
    for path in paths:
        (signal,) = rsciio_tem.load(path, lazy=True)
        np.testing.assert_array_equal(np.asarray(signal["data"]).reshape(flat.shape), flat)
    opened.clear()
    for path in paths:
        rsciio_tem.open(path)
    # what the scanning program wrote is another file, looked at twice
    expected = ["cube.h5", "link.h5", "elsewhere.h5", "virtual.h5", "a_master.h5"]
    expected += [f"piece{i}.h5" for i in range(5)] + [f"a_data_{i + 1:06d}.h5" for i in range(12)]
    assert {name: opened[name] for name in expected} == dict.fromkeys(expected, 1)
    assert opened.keys() == {*expected, "a.h5"}


def test_more_files_than_stay_open(
    tmp_path: Path, opened: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = FRAMES.reshape(-1, 16, 16)
    path = dectris.write_dectris(tmp_path, flat, 4, base="a")
    monkeypatch.setattr(opening, "_MOST_FILES", 5)
    (signal,) = rsciio_tem.load(path)
    np.testing.assert_array_equal(signal["data"].reshape(flat.shape), flat)
    opened.clear()
    rsciio_tem.open(path)
    assert opened["a_data_000004.h5"] == 1 < opened["a_data_000012.h5"]


def test_nothing_stays_open(tmp_path: Path) -> None:
    """A file can be written again at once, whether it could be opened or not."""
    path = hdf5.write_external_link(tmp_path / "link.h5", FRAMES)
    rsciio_tem.open(path)
    (tmp_path / "elsewhere.h5").write_bytes(b"no HDF5")
    with pytest.raises(FormatError):
        rsciio_tem.open(path)
    for name in ("link.h5", "elsewhere.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["data"] = FRAMES
    assert rsciio_tem.open(path).count == 48


def test_threads_open_files_of_their_own(tmp_path: Path) -> None:
    path = hdf5.write_py4dstem(tmp_path / "cube.h5", FRAMES)
    with opening.kept_open(str(path)), opening.opened(str(path)) as mine:
        theirs: list[Any] = []

        def look() -> None:
            with opening.opened(str(path)) as file:
                theirs.append(file)
                assert list(file) == list(mine)

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert len(theirs) == 1
        assert theirs[0] is not mine
        with opening.opened(str(path)) as again:
            assert again is mine
    assert not mine


# -- HDF5: the same as h5py says -----------------------------------------------------------------


def same(left: Any, right: Any) -> None:
    assert type(left) is type(right)
    if isinstance(left, np.ndarray):
        assert left.dtype == right.dtype
    np.testing.assert_equal(left, right)


VALUES = {
    "int": 5,
    "float": 2.5,
    "half": np.float16(1.5),
    "big-endian": np.array([1, 2, 70000], ">u4"),
    "bool": True,
    "bools": np.array([True, False]),
    "complex": 1 + 2j,
    "text": "nm",
    "no text": "",
    "umlaut": "Å µ ü",
    "texts": np.array(["a", "bc", ""], object),
    "bytes": np.bytes_("fixed"),
    "bytes with zeros": np.array([b"ab", b"c"], "S5"),
    "table": np.zeros((2, 3), "i2"),
    "nothing": np.zeros(0),
    "empty": h5py.Empty("f4"),
    "record": np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
    "opaque": np.void(b"abc"),
    "NaN": np.nan,
}


@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("few", [16, 0])
def test_attributes_are_those_of_h5py(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracked: bool, few: int
) -> None:
    monkeypatch.setattr(hdf5_values, "_FEW_ATTRIBUTES", few or -1)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", track_order=tracked) as file:
        group = file.create_group("group", track_order=tracked)
        data = group.create_dataset("data", data=np.arange(3), track_order=tracked)
        names = list(VALUES)[::-1]
        for i, thing in enumerate((file, group, data)):
            for name in names[i::2][:8]:
                thing.attrs[name] = VALUES[name]
    with opening.kept_open(str(path)), opening.opened(str(path)) as file:
        for thing in (file, file["group"], file["group/data"]):
            assert list(attributes(thing)) == list(thing.attrs)
            for name in thing.attrs:
                for _ in range(2):  # the second time it is remembered
                    same(attribute(thing, name), thing.attrs[name])
            assert attribute(thing, "missing", "default") == "default"
    assert attribute(None, "missing", 3) == 3


def test_nobody_changes_what_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["data"], file.attrs["list"] = np.arange(3), np.arange(3)
    with opening.kept_open(str(path)), opening.opened(str(path)) as file:
        for read in (lambda: attribute(file, "list"), lambda: value(file["data"])):
            read()[:] = 9
            assert read().tolist() == [0, 1, 2]
        attributes(file)["list"] = None
        assert attributes(file)["list"] == [0, 1, 2]


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("chunked", [False, True])
def test_values_are_those_of_h5py(tmp_path: Path, name: str, chunked: bool) -> None:
    path = tmp_path / "a.h5"
    options = {"chunks": True, "compression": "gzip"} if chunked else {}
    stored = VALUES[name]
    if chunked and (np.ndim(stored) == 0 or np.size(stored) == 0):
        pytest.skip("single values are not in chunks")
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=stored, **options)
    with opening.kept_open(str(path)), opening.opened(str(path)) as file:
        dataset = member(file, "data")
        expected = None if dataset.shape is None else dataset[()]
        same(value(dataset), expected)


def test_texts_that_are_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        text = h5py.string_dtype("ascii")
        file.attrs.create("latin", b"\xe4\xb5", dtype=text)
        file["latin"] = np.array(b"\xe4\xb5", text)
    with opening.kept_open(str(path)), opening.opened(str(path)) as file:
        same(attribute(file, "latin"), file.attrs["latin"])
        same(value(member(file, "latin")), file["latin"][()])


def test_links_are_those_of_h5py(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["group/inner/data"] = np.arange(3)
        file["soft"] = h5py.SoftLink("/group/inner")
        file["lost"] = h5py.SoftLink("/nothing")
        file["far"] = h5py.ExternalLink("ü.h5", "/ä")
    with opening.kept_open(str(path)), opening.opened(str(path)) as file:
        for name in ("group", "soft", "lost", "far", "missing"):
            ours, theirs = link_of(file, name), file.get(name, getlink=True)
            assert type(ours) is type(theirs)
            assert getattr(ours, "path", "") == getattr(theirs, "path", "")
            assert getattr(ours, "filename", "") == getattr(theirs, "filename", "")
        paths = ("group", "/group/inner", "group/inner/data", "soft/data", "soft", "/", "far")
        for at in (*paths, "lost", "no", "group/no", "group/inner/data/no", ".", "./group"):
            assert is_at(file, at) is (at in file)
            assert (member(file, at) is None) is (file.get(at) is None)
            if file.get(at) is not None:
                assert opened_at(file, at) == file[at]
                assert opened_at(file, at).name == file[at].name
        inner = file["group/inner"]
        for at in ("/group", "/", "/no"):  # from the root, whatever they are asked of
            assert (member(inner, at) is None) is (inner.get(at) is None)
        for at in ("group", "group/inner", "soft"):
            group = opened_at(file, at)
            assert above(file, at, group) == group.parent


# -- HDF5: with and without what makes it fast ---------------------------------------------------


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let everything be opened, and read, by h5py each time that it is asked for."""

    def switch() -> None:
        monkeypatch.setattr(hdf5_values, "_plain_classes", frozenset)
        monkeypatch.setattr(hdf5_values, "_FEW_ATTRIBUTES", -1)
        monkeypatch.setattr(hdf5_values, "has_link", lambda group, name: True)
        monkeypatch.setattr(hdf5_links, "has_link", lambda group, name: True)
        monkeypatch.setattr(opening, "remembering", contextlib.nullcontext)
        monkeypatch.setattr(opening, "_MOST_FILES", 1)
        monkeypatch.setattr(opening, "_open", lambda library, path: library.File(path, "r"))

    return switch


@pytest.mark.parametrize("spec", IN_HDF5, ids=str)
def test_fast_and_plain(spec: Spec, tmp_path: Path, plainly: Callable[[], None]) -> None:
    sample = spec.make(tmp_path, np.random.default_rng(0))
    fast = sample.parse()
    plainly()
    plain = sample.parse()
    for name in ("metadata", "original_metadata", "files", "hints", "omega", "problems"):
        np.testing.assert_equal(getattr(fast, name), getattr(plain, name))
    assert fast.signal_axes == plain.signal_axes
    assert fast.scan_axes == plain.scan_axes
    assert fast.count == plain.count
    pixels = [np.empty((1, *r.frames.frame_shape), r.frames.dtype) for r in (fast, plain)]
    for recording, out in zip((fast, plain), pixels, strict=True):
        recording.frames[:1].load(out)
    np.testing.assert_array_equal(*pixels)


# -- headers that were read ----------------------------------------------------------------------


@pytest.fixture
def preads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    if not hasattr(os, "pread"):
        pytest.skip("no pread on this system")
    calls: list[int] = []
    real = os.pread

    def count(fd: int, size: int, at: int) -> bytes:
        calls.append(at)
        return real(fd, size, at)

    monkeypatch.setattr(os, "pread", count)
    close_all()
    yield calls
    close_all()


def aged(path: Path, seconds: float = 100.0) -> Path:
    """Let a file be so old that nobody is writing to it."""
    past = path.stat().st_mtime - seconds
    os.utime(path, (past, past))
    return path


@pytest.fixture
def strided(tmp_path: Path) -> tuple[Path, Array]:
    rows = np.random.default_rng(3).integers(0, 256, (200, 5000), np.uint8)
    path = tmp_path / "rows.bin"
    path.write_bytes(rows.tobytes())
    return path, rows


def pieces_of(path: Path, count: int = 200) -> Array:
    out = np.zeros((count, 20), np.uint8)
    read_pieces(DataFile.of(path), 7, 5000, out, keep=True)
    return out


def test_pieces_are_read_once(strided: tuple[Path, Array], preads: list[int]) -> None:
    path, rows = strided
    aged(path)
    for expected in (200, 0):
        preads.clear()
        np.testing.assert_array_equal(pieces_of(path), rows[:, 7:27])
        assert len(preads) == expected
    pieces_of(path)[...] = 0  # a copy
    np.testing.assert_array_equal(pieces_of(path), rows[:, 7:27])
    preads.clear()
    np.testing.assert_array_equal(pieces_of(path, 100), rows[:100, 7:27])
    assert len(preads) == 100
    close_all()
    preads.clear()
    pieces_of(path)
    assert len(preads) == 200


def test_pieces_of_files_that_change(strided: tuple[Path, Array], preads: list[int]) -> None:
    path, rows = strided
    aged(path)
    pieces_of(path)
    before = DataFile.of(path)
    path.write_bytes((255 - rows).tobytes())
    with pytest.raises(FormatError, match="changed since it was opened"):
        read_pieces(before, 7, 5000, np.zeros((200, 20), np.uint8), keep=True)
    for _ in range(2):  # it may still be written to, so nothing is kept
        preads.clear()
        np.testing.assert_array_equal(pieces_of(path), 255 - rows[:, 7:27])
        assert len(preads) >= 200


def test_pieces_of_files_whose_time_was_set_back(strided: tuple[Path, Array]) -> None:
    path, rows = strided
    aged(path)
    before = path.stat()
    pieces_of(path)
    path.write_bytes((255 - rows).tobytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    np.testing.assert_array_equal(pieces_of(path), 255 - rows[:, 7:27])


@pytest.mark.parametrize("how", ["in place", "another file"])
@pytest.mark.parametrize("backend", ["auto", "mmap", "direct"])
def test_files_that_took_the_place_of_others(tmp_path: Path, how: str, backend: Backend) -> None:
    """They have the same size and time, as files that are unpacked one after the other do."""
    path, rng = tmp_path / "a.raw", np.random.default_rng(0)
    for _ in range(3):
        frames = rng.integers(0, 255, (4, 8, 64), np.uint8)
        place = path if how == "in place" else tmp_path / "new"
        place.write_bytes(frames.tobytes())
        os.utime(place, (1_600_000_000, 1_600_000_000))
        place.replace(path)
        options: dict[str, Any] = {"dtype": "uint8", "sig_shape": (8, 64), "nav_shape": (2, 2)}
        (signal,) = raw.file_reader(path, lazy=True, io_backend=backend, **options)
        np.testing.assert_array_equal(signal["data"].compute(), frames.reshape(2, 2, 8, 64))


def test_chunks_of_files_that_were_replaced(tmp_path: Path) -> None:
    """The same chunks, stored in another order: where they are is found out again."""
    path, frames = tmp_path / "a.h5", np.arange(4 * 8 * 64, dtype="u2").reshape(4, 8, 64)
    sizes = []
    for order in ((0, 1, 2, 3), (3, 1, 2, 0)):
        path.unlink(missing_ok=True)
        with h5py.File(path, "w") as file:
            data = file.create_dataset("a", frames.shape, "u2", chunks=(1, 8, 64), shuffle=True)
            for i in order:
                data[i] = frames[i]
        os.utime(path, (1_600_000_000, 1_600_000_000))
        sizes.append(path.stat().st_size)
        (signal,) = rsciio_tem.load(path)
        np.testing.assert_array_equal(signal["data"], frames)
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("write", [framecache.write_npz, framecache.write_fch5])
def test_frame_caches_that_were_replaced(tmp_path: Path, write: Callable[..., Path]) -> None:
    """Of equal lengths and headers: entries that were decompressed before are not given again."""
    frames, sizes = np.zeros((5, 16, 16), "u2"), set()
    frames[:, 3:6, 2:9] = 7
    for factor in (1, 2, 3):
        path = write(tmp_path / f"a.{write.__name__[6:]}", frames * factor)
        os.utime(path, (1_600_000_000, 1_600_000_000))
        sizes.add(path.stat().st_size)
        (signal,) = rsciio_tem.load(path)
        np.testing.assert_array_equal(signal["data"], frames * factor)
    assert len(sizes) == 1


def test_counted_events_that_were_replaced(tmp_path: Path) -> None:
    """The same lists of electrons, at other positions of the scan."""
    path, lists = tmp_path / "a.h5", [np.array([i], "u4") for i in range(6)]
    for positions in (np.arange(6), np.arange(6)[::-1]):
        path.unlink(missing_ok=True)
        both = np.concatenate([positions, positions]).astype("u4")
        stempy.write_lists(path, lists + lists, both, scan=(2, 3), shape=(4, 5), version=2)
        os.utime(path, (1_600_000_000, 1_600_000_000))
        data = np.asarray(rsciio_tem.load(path)[0]["data"]).reshape(6, 20)
        np.testing.assert_array_equal(data.argmax(axis=1)[positions], range(6))


def test_beginnings_of_hdf5_files_that_were_replaced(tmp_path: Path) -> None:
    """A file with a long block for the user takes the place of one that is no HDF5 file."""
    path, plain = tmp_path / "a.h5", tmp_path / "b.h5"
    with h5py.File(plain, "w", userblock_size=8192) as file:
        file["a"] = FRAMES
    path.write_bytes(bytes(plain.stat().st_size))
    for place in (path, plain):
        os.utime(place, (1_600_000_000, 1_600_000_000))
    assert not opening.is_hdf5(str(path), bytes(4096))
    plain.replace(path)
    assert opening.is_hdf5(str(path), bytes(4096))


def test_what_is_kept_of_files_that_were_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    calls: list[DataFile] = []

    @cached(4)
    def first(file: DataFile) -> int:
        calls.append(file)
        return Path(file.path).read_bytes()[0]

    for number in (1, 1, 2, 3):
        if not path.exists() or path.read_bytes()[0] != number:
            path.write_bytes(bytes([number] * 10))
            os.utime(path, (1_600_000_000, 1_600_000_000))
        assert first(DataFile.of(path)) == number
    assert len(calls) == 3


def test_pieces_beyond_the_end(strided: tuple[Path, Array], preads: list[int]) -> None:
    path, rows = strided
    aged(path)
    for _ in range(2):
        out = np.full((201, 20), 9, np.uint8)
        read_pieces(DataFile.of(path), 7, 5000, out, keep=True)
        np.testing.assert_array_equal(out[:200], rows[:, 7:27])
        assert (out[200] == 9).all()


def test_pieces_are_not_kept_without_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "_MOST", 1000)
    kept = recent.RecentPieces()
    for key in range(5):
        kept.put(key, np.full((10, 30), key, np.uint8))
        kept.get(0)
    assert [key for key in range(5) if kept.get(key) is not None] == [0, 3, 4]
    kept.put("large", np.zeros((10, 60), np.uint8))
    assert kept.get("large") is None
    kept.clear()
    assert kept.get(4) is None


def test_recordings_are_opened_again(tmp_path: Path, preads: list[int]) -> None:
    """Each opening has the same result, and the second one reads no header of a frame."""
    frames = np.random.default_rng(0).integers(0, 200, (10, 20, 64, 64)).astype("u1")
    paths = [
        mib.write_mib(tmp_path / "a.mib", frames.reshape(-1, 64, 64), 6),
        blo.write_blo(tmp_path / "b.blo", frames),
    ]
    for path in map(aged, map(Path, paths)):
        results, counts = [], []
        for _ in range(2):
            preads.clear()
            (signal,) = rsciio_tem.load(path, lazy=True)
            counts.append(len(preads))
            results.append(signal)
        assert counts[0] >= 200 > 64 > counts[1]
        np.testing.assert_equal(*(result["original_metadata"] for result in results))
        assert results[0]["axes"] == results[1]["axes"]
        np.testing.assert_array_equal(*(np.asarray(result["data"]) for result in results))


# -- headers that are decoded together -----------------------------------------------------------


def header(i: int, *, comma: bool = True, year: str = "2024") -> str:
    start = f"MQ1,{i:06d},00384,01,0256,0256,U16,   1x1,01,{year}-05-07 10:00:{i % 60:02d}.000000"
    more = ",".join(["0.001000", str(i % 2), "0", "0"] + ["0.0"] * 8 + ["3RX"] * 8)
    end = f",MQ1A,{year}-05-07T10:00:{i % 60:02d}.{i:09d}Z,{1000 + i}ns,12,"
    return start + ("," if comma else ";") + more + end


@pytest.mark.parametrize(
    "texts",
    [
        [header(i) for i in range(30)],
        [header(7)] * 5,
        [header(i) for i in range(5)] + [header(9, comma=False)],
        [header(i, year="2024" if i else "20x4") for i in range(6)],
        [header(0), "", header(1)],
        ["", ""],
        [header(i).replace("MQ1A", "XXXX") for i in range(5)],
        [header(i).replace("MQ1,", "MQ1 " if i == 3 else "MQ1,") for i in range(5)],
    ],
)
def test_headers_together_and_alone(texts: list[str]) -> None:
    for width in (384, 383):  # in words, and in bytes
        rows = [list(text.encode().ljust(width, b"\0")[:width]) for text in texts]
        together = mib_times.frame_times(np.array(rows, np.uint8))
        alone = [mib_times.frame_times(np.array([row], np.uint8)) for row in rows]
        for name, column in vars(together).items():
            np.testing.assert_array_equal(column, [vars(one)[name][0] for one in alone])


@pytest.mark.parametrize("seed", range(60))
def test_no_length_that_stands_out_is_missed(seed: int) -> None:
    """Where the search gives up, no sum over lines at any place is large."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 120))
    values = rng.normal(0, rng.choice([0.0, 0.3, 1.0]), count)
    if seed % 3:
        values[:: int(rng.integers(2, 12))] += rng.choice([0.5, 1.5, 4.0])
    scale = max(1.0, float(np.std(values)))
    expected = []
    for length in range(2, count // 2 + 1):
        lines = count // length
        sums = values[: lines * length].reshape(lines, length).sum(axis=0)
        expected.append((length, float(sums.max()) / (np.sqrt(lines) * scale)))
    clear = sorted((pair for pair in expected if pair[1] > 4), key=lambda p: (-p[1], p[0]))[:3]
    result = hypotheses._standing_out(values)
    assert [length for length, _ in result] == [length for length, _ in clear]
    np.testing.assert_allclose([z for _, z in result], [z for _, z in clear])


def test_sniffing_looks_behind_a_block_once(tmp_path: Path) -> None:
    """Five readers of HDF5 ask where its signature is; a file that changes is looked at anew."""
    path, head = tmp_path / "a.bin", bytes(4096)
    path.write_bytes(bytes(1 << 16))
    opening._has_signature_behind.cache_clear()
    assert not any(opening.is_hdf5(str(path), head) for _ in range(5))
    assert opening._has_signature_behind.cache_info().misses == 1
    hdf5.write_array(path, FRAMES, userblock=8192)
    assert opening.is_hdf5(str(path), head)
