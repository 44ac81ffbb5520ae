# SPDX-License-Identifier: GPL-3.0-or-later
"""What the caller or a side file says of a raw file."""

from __future__ import annotations

import math
import os
import re
from typing import Any, NamedTuple

import numpy as np

from rsciio_tem.errors import FormatError
from rsciio_tem.frames.pixels import Packing, Pixels
from rsciio_tem.parsing.text import numpy_type
from rsciio_tem.parsing.trees import side_parameters
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import files

#: Packed pixel types that numpy has no name for, and how they are decoded.
PACKED: dict[str, tuple[Packing, str]] = {
    "uint1": ("bits-le", "u1"),
    "<uint1": ("bits-le", "u1"),
    ">uint1": ("bits-be", "u1"),
    "uint12": ("u12-le", "u2"),
    "<uint12": ("u12-le", "u2"),
    ">uint12": ("u12-be", "u2"),
}
SIDE_FILES = (".toml", ".yaml", ".yml")
#: Suffixes under which the data of a side file is looked for.
DATA_FILES = (".raw", ".bin", ".dat")
KEYS = {
    *("filetype", "file", "dtype", "sig_shape", "nav_shape", "axes"),
    *("offset", "frame_header", "frame_footer"),
}


class Described(NamedTuple):
    """A raw file with its side file, "" if there is none, and what that says."""

    path: str
    side: str
    params: dict[str, Any]


def described(path: str) -> Described:
    """Find the side file of a raw file, or the raw file of a side file."""
    if path.lower().endswith(SIDE_FILES):
        params = side_parameters(path)
        data: str | None
        if (name := params.get("file")) is not None:
            # only beside the side file: paths of another computer mean nothing here
            data = files.beside(path, _base(name))
        else:
            data = files.side_file(path, DATA_FILES)
        if data is None:
            raise FormatError(
                path,
                f"describes no file: none of {', '.join(DATA_FILES)} with its name lies beside it.",
                "Put it there, or name it in the side file: file = 'NAME'.",
            )
        return Described(files.existing(data), path, params)
    side = files.side_file(path, SIDE_FILES, shared=True) or ""
    params = side_parameters(side) if side else {}
    is_of_other = _base(params.get("file", "")).lower() not in ("", os.path.basename(path).lower())
    if is_of_other or str(params.get("filetype", "raw")).lower() != "raw":
        return Described(path, "", {})
    return Described(path, side, params)


def _base(name: Any) -> str:
    return re.split(r"[/\\]", str(name))[-1]


def suggestion(path: str) -> str:
    """Read sizes and types out of a file name, for the error text only."""
    name = os.path.basename(path)
    sizes = re.findall(r"(\d+)x(\d+)", name)
    keywords = []
    if kind := re.search(r"(u?int(?:8|16|32)|float(?:32|64))", name):
        keywords.append(f'dtype="{kind[1]}"')
    if sizes:
        keywords.append(f"sig_shape=({sizes[-1][0]}, {sizes[-1][1]})")
    if scan := re.search(r"scan_x(\d+)_y(\d+)", name):
        keywords.append(f"navigation_shape=({scan[1]}, {scan[2]})")
    elif len(sizes) > 1:
        keywords.append(f"nav_shape=({sizes[0][0]}, {sizes[0][1]})")
    return f" Its name suggests {', '.join(keywords)}." if keywords else ""


def shape_of(value: Any, name: str, path: str, unknown: bool = False) -> tuple[int, ...]:
    """Check a shape; -1 is a size that is `unknown`."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    sizes = value if isinstance(value, (list, tuple)) else (value,)
    least = -1 if unknown else 1
    if not sizes or any(
        isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < least or n == 0
        for n in sizes
    ):
        raise FormatError(path, f"{name} = {value!r} is not a shape.", "Give positive integers.")
    return tuple(int(n) for n in sizes)


def count_of(value: Any, name: str, path: str) -> int:
    """Check a number of bytes."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise FormatError(path, f"{name} = {value!r} is not a number of bytes.")
    return int(value)


def pixels_of(dtype: Any, shape: tuple[int, ...], path: str) -> Pixels:
    """Return how pixels of a type that is asked for are stored."""
    packing: Packing = "plain"
    if isinstance(dtype, str) and dtype in PACKED:
        packing, dtype = PACKED[dtype]
    stored = numpy_type(dtype)
    if stored is None:
        raise FormatError(
            path,
            f"dtype {dtype!r} is unknown.",
            f"Use numpy's names, such as '>u2', or {', '.join(PACKED)}.",
        )
    if stored.kind not in "buifc":
        raise FormatError(path, f"dtype {stored} is not a type of number.")
    try:
        return Pixels(shape, stored, packing)
    except ValueError as error:
        raise FormatError(path, f"{error}.", "Choose sig_shape so that it does.") from error


def scan_hints(nav: Any, count: int, path: str, side: str) -> tuple[ScanHint, ...]:
    """Return the scan shape that the side file tells of `count` frames."""
    if nav is None:
        return ()
    shape = shape_of(nav, "nav_shape", path, unknown=True)
    if -1 in shape:
        others = -math.prod(shape)
        if shape.count(-1) > 1 or others > count:
            raise FormatError(
                path, f"nav_shape = {nav!r} in {side} does not fit its {count} frames."
            )
        shape = tuple(count // others if n == -1 else n for n in shape)
    return (ScanHint("header", shape, 0.95, f"nav_shape in {os.path.basename(side)}"),)
