# SPDX-License-Identifier: GPL-3.0-or-later
"""Write recordings piece by piece, so that nothing is lost whatever interrupts it.

A conversion works in a folder ``TARGET.partial`` beside its target: the new files grow there, and
a journal says which blocks of frames are complete. Only when all of them are, and have been read
back if that is wished, the files take their names. Whatever stops a conversion before (Ctrl-C, a
full disk, a killed process), source and earlier target are untouched, and the same call goes on
where the other stopped.

What is written is up to a `Target`, one class per kind of file.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError
from rsciio_tem.storage import machine
from rsciio_tem.storage.machine import progress_bar
from rsciio_tem.writing.signal_frames import SignalFrames
from rsciio_tem.writing.target import ENTRY, Block, Payloads, Target

__all__ = ["blocks", "write", "write_signal"]

_logger = logging.getLogger(__name__)


#: Frames are loaded and written in blocks of about this many bytes.
BLOCK = 16 << 20


#: What is complete is made safe on disk and noted in the journal after so many bytes, or seconds.
_SYNC_BYTES = 512 << 20


_SYNC_SECONDS = 10.0


#: First entry of the journal; a change of the layout of working folders changes it.
_VERSION = 2


# ---------------------------------------------------------------- the working folder


@dataclass
class _Work:
    """The folder of an unfinished conversion."""

    folder: str
    identity: dict[str, Any]
    done: dict[int, Block] = field(default_factory=dict)
    _payload_end: int = 0
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _journal: IO[bytes] | None = None
    _payloads: IO[bytes] | None = None

    JOURNAL: ClassVar = "journal"
    PAYLOADS: ClassVar = "payloads"
    LOCK: ClassVar = "lock"
    HEADER: ClassVar = "header"  #: what becomes the journal
    COMPLETE: ClassVar = "complete"  #: exists while the files are given their names

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    @property
    def payloads(self) -> Payloads:
        blocks = sorted(self.done.values(), key=lambda block: block.first)
        if self._payloads is not None:
            self._payloads.flush()
        return Payloads(self.path(self.PAYLOADS), blocks)

    @property
    def end(self) -> int:
        """Number of frames that are done; they are noted in order, from the first one on."""
        return max((block.first + block.count for block in self.done.values()), default=0)

    def named(self, target: Target) -> list[str]:
        """List the files that have their names already, if it stopped while they got them."""
        if not all(os.path.isfile(self.path(name)) for name in (self.JOURNAL, self.COMPLETE)):
            return []
        beside = os.path.dirname(self.folder)
        return [
            name
            for name in target.names
            if os.path.lexists(os.path.join(beside, name)) and not os.path.lexists(self.path(name))
        ]

    def check_named(self, target: Target, named: Sequence[str]) -> None:
        """Look again once the folder is locked: files are here, or `named` have their names."""
        if self.named(target) != named:
            raise FormatError(self.folder, "was in use by another process just now.", "Try again.")
        if not os.path.isfile(self.path(self.COMPLETE)):
            return
        for name in target.names:
            if name not in named and not os.path.lexists(self.path(name)):
                raise FormatError(
                    self.folder,
                    f"is what a finished conversion left, but {name} is not there any more.",
                    "Pass resume=False to begin anew.",
                )

    def open(self, target: Target, resume: bool) -> None:
        """Take up the folder if it belongs to this conversion, or make a new one."""
        if os.path.isdir(self.folder):
            self._check_ours(target)
            header = self._header()
            if resume and header not in (None, self._own_header()):
                raise FormatError(
                    self.folder,
                    "holds an unfinished conversion of another source, or with other options.",
                    "Finish that one first, or pass resume=False to begin anew.",
                )
            if header is None or not resume:
                shutil.rmtree(self.folder)
        if not os.path.isdir(self.folder):
            os.mkdir(self.folder)
            try:
                target.create(self.folder)
                Path(self.path(self.PAYLOADS)).touch()
                # the journal comes last, as a whole: without it, a folder is begun anew
                header = json.dumps(self._own_header()).encode() + b"\n"
                Path(self.path(self.HEADER)).write_bytes(header)
                os.replace(self.path(self.HEADER), self.path(self.JOURNAL))
            except BaseException:
                shutil.rmtree(self.folder, ignore_errors=True)
                raise
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._locked())
            self._journal = stack.enter_context(open(self.path(self.JOURNAL), "rb+"))
            self._read_journal()
            self._payloads = stack.enter_context(open(self.path(self.PAYLOADS), "rb+"))
            self._payloads.seek(self._payload_end)
            self._payloads.truncate()
            self._stack = stack.pop_all()

    def _check_ours(self, target: Target) -> None:
        """Refuse a folder that no conversion made, before anything in it is touched."""
        entries = set(os.listdir(self.folder))
        files = {self.JOURNAL, self.PAYLOADS, self.LOCK, self.COMPLETE, self.HEADER, *target.names}
        if self.JOURNAL not in entries and (others := sorted(entries - files)):
            raise FormatError(
                self.folder,
                f"is no folder of an unfinished conversion: {others[0]!r} is in it.",
                "Move it away, or choose another name.",
            )

    def _own_header(self) -> dict[str, Any]:
        return {"version": _VERSION, **self.identity}

    def _header(self) -> Any:
        """Return the first entry of the journal, None if the conversion had not begun.

        Raises
        ------
        FormatError
            Another process is at work in the folder.
        """
        with self._locked():
            try:
                with open(self.path(self.JOURNAL), "rb") as journal:
                    return json.loads(journal.readline())
            except FileNotFoundError:
                return None
            except ValueError:
                return {}  # damaged

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold a lock that ends with this process, so that nobody else works in the folder.

        It has a file of its own, because on Windows nobody else can read what is locked.
        """
        import filelock

        with open(self.path(self.LOCK), "ab") as file:
            try:
                locked = filelock.lock_descriptor(file.fileno(), blocking=False)
            except OSError as error:  # some network file systems
                _logger.info("%s cannot be locked: %s", self.folder, error)
                yield
                return
            if not locked:
                raise FormatError(
                    self.folder,
                    "is in use by another process that writes the same target.",
                    "Wait for it.",
                )
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # closing the file unlocks it too
                    filelock.unlock_descriptor(file.fileno())

    def _read_journal(self) -> None:
        """Read the entries; one that is torn, and what follows it, does not count."""
        assert self._journal is not None
        self._journal.seek(0)
        self._journal.readline()
        end = 0  # frames are noted in order
        while True:
            here = self._journal.tell()
            data = self._journal.read(ENTRY.size)
            if len(data) < ENTRY.size:
                break
            *values, check = ENTRY.unpack(data)
            if zlib.crc32(data[:-4]) != check:
                break
            block = Block(*values)
            if block.first != end:
                break
            self.done[block.first] = block
            end += block.count
        self._journal.seek(here)
        self._journal.truncate()
        # payloads are not forced onto the disk: after a power cut the last may be missing
        whole = True
        for first, _, content in self.payloads:
            block = self.done[first]
            whole = whole and len(content) == block.size and zlib.crc32(content) == block.payload
            if not whole:
                del self.done[first]
        ends = [block.offset + block.size for block in self.done.values()]
        self._payload_end = max(ends, default=0)

    def keep(self, block: Block, payload: Any) -> Block:
        """Append a block's bytes; return the entry that tells where they are."""
        assert self._payloads is not None
        at = self._payload_end
        size = self._payloads.write(payload)
        self._payload_end += size
        return replace(block, offset=at, size=size, payload=zlib.crc32(payload))

    def note(self, blocks: Sequence[Block]) -> None:
        """Make what was written safe, then say so in the journal."""
        assert self._journal is not None
        assert self._payloads is not None
        self._payloads.flush()
        for name in self.identity["files"]:
            sync(self.path(name))
        self._journal.write(b"".join(block.packed() for block in blocks))
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self.done.update((block.first, block) for block in blocks)

    def close(self) -> None:
        self._stack.close()


