# SPDX-License-Identifier: GPL-3.0-or-later
"""From the tree of a master to metadata."""

from __future__ import annotations

import datetime
import math
from typing import Any

# ---------------------------------------------------------------- what the files say


def _number(source: dict[str, Any], name: str) -> float:
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


def _metadata(detector: dict[str, Any], scan: dict[str, Any], title: str) -> dict[str, Any]:
    special = detector.get("detectorSpecific", {})
    general: dict[str, Any] = {"title": title}
    date = _word(special, "data_collection_date")
    try:
        moment = datetime.datetime.fromisoformat(date)
    except ValueError:
        pass
    else:
        general["date"], general["time"] = moment.date().isoformat(), moment.time().isoformat()
        if moment.tzinfo is not None:
            general["time_zone"] = moment.strftime("%z")
    camera: dict[str, Any] = {}
    for name, value in (
        ("name", _word(detector, "description")),
        ("serial_number", _word(detector, "detector_number")),
        ("exposure", _number(detector, "count_time")),
        ("frame_time", _number(detector, "frame_time")),
        ("threshold_energy", _number(detector, "threshold_energy") * 1e-3),
        ("saturation_value", int(_number(detector, "saturation_value"))),
        ("pixel_size", _number(detector, "x_pixel_size") * 1e3),
    ):
        if value:
            camera[name] = value
    tem: dict[str, Any] = {"Detector": {"Camera": camera}}
    energy = _number(scan, "High Tension") or _number(special, "photon_energy")
    for name, value in (
        ("beam_energy", energy * 1e-3),
        ("camera_length", _number(scan, "Camera Length") * 1e3),
        ("magnification", _number(scan, "Magnification")),
        ("dwell_time", _number(scan, "ScanDwellTime")),
        ("rotation", _number(scan, "Rotation")),
    ):
        if value:
            tem[name] = value
    return {
        "General": general,
        "Signal": {"signal_type": "electron_diffraction"},
        "Acquisition_instrument": {"TEM": tem},
    }
