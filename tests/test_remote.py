# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings on servers: what memory://, HTTP and S3 give is what a disk gives."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
import pickle
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner
from remote_server import WebServer
from samples import SPECS, Sample, Spec

import rsciio_tem
from rsciio_tem.cli import main
from rsciio_tem.errors import FormatError, RecordingWarning
from rsciio_tem.reading.lazy import lazy_source
from rsciio_tem.storage.remote import session, transport
from rsciio_tem.storage.remote.address import Secrets, cleaned, folder_of, is_address

#: Recordings that are read from a disk only, and what is said of them.
_DISK_ONLY = {
    "imagefiles": "reads lists of images opens files on a disk only",
    "rawimage": "reads lists of images opens files on a disk only",
    "tiff": "the reader of TIFF stacks opens files on a disk only",
    "zarr": "is a folder on a server",
    "framecache: fch5": "frame caches in HDF5 opens files on a disk only",
    "npy: Fortran order": "would have to be mapped into memory",
    "npy: npz, Fortran order": "would have to be mapped into memory",
}


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits before a request is sent again."""
    monkeypatch.setattr(transport, "PAUSES", (0.0, 0.0))


@pytest.fixture
def memory() -> Iterator[Any]:
    """An empty file system in memory."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def uploaded(sample: Sample, memory: Any, folder: str = "recordings/of today") -> Sample:
    """Copy all files of a recording into the memory; return it with its address."""
    assert sample.path is not None
    for file in sample.path.parent.rglob("*"):
        if file.is_file():
            name = file.relative_to(sample.path.parent).as_posix()
            memory.pipe_file(f"/{folder}/{name}", file.read_bytes())
    address: Any = f"memory://{folder}/{sample.path.name}"
    return dataclasses.replace(sample, path=address)


# -- all formats ---------------------------------------------------------------------------------


@pytest.mark.per_kind
def test_equal_to_a_disk(sample: Sample, memory: Any) -> None:
    """Eagerly and lazily; what needs a disk says so."""
    if sample.path is None:
        pytest.skip("an array in memory")
    there = uploaded(sample, memory)
    if (said := next((t for n, t in _DISK_ONLY.items() if str(sample).startswith(n)), "")) != "":
        with pytest.raises(FormatError, match=said):
            there.read_quietly()
        return
    signal = there.read_quietly()
    np.testing.assert_array_equal(signal["data"], sample.expected)
    lazy = there.read_quietly(lazy=True)
    np.testing.assert_array_equal(lazy["data"].compute(scheduler="synchronous"), sample.expected)
    local = sample.read_quietly()
    assert [dict(a) for a in signal["axes"]] == [dict(a) for a in local["axes"]]
    assert str(sample.path.parent) not in repr(signal["original_metadata"])


@pytest.mark.per_kind
def test_reduced_and_checked(sample: Sample, memory: Any) -> None:
    if sample.path is None or any(str(sample).startswith(name) for name in _DISK_ONLY):
        pytest.skip("needs a disk")
    if sample.expected.dtype.names:
        pytest.skip("colours are not added up")
    there = uploaded(sample, memory)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        values = [
            rsciio_tem.reduce(one.path, ("sum", "navigator"), format=one.format, **one.options)
            for one in (sample, there)
        ]
        problems = [
            [p.message.replace(str(one.path), "") for p in rsciio_tem.check(one.path, one.format)]
            for one in (sample, there)
        ]
    for name in ("sum", "navigator"):
        np.testing.assert_array_equal(values[0][name], values[1][name])
    assert problems[0] == problems[1]


# -- HTTP ----------------------------------------------------------------------------------------


def write_scan(folder: Path, lines: int, columns: int, name: str = "scan") -> Path:
    """Write a MIB recording whose times show the lines, with its .hdr."""
    from rsciio_tem.tools import demo

    folder.mkdir(exist_ok=True)
    n = lines * columns
    times = demo.START_NS + np.arange(n) * demo.DWELL_NS
    times += np.arange(n) // columns * demo.FLYBACK_NS
    pixels = np.random.default_rng(0).integers(0, 4000, (n, 256 * 256)).astype(">u2")
    with (folder / f"{name}.mib").open("wb") as file:
        for header, frame in zip(demo.frame_headers(1, times), pixels, strict=True):
            file.write(header + frame.tobytes())
    (folder / f"{name}.hdr").write_bytes(demo.hdr_text(n))
    return folder / f"{name}.mib"


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scan"), 12, 24)


