# SPDX-License-Identifier: GPL-3.0-or-later
"""The hypothesis that explains all evidence, and in words what it does not explain."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from rsciio_tem.scan.events import Events
from rsciio_tem.scan.hypotheses import Claims, Fit, flyback_columns
from rsciio_tem.scan.path import OUTSTANDING
from rsciio_tem.scan.placement import Placement, merged
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.scan.survey import Survey
from rsciio_tem.scan.words import duration, plural, size, some_are_flyback

__all__ = ["Verdict", "verdict"]

#: Confidence of a scan that something speaks against, or that rests on one witness.
DOUBTFUL = 0.75

#: Most that evidence from headers and times is worth.
_MOST = 0.95

#: Score below which frames are a stack.
_TAKEN = 3.0


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the frames are.

    Parameters
    ----------
    hint : ScanHint or None
        The scan; None for a stack.
    placement : Placement, optional
        Where each frame belongs.
    doubts : tuple of str
        What contradicts it, or is missing to be sure; keeps the confidence below 0.8.
    remarks : tuple of str
        What else a person should know.
    alternatives : tuple of ScanHint
        What else might be.
    marks, doubled : tuple of int
        Frames left out: exposed during flyback, or stored twice.
    by_times : bool
        Whether times or exposures show the lines.
    """

    hint: ScanHint | None
    placement: Placement | None = None
    doubts: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    alternatives: tuple[ScanHint, ...] = ()
    marks: tuple[int, ...] = ()
    doubled: tuple[int, ...] = ()
    by_times: bool = False

    def with_marks(self) -> Placement:
        """Place the frames exposed during flyback, too: as first of each line, or as last.

        They close lines if the first line is whole and none was recorded before it.
        """
        assert self.placement is not None
        runs, length = self.placement.runs, self.placement.length
        begins = runs["frame"]
        opening = any(mark < int(begins[0]) for mark in self.marks) or bool(runs["slot"][0])
        marks = np.array(self.marks)
        fresh = np.flatnonzero(np.diff(marks, prepend=-2) != 1)  # marks that follow no other
        order = np.arange(len(marks)) - np.repeat(fresh, np.diff(np.append(fresh, len(marks))))
        wide = length + int(order.max(initial=0)) + 1
        pieces = []
        for frame, slot, count in runs.tolist():
            done = 0
            while done < count:  # a run may hold several lines
                line, column = divmod(slot + done, length)
                size = min(count - done, length - column)
                place = line * wide + column + (wide - length) * opening
                pieces.append((frame + done, place, size))
                done += size
        for mark, at_end in zip(self.marks, order.tolist(), strict=True):
            at = int(np.searchsorted(begins, mark, "right")) - 1
            if opening and at + 1 < len(runs):
                line = int(runs["slot"][at + 1]) // length
                pieces.append((mark, line * wide + at_end, 1))
            elif not opening and at >= 0:
                line = (int(runs["slot"][at] + runs["count"][at]) - 1) // length
                pieces.append((mark, line * wide + length + at_end, 1))
        return merged(wide, sorted(pieces))


def verdict(view: Survey, claims: Claims, total: int) -> Verdict:
    """Decide between the line lengths that were tried, and a stack.

    Parameters
    ----------
    view : Survey
        What the headers of frames tell.
    claims : Claims
        What header and side files say.
    total : int
        Number of stored positions.
    """
    fits, events = view.fits, view.events
    remarks = (f"{events.remark}; they are not used.",) if events.remark and not fits else ()
    if not fits:
        return Verdict(None, remarks=remarks)
    best = fits[0]
    others = tuple(
        _alternative(fit, view, claims, total) for fit in _worth_offering(fits[1:], events)
    )
    offered = _alternative(best, view, claims, total)
    if claims.external is False:
        reason = "the camera triggered itself (internal trigger)"
        return Verdict(None, remarks=(reason,), alternatives=(offered, *others))
    if best.score <= _TAKEN or _one_pause(best, events, claims):
        return Verdict(None, remarks=remarks, alternatives=(offered, *others))
    placement = view.placement(best)
    if placement is None:
        return Verdict(None, remarks=remarks, alternatives=others)
    best, placement = _settled(best, placement)
    margin = best.score - max([0.0, *(fit.score for fit in fits[1:])])
    confidence = min(_MOST, 1 / (1 + math.exp(-margin / 2)))
    placement, flyback = _from_beginning(best, placement, claims, total)
    shape, placement, outside = _shape(best, placement, claims)
    doubts, notes = _doubts(best, view, claims, placement, total, flyback)
    doubts += outside
    doubts += _weak(fits, confidence) if not doubts else []
    if doubts:
        confidence = min(confidence, DOUBTFUL)
    hint = ScanHint(
        _rule(best, events, claims),
        shape,
        round(confidence, 2),
        _reason(best, events, claims),
        start=placement.start,
        line=best.length,
    )
    hint, notes = _with_repeats(hint, best, events, claims, notes)
    return Verdict(
        hint,
        placement,
        tuple(doubts),
        tuple(notes),
        others,
        tuple(events.marks.tolist()),
        tuple(events.doubled.tolist()),
        (best.gap.visible and best.evidence > 8) or len(events.marks) > 0,
    )


