# SPDX-License-Identifier: GPL-3.0-or-later
"""The frames of an image, in each of the ways in which its pixels may be stored."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Problems, Unsupported
from rsciio_tem.formats.dm import rosettasciio
from rsciio_tem.formats.dm.image import OLD_HALF_PLANE, Image
from rsciio_tem.formats.dm.scan import Dimensions
from rsciio_tem.frames.arrays import ArrayFrames, PixelMajor
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import DataFile


def frames_of(image: Image, dimensions: Dimensions, problems: Problems) -> Frames:
    """Describe the frames of an image."""
    file = DataFile.of(image.path)
    scan, frame = (image.lengths(axes) for axes in (dimensions.scan, dimensions.signal))
    start, dtype = image.data.offset, image.stored
    match dimensions.storage:
        case "transform":
            return _transform(image, file, problems)
        case "fortran":
            if dtype.names is not None:
                raise Unsupported(image.path, f"{image.name} has colours, order='F' has not.")
            source = partial(_fortran, file, start, dtype.str, image.shape)
            return ArrayFrames(source, scan, frame, dtype.newbyteorder("="), detector_major=True)
        case "pixels":
            return PixelMajor(file, start, dtype, math.prod(scan), frame)
        case "frames":
            pixels = Pixels(frame, dtype)
            rows = [(0, start, pixels.nbytes, math.prod(scan))]
            return FrameTable((file,), runs_of(rows), pixels)


def _fortran(file: DataFile, offset: int, dtype: str, shape: tuple[int, ...]) -> Any:
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    return backends.map_file(file)[offset : offset + nbytes].view(dtype).reshape(shape, order="F")


# ---------------------------------------------------------------- Fourier transforms


def _transform(image: Image, file: DataFile, problems: Problems) -> ArrayFrames:
    """Describe a stored Fourier transform."""
    if len(image.sizes) != 2:
        raise Unsupported(
            image.path,
            f"{image.name} is a stack of Fourier transforms, which cannot be read: no such file "
            "was available.",
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
        problems.warn(
            f"{image.name} is a Fourier transform in the packing of old versions.",
            "No recorded file has confirmed it.",
        )
    return ArrayFrames(
        partial(function, file, image.data.offset, dtype.str, shape), (), shape, result
    )


def _stored(file: DataFile, offset: int, dtype: str, shape: tuple[int, int]) -> npt.NDArray[Any]:
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    return np.array(backends.read(file, offset, nbytes, "buffered")).view(dtype).reshape(shape)


def _half_plane(
    file: DataFile, offset: int, dtype: str, shape: tuple[int, int]
) -> npt.NDArray[Any]:
    """Complete the Fourier transform of an image, with its origin in the middle.

    Of each row, the frequencies 0, -1, … are stored; the others follow from the symmetry
    F(-y, -x) = F(y, x)* of a transform of real pixels.
    """
    rows, columns = shape
    width = columns // 2 + 1
    half = _stored(file, offset, dtype, (rows, width))
    half = half.astype(half.dtype.newbyteorder("="))
    opposite = (2 * (rows // 2) - np.arange(rows)) % rows
    return np.hstack([half[:, ::-1], half[opposite, 1 : columns - width + 1].conj()])


def _old_half_plane(
    file: DataFile, offset: int, dtype: str, shape: tuple[int, int]
) -> npt.NDArray[Any]:
    """Complete a Fourier transform in the arrangement of older versions, as RosettaSciIO does."""
    values = _stored(file, offset, dtype, shape).reshape(-1)
    sizes = {"Data0": shape[1], "Data1": shape[0]}
    image = rosettasciio.reader().ImageObject({"ImageData": {"Dimensions": sizes}}, None)
    result: npt.NDArray[Any] = image.unpack_packed_complex(values.astype("f4"))
    return result
