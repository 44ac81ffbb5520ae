# SPDX-License-Identifier: GPL-3.0-or-later
"""The keywords of all readers, described once and shown in the help of each."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

from rsciio_tem.reading.options import UnknownKeyword
from rsciio_tem.storage.user_paths import named_by_user

__all__ = ["COMMON", "documented"]

_F = TypeVar("_F", bound=Callable[..., Any])

#: What ``help`` shows for the keywords that every reader spells out in its signature.
COMMON = {
    "lazy": (
        "bool",
        "Return dask arrays, which read from the file only what is looked at.",
    ),
    "chunks": (
        '"auto", int, tuple or dict',
        'Chunks of the dask arrays, of the whole shape or of its scan axes. "auto" keeps\n'
        "frames whole, about 64 MiB in one range of bytes.",
    ),
    "mmap_mode": (
        '{None, "r", "c"}',
        "Return a view of the file where its pixels are plain and evenly spaced, read-only or\n"
        "copy-on-write; otherwise load them.",
    ),
    "navigation_shape": (
        "int or tuple of int, optional",
        "Scan shape in HyperSpy order (x, y, ...), one of them may be -1; by default what the\n"
        "recording tells, see ``docs/scan_shapes.md``. ``nav_shape`` is the same in array order.",
    ),
    "first_frame": (
        "int, optional",
        "Stored frame to begin with; counts from the end if negative.",
    ),
    "last_frame": ("int, optional", "Stored frame to end before, as in a slice."),
    "distributed": ("bool, optional", "Has no effect: every lazy signal works on a cluster."),
}

_LINE = re.compile(r"^( *)lazy, chunks, [^\n]*\n(?:\1 +[^\n]*\n)*", re.MULTILINE)


def documented(reader: _F) -> _F:
    """Make a function the reader of a format that users call.

    Addresses are opened with ``storage_options``, and the description of the common keywords is put
    in place of the line that names them.

    That line begins with ``lazy, chunks,`` and lists some or all of them; lines indented below it
    are replaced too.
    """
    text = reader.__doc__

    @functools.wraps(reader)
    def reading(filename: Any, *args: Any, **options: Any) -> Any:
        with named_by_user(filename, options) as (path, keywords):
            try:
                return reader(path, *args, **keywords)
            except UnknownKeyword as error:
                parameters = inspect.signature(reader).parameters.values()
                names = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
                raise TypeError(str(UnknownKeyword(error.name, error.path, names))) from None

    if text is None:  # python -OO
        return reading  # type: ignore[return-value]
    line = _LINE.search(text)
    if line is None:
        raise ValueError(f"{reader.__module__}: no line 'lazy, chunks, ...' in the parameters")
    indent, names = line[1], line[0].splitlines()[0].strip().split(", ")
    entries = []
    for name in names:
        kind, meaning = COMMON[name]
        entries += [f"{name} : {kind}", *(f"    {part}" for part in meaning.split("\n"))]
    block = "".join(f"{indent}{entry}\n" for entry in entries)
    reading.__doc__ = text[: line.start()] + block + text[line.end() :]
    return reading  # type: ignore[return-value]
