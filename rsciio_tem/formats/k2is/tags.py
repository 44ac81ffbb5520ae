# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tag file says: the shape of the scan, the microscope."""

from __future__ import annotations

import os
from typing import Any

from rsciio_tem.errors import FormatError, Problems
from rsciio_tem.parsing.dm_tags import group, read_tags
from rsciio_tem.parsing.metadata import Entry, general, translated
from rsciio_tem.scan.scan import ScanHint

_MICROSCOPE = (
    Entry("Voltage", "Acquisition_instrument.TEM.beam_energy", 1e-3),  # V to keV
    Entry("STEM Camera Length", "Acquisition_instrument.TEM.camera_length"),  # mm
    Entry("Indicated Magnification", "Acquisition_instrument.TEM.magnification"),
)


def tags_of(path: str, gtg: str | None, problems: Problems) -> dict[str, Any]:
    """Read the tag file; only if it was opened itself, damage is an error."""
    if gtg is None:
        problems.info("There is no .gtg, which would tell whether this is a scan.")
        return {}
    try:
        return read_tags(gtg)
    except FormatError as error:
        if gtg == path:
            raise type(error)(
                gtg, error.problem, "Open one of the .bin files to read the frames without it."
            ) from None
        problems.warn(f"{os.path.basename(gtg)} {error.problem} The scan shape is unknown.")
        return {}


def scan_hints(tags: dict[str, Any]) -> tuple[ScanHint, ...]:
    """Return the scan shapes in the tags: with flyback columns, and without."""
    size = group(tags, "SI Dimensions")
    lines, columns = (_positive(group(size, f"Size {a}")) for a in "YX")
    if not lines or not columns:
        return ()
    reason = f"SI Dimensions in the .gtg: {columns} x {lines}"
    stored = ScanHint("header", (lines, columns), 0.95, reason, exact=True)
    sampling = group(tags, "SI Image Tags", "SI", "Acquisition", "Spatial Sampling")
    height, width = (_positive(group(sampling, f"{a} (pixels)")) for a in ("Height", "Width"))
    if not (0 < width < columns and 0 < height <= lines):
        return (stored,)
    reason = (
        f"Spatial Sampling in the .gtg: {width} x {height}, so that {columns - width} of "
        f"{columns} frames of a line are flyback"
    )
    return stored, ScanHint("header", (height, width), 0.4, reason, line=columns)


def _positive(value: Any) -> int:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return int(value) if number and 1 <= value < 1 << 31 else 0


def metadata(path: str, tags: dict[str, Any], is_scan: bool) -> dict[str, Any]:
    """Return RosettaSciIO's metadata."""
    groups = (
        group(tags, *at, "Microscope Info") for at in ((), ("SI Image Tags",), ("Image Tags",))
    )
    microscope: Any = next((g for g in groups if g is not None), {})

    def value_of(name: str) -> float | None:
        value = group(microscope, name)
        return float(value) if isinstance(value, (int, float)) and 0 < value < 1e12 else None

    tree: dict[str, Any] = {
        "General": general(path),
        "Signal": {"signal_type": "electron_diffraction" if is_scan else ""},
        "Acquisition_instrument": {"TEM": {"Detector": {"Camera": {"name": "Gatan K2 IS"}}}},
    }
    return translated(tree, _MICROSCOPE, value_of)
