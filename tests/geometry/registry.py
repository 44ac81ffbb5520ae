# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of families: ways in which recordings come about."""

from __future__ import annotations

from collections.abc import Callable

from .engine import Recording, Rng

Maker = Callable[[Rng], Recording]
#: Makers by the names that tables show.
FAMILIES: dict[str, Maker] = {}


def family(maker: Maker) -> Maker:
    """List a maker by its name."""
    FAMILIES[maker.__name__.strip("_").replace("_", " ")] = maker
    return maker