def sync(path: str) -> None:
    """Make a file or a folder of files safe on disk, as far as it exists yet."""
    if os.path.isfile(path):
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
    elif os.path.isdir(path) and hasattr(os, "sync"):
        os.sync()


# ---------------------------------------------------------------- the conversion


def write(
    target: Target,
    frames: SignalFrames,
    path: str | os.PathLike[str],
    *,
    identity: dict[str, Any] | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    resume: bool = True,
    verify: bool = False,
) -> str:
    """Stream frames into a target.

    Parameters
    ----------
    target : Target
        What is made of them.
    frames : SignalFrames
        What is written; its data may be lazy.
    path : str or path
        Where the files of the target go: into this folder. ``PATH.partial`` is where they grow.
    identity : dict, optional
        Tells this conversion from others; JSON. Without it there is no resuming, because nobody
        can say whether the frames are the same as last time.
    overwrite : bool
        Replace files of these names. The recording itself is never replaced.
    progress : bool, optional
        Show a progress bar; by default as HyperSpy's preferences say, on terminals and in
        notebooks.
    resume : bool
        Go on with an unfinished conversion.
    verify : bool
        Read everything back before the files take their names, and compare checksums.

    Returns
    -------
    str
        `path`, if it is the name of a file; else the file to open.

    Raises
    ------
    FileExistsError
        There is such a file, and `overwrite` is False.
    FormatError
        The target is the recording itself, an unfinished conversion of something else is in the
        way, or what was read back is not what was written.
    OSError
        The disk has not enough space, or the folder cannot be written to.
    """
    path = os.path.abspath(path)
    folder = os.path.dirname(path)
    whole = {**(identity or {}), **target.identity, "files": list(target.names)}
    work = _Work(path + ".partial", whole)
    resume = resume and identity is not None
    named = work.named(target) if resume else []
    names = [name for name in target.names if name not in named]
    finals = [os.path.join(folder, name) for name in names]
    check_targets(finals, folder, frames, overwrite)
    existing = [work.path(name) for name in names if resume and os.path.isfile(work.path(name))]
    _check_space(folder, 0 if named else target.nbytes - sum(map(os.path.getsize, existing)))
    work.open(target, resume)
    try:
        if resume:
            work.check_named(target, named)
        if not named:
            _complete(target, frames, path, work, progress, verify)
            Path(work.path(work.COMPLETE)).write_bytes(b"verified" if verify else b"")
        elif verify and Path(work.path(work.COMPLETE)).read_bytes() != b"verified":
            raise FormatError(
                work.folder,
                f"was stopped when {', '.join(named)} had got their names, and cannot be verified "
                "any more.",
                "Pass verify=False to complete it, or resume=False to begin anew.",
            )
        check_targets(finals, folder, frames, overwrite)
    except BaseException as error:
        target.abandon()
        with contextlib.suppress(OSError):  # a full disk takes nothing more, but what it has counts
            work.close()
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
            full = OSError(errno.ENOSPC, "the disk is full", folder)
            _tell(full, work, len(frames), resume)
            raise full from error
        _tell(error, work, len(frames), resume)
        raise
    try:
        for name, final in zip(names, finals, strict=True):
            give_name(work.path(name), final)
    finally:
        work.close()
    os.unlink(work.path(work.JOURNAL))  # first: without it, what is left of the folder is nothing
    shutil.rmtree(work.folder)
    last = os.path.join(folder, target.names[-1])
    return path if os.path.basename(path) in target.names else last


