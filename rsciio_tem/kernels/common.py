# SPDX-License-Identifier: GPL-3.0-or-later
"""What the compiled loops share: the decorator, words of bytes, short copies."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numba as nb
import numba.extending
import numpy as np
from llvmlite import ir
from numba.core import cgutils

_logger = logging.getLogger(__name__)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator for compiled functions, which are kept on disk if that is possible."""

    def decorate(function: Callable[..., Any]) -> Any:
        made = nb.njit(nogil=True, boundscheck=False, **options)(function)
        if not hasattr(made, "enable_caching"):  # NUMBA_DISABLE_JIT
            return made
        try:
            made.enable_caching()
            _guard(made._cache)
        except RuntimeError:  # neither beside the source nor in the user's folder
            _without_cache("there is no folder that can be written")
        return made

    return decorate


def _guard(cache: Any) -> None:
    """Let a disk that is full, or was taken away, end the cache and nothing else."""

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            try:
                return function(*args)
            except OSError as error:
                _without_cache(str(error))
                return None

        return call

    cache.load_overload = guarded(cache.load_overload)
    cache.save_overload = guarded(cache.save_overload)


_told: list[str] = []


def _without_cache(reason: str) -> None:
    if not _told:
        _told.append(reason)
        _logger.warning(
            "compiled code cannot be kept, so that each process compiles it again: %s; set "
            "NUMBA_CACHE_DIR to a folder that can be written",
            reason,
        )


jit = compiled()


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


def element_pointer(context, builder, sig, args, i, kind):
    """Return the address of ``args[i][args[i + 1]]``."""
    data = context.make_array(sig.args[i])(context, builder, args[i]).data
    return builder.bitcast(builder.gep(data, [args[i + 1]]), kind.as_pointer())


WORD, BYTES16 = ir.IntType(64), ir.VectorType(ir.IntType(8), 16)


@intrinsic
def load8(typing, source, s):
    """Load 8 bytes from ``source[s]`` on."""

    def codegen(context, builder, sig, args):
        return builder.load(element_pointer(context, builder, sig, args, 0, WORD), align=1)

    return nb.uint64(source, nb.intp), codegen


@intrinsic
def store8(typing, target, t, value):
    """Store 8 bytes from ``target[t]`` on."""

    def codegen(context, builder, sig, args):
        builder.store(args[2], element_pointer(context, builder, sig, args, 0, WORD), align=1)
        return context.get_dummy_value()

    return nb.void(target, nb.intp, nb.uint64), codegen


@intrinsic
def copy16(typing, source, s, target, t):
    """Copy 16 bytes."""

    def codegen(context, builder, sig, args):
        value = builder.load(element_pointer(context, builder, sig, args, 0, BYTES16), align=1)
        builder.store(value, element_pointer(context, builder, sig, args, 2, BYTES16), align=1)
        return context.get_dummy_value()

    return nb.void(source, nb.intp, target, nb.intp), codegen


@intrinsic
def copy_bytes(typing, source, s, target, t, count):
    """Copy `count` bytes, as memcpy does."""

    def codegen(context, builder, sig, args):
        kind = ir.IntType(8)
        target_pointer = element_pointer(context, builder, sig, args, 2, kind)
        cgutils.raw_memcpy(
            builder,
            target_pointer,
            element_pointer(context, builder, sig, args, 0, kind),
            args[4],
            1,
        )
        return context.get_dummy_value()

    return nb.void(source, nb.intp, target, nb.intp, nb.intp), codegen


# ---------------------------------------------------------------- Medipix RAW words
#
# A row is a sequence of 64-bit big-endian words; within a word the lowest-numbered pixel sits in
# the least significant bits. Seen as little-endian memory, a row read forwards is therefore every
# word byte-swapped, and a row read backwards (chips turned by 180 degrees) is the words in reverse
# order with only the bytes inside one pixel swapped.


@jit
def swap64(x: np.uint64) -> np.uint64:
    """Turn the bytes of a word around."""
    x = ((x & np.uint64(0x00FF00FF00FF00FF)) << np.uint64(8)) | (
        (x >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)
    )
    x = ((x & np.uint64(0x0000FFFF0000FFFF)) << np.uint64(16)) | (
        (x >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF)
    )
    return (x << np.uint64(32)) | (x >> np.uint64(32))


@jit
def swap16x4(x: np.uint64) -> np.uint64:
    """Swap the bytes of four 16-bit values in a word."""
    return ((x & np.uint64(0x00FF00FF00FF00FF)) << np.uint64(8)) | (
        (x >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)
    )


@jit
def signed_big_endian(raw, at, n):
    """Signed value of `n` bytes, big-endian."""
    value = np.int64(0)
    for i in range(n):
        value = value << 8 | np.int64(raw[at + i])
    return value


@jit
def big_endian(raw, at, count):
    """Unsigned value of `count` bytes, big-endian."""
    value = np.uint64(0)
    for i in range(count):
        value = value << np.uint64(8) | np.uint64(raw[at + i])
    return value


@jit
def put_big(target, t, value, n):
    """Write a value into `n` bytes, big-endian."""
    for i in range(n):
        target[np.uintp(t + n - 1 - i)] = value & 255
        value >>= 8


# ---------------------------------------------------------------- the directory of a zip archive


@jit
def little(raw, at, n):
    """Value of `n` bytes, little-endian."""
    value: Any = 0
    for i in range(n):
        value |= np.int64(raw[at + i]) << (8 * i)
    return value


# ---------------------------------------------------------------- chunks into frames


@jit
def copy_short(source, s, target, t, count):
    """Copy some bytes, mostly few."""
    # a call of memcpy takes longer than a row of a few pixels
    if count > 64:
        copy_bytes(source, s, target, t, count)
        return
    i = 0
    while i + 8 <= count:
        store8(target, t + i, load8(source, s + i))
        i += 8
    while i < count:
        target[np.uintp(t + i)] = source[np.uintp(s + i)]
        i += 1
