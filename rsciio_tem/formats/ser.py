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

import contextlib
import datetime
import email.utils
import functools
import logging
import math
import mmap
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np
import numpy.typing as npt

from rsciio_tem import backends, files, headers
from rsciio_tem.backends import DataFile
from rsciio_tem.checking import listed
from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Truncated, Unsupported, warn
from rsciio_tem.frames import FrameTable, runs_of
from rsciio_tem.pixels import Pixels
from rsciio_tem.read import ReadOptions, read
from rsciio_tem.recording import Axis, Recording
from rsciio_tem.scan import ScanHint
from rsciio_tem.times import FrameTimes, Times, read_headers

__all__ = ["file_reader", "parse", "read_tags", "sniff"]

_logger = logging.getLogger(__name__)

Ints = npt.NDArray[np.int64]

#: What the header begins with. Behind it: the place of the table, of 4 or 8 bytes, and the number
#: of dimensions.
HEADER = np.dtype(
    [
        ("ByteOrder", "<u2"),  # 0: 0x4949
        ("SeriesID", "<u2"),  # 2: 0x0197
        ("SeriesVersion", "<u2"),  # 4: 0x0210 with places of 4 bytes, 0x0220 of 8 bytes
        ("DataTypeID", "<u4"),  # 6: 0x4120 spectra, 0x4122 images
        ("TagTypeID", "<u4"),  # 10: 0x4152 time, 0x4142 time and position
        ("TotalNumberElements", "<u4"),  # 14: elements that were asked for
        ("ValidNumberElements", "<u4"),  # 18: elements that were recorded
    ]
)
#: What the description of a dimension begins with; the fastest dimension comes first. Behind it
#: come two texts, what it is and its unit, each with its length in 4 bytes before it.
DIMENSION = np.dtype(
    [
        ("DimensionSize", "<u4"),  # 0: elements along it
        ("CalibrationOffset", "<f8"),  # 4: coordinate of element CalibrationElement
        ("CalibrationDelta", "<f8"),  # 12: distance of elements
        ("CalibrationElement", "<u4"),  # 20
    ]
)
#: What the data of an element begin with.
SPECTRUM = np.dtype(
    [
        ("CalibrationOffset", "<f8"),  # 0: energy of channel CalibrationElement
        ("CalibrationDelta", "<f8"),  # 8: energy per channel
        ("CalibrationElement", "<u4"),  # 16
        ("DataType", "<u2"),  # 20: see TYPES
        ("ArrayLength", "<u4"),  # 22: channels
    ]
)
IMAGE = np.dtype(
    [
        ("CalibrationOffsetX", "<f8"),  # 0: m or 1/m, of pixel CalibrationElementX
        ("CalibrationDeltaX", "<f8"),  # 8: per pixel
        ("CalibrationElementX", "<u4"),  # 16
        ("CalibrationOffsetY", "<f8"),  # 20: the same for rows, from the bottom up
        ("CalibrationDeltaY", "<f8"),  # 28
        ("CalibrationElementY", "<u4"),  # 36
        ("DataType", "<u2"),  # 40: see TYPES
        ("ArraySizeX", "<u4"),  # 42: columns
        ("ArraySizeY", "<u4"),  # 46: rows; the bottom one is stored first
    ]
)
#: The tag of an element; the positions are there if the header's TagTypeID says so.
TAG = np.dtype(
    [
        ("TagTypeID", "<u2"),  # 0: as in the header
        ("Unknown", "<u2"),  # 2: 0
        ("Time", "<u4"),  # 4: seconds since 1970
        ("PositionX", "<f8"),  # 8: of the beam, m
        ("PositionY", "<f8"),  # 16
    ]
)
TIME_ONLY = np.dtype([(name, TAG[name]) for name in ("TagTypeID", "Unknown", "Time")])

MAGIC = b"II\x97\x01"
#: Type of the table's entries.
VERSIONS = {0x0210: "<u4", 0x0220: "<u8"}
ELEMENTS = {0x4120: SPECTRUM, 0x4122: IMAGE}
TAGS = {0x4152: TIME_ONLY, 0x4142: TAG}
#: DataType of an element.
TYPES = dict(enumerate(("u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8", "c8", "c16"), start=1))
#: What all descriptions begin with.
EMI = b"JK\0\2"

