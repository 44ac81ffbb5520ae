# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of which only some pixels are stored: their places, and their values.

A `Source` knows how a format stores them, and gives the entries of frames that follow each other
as `Triplets`. `SparseFrames` makes frames of these, dense ones like those of any other format, or
the sparse arrays of SciPy and of the package ``sparse``. A pixel that is listed several times has
the sum of its values, as in SciPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Unsupported
from rsciio_tem.frames.pixels import Region, full_region
from rsciio_tem.frames.protocol import Order, OrderedFrames, ReadAs, runs_in
from rsciio_tem.storage.backends import Backend

__all__ = [
    "Source",
    "SparseFrames",
    "Triplets",
    "checked_shape",
    "frames_of_matrix",
    "most_entries",
    "places_of",
]

#: Entries that are read at a time, and frames at most.
_ENTRIES, _FRAMES = 1 << 19, 1 << 16


#: A frame of more pixels than this is a damaged header.
_MOST_PIXELS = 1 << 30


class Triplets(NamedTuple):
    """The entries of some frames: frame i has those from ``bounds[i]`` to ``bounds[i + 1]``.

    Together with the number of the frame, each entry is a triplet: frame, place, value.
    """

    bounds: npt.NDArray[np.int64]
    pixels: npt.NDArray[Any]  # places in the flat frame, row after row; int64 or uint32
    values: npt.NDArray[Any]

    @property
    def frames(self) -> npt.NDArray[np.int64]:
        """Number of the frame of each entry."""
        return np.repeat(np.arange(len(self.bounds) - 1), np.diff(self.bounds))

    @classmethod
    def none(cls, frames: int, dtype: np.dtype[Any]) -> Triplets:
        """Return that many frames without entries."""
        return cls(np.zeros(frames + 1, np.int64), np.zeros(0, np.int64), np.zeros(0, dtype))

    @classmethod
    def joined(cls, parts: Sequence[Triplets]) -> Triplets:
        """Return the frames of all parts, one after the other."""
        starts = np.cumsum([0, *(len(part.pixels) for part in parts)])
        bounds = [part.bounds[1:] + at for part, at in zip(parts, starts[:-1], strict=True)]
        return cls(
            np.concatenate([[0], *bounds]),
            np.concatenate([part.pixels for part in parts]),
            np.concatenate([part.values for part in parts]),
        )

    def copy(self) -> Triplets:
        """Return the same in memory of its own."""
        return Triplets(*(array.copy() for array in self))

    def backwards(self) -> Triplets:
        """Return the frames in reverse order."""
        lengths = np.diff(self.bounds)[::-1]
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        # where each frame's entries are now, and its entries one after the other
        order = np.repeat(self.bounds[:-1][::-1] - bounds[:-1], lengths) + np.arange(bounds[-1])
        return Triplets(bounds, self.pixels[order], self.values[order])


