# SPDX-License-Identifier: GPL-3.0-or-later
"""Dark frames, gain maps and masks as users give them: arrays, or files of any format."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError
from rsciio_tem.frames.corrections import image_of

__all__ = ["as_frame", "as_mask"]


def as_frame(value: Any, name: str, path: str) -> npt.NDArray[Any] | None:
    """Return a dark or gain image from an array or from a file of any format that we read.

    A series is averaged.
    """
    if value is None:
        return None
    if isinstance(value, (str, os.PathLike)):
        from rsciio_tem.readers import load

        tables = os.fspath(value).lower().endswith((".csv", ".mat"))
        value = image_of(value) if tables else load(value)[0]["data"]
    image = np.asarray(value)
    if image.dtype.kind not in "buifc":
        raise FormatError(path, f"{name} is an image of type {image.dtype}, not of numbers.")
    while image.ndim > 2:
        image = image.mean(axis=0)
    return image


def as_mask(value: Any, shape: tuple[int, ...], path: str) -> npt.NDArray[np.bool_] | None:
    """Return a mask of excluded pixels from a mask, coordinates, a sparse array, or a file."""
    if value is None:
        return None
    if hasattr(value, "todense"):
        value = np.asarray(value.todense())
    array = None if isinstance(value, (str, os.PathLike, tuple)) else np.asarray(value)
    if (
        array is not None
        and array.dtype.kind in "iu"
        and array.shape != shape
        and array.ndim == 2
        and array.shape[1] == len(shape)
    ):
        value = tuple(array.T)  # a list of (row, column)
    if isinstance(value, tuple) and len(value) == len(shape) and np.ndim(value[0]) == 1:
        mask = np.zeros(shape, bool)
        try:
            mask[tuple(np.asarray(v, np.int64) for v in value)] = True
        except IndexError as error:
            raise FormatError(path, f"an excluded pixel is outside of {shape}: {error}.") from None
        return mask
    image = as_frame(value, "excluded_pixels", path)
    return None if image is None else image.astype(bool)
