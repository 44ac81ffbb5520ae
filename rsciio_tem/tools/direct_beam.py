# SPDX-License-Identifier: GPL-3.0-or-later
"""The undiffracted beam in a pattern, and virtual detectors around it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Detectors", "Disk", "detectors", "find_disk", "real"]

Floats = npt.NDArray[np.float64]


def real(values: npt.NDArray[Any]) -> Floats:
    """Return values as floats; of complex ones their moduli."""
    return np.asarray(np.abs(values) if values.dtype.kind == "c" else values, np.float64)


@dataclass(frozen=True)
class Disk:
    """The undiffracted beam on the detector, in pixels.

    Parameters
    ----------
    row, column : float
        Its centre; whole numbers are centres of pixels.
    radius : float
        Its radius.
    certain : bool
        Whether it stands out as a disk. If not, centre and radius are only a guess.
    """

    row: float
    column: float
    radius: float
    certain: bool = True


@dataclass(frozen=True, eq=False)
class Detectors:
    """Virtual detectors around a disk.

    Parameters
    ----------
    disk : Disk
        The bright field.
    inner, outer : float
        Radii of the annular dark field.
    masks : ndarray of bool, shape (2, rows, columns)
        Bright field and annular dark field.
    """

    disk: Disk
    inner: float
    outer: float
    masks: npt.NDArray[np.bool_]


def find_disk(pattern: npt.NDArray[Any]) -> Disk | None:
    """Find the undiffracted beam: the disk around the brightest place of a pattern.

    Its edge is where the intensity falls to half. Single pixels that are much brighter than their
    neighbours do not count.

    Parameters
    ----------
    pattern : ndarray, 2-D
        Ideally the sum over many frames.

    Returns
    -------
    Disk or None
        None if the frame is too small or dark to have one.
    """
    if pattern.ndim != 2 or min(pattern.shape) < 8:
        return None
    step = -(-max(pattern.shape) // 512)
    rows, columns = (n // step for n in pattern.shape)
    image = np.nan_to_num(real(pattern), posinf=0, neginf=0)
    image = image[: rows * step, : columns * step]
    image = image.reshape(rows, step, columns, step).mean(axis=(1, 3))
    if min(rows, columns) < 8 or not image.max() > image.min():
        return None
    around = _neighbours(image)
    image = np.minimum(image, np.delete(around, 4, axis=0).max(axis=0))  # no hot pixels
    image = _neighbours(image).mean(axis=0)
    peak = np.unravel_index(int(np.argmax(image)), image.shape)
    level = float(np.median(image))
    if level >= image[peak]:  # more than half of the frame is as bright as it gets
        level = float(image.min())
    if level >= image[peak]:
        return None
    disk = _region(image > level + (image[peak] - level) / 2, (int(peak[0]), int(peak[1])))
    y, x = np.nonzero(disk)
    area = len(y)
    row, column = float(y.mean()), float(x.mean())
    radius = math.sqrt(area / math.pi)
    # the second moment of a filled disk of this area is area / 2 pi; spots and streaks have more
    spread = (y.var() + x.var()) * 2 * math.pi / area
    at_edge = y.min() == 0 or x.min() == 0 or y.max() == rows - 1 or x.max() == columns - 1
    certain = not at_edge and spread < 1.3 and image[peak] > 3 * level
    certain &= image[disk].sum() > 0.03 * image.sum()
    if radius > 0.35 * min(rows, columns):
        certain = False
        row, column, radius = (rows - 1) / 2, (columns - 1) / 2, min(rows, columns) / 8
    middle = (step - 1) / 2
    return Disk(row * step + middle, column * step + middle, radius * step, bool(certain))


def _neighbours(image: Floats) -> Floats:
    """Return the image shifted to each of 9 places; the last row and column are repeated."""
    rows, columns = image.shape
    wide = np.pad(image, 1, mode="edge")
    return np.stack([wide[i : i + rows, j : j + columns] for i in range(3) for j in range(3)])


def _region(bright: npt.NDArray[np.bool_], seed: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the connected part of `bright` that holds `seed`."""
    region = np.zeros_like(bright)
    region[seed] = True
    size = 0
    while size != (size := int(np.count_nonzero(region))):
        for _ in range(8):
            grown = region.copy()
            grown[1:] |= region[:-1]
            grown[:-1] |= region[1:]
            grown[:, 1:] |= region[:, :-1]
            grown[:, :-1] |= region[:, 1:]
            region = grown & bright
    return region


def detectors(disk: Disk, shape: tuple[int, ...]) -> Detectors:
    """Make virtual detectors: the disk, and the ring from a quarter beyond it to the nearest edge.

    Parameters
    ----------
    disk : Disk
        See `find_disk`.
    shape : tuple of int
        Rows and columns of the detector.
    """
    rows, columns = shape
    y, x = np.ogrid[:rows, :columns]
    distance = np.hypot(y - disk.row, x - disk.column)
    inner = max(1.25 * disk.radius, disk.radius + 1)
    edges = (disk.row, disk.column, rows - 1 - disk.row, columns - 1 - disk.column)
    outer = min(edges) + 0.5
    if outer < 1.5 * inner or outer < 0.4 * max(edges):  # the beam is far from the middle
        outer = float(distance.max()) + 0.5
    masks = np.stack([distance <= disk.radius, (distance >= inner) & (distance <= outer)])
    return Detectors(disk, inner, outer, masks)
