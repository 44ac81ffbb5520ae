# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that lie inside arrays: Fortran-ordered files, memory, HDF5 and zarr data sets, dask."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Unsupported
from rsciio_tem.frames.pixels import Region, full_region
from rsciio_tem.frames.protocol import ChunkHint, Order, OrderedFrames, ReadAs
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import Backend, DataFile
from rsciio_tem.storage.files import is_array

__all__ = ["ArrayFrames", "DaskFrames", "InMemory", "PixelMajor"]

#: Bytes that are fetched and put into order at a time where neighbours in the file are the same
#: pixel of different frames: enough pixels for whole cache lines of the frames.
_GATHERED = 16 << 20


@dataclass(frozen=True, eq=False)
class InMemory:
    """Opens an array that this process holds; see `ArrayFrames`."""

    array: Any

    def __call__(self) -> Any:
        """Return it, if it can still be read."""
        is_array(self.array)
        return self.array


@dataclass(frozen=True, eq=False)
class ArrayFrames(OrderedFrames):
    """Frames of an array-like whose last axes are the frame.

    Parameters
    ----------
    open : callable
        Returns the array-like; called for each load, so it may reopen a file.
    nav_shape, frame_shape : tuple of int
        How its shape divides.
    dtype : numpy.dtype
        Type of a pixel, in the machine's byte order.
    order : ndarray of int64, optional
        Frame i is flat scan position ``order[i]``; -1 is a blank.
    detector_major : bool
        Neighbours in memory are the same pixel of different frames (Fortran order).
    fill : float
        Value of blanks.
    chunks : tuple of int, optional
        Shape of the blocks in which the array is stored, if it is.
    """

    open: Callable[[], Any]
    nav_shape: tuple[int, ...]
    frame_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Order = None
    detector_major: bool = False
    fill: float = 0
    chunks: tuple[int, ...] | None = None

    @property
    def chunk_hint(self) -> ChunkHint | None:
        """Which pixels are best read together."""
        ndim = len(self.frame_shape)
        if self.detector_major:
            return ChunkHint.of_pixels(len(self), ndim, tuple(range(ndim))[::-1])
        if self.chunks is None:
            return None
        split = len(self.nav_shape)
        hint = ChunkHint(self.nav_shape, self.chunks[:split], self.chunks[split:])
        return hint if self.order is None else hint.flat(len(self))

    @property
    def stored_count(self) -> int:
        """Number of scan positions."""
        return math.prod(self.nav_shape)

    @property
    def in_memory(self) -> bool:
        """Whether pixels are in an array that this process holds."""
        return isinstance(self.open, InMemory)

    @property
    def index(self) -> npt.NDArray[np.int64]:
        """Flat scan position of each frame."""
        return np.arange(len(self), dtype=np.int64) if self.order is None else self.order

    def _read_as(self, how: ReadAs) -> Self:
        # the array decides about it
        if how.backend != "auto" or how.flip_y is not None:
            raise Unsupported("", "io_backend and flip_y have no meaning for frames in an array.")
        if how.frame_shape is not None and how.frame_shape != self.frame_shape:
            raise Unsupported("", f"frames of {self.frame_shape} pixels keep their shape.")
        return self if how.fill is None else replace(self, fill=how.fill)

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        region = region or full_region(self.frame_shape)
        positions = self.index
        blank = positions < 0
        out[blank] = self.fill
        filled = np.flatnonzero(~blank)
        if not len(filled):
            return
        source = self.open()
        if self.detector_major:
            self._load_detector_major(source, out, positions, filled, region)
            return
        if not self.nav_shape:
            out[filled] = source[region]
            return
        # runs of neighbouring positions within one fast-scan line
        fast = self.nav_shape[-1]
        p = positions[filled]
        joins = (np.diff(p) == 1) & (p[1:] % fast != 0) & (np.diff(filled) == 1)
        bounds = [0, *(np.flatnonzero(~joins) + 1).tolist(), len(p)]
        for a, b in pairwise(bounds):
            *slow, column = np.unravel_index(int(p[a]), self.nav_shape)
            key = (*(int(i) for i in slow), slice(int(column), int(column) + b - a), *region)
            first = int(filled[a])
            out[first : first + b - a] = source[key]

    def _load_detector_major(
        self,
        source: npt.NDArray[Any],
        out: npt.NDArray[Any],
        positions: npt.NDArray[np.int64],
        filled: npt.NDArray[np.int64],
        region: Region,
    ) -> None:
        """Gather from an array in Fortran order, one slab of memory after the other."""
        n_sig = len(self.frame_shape)
        stored = source.T  # C order: detector axes reversed, then scan axes reversed
        flat = stored.reshape(*self.frame_shape[::-1], -1)
        where = positions[filled]
        if self.nav_shape:
            grid = np.unravel_index(where, self.nav_shape)
            where = np.ravel_multi_index(grid[::-1], self.nav_shape[::-1])
        inner = region[::-1][1:]
        last = region[-1]
        rest: tuple[Any, ...] = (slice(None),) * (n_sig - 1)
        for i, k in enumerate(range(last.start, last.stop)):
            source_key: tuple[Any, ...] = (k, *inner)
            slab = flat[source_key][..., where]
            target_key: tuple[Any, ...] = (filled, *rest, i)
            out[target_key] = slab.T


