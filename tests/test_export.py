# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversions: what is written, and what is left when they are interrupted."""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import json
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.array as da
import filelock
import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from kill_conversions import torture
from slow_conversion import begin, blocks_done
from writers import mib as writer

import rsciio_tem
from rsciio_tem.cli import main
from rsciio_tem.errors import FormatError, RecordingWarning
from rsciio_tem.formats import npy, raw
from rsciio_tem.registry import FORMATS
from rsciio_tem.writing import signal_frames, stream, working_folder
from rsciio_tem.writing.hdf5 import Hdf5
from rsciio_tem.writing.hdf5_stream import ChunkedFile
from rsciio_tem.writing.identity import identified
from rsciio_tem.writing.stream import shutil
from rsciio_tem.writing.target import FlatFile, Payloads
from rsciio_tem.writing.working_folder import Work

FRAMES = np.random.default_rng(3).integers(0, 4000, (6, 7, 16, 24)).astype("u2")


def axes(shape: tuple[int, ...]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "size": n,
            "navigate": i < len(shape) - 2,
            "index_in_array": i,
            "scale": 0.5 + i,
            "offset": -1.0,
            "units": "nm",
        }
        for i, (n, name) in enumerate(zip(shape, "tyxvu"[-len(shape) :], strict=True))
    ]


def quiet_convert(*args: Any, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        rsciio_tem.convert(*args, **options)


def signal_of(data: Any) -> dict[str, Any]:
    return {"data": data, "axes": axes(data.shape), "metadata": {}, "original_metadata": {}}


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "scan.mib"
    writer.write_mib(path, FRAMES.reshape(-1, 16, 24))
    return path


# ---------------------------------------------------------------- what is written


@pytest.mark.parametrize("suffix", ["npy", "raw"])
@pytest.mark.parametrize("verify", [False, True])
def test_convert_a_file(recording: Path, suffix: str, verify: bool) -> None:
    target = recording.with_name(f"other.{suffix}")
    told = rsciio_tem.convert(recording, target, nav_shape=(6, 7), verify=verify)
    assert told == str(target)
    ours = rsciio_tem.load(recording, nav_shape=(6, 7))[0]
    np.testing.assert_array_equal(rsciio_tem.load(target)[0]["data"], ours["data"])
    if suffix == "npy":
        np.testing.assert_array_equal(np.load(target), ours["data"])
    else:
        stored = np.fromfile(target, "<u2").reshape(FRAMES.shape)
        np.testing.assert_array_equal(stored, ours["data"])
    expected = {"scan.mib", "scan.hdr", target.name, *(["other.toml"] * (suffix == "raw"))}
    assert {p.name for p in recording.parent.iterdir()} <= expected  # nothing else is left


def test_calibration_survives_in_the_side_file(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    raw.file_writer(path, signal_of(FRAMES))
    (back,) = rsciio_tem.load(path)
    for theirs, ours in zip(axes(FRAMES.shape), back["axes"], strict=True):
        assert {k: ours[k] for k in theirs} == theirs


@pytest.mark.parametrize("dtype", ["u1", "i2", ">u2", "f4", ">f8", "c8", "bool"])
def test_pixel_types(tmp_path: Path, dtype: str) -> None:
    data = (FRAMES % 100).astype(dtype)
    for path in (tmp_path / "a.npy", tmp_path / "a.raw"):
        rsciio_tem.convert(signal_of(data), path, verify=True)
        np.testing.assert_array_equal(rsciio_tem.load(path)[0]["data"], data)


@pytest.mark.parametrize("shape", [(16, 24), (7, 16, 24), (6, 7, 16, 24), (2, 3, 7, 16, 24)])
@pytest.mark.parametrize("lazy", [True, False])
def test_zarr(tmp_path: Path, shape: tuple[int, ...], lazy: bool) -> None:
    zarr = pytest.importorskip("zarr")
    data = np.random.default_rng(1).integers(0, 4000, shape).astype("u2")
    path = tmp_path / "a.zarr"
    rsciio_tem.convert(signal_of(data), path, verify=True)
    stored = zarr.open(str(path), mode="r")
    np.testing.assert_array_equal(stored[...], data)
    assert stored.attrs["axes"][0]["scale"] == 0.5
    (back,) = rsciio_tem.load(path, lazy=lazy)
    np.testing.assert_array_equal(np.asarray(back["data"]), data)
    assert [a["name"] for a in back["axes"]] == [a["name"] for a in axes(shape)]
    assert [a["scale"] for a in back["axes"]] == [a["scale"] for a in axes(shape)]
    with pytest.raises(FileExistsError):
        rsciio_tem.convert(signal_of(data), path)
    rsciio_tem.convert(signal_of(data + 1), path, overwrite=True, zarr_format=2)
    np.testing.assert_array_equal(rsciio_tem.load(path)[0]["data"], data + 1)
    group = zarr.open_group(str(tmp_path / "b.zarr"), mode="w")
    group["deep/inside"] = data
    np.testing.assert_array_equal(rsciio_tem.load(tmp_path / "b.zarr")[0]["data"], data)
    with pytest.raises(FormatError, match=r"has no array 'x'.*deep/inside"):
        rsciio_tem.load(tmp_path / "b.zarr", dataset="x")
    with pytest.raises(ValueError, match="neither 2 nor 3"):
        rsciio_tem.convert(signal_of(data), tmp_path / "c.zarr", zarr_format=1)
    if int(zarr.__version__.split(".")[0]) < 3:
        with pytest.raises(ValueError, match="writes version 2 only"):
            rsciio_tem.convert(signal_of(data), tmp_path / "c.zarr", zarr_format=3)
    else:
        assert rsciio_tem.load(path)[0]["data"].shape == shape
    with pytest.raises(FormatError, match="is a folder"):
        rsciio_tem.load(tmp_path)


@pytest.mark.parametrize(
    "chunks",
    [(1, 1, 16, 24), (2, 3, 16, 24), (6, 7, 4, 5), (4, 7, 16, 24), (1, 5, 8, 24), (6, 2, 16, 24)],
)
def test_lazy_signals_of_any_chunks(
    tmp_path: Path, chunks: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BLOCK", 5 * FRAMES[0, 0].nbytes)
    data = da.from_array(FRAMES, chunks=chunks)
    rsciio_tem.convert(signal_of(data), tmp_path / "a.npy", verify=True)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), FRAMES)


@given(st.lists(st.integers(1, 5), max_size=4).map(tuple), st.data())
def test_blocks_are_covered_by_boxes(shape: tuple[int, ...], data: st.DataObject) -> None:
    count = int(np.prod(shape, dtype=int))
    first = data.draw(st.integers(0, count - 1))
    last = data.draw(st.integers(first + 1, count))
    numbers = np.arange(count).reshape(shape)
    boxes = list(signal_frames.boxes(first, last, shape))
    covered = np.concatenate([numbers[box].reshape(-1) for box in boxes])
    np.testing.assert_array_equal(covered, np.arange(first, last))
    assert len(boxes) <= 2 * max(1, len(shape))


@given(st.data())
def test_blocks_cover_frames_once(data: st.DataObject) -> None:
    axis = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
    chunks = data.draw(st.lists(axis, max_size=3).map(tuple))
    unit, limit = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 400))
    shape = (*(sum(c) for c in chunks), 2, 5)
    frames = signal_frames.SignalFrames.of(
        signal_of(da.zeros(shape, dtype="u1", chunks=(*chunks, (2,), (5,)))), "any"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "BLOCK", limit)
        cuts = list(stream.blocks(frames, unit))
    assert [a for a, _ in cuts] == [0, *(b for _, b in cuts[:-1])]
    assert cuts[-1][1] == len(frames)
    assert all(a % unit == 0 for a, _ in cuts)
    assert all(10 * (b - a) <= 2 * max(limit, 10) + 10 * unit for a, b in cuts)


