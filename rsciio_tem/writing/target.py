# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kind of file has to do so that frames can be streamed into it."""

from __future__ import annotations

import os
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.storage.files import write_whole
from rsciio_tem.writing.obstacles import file_obstacle

__all__ = ["FlatFile", "Payloads", "Target"]

#: A complete block: first frame, number of frames, CRC-32 of its pixels as they are to be read
#: back, where its bytes are in the file of payloads and how many, their CRC-32, and that of this
#: entry.
ENTRY = struct.Struct("<QIIQQII")


class Target(ABC):
    """A kind of file that frames are streamed into; made for one conversion.

    The methods get the folder in which the files are made. `put` is called by several threads.
    """

    #: Names of the files (or folders) it makes, in the order in which they take their places; the
    #: one that people open comes last.
    names: tuple[str, ...]
    #: Bytes needed on the disk, as far as that is known.
    nbytes: int = 0
    #: Blocks begin at multiples of this many frames.
    frames_per_block: int = 1
    #: What else must be the same for a conversion to be taken up; JSON.
    identity: Mapping[str, Any] = MappingProxyType({})

    def create(self, folder: str) -> None:
        """Make the files that `put` writes into."""
        del folder

    def take_up(self, folder: str, payloads: Payloads) -> None:
        """Go on with what is complete so far, perhaps nothing; comes before the first `put`."""
        del folder, payloads

    @abstractmethod
    def put(self, folder: str, first: int, frames: npt.NDArray[Any]) -> Any:
        """Write a block of frames in place, or return what `commit` makes bytes of."""

    def commit(
        self, folder: str, first: int, payload: Any
    ) -> tuple[bytes, Callable[[], None] | None]:
        """Get what `put` returned, in the order of the frames and in one thread.

        Returns
        -------
        bytes
            What `take_up` and `finish` need of it.
        callable or None
            Writes the rest; is called by some thread.
        """
        del folder, first
        return payload, None

    def finish(self, folder: str, payloads: Payloads) -> None:
        """Complete the files."""
        del folder, payloads

    def abandon(self) -> None:  # noqa: B027 (most keep nothing open)
        """Let go of the files: something went wrong."""

    @abstractmethod
    def read(self, folder: str, first: int, count: int) -> npt.NDArray[Any]:
        """Read frames back from the complete files, by another way than they were written."""

    def obstacle(self, path: str) -> str:
        """Say why what has the name of one of the files is not replaced by it; "" if it can be."""
        return file_obstacle(path)

    def leftovers(self, folder: str) -> Sequence[str]:
        """List files beside the target that belong to the earlier recording which it replaces.

        They would be taken for part of the new one, and are removed together with the replacement.

        Raises
        ------
        FileExistsError
            A file that belongs to nothing would be taken for part of the new recording.
        """
        del folder
        return ()

    def expected(self, frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return what `read` gives for these frames; not the same if the format thins them out."""
        return frames


class FlatFile(Target):
    """Frames of fixed size in one file.

    Parameters
    ----------
    name : str
        Of the file.
    header : bytes
        What precedes the frames.
    stored : numpy.dtype
        Type of a stored frame: a pixel type with a shape, or a structure with a field "pixels".
    count : int
        Number of frames.
    sides : dict of str to bytes, optional
        Name and content of files beside it.
    """

    def __init__(
        self,
        name: str,
        header: bytes,
        stored: np.dtype[Any],
        count: int,
        sides: Mapping[str, bytes] | None = None,
    ) -> None:
        self.name, self.names = name, (*(sides or {}), name)
        self.header, self.stored, self.sides = header, stored, sides or {}
        self.offset = len(header)  #: byte where the first frame begins
        self.nbytes = len(header) + count * stored.itemsize

    def create(self, folder: str) -> None:
        """Write the header and the side files, and give the file its size."""
        with open(os.path.join(folder, self.name), "wb") as file:
            file.write(self.header)
            file.truncate(self.nbytes)
        for name, content in self.sides.items():
            Path(folder, name).write_bytes(content)

    def records(self, first: int, frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn frames into what is stored of them."""
        del first
        return np.ascontiguousarray(frames, self.stored.base)

    def put(self, folder: str, first: int, frames: npt.NDArray[Any]) -> Any:
        """Write frames at their place."""
        self.write(folder, first, self.records(first, frames))

    def write(self, folder: str, first: int, records: npt.NDArray[Any]) -> None:
        """Write what is stored of frames at their place."""
        offset = self.offset + first * self.stored.itemsize
        data = records.reshape(-1).view(np.uint8).data
        with open(os.path.join(folder, self.name), "rb+", buffering=0) as file:
            write_whole(file, offset, data)

    def read(self, folder: str, first: int, count: int) -> npt.NDArray[Any]:
        """Read frames from their place."""
        offset = self.offset + first * self.stored.itemsize
        path = os.path.join(folder, self.name)
        records = np.fromfile(path, self.stored, count, offset=offset)
        values = records["pixels"] if self.stored.names else records
        return values.astype(values.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True)
class Block:
    """An entry of the journal."""

    first: int
    count: int
    crc: int
    offset: int = 0
    size: int = 0
    payload: int = 0

    def packed(self) -> bytes:
        values = self.first, self.count, self.crc, self.offset, self.size, self.payload
        body = ENTRY.pack(*values, 0)[:-4]
        return body + struct.pack("<I", zlib.crc32(body))


@dataclass(frozen=True)
class Payloads:
    """The bytes that `Target.commit` returned, in the order of the frames."""

    path: str
    blocks: Sequence[Block]

    def __iter__(self) -> Iterator[tuple[int, int, memoryview]]:
        """Yield first frame, number of frames, and bytes of each block."""
        with open(self.path, "rb") as file:
            for block in self.blocks:
                file.seek(block.offset)
                yield block.first, block.count, memoryview(file.read(block.size))
