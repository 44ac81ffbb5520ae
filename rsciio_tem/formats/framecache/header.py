# SPDX-License-Identifier: GPL-3.0-or-later
"""What every style of a frame cache says, whatever the file it is in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError
from rsciio_tem.frames.sparse import SparseFrames, checked_shape
from rsciio_tem.parsing.hdf5_values import text
from rsciio_tem.parsing.text import number_type

#: Metadata are read up to so many entries, so many bytes each, and so many altogether.
MOST_METADATA, LARGEST_METADATA, ALL_METADATA = 1000, 16 << 20, 64 << 20


class Header(NamedTuple):
    """What is said of the frames."""

    shape: tuple[int, int]
    frames: int
    dtype: str

    @classmethod
    def of(cls, shape: Any, nframes: Any, dtype: Any, path: str) -> Header:
        """Check what a file says."""
        sizes = checked_shape(_flat(shape).tolist(), path, "shape")
        counts = _flat(nframes)
        if len(sizes) != 2:
            raise FormatError(path, f"shape is {sizes}, frames have two axes.")
        if counts.dtype.kind not in "iu" or len(counts) != 1 or not 0 < counts[0] < 1 << 48:
            raise FormatError(path, f"nframes is {nframes!r}, which is not a number of frames.")
        name = dtype if isinstance(dtype, str) else text(_flat(dtype))
        stored = number_type(name)
        if stored is None or stored.itemsize > (16 if stored.kind == "c" else 8):
            raise FormatError(path, f"dtype is {name!r}, which is not a type of pixels.")
        return cls((sizes[0], sizes[1]), int(counts[0]), stored.newbyteorder("=").str)


class Described(NamedTuple):
    """A frame cache of any style, ready for a `Recording`."""

    frames: SparseFrames
    metadata: dict[str, Any]
    files: tuple[str, ...]
    group: str = ""


def _flat(content: Any) -> npt.NDArray[Any]:
    """Return a value as a flat array; an empty one if it is none of equal rows."""
    try:
        return np.asarray(content).reshape(-1)
    except ValueError:
        return np.zeros(0)


def plain_value(value: npt.NDArray[Any]) -> Any:
    """Return a value of the metadata: one of one element as a scalar, bytes as text."""
    value = np.asarray(value)
    if value.dtype.kind == "S":
        value = np.char.decode(value, "utf-8", "replace")
    return value.reshape(-1)[0].item() if value.size == 1 else value
