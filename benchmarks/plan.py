# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan a reduction on a cluster: ``python -m benchmarks.plan --help``.

Opens a recording of the given size, a file with holes, and builds the tasks and graphs that a
cluster would get. Measures what one core does with a small recording, and what dask adds to each
task on two local processes. The rest is calculated from that.
"""

from __future__ import annotations

import argparse
import os
import pickle
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rsciio_tem
from rsciio_tem.reduction import plan as plan_module
from rsciio_tem.reduction.plan import plan_of
from rsciio_tem.reduction.single_pass import What, one_pass
from rsciio_tem.reduction.task_payload import TaskPayload
from rsciio_tem.reduction.workers import _TOGETHER
from rsciio_tem.tools.reduce import _frames

WHAT: tuple[What, ...] = ("navigator", "sum", "com")


@dataclass(frozen=True)
class Plan:
    """What a cluster would get for one recording."""

    frames: int
    frame_bytes: int
    stripes: int
    merges: int
    stripe_bytes: int
    sent: int  # most bytes that are sent for a stripe
    sent_once: int
    share_bytes: int  # most bytes that a stripe's share has
    result_bytes: int
    lazy_chunks: int
    lazy_graph: int
    seconds: float  # to describe the recording and all of its stripes


def merges(count: int) -> int:
    """Return how many tasks merge the shares of so many stripes."""
    total = 0
    while count > 1:
        whole, rest = divmod(count, _TOGETHER)
        total += whole + (rest > 1)
        count = whole + (rest > 0)
    return total


def plan(folder: Path, terabytes: float, side: int, snake: bool = False) -> Plan:
    """Describe a recording of 16-bit frames and build its tasks."""
    import cloudpickle

    nbytes = side * side * 2
    lines = max(1, int((terabytes * 1e12 / nbytes) ** 0.5))
    path = folder / "recording.raw"
    path.touch()
    os.truncate(path, lines * lines * nbytes)  # OSError where the disk knows no such files
    begin = time.perf_counter()
    (signal,) = rsciio_tem.load(
        path,
        "raw",
        lazy=True,
        dtype="<u2",
        sig_shape=(side, side),
        nav_shape=(lines, lines),
        snake=snake,
    )
    frames, _, _ = _frames(signal)
    (job,) = plan_of(frames, frozenset(WHAT), {}).jobs
    stripes = job.stripes
    payload = TaskPayload.of(frames[:0], frames[:1])
    sent = max(len(payload.pack(frames[first:last])) for first, last in stripes)
    seconds = time.perf_counter() - begin
    first, last = stripes[0]
    share = sum(len(pickle.dumps(q)) for q in job.task.quantities(last - first).values())
    graph = len(cloudpickle.dumps(signal["data"].sum(axis=(2, 3)).dask))
    path.unlink()
    return Plan(
        len(frames),
        nbytes,
        len(stripes),
        merges(len(stripes)),
        (last - first) * nbytes,
        sent,
        len(pickle.dumps(payload)),
        share,
        24 * len(frames) + 8 * side * side,
        signal["data"].npartitions,
        graph,
        seconds,
    )


def bytes_per_second(folder: Path, side: int, repeats: int = 5) -> float:
    """Measure what one thread reduces, from the page cache."""
    path = folder / "small.raw"
    count = max(1, (256 << 20) // (side * side * 2))
    pixels = np.random.default_rng(0).integers(0, 1 << 12, (count, side, side), np.uint16)
    pixels.tofile(path)
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        rsciio_tem.reduce(
            path,
            WHAT,
            format="raw",
            dtype="<u2",
            sig_shape=(side, side),
            threads=1,
            progress=False,
        )
        times.append(time.perf_counter() - begin)
    path.unlink()
    return pixels.nbytes / statistics.median(times[1:])


def seconds_per_stripe(count: int = 400) -> float:
    """Measure what submitting, scheduling and merging adds: stripes of one tiny frame."""
    import distributed

    data = np.zeros((count, 8, 8), np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.raw"
        data.tofile(path)
        frames = rsciio_tem.open(path, "raw", dtype="<u2", sig_shape=(8, 8)).frames
        kept = plan_module._STRIPES, plan_module._STRIPE, plan_module._BLOCK
        plan_module._STRIPES, plan_module._STRIPE, plan_module._BLOCK = count, 1, 1
        try:
            with distributed.Client(
                n_workers=2, threads_per_worker=1, dashboard_address=None
            ) as client:
                one_pass(frames, what=WHAT, client=client)
                begin = time.perf_counter()
                one_pass(frames, what=WHAT, client=client)
                return (time.perf_counter() - begin) / count
        finally:
            plan_module._STRIPES, plan_module._STRIPE, plan_module._BLOCK = kept


def _row(name: str, value: str, how: str) -> str:
    return f"| {name} | {value} | {how} |"


def table(arguments: Any, found: Plan, rate: float, overhead: float) -> str:
    cores = arguments.nodes * arguments.cores
    total = found.frames * found.frame_bytes
    rounds = -(-found.stripes // cores)
    busy = rounds * found.stripe_bytes / rate
    disk = total / (arguments.filesystem * 1e9)
    client = found.stripes * overhead
    counted = "built and counted"
    moved = (found.stripes + found.merges) * found.share_bytes
    rows = [
        "| | | |",
        "| --- | ---: | --- |",
        _row("frames", f"{found.frames:,} of {found.frame_bytes / 1e3:.0f} kB", "given"),
        _row("processes", f"{arguments.nodes} nodes x {arguments.cores} = {cores}", "given"),
        _row(
            "stripes",
            f"{found.stripes:,} of {found.stripe_bytes / 1e9:.2f} GB",
            counted,
        ),
        _row("tasks that merge", f"{found.merges:,}", "calculated"),
        _row("describing all tasks", f"{found.seconds:.2f} s", "measured"),
        _row(
            "sent for a stripe",
            f"{found.sent:,} bytes, {found.sent_once} once",
            counted,
        ),
        _row(
            "sent for all stripes",
            f"{(found.sent * found.stripes + found.sent_once) / 1e6:.1f} MB",
            "calculated",
        ),
        _row("share of a stripe", f"{found.share_bytes / 1e6:.2f} MB", counted),
        _row("moved between workers, at most", f"{moved / 1e9:.1f} GB", "calculated"),
        _row("result", f"{found.result_bytes / 1e6:,.0f} MB", "calculated"),
        _row("lazy signal: chunks of 64 MiB", f"{found.lazy_chunks:,}", counted),
        _row("lazy signal: graph as sent", f"{found.lazy_graph / 1e6:.2f} MB", counted),
        _row("one core", f"{rate / 1e9:.2f} GB/s", "measured, from the page cache"),
        _row("dask per stripe", f"{overhead * 1e3:.1f} ms", "measured, two local processes"),
        _row("cores, if files came at once", f"{busy:.0f} s", f"calculated: {rounds} rounds"),
        _row(
            "files, if cores took no time",
            f"{disk:.0f} s",
            f"calculated for {arguments.filesystem:g} GB/s",
        ),
        _row("client and scheduler", f"{client:.0f} s", "calculated, beside the others"),
        _row("expected", f"{max(busy, disk, client):.0f} s", "the longest of these three"),
    ]
    return "\n".join(rows)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan", description=__doc__)
    add = parser.add_argument
    add("--terabytes", type=float, default=10, help="10^12 bytes of the recording")
    add("--side", type=int, default=256, help="rows and columns of its 16-bit frames")
    add("--snake", action="store_true", help="scanned back and forth")
    add("--nodes", type=int, default=64)
    add("--cores", type=int, default=16, help="of a node")
    add("--filesystem", type=float, default=50, help="GB/s that all nodes read together")
    add("--data", type=Path, help="folder for the file with holes")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=arguments.data) as name:
        folder = Path(name)
        scale = 1.0
        while True:
            try:
                found = plan(folder, arguments.terabytes * scale, arguments.side, arguments.snake)
                break
            except OSError:  # larger than the disk's files can be
                scale /= 2
                if scale < 1e-3:
                    raise
        if scale < 1:
            arguments.terabytes *= scale
            print(f"The disk takes files of {arguments.terabytes:g} TB; the plan is for one.\n")
        rate = bytes_per_second(folder, arguments.side)
    print(table(arguments, found, rate, seconds_per_stripe()))


if __name__ == "__main__":
    main()
