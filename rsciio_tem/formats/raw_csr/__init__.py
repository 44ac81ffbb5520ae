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
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Problems
from rsciio_tem.formats.raw_csr.source import source_of
from rsciio_tem.formats.raw_csr.writer import file_writer, target
from rsciio_tem.frames.sparse import SparseFrames, checked_shape
from rsciio_tem.parsing.metadata import general
from rsciio_tem.parsing.trees import side_axes, toml_tree
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions, SparseKind
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.scan.times import FrameTimes
from rsciio_tem.storage import files

__all__ = ["CHECKS", "file_reader", "file_writer", "parse", "sniff", "target"]

#: A TOML file of this format is not longer than this.
_FILETYPE = re.compile(rb"""^\s*filetype\s*=\s*["']raw_csr["']""", re.MULTILINE | re.IGNORECASE)


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise the TOML file by its ``filetype``."""
    if b"\0" in head or not _FILETYPE.search(head):
        return None
    return (0.99 if path.lower().endswith(".toml") else 0.8), "has filetype raw_csr", {}


def parse(
    filename: str | os.PathLike[str], *, sig_shape: int | tuple[int, ...] | None = None
) -> Recording:
    """Describe a sparse recording; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    path = files.existing(filename)
    tree, params, table = _tables(path)
    problems = Problems()
    source = source_of(path, table, problems)
    asked = None if sig_shape is None else np.atleast_1d(sig_shape).tolist()
    stored = params.get("sig_shape", asked)
    if stored is None:
        raise FormatError(path, "has no sig_shape.", "Pass for example sig_shape=(256, 256).")
    shape = checked_shape(stored, path, "sig_shape")
    axes = side_axes(params.get("axes", []), path)
    signal_axes = axes[-len(shape) :] if len(axes) >= len(shape) else (Axis(),) * len(shape)
    frames = SparseFrames(source, shape)
    if asked is not None and asked != list(shape):
        frames = frames.read_as(frame_shape=checked_shape(asked, path, "sig_shape"))
        signal_axes = (Axis(),) * len(frames.frame_shape)
    return Recording(
        format="raw_csr",
        path=path,
        frames=frames,
        signal_axes=signal_axes,
        scan_axes=axes[: -len(shape)],
        hints=_hints(params.get("nav_shape"), path),
        metadata={"General": general(path), "Signal": {"signal_type": ""}},
        original_metadata={
            **tree,
            "entries": len(source.indices),
            "density": len(source.indices) / (len(source) * math.prod(shape)),
        },
        files=(path, *(c.file.path for c in (source.indptr, source.indices, source.data))),
        problems=tuple(problems),
    )


def _tables(path: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the content of the TOML file, and its two tables; names may be in any case."""
    try:
        tree = toml_tree(path)
    except FormatError as error:
        raise NotThisFormat(path, error.problem) from None
    tables = {
        key.lower(): {k.lower(): v for k, v in value.items()}
        for key, value in tree.items()
        if isinstance(value, dict)
    }
    params, table = tables.get("params", {}), tables.get("raw_csr")
    if str(params.get("filetype", "")).lower() != "raw_csr":
        raise NotThisFormat(path, 'has no filetype = "raw_csr" in a table [params].')
    if table is None:
        raise FormatError(path, "has no table [raw_csr] that names its files.")
    return tree, params, table


def _hints(nav: Any, path: str) -> tuple[ScanHint, ...]:
    """Return the scan shape that the TOML file tells."""
    if nav is None:
        return ()
    if not isinstance(nav, list) or not all(type(n) is int and n > 0 for n in nav) or not nav:
        raise FormatError(path, f"nav_shape = {nav!r} is not a shape of a scan.")
    return (ScanHint("header", tuple(nav), 0.95, "nav_shape in the TOML file"),)


def _every_frame(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Look where each frame begins and ends; what makes no sense is an error."""
    del seen
    frames = recording.frames
    assert isinstance(frames, SparseFrames)
    for first in range(0, len(frames.source), 1 << 16):
        frames.source.sizes(first, min(first + (1 << 16), len(frames.source)))
    return iter(())


CHECKS = (_every_frame,)


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
    """Read a sparse recording.

    Parameters
    ----------
    filename : str or path
        The TOML file.
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
        The file is not a TOML file with this ``filetype``.
    Truncated, FormatError
        The files contradict each other, or are damaged.
    """
    del distributed  # nothing is left to do for it
    recording = parse(filename, sig_shape=options.get("sig_shape"))
    frames = recording.frames
    assert isinstance(frames, SparseFrames)
    recording = replace(recording, frames=frames.widened(options.get("dtype")))
    common = (lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame)
    return read(recording, *common, options=options, sparse=sparse)
