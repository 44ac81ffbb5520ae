# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of raw files of the 4D Camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from writers.fourdcamera import write_fourdcamera

from samples import TEN, Sample, Spec


def fourdcamera(
    variant: str,
    options: dict[str, Any] | None = None,
    *,
    shape: tuple[int, ...] = (3, 4),
    **layout: Any,
) -> Spec:
    """Make a scan of 3 lines of 4 frames, or a single line."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        expected = rng.integers(0, 4000, (*shape, 576, 576)).astype("u2")
        path = write_fourdcamera(
            folder, expected.reshape(-1, 576, 576), scan=(1, *shape)[-2:], **layout
        )
        return Sample(
            "fourdcamera", variant, path, expected, options or {}, plain=layout.get("version") == 3
        )

    return Spec("fourdcamera", variant, make)


SPECS = [
    fourdcamera("scan"),
    fourdcamera(TEN, shape=(10,)),
    fourdcamera("version 4", {"version": 4}, version=4),
    fourdcamera("version 3", version=3),
    fourdcamera("three files of a module", files=3),
]
