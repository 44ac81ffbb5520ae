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
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Unpack

import numpy as np

from rsciio_tem.errors import FormatError, NotThisFormat, Problem
from rsciio_tem.formats.framecache.archive import _forget, _members_of
from rsciio_tem.formats.framecache.hdf5 import _cache_groups, _rows_of
from rsciio_tem.formats.framecache.layout import VERSION_KEY, YAML_KEYS, _Described, _Header
from rsciio_tem.formats.framecache.writer import file_writer, target
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.parsing.checks import Check
from rsciio_tem.parsing.hdf5 import is_hdf5
from rsciio_tem.parsing.processing import processed
from rsciio_tem.parsing.trees import yaml_tree
from rsciio_tem.parsing.zip_archives import is_frame_cache
from rsciio_tem.reading.options import ReadOptions, SparseKind
from rsciio_tem.reading.read import read
from rsciio_tem.recording import rotation
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import files

__all__ = ["CHECKS", "file_reader", "file_writer", "parse", "sniff", "target"]

_YAML = re.compile(rb"""^[{\s]*["']?data["']?\s*:""", re.MULTILINE)


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise the .npz by its members, HDF5 by an attribute, the YAML file by its keys."""
    if is_frame_cache(path, head):
        return 0.97, "is a frame cache of hexrd", {}
    if is_hdf5(path, head):
        # The library is not asked: a damaged file can keep it busy for ever.
        if VERSION_KEY.encode() in head or path.lower().endswith(".fch5"):
            return 0.97, "is a frame cache of hexrd by its name or its attributes", {}
    elif b"\0" not in head and b"nframes" in head and _YAML.search(head):
        data = yaml_tree(path).get("data")
        if isinstance(data, dict) and set(YAML_KEYS) <= set(data):
            return 0.97, "names the .npz of a frame cache", {}
    return None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _yaml(path: str, problems: list[Problem]) -> _Described:
    """Describe a YAML file, and the .npz that it names."""
    tree = yaml_tree(path)
    data, meta = tree.get("data"), tree.get("meta")
    if not isinstance(data, dict) or not set(YAML_KEYS) <= set(data):
        raise NotThisFormat(
            path, f"has no section data with {', '.join(YAML_KEYS)}, so it is no frame cache."
        )
    if meta is not None and not isinstance(meta, dict):
        raise FormatError(path, f"has a section meta that holds {meta!r} instead of keys.")
    header = _Header.of(data["shape"], data["nframes"], data["dtype"], path)
    folder, name = os.path.dirname(path), data["file"]
    if not isinstance(name, str) or not name:
        raise FormatError(path, f"names the file {name!r}.")
    name = os.path.expanduser(name)
    beside = os.path.join(folder, name)
    named = beside if os.path.exists(beside) or not os.path.exists(name) else name
    described = _members_of(files.existing(named), header, problems)
    folders = list(dict.fromkeys((folder, os.path.dirname(name), os.path.dirname(named))))
    entries = rotation.side_metadata(meta or {}, folders, problems)
    return described._replace(
        metadata={**described.metadata, **entries}, files=(path, *described.files)
    )


def _recording(
    path: str,
    described: _Described,
    problems: Sequence[Problem],
    dtype: Any,
    omega: Any,
    processing: Sequence[Any] | None,
) -> Recording:
    metadata = dict(described.metadata)
    frames: Frames = described.frames.widened(dtype)
    rows, odd = rotation.given(omega, metadata.get("omega"), len(frames), path)
    if rows is not None and isinstance(omega, str) and omega == "auto":
        metadata.pop("omega", None)
    hints: tuple[ScanHint, ...] = ()
    nav = np.asarray(metadata.get("navigation_shape", ())).reshape(-1)
    if nav.size > 1 and nav.dtype.kind in "iu" and (nav > 0).all():
        shape = tuple(nav[::-1].tolist())
        hints = (ScanHint("header", shape, 0.95, "navigation_shape in the file"),)
    name = os.path.basename(path)
    panel = metadata.get("panel", metadata.get("panel_id"))
    panel = "_".join(map(str, panel)) if isinstance(panel, (list, np.ndarray)) else panel
    title = " ".join(filter(None, (os.path.splitext(name)[0], described.group)))
    recording = Recording(
        format="framecache",
        path=path,
        frames=frames,
        signal_axes=(Axis("height", "px"), Axis("width", "px")),
        hints=hints,
        omega=rows,
        metadata={
            "General": {"title": str(panel or title), "original_filename": name},
            "Signal": {"signal_type": ""},
        },
        original_metadata=metadata,
        files=described.files,
        problems=(*problems, *odd),
    )
    return processed(recording, processing)


def _recordings(
    filename: str | os.PathLike[str],
    group: str | None,
    dtype: Any,
    omega: Any,
    processing: Sequence[Any] | None,
) -> list[Callable[[], Recording]]:
    """Return what describes each frame cache of a file."""
    path = files.existing(filename)
    head = files.read_start(path, 4096)

    def of(describe: Callable[[list[Problem]], _Described]) -> Callable[[], Recording]:
        def recording() -> Recording:
            problems: list[Problem] = []
            described = describe(problems)
            return _recording(path, described, problems, dtype, omega, processing)

        return recording

    if is_hdf5(path, head):
        names = _cache_groups(path, group)
        return [of(partial(_rows_of, path, name)) for name in names]
    if group is not None:
        raise FormatError(path, f"is no HDF5 file, so it has no group {group!r}.")
    if head[:2] == b"PK":
        return [of(partial(_members_of, path, None))]
    if not head.strip() or b"\0" in head or not _YAML.search(head):
        raise NotThisFormat(path, f"is neither .npz, HDF5 nor YAML: it begins with {head[:16]!r}.")
    return [of(partial(_yaml, path))]


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
    found = _recordings(filename, group, dtype, omega, processing)
    if len(found) > 1:
        raise FormatError(
            filename,
            f"holds {len(found)} frame caches.",
            f"Pass group= with one of {', '.join(_cache_groups(os.fspath(filename), None))}.",
        )
    return found[0]()


CHECKS: tuple[Check, ...] = ()


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
        As in every reader, see ``docs/parameters.md``.
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
        The file is no frame cache.
    Truncated, FormatError
        It is damaged.
    """
    del distributed  # nothing is left to do for it
    result = []
    for recording in _recordings(filename, group, options.get("dtype"), omega, processing):
        result += read(
            recording(),
            lazy=lazy,
            chunks=chunks,
            mmap_mode=mmap_mode,
            navigation_shape=navigation_shape,
            first_frame=first_frame,
            last_frame=last_frame,
            options=options,
            sparse=sparse,
        )
    return result
