# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``check`` looks at in every block."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Problem
from rsciio_tem.formats.k2is.header import HEADER
from rsciio_tem.frames.blocks import BlockTable
from rsciio_tem.frames.combined import Mosaic
from rsciio_tem.parsing.checks import number_ranges
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.times import FrameTimes
from rsciio_tem.storage import backends


def _every_block(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Compare the headers of all blocks with their places, and with those of their frame."""
    del seen
    frames: Any = recording.frames
    while not isinstance(frames, Mosaic):
        frames = frames.frames
    tables = [part for part in frames.parts if isinstance(part, BlockTable)]
    ids = np.full((len(tables), len(frames)), -1, np.int64)
    for k, table in enumerate(tables):
        name, n = os.path.basename(table.file.path), len(table.layout.cells)
        bad: list[npt.NDArray[np.int64]] = []
        mixed: list[npt.NDArray[np.int64]] = []
        for numbers, heads in _headers(table):
            expected = (numbers + table.base) & 0xFFFFFFFF
            wrong = (table.layout.cells_of(heads) < 0) | (heads["block_count"] != expected)
            bad.append(numbers[wrong] // n)
            frame, number = numbers[~wrong] // n, heads["frame_id"][~wrong].astype(np.int64)
            fresh = ids[k, frame] < 0
            ids[k, frame[fresh][::-1]] = number[fresh][::-1]  # the first block of a frame decides
            mixed.append(frame[ids[k, frame] != number])
        if (lost := np.concatenate([np.zeros(0, np.int64), *bad])).size:
            yield Problem(
                "error",
                f"{name}: the headers of {len(lost)} blocks are damaged or of other blocks, in "
                f"frames {number_ranges(np.unique(lost))}. Their pixels are filled.",
                "Copy the file again.",
            )
        if (both := np.concatenate([np.zeros(0, np.int64), *mixed])).size:
            yield Problem(
                "warning",
                f"{name}: blocks of different frame numbers are in the frames "
                f"{number_ranges(np.unique(both))}.",
                "They show more than one moment.",
            )
    most, least = ids.max(axis=0), np.where(ids < 0, 1 << 40, ids).min(axis=0)
    if (apart := np.flatnonzero((most >= 0) & (most != least))).size:
        yield Problem(
            "warning",
            f"the sectors have different frame numbers in {len(apart)} of {len(most)} frames: "
            f"{number_ranges(apart)}.",
            "Parts of these frames may not belong to the same moment.",
        )


def _headers(
    table: BlockTable,
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.void]]]:
    """Read the headers of all blocks of the frames, some thousand at a time, with their numbers."""
    n, size = len(table.layout.cells), table.layout.nbytes
    for number, byte, blocks in table.segments.tolist():
        first = max(number, table.first * n)
        last = min(number + blocks, (table.first + table.count) * n)
        for a in range(first, last, 1 << 16):
            b = min(a + (1 << 16), last)
            raw = np.zeros((b - a, HEADER.itemsize), np.uint8)
            backends.read_pieces(table.file, byte + (a - number) * size, size, raw)
            yield np.arange(a, b), raw.view(HEADER)[:, 0]


CHECKS = (_every_block,)
