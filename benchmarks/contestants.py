# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is measured: one class per way of reading a file, all with the same few methods.

A new contestant is one class and one row of `CONTESTANTS`. What it cannot do it leaves to the base
class, which raises `Unsupported`; the report then shows "-".
"""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from benchmarks import earlier
from benchmarks.files import Array, DataFile, Strided


class Unsupported(Exception):
    """The contestant has no such thing, or is not installed."""


def required(name: str) -> ModuleType:
    """Import a module that may be missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Unsupported(f"cannot import {name}: {error}") from error


class Crop(NamedTuple):
    """A part of the detector, off centre, and a disk in it."""

    rows: slice
    columns: slice
    disk: Array

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Crop:
        """Return a disk of a quarter of the shorter side."""
        size = min(shape) // 4
        y, x = np.ogrid[:size, :size]
        disk = (y - (size - 1) / 2) ** 2 + (x - (size - 1) / 2) ** 2 <= (size / 2) ** 2
        rows, columns = shape[0] // 3, shape[1] // 2
        return cls(slice(rows, rows + size), slice(columns, columns + size), disk)


def masked(frames: Array, mask: Array) -> Array:
    """Sum frames (..., rows, columns) with weights in float32."""
    flat = frames.reshape(-1, mask.size).astype(np.float32)
    return (flat @ mask.reshape(-1)).reshape(frames.shape[:-2])


def disk_sums(frames: Array, mask: Array) -> Array:
    """Sum the pixels of frames (..., rows, columns) that are in a mask: what a user might write."""
    return frames.sum(axis=(-2, -1), where=mask, dtype=np.float64)


def centres(frames: Array) -> Array:
    """Return the centres of mass, row and column, of frames (..., rows, columns)."""
    kind = np.float64 if frames.dtype.kind == "f" else np.uint32
    sums = frames.sum(axis=-1, dtype=kind), frames.sum(axis=-2, dtype=kind)
    moments = [part @ np.arange(part.shape[-1], dtype=np.float64) for part in sums]
    return np.stack(moments, axis=-1) / sums[0].sum(axis=-1, dtype=np.float64)[..., None]


def _mapped(array: Any) -> bool:
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False


class Contestant:
    """What every contestant can be asked for.

    Attributes
    ----------
    family : str
        Key into `Format.readers`.
    flips : bool
        It turns the formats marked ``flips`` upside down, as HyperSpy's readers do.
    """

    family: ClassVar[str]
    flips: ClassVar[bool] = False

    def __init__(self) -> None:
        """Import and start what is needed; not timed."""

    def close(self) -> None:
        """Stop what was started."""

    def reader(self, file: DataFile, **usual: Any) -> tuple[str, dict[str, Any]]:
        """Its name for the format and the keywords needed, beside and instead of the usual ones."""
        try:
            name, own = file.format.readers[self.family]
        except KeyError:
            raise Unsupported(f"{self.family} has no reader for {file.name}") from None
        given = {k: v(file) if callable(v) else v for k, v in {**usual, **own}.items()}
        return name, {k: v for k, v in given.items() if v is not None}

    def open(self, file: DataFile) -> Any:
        """Open without reading pixels."""
        raise Unsupported

    def describe(self, file: DataFile) -> int:
        """Describe what is in a file, without an array; return the number of frames."""
        raise Unsupported

    def guess(self, file: DataFile) -> Any:
        """Open without reading pixels, and without being told the shape of the scan."""
        raise Unsupported

    def detect(self, file: DataFile) -> str:
        """Recognise the format of a file."""
        raise Unsupported

    def forget(self) -> None:
        """Close files that stay open after they were read, and forget what is in them."""

    def shape(self, opened: Any) -> tuple[int, ...]:
        """Shape of what was opened."""
        return tuple(opened.shape)

    def frame(self, opened: Any, y: int, x: int) -> Array:
        """Read one frame of what was opened."""
        raise Unsupported

    def signal(self, file: DataFile) -> Any:
        """Open as a lazy HyperSpy signal."""
        raise Unsupported

    def load(self, file: DataFile) -> Array:
        """Open and read everything into memory."""
        raise Unsupported

    def sum_scan(self, opened: Any) -> Array:
        """Sum over the scan: one pattern."""
        raise Unsupported

    def sum_detector(self, opened: Any) -> Array:
        """Sum over the detector: one image of the scan."""
        raise Unsupported

    def lazily(self, file: DataFile, opened: Any, what: str, crop: Crop) -> Array:
        """Compute "mean" or "max" over the scan, or the sum over a crop or disk of the detector."""
        raise Unsupported

    def reduce(self, opened: Any, what: Sequence[str], mask: Array) -> list[Array]:
        """Whatever is made for getting several results at once.

        `what` are names of "sum" (over the scan), "navigator" (sum over the detector), "mask" (sum
        over the detector with these weights), and "com" (centre of mass, shape (scan, 2)).
        """
        raise Unsupported

    def function(self, opened: Any, mask: Array) -> Array:
        """Call `disk_sums` as a function of the user, frames or blocks at a time."""
        raise Unsupported


