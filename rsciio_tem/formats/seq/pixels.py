# SPDX-License-Identifier: GPL-3.0-or-later
"""How an image is stored: Norpix' image formats that are read, and why others are not."""

from __future__ import annotations

import numpy as np

from rsciio_tem.errors import Problems, Unsupported
from rsciio_tem.formats.seq.header import COLOUR, COMPRESSIONS, MONO, OTHERS
from rsciio_tem.frames.pixels import Pixels


def pixels_of(header: np.void, path: str, problems: Problems) -> Pixels:
    """Return how an image is stored."""
    kind, compression = int(header["image_format"]), int(header["compression"])
    if compression:
        name = COMPRESSIONS.get(compression, "an unknown method")
        raise Unsupported(
            path,
            f"is compressed ({name}, {compression}).",
            "Export it uncompressed with StreamPix.",
        )
    if kind in COLOUR:
        return _colours(header, path, problems)
    if kind in MONO:
        return _monochrome(header, path, problems)
    name = OTHERS.get(kind, "not in the vendor's list")
    raise Unsupported(
        path,
        f"has image format {kind} ({name}), which is not supported.",
        "Export it as uncompressed monochrome images with StreamPix.",
    )


def _shape(header: np.void) -> tuple[int, int]:
    return int(header["height"]), int(header["width"])


def _colours(header: np.void, path: str, problems: Problems) -> Pixels:
    kind, depth = int(header["image_format"]), int(header["bit_depth"])
    size, offsets = COLOUR[kind]
    if depth != 8 * size:
        raise Unsupported(path, f"holds colours (format {kind}) of {depth} bits per pixel.")
    problems.warn(
        f"colours (format {kind}) are read as the vendor's list describes them; no such "
        "file was available for comparison.",
    )
    dtype = np.dtype(
        {
            "names": ["R", "G", "B"],
            "formats": ["u1"] * 3,
            "offsets": list(offsets),
            "itemsize": size,
        }
    )
    return Pixels(_shape(header), dtype)


def _monochrome(header: np.void, path: str, problems: Problems) -> Pixels:
    kind, depth = int(header["image_format"]), int(header["bit_depth"])
    if depth not in (8, 16, 32):
        raise Unsupported(
            path, f"has monochrome pixels of {depth} bits; only 8, 16 and 32 are known."
        )
    big, uppermost = MONO[kind]
    shift = 0
    if uppermost and depth > 8:
        shift = _shift(depth, int(header["bit_depth_real"]), problems)
        what = f"the uppermost {depth - shift} bits" if shift else "all bits"
        problems.warn(
            f"pixels are read as {what} of {depth}, {'big' if big else 'little'}-endian (format "
            f"{kind})" + f" and divided by {1 << shift}" * bool(shift) + ", as the vendor's list "
            "describes them; no such file was available for comparison.",
        )
    return Pixels(_shape(header), np.dtype(f"{'>' if big else '<'}u{depth // 8}"), shift=shift)


def _shift(depth: int, used: int, problems: Problems) -> int:
    """Return how many of the low bits are not in use."""
    if 1 <= used <= depth:
        return depth - used
    problems.warn(
        f"pixels of {depth} bits should have {used} in use, which is impossible; "
        "values are returned as stored.",
    )
    return 0
