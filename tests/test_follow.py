# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings that are still being written, followed frame by frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from writers import mib as mib_writer
from writers import npy as npy_writer

import rsciio_tem
from rsciio_tem.errors import FormatError

FRAMES = np.random.default_rng(0).integers(0, 4000, (30, 32, 256), dtype=np.uint16)
WEIGHTS = np.random.default_rng(1).random((32, 256))


@pytest.fixture
def stored(tmp_path: Path) -> bytes:
    """The bytes of a whole Merlin file, of frames of one size."""
    path = tmp_path / "whole.mib"
    mib_writer.write_mib(path, FRAMES, 12)
    return path.read_bytes()


def test_frames_come_once_they_are_complete(tmp_path: Path, stored: bytes) -> None:
    path, size = tmp_path / "scan.mib", len(stored) // len(FRAMES)
    following = rsciio_tem.follow(path)
    with pytest.raises((FormatError, FileNotFoundError)):
        following.new()
    with path.open("wb", buffering=0) as file:
        file.write(stored[: 4 * size])
        completed = following.new()
        assert completed is not None
        assert (completed.first, len(completed), following.count) == (0, 4, 4)
        np.testing.assert_array_equal(completed.load(), FRAMES[:4, ::-1])
        assert following.new() is None
        file.write(stored[4 * size : 7 * size - 1])  # the last frame lacks a byte
        completed = following.new()
        assert completed is not None
        assert (completed.first, len(completed)) == (4, 2)
        np.testing.assert_array_equal(completed.load(), FRAMES[4:6, ::-1])
        file.write(stored[7 * size - 1 :])
        completed = following.new()
    assert completed is not None
    assert (completed.first, len(completed), following.count) == (6, 24, 30)
    assert completed.load().dtype == np.dtype("=u2")
    np.testing.assert_array_equal(completed.load(), FRAMES[6:, ::-1])
    assert following.results == {}


@pytest.mark.parametrize("cuts", [(30,), (1, 2, 3, 30), (7, 11, 29, 30), tuple(range(1, 31))])
def test_results_are_those_of_the_whole(
    tmp_path: Path, stored: bytes, cuts: tuple[int, ...]
) -> None:
    path, size = tmp_path / "scan.mib", len(stored) // len(FRAMES)
    what = ["navigator", "sum", "mean", "max", "variance", "com"]
    following = rsciio_tem.follow(path, what=what, masks=[WEIGHTS, WEIGHTS > 0.5])
    for cut in cuts:
        path.write_bytes(stored[: cut * size]) if cut == cuts[0] else _append(path, stored, cut)
        assert following.new() is not None
        results = following.results  # in between as well
        assert results["navigator"].shape == (cut,)
    frames = FRAMES[:, ::-1].astype("f8")
    rows, columns = np.indices(frames.shape[1:])
    mass = frames.sum(axis=(1, 2))
    expected = {
        "navigator": mass,
        "sum": frames.sum(axis=0),
        "mean": frames.mean(axis=0),
        "max": frames.max(axis=0),
        "variance": frames.var(axis=0),
        "com": np.stack([(frames * i).sum(axis=(1, 2)) / mass for i in (rows, columns)]),
        "masks": np.stack([(frames * w).sum(axis=(1, 2)) for w in (WEIGHTS, WEIGHTS > 0.5)]),
    }
    assert results.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(results[name], values, rtol=1e-9, err_msg=name)
    assert results["sum"].dtype == np.uint64
    whole = rsciio_tem.reduce(path, what, scan="stack", progress=False)
    assert {name: results[name].dtype for name in what} == {n: whole[n].dtype for n in what}


def _append(path: Path, stored: bytes, frames: int) -> None:
    size = len(stored) // len(FRAMES)
    with path.open("ab") as file:
        file.write(stored[path.stat().st_size : frames * size])


