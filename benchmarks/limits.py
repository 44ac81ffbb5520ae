# SPDX-License-Identifier: GPL-3.0-or-later
"""What the machine can do at best, measured on the same file in the same run."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.contestants import Unsupported, cores
from benchmarks.files import MB, DataFile

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
    for path in file.files:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())  # what is not written yet stays
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


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
