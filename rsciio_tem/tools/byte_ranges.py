# SPDX-License-Identifier: GPL-3.0-or-later
"""Arranged frames as the chunks of an array: each is one range of bytes of a file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Truncated, Unsupported
from rsciio_tem.frames.arrays import PixelMajor
from rsciio_tem.frames.corrections import Corrected
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.protocol import Frames, Order
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.frames.turned import Binned, Turned
from rsciio_tem.frames.wrapped import Wrapped
from rsciio_tem.parsing.hdf5_chunks import ChunkedFrames
from rsciio_tem.parsing.hdf5_filters import Filter, Ints
from rsciio_tem.parsing.hdf5_index import chunk_index
from rsciio_tem.reading.lazy import LazyFrames
from rsciio_tem.storage.backends import DataFile

__all__ = ["ByteRanges", "byte_ranges", "refuse"]

#: Frames that follow each other without a gap share a chunk up to so many bytes.
_SHARED = 1 << 20

#: Chunks at most.
_MOST_CHUNKS = 50_000_000


@dataclass(frozen=True, eq=False)
class ByteRanges:
    """Chunks of an array, each a range of bytes.

    Parameters
    ----------
    shape, chunks : tuple of int
        Of the array, and of a chunk.
    stored : numpy.dtype
        Type of a pixel once the filters are undone, byte order included.
    files : tuple of DataFile
        Where the bytes are.
    file, start, length : ndarray of int64
        Of each chunk in C order; `file` is -1 where there is none, which is a blank.
    fill : number
        Value of blanks.
    pixels : Pixels, optional
        How bytes become pixels, if they are not pixels as they are.
    filters : tuple of Filter
        What chunks of HDF5 files went through when they were written.
    wrappers : tuple of Wrapped
        What is done to frames after that, the innermost first.
    """

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    stored: np.dtype[Any]
    files: tuple[DataFile, ...]
    file: Ints
    start: Ints
    length: Ints
    fill: Any
    pixels: Pixels | None = None
    filters: tuple[Filter, ...] = ()
    wrappers: tuple[Wrapped, ...] = ()

    @property
    def has_blanks(self) -> bool:
        """Whether some chunks are nowhere."""
        return bool((self.file < 0).any())

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks along each axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunks, strict=True))


def byte_ranges(source: LazyFrames) -> ByteRanges:
    """Say where the bytes of arranged frames are.

    Raises
    ------
    Unsupported
        They are not ranges of bytes, such as frames put together from the parts of a detector.
    Truncated
        A file ends before its last frame.
    """
    frames, wrappers, path = source.frames, [], source.path
    if frames.dtype.names is not None:
        refuse(path, f"its pixels are colours, {frames.dtype}")
    if source.dtype != frames.dtype:
        refuse(path, f"pixels of {frames.dtype} are stored, and cannot be cast to {source.dtype}")
    while isinstance(frames, (Corrected, Turned, Binned)):
        wrappers.append(frames)
        frames = frames.frames
    nav_shape, whole = source.nav_shape, source.frames
    fill = np.asarray(source.fill).astype(source.dtype)[()]
    if isinstance(frames, FrameTable):
        result = _of_table(frames, nav_shape, whole, tuple(wrappers[::-1]), fill)
    elif isinstance(frames, PixelMajor) and not wrappers:
        result = _of_pixels(frames, nav_shape, fill, path)
    elif isinstance(frames, ChunkedFrames):
        result = _of_chunks(frames, nav_shape, whole, tuple(wrappers[::-1]), fill, path)
    else:
        refuse(path, "its frames are not ranges of bytes of a file")
    if len(result.file) > _MOST_CHUNKS:
        refuse(path, f"it would take {len(result.file)} entries, more than {_MOST_CHUNKS}")
    ends = result.start + result.length
    sizes = np.array([file.size for file in result.files], np.int64)
    stored = result.file >= 0
    if (beyond := ends[stored] > sizes[result.file[stored]]).any():
        name = result.files[int(result.file[stored][beyond][0])].path
        raise Truncated(name, "ends before its last frame.", "rsciio-tem check says what is lost.")
    return result


def refuse(path: str, why: str, hint: str = "") -> NoReturn:
    """Raise the error that says why, and what helps."""
    raise Unsupported(
        path,
        f"cannot be described to other programs by reference: {why}.",
        hint or "Write a copy for them with rsciio-tem convert.",
    )


def _of_table(
    table: FrameTable,
    nav_shape: tuple[int, ...],
    whole: Frames,
    wrappers: tuple[Wrapped, ...],
    fill: Any,
) -> ByteRanges:
    table.look()  # whoever reads the bytes does not look at what is ahead of them
    count, pixels = len(table), table.pixels
    file, start = np.full(count, -1, np.int64), np.zeros(count, np.int64)
    for span in table.spans():
        if span.file < 0:
            continue
        place = span.first + span.step * np.arange(span.count)
        file[place] = span.file
        start[place] = span.start + span.stride * np.arange(span.count)
    plain = pixels.plain and not pixels.flip_y and not wrappers
    shared = _shared(file, start, pixels.nbytes, nav_shape)
    return ByteRanges(
        shape=(*nav_shape, *whole.frame_shape),
        chunks=(*_line_part(nav_shape, shared), *whole.frame_shape),
        stored=pixels.stored if plain else whole.dtype.newbyteorder("<"),
        files=table.files,
        file=file[::shared],
        start=start[::shared],
        length=np.full(len(file[::shared]), shared * pixels.nbytes, np.int64),
        fill=fill,
        pixels=None if plain else pixels,
        wrappers=wrappers,
    )


def _line_part(nav_shape: tuple[int, ...], count: int) -> tuple[int, ...]:
    return (*(1,) * (len(nav_shape) - 1), count) if nav_shape else ()


def _shared(file: Ints, start: Ints, nbytes: int, nav_shape: tuple[int, ...]) -> int:
    """Return how many neighbours along a line share a chunk, because they lie without a gap."""
    columns = nav_shape[-1] if nav_shape else 1
    for count in range(min(columns, _SHARED // max(1, nbytes)), 1, -1):
        if columns % count:
            continue
        files, starts = file.reshape(-1, count), start.reshape(-1, count)
        blank = files < 0
        if (files == files[:, :1]).all() and (
            (np.diff(starts, axis=1) == nbytes) | blank[:, 1:]
        ).all():
            return count
    return 1


def _of_pixels(frames: PixelMajor, nav_shape: tuple[int, ...], fill: Any, path: str) -> ByteRanges:
    """Take each pixel with its values in all frames as a chunk."""
    if not _is_order_of_file(frames.order, frames.count):
        refuse(path, "it is stored pixel by pixel, in another order than that of the scan")
    pixels = math.prod(frames.frame_shape)
    nbytes = frames.count * frames.stored.itemsize
    return ByteRanges(
        shape=(*nav_shape, *frames.frame_shape),
        chunks=(*nav_shape, *(1,) * len(frames.frame_shape)),
        stored=frames.stored,
        files=(frames.file,),
        file=np.zeros(pixels, np.int64),
        start=frames.start + nbytes * np.arange(pixels),
        length=np.full(pixels, nbytes, np.int64),
        fill=fill,
    )


def _is_order_of_file(order: Order, count: int) -> bool:
    return order is None or np.array_equal(order, np.arange(count))


# ---------------------------------------------------------------- HDF5


def _of_chunks(
    frames: ChunkedFrames,
    nav_shape: tuple[int, ...],
    whole: Frames,
    wrappers: tuple[Wrapped, ...],
    fill: Any,
    path: str,
) -> ByteRanges:
    first = frames.datasets[0]
    sig = len(frames.frame_axes)
    nav = len(first.shape) - sig
    for dataset in frames.datasets:
        if dataset.chunks is None or not dataset.direct:
            refuse(path, f"{dataset.name} is not stored in chunks that can be decoded one by one")
        if dataset.chunks != first.chunks or dataset.filters != first.filters:
            refuse(path, "its data sets are stored in chunks of different kinds")
    assert first.chunks is not None
    if frames.frame_axes != tuple(range(nav, nav + sig)):
        refuse(path, f"the frames of {first.name} are not its last axes")
    box, tile = first.chunks[:nav], first.chunks[nav:]
    cut = tile != first.shape[nav:]
    decoded = bool(wrappers) or frames.flip_y
    if cut and (decoded or frames.shown is not None):
        refuse(path, "its chunks are parts of frames, which cannot be changed one by one")
    order = np.arange(len(frames)) if frames.order is None else frames.order
    per_frame = math.prod(first.grid[nav:])
    if math.prod(box) == 1:
        chunks = (1,) * len(nav_shape)
        numbers, owner = _frame_by_frame(frames, order, per_frame)
    else:
        if len(frames.datasets) > 1 or not _is_order_of_file(frames.order, frames.stored_count):
            refuse(path, "its chunks hold several frames, in another order than that of the scan")
        if nav_shape == first.shape[:nav]:
            chunks = box
        elif nav == 1 and nav_shape and nav_shape[-1] % box[0] == 0:
            chunks = _line_part(nav_shape, box[0])
        else:
            refuse(path, f"its chunks hold {box} frames, which are not parts of scan lines")
        numbers = np.arange(math.prod(first.grid))
        owner = np.zeros(len(numbers), np.int64)
    file, start, length = (np.full(len(numbers), -1, np.int64) for _ in range(3))
    unset = False
    for i, dataset in enumerate(frames.datasets):
        mine = np.flatnonzero((owner == i) & (numbers >= 0))
        starts, lengths, masks = chunk_index(dataset).find(numbers[mine])
        stored = starts >= 0
        unset |= not stored.all()
        unclear = stored & (lengths == dataset.chunk_bytes) & dataset.at_edge(numbers[mine])
        if dataset.filters and (masks[stored].any() or unclear.any()):
            refuse(path, f"some chunks of {dataset.name} were stored without its filters")
        file[mine] = np.where(stored, i, -1)
        start[mine], length[mine] = starts, lengths
    if unset:
        value = np.frombuffer(first.unset, first.stored)[0]
        if decoded or ((numbers < 0).any() and value != fill):
            refuse(path, f"parts of {first.name} were never written, which is not a blank frame")
        fill = value.astype(whole.dtype)
    return ByteRanges(
        shape=(*nav_shape, *whole.frame_shape),
        chunks=(*chunks, *(tile if cut else whole.frame_shape)),
        stored=whole.dtype.newbyteorder("<") if decoded else first.stored,
        files=tuple(dataset.file for dataset in frames.datasets),
        file=file,
        start=start,
        length=length,
        fill=fill,
        pixels=Pixels(frames.frame_shape, first.stored, flip_y=frames.flip_y) if decoded else None,
        filters=first.filters,
        wrappers=wrappers,
    )


def _frame_by_frame(frames: ChunkedFrames, order: Ints, per_frame: int) -> tuple[Ints, Ints]:
    """Return the numbers of the chunks in their data sets, -1 for blanks, and which data sets."""
    owner = np.searchsorted(frames.ends, np.maximum(order, 0), "right")
    local = order - np.array(frames.begins)[owner]
    numbers = local[:, np.newaxis] * per_frame + np.arange(per_frame)
    numbers[order < 0] = -1
    every: npt.NDArray[np.int64] = np.repeat(owner, per_frame)
    return numbers.reshape(-1), every
