# SPDX-License-Identifier: GPL-3.0-or-later
"""TVIPS recordings (EMMENU, TemCam cameras): movies and 4D-STEM, one file or a numbered series.

Sources: the layouts that RosettaSciIO, LiberTEM and two published converters agree on, and files
written by RosettaSciIO. ``specifications/tvips.ksy`` writes the layout down.

A series is ``NAME_000.tvips``, ``NAME_001.tvips``, …; only the first file begins with the series
header. Every frame is a frame header followed by its pixels; no frame spans two files. The camera
runs on its own clock: frames are recorded before, between and after the positions of a scan. Two
counters in the frame headers of version 2 tell which position a frame belongs to: the scan
coordinates where the header is long enough, and the rotator index.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Unpack, get_args

import numpy as np

from rsciio_tem.errors import FormatError
from rsciio_tem.formats.tvips.checks import CHECKS
from rsciio_tem.formats.tvips.files import frame_table, header_of, member_of, numbered, series
from rsciio_tem.formats.tvips.header import (
    ROTATOR_END,
    Placement,
    fields_of,
    frame_times,
    frame_times_at,
    read_frame_headers,
    read_frame_headers_at,
    series_header,
)
from rsciio_tem.formats.tvips.keywords import (
    Shape,
    merged_chunks,
    merged_first_frame,
    merged_shape,
)
from rsciio_tem.formats.tvips.metadata import metadata, signal_axes, time_axis
from rsciio_tem.formats.tvips.placement import Arrangement, by_rotator, by_scan
from rsciio_tem.formats.tvips.writer import file_writer, target
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.frame_headers import sampled
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.scan.times import Times
from rsciio_tem.storage import files

__all__ = ["CHECKS", "file_reader", "file_writer", "parse", "sniff", "target"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a recording by its series header, a later file of a series by its first one."""
    named = path.lower().endswith(".tvips")
    header = series_header(head, files.bytes_of(path))
    if header is not None:
        marked = any(word in bytes(header["dummy"]) for word in (b"TVIPS", b"HYPERSPY"))
        if marked or named:
            return (0.99 if marked else 0.9), "begins with a TVIPS series header", {}
        return None
    member = member_of(path) if named else None
    if member is not None and member[1] > 0:
        first = numbered(path).get(0)
        if first is not None and header_of(first.path) is not None:
            name = os.path.basename(first.path)
            return 0.95, f"continues the TVIPS series that begins with {name}", {}
    return None


def parse(
    filename: str | os.PathLike[str],
    *,
    placement: Placement = "auto",
    scan_shape: tuple[int, ...] | str | None = None,
    duplicates: Literal["first", "last"] = "first",
    gaps: Literal["auto", "blank", "previous"] = "auto",
) -> Recording:
    """Describe a TVIPS recording; parameters as in `file_reader`.

    `scan_shape` is needed only to place frames by their rotator index.

    Returns
    -------
    Recording
    """
    _check_values(placement, duplicates, gaps, scan_shape)
    members, header, problems = series(files.existing(filename))
    path = members[0].path
    frames, before = frame_table(members, header, problems)
    first = read_frame_headers(frames, before, 0, min(2, len(frames)))
    scan = _arrangement(frames, before, header, placement, scan_shape, duplicates, gaps)
    ordered = frames if scan is None else scan.of(frames)
    problems.extend(() if scan is None else scan.problems)

    scanning = False
    if before >= ROTATOR_END:
        some = read_frame_headers_at(frames, before, sampled(len(frames), 33))
        scanning = len(np.unique(some["rotidx"])) > 1

    def times_of(table: FrameTable) -> Times:
        return Times(
            len(table),
            partial(frame_times, table, before),
            at=partial(frame_times_at, table, before),
            resolution_ns=2_000_000,
            remote=table.files[0].origin is not None,
            # a camera without a scan runs on its own clock
            external_trigger=None if scanning else False,
        )

    return Recording(
        format="tvips",
        path=path,
        frames=ordered,
        signal_axes=signal_axes(header, first[0], before),
        # nothing says how far apart scan positions are
        scan_axes=(Axis("y"), Axis("x")),
        stack_axis=time_axis(frames, before, first),
        hints=()
        if scan is None
        else (ScanHint("header", scan.shape, 0.95, scan.reason, exact=True),),
        times=times_of(ordered),
        stored_times=None if scan is None else times_of(frames),
        metadata=metadata(header, first[0], path),
        original_metadata={
            "tvips_header": fields_of(header),
            "tvips_first_frame": fields_of(first[0], before),
            **({} if scan is None else {"tvips_scan": scan.counted}),
        },
        files=tuple(file.path for file in members),
        problems=tuple(problems),
    )


def _check_values(placement: str, duplicates: str, gaps: str, scan_shape: Any) -> None:
    if placement not in get_args(Placement):
        raise ValueError(f"placement={placement!r} is none of {', '.join(get_args(Placement))}")
    if duplicates not in ("first", "last"):
        raise ValueError(f"duplicates={duplicates!r} is neither 'first' nor 'last'")
    if gaps not in ("auto", "blank", "previous"):
        raise ValueError(f"gaps={gaps!r} is none of auto, blank, previous")
    if isinstance(scan_shape, str) and scan_shape != "auto":
        raise ValueError(f"scan_shape={scan_shape!r} is neither 'auto' nor a tuple")