#: Elements up to which all their headers are read; beyond, so many if the elements lie evenly.
_ALL, _SAMPLES = 4096, 256
#: Bytes in which a header ends, dimensions, and kinds of elements of a series at most.
_HEADER_LIMIT, _MAX_DIMENSIONS, _MAX_KINDS = 1 << 16, 8, 16
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


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a series or its description by the first bytes."""
    if head.startswith(MAGIC):
        known = int.from_bytes(head[4:6], "little") in VERSIONS
        return 0.99 if known else 0.8, "begins with II 97 01, as series of TIA do", {}
    if head.startswith(EMI) and path.lower().endswith(".emi"):
        return 0.95, "begins with JK, as descriptions of TIA do", {}
    return None


# ---------------------------------------------------------------- series


class Dimension(NamedTuple):
    """One of the dimensions in which elements are arranged."""

    size: int
    offset: float
    delta: float
    element: int
    units: str


_DIMENSION_NAMES = dict(zip(Dimension._fields, (*(DIMENSION.names or ()), "Units"), strict=True))


class Header(NamedTuple):
    """What the header of a series says; `values` has RosettaSciIO's names."""

    values: dict[str, Any]
    dimensions: list[Dimension]
    entry: np.dtype[np.unsignedinteger[Any]]
    element: np.dtype[np.void]
    tag: np.dtype[np.void]

    @property
    def spectral(self) -> bool:
        """Whether elements are spectra."""
        return self.element is SPECTRUM


def _header(path: str, problems: list[Problem]) -> Header:
    head = files.read_start(path, _HEADER_LIMIT)
    if not head.startswith(MAGIC):
        raise NotThisFormat(path, f"is no series of TIA: it begins with {head[:4]!r}.")
    end = HEADER.itemsize
    ended = Truncated(path, f"ends inside its header, after {len(head)} bytes.")
    if len(head) < end + 12:
        raise ended
    fixed = np.frombuffer(head, HEADER, 1)[0]
    values = {name: fixed[name].item() for name in HEADER.names or ()}
    version = values["SeriesVersion"]
    if version not in VERSIONS:
        known = "version 0x{:04x} is unknown; it is read like version 0x{:04x}."
        like = 0x0210 if version < 0x0210 else 0x0220
        problems.append(Problem("warning", known.format(version, like)))
        version = like
    kind, tag = (values[name] for name in ("DataTypeID", "TagTypeID"))
    if kind not in ELEMENTS:
        known = " or ".join(f"0x{number:04x}" for number in ELEMENTS)
        raise Unsupported(path, f"holds elements of kind 0x{kind:04x}, not {known}.")
    if tag not in TAGS:
        message = f"tags of kind 0x{tag:04x} are unknown; times and positions are not read."
        problems.append(Problem("warning", message))
    entry = np.dtype(VERSIONS[version])
    values["OffsetArrayOffset"] = int(np.frombuffer(head, entry, 1, end)[0])
    end += entry.itemsize
    count = values["NumberDimensions"] = int.from_bytes(head[end : end + 4], "little")
    end += 4
    if count > _MAX_DIMENSIONS:
        raise FormatError(path, f"has a damaged header: {count} dimensions.")
    dimensions = []
    for number in range(1, count + 1):
        if len(head) < end + DIMENSION.itemsize:
            raise ended
        fixed = np.frombuffer(head, DIMENSION, 1, end)[0]
        end += DIMENSION.itemsize
        found = {name: fixed[name].item() for name in DIMENSION.names or ()}
        for name in ("Description", "Units"):
            size = int.from_bytes(head[end : end + 4], "little")
            end += 4 + size
            if end > len(head):
                raise ended
            found[f"{name}Length"] = size
            found[name] = head[end - size : end].split(b"\0")[0].decode("latin-1")
        values.update({f"Dim-{number}_{name}": value for name, value in found.items()})
        if end > values["OffsetArrayOffset"]:
            raise FormatError(path, "has a damaged header: it does not end before its table.")
        dimensions.append(Dimension(**{key: found[name] for key, name in _DIMENSION_NAMES.items()}))
    return Header(values, dimensions, entry, ELEMENTS[kind], TAGS.get(tag, TIME_ONLY))


