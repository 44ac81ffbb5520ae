# SPDX-License-Identifier: GPL-3.0-or-later
"""The gallery: a preview of a recording of each format, made when the web site is built.

One simulated film of grains is written in all formats: by ``rsciio_tem.convert`` where it writes
them, else by the writers of the tests.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import rsciio_tem
from rsciio_tem.errors import RecordingWarning
from rsciio_tem.registry import FORMATS
from rsciio_tem.tools import demo

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent

#: Where the web site has its pictures, seen from its pages.
DRAWN = "_drawn"

#: In front of what other readers of the page see instead, and behind it.
MARK, END = "<!-- made by docs/previews.py -->\n", "<!-- end -->"

SCAN = (20, 24)

Array = npt.NDArray[Any]


def recordings(folder: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Write a recording of each format; return their paths, and keywords of their readers."""
    sys.path.insert(0, str(DOCS.parent / "tests"))
    from writers import (
        dectris,
        dm,
        eigerstream,
        empad,
        fourdcamera,
        frms6,
        imagefiles,
        k2is,
        rawimage,
        seq,
        ser,
        tpx3,
        zarr,
    )

    mib = folder / "grains.mib"
    demo.write(mib, SCAN)
    (signal,) = rsciio_tem.load(mib, bin=2)
    scan = signal["data"].astype("uint16")
    stack = scan.reshape(-1, *scan.shape[-2:])
    line = stack[:: SCAN[1] + 1]
    made: dict[str, tuple[Path, dict[str, Any]]] = {"mib": (mib, {})}
    npy = folder / "grains.npy"
    np.save(npy, scan)
    made["npy"] = (npy, {})
    for name, suffix in {
        **{"tvips": "tvips", "blo": "blo", "mrc": "mrc", "hdf5": "h5", "raw": "raw"},
        **{"framecache": "npz", "raw_csr": "toml", "stempy": "h5", "tiff": "tif"},
    }.items():
        target = folder / name / f"grains.{suffix}"
        target.parent.mkdir()
        made[name] = (Path(rsciio_tem.convert(npy, target, to=name)), {})
    made["zarr"] = (zarr.write_zarr(folder / "grains.zarr", scan, (1, *scan.shape[1:])), {})
    known = {"navigation_shape": SCAN[::-1]}
    reciprocal = [(0.0, 5e7, 0)] * len(stack)  # 1/m, as patterns have
    places = [ser.place(size) for size in reversed(SCAN)]
    folders = ("dectris", "frms6", "k2is", "empad", "imagefiles", "fourdcamera")
    own = {name: folder / name for name in folders}
    for place in own.values():
        place.mkdir()
    made["ser"] = (
        ser.write_ser(folder / "grains_1.ser", stack, places, calibrations=reciprocal),
        {},
    )
    made["dm"] = (
        dm.write_dm(folder / "grains.dm4", [dm.image(scan, units=["1/nm", "1/nm", "nm", "nm"])]),
        {},
    )
    made["seq"] = (seq.write_seq(folder / "grains.seq", stack), known)
    made["empad"] = (empad.write_empad(own["empad"], scan.astype("f4")), {})
    made["frms6"] = (frms6.write_recording(own["frms6"], scan), {})
    made["dectris"] = (dectris.write_dectris(own["dectris"], stack, 240, scan=SCAN), {})
    made["k2is"] = (k2is.write_k2is(own["k2is"], _large(stack[::40])), {})
    part = scan[::2, ::2]
    large = part.reshape(-1, *part.shape[2:]).repeat(4, axis=1).repeat(4, axis=2)
    large = np.pad(large, ((0, 0), (32, 32), (32, 32)))  # to the size of the camera
    camera = fourdcamera.write_fourdcamera(own["fourdcamera"], large, scan=part.shape[:2])
    made["fourdcamera"] = (camera, {})
    made["eigerstream"] = (eigerstream.write_stream(folder / "stream.h5", stack), known)
    imagefiles.write_series(own["imagefiles"], line, "grains_{:02d}.tif")
    made["imagefiles"] = (
        imagefiles.write_list(own["imagefiles"] / "list.yml", "*.tif"),
        {},
    )
    hits = np.rint(stack * (9 / stack.max())).repeat(2, axis=1).repeat(2, axis=2).astype(int)
    hits = np.pad(hits, ((0, 0), *((0, 256 - size) for size in hits.shape[1:])))
    starts, rng = 38400 * np.arange(1, len(hits) + 1), np.random.default_rng(1)
    made["tpx3"] = (tpx3.write_counts(folder / "a.tpx3", hits, starts, 38400, rng), known)
    made["rawimage"] = (rawimage.write_rawimage(folder / "image.yml", line), {})
    assert set(made) == set(FORMATS), set(made) ^ set(FORMATS)
    return {name: made[name] for name in FORMATS}


def _large(frames: Array) -> Array:
    """Return frames of the size of a K2 camera."""
    frames = frames.repeat(14, axis=1).repeat(16, axis=2)
    return np.pad(frames, ((0, 0), (34, 34), (0, 0)))


def draw(folder: Path) -> dict[str, str]:
    """Draw all previews; return the names of the recordings."""
    from click.testing import CliRunner

    from rsciio_tem.cli import main

    folder.mkdir(exist_ok=True)
    names = {}
    with tempfile.TemporaryDirectory() as work, warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        for name, (path, options) in recordings(Path(work)).items():
            shape = options.get("navigation_shape", ())
            picture = folder / f"preview_{name}.png"
            arguments = ["preview", str(path), "--format", name, "-o", str(picture), "--overwrite"]
            if shape:
                arguments += ["--navigation-shape", ",".join(map(str, shape))]
            result = CliRunner().invoke(main, arguments)
            if result.exit_code:
                raise RuntimeError(f"no preview of {name}: {result.output}")
            names[name] = path.name
    return names


# ---------------------------------------------------------------- the web site


def _draw(app: Sphinx) -> None:
    """Draw previews unless they are newer than the package."""
    folder = Path(app.srcdir) / DRAWN
    sources = [Path(__file__), *(DOCS.parent / "rsciio_tem").rglob("*.py")]
    newest = max(file.stat().st_mtime for file in sources)
    pictures = [folder / f"preview_{name}.png" for name in FORMATS]
    if app.config.draw and not all(p.exists() and p.stat().st_mtime > newest for p in pictures):
        draw(folder)


def _replaced(app: Sphinx, docname: str, source: list[str]) -> None:
    """Show the previews in place of what says that there are none."""
    before, mark, rest = source[0].partition(MARK)
    if docname == "gallery" and app.config.draw:
        assert mark, f"{docname} has no {MARK}"
        parts = [
            f"## {name}\n\n{row.files}: [its page](formats/{name}.md)\n\n"
            f"![A preview of a recording of the format {name}]({DRAWN}/preview_{name}.png)\n"
            for name, row in FORMATS.items()
        ]
        source[0] = before + "\n".join(parts) + rest.partition(END)[2]


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("builder-inited", _draw)
    app.connect("source-read", _replaced)
    return {"parallel_read_safe": True}
