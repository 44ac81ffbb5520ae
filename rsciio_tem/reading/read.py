# SPDX-License-Identifier: GPL-3.0-or-later
"""From a `Recording` to the dictionaries that RosettaSciIO readers return.

One function for every format, so that eager, lazy and mapped loading give the same values by
construction: all of them load through ``frames[index].load(out, region)``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from rsciio_tem._version import __version__
from rsciio_tem.errors import FormatError, NotEnoughMemory, warn
from rsciio_tem.frames.arrays import DaskFrames
from rsciio_tem.frames.corrections import Corrected
from rsciio_tem.frames.pixels import Region
from rsciio_tem.frames.protocol import tiles
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.frames.turned import Binned, Cropped, Turned
from rsciio_tem.reading import lazy_graphs, navigator
from rsciio_tem.reading.annotated import annotated
from rsciio_tem.reading.arrange import Arranged, arrange_annotated
from rsciio_tem.reading.calibration import calibrated, energy_and_length, named
from rsciio_tem.reading.lazy import LazyFrames, cast_values, default_chunks
from rsciio_tem.reading.options import SparseKind, check_options
from rsciio_tem.reading.texts import storable, storable_title
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.recording.rotation import axis_of, described
from rsciio_tem.storage import machine

__all__ = ["read"]

#: Chunks that dask keeps a list of.
_MOST_CHUNKS = 2_000_000

_logger = logging.getLogger(__name__)


def _lazy(source: LazyFrames, chunks: Any, sparse: bool = False) -> Any:
    import dask.array as da
    from dask.array.core import normalize_chunks

    automatic = isinstance(chunks, str) and chunks == "auto"
    if automatic:
        chunks = default_chunks(
            source.nav_shape,
            source.frames.frame_shape,
            source.dtype.itemsize,
            source.frames.chunk_hint,
        )
        count = math.prod(-(-n // c) for n, c in zip(source.shape, chunks, strict=True))
        if count > _MOST_CHUNKS:
            raise FormatError(
                source.path,
                f"describes {' x '.join(map(str, source.shape))} pixels, which are more than dask "
                f"can look after: {count} chunks.",
                "Take a part of them with first_frame= and last_frame=, or pass chunks=.",
            )
    elif isinstance(chunks, tuple) and len(chunks) == len(source.nav_shape) != source.ndim:
        chunks = (*chunks, *source.frames.frame_shape)
    if not automatic:  # from_array does the same
        chunks = normalize_chunks(chunks, shape=source.shape, dtype=source.dtype)
    if sparse:
        from rsciio_tem.reading.sparse import LazyCoo, empty_coo

        meta = empty_coo(source.ndim, source.dtype)
        return da.from_array(LazyCoo(source), chunks=chunks, name=False, asarray=False, meta=meta)
    frames: Any = source.frames
    if isinstance(frames, DaskFrames):  # a dask array already: no task may compute another graph
        if frames.dtype != source.dtype:
            cast = frames.array.map_blocks(
                cast_values, source.dtype, source.path, dtype=source.dtype
            )
            frames = replace(frames, array=cast, fill=source.fill)
        data = frames.lazy().reshape(source.shape)
        return data if automatic else data.rechunk(chunks)
    split = not automatic and any(len(c) > 1 for c in chunks[len(source.nav_shape) :])
    if split and frames.chunk_hint is None:
        _logger.info("%s: chunks split the frames; whole frames are read faster", source.path)
    lazy_graphs.install()
    return da.from_array(
        source,
        chunks=chunks,
        name=False,  # a random name: hashing an index of millions of frames is not worth it
        # dask fuses slices into the read only with its default getter (asarray, fancy)
        meta=np.empty((0,) * source.ndim, source.dtype),
    )


def _load(source: LazyFrames) -> npt.NDArray[Any]:
    """Load everything into one new array, with a few threads over contiguous stretches."""
    frames = source.frames
    shape = frames.frame_shape
    out = np.empty((len(frames), *shape), source.dtype)
    cast = source.dtype != frames.dtype

    def fill(piece: tuple[slice, Region | None]) -> None:
        chosen, region = piece
        part, target = frames[chosen], out[chosen]
        if region is not None:
            target = target[(slice(None), *region)]
        if not cast:
            part.load(target, region)
            return
        values = np.empty(target.shape, frames.dtype)
        part.load(values, region)
        target[...] = source.cast(values, part)

    todo = tiles(frames, 16 * machine.MiB)
    workers = min(machine.threads(), len(todo))
    if workers > 1:
        with machine.Threads(workers) as pool:
            for _ in pool.map(fill, todo):
                pass
    else:
        for piece in todo:
            fill(piece)
    return out.reshape(source.shape)


def _guard(source: LazyFrames, recording: Recording) -> None:
    needed = math.prod(source.shape) * source.dtype.itemsize
    free = machine.free_memory()
    if free is not None and needed > 0.95 * free:
        lazily = f"Load it lazily: hs.load({recording.path!r}, lazy=True)"
        raise NotEnoughMemory(
            recording.path,
            f"{needed / 1e9:.1f} GB of pixels do not fit into the {free / 1e9:.1f} GB of free "
            "memory.",
            f"{lazily if recording.files else 'Pass lazy=True'}, "
            "or part of it with first_frame= and last_frame=.",
        )


def read(
    recording: Recording,
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: Any = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    sparse: SparseKind = False,
) -> list[dict[str, Any]]:
    """Load a recording.

    Parameters
    ----------
    recording : Recording
        What `parse` of a format returned.
    lazy : bool
        Return a dask array instead of a loaded one.
    chunks : "auto", int, tuple or dict
        Chunks of the dask array, of the whole shape or of its scan axes; "auto" keeps frames
        whole.
    mmap_mode : {None, "r", "c"}
        Return a view of the file where its pixels are plain, read-only or copy-on-write.
    navigation_shape : int or tuple of int, optional
        Scan shape in HyperSpy order (x, y).
    first_frame, last_frame : int, optional
        Slice bounds on the stored frames.
    options : ReadOptions
        Everything else, see ``docs/parameters.md``.
    sparse : {False, True, "scipy"}
        Return sparse arrays, see `rsciio_tem.reading.options.SparseKind`.

    Returns
    -------
    list of one dict
        ``data``, ``axes``, ``metadata``, ``original_metadata`` as in RosettaSciIO.

    Raises
    ------
    FormatError
        The recording cannot be arranged or read as asked.
    TypeError, ValueError
        A keyword is unknown or has an impossible value.
    """
    options = dict(options or {})
    check_options(options, recording.path)
    if mmap_mode not in (None, "r", "c"):
        raise ValueError(f"mmap_mode={mmap_mode!r}: files are never written; pass 'r' or 'c'")
    if sparse not in get_args(SparseKind):
        raise ValueError(f"sparse={sparse!r} is none of False, True, 'scipy'")
    recording = annotated(recording)
    for problem in recording.problems:
        if problem.severity == "info":
            _logger.info("%s: %s", recording.path, problem)
        else:
            warn(recording.path, str(problem))

    bounds = {
        "navigation_shape": navigation_shape,
        "first_frame": first_frame,
        "last_frame": last_frame,
    }
    arranged = arrange_annotated(recording, bounds, options)
    source = arranged.source

    data: Any = None
    if lazy:
        if sparse == "scipy":
            raise ValueError("sparse='scipy' is not lazy; pass sparse=True, or lazy=False")
        data = _lazy(source, chunks, bool(sparse))
    elif sparse:
        from rsciio_tem.reading.sparse import sparse_array

        data = sparse_array(source, sparse)
    else:
        frames = source.frames
        same = source.dtype == frames.dtype
        if mmap_mode is not None and isinstance(frames, FrameTable) and same:
            view = frames.mapped(mmap_mode)
            data = None if view is None else view.reshape(source.shape)
        if data is None:
            _guard(source, recording)
            data = _load(source)

    angles = _angles(recording, arranged)
    signal = {
        "data": data,
        "axes": storable(axes_of(recording, arranged)),
        "metadata": _metadata(recording, options),
        "original_metadata": {
            **storable(recording.original_metadata),
            **({} if angles is None else described(angles)),
            "rsciio_tem": storable(_provenance(recording, arranged)),
        },
    }
    if lazy:  # HyperSpy computes that of data in memory
        navigator.attach(signal, source, options.get("navigator"))
    if recording.images:
        _keep_images(signal, recording, arranged, options.get("navigator"))
    if recording.navigators is not None and _as_stored(recording, arranged):
        _keep_navigators(signal, recording.navigators(), options.get("navigator"))
    return [signal]


def _as_stored(recording: Recording, arranged: Arranged) -> bool:
    """Whether all frames are returned in the shape that the recording has."""
    hints, index = recording.hints, arranged.scan.index
    shape = hints[0].shape if hints else (recording.count,)
    whole = isinstance(index, slice) and index == slice(0, recording.count)
    return whole and arranged.roi_index is None and arranged.source.nav_shape == shape


def _keep_navigators(signal: dict[str, Any], stored: Mapping[str, Any], asked: Any) -> None:
    """Give a signal the navigators of the one that was converted."""
    others = {name: entry for name, entry in stored.items() if name != "_sig_navigator"}
    tree = {**others, **signal["metadata"].get("_HyperSpy", {})}
    image = stored.get("_sig_navigator")
    signal["metadata"] = {**signal["metadata"], "_HyperSpy": tree}
    if image is not None:
        navigator.keep_stored(signal, image, asked)


def _metadata(recording: Recording, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata, with what the caller says of the microscope."""
    metadata: dict[str, Any] = storable(recording.metadata)
    general = metadata.get("General", {})
    if isinstance(title := general.get("title"), str):
        general["title"] = storable_title(title)
    if values := energy_and_length(options):
        instrument = metadata.setdefault("Acquisition_instrument", {})
        tem = {**instrument.get("TEM", {}), **values}
        if "camera_length" in values:  # in mm, whatever the file has
            tem.pop("camera_length_units", None)
        instrument["TEM"] = tem
    return metadata


