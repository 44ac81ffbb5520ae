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

import datetime
import os
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, Unpack, get_args

import numpy as np

from rsciio_tem.errors import FormatError
from rsciio_tem.formats.tvips.checks import CHECKS
from rsciio_tem.formats.tvips.files import _head, _member, _numbered, _series, _table
from rsciio_tem.formats.tvips.header import (
    _ROTATOR_END,
    FRAME_V1,
    Placement,
    _frame_times,
    _headers,
    _headers_at,
    _milliseconds,
    _series_header,
    _tree,
)
from rsciio_tem.formats.tvips.placement import _Placed, _placed_by_rotator, _placed_by_scan
from rsciio_tem.formats.tvips.writer import file_writer, target
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.scan.times import Times
from rsciio_tem.storage import files

__all__ = ["CHECKS", "file_reader", "file_writer", "parse", "sniff", "target"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a recording by its series header, a later file of a series by its first one."""
    named = path.lower().endswith(".tvips")
    header = _series_header(head, os.path.getsize(path))
    if header is not None:
        marked = any(word in bytes(header["dummy"]) for word in (b"TVIPS", b"HYPERSPY"))
        if marked or named:
            return (0.99 if marked else 0.9), "begins with a TVIPS series header", {}
        return None
    own = _member(path) if named else None
    if own is not None and own[1] > 0:
        first = _numbered(path).get(0)
        if first is not None and _head(first.path) is not None:
            name = os.path.basename(first.path)
            return 0.95, f"continues the TVIPS series that begins with {name}", {}
    return None


# ---------------------------------------------------------------- description


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
    if placement not in get_args(Placement):
        raise ValueError(f"placement={placement!r} is none of {', '.join(get_args(Placement))}")
    if duplicates not in ("first", "last"):
        raise ValueError(f"duplicates={duplicates!r} is neither 'first' nor 'last'")
    if gaps not in ("auto", "blank", "previous"):
        raise ValueError(f"gaps={gaps!r} is none of auto, blank, previous")
    automatic = isinstance(scan_shape, str)
    if automatic and scan_shape != "auto":
        raise ValueError(f"scan_shape={scan_shape!r} is neither 'auto' nor a tuple")
    shape = scan_shape if isinstance(scan_shape, tuple) else None
    if automatic and placement == "auto":
        placement = "counters"

    members, header, problems = _series(files.existing(filename))
    path = members[0].path
    frames, before = _table(members, header, problems)
    count = len(frames)
    first = _headers(frames, before, 0, min(2, count))
    version = int(header["version"])

    placed: _Placed | None = None
    if placement in ("auto", "counters", "scan") and version == 2:
        placed = _placed_by_scan(frames, before, duplicates)
    if placement == "scan" and placed is None:
        raise FormatError(path, "has no scan coordinates in its frame headers.")
    if placement == "rotator" or (placement == "counters" and placed is None):
        previous = gaps == "previous" or (gaps == "auto" and automatic)
        if version == 1:
            raise FormatError(path, "is of version 1, which has no rotator index.")
        placed = _placed_by_rotator(frames, before, shape, duplicates, previous, path)
    hints: tuple[ScanHint, ...] = ()
    found = {}
    ordered = frames
    if placed is not None:
        problems.extend(placed.problems)
        ordered, found = frames[placed.index], placed.found
        hints = (ScanHint("header", placed.shape, 0.95, placed.reason),)

    scanning = False
    if before >= _ROTATOR_END:
        some = np.unique(np.linspace(0, count - 1, 33).astype(np.int64))
        scanning = len(np.unique(_headers_at(frames, before, some)["rotidx"])) > 1
    moments = _milliseconds(first)
    diffraction = version == 2 and int(first["mode"][0]) == 2
    units = "1/nm" if diffraction else "nm"
    if version == 1 and before == FRAME_V1.itemsize:
        units = ""  # nothing says whether these are images
    scale = float(header["pixelsize"])
    if not scale:  # not calibrated
        units, scale = "", 1.0
    step = float(moments[1] - moments[0]) / 1000 if count > 1 else 0.0
    if step <= 0 < count - 1:  # times come in steps of 1 ms, several frames may share one
        last = _headers_at(frames, before, np.array([count - 1]))
        step = float(_milliseconds(last)[0] - moments[0]) / 1000 / (count - 1)
    origin = float(moments[0]) / 1000
    # without times there is no calibration, only an order
    time = Axis("time", "s", step, origin) if step > 0 else Axis("time", "", 1.0, 0.0)

    def times_of(table: FrameTable) -> Times:
        return Times(
            len(table),
            partial(_frame_times, table, before),
            resolution_ns=2_000_000,
            # a camera without a scan runs on its own clock
            external_trigger=None if scanning else False,
        )

    return Recording(
        format="tvips",
        path=path,
        frames=ordered,
        signal_axes=(
            Axis("dy", units, scale, float(header["offsety"])),
            Axis("dx", units, scale, float(header["offsetx"])),
        ),
        # nothing says how far apart scan positions are
        scan_axes=(Axis("y", "nm"), Axis("x", "nm")),
        stack_axis=time,
        hints=hints,
        times=times_of(ordered),
        stored_times=None if placed is None else times_of(frames),
        metadata=_metadata(header, first[0], path, version, diffraction),
        original_metadata={
            "tvips_header": _tree(header),
            "tvips_first_frame": _tree(first[0], before),
            **({"tvips_scan": found} if found else {}),
        },
        files=tuple(file.path for file in members),
        problems=tuple(problems),
    )


def _metadata(
    header: np.void, first: np.void, path: str, version: int, diffraction: bool
) -> dict[str, Any]:
    """Translate what the headers say."""
    name = os.path.basename(path)
    general: dict[str, Any] = {
        "title": os.path.splitext(name)[0],
        "original_filename": name,
    }
    if first["timestamp"]:
        moment = datetime.datetime.fromtimestamp(int(first["timestamp"]), datetime.UTC)
        general["date"] = moment.date().isoformat()
        general["time"] = moment.time().isoformat()
        general["time_zone"] = "UTC"
    tem: dict[str, Any] = {"beam_energy": int(header["ht"])}
    tem["camera_length" if diffraction else "magnification"] = int(header["magtotal"])
    if version == 2:
        tem["beam_current"] = float(first["faraday"])
        tem["Stage"] = {
            "tilt_alpha": float(first["stage_alpha"]),
            "tilt_beta": float(first["stage_beta"]),
            **{f"{a}": float(first[f"stage_{a}"]) for a in "xyz"},
            **{f"{a}_units": "nm" for a in "xyz"},
        }
    return {
        "General": general,
        "Signal": {"signal_type": "diffraction" if diffraction else ""},
        "Acquisition_instrument": {"TEM": tem},
    }


# ---------------------------------------------------------------- reader


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
        As in every reader, see ``docs/parameters.md``.
    scan_shape : tuple of int or "auto"
        As in `rsciio.tvips`: another name for ``nav_shape`` (y, x). "auto" finds it by the scan
        coordinates in the frame headers, or else a square by the rotator index.
    scan_start_frame : int
        As in `rsciio.tvips`: another name for ``first_frame``. Ignored with ``"auto"``.
    rechunking : "auto", False or chunks
        As in `rsciio.tvips`: another name for ``chunks``; False means "auto".
    placement : {"auto", "scan", "rotator", "stored"}
        What tells which position a frame belongs to. "scan": the scan coordinates in the frame
        headers. "rotator": the rotator index, with a shape of yours. "stored": nothing, frames
        are taken as they come. "auto" uses the scan coordinates where they describe a scan and
        you ask for no other frames or shape.
    duplicates : {"first", "last"}
        Which frame counts if several were recorded at a position.
    gaps : {"auto", "blank", "previous"}
        What becomes of positions without a frame: blank, or the frame before, as RosettaSciIO
        does. "auto" is "previous" with ``scan_shape="auto"`` and "blank" otherwise.
    **options
        `ReadOptions`, among them winding_scan_axis and hysteresis.

    Returns
    -------
    list of one dict

    Raises
    ------
    NotThisFormat, Unsupported
        The file is no TVIPS recording of version 1 or 2.
    Truncated
        It ends before its first frame does.
    FormatError
        The first file of the series is missing, or no scan is found as asked.
    """
    del distributed  # nothing is left to do for it
    name = os.fspath(filename)
    own: dict[str, Any] = dict(options)
    if scan_shape is not None and not isinstance(scan_shape, str):
        scan_shape = tuple(int(n) for n in np.atleast_1d(scan_shape).tolist())
    if scan_shape is not None:
        if navigation_shape is not None or own.get("nav_shape") is not None:
            raise TypeError(
                "pass either navigation_shape (HyperSpy order: x, y) or nav_shape (array order: "
                "y, x); scan_shape is another name for nav_shape"
            )
        if not isinstance(scan_shape, str):
            own["nav_shape"] = scan_shape
    if scan_start_frame is not None and scan_shape != "auto":
        if first_frame is not None and scan_start_frame:
            raise TypeError("pass either first_frame or scan_start_frame")
        first_frame = scan_start_frame or first_frame
    asked = own.get("nav_shape")
    shape: tuple[int, ...] | None = None
    if asked is not None:
        shape = tuple(int(n) for n in np.atleast_1d(asked).tolist())
    elif isinstance(navigation_shape, (tuple, int, np.integer)):
        shape = tuple(int(n) for n in np.atleast_1d(navigation_shape).tolist())[::-1]

    describe = partial(parse, name, duplicates=duplicates, gaps=gaps)
    selects = first_frame is not None or last_frame is not None or bool(own.get("sync_offset"))
    other_rule = own.get("scan", "auto") not in (None, "auto", "header")
    if placement == "auto" and scan_shape != "auto" and (selects or other_rule):
        recording = describe(placement="stored")
    elif placement == "rotator":
        recording = describe(placement=placement, scan_shape=scan_shape if shape is None else shape)
    else:
        recording = describe(
            placement=placement, scan_shape=scan_shape if isinstance(scan_shape, str) else None
        )
        if placement == "auto" and shape and not _fits(shape, recording):
            recording = describe(placement="stored")
    if placement == "scan" and shape and not _fits(shape, recording):
        raise FormatError(
            recording.path,
            "the scan coordinates in the frame headers describe a scan of "
            f"{recording.hints[0].shape}, not {shape} (array order).",
            'Pass placement="stored" to arrange the frames as they come.',
        )
    return read(
        recording,
        lazy=lazy,
        chunks=_chunks(chunks, rechunking),
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=own,
    )


def _fits(shape: tuple[int, ...], recording: Recording) -> bool:
    """Whether a shape, -1 standing for any size, is the one that the recording describes."""
    found = recording.hints[0].shape if recording.hints else ()
    return len(shape) == len(found) and all(a in (-1, b) for a, b in zip(shape, found, strict=True))


def _chunks(chunks: Any, rechunking: Any) -> Any:
    """Combine `chunks` with RosettaSciIO's name for it."""
    if rechunking is None or isinstance(rechunking, bool) or rechunking == "auto":
        return chunks
    if not (isinstance(chunks, str) and chunks == "auto"):
        raise TypeError("pass either chunks or rechunking")
    if isinstance(rechunking, Mapping):
        return {axis: -1 if size is None else size for axis, size in rechunking.items()}
    return rechunking
