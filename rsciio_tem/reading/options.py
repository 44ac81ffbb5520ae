# SPDX-License-Identifier: GPL-3.0-or-later
"""The keywords that every reader takes, and what is said of others."""

from __future__ import annotations

import difflib
import operator
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypedDict

import numpy as np

from rsciio_tem.frames.corrections import Repair
from rsciio_tem.scan.scan import Flyback, Missing, ScanRequest

__all__ = [
    "CommonOptions",
    "NavigatorKind",
    "ReadOptions",
    "SparseKind",
    "checked_navigator",
    "pixel_type",
    "sizes",
    "spans",
    "whole",
]

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
    inav: slice | tuple[slice, ...] | str | None
    isig: slice | tuple[slice, ...] | str | None
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
    storage_options: Mapping[str, Any] | None
    navigator: NavigatorKind


class ReadOptions(CommonOptions, total=False):
    """Keywords of all readers but those that need the pixel type and frame shape to be told."""

    sig_shape: tuple[int, ...] | None
    dtype: Any


#: Keywords that every reader spells out in its signature.
_EXPLICIT = ("lazy", "chunks", "mmap_mode", "navigation_shape", "first_frame", "last_frame")


#: The signature's own keywords come last: they never arrive here, but may be what was meant.
_KEYWORDS = tuple(dict.fromkeys((*ReadOptions.__annotations__, *_EXPLICIT)))


#: Names other packages use for the same things.
_FOREIGN = {
    "scan_size": "nav_shape (array order: y, x)",
    "scan_shape": "nav_shape (array order: y, x)",
    "detector_size": "sig_shape",
    "force_c_order": "data_order='frames'",
    "scan_start_frame": "first_frame",
    "flip": "flip_y",
    "shape": "nav_shape (array order: y, x)",
    "center": "centre",
    "voltage": "beam_energy (in keV)",
    "high_voltage": "beam_energy (in keV)",
    "acceleration_voltage": "beam_energy (in keV)",
    "file_format": "format",
    "binning": "bin",
    "crop": "isig (of frames) or inav (of the scan)",
    "backend": "io_backend",
    "roi_mask": "roi",
    "incomplete": "missing",
    "enable_offset_correction": "corrections (False: values as recorded)",
}


# ---------------------------------------------------------------- numbers


def whole(name: str, value: Any) -> int:
    """Return a whole number that a keyword was given; a TypeError says what it is instead.

    A float without a fraction, as divisions give it, is a whole number, too.
    """
    number = value.item() if isinstance(value, (np.generic, np.ndarray)) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or number != number // 1:
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    return int(number)


#: Of a scan, or of frames; numpy has room for 64 together.
_MOST_AXES = 16


def sizes(name: str, value: Any) -> tuple[int, ...]:
    """Return sizes that a keyword was given: a whole number, or a sequence of them."""
    if isinstance(value, (tuple, list, np.ndarray)) and np.ndim(value):
        if len(value) > _MOST_AXES:
            raise ValueError(f"{name} has {len(value)} sizes, more than {_MOST_AXES}")
        return tuple(whole(name, one) for one in value)
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{name} is whole numbers such as (48, 40), not {value!r}")
    return (whole(name, value),)


_SPAN = re.compile(r"\s*([+-]?\d+)?\s*:\s*([+-]?\d+)?\s*")


