# SPDX-License-Identifier: GPL-3.0-or-later
"""Previews: what is drawn, its scale bars and numbers, and the files it is written to."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from click.testing import CliRunner, Result
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from samples import Sample
from writers import mib as mib_writer
from writers import mrc as mrc_writer
from writers import npy as npy_writer

import rsciio_tem
from rsciio_tem import cli
from rsciio_tem.cli.options import opened
from rsciio_tem.cli.preview import sheet_of as measured_and_drawn
from rsciio_tem.errors import FormatError
from rsciio_tem.recording.axis import Axis
from rsciio_tem.tools import contact_sheet, demo, drawing
from rsciio_tem.tools.direct_beam import detectors, find_disk
from rsciio_tem.tools.drawing import Curve, Picture
from rsciio_tem.tools.preview import Preview
from rsciio_tem.tools.scale_bars import bar_of, pixel_ratio, step_of, unit_in_words
from rsciio_tem.tools.sheet import Sheet
from rsciio_tem.tools.ticks import compact, labels_of, span, ticks_between

ALL = ["pattern", "navigator", "bright field", "dark field"]


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.main, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def strict(text: str) -> Any:
    """Read JSON that has no NaN and no Infinity, which Python's reader takes."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def measured(path: Path, **options: Any) -> tuple[Preview, Sheet]:
    return measured_and_drawn(*opened(str(path), options), quiet=True)


def sheet_of(path: Path, **options: Any) -> Sheet:
    return measured(path, **options)[1]


def pixels_of(sheet: Sheet) -> np.ndarray:
    """The sheet as it is on a screen."""
    canvas = FigureCanvasAgg(sheet.figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def saved_pixels(sheet: Sheet, path: Path) -> np.ndarray:
    """The sheet as it is in a file, half as large again."""
    drawing.save(sheet.figure, path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def box_of(sheet: Sheet, name: str) -> tuple[slice, slice]:
    """Rows and columns of a panel."""
    extent = sheet.panels[name].get_window_extent()
    height = sheet.figure.bbox.height
    y0, y1, x0, x1 = (
        round(v) for v in (height - extent.y1, height - extent.y0, extent.x0, extent.x1)
    )
    return slice(y0 + 1, y1 - 1), slice(x0 + 1, x1 - 1)


def panel(sheet: Sheet, name: str, shape: tuple[int, int]) -> np.ndarray:
    """Grey values of a panel, reduced to one value for each scan position."""
    part = Image.fromarray(pixels_of(sheet)[box_of(sheet, name)]).convert("L")
    return np.asarray(part.resize(shape[::-1], Image.Resampling.BOX), float)


def titles(sheet: Sheet) -> list[str]:
    return [text.get_text() for text in sheet.figure.texts]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.reshape(-1), b.reshape(-1))[0, 1])


SCAN = (12, 16)  # lines, columns


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's recording."""
    path = tmp_path_factory.mktemp("demo")
    demo.write(path / "grains.mib", SCAN)
    return path


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return np.stack(list(demo.simulate(SCAN)))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def volume(path: Path) -> Path:
    """Write a density map of 6 sections, with a bright ball in its middle."""
    z, y, x = np.ogrid[-3:3, -20:20, -24:24]
    density = np.exp(-(z**2 + (y / 4) ** 2 + (x / 4) ** 2)).astype(np.float32)
    mrc_writer.write_mrc(path, density, cell=(4.8, 4.0, 0.6), ispg=1)
    return path


# ---------------------------------------------------------------- what is drawn


def test_preview(folder: Path, truth: np.ndarray, here: Path) -> None:
    result = run("preview", folder / "grains.mib")
    assert result.stdout == "grains_preview.png\n"
    sheet = sheet_of(folder / "grains.mib")
    with Image.open(here / "grains_preview.png") as saved:
        saved.load()
        assert saved.text["Title"] == "grains.mib"
        assert "Scan 16 × 12 (x, y), from the timestamps" in saved.text["Description"]
        assert saved.size == tuple((1.5 * sheet.figure.bbox.size + 1e-6).astype(int))
    assert list(sheet.panels) == ALL
    height, width = pixels_of(sheet).shape[:2]
    assert 1000 < width < 2000
    assert 400 < height < 800
    for name in ALL:
        rows, columns = box_of(sheet, name)
        assert 0 < rows.start < rows.stop < height
        assert 0 < columns.start < columns.stop < width

    y, x = np.ogrid[:256, :256]
    distance = np.hypot(y - demo.CENTRE[0], x - demo.CENTRE[1])
    bright = truth[..., distance < demo.RADIUS].sum(axis=-1)
    assert correlation(panel(sheet, "navigator", SCAN), truth.sum(axis=(2, 3))) > 0.95
    assert correlation(panel(sheet, "bright field", SCAN), bright) > 0.98
    assert correlation(panel(sheet, "dark field", SCAN), bright) < -0.9
    pattern = np.log1p(truth.sum(axis=(0, 1), dtype=float))
    assert correlation(panel(sheet, "pattern", (256, 256)), pattern) > 0.8
    assert correlation(panel(sheet, "pattern", (256, 256)), pattern[::-1]) < 0.8
    assert "Sum of all patterns, log scale" in titles(sheet)


