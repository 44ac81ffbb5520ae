# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, limits and header of a frame cache, whatever the file it is in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError
from rsciio_tem.frames.sparse import SparseFrames, checked_shape
from rsciio_tem.parsing import hdf5

#: Attribute of the group of a frame cache in HDF5, and its value.
VERSION_KEY, VERSION = "HEXRD_FRAMECACHE_VERSION", 1


#: Data sets of such a group.
TABLES = ("data", "indices", "frame_ids")


#: Keys of ``data`` in the YAML file.
YAML_KEYS = ("file", "dtype", "nframes", "shape")


#: Metadata are read up to so many entries, and so many bytes each.
_MOST_METADATA, _LARGEST_METADATA = 1000, 16 << 20


#: Bytes of decompressed entries that a process keeps.
_KEPT = 64 << 20


#: A place outside of any frame.
_NOWHERE = 0xFFFFFFFF


#: So many blocks of rows may be needed for frames that have few entries in them.
_FAR = 16


#: Rows of a table in HDF5 that are read at a time where its chunks are much smaller or larger.
_ROWS = 1 << 17


# ---------------------------------------------------------------- entries


class _Header(NamedTuple):
    """What every style says of the frames."""

    shape: tuple[int, int]
    frames: int
    dtype: str

    @classmethod
    def of(cls, shape: Any, nframes: Any, dtype: Any, path: str) -> _Header:
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


# ---------------------------------------------------------------- description


class _Described(NamedTuple):
    """What the three styles have in common, ready for a `Recording`."""

    frames: SparseFrames
    metadata: dict[str, Any]
    files: tuple[str, ...]
    group: str = ""


def _plain(value: npt.NDArray[Any]) -> Any:
    """Return a value of the metadata: one of one element as a scalar, bytes as text."""
    value = np.asarray(value)
    if value.dtype.kind == "S":
        value = np.char.decode(value, "utf-8", "replace")
    return value.reshape(-1)[0].item() if value.size == 1 else value
