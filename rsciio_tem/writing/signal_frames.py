# SPDX-License-Identifier: GPL-3.0-or-later
"""What the writers of single formats share: a signal as frames, in pieces that fit into memory.

A signal is the dictionary that RosettaSciIO's writers receive. Its data may be lazy: they are
computed piece by piece, never as a whole. Files appear under their name only when they are
complete, and never in place of the recording that the signal was read from.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import math
import os
import re
import shutil
import unicodedata
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, warn
from rsciio_tem.reading.lazy import lazy_source
from rsciio_tem.storage import files

__all__ = ["SignalFrames", "boxes", "converted", "creating", "seek_runs", "start_ns", "toml_axes"]


def toml_axes(axes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give the lines that `side_axes` reads, for the axes of a signal."""
    for axis in axes:
        units = axis.get("units")
        yield from (
            "",
            "[[params.axes]]",
            f"name = {json.dumps(str(axis.get('name') or ''))}",
            f"units = {json.dumps(units if isinstance(units, str) else '')}",
            f"scale = {float(axis.get('scale', 1))!r}",
            f"offset = {float(axis.get('offset', 0))!r}",
        )


#: Bytes of frames that are computed and written at a time.
SLAB = 64 << 20


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
    source, wanted = _unit(units), _unit(target)
    if source is None or wanted is None or source[0] != wanted[0]:
        return None
    return float(value) if source[1] == wanted[1] else float(value) * source[1] / wanted[1]


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
        data, axes = signal["data"], list(signal["axes"])
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
            return source.cast(out, frames)
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

    def slabs(
        self, progress: bool = False
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]:
        """Give the frames piece by piece, each once.

        Yields
        ------
        index : ndarray of int64
            Number of each frame in scan order.
        frames : ndarray, shape (len(index), rows, columns)
        """
        from tqdm import tqdm

        frame_bytes = max(1, math.prod(self.frame_shape) * self.dtype.itemsize)
        chunks = getattr(self.data, "chunks", None) if self.lazy else None
        nav_chunks = (chunks or tuple((1,) * n for n in self.data.shape))[: len(self.nav_shape)]
        numbers = np.arange(len(self), dtype=np.int64).reshape(self.nav_shape)
        with tqdm(total=len(self), unit="frame", disable=not (progress and self.lazy)) as bar:
            for key in _pieces(nav_chunks, frame_bytes):
                index = numbers[key].reshape(-1)
                yield index, np.asarray(self.data[key]).reshape(-1, *self.frame_shape)
                bar.update(len(index))


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


def _pieces(chunks: Sequence[tuple[int, ...]], frame_bytes: int) -> Iterator[tuple[slice, ...]]:
    """Divide a scan into pieces of up to `SLAB` bytes, along its chunks where these are smaller."""
    if not chunks:
        yield ()
        return
    inner = frame_bytes * math.prod(sum(c) for c in chunks[1:])
    sizes = chunks[0]
    begin = i = 0
    while i < len(sizes):
        count, i = sizes[i], i + 1
        while i < len(sizes) and (count + sizes[i]) * inner <= SLAB:
            count, i = count + sizes[i], i + 1
        if count * inner <= SLAB:
            yield (slice(begin, begin + count), *(slice(None),) * (len(chunks) - 1))
        elif len(chunks) > 1:
            for rest in _pieces(chunks[1:], frame_bytes * count):
                if frame_bytes * count <= SLAB:
                    yield (slice(begin, begin + count), *rest)
                else:  # a chunk of many frames: cut it, even if parts of it are computed twice
                    step = max(1, SLAB // frame_bytes)
                    for at in range(begin, begin + count, step):
                        yield (slice(at, min(at + step, begin + count)), *rest)
        else:
            step = max(1, SLAB // frame_bytes)
            for at in range(begin, begin + count, step):
                yield (slice(at, min(at + step, begin + count)),)
        begin += count


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
    while data is not None:
        if isinstance(data, np.memmap) and data.filename is not None:
            yield os.fspath(data.filename)
        data = getattr(data, "base", None)


# ---------------------------------------------------------------- files


@contextlib.contextmanager
def creating(
    targets: Mapping[str, int], frames: SignalFrames, *, overwrite: bool = False
) -> Iterator[list[IO[bytes]]]:
    """Open new files that appear under their names when all of them are complete.

    Parameters
    ----------
    targets : dict of str to int
        Path and size in bytes of each.
    frames : SignalFrames
        What is written; the recording it was read from is never replaced.
    overwrite : bool
        Whether other files of these names are.

    Raises
    ------
    FormatError
        A target is the recording itself.
    FileExistsError
        There is such a file and `overwrite` is False.
    OSError
        The disk has not enough space.
    """
    for path in targets:
        for source in frames.sources:
            if os.path.exists(path) and os.path.exists(source) and os.path.samefile(path, source):
                raise FormatError(
                    path,
                    "is the recording that this signal was read from, and is not overwritten.",
                    "Choose another name.",
                )
    folder = os.path.dirname(next(iter(targets))) or "."
    if os.path.isdir(folder):
        needed, free = sum(targets.values()), shutil.disk_usage(folder).free
        if needed > free:
            raise OSError(
                errno.ENOSPC,
                f"{needed / 1e9:.3f} GB are needed, {free / 1e9:.3f} GB are free",
                folder,
            )
    with contextlib.ExitStack() as stack:
        names = [
            stack.enter_context(files.replacing(path, overwrite=overwrite)) for path in targets
        ]
        with contextlib.ExitStack() as opened:
            yield [opened.enter_context(open(name, "xb")) for name in names]


def seek_runs(index: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Give begin and end of the stretches in which numbers follow each other."""
    bounds = np.flatnonzero(np.diff(index) != 1) + 1
    yield from zip([0, *bounds.tolist()], [*bounds.tolist(), len(index)], strict=True)
