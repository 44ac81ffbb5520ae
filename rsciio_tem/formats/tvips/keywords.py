# SPDX-License-Identifier: GPL-3.0-or-later
"""RosettaSciIO's names for keywords of all readers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rsciio_tem.reading.options import sizes

Shape = tuple[int, ...]


def merged_shape(
    scan_shape: Any, navigation_shape: Any, options: Mapping[str, Any]
) -> tuple[dict[str, Any], Shape | None]:
    """Combine the names for the scan shape.

    Returns
    -------
    options : dict
        With `scan_shape` as ``nav_shape``, unless that is "auto".
    shape : tuple of int or None
        What the caller wants, in array order; -1 stands for any size.
    """
    merged = dict(options)
    if scan_shape is not None:
        if navigation_shape is not None or merged.get("nav_shape") is not None:
            raise TypeError(
                "pass either navigation_shape (HyperSpy order: x, y) or nav_shape (array order: "
                "y, x); scan_shape is another name for nav_shape"
            )
        if not isinstance(scan_shape, str):
            merged["nav_shape"] = scan_shape
    if merged.get("nav_shape") is not None:
        return merged, sizes("nav_shape", merged["nav_shape"])
    if navigation_shape is not None:
        return merged, sizes("navigation_shape", navigation_shape)[::-1]
    return merged, None


def merged_first_frame(
    scan_start_frame: int | None, scan_shape: Any, first_frame: int | None
) -> int | None:
    """Combine `first_frame` with RosettaSciIO's name for it."""
    if scan_start_frame is None or (isinstance(scan_shape, str) and scan_shape == "auto"):
        return first_frame
    if first_frame is not None and scan_start_frame:
        raise TypeError("pass either first_frame or scan_start_frame")
    return scan_start_frame or first_frame


def merged_chunks(chunks: Any, rechunking: Any) -> Any:
    """Combine `chunks` with RosettaSciIO's name for it."""
    if rechunking is None or isinstance(rechunking, bool) or rechunking == "auto":
        return chunks
    if not (isinstance(chunks, str) and chunks == "auto"):
        raise TypeError("pass either chunks or rechunking")
    if isinstance(rechunking, Mapping):
        return {axis: -1 if size is None else size for axis, size in rechunking.items()}
    return rechunking
