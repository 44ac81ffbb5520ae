# SPDX-License-Identifier: GPL-3.0-or-later
"""Blockfiles as Signal2D are saved in."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, warn
from rsciio_tem.formats.blo.header import (
    _BIT_DEPTH,
    HEADER,
    ID,
    MAGIC_8,
    MAGIC_16,
    MARK,
    RECORD,
    VBF_OFFSET,
    Endianness,
)
from rsciio_tem.writing import signal_frames

__all__ = ["file_writer"]

# ---------------------------------------------------------------- writer

Scaling = Literal["dtype", "minmax", "crop"] | tuple[float, float] | None


def _limits(
    frames: signal_frames.SignalFrames, scaling: Scaling, dtype: np.dtype[Any]
) -> tuple[float, float] | None:
    """Return the values that become the least and the greatest stored one."""
    if scaling is None:
        return None
    if isinstance(scaling, str):
        if scaling == "crop":
            return 0, np.iinfo(dtype).max
        if scaling == "dtype":
            if frames.dtype.kind not in "iu":
                raise ValueError(
                    f"intensity_scaling='dtype' is for whole numbers, not {frames.dtype}"
                )
            info = np.iinfo(frames.dtype)
            return info.min, info.max
        if scaling == "minmax":
            low, high = math.inf, -math.inf
            for _, block in frames.slabs():
                low, high = min(low, block.min()), max(high, block.max())
            return low, high
        raise ValueError(
            f"intensity_scaling={scaling!r} is none of dtype, minmax, crop, (low, high)"
        )
    low, high = scaling
    return low, high


def _scaled(
    values: npt.NDArray[Any], limits: tuple[float, float], dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    """Map `limits` to the range of `dtype`, cutting off what lies beyond; fractions are dropped."""
    low, high = limits
    top = np.iinfo(dtype).max
    if low == high:
        result: npt.NDArray[Any] = np.clip(np.clip(values, low, high), 0, top).astype(dtype)
        return result
    clipped = np.clip(values, low, high).astype(np.float64)
    result = ((clipped - low) / (float(high) - float(low)) * top).astype(dtype)
    return result


def _exact(values: npt.NDArray[Any], dtype: np.dtype[Any], path: str) -> npt.NDArray[Any]:
    """Cast; what does not fit is an error, never a wrapped number."""
    if values.dtype == dtype:
        return values
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= np.iinfo(dtype).max):
        raise FormatError(
            path,
            f"pixel values from {low} to {high} do not fit into {dtype}.",
            "Pass intensity_scaling=, for example 'minmax' or (low, high)"
            + (", or dtype='uint16'." if dtype.itemsize == 1 else "."),
        )
    cast = values.astype(dtype)
    if values.dtype.kind == "f" and (cast != values).any():
        raise FormatError(
            path,
            "pixel values have fractions, which blockfiles cannot hold.",
            "Round the signal, or pass intensity_scaling=.",
        )
    return cast


def _steps(axes: Sequence[Mapping[str, Any]], unit: str, path: str) -> list[float]:
    """Return the scales of axes in `unit`; as they are, with a warning, if that is impossible."""
    steps = []
    for axis in axes:
        scale = float(axis.get("scale", 1.0))
        value = signal_frames.converted(scale, axis.get("units"), unit)
        if value is None:
            warn(
                path,
                f"blockfiles hold scales in {unit}; {scale:g} {axis.get('units') or ''} of axis "
                f"{axis.get('name')!r} cannot be converted and is stored as it is.",
            )
        steps.append(scale if value is None else value)
    return steps


def _header_record(
    frames: signal_frames.SignalFrames,
    nav_steps: Sequence[float],
    sig_steps: Sequence[float],
    dtype: np.dtype[Any],
    path: str,
) -> tuple[npt.NDArray[np.void], bytes]:
    """Return the header for a signal, and the note."""
    header: npt.NDArray[np.void] = np.zeros(1, HEADER)
    header["UNKNOWN1"] = 131141
    header["Data_offset_1"] = VBF_OFFSET
    tem = "Acquisition_instrument.TEM."
    begin = signal_frames.start_ns(frames.metadata, path)
    header["Acquisition_time"] = 25570.0 if begin is None else 25569.0 + begin / 86400e9
    header["Beam_energy"] = min(max(0, round(frames.number(tem + "beam_energy") * 1e3)), 2**32 - 1)
    metres = frames.find(tem + "camera_length_units") == "m"
    length = frames.number(tem + "camera_length") * (1e4 if metres else 10)
    header["Camera_length"] = min(max(0, round(length)), 2**32 - 1)
    stored = frames.original_metadata.get("blockfile_header")
    note = ""
    if isinstance(stored, Mapping):
        for name in HEADER.names or ():
            if name in stored:
                with contextlib.suppress(TypeError, ValueError, OverflowError):
                    header[name] = stored[name]
        note = str(stored.get("Note") or "")
    header["ID"] = ID
    header["MAGIC"] = MAGIC_8 if dtype.itemsize == 1 else MAGIC_16
    begin_vbf = int(header["Data_offset_1"][0])
    if not HEADER.itemsize <= begin_vbf <= 1 << 18:
        header["Data_offset_1"] = begin_vbf = VBF_OFFSET
    shape = frames.nav_shape
    down = len(shape) == 1 and frames.nav_axes[0].get("name") == "y"  # a column
    ny, nx = shape if len(shape) == 2 else (shape[0], 1) if down else (1, *shape, 1)[:2]
    step = nav_steps[0] if nav_steps else 1.0
    sy, sx = (step, nav_steps[1]) if len(shape) == 2 else (step, step)
    if max(nx, ny, *frames.frame_shape) > 0xFFFF:
        raise ValueError(f"a scan of {shape} with frames of {frames.frame_shape} is too large")
    header["NX"], header["NY"], header["SX"], header["SY"] = nx, ny, sx, sy
    header["DP_SZ"] = frames.frame_shape[0]
    density = 100 / sig_steps[1] if sig_steps[1] > 0 else 0.0
    header["SDP"] = number = min(round(density), 0xFFFF)
    if abs(number - density) > 0.01 * density:
        warn(
            path, f"blockfiles hold whole numbers: {density:g} pixels per m is stored as {number}."
        )
    end = begin_vbf + nx * ny
    header["Data_offset_2"] = end + end % 16  # the padding of RosettaSciIO, which its tests expect
    return header, _note(note, dtype, begin_vbf - HEADER.itemsize)


def _note(note: str, dtype: np.dtype[Any], room: int) -> bytes:
    """Return the note, with the line that tells the bit depth, cut to the room there is."""
    text = note.encode("latin-1", "replace")
    line = b"Blo Bit Depth: %d bits" % (dtype.itemsize * 8)
    if _BIT_DEPTH.search(text):
        text = _BIT_DEPTH.sub(line, text)
    elif dtype.itemsize > 1:
        text = line + (b"\r\n" + text if text else b"")
    return text[:room]


def _image(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Fit an image of the scan into 8 bits, as it is if it fits."""
    values = np.nan_to_num(np.asarray(values, np.float64))
    low, high = values.min(), values.max()
    if low < 0 or high > 255:
        values = (values - low) / (high - low) * 255 if high > low else np.zeros_like(values)
    return values.astype(np.uint8)


