# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a vendor's headers say to RosettaSciIO's metadata: the parts that all formats share."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from rsciio_tem.parsing.text import to_number
from rsciio_tem.recording.axis import Axis

__all__ = ["Entry", "general", "put", "restored", "restored_axis", "translated"]


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
        By default the name of the file without its suffix.
    moment : datetime.datetime, optional
        When the recording began. What has a time zone is said in UTC; what has none is the
        microscope's local time.
    **more
        Further entries, such as ``notes``; None is left out.
    """
    name = os.path.basename(path)
    entries: dict[str, Any] = {
        "title": os.path.splitext(name)[0] if title is None else title,
        "original_filename": name,
    }
    if moment is not None:
        if moment.tzinfo is not None:
            moment = moment.astimezone(datetime.UTC)
        entries["date"] = moment.date().isoformat()
        entries["time"] = moment.time().isoformat()
        if moment.tzinfo is not None:
            entries["time_zone"] = "UTC"
    return {**entries, **{name: value for name, value in more.items() if value is not None}}


def restored(
    metadata: Mapping[str, Any], original: Mapping[str, Any], kept: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give a recording that ``convert`` wrote the metadata of its source back.

    Parameters
    ----------
    metadata, original : dict
        What the file says of itself.
    kept : dict
        ``metadata`` and ``original_metadata`` of the source, as far as the file holds them.

    Returns
    -------
    metadata, original_metadata : dict
        Those of the source; how its scan was found is ``converted_from``.
    """
    before, source = kept.get("metadata"), kept.get("original_metadata")
    result = dict(before) if isinstance(before, Mapping) and before else dict(metadata)
    if not isinstance(source, Mapping):
        return result, dict(original)
    entries = {name: value for name, value in source.items() if name != "rsciio_tem"}
    if isinstance(evidence := source.get("rsciio_tem"), Mapping):
        entries["converted_from"] = dict(evidence)
    return result, {**entries, **original}


def restored_axis(described: Any) -> Axis:
    """Return an axis as ``convert`` describes it beside an array."""
    if not isinstance(described, Mapping):
        return Axis()
    scale, offset = (to_number(described.get(name)) for name in ("scale", "offset"))
    return Axis(
        name=str(described.get("name") or ""),
        units=str(described.get("units") or ""),
        scale=scale or 0.0,
        offset=offset or 0.0,
    )


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
