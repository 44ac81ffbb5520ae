# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of NumPy files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from writers import npy as npy_writer

from samples import TEN, Sample, Spec


def npy(
    variant: str,
    dtype: str = "<u2",
    shape: tuple[int, ...] = (3, 4, 6, 10),
    *,
    archive: bool | None = None,
    sig_dims: int = 2,
    options: dict[str, Any] | None = None,
    **layout: Any,
) -> Spec:
    """Make a NumPy sample; `archive` makes it the member of a .npz, deflated or not."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        array = rng.integers(0, 200, shape).astype(dtype)
        if archive is None:
            path = npy_writer.write_npy(folder / "array.npy", array, **layout)
        else:
            small = np.arange(5)
            path = npy_writer.write_npz(
                folder / "array.npz", compressed=archive, small=small, data=array, **layout
            )
        return Sample(
            "npy",
            variant,
            path,
            array.astype(array.dtype.newbyteorder("=")),
            options or {},
            plain=not (archive or layout.get("fortran")),
            sig_dims=sig_dims,
        )

    return Spec("npy", variant, make)


SPECS = [
    npy("C order"),
    npy("big-endian", ">u2"),
    npy("big-endian floats", ">f8"),
    npy("complex", "<c8"),
    npy("bool", "?"),
    npy("version 2", version=(2, 0)),
    npy("version 3", ">i4", version=(3, 0)),
    npy("of old numpy", align=16),
    npy("Fortran order", fortran=True),
    npy("Fortran order, big-endian", ">f4", fortran=True),
    npy("Fortran order, stack", shape=(5, 6, 10), fortran=True),
    npy("Fortran order, one frame", shape=(6, 10), fortran=True),
    npy("Fortran order, spectra", shape=(3, 4, 10), fortran=True, sig_dims=1,
        options={"sig_dims": 1}),
    npy("Fortran order, volumes", shape=(3, 4, 5, 6), fortran=True, sig_dims=3,
        options={"sig_dims": 3}),
    npy("one frame", shape=(6, 10)),
    npy("one frame, scan axes", shape=(1, 1, 6, 10)),
    npy("spectra", shape=(3, 4, 10), sig_dims=1, options={"sig_dims": 1}),
    npy("five dimensions", shape=(2, 3, 4, 5, 6)),
    npy("npz", ">u2", archive=False),
    npy("npz, key", archive=False, shape=(2, 3, 6, 5), options={"key": "data"}),
    npy("npz, deflated", archive=True),
    npy("npz, Fortran order", archive=False, fortran=True),
    npy("npz, deflated, Fortran order", ">f4", archive=True, fortran=True),
    npy(TEN, shape=(10, 6, 4)),
]  # fmt: skip
