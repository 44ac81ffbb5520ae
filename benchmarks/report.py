# SPDX-License-Identifier: GPL-3.0-or-later
"""The measurements as Markdown."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.contestants import RIVALS, US, cores
from benchmarks.files import MB, DataFile
from benchmarks.memory import Memory
from benchmarks.works import WORKS, Cell, Row

PACKAGES = ("rsciio-tem", "rosettasciio", "hyperspy", "libertem", "numpy", "dask", "numba")


def header(repeats: int, megabytes: float) -> str:
    """Describe the machine, the versions and the conditions."""
    memory = psutil.virtual_memory().total / 2**30
    versions = [f"{name} {_version(name)}" for name in PACKAGES]
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return "\n".join(
        [
            "# Side by side",
            "",
            f"- {datetime.date.today().isoformat()}, {platform.system()} {platform.machine()}, "
            f"{_processor()}, {cores()} cores, {_caches()}{memory:.0f} GiB memory, "
            f"load average at the start {load}",
            f"- Python {platform.python_version()}, {', '.join(versions)}",
            f"- files of about {megabytes:g} MB, written just before: warm page cache",
            f"- medians of {repeats} interleaved repeats (opening and single frames: "
            f"{3 * repeats}, memory: {min(3, repeats)}), of opening with the minimum in brackets; "
            "times in ms; GB/s are bytes of the file, GB = 10^9 bytes, MB = 10^6 bytes",
            "- ratios: their time or memory divided by ours, so above 1 is better for us",
            "- every result was compared with a numpy reference before it was timed",
            "",
        ]
    )


def section(
    file: DataFile, works: Mapping[str, Row], limits: Mapping[str, float], names: Sequence[str]
) -> str:
    """One format: its table, what the machine could do, why numbers are missing."""
    notes: list[str] = []
    rivals = {
        title: chosen
        for title, who in RIVALS.items()
        if (chosen := [name for name in who if name in names])
    }
    size = f"{file.nav_shape[0]} x {file.nav_shape[1]} frames, {file.size / MB:.0f} MB"
    reading = [f"{name}: {speed:.1f} GB/s" for name, speed in limits.items() if "read()" in name]
    lines = [
        f"## {file.format.title} (`{file.name}`)",
        "",
        "; ".join([size, *reading]),
        "",
        _line(["work", *names, *rivals]),
        _line(["---"] + ["---:"] * (len(names) + len(rivals))),
    ]
    for work, row in works.items():
        cells = [_cell(work, row[name], file, notes) for name in names]
        ratios = [_ratio(row[US], [row[name] for name in chosen]) for chosen in rivals.values()]
        lines.append(_line([WORKS[work].title, *cells, *ratios]))
    if limits:
        lines += ["", _line(["limits of the machine", "GB/s", "ms for this file"])]
        lines.append(_line(["---", "---:", "---:"]))
        for name, speed in limits.items():
            lines.append(_line([name, f"{speed:.1f}", _number(file.size / speed / 1e6)]))
    if notes:
        lines += ["", *[f"{i}. {note}" for i, note in enumerate(notes, 1)]]
    return "\n".join([*lines, ""])


def summary(tables: Mapping[str, Mapping[str, Row]], names: Sequence[str]) -> str:
    """Compare all formats: of each work the median ratio, and the least with its format."""
    rivals = {title: [name for name in who if name in names] for title, who in RIVALS.items()}
    rivals = {title: who for title, who in rivals.items() if who}
    lines = [
        "## All formats",
        "",
        "Median of the ratios, and the least one.",
        "",
        _line(["work", *rivals]),
        _line(["---", *["---:"] * len(rivals)]),
    ]
    for work in dict.fromkeys(work for rows in tables.values() for work in rows):
        cells = []
        for who in rivals.values():
            found = {
                format: ratio
                for format, rows in tables.items()
                if work in rows and (ratio := _times(rows[work][US], [rows[work][n] for n in who]))
            }
            least = min(found, key=found.__getitem__, default="")
            cells.append(
                f"{_number(float(np.median([*found.values()])))}x, {least} {_number(found[least])}x"
                if found
                else "-"
            )
        lines.append(_line([WORKS[work].title, *cells]))
    return "\n".join([*lines, ""])


def _cell(work: str, cell: Cell, file: DataFile, notes: list[str]) -> str:
    if cell.state != "ok":
        # what a peer has never claimed to read needs no note
        if not cell.note or " has no reader for " in cell.note:
            return cell.state
        if cell.note not in notes:
            notes.append(cell.note)
        return f"{cell.state} ({notes.index(cell.note) + 1})"
    value = _median(cell)
    if isinstance(cell.samples[0], Memory):
        private = float(np.median([sample.private for sample in cell.samples]))
        return f"{value:.0f} MB" + (f" ({private:.0f})" if private == private else "")
    if WORKS[work].least:
        return f"{_number(value)} ({_number(min(cell.samples))})"
    speed = f" ({_number(file.size / value / 1e6)} GB/s)" if WORKS[work].throughput else ""
    return _number(value) + speed


def _ratio(us: Cell, them: Sequence[Cell]) -> str:
    ratio = _times(us, them)
    return "-" if ratio is None else f"{_number(ratio)}x"


def _times(us: Cell, them: Sequence[Cell]) -> float | None:
    """Return how many times as long as us the best of them takes."""
    times = [_median(cell) for cell in them if cell.state == "ok"]
    return min(times) / _median(us) if us.state == "ok" and times else None


def _median(cell: Cell) -> float:
    samples: list[Any] = cell.samples
    return float(np.median([s.resident if isinstance(s, Memory) else s for s in samples]))


def _number(value: float) -> str:
    """Two or three digits, never with an exponent."""
    digits = next(n for n, least in enumerate((100, 1, 0.1, 0)) if value >= least)
    return f"{value:.{digits}f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "-"


def _caches() -> str:
    """Return the sizes of the caches of a core, the last of which is shared."""
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    sizes = {
        (path / "level").read_text().strip(): (path / "size").read_text().strip()
        for path in sorted(folder.glob("index*"))
        if (path / "type").read_text().strip() != "Instruction"
    }
    found = [f"L{level} {size}iB" for level, size in sizes.items()]
    return f"caches {', '.join(found)}, " if found else ""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"