def _from_beginning(
    fit: Fit, placement: Placement, claims: Claims, total: int
) -> tuple[Placement, str]:
    """Let lines begin with the recording where the gap lies beside their flyback frames.

    Lines that headers say are all there, and a gap as far from their beginning as flyback frames
    take: the gap is not a line end. Returns the placement, and in words which frames those are.
    """
    length, place = fit.length, fit.gap.place
    if not fit.gap.visible or not place:
        return placement, ""
    for hint in (*claims.sizes, *claims.per_trigger):
        if hint.rule == "trigger":
            lines = total // length
            extra = min(place, length - place)
            certain = length == hint.shape[-1] and claims.announced == total == lines * length
            certain &= claims.external is not False and extra <= flyback_columns(length - extra)
        else:
            lines = hint.shape[-2]
            extra = length - hint.shape[-1]
            certain = 0 < extra <= flyback_columns(length - extra) and extra in (
                place,
                length - place,
            )
        runs = placement.runs.copy()
        if not certain or lines < 2:
            continue
        frame, slot = int(runs["frame"][0]), int(runs["slot"][0])
        if frame == 0 and slot == length - place:
            runs["slot"] -= slot
        elif frame == place and slot == 0:
            runs["slot"] += place
            runs = np.concatenate([np.array([(0, 0, place)], runs.dtype), runs])
        else:
            continue
        turned = merged(length, runs.tolist())
        if turned.slots == lines * length:
            which = "first" if extra == place else "last"
            return turned, f"the {which} {extra}" if extra > 1 else f"the {which} one"
    return placement, ""


def _weak(fits: list[Fit], confidence: float) -> list[str]:
    """Say why a scan is uncertain that nothing in particular speaks against."""
    if confidence >= 0.8:
        return []
    others = [fit for fit in fits[1:] if fit.score > fits[0].score - 4]
    if others:
        return [f"lines of {others[0].length} frames explain the recording nearly as well."]
    return ["hardly more speaks for lines than against them."]


def _worth_offering(fits: list[Fit], events: Events) -> list[Fit]:
    """Return what headers say and did not win, and what times might show."""
    if len(events.marks):
        return []  # they show where lines end, and were taken out for this length
    searched = [fit for fit in fits if fit.searched and fit.score > -3]
    return [fit for fit in fits if not fit.searched or fit in searched[:2]][:5]


def _settled(fit: Fit, placement: Placement) -> tuple[Fit, Placement]:
    """Leave out lines at the beginning that are too short: the scan had not settled yet."""
    short = 0
    while short in fit.path.cut or (
        short == 0 and placement.runs["slot"][0] > 0 and 1 in fit.path.cut
    ):
        short += 1
    if not short or short >= placement.lines:
        return fit, placement
    cut = tuple(line - short for line in fit.path.cut if line >= short)
    path = replace(fit.path, cut=cut)
    return replace(fit, path=path), placement.shifted(short * fit.length)


# ---------------------------------------------------------------- shape