def _keep_images(
    signal: dict[str, Any], recording: Recording, arranged: Arranged, navigator_kind: Any
) -> None:
    """Give a signal the images of the scan that are stored with its recording.

    One of frames that are arranged as they were scanned becomes the navigator; complete lines may
    be missing at the end. All others are kept in ``metadata._HyperSpy.navigators``, unless they fit
    the recording only as it was scanned.
    """
    shape, counts = arranged.scanned, arranged.scan.counts or {}
    shifted = any(counts.get(n) for n in ("first", "skipped_start", "inserted_start"))
    whole = not shifted and arranged.roi_index is None
    for image in recording.images:
        as_scanned = whole and bool(shape) and shape[1:] == image.shape[1:]
        as_scanned = as_scanned and shape[0] <= image.shape[0]
        if not (as_scanned or image.always):
            continue
        values = image.read()
        if values is None:
            continue
        axes = signal["axes"][: len(shape)] if as_scanned else []
        entry = {
            "data": values[: shape[0]][arranged.inav] if as_scanned else values,
            "axes": [{**axis, "navigate": False} for axis in axes]
            or [axis.to_dict(i, n, False) for i, (axis, n) in enumerate(_image_axes(values.shape))],
            "metadata": {
                "General": {"title": storable_title(image.title)},
                "Signal": {"signal_type": ""},
            },
            "original_metadata": storable(image.original_metadata),
        }
        navigator.keep_stored(signal, entry, navigator_kind if as_scanned else False)
        if as_scanned:
            navigator_kind = False  # the next ones are kept beside it


