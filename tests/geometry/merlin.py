# SPDX-License-Identifier: GPL-3.0-or-later
"""Families of Merlin recordings: headers with times, exposures and numbers, and a .hdr."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .engine import (
    EVENT,
    MS,
    SECOND,
    US,
    Events,
    Recording,
    Rng,
    Setting,
    draw,
    draw_size,
    log_uniform,
    numbered,
    raster,
    stamped,
    train,
)
from .registry import family


def merlin(
    rng: Rng,
    events: Events,
    s: Setting,
    *,
    extra: int = 0,
    count: bool = True,
    begin: int | None = None,
    claims: dict[str, Any] | None = None,
    **facts: Any,
) -> Recording:
    """Make a Merlin recording of what happened. `claims`: what the .hdr says, None: there is none.

    `count` lets the camera count what it stores; otherwise it has counted already.
    """
    events = stamped(rng, numbered(events) if count else events, s, begin=begin)
    parameters = {**s.described(), **facts.pop("parameters", {})}
    whole = {"lines": s.lines, "width": s.columns + extra, **facts}
    return Recording("mib", events, claims=claims or {}, parameters=parameters, **whole)


def pixel_trigger(events: Events, **claims: Any) -> dict[str, Any]:
    """Claims of a .hdr of a scan that triggers every frame."""
    return {"frames": len(events), "frames_per_trigger": 1, "trigger": "Rising Edge", **claims}


def maybe_header(rng: Rng, events: Events) -> dict[str, Any]:
    """No header, or one that says nothing about lines."""
    if rng.random() < 0.5:
        return {}
    return pixel_trigger(events, frames_per_trigger=int(rng.choice([1, 0])))


def right_header(rng: Rng, s: Setting, events: Events, width: int = 0) -> dict[str, Any]:
    """Claims that are right: size, line trigger or both."""
    n = s.lines * (width or s.columns)
    size = {"scan_x": s.columns, "scan_y": s.lines}
    lines = {"frames_per_trigger": width or s.columns}
    kinds = [size, lines, size | lines]
    return pixel_trigger(events, frames=n) | kinds[rng.integers(3)]


def some_header(rng: Rng, s: Setting, events: Events) -> dict[str, Any]:
    return maybe_header(rng, events) if rng.random() < 0.5 else right_header(rng, s, events)


@family
def complete(rng: Rng) -> Recording:
    s = draw(rng, "folded" if rng.random() < 0.3 else "single")
    events = raster(rng, s)
    return merlin(rng, events, s, claims=maybe_header(rng, events))


@family
def right_header_(rng: Rng) -> Recording:
    s = draw(rng, "any")
    events = raster(rng, s)
    return merlin(rng, events, s, claims=right_header(rng, s, events))


def stale_size(rng: Rng, s: Setting) -> tuple[int, int]:
    """Return lines and columns of another scan, often with as many positions."""
    n = s.lines * s.columns
    divisors = [k for k in range(2, n // 2 + 1) if n % k == 0 and k not in (s.columns, s.lines)]
    if divisors and rng.random() < 0.5:
        columns = int(rng.choice(divisors))
        return n // columns, columns
    while True:
        lines, columns = draw_size(rng)
        if columns != s.columns and lines != s.columns:
            return lines, columns


@family
def stale_ScanX(rng: Rng) -> Recording:  # noqa: N802 - the name of the field
    s = draw(rng, "folded" if rng.random() < 0.3 else "single", least=4)
    events = raster(rng, s)
    lines, columns = stale_size(rng, s)
    claims = pixel_trigger(events, scan_x=columns, scan_y=lines)
    if rng.random() < 0.3:
        claims["frames_per_trigger"] = s.columns  # this one is right
    return merlin(rng, events, s, claims=claims, parameters={"claims": claims})


@family
def stale_frames_per_trigger(rng: Rng) -> Recording:
    s = draw(rng, least=4)
    events = raster(rng, s)
    claims = pixel_trigger(events, frames_per_trigger=stale_size(rng, s)[1])
    return merlin(rng, events, s, claims=claims, parameters={"claims": claims})


@family
def transposed_header(rng: Rng) -> Recording:
    while (s := draw(rng, least=4)).lines == s.columns:
        pass
    events = raster(rng, s)
    return merlin(rng, events, s, claims=pixel_trigger(events, scan_x=s.lines, scan_y=s.columns))


@family
def late_start(rng: Rng) -> Recording:
    s = draw(rng, least=5)
    events = raster(rng, s)
    lost = int(rng.integers(1, min(2 * s.columns, len(events) // 3)))
    claims = some_header(rng, s, events)
    return merlin(rng, events[lost:], s, claims=claims, parameters={"lost": lost})


@family
def early_stop(rng: Rng) -> Recording:
    s = draw(rng, least=5)
    events = raster(rng, s)
    lost = int(rng.integers(1, min(2 * s.columns, len(events) // 3)))
    claims = some_header(rng, s, events)
    return merlin(rng, events[:-lost], s, claims=claims, parameters={"lost": lost})


def rest(rng: Rng, s: Setting) -> float:
    """Time between a scan and frames that are not part of it."""
    return max(s.dwell, s.gap) * float(rng.uniform(8, 200))


def outside(rng: Rng, s: Setting) -> int:
    """Return a number of frames outside the scan; whole lines of them could be lines of it."""
    return int(rng.choice([n for n in range(1, 2 * s.columns) if n != s.columns]))


@family
def frames_before(rng: Rng) -> Recording:
    s = draw(rng, least=5)
    events = raster(rng, s)
    more = outside(rng, s)
    before = train(more, s)
    before["time"] -= before["time"][-1] + rest(rng, s)
    claims = some_header(rng, s, events)
    return merlin(
        rng, np.concatenate([before, events]), s, claims=claims, parameters={"before": more}
    )


@family
def frames_behind(rng: Rng) -> Recording:
    s = draw(rng, least=5)
    events = raster(rng, s)
    more = outside(rng, s)
    behind = train(more, s, events["time"][-1] + rest(rng, s))
    claims = some_header(rng, s, events)
    return merlin(
        rng, np.concatenate([events, behind]), s, claims=claims, parameters={"behind": more}
    )


def without(rng: Rng, events: Events, most: int = 1) -> tuple[Events, list[int]]:
    """Lose frames inside a recording."""
    lost = np.unique(rng.integers(1, len(events) - 1, most))
    return np.delete(events, lost), lost.tolist()


@family
def lost_with_jump(rng: Rng) -> Recording:
    s = draw(rng, least=5)
    events, lost = without(rng, numbered(raster(rng, s)))
    claims = some_header(rng, s, events)
    return merlin(rng, events, s, count=False, claims=claims, parameters={"lost": lost})


@family
def missed_trigger(rng: Rng) -> Recording:
    s = draw(rng, least=5)
    events, lost = without(rng, raster(rng, s))
    claims = some_header(rng, s, events)
    return merlin(rng, events, s, claims=claims, parameters={"lost": lost})


@family
def several_lost(rng: Rng) -> Recording:
    s = draw(rng, least=8)
    jump = rng.random() < 0.5
    events = numbered(raster(rng, s))
    events, lost = without(rng, events, int(rng.integers(2, 5)))
    claims = some_header(rng, s, events)
    parameters = {"lost": lost, "jump": jump}
    return merlin(rng, events, s, count=not jump, claims=claims, parameters=parameters)


@family
def lost_and_one_more_behind(rng: Rng) -> Recording:
    s = draw(rng, least=5)
    events, lost = without(rng, raster(rng, s))
    behind = train(1, s, events["time"][-1] + rest(rng, s))
    claims = some_header(rng, s, events)
    parameters = {"lost": lost}
    events = np.concatenate([events, behind])
    return merlin(rng, events, s, claims=claims, parameters=parameters)


@family
def lost_in_a_tiny_scan(rng: Rng) -> Recording:
    s = draw(rng, least=4, most=12)
    events, lost = without(rng, numbered(raster(rng, s)))
    claims = maybe_header(rng, events)
    return merlin(rng, events, s, count=False, claims=claims, parameters={"lost": lost})


@family
def doubled_frame(rng: Rng) -> Recording:
    s = draw(rng, least=5)
    events = numbered(raster(rng, s))
    again = np.unique(rng.integers(1, len(events) - 1, int(rng.integers(1, 3))))
    events = np.insert(events, again, events[again])
    claims = some_header(rng, s, events)
    return merlin(
        rng, events, s, count=False, claims=claims, parameters={"doubled": again.tolist()}
    )


def flown_back(
    rng: Rng, s: Setting, extra: int, first: bool, mark: str, claims: dict[str, Any]
) -> Recording:
    """Make a scan with `extra` frames per line, at its beginning or at its end."""
    events = raster(rng, s, extra)
    width = s.columns + extra
    flyback = tuple(range(extra)) if first else tuple(range(s.columns, width))
    if mark == "exposure":  # open while the beam flew back
        long = float(rng.uniform(2, 6)) * s.dwell
        marks = np.isin(events["column"], flyback)
        events["exposure"][marks] = round(long * (1 - s.dead))
        late = np.cumsum(marks) * (long - s.dwell)
        events["time"] += np.concatenate([[0], late[:-1]])
    elif mark == "nothing":
        events["time"] = np.arange(len(events)) * s.dwell
    parameters = {"extra": extra, "first": first, "mark": mark}
    facts: dict[str, Any] = {"flyback": flyback, "parameters": parameters}
    return merlin(rng, events, s, extra=extra, claims=claims, **facts)


@family
def flyback_frame_exposed_longer(rng: Rng) -> Recording:
    s = draw(rng, least=5)
    claims = pixel_trigger(np.zeros(s.lines * (s.columns + 1), EVENT))
    if rng.random() < 0.5:
        claims |= {"scan_x": s.columns, "scan_y": s.lines}
    claims = claims if rng.random() < 0.7 else {}
    return flown_back(rng, s, 1, rng.random() < 0.5, "exposure", claims)


@family
def flyback_frame_seen_in_times(rng: Rng) -> Recording:
    s = draw(rng, least=5)
    n = s.lines * (s.columns + 1)
    claims = pixel_trigger(np.zeros(n, EVENT), scan_x=s.columns, scan_y=s.lines)
    return flown_back(rng, s, 1, rng.random() < 0.5, "times", claims if rng.random() < 0.7 else {})


@family
def flyback_frame_not_marked(rng: Rng) -> Recording:
    s = draw(rng, "any", least=5)
    n = s.lines * (s.columns + 1)
    claims = pixel_trigger(np.zeros(n, EVENT), scan_x=s.columns, scan_y=s.lines)
    if rng.random() < 0.7:
        claims["frames_per_trigger"] = s.columns + 1
    return flown_back(rng, s, 1, rng.random() < 0.5, "nothing", claims)


@family
def several_extra_frames_per_line(rng: Rng) -> Recording:
    s = draw(rng, least=5)
    extra = min(int(rng.integers(2, 5)), s.columns // 2)  # more look like scans repeated
    n = s.lines * (s.columns + extra)
    claims = pixel_trigger(np.zeros(n, EVENT), scan_x=s.columns, scan_y=s.lines)
    mark = "times" if rng.random() < 0.6 else "nothing"
    if rng.random() < 0.6 or mark == "nothing":
        claims["frames_per_trigger"] = s.columns + extra
    return flown_back(rng, s, extra, rng.random() < 0.5, mark, claims)


@family
def first_frame_of_each_line_missed(rng: Rng) -> Recording:
    s = draw(rng, least=5)
    events = raster(rng, s, missed=1)
    size = {"scan_x": s.columns, "scan_y": s.lines}
    claims = pixel_trigger(events, **size) if rng.random() < 0.7 else {}
    return merlin(rng, events, s, claims=claims)


@family
def line_trigger(rng: Rng) -> Recording:
    s = draw(rng, "any")
    events = raster(rng, s)
    claims = pixel_trigger(events, frames_per_trigger=s.columns)
    return merlin(rng, events, s, claims=claims)


@family
def line_trigger_stopped(rng: Rng) -> Recording:
    s = draw(rng, least=4)
    events = raster(rng, s)
    lost = int(rng.integers(1, 2 * s.columns))
    claims = pixel_trigger(events, frames_per_trigger=s.columns)
    return merlin(rng, events[:-lost], s, claims=claims, parameters={"lost": lost})


@family
def line_cut_short(rng: Rng) -> Recording:
    s = draw(rng, least=6)
    events = raster(rng, s)
    line, rest_of = int(rng.integers(1, s.lines - 1)), int(rng.integers(1, s.columns))
    cut = (events["line"] == line) & (events["column"] >= rest_of)
    claims = pixel_trigger(events, frames_per_trigger=s.columns)
    parameters = {"line": line, "frames": rest_of}
    unclear = frozenset([line])
    return merlin(rng, events[~cut], s, claims=claims, parameters=parameters, unclear=unclear)


@family
def repeats(rng: Rng) -> Recording:
    s = draw(rng, most=24)
    count = int(rng.integers(2, 6))
    events = raster(rng, s, repeats=count, pause=rest(rng, s))
    claims = pixel_trigger(events, scan_x=s.columns, scan_y=s.lines)
    if rng.random() < 0.5:
        claims = maybe_header(rng, events)
    return merlin(rng, events, s, claims=claims, repeats=count, parameters={"repeats": count})


@family
def clock_set(rng: Rng) -> Recording:
    s = draw(rng, least=6)
    events = raster(rng, s)
    at = int(rng.integers(2, len(events) - 2))
    step = float(rng.choice([0.7, 3600, -0.7, -3600, 37.0])) * SECOND
    events["time"][at:] += step
    claims = some_header(rng, s, events)
    parameters = {"at": at, "set_s": step / SECOND}
    return merlin(rng, events, s, claims=claims, parameters=parameters)


@family
def midnight(rng: Rng) -> Recording:
    s = draw(rng, least=5)
    events = raster(rng, s)
    day = 86_400 * SECOND
    begin = 18_750 * day - int(events["time"][-1] * rng.uniform(0.1, 0.9))
    return merlin(rng, events, s, claims=some_header(rng, s, events), begin=begin)


@family
def late_system(rng: Rng) -> Recording:
    s = draw(rng, least=6)
    events = raster(rng, s)
    late = np.unique(rng.integers(2, len(events) - 2, int(rng.integers(1, 4))))
    for i in late:
        events["time"][i:] += rng.uniform(2.3, 6) * max(s.dwell, s.gap)
    claims = some_header(rng, s, events)
    return merlin(rng, events, s, claims=claims, parameters={"late": late.tolist()})


@family
def several_troubles(rng: Rng) -> Recording:
    """Begun late, or frames ahead of the scan; frames lost; stopped, or frames behind the scan."""
    s = draw(rng, least=8)
    events = numbered(raster(rng, s))
    lost: list[int] = []
    if rng.random() < 0.7:
        events, lost = without(rng, events, int(rng.integers(1, 3)))
    parts = [events[int(rng.integers(0, s.columns)) :]]
    if rng.random() < 0.5:
        before = train(outside(rng, s), s)
        before["time"] -= before["time"][-1] + rest(rng, s)
        parts = [before, events]
    if rng.random() < 0.5:
        parts.append(train(outside(rng, s), s, events["time"][-1] + rest(rng, s)))
    header = rng.choice(["none", "right", "stale"])
    claims = maybe_header(rng, events)
    if header == "right":
        claims = right_header(rng, s, events)
    elif header == "stale":
        lines, columns = stale_size(rng, s)
        claims = pixel_trigger(events, scan_x=columns, scan_y=lines)
    parameters = {"lost": lost, "header": str(header), "parts": [len(part) for part in parts]}
    return merlin(rng, np.concatenate(parts), s, claims=claims, parameters=parameters)


@family
def stamps_of_1_ms(rng: Rng) -> Recording:
    s = draw(rng, unit=MS)
    events = raster(rng, s)
    return merlin(rng, events, s, claims=maybe_header(rng, events))


@family
def stamps_of_1_ms_right_header(rng: Rng) -> Recording:
    s = replace(draw(rng, "any"), unit=MS)
    events = raster(rng, s)
    return merlin(rng, events, s, claims=right_header(rng, s, events))


def in_batches(rng: Rng, events: Events, size: int) -> Events:
    """Stamp frames when a buffer of `size` is full."""
    events = events.copy()
    last = np.minimum(np.arange(len(events)) // size * size + size, len(events)) - 1
    inner = rng.uniform(0.3, 3, len(events)) * US
    events["time"] = np.maximum.accumulate(events["time"][last]) + np.cumsum(inner)
    return events


@family
def stamps_in_batches_right_header(rng: Rng) -> Recording:
    s = replace(draw(rng, "any"), unit=100)
    size = int(rng.integers(3, 20))
    events = in_batches(rng, raster(rng, s), size)
    claims = right_header(rng, s, events)
    return merlin(rng, events, replace(s, jitter=0), claims=claims, parameters={"batch": size})


# -- no scans ------------------------------------------------------------------------------------


def draw_series(rng: Rng) -> tuple[Events, Setting, int]:
    """Return a series, its setting and a number of frames that divides it, more often than not."""
    s = draw(rng, "any")
    period = max(3, s.columns)
    count = period * s.lines + (int(rng.integers(1, period)) if rng.random() < 0.3 else 0)
    return train(count, s), s, period


def series(rng: Rng, events: Events, s: Setting, **facts: Any) -> Recording:
    return merlin(rng, events, s, lines=0, width=0, **facts)


def internal(events: Events, **claims: Any) -> dict[str, Any]:
    """Claims of a .hdr of a camera that triggered itself."""
    frames = {"frames": len(events), "frames_per_trigger": len(events)}
    return {**frames, "trigger": "Internal", **claims}


@family
def time_series(rng: Rng) -> Recording:
    events, s, _ = draw_series(rng)
    return series(rng, events, s, claims={} if rng.random() < 0.5 else internal(events))


@family
def internal_with_frames_per_trigger(rng: Rng) -> Recording:
    events, s, period = draw_series(rng)
    return series(rng, events, s, claims=internal(events, frames_per_trigger=period))


@family
def internal_with_pauses(rng: Rng) -> Recording:
    events, s, period = draw_series(rng)
    events["time"] += np.arange(len(events)) // period * s.gap
    claims = internal(events, frames_per_trigger=int(rng.choice([1, len(events), period])))
    return series(rng, events, s, claims=claims, parameters={"period": period})


@family
def internal_with_long_images(rng: Rng) -> Recording:
    events, s, period = draw_series(rng)
    marks = np.arange(len(events)) % period == period - 1
    long = float(rng.uniform(2, 6))
    events["exposure"][marks] = round(long * s.exposure)
    events["time"][1:] += np.cumsum(marks)[:-1] * (long - 1) * s.dwell
    return series(rng, events, s, claims=internal(events), parameters={"period": period})


@family
def jittered_series(rng: Rng) -> Recording:
    events, s, _ = draw_series(rng)
    s = replace(s, jitter=float(rng.uniform(0.01, 0.15)) * s.dwell)
    return series(rng, events, s)


@family
def rotation_series(rng: Rng) -> Recording:
    events, s, _ = draw_series(rng)
    wait = np.exp(rng.normal(0, float(rng.uniform(0.1, 0.6)), len(events))) * 3 * s.dwell
    events["time"] += np.cumsum(wait)
    claims = {} if rng.random() < 0.6 else pixel_trigger(events, trigger="Software")
    return series(rng, events, s, claims=claims)


@family
def series_with_odd_pauses(rng: Rng) -> Recording:
    events, s, _ = draw_series(rng)
    pauses = rng.random(len(events)) < float(rng.uniform(0.01, 0.1))
    events["time"] += np.cumsum(pauses * rng.uniform(0.5, 20, len(events))) * s.dwell
    return series(rng, events, s)


@family
def series_with_one_pause(rng: Rng) -> Recording:
    events, s, _ = draw_series(rng)
    at = len(events) // 2 if rng.random() < 0.6 else int(rng.integers(2, len(events) - 2))
    events["time"][at:] += rest(rng, s)
    return series(rng, events, s, parameters={"at": at})


@family
def series_with_stamps_in_batches(rng: Rng) -> Recording:
    events, s, _ = draw_series(rng)
    size = int(rng.integers(3, 20))
    s = replace(s, unit=100, jitter=0)
    return series(rng, in_batches(rng, events, size), s, parameters={"batch": size})


def uneven(rng: Rng) -> float:
    """Return a dwell time that is not a whole number of ms: rounding comes and goes regularly."""
    dwell = log_uniform(rng, 1.05, 12)
    return (dwell if rng.random() < 0.5 else round(dwell * 20) / 20) * MS


@family
def series_with_stamps_of_1_ms(rng: Rng) -> Recording:
    events, s, _ = draw_series(rng)
    s = replace(s, dwell=uneven(rng))
    events = train(len(events), s)
    return series(rng, events, replace(s, unit=MS, jitter=min(s.jitter, US)))


# -- what no file can tell -----------------------------------------------------------------------


@family
def no_time_lost_between_lines(rng: Rng) -> Recording:
    s = replace(draw(rng, "any"), gap=0, scatter=0)
    events = raster(rng, s)
    return merlin(rng, events, s, claims=maybe_header(rng, events), tellable=False)


@family
def gap_hidden_in_the_jitter(rng: Rng) -> Recording:
    s = draw(rng, "any")
    s = replace(s, gap=0.02 * s.dwell, scatter=0, jitter=0.1 * s.dwell)
    events = raster(rng, s)
    return merlin(rng, events, s, claims=maybe_header(rng, events), tellable=False)


@family
def stamps_in_batches(rng: Rng) -> Recording:
    s = replace(draw(rng, "any"), unit=100)
    size = int(rng.integers(3, 20))
    events = in_batches(rng, raster(rng, s), size)
    s = replace(s, jitter=0)
    return merlin(rng, events, s, tellable=False, parameters={"batch": size})


@family
def serpentine(rng: Rng) -> Recording:
    s = draw(rng)
    events = raster(rng, s)
    odd = events["line"] % 2 == 1
    events["column"][odd] = s.columns - 1 - events["column"][odd]
    return merlin(rng, events, s, claims=right_header(rng, s, events), tellable=False)


@family
def scan_with_internal_trigger(rng: Rng) -> Recording:
    s = draw(rng)
    events = raster(rng, s)
    return merlin(rng, events, s, claims=internal(events), tellable=False)


@family
def disk_pauses(rng: Rng) -> Recording:
    events, s, period = draw_series(rng)
    events["time"] += np.arange(len(events)) // period * s.gap
    parameters = {"period": period}
    return series(rng, events, s, tellable=False, parameters=parameters)


@family
def long_image_every_k_frames(rng: Rng) -> Recording:
    made = internal_with_long_images(rng)
    return replace(made, claims={}, tellable=False)