@pytest.mark.parametrize(
    ("nav", "sig", "panels"),
    [
        ((), (64, 64), ["frame", "pattern"]),
        ((1,), (64, 64), ["frame", "pattern"]),
        ((40,), (64, 64), ["pattern", "navigator"]),
        ((2000,), (16, 12), ["pattern", "navigator"]),
        ((1, 40), (64, 64), ALL),
        ((2, 90), (40, 200), ALL),
        ((90, 2), (200, 40), ALL),
        ((2, 5, 7), (32, 32), ALL),
        ((5, 7), (4, 4), ["pattern", "navigator"]),
        ((3, 3), (700, 600), ALL),
    ],
)
@pytest.mark.parametrize("kind", ["u1", "f4"])
def test_any_shape(
    tmp_path: Path, nav: tuple[int, ...], sig: tuple[int, int], panels: list[str], kind: str
) -> None:
    """Noise without calibration: nothing says what frames of a stack are."""
    data = np.random.default_rng(0).poisson(3, (*nav, *sig)).astype(kind)
    if kind == "f4":
        data -= 1
        data.reshape(-1)[5] = np.nan
    npy_writer.write_npy(tmp_path / "a.npy", data)
    preview, sheet = measured(tmp_path / "a.npy")
    negative = kind == "f4" and preview.count == 1
    assert list(sheet.panels) == [p for p in panels if p != "pattern" or not negative]
    assert not sheet.scale_bars
    height, width = pixels_of(sheet).shape[:2]
    assert 700 < width < 2300
    assert height < 800
    numbers = strict(json.dumps(preview.numbers()))
    assert numbers["pixels"]["not_finite"] == (kind == "f4")


def texts_of(sheet: Sheet) -> list[Any]:
    """All visible texts of a sheet, with those of axes."""
    texts = list(sheet.figure.texts)
    for axes in sheet.figure.axes:
        labels = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label]
        texts += [*axes.texts, *labels]
    return [text for text in texts if text.get_text() and text.get_visible()]


@pytest.mark.parametrize(
    ("nav", "sig"), [((), (64, 64)), ((2, 90), (40, 200)), ((90, 2), (200, 40)), ((900,), (30, 40))]
)
def test_no_text_covers_another(tmp_path: Path, nav: tuple[int, ...], sig: tuple[int, int]) -> None:
    data = np.random.default_rng(0).poisson(3e4, (*nav, *sig)).astype(np.uint16)
    npy_writer.write_npy(tmp_path / "a.npy", data)
    sheet = sheet_of(tmp_path / "a.npy")
    pixels_of(sheet)
    boxes = [(text, text.get_window_extent()) for text in texts_of(sheet)]
    assert len(boxes) > 8
    paper = sheet.figure.bbox
    for i, (text, box) in enumerate(boxes):
        assert paper.x0 <= box.x0 < box.x1 <= paper.x1, text
        assert paper.y0 <= box.y0 < box.y1 <= paper.y1, text
        for other, another in boxes[:i]:
            apart = (
                box.x1 <= another.x0 + 1
                or another.x1 <= box.x0 + 1
                or box.y1 <= another.y0 + 3
                or another.y1 <= box.y0 + 3
            )
            assert apart, (text.get_text(), other.get_text())


@pytest.mark.parametrize("value", [0, 7])
def test_nothing(tmp_path: Path, value: int) -> None:
    npy_writer.write_npy(tmp_path / "a.npy", np.full((4, 5, 32, 32), value, np.uint16))
    out = run("preview", tmp_path / "a.npy", "-o", tmp_path / "a.png", "--json").stdout
    assert strict(out)["pixels"] == {
        **{"sum": 20480 * value, "mean": value, "max": value},
        **{"frames": 20, "not_finite": 0},
    }
    assert (tmp_path / "a.png").exists()


def test_large_numbers(tmp_path: Path) -> None:
    """Their sums do not fit into 64 bits."""
    data = np.full((4, 5, 6, 7), np.iinfo(np.uint64).max, np.uint64)
    np.save(tmp_path / "a.npy", data)
    sheet = sheet_of(tmp_path / "a.npy")
    assert "Sum of all pixels 1.55 × 10²², per frame 7.748 × 10²⁰; largest" in " ".join(sheet.text)


@pytest.mark.parametrize("value", [5e-324, 1e-310, 1.7e308, -1.7e308])
@pytest.mark.parametrize("shape", [(5, 6, 8, 8), (30, 8, 8), (30, 64)])
def test_numbers_at_the_ends_of_the_range(
    tmp_path: Path, value: float, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.full(shape, value))
    pixels_of(sheet_of(path))


@pytest.mark.parametrize("unit", ["a\nb", "\ud800", "\0", "$x$", "\\frac"])
@pytest.mark.parametrize("sig", [1, 2])
def test_any_unit(tmp_path: Path, unit: str, sig: int) -> None:
    """Units and names of axes come from files."""
    path = tmp_path / "a.npy"
    np.save(path, np.ones((7, 16, 16) if sig == 2 else (7, 16)))
    recording, arranged = opened(str(path), {"sig_shape": (16,) * sig, "nav_shape": (7,)})
    axes = (Axis(f"k{unit}", unit, 2.0),) * sig
    odd = replace(recording, signal_axes=axes, scan_axes=(Axis(f"z{unit}", unit, 2.0),))
    sheet = measured_and_drawn(odd, arranged, quiet=True)[1]
    drawing.save(sheet.figure, tmp_path / "a.svg", text=sheet.text)
    written = "".join(ET.parse(tmp_path / "a.svg").getroot().itertext())
    shown = unit.strip()
    for character in ("\n", "\0", "\ud800"):
        shown = shown.replace(character, "□")
    assert shown in written


def test_no_number_at_all(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((3, 4, 16, 16), np.nan, np.float32))
    out = run("preview", tmp_path / "a.npy", "-o", tmp_path / "a.png", "--json").stdout
    nothing = {"min": None, "max": None, "mean": None}
    assert strict(out)["navigator"] == nothing
    assert strict(out)["pixels"] == {
        **{"sum": None, "mean": None, "max": None},
        **{"frames": 0, "not_finite": 12},
    }


