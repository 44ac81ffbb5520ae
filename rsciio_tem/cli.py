# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``rsciio-tem``: look at recordings without writing a line of Python."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import math
import os
import re
import shlex
import shutil
import textwrap
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from rsciio_tem import __version__, api, omega
from rsciio_tem.errors import (
    FormatError,
    NotThisFormat,
    Problem,
    RecordingWarning,
    Unsupported,
)
from rsciio_tem.frames import Floats, Grey, chunk_hint, long_integers
from rsciio_tem.read import Arranged, ReadOptions, arrange, default_chunks
from rsciio_tem.recording import Recording
from rsciio_tem.registry import FORMATS, Candidate
from rsciio_tem.scan import RULES, Scan, ScanHint

__all__ = ["describe", "main"]

#: Version of the objects that ``--json`` prints; changes when a key changes its meaning or goes.
SCHEMA = 1

# ---------------------------------------------------------------- options


def sizes(text: str) -> tuple[int, ...]:
    """Read sizes separated by commas: ``48,40``."""
    try:
        return tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of sizes such as 48,40") from None


def assignments(texts: Sequence[str]) -> dict[str, Any]:
    """Read NAME=VALUE; values are numbers, true, false, null, [lists] or text, as in YAML."""
    import yaml

    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--option")
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError:
            read = value
        found[name] = tuple(read) if isinstance(read, list) and "shape" in name else read
    return found


_READER_OPTIONS = (
    click.option(
        "--format",
        "format_name",
        type=click.Choice(["auto", *FORMATS]),
        default="auto",
        help="Format of the file; by default its content tells.",
    ),
    click.option(
        "--navigation-shape",
        type=sizes,
        metavar="X,Y",
        help="Scan shape, columns first; one may be -1.",
    ),
    click.option(
        "--nav-shape", type=sizes, metavar="Y,X", help="Scan shape in array order, lines first."
    ),
    click.option(
        "--scan", type=click.Choice(RULES), metavar="RULE", help=f"One of {', '.join(RULES)}."
    ),
    click.option("--first-frame", type=int, metavar="N", help="Begin with this stored frame."),
    click.option("--last-frame", type=int, metavar="N", help="End before this stored frame."),
    click.option(
        "--sync-offset", type=int, metavar="N", help="Skip N frames, or insert -N blank ones."
    ),
    click.option(
        "--flyback",
        type=click.Choice(["auto", "keep", "drop"]),
        help="Whether to keep frames recorded while the beam flew back.",
    ),
    click.option(
        "--line-skip", type=int, metavar="N", help="Frames to leave out after each scan line."
    ),
    click.option("--flip-y/--no-flip-y", default=None, help="Turn frames upside down, or do not."),
    click.option("--dtype", metavar="TYPE", help="Raw files: type of a stored pixel, such as >u2."),
    click.option(
        "--sig-shape", type=sizes, metavar="Y,X", help="Raw files: rows and columns of a frame."
    ),
    click.option("--offset", type=int, metavar="N", help="Raw files: bytes before all frames."),
    click.option(
        "--frame-header", type=int, metavar="N", help="Raw files: bytes before each frame."
    ),
    click.option(
        "--frame-footer", type=int, metavar="N", help="Raw files: bytes after each frame."
    ),
    click.option(
        "-O",
        "--option",
        "others",
        multiple=True,
        metavar="NAME=VALUE",
        help="Any other keyword, see the format's page.",
    ),
)


_READER_NAMES = (
    *("format_name", "navigation_shape", "nav_shape", "scan", "first_frame", "last_frame"),
    *("sync_offset", "flyback", "line_skip", "flip_y"),
    *("dtype", "sig_shape", "offset", "frame_header", "frame_footer"),
)


