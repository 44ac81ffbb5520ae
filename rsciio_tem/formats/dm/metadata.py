# SPDX-License-Identifier: GPL-3.0-or-later
"""From the tags of an image to metadata."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from rsciio_tem.errors import Problem, Unsupported
from rsciio_tem.formats.dm.image import (
    HALF_PLANES,
    OLD_HALF_PLANE,
    DataOrder,
    Image,
    _calibrations,
    _fortran,
    _plain,
    _slug,
    _transform,
    _upstream_image,
)
from rsciio_tem.formats.dm.scan import _scan_is
from rsciio_tem.frames.arrays import ArrayFrames, PixelMajor
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.recording.axis import Axis
from rsciio_tem.storage.backends import DataFile


def _described(
    image: Image, data_order: DataOrder, order: str | None, problems: list[Problem]
) -> tuple[Frames, tuple[int, ...], tuple[int, ...], tuple[int, ...], str]:
    """Describe the frames of an image.

    Returns
    -------
    frames : Frames
    shape : tuple of int
        Of the scan.
    scan_axes, signal_axes : tuple of int
        Which of the image's axes they are, slowest first.
    reason : str
        What told where the scan is.
    """
    problems += image.checked()
    file, ndim = DataFile.of(image.path), len(image.sizes)
    axes = tuple(range(ndim))[::-1]  # of an array as stored
    if image.type_code in HALF_PLANES or image.type_code == OLD_HALF_PLANE:
        return _transform(image, file, problems), (), (), axes, "two axes"
    stored, shape, start = image.stored, image.shape, image.data.offset
    if order == "F" and ndim > 1:
        if stored.names is not None:
            raise Unsupported(image.path, f"{image.name} has colours, order='F' has not.")
        frames: Frames = ArrayFrames(
            partial(_fortran, file, start, stored.str, shape),
            shape[:-2],
            shape[-2:],
            stored.newbyteorder("="),
            detector_major=True,
        )
        return frames, shape[:-2], axes[:-2], axes[-2:], "order='F'"
    where, why = _scan_is(image, data_order, problems)
    if where == "pixels":
        nav = shape[2:]
        frames = PixelMajor(file, start, stored, math.prod(nav), shape[:2])
        return frames, nav, axes[2:], axes[:2], why
    nav, pixels = shape[:-2], Pixels(shape[-2:], stored)
    rows = [(0, start, pixels.nbytes, math.prod(nav))]
    return FrameTable((file,), runs_of(rows), pixels), nav, axes[:-2], axes[-2:], why


def _axis(image: Image, index: int, name: str) -> Axis:
    """Return the calibration of one axis."""
    calibration = _calibrations(image)[index]
    scale = calibration.get("Scale", 1.0)
    origin = calibration.get("Origin", 0.0)
    units = calibration.get("Units")
    if not isinstance(scale, (int, float)) or not math.isfinite(scale) or scale == 0:
        scale = 1.0
    if not isinstance(origin, (int, float)) or not math.isfinite(origin):
        origin = 0.0
    return Axis(name, units if isinstance(units, str) else "", float(scale), -origin * scale)


def _found(tree: Any, path: str) -> Any:
    """Return what is at a dotted path of RosettaSciIO's, which writes spaces as underscores too."""
    for part in path.split("."):
        if not isinstance(tree, Mapping):
            return None
        wanted = _slug(part)
        tree = next((v for k, v in tree.items() if _slug(str(k)) == wanted), None)
    return tree


def _metadata(image: Image, tree: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Translate tags with RosettaSciIO's own table."""
    metadata: dict[str, Any] = {
        "General": {
            "title": os.path.splitext(os.path.basename(image.path))[0],
            "original_filename": os.path.basename(image.path),
        },
        "Signal": {"signal_type": ""},
    }
    try:
        described = _upstream_image(image)
        if described.title:
            metadata["General"]["title"] = described.title
        mapping = described.get_mapping()
    except Exception as error:  # tags of a kind that RosettaSciIO has never met
        message = f"{image.name}: tags cannot be translated to metadata ({error!r})."
        problems.append(Problem("info", message))
        return metadata
    for source, (target, function) in mapping.items():
        value = _found(tree, source)
        if isinstance(value, dict):
            value = type(described.imdict)(value, box_dots=True)
        if value is None:
            continue
        try:
            value = value if function is None else function(value)
        except Exception as error:
            problems.append(Problem("info", f"{image.name}: {source} says {value!r} ({error!r})."))
            continue
        if value is not None:
            node = metadata
            *groups, leaf = target.split(".")
            for name in groups:
                node = node.setdefault(name, {})
            node[leaf] = value
    return metadata


def _original(tags: Mapping[str, Any], image: Image) -> dict[str, Any]:
    """Return the tags of a file with one of its images only, as RosettaSciIO does."""
    tree = {"root": {}, **{k: v for k, v in tags.items() if k != "ImageList"}}
    tree["ImageList"] = {"TagGroup0": image.tags}
    result: dict[str, Any] = _plain(copy.deepcopy(tree))
    return result
