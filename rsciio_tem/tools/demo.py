# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated recording to try things on: a 4D-STEM scan of a polycrystalline film.

The files are those that a Merlin camera would write with one trigger for each position: neither
the ``.mib`` nor the ``.hdr`` says how many positions a line has; only the frame times show it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.storage.files import replacing

__all__ = ["Material", "frame_headers", "hdr_text", "simulate", "specimen", "write"]

Floats = npt.NDArray[np.float64]


SIZE = 256  # pixels along the edge of the detector


CENTRE = (129.4, 126.2)  # row and column of the undiffracted beam in the middle of the scan


RADIUS = 13.0  # of the diffraction disks, in pixels


DESCAN = (3.0, 4.5)  # pixels that the pattern wanders over the scan, along rows and columns


DOSE = 6000  # electrons per position


HOT = ((31, 200), (77, 18), (140, 243), (188, 61), (229, 150))  # pixels that count by themselves


START_NS = 1_710_408_413_589_793_000  # 2024-03-14 09:26:53.589793 UTC


DWELL_NS, EXPOSURE_NS, FLYBACK_NS = 1_000_000, 950_000, 1_500_000


HEADER = 384  # bytes of the header of a frame from a single chip


THRESHOLDS = (2.0, 511.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # keV


DACS = (
    *(11, 511, 0, 0, 0, 0, 0, 0, 175, 10, 200, 125, 100, 100),
    *(93, 100, 99, 30, 128, 4, 255, 140, 128, 191, 179, 511, 511),
)


# ---------------------------------------------------------------- specimen


@dataclass(frozen=True, eq=False)
class Material:
    """How a region of the specimen scatters.

    Parameters
    ----------
    spots : ndarray, shape (n, 2)
        Places of the diffraction disks relative to the undiffracted beam, which is the first one.
    weights : ndarray, shape (n + 2,)
        Probability of each disk, of diffuse scattering and of the amorphous halo; the rest, up to
        1, is scattered beyond the detector.
    """

    spots: Floats
    weights: Floats


def specimen(
    scan: tuple[int, int], rng: np.random.Generator
) -> tuple[npt.NDArray[np.intp], list[Material]]:
    """Generate a specimen: grains, and a hole with an amorphous rim.

    Returns
    -------
    where : ndarray of int, shape `scan`
        Which material is at each position; 0 is vacuum, 1 amorphous.
    materials : list of Material
    """
    direct = np.zeros((1, 2))
    materials = [
        Material(direct, np.array([0.998, 0.002, 0.0])),
        Material(direct, np.array([0.62, 0.14, 0.20])),
    ]
    y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in scan), indexing="ij")
    seeds = rng.random((10, 2))
    distance = [(y - a) ** 2 + (x - b) ** 2 for a, b in seeds.tolist()]
    where = np.argmin(distance, axis=0) + 2
    hole = ((x - 0.98) / 0.34) ** 2 + ((y - 0.04) / 0.40) ** 2 + 0.08 * np.sin(9 * x + 7 * y)
    where[hole < 1.7] = 1
    where[hole < 1.0] = 0
    h, k = (m.reshape(-1) for m in np.mgrid[-4:5, -4:5])
    order = np.argsort(h**2 + k**2, kind="stable")
    for _ in seeds:
        turn, opening = rng.uniform(0, np.pi), rng.choice([np.pi / 2, np.pi / 3])
        first, second = rng.uniform(33, 39), rng.uniform(33, 47)
        a = first * np.array([np.sin(turn), np.cos(turn)])
        b = second * np.array([np.sin(turn + opening), np.cos(turn + opening)])
        spots = h[order, np.newaxis] * a + k[order, np.newaxis] * b
        length = np.hypot(*spots.T)
        strength = np.exp(-((length / 60) ** 2)) * rng.lognormal(0, 0.9, len(spots))
        strength[0] = 0
        strength *= rng.uniform(0.18, 0.5) / strength.sum()
        diffuse, lost = rng.uniform(0.05, 0.12), rng.uniform(0.01, 0.14)
        strength[0] = 1 - strength.sum() - diffuse - lost
        materials.append(Material(spots, np.array([*strength, diffuse, 0.0])))
    return where, materials


