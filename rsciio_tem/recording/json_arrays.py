# SPDX-License-Identifier: GPL-3.0-or-later
"""Metadata as JSON, which has no arrays: short ones are lists in it, others are kept beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["packed", "unpacked"]

#: Key of the object that stands for an array: a list of its values, or the name that it is kept
#: under. Another key has its type.
_ARRAY, _DTYPE = "rsciio_tem array", "dtype"

#: Key of the object that stands for bytes: they, as characters.
_BYTES = "rsciio_tem bytes"

#: Arrays of up to so many values are lists.
_SHORT = 16

#: What JSON has numbers for, and arrays of what numbers are kept for.
_LISTED, _KEPT = "biuf", "biufc"


def packed(value: Any, arrays: dict[str, npt.NDArray[Any]]) -> Any:
    """Return metadata as JSON; what it has no words for becomes text.

    Parameters
    ----------
    value : dict
        Or anything in it.
    arrays : dict
        Is added to: what is to be kept beside it, by name.
    """
    if isinstance(value, Mapping):
        return {
            str(key): packed(below, arrays)
            for key, below in value.items()
            if not _is_lazy_signal(key, below)
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [packed(below, arrays) for below in value]
    if isinstance(value, np.ndarray) and value.ndim:
        if value.dtype.kind in _LISTED and value.size <= _SHORT:
            return {_ARRAY: value.tolist(), _DTYPE: value.dtype.str}
        if value.dtype.kind in _KEPT and value.size:
            name = f"arrays/{len(arrays)}"
            arrays[name] = value
            return {_ARRAY: name, _DTYPE: value.dtype.str}
        return packed(value.tolist(), arrays)
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        return {_BYTES: value.decode("latin-1")}
    return str(value)


def _is_lazy_signal(key: Any, value: Any) -> bool:
    """Whether an entry is a signal in metadata, such as a navigator, that nobody has computed."""
    signal = str(key).startswith("_sig_") and isinstance(value, Mapping) and "data" in value
    return signal and not isinstance(value["data"], np.ndarray)


def unpacked(value: Any, read: Callable[[str], npt.NDArray[Any] | None]) -> Any:
    """Return metadata with their arrays.

    Parameters
    ----------
    value : dict
        As `packed` returns it, or anything in it.
    read : callable
        Returns an array by its name, None if it is not there.
    """
    if isinstance(value, list):
        return [unpacked(below, read) for below in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_BYTES} and isinstance(value[_BYTES], str):
        return value[_BYTES].encode("latin-1", "replace")
    if value.keys() == {_ARRAY, _DTYPE}:
        content = value[_ARRAY]
        with contextlib.suppress(TypeError, ValueError, OverflowError):  # not written by us
            if isinstance(content, list):
                return np.array(content, np.dtype(value[_DTYPE]))
        if isinstance(content, str) and (array := read(content)) is not None:
            return array
    return {key: unpacked(below, read) for key, below in value.items()}
