# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of TIFF files as frames: in place where they are plain, otherwise decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Unsupported
from rsciio_tem.frames.decoded import Decoded
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.parsing.tiff import Layout
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import DataFile

__all__ = ["decode", "frames_of"]


def frames_of(file: DataFile, layout: Layout) -> Frames:
    """Return the images of a file as frames."""
    if not layout.starts:
        decoder = partial(decode, file, layout.shape, layout.dtype.newbyteorder("=").str)
        return Decoded(
            _Pages(decoder, layout.pages),
            len(layout.pages),
            layout.shape,
            layout.dtype.newbyteorder("="),
        )
    pixels = Pixels(layout.shape, layout.dtype)
    if layout.stride:
        rows = [(0, layout.starts[0], layout.stride, len(layout.pages))]
    else:
        rows = _evenly(layout.starts, pixels.nbytes)
    return FrameTable((file,), runs_of(rows), pixels)


def _evenly(starts: tuple[int, ...], nbytes: int) -> list[tuple[int, int, int, int]]:
    """Group images into runs of even distance."""
    at = np.array(starts, np.int64)
    rows: list[tuple[int, int, int, int]] = []
    i = 0
    while i < len(at):
        if i + 1 == len(at) or at[i + 1] - at[i] < nbytes:
            rows.append((0, int(at[i]), nbytes, 1))
            i += 1
            continue
        stride = int(at[i + 1] - at[i])
        breaks = np.flatnonzero(np.diff(at[i:]) != stride)
        count = int(breaks[0]) + 1 if len(breaks) else len(at) - i
        rows.append((0, int(at[i]), stride, count))
        i += count
    return rows


@dataclass(frozen=True)
class _Pages:
    """Gives `decode` the numbers of pages for those of frames."""

    decoder: Any
    pages: tuple[int, ...]

    def __call__(self, numbers: list[int]) -> Iterator[npt.NDArray[Any]]:
        images: Iterator[npt.NDArray[Any]] = self.decoder([self.pages[n] for n in numbers])
        return images


def decode(
    file: DataFile, shape: tuple[int, int], dtype: str, pages: list[int]
) -> Iterator[npt.NDArray[Any]]:
    """Decode images with tifffile or, where it is not installed or lacks a codec, with Pillow."""
    backends.read(file, 0, 1, "auto")  # checks that the file is still the one that was described
    for page in pages:
        reasons: list[str] = []
        for name, reader in (("tifffile", _with_tifffile), ("Pillow", _with_pillow)):
            try:
                image = reader(file.path, page)
            except ImportError:
                reasons.append(f"{name} is not installed")
            except Exception as error:  # both raise whatever comes along
                reasons.append(f"{name}: {error}")
            else:
                if image.dtype == bool:
                    image = image.astype(np.uint8)
                if image.shape == shape and image.dtype.newbyteorder("=") == np.dtype(dtype):
                    break
                reasons.append(f"{name} finds {image.shape} pixels of type {image.dtype}")
        else:
            raise Unsupported(
                file.path,
                f"image {page} cannot be decoded ({'; '.join(reasons)}).",
                "pip install tifffile imagecodecs, or save it without compression.",
            )
        yield image


def _with_tifffile(path: str, page: int) -> npt.NDArray[Any]:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        image: npt.NDArray[Any] = tiff.pages[page].asarray()
    return image


def _with_pillow(path: str, page: int) -> npt.NDArray[Any]:
    from PIL import Image

    with Image.open(path) as image:
        image.seek(page)
        return np.asarray(image)
