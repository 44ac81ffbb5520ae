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
    if values.dtype.char in "gG":  # sums have 64 bits
        return values.astype(np.float64 if values.dtype.kind == "f" else np.complex128)
    return values.astype(np.float32) if values.dtype == np.float16 else values


#: How pixels lie in memory: in the order of this machine, or with their two bytes swapped. These
#: are of two types, so that a kernel is compiled for each.
_NATIVE, _SWAPPED = (), (1,)


def _stored(block: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], tuple[int, ...]]:
    """Return pixels as something numba knows, and the order of their bytes."""
    if block.dtype.char in "?egG":
        return as_numbers(block), _NATIVE
    if block.dtype.isnative:
        return block, _NATIVE
    if block.dtype.kind != "u" or block.dtype.itemsize != 2:
        raise ValueError(f"pixels of {block.dtype} are not added up as they are stored")
    return block.view(np.uint16), _SWAPPED


def _rows(block: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], tuple[int, ...]]:
    """Return (frames, pixels) as rows that follow each other, and the order of their bytes.

    Where frames lie apart in a file, rows also have what is between them, which nobody touches:
    of the last one, it may be behind the end. Compiled loops are fast only over rows without gaps.
    """
    pixels, order = _stored(block)
    size = pixels.itemsize
    if pixels.flags.c_contiguous:
        return pixels, order
    if pixels.strides[1] != size or pixels.strides[0] % size or pixels.strides[0] < 0:
        return np.ascontiguousarray(pixels), order
    width = max(pixels.shape[1], pixels.strides[0] // size)
    shape = (len(pixels), width)
    return np.lib.stride_tricks.as_strided(pixels, shape, (width * size, size)), order


@intrinsic
def _value(typing, pixel, order):
    """Return a pixel as a number, see `_NATIVE`; it is swapped on its way into a sum."""

    def generate(context, builder, signature, arguments):
        return builder.bswap(arguments[0]) if len(order) else arguments[0]

    return pixel(pixel, order), generate


# Processors fetch ahead along a few streams, each of which ends with a page of 4 KiB. So kernels go
# along several frames, or several parts of a frame, at a time: 1.6 times as fast where pixels are
# not in a cache. Nothing depends on which frames are taken together: a block may end anywhere.


@jit_sums
def _frame_sums(block, pixels, out):
    # in pieces, so that rounding errors do not grow with the size of a frame
    part = pixels // 4
    for f in range(len(block)):
        frame = block[f]
        out[f] = 0
        zero = out[f]  # of the type of the sums
        for first in range(0, part, 2048):
            last = min(first + 2048, part)
            a, b = frame[first:last], frame[part + first : part + last]
            c = frame[2 * part + first : 2 * part + last]
            d = frame[3 * part + first : 3 * part + last]
            w, x, y, z = zero, zero, zero, zero
            for i in range(len(a)):
                w += a[i]
                x += b[i]
                y += c[i]
                z += d[i]
            out[f] += (w + x) + (y + z)
        for i in range(4 * part, pixels):
            out[f] += frame[i]


#: So many pixels of two bytes or one have a sum of 32 bits, which twice as many fit in a register.
_NARROW = 1 << 16


@jit
def _frame_sums_narrow(block, pixels, order, out):
    part = pixels // 4
    for f in range(len(block)):
        frame = block[f]
        out[f] = 0
        for first in range(0, part, _NARROW):
            last = min(first + _NARROW, part)
            a, b = frame[first:last], frame[part + first : part + last]
            c = frame[2 * part + first : 2 * part + last]
            d = frame[3 * part + first : 3 * part + last]
            w, x, y, z = np.uint32(0), np.uint32(0), np.uint32(0), np.uint32(0)
            for i in range(len(a)):
                w = np.uint32(w + _value(a[i], order))
                x = np.uint32(x + _value(b[i], order))
                y = np.uint32(y + _value(c[i], order))
                z = np.uint32(z + _value(d[i], order))
            out[f] += np.uint64(w) + np.uint64(x) + np.uint64(y) + np.uint64(z)
        for i in range(4 * part, pixels):
            out[f] += _value(frame[i], order)


def frame_sums(block: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    """Sum each frame of a block of shape (frames, pixels); exact for integers.

    Frames may lie apart, their pixels not. The pixels are numbers of this machine, or 2-byte
    unsigned ones of the other byte order.
    """
    if block.dtype.str[1:] in _NUMBERS and out.dtype.itemsize == 8:
        rows, order = _rows(block)
        if rows.dtype.kind == "u" and rows.itemsize <= 2:
            _frame_sums_narrow(rows, block.shape[1], order, out)
        else:
            _frame_sums(rows, block.shape[1], out)
    else:
        np.sum(block, axis=1, dtype=out.dtype, out=out)


@jit
def _add_frames(block, order, totals):
    # the totals are fetched and stored less often, too
    whole = len(block) // 4 * 4
    for f in range(0, whole, 4):
        a, b, c, d = block[f], block[f + 1], block[f + 2], block[f + 3]
        for i in range(len(totals)):
            total = totals[i]
            total += _value(a[i], order)
            total += _value(b[i], order)
            total += _value(c[i], order)
            total += _value(d[i], order)
            totals[i] = total
    for f in range(whole, len(block)):
        frame = block[f]
        for i in range(len(totals)):
            totals[i] += _value(frame[i], order)


def add_frames(block: npt.NDArray[Any], totals: npt.NDArray[Any]) -> None:
    """Add the frames of a block of shape (frames, pixels) to `totals`, one after the other.

    `totals` must have room for the sum. Pixels as for `frame_sums`, or complex.
    """
    _add_frames(*_rows(block), totals)


@jit
def _square(pixel):
    return np.uint64(pixel) * np.uint64(pixel)


@jit
def _add_squares(block, order, totals):
    whole = len(block) // 4 * 4
    for f in range(0, whole, 4):
        a, b, c, d = block[f], block[f + 1], block[f + 2], block[f + 3]
        for i in range(len(totals)):
            first = _square(_value(a[i], order)) + _square(_value(b[i], order))
            totals[i] += first + _square(_value(c[i], order)) + _square(_value(d[i], order))
    for f in range(whole, len(block)):
        frame = block[f]
        for i in range(len(totals)):
            totals[i] += _square(_value(frame[i], order))


def add_squares(block: npt.NDArray[Any], totals: npt.NDArray[np.uint64]) -> None:
    """Add the squares of unsigned pixels of up to 2 bytes, in either order, to `totals`."""
    _add_squares(*_rows(block), totals)


@jit_sums
def _profiles(block, order, rows, columns):
    height, width = rows.shape[1], columns.shape[1]
    part = height // 4
    for f in range(len(block)):
        frame, sums, totals = block[f], rows[f], columns[f]
        for r in range(part):
            i, j, k = r + part, r + 2 * part, r + 3 * part
            a, b = frame[r * width : (r + 1) * width], frame[i * width : (i + 1) * width]
            c, d = frame[j * width : (j + 1) * width], frame[k * width : (k + 1) * width]
            sums[r] = 0
            w = sums[r]  # of the type of the sums
            x, y, z = w, w, w
            for p in range(width):
                w += _value(a[p], order)
                x += _value(b[p], order)
                y += _value(c[p], order)
                z += _value(d[p], order)
            for p in range(width):
                total = totals[p]
                total += _value(a[p], order)
                total += _value(b[p], order)
                total += _value(c[p], order)
                total += _value(d[p], order)
                totals[p] = total
            sums[r], sums[i], sums[j], sums[k] = w, x, y, z
        for r in range(4 * part, height):
            row = frame[r * width : (r + 1) * width]
            sums[r] = 0
            w = sums[r]
            for p in range(width):
                w += _value(row[p], order)
            for p in range(width):
                totals[p] += _value(row[p], order)
            sums[r] = w


def profiles(block: npt.NDArray[Any], rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> None:
    """Sum each row, and add up each column, of the frames of a block of shape (frames, pixels).

    Parameters
    ----------
    rows : ndarray, shape (frames, height)
        Takes the sums of rows.
    columns : ndarray of zeros, shape (frames, width)
        Takes the sums of columns; both must have room for them. Pixels as for `frame_sums`.
    """
    _profiles(*_rows(block), rows, columns)


@jit
def _largest(block, order, most):
    whole = len(block) // 4 * 4
    for f in range(0, whole, 4):
        a, b, c, d = block[f], block[f + 1], block[f + 2], block[f + 3]
        for i in range(len(most)):
            first = max(_value(a[i], order), _value(b[i], order))
            second = max(_value(c[i], order), _value(d[i], order))
            most[i] = max(most[i], max(first, second))
    for f in range(whole, len(block)):
        frame = block[f]
        for i in range(len(most)):
            most[i] = max(most[i], _value(frame[i], order))


def largest(block: npt.NDArray[Any], most: npt.NDArray[Any]) -> None:
    """Raise `most`, in the machine's byte order, to the largest pixel of frames; NaN wins."""
    if block.dtype.kind in "ui":
        _largest(*_rows(block), most)
    else:
        np.maximum(most, block.max(axis=0), out=most)


@jit_sums
def _masked_sums(block, order, weights, used, out):
    # A piece of the masks stays in the nearest cache while all frames of the block pass by. Behind
    # the last frame it is taken again, so that what is found for a frame is always found alike.
    count, pixels = len(block), weights.shape[1]
    for first in range(0, pixels, 2048):
        last = min(first + 2048, pixels)
        for k in range(len(weights)):
            if not used[k, first // 2048]:
                continue
            weight, sums = weights[k, first:last], out[k]
            for f in range(0, count, 4):
                g, h, j = min(f + 1, count - 1), min(f + 2, count - 1), min(f + 3, count - 1)
                a, b = block[f, first:last], block[g, first:last]
                c, d = block[h, first:last], block[j, first:last]
                w, x, y, z = 0.0, 0.0, 0.0, 0.0
                for i in range(len(weight)):
                    w += _value(a[i], order) * weight[i]
                    x += _value(b[i], order) * weight[i]
                    y += _value(c[i], order) * weight[i]
                    z += _value(d[i], order) * weight[i]
                sums[f] += w
                if f + 1 < count:
                    sums[f + 1] += x
                if f + 2 < count:
                    sums[f + 2] += y
                if f + 3 < count:
                    sums[f + 3] += z


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
    _masked_sums(*_rows(block), weights, used, out)


@jit_sums
def _region_sums(block, order, width, column, weights, out):
    for f in range(len(block)):
        frame, total = block[f], 0.0
        for r in range(len(weights)):
            weight, begin = weights[r], r * width + column
            row, part = frame[begin : begin + len(weight)], 0.0
            for i in range(len(weight)):
                part += _value(row[i], order) * weight[i]
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
    _region_sums(*_rows(block), width, column, weights, out)


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
