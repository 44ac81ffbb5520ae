# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the pictures of the documentation: ``python docs/pictures.py``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

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


if __name__ == "__main__":
    _FOLDER.mkdir(exist_ok=True)
    sheet(wrong_shapes()).save(_FOLDER / "wrong_shapes.png", optimize=True)
