# SPDX-License-Identifier: GPL-3.0-or-later
"""Families of formats that tell less than Merlin's, or other things."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from . import merlin
from .engine import (
    MS,
    US,
    Events,
    Recording,
    Rng,
    Setting,
    draw,
    log_uniform,
    numbered,
    raster,
    stamped,
    train,
)
from .merlin import in_batches, stale_size, without
from .registry import FAMILIES, Maker, family


def small(rng: Rng, most: int = 24) -> Setting:
    """Draw a scan for files that are slow to write, or whose frames are large."""
    return draw(rng, "any", most=most)


def recording(form: str, events: Events, s: Setting, extra: int = 0, **facts: Any) -> Recording:
    """Make a recording of `form`; `facts` as in `Recording`."""
    parameters = {"lines": s.lines, "columns": s.columns, **facts.pop("parameters", {})}
    whole = {"lines": s.lines, "width": s.columns + extra, **facts}
    return Recording(form, events, parameters=parameters, **whole)


def stopped(rng: Rng, events: Events, s: Setting) -> Events:
    """Stop within the last two lines; two complete ones are left."""
    return events[: -int(rng.integers(1, min(2 * s.columns, len(events) - 2 * s.columns + 1)))]


# -- StreamPix: times of the computer, nothing else ----------------------------------------------


def as_seq(name: str, maker: Maker) -> None:
    """List what a camera that only leaves times makes of a family of Merlin's."""

    def make_seq(rng: Rng) -> Recording:
        made = maker(rng)
        events = made.events.copy()
        events["time"] = events["time"] // US * US
        return replace(made, format="seq", claims={}, events=events)

    FAMILIES[f"seq {name}"] = make_seq


for _name, _maker in {
    "complete": merlin.complete,
    "late start": merlin.late_start,
    "early stop": merlin.early_stop,
    "frames before": merlin.frames_before,
    "frames behind": merlin.frames_behind,
    "missed trigger": merlin.missed_trigger,
    "several lost": merlin.several_lost,
    "late system": merlin.late_system,
    "repeats": merlin.repeats,
    "time series": merlin.time_series,
    "jittered series": merlin.jittered_series,
    "series with one pause": merlin.series_with_one_pause,
    "no time lost between lines": merlin.no_time_lost_between_lines,
}.items():
    as_seq(_name, _maker)


@family
def seq_clock_of_the_computer(rng: Rng) -> Recording:
    while True:
        s = draw(rng)
        jitter = min(log_uniform(rng, 5 * US, 300 * US), 0.1 * s.dwell)
        s = replace(s, jitter=jitter, unit=US)
        if s.single:
            break
    return recording("seq", stamped(rng, raster(rng, s), s), s, parameters=s.described())


@family
def seq_series_in_batches(rng: Rng) -> Recording:
    events, s, _ = merlin.draw_series(rng)
    size = int(rng.integers(3, 20))
    s = replace(s, unit=US, jitter=0)
    events = stamped(rng, in_batches(rng, events, size), s)
    return recording("seq", events, s, lines=0, width=0, parameters={"batch": size})


# -- TVIPS: times in ms, counters, and coordinates if the scan was run by the camera's program ----


def in_ms(rng: Rng, events: Events, s: Setting) -> Events:
    return stamped(rng, numbered(events), replace(s, unit=MS))


def coordinates(events: Events) -> dict[str, Any]:
    """Scan coordinates and rotator index as the camera's program notes them down."""
    scan = list(zip(events["line"].tolist(), events["column"].tolist(), strict=True))
    return {"scan": scan}


@family
def tvips_coordinates(rng: Rng) -> Recording:
    s = small(rng)
    events = raster(rng, s)
    return recording("tvips", in_ms(rng, events, s), s, claims=coordinates(events))


@family
def tvips_coordinates_and_lost_frames(rng: Rng) -> Recording:
    s = small(rng)
    events, lost = without(rng, raster(rng, s), int(rng.integers(1, 4)))
    claims = coordinates(events)
    parameters = {"lost": lost}
    return recording("tvips", in_ms(rng, events, s), s, claims=claims, parameters=parameters)


@family
def tvips_coordinates_stopped(rng: Rng) -> Recording:
    s = small(rng)
    events = raster(rng, s)
    events = stopped(rng, events, s)
    return recording("tvips", in_ms(rng, events, s), s, claims=coordinates(events))


@family
def tvips_coordinates_repeated(rng: Rng) -> Recording:
    s = small(rng, 12)
    count = int(rng.integers(2, 4))
    events = raster(rng, s, repeats=count)
    return recording("tvips", in_ms(rng, events, s), s, claims=coordinates(events), repeats=count)