def _complete(
    target: Target,
    frames: SignalFrames,
    path: str,
    work: _Work,
    progress: bool | None,
    verify: bool,
) -> None:
    """Write what is not done yet, and see that it is safe on the disk."""
    total = len(frames)
    with progress_bar(total, progress, "writing") as bar:
        bar.update(sum(block.count for block in work.done.values()))
        # blocks may have been cut differently before: what is done ends at a frame
        done = work.end
        cuts = blocks(frames, target.frames_per_block)
        todo = [(max(first, done), last) for first, last in cuts if last > done]
        target.take_up(work.folder, work.payloads)
        _stream(target, frames, todo, work, verify, bar)
    target.finish(work.folder, work.payloads)
    for name in target.names:
        sync(work.path(name))
    if verify:
        with progress_bar(total, progress, "verifying") as bar:
            _verify(target, frames, work, path, bar)


def write_signal(
    target_of: Callable[..., Target],
    filename: str | os.PathLike[str],
    signal: Mapping[str, Any],
    format: str,
    overwrite: bool = False,
    progress: bool | None = None,
    **options: Any,
) -> None:
    """Stream a signal into a target: what the `file_writer` of every format does.

    Parameters
    ----------
    target_of : callable
        Called with the frames, the path and `options`.
    filename : str or path
        As in `write`.
    signal : dict
        As RosettaSciIO's writers receive it.
    format : str
        What messages call the format.
    overwrite, progress
        As in `write`.
    **options
        Keywords of `target_of`.
    """
    frames = SignalFrames.of(signal, format)
    target = target_of(frames, os.fspath(filename), **options)
    write(target, frames, filename, overwrite=overwrite, progress=progress)


def _tell(error: BaseException, work: _Work, total: int, resumable: bool) -> None:
    """Add to an error what is left, and how to go on."""
    if not resumable:
        shutil.rmtree(work.folder, ignore_errors=True)
        return
    done = sum(block.count for block in work.done.values())
    error.add_note(
        f"{done} of {total} frames are written. The same call goes on from there; "
        f"what is done is in {work.folder}, which can be deleted."
    )


def give_name(source: str, final: str) -> None:
    """Give a file or folder its name."""
    if os.path.isdir(source) and os.path.isdir(final):
        old = final + ".old"
        os.rename(final, old)
        os.rename(source, final)
        shutil.rmtree(old)
    else:
        os.replace(source, final)