@dataclass(frozen=True, eq=False)
class PixelMajor(OrderedFrames):
    """Frames stored pixel by pixel: for each pixel of the detector its values in all frames.

    Some rows of all frames are one range of bytes; one frame is spread over the whole file.

    Parameters
    ----------
    file : DataFile
        The file.
    start : int
        Byte at which the first pixel's values begin.
    stored : numpy.dtype
        Type of a stored pixel, byte order included.
    count : int
        Number of stored frames.
    frame_shape : tuple of int
        Shape of a frame.
    order : ndarray of int64, optional
        Frame i is stored frame ``order[i]``; -1 is a blank.
    native : bool
        Return values in the machine's byte order; otherwise in that of the file.
    fill : float
        Value of blanks.
    backend : str
        How bytes are fetched, see `rsciio_tem.storage.backends`.
    """

    file: DataFile
    start: int
    stored: np.dtype[Any]
    count: int
    frame_shape: tuple[int, ...]
    order: Order = None
    native: bool = True
    fill: float = 0
    backend: Backend = "auto"

    @property
    def chunk_hint(self) -> ChunkHint | None:
        """Which pixels are best read together."""
        return ChunkHint.of_pixels(len(self), len(self.frame_shape))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        if self.stored.names is not None:  # the parts of a colour, without gaps
            return np.dtype([(name, self.stored[name]) for name in self.stored.names])
        return self.stored.newbyteorder("=") if self.native else self.stored

    @property
    def stored_count(self) -> int:
        """Number of stored frames."""
        return self.count

    def _read_as(self, how: ReadAs) -> Self:
        if how.flip_y is not None:
            raise Unsupported(
                self.file.path, "frames stored pixel by pixel cannot be flipped (flip_y)."
            )
        return replace(
            self,
            frame_shape=how.reshaped(self.frame_shape, self.file.path),
            native=self.native and how.native,
            fill=how.filled(self.fill),
            backend=how.backend,
        )

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        region = region or full_region(self.frame_shape)
        low, high = 0, self.count
        filled: npt.NDArray[np.int64] | None = None  # None: all of low..high, in order
        if self.order is not None:
            blank = self.order < 0
            out[blank] = self.fill
            filled = np.flatnonzero(~blank)
            if not len(filled):
                return
            chosen = self.order[filled]
            low, high = int(chosen.min()), int(chosen.max()) + 1
            if len(filled) == len(out) and (np.diff(chosen) == 1).all():
                filled = None
        rows, *others = region
        inner = self.frame_shape[1:]
        pixels = math.prod(inner)
        # whole rows are one range; otherwise line by line
        if all(s == slice(0, n) for s, n in zip(others, inner, strict=True)):
            ranges = [(rows.start * pixels, (rows.stop - rows.start) * pixels)]
        else:
            grid = np.arange(math.prod(self.frame_shape)).reshape(self.frame_shape)[region]
            lines = grid.reshape(-1, grid.shape[-1])
            ranges = [(int(line[0]), len(line)) for line in lines if len(line)]
        target = out.reshape(len(out), -1)
        at = 0
        step = max(1, _GATHERED // ((high - low) * self.stored.itemsize))
        for first, n in ranges:
            for i in range(first, first + n, step):
                k = min(step, first + n - i)
                block = self._block(i, k, low, high)
                if filled is None:
                    target[:, at : at + k] = block.T
                else:
                    target[filled, at : at + k] = block.T[chosen - low]
                at += k
        if not np.may_share_memory(target, out):  # a region of a larger array, out of order
            out[...] = target.reshape(out.shape)

    def _block(self, first: int, count: int, low: int, high: int) -> npt.NDArray[Any]:
        """Return the values of some pixels in the stored frames low..high; (pixels, frames)."""
        line, size = self.count * self.stored.itemsize, self.stored.itemsize
        start, span = self.start + first * line + low * size, (high - low) * size
        if 2 * span >= line or self.backend == "mmap":
            nbytes = (count - 1) * line + span
            block = backends.read(self.file, start, nbytes, self.backend)
            raw = np.lib.stride_tricks.as_strided(block, (count, span), (line, 1))
        else:
            raw = np.empty((count, span), np.uint8)
            backends.read_pieces(self.file, start, line, raw)
        return raw.view(self.stored)


@dataclass(frozen=True, eq=False)
class DaskFrames(OrderedFrames):
    """Frames of a dask array; stays lazy.

    Parameters
    ----------
    array : dask.array.Array
        Shape (frames, *frame_shape), frames not split.
    order : ndarray of int64, optional
        As in `ArrayFrames`.
    fill : float
        Value of blanks.
    """

    array: Any
    order: Order = None
    fill: float = 0
    frame_shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame_shape", tuple(self.array.shape[1:]))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        result: np.dtype[Any] = np.dtype(self.array.dtype)
        return result

    @property
    def stored_count(self) -> int:
        """Number of frames in the array."""
        return int(self.array.shape[0])

    @property
    def graph_chunk(self) -> int:
        """Number of frames that the graph computes at a time."""
        return max(1, int(self.array.chunks[0][0])) if len(self.array.chunks[0]) else 1

    def _cut(self, start: int, stop: int) -> Self:
        return replace(self, array=self.array[start:stop])

    def _read_as(self, how: ReadAs) -> Self:
        # the array decides about it
        if how.backend != "auto" or how.flip_y is not None:
            raise Unsupported("", "io_backend and flip_y have no meaning for frames in an array.")
        if how.frame_shape is not None and how.frame_shape != self.frame_shape:
            raise Unsupported("", f"frames of {self.frame_shape} pixels keep their shape.")
        return self if how.fill is None else replace(self, fill=how.fill)

    def lazy(self) -> Any:
        """Return the frames as a dask array; blanks are joined on as blocks, never gathered."""
        import dask.array as da

        if self.order is None:
            return self.array
        order = self.order
        if not len(order):
            return self.array[:0]
        joins = (np.diff(order) == 1) & (order[:-1] >= 0) | (order[1:] < 0) & (order[:-1] < 0)
        bounds = [0, *(np.flatnonzero(~joins) + 1).tolist(), len(order)]
        if len(bounds) > 1 + max(64, len(order) // 16):
            real = self.array[np.maximum(order, 0)]
            keep = (order >= 0).reshape(-1, *(1,) * len(self.frame_shape))
            return da.where(keep, real, np.asarray(self.fill, self.dtype))
        parts = []
        for a, b in pairwise(bounds):
            first = int(order[a])
            if first < 0:
                parts.append(da.full((b - a, *self.frame_shape), self.fill, dtype=self.dtype))
            else:
                parts.append(self.array[first : first + b - a])
        return da.concatenate(parts)

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        data = self.lazy()
        if region is not None:
            data = data[(slice(None), *region)]
        out[...] = data.compute()