class Source(Protocol):
    """How the entries of stored frames are read; pickles small."""

    @property
    def path(self) -> str:
        """File that errors are about."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value, in the machine's byte order."""
        ...

    def __len__(self) -> int: ...

    def sizes(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """Return about how many entries the stored frames first..last have, cheaply."""
        ...

    def entries(self, first: int, last: int) -> Triplets:
        """Return the entries of the stored frames first..last.

        Values have the type `dtype`, places are int64 or uint32. Those outside of the frame are
        left to the caller. The arrays are valid until this thread asks for entries again.
        """
        ...

    def using(self, backend: Backend) -> Self:
        """Return the same entries, fetched in another way; Unsupported if that is impossible."""
        ...


def places_of(numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return whole numbers of the machine's byte order in a type of places.

    What is negative, or too large, becomes something else that is outside of any frame.
    """
    kind = {8: np.int64, 4: np.uint32}.get(numbers.dtype.itemsize)
    return numbers.astype(np.uint32) if kind is None else numbers.view(kind)


def most_entries(pixels: int) -> int:
    """Return how many entries a frame may have before they are taken for damage."""
    return max(1 << 16, 4 * pixels)


def checked_shape(shape: Any, path: str, what: str) -> tuple[int, ...]:
    """Return the shape of a frame that a file tells, if it can be one.

    Nothing in the size of a sparse file says whether its frames can be that large.
    """
    try:
        sizes = tuple(int(n) for n in shape)
        good = sizes == tuple(shape) and len(sizes) > 0 and min(sizes) > 0
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise FormatError(path, f"{what} is {shape!r}, which is not a shape of frames.")
    if math.prod(sizes) > _MOST_PIXELS:
        raise Unsupported(path, f"{what} is {sizes}: frames of more than {_MOST_PIXELS} pixels.")
    return sizes


@dataclass(frozen=True, eq=False)
class _Matrix:
    """Entries in memory, as a ``scipy.sparse.csr_array`` has them; see `Source`."""

    bounds: npt.NDArray[np.int64]
    pixels: npt.NDArray[Any]
    values: npt.NDArray[Any]
    path: str = "an array in memory"

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def using(self, backend: Backend) -> _Matrix:
        return self

    def sizes(self, first: int, last: int) -> npt.NDArray[np.int64]:
        return np.diff(self.bounds[first : last + 1])

    def entries(self, first: int, last: int) -> Triplets:
        bounds = self.bounds[first : last + 1]
        stored = slice(int(bounds[0]), int(bounds[-1]))
        return Triplets(bounds - bounds[0], self.pixels[stored], self.values[stored])


@dataclass(frozen=True, eq=False)
class SparseFrames(OrderedFrames):
    """Frames made of single pixels; all others are zero.

    Parameters
    ----------
    source : Source
        Where the entries are.
    frame_shape : tuple of int
        Shape of a frame.
    order : ndarray of int64, optional
        Frame i is stored frame ``order[i]``; -1 is a blank.
    fill : float
        Value of blanks.
    sums : numpy.dtype, optional
        Type in which values are added up, by default that of the source.
    """

    source: Source
    frame_shape: tuple[int, ...]
    order: Order = None
    fill: float = 0
    sums: np.dtype[Any] | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return self.source.dtype if self.sums is None else self.sums

    @property
    def stored_count(self) -> int:
        """Number of stored frames."""
        return len(self.source)

    def _read_as(self, how: ReadAs) -> Self:
        # values are added up, which is done in the machine's byte order
        if how.flip_y is not None:
            raise Unsupported(self.source.path, "sparse frames cannot be flipped (flip_y).")
        return replace(
            self,
            source=self.source.using(how.backend),
            frame_shape=how.reshaped(self.frame_shape, self.source.path),
            fill=how.filled(self.fill),
        )

    def widened(self, dtype: Any) -> SparseFrames:
        """Return frames that add up values in `dtype`, if that holds all values of their own."""
        if dtype is None or (isinstance(dtype, str) and dtype == "stored"):
            return self
        wide: np.dtype[Any] = np.dtype(dtype).newbyteorder("=")
        safe = np.can_cast(self.dtype, wide, "safe")
        return replace(self, sums=wide) if safe and wide != self.dtype else self

    # ------------------------------------------------------------------ entries

    def _runs(self) -> Iterator[tuple[int, int, int, int]]:
        if self.order is None:
            yield 0, 1, 0, len(self.source)
        else:
            yield from runs_in(self.order)

    def spans(self) -> Iterator[tuple[int, int]]:
        """Give begin and end of pieces of stored frames that belong to these."""
        for _, _, low, count in self._runs():
            for first in range(low, low + count, _FRAMES) if low >= 0 else ():
                yield first, min(first + _FRAMES, low + count)

    def _blocks(self, low: int, count: int) -> Iterator[tuple[int, int]]:
        """Divide stored frames into blocks of about `_ENTRIES` entries."""
        for first in range(low, low + count, _FRAMES):
            last = min(first + _FRAMES, low + count)
            group = np.cumsum(self.source.sizes(first, last)) // _ENTRIES
            bounds = (np.flatnonzero(np.diff(group)) + 1).tolist()
            for a, b in zip([0, *bounds], [*bounds, last - first], strict=True):
                yield first + a, first + b

    def sizes(self) -> npt.NDArray[np.int64]:
        """Return about how many entries each of these frames has."""
        size, order = math.prod(self.frame_shape), self.order
        numbers = np.arange(0) if order is None else order[order >= 0]
        low = int(numbers.min()) if len(numbers) else 0
        high = len(self.source) if order is None else int(numbers.max(initial=-1)) + 1
        parts = [
            self.source.sizes(first, min(first + _FRAMES, high))
            for first in range(low, high, _FRAMES)
        ]
        stored = np.concatenate([*parts, [size if self.fill else 0]])  # the last one is of a blank
        return stored[:-1] if order is None else stored[np.where(order < 0, -1, order - low)]

    def once(self) -> Iterator[tuple[npt.NDArray[np.int64], Triplets]]:
        """Give all entries, at most about `_ENTRIES` at a time, each pixel of a frame once.

        Blanks have their fill value in each pixel.

        Yields
        ------
        frames : ndarray of int64
            Which of these frames come next.
        entries : Triplets
            Their entries, valid until the next ones are asked for.

        Raises
        ------
        FormatError
            See `load`.
        """
        places: list[npt.NDArray[np.int64]] = []
        parts: list[Triplets] = []
        pending = 0
        for where, part in self._parts():
            size = len(where) + len(part.pixels)
            if not pending and size >= _ENTRIES // 8:  # enough, and nothing has to be copied
                yield where, part
                continue
            places.append(where)
            parts.append(part.copy())
            pending += size
            if pending >= _ENTRIES // 8:
                yield np.concatenate(places), Triplets.joined(parts)
                places, parts, pending = [], [], 0
        if pending:
            yield np.concatenate(places), Triplets.joined(parts)

    def _parts(self) -> Iterator[tuple[npt.NDArray[np.int64], Triplets]]:
        """Give what `once` gives, in pieces as they are stored."""
        size = math.prod(self.frame_shape)
        for at, step, low, count in self._runs():
            if low >= 0:
                for first, last in self._blocks(low, count):
                    yield at + step * np.arange(first - low, last - low), self._checked(first, last)
                continue
            full = size if self.fill else 0
            most = max(1, _ENTRIES // max(1, full))
            for first in range(at, at + count, most):
                where = np.arange(first, min(first + most, at + count))
                n = len(where)
                yield (
                    where,
                    Triplets(
                        np.arange(n + 1) * full,
                        np.tile(np.arange(full, dtype=np.uint32), n),
                        np.full(n * full, self.fill, self.dtype),
                    ),
                )

    def _checked(self, first: int, last: int) -> Triplets:
        """Return the entries of stored frames, each pixel once."""
        from rsciio_tem.kernels import sparse
        from rsciio_tem.kernels.sparse import ascending

        bounds, pixels, values = self.source.entries(first, last)
        values = values.astype(self.dtype, copy=False)
        size = math.prod(self.frame_shape)
        if ascending(bounds, pixels, size):
            return Triplets(bounds, pixels, values)
        repeated = sparse.once(bounds, pixels, values, size)
        if len(repeated) == 3:
            return Triplets(*repeated)
        frame, too_large = repeated
        raise self._bad(first + frame, too_large, self.dtype)

    def _bad(self, frame: int, too_large: bool, dtype: np.dtype[Any]) -> FormatError:
        """Say what a kernel found."""
        return self._too_large(frame, dtype) if too_large else self._outside(frame)

    def _outside(self, frame: int) -> FormatError:
        return FormatError(
            self.source.path,
            f"frame {frame} lists pixels outside of its {self.frame_shape} pixels.",
        )

    def triplets(self) -> Triplets:
        """Return the entries of these frames, in their order; blanks have none.

        Raises
        ------
        FormatError
            An entry lies outside of its frame.
        """
        parts, size = [], math.prod(self.frame_shape)
        for _, step, low, count in self._runs():
            if low < 0:
                parts.append(Triplets.none(count, self.dtype))
                continue
            part = self.source.entries(low, low + count).copy()
            part = part._replace(pixels=part.pixels.astype(np.int64, copy=False))
            outside = (part.pixels < 0) | (part.pixels >= size)
            if outside.any():
                entry = np.flatnonzero(outside)[0]
                raise self._outside(low + int(np.searchsorted(part.bounds, entry, "right")) - 1)
            parts.append(part if step > 0 else part.backwards())
        if not parts:
            return Triplets.none(0, self.dtype)
        joined = Triplets.joined(parts) if len(parts) > 1 else parts[0]
        return joined._replace(values=joined.values.astype(self.dtype, copy=False))

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it.

        Raises
        ------
        FormatError
            The files are damaged, or changed since they were described.
        """
        shape, whole = self.frame_shape, full_region(self.frame_shape)
        region = region or whole
        expected = (len(self), *(s.stop - s.start for s in region))
        if out.shape != expected:
            raise ValueError(f"out has shape {out.shape}, but {expected} is needed")
        if not out.size:
            return
        if region == whole and out.flags.c_contiguous:
            self._fill(out.reshape(len(out), 1, -1), (1, math.prod(shape)), (0, 0))
        elif len(shape) == 2:
            self._fill(out, (shape[0], shape[1]), (region[0].start, region[1].start))
        else:
            frames = np.empty((len(self), *shape), out.dtype)
            self.load(frames)
            out[...] = frames[(slice(None), *region)]

    def _fill(self, out: npt.NDArray[Any], shape: tuple[int, int], corner: tuple[int, int]) -> None:
        from rsciio_tem.kernels.sparse import scatter

        for at, step, low, count in self._runs():
            if low < 0:
                out[at : at + count] = self.fill
                continue
            for first, last in self._blocks(low, count):
                bounds, pixels, values = self.source.entries(first, last)
                places = at + step * np.arange(first - low, last - low)
                values = values.astype(out.dtype, copy=False)
                bad = scatter(bounds, pixels, values, places, out, shape, corner)
                if bad is not None:
                    raise self._bad(first + bad[0], bad[1], out.dtype)

    def _too_large(self, frame: int, dtype: np.dtype[Any]) -> FormatError:
        return FormatError(
            self.source.path,
            f"frame {frame} lists a pixel several times, and the sum does not fit into {dtype}.",
            "Pass a wider dtype.",
        )

    # ------------------------------------------------------------------ sparse arrays

    def summed(self) -> Triplets:
        """Return the entries with each pixel once, in the order of the pixels."""
        bounds, pixels, values = entries = self.triplets()
        size, frames = math.prod(self.frame_shape), entries.frames
        keys = frames * size + pixels
        if (np.diff(keys) > 0).all():
            return entries
        order = np.argsort(keys, kind="stable")
        keys, first = np.unique(keys[order], return_index=True)
        kind = values.dtype.kind
        wide = {"i": np.dtype(np.int64), "u": np.dtype(np.uint64)}.get(kind, values.dtype)
        add = np.logical_or if kind == "b" else np.add
        sums = add.reduceat(values[order], first, dtype=wide)
        result = sums.astype(values.dtype)
        if kind in "iu" and (result != sums).any():
            where = int(keys[np.flatnonzero(result != sums)[0]]) // size
            raise self._too_large(where, values.dtype)
        bounds = np.searchsorted(keys, np.arange(len(bounds)) * size)
        return Triplets(bounds, keys % size, result)


def frames_of_matrix(matrix: Any, frame_shape: tuple[int, ...]) -> SparseFrames:
    """See the rows of a ``scipy.sparse.csr_array`` as frames."""
    bounds, pixels = matrix.indptr.astype(np.int64), places_of(matrix.indices)
    return SparseFrames(_Matrix(bounds, pixels, matrix.data), frame_shape)
