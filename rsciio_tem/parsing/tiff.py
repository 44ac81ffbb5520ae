# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the pixels of TIFF files are, from a few hundred bytes of each.

Source: TIFF revision 6.0 and its extension BigTIFF. Grey images without compression whose strips
follow each other are plain frames at a known byte; everything else has to be decoded
(`rsciio_tem.parsing.tiff_frames`). A series of files mostly has the same header in each: for a file
that has the header of the one before, comparing it is all that is done.
"""

from __future__ import annotations

import math
import os
import re
import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rsciio_tem.errors import FormatError, NotThisFormat, Truncated, Unsupported
from rsciio_tem.storage.backends import DataFile, open_file

__all__ = ["MAGICS", "Layout", "describe"]

#: First four bytes: byte order and version; 43 is BigTIFF.
MAGICS = {b"II*\0": ("<", False), b"MM\0*": (">", False)}
MAGICS |= {b"II+\0": ("<", True), b"MM\0+": (">", True)}

#: Tags that are looked at.
SUBFILE, WIDTH, LENGTH, BITS, COMPRESSION = 254, 256, 257, 258, 259
FILL_ORDER, DESCRIPTION, STRIPS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES = 266, 270, 273, 277, 278, 279
PREDICTOR, TILE_WIDTH, TILE_LENGTH, TILES, TILE_BYTES, SAMPLE_FORMAT = 317, 322, 323, 324, 325, 339
_LOOKED_AT = {
    *(SUBFILE, WIDTH, LENGTH, BITS, COMPRESSION, FILL_ORDER, DESCRIPTION, STRIPS, SAMPLES),
    *(ROWS_PER_STRIP, STRIP_BYTES, PREDICTOR, TILE_WIDTH, TILE_LENGTH, TILES, TILE_BYTES),
    SAMPLE_FORMAT,
}

#: Whole numbers among the types of a value: struct code.
_TYPES = {1: "B", 2: "c", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

#: Sample format and bits of a pixel.
_PIXELS = {
    **{(1, 8 * n): f"u{n}" for n in (1, 2, 4, 8)},
    **{(2, 8 * n): f"i{n}" for n in (1, 2, 4, 8)},
    **{(3, 8 * n): f"f{n}" for n in (2, 4, 8)},
}

#: No method of compression makes a file so much smaller.
_HIGHEST_RATIO = 1500
_LONGEST_VALUE = 1 << 20


@dataclass(frozen=True, eq=False)
class Layout:
    """What is known about the images of a file.

    Parameters
    ----------
    size : int
        Bytes of the file.
    evidence : tuple of (int, bytes)
        Offsets and bytes that tell all of the following.
    shape : (int, int)
        Rows and columns of an image.
    dtype : numpy.dtype
        Type of a pixel as stored.
    pages : tuple of int
        Numbers of the images of this shape and type, among all of the file.
    starts : tuple of int
        Where their pixels begin; empty if they have to be decoded.
    stride : int
        Bytes from one image to the next where one header describes many of them; otherwise 0.
    others : int
        Number of images of another shape or type.
    description : str
        Text of the first image.
    """

    size: int
    evidence: tuple[tuple[int, bytes], ...]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    pages: tuple[int, ...]
    starts: tuple[int, ...]
    stride: int = 0
    others: int = 0
    description: str = ""


@dataclass(frozen=True)
class _Page:
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    start: int  # -1 if the pixels have to be decoded
    reduced: bool

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels."""
        return math.prod(self.shape) * self.dtype.itemsize


class _File:
    """An open file that remembers which bytes were asked for."""

    def __init__(self, path: str, size: int, fd: int) -> None:
        self.path, self.size, self.fd = path, size, fd
        self.read_so_far: list[tuple[int, bytes]] = []

    def read(self, offset: int, nbytes: int) -> bytes:
        if offset + nbytes > self.size:
            raise Truncated(
                self.path,
                f"ends at byte {self.size}, its TIFF header goes on to byte {offset + nbytes}.",
            )
        content = _pread(self.fd, offset, nbytes)
        self.read_so_far.append((offset, content))
        return content


def _pread(fd: int, offset: int, nbytes: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, nbytes, offset)
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, nbytes)


def describe(file: DataFile, like: Layout | None = None, *, stacked: str = "") -> Layout:
    """Describe a TIFF file.

    Parameters
    ----------
    file : DataFile
        The file.
    like : Layout, optional
        Of another file, which this one is compared with first.
    stacked : str, optional
        A text in the description of the first image that says that all images follow it without
        gaps; then of the headers of the others, which may be many, only the second and the last
        are read, to see whether it is true.

    Raises
    ------
    NotThisFormat
        It is not a TIFF file.
    Truncated
        It ends before its headers or images do.
    Unsupported
        Its images are not grey images.
    FormatError
        Its headers make no sense.
    """
    try:
        fd = open_file(file.path)
    except OSError as error:
        raise FormatError(file.path, f"cannot be opened: {error.strerror}.") from error
    try:
        if (
            like is not None
            and like.size == file.size
            and all(_pread(fd, at, len(content)) == content for at, content in like.evidence)
        ):
            return like
        return _described(_File(file.path, file.size, fd), stacked)
    finally:
        os.close(fd)


