# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``rsciio-tem``: look at recordings without writing a line of Python."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from importlib.util import find_spec
from typing import Any

import click

from rsciio_tem._version import __version__
from rsciio_tem.cli.check import (
    EXIT_STATUS,
    checked,
    compare_folders,
    compared,
    in_rows,
    print_checked,
    print_counts,
    print_differences,
    searched,
)
from rsciio_tem.cli.info import add_what_images_show, describe, print_info
from rsciio_tem.cli.options import (
    annotation_options,
    assignments,
    format_name,
    format_names,
    opened,
    reader_options,
    report_option,
    set_by_user,
    sizes,
)
from rsciio_tem.cli.preview import must_be_new, preview, sheet_of
from rsciio_tem.cli.words import (
    echo_json,
    escaping,
    evidence_in_words,
    product_in_words,
    quoted,
    reporting,
    say_error,
    scan_in_words,
    size_in_words,
)
from rsciio_tem.errors import FormatError, Problem, collected
from rsciio_tem.readers import detect, load
from rsciio_tem.registry import formats, listed_by_us
from rsciio_tem.scan.scan import Scan
from rsciio_tem.storage.user_paths import named_by_user
from rsciio_tem.tools import report
from rsciio_tem.tools.recordings import is_searched
from rsciio_tem.tools.report import problem_as_json

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
    escaping()


@main.command("formats")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@reporting
def formats_command(as_json: bool) -> None:
    """List the formats, and which of them hs.load opens."""
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
        echo_json(rows)
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

    from rsciio_tem._hyperspy.registration import ContentAlias

    def named(plugin: Any) -> bool:
        return suffix in [n.lower() for n in (plugin["name"], *plugin["name_aliases"])]

    chosen = [p for p in IO_PLUGINS if named(p)]
    chosen = chosen or [p for p in IO_PLUGINS if suffix in p["file_extensions"]]
    if not chosen or not listed_by_us(chosen[0]):
        return "RosettaSciIO" if chosen else "no"
    asked = any(isinstance(n, ContentAlias) and n == suffix for n in chosen[0]["name_aliases"])
    return "content" if asked or chosen[0]["api"] == "rsciio_tem.readers" else "ours"


@main.command("info", short_help="Say what files hold, and how their scans were found.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object, or a list of them.")
@click.option("--pixels", is_flag=True, help="Also read all frames once: do they show lines?")
@reader_options
@reporting
def info_command(
    paths: tuple[str, ...], as_json: bool, pixels: bool, options: dict[str, Any]
) -> None:
    """Say what PATH... hold, and how the scan shapes were found; folders are searched.

    Without --pixels no pixel is read.
    """
    items = searched(paths)
    several = len(paths) > 1 or len(items) > 1
    infos, failed = [], False
    for item in items:
        try:
            if item.problem is not None:
                raise FormatError(item.path, item.problem.message, item.problem.hint)
            info, scan = _info_of(item.path, pixels, options)
        except (FormatError, OSError) as error:
            if not several:
                raise
            failed = True
            say_error(error)
            continue
        infos.append(info)
        if not as_json:
            if len(infos) > 1:
                click.echo()
            print_info(info, scan, whole_path=several)
    if as_json:
        echo_json(infos if several else infos[0])
    if failed:
        raise click.exceptions.Exit(2)


def _info_of(path: str, pixels: bool, options: dict[str, Any]) -> tuple[dict[str, Any], Scan]:
    """Gather what there is to say of a recording."""
    with named_by_user(path, options, guarded=False) as (path, options):
        with collected() as warned:
            recording, arranged = opened(path, options)
        info = describe(path, recording, detect(path), arranged)
        if pixels:
            add_what_images_show(info, arranged)
    for said_of, message in warned:
        text = message if said_of == recording.path else f"{said_of}: {message}"
        info["problems"].append(problem_as_json(Problem("warning", text)))
    return info, arranged.scan


