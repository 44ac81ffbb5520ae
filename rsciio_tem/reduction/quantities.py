# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found out about frames in one pass: sums, maxima, variances, weighted sums.

An instance belongs to one stripe of frames. It takes blocks of pixels, or the entries of sparse
frames, and is merged with those of the stripes that follow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.sparse import Triplets
from rsciio_tem.frames.wrapped import long_integers

__all__ = [
    "BitMasks",
    "BitSum",
    "BitWeights",
    "Detectors",
    "Masks",
    "Max",
    "Moments",
    "Navigator",
    "Quantity",
    "Sum",
    "Variance",
    "accumulator",
]


def accumulator(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which pixels of `dtype` are added up: 64-bit integers stay exact."""
    kinds = {"b": "u8", "u": "u8", "i": "i8", "f": "f8", "c": "c16"}
    if dtype.kind not in kinds:
        raise ValueError(f"pixels of type {dtype} cannot be added up")
    return np.dtype(kinds[dtype.kind])


def _fitting(sums: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> None:
    """Raise if sums, here as floats, are too large for 64-bit integers."""
    most = 2.0 ** (64 if dtype.kind == "u" else 63) * (1 - 2.0**-40)
    if (np.abs(sums) > most).any():
        raise OverflowError(
            "sums of these pixels do not fit into 64 bits; pass dtype='float64' to the reader"
        )


class Quantity(ABC):
    """Something that is found out about frames, block by block.

    An instance is the share of one stripe.

    Attributes
    ----------
    once : bool
        It looks at each pixel once, makes no copies, and what it finds does not depend on how
        frames are divided into blocks.
    """

    once: ClassVar[bool] = False

    @abstractmethod
    def take(self, at: int, block: npt.NDArray[Any]) -> None:
        """Add a block of shape (frames, pixels), of which `at` is the first in the stripe."""

    def take_entries(self, frames: npt.NDArray[np.int64], entries: Triplets) -> None:
        """Add the entries of sparse frames, of which these are the numbers in the stripe.

        Each pixel of a frame has one entry at most. All frames of a stripe are either sparse or
        not.
        """
        raise NotImplementedError

    def close(self) -> None:  # noqa: B027 (most have nothing to drop)
        """Drop what only `take` needs; the share may be sent to another machine."""

    @abstractmethod
    def merge(self, other: Any) -> None:
        """Add the share of the stripes that follow."""

    @abstractmethod
    def result(self) -> Any:
        """Return what was found out."""


class PerFrame(Quantity):
    """Values of each frame; shares are put one behind the other."""

    values: npt.NDArray[Any]

    def merge(self, other: PerFrame) -> None:
        self.parts += [other.values, *other.parts]

    def result(self) -> npt.NDArray[Any]:
        return np.concatenate([self.values, *self.parts], axis=-1)

    def __init__(self) -> None:
        self.parts: list[npt.NDArray[Any]] = []


class Navigator(PerFrame):
    """Sum of each frame."""

    once = True

    def __init__(self, count: int, dtype: np.dtype[Any]) -> None:
        super().__init__()
        self.values = np.empty(count, accumulator(dtype))

    def take(self, at: int, block: npt.NDArray[Any]) -> None:
        from rsciio_tem.kernels.sums import frame_sums

        if long_integers(block.dtype):
            floats = np.empty(len(block))
            frame_sums(block, floats)
            _fitting(floats, block.dtype)
        frame_sums(block, self.values[at : at + len(block)])

    def take_entries(self, frames: npt.NDArray[np.int64], entries: Triplets) -> None:
        from rsciio_tem.kernels.sparse import entry_sums

        if long_integers(entries.values.dtype):
            floats = np.empty(len(frames))
            entry_sums(entries.bounds, entries.values, floats)
            _fitting(floats, entries.values.dtype)
        sums = np.empty(len(frames), self.values.dtype)
        entry_sums(entries.bounds, entries.values, sums)
        self.values[frames] = sums


class Masks(PerFrame):
    """Sums of each frame with the weights of virtual detectors."""

    def __init__(self, count: int, dtype: np.dtype[Any], weights: npt.NDArray[Any]) -> None:
        super().__init__()
        kind = np.result_type(weights, dtype, np.float64)
        self.weights = np.ascontiguousarray(weights, kind)
        self.values = np.zeros((len(weights), count), kind)
        self.used: npt.NDArray[np.bool_] | None = None

    def take(self, at: int, block: npt.NDArray[Any]) -> None:
        self._add_up(block, slice(None), self.values[:, at : at + len(block)])

    def _add_up(
        self, block: npt.NDArray[Any], which: slice | list[int], out: npt.NDArray[Any]
    ) -> None:
        """Fill ``out[mask, frame]`` with the sums of some of the masks."""
        from rsciio_tem.kernels.sums import masked_sums

        if self.used is None:
            edges = np.arange(0, self.weights.shape[1], 2048)
            self.used = np.logical_or.reduceat(self.weights != 0, edges, axis=1)
        if self.values.dtype == np.float64:
            masked_sums(block, self.weights[which], out, self.used[which])
        else:  # complex, or longer than 64 bits
            # not a matrix product: its own threads and ours would stand in each other's way
            out[...] = np.einsum("ij,kj->ki", block.astype(out.dtype), self.weights[which])

    def take_entries(self, frames: npt.NDArray[np.int64], entries: Triplets) -> None:
        from rsciio_tem.kernels.sparse import masked_entries

        sums = np.zeros((len(self.values), len(frames)), self.values.dtype)
        if sums.dtype in (np.float64, np.complex128):
            masked_entries(*entries, self.weights, sums)
        else:  # longer than 64 bits
            np.add.at(sums.T, entries.frames, (self.weights[:, entries.pixels] * entries.values).T)
        self.values[:, frames] = sums

    def close(self) -> None:
        del self.weights, self.used


class Detectors(Masks):
    """Sums of each frame with weights; pixels of weight 0 do not count, even if they are NaN."""

    def take(self, at: int, block: npt.NDArray[Any]) -> None:
        super().take(at, block)
        out = self.values[:, at : at + len(block)]
        unclear = ~np.isfinite(out)
        for mask in np.flatnonzero(unclear.any(axis=1)).tolist():
            frames = np.flatnonzero(unclear[mask])
            inside = block[frames]  # a copy
            np.copyto(inside, 0, where=self.weights[mask] == 0)
            sums = np.zeros((1, len(frames)), out.dtype)
            self._add_up(inside, [mask], sums)
            out[mask, frames] = sums[0]

    def take_entries(self, frames: npt.NDArray[np.int64], entries: Triplets) -> None:
        super().take_entries(frames, entries)
        sums = self.values[:, frames]
        for mask, frame in np.argwhere(~np.isfinite(sums)).tolist():
            mine = slice(entries.bounds[frame], entries.bounds[frame + 1])
            weights = self.weights[mask][entries.pixels[mine]]
            values = entries.values[mine][weights != 0].astype(sums.dtype)
            sums[mask, frame] = np.dot(values, weights[weights != 0])
        self.values[:, frames] = sums


class BitMasks(PerFrame):
    """Sums of single bits with whole numbers as weights."""

    def __init__(self, count: int, weights: BitWeights) -> None:
        super().__init__()
        self.weights = weights
        self.values = np.zeros((len(weights.base), count), np.uint64)

    def take(self, at: int, block: npt.NDArray[Any]) -> None:
        from rsciio_tem.kernels.sums import bit_sums

        sums = np.empty((len(self.values), len(block)), np.uint64)
        bit_sums(block, *self.weights, sums)
        self.values[:, at : at + len(block)] = sums

    def close(self) -> None:
        del self.weights

    def result(self) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = super().result()
        return values.view(np.int64)  # weights may be negative


class BitWeights(NamedTuple):
    """Whole numbers as weights of single bits, see `kernels.bit_sums`."""

    base: npt.NDArray[np.uint64]
    planes: npt.NDArray[np.uint64]
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, weights: npt.NDArray[Any]) -> BitWeights | None:
        """Return weights of shape (masks, pixels) if they are small whole numbers."""
        if weights.dtype.kind not in "buif" or not (np.abs(weights) < 1 << 31).all():
            return None
        whole = weights.astype(np.int64)
        words = whole.reshape(len(whole), -1, 64)
        base = words.min(axis=2)
        rest = words - base[..., np.newaxis]
        if (whole != weights).any() or rest.max(initial=0) >= 1 << 16:
            return None
        counts = np.array([int(r.max(initial=0)).bit_length() for r in rest])
        bits = (rest[:, np.newaxis] >> np.arange(counts.max(initial=1)).reshape(-1, 1, 1)) & 1
        planes = np.packbits(bits.astype(np.uint8), axis=-1, bitorder="little")
        return cls(base.view(np.uint64), planes.view(np.uint64)[..., 0], counts)


class Moments(PerFrame):
    """Sum of each frame, and its sums weighted with rows and with columns."""

    once = True

    def __init__(self, count: int, dtype: np.dtype[Any], frame_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.total = frame_shape, accumulator(dtype)
        self.values = np.empty((3, count))

    def take(self, at: int, block: npt.NDArray[Any]) -> None:
        from rsciio_tem.kernels.sums import profiles

        n, (height, width) = len(block), self.shape
        # rounded where integers might not fit
        total = np.dtype(np.float64) if long_integers(block.dtype) else self.total
        small = block.dtype.kind in "bu" and block.dtype.itemsize <= 2
        rows = np.empty((n, height), np.uint32 if small and width < 1 << 16 else total)
        columns = np.zeros((n, width), np.uint32 if small and height < 1 << 16 else total)
        profiles(block, rows, columns)
        out = self.values[:, at : at + n]
        out[0] = rows.sum(axis=1)
        for i, sums in enumerate((rows, columns)):
            ramp = np.arange(sums.shape[1], dtype=np.float64)
            # a matrix product would start threads, and add up in an order of their number
            out[1 + i] = np.einsum("ij,j->i", sums.astype(np.float64), ramp)

    def take_entries(self, frames: npt.NDArray[np.int64], entries: Triplets) -> None:
        from rsciio_tem.kernels.sparse import entry_moments, entry_sums

        sums, moments = np.empty(len(frames)), np.empty((2, len(frames)))
        entry_sums(entries.bounds, entries.values, sums)
        entry_moments(*entries, self.shape[1], moments)
        self.values[0, frames] = sums
        self.values[1:, frames] = moments


class Sum(Quantity):
    """Sum over frames; small pixels are added in 32 bits for as long as that is exact."""

    once = True

    def __init__(self, pixels: int, dtype: np.dtype[Any]) -> None:
        self.kind = accumulator(dtype)
        #: Frames that 32 bits have room for; 0 if the sum is kept in 64 bits from the beginning.
        self.room = 0
        if dtype.kind in "bu" and dtype.itemsize <= 2:
            self.room = (1 << 32) // (1 << 8 * dtype.itemsize)
        self.sums = np.zeros(pixels, np.uint32 if self.room else self.kind)
        self.left = self.room
        #: The same as floats, of 64-bit integers.
        self.floats = np.zeros(pixels) if long_integers(dtype) else None

    def take(self, at: int, block: npt.NDArray[Any]) -> None:
        from rsciio_tem.kernels.sums import add_frames

        if len(block) > self.left and self.room:
            self._widen()
        add_frames(block, self.sums)
        if self.floats is not None:
            add_frames(block, self.floats)
        self.left -= len(block)

    def take_entries(self, frames: npt.NDArray[np.int64], entries: Triplets) -> None:
        from rsciio_tem.kernels.sparse import add_entries

        if len(frames) > self.left and self.room:
            self._widen()
        add_entries(entries.pixels, entries.values, self.sums)
        if self.floats is not None:
            add_entries(entries.pixels, entries.values, self.floats)
        self.left -= len(frames)

    def _widen(self) -> None:
        self.sums, self.room = self.sums.astype(self.kind, copy=False), 0

    def merge(self, other: Sum) -> None:
        used = other.room - other.left
        if self.room and (not other.room or used > self.left):
            self._widen()
        self.sums += other.sums
        if self.floats is not None:
            self.floats += other.floats  # type: ignore[arg-type]
        self.left -= used

    def result(self) -> npt.NDArray[Any]:
        if self.floats is not None:
            _fitting(self.floats, self.kind)
        return self.sums  # perhaps still in 32 bits


class BitSum(Quantity):
    """Sum over frames of single bits."""

    def __init__(self, count: int, words: int) -> None:
        self.planes = np.zeros((max(3, count.bit_length()), words), np.uint64)
        self.sums: npt.NDArray[Any] = np.zeros(64 * words, np.uint64)

    def take(self, at: int, block: npt.NDArray[Any]) -> None:
        from rsciio_tem.kernels.sums import bit_totals

        bit_totals(block, self.planes)

    def merge(self, other: BitSum) -> None:
        self.sums = self.result() + other.result()
        self.planes = self.planes[:0]

    def result(self) -> npt.NDArray[Any]:
        sums = self.sums.copy()
        for k, plane in enumerate(self.planes):
            bits = np.unpackbits(plane.view(np.uint8), bitorder="little")
            sums += bits.astype(np.uint64) << np.uint64(k)
        return sums


class Max(Quantity):
    """Largest value of each pixel."""

    once = True

    def __init__(self, pixels: int, dtype: np.dtype[Any]) -> None:
        self.pixels, self.dtype = pixels, dtype
        self.most: npt.NDArray[Any] | None = None
        #: Of sparse frames: their number, and that of each pixel's entries, if these may be
        #: negative.
        self.frames = 0
        self.seen: npt.NDArray[np.uint32] | None = None

    def take(self, at: int, block: npt.NDArray[Any]) -> None:
        from rsciio_tem.kernels.sums import largest

        if self.most is None:
            self.most = block[0].astype(block.dtype.newbyteorder("="))
        largest(block, self.most)

    def take_entries(self, frames: npt.NDArray[np.int64], entries: Triplets) -> None:
        from rsciio_tem.kernels.sparse import largest_entries

        if self.most is None:
            self.most = np.zeros(self.pixels, self.dtype)
            if self.dtype.kind not in "bu":
                whole = self.dtype.kind == "i"
                least = np.iinfo(self.dtype).min if whole else complex(-np.inf, -np.inf)
                self.most[:] = least if self.dtype.kind in "ic" else -np.inf
                self.seen = np.zeros(self.pixels, np.uint32)
        largest_entries(entries.pixels, entries.values, self.most, self.seen)
        self.frames += len(frames)

    def close(self) -> None:
        if self.seen is not None:  # a pixel without an entry is zero
            assert self.most is not None
            np.maximum(self.most, 0, out=self.most, where=self.seen < self.frames)
            self.seen = None

    def merge(self, other: Max) -> None:
        assert self.most is not None
        assert other.most is not None
        np.maximum(self.most, other.most, out=self.most)

    def result(self) -> npt.NDArray[Any]:
        assert self.most is not None
        return self.most


class Variance(Quantity):
    """Variance over frames.

    Unsigned pixels of up to 16 bits: from exact sums. Others: from the deviations of each block
    from its mean, which does not suffer from large offsets. For sparse frames, these are the
    deviations of the entries, and the zeros between them are added in the end.
    """

    def __init__(self, pixels: int, dtype: np.dtype[Any]) -> None:
        self.count = 0
        self.sums: Sum | None = None
        if dtype.kind in "bu" and dtype.itemsize <= 2:
            self.sums, self.squares = Sum(pixels, dtype), np.zeros(pixels, np.uint64)
        else:
            self.mean, self.deviations = np.zeros(pixels), np.zeros(pixels)
        #: Of sparse frames, the number of each pixel's entries.
        self.seen: npt.NDArray[np.float64] | None = None

    def take(self, at: int, block: npt.NDArray[Any]) -> None:
        if self.sums is not None:
            from rsciio_tem.kernels.sums import add_squares

            self.sums.take(at, block)
            add_squares(block, self.squares)
            self.count += len(block)
            return
        mean = block.mean(axis=0, dtype=np.float64)
        self._join(len(block), mean, ((block - mean) ** 2).sum(axis=0))

    def take_entries(self, frames: npt.NDArray[np.int64], entries: Triplets) -> None:
        from rsciio_tem.kernels.sparse import add_entry_squares, entry_deviations

        _, pixels, values = entries
        self.count += len(frames)
        if self.sums is not None:
            self.sums.take_entries(frames, entries)
            add_entry_squares(pixels, values, self.squares)
            return
        if self.seen is None:
            self.seen = np.zeros(len(self.mean))
        entry_deviations(pixels, values, self.seen, self.mean, self.deviations)

    def close(self) -> None:
        if self.seen is not None:  # add the zeros of sparse frames
            share = self.seen / self.count
            self.deviations += self.mean**2 * self.seen * (1 - share)
            self.mean *= share
            self.seen = None

    def _join(self, count: int, mean: Any, deviations: Any) -> None:
        total = self.count + count
        step = mean - self.mean
        if self.count:  # the square of the first mean may be infinite, which times zero is none
            deviations = deviations + step**2 * (self.count * count / total)
        self.deviations += deviations
        self.mean += step * (count / total)
        self.count = total

    def merge(self, other: Variance) -> None:
        if self.sums is not None:
            self.sums.merge(other.sums)  # type: ignore[arg-type]
            self.squares += other.squares
            self.count += other.count
        else:
            self._join(other.count, other.mean, other.deviations)

    def result(self) -> npt.NDArray[np.float64]:
        if self.sums is None:
            return self.deviations / self.count
        sums = self.sums.result().astype(np.uint64)
        # (n * squares - sums**2) / n**2 with the whole part of the mean taken off, so that the
        # numbers stay small enough for 64 bits
        whole = sums // np.uint64(self.count)
        rest = (sums - whole * np.uint64(self.count)).astype(np.float64) / self.count
        # sum (x - whole)**2 = squares - 2 whole sums + n whole**2; modulo 2**64 that is exact
        spread = self.squares - np.uint64(2) * whole * sums + np.uint64(self.count) * whole * whole
        variance: npt.NDArray[np.float64] = spread.astype(np.float64) / self.count - rest**2
        return np.maximum(variance, 0)
