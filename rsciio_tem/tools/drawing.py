# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures with scale bars, curves with numbers, and texts: what sheets are drawn of.

They are drawn by Matplotlib, without a window, and without the settings of the user.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError
from rsciio_tem.storage.files import replacing
from rsciio_tem.tools.direct_beam import Detectors, real
from rsciio_tem.tools.scale_bars import bar_of, pixel_ratio, step_of, unit_in_words
from rsciio_tem.tools.ticks import labels_of, number_in_words, ticks_between

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "DARK",
    "LIGHT",
    "Canvas",
    "Curve",
    "Picture",
    "Theme",
    "Typewriter",
    "binned",
    "check_name",
    "draw_bar",
    "draw_colour_bar",
    "draw_curve",
    "draw_picture",
    "drawable",
    "save",
    "styled",
]

#: Suffixes of pictures, and what the library that draws calls them.
_KINDS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".svg": "svg", ".pdf": "pdf"}

#: Units of the layout per inch; they are the pixels of a screen.
_DPI = 100

#: Pixels of files per unit of the layout.
_SCALE = 1.5

#: Texts are measured so much larger than they are drawn.
_FINE = 8

#: Numbers that pictures have at most.
_LARGEST = 1e280

#: Width by height of pictures; beyond, they would be lines.
_NARROWEST, _WIDEST = 1 / 10, 16


@dataclass(frozen=True)
class Theme:
    """Colours of a sheet."""

    paper: str
    frame: str
    ink: str
    dim: str
    faint: str
    grid: str
    missing: str
    bright: str  # bright field
    dark: str  # dark field
    warning: str


DARK = Theme(
    paper="#12141a",
    frame="#3a3f4c",
    ink="#eceef3",
    dim="#9ea5b4",
    faint="#687080",
    grid="#2c303c",
    missing="#26304e",
    bright="#5cd6ff",
    dark="#96eb8c",
    warning="#f0b454",
)

LIGHT = Theme(
    paper="#ffffff",
    frame="#b8bdc9",
    ink="#16181d",
    dim="#4d5462",
    faint="#868d9b",
    grid="#e4e6ec",
    missing="#b9c8ea",
    bright="#0878b4",
    dark="#2c8423",
    warning="#a85800",
)

#: Rings are drawn on the dark ground of a pattern in either theme.
_ON_PATTERN = (DARK.bright, DARK.dark)


@contextmanager
def styled() -> Iterator[None]:
    """Draw as this module says, whatever the settings of the user are; they come back."""
    from matplotlib import style

    ours = {
        "font.family": "DejaVu Sans",
        "text.parse_math": False,
        "text.hinting": "none",  # texts are as wide at any resolution
        "svg.fonttype": "none",  # texts stay texts
        "svg.hashsalt": "rsciio-tem",
        "pdf.fonttype": 42,
    }
    with style.context(["default", ours]):
        yield


# ---------------------------------------------------------------- paper and texts


class Canvas:
    """A figure in units of screen pixels, its origin in the upper left corner.

    Parameters
    ----------
    width, height : float
        Of the figure.
    theme : Theme
        Its colours.
    """

    def __init__(self, width: float, height: float, theme: Theme) -> None:
        from matplotlib.figure import Figure

        self.width, self.height, self.theme = width, height, theme
        self.figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=theme.paper)

    def text(
        self, x: float, y: float, text: str, size: float, colour: str, align: str = "left"
    ) -> None:
        """Write a text; x is its left or right end or its middle, y its upper end."""
        self.figure.text(
            x / self.width,
            1 - (y + 0.95 * size) / self.height,
            drawable(text),
            fontsize=size * 72 / _DPI,
            color=colour,
            ha=align,
            va="baseline",
        )

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Add axes with their upper left corner at a place."""
        return self.figure.add_axes(
            (
                x / self.width,
                1 - (y + height) / self.height,
                width / self.width,
                height / self.height,
            )
        )


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    """Return the characters that the font has."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def drawable(text: str) -> str:
    """Replace what the font has no glyph for, and what breaks lines or files."""
    glyphs = _glyphs()
    return "".join(c if ord(c) in glyphs and c.isprintable() else "□" for c in text)


