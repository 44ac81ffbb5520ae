# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of images in YAML (hexrd's ``image-files``): many files that are one series.

Sources: hexrd's documentation, and its source, where the two differ; issues of hexrd and HEXRDGUI.
``specifications/imagefiles.md`` describes the file.

The code of hexrd wants the limits in a mapping ``options`` and calls the metadata ``meta``; its
documentation has the limits beside ``image-files`` and calls the metadata ``metadata``. Both are
understood, and underscores for hyphens.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np

from rsciio_tem.errors import FormatError, NotThisFormat, Problems
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.parsing import images
from rsciio_tem.parsing.checks import Check
from rsciio_tem.parsing.file_lists import listed_files
from rsciio_tem.parsing.metadata import general
from rsciio_tem.parsing.processing import processed
from rsciio_tem.parsing.text import number_type, to_number
from rsciio_tem.parsing.trees import yaml_tree
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording import rotation
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage import files

__all__ = ["CHECKS", "file_reader", "parse", "sniff"]

#: Keys of the limits, and the types of their values.
EMPTY, PER_FILE, TOTAL = "empty-frames", "max-file-frames", "max-total-frames"
OPTIONS = (EMPTY, PER_FILE, TOTAL, "dtype")
_SECTIONS = ("image-files", "options", "meta", "metadata")
_KEY = re.compile(rb"""^[{\s]*["']?image[-_]files["']?\s*:""", re.MULTILINE)


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise the list by its key ``image-files``."""
    if b"\0" in head or not _KEY.search(head):
        return None
    named = path.lower().endswith((".yml", ".yaml"))
    return (0.98 if named else 0.7), "has the key image-files", {}


def parse(
    filename: str | os.PathLike[str],
    *,
    empty_frames: int | None = None,
    max_file_frames: int | None = None,
    max_total_frames: int | None = None,
    omega: Any = "auto",
    processing: Sequence[Any] | None = None,
) -> Recording:
    """Describe a list of images; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    path = files.plain_file(files.existing(filename), "what reads lists of images")
    problems = Problems()
    tree = _yaml(path)
    section = _section(tree, "image-files", path)
    keywords = {EMPTY: empty_frames, PER_FILE: max_file_frames, TOTAL: max_total_frames}
    limits = _limits(tree, keywords, path, problems)
    folders = [os.path.dirname(place) for place in files.places(path)]
    folders = list(dict.fromkeys((*folders, "")))
    entries = {**_section(tree, "metadata", path), **_section(tree, "meta", path)}
    meta, arrays = rotation.side_metadata(entries, folders, problems)
    listed, directory = section.get("files"), section.get("directory") or ""
    if not isinstance(listed, (str, list)) or not isinstance(directory, str):
        raise FormatError(
            path,
            f"names no files: directory is {directory!r}, files is {listed!r}.",
            'Write for example files: "scan_*.tif".',
        )
    names = listed_files(listed, directory, folders, path, problems)
    opener = images.Opener()
    parts = _selected([opener.open(name) for name in names], names, limits)
    used = names[: len(parts)]
    problems += opener.problems
    frames = images.joined(parts, used, path, problems)
    angles = _omega(meta, len(frames))
    rows, doubts = rotation.angles_asked(omega, angles, len(frames), path)
    if rows is None and angles is not None:
        meta["omega"] = angles
    panel = meta.get("panel")
    panel = "_".join(map(str, panel)) if isinstance(panel, list) else panel
    recording = Recording(
        format="imagefiles",
        path=path,
        frames=frames,
        signal_axes=(Axis("height", "px"), Axis("width", "px")),
        omega=rows,
        metadata={
            "General": general(path, str(panel) if panel else None),
            "Signal": {"signal_type": ""},
        },
        original_metadata={
            **meta,
            "image_files": {
                "directory": directory,
                "files": listed,
                "options": limits,
                "read_with": opener.formats,
            },
        },
        files=(path, *used, *arrays),
        problems=(*problems, *doubts),
    )
    return processed(recording, processing)


# ---------------------------------------------------------------- the YAML


def _yaml(path: str) -> dict[str, Any]:
    """Read the file; its keys get hyphens."""
    tree = {
        "image-files" if key == "image_files" else key if key in _SECTIONS else _hyphens(key): value
        for key, value in yaml_tree(path).items()
    }
    if "image-files" not in tree:
        raise NotThisFormat(path, f"has no key image-files; its keys are {', '.join(tree)}.")
    return tree


def _hyphens(key: str) -> str:
    return key.replace("_", "-")