@pytest.fixture
def web(scan: Path) -> Iterator[Callable[..., WebServer]]:
    """Start servers of the folder of a recording, or another one."""
    pytest.importorskip("aiohttp", reason="addresses with http:// need aiohttp")
    servers: list[WebServer] = []

    def start(folder: Path | None = None, **how: Any) -> WebServer:
        servers.append(WebServer(folder or scan.parent, **how))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def test_requests_of_a_recording(web: Callable[..., WebServer], scan: Path) -> None:
    """Opening takes few, a frame one."""
    server = web()
    recording = rsciio_tem.open(f"{server.url}/scan.mib")
    assert [os.path.basename(name) for name in recording.files] == ["scan.mib", "scan.hdr"]
    assert len(server.requests) <= 5
    assert sum(n for *_, part in server.requests for n in (part or (0, 0))[1:]) < 256 << 10

    server.requests.clear()
    (signal,) = rsciio_tem.load(f"{server.url}/scan.mib", lazy=True)
    assert signal["data"].shape == (12, 24, 256, 256)
    assert sum(part[1] for part in server.parts("scan.mib")) < 6 << 20
    (local,) = rsciio_tem.load(scan)

    server.requests.clear()
    np.testing.assert_array_equal(signal["data"][3, 4].compute(), local["data"][3, 4])
    frame = 3 * 24 + 4
    assert server.parts("scan.mib") == [(frame * (384 + 131072) + 384, 131072)]

    server.requests.clear()
    np.testing.assert_array_equal(signal["data"][5].compute(), local["data"][5])
    assert [n for _, n in server.parts("scan.mib")] == [24 * (384 + 131072) - 384]

    server.requests.clear()
    part = signal["data"][:2, :, 100:104].compute()
    np.testing.assert_array_equal(part, local["data"][:2, :, 100:104])
    assert len(server.parts("scan.mib")) == 48  # rows of each frame, far apart
    assert sum(n for _, n in server.parts("scan.mib")) == 48 * 4 * 512

    server.requests.clear()
    dark = rsciio_tem.reduce(f"{server.url}/scan.mib", masks={"all": np.ones((256, 256))})
    np.testing.assert_array_equal(dark["all"], local["data"].sum(axis=(2, 3), dtype=float))
    large = [n for _, n in server.parts("scan.mib") if n > 100_000]
    assert sum(large) == pytest.approx(scan.stat().st_size, rel=0.01)
    assert len(large) <= scan.stat().st_size / (8 << 20) + 4


@pytest.mark.parametrize("pieces", [False, True])
def test_one_connection(
    scan: Path, memory: Any, monkeypatch: pytest.MonkeyPatch, pieces: bool
) -> None:
    """Of servers with one connection, such as SFTP, one thread at a time asks something."""
    for suffix in (".mib", ".hdr"):
        memory.put(str(scan.with_suffix(suffix)), f"/one connection/scan{suffix}")
    monkeypatch.setattr(transport, "_ONE_BY_ONE", {"memory"})
    busy, asked = threading.Lock(), []

    class Pieces:
        """A file as paramiko has them, or one that only reads."""

        def __init__(self, content: bytes) -> None:
            self.content = content
            if pieces:
                self.readv = self._readv

        def __enter__(self) -> Pieces:
            return self

        def __exit__(self, *args: Any) -> None:
            pass

        def _readv(self, parts: list[tuple[int, int]]) -> Iterator[bytes]:
            assert busy.acquire(blocking=False), "two threads ask at the same time"
            time.sleep(0.01)
            busy.release()
            asked.extend(parts)
            yield from (self.content[start : start + count] for start, count in parts)

    def cat_file(path: str, start: int, end: int) -> bytes:
        return next(Pieces(content)._readv([(start, end - start)]))

    content = scan.read_bytes()
    address = "memory://one connection/scan.mib"
    chunks = (1, 24, 256, 256)
    (signal,) = rsciio_tem.load(address, lazy=True, nav_shape=(12, 24), chunks=chunks)
    origin = lazy_source(signal["data"]).frames.files[0].origin
    fs = transport.filesystem(address, origin.options, origin.secrets)
    monkeypatch.setattr(fs, "open", lambda *args, **options: Pieces(content))
    monkeypatch.setattr(fs, "cat_file", cat_file)
    (local,) = rsciio_tem.load(scan)
    values = signal["data"].compute(num_workers=8)
    np.testing.assert_array_equal(values, local["data"])
    assert len(asked) > 4


def test_lines_are_the_same_however_few_headers_are_read(tmp_path: Path, memory: Any) -> None:
    """Also where a frame was lost, behind those that are looked at first."""
    path = write_scan(tmp_path / "long", 40, 16)
    content = path.read_bytes()
    frame = 384 + 131072
    lost = content[: 500 * frame] + content[501 * frame :]
    path.write_bytes(lost)
    memory.pipe_file("/long/scan.mib", lost)
    memory.pipe_file("/long/scan.hdr", path.with_suffix(".hdr").read_bytes())
    with pytest.warns(RecordingWarning, match="1 of 640 scan positions was not recorded"):
        scans = [rsciio_tem.open(p).scan() for p in (path, "memory://long/scan.mib")]
    assert scans[0].shape == scans[1].shape == (40, 16)
    np.testing.assert_array_equal(scans[0].lines, scans[1].lines)


def test_server_without_ranges(web: Callable[..., WebServer], scan: Path) -> None:
    """Nothing large is fetched whole by mistake; a cache of fsspec does so on purpose."""
    server = web(ranges=False)
    with pytest.raises(FormatError, match="sends whole files only") as caught:
        rsciio_tem.open(f"{server.url}/scan.mib")
    assert "simplecache::http" in str(caught.value)
    address = f"simplecache::{server.url}/scan.mib"
    (signal,) = rsciio_tem.load(address, lazy=True, nav_shape=(12, 24))
    np.testing.assert_array_equal(
        signal["data"][3, 4].compute(), rsciio_tem.load(scan)[0]["data"][3, 4]
    )


def test_small_files_need_no_ranges(web: Callable[..., WebServer], tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(5 * 6 * 7, dtype="u2").reshape(5, 6, 7))
    server = web(tmp_path, ranges=False)
    (signal,) = rsciio_tem.load(f"{server.url}/a.npy", lazy=True)
    assert signal["data"][4, 5, 6].compute() == 209


