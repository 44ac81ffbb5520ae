# SPDX-License-Identifier: GPL-3.0-or-later
"""How the frames of a recording are arranged: evidence, the user's word, and the mapping."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from rsciio_tem.errors import FormatError, warn
from rsciio_tem.scan.claims import claims_alone, claims_of
from rsciio_tem.scan.hypotheses import Claims, flyback_columns
from rsciio_tem.scan.mapping import map_frames, map_placement
from rsciio_tem.scan.placement import Placement
from rsciio_tem.scan.scan import RULES, Flyback, Missing, Scan, ScanHint, ScanRequest
from rsciio_tem.scan.survey import survey
from rsciio_tem.scan.times import FrameTimes, Ints, Times
from rsciio_tem.scan.verdict import Verdict, verdict
from rsciio_tem.scan.words import places, plural, size

__all__ = ["decimated", "propose", "resolve_scan"]


def propose(
    count: int,
    hints: Sequence[ScanHint] = (),
    times: Times | None = None,
    *,
    announced: int = 0,
    first: int = 0,
    last: int | None = None,
    rule: str = "auto",
) -> list[ScanHint]:
    """List the scan shapes a recording may have, most credible first.

    Parameters
    ----------
    count : int
        Number of stored positions.
    hints : sequence of ScanHint
        What the header says.
    times : Times, optional
        Access to what the headers of frames say.
    announced : int
        Number of frames that the recording was started for; 0 if unknown.
    first, last : int
        Range of stored frames the shape is for.
    rule : str
        Restrict to one rule; "auto" for all.

    Returns
    -------
    list of ScanHint
        With rule "auto", the flat stack is always among them.
    """
    last = count if last is None else last
    decided = _decide(hints, times, announced, first, last, rule)
    return _candidates(decided, last - first, rule)


def _candidates(decided: Verdict, n: int, rule: str) -> list[ScanHint]:
    result = [decided.hint] if decided.hint is not None else []
    result += decided.alternatives
    side = math.isqrt(max(n, 0))
    if side * side == n and side > 1 and rule in ("auto", "square"):
        reason = f"{n} frames are a perfect square ({side}²)"
        result.append(ScanHint("square", (side, side), 0.05, reason))
    named = any(hint.rule != "square" for hint in result)
    if rule in ("auto", "stack", "rosettasciio"):
        reason = (
            "as asked"
            if rule == "stack"
            else "; ".join(
                decided.remarks
                or ["one after the other" if named else "nothing tells a scan shape"]
            )
        )
        sure = n == 1 and not any(math.prod(h.shape) == 1 for h in result)
        result.append(ScanHint("stack", (), 1.0 if sure else 0.5, reason))
    return sorted(result, key=lambda hint: -hint.confidence)


def _decide(
    hints: Sequence[ScanHint],
    times: Times | None,
    announced: int,
    first: int,
    last: int,
    rule: str,
    exhaustive: bool = False,
    brief: bool = False,
) -> Verdict:
    """Weigh what there is of the kinds of evidence that a rule stands for."""
    n = last - first
    if n < 1 or rule in ("square", "stack"):
        return Verdict(None)
    if rule == "rosettasciio":
        return Verdict(None if times is None else _rosettasciio(n, hints, times, first, last))
    if rule == "content":
        return claims_alone([h for h in hints if h.rule == "content"], Claims(), n)
    heard = [h for h in hints if h.rule != "content"] if rule in ("auto", "header") else []
    strongest = max(heard, key=lambda hint: hint.confidence, default=None)
    certain = strongest is not None and (
        strongest.exact or strongest.rule == "stack" or len(strongest.shape) != 2
    )
    claims = claims_of(heard, announced, times)
    if times is None or certain or n < 4 or rule == "header":
        return claims_alone(heard, claims, n)
    if claims.external is False and _named_scan(claims, n):
        claims = replace(claims, external=None)
    if rule in ("exposures", "timestamps"):  # asked for: whatever triggered the camera
        claims = replace(claims, external=None, software=False)
    view = survey(times, first, last, claims, rule=rule, exhaustive=exhaustive, brief=brief)
    return verdict(view, claims, n)


def _named_scan(claims: Claims, n: int) -> bool:
    """Whether the name of the file and the frames per trigger say the same scan of all frames.

    Who names a file so has scanned, even if the camera was set to trigger itself.
    """
    return any(
        size.confidence < 0.8 and size.shape == trigger.shape and math.prod(size.shape) == n
        for size in claims.sizes
        for trigger in claims.per_trigger
    )


def _rosettasciio(
    n: int, hints: Sequence[ScanHint], times: Times, first: int, last: int
) -> ScanHint | None:
    """Decide as RosettaSciIO 0.15 does: the first step longer than the mean ends the first line.

    Kept for reproducing what was loaded with it; the jitter of the camera's clock can decide.
    """
    trigger = [h for h in hints if h.rule == "trigger"]
    if trigger:
        return trigger[0]
    steps = np.diff(times.read(first, min(last, first + 10_000)).time_ns)
    late = np.flatnonzero(steps > steps.mean()) if len(steps) else steps
    if not len(late):
        return None
    line = int(late[0]) + 1
    if n // line < 1:
        return None
    return ScanHint("rosettasciio", (n // line, line), 0.9, "first time step above the mean")


def resolve_scan(
    count: int,
    request: ScanRequest,
    hints: Sequence[ScanHint] = (),
    times: Times | None = None,
    *,
    announced: int = 0,
    layers: int = 1,
    first_of_stack: int = 0,
    first_of_scan: int = 0,
    exhaustive: bool = False,
    path: str | os.PathLike[str] = "<array>",
) -> Scan:
    """Decide how `count` stored frames are arranged.

    A stack begins with frame `first_of_stack`, a scan with `first_of_scan`, if the caller gives
    neither ``sync_offset`` nor ``first_frame``. With `exhaustive` all frame headers are read, else
    no more than it takes.

    A shape that the caller gives is used as it is; a warning says when the times speak clearly for
    another one. Otherwise header and side files, frame numbers, times and exposures are weighed
    against each other. A perfect square is only proposed, never taken, unless ``scan="square"``
    asks for it.

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
    begin, end = first // layers, last // layers

    if request.shape is not None:
        return _as_asked(
            count,
            request,
            hints,
            times,
            announced=announced,
            layers=layers,
            start=first_of_scan if len(request.shape) > 1 else first_of_stack,
            path=path,
        )
    decided = _decide(hints, times, announced, begin, end, request.rule, exhaustive)
    candidates = _candidates(decided, end - begin, request.rule)
    chosen: ScanHint | None = decided.hint
    if request.rule == "square":
        chosen = next((h for h in candidates if h.rule == "square"), None)
        if chosen is not None:
            warn(
                path, f"the scan is taken to be {size(chosen.shape)} only because {chosen.reason}."
            )
    elif chosen is None:
        chosen = next((h for h in candidates if h.rule == "stack"), None)
    if chosen is None:
        raise FormatError(
            path,
            f'scan="{request.rule}" finds no scan shape for {last - first} frames.',
            f"Candidates: {_list(propose(count // layers, hints, times, announced=announced))}. "
            "Pass navigation_shape=(x, y).",
        )
    placement = decided.placement
    column = 0
    if chosen.shape and chosen.rule != "stack":
        chosen, placement, column = _without_flyback(chosen, decided, request, hints, path)
    # a single frame, or no evidence at all: no hint
    hint = chosen if chosen.shape else None
    if hint is not None and hint.shape == (count // layers,) and count > layers:
        hint = None  # a line that holds every frame says no more than a stack does
    asked_begin = request.sync_offset is not None or (
        request.first_frame is not None and request.line_skip > 0
    )
    if hint is not None and placement is not None and asked_begin and not decided.marks:
        # where the scan begins is the caller's: frames are laid out one after the other from there
        hint, placement = replace(hint, start=0), None
    if hint is not None:
        _report(decided, hint, placement, end - begin, request, path)
    if (
        placement is not None
        and hint is not None
        and (not placement.rigid or placement.runs["slot"][0] > 0)
    ):
        shape, index, counts = map_placement(
            count, request, hint.shape, placement, column=column, layers=layers, path=path
        )
    else:
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
    others = tuple(h for h in candidates if h is not chosen and h.shape != chosen.shape)
    return Scan(shape, index, chosen, others, counts, decided.doubts)


def _report(
    decided: Verdict,
    hint: ScanHint,
    placement: Placement | None,
    total: int,
    request: ScanRequest,
    path: str | os.PathLike[str],
) -> None:
    """Warn of contradictions, and of frames outside of the scan or left out of it."""
    for doubt in decided.doubts:
        warn(
            path,
            f"the scan shape is uncertain ({size(hint.shape)}, "
            f"confidence {hint.confidence}): {doubt}",
        )
    as_stored = request.flyback == "auto" and not request.line_skip
    for remark in decided.remarks if as_stored else ():  # they are about flyback that is kept
        warn(path, remark)
    if placement is None or request.sync_offset:
        return
    before = int(placement.runs["frame"][0])
    before -= sum(mark < before for mark in decided.marks)
    missing = int(placement.runs["slot"][0])
    if before:
        warn(
            path,
            f"{plural(before, 'frame')} before the first line of the scan "
            f"{'is' if before == 1 else 'are'} not used.",
        )
    if missing:
        warn(
            path,
            f"the recording begins within a line: {places([(0, missing)], placement.length)} "
            f"{'was' if missing == 1 else 'were'} not recorded.",
        )
    if decided.doubled:
        named = ", ".join(str(frame) for frame in decided.doubled[:5])
        more = len(decided.doubled) - 5
        what = "repeats a number and is" if len(decided.doubled) == 1 else "repeat numbers and are"
        warn(
            path,
            f"{plural(len(decided.doubled), 'frame')} {what} left out: {named}"
            f"{f' and {more} more' if more > 0 else ''}.",
        )
    end = int((placement.runs["frame"] + placement.runs["count"]).max())
    behind = total - end - sum(mark >= end for mark in decided.marks)
    if behind and not placement.rigid:
        warn(
            path,
            f"{plural(behind, 'frame')} behind the last line of the scan "
            f"{'is' if behind == 1 else 'are'} not used.",
        )


def _without_flyback(
    chosen: ScanHint,
    decided: Verdict,
    request: ScanRequest,
    hints: Sequence[ScanHint],
    path: str | os.PathLike[str],
) -> tuple[ScanHint, Placement | None, int]:
    """Leave out, or keep, what was recorded while the beam flew back.

    Returns the scan, the placement of its frames, and the first column kept of each stored line.
    """
    placement, stored = decided.placement, chosen.line_length
    columns = chosen.shape[-1]
    if request.flyback == "keep":
        if decided.marks and placement is not None:
            placement = decided.with_marks()
            shape = (*chosen.shape[:-1], placement.length)
            reason = chosen.reason.replace("left out", "kept")
            return (
                replace(chosen, shape=shape, line=0, start=placement.start, reason=reason),
                placement,
                0,
            )
        if stored > columns:
            return replace(chosen, shape=(*chosen.shape[:-1], stored), line=0, column=0), None, 0
        return chosen, placement, 0
    if request.line_skip:
        if columns - request.line_skip < 1:
            raise FormatError(
                path,
                f"line_skip={request.line_skip} leaves nothing of lines of {columns} frames.",
            )
        shape = (*chosen.shape[:-1], columns - request.line_skip)
        return replace(chosen, shape=shape, line=stored), placement, 0
    if request.flyback == "drop" and not decided.marks and stored == columns:
        narrower = [
            h
            for h in hints
            if h.rule == "header" and h.shape and h.shape[-1] < h.line_length == stored
        ]
        if narrower:
            return narrower[0], placement, narrower[0].column
        narrow = [
            h.shape[-1]
            for h in hints
            if h.rule == "header" and h.shape and 0 < stored - h.shape[-1] <= max(3, stored // 8)
        ]
        if not narrow:
            raise _no_flyback(path)
        warn(
            path,
            f"the last {plural(stored - narrow[0], 'frame')} of each line of {stored} are left "
            "out; nothing says whether they or the first were recorded during flyback.",
        )
        return replace(chosen, shape=(*chosen.shape[:-1], narrow[0]), line=stored), placement, 0
    return chosen, placement, chosen.column


def _as_asked(
    count: int,
    request: ScanRequest,
    hints: Sequence[ScanHint],
    times: Times | None,
    *,
    announced: int,
    layers: int,
    start: int,
    path: str | os.PathLike[str],
) -> Scan:
    """Arrange frames in the shape that the caller gave; the times say where they belong in it."""
    assert request.shape is not None
    first, last, _ = slice(request.first_frame, request.last_frame).indices(count)
    begin, end = first // layers, last // layers
    asked = ScanHint("argument", request.shape, 1.0, "given by the caller")
    columns = request.shape[-1]
    contradictions: tuple[str, ...] = ()
    decided = Verdict(None)
    looks = len(request.shape) > 1 and request.rule == "auto" and times is not None
    looks = looks and not any(hint.exact for hint in hints)
    looks = looks and times is not None and not (times.scattered and end - begin > 512)
    if looks and (request.flyback == "drop" or not _as_expected(times, request, begin, end)):
        decided = _decide(hints, times, announced, begin, end, "auto", brief=True)
    seen, placement = decided.hint, decided.placement
    hint = None
    if request.flyback == "drop":
        if not decided.marks and (seen is None or seen.line_length <= columns):
            raise _no_flyback(path)
        hint = seen
    elif seen is None or request.line_skip:
        placement = None
    elif placement is not None and _narrower(request.shape, seen) and request.sync_offset is None:
        extra = seen.line_length - columns
        warn(
            path,
            f"{seen.line_length} frames are stored per line of {columns} ({seen.reason}): the "
            f"first {columns} of each are used; first_frame={extra} and line_skip={extra} use the "
            "last ones.",
        )
    elif not decided.by_times:
        placement = None
    elif columns == seen.line_length or (
        columns == -1 and placement is not None and math.prod(request.shape[:-1]) == placement.lines
    ):
        # the shape is the caller's; which frame belongs to which position is in the times
        shifted = placement is not None and not (placement.rigid and placement.start == 0)
        if not shifted or request.sync_offset is not None:
            placement = None
        elif placement is not None:
            _report(replace(decided, doubts=()), asked, placement, end - begin, request, path)
    else:
        placement = None
        with_flyback = decided.marks and columns == seen.line_length + 1
        if columns != -1 and not with_flyback:
            contradictions = (
                f"{size(request.shape, request.hyperspy_order)} was asked for, but {seen.reason}: "
                f"that is {size(seen.shape, request.hyperspy_order)}.",
            )
            warn(path, contradictions[0])
    if placement is not None and (decided.marks or request.flyback != "drop"):
        shape = _filled(request.shape, placement, path)
        shape, index, counts = map_placement(
            count, request, shape, placement, layers=layers, path=path
        )
    else:
        shape, index, counts = map_frames(
            count, request, hint=hint, layers=layers, start=start, path=path
        )
    return Scan(shape, index, asked, (), counts, contradictions)


def _no_flyback(path: str | os.PathLike[str]) -> FormatError:
    return FormatError(
        path,
        'flyback="drop": no flyback frames are seen in the exposure times.',
        "Pass navigation_shape=(x, y) with line_skip= the number of extra frames per line.",
    )


def _narrower(shape: tuple[int, ...], seen: ScanHint) -> bool:
    """Whether a shape has the lines that were recorded, less some flyback frames of each."""
    extra = seen.line_length - shape[-1]
    lines = math.prod(shape[:-1])
    return (
        0 < extra <= flyback_columns(shape[-1])
        and shape[-1] > 0
        and (lines < 0 or lines == math.prod(seen.shape[:-1]))
        and seen.rule in ("header", "trigger")
    )


def _filled(
    shape: tuple[int, ...], placement: Placement, path: str | os.PathLike[str]
) -> tuple[int, ...]:
    """Replace the -1 in a shape by what the lines of a placement fill."""
    if any(n == 0 or n < -1 for n in shape) or shape.count(-1) > 1:
        raise FormatError(
            path,
            f"{size(shape, False)} is not a scan shape.",
            "Sizes are positive; one may be -1 for 'all'.",
        )
    if shape[-1] == -1:
        return (*shape[:-1], placement.length)
    if -1 not in shape:
        return shape
    others = math.prod(n for n in shape[:-1] if n != -1)
    return tuple(max(1, placement.lines // others) if n == -1 else n for n in shape)


def _as_expected(times: Times | None, request: ScanRequest, begin: int, end: int) -> bool:
    """Whether times show line ends all over the recording just where the caller's shape has them.

    Some ten places are looked at. What is not clear from them is looked at more closely.
    """
    assert request.shape is not None
    columns = request.shape[-1]
    offset = request.sync_offset or 0
    n = end - begin
    line = columns + request.line_skip
    if times is None or columns < 4 or n < 512 or (n - offset) // line < 8:
        return False
    ends = np.unique(np.linspace(1, (n - offset) // line - 1, 8).astype(int)) * line
    index = begin + offset + ends[:, np.newaxis] + np.arange(-2, 2)
    if index.max() >= times.count:
        return False
    moments = times.read_at(index.reshape(-1)).time_ns.reshape(index.shape)
    if (moments < 0).any():
        return False
    for before, across, behind in np.diff(moments, axis=1).tolist():
        usual = max(before, behind)
        if across - usual <= max(4 * abs(before - behind), 4 * times.resolution_ns, 0.002 * usual):
            return False
    return True


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

    def read_at(index: Ints, source: Times = times) -> FrameTimes:
        return source.read_at(index * layers)

    return replace(times, count=times.count // layers, read=read, at=read_at)


def _list(hints: Sequence[ScanHint]) -> str:
    return (
        "; ".join(f"{h.rule} {size(h.shape) if h.shape else 'flat'} ({h.reason})" for h in hints)
        or "none"
    )
