# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports on many recordings: a row for each, for people and programs."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from rsciio_tem._version import __version__
from rsciio_tem.errors import FormatError, Problem
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import Scan
from rsciio_tem.storage.files import replacing

__all__ = ["as_json", "check_writable", "described", "problem_as_json", "save"]

#: Version of the rows; changes when a key changes its meaning or goes.
SCHEMA = 1

#: Columns of a table, and where their values are in a row.
_COLUMNS = (
    *("path", "target", "verdict", "format", "frames", "frame_shape", "dtype"),
    *("navigation_shape", "rule", "confidence", "contradictions", "incomplete_lines"),
    *("errors", "warnings", "reason", "files", "sha256", "verified", "bytes", "seconds"),
)


def described(recording: Recording, scan: Scan | None = None) -> dict[str, Any]:
    """Return what a row says about a recording.

    Parameters
    ----------
    recording : Recording
        What it is about.
    scan : Scan, optional
        How its frames are arranged; without it, the row does not say.
    """
    row: dict[str, Any] = {
        "format": recording.format,
        "frames": {
            "stored": recording.count,
            "shape": list(recording.frames.frame_shape),
            "dtype": recording.frames.dtype.name,
        },
        "headers": recording.times is not None,
        "files": list(recording.files),
    }
    if scan is not None:
        described = scan.describe()
        row["scan"] = {
            "navigation_shape": list(scan.shape[::-1]),
            **{name: described.get(name) for name in ("rule", "confidence", "contradictions")},
            "incomplete_lines": described.get("incomplete_lines", 0),
        }
    return row


def problem_as_json(problem: Problem) -> dict[str, str]:
    """Return a problem as its entries in a row."""
    return {"severity": problem.severity, "message": problem.message, "hint": problem.hint}


def as_json(value: Any) -> bytes:
    """Return JSON in UTF-8; what UTF-8 cannot express in a name is escaped, as JSON does."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def check_writable(path: str) -> None:
    """Refuse a name that is not one of a report, or that another file has.

    Raises
    ------
    ValueError
        It ends with neither .json nor .csv.
    FormatError
        There is another file of this name.
    """
    kind = os.path.splitext(path)[1].lower()
    if kind not in (".json", ".csv"):
        raise ValueError(f"{path!r}: a report is FILE.json or FILE.csv")
    if not os.path.lexists(path):
        if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
            raise FormatError(path, "cannot be written: there is no such folder.")
        return
    start = b""
    if os.path.isfile(path):
        with open(path, "rb") as file:
            start = file.read(256)
    if not start.startswith((_header(), b'{\n  "rsciio_tem": ')):
        raise FormatError(
            path, "exists, and is not a report that can be replaced.", "Choose another name."
        )


def save(path: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a report, which replaces an earlier one."""
    check_writable(path)
    if path.lower().endswith(".csv"):
        content = _header() + b"".join(_line(_flat(row).values()) for row in rows)
    else:
        content = as_json({"rsciio_tem": __version__, "schema": SCHEMA, "recordings": rows})
    with replacing(path, overwrite=True) as temporary, open(temporary, "wb") as file:
        file.write(content)


def _header() -> bytes:
    return _line(_COLUMNS)


def _line(values: Any) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerow(values)
    return out.getvalue().encode("utf-8", "backslashreplace")


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a row: numbers and texts."""
    frames, scan = row.get("frames") or {}, row.get("scan") or {}
    problems = row.get("problems") or ()

    def messages(severity: str) -> str:
        return "; ".join(p["message"] for p in problems if p["severity"] == severity)

    values = {
        **row,
        "frames": frames.get("stored", ""),
        "frame_shape": " x ".join(map(str, frames.get("shape", ())[::-1])),
        "dtype": frames.get("dtype", ""),
        "navigation_shape": " x ".join(map(str, scan.get("navigation_shape", ()))),
        "rule": scan.get("rule", ""),
        "confidence": scan.get("confidence", ""),
        "contradictions": "; ".join(scan.get("contradictions") or ()),
        "incomplete_lines": scan.get("incomplete_lines", ""),
        "errors": messages("error"),
        "warnings": messages("warning"),
        "files": "; ".join(row.get("files") or ()),
        "sha256": "; ".join((row.get("checksums") or {}).values()),
    }
    return {name: values.get(name, "") for name in _COLUMNS}
