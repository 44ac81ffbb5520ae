# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of file and frames, and where frames are in each file."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Problems, Truncated, Unsupported
from rsciio_tem.storage import backends, files
from rsciio_tem.storage.backends import DataFile

Ints = npt.NDArray[np.int64]


Records = npt.NDArray[np.void]


#: File header, little-endian.
HEADER = np.dtype(
    [
        ("my_length", "<u2"),  # 0: bytes of this header, 1024
        ("frame_header_length", "<u2"),  # 2: bytes of a frame header, 64
        ("n_ccds", "u1"),  # 4: sensors that are read out
        ("width8", "u1"),  # 5: width in older versions
        ("max_height8", "u1"),  # 6: height in older versions
        ("version", "u1"),  # 7: 6
        ("dataset_id", "S80"),  # 8: text
        ("width", "<u2"),  # 88: stored columns, those of both halves
        ("max_height", "<u2"),  # 90: most rows that a frame has
        ("fill", "V928"),  # 92: unused
        ("num_frames", "<u4"),  # 1020: frames in this file; 0 in older files
    ]
)


#: What comes before the pixels of each frame.
FRAME = np.dtype(
    [
        ("start", "u1"),  # 0: as the_start, in older versions
        ("info", "u1"),  # 1: flags
        ("ccd_id", "u1"),  # 2: sensor
        ("height8", "u1"),  # 3: height in older versions
        ("tv_sec", "<u4"),  # 4: s since 1970-01-01 UTC
        ("tv_usec", "<u4"),  # 8: µs to add
        ("index", "<u4"),  # 12: number of the frame
        ("temperature", "<f8"),  # 16: voltage of the temperature sensor
        ("the_start", "<u2"),  # 24: first row of the window
        ("the_height", "<u2"),  # 26: rows of this frame
        ("external_id", "<u4"),  # 28: number given from outside
        ("bunch_id", "<u8"),  # 32: number of the X-ray pulse
        ("fill", "V24"),  # 40: unused
    ]
)


#: The first bytes of a file: both header lengths.
START = b"\x00\x04\x40\x00"


VERSION = 6


#: Stored rows and columns of the camera when nothing is binned.
SENSOR = 132, 528


#: Rows that no such sensor exceeds.
_LIMIT = 512


#: Frame headers that are looked at when a recording is described.
_SAMPLES = 512


#: First of the stored rows, and their number.
Window = tuple[int, int]


#: Byte of the first frame header, bytes from frame to frame, frames, window.
Run = tuple[int, int, int, Window]


# ---------------------------------------------------------------- one file


def _file_header(file: DataFile) -> np.void:
    """Read and check the header of a .frms6 file."""
    content = files.read_start(file.path, HEADER.itemsize)
    if content[:4] != START[: len(content)]:
        raise NotThisFormat(file.path, f"is no FRMS6 file: it begins with {content[:4].hex(' ')}.")
    if len(content) < HEADER.itemsize:
        raise Truncated(file.path, f"ends inside its header, after {len(content)} bytes.")
    header: np.void = np.frombuffer(content, HEADER, 1)[0]
    if header["version"] != VERSION:
        raise Unsupported(file.path, f"has FRMS version {header['version']}; only 6 is known.")
    rows, columns = int(header["max_height"]), int(header["width"])
    if not rows or not columns or columns % 2:
        shape = f"frames of {rows} rows and {columns} columns, which are no two halves"
        raise FormatError(file.path, f"has a damaged header: {shape}.")
    return header


