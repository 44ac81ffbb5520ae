# SPDX-License-Identifier: GPL-3.0-or-later
"""From a `Recording` to the dictionaries that RosettaSciIO readers return.

One function for every format, so that eager, lazy and mapped loading give the same values by
construction: all of them load through ``frames[index].load(out, region)``.
"""

from __future__ import annotations

import difflib
import logging
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict, get_args

import numpy as np
import numpy.typing as npt

from rsciio_tem import __version__, navigator, omega
from rsciio_tem.backends import backend_name, in_task
from rsciio_tem.corrections import Corrected, Corrections, Repair, as_frame, as_mask
from rsciio_tem.errors import FormatError, NotEnoughMemory, Unsupported, warn
from rsciio_tem.frames import ChunkHint, Frames, FrameTable, chunk_hint, pieces
from rsciio_tem.navigator import NavigatorKind
from rsciio_tem.pixels import Pixels, Region
from rsciio_tem.recording import Axis, Recording
from rsciio_tem.scan import Flyback, Missing, Scan, ScanRequest

__all__ = [
    "Arranged",
    "CommonOptions",
    "LazyFrames",
    "ReadOptions",
    "SparseKind",
    "arrange",
    "default_chunks",
    "lazy_source",
    "picked",
    "read",
    "threads",
]

_logger = logging.getLogger(__name__)

MiB = 1 << 20

#: What ``sparse=`` of a reader asks for: dense arrays, ``sparse.COO`` with the shape of the signal,
#: or a ``scipy.sparse.csr_array`` with a row for each scan position and a column for each pixel.
SparseKind = Literal[False, True, "scipy"]


class CommonOptions(TypedDict, total=False):
    """Keywords that every reader takes; described once in ``docs/parameters.md``."""

    nav_shape: int | tuple[int, ...] | None
    sync_offset: int | None
    missing: Missing
    fill_value: float
    scan: str
    flyback: Flyback
    line_skip: int
    snake: bool
    winding_scan_axis: Literal["x", "y", 0, 1] | None
    hysteresis: int
    roi: Any
    flip_y: bool | None
    dark: Any
    gain: Any
    excluded_pixels: Any
    corrections: Literal["auto"] | bool | None
    repair: Repair
    allow_empty: bool
    io_backend: Any
    navigator: NavigatorKind


class ReadOptions(CommonOptions, total=False):
    """Keywords of all readers but those that need the pixel type and frame shape to be told."""

    sig_shape: tuple[int, ...] | None
    dtype: Any


#: Keywords that every reader spells out in its signature.
_EXPLICIT = ("lazy", "chunks", "mmap_mode", "navigation_shape", "first_frame", "last_frame")

#: Names other packages use for the same things.
_FOREIGN = {
    "scan_size": "nav_shape (array order: y, x)",
    "scan_shape": "nav_shape (array order: y, x)",
    "detector_size": "sig_shape",
    "force_c_order": "data_order='frames'",
    "scan_start_frame": "first_frame",
    "flip": "flip_y",
    "backend": "io_backend",
    "roi_mask": "roi",
    "incomplete": "missing",
    "enable_offset_correction": "corrections (False: values as recorded)",
}


# ---------------------------------------------------------------- options


def _checked(options: Mapping[str, Any], path: str) -> None:
    # the signature's own keywords come last: they never arrive here, but may be what was meant
    known = list(dict.fromkeys((*ReadOptions.__annotations__, *_EXPLICIT)))
    for name in options:
        if name in known:
            continue
        if name in _FOREIGN:
            hint = f"here it is called {_FOREIGN[name]}"
        elif close := difflib.get_close_matches(name, known, n=1):
            hint = f"did you mean {close[0]!r}?"
        else:
            hint = f"known are {', '.join(known)}"
        raise TypeError(f"unexpected keyword {name!r} for {os.path.basename(path)}: {hint}")
    navigator.checked(options.get("navigator"))


