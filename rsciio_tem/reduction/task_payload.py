# SPDX-License-Identifier: GPL-3.0-or-later
"""Sending parts of the same frames to many tasks, and what they have in common only once."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["TaskPayload"]

#: Bytes of an array, and entries of a collection, from which on they are worth a reference.
_LARGE, _MANY = 1 << 12, 64


def _is_large(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.nbytes >= _LARGE
    return isinstance(value, (tuple, list, dict)) and len(value) >= _MANY


@dataclass(frozen=True, eq=False)
class TaskPayload:
    """What frames have in common: dark frames, tables of files, and so on.

    Parameters
    ----------
    common : tuple
        Objects that `pack` leaves out and `unpack` puts in.
    """

    common: tuple[Any, ...] = ()

    @classmethod
    def of(cls, *parts: Any) -> TaskPayload:
        """Find the large objects that all of the parts hold."""
        common = []
        for part in parts:
            seen: dict[int, Any] = {}
            _Packer(io.BytesIO(), {}, seen).dump(part)
            common.append(seen)
        shared = set.intersection(*(set(seen) for seen in common))
        return cls(tuple(value for key, value in common[0].items() if key in shared))

    def pack(self, part: Any) -> bytes:
        """Pickle a part without what is common."""
        file = io.BytesIO()
        _Packer(file, {id(value): i for i, value in enumerate(self.common)}).dump(part)
        return file.getvalue()

    def unpack(self, content: bytes) -> Any:
        """Return what was packed."""
        return _Unpacker(io.BytesIO(content), self.common).load()


class _Packer(pickle.Pickler):
    """Pickles all but what has a number; notes what is large, without looking inside."""

    def __init__(
        self, file: io.BytesIO, numbers: dict[int, int], seen: dict[int, Any] | None = None
    ) -> None:
        super().__init__(file, protocol=5)
        self.numbers, self.seen = numbers, seen

    def persistent_id(self, value: Any) -> int | None:
        if self.seen is None:
            return self.numbers.get(id(value))
        if _is_large(value):
            self.seen[id(value)] = value
            return 0
        return None


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, common: tuple[Any, ...]) -> None:
        super().__init__(file)
        self.common = common

    def persistent_load(self, number: int) -> Any:
        return self.common[number]
