# SPDX-License-Identifier: GPL-3.0-or-later
"""What Direct Electron's server writes beside a movie: description, scan positions, images.

Sources: recorded files, and what RosettaSciIO makes of them. ``specifications/mrc_de.md`` writes
them down.
"""

from __future__ import annotations

import datetime
import io
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Problem
from rsciio_tem.parsing.metadata import Entry, put, translated
from rsciio_tem.parsing.text import key_values, legible, to_number
from rsciio_tem.parsing.trees import side_content
from rsciio_tem.recording.axis import Axis
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import files

__all__ = ["Described", "Sides", "beside", "coordinates", "description", "no_scan_file", "raster"]

#: Bytes of a description; of a list of scan positions.
_INFO, _LIST = 1 << 20, 1 << 28
#: Positions of the grid for each frame: what is more cannot be right.
_SPARSE = 1000


class Sides(NamedTuple):
    """Files beside a movie of Direct Electron; images with their names."""

    info: str | None = None
    scan: str | None = None
    virtual: tuple[tuple[str, str], ...] = ()
    external: tuple[tuple[str, str], ...] = ()


#: Positive numbers that go to ``Acquisition_instrument.TEM``; the last one only of a scan.
_SCAN = (
    Entry("Instrument Accelerating Voltage (V)", "beam_energy", 1e-3),
    Entry("Instrument Project Camera Length (centimeters)", "camera_length", 10.0),
    Entry("Scan - Dwell Time (microseconds)", "dwell_time", 1e-6),
)
_NUMBERS = _SCAN[:-1]

_MOVIE = re.compile(r"(\d{8}_\d+)(?:_.+)?_movie\.mrc", re.IGNORECASE)