def _scan_request(
    navigation_shape: Any,
    first_frame: int | None,
    last_frame: int | None,
    options: Mapping[str, Any],
) -> ScanRequest:
    nav_shape = options.get("nav_shape")
    if navigation_shape is not None and nav_shape is not None:
        raise TypeError(
            "pass either navigation_shape (HyperSpy order: x, y) or nav_shape (array order: y, x)"
        )
    if navigation_shape is not None and not isinstance(navigation_shape, (tuple, int, np.integer)):
        raise TypeError(
            "`navigation_shape` must be None or a tuple in HyperSpy order (x, y), "
            f"not {type(navigation_shape).__name__}"
        )

    def sizes(value: Any) -> tuple[int, ...]:
        return tuple(int(n) for n in np.atleast_1d(value).tolist())

    shape = None
    if navigation_shape is not None:
        shape = sizes(navigation_shape)[::-1]
    elif nav_shape is not None:
        shape = sizes(nav_shape)
    rule = options.get("scan") or "auto"
    if not isinstance(rule, str):
        raise TypeError(
            f"scan={rule!r} names no rule; a scan shape is navigation_shape or nav_shape"
        )
    for name, value in (("first_frame", first_frame), ("last_frame", last_frame)):
        if value is not None and not isinstance(value, (int, np.integer)):
            raise TypeError(f"{name} must be an integer or None, not {value!r}")
    axis = options.get("winding_scan_axis")
    if axis not in (None, "x", "y", 0, 1) or isinstance(axis, bool):
        raise ValueError(f"winding_scan_axis={axis!r} is neither 'x' nor 'y'")
    winding: Literal["x", "y"] | None = None if axis is None else "x" if axis in ("x", 0) else "y"
    if winding and options.get("snake"):
        raise TypeError("pass either snake or winding_scan_axis")
    return ScanRequest(
        shape=shape or None,
        hyperspy_order=navigation_shape is not None,
        first_frame=first_frame,
        last_frame=last_frame,
        sync_offset=None if (sync := options.get("sync_offset")) is None else int(sync),
        missing=options.get("missing", "auto"),
        rule=rule,
        flyback=options.get("flyback") or "auto",
        line_skip=int(options.get("line_skip") or 0),
        snake=bool(options.get("snake", False)),
        winding=winding,
        hysteresis=int(options.get("hysteresis") or 0),
    )


def _cast(source: np.dtype[Any], wanted: Any) -> np.dtype[Any] | None:
    """Return the dtype to cast to, None for no cast."""
    if wanted is None or (isinstance(wanted, str) and wanted == "stored"):
        return None
    target = np.dtype(wanted)
    if source.kind in "fc" and target.kind in "iub":
        raise TypeError(f"dtype={target} would cut off the fractions of {source} pixels")
    if source.kind == "c" and target.kind != "c":
        raise TypeError(f"dtype={target} cannot hold {source} pixels")
    return None if target == source else target


def _checked_cast(values: npt.NDArray[Any], target: np.dtype[Any], path: str) -> npt.NDArray[Any]:
    """Cast; a value that the target cannot hold is an error, never a wrapped number."""
    if not np.can_cast(values.dtype, target, "safe") and values.size:
        if target.kind in "iub":
            low, high = (
                (0, 1) if target.kind == "b" else (np.iinfo(target).min, np.iinfo(target).max)
            )
            least, most = values.min(), values.max()
            if least < low or most > high:
                raise FormatError(
                    path,
                    f"pixel values from {least} to {most} do not fit into {target}.",
                    "Pass a wider dtype.",
                )
        elif target.kind == "f" and values.dtype.kind == "f":
            finite = np.isfinite(values)
            if (np.abs(values[finite]) > np.finfo(target).max).any():
                raise FormatError(path, f"pixel values do not fit into {target}.", "Use float64.")
    return values.astype(target)


# ---------------------------------------------------------------- lazy


