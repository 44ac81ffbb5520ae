# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``rsciio-tem info`` gathers, and prints."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import click
import numpy as np

from rsciio_tem._version import __version__
from rsciio_tem.cli.annotate import in_words
from rsciio_tem.cli.words import (
    Table,
    as_options,
    duration_in_words,
    evidence_in_words,
    factor_pairs,
    options_in_words,
    product_in_words,
    scan_in_words,
    size_in_words,
)
from rsciio_tem.errors import Problem
from rsciio_tem.reading.arrange import Arranged
from rsciio_tem.reading.calibration import energy_and_length
from rsciio_tem.reading.lazy import default_chunks
from rsciio_tem.reading.read import axes_of
from rsciio_tem.recording.recording import Recording
from rsciio_tem.registry import Candidate, every_format
from rsciio_tem.scan.scan import RULES, Scan, ScanHint
from rsciio_tem.scan.times import Times
from rsciio_tem.scan.words import plural
from rsciio_tem.storage.files import size_of
from rsciio_tem.tools.report import problem_as_json

__all__ = ["describe"]

#: Version of the objects that ``--json`` prints; changes when a key changes its meaning or goes.
SCHEMA = 1


# ---------------------------------------------------------------- info


def describe(
    path: str, recording: Recording, candidates: Sequence[Candidate], arranged: Arranged
) -> dict[str, Any]:
    """Say everything about a recording that can be known without reading pixels.

    Returns
    -------
    dict
        What ``info --json`` prints, in plain values. Shapes are in array order, ``(..., y, x)``,
        unless they are called ``navigation_shape``; sizes are in bytes, times in seconds.

        - ``schema``, ``version``: of this object, of the package
        - ``path``, ``format``, ``description``
        - ``candidates``: list of ``{format, confidence, reason}``, what the content speaks for
        - ``files``: list of ``{path, size}``
        - ``frames``: ``{stored, shape, dtype, nbytes}``
        - ``layers``: frames per scan position
        - ``scan``: ``{shape, navigation_shape, rule, confidence, reason, contradictions,
          alternatives, frames, incomplete_lines, lines}``; ``lines`` are those with losses, as
          ``{line, first, frames, blanks}``, a hundred at most;
          each alternative has ``options``, the keywords that choose it; ``frames`` counts what
          was skipped, inserted and ignored
        - ``microscope``: ``{beam_energy, camera_length}`` in keV and mm, null where unknown
        - ``times``: ``{trigger, exposure, period, start, duration}``, null where unknown
        - ``data``: ``{shape, dtype, nbytes, chunks, chunk_nbytes, chunk_count}`` of the array that
          is loaded
        - ``axes``: list of ``{name, units, scale, offset, size, navigate}``
        - ``side_file``: ``{path, used, values, written, notes}`` of a side file of ours, or null
        - ``problems``: list of ``{severity, message, hint}``
    """
    scan, source = arranged.scan, arranged.source
    frames = recording.frames
    frame_bytes = math.prod(frames.frame_shape) * frames.dtype.itemsize
    chunks = default_chunks(
        source.nav_shape,
        source.frames.frame_shape,
        source.dtype.itemsize,
        source.frames.chunk_hint,
    )
    return {
        "schema": SCHEMA,
        "version": __version__,
        "path": path,
        "format": recording.format,
        "description": every_format()[recording.format].description,
        "candidates": [
            {"format": c.format, "confidence": c.confidence, "reason": c.reason} for c in candidates
        ],
        "files": [{"path": f, "size": size_of(f)} for f in recording.files],
        "frames": {
            "stored": recording.count,
            "shape": list(frames.frame_shape),
            "dtype": frames.dtype.name,
            "nbytes": recording.count * frame_bytes,
        },
        "layers": recording.layers,
        "scan": {
            **{"incomplete_lines": 0, "lines": []},
            **scan.describe(),
            "navigation_shape": list(scan.shape[::-1]),
            "alternatives": _alternatives(recording, scan),
            "frames": {"announced": recording.announced, "blank": 0, **(scan.counts or {})},
        },
        "microscope": _microscope_of(recording, arranged.options),
        "times": _times_of(recording),
        "data": {
            "shape": list(source.shape),
            "dtype": source.dtype.name,
            "nbytes": math.prod(source.shape) * source.dtype.itemsize,
            "chunks": list(chunks),
            "chunk_nbytes": math.prod(chunks) * source.dtype.itemsize,
            "chunk_count": math.prod(-(-n // c) for n, c in zip(source.shape, chunks, strict=True)),
        },
        "axes": [
            {key: axis.get(key) for key in ("name", "units", "scale", "offset", "size", "navigate")}
            for axis in axes_of(recording, arranged)
        ],
        "side_file": _side_file(recording),
        "problems": [problem_as_json(problem) for problem in recording.problems],
    }


def _side_file(recording: Recording) -> dict[str, Any] | None:
    """Describe the side file of ours that lies beside a recording."""
    if (annotation := recording.annotation) is None:
        return None
    used = bool(annotation.values or annotation.written)
    return {"notes": "", **annotation.describe(), "used": used}


def add_what_images_show(info: dict[str, Any], arranged: Arranged) -> None:
    """Read all frames once, and add the scan lines they show to the alternatives, or problems."""
    from tqdm import tqdm

    from rsciio_tem.reading.images_as_evidence import agreement, hint_of, sums_of_parts
    from rsciio_tem.scan.content import content_lines

    frames, scan = arranged.source.frames, arranged.scan
    with tqdm(total=len(frames), unit=" frames", leave=False, disable=None) as bar:
        parts = sums_of_parts(frames, bar.update)
    hint = hint_of(content_lines(parts), len(parts))
    if len(scan.shape) > 1:
        if trouble := agreement(scan, parts):
            info["problems"].append(problem_as_json(Problem("warning", trouble)))
        return
    if hint is not None:
        info["scan"]["alternatives"].insert(
            0,
            {
                **hint.describe(),
                "navigation_shape": list(hint.shape[::-1]),
                "options": {"scan": "content"},
            },
        )
    else:
        problem = Problem("info", "the images show no scan lines.")
        info["problems"].append(problem_as_json(problem))


def _alternatives(recording: Recording, scan: Scan) -> list[dict[str, Any]]:
    """List other shapes the recording may have, each with the keywords that choose it."""
    hints = recording.candidates()
    result: dict[tuple[int, ...], dict[str, Any]] = {}

    def add(shape: tuple[int, ...], hint: ScanHint, reason: str, **options: Any) -> None:
        if shape != scan.shape and shape not in result:
            result[shape] = {
                **hint.describe(),
                "shape": list(shape),
                "reason": reason,
                "navigation_shape": list(shape[::-1]),
                "options": options,
            }

    layers = (recording.layers,) if recording.layers > 1 else ()
    per_layer = recording.count // recording.layers
    ruled: set[str] = set()  # a rule chooses the most credible shape it finds
    for hint in hints:
        if hint.rule == "stack" and per_layer == 1:
            continue
        shape = (*layers, *(hint.shape or (per_layer,)))
        if hint.rule in ruled and hint.line:  # narrower lines, of the same source
            add(shape, hint, hint.reason, flyback="drop")
        elif hint.rule in RULES and hint.rule not in ruled:
            reason = "one after the other" if hint.rule == "stack" else hint.reason
            add(shape, hint, reason, scan=hint.rule)
        else:
            add(shape, hint, hint.reason, navigation_shape=list(hint.shape[::-1]))
        ruled.add(hint.rule)
        if hint.rule == "exposures" and hint.shape:
            wide = (*layers, *hint.shape[:-1], hint.shape[-1] + 1)
            add(wide, hint, "with the flyback frame of each line", flyback="keep")
        elif hint.line > hint.shape[-1:][0] if hint.shape else False:
            wide = (*layers, -(-per_layer // hint.line), hint.line)
            add(wide, hint, "with the flyback frames", flyback="keep")
    return list(result.values())


def _microscope_of(recording: Recording, options: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the energy of the electrons in keV, and the camera length in mm."""
    instrument: Any = recording.metadata.get("Acquisition_instrument")
    tem = instrument.get("TEM") if isinstance(instrument, Mapping) else None
    tem = tem if isinstance(tem, Mapping) else {}
    metres = tem.get("camera_length_units") == "m"
    stored = {"beam_energy": tem.get("beam_energy"), "camera_length": tem.get("camera_length")}
    result: dict[str, float | None] = {}
    for name, value in stored.items():
        number = float(value) if isinstance(value, (int, float, np.number)) else 0.0
        factor = 1000 if metres and name == "camera_length" else 1
        result[name] = number * factor if math.isfinite(number) and number > 0 else None
    return {**result, **energy_and_length(options)}


def _times_of(recording: Recording) -> dict[str, Any]:
    """Summarise the times of frames from the first headers and the last."""
    general = recording.metadata.get("General", {})
    start = f"{general.get('date', '')}T{general.get('time', '')}".strip("T")
    start += "Z" if start and general.get("time_zone") == "UTC" else ""
    result: dict[str, Any] = dict.fromkeys(("trigger", "exposure", "period", "start", "duration"))
    result["start"] = start or None
    if (times := recording.stored_times or recording.times) is None:
        return result
    if times.external_trigger is not None:
        result["trigger"] = "external" if times.external_trigger else "internal"
    part = times.read(0, min(times.count, 2048))
    exposure, moments = part.exposure_ns[part.exposure_ns >= 0], part.time_ns
    if len(exposure):
        result["exposure"] = float(np.median(exposure)) / 1e9
    stamped = moments >= 0
    if not (stamped | _blank(times, 0, len(moments))).all():
        return result
    steps = np.diff(moments)[stamped[1:] & stamped[:-1]]
    if len(steps):
        result["period"] = float(np.median(steps)) / 1e9
        begin = max(0, times.count - 2048)
        last = times.read(begin, times.count)
        end = int(np.flatnonzero((last.time_ns >= 0) | (np.arange(len(last)) == 0))[-1])
        if last.time_ns[end] >= (first := int(moments[stamped][0])):
            stop = int(last.time_ns[end]) + max(0, int(last.exposure_ns[end]))
            result["duration"] = (stop - first) / 1e9
    return result


def _blank(times: Times, first: int, last: int) -> Any:
    """Return which frames are none: positions without frame, or left out."""
    return np.zeros(last - first, bool) if times.blanks is None else times.blanks[first:last]


def print_info(info: Mapping[str, Any], scan: Scan, whole_path: bool = False) -> None:
    """Print what was gathered; of several recordings, also in which folder each is."""
    frames, data, times = info["frames"], info["data"], info["times"]
    table = Table()
    name = info["path"] if whole_path else os.path.basename(os.path.abspath(info["path"]))
    click.echo(click.style(name, bold=True))
    same = [c for c in info["candidates"] if c["format"] == info["format"]]
    reason = f"; it {same[0]['reason']}" if same else "; as asked"
    table.row("Format", f"{info['format']}, {info['description']}{reason}")
    for other in info["candidates"]:
        if other["format"] != info["format"]:
            table.row("", f"or {other['format']}, {other['confidence']:.0%}: {other['reason']}")
    files = [f"{os.path.basename(f['path'])}, {size_in_words(f['size'])}" for f in info["files"]]
    if len(files) > 6:
        total = sum(f["size"] for f in info["files"])
        files = [*files[:2], f"… {len(files) - 4} more", *files[-2:]]
        files.append(f"{len(info['files'])} files, {size_in_words(total)}")
    table.row("Files", *files)
    kind = f"{frames['stored']} of {product_in_words(frames['shape'][::-1])} px, {frames['dtype']}"
    table.row("Frames", f"{kind}, {size_in_words(frames['nbytes'])}")
    if info["layers"] > 1:
        table.row("Layers", f"{info['layers']} frames at each position")

    table.row("Scan", scan_in_words(scan.shape), colour="green", bold=True)
    table.row("", evidence_in_words(scan.evidence, scan.shape))
    counts = info["scan"]["frames"]
    notes = [
        f"{plural(counts[name], 'frame')} {words}"
        for name, words in (
            ("skipped_start", "skipped before it"),
            ("inserted_start", "inserted before it"),
            ("inserted_end", "missing at its end"),
            ("skipped_in_lines", "left out between lines"),
            ("ignored_end", "left over after it"),
            ("blank", "missing within it"),
        )
        if counts.get(name)
    ]
    if notes:
        table.row("", "; ".join(notes))
    if lossy := info["scan"].get("lines"):
        named = [f"line {one['line']} lacks {one['blanks']}" for one in lossy[:6]]
        more = info["scan"]["incomplete_lines"] - len(named)
        table.row("", "; ".join(named) + (f"; and {more} more lines" if more > 0 else ""))
    others = [
        f"{options_in_words(other['options'])}: {scan_in_words(other['shape'])}; {other['reason']}"
        for other in info["scan"]["alternatives"]
    ]
    if math.prod(scan.shape) > 1:
        count = scan.shape[0] if len(scan.shape) == 1 else 0
        fitting = ", ".join(f"{x},{y}" for y, x in factor_pairs(count))
        others.append(
            "--navigation-shape X,Y" + (f": {count} frames would fill {fitting}" if fitting else "")
        )
    if others:
        table.row("Or force", *others)

    if (side := info["side_file"]) is not None:
        lines = in_words(side["values"], side["written"], side["notes"])
        table.row("Side file", os.path.basename(side["path"]), *(lines or ["not used, see below"]))
    energy, length = (info["microscope"][name] for name in ("beam_energy", "camera_length"))
    if energy or length:
        parts = [f"{energy:.6g} keV"] if energy else []
        parts += [f"camera length {length:.6g} mm"] if length else []
        table.row("Microscope", ", ".join(parts))
    if times["trigger"]:
        table.row("Trigger", times["trigger"])
    if times["exposure"] is not None:
        text = duration_in_words(times["exposure"])
        if times["period"]:
            text += f", a frame every {duration_in_words(times['period'])}"
        table.row("Exposure", text)
    if times["start"] or times["duration"]:
        start = re.sub(r"(\.\d{3})\d+", r"\1", times["start"] or "at an unknown time")
        start = start.replace("T", " ").replace("Z", " UTC")
        length = f", {duration_in_words(times['duration'])} long" if times["duration"] else ""
        table.row("Acquired", start + length)
    table.row("Data", f"{tuple(data['shape'])} {data['dtype']}, {size_in_words(data['nbytes'])}")
    chunks = f"{data['chunk_count']} of {size_in_words(data['chunk_nbytes'])}"
    table.row("Lazy chunks", f"{tuple(data['chunks'])}, {chunks}")
    axes: list[str] = []
    bare: dict[bool, list[str]] = {True: [], False: []}
    for axis in info["axes"]:
        if axis["scale"] is None:  # its values are not even steps
            axes.append(f"{axis['name']}: values in {axis['units']}")
        elif axis["units"] in (None, "", "px") and axis["scale"] == 1:
            bare[axis["navigate"]].append(str(axis["name"]))
        else:
            zero = f", zero at {-axis['offset'] / axis['scale']:.6g}" if axis["offset"] else ""
            units = axis["units"] or "(no unit)"
            axes.append(f"{axis['name']}: {axis['scale']:.6g} {units} / px{zero}")
    for navigate, option in ((True, "--scan-step"), (False, "--detector-step")):
        if bare[navigate] and bare[navigate] != ["frame"]:
            axes.append(f"{', '.join(bare[navigate])}: not calibrated ({option})")
    table.row("Axes", *axes)
    for i, problem in enumerate(info["problems"]):
        text = problem["message"] + (f" {as_options(problem['hint'])}" if problem["hint"] else "")
        table.row(
            "" if i else "Problems", text, colour={"info": None}.get(problem["severity"], "yellow")
        )
    if not info["problems"]:
        table.row("Problems", "none")