def simulate(scan: tuple[int, int] = (40, 48), seed: int = 4) -> Iterator[npt.NDArray[np.uint16]]:
    """Yield the frames of one scan line after the other, as the detector should show them.

    Parameters
    ----------
    scan : tuple of int
        Lines and columns.
    seed : int
        The same number gives the same frames.
    """
    rng = np.random.default_rng(seed)
    where, materials = specimen(scan, rng)
    lines, columns = scan
    for i in range(lines):
        hits = []
        for j in range(columns):
            material = materials[where[i, j]]
            # thickness varies smoothly
            thin = 1 - 0.03 * np.sin(0.21 * i + 0.5 * np.sin(0.17 * j)) * (where[i, j] > 0)
            centre = [
                CENTRE[0] + DESCAN[0] * (i / max(1, lines - 1) - 0.5),
                CENTRE[1] + DESCAN[1] * (j / max(1, columns - 1) - 0.5),
            ]
            place = _electrons(material, rng.poisson(DOSE * thin * material.weights.sum()), rng)
            row, column = np.floor(place + centre).astype(np.intp).T
            seen = (row >= 0) & (row < SIZE) & (column >= 0) & (column < SIZE)
            hits.append((j * SIZE + row[seen]) * SIZE + column[seen])
        counts = np.bincount(np.concatenate(hits), minlength=columns * SIZE * SIZE)
        frames = counts.reshape(columns, SIZE, SIZE)
        for row, column in HOT:
            frames[:, row, column] += rng.poisson(180, columns)
        yield np.minimum(frames, 4095).astype(np.uint16)


def _electrons(material: Material, count: int, rng: np.random.Generator) -> Floats:
    """Return where `count` electrons hit the detector, relative to the undiffracted beam."""
    edges = np.cumsum(material.weights)
    kind = np.searchsorted(edges, rng.random(count) * edges[-1])
    n = len(material.spots)
    u = 1 - rng.random(count)
    distance = RADIUS * np.sqrt(u)  # evenly over a disk
    distance = np.where(kind == n, 40 * np.sqrt(-2 * np.log(u)), distance)
    distance = np.where(kind == n + 1, 46 + 9 * (np.sqrt(-np.log(u)) - 0.9), distance)
    angle = rng.random(count) * 2 * np.pi
    place: Floats = np.concatenate([material.spots, np.zeros((2, 2))])[kind]
    place += distance[:, np.newaxis] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return place


# ---------------------------------------------------------------- files


def frame_headers(first: int, times_ns: npt.NDArray[np.int64]) -> list[bytes]:
    """Return the headers of consecutive frames; `first` counts from 0."""
    local = np.datetime_as_string(times_ns.view("M8[ns]").astype("M8[us]"))
    utc = np.datetime_as_string(times_ns.view("M8[ns]"))
    thresholds = ",".join(_exponent(value) for value in THRESHOLDS)
    dacs = ",".join(f"{value:03d}" for value in DACS)
    return [
        (
            f"MQ1,{first + i + 1:06d},{HEADER:05d},01,{SIZE:04d},{SIZE:04d},U16,   1x1,01,"
            f"{local[i].replace('T', ' ')},{EXPOSURE_NS / 1e9:.6f},0,0,0,{thresholds},3RX,{dacs},"
            f"MQ1A,{utc[i]}Z,{EXPOSURE_NS}ns,12,"
        )
        .encode("ascii")
        .ljust(HEADER, b"\0")
        for i in range(len(times_ns))
    ]


def _exponent(value: float) -> str:
    """Write a number as the camera's software does: ``2.000000E+0``."""
    mantissa, exponent = f"{value:.6E}".split("E")
    return f"{mantissa}E{int(exponent):+d}"


