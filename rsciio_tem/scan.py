# SPDX-License-Identifier: GPL-3.0-or-later
"""How the frames of a recording are arranged: the scan shape, its evidence, and the frame mapping.

`resolve_scan` is the one place, for every format, where a shape is decided. What the user says
wins; then what the file's header says; then what the frame times show. A perfect square is never
assumed unless asked for. The result is an index into the stored frames, with -1 for positions
that no frame was recorded for.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, warn
from rsciio_tem.frames import FrameIndex
from rsciio_tem.times import Times, guess_lines

__all__ = [
    "Flyback",
    "Missing",
    "Scan",
    "ScanHint",
    "ScanRequest",
    "decimated",
    "map_frames",
    "place",
    "propose",
    "resolve_scan",
]

_logger = logging.getLogger(__name__)

Missing = Literal["auto", "fill", "crop", "raise"]
Flyback = Literal["auto", "keep", "drop"]

#: Names that the keyword ``scan`` takes.
RULES = ("auto", "header", "exposures", "timestamps", "square", "stack", "rosettasciio")


@dataclass(frozen=True)
class ScanHint:
    """A scan shape that something in the recording speaks for.

    Parameters
    ----------
    rule : str
        Which rule found it: "header", "trigger", "exposures", "timestamps", "square", "stack".
    shape : tuple of int
        Array order, slow axis first.
    confidence : float
        0 to 1.
    reason : str
        What was seen, in words.
    start : int
        Stored frame at which the first line begins.
    line : int
        Stored frames per line; more than ``shape[-1]`` where frames are recorded during flyback.
    column : int
        First kept frame of each stored line.
    """

    rule: str
    shape: tuple[int, ...]
    confidence: float
    reason: str
    start: int = 0
    line: int = 0
    column: int = 0

    @property
    def line_length(self) -> int:
        """Stored frames per line."""
        return self.line or (self.shape[-1] if self.shape else 1)

    def describe(self) -> dict[str, Any]:
        """Return the hint as plain values for ``original_metadata`` and JSON."""
        return {
            "rule": self.rule,
            "shape": list(self.shape),
            "confidence": self.confidence,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class ScanRequest:
    """What the caller asked for; see ``docs/parameters.md``."""

    shape: tuple[int, ...] | None = None  # array order, one -1 allowed
    hyperspy_order: bool = False  # whether it was given as navigation_shape
    first_frame: int | None = None
    last_frame: int | None = None
    sync_offset: int | None = None  # None: where the recording itself says that it begins
    missing: Missing = "auto"
    rule: str = "auto"
    flyback: Flyback = "auto"
    line_skip: int = 0
    snake: bool = False
    winding: Literal["x", "y"] | None = None  # as RosettaSciIO: the first line is reversed
    hysteresis: int = 0


@dataclass(frozen=True)
class Scan:
    """The decided arrangement of frames.

    Parameters
    ----------
    shape : tuple of int
        Scan shape in array order, leading layer axis included.
    index : slice or ndarray of int64
        Position in the scan (flattened) to stored frame; -1 where there is none.
    evidence : ScanHint
        What decided.
    alternatives : tuple of ScanHint
        What else would have been possible.
    counts : dict
        Frames stored, used, skipped, inserted, ignored.
    """

    shape: tuple[int, ...]
    index: FrameIndex
    evidence: ScanHint
    alternatives: tuple[ScanHint, ...] = ()
    counts: dict[str, Any] | None = None

    @property
    def missing_mask(self) -> npt.NDArray[np.bool_] | None:
        """Where no frame was recorded, shape of the scan; None if nothing is missing."""
        if isinstance(self.index, slice) or not (self.index < 0).any():
            return None
        return (self.index < 0).reshape(self.shape)


# ---------------------------------------------------------------- frame mapping


def map_frames(
    stored: int,
    request: ScanRequest,
    *,
    hint: ScanHint | None = None,
    layers: int = 1,
    begin: int = 0,
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
    begin : int
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
    offset = begin if request.sync_offset is None else request.sync_offset
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
    shape = _resolve_unknown(shape, available - offset - column, extra, explicit, path)
    columns = shape[-1]
    line = columns + extra
    lines = math.prod(shape[:-1])
    if request.snake and lines < 2 and len(shape) < 2:
        raise FormatError(path, "snake=True needs a scan shape with lines.", "Pass nav_shape.")

    def source_of(position: int) -> int:
        return position // columns * line + column + position % columns + offset

    positions = lines * columns
    # positions whose frame exists form one contiguous range
    begin = _first_position(lambda p: source_of(p) >= 0, positions)
    end = _first_position(lambda p: source_of(p) >= available, positions)
    nothing = FormatError(
        path,
        f"no frame is left: {available} frames, scan shape {shape}, sync_offset {offset}.",
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
        grid = index.reshape(-1, columns)
        grid[1::2] = grid[1::2, ::-1]
        index = grid.reshape(-1)
    index = index // columns * line + column + index % columns + offset
    index[(index < 0) | (index >= available)] = -1
    if wound:
        index = _wound(index.reshape(shape), request).reshape(-1)
    if layers > 1:
        index = np.where(index < 0, -1, index * layers)
        index = np.where(index < 0, -1, index + np.arange(layers)[:, np.newaxis]).reshape(-1)
        shape = (layers, *shape)
    return shape, np.where(index < 0, -1, index + first), counts


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


def place(
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


def _resolve_unknown(
    shape: tuple[int, ...],
    available: int,
    extra: int,
    explicit: bool,
    path: str | os.PathLike[str],
) -> tuple[int, ...]:
    """Replace the -1 in a shape; `extra` stored frames of each line are not part of it."""
    if any(n == 0 or n < -1 for n in shape) or shape.count(-1) > 1:
        raise FormatError(
            path, f"{shape} is not a scan shape.", "Sizes are positive; one may be -1 for 'all'."
        )
    if -1 not in shape:
        return shape
    known = math.prod(n for n in shape if n != -1)
    if shape[-1] != -1:
        # a line's frames beyond its columns need not exist for the last line
        columns = shape[-1]
        found = max(0, (available - columns) // (columns + extra) + 1) * columns // known
    else:
        found = (available + extra) // known - extra
    if found <= 0:
        raise FormatError(
            path, f"{available} frames do not fill a single line of the scan shape {shape}."
        )
    used = found * known
    if explicit and used < available and not extra:
        warn(
            path,
            f"{available - used} of {available} frames dropped: the scan shape "
            f"{tuple(found if n == -1 else n for n in shape)} holds complete lines only.",
        )
    return tuple(found if n == -1 else n for n in shape)


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
            f"{lacking} of {positions} scan positions {shape} were not recorded "
            f"({available} frames).",
            'Pass missing="fill" or missing="crop", or another navigation_shape.',
        )
    if mode == "fill":
        if positions > 1000 * (available + 1000):
            raise FormatError(
                path,
                f"a scan of {positions} positions {shape} for {available} frames is a mistake.",
                "Pass a smaller navigation_shape, or -1 for its slow axis.",
            )
        warn(path, f"{lacking} of {positions} scan positions were not recorded and are filled.")
        return shape, positions, False
    per_slowest = positions // shape[0]
    complete = end // per_slowest if len(shape) > 1 else 0
    if complete:
        dropped = end - complete * per_slowest
        warn(
            path,
            f"only {complete} of {shape[0]} lines are complete; "
            f"the scan shape is {(complete, *shape[1:])}"
            + (f", {dropped} frames of the next line are dropped." if dropped else "."),
        )
        return (complete, *shape[1:]), complete * per_slowest, False
    warn(
        path,
        f"{end} frames do not fill one line of the scan shape {shape}; "
        "they are returned as a flat stack.",
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


# ---------------------------------------------------------------- deciding


def propose(
    count: int,
    hints: Sequence[ScanHint] = (),
    times: Times | None = None,
    *,
    first: int = 0,
    last: int | None = None,
    rule: str = "auto",
    search_times: bool = True,
) -> list[ScanHint]:
    """List the scan shapes a recording may have, most credible first.

    Parameters
    ----------
    count : int
        Number of stored positions.
    hints : sequence of ScanHint
        What the header says.
    times : Times, optional
        Access to per-frame times.
    first, last : int
        Range of stored frames the shape is for.
    rule : str
        Restrict to one rule; "auto" for all.
    search_times : bool
        Whether the times are looked at even when the header already names a shape.

    Returns
    -------
    list of ScanHint
        The last one is always the flat stack.
    """
    last = count if last is None else last
    n = last - first
    found = list(hints) if rule in ("auto", "header") else []
    if times is not None and n > 1:
        if rule in ("exposures", "timestamps") or (rule == "auto" and (search_times or not found)):
            guess = guess_lines(times, first, last, rule)
            if guess is not None:
                lines = -(-(n - guess.start) // guess.length)
                shape = (lines, guess.length)
                found.append(
                    ScanHint(
                        guess.rule,
                        shape,
                        guess.confidence,
                        guess.reason,
                        start=guess.start,
                    )
                )
        elif rule == "rosettasciio":
            found = _rosettasciio(n, hints, times, first, last)
    side = math.isqrt(max(n, 0))
    if side * side == n and side > 1 and rule in ("auto", "square"):
        found.append(
            ScanHint("square", (side, side), 0.05, f"{n} frames are a perfect square ({side}²)")
        )
    if rule in ("auto", "stack", "rosettasciio"):
        reason = "as asked" if rule == "stack" else "nothing tells a scan shape"
        sure = n == 1 and not any(math.prod(h.shape) == 1 for h in found)
        found.append(ScanHint("stack", (), 1.0 if sure else 0.5, reason))
    return sorted(found, key=lambda h: -h.confidence)


def _rosettasciio(
    n: int, hints: Sequence[ScanHint], times: Times, first: int, last: int
) -> list[ScanHint]:
    """Decide as RosettaSciIO 0.15 does: the first step longer than the mean ends the first line.

    Kept for reproducing what was loaded with it; the jitter of the camera's clock can decide.
    """
    trigger = [h for h in hints if h.rule == "trigger"]
    if trigger:
        return trigger
    steps = np.diff(times.read(first, min(last, first + 10_000)).time_ns)
    late = np.flatnonzero(steps > steps.mean()) if len(steps) else steps
    if not len(late):
        return []
    line = int(late[0]) + 1
    if n // line < 1:
        return []
    return [ScanHint("rosettasciio", (n // line, line), 0.9, "first time step above the mean")]


def resolve_scan(
    count: int,
    request: ScanRequest,
    hints: Sequence[ScanHint] = (),
    times: Times | None = None,
    *,
    layers: int = 1,
    begin: tuple[int, int] = (0, 0),
    path: str | os.PathLike[str] = "<array>",
) -> Scan:
    """Decide how `count` stored frames are arranged.

    `begin` is the frame with which a stack, and a scan, begin if the caller gives neither
    ``sync_offset`` nor ``first_frame``.

    Order of trust: the caller's shape; the header; flyback exposures; line ends in the
    timestamps; otherwise a flat stack. A perfect square is only proposed, never taken, unless
    ``scan="square"`` asks for it.

    Raises
    ------
    FormatError
        The asked rule finds nothing, or nothing is left to read.
    """
    if request.rule not in RULES:
        raise ValueError(f"scan={request.rule!r} is none of {', '.join(RULES)}")
    if request.missing not in get_args(Missing):
        raise ValueError(f"missing={request.missing!r} is none of {', '.join(get_args(Missing))}")
    if request.flyback not in get_args(Flyback):
        raise ValueError(f"flyback={request.flyback!r} is none of {', '.join(get_args(Flyback))}")
    first, last, _ = slice(request.first_frame, request.last_frame).indices(count)
    of_stack, of_scan = begin if request.first_frame is None else (0, 0)
    if layers > 1:
        times = decimated(times, layers)
    if request.shape is not None:
        asked = ScanHint("argument", request.shape, 1.0, "given by the caller")
        hint = None
        if request.flyback == "drop":
            hint = _flyback_columns(
                propose(count // layers, hints, times, first=first // layers, last=last // layers),
                path,
                columns=request.shape[-1] if request.shape[-1] != -1 else None,
            )
        shape, index, counts = map_frames(
            count,
            request,
            hint=hint,
            layers=layers,
            begin=of_scan if len(request.shape) > 1 else of_stack,
            path=path,
        )
        return Scan(shape, index, asked, (), counts)

    found = propose(
        count // layers,
        hints,
        times,
        first=first // layers,
        last=last // layers,
        rule=request.rule,
        search_times=request.flyback == "drop",
    )
    chosen: ScanHint | None = next((h for h in found if h.rule != "square"), None)
    if request.rule == "square":
        chosen = next((h for h in found if h.rule == "square"), None)
        if chosen is not None:
            warn(path, f"the scan is taken to be {chosen.shape} only because {chosen.reason}.")
    if chosen is None:
        raise FormatError(
            path,
            f'scan="{request.rule}" finds no scan shape for {last - first} frames.',
            f"Candidates: {_list(propose(count, hints, times, first=first, last=last))}. "
            "Pass navigation_shape=(x, y).",
        )
    if chosen.confidence >= 0.5 and chosen.shape:
        if request.flyback == "drop":
            chosen = _flyback_columns([chosen, *found], path, columns=None)
        elif request.line_skip:
            columns = chosen.line_length - request.line_skip
            if columns < 1:
                raise FormatError(
                    path,
                    f"line_skip={request.line_skip} leaves nothing of lines of "
                    f"{chosen.line_length} frames.",
                )
            chosen = replace(chosen, shape=(*chosen.shape[:-1], columns), line=chosen.line_length)
        elif chosen.line_length > chosen.shape[-1] and request.flyback == "keep":
            chosen = replace(
                chosen, shape=(*chosen.shape[:-1], chosen.line_length), line=0, column=0
            )
        elif chosen.line_length > chosen.shape[-1]:
            chosen = _aligned(chosen, times, first // layers, last // layers)
    # a single frame, or no evidence at all: no hint
    hint = chosen if chosen is not None and chosen.shape else None
    if hint is not None and hint.shape == (count // layers,) and count > layers:
        hint = None  # a line that holds every frame says no more than a stack does
    shape, index, counts = map_frames(
        count,
        replace(request, line_skip=0),
        hint=hint,
        layers=layers,
        begin=of_stack if hint is None else of_scan,
        path=path,
    )
    if hint is None and shape == (1,) and layers == 1:
        shape = ()
    others = tuple(
        h for h in found if h is not chosen and h.shape != (chosen.shape if chosen else 0)
    )
    assert chosen is not None
    return Scan(shape, index, chosen, others, counts)


def _aligned(hint: ScanHint, times: Times | None, first: int, last: int) -> ScanHint:
    """Find where in the stored lines the flyback frames are; without evidence, at their ends."""
    guess = guess_lines(times, first, last, "exposures") if times is not None else None
    if guess is None or guess.length != hint.line_length:
        return hint
    # the over-exposed frame opens the line; the scan proper follows it
    return replace(
        hint,
        start=guess.start,
        column=hint.line_length - hint.shape[-1],
        reason=f"{hint.reason}; {guess.reason}",
    )


def _flyback_columns(
    found: Sequence[ScanHint], path: str | os.PathLike[str], columns: int | None
) -> ScanHint:
    """Leave out the frames recorded while the beam flew back.

    A header that names a narrower scan than the stored lines decides; otherwise it is the
    over-exposed first frame of each line.
    """
    for hint in found:
        if hint.shape and hint.line_length > hint.shape[-1]:
            return hint
    for hint in found:
        if hint.rule == "exposures":
            width = hint.line_length - 1 if columns is None else columns
            if width < hint.line_length:
                return replace(
                    hint,
                    shape=(*hint.shape[:-1], width),
                    line=hint.line_length,
                    column=hint.line_length - width,
                )
    raise FormatError(
        path,
        'flyback="drop": no flyback frames are seen in the exposure times.',
        "Pass navigation_shape=(x, y) with line_skip= the number of extra frames per line.",
    )


def decimated(times: Times | None, layers: int) -> Times | None:
    """See only the first layer of each position."""
    if times is None:
        return None

    def read(first: int, last: int, source: Times = times) -> Any:
        part = source.read(first * layers, last * layers)
        return type(part)(
            part.time_ns[::layers],
            part.exposure_ns[::layers],
            part.sequence[::layers],
            part.counter[::layers],
        )

    return replace(times, count=times.count // layers, read=read)


def _list(hints: Sequence[ScanHint]) -> str:
    return "; ".join(f"{h.rule} {h.shape or 'flat'} ({h.reason})" for h in hints) or "none"
