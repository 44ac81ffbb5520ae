# SPDX-License-Identifier: GPL-3.0-or-later
"""A signal as frames in scan order, and what its axes and times say, for those who write it.

A signal is the dictionary that RosettaSciIO's writers receive. Its data may be lazy: they are
computed block by block, never as a whole.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import os
import re
import unicodedata
import zoneinfo
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, warn
from rsciio_tem.reading.lazy import lazy_source

__all__ = [
    "SignalFrames",
    "axes_of",
    "boxes",
    "converted",
    "even_axes",
    "fitted",
    "nearest",
    "remedy_for",
    "start_ns",
    "toml_axes",
]


def toml_axes(axes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give the lines that `side_axes` reads, for the axes of a signal."""
    for axis in axes:
        units = axis.get("units")
        yield from (
            "",
            "[[params.axes]]",
            f"name = {json.dumps(str(axis.get('name') or ''))}",
            f"units = {json.dumps(units if isinstance(units, str) else '')}",
        )
        if "axis" in axis:
            yield f"values = {np.asarray(axis['axis'], np.float64).tolist()}"
        else:
            yield f"scale = {float(axis.get('scale', 1))!r}"
            yield f"offset = {float(axis.get('offset', 0))!r}"


def even_axes(
    axes: Sequence[Mapping[str, Any]], path: str, holder: str
) -> tuple[Mapping[str, Any], ...]:
    """Return axes for a format that holds a step only: uneven ones without calibration."""
    result = []
    for axis in axes:
        if "axis" in axis:
            warn(
                path,
                f"the coordinates of axis {axis.get('name')!r} are uneven, which {holder} cannot "
                "hold; it is stored without calibration.",
            )
            rest = {name: value for name, value in axis.items() if name != "axis"}
            axis = {**rest, "scale": 1.0, "offset": 0.0, "units": ""}
        result.append(axis)
    return tuple(result)


#: Kinds of types that have room for the values of another kind, the best first.
_ROOM = {"b": "ui", "u": "uif", "i": "iuf", "f": "f", "c": "c"}


def nearest(dtype: np.dtype[Any], types: Sequence[str]) -> str:
    """Return the type, of those that a format holds, that may hold the values of another one.

    That is the largest of the same kind, or else of the next; "" if there is none.
    """
    for kind in _ROOM.get(dtype.kind, ""):
        sizes = {np.dtype(name).itemsize: name for name in types if np.dtype(name).kind == kind}
        if sizes:
            return sizes[max(sizes)]
    return ""


def remedy_for(frames: SignalFrames, types: Sequence[str]) -> str:
    """Say what to do with pixels of a type that is none of those that a format holds."""
    listed = f"only {', '.join(types)}"
    if name := nearest(frames.dtype, types):
        return f"{listed}: pass dtype='{name}', or change the type of the signal"
    return f"{listed}; change the type of the signal"


#: Sizes of units in metres and seconds.
_LENGTHS = {
    **{"pm": 1e-12, "Å": 1e-10, "A": 1e-10, "angstrom": 1e-10, "nm": 1e-9},
    **{"um": 1e-6, "µm": 1e-6, "μm": 1e-6, "mm": 1e-3, "cm": 1e-2, "m": 1.0},
    **{"nanometer": 1e-9, "micrometer": 1e-6, "millimeter": 1e-3, "meter": 1.0},
}


_DURATIONS = {
    **{"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0},
    **{"min": 60.0, "h": 3600.0, "sec": 1.0, "second": 1.0, "seconds": 1.0},
}


def _unit(text: Any) -> tuple[str, float] | None:
    """Return kind and size of a unit: length, 1/length or time."""
    name = unicodedata.normalize("NFC", text).strip() if isinstance(text, str) else ""
    inverse = re.fullmatch(r"1\s*/\s*(\S+)|(\S+?)\s*(?:\^|\*\*)?\s*(?:-1|⁻¹)", name)
    if inverse:
        size = _LENGTHS.get(inverse[1] or inverse[2])
        return None if size is None else ("1/length", 1 / size)
    if name in _LENGTHS:
        return "length", _LENGTHS[name]
    return ("time", _DURATIONS[name]) if name in _DURATIONS else None


def converted(value: float, units: Any, target: str) -> float | None:
    """Convert lengths, inverse lengths and times; None if `units` is no such unit."""
    source, result = _unit(units), _unit(target)
    if source is None or result is None or source[0] != result[0]:
        return None
    return float(value) if source[1] == result[1] else float(value) * source[1] / result[1]


def start_ns(metadata: Mapping[str, Any], path: str) -> int | None:
    """Return when a signal was recorded, in nanoseconds since 1970 UTC; None if it does not say.

    Names of time zones that are not unique, such as CST, are not guessed: the clock time is kept.
    """
    general = metadata.get("General", {})
    date, clock = str(general.get("date") or ""), str(general.get("time") or "00:00:00")
    try:
        moment = datetime.datetime.fromisoformat(f"{date}T{clock}")
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=_zone(str(general.get("time_zone") or "UTC"), path))
    since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000


