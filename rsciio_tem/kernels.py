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
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "add_entries",
    "add_entry_squares",
    "add_frames",
    "add_squares",
    "ascending",
    "bit_sums",
    "bit_totals",
    "column_sums",
    "correct",
    "entry_deviations",
    "entry_moments",
    "entry_sums",
    "find_blocks",
    "frame_sums",
    "largest",
    "largest_entries",
    "masked_entries",
    "masked_sums",
    "once",
    "pack_bitshuffle",
    "patch",
    "place_tiles",
    "scatter",
    "swap_rows",
    "unpack_bitshuffle",
    "unpack_lz4",
    "unpack_medipix",
    "unpack_u12",
    "unpack_u12_tiles",
    "unshuffle",
    "zip_ends",
    "zip_members",
    "zip_table",
]

_jit = nb.njit(nogil=True, cache=True, boundscheck=False)


# ---------------------------------------------------------------- memory
#
# Memory is read and written several bytes at a time at any address, which array indexing cannot
# say; these intrinsics are plain loads and stores. They check nothing: callers have to.


def _pointer(context, builder, sig, args, i, kind):
    """Return the address of ``args[i][args[i + 1]]``."""
    data = context.make_array(sig.args[i])(context, builder, args[i]).data
    return builder.bitcast(builder.gep(data, [args[i + 1]]), kind.as_pointer())


_WORD, _BYTES16 = ir.IntType(64), ir.VectorType(ir.IntType(8), 16)


@intrinsic
def _load8(typing, source, s):
    def codegen(context, builder, sig, args):
        return builder.load(_pointer(context, builder, sig, args, 0, _WORD), align=1)

    return nb.uint64(source, nb.intp), codegen


@intrinsic
def _store8(typing, target, t, value):
    def codegen(context, builder, sig, args):
        builder.store(args[2], _pointer(context, builder, sig, args, 0, _WORD), align=1)
        return context.get_dummy_value()

    return nb.void(target, nb.intp, nb.uint64), codegen


@intrinsic
def _copy16(typing, source, s, target, t):
    def codegen(context, builder, sig, args):
        value = builder.load(_pointer(context, builder, sig, args, 0, _BYTES16), align=1)
        builder.store(value, _pointer(context, builder, sig, args, 2, _BYTES16), align=1)
        return context.get_dummy_value()

    return nb.void(source, nb.intp, target, nb.intp), codegen


@intrinsic
def _copy(typing, source, s, target, t, count):
    def codegen(context, builder, sig, args):
        kind = ir.IntType(8)
        there = _pointer(context, builder, sig, args, 2, kind)
        cgutils.raw_memcpy(
            builder, there, _pointer(context, builder, sig, args, 0, kind), args[4], 1
        )
        return context.get_dummy_value()

    return nb.void(source, nb.intp, target, nb.intp, nb.intp), codegen


# ---------------------------------------------------------------- Medipix RAW words
#
# A row is a sequence of 64-bit big-endian words; within a word the lowest-numbered pixel sits in
# the least significant bits. Seen as little-endian memory, a row read forwards is therefore every
# word byte-swapped, and a row read backwards (chips turned by 180 degrees) is the words in reverse
# order with only the bytes inside one pixel swapped.


@_jit
def _swap64(x: np.uint64) -> np.uint64:
    x = ((x & np.uint64(0x00FF00FF00FF00FF)) << np.uint64(8)) | (
        (x >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)
    )
    x = ((x & np.uint64(0x0000FFFF0000FFFF)) << np.uint64(16)) | (
        (x >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF)
    )
    return (x << np.uint64(32)) | (x >> np.uint64(32))


@_jit
def _swap16x4(x: np.uint64) -> np.uint64:
    return ((x & np.uint64(0x00FF00FF00FF00FF)) << np.uint64(8)) | (
        (x >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)
    )


@_jit
def _medipix6(words, out, row_words, first_word, out_row, out_first, rows, n, up, mirrored):
    for f in range(len(out)):
        for r in range(rows):
            start = first_word + r * row_words
            source = words[f, start : start + n]
            begin = out_first + (rows - 1 - r if up else r) * out_row
            target = out[f, begin : begin + n]
            if mirrored:
                for g in range(n):
                    target[n - 1 - g] = source[g]
            else:
                for g in range(n):
                    target[g] = _swap64(source[g])


@_jit
def _medipix12(words, out, row_words, first_word, out_row, out_first, rows, n, up, mirrored):
    for f in range(len(out)):
        for r in range(rows):
            start = first_word + r * row_words
            source = words[f, start : start + n]
            begin = out_first + (rows - 1 - r if up else r) * out_row
            target = out[f, begin : begin + n]
            if mirrored:
                for g in range(n):
                    target[n - 1 - g] = _swap16x4(source[g])
            else:
                for g in range(n):
                    target[g] = _swap64(source[g])


@_jit
def _medipix24(
    words, out, row_words, first_word, plane_words, out_row, out_first, rows, n, up, mirrored
):
    # First plane: the high 12 bits, second plane: the low 12 bits, both stored like 12-bit frames;
    # two 32-bit results fill one output word.
    half = np.uint64(0xFFFF)
    for f in range(len(out)):
        for r in range(rows):
            start = first_word + r * row_words
            high = words[f, start : start + n]
            low = words[f, start + plane_words : start + plane_words + n]
            begin = out_first + (rows - 1 - r if up else r) * out_row
            target = out[f, begin : begin + 2 * n]
            for g in range(n):
                h, w = _swap64(high[g]), _swap64(low[g])
                p0 = ((h & half) << np.uint64(12)) + (w & half)
                p1 = (((h >> np.uint64(16)) & half) << np.uint64(12)) + (
                    (w >> np.uint64(16)) & half
                )
                p2 = (((h >> np.uint64(32)) & half) << np.uint64(12)) + (
                    (w >> np.uint64(32)) & half
                )
                p3 = ((h >> np.uint64(48)) << np.uint64(12)) + (w >> np.uint64(48))
                if mirrored:
                    target[2 * n - 1 - 2 * g] = p1 | (p0 << np.uint64(32))
                    target[2 * n - 2 - 2 * g] = p3 | (p2 << np.uint64(32))
                else:
                    target[2 * g] = p0 | (p1 << np.uint64(32))
                    target[2 * g + 1] = p2 | (p3 << np.uint64(32))


@_jit
def _medipix1(words, out, row_words, first_word, out_row, out_first, rows, n, up, mirrored):
    # Spread 8 bits over 8 bytes: replicate the byte, keep bit k in byte k, make non-zero one.
    bits = np.uint64(0x0102040810204080) if mirrored else np.uint64(0x8040201008040201)
    for f in range(len(out)):
        for r in range(rows):
            start = first_word + r * row_words
            source = words[f, start : start + n]
            begin = out_first + (rows - 1 - r if up else r) * out_row
            target = out[f, begin : begin + 8 * n]
            for w in range(n):
                word = _swap64(source[w])
                for k in range(8):
                    byte = (word >> np.uint64(8 * k)) & np.uint64(0xFF)
                    spread = (byte * np.uint64(0x0101010101010101)) & bits
                    ones = ((spread + np.uint64(0x7F7F7F7F7F7F7F7F)) >> np.uint64(7)) & np.uint64(
                        0x0101010101010101
                    )
                    position = w * 8 + k
                    target[n * 8 - 1 - position if mirrored else position] = ones