def test_spectra(tmp_path: Path) -> None:
    spectra = np.random.default_rng(0).poisson(3, (4, 5, 100)).astype(np.uint16)
    np.save(tmp_path / "a.npy", spectra)
    preview, sheet = measured(tmp_path / "a.npy", sig_shape=(100,), nav_shape=(4, 5))
    assert preview.kind == "spectra"
    assert list(sheet.panels) == ["pattern", "navigator"]
    (line,) = sheet.panels["pattern"].lines
    np.testing.assert_array_equal(line.get_ydata(), spectra.sum(axis=(0, 1)))
    assert sheet.panels["pattern"].get_xlabel() == "channel number"
    assert "Sum of all spectra, linear scale" in titles(sheet)


def test_single_spots(tmp_path: Path) -> None:
    """They are as large as a pixel of the detector, which is a tenth of one of the picture."""
    frames = np.zeros((3, 3072, 3000), np.uint16)
    frames[:, 100:3000:300, 100:3000:300] = 50
    frames[:, 1500, 1500] = 60
    npy_writer.write_npy(tmp_path / "a.npy", frames)
    sheet = sheet_of(tmp_path / "a.npy")
    rows, columns = box_of(sheet, "pattern")
    where = tuple(slice(round(1.5 * s.start), round(1.5 * s.stop)) for s in (rows, columns))
    pattern = saved_pixels(sheet, tmp_path / "a.png")[where]
    assert 100 <= (pattern.max(axis=-1) > 100).sum() < 800


def test_negative_pixels(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (3, 40, 50))
    for values, scale in ((noise, "linear"), (noise + 9, "log")):
        np.save(tmp_path / "a.npy", values)
        assert f"Sum of all frames, {scale} scale" in titles(sheet_of(tmp_path / "a.npy"))


def test_colours() -> None:
    from rsciio_tem.frames.arrays import ArrayFrames
    from rsciio_tem.frames.wrapped import Grey
    from rsciio_tem.reduction.single_pass import one_pass

    dtype = np.dtype([(name, "u1") for name in "RGBA"])
    data = np.zeros((2, 3, 4), dtype)
    data["R"], data["B"], data["A"] = 250, 250, 9
    frames = ArrayFrames(lambda: data, (2,), (3, 4), dtype)
    np.testing.assert_array_equal(one_pass(Grey(frames))["sum"], np.full((3, 4), 1000))
    part = np.empty((1, 2, 2), np.uint32)
    Grey(frames)[1:].load(part, (slice(0, 2), slice(1, 3)))
    assert (part == 500).all()
    with pytest.raises(ValueError, match="cannot be added up"):
        one_pass(frames)


def test_missing_positions(folder: Path, truth: np.ndarray) -> None:
    """They are marked, and do not count."""
    preview, sheet = measured(folder / "grains.mib", nav_shape=SCAN, sync_offset=-32)
    rows, columns = box_of(sheet, "navigator")
    missing = pixels_of(sheet)[rows, columns][2:40, 2:-2]
    assert (missing == missing[0, 0]).all()
    assert missing[0, 0, 2] > int(missing[0, 0, 0]) + 10  # bluish, not a grey of the map
    numbers = preview.numbers()
    stored = truth.reshape(-1, 256 * 256)[: 192 - 32]
    assert numbers["frames"]["missing"] == 32
    assert numbers["pixels"]["mean"] == pytest.approx(stored.mean())
    assert numbers["navigator"]["min"] == stored.sum(axis=1).min()


@pytest.mark.parametrize(
    "name", ["ünï – ×µ.mib", "a [1] b.npy", "$x_1$ 日本 \U0001f52c.npy", "very " * 40 + "long.npy"]
)
def test_any_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / (name if len(name) < 200 else name[-120:])
    if path.suffix == ".mib":
        mib_writer.write_mib(path, np.ones((4, 256, 256), np.uint16), 12)
    else:
        npy_writer.write_npy(path, np.ones((4, 4, 32, 32), np.uint16))
    run("preview", path, "-o", tmp_path / "a.png", "-o", tmp_path / "a.svg")
    words = [element.text for element in ET.parse(tmp_path / "a.svg").iter() if element.text]
    assert path.name in words  # the description has every character
    with Image.open(tmp_path / "a.png") as saved:
        assert saved.text["Title"] == path.name


def test_sizes_and_powers_are_written_as_such(folder: Path) -> None:
    sheet = sheet_of(folder / "grains.mib", scan_step="5um", detector_step="0.01 1/A")
    words = " ".join(titles(sheet))
    assert "Scan 16 × 12 (x, y)" in words
    assert "80 × 60 µm" in words
    assert "2.56 × 2.56 Å⁻¹" in words
    assert sheet.scale_bars["navigator"] == "20 µm"
    assert "□" not in words


# ---------------------------------------------------------------- images are no patterns


def test_density_map(tmp_path: Path) -> None:
    preview, sheet = measured(volume(tmp_path / "a.mrc"))
    assert preview.is_volume
    assert list(sheet.panels) == ["frame", "pattern", "navigator"]
    words = " ".join(titles(sheet))
    assert "Section 4 of 6" in words
    assert "Projection along z" in words
    assert "Volume of 6 sections" in words
    assert "field" not in words.lower()
    assert "pattern" not in words.lower()
    assert preview.numbers()["disk"] is None
    (signal,) = rsciio_tem.load(tmp_path / "a.mrc")
    for name, expected in (("frame", signal["data"][3]), ("pattern", signal["data"].sum(0))):
        image = sheet.panels[name].images[0]
        assert image.norm.vmin < image.norm.vmax
        expected = np.clip(expected, image.norm.vmin, image.norm.vmax)  # black and white
        np.testing.assert_allclose(image.get_array(), expected, rtol=1e-5)