@dataclass(frozen=True)
class _Member:
    """One .frms6 file: its header, and where its complete frames are."""

    file: DataFile
    header: np.void
    runs: tuple[Run, ...]

    @property
    def count(self) -> int:
        """Frames that are complete."""
        return sum(run[2] for run in self.runs)

    @property
    def lack(self) -> int:
        """Frames that should be there too."""
        return max(0, int(self.header["num_frames"]) - self.count)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns that frames have at most."""
        return int(self.header["max_height"]), int(self.header["width"])


def _records(raw: npt.NDArray[np.uint8]) -> Records:
    return np.ascontiguousarray(raw).view(FRAME)[:, 0]


def _pieces(file: DataFile, start: int, stride: int, count: int) -> Records:
    raw = np.zeros((count, FRAME.itemsize), np.uint8)
    backends.read_pieces(file, start, stride, raw)
    return _records(raw)


def _member(file: DataFile, samples: int, problems: Problems) -> _Member:
    """Locate the frames of a file; of many, only `samples` headers are read."""
    header = _file_header(file)
    name, announced = os.path.basename(file.path), int(header["num_frames"])
    rows, row_bytes = int(header["max_height"]), 2 * int(header["width"])
    begin, size = HEADER.itemsize, file.size - HEADER.itemsize

    def evenly(window: Window) -> Run:
        stride = FRAME.itemsize + window[1] * row_bytes
        return begin, stride, min(size // stride, announced or size), window

    first = _pieces(file, begin, 0, 1)[0]
    window = (int(first["the_start"]), int(first["the_height"]))
    run = evenly(window if window[1] else (0, rows))
    # a window of all the rows that the header names may begin anywhere: these are not the sensor's
    highest = rows if window[1] < rows else max(rows, _LIMIT)
    sound, alike = True, window[1] <= rows and sum(window) <= highest
    if alike and run[2]:
        _, stride, n, _ = run
        step = -(-n // samples)
        index = np.append(np.arange(0, n, step), n - 1)
        spread = _pieces(file, begin, stride * step, len(index) - 1)
        found = np.append(spread, _pieces(file, begin + (n - 1) * stride, 0, 1))
        alike = bool(((found["the_start"] == window[0]) & (found["the_height"] == window[1])).all())
        if alike and (lost := _lost(index, found)):
            message = f"{name}: {lost} frames are missing by the numbers in the frame headers"
            text, hint = f"{message}, {run[2]} are there.", "They are not filled in."
            problems.append(Problem("warning", text, hint, "number"))
    runs = [run]
    if not alike:
        runs, sound = _walk(file, row_bytes, rows, announced)
        run = evenly((0, rows))
        if not sound and size == run[1] * (announced or size // run[1]):
            message = f"{name}: frame headers name other numbers of rows than {rows}, but the file"
            problems.warn(f"{message} has the size of full frames, and is read so.")
            runs = [run]
    member = _Member(file, header, tuple(run for run in runs if run[2]))
    end = max((at + n * stride for at, stride, n, _ in member.runs), default=begin)
    damaged = "" if sound or end >= file.size else f"; behind them, at byte {end}, is no header"
    message = ""
    if member.lack:
        message = f"holds {member.count} of the {announced} frames it announces"
    elif member.count and end < file.size:
        behind = f"the {announced} it announces" if announced else "its last complete frame"
        message = f"goes on for {file.size - end} bytes behind {behind}, unread"
    if message:
        problems.warn(f"{name} {message}{damaged}.")
    return member


def _lost(index: Ints, found: Records) -> int:
    """Return how many frames the numbers in the headers leave out; 0 if these count otherwise."""
    ahead = found["index"].astype(np.int64) - index
    lost = int(ahead[-1] - ahead[0])
    return lost if (np.diff(ahead) >= 0).all() and 0 < lost <= index[-1] else 0


def _walk(file: DataFile, row_bytes: int, most: int, announced: int) -> tuple[list[Run], bool]:
    """Go from frame to frame, as their sizes differ; tells whether all headers were sound."""
    runs: list[Run] = []
    at, left, ahead = HEADER.itemsize, announced or file.size, 1
    while left and at + FRAME.itemsize <= file.size:
        one = _pieces(file, at, 0, 1)[0]
        window = int(one["the_start"]), int(one["the_height"])
        if not window[1] or sum(window) > most:
            return runs, False
        stride = FRAME.itemsize + window[1] * row_bytes
        n = min(ahead, left, (file.size - at) // stride)
        if n < 1:  # the last frame is cut
            break
        like = _pieces(file, at, stride, n)
        same = (like["the_start"] == window[0]) & (like["the_height"] == window[1])
        n = n if same.all() else int(np.argmin(same))
        ahead = min(2 * n, _SAMPLES)  # frames expected to be like these
        if runs and runs[-1][3] == window:
            runs[-1] = (runs[-1][0], stride, runs[-1][2] + n, window)
        else:
            runs.append((at, stride, n, window))
        at, left = at + n * stride, left - n
    return runs, True