def _image_axes(shape: tuple[int, ...]) -> list[tuple[Axis, int]]:
    axes, _ = named([Axis()] * len(shape), [], "")
    return list(zip(axes, shape, strict=True))


def _angles(recording: Recording, arranged: Arranged) -> npt.NDArray[np.float64] | None:
    """Return the angles of the frames of a rotation series that are returned; NaN for blanks."""
    rows, scan = recording.omega, arranged.scan
    if rows is None:
        return None
    if (flat := arranged.roi_index) is not None:
        index = scan.index.start + flat if isinstance(scan.index, slice) else scan.index[flat]
    else:
        index = scan.index
    if isinstance(index, slice):
        return rows[index]
    chosen: npt.NDArray[np.float64] = rows[index]
    chosen[index < 0] = np.nan
    return chosen


def axes_of(recording: Recording, arranged: Arranged) -> list[dict[str, Any]]:
    """Describe the axes of the data that are returned."""
    scan, source = arranged.scan, arranged.source
    flat = arranged.roi_index is not None
    angles = _angles(recording, arranged)
    n_nav = len(source.nav_shape)
    starts = [part.start for part in arranged.inav] or [0] * n_nav
    nav = [Axis()] * n_nav
    stack = scan.evidence.rule == "stack"
    if not flat:
        scan_axes = recording.scan_axes[-n_nav:] if n_nav else ()
        if n_nav == 1 < len(recording.scan_axes) and (stack or scan.evidence.exact):
            scan_axes = ()  # frames one after the other are not positions along a line
        for i, axis in enumerate(reversed(scan_axes)):
            nav[n_nav - 1 - i] = axis
        if n_nav == 3 > len(recording.scan_axes) and scan.evidence.repeated:
            nav[0] = Axis("repeats")
        if recording.layers > 1 and n_nav > 1:
            nav[0] = recording.layer_axis
        stacked = stack or scan.evidence.exact
        if n_nav == 1 and stacked and recording.stack_axis is not None:
            counts, axis = scan.counts or {}, recording.stack_axis
            first = counts["first"] + counts["skipped_start"] - counts["inserted_start"]
            nav[0] = axis.cut(first, arranged.scanned[0])
    if angles is not None and n_nav == 1:
        nav[0], warning = axis_of(angles)
        starts = [0]  # these are the angles of what is returned
        if warning and not flat:
            warn(recording.path, warning)
    sig = list(recording.signal_axes)
    if n_nav + len(sig) != source.ndim:  # sig_shape changed the number of frame axes
        sig = [Axis()] * (source.ndim - n_nav)
    if arranged.turn.exchanged:  # names stay: columns are x
        sig = [replace(axis, name=old.name) for axis, old in zip(sig[::-1], sig, strict=True)]
    if len(sig) == 2:
        sig = _mirrored(sig, recording, arranged)
    signal_type = str(recording.metadata.get("Signal", {}).get("signal_type", ""))
    nav, sig = named(nav, sig, signal_type)
    nav, sig = calibrated(nav, sig, arranged.options, stack or flat)
    if arranged.isig:
        sig = [
            axis.cut(part.start, part.stop - part.start)
            for axis, part in zip(sig, arranged.isig, strict=True)
        ]
    if arranged.binned != (1, 1):
        sig = [
            axis.binned(k, n)
            for axis, k, n in zip(sig, arranged.binned, source.frames.frame_shape, strict=True)
        ]
    starts += [0] * len(sig)
    return [
        axis.cut(start, size).to_dict(i, size, i < n_nav)
        for i, (axis, start, size) in enumerate(
            zip([*nav, *sig], starts, source.shape, strict=True)
        )
    ]


