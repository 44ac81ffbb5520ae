# SPDX-License-Identifier: GPL-3.0-or-later
"""Series of TIA (.ser), the imaging software of FEI microscopes, and their descriptions (.emi).

Sources: the layout that RosettaSciIO, ncempy and LiberTEM agree on, checked with 26 recorded
files. ``specifications/ser.ksy`` writes it down, ``specifications/ser_emi.md`` what is known of the
description.

A series is a header, a table that says where each element begins, and the elements: an image or a
spectrum with its own calibration, and a tag with the time and often the place of the beam. The
description ``name.emi`` belongs to ``name_1.ser``, ``name_2.ser``, …
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Problem, warn
from rsciio_tem.formats.ser.arrangement import Arrangement, _arrangement, _signal_axes
from rsciio_tem.formats.ser.checks import CHECKS
from rsciio_tem.formats.ser.description import (
    Description,
    _described,
    _description_of,
    _metadata,
    _objects,
    _series_of,
)
from rsciio_tem.formats.ser.elements import (
    _ALL,
    Elements,
    _kinds,
    _records,
    _runs,
    _table,
    _tag_offsets,
    _times,
)
from rsciio_tem.formats.ser.layout import EMI, MAGIC, VERSIONS, Header, Ints, _header
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.times import Times
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

__all__ = ["CHECKS", "file_reader", "parse", "read_tags", "sniff"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a series or its description by the first bytes."""
    if head.startswith(MAGIC):
        known = int.from_bytes(head[4:6], "little") in VERSIONS
        return 0.99 if known else 0.8, "begins with II 97 01, as series of TIA do", {}
    if head.startswith(EMI) and path.lower().endswith(".emi"):
        return 0.95, "begins with JK, as descriptions of TIA do", {}
    return None


# ---------------------------------------------------------------- recordings


def _recordings(
    path: str, description: Description | None, only_valid_data: bool, problems: Sequence[Problem]
) -> list[Recording]:
    """Describe a series: one recording, or one for each kind of its elements."""
    told = list(problems)
    header = _header(path, told)
    file = DataFile.of(path)
    offsets, tags = _table(path, file, header)
    if len(offsets) < (total := header.values["TotalNumberElements"]):
        message = f"was stopped: {len(offsets)} of {total} elements were recorded."
        told.append(Problem("info", message))
    groups = _kinds(path, file, header, offsets, told)
    if len(groups) > 1:
        kinds = "; ".join(
            f"{len(g.numbers)} of {' x '.join(map(str, g.pixels.shape))} {g.pixels.dtype}, "
            f"from number {g.numbers[0]} on"
            for g in groups
        )
        message = f"elements are of {len(groups)} kinds, each is a signal of its own: {kinds}."
        told.append(Problem("warning", message))
    found: list[Recording] = []
    for group in groups:
        if group.stored.any():
            where = _tag_offsets(file, header, tags, group)
            alone = len(groups) == 1
            found.append(
                _recording(file, header, group, where, description, only_valid_data, alone, told)
            )
            told = []  # once is enough
    return found


def _spread(values: npt.NDArray[Any], places: Ints, count: int) -> npt.NDArray[Any]:
    """Put values at their places, zeros at the others."""
    out = np.zeros(count, values.dtype)
    out[places[places < count]] = values[places < count]
    return out


def _recording(
    file: DataFile,
    header: Header,
    group: Elements,
    tag_offsets: Ints,
    description: Description | None,
    only_valid_data: bool,
    alone: bool,
    problems: list[Problem],
) -> Recording:
    # an element that is not in the file leaves its place blank; what was cut off comes last
    places = group.numbers if alone else np.arange(len(group.numbers))
    count = int(places[group.stored][-1]) + 1
    begins = group.offsets[group.stored] + header.element.itemsize
    frames = FrameTable((file,), _runs(begins), group.pixels)
    if len(begins) < count:
        order = np.full(count, -1, np.int64)
        order[places[group.stored]] = np.arange(len(begins))
        frames = frames[order]
    heads = group.heads
    if len(heads) > 1:
        heads = _spread(heads, places, count)
    if len(tag_offsets):
        tag_offsets = _spread(tag_offsets, places, count)
    tags = _records(file, tag_offsets[:_ALL], header.tag) if len(tag_offsets) else None
    times = None
    if tags is not None:
        read_times = functools.partial(_times, file, tag_offsets, header.tag)
        times = Times(count, read_times, resolution_ns=10**9)
    scales = group.heads["CalibrationDelta" if header.spectral else "CalibrationDeltaX"]
    if len(known := np.unique(scales)) > 1:
        message = (
            f"elements are calibrated with {len(known)} scales from {known[0]:.6g} to "
            f"{known[-1]:.6g}; that of the first one is used for all."
        )
        problems = [*problems, Problem("warning", message)]
    arranged = Arrangement(stack_axis=Axis(None, None))
    if alone:
        arranged = _arrangement(header, count, tags, only_valid_data)
    parameters = dict(header.values)
    for records in (heads, tags if count <= _ALL else None):
        if records is not None:
            for name in records.dtype.names or ():
                parameters[name] = (
                    records[name].copy() if len(records) > 1 else records[name].item()
                )
    original: dict[str, Any] = {"ser_header_parameters": parameters}
    if not alone:
        original["ser_elements"] = group.numbers[:count].copy()
    if description is not None:
        if description.own:
            original["ObjectInfo"] = description.own
        if description.others:
            original["emi_objects"] = description.others
    return Recording(
        format="ser",
        path=file.path,
        frames=frames,
        signal_axes=_signal_axes(header, group.heads[0], description),
        scan_axes=arranged.scan_axes,
        hints=arranged.hints,
        times=times,
        stack_axis=arranged.stack_axis,
        metadata=_metadata(file.path, description, 0 if tags is None else int(tags["Time"][0])),
        original_metadata=original,
        files=(file.path, *([] if description is None else [description.path])),
        problems=tuple(problems),
    )


