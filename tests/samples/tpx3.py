# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of events of Timepix3 cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from writers import tpx3 as writer

from samples import TEN, Sample, Spec

DWELL = 38400  # 10 us


def tpx3(
    variant: str,
    nav_shape: tuple[int, ...] = (3, 4),
    *,
    size: int = 256,
    pause: int = 0,
    lines: bool = False,
    warns: str = "",
    marked: bool = True,
    start: int = 5 * DWELL,
    options: dict[str, Any] | None = None,
    value: int = 1,
    most: int = 3,
    **how: Any,
) -> Spec:
    """Make frames with a few hits, none at the second position; `pause` is behind each line."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        count = int(np.prod(nav_shape))
        shape = count, size, size
        counts = rng.integers(1, most + 1, shape) * (rng.random(shape) < 2e-3 / most)
        counts[-1, 7, 9] = most
        counts[1:2] = 0
        numbers = np.arange(count)
        width = nav_shape[-1] if nav_shape else 1
        starts = start + numbers * DWELL + numbers // width * pause
        marks = starts[::width] if lines else starts
        path = folder / "scan.tpx3"
        writer.write_counts(
            path, counts, starts, DWELL, rng, marks=marks if marked else marks[:0], **how
        )
        expected = (value * counts).astype("u4").reshape(*nav_shape, size, size)
        return Sample("tpx3", variant, path, expected, options or {}, warns)

    return Spec("tpx3", variant, make)


LINES = {"navigation_shape": (4, 3)}
SPECS = [
    tpx3("scan", (4, 5), pause=7 * DWELL),
    tpx3(TEN, (10,), edge="TDC2 falling", most=200, options={"dwell_time": 1e-5}),
    tpx3("four chips", (3,), size=512, copies=True, disorder=3 * DWELL),
    tpx3("triggers of lines", lines=True, pause=9 * DWELL, options={**LINES, "dwell_time": 1e-5}),
    tpx3("over threshold", (4,), tot=500, value=500, options={"values": "tot"}),
    tpx3("no triggers", (), marked=False, warns="no triggers to cut"),
    tpx3(
        "out of order, counters starting again",
        (6,),
        start=writer.TRIGGERS - 3 * DWELL,
        disorder=2 * DWELL,
    ),
]
