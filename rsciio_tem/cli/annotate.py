# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``rsciio-tem annotate`` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from rsciio_tem.cli.words import scan_in_words
from rsciio_tem.errors import collected

__all__ = ["annotate", "in_words"]


def annotate(
    path: str, options: dict[str, Any], remove: tuple[str, ...], notes: str | None, overwrite: bool
) -> None:
    """Write a side file, and say what the recording is with it."""
    from rsciio_tem.tools.annotate import KEYWORDS
    from rsciio_tem.tools.annotate import annotate as write
    from rsciio_tem.tools.open import arranged

    format = options.pop("format_name")
    values = {name: value for name, value in options.items() if value is not None}
    values |= {name.replace("-", "_"): None for name in remove}
    side = write(path, format, notes=notes, overwrite=overwrite, **values)
    click.echo(side)
    opening = {n: v for n, v in values.items() if n not in KEYWORDS}
    with collected():
        recording, arrangement = arranged(path, format, opening)
        used = recording.annotation is not None and recording.annotation.values
        if not used and "navigation_shape" in values:  # frames are cut by it
            opening["navigation_shape"] = values["navigation_shape"]
            recording, arrangement = arranged(path, format, opening)
    click.echo(f"  {scan_in_words(arrangement.scan.shape)}")
    if (note := recording.annotation) is not None:
        for line in in_words(note.values, note.written, note.notes):
            click.echo(f"  {line}")


def in_words(values: Mapping[str, Any], written: Mapping[str, Any], notes: str) -> list[str]:
    """Say what a side file holds."""

    def said(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)

    lines = [f"{name} = {said(value)}" for name, value in values.items()]
    by = " ".join(str(written.get(n, "")) for n in ("by", "version", "time")).split()
    if by:
        lines.append(f"written by {' '.join(by)}")
    return [*lines, *([f"notes: {notes}"] if notes else [])]
