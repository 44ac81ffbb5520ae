# SPDX-License-Identifier: GPL-3.0-or-later
"""Invented recordings, with the true position of every stored frame.

Nothing here knows how a reader decides. A family is a way in which recordings come about; `make`
draws one member of it. The same family, seed and index give the same recording.
"""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from . import merlin, others
from .engine import Recording
from .registry import FAMILIES

__all__ = ["FAMILIES", "Recording", "make", "merlin", "others"]


def make(name: str, index: int, seed: int = 0) -> Recording:
    """Return one member of a family."""
    rng = np.random.default_rng([seed, index, zlib.crc32(name.encode())])
    return replace(FAMILIES[name](rng), family=name, index=index)