def _described(file: _File, stacked: str) -> Layout:
    head = file.read(0, min(8, file.size))
    if head[:4] not in MAGICS or len(head) < 8:
        raise NotThisFormat(file.path, f"is not a TIFF file: it begins with {head!r}.")
    order, big = MAGICS[head[:4]]
    if big:
        at = struct.unpack(f"{order}Q", file.read(8, 8))[0]
    else:
        at = struct.unpack(f"{order}I", head[4:])[0]
    pages: list[_Page] = []
    description, seen = "", set()
    while at:
        if at in seen:
            raise FormatError(file.path, f"has TIFF headers that go round in a circle at {at}.")
        seen.add(at)
        here = at
        tags, at = _directory(file, at, order, big, first=not pages)
        if not pages:
            description = tags.pop(DESCRIPTION, "")
        pages.append(_page(file, tags, order))
        if len(pages) == 2 and stacked and stacked in description:
            count = _count_of(description, pages[0], file.size)
            if count > 2 and _follow(file, pages, here, at, count, order, big):
                return replace(_layout(file, pages[:1], description), **_repeated(pages[0], count))
    if not pages:
        raise Truncated(file.path, "is a TIFF file without images.")
    layout = _layout(file, pages, description)
    # an ImageJ stack beyond 4 GiB has a header for the first image only
    if len(layout.starts) == 1 and description.startswith("ImageJ="):
        first = pages[layout.pages[0]]
        if count := _count_of(description, first, file.size):
            return replace(layout, **_repeated(first, count))
    return layout


def _layout(file: _File, pages: list[_Page], description: str) -> Layout:
    """Describe the images of the shape and type of the first one."""
    full = [i for i, page in enumerate(pages) if not page.reduced] or [0]
    main = pages[full[0]]
    same = [i for i in full if (pages[i].shape, pages[i].dtype) == (main.shape, main.dtype)]
    starts = [pages[i].start for i in same]
    return Layout(
        size=file.size,
        evidence=tuple(file.read_so_far),
        shape=main.shape,
        dtype=main.dtype,
        pages=tuple(same),
        starts=() if min(starts) < 0 else tuple(starts),
        others=len(full) - len(same),
        description=description,
    )


def _repeated(first: _Page, count: int) -> dict[str, Any]:
    """Return what a layout has of images that follow the first one without gaps."""
    return {"pages": (0,) * count, "stride": first.nbytes}


def _follow(
    file: _File, pages: list[_Page], second: int, third: int, count: int, order: str, big: bool
) -> bool:
    """Whether so many images, and their headers, lie as the first two of them and the last do."""
    first, step = pages[0], pages[0].nbytes
    if (pages[1].start, pages[1].shape, pages[1].dtype) != (
        first.start + step,
        first.shape,
        first.dtype,
    ):
        return False
    if min(second, third) < first.start + count * step:
        return False  # there are headers among the images
    try:
        tags, end = _directory(file, second + (count - 2) * (third - second), order, big, False)
        last = _page(file, tags, order)
    except FormatError:
        return False
    return not end and last.start == first.start + (count - 1) * step


def _count_of(description: str, first: _Page, size: int) -> int:
    """Return how many images follow each other, as a description says; 0 if it does not."""
    if description.startswith("ImageJ="):
        match = re.search(r"^images=(\d{1,12})", description, re.MULTILINE)
    else:
        match = re.search(r'"images": (\d{1,12})', description)
    count = int(match[1]) if match else 0
    fits = first.start >= 0 and first.start + count * first.nbytes <= size
    return count if count > 1 and fits else 0


def _directory(
    file: _File, at: int, order: str, big: bool, first: bool
) -> tuple[dict[int, Any], int]:
    """Read one image's header; -> values of its tags, and where the next header is."""
    counter, entry, width = ("Q", 20, 8) if big else ("H", 12, 4)
    size = struct.calcsize(counter)
    count = struct.unpack(f"{order}{counter}", file.read(at, size))[0]
    if count > 4096:
        raise FormatError(file.path, f"has a damaged TIFF header of {count} entries at byte {at}.")
    content = file.read(at + size, count * entry + width)
    pointer = "Q" if big else "I"
    tags: dict[int, Any] = {}
    for i in range(count):
        tag, kind, length = struct.unpack_from(f"{order}HH{pointer}", content, i * entry)
        if tag not in _LOOKED_AT or (tag == DESCRIPTION and (kind != 2 or not first)):
            continue
        if kind not in _TYPES or (kind == 2 and tag != DESCRIPTION) or not length:
            raise FormatError(
                file.path,
                f"has a damaged TIFF header: tag {tag} has {length} values of type {kind}.",
            )
        nbytes = length * struct.calcsize(_TYPES[kind])
        if nbytes > _LONGEST_VALUE:
            if tag == DESCRIPTION:
                continue
            raise FormatError(file.path, f"has a damaged TIFF header: tag {tag} takes {nbytes} B.")
        where = i * entry + entry - width
        if nbytes <= width:
            raw = content[where : where + nbytes]
        else:
            raw = file.read(struct.unpack_from(f"{order}{pointer}", content, where)[0], nbytes)
        if tag == DESCRIPTION:
            tags[tag] = raw.split(b"\0")[0].decode("utf-8", "replace")
        else:
            tags[tag] = struct.unpack(f"{order}{length}{_TYPES[kind]}", raw)
    next_at: int = struct.unpack_from(f"{order}{pointer}", content, count * entry)[0]
    return tags, next_at


