# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of MRC."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from writers import mrc as mrc_writer

from samples import TEN, Array, Sample, Spec


def mrc(
    variant: str,
    dtype: Any = "u2",
    nav: tuple[int, ...] = (12,),
    *,
    mode: int | None = None,
    sig: tuple[int, int] = (6, 10),
    options: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda frames: frames,
    stored: int | None = None,
    warns: str = "",
    plain: bool = True,
    movie: dict[str, Any] | None = None,
    positions: list[tuple[int, int]] | None = None,
    **written: Any,
) -> Spec:
    """Make an MRC sample; with `movie` a description of Direct Electron is beside it."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        shape = (stored or int(np.prod(nav)), *sig)
        kind = np.dtype(dtype)
        if kind.names:
            frames = rng.integers(0, 256, (*shape, 3), np.uint8).view(kind)[..., 0]
        elif mode == 101:
            frames = rng.integers(0, 16, shape, np.uint8)
        elif kind.kind == "c":
            frames = (rng.integers(-9, 9, shape) + 1j * rng.integers(-9, 9, shape)).astype(kind)
        elif kind.kind == "f":
            frames = rng.normal(size=shape).astype(kind)
        else:
            low = 0 if kind.kind == "u" else -100
            frames = rng.integers(low, np.iinfo(kind).max, shape).astype(kind)
        if movie is None:
            path = mrc_writer.write_mrc(folder / "stack.mrc", frames, mode, **written)
        else:
            path = mrc_writer.write_movie(folder, frames, movie, positions=positions, **written)
        expected = change(frames).reshape(*nav, *sig)
        return Sample("mrc", variant, path, expected, options or {}, warns, plain=plain)

    return Spec("mrc", variant, make)


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
_GRID = [(0, 0), (2, 0), (1, 0), (3, 1), (2, 2), (0, 2)]  # x, y; line 1 is visited once
_PLACES = [y * 4 + x for x, y in _GRID]


def gridded(frames: Array) -> Array:
    out = np.zeros((12, *frames.shape[1:]), frames.dtype)
    out[_PLACES] = frames
    return out


SPECS = [
    mrc("mode 6", nav=(3, 4), options={"nav_shape": (3, 4)}),
    mrc("mode 0, signed", "i1"),
    mrc("mode 0, unsigned", "u1", options={"signed": False}),
    mrc("mode 1", "i2"),
    mrc("mode 2", "f4"),
    mrc("mode 3", "c8", mode=3, plain=False),
    mrc("mode 4", "c8"),
    mrc("mode 12", "f2"),
    mrc("mode 16", RGB),
    mrc("mode 101", "u1", mode=101, plain=False),
    mrc("mode 101, odd columns", "u1", mode=101, sig=(6, 9), plain=False),
    mrc("big-endian", order=">", options={"nav_shape": (3, 4)}, nav=(3, 4)),
    mrc("big-endian floats", "f4", order=">"),
    mrc("big-endian, mode 3", "c8", mode=3, order=">", plain=False),
    mrc("big-endian, mode 4", "c8", order=">"),
    mrc("without marks", mark=b"", stamp=bytes(4), order=">"),
    mrc("extended header", extended=bytes(range(240)), kind=b"SERI"),
    mrc("flipped", options={"flip_y": True}, change=lambda f: f[:, ::-1]),
    mrc(TEN, nav=(10,)),
    mrc("one image", nav=()),
    mrc("volumes", nav=(3, 4), ispg=401, grid=(10, 6, 4)),
    mrc("interrupted", nav=(11,), stored=12, truncate=50, change=lambda f: f[:11],
        warns="announces 12 images, but holds 11 and a part of one"),
    mrc("DE raster", nav=(3, 4), movie={"Scan - Size X": 4, "Scan - Size Y": 3}),
    mrc("DE positions", nav=(3, 4), stored=6, movie={"Scan - Type": "XY File"}, positions=_GRID,
        change=gridded, plain=False),
]  # fmt: skip
