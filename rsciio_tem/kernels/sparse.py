# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled loops over the entries of sparse frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.kernels.common import jit
from rsciio_tem.kernels.sums import as_numbers, jit_sums

__all__ = [
    "add_entries",
    "add_entry_squares",
    "ascending",
    "entry_deviations",
    "entry_moments",
    "entry_sums",
    "largest_entries",
    "masked_entries",
    "once",
    "scatter",
]

# ---------------------------------------------------------------- sparse frames


def _limits(dtype: np.dtype[Any]) -> npt.NDArray[Any] | None:
    """Return the least and the largest number of a type of whole numbers."""
    if dtype.kind not in "iu":
        return None  # the compiler leaves the checks out
    return np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)


@jit
def _fits(total, value, limits):
    if value < 0:
        return total >= limits[0] - value
    return total <= limits[1] - value


@jit
def _scatter(bounds, pixels, values, places, out, width, size, row, column, limits):
    rows, columns = out.shape[1], out.shape[2]
    for f in range(len(places)):
        frame = out[places[f]]
        frame[:] = 0
        for k in range(bounds[f], bounds[f + 1]):
            p = np.int64(pixels[k])
            if p < 0 or p >= size:
                return 2 * f
            r = p // width if size > width else 0
            c = p - r * width - column
            r -= row
            if 0 <= r < rows and 0 <= c < columns:
                if limits is not None and not _fits(frame[r, c], values[k], limits):
                    return 2 * f + 1
                frame[r, c] += values[k]
    return -1


