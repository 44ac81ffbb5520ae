# SPDX-License-Identifier: GPL-3.0-or-later
"""Blockfiles as Signal2D are saved in."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, warn
from rsciio_tem.formats.blo.header import (
    BIT_DEPTH,
    HEADER,
    ID,
    MAGIC_8,
    MAGIC_16,
    MARK,
    RECORD,
    VBF_OFFSET,
    Endianness,
)
from rsciio_tem.storage import machine
from rsciio_tem.storage.files import write_whole
from rsciio_tem.writing.signal_frames import (
    SignalFrames,
    axes_of,
    converted,
    even_axes,
    fitted,
    start_ns,
)
from rsciio_tem.writing.stream import blocks, write_signal
from rsciio_tem.writing.target import FlatFile, Payloads

__all__ = ["file_writer", "target"]

Scaling = Literal["dtype", "minmax", "crop"] | tuple[float, float] | None


def _limits(
    frames: SignalFrames, scaling: Scaling, dtype: np.dtype[Any]
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
            return _extremes(frames)
        raise ValueError(
            f"intensity_scaling={scaling!r} is none of dtype, minmax, crop, (low, high)"
        )
    low, high = scaling
    return low, high


def _extremes(frames: SignalFrames) -> tuple[float, float]:
    """Return the least and the greatest value of all frames."""

    def of_block(cut: tuple[int, int]) -> tuple[Any, Any]:
        block = frames.block(*cut)
        return block.min(), block.max()

    low, high = math.inf, -math.inf
    with machine.Threads(machine.threads()) as pool:
        for least, greatest in pool.map(of_block, blocks(frames)):
            low, high = min(low, least), max(high, greatest)
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
        value = converted(scale, axis.get("units"), unit)
        if value is None and "scale" in axis:
            units, name = axis.get("units") or "(no unit)", axis.get("name")
            named = f"axis {name!r}" if name else "an axis without a name"
            warn(
                path,
                f"blockfiles hold scales in {unit}; {scale:g} {units} of {named} "
                "cannot be converted and is stored as it is.",
            )
        steps.append(scale if value is None else value)
    return steps


class _Steps(NamedTuple):
    """Scales of the axes of the scan in nm, and of the patterns in cm."""

    nav: list[float]
    sig: list[float]

    @classmethod
    def of(cls, axes: Iterable[Mapping[str, Any]], path: str) -> _Steps:
        """Convert the scales of all axes, with a warning where that is impossible."""
        axes = even_axes([*axes], path, "a blockfile")
        sig = _steps([axis for axis in axes if not axis.get("navigate")], "cm", path)
        return cls(_steps([axis for axis in axes if axis.get("navigate")], "nm", path), sig)


def _header_record(
    frames: SignalFrames,
    steps: _Steps,
    dtype: np.dtype[Any],
    path: str,
) -> tuple[npt.NDArray[np.void], bytes]:
    """Return the header for a signal, and the note."""
    header: npt.NDArray[np.void] = np.zeros(1, HEADER)
    header["UNKNOWN1"] = 131141
    header["Data_offset_1"] = VBF_OFFSET
    tem = "Acquisition_instrument.TEM."
    begin = start_ns(frames.metadata, path)
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
    step = steps.nav[0] if steps.nav else 1.0
    sy, sx = (step, steps.nav[1]) if len(shape) == 2 else (step, step)
    if max(nx, ny, *frames.frame_shape) > 0xFFFF:
        raise ValueError(
            f"a scan of {shape} with frames of {frames.frame_shape} is too large: blockfiles hold "
            "up to 65535 along each axis; pass inav= or isig= for a part of it"
        )
    header["NX"], header["NY"], header["SX"], header["SY"] = nx, ny, sx, sy
    header["DP_SZ"] = frames.frame_shape[0]
    density = 100 / steps.sig[1] if steps.sig[1] > 0 else 0.0
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
    if BIT_DEPTH.search(text):
        text = BIT_DEPTH.sub(line, text)
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


def _scan_image(navigator: Any, frames: SignalFrames) -> npt.NDArray[np.uint8] | None:
    """Return the image of the scan to store, None if it is to be the mean of each pattern."""
    if navigator is None:
        return np.zeros(frames.nav_shape, np.uint8)
    if isinstance(navigator, str):
        if navigator != "navigator":
            raise ValueError(f"navigator={navigator!r} is neither 'navigator', None nor an array")
        stored = frames.find("_HyperSpy._sig_navigator")
        data = stored.get("data") if isinstance(stored, Mapping) else None
        if data is None or tuple(data.shape) != frames.nav_shape:
            return None
        return _image(np.asarray(data))
    if not hasattr(navigator, "shape"):
        raise ValueError(f"navigator must be an array, not {type(navigator).__name__}")
    if tuple(navigator.shape) != frames.nav_shape:
        raise ValueError(f"navigator has shape {navigator.shape}, the scan {frames.nav_shape}")
    return _image(np.asarray(navigator))


def _stored_type(frames: SignalFrames, scaling: Scaling, dtype: Any, path: str) -> np.dtype[Any]:
    """Choose 8 or 16 bits."""
    if dtype is None:
        dtype = "u2" if scaling is None and frames.dtype in ("u2", ">u2") else "u1"
    stored: np.dtype[Any] = np.dtype(dtype).newbyteorder("=")
    if stored not in (np.dtype("u1"), np.dtype("u2")):
        raise ValueError(f"blockfiles hold 8 or 16 bit pixels, not {stored}")
    if stored.itemsize == 2:
        warn(
            path,
            "16-bit blockfiles cannot be read by RosettaSciIO 0.15 and older software; "
            "dtype='uint8' or intensity_scaling= makes an 8-bit one.",
        )
    return stored


class _Blockfile(FlatFile):
    """A header, a note, the image of the scan, and a record for each pattern.

    Parameters
    ----------
    name, header, stored, count
        As in `FlatFile`; `header` ends with the image of the scan.
    fit : callable
        Turns the values of patterns into those stored.
    image : int or None
        Byte at which an image of the scan begins that is to be made of the patterns.
    nav_shape : tuple of int
        Scan shape.
    """

    def __init__(
        self,
        name: str,
        header: bytes,
        stored: np.dtype[Any],
        count: int,
        fit: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
        image: int | None,
        nav_shape: tuple[int, ...],
    ) -> None:
        super().__init__(name, header, stored, count)
        self.fit, self.image, self.nav_shape = fit, image, nav_shape

    def records(self, first: int, frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
        records = np.empty(len(frames), self.stored)
        records["mark"], records["id"] = MARK, first + np.arange(len(frames))
        records["pixels"] = fitted(
            lambda a, b: self.fit(frames[a:b]), first, len(frames), self.nav_shape
        )
        return records

    def put(self, folder: str, first: int, frames: npt.NDArray[Any]) -> bytes | None:
        records = self.records(first, frames)
        self.write(folder, first, records)
        return None if self.image is None else records["pixels"].mean(axis=(1, 2)).tobytes()

    def finish(self, folder: str, payloads: Payloads) -> None:
        if self.image is not None:
            means = np.concatenate([np.frombuffer(content) for _, _, content in payloads])
            with open(os.path.join(folder, self.names[0]), "rb+", buffering=0) as file:
                write_whole(file, self.image, _image(means).data)

    def expected(self, frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return self.fit(frames)


def target(
    frames: SignalFrames,
    path: str,
    *,
    intensity_scaling: Scaling = None,
    navigator: Any = "navigator",
    endianness: Endianness = "<",
    dtype: Any = None,
) -> FlatFile:
    """Return what `rsciio_tem.convert` streams frames into; parameters as in `file_writer`."""
    steps = _Steps.of((*frames.nav_axes, *frames.sig_axes), path)
    return _target(frames, path, intensity_scaling, navigator, endianness, dtype, steps)


def _target(
    frames: SignalFrames,
    path: str,
    intensity_scaling: Scaling,
    navigator: Any,
    endianness: Endianness,
    dtype: Any,
    steps: _Steps,
) -> FlatFile:
    if endianness not in ("<", ">"):
        raise ValueError(f"endianness={endianness!r} is neither '<' nor '>'")
    if len(frames.nav_shape) > 2:
        raise ValueError(
            f"blockfiles hold up to two scan axes, not {len(frames.nav_shape)}; .h5 and .zarr "
            "files hold them all"
        )
    if frames.frame_shape[0] != frames.frame_shape[1]:
        edge = min(frames.frame_shape)
        rows, columns = ((n - edge) // 2 for n in frames.frame_shape)
        raise ValueError(
            f"blockfiles hold square patterns, not {frames.frame_shape}: pass a square part of "
            f"them, such as isig='{columns}:{columns + edge},{rows}:{rows + edge}' (before binning)"
        )
    image = _scan_image(navigator, frames)
    stored = _stored_type(frames, intensity_scaling, dtype, path)
    limits = _limits(frames, intensity_scaling, stored)
    fields, note = _header_record(frames, steps, stored, path)
    start_image, start = int(fields["Data_offset_1"][0]), int(fields["Data_offset_2"][0])
    header = fields.astype(HEADER.newbyteorder(endianness)).tobytes() + note
    header = header.ljust(start_image, b"\0") + (b"" if image is None else image.tobytes())
    record = np.dtype(
        [
            *((field, RECORD[field]) for field in RECORD.names or ()),
            ("pixels", stored, frames.frame_shape),
        ]
    ).newbyteorder(endianness)
    return _Blockfile(
        os.path.basename(path),
        header.ljust(start, b"\0"),
        record,
        len(frames),
        partial(_exact, dtype=stored, path=path)
        if limits is None
        else partial(_scaled, limits=limits, dtype=stored),
        start_image if image is None else None,
        frames.nav_shape,
    )


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
        As RosettaSciIO's writers receive it; patterns must be square, with up to two scan axes.
    intensity_scaling : {None, "dtype", "minmax", "crop"} or (low, high)
        What is mapped to the range of stored values: the range of the signal's type, of its
        values, of the stored type, or the pair that you pass. None stores values as they are; one
        that does not fit is an error.
    navigator : {"navigator", None} or array
        The image of the scan: that of the signal (or otherwise the mean of each pattern), an empty
        one, or your array.
    show_progressbar : bool
        Show progress, on terminals and in notebooks.
    endianness : {"<", ">"}
        Byte order.
    dtype : {None, "uint8", "uint16"}
        Stored type. By default the signal's type, if it is one of these, otherwise uint8.
    overwrite : bool
        Replace a file of this name. The recording that the signal was read from is never replaced.

    Raises
    ------
    ValueError
        The signal cannot be stored in this format.
    FileExistsError
        The file exists.
    """
    # units come first: whoever saves something that is refused then knows of both
    steps = _Steps.of(axes_of(signal), os.fspath(filename))
    write_signal(
        partial(_target, steps=steps),
        filename,
        signal,
        "blockfile",
        overwrite,
        show_progressbar,
        intensity_scaling=intensity_scaling,
        navigator=navigator,
        endianness=endianness,
        dtype=dtype,
    )
