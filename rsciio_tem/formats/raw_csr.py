# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse recordings of LiberTEM (``raw_csr``): a TOML file and three binary ones.

Source: LiberTEM's documentation of the data set, and its behaviour. ``specifications/raw_csr.md``
describes the files.

The binary files are the three arrays of a matrix in compressed sparse row format, with a row for
each frame and a column for each pixel: where each frame begins in the other two (``indptr``), the
place of each entry in the flat frame (``indices``), and its value (``data``).
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Truncated
from rsciio_tem.frames.sparse import SparseFrames, Triplets, checked_shape, places_of
from rsciio_tem.parsing.trees import plain, side_axes
from rsciio_tem.reading.options import ReadOptions, SparseKind
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.scan.times import FrameTimes
from rsciio_tem.storage import backends, files
from rsciio_tem.storage.backends import Backend, DataFile

if TYPE_CHECKING:
    from rsciio_tem.writing.signal_frames import SignalFrames
    from rsciio_tem.writing.target import Target

__all__ = ["CHECKS", "file_reader", "file_writer", "parse", "sniff", "target"]

#: The binary files, and the kinds of numbers that they may hold.
PARTS = {"indptr": "iu", "indices": "iu", "data": "buifc"}

#: Memory for so many bytes of each file is kept for the next ones.
_REUSED = 8 << 20
#: A TOML file of this format is not longer than this.
_LONGEST = 1 << 20
_FILETYPE = re.compile(rb"""^\s*filetype\s*=\s*["']raw_csr["']""", re.MULTILINE | re.IGNORECASE)


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise the TOML file by its ``filetype``."""
    if b"\0" in head or not _FILETYPE.search(head):
        return None
    return (0.99 if path.lower().endswith(".toml") else 0.8), "has filetype raw_csr", {}


# ---------------------------------------------------------------- entries


@dataclass(frozen=True)
class _Column:
    """One of the binary files: numbers back to back."""

    name: str
    file: DataFile
    stored: np.dtype[Any]

    @property
    def native(self) -> np.dtype[Any]:
        """Type of a number, in the machine's byte order."""
        return self.stored.newbyteorder("=")

    def __len__(self) -> int:
        return self.file.size // self.stored.itemsize

    def read(
        self, first: int, last: int, dtype: np.dtype[Any] | type, backend: Backend
    ) -> npt.NDArray[Any]:
        """Return the numbers first..last as `dtype`, until others of this column are read."""
        size = self.stored.itemsize
        nbytes = (last - first) * size
        into = None if nbytes <= _REUSED else np.empty(nbytes, np.uint8)
        backend = backend if nbytes else "auto"  # an empty file cannot be mapped
        raw = backends.read(self.file, first * size, nbytes, backend, into, self.name)
        return raw.view(self.stored).astype(dtype, copy=False)


