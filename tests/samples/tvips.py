# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of TVIPS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from writers import tvips as tvips_writer

from samples import TEN, Array, Sample, Spec, frames_at


def tvips(
    variant: str,
    nav: tuple[int, ...] = (7,),
    *,
    stored: int | None = None,
    sig: tuple[int, int] = (20, 30),
    dtype: str = "u2",
    options: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda frames: frames,
    warns: str = "",
    plain: bool = True,
    opened: int = 0,
    **written: Any,
) -> Spec:
    """Make a TVIPS sample; `change` turns the stored frames into those expected."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        count = stored or int(np.prod(nav))
        frames = rng.integers(0, np.iinfo(dtype).max, (count, *sig)).astype(dtype)
        path = tvips_writer.write_tvips(folder / "scan_000.tvips", frames, **written)
        if opened:
            path = folder / f"scan_{opened:03d}.tvips"
        expected = change(frames).reshape(*nav, *sig)
        return Sample("tvips", variant, path, expected, options or {}, warns, plain=plain)

    return Spec("tvips", variant, make)


def series(opened: int) -> Spec:
    """Make a TVIPS sample of several files."""
    return tvips(
        f"series, file {opened} opened", (3, 3), files=(4, 3, 2), opened=opened, plain=False,
        options={"nav_shape": (3, 3)},
    )  # fmt: skip


_RASTER = tvips_writer.raster(3, 4)
SPECS = [
    tvips("version 2", (3, 4), sig=(100, 120), options={"nav_shape": (3, 4)}),
    tvips("stack"),
    tvips("version 2, 8 bit", dtype="u1"),
    tvips("version 1", version=1),
    tvips("frame headers of 60 bytes", frame_header_bytes=60),
    tvips("frame headers of 108 bytes", frame_header_bytes=108),
    tvips(TEN, (10,), sig=(6, 8)),
    tvips("one frame", ()),
    series(0),
    series(1),
    series(2),
    tvips("scan coordinates", (3, 4), scan=_RASTER),
    tvips("scan coordinates, waiting frames", (3, 4), stored=15, change=lambda f: f[:12],
        scan=_RASTER + [(2, 3)] * 2 + [(0, 0)]),
    tvips("scan coordinates, winding", (3, 4), scan=tvips_writer.raster(3, 4, winding=True),
        change=frames_at(0, 1, 2, 3, 7, 6, 5, 4, 8, 9, 10, 11), plain=False),
    tvips("scan coordinates, gaps and repetitions", (3, 4), stored=13, plain=False,
        scan=[*_RASTER[:5], *_RASTER[4:6], *_RASTER[7:], (2, 3), (0, 0)],
        change=frames_at(0, 1, 2, 3, 4, 6, -1, 7, 8, 9, 10, 11),
        warns="1 of 12 scan positions|1 frames were recorded"),
    tvips("rotator index", (3, 3), stored=11, rotator=[0, 1, 1, 2, 4, 5, 6, 7, 8, 9, 1],
        options={"scan_shape": (3, 3), "placement": "rotator"}, plain=False,
        change=frames_at(2, 3, -1, 4, 5, 6, 7, 8, 9), warns="1 of 9 scan positions"),
    tvips("rotator index, square", (3, 3), stored=11, rotator=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0],
        options={"scan_shape": "auto"}, change=lambda f: f[1:10]),
    tvips("winding scan axis", (2, 4), plain=False,
        options={"scan_shape": (2, 4), "winding_scan_axis": "x", "hysteresis": 1},
        change=frames_at(0, 3, 2, 1, 4, 5, 6, 7)),
    tvips("last frame cut", (6,), stored=7, truncate=100, change=lambda f: f[:6],
        warns="last frame is incomplete"),
]  # fmt: skip
