# SPDX-License-Identifier: GPL-3.0-or-later
"""The hits of each frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError
from rsciio_tem.formats.tpx3.chips import Arrangement, layout, shape_of
from rsciio_tem.formats.tpx3.cuts import Cut, lines_of
from rsciio_tem.formats.tpx3.index import index_of
from rsciio_tem.frames.sparse import Triplets
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import Backend, DataFile

__all__ = ["Hits", "Values"]

#: What a pixel of a frame is: the number of its hits, or the sum of their times over threshold.
Values = Literal["counts", "tot"]

#: Hits of several frames that are sorted at once.
_MOST = 1 << 23


@dataclass(frozen=True)
class Hits:
    """The hits of frames; see `rsciio_tem.frames.sparse.Source`.

    Parameters
    ----------
    file : DataFile
        The recording.
    cut : Cut
        How it is cut into frames.
    count : int
        Number of frames.
    chips : str
        How the chips are arranged.
    values : str
        What a pixel is.
    """

    file: DataFile
    cut: Cut
    count: int
    chips: Arrangement
    values: Values
    backend: Backend = "auto"

    @property
    def path(self) -> str:
        """File that errors are about."""
        return self.file.path

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return np.dtype(np.uint32)

    def __len__(self) -> int:
        return self.count

    def using(self, backend: Backend) -> Hits:
        """Return the same hits, fetched in another way."""
        return replace(self, backend=backend)

    def sizes(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """Return about how many hits each frame has: they are taken to be even within a block."""
        begins, ends = lines_of(self.file, self.cut).edges(first, last)
        index = index_of(self.file)
        return np.rint(index.about(ends) - index.about(begins)).astype(np.int64)

    def entries(self, first: int, last: int) -> Triplets:
        """Return the hits of each frame, or each pixel once with their sum."""
        if last <= first:
            return Triplets.none(0, self.dtype)
        if (about := int(self.sizes(first, last).sum())) > _MOST and last - first > 1:
            middle = (first + last) // 2
            parts = self.entries(first, middle), self.entries(middle, last)
            return Triplets.joined(parts)
        rows, columns = shape_of(self.chips)
        if last - first == 1 and about > rows * columns:
            return self._summed(first, rows * columns)
        return self._listed(first, last)

    def _parts(
        self, first: int, last: int
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32], npt.NDArray[np.uint16]]]:
        """Give frame, place and time over threshold of the hits in some frames, block by block."""
        from rsciio_tem.kernels.timepix3 import frame_numbers, hits_of

        index, lines = index_of(self.file), lines_of(self.file, self.cut)
        window, table = lines.window(first, last), layout(self.chips)
        line, stop = first // lines.positions, (last - 1) // lines.positions + 1
        # a hit at the end of these lines may belong to the next one
        some = slice(line, stop + 1)
        cut = lines.starts[some], lines.durations[some], lines.steps[some], lines.positions
        for i in index.overlapping(window).tolist():
            begin, end = int(index.begins[i]), int(index.begins[i + 1])
            reach = int(index.reaches[i])
            raw = backends.read(self.file, begin, reach - begin, self.backend)
            final, state = reach in (end, self.file.size), index.states[i].copy()
            times, places, tots = hits_of(raw, end - begin, final, state, window, table)
            frames = frame_numbers(times, *cut)
            frames += line * lines.positions - first
            inside = (frames >= 0) & (frames < last - first)
            if not inside.all():
                frames, places, tots = frames[inside], places[inside], tots[inside]
            yield frames, places, tots

    def _listed(self, first: int, last: int) -> Triplets:
        """Return all hits one by one."""
        from rsciio_tem.kernels.timepix3 import in_groups

        parts = list(self._parts(first, last))
        if not parts:
            backends.check_unchanged(self.file)
            return Triplets.none(last - first, self.dtype)
        frames, places, tots = (np.concatenate(column) for column in zip(*parts, strict=True))
        if self.values == "tot":
            bounds, places, values = in_groups(frames, last - first, places, tots)
            return Triplets(bounds, places, values.astype(self.dtype))
        bounds, places, _ = in_groups(frames, last - first, places, None)
        return Triplets(bounds, places, np.ones(len(places), self.dtype))

    def _summed(self, frame: int, pixels: int) -> Triplets:
        """Return the pixels of a frame with more hits than pixels."""
        totals = np.zeros(pixels, np.int64)
        for _, places, tots in self._parts(frame, frame + 1):
            weights = None if self.values == "counts" else tots
            totals += np.bincount(places, weights, pixels).astype(np.int64)
        if totals.max() > np.iinfo(self.dtype).max:
            raise FormatError(
                self.path,
                f"the sum of a pixel in frame {frame} does not fit into {self.dtype}.",
                "Pass dwell_time= to cut it into shorter frames.",
            )
        hit = np.flatnonzero(totals)
        bounds = np.array([0, len(hit)])
        return Triplets(bounds, hit.astype(np.uint32), totals[hit].astype(self.dtype))
