# SPDX-License-Identifier: GPL-3.0-or-later
"""What a layout says about a data set, and how it is read out of attributes."""

from __future__ import annotations

import datetime
import math
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Problem
from rsciio_tem.parsing.hdf5_values import text
from rsciio_tem.recording import rotation
from rsciio_tem.recording.axis import Axis
from rsciio_tem.scan.scan import ScanHint


@dataclass(frozen=True)
class Meaning:
    """What a layout says about a data set.

    Parameters
    ----------
    layout : str
        Name of the layout.
    axes : tuple of Axis
        One for each axis as stored; empty if nothing is known.
    main : bool
        Whether it is the recording, not a by-product such as a virtual image.
    default : bool
        Whether the file names it as the one to show.
    spectra : bool
        Its last axis is a spectrum, so that it is not a stack of frames.
    sig_first : bool
        The axes of the frame come before those of the scan.
    hint : ScanHint, optional
        A scan shape for frames that are stored as one line, in which case `scan_axes` count.
    sig_dims : int
        How many axes those of the frame are.
    title : str
        What it is called; may be empty.
    moment : datetime.datetime, optional
        When the recording began.
    metadata, original_metadata : dict
        To be added to those of the recording; no General part.
    problems : tuple of Problem
        What is odd about it.
    omega : array-like, optional
        Angles of a rotation series, as stored.
    """

    layout: str = ""
    axes: tuple[Axis, ...] = ()
    main: bool = True
    default: bool = False
    spectra: bool = False
    sig_first: bool = False
    hint: ScanHint | None = None
    scan_axes: tuple[Axis, ...] = ()
    sig_dims: int = 2
    title: str = ""
    moment: datetime.datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    original_metadata: dict[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    omega: Any = None

    def arranged(
        self, nav_shape: tuple[int, ...], nav_axes: tuple[Axis, ...]
    ) -> tuple[tuple[ScanHint, ...], tuple[Axis, ...]]:
        """Return the scan shapes that the layout or the data set speak for, and the scan axes."""
        if len(nav_shape) > 1:
            return (
                ScanHint("header", nav_shape, 0.95, "shape of the data set", exact=True),
            ), nav_axes
        if self.hint is not None and math.prod(self.hint.shape) == math.prod(nav_shape):
            return (self.hint,), self.scan_axes
        return (), nav_axes

    def angles(
        self, nav_shape: tuple[int, ...]
    ) -> tuple[npt.NDArray[np.float64] | None, tuple[Problem, ...]]:
        """Return the table of angles of a stack of frames, None if there is none that fits."""
        if self.omega is None or len(nav_shape) != 1:
            return None, ()
        return rotation.table(self.omega, nav_shape[0])


# ---------------------------------------------------------------- attributes


def inside(tags: Any, name: str) -> dict[str, Any]:
    """Return the dictionary of a name, an empty one if there is none."""
    inner = tags.get(name) if isinstance(tags, dict) else None
    return inner if isinstance(inner, dict) else {}


def number(tags: dict[str, Any], name: str) -> float:
    """Return a finite number of the tags, 0 if there is none."""
    stored = tags.get(name)
    if isinstance(stored, complex | np.complexfloating):
        return 0.0
    try:
        value = float(stored or 0)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return value if math.isfinite(value) else 0.0


# ---------------------------------------------------------------- axes

_UNITS = {"A": "Å", "pixels": "px", "pixel": "px", "n/a": "", "none": "", "[]": ""}


def units_of(value: Any) -> str:
    """Return units as HyperSpy writes them: ``[n_m^-1]`` is 1/nm, ``A`` in EMD files is Å."""
    name = text(value).strip("[] ").replace("_", "")
    if inverse := re.fullmatch(r"([^\W\d]+)\s*(?:\^|\*\*)\(?-1\)?", name):
        return f"1/{_UNITS.get(inverse[1], inverse[1])}"
    if inverse := re.fullmatch(r"1\s*/\s*([^\W\d]+)", name):
        return f"1/{_UNITS.get(inverse[1], inverse[1])}"
    return _UNITS.get(name, name)


def is_energy(axis: Axis) -> bool:
    """Whether an axis is one of a spectrum."""
    return axis.units in ("eV", "keV") or "energy" in (axis.name or "").lower()
