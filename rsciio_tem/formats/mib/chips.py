# SPDX-License-Identifier: GPL-3.0-or-later
"""How the pixels of a frame are packed, and how chips are put together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rsciio_tem.errors import Problems, Unsupported
from rsciio_tem.formats.mib.header import CHIP, Header, integer
from rsciio_tem.frames.pixels import Packing, Pixels, Tile, quad_tiles

#: Packing and type of RAW pixels, by the depth of the counters in bits.
_RAW: dict[int, tuple[Packing, str]] = {
    1: ("medipix1", "u1"),
    6: ("medipix6", "u1"),
    12: ("medipix12", ">u2"),
    24: ("medipix24", ">u4"),
}


def pixel_layouts(
    header: Header, gap: int | str | None, layout: str, path: str
) -> Iterator[Pixels]:
    """Yield the pixel layouts that a header may mean, the most credible first."""
    in_header = 2 if layout.upper().endswith("G") else 0
    between = in_header if gap == "header" else int(gap or 0)
    if not header.raw:
        yield from _processed(header, between, path)
        return
    depths = [header.depth] if header.depth else [12, 6, 24, 1]
    if not header.depth and header.width == 2 * CHIP * header.chips:
        depths = [24, 12, 6, 1]  # twice the columns of the chips
    for depth in depths:
        # 24-bit frames are two 12-bit images; the header counts the columns of both
        widths = [header.width // 2, header.width] if depth == 24 else [header.width]
        if depth == 24 and header.width == CHIP * header.chips:
            widths.reverse()
        for columns in widths:
            if _is_readout(header, depth, columns):
                yield _raw(header, depth, columns, between, layout)


def _processed(header: Header, between: int, path: str) -> Iterator[Pixels]:
    """Yield the layouts of pixels that the camera has put in order."""
    shape = header.height, header.width
    bits = integer(header.pixel_type[1:])
    if header.pixel_type[:1] != "U" or bits not in (1, 8, 16, 32, 64):
        raise Unsupported(path, f"has pixels of unknown type {header.pixel_type!r}.")
    if bits == 1:  # eight pixels per byte by the description, one byte each in practice
        yield Pixels(shape, np.dtype("u1"), flip_y=True)
        if header.width * header.height % 8 == 0:
            yield Pixels(shape, np.dtype("u1"), "bits-be", flip_y=True)
        return
    dtype = np.dtype(f">u{bits // 8}")
    if not between or shape != (2 * CHIP, 2 * CHIP):
        yield Pixels(shape, dtype, flip_y=True)
        return
    edges = (0, CHIP)
    yield Pixels(
        (2 * CHIP + between, 2 * CHIP + between),
        dtype,
        tiles=tuple(
            Tile(r, c, r and r + between, c and c + between, False) for r in edges for c in edges
        ),
        tile_shape=(CHIP, CHIP),
        stored_shape=shape,
        flip_y=True,
    )


def _is_readout(header: Header, depth: int, columns: int) -> bool:
    """Whether chips can be read out in so many columns: rows are whole 64-bit words."""
    if (columns % CHIP and header.chips > 1) or columns * header.height % 64:
        return False
    return columns >= 1 and columns % {1: 64, 6: 8}.get(depth, 4) == 0


def _raw(header: Header, depth: int, columns: int, between: int, layout: str) -> Pixels:
    """Return the layout of pixels as they leave the chips."""
    packing, stored = _RAW[depth]
    dtype, height, blocks = np.dtype(stored), header.height, columns // CHIP
    if header.chips == 1 or blocks <= 1 or layout == "1x1":
        return Pixels((height, columns), dtype, packing, flip_y=True)
    if layout.lower().startswith("2x2") and blocks == 4:
        tiles = quad_tiles(height, CHIP, between)
        shape = (2 * height + between, 2 * CHIP + between)
    else:
        # chips side by side, read out from the last to the first
        tiles = tuple(
            Tile(0, i * CHIP, 0, (blocks - 1 - i) * (CHIP + between), False) for i in range(blocks)
        )
        shape = (height, blocks * (CHIP + between) - between)
    return Pixels(
        shape,
        dtype,
        packing,
        tiles=tiles,
        tile_shape=(height, CHIP),
        stored_shape=(height, columns),
        flip_y=True,
    )


def doubts(header: Header, pixels: Pixels, problems: Problems) -> None:
    """Say what in the layout rests on no documentation."""
    compare = "Compare with the camera's display, and tell us if it is wrong or right."
    if pixels.packing == "medipix24" and pixels.tiles:
        problems.warn("RAW 24-bit of several chips is undocumented.", compare)
    elif pixels.packing == "medipix24":
        problems.info("RAW 24-bit: the high 12 bits are taken to come first (one source).")
    raw_tiles = pixels.tiles if header.raw else ()
    if raw_tiles and len(raw_tiles) != 4:
        problems.warn(f"RAW of {header.chips} chips in a row is undocumented.", compare)
    elif raw_tiles and not header.layout.lower().startswith("2x2"):
        problems.warn("RAW of chips in a row is undocumented.", compare)
    elif raw_tiles and pixels.stored_shape[0] != CHIP:
        problems.warn("RAW of part of the rows of a 2x2 detector is undocumented.", compare)
    if pixels.packing == "bits-be":
        problems.warn("the bit order of packed U01 pixels is undocumented.", compare)
    if header.size == 256 and header.utc == "" and header.chips == 1 and header.layout == "1x1":
        problems.info("headers of 256 bytes are known from a single description only.")
