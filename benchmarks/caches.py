# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame caches and raw_csr: opening, first frame, everything: ``python -m benchmarks.caches``.

hexrd, whose format frame caches are, cannot be installed from PyPI; the figures are ours alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report

#: Frames, rows and columns, entries per frame.
SERIES = ((1024, 256, 300), (16384, 256, 300), (65536, 256, 300), (360, 2048, 20000))
STYLES = {"npz": ".npz", "fch5": ".fch5", "raw_csr": ".toml"}


def _signal(frames: int, edge: int, entries: int) -> dict[str, Any]:
    """Make a lazy signal, so that the dense frames never exist together."""
    import dask.array as da

    def block(block_info: Any) -> np.ndarray:
        (first, last), *_ = block_info[None]["array-location"]
        out = np.zeros((last - first, edge * edge), np.uint16)
        for i, frame in enumerate(out):
            rng = np.random.default_rng(first + i)
            frame[rng.integers(0, edge * edge, entries)] = rng.integers(1, 1000, entries)
        return out.reshape(-1, edge, edge)

    step = max(1, (16 << 20) // (2 * edge * edge))
    sizes = [min(step, frames - i) for i in range(0, frames, step)]
    data = da.map_blocks(
        block, chunks=(tuple(sizes), edge, edge), dtype="u2", meta=np.empty(0, "u2")
    )
    axes = [
        {"name": n, "size": s, "navigate": i == 0, "scale": 1.0, "offset": 0.0, "units": ""}
        for i, (n, s) in enumerate(zip(("z", "y", "x"), data.shape, strict=True))
    ]
    return {"data": data, "axes": axes, "metadata": {}, "original_metadata": {}}


def _best(function: Callable[[], Any], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3


def main() -> None:
    import rsciio_tem

    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.caches", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print(report.header(arguments.repeats, 0))
    print("| series | style | size | write | open | open + first frame | all frames, summed |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for frames, edge, entries in SERIES:
        for style, suffix in STYLES.items():
            with tempfile.TemporaryDirectory() as name:
                path = Path(name) / f"series{suffix}"
                signal = _signal(frames, edge, entries)
                start = time.perf_counter()
                rsciio_tem.convert(signal, path, progress=False)
                written = (time.perf_counter() - start) * 1e3
                size = sum(p.stat().st_size for p in Path(name).iterdir()) / 1e6

                def first(path: Path = path) -> None:
                    data = rsciio_tem.load(path, lazy=True)[0]["data"]
                    np.asarray(data[0])

                first()  # warms up
                opened = _best(lambda p=path: rsciio_tem.open(p), arguments.repeats)
                whole = _best(
                    lambda p=path: rsciio_tem.reduce(p, ["sum"], progress=False),
                    min(2, arguments.repeats),
                )
                print(
                    f"| {frames} x {edge}², {entries} entries each | {style} | {size:.0f} MB | "
                    f"{written:.0f} ms (with making the frames) | {opened:.1f} ms | "
                    f"{_best(first, arguments.repeats):.1f} ms | {whole:.0f} ms |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
