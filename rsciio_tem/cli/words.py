# SPDX-License-Identifier: GPL-3.0-or-later
"""How numbers, shapes, errors and warnings are said on a console."""

from __future__ import annotations

import codecs
import functools
import importlib
import inspect
import io
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from rsciio_tem.errors import FormatError, RecordingWarning
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.registry import every_format
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.tools import report


def reporting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Show warnings and errors as lines for people; ``--debug`` shows where they come from."""

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(function)
    def run(*args: Any, debug: bool, **values: Any) -> Any:
        try:
            with _warnings_shown():
                return function(*args, **values)
        except KeyboardInterrupt as stop:
            click.echo(err=True)
            say("stopped", "\n".join(getattr(stop, "__notes__", ["by Ctrl-C."])), "yellow")
            raise click.exceptions.Exit(130) from stop
        except (FormatError, OSError, TypeError, ValueError) as error:
            if isinstance(error, BrokenPipeError):
                raise  # click ends quietly
            if debug:
                traceback.print_exc()
            say_error(error)
            raise click.exceptions.Exit(2) from error

    return run


#: What stands for characters that a console has not: those of the code pages of Windows differ.
_INSTEAD = {
    **{"×": "x", "µ": "u", "μ": "u", "Å": "A", "°": " deg", "±": "+-", "²": "^2", "³": "^3"},
    **{"→": "->", "–": "-", "—": "-", "−": "-", "…": "...", "≥": ">=", "≤": "<=", "≈": "~"},
    **{"⁻¹": "^-1", "⁻": "^-", "¹": "1", "·": "*", "“": '"', "”": '"', "’": "'"},
}


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace characters that a console cannot show; what has no substitute becomes an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    for part in (text[:2], text[:1]):
        if (instead := _INSTEAD.get(part)) is not None:
            return instead, error.start + len(part)
    return text[0].encode("ascii", "backslashreplace").decode(), error.start + 1


def quoted(text: str) -> str:
    """Quote an argument of a command as the shell of this system wants it."""
    if os.name == "nt":  # cmd and PowerShell
        return subprocess.list2cmdline([text])
    return shlex.quote(text)


def escaping() -> None:
    """Show what the console cannot, in names of files for example, by other characters."""
    codecs.register_error("rsciio-tem", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # an ASCII console is one that is not set up, for click as well
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding="utf-8" if ascii_only else None, errors="rsciio-tem")


def echo_json(value: Any) -> None:
    """Print JSON in UTF-8, whatever the console expects."""
    click.echo(report.as_json(value), nl=False)


def say_error(error: Exception) -> None:
    """Write what is wrong to stderr."""
    say("error", _message(error), "red")


def _message(error: Exception) -> str:
    lines = [str(error)]
    if isinstance(error, FormatError):
        lines = [f"{error.path}: {error.problem}", *([error.hint] if error.hint else [])]
    elif isinstance(error, OSError) and error.filename is not None:
        lines = [f"{error.filename}: {error.strerror}"]
        if isinstance(error, FileExistsError):
            lines.append("--overwrite replaces it.")
    return "\n".join([*lines, *getattr(error, "__notes__", [])])


#: Keywords that are options of their own here; others are passed with -O.
_OPTIONS = frozenset(
    (
        *("format", "navigation_shape", "nav_shape", "scan", "first_frame", "last_frame"),
        *("sync_offset", "flyback", "line_skip", "flip_y", "flip_x", "transpose", "rot90", "bin"),
        *("inav", "isig"),
        *("scan_step", "detector_step", "camera_length", "pixel_size", "beam_energy", "centre"),
        *("dtype", "sig_shape", "offset", "frame_header", "frame_footer"),
        *("to", "overwrite", "resume", "verify"),
    )
)


@functools.cache
def _others() -> frozenset[str]:
    """Return the keywords of readers and writers; messages name them."""
    names = set(ReadOptions.__annotations__)
    for row in every_format().values():
        module = importlib.import_module(row.module)
        for function in (module.parse, getattr(module, "target", module.parse)):
            names |= inspect.signature(function).parameters.keys()
    return frozenset(names - {"path", "filename", "frames"})


_KEYWORD = re.compile(
    r"(?<![\w.(-])([a-z][a-z0-9_]*)=(\"[^\"]*\"|'[^']*'|\([^()]*\)|\[[^\[\]]*\]|[\w.+-]*\w)?"
)


def as_options(text: str) -> str:
    """Write keywords of Python in a message as options of this command."""

    def option(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        if name not in _OPTIONS and name not in _others():
            return match[0]
        flag = f"--{name.replace('_', '-')}"
        if value is None:
            return flag if name in _OPTIONS else f"-O {name}="
        several = value[0] in "(["
        value = re.sub(r",\s+", ",", value.strip("\"'()[]")).rstrip(",")
        if name not in _OPTIONS:
            if value in ("True", "False", "None"):
                value = {"True": "true", "False": "false", "None": "null"}[value]
            return f"-O {quoted(f'{name}=[{value}]' if several else f'{name}={value}')}"
        if value in ("True", "False"):
            return flag if value == "True" else f"--no-{flag[2:]}"
        return f"{flag} {quoted(value)}"

    return _KEYWORD.sub(option, text)


def say(kind: str, message: str, colour: str) -> None:
    """Write a message to stderr; further lines stand below the first."""
    first, *rest = as_options(message).splitlines() or [""]
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
                say("warning", str(message), "yellow")
            else:
                others(message, category, *where, **more)

        warnings.simplefilter("always", RecordingWarning)
        warnings.showwarning = show
        yield


# ---------------------------------------------------------------- numbers and words


def size_in_words(n: float) -> str:
    """Say a number of bytes in the unit that suits it."""
    if n < 1000:
        return f"{n:.0f} B"
    power = min(4, int(math.log10(n) / 3))
    value = n / 1000**power
    unit = ("kB", "MB", "GB", "TB")[power - 1]
    return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"


def duration_in_words(s: float) -> str:
    """Say a number of seconds in the unit that suits it."""
    for limit, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if s >= limit:
            if unit == "s" and s >= 120:
                return f"{s / 60:.4g} min" if s < 7200 else f"{s / 3600:.4g} h"
            return f"{s / limit:.4g} {unit}"
    return f"{s * 1e9:.4g} ns"


def product_in_words(shape: Sequence[int]) -> str:
    """Say a shape: ``256 × 256``."""
    return " × ".join(str(n) for n in shape)


def scan_in_words(shape: Sequence[int]) -> str:
    """Name a scan shape given in array order."""
    if not shape:
        return "a single frame"
    if len(shape) == 1:
        return f"stack of {shape[0]} frames"
    return f"{product_in_words(shape[::-1])} ({'x, y' if len(shape) == 2 else 'x, y, then slower'})"


_SOURCES = {
    "header": "from the header",
    "trigger": "from the triggers",
    "exposures": "from the exposure times",
    "timestamps": "from the timestamps",
    "content": "from the images",
    "square": "as a perfect square",
    "rosettasciio": "as RosettaSciIO decides",
}


def evidence_in_words(hint: ScanHint, shape: Sequence[int]) -> str:
    """Say how the scan shape was found."""
    if hint.rule == "argument":
        return "as asked"
    if hint.rule == "annotation":
        return f"as {hint.reason}"
    if hint.rule == "stack":
        return hint.reason if shape else "there are no others"
    return f"{_SOURCES.get(hint.rule, hint.rule)} ({hint.confidence:.0%}): {hint.reason}"


def factor_pairs(n: int) -> list[tuple[int, int]]:
    """List shapes (y, x) that n frames would fill, none much longer than wide."""
    root = math.isqrt(min(n, 1 << 40))  # beyond that, no number of frames
    candidates = range(max(2, root // 2), min(n // 2, 2 * root + 2) + 1)
    pairs = [(n // k, k) for k in candidates if n % k == 0 and n <= 4 * k * k <= 16 * n]
    return sorted(pairs, key=lambda p: abs(math.log(p[0] / p[1])))[:6]


class Table:
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


def options_in_words(options: Mapping[str, Any]) -> str:
    """Write keywords as options of this command."""
    words = []
    for name, value in options.items():
        text = ",".join(str(v) for v in value) if isinstance(value, (list, tuple)) else str(value)
        words.append(f"--{name.replace('_', '-')} {text}")
    return " ".join(words)