def test_many_frames_are_divided_at_once() -> None:
    shape = (300_000, 1024, 1024)
    data = da.zeros(shape, dtype="u1", chunks=(300_000, 1024, 1024))
    frames = signal_frames.SignalFrames.of(signal_of(data), "any")
    assert len(list(stream.blocks(frames))) == 300_000 // 16


def test_single_pattern(tmp_path: Path) -> None:
    rsciio_tem.convert(signal_of(FRAMES[0, 0]), tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), FRAMES[0, 0])


def test_hyperspy_signal(tmp_path: Path) -> None:
    hs = pytest.importorskip("hyperspy.api")
    rsciio_tem.convert(hs.signals.Signal2D(FRAMES), tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), FRAMES)


@pytest.mark.filterwarnings("ignore")  # zarr tells zspy about its future
@pytest.mark.parametrize("suffix", ["hspy", "zspy"])
def test_hyperspy_s_formats(recording: Path, suffix: str) -> None:
    hs = pytest.importorskip("hyperspy.api")
    target = recording.with_name(f"a.{suffix}")
    rsciio_tem.convert(recording, target, nav_shape=(6, 7))
    signal = hs.load(target)
    ours = rsciio_tem.load(recording, nav_shape=(6, 7))[0]
    np.testing.assert_array_equal(signal.data, ours["data"])
    assert rsciio_tem.compare(recording, target, parts="pixels", nav_shape=(6, 7)) == []
    result = CliRunner().invoke(main, ["compare", str(target), str(target), "--only", "pixels"])
    assert result.output.startswith("pixels: the same"), result.output
    assert signal.metadata.General.original_filename == "scan.mib"
    with pytest.raises(FileExistsError):
        rsciio_tem.convert(recording, target)
    rsciio_tem.convert(hs.signals.Signal2D(FRAMES), target, overwrite=True)
    np.testing.assert_array_equal(hs.load(target).data, FRAMES)
    with pytest.raises(ValueError, match="verify"):
        rsciio_tem.convert(recording, target, verify=True)
    assert {p.suffix for p in recording.parent.iterdir()} <= {".mib", ".hdr", f".{suffix}"}


