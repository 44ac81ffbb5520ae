# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``rsciio-tem preview`` does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt

from rsciio_tem._version import __version__
from rsciio_tem.cli.check import searched
from rsciio_tem.cli.options import opened
from rsciio_tem.cli.words import (
    echo_json,
    evidence_in_words,
    product_in_words,
    say,
    say_error,
    scan_in_words,
    size_in_words,
)
from rsciio_tem.errors import FormatError, Problem, collected
from rsciio_tem.reading.arrange import Arranged
from rsciio_tem.reading.images_as_evidence import agreement, hint_of
from rsciio_tem.recording.recording import Recording
from rsciio_tem.registry import every_format
from rsciio_tem.scan.content import content_lines
from rsciio_tem.scan.scan import Scan
from rsciio_tem.scan.words import plural
from rsciio_tem.storage.files import check_name_is_free
from rsciio_tem.storage.user_paths import named_by_user
from rsciio_tem.tools.recordings import Item, is_searched
from rsciio_tem.tools.report import problem_as_json

if TYPE_CHECKING:
    from rsciio_tem.tools.contact_sheet import Tile
    from rsciio_tem.tools.preview import Preview
    from rsciio_tem.tools.sheet import Sheet

__all__ = ["must_be_new", "preview", "sheet_of"]

#: Version of the objects that ``--json`` prints; changes when a key changes its meaning or goes.
SCHEMA = 1


def must_be_new(path: str, overwrite: bool) -> None:
    """Refuse a name that a file or folder has, before anything is read."""
    check_name_is_free(path, overwrite=True)  # a folder is never replaced
    if os.path.lexists(path) and not overwrite:
        raise FormatError(path, "exists already.", "Pass --overwrite to replace it.")


def _must_have_folder(path: str) -> None:
    """Refuse a name in a folder that is not there, before anything is read."""
    folder = os.path.dirname(path)
    if folder and not os.path.isdir(folder):
        raise FormatError(
            path, f"cannot be written: there is no folder {folder}.", "Make it first."
        )


def preview(
    path: str,
    outputs: Sequence[str],
    options: dict[str, Any],
    *,
    light: bool,
    as_json: bool,
    overwrite: bool,
) -> None:
    """Draw a recording on one sheet, or the recordings in a folder on contact sheets."""
    with named_by_user(path, options, guarded=False) as (named, keywords):
        _drawn(named, outputs, keywords, light=light, as_json=as_json, overwrite=overwrite)


def _drawn(
    path: str,
    outputs: Sequence[str],
    options: dict[str, Any],
    *,
    light: bool,
    as_json: bool,
    overwrite: bool,
) -> None:
    from rsciio_tem.tools import drawing

    # a folder may be written with a slash
    name = os.path.splitext(os.path.basename(os.path.abspath(path)))[0]
    outputs = outputs or (f"{name}_preview.png",)
    outputs = list({os.path.abspath(output): output for output in outputs}.values())
    for output in outputs:
        drawing.check_name(output)
        _must_have_folder(output)
    if is_searched(path):
        _contact_sheets(path, outputs, options, light=light, as_json=as_json, overwrite=overwrite)
        return
    for output in outputs:
        must_be_new(output, overwrite)
    recording, arranged, problems = _opened(path, options)
    measured, drawn = sheet_of(recording, arranged, light=light)
    for output in outputs:
        drawing.save(drawn.figure, output, text=drawn.text, overwrite=overwrite)
    if as_json:
        _echo(path, measured.numbers(), problems, outputs)
        return
    for output in outputs:
        click.echo(output)


def _opened(path: str, options: dict[str, Any]) -> tuple[Recording, Arranged, list[Problem]]:
    """Open a recording, and say what is odd about it."""
    with collected() as warned:
        recording, arranged = opened(path, options)
    problems = [problem for problem in recording.problems if problem.severity != "info"]
    for said_of, message in warned:
        text = message if said_of == recording.path else f"{said_of}: {message}"
        problems.append(Problem("warning", text))
    for problem in problems:
        say("warning", f"{recording.path}: {problem}", "yellow")
    return recording, arranged, problems


def _echo(
    path: str, numbers: dict[str, Any], problems: Sequence[Problem], pictures: Sequence[str]
) -> None:
    echo_json(
        {
            "schema": SCHEMA,
            "version": __version__,
            "path": path,
            **numbers,
            "pictures": list(pictures),
            "problems": [problem_as_json(problem) for problem in problems],
        }
    )


# ---------------------------------------------------------------- one recording


def _what_images_show(scan: Scan, parts: npt.NDArray[Any]) -> list[str]:
    """Say what lines the images show, where the scan shape is uncertain."""
    sums = np.asarray(parts, np.float64)
    if len(scan.shape) > 1:
        trouble = agreement(scan, sums)
        return [f"{trouble[0].upper()}{trouble[1:]}"] if trouble else []
    hint = hint_of(content_lines(sums), len(sums))
    if hint is None:
        return []
    return [f"The images suggest {scan_in_words(hint.shape)} (--scan content): {hint.reason}"]


def sheet_of(
    recording: Recording, arranged: Arranged, *, light: bool = False, quiet: bool = False
) -> tuple[Preview, Sheet]:
    """Measure a recording, with progress, and draw what was measured."""
    from tqdm import tqdm

    from rsciio_tem.tools.drawing import DARK, LIGHT
    from rsciio_tem.tools.preview import measure
    from rsciio_tem.tools.sheet import draw

    frames = arranged.source.frames
    with tqdm(
        total=len(frames), unit=" frames", leave=False, disable=True if quiet else None
    ) as bar:
        measured = measure(recording, arranged, bar.update)
    sheet = draw(
        measured,
        title=os.path.basename(recording.path),
        lines=_lines(measured),
        footer=f"rsciio-tem {__version__}",
        theme=LIGHT if light else DARK,
    )
    return measured, sheet


