# SPDX-License-Identifier: GPL-3.0-or-later
"""One module per format; each turns a path into a `Recording` and hands it to `read`."""

from __future__ import annotations

import sys
from types import ModuleType

from rsciio_tem.registry import Format
from rsciio_tem.registry import formats as _formats


class _Formats(ModuleType):
    """The package, which is also the function ``rsciio_tem.formats()``.

    Importing a reader binds the name ``formats`` of the parent package to this package, so both
    have to be the same object.
    """

    def __call__(self) -> list[Format]:
        """List the formats."""
        return _formats()


sys.modules[__name__].__class__ = _Formats
