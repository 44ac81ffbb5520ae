# SPDX-License-Identifier: GPL-3.0-or-later
"""From the .xml to metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rsciio_tem.parsing.metadata import general, put
from rsciio_tem.parsing.text import to_number
from rsciio_tem.parsing.trees import value_at


def metadata_of(tree: Mapping[str, Any], path: str, second: bool) -> dict[str, Any]:
    """Translate the description."""
    stamp = str(value_at(tree, "timestamp", "isoformat") or "")
    match = re.match(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d(?:\.\d+)?)", stamp)
    date, time = match.groups() if match else (None, None)
    camera: dict[str, Any] = {"name": "EMPAD-G2" if second else "EMPAD"}
    tem: dict[str, Any] = {"Detector": {"Camera": camera}}

    def number(*names: str) -> float | None:
        return to_number(value_at(tree, *names))

    measured = "iom_measurements"
    milliseconds = number("exposure_time")
    seconds = number("scan", "exposure_time") if milliseconds is None else milliseconds / 1000
    put(camera, "exposure", seconds)
    volts = number(measured, "high_voltage") or number(measured, "source", "get_voltage")
    put(tem, "beam_energy", volts / 1000 if volts else None)
    metres = number(measured, "nominal_camera_length")
    metres = metres or number(measured, "optics", "get_cameralength")
    put(tem, "camera_length", metres * 1000 if metres else None)
    return {
        "General": general(path, date=date, time=time),
        "Signal": {"signal_type": "electron_diffraction"},
        "Acquisition_instrument": {"TEM": tem},
    }
