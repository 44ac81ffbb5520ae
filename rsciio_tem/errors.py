# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with a recording, in words on which the reader of the message can act."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "FormatError",
    "NotEnoughMemory",
    "NotThisFormat",
    "OtherFormat",
    "Problem",
    "Problems",
    "RecordingWarning",
    "Truncated",
    "Unsupported",
    "collected",
    "shortened",
    "warn",
]


#: Characters of a message at most; what a file holds may be quoted in it.
_LONGEST = 1200


def shortened(text: str, most: int = _LONGEST) -> str:
    """Return a text for people: its middle cut out if it is long, controls of terminals escaped."""
    if len(text) > most:
        text = f"{text[: most * 2 // 3]} … {text[-most // 3 :]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


class FormatError(ValueError):
    """A file cannot be read as asked.

    Parameters
    ----------
    path : str or os.PathLike
        The file the message is about.
    problem : str
        What is wrong, in terms of the file.
    hint : str
        What to pass or do instead; may be empty.
    """

    def __init__(self, path: str | os.PathLike[str], problem: str, hint: str = "") -> None:
        # The three parts are the exception's args, so that it survives pickling between processes.
        problem, hint = shortened(problem), shortened(hint)
        super().__init__(os.fspath(path), problem, hint)
        self.path, self.problem, self.hint = os.fspath(path), problem, hint

    def __str__(self) -> str:
        between = "\n" if "\n" in self.hint else " "
        return f"{shortened(self.path)}: {self.problem}{between}{self.hint}".rstrip()


class Truncated(FormatError):
    """The file is shorter than its header announces."""


class Unsupported(FormatError):
    """The format is recognised, but this variant cannot be read."""


class NotThisFormat(FormatError):
    """The content does not have the requested format."""


class OtherFormat(NotThisFormat):
    """The content has another of our formats, which only reading the file could show.

    Parameters
    ----------
    path, problem, hint
        As in `FormatError`.
    format : str
        Name of that format.
    """

    def __init__(
        self, path: str | os.PathLike[str], problem: str, hint: str = "", format: str = ""
    ) -> None:
        super().__init__(path, problem, hint)
        self.args, self.format = (*self.args, format), format


class NotEnoughMemory(FormatError):
    """A non-lazy load would not fit into the free memory."""


class RecordingWarning(UserWarning):
    """Something about a recording is contradictory or missing, or rests on a hypothesis."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding of a check: how severe it is, what is wrong, and what to do about it.

    Of what a quick look at some headers finds (`about` "number"), only the answer of the check that
    reads them all (`about` "every number") is told, if there is one.
    """

    severity: Literal["info", "warning", "error"]
    message: str
    hint: str = ""
    about: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", shortened(self.message))
        object.__setattr__(self, "hint", shortened(self.hint))

    def __str__(self) -> str:
        return self.message + (f" {self.hint}" if self.hint else "")


class Problems(list[Problem]):
    """What is found odd while files are described."""

    def warn(self, message: str, hint: str = "", about: str = "") -> None:
        """Add something that the caller has to be told."""
        self.append(Problem("warning", message, hint, about))

    def info(self, message: str, hint: str = "") -> None:
        """Add something that need not interrupt the caller."""
        self.append(Problem("info", message, hint))


#: Where warnings go instead, in this thread and those that work for it.
_collector: ContextVar[list[tuple[str, str]] | None] = ContextVar("collector", default=None)


@contextmanager
def collected() -> Iterator[list[tuple[str, str]]]:
    """Collect what `warn` is called with, path and message, instead of warning.

    Unlike `warnings.catch_warnings` it is of one thread, so that several recordings can be looked
    at at once.
    """
    warnings_of_recordings: list[tuple[str, str]] = []
    token = _collector.set(warnings_of_recordings)
    try:
        yield warnings_of_recordings
    finally:
        _collector.reset(token)


def warn(path: str | os.PathLike[str], message: str) -> None:
    """Warn about a recording, pointing at the line outside this package that asked for it."""
    if (collector := _collector.get()) is not None:
        collector.append((os.fspath(path), message))
        return
    package = os.path.dirname(__file__)
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame = frame.f_back
    # with a registry of its own: for Python, the place is HyperSpy's line for each file that is
    # loaded, and of each place it shows a warning once only
    warnings.warn_explicit(
        f"{os.fspath(path)}: {shortened(message)}",
        RecordingWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        frame.f_globals.get("__name__"),
        registry={},
    )
