# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of arrays in memory and of dask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from samples import TEN, Array, Sample, Spec


def memory(
    variant: str,
    dtype: str = "<u2",
    shape: tuple[int, ...] = (3, 4, 6, 10),
    *,
    layout: Callable[[Array], Array] = lambda array: array,
    **options: Any,
) -> Spec:
    def make(folder: Path, rng: np.random.Generator) -> Sample:
        array = layout(rng.integers(0, 200, shape).astype(dtype))
        return Sample(
            "memory",
            variant,
            None,
            array.astype(array.dtype.newbyteorder("=")),
            {"lazy": False, **options},
            array=array,
            sig_dims=options.get("sig_dims", 2),
        )

    return Spec("memory", variant, make, has_file=False)


def chunked(variant: str, chunks: Any, shape: tuple[int, ...] = (3, 4, 6, 10)) -> Spec:
    def make(folder: Path, rng: np.random.Generator) -> Sample:
        import dask.array as da

        array = rng.integers(0, 200, shape).astype("u2")
        data = da.from_array(array, chunks=chunks)
        return Sample("dask", variant, None, array, {"lazy": False}, array=data)

    return Spec("dask", variant, make, has_file=False)


SPECS = [
    memory("C order"),
    memory("big-endian", ">i4"),
    memory("Fortran order", layout=np.asfortranarray),
    memory("strided", layout=lambda a: a[:, ::-1, :, ::2]),
    memory("one frame", shape=(6, 10)),
    memory("one frame, scan axis", shape=(1, 6, 10)),
    memory("spectra", shape=(3, 4, 10), sig_dims=1),
    memory(TEN, shape=(10, 6, 4)),
    chunked("whole frames", (1, 2, 6, 10)),
    chunked("split frames", (3, 1, 2, 5)),
    chunked("one frame", (6, 5), (6, 10)),
    chunked(TEN, (3, 6, 4), (10, 6, 4)),
]
