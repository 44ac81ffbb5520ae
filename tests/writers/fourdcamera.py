# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw files of the 4D Camera of NCEM, versions 3 to 5."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray


def write_fourdcamera(
    folder: Path,
    frames: NDArray[Any],
    positions: Sequence[tuple[int, int]] | None = None,
    *,
    scan: tuple[int, int],
    version: int = 5,
    scan_number: int = 17,
    first_number: int = 100,
    numbers: Sequence[int] | None = None,
    files: int = 1,
    lost: Callable[[int, int], bool] = lambda module, frame: False,
    tail: bytes = b"",
) -> Path:
    """Write frames, and return the file of the first module.

    Parameters
    ----------
    folder : path
        Where the files go.
    frames : ndarray, shape (count, 576, 576)
        In the order of recording.
    positions : sequence of (int, int)
        Line of each frame, and position in the line; by default line by line.
    scan : (int, int)
        Lines, and positions of a line.
    version : int
        3: whole frames; 4: modules see 144 columns; 5: 144 rows.
    scan_number, first_number, numbers
        What the headers say.
    files : int
        Files of a module, which take turns.
    lost : callable
        Whether a module lost a frame.
    tail : bytes
        What follows the last frame of the first file.
    """
    positions = positions or [divmod(i, scan[1]) for i in range(len(frames))]
    numbers = numbers or range(first_number, first_number + len(frames))
    first = None
    for module in range(1 if version == 3 else 4):
        written: list[list[bytes]] = [[] for _ in range(files)]
        for i, frame in enumerate(frames):
            if lost(module, i):
                continue
            cut = slice(144 * module, 144 * (module + 1))
            part = {3: frame, 4: frame[:, cut], 5: frame[cut]}[version]
            line, column = positions[i]
            head = struct.pack("<IIHHHH", scan_number, numbers[i], scan[1], scan[0], column, line)
            written[i % files].append(head + part.astype("<u2").tobytes())
        for k, records in enumerate(written):
            stem = f"data_scan{scan_number:010}_"
            name = "frames.data" if version == 3 else f"id0000_module{module}_{k:04}.data"
            path = folder / f"{stem}{name}"
            path.write_bytes(b"".join(records) + (tail if first is None else b""))
            first = first or path
    assert first is not None
    return first
