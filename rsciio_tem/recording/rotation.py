# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotation series: the angles over which each frame was exposed, and the axis made of them.

hexrd stores them as a table of N x 2 numbers, begin and end of the rotation of each frame in
degrees. A `Recording` has that table for its stored frames; `read` takes the rows of the frames
that are returned, makes the axis of a stack out of them, and gives both to ``original_metadata``.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Problem
from rsciio_tem.recording.axis import Axis
from rsciio_tem.storage.files import bytes_of, existing, joined, read_start
from rsciio_tem.storage.npy_header import LONGEST, npy_header

__all__ = [
    "NAME",
    "TOLERANCE",
    "angles_asked",
    "axis_of",
    "described",
    "load_npy",
    "side_metadata",
    "table",
    "wedges",
]

#: Degrees by which angles may differ and still be the same, as in hexrd.
TOLERANCE = 1e-6


NAME, UNITS = "omega", "°"


#: No angle is larger.
_MOST_DEGREES = 1e12


#: Bytes of an array beside a recording at most.
_LARGEST = 1 << 30


Table = npt.NDArray[np.float64]


_TRIGGER = re.compile(r"\s*(?:!\s*)?load-numpy-array\s+(.+?)\s*", re.DOTALL)


def load_npy(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Read a small .npy; nothing is ever unpickled, and its header is not believed.

    Raises
    ------
    FormatError
        It is not a .npy of numbers, or ends early.
    """
    path = existing(path)
    try:
        size = bytes_of(path)
        dtype, fortran, shape, start = npy_header(read_start(path, LONGEST + 16))
        if dtype.hasobject:
            raise ValueError("it holds Python objects, which are never loaded")
    except ValueError as error:
        raise FormatError(path, f"is not a readable .npy: {error}.") from None
    if dtype.kind not in "buifcSU":
        raise FormatError(path, f"holds elements of type {dtype}, not numbers.")
    count = math.prod(shape)
    nbytes = count * dtype.itemsize
    if start + nbytes > size or nbytes > _LARGEST or not dtype.itemsize:
        raise FormatError(
            path,
            f"is not a readable .npy: it has {size} bytes, for {shape} elements of type {dtype}.",
        )
    content = read_start(path, start + nbytes)
    array = np.frombuffer(content, dtype, count, start)
    return array.reshape(shape, order="F" if fortran else "C")


def side_metadata(
    entries: Mapping[str, Any], folders: Sequence[str], problems: list[Problem]
) -> tuple[dict[str, Any], list[str]]:
    """Return the metadata of a YAML file of hexrd, with the arrays that they name, and their files.

    Parameters
    ----------
    entries : dict
        As they are in the file.
    folders : sequence of str
        Where the files they name may be.
    problems : list of Problem
        Is added to.
    """
    meta: dict[str, Any] = {}
    used: list[str] = []
    for key, value in entries.items():
        if key.endswith("-array") and entries.get(key[:-6]) == "++np.array":
            continue
        if value == "++np.array":  # the old way: the numbers are in a key beside it
            try:
                meta[key] = np.asarray(entries.get(f"{key}-array"), np.float64)
            except (TypeError, ValueError):
                problems.append(Problem("warning", f"{key}-array holds no array."))
            continue
        if isinstance(value, str) and (match := _TRIGGER.fullmatch(value)):
            name = match[1].strip("\"'")
            places = [joined(folder, os.path.expanduser(name)) for folder in folders]
            used.append(next(filter(os.path.isfile, places), places[0]))
            meta[key] = load_npy(used[-1])
            continue
        if isinstance(value, str) and value.split()[:1] == ["!"]:
            problems.append(
                Problem("warning", f"{key}: {value!r} is not a known command, and is kept as text.")
            )
        meta[key] = value
    return meta, used


def table(value: Any, count: int) -> tuple[Table | None, tuple[Problem, ...]]:
    """Make the table of `count` frames out of what a file says.

    Parameters
    ----------
    value : array-like
        Begin and end of each frame; or one angle for each frame, which is its middle; or the
        ``count + 1`` angles between which the frames lie.
    count : int
        Number of stored frames.

    Returns
    -------
    table : ndarray of float64, shape (count, 2), or None
        None if the value cannot belong to so many frames.
    problems : tuple of Problem
        What was found odd.
    """
    try:
        angles = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return None, (Problem("warning", f"omega holds {str(value)[:60]!r} instead of angles."),)
    if angles.shape == (count, 2):
        rows = angles
    elif angles.shape == (2,) and count == 1:
        rows = angles.reshape(1, 2)
    elif angles.shape in ((count,), (count, 1)):
        rows = np.repeat(angles.reshape(-1, 1), 2, axis=1)
    elif angles.shape == (count + 1,):
        rows = np.stack([angles[:-1], angles[1:]], axis=1)
    else:
        return None, (
            Problem(
                "warning",
                f"omega has shape {angles.shape}, which does not fit {count} frames; it is "
                "ignored.",
                "Pass omega= with begin and end of each frame.",
            ),
        )
    if not (np.abs(rows) < _MOST_DEGREES).all():
        return None, (Problem("warning", "omega holds values that are not angles; it is ignored."),)
    problems: tuple[Problem, ...] = ()
    if rows is not angles and angles.ndim == 1 and count > 1:
        what = "middle" if len(angles) == count else "limits"
        problems = (
            Problem("warning", f"omega has one angle for each frame, taken as its {what}."),
        )
    return rows, problems


def angles_asked(
    omega: Any, stored: Any, count: int, path: str
) -> tuple[Table | None, tuple[Problem, ...]]:
    """Return the table that the keyword ``omega=`` of a reader asks for.

    Parameters
    ----------
    omega : "auto", None, False, path or array-like
        "auto" takes what is stored, None or False nothing.
    stored : array-like, optional
        What the recording says.
    count : int
        Number of stored frames.
    path : str
        For messages.

    Raises
    ------
    FormatError
        What the caller gave does not fit the frames.
    """
    if omega is None or omega is False:
        return None, ()
    if isinstance(omega, str) and omega == "auto":
        return (None, ()) if stored is None else table(stored, count)
    value = load_npy(omega) if isinstance(omega, (str, os.PathLike)) else omega
    rows, problems = table(value, count)
    if rows is None:
        raise FormatError(path, problems[0].message, "Pass an array of N x 2 degrees.")
    return rows, problems


def wedges(rows: Table) -> list[dict[str, Any]]:
    """Divide a table into stretches of equal steps that follow each other without gap.

    Returns
    -------
    list of dict
        ``start`` and ``stop`` in degrees, ``nsteps``; in the order of the frames.
    """
    if not len(rows):
        return []
    step = rows[:, 1] - rows[:, 0]
    same = np.abs(np.diff(step)) <= TOLERANCE
    joined = np.abs(rows[1:, 0] - rows[:-1, 1]) <= TOLERANCE
    bounds = [0, *(np.flatnonzero(~(same & joined)) + 1).tolist(), len(rows)]
    return [
        {"start": float(rows[a, 0]), "stop": float(rows[b - 1, 1]), "nsteps": b - a}
        for a, b in pairwise(bounds)
    ]


def axis_of(rows: Table) -> tuple[Axis, str]:
    """Make the axis of a stack of frames.

    The coordinate of a frame is the middle of its range. Equal steps make an axis of offset and
    scale; blanks (NaN) among them get the angle of their place. Other angles make a non-uniform
    axis if they only rise or only fall, if need be beyond a full turn. What is left has no axis.

    Returns
    -------
    axis : Axis
        A plain index if the angles allow nothing else.
    warning : str
        Why that is so; empty otherwise.
    """
    middle = rows.mean(axis=1)
    finite = np.flatnonzero(np.isfinite(middle))
    if len(finite) < 2:
        if not len(finite):
            return Axis(), ""
        width = float(rows[finite[0], 1] - rows[finite[0], 0]) or 1.0
        return Axis(NAME, UNITS, width, float(middle[finite[0]]) - int(finite[0]) * width), ""
    for angles in (middle, _unwrapped(middle, finite)):
        values = angles[finite]
        scale = (values[-1] - values[0]) / (finite[-1] - finite[0])
        ideal = values[0] + (finite - finite[0]) * scale
        if np.abs(values - ideal).max() <= TOLERANCE and abs(scale) > TOLERANCE:
            return Axis(NAME, UNITS, float(scale), float(values[0] - finite[0] * scale)), ""
        steps = np.diff(values)
        if len(finite) == len(rows) and ((steps > 0).all() or (steps < 0).all()):
            return Axis(NAME, UNITS, values=angles), ""
    why = "frames without angle" if len(finite) < len(rows) else "angles that go back and forth"
    return Axis(), (
        f"the rotation series has {why}, so there is no omega axis; see omega and omega_wedges in "
        "original_metadata."
    )


def _unwrapped(middle: Table, finite: npt.NDArray[np.int64]) -> Table:
    """Go on beyond a full turn: 359 is followed by 360, not by 0; a step back stays one."""
    steps = np.diff(middle[finite])
    rising = bool(np.median(steps) >= 0)
    back = steps < -180 if rising else steps > 180
    turns = np.zeros(len(finite))
    turns[1:] = np.cumsum(np.where(back, 360.0 if rising else -360.0, 0.0))
    angles = middle.copy()
    angles[finite] += turns
    return angles


def described(rows: Table) -> Mapping[str, Any]:
    """Return the entries of ``original_metadata`` for the frames that are returned."""
    return {"omega": rows, "omega_wedges": wedges(rows[np.isfinite(rows).all(axis=1)])}
