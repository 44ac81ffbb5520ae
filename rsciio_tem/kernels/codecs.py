# SPDX-License-Identifier: GPL-3.0-or-later
"""Bitshuffle and LZ4, both ways."""

from __future__ import annotations

from functools import partial
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
from llvmlite import ir

from rsciio_tem.kernels.common import (
    BYTES16,
    WORD,
    big_endian,
    copy16,
    copy_bytes,
    element_pointer,
    intrinsic,
    jit,
    load8,
    put_big,
    store8,
)

__all__ = ["pack_bitshuffle", "unpack_bitshuffle", "unpack_lz4", "unshuffle"]

# ---------------------------------------------------------------- bit shuffle and LZ4


#: Distances at which bits of 8 x 8 change places, and the lower ones of each pair.
_SWAPS = ((1, 0x5555555555555555), (2, 0x3333333333333333), (4, 0x0F0F0F0F0F0F0F0F))


@partial(intrinsic, literal=True)
def _untranspose(typing, source, s, target, t, row, itemsize):
    """Turn 16 bytes from each row of bits into 128 elements.

    Row ``8 * b + j`` holds bit j of byte b of every element. First 8 x 8 bits change places in
    all 16 columns at once, by swapping bits between registers; that gives row (j, b), column m:
    byte b of element 8 * m + j. Then halves of the rows are interleaved until the order is
    (m, j, b): each round moves the uppermost bit of the row number to the end.
    """
    size, words, counts = itemsize.literal_value, ir.VectorType(WORD, 2), ir.IntType(32)
    halves = [
        ir.Constant(ir.VectorType(counts, 16), [start + k // 2 + 16 * (k % 2) for k in range(16)])
        for start in (0, 8)
    ]

    def codegen(context, builder, sig, args):
        def pointer(i, count, step, kind):
            offset = builder.mul(step, ir.Constant(step.type, count))
            moved = [*args[: i + 1], builder.add(args[i + 1], offset), *args[i + 2 :]]
            return element_pointer(context, builder, sig, moved, i, kind)

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
                table[j * size + b] = builder.bitcast(bits[j], BYTES16)
        middle = len(table) // 2
        for _ in range(middle.bit_length()):
            table = [
                builder.shuffle_vector(table[i], table[i + middle], half)
                for i in range(middle)
                for half in halves
            ]
        sixteen = ir.Constant(args[3].type, 16)
        for i, value in enumerate(table):
            builder.store(value, pointer(2, i, sixteen, BYTES16), align=1)
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


@jit
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
            copy16(source, s, target, t)
            i = 16
            while i < n:
                copy16(source, s + i, target, t + i)
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
            store8(target, t, load8(target, t - back))
            store8(target, t + 8, load8(target, t - back + 8))
            if n > 16:
                # from 16 bytes on, what is copied has been written before
                far, i = back if back >= 16 else 2 * back, 16
                while i < n:
                    copy16(target, t - far + i, target, t + i)
                    i += 16
        else:
            word = load8(target, t - back) & _MASK[np.uintp(back)]
            word *= _REPEAT[np.uintp(back)]
            whole = _WHOLE[np.uintp(back)]
            i = 0
            while i < n:
                store8(target, t + i, word)
                store8(target, t + i + whole, word)
                i += 2 * whole
        t += n


@jit
def _lz4(raw, starts, lengths, out, places, nbytes):
    for c in range(len(starts)):
        s, end = starts[c], starts[c] + lengths[c]
        t, t_end = places[c], places[c] + nbytes
        if lengths[c] < 12 or big_endian(raw, s, 8) != np.uint64(nbytes):
            return c
        block = np.intp(big_endian(raw, s + 8, 4))
        if block == 0:
            return c
        s += 12
        while t < t_end:
            n = min(block, t_end - t)
            if end - s < 4:
                return c
            length = np.intp(big_endian(raw, s, 4))
            s += 4
            if length > end - s:
                return c
            if length == n:  # stored as it is
                copy_bytes(raw, s, out, t, n)
            elif not _lz4_block(raw, s, s + length, out, t, t + n, t_end):
                return c
            s += length
            t += n
        if s != end:
            return c
    return -1


def _bitshuffle_kernel(itemsize: int) -> Any:
    # a constant is all that may come from outside: the cache on disk knows no others

    @jit
    def kernel(raw, starts, lengths, out, places, nbytes, block, lz4, bits, spare):
        group = 8 * itemsize
        shuffled = nbytes // group * group
        for c in range(len(starts)):
            s, end, t = starts[c], starts[c] + lengths[c], places[c]
            size = block
            if lz4:
                if lengths[c] < 12 or big_endian(raw, s, 8) != np.uint64(nbytes):
                    return c
                size = np.intp(big_endian(raw, s + 8, 4))
                s += 12
            if size == 0 or size % group:
                return c
            done = 0
            while done < shuffled:
                n = min(size, shuffled - done)
                if lz4:
                    if end - s < 4:
                        return c
                    length = np.intp(big_endian(raw, s, 4))
                    s += 4
                    if length > end - s:
                        return c
                    if not _lz4_block(raw, s, s + length, bits, 0, n, len(bits)):
                        return c
                else:
                    length = n
                    if length > end - s:
                        return c
                    copy_bytes(raw, s, bits, 0, n)
                s += length
                row = n // group
                for k in range(0, row - 15, 16):
                    _untranspose(bits, k, out, t + k * group, row, itemsize)
                if row % 16:
                    k = row // 16 * 16
                    _untranspose(bits, k, spare, 0, row, itemsize)
                    copy_bytes(spare, 0, out, t + k * group, n - k * group)
                t += n
                done += n
            rest = nbytes - shuffled  # up to seven elements
            if rest != end - s:
                return c
            copy_bytes(raw, s, out, t, rest)
        return -1

    return kernel


_BITSHUFFLE = {itemsize: _bitshuffle_kernel(itemsize) for itemsize in (1, 2, 4, 8)}


@partial(intrinsic, literal=True)
def _transpose(typing, source, s, target, t, row, itemsize):
    """Put 128 elements into 16 bytes of each row of bits: `_untranspose` backwards."""
    size, words, counts = itemsize.literal_value, ir.VectorType(WORD, 2), ir.IntType(32)
    every = [
        ir.Constant(ir.VectorType(counts, 16), [2 * k + start for k in range(16)])
        for start in (0, 1)
    ]

    def codegen(context, builder, sig, args):
        def pointer(i, count, step, kind):
            offset = builder.mul(step, ir.Constant(step.type, count))
            moved = [*args[: i + 1], builder.add(args[i + 1], offset), *args[i + 2 :]]
            return element_pointer(context, builder, sig, moved, i, kind)

        def both(value):
            return ir.Constant(words, [value, value])

        sixteen = ir.Constant(args[1].type, 16)
        table = [builder.load(pointer(0, i, sixteen, BYTES16), align=1) for i in range(8 * size)]
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


@jit
def _lz4_length(target, t, n):
    """Write what of a length does not fit into the token."""
    n -= 15
    while n >= 255:
        target[np.uintp(t)] = 255
        t, n = t + 1, n - 255
    target[np.uintp(t)] = n
    return t + 1


@jit
def _lz4_pack(source, n, target, t, table):
    """Encode source[:n], of less than 64 KiB, as an LZ4 block; return its end.

    Up to 8 bytes behind the end of the source are read.
    """
    anchor, i, misses = 0, 1, 64
    table[:] = 0
    while i <= n - 12:  # where a match may begin; the last 5 bytes stand for themselves
        word = load8(source, i)
        key = ((word & np.uint64(0xFFFFFFFF)) * np.uint64(2654435761)) >> np.uint64(20)
        key &= np.uint64(4095)
        other = np.intp(table[key])
        table[key] = i
        if (word ^ load8(source, other)) & np.uint64(0xFFFFFFFF) or other >= i:
            i += misses >> 6  # what does not repeat is gone through faster and faster
            misses += 1
            continue
        while i > anchor and other > 0 and source[np.uintp(i - 1)] == source[np.uintp(other - 1)]:
            i, other = i - 1, other - 1
        length: Any = 4
        while i + length < n - 5:
            differ = load8(source, i + length) ^ load8(source, other + length)
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
        copy_bytes(source, anchor, target, t, literals)
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
    copy_bytes(source, anchor, target, t, literals)
    return t + literals


def _pack_kernel(itemsize: int) -> Any:
    @jit
    def kernel(raw, nbytes, block, out, room, sizes, bits, spare, table):
        group = 8 * itemsize
        shuffled = nbytes // group * group
        for c in range(len(sizes)):
            s, t = c * nbytes, c * room
            put_big(out, t, nbytes, 8)
            put_big(out, t + 8, block, 4)
            t, done = t + 12, 0
            while done < shuffled:
                n = min(block, shuffled - done)
                row = n // group
                for k in range(0, row - 15, 16):
                    _transpose(raw, s + k * group, bits, k, row, itemsize)
                if row % 16:
                    k = row // 16 * 16
                    copy_bytes(raw, s + k * group, spare, 0, n - k * group)
                    _transpose(spare, 0, spare, 16 * group, 16, itemsize)
                    for j in range(group):
                        copy_bytes(spare, 16 * (group + j), bits, j * row + k, row - k)
                end = _lz4_pack(bits, n, out, t + 4, table)
                put_big(out, t, end - t - 4, 4)
                s, t, done = s + n, end, done + n
            copy_bytes(raw, s, out, t, nbytes - shuffled)
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


@jit
def _unshuffle2(raw, out):
    n = len(out)
    first, second = raw[:n], raw[n : 2 * n]
    for i in range(n):
        out[i] = np.uint16(first[i]) | np.uint16(second[i]) << np.uint16(8)


@jit
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
