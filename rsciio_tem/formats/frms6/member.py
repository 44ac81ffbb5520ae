# SPDX-License-Identifier: GPL-3.0-or-later
"""One .frms6 file: where its complete frames are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rsciio_tem.errors import Problems
from rsciio_tem.formats.frms6.header import FRAME, HEADER, Records, read_file_header, records
from rsciio_tem.scan.times import Ints
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import DataFile

#: Rows that no such sensor exceeds.
_LIMIT = 512

#: Frame headers that are looked at when a recording is described.
SAMPLED_HEADERS = 512

#: First of the stored rows, and their number.
Window = tuple[int, int]


class Run(NamedTuple):
    """Frames of the same window that follow each other."""

    start: int  # byte of the first frame header
    stride: int  # bytes from frame to frame
    frames: int
    window: Window

    @property
    def end(self) -> int:
        """Byte behind the last frame."""
        return self.start + self.frames * self.stride


@dataclass(frozen=True)
class Member:
    """One .frms6 file: its header, and where its complete frames are."""

    file: DataFile
    header: np.void
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """Name of the file."""
        return os.path.basename(self.file.path)

    @property
    def count(self) -> int:
        """Frames that are complete."""
        return sum(run.frames for run in self.runs)

    @property
    def announced(self) -> int:
        """Frames that the header counts, 0 if it does not."""
        return int(self.header["num_frames"])

    @property
    def lack(self) -> int:
        """Frames that should be there too."""
        return max(0, self.announced - self.count)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns that frames have at most."""
        return int(self.header["max_height"]), int(self.header["width"])


def describe_member(file: DataFile, samples: int, problems: Problems) -> Member:
    """Locate the frames of a file; of many, only `samples` headers are read."""
    header = read_file_header(file)
    name, announced = os.path.basename(file.path), int(header["num_frames"])
    rows, row_bytes = int(header["max_height"]), 2 * int(header["width"])
    size = file.size - HEADER.itemsize

    def evenly(window: Window) -> Run:
        stride = FRAME.itemsize + window[1] * row_bytes
        return Run(HEADER.itemsize, stride, min(size // stride, announced or size), window)

    first = _read(file, HEADER.itemsize, 0, 1)[0]
    window = int(first["the_start"]), int(first["the_height"])
    run = evenly(window if window[1] else (0, rows))
    # a window of all the rows that the header names may begin anywhere: these are not the sensor's
    highest = rows if window[1] < rows else max(rows, _LIMIT)
    runs, sound = [run], True
    fits = window[1] <= rows and sum(window) <= highest
    if not fits or (run.frames and not _alike(file, run, window, samples, problems)):
        runs, sound = _walk(file, row_bytes, rows, announced)
        full = evenly((0, rows))
        if not sound and size == full.stride * (announced or size // full.stride):
            message = f"{name}: frame headers name other numbers of rows than {rows}, but the file"
            problems.warn(f"{message} has the size of full frames, and is read as such.")
            runs = [full]
    member = Member(file, header, tuple(run for run in runs if run.frames))
    _tell_ends(member, sound, problems)
    return member


def _read(file: DataFile, start: int, stride: int, count: int) -> Records:
    """Read frame headers; those beyond the end of the file are zero."""
    raw = np.zeros((count, FRAME.itemsize), np.uint8)
    backends.read_pieces(file, start, stride, raw, keep=True)
    return records(raw)


def _alike(file: DataFile, run: Run, window: Window, samples: int, problems: Problems) -> bool:
    """Whether some headers have the window of the first; lost frames are told."""
    step = -(-run.frames // samples)
    index = np.append(np.arange(0, run.frames, step), run.frames - 1)
    spread = _read(file, run.start, run.stride * step, len(index) - 1)
    heads = np.append(spread, _read(file, run.end - run.stride, 0, 1))
    if not ((heads["the_start"] == window[0]) & (heads["the_height"] == window[1])).all():
        return False
    if lost := _lost(index, heads):
        name = os.path.basename(file.path)
        message = f"{name}: {lost} frames are missing by the numbers in the frame headers"
        problems.warn(f"{message}, {run.frames} are there.", "They are not filled in.", "number")
    return True


def _lost(index: Ints, heads: Records) -> int:
    """Return how many frames the numbers in the headers leave out; 0 if these count otherwise."""
    ahead = heads["index"].astype(np.int64) - index
    lost = int(ahead[-1] - ahead[0])
    return lost if (np.diff(ahead) >= 0).all() and 0 < lost <= index[-1] else 0


def _tell_ends(member: Member, sound: bool, problems: Problems) -> None:
    """Tell frames that are not there, and bytes that are not a frame."""
    announced = member.announced
    end = max((run.end for run in member.runs), default=HEADER.itemsize)
    beyond = member.file.size - end
    if member.lack:
        message = f"holds {member.count} of the {announced} frames it announces"
    elif member.count and beyond > 0:
        behind = f"the {announced} it announces" if announced else "its last complete frame"
        message = f"goes on for {beyond} bytes behind {behind}, unread"
    else:
        return
    damaged = "" if sound or beyond <= 0 else f"; behind them, at byte {end}, there is no header"
    problems.warn(f"{member.name} {message}{damaged}.")


def _walk(file: DataFile, row_bytes: int, most: int, announced: int) -> tuple[list[Run], bool]:
    """Go from frame to frame, as their sizes differ; tells whether all headers were sound."""
    runs: list[Run] = []
    at, remaining, ahead = HEADER.itemsize, announced or file.size, 1
    while remaining and at + FRAME.itemsize <= file.size:
        head = _read(file, at, 0, 1)[0]
        window = int(head["the_start"]), int(head["the_height"])
        if not window[1] or sum(window) > most:
            return runs, False
        stride = FRAME.itemsize + window[1] * row_bytes
        n = min(ahead, remaining, (file.size - at) // stride)
        if n < 1:  # the last frame is cut
            break
        heads = _read(file, at, stride, n)
        same = (heads["the_start"] == window[0]) & (heads["the_height"] == window[1])
        n = n if same.all() else int(np.argmin(same))
        ahead = min(2 * n, SAMPLED_HEADERS)  # frames expected to be like these
        if runs and runs[-1].window == window:
            runs[-1] = runs[-1]._replace(frames=runs[-1].frames + n)
        else:
            runs.append(Run(at, stride, n, window))
        at, remaining = at + n * stride, remaining - n
    return runs, True
