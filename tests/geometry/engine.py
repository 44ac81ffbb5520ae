# SPDX-License-Identifier: GPL-3.0-or-later
"""Scan engine, camera and clock: frames of which the true position is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
Ints = NDArray[np.int64]

US, MS, SECOND = 1_000, 1_000_000, 1_000_000_000

#: One frame: where the beam was (-1: nowhere in the scan), when it was recorded in ns, for how
#: long it was exposed in ns, and what number the camera gave it. Columns count all frames that
#: the camera takes in a line, those taken while the beam flies back too.
EVENT = np.dtype(
    [
        ("repeat", np.int64),
        ("line", np.int64),
        ("column", np.int64),
        ("time", np.float64),
        ("exposure", np.int64),
        ("number", np.int64),
    ]
)
Events = NDArray[np.void]


@dataclass(frozen=True)
class Recording:
    """What is stored, what the headers claim, and what is true.

    Attributes
    ----------
    events : ndarray of EVENT
        The stored frames in the order of the file.
    lines, width, repeats : int
        The true scan, `width` with the frames of the flyback; no lines: it is not a scan.
    flyback : tuple of int
        Columns that were recorded during flyback.
    claims : dict
        What headers and side files say; each format has its own.
    tellable : bool
        Whether the files hold what is needed for a right answer.
    unclear : frozenset of int
        Lines of which the columns cannot be told: they may be left blank.
    parameters : dict
        What was drawn, for people.
    """

    format: str
    events: Events
    lines: int
    width: int
    repeats: int = 1
    flyback: tuple[int, ...] = ()
    claims: dict[str, Any] = field(default_factory=dict)
    tellable: bool = True
    unclear: frozenset[int] = frozenset()
    parameters: dict[str, Any] = field(default_factory=dict)
    family: str = ""
    index: int = 0

    @property
    def is_scan(self) -> bool:
        return self.lines > 0

    @property
    def columns(self) -> int:
        """Columns of the scan proper."""
        return self.width - len(self.flyback)

    def __str__(self) -> str:
        return f"{self.family}:{self.index}"


# -- scan engine and clock -----------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """How a scan runs, and how exact the clock is; times in ns."""

    lines: int
    columns: int
    dwell: float
    gap: float  # time without a frame between two lines
    scatter: float  # of the gap
    jitter: float  # of a stamp
    unit: int  # resolution of the stamps
    dead: float = 0.1  # part of the dwell in which the camera does not expose

    @property
    def noise(self) -> float:
        """Standard deviation of a step between two stamps."""
        return float(np.sqrt(2 * self.jitter**2 + self.unit**2 / 6))

    @property
    def exposure(self) -> int:
        return round(self.dwell * (1 - self.dead))

    @property
    def single(self) -> bool:
        """Whether every single line end can be seen."""
        return self.gap > 8 * self.noise + 4 * self.scatter

    @property
    def folded(self) -> bool:
        """Whether the line length can be seen if all lines are averaged."""
        return self.lines >= 6 and self.gap * np.sqrt(self.lines - 1) > 12 * self.noise

    def described(self) -> dict[str, Any]:
        return {
            "lines": self.lines,
            "columns": self.columns,
            "dwell_us": round(self.dwell / US, 3),
            "gap_us": round(self.gap / US, 3),
            "scatter_us": round(self.scatter / US, 3),
            "jitter_us": round(self.jitter / US, 3),
            "unit_us": self.unit / US,
        }


def log_uniform(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def draw_size(rng: Rng, least: int = 3, most: int = 64) -> tuple[int, int]:
    """Return lines and columns; now and then a long scan."""
    if rng.random() < 0.03 and most >= 64:
        return [(16, 512), (512, 16), (8, 256), (256, 9)][rng.integers(4)]
    lines, columns = (round(log_uniform(rng, least, most)) for _ in "yx")
    return lines, columns


def draw(
    rng: Rng,
    sight: Literal["single", "folded", "any"] = "single",
    *,
    least: int = 3,
    most: int = 64,
    unit: int = 0,
) -> Setting:
    """Draw a setting whose line ends can be seen: each of them, or those of all lines together."""
    for _ in range(500):
        lines, columns = draw_size(rng, least, most)
        dwell = log_uniform(rng, 0.05 * MS, 100 * MS)
        if rng.random() < 0.5:  # people like round numbers
            dwell = float(f"{dwell:.1g}")
        gap = log_uniform(rng, 20 * US, max(4 * dwell, 40 * US))
        if rng.random() < 0.15:
            gap = dwell * int(rng.integers(1, 5))
        setting = Setting(
            lines,
            columns,
            dwell,
            gap,
            gap * float(rng.choice([0, 0, 0.003, 0.03])),
            min(float(rng.choice([10, 100, US, 20 * US])), 0.08 * dwell),
            unit or int(rng.choice([100, US, MS], p=[0.6, 0.33, 0.07])),
        )
        if setting.unit > 0.9 * setting.dwell:
            continue  # stamps in whole ms of frames that take less have families of their own
        if sight == "any" or (setting.single if sight == "single" else setting.folded):
            return setting
    raise AssertionError("no such setting")


def raster(
    rng: Rng, s: Setting, extra: int = 0, repeats: int = 1, pause: float = 0, missed: int = 0
) -> Events:
    """Return the frames of a scan.

    `extra` frames per line are taken during flyback, at the usual pace; before each repeat the
    beam rests for `pause`. The first `missed` frames of each line are not recorded.
    """
    width = s.columns + extra
    count = repeats * s.lines
    gaps = s.gap + s.scatter * rng.standard_normal(count).clip(-3, 3)
    starts = np.arange(count) * width * s.dwell + np.cumsum(gaps)
    starts += pause * (np.arange(count) // s.lines)
    events = np.zeros((count, width), EVENT)
    events["repeat"] = (np.arange(count) // s.lines)[:, None]
    events["line"] = (np.arange(count) % s.lines)[:, None]
    events["column"] = np.arange(width)
    events["time"] = starts[:, None] + np.arange(width) * s.dwell
    events["exposure"] = s.exposure
    return events[:, missed:].reshape(-1)


def train(count: int, s: Setting, begin: float = 0) -> Events:
    """Return frames that are not part of a scan, one dwell apart."""
    events = np.zeros(count, EVENT)
    for name in ("repeat", "line", "column"):
        events[name] = -1
    events["time"] = begin + np.arange(count) * s.dwell
    events["exposure"] = s.exposure
    return events


def numbered(events: Events) -> Events:
    """Let the camera count the frames."""
    events = events.copy()
    events["number"] = np.arange(1, len(events) + 1)
    return events


def stamped(rng: Rng, events: Events, s: Setting, *, begin: int | None = None) -> Events:
    """Let a clock stamp the frames."""
    events = events.copy()
    if begin is None:
        begin = 1_620_000_000 * SECOND + int(rng.integers(0, 80_000 * SECOND))
    times = events["time"] + s.jitter * rng.standard_normal(len(events)).clip(-4, 4)
    # float64 has not enough digits for ns since 1970
    events = events.astype([(n, np.int64 if n == "time" else t) for n, t in events.dtype.descr])
    events["time"] = (np.floor(times / s.unit).astype(np.int64) + begin // s.unit) * s.unit
    return events
