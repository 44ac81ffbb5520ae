# SPDX-License-Identifier: GPL-3.0-or-later
"""What the .emi file and its XML say of a series."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import functools
import mmap
import os
import re
from typing import Any, NamedTuple

from rsciio_tem.errors import FormatError, Problem
from rsciio_tem.formats.ser.layout import _logger
from rsciio_tem.parsing import text as text_module
from rsciio_tem.parsing.text import xml_content

#: Blocks of XML in a description at most; a block longer than this is refused anyway.
_MAX_OBJECTS, _BLOCK_LIMIT = 256, (1 << 20) + 1


#: RosettaSciIO's place in ``metadata`` for what a description says, with a factor for numbers.
_MAPPING: dict[tuple[str, str], tuple[str, float | None]] = {
    ("ExperimentalDescription", "High tension_kV"): ("beam_energy", 1),
    ("ExperimentalDescription", "Microscope"): ("microscope", None),
    ("ExperimentalDescription", "Mode"): ("acquisition_mode", None),
    ("ExperimentalDescription", "Camera length_m"): ("camera_length", 1e3),
    ("ExperimentalDescription", "Magnification_x"): ("magnification", 1),
    ("ExperimentalDescription", "Stage A_deg"): ("Stage.tilt_alpha", 1),
    ("ExperimentalDescription", "Stage B_deg"): ("Stage.tilt_beta", 1),
    ("ExperimentalDescription", "Stage X_um"): ("Stage.x", 1e-3),
    ("ExperimentalDescription", "Stage Y_um"): ("Stage.y", 1e-3),
    ("ExperimentalDescription", "Stage Z_um"): ("Stage.z", 1e-3),
    ("AcquireInfo", "CameraNamePath"): ("Detector.Camera.Name", None),
    ("AcquireInfo", "DwellTimePath"): ("Detector.Camera.exposure", 1),
}


class Description(NamedTuple):
    """What a .emi says about one series."""

    path: str
    own: dict[str, Any] | None  # about this series
    first: dict[str, Any] | None  # about the first one
    others: dict[str, Any]


def _objects(path: str, problems: list[Problem]) -> list[dict[str, Any]]:
    """Return the blocks ``<ObjectInfo>…</ObjectInfo>`` of a description, in their order."""
    begin, end = b"<ObjectInfo>", b"</ObjectInfo>"
    found: list[dict[str, Any]] = []
    if not os.path.getsize(path):
        problems.append(Problem("warning", f"{os.path.basename(path)} is empty."))
        return found
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(begin)
        while at >= 0 and len(found) < _MAX_OBJECTS:
            stop = content.find(end, at)
            if stop < 0:
                problems.append(Problem("warning", f"{os.path.basename(path)} was cut off."))
                break
            try:
                found.append(_object(content[at : min(stop + len(end), at + _BLOCK_LIMIT)], path))
            except FormatError as error:
                found.append({})
                problems.append(Problem("warning", f"{os.path.basename(path)} {error.problem}"))
            at = content.find(begin, stop)
    return found


def _object(text: bytes, path: str) -> dict[str, Any]:
    """Parse one block; labels and units become keys as in RosettaSciIO."""
    try:
        text.decode()
    except UnicodeDecodeError:  # of a computer that was set to a western language
        text = text.decode("cp1252", "replace").encode()
    tree = xml_content(text, path)
    if isinstance(described := tree.get("ExperimentalDescription"), dict):
        tree["ExperimentalDescription"] = dict(_labelled(described))
    if isinstance(inner := tree.get("TrueImageHeaderInfo"), str):  # XML as text of XML
        with contextlib.suppress(FormatError):  # then it stays text
            found = xml_content(inner.encode(), path) if inner else {}
            tree["TrueImageHeaderInfo"] = {
                str(e.get("Index")): text_module.to_number(e.get("Value")) for e in _entries(found)
            }
    return tree


def _entries(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """List the elements ``<Data>`` of a tree."""
    found = tree.get("Data_list", [tree["Data"]] if "Data" in tree else [])
    return [entry for entry in found if isinstance(entry, dict)]


def _labelled(tree: dict[str, Any]) -> list[tuple[str, Any]]:
    root = tree.get("Root")
    found: list[tuple[str, Any]] = []
    for entry in _entries(root) if isinstance(root, dict) else []:
        label, value, unit = (entry.get(name) for name in ("Label", "Value", "Unit"))
        if not unit:
            found.append((str(label), value or None))
            continue
        try:
            value = float(str(value))
        except ValueError:
            _logger.warning("Expected decimal value for %s, not %r", label, value)
        found.append((f"{label}_{unit}", value))
    return found


def _described(emi: str, path: str, objects: list[dict[str, Any]]) -> Description:
    """Pick what a description says about a series: the block with the number of the series."""
    match = re.search(r"_(\d+)$", os.path.splitext(os.path.basename(path))[0])
    index = int(match[1]) - 1 if match else -1
    own = objects[index] if 0 <= index < len(objects) else None
    if own is None:
        _logger.warning(
            "%s did not contain any metadata for %s: only the header of the series is used",
            *(emi, path),
        )
    others = {
        f"ObjectInfo_{i}": o for i, o in enumerate(objects, start=1) if o is not own and len(o) > 1
    }
    return Description(emi, own, objects[0] if objects else None, others)


def _description_of(path: str) -> str | None:
    """Find the .emi of a series: ``name.emi`` for ``name_1.ser``."""
    folder, base = os.path.split(path)
    match = re.fullmatch(r"(.+)_\d+", os.path.splitext(base)[0], re.DOTALL)
    if match is None:
        return None
    wanted = re.compile(re.escape(match[1]) + r"\.[eE][mM][iI]")
    found = [entry for entry in sorted(os.listdir(folder or ".")) if wanted.fullmatch(entry)]
    name = os.path.join(folder, found[0]) if found else ""
    return name if found and os.path.isfile(name) else None


def _series_of(emi: str) -> list[str]:
    """List the series of a description in the order of their numbers."""
    folder, base = os.path.split(emi)
    wanted = re.compile(re.escape(os.path.splitext(base)[0]) + r"_(\d+)\.[sS][eE][rR]")
    found = [(int(m[1]), m[0]) for m in map(wanted.fullmatch, os.listdir(folder or ".")) if m]
    if not found:
        stem = os.path.splitext(base)[0]
        raise FormatError(
            emi,
            f"describes series, of which none lies beside it: there is no {stem}_1.ser.",
            "Put the .ser files into its folder.",
        )
    return [os.path.join(folder, name) for _, name in sorted(found)]


def _metadata(path: str, description: Description | None, time: int) -> dict[str, Any]:
    """Translate the description with RosettaSciIO's names."""
    name = os.path.basename(path)
    general: dict[str, Any] = {"title": os.path.splitext(name)[0], "original_filename": name}
    metadata: dict[str, Any] = {"General": general, "Signal": {"signal_type": ""}}
    if description is None:
        if time > 0:
            moment = datetime.datetime.fromtimestamp(time, datetime.UTC)
            general["date"], general["time"] = moment.date().isoformat(), moment.time().isoformat()
        return metadata
    date = (description.first or {}).get("AcquireDate")
    parts = email.utils.parsedate(str(date)) if date else None
    if parts is None:
        _logger.warning("AcquireDate not found in metadata of %s: no date and time", path)
    else:
        year, month, day, hour, minute, second = parts[:6]
        general["date"] = f"{year:04}-{month:02}-{day:02}"
        general["time"] = f"{hour:02}:{minute:02}:{second:02}"
    own = description.own or {}
    tem: dict[str, Any] = {}
    for (group, key), (target, factor) in _MAPPING.items():
        values = own.get(group)
        value = values.get(key) if isinstance(values, dict) else None
        if value is None:
            continue
        if factor is not None:
            number = text_module.to_number(value)
            if number is None:
                continue
            value = number * factor
        elif target == "microscope":
            value = str(value).replace("Microscope ", "")
        elif target == "acquisition_mode":
            value = "STEM" if "STEM" in str(value) else "TEM"
        *levels, leaf = target.split(".")
        functools.reduce(lambda node, level: node.setdefault(level, {}), levels, tem)[leaf] = value
    if tem:
        metadata["Acquisition_instrument"] = {"TEM": tem}
    experiment = own.get("ExperimentalDescription")
    if isinstance(experiment, dict) and experiment.get("User"):
        general["authors"] = experiment["User"]
    return metadata
