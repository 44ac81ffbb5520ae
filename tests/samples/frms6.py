# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of pnCCD."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from writers import frms6 as frms6_writer

from samples import TEN, Array, Sample, Spec


def frms6(
    variant: str,
    nav: tuple[int, ...] = (3, 3),
    *,
    binning: int = 1,
    sig: tuple[int, int] = (24, 16),
    dark: bool = True,
    options: dict[str, Any] | None = None,
    warns: str = "",
    change: Callable[[Array], Array] = lambda frames: frames,
    opened: str = "scan_001.frms6",
    plain: bool = False,
    **written: Any,
) -> Spec:
    """Make a pnCCD sample; `change` turns the frames, dark frames subtracted, into what is read."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        rows = sig[0] // binning
        frames = rng.integers(200, 4000, (*nav, rows, sig[1])).repeat(binning, axis=-2)
        mean = rng.integers(50, 150, (rows, sig[1])).repeat(binning, axis=0)
        darks = np.stack([mean - 2, mean, mean + 2]) if dark else None
        frms6_writer.write_recording(folder, frames, darks, binning=binning, **written)
        flat = frames.reshape(-1, *sig)
        corrected = dark and (options or {}).get("corrections", True)
        expected = change((flat - mean).astype("f4") if corrected else flat.astype("u2"))
        return Sample(
            "frms6",
            variant,
            folder / opened,
            expected.reshape(*nav, *expected.shape[1:]),
            options or {},
            warns,
            plain=plain,
        )

    return Spec("frms6", variant, make)


def in_window(frames: Array, *windows: tuple[int, int]) -> Array:
    """Keep the rows of one window, or of frame i those of window i, and of the mirrored half."""
    out = np.zeros_like(frames)
    for i in range(len(frames)):
        start, height = windows[i % len(windows)]
        out[i, start : start + height] = frames[i, start : start + height]
        lower = slice(frames.shape[1] - start - height, frames.shape[1] - start)
        out[i, lower] = frames[i, lower]
    return out


_UNCORRECTED = {"corrections": False}
_MIXED = [(2, 5), (2, 5), (0, 12), (7, 4), (2, 5), (0, 12), (1, 1), (0, 12), (0, 12)]
SPECS = [
    frms6("not unfolded", dark=False, options={"unfold": False, **_UNCORRECTED}, plain=True,
          change=frms6_writer.in_stored_order),
    frms6("not binned"),
    frms6("binned by 2", binning=2),
    frms6("binned by 4", binning=4),
    frms6("opened through the .hdr", opened="scan.hdr"),
    frms6("several files", files=(2, 5), opened="scan_002.frms6"),
    frms6("frames not counted", count=0),
    frms6("as recorded", binning=4, options=_UNCORRECTED),
    frms6("no dark frames", dark=False, warns="there are no dark frames"),
    frms6("one line", (4,)),
    frms6("lines and columns differ", (2, 4), warns="2 lines of 4 positions"),
    frms6("scan shape given", (2, 4), options={"nav_shape": (2, 4)}),
    frms6("no .hdr", (6,), has_hdr=False, warns="no .hdr says how rows were binned"),
    frms6("no .hdr, binning given", (6,), binning=2, has_hdr=False, options={"binning": 2}),
    frms6("not unfolded, dark frames", binning=2, options={"unfold": False},
          change=lambda f: np.concatenate([f[:, :12:2], f[:, :11:-2, ::-1]], axis=2)),
    frms6("window", windows=[(3, 7)] * 9, warns="frames are windows",
          change=lambda f: in_window(f, (3, 7))),
    frms6("window, binned", binning=4, windows=[(1, 2)] * 9, warns="frames are windows",
          change=lambda f: in_window(f, (4, 8))),
    frms6("windows that differ", windows=_MIXED, dark=False, options=_UNCORRECTED,
          warns="frames are windows", change=lambda f: in_window(f, *_MIXED)),
    frms6("short files", (9,), files=(4,), truncate=100, options={"nav_shape": (9,)},
          warns="3 of the 4 frames|4 of the 5 frames|1 blanks|files hold 8|1 of 9",
          change=lambda f: np.concatenate([f[:3], 0 * f[:1], f[4:8], 0 * f[:1]])),
    frms6(TEN, (10,), sig=(6, 4), dark=False, options=_UNCORRECTED),
]  # fmt: skip