@dataclass(frozen=True)
class _Csr:
    """The three files; see `rsciio_tem.frames.sparse.Source`."""

    indptr: _Column
    indices: _Column
    data: _Column
    count: int
    backend: Backend = "auto"

    @property
    def path(self) -> str:
        return self.indices.file.path

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.native

    def __len__(self) -> int:
        return self.count

    def using(self, backend: Backend) -> _Csr:
        return replace(self, backend=backend)

    def _bounds(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """Return where the frames first..last begin and end, if that makes sense."""
        bounds = self.indptr.read(first, last + 1, np.int64, self.backend)
        begins, ends = bounds[:-1], bounds[1:]
        if bounds[0] < 0 or bounds[-1] > len(self.indices) or (begins > ends).any():
            wrong = (begins > ends) | (begins < 0) | (ends > len(self.indices))
            i = int(np.flatnonzero(wrong)[0])
            raise FormatError(
                self.indptr.file.path,
                f"frame {first + i} is said to have the entries from {bounds[i]} to "
                f"{bounds[i + 1]} of {len(self.indices)}.",
                "indptr_dtype in the TOML file may be wrong.",
            )
        return bounds

    def sizes(self, first: int, last: int) -> npt.NDArray[np.int64]:
        return np.diff(self._bounds(first, last))

    def entries(self, first: int, last: int) -> Triplets:
        bounds = self._bounds(first, last)
        begin, end = int(bounds[0]), int(bounds[-1])
        # read even if there is nothing to read: changed files are errors
        pixels = self.indices.read(begin, end, self.indices.native, self.backend)
        values = self.data.read(begin, end, self.dtype, self.backend)
        return Triplets(bounds - begin, places_of(pixels), values)


# ---------------------------------------------------------------- description


def _tables(path: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the content of the TOML file, and its two tables; names may be in any case."""
    content = files.read_start(path, _LONGEST + 1)
    if len(content) > _LONGEST:
        raise NotThisFormat(path, "is larger than 1 MiB, so it is no TOML file of a recording.")
    try:
        tree = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise NotThisFormat(path, f"is no valid TOML: {error}.") from None
    tables = {
        key.lower(): {k.lower(): v for k, v in value.items()}
        for key, value in tree.items()
        if isinstance(value, dict)
    }
    params, own = tables.get("params", {}), tables.get("raw_csr")
    if str(params.get("filetype", "")).lower() != "raw_csr":
        raise NotThisFormat(path, 'has no filetype = "raw_csr" in a table [params].')
    if own is None:
        raise FormatError(path, "has no table [raw_csr] that names its files.")
    return tree, params, own


def _column(path: str, own: Mapping[str, Any], part: str, problems: list[Problem]) -> _Column:
    """Return one of the binary files."""
    name, text = own.get(f"{part}_file"), own.get(f"{part}_dtype")
    if not isinstance(name, str) or not name or not isinstance(text, str):
        raise FormatError(path, f"lacks {part}_file or {part}_dtype in [raw_csr].")
    try:
        stored = np.dtype(text)
    except (TypeError, ValueError, SyntaxError):
        raise FormatError(
            path, f"{part}_dtype = {text!r} is unknown.", "Use numpy's names, such as '<i4'."
        ) from None
    if stored.kind not in PARTS[part] or stored.itemsize > (16 if stored.kind == "c" else 8):
        what = "numbers" if part == "data" else "whole numbers"
        raise FormatError(path, f"{part}_dtype = {text!r} is no type of {what}.")
    if "\0" in name:
        raise FormatError(path, f"{part}_file = {name!r} is no name of a file.")
    file = DataFile.of(files.existing(os.path.join(os.path.dirname(path), name)))
    if rest := file.size % stored.itemsize:
        problems.append(
            Problem(
                "warning",
                f"{rest} bytes at the end of {name} are no whole {stored}, and are ignored.",
                f"The file was cut, or {part}_dtype is wrong.",
            )
        )
    return _Column(f"raw_csr {part}", file, stored)


def _complete(source: _Csr) -> int:
    """Return how many frames have all their entries, by looking at few of them."""
    low, high = 0, source.count
    while low < high:
        middle = (low + high + 1) // 2
        end = source.indptr.read(middle, middle + 1, np.int64, "auto")[0]
        low, high = (middle, high) if 0 <= end <= len(source.indices) else (low, middle - 1)
    return low


def _source(path: str, own: Mapping[str, Any], problems: list[Problem]) -> _Csr:
    """Return the three files, if they fit each other."""
    indptr, indices, data = (_column(path, own, part, problems) for part in PARTS)
    if len(indices) != len(data):
        raise FormatError(
            path,
            f"{os.path.basename(indices.file.path)} has {len(indices)} entries, "
            f"{os.path.basename(data.file.path)} {len(data)}.",
            "One of them was cut, or its dtype in the TOML file is wrong.",
        )
    source = _Csr(indptr, indices, data, len(indptr) - 1)
    if source.count < 1:
        raise Truncated(indptr.file.path, f"has {indptr.file.size} bytes, which hold no frame.")
    first = int(indptr.read(0, 1, np.int64, "auto")[0])
    last = int(indptr.read(source.count, source.count + 1, np.int64, "auto")[0])
    if first != 0:
        raise FormatError(
            indptr.file.path,
            f"begins with {first} instead of 0.",
            "indptr_dtype in the TOML file may be wrong.",
        )
    if not 0 <= last <= len(indices):
        complete = _complete(source)
        if not complete:
            raise Truncated(
                indices.file.path, f"has {len(indices)} entries, no frame has all of its own."
            )
        problems.append(
            Problem(
                "warning",
                f"ends early: {len(indices)} of {last} entries are there, and {complete} of "
                f"{source.count} frames are complete.",
            )
        )
        source = replace(source, count=complete)
    elif last < len(indices):
        problems.append(
            Problem(
                "warning",
                f"{len(indices) - last} of {len(indices)} entries belong to no frame.",
                f"{os.path.basename(indptr.file.path)} was cut, or indptr_dtype is wrong.",
            )
        )
    return source


def parse(
    filename: str | os.PathLike[str], *, sig_shape: int | tuple[int, ...] | None = None
) -> Recording:
    """Describe a sparse recording; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    path = files.existing(filename)
    tree, params, own = _tables(path)
    problems: list[Problem] = []
    source = _source(path, own, problems)
    told = params.get("sig_shape")
    wanted = None if sig_shape is None else np.atleast_1d(sig_shape).tolist()
    if told is None and wanted is None:
        raise FormatError(path, "has no sig_shape.", "Pass for example sig_shape=(256, 256).")
    shape = checked_shape(wanted if told is None else told, path, "sig_shape")
    axes = side_axes(params.get("axes", []), path)
    signal_axes = axes[-len(shape) :] if len(axes) >= len(shape) else (Axis(),) * len(shape)
    frames = SparseFrames(source, shape)
    if wanted is not None and wanted != list(shape):
        frames = frames.read_as(frame_shape=checked_shape(wanted, path, "sig_shape"))
        signal_axes = (Axis(),) * len(frames.frame_shape)
    hints: tuple[ScanHint, ...] = ()
    if (nav := params.get("nav_shape")) is not None:
        if not isinstance(nav, list) or not all(type(n) is int and n > 0 for n in nav) or not nav:
            raise FormatError(path, f"nav_shape = {nav!r} is no shape of a scan.")
        hints = (ScanHint("header", tuple(nav), 0.95, "nav_shape in the TOML file"),)
    name = os.path.basename(path)
    return Recording(
        format="raw_csr",
        path=path,
        frames=frames,
        signal_axes=signal_axes,
        scan_axes=axes[: -len(shape)],
        hints=hints,
        metadata={
            "General": {"title": os.path.splitext(name)[0], "original_filename": name},
            "Signal": {"signal_type": ""},
        },
        original_metadata={
            **plain(tree),
            "entries": len(source.indices),
            "density": len(source.indices) / (len(source) * math.prod(shape)),
        },
        files=(path, *(c.file.path for c in (source.indptr, source.indices, source.data))),
        problems=tuple(problems),
    )


def _every_frame(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Look where each frame begins and ends; what makes no sense is an error."""
    del seen
    frames = recording.frames
    assert isinstance(frames, SparseFrames)
    for first in range(0, len(frames.source), 1 << 16):
        frames.source.sizes(first, min(first + (1 << 16), len(frames.source)))
    return iter(())


CHECKS = (_every_frame,)


def file_reader(
    filename: str | os.PathLike[str],
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: int | tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool = False,
    *,
    sparse: SparseKind = False,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a sparse recording.

    Parameters
    ----------
    filename : str or path
        The TOML file.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    sparse : {False, True, "scipy"}
        Return dense frames; a ``sparse.COO`` of the same shape (blocks of it, if lazy); or a
        ``scipy.sparse.csr_array`` with a row for each position and a column for each pixel.
    **options
        `ReadOptions`.

    Returns
    -------
    list of one dict

    Raises
    ------
    NotThisFormat
        The file is no TOML file with this ``filetype``.
    Truncated, FormatError
        The files contradict each other, or are damaged.
    """
    del distributed  # nothing is left to do for it
    recording = parse(filename, sig_shape=options.get("sig_shape"))
    frames = recording.frames
    assert isinstance(frames, SparseFrames)
    return read(
        replace(recording, frames=frames.widened(options.get("dtype"))),
        lazy=lazy,
        chunks=chunks,
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
        sparse=sparse,
    )


# ---------------------------------------------------------------- writing


def target(frames: SignalFrames, path: str, *, threshold: float | None = None) -> Target:
    """Return what `rsciio_tem.convert` streams frames into; parameters as in `file_writer`."""
    from rsciio_tem.writing.sparse import RawCsr

    return RawCsr(path, frames, threshold)


def file_writer(
    filename: str | os.PathLike[str],
    signal: Mapping[str, Any],
    *,
    threshold: float | None = None,
    overwrite: bool = False,
) -> None:
    """Write a signal as a sparse recording, piece by piece if it is lazy.

    Parameters
    ----------
    filename : str or path
        The TOML file; those with the entries are put beside it. All appear under their names when
        they are complete.
    signal : dict
        As RosettaSciIO's writers receive it.
    threshold : float, optional
        Only values above it are stored, as hexrd does it for frame caches. By default all values
        other than zero are, so that nothing is lost.
    overwrite : bool
        Replace files of these names. The recording that the signal was read from is never replaced.

    Raises
    ------
    FileExistsError
        There is such a file.
    """
    from rsciio_tem.writing.signal_frames import SignalFrames
    from rsciio_tem.writing.stream import write

    frames = SignalFrames.of(signal, "raw_csr")
    made = target(frames, os.fspath(filename), threshold=threshold)
    write(made, frames, filename, overwrite=overwrite)
