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
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from rsciio_tem.errors import Problems
from rsciio_tem.formats.frms6.checks import CHECKS
from rsciio_tem.formats.frms6.geometry import geometry_of, locate, mean_dark
from rsciio_tem.formats.frms6.header import (
    START,
    VERSION,
    Records,
    plain_values,
)
from rsciio_tem.formats.frms6.members import members_of
from rsciio_tem.formats.frms6.side_file import NO_DARK, ORDER, SECTION, metadata, scan_hints
from rsciio_tem.frames.corrections import Corrections, MeanImage, image_of
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.times import Times
from rsciio_tem.storage import files

__all__ = ["CHECKS", "file_reader", "frame_headers", "parse", "sniff"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a .frms6 by its header, the .hdr by its section."""
    named = path.lower().endswith(".frms6")
    if head[:4] == START and len(head) >= 8 and (head[7] == VERSION or named):
        sure = 0.99 if named and head[7] == VERSION else 0.7
        return sure, f"begins with a FRMS header of version {head[7]}", {}
    if path.lower().endswith(".hdr") and f"[{SECTION}]".encode() in head:
        return 0.99, f"has the section [{SECTION}] of a pnCCD", {}
    return None


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
    members = members_of(path, single_file, problems)
    geometry = geometry_of(members, binning, unfold, problems)
    located = locate(members.signal, members.blanks, geometry)
    count = len(located.frames)
    hints = () if single_file else scan_hints(members.hdr, count, problems)
    dark = mean_dark(members.dark, located, geometry, problems)
    gain = None if gain_map_path is None else image_of(gain_map_path, "GainMap")
    if gain is not None and os.fspath(gain_map_path or "").lower().endswith(".csv"):
        gain = gain.T  # it has a line for each column
    corrections = Corrections(dark=dark, gain=gain)  # type: ignore[arg-type]  # like an array
    first, last = located.headers(0, 1)[0], located.headers(count - 1, count)[0]
    sources = members.paths + ([] if gain_map_path is None else [os.fspath(gain_map_path)])
    return Recording(
        format="frms6",
        path=path if path.lower().endswith(".frms6") else sources[0],
        frames=located.frames,
        signal_axes=(Axis("ky", "px"), Axis("kx", "px")),
        scan_axes=(Axis("y"), Axis("x")),
        hints=hints,
        times=Times(count, located, resolution_ns=1000, at=located.at),
        corrections=corrections if corrections else None,
        metadata=metadata(members.hdr, path, first),
        original_metadata={
            "frms6_header": plain_values(members.signal[0].header),
            "frms6_first_frame": plain_values(first),
            "frms6_last_frame": plain_values(last),
            "frms6_layout": {"stored_rows": geometry.rows, "binning": geometry.binning},
            **({"measurementInfo": members.hdr} if members.hdr else {}),
        },
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
        Zero for missing frames.
    """
    problems = Problems()
    members = members_of(files.existing(filename), single_file, problems)
    located = locate(members.signal, members.blanks, geometry_of(members, 1, True, problems))
    return located.headers(0, len(located.frames))


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
    binning : int, optional
        How often each stored row is shown; by default what the .hdr says.
    unfold : bool
        False returns frames as stored: halves side by side, no row repeated.
    gain_map_path : str or path, optional
        Gain map that multiplies frames after the dark frames are subtracted: a .mat with a
        variable ``GainMap``, or a .csv with semicolons and one line per column of the image.
    single_file : bool
        Read only this file, without dark frames and scan shape.
    **options
        `ReadOptions`. ``dark`` also takes a .frms6, whose frames are averaged.

    Returns
    -------
    list of one dict

    Raises
    ------
    NotThisFormat, Unsupported, Truncated, FormatError
        Not an FRMS6 file, or another version; no complete frame; a damaged header, missing files.
    """
    del distributed  # nothing is left to do for it
    layout: dict[str, Any] = {"binning": binning, "unfold": unfold}
    recording = parse(filename, **layout, gain_map_path=gain_map_path, single_file=single_file)
    dark = options.get("dark")
    if isinstance(dark, (str, os.PathLike)) and os.fspath(dark).lower().endswith(".frms6"):
        layout["binning"] = recording.original_metadata["frms6_layout"]["binning"]
        options["dark"] = np.asarray(MeanImage(parse(dark, **layout, single_file=True).frames))
    shaped = navigation_shape is not None or options.get("nav_shape") is not None
    as_stored = dark is not None or options.get("corrections", "auto") not in ("auto", True)
    settled = [ORDER] * shaped + [NO_DARK] * as_stored
    problems = [p for p in recording.problems if not p.message.startswith(tuple(settled))]
    recording = replace(recording, problems=tuple(problems))
    common = lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame
    return read(recording, *common, options=options)
