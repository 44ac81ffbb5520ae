# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the proposed scans is taken."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from rsciio_tem.errors import FormatError, warn
from rsciio_tem.scan.mapping import map_frames
from rsciio_tem.scan.scan import RULES, Flyback, Missing, Scan, ScanHint, ScanRequest
from rsciio_tem.scan.times import Times, guess_lines

__all__ = ["decimated", "propose", "resolve_scan"]

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
    hypotheses = list(hints) if rule in ("auto", "header") else []
    if times is not None and n > 1:
        if rule in ("exposures", "timestamps") or (
            rule == "auto" and (search_times or not hypotheses)
        ):
            guess = guess_lines(times, first, last, rule)
            if guess is not None:
                lines = -(-(n - guess.start) // guess.length)
                shape = (lines, guess.length)
                hypotheses.append(
                    ScanHint(
                        guess.rule,
                        shape,
                        guess.confidence,
                        guess.reason,
                        start=guess.start,
                    )
                )
        elif rule == "rosettasciio":
            hypotheses = _rosettasciio(n, hints, times, first, last)
    side = math.isqrt(max(n, 0))
    if side * side == n and side > 1 and rule in ("auto", "square"):
        hypotheses.append(
            ScanHint("square", (side, side), 0.05, f"{n} frames are a perfect square ({side}²)")
        )
    if rule in ("auto", "stack", "rosettasciio"):
        reason = "as asked" if rule == "stack" else "nothing tells a scan shape"
        sure = n == 1 and not any(math.prod(h.shape) == 1 for h in hypotheses)
        hypotheses.append(ScanHint("stack", (), 1.0 if sure else 0.5, reason))
    return sorted(hypotheses, key=lambda h: -h.confidence)


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
    first_of_stack: int = 0,
    first_of_scan: int = 0,
    path: str | os.PathLike[str] = "<array>",
) -> Scan:
    """Decide how `count` stored frames are arranged.

    A stack begins with frame `first_of_stack`, a scan with `first_of_scan`, if the caller gives
    neither ``sync_offset`` nor ``first_frame``.

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
    if request.first_frame is not None:
        first_of_stack = first_of_scan = 0
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
            start=first_of_scan if len(request.shape) > 1 else first_of_stack,
            path=path,
        )
        return Scan(shape, index, asked, (), counts)

    hypotheses = propose(
        count // layers,
        hints,
        times,
        first=first // layers,
        last=last // layers,
        rule=request.rule,
        search_times=request.flyback == "drop",
    )
    chosen: ScanHint | None = next((h for h in hypotheses if h.rule != "square"), None)
    if request.rule == "square":
        chosen = next((h for h in hypotheses if h.rule == "square"), None)
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
            chosen = _flyback_columns([chosen, *hypotheses], path, columns=None)
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
        start=first_of_stack if hint is None else first_of_scan,
        path=path,
    )
    if hint is None and shape == (1,) and layers == 1:
        shape = ()
    others = tuple(
        h for h in hypotheses if h is not chosen and h.shape != (chosen.shape if chosen else 0)
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
    hypotheses: Sequence[ScanHint], path: str | os.PathLike[str], columns: int | None
) -> ScanHint:
    """Leave out the frames recorded while the beam flew back.

    A header that names a narrower scan than the stored lines decides; otherwise it is the
    over-exposed first frame of each line.
    """
    for hint in hypotheses:
        if hint.shape and hint.line_length > hint.shape[-1]:
            return hint
    for hint in hypotheses:
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