class DaskReader(Contestant):
    """A reader with RosettaSciIO's interface; lazy data are dask arrays, computed in threads."""

    flips = True
    package: ClassVar[str]

    def __init__(self) -> None:
        self.root = required(self.package)
        required("dask.array")

    def module(self, name: str) -> Any:
        """Return the module of a format."""
        try:
            return getattr(self.root, name)  # modules imported on demand
        except (AttributeError, ImportError):
            return required(f"{self.package}.{name}")

    def first(self, file: DataFile, lazy: bool) -> Any:
        """Return the first of what the reader returns."""
        name, options = self.reader(file, navigation_shape=file.nav_shape[::-1])
        return self.module(name).file_reader(str(file.path), lazy=lazy, **options)[0]

    def read(self, file: DataFile, lazy: bool) -> Any:
        """Return the data alone."""
        return self.first(file, lazy)["data"]

    def open(self, file: DataFile) -> Any:
        try:
            return self.read(file, lazy=True)
        except NotImplementedError as error:
            raise Unsupported(str(error)) from error

    def frame(self, opened: Any, y: int, x: int) -> Array:
        return opened[y, x].compute(scheduler="threads")

    def signal(self, file: DataFile) -> Any:
        name, options = self.reader(file, navigation_shape=file.nav_shape[::-1])
        hyperspy = required("hyperspy.api")
        return hyperspy.load(str(file.path), lazy=True, file_format=self.module(name), **options)

    def load(self, file: DataFile) -> Array:
        data = self.read(file, lazy=False)
        # RosettaSciIO gives files of a single dask chunk as a mapping, of which nothing is read
        return np.array(data) if _mapped(data) else data

    def sum_scan(self, opened: Any) -> Array:
        return opened.sum(axis=(0, 1)).compute(scheduler="threads")

    def sum_detector(self, opened: Any) -> Array:
        return opened.sum(axis=(2, 3)).compute(scheduler="threads")

    def lazily(self, file: DataFile, opened: Any, what: str, crop: Crop) -> Array:
        lazily: dict[str, Callable[[], Any]] = {
            "mean": lambda: opened.mean(axis=(0, 1)),
            "max": lambda: opened.max(axis=(0, 1)),
            "crop": lambda: opened[:, :, crop.rows, crop.columns].sum(axis=(2, 3)),
            # as the regions of interest of HyperSpy, which pyxem uses for virtual detectors
            "virtual": lambda: required("dask.array").nansum(
                np.where(~crop.disk, np.nan, opened[:, :, crop.rows, crop.columns]), axis=(2, 3)
            ),
        }
        return lazily[what]().compute(scheduler="threads")

    def reduce(self, opened: Any, what: Sequence[str], mask: Array) -> list[Array]:
        float_mask = mask.astype(np.float32)
        lazily: dict[str, Callable[[], Any]] = {
            "sum": lambda: opened.sum(axis=(0, 1)),
            "navigator": lambda: opened.sum(axis=(2, 3)),
            "mask": lambda: opened.map_blocks(
                masked, float_mask, drop_axis=(2, 3), dtype=np.float32
            ),
            "com": lambda: opened.map_blocks(
                centres, chunks=(*opened.chunks[:2], (2,)), drop_axis=3, dtype=np.float64
            ),
        }
        if {"mask", "com"} & set(what) and opened.numblocks[2:] != (1, 1):
            opened = opened.rechunk({2: -1, 3: -1})
        results = [lazily[name]() for name in what]
        return list(required("dask").compute(*results, scheduler="threads"))

    def function(self, opened: Any, mask: Array) -> Array:
        if opened.numblocks[2:] != (1, 1):
            opened = opened.rechunk({2: -1, 3: -1})
        image = opened.map_blocks(disk_sums, mask, drop_axis=(2, 3), dtype=np.float64)
        return image.compute(scheduler="threads")


