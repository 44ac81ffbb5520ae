# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversion beside what HyperSpy and LiberTEM save: ``python -m benchmarks.convert``.

Each conversion runs in a fresh process, files are written to the folder ``--data`` (by default a
temporary one), and every result is compared with the recording.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import files, report
from benchmarks.memory import _watch, own_peak


def _ours(suffix: str, **options: Any) -> Callable[[files.DataFile, Path], None]:
    def run(file: files.DataFile, target: Path) -> None:
        import rsciio_tem

        rsciio_tem.convert(file.path, target, progress=False, nav_shape=file.nav_shape, **options)

    run.suffix = suffix  # type: ignore[attr-defined]
    return run


def _hyperspy(suffix: str) -> Callable[[files.DataFile, Path], None]:
    def run(file: files.DataFile, target: Path) -> None:
        import hyperspy.api as hs

        hs.preferences.General.show_progressbar = False
        signal = hs.load(
            str(file.path),
            lazy=True,
            reader="QuantumDetector",
            navigation_shape=file.nav_shape[::-1],
        )
        signal.save(str(target), overwrite=True)

    run.suffix = suffix  # type: ignore[attr-defined]
    return run


def _libertem(file: files.DataFile, target: Path) -> None:
    from libertem.api import Context

    context = Context.make_with("inline")
    name, options = file.format.readers["libertem"]
    dataset = context.load(name, path=str(file.path), nav_shape=file.nav_shape, **options)
    context.export_dataset(dataset, path=str(target))


_libertem.suffix = ".npy"  # type: ignore[attr-defined]

WAYS: dict[str, Callable[[files.DataFile, Path], None]] = {
    "rsciio-tem npy": _ours(".npy"),
    "rsciio-tem npy, verified": _ours(".npy", verify=True),
    "rsciio-tem HDF5, bitshuffle-LZ4": _ours(".h5"),
    "rsciio-tem HDF5, gzip 1": _ours(".h5", compression="gzip"),
    "rsciio-tem zarr": _ours(".zarr"),
    "LiberTEM npy": _libertem,
    "HyperSpy hspy": _hyperspy(".hspy"),
    "HyperSpy zspy": _hyperspy(".zspy"),
}


def _child(way: str, name: str, path: str, rows: str, columns: str, target: str) -> None:
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for module in (
        "rsciio_tem.writing.stream",
        "hyperspy.api",
        "libertem.api",
        "dask.array",
        "zarr",
    ):
        importlib.import_module(module)  # not timed
    file = files.DataFile(name, Path(path), (int(rows), int(columns)))
    start = time.perf_counter()
    WAYS[way](file, Path(target))
    print(time.perf_counter() - start, own_peak())


def _bytes(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) or path.stat().st_size


def _right(file: files.DataFile, target: Path) -> bool:
    """Compare a few lines; HyperSpy's readers and ours turn the frames upside down."""
    import hyperspy.api as hs

    import rsciio_tem

    if target.suffix in (".hspy", ".zspy"):
        data = hs.load(str(target), lazy=True).data
    else:
        data = rsciio_tem.load(target, lazy=True)[0]["data"]
    columns = file.nav_shape[1]
    for y in (0, file.nav_shape[0] // 2, file.nav_shape[0] - 1):
        stored = file.format.read(file.path, y * columns, columns)
        line = np.asarray(data[y])
        if not (np.array_equal(line, stored) or np.array_equal(line, stored[:, ::-1])):
            return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.convert", description=__doc__)
    parser.add_argument("--format", default="mib-u16", choices=list(files.FORMATS))
    parser.add_argument("--size", type=float, default=1024, help="megabytes of the recording")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.data) as name:
        folder = Path(name)
        file = files.write(arguments.format, folder, arguments.size)
        files.Reference(file)  # into the page cache
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        rest: dict[str, str] = {}
        for _ in range(arguments.repeats):
            for way, run in WAYS.items():
                target = folder / f"target{run.suffix}"  # type: ignore[attr-defined]
                command = [sys.executable, "-m", "benchmarks.convert", "--child", way, file.name]
                command += [str(file.path), *map(str, file.nav_shape), str(target)]
                child = subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
                peak = _watch(child)
                output, errors = child.communicate()
                if child.returncode:
                    raise SystemExit(f"{way}: {errors}")
                seconds, own = map(float, output.split()[-2:])
                times[way].append(seconds)
                state = "" if _right(file, target) else " WRONG"
                size = _bytes(target) / files.MB
                rest[way] = f"{size:.0f} MB | {max(own, peak.resident):.0f} MB{state}"
                shutil.rmtree(target) if target.is_dir() else target.unlink()
        print(report.header(arguments.repeats, arguments.size))
        print(f"## {file.format.title}, {file.size / files.MB:.0f} MB, to other files\n")
        print("| written by, as | s | MB/s of the recording | size | peak RSS |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for way, samples in times.items():
            seconds = float(np.median(samples))
            speed = file.size / files.MB / seconds
            print(f"| {way} | {seconds:.2f} | {speed:.0f} | {rest[way]} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child(*sys.argv[2:])
    else:
        main()