def hdr_text(frames: int) -> bytes:
    """Return the ``.hdr`` of `frames` frames, each started by its own trigger."""
    folder = r"c:\MERLIN_Quad_Config\W556_B0\W556_B0_SPM"
    unused = ",,,"
    lines = {
        "Time and Date Stamp (day, mnth, yr, hr, min, s)": "14/03/2024 09:26:53",
        "Chip ID": "W556_B0, - , - , - ",
        "Chip Type (Medipix 3.0, Medipix 3.1, Medipix 3RX)": "Medipix 3RX",
        "Assembly Size (NX1, 2X2)": "   1x1",
        "Chip Mode  (SPM, CSM, CM, CSCM)": "SPM",
        "Counter Depth (number)": "12",
        "Gain": "SLGM",
        "Active Counters": "Counter 0",
        "Thresholds (keV)": ",".join(_exponent(value) for value in THRESHOLDS),
        "DACs": ",".join(f"{value:03d}" for value in DACS) + "; ; ; ",
        "bpc File": f"{folder}.bpc{unused}",
        "DAC File": f"{folder}.dacs{unused}",
        "Gap Fill Mode": "None",
        "Flat Field File": "None",
        "Dead Time File": "Dummy (C:\\<NUL>\\)",
        "Acquisition Type (Normal, Th_scan, Config)": "Normal",
        "Frames in Acquisition (Number)": f"{frames}",
        "Frames per Trigger (Number)": "1",
        "Trigger Start (Positive, Negative, Internal)": "Rising Edge",
        "Trigger Stop (Positive, Negative, Internal)": "Internal",
        "Sensor Bias (V)": "120 V",
        "Sensor Polarity (Positive, Negative)": "Positive",
        "Temperature (C)": "Board Temp 46.758652 Deg C",
        "Humidity (%)": "Board Humidity 12.508911 ",
        "Medipix Clock (MHz)": "120MHz",
        "Readout System": "Merlin Quad",
        "Software Version": "0.77.0.16",
    }
    text = "HDR,\t\r\n" + "".join(f"{key}:\t{value}\r\n" for key, value in lines.items()) + "End\t"
    return text.encode("ascii").ljust(2048)


def write(
    path: str | os.PathLike[str],
    scan: tuple[int, int] = (40, 48),
    *,
    seed: int = 4,
    overwrite: bool = False,
    progress: Any = None,
) -> str:
    """Simulate a recording.

    Parameters
    ----------
    path : str or path
        The ``.mib``; the ``.hdr`` goes beside it.
    scan : tuple of int
        Lines and columns.
    seed : int
        See `simulate`.
    overwrite : bool
        Replace files of these names.
    progress : callable, optional
        Called with the number of frames just written.

    Returns
    -------
    str
        Name of the ``.hdr``.

    Raises
    ------
    FileExistsError
        One of the files exists already.
    """
    lines, columns = scan
    hdr = os.path.splitext(os.fspath(path))[0] + ".hdr"
    rng = np.random.default_rng(seed)
    index = np.arange(lines * columns, dtype=np.int64)
    times = START_NS + index * DWELL_NS + index // columns * FLYBACK_NS
    times += 10 * rng.integers(-1, 2, len(index))  # the camera's clock counts in steps of 10 ns
    with ExitStack() as files:
        # the .hdr first, so that the .mib takes its final name before it
        hdr_part = files.enter_context(replacing(hdr, overwrite=overwrite))
        mib_part = files.enter_context(replacing(path, overwrite=overwrite))
        with open(hdr_part, "wb") as file:
            file.write(hdr_text(lines * columns))
        with open(mib_part, "wb") as file:
            for i, frames in enumerate(simulate(scan, seed)):
                first = i * columns
                stored = frames[:, ::-1].astype(">u2")  # the bottom row comes first
                headers = frame_headers(first, times[first : first + columns])
                for header, frame in zip(headers, stored, strict=True):
                    file.write(header)
                    file.write(frame.data)
                if progress is not None:
                    progress(columns)
    return hdr