@family
def tvips_coordinates_and_waiting_frames(rng: Rng) -> Recording:
    """The beam waits at the first position, and rests at the last one."""
    s = small(rng)
    events = raster(rng, s)
    before, behind = (int(n) for n in rng.integers(0, 2 * s.columns, 2))
    events = np.pad(events, (before, behind), mode="edge")
    events["time"] = np.arange(len(events)) * s.dwell
    parameters = {"before": before, "behind": behind}
    claims = coordinates(events)
    return recording("tvips", in_ms(rng, events, s), s, claims=claims, parameters=parameters)


def slow(rng: Rng) -> Setting:
    """Draw a scan of which the line ends are seen in whole ms."""
    return draw(rng, most=24, unit=MS)


@family
def tvips_times(rng: Rng) -> Recording:
    s = slow(rng)
    events = in_ms(rng, raster(rng, s), s)
    # a camera whose rotator never moved runs on its own clock: a movie that pauses looks the same
    return recording("tvips", events, s, parameters=s.described(), tellable=False)


@family
def tvips_missed_trigger(rng: Rng) -> Recording:
    while (s := slow(rng)).lines < 5:
        pass
    events, lost = without(rng, raster(rng, s))
    parameters = {**s.described(), "lost": lost}
    events = in_ms(rng, events, s)
    return recording("tvips", events, s, parameters=parameters, tellable=False)


@family
def tvips_series(rng: Rng) -> Recording:
    s = replace(small(rng), dwell=merlin.uneven(rng))
    events = train(s.lines * s.columns, s)
    return recording("tvips", in_ms(rng, events, s), s, lines=0, width=0)


# -- Dectris: no times; what was planned, and the file of the scanning program --------------------


def triggered(s: Setting, extra: int = 0) -> dict[str, Any]:
    """Claims of a detector that gets a trigger for each line."""
    return {"nimages": s.columns + extra, "ntrigger": s.lines}


def sized(s: Setting) -> dict[str, Any]:
    """Claims of a detector that gets a trigger for each frame, and of the scanning program."""
    return {"nimages": 1, "ntrigger": s.lines * s.columns, "side": (s.lines, s.columns)}


def dectris(rng: Rng, s: Setting, claims: dict[str, Any], **facts: Any) -> Recording:
    extra = facts.get("extra", 0)
    events = facts.pop("events", None)
    if events is None:
        events = numbered(raster(rng, s, extra))
    claims = {"per_file": int(rng.choice([5, 7, 100])), **claims}
    parameters = {"claims": claims, **facts.pop("parameters", {})}
    return recording("dectris", events, s, claims=claims, parameters=parameters, **facts)


@family
def dectris_line_trigger(rng: Rng) -> Recording:
    s = small(rng)
    return dectris(rng, s, triggered(s))


@family
def dectris_side_file(rng: Rng) -> Recording:
    s = small(rng)
    return dectris(rng, s, sized(s) | (triggered(s) if rng.random() < 0.5 else {}))


@family
def dectris_flyback_frame(rng: Rng) -> Recording:
    s = small(rng)
    first = rng.random() < 0.5
    claims = sized(s) | triggered(s, 1)
    return dectris(rng, s, claims, extra=1, flyback=(0,) if first else (s.columns,))


@family
def dectris_stale_side_file(rng: Rng) -> Recording:
    s = small(rng)
    claims = triggered(s) | {"side": stale_size(rng, s)}
    return dectris(rng, s, claims)


@family
def dectris_stopped(rng: Rng) -> Recording:
    s = small(rng)
    events = numbered(raster(rng, s))
    events = stopped(rng, events, s)
    claims = triggered(s) if rng.random() < 0.5 else sized(s)
    return dectris(rng, s, claims, events=events)


@family
def dectris_lost_images(rng: Rng) -> Recording:
    s = draw(rng, "any", least=5, most=24)
    events = numbered(raster(rng, s))
    per_file = int(rng.choice([5, 7, 10]))
    # numbers are those of the first and last image of a file: whole files are lost
    cuts = np.arange(per_file, len(events) - per_file, per_file)
    cut = int(rng.choice(cuts)) if len(cuts) else per_file
    lost = np.arange(cut, cut + int(rng.integers(1, per_file)))
    events = np.delete(events, lost)
    ends = [*range(0, cut, per_file), *range(cut, len(events), per_file)]
    claims = (triggered(s) if rng.random() < 0.5 else sized(s)) | {"begins": ends}
    return dectris(rng, s, claims, events=events, parameters={"lost": lost.tolist()})