def _section(tree: Mapping[str, Any], key: str, path: str) -> dict[str, Any]:
    """Return a section; one that is not there is empty."""
    value = tree.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise FormatError(path, f"has a section {key!r} that holds {value!r} instead of keys.")
    return value


def _limits(
    tree: Mapping[str, Any], keywords: Mapping[str, int | None], path: str, problems: Problems
) -> dict[str, Any]:
    """Collect the options of all sections where they may stand; keywords replace them."""
    sections = {
        "options": _section(tree, "options", path),
        "the top level": {k: v for k, v in tree.items() if k not in _SECTIONS},
        "image-files": {
            k: v
            for k, v in _section(tree, "image-files", path).items()
            if k not in ("directory", "files")
        },
    }
    limits: dict[str, Any] = {}
    unknown = []
    for section, entries in sections.items():
        for key, value in ((_hyphens(key), value) for key, value in entries.items()):
            if key not in OPTIONS:
                unknown.append(key)
            elif limits.setdefault(key, value) != value:
                problems.warn(
                    f"{key} is {limits[key]!r}, in {section} it is {value!r}; the first is used."
                )
    if unknown:
        problems.warn(
            f"unknown keys {sorted(unknown)} are ignored.",
            f"The known keys are {', '.join(OPTIONS)}.",
        )
    for key in keywords:
        value = limits.get(key)
        if value is None:
            limits[key] = 0
        elif isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise FormatError(path, f"{key} is {value!r}, not a number of frames.")
    for key, value in keywords.items():
        if value is not None:
            limits[key] = int(value)
            if limits[key] < 0:
                raise ValueError(f"{key.replace('-', '_')}={value} is not a number of frames")
    return limits


def _omega(meta: dict[str, Any], count: int) -> Any:
    """Return the angles that the metadata tell: a table, or the first and the last one."""
    if "omega" in meta:
        return meta.pop("omega")
    if "ostart" in meta and "ostop" in meta:
        start, stop = to_number(meta["ostart"]), to_number(meta["ostop"])
        if start is not None and stop is not None:
            edges = np.linspace(start, stop, count + 1)
            return np.stack([edges[:-1], edges[1:]], axis=1)
    return None


def _selected(parts: list[Frames], names: list[str], limits: Mapping[str, Any]) -> list[Frames]:
    """Leave out the frames that the limits exclude."""
    empty, per_file, total = (limits[key] for key in (EMPTY, PER_FILE, TOTAL))
    selected, remaining = [], total or sum(map(len, parts))
    for part, name in zip(parts, names, strict=True):
        if empty >= len(part):
            raise FormatError(
                name,
                f"holds {len(part)} frames, of which {EMPTY} = {empty} are left out.",
                f"{EMPTY} counts in each file; pass empty_frames=0, and first_frame= to leave out "
                "frames of the whole series.",
            )
        stop = min(len(part), empty + per_file if per_file else len(part), empty + remaining)
        selected.append(part[empty:stop] if (empty, stop) != (0, len(part)) else part)
        remaining -= stop - empty
    return [part for part in selected if len(part)]


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
    empty_frames: int | None = None,
    max_file_frames: int | None = None,
    max_total_frames: int | None = None,
    omega: Any = "auto",
    processing: Sequence[Any] | None = None,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a list of images.

    Parameters
    ----------
    filename : str or path
        The YAML file with the key ``image-files``.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
    empty_frames : int
        Frames to leave out at the start of each file, instead of ``empty-frames``.
    max_file_frames, max_total_frames : int
        Maximum number of frames from each file, and in total, instead of the keys of these names;
        0 for all.
    omega : "auto", None, path or array of N x 2
        Angles of the rotation series, by default those of the metadata.
    processing : list of (code, argument)
        See `rsciio_tem.parsing.processing`.
    **options
        `ReadOptions`.

    Returns
    -------
    list of one dict

    Raises
    ------
    NotThisFormat
        The file is not such a list.
    FormatError
        Images are missing, damaged, or differ from each other.
    """
    del distributed  # nothing is left to do for it
    recording = parse(
        filename,
        empty_frames=empty_frames,
        max_file_frames=max_file_frames,
        max_total_frames=max_total_frames,
        omega=omega,
        processing=processing,
    )
    dtype = recording.original_metadata["image_files"]["options"].get("dtype")
    if dtype is not None and options.get("dtype") is None:
        options["dtype"] = number_type(dtype)
        if options["dtype"] is None:
            raise FormatError(recording.path, f"asks for the unknown dtype {dtype!r}.")
    frames = (navigation_shape, first_frame, last_frame)
    return read(recording, lazy, chunks, mmap_mode, *frames, options=options)
