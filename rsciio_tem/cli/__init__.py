# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``rsciio-tem``: look at recordings without writing a line of Python."""

from __future__ import annotations

import json
import os
import shlex
import time
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from rsciio_tem._version import __version__
from rsciio_tem.cli.check import EXIT_STATUS, checked, print_checked, recordings_below
from rsciio_tem.cli.info import add_what_images_show, describe, print_info
from rsciio_tem.cli.options import (
    assignments,
    format_name,
    format_names,
    opened,
    reader_options,
    sizes,
)
from rsciio_tem.cli.preview import sheet_of
from rsciio_tem.cli.words import (
    evidence_in_words,
    problem_as_json,
    product_in_words,
    reporting,
    say,
    scan_in_words,
    size_in_words,
)
from rsciio_tem.errors import FormatError, Problem, RecordingWarning
from rsciio_tem.readers import load
from rsciio_tem.registry import candidates, formats, listed_by_us

__all__ = ["describe", "main"]

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
@reporting
def formats_command(as_json: bool) -> None:
    """List the formats, and whether hs.load opens them with our reader."""
    rows: list[dict[str, Any]] = [
        {
            "format": row.name,
            "description": row.description,
            "module": row.module,
            "suffixes": list(row.suffixes),
            # hs.load takes no folders besides HyperSpy's own, but a file in them
            "hs_load": {s: "no" if row.folder else _opens(s) for s in row.suffixes},
        }
        for row in formats()
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
    click.echo(
        "\nours: hs.load uses the reader listed; content: it does if the content is of the format"
    )


def _opens(suffix: str) -> str:
    """Say whose reader ``hs.load`` takes for a suffix; it compares names before suffixes."""
    from rsciio import IO_PLUGINS

    def named(plugin: Any) -> bool:
        return suffix in [n.lower() for n in (plugin["name"], *plugin["name_aliases"])]

    chosen = [p for p in IO_PLUGINS if named(p)]
    chosen = chosen or [p for p in IO_PLUGINS if suffix in p["file_extensions"]]
    if not chosen or not listed_by_us(chosen[0]):
        return "RosettaSciIO" if chosen else "no"
    return "content" if chosen[0]["api"] == "rsciio_tem.readers" else "ours"


@main.command("info", short_help="Say what a file holds, and how its scan was found.")
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--pixels", is_flag=True, help="Also read all frames once: do they show lines?")
@reader_options
@reporting
def info_command(path: str, as_json: bool, pixels: bool, options: dict[str, Any]) -> None:
    """Say what PATH holds, and how the scan shape was found.

    Without --pixels no pixel is read.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RecordingWarning)
        recording, candidates, arranged = opened(path, options)
    info = describe(path, recording, candidates, arranged)
    if pixels:
        add_what_images_show(info, arranged)
    prefix = f"{recording.path}: "
    info["problems"] += [
        problem_as_json(Problem("warning", str(w.message).removeprefix(prefix)))
        for w in caught
        if issubclass(w.category, RecordingWarning)
    ]
    if as_json:
        click.echo(json.dumps(info, indent=2, ensure_ascii=False))
    else:
        print_info(info, arranged.scan)


# ---------------------------------------------------------------- check


@main.command("check", short_help="Say whether recordings are complete and readable.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--pixels", is_flag=True, help="Also decode every frame once.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.option(
    "--format",
    "format_name",
    type=format_name,
    shell_complete=format_names,
    default="auto",
    metavar="NAME",
    help="Format of the files, see rsciio-tem formats; by default their content tells.",
)
@click.option(
    "-O", "--option", "others", multiple=True, metavar="NAME=VALUE", help="Keyword of the format."
)
@reporting
def check_command(
    paths: tuple[str, ...], pixels: bool, as_json: bool, format_name: str, others: tuple[str, ...]
) -> None:
    """Say whether the recordings PATH... are complete and readable; folders are searched.

    The exit status is 0 if nothing but information was found, 1 for warnings, 2 for errors.
    """
    format_options = assignments(others)
    results = []
    for path in paths:
        searched = os.path.isdir(path) and not candidates(path, b"")  # a Zarr store is a recording
        for name, skipped in recordings_below(path) if searched else [(path, "")]:
            result = checked(name, format_name, format_options, pixels, skipped)
            results.append(result)
            if not as_json:
                print_checked(result)
    if as_json:
        click.echo(json.dumps(results, indent=2, ensure_ascii=False))
    elif len(results) > 1:
        verdicts = [result["verdict"] for result in results]
        words = [f"{verdicts.count(v)} {v}" for v in EXIT_STATUS if v in verdicts]
        click.echo(f"{len(results)} recordings: {', '.join(words)}")
    worst = max(EXIT_STATUS[result["verdict"]] for result in results)
    if worst:
        raise click.exceptions.Exit(worst)


@main.command("preview", short_help="Draw a recording on one sheet.")
@click.argument("path")
@click.option(
    "-o", "--output", metavar="FILE.png", help="By default NAME_preview.png in this folder."
)
@click.option("--overwrite", is_flag=True, help="Replace the picture if there is one.")
@reader_options
@reporting
def preview_command(
    path: str, output: str | None, overwrite: bool, options: dict[str, Any]
) -> None:
    """Draw PATH on one sheet: sum pattern, navigator, bright field, dark field."""
    from rsciio_tem.tools import preview

    name = os.path.basename(os.path.abspath(path))  # a folder may be written with a slash
    target = output or os.path.splitext(name)[0] + "_preview.png"
    _must_be_new(target, overwrite)
    recording, _, arranged = opened(path, options)
    for problem in recording.problems:
        if problem.severity != "info":
            say("warning", f"{recording.path}: {problem}", "yellow")
    preview.save(sheet_of(path, recording, arranged), target, overwrite=overwrite)
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
@click.option("--strict", is_flag=True, help="Write nothing if a check of SOURCE gives a warning.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@reader_options
@reporting
def convert_command(
    source: str,
    target: str,
    target_format: str | None,
    overwrite: bool,
    resume: bool,
    verify: bool,
    strict: bool,
    quiet: bool,
    options: dict[str, Any],
) -> None:
    """Write SOURCE as TARGET, piece by piece. What interrupts it loses nothing: run it again.

    SOURCE is never changed, and an earlier TARGET stays until the new one is complete. SOURCE is
    checked as by rsciio-tem check; with warnings the exit status is 1.
    """
    from rsciio_tem.tools.convert import convert

    set_options = {name: value for name, value in options.items() if value is not None}
    name = set_options.pop("format_name", "auto")
    began = time.perf_counter()
    doubts = _checked_before(source, options)
    if strict and doubts:
        raise FormatError(
            source,
            f"a check gives {len(doubts)} warning{'s' * (len(doubts) > 1)}; nothing was written.",
            "Leave out --strict to write what is there.",
        )
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RecordingWarning)
            path = convert(
                source,
                target,
                target_format or "auto",
                source_format=name,
                overwrite=overwrite,
                progress=not quiet,
                resume=resume,
                verify=verify,
                **set_options,
            )
    except KeyboardInterrupt as stop:
        click.echo(err=True)
        say("stopped", "\n".join(getattr(stop, "__notes__", ["nothing is written."])), "yellow")
        raise click.exceptions.Exit(130) from stop
    size = size_in_words(sum(f.stat().st_size for f in _all_files(path)))
    more = [w for w in caught if not any(doubt in str(w.message) for doubt in doubts)]
    for w in more:
        warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)
    read_back = ", verified: every pixel was read back" * verify
    click.echo(f"{path}  {size} in {time.perf_counter() - began:.1f} s{read_back}")
    if doubts or any(issubclass(w.category, RecordingWarning) for w in more):
        raise click.exceptions.Exit(1)


def _checked_before(source: str, options: Mapping[str, Any]) -> list[str]:
    """Check a recording before it is converted; say and return what is missing or contradictory.

    Of the scan shape, what is odd about the one that the options ask for counts.
    """
    from rsciio_tem.tools.check import check

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RecordingWarning)
        try:
            recording, _, _ = opened(source, options)
        except FormatError:  # the conversion says it, or another package reads it
            return []
        asked = len(caught)
        recording.scan(exhaustive=True)
    prefix = f"{recording.path}: "
    said = [str(w.message).removeprefix(prefix) for w in caught]
    problems = [
        problem
        for problem in check(recording)
        if problem.severity != "info" and problem.message not in said[asked:]
    ]
    problems += [Problem("warning", message) for message in dict.fromkeys(said[:asked])]
    for problem in problems:
        say(problem.severity, f"{source}: {problem}", "yellow")
    return [problem.message for problem in problems]


def _all_files(path: str) -> list[Path]:
    return [f for f in Path(path).rglob("*") if f.is_file()] or [Path(path)]


@main.command("demo")
@click.argument("folder", default="rsciio-tem-demo")
@click.option(
    "--size", type=sizes, default="48,40", metavar="X,Y", help="Scan shape; 48,40 by default."
)
@click.option("--overwrite", is_flag=True, help="Replace the demo's files if there are any.")
@reporting
def demo_command(folder: str, size: tuple[int, ...], overwrite: bool) -> None:
    """Simulate a 4D-STEM recording in FOLDER, and load it."""
    from rsciio_tem.tools import demo, preview

    if len(size) != 2 or min(size) < 2:
        raise click.UsageError("--size: a scan has two sizes, both greater than 1")
    path, picture = (os.path.join(folder, n) for n in ("grains.mib", "grains_preview.png"))
    for name in (path, os.path.splitext(path)[0] + ".hdr", picture):
        _must_be_new(name, overwrite)
    os.makedirs(folder, exist_ok=True)
    click.echo(f"Simulating a Merlin camera and a scan of {product_in_words(size)} positions …")
    began = time.perf_counter()
    hdr = demo.write(path, (size[1], size[0]), overwrite=overwrite)
    for name in (path, hdr):
        click.echo(f"  {name}  {size_in_words(os.path.getsize(name))}")
    click.echo(f"  in {time.perf_counter() - began:.1f} s\n")

    recording, _, arranged = opened(path, {})
    scan = arranged.scan
    click.echo("Neither file says how long a scan line is. Found from the times of the frames:")
    click.echo(click.style(f"  {scan_in_words(scan.shape)}", fg="green", bold=True))
    click.echo(f"  {evidence_in_words(scan.evidence, scan.shape)}\n")
    if find_spec("hyperspy"):
        import hyperspy.api as hs

        hs.set_log_level("ERROR")
        call = f'hs.load("{path}", lazy=True)'
        shown: Any = hs.load(path, lazy=True)
    else:
        click.echo("HyperSpy is not installed; loading without it:")
        call = f'rsciio_tem.load("{path}", lazy=True)[0]["data"]'
        shown = load(path, lazy=True)[0]["data"]
    click.echo(click.style(f">>> {call}", fg="cyan"))
    click.echo(f"{shown!r}\n")

    began = time.perf_counter()
    preview.save(sheet_of(path, recording, arranged), picture, overwrite=overwrite)
    click.echo(f"Preview, from one pass in {time.perf_counter() - began:.1f} s:\n  {picture}\n")
    quoted = shlex.quote(path)
    click.echo("Next:")
    click.echo(f"  rsciio-tem info {quoted}")
    columns, lines = arranged.scan.shape[::-1]
    wrong = f"--navigation-shape {columns + 1},{lines}"
    click.echo(f"  rsciio-tem preview {quoted} {wrong} -o wrong_shape.png")
    click.echo("  and the same with a recording of yours")
