# SPDX-License-Identifier: GPL-3.0-or-later
"""Movies of Direct Electron: what lies beside them tells what they are."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rsciio_tem.errors import Problem, Problems
from rsciio_tem.parsing import directelectron
from rsciio_tem.parsing.directelectron import Described, Sides
from rsciio_tem.parsing.metadata import general
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import files


def beside(path: str, metadata_file: str | os.PathLike[str] | None) -> Sides:
    """Find the files beside a movie, unless its description is named, or none is to be read."""
    if metadata_file == "auto":
        return directelectron.beside(path)
    return Sides(info=files.existing(metadata_file) if metadata_file else None)


def tell_unread(path: str, problems: Problems) -> None:
    """Say that there is a description whose name is not that of a movie's."""
    likely = re.sub(r"_movie\.mrc$", "_info.txt", path, flags=re.IGNORECASE)
    if likely != path and files.is_file(likely):
        message = f"{os.path.basename(likely)} beside it is not read."
        problems.append(Problem("info", message, f"Pass metadata_file={likely!r}."))


def named(metadata: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return metadata with the name of their file."""
    stored, signal = metadata.get("General", {}), metadata.get("Signal", {})
    title, kind = stored.get("title"), signal.get("signal_type")
    return {
        **metadata,
        "General": {**stored, **general(path, title if isinstance(title, str) else "")},
        "Signal": {**signal, "signal_type": kind if isinstance(kind, str) else ""},
    }


def as_movie(
    recording: Recording,
    info: Mapping[str, str],
    scan_file: str | os.PathLike[str] | None,
    problems: Problems,
) -> Recording:
    """Return a recording as its description says it was made."""
    described = Described(info)
    recording = replace(
        recording,
        signal_axes=described.signal_axes,
        stack_axis=described.frame_axis,
        scan_axes=(described.repeat_axis, *described.scan_axes),
        metadata=named(described.metadata(), recording.path),
        original_metadata={"de_metadata": info, **recording.original_metadata},
    )
    if described.scanning and not described.raster:
        if scan_file is None:
            raise directelectron.no_scan_file(recording.path, info)
        positions = files.existing(scan_file)
        per_point = described.count("Scan - Camera Frames Per Point")
        count = len(recording.frames)
        index, grid = directelectron.coordinates(positions, count, per_point, problems)
        reason = f"positions in {os.path.basename(positions)}"
        return replace(
            recording,
            frames=recording.frames[index],
            hints=(ScanHint("header", grid, 0.99, reason, exact=True),),
            scan_axes=(*described.scan_axes, *(Axis("repeats"),) * (len(grid) - 2)),
        )
    if described.scanning and described.stem:
        hints, axes, layers = directelectron.raster(described, len(recording.frames), problems)
        axes = axes or recording.scan_axes
        return replace(recording, hints=hints, scan_axes=axes, layers=layers)
    return recording
