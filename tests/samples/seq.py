# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of StreamPix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from writers import seq as seq_writer

from samples import TEN, Array, Sample, Spec


def seq(
    variant: str,
    dtype: str = "u2",
    nav: tuple[int, ...] = (3, 4),
    *,
    sig: tuple[int, int] = (32, 48),
    options: dict[str, Any] | None = None,
    warns: str = "",
    bits: int = 12,
    change: Callable[[Array], Array] = lambda frames: frames,
    plain: bool = True,
    sides: dict[str, Any] | None = None,
    **written: Any,
) -> Spec:
    """Make a StreamPix sample; `sides` are the files beside it."""
    colour = written.get("image_format") in (200, 400, 500)

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        shape = (int(np.prod(nav)), *sig, *([3] if colour else []))
        highest = 256 if colour or dtype == "u1" else 1 << bits
        frames = rng.integers(0, highest, shape).astype(dtype)
        path = seq_writer.write_seq(folder / "scan.seq", frames, **written)
        seq_writer.write_sides(folder, **(sides or {}))
        expected = change(frames)
        if colour:
            rgb = np.dtype([(name, "u1") for name in "RGB"])
            expected = frames.view(rgb)[..., 0]
        keywords = dict(options or {})
        if len(nav) > 1:
            keywords["nav_shape"] = nav
        if len(nav) > 1:
            expected = expected.reshape(*nav, *expected.shape[1:])
        return Sample("seq", variant, path, expected, keywords, warns, plain=plain)

    return Spec("seq", variant, make)


def celeritas(
    variant: str,
    each: int,
    buffers: int = 3,
    *,
    opened: int = 0,
    sig: tuple[int, int] = (16, 24),
    options: dict[str, Any] | None = None,
    warns: str = "",
    change: Callable[[Array], Array] = lambda frames: frames,
    **written: Any,
) -> Spec:
    """Make a recording in halves, opened through the top (0) or the bottom (1) half."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = rng.integers(0, 4096, (buffers * each, *sig)).astype("u2")
        paths = seq_writer.write_halves(folder, frames, each, **written)
        return Sample("seq", variant, paths[opened], change(frames), dict(options or {}), warns)

    return Spec("seq", variant, make)


_DARK = np.random.default_rng(5).integers(0, 90, (32, 48)).astype("f4")
_GAIN = 2.0 ** np.random.default_rng(6).integers(-2, 2, (32, 48)).astype("f4")


def blank_frames(*blanks: int) -> Callable[[Array], Array]:
    """Fill frames with zeros."""

    def change(frames: Array) -> Array:
        out = frames.copy()
        out[list(blanks)] = 0
        return out

    return change


_TOLD = "vendor's list"
SPECS = [
    seq("16 bit", sig=(128, 96), real=12),
    seq("8 bit", "u1"),
    seq("32 bit", "u4", bits=20),
    seq("version 4", version=4),
    seq("version 4, 8 bit", "u1", version=4, sig=(15, 7)),
    seq("aligned slots", alignment=8192),
    seq("padding cut off", alignment=8192, truncate=8192 - 32 * 48 * 2),
    seq("Bayer", image_format=101),
    seq("uppermost bits", image_format=112, real=12, plain=False, warns=_TOLD),
    seq("uppermost bits, big-endian", image_format=114, real=12, plain=False, warns=_TOLD),
    seq("Bayer, big-endian", "u4", image_format=115, real=20, bits=20, plain=False, warns=_TOLD),
    seq("blue, green, red", "u1", image_format=200, plain=False, warns=_TOLD),
    seq("red, green, blue", "u1", image_format=400, warns=_TOLD),
    seq("blue, green, red and nothing", "u1", image_format=500, plain=False, warns=_TOLD),
    seq("loop", oldest=5, plain=False),
    seq("slots never written", unwritten=4, warns="4 of 16 slots were never written"),
    seq("slots that are not counted", unwritten=4, allocated=12),
    seq("every slot", nav=(12,), unwritten=4, allocated=6, options={"all_slots": True},
        change=lambda f: np.concatenate([f, 0 * f[:4]])),
    seq("dark and gain", real=12, plain=False, sides={"dark": _DARK, "gain": _GAIN, "info": {}},
        change=lambda f: (f - _DARK) * _GAIN),
    seq("corrections off", options={"corrections": False}, sides={"dark": _DARK}),
    seq(TEN, nav=(10,)),
    celeritas("halves, one frame per buffer", 1, 6),
    celeritas("halves, four frames per buffer", 4),
    celeritas("opened through the bottom half", 4, opened=1),
    celeritas("aligned buffers", 2, alignment=8192, numbered=False),
    celeritas("lost buffers", 2, 6, without=([1], [3]), options={"fill_value": 0},
              warns="2 of 6 buffers were lost", change=blank_frames(2, 3, 6, 7)),
    celeritas("lost buffers dropped", 2, 6, without=([1], [3]), options={"lost": "drop"},
              warns="2 of 6 buffers were lost", change=lambda f: f[[0, 1, 4, 5, 8, 9, 10, 11]]),
    celeritas("big-endian halves", 2, image_format=114, real=12, warns=_TOLD),
]  # fmt: skip
