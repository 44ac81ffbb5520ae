# SPDX-License-Identifier: GPL-3.0-or-later
"""What every style of a frame cache says, whatever the file it is in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError
from rsciio_tem.frames.sparse import SparseFrames, checked_shape
from rsciio_tem.parsing import hdf5

#: Metadata are read up to so many entries, and so many bytes each.
MOST_METADATA, LARGEST_METADATA = 1000, 16 << 20


class Header(NamedTuple):
    """What is said of the frames."""

    shape: tuple[int, int]
    frames: int
    dtype: str

    @classmethod
    def of(cls, shape: Any, nframes: Any, dtype: Any, path: str) -> Header:
        """Check what a file says."""
        sizes = checked_shape(np.asarray(shape).reshape(-1).tolist(), path, "shape")
        counts = np.asarray(nframes).reshape(-1)
        if len(sizes) != 2:
            raise FormatError(path, f"shape is {sizes}, frames have two axes.")
        if counts.dtype.kind not in "iu" or len(counts) != 1 or not 0 < counts[0] < 1 << 48:
            raise FormatError(path, f"nframes is {nframes!r}, which is no number of frames.")
        text = hdf5.text(np.asarray(dtype)[()]) if not isinstance(dtype, str) else dtype
        try:
            stored = np.dtype(text)
        except (TypeError, ValueError, SyntaxError):
            raise FormatError(path, f"dtype is {text!r}, which is no type.") from None
        if stored.kind not in "buifc" or stored.itemsize > (16 if stored.kind == "c" else 8):
            raise FormatError(path, f"dtype is {text!r}, which is no type of pixels.")
        return cls((sizes[0], sizes[1]), int(counts[0]), stored.newbyteorder("=").str)


class Described(NamedTuple):
    """A frame cache of any style, ready for a `Recording`."""

    frames: SparseFrames
    metadata: dict[str, Any]
    files: tuple[str, ...]
    group: str = ""


def plain_value(value: npt.NDArray[Any]) -> Any:
    """Return a value of the metadata: one of one element as a scalar, bytes as text."""
    value = np.asarray(value)
    if value.dtype.kind == "S":
        value = np.char.decode(value, "utf-8", "replace")
    return value.reshape(-1)[0].item() if value.size == 1 else value