def test_disk_of_unknown_frames(tmp_path: Path) -> None:
    """Nothing says that they are diffraction patterns: it is a disk, no bright field."""
    y, x = np.ogrid[:64, :64]
    frames = np.where(np.hypot(y - 30, x - 33) < 6, 100, 1).astype(np.uint16)
    npy_writer.write_npy(tmp_path / "a.npy", np.stack([frames] * 9))
    words = titles(sheet_of(tmp_path / "a.npy"))
    assert {"Inside the disk", "In the ring"} <= set(words)
    assert "Bright field" in titles(sheet_of(tmp_path / "a.npy", nav_shape=(3, 3)))


# ---------------------------------------------------------------- scale bars and numbers


@pytest.mark.parametrize(
    ("units", "scale", "pixels", "text", "long"),
    [
        ("nm", 0.5, 48, "5 nm", 10),
        ("nm", 0.003, 512, "0.5 nm", 500 / 3),
        ("nm", 0.0001, 256, "5 pm", 50),
        ("um", 0.001, 100, "20 nm", 20),
        ("µm", 2.0, 1000, "500 µm", 250),
        ("A", 0.2, 300, "20 Å", 100),
        ("m", 1e-9, 60, "20 nm", 20),
        ("1/nm", 0.02, 256, "1 nm⁻¹", 50),
        ("nm^-1", 0.1, 256, "5 nm⁻¹", 50),
        ("1 / nm", 40.0, 128, "100 Å⁻¹", 25),
        ("Å⁻¹", 0.01, 256, "0.5 Å⁻¹", 50),
        ("mrad", 1.2, 256, "100 mrad", 100 / 1.2),
        ("deg", 0.1, 12, "0.2°", 2),
    ],
)
def test_bars(units: str, scale: float, pixels: int, text: str, long: float) -> None:
    step = step_of({"units": units, "scale": scale})
    assert step is not None
    bar = bar_of(step, pixels)
    assert bar.text == text
    assert bar.pixels == pytest.approx(long)
    assert pixels / 10 < bar.pixels <= pixels / 3 * (1 + 1e-9)


@pytest.mark.parametrize("units", ["", None, "px", "pixels"])
def test_no_bar_without_unit(units: str | None) -> None:
    assert step_of({"units": units, "scale": 2.0}) is None


def test_no_bar_of_uneven_steps() -> None:
    assert step_of({"units": "nm", "axis": np.array([1.0, 2, 4])}) is None


def test_pixel_ratio() -> None:
    steps = [step_of({"units": u, "scale": s}) for u, s in (("A", 2.0), ("nm", 0.1), ("s", 1.0))]
    assert pixel_ratio(steps[0], steps[1]) == pytest.approx(2)
    assert pixel_ratio(steps[1], steps[2]) == 1
    assert pixel_ratio(None, steps[0]) == 1


def bar_on(sheet: Sheet, name: str) -> float:
    """Length of the bar in a panel, in data units of its axes."""
    (bar,) = (patch for patch in sheet.panels[name].patches if patch.get_gid() == "scale-bar")
    return float(bar.get_width())


def test_length_of_scale_bars(folder: Path) -> None:
    """The bar as drawn, in pixels of the picture, is as long as it says."""
    sheet = sheet_of(folder / "grains.mib", scan_step="0.5,1.0nm", detector_step="1.2 mrad")
    assert sheet.scale_bars == {
        "pattern": "100 mrad",
        **dict.fromkeys(("navigator", "bright field", "dark field"), "2 nm"),
    }
    assert bar_on(sheet, "navigator") * 0.5 == pytest.approx(2)
    assert bar_on(sheet, "pattern") * 1.2 == pytest.approx(100)
    for name, size, length in (("navigator", 16 * 0.5, 2), ("pattern", 256 * 1.2, 100)):
        extent = sheet.panels[name].get_window_extent()
        (bar,) = (p for p in sheet.panels[name].patches if p.get_gid() == "scale-bar")
        box = bar.get_window_extent()
        image = pixels_of(sheet)
        row = round(image.shape[0] - (box.y0 + box.y1) / 2)
        left, right = round(extent.x0), round(extent.x0 + 0.6 * extent.width)
        white = (image[row, left:right] > 250).all(axis=-1)
        assert white.sum() * size / extent.width == pytest.approx(length, rel=0.06)


def test_non_square_steps(folder: Path) -> None:
    """A scan of 8 nm × 12 nm is drawn higher than wide."""
    sheet = sheet_of(folder / "grains.mib", scan_step="0.5,1.0nm")
    extent = sheet.panels["navigator"].get_window_extent()
    assert extent.width / extent.height == pytest.approx(8 / 12, rel=0.01)
    square = sheet_of(folder / "grains.mib").panels["navigator"].get_window_extent()
    assert square.width / square.height == pytest.approx(16 / 12, rel=0.01)
    assert not sheet_of(folder / "grains.mib").scale_bars


def test_circles(folder: Path) -> None:
    """Disk and ring are drawn where the pattern has them."""
    preview, sheet = measured(folder / "grains.mib")
    assert preview.virtual is not None
    disk, inner, outer = sheet.panels["pattern"].patches[:3]
    assert disk.get_center() == pytest.approx(demo.CENTRE[::-1], abs=1)
    assert disk.get_width() / 2 == pytest.approx(demo.RADIUS, abs=1)
    assert inner.get_width() == 2 * preview.virtual.inner + 1
    assert outer.get_height() == 2 * preview.virtual.outer + 1
    assert disk.get_edgecolor() != inner.get_edgecolor()


