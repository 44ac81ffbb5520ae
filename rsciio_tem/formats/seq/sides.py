# SPDX-License-Identifier: GPL-3.0-or-later
"""Files beside a sequence: the XML, references, lists of lost frames, parameters."""

from __future__ import annotations

import math
import os
import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Problems, Truncated
from rsciio_tem.formats.seq.header import MAX_SIDE
from rsciio_tem.parsing.trees import side_parameters, xml_tree
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import backends, files
from rsciio_tem.storage.backends import DataFile


def beside(
    path: str, base: str, suffix: str, listed: dict[str, list[str]] | None = None
) -> str | None:
    """Find the file beside a sequence that is named ``x.seq`` or ``x`` with a suffix.

    Of a recording in halves, `base` is what both have in common. `listed` as in `in_folder`.
    """
    basename = os.path.basename(path)
    listed = {} if listed is None else listed

    def side_at(place: str) -> str | None:
        folder, name = os.path.split(place)
        name = name if base == basename else base
        names = (name + suffix, os.path.splitext(name)[0] + suffix)
        return next((side for n in names if (side := files.in_folder(folder, n, listed))), None)

    return files.first_found(path, side_at)


class Sides(NamedTuple):
    """Files beside a sequence, None where there is none."""

    xml: str | None
    dark: str | None
    gain: str | None
    missing: str | None

    @classmethod
    def of(cls, path: str, base: str) -> Sides:
        """Find those that begin with `base`."""
        suffixes = (".Config.Metadata.xml", ".dark.mrc", ".gain.mrc", ".Missing_Frame_Info.txt")
        listed: dict[str, list[str]] = {}
        return cls(*(beside(path, base, suffix, listed) for suffix in suffixes))

    def description(self, problems: Problems) -> dict[str, Any]:
        """Read the XML; what is wrong with it is a problem, not an error."""
        if self.xml is None:
            return {}
        try:
            return xml_tree(self.xml)
        except FormatError as error:
            problems.warn(f"{os.path.basename(self.xml)} {error.problem} It is ignored.")
            return {}

    def missing_numbers(self, problems: Problems) -> list[int]:
        """Read the list of frames that the camera lost."""
        if self.missing is None:
            return []
        text = files.read_start(self.missing, 1 << 16).decode("latin-1").partition(":")[2]
        numbers = [int(n) for n in re.findall(r"\d{1,18}", text)]
        if numbers:
            problems.warn(
                f"{os.path.basename(self.missing)} lists {len(numbers)} frames as missing "
                f"({first_of(numbers)}); those that follow are not moved to their places.",
            )
        return numbers


def first_of(numbers: list[int], most: int = 10) -> str:
    """List the first of some numbers."""
    return ", ".join(map(str, numbers[:most])) + (", …" if len(numbers) > most else "")


def read_reference(path: str) -> npt.NDArray[Any]:
    """Read the first image of an MRC file; the number of images in its header means nothing.

    Raises
    ------
    FormatError
        It is not an MRC file with an image.
    """
    head = files.read_start(path, 1024)
    words = np.frombuffer(head.ljust(1024, b"\0"), "<i4")
    dtype = {0: "<i1", 1: "<i2", 2: "<f4", 6: "<u2"}.get(int(words[3]))
    columns, rows, extended = int(words[0]), int(words[1]), int(words[23])
    if dtype is None or not (0 < columns <= MAX_SIDE and 0 < rows <= MAX_SIDE) or extended < 0:
        raise FormatError(path, "is not an MRC file that we can read.")
    file = DataFile.of(path)
    nbytes = rows * columns * np.dtype(dtype).itemsize
    if 1024 + extended + nbytes > file.size:
        raise Truncated(path, f"ends before its image of {rows} x {columns} pixels does.")
    raw = bytes(backends.read(file, 1024 + extended, nbytes, "buffered"))
    return np.frombuffer(raw, dtype).reshape(rows, columns).astype(np.float32)


def usable_reference(
    path: str | None, shape: tuple[int, ...], problems: Problems
) -> npt.NDArray[Any] | None:
    """Read a dark or gain image that fits the frames; anything else is a problem."""
    if path is None:
        return None
    name = os.path.basename(path)
    try:
        image = read_reference(path)
    except FormatError as error:
        problems.warn(f"{name} {error.problem} It is not applied.")
        return None
    if image.shape != shape:
        problems.warn(f"{name} has {image.shape} pixels, the frames {shape}: it is not applied.")
        return None
    return image


def scan_hint(
    path: str, base: str, count: int, problems: Problems
) -> tuple[tuple[ScanHint, ...], str | None]:
    """Take the scan shape from a parameter file; return that file too."""
    for suffix in (".toml", ".yaml", ".yml"):
        side = beside(path, base, suffix)
        shape = None if side is None else _nav_shape(side, problems)
        if shape is not None:
            confidence = 0.95 if math.prod(shape) == count else 0.85
            reason = f"nav_shape in {os.path.basename(side or '')}"
            return (ScanHint("header", shape, confidence, reason),), side
    return (), None


def _nav_shape(side: str, problems: Problems) -> tuple[int, ...] | None:
    """Return the shape that a parameter file has; what is wrong with it is a problem."""
    name = os.path.basename(side)
    try:
        shape = side_parameters(side).get("nav_shape")
    except FormatError as error:
        problems.info(f"{name} {error.problem} It is ignored.")
        return None
    if shape is None:
        return None
    entries = shape if isinstance(shape, (list, tuple)) else [shape]
    sizes = tuple(n for n in entries if type(n) is int and 0 < n < 1 << 40)
    if len(sizes) != len(entries) or not sizes:
        problems.warn(f"{name}: nav_shape = {shape!r} is not a shape and is ignored.")
        return None
    return sizes
