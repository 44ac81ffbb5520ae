# SPDX-License-Identifier: GPL-3.0-or-later
"""What tells a conversion from others: its source, and its options by their content."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pickle
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from rsciio_tem.storage.files import bytes_of
from rsciio_tem.storage.remote import session as remote
from rsciio_tem.storage.remote.address import is_address

__all__ = ["files_of", "identified", "state"]


def state(path: str) -> list[Any]:
    """Return sizes and times of a file, or of all files in a folder, as JSON."""
    if is_address(path):
        origin = remote.current().origin(path)
        return [path, bytes_of(path), origin.identity]
    status = os.stat(path)
    if not os.path.isdir(path):
        return [path, status.st_size, status.st_mtime_ns]
    digest, count = hashlib.sha256(), 0
    for folder, below, names in os.walk(path):
        below.sort()
        for name in sorted(names):
            one = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(one)
                line = f"{os.path.relpath(one, path)}\0{status.st_size}\0{status.st_mtime_ns}\n"
                digest.update(line.encode(errors="surrogateescape"))
                count += 1
    return [path, count, digest.hexdigest()]


def files_of(values: Iterable[Any]) -> Iterator[str]:
    """List the files that options name."""
    for value in values:
        if isinstance(value, (str, os.PathLike)):
            with contextlib.suppress(ValueError):  # no name of a file, as it has a zero byte
                # a folder in the working directory may be called "content", as an option is
                path = os.fsdecode(value)
                if is_address(path):
                    continue
                folder = not isinstance(value, str) or path != os.path.basename(path) or "." in path
                if os.path.isfile(path) or (folder and os.path.isdir(path)):
                    yield path
        elif isinstance(value, Mapping):
            yield from files_of(value.values())
        elif isinstance(value, (list, tuple, set, frozenset)):
            yield from files_of(value)


def identified(value: Any) -> Any:
    """Tell a value from others, by its content; JSON.

    Raises
    ------
    TypeError
        Nobody can say whether it is the same as another one.
    """
    kind = type(value).__name__
    if value is None or isinstance(value, (bool, int, float, complex, bytes, range, slice)):
        return repr(value)
    if isinstance(value, (str, os.PathLike)):
        names = [*files_of([value])]
        return [os.fsdecode(value), *map(_content, names)] if names else repr(value)
    if isinstance(value, np.generic):
        return identified(np.asarray(value))
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            return [kind, list(value.shape), [identified(one) for one in value.reshape(-1)]]
        content = np.ascontiguousarray(value).tobytes()
        return [str(np.dtype(value.dtype)), list(value.shape), hashlib.sha256(content).hexdigest()]
    if isinstance(value, Mapping):
        return [kind, sorted(([str(k), identified(v)] for k, v in value.items()), key=str)]
    if isinstance(value, (list, tuple)):
        return [kind, [identified(one) for one in value]]
    if isinstance(value, (set, frozenset)):
        return [kind, sorted((identified(one) for one in value), key=str)]
    if hasattr(value, "_to_dictionary") and hasattr(value, "data"):  # a signal of HyperSpy
        return [kind, identified(value.data)]
    for method in ("compute", "todense", "toarray"):  # of dask, sparse and SciPy
        if callable(getattr(value, method, None)):
            return [kind, identified(getattr(value, method)())]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(one.name, getattr(value, one.name)) for one in dataclasses.fields(value)]
        return [kind, identified(dict(fields))]
    if hasattr(value, "__array__"):
        return [kind, identified(np.asarray(value))]
    try:
        return [kind, hashlib.sha256(pickle.dumps(value)).hexdigest()]
    except Exception as error:
        raise TypeError(f"{value!r} cannot be told from others") from error


def _content(path: str) -> str:
    if os.path.isdir(path):
        return str(state(path)[2])
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
