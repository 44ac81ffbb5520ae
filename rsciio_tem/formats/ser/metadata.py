# SPDX-License-Identifier: GPL-3.0-or-later
"""From the header and the description of a series to metadata."""

from __future__ import annotations

import datetime
import email.utils
import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.formats.ser.description import Description
from rsciio_tem.formats.ser.elements import Elements
from rsciio_tem.formats.ser.header import Header
from rsciio_tem.parsing.metadata import Entry, general, translated
from rsciio_tem.parsing.text import to_number

_logger = logging.getLogger(__name__)

_TEM = "Acquisition_instrument.TEM"
#: Where RosettaSciIO puts what a description says.
_TABLE = (
    Entry("ExperimentalDescription/High tension_kV", f"{_TEM}.beam_energy"),
    Entry("ExperimentalDescription/Microscope", f"{_TEM}.microscope"),
    Entry("ExperimentalDescription/Mode", f"{_TEM}.acquisition_mode"),
    Entry("ExperimentalDescription/Camera length_m", f"{_TEM}.camera_length", 1e3),
    Entry("ExperimentalDescription/Magnification_x", f"{_TEM}.magnification"),
    Entry("ExperimentalDescription/Stage A_deg", f"{_TEM}.Stage.tilt_alpha"),
    Entry("ExperimentalDescription/Stage B_deg", f"{_TEM}.Stage.tilt_beta"),
    Entry("ExperimentalDescription/Stage X_um", f"{_TEM}.Stage.x", 1e-3),
    Entry("ExperimentalDescription/Stage Y_um", f"{_TEM}.Stage.y", 1e-3),
    Entry("ExperimentalDescription/Stage Z_um", f"{_TEM}.Stage.z", 1e-3),
    Entry("AcquireInfo/CameraNamePath", f"{_TEM}.Detector.Camera.Name"),
    Entry("AcquireInfo/DwellTimePath", f"{_TEM}.Detector.Camera.exposure"),
)


def metadata_of(path: str, description: Description | None, time: int) -> dict[str, Any]:
    """Translate the description with RosettaSciIO's names."""
    signal = {"signal_type": ""}
    if description is None:  # the time is UTC, of which RosettaSciIO does not speak
        utc = datetime.datetime.fromtimestamp(time, datetime.UTC).replace(tzinfo=None)
        return {"General": general(path, "", moment=utc if time > 0 else None), "Signal": signal}
    block = description.block or {}

    def value_of(name: str) -> Any:
        part, _, key = name.partition("/")
        value = values.get(key) if isinstance(values := block.get(part), dict) else None
        if value is None or key == "CameraNamePath":
            return value
        if key == "Microscope":
            return str(value).replace("Microscope ", "")
        if key == "Mode":
            return "STEM" if "STEM" in str(value) else "TEM"
        return to_number(value)

    experiment = block.get("ExperimentalDescription")
    authors = experiment.get("User") if isinstance(experiment, dict) else None
    date = (description.first or {}).get("AcquireDate")
    moment = email.utils.parsedate(str(date)) if date else None
    if moment is None:
        _logger.warning("AcquireDate not found in metadata of %s: no date and time", path)
    general_part = general(
        path,
        "",
        date=moment and "{:04}-{:02}-{:02}".format(*moment[:3]),
        time=moment and "{:02}:{:02}:{:02}".format(*moment[3:6]),
        authors=authors or None,
    )
    return translated({"General": general_part, "Signal": signal}, _TABLE, value_of)


def original_metadata(
    header: Header,
    group: Elements,
    records: list[npt.NDArray[np.void]],
    description: Description | None,
) -> dict[str, Any]:
    """Return header, headers and tags of elements, and description, by RosettaSciIO's names."""
    parameters = dict(header.values)
    for values in records:
        for name in values.dtype.names or ():
            parameters[name] = values[name].copy() if len(values) > 1 else values[name].item()
    original: dict[str, Any] = {"ser_header_parameters": parameters}
    if not group.alone:
        original["ser_elements"] = group.numbers[: group.length].copy()
    if description is not None and description.block:
        original["ObjectInfo"] = description.block
    if description is not None and description.others:
        original["emi_objects"] = description.others
    return original