@pytest.mark.parametrize("listing", [True, False])
def test_files_beside(
    web: Callable[..., WebServer], sample_of: Callable[[Spec], Sample], listing: bool
) -> None:
    """Numbered sets and side files, whether or not the server lists names."""
    sets = [s for s in SPECS if str(s) in ("mib: set, first opened", "mib: set, last opened")]
    assert len(sets) == 2
    for spec in sets:
        local = sample_of(spec)
        assert local.path is not None
        server = web(local.path.parent, listing=listing)
        first = min(rsciio_tem.open(local.path).files) if not listing else str(local.path)
        address = f"{server.url}/{os.path.basename(first)}"
        (signal,) = rsciio_tem.load(address, **local.options)
        np.testing.assert_array_equal(signal["data"], local.expected)


@pytest.mark.parametrize("listing", [True, False])
@pytest.mark.parametrize("name", ["my scan", "scan#1", "my%20scan"])
def test_names_as_browsers_write_them(
    web: Callable[..., WebServer], tmp_path: Path, listing: bool, name: str
) -> None:
    """The side file is found with the name that the address has, and with that of the list."""
    from urllib.parse import quote

    path = write_scan(tmp_path / "s", 2, 4, name)
    server = web(path.parent, listing=listing)
    written = quote(name)
    recording = rsciio_tem.open(f"{server.url}/{written}.mib")
    assert recording.files == tuple(f"{server.url}/{written}{end}" for end in (".mib", ".hdr"))


def test_pages_that_list_no_files(web: Callable[..., WebServer], tmp_path: Path) -> None:
    """A page with other links does not hide the side files."""
    path = write_scan(tmp_path / "s", 2, 4)
    server = web(path.parent)
    server.page = b'<a href="about.html">About</a> <a href="/login">Log in</a>'
    files = rsciio_tem.open(f"{server.url}/scan.mib").files
    assert [os.path.basename(name) for name in files] == ["scan.mib", "scan.hdr"]


@pytest.mark.parametrize("status", [500, 503])
def test_side_files_that_a_server_cannot_tell(
    web: Callable[..., WebServer], scan: Path, status: int
) -> None:
    """Without its header, a recording would quietly be another one."""
    server = web(listing=False)
    server.broken = (".hdr", status)
    with pytest.raises(FormatError, match=f"answers with the status {status}") as caught:
        rsciio_tem.open(f"{server.url}/scan.mib")
    assert caught.value.path.endswith(".hdr")
    server.broken = (".hdr", 403)  # as S3 says of what is not there
    assert len(rsciio_tem.open(f"{server.url}/scan.mib").files) == 1


def test_small_files_of_no_told_size(web: Callable[..., WebServer], tmp_path: Path) -> None:
    """Pages that programs make come without their size."""
    np.save(tmp_path / "a.npy", values := np.arange(5 * 6 * 7, dtype="u2").reshape(5, 6, 7))
    server = web(tmp_path, ranges=False, listing=False)
    server.chunked = True
    np.testing.assert_array_equal(rsciio_tem.load(f"{server.url}/a.npy")[0]["data"], values)
    (signal,) = rsciio_tem.load(f"{server.url}/a.npy", lazy=True)
    np.testing.assert_array_equal(signal["data"][2:].compute(), values[2:])
    np.save(tmp_path / "b.npy", np.zeros((9, 256, 256), "u2"))
    with pytest.raises(FormatError, match="sends whole files only"):
        rsciio_tem.load(f"{server.url}/b.npy")


def test_half_answers(web: Callable[..., WebServer], scan: Path) -> None:
    """One is asked for again; what never becomes whole is an error."""
    server = web()
    (signal,) = rsciio_tem.load(f"{server.url}/scan.mib", lazy=True, nav_shape=(12, 24))
    server.halves = [0.5, 0.25]
    np.testing.assert_array_equal(
        signal["data"][3, 4].compute(), rsciio_tem.load(scan)[0]["data"][3, 4]
    )
    server.halves = [0.5] * 20
    with pytest.raises(FormatError, match=r"could not be read|sent \d+ of \d+ bytes"):
        signal["data"][3, 4].compute()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "may not be read: the server refuses"),
        (401, "may not be read: the server refuses"),
        (404, "does not exist: there is no such file"),
        (418, "answers with the status 418"),
        (503, "answers with the status 503"),
    ],
)
def test_refusals(web: Callable[..., WebServer], status: int, said: str) -> None:
    server = web()
    server.statuses = [status] * 50
    with pytest.raises(FormatError, match=said) as caught:
        rsciio_tem.load(f"{server.url}/scan.mib")
    assert str(caught.value).startswith(f"{server.url}/scan.mib: ")
    assert caught.value.__cause__ is None


def test_servers_that_are_busy_for_a_moment(web: Callable[..., WebServer]) -> None:
    server = web()
    server.statuses = [503, 429]
    assert rsciio_tem.open(f"{server.url}/scan.mib").count == 288


def test_no_server() -> None:
    pytest.importorskip("aiohttp", reason="addresses with http:// need aiohttp")
    with pytest.raises(FormatError, match="there is no connection to the server"):
        rsciio_tem.load("http://127.0.0.1:1/scan.mib")


def test_silent_server(web: Callable[..., WebServer]) -> None:
    import aiohttp

    server = web()
    server.silent_s = 0.6
    options = {"client_kwargs": {"timeout": aiohttp.ClientTimeout(sock_read=0.1)}}
    with pytest.raises(FormatError, match="did not answer in time"):
        rsciio_tem.load(f"{server.url}/scan.mib", storage_options=options)


def test_files_that_change(web: Callable[..., WebServer], tmp_path: Path) -> None:
    path = write_scan(tmp_path / "s", 2, 4)
    server = web(path.parent)
    (signal,) = rsciio_tem.load(f"{server.url}/scan.mib", lazy=True, nav_shape=(2, 4))
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    with pytest.raises(FormatError, match=r"changed since it was opened \(written again\)"):
        signal["data"][1, 1].compute()
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(FormatError, match="it had 1051648 bytes, now 1051652"):
        signal["data"][1, 1].compute()


