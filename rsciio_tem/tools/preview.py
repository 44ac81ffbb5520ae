# SPDX-License-Identifier: GPL-3.0-or-later
"""One picture that shows what a recording holds: patterns, maps, and how the scan was found.

`find_disk` looks for the undiffracted beam, `detectors` makes a bright field and an annular dark
field of it, `sheet` draws. Everything here works on arrays; nothing reads a recording.
"""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from rsciio_tem.storage.files import replacing

__all__ = ["Detectors", "Disk", "Sheet", "compact", "detectors", "find_disk", "save", "sheet"]

Floats = npt.NDArray[np.float64]


Colour = tuple[int, int, int]


Box = tuple[int, int, int, int]


# ---------------------------------------------------------------- virtual detectors


@dataclass(frozen=True)
class Disk:
    """The undiffracted beam on the detector, in pixels.

    Parameters
    ----------
    row, column : float
        Its centre; whole numbers are centres of pixels.
    radius : float
        Its radius.
    certain : bool
        Whether it stands out as a disk. If not, centre and radius are only a guess.
    """

    row: float
    column: float
    radius: float
    certain: bool = True


@dataclass(frozen=True, eq=False)
class Detectors:
    """Virtual detectors around a disk.

    Parameters
    ----------
    disk : Disk
        The bright field.
    inner, outer : float
        Radii of the annular dark field.
    masks : ndarray of bool, shape (2, rows, columns)
        Bright field and annular dark field.
    """

    disk: Disk
    inner: float
    outer: float
    masks: npt.NDArray[np.bool_]