def scatter(
    bounds: npt.NDArray[np.int64],
    pixels: npt.NDArray[Any],
    values: npt.NDArray[Any],
    places: npt.NDArray[np.int64],
    out: npt.NDArray[Any],
    shape: tuple[int, int],
    corner: tuple[int, int] = (0, 0),
) -> tuple[int, bool] | None:
    """Fill frames with zeros, and add the values of single pixels.

    Parameters
    ----------
    bounds, pixels, values : ndarray
        Frame i has ``values[bounds[i]:bounds[i + 1]]`` at the places `pixels` of the flat frame;
        these are int64 or uint32.
    places : ndarray of int64
        Frame i is ``out[places[i]]``.
    out : ndarray, shape (frames, rows, columns)
        A region of each frame, in the type of `values`.
    shape : (int, int)
        Rows and columns of a whole frame.
    corner : (int, int)
        Row and column of a frame at which the region begins.

    Returns
    -------
    (int, bool) or None
        The first frame that cannot be filled, and whether that is because a sum is too large for
        the type; otherwise because a pixel lies outside of the frame.
    """
    if len(bounds) != len(places) + 1 or len(pixels) != len(values):
        raise ValueError("bounds, places, pixels and values contradict each other")
    if len(places) and not (bounds.min() >= 0 and bounds.max() <= len(pixels)):
        raise ValueError("bounds lie outside of the pixels")
    if len(places) and not (places.min() >= 0 and places.max() < len(out)):
        raise ValueError("places lie outside of the output")
    if out.dtype == np.float16:  # unknown to numba
        wide = np.empty((len(places), *out.shape[1:]), np.float32)
        order = np.arange(len(places))
        bad = scatter(bounds, pixels, values.astype(np.float32), order, wide, shape, corner)
        if bad is None:
            out[places] = wide
        return bad
    width, size = shape[1], shape[0] * shape[1]
    limits = _limits(out.dtype)
    code = _scatter(bounds, pixels, values, places, out, width, size, *corner, limits)
    return None if code < 0 else (int(code) // 2, bool(code % 2))


# ---------------------------------------------------------------- sums of sparse frames
#
# Entries as for `scatter`. `ascending` or `once` has seen them before, so that their places are
# good, and no pixel of a frame has two of them.


@jit
def _ascending(bounds, pixels, size):
    good = True
    for f in range(len(bounds) - 1):
        if bounds[f] > bounds[f + 1]:
            return -1
        places = pixels[bounds[f] : bounds[f + 1]]
        if not len(places):
            continue
        low, high = places[:-1], places[1:]
        down = False
        for i in range(len(low)):
            down |= high[i] <= low[i]
        good &= not down and places[0] >= 0 and places[-1] < size
    return 1 if good else 0


def ascending(bounds: npt.NDArray[np.int64], pixels: npt.NDArray[Any], size: int) -> bool:
    """Whether the places of each frame ascend, and lie in a frame of `size` pixels."""
    if len(bounds) < 1 or bounds[0] or bounds[-1] != len(pixels):
        raise ValueError("bounds and pixels contradict each other")
    if (code := _ascending(bounds, pixels, size)) < 0:
        raise ValueError("bounds contradict each other")
    return bool(code)


@jit
def _once(bounds, pixels, values, slots, size, out_bounds, out_pixels, out_values, limits):
    n = 0
    out_bounds[0] = 0
    for f in range(len(bounds) - 1):
        start = n
        for k in range(bounds[f], bounds[f + 1]):
            p = np.int64(pixels[k])
            if p < 0 or p >= size:
                return 2 * f
            slot = slots[p]  # may be anything, if this is the first entry of the pixel
            if start <= slot < n and out_pixels[slot] == pixels[k]:
                if limits is not None and not _fits(out_values[slot], values[k], limits):
                    return 2 * f + 1
                out_values[slot] += values[k]
            else:
                slots[p] = n
                out_pixels[n] = pixels[k]
                out_values[n] = values[k]
                n += 1
        out_bounds[f + 1] = n
    return -1


def once(
    bounds: npt.NDArray[np.int64],
    pixels: npt.NDArray[Any],
    values: npt.NDArray[Any],
    size: int,
) -> tuple[int, bool] | tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Add up the values that a frame of `size` pixels has for the same pixel.

    Returns
    -------
    (bounds, pixels, values) or (int, bool)
        Each pixel once, where it was listed first; or the first frame that is damaged, and how, as
        `scatter` says it.
    """
    if len(bounds) < 1 or bounds[0] or bounds[-1] != len(pixels) or (np.diff(bounds) < 0).any():
        raise ValueError("bounds and pixels contradict each other")
    if len(pixels) != len(values):
        raise ValueError("pixels and values contradict each other")
    if values.dtype == np.float16:  # unknown to numba
        summed = once(bounds, pixels, values.astype(np.float32), size)
        return summed if len(summed) == 2 else (*summed[:2], summed[2].astype(np.float16))
    kept = np.empty_like(bounds), np.empty_like(pixels), np.empty_like(values)
    slots = np.empty(size, np.int64)
    code = _once(bounds, pixels, values, slots, size, *kept, _limits(values.dtype))
    if code >= 0:
        return int(code) // 2, bool(code % 2)
    count = int(kept[0][-1])
    return kept[0], kept[1][:count], kept[2][:count]


@jit_sums
def _entry_sums(bounds, values, out):
    for f in range(len(out)):
        out[f] = 0  # NaN times 0 is not 0
        total = out[f] * 0
        part = values[bounds[f] : bounds[f + 1]]
        for i in range(len(part)):
            total += part[i]
        out[f] = total


def entry_sums(
    bounds: npt.NDArray[np.int64], values: npt.NDArray[Any], out: npt.NDArray[Any]
) -> None:
    """Sum the entries of each frame, in the type of `out`; exact for integers."""
    _entry_sums(bounds, as_numbers(values), out)


@jit
def _add_entries(pixels, values, totals):
    for k in range(len(pixels)):
        totals[pixels[k]] += values[k]


def add_entries(
    pixels: npt.NDArray[Any], values: npt.NDArray[Any], totals: npt.NDArray[Any]
) -> None:
    """Add entries to `totals`, which must have room for the sum."""
    _add_entries(pixels, as_numbers(values), totals)


@jit
def _add_entry_squares(pixels, values, totals):
    for k in range(len(pixels)):
        x = np.uint64(values[k])
        totals[pixels[k]] += x * x


def add_entry_squares(
    pixels: npt.NDArray[Any], values: npt.NDArray[Any], totals: npt.NDArray[np.uint64]
) -> None:
    """Add the squares of unsigned entries of up to 2 bytes to `totals`."""
    _add_entry_squares(pixels, as_numbers(values), totals)


@jit
def _largest_entries(pixels, values, most, seen):
    for k in range(len(pixels)):
        p, x = pixels[k], values[k]
        if seen is not None:
            seen[p] += 1
        if x > most[p] or x != x:
            most[p] = x


def largest_entries(
    pixels: npt.NDArray[Any],
    values: npt.NDArray[Any],
    most: npt.NDArray[Any],
    seen: npt.NDArray[np.uint32] | None,
) -> None:
    """Raise `most` to the largest entry of each pixel; NaN wins. `seen` counts the entries."""
    if values.dtype.kind == "c" or values.dtype == np.float16:
        with np.errstate(invalid="ignore"):  # NaN
            np.maximum.at(most, pixels, values)
        if seen is not None:
            np.add.at(seen, pixels, 1)
    else:
        _largest_entries(pixels, as_numbers(values), as_numbers(most), seen)


@jit
def _entry_deviations(pixels, values, counts, means, deviations):
    for k in range(len(pixels)):
        p, x = pixels[k], np.float64(values[k])
        counts[p] += 1
        step = x - means[p]
        means[p] += step / counts[p]
        deviations[p] += step * (x - means[p])


def entry_deviations(
    pixels: npt.NDArray[Any],
    values: npt.NDArray[Any],
    counts: npt.NDArray[np.float64],
    means: npt.NDArray[np.float64],
    deviations: npt.NDArray[np.float64],
) -> None:
    """Add real entries to count, mean, and sum of squared deviations from it of each pixel."""
    _entry_deviations(pixels, as_numbers(values), counts, means, deviations)


@jit_sums
def _entry_moments(bounds, pixels, values, width, out):
    # (p + 0.5) / width is far enough from whole numbers for an inverse: p has less than 31 bits
    inverse = 1.0 / width
    for f in range(out.shape[1]):
        rows, columns = 0.0, 0.0
        places, part = pixels[bounds[f] : bounds[f + 1]], values[bounds[f] : bounds[f + 1]]
        for i in range(len(part)):
            p, x = np.float64(places[i]), np.float64(part[i])
            row = np.floor((p + 0.5) * inverse)
            rows += row * x
            columns += (p - row * width) * x
        out[0, f] = rows
        out[1, f] = columns


def entry_moments(
    bounds: npt.NDArray[np.int64],
    pixels: npt.NDArray[Any],
    values: npt.NDArray[Any],
    width: int,
    out: npt.NDArray[np.float64],
) -> None:
    """Sum real entries times their row and their column, for frames of `width` columns.

    `out` has shape (2, frames). Exact where the sums are whole numbers of less than 53 bits.
    """
    _entry_moments(bounds, pixels, as_numbers(values), width, out)


@jit_sums
def _masked_entries(bounds, pixels, values, weights, out):
    for f in range(out.shape[1]):
        places, part = pixels[bounds[f] : bounds[f + 1]], values[bounds[f] : bounds[f + 1]]
        for m in range(len(weights)):
            out[m, f] = 0
            weight, total = weights[m], out[m, f] * 0
            for i in range(len(part)):
                total += part[i] * weight[places[i]]
            out[m, f] = total


def masked_entries(
    bounds: npt.NDArray[np.int64],
    pixels: npt.NDArray[Any],
    values: npt.NDArray[Any],
    weights: npt.NDArray[Any],
    out: npt.NDArray[Any],
) -> None:
    """Sum the entries of each frame with `weights` of shape (masks, pixels).

    `out` has shape (masks, frames); it and the weights are float64, or complex128.
    """
    _masked_entries(bounds, pixels, as_numbers(values), weights, out)
