# SPDX-License-Identifier: GPL-3.0-or-later
"""Side files as dictionaries: read up to a size, parsed up to a depth and a number of values."""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from rsciio_tem.errors import FormatError, shortened
from rsciio_tem.storage.files import bytes_of, decoded, read_start

__all__ = [
    "DEEPEST",
    "DIGITS",
    "MOST_VALUES",
    "SIDE_FILE_LIMIT",
    "plain",
    "plain_value",
    "reason_of",
    "side_content",
    "toml_tree",
]

#: No side file of any format comes near this; what is larger is something else.
SIDE_FILE_LIMIT = 1 << 20
#: Of a tree: values, depth, bits of a whole number, and characters of it as it is written.
MOST_VALUES, DEEPEST, _BITS, DIGITS = 1 << 20, 30, 128, 400
#: A name of many levels in TOML, for which its parser takes very long.
_LEVELS = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){30}""")


def side_content(path: str | os.PathLike[str], most: int = SIDE_FILE_LIMIT) -> bytes:
    """Return what a side file holds.

    Raises
    ------
    FormatError
        It has more than `most` bytes, or cannot be read.
    """
    with contextlib.suppress(OSError):  # said better when it is read
        if (size := bytes_of(path)) <= most:
            return read_start(path, size)
    content = read_start(path, most + 1)
    if len(content) > most:
        raise FormatError(
            path, f"is larger than {most >> 20} MiB, so it is not a description of a recording."
        )
    return content


def toml_tree(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a TOML file as dictionaries, lists, numbers and text.

    Raises
    ------
    FormatError
        It is not valid TOML, or too large.
    """
    content = side_content(path)
    try:
        text = decoded(content)
        if _LEVELS.search(text):
            raise ValueError("it has a name of very many levels")
        return plain(tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"is not valid TOML: {reason_of(error)}.") from None


def reason_of(error: BaseException) -> str:
    """Return what a parser complains about as one short line."""
    text = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
    return shortened(" ".join(text.split()), 300).rstrip(".")


def plain_value(value: Any) -> Any:
    """Copy a value with text as keys; a ValueError says that it holds too much."""
    return _plain(value, [MOST_VALUES], 0)


def _plain(value: Any, budget: list[int], depth: int) -> Any:
    budget[0] -= 1  # aliases may make a small file endless
    if budget[0] < 0 or depth > DEEPEST:
        raise ValueError("it holds too many values, or is nested too deep")
    if isinstance(value, dict):
        return {str(k): _plain(v, budget, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(v, budget, depth + 1) for v in value]
    if isinstance(value, int) and value.bit_length() > _BITS:
        return f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Copy what a side file holds as dictionaries, lists, numbers and text; dates become text."""
    copy = plain_value(tree)
    assert isinstance(copy, dict)
    return copy
