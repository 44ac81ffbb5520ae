# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of TIA series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from writers import ser as ser_writer

from samples import TEN, Array, Sample, Spec


def ser(
    variant: str,
    dtype: str = "u2",
    nav: tuple[int, ...] = (3, 4),
    *,
    sig: tuple[int, ...] = (6, 10),
    stored: int | None = None,
    dims: list[ser_writer.Dim] | None = None,
    scan: bool = True,
    emi: bool = False,
    options: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda frames: frames,
    warns: str = "",
    plain: bool = True,
    **written: Any,
) -> Spec:
    """Make a TIA series, opened through its description if `emi`."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        count = stored or int(np.prod(nav))
        bits = rng.integers(0, 200, (count, *sig))
        frames = bits.astype(dtype) * (1 + 2j if dtype[0] == "c" else 1)
        frames = frames.astype(dtype)
        places = [ser_writer.place(n) for n in nav[::-1]] if scan else None
        path = ser_writer.write_ser(folder / "scan_1.ser", frames, dims or places, **written)
        if emi:
            path = ser_writer.write_emi(folder / "scan.emi")
        expected = change(frames)
        return Sample(
            "ser",
            variant,
            path,
            expected.reshape(*nav, *sig),
            dict(options or {}),
            warns,
            plain=plain,
            sig_dims=len(sig),
        )

    return Spec("ser", variant, make)


def _with_blanks(count: int, fill: float = 0) -> Callable[[Array], Array]:
    def change(frames: Array) -> Array:
        blank = np.full((count, *frames.shape[1:]), fill, frames.dtype)
        return np.concatenate([frames, blank])

    return change


SPECS = [
    ser("map of images", tag=ser_writer.TIME_AND_PLACE),
    ser("old version", version=0x0210),
    *(ser(f"pixels of type {t}", t) for t in ser_writer.TYPES if t != "u2"),
    ser("opened through its description", emi=True),
    ser("line of images", nav=(5,), tag=ser_writer.TIME_AND_PLACE),
    ser("one image", nav=(), scan=False),
    ser(TEN, nav=(10,), scan=False),
    ser("uneven places", gaps=[0, 8, 0, 3, 0, 0, 100, 0, 0, 0, 1, 0], plain=False),
    ser("elements in another order", order=[3, 1, 2, 0, *range(4, 12)], plain=False),
    ser("tags behind all data", tags_apart=True),
    ser("table behind all data", table_last=True),
    ser("bytes behind the last element", nav=(5,), tail=bytes(4000)),
    ser("interrupted series", nav=(5,), stored=5, total=200, scan=False),
    ser("interrupted series, filled", nav=(8,), stored=5, total=8, dims=[ser_writer.Dim(8)],
        options={"only_valid_data": False}, warns="3 of 8", change=_with_blanks(3), plain=False),
    ser("interrupted series of floats, filled", "f4", nav=(8,), stored=5, total=8, warns="3 of 8",
        dims=[ser_writer.Dim(8)], options={"only_valid_data": False}, plain=False,
        change=_with_blanks(3, np.nan)),
    ser("interrupted map", nav=(2, 4), stored=10, total=12, warns="2 of 3 lines",
        dims=[ser_writer.place(4), ser_writer.place(3)], change=lambda f: f[:8]),
    ser("interrupted map, filled", stored=10, total=12, warns="2 of 12", plain=False,
        dims=[ser_writer.place(4), ser_writer.place(3)], options={"missing": "fill"},
        change=_with_blanks(2)),
    ser("map of spectra", "u4", sig=(40,), tag=ser_writer.TIME_AND_PLACE),
    ser("line of spectra", "i4", nav=(7,), sig=(40,)),
    ser("one spectrum", "i4", nav=(1,), sig=(40,)),
    ser("one of two spectra", "i4", nav=(), sig=(40,), total=2, scan=False),
    ser("series of maps", nav=(2, 3, 4), dims=[ser_writer.place(4), ser_writer.place(3),
        ser_writer.Dim(2)]),
]  # fmt: skip
