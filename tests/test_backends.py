# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetching bytes: all ways give the same bytes, from any thread or process, or an error."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rsciio_tem.errors import FormatError, Truncated
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import (
    DataFile,
    backend_name,
    close_all,
    map_file,
    read,
    read_pieces,
)

BACKENDS = ("auto", "mmap", "buffered", "direct")
SIZE = 3 * 4096 + 1234


@pytest.fixture(scope="module")
def content() -> bytes:
    return np.random.default_rng(0).integers(0, 256, SIZE, np.uint8).tobytes()


@pytest.fixture
def file(tmp_path: Path, content: bytes) -> DataFile:
    path = tmp_path / "data.bin"
    path.write_bytes(content)
    return DataFile.of(path)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, SIZE), nbytes=st.integers(0, SIZE))
def test_read(file: DataFile, content: bytes, backend: Any, offset: int, nbytes: int) -> None:
    if offset + nbytes > SIZE:
        with pytest.raises(Truncated, match=f"ends at byte {SIZE}, data up to"):
            read(file, offset, nbytes, backend)
        return
    found = read(file, offset, nbytes, backend)
    assert found.dtype == np.uint8
    assert found.tobytes() == content[offset : offset + nbytes]


@pytest.mark.parametrize("backend", BACKENDS)
def test_whole_file(file: DataFile, content: bytes, backend: Any) -> None:
    assert read(file, 0, SIZE, backend).tobytes() == content
    assert read(file, SIZE - 1, 1, backend).tobytes() == content[-1:]
    with pytest.raises(Truncated):
        read(file, -1, 1, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads(file: DataFile, content: bytes, backend: Any) -> None:
    starts = np.random.default_rng(1).integers(0, SIZE - 700, 400).tolist()
    ready = threading.Barrier(4)

    def work(part: list[int]) -> None:
        ready.wait()
        for start in part:
            assert read(file, start, 700, backend).tobytes() == content[start : start + 700]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [starts[i::4] for i in range(4)]))


def test_short_reads_are_continued(
    file: DataFile, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(os, "preadv"):
        pytest.skip("no preadv on this system")
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, at: real(fd, [buffers[0][:100]], at))
    assert read(file, 5, 5000, "auto").tobytes() == content[5:5005]


def test_without_preadv(file: DataFile, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "preadv", raising=False)
    test_threads(file, content, "auto")
    real = os.read
    monkeypatch.setattr(os, "read", lambda fd, n: real(fd, min(n, 100)))
    assert read(file, 5, 5000, "auto").tobytes() == content[5:5005]
    out = np.zeros((3, 10), np.uint8)
    read_pieces(file, 7, 100, out)
    assert out[2].tobytes() == content[207:217]


def test_changed_file(file: DataFile) -> None:
    for change in (
        lambda: os.truncate(file.path, SIZE - 1),
        lambda: os.utime(file.path, ns=(0, file.mtime_ns + 1)),
        lambda: Path(file.path).write_bytes(b"x" * SIZE),
    ):
        Path(file.path).touch()
        here = DataFile.of(file.path)
        read(here, 0, 10, "auto")  # the handle is open now
        change()
        if DataFile.of(file.path) == here:
            pytest.skip("times of files are too coarse here")
        for backend in BACKENDS:
            with pytest.raises(FormatError, match=r"data\.bin: changed since it was opened"):
                read(here, 0, 10, backend)
        with pytest.raises(FormatError, match="changed"):
            map_file(here)
        close_all()
        with pytest.raises(FormatError, match="changed"):
            read(here, 0, 10, "auto")


def test_file_that_is_not_there(file: DataFile, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"none\.bin: cannot be opened"):
        DataFile.of(tmp_path / "none.bin")
    Path(file.path).unlink()
    with pytest.raises(FormatError, match=r"data\.bin: cannot be opened"):
        read(file, 0, 10, "auto")