def _given_image(
    navigator: Any, frames: signal_frames.SignalFrames
) -> npt.NDArray[np.uint8] | Literal["mean"]:
    """Return the image of the scan to store, or that it is the mean of each pattern."""
    if navigator is None:
        return np.zeros(frames.nav_shape, np.uint8)
    if isinstance(navigator, str):
        if navigator != "navigator":
            raise ValueError(f"navigator={navigator!r} is neither 'navigator', None nor an array")
        stored = frames.find("_HyperSpy._sig_navigator")
        data = stored.get("data") if isinstance(stored, Mapping) else None
        if data is None or tuple(data.shape) != frames.nav_shape:
            return "mean"
        return _image(np.asarray(data))
    if not hasattr(navigator, "shape"):
        raise ValueError(f"navigator must be an array, not {type(navigator).__name__}")
    if tuple(navigator.shape) != frames.nav_shape:
        raise ValueError(f"navigator has shape {navigator.shape}, the scan {frames.nav_shape}")
    return _image(np.asarray(navigator))


def _stored_type(
    frames: signal_frames.SignalFrames, scaling: Scaling, dtype: Any, path: str
) -> np.dtype[Any]:
    """Choose 8 or 16 bits."""
    if dtype is None:
        dtype = "u2" if scaling is None and frames.dtype in ("u2", ">u2") else "u1"
    chosen: np.dtype[Any] = np.dtype(dtype).newbyteorder("=")
    if chosen not in (np.dtype("u1"), np.dtype("u2")):
        raise ValueError(f"blockfiles hold 8 or 16 bit pixels, not {chosen}")
    if chosen.itemsize == 2:
        warn(
            path,
            "16-bit blockfiles cannot be read by RosettaSciIO 0.15 and older software; "
            "dtype='uint8' or intensity_scaling= makes an 8-bit one.",
        )
    return chosen


