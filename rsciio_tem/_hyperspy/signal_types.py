# SPDX-License-Identifier: GPL-3.0-or-later
"""What HyperSpy makes of our signal types where no package with classes for them is installed.

HyperSpy makes a `Signal2D` of a signal whose type it does not know, and logs a warning, again after
each operation that changes the signal's class. With an alias in its table of classes (there for
this process only) it does the same without the warnings, and ``metadata.Signal.signal_type`` is
kept: a file saved here opens with pyxem's or kikuchipy's class where these are installed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["SIGNAL_TYPES", "forget", "make_known"]

#: Signal types that our readers give, which come from pyxem (two) and kikuchipy.
SIGNAL_TYPES = ("electron_diffraction", "diffraction", "EBSD")

#: HyperSpy's classes for frames of no particular type: real or complex, lazy or not.
_CLASSES = ("Signal2D", "LazySignal2D", "ComplexSignal2D", "LazyComplexSignal2D")


def _classes() -> Mapping[str, dict[str, Any]]:
    """HyperSpy's table of signal classes; empty before HyperSpy has read that of every package."""
    extensions = sys.modules.get("hyperspy.extensions")
    spec = getattr(extensions, "__spec__", None)
    if spec is None or getattr(spec, "_initializing", False):
        return {}
    table = getattr(extensions, "ALL_EXTENSIONS", {}).get("signals", {})
    return table if isinstance(table, Mapping) else {}


def make_known() -> None:
    """Let HyperSpy make `Signal2D` of signal types for which no installed package has a class."""
    classes = _classes()
    if not all(name in classes for name in _CLASSES):
        return
    provided = {
        signal_type
        for row in classes.values()
        for signal_type in (row.get("signal_type"), *(row.get("signal_type_aliases") or ()))
    }
    for signal_type in SIGNAL_TYPES:
        if signal_type not in provided:
            for name in _CLASSES:
                classes[name].setdefault("signal_type_aliases", []).append(signal_type)


def forget() -> None:
    """Take the aliases away again."""
    classes = _classes()
    for name in _CLASSES:
        row = classes.get(name, {})
        others = [a for a in row.pop("signal_type_aliases", ()) if a not in SIGNAL_TYPES]
        if others:
            row["signal_type_aliases"] = others