def test_few_handles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_MAX_HANDLES", 4)
    files = []
    for i in range(20):
        path = tmp_path / f"{i}"
        path.write_bytes(bytes([i]))
        files.append(DataFile.of(path))
    close_all()
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    for _ in range(3):
        for i, file in enumerate(files):
            assert read(file, 0, 1, "auto")[0] == i
    assert len(backends._handles) == 4
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) - before <= 5
    close_all()
    assert not backends._handles
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) <= before


def _limited(code: str, *arguments: str, limit: int = 256) -> str:
    """Run code in a process that may open few files; return what it prints."""
    prefix = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n"
    command = [sys.executable, "-W", "ignore", "-c", prefix + textwrap.dedent(code), *arguments]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of open files")
@pytest.mark.parametrize("backend", ["auto", "mmap"])
def test_limit_of_open_files(tmp_path: Path, backend: str) -> None:
    """Handles give way to files that others open, down to the last one."""
    for i in range(300):
        (tmp_path / f"{i}").write_bytes(bytes([i % 256]))
    code = """
        import os, sys
        from rsciio_tem.storage.backends import DataFile, read
        folder, backend = sys.argv[1:]
        files = [DataFile.of(os.path.join(folder, str(i))) for i in range(300)]
        def right():
            return all(read(f, 0, 1, backend)[0] == i % 256 for i, f in enumerate(files))
        print(right())
        kept = []
        while len(kept) < 500:
            try:
                kept.append(os.open(files[0].path, os.O_RDONLY))
            except OSError:
                break
        from rsciio_tem.storage import backends
        backends.close_all()
        print(right())
        for fd in kept[:4]:
            os.close(fd)
        while True:  # all that is left is two for a mapped file
            try:
                kept.append(os.open(files[0].path, os.O_RDONLY))
            except OSError:
                break
        for fd in kept[-2:]:
            os.close(fd)
        print(right())
    """
    assert _limited(code, str(tmp_path), backend).split() == ["True"] * 3


def test_pipes_and_folders_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(FormatError, match="folder: is a folder, not a file"):
        DataFile.of(tmp_path / "folder")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FormatError, match="pipe: is a pipe, not a file"):
            DataFile.of(tmp_path / "pipe")
        with pytest.raises(FormatError, match="is a pipe, not a file"):
            read(DataFile(str(tmp_path / "pipe"), 0, 0), 0, 0, "auto")
    if os.path.exists("/dev/zero"):
        with pytest.raises(FormatError, match="is a device, not a file"):
            DataFile.of("/dev/zero")


@pytest.mark.skipif(not hasattr(os, "pread"), reason="what was there cannot be compared")
def test_growing_file(file: DataFile, content: bytes) -> None:
    """What was described is read on while the file grows, until lazy signals are computed."""
    for start in (0, SIZE - 100):
        with open(file.path, "ab") as stream:
            stream.write(b"more")
        assert read(file, start, 100, "auto").tobytes() == content[start : start + 100]
        assert len(map_file(file)) == SIZE
    with open(file.path, "r+b") as stream:
        stream.write(b"other")
    with pytest.raises(FormatError, match="changed since it was opened"):
        read(file, 5000, 10, "auto")
    again = DataFile.of(file.path)
    with open(file.path, "ab") as stream:
        stream.write(b"more")
    backends.settle()
    with pytest.raises(FormatError, match=r"changed since .* without lazy=True"):
        read(again, 0, 10, "auto")


def test_views_outlive_their_handle(file: DataFile, content: bytes) -> None:
    view = read(file, 100, 200, "mmap")
    mapped = map_file(file)
    close_all()
    assert view.tobytes() == content[100:300]
    assert mapped[100:300].tobytes() == content[100:300]
    assert not view.flags.writeable


