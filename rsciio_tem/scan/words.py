# SPDX-License-Identifier: GPL-3.0-or-later
"""How times, shapes and places are said to people."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["duration", "places", "plural", "size", "some_are_flyback"]


def duration(ns: float) -> str:
    """Say a time in ns in the unit that suits it.

    Examples
    --------
    >>> duration(20_800), duration(1.5e9)
    ('20.8 µs', '1.5 s')
    """
    for limit, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if abs(ns) >= limit:
            value = ns / limit
            return f"{value:.4g} {unit}" if value < 1e4 else f"{value:.0f} {unit}"
    return f"{ns:.4g} ns"


def size(shape: Sequence[int], hyperspy_order: bool | None = None) -> str:
    """Say a scan shape, and which axis comes first.

    Parameters
    ----------
    shape : sequence of int
        In array order, slowest axis first.
    hyperspy_order : bool, optional
        Whether to write it as ``navigation_shape`` or as ``nav_shape``; None for words.

    Examples
    --------
    >>> size((8, 12)), size((8, 12), hyperspy_order=True), size((8, 12), hyperspy_order=False)
    ('8 lines of 12', '(x, y) = (12, 8)', '(y, x) = (8, 12)')
    """
    numbers, names = list(shape), ["y", "x"]
    if hyperspy_order is None and all(n > 0 for n in shape) and len(shape) in (2, 3):
        repeats = f"{shape[0]} scans of " if len(shape) == 3 else ""
        return f"{repeats}{shape[-2]} lines of {shape[-1]}"
    if len(shape) == 1:
        return f"of {shape[0]} positions"
    slow = ["scan"] if len(shape) == 3 else [f"slow {i}" for i in range(len(shape) - 2)]
    names = [*slow, *names]
    if hyperspy_order:
        numbers, names = numbers[::-1], names[::-1]
    return f"({', '.join(names)}) = ({', '.join(str(n) for n in numbers)})"


def plural(count: int, noun: str) -> str:
    """Say a number of things.

    Examples
    --------
    >>> plural(1, "frame"), plural(7, "frame")
    ('1 frame', '7 frames')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def some_are_flyback(stored: int, columns: int) -> str:
    """Say that a line has more frames than positions, and that nothing tells which are too many."""
    return (
        f"{stored} frames are stored per line of {columns}, and nothing says which of them were "
        f"recorded during flyback. All are kept; line_skip={stored - columns} leaves out the last "
        "ones of each line."
    )


def places(blanks: Sequence[tuple[int, int]], length: int, most: int = 5) -> str:
    """Name positions without a frame, as lines and columns.

    Parameters
    ----------
    blanks : sequence of (int, int)
        First place (line times line length plus column) and number of places.
    length : int
        Places per line.
    most : int
        How many to name.

    Examples
    --------
    >>> places([(500, 1), (620, 3)], 50)
    'line 10 column 0, line 12 columns 20 to 22'
    """
    parts = []
    for place, count in blanks[:most]:
        line, column = divmod(place, length)
        end_line, end_column = divmod(place + count - 1, length)
        if line != end_line:
            whole = column == 0 and end_column == length - 1
            parts.append(
                f"lines {line} to {end_line}"
                if whole
                else f"line {line} column {column} to line {end_line} column {end_column}"
            )
        elif count == 1:
            parts.append(f"line {line} column {column}")
        elif count == length:
            parts.append(f"line {line}")
        else:
            parts.append(f"line {line} columns {column} to {end_column}")
    more = len(blanks) - most
    return ", ".join(parts) + (f" and {more} more" if more > 0 else "")