def test_memory_that_changes(memory: Any) -> None:
    np.save(buffer := memory.open("/a.npy", "wb"), np.zeros((3, 4, 5), "u2"))
    buffer.close()
    (signal,) = rsciio_tem.load("memory://a.npy", lazy=True)
    np.save(buffer := memory.open("/a.npy", "wb"), np.ones((3, 4, 5), "u2"))
    buffer.close()
    with pytest.raises(FormatError, match="changed since it was opened"):
        signal["data"].compute()


# -- S3 ------------------------------------------------------------------------------------------


class Bucket:
    """A bucket on an S3 server of this machine, which counts what it is asked for."""

    def __init__(self, options: dict[str, Any], requests: list[tuple[str, str, str]]) -> None:
        self.options, self.requests = options, requests
        self.fs = fsspec.filesystem("s3", skip_instance_cache=True, **options)

    def ranges(self) -> list[tuple[int, int]]:
        """Return first byte and number of bytes of each range that was asked for."""
        bounds = [part.removeprefix("bytes=").split("-") for *_, part in self.requests if part]
        return [(int(a), int(b) - int(a) + 1) for a, b in bounds]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording for servers that read whole files to send a part."""
    return write_scan(tmp_path_factory.mktemp("small"), 4, 6)


@pytest.fixture(scope="module")
def bucket(small: Path) -> Iterator[Bucket]:
    pytest.importorskip("s3fs", reason="addresses with s3:// need s3fs")
    server_of = pytest.importorskip("moto.server", reason="moto[server] is an S3 server for tests")
    from werkzeug.serving import WSGIRequestHandler

    requests: list[tuple[str, str, str]] = []

    def note(handler: Any, *args: Any) -> None:
        requests.append((handler.command, handler.path, handler.headers.get("Range") or ""))

    patch = pytest.MonkeyPatch()
    patch.setattr(WSGIRequestHandler, "log_request", note)
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        patch.delenv(name, raising=False)
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    options = {
        "endpoint_url": f"http://127.0.0.1:{port}",
        "key": "testing",
        "secret": "hunter2-of-s3",
    }
    one = Bucket(options, requests)
    one.fs.mkdir("bucket")
    for suffix in (".mib", ".hdr"):
        one.fs.put(str(small.with_suffix(suffix)), f"bucket/day 1/scan{suffix}")
    yield one
    server.stop()
    patch.undo()


def test_requests_to_s3(bucket: Bucket, small: Path) -> None:
    address = "s3://bucket/day 1/scan.mib"
    bucket.requests.clear()
    recording = rsciio_tem.open(address, storage_options=bucket.options)
    assert [os.path.basename(name) for name in recording.files] == ["scan.mib", "scan.hdr"]
    assert len(bucket.requests) <= 5
    assert sum(n for _, n in bucket.ranges()) < 256 << 10

    shape: Any = {"nav_shape": (4, 6), "storage_options": bucket.options}
    (signal,) = rsciio_tem.load(address, lazy=True, **shape)
    (local,) = rsciio_tem.load(small)
    bucket.requests.clear()
    np.testing.assert_array_equal(signal["data"][3, 4].compute(), local["data"][3, 4])
    frame = 3 * 6 + 4
    assert bucket.ranges() == [(frame * (384 + 131072) + 384, 131072)]
    assert len(bucket.requests) == 1

    dark = rsciio_tem.reduce(address, masks={"all": np.ones((256, 256))}, **shape)
    np.testing.assert_array_equal(dark["all"], local["data"].sum(axis=(2, 3), dtype=float))
    for text in (repr(signal), str(signal["original_metadata"]), repr(recording.frames)):
        assert "hunter2" not in text


def test_s3_in_other_processes(bucket: Bucket, small: Path) -> None:
    """Tasks carry what is needed to fetch their frames."""
    address = "s3://bucket/day 1/scan.mib"
    (signal,) = rsciio_tem.load(
        address, lazy=True, nav_shape=(4, 6), storage_options=bucket.options
    )
    values = signal["data"][:2, :2].compute(scheduler="processes", num_workers=1)
    np.testing.assert_array_equal(values, rsciio_tem.load(small)[0]["data"][:2, :2])


@pytest.mark.parametrize(
    ("address", "options", "said"),
    [
        ("s3://bucket/nothing.mib", {}, "there is no such file"),
        ("s3://nothing-here/a.mib", {}, "there is no such bucket"),
        ("s3://bucket", {}, "is a bucket, not a file"),
        ("s3://bucket/day 1", {}, "is a folder on a server"),
        ("s3://bucket/empty.mib", {}, "is empty"),
        ("s3://bucket/day 1/scan.mib", {"nonsense": 3}, "could not be read: TypeError"),
    ],
)
def test_errors_of_s3(bucket: Bucket, address: str, options: Any, said: str) -> None:
    bucket.fs.pipe_file("bucket/empty.mib", b"")
    with pytest.raises(FormatError, match=said) as caught:
        rsciio_tem.load(address, storage_options={**bucket.options, **options})
    assert "hunter2" not in str(caught.value)


def test_s3_without_permission(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError

    async def refused(*args: Any, **kwargs: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetObject")

    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", refused)
    with pytest.raises(FormatError, match="may not be read: the server refuses"):
        rsciio_tem.load("s3://bucket/day 1/scan.mib", storage_options=bucket.options)


def test_files_on_s3_that_change(bucket: Bucket) -> None:
    for value in (0, 1):
        with bucket.fs.open("bucket/a.npy", "wb") as file:
            np.save(file, np.full((3, 4, 5), value, "u2"))
        if value == 0:
            (signal,) = rsciio_tem.load(
                "s3://bucket/a.npy", lazy=True, storage_options=bucket.options
            )
    with pytest.raises(FormatError, match=r"changed since it was opened \(written again\)"):
        signal["data"].compute()


def test_half_answers_of_s3(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    (signal,) = rsciio_tem.load(
        "s3://bucket/day 1/scan.mib",
        lazy=True,
        nav_shape=(4, 6),
        storage_options=bucket.options,
    )
    call, bad = s3fs.S3FileSystem._call_s3, [True, True]

    class Half:
        def __init__(self, body: Any) -> None:
            self.body = body

        async def read(self) -> bytes:
            return bytes(await self.body.read())[:1000]

        def close(self) -> None:
            self.body.close()

    async def half(self: Any, *args: Any, **kwargs: Any) -> Any:
        answer = await call(self, *args, **kwargs)
        return {**answer, "Body": Half(answer["Body"])} if bad and bad.pop() else answer

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", half)
    assert signal["data"][0, 0].compute().any()
    assert not bad
    bad += [True] * 9
    with pytest.raises(FormatError, match="sent 1000 of 131072 bytes, again and again"):
        signal["data"][0, 1].compute()


# -- secrets -------------------------------------------------------------------------------------


def test_secrets_are_never_shown(
    web: Callable[..., WebServer], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    server = web()
    server.password = "me:hunter2"
    address = server.url.replace("://", "://me:hunter2@") + "/scan.mib?signature=s3cr3t"
    caplog.set_level(logging.DEBUG, logger="rsciio_tem")
    (signal,) = rsciio_tem.load(address, lazy=True)
    recording = rsciio_tem.open(address)
    assert signal["data"][0, 0].compute().shape == (256, 256)
    assert all("signature=s3cr3t" in path for _, path, _ in server.requests if "mib?" in path)
    target = rsciio_tem.convert(address, tmp_path / "a.h5", nav_shape=(1, 24), last_frame=24)
    texts = [repr(signal), str(signal["original_metadata"]), repr(recording), caplog.text]
    texts += [repr(recording.frames), *map(str, rsciio_tem.check(address))]
    texts.append(repr(Path(target).read_bytes()))
    server.statuses = [403] * 20
    for wrong in (address, address.replace("scan", "nothing")):
        with pytest.raises(FormatError) as caught:
            rsciio_tem.open(wrong)
        texts += [str(caught.value), repr(caught.value), repr(caught.value.args)]
    for text in texts:
        assert "hunter2" not in text
        assert "s3cr3t" not in text


def test_options_are_not_in_messages(web: Callable[..., WebServer]) -> None:
    server = web()
    options = {"headers": {"Authorization": "Bearer t0ps3cret"}, "nonsense": "t0ps3cret"}
    with pytest.raises(FormatError) as caught:
        rsciio_tem.open(f"{server.url}/scan.mib", storage_options=options)
    assert "t0ps3cret" not in str(caught.value)
    with pytest.raises(TypeError, match="storage_options must be a dict"):
        rsciio_tem.open(f"{server.url}/scan.mib", storage_options="t0ps3cret")


@pytest.mark.parametrize(
    ("address", "shown", "secrets"),
    [
        ("s3://bucket/a b.mib", "s3://bucket/a b.mib", Secrets()),
        ("s3://bucket/a?b.mib", "s3://bucket/a?b.mib", Secrets()),
        ("https://me:pw@host/a.mib", "https://host/a.mib", Secrets("me:pw")),
        ("https://host/a.mib?x=1#2", "https://host/a.mib", Secrets("", "x=1")),
        ("sftp://me:p%40w@host/a.mib", "sftp://host/a.mib", Secrets("me:p%40w")),
        ("abfs://box@account.dfs/a.mib", "abfs://box@account.dfs/a.mib", Secrets()),
        ("https://me:p@pw@host/a.mib", "https://host/a.mib", Secrets("me:p@pw")),
        ("https://me:pw#?@host/a.mib", "https://host/a.mib", Secrets("me:pw#?")),
        ("s3://bucket/a@b/c.mib", "s3://bucket/a@b/c.mib", Secrets()),
        ("https://host", "https://host", Secrets()),
        ("simplecache::https://me:pw@h/a", "simplecache::https://h/a", Secrets("me:pw")),
        ("memory://a.mib", "memory://a.mib", Secrets()),
        ("memory:/a.mib", "memory:/a.mib", Secrets()),
    ],
)
def test_addresses(address: str, shown: str, secrets: Secrets) -> None:
    assert is_address(address)
    assert cleaned(address) == (shown, secrets)
    assert is_address(folder_of(shown))
    if "#2" not in address:
        assert secrets.put_into(shown) == address
    assert "pw" not in repr(secrets)


def test_a_server_alone_admits_no_other() -> None:
    """What a file at ``https://host`` names is looked for on that server only."""
    one = session.Session()
    one.named("https://host?id=3")
    assert one.admits("https://host/data_000001.h5")
    assert not one.admits("https://other/data_000001.h5")


