# SPDX-License-Identifier: GPL-3.0-or-later
"""A few numbers for each frame of a recording, and what they say about the length of lines.

One pass over the frames; what the inspector page shows is all made of it.
"""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.wrapped import Floats, Grey, long_integers
from rsciio_tem.reduction.detectors import Annulus, Disk
from rsciio_tem.reduction.single_pass import one_pass
from rsciio_tem.scan.times import Times
from rsciio_tem.tools.direct_beam import detectors, find_disk

__all__ = ["Geometry", "Survey", "matches", "packed", "steps_in_time", "survey", "virtual_images"]

Array = npt.NDArray[Any]

#: Bytes of all numbers per frame in a page; text makes a third more of them.
_BUDGET = 2_900_000
#: A quick look takes this long, in seconds, and reads this much at a time.
_QUICK, _PIECE = 2.0, 16 << 20
#: Lengths of lines that are tried, at most.
_LONGEST = 8192
#: Late frames that are listed, and points of the curve of times.
_LATE, _POINTS = 4000, 1200

#: What is shown of each frame, the most important first.
LABELS = {
    "sum": "Sum",
    "bf": "Bright field",
    "adf": "Annular dark field",
    "row": "Centre of mass, row",
    "column": "Centre of mass, column",
}


@dataclass(frozen=True)
class Geometry:
    """A disk and a ring around the direct beam, in pixels of the detector."""

    row: float
    column: float
    radius: float
    inner: float
    outer: float
    certain: bool = True

    def masks(self, shape: tuple[int, ...]) -> list[Array]:
        """Return bright field and annular dark field."""
        centre = (self.row, self.column)
        ring = Annulus(self.inner, self.outer, centre)
        return [Disk(self.radius, centre)(shape), ring(shape)]


@dataclass(frozen=True, eq=False)
class Survey:
    """What a pass over the frames gives.

    Parameters
    ----------
    channels : dict of ndarray
        A number for each frame, by what it is.
    pattern : ndarray, optional
        Sum of the frames; None if they have not two axes.
    geometry : Geometry, optional
        Detectors that "bf" and "adf" were measured with.
    """

    channels: dict[str, Array] = field(default_factory=dict)
    pattern: Array | None = None
    geometry: Geometry | None = None

    @property
    def count(self) -> int:
        """Number of frames that were looked at."""
        return len(self.channels["sum"])


def plain(frames: Frames) -> Frames:
    """See frames as plain numbers that can be added up."""
    if frames.dtype.names:
        return Grey(frames)
    return Floats(frames) if long_integers(frames.dtype) else frames


