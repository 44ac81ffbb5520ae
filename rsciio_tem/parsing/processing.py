# SPDX-License-Identifier: GPL-3.0-or-later
"""The processing list of hexrd, applied to frames while they are loaded.

A list of steps ``(code, argument)``, done in its order with hexrd's codes:

=================  ======================  =========================================================
Code               Argument                What it does
=================  ======================  =========================================================
``dark``           image, or its file      subtracts it; what falls below zero is zero
``flip``           ``v`` ``y``             reverses the columns
                   ``h`` ``x``             reverses the rows
                   ``vh`` ``hv`` ``r180``  both
                   ``t`` ``T``             exchanges rows and columns
                   ``ccw90`` ``r90``       turns to the left
                   ``cw90`` ``r270``       turns to the right
``rectangle``      ((r0, r1), (c0, c1))    keeps these rows and columns
``add``            number or image         adds it
``gauss_laplace``  sigma in pixels         Laplacian of a Gaussian
``add-row``        index                   inserts a row of zeros before it
``add-column``     index                   inserts a column of zeros before it
=================  ======================  =========================================================

No value ever wraps. ``dark`` keeps the pixel type for an image of whole numbers without negative
ones; with negative ones it is the smallest type that holds every result, with fractions the usual
one of NumPy. ``add`` and ``gauss_laplace`` turn whole numbers into floating point: single precision
for 8 and 16 bit, double for more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Unsupported
from rsciio_tem.frames.pixels import Region, full_region
from rsciio_tem.frames.protocol import Frames, ReadAs
from rsciio_tem.frames.wrapped import Wrapped
from rsciio_tem.parsing.steps import (
    FLIPS,
    Add,
    AddLine,
    Dark,
    Flip,
    GaussLaplace,
    Rectangle,
    Shape,
    Step,
)
from rsciio_tem.reading.references import as_frame
from rsciio_tem.recording.recording import Recording

__all__ = ["CODES", "Processed", "processed", "steps_of"]

#: Bytes of raw pixels processed at a time, so that they stay in cache.
_BLOCK = 1 << 20


def _dark(value: Any, shape: Shape, path: str) -> Step:
    return Dark(_image(value, "dark", shape, path))


def _image(value: Any, code: str, shape: Shape, path: str) -> npt.NDArray[Any]:
    image = as_frame(value, f"the image of ({code!r}, …) in processing", path)
    if image is None or image.shape != shape or image.dtype.kind not in "buif":
        actual = "nothing" if image is None else f"{image.shape} of type {image.dtype}"
        raise FormatError(
            path,
            f"({code!r}, …) in processing needs an image of {shape} pixels, not {actual}.",
            "Its shape is that of the frames after the steps before it.",
        )
    image = image.astype(np.uint8) if image.dtype.kind == "b" else image
    return image.astype(image.dtype.newbyteorder("="), copy=False)


def _flip(value: Any, shape: Shape, path: str) -> Step:
    if not isinstance(value, str) or value not in FLIPS:
        raise ValueError(f"('flip', {value!r}) in processing: there are {', '.join(FLIPS)}")
    return Flip(value)


def _rectangle(value: Any, shape: Shape, path: str) -> Step:
    try:
        bounds = tuple((int(a), int(b)) for a, b in value)
        good = len(bounds) == 2 and all(
            0 <= a < b <= n for (a, b), n in zip(bounds, shape, strict=True)
        )
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(
            f"('rectangle', {value!r}) in processing: pass ((row, end), (column, end)) "
            f"within frames of {shape} pixels"
        )
    return Rectangle((bounds[0], bounds[1]))


def _add(value: Any, shape: Shape, path: str) -> Step:
    if isinstance(value, (bool, int, float, np.integer, np.floating)):
        return Add(np.asarray(value))
    return Add(_image(value, "add", shape, path))


def _gauss_laplace(value: Any, shape: Shape, path: str) -> Step:
    good = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not good or not 0 < value < 1000:
        raise ValueError(f"('gauss_laplace', {value!r}) in processing: pass sigma in pixels")
    return GaussLaplace(float(value))


def _line(axis: int) -> Callable[[Any, Shape, str], Step]:
    def make(value: Any, shape: Shape, path: str) -> Step:
        good = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not good or not 0 <= value <= shape[axis]:
            name = ("row", "column")[axis]
            raise ValueError(
                f"('add-{name}', {value!r}) in processing: pass a number from 0 to {shape[axis]}"
            )
        return AddLine(int(value), axis)

    return make


#: What makes a step of its argument, the shape of a frame before it, and a path for messages.
CODES: dict[str, Callable[[Any, Shape, str], Step]] = {
    "dark": _dark,
    "flip": _flip,
    "rectangle": _rectangle,
    "add": _add,
    "gauss_laplace": _gauss_laplace,
    "add-row": _line(0),
    "add-column": _line(1),
}


def steps_of(processing: Sequence[Any], frames: Frames, path: str) -> tuple[Step, ...]:
    """Check a processing list, and make its steps.

    Raises
    ------
    ValueError
        An unknown code, or an argument that does not fit.
    FormatError
        An image has another shape than the frames.
    """
    shape, dtype = frames.frame_shape, frames.dtype
    if isinstance(processing, (str, bytes, dict)) or not isinstance(processing, Sequence):
        raise ValueError(
            f"processing={processing!r} is not a list of steps such as "
            "[('flip', 'vh'), ('dark', …)]"
        )
    if processing and (len(shape) != 2 or dtype.kind not in "buif"):
        raise Unsupported(
            path, f"frames of {shape} pixels of type {dtype} cannot be processed (processing=)."
        )
    steps: list[Step] = []
    for entry in processing:
        if isinstance(entry, (str, bytes)) or not isinstance(entry, Sequence) or len(entry) != 2:
            raise ValueError(f"{entry!r} in processing is not a step (code, argument)")
        code, value = entry
        if code not in CODES:
            raise ValueError(f"({code!r}, …) in processing: there are {', '.join(CODES)}")
        step = CODES[code](value, shape, path)
        steps.append(step)
        shape = step.shape(shape)
    return tuple(steps)


def processed(recording: Recording, processing: Sequence[Any] | None) -> Recording:
    """Return a recording whose frames are processed while they are loaded."""
    if not processing:
        return recording
    steps = steps_of(processing, recording.frames, recording.path)
    turned = sum(isinstance(step, Flip) and step.transposes for step in steps) % 2
    return replace(
        recording,
        frames=Processed(recording.frames, steps),
        signal_axes=recording.signal_axes[::-1] if turned else recording.signal_axes,
        original_metadata={
            **recording.original_metadata,
            "processing": [
                [code, value if isinstance(value, (str, int, float, tuple, list)) else "image"]
                for code, value in processing
            ],
        },
    )


@dataclass(frozen=True, eq=False)
class Processed(Wrapped):
    """Frames that are processed while they are loaded.

    Parameters
    ----------
    steps : tuple of Step
        In their order.
    fill : float
        Value of blanks, which are not processed.
    """

    steps: tuple[Step, ...]
    fill: float = 0

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a frame."""
        return self._shapes()[-1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        dtype = self.frames.dtype.newbyteorder("=")
        for step in self.steps:
            dtype = step.dtype(dtype)
        return dtype

    def _shapes(self) -> list[Shape]:
        """Shape of a frame before each step, and after the last."""
        shapes = [self.frames.frame_shape]
        for step in self.steps:
            shapes.append(step.shape(shapes[-1]))
        return shapes

    def _read_as(self, how: ReadAs) -> Self:
        # steps calculate in the machine's byte order
        if how.flip_y is not None:
            raise Unsupported(
                "", "flip_y has no meaning beside processing.", "Add the step ('flip', 'h')."
            )
        if how.frame_shape is not None and how.frame_shape != self.frame_shape:
            raise Unsupported(
                "", f"processed frames of {self.frame_shape} pixels keep their shape."
            )
        frames = self.frames.read_as(backend=how.backend)
        return replace(self, frames=frames, fill=how.filled(self.fill))

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it, processed."""
        shapes = self._shapes()
        regions = [region or full_region(shapes[-1])]
        for step, shape in zip(self.steps[::-1], shapes[-2::-1], strict=True):
            regions.insert(0, step.needs(regions[0], shape))
        source = regions[0]
        size = tuple(s.stop - s.start for s in source)
        itemsize = self.frames.dtype.itemsize
        at_once = max(1, _BLOCK // max(1, math.prod(size) * itemsize))
        raw = np.empty((min(at_once, len(self)), *size), self.frames.dtype.newbyteorder("="))
        for first in range(0, len(self), at_once):
            count = min(at_once, len(self) - first)
            block = raw[:count]
            self.frames[first : first + count].load(block, source)
            for i, step in enumerate(self.steps):
                block = step.apply(block, regions[i + 1], regions[i], shapes[i])
            out[first : first + count] = block
        if (blanks := self.blanks) is not None:
            out[blanks] = self.fill
