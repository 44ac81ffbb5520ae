# SPDX-License-Identifier: GPL-3.0-or-later
"""What the compiled loops share: the decorator, words of bytes, short copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba as nb
import numba.extending
import numpy as np
from llvmlite import ir
from numba.core import cgutils

_jit = nb.njit(nogil=True, cache=True, boundscheck=False)


def intrinsic(function: Callable[..., Any], *, literal: bool = False) -> Callable[..., Any]:
    """Make code of LLVM a function for compiled code; `literal` asks for values of literals.

    Called, it takes one argument less than `function`, which gets the typing context first.
    """
    made: Callable[..., Any] = numba.extending.intrinsic(prefer_literal=literal)(function)
    return made


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
        target_pointer = _pointer(context, builder, sig, args, 2, kind)
        cgutils.raw_memcpy(
            builder, target_pointer, _pointer(context, builder, sig, args, 0, kind), args[4], 1
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
def _big(raw, at, n):
    value = np.int64(0)
    for i in range(n):
        value = value << 8 | np.int64(raw[at + i])
    return value


@_jit
def _big_endian(raw, at, count):
    value = np.uint64(0)
    for i in range(count):
        value = value << np.uint64(8) | np.uint64(raw[at + i])
    return value


@_jit
def _put_big(target, t, value, n):
    for i in range(n):
        target[np.uintp(t + n - 1 - i)] = value & 255
        value >>= 8


# ---------------------------------------------------------------- the directory of a zip archive


@_jit
def _little(raw, at, n):
    value: Any = 0
    for i in range(n):
        value |= np.int64(raw[at + i]) << (8 * i)
    return value


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
