# SPDX-License-Identifier: GPL-3.0-or-later
"""Files beside a sequence: .metadata, .xml, dark and gain references."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Truncated
from rsciio_tem.formats.seq.layout import (
    _MAX_SIDE,
    CONTAINER,
    OLD_SETTINGS,
    SETTINGS,
    SETTINGS_KIND,
    UNIT,
    _Problems,
    _tree,
)
from rsciio_tem.parsing import text as text_module
from rsciio_tem.parsing.trees import side_parameters, xml_tree
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import backends, files
from rsciio_tem.storage.backends import DataFile

_SIDE_PARAMETERS = (".toml", ".yaml", ".yml")


# ---------------------------------------------------------------- side files


def _beside(path: str, stems: tuple[str, ...], suffix: str) -> str | None:
    """Find a file named like one of the stems with a suffix, in any case."""
    folder = os.path.dirname(path)
    listing = {entry.lower(): entry for entry in os.listdir(folder or ".")}
    for stem in stems:
        entry = listing.get((stem + suffix).lower())
        if entry is not None and os.path.isfile(os.path.join(folder, entry)):
            return os.path.join(folder, entry)
    return None


@dataclass(frozen=True)
class _Metadata:
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
        place = self.start + unit * self.unit_size
        end = place + UNIT.itemsize + size
        if unit >= self.header["unit_count"] or end > self.file.size:
            return None
        raw = bytes(backends.read(self.file, place, end - place, "buffered"))
        record = np.frombuffer(raw, UNIT, 1)[0]
        if record["entry_kind"] != kind or record["entry_size"] < size or record["entries"] < 1:
            return None
        return raw[UNIT.itemsize :]


def _metadata_file(path: str | None, problems: _Problems) -> _Metadata | None:
    """Open the metadata beside a sequence; what is wrong with it is a problem, not an error."""
    if path is None:
        return None
    head = files.read_start(path, CONTAINER.itemsize)
    header = np.frombuffer(head.ljust(CONTAINER.itemsize, b"\0"), CONTAINER, 1)[0]
    metadata = _Metadata(DataFile.of(path), header)
    known = header["version"] == 1 and header["header_size"] == CONTAINER.itemsize
    if not known or metadata.start + UNIT.itemsize > metadata.file.size:
        problems.warn(f"{os.path.basename(path)} is no metadata that we know, and is ignored.")
        return None
    return metadata


def _settings(metadata: _Metadata | None, problems: _Problems) -> dict[str, Any]:
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
    return _tree(np.frombuffer(content, kind, 1)[0])


def _described(path: str | None, problems: _Problems) -> dict[str, Any]:
    """Read the XML beside a recording; what is wrong with it is a problem, not an error."""
    if path is None:
        return {}
    try:
        return xml_tree(path)
    except FormatError as error:
        problems.warn(f"{os.path.basename(path)} {error.problem} It is ignored.")
        return {}


def _value(tree: Mapping[str, Any], name: str) -> str | None:
    """Return a value of the XML's FileInfo."""
    info = tree.get("FileInfo")
    entry = info.get(name) if isinstance(info, Mapping) else None
    value = entry.get("Value") if isinstance(entry, Mapping) else None
    return None if value is None else str(value).strip()


def _whole(tree: Mapping[str, Any], name: str) -> int | None:
    """Return a whole number of the XML's FileInfo that is not negative."""
    number = text_module.to_number(_value(tree, name))
    return int(number) if number is not None and 0 <= number < 1 << 31 else None


def _either(tree: Mapping[str, Any], name: str, settings: Mapping[str, Any], other: str) -> int:
    """Return a whole number of the XML, or of the camera's settings if it is not there."""
    number = _whole(tree, name)
    return int(settings.get(other, 0)) if number is None else number


def _elements(tree: Any, name: str) -> list[Mapping[str, Any]]:
    """Return the elements of a name within another, however many there are."""
    if not isinstance(tree, Mapping):
        return []
    found = tree.get(f"{name}_list", [tree[name]] if name in tree else [])
    return [entry for entry in found if isinstance(entry, Mapping)]


