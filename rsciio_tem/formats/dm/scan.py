# SPDX-License-Identifier: GPL-3.0-or-later
"""Which dimensions of an image are the scan."""

from __future__ import annotations

from typing import Any, Literal

from rsciio_tem.errors import Problem
from rsciio_tem.formats.dm.image import _RECIPROCAL, DataOrder, Image, _calibrations
from rsciio_tem.parsing.dm_tags import group

# ---------------------------------------------------------------- where the scan is


def _scan_is(
    image: Image, data_order: DataOrder, problems: list[Problem]
) -> tuple[Literal["frames", "pixels"], str]:
    """Say whether the file holds frame after frame, or for each pixel the image of the scan."""
    ndim = len(image.sizes)
    if ndim < 3:
        return "frames", "two axes"
    if data_order != "auto":
        return data_order, "data_order"
    votes: list[tuple[Literal["frames", "pixels"], str]] = []
    swapped = image.meta("Data Order Swapped")
    if ndim > 3 and isinstance(swapped, (bool, int)):
        votes.append(("frames" if swapped else "pixels", f"Data Order Swapped = {int(swapped)}"))
    units = [str(c.get("Units") or "") for c in _calibrations(image)]
    first = all(_RECIPROCAL.fullmatch(u.strip()) for u in units[:2])
    last = all(_RECIPROCAL.fullmatch(u.strip()) for u in units[-2:])
    if first != last:
        votes.append(("frames" if first else "pixels", f"units {units[0 if first else -1]!r}"))
    size = _scan_size(image)
    if ndim > 3 and size is not None and (image.sizes[:2] == size) != (image.sizes[2:4] == size):
        reason = f"a scan of {size[0]} x {size[1]} pixels"
        votes.append(("pixels" if image.sizes[:2] == size else "frames", reason))
    if not votes:
        if ndim == 3:
            return "frames", "three axes"
        problems.append(
            Problem(
                "warning",
                f"{image.name}: nothing tells which of its {ndim} axes are the scan; "
                f"{image.sizes[0]} x {image.sizes[1]} is taken for the scan and "
                f"{image.sizes[-2]} x {image.sizes[-1]} for the frame, as older versions of GMS "
                "stored it.",
                "If the images look wrong, pass data_order='frames'.",
            )
        )
        return "pixels", "as older versions of GMS"
    chosen, why = votes[0]
    for other, reason in votes[1:]:
        if other != chosen:
            problems.append(
                Problem(
                    "warning",
                    f"{image.name}: {why} says that the file holds {_ORDERS[chosen]}, {reason} "
                    f"that it holds {_ORDERS[other]}; the first is believed.",
                    f"If the images look wrong, pass data_order={other!r}.",
                )
            )
    return chosen, why


_ORDERS = {"frames": "frame after frame", "pixels": "the scan of one pixel after the other"}


def _scan_size(image: Image) -> tuple[int, int] | None:
    """Return columns and lines of the scan as the tags of a spectrum image tell them."""
    sampling = ("ImageTags", "SI", "Acquisition", "Spatial Sampling")
    columns = group(image.tags, *sampling, "Width (pixels)")
    lines = group(image.tags, *sampling, "Height (pixels)")
    if isinstance(columns, (int, float)) and isinstance(lines, (int, float)):
        return int(columns), int(lines)
    return None


def _scan_tags(tree: Any, depth: int = 0) -> tuple[int, int] | None:
    """Return lines and columns of a scan stored as a stack, wherever its tags are.

    Binning in GMS moves them from the image's own tags below ``Parent``.
    """
    if not isinstance(tree, dict) or depth > 8:
        return None
    own = tree.get("4D STEM Tags")
    lines, columns = group(own, "Scan shape Y"), group(own, "Scan shape X")
    if isinstance(lines, (int, float)) and isinstance(columns, (int, float)):
        return (int(lines), int(columns)) if lines >= 1 and columns >= 1 else None
    inner = [tree.get("Parent"), *(v for k, v in tree.items() if k != "Parent")]
    return next((found for v in inner if (found := _scan_tags(v, depth + 1))), None)


def _unfinished(image: Image) -> list[Problem]:
    """Tell if the scan was stopped before its end."""
    size = _scan_size(image)
    last = group(image.tags, "ImageTags", "SI", "Acquisition", "Last pixel")
    if size is None or not isinstance(last, (int, float)) or len(image.sizes) < 3:
        return []
    count = size[0] * size[1]
    if not 0 <= last < count:
        return []
    return [
        Problem(
            "warning",
            f"{image.name}: the scan was stopped after {int(last)} of {count} positions; those "
            "behind hold what GMS had filled them with.",
        )
    ]
