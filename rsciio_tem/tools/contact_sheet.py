# SPDX-License-Identifier: GPL-3.0-or-later
"""Contact sheets: a small picture of each of many recordings, from a few of its frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.protocol import Frames
from rsciio_tem.reading.arrange import Arranged
from rsciio_tem.reading.read import axes_of
from rsciio_tem.recording.recording import Recording
from rsciio_tem.reduction.single_pass import one_pass
from rsciio_tem.tools.drawing import (
    Canvas,
    Curve,
    Picture,
    Theme,
    Typewriter,
    binned,
    draw_bar,
    draw_curve,
    draw_picture,
    styled,
)
from rsciio_tem.tools.preview import Kind, described, kind_of, mostly_positive, summable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PER_SHEET", "Tile", "draw_tiles", "tile_of"]

#: Recordings on one sheet: six in a row.
PER_SHEET = 48
_COLUMNS = 6

#: Of each recording so many bytes are read, about, but at least one frame.
_BYTES = 64 << 20

#: Frames of which patterns are added up, and least lines and columns of an image of the scan.
_PATTERNS, _LEAST = 64, 6

_MARGIN, _GAP, _SIDE, _TEXT = 28, 18, 190, 72


@dataclass(frozen=True, eq=False)
class Tile:
    """A recording on a contact sheet.

    Parameters
    ----------
    name : str
        What it is called.
    shown : Picture or Curve, optional
        What is drawn.
    lines : tuple of str
        What stands below its name.
    problem : str
        Why nothing is drawn.
    description : dict
        What it is, in plain values.
    """

    name: str
    shown: Picture | Curve | None = None
    lines: tuple[str, ...] = ()
    problem: str = ""
    description: dict[str, Any] = field(default_factory=dict)


def tile_of(name: str, recording: Recording, arranged: Arranged) -> Tile:
    """Make a tile: of a scan its image, of images the middle one, of others a sum over some.

    Parameters
    ----------
    name : str
        What to call it.
    recording, arranged : Recording, Arranged
        What it is about, and how its frames are arranged.
    """
    source = arranged.source
    frames, shape = source.frames, source.nav_shape
    axes = axes_of(recording, arranged)
    kind = kind_of(recording, axes, len(shape))
    description = described(recording, arranged, axes, kind)
    nbytes = max(1, math.prod(frames.frame_shape) * frames.dtype.itemsize)
    grid = _grid(shape, nbytes) if kind != "images" else None
    shown: Picture | Curve
    if grid is not None:
        words, shown = "navigator", _navigator(frames, shape, axes, grid)
        if max(grid) > 1:
            words += f" in steps of {max(grid)}"
    else:
        words, shown = _frame(frames, axes[len(shape) :], kind, nbytes)
    scan = " × ".join(map(str, shape[::-1])) if shape else ""
    size = " × ".join(map(str, frames.frame_shape[::-1]))
    lines = (f"{scan} of {size} px" if scan else f"{size} px", f"{recording.format}: {words}")
    return Tile(name, shown, lines, description={**description, "shown": words})


def _grid(shape: tuple[int, ...], nbytes: int) -> tuple[int, int] | None:
    """Choose which lines and columns of a scan are read: every so many; None if too few are."""
    if len(shape) < 2 or min(shape[-2:]) < 2:
        return None
    lines, columns = shape[-2:]
    step = math.ceil(max(1.0, math.sqrt(lines * columns * nbytes / _BYTES)))
    step = max(step, -(-max(lines, columns) // (2 * _SIDE)))
    steps = (min(step, lines), min(step, columns))
    enough = all(-(-n // k) >= min(n, _LEAST) for n, k in zip((lines, columns), steps, strict=True))
    return steps if enough else None


def _navigator(
    frames: Frames, shape: tuple[int, ...], axes: Sequence[dict[str, Any]], grid: tuple[int, int]
) -> Picture:
    lines, columns = shape[-2:]
    rows, places = np.arange(0, lines, grid[0]), np.arange(0, columns, grid[1])
    slow = math.prod(shape[:-2]) // 2  # of several scans the one in the middle
    index = (slow * lines + rows[:, np.newaxis]) * columns + places
    chosen = frames[index.reshape(-1)]
    sums = one_pass(summable(chosen), what=["navigator"])["navigator"].reshape(index.shape)
    blanks = chosen.blanks
    valid = None if blanks is None or not blanks.any() else ~blanks.reshape(index.shape)
    scan_axes = axes[len(shape) - 2 : len(shape)]
    return Picture(sums, valid, axes=[_coarse(a, k) for a, k in zip(scan_axes, grid, strict=True)])


def _frame(
    frames: Frames, axes: Sequence[dict[str, Any]], kind: Kind, nbytes: int
) -> tuple[str, Picture | Curve]:
    places = np.arange(len(frames))
    blanks = frames.blanks
    if blanks is not None and not blanks.all():
        places = np.flatnonzero(~blanks)
    one = len(places) == 1
    if kind == "images":
        index = places[[len(places) // 2]]
        words = "image" if one else f"image {index[0] + 1} of {len(frames)}"
    else:
        count = min(len(places), _PATTERNS, max(1, _BYTES // nbytes))
        index = places[np.linspace(0, len(places) - 1, count).round().astype(np.int64)]
        noun = {"patterns": "pattern", "spectra": "spectrum"}.get(kind, "frame")
        words = f"sum of {count} {'spectra' if noun == 'spectrum' else noun + 's'}"
        if count == 1:
            index = places[[len(places) // 2]]
            words = noun if one else f"{noun} {index[0] + 1} of {len(frames)}"
    total = one_pass(summable(frames[index]), what=["sum"])["sum"]
    if total.ndim < 2:
        return words, Curve(total, axes[0] if axes else None, "channel")
    values = np.asarray(total.sum(axis=tuple(range(total.ndim - 2))))
    log = kind != "images" and mostly_positive(values)
    steps = tuple(max(1, n // (2 * _SIDE)) for n in values.shape)
    small: npt.NDArray[Any] = binned(values, None, *steps)
    coarse = [_coarse(axis, step) for axis, step in zip(axes[-2:], steps, strict=True)]
    return words, Picture(small, log=log, colours=kind != "images", axes=coarse)


def _coarse(axis: dict[str, Any], step: int) -> dict[str, Any]:
    """Return the axis of every so many values of an axis."""
    scale = axis.get("scale")
    return axis if scale is None or step == 1 else {**axis, "scale": scale * step}


# ---------------------------------------------------------------- drawing


def draw_tiles(tiles: Sequence[Tile], title: str, footer: str, theme: Theme) -> Figure:
    """Draw tiles in rows.

    Parameters
    ----------
    tiles : sequence of Tile
        At least one, at most `PER_SHEET` or so.
    title, footer : str
        What to write above and below them.
    theme : Theme
        Colours.
    """
    with styled():
        return _drawn(tiles, title, footer, theme)


def _drawn(tiles: Sequence[Tile], title: str, footer: str, theme: Theme) -> Figure:
    writer = Typewriter()
    columns = min(_COLUMNS, max(3, math.ceil(math.sqrt(len(tiles)))))
    rows = -(-len(tiles) // columns)
    width = 2 * _MARGIN + columns * _SIDE + (columns - 1) * _GAP
    heads = writer.wrapped(title, 24, width - 2 * _MARGIN)
    top = _MARGIN + 32 * len(heads) + 12
    height = top + rows * (_SIDE + _TEXT + _GAP) + _MARGIN
    canvas = Canvas(width, height, theme)
    for i, line in enumerate(heads):
        canvas.text(_MARGIN, _MARGIN - 6 + 32 * i, line, 24, theme.ink)
    for i, tile in enumerate(tiles):
        x = _MARGIN + i % columns * (_SIDE + _GAP)
        y = top + i // columns * (_SIDE + _TEXT + _GAP)
        if tile.shown is None:
            _draw_problem(canvas, writer, tile.problem, x, y)
        elif isinstance(tile.shown, Curve):
            axes = canvas.axes(x + 46, y + 2, _SIDE - 48, _SIDE - 44)
            draw_curve(axes, tile.shown, theme, theme.ink, small=True)
        else:
            wide, high = tile.shown.size(_SIDE, _SIDE)
            axes = canvas.axes(x + (_SIDE - wide) / 2, y + (_SIDE - high) / 2, wide, high)
            draw_picture(axes, tile.shown, theme, (wide, high))
            draw_bar(axes, tile.shown, 11)
        canvas.text(x, y + _SIDE + 6, writer.shortened(tile.name, 14, _SIDE), 14, theme.ink)
        for j, line in enumerate(tile.lines):
            text = writer.shortened(line, 12, _SIDE)
            canvas.text(x, y + _SIDE + 26 + 17 * j, text, 12, theme.dim)
    canvas.text(width - _MARGIN, height - 30, footer, 12, theme.faint, "right")
    return canvas.figure


def _draw_problem(canvas: Canvas, writer: Typewriter, problem: str, x: float, y: float) -> None:
    theme = canvas.theme
    axes = canvas.axes(x, y, _SIDE, _SIDE)
    axes.set(xticks=[], yticks=[], facecolor=theme.paper)
    for spine in axes.spines.values():
        spine.set(edgecolor=theme.warning, linewidth=0.8, linestyle=(0, (4, 3)))
    lines = writer.wrapped(problem, 13, _SIDE - 20)
    if len(lines) > 10:
        lines = [*lines[:9], "…"]
    for i, line in enumerate(lines):
        canvas.text(x + 10, y + 8 + 17 * i, line, 13, theme.warning)
