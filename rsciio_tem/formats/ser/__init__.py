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

import math
import os
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Problem, Problems, warn
from rsciio_tem.formats.ser import elements
from rsciio_tem.formats.ser.arrangement import Arrangement, arranged, signal_axes
from rsciio_tem.formats.ser.checks import CHECKS
from rsciio_tem.formats.ser.description import EMI, Description, members_of
from rsciio_tem.formats.ser.elements import Elements, Series
from rsciio_tem.formats.ser.header import MAGIC, VERSIONS
from rsciio_tem.formats.ser.metadata import metadata_of, original_metadata
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage import files

__all__ = ["CHECKS", "file_reader", "parse", "read_tags", "sniff"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a series or its description by the first bytes."""
    if head.startswith(MAGIC):
        version = int.from_bytes(head[4:6], "little")
        return 0.99 if version in VERSIONS else 0.8, "begins with II 97 01, as series of TIA do", {}
    if head.startswith(EMI) and path.lower().endswith(".emi"):
        return 0.95, "begins with JK, as descriptions of TIA do", {}
    return None


def parse(filename: str | os.PathLike[str], *, only_valid_data: bool = True) -> Recording:
    """Describe a series, or the first series of a description; parameters as in `file_reader`.

    Returns
    -------
    Recording
        Of the first kind of its elements, if there are several.
    """
    problems = Problems()
    members = members_of(filename, problems)
    path, *others = members.series
    if others:
        message = (
            f"is the first of {len(others) + 1} series of {os.path.basename(members.emi or '')}."
        )
        problems.append(Problem("info", message, "Open one of the others by its name."))
    return _recordings(path, members.description_of(path), only_valid_data, problems)[0]


def _recordings(
    path: str, description: Description | None, only_valid_data: bool, problems: Problems
) -> list[Recording]:
    """Describe a series: one recording, or one for each kind of its elements."""
    problems = Problems(problems)
    series = elements.read_series(path, problems)
    if len(series.offsets) < (total := series.header.values["TotalNumberElements"]):
        message = f"was stopped: {len(series.offsets)} of {total} elements were recorded."
        problems.append(Problem("info", message))
    groups = elements.kinds_of(series, problems)
    if len(groups) > 1:
        kinds = "; ".join(
            f"{len(g.numbers)} of {' x '.join(map(str, g.pixels.shape))} {g.pixels.dtype}, "
            f"from number {g.numbers[0]} on"
            for g in groups
        )
        problems.warn(f"elements are of {len(groups)} kinds, each is a signal of its own: {kinds}.")
    recordings: list[Recording] = []
    for group in groups:
        if group.stored.any():
            recordings.append(_recording(series, group, description, only_valid_data, problems))
            problems = Problems()  # once is enough
    return recordings


def _recording(
    series: Series,
    group: Elements,
    description: Description | None,
    only_valid_data: bool,
    problems: Problems,
) -> Recording:
    """Describe the elements of one kind."""
    file, header, *_ = series
    offsets = elements.tag_offsets(series, group)
    all_tags = group.spread(offsets)
    if group.tags is not None and np.array_equal(offsets, series.tags):
        tags = group.tags[: min(group.length, elements.READ_ALL_BELOW)]
    else:
        tags = elements.read_records(file, all_tags[: elements.READ_ALL_BELOW], header.tag)
    records = [group.spread(group.heads) if len(group.heads) > 1 else group.heads]
    if len(tags) and group.length <= elements.READ_ALL_BELOW:
        records.append(tags)
    scales = np.unique(group.heads["CalibrationDelta" if header.spectral else "CalibrationDeltaX"])
    if len(scales) > 1:
        problems.warn(
            f"elements are calibrated with {len(scales)} scales from {scales[0]:.6g} to "
            f"{scales[-1]:.6g}; that of the first one is used for all."
        )
    arrangement = Arrangement(stack_axis=Axis(None, None))
    if group.alone:
        arrangement = arranged(header, group.length, tags, only_valid_data)
    return Recording(
        format="ser",
        path=file.path,
        frames=elements.frames_of(series, group),
        signal_axes=signal_axes(header, group.heads[0], description),
        scan_axes=arrangement.scan_axes,
        hints=arrangement.hints,
        times=elements.times_of(series, all_tags),
        stack_axis=arrangement.stack_axis,
        metadata=metadata_of(file.path, description, int(tags["Time"][0]) if len(tags) else 0),
        original_metadata=original_metadata(header, group, records, description),
        files=(file.path, *([] if description is None else [description.path])),
        problems=tuple(problems),
    )


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
        ``PositionY`` in m if the series has them. Values missing from the file are zero.
    """
    series = elements.read_series(files.existing(filename), Problems())
    out = np.zeros(len(series.offsets), series.header.tag)
    for group in elements.kinds_of(series, Problems()):
        offsets = elements.tag_offsets(series, group)
        tags = elements.read_records(series.file, offsets, series.header.tag)
        out[group.numbers[: len(offsets)]] = tags
    return out


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
    only_valid_data: bool = True,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a series of TIA, or all series of a description.

    Parameters
    ----------
    filename : str or path
        A .ser file, or a .emi file for all of its .ser files; all keywords apply to each of them.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
    only_valid_data : bool
        Return only the recorded part of a series that was stopped. With False, elements that were
        requested but not recorded are filled: with zeros, floats with NaN.
    **options
        `ReadOptions`.

    Returns
    -------
    list of dict
        One for each series; if its elements are of several kinds, one for each kind.

    Raises
    ------
    NotThisFormat
        The file is not a series of TIA.
    Truncated
        It ends before the end of its first element.
    FormatError
        It is damaged, or holds nothing.
    """
    del distributed  # nothing is left to do for it
    problems = Problems()
    members = members_of(filename, problems)
    signals: list[dict[str, Any]] = []
    for path in members.series:
        try:
            description = members.description_of(path)
            recordings = _recordings(path, description, only_valid_data, problems)
        except FormatError as error:
            if len(members.series) == 1:
                raise
            warn(path, f"is left out: {error.problem}")
            continue
        problems = Problems()  # of the description; once is enough
        frames = (navigation_shape, first_frame, last_frame)
        for recording in recordings:
            filled: dict[str, Any] = {}
            if not only_valid_data:
                floats = recording.frames.dtype.kind == "f"
                filled = {"missing": "fill", "fill_value": math.nan if floats else 0}
            signals += read(
                recording, lazy, chunks, mmap_mode, *frames, options={**filled, **options}
            )
    if not signals:
        raise FormatError(
            files.existing(filename), f"none of its {len(members.series)} series can be read."
        )
    return signals
