# SPDX-License-Identifier: GPL-3.0-or-later
"""TVIPS series as Signal2D are saved in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import warn
from rsciio_tem.formats.tvips.header import _MAX_SIDE, _WRITTEN, FRAME, FRAME_V1, HEADER, Ints
from rsciio_tem.writing import signal_frames

__all__ = ["file_writer"]

# ---------------------------------------------------------------- writer


def _mode(frames: signal_frames.SignalFrames) -> int | None:
    """Tell images (1) from diffraction (2) by the units, else by the type of the signal."""
    units = frames.sig_axes[0].get("units")
    if signal_frames.converted(1.0, units, "nm") is not None:
        return 1
    if signal_frames.converted(1.0, units, "1/nm") is not None:
        return 2
    kind = str(frames.find("Signal.signal_type", ""))
    return 2 if "diffraction" in kind else None


def _stored_number(value: float, what: str, path: str) -> int:
    """Round to the whole number that a field can hold; warn if that changes the value."""
    number = min(max(round(value), 0), 0xFFFFFFFF)
    if abs(number - value) > 0.01 * abs(value):
        warn(path, f"TVIPS files hold whole numbers: {what} {value:g} is stored as {number}.")
    return number


def _series_record(
    frames: signal_frames.SignalFrames, version: int, before: int, mode: int | None, path: str
) -> npt.NDArray[np.void]:
    """Return the series header for a signal."""
    unit = {1: "nm", 2: "1/nm"}.get(_mode(frames) or 0, "")
    rows, columns = frames.sig_axes

    def calibrated(value: Any) -> float:
        number = float(value) if value is not None else 0.0
        result = signal_frames.converted(number, columns.get("units"), unit) if unit else None
        return number if result is None else result

    if not unit:
        warn(path, f"units {columns.get('units')!r} are no length; the scale is stored as it is.")
    header = np.zeros(1, HEADER)
    header["size"], header["version"] = HEADER.itemsize, version
    header["dimy"], header["dimx"] = frames.frame_shape
    header["bitsperpixel"] = frames.dtype.itemsize * 8
    header["binx"] = header["biny"] = 1
    header["frameheaderbytes"] = before if version == 2 else 0
    header["dummy"] = (b"TVIPS " * 34)[:204]
    header["pixelsize"] = _stored_number(calibrated(columns.get("scale", 1)), "pixel size", path)
    header["offsetx"] = _stored_number(calibrated(columns.get("offset", 0)), "offset x", path)
    header["offsety"] = _stored_number(calibrated(rows.get("offset", 0)), "offset y", path)
    tem = "Acquisition_instrument.TEM."
    header["ht"] = _stored_number(frames.number(tem + "beam_energy"), "beam energy", path)
    total = "camera_length" if mode == 2 else "magnification"
    header["magtotal"] = _stored_number(frames.number(tem + total), total, path)
    return header


def file_writer(
    filename: str | os.PathLike[str],
    signal: Mapping[str, Any],
    max_file_size: int | None = None,
    version: int = 2,
    frame_header_extra_bytes: int = 0,
    mode: int | None = None,
    show_progressbar: bool = True,
    *,
    overwrite: bool = False,
) -> None:
    """Write a signal as a TVIPS series.

    Lazy data are written piece by piece. The files appear under their names when all are complete.

    Parameters
    ----------
    filename : str or path
        ``NAME_000.tvips`` or ``NAME.tvips``; files are named NAME_000.tvips, NAME_001.tvips, ….
    signal : dict
        As RosettaSciIO's writers receive it.
    max_file_size : int, optional
        Approximate largest size of a file in bytes; by default there is one file.
    version : {2, 1}
        Of the format. Version 1 has only times in its frame headers.
    frame_header_extra_bytes : int
        Bytes to pad the frame headers of version 2 with, beyond their 128.
    mode : {None, 1, 2}
        1 for images, 2 for diffraction; by default what units and type of the signal say.
    show_progressbar : bool
        Show progress while lazy data are computed.
    overwrite : bool
        Replace files of these names. The recording that the signal was read from is never replaced.

    Raises
    ------
    ValueError
        The signal cannot be stored in this format.
    FileExistsError
        There are such files, or further files that would become part of the series.
    """
    name = os.fspath(filename)
    frames = signal_frames.SignalFrames.of(signal, "TVIPS")
    if version not in (1, 2):
        raise ValueError(f"version={version!r} is neither 1 nor 2")
    if mode not in (None, 1, 2):
        raise ValueError(f"mode={mode!r} is neither 1 (images) nor 2 (diffraction)")
    dtype = np.dtype("u1") if frames.dtype == bool else frames.dtype
    if dtype.kind != "u":
        raise ValueError(
            f"TVIPS files hold unsigned whole numbers, not {dtype}; change the type of the signal"
        )
    if max(frames.frame_shape) >= _MAX_SIDE:
        raise ValueError(f"frames of {frames.frame_shape} pixels are too large for this format")
    extra = int(frame_header_extra_bytes)
    if extra < 0 or (version == 1 and extra):
        raise ValueError(f"frame_header_extra_bytes={extra} for version {version}")
    if dtype.itemsize > 2:
        warn(name, f"{dtype.itemsize * 8} bits per pixel are known to RosettaSciIO only.")
    before = _WRITTEN + extra if version == 2 else FRAME_V1.itemsize
    mode = mode or _mode(frames) or 2
    header = _series_record(frames, version, before, mode, name)
    record = np.dtype(
        [("header", "u1", (before,)), ("pixels", dtype.newbyteorder("<"), frames.frame_shape)]
    )
    per_file = _frames_per_file(len(frames), record.itemsize, max_file_size, name)
    targets = _targets(name, len(frames), per_file, record.itemsize)
    fields = _frame_fields(frames, mode, name)

    with signal_frames.creating(targets, frames, overwrite=overwrite) as opened:
        opened[0].write(header.tobytes())
        for index, block in frames.slabs(show_progressbar):
            records = np.zeros(len(index), record)
            headers = _frame_headers(fields, index)
            size = min(before, FRAME.itemsize)
            records["header"][:, :size] = headers.view(np.uint8).reshape(len(index), -1)[:, :size]
            records["pixels"] = block
            number = index // per_file
            for a, b in signal_frames.seek_runs(index):
                while a < b:
                    file = int(number[a])
                    stop = min(b, a + (file + 1) * per_file - int(index[a]))
                    start = HEADER.itemsize if file == 0 else 0
                    opened[file].seek(start + (int(index[a]) % per_file) * record.itemsize)
                    opened[file].write(records[a:stop].tobytes())
                    a = stop


def _frames_per_file(count: int, stride: int, limit: int | None, path: str) -> int:
    if limit is None:
        return count
    least = HEADER.itemsize + stride
    if limit < least:
        warn(path, f"a file takes at least {least} bytes, more than max_file_size={limit}.")
    return max(1, (limit - HEADER.itemsize) // stride)


def _targets(name: str, count: int, per_file: int, stride: int) -> dict[str, int]:
    """Name the files of a series, with their sizes; refuse to leave old ones behind it."""
    stem, suffix = os.path.splitext(name)
    stem = re.sub(r"_000$", "", stem)
    paths = [f"{stem}_{i:03d}{suffix}" for i in range(-(-count // per_file))]
    folder = os.path.dirname(name) or "."
    follower = f"{os.path.basename(stem)}_{len(paths):03d}{suffix}".lower()
    for entry in os.listdir(folder) if os.path.isdir(folder) else ():
        if entry.lower() == follower:
            raise FileExistsError(
                f"{os.path.join(folder, entry)} exists and would become part of the series that "
                "is to be written; remove it or choose another name"
            )
    sizes = [min(per_file, count - i * per_file) * stride for i in range(len(paths))]
    sizes[0] += HEADER.itemsize
    return dict(zip(paths, sizes, strict=True))


def _frame_fields(frames: signal_frames.SignalFrames, mode: int, path: str) -> dict[str, Any]:
    """Return what all frame headers share, and the time of the first and of a step."""
    tem = "Acquisition_instrument.TEM."
    begin = signal_frames.start_ns(frames.metadata, path)
    step = None
    if frames.nav_axes:
        fast = frames.nav_axes[-1]
        step = signal_frames.converted(float(fast.get("scale", 1.0)), fast.get("units"), "ms")
    return {
        "begin_ms": max(0, begin // 1_000_000) if begin is not None else 0,
        "step_ms": step if step is not None and step > 0 else 1.0,
        "nav_shape": frames.nav_shape,
        "mode": mode,
        "faraday": frames.number(tem + "beam_current"),
        "stage_alpha": frames.number(tem + "Stage.tilt_alpha"),
        "stage_beta": frames.number(tem + "Stage.tilt_beta"),
        **{f"stage_{a}": frames.number(f"{tem}Stage.{a}") for a in "xyz"},
    }


def _frame_headers(fields: Mapping[str, Any], index: Ints) -> npt.NDArray[np.void]:
    headers: npt.NDArray[np.void] = np.zeros(len(index), FRAME)
    for key, value in fields.items():
        if key in (FRAME.names or ()):
            headers[key] = value
    moments = fields["begin_ms"] + np.rint(index * fields["step_ms"]).astype(np.int64)
    headers["timestamp"], headers["ms"] = np.divmod(moments, 1000)
    headers["counter"] = index + 1
    headers["rotidx"] = index + 1
    if len(fields["nav_shape"]) > 1:
        headers["scan_y"], headers["scan_x"] = np.unravel_index(index, fields["nav_shape"])[-2:]
    return headers
