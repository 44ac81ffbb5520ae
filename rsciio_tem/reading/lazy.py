# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that behave like an array which is read when it is sliced, and their chunks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotEnoughMemory
from rsciio_tem.frames.pixels import Region
from rsciio_tem.frames.protocol import ChunkHint, FrameIndex, Frames
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.reading.options import pixel_type
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage import backends, machine

__all__ = ["LazyFrames", "Origin", "chunked", "default_chunks", "lazy_source", "picked"]


def cast_to(source: np.dtype[Any], asked: Any) -> np.dtype[Any] | None:
    """Return the dtype to cast to, None for no cast."""
    if asked is None or (isinstance(asked, str) and asked == "stored"):
        return None
    target = pixel_type(asked)
    if source.kind in "fc" and target.kind in "iub":
        raise TypeError(f"dtype={target} would cut off the fractions of {source} pixels")
    if source.kind == "c" and target.kind != "c":
        raise TypeError(f"dtype={target} cannot hold {source} pixels")
    return None if target == source else target


def cast_values(values: npt.NDArray[Any], target: np.dtype[Any], path: str) -> npt.NDArray[Any]:
    """Cast; a value that the target cannot hold is an error, never a wrapped number."""
    if not np.can_cast(values.dtype, target, "safe") and values.size:
        if target.kind in "iub":
            low, high = (
                (0, 1) if target.kind == "b" else (np.iinfo(target).min, np.iinfo(target).max)
            )
            least, most = values.min(), values.max()
            if least < low or most > high:
                raise FormatError(
                    path,
                    f"pixel values from {least} to {most} do not fit into {target}.",
                    "Pass a wider dtype.",
                )
        elif target.kind in "fc":
            parts = (values.real, values.imag) if values.dtype.kind == "c" else (values,)
            most = float(np.finfo(target).max)
            if any((np.abs(part[np.isfinite(part)]) > most).any() for part in parts):
                wide = "float64" if target.kind == "f" else "complex128"
                raise FormatError(path, f"pixel values do not fit into {target}.", f"Use {wide}.")
    return values.astype(target)


# ---------------------------------------------------------------- lazy


@dataclass(frozen=True, eq=False)
class Origin:
    """What frames in scan order were made of.

    Parameters
    ----------
    recording : Recording
        It.
    index : slice or ndarray of int64
        Which of its frames is at each position, -1 for a blank.
    fill : float
        Value of blanks.
    """

    recording: Recording
    index: FrameIndex
    fill: float = 0


