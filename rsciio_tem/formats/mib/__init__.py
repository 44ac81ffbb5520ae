# SPDX-License-Identifier: GPL-3.0-or-later
"""Merlin / MerlinEM recordings (.mib with .hdr) of Quantum Detectors' Medipix3 cameras.

Sources: Quantum Detectors' file description (TDI-CTRL-TNO-0041), vendor sample files of software
0.76 to 0.77, header collections of the fpd and pyxem communities. The byte layout is written down
in ``specifications/mib.ksy`` and ``specifications/mib_hdr.md``.

A file is frames back to back: an ASCII header of comma-separated fields, whose third field is its
own length, then the pixels. Processed pixels (U08 … U64) are big-endian, the first stored row is
the bottom of the image. RAW pixels (R64) come as they leave the chips, in 64-bit big-endian words.
"""

from __future__ import annotations

import os
import re
from typing import Any, Literal, Unpack

from rsciio_tem.errors import FormatError, Problems
from rsciio_tem.formats.mib.checks import CHECKS
from rsciio_tem.formats.mib.hdr import (
    Recorded,
    announced,
    compare_counts,
    hdr_of,
    is_hdr,
    mib_of,
    parse_hdr_file,
    scan_hints,
)
from rsciio_tem.formats.mib.header import header_tree, metadata
from rsciio_tem.formats.mib.layout import describe_file
from rsciio_tem.formats.mib.members import members_around
from rsciio_tem.formats.mib.rosettasciio import (
    MIBProperties,
    complete,
    load_mib_data,
    parse_exposures,
    parse_timestamps,
    properties_of,
    warn_distributed,
)
from rsciio_tem.formats.mib.times import MerlinTimes, images_per_position, recording_times
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

__all__ = [
    "CHECKS",
    "MIBProperties",
    "file_reader",
    "load_mib_data",
    "parse",
    "parse_exposures",
    "parse_hdr_file",
    "parse_timestamps",
    "sniff",
]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Say how sure the first bytes make us that this is a Merlin recording."""
    if re.match(rb"MQ1,\s*\d+,\s*\d{1,5},", head):
        return 0.99, "begins with a Merlin frame header (MQ1)", {}
    if re.match(rb"MPX,\d{10},(HDR|MQ1)", head):
        return 0.99, "is a dump of a Merlin data stream (MPX)", {}
    if re.match(rb"(12|24)B,\s*\d+,", head):
        return 0.9, "begins with a Merlin frame header of 2015", {}
    if is_hdr(path) and head.lstrip()[:3].upper() == b"HDR":
        try:
            target = mib_of(path)
        except FormatError:
            return 0.6, "is a Merlin .hdr, but no .mib lies beside it", {}
        return 0.99, f"is the Merlin .hdr of {os.path.basename(target)}", {}
    return None


def parse(
    filename: str | os.PathLike[str],
    *,
    gap: Literal["header"] | int | None = None,
    layout: str = "auto",
    depth: int | None = None,
    layers: int | Literal["auto"] = "auto",
    single_file: bool = False,
) -> Recording:
    """Describe a Merlin recording; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    opened = files.existing(filename)
    path = opened
    if is_hdr(opened):
        parse_hdr_file(opened)
        path = mib_of(opened)
    _check_options(gap, layout, depth)

    problems = Problems()
    file = DataFile.of(path)
    described = describe_file(file, problems, gap, layout, depth)
    members = [file]
    if not single_file and described.start == 0 and described.header.sequence >= 0:
        members = members_around(file, described, problems)
    if members[0] != file:  # what is said about the whole recording is said by its first frame
        described = described.begun_by(members[0], depth)
    header, frames = described.header, described.frames(members)
    count = len(frames)

    recorded = Recorded(members, count, header.depth)
    hdr_path, hdr = hdr_of(opened, path, recorded, described.hdr, problems)
    reader = MerlinTimes(frames, header.size)
    per_position = (
        images_per_position(header, hdr, reader, problems) if layers == "auto" else int(layers)
    )
    if not 1 <= per_position <= count:
        raise ValueError(f"layers={layers!r} for a recording of {count} frames")
    if not single_file:
        compare_counts(hdr, count, per_position, problems)
    return Recording(
        format="mib",
        path=path,
        frames=frames,
        signal_axes=(Axis(), Axis()),
        hints=scan_hints(hdr, count // per_position, per_position, path),
        times=recording_times(header, reader, hdr),
        announced=min(announced(hdr), 1 << 40) // per_position,
        layers=per_position,
        layer_axis=Axis("counter"),
        metadata=metadata(header, path),
        original_metadata={
            "mib_properties": properties_of(described, path, count),
            "mib_header": header_tree(header),
            **({"hdr_file": hdr} if hdr else {}),
        },
        files=(*(f.path for f in members), *([hdr_path] if hdr_path else [])),
        problems=tuple(problems),
    )


def _check_options(gap: str | int | None, layout: str, depth: int | None) -> None:
    if gap not in (None, "header") and not (isinstance(gap, int) and 0 <= gap <= 64):
        raise ValueError(f'gap={gap!r} is neither None, "header" nor a number of pixels')
    if layout.lower() not in ("auto", "1x1", "2x2", "2x2g", "nx1", "nx1g"):
        raise ValueError(f"layout={layout!r} is none of auto, 1x1, 2x2, 2x2G, Nx1, Nx1G")
    if depth not in (None, 1, 6, 12, 24):
        raise ValueError(f"depth={depth!r} is none of 1, 6, 12, 24")


@documented
def file_reader(
    filename: str | os.PathLike[str],
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: int | tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool | None = None,
    *,
    gap: Literal["header"] | int | None = None,
    layout: str = "auto",
    depth: int | None = None,
    layers: int | Literal["auto"] = "auto",
    single_file: bool = False,
    print_info: bool = False,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a Merlin recording.

    Parameters
    ----------
    filename : str or path
        A .mib, any member of a numbered set, or the .hdr.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame
    distributed : bool, optional
        Has no effect: every lazy signal works on a cluster. Passing it gives RosettaSciIO's
        deprecation warning.
    gap : None, "header" or int
        Width in pixels of the empty cross (or columns) to put between the chips of RAW and of
        512 x 512 processed frames; "header" puts 2 pixels where the layout field ends with G.
    layout : str
        Overrides the header's chip layout of RAW frames: "1x1", "2x2", "Nx1".
    depth : {1, 6, 12, 24}, optional
        Overrides the counter depth of RAW frames.
    layers : int or "auto"
        Frames stored per scan position, one after the other: colour layers or both counters.
        They become a leading navigation axis.
    single_file : bool
        Read only this file, even if numbered siblings continue it.
    print_info : bool
        Print the properties of the recording.
    **options
        `ReadOptions`. ``flip_y`` is True by default: the first stored row is the bottom one.

    Returns
    -------
    list of one dict
        ``data`` has the shape (scan lines, scan columns, detector rows, detector columns), in
        unsigned integers of 8 bit (counter depth 1 and 6), 16 bit (12) or 32 bit (24).

    Raises
    ------
    NotThisFormat
        The file does not begin with a Merlin header.
    Truncated
        Not even one frame is complete.
    Unsupported
        Nobody has described this pixel type or chip arrangement.
    FormatError
        The frames cannot be arranged as asked.
    """
    warn_distributed(distributed)
    recording = parse(
        filename, gap=gap, layout=layout, depth=depth, layers=layers, single_file=single_file
    )
    common = lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame
    result = read(recording, *common, options=options)
    complete(result[0], print_info)
    return result
