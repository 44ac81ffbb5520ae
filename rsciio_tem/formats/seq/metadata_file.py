# SPDX-License-Identifier: GPL-3.0-or-later
"""The .metadata beside a sequence: a unit of a few bytes for every slot."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from rsciio_tem.errors import Problems
from rsciio_tem.formats.seq.header import plain_values
from rsciio_tem.storage import backends, files
from rsciio_tem.storage.backends import DataFile

#: Beginning of a ``.seq.metadata`` file, little-endian.
CONTAINER = np.dtype(
    [
        ("version", "<i4"),  # 0: 1
        ("header_size", "<i4"),  # 4: 256
        ("unit_count", "<u4"),  # 8: units, one for each slot
        ("unit_size", "<u4"),  # 12: bytes of a unit, 0 if they differ
        ("info_size", "<u4"),  # 16: bytes of the section behind this header
        ("lead_size", "<u4"),  # 20: bytes of the section behind that; units follow
        ("padding", "S232"),  # 24
    ]
)

#: Beginning of a unit of metadata, with its first entry.
UNIT = np.dtype(
    [
        ("size", "<u4"),  # 0: bytes of the unit in use
        ("entries", "<u4"),  # 4: number of entries
        ("entry_kind", "<u4"),  # 8: what the content of the first entry is, see below
        ("entry_size", "<u4"),  # 12: bytes of this content, which follows
    ]
)

#: Kinds of entries that Direct Electron writes: settings of a camera (whole frames), and the
#: number of a buffer (halves), i8, from 1.
SETTINGS_KIND, COUNTER_KIND = 8, 10

_SETTINGS = [
    (0, "size", "<u4"),  # of these settings, 208
    (4, "version", "<u4"),  # 16
    (8, "unbinned_width", "<u4"),  # of the frame, in pixels of the sensor
    (12, "unbinned_height", "<u4"),
    (16, "offset_x", "<u4"),  # of the frame on the sensor
    (20, "offset_y", "<u4"),
    (24, "hardware_binning", "<u4"),
    (28, "bit_mode", "<u4"),  # 12
    (32, "frame_rate", "<f8"),  # 1/s
    (40, "rotation", "<u4"),
    (44, "flip", "<u4"),  # 2: vertical
    (48, "okra", "?"),
    (49, "global_shutter", "?"),
    (50, "off_chip_cds", "?"),
    (51, "akra", "?"),
    (52, "sensor_sequence", "<u4"),
    (56, "camera_type", "<u4"),
    (60, "gain_mode", "<u4"),
    (64, "sensor_gain", "<f8"),
    (72, "magnification", "<f8"),
    (80, "pixel_size", "<f8"),
    (88, "camera_length", "<f8"),
    (96, "diffraction_pixel_size", "<f8"),
    (152, "date_time", "S32"),  # local time of the computer
    (184, "grabber", "S8"),
    (192, "firmware", "<f8"),
]

#: Settings of version 16.
SETTINGS = np.dtype(
    {
        "names": [name for _, name, _ in _SETTINGS],
        "formats": [kind for _, _, kind in _SETTINGS],
        "offsets": [offset for offset, _, _ in _SETTINGS],
        "itemsize": 208,
    }
)

#: Settings of older versions (DE-16), known from a single source.
OLD_SETTINGS = np.dtype(
    {
        "names": [
            *(name for _, name, _ in _SETTINGS[:8]),
            *("frame_rate", "rotation", "flip", "okra", "sensor_gain", "magnification"),
            *("pixel_size", "camera_length", "diffraction_pixel_size"),
        ],
        "formats": [*("<u4",) * 8, "<i4", "<u4", "<u4", "?", "<f8", "<f8", "<f8", "<f8", "<f8"],
        "offsets": [*range(0, 44, 4), 44, 48, 56, 64, 72, 80],
        "itemsize": 88,
    }
)


@dataclass(frozen=True)
class MetadataFile:
    """A ``.seq.metadata`` file."""

    file: DataFile
    header: np.void

    @property
    def start(self) -> int:
        """Byte at which the first unit begins."""
        sizes = ("header_size", "info_size", "lead_size")
        return sum(int(self.header[name]) for name in sizes)

    @property
    def unit_size(self) -> int:
        """Bytes of a unit; where they may differ, those of the first."""
        if size := int(self.header["unit_size"]):
            return size
        raw = bytes(backends.read(self.file, self.start, UNIT.itemsize, "buffered"))
        return int(np.frombuffer(raw, UNIT, 1)["size"][0])

    def entry(self, unit: int, kind: int, size: int) -> bytes | None:
        """Return the content of the first entry of a unit, None if it is of another kind."""
        begin = self.start + unit * self.unit_size
        end = begin + UNIT.itemsize + size
        if unit >= self.header["unit_count"] or end > self.file.size:
            return None
        raw = bytes(backends.read(self.file, begin, end - begin, "buffered"))
        record = np.frombuffer(raw, UNIT, 1)[0]
        if record["entry_kind"] != kind or record["entry_size"] < size or record["entries"] < 1:
            return None
        return raw[UNIT.itemsize :]


def open_metadata(path: str | None, problems: Problems) -> MetadataFile | None:
    """Open the metadata beside a sequence; what is wrong with it is a problem, not an error."""
    if path is None:
        return None
    head = files.read_start(path, CONTAINER.itemsize)
    header = np.frombuffer(head.ljust(CONTAINER.itemsize, b"\0"), CONTAINER, 1)[0]
    metadata = MetadataFile(DataFile.of(path), header)
    usual = header["version"] == 1 and header["header_size"] == CONTAINER.itemsize
    if not usual or metadata.start + UNIT.itemsize > metadata.file.size:
        problems.warn(f"{os.path.basename(path)} is not metadata of a known kind and is ignored.")
        return None
    return metadata


def camera_settings(metadata: MetadataFile | None, problems: Problems) -> dict[str, Any]:
    """Return the camera's settings for the first image, empty if there are none."""
    if metadata is None:
        return {}
    content = metadata.entry(0, SETTINGS_KIND, 8)
    if content is None:
        return {}
    size, version = (int(n) for n in np.frombuffer(content, "<u4"))
    kind = SETTINGS if version >= 16 else OLD_SETTINGS
    content = metadata.entry(0, SETTINGS_KIND, kind.itemsize)
    name = os.path.basename(metadata.file.path)
    if content is None or size < kind.itemsize:
        problems.warn(f"{name}: unknown settings of {size} bytes, ignored.")
        return {}
    if version != 16:
        problems.warn(
            f"{name}: settings of version {version} are read as those of version "
            f"{16 if version > 16 else 'DE-16, which is known from a single source'}.",
        )
    return plain_values(np.frombuffer(content, kind, 1)[0])