@pytest.mark.parametrize("suffix", ["hspy", "zspy"])
def test_hyperspy_s_formats_without_their_packages(
    recording: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals = pytest.importorskip("hyperspy.api").signals

    def save(*args: Any, **options: Any) -> None:
        raise ModuleNotFoundError("No module named 'numcodecs'", name="numcodecs")

    monkeypatch.setattr(signals.BaseSignal, "save", save)
    before = sorted(recording.parent.iterdir())
    with pytest.raises(ValueError, match=rf'numcodecs.*pip install "rosettasciio\[{suffix}\]"'):
        rsciio_tem.convert(recording, recording.with_name(f"a.{suffix}"))
    assert sorted(recording.parent.iterdir()) == before


@pytest.mark.parametrize("progress", [None, True, False])
def test_hyperspy_s_bar_is_for_terminals(
    recording: Path, progress: bool | None, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("hyperspy")
    signal = rsciio_tem.load(recording, lazy=True)[0]
    rsciio_tem.convert(signal, recording.with_name("a.hspy"), progress=progress)
    assert capfd.readouterr() == ("", "")


def test_libertem_s_call(recording: Path) -> None:
    target = recording.with_name("a.npy")
    rsciio_tem.export_dataset(recording, path=target)
    assert np.load(target).shape == (42, 16, 24)
    with pytest.raises(FileExistsError):
        rsciio_tem.export_dataset(recording, path=target)
    rsciio_tem.export_dataset(recording, path=target, overwrite=True)
    with pytest.raises(ValueError, match=r"does not end with \.npy"):
        rsciio_tem.export_dataset(recording, path=target.with_suffix(".raw"))


@pytest.fixture
def square(tmp_path: Path) -> Path:
    """A recording of square frames of at most 8 bits."""
    path = tmp_path / "square.mib"
    frames = FRAMES[..., 4:20].reshape(-1, 16, 16) % 200
    writer.write_mib(path, frames)
    return path


#: Options with which the formats of other programs are written.
VENDORS: dict[str, dict[str, Any]] = {
    "a.blo": {"intensity_scaling": "minmax"},
    "a_000.tvips": {"max_file_size": 10_000},
    "a.mrc": {},
}


def by_others(path: Path) -> list[np.ndarray]:
    """Read a file with every other package that knows its format."""
    import rsciio.blockfile
    import rsciio.mrc
    import rsciio.tvips

    name = str(path)
    if path.suffix == ".blo":
        return [rsciio.blockfile.file_reader(name)[0]["data"]]
    if path.suffix == ".tvips":
        return [rsciio.tvips.file_reader(name, scan_shape=(6, 7))[0]["data"]]
    mrcfile = pytest.importorskip("mrcfile")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the file open
        theirs = np.array(rsciio.mrc.file_reader(name)[0]["data"])
        gc.collect()
    with warnings.catch_warnings():
        # mrcfile 1.5.4 changes the type of an array in place, which NumPy 2.5 deprecates
        warnings.filterwarnings("ignore", "Setting the dtype", DeprecationWarning)
        return [theirs, mrcfile.read(name)]


@pytest.mark.filterwarnings("ignore::rsciio_tem.errors.RecordingWarning")  # mib has no units
@pytest.mark.parametrize("name", VENDORS)
@pytest.mark.parametrize("lazy", [False, True])
def test_formats_of_other_programs(
    square: Path, name: str, lazy: bool, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = square.with_name(name)
    data = rsciio_tem.load(square, nav_shape=(6, 7))[0]["data"]
    source: Any = signal_of(da.from_array(data, chunks=(2, 3, 16, 16))) if lazy else square
    reading = {} if lazy else {"nav_shape": (6, 7)}
    told = rsciio_tem.convert(
        source, target.with_name(name.replace("_000", "")), verify=True, **reading, **VENDORS[name]
    )
    assert told == str(target)
    if name == "a.blo":
        low, high = data.min(), data.max()
        data = ((data - low) / (float(high) - float(low)) * 255).astype("u1")
    elif name == "a_000.tvips":
        files = sorted(path.name for path in square.parent.glob("a_*"))
        assert files == [f"a_{i:03d}.tvips" for i in range(3)]
        assert all(path.stat().st_size <= 10_000 for path in square.parent.glob("a_*"))
    (signal,) = rsciio_tem.load(target)
    for values in (signal["data"], *by_others(target)):
        np.testing.assert_array_equal(values.reshape(data.shape), data)
    assert signal["data"].shape == data.shape
    if name == "a.blo":
        means = data.mean(axis=(2, 3))
        image = signal["metadata"]["_HyperSpy"]["_sig_navigator"]["data"]
        np.testing.assert_array_equal(image, means.astype("u1"))
    assert not list(square.parent.glob("*.partial"))


@pytest.mark.filterwarnings("ignore::rsciio_tem.errors.RecordingWarning")
@pytest.mark.parametrize("name", VENDORS)
def test_verify_finds_damage(
    square: Path, name: str, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte of a frame that changes between writing and reading back."""
    target, sync = square.with_name(name), stream.sync
    damaged = name.replace("_000", "_001")

    def faulty(path: str) -> None:
        sync(path)
        if os.path.basename(path) == damaged:
            with open(path, "rb+") as file:
                file.seek(-3, os.SEEK_END)
                file.write(b"\x55")

    monkeypatch.setattr(stream, "sync", faulty)
    with pytest.raises(FormatError, match="are not what was written"):
        rsciio_tem.convert(square, target, nav_shape=(6, 7), verify=True, **VENDORS[name])
    assert [path.name for path in square.parent.glob("a*")] == [f"{name}.partial"]


@pytest.mark.filterwarnings("ignore:.*cannot be converted and is stored as it is")
@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("a.blo", {"dtype": "f4"}, "8 or 16 bit"),
        ("a.blo", {"navigator": np.zeros((2, 2))}, r"has shape \(2, 2\)"),
        ("a.tvips", {"version": 3}, "neither 1 nor 2"),
        ("a.mrc", {"dtype": "f8"}, "hold no float64 pixels"),
    ],
)
def test_what_other_programs_cannot_read(
    square: Path, name: str, options: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        rsciio_tem.convert(square, square.with_name(name), nav_shape=(6, 7), **options)
    assert not list(square.parent.glob("a*"))


@pytest.mark.parametrize("place", [(0, 0), (2, 3), (5, 6)])
@pytest.mark.parametrize("suffix", ["npy", "tif", "mrc", "tvips", "h5"])
def test_casts_that_overflow_name_the_first_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[int, int], suffix: str
) -> None:
    monkeypatch.setattr(stream, "BLOCK", 4 * FRAMES[0, 0].nbytes)
    data = FRAMES.astype("u4")
    np.save(tmp_path / "a.npy", data)
    target = tmp_path / f"b.{suffix}"
    quiet_convert(tmp_path / "a.npy", target, dtype="uint16", verify=True)
    path = tmp_path / ("b_000.tvips" if suffix == "tvips" else target)
    np.testing.assert_array_equal(rsciio_tem.load(path)[0]["data"].reshape(FRAMES.shape), FRAMES)
    data[place][3, 4] = data[5, 6, 0, 0] = 65536
    np.save(tmp_path / "a.npy", data)
    number = 7 * place[0] + place[1]
    where = rf"65536 do not fit into uint16; .* is number {number}, at \({place[1]}, {place[0]}\)"
    with pytest.raises(FormatError, match=where):
        quiet_convert(tmp_path / "a.npy", tmp_path / f"c.{suffix}", dtype="uint16")
    assert not list(tmp_path.glob("c*")) or list(tmp_path.glob("c*.partial"))


@pytest.mark.filterwarnings("ignore:blockfiles hold whole numbers", "ignore:.*is stored as")
def test_values_that_do_not_fit(square: Path) -> None:
    with pytest.raises(FormatError, match=r"into uint8; .* number 0, at \(0, 0\) of the scan"):
        rsciio_tem.convert(signal_of(FRAMES[..., :16]), square.with_name("a.blo"), dtype="uint8")
    with pytest.warns(RecordingWarning, match="16-bit blockfiles cannot be read"):
        rsciio_tem.convert(
            signal_of(FRAMES[..., :16]), square.with_name("a.blo"), endianness=">", verify=True
        )
    back = rsciio_tem.load(square.with_name("a.blo"), endianness=">")[0]["data"]
    np.testing.assert_array_equal(back, FRAMES[..., :16])


# ---------------------------------------------------------------- what is refused


def test_an_existing_target_is_kept(recording: Path) -> None:
    target = recording.with_name("a.npy")
    target.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        rsciio_tem.convert(recording, target)
    assert target.read_bytes() == b"precious"
    rsciio_tem.convert(recording, target, overwrite=True)
    assert len(np.load(target)) == 42


def test_the_recording_is_never_replaced(recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, FRAMES)
    before = path.read_bytes()
    for source in (path, rsciio_tem.load(path, lazy=True)[0]):
        with pytest.raises(FormatError, match="is the recording that is being read"):
            rsciio_tem.convert(source, path, overwrite=True)
    assert path.read_bytes() == before


def test_a_target_that_holds_the_recording(tmp_path: Path) -> None:
    """Or lies in it, or is part of it, whatever it is called."""
    np.save(tmp_path / "a.npy", FRAMES)
    store = tmp_path / "only copy.zarr"
    rsciio_tem.convert(tmp_path / "a.npy", store)
    session = tmp_path / "session.zarr"
    session.mkdir()
    shutil.copy(tmp_path / "a.npy", session / "scan.npy")
    rsciio_tem.convert(tmp_path / "a.npy", tmp_path / "r.raw")
    (tmp_path / "x.npy.partial").mkdir()
    shutil.copy(tmp_path / "a.npy", tmp_path / "x.npy.partial" / "x.npy")
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "alias.npy").symlink_to(tmp_path / "a.npy")
    os.link(tmp_path / "a.npy", tmp_path / "same.npy")
    dark = tmp_path / "dark.npy"
    np.save(dark, FRAMES[0, 0])
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["data"] = FRAMES
    before = files_in(tmp_path)
    lazy = rsciio_tem.load(store, lazy=True)[0]
    unnamed = {**lazy, "original_metadata": {}, "tmp_parameters": {}}
    file = h5py.File(tmp_path / "d.h5")
    unnamed["data"] = da.from_array(file["data"], chunks=(3, 7, 16, 24))
    cases: list[tuple[Any, Path, str]] = [
        (store, store, "is the recording"),
        (lazy, store, "is the recording"),
        (store, tmp_path / "link" / store.name, "is the recording"),
        (tmp_path / "link" / store.name, store / "inside.npy", "is in the recording"),
        (lazy, store / "inside.npy", "is in the recording"),
        (session / "scan.npy", session, "holds the recording"),
        (tmp_path / "link" / session.name / "scan.npy", session, "holds the recording"),
        (tmp_path / "x.npy.partial" / "x.npy", tmp_path / "x.npy", "holds the recording"),
        (unnamed, tmp_path / "d.h5", "is the recording"),
        *((tmp_path / "a.npy", tmp_path / n, "is the rec") for n in ("alias.npy", "same.npy")),
        (tmp_path / "r.raw", tmp_path / "r.toml", "is the recording"),
    ]
    for source, target, message in cases:
        options = {"to": "raw_csr"} if target.suffix == ".toml" else {}
        for resume in (True, False):
            with pytest.raises(FormatError, match=message):
                rsciio_tem.convert(source, target, overwrite=True, resume=resume, **options)
    with pytest.raises(FormatError, match="is the recording"):
        rsciio_tem.convert(tmp_path / "a.npy", dark, overwrite=True, dark=str(dark))
    file.close()
    assert files_in(tmp_path) == before


def test_what_stands_in_the_way(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found before anything is written."""
    monkeypatch.setattr(FlatFile, "put", lambda *_: pytest.fail("this is too late"))
    folder = recording.parent
    (folder / "a.npy").mkdir()
    (folder / "a.toml").mkdir()
    (folder / "a.zarr").write_text("x")
    for name, inside in (("b.zarr", "notes.txt"), ("c.zarr", "data.npy")):
        (folder / name).mkdir()
        (folder / name / inside).write_text("precious")
    (folder / "c.zarr" / ".zgroup").write_text("{}")
    (folder / "d.npy.partial").write_text("x")
    (folder / "e.npy.partial").mkdir()
    (folder / "e.npy.partial" / "journal").write_text("Day 1")
    (folder / "f.npy.partial").mkdir()
    (folder / "f.npy.partial" / "f.npy").write_text("x")
    before = files_in(folder)
    cases = {
        "a.npy": "is a folder, and is not replaced",
        "a.raw": r"a\.toml: is a folder, and is not replaced",
        "a.zarr": "is not a folder, and is not replaced",
        "b.zarr": "is a folder, but no Zarr store",
        "c.zarr": r"holds 'data\.npy', which is not a part of a Zarr store",
        "d.npy": r"d\.npy\.partial: is not a folder; while a conversion runs",
        "e.npy": "is not a folder of an unfinished conversion: 'journal' is in it",
        "f.npy": r"is not a folder of an unfinished conversion: 'f\.npy' is in it",
    }
    for name, message in cases.items():
        for resume in (True, False):
            with pytest.raises(FormatError, match=message):
                rsciio_tem.convert(recording, folder / name, overwrite=True, resume=resume)
    with pytest.raises(OSError, match="is too long a name for this disk"):
        rsciio_tem.convert(recording, folder / f"{'x' * 250}.npy")
    with pytest.raises(ValueError, match="'journal' is a name that conversions need"):
        rsciio_tem.convert(recording, folder / "journal", to="npy")
    monkeypatch.setattr("rsciio_tem.writing.obstacles._replaceable", lambda *_: False)
    (folder / "g.npy").write_text("x")
    with pytest.raises(PermissionError, match="may not be replaced"):
        rsciio_tem.convert(recording, folder / "g.npy", overwrite=True)
    assert files_in(folder) == {**before, "g.npy": b"x"}


def test_what_is_beside_a_target_stays(recording: Path) -> None:
    """A folder that is called as an earlier store might have been, or HyperSpy's other file."""
    folder = recording.parent
    rsciio_tem.convert(recording, folder / "a.zarr")
    (folder / "a.zarr.old").mkdir()
    (folder / "a.zarr.old" / "x").write_text("precious")
    rsciio_tem.convert(recording, folder / "a.zarr", overwrite=True, nav_shape=(6, 7))
    assert rsciio_tem.load(folder / "a.zarr")[0]["data"].shape == (6, 7, 16, 24)
    (folder / "b.partial.hspy").write_text("precious")
    pytest.importorskip("hyperspy.api")
    rsciio_tem.convert(recording, folder / "b.hspy")
    assert files_in(folder).keys() >= {"a.zarr.old/x", "b.partial.hspy", "b.hspy"}
    assert (folder / "b.partial.hspy").read_text() == "precious"
    assert not (folder / "b.hspy.partial").exists()


def test_formats_of_source_and_target(recording: Path) -> None:
    """`format` is that of the source, as everywhere, and `to` that of the target."""
    npy, other = recording.with_name("a.npy"), recording.with_name("a.dat")
    rsciio_tem.convert(recording, npy)
    rsciio_tem.convert(npy, other, "npy", to="npy")
    assert other.read_bytes() == npy.read_bytes()
    with pytest.raises(FormatError) as caught:  # once it was that of the target
        rsciio_tem.convert(npy, recording.with_name("b.h5"), format="hdf5")
    assert caught.value.__notes__ == [
        "format= is the format of the source; that of the target is to=."
    ]
    with pytest.warns(FutureWarning, match="pass to='npy'"):
        rsciio_tem.convert(npy, other, "npy", overwrite=True)
    with pytest.warns(FutureWarning, match="source_format= is called format= now"):
        rsciio_tem.convert(npy, other, "npy", source_format="npy", overwrite=True)
    assert other.read_bytes() == npy.read_bytes()


def test_unknown_names(recording: Path) -> None:
    with pytest.raises(ValueError, match=r"suffix of 'a\.xyz'.*npy \(\.npy\)"):
        rsciio_tem.convert(recording, recording.with_name("a.xyz"))
    with pytest.raises(ValueError, match="'xyz' is not a format that can be written"):
        rsciio_tem.convert(recording, recording.with_name("a.npy"), to="xyz")
    with pytest.raises(TypeError, match="thresholds"):
        rsciio_tem.convert(signal_of(FRAMES), recording.with_name("a.npy"), thresholds=3)
    with pytest.raises(TypeError, match="thresholds"):
        rsciio_tem.convert(recording, recording.with_name("a.npy"), thresholds=3)
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        rsciio_tem.convert(recording, recording.with_name("none") / "a.npy")


@pytest.mark.parametrize("done", [0, 10])
def test_what_a_stop_for_good_leaves(tmp_path: Path, small_blocks: None, done: int) -> None:
    """The same call would stop there again: no promise, and nothing in the way of another one."""
    frames = np.zeros((42, 16, 24), "u2")
    frames[done:] = 300
    source, target = tmp_path / "source.npy", tmp_path / "a.npy"
    np.save(source, frames)
    with pytest.raises(FormatError, match="do not fit into uint8") as caught:
        rsciio_tem.convert(source, target, dtype="u1")
    notes = getattr(caught.value, "__notes__", [])
    if done:
        assert "the same call stops here again; with other options, pass resume=False" in notes[0]
    else:
        assert not notes
        assert not Path(f"{target}.partial").exists()
    rsciio_tem.convert(source, target, resume=not done)
    np.testing.assert_array_equal(np.load(target), frames)


@pytest.mark.parametrize("to", ["auto", "h5"])
def test_a_target_with_a_slash(recording: Path, to: str) -> None:
    """It is meant for a folder; only stores are ones."""
    target = f"{recording.with_name('new')}/"
    with pytest.raises(FormatError, match="is the name of a folder, as it ends with a slash"):
        rsciio_tem.convert(recording, target, to=to)
    result = CliRunner().invoke(main, ["convert", str(recording), target, "--to", "h5"])
    assert result.exit_code == 2
    assert "or pass --into FOLDER --to FORMAT" in result.stderr
    pytest.importorskip("zarr")
    rsciio_tem.convert(recording, target, to="zarr")
    assert Path(target).is_dir()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_unwritable_folder(recording: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(PermissionError):
        rsciio_tem.convert(recording, folder / "a.npy")


def test_too_little_space(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"0\.000 GB are needed, 0\.000 GB are free") as caught:
        rsciio_tem.convert(recording, recording.with_name("a.npy"))
    assert caught.value.errno == errno.ENOSPC
    assert not recording.with_name("a.npy.partial").exists()


# ---------------------------------------------------------------- what interrupts it


class Faulty(FlatFile):
    """Fails at a certain frame."""

    fails_at = -1
    error: BaseException = OSError(errno.ENOSPC, "No space left on device")

    def put(self, folder: str, first: int, frames: np.ndarray) -> None:
        if first == self.fails_at:
            raise self.error
        super().put(folder, first, frames)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BLOCK", 5 * FRAMES[0, 0].nbytes)
    monkeypatch.setattr(stream, "_SYNC_BYTES", 1)


def test_disk_fills_up(
    recording: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = recording.with_name("a.npy")
    target.write_bytes(b"precious")
    source = recording.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("rsciio_tem.formats.npy.writer.FlatFile", Faulty)
        patch.setattr(Faulty, "fails_at", 20)
        with pytest.raises(OSError, match="the disk is full") as caught:
            rsciio_tem.convert(recording, target, nav_shape=(6, 7), overwrite=True)
    assert "of 42 frames are written. The same call goes on" in caught.value.__notes__[0]
    assert target.read_bytes() == b"precious"
    assert recording.read_bytes() == source
    put = []
    original = FlatFile.put

    def counted(self: FlatFile, folder: str, first: int, frames: np.ndarray) -> None:
        put.append(first)
        original(self, folder, first, frames)

    monkeypatch.setattr(FlatFile, "put", counted)
    rsciio_tem.convert(recording, target, nav_shape=(6, 7), overwrite=True, verify=True)
    assert 0 not in put  # what was done is not done again
    assert 20 in put
    ours = rsciio_tem.load(recording, nav_shape=(6, 7))[0]["data"]
    np.testing.assert_array_equal(np.load(target), ours)


def test_other_options_do_not_go_on(
    recording: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = recording.with_name("a.npy")
    with monkeypatch.context() as patch:
        patch.setattr("rsciio_tem.formats.npy.writer.FlatFile", Faulty)
        patch.setattr(Faulty, "fails_at", 20)
        with pytest.raises(OSError, match="the disk is full"):
            rsciio_tem.convert(recording, target, nav_shape=(6, 7))
    for options in ({"nav_shape": (7, 6)}, {"flip_y": False, "nav_shape": (6, 7)}):
        with pytest.raises(FormatError, match="an unfinished conversion of another source"):
            rsciio_tem.convert(recording, target, **options)
    later = recording.stat().st_mtime_ns + 10**9
    os.utime(recording, ns=(later, later))  # the same name, but another file
    with pytest.raises(FormatError, match="pass resume=False"):
        rsciio_tem.convert(recording, target, nav_shape=(6, 7))
    rsciio_tem.convert(recording, target, nav_shape=(7, 6), resume=False)
    assert np.load(target).shape == (7, 6, 16, 24)


def stop(recording: Path, target: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Leave an unfinished conversion."""
    with monkeypatch.context() as patch:
        patch.setattr("rsciio_tem.formats.npy.writer.FlatFile", Faulty)
        patch.setattr(Faulty, "fails_at", 20)
        with pytest.raises(OSError, match="the disk is full"):
            rsciio_tem.convert(recording, target, **options)


def test_options_are_told_apart_by_their_content(
    tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sparse = pytest.importorskip("sparse")
    path, target = tmp_path / "a.npy", tmp_path / "b.npy"
    np.save(path, np.tile(FRAMES.reshape(-1, 16, 24), (50, 1, 1)))
    index = np.arange(2000)
    one, other = np.zeros((16, 24), bool), np.zeros((16, 24), bool)
    one[2, 2] = other[5, 5] = True
    cases: list[tuple[str, Any, Any]] = [
        ("roi", (index,), (np.where(index == 1000, 7, index),)),
        ("roi", index, np.where(index == 1000, 7, index)),
        ("dark", da.zeros((16, 24), dtype="u2"), da.ones((16, 24), dtype="u2")),
        ("excluded_pixels", sparse.COO(one), sparse.COO(other)),
    ]
    for name, first, second in cases:
        stop(path, target, monkeypatch, **{name: first})
        with pytest.raises(FormatError, match="or with other options"):
            rsciio_tem.convert(path, target, **{name: second})
        rsciio_tem.convert(path, target, **{name: first})
        target.unlink()
    # a file that is another one by now
    dark = tmp_path / "dark.npy"
    np.save(dark, one.astype("u2"))
    stop(path, target, monkeypatch, dark=dark)
    np.save(dark, other.astype("u2"))
    with pytest.raises(FormatError, match="or with other options"):
        rsciio_tem.convert(path, target, dark=dark)
    np.save(dark, one.astype("u2"))
    rsciio_tem.convert(path, target, dark=dark)


@given(st.recursive(st.none() | st.integers() | st.text(max_size=3), st.lists, max_leaves=5))
def test_content_is_json(value: Any) -> None:
    nested = {"a": (value, np.array([1, None], object), {1, 2}, np.float32(3)), "b": slice(1, 2)}
    assert json.dumps(identified(nested)) == json.dumps(identified({**nested}))
    changed = {**nested, "b": (value,)}
    assert identified(changed) != identified(nested)
    with pytest.raises(TypeError, match="cannot be told from others"):
        identified(lambda: value)


def test_a_store_is_told_apart_by_its_files(
    tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "a.zarr", tmp_path / "b.npy"
    np.save(tmp_path / "a.npy", FRAMES)
    rsciio_tem.convert(tmp_path / "a.npy", source)
    stop(source, target, monkeypatch)
    np.save(tmp_path / "a.npy", FRAMES + 1)
    rsciio_tem.convert(tmp_path / "a.npy", source, overwrite=True)
    with pytest.raises(FormatError, match="unfinished conversion of another source"):
        rsciio_tem.convert(source, target)
    rsciio_tem.convert(source, target, resume=False)
    np.testing.assert_array_equal(np.load(target), FRAMES + 1)


def test_zarr_s_torn_files(
    recording: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When zarr is killed, what it was writing stays; it is not a part of the new store."""
    module = importlib.import_module("rsciio_tem.formats.zarr.writer")
    target, torn = recording.with_name("a.zarr"), f"0.{'0a' * 16}.partial"
    put = module._Array.put

    def stopping(self: Any, folder: str, first: int, frames: np.ndarray) -> None:
        put(self, folder, first, frames)
        if first > 20:
            Path(folder, "a.zarr", torn).write_text("x")
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module._Array, "put", stopping)
        with pytest.raises(OSError, match="the disk is full"):
            rsciio_tem.convert(recording, target, nav_shape=(6, 7))
    assert list(recording.parent.rglob(torn))
    rsciio_tem.convert(recording, target, nav_shape=(6, 7))
    assert not list(recording.parent.rglob(torn))
    (target / torn).write_text("x")  # as earlier versions left it
    rsciio_tem.convert(recording, target, nav_shape=(6, 7), overwrite=True)
    assert not list(recording.parent.rglob(torn))


def test_a_signal_does_not_remove_unfinished_work(
    recording: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = recording.with_name("a.npy")
    stop(recording, target, monkeypatch)
    with pytest.raises(FormatError, match="unfinished conversion of another source"):
        rsciio_tem.convert(signal_of(FRAMES), target)
    with pytest.raises(FormatError, match="unfinished conversion of another source"):
        npy.file_writer(target, signal_of(FRAMES))
    rsciio_tem.convert(recording, target)


def test_signals_begin_anew(
    tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can say whether a signal is the same as last time."""
    with monkeypatch.context() as patch:
        patch.setattr("rsciio_tem.formats.npy.writer.FlatFile", Faulty)
        patch.setattr(Faulty, "fails_at", 20)
        with pytest.raises(OSError, match="the disk is full"):
            rsciio_tem.convert(signal_of(FRAMES), tmp_path / "a.npy")
    assert list(tmp_path.iterdir()) == []
    rsciio_tem.convert(signal_of(FRAMES + 1), tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), FRAMES + 1)


@pytest.mark.parametrize("cut", range(1, 120, 17))
def test_torn_journal(
    recording: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    """An entry that was being written does not count, nor does anything after a damaged one."""
    target = recording.with_name("a.npy")
    with monkeypatch.context() as patch:
        patch.setattr("rsciio_tem.formats.npy.writer.FlatFile", Faulty)
        patch.setattr(Faulty, "fails_at", 35)
        with pytest.raises(OSError, match="the disk is full"):
            rsciio_tem.convert(recording, target, nav_shape=(6, 7))
    with pytest.raises(FormatError, match="A conversion to it was stopped; the same call"):
        rsciio_tem.load(target)
    journal = Path(f"{target}.partial", "journal")
    content = journal.read_bytes()
    journal.write_bytes(content[:-cut])
    rsciio_tem.convert(recording, target, nav_shape=(6, 7))
    ours = rsciio_tem.load(recording, nav_shape=(6, 7))[0]["data"]
    np.testing.assert_array_equal(np.load(target), ours)


@pytest.mark.parametrize("size", [3, 8, 42])
@pytest.mark.parametrize("name", ["a.npy", "a.mrc"])
def test_going_on_with_other_blocks(
    recording: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch, name: str, size: int
) -> None:
    """Blocks of lazy data follow their chunks, which may be others the next time."""
    target = recording.with_name(name)
    put = FlatFile.put

    def full(self: FlatFile, folder: str, first: int, frames: np.ndarray) -> None:
        if first >= 15:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(self, folder, first, frames)

    with monkeypatch.context() as patch:
        patch.setattr(FlatFile, "put", full)
        with pytest.raises(OSError, match="the disk is full"):
            rsciio_tem.convert(recording, target, nav_shape=(6, 7))
    monkeypatch.setattr(stream, "BLOCK", size * FRAMES[0, 0].nbytes)
    rsciio_tem.convert(recording, target, nav_shape=(6, 7), verify=True)
    ours = rsciio_tem.load(recording, nav_shape=(6, 7))[0]["data"]
    np.testing.assert_array_equal(rsciio_tem.load(target)[0]["data"], ours)


@pytest.mark.parametrize("resume", [True, False])
def test_a_folder_of_somebody_else(recording: Path, resume: bool) -> None:
    """What happens to have the name of a working folder is not removed."""
    folder = recording.with_name("a.npy.partial")
    folder.mkdir()
    folder.joinpath("notes.txt").write_text("precious")
    with pytest.raises(FormatError, match="is not a folder of an unfinished conversion"):
        rsciio_tem.convert(recording, recording.with_name("a.npy"), resume=resume)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert not recording.with_name("a.npy").exists()


@pytest.fixture
def unfinished(
    recording: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """An HDF5 file whose conversion stopped because the disk was full."""
    target = recording.with_name("a.h5")
    commit = Hdf5.commit

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self: Work) -> None:
        self._stack.close()
        full()  # what was still to be written

    def failing(self: Hdf5, folder: str, first: int, payload: Any) -> Any:
        kept, write = commit(self, folder, first, payload)
        return kept, (write if first < 21 else full)

    with monkeypatch.context() as patch:
        patch.setattr(Hdf5, "commit", failing)
        patch.setattr(Work, "close", close)
        with pytest.raises(OSError, match="the disk is full") as caught:
            rsciio_tem.convert(recording, target, nav_shape=(6, 7))
    assert "21 of 42 frames are written. The same call goes on" in caught.value.__notes__[0]
    assert not target.exists()
    yield target
    assert not Path(f"{target}.partial").exists()
    with h5py.File(target) as file:
        data = file["datacube_root/datacube/data"][()]
    np.testing.assert_array_equal(data, rsciio_tem.load(recording, nav_shape=(6, 7))[0]["data"])


def test_chunks_stay_where_they_are(
    unfinished: Path, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = []
    original = Hdf5.put

    def counted(self: Hdf5, folder: str, first: int, frames: np.ndarray) -> Any:
        put.append(first)
        return original(self, folder, first, frames)

    monkeypatch.setattr(Hdf5, "put", counted)
    rsciio_tem.convert(recording, unfinished, nav_shape=(6, 7), verify=True)
    assert sorted(put) == [21, 28, 35]
    rsciio_tem.convert(recording, whole := recording.with_name("b.h5"), nav_shape=(6, 7))
    assert whole.read_bytes() == unfinished.read_bytes()


def test_other_library(unfinished: Path, recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of HDF5 may lay out the file in another way."""
    with monkeypatch.context() as patch:
        patch.setattr(h5py.version, "hdf5_version", "1.8.4")
        with pytest.raises(FormatError, match="with other options"):
            rsciio_tem.convert(recording, unfinished, nav_shape=(6, 7))
    with monkeypatch.context() as patch:
        reserve = ChunkedFile.reserve
        patch.setattr(ChunkedFile, "reserve", lambda *given: reserve(*given) + 8)
        with pytest.raises(FormatError, match="laid out in another way"):
            rsciio_tem.convert(recording, unfinished, nav_shape=(6, 7))
    rsciio_tem.convert(recording, unfinished, nav_shape=(6, 7), resume=False)


@pytest.mark.parametrize("damage", [0, 20, 41])
def test_lost_notes_of_chunks(unfinished: Path, recording: Path, damage: int) -> None:
    """After a power cut, what was noted of chunks may be missing: they are written again."""
    notes = Path(f"{unfinished}.partial", "payloads")
    content = bytearray(notes.read_bytes())
    content[-1 - damage] ^= 1
    notes.write_bytes(content)
    rsciio_tem.convert(recording, unfinished, nav_shape=(6, 7))


@pytest.mark.parametrize("cut", [1, 40, 80])
def test_torn_journal_of_chunks(unfinished: Path, recording: Path, cut: int) -> None:
    """Of blocks that the journal does not know, bytes are in the file already."""
    journal = Path(f"{unfinished}.partial", "journal")
    journal.write_bytes(journal.read_bytes()[:-cut])
    rsciio_tem.convert(recording, unfinished, nav_shape=(6, 7))
    rsciio_tem.convert(recording, whole := recording.with_name("b.h5"), nav_shape=(6, 7))
    assert whole.read_bytes() == unfinished.read_bytes()


def test_verify_finds_what_the_disk_lost(
    recording: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = recording.with_name("a.npy")
    target.write_bytes(b"precious")

    def finish(self: FlatFile, folder: str, payloads: Payloads) -> None:
        with open(os.path.join(folder, self.names[0]), "rb+") as file:
            file.seek(len(self.header) + 30 * 768 + 5)
            file.write(b"\xff\xfe")

    monkeypatch.setattr(FlatFile, "finish", finish)
    with pytest.raises(FormatError, match="frames 30 to 34 are not what was written"):
        rsciio_tem.convert(recording, target, verify=True, overwrite=True)
    assert target.read_bytes() == b"precious"


def test_two_at_once(recording: Path) -> None:
    target = recording.with_name("a.npy")
    work = Work(f"{target}.partial", {"source": "another", "files": ["a.npy"]})
    with work.locked():
        for resume in (True, False):
            with pytest.raises(FormatError, match="is in use by another process"):
                rsciio_tem.convert(recording, target, resume=resume)
        assert work.look(True) is None
        work.open(lambda folder: None)
        with pytest.raises(FormatError, match="is in use by another process"):
            rsciio_tem.convert(recording, target)
    with pytest.raises(FormatError, match="holds an unfinished conversion"):
        rsciio_tem.convert(recording, target)
    rsciio_tem.convert(recording, target, resume=False)
    assert not os.path.exists(work.folder)


def test_two_processes_at_once(recording: Path) -> None:
    target = recording.with_name("a.npy")
    process, _ = begin(recording, target, pause=1)
    try:
        limit = time.monotonic() + 30
        while blocks_done(target) < 1:
            assert time.monotonic() < limit
            time.sleep(0.002)
        for resume in (True, False):
            with pytest.raises(FormatError, match=r"a\.npy\.partial: is in use by another process"):
                rsciio_tem.convert(recording, target, nav_shape=(6, 7), resume=resume)
        assert process.is_alive()
    finally:
        process.kill()
        process.join(60)
    rsciio_tem.convert(recording, target, nav_shape=(6, 7))
    assert sorted(path.name for path in recording.parent.glob("a.npy*")) == ["a.npy"]


def test_many_begin_at_once(recording: Path) -> None:
    """One works, the others say so, or that the target exists; nobody meets half a folder."""
    target, outcomes = recording.with_name("a.npy"), []
    for _ in range(15):
        together = threading.Barrier(4)

        def attempt(together: threading.Barrier = together) -> str:
            together.wait()
            try:
                return rsciio_tem.convert(recording, target, progress=False)
            except (FormatError, FileExistsError) as error:
                return str(error)

        with ThreadPoolExecutor(4) as pool:
            said = [task.result() for task in [pool.submit(attempt) for _ in range(4)]]
        assert said.count(str(target)) == 1, said
        outcomes += said
        target.unlink()
        assert [path.name for path in recording.parent.iterdir()] == ["scan.mib"]
    words = ("is in use by another process", "exists already", str(target))
    assert all(any(word in said for word in words) for said in outcomes), outcomes


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_disk_that_cannot_lock(
    recording: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """Some network file systems: this is noted, and no reason not to write."""

    def fails(*_: object, **__: object) -> bool:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(filelock, "lock_descriptor", fails)
    target = recording.with_name("a.npy")
    with caplog.at_level("INFO", "rsciio_tem"):
        rsciio_tem.convert(recording, target, nav_shape=(6, 7))
    assert "a.npy.partial cannot be locked" in caplog.text
    assert rsciio_tem.load(target)[0]["data"].shape == (6, 7, 16, 24)
    assert not Path(f"{target}.partial").exists()


@pytest.mark.parametrize(
    ("name", "kills"),
    [
        *[("a.npy", 5), ("a.h5", 5), ("a.csr.toml", 2), ("a.npz", 2), ("a.fch5", 2)],
        *[("a.blo", 4), ("a_000.tvips", 4), ("a.mrc", 4)],
    ],
)
@pytest.mark.filterwarnings("ignore:.*dense file would be smaller")
@pytest.mark.filterwarnings("ignore:.*(units '' are not length|is stored as|cannot be read by)")
def test_killed(recording: Path, square: Path, name: str, kills: int) -> None:
    """A conversion that is killed again and again ends with the same bytes."""
    recording = square if name in VENDORS else recording
    target, whole = recording.with_name(name), recording.parent / "whole" / name
    whole.parent.mkdir()
    rsciio_tem.convert(recording, whole, nav_shape=(6, 7), **VENDORS.get(name, {}))
    rng = np.random.default_rng(5)
    least = 0
    for _ in range(kills):
        process, _ = begin(recording, target, **VENDORS.get(name, {}))
        limit = time.monotonic() + 60
        while blocks_done(target) < least + 1 and process.is_alive():
            assert time.monotonic() < limit
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.03))
        process.kill()
        process.join(60)
        assert process.exitcode not in (None, 0)
        assert not target.exists()
        assert blocks_done(target) >= least + 1
        least = blocks_done(target)
    process, _ = begin(recording, target, **VENDORS.get(name, {}))
    process.join(60)
    assert process.exitcode == 0
    assert not Path(f"{target}.partial").exists()
    written = sorted(path.name for path in whole.parent.iterdir())
    assert name in written
    for part in written:
        assert target.with_name(part).read_bytes() == (whole.parent / part).read_bytes(), part


@pytest.mark.skipif(os.name == "nt", reason="it counts on SIGKILL")
@pytest.mark.filterwarnings("ignore::rsciio_tem.errors.RecordingWarning")
@pytest.mark.parametrize("name", ["h5, gzip", "tvips"])
def test_killed_again_and_again(tmp_path: Path, name: str) -> None:
    """All kinds of targets, and many more kills: ``python tests/kill_conversions.py``."""
    outcome = torture(name, 5, 3, tmp_path)
    assert not outcome.problems
    assert outcome.kills == 5
    assert outcome.working  # whether any hits the moment of naming is up to the machine


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send")
@pytest.mark.parametrize("name", ["a.npy", "a.h5", *VENDORS])
@pytest.mark.filterwarnings("ignore:.*(units '' are not length|is stored as|cannot be read by)")
def test_ctrl_c(recording: Path, square: Path, name: str) -> None:
    recording = square if name in VENDORS else recording
    target = recording.with_name(name)
    process, answers = begin(recording, target, pause=1, **VENDORS.get(name, {}))
    limit = time.monotonic() + 30
    while blocks_done(target) < 2:
        assert time.monotonic() < limit
        time.sleep(0.002)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(30)
    assert process.exitcode == 130
    assert "of 42 frames are written. The same call goes on from there" in answers.recv()
    assert not target.exists()
    rsciio_tem.convert(recording, target, nav_shape=(6, 7), resume=False, **VENDORS.get(name, {}))
    ours = rsciio_tem.load(recording, nav_shape=(6, 7))[0]["data"]
    assert rsciio_tem.load(target)[0]["data"].shape == ours.shape


class Killed(BaseException):
    """Nothing is put right afterwards."""


@contextlib.contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, step: int) -> Iterator[None]:
    """End a conversion before the `step`-th change of names at its end, counted from 0."""
    count = 0

    def counted(do: Any) -> Any:
        def change(*args: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count > step:
                raise Killed
            return do(*args, **options)

        return change

    with monkeypatch.context() as patch:
        give_names = Work.give_names

        def begin(self: Work, *args: Any) -> None:
            with monkeypatch.context() as inner:
                for name in ("rename", "replace", "unlink"):
                    inner.setattr(os, name, counted(getattr(os, name)))
                give_names(self, *args)

        patch.setattr(Work, "give_names", begin)
        patch.setattr(Work, "_undo", lambda self, naming: None)
        patch.setattr(Work, "discard", Work.close)
        patch.setattr(Work, "_clear", lambda self, lock: lock.close())
        with pytest.raises(Killed):
            yield


def files_in(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


#: Targets of several files: name, changes of names until all have theirs, options; further ones
#: of what is replaced.
SEVERAL: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "a.raw": (5, {}, {}),
    "a.csr.toml": (9, {}, {}),
    "a.yml": (5, {"to": "framecache"}, {}),
    "a.zarr": (3, {}, {}),
    "a.npy": (2, {}, {}),
    "a_000.tvips": (8, {}, {"max_file_size": 1200}),
    "a.npz": (4, {}, {"output_yaml": True}),
}


@pytest.mark.filterwarnings("ignore:.*dense file would be smaller")
@pytest.mark.filterwarnings("ignore:.*(units '' are not length|is stored as|cannot be read by)")
@pytest.mark.parametrize("name", SEVERAL)
def test_names_change_together(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it stops, there is never some of the old and some of the new."""
    steps, options, earlier = SEVERAL[name]
    np.save(tmp_path / "old.npy", FRAMES[:2, :3])
    np.save(tmp_path / "new.npy", FRAMES[:3, :2, :8])
    wanted = {}
    for which in ("old", "new"):
        (tmp_path / which).mkdir()
        more = {**options, **(earlier if which == "old" else {})}
        rsciio_tem.convert(tmp_path / f"{which}.npy", tmp_path / which / name, **more)
        wanted[which] = files_in(tmp_path / which)
    for step in range(steps + 1):
        folder = tmp_path / f"at {step}"
        shutil.copytree(tmp_path / "old", folder)
        again = {**options, "overwrite": True}
        with killed_at(monkeypatch, step):
            rsciio_tem.convert(tmp_path / "new.npy", folder / name, **again)
        left = {k: v for k, v in files_in(folder).items() if ".partial" not in k}
        assert any(left.items() <= all_.items() for all_ in wanted.values()), step
        # another conversion puts the old ones back, unless the new ones have all their names
        other = {**again, "roi": [0, 1]}
        kept = folder.with_name(f"kept {step}")
        shutil.copytree(folder, kept)
        if left == wanted["new"]:
            rsciio_tem.convert(tmp_path / "new.npy", kept / name, **other)
        else:
            with pytest.raises(FormatError, match="unfinished conversion of another source"):
                rsciio_tem.convert(tmp_path / "new.npy", kept / name, **other)
            left = {k: v for k, v in files_in(kept).items() if ".partial" not in k}
            assert left == wanted["old"], step
        rsciio_tem.convert(tmp_path / "new.npy", folder / name, **again)
        assert files_in(folder) == wanted["new"], step
        assert not folder.joinpath(f"{name}.partial").exists()


def test_side_files_of_other_recordings(recording: Path) -> None:
    """They stay: what they describe could not be read without them."""
    folder = recording.parent
    rsciio_tem.convert(recording, folder / "a.raw")
    rsciio_tem.convert(recording, folder / "a.npy")
    for name, options in (("a.dat", {"to": "raw"}), ("a.toml", {})):
        before = files_in(folder)
        with pytest.raises(FormatError, match=r"a\.toml: describes"):
            quiet_convert(recording, folder / name, overwrite=True, **options)
        assert files_in(folder) == before
    rsciio_tem.convert(recording, folder / "a.raw", overwrite=True)
    for path in folder.glob("a.*"):
        path.unlink()
    quiet_convert(recording, folder / "a.toml")
    quiet_convert(recording, folder / "a.toml", overwrite=True)
    with pytest.raises(FormatError, match=r"a\.toml: describes a recording of the kind raw_csr"):
        rsciio_tem.convert(recording, folder / "a.raw", overwrite=True)
    folder.joinpath("b.toml").write_text("[project]\nname = 'b'\n")
    with pytest.raises(FormatError, match="is not a side file of a recording, and is not replaced"):
        rsciio_tem.convert(recording, folder / "b.raw", overwrite=True)


def test_descriptions_of_an_archive(recording: Path) -> None:
    """A YAML file that names the archive is replaced or removed with it, unless it says more."""
    folder, archive = recording.parent, recording.with_name("a.npz")
    omega = np.stack([np.arange(42.0), np.arange(1.0, 43)], axis=1)
    quiet_convert(recording, archive, output_yaml=True, omega=omega)
    names = {path.name for path in folder.iterdir()}
    assert names == {"a-omega.npy", "a.npz", "a.yml", "scan.mib"}
    quiet_convert(recording, archive.with_suffix(".yml"), to="framecache", overwrite=True)
    assert {path.name for path in folder.iterdir()} == names - {"a-omega.npy"}
    quiet_convert(recording, archive, overwrite=True, output_yaml=True, omega=omega)
    quiet_convert(recording, archive, overwrite=True)
    assert {path.name for path in folder.iterdir()} == {"a.npz", "scan.mib"}
    mine = "data: {file: a.npz, dtype: uint16, nframes: 42, shape: [16, 24]}\nnotes: mine\n"
    folder.joinpath("a.yml").write_text(mine)
    with pytest.raises(FileExistsError, match=r"a\.yml describes a\.npz and would not fit"):
        quiet_convert(recording, archive, overwrite=True)
    assert folder.joinpath("a.yml").read_text() == mine


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_name_that_cannot_be_given(
    recording: Path, fails_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program may hold one of the files, as on Windows: none has changed then."""
    target = recording.with_name("a.raw")
    rsciio_tem.convert(recording, target, nav_shape=(6, 7))
    before = files_in(recording.parent)
    give_name, names = working_folder.give_name, []

    def refused(source: str, final: str) -> None:
        names.append(final)
        if len(names) == fails_at:
            raise PermissionError(errno.EACCES, "in use", final)
        give_name(source, final)

    with monkeypatch.context() as patch:
        patch.setattr(working_folder, "give_name", refused)
        with pytest.raises(PermissionError) as caught:
            rsciio_tem.convert(recording, target, overwrite=True)
    assert "42 of 42 frames are written. The same call goes on" in caught.value.__notes__[0]
    after = files_in(recording.parent)
    assert {k: after[k] for k in before} == before
    rsciio_tem.convert(recording, target, overwrite=True)
    assert rsciio_tem.load(target)[0]["data"].shape == (42, 16, 24)


def test_a_stranger_gets_the_name_meanwhile(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = recording.with_name("a.raw")
    with killed_at(monkeypatch, 2):
        rsciio_tem.convert(recording, target)
    target.write_text("precious")
    with pytest.raises(FileExistsError):
        rsciio_tem.convert(recording, target)
    assert target.read_text() == "precious"
    target.unlink()
    side = target.with_suffix(".toml")
    content, times = side.read_text(), (side.stat().st_atime_ns, side.stat().st_mtime_ns)
    side.write_text("precious")
    with pytest.raises(FormatError, match=r"a\.toml is not there any more, or is another file"):
        rsciio_tem.convert(recording, target)
    side.write_text(content)
    os.utime(side, ns=times)
    rsciio_tem.convert(recording, target)
    assert sorted(path.name for path in recording.parent.iterdir()) == [
        *("a.raw", "a.toml", "scan.mib")
    ]


@pytest.mark.filterwarnings("ignore:.*(units '' are not length|is stored as|cannot be read by)")
def test_a_series_is_completed(square: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a series, the first files that have their names are not strangers to the next call."""
    target = square.with_name("a_000.tvips")
    options: dict[str, Any] = {"nav_shape": (6, 7), **VENDORS[target.name]}
    whole = square.parent / "whole" / target.name
    whole.parent.mkdir()
    rsciio_tem.convert(square, whole, **options)
    for step in (2, 3):
        with killed_at(monkeypatch, step):
            rsciio_tem.convert(square, target, **options)
        assert not target.exists()
        with pytest.raises(FormatError, match="cannot be verified any more"):
            rsciio_tem.convert(square, target, verify=True, **options)
        assert rsciio_tem.convert(square, target, **options) == str(target)
        for name in ("a_000.tvips", "a_001.tvips", "a_002.tvips"):
            assert target.with_name(name).read_bytes() == whole.with_name(name).read_bytes()
            target.with_name(name).unlink()
        assert not Path(f"{target}.partial").exists()


def test_named_and_moved_away(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = recording.with_name("a.npy")
    with killed_at(monkeypatch, 2):  # before anything is cleared away
        rsciio_tem.convert(recording, target, nav_shape=(6, 7))
    target.rename(recording.with_name("b.npy"))
    with pytest.raises(FormatError, match=r"a\.npy is not there any more.*resume=False"):
        rsciio_tem.convert(recording, target, nav_shape=(6, 7))
    rsciio_tem.convert(recording, target, nav_shape=(6, 7), resume=False)
    assert target.read_bytes() == recording.with_name("b.npy").read_bytes()


# ---------------------------------------------------------------- command line


def test_command(recording: Path) -> None:
    target = recording.with_name("a.raw")
    arguments = ["convert", str(recording), str(target), "--nav-shape", "6,7", "--verify"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "verified" in result.output
    assert rsciio_tem.load(target)[0]["data"].shape == (6, 7, 16, 24)
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 2
    assert "exists already" in again.output
    # any other keyword of the reader
    over = [*arguments, "--overwrite", "-O", "roi=[0, 3, 5]"]
    assert CliRunner().invoke(main, over).exit_code == 0
    assert rsciio_tem.load(target)[0]["data"].shape == (3, 16, 24)
    wrong = CliRunner().invoke(main, [*arguments, "-O", "roi"])
    assert "is not NAME=VALUE" in wrong.output


@pytest.mark.parametrize("name", [name for name, row in FORMATS.items() if row.writes])
def test_writers_take_an_array_and_nothing_else(tmp_path: Path, name: str) -> None:
    """So do RosettaSciIO's: the last two axes are those of a frame."""
    if name == "zarr":
        pytest.importorskip("zarr")
    data = np.zeros((2, 3, 8, 8), "u1")
    data[..., 2, 3] = 1 + np.arange(6).reshape(2, 3)
    row = FORMATS[name]
    getattr(rsciio_tem, name).file_writer(tmp_path / f"a.{row.writes[0]}", {"data": data})
    path = tmp_path / ("a_000.tvips" if name == "tvips" else f"a.{row.writes[0]}")
    options = {} if name != "framecache" else {"nav_shape": (2, 3)}
    np.testing.assert_array_equal(rsciio_tem.load(path, **options)[0]["data"], data)
