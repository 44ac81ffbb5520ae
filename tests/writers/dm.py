# SPDX-License-Identifier: GPL-3.0-or-later
"""Write DigitalMicrograph files: a thumbnail and images with their sizes, calibrations and tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from writers.k2is import dm_file

#: Type of a pixel: number in the file.
TYPES = {
    **{"i2": 1, "f4": 2, "c8": 3, "u1": 6, "i4": 7, "i1": 9, "u2": 10, "u4": 11},
    **{"f8": 12, "c16": 13, "b1": 14, "i8": 39, "u8": 40},
}
RGBA = np.dtype([(name, "u1") for name in "RGBA"])
DIFFRACTION = ("1/nm", "1/nm", "nm", "nm")
SCAN_FIRST = ("nm", "nm", "1/nm", "1/nm")


def swapped(value: bool | int) -> dict[str, Any]:
    """Return the tags that say how newer versions of GMS store a scan."""
    return {"Meta Data": {"Data Order Swapped": value, "Format": "Diffraction image"}}


def spectrum_image(columns: int, lines: int, last: int | None = None) -> dict[str, Any]:
    """Return the tags with the size of a scan."""
    size = {"Width (pixels)": columns, "Height (pixels)": lines}
    acquisition = {
        "Spatial Sampling": size,
        "Last pixel": columns * lines if last is None else last,
    }
    return {"SI": {"Acquisition": acquisition}}


def pixel_array(data: NDArray[Any]) -> NDArray[Any]:
    """Return pixels as the flat array that the tags hold."""
    flat = np.ascontiguousarray(data).reshape(-1)
    if flat.dtype == RGBA:
        blue_first = np.stack([flat[name] for name in "BGRA"], axis=1)
        return blue_first.copy().view("<i4")[:, 0]
    if flat.dtype.kind == "c":
        part = f"f{flat.dtype.itemsize // 2}"
        return flat.view([("re", part), ("im", part)])
    return flat.view("i1") if flat.dtype.kind == "b" else flat


def image(
    data: NDArray[Any],
    *,
    name: str = "recording",
    units: Sequence[str] = (),
    scales: Sequence[float] = (),
    origins: Sequence[float] = (),
    tags: Mapping[str, Any] | None = None,
    data_type: int | None = None,
    sizes: Sequence[int] | None = None,
    calibrated: int | None = None,
) -> dict[str, Any]:
    """Return the tags of an image.

    Parameters
    ----------
    data : ndarray
        As stored: its last axis is the fastest one.
    units, scales, origins : sequence
        One per axis, fastest first.
    tags : dict
        The image's own.
    data_type, sizes : int, sequence of int
        Other than those of `data`.
    calibrated : int
        Number of axes that have a calibration.
    """
    ndim = data.ndim
    steps = [
        {
            "Origin": float((*origins, *[0.0] * ndim)[i]),
            "Scale": float((*scales, *[1.0] * ndim)[i]),
            "Units": (*units, *[""] * ndim)[i],
        }
        for i in range(ndim if calibrated is None else calibrated)
    ]
    code = 23 if data.dtype == RGBA else TYPES.get(data.dtype.str[1:], 0)
    return {
        "ImageData": {
            "Calibrations": {
                "Brightness": {"Origin": 0.0, "Scale": 1.0, "Units": ""},
                "Dimension": dict(enumerate(steps)),
                "DisplayCalibratedUnits": True,
            },
            # halves of Fourier transforms are arrays of real numbers
            "Data": pixel_array(
                data.view(f"f{data.itemsize // 2}") if data_type in (27, 28) else data
            ),
            "DataType": code if data_type is None else data_type,
            "Dimensions": dict(enumerate(data.shape[::-1] if sizes is None else sizes)),
            "PixelDepth": data.dtype.itemsize,
        },
        "ImageTags": dict(tags or {}),
        "Name": name,
        "UniqueID": {0: 1, 1: 2},
    }


def thumbnail() -> dict[str, Any]:
    """Return the tags of a small picture of another image."""
    return image(np.zeros((6, 8), RGBA), name="Image Of recording")


def write_dm(
    path: Path,
    images: Sequence[dict[str, Any]],
    *,
    version: int = 4,
    little: bool = True,
    with_thumbnail: bool = True,
    padding: int = 0,
) -> Path:
    """Write a file; `padding` bytes of text come before the images."""
    listed = [thumbnail(), *images] if with_thumbnail else list(images)
    tree: dict[str, Any] = {
        "ApplicationBounds": (0, 0, 1000, 2000),
        "DocumentTags": {"Note": "x" * padding, "Table": np.arange(300, dtype="u2")},
        "ImageList": dict(enumerate(listed)),
        "InImageMode": True,
    }
    if with_thumbnail:
        tree["Thumbnails"] = {0: {"ImageIndex": 0, "SourceSize_Pixels": (512, 512)}}
    path.write_bytes(dm_file(tree, version, little))
    return path


def write_nion(
    path: Path, data: NDArray[Any], units: Sequence[str] = (), *, with_type: bool = True
) -> Path:
    """Write a file as Nion Swift does: no thumbnail, no name, frame after frame."""
    described = image(data, units=units)
    del described["Name"], described["UniqueID"]
    if not with_type:  # as it does with long integers
        del described["ImageData"]["DataType"]
    tree = {
        "DataBar": {"Acquisition Date": "11/29/26", "Acquisition Time": "23:00:00"},
        "DocumentObjectList": {0: {"AnnotationType": 20, "ImageSource": 0}},
        "Image Behavior": {"ViewDisplayID": 8},
        "ImageList": {
            0: {**described, "ImageTags": {"Timestamp": "2026-11-29T23:00:00.000000"}},
        },
        "ImageSourceList": {0: {"ClassName": "ImageSource:Simple", "Id": {0: 0}, "ImageRef": 0}},
        "InImageMode": True,
    }
    path.write_bytes(dm_file(tree, 4))
    return path
