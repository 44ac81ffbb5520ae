# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the command line that are keywords of readers."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from rsciio_tem.reading.arrange import Arranged
from rsciio_tem.recording.annotation import CALIBRATION, SCAN
from rsciio_tem.recording.recording import Recording
from rsciio_tem.registry import every_format
from rsciio_tem.scan.scan import RULES
from rsciio_tem.tools.open import Meaningless, arranged

# ---------------------------------------------------------------- options


def sizes(text: str) -> tuple[int, ...]:
    """Read sizes separated by commas: ``48,40``."""
    try:
        return tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of sizes such as 48,40") from None


def number(text: str) -> float:
    """Read a number; one with a decimal comma is told how to be written."""
    try:
        return float(text)
    except ValueError:
        pointed = text.replace(",", ".")
        hint = f"; write {pointed}" * bool(re.fullmatch(r"[+-]?\d+\.\d+", pointed))
        raise click.BadParameter(f"{text!r} is not a number{hint}") from None


def pixel(text: str) -> tuple[float, ...]:
    """Read a pixel, two numbers separated by a comma: ``127.5,130``."""
    parts = text.split(",")
    try:
        values = tuple(float(part) for part in parts)
    except ValueError:
        values = ()
    if len(values) == 2:
        return values
    pointed = ",".join(".".join(parts[i : i + 2]) for i in (0, 2))
    hint = f"; write {pointed}" * (len(values) == 4 and all(part.isdigit() for part in parts))
    raise click.BadParameter(f"{text!r} is not a pixel such as 127.5,130{hint}")


def assignments(texts: Sequence[str]) -> dict[str, Any]:
    """Read NAME=VALUE; values are numbers, true, false, null, [lists] or text, as in YAML."""
    import yaml

    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--option")
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError:
            read = value
        if isinstance(read, str) and re.fullmatch(r"[+-]?\d+[eE][+-]?\d+", read):
            read = float(read)  # YAML wants a point in 1e-6
        values[name] = tuple(read) if isinstance(read, list) and "shape" in name else read
    return values


def format_name(text: str) -> str:
    """Check the name of a format; other packages are asked for theirs only if one is given."""
    if text != "auto" and text not in every_format():
        raise click.BadParameter(f"{text!r} is not one of auto, {', '.join(every_format())}.")
    return text


def format_names(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a format."""
    return [name for name in ("auto", *every_format()) if name.startswith(incomplete)]


_READER_OPTIONS = (
    click.option(
        "--format",
        "format_name",
        type=format_name,
        shell_complete=format_names,
        default="auto",
        metavar="NAME",
        help="Format of the file, see rsciio-tem formats; by default its content tells.",
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
    click.option("--inav", metavar="A:B,C:D", help="Part of the scan: from and to along x, y."),
    click.option("--flip-y/--no-flip-y", default=None, help="Turn frames upside down, or do not."),
    click.option("--flip-x", is_flag=True, default=None, help="Exchange left and right."),
    click.option("--transpose", is_flag=True, default=None, help="Exchange rows and columns."),
    click.option("--rot90", type=int, metavar="N", help="Turn frames N times by 90 degrees."),
    click.option("--isig", metavar="A:B,C:D", help="Part of each frame: from and to along x, y."),
    click.option("--bin", "bin", type=sizes, metavar="X,Y", help="Add up so many pixels."),
    click.option("--scan-step", metavar="STEP", help="Such as 0.5 or 0.5,0.6nm; nm by default."),
    click.option(
        "--detector-step", metavar="STEP", help="Such as 0.02 or '1.5 mrad'; 1/nm by default."
    ),
    click.option("--camera-length", type=number, metavar="MM", help="With --pixel-size."),
    click.option("--pixel-size", type=number, metavar="UM", help="Of the detector, in µm."),
    click.option("--beam-energy", type=number, metavar="KEV", help="Of the electrons."),
    click.option("--centre", type=pixel, metavar="X,Y", help="Pixel of the direct beam."),
    click.option(
        "--dtype", metavar="TYPE", help="Cast pixels; of raw files, the stored type: >u2."
    ),
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


#: The option of commands that look at many recordings.
report_option = click.option(
    "--report", "report_path", metavar="FILE", help="Also write a table: FILE.json or FILE.csv."
)


_READER_NAMES = (
    *("format_name", "navigation_shape", "nav_shape", "scan", "first_frame", "last_frame"),
    *("sync_offset", "flyback", "line_skip", "inav"),
    *("flip_y", "flip_x", "transpose", "rot90", "isig", "bin"),
    *("scan_step", "detector_step", "camera_length", "pixel_size", "beam_energy", "centre"),
    *("dtype", "sig_shape", "offset", "frame_header", "frame_footer"),
)


def reader_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of readers; it gets them as one dict ``options``."""
    return _with_options(function, _READER_NAMES, _READER_OPTIONS)


def annotation_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of readers that a side file may have, as `reader_options`."""
    named = [
        (name, option)
        for name, option in zip((*_READER_NAMES, "others"), _READER_OPTIONS, strict=True)
        if name in (*SCAN, *CALIBRATION, "nav_shape", "format_name", "others")
    ]
    names = tuple(name for name, _ in named if name != "others")
    return _with_options(function, names, tuple(option for _, option in named))


def _with_options(
    function: Callable[..., Any],
    names: tuple[str, ...],
    decorators: tuple[Callable[..., Any], ...],
) -> Callable[..., Any]:
    @functools.wraps(function)
    def collected(*args: Any, **values: Any) -> Any:
        options = {name: values.pop(name) for name in names}
        options |= assignments(values.pop("others"))
        return function(*args, **values, options=options)

    for option in reversed(decorators):
        collected = option(collected)
    return collected


# ---------------------------------------------------------------- opening


def opened(path: str, options: Mapping[str, Any]) -> tuple[Recording, Arranged]:
    """Open a recording as the options say, and arrange its frames."""
    name, set_options = set_by_user(options)
    try:
        return arranged(path, name, set_options)
    except Meaningless as error:
        flags = ", ".join(map(_flag, error.names))
        close = " or ".join(map(_flag, error.close))
        raise click.UsageError(
            f"{flags}: has no meaning for files of the format {error.format}"
            + (f"; did you mean {close}?" if close else "")
        ) from error


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-") if name in _READER_NAMES else f"-O {name}"


def set_by_user(options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name of the format, and the keywords that are set."""
    # what is not set, but -O NAME=null
    values = {n: v for n, v in options.items() if v is not None or n not in _READER_NAMES}
    return values.pop("format_name", "auto"), values
