# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of chunked data sets, undone outside of the HDF5 library."""

from __future__ import annotations

import importlib
import zlib
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rsciio_tem.storage.inflate import inflate

__all__ = ["Filter", "announced", "plugins"]

Ints = npt.NDArray[np.int64]


Bytes = npt.NDArray[np.uint8]


GZIP, SHUFFLE, FLETCHER32 = 1, 2, 3
BLOSC, LZ4, BITSHUFFLE, ZSTD = 32001, 32004, 32008, 32015


#: Registered numbers of filters and what people call them.
_NAMES = {
    GZIP: "gzip",
    SHUFFLE: "shuffle",
    FLETCHER32: "fletcher32",
    4: "szip",
    5: "nbit",
    6: "scaleoffset",
    305: "lzo",
    307: "bzip2",
    32000: "lzf",
    BLOSC: "blosc",
    LZ4: "lz4",
    BITSHUFFLE: "bitshuffle",
    32013: "zfp",
    ZSTD: "zstd",
    32017: "sz",
    32018: "fcidecomp",
    32019: "jpeg",
    32024: "sz3",
    32026: "blosc2",
    32028: "sperr",
    40070: "htj2k",
}


#: What decodes without the library's lock where it is installed. Python has Zstandard from 3.14 on.
_MODULES = {ZSTD: ("compression.zstd", "backports.zstd"), BLOSC: ("numcodecs.blosc",)}


@lru_cache
def _module(number: int) -> Any:
    """Return the module that decodes a filter, None if there is none."""
    for name in _MODULES[number]:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


class Filter(NamedTuple):
    """One step of what a chunk went through when it was written."""

    number: int
    data: tuple[int, ...]
    own_name: str

    @property
    def name(self) -> str:
        """What people call it."""
        name = _NAMES.get(self.number) or self.own_name.split(";")[0] or f"filter {self.number}"
        if self.number == BITSHUFFLE:
            method = {2: "-lz4", 3: "-zstd"}.get(self.data[4] if len(self.data) > 4 else 0, "")
            return name + method
        return name

    @property
    def decodable(self) -> bool:
        """Whether chunks can be decoded without the library."""
        if self.number == BITSHUFFLE:
            return self.name != "bitshuffle-zstd" and self.data[2:3] in ((1,), (2,), (4,), (8,))
        if self.number == SHUFFLE:
            return len(self.data) > 0 and self.data[0] > 0
        if self.number in _MODULES:
            return _module(self.number) is not None
        return self.number in (GZIP, FLETCHER32, LZ4)


def plugins() -> None:
    """Make the filters of hdf5plugin known to the library of this process."""
    try:
        import hdf5plugin  # noqa: F401
    except ImportError:
        return


def announced(step: Filter, head: bytes) -> int | None:
    """Return the bytes that a chunk decodes to as its beginning says; None if that says nothing.

    Plugins believe it, and where it is less than a chunk the library goes on with whatever is
    behind it in memory.
    """
    if step.name == "zstd" and head[:4] == b"\x28\xb5\x2f\xfd" and len(head) > 4:
        flags = head[4]
        alone = flags >> 5 & 1  # no window is described
        at = 6 - alone + (0, 1, 2, 4)[flags & 3]  # behind the number of a dictionary
        size = (alone, 2, 4, 8)[flags >> 6]
        stored = head[at : at + size]
        if not size or len(stored) < size:
            return None
        return int.from_bytes(stored, "little") + (256 if size == 2 else 0)
    if step.name == "blosc" and len(head) >= 16:
        return int.from_bytes(head[4:8], "little")
    if step.name == "bitshuffle-zstd" and len(head) >= 8:
        return int.from_bytes(head[:8], "big")
    return None