def file_writer(
    filename: str | os.PathLike[str],
    signal: Mapping[str, Any],
    intensity_scaling: Scaling = None,
    navigator: Any = "navigator",
    show_progressbar: bool = True,
    endianness: Endianness = "<",
    *,
    dtype: Any = None,
    overwrite: bool = False,
) -> None:
    """Write a signal as a blockfile.

    Lazy data are written piece by piece. The file appears under its name when it is complete.

    Parameters
    ----------
    filename : str or path
        The file.
    signal : dict
        As RosettaSciIO's writers receive it; patterns are square, and there are up to two scan
        axes.
    intensity_scaling : {None, "dtype", "minmax", "crop"} or (low, high)
        What is mapped to the range of stored values: the range of the signal's type, of its
        values, of the stored type, or the values given. None stores values as they are; one that
        does not fit is an error.
    navigator : {"navigator", None} or array
        The image of the scan: that of the signal (or else the mean of each pattern), an empty
        one, or the one given.
    show_progressbar : bool
        Show progress while lazy data are computed.
    endianness : {"<", ">"}
        Byte order.
    dtype : {None, "uint8", "uint16"}
        Stored type. By default that of the signal, if it is one of these, and otherwise uint8.
    overwrite : bool
        Replace a file of this name. The recording that the signal was read from is never replaced.

    Raises
    ------
    ValueError
        The signal cannot be stored in this format.
    FileExistsError
        There is such a file.
    """
    name = os.fspath(filename)
    if endianness not in ("<", ">"):
        raise ValueError(f"endianness={endianness!r} is neither '<' nor '>'")
    axes = list(signal["axes"])
    sig_steps = _steps([a for a in axes if not a.get("navigate")], "cm", name)
    nav_steps = _steps([a for a in axes if a.get("navigate")], "nm", name)
    frames = signal_frames.SignalFrames.of(signal, "blockfile")
    if len(frames.nav_shape) > 2:
        raise ValueError(f"blockfiles hold up to two scan axes, not {len(frames.nav_shape)}")
    if frames.frame_shape[0] != frames.frame_shape[1]:
        raise ValueError(f"blockfiles hold square patterns, not {frames.frame_shape}")
    image = _given_image(navigator, frames)
    stored = _stored_type(frames, intensity_scaling, dtype, name)
    limits = _limits(frames, intensity_scaling, stored)
    header, note = _header_record(frames, nav_steps, sig_steps, stored, name)
    record = np.dtype(
        [
            *((field, RECORD[field]) for field in RECORD.names or ()),
            ("pixels", stored, frames.frame_shape),
        ]
    ).newbyteorder(endianness)
    begin, start = int(header["Data_offset_1"][0]), int(header["Data_offset_2"][0])
    means = np.zeros(len(frames))
    size = start + len(frames) * record.itemsize
    with signal_frames.creating({name: size}, frames, overwrite=overwrite) as (file,):
        file.write(header.astype(HEADER.newbyteorder(endianness)).tobytes())
        file.write(note)
        for index, block in frames.slabs(show_progressbar):
            records = np.empty(len(index), record)
            records["mark"], records["id"] = MARK, index
            fitted = (
                _exact(block, stored, name) if limits is None else _scaled(block, limits, stored)
            )
            records["pixels"] = fitted
            if isinstance(image, str):
                means[index] = fitted.mean(axis=(1, 2))
            for a, b in signal_frames.seek_runs(index):
                file.seek(start + int(index[a]) * record.itemsize)
                file.write(records[a:b].tobytes())
        file.seek(begin)
        file.write((_image(means) if isinstance(image, str) else image).tobytes())