def _opened(
    filename: str | os.PathLike[str],
) -> tuple[list[str], str | None, list[dict[str, Any]], list[Problem]]:
    """Return the series that belong to a file, their description, and what it says."""
    path = files.existing(filename)
    problems: list[Problem] = []
    if files.read_start(path, len(EMI)) == EMI or path.lower().endswith(".emi"):
        return _series_of(path), path, _objects(path, problems), problems
    emi = _description_of(path)
    return [path], emi, [] if emi is None else _objects(emi, problems), problems


def _of_series(
    path: str,
    emi: str | None,
    objects: list[dict[str, Any]],
    only_valid_data: bool,
    problems: Sequence[Problem],
) -> list[Recording]:
    described = None if emi is None else _described(emi, path, objects)
    return _recordings(path, described, only_valid_data, problems)


def parse(filename: str | os.PathLike[str], *, only_valid_data: bool = True) -> Recording:
    """Describe a series, of a description the first one; parameters as in `file_reader`.

    Returns
    -------
    Recording
        Of the first kind of its elements, if there are several.
    """
    (path, *others), emi, objects, problems = _opened(filename)
    if others:
        message = f"is the first of {len(others) + 1} series of {os.path.basename(emi or '')}."
        problems.append(Problem("info", message, "Open one of the others by its name."))
    return _of_series(path, emi, objects, only_valid_data, problems)[0]


def read_tags(filename: str | os.PathLike[str]) -> npt.NDArray[np.void]:
    """Read the times and positions of all elements of a series.

    Parameters
    ----------
    filename : str or path
        A .ser file.

    Returns
    -------
    structured array
        One record for each recorded element: ``Time`` in seconds since 1970, and ``PositionX`` and
        ``PositionY`` in m where the series has them. What is not in the file is zero.
    """
    path = files.existing(filename)
    header, file = _header(path, []), DataFile.of(path)
    offsets, tags = _table(path, file, header)
    out = np.zeros(len(offsets), header.tag)
    for group in _kinds(path, file, header, offsets, []):
        where = _tag_offsets(file, header, tags, group)
        out[group.numbers[: len(where)]] = _records(file, where, header.tag)
    return out


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
    only_valid_data: bool = True,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a series of TIA, or all series of a description.

    Parameters
    ----------
    filename : str or path
        A .ser file, or a .emi file for all of its .ser files.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``; they apply to each series.
    only_valid_data : bool
        Return what was recorded of a series that was stopped. With False the elements that were
        asked for and not recorded are filled: with zeros, floats with NaN.
    **options
        `ReadOptions`.

    Returns
    -------
    list of dict
        One for each series; if its elements are of several kinds, one for each kind.

    Raises
    ------
    NotThisFormat
        The file is no series of TIA.
    Truncated
        It ends before its first element does.
    FormatError
        It is damaged, or holds nothing.
    """
    del distributed  # nothing is left to do for it
    series, emi, objects, problems = _opened(filename)
    signals: list[dict[str, Any]] = []
    for path in series:
        try:
            found = _of_series(path, emi, objects, only_valid_data, problems)
        except FormatError as error:
            if len(series) == 1:
                raise
            warn(path, f"is left out: {error.problem}")
            continue
        problems = []  # of the description; once is enough
        for recording in found:
            given: dict[str, Any] = dict(options)
            if not only_valid_data:
                floats = recording.frames.dtype.kind == "f"
                given = {"missing": "fill", "fill_value": math.nan if floats else 0, **given}
            signals += read(
                recording,
                lazy=lazy,
                chunks=chunks,
                mmap_mode=mmap_mode,
                navigation_shape=navigation_shape,
                first_frame=first_frame,
                last_frame=last_frame,
                options=given,
            )
    if not signals:
        raise FormatError(
            files.existing(filename), f"none of its {len(series)} series can be read."
        )
    return signals