def _zone(name: str, path: str) -> datetime.tzinfo:
    if offset := re.fullmatch(r"(?:UTC|GMT)?([+-])(\d{1,2}):?(\d{2})?", name):
        minutes = int(offset[2]) * 60 + int(offset[3] or 0)
        delta = datetime.timedelta(minutes=-minutes if offset[1] == "-" else minutes)
        if abs(delta) < datetime.timedelta(days=1):
            return datetime.timezone(delta)
    if "/" in name:
        with contextlib.suppress(zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            return zoneinfo.ZoneInfo(name)
    if name not in ("UTC", "GMT", "Z", "Coordinated Universal Time"):
        warn(path, f"the time zone {name!r} is not unique; the time is stored as if it were UTC.")
    return datetime.UTC


# ---------------------------------------------------------------- the signal


def axes_of(signal: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the axes of a signal; without any, the last two of the data are those of a frame.

    RosettaSciIO's writers take a dictionary with an array, and nothing about it.
    """
    axes, shape = signal.get("axes"), signal["data"].shape
    if axes is not None:
        return [*axes]
    return [{"size": size, "navigate": i < len(shape) - 2} for i, size in enumerate(shape)]


@dataclass(frozen=True, eq=False)
class SignalFrames:
    """A signal as frames in scan order.

    Parameters
    ----------
    data : array
        NumPy, or lazy; scan axes first.
    nav_axes, sig_axes : tuple of dict
        As in the signal.
    metadata, original_metadata : dict
        As in the signal.
    lazy : bool
        Whether the data are still to be computed.
    """

    data: Any
    nav_axes: tuple[dict[str, Any], ...]
    sig_axes: tuple[dict[str, Any], ...]
    metadata: dict[str, Any]
    original_metadata: dict[str, Any]
    lazy: bool
    sources: frozenset[str]

    @classmethod
    def of(cls, signal: Mapping[str, Any], format: str) -> SignalFrames:
        """See a signal as frames.

        Raises
        ------
        ValueError
            It has no two signal axes behind its scan axes, or its axes contradict its data.
        """
        data = signal["data"]
        # HyperSpy does not tell the size of a non-uniform axis, which has as many values
        axes = [{"size": len(axis.get("axis", ())), **axis} for axis in axes_of(signal)]
        nav = tuple(dict(axis) for axis in axes if axis.get("navigate"))
        sig = tuple(dict(axis) for axis in axes if not axis.get("navigate"))
        if len(sig) != 2 or any(axis.get("navigate") for axis in axes[len(nav) :]):
            raise ValueError(
                f"{format} holds two-dimensional frames, this signal has {len(sig)} signal axes"
            )
        sizes = tuple(int(axis["size"]) for axis in axes)
        if tuple(data.shape) != sizes:
            raise ValueError(
                f"the navigation and signal sizes {sizes} do not match the data {data.shape}"
            )
        if not math.prod(sizes):
            raise ValueError("the signal has no pixels")
        return cls(
            data,
            nav,
            sig,
            signal.get("metadata") or {},
            signal.get("original_metadata") or {},
            not isinstance(data, np.ndarray),
            frozenset(_sources(signal)),
        )

    @property
    def nav_shape(self) -> tuple[int, ...]:
        """Scan shape."""
        return tuple(self.data.shape[:-2])

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return self.data.shape[-2], self.data.shape[-1]

    def __len__(self) -> int:
        return math.prod(self.nav_shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        result: np.dtype[Any] = np.dtype(self.data.dtype)
        return result

    def require_numbers(self, format: str) -> None:
        """Raise a ValueError if pixels are colours or records, which a format does not hold."""
        if self.dtype.kind not in "buifc":
            raise ValueError(
                f"pixels of type {self.dtype} are not numbers, and {format} holds nothing else; "
                ".hspy holds colours"
            )

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame."""
        return math.prod(self.frame_shape) * self.dtype.itemsize

    @property
    def chunk_frames(self) -> int:
        """Number of frames after which a lazy array begins new chunks; 0 if it does not matter."""
        if not self.lazy or not self.nav_shape or lazy_source(self.data) is not None:
            return 0
        chunks = getattr(self.data, "chunks", None)
        if chunks is None:
            return 0
        sizes = [max(c) for c in chunks[: len(self.nav_shape)]]
        slowest = next((i for i, n in enumerate(sizes) if n > 1), len(sizes) - 1)
        if slowest == len(sizes) - 1 and self.nav_shape[-1] % sizes[-1]:
            return self.nav_shape[-1]  # so that no block holds the end of one line only
        return int(sizes[slowest]) * math.prod(self.nav_shape[slowest + 1 :])

    def block(self, first: int, last: int) -> npt.NDArray[Any]:
        """Return frames first..last in scan order, shape (last - first, *frame_shape)."""
        if self.lazy and (source := lazy_source(self.data)) is not None:
            frames = source.frames[first:last]  # without a detour through dask
            out = np.empty((last - first, *self.frame_shape), frames.dtype)
            frames.load(out)
            fit = lambda a, b: source.cast(out[a:b], frames[a:b])  # noqa: E731
            return fitted(fit, first, last - first, self.nav_shape)
        parts = []
        for key in boxes(first, last, self.nav_shape):
            part = self.data[key]
            if self.lazy and hasattr(part, "compute"):
                part = part.compute(scheduler=_scheduler())
            part = part.todense() if hasattr(part, "todense") else np.asarray(part)
            parts.append(part.reshape(-1, *self.frame_shape))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def find(self, name: str, default: Any = None) -> Any:
        """Return an entry of the metadata by its dotted name."""
        node: Any = self.metadata
        for part in name.split("."):
            if not isinstance(node, Mapping) or part not in node:
                return default
            node = node[part]
        return node

    def number(self, name: str, default: float = 0.0) -> float:
        """Return a finite number of the metadata by its dotted name."""
        try:
            value = float(self.find(name, default))
        except (TypeError, ValueError):
            return default
        return value if math.isfinite(value) else default


def fitted(
    fit: Callable[[int, int], npt.NDArray[Any]], first: int, count: int, nav_shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """Make other values of the frames of a block; an error names the first frame that it is about.

    Parameters
    ----------
    fit : callable
        Gets a range of the frames of the block.
    first, count : int
        Number of the first frame of the block, and how many it has.
    nav_shape : tuple of int
        Scan shape.
    """
    try:
        return fit(0, count)
    except FormatError as error:
        for i in range(count):
            try:
                fit(i, i + 1)
            except FormatError as one:
                place = [int(k) for k in np.unravel_index(first + i, nav_shape or (1,))[::-1]]
                where = f"at ({', '.join(map(str, place))}) of the scan"
                which = f"the first such frame is number {first + i}"
                which += f", {where}" * (len(nav_shape) > 1)
                problem = f"{one.problem.rstrip('.')}; {which}."
                raise FormatError(one.path, problem, one.hint) from error
        raise


def _scheduler() -> str | None:
    """Return how dask is to compute one block of many: by whom the user says, else by us."""
    from dask.base import get_scheduler

    return "synchronous" if get_scheduler() is None else None


def boxes(first: int, last: int, shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Cover the scan positions first..last with boxes, in scan order."""
    if not shape:
        yield ()
        return
    inner = math.prod(shape[1:])
    row, end = divmod(first, inner)[0], -(-last // inner)
    while row < end:
        a, b = max(first - row * inner, 0), min(last - row * inner, inner)
        if (a, b) == (0, inner):  # whole rows, as many as there are
            stop = last // inner
            yield (slice(row, stop), *(slice(None),) * (len(shape) - 1))
            row = stop
        else:
            for box in boxes(a, b, shape[1:]):
                yield (slice(row, row + 1), *box)
            row += 1


def _sources(signal: Mapping[str, Any]) -> Iterator[str]:
    """List the files that a signal was read from."""
    ours = (signal.get("original_metadata") or {}).get("rsciio_tem")
    if isinstance(ours, Mapping):
        yield from (str(name) for name in ours.get("files", ()))
    temporary = signal.get("tmp_parameters")
    if isinstance(temporary, Mapping) and temporary.get("filename"):
        name = f"{temporary['filename']}.{str(temporary.get('extension', '')).lstrip('.')}"
        yield os.path.join(str(temporary.get("folder", "")), name)
    data = signal["data"]
    yield from _behind(data)
    graph = getattr(data, "dask", None)
    for name, layer in getattr(graph, "layers", {}).items():
        if str(name).startswith("original-"):  # what dask was given
            for value in dict(layer).values():
                yield from _behind(getattr(value, "value", value))


def _behind(data: Any) -> Iterator[str]:
    """List the files behind an array of NumPy, h5py or zarr."""
    file, store = getattr(data, "file", None), getattr(data, "store", None)
    names = [getattr(file, "filename", None), getattr(store, "path", getattr(store, "root", None))]
    yield from (os.fspath(n) for n in names if isinstance(n, (str, os.PathLike)))
    while data is not None:
        if isinstance(data, np.memmap) and data.filename is not None:
            yield os.fspath(data.filename)
        data = getattr(data, "base", None)