def undo(step: Filter, chunk: Bytes, target: Bytes | None, nbytes: int) -> Bytes | None:
    """Undo one filter, into `target` where that can be done; None if the chunk is damaged."""
    if step.number == GZIP:
        limit = nbytes if target is not None else _between(nbytes)
        try:
            return np.frombuffer(inflate(chunk.data, limit), np.uint8)
        except zlib.error:
            return None
    if step.number == ZSTD:
        return _unpack_zstd(step, chunk, nbytes if target is not None else _between(nbytes))
    if step.number == BLOSC:
        return _unpack_blosc(step, chunk, target, nbytes)
    if step.number == FLETCHER32:
        if len(chunk) < 4:
            return None
        stored = int.from_bytes(chunk[-4:].tobytes(), "little")
        return chunk[:-4] if _fletcher32_matches(chunk[:-4], stored) else None
    if step.number == SHUFFLE:
        out = np.empty(len(chunk), np.uint8) if target is None else target
        if len(out) != len(chunk):
            return None
        from rsciio_tem.kernels.codecs import unshuffle

        unshuffle(chunk, out, step.data[0])
        return out
    total = nbytes
    if target is None:
        if step.number == LZ4 or step.name != "bitshuffle":
            total = int.from_bytes(chunk[:8].tobytes(), "big")
        else:
            total = len(chunk)
        if total > _between(nbytes):
            return None
        target = np.empty(total, np.uint8)
    zero, length = np.zeros(1, np.int64), np.array([len(chunk)], np.int64)
    damaged = unpack(step, chunk, zero, length, target, zero, total)
    return target if damaged < 0 else None


def _between(nbytes: int) -> int:
    """Return how much a chunk may take between two filters: more than decoded, but not much."""
    return nbytes + nbytes // 8 + 4096


def _unpack_zstd(step: Filter, chunk: Bytes, limit: int) -> Bytes | None:
    if (announced(step, chunk[:18].tobytes()) or 0) > limit:
        return None
    zstd = _module(ZSTD)
    stream = zstd.ZstdDecompressor()
    try:
        content = stream.decompress(chunk.data, limit + 1)
    except zstd.ZstdError:
        return None
    whole = stream.eof and not stream.unused_data and len(content) <= limit
    return np.frombuffer(content, np.uint8) if whole else None


def _unpack_blosc(step: Filter, chunk: Bytes, target: Bytes | None, nbytes: int) -> Bytes | None:
    size = announced(step, chunk[:16].tobytes())
    # Blosc believes how long a chunk says that it is
    if size is None or int.from_bytes(chunk[12:16].tobytes(), "little") != len(chunk):
        return None
    if size > _between(nbytes) or (target is not None and size != nbytes):
        return None
    out = np.empty(size, np.uint8) if target is None else target
    try:
        _module(BLOSC).decompress(chunk, out)
    except (RuntimeError, ValueError):
        return None
    return out


def unpack(
    step: Filter, raw: Bytes, starts: Ints, lengths: Ints, out: Bytes, places: Ints, nbytes: int
) -> int:
    from rsciio_tem.kernels.codecs import unpack_bitshuffle, unpack_lz4

    if step.number == LZ4:
        return unpack_lz4(raw, starts, lengths, out, places, nbytes)
    itemsize, block = step.data[2], step.data[3] if len(step.data) > 3 else 0
    # the filter's own choice where the file leaves it open: 8 KiB
    block = block or max(128, 8192 // itemsize // 8 * 8)
    return unpack_bitshuffle(
        raw,
        starts,
        lengths,
        out,
        places,
        nbytes,
        itemsize,
        lz4=step.name == "bitshuffle-lz4",
        block=block * itemsize,
    )


def _fletcher32_matches(data: Bytes, stored: int) -> bool:
    """Compare with HDF5's checksum: big-endian 16-bit words, two sums modulo 65535."""
    words = data[: len(data) // 2 * 2].view(">u2").astype(np.uint64)
    if len(data) % 2:
        words = np.append(words, np.uint64(int(data[-1]) << 8))
    # sums of sums, in pieces that cannot overflow
    first = second = 0
    for i in range(0, len(words), 1 << 16):
        piece = words[i : i + (1 << 16)]
        n = len(piece)
        second += n * first + int((piece * np.arange(n, 0, -1, dtype=np.uint64)).sum())
        first += int(piece.sum())
    low, high = stored & 0xFFFF, stored >> 16
    if (first - low) % 65535 == 0 and (second - high) % 65535 == 0:
        return True
    # files of HDF5 1.6.2 and before, written on little-endian machines
    swapped = [(v & 0xFF) << 8 | v >> 8 for v in (low, high)]
    return (first - swapped[0]) % 65535 == 0 and (second - swapped[1]) % 65535 == 0
