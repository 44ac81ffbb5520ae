# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of K2 IS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from writers import k2is as k2is_writer

from samples import TEN, Array, Sample, Spec

_OTHER_SIZE = "other than the known"  # full frames are too large for most tests


def k2is(
    variant: str,
    nav: tuple[int, ...] = (3, 4),
    *,
    sector: int = 1,
    options: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda frames: frames,
    warns: str = "",
    stored: int | None = None,
    block: tuple[int, int] = (4, 16),
    sig: tuple[int, int] = (8, 256),
    dtype: str = "u2",
    **written: Any,
) -> Spec:
    """Make a K2 IS sample, opened through one of its sectors.

    `stored` is the number of frames written, `change` turns these into what is expected.
    """

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = rng.integers(0, 4096, (stored or int(np.prod(nav)), *sig)).astype("u2")
        written.setdefault("shutter_from", 1)
        path = k2is_writer.write_k2is(folder, frames, block=block, **written)
        path = path.with_name(f"scan{sector}.bin")
        expected = change(frames).astype(dtype)
        expected = expected.reshape(*nav, *expected.shape[1:])
        expects = "|".join(w for w in (warns, _OTHER_SIZE if block == (4, 16) else "") if w)
        return Sample("k2is", variant, path, expected, dict(options or {}), expects)

    return Spec("k2is", variant, make)


def without_pixels(*cuts: tuple[int, slice, slice], fill: int = 0) -> Callable[[Array], Array]:
    """Fill (frame, rows, columns) of an array."""

    def change(frames: Array) -> Array:
        out = frames.copy()
        for frame, rows, columns in cuts:
            out[frame, rows, columns] = fill
        return out

    return change


_UPPER, _LOWER, _ALL_ROWS = slice(0, 4), slice(4, 8), slice(0, 8)
SPECS = [
    k2is("scan", tags=k2is_writer.stem_tags(3, 4)),
    k2is("DM4 tags", tags=k2is_writer.stem_tags(3, 4), version=4),
    k2is(TEN, (10,), shutter_from=0),
    k2is("opened through sector 5", (5,), sector=5, shutter_from=0),
    k2is("full frame", (), block=(930, 16), sig=(1860, 2048), shutter_from=0),
    k2is("full frame, cropped", (), block=(930, 16), sig=(1860, 2048), shutter_from=0,
         options={"crop": True}, change=lambda f: f[:, :1792, :1920]),
    k2is("sectors begin and end apart", (4,), stored=6, change=lambda f: f[1:5], shutter_from=0,
         starts=(0, 1, 2, 3, 4, 3, 2, 1), stops=(0, 1, 2, 3, 4, 3, 2, 1)),
    k2is("series before the shutter", (4,), stored=7, shutter_from=3, change=lambda f: f[3:]),
    k2is("scan before the shutter", stored=15, shutter_from=3, change=lambda f: f[2:14],
         tags=k2is_writer.stem_tags(3, 4), warns="lie beyond the scan"),
    k2is("scan that is told", (2, 3), stored=8, shutter_from=2, options={"nav_shape": (2, 3)},
         change=lambda f: f[1:7]),
    k2is("sync_offset", (2, 3), stored=8, shutter_from=2, change=lambda f: f[2:],
         options={"nav_shape": (2, 3), "sync_offset": 2}),
    k2is("no shutter flag", (4,), shutter_from=None),
    k2is("flyback dropped", (3, 3), stored=12, options={"flyback": "drop"}, warns="flyback frames",
         tags=k2is_writer.stem_tags(3, 4, (3, 3)),
         change=lambda f: f.reshape(3, 4, 8, 256)[:, :3].reshape(-1, 8, 256)),
    k2is("lost blocks", (6,), shutter_from=0, warns="blocks are lost", options={"fill_value": 9},
         lost=[(2, 4), (2, 7), (8, 11), (8, 12)],
         change=without_pixels(
             (1, _UPPER, slice(48, 64)), (1, _LOWER, slice(32, 48)),
             (2, _LOWER, slice(224, 240)), (3, _UPPER, slice(240, 256)), fill=9)),
    k2is("lost blocks, in floats", (6,), shutter_from=0, warns="blocks are lost", lost=[(2, 4)],
         options={"fill_value": -1, "dtype": "float32"}, dtype="f4",
         change=lambda f: without_pixels((1, _UPPER, slice(48, 64)), fill=-1)(f.astype("f4"))),
    k2is("lost frames", (6,), shutter_from=0, warns="blocks are lost",
         lost=[(3, k) for k in range(6, 18)],
         change=without_pixels(
             (1, _LOWER, slice(64, 96)), (2, _ALL_ROWS, slice(64, 96)),
             (3, _ALL_ROWS, slice(64, 96)), (4, _UPPER, slice(64, 96)))),
    k2is("a sector is missing", (3,), without=(4,), shutter_from=0, warns="Sector 4",
         change=lambda f: without_pixels(*((i, _ALL_ROWS, slice(96, 128)) for i in range(3)))(f)),
    k2is("narrow blocks", (2,), block=(8, 6), sig=(8, 96), warns=_OTHER_SIZE, shutter_from=0),
]  # fmt: skip