# ---------------------------------------------------------------- check


@main.command("check", short_help="Say whether recordings are complete and readable.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--pixels", is_flag=True, help="Also decode every frame once.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@report_option
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
    paths: tuple[str, ...],
    pixels: bool,
    as_json: bool,
    report_path: str | None,
    format_name: str,
    others: tuple[str, ...],
) -> None:
    """Say whether the recordings PATH... are complete and readable; folders are searched.

    The exit status is 0 if nothing but information was found, 1 for warnings and for what cannot
    be checked, 2 for errors.
    """
    format_options = assignments(others)
    if report_path:
        report.check_writable(report_path)
    results: list[dict[str, Any]] = []
    passed_over: Counter[str] = Counter()
    try:
        for item in searched(paths, format_options, passed_over):
            rows = as_json or report_path is not None
            result = checked(item, format_name, format_options, pixels, with_scan=rows)
            results.append(result)
            if not as_json:
                print_checked(result)
    finally:
        if report_path and results:
            report.save(report_path, results)
    if as_json:
        echo_json(results)
    else:
        print_counts(results, passed_over)
    worst = max(EXIT_STATUS[result["verdict"]] for result in results)
    if worst:
        raise click.exceptions.Exit(worst)


@main.command("preview", short_help="Draw a recording on one sheet, or those in a folder.")
@click.argument("path")
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="FILE",
    help="Picture to write, .png, .jpg, .svg or .pdf; may be given several times. By default "
    "NAME_preview.png in this folder.",
)
@click.option("--light", is_flag=True, help="Draw on a white ground.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as a JSON object.")
@click.option("--overwrite", is_flag=True, help="Replace the picture if there is one.")
@reader_options
@reporting
def preview_command(
    path: str,
    outputs: tuple[str, ...],
    light: bool,
    as_json: bool,
    overwrite: bool,
    options: dict[str, Any],
) -> None:
    """Draw PATH on one sheet: patterns, navigator, bright field, dark field; or images.

    Of a folder, a contact sheet is made, with a small picture of each recording in it.
    """
    preview(path, outputs, options, light=light, as_json=as_json, overwrite=overwrite)


@main.command("annotate", short_help="Write down what no file says about a recording.")
@click.argument("path")
@annotation_options
@click.option("--snake/--no-snake", default=None, help="Whether every second line runs back.")
@click.option("--notes", metavar="TEXT", help="A text for people.")
@click.option(
    "--remove", multiple=True, metavar="NAME", help="Say nothing of this any more, e.g. scan-step."
)
@click.option("--overwrite", is_flag=True, help="Replace the side file, instead of adding to it.")
@reporting
def annotate_command(
    path: str,
    options: dict[str, Any],
    snake: bool | None,
    notes: str | None,
    remove: tuple[str, ...],
    overwrite: bool,
) -> None:
    """Write how PATH is arranged and calibrated into PATH.rsciio-tem.toml.

    All commands, all readers and hs.load use it from then on; what is passed to them wins.
    """
    from rsciio_tem.cli.annotate import annotate

    annotate(path, {**options, "snake": snake}, remove, notes, overwrite)


@main.command("inspect", short_help="Make a page to see and try the shape of a scan.")
@click.argument("path")
@click.option(
    "-o", "--output", metavar="FILE.html", help="By default NAME_inspect.html in this folder."
)
@click.option("--fast", is_flag=True, help="Look at the first frames only, for two seconds.")
@click.option("--serve", is_flag=True, help="Write no file; serve the page to a browser here.")
@click.option(
    "--open/--no-open", "show", default=None, help="Open it in a browser; on terminals it is."
)
@click.option("--overwrite", is_flag=True, help="Replace the page if there is one.")
@reader_options
@reporting
def inspect_command(
    path: str,
    output: str | None,
    fast: bool,
    serve: bool,
    show: bool | None,
    overwrite: bool,
    options: dict[str, Any],
) -> None:
    """Make a page about PATH: an image of the scan that changes as you try shapes.

    All frames are read once, or with --fast the first ones. With --serve the page also shows single
    patterns and writes the side file, until Ctrl-C.
    """
    from rsciio_tem.cli.inspect import inspect

    inspect(path, output, options, fast=fast, serve=serve, show=show, overwrite=overwrite)


