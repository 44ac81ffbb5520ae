# SPDX-License-Identifier: GPL-3.0-or-later
"""Small pieces of files that were read, for those who open a recording again.

The headers of all frames take a call of the system each, a millisecond for a thousand of them, and
are asked for each time that a recording is opened: to describe it, with another scan shape, to
convert or check it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

import numpy as np
import numpy.typing as npt

__all__ = ["RecentPieces"]

#: Bytes of all that is kept.
_MOST = 16 << 20


class RecentPieces:
    """Copies of pieces that were read, those that were asked for last."""

    def __init__(self) -> None:
        self._rows: OrderedDict[Hashable, npt.NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> npt.NDArray[np.uint8] | None:
        """Return pieces that were read before; nobody may write into them."""
        with self._lock:
            if key in self._rows:
                self._rows.move_to_end(key)
            return self._rows.get(key)

    def put(self, key: Hashable, rows: npt.NDArray[np.uint8]) -> None:
        """Keep a copy of pieces, instead of those that nobody asked for since long."""
        with self._lock:
            if key in self._rows or rows.nbytes > _MOST // 2:
                return
            self._rows[key] = rows.copy()
            self._bytes += rows.nbytes
            while self._bytes > _MOST:
                self._bytes -= self._rows.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._rows.clear()
            self._bytes = 0
