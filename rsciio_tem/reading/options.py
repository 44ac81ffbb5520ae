# SPDX-License-Identifier: GPL-3.0-or-later
"""The keywords that every reader takes, and what is said of others."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from typing import Any, Literal, TypedDict

import numpy as np

from rsciio_tem.frames.corrections import Repair
from rsciio_tem.scan.scan import Flyback, Missing, ScanRequest

__all__ = ["CommonOptions", "NavigatorKind", "ReadOptions", "SparseKind", "checked_navigator"]

#: What ``navigator=`` of a reader asks for: None, the image that is stored with the recording, if
#: there is one; False, none; "fast", an estimate after about a second; "full", the sum of each
#: frame.
NavigatorKind = Literal["fast", "full", False] | None


def checked_navigator(kind: Any) -> NavigatorKind:
    """Return what ``navigator=`` asks for; a ValueError says what it can be."""
    if kind is None or kind is False or (isinstance(kind, str) and kind in _KINDS):
        return kind  # type: ignore[return-value]
    raise ValueError(f'navigator={kind!r} is none of None, False, "fast", "full"')


_KINDS = ("fast", "full")


#: What ``sparse=`` of a reader asks for: dense arrays, ``sparse.COO`` with the shape of the signal,
#: or a ``scipy.sparse.csr_array`` with a row for each scan position and a column for each pixel.
SparseKind = Literal[False, True, "scipy"]


class CommonOptions(TypedDict, total=False):
    """Keywords that every reader takes; described once in ``docs/parameters.md``."""

    nav_shape: int | tuple[int, ...] | None
    sync_offset: int | None
    missing: Missing
    fill_value: float
    scan: str
    flyback: Flyback
    line_skip: int
    snake: bool
    winding_scan_axis: Literal["x", "y", 0, 1] | None
    hysteresis: int
    roi: Any
    flip_y: bool | None
    flip_x: bool
    transpose: bool
    rot90: int
    bin: int | tuple[int, int] | None
    scan_step: float | tuple[float, float] | str | None
    detector_step: float | tuple[float, float] | str | None
    camera_length: float | None
    pixel_size: float | None
    beam_energy: float | None
    centre: tuple[float, float] | None
    dark: Any
    gain: Any
    excluded_pixels: Any
    corrections: Literal["auto"] | bool | None
    repair: Repair
    allow_empty: bool
    io_backend: Any
    navigator: NavigatorKind


class ReadOptions(CommonOptions, total=False):
    """Keywords of all readers but those that need the pixel type and frame shape to be told."""

    sig_shape: tuple[int, ...] | None
    dtype: Any


#: Keywords that every reader spells out in its signature.
_EXPLICIT = ("lazy", "chunks", "mmap_mode", "navigation_shape", "first_frame", "last_frame")


#: Names other packages use for the same things.
_FOREIGN = {
    "scan_size": "nav_shape (array order: y, x)",
    "scan_shape": "nav_shape (array order: y, x)",
    "detector_size": "sig_shape",
    "force_c_order": "data_order='frames'",
    "scan_start_frame": "first_frame",
    "flip": "flip_y",
    "backend": "io_backend",
    "roi_mask": "roi",
    "incomplete": "missing",
    "enable_offset_correction": "corrections (False: values as recorded)",
}


# ---------------------------------------------------------------- options


def check_options(options: Mapping[str, Any], path: str) -> None:
    # the signature's own keywords come last: they never arrive here, but may be what was meant
    keywords = list(dict.fromkeys((*ReadOptions.__annotations__, *_EXPLICIT)))
    for name in options:
        if name in keywords:
            continue
        if name in _FOREIGN:
            hint = f"here it is called {_FOREIGN[name]}"
        elif close := difflib.get_close_matches(name, keywords, n=1):
            hint = f"did you mean {close[0]!r}?"
        else:
            hint = f"known are {', '.join(keywords)}"
        raise TypeError(f"unexpected keyword {name!r} for {os.path.basename(path)}: {hint}")
    checked_navigator(options.get("navigator"))


def scan_request(
    navigation_shape: Any,
    first_frame: int | None,
    last_frame: int | None,
    options: Mapping[str, Any],
) -> ScanRequest:
    nav_shape = options.get("nav_shape")
    if navigation_shape is not None and nav_shape is not None:
        raise TypeError(
            "pass either navigation_shape (HyperSpy order: x, y) or nav_shape (array order: y, x)"
        )
    if navigation_shape is not None and not isinstance(navigation_shape, (tuple, int, np.integer)):
        raise TypeError(
            "`navigation_shape` must be None or a tuple in HyperSpy order (x, y), "
            f"not {type(navigation_shape).__name__}"
        )

    def sizes(value: Any) -> tuple[int, ...]:
        return tuple(int(n) for n in np.atleast_1d(value).tolist())

    shape = None
    if navigation_shape is not None:
        shape = sizes(navigation_shape)[::-1]
    elif nav_shape is not None:
        shape = sizes(nav_shape)
    rule = options.get("scan") or "auto"
    if not isinstance(rule, str):
        raise TypeError(
            f"scan={rule!r} names no rule; a scan shape is navigation_shape or nav_shape"
        )
    for name, value in (("first_frame", first_frame), ("last_frame", last_frame)):
        if value is not None and not isinstance(value, (int, np.integer)):
            raise TypeError(f"{name} must be an integer or None, not {value!r}")
    axis = options.get("winding_scan_axis")
    if axis not in (None, "x", "y", 0, 1) or isinstance(axis, bool):
        raise ValueError(f"winding_scan_axis={axis!r} is neither 'x' nor 'y'")
    winding: Literal["x", "y"] | None = None if axis is None else "x" if axis in ("x", 0) else "y"
    if winding and options.get("snake"):
        raise TypeError("pass either snake or winding_scan_axis")
    return ScanRequest(
        shape=shape or None,
        hyperspy_order=navigation_shape is not None,
        first_frame=first_frame,
        last_frame=last_frame,
        sync_offset=None if (sync := options.get("sync_offset")) is None else int(sync),
        missing=options.get("missing", "auto"),
        rule=rule,
        flyback=options.get("flyback") or "auto",
        line_skip=int(options.get("line_skip") or 0),
        snake=bool(options.get("snake", False)),
        winding=winding,
        hysteresis=int(options.get("hysteresis") or 0),
    )
