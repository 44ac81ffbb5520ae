# SPDX-License-Identifier: GPL-3.0-or-later
"""With which numbers frames begin, and in which order their blocks are stored."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

from rsciio_tem.errors import FormatError, Problems
from rsciio_tem.formats.k2is.blocks import Sector


def block_order(sectors: list[Sector], problems: Problems) -> tuple[int, tuple[int, ...]]:
    """Find which block numbers begin a frame, and the cells of a frame's blocks in this order.

    Returns
    -------
    phase : int
        Remainder of these numbers, divided by the blocks of a frame.
    cells : tuple of int
    """
    geometry = sectors[0].sizes
    n, usual_cells = geometry.per_frame, geometry.usual_cells()
    # two frames from the longest segment
    longest, segment = max(
        ((sector, segment) for sector in sectors for segment in sector.segments),
        key=lambda pair: pair[1].blocks,
    )
    numbers = range(segment.number, segment.number + min(segment.blocks, 2 * n + 1))
    heads = [head for number in numbers if (head := longest.at(number)) is not None]

    changes = Counter(
        int(b["block_count"]) % n
        for a, b in pairwise(heads)
        if a["frame_id"] != b["frame_id"] and int(b["block_count"]) - int(a["block_count"]) == 1
    )
    change = changes.most_common(1)[0][0] if changes else None
    phases = Counter(
        (int(head["block_count"]) - usual_cells.index(geometry.cell(head))) % n for head in heads
    )
    phase, agreeing = phases.most_common(1)[0]
    cells = usual_cells
    if 10 * agreeing < 9 * len(heads) or change not in (None, phase):
        phase, cells = _unusual_order(longest, heads, change)
        problems.warn("Blocks are stored in another order than usual; headers decide.")
    for sector in sectors:
        ends = [head for i in (sector.low, sector.high - 1) if (head := sector.at(i)) is not None]
        fits = [cells[(int(h["block_count"]) - phase) % n] == geometry.cell(h) for h in ends]
        if fits and not any(fits):
            raise FormatError(
                sector.file.path,
                f"its blocks are numbered otherwise than those of {longest.name}.",
                "Move it away to read the recording without it; its part of the image is filled.",
            )
    return phase, tuple(cells)


def _unusual_order(sector: Sector, heads: list[Any], change: int | None) -> tuple[int, list[int]]:
    """Take the order from the headers; frames begin where the frame number changes."""
    if change is None:
        raise FormatError(
            sector.file.path,
            f"{len(heads)} blocks are stored in an unknown order, and none begins a frame.",
        )
    geometry = sector.sizes
    n = geometry.per_frame
    order = {(int(head["block_count"]) - change) % n: geometry.cell(head) for head in heads}
    cells = [order.get(i, -1) for i in range(n)]
    if sorted(cells) != list(range(n)):
        raise FormatError(
            sector.file.path,
            f"the first blocks do not cover a frame: their places are {cells}.",
        )
    return change, cells
