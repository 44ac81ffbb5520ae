# SPDX-License-Identifier: GPL-3.0-or-later
"""TIFF stacks that frames are streamed into: hyperstacks of ImageJ, or plain ones."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import warn
from rsciio_tem.formats.tiff import description
from rsciio_tem.storage.files import write_whole
from rsciio_tem.writing.signal_frames import SignalFrames, converted, even_axes, nearest, remedy_for
from rsciio_tem.writing.stream import write_signal
from rsciio_tem.writing.target import FlatFile, Payloads

__all__ = ["file_writer", "target"]

#: Types of pixels that ImageJ has in its stacks.
IMAGEJ = ("uint8", "uint16", "int16", "float32")

#: Types that TIFF files hold.
HELD = (
    *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64"),
)

#: What offsets of four bytes reach.
CLASSIC = 1 << 32

_SHORT, _LONG, _RATIONAL, _ASCII, _DOUBLE, _LONG8 = 3, 4, 5, 2, 12, 16
_FORMATS = {"u": 1, "i": 2, "f": 3}

#: Least and greatest value of a block, as far as they are finite.
_RANGE = struct.Struct("<dd")

#: Headers of images that are written at once.
_AT_ONCE = 1 << 12


@dataclass(frozen=True)
class _Tag:
    """A tag of an image's header; `value` is a number, or the bytes of what does not fit."""

    number: int
    kind: int
    value: int | bytes
    count: int = 1


class _Layout:
    """Where headers and images of a stack are: header of the first, images, headers of the others.

    Parameters
    ----------
    count : int
        Number of images.
    shape : (int, int)
        Rows and columns.
    dtype : numpy.dtype
        As stored.
    first, every : list of _Tag
        Tags of the first image only, and of every one.
    big : bool
        Whether it is a BigTIFF file.
    """

    def __init__(
        self,
        count: int,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        first: list[_Tag],
        every: list[_Tag],
        big: bool,
    ) -> None:
        self.count, self.big = count, big
        self.image = math.prod(shape) * dtype.itemsize
        self.offset_type = np.dtype("<u8" if big else "<u4")
        self.counter = np.dtype("<u8" if big else "<u2")
        self.entry = np.dtype(
            [
                ("tag", "<u2"),
                ("type", "<u2"),
                ("count", self.offset_type),
                ("value", self.offset_type),
            ]
        )
        rows, columns = shape
        wide = _LONG8 if big else _LONG
        common = [
            _Tag(254, _LONG, 0),
            _Tag(256, _LONG, columns),
            _Tag(257, _LONG, rows),
            _Tag(258, _SHORT, 8 * dtype.itemsize),
            _Tag(259, _SHORT, 1),  # no compression
            _Tag(262, _SHORT, 1),  # 0 is black
            _Tag(273, wide, 0),  # set for each image
            _Tag(277, _SHORT, 1),
            _Tag(278, _LONG, rows),
            _Tag(279, wide, self.image),
            _Tag(339, _SHORT, _FORMATS[dtype.kind]),
            *every,
        ]
        start = 16 if big else 8
        tags = sorted([*common, *first], key=lambda tag: tag.number)
        pool = bytearray()
        self.places: dict[int, int] = {}  # of what does not fit into the header of an image
        behind = start + self._size(len(tags))
        for tag in tags:
            if isinstance(tag.value, bytes):
                pool += b"\0" * (-(behind + len(pool)) % 8)
                self.places[tag.number] = behind + len(pool)
                pool += tag.value
        self.tags, self.pool = tags, bytes(pool)
        self.data = -(-(behind + len(pool)) // 64) * 64  #: byte where the first image begins
        self.others = sorted(common, key=lambda tag: tag.number)
        self.stride = self._size(len(self.others))
        end = self.data + count * self.image
        self.headers = end + end % 2  #: byte where the headers of the other images begin
        self.nbytes = self.headers + (count - 1) * self.stride

    @cached_property
    def head(self) -> bytes:
        """What precedes the first image."""
        big, many = self.big, self.count > 1
        magic = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) if big else b"II*\0\x08\0\0\0"
        follower = np.array([self.headers if many else 0], self.offset_type).tobytes()
        entries = self._entries(self.tags)
        entries["value"][entries["tag"] == 273] = self.data
        counted = np.array([len(self.tags)], self.counter).tobytes()
        content = magic + counted + entries.tobytes() + follower + self.pool
        return content.ljust(self.data, b"\0")

    def _size(self, tags: int) -> int:
        return int(self.counter.itemsize + tags * self.entry.itemsize + self.offset_type.itemsize)

    def _entries(self, tags: list[_Tag]) -> npt.NDArray[np.void]:
        entries = np.zeros(len(tags), self.entry)
        for entry, tag in zip(entries, tags, strict=True):
            entry["tag"], entry["type"] = tag.number, tag.kind
            if isinstance(tag.value, bytes):
                entry["count"] = tag.count
                entry["value"] = self.places[tag.number]
            else:
                entry["count"], entry["value"] = 1, tag.value
        return entries

    def pieces(self) -> Iterator[tuple[int, npt.NDArray[np.void]]]:
        """Yield places and headers of the second image and those behind it."""
        tags = self._entries(self.others)
        page = np.dtype(
            [
                ("counter", self.counter),
                ("entries", self.entry, (len(tags),)),
                ("next", self.offset_type),
            ]
        )
        assert page.itemsize == self.stride
        where = int(np.flatnonzero(tags["tag"] == 273)[0])
        for begin in range(1, self.count, _AT_ONCE):
            numbers = np.arange(begin, min(begin + _AT_ONCE, self.count), dtype=np.int64)
            pages = np.zeros(len(numbers), page)
            pages["counter"], pages["entries"] = len(tags), tags
            pages["entries"]["value"][:, where] = self.data + numbers * self.image
            last = numbers == self.count - 1
            pages["next"] = np.where(last, 0, self.headers + numbers * self.stride)
            yield self.headers + (begin - 1) * self.stride, pages