def check_targets(
    finals: Sequence[str], folder: str, frames: SignalFrames, overwrite: bool
) -> None:
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", folder)
    for final in finals:
        if not os.path.lexists(final):
            continue
        for source in frames.sources:
            if os.path.exists(source) and os.path.samefile(final, source):
                raise FormatError(
                    final,
                    "is the recording that is being read, and is not overwritten.",
                    "Choose another name.",
                )
        if not overwrite:
            raise FileExistsError(errno.EEXIST, "exists already, and is not overwritten", final)


def _check_space(folder: str, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC, f"{needed / 1e9:.3f} GB are needed, {free / 1e9:.3f} GB are free", folder
        )


def blocks(frames: SignalFrames, unit: int = 1) -> Iterator[tuple[int, int]]:
    """Cut the frames into blocks of whole units; along the chunks of lazy data if there are any."""
    total = len(frames)
    step = max(1, BLOCK // max(1, frames.frame_bytes))
    if rows := frames.chunk_frames:
        step = rows if rows <= 2 * step else max(1, rows // -(-rows // step))
    step = max(1, round(step / unit)) * unit
    for first in range(0, total, step):
        yield first, min(first + step, total)


def _stream(
    target: Target,
    frames: SignalFrames,
    todo: Sequence[tuple[int, int]],
    work: _Work,
    verify: bool,
    bar: Any,
) -> None:
    """Load, encode and write blocks with a few threads; note them in order."""
    stop = threading.Event()

    def one(first: int, last: int) -> tuple[Block, Any]:
        if stop.is_set():
            raise InterruptedError
        block = frames.block(first, last)
        crc = _checksum(target.expected(block)) if verify else 0
        payload = target.put(work.folder, first, block)
        return Block(first, last - first, crc), payload

    fresh: list[tuple[Block, Future[None] | None]] = []

    def written() -> list[Block]:
        for _, writing in fresh:
            if writing is not None:
                writing.result()
        return [block for block, _ in fresh]

    unsafe, since = 0, time.monotonic()
    workers = machine.threads()
    waiting: deque[Future[tuple[Block, Any]]] = deque()
    writing: deque[Future[None]] = deque()
    jobs = iter(todo)
    # the disk is waited for in a thread of its own, while blocks go on
    with ThreadPoolExecutor(1) as notary, ThreadPoolExecutor(workers) as pool:
        noting: Future[None] = notary.submit(work.note, [])
        try:
            for first, last in jobs:
                waiting.append(pool.submit(one, first, last))
                if len(waiting) > workers:
                    break
            while waiting:
                block, payload = waiting.popleft().result()
                rest = None
                if payload is not None:
                    kept, write = target.commit(work.folder, block.first, payload)
                    block = work.keep(block, kept)
                    if write is not None:
                        writing.append(rest := pool.submit(write))
                    del payload, write
                if (job := next(jobs, None)) is not None:
                    waiting.append(pool.submit(one, *job))
                fresh.append((block, rest))
                while len(writing) > workers:
                    writing.popleft().result()
                unsafe += block.count * frames.frame_bytes
                if unsafe >= _SYNC_BYTES or time.monotonic() - since >= _SYNC_SECONDS:
                    noting.result()
                    noting = notary.submit(work.note, written())
                    fresh, unsafe, since = [], 0, time.monotonic()
                bar.update(block.count)
            noting.result()
            work.note(written())
        except BaseException:
            stop.set()
            for future in waiting:
                future.cancel()
            with contextlib.suppress(OSError):  # what went wrong first is what matters
                noting.result()
                work.note([b for b, _ in takewhile(lambda pair: not _failed(pair[1]), fresh)])
            raise


def _failed(writing: Future[None] | None) -> bool:
    return writing is not None and writing.exception() is not None


def _checksum(frames: npt.NDArray[Any]) -> int:
    """CRC-32 of pixels in C order, little-endian."""
    stored = np.ascontiguousarray(frames, frames.dtype.newbyteorder("<"))
    return zlib.crc32(stored.reshape(-1).view(np.uint8).data)


def _verify(target: Target, frames: SignalFrames, work: _Work, path: str, bar: Any) -> None:
    """Compare what is in the files with what was read from the source."""

    def one(block: Block) -> int:
        # a run without verify=True may have left blocks without a checksum
        crc = block.crc
        if not crc:
            loaded = frames.block(block.first, block.first + block.count)
            crc = _checksum(target.expected(loaded))
        if _checksum(target.read(work.folder, block.first, block.count)) != crc:
            raise FormatError(
                path,
                f"frames {block.first} to {block.first + block.count - 1} are not what was "
                "written: disk or memory are faulty, or the source has changed.",
                "Nothing was replaced; try another disk.",
            )
        return block.count

    with ThreadPoolExecutor(machine.threads()) as pool:
        for count in pool.map(one, work.done.values()):
            bar.update(count)
