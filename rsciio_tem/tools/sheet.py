# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw a preview on one sheet: pictures with scale bars, curves with numbers, and what they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.tools.direct_beam import real
from rsciio_tem.tools.drawing import (
    DARK,
    Canvas,
    Curve,
    Picture,
    Theme,
    Typewriter,
    draw_bar,
    draw_colour_bar,
    draw_curve,
    draw_picture,
    styled,
)
from rsciio_tem.tools.preview import Preview, mostly_positive
from rsciio_tem.tools.ticks import span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Panel", "Sheet", "draw", "panels_of"]

_MARGIN, _GAP = 32, 28

#: Height of pictures side by side, and of one alone.
_ROW, _ALONE = 280, 480


# ---------------------------------------------------------------- panels


@dataclass(frozen=True, eq=False)
class Panel:
    """A part of a sheet: what is drawn, with a title and a text below it."""

    name: str
    title: str
    caption: str
    shown: Picture | Curve
    colour: str = ""  # of the mark before the title: "bright" or "dark"

    def size(self, room: float) -> tuple[float, float]:
        """Width and height of what is drawn, without numbers."""
        if isinstance(self.shown, Curve):
            return 1.1 * room, room - self.below
        return self.shown.size(room, 1.6 * room)

    @property
    def below(self) -> float:
        """Room for the numbers of the horizontal axis."""
        return 44 if isinstance(self.shown, Curve) else 0

    @property
    def left(self) -> float:
        """Room for the numbers of the vertical axis."""
        return 58 if isinstance(self.shown, Curve) else 0

    @property
    def right(self) -> float:
        """Room for the colour bar and its numbers."""
        return 8 if isinstance(self.shown, Curve) else 74


@dataclass(frozen=True, eq=False)
class Sheet:
    """A drawn preview.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What is saved; belongs to no window.
    panels : dict of str to matplotlib.axes.Axes
        Its panels by name.
    text : tuple of str
        What is written on it: title and lines.
    """

    figure: Figure
    panels: dict[str, Axes]
    text: tuple[str, ...] = ()
    scale_bars: dict[str, str] = field(default_factory=dict)


def panels_of(preview: Preview) -> list[Panel]:
    """Choose what is shown of a recording."""
    frame = {
        "patterns": "pattern",
        "images": "section" if preview.is_volume else "image",
        "spectra": "spectrum",
        "frames": "frame",
    }[preview.kind]
    several = "spectra" if frame == "spectrum" else f"{frame}s"
    if preview.count == 1:
        return _single(preview, frame)
    summed = f"Sum of all {several}"
    if preview.is_volume:
        summed = f"Projection along {preview.axes[0]['name'] or 'the first axis'}"
    panels = [_pattern(preview, summed)]
    if preview.frame is not None:
        nth = preview.middle + 1
        title = f"{frame.capitalize()} {nth} of {preview.count}"
        panels.insert(0, _image("frame", title, preview.frame, preview.frame_axes))
    each = "Navigator" if len(preview.shape) > 1 else f"Sum of each {frame}"
    caption = f"sum of each {frame}" if len(preview.shape) > 1 else ""
    panels.append(_map("navigator", each, caption, preview.navigator, preview, frame))
    virtual = preview.virtual
    if virtual is not None and preview.bright_field is not None and preview.dark_field is not None:
        patterns = preview.kind == "patterns" or len(preview.shape) > 1
        inside, ring = (
            ("Bright field", "Annular dark field")
            if patterns
            else ("Inside the disk", "In the ring")
        )
        radius = f"inside r = {virtual.disk.radius:.3g} px"
        radii = f"r = {virtual.inner:.3g} to {virtual.outer:.3g} px"
        for name, title, caption, values, colour in (
            ("bright field", inside, radius, preview.bright_field, "bright"),
            ("dark field", ring, radii, preview.dark_field, "dark"),
        ):
            panels.append(_map(name, title, caption, values, preview, frame, colour))
    return panels


def _single(preview: Preview, frame: str) -> list[Panel]:
    axes, values = preview.frame_axes, preview.pattern
    if values.ndim < 2:
        return [_pattern(preview, frame.capitalize())]
    title = frame.capitalize() + ("" if preview.kind == "images" else ", linear scale")
    panels = [_image("frame", title, values, axes)]
    if preview.kind != "images" and mostly_positive(values):
        panels.append(_pattern(preview, frame.capitalize()))
    return panels


def _image(
    name: str, title: str, values: npt.NDArray[Any], axes: Sequence[dict[str, Any]]
) -> Panel:
    shown = Picture(_last_two(values), axes=axes)
    return Panel(name, title, _caption(shown, span(values)), shown)


def _pattern(preview: Preview, title: str) -> Panel:
    values, axes = preview.pattern, preview.frame_axes
    log = preview.kind != "images" and mostly_positive(values)
    if values.ndim < 2:
        axis = axes[0] if axes else None
        log = log and _steep(real(values))
    if preview.kind != "images":
        title += f", {'log' if log else 'linear'} scale"
    if values.ndim < 2:
        curve = Curve(real(values), axis, "channel", log)
        return Panel("pattern", title, f"{values.size} channels: {span(values)}", curve)
    virtual = preview.virtual
    shown = Picture(
        _last_two(values),
        log=log,
        colours=preview.kind != "images",
        axes=axes,
        virtual=virtual,
    )
    note = "" if virtual is None else "disk in blue, ring in green"
    if virtual is not None and not virtual.disk.certain:
        note = "no clear central disk: circles are a guess"
    return Panel("pattern", title, _caption(shown, note), shown)


