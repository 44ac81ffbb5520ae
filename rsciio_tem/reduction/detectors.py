# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual detectors: disks, rings, masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Annulus", "Disk"]

# ---------------------------------------------------------------- detectors


@dataclass(frozen=True)
class Annulus:
    """A virtual detector between two radii in pixels, including the inner edge.

    Parameters
    ----------
    inner, outer : float
        Radii.
    center : (float, float), optional
        Row and column; by default the middle of the frame.
    """

    inner: float
    outer: float
    center: tuple[float, float] | None = None

    def __call__(self, frame_shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """Return the mask."""
        rows, columns = frame_shape
        y, x = self.center or ((rows - 1) / 2, (columns - 1) / 2)
        distance = np.hypot(*np.ogrid[-y : rows - y, -x : columns - x])[:rows, :columns]
        return (distance >= self.inner) & (distance < self.outer)


class Disk(Annulus):
    """A round virtual detector.

    Parameters
    ----------
    radius : float
        In pixels.
    center : (float, float), optional
        Row and column; by default the middle of the frame.
    """

    def __init__(self, radius: float, center: tuple[float, float] | None = None) -> None:
        super().__init__(0, radius, center)


Mask = npt.ArrayLike | Callable[[tuple[int, ...]], npt.ArrayLike]


def mask_stack(masks: Any, frame_shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return the weights of virtual detectors, shape (masks, *frame_shape)."""
    if isinstance(masks, Mapping):
        masks = list(masks.values())
    if callable(masks):
        masks = [masks]
    if isinstance(masks, str) or not isinstance(masks, Iterable):
        raise TypeError(
            f"masks={masks!r} is no virtual detector: pass Disk(radius), Annulus(inner, outer), an "
            "array of the shape of a frame, or a list or dict of these"
        )
    if not isinstance(masks, np.ndarray):
        for mask in masks:
            if isinstance(mask, Annulus) and not mask(frame_shape).any():
                raise ValueError(f"{mask} covers no pixel of frames of the shape {frame_shape}")
        masks = [np.asarray(m(frame_shape) if callable(m) else m) for m in masks]
        shapes = {m.shape for m in masks}
        if shapes - {frame_shape}:
            raise ValueError(f"masks have shapes {sorted(shapes)}, frames {frame_shape}")
    weights = np.asarray(masks)
    if weights.shape == frame_shape:
        weights = weights[np.newaxis]
    if weights.shape[1:] != frame_shape:
        raise ValueError(f"masks have shape {weights.shape}, frames {frame_shape}")
    return weights
