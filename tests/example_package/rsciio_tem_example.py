# SPDX-License-Identifier: GPL-3.0-or-later
"""A format that this package brings to rsciio-tem: numbered frames behind a short header.

A file begins with `HEADER`. Then come the frames, each with its number, from 1, and its pixels as
16-bit integers. Everything is little-endian.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import NotThisFormat, Problem, Truncated
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.parsing.checks import numbering
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording import Axis, Recording
from rsciio_tem.registry import Format
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage.backends import DataFile
from rsciio_tem.storage.files import existing, read_start
from rsciio_tem.writing.target import FlatFile

FORMAT = Format(
    "example",
    "Numbered frames, from another package",
    ("xmpl",),
    module=__name__,
    writes=("xmpl",),
)

MAGIC = b"EXAMPLE1"
HEADER = np.dtype(
    [
        ("magic", "S8"),  # 0
        ("rows", "<u4"),  # 8, of a frame
        ("columns", "<u4"),  # 12
        ("line", "<u4"),  # 16, frames in a line of the scan; 0 if it is none
    ]
)
NUMBER = np.dtype("<u4")  # before each frame


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise the magic."""
    return (1.0, "begins with EXAMPLE1", {}) if head.startswith(MAGIC) else None


def parse(filename: str | os.PathLike[str]) -> Recording:
    """Describe a recording."""
    path = existing(filename)
    head = read_start(path, HEADER.itemsize)
    if not head.startswith(MAGIC) or len(head) < HEADER.itemsize:
        raise NotThisFormat(path, "does not begin with EXAMPLE1.")
    header = np.frombuffer(head, HEADER)[0]
    rows, columns, line = (int(header[name]) for name in ("rows", "columns", "line"))
    pixels = Pixels((rows, columns), np.dtype("<u2"))
    file = DataFile.of(path)
    stride = NUMBER.itemsize + pixels.nbytes
    count = (file.size - HEADER.itemsize) // stride
    if not pixels.nbytes or count < 1:
        raise Truncated(path, f"holds no complete frame of {rows} x {columns} pixels.")
    hints = ()
    if line and count % line == 0:
        hints = (ScanHint("header", (count // line, line), 0.9, f"the header says {line} a line"),)
    first = HEADER.itemsize + NUMBER.itemsize
    name = os.path.basename(path)
    return Recording(
        format=FORMAT.name,
        path=path,
        frames=FrameTable((file,), runs_of([(0, first, stride, count)]), pixels),
        signal_axes=(Axis("y", "px"), Axis("x", "px")),
        hints=hints,
        metadata={
            "General": {"title": os.path.splitext(name)[0], "original_filename": name},
            "Signal": {"signal_type": ""},
        },
        original_metadata={"header": {"rows": rows, "columns": columns, "line": line}},
        files=(path,),
    )


def numbers(recording: Recording, seen: Any = None) -> Iterator[Problem]:
    """Tell frames that are missing, or stored twice."""
    del seen  # what all formats read of frame headers: there are no times here
    frames = recording.frames
    stored = np.dtype([("number", NUMBER), ("pixels", "<u2", frames.frame_shape)])
    records = np.memmap(recording.path, stored, "r", HEADER.itemsize, (recording.count,))
    yield from numbering(records["number"].astype(np.int64))


CHECKS = (numbers,)


def file_reader(
    filename: str | os.PathLike[str],
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: int | tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool = False,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a recording; the keywords are those of every reader."""
    del distributed  # every lazy signal works on a cluster
    return read(
        parse(filename),
        lazy=lazy,
        chunks=chunks,
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )


class _Target(FlatFile):
    def records(self, first: int, frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
        records = np.empty(len(frames), self.stored)
        records["number"] = np.arange(first, first + len(frames)) + 1
        records["pixels"] = frames
        return records


def target(frames: Any, path: str) -> FlatFile:
    """Return what `rsciio_tem.convert` streams frames into."""
    if frames.dtype != np.uint16:
        raise ValueError(f"pixels are {frames.dtype}; this format has uint16")
    line = frames.nav_shape[-1] if len(frames.nav_shape) > 1 else 0
    header = np.array((MAGIC, *frames.frame_shape, line), HEADER).tobytes()
    stored = np.dtype([("number", NUMBER), ("pixels", "<u2", frames.frame_shape)])
    return _Target(os.path.basename(path), header, stored, len(frames))