class Typewriter:
    """Knows how wide texts are."""

    def __init__(self) -> None:
        from matplotlib.backends.backend_agg import RendererAgg
        from matplotlib.font_manager import FontProperties

        self.renderer = RendererAgg(8, 8, _DPI * _FINE)
        self.properties = FontProperties

    def width(self, text: str, size: float) -> float:
        """Return the width of a text in units of the layout."""
        font = self.properties(family="DejaVu Sans", size=size * 72 / _DPI)
        extent = self.renderer.get_text_width_height_descent(drawable(text), font, False)
        return float(extent[0]) / _FINE

    def wrapped(self, text: str, size: float, width: float) -> list[str]:
        """Break text into lines that fit; a word that is too long is broken as well."""
        lines = [""]
        for word in drawable(text).split(" "):
            longer = f"{lines[-1]} {word}" if lines[-1] else word
            if self.width(longer, size) <= width:
                lines[-1] = longer
                continue
            if lines[-1]:
                lines.append("")
            while self.width(word, size) > width and len(word) > 1:
                fits = max(1, self._fitting(word, size, width))
                lines[-1] = word[:fits]
                lines.append("")
                word = word[fits:]
            lines[-1] = word
        return lines

    def shortened(self, text: str, size: float, width: float) -> str:
        """Leave out the middle of a text that is too long: names differ at their ends."""
        text = drawable(text)
        if self.width(text, size) <= width:
            return text
        for kept in range(len(text) - 1, 1, -1):
            head = (kept + 1) // 2
            short = f"{text[:head]}…{text[len(text) - (kept - head) :]}"
            if self.width(short, size) <= width:
                return short
        return "…"

    def _fitting(self, word: str, size: float, width: float) -> int:
        low, high = 0, len(word)
        while low < high:
            middle = (low + high + 1) // 2
            if self.width(word[:middle], size) <= width:
                low = middle
            else:
                high = middle - 1
        return low


# ---------------------------------------------------------------- pictures and curves