def test_credentials_in_front_of_a_bucket() -> None:
    with pytest.raises(FormatError, match="credentials in front of the bucket") as caught:
        rsciio_tem.load("s3://AKIA:hun/ter2@bucket/a.mib")
    assert caught.value.path == "s3://bucket/a.mib"
    assert "ter2" not in str(caught.value)
    assert cleaned("s3://arn:aws:s3:us-west-2:1:accesspoint/a/b@c")[1] == Secrets()


def test_passwords_alone_are_not_shown() -> None:
    from rsciio_tem.storage.remote.errors import said_of

    secrets = Secrets("me:hun%40ter2", "signature=x")
    for text in ("hun%40ter2 is wrong", "hun@ter2 is wrong", "https://me:p@hun%40ter2@host/a?b"):
        said = str(said_of("sftp://host/a", RuntimeError(text), secrets.texts()))
        assert "ter2" not in said


@pytest.mark.parametrize("path", ["a.mib", "/a/b.mib", "C:/a.mib", "C:\\a.mib", "a:b", "x/s3://b"])
def test_paths_are_no_addresses(path: str) -> None:
    assert not is_address(path)


def test_addresses_of_this_machine(tmp_path: Path) -> None:
    np.save(tmp_path / "a b.npy", np.ones((3, 4, 5), "u2"))
    url = (tmp_path / "a b.npy").as_uri()
    assert "%20" in url
    assert rsciio_tem.load(url)[0]["data"].shape == (3, 4, 5)


