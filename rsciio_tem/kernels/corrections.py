# SPDX-License-Identifier: GPL-3.0-or-later
"""Dark, gain and defective pixels in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.kernels.common import jit

__all__ = ["correct", "patch"]

# ---------------------------------------------------------------- corrections


@jit
def _correct(raw, dark, gain, out):
    for f in range(len(raw)):
        source, target = raw[f], out[f]
        for i in range(len(source)):
            target[i] = (source[i] - dark[i]) * gain[i]


@jit
def _patch(values, pixels, bounds, sources):
    for f in range(len(values)):
        frame = values[f]
        for i in range(len(pixels)):
            total = frame.dtype.type(0)
            for j in range(bounds[i], bounds[i + 1]):
                total += frame[sources[j]]
            frame[pixels[i]] = total / (bounds[i + 1] - bounds[i])


def correct(
    raw: npt.NDArray[Any], dark: npt.NDArray[Any], gain: npt.NDArray[Any], out: npt.NDArray[Any]
) -> None:
    """Compute ``(raw - dark) * gain``; raw and out have the shape (frames, pixels)."""
    _correct(raw, dark, gain, out)


def patch(
    values: npt.NDArray[Any],
    pixels: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.int64],
    sources: npt.NDArray[np.int64],
) -> None:
    """Replace pixels of (frames, pixels) by the mean of ``sources[bounds[i]:bounds[i + 1]]``."""
    _patch(values, pixels, bounds, sources)
