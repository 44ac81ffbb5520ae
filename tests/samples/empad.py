# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of EMPAD."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from writers import empad as empad_writer

from samples import TEN, Array, Sample, Spec


def empad(
    variant: str,
    nav: tuple[int, ...] = (2, 3),
    version: str = "0.51",
    *,
    alone: bool = False,
    options: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda frames: frames,
    plain: bool = True,
    **written: Any,
) -> Spec:
    """Make an EMPAD sample of the first generation; `alone` without its description."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = rng.normal(20, 5, (*nav, 128, 128)).astype("f4")
        path = empad_writer.write_empad(folder, frames, version, **written)
        if alone:
            path.unlink()
            path = next(folder.glob("*.raw"))
        return Sample("empad", variant, path, change(frames), options or {}, plain=plain)

    return Spec("empad", variant, make)


def empad_g2(variant: str) -> Spec:
    """Make an EMPAD sample of the second generation, as exported."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        data = rng.normal(20, 5, (2, 3, 128, 128)).astype("f4")
        path = empad_writer.write_g2(folder, data, acquired=False)
        return Sample("empad", variant, path, data, plain=True)

    return Spec("empad", variant, make)


SPECS = [
    empad("data alone", (3, 4), alone=True),
    empad("version 0.51"),
    empad("version 1.2", version="1.2.2"),
    empad("series", (4,)),
    empad(TEN, (10,), alone=True),
    empad("no NaN", options={"remove_nans": True}, plain=False),
    empad_g2("second generation, exported"),
]
