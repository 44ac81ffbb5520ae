# SPDX-License-Identifier: GPL-3.0-or-later
"""The recordings that every reader is tested with, and where real ones lie.

A new format needs one list of `Spec` at the end of `SPECS` here; ``test_every_format.py`` then
tests it in full. Recordings are written once per session, on first use.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import shutil
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))  # `writers`, also for tests in folders

from writers import blo as blo_writer
from writers import dectris as dectris_writer
from writers import dm as dm_writer
from writers import eigerstream as eigerstream_writer
from writers import empad as empad_writer
from writers import framecache as framecache_writer
from writers import frms6 as frms6_writer
from writers import hdf5 as hdf5_writer
from writers import imagefiles as imagefiles_writer
from writers import k2is as k2is_writer
from writers import mib as mib_writer
from writers import mrc as mrc_writer
from writers import npy as npy_writer
from writers import raw as raw_writer
from writers import raw_csr as raw_csr_writer
from writers import rawimage as rawimage_writer
from writers import seq as seq_writer
from writers import ser as ser_writer
from writers import tvips as tvips_writer
from writers import zarr as zarr_writer

import rsciio_tem
from rsciio_tem.errors import RecordingWarning

REPOSITORY = Path(__file__).resolve().parents[1]
Array = NDArray[Any]


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder with recordings of real detectors."""
    named = os.environ.get("RSCIIO_TEM_REALDATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "realdata"
    if not folder.is_dir():
        pytest.skip(f"no real recordings: {folder} is no folder (set RSCIIO_TEM_REALDATA)")
    return folder


# -- samples -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """A recording and what a reader must make of it.

    Parameters
    ----------
    format, variant : str
        Name of the format, and what is special about this recording of it.
    path : Path or None
        What is opened; None for an array in memory.
    expected : ndarray
        Scan shape followed by frame shape, in the type that loading returns.
    options : dict
        Keywords of the reader.
    warns : str
        Pattern of the RecordingWarning that opening it gives; empty for none.
    array : array-like
        What is given to `rsciio_tem.from_array`, where there is no file.
    plain : bool
        The file holds plain evenly spaced pixels, so that ``mmap_mode`` gives a view.
    sig_dims : int
        Number of axes of a frame.
    """

    format: str
    variant: str
    path: Path | None
    expected: Array
    options: dict[str, Any] = field(default_factory=dict)
    warns: str = ""
    array: Any = None
    plain: bool = False
    sig_dims: int = 2

    def __str__(self) -> str:
        return f"{self.format}: {self.variant}"

    @property
    def nav_shape(self) -> tuple[int, ...]:
        """Scan shape, array order."""
        return self.expected.shape[: self.expected.ndim - self.sig_dims]

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a frame."""
        return self.expected.shape[self.expected.ndim - self.sig_dims :]

    @property
    def module(self) -> Any:
        """Module of the format."""
        return importlib.import_module(f"rsciio_tem.formats.{self.format}")

    @property
    def own_options(self) -> dict[str, Any]:
        """Those of the options that ``parse`` takes."""
        names = self.module.parse.__annotations__
        return {name: value for name, value in self.options.items() if name in names}

    def parse(self) -> Any:
        """Describe the recording."""
        return self.module.parse(self.path, **self.own_options)

    def read(self, **more: Any) -> dict[str, Any]:
        """Read it as `options` and `more` say; exactly the warning announced must come."""
        options = {**self.options, **more}
        if not self.warns:
            return self._read(options)
        with pytest.warns(RecordingWarning, match=self.warns):
            return self._read(options)

    def read_quietly(self, **more: Any) -> dict[str, Any]:
        """Read it, whatever it warns of."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RecordingWarning)
            return self._read({**self.options, **more})

    def _read(self, options: dict[str, Any]) -> dict[str, Any]:
        if self.path is None:
            (signal,) = rsciio_tem.from_array(self.array, **options)
        else:
            (signal,) = self.module.file_reader(self.path, **options)
        return signal

    def moved(self, folder: Path, rename: Callable[[str], str] = str) -> Sample:
        """Copy the recording with all its files into a new folder."""
        assert self.path is not None
        folder.mkdir(parents=True)
        for file in self.path.parent.iterdir():
            copy = shutil.copytree if file.is_dir() else shutil.copy2
            copy(file, folder / rename(file.name))
        return dataclasses.replace(self, path=folder / rename(self.path.name))


class Spec(NamedTuple):
    """How a sample is made: ``make(folder, rng)`` writes it and returns its other values."""

    format: str
    variant: str
    make: Callable[[Path, np.random.Generator], Sample]
    has_file: bool = True

    def __str__(self) -> str:
        return f"{self.format}: {self.variant}"


TEN = "ten frames"  # a flat stack of this name meets the whole frame-mapping table


# -- Merlin --------------------------------------------------------------------------------------


def mib(
    variant: str,
    depth: int = 12,
    kind: str = "processed",
    *,
    nav: tuple[int, ...] = (3, 4),
    sig: tuple[int, int] = (64, 256),
    given: dict[str, Any] | None = None,
    warns: str = "",
    change: Callable[[Array], Array] = lambda frames: frames,
    stored: int | None = None,
    open_hdr: bool = False,
    dtype: str | None = None,
    plain: bool | None = None,
    values: int | None = None,
    **written: Any,
) -> Spec:
    """Make a Merlin sample.

    `given` are the keywords of the reader; by default the scan shape. `stored` is the number of
    frames written, `change` turns these (n, rows, columns; flipped) into what is expected.
    """
    options = {"nav_shape": nav} if given is None else given
    dtype = dtype or {1: "u1", 6: "u1", 12: "u2", 24: "u4"}[depth]

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        count = stored or int(np.prod(nav))
        frames = rng.integers(0, values or 1 << depth, (count, *sig)).astype(dtype)
        path = mib_writer.write_mib(folder / "scan.mib", frames, depth, kind, **written)
        expected = change(frames[:, ::-1])
        return Sample(
            "mib",
            variant,
            path.with_suffix(".hdr") if open_hdr else path,
            expected.reshape(*nav, *expected.shape[-2:]),
            options,
            warns,
            plain=kind == "processed" if plain is None else plain,
        )

    return Spec("mib", variant, make)


def mib_u01(packed: bool) -> Spec:
    variant = "U01 packed" if packed else "U01 in bytes"

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = rng.integers(0, 2, (12, 64, 256)).astype("u1")
        heads = mib_writer.headers(np.arange(1, 13), (64, 256), 1, "U01")
        pixels = frames.reshape(12, -1)
        pixels = np.packbits(pixels, axis=1) if packed else pixels
        path = folder / "scan.mib"
        path.write_bytes(np.concatenate([heads, pixels], axis=1).tobytes())
        return Sample(
            "mib",
            variant,
            path,
            frames[:, ::-1].reshape(3, 4, 64, 256),
            {"nav_shape": (3, 4)},
            "bit order of packed U01" if packed else "",
            plain=not packed,
        )

    return Spec("mib", variant, make)


def mib_set(variant: str, names: tuple[str, ...], opened: int, **kwargs: Any) -> Spec:
    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = rng.integers(0, 4096, (12, 64, 256)).astype("u2")
        bounds = [0, 5, 9, 12]
        for name, a, b in zip(names, bounds[:-1], bounds[1:], strict=True):
            times = mib_writer.START_NS + np.arange(a, b) * 1_000_000
            mib_writer.write_mib(folder / name, frames[a:b], first_sequence=a + 1, times_ns=times)
        # a stranger that must not be swallowed
        mib_writer.write_mib(folder / "scan_U08.mib", frames[:2] % 256, 6)
        expected = frames[:, ::-1].reshape(3, 4, 64, 256)
        return Sample("mib", variant, folder / names[opened], expected, {"nav_shape": (3, 4)})

    return Spec("mib", variant, make)


def with_cross(gap: int) -> Callable[[Array], Array]:
    """Put an empty cross of `gap` pixels into frames of 2 x 2 chips."""

    def change(frames: Array) -> Array:
        rows, columns = frames.shape[1] // 2, frames.shape[2] // 2
        out = np.zeros((len(frames), 2 * rows + gap, 2 * columns + gap), frames.dtype)
        for y, to_y in ((slice(rows), slice(rows)), (slice(rows, None), slice(rows + gap, None))):
            out[:, to_y, :columns] = frames[:, y, :columns]
            out[:, to_y, columns + gap :] = frames[:, y, columns:]
        return out

    return change


def layered(layers: int) -> Callable[[Array], Array]:
    return lambda frames: frames.reshape(-1, layers, *frames.shape[1:]).swapaxes(0, 1)


_TIMES = np.random.default_rng(7)
_FLYBACK = mib_writer.flyback_exposures(4, 5, 2)
_SCAN_TIMES, _SCAN_EXPOSURES = mib_writer.scan_times((5, 4), rng=_TIMES)

MIB = [
    mib("U08", 6),
    mib("U08, 1 bit", 1),
    mib("U16"),
    mib("U32", 24),
    mib("U64", 24, dtype="u8", pixel_type="U64"),
    mib_u01(packed=False),
    mib_u01(packed=True),
    *(mib(f"RAW {d}", d, "raw") for d in (1, 6, 12, 24)),
    *(mib(f"RAW {d}, 256 rows", d, "raw", nav=(1, 2), sig=(256, 256)) for d in (1, 6, 12, 24)),
    *(
        mib(
            f"RAW {d} quad",
            d,
            "raw",
            nav=(1, 3),
            sig=(512, 512),
            layout="2x2",
            warns="24-bit of several chips" if d == 24 else "",
        )
        for d in (1, 6, 12, 24)
    ),
    *(
        mib(
            f"RAW {d} quad with gap",
            d,
            "raw",
            nav=(2, 1),
            sig=(512, 512),
            layout="2x2G",
            given={"nav_shape": (2, 1), "gap": gap},
            change=with_cross(2 if gap == "header" else gap),
        )
        for d, gap in ((1, "header"), (6, 3), (12, "header"))
    ),
    mib("RAW 12 quad, rows", 12, "raw", sig=(128, 512), layout="2x2", warns="part of the rows"),
    mib("processed quad", 12, sig=(512, 512), nav=(1, 2), layout="2x2"),
    mib(
        "processed quad with gap",
        6,
        sig=(512, 512),
        nav=(1, 2),
        layout="2x2",
        given={"nav_shape": (1, 2), "gap": 4},
        change=with_cross(4),
        plain=False,
    ),
    mib("2x2G as stored", 6, sig=(514, 514), nav=(1, 2), layout="2x2G"),
    mib("Nx1 processed", 12, sig=(64, 768), layout="Nx1"),
    *(
        mib(
            f"RAW 12, {n} chips in a row",
            12,
            "raw",
            sig=(64, 256 * n),
            layout="Nx1",
            warns="in a row is undocumented",
        )
        for n in (2, 3, 4)
    ),
    mib("RAW 24, 2 chips in a row", 24, "raw", sig=(64, 512), layout="Nx1", warns="undocumented"),
    mib("flat stack", nav=(7,), given={}),
    mib(TEN, nav=(10,), sig=(8, 16), given={}),
    mib("one frame", nav=(), given={}),
    mib("colour layers", nav=(4, 2, 3), given={"nav_shape": (2, 3)}, stored=24, change=layered(4),
        colour=1, counters=np.arange(24) % 4, plain=False),
    mib("two counters", nav=(2, 2, 3), given={"nav_shape": (2, 3)}, stored=12, change=layered(2),
        counters=np.arange(12) % 2, hdr={"active_counters": "Counter 0 & Counter 1"}, plain=False),
    mib("alternating counters", counters=np.arange(12) % 2, hdr={"active_counters": "Alternating"}),
    mib("legacy 12B", nav=(2, 2), sig=(256, 256), legacy="12B"),
    mib("legacy 24B", 24, nav=(2, 1), sig=(256, 256), legacy="24B"),
    mib("socket dump", mpx=True, given={}, hdr={"frames_per_trigger": 4}),
    mib("space-padded headers", pad=b" "),
    mib("unpadded headers", pad=None),
    mib("no MQ1A", mq1a=False),
    mib("no MQ1A, no DACs", mq1a=False, dacs=False),
    mib("RAW without DACs", 6, "raw", dacs=False),
    mib("RAW of unknown depth", 12, "raw", mq1a=False),
    mib("RAW 6 with depth told", 6, "raw", mq1a=False, given={"nav_shape": (3, 4), "depth": 6}),
    mib("long header", data_offset=512),
    mib("day first", day_first=True, mq1a=False),
    mib_set("set, first opened", ("scan.mib", "scan1.mib", "scan2.mib"), 0),
    mib_set("set, last opened", ("scan_000001.mib", "scan_000002.mib", "scan_000003.mib"), 2),
    mib("via .hdr", given={}, open_hdr=True, hdr={"frames_per_trigger": 4}),
    mib("ScanX and ScanY", given={}, hdr={"scan_x": 4, "scan_y": 3, "software": "1.5"}),
    mib("ScanX and ScanY, flyback dropped", given={"flyback": "drop"}, stored=15,
        hdr={"scan_x": 4, "scan_y": 3, "frames_per_trigger": 5, "software": "1.5"},
        change=lambda f: f.reshape(3, 5, *f.shape[1:])[:, :4], plain=False),
    mib("flyback dropped", nav=(4, 4), stored=22, given={"flyback": "drop"}, exposures_ns=_FLYBACK,
        change=lambda f: f[2:].reshape(4, 5, *f.shape[1:])[:, 1:], plain=False),
    mib("flyback kept", nav=(4, 5), stored=22, given={}, exposures_ns=_FLYBACK,
        change=lambda f: f[2:]),
    mib("line ends in timestamps", nav=(5, 4), given={}, times_ns=_SCAN_TIMES,
        exposures_ns=_SCAN_EXPOSURES),
    mib("line_skip", given={"nav_shape": (3, 4), "line_skip": 1}, stored=15,
        change=lambda f: f.reshape(3, 5, *f.shape[1:])[:, :4], plain=False),
    mib("snake", given={"nav_shape": (3, 4), "snake": True},
        change=lambda f: np.concatenate([f[:4], f[7:3:-1], f[8:]]), plain=False),
    mib("not flipped", given={"nav_shape": (3, 4), "flip_y": False}, change=lambda f: f[:, ::-1]),
    mib("some frames", nav=(2, 3), stored=12, change=lambda f: f[4:10],
        given={"first_frame": 3, "last_frame": -1, "sync_offset": 1, "nav_shape": (2, 3)}),
    mib("blanks first", nav=(2, 5), stored=8, plain=False,
        given={"sync_offset": -2, "nav_shape": (2, 5), "fill_value": 5},
        change=lambda f: np.concatenate([np.full_like(f[:2], 5), f])),
    mib("last frame cut", nav=(11,), stored=12, truncate=1000, change=lambda f: f[:11],
        given={}, warns="last frame is incomplete"),
    mib("stored type", dtype=">u2", given={"nav_shape": (3, 4), "dtype": "stored"}),
    mib("wider type", given={"nav_shape": (3, 4), "dtype": "float32"}, plain=False,
        change=lambda f: f.astype("f4")),
    mib("narrower type", given={"nav_shape": (3, 4), "dtype": "uint8"}, plain=False, values=256,
        change=lambda f: f.astype("u1")),
    mib("one row per frame", sig=(1, 256)),
]  # fmt: skip


# -- raw binary ----------------------------------------------------------------------------------


def raw(
    variant: str,
    dtype: str = "<u2",
    *,
    nav: tuple[int, ...] = (3, 4),
    sig: tuple[int, ...] = (6, 10),
    side: str = "",
    named: str = "",
    change: Callable[[Array], Array] = lambda frames: frames,
    warns: str = "",
    plain: bool = True,
    given: dict[str, Any] | None = None,
    **layout: Any,
) -> Spec:
    """Make a raw binary sample; with `side` a side file of this kind says everything."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        bits = int(dtype.split("uint")[1]) if "uint" in dtype else 0
        shape = (int(np.prod(nav)), *sig)
        if bits:
            frames = rng.integers(0, 1 << bits, shape).astype("u1" if bits == 1 else "u2")
        else:
            stored = np.dtype(dtype)
            frames = rng.integers(0, 2, shape).astype(stored)
            noise = rng.integers(0, 256, frames.nbytes, np.uint8).view(stored)
            if stored.kind in "iu":
                frames = noise.reshape(shape)
            elif stored.kind in "fc":
                frames = (frames * 1.5 + rng.integers(-9, 9, shape)).astype(stored)
        told = dict(layout)
        cut = told.pop("truncate", 0)
        path = raw_writer.write_raw(
            folder / "data.raw", frames, dtype, truncate=cut, sig_dims=len(sig), **told
        )
        told |= {"dtype": dtype, "sig_shape": sig}
        options: dict[str, Any] = {**told, "nav_shape": nav}
        if side:
            options = {}
            extra = {"file": "data.raw"} if named == "side" else {}
            description = raw_writer.side_file(path, side, nav_shape=nav, **told, **extra)
            if named == "side":
                path = description.rename(folder / f"other.{side}")
        elif len(nav) == 1:
            del options["nav_shape"]
        native = frames.dtype.newbyteorder("=")
        expected = change(frames.astype(native)).reshape(*nav, *sig)
        options |= given or {}
        return Sample(
            "raw",
            variant,
            path,
            expected,
            options,
            warns,
            plain=plain and not bits,
            sig_dims=len(sig),
        )

    return Spec("raw", variant, make)


RAW = [
    *(raw(dtype.replace("<", "little-").replace(">", "big-"), dtype) for dtype in (
        "u1", "i1", "<u2", ">u2", "<i2", ">i4", "<u4", "<u8", ">u8", "<f4", ">f4", ">f8", "<c8",
        ">c16", "<f2", "?",
    )),
    raw("offset", offset=11),
    raw("headers and footers", ">u2", offset=3, frame_header=5, frame_footer=7),
    raw("odd header of floats", ">f8", frame_header=1),
    *(raw(dtype, dtype, sig=(6, 8)) for dtype in ("uint1", ">uint1", "<uint12", ">uint12")),
    raw("packed with header", ">uint12", frame_header=3, offset=1),
    raw("packed bits with footer", "uint1", frame_footer=1, sig=(4, 6)),
    raw("described by TOML", ">u2", side="toml", offset=4, frame_footer=2),
    raw("described by YAML", "<f4", side="yaml"),
    raw("via its side file", ">uint12", side="toml", named="side"),
    raw("flipped", ">u2", given={"flip_y": True}, change=lambda f: f[:, ::-1]),
    raw("spectra", "<u2", sig=(17,)),
    raw("volumes", ">u2", sig=(3, 4, 5)),
    raw("five dimensions", "<u2", nav=(2, 3, 4)),
    raw(TEN, ">u2", nav=(10,)),
    raw("one column", "<u2", nav=(4, 1), sig=(5, 1)),
]  # fmt: skip


# -- Zarr arrays ---------------------------------------------------------------------------------


def zarr(
    variant: str,
    dtype: str = "<u2",
    shape: tuple[int, ...] = (3, 4, 6, 10),
    *,
    sig_dims: int = 2,
    **layout: Any,
) -> Spec:
    """Make a Zarr sample."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        array = rng.integers(0, 200, shape).astype(dtype)
        path = zarr_writer.write_zarr(folder / "array.zarr", array, **layout)
        expected = array.astype(array.dtype.newbyteorder("="))
        return Sample("zarr", variant, path, expected, sig_dims=sig_dims)

    return Spec("zarr", variant, make)


ZARR = [
    zarr("version 2", chunks=(1, 2, 6, 10)),
    zarr("big-endian floats", ">f4", chunks=(2, 3, 4, 5), separator="/"),
    zarr(
        "spectra",
        shape=(3, 4, 10),
        sig_dims=1,
        attributes={"axes": [{"navigate": True}, {"navigate": True}, {"navigate": False}]},
    ),
    zarr(TEN, shape=(10, 6, 4), chunks=(4, 6, 4)),
]


# -- NumPy files ---------------------------------------------------------------------------------


def npy(
    variant: str,
    dtype: str = "<u2",
    shape: tuple[int, ...] = (3, 4, 6, 10),
    *,
    archive: bool | None = None,
    sig_dims: int = 2,
    given: dict[str, Any] | None = None,
    **layout: Any,
) -> Spec:
    """Make a NumPy sample; `archive` makes it the member of a .npz, deflated or not."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        array = rng.integers(0, 200, shape).astype(dtype)
        if archive is None:
            path = npy_writer.write_npy(folder / "array.npy", array, **layout)
        else:
            small = np.arange(5)
            path = npy_writer.write_npz(
                folder / "array.npz", compressed=archive, small=small, data=array, **layout
            )
        return Sample(
            "npy",
            variant,
            path,
            array.astype(array.dtype.newbyteorder("=")),
            given or {},
            plain=not (archive or layout.get("fortran")),
            sig_dims=sig_dims,
        )

    return Spec("npy", variant, make)


NPY = [
    npy("C order"),
    npy("big-endian", ">u2"),
    npy("big-endian floats", ">f8"),
    npy("complex", "<c8"),
    npy("bool", "?"),
    npy("version 2", version=(2, 0)),
    npy("version 3", ">i4", version=(3, 0)),
    npy("of old numpy", align=16),
    npy("Fortran order", fortran=True),
    npy("Fortran order, big-endian", ">f4", fortran=True),
    npy("Fortran order, stack", shape=(5, 6, 10), fortran=True),
    npy("Fortran order, one frame", shape=(6, 10), fortran=True),
    npy("Fortran order, spectra", shape=(3, 4, 10), fortran=True, sig_dims=1,
        given={"sig_dims": 1}),
    npy("Fortran order, volumes", shape=(3, 4, 5, 6), fortran=True, sig_dims=3,
        given={"sig_dims": 3}),
    npy("one frame", shape=(6, 10)),
    npy("one frame, scan axes", shape=(1, 1, 6, 10)),
    npy("spectra", shape=(3, 4, 10), sig_dims=1, given={"sig_dims": 1}),
    npy("five dimensions", shape=(2, 3, 4, 5, 6)),
    npy("npz", ">u2", archive=False),
    npy("npz, key", archive=False, shape=(2, 3, 6, 5), given={"key": "data"}),
    npy("npz, deflated", archive=True),
    npy("npz, Fortran order", archive=False, fortran=True),
    npy("npz, deflated, Fortran order", ">f4", archive=True, fortran=True),
    npy(TEN, shape=(10, 6, 4)),
]  # fmt: skip


# -- arrays --------------------------------------------------------------------------------------


def memory(
    variant: str,
    dtype: str = "<u2",
    shape: tuple[int, ...] = (3, 4, 6, 10),
    *,
    layout: Callable[[Array], Array] = lambda array: array,
    **given: Any,
) -> Spec:
    def make(folder: Path, rng: np.random.Generator) -> Sample:
        array = layout(rng.integers(0, 200, shape).astype(dtype))
        return Sample(
            "memory",
            variant,
            None,
            array.astype(array.dtype.newbyteorder("=")),
            {"lazy": False, **given},
            array=array,
            sig_dims=given.get("sig_dims", 2),
        )

    return Spec("memory", variant, make, has_file=False)


def chunked(variant: str, chunks: Any, shape: tuple[int, ...] = (3, 4, 6, 10)) -> Spec:
    def make(folder: Path, rng: np.random.Generator) -> Sample:
        import dask.array as da

        array = rng.integers(0, 200, shape).astype("u2")
        data = da.from_array(array, chunks=chunks)
        return Sample("dask", variant, None, array, {"lazy": False}, array=data)

    return Spec("dask", variant, make, has_file=False)


ARRAYS = [
    memory("C order"),
    memory("big-endian", ">i4"),
    memory("Fortran order", layout=np.asfortranarray),
    memory("strided", layout=lambda a: a[:, ::-1, :, ::2]),
    memory("one frame", shape=(6, 10)),
    memory("one frame, scan axis", shape=(1, 6, 10)),
    memory("spectra", shape=(3, 4, 10), sig_dims=1),
    memory(TEN, shape=(10, 6, 4)),
    chunked("whole frames", (1, 2, 6, 10)),
    chunked("split frames", (3, 1, 2, 5)),
    chunked("one frame", (6, 5), (6, 10)),
    chunked(TEN, (3, 6, 4), (10, 6, 4)),
]

# -- EMPAD ---------------------------------------------------------------------------------------


def empad(
    variant: str,
    nav: tuple[int, ...] = (2, 3),
    version: str = "0.51",
    *,
    alone: bool = False,
    given: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda frames: frames,
    plain: bool = True,
    **written: Any,
) -> Spec:
    """Make an EMPAD sample of the first generation; `alone` without its description."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = rng.normal(20, 5, (*nav, 128, 128)).astype("f4")
        path = empad_writer.write_empad(folder, frames, version, **written)
        if alone:
            path.unlink()
            path = next(folder.glob("*.raw"))
        options = dict(given or {})
        return Sample("empad", variant, path, change(frames), options, plain=plain)

    return Spec("empad", variant, make)


def empad_g2(variant: str) -> Spec:
    """Make an EMPAD sample of the second generation, as exported."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        data = rng.normal(20, 5, (2, 3, 128, 128)).astype("f4")
        path = empad_writer.write_g2(folder, data, acquired=False)
        return Sample("empad", variant, path, data, plain=True)

    return Spec("empad", variant, make)


EMPAD = [
    empad("data alone", (3, 4), alone=True),
    empad("version 0.51"),
    empad("version 1.2", version="1.2.2"),
    empad("series", (4,)),
    empad(TEN, (10,), alone=True),
    empad("no NaN", given={"remove_nans": True}, plain=False),
    empad_g2("second generation, exported"),
]

# -- K2 IS ---------------------------------------------------------------------------------------

_OTHER_SIZE = "other than the known"  # full frames are too large for most tests


def k2is(
    variant: str,
    nav: tuple[int, ...] = (3, 4),
    *,
    sector: int = 1,
    given: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda frames: frames,
    warns: str = "",
    stored: int | None = None,
    block: tuple[int, int] = (4, 16),
    sig: tuple[int, int] = (8, 256),
    dtype: str = "u2",
    **written: Any,
) -> Spec:
    """Make a K2 IS sample, opened through one of its sectors.

    `stored` is the number of frames written, `change` turns these into what is expected.
    """

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = rng.integers(0, 4096, (stored or int(np.prod(nav)), *sig)).astype("u2")
        written.setdefault("shutter_from", 1)
        path = k2is_writer.write_k2is(folder, frames, block=block, **written)
        path = path.with_name(f"scan{sector}.bin")
        expected = change(frames).astype(dtype)
        expected = expected.reshape(*nav, *expected.shape[1:])
        expects = "|".join(w for w in (warns, _OTHER_SIZE if block == (4, 16) else "") if w)
        return Sample("k2is", variant, path, expected, dict(given or {}), expects)

    return Spec("k2is", variant, make)


def without_pixels(*cuts: tuple[int, slice, slice], fill: int = 0) -> Callable[[Array], Array]:
    """Fill (frame, rows, columns) of an array."""

    def change(frames: Array) -> Array:
        out = frames.copy()
        for frame, rows, columns in cuts:
            out[frame, rows, columns] = fill
        return out

    return change


_UPPER, _LOWER, _ALL_ROWS = slice(0, 4), slice(4, 8), slice(0, 8)
K2IS = [
    k2is("scan", tags=k2is_writer.stem_tags(3, 4)),
    k2is("DM4 tags", tags=k2is_writer.stem_tags(3, 4), version=4),
    k2is(TEN, (10,), shutter_from=0),
    k2is("opened through sector 5", (5,), sector=5, shutter_from=0),
    k2is("full frame", (), block=(930, 16), sig=(1860, 2048), shutter_from=0),
    k2is("full frame, cropped", (), block=(930, 16), sig=(1860, 2048), shutter_from=0,
         given={"crop": True}, change=lambda f: f[:, :1792, :1920]),
    k2is("sectors begin and end apart", (4,), stored=6, change=lambda f: f[1:5], shutter_from=0,
         starts=(0, 1, 2, 3, 4, 3, 2, 1), stops=(0, 1, 2, 3, 4, 3, 2, 1)),
    k2is("series before the shutter", (4,), stored=7, shutter_from=3, change=lambda f: f[3:]),
    k2is("scan before the shutter", stored=15, shutter_from=3, change=lambda f: f[2:14],
         tags=k2is_writer.stem_tags(3, 4), warns="lie beyond the scan"),
    k2is("scan that is told", (2, 3), stored=8, shutter_from=2, given={"nav_shape": (2, 3)},
         change=lambda f: f[1:7]),
    k2is("sync_offset", (2, 3), stored=8, shutter_from=2, change=lambda f: f[2:],
         given={"nav_shape": (2, 3), "sync_offset": 2}),
    k2is("no shutter flag", (4,), shutter_from=None),
    k2is("flyback dropped", (3, 3), stored=12, given={"flyback": "drop"}, warns="flyback frames",
         tags=k2is_writer.stem_tags(3, 4, (3, 3)),
         change=lambda f: f.reshape(3, 4, 8, 256)[:, :3].reshape(-1, 8, 256)),
    k2is("lost blocks", (6,), shutter_from=0, warns="blocks are lost", given={"fill_value": 9},
         lost=[(2, 4), (2, 7), (8, 11), (8, 12)],
         change=without_pixels(
             (1, _UPPER, slice(48, 64)), (1, _LOWER, slice(32, 48)),
             (2, _LOWER, slice(224, 240)), (3, _UPPER, slice(240, 256)), fill=9)),
    k2is("lost blocks, in floats", (6,), shutter_from=0, warns="blocks are lost", lost=[(2, 4)],
         given={"fill_value": -1, "dtype": "float32"}, dtype="f4",
         change=lambda f: without_pixels((1, _UPPER, slice(48, 64)), fill=-1)(f.astype("f4"))),
    k2is("lost frames", (6,), shutter_from=0, warns="blocks are lost",
         lost=[(3, k) for k in range(6, 18)],
         change=without_pixels(
             (1, _LOWER, slice(64, 96)), (2, _ALL_ROWS, slice(64, 96)),
             (3, _ALL_ROWS, slice(64, 96)), (4, _UPPER, slice(64, 96)))),
    k2is("a sector is missing", (3,), without=(4,), shutter_from=0, warns="Sector 4",
         change=lambda f: without_pixels(*((i, _ALL_ROWS, slice(96, 128)) for i in range(3)))(f)),
    k2is("narrow blocks", (2,), block=(8, 6), sig=(8, 96), warns=_OTHER_SIZE, shutter_from=0),
]  # fmt: skip

# -- TVIPS ---------------------------------------------------------------------------------------


def tvips(
    variant: str,
    nav: tuple[int, ...] = (7,),
    *,
    stored: int | None = None,
    sig: tuple[int, int] = (20, 30),
    dtype: str = "u2",
    given: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda frames: frames,
    warns: str = "",
    plain: bool = True,
    opened: int = 0,
    **written: Any,
) -> Spec:
    """Make a TVIPS sample; `change` turns the stored frames into those expected."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        count = stored or int(np.prod(nav))
        frames = rng.integers(0, np.iinfo(dtype).max, (count, *sig)).astype(dtype)
        path = tvips_writer.write_tvips(folder / "scan_000.tvips", frames, **written)
        if opened:
            path = folder / f"scan_{opened:03d}.tvips"
        expected = change(frames).reshape(*nav, *sig)
        return Sample("tvips", variant, path, expected, given or {}, warns, plain=plain)

    return Spec("tvips", variant, make)


def at(*index: int) -> Callable[[Array], Array]:
    """Take these frames; -1 is a blank."""

    def change(frames: Array) -> Array:
        order = np.array(index)
        return np.where((order < 0)[:, np.newaxis, np.newaxis], 0, frames[order]).astype(
            frames.dtype
        )

    return change


def series(opened: int) -> Spec:
    """Make a TVIPS sample of several files."""
    return tvips(
        f"series, file {opened} opened", (3, 3), files=(4, 3, 2), opened=opened, plain=False,
        given={"nav_shape": (3, 3)},
    )  # fmt: skip


_RASTER = tvips_writer.raster(3, 4)
TVIPS = [
    tvips("version 2", (3, 4), sig=(100, 120), given={"nav_shape": (3, 4)}),
    tvips("stack"),
    tvips("version 2, 8 bit", dtype="u1"),
    tvips("version 1", version=1),
    tvips("frame headers of 60 bytes", frame_header_bytes=60),
    tvips("frame headers of 108 bytes", frame_header_bytes=108),
    tvips(TEN, (10,), sig=(6, 8)),
    tvips("one frame", ()),
    series(0),
    series(1),
    series(2),
    tvips("scan coordinates", (3, 4), scan=_RASTER),
    tvips("scan coordinates, waiting frames", (3, 4), stored=15, change=lambda f: f[:12],
        scan=_RASTER + [(2, 3)] * 2 + [(0, 0)]),
    tvips("scan coordinates, winding", (3, 4), scan=tvips_writer.raster(3, 4, winding=True),
        change=at(0, 1, 2, 3, 7, 6, 5, 4, 8, 9, 10, 11), plain=False),
    tvips("scan coordinates, gaps and repetitions", (3, 4), stored=13, plain=False,
        scan=[*_RASTER[:5], *_RASTER[4:6], *_RASTER[7:], (2, 3), (0, 0)],
        change=at(0, 1, 2, 3, 4, 6, -1, 7, 8, 9, 10, 11),
        warns="1 of 12 scan positions|1 frames were recorded"),
    tvips("rotator index", (3, 3), stored=11, rotator=[0, 1, 1, 2, 4, 5, 6, 7, 8, 9, 1],
        given={"scan_shape": (3, 3), "placement": "rotator"}, plain=False,
        change=at(2, 3, -1, 4, 5, 6, 7, 8, 9), warns="1 of 9 scan positions"),
    tvips("rotator index, square", (3, 3), stored=11, rotator=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0],
        given={"scan_shape": "auto"}, change=lambda f: f[1:10]),
    tvips("winding scan axis", (2, 4), plain=False,
        given={"scan_shape": (2, 4), "winding_scan_axis": "x", "hysteresis": 1},
        change=at(0, 3, 2, 1, 4, 5, 6, 7)),
    tvips("last frame cut", (6,), stored=7, truncate=100, change=lambda f: f[:6],
        warns="last frame is incomplete"),
]  # fmt: skip


# -- MRC -----------------------------------------------------------------------------------------


def mrc(
    variant: str,
    dtype: Any = "u2",
    nav: tuple[int, ...] = (12,),
    *,
    mode: int | None = None,
    sig: tuple[int, int] = (6, 10),
    given: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda frames: frames,
    stored: int | None = None,
    warns: str = "",
    plain: bool = True,
    movie: dict[str, Any] | None = None,
    positions: list[tuple[int, int]] | None = None,
    **written: Any,
) -> Spec:
    """Make an MRC sample; with `movie` a description of Direct Electron is beside it."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        shape = (stored or int(np.prod(nav)), *sig)
        kind = np.dtype(dtype)
        if kind.names:
            frames = rng.integers(0, 256, (*shape, 3), np.uint8).view(kind)[..., 0]
        elif mode == 101:
            frames = rng.integers(0, 16, shape, np.uint8)
        elif kind.kind == "c":
            frames = (rng.integers(-9, 9, shape) + 1j * rng.integers(-9, 9, shape)).astype(kind)
        elif kind.kind == "f":
            frames = rng.normal(size=shape).astype(kind)
        else:
            low = 0 if kind.kind == "u" else -100
            frames = rng.integers(low, np.iinfo(kind).max, shape).astype(kind)
        if movie is None:
            path = mrc_writer.write_mrc(folder / "stack.mrc", frames, mode, **written)
        else:
            path = mrc_writer.write_movie(folder, frames, movie, positions=positions, **written)
        expected = change(frames).reshape(*nav, *sig)
        return Sample("mrc", variant, path, expected, given or {}, warns, plain=plain)

    return Spec("mrc", variant, make)


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
_GRID = [(0, 0), (2, 0), (1, 0), (3, 1), (2, 2), (0, 2)]  # x, y; line 1 is visited once
_PLACES = [y * 4 + x for x, y in _GRID]


def gridded(frames: Array) -> Array:
    out = np.zeros((12, *frames.shape[1:]), frames.dtype)
    out[_PLACES] = frames
    return out


MRC = [
    mrc("mode 6", nav=(3, 4), given={"nav_shape": (3, 4)}),
    mrc("mode 0, signed", "i1"),
    mrc("mode 0, unsigned", "u1", given={"signed": False}),
    mrc("mode 1", "i2"),
    mrc("mode 2", "f4"),
    mrc("mode 3", "c8", mode=3, plain=False),
    mrc("mode 4", "c8"),
    mrc("mode 12", "f2"),
    mrc("mode 16", RGB),
    mrc("mode 101", "u1", mode=101, plain=False),
    mrc("mode 101, odd columns", "u1", mode=101, sig=(6, 9), plain=False),
    mrc("big-endian", order=">", given={"nav_shape": (3, 4)}, nav=(3, 4)),
    mrc("big-endian floats", "f4", order=">"),
    mrc("big-endian, mode 3", "c8", mode=3, order=">", plain=False),
    mrc("big-endian, mode 4", "c8", order=">"),
    mrc("without marks", mark=b"", stamp=bytes(4), order=">"),
    mrc("extended header", extended=bytes(range(240)), kind=b"SERI"),
    mrc("flipped", given={"flip_y": True}, change=lambda f: f[:, ::-1]),
    mrc(TEN, nav=(10,)),
    mrc("one image", nav=()),
    mrc("volumes", nav=(3, 4), ispg=401, grid=(10, 6, 4)),
    mrc("interrupted", nav=(11,), stored=12, truncate=50, change=lambda f: f[:11],
        warns="announces 12 images, but holds 11 and a part of one"),
    mrc("DE raster", nav=(3, 4), movie={"Scan - Size X": 4, "Scan - Size Y": 3}),
    mrc("DE positions", nav=(3, 4), stored=6, movie={"Scan - Type": "XY File"}, positions=_GRID,
        change=gridded, plain=False),
]  # fmt: skip


# -- TIA -----------------------------------------------------------------------------------------


def ser(
    variant: str,
    dtype: str = "u2",
    nav: tuple[int, ...] = (3, 4),
    *,
    sig: tuple[int, ...] = (6, 10),
    stored: int | None = None,
    dims: list[ser_writer.Dim] | None = None,
    scan: bool = True,
    emi: bool = False,
    given: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda frames: frames,
    warns: str = "",
    plain: bool = True,
    **written: Any,
) -> Spec:
    """Make a TIA series, opened through its description if `emi`."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        count = stored or int(np.prod(nav))
        bits = rng.integers(0, 200, (count, *sig))
        frames = bits.astype(dtype) * (1 + 2j if dtype[0] == "c" else 1)
        frames = frames.astype(dtype)
        places = [ser_writer.place(n) for n in nav[::-1]] if scan else None
        path = ser_writer.write_ser(folder / "scan_1.ser", frames, dims or places, **written)
        if emi:
            path = ser_writer.write_emi(folder / "scan.emi")
        expected = change(frames)
        return Sample(
            "ser",
            variant,
            path,
            expected.reshape(*nav, *sig),
            dict(given or {}),
            warns,
            plain=plain,
            sig_dims=len(sig),
        )

    return Spec("ser", variant, make)


def _with_blanks(count: int, fill: float = 0) -> Callable[[Array], Array]:
    def change(frames: Array) -> Array:
        blank = np.full((count, *frames.shape[1:]), fill, frames.dtype)
        return np.concatenate([frames, blank])

    return change


SER = [
    ser("map of images", tag=ser_writer.TIME_AND_PLACE),
    ser("old version", version=0x0210),
    *(ser(f"pixels of type {t}", t) for t in ser_writer.TYPES if t != "u2"),
    ser("opened through its description", emi=True),
    ser("line of images", nav=(5,), tag=ser_writer.TIME_AND_PLACE),
    ser("one image", nav=(), scan=False),
    ser(TEN, nav=(10,), scan=False),
    ser("uneven places", gaps=[0, 8, 0, 3, 0, 0, 100, 0, 0, 0, 1, 0], plain=False),
    ser("elements in another order", order=[3, 1, 2, 0, *range(4, 12)], plain=False),
    ser("tags behind all data", tags_apart=True),
    ser("table behind all data", table_last=True),
    ser("bytes behind the last element", nav=(5,), tail=bytes(4000)),
    ser("interrupted series", nav=(5,), stored=5, total=200, scan=False),
    ser("interrupted series, filled", nav=(8,), stored=5, total=8, dims=[ser_writer.Dim(8)],
        given={"only_valid_data": False}, warns="3 of 8", change=_with_blanks(3), plain=False),
    ser("interrupted series of floats, filled", "f4", nav=(8,), stored=5, total=8, warns="3 of 8",
        dims=[ser_writer.Dim(8)], given={"only_valid_data": False}, plain=False,
        change=_with_blanks(3, np.nan)),
    ser("interrupted map", nav=(2, 4), stored=10, total=12, warns="2 of 3 lines",
        dims=[ser_writer.place(4), ser_writer.place(3)], change=lambda f: f[:8]),
    ser("interrupted map, filled", stored=10, total=12, warns="2 of 12", plain=False,
        dims=[ser_writer.place(4), ser_writer.place(3)], given={"missing": "fill"},
        change=_with_blanks(2)),
    ser("map of spectra", "u4", sig=(40,), tag=ser_writer.TIME_AND_PLACE),
    ser("line of spectra", "i4", nav=(7,), sig=(40,)),
    ser("one spectrum", "i4", nav=(1,), sig=(40,)),
    ser("one of two spectra", "i4", nav=(), sig=(40,), total=2, scan=False),
    ser("series of maps", nav=(2, 3, 4), dims=[ser_writer.place(4), ser_writer.place(3),
        ser_writer.Dim(2)]),
]  # fmt: skip


# -- blockfiles ----------------------------------------------------------------------------------


def blo(
    variant: str,
    nav: tuple[int, ...] = (3, 4),
    *,
    edge: int = 24,
    dtype: str = "u1",
    scan: tuple[int, int] | None = None,
    stored: int | None = None,
    given: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda frames: frames,
    warns: str = "",
    plain: bool = True,
    **written: Any,
) -> Spec:
    """Make a blockfile sample; `change` turns the stored frames into those expected."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        count = stored or int(np.prod(nav))
        frames = rng.integers(0, np.iinfo(dtype).max, (count, edge, edge)).astype(dtype)
        header = scan or (*(1, 1), *nav)[-2:]
        path = blo_writer.write_blo(folder / "scan.blo", frames, header, **written)
        expected = change(frames).reshape(*nav, edge, edge)
        return Sample("blo", variant, path, expected, given or {}, warns, plain=plain)

    return Spec("blo", variant, make)


BLO = [
    blo("8 bit", edge=128, image_at=300, gap=0),
    blo("16 bit", dtype="u2"),
    blo("big-endian", dtype="u2", order=">", given={"endianness": ">"}),
    blo(TEN, (10,), edge=8),
    blo("one frame", ()),
    blo("column", (5,), scan=(5, 1)),
    blo("gap behind the image", gap=1000),
    blo("out of order", (2, 3), ids=[0, 2, 1, 3, 5, 4], change=at(0, 2, 1, 3, 5, 4),
        warns="not in the order of the scan", plain=False),
    blo("missing positions", (2, 3), stored=5, ids=[0, 1, 3, 4, 5], plain=False,
        change=at(0, 1, -1, 2, 3, 4), warns="1 of 6 scan positions have none|header describes 6"),
    blo("interrupted", (2, 4), scan=(3, 4), stored=10, truncate=30, change=lambda f: f[:8],
        warns="9 complete patterns|2 of 3 lines"),
]  # fmt: skip

# -- StreamPix -----------------------------------------------------------------------------------


def seq(
    variant: str,
    dtype: str = "u2",
    nav: tuple[int, ...] = (3, 4),
    *,
    sig: tuple[int, int] = (32, 48),
    given: dict[str, Any] | None = None,
    warns: str = "",
    bits: int = 12,
    change: Callable[[Array], Array] = lambda frames: frames,
    plain: bool = True,
    sides: dict[str, Any] | None = None,
    **written: Any,
) -> Spec:
    """Make a StreamPix sample; `sides` are the files beside it."""
    colour = written.get("image_format") in (200, 400, 500)

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        shape = (int(np.prod(nav)), *sig, *([3] if colour else []))
        highest = 256 if colour or dtype == "u1" else 1 << bits
        frames = rng.integers(0, highest, shape).astype(dtype)
        path = seq_writer.write_seq(folder / "scan.seq", frames, **written)
        seq_writer.write_sides(folder, **(sides or {}))
        expected = change(frames)
        if colour:
            rgb = np.dtype([(name, "u1") for name in "RGB"])
            expected = frames.view(rgb)[..., 0]
        options = dict(given or {})
        if len(nav) > 1:
            options["nav_shape"] = nav
        if len(nav) > 1:
            expected = expected.reshape(*nav, *expected.shape[1:])
        return Sample("seq", variant, path, expected, options, warns, plain=plain)

    return Spec("seq", variant, make)


def celeritas(
    variant: str,
    each: int,
    buffers: int = 3,
    *,
    opened: int = 0,
    sig: tuple[int, int] = (16, 24),
    given: dict[str, Any] | None = None,
    warns: str = "",
    change: Callable[[Array], Array] = lambda frames: frames,
    **written: Any,
) -> Spec:
    """Make a recording in halves, opened through the top (0) or the bottom (1) half."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = rng.integers(0, 4096, (buffers * each, *sig)).astype("u2")
        paths = seq_writer.write_halves(folder, frames, each, **written)
        return Sample("seq", variant, paths[opened], change(frames), dict(given or {}), warns)

    return Spec("seq", variant, make)


_DARK = np.random.default_rng(5).integers(0, 90, (32, 48)).astype("f4")
_GAIN = 2.0 ** np.random.default_rng(6).integers(-2, 2, (32, 48)).astype("f4")


def blank_frames(*blanks: int) -> Callable[[Array], Array]:
    """Fill frames with zeros."""

    def change(frames: Array) -> Array:
        out = frames.copy()
        out[list(blanks)] = 0
        return out

    return change


_TOLD = "vendor's list"
SEQ = [
    seq("16 bit", sig=(128, 96), real=12),
    seq("8 bit", "u1"),
    seq("32 bit", "u4", bits=20),
    seq("version 4", version=4),
    seq("version 4, 8 bit", "u1", version=4, sig=(15, 7)),
    seq("aligned slots", alignment=8192),
    seq("padding cut off", alignment=8192, truncate=8192 - 32 * 48 * 2),
    seq("Bayer", image_format=101),
    seq("uppermost bits", image_format=112, real=12, plain=False, warns=_TOLD),
    seq("uppermost bits, big-endian", image_format=114, real=12, plain=False, warns=_TOLD),
    seq("Bayer, big-endian", "u4", image_format=115, real=20, bits=20, plain=False, warns=_TOLD),
    seq("blue, green, red", "u1", image_format=200, plain=False, warns=_TOLD),
    seq("red, green, blue", "u1", image_format=400, warns=_TOLD),
    seq("blue, green, red and nothing", "u1", image_format=500, plain=False, warns=_TOLD),
    seq("loop", oldest=5, plain=False),
    seq("slots never written", unwritten=4, warns="4 of 16 slots were never written"),
    seq("slots that are not counted", unwritten=4, allocated=12),
    seq("every slot", nav=(12,), unwritten=4, allocated=6, given={"all_slots": True},
        change=lambda f: np.concatenate([f, 0 * f[:4]])),
    seq("dark and gain", real=12, plain=False, sides={"dark": _DARK, "gain": _GAIN, "info": {}},
        change=lambda f: (f - _DARK) * _GAIN),
    seq("corrections off", given={"corrections": False}, sides={"dark": _DARK}),
    seq(TEN, nav=(10,)),
    celeritas("halves, one frame per buffer", 1, 6),
    celeritas("halves, four frames per buffer", 4),
    celeritas("opened through the bottom half", 4, opened=1),
    celeritas("aligned buffers", 2, alignment=8192, numbered=False),
    celeritas("lost buffers", 2, 6, without=([1], [3]), given={"fill_value": 0},
              warns="2 of 6 buffers were lost", change=blank_frames(2, 3, 6, 7)),
    celeritas("lost buffers dropped", 2, 6, without=([1], [3]), given={"lost": "drop"},
              warns="2 of 6 buffers were lost", change=lambda f: f[[0, 1, 4, 5, 8, 9, 10, 11]]),
    celeritas("big-endian halves", 2, image_format=114, real=12, warns=_TOLD),
]  # fmt: skip

# -- HDF5 ----------------------------------------------------------------------------------------


def hdf5(
    variant: str,
    dtype: str = "<u2",
    shape: tuple[int, ...] = (3, 4, 6, 10),
    *,
    write: Callable[..., Path] = hdf5_writer.write_array,
    sig_dims: int = 2,
    given: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda array: array,
    plain: bool = True,
    **layout: Any,
) -> Spec:
    """Make an HDF5 sample; `change` turns the stored array into what is read."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        array = rng.integers(0, 200, shape).astype(dtype)
        path = write(folder / "scan.h5", array, **layout)
        expected = change(array.astype(array.dtype.newbyteorder("=")))
        return Sample("hdf5", variant, path, expected, given or {}, plain=plain, sig_dims=sig_dims)

    return Spec("hdf5", variant, make)


_CUBE_DIMS = [("y", "[n_m]", 0, 2), ("x", "[n_m]", 0, 2), ("ky", "[n_m^-1]", -3, 0.1),
              ("kx", "[n_m^-1]", -5, 0.1)]  # fmt: skip
HDF5 = [
    hdf5("contiguous"),
    hdf5("big-endian", ">u2"),
    hdf5("big-endian floats", ">f8"),
    hdf5("complex", "<c8"),
    hdf5("bool", "?"),
    hdf5("behind a block for the user", userblock=4096),
    hdf5("chunk per frame", chunks=(1, 1, 6, 10), plain=False),
    hdf5("chunk per frame, bslz4", chunks=(1, 1, 6, 10), compression="bslz4", plain=False),
    hdf5("chunk per frame, lz4", "<u4", chunks=(1, 1, 6, 10), compression="lz4", plain=False),
    hdf5("chunk per frame, zstd", chunks=(1, 1, 6, 10), compression="zstd", plain=False),
    hdf5("chunks of lines, gzip", ">i4", chunks=(1, 4, 6, 10), compression="shuffle+gzip",
         plain=False),
    hdf5("chunks that cut frames", "<f4", chunks=(2, 3, 4, 4), compression="gzip", plain=False),
    hdf5("spectra", shape=(3, 4, 10), sig_dims=1, given={"sig_dims": 1}),
    hdf5("volumes", shape=(3, 4, 5, 6), sig_dims=3, given={"sig_dims": 3}),
    hdf5("one frame", shape=(6, 10)),
    hdf5("five dimensions", shape=(2, 3, 4, 5, 6)),
    hdf5("frames stored as lines", shape=(3, 4, 60), given={"sig_shape": (6, 10)},
         change=lambda a: a.reshape(3, 4, 6, 10)),
    hdf5("detector axes first", shape=(6, 10, 3, 4), given={"sig_first": True}, plain=False,
         change=lambda a: a.transpose(2, 3, 0, 1)),
    hdf5("named", dataset="deep/inside", other=np.zeros((3, 4, 6, 11)),
         given={"dataset": "/deep/inside"}),
    hdf5("links", write=hdf5_writer.write_soft_links, given={"ds_path": "short"}),
    hdf5("EMD 0.2", write=hdf5_writer.write_emd, dims=_CUBE_DIMS),
    hdf5("py4DSTEM, old", "<f4", write=hdf5_writer.write_py4dstem_old),
    hdf5("py4DSTEM", "<f4", write=hdf5_writer.write_py4dstem, virtual_image=(70, 80)),
    hdf5("Velox series", "<i2", (7, 6, 10), write=hdf5_writer.write_velox, plain=False),
    hdf5("NXdata", write=hdf5_writer.write_nexus),
    hdf5("DM5", "<f4", write=hdf5_writer.write_dm5, tags={"Data Order Swapped": 1},
         calibrations=[(5, 0.2, "1/nm"), (3, 0.2, "1/nm"), (0, 2, "nm"), (0, 2, "nm")]),
    hdf5("kikuchipy", "u1", (12, 6, 10), write=hdf5_writer.write_kikuchipy, scan=(3, 4),
         plain=False, change=lambda a: a.reshape(3, 4, 6, 10)),
    hdf5("image series", shape=(5, 6, 10), dataset="series/images"),
    hdf5(TEN, shape=(10, 6, 4)),
]  # fmt: skip


def dectris(
    variant: str,
    nav: tuple[int, ...] = (3, 4),
    dtype: str = "u4",
    *,
    sig: tuple[int, int] = (6, 10),
    stored: int | None = None,
    given: dict[str, Any] | None = None,
    warns: str = "",
    change: Callable[[Array], Array] = lambda frames: frames,
    opened: str = "",
    **written: Any,
) -> Spec:
    """Make a Dectris sample, opened through the master or the file named."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        count = stored or int(np.prod(nav))
        frames = rng.integers(0, 70_000 if dtype == "u4" else 200, (count, *sig)).astype(dtype)
        scan = {"scan": nav} if len(nav) == 2 else {}
        path = dectris_writer.write_dectris(folder, frames, **{**scan, **written})
        expected = change(frames).reshape(*nav, *sig)
        return Sample(
            "dectris", variant, folder / opened if opened else path, expected, given or {}, warns
        )

    return Spec("dectris", variant, make)


_DEAD = np.zeros((6, 10), "u4")
_DEAD[2, 3] = 2


def without_dead(frames: Array) -> Array:
    """Put the mean of its neighbours into the pixel of `_DEAD`."""
    out = frames.astype("f8")
    around = out[:, 1:4, 2:5].reshape(len(out), 9)
    out[:, 2, 3] = np.delete(around, 4, axis=1).mean(axis=1)
    return out


def dead_as_zero(frames: Array) -> Array:
    return np.where(_DEAD == 0, frames, 0).astype(frames.dtype)


DECTRIS = [
    dectris("ARINA"),
    dectris("8 bit", dtype="u1", per_file=100),
    dectris("opened through a data file", opened="scan_data_000002.h5"),
    dectris("without compression", dtype="u2", compression=None, haadf=True),
    dectris("old firmware", dtype="u2", old_firmware=True, compression="lz4", numbered=False),
    dectris("frames in the master", inside=True),
    dectris("triggered lines", scan=None, triggers=(3, 4)),
    dectris("masked pixels", mask=_DEAD, change=dead_as_zero),
    dectris("masked pixels repaired", mask=_DEAD, change=without_dead, given={"repair": "mean8"}),
    dectris("masked pixels as they are", mask=_DEAD, given={"corrections": False}),
    dectris("frames before each line", prescan=2, stored=18, warns="NumPixelsPrescan",
            change=lambda f: f.reshape(3, 6, 6, 10)[:, 2:].reshape(12, 6, 10)),
    dectris(TEN, (10,), "u2", sig=(6, 4)),
]  # fmt: skip

# -- hexrd's image series ------------------------------------------------------------------------


def imagefiles(
    variant: str,
    dtype: str = "u2",
    count: int = 7,
    *,
    per_file: int = 1,
    sig: tuple[int, int] = (12, 16),
    files: Any = "*im_*",
    kind: str = "tif",
    change: Callable[[Array], Array] = lambda frames: frames,
    given: dict[str, Any] | None = None,
    warns: str = "",
    plain: bool = False,
    sections: dict[str, Any] | None = None,
    **layout: Any,
) -> Spec:
    """Make a list of images, `per_file` in each file."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = rng.integers(0, 250, (count, *sig)).astype(dtype)
        for i in range(0, count, per_file):
            images = frames[i : i + per_file]
            name = folder / f"scan_im_{i}.{kind}"
            if kind == "npy":
                np.save(name, images)
            else:
                imagefiles_writer.write_tiff(name, images, **layout)
        path = imagefiles_writer.write_list(folder / "scan.yml", files, **(sections or {}))
        expected = change(frames.astype(frames.dtype.newbyteorder("=")))
        return Sample("imagefiles", variant, path, expected, dict(given or {}), warns, plain=plain)

    return Spec("imagefiles", variant, make)


IMAGEFILES = [
    imagefiles("one TIFF each", count=12, given={"nav_shape": (3, 4)},
        change=lambda f: f.reshape(3, 4, *f.shape[1:])),
    imagefiles(TEN, count=10),
    imagefiles("12 files, numbers without zeros", count=12, rows_per_strip=5),
    imagefiles("big-endian", ">i4", order=">"),
    imagefiles("BigTIFF of floats", "f4", big=True, header_first=True),
    imagefiles("one stack", per_file=7, plain=True),
    imagefiles("strips apart", gap=4, rows_per_strip=4),
    imagefiles("deflated", deflate=True),
    imagefiles("limits", count=9, per_file=3, sections={"options": {"empty-frames": 1,
        "max-file-frames": 1, "max-total-frames": 2}}, change=lambda f: f[[1, 4]]),
    imagefiles("limits beside image-files", count=9, per_file=3, sections={"empty_frames": 1},
        change=lambda f: f[[1, 2, 4, 5, 7, 8]]),
    imagefiles("limits as keywords", count=9, per_file=3, change=lambda f: f[[0, 1, 3, 4]],
        given={"max_file_frames": 2, "max_total_frames": 4}),
    imagefiles("cast", sections={"options": {"dtype": "float32"}},
        change=lambda f: f.astype("f4")),
    imagefiles("rotation", sections={"meta": {"omega": [[i, i + 1] for i in range(7)]}}),
    imagefiles("NumPy arrays", per_file=4, kind="npy"),
]  # fmt: skip


def rawimage(
    variant: str,
    dtype: str = "<u2",
    count: int = 7,
    *,
    nav: tuple[int, ...] = (),
    sig: tuple[int, int] = (12, 16),
    warns: str = "",
    **written: Any,
) -> Spec:
    """Make a raw image."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = rng.integers(0, 250, (count, *sig)).astype(dtype)
        path = rawimage_writer.write_rawimage(folder / "scan.yml", frames, **written)
        expected = frames.astype(frames.dtype.newbyteorder("=")).reshape(*nav or (-1,), *sig)
        options = {"nav_shape": nav} if nav else {}
        return Sample("rawimage", variant, path, expected, options, warns, plain=True)

    return Spec("rawimage", variant, make)


RAWIMAGE = [
    rawimage("found by a pattern", count=12, nav=(3, 4), named="*data.*"),
    *(rawimage(f"type {t}", t) for t in ("i1", ">i2", "<u4", ">u8", "<f4", ">f8", "?")),
    rawimage("skip and gap", skip=11, gap=3),
    rawimage("rest", rest=9, warns="9 bytes at the end"),
    rawimage("shape as a list", shape=[12, 16], skip=None),
    rawimage(TEN, ">u2", 10),
]


def eigerstream(
    variant: str,
    count: int = 6,
    *,
    dtype: str = "u4",
    sig: tuple[int, int] = (24, 40),
    given: dict[str, Any] | None = None,
    thresholds: int = 1,
    change: Callable[..., Array] = lambda frames, *others: frames,
    warns: str = "",
    **written: Any,
) -> Spec:
    """Make a capture of an Eiger's stream."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        stacks = [rng.integers(0, 250, (count, *sig)).astype(dtype) for _ in range(thresholds)]
        path = eigerstream_writer.write_stream(folder / "scan.h5", *stacks, **written)
        return Sample("eigerstream", variant, path, change(*stacks), dict(given or {}), warns)

    return Spec("eigerstream", variant, make)


EIGERSTREAM = [
    eigerstream("bitshuffled", 12, given={"nav_shape": (3, 4)},
        change=lambda f: f.reshape(3, 4, *f.shape[1:])),
    eigerstream("LZ4", dtype="u2", compression="lz4"),
    eigerstream("sparse", dtype="u1", compression="csrnpz"),
    eigerstream("several compressions",
        compression=("lz4", "bslz4", "csrnpz", "none", "lz4", "bslz4")),
    eigerstream("first threshold", thresholds=2),
    eigerstream("second threshold", thresholds=2, given={"threshold_setting": "threshold_2"},
        change=lambda low, high: high),
    eigerstream("difference", thresholds=2, change=lambda low, high: low - 1.25 * high,
        given={"threshold_setting": "man_diff", "multiplier": 1.25}),
    eigerstream("lost frame", 5, numbers=(0, 1, 2, 4, 5), warns="1 of 6 frames are missing",
        change=lambda f: np.insert(f, 3, 0, axis=0)),
    eigerstream(TEN, 10, dtype="u2"),
]  # fmt: skip

# -- DigitalMicrograph ---------------------------------------------------------------------------


def dm(
    variant: str,
    nav: tuple[int, ...] = (3, 4),
    *,
    sig: tuple[int, int] = (6, 10),
    dtype: Any = "u2",
    frames_first: bool = True,
    given: dict[str, Any] | None = None,
    stored: tuple[int, ...] | None = None,
    tags: dict[str, Any] | None = None,
    units: tuple[str, ...] = (),
    warns: str = "",
    plain: bool = True,
    suffix: str = "dm4",
    **written: Any,
) -> Spec:
    """Make a DigitalMicrograph sample; `stored` is the scan shape in the file, if it differs."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        kind = np.dtype(dtype)
        raw = rng.integers(0, 256, (*nav, *sig, kind.itemsize)).astype("u1")
        if kind.kind in "fc":
            data = rng.normal(size=(*nav, *sig)).astype(kind)
        elif kind.kind == "b":
            data = raw[..., 0] > 127
        else:
            data = raw.view(kind)[..., 0]
        disk = data.reshape(*(nav if stored is None else stored), *sig)
        if not frames_first:
            disk = np.moveaxis(disk, (-2, -1), (0, 1))
        image = dm_writer.image(disk, tags=tags, units=units)
        path = dm_writer.write_dm(folder / f"recording.{suffix}", [image], **written)
        return Sample("dm", variant, path, data, given or {}, warns, plain=plain)

    return Spec("dm", variant, make)


def dm_series(variant: str, opened: str, numbers: tuple[int, ...], **given: Any) -> Spec:
    """Make a series of images in files of their own."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = rng.integers(0, 1 << 16, (len(numbers), 6, 10)).astype("u2")
        for number, frame in zip(numbers, frames, strict=True):
            image = dm_writer.image(frame, name=f"recording_{number}")
            dm_writer.write_dm(folder / f"recording_{number}.dm4", [image])
        return Sample("dm", variant, folder / opened, frames, {"files": "numbered", **given})

    return Spec("dm", variant, make)


_NEWER, _OLDER = dm_writer.swapped(True), dm_writer.swapped(0)
DM = [
    dm("DM4, frame after frame", tags=_NEWER, units=dm_writer.DIFFRACTION),
    dm("DM3, frame after frame", tags=_NEWER, version=3, suffix="dm3"),
    dm("big-endian", dtype="i4", tags=_NEWER, little=False, version=3, suffix="dm3"),
    dm("pixel after pixel", tags=_OLDER, frames_first=False, plain=False),
    dm("pixel after pixel, big-endian", dtype="f8", tags=_OLDER, frames_first=False, plain=False,
        little=False),
    dm("pixel after pixel, nothing tells", frames_first=False, plain=False,
        warns="nothing tells which of its 4 axes are the scan"),
    dm("scan of one pixel after the other, five axes", (2, 3, 4), dtype="u1", plain=False,
        frames_first=False, units=("nm", "nm", "s", "1/nm", "1/nm")),
    dm("five axes", (2, 3, 4), dtype="f4", tags=_NEWER),
    dm(TEN, (10,)),
    dm("one image", (), version=3, with_thumbnail=False, suffix="dm3"),
    dm("complex stack", (5,), dtype="c8"),
    dm("flags", (2, 2), dtype="?", tags=_NEWER),
    dm("colours", (3,), dtype=dm_writer.RGBA, plain=False),
    dm("colours, pixel after pixel", (2, 3), dtype=dm_writer.RGBA, tags=_OLDER, plain=False,
        frames_first=False),
    dm("scan in tags", stored=(12,), tags={"4D STEM Tags": {"Scan shape X": 4, "Scan shape Y": 3}}),
    dm_series("numbered files", "recording_9.dm4", (8, 9, 10, 11, 100)),
    dm_series("numbered files, all parsed", "recording_1.dm4", (1, 2, 3), same_offset=False),
]  # fmt: skip


# -- pnCCD ---------------------------------------------------------------------------------------


def frms6(
    variant: str,
    nav: tuple[int, ...] = (3, 3),
    *,
    binning: int = 1,
    sig: tuple[int, int] = (24, 16),
    dark: bool = True,
    given: dict[str, Any] | None = None,
    warns: str = "",
    change: Callable[[Array], Array] = lambda frames: frames,
    opened: str = "scan_001.frms6",
    plain: bool = False,
    **written: Any,
) -> Spec:
    """Make a pnCCD sample; `change` turns the frames, dark frames subtracted, into what is read."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        rows = sig[0] // binning
        frames = rng.integers(200, 4000, (*nav, rows, sig[1])).repeat(binning, axis=-2)
        mean = rng.integers(50, 150, (rows, sig[1])).repeat(binning, axis=0)
        darks = np.stack([mean - 2, mean, mean + 2]) if dark else None
        frms6_writer.write_recording(folder, frames, darks, binning=binning, **written)
        flat = frames.reshape(-1, *sig)
        corrected = dark and (given or {}).get("corrections", True)
        expected = change((flat - mean).astype("f4") if corrected else flat.astype("u2"))
        return Sample(
            "frms6",
            variant,
            folder / opened,
            expected.reshape(*nav, *expected.shape[1:]),
            given or {},
            warns,
            plain=plain,
        )

    return Spec("frms6", variant, make)


def in_window(frames: Array, *windows: tuple[int, int]) -> Array:
    """Keep the rows of one window, or of frame i those of window i, and of the mirrored half."""
    out = np.zeros_like(frames)
    for i in range(len(frames)):
        start, height = windows[i % len(windows)]
        out[i, start : start + height] = frames[i, start : start + height]
        lower = slice(frames.shape[1] - start - height, frames.shape[1] - start)
        out[i, lower] = frames[i, lower]
    return out


_UNCORRECTED = {"corrections": False}
_MIXED = [(2, 5), (2, 5), (0, 12), (7, 4), (2, 5), (0, 12), (1, 1), (0, 12), (0, 12)]
FRMS6 = [
    frms6("not unfolded", dark=False, given={"unfold": False, **_UNCORRECTED}, plain=True,
          change=frms6_writer.in_stored_order),
    frms6("not binned"),
    frms6("binned by 2", binning=2),
    frms6("binned by 4", binning=4),
    frms6("opened through the .hdr", opened="scan.hdr"),
    frms6("several files", files=(2, 5), opened="scan_002.frms6"),
    frms6("frames not counted", count=0),
    frms6("as recorded", binning=4, given=_UNCORRECTED),
    frms6("no dark frames", dark=False, warns="there are no dark frames"),
    frms6("one line", (4,)),
    frms6("lines and columns differ", (2, 4), warns="2 lines of 4 positions"),
    frms6("scan shape given", (2, 4), given={"nav_shape": (2, 4)}),
    frms6("no .hdr", (6,), has_hdr=False, warns="no .hdr says how rows were binned"),
    frms6("no .hdr, binning given", (6,), binning=2, has_hdr=False, given={"binning": 2}),
    frms6("not unfolded, dark frames", binning=2, given={"unfold": False},
          change=lambda f: np.concatenate([f[:, :12:2], f[:, :11:-2, ::-1]], axis=2)),
    frms6("window", windows=[(3, 7)] * 9, warns="frames are windows",
          change=lambda f: in_window(f, (3, 7))),
    frms6("window, binned", binning=4, windows=[(1, 2)] * 9, warns="frames are windows",
          change=lambda f: in_window(f, (4, 8))),
    frms6("windows that differ", windows=_MIXED, dark=False, given=_UNCORRECTED,
          warns="frames are windows", change=lambda f: in_window(f, *_MIXED)),
    frms6("short files", (9,), files=(4,), truncate=100, given={"nav_shape": (9,)},
          warns="3 of the 4 frames|4 of the 5 frames|1 blanks|files hold 8|1 of 9",
          change=lambda f: np.concatenate([f[:3], 0 * f[:1], f[4:8], 0 * f[:1]])),
    frms6(TEN, (10,), sig=(6, 4), dark=False, given=_UNCORRECTED),
]  # fmt: skip

# -- sparse recordings ---------------------------------------------------------------------------


def _thin(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, sig_dims: int = 2) -> Array:
    """Frames of which few pixels are not zero, and the second none at all."""
    values = rng.integers(1, 200, shape) * (rng.random(shape) < 0.15)
    frames = values.reshape(-1, *shape[len(shape) - sig_dims :])
    frames[1:2] = 0
    return frames.reshape(shape).astype(dtype)


def raw_csr(
    variant: str,
    dtype: str = "<u2",
    shape: tuple[int, ...] = (3, 4, 6, 10),
    *,
    sig_dims: int = 2,
    shuffle: bool = False,
    given: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda frames: frames,
    warns: str = "",
    **layout: Any,
) -> Spec:
    """Make a sparse recording of LiberTEM."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = _thin(rng, shape, dtype, sig_dims)
        path = raw_csr_writer.write_raw_csr(
            folder / "scan.toml", frames, sig_dims=sig_dims, shuffle=rng if shuffle else None,
            **layout,
        )  # fmt: skip
        expected = change(frames.astype(frames.dtype.newbyteorder("=")))
        return Sample("raw_csr", variant, path, expected, given or {}, warns, sig_dims=sig_dims)

    return Spec("raw_csr", variant, make)


RAW_CSR = [
    raw_csr("scan"),
    raw_csr(TEN, shape=(10, 6, 4), nav_shape=None),
    raw_csr("32 bit, small offsets", "<i4", indptr_dtype="<u2", indices_dtype="u1"),
    raw_csr("big-endian", ">f4", indptr_dtype=">i4", indices_dtype=">u8"),
    raw_csr("entries out of order and twice", shuffle=True),
    raw_csr("complex", "<c8"),
    raw_csr("flags", "?"),
    raw_csr("half precision", "<f2"),
    raw_csr("spectra", shape=(3, 4, 20), sig_dims=1),
    raw_csr("volumes", shape=(3, 4, 5, 6), sig_dims=3),
    raw_csr("five dimensions", shape=(2, 3, 2, 6, 4)),
    raw_csr("upper-case filetype", filetype="RAW_CSR"),
    raw_csr("frame shape as a keyword", sig_shape=None, given={"sig_shape": (6, 10)}),
]  # fmt: skip


def framecache(
    variant: str,
    dtype: str = "u2",
    shape: tuple[int, int, int] = (7, 12, 16),
    *,
    write: Callable[..., Path] = framecache_writer.write_npz,
    name: str = "scan.npz",
    given: dict[str, Any] | None = None,
    change: Callable[[Array], Array] = lambda frames: frames,
    warns: str = "",
    **layout: Any,
) -> Spec:
    """Make a frame cache of hexrd."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = _thin(rng, shape, dtype)
        path = write(folder / name, frames, **layout)
        expected = change(frames.astype(frames.dtype.newbyteorder("=")))
        return Sample("framecache", variant, path, expected, dict(given or {}), warns)

    return Spec("framecache", variant, make)


def fch5(variant: str, *args: Any, **more: Any) -> Spec:
    """Make a frame cache in HDF5."""
    return framecache(variant, *args, write=framecache_writer.write_fch5, name="scan.fch5", **more)


_ANGLES = np.array([[i, i + 1.0] for i in range(7)])
FRAMECACHE = [
    framecache("npz, scan", shape=(12, 6, 10), metadata={"navigation_shape": np.array([4, 3])},
        change=lambda f: f.reshape(3, 4, 6, 10)),
    framecache("npz"),
    framecache(TEN, shape=(10, 6, 4)),
    framecache("npz, stored", "f4", compressed=False),
    framecache("npz, 64-bit places, shuffled", "i4", index="<i8", shuffled=True, omega=_ANGLES),
    framecache("npz, threshold", threshold=50, change=lambda f: np.where(f > 50, f, 0)),
    framecache("npz, a lost frame", lost=["3_row", "3_col", "3_data"],
        warns="lacks arrays of 1 of 7",
        change=lambda f: np.concatenate([f[:3], 0 * f[3:4], f[4:]])),
    framecache("yml", omega=_ANGLES, write=framecache_writer.write_yaml, name="scan.yml"),
    fch5("fch5"),
    fch5("fch5, any order", "u4", order=(3, 1, 0, 6, 5, 2, 4), omega=_ANGLES, by_column=True),
    fch5("fch5, in a group", "f8", group="/images/ge1"),
    fch5("fch5, not compressed", "u1", index="u4", compressed=False),
]  # fmt: skip


SPECS = [
    *RAW_CSR, *FRAMECACHE,
    *FRMS6,
    *DM,
    *IMAGEFILES, *RAWIMAGE, *EIGERSTREAM, *DECTRIS, *HDF5, *SEQ, *MRC, *TVIPS, *BLO, *SER, *EMPAD,
    *MIB, *RAW, *K2IS, *NPY, *ZARR, *ARRAYS,
]  # fmt: skip


# -- fixtures ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def sample_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Spec], Sample]:
    """Return the sample of a spec, written on first use."""
    made: dict[Spec, Sample] = {}

    def get(spec: Spec) -> Sample:
        if spec not in made:
            folder = tmp_path_factory.mktemp(spec.format)
            made[spec] = spec.make(folder, np.random.default_rng(zlib.crc32(str(spec).encode())))
        return made[spec]

    return get


@pytest.fixture(params=SPECS, ids=str)
def sample(request: pytest.FixtureRequest, sample_of: Callable[[Spec], Sample]) -> Sample:
    """Every sample."""
    return sample_of(request.param)


@pytest.fixture(params=[spec for spec in SPECS if spec.has_file], ids=str)
def file_sample(request: pytest.FixtureRequest, sample_of: Callable[[Spec], Sample]) -> Sample:
    """Every sample that is a file."""
    return sample_of(request.param)


@pytest.fixture(params=[spec for spec in SPECS if spec.variant == TEN], ids=str)
def ten(request: pytest.FixtureRequest, sample_of: Callable[[Spec], Sample]) -> Sample:
    """A flat stack of ten frames, one for each format."""
    return sample_of(request.param)


def _one_of_each(specs: list[Spec]) -> list[Spec]:
    first: dict[str, Spec] = {}
    for spec in specs:
        first.setdefault(spec.format, spec)
    return list(first.values())


@pytest.fixture(params=_one_of_each([spec for spec in SPECS if spec.has_file]), ids=str)
def first_sample(request: pytest.FixtureRequest, sample_of: Callable[[Spec], Sample]) -> Sample:
    """One sample for each format that has files: the first in its list."""
    return sample_of(request.param)


# -- the frame mapping ---------------------------------------------------------------------------


class Mapping(NamedTuple):
    """What ten stored frames become; `sources` has -1 for filled positions.

    `shape` None means that a ValueError is raised.
    """

    options: dict[str, Any]
    shape: tuple[int, ...] | None
    sources: list[int]
    warns: str = ""

    def __str__(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self.options.items()) or "nothing asked"


_ = -1
_ALL = list(range(10))
MAPPINGS = [
    Mapping({}, (10,), _ALL),
    Mapping({"sync_offset": 2}, (8,), _ALL[2:]),
    Mapping({"sync_offset": -2}, (12,), [_, _, *_ALL]),
    Mapping({"first_frame": 2, "last_frame": 8}, (6,), _ALL[2:8]),
    Mapping({"first_frame": -3}, (3,), [7, 8, 9]),
    Mapping({"last_frame": 20}, (10,), _ALL),
    Mapping({"first_frame": 8, "last_frame": 2}, None, []),
    Mapping({"first_frame": 12}, None, []),
    Mapping({"nav_shape": (2, 5)}, (2, 5), _ALL),
    Mapping({"nav_shape": (2, 5), "sync_offset": 2}, (2, 5), [*_ALL[2:], _, _], "2 of 10"),
    Mapping({"nav_shape": (2, 5), "sync_offset": -2}, (2, 5), [_, _, *_ALL[:8]]),
    Mapping({"nav_shape": (2, 3)}, (2, 3), _ALL[:6]),
    Mapping({"nav_shape": (2, 3), "sync_offset": 2}, (2, 3), _ALL[2:8]),
    Mapping({"nav_shape": (2, 3), "sync_offset": -2}, (2, 3), [_, _, 0, 1, 2, 3]),
    Mapping({"nav_shape": (2, 3), "sync_offset": 7}, (2, 3), [7, 8, 9, _, _, _], "3 of 6"),
    Mapping({"nav_shape": (3, 5)}, (3, 5), [*_ALL, *[_] * 5], "5 of 15"),
    Mapping({"navigation_shape": (5, 3)}, (2, 5), _ALL, "2 of 3 lines"),
    Mapping({"navigation_shape": (4, 3)}, (2, 4), _ALL[:8], "2 frames of the next line"),
    Mapping({"navigation_shape": (12, 2)}, (10,), _ALL, "do not fill one line"),
    Mapping({"nav_shape": (3, 5), "missing": "raise"}, None, []),
    Mapping({"nav_shape": (3, 5), "sync_offset": 2}, (3, 5), [*_ALL[2:], *[_] * 7], "7 of 15"),
    Mapping({"nav_shape": (3, 5), "sync_offset": -2}, (3, 5), [_, _, *_ALL, _, _, _], "3 of 15"),
    Mapping({"nav_shape": (3, 5), "sync_offset": -12}, (3, 5), [*[_] * 12, 0, 1, 2]),
    Mapping({"nav_shape": (2, 5), "sync_offset": 9}, (2, 5), [9, *[_] * 9], "9 of 10"),
    Mapping({"nav_shape": (2, 5), "sync_offset": -9}, (2, 5), [*[_] * 9, 0]),
    Mapping({"nav_shape": (2, 5), "sync_offset": 10}, None, []),
    Mapping({"nav_shape": (2, 5), "sync_offset": -10}, None, []),
    Mapping({"nav_shape": (2, 3), "first_frame": 2, "last_frame": 8}, (2, 3), _ALL[2:8]),
    Mapping({"nav_shape": (2, 5), "first_frame": 2}, (2, 5), [*_ALL[2:], _, _], "2 of 10"),
    Mapping({"navigation_shape": (5, 2), "first_frame": 2}, (1, 5), _ALL[2:7], "1 of 2 lines"),
    Mapping({"nav_shape": (2, 3), "sync_offset": 1, "first_frame": 2}, (2, 3), _ALL[3:9]),
    Mapping(
        {"nav_shape": (2, 3), "sync_offset": -1, "first_frame": 2, "last_frame": 6},
        (2, 3),
        [_, 2, 3, 4, 5, _],
        "1 of 6",
    ),
    Mapping({"nav_shape": (-1, 5)}, (2, 5), _ALL),
    Mapping({"nav_shape": (-1, 4)}, (2, 4), _ALL[:8], "2 of 10 frames dropped"),
    Mapping({"nav_shape": (-1, 3), "sync_offset": -2}, (4, 3), [_, _, *_ALL]),
    Mapping({"nav_shape": (2, 0)}, None, []),
    # beyond the table
    Mapping({"navigation_shape": (5, -1)}, (2, 5), _ALL),
    Mapping({"nav_shape": (5, -1)}, (5, 2), _ALL),
    Mapping({"nav_shape": 10}, (10,), _ALL),
    Mapping({"nav_shape": (2, 5), "missing": "raise"}, (2, 5), _ALL),
    Mapping({"nav_shape": (3, 5), "missing": "crop"}, (2, 5), _ALL, "2 of 3 lines"),
    Mapping({"navigation_shape": (5, 3), "missing": "fill"}, (3, 5), [*_ALL, *[_] * 5], "5 of 15"),
    Mapping({"nav_shape": (2, 2, 3)}, (2, 2, 3), [*_ALL, _, _], "2 of 12"),
    Mapping({"navigation_shape": (3, 2, 2)}, (1, 2, 3), _ALL[:6], "4 frames of the next line"),
    Mapping({"nav_shape": (-1, -1)}, None, []),
    Mapping({"nav_shape": (-1, 11)}, None, []),
    Mapping({"nav_shape": (-2, 5)}, None, []),
]


@pytest.fixture(params=MAPPINGS, ids=str)
def mapping(request: pytest.FixtureRequest) -> Mapping:
    """One row of the table of frame mappings."""
    return request.param


@pytest.fixture(autouse=True)
def _closed_files() -> Iterator[None]:
    """Let no test live on files that another one left open."""
    yield
    from rsciio_tem.storage import backends

    backends.close_all()
