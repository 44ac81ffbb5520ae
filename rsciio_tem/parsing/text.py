# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of headers and side files: comma text, keys and values, numbers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = [
    "comma_fields",
    "key_values",
    "legible",
    "number_type",
    "numpy_type",
    "to_number",
    "value_of",
]


#: Characters of a text within which a number at its beginning ends.
_LONGEST_NUMBER = 1000


#: Bytes that have no meaning in code page 1252.
_NO_1252 = {0x81, 0x8D, 0x8F, 0x90, 0x9D}


def legible(content: bytes | str) -> str:
    """Return text in UTF-8, or else in the code page of Windows, where µ and Å are one byte.

    Text of h5py has bytes that are not UTF-8 as lone surrogates.
    """
    if isinstance(content, str):
        if content.isascii():
            return content
        try:
            stored = content.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # surrogates of something else
            return content
    else:
        stored = bytes(content)
    try:
        return stored.decode("utf-8")
    except UnicodeDecodeError:
        return stored.decode("latin-1" if _NO_1252 & set(stored) else "cp1252")


def comma_fields(header: bytes) -> list[str]:
    """Split the text of a fixed-size header: cut at the first NUL, trim the padding."""
    text = header.split(b"\0", 1)[0].decode("latin-1").strip()
    return [field.strip() for field in text.rstrip(", \r\n").split(",")]


def key_values(text: str, separator: str = ":\t") -> dict[str, str]:
    """Parse lines of key, separator, value; lines without separator are split at a tab."""
    values = {}
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        key, hit, value = line.partition(separator)
        if not hit:
            key, hit, value = line.partition("\t")
        if hit and key.strip():
            values[key] = value
    return values


def value_of(values: Mapping[str, Any], name: str) -> Any:
    """Return the value whose key begins with `name`; the text in brackets after it varies."""
    for key, value in values.items():
        if key.split("(")[0].strip().lower() == name.lower():
            return value
    return None


def to_number(text: Any) -> float | None:
    """Return the number a text begins with, None if it begins with none."""
    try:
        words = str(text)[:_LONGEST_NUMBER].replace(",", " ").split() if text is not None else []
        value = float(words[0]) if words else None
    except ValueError:
        return None
    return value if value is not None and abs(value) < 1e300 else None


def numpy_type(name: Any) -> np.dtype[Any] | None:
    """Return the type that NumPy makes of a name, None if it makes none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old names
            dtype: np.dtype[Any] = np.dtype(name)
    except (TypeError, ValueError, SyntaxError):
        return None
    return dtype


def number_type(name: Any) -> np.dtype[Any] | None:
    """Return the type of numbers that a file names as NumPy does, None if there is none."""
    if not isinstance(name, str) or not re.fullmatch(r"[<>|=]?[a-zA-Z?_]{1,12}\d{0,3}", name):
        return None
    dtype = numpy_type(name)
    return dtype if dtype is not None and dtype.kind in "buifc" else None