class RsciioTem(DaskReader):
    """This package."""

    family = package = "rsciio_tem"
    storage: ClassVar[str] = "storage.backends"  #: the module that keeps files open

    def forget(self) -> None:
        importlib.import_module(f"{self.package}.{self.storage}").close_all()

    def detect(self, file: DataFile) -> str:
        return str(self.root.detect(str(file.path))[0].format)

    def open(self, file: DataFile) -> Any:
        signal = self.first(file, lazy=True)
        opened = signal["data"]
        opened.signal = signal  # for `reduce`
        return opened

    def describe(self, file: DataFile) -> int:
        name, options = self.reader(file)
        shown = {"navigation_shape", "nav_shape", "corrections"}
        own = {k: v for k, v in options.items() if k not in shown}
        return int(self.root.open(str(file.path), name, **own).count)

    def guess(self, file: DataFile) -> Any:
        name, options = self.reader(file)
        opened = self.module(name).file_reader(str(file.path), lazy=True, **options)
        return opened[0]["data"]

    def reduce(self, opened: Any, what: Sequence[str], mask: Array) -> list[Array]:
        found = self.root.reduce(
            opened.signal,
            [name for name in what if name != "mask"],
            masks={"mask": mask} if "mask" in what else None,
            progress=False,
        )
        return [np.moveaxis(found[w], 0, -1) if w == "com" else found[w] for w in what]

    def function(self, opened: Any, mask: Array) -> Array:
        functions = {"disk": partial(disk_sums, mask=mask)}
        found = self.root.reduce(opened.signal, (), functions=functions, progress=False)
        return found["disk"]


class Earlier(RsciioTem):
    """An earlier build of this package."""

    package = earlier.NAME
    storage = "backends"

    def __init__(self) -> None:
        try:
            earlier.prepare()
        except (OSError, subprocess.CalledProcessError) as error:
            raise Unsupported(f"no earlier build: {error}") from error
        super().__init__()

    def function(self, opened: Any, mask: Array) -> Array:
        raise Unsupported("this build calls no functions")


class RosettaSciIO(DaskReader):
    """The readers that HyperSpy comes with."""

    family = "rosettasciio"
    package = "rsciio"


class LiberTEM(Contestant):
    """LiberTEM's own sums (`SumUDF`, `SumSigUDF`) and frame picking (`PickUDF`)."""

    family = "libertem"
    executor: ClassVar[str]

    def __init__(self) -> None:
        api = required("libertem.api")
        self.context = api.Context.make_with(self.executor)
        self.sum_udf = required("libertem.udf.sum").SumUDF
        self.sumsig_udf = required("libertem.udf.sumsigudf").SumSigUDF
        self.pick_udf = required("libertem.udf.raw").PickUDF
        self.masks_udf = required("libertem.udf.masks").ApplyMasksUDF
        self.com_udf = required("libertem.udf.com").CoMUDF
        self.disk_udf = _disk_udf()
        self.make_dask_array = required("libertem.contrib.daskadapter").make_dask_array

    def close(self) -> None:
        self.context.close()

    def open(self, file: DataFile) -> Any:
        name, options = self.reader(file, path=str(file.path), nav_shape=file.nav_shape)
        if name == "k2is":
            _search_short_recordings()
        return self.context.load(name, **options)

    def shape(self, opened: Any) -> tuple[int, ...]:
        return tuple(opened.shape)

    def frame(self, opened: Any, y: int, x: int) -> Array:
        roi = np.zeros(tuple(opened.shape.nav), bool)
        roi[y, x] = True
        picked = self.context.run_udf(dataset=opened, udf=self.pick_udf(), roi=roi)
        return np.asarray(picked["intensity"].raw_data)[0]

    def load(self, file: DataFile) -> Array:
        # LiberTEM has no call for this. Its partitions as the blocks of a dask array are 1.5 to 4
        # times faster than a UDF that copies tiles, frames or partitions, or than PickUDF. The
        # type is the smallest one; its own for 1 bit would be uint64.
        # dask's threads are what a plain .compute() uses, whatever the executor, and the fastest.
        array, _ = self.make_dask_array(self.open(file), dtype=file.format.dtype)
        return array.compute(scheduler="threads")

    def sum_scan(self, opened: Any) -> Array:
        return self.context.run_udf(dataset=opened, udf=self.sum_udf())["intensity"].data

    def sum_detector(self, opened: Any) -> Array:
        return self.context.run_udf(dataset=opened, udf=self.sumsig_udf())["intensity"].data

    def lazily(self, file: DataFile, opened: Any, what: str, crop: Crop) -> Array:
        if what not in ("crop", "virtual"):
            raise Unsupported(f"no UDF for {what}")
        mask = np.zeros(file.format.frame_shape, np.float32)
        mask[crop.rows, crop.columns] = crop.disk if what == "virtual" else 1
        return self.reduce(opened, ["mask"], mask)[0]

    def reduce(self, opened: Any, what: Sequence[str], mask: Array) -> list[Array]:
        makers: dict[str, tuple[Callable[[], Any], str]] = {
            "sum": (self.sum_udf, "intensity"),
            "navigator": (self.sumsig_udf, "intensity"),
            "mask": (lambda: self.masks_udf(mask_factories=[lambda: mask]), "intensity"),
            "com": (lambda: self.com_udf.with_params(cy=0, cx=0), "raw_com"),
        }
        udfs = [makers[name][0]() for name in what]
        results = self.context.run_udf(dataset=opened, udf=udfs)
        found = [r[makers[name][1]].data for name, r in zip(what, results, strict=True)]
        return [f[..., 0] if w == "mask" else f for w, f in zip(what, found, strict=True)]

    def function(self, opened: Any, mask: Array) -> Array:
        return self.context.run_udf(dataset=opened, udf=self.disk_udf(mask=mask))["disk"].data


