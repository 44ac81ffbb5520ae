# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of Dectris."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from writers import dectris as dectris_writer

from samples import TEN, Array, Sample, Spec


def dectris(
    variant: str,
    nav: tuple[int, ...] = (3, 4),
    dtype: str = "u4",
    *,
    sig: tuple[int, int] = (6, 10),
    stored: int | None = None,
    options: dict[str, Any] | None = None,
    warns: str = "",
    change: Callable[[Array], Array] = lambda frames: frames,
    opened: str = "",
    **written: Any,
) -> Spec:
    """Make a Dectris sample, opened through the master or the file named."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        count = stored or int(np.prod(nav))
        frames = rng.integers(0, 70_000 if dtype == "u4" else 200, (count, *sig)).astype(dtype)
        scan = {"scan": nav} if len(nav) == 2 else {}
        path = dectris_writer.write_dectris(folder, frames, **{**scan, **written})
        expected = change(frames).reshape(*nav, *sig)
        return Sample(
            "dectris", variant, folder / opened if opened else path, expected, options or {}, warns
        )

    return Spec("dectris", variant, make)


_DEAD = np.zeros((6, 10), "u4")
_DEAD[2, 3] = 2


def without_dead(frames: Array) -> Array:
    """Put the mean of its neighbours into the pixel of `_DEAD`."""
    out = frames.astype("f8")
    around = out[:, 1:4, 2:5].reshape(len(out), 9)
    out[:, 2, 3] = np.delete(around, 4, axis=1).mean(axis=1)
    return out


def dead_as_zero(frames: Array) -> Array:
    return np.where(_DEAD == 0, frames, 0).astype(frames.dtype)


SPECS = [
    dectris("ARINA"),
    dectris("8 bit", dtype="u1", per_file=100),
    dectris("opened through a data file", opened="scan_data_000002.h5"),
    dectris("without compression", dtype="u2", compression=None, haadf=True),
    dectris("old firmware", dtype="u2", old_firmware=True, compression="lz4", numbered=False),
    dectris("frames in the master", inside=True),
    dectris("triggered lines", scan=None, triggers=(3, 4)),
    dectris("masked pixels", mask=_DEAD, change=dead_as_zero),
    dectris("masked pixels repaired", mask=_DEAD, change=without_dead, options={"repair": "mean8"}),
    dectris("masked pixels as they are", mask=_DEAD, options={"corrections": False}),
    dectris("frames before each line", prescan=2, stored=18, warns="NumPixelsPrescan",
            change=lambda f: f.reshape(3, 6, 6, 10)[:, 2:].reshape(12, 6, 10)),
    dectris(TEN, (10,), "u2", sig=(6, 4)),
]  # fmt: skip