def _missing_numbers(path: str | None, problems: _Problems) -> list[int]:
    """Read the list of frames that the camera lost."""
    if path is None:
        return []
    text = files.read_start(path, 1 << 16).decode("latin-1").partition(":")[2]
    numbers = [int(n) for n in re.findall(r"\d{1,18}", text)]
    if numbers:
        shown = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
        problems.warn(
            f"{os.path.basename(path)} lists {len(numbers)} frames as missing ({shown}); those "
            "that follow are not moved to their places.",
        )
    return numbers


def _reference(path: str) -> npt.NDArray[Any]:
    """Read the first image of an MRC file; the number of images in its header means nothing.

    Raises
    ------
    FormatError
        It is no MRC file with an image.
    """
    head = files.read_start(path, 1024)
    words = np.frombuffer(head.ljust(1024, b"\0"), "<i4")
    dtype = {0: "<i1", 1: "<i2", 2: "<f4", 6: "<u2"}.get(int(words[3]))
    columns, rows, extended = int(words[0]), int(words[1]), int(words[23])
    if dtype is None or not (0 < columns <= _MAX_SIDE and 0 < rows <= _MAX_SIDE) or extended < 0:
        raise FormatError(path, "is no MRC file that we can read.")
    file = DataFile.of(path)
    nbytes = rows * columns * np.dtype(dtype).itemsize
    if 1024 + extended + nbytes > file.size:
        raise Truncated(path, f"ends before its image of {rows} x {columns} pixels does.")
    raw = bytes(backends.read(file, 1024 + extended, nbytes, "buffered"))
    return np.frombuffer(raw, dtype).reshape(rows, columns).astype(np.float32)


def _usable_reference(
    path: str | None, shape: tuple[int, ...], problems: _Problems
) -> npt.NDArray[Any] | None:
    """Read a dark or gain image that fits the frames; anything else is a problem."""
    if path is None:
        return None
    name = os.path.basename(path)
    try:
        image = _reference(path)
    except FormatError as error:
        problems.warn(f"{name} {error.problem} It is not applied.")
        return None
    if image.shape != shape:
        problems.warn(
            f"{name} has {image.shape} pixels, the frames {shape}: it is not applied.",
        )
        return None
    return image


def _nav_hint(
    path: str, stems: tuple[str, ...], count: int, problems: _Problems
) -> tuple[list[ScanHint], str | None]:
    """Take the scan shape from a parameter file beside the recording."""
    for suffix in _SIDE_PARAMETERS:
        side = _beside(path, stems, suffix)
        if side is None:
            continue
        name = os.path.basename(side)
        try:
            shape = side_parameters(side).get("nav_shape")
        except FormatError as error:
            problems.info(f"{name} {error.problem} It is ignored.")
            continue
        if shape is None:
            continue
        entries = shape if isinstance(shape, (list, tuple)) else [shape]
        sizes = tuple(n for n in entries if type(n) is int and 0 < n < 1 << 40)
        if len(sizes) != len(entries) or not sizes:
            problems.warn(f"{name}: nav_shape = {shape!r} is no shape, ignored.")
            continue
        confidence = 0.95 if math.prod(sizes) == count else 0.85
        return [ScanHint("header", sizes, confidence, f"nav_shape in {name}")], side
    return [], None


def _compare_sizes(tree: Mapping[str, Any], shape: tuple[int, ...], problems: _Problems) -> None:
    """Tell if the XML describes frames of another size."""
    rows, columns = _whole(tree, "ImageSizeY"), _whole(tree, "ImageSizeX")
    if not rows or not columns:
        return
    binning = (_whole(tree, "ImageBinning") or 1) * (_whole(tree, "SWBinning") or 1)
    sizes = [(rows, columns), (rows // binning, columns // binning)]
    if shape not in sizes and shape[::-1] not in sizes:
        problems.warn(
            f"the XML describes frames of {rows} x {columns} pixels, these have "
            f"{shape[0]} x {shape[1]}.",
            "Check whether it belongs to this recording.",
        )