def _mirrored(sig: list[Axis], recording: Recording, arranged: Arranged) -> list[Axis]:
    """Let the zero of axes, such as the direct beam, stay at its place in mirrored frames."""
    turn, frames = arranged.turn, arranged.source.frames
    flipped = arranged.flip_y not in (None, recording.frames.upside_down)
    reverse = (
        turn.rows != (flipped and not turn.exchanged),
        turn.columns != (flipped and turn.exchanged),
    )
    while isinstance(frames, (Binned, Cropped)):
        frames = frames.frames
    shape = frames.frame_shape
    return [
        axis.mirrored(size) if mirror else axis
        for axis, size, mirror in zip(sig, shape, reverse, strict=True)
    ]


def _provenance(recording: Recording, arranged: Arranged) -> dict[str, Any]:
    """Describe how the data came about, for ``original_metadata``."""
    scan, flip_y, roi_index = arranged.scan, arranged.flip_y, arranged.roi_index
    frames = arranged.source.frames
    result: dict[str, Any] = {
        "version": __version__,
        "format": recording.format,
        "files": list(recording.files[:1000]),
        "scan": scan.describe(),
        "frames": {
            **({"announced": recording.announced} if recording.announced else {}),
            **(scan.counts or {}),
        },
    }
    if flip_y is not None:
        result["orientation"] = {"flip_y": flip_y}
    if turn := arranged.turn:
        # rows and columns were exchanged first, then each was reversed
        turned = {"exchanged": turn.exchanged, "rows": turn.rows, "columns": turn.columns}
        result["orientation"] = {**result.get("orientation", {}), "turned": turned}
    if arranged.isig:
        result["isig"] = [[part.start, part.stop] for part in arranged.isig[::-1]]
    if arranged.inav:
        result["inav"] = [[part.start, part.stop] for part in arranged.inav[::-1]]
    if arranged.binned != (1, 1):
        result["binned"] = list(arranged.binned)
    if roi_index is not None:
        result["roi_flat_index"] = roi_index
    if recording.annotation is not None and recording.annotation.values:
        result["side_file"] = recording.annotation.describe()
    if (mask := arranged.missing_mask) is not None:
        result["missing_mask"] = mask
    while isinstance(frames, (Turned, Cropped, Binned)):
        frames = frames.frames
    if isinstance(frames, Corrected):
        applied = frames.corrections
        result["corrections"] = {
            "dark": applied.dark is not None,
            "gain": applied.gain is not None,
            "excluded_pixels": 0 if applied.excluded is None else int(applied.excluded.sum()),
        }
    return result
