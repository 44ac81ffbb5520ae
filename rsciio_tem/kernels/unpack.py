# SPDX-License-Identifier: GPL-3.0-or-later
"""Packed pixels of Medipix and K2 detectors, and their blocks, turned into values."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
from llvmlite import ir

from rsciio_tem.kernels.common import (
    copy_short,
    element_pointer,
    intrinsic,
    jit,
    signed_big_endian,
    swap16x4,
    swap64,
)

__all__ = [
    "find_blocks",
    "place_tiles",
    "swap_rows",
    "unpack_medipix",
    "unpack_u12",
    "unpack_u12_tiles",
]


@jit
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
                    target[g] = swap64(source[g])


@jit
def _medipix12(words, out, row_words, first_word, out_row, out_first, rows, n, up, mirrored):
    for f in range(len(out)):
        for r in range(rows):
            start = first_word + r * row_words
            source = words[f, start : start + n]
            begin = out_first + (rows - 1 - r if up else r) * out_row
            target = out[f, begin : begin + n]
            if mirrored:
                for g in range(n):
                    target[n - 1 - g] = swap16x4(source[g])
            else:
                for g in range(n):
                    target[g] = swap64(source[g])


@jit
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
                h, w = swap64(high[g]), swap64(low[g])
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


@jit
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
                word = swap64(source[w])
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
        raise ValueError(f"rows of {columns} pixels are not whole 64-bit words")
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


@jit
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
        stored = builder.load(element_pointer(context, builder, sig, args, 0, bytes24), align=1)
        pairs = builder.shuffle_vector(stored, ir.Constant(bytes24, ir.Undefined), order)
        pairs = builder.bitcast(pairs, vector)
        high = builder.lshr(pairs, constants(16, [4] * 16))
        low = builder.and_(pairs, constants(16, [0xFFF] * 16))
        pixels = builder.select(odd, high, low)
        builder.store(pixels, element_pointer(context, builder, sig, args, 2, vector), align=2)
        return context.get_dummy_value()

    return nb.void(source, nb.intp, target, nb.intp), codegen


@jit
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


@jit
def _find_blocks(
    raw, nbytes, header, at, expected, numbers, base, frame, per_frame, first, size, places
):
    height, width = size
    for i in range(len(raw) // nbytes):
        begin, same = i * nbytes, True
        for k in range(len(at)):
            same &= raw[begin + at[k]] == expected[k]
        number = signed_big_endian(raw, begin + numbers[0, 0], numbers[0, 1]) - base
        number &= np.int64(0xFFFFFFFF)
        f = number // per_frame - frame
        x = signed_big_endian(raw, begin + numbers[1, 0], numbers[1, 1])
        y = signed_big_endian(raw, begin + numbers[2, 0], numbers[2, 1])
        same &= signed_big_endian(raw, begin + numbers[3, 0], numbers[3, 1]) - x == width - 1
        same &= signed_big_endian(raw, begin + numbers[4, 0], numbers[4, 1]) - y == height - 1
        row, column = y // height, x // width
        same &= row * height == y and column * width == x
        same &= 0 <= f < len(places) and row < places.shape[1] and column < places.shape[2]
        # of two blocks for one place, the one that has the number of where it lies
        if same and (places[f, row, column] < 0 or number == first + i):
            places[f, row, column] = begin + header


def find_blocks(
    raw: npt.NDArray[np.uint8],
    size: tuple[int, int],
    expected: tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]],
    numbers: npt.NDArray[np.int64],
    which: tuple[int, int, int, int],
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
    which : (int, int, int, int)
        Number of the first block of frame 0, the frame of the first places, the blocks of a frame,
        and which of all blocks, from that of frame 0 on, is the first of `raw`. Numbers have 32
        bits and start again at 0.
    shape : (int, int)
        Rows and columns of a block.
    places : ndarray of int64, shape (frames, rows, columns)
        Gets the offset of the pixels of each block; blocks with damaged headers are left out.
    """
    _find_blocks(raw, *size, *expected, numbers, *which, shape, places)


# ---------------------------------------------------------------- byte order


@jit
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


@jit
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


@jit
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
                        copy_short(source, s, out, t, tiles[c, 3])
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
