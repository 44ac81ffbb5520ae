# SPDX-License-Identifier: GPL-3.0-or-later
"""Which dimensions of an image are the scan, and how long they are."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

from rsciio_tem.errors import Problems
from rsciio_tem.formats.dm.image import Image
from rsciio_tem.parsing.trees import value_at
from rsciio_tem.parsing.units import frame_axes
from rsciio_tem.recording.axis import Axis
from rsciio_tem.scan.scan import ScanHint

DataOrder = Literal["auto", "frames", "pixels"]
ScanOrder = Literal["frames", "pixels"]

_ORDERS = {"frames": "frame after frame", "pixels": "the scan of one pixel after the other"}


class Dimensions(NamedTuple):
    """What the axes of an image are, counted from the fastest; slowest first."""

    storage: Literal["frames", "pixels", "fortran", "transform"]
    scan: tuple[int, ...]
    signal: tuple[int, ...]
    reason: str


def dimensions_of(
    image: Image, data_order: DataOrder, order: str | None, problems: Problems
) -> Dimensions:
    """Say which axes of an image are the scan."""
    axes = tuple(range(len(image.sizes)))[::-1]  # of an array as stored
    if image.transform:
        return Dimensions("transform", (), axes, "two axes")
    if order == "F" and len(axes) > 1:
        return Dimensions("fortran", axes[:-2], axes[-2:], "order='F'")
    storage, reason = _scan_order(image, data_order, problems)
    if storage == "pixels":
        return Dimensions(storage, axes[2:], axes[:2], reason)
    return Dimensions(storage, axes[:-2], axes[-2:], reason)


def _scan_order(image: Image, data_order: DataOrder, problems: Problems) -> tuple[ScanOrder, str]:
    """Say whether the file holds frame after frame, or for each pixel the image of the scan."""
    if len(image.sizes) < 3:
        return "frames", "two axes"
    if data_order != "auto":
        return data_order, "data_order"
    votes = _votes(image)
    if not votes and len(image.sizes) == 3:
        return "frames", "three axes"
    if not votes:
        problems.warn(
            f"{image.name}: nothing says which of its {len(image.sizes)} axes are the scan; "
            f"{image.sizes[0]} x {image.sizes[1]} is taken for the scan and "
            f"{image.sizes[-2]} x {image.sizes[-1]} for the frame, as older versions of GMS "
            "stored it.",
            "If the images look wrong, pass data_order='frames'.",
        )
        return "pixels", "as older versions of GMS"
    believed, reason = votes[0]
    for other, contradiction in votes[1:]:
        if other != believed:
            problems.warn(
                f"{image.name}: {reason} says that the file holds {_ORDERS[believed]}, "
                f"{contradiction} that it holds {_ORDERS[other]}; the first is believed.",
                f"If the images look wrong, pass data_order={other!r}.",
            )
    return votes[0]


def _votes(image: Image) -> list[tuple[ScanOrder, str]]:
    """List what tags, units and sizes say of the order, the most credible first."""
    votes: list[tuple[ScanOrder, str]] = []
    four = len(image.sizes) > 3
    swapped = image.meta("Data Order Swapped")
    if four and isinstance(swapped, (bool, int)):
        votes.append(("frames" if swapped else "pixels", f"Data Order Swapped = {int(swapped)}"))
    units = [str(c.get("Units") or "") for c in image.calibrations]  # fastest first
    if (frame := frame_axes(units)) is not None:
        votes.append(("frames" if frame.end == "first" else "pixels", frame.reason))
    size = _size_in_tags(image)
    if four and size is not None and (image.sizes[:2] == size) != (image.sizes[2:4] == size):
        reason = f"a scan of {size[0]} x {size[1]} pixels"
        votes.append(("pixels" if image.sizes[:2] == size else "frames", reason))
    if four and image.nion:
        votes.append(("frames", "Nion Swift, which wrote the file,"))
    return votes


def _size_in_tags(image: Image) -> tuple[int, int] | None:
    """Return columns and lines of the scan as the tags of a spectrum image tell them."""
    sampling = ("ImageTags", "SI", "Acquisition", "Spatial Sampling")
    columns = value_at(image.tags, *sampling, "Width (pixels)")
    lines = value_at(image.tags, *sampling, "Height (pixels)")
    if isinstance(columns, (int, float)) and isinstance(lines, (int, float)):
        return int(columns), int(lines)
    return None


def warn_unfinished(image: Image, problems: Problems) -> None:
    """Tell if the scan was stopped before its end."""
    size = _size_in_tags(image)
    last = value_at(image.tags, "ImageTags", "SI", "Acquisition", "Last pixel")
    if size is None or not isinstance(last, (int, float)) or len(image.sizes) < 3:
        return
    if 0 <= last < math.prod(size):
        problems.warn(
            f"{image.name}: the scan was stopped after {int(last)} of {math.prod(size)} positions; "
            "those behind hold what GMS had filled them with."
        )


# ---------------------------------------------------------------- size and axes


class Arrangement(NamedTuple):
    """How the frames of an image are arranged, and the names of their own axes."""

    hints: tuple[ScanHint, ...] = ()
    scan_axes: tuple[Axis, ...] = (Axis("y"), Axis("x"))
    stack_axis: Axis | None = None
    signal_names: tuple[str, str] = ("y", "x")


def arranged(image: Image, dimensions: Dimensions) -> Arrangement:
    """Arrange the frames of an image: a scan of all its other axes, or a stack."""
    axes = dimensions.scan
    if not axes:
        return Arrangement()
    if len(axes) == 1:
        stack = Arrangement(stack_axis=image.axis(axes[0], "z"))
        size = _stacked_scan(image.tags.get("ImageTags"))
        if size is None:
            return stack
        hint = ScanHint("header", size, 0.95, "4D STEM Tags, Scan shape Y and X")
        return stack._replace(hints=(hint,), signal_names=("ky", "kx"))
    # axes of one position are left out, as RosettaSciIO does
    axes = tuple(axis for axis in axes if image.sizes[axis] > 1)
    if not axes:
        return Arrangement(signal_names=("ky", "kx"))
    reason = f"sizes {image.sizes}, scan axes by {dimensions.reason}"
    names = (*("",) * len(axes), "y", "x")[-len(axes) :]
    return Arrangement(
        (ScanHint("header", image.lengths(axes), 0.95, reason, exact=True),),
        tuple(image.axis(axis, name) for axis, name in zip(axes, names, strict=True)),
        signal_names=("ky", "kx"),
    )


def _stacked_scan(tree: Any, depth: int = 0) -> tuple[int, int] | None:
    """Return lines and columns of a scan stored as a stack, wherever its tags are.

    Binning in GMS moves them from the image's own tags below ``Parent``.
    """
    if not isinstance(tree, dict) or depth > 8:
        return None
    lines, columns = (value_at(tree, "4D STEM Tags", f"Scan shape {axis}") for axis in "YX")
    if isinstance(lines, (int, float)) and isinstance(columns, (int, float)):
        return (int(lines), int(columns)) if lines >= 1 and columns >= 1 else None
    inner = [tree.get("Parent"), *(v for k, v in tree.items() if k != "Parent")]
    return next((size for v in inner if (size := _stacked_scan(v, depth + 1))), None)
