# SPDX-License-Identifier: GPL-3.0-or-later
"""What Nion Swift keeps beside an array: JSON with calibrations, and which axes are what.

Source: files that Nion Swift 16 wrote. Its library and exports (HDF5, .ndata1, .npy with .json
beside it) share these names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from rsciio_tem.parsing.text import to_number
from rsciio_tem.recording.axis import Axis

__all__ = ["Properties", "properties"]

#: Names of the calibrations, slowest axis first: those of the library, those of exports.
_CALIBRATIONS = ("dimensional_calibrations", "spatial_calibrations")


class Properties(NamedTuple):
    """What is said of an array.

    Parameters
    ----------
    axes : tuple of Axis
        One for each axis, slowest first.
    sig_dims : int
        How many of them, from the fast end, are those of a frame or spectrum.
    title : str
        What it is called; may be empty.
    tree : dict
        All of it.
    """

    axes: tuple[Axis, ...]
    sig_dims: int
    title: str
    tree: Mapping[str, Any]


def properties(content: Any, ndim: int) -> Properties | None:
    """Return what JSON says of an array of so many axes, None if it is not Nion Swift's."""
    try:
        tree = json.loads(content)
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(tree, dict) or not any(name in tree for name in _CALIBRATIONS):
        return None
    described = next(tree[name] for name in _CALIBRATIONS if name in tree)
    described = described if isinstance(described, list) and len(described) == ndim else []
    sequence, scan, frame = (
        tree.get(name)
        for name in ("is_sequence", "collection_dimension_count", "datum_dimension_count")
    )
    fits = isinstance(scan, int) and isinstance(frame, int) and bool(sequence) + scan + frame
    return Properties(
        tuple(map(_axis, described)) or (Axis(),) * ndim,
        frame if fits == ndim and isinstance(frame, int) and frame > 0 else min(2, ndim),
        str(tree.get("title") or ""),
        tree,
    )


def _axis(described: Any) -> Axis:
    if not isinstance(described, dict):
        return Axis()
    scale, offset = (to_number(described.get(name)) for name in ("scale", "offset"))
    return Axis("", str(described.get("units") or ""), scale or 0.0, offset or 0.0)
