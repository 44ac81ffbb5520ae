# SPDX-License-Identifier: GPL-3.0-or-later
"""`rsciio_tem.open`: describe a recording without reading pixels."""

from __future__ import annotations

import os
from typing import Any

from rsciio_tem.errors import OtherFormat
from rsciio_tem.readers import chosen, own_module
from rsciio_tem.recording.recording import Recording

__all__ = ["open"]


def open(path: str | os.PathLike[str], format: str = "auto", **format_options: Any) -> Recording:
    """Describe a recording without reading pixels.

    Parameters
    ----------
    path, format
        As in `load`.
    **own
        The format's own keywords.

    Returns
    -------
    Recording
        A value to look at: files, frames, scan candidates, problems, metadata.
    """
    name, hints = chosen(path, format)
    try:
        recording = own_module(path, name).parse(path, **{**hints, **format_options})
    except OtherFormat as other:
        if format != "auto":
            raise
        recording = own_module(path, other.format).parse(path, **format_options)
    return recording  # type: ignore[no-any-return]
