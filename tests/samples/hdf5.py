# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of HDF5."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from writers import hdf5 as hdf5_writer

from samples import TEN, Array, Sample, Spec


def hdf5(
    variant: str,
    dtype: str = "<u2",
    shape: tuple[int, ...] = (3, 4, 6, 10),
    *,
    write: Callable[..., Path] = hdf5_writer.write_array,
    sig_dims: int = 2,
    options: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda array: array,
    plain: bool = True,
    **layout: Any,
) -> Spec:
    """Make an HDF5 sample; `change` turns the stored array into what is read."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        array = rng.integers(0, 200, shape).astype(dtype)
        path = write(folder / "scan.h5", array, **layout)
        expected = change(array.astype(array.dtype.newbyteorder("=")))
        return Sample(
            "hdf5", variant, path, expected, options or {}, plain=plain, sig_dims=sig_dims
        )

    return Spec("hdf5", variant, make)


_CUBE_DIMS = [("y", "[n_m]", 0, 2), ("x", "[n_m]", 0, 2), ("ky", "[n_m^-1]", -3, 0.1),
              ("kx", "[n_m^-1]", -5, 0.1)]  # fmt: skip
SPECS = [
    hdf5("contiguous"),
    hdf5("big-endian", ">u2"),
    hdf5("big-endian floats", ">f8"),
    hdf5("complex", "<c8"),
    hdf5("bool", "?"),
    hdf5("behind a block for the user", userblock=4096),
    hdf5("chunk per frame", chunks=(1, 1, 6, 10), plain=False),
    hdf5("chunk per frame, bslz4", chunks=(1, 1, 6, 10), compression="bslz4", plain=False),
    hdf5("chunk per frame, lz4", "<u4", chunks=(1, 1, 6, 10), compression="lz4", plain=False),
    hdf5("chunk per frame, zstd", chunks=(1, 1, 6, 10), compression="zstd", plain=False),
    hdf5("chunks of lines, gzip", ">i4", chunks=(1, 4, 6, 10), compression="shuffle+gzip",
         plain=False),
    hdf5("chunks that cut frames", "<f4", chunks=(2, 3, 4, 4), compression="gzip", plain=False),
    hdf5("spectra", shape=(3, 4, 10), sig_dims=1, options={"sig_dims": 1}),
    hdf5("volumes", shape=(3, 4, 5, 6), sig_dims=3, options={"sig_dims": 3}),
    hdf5("one frame", shape=(6, 10)),
    hdf5("five dimensions", shape=(2, 3, 4, 5, 6)),
    hdf5("frames stored as lines", shape=(3, 4, 60), options={"sig_shape": (6, 10)},
         change=lambda a: a.reshape(3, 4, 6, 10)),
    hdf5("detector axes first", shape=(6, 10, 3, 4), options={"sig_first": True}, plain=False,
         change=lambda a: a.transpose(2, 3, 0, 1)),
    hdf5("named", dataset="deep/inside", other=np.zeros((3, 4, 6, 11)),
         options={"dataset": "/deep/inside"}),
    hdf5("links", write=hdf5_writer.write_soft_links, options={"ds_path": "short"}),
    hdf5("EMD 0.2", write=hdf5_writer.write_emd, dims=_CUBE_DIMS),
    hdf5("py4DSTEM, old", "<f4", write=hdf5_writer.write_py4dstem_old),
    hdf5("py4DSTEM", "<f4", write=hdf5_writer.write_py4dstem, virtual_image=(70, 80)),
    hdf5("Velox series", "<i2", (7, 6, 10), write=hdf5_writer.write_velox, plain=False),
    hdf5("NXdata", write=hdf5_writer.write_nexus),
    hdf5("DM5", "<f4", write=hdf5_writer.write_dm5, tags={"Data Order Swapped": 1},
         calibrations=[(5, 0.2, "1/nm"), (3, 0.2, "1/nm"), (0, 2, "nm"), (0, 2, "nm")]),
    hdf5("kikuchipy", "u1", (12, 6, 10), write=hdf5_writer.write_kikuchipy, scan=(3, 4),
         plain=False, change=lambda a: a.reshape(3, 4, 6, 10)),
    hdf5("image series", shape=(5, 6, 10), dataset="series/images"),
    hdf5(TEN, shape=(10, 6, 4)),
]  # fmt: skip
