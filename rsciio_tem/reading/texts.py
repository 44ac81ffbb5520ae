# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts that every file can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["storable"]


def storable(value: Any) -> Any:
    r"""Return metadata whose texts can be saved: HDF5 has no zero bytes, UTF-8 no lone surrogates.

    Names of files that are not UTF-8 have such surrogates. They become escapes, ``\udcff``.
    """
    if isinstance(value, str):
        text = value.replace("\0", "\\0") if "\0" in value else value
        return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {storable(name): storable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [storable(one) for one in value]
    if type(value) is tuple:
        return tuple(storable(one) for one in value)
    return value
