# SPDX-License-Identifier: GPL-3.0-or-later
"""The blocks of a recording, arranged as its scan is."""

from __future__ import annotations

import operator
from typing import Any

from rsciio_tem.errors import warn
from rsciio_tem.reading.arrange import arrange
from rsciio_tem.reading.options import check_options
from rsciio_tem.recording.blocks import Blocks
from rsciio_tem.recording.recording import Recording

__all__ = ["blocks_of"]

#: Keywords of readers that are not among their options.
_BOUNDS = ("navigation_shape", "first_frame", "last_frame")


def blocks_of(recording: Recording, nbytes: int, options: dict[str, Any]) -> Blocks:
    """Arrange the frames of a recording; parameters and errors as in `Recording.blocks`."""
    if isinstance(nbytes, bool) or operator.index(nbytes) < 1:
        raise ValueError(f"nbytes={nbytes!r} is no size of a block")
    bounds = {name: options.pop(name) for name in _BOUNDS if name in options}
    check_options(options, recording.path)
    for problem in recording.problems:
        if problem.severity != "info":
            warn(recording.path, str(problem))
    arranged = arrange(recording, **bounds, options=options)
    source = arranged.source
    convert = source.cast if source.dtype != source.frames.dtype else None
    shape = tuple(arranged.scan.shape)
    return Blocks(source.frames, shape, int(nbytes), arranged.roi_index, convert)