class _Stack(FlatFile):
    """Images behind the header of the first of them.

    Parameters
    ----------
    name : str
        Of the file.
    layout : _Layout
        Where everything is.
    stored : numpy.dtype
        Type of a stored frame.
    text : int
        Byte where the range of the values goes; 0 for none.
    """

    def __init__(self, name: str, layout: _Layout, stored: np.dtype[Any], text: int) -> None:
        super().__init__(name, layout.head, stored, layout.count)
        self.layout, self.text = layout, text
        self.nbytes = layout.nbytes

    def create(self, folder: str) -> None:
        super().create(folder)
        with open(os.path.join(folder, self.name), "rb+", buffering=0) as file:
            for place, pages in self.layout.pieces():
                write_whole(file, place, pages.view(np.uint8).data)

    def put(self, folder: str, first: int, frames: npt.NDArray[Any]) -> bytes | None:
        super().put(folder, first, frames)
        if not self.text:
            return None
        finite = frames if frames.dtype.kind != "f" else frames[np.isfinite(frames)]
        return _RANGE.pack(finite.min(), finite.max()) if finite.size else None

    def finish(self, folder: str, payloads: Payloads) -> None:
        ranges = [_RANGE.unpack(content) for _, _, content in payloads if content]
        if not ranges:
            return
        low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
        line = f"min={low!r}\nmax={high!r}\n".encode()
        if len(line) <= description.ROOM:
            with open(os.path.join(folder, self.name), "rb+", buffering=0) as file:
                write_whole(file, self.text, memoryview(line))

    def expected(self, frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return frames.astype(self.stored.base.newbyteorder("="), copy=False)


def _ratio(value: float) -> bytes | None:
    """Return a positive number as two of four bytes, None if it is too large or small."""
    most = CLASSIC - 1
    if not (math.isfinite(value) and 1 / most <= value <= most):
        return None
    fraction = Fraction(value).limit_denominator(min(most, int(most / value)))
    return struct.pack("<II", fraction.numerator, fraction.denominator)


def _resolution(axes: tuple[Mapping[str, Any], ...], hyperstack: bool, path: str) -> list[_Tag]:
    """Return how many pixels there are per unit: that of the axis, or in plain files the cm."""
    values, unit = [], 1
    steps = [float(axis.get("scale", 1.0)) for axis in axes]
    if not hyperstack:
        lengths = [converted(s, a.get("units"), "cm") for s, a in zip(steps, axes, strict=True)]
        metric = [length for length in lengths if length is not None]
        if len(metric) == len(steps):
            steps, unit = metric, 3
    for step, axis in zip(steps, axes, strict=True):
        ratio = _ratio(1 / step) if step > 0 else None
        if ratio is None:
            warn(
                path,
                f"other programs will not see the step {axis.get('scale')} "
                f"{axis.get('units') or ''} of axis {axis.get('name')!r}, which has no place in "
                "the tags of a TIFF file.",
            )
            ratio = struct.pack("<II", 1, 1)
        values.append(ratio)
    y, x = values
    return [_Tag(282, _RATIONAL, x), _Tag(283, _RATIONAL, y), _Tag(296, _SHORT, unit)]


def _text(number: int, text: bytes) -> _Tag:
    content = text + b"\0"
    # what is shorter than an offset would have to be in its place
    content = content.ljust(9, b"\0")
    return _Tag(number, _ASCII, content, len(content))


def _gatan(axes: tuple[Mapping[str, Any], ...]) -> list[_Tag]:
    """Return the tags of DigitalMicrograph for x, y and the axis before them.

    RosettaSciIO reads units from nothing else.
    """
    tags = []
    for i, axis in enumerate(axes[::-1][:3]):
        units = axis.get("units")
        name = units.encode("latin-1", "replace") if isinstance(units, str) else b""
        scale, offset = float(axis.get("scale", 1.0)), float(axis.get("offset", 0.0))
        number = (65003, 65004, 65005)[i]
        tags.append(_text(number, name))
        # the origin counts pixels in DigitalMicrograph, but RosettaSciIO takes it for an offset
        for to, value in ((number + 3, offset), (number + 6, scale)):
            tags.append(_Tag(to, _DOUBLE, struct.pack("<d", value)))
    return tags


def _why_plain(frames: SignalFrames, dtype: np.dtype[Any]) -> tuple[str, str]:
    """Say why frames make no hyperstack of ImageJ, and what would; "" if they do."""
    if dtype.name not in IMAGEJ:
        types = ", ".join(IMAGEJ)
        narrower = nearest(dtype, IMAGEJ)
        return (
            f"ImageJ has no stacks of {dtype} pixels, only of {types}",
            f"pass dtype='{narrower}'",
        )
    if len(frames.nav_shape) > 3:
        scan = len(frames.nav_shape)
        return f"a hyperstack of ImageJ has up to three scan axes, not {scan}", "write a part of it"
    return "", ""


def target(frames: SignalFrames, path: str, *, imagej: bool | None = None) -> FlatFile:
    """Return what `rsciio_tem.convert` streams frames into; parameters as in `file_writer`."""
    if imagej not in (None, True, False):
        raise ValueError(f"imagej={imagej!r} is none of None, True, False")
    dtype = np.dtype("u1") if frames.dtype == bool else frames.dtype.newbyteorder("<")
    if dtype.name not in HELD:
        raise ValueError(f"TIFF files hold no {frames.dtype} pixels, {remedy_for(frames, HELD)}")
    axes = even_axes((*frames.nav_axes, *frames.sig_axes), path, "a TIFF file")
    why, remedy = _why_plain(frames, dtype)
    hyperstack = not why and imagej is not False
    layout = _layout(frames, dtype, axes, hyperstack, False, path)
    if layout.nbytes >= CLASSIC:
        if hyperstack:
            size = f"{layout.nbytes / 1e9:.1f} GB"
            why = f"a hyperstack of ImageJ ends at 4 GiB, and this one has {size}"
            remedy = "pass bin=, inav= or isig= to make it smaller"
        hyperstack = False
        layout = _layout(frames, dtype, axes, False, True, path)
    if why and imagej:
        raise ValueError(f"{why}; {remedy}, or leave out imagej=True for a plain stack")
    if why and imagej is None:
        big = "BigTIFF" if layout.big else "TIFF"
        warn(
            path,
            f"{why}: written as a plain {big} stack, of which ImageJ sees no scan axes. For a "
            f"hyperstack {remedy}.",
        )
    stored = np.dtype((dtype, frames.frame_shape))
    text = 0
    if hyperstack:
        length = len(description.imagej(frames.nav_shape, axes))
        text = layout.places[270] + length - description.ROOM
    return _Stack(os.path.basename(path), layout, stored, text)


def _layout(
    frames: SignalFrames,
    dtype: np.dtype[Any],
    axes: tuple[Mapping[str, Any], ...],
    hyperstack: bool,
    big: bool,
    path: str,
) -> _Layout:
    if hyperstack:
        text = description.imagej(frames.nav_shape, axes)
    else:
        text = description.plain(frames.nav_shape, frames.frame_shape, axes)
    first = [_text(270, text), _text(305, b"rsciio-tem"), *_gatan(axes)]
    every = _resolution(axes[-2:], hyperstack, path)
    return _Layout(len(frames), frames.frame_shape, dtype, first, every, big)


def file_writer(
    filename: str | os.PathLike[str],
    signal: Mapping[str, Any],
    imagej: bool | None = None,
    show_progressbar: bool = True,
    *,
    overwrite: bool = False,
) -> None:
    """Write a signal as a TIFF stack.

    Lazy data are written piece by piece. The file appears under its name when it is complete.

    Parameters
    ----------
    filename : str or path
        The file.
    signal : dict
        As RosettaSciIO's writers receive it: images of whole or floating-point numbers.
    imagej : {None, True, False}
        Write a hyperstack of ImageJ: where that is possible, in any case, or not. It has pixels of
        uint8, uint16, int16 or float32, up to three scan axes, and less than 4 GiB. Everything else
        is a plain stack, as BigTIFF if it is larger.
    show_progressbar : bool
        Show progress, on terminals and in notebooks.
    overwrite : bool
        Replace a file of this name. The recording that the signal was read from is never replaced.

    Raises
    ------
    ValueError
        The signal cannot be stored in this format.
    FileExistsError
        The file exists.
    """
    write_signal(target, filename, signal, "TIFF", overwrite, show_progressbar, imagej=imagej)
