# SPDX-License-Identifier: GPL-3.0-or-later
"""What the first image of a TIFF stack says of all of them: a text of ImageJ, or JSON.

Both hold an entry of ours, in JSON: shape of the scan and axes as they are, because ImageJ has no
place for the step of a second scan axis, nor for names.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rsciio_tem.recording.axis import Axis
from rsciio_tem.writing.signal_frames import converted

__all__ = ["MARK", "Stack", "imagej", "plain", "stack_of"]

#: The entry of ours; `rsciio_tem.parsing.tiff` looks for it, too.
MARK = "rsciio_tem"

#: Bytes that an ImageJ text ends with, for the range of the values, which is known last.
ROOM = 64


@dataclass(frozen=True)
class Stack:
    """What a description says.

    Parameters
    ----------
    shape : tuple of int
        Of the scan.
    axes : tuple of Axis
        Of scan and frames; empty if it does not say.
    """

    shape: tuple[int, ...]
    axes: tuple[Axis, ...] = ()


def _entry(nav_shape: Sequence[int], axes: Sequence[Mapping[str, Any]]) -> str:
    """Return the entry of ours."""
    described = [
        {
            "name": str(axis.get("name") or ""),
            "units": axis["units"] if isinstance(axis.get("units"), str) else "",
            "scale": float(axis.get("scale", 1.0)),
            "offset": float(axis.get("offset", 0.0)),
        }
        for axis in axes
    ]
    images = math.prod(nav_shape)
    return json.dumps({"images": images, "nav_shape": [*nav_shape], "axes": described})


def plain(
    nav_shape: Sequence[int], frame_shape: Sequence[int], axes: Sequence[Mapping[str, Any]]
) -> bytes:
    """Describe a plain stack as tifffile does: by the shape of all of it."""
    shape = json.dumps([*nav_shape, *frame_shape])
    return f'{{"shape": {shape}, "{MARK}": {_entry(nav_shape, axes)}}}'.encode()


def imagej(nav_shape: Sequence[int], axes: Sequence[Mapping[str, Any]]) -> bytes:
    """Describe a hyperstack as ImageJ does: the scan is its frames, slices and channels."""
    if len(nav_shape) == 1:
        names: tuple[str, ...] = ("slices",)
    else:
        names = ("frames", "slices", "channels")[: len(nav_shape)]
    sizes = dict(zip(names, nav_shape, strict=True))
    steps = dict(zip((*names, "y", "x"), axes, strict=True))
    lines = ["ImageJ=1.53t", f"{MARK}={_entry(nav_shape, axes)}", f"images={math.prod(nav_shape)}"]
    lines += [f"{name}={sizes[name]}" for name in ("channels", "slices", "frames") if name in sizes]
    if len(nav_shape) > 1:
        lines.append("hyperstack=true")
    lines += ["mode=grayscale", "loop=false"]
    if unit := _unit(steps["x"]):
        lines.append(f"unit={unit}")
    if _unit(steps["y"]) != unit:
        lines.append(f"yunit={_unit(steps['y']) or 'pixel'}")
    for letter, name in (("x", "x"), ("y", "y"), ("z", "slices")):
        axis = steps.get(name)
        if axis is None or not _measures(axis):
            continue
        scale, offset = float(axis.get("scale", 1.0)), float(axis.get("offset", 0.0))
        if letter == "z":
            lines.append(f"spacing={scale!r}")
            if _unit(axis) != unit:
                lines.append(f"zunit={_unit(axis) or 'pixel'}")
        if offset:
            lines.append(f"{letter}origin={-offset / scale!r}")
    if (slow := steps.get("frames")) is not None:
        seconds = converted(float(slow.get("scale", 1.0)), slow.get("units"), "s")
        if seconds is not None:
            lines.append(f"finterval={seconds!r}")
    return "\n".join([*lines, ""]).encode("ascii") + b"\n" * ROOM


def _measures(axis: Mapping[str, Any]) -> bool:
    """Whether ImageJ can hold the step of an axis."""
    return math.isfinite(float(axis.get("scale", 1.0))) and float(axis.get("scale", 1.0)) > 0


def _unit(axis: Mapping[str, Any]) -> str:
    """Return a unit as Java writes it to a file of properties; "" if there is none."""
    units = axis.get("units")
    if not isinstance(units, str) or units == "<undefined>":
        return ""
    pieces = []
    for character in " ".join(units.split()):
        if " " <= character <= "~" and character != "\\":
            pieces.append(character)
        else:
            codes = character.encode("utf-16-be", "replace").hex().upper()
            pieces += [f"\\u{codes[i : i + 4]}" for i in range(0, len(codes), 4)]
    return "".join(pieces)


# ---------------------------------------------------------------- reading


def stack_of(description: str, count: int) -> Stack | None:
    """Return what a description says of so many images; None if it does not fit them."""
    if (stack := _ours(description)) is None and description.startswith("ImageJ="):
        texts = dict(re.findall(r"^(frames|slices|channels)=(\d{1,12})\s*$", description, re.M))
        sizes = [int(texts.get(name, 1)) for name in ("frames", "slices", "channels")]
        stack = Stack(tuple(size for size in sizes if size != 1))
    return stack if stack is not None and math.prod(stack.shape) == count else None


def _ours(description: str) -> Stack | None:
    """Return what the entry of ours says; None if there is none that makes sense."""
    try:
        if description.startswith("{"):
            entry = json.loads(description)[MARK]
        elif match := re.search(rf"^{MARK}=(\{{.*\}})\s*$", description, re.MULTILINE):
            entry = json.loads(match[1])
        else:
            return None
        shape = tuple(int(size) for size in entry["nav_shape"])
        axes = tuple(
            Axis(str(a["name"]), str(a["units"]), float(a["scale"]), float(a["offset"]))
            for a in entry["axes"]
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return Stack(shape, axes) if min(shape, default=1) > 0 and len(axes) == len(shape) + 2 else None