def _in_child(file: DataFile, queue: Any) -> None:
    queue.put((len(backends._handles), read(file, 10, 20, "auto").tobytes()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_child(file: DataFile, content: bytes) -> None:
    read(file, 0, 10, "auto")
    assert backends._handles
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with backends._handles_lock:  # held by another thread at the moment of the fork
        child = context.Process(target=_in_child, args=(file, queue))
        child.start()
    assert queue.get(timeout=20) == (0, content[10:30])
    child.join(20)
    assert child.exitcode == 0


def test_read_pieces_anywhere(file: DataFile, content: bytes) -> None:
    out = np.zeros((3, 8), np.uint8)
    offsets = [SIZE - 8, 0, 500]
    backends.read_pieces_at(file, offsets, out)
    assert [row.tobytes() for row in out] == [content[at : at + 8] for at in offsets]
    read_pieces(file, SIZE, 0, out)  # behind the end: nothing changes
    assert out[1].tobytes() == content[:8]


def test_read_pieces(file: DataFile, content: bytes) -> None:
    out = np.full((5, 8), 9, np.uint8)
    read_pieces(file, SIZE - 3 * 1000 - 4, 1000, out)
    for i in range(3):
        start = SIZE - 3 * 1000 - 4 + i * 1000
        assert out[i].tobytes() == content[start : start + 8]
    assert out[3].tobytes() == content[-4:] + b"\x09" * 4
    assert (out[4] == 9).all()


def test_copy_on_write(file: DataFile, content: bytes) -> None:
    mapped = map_file(file, "c")
    mapped[:10] = 0
    assert Path(file.path).read_bytes() == content
    with pytest.raises(ValueError, match="read-only"):
        map_file(file, "r")[:10] = 0


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("auto", "auto"),
        (None, "auto"),
        ("mmap", "mmap"),
        ("MMapBackend", "mmap"),
        ("BufferedBackend", "buffered"),
        ("Direct", "direct"),
        (type("DirectBackend", (), {})(), "direct"),
    ],
)
def test_names(given: Any, name: str) -> None:
    assert backend_name(given) == name


@pytest.mark.parametrize("given", ["", "fast", 3])
def test_unknown_name(given: Any) -> None:
    with pytest.raises(ValueError, match="is none of auto, mmap, buffered, direct"):
        backend_name(given)


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="the system has no preadv")
@pytest.mark.parametrize("count", [1, 2, 127, 128, 129, 400])
@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("far", [1, backends._FAR])
def test_rows(
    tmp_path: Path, count: int, short: bool, far: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames behind headers, read straight into their places; also where a read ends early."""
    content = np.random.default_rng(count).integers(0, 256, (count, 107), np.uint8)
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc" + content.tobytes())
    file = DataFile.of(path)
    original = os.preadv
    monkeypatch.setattr(backends, "_FAR", far)
    if short:
        monkeypatch.setattr(os, "preadv", lambda fd, buffers, at: original(fd, buffers[:1], at))
    out = np.zeros((count, 100), np.uint8)
    assert backends.read_rows(file, 3 + 7, 107, out)
    np.testing.assert_array_equal(out, content[:, 7:])
    with pytest.raises(Truncated):
        backends.read_rows(file, 3 + 8, 107, out)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="pages are used on Linux only")
def test_file_that_cannot_be_mapped(tmp_path: Path) -> None:
    """A file larger than the memory: its pages cannot be used in place, but it can be read."""
    path = tmp_path / "large.npy"
    script = """
    import os, resource, sys
    import numpy as np
    import rsciio_tem

    path, frames = sys.argv[1], 1 << 20
    with open(path, "wb") as file:  # 16 GiB of zeros that take no room on the disk
        header = {"descr": "<u2", "fortran_order": False, "shape": (frames, 128, 64)}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.truncate(start + (frames << 14))
        file.seek(start)
        np.arange(8 * 128 * 64, dtype="<u2").tofile(file)
    os.utime(path, (1e9, 1e9))
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    (signal,) = rsciio_tem.load(path, lazy=True)
    frame = np.arange(8 * 128 * 64, dtype="<u2").reshape(8, 128, 64)
    for _ in range(2):  # the second time its bytes are in memory
        sums = signal["data"][:8].sum(axis=(1, 2)).compute(scheduler="sync")
        np.testing.assert_array_equal(sums, frame.sum(axis=(1, 2)))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(path)], check=True)
