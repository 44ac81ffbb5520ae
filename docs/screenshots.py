# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the pictures of the inspector page: ``python docs/screenshots.py``.

Needs ``pip install ".[browser]"`` and a Chromium on the path.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

import rsciio_tem
from rsciio_tem.tools import demo

_FOLDER = Path(__file__).parent / "images"
_SHAPE, _FRAME = (50, 60), 384 + 2 * demo.SIZE**2
_LOST = (700, 701, 1500, 2222)
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def recordings(folder: Path) -> tuple[Path, Path]:
    """Write a recording of which nothing tells the shape, and one that has lost frames."""
    whole = folder / "grains.mib"
    demo.write(str(whole), _SHAPE)
    plain, lost = folder / "scan.npy", folder / "lost.mib"
    np.save(plain, rsciio_tem.load(whole, scan="stack", bin=2)[0]["data"].astype("uint16"))
    content = whole.read_bytes()
    frames = [content[at : at + _FRAME] for at in range(0, len(content), _FRAME)]
    lost.write_bytes(b"".join(one for i, one in enumerate(frames) if i not in _LOST))
    shutil.copy(whole.with_suffix(".hdr"), lost.with_suffix(".hdr"))
    return plain, lost


def shoot(tab: Any, name: str, height: int) -> None:
    """Keep what a page shows, in few colours."""
    tab.wait_for_timeout(300)
    picture = tab.screenshot(clip={"x": 0, "y": 0, "width": 1280, "height": height}, full_page=True)
    image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
    image.save(_FOLDER / name, optimize=True)


def hold(tab: Any, name: str, value: int) -> None:
    """Move a slider with the mouse until it shows a number, and keep the button pressed."""
    slider = tab.locator(f"#{name}-slider")
    box = slider.bounding_box()
    low, high = (int(slider.get_attribute(end)) for end in ("min", "max"))
    now, y = int(slider.input_value()), box["y"] + box["height"] / 2
    x = box["x"] + 8 + (box["width"] - 16) * (now - low) / (high - low)
    tab.mouse.move(x, y)
    tab.mouse.down()
    while int(slider.input_value()) != value:
        x += 0.25 if int(slider.input_value()) < value else -0.25
        tab.mouse.move(x, y)


def main() -> None:
    """Take all pictures."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)))
    with tempfile.TemporaryDirectory() as name, sync_playwright() as started:
        plain, lost = recordings(Path(name))
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        for path in (plain, lost):
            rsciio_tem.inspect(path, path.with_suffix(".html"), progress=False)
        tab.goto(plain.with_suffix(".html").as_uri())
        tab.evaluate("data.path = data.name")
        tab.locator("#line").fill("53")
        shoot(tab, "inspector_wrong.png", 1250)
        hold(tab, "line", 62)
        shoot(tab, "inspector_dragging.png", 925)
        tab.mouse.up()
        tab.locator("#line").fill("60")
        tab.locator("#scan-step").fill("2 nm")
        shoot(tab, "inspector_right.png", 1250)
        tab.goto(lost.with_suffix(".html").as_uri())
        tab.evaluate("data.path = data.name; drawKeywords()")
        shoot(tab, "inspector_lost.png", 1620)
        browser.close()


if __name__ == "__main__":
    main()
