# SPDX-License-Identifier: GPL-3.0-or-later
"""Read every raw TEM and 4D-STEM recording into HyperSpy.

``import rsciio_tem`` imports nothing heavy and never raises: it only adds the readers to the list
that ``hs.load`` searches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rsciio_tem._hyperspy.registration import register, unregister
    from rsciio_tem.api import detect, from_array, load, open
    from rsciio_tem.checking import check
    from rsciio_tem.export import convert, export_dataset
    from rsciio_tem.reduction import Annulus, Disk, reduce
    from rsciio_tem.registry import formats

__all__ = [
    "Annulus",
    "Disk",
    "__version__",
    "check",
    "convert",
    "detect",
    "export_dataset",
    "formats",
    "from_array",
    "load",
    "open",
    "reduce",
    "register",
    "unregister",
]

_EXPORT = ("convert", "export_dataset")
_REDUCTION = ("Annulus", "Disk", "reduce")
_API = ("detect", "from_array", "load", "open")
_REGISTRATION = ("register", "unregister")


def __getattr__(name: str) -> Any:
    """Import on first use; ``rsciio_tem.mib`` is ``rsciio_tem.formats.mib``."""
    import importlib

    if name in _API:
        return getattr(importlib.import_module("rsciio_tem.api"), name)
    if name == "check":
        return getattr(importlib.import_module("rsciio_tem.checking"), name)
    if name in _EXPORT:
        return getattr(importlib.import_module("rsciio_tem.export"), name)
    if name in _REDUCTION:
        return getattr(importlib.import_module("rsciio_tem.reduction"), name)
    if name == "formats":  # the package, which can be called
        return importlib.import_module("rsciio_tem.formats")
    if name in _REGISTRATION:
        return getattr(importlib.import_module("rsciio_tem._hyperspy.registration"), name)
    registry = importlib.import_module("rsciio_tem.registry")
    if name in registry.FORMATS:
        return importlib.import_module(registry.FORMATS[name].module)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    from rsciio_tem.registry import FORMATS

    return sorted({*__all__, *FORMATS})


from rsciio_tem._hyperspy.registration import autoregister as _autoregister  # noqa: E402

_autoregister()
