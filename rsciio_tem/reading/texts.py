# SPDX-License-Identifier: GPL-3.0-or-later
"""Metadata that HyperSpy can hold and save: names and values that come from files are anything."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["storable", "storable_title"]

#: What names begin with that HyperSpy's files take for signals, lists, bytes, dates.
_PREFIXES = (
    *("_sig_", "_list_", "_tuple_", "_bs_", "_hspy_AxesManager_", "_datetime_", "_ragged_shapes_"),
)
#: Names that HyperSpy's trees need for themselves.
_ATTRIBUTES = (
    *("as_dictionary", "_lazy_attributes", "_setattr", "_db_index"),
    *("__class__", "__dict__", "__weakref__"),
)
#: Bytes of a name at most: in a ``.zspy`` it becomes one of a file, with words before it.
_LONGEST_NAME = 200


def storable(value: Any) -> Any:
    r"""Return metadata that can be saved, where HDF5, UTF-8 or HyperSpy's trees cannot hold it.

    HDF5 has no zero bytes in texts, UTF-8 no lone surrogates, which names of files that are not
    UTF-8 have. They become escapes, ``\udcff``.
    """
    kind = type(value)
    if kind is str and value.isascii() and "\0" not in value:
        return value
    if kind is float or kind is bool or value is None:
        return value
    if kind is int:
        return value if -(1 << 63) <= value < 1 << 64 else str(value)
    if kind is dict:
        return _tree(value)
    if kind is list:
        return [storable(one) for one in value]
    if isinstance(value, str):
        text = str(value).replace("\0", "\\0") if "\0" in value else str(value)
        return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return _tree(value)
    if isinstance(value, list):
        return [storable(one) for one in value]
    if type(value) is tuple:
        return tuple(storable(one) for one in value)
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, bytes):
        return value if _is_text(value) else storable(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return value


def storable_title(title: str) -> str:
    """Return a title that can name the group of a saved signal; slashes HyperSpy sees to itself."""
    return _name(storable(title).replace("\\", "/")) if title else title


def _tree(tree: Mapping[Any, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in tree.items():
        key = str(key)
        name = _usual_name(key) if len(key) <= _LONGEST_NAME else _name(storable(key))
        kind = type(value)
        if (kind is str and value.isascii() and "\0" not in value) or kind is float or kind is bool:
            result[name if name not in result else _other(name, result)] = value
            continue
        value = storable(value)
        if "/" in name and isinstance(value, (dict, list, tuple, np.ndarray)):
            name = name.replace("/", "-")  # a path in the saved file
        result[name if name not in result else _other(name, result)] = value
    return result


def _other(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "_"
    return name


@functools.lru_cache(maxsize=4096)
def _usual_name(key: str) -> str:
    return _name(storable(key))


def _name(name: str) -> str:
    """Return a name of one level in a file, which HyperSpy does not take for something else."""
    if not name.strip("."):  # these are paths
        name = f"_{name}"
    elif name.startswith(_PREFIXES):
        name = name.lstrip("_")
    elif name in _ATTRIBUTES:
        name = f"{name.lstrip('_')}_"
    if len(name) * 4 > _LONGEST_NAME and len(stored := name.encode()) > _LONGEST_NAME:
        name = stored[: _LONGEST_NAME - 3].decode("utf-8", "ignore") + "…"
    return name


def _array(array: np.ndarray[Any, Any]) -> Any:
    """Return an array that h5py can write, or lists."""
    if array.ndim == 0:
        return storable(array.item())
    if array.dtype.kind == "O":
        return storable(array.tolist())
    if array.dtype.kind == "U":
        return np.array(storable(array.tolist()), dtype=str).reshape(array.shape)
    if array.dtype.kind in "mM":
        return array.astype(str)
    if array.dtype.names and any(array.dtype[name].kind in "UOmM" for name in array.dtype.names):
        return {name: storable(array[name]) for name in array.dtype.names}
    return array


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode()
    except UnicodeDecodeError:
        return False
