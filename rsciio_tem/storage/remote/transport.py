# SPDX-License-Identifier: GPL-3.0-or-later
"""One request for a range of bytes, for each kind of file system of fsspec.

HTTP and S3 answer a range with the size and the identity of the whole file as well, so each answer
shows whether the file is still the same, at no cost. Others are asked for them now and then.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

from rsciio_tem.errors import FormatError
from rsciio_tem.storage.remote.address import Secrets, folder_of, protocol_of
from rsciio_tem.storage.remote.errors import HalfAnswer, Refused, is_passing, said_of

__all__ = ["HEAD", "PIECE", "Remote", "filesystem"]

#: Bytes that come along when a file is described.
HEAD = 64 << 10
#: Bytes of one request at most; requests at the same time, and of those for few bytes.
PIECE, _AT_ONCE, _AT_ONCE_SMALL, _FEW = 8 << 20, 8, 32, 256 << 10
#: Seconds before a request is sent again that failed in passing.
PAUSES = (0.5, 2.0)
#: Seconds for which the identity of a file holds, where answers do not tell it.
_HOLDS = 10.0
#: Bytes of a file that is fetched whole from a server without ranges.
_SMALL = 1 << 20
#: Seconds to connect, and between two packets.
_CONNECT, _SILENT = 15, 60

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_EMPTY = re.compile(r"bytes \*/0")


class Answer(NamedTuple):
    """What a server says of a file, and the bytes that came along."""

    size: int
    identity: str
    content: bytes = b""


#: Kinds of servers to which fsspec has one connection, for one question at a time: threads would
#: get each other's answers.
_ONE_BY_ONE = {"sftp", "ssh", "ftp"}

_filesystems: dict[tuple[str, str], Any] = {}
#: For each of those file systems, by its identity; it is kept as long as the process.
_turns: dict[int, threading.RLock] = {}
_lock = threading.Lock()


def forget_after_fork() -> None:
    """Let a forked child make connections of its own."""
    global _lock
    _lock = threading.Lock()
    _filesystems.clear()
    _turns.clear()


def filesystem(address: str, options: Mapping[str, Any], secrets: Secrets) -> Any:
    """Return fsspec's file system for an address, one for all threads of this process."""
    try:
        import fsspec
        from fsspec.utils import tokenize
    except ImportError as error:
        raise said_of(address, error) from None
    server = "/".join(address.split("/", 3)[:3])
    key = server, str(tokenize(options, secrets.user))
    with _lock:
        if (made := _filesystems.get(key)) is not None:
            return made
    try:
        settings = dict(options)
        if protocol_of(address) in ("http", "https"):
            from aiohttp import ClientTimeout

            client = dict(settings.get("client_kwargs") or {})
            silence = ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENT)
            client.setdefault("timeout", silence)
            settings["client_kwargs"] = client
        if protocol_of(address) in ("s3", "s3a"):
            config = {
                "max_pool_connections": _AT_ONCE_SMALL,
                **(settings.get("config_kwargs") or {}),
            }
            settings["config_kwargs"] = config
        made, _ = fsspec.core.url_to_fs(
            secrets.put_into(address), **{"skip_instance_cache": True, **settings}
        )
    except FormatError:
        raise
    except Exception as error:  # whatever a library says about options
        raise said_of(address, error, [*texts_in(options), *secrets.texts()]) from None
    with _lock:
        return _filesystems.setdefault(key, made)


def texts_in(options: Any) -> list[str]:
    """List the texts in options, which may be secret."""
    if isinstance(options, Mapping):
        return [text for value in options.values() for text in texts_in(value)]
    if isinstance(options, (list, tuple)):
        return [text for value in options for text in texts_in(value)]
    return [options] if isinstance(options, str) and len(options) > 3 else []


