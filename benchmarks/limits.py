# SPDX-License-Identifier: GPL-3.0-or-later
"""What the machine can do at best, measured on the same file in the same run."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.contestants import Unsupported, cores
from benchmarks.files import MB, DataFile
from rsciio_tem.storage import pages

#: One read() asks for this many bytes, into a buffer that stays in the processor's cache.
READ = 2 << 20
#: No more than this is copied.
COPY = 512 * MB


def _spans(size: int, parts: int, unit: int = 4096) -> list[tuple[int, int]]:
    """Cut a number of bytes into spans that begin at multiples of `unit`."""
    edges = [min(size, -(-size * i // parts // unit) * unit) for i in range(parts)] + [size]
    return list(itertools.pairwise(edges))


def _read_span(path: Path, span: tuple[int, int]) -> None:
    buffer = memoryview(bytearray(READ))
    with path.open("rb", buffering=0) as stream:
        stream.seek(span[0])
        left = span[1] - span[0]
        while left > 0:
            got = stream.readinto(buffer[: min(READ, left)])
            if not got:
                raise OSError(f"{path} is shorter than it was")
            left -= got


def _read(file: DataFile, threads: int, pool: ThreadPoolExecutor) -> None:
    for path in file.files:
        list(pool.map(partial(_read_span, path), _spans(path.stat().st_size, threads)))


def _copy(source: np.ndarray, threads: int, pool: ThreadPoolExecutor) -> None:
    target = np.empty_like(source)

    def one(span: tuple[int, int]) -> None:
        np.copyto(target[slice(*span)], source[slice(*span)])

    list(pool.map(one, _spans(len(source), threads)))


def forget(file: DataFile) -> None:
    """Drop a file from the page cache, so that it is read from the disk; on Linux only."""
    if not hasattr(os, "posix_fadvise"):
        raise Unsupported("this system cannot be told to forget a file")
    for _ in range(20):
        if not any(_is_kept(path) for path in file.files):
            return
        time.sleep(0.1)  # a process that had it mapped may be about to end
    raise Unsupported("the system keeps the file in memory: somebody has it mapped")


def _is_kept(path: Path) -> bool:
    """Tell the system to forget a file, and return whether it did not."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())  # what is not written yet stays
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        size = os.fstat(stream.fileno()).st_size
        places = range(0, size - 1, max(1, size // 16))
        return any(pages.are_in_memory(stream.fileno(), start, 1) for start in places)


#: Where groups of processes are, and what limits their memory: versions 1 and 2 of Linux.
_GROUPS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)
#: What Python and the libraries of any contestant take.
_LEAST = 600 * MB


@contextmanager
def group(nbytes: int) -> Iterator[Path]:
    """Make a group of processes that may use so much memory, what caches files included.

    Yields the file that processes are written to. Raises `Unsupported` where that cannot be had:
    it takes Linux, and root.
    """
    if nbytes < _LEAST:
        raise Unsupported(f"the file is too small: its 2/3 are less than {_LEAST / MB:.0f} MB")
    made = None
    for root, limit in _GROUPS:
        folder = root / f"benchmark-{os.getpid()}"
        try:
            folder.mkdir()
            made = folder
            (folder / limit).write_text(str(nbytes))
            break
        except OSError:
            if made is not None:
                made.rmdir()
                made = None
    if made is None:
        raise Unsupported("this system gives us no group of processes with limited memory")
    try:
        yield made / "cgroup.procs"
    finally:
        made.rmdir()


def _read_cold(file: DataFile, threads: int, pool: ThreadPoolExecutor) -> float:
    forget(file)
    start = time.perf_counter()
    _read(file, threads, pool)
    return time.perf_counter() - start


def measure_cold(file: DataFile, repeats: int) -> dict[str, float]:
    """Return the same as `measure`, of reading the file from the disk."""
    counts = sorted({1, cores()})
    with ThreadPoolExecutor(max(counts)) as pool:
        times = [[_read_cold(file, n, pool) for n in counts] for _ in range(repeats)]
    return {
        f"read() of the file from the disk, {n} thread{'s' * (n > 1)}": file.size / seconds / 1e9
        for n, seconds in zip(counts, np.median(times, axis=0), strict=True)
    }


def measure(file: DataFile, repeats: int) -> dict[str, float]:
    """Return name of the limit -> GB/s, medians of interleaved repeats."""
    counts = sorted({1, cores()})
    source = np.ones(min(COPY, file.size), np.uint8)
    with ThreadPoolExecutor(max(counts)) as pool:
        todo: dict[str, tuple[int, Callable[[], None]]] = {}
        for n in counts:
            label = f"{n} thread" + "s" * (n > 1)
            copy, read = f"copy into fresh memory, {label}", f"read() of the cached file, {label}"
            todo[copy] = len(source), partial(_copy, source, n, pool)
            todo[read] = file.size, partial(_read, file, n, pool)
        times: dict[str, list[float]] = {name: [] for name in todo}
        for _ in range(repeats + 1):
            for name, (_, run) in todo.items():
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
    # the first round warms up
    return {
        name: size / float(np.median(times[name][1:])) / 1e9 for name, (size, _) in todo.items()
    }
