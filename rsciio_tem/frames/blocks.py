# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that are stored as numbered blocks, each with a header of its own.

A camera that writes its data faster than a network or disk takes them may lose blocks. What was
stored is then known only from the headers: each block says its number and its place in the frame.
A `BlockTable` knows the stretches of a file in which nothing is lost, finds the bytes of a frame
by arithmetic, and puts every block where its own header says. Places that no block came for get
the fill value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Unsupported, warn
from rsciio_tem.frames.pixels import Region, full_region
from rsciio_tem.frames.protocol import Order, OrderedFrames, ReadAs, runs_in
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import Backend, DataFile

__all__ = ["SEGMENT", "BlockLayout", "BlockTable", "segments_of"]

#: A stretch of blocks that follow each other in the file and in their numbers.
SEGMENT = np.dtype(
    [
        ("number", "<i8"),  # of the first block; the first block of frame 0 has number 0
        ("start", "<i8"),  # byte where its header begins
        ("count", "<i8"),  # number of blocks
    ]
)


@dataclass(frozen=True, eq=False)
class BlockLayout:
    """What all blocks of a recording have in common.

    Parameters
    ----------
    header : numpy.dtype
        Header of a block, with the fields ``block_count``, ``x_start``, ``y_start``, ``x_end`` and
        ``y_end``; ends are inclusive.
    constant : tuple of (str, int)
        Fields that have the same value in every header.
    nbytes : int
        Bytes of a block with its header.
    shape : (int, int)
        Rows and columns of a block.
    frame_shape : (int, int)
        Rows and columns of a frame, multiples of those of a block.
    cells : tuple of int
        Where the blocks of a frame belong, in the order of their numbers: cells are counted from
        left to right, then from top to bottom.
    """

    header: np.dtype[Any]
    constant: tuple[tuple[str, int], ...]
    nbytes: int
    shape: tuple[int, int]
    frame_shape: tuple[int, int]
    cells: tuple[int, ...]

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return self.frame_shape[0] // self.shape[0], self.frame_shape[1] // self.shape[1]

    @cached_property
    def expected(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """The bytes of a header that are always the same: where they are, and what they are."""
        header, places = np.zeros((), self.header), np.zeros(self.header.itemsize, bool)
        assert self.header.fields is not None
        for name, value in self.constant:
            header[name] = value
            kind, offset = self.header.fields[name][:2]
            places[offset : offset + kind.itemsize] = True
        at = np.flatnonzero(places)
        return at, np.frombuffer(header.tobytes(), np.uint8)[at]

    @cached_property
    def numbers(self) -> npt.NDArray[np.int64]:
        """Offset and bytes of the fields that say which block it is, and where it belongs."""
        assert self.header.fields is not None
        fields = [self.header.fields[name][:2] for name in _NUMBERS]
        assert all(kind.str[0] == ">" for kind, _ in fields)
        return np.array([(offset, kind.itemsize) for kind, offset in fields])

    def cells_of(self, headers: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
        """Return the cell of each block, -1 where the header makes no sense."""
        height, width = self.shape
        rows, columns = self.grid
        x, y, x_end, y_end = (headers[name].astype(np.int64) for name in _NUMBERS[1:])
        row, column = y // height, x // width
        fits = (
            np.logical_and.reduce([headers[name] == value for name, value in self.constant])
            & (x % width == 0)
            & (y % height == 0)
            & (x_end - x == width - 1)
            & (y_end - y == height - 1)
            & (row < rows)
            & (column < columns)
        )
        return np.where(fits, row * columns + column, -1)


#: Fields of a header in the order in which `kernels.find_blocks` wants them.
_NUMBERS = ("block_count", "x_start", "y_start", "x_end", "y_end")


def segments_of(rows: Sequence[tuple[int, int, int]]) -> npt.NDArray[np.void]:
    """Make a segment table from (number, start, count) rows."""
    return np.array(list(rows), dtype=SEGMENT)


@dataclass(frozen=True, eq=False)
class BlockTable(OrderedFrames):
    """Frames stored as numbered blocks in one file.

    Parameters
    ----------
    file : DataFile
        The file.
    segments : structured array of `SEGMENT`
        Where blocks are, in ascending order of their numbers. Blocks between them are lost.
    layout : BlockLayout
        What they look like.
    base : int
        ``block_count`` of the block with number 0.
    count : int
        Number of frames.
    first : int
        The first of them.
    order : ndarray of int64, optional
        Frame i of this table is frame ``first + order[i]``; -1 is a blank.
    fill : float
        Value of blanks and of lost blocks.
    backend : str
        How bytes are fetched, see `rsciio_tem.storage.backends`.
    """

    file: DataFile
    segments: npt.NDArray[np.void]
    layout: BlockLayout
    base: int
    count: int
    first: int = 0
    order: Order = None
    fill: float = 0
    backend: Backend = "auto"

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a frame."""
        return self.layout.frame_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return np.dtype(np.uint16)

    @property
    def lost_value(self) -> int:
        """A value that no pixel has."""
        return 0xFFFF  # 12 bits are stored

    @property
    def stored_count(self) -> int:
        """Number of frames that the file announces, lost ones included."""
        return self.count

    def _cut(self, start: int, stop: int) -> Self:
        return replace(self, first=self.first + start, count=stop - start)

    def _read_as(self, how: ReadAs) -> Self:
        if how.flip_y is not None or how.frame_shape not in (None, self.frame_shape):
            raise Unsupported(
                self.file.path, "frames stored as blocks can be neither flipped nor reshaped."
            )
        return replace(self, backend=how.backend, fill=how.filled(self.fill))

    # ------------------------------------------------------------------ reading

    def stored(self, frame: int) -> npt.NDArray[np.bool_]:
        """Return which blocks of a frame are in the file, in the order of their numbers."""
        n = len(self.layout.cells)
        stored = np.zeros(n, bool)
        for number, _, count in self._stored_blocks(frame * n, (frame + 1) * n):
            stored[number - frame * n : number - frame * n + count] = True
        return stored

    def _stored_blocks(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield (number, byte, count) of what is stored of the blocks start..stop."""
        numbers = self.segments["number"]
        i = max(0, int(np.searchsorted(numbers, start, "right")) - 1)
        j = int(np.searchsorted(numbers, stop, "left"))
        for number, byte, count in self.segments[i:j].tolist():
            a, b = max(number, start), min(number + count, stop)
            if a < b:
                yield a, byte + (a - number) * self.layout.nbytes, b - a

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it.

        Raises
        ------
        Truncated, FormatError
            The file ends early, or changed since it was described.
        """
        region = region or full_region(self.frame_shape)
        expected = (len(self), *(s.stop - s.start for s in region))
        if out.shape != expected:
            raise ValueError(f"out has shape {out.shape}, but {expected} is needed")
        if not math.prod(out.shape):
            return
        cells = _Cells.of(self.layout, *((s.start, s.stop) for s in region))
        apart = (len(self.layout.cells) - cells.count) * self.layout.nbytes > 64 << 10
        frame_bytes = len(self.layout.cells) * self.layout.nbytes
        per_read = 1 if apart else max(1, backends.BLOCK // frame_bytes)
        runs = [(0, 1, 0, self.count)] if self.order is None else runs_in(self.order)
        for at, step, low, count in runs:
            if low < 0:
                out[at : at + count] = self.fill
                continue
            for i in range(0, count, per_read):
                n = min(per_read, count - i)
                begin = at + step * i
                target = (
                    out[begin : begin + n] if step > 0 else out[begin - n + 1 : begin + 1][::-1]
                )
                self._decode(self.first + low + i, target, cells)

    def _decode(self, frame: int, out: npt.NDArray[Any], cells: _Cells) -> None:
        """Load consecutive frames that are read at once."""
        from rsciio_tem.kernels.unpack import find_blocks, unpack_u12_tiles

        layout, n = self.layout, len(out)
        per_frame = len(layout.cells)
        direct = cells.whole and out.dtype == self.dtype and out.strides[-1] == 2
        direct = direct and out.strides[1] > 0
        values = out if direct else np.empty((n, out.shape[1], cells.width), np.uint16)
        decoded = np.zeros((n, *layout.grid), bool)
        start = frame * per_frame + cells.first
        stop = (frame + n - 1) * per_frame + cells.first + cells.count
        size = (layout.nbytes, layout.header.itemsize)
        for number, byte, count in self._stored_blocks(start, stop):
            raw = backends.read(self.file, byte, count * layout.nbytes, self.backend)
            places = np.full(decoded.shape, -1, np.int64)
            which = (self.base, frame, per_frame, number)
            find_blocks(raw, size, layout.expected, layout.numbers, which, layout.shape, places)
            decoded |= places >= 0
            unpack_u12_tiles(
                raw,
                places[:, cells.bands, cells.columns],
                values,
                height=layout.shape[0],
                width=layout.shape[1],
                rows=cells.rows,
            )
        if not decoded[:, cells.bands, cells.columns].all():
            self._fill(frame, values, decoded, cells)
        if not direct:
            np.copyto(out, values[:, :, cells.cut], casting="unsafe")

    def _fill(
        self,
        frame: int,
        values: npt.NDArray[np.uint16],
        decoded: npt.NDArray[np.bool_],
        cells: _Cells,
    ) -> None:
        """Fill the places of blocks that are not there; tell of those that should be."""
        height, width = self.layout.shape
        columns = self.layout.grid[1]
        damaged = []
        for f in range(len(decoded)):
            stored = None
            for band, column in np.argwhere(~decoded[f, cells.bands, cells.columns]).tolist():
                y = max(0, band * height - cells.rows[0])
                y_end = (band + 1) * height - cells.rows[0]
                values[f, y:y_end, column * width : (column + 1) * width] = self.fill
                stored = self.stored(frame + f) if stored is None else stored
                cell = (band + cells.bands.start) * columns + column + cells.columns.start
                if stored[self.layout.cells.index(cell)]:
                    damaged.append(frame + f)
        if damaged:
            warn(
                self.file.path,
                f"{len(damaged)} blocks of frames {damaged[0]} to {damaged[-1]} have damaged "
                "headers or are out of place; their pixels are filled.",
            )


@dataclass(frozen=True)
class _Cells:
    """The blocks that a region needs."""

    first: int  # number within the frame of the first block that is needed
    count: int  # blocks from the first to the last that is needed
    bands: slice  # rows and columns of cells
    columns: slice
    rows: tuple[int, int]  # wanted rows, from the top of the first band
    width: int  # pixels of the columns of cells
    cut: slice  # the wanted ones among these pixels
    whole: bool  # all of them are wanted

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, layout: BlockLayout, y: tuple[int, int], x: tuple[int, int]) -> _Cells:
        rows, columns = slice(*y), slice(*x)
        height, width = layout.shape
        bands = slice(rows.start // height, -(-rows.stop // height))
        tiles = slice(columns.start // width, -(-columns.stop // width))
        needed = [
            i
            for i, cell in enumerate(layout.cells)
            if bands.start <= cell // layout.grid[1] < bands.stop
            and tiles.start <= cell % layout.grid[1] < tiles.stop
        ]
        top, left = bands.start * height, tiles.start * width
        total = (tiles.stop - tiles.start) * width
        cut = slice(columns.start - left, columns.stop - left)
        return cls(
            needed[0],
            needed[-1] + 1 - needed[0],
            bands,
            tiles,
            (rows.start - top, rows.stop - top),
            total,
            cut,
            cut == slice(0, total),
        )