def writing(path: Path, stored: bytes, pause: float) -> threading.Thread:
    """Write a recording in pieces that know nothing of frames."""

    def write() -> None:
        with path.open("wb", buffering=0) as file:
            for first in range(0, len(stored), 70_001):
                file.write(stored[first : first + 70_001])
                time.sleep(pause)

    return threading.Thread(target=write)


def test_a_loop_ends_when_nothing_comes_any_more(tmp_path: Path, stored: bytes) -> None:
    path = tmp_path / "scan.mib"
    following = rsciio_tem.follow(path, what="sum", interval=0.01, patience=2)
    writer = writing(path, stored, 0.02)
    writer.start()
    parts = [(completed.first, completed.load()) for completed in following]
    writer.join()
    assert len(parts) > 1
    assert [first for first, _ in parts] == np.cumsum(
        [0, *(len(p) for _, p in parts[:-1])]
    ).tolist()
    np.testing.assert_array_equal(np.concatenate([p for _, p in parts]), FRAMES[:, ::-1])
    np.testing.assert_array_equal(following.results["sum"], FRAMES[:, ::-1].sum(axis=0))


def test_what_never_comes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises((FormatError, FileNotFoundError), match="nothing"):
        list(rsciio_tem.follow(tmp_path / "nothing.mib", interval=0.01, patience=0.05))


