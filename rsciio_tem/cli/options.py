# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the command line that are keywords of readers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click
import numpy as np

from rsciio_tem.readers import chosen, detect, own_module
from rsciio_tem.reading.arrange import Arranged, arrange
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.recording.recording import Recording
from rsciio_tem.registry import Candidate, every_format
from rsciio_tem.scan.scan import RULES

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


def reader_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of readers; it gets them as one dict ``options``."""

    @functools.wraps(function)
    def collected(*args: Any, **values: Any) -> Any:
        options = {name: values.pop(name) for name in _READER_NAMES}
        options |= assignments(values.pop("others"))
        return function(*args, **values, options=options)

    for option in reversed(_READER_OPTIONS):
        collected = option(collected)
    return collected


# ---------------------------------------------------------------- opening


def opened(path: str, options: Mapping[str, Any]) -> tuple[Recording, list[Candidate], Arranged]:
    """Open a recording as the options say, and arrange its frames."""
    set_options = {name: value for name, value in options.items() if value is not None}
    name = set_options.pop("format_name", "auto")
    candidates = detect(path)
    format_options: dict[str, Any] = {}
    if name == "auto":
        name, format_options = chosen(
            path, raw="dtype" in set_options and "sig_shape" in set_options
        )
    module = own_module(path, name)
    for parameter in inspect.signature(module.parse).parameters:
        if parameter in set_options:
            format_options[parameter] = set_options.pop(parameter)
    shared = {n: set_options.pop(n) for n in ReadOptions.__annotations__ if n in set_options}
    named = {
        n: set_options.pop(n)
        for n in ("navigation_shape", "first_frame", "last_frame")
        if n in set_options
    }
    if set_options:
        raise _meaningless(set_options, name)
    if name != "raw" and shared.get("dtype"):
        shared["dtype"] = np.dtype(shared["dtype"])
    recording = module.parse(path, **format_options)
    return recording, candidates, arrange(recording, **named, options=shared)


def _meaningless(names: Iterable[str], format: str) -> click.UsageError:
    flags = ", ".join("--" + n.replace("_", "-") for n in names)
    return click.UsageError(f"{flags}: has no meaning for files of the format {format}")
