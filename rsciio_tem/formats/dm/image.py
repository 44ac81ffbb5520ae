# SPDX-License-Identifier: GPL-3.0-or-later
"""An image of the ImageList: type, dimensions, calibrations, where its pixels are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rsciio_tem.errors import FormatError, Problems, Unsupported
from rsciio_tem.parsing import dm_tags
from rsciio_tem.parsing.dm_tags import TagArray
from rsciio_tem.parsing.trees import value_at
from rsciio_tem.recording.axis import Axis

#: ``ImageData/DataType``: the type of a pixel, without byte order.
TYPES = {
    1: "i2",
    2: "f4",
    3: "c8",
    6: "u1",
    7: "i4",
    9: "i1",
    10: "u2",
    11: "u4",
    12: "f8",
    13: "c16",
    14: "?",
    39: "i8",  # of recent GMS, from hearsay
    40: "u8",
}
#: Colours, as the bytes of one 32-bit number.
COLOURS = (8, 23)
#: Half of the Fourier transform of an image: one row is columns 0, -1, … of it.
HALF_PLANES = {27: "c8", 28: "c16"}
#: The same in the arrangement of older versions.
OLD_HALF_PLANE = 5
#: Types that no recorded file has confirmed.
HEARSAY = (39, 40)


@dataclass(frozen=True, eq=False)
class Image:
    """One image of a file.

    Parameters
    ----------
    path : str
        The file.
    index : int
        Its number in the list of images, thumbnails included.
    tags : dict
        Its part of the tree.
    sizes : tuple of int
        Fastest axis first, as in the file.
    type_code : int
        See `TYPES`; -1 if only the array of pixels says of what type they are.
    data : TagArray
        Where its pixels are.
    thumbnail : bool
        Whether it only shows another one.
    nion : bool
        Whether Nion Swift wrote it.
    """

    path: str
    index: int
    tags: dict[str, Any]
    sizes: tuple[int, ...]
    type_code: int
    data: TagArray
    thumbnail: bool = False
    nion: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes in array order."""
        return self.sizes[::-1]

    def lengths(self, axes: tuple[int, ...]) -> tuple[int, ...]:
        """Sizes of some axes, counted from the fastest."""
        return tuple(self.sizes[axis] for axis in axes)

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"image {self.index}" + (f" ({self.title})" if self.title else "")

    @property
    def spectral(self) -> bool:
        """Whether RosettaSciIO reads it: spectra, spectrum images, cathodoluminescence.

        An image of one row or column is a spectrum that was summed up in an image.
        """
        return (
            len(self.sizes) == 1
            or (len(self.sizes) == 2 and 1 in self.sizes and not self.transform)
            or self.meta("Format") in ("Spectrum", "Spectrum image")
            or self.meta("Signal") in ("EELS", "X-ray", "CL")
            or value_at(self.tags, "ImageTags", "spim") is not None
            or value_at(self.tags, "ImageTags", "Acquisition", "Monarc Spectrometer") is not None
        )

    @property
    def transform(self) -> bool:
        """Whether it is half of a Fourier transform."""
        return self.type_code in HALF_PLANES or self.type_code == OLD_HALF_PLANE

    def meta(self, name: str) -> Any:
        """Return an entry of the tags ``Meta Data``."""
        return value_at(self.tags, "ImageTags", "Meta Data", name)

    @property
    def stored(self) -> np.dtype[Any]:
        """Type of a stored pixel, byte order included."""
        kind = self.data.dtype
        while kind.names is not None:
            kind = kind[0]
        big = kind.byteorder == ">" or (kind.itemsize > 1 and kind.str[0] == ">")
        if self.type_code in COLOURS:
            # blue is the lowest byte of the number, alpha the highest
            offsets = [1, 2, 3, 0] if big else [2, 1, 0, 3]
            return np.dtype(
                {"names": list("RGBA"), "formats": ["u1"] * 4, "offsets": offsets, "itemsize": 4}
            )
        if self.type_code == -1 and kind.kind in "iuf":
            return kind
        code = {**TYPES, **HALF_PLANES, OLD_HALF_PLANE: "f4"}.get(self.type_code)
        if code is None:
            raise Unsupported(
                self.path,
                f"{self.name} has pixels of DigitalMicrograph's type {self.type_code}, which is "
                "not known.",
                "Other images of the file can be chosen with dataset_index=.",
            )
        return np.dtype(("<", ">")[big] + code)

    @property
    def calibrations(self) -> list[dict[str, Any]]:
        """One calibration per axis, fastest first; empty where there is none."""
        listed = list(_entries(value_at(self.tags, "ImageData", "Calibrations", "Dimension")))
        count = len(self.sizes)
        return (listed + [{}] * count)[:count]

    def axis(self, index: int, name: str) -> Axis:
        """Return the calibration of one axis, counted from the fastest."""
        calibration = self.calibrations[index]
        scale = calibration.get("Scale", 0.0)
        origin = calibration.get("Origin", 0.0)
        units = calibration.get("Units")
        if not isinstance(scale, (int, float)):
            scale = 0.0
        if not isinstance(origin, (int, float)) or not math.isfinite(origin):
            origin = 0.0
        return Axis(name, units if isinstance(units, str) else "", float(scale), -origin * scale)

    @property
    def title(self) -> str | None:
        """What it is called, if that is text."""
        title = self.tags.get("Name")
        return title if title and isinstance(title, str) else None

    def check_size(self, problems: Problems) -> None:
        """Compare the sizes with the bytes there are.

        Raises
        ------
        FormatError
            They do not fit.
        """
        colours = self.stored.fields if self.type_code in COLOURS else None
        if self.type_code in HEARSAY or (colours is not None and colours["R"][1] == 1):
            problems.warn(
                f"{self.name} has pixels of a kind (type {self.type_code}) that no recorded "
                "file has confirmed; compare it with what DigitalMicrograph shows."
            )
        shape = self.shape
        if self.type_code in HALF_PLANES:
            shape = (*shape[:-1], shape[-1] // 2 + 1)
        needed = math.prod(shape) * self.stored.itemsize
        stored = self.data.count * self.data.dtype.itemsize
        if stored < needed:
            raise FormatError(
                self.path,
                f"{self.name} holds {stored} bytes of pixels, its sizes {self.sizes} and type "
                f"{self.type_code} make {needed}.",
            )
        if stored > needed:
            problems.warn(
                f"{self.name} holds {stored} bytes of pixels, {stored - needed} more than its "
                "sizes make; these are not used."
            )


def _entries(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield from (entry for entry in tree.values() if isinstance(entry, dict))


# ---------------------------------------------------------------- the list


def read_images(path: str, dataset_index: int | None) -> tuple[dict[str, Any], list[Image]]:
    """Read the tags of a file.

    Returns
    -------
    tags : dict
    images : list of Image
        The one that is asked for, or all but the thumbnails, the recording first.
    """
    tags = dm_tags.read_tags(path, rosettasciio=True)
    images = images_in(path, tags)
    if not images:
        raise Unsupported(path, "holds tags, but no image.")
    if dataset_index is None:
        return tags, recording_first([i for i in images if not i.thumbnail] or images)
    for image in images:
        if image.index == dataset_index:
            return tags, [image]
    listed = ", ".join(f"{i.index}: {' x '.join(map(str, i.sizes))}" for i in images)
    raise FormatError(
        path, f"has no image {dataset_index}.", f"Pass dataset_index= one of {listed}."
    )


def images_in(path: str, tags: Mapping[str, Any]) -> list[Image]:
    """List the images of a file that have pixels."""
    shown = [entry.get("ImageIndex") for entry in _entries(tags.get("Thumbnails"))]
    entries = list(_entries(tags.get("ImageList")))
    if len(entries) == 1:
        shown = []  # the thumbnail of nothing is an image
    nion = "Thumbnails" not in tags and tags.get("Image Behavior") == {"ViewDisplayID": 8}
    images = []
    for i, entry in enumerate(entries):
        data = entry.get("ImageData")
        pixels, sizes, code = (value_at(data, name) for name in ("Data", "Dimensions", "DataType"))
        if not isinstance(pixels, TagArray) or not isinstance(sizes, dict):
            continue
        numbers, code = tuple(sizes.values()), -1 if code is None else code
        if (
            not isinstance(code, int)
            or not 1 <= len(numbers) <= 6
            or not all(isinstance(n, int) and 0 < n < 1 << 40 for n in numbers)
        ):
            raise FormatError(path, f"image {i} has damaged sizes {numbers} or type {code!r}.")
        images.append(Image(path, i, entry, numbers, code, pixels, i in shown, nion))
    return images


def recording_first(images: Sequence[Image]) -> list[Image]:
    """Put the recording first: the largest image of three or more axes, if there is one.

    Files with nothing but spectra keep their order, which is RosettaSciIO's.
    """
    large = [i for i in images if len(i.sizes) > 2 and not i.spectral]
    if not large:
        return list(images)
    first = max(large, key=lambda i: math.prod(i.sizes) * i.data.dtype.itemsize)
    return [first, *(i for i in images if i is not first)]
