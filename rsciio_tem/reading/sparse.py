# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse arrays instead of dense ones, for ``sparse=`` of the readers of sparse formats."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rsciio_tem.errors import NotEnoughMemory, Unsupported
from rsciio_tem.frames.sparse import SparseFrames
from rsciio_tem.reading.lazy import LazyFrames, picked
from rsciio_tem.reading.options import SparseKind
from rsciio_tem.storage import machine

__all__ = ["LazyCoo", "empty_coo", "sparse_array"]


def _package(name: str, needed_for: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(
            f"{needed_for} needs the package {package!r}: pip install {package}"
        ) from error


def _checked(source: LazyFrames) -> SparseFrames:
    """Return the frames behind an array if they can be given as they are stored."""
    frames = source.frames
    if not isinstance(frames, SparseFrames):
        raise Unsupported(
            source.path,
            "sparse arrays have the pixels as they are stored, without corrections or processing.",
            "Pass sparse=False, or leave these out.",
        )
    if (frames.fill or source.fill) and frames.blanks is not None:
        raise ValueError("fill_value must be 0 with sparse=: blanks have no entries there")
    return frames


def _coo(source: LazyFrames, frames: SparseFrames, nav_shape: tuple[int, ...]) -> Any:
    """Return frames as a ``sparse.COO`` of scan and frame shape."""
    package = _package("sparse", "sparse=True")
    entries = frames.summed()
    size = math.prod(frames.frame_shape)
    shape = (*nav_shape, *frames.frame_shape)
    coords = np.unravel_index(entries.frames * size + entries.pixels, shape)
    values = source.cast(entries.values, frames[:0])
    return package.COO(
        np.array(coords).reshape(len(shape), -1), values, shape, has_duplicates=False, sorted=True
    )


def sparse_array(source: LazyFrames, kind: SparseKind) -> Any:
    """Load frames in scan order as a sparse array; see `read`."""
    frames = _checked(source)
    free = machine.free_memory()
    entries, needed = 0, 16 * len(frames)  # where the entries of each begin, twice
    if free is None or needed <= 0.95 * free:
        entries = sum(int(frames.source.sizes(a, b).sum()) for a, b in frames.spans())
        needed += entries * (24 + 2 * frames.dtype.itemsize)  # while duplicates are looked for
    if free is not None and needed > 0.95 * free:
        what = f"{entries} entries" if entries else f"the bounds of {len(frames)} frames"
        raise NotEnoughMemory(
            source.path,
            f"{what} take {needed / 1e9:.1f} GB of memory while they are loaded, "
            f"{free / 1e9:.1f} GB are free.",
            "Pass lazy=True, or part of the recording with first_frame= and last_frame=.",
        )
    if kind is True:
        return _coo(source, frames, source.nav_shape)
    package = _package("scipy.sparse", "sparse='scipy'")
    bounds, pixels, values = frames.summed()
    shape = (len(frames), math.prod(frames.frame_shape))
    return package.csr_array((source.cast(values, frames[:0]), pixels, bounds), shape=shape)


def empty_coo(ndim: int, dtype: np.dtype[Any]) -> Any:
    """Return what tells dask the type of blocks."""
    package = _package("sparse", "sparse=True")
    return package.COO(np.zeros((ndim, 0), np.int64), np.zeros(0, dtype), (0,) * ndim)


@dataclass(frozen=True, eq=False)
class LazyCoo:
    """Sparse frames arranged in a scan, like an array that is read when it is sliced.

    Parameters
    ----------
    source : LazyFrames
        The same as a dense array.
    """

    source: LazyFrames

    def __post_init__(self) -> None:
        _checked(self.source)

    @property
    def shape(self) -> tuple[int, ...]:
        """Scan shape followed by frame shape."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return self.source.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.source.ndim

    def __getitem__(self, key: Any, /) -> Any:
        key = key if isinstance(key, tuple) else (key,)
        key = (*key, *(slice(None),) * (self.ndim - len(key)))
        n_nav = len(self.source.nav_shape)
        chosen = [picked(k, n) for k, n in zip(key[:n_nav], self.shape[:n_nav], strict=True)]
        frames = self.source.frames[self.source.positions(chosen)]
        assert isinstance(frames, SparseFrames)
        kept = [
            c for k, c in zip(key, chosen, strict=False) if not isinstance(k, (int, np.integer))
        ]
        array = _coo(self.source, frames, tuple(map(len, kept)))
        return array[(*(slice(None),) * len(kept), *key[n_nav:])]
