# SPDX-License-Identifier: GPL-3.0-or-later
"""How the stored bytes of a frame become pixel values.

`Pixels` describes one frame's bytes: dtype, byte order, packing, the arrangement of detector chips
and the vertical flip. `Pixels.decode` turns a block of frames into values in one pass, straight
into the caller's array, for any rectangular region of the frame.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Packing", "Pixels", "Region", "Tile", "full_region", "quad_tiles"]

#: One slice with step 1 per axis of a frame.
Region = tuple[slice, ...]


#: How pixels lie in bytes. "plain": one numpy element per pixel. "medipix1/6/12/24": Merlin's RAW
#: words, 64-bit big-endian groups with the lowest-numbered pixel in the least significant bits.
#: "bits" and "u12": packed pixels without padding, least significant first ("-le") or most
#: significant first ("-be"). "u4-rows": two pixels per byte, the first in the low half, each row
#: from a new byte on. "complex-i2": real and imaginary part as 16-bit integers.
Packing = Literal[
    "plain",
    "medipix1",
    "medipix6",
    "medipix12",
    "medipix24",
    "bits-le",
    "bits-be",
    "u12-le",
    "u12-be",
    "u4-rows",
    "complex-i2",
]


#: bits per stored pixel of each packing that is not plain
_BITS: dict[str, int] = {
    "medipix1": 1,
    "medipix6": 8,
    "medipix12": 16,
    "medipix24": 32,
    "bits-le": 1,
    "bits-be": 1,
    "u12-le": 12,
    "u12-be": 12,
    "u4-rows": 4,
    "complex-i2": 32,
}


class Tile(NamedTuple):
    """One detector chip: where its pixels are stored, and where they belong.

    `row` and `column` are its upper left corner in the stored frame, `to_row` and `to_column` in
    the assembled, not yet flipped frame; `rotated` means turned by 180 degrees on the way.
    """

    row: int
    column: int
    to_row: int
    to_column: int
    rotated: bool


def quad_tiles(rows: int, width: int = 256, gap: int = 0) -> tuple[Tile, ...]:
    """Return the tiles of a 2 x 2 Merlin detector read out chip by chip.

    A stored row is [chip 4 | chip 3 | chip 2 | chip 1]; the assembled frame has chips 1 and 2 on
    top, and below them chips 3 and 4 turned by 180 degrees.
    """
    return (
        Tile(0, 3 * width, 0, 0, False),
        Tile(0, 2 * width, 0, width + gap, False),
        Tile(0, 1 * width, rows + gap, 0, True),
        Tile(0, 0, rows + gap, width + gap, True),
    )


def full_region(shape: tuple[int, ...]) -> Region:
    """Return the region that covers a whole frame."""
    return tuple(slice(0, n) for n in shape)


#: Bytes that stay in the cache of a core between two steps.
_CACHED = 512 << 10


def _compiled(nbytes: int) -> bool:
    """Whether a compiled loop is at hand; plain pixels do not wait for numba to be imported."""
    return "numba" in sys.modules and nbytes > 1 << 16


@dataclass(frozen=True)
class Pixels:
    """How one frame's bytes become pixel values.

    Parameters
    ----------
    shape : tuple of int
        Shape of the decoded frame, rows first.
    stored : numpy.dtype
        Type of one stored element, byte order included; for packed pixels, of one decoded pixel.
    packing : str
        See `Packing`.
    tiles : tuple of Tile
        Empty for a frame stored as it is shown.
    tile_shape, stored_shape : (int, int)
        Rows and columns of one tile and of the stored frame; only with `tiles`.
    flip_y : bool
        The first stored row is the bottom row of the image.
    native : bool
        Return values in the machine's byte order; otherwise in that of the file.
    shift : int
        Unused low bits of a stored value; the others are moved down by as many.
    repeat : int
        Rows of the decoded frame that each stored row makes: it was binned along columns.
    """

    shape: tuple[int, ...]
    stored: np.dtype[Any]
    packing: Packing = "plain"
    tiles: tuple[Tile, ...] = ()
    tile_shape: tuple[int, int] = (0, 0)
    stored_shape: tuple[int, ...] = ()
    flip_y: bool = False
    native: bool = True
    shift: int = 0
    repeat: int = 1

    def __post_init__(self) -> None:
        if not self.tiles:
            rows = self.shape[:1] if self.repeat == 1 else (self.shape[0] // self.repeat,)
            object.__setattr__(self, "stored_shape", (*rows, *self.shape[1:]))
            object.__setattr__(self, "tile_shape", self.shape[-2:])
        if self.stored_pixels * self.stored_bits % 8:
            raise ValueError(
                f"a frame of {self.shape} pixels with {self.stored_bits} bits each does not fill "
                "whole bytes"
            )

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Type of a decoded pixel; the parts of a colour follow each other without gaps."""
        if not self.native:
            return self.stored
        if self.stored.names is not None:
            return np.dtype([(n, self.stored[n].newbyteorder("=")) for n in self.stored.names])
        return self.stored.newbyteorder("=")

    @cached_property
    def stored_bits(self) -> int:
        """Bits that one pixel takes in the file."""
        return _BITS.get(self.packing, self.stored.itemsize * 8)

    @cached_property
    def stored_pixels(self) -> int:
        """Number of pixels in the file per frame, padding of the rows included."""
        if self.packing == "u4-rows":
            *rows, columns = self.stored_shape
            return math.prod(rows) * (columns + columns % 2)
        return math.prod(self.stored_shape)

    @cached_property
    def nbytes(self) -> int:
        """Bytes of one stored frame."""
        return self.stored_pixels * self.stored_bits // 8

    @cached_property
    def _row_bytes(self) -> int:
        """Bytes of one stored row, or 0 where rows cannot be read one by one."""
        row_pixels = math.prod(self.stored_shape[1:])
        if self.packing == "u4-rows":
            return self.nbytes // self.stored_shape[0]
        if self.packing in ("plain", "medipix6", "medipix12", "complex-i2") or (
            self.packing == "medipix1" and row_pixels % 64 == 0
        ):
            return row_pixels * self.stored_bits // 8
        return 0

    @property
    def plain(self) -> bool:
        """Whether the stored bytes can be viewed as pixels without decoding."""
        as_returned = self.stored.names is None or self.stored == self.dtype
        return self.in_rows and not self.shift and as_returned

    @property
    def in_rows(self) -> bool:
        """Whether a frame is stored row by row, one element per pixel."""
        return self.packing == "plain" and not self.tiles and self.repeat == 1

    def with_flip(self, flip_y: bool) -> Pixels:
        """Return the same pixels with another vertical flip."""
        return replace(self, flip_y=flip_y)

    # ------------------------------------------------------------------ reading

    def byte_range(self, region: Region) -> tuple[int, int]:
        """Return the first byte and the number of bytes of a stored frame that `region` needs."""
        if self.repeat > 1:
            return self._single.byte_range(self._of_single(region))
        if not self._row_bytes:
            return 0, self.nbytes
        spans = [
            (tile.row + a, tile.row + b)
            for tile in self._chips
            for a, b, _ in [self._overlap(tile, region[0])]
            if a < b
        ]
        if not spans:  # nothing but the gap between chips
            return 0, 0
        first, last = min(a for a, _ in spans), max(b for _, b in spans)
        return first * self._row_bytes, (last - first) * self._row_bytes

    @cached_property
    def _single(self) -> Pixels:
        """The same pixels with each row once."""
        return replace(self, shape=(self.shape[0] // self.repeat, *self.shape[1:]), repeat=1)

    def _of_single(self, region: Region) -> Region:
        """Return the region of `_single` that `region` is made of."""
        rows, *others = region
        return slice(rows.start // self.repeat, -(-rows.stop // self.repeat)), *others

    @property
    def _chips(self) -> tuple[Tile, ...]:
        return self.tiles or (Tile(0, 0, 0, 0, False),)

    def _overlap(self, tile: Tile, rows: slice) -> tuple[int, int, int]:
        """Rows a..b of a tile that lie within the decoded `rows`, and the first target row."""
        height = self.tile_shape[0] if self.tiles else self.shape[0]
        start, stop = rows.start, rows.stop
        if self.flip_y:
            start, stop = self.shape[0] - rows.stop, self.shape[0] - rows.start
        start, stop = max(start, tile.to_row), min(stop, tile.to_row + height)
        if start >= stop:
            return 0, 0, 0
        target = (self.shape[0] - stop if self.flip_y else start) - rows.start
        a, b = start - tile.to_row, stop - tile.to_row
        return (height - b, height - a, target) if tile.rotated else (a, b, target)

    def alike(self, out: npt.NDArray[Any], region: Region) -> bool:
        """Whether the bytes of whole frames are, as they are stored, those of `out`."""
        return (
            self.plain
            and not self.flip_y
            and region == full_region(self.shape)
            and out.dtype == self.stored
            and out.flags.c_contiguous
        )

    def view(self, raw: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """View plain stored bytes (frames, nbytes) as pixels (frames, *shape), in file byte order.

        No copy is made; the flip shows as a negative stride.
        """
        assert self.plain
        frames = raw[:, : self.nbytes].view(self.stored).reshape(len(raw), *self.shape)
        return frames[:, ::-1] if self.flip_y else frames

    def decode(
        self, raw: npt.NDArray[np.uint8], out: npt.NDArray[Any], region: Region | None = None
    ) -> None:
        """Decode a block of frames.

        Parameters
        ----------
        raw : ndarray of uint8, shape (frames, bytes)
            Stored bytes; starts at the first byte of `byte_range(region)`. Contiguous along the
            last axis, any stride between frames.
        out : ndarray, shape (frames, *shape of region)
            Takes the values; cast if its dtype differs.
        region : Region, optional
            The part of the frame that is wanted; the whole frame by default.
        """
        region = region or full_region(self.shape)
        if self.repeat > 1:
            self._decode_repeated(raw, out, region)
            return
        if self.in_rows:
            self._decode_plain(raw, out, region)
        elif self.packing.startswith(("bits", "u12")):
            frames = self._unpack_stream(raw[:, : self.nbytes])
            frames = frames.reshape(len(raw), *self.shape)
            out[...] = (frames[:, ::-1] if self.flip_y else frames)[(slice(None), *region)]
        elif self.packing in ("u4-rows", "complex-i2"):
            self._decode_rows(raw, out, region)
        else:
            self._decode_chips(raw, out, region)
        if self.shift:
            if out.dtype.kind in "iu":
                np.right_shift(out, self.shift, out=out)
            else:
                np.floor_divide(out, 1 << self.shift, out=out)

    def _unpack_stream(self, raw: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Unpack frames whose pixels follow each other without regard to rows."""
        if self.packing.startswith("bits"):
            return np.unpackbits(
                raw, axis=1, bitorder="little" if self.packing == "bits-le" else "big"
            )
        from rsciio_tem.kernels.unpack import unpack_u12

        out = np.empty((len(raw), self.stored_pixels), np.uint16)
        unpack_u12(np.ascontiguousarray(raw), out, self.packing == "u12-be")
        return out

    def _decode_rows(
        self, raw: npt.NDArray[np.uint8], out: npt.NDArray[Any], region: Region
    ) -> None:
        """Unpack pixels that share a byte with a neighbour, or take two numbers each."""
        rows, columns = region
        size = self._row_bytes
        stored = raw[:, : self.byte_range(region)[1]].reshape(
            len(raw), rows.stop - rows.start, size
        )
        if self.flip_y:
            stored = stored[:, ::-1]
        if self.packing == "u4-rows":
            values = np.empty((*stored.shape[:2], 2 * size), np.uint8)
            np.bitwise_and(stored, 15, out=values[..., ::2])
            np.right_shift(stored, 4, out=values[..., 1::2])
            out[...] = values[..., columns]
        else:
            parts = stored.view(np.dtype(np.int16).newbyteorder(self.stored.byteorder))
            packed = parts[..., 2 * columns.start : 2 * columns.stop]
            out[...] = packed.astype(np.float32, "C").view(np.complex64)

    def _decode_repeated(
        self, raw: npt.NDArray[np.uint8], out: npt.NDArray[Any], region: Region
    ) -> None:
        n, rows, inner = self.repeat, region[0], self._of_single(region)
        if rows.start % n == 0 and rows.stop % n == 0:
            first = out[:, ::n]
            self._single.decode(raw, first, inner)
            for i in range(1, n):
                out[:, i::n] = first
            return
        values = np.empty((len(raw), *(s.stop - s.start for s in inner)), self.dtype)
        self._single.decode(raw, values, inner)
        begin = rows.start - n * inner[0].start
        out[...] = values.repeat(n, axis=1)[:, begin : begin + rows.stop - rows.start]

    def _decode_plain(
        self, raw: npt.NDArray[np.uint8], out: npt.NDArray[Any], region: Region
    ) -> None:
        rows, *others = region
        stored = raw[:, : self.byte_range(region)[1]].view(self.stored)
        frames = stored.reshape(len(raw), rows.stop - rows.start, *self.shape[1:])
        if self.flip_y:
            frames = frames[:, ::-1]
        frames = frames[(slice(None), slice(None), *others)]
        if self.stored.isnative or self.stored.newbyteorder("=") != out.dtype:
            np.copyto(out, frames, casting="unsafe")
            return
        whole = all(s == slice(0, n) for s, n in zip(others, self.shape[1:], strict=True))
        if whole and out.itemsize in (2, 4) and out.flags.c_contiguous and _compiled(out.nbytes):
            from rsciio_tem.kernels.unpack import swap_rows

            row = math.prod(self.shape[1:])
            swap_rows(raw[:, : stored.shape[1] * out.itemsize], out, row, self.flip_y)
            return
        step = _CACHED // max(1, frames[:1].nbytes)
        if not self.flip_y or not step:
            np.copyto(out, frames)
            return
        # Rows that are read backwards are not fetched ahead of time: bytes are swapped in the order
        # of the file, and rows turned over while they are in the cache.
        swapped = np.empty((min(step, len(out)), *out.shape[1:]), out.dtype)
        for i in range(0, len(out), step):
            part = swapped[: len(out[i : i + step])]
            np.copyto(part, frames[i : i + step, ::-1])
            np.copyto(out[i : i + step], part[:, ::-1])

    def _decode_chips(
        self, raw: npt.NDArray[np.uint8], out: npt.NDArray[Any], region: Region
    ) -> None:
        """Unpack chip by chip, always whole rows of a chip."""
        rows, columns = region
        width = self.tile_shape[1]
        native = self.stored.newbyteorder("=")
        direct = (
            columns == slice(0, self.shape[1]) and out.dtype == native and out.flags.c_contiguous
        )
        target = (
            out if direct else np.empty((len(raw), rows.stop - rows.start, self.shape[1]), native)
        )
        if self.tiles and math.prod(self.tile_shape) * len(self.tiles) < math.prod(self.shape):
            target[...] = 0  # the gap between chips holds no data
        first = self.byte_range(region)[0] // self._row_bytes if self._row_bytes else 0
        for tile in self._chips:
            a, b, t = self._overlap(tile, rows)
            if a >= b:
                continue
            # rotation reverses the rows of a chip, the flip reverses them again
            upside_down = tile.rotated != self.flip_y
            a, b = a + tile.row - first, b + tile.row - first
            if self.packing == "plain":
                row_bytes = self._row_bytes
                block = raw[:, a * row_bytes : b * row_bytes].view(self.stored)
                block = block.reshape(len(raw), b - a, self.stored_shape[1])
                block = block[:, :: -1 if upside_down else 1, tile.column : tile.column + width]
                part = target[:, t : t + len(block[0]), tile.to_column : tile.to_column + width]
                part[...] = block[:, :, ::-1] if tile.rotated else block
            else:
                from rsciio_tem.kernels.unpack import unpack_medipix

                unpack_medipix(
                    self.packing,
                    raw,
                    target,
                    row_pixels=self.stored_shape[1],
                    plane_pixels=self.stored_pixels,
                    first_pixel=a * self.stored_shape[1] + tile.column,
                    to=(t, tile.to_column),
                    shape=(b - a, width),
                    upside_down=upside_down,
                    mirrored=tile.rotated,
                )
        if not direct:
            out[...] = target[:, :, columns]