@dataclass(frozen=True, eq=False)
class Picture:
    """An image, and how it is shown.

    Parameters
    ----------
    values : ndarray, shape (rows, columns)
        What is shown.
    valid : ndarray of bool, optional
        Where there are values.
    log : bool
        On a logarithmic scale.
    colours : bool
        In colours from black to yellow, not in grey.
    axes : sequence of dict, optional
        Calibration of rows and columns.
    virtual : Detectors, optional
        Circles to draw.
    """

    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_] | None = None
    log: bool = False
    colours: bool = False
    axes: Sequence[dict[str, Any]] = ()
    virtual: Detectors | None = None

    @property
    def ratio(self) -> float:
        """Height by width of a pixel."""
        if len(self.axes) < 2:
            return 1.0
        return pixel_ratio(step_of(self.axes[-2]), step_of(self.axes[-1]))

    @property
    def aspect(self) -> float:
        """Width by height of the image."""
        rows, columns = self.values.shape
        return float(columns / (rows * self.ratio))

    @property
    def field(self) -> str:
        """Width and height in the unit of the axes, if these are calibrated."""
        steps = [step_of(axis) for axis in self.axes[-2:]]
        if len(steps) < 2 or None in steps:
            return ""
        (rows, columns), (vertical, horizontal) = self.values.shape, steps
        assert vertical is not None
        assert horizontal is not None
        width, height = columns * horizontal.size, rows * vertical.size
        if vertical.unit == horizontal.unit:
            return f"{number_in_words(width)} × {number_in_words(height)} {vertical.unit}"
        return (
            f"{number_in_words(width)} {horizontal.unit} × "
            f"{number_in_words(height)} {vertical.unit}"
        )

    def size(self, room: float, widest: float) -> tuple[float, float]:
        """Width and height in the layout: as high as there is room, unless it is very wide."""
        aspect = min(max(self.aspect, _NARROWEST), _WIDEST)
        width = min(room * aspect, widest)
        return width, min(room, width / aspect)

    @property
    def stretched(self) -> bool:
        """Whether its pixels are not shown with their ratio, which would be a line."""
        return not _NARROWEST <= self.aspect <= _WIDEST


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve over an axis.

    Parameters
    ----------
    values : ndarray, shape (n,)
        NaN where there is none.
    axis : dict, optional
        Calibration of the axis; without it, values are numbered.
    counted : str
        What is numbered.
    log : bool
        On a logarithmic scale.
    """

    values: npt.NDArray[Any]
    axis: dict[str, Any] | None = None
    counted: str = "frame"
    log: bool = False

    def places(self) -> tuple[npt.NDArray[np.float64], str]:
        """Return the coordinates of the values, and what to write below the axis."""
        n = len(self.values)
        axis = self.axis
        if axis is None or not unit_in_words(axis.get("units")):
            return np.arange(n, dtype=np.float64), f"{self.counted} number"
        if axis.get("axis") is not None:
            places = np.asarray(axis["axis"], np.float64)
        else:
            places = axis["offset"] + axis["scale"] * np.arange(n)
        label = f"{axis['name'] or self.counted} ({unit_in_words(axis['units'])})"
        if np.ptp(places) < 1e-3 * np.abs(places).max():  # seconds since 1970
            return places - places[0], f"{label} after the first"
        return places, label


def _limits(values: npt.NDArray[np.float64], log: bool) -> tuple[float, float]:
    """Choose black and white by percentiles: neither hot pixels nor a dark frame decide.

    Numbers so small or large that Matplotlib cannot compute with them are black or white.
    """
    if not values.size:
        return 1.0, 10.0
    values = np.clip(values, 1 / _LARGEST if log else -_LARGEST, _LARGEST)
    low, high = (float(v) for v in np.percentile(values, (1, 99.95) if log else (0.2, 99.8)))
    if log:
        low = max(low, high / 1e6)
        return (low, high) if high > low else (low / 2, low * 2)
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def draw_picture(axes: Axes, shown: Picture, theme: Theme, size: tuple[float, float]) -> Any:
    """Draw an image; returns what a colour bar is made of."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, LogNorm, Normalize

    rows, columns = shown.values.shape
    # no pixel of the picture has less than one value: a bright spot remains visible
    wide, high = (max(1.0, _SCALE * length) for length in size)
    values = binned(shown.values, shown.valid, math.ceil(rows / high), math.ceil(columns / wide))
    drawable = np.isfinite(values) & ((values > 0) | (not shown.log))
    low, high = _limits(values[drawable], shown.log)
    colours = colormaps["magma" if shown.colours else "gray"]
    if shown.log:  # few counts are not the same as none
        colours = ListedColormap(colours(np.linspace(0.2, 1, 205)))
    ground = "black" if shown.log or shown.valid is None else theme.missing
    with_ground = colours.with_extremes(bad=ground)
    norm = (LogNorm if shown.log else Normalize)(low, high, clip=True)
    image = axes.imshow(
        np.ma.masked_array(np.clip(values, low, high), ~drawable),
        cmap=with_ground,
        norm=norm,
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, columns - 0.5, rows - 0.5, -0.5),
    )
    axes.set(xticks=[], yticks=[], facecolor=ground)
    for spine in axes.spines.values():
        spine.set(edgecolor=theme.frame, linewidth=0.8)
    if shown.virtual is not None:
        _circles(axes, shown.virtual)
    return image


def _circles(axes: Axes, virtual: Detectors) -> None:
    from matplotlib.patches import Ellipse

    disk = virtual.disk
    bright, dark = _ON_PATTERN
    for radius, colour, width in (
        (disk.radius, bright, 1.4),
        (virtual.inner, dark, 1.0),
        (virtual.outer, dark, 1.0),
    ):
        across = 2 * radius + 1
        circle = Ellipse(
            (disk.column, disk.row), across, across, fill=False, edgecolor=colour, linewidth=width
        )
        axes.add_patch(circle)