def find_disk(pattern: npt.NDArray[Any]) -> Disk | None:
    """Find the undiffracted beam: the disk around the brightest place of a pattern.

    Its edge is where the intensity falls to half. Single pixels that are much brighter than their
    neighbours do not count.

    Parameters
    ----------
    pattern : ndarray, 2-D
        Ideally the sum over many frames.

    Returns
    -------
    Disk or None
        None if the frame is too small or dark to have one.
    """
    if pattern.ndim != 2 or min(pattern.shape) < 8:
        return None
    step = -(-max(pattern.shape) // 512)
    rows, columns = (n // step for n in pattern.shape)
    image = np.nan_to_num(_real(pattern), posinf=0, neginf=0)
    image = image[: rows * step, : columns * step]
    image = image.reshape(rows, step, columns, step).mean(axis=(1, 3))
    if min(rows, columns) < 8 or not image.max() > image.min():
        return None
    around = _neighbours(image)
    image = np.minimum(image, np.delete(around, 4, axis=0).max(axis=0))  # no hot pixels
    image = _neighbours(image).mean(axis=0)
    peak = np.unravel_index(int(np.argmax(image)), image.shape)
    level = float(np.median(image))
    if level >= image[peak]:  # more than half of the frame is as bright as it gets
        level = float(image.min())
    if level >= image[peak]:
        return None
    disk = _region(image > level + (image[peak] - level) / 2, (int(peak[0]), int(peak[1])))
    y, x = np.nonzero(disk)
    area = len(y)
    row, column = float(y.mean()), float(x.mean())
    radius = math.sqrt(area / math.pi)
    # the second moment of a filled disk of this area is area / 2 pi; spots and streaks have more
    spread = (y.var() + x.var()) * 2 * math.pi / area
    at_edge = y.min() == 0 or x.min() == 0 or y.max() == rows - 1 or x.max() == columns - 1
    certain = not at_edge and spread < 1.3 and image[peak] > 3 * level
    certain &= image[disk].sum() > 0.03 * image.sum()
    if radius > 0.35 * min(rows, columns):
        certain = False
        row, column, radius = (rows - 1) / 2, (columns - 1) / 2, min(rows, columns) / 8
    middle = (step - 1) / 2
    return Disk(row * step + middle, column * step + middle, radius * step, bool(certain))


def _neighbours(image: Floats) -> Floats:
    """Return the image shifted to each of 9 places; the last row and column are repeated."""
    rows, columns = image.shape
    wide = np.pad(image, 1, mode="edge")
    return np.stack([wide[i : i + rows, j : j + columns] for i in range(3) for j in range(3)])


def _region(bright: npt.NDArray[np.bool_], seed: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the connected part of `bright` that holds `seed`."""
    region = np.zeros_like(bright)
    region[seed] = True
    size = 0
    while size != (size := int(np.count_nonzero(region))):
        for _ in range(8):
            grown = region.copy()
            grown[1:] |= region[:-1]
            grown[:-1] |= region[1:]
            grown[:, 1:] |= region[:, :-1]
            grown[:, :-1] |= region[:, 1:]
            region = grown & bright
    return region


def detectors(disk: Disk, shape: tuple[int, ...]) -> Detectors:
    """Make virtual detectors: the disk, and the ring from a quarter beyond it to the nearest edge.

    Parameters
    ----------
    disk : Disk
        See `find_disk`.
    shape : tuple of int
        Rows and columns of the detector.
    """
    rows, columns = shape
    y, x = np.ogrid[:rows, :columns]
    distance = np.hypot(y - disk.row, x - disk.column)
    inner = max(1.25 * disk.radius, disk.radius + 1)
    edges = (disk.row, disk.column, rows - 1 - disk.row, columns - 1 - disk.column)
    outer = min(edges) + 0.5
    if outer < 1.5 * inner or outer < 0.4 * max(edges):  # the beam is far from the middle
        outer = float(distance.max()) + 0.5
    masks = np.stack([distance <= disk.radius, (distance >= inner) & (distance <= outer)])
    return Detectors(disk, inner, outer, masks)


# ---------------------------------------------------------------- from numbers to colours

#: black, violet, red, yellow, white: brightness grows evenly, as seen by the eye
_MAGMA = np.array(
    [
        *((0, 0, 4), (29, 17, 71), (81, 18, 124), (131, 38, 129), (183, 55, 121)),
        *((230, 81, 100), (252, 137, 97), (254, 196, 136), (252, 253, 191)),
    ],
    dtype=np.float64,
)


_GREY = np.array([(8, 8, 10), (250, 250, 250)], dtype=np.float64)


_MISSING: Colour = (38, 46, 64)


def _real(values: npt.NDArray[Any]) -> Floats:
    return np.asarray(np.abs(values) if values.dtype.kind == "c" else values, np.float64)


def _unit(values: npt.NDArray[Any], log: bool, valid: npt.NDArray[np.bool_]) -> Floats:
    """Scale to 0..1 between percentiles, so that neither hot pixels nor a dark frame decide."""
    values = _real(values)
    valid = valid & np.isfinite(values)
    if log:
        valid = valid & (values > 0)
    if not valid.any():
        return np.zeros(values.shape)
    if log:
        values = np.log(np.where(valid, values, 1))
        low, high = np.percentile(values[valid], (1, 99.95))
        low = max(low, high - math.log(1e6))
    else:
        low, high = np.percentile(values[valid], (0.2, 99.8))
    if not high > low:
        return np.where(valid, 0.5, 0.0)
    unit = np.clip((values - low) / (high - low), 0, 1)
    if log and not valid.all():
        unit = 0.2 + 0.8 * unit  # few counts are not the same as none
    return np.where(valid, unit, 0.0)


def _coloured(unit: Floats, table: Floats) -> npt.NDArray[np.uint8]:
    places = np.linspace(0, 1, len(table))
    channels = [np.interp(unit, places, table[:, i]) for i in range(3)]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def _fitted(pixels: npt.NDArray[np.uint8], width: int, height: int) -> Image.Image:
    """Scale an image; pixels stay squares with sharp edges when they are enlarged."""
    rows, columns = pixels.shape[:2]
    times = max(1, math.ceil(width / columns), math.ceil(height / rows))
    times = min(times, max(1, 4096 // max(rows, columns)))
    image = Image.fromarray(pixels)
    image = image.resize((columns * times, rows * times), Image.Resampling.NEAREST)
    return image.resize((width, height), Image.Resampling.BOX)


# ---------------------------------------------------------------- drawing

_PAPER: Colour = (18, 20, 26)


_FRAME: Colour = (58, 63, 76)


_INK: Colour = (236, 238, 243)


_DIM: Colour = (158, 165, 180)


_FAINT: Colour = (104, 111, 128)


_BRIGHT: Colour = (92, 214, 255)  # bright field


_DARK: Colour = (150, 235, 140)  # dark field


_MARGIN, _GAP, _HEIGHT = 32, 24, 280


_FINE = 4  # lines are drawn this much larger and reduced, which makes them smooth


@dataclass(frozen=True, eq=False)
class Sheet:
    """The picture, and where its panels are: (left, upper, right, lower) by name."""

    image: Image.Image
    panels: dict[str, Box]
    text: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Panel:
    name: str
    title: str
    caption: str
    image: Image.Image
    colour: Colour | None = None


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _drawable(text: str) -> str:
    """Replace what the built-in font has no glyph for; it knows ASCII only."""
    for character, replacement in {"×": "x", "µ": "u", "μ": "u", "–": "-", "…": "..."}.items():
        text = text.replace(character, replacement)
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return plain.encode("ascii", "replace").decode("ascii")


def compact(value: float) -> str:
    """Format a number in a few characters: ``12.3 k``."""
    if not 9999.5 <= abs(value) < 999.5e12:
        return f"{value:.4g}"
    size = abs(float(f"{value:.3g}"))
    unit, name = next(u for u in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")) if size >= u[0])
    return f"{value / unit:.3g} {name}"


def sheet(
    *,
    title: str,
    lines: Sequence[str],
    pattern: npt.NDArray[Any],
    navigator: npt.NDArray[Any],
    virtual: Detectors | None = None,
    bright_field: npt.NDArray[Any] | None = None,
    dark_field: npt.NDArray[Any] | None = None,
    missing: npt.NDArray[np.bool_] | None = None,
    footer: str = "",
) -> Sheet:
    """Draw a recording.

    Parameters
    ----------
    title, lines, footer : str, list of str, str
        What to write above and below the panels.
    pattern : ndarray
        Sum over all frames.
    navigator : ndarray of the scan's shape
        Sum of each frame. A single line or a stack is drawn as a curve; for a single frame, only
        the pattern is shown; scans of more than two axes are summed over the slow ones.
    virtual : Detectors, optional
        Drawn on the pattern.
    bright_field, dark_field : ndarray of the scan's shape, optional
        What the virtual detectors see.
    missing : ndarray of bool, optional
        Where the scan has no frame.

    Returns
    -------
    Sheet
        With the panels "pattern", "navigator", "bright field", "dark field"; for a single frame
        "pattern" and "frame".
    """
    single = navigator.size == 1
    panels = [_pattern_panel(pattern, None if single else virtual, single)]
    if single:
        panels.insert(0, _frame_panel(pattern))
    else:
        panels.append(_map_panel("navigator", "Navigator", "sum of each frame", navigator, missing))
        if virtual is not None and bright_field is not None and dark_field is not None:
            inside = f"inside r = {virtual.disk.radius:.3g} px"
            ring = f"r = {virtual.inner:.3g} to {virtual.outer:.3g} px"
            panels += [
                _map_panel("bright field", "Bright field", inside, bright_field, missing, _BRIGHT),
                _map_panel("dark field", "Annular dark field", ring, dark_field, missing, _DARK),
            ]
    return _compose(title, lines, panels, footer)


def _pattern_panel(
    pattern: npt.NDArray[Any], virtual: Detectors | None, single: bool = False
) -> _Panel:
    log = _mostly_positive(pattern)
    name = f"{'Frame' if single else 'Sum of all frames'}, {'log' if log else 'linear'} scale"
    if pattern.ndim < 2:
        caption = f"{pattern.size} channels"
        return _Panel("pattern", name, caption, _curve(_log(pattern) if log else _real(pattern)))
    pattern = _last_two(pattern)
    rows, columns = pattern.shape
    width, height = _extent(rows, columns)
    binned = _binned(pattern, rows // height, columns // width)
    unit = _unit(binned, log, np.ones(binned.shape, np.bool_))
    image = _fitted(_coloured(unit, _MAGMA), width, height)
    if virtual is not None:
        disk, scale = virtual.disk, (height / rows, width / columns)
        _circle(image, disk, disk.radius, scale, _BRIGHT, 1.8)
        for radius in (virtual.inner, virtual.outer):
            _circle(image, disk, radius, scale, _DARK, 1.3)
    caption = f"{columns} × {rows} px"
    if virtual is not None:
        caption += ", disk in blue, ring in green"
    if virtual is not None and not virtual.disk.certain:
        caption = "no clear central disk: circles are a guess"
    return _Panel("pattern", name, caption, image)


def _frame_panel(pattern: npt.NDArray[Any]) -> _Panel:
    if pattern.ndim < 2:
        return _Panel("frame", "Frame", _span(pattern), _curve(_real(pattern)))
    pattern = _last_two(pattern)
    width, height = _extent(*pattern.shape)
    unit = _unit(pattern, False, np.ones(pattern.shape, np.bool_))
    image = _fitted(_coloured(unit, _GREY), width, height)
    return _Panel("frame", "Frame, linear scale", _span(pattern), image)


def _map_panel(
    name: str,
    title: str,
    caption: str,
    values: npt.NDArray[Any],
    missing: npt.NDArray[np.bool_] | None,
    colour: Colour | None = None,
) -> _Panel:
    valid = np.ones(values.shape, np.bool_) if missing is None else ~missing
    if values.ndim > 2:
        caption += f", and over {math.prod(values.shape[:-2])}"
        slow = tuple(range(values.ndim - 2))
        values, valid = values.sum(axis=slow), np.asarray(valid.any(axis=slow))
    note = f"{caption}: {_span(values[valid])}"
    if min(values.shape) == 1 or values.ndim == 1:
        flat = np.where(valid, _real(values), np.nan).reshape(-1)
        title += ", by frame number"
        return _Panel(name, title, note, _curve(flat, colour or _INK), colour)
    width, height = _extent(*values.shape)
    pixels = _coloured(_unit(values, False, valid), _GREY)
    pixels[~valid] = _MISSING
    return _Panel(name, title, note, _fitted(pixels, width, height), colour)


def _last_two(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(values.sum(axis=tuple(range(values.ndim - 2))))


def _binned(pattern: npt.NDArray[Any], high: int, wide: int) -> npt.NDArray[Any]:
    """Average so many pixels before a logarithm is taken: a few bright ones remain visible."""
    if max(high, wide) < 2:
        return pattern
    sums = np.nan_to_num(_real(pattern), posinf=0, neginf=0)
    counts = np.ones(sums.shape)
    for axis, step in enumerate((max(1, high), max(1, wide))):
        starts = np.arange(0, sums.shape[axis], step)
        sums = np.add.reduceat(sums, starts, axis=axis)
        counts = np.add.reduceat(counts, starts, axis=axis)
    return np.asarray(sums / counts)


def _mostly_positive(values: npt.NDArray[Any]) -> bool:
    """Whether a logarithm shows most of the values; not if a dark frame was taken off."""
    return float(np.mean(_real(values) < 0)) < 0.05


def _log(values: npt.NDArray[Any]) -> Floats:
    values = _real(values)
    return np.log10(np.maximum(values, values[values > 0].min() if (values > 0).any() else 1))


def _span(values: npt.NDArray[Any]) -> str:
    values = _real(values)
    values = values[np.isfinite(values)]
    if not values.size:
        return "nothing"
    least, most = float(values.min()), float(values.max())
    low, high = compact(least), compact(most)
    if low == high and least != most:  # do not say that they are all alike
        low, high = f"{least:.8g}", f"{most:.8g}"
    return f"{low} to {high}" if low != high else f"all {low}"


def _extent(rows: int, columns: int) -> tuple[int, int]:
    """Width and height of a picture: of the common height, unless it is very wide."""
    aspect = min(max(columns / rows, 1 / 6), 8)
    width = min(_HEIGHT * aspect, 1.6 * _HEIGHT)
    return max(1, round(width)), max(1, round(min(_HEIGHT, width / aspect)))


def _circle(
    image: Image.Image,
    disk: Disk,
    radius: float,
    scale: tuple[float, float],
    colour: Colour,
    width: float,
) -> None:
    mask = Image.new("L", (image.width * _FINE, image.height * _FINE), 0)
    y, x = ((p + 0.5) * s * _FINE for p, s in zip((disk.row, disk.column), scale, strict=True))
    ry, rx = ((radius + 0.5) * s * _FINE for s in scale)
    ImageDraw.Draw(mask).ellipse(
        (x - rx, y - ry, x + rx, y + ry), outline=230, width=round(width * _FINE)
    )
    image.paste(colour, (0, 0), mask.resize(image.size, Image.Resampling.BOX))


def _curve(values: Floats, colour: Colour = _INK) -> Image.Image:
    """Plot values as a curve; where there are more than fit, their range in each column."""
    width, height = round(1.25 * _HEIGHT), _HEIGHT
    image = Image.new("RGB", (width, height), (26, 29, 37))
    finite = values[np.isfinite(values)]
    if not finite.size:
        return image
    draw = ImageDraw.Draw(image)
    inset = 14
    for quarter in range(1, 4):
        level = inset + (height - 2 * inset) * quarter // 4
        draw.line((0, level, width, level), fill=(44, 48, 60))
    low, high = float(finite.min()), float(finite.max())
    n = len(values)
    unit = (values - low) / (high - low) if high > low else np.full(n, 0.5)
    x = inset + (np.arange(n) + 0.5) / n * (width - 2 * inset)
    y = height - inset - unit * (height - 2 * inset)
    mask = Image.new("L", (width * _FINE, height * _FINE), 0)
    pen = ImageDraw.Draw(mask)
    good = np.isfinite(y)
    if n > 2 * width:
        edges = np.linspace(0, n, width - 2 * inset + 1).astype(int).tolist()
        for i, (a, b) in enumerate(pairwise(edges)):
            part = y[a:b][good[a:b]]
            if len(part):
                left = (inset + i) * _FINE
                top, bottom = part.min() * _FINE, part.max() * _FINE
                pen.rectangle((left, top - 2, left + _FINE - 1, bottom + 2), fill=255)
    else:
        thick = round((1.8 if n < 300 else 1.2) * _FINE)
        points = list(zip((x * _FINE).tolist(), (y * _FINE).tolist(), strict=True))
        for i in range(n - 1):
            if good[i] and good[i + 1]:
                pen.line((points[i], points[i + 1]), fill=255, width=thick)
        if n <= 60:
            r = 3.2 * _FINE
            for i in np.flatnonzero(good).tolist():
                px, py = points[i]
                pen.ellipse((px - r, py - r, px + r, py + r), fill=255)
    image.paste(colour, (0, 0), mask.resize(image.size, Image.Resampling.BOX))
    return image


def _wrapped(text: str, font: Any, width: float) -> list[str]:
    """Break text into lines that fit."""
    lines = [""]
    for word in _drawable(text).split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _compose(title: str, lines: Sequence[str], panels: Sequence[_Panel], footer: str) -> Sheet:
    large, normal, small = _font(28), _font(18), _font(15)
    boxes = [
        max(
            p.image.width,
            min(_HEIGHT, math.ceil(small.getlength(_drawable(p.caption)))),
            math.ceil(normal.getlength(p.title)) + (20 if p.colour else 0),
        )
        for p in panels
    ]
    width = max(2 * _MARGIN + sum(boxes) + _GAP * (len(boxes) - 1), 760)
    inside = width - 2 * _MARGIN
    heads = _wrapped(title, large, inside)
    rows = [row for line in lines for row in _wrapped(line, normal, inside)]
    top = _MARGIN + 38 * len(heads) + 4 + 26 * len(rows) + 20
    captions = [_wrapped(p.caption, small, max(b, 150)) for p, b in zip(panels, boxes, strict=True)]
    below = 12 + 26 + 21 * max(len(c) for c in captions)
    height = top + _HEIGHT + below + (30 if footer else 0) + _MARGIN - 10
    image = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(image)
    y = _MARGIN - 6
    for text in heads:
        draw.text((_MARGIN, y), text, font=large, fill=_INK)
        y += 38
    y += 4
    for i, text in enumerate(rows):
        draw.text((_MARGIN, y), text, font=normal, fill=_INK if i == 0 else _DIM)
        y += 26
    places: dict[str, Box] = {}
    x = _MARGIN
    for panel, box, caption in zip(panels, boxes, captions, strict=True):
        picture = panel.image
        upper = top + (_HEIGHT - picture.height) // 2
        image.paste(picture, (x, upper))
        draw.rectangle(
            (x - 1, upper - 1, x + picture.width, upper + picture.height), outline=_FRAME
        )
        places[panel.name] = (x, upper, x + picture.width, upper + picture.height)
        y, left = top + _HEIGHT + 12, x
        if panel.colour is not None:
            draw.ellipse((x, y + 5, x + 11, y + 16), fill=panel.colour)
            left += 20
        draw.text((left, y), panel.title, font=normal, fill=_INK)
        for i, text in enumerate(caption):
            draw.text((x, y + 26 + 21 * i), text, font=small, fill=_DIM)
        x += box + _GAP
    if footer:
        draw.text((width - _MARGIN, height - 18), footer, font=small, fill=_FAINT, anchor="rs")
    return Sheet(image, places, (title, *lines))


def save(picture: Sheet, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a sheet as PNG; the text also goes into the file's description.

    Raises
    ------
    FileExistsError
        The file exists, and `overwrite` is False.
    """
    about = PngImagePlugin.PngInfo()
    about.add_itxt("Title", picture.text[0] if picture.text else "")
    about.add_itxt("Description", "\n".join(picture.text[1:]))
    about.add_text("Software", "rsciio-tem")
    with replacing(path, overwrite=overwrite) as temporary:
        picture.image.save(temporary, format="PNG", pnginfo=about, optimize=True)
