# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of raw binary files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from writers import raw as raw_writer

from samples import TEN, Array, Sample, Spec


def raw(
    variant: str,
    dtype: str = "<u2",
    *,
    nav: tuple[int, ...] = (3, 4),
    sig: tuple[int, ...] = (6, 10),
    side: str = "",
    named: str = "",
    change: Callable[[Array], Array] = lambda frames: frames,
    warns: str = "",
    plain: bool = True,
    options: dict[str, Any] | None = None,
    **layout: Any,
) -> Spec:
    """Make a raw binary sample; with `side` a side file of this kind says everything."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        bits = int(dtype.split("uint")[1]) if "uint" in dtype else 0
        shape = (int(np.prod(nav)), *sig)
        if bits:
            frames = rng.integers(0, 1 << bits, shape).astype("u1" if bits == 1 else "u2")
        else:
            stored = np.dtype(dtype)
            frames = rng.integers(0, 2, shape).astype(stored)
            noise = rng.integers(0, 256, frames.nbytes, np.uint8).view(stored)
            if stored.kind in "iu":
                frames = noise.reshape(shape)
            elif stored.kind in "fc":
                frames = (frames * 1.5 + rng.integers(-9, 9, shape)).astype(stored)
        written = dict(layout)
        cut = written.pop("truncate", 0)
        path = raw_writer.write_raw(
            folder / "data.raw", frames, dtype, truncate=cut, sig_dims=len(sig), **written
        )
        written |= {"dtype": dtype, "sig_shape": sig}
        keywords: dict[str, Any] = {**written, "nav_shape": nav}
        if side:
            keywords = {}
            extra = {"file": "data.raw"} if named == "side" else {}
            description = raw_writer.side_file(path, side, nav_shape=nav, **written, **extra)
            if named == "side":
                path = description.rename(folder / f"other.{side}")
        elif len(nav) == 1:
            del keywords["nav_shape"]
        native = frames.dtype.newbyteorder("=")
        expected = change(frames.astype(native)).reshape(*nav, *sig)
        keywords |= options or {}
        return Sample(
            "raw",
            variant,
            path,
            expected,
            keywords,
            warns,
            plain=plain and not bits,
            sig_dims=len(sig),
        )

    return Spec("raw", variant, make)


SPECS = [
    *(raw(dtype.replace("<", "little-").replace(">", "big-"), dtype) for dtype in (
        "u1", "i1", "<u2", ">u2", "<i2", ">i4", "<u4", "<u8", ">u8", "<f4", ">f4", ">f8", "<c8",
        ">c16", "<f2", "?",
    )),
    raw("offset", offset=11),
    raw("headers and footers", ">u2", offset=3, frame_header=5, frame_footer=7),
    raw("odd header of floats", ">f8", frame_header=1),
    *(raw(dtype, dtype, sig=(6, 8)) for dtype in ("uint1", ">uint1", "<uint12", ">uint12")),
    raw("packed with header", ">uint12", frame_header=3, offset=1),
    raw("packed bits with footer", "uint1", frame_footer=1, sig=(4, 6)),
    raw("described by TOML", ">u2", side="toml", offset=4, frame_footer=2),
    raw("described by YAML", "<f4", side="yaml"),
    raw("via its side file", ">uint12", side="toml", named="side"),
    raw("flipped", ">u2", options={"flip_y": True}, change=lambda f: f[:, ::-1]),
    raw("spectra", "<u2", sig=(17,)),
    raw("volumes", ">u2", sig=(3, 4, 5)),
    raw("five dimensions", "<u2", nav=(2, 3, 4)),
    raw(TEN, ">u2", nav=(10,)),
    raw("one column", "<u2", nav=(4, 1), sig=(5, 1)),
]  # fmt: skip
