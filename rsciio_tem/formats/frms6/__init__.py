# SPDX-License-Identifier: GPL-3.0-or-later
"""FRMS6 recordings of pnCCD cameras (PNDetector, pnSensor), for example in 4D-STEM.

Sources: the vendor's structures as published with CASS, and the readers of LiberTEM and stemtool,
which agree. ``specifications/frms6.ksy`` and ``specifications/frms6_hdr.md`` write the layout
down. No recorded file was at hand; what only follows from the structures warns where it is used.

A recording is ``NAME.hdr`` (text), ``NAME_000.frms6`` (dark frames) and ``NAME_001.frms6`` …
(frames). Two halves of the sensor are stored side by side: the left half of the stored columns is
the upper half of the image, the right one the lower half, turned by 180 degrees. Only rows are
binned; each stored row is shown as often as it was.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from rsciio_tem.errors import FormatError, Problems, Truncated
from rsciio_tem.formats.frms6.checks import CHECKS
from rsciio_tem.formats.frms6.geometry import (
    _NO_DARK,
    _ORDER,
    _dark,
    _full_rows,
    _Geometry,
    _in_order,
    _Located,
    _located,
)
from rsciio_tem.formats.frms6.header import (
    _SAMPLES,
    START,
    VERSION,
    Records,
    _file_header,
    _Member,
    _member,
)
from rsciio_tem.formats.frms6.side_file import _SECTION, _binning, _count, _hdr, _hints, _values
from rsciio_tem.frames.corrections import Corrections, MeanImage, image_of
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.times import Times
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

__all__ = ["CHECKS", "file_reader", "frame_headers", "parse", "sniff"]

_NAME = re.compile(r"(.*)_(\d+)\.frms6", re.IGNORECASE | re.DOTALL)


# ---------------------------------------------------------------- description


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a .frms6 by its header, the .hdr by its section."""
    named = path.lower().endswith(".frms6")
    if head[:4] == START and len(head) >= 8 and (head[7] == VERSION or named):
        sure = 0.99 if named and head[7] == VERSION else 0.7
        return sure, f"begins with a FRMS header of version {head[7]}", {}
    if path.lower().endswith(".hdr") and f"[{_SECTION}]".encode() in head:
        return 0.99, f"has the section [{_SECTION}] of a pnCCD", {}
    return None


