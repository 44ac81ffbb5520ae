# SPDX-License-Identifier: GPL-3.0-or-later
"""`rsciio_tem.compare`: find out whether two recordings are the same, pixel by pixel."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Problem
from rsciio_tem.parsing.checks import number_ranges
from rsciio_tem.readers import chosen, load
from rsciio_tem.recording.json_arrays import packed
from rsciio_tem.registry import every_format
from rsciio_tem.storage import machine
from rsciio_tem.writing.signal_frames import SignalFrames, boxes

__all__ = ["PARTS", "compare"]

#: What is compared.
PARTS = ("pixels", "axes", "metadata")

#: Bytes of pixels that a thread compares at a time.
_BLOCK = 8 << 20

#: Entries that name the files themselves, or the program.
_OF_FILES = (
    *("metadata.General.original_filename", "metadata.General.title", "metadata.General.FileIO"),
    *("original_metadata.rsciio_tem", "original_metadata.converted_from"),
)

#: Differences of a kind that are named one by one.
_NAMED = 8


def compare(
    first: str | os.PathLike[str],
    second: str | os.PathLike[str],
    format: str = "auto",
    *,
    parts: str | Sequence[str] = PARTS,
    progress: Callable[[int], object] | None = None,
    **options: Any,
) -> list[Problem]:
    """Show how two recordings differ, such as an original and its conversion.

    Parameters
    ----------
    first, second : path
        Two recordings, of any formats.
    format : str
        Name of the format of `first`, if its content does not show it.
    parts : str or sequence of str
        What to compare: "pixels", "axes", "metadata".
    progress : callable, optional
        Called with the number of frames just compared.
    **options
        Keywords of the reader of `first`, such as those that you passed to `convert`.
        `corrections` applies to both.

    Returns
    -------
    list of Problem
        Empty if they are the same. A "warning" is a difference; an "info" changes nothing in the
        first: another number type, another shape of the same frames, more metadata. ``about`` is
        the part, or "frames" for frames that have no place in the scan of the first. NaN equals
        NaN. Metadata entries that name the files are not compared.

    Raises
    ------
    FormatError
        One of them cannot be read.

    Examples
    --------
    >>> rsciio_tem.convert("scan.mib", "scan.h5")
    >>> rsciio_tem.compare("scan.mib", "scan.h5")
    []
    """
    parts = (parts,) if isinstance(parts, str) else parts
    if unknown := set(parts) - set(PARTS):
        raise ValueError(f"parts: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    ours = load(first, format, lazy=True, **options)
    theirs = load(second, lazy=True, **_of_both(second, options))
    differences: list[Problem] = []
    if len(ours) != len(theirs):
        differences.append(
            _differ("pixels", f"the number of signals: {len(ours)} and {len(theirs)}.")
        )
    for one, other in zip(ours, theirs, strict=False):
        if "pixels" in parts and not options.keys() & {"last_frame", "roi", "inav"}:
            differences += _beyond(one)
        if "pixels" in parts:
            differences += _pixels(one, other, progress)
        if "axes" in parts:
            differences += _axes(one["axes"], other["axes"])
        if "metadata" in parts:
            differences += _entries(one, other, [os.path.basename(p) for p in (first, second)])
    return differences


def _of_both(second: str | os.PathLike[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords that are for the second recording as well.

    What corrects the first may have been kept beside its pixels, to be applied there, too.
    """
    both = {name: options[name] for name in ("corrections",) if name in options}
    return both if both and chosen(second)[0] in every_format() else {}


def _beyond(signal: Mapping[str, Any]) -> Iterator[Problem]:
    """Tell frames that are read from neither: the scan has no place for them."""
    ours = signal["original_metadata"].get("rsciio_tem") or {}
    if count := (ours.get("frames") or {}).get("ignored_end", 0):
        message = (
            f"{count} frames of the first are not compared: they lie behind the last complete line "
            "of its scan, or behind the scan."
        )
        yield Problem(
            "warning", message, 'missing="fill" keeps an incomplete line.', about="frames"
        )


def _differ(about: str, message: str, severity: Any = "warning") -> Problem:
    return Problem(severity, f"{about} differ in {message}", about=about)


# ---------------------------------------------------------------- pixels