def _unique(images: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Sort images by the number in their file's name; make their names unique."""
    paths: dict[str, str] = {}
    for name, path in sorted(images, key=lambda item: files.natural_key(item[1])):
        unique, n = name, 0
        while unique in paths:
            n += 1
            unique = f"{name}_{n}"
        paths[unique] = path
    return tuple(paths.items())


def beside(path: str) -> Sides:
    """Find the files that Direct Electron's server wrote beside a movie."""
    results = [_beside(place) for place in files.places(path)]
    return next((sides for sides in results if sides != Sides()), results[0])


def _beside(path: str) -> Sides:
    folder, base = os.path.split(path)
    match = _MOVIE.fullmatch(base)
    if match is None:
        return Sides()
    stem = re.escape(match[1])
    virtual = re.compile(rf"{stem}(?:_.+?)?_(?:virt)?\d+_([^_]+)_.+\.mrc", re.IGNORECASE)
    external = re.compile(rf"{stem}(?:_.+?)?_ext(\d+)(?:_(.+))?\.mrc", re.IGNORECASE)
    texts: dict[str, str] = {}
    images: dict[str, list[tuple[str, str]]] = {"virtual": [], "external": []}
    for entry in sorted(files.listing(folder), key=files.natural_key):
        name = files.joined(folder, entry)
        if entry == base or not entry.startswith(match[1] + "_") or _MOVIE.fullmatch(entry):
            continue
        for kind in ("info.txt", "scan_coordinates.csv"):
            if entry.lower().endswith(f"_{kind}"):
                # that of this very movie before one of the same acquisition
                same = entry.lower() == f"{base[: -len('movie.mrc')]}{kind}".lower()
                texts[kind] = name if same else texts.get(kind, name)
        if match_external := external.fullmatch(entry):
            title = match_external[2] or f"ext{match_external[1]}"
            images["external"].append((title, name))
        elif match_virtual := virtual.fullmatch(entry):
            images["virtual"].append((match_virtual[1], name))
    return Sides(
        texts.get("info.txt"),
        texts.get("scan_coordinates.csv"),
        _unique(images["virtual"]),
        _unique(images["external"]),
    )


def _text(path: str, limit: int) -> str:
    return legible(side_content(path, limit)).removeprefix("\ufeff")


def description(path: str) -> dict[str, str]:
    """Read the lines ``key = value`` beside a movie."""
    pairs = key_values(_text(path, _INFO), "=")
    if not pairs:
        raise NotThisFormat(path, "describes no movie: it has no line 'key = value'.")
    return {key.strip(): value.strip() for key, value in pairs.items()}


class Described:
    """What the description of a movie says; numbers that are not positive are unknown."""

    def __init__(self, info: Mapping[str, str]) -> None:
        self.info = info
        self.scanning = info.get("Scan - Enable") == "Enable"
        self.raster = info.get("Scan - Type", "Raster") == "Raster"
        mode = to_number(info.get("Instrument Project TEMorSTEM Mode"))
        # -1: the microscope did not say, 0: TEM, 1: STEM
        self.stem = self.scanning if mode in (None, -1) else mode != 0

    def positive(self, key: str) -> float | None:
        """Return a number, None if it is unknown."""
        value = to_number(self.info.get(key))
        return value if value is not None and value > 0 else None

    def count(self, key: str) -> int:
        """Return a number of things, 1 if it is unknown."""
        value = self.positive(key)
        return int(value) if value is not None and value < 1 << 31 else 1

    @property
    def size(self) -> tuple[int, int]:
        """Scan shape, slow axis first."""
        kind = "ROI Size" if self.info.get("Scan - ROI Enable") == "Enable" else "Size"
        return self.count(f"Scan - {kind} Y"), self.count(f"Scan - {kind} X")

    def axis(self, name: str, key: str, units: str) -> Axis:
        """Return an axis whose step is called `key`."""
        step = self.positive(key)
        return Axis(name, None if step is None else units, step or 1.0)

    @property
    def scan_axes(self) -> tuple[Axis, Axis]:
        """Calibration of the scan."""
        key = "Specimen Pixel Size {} (nanometers)"
        return self.axis("y", key.format("Y"), "nm"), self.axis("x", key.format("X"), "nm")

    @property
    def signal_axes(self) -> tuple[Axis, Axis]:
        """Calibration of the frames: diffraction patterns, or images of the specimen."""
        length = self.positive("Instrument Project Camera Length (centimeters)")
        if not (self.stem or self.scanning or length):
            return self.scan_axes
        key = "Diffraction Pixel Size {}"
        return self.axis("ky", key.format("Y"), "nm^-1"), self.axis("kx", key.format("X"), "nm^-1")

    @property
    def frame_axis(self) -> Axis:
        """Time from frame to frame."""
        rate = self.positive("Frames Per Second")
        each = self.count("Autosave Movie Sum Count")
        return Axis("time", "sec", each / rate) if rate else Axis("time", None)

    @property
    def repeat_axis(self) -> Axis:
        """Time from scan to scan."""
        times = [self.positive(f"Scan - {k} (seconds)") for k in ("Time", "Repeat Delay")]
        return Axis("time", "sec", sum(t or 0.0 for t in times)) if times[0] else Axis("time", None)

    def metadata(self) -> dict[str, Any]:
        """Translate; texts stay texts where RosettaSciIO leaves them so."""
        get = self.info.get
        tem: dict[str, Any] = {
            "magnification": get("Instrument Project Magnification"),
            "detector": get("Camera Model"),
            "frames_per_second": get("Frames Per Second"),
        }
        translated(tem, _SCAN if self.scanning else _NUMBERS, self.positive)
        if self.scanning:
            put(tem, "rotation", to_number(get("Scan - Rotation")))
        per_electron = self.positive("ADUs Per Electron Bin1x") or self.positive(
            "ADUs Per Electron"
        )
        general: dict[str, Any] = {"timestamp": get("Timestamp (seconds since Epoch)")}
        epoch = self.positive("Timestamp (seconds since Epoch)")
        if epoch is not None and epoch < 1e11:
            moment = datetime.datetime.fromtimestamp(epoch, datetime.UTC)
            general["date"], general["time"] = moment.date().isoformat(), moment.time().isoformat()
            general["time_zone"] = "UTC"
        return {
            "General": general,
            "Signal": {
                "Noise_properties": {"gain_factor": 1 / (per_electron or 1.0)},
                "quantity": "$e^-$",
            },
            "Acquisition_instrument": {"TEM": tem},
        }


def raster(
    described: Described, count: int, problems: list[Problem]
) -> tuple[tuple[ScanHint, ...], tuple[Axis, ...], int]:
    """Return scan shape, its axes, and the number of frames at each position."""
    ny, nx = described.size
    repeats = described.count("Scan - Repeats")
    layers = described.count("Scan - Camera Frames Per Point")
    positions = ny * nx
    if count not in (positions * layers, positions * repeats * layers):
        layers = 1  # they were summed
    if layers > 1:
        problems.append(
            Problem(
                "warning",
                f"{layers} frames were recorded at each scan point, which become an axis; no such "
                "movie was available for comparison.",
            )
        )
    times = 1
    if repeats > 1 and positions > 1:
        # of a recording that was interrupted, the complete scans
        times = max(1, min(repeats, count // layers // positions))
    sizes = [(described.repeat_axis, times)]
    sizes += list(zip(described.scan_axes, (ny, nx), strict=True))
    shape = tuple(n for _, n in sizes if n > 1)
    if not shape:
        return (), (), 1
    axes = tuple(axis for axis, n in sizes if n > 1 or axis is sizes[0][0])
    reason = f"a scan of {nx} x {ny} points" + (f", {times} times" if times > 1 else "")
    return (ScanHint("header", shape, 0.95, f"{reason}, beside the movie"),), axes, layers


def coordinates(
    path: str, count: int, per_point: int, problems: list[Problem]
) -> tuple[npt.NDArray[np.int64], tuple[int, ...]]:
    """Put frames at the scan positions that a list names.

    Returns
    -------
    index : ndarray of int64
        Frame for each position of the grid, -1 where there is none.
    shape : tuple of int
        Rows and columns of the grid, and the number of visits if any position has several.
    """
    text = _text(path, _LIST)
    try:
        if not text.strip():
            raise ValueError("it is empty")
        table = np.loadtxt(io.StringIO(text), delimiter=",", ndmin=2)
        if table.shape[1] < 2:
            raise ValueError("a line has one number")
        places = table[:, :2]
        wrong = (places < 0) | (places >= 1 << 31) | (places != np.floor(places))
        if wrong.any():
            raise ValueError(f"line {int(np.argmax(wrong.any(axis=1))) + 1} is not a position")
    except ValueError as error:
        raise FormatError(
            path,
            f"holds no scan positions: {error}.",
            "Each line is the x and y of a frame, separated by a comma.",
        ) from None
    x, y = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    if per_point > 1 and count >= len(x) * per_point:
        x, y = np.repeat(x, per_point), np.repeat(y, per_point)
    if len(x) != count:
        problems.append(
            Problem(
                "warning",
                f"{os.path.basename(path)} lists {len(x)} scan positions for {count} frames; "
                + ("those without a frame are blank." if len(x) > count else "the rest is left."),
            )
        )
    ny, nx = int(y.max()) + 1, int(x.max()) + 1
    flat = y * nx + x
    order = np.argsort(flat, kind="stable")
    grouped = flat[order]
    firsts = np.searchsorted(grouped, grouped)  # where the visits of each position begin
    visit = np.empty_like(flat)
    visit[order] = np.arange(len(flat)) - firsts
    visits = int(visit.max()) + 1
    if ny * nx * visits > _SPARSE * (len(flat) + 1000):
        raise FormatError(
            path,
            f"puts {len(flat)} frames into a grid of {nx} x {ny} positions"
            + (f", visited up to {visits} times" if visits > 1 else "")
            + ", which cannot be right.",
            "Pass another scan_file, or metadata_file=None for the frames as they were recorded.",
        )
    index = np.full(ny * nx * visits, -1, np.int64)
    recorded = slice(0, min(count, len(flat)))
    index[(flat * visits + visit)[recorded]] = np.arange(recorded.stop)
    return index, (ny, nx) if visits == 1 else (ny, nx, visits)


def no_scan_file(path: str, info: Mapping[str, str]) -> FormatError:
    """Return the error for a scan of which nobody says where its frames belong."""
    stem = re.sub(r"_movie\.mrc$", "", path, flags=re.IGNORECASE)
    likely = f"{stem}_scan_coordinates.csv"
    hint = f"Pass scan_file={likely!r}" if files.is_file(likely) else "Pass scan_file="
    return FormatError(
        path,
        f"is a scan of the type {info.get('Scan - Type')!r}, and where its frames belong is in a "
        "file …_scan_coordinates.csv.",
        f"{hint}, or metadata_file=None for the frames as they were recorded.",
    )
