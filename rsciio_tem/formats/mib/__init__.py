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

import logging
import math
import os
import re
from dataclasses import replace
from typing import Any, Literal, Unpack

import numpy as np

from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Truncated
from rsciio_tem.formats.mib.checks import CHECKS
from rsciio_tem.formats.mib.files import (
    _external_trigger,
    _hdr_hints,
    _members,
    _mib_of,
    parse_hdr_file,
)
from rsciio_tem.formats.mib.header import _HEAD, Header, MerlinTimes, _header_tree, parse_header
from rsciio_tem.formats.mib.layout import _describe
from rsciio_tem.formats.mib.rosettasciio import (
    MIBProperties,
    _properties,
    _warn_distributed,
    load_mib_data,
    parse_exposures,
    parse_timestamps,
)
from rsciio_tem.frames.table import RUN, FrameTable
from rsciio_tem.parsing.text import value_of
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan import times
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

_logger = logging.getLogger(__name__)


# ---------------------------------------------------------------- recording


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Say how sure the first bytes make us that this is a Merlin recording."""
    if re.match(rb"MQ1,\s*\d+,\s*\d{1,5},", head):
        return 0.99, "begins with a Merlin frame header (MQ1)", {}
    if re.match(rb"MPX,\d{10},(HDR|MQ1)", head):
        return 0.99, "is a dump of a Merlin data stream (MPX)", {}
    if re.match(rb"(12|24)B,\s*\d+,", head):
        return 0.9, "begins with a Merlin frame header of 2015", {}
    if path.lower().endswith(".hdr") and head.lstrip()[:3].upper() == b"HDR":
        try:
            target = _mib_of(path)
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
    """Describe a Merlin recording; reads headers only.

    Parameters
    ----------
    filename : str or path
        A .mib, any member of a numbered set, or the .hdr.
    gap, layout, depth, layers, single_file
        As in `file_reader`.

    Returns
    -------
    Recording

    Raises
    ------
    FormatError
        See `file_reader`.
    """
    asked = files.existing(filename)
    path = asked
    if asked.lower().endswith(".hdr"):
        parse_hdr_file(asked)
        path = _mib_of(asked)
    if gap not in (None, "header") and not (isinstance(gap, int) and 0 <= gap <= 64):
        raise ValueError(f'gap={gap!r} is neither None, "header" nor a number of pixels')
    if layout.lower() not in ("auto", "1x1", "2x2", "2x2g", "nx1", "nx1g"):
        raise ValueError(f"layout={layout!r} is none of auto, 1x1, 2x2, 2x2G, Nx1, Nx1G")
    if depth not in (None, 1, 6, 12, 24):
        raise ValueError(f"depth={depth!r} is none of 1, 6, 12, 24")
    file = DataFile.of(path)
    with open(path, "rb") as stream:

        def peek(offset: int, n: int) -> bytes:
            stream.seek(offset)
            return stream.read(n)

        head = peek(0, _HEAD)
        if not head:
            raise Truncated(path, "is empty.")
        described = _describe(head, file.size, path, peek, gap=gap, layout=layout, depth=depth)
    header, problems = described.header, list(described.problems)
    members = [file]
    if not single_file and described.start == 0 and header.sequence >= 0:
        members, more = _members(file, described)
        problems += more
    if members[0] != file:  # what is said about the whole recording is said by its first frame
        header = parse_header(files.read_start(members[0].path, _HEAD), members[0].path)
        header = header if depth is None else replace(header, depth=depth)
        described = replace(described, header=header)
    counts = [
        described.count if f is file or f == file else f.size // described.stride for f in members
    ]
    rows = np.zeros(len(members), RUN)
    rows["file"] = np.arange(len(members))
    rows["start"] = described.start + header.size
    rows["stride"] = described.stride
    rows["count"] = counts
    frames = FrameTable(tuple(members), rows, described.pixels)

    hdr_path: str | None = asked
    if not asked.lower().endswith(".hdr"):
        hdr_path = files.side_file(path, (".hdr",)) or files.side_file(members[0].path, (".hdr",))
    hdr = described.hdr
    if hdr is None and hdr_path is not None:
        try:
            hdr = parse_hdr_file(hdr_path)
        except NotThisFormat as error:
            hdr_path = None
            problems.append(Problem("info", f"side file ignored: {error}"))
    reader = MerlinTimes(frames, header.size)
    count = len(frames)
    n_layers = _layers(header, hdr, reader, count, problems) if layers == "auto" else int(layers)
    if not 1 <= n_layers <= count:
        raise ValueError(f"layers={layers!r} for a recording of {count} frames")
    mib_times = times.Times(
        count,
        reader,
        # of MQ1A, of the local time, of the headers of 2015
        resolution_ns=100 if header.utc else 2000 if "." in header.local_time[-7:-6] else 1_000_000,
        external_trigger=_external_trigger(hdr),
    )
    return Recording(
        format="mib",
        path=path,
        frames=frames,
        signal_axes=(Axis(), Axis()),
        hints=tuple(_hdr_hints(hdr or {}, count // n_layers, n_layers)),
        times=mib_times,
        layers=n_layers,
        layer_axis=Axis("counter"),
        metadata=_metadata(header, path),
        original_metadata={
            "mib_properties": vars(_properties(described, path, file.size, count)).copy(),
            "mib_header": _header_tree(header),
            **({"hdr_file": hdr} if hdr else {}),
        },
        files=(*(f.path for f in members), *([hdr_path] if hdr_path else [])),
        problems=tuple(problems),
    )


def _layers(
    header: Header,
    hdr: dict[str, str] | None,
    reader: MerlinTimes,
    count: int,
    problems: list[Problem],
) -> int:
    """Count the images taken at each position: one per colour or active counter.

    Continuous recording also alternates between the counters, but there each image is another
    moment; the .hdr calls this "Alternating".
    """
    active = str(value_of(hdr or {}, "Active Counters") or "").lower()
    if "alternat" in active or count < 2:
        return 1
    if not header.colour and hdr and "&" not in active:
        return 1
    part = reader(0, min(count, 16))
    cycle = len(np.unique(part.counter))
    if cycle < 2 or not np.array_equal(part.counter[cycle:], part.counter[:-cycle]):
        return 1
    if not header.colour and not hdr:
        steps = np.diff(part.time_ns[: 2 * (len(part) // 2)])
        inside, between = steps[::2], steps[1::2]
        if not len(between) or inside.max() >= 0.5 * between.min():
            problems.append(
                Problem(
                    "warning",
                    "frames alternate between two counters; without a .hdr they are taken to be "
                    "a plain series (continuous readout).",
                    "Pass layers=2 if both counters were read for each position.",
                )
            )
            return 1
    if count % cycle:
        problems.append(
            Problem("warning", f"{count} frames are no multiple of {cycle} counters per position.")
        )
    return cycle


def _metadata(header: Header, path: str) -> dict[str, Any]:
    general: dict[str, Any] = {
        "title": os.path.splitext(os.path.basename(path))[0],
        "original_filename": os.path.basename(path),
    }
    stamp = header.utc or header.local_time
    if match := re.match(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d(?:\.\d+)?)", stamp):
        general["date"], general["time"] = match[1], match[2]
        if header.utc:
            general["time_zone"] = "UTC"
    elif match := re.match(r"(\d\d)/(\d\d)/(\d{4}) (\d\d:\d\d:\d\d(?:\.\d+)?)", stamp):
        general["date"] = f"{match[3]}-{match[2]}-{match[1]}"
        general["time"] = match[4]
    instrument: dict[str, Any] = {}
    if header.exposure_ns >= 0:
        seconds = header.exposure_ns / 1e9
        camera = {"name": "Merlin", "exposure": seconds}
        instrument = {"dwell_time": seconds, "TEM": {"Detector": {"Camera": camera}}}
    return {
        "General": general,
        "Signal": {"signal_type": "electron_diffraction"},
        **({"Acquisition_instrument": instrument} if instrument else {}),
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
        As in every reader, see ``docs/parameters.md``.
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
        Read just this file even if numbered siblings continue it.
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
        A pixel type or chip arrangement that nobody has described.
    FormatError
        The frames cannot be arranged as asked.
    """
    _warn_distributed(distributed)
    recording = parse(
        filename, gap=gap, layout=layout, depth=depth, layers=layers, single_file=single_file
    )
    result = read(
        recording,
        lazy=lazy,
        chunks=chunks,
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )
    (signal,) = result
    original = signal["original_metadata"]
    nav = tuple(axis["size"] for axis in signal["axes"] if axis["navigate"])
    original["mib_properties"] = {
        **original["mib_properties"],
        "navigation_shape": nav,
        "xy": math.prod(nav),
    }
    signal["mapping"] = {}
    if print_info:
        properties = MIBProperties()
        properties.__dict__.update(original["mib_properties"])
        print(properties)  # noqa: T201 - asked for
    return result