def _reader_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of readers; it gets them as one dict ``options``."""

    @functools.wraps(function)
    def collected(*args: Any, **given: Any) -> Any:
        options = {name: given.pop(name) for name in _READER_NAMES}
        options |= assignments(given.pop("others"))
        return function(*args, **given, options=options)

    for option in reversed(_READER_OPTIONS):
        collected = option(collected)
    return collected


def _reported(function: Callable[..., Any]) -> Callable[..., Any]:
    """Show warnings and errors as lines for people; ``--debug`` shows where they come from."""

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(function)
    def run(*args: Any, debug: bool, **given: Any) -> Any:
        try:
            with _warnings_shown():
                return function(*args, **given)
        except (FormatError, OSError, TypeError, ValueError) as error:
            if isinstance(error, BrokenPipeError):
                raise  # click ends quietly
            if debug:
                traceback.print_exc()
            _say("error", _message(error), "red")
            raise click.exceptions.Exit(2) from error

    return run


def _message(error: Exception) -> str:
    lines = [str(error)]
    if isinstance(error, FormatError):
        lines = [f"{error.path}: {error.problem}", *([error.hint] if error.hint else [])]
    elif isinstance(error, OSError) and error.filename is not None:
        lines = [f"{error.filename}: {error.strerror}"]
    return "\n".join([*lines, *getattr(error, "__notes__", [])])


def _say(kind: str, message: str, colour: str) -> None:
    """Write a message to stderr; further lines stand below the first."""
    first, *rest = message.splitlines() or [""]
    click.echo(f"{click.style(kind + ':', fg=colour, bold=True)} {first}", err=True)
    for line in rest:
        click.echo(" " * (len(kind) + 2) + line, err=True)


@contextmanager
def _warnings_shown() -> Iterator[None]:
    """Show what is odd about a recording as a line, every time."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, RecordingWarning):
                _say("warning", str(message), "yellow")
            else:
                others(message, category, *where, **more)

        warnings.simplefilter("always", RecordingWarning)
        warnings.showwarning = show
        yield


# ---------------------------------------------------------------- opening


def _opened(path: str, options: Mapping[str, Any]) -> tuple[Recording, list[Candidate], Arranged]:
    """Open a recording as the options say, and arrange its frames."""
    given = {name: value for name, value in options.items() if value is not None}
    name = given.pop("format_name", "auto")
    found = api.detect(path)
    own: dict[str, Any] = {}
    if name == "auto":
        name, own = api.chosen(path, raw="dtype" in given and "sig_shape" in given)
    module = api.own_module(path, name)
    for parameter in inspect.signature(module.parse).parameters:
        if parameter in given:
            own[parameter] = given.pop(parameter)
    shared = {n: given.pop(n) for n in ReadOptions.__annotations__ if n in given}
    named = {
        n: given.pop(n) for n in ("navigation_shape", "first_frame", "last_frame") if n in given
    }
    if given:
        raise _meaningless(given, name)
    if name != "raw" and shared.get("dtype"):
        shared["dtype"] = np.dtype(shared["dtype"])
    recording = module.parse(path, **own)
    return recording, found, arrange(recording, **named, options=shared)


def _meaningless(names: Iterable[str], format: str) -> click.UsageError:
    flags = ", ".join("--" + n.replace("_", "-") for n in names)
    return click.UsageError(f"{flags}: has no meaning for files of the format {format}")


# ---------------------------------------------------------------- numbers and words


def _bytes(n: float) -> str:
    if n < 1000:
        return f"{n:.0f} B"
    power = min(4, int(math.log10(n) / 3))
    value = n / 1000**power
    unit = ("kB", "MB", "GB", "TB")[power - 1]
    return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"


def _seconds(s: float) -> str:
    for limit, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if s >= limit:
            if unit == "s" and s >= 120:
                return f"{s / 60:.4g} min" if s < 7200 else f"{s / 3600:.4g} h"
            return f"{s / limit:.4g} {unit}"
    return f"{s * 1e9:.4g} ns"


def _times(shape: Sequence[int]) -> str:
    return " × ".join(str(n) for n in shape)


def _scan_words(shape: Sequence[int]) -> str:
    """Name a scan shape given in array order."""
    if not shape:
        return "a single frame"
    if len(shape) == 1:
        return f"stack of {shape[0]} frames"
    return f"{_times(shape[::-1])} ({'x, y' if len(shape) == 2 else 'x, y, then slower'})"


_SOURCES = {
    "header": "from the header",
    "trigger": "from the triggers",
    "exposures": "from the exposure times",
    "timestamps": "from the timestamps",
    "square": "as a perfect square",
    "rosettasciio": "as RosettaSciIO decides",
}


def _why(hint: ScanHint, shape: Sequence[int]) -> str:
    """Say how the scan shape was found."""
    if hint.rule == "argument":
        return "as asked"
    if hint.rule == "stack":
        return hint.reason if shape else "the file holds nothing else"
    return f"{_SOURCES.get(hint.rule, hint.rule)} ({hint.confidence:.0%}): {hint.reason}"


