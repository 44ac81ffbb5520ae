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

Each step knows which region it needs of the frame before it, so that a few rows of a result cost a
few rows of the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Unsupported
from rsciio_tem.frames.pixels import Region, full_region
from rsciio_tem.frames.protocol import Frames, ReadAs
from rsciio_tem.frames.wrapped import Wrapped
from rsciio_tem.reading.references import as_frame
from rsciio_tem.recording.recording import Recording

__all__ = ["CODES", "Processed", "Step", "processed", "steps_of"]

Block = npt.NDArray[Any]


Shape = tuple[int, ...]


#: Bytes of raw pixels processed at a time, so that they stay in cache.
_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class Step:
    """What all steps share; this one does nothing.

    A region is one slice for rows and one for columns, with step 1.
    """

    code: ClassVar[str] = ""

    def shape(self, shape: Shape) -> Shape:
        """Return the shape of a frame afterwards, given that before."""
        return shape

    def dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Return the type of a pixel afterwards."""
        return dtype

    def needs(self, region: Region, shape: Shape) -> Region:
        """Return the region of the frame before, of `shape`, that a region afterwards needs."""
        return region

    def apply(self, block: Block, region: Region, source: Region, shape: Shape) -> Block:
        """Turn the region `source` of frames of `shape` into the region `region` of the result."""
        return block


@dataclass(frozen=True, eq=False)
class Dark(Step):
    """Subtract an image; negative results are zero."""

    image: npt.NDArray[Any]
    code: ClassVar[str] = "dark"

    @cached_property
    def _least(self) -> int:
        """Least value of an image of whole numbers, at most zero."""
        return min(0, int(self.image.min()))

    def dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        if dtype.kind == "b":
            dtype = np.dtype(np.uint8)
        if dtype.kind == "f" or self.image.dtype.kind == "f":
            return np.result_type(dtype, self.image.dtype)
        highest = int(np.iinfo(dtype).max) - self._least
        if highest > np.iinfo(np.uint64).max:
            return np.dtype(np.float64)
        return np.promote_types(dtype, np.min_scalar_type(highest)) if self._least else dtype

    def apply(self, block: Block, region: Region, source: Region, shape: Shape) -> Block:
        wanted, dark = self.dtype(block.dtype), self.image[region]
        result: Block
        if wanted.kind == "f":
            result = np.maximum(block.astype(wanted) - dark.astype(wanted), 0)
        elif self._least:
            # both have room in 64 bits: for longer ones `wanted` is floating
            result = np.maximum(block.astype(np.int64) - dark.astype(np.int64), 0).astype(wanted)
        else:
            most = min(np.iinfo(wanted).max, np.iinfo(dark.dtype).max)
            dark = np.minimum(dark, most).astype(wanted)
            # the larger of both minus the dark value is never negative, so it cannot wrap
            result = np.maximum(block.astype(wanted, copy=False), dark) - dark
        return result


#: For each flip: whether rows and columns are exchanged first, then which are reversed.
_FLIPS: dict[str, tuple[bool, bool, bool]] = {
    **dict.fromkeys(("v", "y"), (False, False, True)),
    **dict.fromkeys(("h", "x"), (False, True, False)),
    **dict.fromkeys(("vh", "hv", "r180"), (False, True, True)),
    **dict.fromkeys(("t", "T"), (True, False, False)),
    **dict.fromkeys(("ccw90", "r90"), (True, True, False)),
    **dict.fromkeys(("cw90", "r270"), (True, False, True)),
}


@dataclass(frozen=True, eq=False)
class Flip(Step):
    """Mirror or turn by quarters."""

    how: str
    code: ClassVar[str] = "flip"

    @property
    def transposes(self) -> bool:
        """Whether rows become columns."""
        return _FLIPS[self.how][0]

    def shape(self, shape: Shape) -> Shape:
        return shape[::-1] if self.transposes else shape

    def needs(self, region: Region, shape: Shape) -> Region:
        found = []
        _, *reverse = _FLIPS[self.how]
        for part, size, reversed_ in zip(region, self.shape(shape), reverse, strict=True):
            found.append(slice(size - part.stop, size - part.start) if reversed_ else part)
        return tuple(found[::-1] if self.transposes else found)

    def apply(self, block: Block, region: Region, source: Region, shape: Shape) -> Block:
        transposes, rows, columns = _FLIPS[self.how]
        block = block.swapaxes(1, 2) if transposes else block
        return block[:, :: -1 if rows else 1, :: -1 if columns else 1]


@dataclass(frozen=True, eq=False)
class Rectangle(Step):
    """Keep some rows and columns."""

    bounds: tuple[tuple[int, int], tuple[int, int]]
    code: ClassVar[str] = "rectangle"

    def shape(self, shape: Shape) -> Shape:
        return tuple(b - a for a, b in self.bounds)

    def needs(self, region: Region, shape: Shape) -> Region:
        return tuple(
            slice(part.start + a, part.stop + a)
            for part, (a, _) in zip(region, self.bounds, strict=True)
        )


@dataclass(frozen=True, eq=False)
class Add(Step):
    """Add a number or an image."""

    addend: npt.NDArray[Any]
    code: ClassVar[str] = "add"

    def dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        floating = np.result_type(np.float32, dtype)
        return np.result_type(floating, self.addend.dtype) if self.addend.ndim else floating

    def apply(self, block: Block, region: Region, source: Region, shape: Shape) -> Block:
        addend = self.addend[region] if self.addend.ndim else self.addend
        dtype = self.dtype(block.dtype)
        result: Block = block.astype(dtype) + addend.astype(dtype)
        return result


@dataclass(frozen=True, eq=False)
class GaussLaplace(Step):
    """Laplacian of a Gaussian of width sigma; edges are mirrored."""

    sigma: float
    code: ClassVar[str] = "gauss_laplace"

    def dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return np.result_type(np.float32, dtype)

    def needs(self, region: Region, shape: Shape) -> Region:
        reach = int(4 * self.sigma + 0.5)  # where scipy cuts the Gaussian off
        return tuple(
            slice(max(0, part.start - reach), min(size, part.stop + reach))
            for part, size in zip(region, shape, strict=True)
        )

    def apply(self, block: Block, region: Region, source: Region, shape: Shape) -> Block:
        from scipy.ndimage import gaussian_laplace

        inside = tuple(
            slice(r.start - s.start, r.stop - s.start) for r, s in zip(region, source, strict=True)
        )
        out = np.empty((len(block), *(s.stop - s.start for s in inside)), self.dtype(block.dtype))
        if out.size:
            for target, frame in zip(out, block, strict=True):
                target[...] = gaussian_laplace(frame.astype(out.dtype), self.sigma)[inside]
        return out


@dataclass(frozen=True, eq=False)
class AddLine(Step):
    """Insert a row or column of zeros."""

    index: int
    axis: int

    @property
    def code(self) -> str:  # type: ignore[override]
        """As in the list."""
        return ("add-row", "add-column")[self.axis]

    def shape(self, shape: Shape) -> Shape:
        return tuple(n + (i == self.axis) for i, n in enumerate(shape))

    def needs(self, region: Region, shape: Shape) -> Region:
        part = region[self.axis]
        a, b = (at - (at > self.index) for at in (part.start, part.stop))
        return tuple(slice(a, b) if i == self.axis else s for i, s in enumerate(region))

    def apply(self, block: Block, region: Region, source: Region, shape: Shape) -> Block:
        part = region[self.axis]
        if not part.start <= self.index < part.stop:
            return block
        return np.insert(block, self.index - part.start, 0, axis=self.axis + 1)


# ---------------------------------------------------------------- what callers pass


def _dark(value: Any, shape: Shape, path: str) -> Step:
    return Dark(_image(value, "dark", shape, path))


def _image(value: Any, code: str, shape: Shape, path: str) -> npt.NDArray[Any]:
    image = as_frame(value, f"the image of ({code!r}, …) in processing", path)
    if image is None or image.shape != shape or image.dtype.kind not in "buif":
        found = "nothing" if image is None else f"{image.shape} of type {image.dtype}"
        raise FormatError(
            path,
            f"({code!r}, …) in processing needs an image of {shape} pixels, not {found}.",
            "Its shape is that of the frames after the steps before it.",
        )
    image = image.astype(np.uint8) if image.dtype.kind == "b" else image
    return image.astype(image.dtype.newbyteorder("="), copy=False)


def _flip(value: Any, shape: Shape, path: str) -> Step:
    if not isinstance(value, str) or value not in _FLIPS:
        raise ValueError(f"('flip', {value!r}) in processing: there are {', '.join(_FLIPS)}")
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
            f"('rectangle', {value!r}) in processing: needed is ((row, end), (column, end)) "
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
        raise ValueError(f"('gauss_laplace', {value!r}) in processing: needed is sigma in pixels")
    return GaussLaplace(float(value))


def _line(axis: int) -> Callable[[Any, Shape, str], Step]:
    def make(value: Any, shape: Shape, path: str) -> Step:
        good = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not good or not 0 <= value <= shape[axis]:
            name = ("row", "column")[axis]
            raise ValueError(
                f"('add-{name}', {value!r}) in processing: needed is a number from 0 to "
                f"{shape[axis]}"
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
            f"processing={processing!r} is no list of steps such as [('flip', 'vh'), ('dark', …)]"
        )
    if processing and (len(shape) != 2 or dtype.kind not in "buif"):
        raise Unsupported(
            path, f"frames of {shape} pixels of type {dtype} cannot be processed (processing=)."
        )
    steps: list[Step] = []
    for entry in processing:
        if isinstance(entry, (str, bytes)) or not isinstance(entry, Sequence) or len(entry) != 2:
            raise ValueError(f"{entry!r} in processing is no step (code, argument)")
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