def _arrangement(
    frames: FrameTable,
    before: int,
    header: np.void,
    placement: Placement,
    scan_shape: Shape | str | None,
    duplicates: Literal["first", "last"],
    gaps: str,
) -> Arrangement | None:
    """Put frames where their counters say, None if they are to be taken as they come."""
    path, version = frames.files[0].path, int(header["version"])
    automatic = scan_shape == "auto"
    if automatic and placement == "auto":
        placement = "counters"
    scan: Arrangement | None = None
    if placement in ("auto", "counters", "scan") and version == 2:
        scan = by_scan(frames, before, duplicates, every=placement == "scan")
    if placement == "scan" and scan is None:
        raise FormatError(path, "has no scan coordinates in its frame headers.")
    if placement == "rotator" or (placement == "counters" and scan is None):
        if version == 1:
            raise FormatError(path, "is of version 1, which has no rotator index.")
        previous = gaps == "previous" or (gaps == "auto" and automatic)
        shape = scan_shape if isinstance(scan_shape, tuple) else None
        scan = by_rotator(frames, before, shape, duplicates, previous, path)
    return scan


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
    scan_shape: Any = None,
    scan_start_frame: int | None = None,
    rechunking: Any = "auto",
    placement: Placement = "auto",
    duplicates: Literal["first", "last"] = "first",
    gaps: Literal["auto", "blank", "previous"] = "auto",
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a TVIPS recording.

    Parameters
    ----------
    filename : str or path
        Any file of the series.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
    scan_shape : tuple of int or "auto"
        As in `rsciio.tvips`: another name for ``nav_shape`` (y, x). "auto" finds it from the scan
        coordinates in the frame headers, or otherwise assumes a square from the rotator index.
    scan_start_frame : int
        As in `rsciio.tvips`: another name for ``first_frame``. Ignored with ``"auto"``.
    rechunking : "auto", False or chunks
        As in `rsciio.tvips`: another name for ``chunks``; False means "auto".
    placement : {"auto", "scan", "rotator", "stored"}
        What decides to which position a frame belongs. "scan": the scan coordinates in the frame
        headers, all of which are read. "rotator": the rotator index, with a shape that you pass.
        "stored": nothing; frames keep their order. "auto" uses the scan coordinates if they
        describe a scan and you ask for no other frames or shape; of a long recording whose frames
        simply follow each other, some headers are read, and the others together with the pixels.
    duplicates : {"first", "last"}
        Which frame counts if several were recorded at one position.
    gaps : {"auto", "blank", "previous"}
        What happens to positions without a frame: blank, or a copy of the frame before, as in
        RosettaSciIO. "auto" is "previous" with ``scan_shape="auto"`` and "blank" otherwise.
    **options
        `ReadOptions`, including winding_scan_axis and hysteresis.

    Returns
    -------
    list of one dict

    Raises
    ------
    NotThisFormat, Unsupported
        The file is not a TVIPS recording of version 1 or 2.
    Truncated
        It ends before the end of its first frame.
    FormatError
        The first file of the series is missing, or the requested scan is not found.
    """
    del distributed  # nothing is left to do for it
    if scan_shape is not None and not isinstance(scan_shape, str):
        scan_shape = tuple(int(n) for n in np.atleast_1d(scan_shape).tolist())
    merged, shape = merged_shape(scan_shape, navigation_shape, options)
    first_frame = merged_first_frame(scan_start_frame, scan_shape, first_frame)
    chunks = merged_chunks(chunks, rechunking)
    describe = partial(parse, os.fspath(filename), duplicates=duplicates, gaps=gaps)
    selects = first_frame is not None or last_frame is not None or bool(merged.get("sync_offset"))
    other_rule = merged.get("scan", "auto") not in (None, "auto", "header")
    if placement == "auto" and scan_shape != "auto" and (selects or other_rule):
        placement = "stored"
    recording = _described(describe, placement, scan_shape, shape)
    return read(
        recording,
        *(lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame),
        options=merged,
    )


def _described(
    describe: Callable[..., Recording], placement: Placement, scan_shape: Any, shape: Shape | None
) -> Recording:
    """Describe a recording so that its frames fit the shape that is wanted, if there is one."""
    if placement == "rotator":
        return describe(placement=placement, scan_shape=scan_shape if shape is None else shape)
    recording = describe(
        placement=placement, scan_shape=scan_shape if isinstance(scan_shape, str) else None
    )
    if not shape or placement not in ("auto", "scan") or _fits(shape, recording):
        return recording
    if placement == "auto":
        return describe(placement="stored")
    raise FormatError(
        recording.path,
        "the scan coordinates in the frame headers describe a scan of "
        f"{recording.hints[0].shape}, not {shape} (array order).",
        'Pass placement="stored" to arrange the frames as they come.',
    )


def _fits(shape: Shape, recording: Recording) -> bool:
    """Whether a shape, -1 standing for any size, is the one that the recording describes."""
    scan = recording.hints[0].shape if recording.hints else ()
    return len(shape) == len(scan) and all(a in (-1, b) for a, b in zip(shape, scan, strict=True))
