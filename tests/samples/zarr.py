# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of Zarr arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from writers import zarr as zarr_writer

from samples import TEN, Sample, Spec


def zarr(
    variant: str,
    dtype: str = "<u2",
    shape: tuple[int, ...] = (3, 4, 6, 10),
    *,
    sig_dims: int = 2,
    **layout: Any,
) -> Spec:
    """Make a Zarr sample."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        array = rng.integers(0, 200, shape).astype(dtype)
        path = zarr_writer.write_zarr(folder / "array.zarr", array, **layout)
        expected = array.astype(array.dtype.newbyteorder("="))
        return Sample("zarr", variant, path, expected, sig_dims=sig_dims)

    return Spec("zarr", variant, make, is_folder=True)


SPECS = [
    zarr("version 2", chunks=(1, 2, 6, 10)),
    zarr("big-endian floats", ">f4", chunks=(2, 3, 4, 5), separator="/"),
    zarr(
        "spectra",
        shape=(3, 4, 10),
        sig_dims=1,
        attributes={"axes": [{"navigate": True}, {"navigate": True}, {"navigate": False}]},
    ),
    zarr(TEN, shape=(10, 6, 4), chunks=(4, 6, 4)),
]
