# SPDX-License-Identifier: GPL-3.0-or-later
"""The scan: the file of the program that scanned, and the detector's triggers."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Problems
from rsciio_tem.formats.dectris.links import MASTER
from rsciio_tem.formats.dectris.metadata import number
from rsciio_tem.parsing.hdf5 import opened
from rsciio_tem.parsing.hdf5_frames import frames_of
from rsciio_tem.parsing.hdf5_links import member, walk
from rsciio_tem.parsing.hdf5_values import attributes
from rsciio_tem.recording.recording import StoredImage
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage.files import first_found, is_file


def scan_file(master: str) -> tuple[str, dict[str, Any]]:
    """Return the file of the scanning program, and what it says; nothing if there is none."""

    def named(place: str) -> str:
        match = MASTER.fullmatch(place)
        path = f"{match[1]}{match[2]}" if match else ""
        return path if is_file(path) else ""

    path = first_found(master, named)
    if not path:
        return "", {}
    with opened(path) as file:
        tags = attributes(member(file, "STEM Metadata"))
    return (path, tags) if tags else ("", {})


def shape_of(scan: dict[str, Any]) -> tuple[int, int]:
    """Return the lines, and the positions in each, that the scanning program tells; 0 if none."""
    return int(number(scan, "NumPixelsY")), int(number(scan, "NumPixelsX"))


def scan_hints(
    scan: dict[str, Any], special: dict[str, Any], count: int, problems: Problems
) -> tuple[ScanHint, ...]:
    """Return the scan shapes that the side file and the triggers speak for."""
    hints = []
    y, x = shape_of(scan)
    extra = int(number(scan, "NumPixelsPrescan"))
    reason = f"NumPixelsX = {x} and NumPixelsY = {y} in STEM Metadata"
    if x > 0 and y > 0 and extra > 0 and count == y * (x + extra):
        problems.warn(
            f"{count} frames are {y} lines of {x} + {extra} (NumPixelsPrescan); the first "
            f"{extra} of each line are taken to be recorded before the scan, and left out. "
            "No recording with such frames was available to check that.",
            'flyback="keep" keeps them.',
        )
        reason += f", and NumPixelsPrescan = {extra}"
        hints.append(ScanHint("header", (y, x), 0.9, reason, line=x + extra, column=extra))
    elif x > 0 and y > 0:
        hints.append(ScanHint("header", (y, x), 0.95, reason))
    images, triggers = int(number(special, "nimages")), int(number(special, "ntrigger"))
    if images > 1 and triggers > 1 and images * triggers >= count:  # fewer if it was stopped
        reason = f"{triggers} triggers (ntrigger) of {images} frames (nimages)"
        hints.append(ScanHint("trigger", (triggers, images), 0.8, reason))
    return tuple(hints)


def scan_image(path: str, shape: tuple[int, int]) -> tuple[StoredImage, ...]:
    """Return the image of the scan that the scanning program stored, HAADF if there is one."""
    if not path:
        return ()
    with opened(path) as file:
        names = [
            name
            for name, dataset in walk(file).datasets
            if dataset.shape == shape and dataset.dtype.kind in "uif"
        ]
    names.sort(key=lambda name: "haadf" not in name.lower())
    return tuple(
        StoredImage(name.partition("/")[0], shape, partial(_pixels, path, name))
        for name in names[:1]
    )


def _pixels(path: str, name: str) -> npt.NDArray[Any]:
    frames = frames_of(path, name)
    image: npt.NDArray[Any] = np.empty((1, *frames.frame_shape), frames.dtype.newbyteorder("="))
    frames.load(image)
    pixels: npt.NDArray[Any] = image[0]
    return pixels
