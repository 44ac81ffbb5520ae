# SPDX-License-Identifier: GPL-3.0-or-later
"""`rsciio_tem.inspect`: a page on which a person sees, and chooses, the shape of a scan."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files as resources
from typing import Any

import numpy as np

from rsciio_tem._version import __version__
from rsciio_tem.errors import FormatError, collected
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.reading.annotated import SCHEMA, annotated, identity, name_of_side_file, unannotated
from rsciio_tem.reading.arrange import arrange
from rsciio_tem.reading.images_as_evidence import hint_of
from rsciio_tem.recording.annotation import CALIBRATION, CORRECTIONS, SCAN, Annotation
from rsciio_tem.recording.recording import Recording
from rsciio_tem.registry import every_format
from rsciio_tem.scan.content import content_lines
from rsciio_tem.scan.decision import decimated
from rsciio_tem.scan.scan import Scan, ScanHint
from rsciio_tem.storage.files import check_name_is_free, plain_file, recording_of, replacing
from rsciio_tem.storage.machine import Progress, progress_bar
from rsciio_tem.tools.annotate import annotation_as_toml
from rsciio_tem.tools.open import arranged
from rsciio_tem.tools.serve import Server
from rsciio_tem.tools.survey_of_frames import (
    Survey,
    capacity,
    matches,
    packed,
    pattern_as_text,
    peaks,
    steps_in_time,
    survey,
)

__all__ = ["Inspector", "inspect"]

#: Stretches of frames that follow each other, of a scan that is not regular, at most.
_RUNS = 20_000

#: Evidence of images below this is weak, unless it is sure.
_CLEAR = 10.0

#: Keywords of readers that the page itself is about.
_ARRANGING = (*SCAN, "nav_shape", "missing", "roi")
_BOUNDS = ("navigation_shape", "first_frame", "last_frame")


@dataclass(eq=False)
class Inspector:
    """The page about a recording; what `inspect` returns.

    In a notebook it shows itself.

    Parameters
    ----------
    recording : Recording
        What it is about, described as if there was no side file.
    frames : Frames
        All its frames in the order of recording; of several per position, the first ones.
    data : dict
        What the page shows.
    survey : Survey
        What the numbers were made of.
    """

    recording: Recording
    frames: Frames
    data: dict[str, Any] = field(repr=False)
    survey: Survey = field(repr=False)

    @property
    def html(self) -> str:
        """The page: one file that needs no other, and no network."""
        return page(self.data)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> str:
        """Write the page; return its path."""
        with (
            replacing(path, overwrite=overwrite) as temporary,
            open(temporary, "w", encoding="utf-8", newline="\n") as file,
        ):
            file.write(self.html)
        return os.fspath(path)

    def serve(self, *, show: bool = True, tell: Callable[[str], object] | None = None) -> None:
        """Show the page at an address of this machine until it is interrupted (Ctrl-C).

        There it shows single patterns, measures other detectors, and writes the side file.

        Parameters
        ----------
        show : bool
            Open a browser.
        tell : callable, optional
            Is called with the address; by default it is printed.
        """
        server = self.server()
        (tell or _print)(server.address)
        if show:
            import webbrowser

            webbrowser.open(server.address)
        server.run()

    def server(self) -> Server:
        """Return what answers the page; it listens already, and answers once it runs."""
        text = page({**self.data, "server": True})
        return Server(self.recording, self.frames, self.survey, text)

    def _repr_html_(self) -> str:
        text = html.escape(self.html, quote=True)
        style = "width:100%;height:900px;border:1px solid #8886;border-radius:8px"
        attributes = (
            f'sandbox="allow-scripts allow-downloads" allow="clipboard-write" style="{style}"'
        )
        return f'<iframe {attributes} srcdoc="{text}"></iframe>'


def inspect(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    format: str = "auto",
    fast: bool = False,
    overwrite: bool = False,
    progress: Progress = None,
    **options: Any,
) -> Inspector:
    """Make a page that shows how the frames of a recording may be arranged.

    Parameters
    ----------
    path : str or path
        One file of the recording.
    output : str or path, optional
        Write the page into this file, ``NAME.html``.
    format : str
        Name of the format; "auto" looks at the content.
    fast : bool
        Look at the first frames only, for about two seconds; else all are read once.
    overwrite : bool
        Replace an earlier page.
    progress : bool or callable, optional
        As for `reduce`.
    **options
        Keywords of the reader. Those that arrange frames are what the page begins with.

    Returns
    -------
    Inspector
        Shows itself in a notebook; ``save`` writes the page, ``serve`` shows it in a browser with
        more to do.

    Raises
    ------
    FormatError
        See `load`.
    FileExistsError
        There is such a page, and `overwrite` is False.
    """
    path = plain_file(recording_of(path), "rsciio_tem.inspect")
    if output is not None:
        check_name_is_free(output, overwrite)
    options.pop("inav", None)  # the page is about all of the scan
    others = {n: v for n, v in options.items() if n not in _ARRANGING}
    arranging = {n: v for n, v in options.items() if n in _ARRANGING}
    with unannotated(), collected():  # nothing is read yet
        stack = {**others, "scan": "stack", "first_frame": 0}
        recording, stacked = arranged(path, format, stack)
        bare = arrange(recording).scan
    with collected() as warned:
        described = annotated(recording)
        bounds = {n: arranging.pop(n) for n in _BOUNDS if n in arranging}
        shared = {n: v for n, v in stacked.options.items() if n != "scan"} | arranging
        decided = arrange(described, **bounds, options=shared)
    positions = recording.count // recording.layers
    shown = min(positions, capacity())
    frames = stacked.source.frames[:positions]
    call = None if not callable(progress) else progress
    with progress_bar(shown, None if callable(progress) else progress, "inspecting") as bar:
        measured = survey(frames[:shown], fast=fast, progress=call or bar.update)
    data = _data(path, described, recording, decided.scan, bare, measured, options)
    odd = [str(problem) for problem in described.problems if problem.severity != "info"]
    data["call"] = "hs.load" if format == "auto" else "rsciio_tem.load"
    data["asked"] = {"format": format} if format != "auto" else {}
    data["asked"] |= {n: plain for n, v in others.items() if (plain := _plain(v)) is not None}
    data["warnings"] = list(dict.fromkeys([*odd, *(message for _, message in warned)]))
    inspector = Inspector(recording, frames, data, measured)
    if output is not None:
        inspector.save(output, overwrite=overwrite)
    return inspector


def _plain(value: Any) -> Any:
    """Return a keyword as the page can write it; None if it cannot."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (tuple, list)) and all(_plain(one) is not None for one in value):
        return [_plain(one) for one in value]
    if isinstance(value, (np.dtype, os.PathLike)):
        return value.str if isinstance(value, np.dtype) else os.fspath(value)
    finite = isinstance(value, float) and math.isfinite(value)
    return value if finite or isinstance(value, (bool, int, str)) else None


