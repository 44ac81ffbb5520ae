# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of headers and side files: comma text, keys and values, numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["comma_fields", "key_values", "to_number", "value_of"]


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
    words = str(text).replace(",", " ").split() if text is not None else []
    try:
        value = float(words[0]) if words else None
    except ValueError:
        return None
    return value if value is not None and abs(value) < 1e300 else None
