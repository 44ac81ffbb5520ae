# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured on: generated recordings, and what is truly in them.

Nothing here uses a reader: what is truly in a file is known from numpy alone.
A new format is one row of `FORMATS`.
"""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # the writers of the tests

Array = NDArray[Any]
Stored = NDArray[np.uint8]  #: pixel bytes as they lie in the file, one row per frame

MB = 1_000_000
#: Frames generated or decoded at a time take about this many bytes.
BLOCK = 16 * MB


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of recording: how to write it, how to read it for reference, who can read it.

    Parameters
    ----------
    title : str
        One line for the report.
    frame_shape, dtype
        Rows and columns of a decoded frame and its native pixel type.
    readers : mapping
        Contestant family -> (its name for the format, keywords). Families not named cannot read
        the format. A keyword may be a function of the file; None leaves it out.
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
    readers: Mapping[str, tuple[str, Mapping[str, Any]]]
    suffix: str
    flips: bool = False
    plain: str | None = None
    multiple_of: int = 1

    @property
    def stride(self) -> int:
        """Bytes from one frame to the next."""
        raise NotImplementedError

    def write(self, path: Path, nav_shape: tuple[int, int], rng: np.random.Generator) -> None:
        """Write a recording of that many frames."""
        raise NotImplementedError

    def read(self, path: Path, start: int, count: int) -> Array:
        """Read some frames for reference."""
        raise NotImplementedError

    def nav_shape(self, megabytes: float) -> tuple[int, int]:
        """Scan shape (rows, columns) of a recording of about this size."""
        frames = max(1, int(megabytes * MB / self.stride))
        if self.multiple_of > 1:
            frames = max(1, round(frames / self.multiple_of)) * self.multiple_of
        columns = math.gcd(self.multiple_of, 64)
        if columns == 1:
            columns = next(n for n in (64, 32, 16, 8, 4, 2, 1) if n * n <= frames)
        return frames // columns, columns


@dataclass(frozen=True, kw_only=True)
class Strided(Format):
    """Frames that follow each other from the first byte of one file, each with its header.

    Parameters
    ----------
    header_bytes, stored_bytes : int
        Bytes before and of the pixels of one frame in the file.
    pixels : callable
        ``pixels(rng, count)`` makes the stored bytes of that many frames, one row per frame.
    decode : callable
        ``decode(stored)`` turns these into frames; slow and obvious, for reference.
    headers : callable, optional
        ``headers(first, count)`` makes the frame headers, one row per frame.
    """

    header_bytes: int
    stored_bytes: int
    pixels: Callable[[np.random.Generator, int], Stored]
    decode: Callable[[Stored], Array]
    headers: Callable[[int, int], Stored] | None = None

    @property
    def stride(self) -> int:
        return self.header_bytes + self.stored_bytes

    def write(self, path: Path, nav_shape: tuple[int, int], rng: np.random.Generator) -> None:
        count, step = math.prod(nav_shape), max(1, BLOCK // self.stride)
        with path.open("wb") as out:
            for start in range(0, count, step):
                out.write(self.frames(rng, start, min(step, count - start)).data)

    def frames(self, rng: np.random.Generator, start: int, count: int) -> Stored:
        """Make some frames with their headers."""
        frames = np.empty((count, self.stride), np.uint8)
        if self.headers is not None:
            frames[:, : self.header_bytes] = self.headers(start, count)
        frames[:, self.header_bytes :] = self.pixels(rng, count)
        return frames

    def read(self, path: Path, start: int, count: int) -> Array:
        raw = np.fromfile(path, np.uint8, count * self.stride, offset=start * self.stride).reshape(
            count, self.stride
        )
        return self.decode(np.ascontiguousarray(raw[:, self.header_bytes :]))


@dataclass(frozen=True, kw_only=True)
class Written(Format):
    """Recordings made by the writers of the tests; the frames are kept beside them for reference.

    Parameters
    ----------
    limit : int
        Pixels are random integers below this.
    store : callable
        ``store(path, frames)`` writes the recording that is opened through `path`; `frames` has
        the shape (rows of the scan, columns of the scan, *frame).
    """

    limit: int
    store: Callable[[Path, Array], object]

    @property
    def stride(self) -> int:
        return math.prod(self.frame_shape) * self.dtype.itemsize

    def write(self, path: Path, nav_shape: tuple[int, int], rng: np.random.Generator) -> None:
        shape = (*nav_shape, *self.frame_shape)
        frames = np.lib.format.open_memmap(_kept(path), "w+", self.dtype, shape)
        for line in frames:
            line[...] = rng.integers(0, self.limit, line.shape, np.uint32)
        self.store(path, frames)

    def read(self, path: Path, start: int, count: int) -> Array:
        frames = np.load(_kept(path), mmap_mode="r").reshape(-1, *self.frame_shape)
        return np.asarray(frames[start : start + count])


@dataclass(frozen=True, kw_only=True)
class Sparse(Format):
    """Recordings of which few pixels are not zero; their places are kept beside them.

    Parameters
    ----------
    density : float
        Share of the pixels that are not zero.
    frame_bytes : int
        What a frame counts for the size of a recording.
    store : callable
        ``store(path, entries, nav_shape)`` writes the recording that is opened through `path`.
    """

    density: float
    frame_bytes: int
    store: Callable[[Path, Entries, tuple[int, int]], object]

    @property
    def stride(self) -> int:
        return self.frame_bytes

    def write(self, path: Path, nav_shape: tuple[int, int], rng: np.random.Generator) -> None:
        pixels = math.prod(nav_shape) * math.prod(self.frame_shape)
        parts, last = [], -1
        while last < pixels:  # the way from one to the next has this distribution
            parts.append(last + np.cumsum(rng.geometric(self.density, 1 << 20)))
            last = int(parts[-1][-1])
        places = np.concatenate(parts)
        np.save(_kept(path), places[places < pixels])
        self.store(path, self._entries(path), nav_shape)

    def read(self, path: Path, start: int, count: int) -> Array:
        return self._entries(path)[start : start + count]

    def _entries(self, path: Path) -> Entries:
        return Entries(np.load(_kept(path), mmap_mode="r"), self.frame_shape, self.dtype)


@dataclass(frozen=True)
class Entries:
    """Pixels that are not zero, looking like frames to who does not take all of them at once.

    Parameters
    ----------
    places : ndarray of int64
        In the flat recording, in ascending order.
    frame_shape, dtype
        Of a frame.
    """

    places: Array
    frame_shape: tuple[int, int]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Pixels of a frame."""
        return math.prod(self.frame_shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all frames."""
        return (len(self), *self.frame_shape)

    @property
    def values(self) -> Array:
        """Of the pixels: different from place to place."""
        return (self.places % 997 + 1).astype(self.dtype)

    def __len__(self) -> int:
        return int(self.places[-1]) // self.size + 1

    def __getitem__(self, index: int | slice) -> Array:
        if isinstance(index, int):
            if index >= len(self):
                raise IndexError(index)
            return self[index : index + 1][0]
        first, count = index.start, index.stop - index.start
        there = slice(*np.searchsorted(self.places, [first * self.size, index.stop * self.size]))
        frames = np.zeros((count, self.size), self.dtype)
        part = Entries(self.places[there], self.frame_shape, self.dtype)
        frames.reshape(-1)[part.places - first * self.size] = part.values
        return frames.reshape(count, *self.frame_shape)


def _kept(path: Path) -> Path:
    return path.parent.with_suffix(".frames.npy")


@dataclass(frozen=True)
class DataFile:
    """One generated recording, in a folder of its own."""

    name: str
    path: Path
    nav_shape: tuple[int, int]

    @property
    def format(self) -> Format:
        """Its kind."""
        return FORMATS[self.name]

    @property
    def files(self) -> list[Path]:
        """The files it consists of."""
        return sorted(self.path.parent.iterdir())

    @property
    def frames(self) -> int:
        """Number of frames."""
        return math.prod(self.nav_shape)

    @property
    def size(self) -> int:
        """Bytes in its files."""
        return sum(path.stat().st_size for path in self.files)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole decoded array."""
        return (*self.nav_shape, *self.format.frame_shape)

    @property
    def decoded_size(self) -> int:
        """Bytes of the whole decoded array."""
        return math.prod(self.shape) * self.format.dtype.itemsize

    def delete(self) -> None:
        """Remove the recording and what was kept for reference."""
        shutil.rmtree(self.path.parent)
        _kept(self.path).unlink(missing_ok=True)


@dataclass
class Reference:
    """What every contestant must find in a file, in stored orientation."""

    file: DataFile
    scan_sum: Array = field(init=False)
    detector_sum: Array = field(init=False)
    mask: Array = field(init=False)  #: a virtual detector, not in the middle
    mask_sum: Array = field(init=False)
    centre: Array = field(init=False)  #: row and column, shape (scan, 2)

    def __post_init__(self) -> None:
        rows, columns = shape = self.file.format.frame_shape
        y, x = np.ogrid[:rows, :columns]
        self.mask = np.hypot(y - 0.4 * rows, x - 0.55 * columns) < min(shape) / 5
        self.scan_sum = np.zeros(shape, np.int64)
        self.detector_sum = np.zeros(self.file.frames, np.int64)
        self.mask_sum = np.zeros(self.file.frames, np.int64)
        self.centre = np.zeros((self.file.frames, 2))
        for start, frames in self.blocks():
            place = slice(start, start + len(frames))
            self.scan_sum += frames.sum(axis=0, dtype=np.int64)
            lines = frames.sum(axis=2, dtype=np.int64), frames.sum(axis=1, dtype=np.int64)
            self.detector_sum[place] = lines[0].sum(axis=1)
            self.mask_sum[place] = frames[:, self.mask].sum(axis=1, dtype=np.int64)
            for i, line in enumerate(lines):
                moments = line @ np.arange(line.shape[1])
                self.centre[place, i] = moments / self.detector_sum[place]
        nav_shape = self.file.nav_shape
        self.detector_sum = self.detector_sum.reshape(nav_shape)
        self.mask_sum = self.mask_sum.reshape(nav_shape)
        self.centre = self.centre.reshape(*nav_shape, 2)
        for path in self.file.files:  # so that the timings find the files in the page cache
            with path.open("rb") as stream:
                while stream.read(BLOCK):
                    continue

    def blocks(self) -> Iterator[tuple[int, Array]]:
        """Go through the file: number of the first frame, decoded frames."""
        form = self.file.format
        decoded = math.prod(form.frame_shape) * form.dtype.itemsize
        step = max(1, BLOCK // max(form.stride, decoded))
        for start in range(0, self.file.frames, step):
            yield start, self.read(start, min(step, self.file.frames - start))

    def read(self, start: int, count: int) -> Array:
        """Read some frames."""
        return self.file.format.read(self.file.path, start, count)


def write(name: str, folder: Path, megabytes: float) -> DataFile:
    """Generate a recording of about the given size; one that is already there is used again."""
    form = FORMATS[name]
    nav_shape = form.nav_shape(megabytes)
    # Not `name.mib`, `name2.mib`...: some readers take such names for one numbered series.
    stem = f"{name}_{nav_shape[0]}x{nav_shape[1]}f"
    file = DataFile(name, folder / stem / f"{stem}{form.suffix}", nav_shape)
    done = folder / f"{stem}.done"
    if done.exists():
        return file
    shutil.rmtree(folder / stem, ignore_errors=True)
    (folder / stem).mkdir()
    form.write(file.path, nav_shape, np.random.default_rng(len(name) * 1000 + form.stride))
    done.touch()
    return file


def write_sparse(name: str, folder: Path, nav_shape: tuple[int, int]) -> DataFile:
    """Make a file with holes: only its first and last frame are there, the rest takes no disk."""
    form = FORMATS[name]
    if not isinstance(form, Strided):
        raise OSError("files of this format are not made with holes")
    if not _holes_possible(folder):
        raise OSError("the file system stores the holes")
    stem = f"{name}_holes_{nav_shape[0]}x{nav_shape[1]}f"
    (folder / stem).mkdir(exist_ok=True)
    file = DataFile(name, folder / stem / f"{stem}{form.suffix}", nav_shape)
    rng = np.random.default_rng(1)
    with file.path.open("wb") as out:
        for index in (0, file.frames - 1):
            out.seek(index * form.stride)
            out.write(form.frames(rng, index, 1).data)
    return file


def _holes_possible(folder: Path) -> bool:
    probe = folder / "holes.probe"
    with probe.open("wb") as out:
        out.seek(16 * MB)
        out.write(b"\0")
    blocks = getattr(probe.stat(), "st_blocks", None)
    probe.unlink()
    return blocks is not None and blocks * 512 < MB


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
    return Strided(
        suffix=".mib",
        flips=True,
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
    return Strided(
        suffix=".mib",
        flips=True,
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


# -- cameras with recordings of their own --------------------------------------------------------
# Those that RosettaSciIO reads tell their scan shape themselves, and its readers take none.


def _flat(frames: Array) -> Array:
    return frames.reshape(-1, *frames.shape[2:])


def _store_k2is(path: Path, frames: Array) -> None:
    from writers import k2is

    name, tags = path.name.removesuffix("1.bin"), k2is.stem_tags(*frames.shape[:2])
    k2is.write_k2is(path.parent, _flat(frames), name=name, tags=tags, shutter_from=1)


def _store_seq(path: Path, frames: Array) -> None:
    from writers import seq

    seq.write_seq(path, _flat(frames))


def _store_frms6(path: Path, frames: Array) -> None:
    from writers import frms6

    frms6.write_recording(path.parent, frames, _flat(frames[:1, :1]), name=path.stem)


def _store_tvips(path: Path, frames: Array) -> None:
    from writers import tvips

    tvips.write_tvips(path, _flat(frames), rotator=range(1, math.prod(frames.shape[:2]) + 1))


def _store_empad(path: Path, frames: Array) -> None:
    from writers import empad

    empad.write_empad(path.parent, frames, stem=path.stem)


def _store_ser(path: Path, frames: Array) -> None:
    from writers import ser

    ser.write_sparse_ser(path, frames.shape[:2], dict(enumerate(_flat(frames))))


def _store_blo(path: Path, frames: Array) -> None:
    from writers import blo

    blo.write_blo(path, frames)


def _store_dm(path: Path, frames: Array) -> None:
    from writers import dm

    dm.write_dm(path, [dm.image(frames, tags=dm.swapped(True))])


def _store_mrc(path: Path, frames: Array) -> None:
    from writers import mrc

    mrc.write_mrc(path, frames, grid=(256, 256, 1))  # LiberTEM opens no other


def _store_hdf5(path: Path, frames: Array, **options: Any) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        chunks = (1, 1, *frames.shape[2:]) if options else None
        data = file.create_dataset("data", frames.shape, frames.dtype, chunks=chunks, **options)
        for i, line in enumerate(frames):
            data[i] = line


def _store_bitshuffle(path: Path, frames: Array) -> None:
    import hdf5plugin

    _store_hdf5(path, frames, **hdf5plugin.Bitshuffle())


def _hdf5(title: str, store: Callable[[Path, Array], object]) -> Written:
    return Written(
        title=f"HDF5 u16, 256 x 256, {title}",
        frame_shape=(256, 256),
        dtype=np.dtype("u2"),
        suffix=".h5",
        limit=1 << 5,  # so that there is something to compress
        store=store,
        readers={
            "rsciio_tem": ("hdf5", {"ds_path": "data"}),
            "libertem": ("hdf5", {"ds_path": "data"}),
            "h5py": ("h5py", {"name": "data"}),
        },
    )


def _store_py4dstem(path: Path, frames: Array) -> None:
    from writers import hdf5

    hdf5.write_py4dstem(path, frames)


def _data_files(file: DataFile) -> list[tuple[str, str]]:
    """Return the data sets of an ARINA recording: names of files and of data sets."""
    data = [path for path in file.files if "_data_" in path.name]
    return [(str(path), "entry/data/data") for path in data]


def _store_arina(path: Path, frames: Array) -> None:
    from writers import dectris

    base = path.name.removesuffix("_master.h5")
    dectris.write_dectris(path.parent, _flat(frames), 500, base=base, scan=frames.shape[:2])


def _store_eiger(path: Path, frames: Array) -> None:
    from writers import dectris

    base, triggers = path.name.removesuffix("_master.h5"), frames.shape[:2]
    dectris.write_dectris(path.parent, _flat(frames), 100, base=base, triggers=triggers)


def _store_virtual(path: Path, frames: Array) -> None:
    from writers import hdf5

    hdf5.write_virtual(path, _flat(frames), 5)


_HDF5: dict[str, Format] = {
    "hdf5": _hdf5("contiguous", _store_hdf5),
    "hdf5-gzip": _hdf5("gzip, one frame per chunk", partial(_store_hdf5, compression="gzip")),
    "hdf5-bslz4": _hdf5("bitshuffle-LZ4, one frame per chunk", _store_bitshuffle),
    "py4dstem": Written(
        title="py4DSTEM cube u16, 192 x 256, contiguous",
        frame_shape=(192, 256),
        dtype=np.dtype("u2"),
        suffix=".h5",
        limit=1 << 12,
        store=_store_py4dstem,
        readers={
            "rsciio_tem": ("hdf5", {}),
            "rosettasciio": ("emd", {"navigation_shape": None}),
            "libertem": ("hdf5", {"ds_path": "datacube_root/datacube/data"}),
            "h5py": ("h5py", {"name": "datacube_root/datacube/data"}),
        },
    ),
    "arina": Written(
        title="ARINA u32, 192 x 192, bitshuffle-LZ4 in data files of 500 frames",
        frame_shape=(192, 192),
        dtype=np.dtype("u4"),
        suffix="_master.h5",
        limit=1 << 5,
        store=_store_arina,
        readers={
            "rsciio_tem": ("dectris", {}),
            "rosettasciio": (
                "arina",
                {"navigation_shape": lambda file: file.nav_shape, "dtype": "uint32"},
            ),
            "h5py": ("h5py", {"parts": _data_files}),
        },
    ),
}
_HDF5["eiger"] = replace(
    _HDF5["arina"],
    title="Eiger u32, 192 x 192, bitshuffle-LZ4 in data files of 100 frames",
    store=_store_eiger,
)
_HDF5["hdf5-virtual"] = replace(
    _HDF5["hdf5"],
    title="HDF5 u16, 256 x 256, put together from 5 files",
    store=_store_virtual,
    readers={"rsciio_tem": ("hdf5", {})},
)
_CAMERAS: dict[str, Format] = {
    "k2is": Written(
        title="K2 IS, 12 bit packed, 8 sectors, 1860 x 2048",
        frame_shape=(1860, 2048),
        dtype=np.dtype("u2"),
        suffix="1.bin",
        limit=1 << 12,
        store=_store_k2is,
        readers={"rsciio_tem": ("k2is", {}), "libertem": ("k2is", {})},
    ),
    "seq-u16": Written(
        title="SEQ u16, 256 x 256",
        frame_shape=(256, 256),
        dtype=np.dtype("u2"),
        suffix=".seq",
        limit=1 << 12,
        store=_store_seq,
        readers={"rsciio_tem": ("seq", {}), "libertem": ("seq", {})},
    ),
    "frms6": Written(
        title="FRMS6 u16, 264 x 264 in two halves, not corrected",
        frame_shape=(264, 264),
        dtype=np.dtype("u2"),
        suffix=".hdr",
        limit=1 << 14,
        store=_store_frms6,
        readers={
            "rsciio_tem": ("frms6", {"corrections": False}),
            "libertem": ("frms6", {"enable_offset_correction": False}),
        },
    ),
    "tvips-u16": Written(
        title="TVIPS u16, 256 x 256",
        frame_shape=(256, 256),
        dtype=np.dtype("u2"),
        suffix="_000.tvips",
        limit=1 << 12,
        store=_store_tvips,
        readers={
            "rsciio_tem": ("tvips", {}),
            "rosettasciio": (
                "tvips",
                {"navigation_shape": None, "scan_shape": lambda file: file.nav_shape},
            ),
            "libertem": ("tvips", {}),
        },
    ),
    "empad": Written(
        title="EMPAD float32, 128 x 128",
        frame_shape=(128, 128),
        dtype=np.dtype("f4"),
        suffix=".xml",
        limit=1000,
        store=_store_empad,
        readers={
            "rsciio_tem": ("empad", {}),
            "rosettasciio": ("empad", {"navigation_shape": None}),
            "libertem": ("empad", {}),
        },
    ),
    "blo-u8": Written(
        title="BLO u8, 256 x 256",
        frame_shape=(256, 256),
        dtype=np.dtype("u1"),
        suffix=".blo",
        limit=1 << 8,
        store=_store_blo,
        readers={
            "rsciio_tem": ("blo", {}),
            "rosettasciio": ("blockfile", {"navigation_shape": None}),
            "libertem": ("blo", {}),
        },
    ),
    "ser-u16": Written(
        title="SER u16, 256 x 256",
        frame_shape=(256, 256),
        dtype=np.dtype("u2"),
        suffix="_1.ser",
        limit=1 << 12,
        store=_store_ser,
        readers={
            "rsciio_tem": ("ser", {}),
            "rosettasciio": ("tia", {"navigation_shape": None}),
            "libertem": ("ser", {}),
        },
    ),
    "dm-u16": Written(
        title="DM4 u16, 256 x 256",
        frame_shape=(256, 256),
        dtype=np.dtype("u2"),
        suffix=".dm4",
        limit=1 << 12,
        store=_store_dm,
        readers={
            "rsciio_tem": ("dm", {}),
            "rosettasciio": ("digitalmicrograph", {"navigation_shape": None}),
            "libertem": ("dm", {}),
        },
    ),
    "mrc-u16": Written(
        title="MRC u16, 256 x 256",
        frame_shape=(256, 256),
        dtype=np.dtype("u2"),
        suffix=".mrc",
        limit=1 << 12,
        store=_store_mrc,
        readers={
            "rsciio_tem": ("mrc", {}),
            "rosettasciio": ("mrc", {}),
            "libertem": ("mrc", {}),
        },
    ),
}


# -- sparse --------------------------------------------------------------------------------------


def _store_raw_csr(path: Path, entries: Entries, nav_shape: tuple[int, int]) -> None:
    from writers import raw_csr

    edges = np.arange(math.prod(nav_shape) + 1) * entries.size
    raw_csr.write_arrays(
        path,
        np.searchsorted(entries.places, edges),
        (entries.places % entries.size).astype("<u4"),
        entries.values,
        nav_shape=nav_shape,
        sig_shape=entries.frame_shape,
    )


def _store_cache(path: Path, entries: Entries, nav_shape: tuple[int, int]) -> None:
    from writers import framecache

    write = framecache.write_npz if path.suffix == ".npz" else framecache.write_fch5
    write(path, entries, metadata={"navigation_shape": np.array(nav_shape[::-1])})


def _cache(suffix: str) -> Format:
    """A frame cache; what is stored of a frame depends on the compression."""
    return Sparse(
        title=f"frame cache of hexrd ({suffix}), 1 % of 256 x 256 pixels",
        frame_shape=(256, 256),
        dtype=np.dtype("u2"),
        suffix=suffix,
        density=0.01,
        frame_bytes=256 * 256 * 2,
        store=_store_cache,
        readers={"rsciio_tem": ("framecache", {})},
    )


_SPARSE: dict[str, Format] = {
    "raw-csr": Sparse(
        title="raw_csr u16, 1 % of 256 x 256 pixels",
        frame_shape=(256, 256),
        dtype=np.dtype("u2"),
        suffix=".toml",
        density=0.01,
        frame_bytes=round(0.01 * 256 * 256 * 6) + 8,
        store=_store_raw_csr,
        readers={
            "rsciio_tem": ("raw_csr", {}),
            "libertem": ("raw_csr", {"nav_shape": None}),
        },
    ),
    "framecache-npz": _cache(".npz"),
    "framecache-fch5": _cache(".fch5"),
}


# -- raw binary ----------------------------------------------------------------------------------


def _raw(dtype: str) -> Format:
    shape = (256, 256)
    order = {">": "big", "<": "little"}[dtype[0]]
    return Strided(
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
    **_CAMERAS,
    **_HDF5,
    **_SPARSE,
}