def _data(
    path: str,
    described: Recording,
    recording: Recording,
    scan: Scan,
    bare: Scan,
    measured: Survey,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Gather what the page shows, as plain values."""
    positions, count = recording.count // recording.layers, measured.count
    channels, left_out = packed(measured.channels)
    curve = matches(measured.channels)
    tops = peaks(curve)
    times = recording.times
    scattered = times is not None and times.scattered  # a file for each header
    count_of_times = min(count, 2000) if scattered else count
    times = decimated(times, recording.layers)
    frames = recording.frames
    return {
        "version": __version__,
        "name": os.path.basename(os.path.abspath(path)),
        "path": path,
        "format": f"{recording.format}: {every_format()[recording.format].description}",
        "frames": positions,
        "shown": count,
        "layers": recording.layers,
        "frame": [*frames.frame_shape],
        "dtype": frames.dtype.name,
        "channels": channels,
        "left_out": left_out,
        "pattern": None if measured.pattern is None else pattern_as_text(measured.pattern),
        "geometry": None if measured.geometry is None else vars(measured.geometry).copy(),
        "candidates": _candidates(recording, scan, bare, measured, tops, options, described),
        "matches": np.round(curve, 4).tolist(),
        "peaks": [[length, round(value, 4)] for length, value in tops],
        "times": steps_in_time(times, count_of_times),
        "placed": recording.times is not None,
        "side": _side(described, recording),
        "server": False,
    }


# ---------------------------------------------------------------- candidates


def _candidates(
    recording: Recording,
    scan: Scan,
    bare: Scan,
    measured: Survey,
    tops: list[tuple[int, float]],
    options: Mapping[str, Any],
    described: Recording,
) -> list[dict[str, Any]]:
    """List arrangements that anything speaks for; the first one is what is loaded now."""
    result = []
    note = described.annotation
    said = {} if note is None else note.arrangement(options)
    asked = {n: _plain(v) for n, v in {**said, **options}.items() if n in _ARRANGING}
    asked = {n: v for n, v in asked.items() if v is not None}
    if len(scan.shape) > 1:
        result.append(_of_scan(scan, recording, "What is loaded now", asked))
    if len(bare.shape) > 1 and (note is not None or asked):
        entry = _of_scan(bare, recording, "What the recording itself says", {})
        result.append({**entry, "keywords": {"scan": "auto"}})
    seen = {(one["state"]["line"], one["state"]["first"]) for one in result}

    def add(hint: ScanHint, what: str) -> None:
        state = {
            "line": hint.line_length,
            "flyback": hint.line_length - hint.shape[-1],
            "first": hint.start + hint.column,
            "snake": False,
        }
        if (state["line"], state["first"]) not in seen:
            seen.add((state["line"], state["first"]))
            entry = {"title": what, "reason": hint.reason, "confidence": hint.confidence}
            result.append({**entry, "contradictions": [], "state": state})

    for hint in recording.candidates():
        if len(hint.shape) > 1:
            add(hint, _RULES.get(hint.rule, hint.rule))
    values = np.stack([np.nan_to_num(v) for v in measured.channels.values()], axis=1)
    lines = content_lines(values)
    if lines is not None and (lines.sure or lines.score >= _CLEAR):
        seen_in_images = hint_of(lines, measured.count)
        if seen_in_images is not None:
            add(seen_in_images, "The images")
    positions = recording.count // recording.layers
    for length, value in tops[:4]:
        if any(length % one["state"]["line"] == 0 for one in result):
            continue  # what repeats after some lines repeats after twice as many
        reason = f"frames resemble those {length} later ({value:.2f})"
        shape = (positions // length, length)
        add(ScanHint("content", shape, 0.3, reason), "Neighbouring lines")
    return result


_RULES = {
    "header": "The header",
    "trigger": "Frames per trigger",
    "exposures": "Exposure times",
    "timestamps": "Times of frames",
    "square": "A square",
    "content": "The images",
}


def _of_scan(
    scan: Scan, recording: Recording, title: str, asked: Mapping[str, Any]
) -> dict[str, Any]:
    """Describe a scan by its line length, first frame and so on; irregular ones by their runs."""
    hint, layers = scan.evidence, recording.layers
    shape = scan.shape[1:] if layers > 1 else scan.shape
    positions = math.prod(shape)
    if isinstance(scan.index, slice):
        index = np.arange(scan.index.start, scan.index.start + positions)
    else:
        index = scan.index[:positions]
        index = np.where(index < 0, -1, index // layers)
    columns = shape[-1]
    grid = index.reshape(-1, columns)
    state = _regular(grid)
    entry: dict[str, Any] = {
        "title": title,
        "reason": hint.reason,
        "confidence": hint.confidence,
        "contradictions": list(scan.contradictions),
        "shape": list(shape[::-1]),
    }
    keywords = _keywords_of(scan, recording, shape, asked)
    if state is not None:
        return {**entry, "state": state, **({"keywords": keywords} if keywords else {})}
    firsts = grid.min(axis=1, where=grid >= 0, initial=1 << 60)
    steps = np.diff(firsts[firsts < 1 << 60])
    line = max(columns, int(np.median(steps)) if len(steps) else 0)
    recorded = index[index >= 0]
    state = {
        "line": line,
        "flyback": line - columns,
        "first": int(recorded[0]) if len(recorded) else 0,
        "snake": False,
    }
    runs = _runs(index)
    if len(runs) <= _RUNS:
        entry |= {"runs": runs, "keywords": keywords}
    return {**entry, "state": state}


def _keywords_of(
    scan: Scan, recording: Recording, shape: tuple[int, ...], asked: Mapping[str, Any]
) -> dict[str, Any]:
    """Return keywords that arrange frames just so, whatever side file there is; {} if none do."""
    by_shape: dict[str, Any] = {"navigation_shape": [*shape[::-1]]}
    for keywords in (by_shape, {"scan": scan.evidence.rule}, dict(asked)):
        options = dict(keywords)
        bounds = {name: options.pop(name) for name in _BOUNDS if name in options}
        try:
            with unannotated(), collected():
                other = arrange(recording, **bounds, options=options).scan
        except (FormatError, ValueError):
            continue
        if other.shape == scan.shape and np.array_equal(_numbers(other), _numbers(scan)):
            return keywords
    return {}


def _numbers(scan: Scan) -> np.ndarray[Any, Any]:
    index = scan.index
    return np.arange(index.start, index.stop) if isinstance(index, slice) else index


def _regular(grid: np.ndarray[Any, Any]) -> dict[str, Any] | None:
    """Return line length and so on of lines that follow each other evenly; None if they do not."""
    lines, columns = grid.shape
    for snake in (False, True):
        straight = grid.copy()
        if snake:
            straight[1::2] = straight[1::2, ::-1]
        inside = np.argwhere(straight >= 0)
        if not len(inside):
            return None
        row, column = inside[0].tolist()
        line = columns
        if lines > row + 2 and straight[row + 1, 0] >= 0 and straight[row + 2, 0] >= 0:
            line = int(straight[row + 2, 0] - straight[row + 1, 0])
        first = int(straight[row, column]) - row * line - column
        even = first + np.arange(lines)[:, None] * line + np.arange(columns)
        recorded = straight >= 0
        outside = (even < 0) | (even > straight.max())
        even_there = line >= columns and np.array_equal(straight[recorded], even[recorded])
        if even_there and (outside | recorded).all():
            return {"line": line, "flyback": line - columns, "first": first, "snake": snake}
    return None


def _runs(index: np.ndarray[Any, Any]) -> list[list[int]]:
    """Return stretches of positions whose frames follow each other: position, frame, number."""
    jump = np.ones(len(index), bool)
    jump[1:] = np.where(index[1:] < 0, index[:-1] >= 0, index[1:] != index[:-1] + 1)
    starts = np.flatnonzero(jump)
    counts = np.diff(np.append(starts, len(index)))
    rows = np.stack([starts, index[starts], counts], axis=1)
    return [row for row in rows.tolist() if row[1] >= 0]


# ---------------------------------------------------------------- side file


def _side(described: Recording, recording: Recording) -> dict[str, Any] | None:
    """Return what a side file that the page makes has besides its table [scan]."""
    if not recording.files:
        return None
    path = name_of_side_file(recording)
    note = described.annotation or Annotation(path)
    kept = {n: v for n, v in note.values.items() if n in (*CALIBRATION, *CORRECTIONS)}
    blank = annotation_as_toml(recording, Annotation(path))
    return {
        "name": os.path.basename(path),
        "schema": SCHEMA,
        "recording": "\n".join(line for line in blank.splitlines()[4:] if line),
        "kept": kept,
        "notes": note.notes,
        "identity": identity(recording, path),
    }


# ---------------------------------------------------------------- the page


def _print(address: str) -> None:
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()


def page(data: Mapping[str, Any]) -> str:
    """Return the page as one text."""
    folder = resources("rsciio_tem") / "tools" / "page"
    style, script, body = (
        (folder / f"inspector.{kind}").read_text(encoding="utf-8") for kind in ("css", "js", "html")
    )
    # names in files must never become markup: JSON without what could end a script
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    source = "'self'" if data["server"] else "'none'"
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        f"img-src data: blob:; connect-src {source}"
    )
    parts = {
        "@POLICY@": html.escape(policy),
        "@STYLE@": style,
        "@SCRIPT@": script,
        "@DATA@": text,
        # the last one, since a name may hold marks, and the first in the page
        "@TITLE@": html.escape(str(data["name"]).encode("utf-8", "backslashreplace").decode()),
    }
    for mark, value in parts.items():
        before, _, after = body.partition(mark)
        body = before + value + after
    return body


def check_name(path: str) -> None:
    """Refuse a name that a browser would not take for a page."""
    if os.path.splitext(path)[1].lower() not in (".html", ".htm"):
        raise FormatError(path, "is no name of a page.", "Let it end with .html.")


def usual_name(path: str) -> str:
    """Return the name of the page of a recording, in the current folder."""
    return os.path.splitext(os.path.basename(os.path.abspath(path)))[0] + "_inspect.html"