def test_curves_have_numbers(tmp_path: Path) -> None:
    preview, sheet = measured(volume(tmp_path / "a.mrc"))
    curve = sheet.panels["navigator"]
    assert curve.get_xlabel() == "z (nm)"
    (line,) = curve.lines
    np.testing.assert_allclose(line.get_xdata(), 0.01 * np.arange(6), rtol=1e-6)
    np.testing.assert_allclose(line.get_ydata(), preview.navigator)
    for axis in (curve.xaxis, curve.yaxis):
        labels = [label.get_text() for label in axis.get_ticklabels()]
        assert len(labels) > 1
        assert [float(label) for label in labels] == pytest.approx(list(axis.get_ticklocs()))


def test_long_curves_keep_peaks() -> None:
    values = np.zeros(1_000_000)
    values[654_321] = 9
    figure = drawing.Canvas(300, 300, drawing.DARK)
    axes = figure.axes(50, 10, 200, 200)
    drawing.draw_curve(axes, Curve(values), drawing.DARK, "white")
    (line,) = axes.lines
    assert len(line.get_ydata()) < 2000
    assert line.get_ydata().max() == 9
    assert line.get_xdata()[line.get_ydata().argmax()] == pytest.approx(654_321, abs=2000)


def test_times_since_1970_are_counted_from_the_first() -> None:
    axis = {"name": "time", "units": "s", "scale": 0.001, "offset": 1.7e9}
    places, label = Curve(np.zeros(5), axis).places()
    assert places == pytest.approx([0, 0.001, 0.002, 0.003, 0.004], abs=1e-6)
    assert label == "time (s) after the first"


def test_colour_bar(folder: Path) -> None:
    """Its numbers lie within the values that are shown."""
    preview, sheet = measured(folder / "grains.mib")
    image = sheet.panels["navigator"].images[0]
    bar = image.colorbar.ax
    shown = [t for t in bar.yaxis.get_ticklocs() if image.norm.vmin <= t <= image.norm.vmax]
    assert len(shown) >= 2
    numbers = preview.numbers()["navigator"]
    assert numbers["min"] <= min(shown) < max(shown) <= numbers["max"]


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([0, 0.5, 1], ["0", "0.5", "1.0"]),
        ([6000, 6500, 7000], ["6000", "6500", "7000"]),
        ([10_000, 20_000], ["10 k", "20 k"]),
        ([10_280, 10_300], ["10.28 k", "10.30 k"]),
        ([1_000_001, 1_000_002], ["1000001", "1000002"]),
        ([-4e6, -3e6, 0], ["-4 M", "-3 M", "0"]),
        ([1, 100, 10_000], ["1", "100", "10 k"]),
        ([1e-6, 1e-4], ["10⁻⁶", "10⁻⁴"]),
        ([2e-7, 4e-7], ["2×10⁻⁷", "4×10⁻⁷"]),
        ([1e20, 3e20], ["1×10²⁰", "3×10²⁰"]),
        ([0], ["0"]),
        ([], []),
    ],
)
def test_labels(ticks: Sequence[float], labels: list[str]) -> None:
    assert labels_of(ticks) == labels


@pytest.mark.parametrize(
    ("low", "high", "log"),
    [(0, 1, False), (5816, 7123, False), (-3e6, 1e-3, False), (1, 1e4, True), (90, 150, True)],
)
def test_ticks(low: float, high: float, log: bool) -> None:
    ticks = ticks_between(low, high, 4, log=log)
    assert 2 <= len(ticks) <= 6
    assert low <= ticks[0]
    assert ticks[-1] <= high
    assert len(set(labels_of(ticks))) == len(ticks)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([10278, 10319], "10278 to 10319"),
        ([10278, 20319], "10.3 k to 20.3 k"),
        ([12345, 12345], "all 12.3 k"),
        ([np.nan], "nothing"),
    ],
)
def test_span(values: list[float], text: str) -> None:
    assert span(np.array(values)) == text


@pytest.mark.parametrize(
    ("unit", "text"),
    [("1/nm", "nm⁻¹"), ("nm^-1", "nm⁻¹"), ("1 / A", "Å⁻¹"), ("um", "µm"), ("μm", "µm"), ("°", "°")],
)
def test_units(unit: str, text: str) -> None:
    assert unit_in_words(unit) == text


# ---------------------------------------------------------------- files


def test_does_not_overwrite(folder: Path, here: Path) -> None:
    (here / "a.png").write_text("mine")
    for others in ((), ("-o", "b.svg"), ("--json",)):
        text = run("preview", folder / "grains.mib", "-o", "a.png", *others, code=2).stderr
        assert "exists already" in text
    assert (here / "a.png").read_text() == "mine"
    run("preview", folder / "grains.mib", "-o", "a.png", "--overwrite")
    assert (here / "a.png").read_bytes().startswith(b"\x89PNG")
    assert os.listdir(here) == ["a.png"]  # no temporary file is left


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_folders_are_not_replaced(folder: Path, here: Path, overwrite: list[str]) -> None:
    for command, name in (("preview", "a.png"), ("inspect", "a.html"), ("reference", "a.json")):
        (here / name).mkdir()
        said = run(command, folder / "grains.mib", "-o", name, *overwrite, code=2).stderr
        assert f"{name}: is a folder, and is not replaced." in said
        assert "Name a file in it." in said
        assert os.listdir(here / name) == []


def test_a_name_given_twice(folder: Path, here: Path) -> None:
    run("preview", folder, "-o", "a.png", "-o", "./a.png")
    assert [path.name for path in here.glob("*.png")] == ["a.png"]


