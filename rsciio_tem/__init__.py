# SPDX-License-Identifier: GPL-3.0-or-later
"""Read every raw TEM and 4D-STEM recording into HyperSpy.

``import rsciio_tem`` imports nothing heavy and never raises: it only adds the readers to the list
that ``hs.load`` searches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rsciio_tem._version import __version__

if TYPE_CHECKING:
    from rsciio_tem._hyperspy.registration import register, unregister
    from rsciio_tem.readers import detect, load
    from rsciio_tem.reading.from_array import from_array
    from rsciio_tem.reduction.detectors import Annulus, Disk
    from rsciio_tem.registry import formats
    from rsciio_tem.tools.annotate import annotate
    from rsciio_tem.tools.check import check
    from rsciio_tem.tools.convert import convert, export_dataset
    from rsciio_tem.tools.follow import follow
    from rsciio_tem.tools.inspect import inspect
    from rsciio_tem.tools.open import open
    from rsciio_tem.tools.reduce import reduce
    from rsciio_tem.tools.reference import reference

__all__ = [
    "Annulus",
    "Disk",
    "__version__",
    "annotate",
    "check",
    "compare",
    "convert",
    "detect",
    "export_dataset",
    "follow",
    "formats",
    "from_array",
    "inspect",
    "load",
    "open",
    "reduce",
    "reference",
    "register",
    "unregister",
]

#: Where the names above are; they are imported on first use.
_HOMES = {
    "Annulus": "reduction.detectors",
    "Disk": "reduction.detectors",
    "annotate": "tools.annotate",
    "check": "tools.check",
    "compare": "tools.compare",
    "convert": "tools.convert",
    "detect": "readers",
    "export_dataset": "tools.convert",
    "follow": "tools.follow",
    "from_array": "reading.from_array",
    "inspect": "tools.inspect",
    "load": "readers",
    "open": "tools.open",
    "reduce": "tools.reduce",
    "reference": "tools.reference",
    "register": "_hyperspy.registration",
    "unregister": "_hyperspy.registration",
}


def __getattr__(name: str) -> Any:
    """Import on first use; ``rsciio_tem.mib`` is ``rsciio_tem.formats.mib``."""
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(f"rsciio_tem.{_HOMES[name]}"), name)
    if name == "formats":  # the package, which can be called
        return importlib.import_module("rsciio_tem.formats")
    registry = importlib.import_module("rsciio_tem.registry")
    row = None if name.startswith("_") else registry.row_of(name)
    if row is not None:
        return importlib.import_module(row.module)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    from rsciio_tem.registry import every_format

    return sorted({*__all__, *every_format()})


from rsciio_tem._hyperspy.registration import autoregister as _autoregister  # noqa: E402

_autoregister()
