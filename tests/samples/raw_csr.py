# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of LiberTEM's sparse recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from writers import raw_csr as raw_csr_writer

from samples import TEN, Array, Sample, Spec, thin_frames


def raw_csr(
    variant: str,
    dtype: str = "<u2",
    shape: tuple[int, ...] = (3, 4, 6, 10),
    *,
    sig_dims: int = 2,
    shuffle: bool = False,
    options: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda frames: frames,
    warns: str = "",
    **layout: Any,
) -> Spec:
    """Make a sparse recording of LiberTEM."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = thin_frames(rng, shape, dtype, sig_dims)
        path = raw_csr_writer.write_raw_csr(
            folder / "scan.toml", frames, sig_dims=sig_dims, shuffle=rng if shuffle else None,
            **layout,
        )  # fmt: skip
        expected = change(frames.astype(frames.dtype.newbyteorder("=")))
        return Sample("raw_csr", variant, path, expected, options or {}, warns, sig_dims=sig_dims)

    return Spec("raw_csr", variant, make)


SPECS = [
    raw_csr("scan"),
    raw_csr(TEN, shape=(10, 6, 4), nav_shape=None),
    raw_csr("32 bit, small offsets", "<i4", indptr_dtype="<u2", indices_dtype="u1"),
    raw_csr("big-endian", ">f4", indptr_dtype=">i4", indices_dtype=">u8"),
    raw_csr("entries out of order and twice", shuffle=True),
    raw_csr("complex", "<c8"),
    raw_csr("flags", "?"),
    raw_csr("half precision", "<f2"),
    raw_csr("spectra", shape=(3, 4, 20), sig_dims=1),
    raw_csr("volumes", shape=(3, 4, 5, 6), sig_dims=3),
    raw_csr("five dimensions", shape=(2, 3, 2, 6, 4)),
    raw_csr("upper-case filetype", filetype="RAW_CSR"),
    raw_csr("frame shape as a keyword", sig_shape=None, options={"sig_shape": (6, 10)}),
]  # fmt: skip
