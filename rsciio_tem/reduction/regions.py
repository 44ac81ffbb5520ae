# SPDX-License-Identifier: GPL-3.0-or-later
"""Weighted sums of a region of each frame, of which nothing else is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.pixels import Region
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import Walk
from rsciio_tem.reduction.plan import frames_per_block
from rsciio_tem.reduction.stored_order import in_stored_order

__all__ = ["weighted_region"]


def weighted_region(
    frames: Frames, region: Region, weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64] | None:
    """Sum a region of each frame, in the calling thread.

    Parameters
    ----------
    frames : Frames
        Two-dimensional ones.
    region : Region
        Rows and columns.
    weights : ndarray, shape of the region
        For its pixels.

    Returns
    -------
    ndarray of float64, shape (frames,), or None
        None where rows are not stored as rows.
    """
    from rsciio_tem.kernels.sums import region_sums

    fold = in_stored_order(frames)
    if fold is None or fold.bits or not fold.in_rows:
        return None
    (height, width), (rows, columns) = fold.frame_shape, region
    if fold.flipped:
        rows, weights = slice(height - rows.stop, height - rows.start), weights[::-1]
    weights = np.ascontiguousarray(weights, np.float64)
    table = fold.frames
    pixels = replace(table.pixels, shape=((rows.stop - rows.start) * width,))
    strips = table.part(rows.start * width * table.dtype.itemsize, pixels)
    sums = np.empty(len(strips))
    for first, block in Walk(strips, frames_per_block(strips)):
        # kernels do not know half precision
        values = block.astype(np.float32) if block.dtype.char == "e" else block
        region_sums(values, width, columns.start, weights, sums[first : first + len(block)])
    return sums