@dataclass(frozen=True, eq=False)
class LazyFrames:
    """Frames arranged in a scan, behaving like an array that is read when it is sliced.

    dask fuses slices into it, so that asking for one frame reads one frame and asking for a few
    detector rows reads those rows. It holds no open file and pickles small.

    Parameters
    ----------
    frames : Frames
        In scan order.
    nav_shape : tuple of int
        Scan shape; its product is ``len(frames)``.
    dtype : numpy.dtype
        Type of the result.
    path : str
        For messages.
    fill : float
        Value of blanks in `dtype`, where this differs from that of the frames.
    """

    frames: Frames
    nav_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    path: str
    fill: float = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Scan shape followed by frame shape."""
        return (*self.nav_shape, *self.frames.frame_shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __getitem__(self, key: Any, /) -> npt.NDArray[Any]:
        key = key if isinstance(key, tuple) else (key,)
        if any(k is Ellipsis for k in key):
            at = next(i for i, k in enumerate(key) if k is Ellipsis)
            fill = self.ndim - (len(key) - 1)
            key = (*key[:at], *(slice(None),) * fill, *key[at + 1 :])
        key = (*key, *(slice(None),) * (self.ndim - len(key)))
        if len(key) > self.ndim:
            raise IndexError(f"too many indices: {len(key)} for {self.ndim} dimensions")
        chosen = [picked(k, n) for k, n in zip(key, self.shape, strict=True)]
        n_nav = len(self.nav_shape)
        nav, sig = chosen[:n_nav], chosen[n_nav:]
        region: Region = tuple(slice(min(c), max(c) + 1) if len(c) else slice(0, 0) for c in sig)
        frames = self.frames[self.positions(nav)]
        viewed = frames.viewed() if isinstance(frames, FrameTable) else None
        if viewed is not None:
            out = viewed[(slice(None), *region)]
        else:
            shape = (len(frames), *(s.stop - s.start for s in region))
            out = np.empty(shape, self.frames.dtype)
            frames.load(out, region)
        for axis, (c, s) in enumerate(zip(sig, region, strict=True), start=1):
            if isinstance(c, range):
                if c.step != 1:
                    out = out[(*(slice(None),) * axis, slice(None, None, c.step))]
            else:
                out = out.take(c - s.start, axis=axis)
        out = self.cast(out, frames).reshape(*(len(c) for c in chosen))
        dropped = tuple(i for i, k in enumerate(key) if isinstance(k, (int, np.integer)))
        return out.squeeze(dropped) if dropped else out

    def cast(self, values: npt.NDArray[Any], frames: Frames) -> npt.NDArray[Any]:
        """Turn loaded frames into the wanted type, blanks into the fill value."""
        if values.dtype == self.dtype:
            return values
        unused = getattr(frames, "unused", None)
        lost = None if unused is None else values == unused
        if lost is not None:
            values[lost] = 0
        values = _checked_cast(values, self.dtype, self.path)
        if lost is not None:
            values[lost] = self.fill
        elif self.fill != 0 and (blanks := frames.blanks) is not None:
            values[blanks] = self.fill
        return values

    def positions(self, nav: list[range | npt.NDArray[np.int64]]) -> slice | npt.NDArray[np.int64]:
        """Flat scan positions of a grid of indices; a slice where they follow each other."""
        if not nav:
            return slice(0, 1)
        strides = [math.prod(self.nav_shape[i + 1 :]) for i in range(len(nav))]
        total = math.prod(len(c) for c in nav)
        if not total:
            return slice(0, 0)
        if all(isinstance(c, range) and c.step > 0 for c in nav):
            first = sum(c[0] * s for c, s in zip(nav, strides, strict=True))
            last = sum(c[-1] * s for c, s in zip(nav, strides, strict=True))
            if last - first + 1 == total:
                return slice(int(first), int(last) + 1)
        flat = np.zeros((), np.int64)
        for c, s in zip(nav, strides, strict=True):
            flat = flat[..., np.newaxis] + np.asarray(c, np.int64) * s
        return flat.reshape(-1)


def picked(key: Any, size: int) -> range | npt.NDArray[np.int64]:
    """Return the indices that one part of a key picks from an axis of `size`."""
    if isinstance(key, slice):
        return range(*key.indices(size))
    index = np.asarray(key)
    if index.dtype == bool:
        index = np.flatnonzero(index)
    if index.size and (index.min() < -size or index.max() >= size):
        raise IndexError(f"index {key} is out of bounds for size {size}")
    if index.ndim == 0:
        return range(int(index) % size, int(index) % size + 1)
    return index.astype(np.int64) % size


def default_chunks(
    nav_shape: tuple[int, ...],
    frame_shape: tuple[int, ...],
    itemsize: int,
    hint: ChunkHint | None = None,
) -> tuple[int, ...]:
    """Choose chunks of whole frames that are one contiguous byte range each.

    Whole fast-scan rows, as many of them as make about 64 MiB; less where that would leave fewer
    than four chunks per processor, but not below 16 MiB. Where frames are stored in blocks (see
    `ChunkHint`), chunks are multiples of them; and where blocks with whole frames would be too
    large, such as when frames are stored pixel by pixel, chunks are parts of the frames.
    """
    block = (1,) * len(nav_shape) if hint is None else hint.nav_block(nav_shape)
    block = tuple(max(1, min(n, k)) for n, k in zip(nav_shape, block, strict=True))
    frame_bytes = max(1, math.prod(frame_shape) * itemsize)
    total = frame_bytes * math.prod(nav_shape)
    target = min(64 * MiB, max(16 * MiB, total // (4 * threads())))
    size = frame_bytes * math.prod(block)
    most = target if block == nav_shape else 256 * MiB
    if hint is not None and hint.sig != frame_shape and size > most:
        order = hint.sig_order or range(len(frame_shape))
        grid = [-(-frame_shape[i] // hint.sig[i]) for i in order]
        blocks = _grouped(grid, math.prod(block) * math.prod(hint.sig) * itemsize, target)
        part = dict(zip(order, blocks, strict=True))
        return (*block, *(min(n, part[i] * hint.sig[i]) for i, n in enumerate(frame_shape)))
    grid = [-(-n // k) for n, k in zip(nav_shape, block, strict=True)]
    blocks = _grouped(grid, size, target)
    nav = (min(n, b * k) for n, b, k in zip(nav_shape, blocks, block, strict=True))
    return (*nav, *frame_shape)


def _grouped(counts: list[int], size: int, target: int) -> list[int]:
    """Choose how many pieces of `size` bytes, along each axis, make about `target` bytes."""
    result: list[int] = []
    full = True
    for i, n in enumerate(reversed(counts)):
        if not full:
            result.append(1)
            continue
        limit = 256 * MiB if i == 0 and len(counts) > 1 else target
        if size * n <= limit:
            k = n
        else:
            k = max(1, target // size)
            k = -(-n // -(-n // k))  # equal pieces
            full = False
        result.append(k)
        size *= k
    return result[::-1]


def _lazy(source: LazyFrames, chunks: Any, sparse: bool = False) -> Any:
    import dask.array as da
    from dask.array.core import normalize_chunks

    automatic = isinstance(chunks, str) and chunks == "auto"
    if automatic:
        chunks = default_chunks(
            source.nav_shape,
            source.frames.frame_shape,
            source.dtype.itemsize,
            chunk_hint(source.frames),
        )
    elif isinstance(chunks, tuple) and len(chunks) == len(source.nav_shape) != source.ndim:
        chunks = (*chunks, *source.frames.frame_shape)
    chunks = normalize_chunks(chunks, shape=source.shape, dtype=source.dtype)
    if sparse:
        from rsciio_tem.sparse import LazyCoo, empty_coo

        meta = empty_coo(source.ndim, source.dtype)
        return da.from_array(LazyCoo(source), chunks=chunks, name=False, asarray=False, meta=meta)
    frames: Any = source.frames
    if hasattr(frames, "lazy"):  # a dask array already: no task may compute another graph
        if frames.dtype != source.dtype:
            cast = frames.array.map_blocks(
                _checked_cast, source.dtype, source.path, dtype=source.dtype
            )
            frames = replace(frames, array=cast, fill=source.fill)
        data = frames.lazy().reshape(source.shape)
        return data if automatic else data.rechunk(chunks)
    split = any(len(c) > 1 for c in chunks[len(source.nav_shape) :])
    if split and chunk_hint(frames) is None:
        _logger.info("%s: chunks split the frames; whole frames are read faster", source.path)
    return da.from_array(
        source,
        chunks=chunks,
        name=False,  # a random name: hashing an index of millions of frames is not worth it
        # dask fuses slices into the read only with its default getter (asarray, fancy)
        meta=np.empty((0,) * source.ndim, source.dtype),
    )


def lazy_source(data: Any) -> LazyFrames | None:
    """Return the frames behind a lazy array as a reader returned it; None for any other array."""
    layers = getattr(getattr(data, "dask", None), "layers", {})
    for value in dict(layers.get(f"original-{getattr(data, 'name', '')}", {})).values():
        value = getattr(value, "value", value)
        value = getattr(value, "source", value)  # of blocks of sparse arrays
        if isinstance(value, LazyFrames):
            return value
    return None


# ---------------------------------------------------------------- eager


def threads() -> int:
    """Return the number of threads among which work is divided.

    As many as there are processors that this process may use; but one inside a task of a dask
    worker, whose other threads have other tasks.
    """
    if in_task():
        return 1
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _load(source: LazyFrames) -> npt.NDArray[Any]:
    """Load everything into one new array, with a few threads over contiguous stretches."""
    frames = source.frames
    shape = frames.frame_shape
    out = np.empty((len(frames), *shape), source.dtype)
    cast = source.dtype != frames.dtype

    def fill(piece: tuple[slice, Region | None]) -> None:
        chosen, region = piece
        part, target = frames[chosen], out[chosen]
        if region is not None:
            target = target[(slice(None), *region)]
        if not cast:
            part.load(target, region)
            return
        values = np.empty(target.shape, frames.dtype)
        part.load(values, region)
        target[...] = source.cast(values, part)

    todo = pieces(frames, 16 * MiB)
    workers = min(threads(), len(todo))
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(fill, todo):
                pass
    else:
        for piece in todo:
            fill(piece)
    return out.reshape(source.shape)


def free_memory() -> int | None:
    """Return the bytes this process can still get, None if the system does not tell."""
    free: list[int] = []
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    free.append(int(line.split()[1]) * 1024)
        with (
            open("/sys/fs/cgroup/memory.max", encoding="ascii") as limit,
            open("/sys/fs/cgroup/memory.current", encoding="ascii") as used,
        ):
            if (text := limit.read().strip()) != "max":
                free.append(int(text) - int(used.read()))
    except (OSError, ValueError):
        _logger.debug("free memory is only partly known", exc_info=True)
    if free:
        return max(0, min(free))
    if os.name == "nt":
        return _free_memory_windows()
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _free_memory_windows() -> int | None:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "a", "b", "c", "d", "e")),
        )

    status = Status()
    status.length = ctypes.sizeof(Status)
    windll = getattr(ctypes, "windll", None)
    if windll is None or not windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.free)


def _guard(source: LazyFrames, recording: Recording) -> None:
    needed = math.prod(source.shape) * source.dtype.itemsize
    free = free_memory()
    if free is not None and needed > 0.95 * free:
        lazily = f"Load it lazily: hs.load({recording.path!r}, lazy=True)"
        raise NotEnoughMemory(
            recording.path,
            f"{needed / 1e9:.1f} GB of pixels do not fit into the {free / 1e9:.1f} GB of free "
            "memory.",
            f"{lazily if recording.files else 'Pass lazy=True'}, "
            "or part of it with first_frame= and last_frame=.",
        )


# ---------------------------------------------------------------- read


@dataclass(frozen=True, eq=False)
class Arranged:
    """Frames in scan order, ready to be loaded, and how they were put there."""

    source: LazyFrames
    scan: Scan
    flip_y: bool | None = None
    roi_index: npt.NDArray[np.int64] | None = None


def arrange(
    recording: Recording,
    *,
    navigation_shape: Any = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Arranged:
    """Put the frames of a recording into scan order; parameters and errors as in `read`.

    No pixel is read.
    """
    options = dict(options or {})
    _checked(options, recording.path)
    request = _scan_request(navigation_shape, first_frame, last_frame, options)
    scan = recording.scan(request)
    frames, flip_y = _configured(recording, options)
    index, nav_shape, roi_index = scan.index, scan.shape, None
    if options.get("roi") is not None:
        index, roi_index = _selected(scan, options["roi"], recording.path)
        nav_shape = (len(roi_index),)
    frames = frames[index]
    dtype = _cast(frames.dtype, options.get("dtype")) or frames.dtype
    source = LazyFrames(frames, nav_shape, dtype, recording.path, options.get("fill_value", 0))
    if source.shape[: len(nav_shape)] != nav_shape or math.prod(nav_shape) != len(frames):
        raise AssertionError(f"scan shape {nav_shape} for {len(frames)} frames")
    return Arranged(source, scan, flip_y, roi_index)


def read(
    recording: Recording,
    *,
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: Any = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    options: Mapping[str, Any] | None = None,
    sparse: SparseKind = False,
) -> list[dict[str, Any]]:
    """Load a recording.

    Parameters
    ----------
    recording : Recording
        What `parse` of a format returned.
    lazy : bool
        Return a dask array instead of a loaded one.
    chunks : "auto", int, tuple or dict
        Chunks of the dask array, of the whole shape or of its scan axes; "auto" keeps frames
        whole.
    mmap_mode : {None, "r", "c"}
        Return a view of the file where its pixels are plain, read-only or copy-on-write.
    navigation_shape : int or tuple of int, optional
        Scan shape in HyperSpy order (x, y).
    first_frame, last_frame : int, optional
        Slice bounds on the stored frames.
    options : ReadOptions
        Everything else, see ``docs/parameters.md``.
    sparse : {False, True, "scipy"}
        Return sparse arrays, see `rsciio_tem.sparse.SparseKind`.

    Returns
    -------
    list of one dict
        ``data``, ``axes``, ``metadata``, ``original_metadata`` as in RosettaSciIO.

    Raises
    ------
    FormatError
        The recording cannot be arranged or read as asked.
    TypeError, ValueError
        A keyword is unknown or has an impossible value.
    """
    options = dict(options or {})
    _checked(options, recording.path)
    if mmap_mode not in (None, "r", "c"):
        raise ValueError(f"mmap_mode={mmap_mode!r}: files are never written; pass 'r' or 'c'")
    if sparse not in get_args(SparseKind):
        raise ValueError(f"sparse={sparse!r} is none of False, True, 'scipy'")
    for problem in recording.problems:
        if problem.severity == "info":
            _logger.info("%s: %s", recording.path, problem)
        else:
            warn(recording.path, str(problem))

    arranged = arrange(
        recording,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )
    scan, source, roi_index = arranged.scan, arranged.source, arranged.roi_index

    data: Any = None
    if lazy:
        if sparse == "scipy":
            raise ValueError("sparse='scipy' is not lazy; pass sparse=True, or lazy=False")
        data = _lazy(source, chunks, bool(sparse))
    elif sparse:
        from rsciio_tem.sparse import sparse_array

        data = sparse_array(source, sparse)
    else:
        frames = source.frames
        same = source.dtype == frames.dtype
        if mmap_mode is not None and isinstance(frames, FrameTable) and same:
            view = frames.mapped(mmap_mode)
            data = None if view is None else view.reshape(source.shape)
        if data is None:
            _guard(source, recording)
            data = _load(source)

    angles = _angles(recording, arranged)
    signal = {
        "data": data,
        "axes": _axes(recording, scan, source, roi_index is not None, angles),
        "metadata": recording.metadata,
        "original_metadata": {
            **recording.original_metadata,
            **({} if angles is None else omega.described(angles)),
            "rsciio_tem": _provenance(recording, arranged),
        },
    }
    if lazy:  # HyperSpy computes that of data in memory
        navigator.attach(signal, source, options.get("navigator"))
    return [signal]


def _configured(recording: Recording, options: Mapping[str, Any]) -> tuple[Frames, bool | None]:
    """Apply the keywords that change how frames are decoded."""
    frames = recording.frames
    sig_shape = options.get("sig_shape")
    backend = backend_name(options.get("io_backend", "auto"))
    stored = isinstance(options.get("dtype"), str) and options["dtype"] == "stored"
    try:
        frames = frames.configured(
            backend=backend,
            flip_y=options.get("flip_y"),
            native=not stored,
            frame_shape=tuple(int(n) for n in sig_shape) if sig_shape is not None else None,
        )
    except Unsupported as error:
        raise Unsupported(recording.path, error.problem, error.hint) from None
    flip_y = _flip_of(frames)
    corrections = _corrections(recording, frames, flip_y, options)
    if corrections:
        frames = Corrected(frames, corrections, recording.path)
    fill = _fill(frames.dtype, options)
    if _cast(frames.dtype, options.get("dtype")) is not None:
        # a value that marks what is lost within frames until they are cast
        unused = getattr(frames, "unused", None)
        fill = fill if unused is None else unused
    return frames.configured(backend=backend, fill=fill), flip_y


def _flip_of(frames: Frames) -> bool | None:
    """Whether frames are shown upside down, None if they cannot be."""
    pixels = getattr(frames, "pixels", None)
    if isinstance(pixels, Pixels):
        return pixels.flip_y
    flip_y = getattr(frames, "flip_y", None)  # frames that are put together or unpacked
    return flip_y if isinstance(flip_y, bool) else None


def _corrections(
    recording: Recording, frames: Frames, flip_y: bool | None, options: Mapping[str, Any]
) -> Corrections:
    """Collect what the caller gives and, unless switched off, what comes with the recording."""
    path, wanted = recording.path, options.get("corrections", "auto")
    if wanted not in ("auto", True, False, None):
        raise ValueError(f'corrections={wanted!r} is neither "auto" nor False')
    own = recording.corrections if wanted in ("auto", True) else None
    if own is not None and flip_y is not None and _flip_of(recording.frames) != flip_y:
        own = own.flipped()
    own = own or Corrections()
    given = Corrections(
        dark=as_frame(options.get("dark"), "dark", path),
        gain=as_frame(options.get("gain"), "gain", path),
        excluded=as_mask(options.get("excluded_pixels"), frames.frame_shape, path),
    )
    dark = own.dark if given.dark is None else given.dark
    return Corrections(
        dark=None if dark is None else np.asarray(dark),  # perhaps only now computed
        gain=own.gain if given.gain is None else given.gain,
        excluded=own.excluded if given.excluded is None else given.excluded,
        repair=options.get("repair", own.repair),
        allow_empty=bool(options.get("allow_empty", own.allow_empty)),
    ).checked(frames.frame_shape, path)


def _fill(stored: np.dtype[Any], options: Mapping[str, Any]) -> float:
    """Return the value that blanks get when frames are loaded; checks that it fits."""
    fill: float = options.get("fill_value", 0)
    cast = _cast(stored, options.get("dtype"))
    dtype = stored if cast is None else cast
    if fill != fill and dtype.kind not in "fc":
        raise TypeError(f"fill_value=nan needs a floating dtype=, pixels are {dtype}")
    if dtype.kind in "iub":
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if not low <= fill <= high or fill != int(fill):
            raise ValueError(f"fill_value={fill} does not fit into {dtype} pixels")
    return fill if cast is None else 0


def _selected(
    scan: Scan, roi: Any, path: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the frame index of a region of interest, and its flat scan positions."""
    roi = np.asarray(roi) if not isinstance(roi, tuple) else roi
    positions = math.prod(scan.shape)
    if isinstance(roi, tuple):
        flat = np.ravel_multi_index(tuple(np.asarray(r) for r in roi), scan.shape).reshape(-1)
    elif roi.dtype == bool:
        if roi.shape != scan.shape:
            raise ValueError(
                f"{path}: roi has shape {roi.shape}, the scan {scan.shape} (array order)"
            )
        flat = np.flatnonzero(roi)
    else:
        flat = roi.astype(np.int64).reshape(-1)
        if len(flat) and (flat.min() < -positions or flat.max() >= positions):
            raise ValueError(f"{path}: roi has positions outside 0..{positions - 1}")
        flat = flat % positions
    if not len(flat):
        raise ValueError(f"{path}: roi selects no position")
    if isinstance(scan.index, slice):
        return scan.index.start + flat, flat
    return scan.index[flat], flat