@main.command("convert", short_help="Write recordings in another format.")
@click.argument("paths", nargs=-1, required=True, metavar="SOURCE... [TARGET]")
@click.option(
    "--to",
    "target_format",
    metavar="FORMAT",
    help="Format of TARGET, or its suffix; by default the suffix tells.",
)
@click.option("--into", metavar="FOLDER", help="Convert all SOURCEs into this folder.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Convert N recordings at a time.",
)
@click.option("--skip-existing", is_flag=True, help="Pass over what is converted already.")
@click.option("--overwrite", is_flag=True, help="Replace TARGET if it exists.")
@click.option("--resume/--no-resume", default=True, help="Go on with an unfinished conversion.")
@click.option("--verify", is_flag=True, help="Read TARGET back and compare checksums.")
@click.option("--strict", is_flag=True, help="Write nothing if a check of SOURCE gives a warning.")
@click.option("--checksums", is_flag=True, help="Keep the SHA-256 of all files of SOURCE.")
@report_option
@click.option("--quiet", is_flag=True, help="Show no progress.")
@reader_options
@reporting
def convert_command(
    paths: tuple[str, ...],
    target_format: str | None,
    into: str | None,
    jobs: int,
    skip_existing: bool,
    report_path: str | None,
    quiet: bool,
    options: dict[str, Any],
    **switches: bool,
) -> None:
    """Write SOURCE as TARGET, piece by piece. What interrupts it loses nothing: run it again.

    With --into, all recordings SOURCE..., and those in folders SOURCE..., are written into a
    folder.

    A SOURCE is never changed, and an earlier TARGET stays until the new one is complete. SOURCE is
    checked as by rsciio-tem check; with warnings the exit status is 1, with errors 2.
    """
    from rsciio_tem.cli import convert

    convert.check_arguments(paths, into, target_format, skip_existing)
    name, set_options = set_by_user(options)
    how = convert.conversion(set_options, name, target_format, **switches)
    if into is None:
        source, target = paths
        status = convert.one(source, target, how, report_path, quiet)
    else:
        status = convert.many(
            *(paths, into, how),
            jobs=jobs,
            skip_existing=skip_existing,
            report_path=report_path,
            quiet=quiet,
        )
    if status:
        raise click.exceptions.Exit(status)


@main.command("reference", short_help="Let other programs read a recording where it is.")
@click.argument("path")
@click.option(
    "-o",
    "--output",
    metavar="FILE.json",
    help="By default NAME.zarr.json beside the recording; FOLDER.parq for very many frames.",
)
@click.option(
    "--zarr-format",
    type=click.Choice(["2", "3"]),
    help="Version of Zarr; by default 2, or 3 if frames are missing.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file if there is one.")
@reader_options
@reporting
def reference_command(
    path: str,
    output: str | None,
    zarr_format: str | None,
    overwrite: bool,
    options: dict[str, Any],
) -> None:
    """Write a small file through which Zarr and xarray read PATH where it is.

    No pixel is copied, and rsciio-tem need not be installed there.
    """
    from rsciio_tem.cli.reference import reference

    version = None if zarr_format is None else int(zarr_format)
    reference(path, output, options, zarr_format=version, overwrite=overwrite)


