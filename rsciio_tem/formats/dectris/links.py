# SPDX-License-Identifier: GPL-3.0-or-later
"""The data sets that a master links to, as one sequence of frames."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Problems, Truncated
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.parsing.hdf5 import opened
from rsciio_tem.parsing.hdf5_frames import frames_of
from rsciio_tem.parsing.hdf5_links import dataset_of, dectris_links, is_at, member, referred
from rsciio_tem.parsing.hdf5_values import attribute, link_of, plain
from rsciio_tem.storage import files

MASTER = re.compile(r"(.*)_master(\.\w+)", re.IGNORECASE)
#: Numbers of frames in a series, for each that is stored, at most.
_SPARSEST = 100
_DATA = re.compile(r"(.*)_data_\d{6}(\.\w+)", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """One data set of frames.

    Parameters
    ----------
    link : str
        Its name in the master.
    file, dataset : str
        Where it is.
    shape : tuple of int
        Frames, rows, columns; empty if it is missing.
    first : int
        Number of its first frame in the series, from 0; -1 if it does not say.
    """

    link: str
    file: str
    dataset: str
    shape: tuple[int, ...] = ()
    first: int = -1


def master_of(path: str) -> str:
    """Return the master that a data file belongs to, empty if there is none."""

    def master_at(place: str) -> str:
        match = _DATA.fullmatch(place)
        master = f"{match[1]}_master{match[2]}" if match else ""
        return master if files.is_file(master) else ""

    return files.first_found(path, master_at)


def linked_parts(file: Any, path: str) -> list[Part]:
    """Return the data sets of an open master, all with frames of the same shape."""
    group, names = dectris_links(file)
    if not names:
        raise NotThisFormat(
            path,
            "is not a master of a Dectris recording: it has no detectorSpecific, or no links "
            "data_000001, … to frames.",
            'Open the file that ends with _master.h5, or pass format="hdf5".',
        )
    parts = [_part(file, group, name, path) for name in names]
    shapes = {part.shape[1:] for part in parts if part.shape}
    if len(shapes) > 1:
        raise FormatError(path, f"its data files hold frames of different shapes {shapes}.")
    return parts


def _part(file: Any, group: str, name: str, path: str) -> Part:
    """Find out where the frames of a link are, and which of the series they are."""
    import h5py

    link, inner = link_of(member(file, group), name), f"{group}/{name}"
    if not isinstance(link, h5py.ExternalLink):
        return _described(dataset_of(file, inner), inner, path, inner)
    other = referred(path, link.filename)
    if not files.is_file(other):
        matches = map(MASTER.fullmatch, files.places(path))  # if all files got another name
        renamed = (f"{m[1]}_{name}{m[2]}" for m in matches if m)
        other = next(filter(files.is_file, renamed), other)
    if not files.exists(other):
        return Part(inner, other, link.path)
    with opened(other) as data:
        if not is_at(data, link.path):
            raise FormatError(
                other, f"has no data set {link.path}, to which {os.path.basename(path)} links."
            )
        return _described(dataset_of(data, link.path), inner, other, link.path)


def _described(dataset: Any, link: str, file: str, inner: str) -> Part:
    shape = tuple(int(n) for n in getattr(dataset, "shape", None) or ())
    if len(shape) != 3:
        raise FormatError(file, f"{inner} has the shape {shape}, and is not a stack of frames.")
    low, high = (plain(attribute(dataset, f"image_nr_{end}")) for end in ("low", "high"))
    first = -1
    if isinstance(low, int) and isinstance(high, int) and 0 < low == high - shape[0] + 1 < 1 << 48:
        first = low - 1
    return Part(link, file, inner, shape, first)


# ---------------------------------------------------------------- frames


def series(parts: list[Part], path: str, problems: Problems) -> Frames:
    """Join the data sets in the order of the series; blanks stand for those that are missing."""
    stored = [p for p in parts if p.shape and p.shape[0]]
    lost = [p for p in parts if not p.shape]
    if lost and not stored:
        raise Truncated(
            path,
            f"its data file is not there: {parts[0].file}."
            if len(parts) == 1
            else f"none of its {len(parts)} data files is there, the first would be "
            f"{parts[0].file}.",
            "Copy what was recorded with it into the same folder.",
        )
    if not stored:
        raise Truncated(path, "its data files hold no frames.")
    frames = frames_of([p.file for p in stored], [p.dataset for p in stored])
    names = ", ".join(os.path.basename(p.file) for p in lost[:5]) + (", …" if lost[5:] else "")
    last = max(i for i, p in enumerate(parts) if p.shape)
    numbered = all(p.first >= 0 for p in stored)
    if not numbered and any(not p.shape for p in parts[:last]):
        raise Truncated(
            path,
            f"{len(lost)} of {len(parts)} data files are missing: {names}. The others do not "
            "say which frames of the series they hold.",
            "Put them beside it.",
        )
    if not numbered:
        if lost:
            problems.warn(f"data files are missing at the end: {names}.")
        return frames
    firsts = np.array([p.first for p in stored])
    counts = np.array([p.shape[0] for p in stored])
    span = int(firsts[-1] + counts[-1]) - int(firsts[0])
    if (firsts[1:] < (firsts + counts)[:-1]).any() or span > _SPARSEST * int(counts.sum()) + 1000:
        problems.warn(
            "the numbers of the frames in the data files contradict each other and are ignored."
        )
        return frames
    if lost:
        problems.warn(f"{len(lost)} of {len(parts)} data files are missing: {names}.")
    # a series need not begin with 1; if its first file is missing, it is taken to
    order = _order(firsts - (firsts[0] if parts[0].shape else 0), counts)
    blanks = int((order < 0).sum())
    if not blanks:
        return frames
    problems.warn(f"{blanks} of {len(order)} frames of the series are missing, and blank.")
    return frames[order]


def _order(firsts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return which stored frame each frame of the series is; -1 if it is missing."""
    order = np.full(int(firsts[-1] + counts[-1]), -1, np.int64)
    stored = 0
    for first, count in zip(firsts.tolist(), counts.tolist(), strict=True):
        order[first : first + count] = np.arange(stored, stored + count)
        stored += count
    return order
