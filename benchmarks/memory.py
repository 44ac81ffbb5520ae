# SPDX-License-Identifier: GPL-3.0-or-later
"""Peak memory of the sum over the scan, in a fresh process with all its children."""

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

from benchmarks.files import MB, Array, DataFile


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
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "sum.npy"
        command = [sys.executable, "-m", "benchmarks.memory", contestant, file.name]
        command += [str(file.path.resolve()), *map(str, file.nav_shape), str(result)]
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
        # the process itself knows its exact peak; its children were sampled
        own = float(output.split()[-1])
        return Memory(max(peak.resident, own), peak.private), np.load(result)


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


def _child(contestant: str, name: str, path: str, rows: str, columns: str, result: str) -> None:
    from benchmarks.contestants import CONTESTANTS

    quiet()
    runner = CONTESTANTS[contestant]()
    try:
        opened = runner.open(DataFile(name, Path(path), (int(rows), int(columns))))
        total = np.asarray(runner.sum_scan(opened))
        peak = own_peak()
        np.save(result, total)
    finally:
        runner.close()
    print(peak)


if __name__ == "__main__":
    _child(*sys.argv[1:])
