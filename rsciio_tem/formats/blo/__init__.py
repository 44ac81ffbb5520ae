# SPDX-License-Identifier: GPL-3.0-or-later
"""Blockfiles (.blo) of NanoMegas ASTAR and DigiSTAR: scanning precession electron diffraction.

Sources: the layout that RosettaSciIO and LiberTEM agree on, and two recorded files; 16-bit files
from a published description. ``specifications/blo.ksy`` writes the layout down.

A header with a text note, an image of the scan (virtual bright field), and one record per scan
position: a mark, the number of the position, and a square diffraction pattern.
"""

from __future__ import annotations

import os
import warnings
from typing import Any, Literal, Unpack, get_args

import numpy as np

from rsciio_tem.errors import Problems, Truncated
from rsciio_tem.formats.blo.header import (
    HEADER,
    ID,
    RECORD,
    Endianness,
    bytes_per_pixel,
    read_header,
)
from rsciio_tem.formats.blo.metadata import metadata, scan_axes, scan_shape, signal_axes
from rsciio_tem.formats.blo.records import CHECKS, bright_field, in_scan_order
from rsciio_tem.formats.blo.writer import file_writer, target
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

__all__ = ["CHECKS", "file_reader", "file_writer", "parse", "sniff", "target"]

Placement = Literal["auto", "numbers", "stored"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a blockfile by its first bytes."""
    if head[: len(ID)] == ID:
        return 0.99, "begins with IMGBLO", {}
    return None


def parse(
    filename: str | os.PathLike[str],
    *,
    endianness: Endianness = "<",
    placement: Placement = "auto",
) -> Recording:
    """Describe a blockfile; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    if placement not in get_args(Placement):
        raise ValueError(f"placement={placement!r} is none of {', '.join(get_args(Placement))}")
    path = files.existing(filename)
    problems = Problems()
    header, endianness, note = read_header(path, endianness, problems)
    file = DataFile.of(path)
    itemsize = bytes_per_pixel(header, note, file.size, problems)
    edge, start = int(header["DP_SZ"]), int(header["Data_offset_2"])
    pixels = Pixels((edge, edge), np.dtype(f"{endianness}u{itemsize}"))
    stride = RECORD.itemsize + pixels.nbytes
    count, rest = divmod(file.size - start, stride)
    if count < 1:
        raise Truncated(
            path,
            f"holds {rest} bytes of patterns, one takes {stride} ({edge} x {edge} pixels of "
            f"{itemsize * 8} bits).",
        )
    shape = scan_shape(header)
    positions = int(header["NX"]) * int(header["NY"])
    if not positions:
        problems.warn(
            f"Blockfile header describes a scan of {header['NX']} x {header['NY']} positions.",
            "Pass navigation_shape=(x, y).",
        )
    elif count < positions:
        problems.warn(
            f"Blockfile header describes {positions} scan positions, the file holds {count} "
            "complete patterns" + (", and a part of one." if rest else ".")
        )
    table = FrameTable((file,), runs_of([(0, start + RECORD.itemsize, stride, count)]), pixels)
    if placement != "stored":
        every = placement == "numbers"
        table = in_scan_order(table, positions, endianness, path, problems, every)
    reason = f"NY = {header['NY']} and NX = {header['NX']} in the header"
    fields: dict[str, Any] = {name: header[name].item() for name in HEADER.names or ()}
    fields["Note"] = note.decode("latin-1").strip("\x00")
    return Recording(
        format="blo",
        path=path,
        frames=table,
        signal_axes=signal_axes(header),
        scan_axes=scan_axes(header),
        hints=(ScanHint("header", shape, 0.95, reason),) if shape else (),
        metadata=metadata(fields, path),
        original_metadata={"blockfile_header": fields},
        files=(path,),
        images=bright_field(file, header, shape),
        problems=tuple(problems),
    )


@documented
def file_reader(
    filename: str | os.PathLike[str],
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: int | tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool = False,
    *,
    endianness: Endianness = "<",
    endianess: Endianness | None = None,
    placement: Placement = "auto",
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a blockfile.

    Parameters
    ----------
    filename : str or path
        The file.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
    endianness : {"<", ">"}
        Byte order of the file; if its signature says otherwise, the signature wins.
    endianess : {"<", ">"}
        Old spelling of `endianness`.
    placement : {"auto", "numbers", "stored"}
        What decides to which position a pattern belongs. "numbers": the numbers of the records.
        "stored": nothing; patterns keep their order. "auto" is "numbers" after a look at some of
        the records of a long recording; the others are looked at together with their pixels.
    **options
        `ReadOptions`.

    Returns
    -------
    list of one dict
        The stored image of the scan becomes its navigator.

    Raises
    ------
    NotThisFormat
        The file is not a blockfile.
    Truncated
        It ends before the end of its first pattern.
    FormatError
        Its header is damaged; later, when pixels are read: a record is not the expected one.
    """
    del distributed  # nothing is left to do for it
    if endianess is not None:
        from rsciio.exceptions import VisibleDeprecationWarning

        warnings.warn(
            "`endianess` is an old spelling of `endianness`",
            VisibleDeprecationWarning,
            stacklevel=2,
        )
        endianness = endianess
    recording = parse(filename, endianness=endianness, placement=placement)
    return read(
        recording,
        *(lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame),
        options=options,
    )
