# SPDX-License-Identifier: GPL-3.0-or-later
"""How the time of a recording is cut into frames."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Problems
from rsciio_tem.formats.tpx3.index import EDGES, Index, index_of
from rsciio_tem.scan.times import FrameTimes
from rsciio_tem.storage.backends import DataFile
from rsciio_tem.storage.identities import cached

__all__ = [
    "TICKS",
    "Cut",
    "Lines",
    "chosen_edge",
    "decided",
    "frame_times",
    "lines_of",
    "warn_of_doubled",
    "warn_of_unended",
]

#: Ticks in a second; they are 25/96 ns.
TICKS = 3_840_000_000
#: Frames at most.
_MOST = 1 << 40
#: A frame ends at the latest after so many times the usual interval.
_PAUSE = 1.5
#: Reports of a trigger by several chips are at most a microsecond apart.
_SAME = TICKS // 1_000_000

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cut:
    """How frames are cut out of time; pickles small.

    Parameters
    ----------
    kind : str
        One frame of everything; equal steps from the first trigger or hit on; a frame for each
        trigger; a line of frames for each trigger.
    edge : int
        Which edge of `EDGES` triggers, -1 for none.
    chip : int
        Whose reports of it are used, -1 for those of all.
    positions : int
        Frames of a line.
    step : float
        Ticks that a frame takes at most; 0 if nothing says it.
    gated : bool
        Whether a line ends with the opposite edge.
    """

    kind: Literal["everything", "steps", "triggers", "lines"]
    edge: int = -1
    chip: int = 0
    positions: int = 1
    step: float = 0
    gated: bool = False


class Lines(NamedTuple):
    """Lines of frames in time: when each begins, how long it and a frame of it take."""

    starts: Ints
    durations: Ints
    steps: Reals
    positions: int
    usual: int  # ticks from one start to the next
    pauses: int  # starts after which frames end before the next

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.starts) * self.positions

    def edges(self, first: int, last: int) -> tuple[Reals, Reals]:
        """Return when each of some frames begins and ends."""
        line, position = np.divmod(np.arange(first, last), self.positions)
        starts, steps = self.starts[line].astype(np.float64), self.steps[line]
        ends = starts + np.minimum((position + 1) * steps, self.durations[line])
        return np.minimum(starts + position * steps, ends), ends

    def window(self, first: int, last: int) -> tuple[int, int]:
        """Return an interval that all of some frames lie in."""
        begin, end = self.edges(first, first + 1)[0], self.edges(last - 1, last)[1]
        return math.floor(begin[0]) - 1, math.ceil(end[0]) + 1


@cached(8)
def lines_of(file: DataFile, cut: Cut) -> Lines:
    """Return where the frames of a recording are in time."""
    index = index_of(file)
    if cut.kind in ("everything", "steps"):
        first, last = index.span
        if cut.edge >= 0:
            first = int(index.of_edge(cut.edge, cut.chip)[0])
        duration = max(1, last - first)
        step = cut.step if cut.kind == "steps" else float(duration)
        positions = max(1, math.ceil(duration / step))
        one = np.array([first]), np.array([duration]), np.array([step])
        return Lines(*one, positions, duration, 0)
    starts = index.triggers(cut.edge, cut.chip).times
    intervals = np.diff(starts)
    usual = int(np.median(intervals)) if len(intervals) else max(1, index.span[1] - int(starts[0]))
    durations = np.append(intervals, usual)
    pauses = 0
    if cut.gated:
        high = _until(starts, index.of_edge(cut.edge ^ 1, cut.chip))
        ended = high <= durations
        durations = np.minimum(durations, np.where(ended, high, int(np.median(high[ended]))))
    elif _is_regular(intervals, usual):
        long = durations > _PAUSE * usual
        durations[long] = usual
        pauses = int(long.sum())
    steps = np.maximum(durations, 1) / cut.positions
    if cut.step:
        steps = np.full(len(starts), cut.step)
        durations = np.minimum(durations, math.ceil(cut.positions * cut.step))
    return Lines(starts, durations, steps, cut.positions, usual, pauses)


def _is_regular(intervals: Ints, usual: int) -> bool:
    """Whether nearly all triggers follow each other at the same pace."""
    near = np.abs(intervals - usual) <= 0.2 * usual
    return len(intervals) > 2 and near.mean() >= 0.8


def warn_of_doubled(lines: Lines, edge: int, problems: Problems) -> None:
    """Say if regular triggers have others between them, as from a signal that bounces."""
    intervals = np.diff(lines.starts)
    early = np.flatnonzero(intervals < lines.usual / 2)
    if len(early) and _is_regular(intervals, lines.usual):
        problems.warn(
            f"of the triggers {EDGES[edge]}, {lines.usual / TICKS:.6g} s apart, {len(early)} come "
            f"less than half of this after the one before, the first of them number "
            f"{early[0] + 1} (from 0). Each is used; all that follows may be at wrong positions.",
            "Look for noise on the signal.",
        )


def warn_of_unended(file: DataFile, lines: Lines, cut: Cut, problems: Problems) -> None:
    """Say if it was not recorded where some lines end."""
    high = _until(lines.starts, index_of(file).of_edge(cut.edge ^ 1, cut.chip))
    lost = np.flatnonzero(high > np.append(np.diff(lines.starts), lines.usual))
    if len(lost):
        problems.warn(
            f"{len(lost)} of the lines do not end with a trigger {EDGES[cut.edge ^ 1]}, the first "
            f"of them number {lost[0]} (from 0); they are taken to last as long as the others.",
        )


def _until(starts: Ints, ends: Ints) -> Ints:
    """Return how long it takes from each start to the next end."""
    after = np.searchsorted(ends, starts, "right")
    return np.append(ends, np.iinfo(np.int64).max)[after] - starts


def _is_gate(index: Index, edge: int, chip: int) -> bool:
    """Whether a signal tells with its opposite edge where a line ends.

    A pulse that only says where it begins is short.
    """
    starts, ends = index.of_edge(edge, chip), index.of_edge(edge ^ 1, chip)
    if len(starts) < 2 or not len(ends):
        return False
    intervals, high = np.diff(starts), _until(starts, ends)[:-1]
    inside = high < intervals
    return bool(inside.mean() > 0.8 and np.median(high[inside] / intervals[inside]) > 0.6)


# ---------------------------------------------------------------- decision


def chosen_edge(index: Index, trigger: str, path: str) -> int:
    """Return the edge that triggers frames, -1 if none does."""
    names = {name.lower(): edge for edge, name in enumerate(EDGES)}
    asked = trigger.lower() if isinstance(trigger, str) else ""
    if asked == "none":
        return -1
    if asked == "auto":
        return next((edge for edge in (0, 2, 1, 3) if index.reported(edge)), -1)
    if asked not in names:
        raise ValueError(f"trigger={trigger!r} is none of 'auto', 'none', {str(EDGES)[1:-1]}")
    edge = names[asked]
    if not index.reported(edge):
        others = [name for e, name in enumerate(EDGES) if index.reported(e)]
        raise FormatError(
            path,
            f"has no triggers {EDGES[edge]}"
            + (f", but {' and '.join(others)}." if others else ", and no others."),
        )
    return edge


def decided(
    file: DataFile,
    edge: int,
    shape: tuple[int, ...] | None,
    dwell_time: float | None,
    problems: Problems,
) -> Cut:
    """Decide how to cut, and say what rests on a guess.

    Parameters
    ----------
    file : DataFile
        The recording.
    edge : int
        Which edge triggers, -1 for none.
    shape : tuple of int, optional
        Scan shape, array order.
    dwell_time : float, optional
        Seconds for each frame.
    problems : Problems
        What is said.
    """
    index, step = index_of(file), _ticks(dwell_time)
    reported = index.reported(edge) if edge >= 0 else {}
    if not reported:
        return _untriggered(file, shape, step, problems)
    chip = _reporter(index, edge, problems)
    starts, lost, unsure, _ = index.triggers(edge, chip)
    count = len(starts)
    cut = Cut("triggers", edge, chip, step=step)
    if len(lost):
        problems.warn(
            f"{len(lost)} of the triggers ({EDGES[edge]}) were lost, by the numbers that they "
            f"have, the first of them number {lost[0]} (from 0). Their frames begin where they "
            "would have been at the usual interval."
            + (
                f" Of {unsure}, nothing says whether they come before or after a pause: their "
                "frames may hold what was recorded in it."
                if unsure
                else ""
            ),
        )
    words = f"{count} triggers ({EDGES[edge]})" if count > 1 else f"1 trigger ({EDGES[edge]})"
    if shape and len(shape) > 1 and min(shape) > 0:
        positions, places = shape[-1], math.prod(shape)
        lines = places // positions
        if positions > 1 and count != places and _marks_lines(count, shape, starts, step):
            gated = _is_gate(index, edge, chip)
            cut = replace(cut, kind="lines", positions=positions, gated=gated)
            if count != lines:
                problems.warn(
                    f"{words} are neither one for each of {places} positions nor one for each of "
                    f"{lines} lines; each is taken for the beginning of a line.",
                    f"Check the scan shape. If each marks a position, there are {count}: pass "
                    "navigation_shape= with as many.",
                )
            _compare_lines(starts, positions * step, problems)
            if not step and len(starts) < 2 and not gated:
                raise FormatError(
                    file.path,
                    f"has one trigger, which does not say how long a line of {positions} "
                    "positions takes.",
                    "Pass dwell_time=, in seconds.",
                )
            return cut
        if not step and len(shape) == 2 and lines < count < places and count % lines == 0:
            scans = count // lines
            problems.warn(
                f"{words} are neither one for each of {places} positions nor one for each of "
                f"{lines} lines; each is taken for a position of a scan that was interrupted.",
                f"If they mark the lines of {scans} scans one after the other, pass "
                f"navigation_shape=({positions}, {lines}, {scans}).",
            )
        if len(shape) == 2 and count == positions and count not in (lines, places):
            problems.warn(
                f"{words} are as many as positions in a line, and not as {lines} lines or {places} "
                "positions.",
                f"If they mark lines, pass navigation_shape=({lines}, {positions}).",
            )
    if step and count > 1:
        usual = float(np.median(np.diff(starts)))
        if step < usual / 2 and not (shape and count == math.prod(shape)):
            problems.warn(
                f"{words} are {usual / TICKS:.6g} s apart, many times dwell_time; frames are cut "
                "one after the other from the first trigger on.",
                "If a trigger marks each line, pass navigation_shape= too.",
            )
            return replace(cut, kind="steps")
    if count == 1:
        _compare_duration(index.span[1] - int(starts[0]), step, problems)
    return replace(cut, kind="steps") if step and count == 1 else cut


def _compare_lines(starts: Ints, line: float, problems: Problems) -> None:
    """Say that lines last longer, by dwell_time, than from one to the next."""
    usual = float(np.median(np.diff(starts))) if len(starts) > 1 else math.inf
    if line > _PAUSE * usual:
        problems.warn(
            f"lines of the scan begin every {usual / TICKS:.6g} s, and their positions take "
            f"{line / TICKS:.6g} s by dwell_time: the last ones of each line are empty.",
            "dwell_time is in seconds.",
        )


def _compare_duration(duration: int, step: float, problems: Problems) -> None:
    """Say that all that comes after the only trigger is one frame."""
    if not step:
        problems.warn(
            f"all hits after the only trigger, of {duration / TICKS:.6g} s, are one frame.",
            "Pass dwell_time= in seconds to cut them into frames of this length.",
        )
    elif step > duration:
        _warn_of_long_frame(duration, step, problems)


def _warn_of_long_frame(duration: int, step: float, problems: Problems) -> None:
    problems.warn(
        f"dwell_time, {step / TICKS:.6g} s, is longer than the recording, of "
        f"{duration / TICKS:.6g} s, so that all of it is one frame.",
        "dwell_time is in seconds.",
    )


def _reporter(index: Index, edge: int, problems: Problems) -> int:
    """Return the chip whose reports of an edge are used, -1 for all of them.

    Usually each chip reports every trigger.
    """
    counts = index.reported(edge)
    chip = max(counts, key=lambda c: (counts[c], -c))
    if len(counts) == 1:
        return chip
    text = ", ".join(f"chip {c}: {n}" for c, n in counts.items())
    times = index.of_edge(edge, chip)
    others = np.sort(index.times[index.reports(edge, -1) & (index.chips != chip)])
    after = np.searchsorted(times, others)
    before, behind = times[np.maximum(after - 1, 0)], times[np.minimum(after, len(times) - 1)]
    apart = np.minimum(np.abs(others - before), np.abs(others - behind))
    if (apart <= _SAME).mean() < 0.5:
        problems.warn(
            f"the chips report the triggers {EDGES[edge]} at different times ({text}), so that "
            "all of them are used.",
            "Either each chip reports some of them, or the clocks of the chips do not agree.",
        )
        return -1
    if len(set(counts.values())) > 1:
        problems.warn(
            f"the chips report different numbers of triggers {EDGES[edge]} ({text}); those of "
            f"chip {chip} are used."
        )
    elif missed := int(np.count_nonzero(apart > _SAME)):
        problems.warn(
            f"the chips report different triggers {EDGES[edge]}; those of chip {chip} are used, "
            f"which does not report {missed} of others."
        )
    return chip


def _marks_lines(count: int, shape: tuple[int, ...], starts: Ints, step: float) -> bool:
    """Whether so many triggers are lines of a scan rather than positions.

    The lines of scans that were repeated are as many as the positions of one that was interrupted
    may be; only the time between them, with the dwell time, can tell.
    """
    lines, positions = math.prod(shape[:-1]), shape[-1]
    if abs(count - lines) <= max(1, lines // 50):
        return True
    if not step or len(starts) < 2 or not lines < count < lines * positions or count % lines:
        return False
    return float(np.median(np.diff(starts))) > 0.9 * positions * step


def _untriggered(
    file: DataFile, shape: tuple[int, ...] | None, step: float, problems: Problems
) -> Cut:
    """Decide how to cut what has no triggers."""
    index = index_of(file)
    first, last = index.span
    seconds = (last - first) / TICKS
    places = math.prod(shape) if shape and min(shape) > 0 else 0
    if step:
        if (last - first) / step > _MOST:
            raise FormatError(
                file.path,
                f"lasts {seconds:.6g} s, which dwell_time would cut into more than {_MOST} frames.",
                "It is in seconds.",
            )
        if step > last - first:
            _warn_of_long_frame(last - first, step, problems)
        return Cut("steps", step=step)
    if places > 1:
        raise FormatError(
            file.path,
            f"has no triggers that say when each of {places} positions begins.",
            f"Pass dwell_time= in seconds; if the {seconds:.6g} s from the first to the last hit "
            f"are the whole scan, it is {seconds / places:.6g}.",
        )
    problems.warn(
        f"all hits, of {seconds:.6g} s, are one frame: "
        + (
            "triggers are ignored." if len(index.times) else "there are no triggers to cut them at."
        ),
        "Pass dwell_time= in seconds to cut them into frames of this length.",
    )
    return Cut("everything")


def _ticks(dwell_time: float | None) -> float:
    """Return the ticks that a frame takes, 0 if nobody says it."""
    if dwell_time is None:
        return 0
    if isinstance(dwell_time, bool) or not isinstance(dwell_time, (int, float, np.number)):
        raise TypeError(f"dwell_time must be a number of seconds, not {dwell_time!r}")
    step = float(dwell_time) * TICKS
    if not 1 <= step < 1 << 60:
        raise ValueError(f"dwell_time={dwell_time!r} is not a time in seconds that frames can take")
    return step


# ---------------------------------------------------------------- times of frames


def frame_times(file: DataFile, cut: Cut, first: int, last: int) -> FrameTimes:
    """Return when frames begin, in nanoseconds after the first one, and how long they take."""
    lines = lines_of(file, cut)
    begins, ends = lines.edges(first, last)
    begins, ends = ((edge - float(lines.starts[0])) * 25 / 96 for edge in (begins, ends))
    return FrameTimes(np.rint(begins).astype(np.int64), np.rint(ends - begins).astype(np.int64))
