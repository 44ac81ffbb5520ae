# SPDX-License-Identifier: GPL-3.0-or-later
"""Images and stacks of images as OME-Zarr (OME-NGFF), by which viewers of images know their axes.

Versions 0.4 (in Zarr of version 2) and 0.5 (version 3) of https://ngff.openmicroscopy.org, sections
"axes", "coordinateTransformations" and "multiscales". The image is an array in a group.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from rsciio_tem.errors import FormatError, warn
from rsciio_tem.writing.signal_frames import SignalFrames, converted

__all__ = ["ARRAY", "SUFFIX", "OmeImage", "is_ome"]

#: What names of such stores end with.
SUFFIX = ".ome.zarr"

#: Name of the array in the group.
ARRAY = "0"

#: Names of units in the specification, and what signals have.
_LENGTHS = {
    **{"picometer": "pm", "angstrom": "Å", "nanometer": "nm", "micrometer": "µm"},
    **{"millimeter": "mm", "centimeter": "cm", "meter": "m"},
}
_DURATIONS = {
    **{"nanosecond": "ns", "microsecond": "µs", "millisecond": "ms", "second": "s"},
    **{"minute": "min", "hour": "h"},
}
#: Of axes of another kind, for which the specification lists none.
_ANGLES = {"degree": ("deg", "°", "degree", "degrees"), "radian": ("rad", "radian")}


def is_ome(path: str) -> bool:
    """Whether a store of this name is to be an OME-Zarr image."""
    return path.lower().endswith(SUFFIX)


def _name_of(units: Any, names: Mapping[str, str]) -> str:
    return next((name for name, unit in names.items() if converted(1, units, unit) == 1), "")


def _angle(units: Any) -> str:
    return next((name for name, texts in _ANGLES.items() if units in texts), "")


class OmeImage:
    """How the axes of a signal are those of an OME-Zarr image.

    Parameters
    ----------
    frames : SignalFrames
        The signal.
    path : str
        The new store.

    Raises
    ------
    FormatError
        The specification has no such images.
    """

    def __init__(self, frames: SignalFrames, path: str) -> None:
        self.title = str(frames.find("General.title") or "") or os.path.basename(path)
        axes = (*frames.nav_axes, *frames.sig_axes)
        in_lengths = all(_name_of(axis.get("units"), _LENGTHS) for axis in frames.sig_axes)
        kinds = [_kind(axis, in_lengths) for axis in frames.nav_axes] + ["space", "space"]
        _check(kinds, axes, path)
        #: Names of the dimensions, each of which there is once.
        self.names = _unique(axes)
        self.axes: list[dict[str, str]] = []
        self.scale: list[float] = []
        self.translation: list[float] = []
        for name, kind, axis in zip(self.names, kinds, axes, strict=True):
            unit = _unit(kind, axis, name, path)
            self.axes.append({"name": name, "type": kind, **({"unit": unit} if unit else {})})
            self.scale.append(float(axis.get("scale", 1)) if unit else 1.0)
            self.translation.append(float(axis.get("offset", 0)) if unit else 0.0)

    def attributes(self, zarr_format: int) -> dict[str, Any]:
        """Return the attributes of the group."""
        steps: list[dict[str, Any]] = [{"type": "scale", "scale": self.scale}]
        if any(self.translation):
            steps.append({"type": "translation", "translation": self.translation})
        image = {
            "name": self.title,
            "axes": self.axes,
            "datasets": [{"path": ARRAY, "coordinateTransformations": steps}],
        }
        if zarr_format == 3:
            return {"ome": {"version": "0.5", "multiscales": [image]}}
        return {
            "multiscales": [{"version": "0.4", **image}],
            "_ARRAY_DIMENSIONS": self.names,
        }


def _unique(axes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return names of the axes; of two with the same, that of the frame keeps it."""
    names: list[str] = []
    for number in reversed(range(len(axes))):
        name = str(axes[number].get("name") or "") or f"axis_{number}"
        while name in names:
            name += "_"
        names.append(name)
    return names[::-1]


def _kind(axis: Mapping[str, Any], in_lengths: bool) -> str:
    """Return the type of an axis that is not one of a frame."""
    units = axis.get("units")
    if _name_of(units, _DURATIONS):
        return "time"
    if _name_of(units, _LENGTHS):
        # beside diffraction patterns it is no third direction of the image
        return "space" if in_lengths else "position"
    return "angle" if _angle(units) else "frame"


def _check(kinds: Sequence[str], axes: Sequence[Mapping[str, Any]], path: str) -> None:
    """Refuse what the section "multiscales" rules out."""
    ranks = [{"time": 0, "space": 2}.get(kind, 1) for kind in kinds]
    if (
        ranks.count(0) <= 1
        and ranks.count(1) <= 1
        and ranks.count(2) <= 3
        and ranks == sorted(ranks)
    ):
        return
    listed = ", ".join(
        f"{axis.get('name') or '?'} ({kind})" for axis, kind in zip(axes, kinds, strict=True)
    )
    raise FormatError(
        path,
        f"cannot be an OME-Zarr image of the axes {listed}: such images have up to one axis of "
        "time, then up to one of another kind, then two or three of space.",
        "A target whose name ends with .zarr, without .ome, holds any scan.",
    )


def _unit(kind: str, axis: Mapping[str, Any], name: str, path: str) -> str:
    """Return the unit of an axis, "" if the specification has none that says what it is."""
    units = axis.get("units") if isinstance(axis.get("units"), str) else ""
    step = axis.get("scale", 1)
    if "axis" in axis:
        warn(
            path,
            f"the coordinates of axis {name!r} are uneven, which OME-Zarr cannot hold: other "
            "programs only count along it.",
        )
        return ""
    unit = _name_of(units, _DURATIONS) or _name_of(units, _LENGTHS)
    if kind == "angle":
        unit = _angle(units)
    if units and not unit:
        warn(
            path,
            f"the units {units!r} of axis {name!r} are none of OME-Zarr's: other programs only "
            "count along it.",
        )
    return unit if math.isfinite(step) and step else ""
