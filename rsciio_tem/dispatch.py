# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader that ``hs.load`` calls for suffixes which several formats use.

It looks at the content, calls the right reader of ours, and hands everything else to RosettaSciIO.
"""

from __future__ import annotations

import os
from typing import Any

from rsciio_tem import api

__all__ = ["file_reader"]


def file_reader(
    filename: str | os.PathLike[str], lazy: bool = False, **options: Any
) -> list[dict[str, Any]]:
    """Read a file whose suffix does not tell its format.

    Parameters
    ----------
    filename : str or path
        The file.
    lazy : bool
        Return dask arrays.
    **options
        Keywords of the reader that its content calls for.

    Returns
    -------
    list of dict
        As that reader returns.
    """
    return api.load(filename, lazy=lazy, **options)