@family
def dectris_series(rng: Rng) -> Recording:
    s = small(rng)
    events = numbered(train(s.lines * s.columns, s))
    claims = {"nimages": len(events), "ntrigger": 1}
    return dectris(rng, s, claims, events=events, lines=0, width=0)


@family
def dectris_trigger_per_frame(rng: Rng) -> Recording:
    s = small(rng)
    claims = {"nimages": 1, "ntrigger": s.lines * s.columns}
    return dectris(rng, s, claims, tellable=False)


@family
def dectris_stale_side_file_alone(rng: Rng) -> Recording:
    s = small(rng)
    return dectris(rng, s, sized(s) | {"side": stale_size(rng, s)}, tellable=False)


# -- blockfiles: size and numbers ----------------------------------------------------------------


def blockfile(s: Setting, events: Events, **facts: Any) -> Recording:
    claims = {"scan": (s.lines, s.columns)}
    return recording("blo", events, s, claims=claims, **facts)


def counted_from_0(events: Events) -> Events:
    events = events.copy()
    events["number"] = np.arange(len(events))
    return events


@family
def blo_complete(rng: Rng) -> Recording:
    s = small(rng, 40)
    return blockfile(s, counted_from_0(raster(rng, s)))


@family
def blo_numbers_all_equal(rng: Rng) -> Recording:
    s = small(rng, 40)
    events = raster(rng, s)
    events["number"] = int(rng.integers(0, 2))
    return blockfile(s, events)


@family
def blo_numbers_anew_in_each_line(rng: Rng) -> Recording:
    s = small(rng, 40)
    events = raster(rng, s)
    events["number"] = events["column"] + int(rng.integers(0, 2))
    return blockfile(s, events)


@family
def blo_lost_patterns(rng: Rng) -> Recording:
    s = small(rng, 40)
    events, lost = without(rng, counted_from_0(raster(rng, s)), int(rng.integers(1, 5)))
    return blockfile(s, events, parameters={"lost": lost})


@family
def blo_stopped(rng: Rng) -> Recording:
    s = small(rng, 40)
    events = counted_from_0(raster(rng, s))
    return blockfile(s, stopped(rng, events, s))


# -- Direct Electron: a description beside the movie ---------------------------------------------


def movie(s: Setting, events: Events, *, scanning: bool = True, **facts: Any) -> Recording:
    info: dict[str, Any] = {"Scan - Enable": "Enable" if scanning else "Disable"}
    if scanning:
        info |= {"Scan - Size X": s.columns, "Scan - Size Y": s.lines}
        info["Scan - Repeats"] = facts.get("repeats", 1)
    return recording("mrc", events, s, claims={"info": info}, **facts)


@family
def mrc_description(rng: Rng) -> Recording:
    s = small(rng, 40)
    return movie(s, raster(rng, s))


@family
def mrc_description_stopped(rng: Rng) -> Recording:
    s = small(rng, 40)
    return movie(s, stopped(rng, raster(rng, s), s))


@family
def mrc_description_repeats(rng: Rng) -> Recording:
    s = small(rng)
    count = int(rng.integers(2, 5))
    return movie(s, raster(rng, s, repeats=count), repeats=count)


@family
def mrc_series(rng: Rng) -> Recording:
    s = small(rng, 40)
    return movie(s, train(s.lines * s.columns, s), scanning=False, lines=0, width=0)


@family
def mrc_alone(rng: Rng) -> Recording:
    s = small(rng, 40)
    return recording("mrc", raster(rng, s), s, tellable=False)


# -- EMPAD: an .xml, the name of the data, and counters behind the pixels -------------------------


def tiny(rng: Rng) -> Setting:
    """Draw a scan of few frames: each takes 66 kB."""
    return draw(rng, "any", most=5)


def empad(s: Setting, events: Events, **claims: Any) -> Recording:
    facts = claims.pop("facts", {})
    size = (s.lines, s.columns)
    return recording(
        "empad", events, s, claims={"size": size, "name": size, "counters": True, **claims}, **facts
    )


@family
def empad_complete(rng: Rng) -> Recording:
    s = tiny(rng)
    return empad(s, raster(rng, s), counters=bool(rng.random() < 0.5))


@family
def empad_stopped(rng: Rng) -> Recording:
    s = tiny(rng)
    return empad(s, raster(rng, s)[: -int(rng.integers(1, s.columns + 1))])


@family
def empad_stale_size(rng: Rng) -> Recording:
    s = tiny(rng)
    return empad(s, raster(rng, s), size=stale_size(rng, s))


@family
def empad_series(rng: Rng) -> Recording:
    s = tiny(rng)
    events = train(s.lines * s.columns, s)
    return empad(s, events, size=None, counters=False, facts={"lines": 0, "width": 0})