def draw_bar(axes: Axes, shown: Picture, size: float = 13) -> str | None:
    """Draw a scale bar into a picture whose columns are calibrated; returns what it says."""
    from matplotlib.patches import Rectangle

    steps = [step_of(axis) for axis in shown.axes[-2:]]
    if len(steps) < 2 or steps[0] is None or steps[1] is None or steps[0].kind != steps[1].kind:
        return None
    rows, columns = shown.values.shape
    bar = bar_of(steps[1], columns)
    width, height = (getattr(axes.get_window_extent(), n) for n in ("width", "height"))
    per_pixel = width / columns
    inset, thick, room = 0.03 * max(width, 120), 4.0, size + 8
    if bar.pixels * per_pixel < 2 or height < 2 * room:
        return None
    writer = Typewriter()
    text = drawable(bar.text)
    text_width = writer.width(text, size)
    box_width = max(text_width, bar.pixels * per_pixel) + 12
    if box_width + inset > width:
        return None
    pixel_high = rows / height
    left, bottom = -0.5 + inset / per_pixel, rows - 0.5 - inset * pixel_high
    axes.add_patch(
        Rectangle(
            (left, bottom - (room + thick + 4) * pixel_high),
            box_width / per_pixel,
            (room + thick + 4) * pixel_high,
            facecolor="black",
            alpha=0.55,
            linewidth=0,
        )
    )
    middle = left + box_width / 2 / per_pixel
    axes.add_patch(
        Rectangle(
            (middle - bar.pixels / 2, bottom - (thick + 5) * pixel_high),
            bar.pixels,
            thick * pixel_high,
            facecolor="white",
            linewidth=0,
            gid="scale-bar",
        )
    )
    axes.text(
        middle,
        bottom - (thick + 9) * pixel_high,
        text,
        color="white",
        fontsize=size * 72 / _DPI,
        ha="center",
        va="baseline",
    )
    return text


def draw_colour_bar(canvas: Canvas, image: Any, box: tuple[float, float, float, float]) -> None:
    """Draw what the colours of an image mean; the box is its left, top, width and height."""
    from matplotlib.ticker import NullLocator

    theme = canvas.theme
    axes = canvas.axes(*box)
    bar = canvas.figure.colorbar(image, cax=axes)
    low, high = image.norm.vmin, image.norm.vmax
    fitting = max(1, min(5, int(box[3] / 40)))
    ticks = ticks_between(low, high, fitting, log=type(image.norm).__name__ == "LogNorm")
    while len(ticks) > fitting + 1:
        ticks = ticks[::2]
    bar.ax.yaxis.set_minor_locator(NullLocator())
    _set_ticks(bar.ax.yaxis, ticks)
    bar.ax.tick_params(labelsize=13 * 72 / _DPI, colors=theme.dim, length=3, width=0.8)
    bar.outline.set(edgecolor=theme.frame, linewidth=0.8)


def _set_ticks(axis: Any, ticks: Sequence[float]) -> None:
    axis.set_ticks(ticks, labels=labels_of(ticks))


