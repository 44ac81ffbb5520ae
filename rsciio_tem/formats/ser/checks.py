# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``check`` looks at in every element."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from rsciio_tem.errors import Problem, Problems
from rsciio_tem.formats.ser import elements
from rsciio_tem.formats.ser.elements import read_records
from rsciio_tem.formats.ser.header import Ints
from rsciio_tem.parsing.checks import number_ranges
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.times import FrameTimes


def _every_element(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Read the headers and tags of all elements, where opening looked at some only."""
    del seen
    series = elements.read_series(recording.path, Problems())
    file, header, offsets, _ = series
    if len(offsets) > elements.READ_ALL_BELOW:
        wrong: list[Ints] = []
        first = read_records(file, offsets[:1], header.element)[header.decisive]
        for a in range(0, len(offsets), 1 << 16):
            heads = read_records(file, offsets[a : a + (1 << 16)], header.element)
            wrong.append(np.flatnonzero(heads[header.decisive] != first) + a)
        if len(others := np.concatenate(wrong)):
            yield Problem(
                "error",
                f"{len(others)} of {len(offsets)} elements have another size or type in their "
                f"headers than the first one: {number_ranges(others)}.",
                "They are damaged, or cannot be read like the others.",
            )
    if recording.times is None:
        return
    source = recording.times.read
    assert isinstance(source, functools.partial)
    _, tags, dtype = source.args
    kinds = np.concatenate(
        [
            read_records(file, tags[a : a + (1 << 16)], dtype)["TagTypeID"]
            for a in range(0, len(tags), 1 << 16)
        ]
    )
    # the place of an element that was not recorded has no tag
    if len(wrong_tags := np.flatnonzero((kinds != header.values["TagTypeID"]) & (tags > 0))):
        yield Problem(
            "warning",
            f"{len(wrong_tags)} of {len(tags)} elements have no tag where the table says: "
            f"{number_ranges(wrong_tags)}. Their times and positions are not known.",
        )


def _has_description(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Tell if the description is not there."""
    del seen
    if not any(path.lower().endswith(".emi") for path in recording.files):
        yield Problem(
            "info",
            "there is no .emi beside it, which describes the microscope.",
            "Copy it too if the microscope's computer has it.",
        )


CHECKS = (_every_element, _has_description)
