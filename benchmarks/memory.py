# SPDX-License-Identifier: GPL-3.0-or-later
"""The sum over the scan in a fresh process: its peak memory, its time from the disk."""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import limits
from benchmarks.files import MB, Array, DataFile, write


def quiet() -> None:
    """Keep the readers' messages out of the report; printing them would also cost them time."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


@dataclass(frozen=True)
class Memory:
    """Megabytes at the peak.

    Parameters
    ----------
    resident : float
        All pages, also those of a mapped file, which the system takes back when it needs them.
    private : float
        Without the mapped files and other shared pages; nan where the system does not tell.
    """

    resident: float
    private: float


def measure(contestant: str, file: DataFile) -> tuple[Memory, Array]:
    """Let a fresh process open the file and sum over the scan; return its peak and the result."""
    peak, figures, total = _in_fresh_process(contestant, file, [])
    # the process itself knows its exact peak; its children were sampled
    return Memory(max(peak.resident, figures[0]), peak.private), total


def cold_seconds(contestant: str, file: DataFile, *, little: bool = False) -> tuple[float, Array]:
    """Let a fresh process sum over the scan of a file that it has to read from the disk.

    Parameters
    ----------
    contestant : str
        Its name.
    file : DataFile
        The file.
    little : bool
        The process may use two thirds of the file's size as memory.

    Returns
    -------
    float
        Seconds, without those for starting, compiling and opening.
    ndarray
        The sum.
    """
    limits.forget(file)
    if not little:
        _, figures, total = _in_fresh_process(contestant, file, [], warm_up=True)
        return figures[1], total
    with limits.group(file.size * 2 // 3) as members:
        # the shell joins the group, and becomes the process
        shell = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(members)]
        _, figures, total = _in_fresh_process(contestant, file, shell, warm_up=True)
    return figures[1], total


def _in_fresh_process(
    contestant: str, file: DataFile, before: list[str], *, warm_up: bool = False
) -> tuple[Memory, list[float], Array]:
    """Return the sampled peak, what the process says of itself, and the sum over the scan."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "sum.npy"
        command = [*before, sys.executable, "-m", "benchmarks.memory", contestant, file.name]
        command += [str(file.path.resolve()), *map(str, file.nav_shape), str(result)]
        command.append("warm up" if warm_up else "")
        child = subprocess.Popen(
            command,
            cwd=Path(__file__).resolve().parents[1],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        peak = _watch(child)
        output, errors = child.communicate()
        if child.returncode:
            last = errors.strip().splitlines()[-1:] or [f"exit code {child.returncode}"]
            raise RuntimeError(last[0])
        return peak, [float(text) for text in output.split()[-2:]], np.load(result)


def _watch(child: subprocess.Popen[str]) -> Memory:
    resident = private = 0.0
    root = psutil.Process(child.pid)
    family: list[psutil.Process] = [root]
    looked = 0.0
    while child.poll() is None:
        if time.monotonic() - looked > 0.1:
            looked = time.monotonic()
            try:
                family = [root, *root.children(recursive=True)]
            except psutil.Error:
                break
        now = [info for process in family if (info := _info(process)) is not None]
        resident = max(resident, sum(info.rss for info in now) / MB)
        own = sum(info.rss - getattr(info, "shared", float("nan")) for info in now) / MB
        private = max(private, own) if own == own else own
        time.sleep(0.005)
    return Memory(resident, private)


def _info(process: psutil.Process) -> Any:
    try:
        return process.memory_info()
    except psutil.Error:
        return None


def own_peak() -> float:
    """Return the largest size that this process has had so far, in megabytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # not ru_maxrss: on Linux that begins with the peak of the process that started this one
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / MB
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MB if sys.platform == "darwin" else peak * 1024 / MB


def _child(
    contestant: str, name: str, path: str, rows: str, columns: str, result: str, warm_up: str
) -> None:
    from benchmarks.contestants import CONTESTANTS

    quiet()
    runner = CONTESTANTS[contestant]()
    try:
        if warm_up:
            with tempfile.TemporaryDirectory() as folder:
                small = write(name, Path(folder), 8)
                runner.sum_scan(runner.open(small))
        opened = runner.open(DataFile(name, Path(path), (int(rows), int(columns))))
        begin = time.perf_counter()
        total = np.asarray(runner.sum_scan(opened))
        seconds = time.perf_counter() - begin
        peak = own_peak()
        np.save(result, total)
    finally:
        runner.close()
    print(peak, seconds)


if __name__ == "__main__":
    _child(*sys.argv[1:])
