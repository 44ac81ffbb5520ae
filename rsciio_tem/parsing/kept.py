# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``convert`` has kept beside pixels in HDF5 files and Zarr stores, made a recording again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Problem
from rsciio_tem.frames.corrections import Corrections, Repair
from rsciio_tem.parsing.text import to_number
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.json_arrays import unpacked
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.scan.times import FrameTimes, Times
from rsciio_tem.scan.words import plural

__all__ = ["Kept", "axes_of", "restored"]

Ints = npt.NDArray[np.int64]

#: Numbers of an array that are read at once.
_MOST = 1 << 28

_TIMES = ("time_ns", "exposure_ns", "sequence", "counter")


@dataclass(frozen=True)
class Kept:
    """What is kept beside pixels.

    Parameters
    ----------
    entries : dict
        JSON by name: ``metadata``, ``original_metadata``, ``axes``, ``frames``.
    shapes : dict of tuple
        Shape of each array of numbers, by its path.
    read : callable
        ``read(path, part)`` returns a part of such an array; part is a slice, or ``...``.
    """

    entries: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    read: Callable[[str, Any], npt.NDArray[Any]] = lambda path, part: np.zeros(0)

    def array(self, name: str) -> npt.NDArray[Any] | None:
        """Return an array as a whole, None if there is none or if it is larger than ours are."""
        size = math.prod(self.shapes.get(name, (_MOST + 1,)))
        return self.read(name, ...) if size <= _MOST else None

    def tree(self, name: str) -> dict[str, Any]:
        """Return an entry with its arrays; navigators and the like are left as they are."""
        entry = self.entries.get(name)
        if not isinstance(entry, Mapping):
            return {}
        return {
            key: value if key == "_HyperSpy" else unpacked(value, self.array)
            for key, value in entry.items()
        }

    def about(self, name: str) -> Mapping[str, Any]:
        """Return what is said of times, corrections and so on."""
        frames = self.entries.get("frames")
        entry = frames.get(name) if isinstance(frames, Mapping) else None
        return entry if isinstance(entry, Mapping) else {}


def axes_of(kept: Kept, axes: Sequence[Axis]) -> list[Axis]:
    """Return the axes of an array as they are described beside it, else as `axes` has them."""
    described = kept.entries.get("axes")
    if not isinstance(described, list) or len(described) != len(axes):
        return [*axes]
    # layouts such as EMD have names and units even for axes that have none
    return [
        axis if axis.values is not None else _axis(unpacked(entry, kept.array))
        for axis, entry in zip(axes, described, strict=True)
    ]


def _axis(described: Any) -> Axis:
    if not isinstance(described, Mapping):
        return Axis()
    scale, offset = (to_number(described.get(name)) for name in ("scale", "offset"))
    name, units = (
        None if described.get(key, "") is None else str(described.get(key) or "")
        for key in ("name", "units")
    )
    values = described.get("axis")
    return Axis(
        name=name,
        units=units,
        scale=scale if scale and math.isfinite(scale) else 1.0,
        offset=offset if offset is not None and math.isfinite(offset) else 0.0,
        values=values if isinstance(values, np.ndarray) and values.ndim == 1 else None,
    )


def restored(recording: Recording, kept: Kept, nav_shape: tuple[int, ...]) -> Recording:
    """Give a recording that ``convert`` wrote back what its source had.

    Parameters
    ----------
    recording : Recording
        As its file describes itself; with entries of its own in ``original_metadata``.
    kept : Kept
        What is kept beside it; perhaps nothing.
    nav_shape : tuple of int
        Shape of the scan in the file.

    Returns
    -------
    Recording
        ``original_metadata`` is that of the source; how its scan was found is in
        ``converted_from``, what the file says of itself in ``converted_into``.
    """
    if not kept.entries:
        return recording
    changes: dict[str, Any] = {}
    metadata, source = kept.tree("metadata"), kept.tree("original_metadata")
    if (images := metadata.pop("_HyperSpy", None)) is not None and isinstance(images, Mapping):
        changes["navigators"] = lambda: unpacked(images, kept.array)
    if metadata:
        changes["metadata"] = metadata
    if isinstance(kept.entries.get("original_metadata"), Mapping):
        evidence = source.pop("rsciio_tem", None)
        earlier = source.pop("converted_from", None)
        source.pop("converted_into", None)
        origin = dict(evidence) if isinstance(evidence, Mapping) else {}
        if earlier is not None:
            origin["converted_from"] = earlier
        angles = source.get("omega")
        if isinstance(angles, np.ndarray) and angles.shape == (recording.count, 2):
            changes["omega"] = angles.astype(np.float64)
            source = {k: v for k, v in source.items() if k not in ("omega", "omega_wedges")}
        changes["problems"] = (*recording.problems, *_lacking(origin.get("frames")))
        changes["original_metadata"] = {
            **source,
            **({"converted_from": origin} if origin else {}),
            "converted_into": dict(recording.original_metadata),
        }
    if nav_shape == (recording.count,) and recording.scan_axes:
        changes["stack_axis"] = recording.scan_axes[-1]
    recording = replace(recording, problems=changes.pop("problems", recording.problems))
    changes |= _blanks(recording, kept)
    changes |= _times(recording, kept, nav_shape)
    return replace(recording, corrections=_corrections(recording, kept), **changes)


