# SPDX-License-Identifier: GPL-3.0-or-later
"""The data sets that a master links to, as one sequence of frames."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from rsciio_tem.errors import FormatError, Problem, Truncated
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.parsing.hdf5 import attributes, opened
from rsciio_tem.parsing.hdf5_frames import frames_of

_MASTER = re.compile(r"(.*)_master(\.\w+)", re.IGNORECASE)


_DATA = re.compile(r"(.*)_data_\d{6}(\.\w+)", re.IGNORECASE)


_DETECTOR = "entry/instrument/detector"


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


def _master_of(path: str) -> str:
    """Return the master that a data file belongs to, empty if there is none."""
    match = _DATA.fullmatch(path)
    master = f"{match[1]}_master{match[2]}" if match else ""
    return master if master and os.path.isfile(master) else ""


# ---------------------------------------------------------------- frames


def _part(file: Any, group: str, name: str, path: str) -> Part:
    """Find out where the frames of a link are, and which of the series they are."""
    import h5py

    link = file[group].get(name, getlink=True)
    folder = os.path.dirname(path)
    if isinstance(link, h5py.ExternalLink):
        where = os.path.join(folder, link.filename)
        match = _MASTER.fullmatch(path)
        if not os.path.isfile(where) and match:  # all files were given another name
            renamed = f"{match[1]}_{name}{match[2]}"
            where = renamed if os.path.isfile(renamed) else where
        if not os.path.isfile(where):
            return Part(f"{group}/{name}", where, link.path)
        with opened(where) as data:
            if link.path not in data:
                raise FormatError(
                    where, f"has no data set {link.path}, to which {os.path.basename(path)} links."
                )
            return _described(data[link.path], f"{group}/{name}", where, link.path)
    return _described(file[group][name], f"{group}/{name}", path, f"{group}/{name}")


def _described(dataset: Any, link: str, where: str, inner: str) -> Part:
    shape = tuple(int(n) for n in getattr(dataset, "shape", None) or ())
    if len(shape) != 3:
        raise FormatError(where, f"{inner} has the shape {shape}, and is no stack of frames.")
    own = attributes(dataset)
    low, high = own.get("image_nr_low"), own.get("image_nr_high")
    first = -1
    if isinstance(low, int) and isinstance(high, int) and 0 < low == high - shape[0] + 1:
        first = low - 1
    return Part(link, where, inner, shape, first)


def _frames(parts: list[Part], path: str, problems: list[Problem]) -> Frames:
    """Join the data sets in the order of the series; blanks stand for those that are missing."""
    there = [p for p in parts if p.shape and p.shape[0]]
    lost = [p for p in parts if not p.shape]
    if not there:
        raise Truncated(
            path,
            f"none of its {len(parts)} data files is there, the first would be {parts[0].file}."
            if lost
            else "its data files hold no frames.",
            "Put them beside it." if lost else "",
        )
    frames = frames_of([p.file for p in there], [p.dataset for p in there])
    last = max(i for i, p in enumerate(parts) if p.shape)
    between = [p for p in parts[:last] if not p.shape]
    names = ", ".join(os.path.basename(p.file) for p in lost[:5]) + (", …" if lost[5:] else "")
    numbered = all(p.first >= 0 for p in there)
    if not numbered:
        if between:
            raise Truncated(
                path,
                f"{len(lost)} of {len(parts)} data files are missing: {names}. The others do not "
                "say which frames of the series they hold.",
                "Put them beside it.",
            )
        if lost:
            problems.append(Problem("warning", f"data files are missing at the end: {names}."))
        return frames
    begins = np.array([p.first for p in there])
    counts = np.array([p.shape[0] for p in there])
    if (begins[1:] < (begins + counts)[:-1]).any():
        problems.append(
            Problem(
                "warning",
                "the numbers of the frames in the data files contradict each other and are "
                "ignored.",
            )
        )
        return frames
    if lost:
        problems.append(
            Problem("warning", f"{len(lost)} of {len(parts)} data files are missing: {names}.")
        )
    # a series need not begin with 1; if its first file is missing, it is taken to
    begins -= begins[0] if parts[0].shape else 0
    order = np.full(int(begins[-1] + counts[-1]), -1, np.int64)
    stored = 0
    for begin, count in zip(begins.tolist(), counts.tolist(), strict=True):
        order[begin : begin + count] = np.arange(stored, stored + count)
        stored += count
    blanks = int((order < 0).sum())
    if not blanks:
        return frames
    problems.append(
        Problem("warning", f"{blanks} of {len(order)} frames of the series are missing, and blank.")
    )
    return frames[order]