def test_addresses_that_cannot_be_opened() -> None:
    with pytest.raises(FormatError, match="has the protocol nothing://, which"):
        rsciio_tem.load("nothing://a/b.mib")
    with pytest.raises(FormatError, match="file inside another file"):
        rsciio_tem.load("zip://a.mib::memory://a.zip")
    with pytest.raises(FormatError, match="it lacks a slash, which pathlib takes away"):
        rsciio_tem.load(Path("s3://bucket/scan.mib"))
    with pytest.raises(FormatError, match="only what lies beside an address that you pass"):
        rsciio_tem.mib.parse("memory://scan.mib")
    with pytest.raises(ValueError, match="files are written to disks only"):
        rsciio_tem.convert(rsciio_tem.from_array(np.ones((2, 3, 4)))[0], "memory://a.h5")


def test_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(FormatError, match="needs a package that is not installed") as caught:
        rsciio_tem.load("gs://some-bucket/scan.mib", storage_options={"token": "anon"})
    assert caught.value.hint == "pip install gcsfs"


# -- what leads elsewhere ------------------------------------------------------------------------


def test_remote_files_lead_to_no_file_of_this_machine(tmp_path: Path, memory: Any) -> None:
    import h5py

    h5 = tmp_path / "secret.h5"
    with h5py.File(h5, "w") as file:
        file["data"] = np.ones((3, 4, 5), "u2")
    for kind in ("link", "virtual", "external"):
        with h5py.File(tmp_path / "outer.h5", "w") as file:
            if kind == "link":
                file["data"] = h5py.ExternalLink(str(h5), "data")
            elif kind == "virtual":
                layout = h5py.VirtualLayout((3, 4, 5), "u2")
                layout[:] = h5py.VirtualSource(str(h5), "data", (3, 4, 5))
                file.create_virtual_dataset("data", layout)
            else:
                file.create_dataset("data", (3, 4, 5), "u2", external=[(str(h5), 0, 120)])
        memory.pipe_file("/outer.h5", (tmp_path / "outer.h5").read_bytes())
        with pytest.raises(FormatError):
            rsciio_tem.load("memory://outer.h5", dataset="data")


