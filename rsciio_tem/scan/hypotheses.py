# SPDX-License-Identifier: GPL-3.0-or-later
"""Line lengths that a recording may have, and how well each explains its frames.

Every claim of a header is tested, none is believed: what decides is the evidence for a line length,
in nats, against the cheapest explanation without lines. That one is the same for all lengths: a
uniform series with freak steps, with pauses of one size anywhere, or with lost frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from rsciio_tem.scan.events import Events, Floats
from rsciio_tem.scan.path import OUTSTANDING, Gap, Path, cheapest_path, gap_at, step_cost
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.scan.times import Ints

__all__ = ["Claims", "Fit", "best_fits", "flyback_columns"]

#: Evidence of all line ends together counts no more than this: they share one clock.
_MOST = 40.0

#: Lines, and values at once, that are added up at some of their places only.
_FEW_LINES, _AT_ONCE = 12, 1 << 18

#: Nats for a header entry that says the line length: odds 55 to 1.
_ENTRY = 4.0


@dataclass(frozen=True)
class Claims:
    """What header and side files say about the size of the scan.

    Parameters
    ----------
    sizes : tuple of ScanHint
        Lines and columns.
    per_trigger : tuple of ScanHint
        Frames stored for each trigger.
    announced : int
        Frames that the recording was started for; 0 if unknown.
    external, software : bool or None
        Whether a scan generator, or a program, triggered the camera; None if unknown.
    stored : int
        Positions of the whole recording, of which only a part may be looked at.
    """

    sizes: tuple[ScanHint, ...] = ()
    per_trigger: tuple[ScanHint, ...] = ()
    announced: int = 0
    external: bool | None = None
    software: bool = False
    stored: int = 0

    def lengths(self, slots: int, marks: int) -> set[int]:
        """Return the line lengths they speak for; `marks` frames of each line were taken out."""
        result = set()
        if self.external is not False:
            for hint in self.per_trigger:
                result |= {hint.shape[-1], hint.shape[-1] - marks}
        for hint in self.sizes:
            lines, columns = hint.shape[-2:]
            result |= {columns, hint.line_length}
            stored = slots // lines if lines else 0
            extra = stored - columns
            # of two lines, each other recording would fit
            if lines > 2 and slots == stored * lines and 0 < extra <= flyback_columns(columns):
                result.add(stored)
        return {length for length in result if 1 < length <= slots}


def flyback_columns(columns: int) -> int:
    """Return how many frames per line may be recorded during flyback, at most."""
    return max(3, columns // 8)


@dataclass(frozen=True, eq=False)
class Fit:
    """One line length, tried on the frames.

    Parameters
    ----------
    length : int
        Places per line.
    gap : Gap
        Time between lines.
    path : Path
        Where each event belongs.
    evidence : float
        Nats for it, from times.
    score : float
        With what headers say and how complete the scan is.
    searched : bool
        Whether the length was found by looking for lines, not said by a header.
    """

    length: int
    gap: Gap
    path: Path
    evidence: float = 0.0
    score: float = 0.0
    searched: bool = False

    @property
    def slots(self) -> int:
        """Places from the first line's first column to the last frame."""
        return int(self.path.slot.max(initial=-1)) + 1

    @property
    def lines(self) -> int:
        """Lines that have at least one frame."""
        return -(-self.slots // self.length)

    def explains(self, events: Events) -> bool:
        """Whether each line end is seen by itself, and hardly an outstanding step is another."""
        ends, size = self.path.ends, self.gap.size
        if ends is None or not len(ends) or size < OUTSTANDING * events.scatter:
            return False
        outstanding = np.abs(events.excess) > OUTSTANDING * events.scatter
        outstanding[ends] = False
        seen = np.abs(events.excess[ends] - size) < 0.5 * size
        return int(np.count_nonzero(outstanding)) <= 3 and float(np.mean(seen)) > 0.9

    @property
    def whole(self) -> bool:
        """Whether the scan begins and ends with whole lines."""
        inside = self.path.slot[self.path.slot >= 0]
        return bool(len(inside)) and inside[0] % self.length == 0 and self.slots % self.length == 0


def best_fits(
    events: Events,
    claims: Claims,
    *,
    rule: str = "auto",
    whole: bool = True,
    slots: int | None = None,
    lengths: Iterable[int] = (),
) -> list[Fit]:
    """Try all line lengths that anything speaks for, the most credible first.

    Parameters
    ----------
    events : Events
        Of all frames, or of a stretch of them.
    claims : Claims
        What headers say.
    rule : {"auto", "header", "exposures", "timestamps"}
        Kind of evidence that may propose lengths.
    whole : bool
        Whether these are all frames of the recording.
    slots : int, optional
        Places in the whole recording, if more than those of the events.
    lengths : iterable of int
        Lengths to try and no others, if there are any.
    """
    here = int(events.advance.sum()) + 1
    slots = max(here, slots or 0)
    marks = events.marks_per_line
    claimed: dict[int, bool] = {}
    if rule in ("auto", "header"):
        claimed = dict.fromkeys(sorted(claims.lengths(slots, marks)), False)
    if chosen := tuple(lengths):
        tries = {length: claimed.get(length, True) for length in chosen}
        return _tried(events, tries, claims, slots if whole else 0)
    tries = claimed
    if marks and rule in ("auto", "exposures"):
        between = np.diff(events.slot[events.after_mark])
        if len(between):
            each, counts = np.unique(between, return_counts=True)
            tries.setdefault(int(each[np.argmax(counts)]), True)
    if events.timed and rule in ("auto", "timestamps"):
        for length in _between_outstanding(events, here):
            tries.setdefault(length, True)
    size = slots if whole or len(events) < slots else 0
    fits = _tried(events, tries, claims, size)
    clear = fits and fits[0].score > 12 and fits[0].gap.visible
    if events.timed and rule in ("auto", "timestamps") and not clear:
        more = {length: True for length in _folded(events, here) if length not in tries}
        if more:
            fits = _tried(events, tries | more, claims, size)
    return fits


def _between_outstanding(events: Events, slots: int) -> set[int]:
    """Return distances between outstanding steps: the two commonest of neighbours, and so on."""
    places = events.slot[events.excess > OUTSTANDING * events.scatter]
    result: set[int] = set()
    for apart in (1, 2, 3):
        distances = places[apart:] - places[:-apart]
        if len(distances):
            each, counts = np.unique(distances, return_counts=True)
            result |= set(each[np.argsort(-counts, kind="stable")[:2]].tolist())
    if 0 < len(places) < 3:  # of two lines, or three
        result |= {int(places[0]), slots - int(places[-1])}
    return {length for length in result if 1 < length <= slots // 2 + 1}


def _folded(events: Events, slots: int) -> set[int]:
    """Return lengths at which the excess, folded over lines, stands out at one place.

    Looked for in the whole, in halves and in quarters: a lost frame shifts the place.
    """
    values = np.zeros(slots)
    values[events.slot[1:]] = np.clip(events.excess[1:] / events.scatter, -4.0, 8.0)
    values -= np.mean(values)
    best: dict[int, float] = {}
    for parts in (1, 2, 4):
        for part in np.array_split(values, parts):
            for length, z in _standing_out(part):
                best[length] = max(best.get(length, 0.0), z)
    chosen = set(sorted(best, key=lambda length: -best[length])[:6])
    shorter = {length // k for length in chosen for k in (2, 3) if length % k == 0}
    return {length for length in chosen | shorter if length > 1}


def _standing_out(values: Floats) -> list[tuple[int, float]]:
    """Return up to three lengths with the largest sums over lines at one place, in deviations."""
    count, scale = len(values), max(1.0, float(np.std(values)))
    most = float(values.max(initial=0.0))
    clear: list[tuple[int, float]] = []
    longest = count // 2
    if most * math.sqrt(longest) < 3.999 * scale:
        return clear  # not even if the largest value were that of each line
    for lines in range(2, min(_FEW_LINES, longest) + 1):
        shortest = max(2, count // (lines + 1) + 1)
        if shortest > count // lines:
            continue
        longest = shortest - 1
        if most <= 3.999 * scale / math.sqrt(lines):
            continue
        lengths = np.arange(shortest, count // lines + 1)
        # a sum that stands out has a part that does
        large = np.flatnonzero(values > 3.999 * scale / math.sqrt(lines))
        if len(large) * lines > 2000 + count // 8:
            longest = int(lengths[-1])
            break
        at_once = _AT_ONCE // max(1, len(large))
        for first in range(0, len(lengths) if len(large) else 0, at_once):
            part = lengths[first : first + at_once]
            z = _sums_at(values, large, part, lines) / (math.sqrt(lines) * scale)
            clear += [(int(part[i]), float(z[i])) for i in np.flatnonzero(z > 4)]
    for length in range(2, longest + 1):
        lines = count // length
        if most * math.sqrt(lines) <= 4 * scale:
            break  # nor do lines that are longer, and fewer
        sums = values[: lines * length].reshape(lines, length).sum(axis=0)
        z_largest = float(sums.max()) / (math.sqrt(lines) * scale)
        if z_largest > 4:
            clear.append((length, z_largest))
    return sorted(clear, key=lambda pair: (-pair[1], pair[0]))[:3]


def _sums_at(values: Floats, places: Ints, lengths: Ints, lines: int) -> Floats:
    """Return, for each length, the largest sum over so many lines at the columns of some places."""
    length = lengths[:, np.newaxis]
    column = places % length
    sums = values[column]
    for line in range(1, lines):
        sums += values[column + line * length]
    sums[places >= lines * length] = -np.inf  # behind the last whole line
    result: Floats = sums.max(axis=1, initial=-np.inf)
    return result


def _tried(events: Events, lengths: dict[int, bool], claims: Claims, slots: int) -> list[Fit]:
    fits: list[Fit] = []
    plain: set[int] = set()  # lengths that leave hardly a step unexplained
    for length, searched in sorted(lengths.items()):
        if searched and any(length % shorter == 0 for shorter in plain):
            continue
        gap = gap_at(events, length)
        fit = Fit(length, gap, cheapest_path(events, length, gap), searched=searched)
        fits.append(fit)
        if gap.visible and fit.explains(events):
            plain.add(length)
    null = _null(events, fits)
    scored = [replace(fit, evidence=_evidence(fit, events, null)) for fit in fits]
    scored = [replace(fit, score=_score(fit, events, claims, slots)) for fit in scored]
    return sorted(scored, key=lambda fit: -fit.score)


def _null(events: Events, fits: Iterable[Fit]) -> float:
    """Cost of the cheapest explanation without lines; the same for all lengths.

    Compared each with an explanation of its own, any length that takes gaps for lost frames wins.
    """
    if not events.timed:
        return 0.0
    excess, scatter, n = events.excess[1:], events.scatter, len(events)
    z = np.abs(excess) / scatter
    outstanding = float(np.mean(z > 5))
    normal = np.exp(-0.5 * np.minimum(z, 38.0) ** 2)
    freak = 1 / (40.0 * np.maximum(z, 1.0))
    rate = min(0.9, max(0.01, outstanding))
    nulls = [float(-np.log((1 - rate) * normal + rate * freak).sum())]
    usual = step_cost(excess, scatter)
    k = np.round(excess / events.step)
    lost = math.log(n) + 2 + 0.5 * (k > 1) + step_cost(excess - k * events.step, scatter)
    nulls.append(float(np.where(k > 0, np.minimum(lost, usual), usual).sum()))
    for fit in fits:
        gap = fit.gap
        if not gap.visible or gap.size <= 4 * scatter:
            continue  # pauses within the noise only fit the shape of the noise
        share = min(0.6, max(0.01, outstanding, 1 / fit.length))
        pause = np.exp(-0.5 * np.minimum(np.abs(excess - gap.size) / gap.scatter, 38.0) ** 2)
        mixed = (0.99 - share) * normal + share * scatter / gap.scatter * pause + 0.01 * freak
        nulls.append(float(-np.log(mixed).sum()))
    return min(nulls)


def _evidence(fit: Fit, events: Events, null: float) -> float:
    if not events.timed:
        return 0.0
    tries = math.log(max(2.0, len(events) / 2)) if fit.searched else 0.5
    if fit.slots == 2 * fit.length:
        tries = min(tries, 1.0)  # two whole lines: the number of frames tells their length
    value = null - fit.path.cost - fit.path.uncharged - tries
    return min(value, _MOST) if fit.gap.visible else min(value, 0.0)


def _score(fit: Fit, events: Events, claims: Claims, total: int) -> float:
    length, score = fit.length, fit.evidence
    marks = events.marks_per_line
    laid = fit.slots if total <= len(events) + int(events.advance.sum()) else total
    for hint in claims.sizes:
        lines, columns = hint.shape[-2:]
        said = length in (columns, hint.line_length)
        score += _ENTRY * said * (1.0 if hint.confidence >= 0.8 else 0.5)  # a name says less
        if total and lines > 1:
            exact = length * lines in (total, laid, claims.stored)
            score += 6 * (exact and 0 <= length - columns <= flyback_columns(columns))
            score += 2 * (said and exact)
    if claims.external is not False:
        score += _ENTRY * any(
            length in (hint.shape[-1], hint.shape[-1] - marks) for hint in claims.per_trigger
        )
    if total and fit.whole:
        score += 0.7 * math.log(length)
    score += 5 * bool(marks and _ends_at_marks(fit, events))
    score += 1.0 * (claims.external is True and not claims.software)
    return score - 2 * claims.software - 5 * (claims.external is False)


def _ends_at_marks(fit: Fit, events: Events) -> bool:
    slot = fit.path.slot[events.after_mark]
    slot = slot[slot >= 0]
    return len(slot) > 0 and float(np.mean(slot % fit.length == 0)) > 0.9