def _angles(recording: Recording, arranged: Arranged) -> npt.NDArray[np.float64] | None:
    """Return the angles of the frames of a rotation series that are returned; NaN for blanks."""
    rows, scan = recording.omega, arranged.scan
    if rows is None:
        return None
    if (flat := arranged.roi_index) is not None:
        index = scan.index.start + flat if isinstance(scan.index, slice) else scan.index[flat]
    else:
        index = scan.index
    if isinstance(index, slice):
        return rows[index]
    chosen: npt.NDArray[np.float64] = rows[index]
    chosen[index < 0] = np.nan
    return chosen


def _axes(
    recording: Recording,
    scan: Scan,
    source: LazyFrames,
    flat: bool,
    angles: npt.NDArray[np.float64] | None = None,
) -> list[dict[str, Any]]:
    n_nav = len(source.nav_shape)
    known = [Axis()] * n_nav
    if not flat:
        given = recording.scan_axes[-n_nav:] if n_nav else ()
        for i, axis in enumerate(reversed(given)):
            known[n_nav - 1 - i] = axis
        if recording.layers > 1 and n_nav > 1:
            known[0] = recording.layer_axis
        if n_nav == 1 and scan.evidence.rule == "stack" and recording.stack_axis is not None:
            counts, axis = scan.counts or {}, recording.stack_axis
            first = counts["first"] + counts["skipped_start"] - counts["inserted_start"]
            known[0] = replace(axis, offset=axis.offset + first * axis.scale)
    if angles is not None and n_nav == 1:
        known[0], warning = omega.axis_of(angles)
        if warning and not flat:
            warn(recording.path, warning)
    axes = [*known, *recording.signal_axes]
    if len(axes) != source.ndim:  # sig_shape changed the number of frame axes
        axes = [*known, *([Axis()] * (source.ndim - n_nav))]
    return [
        axis.to_dict(i, size, i < n_nav)
        for i, (axis, size) in enumerate(zip(axes, source.shape, strict=True))
    ]


def _provenance(recording: Recording, arranged: Arranged) -> dict[str, Any]:
    """Describe how the data came about, for ``original_metadata``."""
    scan, flip_y, roi_index = arranged.scan, arranged.flip_y, arranged.roi_index
    frames = arranged.source.frames
    result: dict[str, Any] = {
        "version": __version__,
        "format": recording.format,
        "files": list(recording.files[:1000]),
        "scan": {
            **scan.evidence.describe(),
            "shape": list(scan.shape),
            "alternatives": [h.describe() for h in scan.alternatives],
        },
        "frames": dict(scan.counts or {}),
    }
    if flip_y is not None:
        result["orientation"] = {"flip_y": flip_y}
    if roi_index is not None:
        result["roi_flat_index"] = roi_index
    if (mask := scan.missing_mask) is not None:
        result["missing_mask"] = mask
    if isinstance(frames, Corrected):
        given = frames.corrections
        result["corrections"] = {
            "dark": given.dark is not None,
            "gain": given.gain is not None,
            "excluded_pixels": 0 if given.excluded is None else int(given.excluded.sum()),
        }
    return result