def _lines(measured: Preview) -> list[str]:
    """Say how frames are arranged, what they are, and what they add up to."""
    from rsciio_tem.tools.ticks import compact

    scan, shape = measured.arranged.scan, measured.shape
    recording, numbers = measured.recording, measured.numbers()
    words, why = scan_in_words(shape), evidence_in_words(scan.evidence, shape)
    size = product_in_words(measured.frame_shape[::-1])
    first = f"Scan {words}, {why}" if len(shape) > 1 else f"{words[0].upper()}{words[1:]}: {why}"
    if measured.is_volume:
        first = f"Volume of {measured.count} sections"
    elif measured.kind == "images" and len(shape) == 1:
        first = f"Stack of {plural(measured.count, 'image')}"
    lines = [
        first,
        f"{recording.format}: {every_format()[recording.format].description} | "
        f"{plural(measured.count, 'frame')} of {size} px, {measured.dtype}, "
        f"{size_in_words(measured.nbytes)}",
    ]
    pixels = numbers["pixels"]
    if pixels["frames"] and pixels["sum"] is not None:
        text = f"Sum of all pixels {compact(pixels['sum'])}"
        text += f", per frame {compact(pixels['sum'] / pixels['frames'])}"
        if pixels["max"] is not None:
            text += f"; largest pixel {compact(pixels['max'])}"
        lines.append(text)
    if pixels["not_finite"]:
        lines.append(f"{plural(pixels['not_finite'], 'frame')} with pixels that are not finite")
    if measured.parts is not None:
        lines += _what_images_show(scan, measured.parts)
    return lines


# ---------------------------------------------------------------- folders


def _contact_sheets(
    folder: str,
    outputs: Sequence[str],
    options: dict[str, Any],
    *,
    light: bool,
    as_json: bool,
    overwrite: bool,
) -> None:
    """Draw a tile for each recording below a folder, on as many sheets as they need."""
    from tqdm import tqdm

    from rsciio_tem.tools import drawing
    from rsciio_tem.tools.contact_sheet import PER_SHEET, draw_tiles

    items = searched([folder], options)
    if [item.path for item in items] == [folder] and items[0].problem is not None:
        raise FormatError(folder, items[0].problem.message)
    count = -(-len(items) // PER_SHEET)
    pages = [[_numbered(output, i) for output in outputs] for i in range(count)]
    for target in (target for page in pages for target in page):
        must_be_new(target, overwrite)
    rows: list[dict[str, Any]] = []
    title = os.path.basename(os.path.abspath(folder)) or folder
    with tqdm(total=len(items), unit=" recordings", leave=False, disable=None) as bar:
        for i, targets in enumerate(pages):
            tiles: list[Tile] = []
            for item in items[i * PER_SHEET : (i + 1) * PER_SHEET]:
                tile = _tile(folder, item, options)
                tiles.append(tile)
                rows.append(tile.description)
                bar.update()
            words = f"{title}: {plural(len(items), 'recording')}"
            if count > 1:
                words += f", sheet {i + 1} of {count}"
            theme = drawing.LIGHT if light else drawing.DARK
            figure = draw_tiles(tiles, words, f"rsciio-tem {__version__}", theme)
            text = [words, *(tile.name for tile in tiles)]
            for target in targets:
                drawing.save(figure, target, text=text, overwrite=overwrite)
    written = [target for page in pages for target in page]
    if as_json:
        _echo(folder, {"recordings": rows}, (), written)
    else:
        for target in written:
            click.echo(target)
    unread = [row for row in rows if "format" not in row]
    if any(problem["severity"] == "error" for row in unread for problem in row["problems"]):
        raise click.exceptions.Exit(2)


def _tile(folder: str, item: Item, options: dict[str, Any]) -> Tile:
    """Make the tile of what was found; of what cannot be read, one that says why."""
    from rsciio_tem.tools.contact_sheet import Tile, tile_of

    name = os.path.relpath(item.path, folder) if item.path != folder else os.path.basename(folder)
    if item.problem is not None:
        say(item.problem.severity, f"{item.path}: {item.problem}", "yellow")
        described = {"path": item.path, "problems": [problem_as_json(item.problem)]}
        return Tile(name, problem=item.problem.message, description=described)
    problems: list[Problem] = []
    try:
        with collected() as warned:
            recording, arranged = opened(item.path, options)
            tile = tile_of(name, recording, arranged)
        problems = [problem for problem in recording.problems if problem.severity != "info"]
        problems += [Problem("warning", message) for _, message in warned]
    except (FormatError, OSError, TypeError, ValueError, MemoryError) as error:
        say_error(error)
        reason = error.problem if isinstance(error, FormatError) else str(error)
        reason = reason or type(error).__name__
        tile, problems = Tile(name, problem=reason), [Problem("error", reason)]
    tile.description["path"] = item.path
    tile.description["problems"] = [problem_as_json(problem) for problem in problems]
    return tile


def _numbered(path: str, number: int) -> str:
    """Return the name of a further sheet: ``all.png``, ``all_2.png``."""
    stem, suffix = os.path.splitext(path)
    return f"{stem}_{number + 1}{suffix}" if number else path
