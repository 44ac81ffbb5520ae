# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the pictures of the documentation: ``python docs/pictures.py``."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from PIL import Image, ImageDraw, ImageFont

import rsciio_tem
from rsciio_tem.tools import demo

Floats = npt.NDArray[np.float64]

_FOLDER = Path(__file__).parent / "images"
_LINES, _COLUMNS = 48, 64
_TILE, _MARGIN, _TEXT = 216, 16, 40


def specimen(lines: int = _LINES, columns: int = _COLUMNS) -> Floats:
    """Return an image of round particles on a wedge, with noise of counting."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:lines, :columns]
    image = 40 + 0.5 * x + 0.3 * y
    for _ in range(14):
        row, column, radius = rng.uniform(0, lines), rng.uniform(0, columns), rng.uniform(3, 7)
        inside = np.maximum(0, 1 - ((y - row) ** 2 + (x - column) ** 2) / radius**2)
        image += 160 * np.sqrt(inside)
    return np.asarray(rng.poisson(image), np.float64)


def wrong_shapes() -> list[tuple[str, Floats]]:
    """Return images of one scan, arranged rightly and in the usual wrong ways."""
    image = specimen()
    series = image.reshape(-1)

    def lines_of(frames: Floats, columns: int) -> Floats:
        return frames[: len(frames) // columns * columns].reshape(-1, columns)

    serpentine = image.copy()
    serpentine[1::2] = serpentine[1::2, ::-1]
    flyback = np.concatenate([image, image[:, :1] * 2.2], axis=1)
    lost = np.delete(series, [20 * _COLUMNS + 30 + i for i in range(12)])
    return [
        ("right: 64 columns", image),
        ("one column too many:\nsheared", lines_of(series, _COLUMNS + 1)),
        ("twice the columns:\nthe specimen twice", lines_of(series, 2 * _COLUMNS)),
        ("x and y exchanged", lines_of(series, _LINES)),
        ("begins within a line:\nwrapped around", lines_of(series[23:], _COLUMNS)),
        ("frames were lost:\nthe rest is shifted", lines_of(lost, _COLUMNS)),
        (
            "a flyback frame per line,\nnot left out: bright, sheared",
            lines_of(flyback.reshape(-1), 64),
        ),
        (
            "recorded back and forth:\nevery other line mirrored",
            lines_of(serpentine.reshape(-1), 64),
        ),
    ]


def sheet(images: list[tuple[str, Floats]], across: int = 4) -> Image.Image:
    """Put images with a line or two of text on one sheet."""
    down = -(-len(images) // across)
    width = across * (_TILE + _MARGIN) + _MARGIN
    height = down * (_TILE + _TEXT + _MARGIN) + _MARGIN
    page = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    for i, (text, image) in enumerate(images):
        left = _MARGIN + i % across * (_TILE + _MARGIN)
        top = _MARGIN + i // across * (_TILE + _TEXT + _MARGIN)
        low, high = np.percentile(image, (1, 99.5))
        grey = np.clip(255 * (image - low) / (high - low), 0, 255).astype(np.uint8)
        scale = _TILE / max(grey.shape)
        size = (round(grey.shape[1] * scale), round(grey.shape[0] * scale))
        page.paste(
            Image.fromarray(grey).resize(size, Image.Resampling.NEAREST), (left, top + _TEXT)
        )
        draw.multiline_text((left, top), text, "black", font)
    return page


# ---------------------------------------------------------------- what this package does


def overview() -> Image.Image:
    """Show a series of frames, and what they are once their places are known."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "grains.mib")
        demo.write(path)
        frames = rsciio_tem.load(path, scan="stack", roi=list(range(500, 900, 50)))[0]["data"]
        centre = rsciio_tem.reduce(path, ["sum"])["sum"]
        row, column = np.unravel_index(int(np.argmax(_smooth(centre))), centre.shape)
        disk = rsciio_tem.Disk(16, (row, column))
        ring = rsciio_tem.Annulus(25, 90, (row, column))
        found = rsciio_tem.reduce(path, ["com"], masks={"bf": disk, "adf": ring})
    series = found["adf"].reshape(-1)
    figure = Figure((12.8, 6.0), dpi=100)
    _stack_of_frames(figure, frames)
    blue, small = "#2a6fb0", {"fontsize": 12, "va": "top", "color": "#333333"}
    arrow = FancyArrowPatch((0.35, 0.62), (0.42, 0.62), arrowstyle="-|>", lw=2.5, color=blue)
    arrow.set_mutation_scale(22)
    figure.add_artist(arrow)
    figure.text(0.383, 0.65, "hs.load", family="monospace", fontsize=12, ha="center", color=blue)
    images: list[tuple[str, Any, dict[str, Any]]] = [
        ("bright field", found["bf"], {"cmap": "gray"}),
        ("annular dark field", found["adf"], {"cmap": "gray"}),
        ("centre of mass", _directions(found["com"]), {}),
    ]
    for i, (name, image, style) in enumerate(images):
        axes = figure.add_axes((0.435 + 0.19 * i, 0.515, 0.185, 0.329))
        axes.imshow(image, interpolation="nearest", aspect="auto", **style)
        axes.set_title(name, fontsize=12)
        axes.set_axis_off()
    title = {"fontsize": 15, "weight": "bold", "va": "top"}
    figure.text(0.02, 0.98, "the file: 1920 patterns in a row", **title)
    figure.text(0.02, 0.255, "Neither the .mib nor the .hdr says", **small)
    figure.text(0.02, 0.215, "how many patterns make a line.", **small)
    figure.text(0.435, 0.98, "in HyperSpy: a scan of 48 × 40 positions", **title)
    figure.text(
        0.435, 0.49, "48 per line, because every 48th pattern is followed by a pause.", **small
    )
    figure.text(0.435, 0.395, "Any other number shears the image:", **small)
    for i, length in enumerate((40, 47, 49, 60)):
        axes = figure.add_axes((0.435 + 0.1413 * i, 0.02, 0.1325, 0.275))
        lines = series[: len(series) // length * length].reshape(-1, length)
        axes.imshow(lines, cmap="gray", interpolation="nearest", aspect="auto")
        axes.set_title(f"{length} per line", fontsize=11, color="#b03a2e", pad=4)
        axes.set_axis_off()
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return Image.open(written).convert("RGB")


def _smooth(image: npt.NDArray[Any]) -> Floats:
    """Return a running sum, so that single pixels do not count."""
    width = 15
    sums = np.pad(np.cumsum(np.cumsum(image, 0, dtype=float), 1), ((1, 0), (1, 0)))
    inside = sums[width:, width:] - sums[:-width, width:] - sums[width:, :-width]
    inside = inside + sums[:-width, :-width]
    return np.pad(inside, width // 2)


def _stack_of_frames(figure: Figure, frames: npt.NDArray[Any]) -> None:
    """Draw frames behind each other, the first one in front."""
    side = 0.165
    for i, frame in reversed(list(enumerate(frames))):
        axes = figure.add_axes((0.02 + 0.019 * i, 0.33 + 0.029 * i, side, side * 12.8 / 6.0))
        axes.imshow(np.log1p(np.minimum(frame, 5)), cmap="inferno", interpolation="antialiased")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color("white")


def _directions(com: npt.NDArray[Any]) -> Floats:
    """Return colours for the deflections of the beam: hue for their direction."""
    rows, columns = (values - np.median(values) for values in com)
    length = np.hypot(rows, columns)
    strength = np.minimum(length / np.percentile(length, 97), 1)
    hue = np.arctan2(rows, columns) / (2 * np.pi) % 1
    hsv = np.stack([hue, np.full_like(hue, 0.9), strength], axis=-1)
    return np.asarray(hsv_to_rgb(hsv))


if __name__ == "__main__":
    _FOLDER.mkdir(exist_ok=True)
    sheet(wrong_shapes()).save(_FOLDER / "wrong_shapes.png", optimize=True)
    overview().save(_FOLDER / "overview.png", optimize=True)
