# SPDX-License-Identifier: GPL-3.0-or-later
"""From stored frames to scan positions: the definition that all formats share."""

from __future__ import annotations

import logging
import math
import os
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, warn
from rsciio_tem.frames.protocol import FrameIndex
from rsciio_tem.scan.placement import Placement
from rsciio_tem.scan.scan import ScanHint, ScanRequest
from rsciio_tem.scan.words import places, plural, size

__all__ = ["frames_at_positions", "map_frames", "map_placement"]

_logger = logging.getLogger(__name__)

# ---------------------------------------------------------------- frame mapping


def map_frames(
    stored: int,
    request: ScanRequest,
    *,
    hint: ScanHint | None = None,
    layers: int = 1,
    start: int = 0,
    path: str | os.PathLike[str] = "<array>",
) -> tuple[tuple[int, ...], FrameIndex, dict[str, Any]]:
    """Map scan positions to stored frames.

    Position i takes the frame ``first_frame + i + sync_offset``, if that is one of the selected
    frames; otherwise nothing was recorded for it. With frames recorded during flyback, i counts
    them as well.

    Parameters
    ----------
    stored : int
        Number of stored frames.
    request : ScanRequest
        What the caller asked for.
    hint : ScanHint, optional
        The shape to use when the caller gave none; None means a flat stack.
    layers : int
        Frames recorded one after the other at each position (energy thresholds, counters).
    start : int
        The sync_offset if the caller gave none.
    path : path
        For messages.

    Returns
    -------
    shape : tuple of int
    index : slice or ndarray
    counts : dict

    Raises
    ------
    FormatError
        Nothing is left to read, or frames are missing and ``missing="raise"``.
    """
    first, last, _ = slice(request.first_frame, request.last_frame).indices(stored)
    available = (last - first) // layers
    if available <= 0:
        raise FormatError(
            path,
            f"first_frame={request.first_frame}, last_frame={request.last_frame} select nothing "
            f"from {stored} stored frames.",
        )
    offset = start if request.sync_offset is None else request.sync_offset
    explicit = request.shape is not None
    shape = request.shape
    line = column = 0
    if shape is None and hint is not None and hint.shape:
        shape, offset = hint.shape, offset + hint.start
        line, column = hint.line_length, hint.column
    elif explicit and hint is not None and hint.line:
        # the caller gave the shape, the times say where flyback frames are
        offset, line, column = offset + hint.start, hint.line, hint.column
    if shape is None:
        count = available - offset
        if count <= 0 or offset <= -count:
            raise FormatError(path, f"sync_offset={offset} leaves none of {available} frames.")
        shape = (count,)
    if line and shape[-1] == -1:  # what is kept of each stored line
        shape = (*shape[:-1], line - column)
    extra = line - shape[-1] if line else request.line_skip
    if extra < 0:
        raise FormatError(path, f"lines of {line} stored frames do not hold {shape[-1]} positions.")
    shape = _resolve_unknown(shape, available - offset - column, extra, request, path)
    columns = shape[-1]
    line = columns + extra
    lines = math.prod(shape[:-1])
    if request.snake and lines < 2 and len(shape) < 2:
        raise FormatError(
            path, "snake=True needs a scan shape with lines.", "Pass navigation_shape=(x, y)."
        )

    def source_of(position: int) -> int:
        return position // columns * line + column + position % columns + offset

    positions = lines * columns
    # positions whose frame exists form one contiguous range
    begin = _first_position(lambda p: source_of(p) >= 0, positions)
    end = _first_position(lambda p: source_of(p) >= available, positions)
    nothing = FormatError(
        path,
        f"no frame is left: {plural(available, 'frame')}, a scan of {_named(shape, request)}, "
        f"sync_offset {offset}.",
        "Pass another sync_offset or navigation_shape.",
    )
    if end <= begin:
        raise nothing
    lacking = positions > end
    shape, positions, flat = _treat_missing(shape, positions, end, request, available, path)
    if positions <= begin:  # the only frames were in the line that is not complete
        raise nothing
    snake = request.snake and not flat  # a stack is in the order of recording
    wound = request.winding is not None and not flat
    if wound and len(shape) < 2:
        raise FormatError(path, "winding_scan_axis needs a scan shape with lines.")
    end = min(end, positions)
    used_to = source_of(end - 1) + 1
    counts = {
        "stored": stored,
        "first": first,
        "last": last,
        "skipped_start": max(0, min(offset, available)),
        "inserted_start": begin,
        "inserted_end": positions - end,
        "skipped_in_lines": (line - columns) * (math.prod(shape[:-1]) - 1) if line > columns else 0,
        "ignored_end": max(0, available - used_to),
        "complete": begin == 0 and end == positions,
    }
    # what was cut off with an incomplete line has been told
    _report(counts, positions, explicit or lacking, request, path)

    simple = line == columns and layers == 1 and not snake and not wound
    if simple and begin == 0 and end == positions:
        return shape, slice(first + offset, first + offset + positions), counts
    index = np.arange(positions, dtype=np.int64)
    if snake:
        index = _snaked(index, columns)
    index = index // columns * line + column + index % columns + offset
    index[(index < 0) | (index >= available)] = -1
    if wound:
        index = _wound(index.reshape(shape), request).reshape(-1)
    return (*_of_layers(index, shape, layers, first), counts)