def _members(path: str, base: str, problems: Problems) -> dict[int, _Member]:
    """Describe the .frms6 files of a recording, by number."""
    folder, name = os.path.split(base)
    sources: dict[int, DataFile] = {}
    for entry in sorted(os.listdir(folder or ".")):
        match = _NAME.fullmatch(entry)
        if match and os.path.normcase(match[1]) == os.path.normcase(name):
            file = DataFile.of(os.path.join(folder, entry))
            if sources.setdefault(int(match[2]), file) is not file:
                problems.warn(f"{entry} has the same number as another file, and is ignored.")
    if not sources:
        raise FormatError(path, f"has no {name}_000.frms6, {name}_001.frms6, … beside it.")
    members: dict[int, _Member] = {}
    errors: list[FormatError] = []
    size: tuple[int, int] | None = None
    for number, file in sorted(sources.items()):
        try:
            member = _member(file, max(32, _SAMPLES // len(sources)), problems)
            size = size or (member.size if number else None)
            if number and member.size != size:
                problem = f"has frames of {member.size} stored pixels, the files before of {size}."
                raise FormatError(file.path, problem, "Pass single_file=True to read it alone.")
            if number and not member.count:
                raise Truncated(file.path, "holds no complete frame.")
            members[number] = member
        except FormatError as error:
            if os.path.basename(file.path) == os.path.basename(path):
                raise
            errors.append(error)
            problems.warn(f"a file is not read: {error}")
    if not set(members) - {0}:
        if errors:
            raise errors[0]
        hint = "Pass the _000.frms6 with single_file=True to read the dark frames."
        raise FormatError(path, f"has only dark frames beside it, no {name}_001.frms6.", hint)
    return members


def _find(
    path: str, binning: int | None, unfold: bool, single_file: bool, problems: Problems
) -> tuple[_Located, _Geometry, _Member | None, dict[str, str], list[str]]:
    """Find the frames of a recording, its geometry, dark frames, .hdr, and all of its files."""
    numbered = _NAME.fullmatch(path)
    through_hdr = not numbered and files.read_start(path, 4) != START
    base = numbered[1] if numbered else os.path.splitext(path)[0]
    hdr: dict[str, str] = {}
    sides = (
        [path] if through_hdr else [f for f in (base + ".hdr", base + ".HDR") if os.path.isfile(f)]
    )
    del sides[1:]
    for side in sides:
        try:
            hdr = _hdr(side)
        except FormatError as error:
            if through_hdr:
                raise
            problems.warn(f"{error} It is ignored.")
    if through_hdr or (numbered and not single_file):
        members = _members(path, base, problems)
        dark = members.pop(0, None)
        if dark is None:
            message = f"{_NO_DARK}: no file of the recording is number 000. Values are as recorded."
            problems.warn(message, "Pass dark=, or corrections=False.")
        elif (said := _count(hdr, "darkframes")) and said != dark.count:
            problems.warn(f"the .hdr announces {said} dark frames, the file holds {dark.count}.")
        ordered, blanks = _in_order(members, _count(hdr, "signalframes"), problems)
    else:
        member = _member(DataFile.of(path), _SAMPLES, problems)
        if not member.count:
            raise Truncated(path, "holds no complete frame.")
        ordered, blanks, dark = [member], [0], None
    if (sensors := int(ordered[0].header["n_ccds"])) > 1:
        message = f"{sensors} sensors were read out; how their frames are arranged is not known"
        problems.warn(f"{message}, and they follow each other as stored.")
    if binning is None:
        binning = _binning(hdr, ordered[0].size, problems)
    elif isinstance(binning, bool) or not isinstance(binning, (int, np.integer)) or binning < 1:
        raise ValueError(f"binning={binning!r} is no positive number of rows")
    rows = _full_rows(ordered, int(binning), problems)
    geometry = _Geometry(rows, ordered[0].size[1], int(binning), bool(unfold))
    located = _located(ordered, blanks, geometry)
    sides += [] if dark is None else [dark.file.path]
    return located, geometry, dark, hdr, [*(member.file.path for member in ordered), *sides]


def parse(
    filename: str | os.PathLike[str],
    *,
    binning: int | None = None,
    unfold: bool = True,
    gain_map_path: str | os.PathLike[str] | None = None,
    single_file: bool = False,
) -> Recording:
    """Describe a recording; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    path = files.existing(filename)
    problems = Problems()
    located, geometry, dark_file, hdr, sources = _find(path, binning, unfold, single_file, problems)
    count = len(located.frames)
    hints = () if single_file else _hints(hdr, count, problems)
    dark = None if dark_file is None else _dark(dark_file, located, geometry, problems)
    gain = None if gain_map_path is None else image_of(gain_map_path, "GainMap")
    if gain is not None and os.fspath(gain_map_path or "").lower().endswith(".csv"):
        gain = gain.T  # it has a line for each column
    corrections = Corrections(dark=dark, gain=gain)  # type: ignore[arg-type]  # like an array
    first, last = located.headers(0, 1)[0], located.headers(count - 1, count)[0]
    sources += [] if gain_map_path is None else [os.fspath(gain_map_path)]
    original: dict[str, Any] = {
        "frms6_header": _values(_file_header(located.heads.files[0])),
        "frms6_first_frame": _values(first),
        "frms6_last_frame": _values(last),
        "frms6_layout": {"stored_rows": geometry.rows, "binning": geometry.binning},
    }
    if hdr:
        original["measurementInfo"] = hdr
    return Recording(
        format="frms6",
        path=path if path.lower().endswith(".frms6") else sources[0],
        frames=located.frames,
        signal_axes=(Axis("ky", "px"), Axis("kx", "px")),
        scan_axes=(Axis("y"), Axis("x")),
        hints=hints,
        times=Times(count, located.times, resolution_ns=1000),
        corrections=corrections if corrections else None,
        metadata=_metadata(hdr, path, first),
        original_metadata=original,
        files=tuple(sources),
        problems=tuple(problems),
    )


def frame_headers(filename: str | os.PathLike[str], *, single_file: bool = False) -> Records:
    """Read what is stored with each frame: times, numbers, temperature, window.

    Parameters
    ----------
    filename, single_file
        As in `file_reader`.

    Returns
    -------
    ndarray of `FRAME`
        Zero for frames that are missing.
    """
    located = _find(files.existing(filename), 1, True, single_file, Problems())[0]
    return located.headers(0, len(located.frames))


def _metadata(hdr: dict[str, str], path: str, first: np.void) -> dict[str, Any]:
    name = os.path.basename(path)
    general = {"title": os.path.splitext(name)[0], "original_filename": name}
    if first["tv_sec"]:
        moment = np.datetime64(int(first["tv_sec"]) * 10**6 + int(first["tv_usec"]), "us")
        general["date"], _, general["time"] = str(moment).partition("T")
        general["time_zone"] = "UTC"
    tem: dict[str, Any] = {"Detector": {"Camera": {"name": "pnCCD"}}}
    if dwell := _count(hdr, "dwelltimemicroseconds"):
        tem["dwell_time"] = dwell * 1e-6
    return {
        "General": general,
        "Signal": {"signal_type": "electron_diffraction"},
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
    binning: int | None = None,
    unfold: bool = True,
    gain_map_path: str | os.PathLike[str] | None = None,
    single_file: bool = False,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a FRMS6 recording of a pnCCD camera.

    The mean of the dark frames in ``NAME_000.frms6`` is subtracted unless ``corrections=False``.

    Parameters
    ----------
    filename : str or path
        The .hdr or any of the .frms6 files.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    binning : int, optional
        How often each stored row is shown; by default what the .hdr says.
    unfold : bool
        False returns frames as they are stored: halves side by side, no row repeated.
    gain_map_path : str or path, optional
        Gain map, by which frames are multiplied once the dark frames are subtracted: a .mat with
        a variable ``GainMap``, or a .csv with semicolons that has a line per column of the image.
    single_file : bool
        Read just the file given, without dark frames and scan shape.
    **options
        `ReadOptions`. ``dark`` takes a .frms6 too, of which the frames are averaged.

    Returns
    -------
    list of one dict

    Raises
    ------
    NotThisFormat, Unsupported, Truncated, FormatError
        No FRMS6 file, or of another version; no complete frame; a damaged header, missing files.
    """
    del distributed  # nothing is left to do for it
    own: dict[str, Any] = {"binning": binning, "unfold": unfold}
    recording = parse(filename, **own, gain_map_path=gain_map_path, single_file=single_file)
    dark = options.get("dark")
    if isinstance(dark, (str, os.PathLike)) and os.fspath(dark).lower().endswith(".frms6"):
        own["binning"] = recording.original_metadata["frms6_layout"]["binning"]
        options["dark"] = np.asarray(MeanImage(parse(dark, **own, single_file=True).frames))
    shaped = navigation_shape is not None or options.get("nav_shape") is not None
    as_stored = dark is not None or options.get("corrections", "auto") not in ("auto", True)
    settled = [_ORDER] * shaped + [_NO_DARK] * as_stored
    problems = [p for p in recording.problems if not p.message.startswith(tuple(settled))]
    return read(
        replace(recording, problems=tuple(problems)),
        lazy=lazy,
        chunks=chunks,
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )
