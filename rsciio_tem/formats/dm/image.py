# SPDX-License-Identifier: GPL-3.0-or-later
"""An image of the ImageList: type, dimensions, calibrations, place of its pixels."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Problem, Unsupported
from rsciio_tem.frames.arrays import ArrayFrames
from rsciio_tem.parsing.dm_tags import TagArray, group
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import DataFile

DataOrder = Literal["auto", "frames", "pixels"]


Path = str | os.PathLike[str]


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


HEARSAY = (39, 40)


#: Units of diffraction angles.
_RECIPROCAL = re.compile(r"1\s*/.*|.*(\^?-1|⁻¹)|[mµμu]?rad|deg|°", re.IGNORECASE)


#: Groups of a file that say nothing about its images.
_NOT_IMAGES = ("DocumentObjectList", "ImageTags", "Image Behavior", "Page Behavior", "PageSetup")


# ---------------------------------------------------------------- images


@dataclass(frozen=True, eq=False)
class Image:
    """One image of a file.

    Parameters
    ----------
    path : str
        The file.
    index : int
        Its place in the list of images, thumbnails included.
    tags : dict
        Its part of the tree.
    sizes : tuple of int
        Fastest axis first, as in the file.
    type_code : int
        See `TYPES`.
    data : TagArray
        Where its pixels are.
    thumbnail : bool
        Whether it only shows another one.
    """

    path: str
    index: int
    tags: dict[str, Any]
    sizes: tuple[int, ...]
    type_code: int
    data: TagArray
    thumbnail: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes in array order."""
        return self.sizes[::-1]

    @property
    def name(self) -> str:
        """What it is called in messages."""
        title = self.tags.get("Name")
        return f"image {self.index}" + (f" ({title})" if title and isinstance(title, str) else "")

    @property
    def spectral(self) -> bool:
        """Whether RosettaSciIO reads it: spectra, spectrum images, cathodoluminescence."""
        kind = self.meta("Format")
        signal = self.meta("Signal")
        return (
            len(self.sizes) == 1
            or kind in ("Spectrum", "Spectrum image")
            or signal in ("EELS", "X-ray", "CL")
            or group(self.tags, "ImageTags", "spim") is not None
            or group(self.tags, "ImageTags", "Acquisition", "Monarc Spectrometer") is not None
        )

    def meta(self, name: str) -> Any:
        """Return an entry of the tags ``Meta Data``."""
        return group(self.tags, "ImageTags", "Meta Data", name)

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
        code = {**TYPES, **HALF_PLANES, OLD_HALF_PLANE: "f4"}.get(self.type_code)
        if code is None:
            raise Unsupported(
                self.path,
                f"{self.name} has pixels of DigitalMicrograph's type {self.type_code}, which is "
                "not known.",
                "Other images of the file can be chosen with dataset_index=.",
            )
        return np.dtype(("<", ">")[big] + code)

    def checked(self) -> list[Problem]:
        """Compare the sizes with the bytes there are.

        Raises
        ------
        FormatError
            They do not fit.
        """
        if self.type_code in HEARSAY or (
            self.type_code in COLOURS and self.stored.fields["R"][1] == 1  # type: ignore[index]
        ):
            problems = [
                Problem(
                    "warning",
                    f"{self.name} has pixels of a kind (type {self.type_code}) that no recorded "
                    "file has confirmed; compare it with what DigitalMicrograph shows.",
                )
            ]
        else:
            problems = []
        shape = self.shape
        if self.type_code in HALF_PLANES:
            shape = (*shape[:-1], shape[-1] // 2 + 1)
        needed = math.prod(shape) * self.stored.itemsize
        there = self.data.count * self.data.dtype.itemsize
        if there < needed:
            raise FormatError(
                self.path,
                f"{self.name} holds {there} bytes of pixels, its sizes {self.sizes} and type "
                f"{self.type_code} make {needed}.",
            )
        if there > needed:
            problems.append(
                Problem(
                    "warning",
                    f"{self.name} holds {there} bytes of pixels, {there - needed} more than its "
                    "sizes make; these are not used.",
                )
            )
        return problems


def _images(path: str, tags: Mapping[str, Any]) -> list[Image]:
    """List the images of a file that have pixels."""
    shown = {
        number
        for entry in _entries(tags.get("Thumbnails"))
        if isinstance(number := entry.get("ImageIndex"), int)
    }
    found = []
    listed = list(_entries(tags.get("ImageList")))
    for i, entry in enumerate(listed):
        data = entry.get("ImageData")
        pixels = group(data, "Data")
        sizes = group(data, "Dimensions")
        code = group(data, "DataType")
        if not isinstance(pixels, TagArray) or not isinstance(sizes, dict):
            continue
        numbers = tuple(sizes.values())
        if (
            not isinstance(code, int)
            or not 1 <= len(numbers) <= 6
            or not all(isinstance(n, int) and 0 < n < 1 << 40 for n in numbers)
        ):
            raise FormatError(path, f"image {i} has damaged sizes {numbers} or type {code!r}.")
        only = len(listed) == 1  # the thumbnail of nothing is an image
        found.append(Image(path, i, entry, numbers, code, pixels, i in shown and not only))
    return found


def _entries(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield from (entry for entry in tree.values() if isinstance(entry, dict))


def _in_order(images: Sequence[Image]) -> list[Image]:
    """Put the recording first: the largest image of three or more axes, if there is one.

    Files with nothing but spectra keep their order, which is RosettaSciIO's.
    """
    large = [i for i in images if len(i.sizes) > 2 and not i.spectral]
    if not large:
        return list(images)
    first = max(large, key=lambda i: math.prod(i.sizes) * i.data.dtype.itemsize)
    return [first, *(i for i in images if i is not first)]


def _chosen(path: str, images: Sequence[Image], dataset_index: int | None) -> list[Image]:
    """Return the image that is asked for, or all but the thumbnails."""
    if not images:
        raise Unsupported(path, "holds tags, but no image.")
    if dataset_index is None:
        return _in_order([i for i in images if not i.thumbnail] or list(images))
    for image in images:
        if image.index == dataset_index:
            return [image]
    listed = ", ".join(f"{i.index}: {' x '.join(map(str, i.sizes))}" for i in images)
    raise FormatError(
        path, f"has no image {dataset_index}.", f"Pass dataset_index= one of {listed}."
    )


def _calibrations(image: Image) -> list[dict[str, Any]]:
    """Return one calibration per axis, fastest first; empty where there is none."""
    listed = list(_entries(group(image.tags, "ImageData", "Calibrations", "Dimension")))
    count = len(image.sizes)
    return (listed + [{}] * count)[:count]


# ---------------------------------------------------------------- frames


def _fortran(file: DataFile, offset: int, dtype: str, shape: tuple[int, ...]) -> Any:
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    return backends.map_file(file)[offset : offset + nbytes].view(dtype).reshape(shape, order="F")


def _half_plane(
    file: DataFile, offset: int, dtype: str, shape: tuple[int, int]
) -> npt.NDArray[Any]:
    """Complete the Fourier transform of an image, with its origin in the middle.

    Of each row, the frequencies 0, -1, … are stored; the others follow from the symmetry
    F(-y, -x) = F(y, x)* of a transform of real pixels.
    """
    rows, columns = shape
    width = columns // 2 + 1
    nbytes = rows * width * np.dtype(dtype).itemsize
    raw = np.array(backends.read(file, offset, nbytes, "buffered")).view(dtype)
    half = raw.reshape(rows, width).astype(raw.dtype.newbyteorder("="))
    rest = columns - width
    opposite = (2 * (rows // 2) - np.arange(rows)) % rows
    return np.hstack([half[:, ::-1], half[opposite, 1 : rest + 1].conj()])


def _old_half_plane(
    file: DataFile, offset: int, dtype: str, shape: tuple[int, int]
) -> npt.NDArray[Any]:
    """Complete a Fourier transform in the arrangement of older versions, as RosettaSciIO does."""
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.array(backends.read(file, offset, nbytes, "buffered")).view(dtype)
    sizes = {"Data0": shape[1], "Data1": shape[0]}
    image = _rosettasciio().ImageObject({"ImageData": {"Dimensions": sizes}}, None)
    result: npt.NDArray[Any] = image.unpack_packed_complex(raw.astype("f4"))
    return result


def _transform(image: Image, file: DataFile, problems: list[Problem]) -> ArrayFrames:
    """Describe a stored Fourier transform."""
    if len(image.sizes) != 2:
        raise Unsupported(
            image.path, f"{image.name} is a stack of Fourier transforms, which nobody has seen yet."
        )
    shape = (image.sizes[1], image.sizes[0])
    function, dtype = _half_plane, image.stored
    result = dtype.newbyteorder("=")
    if image.type_code == OLD_HALF_PLANE:
        if shape[0] != shape[1] or shape[0] % 2:
            raise Unsupported(
                image.path,
                f"{image.name} is a Fourier transform of {shape[0]} x {shape[1]} pixels in the "
                "packing of old versions, which is known for squares of even size only.",
            )
        function, result = _old_half_plane, np.dtype("c8")
        message = f"{image.name} is a Fourier transform in the packing of old versions."
        problems.append(Problem("warning", message, "No recorded file has confirmed it."))
    source = partial(function, file, image.data.offset, dtype.str, shape)
    return ArrayFrames(source, (), shape, result)


# ---------------------------------------------------------------- metadata


def _plain(tree: Any) -> Any:
    """Return tags as RosettaSciIO describes them, arrays by place and size."""
    if isinstance(tree, dict):
        return {name: _plain(value) for name, value in tree.items()}
    if isinstance(tree, TagArray):
        kind = tree.dtype if tree.dtype.names is None else tree.dtype[0]
        return {
            "size": tree.count,
            "endian": "big" if kind.str[0] == ">" else "little",
            "size_bytes": tree.count * tree.dtype.itemsize,
            "offset": tree.offset,
        }
    return tree


def _rosettasciio() -> Any:
    """Import RosettaSciIO's reader."""
    from rsciio.digitalmicrograph import _api

    return _api


def _upstream_image(image: Image) -> Any:
    described = _rosettasciio().ImageObject({"ImageTags": {}, **_plain(image.tags)}, None)
    described.filename = image.path
    return described


def _slug(name: str) -> str:
    return re.sub(r"\W", "", name.replace(" ", "_"))
