# SPDX-License-Identifier: GPL-3.0-or-later
"""What the header of a blockfile tells, as metadata and axes."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rsciio_tem.parsing.metadata import Entry, general, put, translated
from rsciio_tem.recording.axis import Axis

TEM = "Acquisition_instrument.TEM"

#: From the header to the metadata.
ENTRIES = (
    Entry("Beam_energy", f"{TEM}.beam_energy", 1e-3),
    Entry("Camera_length", f"{TEM}.camera_length", 1e-4, "m"),  # as RosettaSciIO
    Entry("Scan_rotation", f"{TEM}.rotation", 1e-2),
)


def metadata(header: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Translate what the header says."""
    result: dict[str, Any] = {
        "General": general(path, "", _moment(header["Acquisition_time"]), notes=header["Note"]),
        "Signal": {"signal_type": "diffraction"},
    }
    translated(result, ENTRIES, header.__getitem__)
    for key, names in (
        ("centering", [f"Centering_N{i}" for i in range(8)]),
        ("distortion", [f"Distortion_N{i:02d}" for i in range(14)]),
    ):
        values = [header[name] for name in names]
        put(result, f"{TEM}.Detector.Camera.{key}", values if any(values) else None)
    return result


def _moment(serial: float) -> datetime.datetime | None:
    """Return the UTC time of a serial date."""
    origin = datetime.datetime(1899, 12, 30, tzinfo=datetime.UTC)
    if not math.isfinite(serial) or not 0 < serial < 2_000_000:
        return None
    return origin + datetime.timedelta(int(serial), (serial % 1.0) * 86400)


def scan_shape(header: np.void) -> tuple[int, ...]:
    """Return the scan shape; axes of one position are left out, as in RosettaSciIO."""
    sizes = int(header["NY"]), int(header["NX"])
    return tuple(n for n in sizes if n > 1) if 0 not in sizes else ()


def scan_axes(header: np.void) -> tuple[Axis, ...]:
    """Return the axes of the scan, those of one position left out as in its shape."""
    sizes = (("y", header["SY"], header["NY"]), ("x", header["SX"], header["NX"]))
    kept = [(name, step) for name, step, n in sizes if n > 1 or len(scan_shape(header)) != 1]
    return tuple(Axis(name, "nm", float(step)) for name, step in kept)


def signal_axes(header: np.void) -> tuple[Axis, Axis]:
    """Return the axes of a pattern; 0 pixels per cm means that nobody calibrated."""
    scale = 100.0 / int(header["SDP"]) if header["SDP"] else 0.0
    return Axis("dy", "cm", scale), Axis("dx", "cm", scale)