def _page(file: _File, tags: dict[int, Any], order: str) -> _Page:
    """Make sense of one image's header."""
    rows, columns = (int(tags.get(tag, (0,))[0]) for tag in (LENGTH, WIDTH))
    if not rows or not columns:
        raise FormatError(file.path, f"has a damaged TIFF header: {rows} x {columns} pixels.")
    samples, bits = int(tags.get(SAMPLES, (1,))[0]), int(tags.get(BITS, (1,))[0])
    if samples != 1:
        raise Unsupported(
            file.path, f"holds images of {samples} colours, not grey ones.", "Convert them first."
        )
    kind = int(tags.get(SAMPLE_FORMAT, (1,))[0])
    kind = 1 if kind == 4 else kind  # undefined: taken as whole numbers
    padded = {1: 8, 2: 8, 4: 8, 12: 16}.get(bits, bits)  # what decoders make of odd depths
    if (kind, padded) not in _PIXELS:
        raise Unsupported(
            file.path, f"holds pixels of {bits} bits in the sample format {kind}, which is unknown."
        )
    dtype = np.dtype(order + _PIXELS[kind, padded])
    nbytes = rows * columns * dtype.itemsize
    if nbytes > _HIGHEST_RATIO * file.size:
        raise FormatError(
            file.path, f"has a damaged TIFF header: {rows} x {columns} pixels in {file.size} bytes."
        )
    plain = (
        tags.get(COMPRESSION, (1,))[0] == 1
        and TILE_WIDTH not in tags
        and bits == padded
        and tags.get(FILL_ORDER, (1,))[0] == 1
        and tags.get(PREDICTOR, (1,))[0] == 1
    )
    start = _start(file, tags, (rows, columns), dtype.itemsize, plain)
    return _Page((rows, columns), dtype, start, bool(tags.get(SUBFILE, (0,))[0] & 1))


def _start(
    file: _File, tags: dict[int, Any], shape: tuple[int, int], itemsize: int, plain: bool
) -> int:
    """Return where an image begins, -1 if it is in parts; check where these are.

    Decoders do not do that: they return zeros for what is not there.
    """
    rows, columns = shape
    tiled = TILE_WIDTH in tags
    if tiled:
        height, width = (int(tags.get(tag, (0,))[0]) for tag in (TILE_LENGTH, TILE_WIDTH))
    else:
        height, width = min(int(tags.get(ROWS_PER_STRIP, (rows,))[0]) or rows, rows), columns
    if min(height, width) < 1 or height * width * itemsize > _HIGHEST_RATIO * file.size:
        raise FormatError(file.path, f"has a damaged TIFF header: tiles of {height} x {width}.")
    needed = -(-rows // height) * -(-columns // width)
    # wide enough for any lie
    offsets = np.array(tags.get(TILES if tiled else STRIPS, ()), np.float64)
    nbytes = np.array(tags.get(TILE_BYTES if tiled else STRIP_BYTES, ()), np.float64)
    what = f"{'tiles' if tiled else 'strips'} of {height} x {width} pixels"
    if len(offsets) < needed:
        raise FormatError(
            file.path,
            f"has a damaged TIFF header: places of {len(offsets)} {what} for {rows} x {columns} "
            "pixels.",
        )
    step = height * columns * itemsize
    if plain and (offsets == offsets[0] + np.arange(len(offsets)) * float(step)).all():
        start = int(offsets[0])
        if start + rows * columns * itemsize > file.size:
            raise Truncated(
                file.path,
                f"ends at byte {file.size}, its image goes on to byte "
                f"{start + rows * columns * itemsize}.",
            )
        return start
    if len(nbytes) < needed:
        raise FormatError(
            file.path, f"has a damaged TIFF header: lengths of {len(nbytes)} {what} of {needed}."
        )
    ends = offsets[:needed] + nbytes[:needed]
    if ends.max() > file.size:
        raise Truncated(
            file.path, f"ends at byte {file.size}, its image goes on to byte {int(ends.max())}."
        )
    if plain:
        least = np.minimum(height, rows - np.arange(needed) * height) * columns * itemsize
        order = np.argsort(offsets[:needed])
        if (nbytes[:needed] < least).any() or (
            offsets[:needed][order][1:] < ends[order][:-1]
        ).any():
            raise FormatError(file.path, "has a damaged TIFF header: its strips overlap.")
    return -1
