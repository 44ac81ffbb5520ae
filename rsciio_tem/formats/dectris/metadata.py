# SPDX-License-Identifier: GPL-3.0-or-later
"""From the tree of a master to metadata."""

from __future__ import annotations

import contextlib
import datetime
import math
from typing import Any

from rsciio_tem.parsing.metadata import Entry, general, put, translated

_TEM = "Acquisition_instrument.TEM"
_CAMERA = f"{_TEM}.Detector.Camera"

#: Texts and numbers in the group of the detector, numbers in the file of the scanning program.
DETECTOR_TEXTS = (
    Entry("description", f"{_CAMERA}.name"),
    Entry("detector_number", f"{_CAMERA}.serial_number"),
)
DETECTOR_NUMBERS = (
    Entry("count_time", f"{_CAMERA}.exposure"),
    Entry("frame_time", f"{_CAMERA}.frame_time"),
    Entry("threshold_energy", f"{_CAMERA}.threshold_energy", 1e-3),
    Entry("x_pixel_size", f"{_CAMERA}.pixel_size", 1e3),
)
SCAN_NUMBERS = (
    Entry("Camera Length", f"{_TEM}.camera_length", 1e3),
    Entry("Magnification", f"{_TEM}.magnification"),
    Entry("ScanDwellTime", f"{_TEM}.dwell_time"),
    Entry("Rotation", f"{_TEM}.rotation"),
)


def number(source: dict[str, Any], name: str) -> float:
    """Return a finite number of the metadata, 0 if there is none."""
    value = source.get(name)
    value = value.get("value") if isinstance(value, dict) else value
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    return 0.0


def _word(source: dict[str, Any], name: str) -> str:
    value = source.get(name)
    value = value.get("value") if isinstance(value, dict) else value
    return value if isinstance(value, str) else ""


def metadata_of(path: str, detector: dict[str, Any], scan: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of the master `path`."""
    special = detector.get("detectorSpecific", {})
    moment = zone = None
    with contextlib.suppress(ValueError):
        moment = datetime.datetime.fromisoformat(_word(special, "data_collection_date"))
        zone = moment.strftime("%z") or None
        moment = moment.replace(tzinfo=None)  # said as it is, beside its zone
    metadata: dict[str, Any] = {
        "General": general(path, moment=moment, time_zone=zone),
        "Signal": {"signal_type": "electron_diffraction"},
    }
    put(metadata, _CAMERA, {})
    translated(metadata, DETECTOR_TEXTS, lambda name: _word(detector, name) or None)
    translated(metadata, DETECTOR_NUMBERS, lambda name: number(detector, name) or None)
    translated(metadata, SCAN_NUMBERS, lambda name: number(scan, name) or None)
    saturation = int(number(detector, "saturation_value"))
    put(metadata, f"{_CAMERA}.saturation_value", saturation or None)
    energy = number(scan, "High Tension") or number(special, "photon_energy")
    put(metadata, f"{_TEM}.beam_energy", energy * 1e-3 or None)
    return metadata