def _lacking(frames: Any) -> Iterator[Problem]:
    """Tell what the source lacked, or had and was not converted."""
    if not isinstance(frames, Mapping):
        return
    counts = [frames.get(name) for name in ("announced", "stored", "ignored_end")]
    announced, stored, beyond = (count if isinstance(count, int) else 0 for count in counts)
    if 0 < stored < announced:
        yield Problem("info", f"its source announced {announced} frames and held {stored}.")
    if beyond > 0:
        yield Problem(
            "info",
            f"{plural(beyond, 'frame')} of its source had no place in the scan and were not "
            "converted.",
        )


def _blanks(recording: Recording, kept: Kept) -> dict[str, Any]:
    """Return the frames with blanks where nothing was recorded, and the value they have."""
    positions, about, count = kept.array("blanks"), kept.about("blanks"), recording.count
    if positions is None or positions.ndim != 1 or positions.dtype.kind not in "iu":
        return {}
    if about.get("of") != count or not len(positions):  # sig_dims= may have changed the frames
        return {}
    if positions.min() < 0 or positions.max() >= count:
        return {}
    order = np.arange(count)
    order[positions] = -1
    fill = about.get("fill_value")
    message = f"{plural(len(positions), 'position')} of {count} had no frame when it was converted."
    return {
        "frames": recording.frames[order],
        "fill_value": fill if isinstance(fill, (int, float)) else 0,
        "problems": (*recording.problems, Problem("info", message)),
    }


@dataclass(frozen=True)
class _KeptTimes:
    """Reads what the headers of frames said, in the order of their positions or in another.

    Parameters
    ----------
    kept : Kept
        Where it is.
    count : int
        Number of positions.
    positions : ndarray of int64, optional
        The position of each frame, in the order in which they are wanted; -1 for none.
    """

    kept: Kept
    count: int
    positions: Ints | None = None

    def __call__(self, first: int, last: int) -> FrameTimes:
        columns = []
        for name in _TIMES:
            path = f"times/{name}"
            if path not in self.kept.shapes:  # two of them are always there, see `FrameTimes`
                size = len(range(first, min(last, self.count))) if name in _TIMES[:2] else 0
                columns.append(np.full(size, -1, np.int64))
            elif self.positions is None:
                columns.append(self.kept.read(path, slice(first, last)).astype(np.int64))
            else:
                at = self.positions[first:last]
                here = at[at >= 0]
                column = np.full(len(at), -1, np.int64)
                if len(here):  # what was recorded one after the other lies close together
                    begin = int(here.min())
                    values = self.kept.read(path, slice(begin, int(here.max()) + 1))
                    column[at >= 0] = values.astype(np.int64)[here - begin]
                columns.append(column)
        return FrameTimes(*columns)


def _times(recording: Recording, kept: Kept, nav_shape: tuple[int, ...]) -> dict[str, Any]:
    """Return access to the times of frames; the scan is then that of the array."""
    about, count = kept.about("times"), recording.count
    names = [name for name in (*_TIMES, "frame") if f"times/{name}" in kept.shapes]
    if {kept.shapes[f"times/{name}"] for name in names} != {(count,)}:
        return {}
    resolution, external = about.get("resolution_ns"), about.get("external_trigger")
    times = Times(
        count,
        _KeptTimes(kept, count),
        resolution_ns=resolution if isinstance(resolution, int) else 100,
        external_trigger=external if isinstance(external, bool) else None,
        software_trigger=about.get("software_trigger") is True,
    )
    changes: dict[str, Any] = {"times": times}
    if "frame" in names:
        positions = _as_recorded(kept.read("times/frame", ...), about.get("layers"))
        changes["stored_times"] = replace(
            times,
            count=len(positions),
            read=_KeptTimes(kept, len(positions), positions),
            blanks=positions < 0,
        )
    if nav_shape and not any(hint.exact for hint in recording.hints):
        reason = "shape of the data set"
        changes["hints"] = (ScanHint("header", nav_shape, 0.95, reason, exact=True),)
    return changes


def _as_recorded(frame: npt.NDArray[Any], layers: Any) -> Ints:
    """Return the position of each frame in the order of recording, -1 for those that are not here.

    Of several layers, only the frames of the first one count.
    """
    step = layers if isinstance(layers, int) and layers > 0 else 1
    frame = frame.astype(np.int64)
    here = np.flatnonzero((frame >= 0) & (frame % step == 0))
    rank = frame[here] // step
    count = int(rank.max(initial=-1)) + 1
    if count > 16 * len(frame) + 4096:  # not written by us
        return np.full(0, -1, np.int64)
    positions = np.full(count, -1, np.int64)
    positions[rank[::-1]] = here[::-1]
    return positions


def _corrections(recording: Recording, kept: Kept) -> Corrections | None:
    """Return the corrections that came with the source and were not applied."""
    about, images = kept.about("corrections"), {}
    for name in ("dark", "gain", "excluded"):
        if kept.shapes.get(f"corrections/{name}") == tuple(recording.frames.frame_shape):
            image = kept.read(f"corrections/{name}", ...)
            images[name] = image.astype(bool) if name == "excluded" else image
    if not images:
        return None
    repair: Repair = about["repair"] if about.get("repair") in get_args(Repair) else "mean8"
    return Corrections(**images, repair=repair, allow_empty=about.get("allow_empty") is True)
