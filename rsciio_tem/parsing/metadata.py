# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a vendor's headers say to RosettaSciIO's metadata: the parts that all formats share."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

__all__ = ["Entry", "general", "put", "translated"]


def general(
    path: str,
    title: str | None = None,
    moment: datetime.datetime | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return the General part of the metadata.

    Parameters
    ----------
    path : str
        The file that people know the recording by.
    title : str, optional
        By default the name of the file without its suffix. "" is none: titles name the groups of
        saved files, so there is none where RosettaSciIO's reader gives none.
    moment : datetime.datetime, optional
        When the recording began. What has a time zone is said in UTC; what has none is the
        microscope's local time.
    **more
        Further entries, such as ``notes``; None is left out, and so are ``date`` and ``time``
        that no calendar has.
    """
    name = os.path.basename(path)
    if title is None:
        title = os.path.splitext(name)[0]
    entries: dict[str, Any] = {**({"title": title} if title else {}), "original_filename": name}
    if moment is not None:
        if moment.tzinfo is not None:
            moment = moment.astimezone(datetime.UTC)
        entries["date"] = moment.date().isoformat()
        entries["time"] = moment.time().isoformat()
        if moment.tzinfo is not None:
            entries["time_zone"] = "UTC"
    entries |= {name: value for name, value in more.items() if value is not None}
    kinds = {"date": datetime.date, "time": datetime.time}
    if all(_is_iso(kind, entries[name]) for name, kind in kinds.items() if name in entries):
        return entries
    return {k: v for k, v in entries.items() if k not in ("date", "time", "time_zone")}


def _is_iso(kind: type[datetime.date] | type[datetime.time], text: str) -> bool:
    try:
        kind.fromisoformat(text)
    except (TypeError, ValueError):
        return False
    return True


class Entry(NamedTuple):
    """A row of a table from a vendor's names to the metadata.

    Parameters
    ----------
    name : str
        As the vendor's headers have it.
    path : str
        Where it goes, such as "Acquisition_instrument.TEM.beam_energy".
    factor : float
        Turns the vendor's unit into that of the metadata.
    units : str
        If the unit is not the usual one: goes to ``<path>_units``.
    """

    name: str
    path: str
    factor: float = 1.0
    units: str = ""


def put(metadata: dict[str, Any], path: str, value: Any) -> None:
    """Enter a value at a dotted path; None is left out."""
    if value is None:
        return
    *nodes, leaf = path.split(".")
    for node in nodes:
        metadata = metadata.setdefault(node, {})
    metadata[leaf] = value


def translated(
    metadata: dict[str, Any], table: Iterable[Entry], value_of: Callable[[str], Any]
) -> dict[str, Any]:
    """Enter what a table names into the metadata.

    Parameters
    ----------
    metadata : dict
        Is changed, and returned.
    table : iterable of Entry
        What goes where.
    value_of : callable
        Returns the value of a vendor's name, None if the headers do not have it. Numbers are
        multiplied by the factor; everything else goes in as it is.
    """
    for name, path, factor, units in table:
        value = value_of(name)
        if value is None:
            continue
        if isinstance(value, (int, float)) and not isinstance(value, bool) and factor != 1.0:
            value = value * factor
        put(metadata, path, value)
        if units:
            put(metadata, f"{path}_units", units)
    return metadata