def test_folder_that_is_not_there(
    folder: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sys.modules["rsciio_tem.cli.preview"], "sheet_of", None
    )  # nothing is read before
    assert (
        "there is no folder no/such" in run("preview", folder, "-o", "no/such/a.png", code=2).output
    )


def test_kinds_of_files(folder: Path, here: Path) -> None:
    names = ["a.png", "b.JPG", "c.jpeg", "d.svg", "e.pdf"]
    result = run("preview", folder / "grains.mib", *(p for n in names for p in ("-o", n)))
    assert result.stdout.split() == names
    assert sorted(os.listdir(here)) == sorted(names)
    starts = {name: (here / name).read_bytes()[:5] for name in names}
    assert starts["a.png"].startswith(b"\x89PNG")
    assert starts["b.JPG"].startswith(b"\xff\xd8\xff")
    assert starts["c.jpeg"].startswith(b"\xff\xd8\xff")
    assert starts["e.pdf"] == b"%PDF-"
    with Image.open(here / "a.png") as png, Image.open(here / "b.JPG") as jpeg:
        assert jpeg.format == "JPEG"
        assert jpeg.size == png.size
        difference = np.abs(np.asarray(png.convert("RGB"), float) - np.asarray(jpeg, float))
        assert difference.mean() < 3
    root = ET.parse(here / "d.svg").getroot()
    assert root.tag.endswith("}svg")
    texts = ["".join(e.itertext()).strip() for e in root.iter() if e.tag.endswith("}text")]
    assert {"grains.mib", "Navigator", "Bright field"} <= set(texts)  # texts, not outlines
    assert any("Scan 16 × 12 (x, y)" in text for text in texts)


def test_the_same_recording_gives_the_same_files(folder: Path, here: Path) -> None:
    for name in ("a", "b"):
        run("preview", folder / "grains.mib", "-o", f"{name}.svg", "-o", f"{name}.pdf")
    for suffix in ("svg", "pdf"):
        assert (here / f"a.{suffix}").read_bytes() == (here / f"b.{suffix}").read_bytes()


@pytest.mark.parametrize("name", ["a.bmp", "a.tiff", "a", "a.png.gz"])
def test_other_kinds_are_refused(folder: Path, here: Path, name: str) -> None:
    text = run("preview", folder / "grains.mib", "-o", name, code=2).stderr
    assert f"{name}: is no name of a picture." in text
    assert "Let it end with .png, .jpg, .svg or .pdf." in text
    assert os.listdir(here) == []


def test_a_failure_leaves_nothing(
    folder: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    (here / "a.png").write_text("mine")
    sheet = sheet_of(folder / "grains.mib")

    def fail(self: Figure, path: str, **options: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="no space"):
        drawing.save(sheet.figure, "a.png", overwrite=True)
    assert os.listdir(here) == ["a.png"]
    assert (here / "a.png").read_text() == "mine"


def test_light_and_dark(folder: Path, here: Path) -> None:
    run("preview", folder / "grains.mib", "-o", "dark.png")
    run("preview", folder / "grains.mib", "-o", "light.png", "-o", "light.jpg", "--light")
    for name, paper in (("dark.png", 30), ("light.png", 255), ("light.jpg", 255)):
        with Image.open(here / name) as image:
            corner = np.asarray(image.convert("L"))[:20, :20]
        assert corner.max() <= paper
        assert corner.min() >= (0 if paper < 255 else 250)


def test_settings_of_the_user_stay(folder: Path, here: Path) -> None:
    """Neither do they change what is drawn, nor are they changed."""
    plain = pixels_of(sheet_of(folder / "grains.mib"))
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "image.cmap": "jet"}):
        before, backend = dict(mpl.rcParams), mpl.get_backend(auto_select=False)
        other = sheet_of(folder / "grains.mib")
        drawing.save(other.figure, "a.svg")
        assert dict(mpl.rcParams) == before
        assert mpl.get_backend(auto_select=False) == backend
    np.testing.assert_array_equal(pixels_of(other), plain)


