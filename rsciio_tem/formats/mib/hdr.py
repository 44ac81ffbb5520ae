# SPDX-License-Identifier: GPL-3.0-or-later
"""The .hdr text file beside a recording, or at the beginning of a stream dump."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from rsciio_tem.errors import FormatError, NotThisFormat, Problems
from rsciio_tem.formats.mib.header import integer
from rsciio_tem.parsing.text import key_values, to_number, value_of
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

#: Files of which the first frame's number is looked at.
_MOST_OTHERS = 100


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
    if not files.decoded(content, "latin-1").lstrip().upper().startswith("HDR"):
        raise NotThisFormat(hdr_file, "is not a Merlin header file: it does not begin with HDR.")
    return parse_hdr(content)


def parse_hdr(content: bytes) -> dict[str, str]:
    """Parse the text of a .hdr; old versions write µ as one byte, and leave out keys and colons."""
    entries = key_values(files.decoded(content, "latin-1").split("\0", 1)[0])
    return {
        key: value
        for key, value in entries.items()
        if key.strip(" ,:").upper() not in ("HDR", "END")
    }


def is_hdr(path: str) -> bool:
    """Whether a file is a .hdr by its name."""
    return path.lower().endswith(".hdr")


def mib_of(hdr_path: str) -> str:
    """Find the recording that a .hdr belongs to."""
    matches = files.first_found(hdr_path, _named_like)
    if not matches:
        stem = os.path.splitext(os.path.basename(hdr_path))[0]
        raise FormatError(
            hdr_path,
            "no .mib file lies beside it.",
            f"Expected {stem}.mib in the same folder.",
        )
    return matches[0]


def _named_like(hdr_path: str) -> list[str]:
    """List the .mib files that a .hdr may belong to by their names: its own, then by number."""
    folder, base = os.path.split(hdr_path)
    stem = os.path.splitext(base)[0].lower()
    matches = []
    for entry in files.listing(folder):
        name, suffix = os.path.splitext(entry)
        if suffix.lower() != ".mib" or not name.lower().startswith(stem):
            continue
        number = name[len(stem) :]
        # scan1.hdr is not the side file of scan12.mib
        separated = r"[_\-. ]\d+" if stem[-1:].isdigit() else r"[_\-. ]?\d+"
        if not number or re.fullmatch(separated, number):
            matches.append(entry)
    # the stem itself is shorter than what has a number
    matches.sort(key=lambda e: (len(e) != len(stem) + 4, files.natural_key(e)))
    return [os.path.join(folder, entry) for entry in matches]


class Recorded(NamedTuple):
    """What is known of the frames before the .hdr is read."""

    members: list[DataFile]
    frames: int
    depth: int | None


def hdr_of(
    opened: str, path: str, recorded: Recorded, inner: dict[str, str] | None, problems: Problems
) -> tuple[str | None, dict[str, str] | None]:
    """Return path and content of the .hdr: what was opened, or what lies beside the .mib.

    That may be named like the .mib at `path`, or like the first one of its numbered set; or, if it
    can be that of no other recording, without the number. What a stream dump has within it,
    `inner`, comes first.
    """
    side: str | None = opened
    shared = False
    if not is_hdr(opened):
        names = dict.fromkeys((path, recorded.members[0].path))
        exact, numbered = (
            next((side for name in names if (side := _side_file(name, whole))), None)
            for whole in (True, False)
        )
        side, shared = exact or numbered, exact is None
    if side is None or inner is not None:
        return side, inner
    try:
        hdr = parse_hdr_file(side)
    except NotThisFormat as error:
        problems.info(f"side file ignored: {error}")
        return None, None
    if shared and (reason := _of_another(side, hdr, recorded)):
        problems.warn(
            f"{os.path.basename(side)} is not read: {reason}, so it may belong to another "
            "recording.",
            f"If it does not, name it {os.path.splitext(os.path.basename(path))[0]}.hdr.",
        )
        return None, None
    return side, hdr


def _side_file(path: str, whole: bool) -> str | None:
    return files.side_file(path, (".hdr",), shared=not whole)


def _of_another(side: str, hdr: dict[str, str], recorded: Recorded) -> str:
    """Say why a .hdr without the number of a recording may be that of another one."""
    ours = {os.path.realpath(file.path) for file in recorded.members}
    others = [p for p in _named_like(side) if os.path.realpath(p) not in ours]
    for other in others[:_MOST_OTHERS]:
        number = files.read_start(other, 16).split(b",")[1:2]
        if number and integer(number[0].decode("latin-1").strip()) in (0, 1):
            return f"{os.path.basename(other)}, which begins with frame number 1, has its name, too"
    depth, asked = _whole(hdr, "Counter Depth"), announced(hdr)
    if depth and recorded.depth and depth != recorded.depth:
        return f"it says {depth} bits of counter depth, the frames {recorded.depth}"
    if asked and recorded.frames > asked and recorded.frames % asked:
        return f"it announces {asked} frames, and there are {recorded.frames}"
    return ""


def announced(hdr: dict[str, str] | None) -> int:
    """Return how many frames the recording was started for; 0 if the .hdr does not say."""
    return _whole(hdr, "Frames in Acquisition")


def compare_counts(hdr: dict[str, str] | None, count: int, layers: int, problems: Problems) -> None:
    """Say if more frames were asked for than are stored, unless their numbers tell of losses."""
    asked = announced(hdr)
    if not asked or asked in (count, count // layers):
        return
    text = f"the .hdr announces {asked} frames, {count} are stored."
    if count > asked:
        problems.info(text)
    elif all(problem.about != "number" for problem in problems):
        problems.warn(text, "The acquisition was stopped, or files of a numbered set are missing.")


#: A scan size in the name of a file, columns first: nav4x2, scan_x128_y64.
_NAMED = re.compile(r"(?:nav|scan)[_-]?x?(\d{1,5})(?:x|_?y)(\d{1,5})(?!\d)", re.IGNORECASE)


def scan_hints(
    hdr: dict[str, str] | None, count: int, layers: int, path: str
) -> tuple[ScanHint, ...]:
    """Return what the .hdr, and the name of the file, say of the scan of `count` positions.

    Both entries may be those of the recording before; frames per trigger is the line length if a
    line triggers the camera, and 1 if each position does.
    """
    hints = []
    columns, lines = _whole(hdr, "ScanX"), _whole(hdr, "ScanY")
    per_trigger = _whole(hdr, "Frames per Trigger")
    if columns > 0 and lines > 0 and columns * lines > 1:
        reason = f"the .hdr says ScanX = {columns}, ScanY = {lines}"
        hints.append(ScanHint("header", (lines, columns), 0.95, reason))
    total = announced(hdr) or count
    if layers > 1:  # whether the .hdr counts positions or frames is not known
        total = min(total, count)
    if 1 < per_trigger < min(total, count):
        reason = f"the .hdr says {per_trigger} frames per trigger"
        reason += f" of {announced(hdr)} frames" if announced(hdr) else ""
        shape = (-(-total // per_trigger), per_trigger)
        hints.append(ScanHint("trigger", shape, 0.9, reason))
    if named := _NAMED.search(os.path.basename(path)):
        size = int(named[2]), int(named[1])
        if min(size) > 1:
            reason = f"the name of the file says {named[1]} x {named[2]}"
            hints.append(ScanHint("header", size, 0.6, reason))
    return tuple(hints)


def _whole(hdr: dict[str, str] | None, name: str) -> int:
    value = to_number(value_of(hdr or {}, name))
    return int(value) if value is not None else 0
