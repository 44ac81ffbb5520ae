# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``rsciio-tem check`` does with its paths, and prints."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import click

from rsciio_tem.cli.words import problem_as_json, product_in_words
from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Unsupported
from rsciio_tem.readers import chosen, detect
from rsciio_tem.registry import candidates, every_format
from rsciio_tem.tools.open import open

#: What is said of a recording in the end, and the exit status.
EXIT_STATUS = {"ok": 0, "not checked": 0, "with warnings": 1, "with errors": 2}


#: What is said of a folder below which there is none.
NOTHING_HERE = "holds no recording that we know."


def checked(
    path: str, format: str, format_options: Mapping[str, Any], pixels: bool, skipped: str
) -> dict[str, Any]:
    """Check one recording; what ``check --json`` prints of it."""
    from tqdm import tqdm

    from rsciio_tem.tools.check import check

    if skipped == NOTHING_HERE:  # somebody expects recordings there
        problem = problem_as_json(Problem("error", skipped))
        return {"path": path, "verdict": "with errors", "problems": [problem]}
    if skipped:
        return {"path": path, "verdict": "not checked", "reason": skipped, "problems": []}
    source: Any = path
    description: dict[str, Any] = {}
    with contextlib.suppress(FormatError):  # which `check` tells
        if format == "auto" and {"dtype", "sig_shape"} <= set(format_options):
            format, _ = chosen(path, raw=True)
        source = open(path, format, **format_options)
        description = {
            "format": source.format,
            "frames": {
                "stored": source.count,
                "shape": list(source.frames.frame_shape),
                "dtype": source.frames.dtype.name,
            },
            "headers": source.times is not None,
        }
    passed = {} if description else format_options
    with tqdm(
        total=description["frames"]["stored"] if description else 0,
        unit=" frames",
        leave=False,
        disable=None if pixels else True,
    ) as bar:
        problems = check(source, format, pixels=pixels, progress=bar.update, **passed)
    worst = problems[0].severity if problems else "info"
    verdict = {"error": "with errors", "warning": "with warnings"}.get(worst, "ok")
    return {
        "path": path,
        "verdict": verdict,
        **description,
        "pixels": pixels and bool(description),
        "problems": [problem_as_json(problem) for problem in problems],
    }


def print_checked(result: Mapping[str, Any]) -> None:
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
    summary = [f"{counts[s]} {s}{'s' * (counts[s] != 1)}" for s in colours if s in counts]
    colour = "red" if "error" in counts else "yellow" if summary else "green"
    verdict = click.style(", ".join(summary) or "ok", fg=colour, bold=True)
    if "frames" not in result:
        click.echo(f"{path}: {verdict}")
        return
    frames = result["frames"]
    read = "all pixels were decoded" if result["pixels"] else "pixels were not read (--pixels does)"
    size = product_in_words(frames["shape"][::-1])
    click.echo(
        f"{path}: {verdict} ({result['format']}, {frames['stored']} "
        f"frame{'s' * (frames['stored'] != 1)} of {size} px; {read})"
    )


def recordings_below(folder: str) -> Iterator[tuple[str, str]]:
    """Give the recordings below a folder, each once, and why one is not checked.

    A folder without any is given itself, with `NOTHING_HERE`.
    """
    opened: dict[str, set[str]] = {}
    skipped: dict[str, str] = {}
    seen: set[str] = set()
    for place, below, names in os.walk(folder):
        for name in list(below):
            if candidates(os.path.join(place, name), b""):  # a folder that is a recording
                below.remove(name)
                names.append(name)
        below.sort()
        for name in sorted(names):
            path = os.path.join(place, name)
            if os.path.abspath(path) in seen:
                continue
            try:
                formats = detect(path)
                if (
                    not formats
                    or formats[0].confidence < 0.5
                    or formats[0].format not in every_format()
                ):
                    continue
                recording = open(path)
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
        absolute = os.path.abspath(path)
        if not any(absolute in other and len(other) > len(files) for other in opened.values()):
            yield path, ""
    yield from skipped.items()
    if not opened and not skipped:
        yield folder, NOTHING_HERE
