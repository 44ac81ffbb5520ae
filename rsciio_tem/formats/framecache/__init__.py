# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame caches of hexrd's imageseries: the pixels above a threshold, frame by frame.

Sources: hexrd's documentation and the behaviour of its reader and writer, its pull requests 728
and 955, and frame caches of its examples. ``specifications/framecache.md`` describes the files.

There are three styles: an .npz with three small arrays for each frame; an HDF5 file (.fch5), or a
group of one, with the entries of all frames in one table; and, no longer written by hexrd, a YAML
file that says what the arrays of an .npz beside it are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Unpack

import numpy as np

from rsciio_tem.errors import FormatError, NotThisFormat, Problems
from rsciio_tem.formats.framecache.archive import described_archive
from rsciio_tem.formats.framecache.hdf5 import VERSION_KEY, cache_groups, described_group
from rsciio_tem.formats.framecache.header import Described
from rsciio_tem.formats.framecache.writer import file_writer, target
from rsciio_tem.formats.framecache.yaml import DATA, described_yaml, has_keys
from rsciio_tem.parsing.checks import Check
from rsciio_tem.parsing.hdf5 import is_hdf5
from rsciio_tem.parsing.metadata import general
from rsciio_tem.parsing.processing import processed
from rsciio_tem.parsing.trees import yaml_tree
from rsciio_tem.parsing.zip_archives import is_frame_cache
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions, SparseKind
from rsciio_tem.reading.read import read
from rsciio_tem.recording import rotation
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import files

__all__ = ["CHECKS", "file_reader", "file_writer", "parse", "sniff", "target"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise the .npz by its members, HDF5 by an attribute, the YAML file by its keys."""
    if is_frame_cache(path, head):
        return 0.97, "is a frame cache of hexrd", {}
    if is_hdf5(path, head):
        # The library is not asked: a damaged file can keep it busy for ever.
        named = VERSION_KEY.encode() in head or path.lower().endswith(".fch5")
        return (
            (0.97, "is a frame cache of hexrd by its name or its attributes", {}) if named else None
        )
    looks_like_it = b"\0" not in head and b"nframes" in head and DATA.search(head)
    if looks_like_it and has_keys(yaml_tree(path).get("data")):
        return 0.97, "names the .npz of a frame cache", {}
    return None


def parse(
    filename: str | os.PathLike[str],
    *,
    group: str | None = None,
    dtype: Any = None,
    omega: Any = "auto",
    processing: Sequence[Any] | None = None,
) -> Recording:
    """Describe a frame cache; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    path = files.existing(filename)
    caches = _caches(path, group)
    if len(caches) > 1:
        raise FormatError(
            path,
            f"holds {len(caches)} frame caches.",
            f"Pass group= with one of {', '.join(cache_groups(path, None))}.",
        )
    return _recording(path, caches[0], dtype, omega, processing)


def _caches(path: str, group: str | None) -> list[Callable[[Problems], Described]]:
    """Return what describes each frame cache of a file."""
    head = files.read_start(path, 4096)
    if is_hdf5(path, head):
        return [partial(described_group, path, name) for name in cache_groups(path, group)]
    if group is not None:
        raise FormatError(path, f"is not an HDF5 file, so it has no group {group!r}.")
    if head[:2] == b"PK":
        return [partial(described_archive, path, None)]
    if not head.strip() or b"\0" in head or not DATA.search(head):
        raise NotThisFormat(path, f"is neither .npz, HDF5 nor YAML: it begins with {head[:16]!r}.")
    return [partial(described_yaml, path)]


def _recording(
    path: str,
    describe: Callable[[Problems], Described],
    dtype: Any,
    omega: Any,
    processing: Sequence[Any] | None,
) -> Recording:
    problems = Problems()
    described = describe(problems)
    entries, frames = dict(described.metadata), described.frames.widened(dtype)
    angles, odd = rotation.angles_asked(omega, entries.get("omega"), len(frames), path)
    problems.extend(odd)
    if angles is not None and isinstance(omega, str) and omega == "auto":
        entries.pop("omega", None)
    panel = entries.get("panel", entries.get("panel_id"))
    panel = "_".join(map(str, panel)) if isinstance(panel, (list, np.ndarray)) else panel
    stem = os.path.splitext(os.path.basename(path))[0]
    title = str(panel or " ".join(filter(None, (stem, described.group))))
    recording = Recording(
        format="framecache",
        path=path,
        frames=frames,
        signal_axes=(Axis("height", "px"), Axis("width", "px")),
        hints=_hints(entries),
        omega=angles,
        metadata={"General": general(path, title), "Signal": {"signal_type": ""}},
        original_metadata=entries,
        files=described.files,
        problems=tuple(problems),
    )
    return processed(recording, processing)


def _hints(entries: dict[str, Any]) -> tuple[ScanHint, ...]:
    """Return the scan shape that the metadata speak for."""
    nav = np.asarray(entries.get("navigation_shape", ())).reshape(-1)
    if nav.size < 2 or nav.dtype.kind not in "iu" or (nav < 1).any():
        return ()
    shape = tuple(nav[::-1].tolist())
    return (ScanHint("header", shape, 0.95, "navigation_shape in the file"),)


CHECKS: tuple[Check, ...] = ()


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
    group: str | None = None,
    omega: Any = "auto",
    processing: Sequence[Any] | None = None,
    sparse: SparseKind = False,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a frame cache.

    Parameters
    ----------
    filename : str or path
        The .npz, .fch5 (or other HDF5 file with frame caches), or YAML file.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
    group : str
        Group of an HDF5 file; by default the root, or all groups that are frame caches.
    omega : "auto", None, path or array of N x 2
        Angles of the rotation series, by default those of the metadata.
    processing : list of (code, argument)
        See `rsciio_tem.parsing.processing`.
    sparse : {False, True, "scipy"}
        Return dense frames; a ``sparse.COO`` of the same shape (blocks of it, if lazy); or a
        ``scipy.sparse.csr_array`` with a row for each frame and a column for each pixel.
    **options
        `ReadOptions`.

    Returns
    -------
    list of dict
        One, unless an HDF5 file has several groups.

    Raises
    ------
    NotThisFormat
        The file is not a frame cache.
    Truncated, FormatError
        It is damaged.
    """
    del distributed  # nothing is left to do for it
    path = files.existing(filename)
    common = (lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame)
    signals = []
    for cache in _caches(path, group):
        recording = _recording(path, cache, options.get("dtype"), omega, processing)
        signals += read(recording, *common, options=options, sparse=sparse)
    return signals