def _table(path: str, file: DataFile, header: Header) -> tuple[Ints, Ints]:
    """Read where elements and their tags begin.

    The table has an entry for each element that was asked for, then as many for the tags.
    """
    total, valid, place = (
        header.values[name]
        for name in ("TotalNumberElements", "ValidNumberElements", "OffsetArrayOffset")
    )
    if not valid:
        raise FormatError(
            path,
            "holds no element.",
            "The data of a single spectrum or point are in the .emi, where nobody can read them.",
        )
    if valid > total:
        raise FormatError(path, f"has a damaged header: {valid} of {total} elements recorded.")
    size = header.entry.itemsize
    if place < HEADER.itemsize or place + valid * size > file.size:
        raise Truncated(
            path,
            f"ends at byte {file.size}, inside or before the table of its {valid} elements at "
            f"byte {place}.",
        )

    def entries(begin: int) -> Ints:
        if begin + valid * size > file.size:
            return np.empty(0, np.int64)
        found = np.frombuffer(backends.read(file, begin, valid * size, "buffered"), header.entry)
        limited: Ints = np.minimum(found, np.uint64(2**62)).astype(np.int64)
        return limited

    return entries(place), entries(place + total * size)


def _runs(offsets: Ints) -> npt.NDArray[np.void]:
    """Make runs of what lies evenly spaced."""
    steps = np.diff(offsets)
    known, counts = np.unique(steps[steps > 0], return_counts=True)
    stride = int(known[np.argmax(counts)]) if len(known) else 0
    first = np.array([0, *(np.flatnonzero(steps != stride) + 1).tolist()])
    runs = runs_of([(0, 0, stride, 0)] * len(first))
    runs["start"], runs["count"] = offsets[first], np.diff([*first.tolist(), len(offsets)])
    return runs


