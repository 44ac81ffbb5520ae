# SPDX-License-Identifier: GPL-3.0-or-later
"""MRC files as Signal2D are saved in."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import warn
from rsciio_tem.formats.mrc.header import HEADER
from rsciio_tem.writing.signal_frames import SignalFrames, converted, even_axes, remedy_for
from rsciio_tem.writing.stream import write_signal
from rsciio_tem.writing.target import FlatFile, Payloads

__all__ = ["file_writer", "target"]

#: Stored type and MODE for each type of pixel that MRC files hold. Bytes above 127 have no place in
#: mode 0, which programs read as signed, as the standard says.
_STORED = {
    "int8": ("i1", 0),
    "uint8": ("u2", 6),
    "int16": ("i2", 1),
    "float32": ("f4", 2),
    "complex64": ("c8", 4),
    "uint16": ("u2", 6),
    "float16": ("f2", 12),
}


#: What is known of a block when it is written: least and greatest value, sum, sum of squares,
#: number of pixels.
_STATISTICS = struct.Struct("<ddddQ")


def _header(frames: SignalFrames, mode: int, path: str) -> npt.NDArray[np.void]:
    """Return the header for a signal."""
    header: npt.NDArray[np.void] = np.zeros(1, HEADER)
    shape = (*(1, 1), *frames.nav_shape)[-2:]
    rows, columns = frames.frame_shape
    if max(rows, columns) >= 1 << 24 or len(frames) >= 1 << 30:
        raise ValueError(f"{len(frames)} frames of {rows} x {columns} pixels are too many")
    stacked = len(frames.nav_shape) == 2
    header["NX"], header["NY"], header["NZ"] = columns, rows, len(frames)
    header["MX"], header["MY"], header["MZ"] = columns, rows, shape[1] if stacked else 1
    # a scan is stored as a stack of volumes, one for each line, so that its shape is kept
    header["ISPG"] = 401 if stacked else 0
    *slow, down, along = even_axes((*frames.nav_axes[-1:], *frames.sig_axes), path, "an MRC file")
    axes = [("X", columns, along), ("Y", rows, down)]
    if slow:
        axes.append(("Z", int(header["MZ"][0]), slow[0]))
    for letter, points, axis in axes:
        scale, units = float(axis.get("scale", 1.0)), axis.get("units")
        step = converted(scale, units, "nm")
        if step is not None and step > 0:
            header[f"{letter}len"] = step * points * 10
            origin = converted(float(axis.get("offset", 0.0)), units, "nm")
            header[f"{letter}ORIGIN"] = (origin or 0.0) * 10
        elif isinstance(units, str) and units not in ("", "<undefined>"):
            warn(
                path,
                f"MRC files hold scales in Å; {scale:g} {units} of axis {axis.get('name')!r} is "
                "not stored.",
            )
    header["ALPHA"] = header["BETA"] = header["GAMMA"] = 90
    header["MAPC"], header["MAPR"], header["MAPS"] = 1, 2, 3
    header["MODE"], header["NVERSION"] = mode, 20141
    header["AMIN"], header["AMAX"], header["AMEAN"], header["RMS"] = 0, -1, -2, -1  # unknown
    header["CMAP"] = b"MAP "
    header["STAMP"] = np.void(b"\x44\x44\0\0")
    header["NLABL"] = 1
    header["LABELS"][0, 0] = b"rsciio-tem"
    return header


class _Stack(FlatFile):
    """Images, behind a header that tells their statistics."""

    def __init__(
        self, name: str, header: npt.NDArray[np.void], stored: np.dtype[Any], count: int
    ) -> None:
        super().__init__(name, header.tobytes(), stored, count)
        self.fields = header

    def put(self, folder: str, first: int, frames: npt.NDArray[Any]) -> bytes | None:
        super().put(folder, first, frames)
        if frames.dtype.kind == "c":
            return None
        total = squares = 0.0
        flat = frames.reshape(-1)
        for begin in range(0, flat.size, 1 << 18):  # so that little is in memory eightfold
            pixels = flat[begin : begin + (1 << 18)].astype(np.float64)
            total += float(pixels.sum())
            squares += float(np.square(pixels, out=pixels).sum())
        return _STATISTICS.pack(frames.min(), frames.max(), total, squares, frames.size)

    def finish(self, folder: str, payloads: Payloads) -> None:
        low, high, total, squares, pixels = math.inf, -math.inf, 0.0, 0.0, 0
        for _, _, content in payloads:
            if content:
                least, greatest, *sums, size = _STATISTICS.unpack(content)
                low, high = min(low, least), max(high, greatest)
                total, squares, pixels = total + sums[0], squares + sums[1], pixels + size
        if not pixels or not math.isfinite(squares):
            return
        header, mean = self.fields.copy(), total / pixels
        header["AMIN"], header["AMAX"], header["AMEAN"] = low, high, mean
        header["RMS"] = math.sqrt(max(0.0, squares / pixels - mean**2))
        with open(os.path.join(folder, self.names[0]), "rb+") as file:
            file.write(header.tobytes())

    def expected(self, frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return frames.astype(self.stored.base)


def target(frames: SignalFrames, path: str) -> FlatFile:
    """Return what `rsciio_tem.convert` streams frames into."""
    if len(frames.nav_shape) > 2:
        raise ValueError(
            f"MRC files hold up to two scan axes, not {len(frames.nav_shape)}; .h5 and .zarr files "
            "hold them all"
        )
    if frames.dtype.name not in _STORED:
        raise ValueError(
            f"MRC files hold no {frames.dtype} pixels, {remedy_for(frames, [*_STORED])}"
        )
    kind, mode = _STORED[frames.dtype.name]
    stored = np.dtype((np.dtype(kind).newbyteorder("<"), frames.frame_shape))
    return _Stack(os.path.basename(path), _header(frames, mode, path), stored, len(frames))


def file_writer(
    filename: str | os.PathLike[str],
    signal: Mapping[str, Any],
    show_progressbar: bool = True,
    *,
    overwrite: bool = False,
) -> None:
    """Write a signal as an MRC file.

    Lazy data are written piece by piece. The file appears under its name when it is complete.

    Parameters
    ----------
    filename : str or path
        The file.
    signal : dict
        As RosettaSciIO's writers receive it: images of int8, uint8 (stored as uint16), int16,
        uint16, float16, float32 or complex64, with up to two scan axes.
    show_progressbar : bool
        Show progress, on terminals and in notebooks.
    overwrite : bool
        Replace a file of this name. The recording that the signal was read from is never replaced.

    Raises
    ------
    ValueError
        The signal cannot be stored in this format.
    FileExistsError
        The file exists.
    """
    write_signal(target, filename, signal, "MRC", overwrite, show_progressbar)
