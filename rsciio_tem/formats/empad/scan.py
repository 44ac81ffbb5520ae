# SPDX-License-Identifier: GPL-3.0-or-later
"""Scan shape and calibration, from the .xml, the name of the .raw, or its counters."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rsciio_tem.formats.empad.layout import COUNTERS, EDGE, FRAME_G1
from rsciio_tem.parsing.text import to_number
from rsciio_tem.parsing.trees import value_at
from rsciio_tem.recording.axis import Axis
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import DataFile


class _Claim(NamedTuple):
    """A scan shape, and what speaks for it."""

    reason: str
    columns: int
    lines: int

    @property
    def positions(self) -> int:
        return self.columns * self.lines


def shape_hints(tree: Mapping[str, Any], raw: str, count: int) -> list[ScanHint]:
    """List the scan shapes that description and file name give, the most credible first."""
    if str(tree.get("type", "")).strip() == "series" or "series_x" in os.path.basename(raw):
        return []
    claims = [claim for claim in _claims(tree, raw) if claim.columns > 0 and claim.lines > 0]
    exact = [claim for claim in claims if claim.positions == count]
    more = [claim for claim in claims if claim.positions > count]
    less = [claim for claim in claims if claim.positions < count]
    hints = []
    for i, claim in enumerate([*exact, *sorted(more, key=lambda c: c.positions), *less]):
        fits = i < len(exact)
        reason = f"{claim.reason}: {claim.columns} x {claim.lines}"
        reason += "" if fits else f", though there are {count} frames"
        confidence = (0.95 if fits else 0.7) - 0.01 * i
        hints.append(ScanHint("header", (claim.lines, claim.columns), confidence, reason))
    return hints


def _claims(tree: Mapping[str, Any], raw: str) -> list[_Claim]:
    claims = [_Claim("pix_x, pix_y", _count(tree, "pix_x"), _count(tree, "pix_y"))]
    modes = tree.get("scan_parameters_list") or [tree.get("scan_parameters", {})]
    for mode in ("acquire", "search"):
        for scan in modes:
            if isinstance(scan, Mapping) and scan.get("mode", "acquire") == mode:
                size = (_count(scan, "scan_resolution_x"), _count(scan, "scan_resolution_y"))
                claims.append(_Claim(f"scan_resolution of the {mode} mode", *size))
    shape = [int(n) for n in re.findall(r"\d{1,9}", str(value_at(tree, "scan", "shape")))]
    if len(shape) == 2:  # second generation
        claims.append(_Claim("scan/shape", shape[1], shape[0]))
    if name := re.search(r"scan_x(\d+)_y(\d+)", os.path.basename(raw)):
        claims.append(_Claim("the name of the data file", int(name[1]), int(name[2])))
    return claims


def _count(tree: Mapping[str, Any], name: str) -> int:
    value = to_number(tree.get(name))
    return int(value) if value is not None and 0 < value < 1 << 31 else 0


def counters_hint(file: DataFile, count: int) -> list[ScanHint]:
    """Read the scan shape from the counters in the first and last frame, if they make sense."""
    values = []
    for i in (0, count - 1):
        start = i * FRAME_G1 + EDGE * EDGE * 4 + COUNTERS * 4
        values.append(np.frombuffer(bytes(backends.read(file, start, 16, "auto")), "<f4"))
    span = values[1] - values[0]
    if not np.isfinite(span).all() or (span[:2] < 0).any() or (span[:2] != span[:2].round()).any():
        return []
    a, b = (int(n) + 1 for n in span[:2])
    if a * b != count or a == 1 or b == 1:
        return []
    reason = "the scan counters behind the pixels (known from a single source)"
    return [ScanHint("header", (b, a), 0.6, f"{reason}: {a} x {b}")]


# ---------------------------------------------------------------- axes


def scan_axes(tree: Mapping[str, Any], hints: list[ScanHint]) -> tuple[Axis, ...]:
    """Calibrate the scan: field of view over the larger number of positions."""
    if not hints:  # a series
        return (Axis("series_count", "ms", to_number(tree.get("exposure_time")) or 0.0),)
    optics = value_at(tree, "iom_measurements", "optics", "get_full_scan_field_of_view")
    view = [to_number(n) for n in re.findall(r"[\d.eE+-]+", str(optics or ""))]
    factor = 1.0
    if not view:
        measured = value_at(tree, "iom_measurements", "full_scan_field_of_view")
        x, y, scale = (to_number(value_at(measured, n)) for n in ("x", "y", "scale_factor"))
        view, factor = [x, y], scale or 1.0
    largest = max(hints[0].shape, default=0)
    if len(view) < 2 or any(v is None or v <= 0 for v in view) or not largest:
        return (Axis("scan_y"), Axis("scan_x"))
    axes = []
    for name, width in (("scan_y", view[1]), ("scan_x", view[0])):
        assert width is not None
        scale, unit = _length(width / factor / largest)
        axes.append(Axis(name, unit, scale))
    return tuple(axes)


def _length(metres: float) -> tuple[float, str]:
    """Express a length in the unit that makes it a handy number."""
    for unit, size in (("nm", 1e-9), ("µm", 1e-6), ("mm", 1e-3)):
        if abs(metres) < 1000 * size:
            return metres / size, unit
    return metres, "m"


def signal_axes(tree: Mapping[str, Any], q_calibration: float | None) -> tuple[Axis, ...]:
    """Calibrate the detector with its centre at zero."""
    size = to_number(value_at(tree, "iom_measurements", "calibrated_pixelsize"))
    if q_calibration is None and size:
        q_calibration = size * 1e9
    units, scale = (None, 1) if q_calibration is None else ("1/nm", q_calibration)
    return tuple(Axis(name, units, scale, -EDGE // 2 * scale) for name in ("height", "width"))