def _records(file: DataFile, offsets: Ints, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """Read small records; those that are not in the file are zeros."""
    out = np.zeros((len(offsets), dtype.itemsize), np.uint8)
    inside = np.flatnonzero(_inside(file, offsets, dtype.itemsize))
    if len(inside):
        table = FrameTable((file,), _runs(offsets[inside]), Pixels((1,), np.dtype(np.uint8)))
        out[inside] = read_headers(table, 0, len(inside), 0, dtype.itemsize)
    return out.view(dtype)[:, 0]


def _inside(file: DataFile, offsets: Ints, size: int | npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (offsets >= HEADER.itemsize) & (offsets + size <= file.size)
    return found


class Elements(NamedTuple):
    """The elements of a series that are all of one kind."""

    numbers: Ints
    offsets: Ints
    stored: npt.NDArray[np.bool_]
    heads: npt.NDArray[np.void]  # of all, or of the first one
    pixels: Pixels


def _kinds(
    path: str, file: DataFile, header: Header, offsets: Ints, problems: list[Problem]
) -> list[Elements]:
    """Look at the headers of elements, and sort the elements by type and size.

    Elements of a large series that lie evenly are only sampled.
    """
    dtype, count = header.element, len(offsets)
    known = _inside(file, offsets, dtype.itemsize)
    if not known.any():
        raise Truncated(path, f"ends at byte {file.size}, before the first of its elements does.")
    numbers = np.flatnonzero(known)
    sampled = count > _ALL and not np.ptp(np.diff(offsets[numbers]))
    look = numbers
    if sampled:
        look = np.unique(numbers[np.linspace(0, len(numbers) - 1, _SAMPLES).astype(np.int64)])
    heads = _records(file, offsets[look], dtype)
    decisive = [n for n in dtype.names or () if n == "DataType" or n.startswith("Array")]
    if sampled and (heads[decisive] != heads[decisive][0]).any():
        sampled, look = False, numbers
        heads = _records(file, offsets[look], dtype)
    kinds, firsts, which = np.unique(heads[decisive], return_index=True, return_inverse=True)
    if len(kinds) > _MAX_KINDS:
        raise FormatError(
            path, f"has a damaged table: its elements would be of {len(kinds)} types and sizes."
        )
    groups = []
    for k in np.argsort(firsts):
        try:
            pixels = _pixels(path, file.size, header, kinds[k], int(look[firsts[k]]))
        except FormatError:
            if len(kinds) == 1:
                raise
            continue  # told as lost below; if nothing is left, as an error
        own = numbers if sampled else look[which.reshape(-1) == k]
        stored = _inside(file, offsets[own], dtype.itemsize + pixels.nbytes)
        shown = heads[:1] if sampled else heads[which.reshape(-1) == k]
        groups.append(Elements(own, offsets[own], stored, shown, pixels))
    if not any(group.stored.any() for group in groups):
        raise Truncated(path, f"ends at byte {file.size}, inside the first of its elements.")
    whole = np.concatenate([group.numbers[group.stored] for group in groups])
    ends = [
        np.stack([g.offsets, g.offsets + dtype.itemsize + g.pixels.nbytes], axis=1)[g.stored]
        for g in groups
    ]
    spans = np.concatenate(ends)
    spans = spans[np.argsort(spans[:, 0])]
    if (spans[1:, 0] < spans[:-1, 1]).any():
        raise FormatError(path, "has a damaged table: elements overlap.")
    if len(whole) < count:
        lost = np.setdiff1d(np.arange(count), whole)
        problems.append(
            Problem(
                "warning",
                f"{len(lost)} of {count} elements, the first of them number {lost[0]}, cannot be "
                "read: the file was cut off, or is damaged there.",
            )
        )
    return groups


def _pixels(path: str, size: int, header: Header, kind: np.void, number: int) -> Pixels:
    code, *sizes = (int(kind[name]) for name in kind.dtype.names or ())
    if code not in TYPES or 0 in sizes:
        raise FormatError(
            path,
            f"element {number} has {' x '.join(map(str, sizes))} values of type {code}; there are "
            f"types 1 to {len(TYPES)}. Its header or the table of elements is damaged.",
        )
    stored = np.dtype(TYPES[code]).newbyteorder("<")
    if math.prod(sizes) * stored.itemsize > size:
        raise Truncated(
            path,
            f"has {size} bytes, fewer than the {' x '.join(map(str, sizes))} values of its element "
            f"{number} take.",
        )
    # columns come before rows in the file, and the bottom row is stored first
    return Pixels(tuple(reversed(sizes)), stored, flip_y=not header.spectral)


def _tag_offsets(file: DataFile, header: Header, tags: Ints, group: Elements) -> Ints:
    """Return where the tags of elements are: as the table says, or else behind their data."""
    behind = group.offsets + header.element.itemsize + group.pixels.nbytes
    for offsets in (tags[group.numbers] if len(tags) else tags, behind):
        first = _records(file, offsets[:1], header.tag)
        if len(first) and first["TagTypeID"][0] == header.values["TagTypeID"]:
            return offsets
    return tags[:0]


def _times(
    file: DataFile, tags: Ints, dtype: np.dtype[np.void], first: int, last: int
) -> FrameTimes:
    seconds = _records(file, tags[first:last], dtype)["Time"].astype(np.int64)
    nothing = np.full(len(seconds), -1, np.int64)
    return FrameTimes(np.where(seconds > 0, seconds * 10**9, -1), nothing)


# ---------------------------------------------------------------- description


def _every_element(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Read the headers and tags of all elements, where opening looked at some only."""
    del seen
    path, told = recording.path, list[Problem]()
    file, header = DataFile.of(path), _header(path, told)
    offsets, _ = _table(path, file, header)
    if len(offsets) > _ALL:
        names = header.element.names or ()
        decisive = [n for n in names if n == "DataType" or n.startswith("Array")]
        wrong: list[Ints] = []
        first = _records(file, offsets[:1], header.element)[decisive]
        for a in range(0, len(offsets), 1 << 16):
            heads = _records(file, offsets[a : a + (1 << 16)], header.element)[decisive]
            wrong.append(np.flatnonzero(heads != first) + a)
        if len(others := np.concatenate(wrong)):
            yield Problem(
                "error",
                f"{len(others)} of {len(offsets)} elements have another size or type in their "
                f"headers than the first one: {listed(others)}.",
                "They are damaged, or cannot be read like the others.",
            )
    if recording.times is None:
        return
    source = recording.times.read
    assert isinstance(source, functools.partial)
    _, tags, dtype = source.args
    kinds = np.concatenate(
        [
            _records(file, tags[a : a + (1 << 16)], dtype)["TagTypeID"]
            for a in range(0, len(tags), 1 << 16)
        ]
    )
    # the place of an element that was not recorded has no tag
    if len(wrong_tags := np.flatnonzero((kinds != header.values["TagTypeID"]) & (tags > 0))):
        yield Problem(
            "warning",
            f"{len(wrong_tags)} of {len(tags)} elements have no tag where the table says: "
            f"{listed(wrong_tags)}. Their times and positions are not known.",
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
    tree = headers.xml_content(text, path)
    if isinstance(described := tree.get("ExperimentalDescription"), dict):
        tree["ExperimentalDescription"] = dict(_labelled(described))
    if isinstance(inner := tree.get("TrueImageHeaderInfo"), str):  # XML as text of XML
        with contextlib.suppress(FormatError):  # then it stays text
            found = headers.xml_content(inner.encode(), path) if inner else {}
            tree["TrueImageHeaderInfo"] = {
                str(e.get("Index")): headers.number(e.get("Value")) for e in _entries(found)
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
            number = headers.number(value)
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


# ---------------------------------------------------------------- arrangement


def _axis(name: str | None, units: str, delta: float, offset: float, element: float) -> Axis:
    """Calibrate an axis; lengths of TIA are in metres, HyperSpy's in nm."""
    offset -= element * delta
    if not (math.isfinite(delta) and math.isfinite(offset) and delta):
        return Axis(name, None)
    if units == "meters":
        return Axis(name, "nm", delta * 1e9, offset * 1e9)
    if units == "1/meters":
        return Axis(name, "1 / nm", delta / 1e9, offset / 1e9)
    return Axis(name, units or None, delta, offset)


def _signal_axes(
    header: Header, head: np.void, description: Description | None
) -> tuple[Axis, ...]:
    def calibration(suffix: str = "") -> tuple[float, float, int]:
        names = (f"Calibration{n}{suffix}" for n in ("Delta", "Offset", "Element"))
        delta, offset, element = (head[name].item() for name in names)
        return delta, offset, element

    if header.spectral:
        return (_axis("Energy", "eV", *calibration()),)
    units = _units(header, abs(float(head["CalibrationDeltaX"])), description)
    return _axis("y", units, *calibration("Y")), _axis("x", units, *calibration("X"))


def _units(header: Header, delta: float, description: Description | None) -> str:
    """Tell images from diffraction patterns.

    A pixel of more than a metre is one of a diffraction pattern in 1/m, whatever else is said.
    """
    if delta > 1:
        return "1/meters"
    if description is None:
        return "meters"
    first = description.first or {}
    experiment, acquired = (first.get(n) for n in ("ExperimentalDescription", "AcquireInfo"))
    mode = experiment.get("Mode") if isinstance(experiment, dict) else None
    if mode is None or not header.dimensions:
        return "meters"
    camera = isinstance(acquired, dict) and "CameraNamePath" in acquired
    dimension = header.dimensions[0]
    scanned = dimension.size > 1 and bool(dimension.units)
    diffraction = camera or scanned if "STEM" in mode else "Diffraction" in mode
    return "1/meters" if diffraction else "meters"


class Arrangement(NamedTuple):
    """How the elements of a series are arranged."""

    hints: tuple[ScanHint, ...] = ()
    scan_axes: tuple[Axis, ...] = (Axis("y"), Axis("x"))
    stack_axis: Axis | None = None


def _arrangement(
    header: Header,
    count: int,
    tags: npt.NDArray[np.void] | None,
    only_valid_data: bool,
) -> Arrangement:
    """Arrange elements in the dimensions of the header.

    As in RosettaSciIO, images have no dimensions of one element, and one dimension is cut to what
    was recorded.
    """
    kept = [d for d in header.dimensions if header.spectral or d.size != 1]
    values, sizes = header.values, [d.size for d in kept]
    sure = 0.95 if only_valid_data else 1.0  # the caller wants these dimensions
    if not kept or 0 in sizes:
        return Arrangement(stack_axis=Axis(None, None))
    if len(kept) == 1:
        axis = _of_dimension(kept[0], "x")
        asked = kept[0].size
        complete = values["TotalNumberElements"] == values["ValidNumberElements"]
        if (asked > count and not only_valid_data) or (asked == count == 1 and complete):
            reason = f"the header says that {asked} elements were asked for"
            return Arrangement((ScanHint("header", (asked,), sure, reason),), (axis,))
        reason = f"one dimension of {asked} elements in the header"
        stack = (ScanHint("stack", (count,), 0.95, reason),) if count > 1 else ()
        return Arrangement(stack, stack_axis=axis)
    reason = f"dimensions of {' and '.join(map(str, sizes))} elements in the header"
    slow_first = kept[::-1]
    if len(kept) == 2 and tags is not None and "PositionX" in (tags.dtype.names or ()):
        fast = _fast_dimension((sizes[0], sizes[1]), tags)
        if fast is not None:
            reason += ", the faster of which the positions of the beam tell"
            slow_first = [kept[1 - fast], kept[fast]]
    names = [*[None] * (len(kept) - 2), "y", "x"]
    axes = tuple(_of_dimension(d, n) for d, n in zip(slow_first, names, strict=True))
    shape = tuple(d.size for d in slow_first)
    return Arrangement((ScanHint("header", shape, sure, reason),), axes)


def _of_dimension(dimension: Dimension, name: str | None) -> Axis:
    _, offset, delta, element, units = dimension
    return _axis(name if units == "meters" else None, units, delta, offset, element)


def _fast_dimension(sizes: tuple[int, int], tags: npt.NDArray[np.void]) -> int | None:
    """Return which of two dimensions is the faster one by the positions, None if they do not tell.

    Along a line, which may lie at any angle, the beam takes equal steps.
    """
    steps = np.diff(tags["PositionX"] + 1j * tags["PositionY"])
    if not len(steps) or not np.isfinite(steps).all() or not abs(steps[0]):
        return None
    turns = np.flatnonzero(abs(steps - steps[0]) > 0.5 * abs(steps[0]))
    line = int(turns[0]) + 1 if len(turns) else 0
    if sizes[0] != sizes[1]:
        return sizes.index(line) if line in sizes else None
    return 1 if line == sizes[0] and steps[0].real == 0 else None


# ---------------------------------------------------------------- recordings


def _recordings(
    path: str, description: Description | None, only_valid_data: bool, problems: Sequence[Problem]
) -> list[Recording]:
    """Describe a series: one recording, or one for each kind of its elements."""
    told = list(problems)
    header = _header(path, told)
    file = DataFile.of(path)
    offsets, tags = _table(path, file, header)
    if len(offsets) < (total := header.values["TotalNumberElements"]):
        message = f"was stopped: {len(offsets)} of {total} elements were recorded."
        told.append(Problem("info", message))
    groups = _kinds(path, file, header, offsets, told)
    if len(groups) > 1:
        kinds = "; ".join(
            f"{len(g.numbers)} of {' x '.join(map(str, g.pixels.shape))} {g.pixels.dtype}, "
            f"from number {g.numbers[0]} on"
            for g in groups
        )
        message = f"elements are of {len(groups)} kinds, each is a signal of its own: {kinds}."
        told.append(Problem("warning", message))
    found: list[Recording] = []
    for group in groups:
        if group.stored.any():
            where = _tag_offsets(file, header, tags, group)
            alone = len(groups) == 1
            found.append(
                _recording(file, header, group, where, description, only_valid_data, alone, told)
            )
            told = []  # once is enough
    return found


def _spread(values: npt.NDArray[Any], places: Ints, count: int) -> npt.NDArray[Any]:
    """Put values at their places, zeros at the others."""
    out = np.zeros(count, values.dtype)
    out[places[places < count]] = values[places < count]
    return out


def _recording(
    file: DataFile,
    header: Header,
    group: Elements,
    tag_offsets: Ints,
    description: Description | None,
    only_valid_data: bool,
    alone: bool,
    problems: list[Problem],
) -> Recording:
    # an element that is not in the file leaves its place blank; what was cut off comes last
    places = group.numbers if alone else np.arange(len(group.numbers))
    count = int(places[group.stored][-1]) + 1
    begins = group.offsets[group.stored] + header.element.itemsize
    frames = FrameTable((file,), _runs(begins), group.pixels)
    if len(begins) < count:
        order = np.full(count, -1, np.int64)
        order[places[group.stored]] = np.arange(len(begins))
        frames = frames[order]
    heads = group.heads
    if len(heads) > 1:
        heads = _spread(heads, places, count)
    if len(tag_offsets):
        tag_offsets = _spread(tag_offsets, places, count)
    tags = _records(file, tag_offsets[:_ALL], header.tag) if len(tag_offsets) else None
    times = None
    if tags is not None:
        read_times = functools.partial(_times, file, tag_offsets, header.tag)
        times = Times(count, read_times, resolution_ns=10**9)
    scales = group.heads["CalibrationDelta" if header.spectral else "CalibrationDeltaX"]
    if len(known := np.unique(scales)) > 1:
        message = (
            f"elements are calibrated with {len(known)} scales from {known[0]:.6g} to "
            f"{known[-1]:.6g}; that of the first one is used for all."
        )
        problems = [*problems, Problem("warning", message)]
    arranged = Arrangement(stack_axis=Axis(None, None))
    if alone:
        arranged = _arrangement(header, count, tags, only_valid_data)
    parameters = dict(header.values)
    for records in (heads, tags if count <= _ALL else None):
        if records is not None:
            for name in records.dtype.names or ():
                parameters[name] = (
                    records[name].copy() if len(records) > 1 else records[name].item()
                )
    original: dict[str, Any] = {"ser_header_parameters": parameters}
    if not alone:
        original["ser_elements"] = group.numbers[:count].copy()
    if description is not None:
        if description.own:
            original["ObjectInfo"] = description.own
        if description.others:
            original["emi_objects"] = description.others
    return Recording(
        format="ser",
        path=file.path,
        frames=frames,
        signal_axes=_signal_axes(header, group.heads[0], description),
        scan_axes=arranged.scan_axes,
        hints=arranged.hints,
        times=times,
        stack_axis=arranged.stack_axis,
        metadata=_metadata(file.path, description, 0 if tags is None else int(tags["Time"][0])),
        original_metadata=original,
        files=(file.path, *([] if description is None else [description.path])),
        problems=tuple(problems),
    )


def _opened(
    filename: str | os.PathLike[str],
) -> tuple[list[str], str | None, list[dict[str, Any]], list[Problem]]:
    """Return the series that belong to a file, their description, and what it says."""
    path = files.existing(filename)
    problems: list[Problem] = []
    if files.read_start(path, len(EMI)) == EMI or path.lower().endswith(".emi"):
        return _series_of(path), path, _objects(path, problems), problems
    emi = _description_of(path)
    return [path], emi, [] if emi is None else _objects(emi, problems), problems


def _of_series(
    path: str,
    emi: str | None,
    objects: list[dict[str, Any]],
    only_valid_data: bool,
    problems: Sequence[Problem],
) -> list[Recording]:
    described = None if emi is None else _described(emi, path, objects)
    return _recordings(path, described, only_valid_data, problems)


def parse(filename: str | os.PathLike[str], *, only_valid_data: bool = True) -> Recording:
    """Describe a series, of a description the first one; parameters as in `file_reader`.

    Returns
    -------
    Recording
        Of the first kind of its elements, if there are several.
    """
    (path, *others), emi, objects, problems = _opened(filename)
    if others:
        message = f"is the first of {len(others) + 1} series of {os.path.basename(emi or '')}."
        problems.append(Problem("info", message, "Open one of the others by its name."))
    return _of_series(path, emi, objects, only_valid_data, problems)[0]


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
        ``PositionY`` in m where the series has them. What is not in the file is zero.
    """
    path = files.existing(filename)
    header, file = _header(path, []), DataFile.of(path)
    offsets, tags = _table(path, file, header)
    out = np.zeros(len(offsets), header.tag)
    for group in _kinds(path, file, header, offsets, []):
        where = _tag_offsets(file, header, tags, group)
        out[group.numbers[: len(where)]] = _records(file, where, header.tag)
    return out


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
        A .ser file, or a .emi file for all of its .ser files.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``; they apply to each series.
    only_valid_data : bool
        Return what was recorded of a series that was stopped. With False the elements that were
        asked for and not recorded are filled: with zeros, floats with NaN.
    **options
        `ReadOptions`.

    Returns
    -------
    list of dict
        One for each series; if its elements are of several kinds, one for each kind.

    Raises
    ------
    NotThisFormat
        The file is no series of TIA.
    Truncated
        It ends before its first element does.
    FormatError
        It is damaged, or holds nothing.
    """
    del distributed  # nothing is left to do for it
    series, emi, objects, problems = _opened(filename)
    signals: list[dict[str, Any]] = []
    for path in series:
        try:
            found = _of_series(path, emi, objects, only_valid_data, problems)
        except FormatError as error:
            if len(series) == 1:
                raise
            warn(path, f"is left out: {error.problem}")
            continue
        problems = []  # of the description; once is enough
        for recording in found:
            given: dict[str, Any] = dict(options)
            if not only_valid_data:
                floats = recording.frames.dtype.kind == "f"
                given = {"missing": "fill", "fill_value": math.nan if floats else 0, **given}
            signals += read(
                recording,
                lazy=lazy,
                chunks=chunks,
                mmap_mode=mmap_mode,
                navigation_shape=navigation_shape,
                first_frame=first_frame,
                last_frame=last_frame,
                options=given,
            )
    if not signals:
        raise FormatError(
            files.existing(filename), f"none of its {len(series)} series can be read."
        )
    return signals