def map_placement(
    stored: int,
    request: ScanRequest,
    shape: tuple[int, ...],
    placement: Placement,
    *,
    column: int = 0,
    layers: int = 1,
    path: str | os.PathLike[str] = "<array>",
) -> tuple[tuple[int, ...], FrameIndex, dict[str, Any]]:
    """Map scan positions to frames that were put into lines one by one.

    Positions that no frame was recorded for are blank; those at the end are treated as by
    `map_frames`. Complete lines stay where they are, whatever is missing before them.

    Parameters
    ----------
    stored : int
        Number of stored frames.
    request : ScanRequest
        What the caller asked for.
    shape : tuple of int
        Scan shape; the last axis may be narrower than the stored lines.
    placement : Placement
        Where frames belong, counted from ``first_frame``.
    column : int
        First column kept of each stored line.
    layers, path
        As in `map_frames`.

    Returns
    -------
    shape, index, counts
        As `map_frames`; ``counts["blank"]`` has the number of positions without a frame that lie
        between recorded ones.
    """
    first, last, _ = slice(request.first_frame, request.last_frame).indices(stored)
    available = (last - first) // layers
    *slow, columns = shape
    length, lines = placement.length, math.prod(slow)
    if placement.slots < lines * length and lines * columns > 1000 * (available + 1000):
        raise FormatError(
            path,
            f"a scan of {lines * columns} positions, {_named(shape, request)}, for {available} "
            "frames cannot be right.",
            "Pass a smaller navigation_shape, or -1 for its slow axis.",
        )
    if request.sync_offset:
        placement = placement.shifted(request.sync_offset)
    grid = placement.frames(lines * length).reshape(lines, length)[:, column : column + columns]
    index = grid.reshape(-1)
    recorded = np.flatnonzero(index >= 0)
    if not len(recorded):
        raise FormatError(
            path, f"no frame is left of {available} for a scan of {_named(shape, request)}."
        )
    end = int(recorded[-1]) + 1
    if request.missing == "raise" and len(recorded) < len(index):
        raise FormatError(
            path,
            f"{len(index) - len(recorded)} of {len(index)} scan positions, "
            f"{_named(shape, request)}, were not recorded: {places(_blanks_of(index), columns)}.",
            'Pass missing="fill" or missing="crop", or another navigation_shape.',
        )
    shape, positions, flat = _treat_missing(shape, len(index), end, request, available, path)
    if request.missing == "crop" and not flat and len(shape) > 1:
        slab = positions // shape[0]
        skipped = -(-int(recorded[0]) // slab) if recorded[0] else 0
        if recorded[0] and skipped < shape[0]:
            index, shape = index[skipped * slab :], (shape[0] - skipped, *shape[1:])
            positions -= skipped * slab
    index = index[:positions]
    inside = index[index >= 0]
    end = min(end, positions)
    begin = int(np.argmax(index >= 0))
    used = np.zeros(available, np.bool_)
    used[inside] = True
    low, high = int(inside.min()), int(inside.max())
    counts = {
        "stored": stored,
        "first": first,
        "last": last,
        "skipped_start": low,
        "inserted_start": begin,
        "inserted_end": positions - end,
        "skipped_in_lines": int(np.count_nonzero(~used[low : high + 1])),
        "ignored_end": available - 1 - high,
        "blank": int(np.count_nonzero(index[begin:end] < 0)),
        "complete": bool((index >= 0).all()),
    }
    if counts["blank"]:
        blanks = [b for b in _blanks_of(index[:end]) if b[0] >= begin]
        were, are = ("was", "is") if counts["blank"] == 1 else ("were", "are")
        warn(
            path,
            f"{counts['blank']} of {positions} scan positions {were} not recorded and {are} blank: "
            f"{places(blanks, columns)}.",
        )
    if request.snake and not flat:
        index = index[_snaked(np.arange(positions), columns)]
    if request.winding is not None and not flat:
        index = _wound(index.reshape(shape), request).reshape(-1)
    return (*_of_layers(index, shape, layers, first), counts)


def _blanks_of(index: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return first place and number of the stretches without a frame."""
    edges = np.diff(np.concatenate([[0], (index < 0).astype(np.int8), [0]]))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return list(zip(begins.tolist(), (ends - begins).tolist(), strict=True))


def _snaked(index: npt.NDArray[np.int64], columns: int) -> npt.NDArray[np.int64]:
    """Reverse every second line."""
    grid = index.reshape(-1, columns).copy()
    grid[1::2] = grid[1::2, ::-1]
    return grid.reshape(-1)


def _of_layers(
    index: npt.NDArray[np.int64], shape: tuple[int, ...], layers: int, first: int
) -> tuple[tuple[int, ...], npt.NDArray[np.int64]]:
    """Turn positions into stored frames; several frames per position are a leading axis."""
    if layers > 1:
        index = np.where(index < 0, -1, index * layers)
        index = np.where(index < 0, -1, index + np.arange(layers)[:, np.newaxis]).reshape(-1)
        shape = (layers, *shape)
    return shape, np.where(index < 0, -1, index + first)


def _wound(index: npt.NDArray[np.int64], request: ScanRequest) -> npt.NDArray[np.int64]:
    """Reverse every second line or column, the first one included, and shift it by the hysteresis.

    The shift goes around: what leaves a line at one end comes in at the other.
    """
    axis, slow = (-1, -2) if request.winding == "x" else (-2, -1)
    turned = [slice(None)] * index.ndim
    turned[slow] = slice(None, None, 2)
    index = index.copy()
    part = np.flip(index[tuple(turned)], axis)
    index[tuple(turned)] = np.roll(part, request.hysteresis, axis)
    return index


def frames_at_positions(
    positions: npt.NDArray[np.int64],
    stored: npt.NDArray[np.int64],
    size: int,
    keep: Literal["first", "last"] = "first",
) -> npt.NDArray[np.int64]:
    """Return which stored frame belongs to each of `size` positions, -1 where there is none.

    Parameters
    ----------
    positions : ndarray
        Position of each frame, 0 to size - 1.
    stored : ndarray
        Number of each frame, in the order of recording.
    size : int
        Number of positions.
    keep : {"first", "last"}
        Which of several frames at the same position counts.
    """
    index = np.full(size, -1, np.int64)
    step = -1 if keep == "first" else 1  # of equal positions, the last one written stays
    index[positions[::step]] = stored[::step]
    return index


def _first_position(reached: Any, positions: int) -> int:
    """Return the first position for which the monotonic `reached` holds, by bisection."""
    low, high = 0, positions
    while low < high:
        middle = (low + high) // 2
        if reached(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _named(shape: tuple[int, ...], request: ScanRequest) -> str:
    """Say a shape in the order in which the caller says shapes."""
    return size(shape, None if request.shape is None else request.hyperspy_order)


def _resolve_unknown(
    shape: tuple[int, ...],
    available: int,
    extra: int,
    request: ScanRequest,
    path: str | os.PathLike[str],
) -> tuple[int, ...]:
    """Replace the -1 in a shape; `extra` stored frames of each line are not part of it."""
    if any(n == 0 or n < -1 for n in shape) or shape.count(-1) > 1:
        raise FormatError(
            path,
            f"{_named(shape, request)} is not a scan shape.",
            "Sizes are positive; one may be -1 for 'all'.",
        )
    if -1 not in shape:
        return shape
    other_axes = math.prod(n for n in shape if n != -1)
    if shape[-1] != -1:
        # a line's frames beyond its columns need not exist for the last line
        columns = shape[-1]
        largest = max(0, (available - columns) // (columns + extra) + 1) * columns // other_axes
    else:
        largest = (available + extra) // other_axes - extra
    if largest <= 0:
        raise FormatError(
            path,
            f"{available} frames do not fill a single line of the scan {_named(shape, request)}.",
        )
    used = largest * other_axes
    filled = tuple(largest if n == -1 else n for n in shape)
    if request.shape is not None and used < available and not extra:
        warn(
            path,
            f"{available - used} of {available} frames dropped: the scan shape "
            f"{_named(filled, request)} holds complete lines only.",
        )
    return filled


def _treat_missing(
    shape: tuple[int, ...],
    positions: int,
    end: int,
    request: ScanRequest,
    available: int,
    path: str | os.PathLike[str],
) -> tuple[tuple[int, ...], int, bool]:
    """Apply the ``missing`` rule; returns shape, number of positions, and whether it fell flat."""
    lacking = positions - end
    if not lacking:
        return shape, positions, False
    mode = request.missing
    if mode == "auto":
        wants_all = request.shape is not None and not request.hyperspy_order
        mode = "fill" if wants_all or request.sync_offset else "crop"
    if mode == "raise":
        raise FormatError(
            path,
            f"{lacking} of {positions} scan positions, {_named(shape, request)}, were not recorded "
            f"({plural(available, 'frame')}).",
            'Pass missing="fill" or missing="crop", or another navigation_shape.',
        )
    if mode == "fill":
        if positions > 1000 * (available + 1000):
            raise FormatError(
                path,
                f"a scan of {positions} positions, {_named(shape, request)}, for {available} "
                "frames cannot be right.",
                "Pass a smaller navigation_shape, or -1 for its slow axis.",
            )
        warn(path, f"{lacking} of {positions} scan positions were not recorded and are filled.")
        return shape, positions, False
    per_slowest = positions // shape[0]
    complete = end // per_slowest if len(shape) > 1 else 0
    if complete:
        dropped = end - complete * per_slowest
        part = "line" if len(shape) == 2 else "scan"
        are = "is" if dropped == 1 else "are"
        warn(
            path,
            f"only {complete} of {shape[0]} {part}s are complete; "
            f"the scan shape is {_named((complete, *shape[1:]), request)}"
            + (
                f", {plural(dropped, 'frame')} of the next {part} {are} dropped."
                if dropped
                else "."
            ),
        )
        return (complete, *shape[1:]), complete * per_slowest, False
    warn(
        path,
        f"{plural(end, 'frame')} {'does' if end == 1 else 'do'} not fill one line of the scan "
        f"{_named(shape, request)}; they are returned as a flat stack.",
    )
    return (end,), end, True


def _report(
    counts: dict[str, Any],
    positions: int,
    explicit: bool,
    request: ScanRequest,
    path: str | os.PathLike[str],
) -> None:
    name = os.fspath(path)
    if counts["inserted_start"]:
        _logger.info(
            "%s: %d blank frames inserted before the first", name, counts["inserted_start"]
        )
    if ignored := counts["ignored_end"]:
        asked = explicit or request.sync_offset or counts["skipped_in_lines"]
        if asked:
            _logger.info("%s: %d frames after the scan are not used", name, ignored)
        else:
            warn(
                path,
                f"{ignored} of {counts['stored']} frames lie beyond the scan of "
                f"{positions} positions that the file describes, and are not used.",
            )
