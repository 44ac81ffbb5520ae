# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of hexrd's frame caches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from writers import framecache as framecache_writer

from samples import TEN, Array, Sample, Spec, thin_frames


def framecache(
    variant: str,
    dtype: str = "u2",
    shape: tuple[int, int, int] = (7, 12, 16),
    *,
    write: Callable[..., Path] = framecache_writer.write_npz,
    name: str = "scan.npz",
    options: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda frames: frames,
    warns: str = "",
    **layout: Any,
) -> Spec:
    """Make a frame cache of hexrd."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = thin_frames(rng, shape, dtype)
        path = write(folder / name, frames, **layout)
        expected = change(frames.astype(frames.dtype.newbyteorder("=")))
        return Sample("framecache", variant, path, expected, dict(options or {}), warns)

    return Spec("framecache", variant, make)


def fch5(variant: str, *args: Any, **more: Any) -> Spec:
    """Make a frame cache in HDF5."""
    return framecache(variant, *args, write=framecache_writer.write_fch5, name="scan.fch5", **more)


_ANGLES = np.array([[i, i + 1.0] for i in range(7)])
SPECS = [
    framecache("npz, scan", shape=(12, 6, 10), metadata={"navigation_shape": np.array([4, 3])},
        change=lambda f: f.reshape(3, 4, 6, 10)),
    framecache("npz"),
    framecache(TEN, shape=(10, 6, 4)),
    framecache("npz, stored", "f4", compressed=False),
    framecache("npz, 64-bit places, shuffled", "i4", index="<i8", shuffled=True, omega=_ANGLES),
    framecache("npz, threshold", threshold=50, change=lambda f: np.where(f > 50, f, 0)),
    framecache("npz, a lost frame", lost=["3_row", "3_col", "3_data"],
        warns="lacks arrays of 1 of 7",
        change=lambda f: np.concatenate([f[:3], 0 * f[3:4], f[4:]])),
    framecache("yml", omega=_ANGLES, write=framecache_writer.write_yaml, name="scan.yml"),
    fch5("fch5"),
    fch5("fch5, any order", "u4", order=(3, 1, 0, 6, 5, 2, 4), omega=_ANGLES, by_column=True),
    fch5("fch5, in a group", "f8", group="/images/ge1"),
    fch5("fch5, not compressed", "u1", index="u4", compressed=False),
]  # fmt: skip
