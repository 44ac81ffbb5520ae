# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of counted electrons as stempy writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from writers import stempy as stempy_writer

from samples import TEN, Sample, Spec


def stempy(
    variant: str, nav_shape: tuple[int, ...] = (3, 4), *, frames: int = 1, **layout: Any
) -> Spec:
    """Make counted electrons: up to `frames` in a pixel, none at the second position."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        size = int(np.prod(nav_shape))
        counts = rng.integers(1, frames + 1, (size, 10, 6)) * (rng.random((size, 10, 6)) < 0.15)
        counts[1:2] = 0
        scan = (1, 1, *nav_shape)[-2:]
        path = folder / "scan.h5"
        stempy_writer.write_counts(path, counts.reshape(*scan, 10, 6), frames=frames, **layout)
        expected = counts.astype("u4").reshape(*nav_shape, 10, 6)
        return Sample("stempy", variant, path, expected)

    return Spec("stempy", variant, make)


SPECS = [
    stempy("scan"),
    stempy(TEN, (10,), frames=199, version=1),
    stempy("several frames of a position", frames=3),
    stempy("version 2", frames=3, version=2),
    stempy("version 1", frames=4, version=1),
    stempy("version not said", frames=2, version=None),
    stempy("one frame", ()),
    stempy("behind other bytes", userblock=1024),
    stempy("small places", place="u1"),
    stempy("big-endian places", place=">u8"),
]
