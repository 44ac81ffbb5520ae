# SPDX-License-Identifier: GPL-3.0-or-later
"""Counted electrons that frames are streamed into."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import warn
from rsciio_tem.writing.hdf5 import write_kept
from rsciio_tem.writing.kept import VERSION
from rsciio_tem.writing.signal_frames import SignalFrames
from rsciio_tem.writing.sparse import SparseTarget
from rsciio_tem.writing.stream import write_signal
from rsciio_tem.writing.target import Payloads, Target

__all__ = ["DTYPE", "file_writer", "target"]

#: Attribute for the type of pixels, which stempy has none for.
DTYPE = "dtype"
#: Electrons of a pixel at most.
_MOST = 1 << 16
#: Up to so many electrons of a pixel, frames are written as stempy 3 does: as many of them at each
#: position, none of which lists a pixel twice. Beyond, there is one list for each position, in
#: which a pixel is repeated (version 1); it takes less room.
_LAYERS = 16
#: Lists that are written at a time.
_LISTS = 1 << 14


class _Electrons(SparseTarget):
    """The group ``electron_events`` of a new HDF5 file."""

    def __init__(self, path: str, frames: SignalFrames, threshold: float | None) -> None:
        super().__init__(path, frames, threshold)
        if self.dtype.kind == "c":
            raise ValueError("complex pixels are not numbers of electrons")
        self.names = (os.path.basename(path),)
        self.identity = {"kept": VERSION}
        *lines, positions = (1, 1, *frames.nav_shape)
        self.scan = math.prod(lines), positions
        if len(frames.nav_shape) > 2:
            shape = " x ".join(map(str, frames.nav_shape))
            warn(
                path,
                f"stempy knows scans of two axes: {shape} positions become "
                f"{self.scan[0]} x {self.scan[1]}.",
            )
        self.layers = 1  #: lists of each position, once the file is written

    def put(self, folder: str, first: int, frames: npt.NDArray[Any]) -> bytes:
        """Check that pixels are numbers of electrons."""
        if frames.dtype.kind == "f":
            whole = np.isfinite(frames).all() and (np.floor(frames) == frames).all()
        else:
            whole = True
        if not whole or (frames.size and not 0 <= frames.min() <= frames.max() < _MOST):
            raise ValueError(
                f"{self.path}: frames {first} to {first + len(frames) - 1} have pixels that are "
                f"not numbers of electrons: whole, and from 0 to {_MOST - 1}. Count the electrons "
                "first, or write another format."
            )
        return super().put(folder, first, frames)

    def _places(self, pixels: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        return pixels.astype("<u4")

    def finish(self, folder: str, payloads: Payloads) -> None:
        """Make the file of the blocks."""
        import h5py

        place = np.dtype("<u4")
        most = 1
        for _, _, values in self._blocks(payloads, place):
            most = max(most, int(values.max(initial=0)))
        self.layers = most if most <= _LAYERS else 1
        rows, columns = self.frames.frame_shape
        entries = at = 0
        with h5py.File(os.path.join(folder, self.names[0]), "w") as file:
            file.attrs["version"] = np.int64(3 if most <= _LAYERS else 1)
            group = file.create_group("electron_events")
            lists = group.create_dataset(
                "frames", (len(self.frames) * self.layers,), h5py.vlen_dtype(np.uint32)
            )
            lists.attrs.update(Nx=rows, Ny=columns)
            lists.attrs[DTYPE] = str(self.dtype.newbyteorder("="))
            positions = group.create_dataset("scan_positions", data=np.arange(len(self.frames)))
            positions.attrs.update(Nx=self.scan[1], Ny=self.scan[0])
            file.create_group("metadata")
            for counts, pixels, values in self._blocks(payloads, place):
                entries += len(values)
                ends = np.cumsum(counts)
                step = max(1, _LISTS // self.layers)
                for low in range(0, len(counts), step):
                    high = min(low + step, len(counts))
                    some = list(self._lists(ends[low:high], counts[low:high], pixels, values))
                    _put(lists, at, some)
                    at += len(some)
            write_kept(file.create_group("rsciio_tem"), self.frames, self.path)
        self._tell(entries)

    def _lists(
        self,
        ends: npt.NDArray[np.int64],
        counts: npt.NDArray[np.int64],
        pixels: npt.NDArray[Any],
        values: npt.NDArray[Any],
    ) -> Iterator[npt.NDArray[np.uint32]]:
        """Give what is stored of some positions: each electron once."""
        for begin, end in zip((ends - counts).tolist(), ends.tolist(), strict=True):
            places, electrons = pixels[begin:end], values[begin:end]
            if self.layers == 1:
                yield np.repeat(places, electrons.astype(np.int64))
                continue
            for layer in range(self.layers):
                yield places[electrons > layer]

    def _stored(
        self, folder: str, first: int, count: int
    ) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        import h5py

        with h5py.File(os.path.join(folder, self.names[0]), "r") as file:
            lists = file["electron_events/frames"]
            stored = lists[first * self.layers : (first + count) * self.layers]
        for some in stored.reshape(count, self.layers):
            places, electrons = np.unique(np.concatenate(some), return_counts=True)
            yield places, electrons.astype(self.dtype)


def _put(dataset: Any, at: int, lists: list[npt.NDArray[np.uint32]]) -> None:
    """Write lists of any length; h5py takes several of the same length for something else."""
    import h5py

    values = np.empty(len(lists), dataset.dtype)
    for i, one in enumerate(lists):
        values[i] = one
    where = dataset.id.get_space()
    where.select_hyperslab((at,), (len(lists),))
    dataset.id.write(h5py.h5s.create_simple((len(lists),)), where, values)


def target(frames: SignalFrames, path: str, *, threshold: float | None = None) -> Target:
    """Return what `rsciio_tem.convert` streams frames into; parameters as in `file_writer`."""
    return _Electrons(path, frames, threshold)


def file_writer(
    filename: str | os.PathLike[str],
    signal: Mapping[str, Any],
    *,
    threshold: float | None = None,
    overwrite: bool = False,
) -> None:
    """Write a signal of counted electrons as stempy does, piece by piece if it is lazy.

    Parameters
    ----------
    filename : str or path
        The HDF5 file; it appears under its name when it is complete.
    signal : dict
        As RosettaSciIO's writers receive it. Pixels are numbers of electrons.
    threshold : float, optional
        Store only values above it. By default all are stored, so nothing is lost.
    overwrite : bool
        Replace a file of this name. The recording that the signal was read from is never replaced.

    Raises
    ------
    ValueError
        A pixel is not a number of electrons.
    FileExistsError
        The file exists.
    """
    write_signal(target, filename, signal, "stempy", overwrite, threshold=threshold)