def _as_words(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """View a block of stored frames as 64-bit words, copying only if it is not aligned to them."""
    size = raw.shape[1] // 8 * 8
    raw = raw[:, :size]
    if raw.ctypes.data % 8 or (len(raw) > 1 and raw.strides[0] % 8) or raw.strides[1] != 1:
        raw = np.ascontiguousarray(raw)
    return raw.view(np.uint64)


def unpack_medipix(
    packing: str,
    raw: npt.NDArray[np.uint8],
    out: npt.NDArray[Any],
    *,
    row_pixels: int,
    plane_pixels: int,
    first_pixel: int,
    to: tuple[int, int],
    shape: tuple[int, int],
    upside_down: bool,
    mirrored: bool,
) -> None:
    """Decode one chip of a block of Merlin RAW frames.

    Parameters
    ----------
    packing : {"medipix1", "medipix6", "medipix12", "medipix24"}
        Counter depth.
    raw : ndarray of uint8, shape (frames, bytes)
        Stored bytes of each frame.
    out : ndarray, shape (frames, rows, columns), C-contiguous
        uint8 for 1 and 6 bit, uint16 for 12 bit, uint32 for 24 bit.
    row_pixels, plane_pixels : int
        Stored pixels per row, and per plane (24 bit has two planes).
    first_pixel : int
        Where in `raw` the chip's first wanted pixel is, in pixels.
    to, shape : (int, int)
        Upper left corner in `out` and size (rows, columns) of the decoded part.
    upside_down, mirrored : bool
        Write rows, columns in reverse order.
    """
    rows, columns = shape
    pixels_per_word = {"medipix1": 64, "medipix6": 8}.get(packing, 4)
    if columns % pixels_per_word or row_pixels % pixels_per_word or first_pixel % pixels_per_word:
        raise ValueError(f"rows of {columns} pixels are no whole 64-bit words")
    out_words = 8 // out.itemsize
    if columns % out_words or to[1] % out_words or out.shape[2] % out_words:
        # The chip does not begin or end on a word of the assembled frame (a gap between chips).
        part = np.empty((len(raw), rows, columns), out.dtype)
        unpack_medipix(
            packing,
            raw,
            part,
            row_pixels=row_pixels,
            plane_pixels=plane_pixels,
            first_pixel=first_pixel,
            to=(0, 0),
            shape=shape,
            upside_down=upside_down,
            mirrored=mirrored,
        )
        out[:, to[0] : to[0] + rows, to[1] : to[1] + columns] = part
        return
    target = out.reshape(len(out), -1).view(np.uint64)
    words = _as_words(raw)
    source = (row_pixels // pixels_per_word, first_pixel // pixels_per_word)
    row = out.shape[2] // out_words
    place = (row, to[0] * row + to[1] // out_words, rows, columns // pixels_per_word)
    if packing == "medipix24":
        plane = plane_pixels // pixels_per_word
        _medipix24(words, target, *source, plane, *place, upside_down, mirrored)
    else:
        kernel = {"medipix1": _medipix1, "medipix6": _medipix6, "medipix12": _medipix12}[packing]
        kernel(words, target, *source, *place, upside_down, mirrored)


# ---------------------------------------------------------------- 12-bit packed streams


@_jit
def _unpack_u12(raw, out, big):
    frames, pixels = out.shape
    for f in range(frames):
        source, target = raw[f], out[f]
        for k in range(pixels // 2):
            b0 = np.uint16(source[3 * k])
            b1 = np.uint16(source[3 * k + 1])
            b2 = np.uint16(source[3 * k + 2])
            if big:
                target[2 * k] = (b0 << 4) | (b1 >> 4)
                target[2 * k + 1] = ((b1 & 15) << 8) | b2
            else:
                target[2 * k] = b0 | ((b1 & 15) << 8)
                target[2 * k + 1] = (b1 >> 4) | (b2 << 4)


def unpack_u12(raw: npt.NDArray[np.uint8], out: npt.NDArray[np.uint16], big: bool) -> None:
    """Unpack two 12-bit pixels from every three bytes; shapes (frames, bytes), (frames, pixels)."""
    _unpack_u12(raw, out, big)


@intrinsic
def _unpack_16(typing, source, s, target, t):
    """Unpack 16 pixels, least significant bits first, from 24 bytes."""
    vector = ir.VectorType(ir.IntType(16), 16)

    def constants(kind, values):
        return ir.Constant(ir.VectorType(ir.IntType(kind), len(values)), values)

    # pixel 2k lies in bytes 3k and 3k + 1, pixel 2k + 1 in bytes 3k + 1 and 3k + 2
    order = constants(32, [3 * (i // 2) + i % 2 + j for i in range(16) for j in (0, 1)])
    odd = constants(1, [i % 2 for i in range(16)])

    def codegen(context, builder, sig, args):
        bytes24 = ir.VectorType(ir.IntType(8), 24)
        stored = builder.load(_pointer(context, builder, sig, args, 0, bytes24), align=1)
        pairs = builder.shuffle_vector(stored, ir.Constant(bytes24, ir.Undefined), order)
        pairs = builder.bitcast(pairs, vector)
        high = builder.lshr(pairs, constants(16, [4] * 16))
        low = builder.and_(pairs, constants(16, [0xFFF] * 16))
        pixels = builder.select(odd, high, low)
        builder.store(pixels, _pointer(context, builder, sig, args, 2, vector), align=2)
        return context.get_dummy_value()

    return nb.void(source, nb.intp, target, nb.intp), codegen


@_jit
def _unpack_u12_tiles(raw, places, out, starts, row_step, first, last, to, width):
    # Rows outside, tiles inside: the target is written in whole rows, one page after the other;
    # the few streams that are read at the same time are contiguous.
    for f in range(places.shape[0]):
        for b in range(places.shape[1]):
            for r in range(first[b], last[b]):
                row = starts[f] + (to[b] + r - first[b]) * row_step
                for c in range(places.shape[2]):
                    place = places[f, b, c]
                    if place < 0:
                        continue
                    begin, at = place + r * (width // 2 * 3), row + c * width
                    for k in range(width // 16):
                        _unpack_16(raw, begin + 24 * k, out, at + 16 * k)
                    for k in range(width // 16 * 8, width // 2):
                        b0 = np.uint16(raw[begin + 3 * k])
                        b1 = np.uint16(raw[begin + 3 * k + 1])
                        b2 = np.uint16(raw[begin + 3 * k + 2])
                        out[at + 2 * k] = b0 | ((b1 & 15) << 8)
                        out[at + 2 * k + 1] = (b1 >> 4) | (b2 << 4)


def unpack_u12_tiles(
    raw: npt.NDArray[np.uint8],
    places: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint16],
    *,
    height: int,
    width: int,
    rows: tuple[int, int],
) -> None:
    """Unpack frames that are stored tile by tile, 12-bit pixels least significant first.

    Parameters
    ----------
    raw : ndarray of uint8
        Stored bytes.
    places : ndarray of int64, shape (frames, bands, columns)
        Where in `raw` the pixels of each tile begin; -1 leaves its part of `out` as it is.
    out : ndarray of uint16, shape (frames, rows, columns of tiles * width)
        Contiguous along the last axis; steps between its frames may have either sign, those
        between its rows are positive.
    height, width : int
        Rows and columns of a tile; an even number of columns.
    rows : (int, int)
        The wanted rows, counted from the first row of the first band.
    """
    frames, bands, _ = places.shape
    if not out.size or not bands:
        return
    edges = np.arange(bands, dtype=np.int64) * height
    first = np.clip(rows[0] - edges, 0, height)
    last = np.clip(rows[1] - edges, 0, height)
    to = np.maximum(edges - rows[0], 0)
    frame_step, row_step = (
        s // 2 if n > 1 else 0 for s, n in zip(out.strides[:2], out.shape[:2], strict=True)
    )
    starts = np.arange(frames, dtype=np.int64) * frame_step
    lowest = out
    if frame_step < 0:
        starts -= starts[-1]
        lowest = out[::-1]
    length = int(starts.max()) + (out.shape[1] - 1) * row_step + out.shape[2]
    flat = np.lib.stride_tricks.as_strided(lowest, (length,), (2,))
    _unpack_u12_tiles(raw, places, flat, starts, row_step, first, last, to, width)


@_jit
def _big(raw, at, n):
    value = np.int64(0)
    for i in range(n):
        value = value << 8 | np.int64(raw[at + i])
    return value


@_jit
def _find_blocks(raw, nbytes, header, at, known, numbers, base, frame, per_frame, size, places):
    height, width = size
    for i in range(len(raw) // nbytes):
        begin, same = i * nbytes, True
        for k in range(len(at)):
            same &= raw[begin + at[k]] == known[k]
        f = (_big(raw, begin + numbers[0, 0], numbers[0, 1]) - base) & np.int64(0xFFFFFFFF)
        f = f // per_frame - frame
        x = _big(raw, begin + numbers[1, 0], numbers[1, 1])
        y = _big(raw, begin + numbers[2, 0], numbers[2, 1])
        same &= _big(raw, begin + numbers[3, 0], numbers[3, 1]) - x == width - 1
        same &= _big(raw, begin + numbers[4, 0], numbers[4, 1]) - y == height - 1
        row, column = y // height, x // width
        same &= row * height == y and column * width == x
        if same and 0 <= f < len(places) and row < places.shape[1] and column < places.shape[2]:
            places[f, row, column] = begin + header


def find_blocks(
    raw: npt.NDArray[np.uint8],
    size: tuple[int, int],
    known: tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]],
    numbers: npt.NDArray[np.int64],
    which: tuple[int, int, int],
    shape: tuple[int, int],
    places: npt.NDArray[np.int64],
) -> None:
    """Find out from the headers of blocks which parts of frames they are.

    Parameters
    ----------
    raw : ndarray of uint8
        Blocks, one after the other.
    size : (int, int)
        Bytes of a block, and of its header.
    known : (ndarray, ndarray)
        Offsets of bytes that are the same in all headers, and these bytes.
    numbers : ndarray of int64, shape (5, 2)
        Offset and length of big-endian numbers: of the block, its first column and row, its last
        column and row.
    which : (int, int, int)
        Number of the first block of frame 0, the wanted frame, and the blocks of a frame. Numbers
        have 32 bits and start again at 0.
    shape : (int, int)
        Rows and columns of a block.
    places : ndarray of int64, shape (frames, rows, columns)
        Gets the offset of the pixels of each block; blocks with damaged headers are left out.
    """
    _find_blocks(raw, *size, *known, numbers, *which, shape, places)


# ---------------------------------------------------------------- byte order


@_jit
def _swap_rows2(raw, stride, out, row, flip):
    rows = out.shape[1] // row
    for f in range(len(out)):
        # viewed once for each frame: numba spends as long on a view as on a whole row
        frame = raw[f * stride : f * stride + out.shape[1] * 2].view(np.uint16)
        for r in range(rows):
            source = frame[r * row : (r + 1) * row]
            begin = (rows - 1 - r if flip else r) * row
            target = out[f, begin : begin + row]
            for i in range(row):
                x = source[i]
                target[i] = (x << np.uint16(8)) | (x >> np.uint16(8))


@_jit
def _swap_rows4(raw, stride, out, row, flip):
    rows = out.shape[1] // row
    low = np.uint32(0x00FF00FF)
    for f in range(len(out)):
        frame = raw[f * stride : f * stride + out.shape[1] * 4].view(np.uint32)
        for r in range(rows):
            source = frame[r * row : (r + 1) * row]
            begin = (rows - 1 - r if flip else r) * row
            target = out[f, begin : begin + row]
            for i in range(row):
                x = source[i]
                x = ((x & low) << np.uint32(8)) | ((x >> np.uint32(8)) & low)
                target[i] = (x << np.uint32(16)) | (x >> np.uint32(16))


def swap_rows(raw: npt.NDArray[np.uint8], out: npt.NDArray[Any], row: int, flip: bool) -> None:
    """Swap the bytes of 2- or 4-byte pixels on their way from a block of frames to `out`.

    Parameters
    ----------
    raw : ndarray of uint8, shape (frames, bytes)
        Contiguous along the last axis.
    out : ndarray, C-contiguous
        Unsigned or signed integers or floats of 2 or 4 bytes; frames along the first axis.
    row : int
        Pixels per row.
    flip : bool
        Write the rows in reverse order.
    """
    stride = raw.strides[0] if len(raw) > 1 else raw.shape[1]
    flat = np.lib.stride_tricks.as_strided(raw, ((len(raw) - 1) * stride + raw.shape[1],), (1,))
    unsigned = np.uint16 if out.itemsize == 2 else np.uint32
    target = out.reshape(len(out), -1).view(unsigned)
    (_swap_rows2 if out.itemsize == 2 else _swap_rows4)(flat, stride, target, row, flip)


# ---------------------------------------------------------------- corrections


@_jit
def _correct(raw, dark, gain, out):
    for f in range(len(raw)):
        source, target = raw[f], out[f]
        for i in range(len(source)):
            target[i] = (source[i] - dark[i]) * gain[i]


@_jit
def _patch(values, pixels, bounds, sources):
    for f in range(len(values)):
        frame = values[f]
        for i in range(len(pixels)):
            total = frame.dtype.type(0)
            for j in range(bounds[i], bounds[i + 1]):
                total += frame[sources[j]]
            frame[pixels[i]] = total / (bounds[i + 1] - bounds[i])


def correct(
    raw: npt.NDArray[Any], dark: npt.NDArray[Any], gain: npt.NDArray[Any], out: npt.NDArray[Any]
) -> None:
    """Compute ``(raw - dark) * gain``; raw and out have the shape (frames, pixels)."""
    _correct(raw, dark, gain, out)


def patch(
    values: npt.NDArray[Any],
    pixels: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.int64],
    sources: npt.NDArray[np.int64],
) -> None:
    """Replace pixels of (frames, pixels) by the mean of ``sources[bounds[i]:bounds[i + 1]]``."""
    _patch(values, pixels, bounds, sources)


# ---------------------------------------------------------------- bit shuffle and LZ4


#: Distances at which bits of 8 x 8 change places, and the lower ones of each pair.
_SWAPS = ((1, 0x5555555555555555), (2, 0x3333333333333333), (4, 0x0F0F0F0F0F0F0F0F))


@intrinsic(prefer_literal=True)
def _untranspose(typing, source, s, target, t, row, itemsize):
    """Turn 16 bytes from each row of bits into 128 elements.

    Row ``8 * b + j`` holds bit j of byte b of every element. First 8 x 8 bits change places in
    all 16 columns at once, by swapping bits between registers; that gives row (j, b), column m:
    byte b of element 8 * m + j. Then halves of the rows are interleaved until the order is
    (m, j, b): each round moves the uppermost bit of the row number to the end.
    """
    size, words, counts = itemsize.literal_value, ir.VectorType(_WORD, 2), ir.IntType(32)
    halves = [
        ir.Constant(ir.VectorType(counts, 16), [start + k // 2 + 16 * (k % 2) for k in range(16)])
        for start in (0, 8)
    ]

    def codegen(context, builder, sig, args):
        def pointer(i, count, step, kind):
            offset = builder.mul(step, ir.Constant(step.type, count))
            moved = [*args[: i + 1], builder.add(args[i + 1], offset), *args[i + 2 :]]
            return _pointer(context, builder, sig, moved, i, kind)

        def both(value):
            return ir.Constant(words, [value, value])

        table = [None] * (8 * size)
        for b in range(size):
            bits = [builder.load(pointer(0, 8 * b + j, args[4], words), align=1) for j in range(8)]
            for n, mask in _SWAPS:
                for j in (j for j in range(8) if not j & n):
                    low, high = bits[j], bits[j + n]
                    differ = builder.xor(builder.lshr(low, both(n)), high)
                    differ = builder.and_(differ, both(mask))
                    bits[j] = builder.xor(low, builder.shl(differ, both(n)))
                    bits[j + n] = builder.xor(high, differ)
            for j in range(8):
                table[j * size + b] = builder.bitcast(bits[j], _BYTES16)
        middle = len(table) // 2
        for _ in range(middle.bit_length()):
            table = [
                builder.shuffle_vector(table[i], table[i + middle], half)
                for i in range(middle)
                for half in halves
            ]
        sixteen = ir.Constant(args[3].type, 16)
        for i, value in enumerate(table):
            builder.store(value, pointer(2, i, sixteen, _BYTES16), align=1)
        return context.get_dummy_value()

    return nb.void(source, nb.intp, target, nb.intp, nb.intp, itemsize), codegen


#: Bytes behind the end of what is being copied that may be read or written along.
_NEAR = 64
#: For a repeated sequence of n <= 8 bytes: its mask in a word, the factor that repeats it there,
#: and the bytes that whole repetitions take.
_MASK = np.array([2 ** (8 * n) - 1 for n in range(9)], np.uint64)
_REPEAT = np.array([0, *(sum(1 << k for k in range(0, 64, 8 * n)) % 2**64 for n in range(1, 9))])
_REPEAT = _REPEAT.astype(np.uint64)
_WHOLE = np.array([0, *(8 // n * n for n in range(1, 9))], np.int64)


@_jit
def _lz4_block(source, s, s_end, target, t, t_end, room):
    """Decode one LZ4 block that must fill target[t:t_end]; bytes up to `room` may be spoilt."""
    begin = t
    s_near, t_near = len(source) - _NEAR, room - _NEAR
    while True:
        if s >= s_end:
            return False
        token = np.intp(source[np.uintp(s)])
        s += 1
        n = token >> 4
        if n == 15:
            while True:
                if s >= s_end:
                    return False
                more = np.intp(source[np.uintp(s)])
                s += 1
                n += more
                if more != 255:
                    break
        if n > s_end - s or n > t_end - t:
            return False
        if s + n <= s_near and t + n <= t_near:
            _copy16(source, s, target, t)
            i = 16
            while i < n:
                _copy16(source, s + i, target, t + i)
                i += 16
        else:
            for i in range(n):
                target[np.uintp(t + i)] = source[np.uintp(s + i)]
        s += n
        t += n
        if s == s_end:
            return t == t_end
        if s_end - s < 2:
            return False
        back = np.intp(source[np.uintp(s)]) | np.intp(source[np.uintp(s + 1)]) << 8
        s += 2
        n = token & 15
        if n == 15:
            while True:
                if s >= s_end:
                    return False
                more = np.intp(source[np.uintp(s)])
                s += 1
                n += more
                if more != 255:
                    break
        n += 4
        if back == 0 or back > t - begin or n > t_end - t:
            return False
        if t + n > t_near:
            for i in range(n):
                target[np.uintp(t + i)] = target[np.uintp(t + i - back)]
        elif back >= 8:
            _store8(target, t, _load8(target, t - back))
            _store8(target, t + 8, _load8(target, t - back + 8))
            if n > 16:
                # from 16 bytes on, what is copied has been written before
                far, i = back if back >= 16 else 2 * back, 16
                while i < n:
                    _copy16(target, t - far + i, target, t + i)
                    i += 16
        else:
            word = _load8(target, t - back) & _MASK[np.uintp(back)]
            word *= _REPEAT[np.uintp(back)]
            whole = _WHOLE[np.uintp(back)]
            i = 0
            while i < n:
                _store8(target, t + i, word)
                _store8(target, t + i + whole, word)
                i += 2 * whole
        t += n


@_jit
def _big_endian(raw, at, count):
    value = np.uint64(0)
    for i in range(count):
        value = value << np.uint64(8) | np.uint64(raw[at + i])
    return value


@_jit
def _lz4(raw, starts, lengths, out, places, nbytes):
    for c in range(len(starts)):
        s, end = starts[c], starts[c] + lengths[c]
        t, t_end = places[c], places[c] + nbytes
        if lengths[c] < 12 or _big_endian(raw, s, 8) != np.uint64(nbytes):
            return c
        block = np.intp(_big_endian(raw, s + 8, 4))
        if block == 0:
            return c
        s += 12
        while t < t_end:
            n = min(block, t_end - t)
            if end - s < 4:
                return c
            length = np.intp(_big_endian(raw, s, 4))
            s += 4
            if length > end - s:
                return c
            if length == n:  # stored as it is
                _copy(raw, s, out, t, n)
            elif not _lz4_block(raw, s, s + length, out, t, t + n, t_end):
                return c
            s += length
            t += n
        if s != end:
            return c
    return -1


def _bitshuffle_kernel(itemsize: int) -> Any:
    # a constant is all that may come from outside: the cache on disk knows no others

    @_jit
    def kernel(raw, starts, lengths, out, places, nbytes, block, lz4, bits, spare):
        group = 8 * itemsize
        shuffled = nbytes // group * group
        for c in range(len(starts)):
            s, end, t = starts[c], starts[c] + lengths[c], places[c]
            size = block
            if lz4:
                if lengths[c] < 12 or _big_endian(raw, s, 8) != np.uint64(nbytes):
                    return c
                size = np.intp(_big_endian(raw, s + 8, 4))
                s += 12
            if size == 0 or size % group:
                return c
            done = 0
            while done < shuffled:
                n = min(size, shuffled - done)
                if lz4:
                    if end - s < 4:
                        return c
                    length = np.intp(_big_endian(raw, s, 4))
                    s += 4
                    if length > end - s:
                        return c
                    if not _lz4_block(raw, s, s + length, bits, 0, n, len(bits)):
                        return c
                else:
                    length = n
                    if length > end - s:
                        return c
                    _copy(raw, s, bits, 0, n)
                s += length
                row = n // group
                for k in range(0, row - 15, 16):
                    _untranspose(bits, k, out, t + k * group, row, itemsize)
                if row % 16:
                    k = row // 16 * 16
                    _untranspose(bits, k, spare, 0, row, itemsize)
                    _copy(spare, 0, out, t + k * group, n - k * group)
                t += n
                done += n
            rest = nbytes - shuffled  # up to seven elements
            if rest != end - s:
                return c
            _copy(raw, s, out, t, rest)
        return -1

    return kernel


_BITSHUFFLE = {itemsize: _bitshuffle_kernel(itemsize) for itemsize in (1, 2, 4, 8)}


@intrinsic(prefer_literal=True)
def _transpose(typing, source, s, target, t, row, itemsize):
    """Put 128 elements into 16 bytes of each row of bits: `_untranspose` backwards."""
    size, words, counts = itemsize.literal_value, ir.VectorType(_WORD, 2), ir.IntType(32)
    every = [
        ir.Constant(ir.VectorType(counts, 16), [2 * k + start for k in range(16)])
        for start in (0, 1)
    ]

    def codegen(context, builder, sig, args):
        def pointer(i, count, step, kind):
            offset = builder.mul(step, ir.Constant(step.type, count))
            moved = [*args[: i + 1], builder.add(args[i + 1], offset), *args[i + 2 :]]
            return _pointer(context, builder, sig, moved, i, kind)

        def both(value):
            return ir.Constant(words, [value, value])

        sixteen = ir.Constant(args[1].type, 16)
        table = [builder.load(pointer(0, i, sixteen, _BYTES16), align=1) for i in range(8 * size)]
        for _ in range((len(table) // 2).bit_length()):
            pairs = list(zip(table[::2], table[1::2], strict=True))
            table = [builder.shuffle_vector(a, b, which) for which in every for a, b in pairs]
        for b in range(size):
            bits = [builder.bitcast(table[j * size + b], words) for j in range(8)]
            for n, mask in _SWAPS:
                for j in (j for j in range(8) if not j & n):
                    low, high = bits[j], bits[j + n]
                    differ = builder.xor(builder.lshr(low, both(n)), high)
                    differ = builder.and_(differ, both(mask))
                    bits[j] = builder.xor(low, builder.shl(differ, both(n)))
                    bits[j + n] = builder.xor(high, differ)
            for j in range(8):
                builder.store(bits[j], pointer(2, 8 * b + j, args[4], words), align=1)
        return context.get_dummy_value()

    return nb.void(source, nb.intp, target, nb.intp, nb.intp, itemsize), codegen


@intrinsic
def _trailing_zeros(typing, x):
    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return nb.uint64(nb.uint64), generate


@_jit
def _lz4_length(target, t, n):
    """Write what of a length does not fit into the token."""
    n -= 15
    while n >= 255:
        target[np.uintp(t)] = 255
        t, n = t + 1, n - 255
    target[np.uintp(t)] = n
    return t + 1


@_jit
def _lz4_pack(source, n, target, t, table):
    """Encode source[:n], of less than 64 KiB, as an LZ4 block; return its end.

    Up to 8 bytes behind the end of the source are read.
    """
    anchor, i, misses = 0, 1, 64
    table[:] = 0
    while i <= n - 12:  # where a match may begin; the last 5 bytes stand for themselves
        word = _load8(source, i)
        key = ((word & np.uint64(0xFFFFFFFF)) * np.uint64(2654435761)) >> np.uint64(20)
        key &= np.uint64(4095)
        other = np.intp(table[key])
        table[key] = i
        if (word ^ _load8(source, other)) & np.uint64(0xFFFFFFFF) or other >= i:
            i += misses >> 6  # what does not repeat is gone through faster and faster
            misses += 1
            continue
        while i > anchor and other > 0 and source[np.uintp(i - 1)] == source[np.uintp(other - 1)]:
            i, other = i - 1, other - 1
        length: Any = 4
        while i + length < n - 5:
            differ = _load8(source, i + length) ^ _load8(source, other + length)
            if differ:
                length += np.intp(_trailing_zeros(differ)) >> 3
                break
            length += 8
        length = min(length, n - 5 - i)
        literals = i - anchor
        target[np.uintp(t)] = min(literals, 15) << 4 | min(length - 4, 15)
        t += 1
        if literals >= 15:
            t = _lz4_length(target, t, literals)
        _copy(source, anchor, target, t, literals)
        t += literals
        target[np.uintp(t)] = (i - other) & 255
        target[np.uintp(t + 1)] = (i - other) >> 8
        t += 2
        if length - 4 >= 15:
            t = _lz4_length(target, t, length - 4)
        i += length
        anchor, misses = i, 64
    literals = n - anchor
    target[np.uintp(t)] = min(literals, 15) << 4
    t += 1
    if literals >= 15:
        t = _lz4_length(target, t, literals)
    _copy(source, anchor, target, t, literals)
    return t + literals


@_jit
def _put_big(target, t, value, n):
    for i in range(n):
        target[np.uintp(t + n - 1 - i)] = value & 255
        value >>= 8


def _pack_kernel(itemsize: int) -> Any:
    @_jit
    def kernel(raw, nbytes, block, out, room, sizes, bits, spare, table):
        group = 8 * itemsize
        shuffled = nbytes // group * group
        for c in range(len(sizes)):
            s, t = c * nbytes, c * room
            _put_big(out, t, nbytes, 8)
            _put_big(out, t + 8, block, 4)
            t, done = t + 12, 0
            while done < shuffled:
                n = min(block, shuffled - done)
                row = n // group
                for k in range(0, row - 15, 16):
                    _transpose(raw, s + k * group, bits, k, row, itemsize)
                if row % 16:
                    k = row // 16 * 16
                    _copy(raw, s + k * group, spare, 0, n - k * group)
                    _transpose(spare, 0, spare, 16 * group, 16, itemsize)
                    for j in range(group):
                        _copy(spare, 16 * (group + j), bits, j * row + k, row - k)
                end = _lz4_pack(bits, n, out, t + 4, table)
                _put_big(out, t, end - t - 4, 4)
                s, t, done = s + n, end, done + n
            _copy(raw, s, out, t, nbytes - shuffled)
            sizes[c] = t + nbytes - shuffled - c * room

    return kernel


_PACK = {itemsize: _pack_kernel(itemsize) for itemsize in (1, 2, 4, 8)}
#: Bytes that are shuffled together, as in the bitshuffle library.
_PACKED_TOGETHER = 8192


def pack_bitshuffle(raw: npt.NDArray[np.uint8], itemsize: int) -> list[memoryview]:
    """Encode chunks as the HDF5 filter "bitshuffle" with LZ4 does.

    Parameters
    ----------
    raw : ndarray of uint8, shape (chunks, bytes)
        C-contiguous.
    itemsize : {1, 2, 4, 8}
        Bytes of an element.

    Returns
    -------
    list of memoryview
        The encoded chunks.
    """
    chunks, nbytes = raw.shape
    blocks = -(-nbytes // _PACKED_TOGETHER)
    room = 12 + nbytes + blocks * (4 + _PACKED_TOGETHER // 255 + 16)
    out, sizes = np.empty((chunks, room), np.uint8), np.empty(chunks, np.int64)
    bits = np.zeros(_PACKED_TOGETHER + 8, np.uint8)
    spare, table = np.zeros(2 * 128 * itemsize, np.uint8), np.empty(4096, np.uint16)
    kernel = _PACK[itemsize]
    kernel(
        raw.reshape(-1), nbytes, _PACKED_TOGETHER, out.reshape(-1), room, sizes, bits, spare, table
    )
    return [row[:size].data for row, size in zip(out, sizes.tolist(), strict=True)]


def unpack_bitshuffle(
    raw: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
    places: npt.NDArray[np.int64],
    nbytes: int,
    itemsize: int,
    *,
    lz4: bool,
    block: int = 0,
) -> int:
    """Decode chunks of the HDF5 filter "bitshuffle", with or without its LZ4 compression.

    Parameters
    ----------
    raw : ndarray of uint8
        Holds chunk i in ``raw[starts[i]:starts[i] + lengths[i]]``.
    out : ndarray of uint8
        Chunk i is decoded to ``out[places[i]:places[i] + nbytes]``.
    nbytes : int
        Bytes of a decoded chunk.
    itemsize : {1, 2, 4, 8}
        Bytes of an element.
    lz4 : bool
        Whether the bits are compressed as well.
    block : int
        Bytes shuffled together; with LZ4 every chunk says it itself.

    Returns
    -------
    int
        The first chunk that is damaged, -1 if none is. Nothing outside of the places of the
        chunks is written, whatever the chunks hold.
    """
    _check_places(raw, starts, lengths, out, places, nbytes)
    bits = np.empty(nbytes + 2 * _NEAR, np.uint8)
    spare = np.empty(128 * itemsize, np.uint8)
    kernel = _BITSHUFFLE[itemsize]
    return int(kernel(raw, starts, lengths, out, places, nbytes, block, lz4, bits, spare))


def unpack_lz4(
    raw: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
    places: npt.NDArray[np.int64],
    nbytes: int,
) -> int:
    """Decode chunks of the HDF5 filter "LZ4"; parameters and result as `unpack_bitshuffle`."""
    _check_places(raw, starts, lengths, out, places, nbytes)
    return int(_lz4(raw, starts, lengths, out, places, nbytes))


def _check_places(
    raw: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
    places: npt.NDArray[np.int64],
    nbytes: int,
) -> None:
    if not len(starts):
        return
    if not len(starts) == len(lengths) == len(places):
        raise ValueError("starts, lengths and places must have the same length")
    if min(starts.min(), lengths.min(), places.min(), nbytes) < 0:
        raise ValueError("starts, lengths and places must not be negative")
    if (starts + lengths).max() > len(raw) or int(places.max()) + nbytes > len(out):
        raise ValueError("chunks lie outside of the arrays")


@_jit
def _unshuffle2(raw, out):
    n = len(out)
    first, second = raw[:n], raw[n : 2 * n]
    for i in range(n):
        out[i] = np.uint16(first[i]) | np.uint16(second[i]) << np.uint16(8)


@_jit
def _unshuffle4(raw, out):
    n = len(out)
    b0, b1, b2, b3 = raw[:n], raw[n : 2 * n], raw[2 * n : 3 * n], raw[3 * n : 4 * n]
    for i in range(n):
        low = np.uint32(b0[i]) | np.uint32(b1[i]) << np.uint32(8)
        high = np.uint32(b2[i]) | np.uint32(b3[i]) << np.uint32(8)
        out[i] = low | high << np.uint32(16)


def unshuffle(raw: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8], itemsize: int) -> None:
    """Undo the HDF5 filter "shuffle": first bytes of all elements, then second bytes of all.

    What does not make a whole element follows as it is.
    """
    count = len(out) // itemsize
    whole = count * itemsize
    kernels = {2: (_unshuffle2, np.uint16), 4: (_unshuffle4, np.uint32)}
    if itemsize in kernels and out.ctypes.data % itemsize == 0:
        kernel, kind = kernels[itemsize]
        kernel(raw[:whole], out[:whole].view(kind))
    else:
        out[:whole].reshape(count, itemsize)[...] = raw[:whole].reshape(itemsize, count).T
    out[whole:] = raw[whole:]


# ---------------------------------------------------------------- sparse frames


def _limits(dtype: np.dtype[Any]) -> npt.NDArray[Any] | None:
    """Return the least and the largest number of a type of whole numbers."""
    if dtype.kind not in "iu":
        return None  # the compiler leaves the checks out
    return np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)


@_jit
def _fits(total, value, limits):
    if value < 0:
        return total >= limits[0] - value
    return total <= limits[1] - value


@_jit
def _scatter(bounds, pixels, values, places, out, width, size, row, column, limits):
    rows, columns = out.shape[1], out.shape[2]
    for f in range(len(places)):
        frame = out[places[f]]
        frame[:] = 0
        for k in range(bounds[f], bounds[f + 1]):
            p = np.int64(pixels[k])
            if p < 0 or p >= size:
                return 2 * f
            r = p // width if size > width else 0
            c = p - r * width - column
            r -= row
            if 0 <= r < rows and 0 <= c < columns:
                if limits is not None and not _fits(frame[r, c], values[k], limits):
                    return 2 * f + 1
                frame[r, c] += values[k]
    return -1


def scatter(
    bounds: npt.NDArray[np.int64],
    pixels: npt.NDArray[Any],
    values: npt.NDArray[Any],
    places: npt.NDArray[np.int64],
    out: npt.NDArray[Any],
    shape: tuple[int, int],
    corner: tuple[int, int] = (0, 0),
) -> tuple[int, bool] | None:
    """Fill frames with zeros, and add the values of single pixels.

    Parameters
    ----------
    bounds, pixels, values : ndarray
        Frame i has ``values[bounds[i]:bounds[i + 1]]`` at the places `pixels` of the flat frame;
        these are int64 or uint32.
    places : ndarray of int64
        Frame i is ``out[places[i]]``.
    out : ndarray, shape (frames, rows, columns)
        A region of each frame, in the type of `values`.
    shape : (int, int)
        Rows and columns of a whole frame.
    corner : (int, int)
        Row and column of a frame at which the region begins.

    Returns
    -------
    (int, bool) or None
        The first frame that cannot be filled, and whether that is because a sum is too large for
        the type; otherwise because a pixel lies outside of the frame.
    """
    if len(bounds) != len(places) + 1 or len(pixels) != len(values):
        raise ValueError("bounds, places, pixels and values contradict each other")
    if len(places) and not (bounds.min() >= 0 and bounds.max() <= len(pixels)):
        raise ValueError("bounds lie outside of the pixels")
    if len(places) and not (places.min() >= 0 and places.max() < len(out)):
        raise ValueError("places lie outside of the output")
    if out.dtype == np.float16:  # unknown to numba
        wide = np.empty((len(places), *out.shape[1:]), np.float32)
        order = np.arange(len(places))
        bad = scatter(bounds, pixels, values.astype(np.float32), order, wide, shape, corner)
        if bad is None:
            out[places] = wide
        return bad
    width, size = shape[1], shape[0] * shape[1]
    limits = _limits(out.dtype)
    code = _scatter(bounds, pixels, values, places, out, width, size, *corner, limits)
    return None if code < 0 else (int(code) // 2, bool(code % 2))


# ---------------------------------------------------------------- the directory of a zip archive


@_jit
def _little(raw, at, n):
    value: Any = 0
    for i in range(n):
        value |= np.int64(raw[at + i]) << (8 * i)
    return value


@_jit
def _zip_members(raw, words, starts, lengths, table):
    at: Any = 0
    half = np.uint64(0xFFFF)
    for i in range(table.shape[1]):
        if at + 46 > len(raw) or _load8(raw, at) & np.uint64(0xFFFFFFFF) != np.uint64(0x02014B50):
            return i
        kind, sums, sizes = _load8(raw, at + 8), _load8(raw, at + 16), _load8(raw, at + 24)
        name_at = at + 46
        n, extra = np.int64((sizes >> np.uint64(32)) & half), np.int64(sizes >> np.uint64(48))
        end = name_at + n + extra + np.int64(_load8(raw, at + 32) & half)
        if end > len(raw):
            return i
        row = table[:, i]
        row[0], row[1] = name_at, n
        row[4], row[5] = kind & half, (kind >> np.uint64(16)) & half
        row[6], row[7] = sums & np.uint64(0xFFFFFFFF), sums >> np.uint64(32)
        row[8], row[9] = sizes & np.uint64(0xFFFFFFFF), _load8(raw, at + 38) >> np.uint64(32)
        # what does not fit into 32 bits is in the extra field 1, in this order
        here, stop = name_at + n, name_at + n + extra
        while here + 4 <= stop:
            code, left = _little(raw, here, 2), min(_little(raw, here + 2, 2), stop - here - 4)
            here += 4
            if code == 1:
                part = here
                for field in (8, 7, 9):
                    if row[field] == 0xFFFFFFFF and part + 8 <= here + left:
                        row[field] = _little(raw, part, 8)
                        part += 8
            here += left
        # a number without leading zeros, and one of the words
        digits = 0
        number: Any = np.int64(0)
        while digits < n and digits < 18 and 48 <= raw[name_at + digits] <= 57:
            number = number * 10 + np.int64(raw[name_at + digits]) - 48
            digits += 1
        row[2] = row[3] = -1
        if digits and not (raw[name_at] == 48 and digits > 1):
            for w in range(len(words)):
                if n != digits + lengths[w] or _load8(raw, name_at + digits) != starts[w]:
                    continue
                same = True
                for j in range(8, lengths[w]):
                    same &= raw[name_at + digits + j] == words[w, j]
                if same:
                    row[2], row[3] = w, number
        at = end
    return -1


def zip_members(
    raw: npt.NDArray[np.uint8], words: tuple[bytes, ...], table: npt.NDArray[np.int64]
) -> int:
    """Parse the central directory of a zip archive; see `rsciio_tem.archives.FIELDS`.

    Parameters
    ----------
    raw : ndarray of uint8
        The directory.
    words : tuple of bytes
        What follows the number in the names of numbered members; of 8 letters at least.
    table : ndarray of int64, shape (10, members)
        Is filled.

    Returns
    -------
    int
        The first member that is damaged, -1 if none is.
    """
    lengths = np.array([len(word) for word in words])
    letters = np.zeros((len(words), int(lengths.max())), np.uint8)
    for i, word in enumerate(words):
        letters[i, : len(word)] = np.frombuffer(word, np.uint8)
    starts = np.array([int.from_bytes(word[:8], "little") for word in words], np.uint64)
    return int(_zip_members(raw, letters, starts, lengths, table))


@_jit
def _zip_ends(table, first, longest, ends):
    count = len(ends)
    for i in range(count):
        offset, packed = table[9, i], table[7, i]
        end = table[9, i + 1] if i + 1 < count else first
        if offset < 0 or packed < 0 or table[8, i] < 0 or end <= offset or end > first:
            return False
        end = min(end, offset + longest + table[1, i] + packed)
        if end - offset < 30 or packed > end - offset:
            return False
        ends[i] = end
    return True


def zip_ends(
    table: npt.NDArray[np.int64], first: int, longest: int, ends: npt.NDArray[np.int64]
) -> bool:
    """Fill `ends` with where members end at the latest, if they lie one behind the other.

    Parameters
    ----------
    table : ndarray of int64, shape (10, members)
        As `zip_members` fills it.
    first : int
        Byte at which the directory begins.
    longest : int
        Most bytes that a member has beside its name and its content.
    ends : ndarray of int64
        Is filled.

    Returns
    -------
    bool
        False if they lie in another order, or one is damaged.
    """
    return bool(_zip_ends(table, first, longest, ends))


@_jit
def _zip_table(parts, numbers, table):
    for i in range(len(parts)):
        if 0 <= parts[i] < table.shape[0] and 0 <= numbers[i] < table.shape[1]:
            table[parts[i], numbers[i]] = i


def zip_table(
    parts: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64], table: npt.NDArray[np.int64]
) -> None:
    """Set ``table[parts[i], numbers[i]]`` to i where there is such a place; the last i counts."""
    _zip_table(parts, numbers, table)


# ---------------------------------------------------------------- sums
#
# Pixels of the other byte order are swapped in a register, on their way into a sum.

#: Real pixels that numba knows.
_NUMBERS = {"b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"}
_jit_sums = nb.njit(nogil=True, cache=True, boundscheck=False, fastmath={"reassoc", "contract"})


def _numbers(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values as something numba can calculate with."""
    if values.dtype == bool:
        return values.view(np.uint8)
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _stored(block: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], bool]:
    """Return pixels as something numba knows, and whether their bytes have to be swapped."""
    if block.dtype == bool or block.dtype == np.float16:
        return _numbers(block), False
    if block.dtype.isnative:
        return block, False
    if block.dtype.kind != "u" or block.dtype.itemsize != 2:
        raise ValueError(f"pixels of {block.dtype} are not added up as they are stored")
    return block.view(np.uint16), True


@_jit
def _swap2(x):
    return np.uint16((x << np.uint16(8)) | (x >> np.uint16(8)))


@_jit_sums
def _frame_sums(block, out):
    # in pieces, so that rounding errors do not grow with the size of a frame
    pixels = block.shape[1]
    for f in range(len(block)):
        out[f] = 0
        for first in range(0, pixels, 2048):
            piece = block[f, first : min(first + 2048, pixels)]
            total = out[f] * 0
            for i in range(len(piece)):
                total += piece[i]
            out[f] += total


@_jit
def _frame_sums_swapped(block, out):
    for f in range(len(block)):
        frame, total = block[f], np.uint64(0)
        for i in range(len(frame)):
            total += _swap2(frame[i])
        out[f] = total


def frame_sums(block: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    """Sum each frame of a C-contiguous block of shape (frames, pixels); exact for integers.

    The pixels are numbers of this machine, or 2-byte unsigned ones of the other byte order.
    """
    if block.dtype.str[1:] in _NUMBERS and out.dtype.itemsize == 8:
        pixels, swapped = _stored(block)
        (_frame_sums_swapped if swapped else _frame_sums)(pixels, out)
    else:
        np.sum(block, axis=1, dtype=out.dtype, out=out)


@_jit
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


@_jit
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


@_jit
def _add_squares(block, totals):
    for f in range(len(block)):
        frame = block[f]
        for i in range(len(frame)):
            x = np.uint64(frame[i])
            totals[i] += x * x


@_jit
def _add_squares_swapped(block, totals):
    for f in range(len(block)):
        frame = block[f]
        for i in range(len(frame)):
            x = np.uint64(_swap2(frame[i]))
            totals[i] += x * x


def add_frames(block: npt.NDArray[Any], totals: npt.NDArray[Any]) -> None:
    """Add the frames of a block of shape (frames, pixels) to `totals`, one after the other.

    `totals` must have room for the sum. Pixels as for `frame_sums`, or complex.
    """
    pixels, swapped = _stored(block)
    (_add_frames_swapped if swapped else _add_frames)(pixels, totals)


def add_squares(block: npt.NDArray[Any], totals: npt.NDArray[np.uint64]) -> None:
    """Add the squares of unsigned pixels of up to 2 bytes, in either order, to `totals`."""
    pixels, swapped = _stored(block)
    (_add_squares_swapped if swapped else _add_squares)(pixels, totals)


@_jit
def _column_sums(frames, out):
    for f in range(len(frames)):
        for r in range(frames.shape[1]):
            row, totals = frames[f, r], out[f]
            for i in range(len(row)):
                totals[i] += row[i]


@_jit
def _column_sums_swapped(frames, out):
    for f in range(len(frames)):
        for r in range(frames.shape[1]):
            row, totals = frames[f, r], out[f]
            for i in range(len(row)):
                totals[i] += _swap2(row[i])


def column_sums(frames: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    """Add the rows of each frame of (frames, rows, columns) to `out` of (frames, columns).

    `out` must have room for the sums. Pixels as for `frame_sums`.
    """
    pixels, swapped = _stored(frames)
    (_column_sums_swapped if swapped else _column_sums)(pixels, out)


@_jit
def _largest(block, most):
    for f in range(len(block)):
        frame = block[f]
        for i in range(len(frame)):
            most[i] = max(most[i], frame[i])


@_jit
def _largest_swapped(block, most):
    for f in range(len(block)):
        frame = block[f]
        for i in range(len(frame)):
            most[i] = max(most[i], _swap2(frame[i]))


def largest(block: npt.NDArray[Any], most: npt.NDArray[Any]) -> None:
    """Raise `most`, in the machine's byte order, to the largest pixel of frames; NaN wins."""
    if block.dtype.kind in "ui":
        pixels, swapped = _stored(block)
        (_largest_swapped if swapped else _largest)(pixels, most)
    else:
        np.maximum(most, block.max(axis=0), out=most)


@_jit_sums
def _masked_sums(block, weights, used, out):
    # A piece of the masks stays in the nearest cache while all frames of the block pass by.
    pixels = block.shape[1]
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


@_jit_sums
def _masked_sums_swapped(block, weights, used, out):
    # A piece of the masks stays in the nearest cache while all frames of the block pass by.
    pixels = block.shape[1]
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
    pixels, swapped = _stored(block)
    (_masked_sums_swapped if swapped else _masked_sums)(pixels, weights, used, out)


# ---------------------------------------------------------------- sums of sparse frames
#
# Entries as for `scatter`. `ascending` or `once` has seen them before, so that their places are
# good, and no pixel of a frame has two of them.


@_jit
def _ascending(bounds, pixels, size):
    good = True
    for f in range(len(bounds) - 1):
        if bounds[f] > bounds[f + 1]:
            return -1
        places = pixels[bounds[f] : bounds[f + 1]]
        if not len(places):
            continue
        low, high = places[:-1], places[1:]
        down = False
        for i in range(len(low)):
            down |= high[i] <= low[i]
        good &= not down and places[0] >= 0 and places[-1] < size
    return 1 if good else 0


def ascending(bounds: npt.NDArray[np.int64], pixels: npt.NDArray[Any], size: int) -> bool:
    """Whether the places of each frame ascend, and lie in a frame of `size` pixels."""
    if len(bounds) < 1 or bounds[0] or bounds[-1] != len(pixels):
        raise ValueError("bounds and pixels contradict each other")
    if (code := _ascending(bounds, pixels, size)) < 0:
        raise ValueError("bounds contradict each other")
    return bool(code)


@_jit
def _once(bounds, pixels, values, slots, size, out_bounds, out_pixels, out_values, limits):
    n = 0
    out_bounds[0] = 0
    for f in range(len(bounds) - 1):
        start = n
        for k in range(bounds[f], bounds[f + 1]):
            p = np.int64(pixels[k])
            if p < 0 or p >= size:
                return 2 * f
            slot = slots[p]  # may be anything, if this is the first entry of the pixel
            if start <= slot < n and out_pixels[slot] == pixels[k]:
                if limits is not None and not _fits(out_values[slot], values[k], limits):
                    return 2 * f + 1
                out_values[slot] += values[k]
            else:
                slots[p] = n
                out_pixels[n] = pixels[k]
                out_values[n] = values[k]
                n += 1
        out_bounds[f + 1] = n
    return -1


def once(
    bounds: npt.NDArray[np.int64],
    pixels: npt.NDArray[Any],
    values: npt.NDArray[Any],
    size: int,
) -> tuple[int, bool] | tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Add up the values that a frame of `size` pixels has for the same pixel.

    Returns
    -------
    (bounds, pixels, values) or (int, bool)
        Each pixel once, where it was listed first; or the first frame that is damaged, and how, as
        `scatter` says it.
    """
    if len(bounds) < 1 or bounds[0] or bounds[-1] != len(pixels) or (np.diff(bounds) < 0).any():
        raise ValueError("bounds and pixels contradict each other")
    if len(pixels) != len(values):
        raise ValueError("pixels and values contradict each other")
    if values.dtype == np.float16:  # unknown to numba
        found = once(bounds, pixels, values.astype(np.float32), size)
        return found if len(found) == 2 else (*found[:2], found[2].astype(np.float16))
    kept = np.empty_like(bounds), np.empty_like(pixels), np.empty_like(values)
    slots = np.empty(size, np.int64)
    code = _once(bounds, pixels, values, slots, size, *kept, _limits(values.dtype))
    if code >= 0:
        return int(code) // 2, bool(code % 2)
    count = int(kept[0][-1])
    return kept[0], kept[1][:count], kept[2][:count]


@_jit_sums
def _entry_sums(bounds, values, out):
    for f in range(len(out)):
        out[f] = 0  # NaN times 0 is not 0
        total = out[f] * 0
        part = values[bounds[f] : bounds[f + 1]]
        for i in range(len(part)):
            total += part[i]
        out[f] = total


def entry_sums(
    bounds: npt.NDArray[np.int64], values: npt.NDArray[Any], out: npt.NDArray[Any]
) -> None:
    """Sum the entries of each frame, in the type of `out`; exact for integers."""
    _entry_sums(bounds, _numbers(values), out)


@_jit
def _add_entries(pixels, values, totals):
    for k in range(len(pixels)):
        totals[pixels[k]] += values[k]


def add_entries(
    pixels: npt.NDArray[Any], values: npt.NDArray[Any], totals: npt.NDArray[Any]
) -> None:
    """Add entries to `totals`, which must have room for the sum."""
    _add_entries(pixels, _numbers(values), totals)


@_jit
def _add_entry_squares(pixels, values, totals):
    for k in range(len(pixels)):
        x = np.uint64(values[k])
        totals[pixels[k]] += x * x


def add_entry_squares(
    pixels: npt.NDArray[Any], values: npt.NDArray[Any], totals: npt.NDArray[np.uint64]
) -> None:
    """Add the squares of unsigned entries of up to 2 bytes to `totals`."""
    _add_entry_squares(pixels, _numbers(values), totals)


@_jit
def _largest_entries(pixels, values, most, seen):
    for k in range(len(pixels)):
        p, x = pixels[k], values[k]
        if seen is not None:
            seen[p] += 1
        if x > most[p] or x != x:
            most[p] = x


def largest_entries(
    pixels: npt.NDArray[Any],
    values: npt.NDArray[Any],
    most: npt.NDArray[Any],
    seen: npt.NDArray[np.uint32] | None,
) -> None:
    """Raise `most` to the largest entry of each pixel; NaN wins. `seen` counts the entries."""
    if values.dtype.kind == "c" or values.dtype == np.float16:
        with np.errstate(invalid="ignore"):  # NaN
            np.maximum.at(most, pixels, values)
        if seen is not None:
            np.add.at(seen, pixels, 1)
    else:
        _largest_entries(pixels, _numbers(values), _numbers(most), seen)


@_jit
def _entry_deviations(pixels, values, counts, means, deviations):
    for k in range(len(pixels)):
        p, x = pixels[k], np.float64(values[k])
        counts[p] += 1
        step = x - means[p]
        means[p] += step / counts[p]
        deviations[p] += step * (x - means[p])


def entry_deviations(
    pixels: npt.NDArray[Any],
    values: npt.NDArray[Any],
    counts: npt.NDArray[np.float64],
    means: npt.NDArray[np.float64],
    deviations: npt.NDArray[np.float64],
) -> None:
    """Add real entries to count, mean, and sum of squared deviations from it of each pixel."""
    _entry_deviations(pixels, _numbers(values), counts, means, deviations)


@_jit_sums
def _entry_moments(bounds, pixels, values, width, out):
    # (p + 0.5) / width is far enough from whole numbers for an inverse: p has less than 31 bits
    inverse = 1.0 / width
    for f in range(out.shape[1]):
        rows, columns = 0.0, 0.0
        places, part = pixels[bounds[f] : bounds[f + 1]], values[bounds[f] : bounds[f + 1]]
        for i in range(len(part)):
            p, x = np.float64(places[i]), np.float64(part[i])
            row = np.floor((p + 0.5) * inverse)
            rows += row * x
            columns += (p - row * width) * x
        out[0, f] = rows
        out[1, f] = columns


def entry_moments(
    bounds: npt.NDArray[np.int64],
    pixels: npt.NDArray[Any],
    values: npt.NDArray[Any],
    width: int,
    out: npt.NDArray[np.float64],
) -> None:
    """Sum real entries times their row and their column, for frames of `width` columns.

    `out` has shape (2, frames). Exact where the sums are whole numbers of less than 53 bits.
    """
    _entry_moments(bounds, pixels, _numbers(values), width, out)


@_jit_sums
def _masked_entries(bounds, pixels, values, weights, out):
    for f in range(out.shape[1]):
        places, part = pixels[bounds[f] : bounds[f + 1]], values[bounds[f] : bounds[f + 1]]
        for m in range(len(weights)):
            out[m, f] = 0
            weight, total = weights[m], out[m, f] * 0
            for i in range(len(part)):
                total += part[i] * weight[places[i]]
            out[m, f] = total


def masked_entries(
    bounds: npt.NDArray[np.int64],
    pixels: npt.NDArray[Any],
    values: npt.NDArray[Any],
    weights: npt.NDArray[Any],
    out: npt.NDArray[Any],
) -> None:
    """Sum the entries of each frame with `weights` of shape (masks, pixels).

    `out` has shape (masks, frames); it and the weights are float64, or complex128.
    """
    _masked_entries(bounds, pixels, _numbers(values), weights, out)


# ---------------------------------------------------------------- sums of bits
#
# One bit per pixel: 64 pixels are counted by one instruction, or added to 64 counters of which
# bit k is kept in word k ("bit-sliced", "carry-save").


@intrinsic
def _popcount(typing, x):
    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return nb.uint64(nb.uint64), generate


@_jit
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
        carry[:] = words[f]
        _carry_on(planes, carry, 0)


@_jit
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
    _bit_totals(words, planes, np.empty(words.shape[1], np.uint64))


@_jit
def _bit_sums(words, base, planes, counts, out):
    flat = np.empty(len(base), np.bool_)
    for k in range(len(base)):
        flat[k] = base[k].any()
    for f in range(len(words)):
        frame = words[f]
        for k in range(len(base)):
            weights, total = base[k], np.uint64(0)
            if flat[k]:
                for i in range(len(frame)):
                    total += weights[i] * _popcount(frame[i])
            for j in range(counts[k]):
                plane, part = planes[k, j], np.uint64(0)
                for i in range(len(frame)):
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
    _bit_sums(words, base, planes, counts, out)


# ---------------------------------------------------------------- chunks into frames


@_jit
def _copy_short(source, s, target, t, count):
    # a call of memcpy takes longer than a row of a few pixels
    if count > 64:
        _copy(source, s, target, t, count)
        return
    i = 0
    while i + 8 <= count:
        _store8(target, t + i, _load8(source, s + i))
        i += 8
    while i < count:
        target[np.uintp(t + i)] = source[np.uintp(s + i)]
        i += 1


@_jit
def _place_tiles(source, steps, out, strides, tiles, boxes, local, at, count):
    # all tiles of a frame before the next one: they complete each other's cache lines
    start = 0
    while start < len(tiles):
        box = tiles[start, 4]
        stop = start + 1
        while stop < len(tiles) and tiles[stop, 4] == box:
            stop += 1
        for r in range(boxes[box], boxes[box + 1]):
            for f in range(count[r]):
                for c in range(start, stop):
                    s = c * steps[0] + (local[r] + f) * steps[1] + tiles[c, 0]
                    t = (at[r] + f) * strides[0] + tiles[c, 1]
                    for _ in range(tiles[c, 2]):
                        _copy_short(source, s, out, t, tiles[c, 3])
                        s += steps[2]
                        t += strides[1]
        start = stop


def place_tiles(
    source: npt.NDArray[np.uint8],
    steps: tuple[int, int, int],
    out: npt.NDArray[np.uint8],
    strides: tuple[int, int],
    tiles: npt.NDArray[np.int64],
    boxes: npt.NDArray[np.int64],
    runs: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> None:
    """Copy parts of frames from decoded chunks to the frames they belong to.

    Parameters
    ----------
    source : ndarray of uint8
        The chunks.
    steps : (int, int, int)
        Bytes from one chunk, frame and row to the next in `source`.
    out : ndarray of uint8
        The memory of the frames.
    strides : (int, int)
        Bytes from one frame and row to the next in `out`.
    tiles : ndarray of int64, shape (chunks, 5)
        First wanted byte in the frames of a chunk, where it goes in a frame of `out`, number of
        rows, bytes of a row, and the box of the scan that the chunk belongs to.
    boxes : ndarray of int64
        The frames of box i are in the runs ``boxes[i]:boxes[i + 1]``.
    runs : (ndarray, ndarray, ndarray) of int64
        Frames that follow each other: the first one's place in the chunks and in `out`, and their
        number.
    """
    local, at, count = runs
    if not len(tiles):
        return
    last = [max(0, int((values + count).max()) - 1) for values in (local, at)]
    rows, length = tiles[:, 2] - 1, tiles[:, 3]
    ends = (
        (len(tiles) - 1) * steps[0]
        + last[0] * steps[1]
        + int((tiles[:, 0] + rows * steps[2] + length).max()),
        last[1] * strides[0] + int((tiles[:, 1] + rows * strides[1] + length).max()),
    )
    if ends[0] > len(source) or ends[1] > len(out) or min(local.min(), at.min(), tiles.min()) < 0:
        raise ValueError("tiles lie outside of the arrays")
    _place_tiles(source, steps, out, strides, tiles, boxes, local, at, count)