def _shape(
    fit: Fit, placement: Placement, claims: Claims
) -> tuple[tuple[int, int], Placement, list[str]]:
    """Return lines and columns; lines that headers announce and nobody recorded are included.

    Incomplete lines beyond the number that a header says are not part of the scan; complete ones
    are, and contradict it.
    """
    lines = placement.lines
    for hint in claims.sizes:
        said = hint.shape[-2]
        if not _says(hint, fit) or said < 2:
            continue
        if lines <= said:
            return (said, fit.length), placement, []
        first = int(placement.runs["slot"][0]) % fit.length
        last = placement.slots % fit.length
        if first and lines - 1 == said:  # frames before the scan
            return (said, fit.length), placement.shifted(fit.length), []
        if last and lines - 1 == said:
            return (said, fit.length), placement, []
        whole = placement.slots == lines * fit.length
        if lines % said == 0 and (whole or fit.gap.visible):
            return (lines, fit.length), placement, []
        if not fit.gap.visible:
            return (said, fit.length), placement, []
        complete = placement.slots // fit.length
        doubt = f"{hint.reason}, but {complete} whole lines were recorded."
        return (complete, fit.length), placement, [doubt]
    announced = claims.announced
    if announced and announced % fit.length == 0 and lines - 1 == announced // fit.length:
        first = int(placement.runs["slot"][0]) % fit.length
        if first:
            return (lines - 1, fit.length), placement.shifted(fit.length), []
        return (lines - 1, fit.length), placement, []
    if (
        announced % fit.length == 0
        and lines < announced // fit.length
        and (_per_trigger(fit, claims) or lines == announced // fit.length - 1)
    ):
        return (announced // fit.length, fit.length), placement, []
    return (lines, fit.length), placement, []


def _per_trigger(fit: Fit, claims: Claims) -> bool:
    return any(hint.shape[-1] == fit.length for hint in claims.per_trigger)


def _with_repeats(
    hint: ScanHint, fit: Fit, events: Events, claims: Claims, notes: list[str]
) -> tuple[ScanHint, list[str]]:
    """Make scans that were repeated a leading axis: told by counts, or by longer line ends."""
    lines, columns = hint.shape
    for claim in claims.sizes:
        said = claim.shape[-2]
        if fit.length == claim.shape[-1] and 1 < said < lines and lines % said == 0:
            repeats = lines // said
            reason = f"{hint.reason}; {lines} lines are {repeats} scans of {said} lines"
            return replace(hint, shape=(repeats, said, columns), reason=reason), notes
    ends = fit.path.ends
    if ends is None or not fit.gap.visible or len(ends) != lines - 1 or lines < 4:
        return hint, notes
    long = np.flatnonzero(events.excess[ends] > 3 * fit.gap.size + 10 * fit.gap.scatter)
    if not len(long):
        return hint, notes
    each = int(long[0]) + 1
    if each < 2 or lines % each or not np.array_equal(long + 1, np.arange(each, lines, each)):
        return hint, notes
    repeats = lines // each
    pause = duration(float(np.median(events.excess[ends][long])))
    reason = f"{hint.reason}; every {each} lines the next one comes {pause} later"
    if repeats == 2:
        notes = [
            *notes,
            f"one longer pause after {each} of {lines} lines: taken for two scans, one after the "
            f"other. Pass navigation_shape=({columns}, {lines}) if it is one.",
        ]
    return replace(hint, shape=(repeats, each, columns), reason=reason), notes


# ---------------------------------------------------------------- words


def _sources(fit: Fit, claims: Claims, marks: int) -> list[ScanHint]:
    """Return what headers say that agrees with the line length."""
    result = [hint for hint in claims.sizes if _says(hint, fit)]
    if claims.external is not False:
        result += [
            h for h in claims.per_trigger if fit.length in (h.shape[-1], h.shape[-1] - marks)
        ]
    return result


def _says(hint: ScanHint, fit: Fit) -> bool:
    """Whether a size agrees with the line length, or does so with some flyback frames per line."""
    lines, columns = hint.shape[-2:]
    if fit.length in (columns, hint.line_length):
        return True
    return 0 < fit.length - columns <= flyback_columns(columns) and fit.lines <= lines + 1


def _rule(fit: Fit, events: Events, claims: Claims) -> str:
    marks = events.marks_per_line
    sources = _sources(fit, claims, marks)
    if sources:
        return sources[0].rule
    return "exposures" if marks else "timestamps"


def _reason(fit: Fit, events: Events, claims: Claims) -> str:
    marks = events.marks_per_line
    parts = [hint.reason for hint in _sources(fit, claims, marks)]
    if marks:
        number = "one is" if marks == 1 else f"{marks} are"
        parts.append(
            f"every {fit.length + marks} frames {number} exposed longer than the others "
            f"({duration(events.exposure)}): "
            f"{'it was' if marks == 1 else 'they were'} open while the beam flew back, and "
            f"{'is' if marks == 1 else 'are'} left out"
        )
    elif fit.gap.visible and fit.evidence > 0:
        parts.append(
            f"every {fit.length} frames the next one comes {duration(fit.gap.size)} late "
            f"(usual step {duration(events.step)})"
        )
    return "; ".join(parts)


def _against(fit: Fit, events: Events, claims: Claims, marks: int) -> str:
    """Say what speaks against an entry: the times, else other entries."""
    if fit.gap.visible and fit.evidence > 0:
        return f"every {fit.length} frames the next one comes {duration(fit.gap.size)} late"
    sources = _sources(fit, claims, marks)
    return "; ".join(hint.reason for hint in sources) or _reason(fit, events, claims)


def _alternative(fit: Fit, view: Survey, claims: Claims, total: int) -> ScanHint:
    placement = view.placement(fit)
    lines = placement.lines if placement is not None else -(-total // fit.length)
    for hint in claims.sizes:
        if hint.shape[-1] == fit.length:
            lines = hint.shape[-2]
    confidence = round(min(0.45, max(0.05, 1 / (1 + math.exp(1 - fit.score / 4)))), 2)
    reason = _reason(fit, view.events, claims) or f"lines of {fit.length} frames"
    start = placement.start if placement is not None else 0
    return ScanHint(
        _rule(fit, view.events, claims),
        (lines, fit.length),
        confidence,
        reason,
        start=start,
        line=fit.length,
    )


def _one_pause(fit: Fit, events: Events, claims: Claims) -> bool:
    """Whether a single long pause is all that speaks for lines."""
    marks = events.marks_per_line
    if _sources(fit, claims, marks) or marks or fit.path.ends is None or len(fit.path.ends) > 1:
        return False
    # real scans of two lines lose less than a dwell time between them
    return fit.gap.size > (3 if claims.external is True else 1) * events.step


def _doubts(
    fit: Fit, view: Survey, claims: Claims, placement: Placement, total: int, flyback: str
) -> tuple[list[str], list[str]]:
    """Return what contradicts the scan or is missing to be sure of it, and what is to be known."""
    events, length = view.events, fit.length
    marks = events.marks_per_line
    doubts: list[str] = []
    notes: list[str] = []
    seen = fit.gap.visible and fit.evidence > 0
    how = "the times" if seen else "other entries"
    for hint in claims.sizes:
        columns = hint.shape[-1]
        if length == hint.line_length or length == columns:
            continue
        if _says(hint, fit):
            if not marks and flyback:
                notes.append(
                    f"{length} frames are stored per line of {columns}: by the times {flyback} of "
                    f"them {'were' if length - columns > 1 else 'was'} recorded during flyback. "
                    "All are kept."
                )
            elif not marks:
                notes.append(some_are_flyback(length, columns))
            continue
        doubts.append(
            f"{hint.reason}, but {how} speak for {size((placement.lines, length))}: "
            f"{_against(fit, events, claims, marks)}."
        )
    if claims.external is not False:
        for hint in claims.per_trigger:
            if length not in (hint.shape[-1], hint.shape[-1] - marks):
                doubts.append(
                    f"{hint.reason}, but {how} speak for lines of {length}: "
                    f"{_against(fit, events, claims, marks)}."
                )
    sources = _sources(fit, claims, marks)
    whole = placement.slots % length == 0 and int(placement.runs["slot"][0]) == 0
    if not sources and not marks and claims.external is not True and not whole and view.complete:
        doubts.append(
            f"only pauses tell lines of {length} frames, and {_incomplete(placement)}: pauses of a "
            "camera or a disk would look the same. If it is right, a navigation_shape says so."
        )
    begun = int(placement.runs["slot"][0]) % length
    if (
        begun
        and _per_trigger(fit, claims)
        and claims.announced
        not in (
            placement.slots,
            placement.slots - begun,
        )
    ):
        doubts.append(
            f"each trigger starts a line of {length} frames, but the first {length - begun} do not "
            "fill one: they may have been recorded before the scan."
        )
    if claims.software:
        doubts.append("a program triggered the camera, no scan generator.")
    if len(sources) == 1 and not seen and not _confirmed(sources[0], placement, claims, total):
        doubts.append(
            f"nothing but one entry tells the lines: {sources[0].reason}; "
            + (
                "the times show no line ends."
                if events.timed
                else f"{events.remark}."
                if events.remark
                else f"it does not fit {plural(total, 'frame')}."
            )
        )
    if fit.path.vague:
        doubts.append(
            f"the time between lines varies: at {plural(fit.path.vague, 'place')} frames may be "
            "lost in another line, or none at all."
        )
    doubts += _apart(fit, events, claims, placement) + _unexplained(fit, events, claims, total)
    if fit.path.cut:
        named = ", ".join(str(line) for line in fit.path.cut[:3])
        doubts.append(
            f"{len(fit.path.cut)} of {fit.lines} lines ({named}"
            f"{', …' if len(fit.path.cut) > 3 else ''}) were cut short, and nothing tells which of "
            "their frames are missing; a frame too many, without time for it, looks the same."
        )
    all_recorded = claims.external is True and claims.announced == total
    if not sources and not marks and fit.lines == 2 and not all_recorded:
        doubts.append(f"one single pause tells that there are two lines of {length} frames.")
    return doubts, notes


def _apart(fit: Fit, events: Events, claims: Claims, placement: Placement) -> list[str]:
    """Say that a few lines at the beginning or the end come long before or after the others."""
    lines, ends = placement.lines, fit.path.ends
    announced = {h.shape[-2] for h in claims.sizes if h.shape[-1] <= fit.length}
    announced.add(claims.announced // fit.length)
    if ends is None or not fit.gap.visible or lines < 6 or lines in announced:
        return []
    long = ends[events.excess[ends] > 5 * fit.gap.size + 10 * fit.gap.scatter + 2 * events.step]
    line = fit.path.slot[long] // fit.length
    outer = np.minimum(line, lines - line)
    if not 0 < len(long) <= 2 or (outer > max(1, lines // 4)).any():
        return []
    pause = duration(float(events.excess[long].max()))
    return [
        f"{plural(int(outer[0]), 'line')} at the "
        f"{'beginning' if line[0] < lines / 2 else 'end'} come {pause} apart from the others: "
        "those frames may not belong to the scan."
    ]


def _unexplained(fit: Fit, events: Events, claims: Claims, total: int) -> list[str]:
    """Say that steps are as long as lost frames, or a lost line, would make them."""
    if not events.timed or not fit.gap.visible or events.grain or len(fit.path.slot) < total:
        return []
    if claims.announced == total:
        return []
    slot, ends, step = fit.path.slot, fit.path.ends, events.step
    follows = np.zeros(len(slot), np.bool_)
    follows[1:] = (slot[1:] == slot[:-1] + 1) & (slot[1:] % fit.length > 0)
    k = np.round(events.excess / step)
    exact = (k > 0) & (k < 4) & (np.abs(events.excess - k * step) < 3 * events.scatter)
    exact &= events.excess > OUTSTANDING * events.scatter
    at = np.flatnonzero(follows & exact & (3 * events.scatter < 0.1 * step))
    if ends is not None and len(ends) > 2:
        line = 2 * fit.gap.size + fit.length * step
        near = np.abs(events.excess[ends] - line) < 6 * fit.gap.scatter + step
        near &= events.excess[ends] > 2.5 * fit.gap.size
        at = np.append(at, ends[near])
    if not 0 < len(at) < 4:
        return []
    return [f"the step before frame {events.frame[at[0]]} is as long as if frames were lost there."]


def _incomplete(placement: Placement) -> str:
    """Say which of the outer lines lacks frames."""
    first, last = int(placement.runs["slot"][0]), placement.slots % placement.length
    parts = [f"the first one lacks {plural(first, 'frame')}"] if first else []
    parts += [f"the last one has {last} of {placement.length}"] if last else []
    return " and ".join(parts)


def _confirmed(hint: ScanHint, placement: Placement, claims: Claims, total: int) -> bool:
    """Whether counts of frames agree with the only entry."""
    product = math.prod(hint.shape)
    if hint.rule == "trigger":
        return product == claims.announced == total
    stored = hint.shape[-2] * placement.length
    return bool({product, stored} & {total, placement.slots, claims.announced}) or (
        total % product == 0
    )
