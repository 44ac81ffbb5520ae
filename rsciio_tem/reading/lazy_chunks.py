# SPDX-License-Identifier: GPL-3.0-or-later
"""Chunks of lazy arrays whose pixels are read when they are reduced, piece by piece.

A dask task that adds up a chunk of 64 MiB needs neither its pixels in memory at once nor a decoded
copy of them. A `LazyChunk` stands for them: it answers the reductions of numpy by streaming frames
through a core's cache, with the kernels of `rsciio_tem.reduce` where these know what is asked, and
becomes an ordinary array for everything else. `rsciio_tem.reading.lazy_graphs` lets only functions
of numpy and dask see one.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from rsciio_tem.frames.pixels import Region, full_region
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, Walk
from rsciio_tem.reading.lazy import LazyFrames
from rsciio_tem.reading.lazy_joins import JOINS
from rsciio_tem.reduction.plan import frames_per_block
from rsciio_tem.reduction.quantities import Masks, Navigator, Sum
from rsciio_tem.reduction.regions import weighted_region
from rsciio_tem.reduction.single_pass import in_this_thread
from rsciio_tem.reduction.stored_order import in_stored_order

__all__ = ["ChunkSource", "LazyChunk", "in_memory"]

#: Reductions, and what joins the results of pieces.
_JOINS: dict[Any, np.ufunc] = {**JOINS, np.nansum: np.add, np.nanprod: np.multiply}

#: Where lines of a scan are reduced one by one, they have at least so many bytes.
_LEAST = 1 << 20

#: Whole numbers up to here are exact as floats.
_EXACT = 2**53


class Step(NamedTuple):
    """A function of numpy that is applied to the pixels, element by element.

    Parameters
    ----------
    function : callable
        It.
    operands : tuple
        Its arguments: numbers, or arrays of shape (frames or 1, ...).
    at : int
        Which of them is the pixels.
    """

    function: Callable[..., Any]
    operands: tuple[Any, ...]
    at: int

    def apply(self, pixels: npt.NDArray[Any], first: int, last: int) -> Any:
        """Apply it to the pixels of frames first..last."""
        operands = [
            o[first:last] if isinstance(o, np.ndarray) and o.ndim and len(o) > 1 else o
            for o in self.operands
        ]
        operands[self.at] = pixels
        return self.function(*operands)

    def of_frames(self, index: npt.NDArray[np.intp]) -> Step:
        """Return the same for some of the frames."""
        operands = tuple(
            o[index] if isinstance(o, np.ndarray) and o.ndim and len(o) > 1 else o
            for o in self.operands
        )
        return self._replace(operands=operands)

    def constant(self, at: int) -> Any:
        """Return an operand that is the same for all frames, None if there is none."""
        operand = self.operands[at] if at < len(self.operands) else None
        if isinstance(operand, np.ndarray) and operand.ndim:
            return operand[0] if len(operand) == 1 else None
        return operand


@dataclass(frozen=True, eq=False)
class LazyChunk(NDArrayOperatorsMixin):
    """Some frames of a scan, or the same region of each, and what is done with their pixels.

    Parameters
    ----------
    source : LazyFrames
        Where they are from.
    frames : Frames
        They, in scan order.
    nav_shape : tuple of int
        Shape of this part of the scan.
    region : Region
        Part of each frame.
    steps : tuple of Step
        What is done with their pixels.
    dtype : numpy.dtype
        Type of the result.
    """

    source: LazyFrames
    frames: Frames
    nav_shape: tuple[int, ...]
    region: Region
    steps: tuple[Step, ...]
    dtype: np.dtype[Any]

    @property
    def sig_shape(self) -> tuple[int, ...]:
        """Shape of the part of a frame."""
        return tuple(s.stop - s.start for s in self.region)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape as an array."""
        return (*self.nav_shape, *self.sig_shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes as an array."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        del copy  # there is nothing yet
        step = max(1, len(self.frames))
        ((_, pixels),) = self._pieces(step) if self.size else ((0, self._no_pixels()),)
        array = np.array(pixels).reshape(self.shape)
        return array if dtype is None else array.astype(dtype, copy=False)

    def __getitem__(self, key: Any, /) -> Any:
        return np.asarray(self)[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(np.asarray(self), name)

    # ------------------------------------------------------------------ what numpy asks for

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        """Cast, as arrays do."""
        if args or kwargs.keys() - {"copy"}:
            return np.asarray(self).astype(dtype, *args, **kwargs)
        return self._with(partial(_cast, np.dtype(dtype)), (self,))

    def __pow__(self, exponent: Any) -> Any:
        # arrays have short cuts for squares, which ``numpy.power`` has not
        return self._with(operator.pow, (self, exponent))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method == "__call__" and not options and ufunc.nout == 1 and ufunc.signature is None:
            return self._with(ufunc, inputs)
        return getattr(ufunc, method)(*map(in_memory, inputs), **in_memory(options))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        del types
        if func is np.where and len(args) == 3 and not kwargs:
            return self._with(func, args)
        if func in _JOINS and args and args[0] is self:
            reduced = self._reduced(func, *args[1:], **kwargs)
            if reduced is not NotImplemented:
                return reduced
        return func(*in_memory(args), **in_memory(kwargs))

    def _with(self, function: Callable[..., Any], operands: tuple[Any, ...]) -> Any:
        """Add a step; an array where this is not a chunk of one shape with plain operands."""
        ours = [i for i, o in enumerate(operands) if o is self]
        prepared: list[Any] = []
        for i, operand in enumerate(operands):
            part = None if i in ours else self._operand(operand)
            if part is NotImplemented or len(ours) != 1:
                return function(*in_memory(operands))
            prepared.append(part)
        step = Step(function, tuple(prepared), ours[0])
        result = step.apply(self._no_pixels(), 0, 0)
        fits = isinstance(result, np.ndarray) and result.shape == (0, *self.sig_shape)
        if not fits or result.dtype.kind not in "buifc":
            return function(*in_memory(operands))
        return replace(self, steps=(*self.steps, step), dtype=result.dtype)

    def _operand(self, value: Any) -> Any:
        """Return an operand as in `Step`, NotImplemented for what is none."""
        if isinstance(value, (bool, int, float, complex)):
            return value
        plain = type(value) is np.ndarray or isinstance(value, np.generic)
        if not plain or np.ndim(value) > self.ndim:
            return NotImplemented  # others, such as masked arrays, have rules of their own
        if np.ndim(value) == 0:
            return value
        array = np.asarray(value)
        array = array.reshape((1,) * (self.ndim - array.ndim) + array.shape)
        if any(n not in (1, size) for n, size in zip(array.shape, self.shape, strict=True)):
            return NotImplemented
        nav, sig = len(self.nav_shape), array.shape[len(self.nav_shape) :]
        if all(n == 1 or s == 0 for n, s in zip(array.shape[:nav], array.strides, strict=False)):
            return array[(0,) * nav][np.newaxis]
        return np.broadcast_to(array, (*self.nav_shape, *sig)).reshape(-1, *sig)

    def _no_pixels(self) -> npt.NDArray[Any]:
        """Return no frames, after all steps."""
        return np.empty((0, *self.sig_shape), self.dtype)

    # ------------------------------------------------------------------ piece by piece

    def _pieces(self, step: int | None = None) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Read, and apply all steps; each piece is valid until the next one."""
        frames, region = self.frames, None if self._is_whole else self.region
        blocks = Walk(frames, step or frames_per_block(frames), region, native=True)
        for first, block in blocks:
            last = first + len(block)
            pixels = block.reshape(len(block), *self.sig_shape)
            pixels = self.source.cast(pixels, frames[first:last])
            for action in self.steps:
                pixels = action.apply(pixels, first, last)
            yield first, pixels

    def _reduced(
        self,
        func: Any,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: Any = False,
        **options: Any,
    ) -> Any:
        """Reduce; NotImplemented where that is not known."""
        options = {k: v for k, v in options.items() if v is not np._NoValue}
        keepdims = False if keepdims is np._NoValue or keepdims is None else bool(keepdims)
        if options or out is not None or not self.size:
            return NotImplemented
        if dtype is not None and np.dtype(dtype).kind not in "buifc":
            return NotImplemented
        axes = range(self.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        if not all(isinstance(a, (int, np.integer)) for a in axes):
            return NotImplemented
        reduced = {int(a) % self.ndim for a in axes}
        nav = len(self.nav_shape)
        sig_axes = tuple(a - nav + 1 for a in sorted(reduced) if a >= nav)
        over = [a for a in range(nav) if a in reduced]
        if not reduced or (nav and not over and not sig_axes):
            return NotImplemented
        extra = {} if dtype is None else {"dtype": dtype}
        if 0 < len(over) < nav:
            values = self._over_some(func, over, sig_axes, extra)
        elif over or not nav:
            values = self._over_all(func, sig_axes, extra)
        else:
            values = self._frame_by_frame(func, sig_axes, extra)
        if values is NotImplemented:
            return values
        kept = tuple(
            (1 if keepdims else None) if i in reduced else n for i, n in enumerate(self.shape)
        )
        values = np.asarray(values).reshape(tuple(n for n in kept if n is not None))
        return values if values.ndim else values[()]

    def _over_all(self, func: Any, sig_axes: tuple[int, ...], extra: dict[str, Any]) -> Any:
        """Reduce all frames to one, or further; shape (1, ...)."""
        total = self._known_pattern(func, sig_axes, extra)
        if total is None and len(sig_axes) == len(self.region):
            total = self._known_values(func, extra)
        if total is not None:
            whole = total.shape[1:] == self.sig_shape
            if whole and not sig_axes and len(total) == 1:
                return total  # an image, of which there need be no second one
            return func(total, axis=(0, *sig_axes) if whole else (0,), keepdims=True, **extra)
        if self._sums_exactly(func) and not sig_axes:
            sums = Sum(math.prod(self.sig_shape), self.dtype)
            for first, pixels in self._pieces():
                sums.take(first, pixels.reshape(len(pixels), -1))
            total = sums.result().reshape(1, *self.sig_shape)
            return total.astype(self._sum_type(func, extra), copy=False)
        for _, pixels in self._pieces():
            part = func(pixels, axis=(0, *sig_axes), keepdims=True, **extra)
            total = part if total is None else _JOINS[func](total, part)
        return total

    def _frame_by_frame(self, func: Any, sig_axes: tuple[int, ...], extra: dict[str, Any]) -> Any:
        """Reduce each frame; shape (frames, ...)."""
        if len(sig_axes) == len(self.region):
            values = self._known_values(func, extra)
            if values is not None:
                return values
            if self._sums_exactly(func):
                sums = Navigator(len(self.frames), self.dtype)
                for first, pixels in self._pieces():
                    sums.take(first, pixels.reshape(len(pixels), -1))
                kind = self._sum_type(func, extra)
                return sums.result().astype(kind).reshape(-1, *(1,) * len(self.region))
        parts = [func(p, axis=sig_axes, keepdims=True, **extra) for _, p in self._pieces()]
        return np.concatenate(parts)

    def _over_some(
        self, func: Any, over: list[int], sig_axes: tuple[int, ...], extra: dict[str, Any]
    ) -> Any:
        """Reduce the frames of each line, in whatever direction."""
        nav = len(self.nav_shape)
        rest = [a for a in range(nav) if a not in over]
        size = math.prod(self.nav_shape[a] for a in over)
        hint = self.frames.chunk_hint
        if hint is not None and hint.run > 1:  # lines share what is decoded at a time
            return NotImplemented
        if size * math.prod(self.sig_shape) * self.frames.dtype.itemsize < _LEAST:
            return NotImplemented
        numbers = np.arange(len(self.frames)).reshape(self.nav_shape)
        lines = numbers.transpose(*rest, *over).reshape(-1, size)
        return np.concatenate([self._line(n)._over_all(func, sig_axes, extra) for n in lines])

    def _line(self, index: npt.NDArray[np.intp]) -> LazyChunk:
        first, last = int(index[0]), int(index[-1]) + 1
        picks = slice(first, last) if last - first == len(index) else index.astype(np.int64)
        steps = tuple(step.of_frames(index) for step in self.steps)
        return replace(self, frames=self.frames[picks], nav_shape=(len(index),), steps=steps)

    # ------------------------------------------------------------------ with kernels

    @property
    def _has_kernels(self) -> bool:
        """Whether kernels know the pixels, and these keep the type that they have in frames."""
        dtype = self.frames.dtype
        summable = dtype.kind in "buif" and dtype.itemsize <= (8 if dtype.kind == "f" else 4)
        kept = dtype.newbyteorder("=") == self.source.dtype and self.frames.lost_value is None
        return summable and kept and len(self.frames.frame_shape) == 2

    @property
    def _is_whole(self) -> bool:
        return self.region == full_region(tuple(self.frames.frame_shape))

    def _sums_exactly(self, func: Any) -> bool:
        """Whether this is a sum of whole numbers that 64 bits have room for."""
        small = self.dtype.kind in "bui" and self.dtype.itemsize <= 4 and self.dtype.isnative
        return small and func in (np.sum, np.nansum)

    def _sum_type(self, func: Any, extra: dict[str, Any]) -> np.dtype[Any]:
        kind: np.dtype[Any] = np.asarray(func(self._no_pixels(), **extra)).dtype
        return kind

    def _known_pattern(self, func: Any, sig_axes: tuple[int, ...], extra: dict[str, Any]) -> Any:
        """Return what kernels make of all frames, shape (1, *sig_shape); None if they cannot."""
        if not (self._has_kernels and self._is_whole) or self.dtype.kind == "c":
            return None
        exact = self.frames.dtype.kind != "f"
        if not self.steps and func is np.max and not sig_axes:
            most = in_this_thread(self.frames, {"max"})["max"]  # of half precision in single one
            return most[np.newaxis].astype(self.dtype, copy=False)
        if func not in (np.sum, np.nansum) or (func is np.nansum and not exact):
            return None
        kind = self._sum_type(func, extra)
        if kind.kind not in "uif" or (kind.kind in "ui" and not exact):
            return None  # numpy cuts off the fraction of each pixel
        if not self.steps:
            return in_this_thread(self.frames, {"sum"})["sum"][np.newaxis].astype(kind, copy=False)
        squares = self._squares() if exact and kind.kind == "f" and not sig_axes else None
        if squares is not None:
            result = in_this_thread(self.frames, {"sum", "variance"})
            count = len(self.frames)
            mean = result["sum"] / count
            return (count * (result["variance"] + (mean - squares) ** 2))[np.newaxis].astype(kind)
        weights = self._weights(func)
        if not exact or weights is None or len(sig_axes):
            return None
        if kind.kind in "ui" and not ((weights == 0) | (weights == 1)).all():
            return None
        sums = in_this_thread(self.frames, {"sum"})["sum"]
        return (sums * weights)[np.newaxis].astype(kind)

    def _known_values(self, func: Any, extra: dict[str, Any]) -> Any:
        """Return what kernels make of each frame, shape (frames, 1, 1); None if they cannot."""
        if func not in (np.sum, np.nansum) or not self._has_kernels:
            return None
        frames, exact = self.frames, self.frames.dtype.kind != "f"
        if func is np.nansum and not exact and not self.steps:
            return None
        kind = self._sum_type(func, extra)
        if kind.kind not in "uif" or (kind.kind in "ui" and not exact):
            return None  # numpy cuts off the fraction of each pixel
        if not self.steps and self._is_whole:
            values = in_this_thread(frames, {"navigator"})["navigator"]
            return values.astype(kind).reshape(-1, *(1,) * len(self.region))
        weights = np.ones(self.sig_shape) if not self.steps else self._weights(func)
        if weights is None:
            return None
        if kind.kind in "ui" and (weights != np.rint(weights)).any():
            return None
        if not exact and self.steps and self.steps[0].function is np.multiply:
            products = self._multiplied(weights)
            return None if products is None else products.astype(kind).reshape(-1, 1, 1)
        if exact:
            most = max(abs(int(end)) for end in _limits(frames.dtype))
            if np.abs(weights).max(initial=0) * most * weights.size >= _EXACT:
                return None
        values = self._weighted(weights)
        if not exact and not np.isfinite(values).all():
            return None  # what is no number, here or where nobody looks
        return values.astype(kind).reshape(-1, *(1,) * len(self.region))

    def _multiplied(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[Any] | None:
        """Return the weighted sum of each frame of floats; None if a pixel is no finite number.

        It stays none if it is multiplied with zero.
        """
        if not self._is_whole or np.abs(weights).max(initial=0) > 1:  # products may overflow
            return None
        masks = {"masks": weights.reshape(1, *self.sig_shape)}
        sums = in_this_thread(self.frames, {"navigator"}, masks)
        return sums["masks"][0] if np.isfinite(sums["navigator"]).all() else None

    def _weighted(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """Return the weighted sum of each frame, of which no more than the region is read."""
        frames = self.frames
        fold = in_stored_order(frames)
        # packed words of one chip need no decoding to be added up; of several, regions are small
        packed = fold is not None and not fold.in_rows and not _is_tiled(frames)
        if self._is_whole or packed:
            detector = np.zeros((1, *frames.frame_shape))
            detector[0][self.region] = weights
            return np.asarray(in_this_thread(frames, set(), {"masks": detector})["masks"][0])
        if (values := weighted_region(frames, self.region, weights)) is not None:
            return values
        bare = replace(self, steps=(), dtype=self.source.dtype)
        masks = Masks(len(frames), self.source.dtype, weights.reshape(1, -1))
        for first, pixels in bare._pieces():
            masks.take(first, pixels.reshape(len(pixels), -1))
        return np.asarray(masks.result()[0])

    def _weights(self, func: Any) -> Any:
        """Return weights, of the shape of a frame, that are all that the steps do; or None."""
        if len(self.steps) != 1:
            return None
        (step,) = self.steps
        if step.function is np.multiply:
            weights = step.constant(1 - step.at)
            real = weights is not None and np.asarray(weights).dtype.kind in "buif"
            if real and np.isfinite(weights).all() and self._has_room(weights):
                return np.broadcast_to(np.asarray(weights, np.float64), self.sig_shape)
        if step.function is np.where and step.at in (1, 2):
            condition, other = step.constant(0), step.constant(3 - step.at)
            if condition is None or other is None or np.ndim(other) or isinstance(other, complex):
                return None
            if other == 0 or (func is np.nansum and np.isnan(other)):
                used = np.asarray(condition, bool)
                used = used if step.at == 1 else ~used
                return np.broadcast_to(used.astype(np.float64), self.sig_shape)
        return None

    def _has_room(self, weights: Any) -> bool:
        """Whether products with weights do not overflow; those of whole numbers wrap around."""
        if self.dtype.kind == "f":
            return True
        low, high = _limits(self.frames.dtype)
        ends = [
            factor * end
            for factor in (int(np.min(weights)), int(np.max(weights)))
            for end in (low, high)
        ]
        least, most = _limits(self.dtype)
        return least <= min(ends) and max(ends) <= most

    def _squares(self) -> Any:
        """Return what is taken off the pixels before they are squared, None if that is not done."""
        if len(self.steps) != 2:
            return None
        first, second = self.steps
        squared = second.function is operator.pow and second.at == 0 and second.operands[1] == 2
        if squared and first.function is np.subtract and first.at == 0:
            level = first.constant(1)
            if isinstance(level, np.ndarray) and level.dtype == np.float64:
                return np.broadcast_to(level, self.sig_shape)
        return None


def _cast(dtype: np.dtype[Any], pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return pixels.astype(dtype, copy=False)


def _is_tiled(frames: Frames) -> bool:
    return isinstance(frames, FrameTable) and bool(frames.pixels.tiles)


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    if dtype.kind == "b":
        return 0, 1
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def in_memory(value: Any) -> Any:
    """Return a value with arrays instead of chunks, also in lists and dictionaries."""
    if isinstance(value, LazyChunk):
        return np.asarray(value)
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(in_memory(v) for v in value)
    if isinstance(value, dict):
        return {k: in_memory(v) for k, v in value.items()}
    return value


@dataclass(frozen=True, eq=False)
class ChunkSource:
    """The same array as a `LazyFrames`, whose slices are chunks where that is possible.

    Parameters
    ----------
    source : LazyFrames
        It.
    """

    source: LazyFrames

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape as an array."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return self.source.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.source.ndim

    def __getitem__(self, key: Any, /) -> Any:
        source = self.source
        chosen = source.chosen(key)
        if chosen is None:
            return source[key]
        nav, region = chosen
        frames = source.frames[source.positions(list(nav))]
        # a number takes its axis away
        shape = tuple(len(r) for r, k in zip(nav, key, strict=False) if isinstance(k, slice))
        return LazyChunk(source, frames, shape, region, (), source.dtype)