def survey(
    frames: Frames, *, fast: bool = False, progress: Callable[[int], object] | None = None
) -> Survey:
    """Measure frames in the order of recording; with `fast` only those that a look has time for.

    Parameters
    ----------
    frames : Frames
        All that a page may show.
    fast : bool
        Stop after about two seconds, with the first frames.
    progress : callable, optional
        Is called with the number of frames just read.
    """
    frames = plain(frames)
    flat = len(frames.frame_shape) == 2
    geometry = _geometry(frames) if flat else None
    masks = None if geometry is None else geometry.masks(frames.frame_shape)
    moments = flat and frames.dtype.kind != "c"
    what: Any = ("navigator", "sum", *(["com"] if moments else []))
    size = max(1, math.prod(frames.frame_shape) * frames.dtype.itemsize)
    step = max(64, _PIECE // size) if fast else len(frames)
    parts: list[dict[str, Array]] = []
    began, at = time.perf_counter(), 0
    while at < len(frames) and (not parts or time.perf_counter() - began < _QUICK):
        piece = frames[at : at + step]
        parts.append(one_pass(piece, what=what, masks=masks, progress=progress))
        at += step
    channels = {"sum": _joined([_real(part["navigator"]) for part in parts])}
    if masks is not None:
        both = _joined([_real(part["masks"]) for part in parts])
        channels |= {"bf": both[0], "adf": both[1]}
    if moments:
        row, column = _joined([part["com"] for part in parts])
        channels |= {"row": row, "column": column}
    pattern = np.sum([_real(part["sum"]) for part in parts], axis=0) if flat else None
    return Survey(channels, pattern, geometry)


def virtual_images(
    frames: Frames, geometry: Geometry, progress: Callable[[int], object] | None = None
) -> dict[str, Array]:
    """Measure bright field and annular dark field of frames again."""
    frames = plain(frames)
    masks = geometry.masks(frames.frame_shape)
    both = _real(one_pass(frames, what=(), masks=masks, progress=progress)["masks"])
    return {"bf": both[0], "adf": both[1]}


def _geometry(frames: Frames) -> Geometry | None:
    """Find the direct beam in some frames."""
    size = max(1, math.prod(frames.frame_shape) * frames.dtype.itemsize)
    sample = min(len(frames), 256, max(8, (64 << 20) // size))
    index = np.linspace(0, len(frames) - 1, sample).astype(np.int64)
    disk = find_disk(one_pass(frames[index], what=["sum"])["sum"])
    if disk is None:
        return None
    ring = detectors(disk, frames.frame_shape)
    return Geometry(disk.row, disk.column, disk.radius, ring.inner, ring.outer, disk.certain)


def _joined(parts: list[Array]) -> Array:
    return np.concatenate(parts, axis=-1)


def _real(values: Any) -> Array:
    array = np.asarray(values)
    return np.asarray(np.abs(array) if array.dtype.kind == "c" else array, np.float64)


# ---------------------------------------------------------------- how well lines match


def matches(channels: dict[str, Array]) -> Array:
    """Return how much each frame resembles the one so many frames later, from -1 to 1.

    Parameters
    ----------
    channels : dict of ndarray
        A number for each frame; the mean of what they say counts.

    Returns
    -------
    ndarray
        By the distance, from 0 on; up to a half of the frames.
    """
    count = len(next(iter(channels.values())))
    longest = min(count // 2, _LONGEST)
    if longest < 2:
        return np.zeros(0)
    size = 1 << (2 * count - 1).bit_length()
    pairs = count - np.arange(longest + 1)
    total, used = np.zeros(longest + 1), 0
    for values in channels.values():
        values = _steady(values)
        power = float(np.mean(values**2))
        if not power > 0:
            continue
        spectrum = np.fft.rfft(values, size)
        products = np.fft.irfft(np.abs(spectrum) ** 2, size)[: longest + 1]
        total += products / pairs / power
        used += 1
    return np.clip(total / max(used, 1), -1, 1)


def _steady(values: Array) -> Array:
    """Take out what drifts over the whole recording, and single frames that are far off."""
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(len(values))
    values = np.where(finite, values, np.median(values[finite]))
    low, high = np.percentile(values, (0.5, 99.5))
    values = np.clip(values, low, high)
    ramp = np.linspace(-1, 1, len(values))
    values = values - values.mean()
    return np.asarray(values - ramp * (values @ ramp) / (ramp @ ramp))


def peaks(curve: Array, most: int = 6) -> list[tuple[int, float]]:
    """Return distances at which a curve of `matches` rises to a peak, the best first."""
    if len(curve) < 6:
        return []
    floor = np.minimum.accumulate(curve)
    rise = curve - floor
    inner = np.arange(2, len(curve) - 1)
    top = inner[(curve[inner] > curve[inner - 1]) & (curve[inner] >= curve[inner + 1])]
    top = top[(rise[top] > 0.05) & (curve[top] > 5 / np.sqrt(2 * len(curve) - top))]
    best: list[tuple[int, float]] = []
    for place in top[np.argsort(-curve[top], kind="stable")].tolist():
        if all(abs(place - other) > max(2, other // 50) for other, _ in best):
            best.append((place, float(curve[place])))
        if len(best) == most:
            break
    return best


# ---------------------------------------------------------------- times


def steps_in_time(times: Times | None, count: int) -> dict[str, Any] | None:
    """Return steps between the times of the first so many frames, in units of the usual step.

    Returns
    -------
    dict or None
        ``step`` in seconds; ``late``, pairs of a frame and the step before it; ``more``, how many
        of these are left out; ``highest`` of each ``bin`` frames; ``lost``, pairs of a frame and
        how many numbers are skipped before it.
    """
    if times is None or count < 3:
        return None
    moments, numbers = [], []
    for first in range(0, count, 1 << 16):
        part = times.read(first, min(first + (1 << 16), count))
        moments.append(part.time_ns)
        numbers.append(part.sequence)
    stamps, sequence = np.concatenate(moments), np.concatenate(numbers)
    good = (stamps[1:] >= 0) & (stamps[:-1] >= 0)
    steps = np.where(good, np.diff(stamps), 0)
    usual = float(np.median(steps[good])) if good.any() else 0.0
    if not usual > 0:
        return None
    ratio = steps / usual
    scatter = float(np.median(np.abs(ratio[good] - 1))) * 1.5 + 1e-6
    late = np.flatnonzero(ratio > 1 + max(0.005, 6 * scatter))
    chosen = late[np.argsort(-ratio[late], kind="stable")[:_LATE]]
    size = -(-len(ratio) // _POINTS)
    padded = np.pad(ratio, (0, -len(ratio) % size), constant_values=0)
    lost: list[list[int]] = []
    if len(sequence) == count:
        jumps = np.diff(sequence)
        gaps = np.flatnonzero((jumps > 1) & (jumps < 1000) & (sequence[1:] >= 0))
        lost = [[int(i) + 1, int(jumps[i]) - 1] for i in gaps[:1000].tolist()]
    return {
        "step": usual / 1e9,
        "late": [[int(i) + 1, round(float(ratio[i]), 4)] for i in np.sort(chosen).tolist()],
        "more": len(late) - len(chosen),
        "bin": size,
        "highest": np.round(padded.reshape(-1, size).max(axis=1), 4).tolist(),
        "lost": lost,
    }


# ---------------------------------------------------------------- numbers as text


def capacity() -> int:
    """Return how many frames a page holds at least one number of."""
    return _BUDGET


def packed(channels: dict[str, Array]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return numbers of frames as text, and what there was no room for.

    They are in 16 bits if there is room, else in 8, between the percentiles that leave out single
    frames that are far off; 0 stands for what is no number.
    """
    count = len(channels["sum"])
    bits = 16 if 2 * count * len(channels) <= _BUDGET else 8
    room = max(1, _BUDGET // (count * bits // 8))
    kept = list(channels)[:room]
    if "row" in kept and "column" not in kept:
        kept.remove("row")
    result = []
    for name in kept:
        text, low, high = _quantised(channels[name], bits)
        entry = {"key": name, "label": LABELS[name], "bits": bits, "low": low, "high": high}
        result.append({**entry, "data": text})
    return result, [LABELS[name] for name in channels if name not in kept]


def _quantised(values: Array, bits: int) -> tuple[str, float, float]:
    finite = np.isfinite(values)
    low, high = np.percentile(values[finite], (0.1, 99.9)) if finite.any() else (0.0, 1.0)
    span = high - low if high > low else 1.0
    top = (1 << bits) - 2
    unit = np.clip((np.where(finite, values, low) - low) / span, 0, 1)
    whole = np.where(finite, 1 + np.round(unit * top), 0).astype("<u2" if bits == 16 else "u1")
    return base64.b64encode(whole.tobytes()).decode("ascii"), float(low), float(high)


def pattern_as_text(pattern: Array, most: int = 256) -> dict[str, Any]:
    """Return a pattern on a logarithmic scale, reduced to so many pixels along an edge."""
    step = -(-max(pattern.shape) // most)
    rows, columns = (max(1, n // step) for n in pattern.shape)
    values = np.nan_to_num(pattern, posinf=0, neginf=0)[: rows * step, : columns * step]
    values = values.reshape(rows, -1, columns, values.shape[1] // columns).mean(axis=(1, 3))
    positive = values[values > 0]
    unit = np.zeros(values.shape)
    if positive.size:
        low, high = np.log(np.percentile(positive, (1, 99.95)))
        low = max(low, high - math.log(1e6))
        unit = (np.log(np.maximum(values, 1e-300)) - low) / max(high - low, 1e-9)
    grey = np.round(np.clip(unit, 0, 1) * 255).astype("u1")
    text = base64.b64encode(grey.tobytes()).decode("ascii")
    return {"rows": rows, "columns": columns, "step": step, "data": text}