def _factors(n: int) -> list[tuple[int, int]]:
    """List shapes (y, x) that n frames would fill, none much longer than wide."""
    pairs = [(n // k, k) for k in range(2, n // 2 + 1) if n % k == 0 and n <= 4 * k * k <= 16 * n]
    return sorted(pairs, key=lambda p: abs(math.log(p[0] / p[1])))[:6]


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
        - ``scan``: ``{shape, navigation_shape, rule, confidence, reason, alternatives, frames}``;
          each alternative has ``options``, the keywords that choose it; ``frames`` counts what
          was skipped, inserted and ignored
        - ``times``: ``{trigger, exposure, period, start, duration}``, null where unknown
        - ``data``: ``{shape, dtype, nbytes, chunks, chunk_nbytes, chunk_count}`` of the array that
          is loaded
        - ``axes``: list of ``{name, units, scale, offset, size, navigate}``
        - ``problems``: list of ``{severity, message, hint}``
    """
    scan, source = arranged.scan, arranged.source
    frames = recording.frames
    frame_bytes = math.prod(frames.frame_shape) * frames.dtype.itemsize
    chunks = default_chunks(
        source.nav_shape,
        source.frames.frame_shape,
        source.dtype.itemsize,
        chunk_hint(source.frames),
    )
    axes = [*recording.scan_axes[-len(scan.shape) :]] if scan.shape else []
    known: list[Any] = [None] * (len(scan.shape) - len(axes)) + axes
    known += list(recording.signal_axes)[-(len(source.shape) - len(scan.shape)) :]
    if recording.omega is not None and len(scan.shape) == 1:
        turned, _ = omega.axis_of(recording.omega)
        known[0] = turned if turned.values is None else None
    return {
        "schema": SCHEMA,
        "version": __version__,
        "path": path,
        "format": recording.format,
        "description": FORMATS[recording.format].description,
        "candidates": [
            {"format": c.format, "confidence": c.confidence, "reason": c.reason} for c in candidates
        ],
        "files": [{"path": f, "size": os.path.getsize(f)} for f in recording.files],
        "frames": {
            "stored": recording.count,
            "shape": list(frames.frame_shape),
            "dtype": frames.dtype.name,
            "nbytes": recording.count * frame_bytes,
        },
        "layers": recording.layers,
        "scan": {
            **scan.evidence.describe(),
            "shape": list(scan.shape),
            "navigation_shape": list(scan.shape[::-1]),
            "alternatives": _alternatives(recording, scan),
            "frames": dict(scan.counts or {}),
        },
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
            {
                "name": axis.name if axis else "",
                "units": axis.units if axis else "",
                "scale": axis.scale if axis else 1.0,
                "offset": axis.offset if axis else 0.0,
                "size": size,
                "navigate": i < len(scan.shape),
            }
            for i, (axis, size) in enumerate(zip(known, source.shape, strict=True))
        ],
        "problems": [_plain(problem) for problem in recording.problems],
    }


def _plain(problem: Problem) -> dict[str, str]:
    return {"severity": problem.severity, "message": problem.message, "hint": problem.hint}


def _alternatives(recording: Recording, scan: Scan) -> list[dict[str, Any]]:
    """List other shapes the recording may have, each with the keywords that choose it."""
    found = recording.candidates()
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
    for hint in found:
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
        if hint.rule == "exposures" and hint.line_length > 2 and hint.shape:
            narrow = (*layers, *hint.shape[:-1], hint.line_length - 1)
            add(narrow, hint, "without the flyback frame of each line", flyback="drop")
        elif hint.line > hint.shape[-1:][0] if hint.shape else False:
            wide = (*layers, -(-per_layer // hint.line), hint.line)
            add(wide, hint, "with the flyback frames", flyback="keep")
    return list(result.values())


def _times_of(recording: Recording) -> dict[str, Any]:
    """Summarise the times of frames from the first headers and the last."""
    general = recording.metadata.get("General", {})
    start = f"{general.get('date', '')}T{general.get('time', '')}".strip("T")
    start += "Z" if start and general.get("time_zone") == "UTC" else ""
    result: dict[str, Any] = dict.fromkeys(("trigger", "exposure", "period", "start", "duration"))
    result["start"] = start or None
    if (times := recording.times) is None:
        return result
    if times.external_trigger is not None:
        result["trigger"] = "external" if times.external_trigger else "internal"
    part = times.read(0, min(times.count, 2048))
    exposure, moments = part.exposure_ns[part.exposure_ns >= 0], part.time_ns
    if len(exposure):
        result["exposure"] = float(np.median(exposure)) / 1e9
    if len(moments) > 1 and (moments >= 0).all():
        result["period"] = float(np.median(np.diff(moments))) / 1e9
        last = times.read(times.count - 1, times.count)
        if last.time_ns[0] >= moments[0]:
            end = int(last.time_ns[0]) + max(0, int(last.exposure_ns[0]))
            result["duration"] = (end - int(moments[0])) / 1e9
    return result


class _Table:
    """Prints rows of a label and text that is broken to the width of the terminal."""

    def __init__(self, labels: int = 12) -> None:
        self.indent = labels + 2
        self.width = max(40, min(shutil.get_terminal_size((100, 24)).columns, 110))

    def row(self, label: str, *texts: str, colour: str | None = None, bold: bool = False) -> None:
        """Print a row; each text begins a new line."""
        label = click.style(f"  {label:<{self.indent - 2}}", fg="cyan")
        for text in texts:
            lines = textwrap.wrap(text, self.width - self.indent, break_long_words=False) or [""]
            for line in lines:
                click.echo(label + click.style(line, fg=colour, bold=bold or None))
                label, bold = " " * self.indent, False


def _flags(options: Mapping[str, Any]) -> str:
    """Write keywords as options of this command."""
    words = []
    for name, value in options.items():
        text = ",".join(str(v) for v in value) if isinstance(value, (list, tuple)) else str(value)
        words.append(f"--{name.replace('_', '-')} {text}")
    return " ".join(words)


def _print_info(info: Mapping[str, Any], scan: Scan) -> None:
    frames, data, times = info["frames"], info["data"], info["times"]
    table = _Table()
    click.echo(click.style(os.path.basename(info["path"]), bold=True))
    same = [c for c in info["candidates"] if c["format"] == info["format"]]
    reason = f"; it {same[0]['reason']}" if same else "; as asked"
    table.row("Format", f"{info['format']}, {info['description']}{reason}")
    for other in info["candidates"]:
        if other["format"] != info["format"]:
            table.row("", f"or {other['format']}, {other['confidence']:.0%}: {other['reason']}")
    files = [f"{os.path.basename(f['path'])}, {_bytes(f['size'])}" for f in info["files"]]
    if len(files) > 6:
        total = sum(f["size"] for f in info["files"])
        files = [*files[:2], f"… {len(files) - 4} more", *files[-2:]]
        files.append(f"{len(info['files'])} files, {_bytes(total)}")
    table.row("Files", *files)
    kind = f"{frames['stored']} of {_times(frames['shape'][::-1])} px, {frames['dtype']}"
    table.row("Frames", f"{kind}, {_bytes(frames['nbytes'])}")
    if info["layers"] > 1:
        table.row("Layers", f"{info['layers']} frames at each position")

    table.row("Scan", _scan_words(scan.shape), colour="green", bold=True)
    table.row("", _why(scan.evidence, scan.shape))
    counts = info["scan"]["frames"]
    notes = [
        f"{counts[name]} frames {words}"
        for name, words in (
            ("skipped_start", "skipped before it"),
            ("inserted_start", "inserted before it"),
            ("inserted_end", "missing at its end"),
            ("skipped_in_lines", "left out between lines"),
            ("ignored_end", "left over after it"),
        )
        if counts.get(name)
    ]
    if notes:
        table.row("", "; ".join(notes))
    others = [
        f"{_flags(other['options'])}: {_scan_words(other['shape'])}; {other['reason']}"
        for other in info["scan"]["alternatives"]
    ]
    if math.prod(scan.shape) > 1:
        count = scan.shape[0] if len(scan.shape) == 1 else 0
        fitting = ", ".join(f"{x},{y}" for y, x in _factors(count))
        others.append(
            "--navigation-shape X,Y" + (f": {count} frames would fill {fitting}" if fitting else "")
        )
    if others:
        table.row("Or force", *others)

    if times["trigger"]:
        table.row("Trigger", times["trigger"])
    if times["exposure"] is not None:
        text = _seconds(times["exposure"])
        if times["period"]:
            text += f", a frame every {_seconds(times['period'])}"
        table.row("Exposure", text)
    if times["start"] or times["duration"]:
        start = re.sub(r"(\.\d{3})\d+", r"\1", times["start"] or "at an unknown time")
        start = start.replace("T", " ").replace("Z", " UTC")
        length = f", {_seconds(times['duration'])} long" if times["duration"] else ""
        table.row("Acquired", start + length)
    table.row("Data", f"{tuple(data['shape'])} {data['dtype']}, {_bytes(data['nbytes'])}")
    pieces = f"{data['chunk_count']} of {_bytes(data['chunk_nbytes'])}"
    table.row("Lazy chunks", f"{tuple(data['chunks'])}, {pieces}")
    calibrated = [a for a in info["axes"] if a["units"] or a["scale"] != 1]
    if calibrated:
        table.row(
            "Axes", *(f"{a['name'] or '?'}: {a['scale']:.6g} {a['units']} / px" for a in calibrated)
        )
    for i, problem in enumerate(info["problems"]):
        text = problem["message"] + (f" {problem['hint']}" if problem["hint"] else "")
        table.row(
            "" if i else "Problems", text, colour={"info": None}.get(problem["severity"], "yellow")
        )
    if not info["problems"]:
        table.row("Problems", "none")


# ---------------------------------------------------------------- preview


def _finite(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the finite numbers among values, of complex ones their moduli."""
    real = np.asarray(np.abs(values) if values.dtype.kind == "c" else values, np.float64)
    return np.asarray(real[np.isfinite(real)])


def _sheet(path: str, recording: Recording, arranged: Arranged, quiet: bool = False) -> Any:
    """Reduce a recording to a sheet: a sample finds the disk, one pass makes everything else."""
    from tqdm import tqdm

    from rsciio_tem import preview
    from rsciio_tem.reduction import one_pass

    frames, shape, scan = arranged.source.frames, arranged.source.nav_shape, arranged.scan
    frame_bytes = max(1, math.prod(frames.frame_shape) * frames.dtype.itemsize)
    pixels = frames.dtype.name
    if names := frames.dtype.names:  # colours
        frames, pixels = Grey(frames), f"colours {''.join(names)}"
    elif long_integers(frames.dtype):
        frames = Floats(frames)
    sample = min(len(frames), 256, max(8, (64 << 20) // frame_bytes))
    index = np.linspace(0, len(frames) - 1, sample).astype(np.int64)
    disk = preview.find_disk(one_pass(frames[index], what=["sum"])["sum"])
    virtual = preview.detectors(disk, frames.frame_shape) if disk else None
    with tqdm(
        total=len(frames), unit=" frames", leave=False, disable=True if quiet else None
    ) as bar:
        found = one_pass(
            frames,
            what=("navigator", "sum", "max"),
            masks=None if virtual is None else virtual.masks,
            progress=bar.update,
        )
    navigator = found["navigator"]
    total = float(_finite(navigator).sum())
    values = _finite(found["max"])
    largest = float(values.max()) if values.size else math.nan
    maps = [m.reshape(shape) for m in found.get("masks", ())]
    rows, size = len(frames), _times(frames.frame_shape[::-1])
    words, why = _scan_words(shape), _why(scan.evidence, shape)
    lines = [
        f"Scan {words}, {why}" if len(shape) > 1 else f"{words[0].upper()}{words[1:]}: {why}",
        f"{recording.format}: {FORMATS[recording.format].description} | "
        f"{rows} frame{'s' * (rows != 1)} of {size} px, {pixels}, "
        f"{_bytes(rows * frame_bytes)}",
        f"Sum of all pixels {preview.compact(total)}, per frame "
        f"{preview.compact(total / rows)}; largest pixel {preview.compact(largest)}",
    ]
    return preview.sheet(
        title=os.path.basename(path),
        lines=lines,
        pattern=found["sum"],
        navigator=navigator.reshape(shape),
        virtual=virtual,
        bright_field=maps[0] if maps else None,
        dark_field=maps[1] if maps else None,
        missing=scan.missing_mask,
        footer=f"rsciio-tem {__version__}",
    )


# ---------------------------------------------------------------- commands


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="rsciio-tem")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Look at TEM and 4D-STEM recordings: what they hold, and how their scan is found.

    Shapes are given as in HyperSpy, --navigation-shape X,Y, or in array order, --nav-shape Y,X.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False


@main.command("formats")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@_reported
def formats_command(as_json: bool) -> None:
    """List the formats, and whether hs.load opens them with our reader."""
    rows: list[dict[str, Any]] = [
        {
            "format": row.name,
            "description": row.description,
            "suffixes": list(row.suffixes),
            "hs_load": {suffix: _opens(suffix) for suffix in row.suffixes},
        }
        for row in FORMATS.values()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    cells = [("Format", "Suffixes", "hs.load", "Description")]
    for item in rows:
        readers = list(dict.fromkeys(item["hs_load"].values()))
        cells.append(
            (
                item["format"],
                " ".join("." + s for s in item["suffixes"]),
                " / ".join(readers),
                item["description"],
            )
        )
    widths = [max(len(row[i]) for row in cells) for i in range(3)]
    for i, row in enumerate(cells):
        name = click.style(f"{row[0]:<{widths[0]}}", bold=True)
        rest = "  ".join(f"{row[j]:<{widths[j]}}" for j in (1, 2))
        line = f"{name}  {rest}  {row[3]}"
        click.echo(click.style(click.unstyle(line), underline=True) if i == 0 else line)
    click.echo("\nours: hs.load uses our reader; content: it does if the content is of the format")


def _opens(suffix: str) -> str:
    """Say whose reader ``hs.load`` takes for a suffix; it compares names before suffixes."""
    from rsciio import IO_PLUGINS

    def named(plugin: Any) -> bool:
        return suffix in [n.lower() for n in (plugin["name"], *plugin["name_aliases"])]

    chosen = [p for p in IO_PLUGINS if named(p)]
    chosen = chosen or [p for p in IO_PLUGINS if suffix in p["file_extensions"]]
    if not chosen or not chosen[0]["api"].startswith("rsciio_tem."):
        return "RosettaSciIO" if chosen else "no"
    return "content" if chosen[0]["api"] == "rsciio_tem.dispatch" else "ours"


@main.command("info", short_help="Say what a file holds, and how its scan was found.")
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_reader_options
@_reported
def info_command(path: str, as_json: bool, options: dict[str, Any]) -> None:
    """Say what PATH holds, and how the scan shape was found. Reads no pixels."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RecordingWarning)
        recording, candidates, arranged = _opened(path, options)
    info = describe(path, recording, candidates, arranged)
    prefix = f"{recording.path}: "
    info["problems"] += [
        _plain(Problem("warning", str(w.message).removeprefix(prefix)))
        for w in caught
        if issubclass(w.category, RecordingWarning)
    ]
    if as_json:
        click.echo(json.dumps(info, indent=2, ensure_ascii=False))
    else:
        _print_info(info, arranged.scan)


# ---------------------------------------------------------------- check


@main.command("check", short_help="Say whether recordings are complete and readable.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--pixels", is_flag=True, help="Also decode every frame once.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["auto", *FORMATS]),
    default="auto",
    help="Format of the files; by default their content tells.",
)
@click.option(
    "-O", "--option", "others", multiple=True, metavar="NAME=VALUE", help="Keyword of the format."
)
@_reported
def check_command(
    paths: tuple[str, ...], pixels: bool, as_json: bool, format_name: str, others: tuple[str, ...]
) -> None:
    """Say whether the recordings PATH... are complete and readable; folders are searched.

    The exit status is 0 if nothing but information was found, 1 for warnings, 2 for errors.
    """
    own = assignments(others)
    results = []
    for path in paths:
        for name, skipped in _in_folder(path) if os.path.isdir(path) else [(path, "")]:
            result = _checked(name, format_name, own, pixels, skipped)
            results.append(result)
            if not as_json:
                _print_checked(result)
    if as_json:
        click.echo(json.dumps(results, indent=2, ensure_ascii=False))
    elif len(results) > 1:
        verdicts = [result["verdict"] for result in results]
        words = [f"{verdicts.count(v)} {v}" for v in _VERDICTS if v in verdicts]
        click.echo(f"{len(results)} recordings: {', '.join(words)}")
    worst = max(_VERDICTS[result["verdict"]] for result in results)
    if worst:
        raise click.exceptions.Exit(worst)


#: What is said of a recording in the end, and the exit status.
_VERDICTS = {"ok": 0, "not checked": 0, "with warnings": 1, "with errors": 2}


def _checked(
    path: str, format: str, own: Mapping[str, Any], pixels: bool, skipped: str
) -> dict[str, Any]:
    """Check one recording; what ``check --json`` prints of it."""
    from tqdm import tqdm

    from rsciio_tem.checking import check

    if skipped:
        return {"path": path, "verdict": "not checked", "reason": skipped, "problems": []}
    source: Any = path
    known: dict[str, Any] = {}
    with contextlib.suppress(FormatError):  # which `check` tells
        if format == "auto" and {"dtype", "sig_shape"} <= set(own):
            format, _ = api.chosen(path, raw=True)
        source = api.open(path, format, **own)
        known = {
            "format": source.format,
            "frames": {
                "stored": source.count,
                "shape": list(source.frames.frame_shape),
                "dtype": source.frames.dtype.name,
            },
            "headers": source.times is not None,
        }
    given = {} if known else own
    with tqdm(
        total=known["frames"]["stored"] if known else 0,
        unit=" frames",
        leave=False,
        disable=None if pixels else True,
    ) as bar:
        problems = check(source, format, pixels=pixels, progress=bar.update, **given)
    worst = problems[0].severity if problems else "info"
    verdict = {"error": "with errors", "warning": "with warnings"}.get(worst, "ok")
    return {
        "path": path,
        "verdict": verdict,
        **known,
        "pixels": pixels and bool(known),
        "problems": [_plain(problem) for problem in problems],
    }


def _print_checked(result: Mapping[str, Any]) -> None:
    """Print a line for each problem, and one with the verdict."""
    path, colours = result["path"], {"error": "red", "warning": "yellow"}
    counts: dict[str, int] = {}
    for problem in result["problems"]:
        severity, hint = problem["severity"], problem["hint"]
        counts[severity] = counts.get(severity, 0) + 1
        word = click.style(severity + ":", fg=colours.get(severity), bold=severity in colours)
        click.echo(f"{path}: {word} {problem['message']}" + f" {hint}" * bool(hint))
    if result["verdict"] == "not checked":
        click.echo(f"{path}: not checked: {result['reason']}")
        return
    found = [f"{counts[s]} {s}{'s' * (counts[s] != 1)}" for s in colours if s in counts]
    colour = "red" if "error" in counts else "yellow" if found else "green"
    verdict = click.style(", ".join(found) or "ok", fg=colour, bold=True)
    if "frames" not in result:
        click.echo(f"{path}: {verdict}")
        return
    frames = result["frames"]
    read = "all pixels were decoded" if result["pixels"] else "pixels were not read (--pixels does)"
    click.echo(
        f"{path}: {verdict} ({result['format']}, {frames['stored']} "
        f"frame{'s' * (frames['stored'] != 1)} of {_times(frames['shape'][::-1])} px; {read})"
    )


def _in_folder(folder: str) -> Iterator[tuple[str, str]]:
    """Give the recordings below a folder, each once, and why one is not checked."""
    from rsciio_tem import zarrstore

    opened: dict[str, set[str]] = {}
    skipped: dict[str, str] = {}
    seen: set[str] = set()
    for place, below, names in os.walk(folder):
        for name in list(below):
            if zarrstore.is_store(os.path.join(place, name)):
                below.remove(name)
                skipped[os.path.join(place, name)] = "is a zarr store, which RosettaSciIO reads."
        below.sort()
        for name in sorted(names):
            path = os.path.join(place, name)
            if os.path.abspath(path) in seen:
                continue
            try:
                found = api.detect(path)
                if not found or found[0].confidence < 0.5 or found[0].format not in FORMATS:
                    continue
                recording = api.open(path)
                path, files = recording.path, {os.path.abspath(f) for f in recording.files}
            except (Unsupported, NotThisFormat) as error:
                skipped[path] = error.problem
                continue
            except FormatError:
                files = {os.path.abspath(path)}
            opened[path] = files
            seen |= files
    # a dark image or a description may have been met before the recording it belongs to
    for path, files in opened.items():
        own = os.path.abspath(path)
        if not any(own in other and len(other) > len(files) for other in opened.values()):
            yield path, ""
    yield from skipped.items()
    if not opened and not skipped:
        raise FormatError(folder, "holds no recording that we know.")


@main.command("preview", short_help="Draw a recording on one sheet.")
@click.argument("path")
@click.option(
    "-o", "--output", metavar="FILE.png", help="By default NAME_preview.png in this folder."
)
@click.option("--overwrite", is_flag=True, help="Replace the picture if there is one.")
@_reader_options
@_reported
def preview_command(
    path: str, output: str | None, overwrite: bool, options: dict[str, Any]
) -> None:
    """Draw PATH on one sheet: sum pattern, navigator, bright field, dark field."""
    from rsciio_tem import preview

    target = output or os.path.splitext(os.path.basename(path))[0] + "_preview.png"
    _must_be_new(target, overwrite)
    recording, _, arranged = _opened(path, options)
    for problem in recording.problems:
        if problem.severity != "info":
            _say("warning", f"{recording.path}: {problem}", "yellow")
    preview.save(_sheet(path, recording, arranged), target, overwrite=overwrite)
    click.echo(target)


def _must_be_new(path: str, overwrite: bool) -> None:
    if os.path.lexists(path) and not overwrite:
        raise FormatError(path, "exists already.", "Pass --overwrite to replace it.")


@main.command("convert", short_help="Write a recording in another format.")
@click.argument("source")
@click.argument("target")
@click.option(
    "--to",
    "target_format",
    metavar="FORMAT",
    help="Format of TARGET; by default its suffix tells.",
)
@click.option("--overwrite", is_flag=True, help="Replace TARGET if it exists.")
@click.option("--resume/--no-resume", default=True, help="Go on with an unfinished conversion.")
@click.option("--verify", is_flag=True, help="Read TARGET back and compare checksums.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@_reader_options
@_reported
def convert_command(
    source: str,
    target: str,
    target_format: str | None,
    overwrite: bool,
    resume: bool,
    verify: bool,
    quiet: bool,
    options: dict[str, Any],
) -> None:
    """Write SOURCE as TARGET, piece by piece. What interrupts it loses nothing: run it again.

    SOURCE is never changed, and an earlier TARGET stays until the new one is complete.
    """
    from rsciio_tem import export

    given = {name: value for name, value in options.items() if value is not None}
    name = given.pop("format_name", "auto")
    began = time.perf_counter()
    try:
        path = export.convert(
            source,
            target,
            target_format or "auto",
            source_format=name,
            overwrite=overwrite,
            progress=not quiet,
            resume=resume,
            verify=verify,
            **given,
        )
    except KeyboardInterrupt as stop:
        click.echo(err=True)
        _say("stopped", "\n".join(getattr(stop, "__notes__", ["nothing is written."])), "yellow")
        raise click.exceptions.Exit(130) from stop
    size = _bytes(sum(f.stat().st_size for f in _all_files(path)))
    click.echo(f"{path}  {size} in {time.perf_counter() - began:.1f} s" + ", verified" * verify)


def _all_files(path: str) -> list[Path]:
    return [f for f in Path(path).rglob("*") if f.is_file()] or [Path(path)]


@main.command("demo")
@click.argument("folder", default="rsciio-tem-demo")
@click.option(
    "--size", type=sizes, default="48,40", metavar="X,Y", help="Scan shape; 48,40 by default."
)
@click.option("--overwrite", is_flag=True, help="Replace the demo's files if there are any.")
@_reported
def demo_command(folder: str, size: tuple[int, ...], overwrite: bool) -> None:
    """Simulate a 4D-STEM recording in FOLDER, and load it."""
    from rsciio_tem import demo, preview

    if len(size) != 2 or min(size) < 2:
        raise click.UsageError("--size: a scan has two sizes, both greater than 1")
    path, picture = (os.path.join(folder, n) for n in ("grains.mib", "grains_preview.png"))
    for name in (path, os.path.splitext(path)[0] + ".hdr", picture):
        _must_be_new(name, overwrite)
    os.makedirs(folder, exist_ok=True)
    click.echo(f"Simulating a Merlin camera and a scan of {_times(size)} positions …")
    began = time.perf_counter()
    hdr = demo.write(path, (size[1], size[0]), overwrite=overwrite)
    for name in (path, hdr):
        click.echo(f"  {name}  {_bytes(os.path.getsize(name))}")
    click.echo(f"  in {time.perf_counter() - began:.1f} s\n")

    recording, _, arranged = _opened(path, {})
    scan = arranged.scan
    click.echo("Neither file says how long a scan line is. Found from the times of the frames:")
    click.echo(click.style(f"  {_scan_words(scan.shape)}", fg="green", bold=True))
    click.echo(f"  {_why(scan.evidence, scan.shape)}\n")
    if find_spec("hyperspy"):
        import hyperspy.api as hs

        hs.set_log_level("ERROR")
        call = f'hs.load("{path}", lazy=True)'
        shown: Any = hs.load(path, lazy=True)
    else:
        click.echo("HyperSpy is not installed; loading without it:")
        call = f'rsciio_tem.load("{path}", lazy=True)[0]["data"]'
        shown = api.load(path, lazy=True)[0]["data"]
    click.echo(click.style(f">>> {call}", fg="cyan"))
    click.echo(f"{shown!r}\n")

    began = time.perf_counter()
    preview.save(_sheet(path, recording, arranged), picture, overwrite=overwrite)
    click.echo(f"Preview, from one pass in {time.perf_counter() - began:.1f} s:\n  {picture}\n")
    quoted = shlex.quote(path)
    click.echo("Next:")
    click.echo(f"  rsciio-tem info {quoted}")
    columns, lines = arranged.scan.shape[::-1]
    wrong = f"--navigation-shape {columns + 1},{lines}"
    click.echo(f"  rsciio-tem preview {quoted} {wrong} -o wrong_shape.png")
    click.echo("  and the same with a recording of yours")


if __name__ == "__main__":
    main()
