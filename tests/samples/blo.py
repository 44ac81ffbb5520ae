# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of blockfiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from writers import blo as blo_writer

from samples import TEN, Array, Sample, Spec, frames_at


def blo(
    variant: str,
    nav: tuple[int, ...] = (3, 4),
    *,
    edge: int = 24,
    dtype: str = "u1",
    scan: tuple[int, int] | None = None,
    stored: int | None = None,
    options: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda frames: frames,
    warns: str = "",
    plain: bool = True,
    **written: Any,
) -> Spec:
    """Make a blockfile sample; `change` turns the stored frames into those expected."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        count = stored or int(np.prod(nav))
        frames = rng.integers(0, np.iinfo(dtype).max, (count, edge, edge)).astype(dtype)
        header = scan or (*(1, 1), *nav)[-2:]
        path = blo_writer.write_blo(folder / "scan.blo", frames, header, **written)
        expected = change(frames).reshape(*nav, edge, edge)
        return Sample("blo", variant, path, expected, options or {}, warns, plain=plain)

    return Spec("blo", variant, make)


SPECS = [
    blo("8 bit", edge=128, image_at=300, gap=0),
    blo("16 bit", dtype="u2"),
    blo("big-endian", dtype="u2", order=">", options={"endianness": ">"}),
    blo(TEN, (10,), edge=8),
    blo("one frame", ()),
    blo("column", (5,), scan=(5, 1)),
    blo("gap behind the image", gap=1000),
    blo("out of order", (2, 3), ids=[0, 2, 1, 3, 5, 4], change=frames_at(0, 2, 1, 3, 5, 4),
        warns="not in the order of the scan", plain=False),
    blo("missing positions", (2, 3), stored=5, ids=[0, 1, 3, 4, 5], plain=False,
        change=frames_at(0, 1, -1, 2, 3, 4),
        warns="1 of 6 scan positions have none|header describes 6"),
    blo("interrupted", (2, 4), scan=(3, 4), stored=10, truncate=30, change=lambda f: f[:8],
        warns="9 complete patterns|2 of 3 lines"),
]  # fmt: skip
