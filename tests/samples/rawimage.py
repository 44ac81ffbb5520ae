# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of hexrd's raw images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from writers import rawimage as rawimage_writer

from samples import TEN, Sample, Spec


def rawimage(
    variant: str,
    dtype: str = "<u2",
    count: int = 7,
    *,
    nav: tuple[int, ...] = (),
    sig: tuple[int, int] = (12, 16),
    warns: str = "",
    **written: Any,
) -> Spec:
    """Make a raw image."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = rng.integers(0, 250, (count, *sig)).astype(dtype)
        path = rawimage_writer.write_rawimage(folder / "scan.yml", frames, **written)
        expected = frames.astype(frames.dtype.newbyteorder("=")).reshape(*nav or (-1,), *sig)
        options = {"nav_shape": nav} if nav else {}
        return Sample("rawimage", variant, path, expected, options, warns, plain=True)

    return Spec("rawimage", variant, make)


SPECS = [
    rawimage("found by a pattern", count=12, nav=(3, 4), named="*data.*"),
    *(rawimage(f"type {t}", t) for t in ("i1", ">i2", "<u4", ">u8", "<f4", ">f8", "?")),
    rawimage("skip and gap", skip=11, gap=3),
    rawimage("rest", rest=9, warns="9 bytes at the end"),
    rawimage("shape as a list", shape=[12, 16], skip=None),
    rawimage(TEN, ">u2", 10),
]
