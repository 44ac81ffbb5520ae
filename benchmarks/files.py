# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured on: generated recordings, and what is truly in them.

Nothing here uses a reader: the files are written, and read back for reference, with numpy alone.
A new format is one row of `FORMATS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Stored = NDArray[np.uint8]  #: pixel bytes as they lie in the file, one row per frame

MB = 1_000_000
#: Frames generated or decoded at a time take about this many bytes.
BLOCK = 16 * MB


@dataclass(frozen=True)
class Format:
    """A kind of recording: how to write it, how to read it for reference, who can read it.

    Parameters
    ----------
    title : str
        One line for the report.
    frame_shape, dtype
        Rows and columns of a decoded frame and its native pixel type.
    header_bytes, stored_bytes : int
        Bytes before and of the pixels of one frame in the file.
    pixels : callable
        ``pixels(rng, count)`` makes the stored bytes of that many frames, one row per frame.
    decode : callable
        ``decode(stored)`` turns these into frames; slow and obvious, for reference.
    readers : mapping
        Contestant family -> (its name for the format, keywords). Families not named cannot read
        the format.
    headers : callable, optional
        ``headers(first, count)`` makes the frame headers, one row per frame.
    suffix : str
        Of the file.
    flips : bool
        HyperSpy's readers give this format upside down with respect to the file.
    plain : str, optional
        numpy type of a stored pixel, where a frame is nothing but pixels one after the other.
    multiple_of : int
        The number of frames is rounded to a multiple of this (LiberTEM's 1-bit decoder fails
        otherwise).
    """

    title: str
    frame_shape: tuple[int, int]
    dtype: np.dtype[Any]
    header_bytes: int
    stored_bytes: int
    pixels: Callable[[np.random.Generator, int], Stored]
    decode: Callable[[Stored], Array]
    readers: Mapping[str, tuple[str, Mapping[str, Any]]]
    headers: Callable[[int, int], Stored] | None = None
    suffix: str = ".mib"
    flips: bool = True
    plain: str | None = None
    multiple_of: int = 1

    @property
    def stride(self) -> int:
        """Bytes from one frame to the next."""
        return self.header_bytes + self.stored_bytes

    def nav_shape(self, megabytes: float) -> tuple[int, int]:
        """Scan shape (rows, columns) of a file of about this size."""
        frames = max(1, int(megabytes * MB / self.stride))
        if self.multiple_of > 1:
            frames = max(1, round(frames / self.multiple_of)) * self.multiple_of
        columns = math.gcd(self.multiple_of, 64)
        if columns == 1:
            columns = next(n for n in (64, 32, 16, 8, 4, 2, 1) if n * n <= frames)
        return frames // columns, columns


@dataclass(frozen=True)
class DataFile:
    """One generated recording."""

    name: str
    path: Path
    nav_shape: tuple[int, int]

    @property
    def format(self) -> Format:
        """Its kind."""
        return FORMATS[self.name]

    @property
    def frames(self) -> int:
        """Number of frames."""
        return math.prod(self.nav_shape)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self.frames * self.format.stride

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole decoded array."""
        return (*self.nav_shape, *self.format.frame_shape)

    @property
    def decoded_size(self) -> int:
        """Bytes of the whole decoded array."""
        return math.prod(self.shape) * self.format.dtype.itemsize


@dataclass
class Reference:
    """What every contestant must find in a file, in stored orientation."""

    file: DataFile
    scan_sum: Array = field(init=False)
    detector_sum: Array = field(init=False)

    def __post_init__(self) -> None:
        # Seen once here, so that the timings afterwards find the file in the page cache.
        self.scan_sum = np.zeros(self.file.format.frame_shape, np.int64)
        self.detector_sum = np.zeros(self.file.frames, np.int64)
        for start, frames in self.blocks():
            self.scan_sum += frames.sum(axis=0, dtype=np.int64)
            self.detector_sum[start : start + len(frames)] = frames.sum(axis=(1, 2), dtype=np.int64)
        self.detector_sum = self.detector_sum.reshape(self.file.nav_shape)

    def blocks(self) -> Iterator[tuple[int, Array]]:
        """Go through the file: number of the first frame, decoded frames."""
        step = max(1, BLOCK // self.file.format.stride)
        for start in range(0, self.file.frames, step):
            yield start, self.read(start, min(step, self.file.frames - start))

    def read(self, start: int, count: int) -> Array:
        """Decode some frames."""
        form = self.file.format
        raw = np.fromfile(
            self.file.path, np.uint8, count * form.stride, offset=start * form.stride
        ).reshape(count, form.stride)
        return form.decode(np.ascontiguousarray(raw[:, form.header_bytes :]))


def write(name: str, folder: Path, megabytes: float) -> DataFile:
    """Generate a file of about the given size; one that is already there is used again."""
    form = FORMATS[name]
    nav_shape = form.nav_shape(megabytes)
    # Not `name.mib`, `name2.mib`...: some readers take such names for one numbered series.
    path = folder / f"{name}_{nav_shape[0]}x{nav_shape[1]}f{form.suffix}"
    file = DataFile(name, path, nav_shape)
    if path.exists() and path.stat().st_size == file.size:
        return file
    rng = np.random.default_rng(len(name) * 1000 + form.stride)
    step = max(1, BLOCK // form.stride)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as out:
        for start in range(0, file.frames, step):
            out.write(_frames(form, rng, start, min(step, file.frames - start)).data)
    partial.rename(path)
    return file


def write_sparse(name: str, folder: Path, nav_shape: tuple[int, int]) -> DataFile:
    """Make a file with holes: only its first and last frame are there, the rest takes no disk."""
    if not _holes_possible(folder):
        raise OSError("the file system stores the holes")
    form = FORMATS[name]
    path = folder / f"{name}_holes_{nav_shape[0]}x{nav_shape[1]}f{form.suffix}"
    file = DataFile(name, path, nav_shape)
    rng = np.random.default_rng(1)
    with path.open("wb") as out:
        for index in (0, file.frames - 1):
            out.seek(index * form.stride)
            out.write(_frames(form, rng, index, 1).data)
    return file


def _holes_possible(folder: Path) -> bool:
    probe = folder / "holes.probe"
    with probe.open("wb") as out:
        out.seek(16 * MB)
        out.write(b"\0")
    blocks = getattr(probe.stat(), "st_blocks", None)
    probe.unlink()
    return blocks is not None and blocks * 512 < MB


def _frames(form: Format, rng: np.random.Generator, start: int, count: int) -> Stored:
    frames = np.empty((count, form.stride), np.uint8)
    if form.headers is not None:
        frames[:, : form.header_bytes] = form.headers(start, count)
    frames[:, form.header_bytes :] = form.pixels(rng, count)
    return frames


# -- pixels --------------------------------------------------------------------------------------
# Stored pixels are random numbers below a limit: every frame differs from every other, and so does
# every row, so that a frame or row in the wrong place shows in the checks.


def _random(dtype: str, bits: int, pixels: int) -> Callable[[np.random.Generator, int], Stored]:
    def make(rng: np.random.Generator, count: int) -> Stored:
        native = np.dtype(dtype).newbyteorder("=")
        values = rng.integers(0, 2**bits, (count, pixels), native)
        return values.astype(dtype).view(np.uint8)

    return make


def _plain(dtype: str, shape: tuple[int, int]) -> Callable[[Stored], Array]:
    def decode(stored: Stored) -> Array:
        values = stored.view(dtype).reshape(-1, *shape)
        return values.astype(values.dtype.newbyteorder("="))

    return decode


def _raw_rows(stored: Stored, depth: int, shape: tuple[int, int]) -> Array:
    """Decode Medipix RAW: 64-bit big-endian words, first pixel in the lowest bits."""
    words = np.ascontiguousarray(stored.reshape(len(stored), -1, 8)[:, :, ::-1])
    if depth == 1:
        pixels = np.unpackbits(words, axis=-1, bitorder="little")
    else:
        pixels = words.view({6: "<u1", 12: "<u2"}[depth])
    return pixels.reshape(-1, *shape)


def _raw_single(depth: int) -> Callable[[Stored], Array]:
    return lambda stored: _raw_rows(stored, depth, (256, 256))


def _raw_quad(depth: int) -> Callable[[Stored], Array]:
    """Put the four chips of a stored row in their places; the lower two are upside down."""

    def decode(stored: Stored) -> Array:
        chips = _raw_rows(stored, depth, (256, 1024))
        lower_right, lower_left, upper_right, upper_left = np.split(chips, 4, axis=2)
        upper = np.concatenate([upper_left, upper_right], axis=2)
        lower = np.concatenate([lower_left[:, ::-1, ::-1], lower_right[:, ::-1, ::-1]], axis=2)
        return np.concatenate([upper, lower], axis=1)

    return decode


# -- MIB -----------------------------------------------------------------------------------------

_THRESHOLDS = ",".join(["2.000000E+0", "5.110000E+2"] + ["0.000000E+0"] * 6)
_CONVERTERS = (
    "3RX,011,511,000,000,000,000,000,000,175,010,200,125,100,100,"
    "093,100,099,030,128,004,255,140,128,191,179,511,511"
)


def _mib_headers(
    width: int, height: int, kind: str, depth: int, chips: int
) -> Callable[[int, int], Stored]:
    """Headers as Merlin's software writes them; frames start 1 ms apart."""
    size = 256 + 128 * chips
    layout, select = {1: ("1x1", "01"), 4: ("2x2", "0F")}[chips]
    converters = ",".join([_CONVERTERS] * chips)

    def make(first: int, count: int) -> Stored:
        headers = bytearray()
        for index in range(first, first + count):
            minute, rest = divmod(index, 60_000)
            hour, minute = divmod(minute, 60)
            second, milli = divmod(rest, 1000)
            time = f"{10 + hour:02d}:{minute:02d}:{second:02d}.{milli:03d}"
            text = (
                f"MQ1,{index + 1:06d},{size:05d},{chips:02d},{width:04d},{height:04d},{kind},"
                f"{layout:>6},{select},2024-05-07 {time}000,0.001000,0,0,0,{_THRESHOLDS},"
                f"{converters},MQ1A,2024-05-07T{time}000000Z,1000000ns,{depth},"
            )
            headers += text.encode("ascii").ljust(size, b"\0")
        return np.frombuffer(bytes(headers), np.uint8).reshape(count, size)

    return make


def _mib(depth: int, *, quad: bool = False) -> Format:
    """Frames processed by the camera's computer: plain big-endian pixels."""
    side, chips = (512, 4) if quad else (256, 1)
    dtype = {6: ">u1", 12: ">u2"}[depth]
    native = np.dtype(dtype).newbyteorder("=")
    kind = f"U{8 * native.itemsize:02d}"
    return Format(
        title=f"MIB {kind}, {side} x {side}",
        frame_shape=(side, side),
        dtype=native,
        header_bytes=256 + 128 * chips,
        stored_bytes=side * side * native.itemsize,
        pixels=_random(dtype, depth, side * side),
        decode=_plain(dtype, (side, side)),
        headers=_mib_headers(side, side, kind, depth, chips),
        readers={
            "rsciio_tem": ("mib", {}),
            "rosettasciio": ("quantumdetector", {}),
            "libertem": ("mib", {"disable_glob": True}),
            "numpy": ("memmap", {}),
        },
        plain=dtype,
    )


def _mib_raw(depth: int, *, quad: bool = False) -> Format:
    """Frames as they leave the chips: packed or word-swapped pixels, quads not yet arranged."""
    side, chips = (512, 4) if quad else (256, 1)
    width = 256 * chips
    bits = {1: 1, 6: 8, 12: 16}[depth]
    stored_bytes = 256 * width * bits // 8
    pixels = {
        1: _random("u1", 8, stored_bytes),
        6: _random("u1", 6, stored_bytes),
        12: _random(">u2", 12, stored_bytes // 2),
    }[depth]
    return Format(
        title=f"MIB RAW {depth} bit, {'quad 512 x 512' if quad else '256 x 256'}",
        frame_shape=(side, side),
        dtype=np.dtype("u2" if depth == 12 else "u1"),
        header_bytes=256 + 128 * chips,
        stored_bytes=stored_bytes,
        pixels=pixels,
        decode=_raw_quad(depth) if quad else _raw_single(depth),
        headers=_mib_headers(width, 256, "R64", depth, chips),
        readers={
            "rsciio_tem": ("mib", {}),
            "libertem": ("mib", {"disable_glob": True}),
        },
        multiple_of=1024 if depth == 1 else 1,
    )


# -- raw binary ----------------------------------------------------------------------------------


def _raw(dtype: str) -> Format:
    shape = (256, 256)
    order = {">": "big", "<": "little"}[dtype[0]]
    return Format(
        title=f"raw binary u16 {order}-endian, 256 x 256",
        frame_shape=shape,
        dtype=np.dtype(dtype).newbyteorder("="),
        header_bytes=0,
        stored_bytes=256 * 256 * 2,
        pixels=_random(dtype, 12, 256 * 256),
        decode=_plain(dtype, shape),
        readers={
            "rsciio_tem": ("raw", {"dtype": dtype, "sig_shape": shape}),
            "libertem": ("raw", {"dtype": dtype, "sig_shape": shape}),
            "numpy": ("memmap", {}),
        },
        suffix=".raw",
        flips=False,
        plain=dtype,
    )


FORMATS: dict[str, Format] = {
    "mib-u8": _mib(6),
    "mib-u16": _mib(12),
    "mib-u16-quad": _mib(12, quad=True),
    "mib-raw1": _mib_raw(1),
    "mib-raw6": _mib_raw(6),
    "mib-raw12": _mib_raw(12),
    "mib-raw1-quad": _mib_raw(1, quad=True),
    "mib-raw6-quad": _mib_raw(6, quad=True),
    "mib-raw12-quad": _mib_raw(12, quad=True),
    "raw-u16-be": _raw(">u2"),
    "raw-u16-le": _raw("<u2"),
}
