# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of a file, unpacked in memory if it is compressed."""

from __future__ import annotations

import bz2
import functools
import gzip
import zlib
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from rsciio_tem.errors import FormatError, NotEnoughMemory, Problems
from rsciio_tem.formats.mrc.header import HEADER, Endianness, pixels_of, read_header
from rsciio_tem.frames.arrays import ArrayFrames
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.storage import backends, files, machine
from rsciio_tem.storage.backends import DataFile

#: First bytes of compressed files, and what opens them.
COMPRESSED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}


@dataclass(frozen=True)
class Content:
    """What a file holds."""

    file: DataFile
    unpacked: bytearray | None = None

    @classmethod
    def of(cls, path: str, endianness: Endianness | None, problems: Problems) -> Content:
        """Look at a file; unpack it if it is compressed."""
        file, head = DataFile.of(path), files.read_start(path, HEADER.itemsize)
        opener = next((o for magic, o in COMPRESSED.items() if head.startswith(magic)), None)
        return cls(file, _unpacked(path, opener, endianness, problems) if opener else None)

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.file.size if self.unpacked is None else len(self.unpacked)

    def read(self, begin: int, size: int) -> bytes:
        """Return some bytes, fewer at the end."""
        if self.unpacked is not None:
            return bytes(self.unpacked[begin : begin + size])
        if begin == 0:
            return files.read_start(self.file.path, size)
        return bytes(backends.read(self.file, begin, size, "buffered"))

    def frames(self, start: int, count: int, pixels: Pixels) -> Frames:
        """Return the images that begin at a byte."""
        if self.unpacked is None:
            return FrameTable((self.file,), runs_of([(0, start, pixels.nbytes, count)]), pixels)
        raw = np.frombuffer(self.unpacked, np.uint8, count * pixels.nbytes, start)
        values = np.empty((count, *pixels.shape), pixels.dtype)
        pixels.decode(raw.reshape(count, -1), values)
        whole = functools.partial(np.asarray, values)
        return ArrayFrames(whole, (count,), pixels.shape, pixels.dtype)


def _unpacked(
    path: str, opener: Any, endianness: Endianness | None, problems: Problems
) -> bytearray:
    """Unpack a compressed file as far as its header says, and as memory allows."""
    content = bytearray()
    end = HEADER.itemsize
    file: IO[bytes]
    try:
        with files.open_binary(path) as packed, opener(packed, "rb") as file:
            content += file.read(end)
            header, order = read_header(path, bytes(content), endianness, Problems())
            pixels = pixels_of(path, header, order)
            end += int(header["NEXT"]) + int(header["NZ"] or 1 << 30) * pixels.nbytes
            while len(content) < end:
                free = machine.free_memory()
                if free is not None and 2 * len(content) + (16 << 20) > free:  # and the array
                    raise NotEnoughMemory(
                        path,
                        f"has {len(content) / 1e9:.1f} GB unpacked so far, and announces "
                        f"{end / 1e9:.1f} GB; {free / 1e9:.1f} GB of memory are free.",
                        "Unpack the file on disk and open that.",
                    )
                part = file.read(min(1 << 20, end - len(content)))
                if not part:
                    break
                content += part
    except (EOFError, OSError, zlib.error) as error:
        if len(content) <= HEADER.itemsize:
            raise FormatError(path, f"cannot be unpacked: {error}.") from None
        problems.warn(f"cannot be unpacked to its end: {error}.")
    return content
