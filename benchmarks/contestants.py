# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is measured: one class per way of reading a file, all with the same few methods.

A new contestant is one class and one row of `CONTESTANTS`. What it cannot do it leaves to the base
class, which raises `Unsupported`; the report then shows "-".
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from benchmarks.files import Array, DataFile, Strided


class Unsupported(Exception):
    """The contestant has no such thing, or is not installed."""


def required(name: str) -> ModuleType:
    """Import a module that may be missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Unsupported(f"cannot import {name}: {error}") from error


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

    def one_pass(self, opened: Any) -> tuple[Array, Array]:
        """Both sums, with whatever is made for getting both at once."""
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

    def read(self, file: DataFile, lazy: bool) -> Any:
        """Return the data alone."""
        name, options = self.reader(file, navigation_shape=file.nav_shape[::-1])
        return self.module(name).file_reader(str(file.path), lazy=lazy, **options)[0]["data"]

    def open(self, file: DataFile) -> Any:
        return self.read(file, lazy=True)

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

    def one_pass(self, opened: Any) -> tuple[Array, Array]:
        sums = opened.sum(axis=(0, 1)), opened.sum(axis=(2, 3))
        return required("dask").compute(*sums, scheduler="threads")


class RsciioTem(DaskReader):
    """This package."""

    family = package = "rsciio_tem"

    def open(self, file: DataFile) -> Any:
        opened = self.read(file, lazy=True)
        opened.file = file  # for `one_pass`, which needs no dask
        return opened

    def one_pass(self, opened: Any) -> tuple[Array, Array]:
        file = opened.file
        name, options = self.reader(file, navigation_shape=file.nav_shape[::-1])
        found = self.root.reduce(str(file.path), format=name, progress=False, **options)
        return found["sum"], found["navigator"]


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

    def one_pass(self, opened: Any) -> tuple[Array, Array]:
        udfs = [self.sum_udf(), self.sumsig_udf()]
        pattern, image = self.context.run_udf(dataset=opened, udf=udfs)
        return pattern["intensity"].data, image["intensity"].data


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


class Memmap(Contestant):
    """What one would write by hand: numpy.memmap and short loops, one thread, native results."""

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

    def sum_scan(self, opened: Any) -> Array:
        total = np.zeros(opened.shape[2:], np.uint64)
        for line in opened:
            total += line.sum(axis=0, dtype=np.uint32)  # faster than uint64, and a line fits
        return total

    def sum_detector(self, opened: Any) -> Array:
        image = np.empty(opened.shape[:2], np.uint64)
        for y, x in np.ndindex(image.shape):
            image[y, x] = opened[y, x].sum(dtype=np.uint32)  # 12-bit counts fit
        return image


class H5py(Contestant):
    """What one would write by hand: h5py and short loops."""

    family = "h5py"

    def __init__(self) -> None:
        self.h5py = required("h5py")
        required("hdf5plugin")
        self.files: list[Any] = []

    def close(self) -> None:
        for file in self.files:
            file.close()

    def open(self, file: DataFile) -> Any:
        _, options = self.reader(file)
        # Another driver than LiberTEM's: files opened twice share their cache of chunks.
        self.files.append(self.h5py.File(file.path, "r", driver="stdio"))
        return self.files[-1][options["name"]]

    def frame(self, opened: Any, y: int, x: int) -> Array:
        return opened[y, x]

    def load(self, file: DataFile) -> Array:
        stored = self.open(file)
        data = np.empty(stored.shape, stored.dtype)
        stored.read_direct(data)
        return data

    def sum_scan(self, opened: Any) -> Array:
        total = np.zeros(opened.shape[2:], np.uint64)
        for y in range(opened.shape[0]):
            total += opened[y].sum(axis=0, dtype=np.uint32)
        return total

    def sum_detector(self, opened: Any) -> Array:
        lines = range(opened.shape[0])
        return np.stack([opened[y].sum(axis=(1, 2), dtype=np.uint64) for y in lines])


US = "rsciio_tem"
CONTESTANTS: dict[str, Callable[[], Contestant]] = {
    US: RsciioTem,
    "rosettasciio": RosettaSciIO,
    "libertem-inline": LiberTEMInline,
    "libertem-threads": LiberTEMThreads,
    "libertem-dask": LiberTEMDask,
    "libertem-pipelined": LiberTEMPipelined,
    "numpy": Memmap,
    "h5py": H5py,
}
#: Without --peers; the pipelined executor is for live data and only costs waiting time here.
DEFAULT_PEERS = tuple(name for name in CONTESTANTS if name not in (US, "libertem-pipelined"))

#: Columns of the report: the ratio of the fastest of these contestants to us.
RIVALS: dict[str, tuple[str, ...]] = {
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