@pytest.mark.parametrize("name", ["/{0}/x.h5", "{0}/x.h5", "//{0}/share/x.h5"])
def test_remote_files_look_for_nothing_on_this_machine(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Not even whether it is there: Windows logs in where a name leads to another machine."""
    import h5py

    with h5py.File(tmp_path / "outer.h5", "w") as file:
        file["data"] = h5py.ExternalLink(name.format(tmp_path.name), "data")
    memory.pipe_file("/day/outer.h5", (tmp_path / "outer.h5").read_bytes())
    csr = "\n".join(f'{kind}_file = "{name}"' for kind in ("indptr", "indices", "data"))
    csr += "".join(f'\n{kind}_dtype = "<i4"' for kind in ("indptr", "indices", "data"))
    head = '[params]\nfiletype = "raw_csr"\nnav_shape = [2, 2]\nsig_shape = [4, 4]'
    text = f"{head}\n[raw_csr]\n{csr}"
    memory.pipe_file("/day/a.toml", text.format(tmp_path.name).encode())
    asked_for: list[str] = []

    def noted(real: Callable[..., Any], path: Any, *args: Any, **how: Any) -> Any:
        asked_for.append(str(path))
        return real(path, *args, **how)

    for function in ("stat", "lstat"):
        monkeypatch.setattr(os, function, functools.partial(noted, getattr(os, function)))
    for recording in ("outer.h5", "a.toml"):
        with pytest.raises(FormatError):
            rsciio_tem.load(f"memory://day/{recording}")
    assert not [path for path in asked_for if tmp_path.name in path]


@pytest.mark.parametrize("link", ["%2e%2e/x.h5", "a/%2E./%2e./x.h5", "..%2fx.h5", "l.h5?admin=1"])
def test_escapes_lead_to_no_other_folder(
    web: Callable[..., WebServer], tmp_path: Path, link: str
) -> None:
    import h5py

    (tmp_path / "day").mkdir()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data"] = np.ones((3, 4, 5), "u2")
    with h5py.File(tmp_path / "day" / "l.h5", "w") as file:
        file["data"] = h5py.ExternalLink(link, "data")
    server = web(tmp_path)
    with pytest.raises(FormatError):
        rsciio_tem.load(f"{server.url}/day/l.h5")
    assert {path for _, path, _ in server.requests} <= {"/day/l.h5", "/day/"}


def test_files_lead_to_no_server(tmp_path: Path, memory: Any) -> None:
    import h5py

    with h5py.File(tmp_path / "inner.h5", "w") as file:
        file["data"] = np.ones((3, 4, 5), "u2")
    memory.pipe_file("/inner.h5", (tmp_path / "inner.h5").read_bytes())
    memory.pipe_file("/other/inner.h5", (tmp_path / "inner.h5").read_bytes())
    with h5py.File(tmp_path / "outer.h5", "w") as file:
        file["data"] = h5py.ExternalLink("memory://inner.h5", "data")
    with pytest.raises(FormatError):
        rsciio_tem.load(tmp_path / "outer.h5", dataset="data")
    memory.pipe_file("/there/outer.h5", (tmp_path / "outer.h5").read_bytes())
    with pytest.raises(FormatError):
        rsciio_tem.load("memory://there/outer.h5", dataset="data")
    with h5py.File(tmp_path / "up.h5", "w") as file:
        file["data"] = h5py.ExternalLink("../other/inner.h5", "data")
    memory.pipe_file("/there/up.h5", (tmp_path / "up.h5").read_bytes())
    with pytest.raises(FormatError):
        rsciio_tem.load("memory://there/up.h5", dataset="data")


def test_virtual_sources_on_a_server(tmp_path: Path, memory: Any) -> None:
    """They are read one by one; HDF5 would take what it cannot open for zeros."""
    import h5py

    values = np.arange(60, dtype="u2").reshape(3, 4, 5)
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["data"] = values
    for name, part in (("whole", np.s_[:]), ("cut", np.s_[:, :, 1:4])):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            layout = h5py.VirtualLayout(values[part].shape, "u2")
            layout[:] = h5py.VirtualSource("part.h5", "data", (3, 4, 5))[part]
            file.create_virtual_dataset("data", layout)
        memory.pipe_file(f"/v/{name}.h5", (tmp_path / f"{name}.h5").read_bytes())
    memory.pipe_file("/v/part.h5", (tmp_path / "part.h5").read_bytes())
    (signal,) = rsciio_tem.load("memory://v/whole.h5", dataset="data")
    np.testing.assert_array_equal(signal["data"], values)
    with pytest.raises(FormatError, match="opens on a disk only"):
        rsciio_tem.load("memory://v/cut.h5", dataset="data")


# -- links, the command line, conversion ---------------------------------------------------------


@pytest.fixture
def in_memory(memory: Any, sample_of: Callable[[Spec], Sample]) -> Sample:
    """A MIB recording in memory."""
    return uploaded(sample_of(next(s for s in SPECS if s.format == "mib")), memory, "day")


def test_links(in_memory: Sample, tmp_path: Path) -> None:
    """HyperSpy opens names of files only."""
    hs = pytest.importorskip("hyperspy.api")
    link = tmp_path / "scan.rsciio-tem-link.toml"
    link.write_text(f'url = "{in_memory.path}"\n[storage_options]\nskip_instance_cache = true\n')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signal = hs.load(link, lazy=True, **in_memory.options)
    np.testing.assert_array_equal(signal.data.compute(), in_memory.expected)
    assert rsciio_tem.open(link).path == in_memory.path
    assert rsciio_tem.detect(link)[0].format == "mib"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no address"),
        ('url = "scan.mib"', "names no address"),
        ('url = "file:///etc/passwd"', "leads to a file of this machine"),
        ('url = "memory://a"\nformat = "mib"', "has unknown entries: format"),
        ('url = "memory://a"\n[storage_options]\nsecret = "x"', "what is secret: secret"),
        (
            'url = "s3://a/b"\n[storage_options.client_kwargs]\naws_secret_access_key = "x"',
            "what is secret: aws_secret_access_key",
        ),
        ('url = "https://me:pw@host/a"', "a user with a password"),
        ('url = "memory://a"\n[[storage_options.x]]\nsecret = "x"', "what is secret: secret"),
        ('url = "https://a/b"\n[storage_options.headers]\nX-Api-Key = "x"', "secret: X-Api-Key"),
        ('url = "https://a/b"\n[storage_options.headers]\nCookie = "x"', "secret: Cookie"),
        ('url = "simplecache::file:///etc/passwd"', "leads to a file of this machine"),
        ('url = "filecache::local:///etc/passwd"', "leads to a file of this machine"),
        ('url = "dask://a"\n[storage_options]\nclient = "tcp://h:1"', "an address with dask://"),
        ('url = "dir://a"\n[storage_options]\npath = "/etc"', "an address with dir://"),
        ('url = "zip://a"\n[storage_options]\nfo = "/a.zip"', "an address with zip://"),
        ('url = "filecache::memory://a"', "an address with filecache::memory://"),
    ],
)
def test_links_that_are_wrong(tmp_path: Path, text: str, said: str) -> None:
    link = tmp_path / "scan.rsciio-tem-link.toml"
    link.write_text(text)
    with pytest.raises(FormatError, match=said):
        rsciio_tem.load(link)


def test_links_write_nowhere(in_memory: Sample, tmp_path: Path) -> None:
    """The cache of fsspec writes a file of any name to any folder, if options say so."""
    link, victim = tmp_path / "scan.rsciio-tem-link.toml", tmp_path / "victim"
    victim.mkdir()
    url = f'url = "simplecache::{in_memory.path}"\n'
    link.write_text(f'{url}[storage_options]\ncache_storage = "{victim.as_posix()}"\n')
    with pytest.raises(FormatError, match="has options for the cache"):
        rsciio_tem.load(link)
    assert not any(victim.iterdir())
    link.write_text(url + "[storage_options.memory]\nskip_instance_cache = true\n")
    assert rsciio_tem.open(link).count == rsciio_tem.open(in_memory.path).count


def test_command_line(in_memory: Sample, tmp_path: Path) -> None:
    option = ["-O", "storage_options={skip_instance_cache: true}"]
    address = str(in_memory.path)
    result = CliRunner().invoke(main, ["info", address, "--json", *option])
    assert result.exit_code == 0, result.output
    info = json.loads(result.stdout)
    assert info["format"] == "mib"
    assert info["path"] == address
    assert info["files"][0]["size"] > 0
    result = CliRunner().invoke(main, ["check", address, "--json", *option])
    assert json.loads(result.stdout)[0]["format"] == "mib"
    target = str(tmp_path / "a.h5")
    result = CliRunner().invoke(main, ["convert", address, target, "--checksums", *option])
    assert result.exit_code in (0, 1), result.output
    assert Path(target).is_file()
    result = CliRunner().invoke(main, ["annotate", address, "--notes", "x"])
    assert "is on a server" in result.output


def test_conversion(in_memory: Sample, tmp_path: Path) -> None:
    target = tmp_path / "a.h5"
    rsciio_tem.convert(in_memory.path, target, verify=True, **in_memory.options)
    (signal,) = rsciio_tem.load(target)
    np.testing.assert_array_equal(signal["data"], in_memory.expected)


def test_files_that_a_user_passes(in_memory: Sample, tmp_path: Path, memory: Any) -> None:
    """What a user passes may be anywhere."""
    dark = np.ones(in_memory.frame_shape, "u2")
    np.save(tmp_path / "dark.npy", dark)
    np.save(buffer := memory.open("/elsewhere/dark.npy", "wb"), dark)
    buffer.close()
    results = [
        in_memory.read_quietly(dark=where)["data"]
        for where in (dark, tmp_path / "dark.npy", "memory://elsewhere/dark.npy")
    ]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_side_files_of_a_disk_with_a_dark_frame_from_a_server(scan: Path, memory: Any) -> None:
    np.save(buffer := memory.open("/dark.npy", "wb"), np.zeros((256, 256), "u2"))
    buffer.close()
    for path in (scan, str(scan)):
        (signal,) = rsciio_tem.load(path, lazy=True, dark="memory://dark.npy")
        assert "hdr_file" in signal["original_metadata"]


def test_side_files_of_ours(in_memory: Sample, memory: Any) -> None:
    memory.pipe_file("/elsewhere/x", b"")
    recording = rsciio_tem.open(in_memory.path)
    name = recording.files[0].removeprefix("memory:/")
    text = f"""
[recording]
name = "{os.path.basename(recording.files[0])}"
size = {memory.size(name)}
frames = {recording.count}
"""
    memory.pipe_file(f"{name}.rsciio-tem.toml", text.encode())
    assert rsciio_tem.open(in_memory.path).annotation is not None


# -- what is inside ------------------------------------------------------------------------------


def test_origins_pickle_and_hide_what_they_hold() -> None:
    origin = session.Origin({"secret": "hunter2"}, Secrets("me:hunter2", "x"), "etag")
    assert "hunter2" not in repr(origin)
    copy = pickle.loads(pickle.dumps(origin))
    assert copy == origin
    assert hash(copy) == hash(origin)
    assert origin != session.Origin({}, origin.secrets, "etag")


@pytest.mark.parametrize("seed", range(20))
def test_ranges_that_are_put_together(memory: Any, seed: int, monkeypatch: Any) -> None:
    """Any ranges, near and far, in any order, are filled with their bytes."""
    rng = np.random.default_rng(seed)
    content = rng.integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()
    memory.pipe_file("/a", content)
    for name, value in (("_GAP", 1000), ("PIECE", 100_000), ("_SCATTERED", 150_000)):
        monkeypatch.setattr(session, name, value)
    starts = rng.integers(0, len(content) - 20_000, 60)
    parts = [(int(at), bytearray(int(rng.integers(0, 20_000)))) for at in starts]
    parts += [(5, bytearray(250_000)), (7, bytearray(1))]
    info = transport.Remote("memory://a", {}, Secrets()).describe()
    origin = session.Origin({}, Secrets(), info.identity)
    session.fetch("memory://a", len(content), origin, [(at, memoryview(b)) for at, b in parts])
    for at, buffer in parts:
        assert bytes(buffer) == content[at : at + len(buffer)]


def test_collector_waits_while_hdf5_has_its_lock(memory: Any) -> None:
    """Otherwise the thread that fetches bytes could wait for the lock that is waiting for it."""
    import gc

    from rsciio_tem.storage.remote import stream

    assert gc.isenabled()
    with stream._uncollected():
        with stream._uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    memory.pipe_file("/a", content := bytes(range(256)) * 8000)
    origin = session.Origin(
        {}, Secrets(), transport.Remote("memory://a", {}, Secrets()).describe().identity
    )
    file = stream.Stream("memory://a", len(content), origin, block=1000, most=3)
    rng = np.random.default_rng(0)
    for at, n in rng.integers(0, 9000, (50, 2)).tolist():
        file.seek(at)
        assert file.read(n) == content[at : at + n]
        assert file.tell() == at + n
    file.seek(-3, os.SEEK_END)
    assert file.read() == content[-3:]
    assert gc.isenabled()


def test_import_stays_light() -> None:
    import subprocess
    import sys

    code = """if True:
        import sys, rsciio_tem, rsciio_tem.storage.files
        print({"fsspec", "aiohttp", "s3fs", "asyncio"} & {*sys.modules})
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
