# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that several formats share, and how their findings are put in words."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Problem
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.times import FrameTimes

__all__ = ["Check", "chunk_tables", "counted", "number_ranges", "numbering", "trailing_bytes"]

Ints = npt.NDArray[np.int64]


#: What a format's checks are: they get the recording, and the numbers in its frame headers.
Check = Callable[[Recording, FrameTimes | None], Iterable[Problem]]


# ---------------------------------------------------------------- words


def number_ranges(index: npt.ArrayLike, most: int = 5) -> str:
    """List numbers in ascending order, those that follow each other as a range: ``3, 7 to 9``."""
    numbers = np.asarray(index, np.int64)
    bounds = np.flatnonzero(np.diff(numbers) != 1) + 1
    firsts, lasts = numbers[[0, *bounds]], numbers[[*(bounds - 1), -1]]
    parts = [
        f"{a}" if a == b else f"{a} to {b}"
        for a, b in zip(firsts[:most].tolist(), lasts[:most].tolist(), strict=True)
    ]
    return ", ".join(parts) + (", …" if len(firsts) > most else "")


def counted(count: int, what: str = "frame") -> str:
    """Return a count with its noun."""
    return f"{count} {what}{'s' * (count != 1)}"


def trailing_bytes(recording: Recording, seen: FrameTimes | None = None) -> Iterator[Problem]:
    """Tell bytes behind the last frame that are not a frame; for files that end with frames."""
    del seen
    frames = recording.frames
    if not isinstance(frames, FrameTable):
        return
    for i, file in enumerate(frames.files):
        runs = frames.runs[frames.runs["file"] == i]
        if not len(runs):
            continue
        last = runs["start"] + (runs["count"] - 1) * runs["stride"]
        end = int(last.max()) + frames.pixels.nbytes
        if end < file.size:
            yield Problem(
                "warning",
                f"{os.path.basename(file.path)} goes on for {file.size - end} bytes behind its "
                "last frame, which are not read.",
            )


def chunk_tables(recording: Recording, seen: FrameTimes | None = None) -> Iterator[Problem]:
    """Tell chunks of HDF5 data sets that were never written or are cut off."""
    del seen
    from rsciio_tem.parsing.hdf5_chunks import stored_chunks

    for dataset, lacking, never, beyond in stored_chunks(recording.frames):
        name = f"{os.path.basename(dataset.file.path)}: {dataset.name}"
        if len(never):
            yield Problem(
                "warning",
                f"{name} has no chunks for all or part of {len(never)} of {recording.count} "
                f"frames: {number_ranges(never)}. They were never written, and read as the fill "
                "value.",
                "The acquisition or conversion was stopped.",
            )
        elif lacking:
            yield Problem(
                "warning",
                f"{name} has no chunks for {lacking} of {math.prod(dataset.grid)} parts. They were "
                "never written, and read as the fill value.",
                "The acquisition or conversion was stopped.",
            )
        if len(beyond):
            yield Problem(
                "error",
                f"{name}: chunks of {len(beyond)} of {recording.count} frames lie beyond the end "
                f"of the file: {number_ranges(beyond)}.",
                "The file was cut: copy it again.",
            )


def numbering(
    numbers: Ints, *, modulo: int = 0, what: str = "frame", counter: str = "frame numbers"
) -> Iterator[Problem]:
    """Tell numbers that are left out, repeated or run backwards; each should be one higher.

    Parameters
    ----------
    numbers : ndarray of int64
        Numbers of what is stored, in its order; -1 where there is none.
    modulo : int
        Numbers start over after so many; 0 if they never do. Losses of up to a hundredth of it are
        seen where they do.
    what, counter : str
        What is numbered, and by what.
    """
    numbered = np.flatnonzero(numbers >= 0)
    if len(numbered) < 2:
        return
    steps = np.diff(numbers[numbered])
    if modulo:
        steps = np.where((steps < 0) & (steps + modulo <= modulo // 100), steps + modulo, steps)
    excess = steps - np.diff(numbered)  # what has no number counts, too
    ahead, same, back = excess > 0, steps == 0, steps < 0
    if ahead.any():
        at, counts = numbered[1:][ahead], excess[ahead]
        places = [
            f"{n} before {what} {i}"
            for n, i in zip(counts[:5].tolist(), at[:5].tolist(), strict=True)
        ]
        yield Problem(
            "warning",
            f"{counted(int(counts.sum()), what)} missing by the {counter}: "
            + ", ".join(places)
            + (f", … ({len(at)} places)." if len(at) > 5 else "."),
            f"Numbers of {what}s count what is stored, from 0.",
            "every number",
        )
    if same.any():
        at = numbered[1:][same]
        yield Problem(
            "warning",
            f"{len(at)} of {len(numbers)} {what}s have the same number as the {what} before: "
            f"{number_ranges(at)}.",
            "They may have been stored twice.",
        )
    if back.any():
        at = numbered[1:][back]
        shown = f"{numbers[numbered[:-1][back][0]]} is followed by {numbers[at[0]]}"
        yield Problem(
            "warning",
            f"{counter} run backwards before {what} {number_ranges(at)}: {shown}.",
            "Are these several recordings in one file, or files in the wrong order?",
        )