@dataclass(frozen=True, eq=False)
class LazyFrames:
    """Frames arranged in a scan, behaving like an array that is read when it is sliced.

    dask fuses slices into it, so that asking for one frame reads one frame and asking for a few
    detector rows reads those rows. It holds no open file and pickles small.

    Parameters
    ----------
    frames : Frames
        In scan order.
    nav_shape : tuple of int
        Scan shape; its product is ``len(frames)``.
    dtype : numpy.dtype
        Type of the result.
    path : str
        For messages.
    fill : float
        Value of blanks in `dtype`, where this differs from that of the frames.
    origin : Origin, optional
        What they were made of; stays in this process.
    """

    frames: Frames
    nav_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    path: str
    fill: float = 0
    origin: Origin | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "origin": None}

    @property
    def shape(self) -> tuple[int, ...]:
        """Scan shape followed by frame shape."""
        return (*self.nav_shape, *self.frames.frame_shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __getitem__(self, key: Any, /) -> npt.NDArray[Any]:
        backends.settle()
        key = key if isinstance(key, tuple) else (key,)
        if any(k is Ellipsis for k in key):
            at = next(i for i, k in enumerate(key) if k is Ellipsis)
            fill = self.ndim - (len(key) - 1)
            key = (*key[:at], *(slice(None),) * fill, *key[at + 1 :])
        key = (*key, *(slice(None),) * (self.ndim - len(key)))
        if len(key) > self.ndim:
            raise IndexError(f"too many indices: {len(key)} for {self.ndim} dimensions")
        chosen = [picked(k, n) for k, n in zip(key, self.shape, strict=True)]
        n_nav = len(self.nav_shape)
        nav, sig = chosen[:n_nav], chosen[n_nav:]
        region: Region = tuple(map(_stretch, sig))
        frames = self.frames[self.positions(nav)]
        viewed = frames.viewed() if isinstance(frames, FrameTable) else None
        if viewed is not None:
            out = viewed[(slice(None), *region)]
        else:
            shape = (len(frames), *(s.stop - s.start for s in region))
            try:
                out = np.empty(shape, self.frames.dtype)
            except (MemoryError, ValueError) as error:
                raise NotEnoughMemory(
                    self.path,
                    f"there is no memory for {' x '.join(map(str, shape))} pixels at once.",
                    "Take fewer frames, or a part of each.",
                ) from error
            frames.load(out, region)
        for axis, (c, s) in enumerate(zip(sig, region, strict=True), start=1):
            if isinstance(c, range):
                if c.step != 1:
                    out = out[(*(slice(None),) * axis, slice(None, None, c.step))]
            else:
                out = out.take(c - s.start, axis=axis)
        out = self.cast(out, frames).reshape(*(len(c) for c in chosen))
        dropped = tuple(i for i, k in enumerate(key) if isinstance(k, (int, np.integer)))
        return out.squeeze(dropped) if dropped else out

    def chosen(self, key: Any) -> tuple[tuple[range, ...], Region] | None:
        """Return which part of the scan, and of each frame, a simple key picks; None for others.

        Also None where frames are in memory, or computed by dask: these are not read in pieces.
        """
        if self.frames.in_memory or self.frames.graph_chunk or not isinstance(key, tuple):
            return None
        count = len(self.nav_shape)
        simple = all(isinstance(k, (slice, int) if i < count else slice) for i, k in enumerate(key))
        if len(key) != self.ndim or not simple:
            return None
        picks = [picked(k, n) for k, n in zip(key, self.shape, strict=True)]
        ranges = [r for r in picks if isinstance(r, range)]
        nav, sig = ranges[:count], ranges[count:]
        if not all(map(len, ranges)) or any(r.step != 1 for r in sig):
            return None
        backends.settle()
        return tuple(nav), tuple(map(_stretch, sig))

    def cast(self, values: npt.NDArray[Any], frames: Frames) -> npt.NDArray[Any]:
        """Turn loaded frames into the wanted type, blanks into the fill value."""
        if values.dtype == self.dtype:
            return values
        lost_value = frames.lost_value
        lost = None if lost_value is None else values == lost_value
        if lost is not None:
            values[lost] = 0
        values = cast_values(values, self.dtype, self.path)
        if lost is not None:
            values[lost] = self.fill
        elif self.fill != 0 and (blanks := frames.blanks) is not None:
            values[blanks] = self.fill
        return values

    def positions(self, nav: list[range | npt.NDArray[np.int64]]) -> slice | npt.NDArray[np.int64]:
        """Flat scan positions of a grid of indices; a slice where they follow each other."""
        if not nav:
            return slice(0, 1)
        strides = [math.prod(self.nav_shape[i + 1 :]) for i in range(len(nav))]
        total = math.prod(len(c) for c in nav)
        if not total:
            return slice(0, 0)
        if all(isinstance(c, range) and c.step > 0 for c in nav):
            first = sum(c[0] * s for c, s in zip(nav, strides, strict=True))
            last = sum(c[-1] * s for c, s in zip(nav, strides, strict=True))
            if last - first + 1 == total:
                return slice(int(first), int(last) + 1)
        flat = np.zeros((), np.int64)
        for c, s in zip(nav, strides, strict=True):
            flat = flat[..., np.newaxis] + np.asarray(c, np.int64) * s
        return flat.reshape(-1)


def _stretch(indices: range | npt.NDArray[np.int64]) -> slice:
    """Return the pixels from the first to the last of some indices."""
    if not len(indices):
        return slice(0, 0)
    ends = (indices[0], indices[-1]) if isinstance(indices, range) else indices
    return slice(int(min(ends)), int(max(ends)) + 1)


def picked(key: Any, size: int) -> range | npt.NDArray[np.int64]:
    """Return the indices that one part of a key picks from an axis of `size`."""
    if isinstance(key, slice):
        return range(*key.indices(size))
    index = np.asarray(key)
    if index.dtype == bool:
        index = np.flatnonzero(index)
    if index.size and (index.min() < -size or index.max() >= size):
        raise IndexError(f"index {key} is out of bounds for size {size}")
    if index.ndim == 0:
        return range(int(index) % size, int(index) % size + 1)
    return index.astype(np.int64) % size


def default_chunks(
    nav_shape: tuple[int, ...],
    frame_shape: tuple[int, ...],
    itemsize: int,
    hint: ChunkHint | None = None,
) -> tuple[int, ...]:
    """Choose chunks of whole frames that are one contiguous byte range each.

    Whole fast-scan rows, as many of them as make about 64 MiB; less where that would leave fewer
    than about two chunks per processor, but not below 16 MiB: dask takes 1 to 3 ms for each. Of
    frames above 4 MiB there are up to sixteen in a chunk, up to 128 MiB: a sum over the scan makes
    a frame of each chunk, with more bytes per pixel, and dask adds these up. Where frames are
    stored in blocks (see `ChunkHint`), chunks are multiples of them; and where blocks with whole
    frames would be too large, such as when frames are stored pixel by pixel, chunks are parts of
    the frames.
    """
    block = (1,) * len(nav_shape) if hint is None else hint.nav_block(nav_shape)
    block = tuple(max(1, min(n, k)) for n, k in zip(nav_shape, block, strict=True))
    frame_bytes = max(1, math.prod(frame_shape) * itemsize)
    total, threads = frame_bytes * math.prod(nav_shape), machine.threads()
    target = min(64 * machine.MiB, max(16 * machine.MiB, total // (2 * threads)))
    several = min(16 * frame_bytes, 128 * machine.MiB, total // (2 * threads))
    target = max(target, several)
    size = frame_bytes * math.prod(block)
    most = target if block == nav_shape else 256 * machine.MiB
    if hint is not None and hint.sig != frame_shape and size > most:
        order = hint.sig_order or range(len(frame_shape))
        grid = [-(-frame_shape[i] // hint.sig[i]) for i in order]
        blocks = _grouped(grid, math.prod(block) * math.prod(hint.sig) * itemsize, target)
        part = dict(zip(order, blocks, strict=True))
        return (*block, *(min(n, part[i] * hint.sig[i]) for i, n in enumerate(frame_shape)))
    grid = [-(-n // k) for n, k in zip(nav_shape, block, strict=True)]
    blocks = _grouped(grid, size, target)
    nav = (min(n, b * k) for n, b, k in zip(nav_shape, blocks, block, strict=True))
    return (*nav, *frame_shape)


def _grouped(counts: list[int], size: int, target: int) -> list[int]:
    """Choose how many pieces of `size` bytes, along each axis, make about `target` bytes."""
    result: list[int] = []
    full = True
    for i, n in enumerate(reversed(counts)):
        if not full:
            result.append(1)
            continue
        limit = 256 * machine.MiB if i == 0 and len(counts) > 1 else target
        if size * n <= limit:
            k = n
        else:
            pieces = -(-n // max(1, target // size))
            even = pieces - pieces % machine.threads()  # as many for each processor, if that fits
            if even and -(-n // even) * size <= target + target // 8:
                pieces = even
            k = -(-n // pieces)  # equal pieces
            full = False
        result.append(k)
        size *= k
    return result[::-1]


def chunked(array: npt.NDArray[Any], chunks: Any) -> Any:
    """Return a mapped array as a dask array."""
    import dask.array as da

    return da.from_array(array, chunks)


def lazy_source(data: Any) -> LazyFrames | None:
    """Return the frames behind a lazy array as a reader returned it; None for any other array."""
    layers = getattr(getattr(data, "dask", None), "layers", {})
    for value in dict(layers.get(f"original-{getattr(data, 'name', '')}", {})).values():
        value = getattr(value, "value", value)
        value = getattr(value, "source", value)  # of blocks of sparse arrays
        if isinstance(value, LazyFrames):
            return value
    return None
