# SPDX-License-Identifier: GPL-3.0-or-later
"""From a recording and keywords to frames in scan order: one index, nothing read."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Unsupported
from rsciio_tem.frames.corrections import Corrected, Corrections
from rsciio_tem.frames.pixels import full_region
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.turned import Binned, Cropped, Turn, Turned
from rsciio_tem.reading.annotated import annotated
from rsciio_tem.reading.lazy import LazyFrames, Origin, cast_to
from rsciio_tem.reading.options import check_options, scan_request, sizes, spans, whole
from rsciio_tem.reading.references import as_frame, as_mask
from rsciio_tem.recording.annotation import SCAN
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import Scan
from rsciio_tem.storage.backends import backend_name

__all__ = ["Arranged", "arrange", "arrange_annotated"]

# ---------------------------------------------------------------- read


@dataclass(frozen=True, eq=False)
class Arranged:
    """Frames in scan order, ready to be loaded, and how they were put there."""

    source: LazyFrames
    scan: Scan
    flip_y: bool | None = None
    turn: Turn = field(default_factory=Turn)
    binned: tuple[int, int] = (1, 1)
    roi_index: npt.NDArray[np.int64] | None = None
    isig: tuple[slice, ...] = ()  #: the part of turned frames, before binning; () for all
    inav: tuple[slice, ...] = ()  #: the part of the scan that `scan` is; () for all
    scanned: tuple[int, ...] = ()  #: shape of all of it
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def missing_mask(self) -> npt.NDArray[np.bool_] | None:
        """Where no frame was recorded, shape of the scan; None if nothing is missing."""
        if self.roi_index is not None:
            return self.scan.missing_mask
        blanks = self.source.frames.blanks  # among them those that the recording itself has
        return blanks.reshape(self.scan.shape) if blanks is not None and blanks.any() else None


def arrange(
    recording: Recording,
    *,
    navigation_shape: Any = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Arranged:
    """Put the frames of a recording into scan order; parameters and errors as in `read`.

    No pixel is read.
    """
    options = dict(options or {})
    check_options(options, recording.path)
    bounds = {
        "navigation_shape": navigation_shape,
        "first_frame": first_frame,
        "last_frame": last_frame,
    }
    return arrange_annotated(annotated(recording), bounds, options)


def arrange_annotated(
    recording: Recording, bounds: Mapping[str, Any], options: dict[str, Any]
) -> Arranged:
    """Put frames into scan order as `arrange` does: what a side file says is part of them.

    The options are known ones; those that a side file gives are added to them.
    """
    options = dict(options)
    asked = {n: v for n, v in {**options, **bounds}.items() if v is not None}
    scan = _scan_of(recording, asked)
    if (note := recording.annotation) is not None:
        options |= note.optics(asked)
        if "corrections" in note.values and "corrections" not in asked:
            options["corrections"] = note.values["corrections"]
    frames, flip_y = _configured(recording, options)
    frames, turn, isig, binned = _part(frames, options, recording.path)
    if binned != (1, 1):
        frames = Binned(frames, binned)
    blank = _fill(frames.dtype, recording, options)
    if cast_to(frames.dtype, options.get("dtype")) is not None:
        # a value that marks what is lost within frames until they are cast
        blank = blank if frames.lost_value is None else frames.lost_value
    frames = frames.read_as(backend=backend_name(options.get("io_backend", "auto")), fill=blank)
    scanned = scan.shape
    inav: tuple[slice, ...] = ()
    if options.get("inav") is not None:
        if options.get("roi") is not None:
            raise TypeError("pass either inav or roi")
        scan, inav = _cropped(scan, options["inav"])
    index, nav_shape, roi_index = scan.index, scan.shape, None
    if options.get("roi") is not None:
        index, roi_index = _selected(scan, options["roi"], recording.path)
        nav_shape = (len(roi_index),)
    frames = frames[index]
    dtype = cast_to(frames.dtype, options.get("dtype")) or frames.dtype
    fill = _fill_value(recording, options)
    origin = Origin(recording, index, fill)
    source = LazyFrames(frames, nav_shape, dtype, recording.path, fill, origin)
    if source.shape[: len(nav_shape)] != nav_shape or math.prod(nav_shape) != len(frames):
        raise AssertionError(f"scan shape {nav_shape} for {len(frames)} frames")
    return Arranged(source, scan, flip_y, turn, binned, roi_index, isig, inav, scanned, options)


def _scan_of(recording: Recording, asked: Mapping[str, Any]) -> Scan:
    """Arrange frames as keywords say and, where these leave it open, as a side file does."""
    note, values = recording.annotation, dict(asked)
    if note is not None and note.scan is not None:
        if not asked.keys() & {*SCAN, "nav_shape", "missing"}:
            return recording.scan()
        values |= note.arrangement(asked)
    shape, first, last = (
        values.pop(n, None) for n in ("navigation_shape", "first_frame", "last_frame")
    )
    request = scan_request(shape, first, last, values)
    if request.rule == "content" and request.shape is None:
        from rsciio_tem.reading.images_as_evidence import with_content

        recording = replace(recording, hints=with_content(recording, first, last))
    scan = recording.scan(request)
    if shape is not None and "navigation_shape" not in asked and note is not None:
        reason = f"{os.path.basename(note.path)} says"
        scan = replace(scan, evidence=replace(scan.evidence, rule="annotation", reason=reason))
    return scan


def _configured(recording: Recording, options: Mapping[str, Any]) -> tuple[Frames, bool | None]:
    """Apply the keywords that change how frames are decoded."""
    frames = recording.frames
    sig_shape = options.get("sig_shape")
    backend = backend_name(options.get("io_backend", "auto"))
    stored = isinstance(options.get("dtype"), str) and options["dtype"] == "stored"
    try:
        frames = frames.read_as(
            backend=backend,
            flip_y=options.get("flip_y"),
            native=not stored,
            frame_shape=None if sig_shape is None else sizes("sig_shape", sig_shape),
        )
    except Unsupported as error:
        raise Unsupported(recording.path, error.problem, error.hint) from None
    flip_y = frames.upside_down
    corrections = _corrections(recording, frames, flip_y, options)
    if corrections:
        frames = Corrected(frames, corrections, recording.path)
    return frames, flip_y


def _cropped(scan: Scan, inav: Any) -> tuple[Scan, tuple[slice, ...]]:
    """Return a part of a scan, and which one; () if it is all of it."""
    part = spans("inav", inav, scan.shape)
    if part == full_region(scan.shape):
        return scan, ()
    shape = tuple(one.stop - one.start for one in part)
    positions = np.arange(math.prod(scan.shape)).reshape(scan.shape)[part].reshape(-1)
    if not isinstance(scan.index, slice):
        return replace(scan, shape=shape, index=scan.index[positions]), part
    index: slice | npt.NDArray[np.int64] = scan.index.start + positions
    if positions[-1] - positions[0] + 1 == len(positions):
        begin = scan.index.start + int(positions[0])
        index = slice(begin, begin + len(positions))
    return replace(scan, shape=shape, index=index), part


def _part(
    frames: Frames, options: Mapping[str, Any], path: str
) -> tuple[Frames, Turn, tuple[slice, ...], tuple[int, int]]:
    """Turn and crop frames; also return how, and the rows and columns of a bin."""
    turn, binned = _turn(options, frames, path)
    if turn:
        frames = Turned(frames, turn)
    isig: tuple[slice, ...] = ()
    if options.get("isig") is not None:
        isig = spans("isig", options["isig"], frames.frame_shape)
        if isig == full_region(frames.frame_shape):
            isig = ()
        else:
            frames = Cropped(frames, isig)
    shape = frames.frame_shape
    if binned != (1, 1) and any(k > n for k, n in zip(binned, shape, strict=True)):
        raise ValueError(
            f"bin={options['bin']!r} is larger than a frame of {shape} (rows, columns)"
        )
    return frames, turn, isig, binned


def _turn(options: Mapping[str, Any], frames: Frames, path: str) -> tuple[Turn, tuple[int, int]]:
    """Return how frames are turned, and the rows and columns of a bin."""
    turn = Turn()
    if options.get("flip_x"):
        turn = turn.flipped_x()
    if options.get("transpose"):
        turn = turn.transposed()
    turn = turn.quarter(whole("rot90", options.get("rot90") or 0))
    asked = sizes("bin", 1 if options.get("bin") is None else options["bin"])
    if len(asked) > 2 or min(asked) < 1:
        raise ValueError(
            f"bin={options['bin']!r} is not a number of pixels, nor two of them, (x, y)"
        )
    binned = (asked[-1], asked[0])  # rows, columns
    if (turn or binned != (1, 1)) and (len(frames.frame_shape) != 2 or frames.dtype.names):
        raise Unsupported(
            path,
            "has no frames of two axes and plain numbers.",
            "Leave out flip_x, transpose, rot90 and bin.",
        )
    return turn, binned


def _corrections(
    recording: Recording, frames: Frames, flip_y: bool | None, options: Mapping[str, Any]
) -> Corrections:
    """Collect what the caller gives and, unless switched off, what comes with the recording."""
    path, setting = recording.path, options.get("corrections", "auto")
    if setting not in ("auto", True, False, None):
        raise ValueError(f'corrections={setting!r} is neither "auto" nor False')
    stored = recording.corrections if setting in ("auto", True) else None
    if stored is not None and flip_y is not None and recording.frames.upside_down != flip_y:
        stored = stored.flipped()
    stored = stored or Corrections()
    passed = Corrections(
        dark=as_frame(options.get("dark"), "dark", path),
        gain=as_frame(options.get("gain"), "gain", path),
        excluded=as_mask(options.get("excluded_pixels"), frames.frame_shape, path),
    )
    dark = stored.dark if passed.dark is None else passed.dark
    return Corrections(
        dark=None if dark is None else np.asarray(dark),  # perhaps only now computed
        gain=stored.gain if passed.gain is None else passed.gain,
        excluded=stored.excluded if passed.excluded is None else passed.excluded,
        repair=options.get("repair", stored.repair),
        allow_empty=bool(options.get("allow_empty", stored.allow_empty)),
    ).checked(frames.frame_shape, path)


def _fill_value(recording: Recording, options: Mapping[str, Any]) -> float:
    """Return the value of blanks that is asked for; the text of a number counts as one."""
    fill = options.get("fill_value", recording.fill_value)
    if isinstance(fill, str):
        try:
            return float(fill)
        except ValueError:
            raise TypeError(
                f"fill_value={fill!r} is no number; pass one that pixels can have, or "
                'float("nan") with dtype="float32"'
            ) from None
    return fill  # type: ignore[no-any-return]


def _fill(stored: np.dtype[Any], recording: Recording, options: Mapping[str, Any]) -> float:
    """Return the value that blanks get when frames are loaded; checks that it fits."""
    fill = _fill_value(recording, options)
    cast = cast_to(stored, options.get("dtype"))
    dtype = stored if cast is None else cast
    if fill == 0:  # fits into every type
        return fill if cast is None else 0
    if fill != fill and dtype.kind not in "fc":
        raise TypeError(f"fill_value=nan needs a floating dtype=, pixels are {dtype}")
    if dtype.kind in "iub":
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if not low <= fill <= high or fill != int(fill):
            raise ValueError(f"fill_value={fill} does not fit into {dtype} pixels")
    return fill if cast is None else 0


def _flat(roi: tuple[Any, ...], shape: tuple[int, ...], path: str) -> npt.NDArray[np.int64]:
    """Return the flat positions of a tuple of indices, one for each axis of the scan."""
    if len(roi) != len(shape):
        raise ValueError(
            f"{path}: roi is a tuple of {len(roi)}, which would be indices along as many axes; the "
            f"scan has {len(shape)}. Flat positions are a list: roi={list(roi)!r:.60}"
        )
    places = [np.asarray(part, np.int64) for part in roi]
    for axis, (place, size) in enumerate(zip(places, shape, strict=True)):
        if place.size and not (-size <= place.min() and place.max() < size):
            raise ValueError(
                f"{path}: roi has indices outside 0..{size - 1} along axis {axis} of the scan, "
                f"whose shape is {shape} (array order)"
            )
    try:
        inside = [place % size for place, size in zip(places, shape, strict=True)]
        return np.ravel_multi_index(inside, shape).reshape(-1)
    except ValueError as error:
        sizes = " and ".join(str(place.size) for place in places)
        raise ValueError(f"{path}: roi has {sizes} indices along the axes of the scan") from error


def _selected(
    scan: Scan, roi: Any, path: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the frame index of a region of interest, and its flat scan positions."""
    roi = np.asarray(roi) if not isinstance(roi, tuple) else roi
    for part in roi if isinstance(roi, tuple) else [roi]:
        values = np.asarray(part)
        if values.dtype.kind not in "biu" and not (
            values.dtype.kind == "f" and (values == np.floor(values)).all()
        ):
            raise TypeError(f"roi is a mask, or whole numbers of positions, not {values.dtype}")
    positions = math.prod(scan.shape)
    if isinstance(roi, tuple):
        flat = _flat(roi, scan.shape, path)
    elif roi.dtype == bool:
        if roi.shape != scan.shape:
            raise ValueError(
                f"{path}: roi has shape {roi.shape}, the scan {scan.shape} (array order)"
            )
        flat = np.flatnonzero(roi)
    else:
        flat = roi.astype(np.int64).reshape(-1)
        if len(flat) and (flat.min() < -positions or flat.max() >= positions):
            raise ValueError(f"{path}: roi has positions outside 0..{positions - 1}")
        flat = flat % positions
    if not len(flat):
        raise ValueError(f"{path}: roi selects no position")
    if isinstance(scan.index, slice):
        return scan.index.start + flat, flat
    return scan.index[flat], flat
