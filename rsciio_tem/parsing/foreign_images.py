# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that other libraries decode: Pillow and fabio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Unsupported
from rsciio_tem.frames.decoded import Decoded
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import DataFile

__all__ = ["PILLOW", "FabioFrames", "fabio_image", "grey", "pillow_frames"]

Shape = tuple[int, ...]

#: Beginnings of what Pillow reads.
PILLOW = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF8")


# ---------------------------------------------------------------- Pillow


def pillow_frames(path: str) -> Frames:
    """Return the one frame of a file that Pillow reads."""
    from PIL import Image

    file = DataFile.listed(path)
    try:
        with Image.open(path) as image:
            mode, (width, height) = image.mode, image.size
    except Exception as error:
        raise FormatError(path, f"cannot be read by Pillow: {error}.") from None
    dtype = {"1": "u1", "L": "u1", "I;16": "u2", "I": "i4", "F": "f4"}.get(mode)
    if dtype is None:
        raise Unsupported(path, f"is an image of mode {mode}, not a grey one.")
    shape = (height, width)
    return Decoded(partial(_decode_pillow, file, shape, dtype), 1, shape, np.dtype(dtype))


def _decode_pillow(
    file: DataFile, shape: Shape, dtype: str, numbers: list[int]
) -> Iterator[npt.NDArray[Any]]:
    from PIL import Image

    backends.read(file, 0, 1, "auto")  # checks that the file is still the one that was described
    try:
        with Image.open(file.path) as image:
            data = np.asarray(image)
    except Exception as error:
        raise FormatError(file.path, f"cannot be read by Pillow: {error}.") from None
    if data.shape != shape:
        raise FormatError(file.path, f"has {data.shape} pixels, not {shape} as its header says.")
    for _ in numbers:
        yield data.astype(dtype, copy=False)


# ---------------------------------------------------------------- fabio


def fabio_image(path: str, kind: type | None = None) -> Any:
    """Open a file with fabio, with the class that read the file before it."""
    try:
        import fabio
    except ImportError:
        raise Unsupported(
            path,
            "is an image of a format that only fabio may read, and fabio is not installed.",
            "pip install fabio",
        ) from None
    try:
        if kind is not None:
            image = kind()
            return image.read(path)
        return fabio.open(path)
    except Exception as error:  # fabio raises whatever comes along
        text = str(error).splitlines()[0] if str(error) else repr(error)
        raise FormatError(path, f"is not an image that fabio can read: {text}.") from None


@dataclass(frozen=True)
class FabioFrames:
    """Reads frames with fabio."""

    file: DataFile
    kind: type
    shape: Shape
    dtype: str
    count: int

    def __call__(self, numbers: list[int]) -> Iterator[npt.NDArray[Any]]:
        """Read the frames of these numbers one by one."""
        path = self.file.path
        backends.read(self.file, 0, 1, "auto")  # checks that it is still the file described
        with fabio_image(path, self.kind) as image:
            if image.nframes != self.count:
                raise FormatError(
                    path,
                    f"holds {image.nframes} images, the file before it {self.count}.",
                    "Only files with one image each, or all of the same size, can be mixed.",
                )
            for number in numbers:
                try:
                    data = image.data if number == 0 else image.get_frame(number).data
                except Exception as error:
                    raise FormatError(path, f"image {number} cannot be read: {error}.") from None
                data = grey(data, path)
                native = data.astype(data.dtype.newbyteorder("="), copy=False)
                if native.shape != self.shape or native.dtype != np.dtype(self.dtype):
                    raise FormatError(
                        path,
                        f"holds {native.shape} pixels of type {native.dtype}, the file before it "
                        f"{self.shape} of type {np.dtype(self.dtype)}.",
                    )
                yield native


def grey(data: Any, path: str) -> npt.NDArray[Any]:
    """Return the pixels of a grey image; an `Unsupported` says that they are none."""
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.dtype.kind not in "buif":
        what = f"of shape {getattr(data, 'shape', None)} and type {getattr(data, 'dtype', None)}"
        raise Unsupported(path, f"holds an image {what}, which is not a grey image.")
    return data