def test_without_a_window(folder: Path, here: Path) -> None:
    """No window is needed, and nothing that opens one is imported; other commands draw nothing."""
    path = str(folder / "grains.mib")
    for command, library in ((["preview", path], True), (["info", path], False)):
        code = (
            "import sys; from rsciio_tem.cli import main\n"
            f"main({command!r}, standalone_mode=False)\n"
            "assert 'matplotlib.pyplot' not in sys.modules\n"
            f"assert ('matplotlib' in sys.modules) is {library}"
        )
        environment = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
        root = str(Path(cli.__file__).parents[2])
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env={**environment, "PYTHONPATH": root, "MPLBACKEND": "TkAgg"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- numbers


def test_json(folder: Path, truth: np.ndarray, here: Path) -> None:
    path = folder / "grains.mib"
    options = ("--scan-step", "0.5", "--detector-step", "0.02")
    result = run("preview", path, "-o", "a.png", "-o", "a.pdf", "--json", *options)
    numbers = strict(result.stdout)
    assert numbers["schema"] == 1
    assert numbers["path"] == str(path)
    assert numbers["pictures"] == ["a.png", "a.pdf"]
    assert sorted(os.listdir(here)) == ["a.pdf", "a.png"]
    assert numbers["kind"] == "patterns"
    assert numbers["scan"]["shape"] == [12, 16]
    assert numbers["scan"]["navigation_shape"] == [16, 12]
    assert numbers["frames"] == {
        **{"count": 192, "missing": 0, "shape": [256, 256], "dtype": "uint16"}
    }
    axes = rsciio_tem.load(path, lazy=True, scan_step=0.5, detector_step=0.02)[0]["axes"]
    for axis, expected in zip(numbers["axes"], axes, strict=True):
        assert {name: axis[name] for name in axis} == {name: expected[name] for name in axis}
    assert numbers["pixels"] == {
        **{"sum": int(truth.sum()), "mean": pytest.approx(truth.mean()), "max": int(truth.max())},
        **{"frames": 192, "not_finite": 0},
    }
    disk, ring = numbers["disk"], numbers["ring"]
    assert disk["certain"] is True
    assert (disk["y"], disk["x"]) == pytest.approx(demo.CENTRE, abs=1)
    y, x = np.ogrid[:256, :256]
    distance = np.hypot(y - disk["y"], x - disk["x"])
    for name, mask in (
        ("navigator", np.ones((256, 256), bool)),
        ("bright_field", distance <= disk["radius"]),
        ("dark_field", (distance >= ring["inner"]) & (distance <= ring["outer"])),
    ):
        image = truth[..., mask].sum(axis=-1, dtype=np.int64)
        expected = {"min": image.min(), "max": image.max(), "mean": pytest.approx(image.mean())}
        assert numbers[name] == expected, name


def test_json_of_signed_integers(tmp_path: Path) -> None:
    """Sums are exact on either side of zero."""
    data = np.random.default_rng(0).integers(-(2**31), 2**31, (5, 7, 9), np.int32)
    np.save(tmp_path / "a.npy", data)
    out = run("preview", tmp_path / "a.npy", "-o", tmp_path / "a.png", "--json").stdout
    assert strict(out)["pixels"]["sum"] == int(data.astype(object).sum())


def test_warnings_are_in_the_numbers(folder: Path, here: Path) -> None:
    result = run(
        "preview", folder / "grains.mib", "--json", "--navigation-shape", "16,20", "-o", "a.png"
    )
    assert "only 12 of 20 lines are complete" in result.stderr
    (problem,) = strict(result.stdout)["problems"]
    assert problem["severity"] == "warning"
    assert "only 12 of 20 lines are complete" in problem["message"]


@pytest.mark.per_format
def test_every_format(file_sample: Sample, tmp_path: Path) -> None:
    """Whatever is read can be previewed; other warnings than those of files are errors here."""
    from rsciio_tem.errors import collected
    from rsciio_tem.tools.open import arranged

    sample = file_sample
    with collected():
        recording, placed = arranged(sample.path, sample.format, sample.options)
        preview, sheet = measured_and_drawn(recording, placed, light=True, quiet=True)
        tile = contact_sheet.tile_of("a", recording, placed)
    drawing.save(sheet.figure, tmp_path / "a.png", text=sheet.text)
    strict(json.dumps(preview.numbers()))
    assert tile.shown is not None
    expected = sample.expected
    if expected.dtype.names is None and expected.dtype.kind in "iu" and preview.missing is None:
        sums = expected.reshape(-1, *sample.frame_shape).astype(np.float64).sum(axis=0)
        np.testing.assert_allclose(preview.pattern, sums)
        assert preview.numbers()["pixels"]["max"] == expected.max()


# ---------------------------------------------------------------- folders


@pytest.fixture
def many(tmp_path: Path, folder: Path) -> Path:
    """A folder with recordings, a numbered set, and files that are broken."""
    place = tmp_path / "session"
    (place / "below").mkdir(parents=True)
    for suffix in ("mib", "hdr"):
        (place / f"grains.{suffix}").write_bytes((folder / f"grains.{suffix}").read_bytes())
    volume(place / "below" / "map.mrc")
    frames = np.random.default_rng(0).poisson(3, (6, 256, 256)).astype(np.uint16)
    for i in range(3):
        part = frames[2 * i : 2 * i + 2]
        mib_writer.write_mib(place / f"set_{i + 1:06d}.mib", part, 12, first_sequence=2 * i + 1)
    (place / "empty.mib").write_bytes(b"")
    (place / "cut.mrc").write_bytes((place / "below" / "map.mrc").read_bytes()[:700])
    return place


def test_contact_sheet(many: Path, here: Path) -> None:
    result = run("preview", many, "-o", "all.png", "-o", "all.svg", "--json", code=2)
    assert "empty.mib: is empty." in result.stderr
    numbers = strict(result.stdout)
    assert numbers["pictures"] == ["all.png", "all.svg"]
    rows = {os.path.relpath(row["path"], many): row for row in numbers["recordings"]}
    below = os.path.join("below", "map.mrc")
    assert set(rows) == {"grains.mib", below, "set_000001.mib", "empty.mib", "cut.mrc"}
    assert rows["grains.mib"]["shown"] == "navigator"
    assert rows["grains.mib"]["scan"]["navigation_shape"] == [16, 12]
    assert rows["set_000001.mib"]["frames"]["count"] == 6
    assert rows[below]["shown"] == "image 4 of 6"
    for name in ("empty.mib", "cut.mrc"):
        assert "format" not in rows[name]
        assert rows[name]["problems"][0]["severity"] == "error"
    root = ET.parse(here / "all.svg").getroot()
    texts = ["".join(e.itertext()).strip() for e in root.iter() if e.tag.endswith("}text")]
    assert "session: 5 recordings" in texts
    assert {"grains.mib", "16 × 12 of 256 × 256 px", "mib: navigator", "is empty."} <= set(texts)
    with Image.open(here / "all.png") as image:
        assert image.format == "PNG"


def test_default_name_of_a_contact_sheet(folder: Path, here: Path) -> None:
    assert run("preview", f"{folder}{os.sep}").stdout == f"{folder.name}_preview.png\n"
    assert "exists already" in run("preview", folder, code=2).stderr


def test_folder_without_recordings(here: Path) -> None:
    (here / "empty").mkdir()
    assert "holds no recording" in run("preview", "empty", code=2).stderr
    assert os.listdir(here) == ["empty"]


def test_many_sheets(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as one sheet has room for, then another."""
    monkeypatch.setattr(contact_sheet, "PER_SHEET", 4)
    (here / "many").mkdir()
    for i in range(9):
        np.save(here / "many" / f"{chr(97 + i)}.npy", np.full((2, 8, 8), i, np.uint8))
    (here / "all_3.png").write_text("mine")
    assert "all_3.png: exists already" in run("preview", "many", "-o", "all.png", code=2).stderr
    assert not (here / "all.png").exists()
    (here / "all_3.png").unlink()
    assert run("preview", "many", "-o", "all.png").stdout.split() == [
        *("all.png", "all_2.png", "all_3.png")
    ]


def test_tile_of_a_large_scan(folder: Path, truth: np.ndarray, monkeypatch: Any) -> None:
    """Only some of the positions are read; the bar keeps its length."""
    monkeypatch.setattr(contact_sheet, "_BYTES", 48 * 256 * 256 * 2)
    recording, placed = opened(str(folder / "grains.mib"), {"scan_step": "0.5,1.0nm"})
    tile = contact_sheet.tile_of("grains", recording, placed)
    assert isinstance(tile.shown, Picture)
    np.testing.assert_array_equal(tile.shown.values, truth.sum(axis=(2, 3))[::2, ::2])
    assert tile.shown.aspect == pytest.approx(8 / 12)
    assert tile.lines == ("16 × 12 of 256 × 256 px", "mib: navigator in steps of 2")
    step = step_of(tile.shown.axes[-1])
    assert step is not None
    assert step.size == 1.0


def test_tile_reads_a_few_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).poisson(3, (500, 32, 32)).astype(np.uint16)
    np.save(tmp_path / "a.npy", data)
    tile = contact_sheet.tile_of("a", *opened(str(tmp_path / "a.npy"), {}))
    index = np.linspace(0, 499, 64).round().astype(int)
    assert isinstance(tile.shown, Picture)
    np.testing.assert_array_equal(tile.shown.values, data[index].sum(axis=0))
    monkeypatch.setattr(contact_sheet, "_BYTES", 1)
    assert contact_sheet.tile_of("a", *opened(str(tmp_path / "a.npy"), {})).lines == (
        *("500 of 32 × 32 px", "npy: frame 251 of 500"),
    )


def test_names_of_pictures() -> None:
    assert drawing.check_name("a.b/c.JPEG") == "jpeg"
    with pytest.raises(FormatError, match="no name of a picture"):
        drawing.check_name("a.b/c")


def test_wrapping() -> None:
    writer = drawing.Typewriter()
    assert writer.wrapped("a b", 18, 500) == ["a b"]
    lines = writer.wrapped("w" * 200 + " end", 18, 300)
    assert "".join(lines).replace(" ", "") == "w" * 200 + "end"
    assert all(writer.width(line, 18) <= 300 for line in lines)
    short = writer.shortened("beginning_of_a_long_name_0123.mib", 14, 150)
    assert re.fullmatch(r"beg\w*…\w*\.mib", short)
    assert writer.width(short, 14) <= 150


# ---------------------------------------------------------------- the disk


@pytest.mark.parametrize("radius", [2.0, 6.5, 20.0])
@pytest.mark.parametrize("centre", [(63.5, 63.5), (50.2, 80.9), (100.0, 30.0)])
@pytest.mark.parametrize("counts", [3.0, 1000.0])
def test_disk(radius: float, centre: tuple[float, float], counts: float) -> None:
    rng = np.random.default_rng(3)
    y, x = np.ogrid[:128, :128]
    distance = np.hypot(y - centre[0], x - centre[1])
    model = np.where(distance <= radius, counts * 20, counts * 0.05 * np.exp(-distance / 40))
    pattern = rng.poisson(model)
    pattern[5, 7] = pattern[90, 100] = 1_000_000  # hot pixels
    disk = find_disk(pattern)
    assert disk is not None
    assert disk.certain
    assert (disk.row, disk.column) == pytest.approx(centre, abs=0.6)
    assert disk.radius == pytest.approx(radius, abs=0.9)
    virtual = detectors(disk, pattern.shape)
    assert not (virtual.masks[0] & virtual.masks[1]).any()
    assert virtual.masks[1].any()


def test_disk_of_a_large_detector() -> None:
    y, x = np.ogrid[:2048, :1500]
    pattern = np.where(np.hypot(y - 1000, x - 800) < 150, 100, 1)
    disk = find_disk(pattern)
    assert disk is not None
    assert (disk.row, disk.column, disk.radius) == pytest.approx((1000, 800, 150), abs=2)


def test_no_disk() -> None:
    assert find_disk(np.zeros((64, 64))) is None
    assert find_disk(np.ones((64, 64), int)) is None
    assert find_disk(np.ones(64)) is None
    assert find_disk(np.eye(4)) is None
    noise = find_disk(np.random.default_rng(0).poisson(20, (64, 64)))
    assert noise is not None
    assert not noise.certain
    wide = np.zeros((64, 64))
    wide[:, 20:] = 1
    assert not find_disk(wide).certain  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (5804, "5804"),
        (12345, "12.3 k"),
        (9_999, "9999"),
        (999_999, "1 M"),
        (4.2e7, "42 M"),
        (0.0123456, "0.01235"),
        (-2.5e13, "-25 T"),
        (1.55e22, "1.55 × 10²²"),
        (5.09e-7, "5.09 × 10⁻⁷"),
    ],
)
def test_compact(value: float, text: str) -> None:
    assert compact(value) == text