def spans(name: str, value: Any, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the part of axes that a keyword was given, in the order of HyperSpy.

    Parameters
    ----------
    name : str
        Of the keyword.
    value : slice, tuple of slice, or str
        The fastest axis first; axes that are not named stay whole. A text has colons:
        ``"16:240, :100"``.
    shape : tuple of int
        Sizes of the axes, the fastest last.

    Returns
    -------
    tuple of slice
        A start and a stop for each axis, the fastest last.
    """
    if isinstance(value, str):
        matches = [_SPAN.fullmatch(part) for part in value.split(",")]
        if not all(matches):
            raise ValueError(
                f"{name}={value!r} is not from:to for each axis, such as '16:240,:100'"
            )
        asked = [
            slice(*(None if bound is None else int(bound) for bound in match.groups()))
            for match in matches
            if match is not None
        ]
    else:
        asked = [*value] if isinstance(value, (tuple, list)) else [value]
    if len(asked) > len(shape):
        raise ValueError(f"{name}={value!r} is for {len(asked)} axes; there are {len(shape)}")
    result = [slice(0, size) for size in shape]
    for i, part in enumerate(asked):
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise TypeError(
                f"{name}={value!r} is not a slice without a step for each axis, such as "
                "slice(16, 240), or as a text '16:240'"
            )
        for bound in (part.start, part.stop):
            try:
                operator.index(0 if bound is None else bound)
            except TypeError:
                raise TypeError(
                    f"{name} counts pixels or positions in whole numbers, not {bound!r}"
                ) from None
        axis = len(shape) - 1 - i
        start, stop, _ = part.indices(shape[axis])
        if start >= stop:
            raise ValueError(
                f"{name}={value!r} leaves nothing of the {shape[axis]} along axis {i} (x is 0)"
            )
        result[axis] = slice(start, stop)
    return tuple(result)


def pixel_type(value: Any) -> np.dtype[Any]:
    """Return the type that ``dtype=`` names; a TypeError says that there is none such."""
    try:
        result: np.dtype[Any] = np.dtype(value)
    except (TypeError, ValueError, SyntaxError):
        message = f"dtype={value!r} is not a type of numbers such as 'uint16' or '>u2'"
        raise TypeError(message) from None
    return result


# ---------------------------------------------------------------- options


class UnknownKeyword(TypeError):
    """A keyword that no reader has, or not this one.

    Parameters
    ----------
    name : str
        The keyword.
    path : str
        Of the recording.
    formats_keywords : iterable of str
        Keywords of the reader besides those of all readers.
    """

    def __init__(self, name: str, path: str, formats_keywords: Iterable[str] = ()) -> None:
        keywords = list(dict.fromkeys((*formats_keywords, *_KEYWORDS)))
        if name in _FOREIGN:
            hint = f"here it is called {_FOREIGN[name]}"
        elif close := difflib.get_close_matches(name, keywords, n=1):
            hint = f"did you mean {close[0]!r}?"
        else:
            hint = f"the keywords are {', '.join(keywords)}"
        super().__init__(f"unexpected keyword {name!r} for {os.path.basename(path)}: {hint}")
        self.name, self.path = name, path


def check_options(options: Mapping[str, Any], path: str) -> None:
    for name in options:
        if name not in _KEYWORDS:
            raise UnknownKeyword(name, path)
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
    shape = None
    if navigation_shape is not None:
        shape = sizes("navigation_shape", navigation_shape)[::-1]
    elif nav_shape is not None:
        shape = sizes("nav_shape", nav_shape)
    rule = options.get("scan") or "auto"
    if rule == "rosettasciio" and isinstance(navigation_shape, list):
        raise TypeError("`navigation_shape` must be None or a tuple in HyperSpy order (x, y)")
    if not isinstance(rule, str):
        raise TypeError(
            f"scan={rule!r} names no rule; a scan shape is navigation_shape or nav_shape"
        )
    first, last = (
        None if value is None else whole(name, value)
        for name, value in (("first_frame", first_frame), ("last_frame", last_frame))
    )
    counts = {
        name: whole(name, options[name])
        for name in ("sync_offset", "line_skip", "hysteresis")
        if options.get(name) is not None
    }
    axis = options.get("winding_scan_axis")
    if axis not in (None, "x", "y", 0, 1) or isinstance(axis, bool):
        raise ValueError(f"winding_scan_axis={axis!r} is neither 'x' nor 'y'")
    winding: Literal["x", "y"] | None = None if axis is None else "x" if axis in ("x", 0) else "y"
    if winding and options.get("snake"):
        raise TypeError("pass either snake or winding_scan_axis")
    return ScanRequest(
        shape=shape or None,
        hyperspy_order=navigation_shape is not None,
        first_frame=first,
        last_frame=last,
        sync_offset=counts.get("sync_offset"),
        missing=options.get("missing", "auto"),
        rule=rule,
        flyback=options.get("flyback") or "auto",
        line_skip=counts.get("line_skip", 0),
        snake=bool(options.get("snake", False)),
        winding=winding,
        hysteresis=counts.get("hysteresis", 0),
    )