def draw_curve(axes: Axes, shown: Curve, theme: Theme, colour: str, *, small: bool = False) -> None:
    """Plot values over their axis; where there are more than fit, their range."""
    from matplotlib.ticker import NullLocator

    places, label = shown.places()
    values = real(shown.values).copy()
    axes.set_facecolor(theme.paper)
    for spine in axes.spines.values():
        spine.set(edgecolor=theme.frame, linewidth=0.8)
    size = (11 if small else 13) * 72 / _DPI
    axes.tick_params(labelsize=size, colors=theme.dim, length=3, width=0.8)
    axes.set_xlabel(drawable(label), fontsize=size, color=theme.dim)
    if shown.log:
        values[~(values > 0)] = np.nan
    finite = values[np.isfinite(values)]
    if not finite.size:
        axes.set(xticks=[], yticks=[])
        return
    low, high = float(finite.min()), float(finite.max())
    if shown.log and high > low:
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
    n = len(values)
    few = n <= 60
    if n > 1500:  # least and largest of so many
        edges = np.linspace(0, n, 601).astype(int)[:-1]
        least = np.fmin.reduceat(values, edges)
        most = np.fmax.reduceat(values, edges)
        places = np.repeat(places[edges], 2)
        values = np.stack([least, most], axis=1).reshape(-1)
    axes.grid(visible=True, color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.plot(
        places,
        values,
        color=colour,
        linewidth=1.4 if n < 300 else 0.9,
        marker="o" if few else None,
        markersize=4,
    )
    margin = 0.04 * (high - low) if high > low else max(0.5, abs(low) * 0.05)
    bottom, upper = low - margin, high + margin
    if axes.get_yscale() == "log":
        bottom, upper = low / (high / low) ** 0.04, high * (high / low) ** 0.04
    axes.set_ylim(bottom, upper)
    _set_ticks(axes.yaxis, ticks_between(bottom, upper, 4, log=axes.get_yscale() == "log"))
    left, right = sorted((float(places[0]), float(places[-1])))
    if right > left:
        axes.set_xlim(left - 0.02 * (right - left), right + 0.02 * (right - left))
    ticks = ticks_between(left, right, 3 if small else 5) if right > left else [left]
    if axes.get_xlabel().endswith(" number"):
        ticks = [tick for tick in ticks if tick == round(tick)]
    _set_ticks(axes.xaxis, ticks)


def binned(
    values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None, high: int, wide: int
) -> npt.NDArray[np.float64]:
    """Average so many rows and columns, of what is valid; NaN where nothing is.

    Single bright pixels remain visible if this is done before a logarithm is taken.
    """
    values = real(values)
    counted = np.isfinite(values)
    if valid is not None:
        counted &= valid
    if max(high, wide) < 2:
        return np.where(counted, values, np.nan)
    sums, counts = np.where(counted, values, 0), counted.astype(np.float64)
    for axis, step in enumerate((max(1, high), max(1, wide))):
        starts = np.arange(0, sums.shape[axis], step)
        sums = np.add.reduceat(sums, starts, axis=axis)
        counts = np.add.reduceat(counts, starts, axis=axis)
    return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan))


# ---------------------------------------------------------------- files


def check_name(path: str | os.PathLike[str]) -> str:
    """Return what kind of picture a name asks for: "png", "jpeg", "svg" or "pdf".

    Raises
    ------
    FormatError
        It asks for none of them.
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in _KINDS:
        raise FormatError(
            path, "is no name of a picture.", "Let it end with .png, .jpg, .svg or .pdf."
        )
    return _KINDS[suffix]


def save(
    figure: Figure,
    path: str | os.PathLike[str],
    *,
    text: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Write a figure as PNG, JPEG, SVG or PDF; the text also goes into the file's description.

    Raises
    ------
    FileExistsError
        The file exists, and `overwrite` is False.
    FormatError
        The name ends with none of the suffixes of these.
    """
    kind = check_name(path)
    lines = [_readable(line) for line in text]
    title, about, us = (lines[0] if lines else ""), "\n".join(lines[1:]), "rsciio-tem"
    options: dict[str, dict[str, Any]] = {
        "png": {"metadata": {"Title": title, "Description": about, "Software": us}},
        "jpeg": {"pil_kwargs": {"quality": 92, "comment": f"{title}\n{about}".encode()}},
        "svg": {"metadata": {"Title": title, "Description": about, "Creator": us, "Date": None}},
        "pdf": {
            "metadata": {"Title": title, "Subject": about, "Creator": us, "CreationDate": None}
        },
    }
    with styled(), replacing(path, overwrite=overwrite) as temporary:
        figure.savefig(
            temporary,
            format=kind,
            dpi=_SCALE * _DPI,
            **options[kind],
        )


def _readable(text: str) -> str:
    """Replace what no text of a file can hold: control characters and broken ones."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
