# SPDX-License-Identifier: GPL-3.0-or-later
"""What HDF5 files and Zarr stores of ours hold beside pixels, so that nothing gets lost.

Metadata, axes, the times of all frames, where blanks are, and corrections that were not applied.
`rsciio_tem.parsing.kept` makes a recording of it again; ``specifications/hdf5.md`` describes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, warn
from rsciio_tem.frames.corrections import Corrected, Corrections
from rsciio_tem.frames.turned import Binned, Cropped, Turn, Turned
from rsciio_tem.reading.lazy import LazyFrames, Origin, lazy_source
from rsciio_tem.recording.json_arrays import packed
from rsciio_tem.scan.times import Times
from rsciio_tem.writing.signal_frames import SignalFrames

__all__ = ["VERSION", "Kept", "kept_of"]

#: Of what is kept; an unfinished conversion of another one is not gone on with.
VERSION = 2

Ints = npt.NDArray[np.int64]

#: Frame headers that are read at a time.
_HEADERS = 1 << 16

_TIMES = ("time_ns", "exposure_ns", "sequence", "counter")


@dataclass
class Kept:
    """What is kept beside pixels.

    Parameters
    ----------
    entries : dict
        JSON by name.
    arrays : dict
        Arrays by the path that they get.
    """

    entries: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)


def kept_of(frames: SignalFrames, path: str) -> Kept:
    """Collect what is to be kept of a signal; of all frames the headers are read.

    Parameters
    ----------
    frames : SignalFrames
        It. Of signals that are not as a reader has returned them there are only metadata.
    path : str
        Of the target, for messages.
    """
    kept = Kept()
    for name in ("metadata", "original_metadata"):
        kept.entries[name] = packed(getattr(frames, name), kept.arrays)
    kept.entries["axes"] = [
        packed(_described(axis), kept.arrays) for axis in (*frames.nav_axes, *frames.sig_axes)
    ]
    source = lazy_source(frames.data)
    if source is None or source.origin is None or len(source.frames) != len(frames):
        return kept
    about: dict[str, Any] = {}
    blanks = source.frames.blanks
    if blanks is not None and blanks.any():
        kept.arrays["blanks"] = np.flatnonzero(blanks).astype(np.int64)
        about["blanks"] = {"of": len(frames), "fill_value": packed(source.origin.fill, {})}
    if (times := source.origin.recording.times) is not None:
        try:
            arrays = _times_of(source.origin, times, blanks)
        except FormatError as error:
            warn(path, f"times of the frames are left out: {error.path}: {error.problem}")
            arrays = {}
        if arrays:
            kept.arrays |= {f"times/{name}": values for name, values in arrays.items()}
            about["times"] = {
                "resolution_ns": int(times.resolution_ns),
                "external_trigger": times.external_trigger,
                "software_trigger": bool(times.software_trigger),
                "layers": int(source.origin.recording.layers),
            }
    if (left := _left_to_correct(source)) is not None:
        for name in ("dark", "gain", "excluded"):
            if (image := getattr(left, name)) is not None:
                kept.arrays[f"corrections/{name}"] = np.ascontiguousarray(image)
        about["corrections"] = {"repair": left.repair, "allow_empty": left.allow_empty}
    if about:
        kept.entries["frames"] = about
    return kept


def _described(axis: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of an axis; what HyperSpy calls undefined is None."""
    entries = {k: axis.get(k) for k in ("name", "units", "scale", "offset", "navigate")}
    for name in ("name", "units"):
        entries[name] = entries[name] if isinstance(entries[name], str) else None
    if "axis" in axis:
        entries["axis"] = np.asarray(axis["axis"], np.float64)
    return entries


def _times_of(
    origin: Origin, times: Times, blanks: npt.NDArray[np.bool_] | None
) -> dict[str, npt.NDArray[Any]]:
    """Return what the headers say of the frame at each position, and the order of recording."""
    index = origin.index
    if isinstance(index, slice):
        index = np.arange(*index.indices(origin.recording.count))
    position = np.argsort(index, kind="stable")
    stored = index[position]
    arrays: dict[str, Ints] = {}
    begin = int(np.searchsorted(stored, 0))
    while begin < len(stored):
        first = int(stored[begin])
        end = int(np.searchsorted(stored, first + _HEADERS))
        part = times.read(first, min(int(stored[end - 1]) + 1, times.count))
        for name in _TIMES:
            if len(values := getattr(part, name)):
                whole = arrays.setdefault(name, np.full(len(index), -1, np.int64))
                whole[position[begin:end]] = values[stored[begin:end] - first]
        begin = end
    frame = index.astype(np.int64)
    if origin.recording.stored_times is not None and "time_ns" in arrays:
        # frames are not in the order of recording: their times tell it
        moment = arrays["time_ns"]
        frame = np.empty(len(index), np.int64)
        late = np.where(moment < 0, np.iinfo(np.int64).max, moment)
        frame[np.argsort(late, kind="stable")] = np.arange(len(index))
    if blanks is not None:
        frame[blanks] = -1
        for values in arrays.values():
            values[blanks] = -1
    arrays = {name: values for name, values in arrays.items() if (values >= 0).any()}
    if arrays and (frame != np.arange(len(frame))).any():
        arrays["frame"] = frame
    return arrays


def _left_to_correct(source: LazyFrames) -> Corrections | None:
    """Return what of the corrections that come with a recording was not applied."""
    assert source.origin is not None
    recording, frames = source.origin.recording, source.frames
    stored = recording.corrections
    if stored is None:
        return None
    turn, binned = Turn(), False
    part: tuple[slice, ...] = ()
    while isinstance(frames, (Binned, Cropped, Turned)):
        part = frames.part if isinstance(frames, Cropped) else part
        turn = frames.turn if isinstance(frames, Turned) else turn
        binned = binned or isinstance(frames, Binned)
        frames = frames.frames
    upside_down = frames.upside_down
    if upside_down is not None and recording.frames.upside_down != upside_down:
        stored = stored.flipped()
    applied = frames.corrections if isinstance(frames, Corrected) else Corrections()
    images: dict[str, Any] = {}
    for name in ("dark", "gain", "excluded"):
        image = getattr(stored, name)
        if image is not None and getattr(applied, name) is None:
            array = np.asarray(image)
            if array.size == np.prod(frames.frame_shape):  # sig_shape= may have changed it
                images[name] = turn.apply(array.reshape(frames.frame_shape))[part]
    if images and binned:
        warn(recording.path, "the corrections that come with it are not kept with binned frames.")
        return None
    left = Corrections(**images, repair=stored.repair, allow_empty=stored.allow_empty)
    return left if left else None
