# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of captures of an Eiger's stream."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from writers import eigerstream as eigerstream_writer

from samples import TEN, Array, Sample, Spec


def eigerstream(
    variant: str,
    count: int = 6,
    *,
    dtype: str = "u4",
    sig: tuple[int, int] = (24, 40),
    options: dict[str, Any] | None = None,
    thresholds: int = 1,
    change: Callable[..., Array] = lambda frames, *others: frames,
    warns: str = "",
    **written: Any,
) -> Spec:
    """Make a capture of an Eiger's stream."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        stacks = [rng.integers(0, 250, (count, *sig)).astype(dtype) for _ in range(thresholds)]
        path = eigerstream_writer.write_stream(folder / "scan.h5", *stacks, **written)
        return Sample("eigerstream", variant, path, change(*stacks), dict(options or {}), warns)

    return Spec("eigerstream", variant, make)


SPECS = [
    eigerstream("bitshuffled", 12, options={"nav_shape": (3, 4)},
        change=lambda f: f.reshape(3, 4, *f.shape[1:])),
    eigerstream("LZ4", dtype="u2", compression="lz4"),
    eigerstream("sparse", dtype="u1", compression="csrnpz"),
    eigerstream("several compressions",
        compression=("lz4", "bslz4", "csrnpz", "none", "lz4", "bslz4")),
    eigerstream("first threshold", thresholds=2),
    eigerstream("second threshold", thresholds=2, options={"threshold_setting": "threshold_2"},
        change=lambda low, high: high),
    eigerstream("difference", thresholds=2, change=lambda low, high: low - 1.25 * high,
        options={"threshold_setting": "man_diff", "multiplier": 1.25}),
    eigerstream("lost frame", 5, numbers=(0, 1, 2, 4, 5), warns="1 of 6 frames are missing",
        change=lambda f: np.insert(f, 3, 0, axis=0)),
    eigerstream(TEN, 10, dtype="u2"),
]  # fmt: skip
