# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbered sets, and the .hdr beside a recording."""

from __future__ import annotations

import os
import re

import numpy as np

from rsciio_tem.errors import FormatError, NotThisFormat, Problem
from rsciio_tem.formats.mib.header import _int
from rsciio_tem.formats.mib.layout import _Layout, _parse_hdr
from rsciio_tem.parsing import text as text_module
from rsciio_tem.parsing.text import value_of
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

__all__ = ["parse_hdr_file"]


def parse_hdr_file(hdr_file: str | os.PathLike[str]) -> dict[str, str]:
    """Parse the .hdr text file that Merlin writes beside a recording.

    Parameters
    ----------
    hdr_file : str or path
        File of some 2 kB of ``Key:<tab>value`` lines, Latin-1.

    Returns
    -------
    dict
        Values as text, under the keys as written.

    Raises
    ------
    NotThisFormat
        It does not begin with ``HDR``.
    """
    content = files.read_start(files.existing(hdr_file), 1 << 16)
    if not content.lstrip().upper().startswith(b"HDR"):
        raise NotThisFormat(hdr_file, "is not a Merlin header file: it does not begin with HDR.")
    return _parse_hdr(content)


def _hdr_hints(hdr: dict[str, str], count: int, layers: int = 1) -> list[ScanHint]:
    """Read the shape of a scan of `count` positions from what the .hdr says about triggers."""

    def whole(name: str) -> int:
        value = text_module.to_number(value_of(hdr, name))
        return int(value) if value is not None else 0

    hints = []
    columns, lines = whole("ScanX"), whole("ScanY")
    in_acquisition, per_trigger = whole("Frames in Acquisition"), whole("Frames per Trigger")
    if columns > 0 and lines > 0 and columns * lines > 1:
        stored = columns
        if per_trigger > columns and per_trigger < 2 * columns:
            stored = per_trigger
        elif count % lines == 0 and 0 < count // lines - columns <= max(1, columns // 8):
            stored = count // lines
        reason = f"the .hdr says ScanX = {columns}, ScanY = {lines}"
        if stored > columns:
            reason += f"; {stored} frames are stored per line, {stored - columns} of them flyback"
        hints.append(ScanHint("header", (lines, columns), 0.95, reason, line=stored))
    total = in_acquisition or count
    if layers > 1:  # whether the .hdr counts positions or frames is not known
        total = min(total, count)
    if 1 < per_trigger < min(total, count):
        hints.append(
            ScanHint(
                "trigger",
                (-(-total // per_trigger), per_trigger),
                0.9,
                f"the .hdr says {per_trigger} frames per trigger"
                + (f" of {in_acquisition} frames" if in_acquisition else ""),
            )
        )
    return hints


def _external_trigger(hdr: dict[str, str] | None) -> bool | None:
    start = value_of(hdr or {}, "Trigger Start")
    return None if not start else "internal" not in str(start).lower()


# ---------------------------------------------------------------- multi-file recordings


def _members(first: DataFile, described: _Layout) -> tuple[list[DataFile], list[Problem]]:
    """Collect the files that continue each other's frame numbers, around the one opened."""
    stem, suffix = os.path.splitext(first.path)
    digits = files.split_number(os.path.basename(stem))[1]
    for n in range(len(digits)):  # digits may belong to the stem: scan5.mib, scan51.mib, …
        base = stem[: len(stem) - n]
        if n == 0 or os.path.isfile(base + suffix):
            found, problems = _chain(first, described, os.path.basename(base))
            if len(found) > 1 and os.path.samefile(found[0].path, base + suffix):
                return found, problems
    return _chain(first, described)


def _chain(
    first: DataFile, described: _Layout, prefix: str | None = None
) -> tuple[list[DataFile], list[Problem]]:
    found = files.numbered_set(first.path, prefix)
    own = os.path.basename(first.path)
    if len(found) == 1:
        return [first], []
    same = os.path.normcase(own)
    here = next(
        i for i, f in enumerate(found) if os.path.normcase(os.path.basename(f.path)) == same
    )
    frames = [f.size // described.stride for f in found]
    prefix = files.split_number(os.path.splitext(own)[0])[0] if prefix is None else prefix
    names = [os.path.splitext(os.path.basename(f.path))[0] for f in found]
    numbers = np.array([int(name[len(prefix) :] or -1) for name in names])
    follows = np.append(False, (np.diff(numbers) == 1) | (numbers[:-1] == -1))
    ends = np.cumsum(frames)
    begins = ends - frames
    start = described.header.sequence - int(begins[here])

    def beginning(i: int) -> tuple[int, list[bytes]]:
        """Return the first frame's number, and what must be the same in all files."""
        head = files.read_start(found[i].path, 64).split(b",")
        number = _int(head[1].decode("latin-1").strip()) if len(head) > 1 else -1
        return number, [head[0], *head[2:8]]

    _, same_type = beginning(here)

    def continues(i: int) -> bool:
        number, kind = beginning(i)
        expected = (start + int(begins[i]) - 1) % 999_999 + 1
        return kind == same_type and number in (expected, start + int(begins[i]))

    def reach(direction: int) -> int:
        last = here
        while 0 <= (i := last + direction) < len(found) and frames[i] and continues(i):
            if not follows[max(i, last)]:
                break
            last = i
        return last

    # Ten thousand files of the same size whose numbering fits at twenty places are one recording.
    sample = np.unique(np.linspace(0, len(found) - 1, 20).astype(int)).tolist()
    uniform = len({f.size for f in found[:-1]}) == 1 and len(found) > 64
    if uniform and follows[1:].all() and all(continues(i) for i in sample):
        return found, []
    low, high = reach(-1), reach(+1)
    problems = []
    for i in (low - 1, high + 1):
        if 0 <= i < len(found):
            number, kind = beginning(i)
            reason = f"it begins with frame number {number}, which does not continue the numbering"
            if not frames[i]:
                reason = "it holds no complete frame"
            elif kind != same_type:
                reason = "its frames are of another kind"
            elif continues(i):
                reason = "a number is missing between their names"
            text = f"{os.path.basename(found[i].path)} is not read with {own}: {reason}."
            lost = number > 1 and i > high and kind == same_type
            problems.append(Problem("warning" if lost else "info", text))
    for i in range(low, high + 1):
        if i != here and (rest := found[i].size % described.stride):
            name = os.path.basename(found[i].path)
            problems.append(Problem("warning", f"{name} ends with {rest} bytes of a frame."))
    return found[low : high + 1], problems


def _mib_of(hdr_path: str) -> str:
    """Find the recording that a .hdr belongs to."""
    folder, base = os.path.split(hdr_path)
    stem = os.path.splitext(base)[0].lower()
    matches = []
    for entry in os.listdir(folder or "."):
        name, suffix = os.path.splitext(entry)
        if suffix.lower() != ".mib" or not name.lower().startswith(stem):
            continue
        rest = name[len(stem) :]
        if not rest:
            return os.path.join(folder, entry)
        # scan1.hdr is not the side file of scan12.mib
        if re.fullmatch(r"[_\-. ]\d+" if stem[-1:].isdigit() else r"[_\-. ]?\d+", rest):
            matches.append(entry)
    if not matches:
        raise FormatError(
            hdr_path,
            "no .mib file lies beside it.",
            f"Expected {os.path.splitext(base)[0]}.mib in the same folder.",
        )
    return os.path.join(folder, min(matches, key=files.natural_key))
