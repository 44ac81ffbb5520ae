# SPDX-License-Identifier: GPL-3.0-or-later
"""Dark frame, gain map and excluded pixels, applied while frames are read.

The arithmetic is LiberTEM's: ``(raw - dark) * gain`` in floating point, then every excluded pixel
becomes the mean of its neighbours (corners included) that are not excluded themselves, taken from
the corrected frame. Excluded pixels are never sources, so the order does not matter.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Unsupported
from rsciio_tem.frames.pixels import Region, full_region
from rsciio_tem.frames.protocol import Frames, ReadAs
from rsciio_tem.frames.wrapped import Wrapped
from rsciio_tem.storage.files import existing, read_start

__all__ = ["Corrected", "Corrections", "MeanImage", "Repair", "image_of"]

Repair = Literal["mean8", "fill", "zero"]


#: Bytes of raw pixels corrected at a time, so that they stay in cache.
_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class Corrections:
    """What to correct, as images of the shape and orientation of a returned frame.

    Parameters
    ----------
    dark, gain : ndarray, optional
        Subtracted first, multiplied second.
    excluded : ndarray of bool, optional
        Pixels to replace by their neighbours.
    repair : {"mean8", "fill", "zero"}
        "mean8" uses the pixels that touch an excluded one. "fill" looks further out, ring by
        ring, where all of these are excluded too (the inside of a cluster). "zero" makes excluded
        pixels 0; nothing else changes then, and whole numbers stay what they are.
    allow_empty : bool
        With "mean8", leave a pixel without usable neighbours as it is; otherwise an error.
    """

    dark: npt.NDArray[Any] | None = None
    gain: npt.NDArray[Any] | None = None
    excluded: npt.NDArray[np.bool_] | None = None
    repair: Repair = "mean8"
    allow_empty: bool = False

    def __bool__(self) -> bool:
        return (
            self.dark is not None
            or self.gain is not None
            or (self.excluded is not None and bool(self.excluded.any()))
        )

    def checked(self, shape: tuple[int, ...], path: str) -> Corrections:
        """Return these corrections, if they fit frames of `shape`; otherwise a FormatError."""
        for name in ("dark", "gain", "excluded"):
            image = getattr(self, name)
            if image is not None and image.shape != shape:
                raise FormatError(
                    path,
                    f"{'excluded_pixels' if name == 'excluded' else name} has shape "
                    f"{image.shape}, the frames {shape}.",
                    "Pass an image of the shape of a frame, or corrections=False.",
                )
        if self.repair not in get_args(Repair):
            raise ValueError(f"repair={self.repair!r} is none of {', '.join(get_args(Repair))}")
        if self.excluded is not None and self.excluded.any() and self.repair != "zero":
            _patches(self.excluded, self.repair, self.allow_empty, path)
        return self

    def flipped(self) -> Corrections:
        """Return the corrections for frames shown upside down."""

        def turned(image: npt.NDArray[Any] | None) -> Any:
            return None if image is None else image[::-1]

        return replace(
            self, dark=turned(self.dark), gain=turned(self.gain), excluded=turned(self.excluded)
        )


@dataclass(frozen=True, eq=False)
class _Patches:
    """For each pixel to replace, the flat positions whose mean it gets."""

    pixels: npt.NDArray[np.int64]
    bounds: npt.NDArray[np.int64]  # sources of pixel i are sources[bounds[i]:bounds[i + 1]]
    sources: npt.NDArray[np.int64]
    reach: int  # largest distance of a source along any axis


def _patches(
    excluded: npt.NDArray[np.bool_], repair: Repair, allow_empty: bool, path: str
) -> _Patches:
    """Collect the usable neighbours of every excluded pixel."""
    shape = excluded.shape
    pixels, bounds, sources, reach, helpless = [], [0], [], 1, []
    for position in np.argwhere(excluded):
        neighbours: list[int] = []
        for radius in range(1, max(shape) if repair == "fill" else 2):
            around = [
                range(max(0, p - radius), min(n, p + radius + 1))
                for p, n in zip(position.tolist(), shape, strict=True)
            ]
            neighbours = [
                int(np.ravel_multi_index(place, shape))
                for place in product(*around)
                if not excluded[place]
            ]
            if neighbours:
                reach = max(reach, radius)
                break
        if not neighbours:
            helpless.append(tuple(position.tolist()))
            continue
        pixels.append(int(np.ravel_multi_index(tuple(position), shape)))
        sources.extend(neighbours)
        bounds.append(len(sources))
    if helpless and not allow_empty:
        raise FormatError(
            path,
            f"{len(helpless)} excluded pixels have no usable neighbour, the first at "
            f"{helpless[0]}.",
            'Pass repair="fill" to look further out, or allow_empty=True to leave them.',
        )
    return _Patches(
        np.array(pixels, np.int64), np.array(bounds, np.int64), np.array(sources, np.int64), reach
    )


@dataclass(frozen=True, eq=False)
class Corrected(Wrapped):
    """Frames that are corrected while they are loaded.

    Parameters
    ----------
    corrections : Corrections
        Checked against the shape of a frame.
    path : str
        For messages.
    fill : float
        Value of blanks: what was never recorded has no dark current either.
    """

    corrections: Corrections
    path: str
    fill: float = 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """Single precision for 8 and 16 bit, double for more; as stored if only zeros are set."""
        if self._only_zeroed:
            return self.frames.dtype.newbyteorder("=")
        return np.result_type(np.float32, self.frames.dtype)

    @property
    def _only_zeroed(self) -> bool:
        applied = self.corrections
        return applied.repair == "zero" and applied.dark is None and applied.gain is None

    def _read_as(self, how: ReadAs) -> Self:
        keywords = how.keywords()
        keywords["fill"] = self.frames.lost_value
        frames = self.frames.read_as(**keywords)
        return replace(self, frames=frames, fill=how.filled(self.fill))

    @cached_property
    def _plan(self) -> _Patches | None:
        applied = self.corrections
        if applied.excluded is None or not applied.excluded.any() or applied.repair == "zero":
            return None
        return _patches(applied.excluded, applied.repair, applied.allow_empty, self.path)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "corrections": self.corrections,
            "path": self.path,
            "fill": self.fill,
        }

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it, corrected."""
        from rsciio_tem.kernels.corrections import correct, patch

        shape = self.frame_shape
        region = region or full_region(shape)
        plan = self._plan
        reach = plan.reach if plan else 0
        # the neighbours of a pixel at the region's edge are needed as well
        wide = tuple(
            slice(max(0, s.start - reach), min(n, s.stop + reach))
            for s, n in zip(region, shape, strict=True)
        )
        wide_shape = tuple(s.stop - s.start for s in wide)
        inside = (
            slice(None),
            *(
                slice(r.start - w.start, r.stop - w.start)
                for r, w in zip(region, wide, strict=True)
            ),
        )
        precision = self.dtype
        dark = _part(self.corrections.dark, wide, wide_shape, precision, 0)
        gain = _part(self.corrections.gain, wide, wide_shape, precision, 1)
        local = _local(plan, shape, region, wide) if plan else None
        zero = None
        if self.corrections.repair == "zero" and self.corrections.excluded is not None:
            zero = np.flatnonzero(self.corrections.excluded[wide])
        count = math.prod(wide_shape)
        step = max(1, _BLOCK // max(1, count * self.frames.dtype.itemsize))
        n = len(self)
        lost_value = self.frames.lost_value
        raw = np.empty((min(step, n), *wide_shape), self.frames.dtype.newbyteorder("="))
        values = np.empty((len(raw), count), precision)
        for first in range(0, n, step):
            m = min(step, n - first)
            self.frames[first : first + m].load(raw[:m], wide)
            lost = None if lost_value is None else raw[:m] == lost_value
            if lost is not None:
                raw[:m][lost] = 0
            if self._only_zeroed:
                values[:m] = raw[:m].reshape(m, count)
            else:
                correct(raw[:m].reshape(m, count), dark, gain, values[:m])
            if zero is not None:
                values[:m, zero] = 0
            if local is not None:
                patch(values[:m], *local)
            target = out[first : first + m]
            target[...] = values[:m].reshape(m, *wide_shape)[inside]
            if lost is not None:
                target[lost[inside]] = self.fill
        if (blanks := self.blanks) is not None:
            out[blanks] = self.fill


def _part(
    image: npt.NDArray[Any] | None,
    region: Region,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    default: float,
) -> npt.NDArray[Any]:
    if image is None:
        return np.full(math.prod(shape), default, dtype)
    return np.ascontiguousarray(image[region], dtype).reshape(-1)


def _local(
    plan: _Patches, shape: tuple[int, ...], region: Region, wide: Region
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Express the patches within `region` in positions of the wider region."""
    places = np.array(np.unravel_index(plan.pixels, shape)).reshape(len(shape), -1)
    starts = np.array([s.start for s in region])[:, np.newaxis]
    stops = np.array([s.stop for s in region])[:, np.newaxis]
    inside = ((places >= starts) & (places < stops)).all(axis=0)
    sizes = tuple(s.stop - s.start for s in wide)
    origin = [s.start for s in wide]

    def moved(flat: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        axes = np.unravel_index(flat, shape)
        shifted = tuple(a - o for a, o in zip(axes, origin, strict=True))
        return np.asarray(np.ravel_multi_index(shifted, sizes), np.int64)

    lengths = np.diff(plan.bounds)
    keep = np.repeat(inside, lengths)
    bounds = np.concatenate([[0], np.cumsum(lengths[inside])]).astype(np.int64)
    return moved(plan.pixels[inside]), bounds, moved(plan.sources[keep])


# ---------------------------------------------------------------- a series of dark frames


@dataclass(frozen=True, eq=False)
class MeanImage:
    """Mean of frames, an image that is computed when it is first asked for.

    It stands for an array in `Corrections`, so that describing a recording reads no pixels.

    Parameters
    ----------
    frames : Frames
        For example dark frames.
    """

    frames: Frames

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a frame."""
        return self.frames.frame_shape

    @cached_property
    def mean(self) -> npt.NDArray[np.float32]:
        """The image."""
        kind = np.uint64 if self.frames.dtype.kind in "bu" else np.float64
        total = np.zeros(self.shape, kind)
        step = max(1, 8 * _BLOCK // total.nbytes)
        for first in range(0, len(self.frames), step):
            part = self.frames[first : first + step]
            block = np.empty((len(part), *self.shape), part.dtype)
            part.load(block)
            total += block.sum(axis=0, dtype=kind)
        return (total / len(self.frames)).astype(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self.mean.copy() if copy else np.asarray(self.mean, dtype)

    def __getitem__(self, key: Any, /) -> Any:
        return self.mean[key]


# ---------------------------------------------------------------- what callers pass


def image_of(path: str | os.PathLike[str], variable: str = "") -> npt.NDArray[Any]:
    """Read an image from a table of numbers (.csv, semicolons) or a MATLAB file (.mat).

    Parameters
    ----------
    path : str or path
        The file.
    variable : str
        Which variable of a MATLAB file; by default the only one.
    """
    name = existing(path)
    if name.lower().endswith(".csv"):
        text = read_start(name, 1 << 26).decode("latin-1").removeprefix("\xef\xbb\xbf")
        lines = [[c for c in line.split(";") if c.strip()] for line in text.splitlines()]
        try:  # some countries write decimal commas
            table = [[float(c.replace(",", ".")) for c in line] for line in lines if line]
            image: Any = np.array(table, np.float64)
        except ValueError as error:
            problem = f"is not a table of numbers separated by semicolons: {error}."
            raise FormatError(name, problem) from None
    elif name.lower().endswith(".mat"):
        image = _of_matlab(name, variable)
    else:
        raise FormatError(name, "is neither .mat nor .csv.", "Pass an array.")
    if image.ndim != 2 or not image.size or image.dtype.kind not in "buif":
        raise FormatError(name, f"holds no image: shape {image.shape}, type {image.dtype}.")
    return np.asarray(image)


def _of_matlab(name: str, variable: str) -> Any:
    try:
        from scipy.io import loadmat
    except ImportError:
        problem = "is a MATLAB file, and SciPy, which reads these, is not installed."
        raise Unsupported(
            name, problem, "Install it (pip install scipy), or pass an array."
        ) from None
    try:
        variables = {k: v for k, v in loadmat(name).items() if not k.startswith("__")}
    except NotImplementedError:
        hint = "Save it with -v7, or as .csv."
        raise Unsupported(name, "is a MATLAB file of version 7.3.", hint) from None
    except Exception as error:  # SciPy lets many kinds through
        raise FormatError(name, f"is not a readable MATLAB file: {error}.") from error
    if not variable and len(variables) == 1:
        variable = next(iter(variables))
    if variable not in variables:
        asked = f"variable {variable}" if variable else "single variable"
        raise FormatError(name, f"has no {asked}; there are {', '.join(variables) or 'none'}.")
    return variables[variable]
