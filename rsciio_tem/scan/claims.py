# SPDX-License-Identifier: GPL-3.0-or-later
"""What header and side files say about a scan, weighed against the number of frames alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from rsciio_tem.scan.hypotheses import Claims, flyback_columns
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.scan.times import Times
from rsciio_tem.scan.verdict import DOUBTFUL, Verdict
from rsciio_tem.scan.words import plural, size, some_are_flyback

__all__ = ["claims_alone", "claims_of"]


def claims_of(hints: Sequence[ScanHint], announced: int, times: Times | None) -> Claims:
    """Sort what headers say by what it is about."""
    return Claims(
        tuple(h for h in hints if h.rule == "header" and len(h.shape) == 2 and h.confidence >= 0.5),
        tuple(h for h in hints if h.rule == "trigger" and h.shape),
        announced,
        None if times is None else times.external_trigger,
        times is not None and times.software_trigger,
        0 if times is None else times.count,
    )


def claims_alone(hints: Sequence[ScanHint], claims: Claims, count: int) -> Verdict:
    """Decide between claims by how well they fit the number of frames; there are no times.

    Two that disagree are a contradiction, unless one of them is explained by flyback.
    """
    ranked = sorted(hints, key=lambda hint: -_worth(hint, claims, count))
    if not ranked or ranked[0].rule == "stack":
        return Verdict(None, alternatives=tuple(ranked[:1]))
    best, *others = ranked
    alternatives = tuple(others)
    if best.exact or best.rule == "content" or len(best.shape) != 2 or best.confidence < 0.5:
        if best.confidence < 0.5 and best.rule != "content":
            return Verdict(None, alternatives=tuple(ranked))
        return Verdict(best, alternatives=alternatives)
    doubts: list[str] = []
    remarks: list[str] = []
    lines, columns = best.shape
    for other in others:
        if other.rule not in ("header", "trigger") or other.confidence < 0.5:
            continue
        if len(other.shape) != 2 or other.shape == best.shape:
            continue
        extra = abs(other.shape[-1] - columns)
        narrow = min(other.shape[-1], columns)
        if other.shape[0] == lines and extra <= flyback_columns(narrow):
            stored = max(other.shape[-1], columns)
            if best.line_length > columns:
                continue  # which of them are left out has been told
            best = replace(best, shape=(lines, stored), reason=f"{best.reason}; {other.reason}")
            columns = stored
            remarks.append(some_are_flyback(stored, narrow))
            continue
        if math.prod(other.shape) == count or other.confidence >= 0.8:
            doubts.append(f"{best.reason}, but {other.reason}.")
    if not doubts and best.line_length == columns:
        best, more = _with_counts(best, count)
        remarks += more
    if doubts:
        best = replace(best, confidence=min(best.confidence, DOUBTFUL))
    return Verdict(best, None, tuple(doubts), tuple(remarks), alternatives)


def _with_counts(best: ScanHint, count: int) -> tuple[ScanHint, list[str]]:
    """Explain more frames than positions by flyback columns, or by repeated scans."""
    lines, columns = best.shape
    extra = count // lines - columns if lines else 0
    if lines > 2 and count == lines * (columns + extra) and 0 < extra <= flyback_columns(columns):
        stored = columns + extra
        reason = f"{best.reason}; {count} frames are {lines} lines of {stored}"
        return replace(best, shape=(lines, stored), reason=reason), [
            some_are_flyback(stored, columns)
        ]
    positions = lines * columns
    if positions > 1 and count > positions and count % positions == 0:
        repeats = count // positions
        reason = f"{best.reason}; {count} frames are {repeats} such scans"
        remark = (
            f"{plural(count, 'frame')} are taken for {repeats} scans of {size((lines, columns))}, "
            "one after the other."
        )
        return replace(best, shape=(repeats, lines, columns), reason=reason), [remark]
    return best, []


def _worth(hint: ScanHint, claims: Claims, count: int) -> float:
    """Return log odds for a claim, from its source and how it fits the number of frames."""
    share = min(max(hint.confidence, 0.01), 0.99)
    worth = math.log(share / (1 - share))
    product = math.prod(hint.shape)
    if hint.rule == "stack" or hint.exact or not product:
        return worth
    if product == count:
        return worth + (4 if hint.rule == "trigger" else 2)
    if hint.rule == "trigger":
        return worth
    lines, columns = hint.shape[-2:] if len(hint.shape) > 1 else (1, hint.shape[-1])
    stored = count // lines if lines else 0
    if count % product == 0 or (
        stored * lines == count and 0 < stored - columns <= flyback_columns(columns)
    ):
        return worth + 2
    if count < product:
        return worth + (1 if product == claims.announced else 0)
    return worth - 1
