# SPDX-License-Identifier: GPL-3.0-or-later
"""What the headers tell, as axes and metadata."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.formats.tvips.header import FRAME_V1, milliseconds, read_frame_headers_at
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.parsing.metadata import Entry, general, put, translated
from rsciio_tem.recording.axis import Axis

TEM = "Acquisition_instrument.TEM"

#: From a frame header of version 2 to the metadata.
ENTRIES = (
    Entry("faraday", f"{TEM}.beam_current"),
    Entry("stage_alpha", f"{TEM}.Stage.tilt_alpha"),
    Entry("stage_beta", f"{TEM}.Stage.tilt_beta"),
    *(Entry(f"stage_{axis}", f"{TEM}.Stage.{axis}", units="nm") for axis in "xyz"),
)


def is_diffraction(header: np.void, first: np.void) -> bool:
    """Whether the microscope was in diffraction mode at the first frame."""
    return int(header["version"]) == 2 and int(first["mode"]) == 2


def signal_axes(header: np.void, first: np.void, before: int) -> tuple[Axis, Axis]:
    """Return the axes of a frame."""
    units = "1/nm" if is_diffraction(header, first) else "nm"
    if int(header["version"]) == 1 and before == FRAME_V1.itemsize:
        units = ""  # nothing says whether these are images
    scale = float(header["pixelsize"])  # 0: not calibrated
    return (
        Axis("dy", units, scale, float(header["offsety"])),
        Axis("dx", units, scale, float(header["offsetx"])),
    )


def time_axis(frames: FrameTable, before: int, first: npt.NDArray[np.void]) -> Axis:
    """Return the axis of a movie, from the headers of its first two frames."""
    count, moments = len(frames), milliseconds(first)
    step = float(moments[1] - moments[0]) / 1000 if count > 1 else 0.0
    if step <= 0 < count - 1:  # times come in steps of 1 ms, several frames may share one
        last = read_frame_headers_at(frames, before, np.array([count - 1]))
        step = float(milliseconds(last)[0] - moments[0]) / 1000 / (count - 1)
    # without times there is no calibration, only an order
    origin = float(moments[0]) / 1000
    return Axis("time", "s", step, origin) if step > 0 else Axis("time", "", 1.0, 0.0)


def metadata(header: np.void, first: np.void, path: str) -> dict[str, Any]:
    """Translate what the headers say."""
    diffraction, seconds = is_diffraction(header, first), int(first["timestamp"])
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC) if seconds else None
    result: dict[str, Any] = {
        "General": general(path, "", moment=moment),
        "Signal": {"signal_type": "diffraction" if diffraction else ""},
    }
    put(result, f"{TEM}.beam_energy", int(header["ht"]))
    total = "camera_length" if diffraction else "magnification"
    put(result, f"{TEM}.{total}", int(header["magtotal"]))
    if int(header["version"]) == 2:
        translated(result, ENTRIES, lambda name: float(first[name]))
    return result
