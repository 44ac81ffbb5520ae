# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings in two files with half a frame each (Celeritas): which files belong together."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Literal

from rsciio_tem.errors import FormatError, Problems
from rsciio_tem.storage import files

Half = Literal["top", "bottom"]

#: ``NAME_Top_HH-MM-SS.mmm``, or without the time.
_HALF = re.compile(
    r"(?P<base>.+)_(?P<half>top|bottom)(?:_(?P<time>\d\d-\d\d-\d\d(?:\.\d+)?))?",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Halves:
    """The two sequences of a recording in halves."""

    top: str
    bottom: str
    base: str  # what the names of side files begin with

    @classmethod
    def of(
        cls, path: str, celeritas: bool | None, top: Any, bottom: Any, problems: Problems
    ) -> Halves | None:
        """Say whether a sequence is a half, and which is the other; parameters as in `parse`."""
        if top is not None or bottom is not None:
            return _named_by_caller(path, top, bottom)
        return None if celeritas is False else _find_halves(path, bool(celeritas), problems)


def _seconds(text: str | None) -> float | None:
    if not text:
        return None
    hours, minutes, seconds = text.split("-")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _apart(a: float | None, b: float | None) -> float:
    """Return how far apart two times of day are, in seconds."""
    if a is None or b is None:
        return 0.0 if a is b else 1.0
    distance = abs(a - b) % 86400
    return min(distance, 86400 - distance)


def _named_halves(path: str) -> tuple[str, Half, str | None] | None:
    """Split the name of a half: base, which half, time."""
    stem, suffix = os.path.splitext(os.path.basename(path))
    match = _HALF.fullmatch(stem)
    if match is None or suffix.lower() != ".seq":
        return None
    half: Half = "top" if match["half"].lower() == "top" else "bottom"
    return match["base"], half, match["time"]


#: Seconds between the times of two halves that are told, and that are too many.
_TOLD, _TOO_FAR = 5, 60


def _find_halves(path: str, required: bool, problems: Problems) -> Halves | None:
    """Find the other half of a recording by its name, None if it is not a half."""
    errors = []
    for place in files.places(path):
        try:
            if (halves := _halves_at(place, required, problems)) is not None:
                return halves
        except FormatError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return None


def _halves_at(path: str, required: bool, problems: Problems) -> Halves | None:
    named = _named_halves(path)
    if named is None:
        if required:
            raise FormatError(
                path,
                "is not named like a half of a recording (NAME_Top_TIME.seq).",
                "Pass the other one as top= or bottom=.",
            )
        return None
    base, half, time = named
    same: list[float | None] = []  # times of the halves of either kind
    others: list[tuple[float, str, float | None]] = []
    for entry in files.listing(os.path.dirname(path)):
        entry_base, entry_half, entry_time = _named_halves(entry) or ("", None, None)
        moment = _seconds(entry_time)
        if entry_base.lower() != base.lower():
            continue
        if entry_half == half:
            same.append(moment)
        else:
            others.append((_apart(moment, _seconds(time)), entry, moment))
    if not others and time is None and not required:
        return None  # an ordinary file of this name
    if not others:
        raise FormatError(
            path,
            f"is the {half} half of a recording; the other one is not beside it.",
            "Pass it as top= or bottom=, or celeritas=False for this half as it is stored.",
        )
    distance, entry, moment = min(others, key=lambda other: other[0])
    if any(_apart(moment, other) < distance for other in same):
        raise FormatError(
            path,
            f"is the {half} half of a recording; {entry}, the nearest other half, belongs to "
            "another one.",
            "Pass the right one as top= or bottom=, or celeritas=False for this half alone.",
        )
    if distance > _TOO_FAR:
        raise FormatError(
            path,
            f"is the {half} half of a recording; {entry}, the nearest other half, is "
            f"{distance:g} s apart from it by their names.",
            "If they belong together, pass it as top= or bottom=; celeritas=False reads this half "
            "alone.",
        )
    if distance > _TOLD:
        problems.warn(
            f"{entry} is taken as the other half, though its time is {distance:g} s apart.",
        )
    other = files.joined(os.path.dirname(path), entry)
    top, bottom = (path, other) if half == "top" else (other, path)
    return Halves(top, bottom, base)


def _named_by_caller(path: str, top: Any, bottom: Any) -> Halves:
    """Take the halves that the caller names."""
    if top is not None and bottom is not None:
        pair = files.existing(top), files.existing(bottom)
    elif top is not None:
        pair = files.existing(top), path
    else:
        pair = path, files.existing(bottom)
    if not any(files.same_file(path, half) for half in pair):
        raise FormatError(path, "is neither the top nor the bottom half that is passed with it.")
    if files.same_file(*pair):
        raise FormatError(path, "cannot be both halves of a recording.")
    named = _named_halves(pair[0])
    base = named[0] if named else os.path.splitext(os.path.basename(pair[0]))[0]
    return Halves(*pair, base)