def _pixels(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], progress: Callable[[int], object] | None
) -> Iterator[Problem]:
    """Compare frame by frame, in the order of the scan."""
    one, other = ours["data"], theirs["data"]
    tail = min(2, one.ndim, other.ndim)
    frame = one.shape[one.ndim - tail :]
    shapes = " and ".join(" × ".join(map(str, array.shape)) for array in (one, other))
    count = math.prod(one.shape[: one.ndim - tail])
    if frame != other.shape[other.ndim - tail :] or one.size != other.size:
        yield _differ("pixels", f"the shape of the data: {shapes}.")
        return
    if one.dtype.names != other.dtype.names:
        yield _differ("pixels", f"their kind: {one.dtype} and {other.dtype}.")
        return
    if one.shape != other.shape:
        yield _differ("pixels", f"the shape of the scan only: {shapes}.", "info")
    if one.dtype != other.dtype:
        yield _differ("pixels", f"the type of numbers only: {one.dtype} and {other.dtype}.", "info")
    unequal = np.zeros(count, np.int64)
    largest = 0.0
    step = max(1, _BLOCK // max(1, math.prod(frame) * one.dtype.itemsize))
    load_one, load_other = _loader(ours, tail), _loader(theirs, tail)

    def part(begin: int, end: int) -> tuple[int, int, float]:
        counts, most = _unequal(load_one(begin, end), load_other(begin, end))
        unequal[begin:end] = counts
        return begin, end, most

    waiting: deque[Any] = deque()
    workers = machine.threads()
    with machine.Threads(workers) as pool:
        try:
            for begin in range(0, count, step):
                waiting.append(pool.submit(part, begin, min(begin + step, count)))
                while len(waiting) > workers or (waiting and begin + step >= count):
                    done_from, done_to, most = waiting.popleft().result()
                    largest = max(largest, most)
                    if progress is not None:
                        progress(done_to - done_from)
        finally:
            for future in waiting:
                future.cancel()
    if len(where := np.flatnonzero(unequal)):
        most = f", by up to {largest:.6g}" if largest else ""
        yield _differ(
            "pixels",
            f"{len(where)} of {count} frames: {number_ranges(where)}; {int(unequal.sum())} pixels "
            f"in all{most}.",
        )


def _loader(signal: Mapping[str, Any], tail: int) -> Callable[[int, int], npt.NDArray[Any]]:
    """Return what loads frames, counted along all axes but the last `tail`."""
    try:
        return SignalFrames.of(signal, "compare").block
    except ValueError:  # no two-dimensional frames
        data = signal["data"]
        nav, frame = data.shape[: data.ndim - tail], data.shape[data.ndim - tail :]

    def block(first: int, last: int) -> npt.NDArray[Any]:
        parts = [data[key] for key in boxes(first, last, nav)]
        parts = [p.compute(scheduler="sync") if hasattr(p, "compute") else p for p in parts]
        return np.concatenate([np.asarray(p).reshape(-1, *frame) for p in parts])

    return block


def _unequal(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], float]:
    """Count the pixels that differ in each frame, and say by how much at most."""
    if one.dtype.names:
        fields = [_unequal(one[name], other[name]) for name in one.dtype.names]
        return np.max([counts for counts, _ in fields], axis=0), max(most for _, most in fields)
    same = _same_values(one, other)
    counts = np.asarray((~same).reshape(len(one), -1).sum(axis=1), np.int64)
    if not counts.any():
        return counts, 0.0
    kind = np.complex128 if "c" in one.dtype.kind + other.dtype.kind else np.float64
    with np.errstate(all="ignore"):  # infinities
        apart = np.abs(one[~same].astype(kind) - other[~same].astype(kind))
    return counts, float(np.max(apart[np.isfinite(apart)], initial=0.0))


def _same_values(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Compare numbers exactly: floats have no room for every integer. NaN equals NaN."""
    kinds = one.dtype.kind, other.dtype.kind
    if "c" in kinds:
        return _same_values(one.real, other.real) & _same_values(one.imag, other.imag)
    same: npt.NDArray[np.bool_] = one == other
    if kinds == ("f", "f"):
        same |= np.isnan(one) & np.isnan(other)
    elif "f" in kinds:
        with np.errstate(invalid="ignore"):  # NaN and infinity are not integers
            back = one.astype(other.dtype) == other
            same &= back & (other.astype(one.dtype) == one)
    return same


# ---------------------------------------------------------------- axes, metadata


def _axes(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]
) -> Iterator[Problem]:
    if len(ours) != len(theirs):
        yield _differ("axes", f"their number: {len(ours)} and {len(theirs)}.")
        return
    for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        name = f"axis {i} ({one.get('name') or 'unnamed'})"
        for key in sorted({*one, *other} - {"_type", "index_in_array", "is_binned"}):
            a, b = one.get(key), other.get(key)
            if not _same(a, b):
                yield _differ("axes", f"{key} of {name}: {_short(a)} and {_short(b)}.")


def _entries(
    one: Mapping[str, Any], other: Mapping[str, Any], names: Sequence[str]
) -> Iterator[Problem]:
    """Compare the entries of the first; that the second has more of them changes nothing."""
    for kind in ("metadata", "original_metadata"):
        ours = dict(_leaves(one.get(kind) or {}, kind))
        theirs = dict(_leaves(other.get(kind) or {}, kind))
        unequal = [
            name
            for name in ours
            if name not in theirs
            or not (
                _same(ours[name], theirs[name])
                or all(map(_names, (ours[name], theirs[name]), names))
            )
        ]
        for name in unequal[:_NAMED]:
            value = _short(theirs[name]) if name in theirs else "nothing"
            yield _differ("metadata", f"{name}: {_short(ours[name])} and {value}.")
        if len(unequal) > _NAMED:
            yield _differ("metadata", f"{len(unequal) - _NAMED} more entries of {kind}.")
        if more := len(theirs.keys() - ours):
            yield _differ("metadata", f"{more} entries of {kind} that only the second has.", "info")


def _names(value: Any, name: str) -> bool:
    """Whether an entry is the path of a file of this name."""
    return isinstance(value, str) and os.path.basename(value.replace("\\", "/")) == name


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """List the entries below a node by their dotted names."""
    if path in _OF_FILES:
        return
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            yield from _leaves(value, f"{path}.{name}")
    elif not isinstance(node, Mapping):
        yield path, node


def _same(a: Any, b: Any) -> bool:
    """Compare values; lists, tuples and arrays of the same values are the same, as are texts."""
    if isinstance(a, bytes) and isinstance(b, str):
        return bool(packed(a, {}) == b)  # most files keep texts only
    if isinstance(a, str) and isinstance(b, bytes):
        return bool(a == packed(b, {}))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple, np.ndarray)) and isinstance(b, (list, tuple, np.ndarray)):
        return len(a) == len(b) and all(map(_same, a, b)) if np.ndim(a) and np.ndim(b) else a == b
    if isinstance(a, (float, np.floating)) and isinstance(b, (float, np.floating)):
        return bool(a == b) or (math.isnan(a) and math.isnan(b))
    try:
        return bool(a == b)
    except (TypeError, ValueError):
        return False


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}…"
