# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a processing list.

Each step knows which region it needs of the frame before it, so that a few rows of a result cost a
few rows of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.pixels import Region

__all__ = ["FLIPS", "Block", "Shape", "Step"]

Block = npt.NDArray[Any]
Shape = tuple[int, ...]


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
        target, dark = self.dtype(block.dtype), self.image[region]
        result: Block
        if target.kind == "f":
            result = np.maximum(block.astype(target) - dark.astype(target), 0)
        elif self._least:
            # both have room in 64 bits: for longer ones `target` is floating
            result = np.maximum(block.astype(np.int64) - dark.astype(np.int64), 0).astype(target)
        else:
            most = min(np.iinfo(target).max, np.iinfo(dark.dtype).max)
            dark = np.minimum(dark, most).astype(target)
            # the larger of both minus the dark value is never negative, so it cannot wrap
            result = np.maximum(block.astype(target, copy=False), dark) - dark
        return result


#: For each flip: whether rows and columns are exchanged first, then which are reversed.
FLIPS: dict[str, tuple[bool, bool, bool]] = {
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
        return FLIPS[self.how][0]

    def shape(self, shape: Shape) -> Shape:
        return shape[::-1] if self.transposes else shape

    def needs(self, region: Region, shape: Shape) -> Region:
        parts = []
        _, *reverse = FLIPS[self.how]
        for part, size, reversed_ in zip(region, self.shape(shape), reverse, strict=True):
            parts.append(slice(size - part.stop, size - part.start) if reversed_ else part)
        return tuple(parts[::-1] if self.transposes else parts)

    def apply(self, block: Block, region: Region, source: Region, shape: Shape) -> Block:
        transposes, rows, columns = FLIPS[self.how]
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