def _smaller(path: Path, stored: bytes) -> None:
    path.write_bytes(stored[: 3 * (len(stored) // len(FRAMES))])


def _other_shape(path: Path, stored: bytes) -> None:
    mib_writer.write_mib(path, FRAMES[:, :16], 12)


def _other_file(path: Path, stored: bytes) -> None:
    new = path.with_name("new.mib")
    new.write_bytes(stored)
    new.replace(path)


@pytest.mark.parametrize("replace", [_smaller, _other_shape, _other_file])
def test_another_recording_of_the_same_name(
    tmp_path: Path, stored: bytes, replace: Callable[[Path, bytes], None]
) -> None:
    path = tmp_path / "scan.mib"
    path.write_bytes(stored[: 10 * (len(stored) // len(FRAMES))])
    following = rsciio_tem.follow(path)
    assert len(following.new() or ()) == 10
    replace(path, stored)
    with pytest.raises(FormatError, match="another recording than before"):
        following.new()


def test_numbered_sets_grow_by_files(tmp_path: Path) -> None:
    mib_writer.write_mib(tmp_path / "scan_1.mib", FRAMES[:5], 12)
    following = rsciio_tem.follow(tmp_path / "scan_1.mib", what="navigator")
    assert len(following.new() or ()) == 5
    mib_writer.write_mib(tmp_path / "scan_2.mib", FRAMES[5:9], 12, first_sequence=6)
    completed = following.new()
    assert completed is not None
    assert (completed.first, len(completed)) == (5, 4)
    np.testing.assert_array_equal(completed.load(), FRAMES[5:9, ::-1])
    np.testing.assert_array_equal(following.results["navigator"], FRAMES[:9].sum(axis=(1, 2)))


def test_raw_pixels(tmp_path: Path) -> None:
    path, whole = tmp_path / "scan.raw", FRAMES.tobytes()
    path.write_bytes(whole[: len(whole) // 2])
    options = {"dtype": "<u2", "sig_shape": (32, 256)}
    parts = iter(rsciio_tem.follow(path, interval=0.01, patience=0.2, **options))
    first = next(parts)
    with path.open("ab") as file:
        file.write(whole[len(whole) // 2 :])
    second = next(parts)
    assert second.first == len(first) == 15
    np.testing.assert_array_equal(np.concatenate([first.load(), second.load()]), FRAMES)
    assert list(parts) == []


def test_a_format_that_comes_as_a_whole(tmp_path: Path) -> None:
    """The header of a .npy file tells how many frames it has."""
    path = tmp_path / "scan.npy"
    npy_writer.write_npy(path, FRAMES)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    following = rsciio_tem.follow(path, interval=0.01, patience=5)
    finish = threading.Timer(0.2, path.write_bytes, [whole])
    finish.start()
    completed = next(iter(following))
    finish.join()
    np.testing.assert_array_equal(completed.load(), FRAMES)


def test_what_failed_comes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network drive that hangs for a moment: no frame is left out of the results."""
    from rsciio_tem.tools import follow

    path, whole = tmp_path / "scan.raw", FRAMES.tobytes()
    path.write_bytes(whole[: len(whole) // 2])
    what = ["navigator", "sum", "variance", "max"]
    following = rsciio_tem.follow(path, what=what, dtype="<u2", sig_shape=(32, 256))
    one_pass = follow.one_pass

    def broken(*args: object, **keywords: object) -> None:
        raise OSError("the network drive is away")

    for size in (len(whole) // 2, len(whole)):
        path.write_bytes(whole[:size])
        monkeypatch.setattr(follow, "one_pass", broken)
        count = following.count
        with pytest.raises(OSError, match="is away"):
            following.new()
        assert following.count == count
        assert not count or following.results["navigator"].shape == (count,)
        monkeypatch.setattr(follow, "one_pass", one_pass)
        completed = following.new()
        assert completed is not None
        assert (completed.first, len(completed)) == (count, 15)
    results = following.results
    np.testing.assert_array_equal(results["navigator"], FRAMES.sum(axis=(1, 2)))
    np.testing.assert_array_equal(results["sum"], FRAMES.sum(axis=0))
    np.testing.assert_array_equal(results["max"], FRAMES.max(axis=0))
    np.testing.assert_allclose(results["variance"], FRAMES.var(axis=0, dtype=float), rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"what": "brightness"}, "what=.'brightness'. is none of navigator, sum"),
        ({"interval": -1}, "interval=-1 is no number of seconds"),
        ({"patience": float("nan")}, "patience=nan is no number of seconds"),
    ],
)
def test_wrong_arguments_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rsciio_tem.follow("scan.mib", **options)


def test_another_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scan.raw").write_bytes(FRAMES.tobytes())
    monkeypatch.chdir(tmp_path)
    following = rsciio_tem.follow("scan.raw", dtype="<u2", sig_shape=(32, 256))
    monkeypatch.chdir(tmp_path.parent)
    assert len(following.new() or ()) == 30


def test_on_a_server() -> None:
    """What the address holds is not shown."""
    memory = pytest.importorskip("fsspec").filesystem("memory")
    whole = FRAMES.tobytes()
    options = {"dtype": "<u2", "sig_shape": (32, 256)}
    following = rsciio_tem.follow("memory://follow/scan.raw", what="navigator", **options)
    for frames in (10, 30):
        memory.pipe_file("/follow/scan.raw", whole[: len(whole) * frames // 30])
        assert following.new() is not None
        assert following.new() is None
        assert following.count == frames
    np.testing.assert_array_equal(following.results["navigator"], FRAMES.sum(axis=(1, 2)))
    memory.pipe_file("/follow/scan.raw", whole[: len(whole) // 2])
    with pytest.raises(FormatError, match="another recording than before"):
        following.new()
    storage = {"storage_options": {"secret": "hunter2"}}
    following = rsciio_tem.follow("https://me:hunter2@host/scan.mib?hunter2", **storage)
    assert repr(following) == "<Following of https://host/scan.mib: 0 frames>"


def test_sums_that_have_no_room(tmp_path: Path) -> None:
    path = tmp_path / "scan.raw"
    big = np.full((1, 4, 4), 2**63, np.uint64)
    path.write_bytes(big.tobytes())
    options = {"dtype": "<u8", "sig_shape": (4, 4), "what": "sum"}
    following = rsciio_tem.follow(path, **options)
    following.new()
    with path.open("ab") as file:
        file.write(big.tobytes())
    for _ in range(2):
        with pytest.raises(OverflowError, match="64 bits"):
            following.new()
    assert following.count == 1
    np.testing.assert_array_equal(following.results["sum"], big[0])