class Remote:
    """A file on a server.

    Parameters
    ----------
    address : str
        As it is shown.
    options : dict
        What is passed to fsspec.
    secrets : Secrets
        What of the address is not shown.
    """

    def __init__(self, address: str, options: Mapping[str, Any], secrets: Secrets) -> None:
        self.address, self.options, self.secrets = address, options, secrets
        self.fs = filesystem(address, options, secrets)
        self.chained = "::" in address.partition("://")[0]
        self._turn: AbstractContextManager[Any] = nullcontext()
        if _ONE_BY_ONE & {*address.partition("://")[0].split("::")}:
            with _lock:
                self._turn = _turns.setdefault(id(self.fs), threading.RLock())
        self.request = self._request()
        self.tells_identity = self.request in (self._http, self._s3)

    def _request(self) -> Callable[..., Any] | None:
        """Return how a range is requested; None where the file system waits for its answers."""
        if self.chained:
            return None
        if protocol_of(self.address) in ("http", "https"):
            return self._http
        if hasattr(self.fs, "_call_s3") and hasattr(self.fs, "split_path"):
            return self._s3
        return self._asynchronous if getattr(self.fs, "async_impl", False) else None

    @property
    def path(self) -> str:
        """What fsspec calls the file."""
        if self.request == self._http:
            return self.secrets.put_into(self.address)
        return str(self.fs._strip_protocol(self.secrets.put_into(self.address)))

    # -------------------------------------------------------------- asking

    def describe(self) -> Answer:
        """Return size and identity of the file, and perhaps its first bytes."""
        if self.tells_identity:
            answer: Answer = self._waited_for(lambda: self._patiently(0, None, HEAD))
            return answer
        with self._in_words(), self._turn:
            self.fs.invalidate_cache(folder_of(self.path))
            info = dict(self.fs.info(self.path))
            if protocol_of(self.address) == "memory":
                info["modified"] = self.fs.modified(self.path)
        if info.get("type") == "directory":
            raise FormatError(self.address, "is a folder.", "Pass one of the recording's files.")
        if info.get("size") is None:
            raise FormatError(self.address, "cannot be read: the server does not tell its size.")
        return Answer(int(info["size"]), _identity(info))

    def fill(self, parts: Sequence[tuple[int, memoryview]], size: int, identity: str) -> None:
        """Fill buffers with the bytes from places of the file, several at the same time.

        Raises
        ------
        FormatError
            The file is not the one described any more, or cannot be read.
        """
        if not self.tells_identity:
            self.check(size, identity)
        if self.request is None:
            for start, target in parts:
                self._copied(start, target)
        else:
            self._waited_for(lambda: self._filled(parts, size, identity))

    def names(self) -> dict[str, Answer | None] | None:
        """Return the files beside this one, with what the list tells; None if there is no list."""
        folder = folder_of(self.path)
        self.fs.invalidate_cache(folder)
        if self.request == self._http:
            folder += "/"  # of a web server, the page of a folder
        try:
            with self._turn:
                entries = self.fs.ls(folder, detail=True)
        except Exception:  # no page, no permission to list: a question that need not be answered
            return None
        listed: dict[str, Answer | None] = {}
        for entry in entries:
            if entry.get("type") == "file":
                name = str(entry["name"]).replace("\\", "/").rpartition("/")[2]
                size = entry.get("size")
                has_size = size is not None and self.request == self._s3
                listed[name] = Answer(int(size), _identity(entry)) if has_size else None
        if self.request == self._http:
            from urllib.parse import unquote

            return {unquote(n.partition("?")[0]): None for n in listed} or None
        return listed

    def _waited_for(self, coroutine: Callable[[], Any]) -> Any:
        """Run a coroutine where the file system has its connections."""
        from fsspec.asyn import sync

        with self._in_words():
            return sync(self.fs.loop, coroutine)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Turn the errors of many libraries into sentences, without what is secret."""
        try:
            yield
        except FormatError:
            raise
        except Exception as error:
            texts = [*texts_in(self.options), *self.secrets.texts()]
            raise said_of(self.address, error, texts) from None

    def check(self, size: int, identity: str) -> None:
        """Raise if the file is not the one described, unless that was asked just now."""
        key = (self.address, size, identity)
        now = time.monotonic()
        if now - _checked.get(key, -1e9) < _HOLDS:
            return
        there = self.describe()
        if (there.size, there.identity) != (size, identity):
            raise changed(self.address, size, there.size)
        if protocol_of(self.address) != "memory":
            _checked[key] = now

    async def _filled(
        self, parts: Sequence[tuple[int, memoryview]], size: int, identity: str
    ) -> None:
        import asyncio

        small = all(len(target) <= _FEW for _, target in parts)
        gate = asyncio.Semaphore(_AT_ONCE_SMALL if small else _AT_ONCE)

        async def fill(start: int, target: memoryview) -> None:
            async with gate:
                there = await self._patiently(start, target, len(target))
            if self.tells_identity and (there.size, there.identity) != (size, identity):
                raise changed(self.address, size, there.size)

        await asyncio.gather(*(fill(*part) for part in parts))

    async def _patiently(self, start: int, target: memoryview | None, length: int) -> Answer:
        """Send a request again if it failed in passing."""
        import asyncio

        assert self.request is not None
        for pause in (*PAUSES, None):
            try:
                return await self.request(start, target, length)  # type: ignore[no-any-return]
            except Exception as error:
                # s3fs repeats what fails, but does not look whether an answer is whole
                again = is_passing(error) and (
                    self.request != self._s3 or isinstance(error, HalfAnswer)
                )
                if pause is None or not again:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError

    # -------------------------------------------------------------- kinds of file systems

    async def _http(self, start: int, target: memoryview | None, length: int) -> Answer:
        session = await self.fs.set_session()
        keywords = dict(self.fs.kwargs)
        headers = {
            **(keywords.pop("headers", None) or {}),
            "Range": f"bytes={start}-{start + length - 1}",
            "Accept-Encoding": "identity",
        }
        url = self.fs.encode_url(self.path)
        async with session.get(url, headers=headers, **keywords) as answer:
            status, sent = answer.status, answer.headers
            identity = (sent.get("ETag") or sent.get("Last-Modified") or "").removeprefix("W/")
            if status == 416 and _EMPTY.fullmatch(sent.get("Content-Range", "")):
                return Answer(0, identity)
            if status == 404 or status == 410:
                raise FileNotFoundError
            if status not in (200, 206):
                raise Refused(status)
            if sent.get("Content-Encoding", "identity") not in ("identity", ""):
                raise FormatError(
                    self.address,
                    "cannot be read in parts: the server sends it compressed.",
                    "Download it first.",
                )
            if status == 206:
                match = _RANGE.fullmatch(sent.get("Content-Range", ""))
                if match is None or int(match[1]) != start:
                    raise FormatError(
                        self.address,
                        "cannot be read: the server answers with other bytes than those asked for.",
                    )
                size, skip = int(match[3]), 0
            else:
                content = b""
                if (stated := sent.get("Content-Length")) is None:  # it may be small all the same
                    content = await _beginning(answer, _SMALL + 1)
                    stated = str(len(content))
                size, skip = self._whole(stated), start
                if content or not size:
                    part = content[start : start + length]
                    if target is not None:
                        target[: len(part)] = part
                    return Answer(size, identity, part if target is None else b"")
            expected = min(length, size - start)
            buffer = memoryview(bytearray(skip + expected)) if skip or target is None else target
            done = await _poured(answer, buffer[: skip + expected])
        if done < skip + expected:
            raise HalfAnswer(f"the server sent {done} of {skip + expected} bytes")
        if target is None:
            return Answer(size, identity, bytes(buffer[skip:]))
        if skip:
            target[:expected] = buffer[skip:]
        return Answer(size, identity)

    def _whole(self, size: str) -> int:
        """Return the size of a file that a server sends whole, though it was asked for a part."""
        if int(size) > _SMALL:
            raise FormatError(
                self.address,
                "cannot be read in parts: the server sends whole files only (it has no range "
                "requests).",
                f"Download it first, or pass 'simplecache::{self.address}', which does so when it "
                "is opened.",
            )
        return int(size)

    async def _s3(self, start: int, target: memoryview | None, length: int) -> Answer:
        bucket, key, version = self.fs.split_path(self.path)
        if not key:
            raise FormatError(
                self.address, "is a bucket, not a file.", "Pass one of the files in it."
            )
        named = {"VersionId": version} if version else {}
        part = f"bytes={start}-{start + length - 1}"
        try:
            answer = await self.fs._call_s3(
                "get_object", Bucket=bucket, Key=key, Range=part, **named
            )
        except OSError as error:
            if target is not None or "InvalidRange" not in f"{error} {error.__cause__}":
                raise
            info = await self.fs._info(self.path, refresh=True)  # nothing is in it
            return Answer(int(info["size"]), _identity(info))
        try:
            content = await answer["Body"].read()
        finally:
            answer["Body"].close()
        match = _RANGE.fullmatch(answer.get("ContentRange") or "")
        if match is None or int(match[1]) != start:
            raise FormatError(
                self.address,
                "cannot be read: the server answers with other bytes than it was asked for.",
            )
        size = int(match[3])
        expected = min(length, size - start)
        if len(content) != expected:
            raise HalfAnswer(f"the server sent {len(content)} of {expected} bytes")
        if target is None:
            return Answer(size, _identity(answer), content)
        target[:expected] = content
        return Answer(size, _identity(answer))

    async def _asynchronous(self, start: int, target: memoryview, length: int) -> Answer:
        content = await self.fs._cat_file(self.path, start=start, end=start + length)
        _poured_at_once(content, target)
        return Answer(-1, "")

    def _copied(self, start: int, target: memoryview) -> None:
        """Fill a buffer from a file system that waits for its answers."""
        with self._in_words():
            for pause in (*PAUSES, None):
                try:
                    with self._turn:
                        content = self._part(start, len(target))
                    _poured_at_once(content, target)
                    return
                except Exception as error:
                    if pause is None or not is_passing(error):
                        raise
                time.sleep(pause)

    def _part(self, start: int, length: int) -> bytes:
        """Return a part of a file from a file system that waits for its answers."""
        if not self.chained and not isinstance(self._turn, nullcontext):
            with self.fs.open(self.path, "rb") as file:
                if hasattr(
                    file, "readv"
                ):  # SFTP answers in small pieces: they are asked for at once
                    return bytes(next(file.readv([(start, length)])))
        if not self.chained:
            return bytes(self.fs.cat_file(self.path, start=start, end=start + length))
        with self.fs.open(self.path, "rb") as file:  # caches of fsspec keep files that are opened
            file.seek(start)
            return bytes(file.read(length))


#: When files were last compared with what was described.
_checked: dict[tuple[str, int, str], float] = {}


def changed(address: str, size: int, now: int) -> FormatError:
    """Return the error for a file that is not the one described any more."""
    what = f"it had {size} bytes, now {now}" if size != now else "written again"
    return FormatError(address, f"changed since it was opened ({what}).", "Load it again.")


def _identity(info: Mapping[str, Any]) -> str:
    """Return what tells a file from an earlier one of its name."""
    for name in ("ETag", "etag", "md5Hash", "md5", "generation", "content_hash"):
        if info.get(name):
            return str(info[name]).removeprefix("W/")
    for name in ("LastModified", "last_modified", "Last-Modified", "modified", "mtime", "updated"):
        if info.get(name):
            return str(info[name])
    return ""


async def _poured(answer: Any, buffer: memoryview) -> int:
    """Let what a server sends flow into a buffer; return the number of bytes."""
    done = 0
    while done < len(buffer):
        chunk = await answer.content.readany()
        if not chunk:
            break
        chunk = chunk[: len(buffer) - done]
        buffer[done : done + len(chunk)] = chunk
        done += len(chunk)
    return done


async def _beginning(answer: Any, most: int) -> bytes:
    """Return what a server sends that does not tell how much, up to so many bytes."""
    content = bytearray(most)
    return bytes(content[: await _poured(answer, memoryview(content))])


def _poured_at_once(content: bytes, target: memoryview) -> None:
    if len(content) != len(target):
        raise HalfAnswer(f"the server sent {len(content)} of {len(target)} bytes")
    target[:] = content
