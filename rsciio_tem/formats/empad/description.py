# SPDX-License-Identifier: GPL-3.0-or-later
"""The .xml beside the pixels: names, shape, calibration, metadata."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from rsciio_tem.errors import FormatError, Problem
from rsciio_tem.formats.empad.layout import COUNTERS, EDGE, FRAME_G1
from rsciio_tem.parsing.text import to_number
from rsciio_tem.recording.axis import Axis
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import backends, files
from rsciio_tem.storage.backends import DataFile


def _xml_of(raw: str) -> str | None:
    """Find the .xml beside a .raw that names it."""
    folder, base = os.path.split(raw)
    found: list[str] = []
    for entry in sorted(os.listdir(folder or "."))[:5000]:
        if entry.lower().endswith(".xml") and len(found) < 200:
            found.append(os.path.join(folder, entry))
    for xml in found:
        if base.encode() in files.read_start(xml, 1 << 14):
            return xml
    return None


def _raw_of(xml: str, named: str, problems: list[Problem]) -> str:
    """Find the .raw that an .xml names: by its name alone, whatever folder it once was in."""
    folder = os.path.dirname(xml)
    base = re.split(r"[/\\]", named.strip())[-1]
    candidates = [base, os.path.splitext(os.path.basename(xml))[0] + ".raw"]
    listing = {entry.lower(): entry for entry in os.listdir(folder or ".")}
    for i, candidate in enumerate(candidates):
        if candidate and (entry := listing.get(candidate.lower())):
            if i:
                problems.append(
                    Problem(
                        "warning",
                        f"{base!r}, which the .xml names, is not there; {entry} is read instead.",
                    )
                )
            return os.path.join(folder, entry)
    others = [entry for name, entry in listing.items() if name.endswith(".raw")]
    if len(others) == 1:
        problems.append(
            Problem(
                "warning",
                f"{base!r}, which the .xml names, is not there; "
                f"{others[0]}, the only .raw in the folder, is read instead.",
            )
        )
        return os.path.join(folder, others[0])
    raise FormatError(
        xml,
        f"names the data file {base!r}, which is not beside it"
        + (f" (there are {', '.join(sorted(others)[:5])})." if others else "."),
        "Put it there, or open the .raw itself.",
    )


# ---------------------------------------------------------------- description


def _number(tree: Mapping[str, Any], *path: str) -> float | None:
    value: Any = tree
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return to_number(value)


def _whole(tree: Mapping[str, Any], *path: str) -> int:
    value = _number(tree, *path)
    return int(value) if value is not None and 0 < value < 1 << 31 else 0


def _shape_hints(tree: Mapping[str, Any], raw: str, count: int) -> list[ScanHint]:
    """List the scan shapes that description and file name give, the most credible first."""
    found: list[tuple[str, int, int]] = []

    def add(reason: str, columns: int, lines: int) -> None:
        if columns > 0 and lines > 0:
            found.append((reason, columns, lines))

    add("pix_x, pix_y", _whole(tree, "pix_x"), _whole(tree, "pix_y"))
    modes = tree.get("scan_parameters_list") or [tree.get("scan_parameters", {})]
    for wanted in ("acquire", "search"):
        for scan in modes:
            if isinstance(scan, Mapping) and scan.get("mode", "acquire") == wanted:
                size = (_whole(scan, "scan_resolution_x"), _whole(scan, "scan_resolution_y"))
                add(f"scan_resolution of the {wanted} mode", *size)
    shape = [int(n) for n in re.findall(r"\d+", str(_text(tree, "scan", "shape")))]
    if len(shape) == 2:  # second generation
        add("scan/shape", shape[1], shape[0])
    if name := re.search(r"scan_x(\d+)_y(\d+)", os.path.basename(raw)):
        add("the name of the data file", int(name[1]), int(name[2]))
    if str(tree.get("type", "")).strip() == "series" or "series_x" in os.path.basename(raw):
        return []
    exact = [f for f in found if f[1] * f[2] == count]
    more = sorted((f for f in found if f[1] * f[2] > count), key=lambda f: f[1] * f[2])
    less = [f for f in found if f[1] * f[2] < count]
    hints = []
    for i, (reason, columns, lines) in enumerate([*exact, *more, *less]):
        confidence = 0.95 if i < len(exact) else 0.7
        hints.append(
            ScanHint(
                "header",
                (lines, columns),
                confidence - 0.01 * i,
                f"{reason}: {columns} x {lines}"
                + ("" if i < len(exact) else f", though there are {count} frames"),
            )
        )
    return hints


def _text(tree: Mapping[str, Any], *path: str) -> Any:
    value: Any = tree
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _counters_hint(file: DataFile, count: int) -> list[ScanHint]:
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


def _length(metres: float) -> tuple[float, str]:
    """Express a length in the unit that makes it a handy number."""
    for unit, size in (("nm", 1e-9), ("µm", 1e-6), ("mm", 1e-3)):
        if abs(metres) < 1000 * size:
            return metres / size, unit
    return metres, "m"


def _scan_axes(tree: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[Axis, ...]:
    """Calibrate the scan: field of view over the larger number of positions."""
    optics = _text(tree, "iom_measurements", "optics", "get_full_scan_field_of_view")
    view = [to_number(n) for n in re.findall(r"[\d.eE+-]+", str(optics or ""))]
    factor = 1.0
    if not view:
        place = ("iom_measurements", "full_scan_field_of_view")
        view = [_number(tree, *place, "x"), _number(tree, *place, "y")]
        factor = _number(tree, *place, "scale_factor") or 1.0
    largest = max(shape, default=0)
    if len(view) < 2 or any(v is None or v <= 0 for v in view) or not largest:
        return (Axis("scan_y"), Axis("scan_x"))
    axes = []
    for name, width in (("scan_y", view[1]), ("scan_x", view[0])):
        assert width is not None
        scale, unit = _length(width / factor / largest)
        axes.append(Axis(name, unit, scale))
    return tuple(axes)


def _signal_axes(scale: float | None) -> tuple[Axis, Axis]:
    """Calibrate the detector with its centre at zero."""
    if scale is None:
        return (Axis("height", None, 1, -EDGE // 2), Axis("width", None, 1, -EDGE // 2))
    return tuple(  # type: ignore[return-value]
        Axis(name, "1/nm", scale, -EDGE // 2 * scale) for name in ("height", "width")
    )


def _metadata(tree: Mapping[str, Any], path: str, second: bool) -> dict[str, Any]:
    general: dict[str, Any] = {
        "title": os.path.splitext(os.path.basename(path))[0],
        "original_filename": os.path.basename(path),
    }
    stamp = str(_text(tree, "timestamp", "isoformat") or "")
    if match := re.match(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d(?:\.\d+)?)", stamp):
        general["date"], general["time"] = match[1], match[2]
    camera: dict[str, Any] = {"name": "EMPAD-G2" if second else "EMPAD"}
    milliseconds = _number(tree, "exposure_time")
    seconds = _number(tree, "scan", "exposure_time")
    exposure = milliseconds / 1000 if milliseconds is not None else seconds
    if exposure is not None:
        camera["exposure"] = exposure
    tem: dict[str, Any] = {"Detector": {"Camera": camera}}
    measured = ("iom_measurements",)
    voltage = _number(tree, *measured, "high_voltage")
    voltage = voltage or _number(tree, *measured, "source", "get_voltage")
    if voltage:
        tem["beam_energy"] = voltage / 1000
    length = _number(tree, *measured, "nominal_camera_length")
    length = length or _number(tree, *measured, "optics", "get_cameralength")
    if length:
        tem["camera_length"] = length * 1000
    return {
        "General": general,
        "Signal": {"signal_type": "electron_diffraction"},
        "Acquisition_instrument": {"TEM": tem},
    }
