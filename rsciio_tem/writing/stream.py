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
import os
import shutil
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from itertools import takewhile
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError
from rsciio_tem.storage import machine
from rsciio_tem.storage.machine import Progress, progress_bar
from rsciio_tem.writing.obstacles import check_apart, check_free, check_names, file_obstacle
from rsciio_tem.writing.signal_frames import SignalFrames
from rsciio_tem.writing.target import Block, Target
from rsciio_tem.writing.working_folder import Work, sync

__all__ = ["blocks", "write", "write_signal"]

#: Frames are loaded and written in blocks of about this many bytes.
BLOCK = 16 << 20


#: What is complete is made safe on disk and noted in the journal after so many bytes, or seconds.
_SYNC_BYTES = 512 << 20


_SYNC_SECONDS = 10.0


# ---------------------------------------------------------------- the conversion


def write(
    target: Target,
    frames: SignalFrames,
    path: str | os.PathLike[str],
    *,
    identity: dict[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress = None,
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
    progress : bool or callable, optional
        Show a progress bar; by default as HyperSpy's preferences say, on terminals and in
        notebooks. Or what is called with the number of frames just written, or just read back.
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
        There is not enough space on the disk, or the folder cannot be written to.
    """
    path = os.path.abspath(path)
    folder = os.path.dirname(path)
    whole = {**(identity or {}), **target.identity, "files": list(target.names)}
    work = Work(path + ".partial", whole, resumable=identity is not None)
    check_way(work, frames.sources, overwrite, target.obstacle)
    if not os.path.lexists(work.folder):
        _leftovers(target, work, frames)
    with work.locked():
        naming = work.look(resume)
        if naming is not None and work.begun(naming):
            if verify and not naming.verified:
                raise FormatError(
                    work.folder,
                    f"was stopped while {', '.join(naming.new)} got their names, and cannot be "
                    "verified any more.",
                    "Pass verify=False to complete it, or resume=False to begin anew.",
                )
            work.go_on(naming, overwrite)
        else:
            check_free(map(work.final, work.names), overwrite, target.obstacle)
            _leftovers(target, work, frames)
            _check_space(folder, target.nbytes - work.size)
            work.open(target.create)
            try:
                if naming is None or (verify and not naming.verified):
                    _complete(target, frames, path, work, progress, verify)
                check_free(map(work.final, work.names), overwrite, target.obstacle)
                leftovers = _leftovers(target, work, frames)
                work.give_names(verify or (naming is not None and naming.verified), leftovers)
            except BaseException as error:
                target.abandon()
                with contextlib.suppress(OSError):  # a full disk: what it has counts
                    work.close()
                if (
                    isinstance(error, OSError)
                    and error.errno == errno.ENOSPC
                    and not error.filename
                ):
                    full = OSError(errno.ENOSPC, "the disk is full", folder)
                    _tell(full, work, len(frames))
                    raise full from error
                _tell(error, work, len(frames))
                raise
    last = os.path.join(folder, target.names[-1])
    return path if os.path.basename(path) in target.names else last


def check_way(
    work: Work, sources: Iterable[str], overwrite: bool, obstacle: Callable[[str], str]
) -> None:
    """Look whether anything stands in the way of a conversion, before anything is touched."""
    finals = [work.final(name) for name in work.names]
    check_apart([*finals, work.folder], sources)
    check_names([*finals, work.folder, *map(work.path, work.names)])
    if reserved := sorted({*work.names} & {*work.OURS}):
        raise ValueError(f"{reserved[0]!r} is a name that conversions need; choose another one")
    if not os.path.lexists(work.folder):  # else it may be that files have got their names already
        check_free(finals, overwrite, obstacle)


def _leftovers(target: Target, work: Work, frames: SignalFrames) -> list[str]:
    """List what goes with the earlier recording; an error says what stands in the way of that."""
    names = [*target.leftovers(os.path.dirname(work.folder))]
    finals = [*map(work.final, names)]
    check_apart(finals, frames.sources)
    check_free(finals, True, file_obstacle)
    return names


def _complete(
    target: Target,
    frames: SignalFrames,
    path: str,
    work: Work,
    progress: Progress,
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


def _tell(error: BaseException, work: Work, total: int) -> None:
    """Add to an error what is left, and how to go on."""
    done = sum(block.count for block in work.done.values())
    # what the recording holds does not fit, or cannot be read: the same call would meet it again
    lasting = isinstance(error, (ValueError, TypeError)) and done < total
    if not work.resumable or (lasting and not done):
        work.discard()
        return
    if lasting:
        error.add_note(
            f"{done} of {total} frames are written, and kept in {work.folder}. As long as the "
            "recording is what it is, the same call stops here again; with other options, pass "
            "resume=False."
        )
        return
    error.add_note(
        f"{done} of {total} frames are written. The same call goes on from there; "
        f"what is done is in {work.folder}, which can be deleted."
    )


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
    work: Work,
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
    with machine.Threads(1) as notary, machine.Threads(workers) as pool:
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


def _verify(target: Target, frames: SignalFrames, work: Work, path: str, bar: Any) -> None:
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

    with machine.Threads(machine.threads()) as pool:
        for count in pool.map(one, work.done.values()):
            bar.update(count)
