# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of a block, and what it says of sizes and of the block's cell in the frame."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rsciio_tem.frames.blocks import BlockLayout

#: Header of a block, big-endian.
HEADER = np.dtype(
    [
        ("sync", ">u4"),  # 0: always 0xFFFF0055
        ("unknown1", "V4"),  # 4
        ("version", "u1"),  # 8
        ("flags", "u1"),  # 9: bit 0 set while the shutter is active
        ("unknown2", "V6"),  # 10
        ("block_count", ">u4"),  # 16: number of the block, the same in all sectors
        ("width", ">u2"),  # 20: columns of the sector (256)
        ("height", ">u2"),  # 22: rows of the sector (1860)
        ("frame_id", ">u4"),  # 24: number of the frame; may jump back
        ("x_start", ">u2"),  # 28: first column of the block within the sector
        ("y_start", ">u2"),  # 30: first row
        ("x_end", ">u2"),  # 32: last column, inclusive
        ("y_end", ">u2"),  # 34: last row, inclusive
        ("block_size", ">u4"),  # 36: bytes of the block with this header (22 360)
    ]
)

#: What each header begins with.
SYNC = 0xFFFF0055
SYNC_BYTES = SYNC.to_bytes(4, "big")

#: Flag of an open shutter.
SHUTTER = 1

#: Sectors side by side.
SECTORS = 8

#: Rows and columns of a full frame, and of the part of it that sees the image.
FULL = (1860, 2048)
USABLE = (1792, 1920)


class Geometry(NamedTuple):
    """Sizes that all blocks of a recording share."""

    width: int  # of the sector
    height: int
    block_width: int
    block_height: int
    nbytes: int  # of a block, header included

    @property
    def columns(self) -> int:
        """Blocks side by side."""
        return self.width // self.block_width

    @property
    def rows(self) -> int:
        """Blocks on top of each other."""
        return self.height // self.block_height

    @property
    def per_frame(self) -> int:
        """Blocks of one frame of a sector."""
        return self.columns * self.rows

    def usual_cells(self) -> list[int]:
        """Cells of a frame's blocks as documented: upper half first, each from right to left."""
        cells = range(self.columns)
        return [row * self.columns + cell for row in range(self.rows) for cell in reversed(cells)]

    def cell(self, header: Any) -> int:
        """Return the cell of a block."""
        row = int(header["y_start"]) // self.block_height
        return row * self.columns + int(header["x_start"]) // self.block_width

    def layout(self, cells: tuple[int, ...]) -> BlockLayout:
        """Return the layout of blocks that belong into these cells, in the order of numbers."""
        constant = (
            *(("sync", SYNC), ("width", self.width), ("height", self.height)),
            ("block_size", self.nbytes),
        )
        block, sector = (self.block_height, self.block_width), (self.height, self.width)
        return BlockLayout(HEADER, constant, self.nbytes, block, sector, cells)


def geometry_of(header: Any) -> Geometry | None:
    """Return the sizes that a block header states, None if it is not a block header."""
    h = {name: int(header[name]) for name in HEADER.names or () if not name.startswith("unknown")}
    width, height = h["x_end"] - h["x_start"] + 1, h["y_end"] - h["y_start"] + 1
    if (
        h["sync"] != SYNC
        or width <= 0
        or height <= 0
        or width % 2
        or h["width"] == 0
        or h["height"] == 0
        or h["width"] % width
        or h["height"] % height
        or h["x_start"] % width
        or h["y_start"] % height
        or h["x_end"] >= h["width"]
        or h["y_end"] >= h["height"]
        or h["block_size"] != HEADER.itemsize + width * height * 3 // 2
    ):
        return None
    return Geometry(h["width"], h["height"], width, height, h["block_size"])
