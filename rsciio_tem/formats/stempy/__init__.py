# SPDX-License-Identifier: GPL-3.0-or-later
"""Counted electrons in HDF5, as stempy writes them: NCEM's 4D Camera and others.

Sources: stempy's documentation and the behaviour of its versions up to 3.6, and HDF5's description
of its file format. ``specifications/stempy.md`` describes the file.

The pixels that electrons have hit are listed for each frame of the camera. There can be several
frames at a position of the scan; they add up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Unsupported
from rsciio_tem.formats.stempy.events import (
    FRAMES,
    GROUP,
    POSITIONS,
    Events,
    checked_count,
    place_of_lists,
    shape_of,
)
from rsciio_tem.formats.stempy.writer import DTYPE, file_writer, target
from rsciio_tem.frames.sparse import SparseFrames, checked_shape
from rsciio_tem.parsing.checks import counted, number_ranges
from rsciio_tem.parsing.hdf5 import is_converted, is_hdf5, opened, require_hdf5, tree
from rsciio_tem.parsing.hdf5_kept import kept_in
from rsciio_tem.parsing.hdf5_links import member
from rsciio_tem.parsing.hdf5_values import attribute, text
from rsciio_tem.parsing.kept import axes_of, restored
from rsciio_tem.parsing.metadata import general
from rsciio_tem.parsing.text import number_type
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions, SparseKind
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.scan.times import FrameTimes
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

__all__ = ["CHECKS", "file_reader", "file_writer", "parse", "sniff", "target"]

#: From this version on frames are in the order of their positions, before they name them.
_IN_ORDER = 3


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise the name of the group, which is near the beginning of the file."""
    if not is_hdf5(path, head) or is_converted(head):
        return None
    # The library is not asked: a damaged file can keep it busy for ever.
    return (0.95, f"has a group {GROUP}", {}) if GROUP.encode() in head else None


def parse(filename: str | os.PathLike[str]) -> Recording:
    """Describe a file of counted electrons; `file_reader` explains the errors.

    Returns
    -------
    Recording
    """
    path = files.existing(filename)
    require_hdf5(path)
    described = DataFile.of(path)
    with opened(path) as file:
        frames, positions = member(file, FRAMES), member(file, POSITIONS)
        if not hasattr(frames, "dtype") or not hasattr(positions, "dtype"):
            raise NotThisFormat(path, f"has no data sets {FRAMES} and {POSITIONS}.")
        version = _version(attribute(file, "version", 1), path)
        rows, columns = checked_shape(shape_of(frames, path, FRAMES), path, f"Nx, Ny of {FRAMES}")
        scan = shape_of(positions, path, POSITIONS)[::-1]
        start, lists, stored, origin = place_of_lists(file, path)
        value = number_type(text(attribute(frames, DTYPE, ""))) or np.dtype(np.uint32)
        kept = kept_in(file, "rsciio_tem", path)
        entries = tree(file, frozenset(["/rsciio_tem"]))
    positioned = version < _IN_ORDER
    source = Events(
        described,
        start,
        lists,
        checked_count(lists, scan, positioned, path),
        positioned,
        stored,
        origin,
        rows * columns,
        value.newbyteorder("=").str,
    )
    nav_shape = _nav_shape(scan, kept.entries.get("axes"))
    axes = axes_of(kept, (Axis(),) * (len(nav_shape) + 2))
    reason = f"Nx and Ny of {POSITIONS}"
    recording = Recording(
        format="stempy",
        path=path,
        frames=SparseFrames(source, (rows, columns)),
        signal_axes=tuple(axes[-2:]),
        scan_axes=tuple(axes[:-2]),
        hints=(ScanHint("header", nav_shape, 0.95, reason, exact=True),) * (len(nav_shape) > 1),
        metadata={"General": general(path), "Signal": {"signal_type": ""}},
        original_metadata={
            "version": version,
            "frames": lists,
            **({} if positioned else {"frames_per_position": lists // len(source)}),
            "file": entries,
        },
        files=(path,),
    )
    return restored(recording, kept, nav_shape)


def _nav_shape(scan: tuple[int, int], axes: Any) -> tuple[int, ...]:
    """Return the shape of the scan; what is a single line has two axes only if its source had."""
    if min(scan) > 1 or (isinstance(axes, list) and len(axes) == 4):
        return scan
    return (max(scan),) if max(scan) > 1 else ()


def _version(stored: Any, path: str) -> int:
    """Return the version of the layout."""
    values = np.asarray(stored).reshape(-1)
    if len(values) != 1 or values.dtype.kind not in "iu":
        raise FormatError(path, f"has the version {values.tolist()}, which is not a whole number.")
    if not 1 <= values[0] <= 3:
        raise Unsupported(path, f"has version {values[0]} of stempy's layout; 1 to 3 are known.")
    return int(values[0])


def _every_position(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Look at the number of electrons of each frame, and at the positions that frames are at."""
    del seen
    frames = recording.frames
    assert isinstance(frames, SparseFrames)
    source = frames.source
    assert isinstance(source, Events)
    empty: list[int] = []
    for first in range(0, len(source), 1 << 16):
        last = min(first + (1 << 16), len(source))
        source.sizes(first, last)
        _, begins = source.bounds(first, last)
        empty += (first + np.flatnonzero(np.diff(begins) == 0)).tolist()
    if empty:
        yield Problem(
            "warning",
            f"there is no frame for {counted(len(empty), 'position')} of {len(source)}, whose "
            f"pixels are 0: {number_ranges(empty)}.",
        )


CHECKS = (_every_position,)


@documented
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
    """Read counted electrons.

    Parameters
    ----------
    filename : str or path
        The HDF5 file.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
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
        The file has no group ``electron_events`` with its data sets.
    Truncated, FormatError
        It is damaged.
    """
    del distributed  # nothing is left to do for it
    recording = parse(filename)
    frames = recording.frames
    assert isinstance(frames, SparseFrames)
    recording = replace(recording, frames=frames.widened(options.get("dtype")))
    common = (lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame)
    return read(recording, *common, options=options, sparse=sparse)
