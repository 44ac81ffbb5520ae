# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``convert`` has kept in a group of an HDF5 file, beside the pixels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy.typing as npt

from rsciio_tem.errors import FormatError
from rsciio_tem.parsing.hdf5 import opened
from rsciio_tem.parsing.hdf5_links import children, member
from rsciio_tem.parsing.hdf5_values import part, value
from rsciio_tem.parsing.kept import Kept
from rsciio_tem.parsing.trees import json_value

__all__ = ["kept_in"]

#: Bytes of an array beside the pixels at most: times of 2^28 frames.
_MOST_KEPT = 1 << 31


def kept_in(file: Any, group: str, path: str) -> Kept:
    """Return what is kept in a group of an open file: metadata and axes of its source, times.

    Parameters
    ----------
    file : h5py.File
        The file.
    group : str
        Path of the group; it need not be there.
    path : str
        Path of the file.
    """
    kept = member(file, group)
    if not hasattr(kept, "keys"):
        return Kept()
    entries: dict[str, Any] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, thing in _members(kept):
        shape = getattr(thing, "shape", None)
        if shape == () and "/" not in name:
            content = value(thing)
            if (entry := json_value(content if isinstance(content, bytes) else b"")) is not None:
                entries[name] = entry
        elif shape and thing.dtype.kind in "biufc":
            shapes[name] = tuple(shape)
    return Kept(entries, shapes, partial(_read, path, group))


def _members(group: Any) -> Iterator[tuple[str, Any]]:
    """Give the data sets of a group, and of the groups in it."""
    for name, thing in children(group):
        if hasattr(thing, "keys"):
            yield from ((f"{name}/{below}", dataset) for below, dataset in children(thing))
        else:
            yield name, thing


def _read(path: str, group: str, name: str, key: Any) -> npt.NDArray[Any]:
    with opened(path) as file:
        values = part(member(file, f"{group}/{name}"), () if key is ... else key, _MOST_KEPT)
    if values is None:
        raise FormatError(path, f"{group}/{name} is damaged.")
    native: npt.NDArray[Any] = values.astype(values.dtype.newbyteorder("="), copy=False)
    return native