def _disk_udf() -> Any:
    """Return `disk_sums` as a UDF: of tiles, which is faster than of frames."""

    class DiskUDF(required("libertem.udf.base").UDF):  # type: ignore[misc]
        def get_result_buffers(self) -> dict[str, Any]:
            return {"disk": self.buffer(kind="nav", dtype="float64")}

        def process_tile(self, tile: Array) -> None:
            mask = self.meta.slice.get(self.params.mask, sig_only=True)
            self.results.disk[:] += disk_sums(tile, mask)

    return DiskUDF


def _search_short_recordings() -> None:
    """Let LiberTEM open K2 IS recordings of fewer than 400 frames, which it otherwise cannot."""
    sector = required("libertem.io.dataset.k2is").Sector
    search = sector.first_block_with_search
    if not hasattr(search, "step"):

        def stepwise(self: Any, predicate: Any, step: int = 32) -> Any:
            return search(self, predicate, stepwise.step)  # type: ignore[attr-defined]

        stepwise.step = 32  # type: ignore[attr-defined]
        sector.first_block_with_search = stepwise


class LiberTEMInline(LiberTEM):
    """One partition after the other in this process."""

    executor = "inline"


class LiberTEMThreads(LiberTEM):
    """Partitions in threads of this process."""

    executor = "threads"


class LiberTEMDask(LiberTEM):
    """LiberTEM's default: dask.distributed with one process per core."""

    executor = "dask"


class LiberTEMPipelined(LiberTEM):
    """One process per core, made for live data."""

    executor = "pipelined"


class Loops(Contestant):
    """Short loops over the lines of the scan, written by hand; one thread, native results."""

    def sum_scan(self, opened: Any) -> Array:
        kind, part = (np.float64, None) if opened.dtype.kind == "f" else (np.uint64, np.uint32)
        total = np.zeros(opened.shape[2:], kind)
        for y in range(opened.shape[0]):
            total += opened[y].sum(axis=0, dtype=part)  # faster than uint64, and a line fits
        return total

    def sum_detector(self, opened: Any) -> Array:
        lines = range(opened.shape[0])
        return np.stack([opened[y].sum(axis=(1, 2), dtype=np.uint64) for y in lines])

    def reduce(self, opened: Any, what: Sequence[str], mask: Array) -> list[Array]:
        if len(what) > 1:
            raise Unsupported("one result at a time")
        lines, float_mask = range(opened.shape[0]), mask.astype(np.float32)
        loops: dict[str, Callable[[], Array]] = {
            "sum": lambda: self.sum_scan(opened),
            "navigator": lambda: self.sum_detector(opened),
            "mask": lambda: np.stack([masked(opened[y], float_mask) for y in lines]),
            "com": lambda: np.stack([centres(opened[y]) for y in lines]),
        }
        return [loops[what[0]]()]

    def function(self, opened: Any, mask: Array) -> Array:
        return np.stack([disk_sums(opened[y], mask) for y in range(opened.shape[0])])


