# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled loops: the only module that imports numba.

Every kernel has a slow twin in numpy in ``tests/test_kernels.py``. Kernels release the GIL, never
start threads of their own, and are cached on disk after their first use.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt

from rsciio_tem.kernels.common import compiled, intrinsic, jit

__all__ = [
    "add_frames",
    "add_squares",
    "bit_sums",
    "bit_totals",
    "frame_sums",
    "largest",
    "masked_sums",
    "profiles",
    "region_sums",
]

# ---------------------------------------------------------------- sums
#
# Pixels of the other byte order are swapped in a register, on their way into a sum.

#: Real pixels that numba knows.
_NUMBERS = {"b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"}


jit_sums = compiled(fastmath={"reassoc", "contract"})


def as_numbers(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values as something numba can calculate with."""
    if values.dtype == bool:
        return values.view(np.uint8)
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _stored(block: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], bool]:
    """Return pixels as something numba knows, and whether their bytes have to be swapped."""
    if block.dtype == bool or block.dtype == np.float16:
        return as_numbers(block), False
    if block.dtype.isnative:
        return block, False
    if block.dtype.kind != "u" or block.dtype.itemsize != 2:
        raise ValueError(f"pixels of {block.dtype} are not added up as they are stored")
    return block.view(np.uint16), True


def _rows(block: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], bool]:
    """Return (frames, pixels) as rows that follow each other, and whether to swap bytes.

    Where frames lie apart in a file, rows also have what is between them, which nobody touches:
    of the last one, it may be behind the end. Compiled loops are fast only over rows without gaps.
    """
    pixels, swapped = _stored(block)
    size = pixels.itemsize
    if pixels.flags.c_contiguous:
        return pixels, swapped
    if pixels.strides[1] != size or pixels.strides[0] % size or pixels.strides[0] < 0:
        return np.ascontiguousarray(pixels), swapped
    width = max(pixels.shape[1], pixels.strides[0] // size)
    shape = (len(pixels), width)
    return np.lib.stride_tricks.as_strided(pixels, shape, (width * size, size)), swapped


@jit
def _swap2(x):
    return np.uint16((x << np.uint16(8)) | (x >> np.uint16(8)))


@jit_sums
def _frame_sums(block, pixels, out):
    # in pieces, so that rounding errors do not grow with the size of a frame
    for f in range(len(block)):
        out[f] = 0
        zero = out[f]  # of the type of the sums
        for first in range(0, pixels, 2048):
            piece = block[f, first : min(first + 2048, pixels)]
            total = zero
            for i in range(len(piece)):
                total += piece[i]
            out[f] += total


#: So many pixels of two bytes or one have a sum of 32 bits, which twice as many fit in a register.
_NARROW = 1 << 16


@jit
def _frame_sums_narrow(block, pixels, out):
    for f in range(len(block)):
        out[f] = 0
        for first in range(0, pixels, _NARROW):
            piece = block[f, first : min(first + _NARROW, pixels)]
            total = np.uint32(0)
            for i in range(len(piece)):
                total = np.uint32(total + piece[i])
            out[f] += total


@jit
def _frame_sums_swapped(block, pixels, out):
    for f in range(len(block)):
        out[f] = 0
        for first in range(0, pixels, _NARROW):
            piece = block[f, first : min(first + _NARROW, pixels)]
            total = np.uint32(0)
            for i in range(len(piece)):
                total = np.uint32(total + _swap2(piece[i]))
            out[f] += total


def frame_sums(block: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    """Sum each frame of a block of shape (frames, pixels); exact for integers.

    Frames may lie apart, their pixels not. The pixels are numbers of this machine, or 2-byte
    unsigned ones of the other byte order.
    """
    if block.dtype.str[1:] in _NUMBERS and out.dtype.itemsize == 8:
        rows, swapped = _rows(block)
        narrow = rows.dtype.kind == "u" and rows.itemsize <= 2
        kernel = _frame_sums_narrow if narrow else _frame_sums
        (_frame_sums_swapped if swapped else kernel)(rows, block.shape[1], out)
    else:
        np.sum(block, axis=1, dtype=out.dtype, out=out)


@jit
def _add_frames(block, totals):
    # several frames at a time: the totals are fetched and stored less often
    whole = len(block) // 4 * 4
    for f in range(0, whole, 4):
        a, b, c, d = block[f], block[f + 1], block[f + 2], block[f + 3]
        for i in range(len(totals)):
            total = totals[i]
            total += a[i]
            total += b[i]
            total += c[i]
            total += d[i]
            totals[i] = total
    for f in range(whole, len(block)):
        frame = block[f]
        for i in range(len(totals)):
            totals[i] += frame[i]


@jit
def _add_frames_swapped(block, totals):
    whole = len(block) // 4 * 4
    for f in range(0, whole, 4):
        a, b, c, d = block[f], block[f + 1], block[f + 2], block[f + 3]
        for i in range(len(totals)):
            total = totals[i]
            total += _swap2(a[i])
            total += _swap2(b[i])
            total += _swap2(c[i])
            total += _swap2(d[i])
            totals[i] = total
    for f in range(whole, len(block)):
        frame = block[f]
        for i in range(len(totals)):
            totals[i] += _swap2(frame[i])


@jit
def _add_squares(block, totals):
    for f in range(len(block)):
        frame = block[f]
        for i in range(len(totals)):
            x = np.uint64(frame[i])
            totals[i] += x * x


@jit
def _add_squares_swapped(block, totals):
    for f in range(len(block)):
        frame = block[f]
        for i in range(len(totals)):
            x = np.uint64(_swap2(frame[i]))
            totals[i] += x * x


def add_frames(block: npt.NDArray[Any], totals: npt.NDArray[Any]) -> None:
    """Add the frames of a block of shape (frames, pixels) to `totals`, one after the other.

    `totals` must have room for the sum. Pixels as for `frame_sums`, or complex.
    """
    rows, swapped = _rows(block)
    (_add_frames_swapped if swapped else _add_frames)(rows, totals)


def add_squares(block: npt.NDArray[Any], totals: npt.NDArray[np.uint64]) -> None:
    """Add the squares of unsigned pixels of up to 2 bytes, in either order, to `totals`."""
    rows, swapped = _rows(block)
    (_add_squares_swapped if swapped else _add_squares)(rows, totals)


@jit_sums
def _profiles(block, rows, columns):
    height, width = rows.shape[1], columns.shape[1]
    for f in range(len(block)):
        frame, totals = block[f], columns[f]
        for r in range(height):
            row = frame[r * width : (r + 1) * width]
            rows[f, r] = 0
            total = rows[f, r]
            for i in range(width):
                total += row[i]
            for i in range(width):
                totals[i] += row[i]
            rows[f, r] = total


@jit_sums
def _profiles_swapped(block, rows, columns):
    height, width = rows.shape[1], columns.shape[1]
    for f in range(len(block)):
        frame, totals = block[f], columns[f]
        for r in range(height):
            row = frame[r * width : (r + 1) * width]
            rows[f, r] = 0
            total = rows[f, r]
            for i in range(width):
                total += _swap2(row[i])
            for i in range(width):
                totals[i] += _swap2(row[i])
            rows[f, r] = total


def profiles(block: npt.NDArray[Any], rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> None:
    """Sum each row, and add up each column, of the frames of a block of shape (frames, pixels).

    Parameters
    ----------
    rows : ndarray, shape (frames, height)
        Takes the sums of rows.
    columns : ndarray of zeros, shape (frames, width)
        Takes the sums of columns; both must have room for them. Pixels as for `frame_sums`.
    """
    pixels, swapped = _rows(block)
    (_profiles_swapped if swapped else _profiles)(pixels, rows, columns)


@jit
def _largest(block, most):
    for f in range(len(block)):
        frame = block[f]
        for i in range(len(most)):
            most[i] = max(most[i], frame[i])


@jit
def _largest_swapped(block, most):
    for f in range(len(block)):
        frame = block[f]
        for i in range(len(most)):
            most[i] = max(most[i], _swap2(frame[i]))


def largest(block: npt.NDArray[Any], most: npt.NDArray[Any]) -> None:
    """Raise `most`, in the machine's byte order, to the largest pixel of frames; NaN wins."""
    if block.dtype.kind in "ui":
        rows, swapped = _rows(block)
        (_largest_swapped if swapped else _largest)(rows, most)
    else:
        np.maximum(most, block.max(axis=0), out=most)


@jit_sums
def _masked_sums(block, weights, used, out):
    # A piece of the masks stays in the nearest cache while all frames of the block pass by.
    pixels = weights.shape[1]
    for first in range(0, pixels, 2048):
        last = min(first + 2048, pixels)
        for k in range(len(weights)):
            if not used[k, first // 2048]:
                continue
            weight = weights[k, first:last]
            for f in range(len(block)):
                piece, total = block[f, first:last], 0.0
                for i in range(len(piece)):
                    total += piece[i] * weight[i]
                out[k, f] += total


@jit_sums
def _masked_sums_swapped(block, weights, used, out):
    # A piece of the masks stays in the nearest cache while all frames of the block pass by.
    pixels = weights.shape[1]
    for first in range(0, pixels, 2048):
        last = min(first + 2048, pixels)
        for k in range(len(weights)):
            if not used[k, first // 2048]:
                continue
            weight = weights[k, first:last]
            for f in range(len(block)):
                piece, total = block[f, first:last], 0.0
                for i in range(len(piece)):
                    total += _swap2(piece[i]) * weight[i]
                out[k, f] += total


def masked_sums(
    block: npt.NDArray[Any],
    weights: npt.NDArray[np.float64],
    out: npt.NDArray[np.float64],
    used: npt.NDArray[np.bool_] | None = None,
) -> None:
    """Add the weighted sums of the frames of (frames, pixels) to `out` of (masks, frames).

    Pixels as for `frame_sums`. The order in which they are added is always the same.

    Parameters
    ----------
    used : ndarray of bool, shape (masks, pieces of 2048 pixels), optional
        Where weights are not all zero; the other pieces are passed over.
    """
    if used is None:
        used = np.ones((len(weights), -(-weights.shape[1] // 2048)), np.bool_)
    rows, swapped = _rows(block)
    (_masked_sums_swapped if swapped else _masked_sums)(rows, weights, used, out)


@jit_sums
def _region_sums(block, width, column, weights, out):
    for f in range(len(block)):
        frame, total = block[f], 0.0
        for r in range(len(weights)):
            weight, begin = weights[r], r * width + column
            row, part = frame[begin : begin + len(weight)], 0.0
            for i in range(len(weight)):
                part += row[i] * weight[i]
            total += part
        out[f] = total


@jit_sums
def _region_sums_swapped(block, width, column, weights, out):
    for f in range(len(block)):
        frame, total = block[f], 0.0
        for r in range(len(weights)):
            weight, begin = weights[r], r * width + column
            row, part = frame[begin : begin + len(weight)], 0.0
            for i in range(len(weight)):
                part += _swap2(row[i]) * weight[i]
            total += part
        out[f] = total


def region_sums(
    block: npt.NDArray[Any],
    width: int,
    column: int,
    weights: npt.NDArray[np.float64],
    out: npt.NDArray[np.float64],
) -> None:
    """Sum a region of each frame with weights; the other pixels are not touched.

    Parameters
    ----------
    block : ndarray, shape (frames, pixels)
        Rows of `width` pixels, the first of which is the first of the region. Pixels as for
        `frame_sums`.
    width, column : int
        Pixels of a row, and the first one of the region.
    weights : ndarray of float64, shape (rows, columns)
        Of the region.
    out : ndarray of float64, shape (frames,)
        Takes the sums.
    """
    rows, swapped = _rows(block)
    (_region_sums_swapped if swapped else _region_sums)(rows, width, column, weights, out)


# ---------------------------------------------------------------- sums of bits
#
# One bit per pixel: 64 pixels are counted by one instruction, or added to 64 counters of which
# bit k is kept in word k ("bit-sliced", "carry-save").


@intrinsic
def _popcount(typing, x):
    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return nb.uint64(nb.uint64), generate


@jit
def _bit_totals(words, planes, carry):
    n = planes.shape[1]
    ones, twos, fours = planes[0], planes[1], planes[2]
    whole = len(words) // 8 * 8
    for f in range(0, whole, 8):
        w0, w1, w2, w3 = words[f], words[f + 1], words[f + 2], words[f + 3]
        w4, w5, w6, w7 = words[f + 4], words[f + 5], words[f + 6], words[f + 7]
        for i in range(n):
            # full adders: three bits of a weight make one of it, and one of twice the weight
            x, a, b = ones[i], w0[i], w1[i]
            t = x ^ a
            two_a, x = (x & a) | (t & b), t ^ b
            a, b = w2[i], w3[i]
            t = x ^ a
            two_b, x = (x & a) | (t & b), t ^ b
            a, b = w4[i], w5[i]
            t = x ^ a
            two_c, x = (x & a) | (t & b), t ^ b
            a, b = w6[i], w7[i]
            t = x ^ a
            two_d, x = (x & a) | (t & b), t ^ b
            ones[i] = x
            x = twos[i]
            t = x ^ two_a
            four_a, x = (x & two_a) | (t & two_b), t ^ two_b
            t = x ^ two_c
            four_b, x = (x & two_c) | (t & two_d), t ^ two_d
            twos[i] = x
            x = fours[i]
            t = x ^ four_a
            carry[i] = (x & four_a) | (t & four_b)
            fours[i] = t ^ four_b
        _carry_on(planes, carry, 3)
    for f in range(whole, len(words)):
        carry[:] = words[f][:n]
        _carry_on(planes, carry, 0)


@jit
def _carry_on(planes, carry, first):
    for k in range(first, len(planes)):
        plane, left = planes[k], np.uint64(0)
        for i in range(len(plane)):
            both = plane[i] & carry[i]
            plane[i] ^= carry[i]
            carry[i] = both
            left |= both
        if left == 0:
            return


def bit_totals(words: npt.NDArray[np.uint64], planes: npt.NDArray[np.uint64]) -> None:
    """Add frames of single bits to 64 counters per word.

    Parameters
    ----------
    words : ndarray of uint64, shape (frames, words)
        Bit b of word w is pixel ``64 * w + b``.
    planes : ndarray of uint64, shape (bits, words)
        Bit k of the counters of all pixels, in the order of the pixels; at least 3 bits, and enough
        for the sum.
    """
    _bit_totals(_rows(words)[0], planes, np.empty(planes.shape[1], np.uint64))


@jit
def _bit_sums(words, base, planes, counts, out):
    flat = np.empty(len(base), np.bool_)
    for k in range(len(base)):
        flat[k] = base[k].any()
    for f in range(len(words)):
        frame = words[f]
        for k in range(len(base)):
            weights, total = base[k], np.uint64(0)
            if flat[k]:
                for i in range(len(weights)):
                    total += weights[i] * _popcount(frame[i])
            for j in range(counts[k]):
                plane, part = planes[k, j], np.uint64(0)
                for i in range(len(plane)):
                    part += _popcount(frame[i] & plane[i])
                total += part << np.uint64(j)
            out[k, f] = total


def bit_sums(
    words: npt.NDArray[np.uint64],
    base: npt.NDArray[np.uint64],
    planes: npt.NDArray[np.uint64],
    counts: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint64],
) -> None:
    """Sum frames of single bits with whole numbers as weights.

    Parameters
    ----------
    words : ndarray of uint64, shape (frames, words)
        Bit b of word w is pixel ``64 * w + b``.
    base : ndarray of uint64, shape (masks, words)
        Weight of all pixels of a word.
    planes : ndarray of uint64, shape (masks, bits, words)
        What is added to it for each pixel, bit by bit.
    counts : ndarray of int64, shape (masks,)
        The number of bits in use.
    out : ndarray of uint64, shape (masks, frames)
        Takes the sums.
    """
    _bit_sums(_rows(words)[0], base, planes, counts, out)
