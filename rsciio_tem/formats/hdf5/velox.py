# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of Velox: /Data/Image/<id>/Data, with a text of metadata for each of the frames."""

from __future__ import annotations

import datetime
import math
import re
from typing import Any

import numpy as np

from rsciio_tem.formats.hdf5.meaning import Meaning, inside, number
from rsciio_tem.parsing.hdf5_links import children, member
from rsciio_tem.parsing.hdf5_values import part, text, value
from rsciio_tem.parsing.metadata import Entry, put, translated
from rsciio_tem.parsing.trees import json_value
from rsciio_tem.recording.axis import Axis
from rsciio_tem.scan.scan import ScanHint

_TEM = "Acquisition_instrument.TEM"

#: What is in the group Optics of the metadata.
OPTICS = (
    Entry("AccelerationVoltage", f"{_TEM}.beam_energy", 1e-3),
    Entry("CameraLength", f"{_TEM}.camera_length", 1e3),
    Entry("NominalMagnification", f"{_TEM}.magnification"),
    Entry("BeamConvergence", f"{_TEM}.convergence_angle", 1e3),
)


def velox(path: str, dataset: Any, group: Any, file: Any) -> Meaning | None:
    """Describe images of Velox."""
    if not re.fullmatch(r"Data/Image/[^/]+/Data", path) or dataset.ndim != 3:
        return None
    tags = _tags(group)
    image, scan = inside(tags, "BinaryResult"), inside(tags, "Scan")
    detector = inside(inside(tags, "Detectors"), f"Detector-{image.get('DetectorIndex', '')}")
    size, offset = inside(image, "PixelSize"), inside(image, "Offset")
    unit = str(image.get("PixelUnitX") or "")
    factor, units = {"m": (1e9, "nm"), "1/m": (1e-9, "1/nm")}.get(unit, (1.0, unit))
    rows, columns = (
        Axis(name, units, number(size, side) * factor, number(offset, name) * factor)
        for name, side in (("y", "height"), ("x", "width"))
    )
    step = number(scan, "FrameTime") or number(detector, "ExposureTime")
    time = Axis("Time", "s", step) if step else Axis("frame")
    hint, shape = None, inside(scan, "ScanSize")
    nav = int(number(shape, "height")), int(number(shape, "width"))
    is_camera = detector.get("DetectorType") == "ImagingDetector"
    if is_camera and min(nav) > 1 and math.prod(nav) == dataset.shape[2]:
        hint = ScanHint("header", nav, 0.9, f"a camera, and ScanSize {nav[1]} x {nav[0]} in Scan")
    return Meaning(
        "Velox",
        (rows, columns, time),
        sig_first=True,
        hint=hint,
        scan_axes=(Axis("y"), Axis("x")),
        moment=_moment(tags),
        metadata=_metadata(tags, detector),
        original_metadata=tags,
    )


def _tags(group: Any) -> dict[str, Any]:
    """Return the metadata of the first frame: JSON that ends with zeros, a column of a table."""
    notes = member(group, "Metadata")
    if getattr(notes, "ndim", 0) != 2 or 0 in notes.shape:
        return {}
    column = part(notes, (slice(None), 0), 1 << 20)
    if column is None or column.dtype.kind not in "iu":
        return {}
    tags = json_value(bytes(np.asarray(column, np.uint8)).split(b"\0", 1)[0])
    return tags if isinstance(tags, dict) else {}


def _moment(tags: dict[str, Any]) -> datetime.datetime | None:
    """Return when the acquisition began: seconds since 1970."""
    start = inside(inside(tags, "Acquisition"), "AcquisitionStartDatetime")
    seconds = number(start, "DateTime")
    usual = 0 < seconds < 1 << 34
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC) if usual else None


def _metadata(tags: dict[str, Any], detector: dict[str, Any]) -> dict[str, Any]:
    optics, stage = inside(tags, "Optics"), inside(tags, "Stage")
    metadata = translated({}, OPTICS, lambda name: number(optics, name) if name in optics else None)
    if model := inside(tags, "Instrument").get("InstrumentModel"):
        put(metadata, f"{_TEM}.microscope", str(model))
    if stage:
        position = inside(stage, "Position")
        tilts = {"tilt_alpha": "AlphaTilt", "tilt_beta": "BetaTilt"}
        values = {
            **{n: math.degrees(number(stage, k)) for n, k in tilts.items() if k in stage},
            **{n: number(position, n) * 1e3 for n in "xyz" if n in position},
        }
        put(metadata, f"{_TEM}.Stage", values)
    if name := detector.get("DetectorName"):
        put(metadata, f"{_TEM}.Detector.Camera.name", str(name))
    return metadata


# ---------------------------------------------------------------- files


def is_velox(file: Any) -> bool:
    """Whether a file was written by Velox."""
    version = member(file, "Version")
    if getattr(version, "shape", None) != (1,) or member(file, "Data") is None:
        return False
    content = text(value(version, 1 << 20))
    return '"format"' in content and any(f'"{n}"' in content for n in ("Velox", "DevelopersKit"))


def is_series(file: Any) -> bool:
    """Whether a Velox file is one series of images and nothing else."""
    data = member(file, "Data")
    spectra = ("SpectrumStream", "SpectrumImage", "Spectrum", "EELSSpectrumImage")
    if any(member(data, name) is not None for name in spectra):
        return False
    groups = [group for _, group in children(member(data, "Image")) if hasattr(group, "keys")]
    sets = [member(group, "Data") for group in groups]
    return (
        len(sets) == 1
        and getattr(sets[0], "ndim", 0) == 3
        and sets[0].shape[2] > 1
        and sets[0].dtype.kind in "iuf"
    )