class Memmap(Loops):
    """numpy.memmap."""

    family = "numpy"

    def open(self, file: DataFile) -> Any:
        self.reader(file)
        form = file.format
        assert isinstance(form, Strided)
        record = np.dtype(
            [("header", f"V{form.header_bytes}"), ("pixels", form.plain, form.frame_shape)]
        )
        return np.memmap(file.path, record, mode="r", shape=file.nav_shape)["pixels"]

    def frame(self, opened: Any, y: int, x: int) -> Array:
        return opened[y, x].astype(opened.dtype.newbyteorder("="))

    def load(self, file: DataFile) -> Array:
        stored = self.open(file)
        data = np.empty(stored.shape, stored.dtype.newbyteorder("="))
        for line, target in zip(stored, data, strict=True):
            target[...] = line
        return data

    def sum_detector(self, opened: Any) -> Array:
        image = np.empty(opened.shape[:2], np.uint64)
        for y, x in np.ndindex(image.shape):
            image[y, x] = opened[y, x].sum(dtype=np.uint32)  # 12-bit counts fit
        return image


class H5py(Loops):
    """h5py: the data set of a file, or those of several files one after the other."""

    family = "h5py"

    def __init__(self) -> None:
        self.h5py = required("h5py")
        required("hdf5plugin")
        self.files: list[Any] = []

    def close(self) -> None:
        for file in self.files:
            file.close()

    def _data_set(self, path: str, name: str) -> Any:
        # Another driver than LiberTEM's: files opened twice share their cache of chunks.
        self.files.append(self.h5py.File(path, "r", driver="stdio"))
        return self.files[-1][name]

    def open(self, file: DataFile) -> Any:
        _, options = self.reader(file)
        if "parts" in options:
            return Parts([self._data_set(*part) for part in options["parts"]], file.nav_shape)
        return self._data_set(str(file.path), options["name"])

    def frame(self, opened: Any, y: int, x: int) -> Array:
        return opened[y, x]

    def load(self, file: DataFile) -> Array:
        stored = self.open(file)
        data = np.empty(stored.shape, stored.dtype)
        stored.read_direct(data)
        return data


class Parts:
    """Data sets of frames that make up one scan."""

    def __init__(self, parts: list[Any], nav_shape: tuple[int, int]) -> None:
        self.parts, self.dtype = parts, parts[0].dtype
        self.ends = np.cumsum([len(part) for part in parts])
        self.shape = (*nav_shape, *parts[0].shape[1:])

    def _read(self, first: int, out: Array) -> None:
        last = first + len(out)
        for part, end in zip(self.parts, self.ends.tolist(), strict=True):
            start = end - len(part)
            a, b = max(first, start), min(last, end)
            if a < b:
                part.read_direct(out[a - first : b - first], np.s_[a - start : b - start])

    def __getitem__(self, place: int | tuple[int, int]) -> Array:
        columns = self.shape[1]
        first, count = (
            (place[0] * columns + place[1], 1)
            if isinstance(place, tuple)
            else (place * columns, columns)
        )
        out = np.empty((count, *self.shape[2:]), self.dtype)
        self._read(first, out)
        return out[0] if isinstance(place, tuple) else out

    def read_direct(self, out: Array) -> None:
        """Fill `out` with the whole scan."""
        self._read(0, out.reshape(-1, *self.shape[2:]))


US = "rsciio_tem"
CONTESTANTS: dict[str, Callable[[], Contestant]] = {
    US: RsciioTem,
    "earlier": Earlier,
    "rosettasciio": RosettaSciIO,
    "libertem-inline": LiberTEMInline,
    "libertem-threads": LiberTEMThreads,
    "libertem-dask": LiberTEMDask,
    "libertem-pipelined": LiberTEMPipelined,
    "numpy": Memmap,
    "h5py": H5py,
}
#: Without --peers; the pipelined executor is for live data and only costs waiting time here.
DEFAULT_PEERS = tuple(
    name for name in CONTESTANTS if name not in (US, "earlier", "libertem-pipelined")
)

#: Columns of the report: the ratio of the fastest of these contestants to us.
RIVALS: dict[str, tuple[str, ...]] = {
    "us vs earlier": ("earlier",),
    "us vs rosettasciio": ("rosettasciio",),
    "us vs best LiberTEM": tuple(name for name in CONTESTANTS if name.startswith("libertem")),
    "us vs numpy": ("numpy",),
    "us vs h5py": ("h5py",),
}


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
