# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of TIFF stacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from writers import tiff as tiff_writer

from samples import TEN, Sample, Spec


def tiff(
    variant: str,
    dtype: str = "u2",
    shape: tuple[int, ...] = (3, 4, 12, 16),
    *,
    plain: bool = True,
    **written: Any,
) -> Spec:
    """Make a stack."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = rng.integers(0, 120 if dtype == "i1" else 250, shape).astype(dtype)
        path = tiff_writer.write_stack(folder / "stack.tif", frames, **written)
        return Sample("tiff", variant, path, frames, {}, plain=plain)

    return Spec("tiff", variant, make)


SPECS = [
    tiff("hyperstack"),
    tiff("hyperstack of three axes", shape=(2, 3, 4, 8, 6)),
    *(tiff(f"plain, {name}", name, imagej=False) for name in ("i1", "u4", "i8", "f2", "f4", "f8")),
    tiff("BigTIFF", big=True, imagej=False),
    tiff("big-endian", order=">"),
    tiff("headers among the images", scattered=True, plain=False),
    tiff("deflated", scattered=True, deflate=True, plain=False),
    tiff("one image", shape=(12, 16)),
    tiff(TEN, shape=(10, 6, 4)),
]