def _steep(values: npt.NDArray[np.float64]) -> bool:
    """Whether a curve is better seen on a logarithmic scale, as a zero-loss peak is."""
    positive = values[np.isfinite(values) & (values > 0)]
    few_zeros = positive.size > 0.95 * values.size
    return bool(few_zeros and positive.max() > 50 * np.median(positive))


def _caption(shown: Picture, note: str) -> str:
    rows, columns = shown.values.shape
    parts = [f"{columns} × {rows} px", shown.field, note]
    if shown.stretched:
        parts.append("stretched to be seen")
    return ", ".join(part for part in parts if part)


def _map(
    name: str,
    title: str,
    caption: str,
    values: npt.NDArray[Any],
    preview: Preview,
    frame: str,
    colour: str = "",
) -> Panel:
    axes, missing = preview.scan_axes, preview.missing
    valid = np.ones(values.shape, np.bool_) if missing is None else ~missing
    if values.ndim > 2:
        caption += f", and over {math.prod(values.shape[:-2])}"
        slow = tuple(range(values.ndim - 2))
        values, valid = values.sum(axis=slow), np.asarray(valid.any(axis=slow))
    note = ": ".join(part for part in (caption, span(values[valid])) if part)
    if min(values.shape) == 1 or values.ndim == 1:
        flat = np.where(valid, real(values), np.nan).reshape(-1)
        axis = axes[-1 if values.shape[-1] == flat.size else -2]
        curve = Curve(flat, axis, frame)
        return Panel(name, title, note, curve, colour)
    shown = Picture(values, valid, axes=axes)
    if shown.field:
        note += f"; {shown.field}"
    if shown.stretched:
        note += "; stretched to be seen"
    return Panel(name, title, note, shown, colour)


def _last_two(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(values.sum(axis=tuple(range(values.ndim - 2))))


# ---------------------------------------------------------------- drawing


def draw(
    preview: Preview,
    *,
    title: str,
    lines: Sequence[str] = (),
    footer: str = "",
    theme: Theme = DARK,
) -> Sheet:
    """Draw what was measured.

    Parameters
    ----------
    preview : Preview
        Of `measure`.
    title, lines, footer : str, list of str, str
        What to write above and below the panels.
    theme : Theme
        `DARK` or `LIGHT`.

    Returns
    -------
    Sheet
        With some of the panels "frame", "pattern", "navigator", "bright field", "dark field".
    """
    with styled():
        return _composed(panels_of(preview), title, lines, footer, theme)


def _composed(
    panels: Sequence[Panel], title: str, lines: Sequence[str], footer: str, theme: Theme
) -> Sheet:
    writer = Typewriter()
    boxes, row = [], 0.0
    room = _ROW if len(panels) > 1 else _ALONE
    for panel in panels:
        width, height = panel.size(room)
        row = max(row, height + panel.below)
        width += panel.left + panel.right
        heading = writer.width(panel.title, 18) + (20 if panel.colour else 0)
        boxes.append(max(width, heading, 190))
    width = math.ceil(max(2 * _MARGIN + sum(boxes) + _GAP * (len(boxes) - 1), 760))
    inside = width - 2 * _MARGIN
    heads = writer.wrapped(title, 28, inside)
    rows = [row for line in lines for row in writer.wrapped(line, 18, inside)]
    top = _MARGIN + 38 * len(heads) + 4 + 26 * len(rows) + 20
    captions = [writer.wrapped(p.caption, 15, box) for p, box in zip(panels, boxes, strict=True)]
    below = 12 + 28 + 21 * max(len(c) for c in captions)
    height = math.ceil(top + row + below + (30 if footer else 0) + _MARGIN - 10)
    canvas = Canvas(width, height, theme)
    y = _MARGIN - 6.0
    for text in heads:
        canvas.text(_MARGIN, y, text, 28, theme.ink)
        y += 38
    y += 4
    for i, text in enumerate(rows):
        canvas.text(_MARGIN, y, text, 18, theme.ink if i == 0 else theme.dim)
        y += 26
    drawn: dict[str, Axes] = {}
    bars: dict[str, str] = {}
    x = float(_MARGIN)
    for panel, box, caption in zip(panels, boxes, captions, strict=True):
        wide, high = panel.size(room)
        if isinstance(panel.shown, Curve):
            axes = canvas.axes(x + panel.left, top, wide, high)
            colour = getattr(theme, panel.colour) if panel.colour else theme.ink
            draw_curve(axes, panel.shown, theme, colour)
        else:
            upper = top + (row - high) / 2
            axes = canvas.axes(x, upper, wide, high)
            shades = draw_picture(axes, panel.shown, theme, (wide, high))
            if (words := draw_bar(axes, panel.shown)) is not None:
                bars[panel.name] = words
            draw_colour_bar(canvas, shades, (x + wide + 8, upper, 11, high))
        drawn[panel.name] = axes
        y, left = top + row + 12, x
        if panel.colour:
            _mark(canvas, x + 6, y + 11, getattr(theme, panel.colour))
            left += 20
        canvas.text(left, y, panel.title, 18, theme.ink)
        for i, text in enumerate(caption):
            canvas.text(x, y + 28 + 21 * i, text, 15, theme.dim)
        x += box + _GAP
    if footer:
        canvas.text(width - _MARGIN, height - 34, footer, 15, theme.faint, "right")
    return Sheet(canvas.figure, drawn, (title, *lines), bars)


def _mark(canvas: Canvas, x: float, y: float, colour: str) -> None:
    from matplotlib.patches import Ellipse

    width, height = canvas.width, canvas.height
    canvas.figure.add_artist(
        Ellipse((x / width, 1 - y / height), 12 / width, 12 / height, color=colour, linewidth=0)
    )