@main.command("compare", short_help="Say in what two recordings differ.")
@click.argument("first")
@click.argument("second")
@click.option(
    "--only",
    "parts",
    type=click.Choice(["pixels", "axes", "metadata"]),
    multiple=True,
    help="What to compare; by default everything. May be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@reader_options
@reporting
def compare_command(
    first: str, second: str, parts: tuple[str, ...], as_json: bool, options: dict[str, Any]
) -> None:
    """Say in what FIRST and SECOND differ, for example a recording and what it was converted to.

    Of two folders, the recordings of the same names are compared. The options of readers are for
    FIRST; -O corrections=false is for both. The exit status is 0 if they are the same, 1 if not.
    """
    from rsciio_tem.tools.compare import PARTS

    name, set_options = set_by_user(options)
    compared_parts = parts or PARTS
    if is_searched(first) and is_searched(second):
        status = compare_folders(first, second, name, compared_parts, set_options, as_json)
        if status:
            raise click.exceptions.Exit(status)
        return
    differences = compared(first, second, name, compared_parts, set_options)
    if as_json:
        echo_json(in_rows(differences))
    else:
        print_differences(differences, compared_parts)
    if any(one.severity != "info" for one in differences):
        raise click.exceptions.Exit(1)


@main.command("demo")
@click.argument("folder", default="rsciio-tem-demo")
@click.option(
    "--size", type=sizes, default="48,40", metavar="X,Y", help="Scan shape; 48,40 by default."
)
@click.option("--overwrite", is_flag=True, help="Replace the demo's files if there are any.")
@reporting
def demo_command(folder: str, size: tuple[int, ...], overwrite: bool) -> None:
    """Simulate a 4D-STEM recording in FOLDER, and load it."""
    from rsciio_tem.tools import demo, drawing

    if len(size) != 2 or min(size) < 2:
        raise click.UsageError("--size: a scan has two sizes, both greater than 1")
    path, picture = (os.path.join(folder, n) for n in ("grains.mib", "grains_preview.png"))
    for name in (path, os.path.splitext(path)[0] + ".hdr", picture):
        must_be_new(name, overwrite)
    os.makedirs(folder, exist_ok=True)
    click.echo(f"Simulating a Merlin camera and a scan of {product_in_words(size)} positions …")
    began = time.perf_counter()
    hdr = demo.write(path, (size[1], size[0]), overwrite=overwrite)
    for name in (path, hdr):
        click.echo(f"  {name}  {size_in_words(os.path.getsize(name))}")
    click.echo(f"  in {time.perf_counter() - began:.1f} s\n")

    recording, arranged = opened(path, {})
    scan = arranged.scan
    click.echo("Neither file says how long a scan line is. Found from the times of the frames:")
    click.echo(click.style(f"  {scan_in_words(scan.shape)}", fg="green", bold=True))
    click.echo(f"  {evidence_in_words(scan.evidence, scan.shape)}\n")
    text = json.dumps(path, ensure_ascii=False)  # Python reads it as well
    if find_spec("hyperspy"):
        import hyperspy.api as hs

        call = f"hs.load({text}, lazy=True)"
        shown: Any = hs.load(path, lazy=True)
    else:
        click.echo("HyperSpy is not installed; loading without it:")
        call = f'rsciio_tem.load({text}, lazy=True)[0]["data"]'
        shown = load(path, lazy=True)[0]["data"]
    click.echo(click.style(f">>> {call}", fg="cyan"))
    click.echo(f"{shown!r}\n")

    began = time.perf_counter()
    _, drawn = sheet_of(recording, arranged)
    drawing.save(drawn.figure, picture, text=drawn.text, overwrite=overwrite)
    click.echo(f"Preview, from one pass in {time.perf_counter() - began:.1f} s:\n  {picture}\n")
    name = quoted(path)
    click.echo("Next:")
    click.echo(f"  rsciio-tem info {name}")
    columns, lines = arranged.scan.shape[::-1]
    wrong = f"--navigation-shape {columns + 1},{lines}"
    click.echo(f"  rsciio-tem preview {name} {wrong} -o wrong_shape.png")
    click.echo("  and the same with a recording of yours")
