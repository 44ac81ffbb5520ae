# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of the scan that are stored beside a movie, or named by the caller."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

from rsciio_tem.errors import FormatError, warn
from rsciio_tem.reading import navigator
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage import files

Images = Sequence[str | os.PathLike[str]]
NamedImages = tuple[tuple[str, str], ...]


def named_images(images: Images | None, name: str, beside: NamedImages) -> NamedImages:
    """Return names and paths of images: of those of the caller, else of those beside the movie."""
    if images is None:
        return beside
    return tuple((f"{name}_{i}", files.existing(path)) for i, path in enumerate(images))


def keep_images(
    signal: dict[str, Any],
    recording: Recording,
    virtual: NamedImages,
    external: NamedImages,
    navigator_kind: Any,
    parse: Callable[..., Recording],
) -> None:
    """Keep images of the scan with a signal; the first virtual one becomes its navigator."""
    if not virtual and not external:
        return
    counts = signal["original_metadata"]["rsciio_tem"]["frames"]
    nav_shape = tuple(axis["size"] for axis in signal["axes"] if axis["navigate"])
    images = {}
    for name, path in (*virtual, *external):
        try:
            image = parse(path, metadata_file=None)
            size = image.count * math.prod(image.frames.frame_shape)
            if image.count != 1 and size != math.prod(nav_shape):
                raise FormatError(path, f"holds {image.count} images.")
            (images[f"_sig_{name}"],) = read(image)
        except FormatError as error:
            warn(recording.path, f"an image of the scan is left out: {error}")
            continue
        _arrange(images[f"_sig_{name}"], path, recording, nav_shape)
        title = os.path.splitext(os.path.basename(path))[0]
        images[f"_sig_{name}"]["metadata"]["General"]["title"] = title
    tree = {**signal["metadata"].get("_HyperSpy", {}), "navigators": images}
    signal["metadata"] = {**signal["metadata"], "_HyperSpy": tree}
    first = next((images[f"_sig_{name}"] for name, _ in virtual if f"_sig_{name}" in images), None)
    shifted = counts["first"] or counts["skipped_start"] or counts["inserted_start"]
    if navigator_kind is not None or first is None or shifted:
        return
    if first["data"].shape == nav_shape:
        navigator.keep_stored(signal, first, navigator_kind)


def _arrange(
    image: dict[str, Any], path: str, recording: Recording, nav_shape: tuple[int, ...]
) -> None:
    """Give an image with as many pixels as the scan has positions its shape and axes."""
    values = image["data"]
    if values.size != math.prod(nav_shape):
        warn(
            recording.path,
            f"{os.path.basename(path)} has {values.shape} pixels, the scan {nav_shape} positions.",
        )
    elif nav_shape:
        image["data"] = values.reshape(nav_shape)
    if image["data"].shape == nav_shape:
        axes = recording.scan_axes[-len(nav_shape) :] if nav_shape else ()
        axes = (*(Axis(),) * (len(nav_shape) - len(axes)), *axes)
        image["axes"] = [
            axis.to_dict(i, n, False)
            for i, (axis, n) in enumerate(zip(axes, nav_shape, strict=True))
        ]
