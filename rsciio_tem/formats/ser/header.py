# SPDX-License-Identifier: GPL-3.0-or-later
"""Layouts of the header, its dimensions and the elements, and what the header says."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Problems, Truncated, Unsupported
from rsciio_tem.storage import files

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
#: DataTypeID and TagTypeID of the header.
ELEMENTS = {0x4120: SPECTRUM, 0x4122: IMAGE}
TAGS = {0x4152: TIME_ONLY, 0x4142: TAG}
#: DataType of an element.
TYPES = dict(enumerate(("u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8", "c8", "c16"), start=1))
#: Bytes in which a header ends, and dimensions at most.
_HEADER_LIMIT, _MAX_DIMENSIONS = 1 << 16, 8


class Dimension(NamedTuple):
    """One of the dimensions in which elements are arranged."""

    size: int
    offset: float
    delta: float
    element: int
    units: str


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

    @property
    def decisive(self) -> list[str]:
        """Names of what elements of one kind have in common: type and sizes."""
        return [n for n in self.element.names or () if n == "DataType" or n.startswith("Array")]


def read_header(path: str, problems: Problems) -> Header:
    """Read the header of a series."""
    head = files.read_start(path, _HEADER_LIMIT)
    if not head.startswith(MAGIC):
        raise NotThisFormat(path, f"is not a series of TIA: it begins with {head[:4]!r}.")
    end = HEADER.itemsize
    ended = Truncated(path, f"ends inside its header, after {len(head)} bytes.")
    if len(head) < end + 12:
        raise ended
    values = _fields(head, HEADER, 0)
    version, kind, tag = (values[n] for n in ("SeriesVersion", "DataTypeID", "TagTypeID"))
    if version not in VERSIONS:
        like = 0x0210 if version < 0x0210 else 0x0220
        problems.warn(f"version 0x{version:04x} is unknown; it is read like version 0x{like:04x}.")
        version = like
    if kind not in ELEMENTS:
        kinds = " or ".join(f"0x{number:04x}" for number in ELEMENTS)
        raise Unsupported(path, f"holds elements of kind 0x{kind:04x}, not {kinds}.")
    if tag not in TAGS:
        problems.warn(f"tags of kind 0x{tag:04x} are unknown; times and positions are not read.")
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
        fields = _fields(head, DIMENSION, end)
        end += DIMENSION.itemsize
        for name in ("Description", "Units"):
            size = int.from_bytes(head[end : end + 4], "little")
            end += 4 + size
            if end > len(head):
                raise ended
            fields[f"{name}Length"] = size
            fields[name] = head[end - size : end].split(b"\0")[0].decode("latin-1")
        values.update({f"Dim-{number}_{name}": value for name, value in fields.items()})
        if end > values["OffsetArrayOffset"]:
            raise FormatError(path, "has a damaged header: it does not end before its table.")
        names = (*(DIMENSION.names or ()), "Units")
        dimensions.append(Dimension(*(fields[name] for name in names)))
    return Header(values, dimensions, entry, ELEMENTS[kind], TAGS.get(tag, TIME_ONLY))


def _fields(head: bytes, dtype: np.dtype[np.void], at: int) -> dict[str, Any]:
    record = np.frombuffer(head, dtype, 1, at)[0]
    return {name: record[name].item() for name in dtype.names or ()}
