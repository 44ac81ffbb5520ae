# SPDX-License-Identifier: GPL-3.0-or-later
"""TVIPS series as Signal2D are saved in."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, warn
from rsciio_tem.formats.tvips.files import series
from rsciio_tem.formats.tvips.header import FRAME, FRAME_V1, HEADER, LARGEST_SIDE, Ints
from rsciio_tem.storage.files import listing
from rsciio_tem.writing.signal_frames import (
    SignalFrames,
    converted,
    even_axes,
    remedy_for,
    start_ns,
)
from rsciio_tem.writing.stream import write_signal
from rsciio_tem.writing.target import FlatFile, Target

__all__ = ["file_writer", "target"]

#: Bytes of the frame headers that are written: as many as TVIPS writes; LiberTEM expects at least
#: 108.
WRITTEN = 128


def _mode(frames: SignalFrames) -> int | None:
    """Tell images (1) from diffraction (2) by the units, else by the type of the signal."""
    units = frames.sig_axes[0].get("units")
    if converted(1.0, units, "nm") is not None:
        return 1
    if converted(1.0, units, "1/nm") is not None:
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
    frames: SignalFrames, version: int, before: int, mode: int | None, path: str
) -> npt.NDArray[np.void]:
    """Return the series header for a signal."""
    unit = {1: "nm", 2: "1/nm"}.get(_mode(frames) or 0, "")
    rows, columns = even_axes(frames.sig_axes, path, "a TVIPS file")

    def calibrated(value: Any) -> float:
        number = float(value) if value is not None else 0.0
        result = converted(number, columns.get("units"), unit) if unit else None
        return number if result is None else result

    if not unit and (columns.get("units") or columns.get("scale", 1) != 1):
        warn(
            path, f"units {columns.get('units')!r} are not a length; the scale is stored as it is."
        )
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


def _frames_per_file(count: int, stride: int, limit: int | None, path: str) -> int:
    if limit is None:
        return count
    least = HEADER.itemsize + stride
    if limit < least:
        warn(path, f"a file takes at least {least} bytes, more than max_file_size={limit}.")
    return max(1, (limit - HEADER.itemsize) // stride)


def _names(path: str, number: int) -> tuple[str, ...]:
    """Name the files of a series, the first one last."""
    stem, suffix = os.path.splitext(os.path.basename(path))
    stem = re.sub(r"_000$", "", stem)
    return tuple(f"{stem}_{i:03d}{suffix}" for i in (*range(1, number), 0))


def _frame_fields(frames: SignalFrames, mode: int, path: str) -> dict[str, Any]:
    """Return what all frame headers share, and the time of the first and of a step."""
    tem = "Acquisition_instrument.TEM."
    begin = start_ns(frames.metadata, path)
    step = None
    if frames.nav_axes:
        fast = frames.nav_axes[-1]
        step = converted(float(fast.get("scale", 1.0)), fast.get("units"), "ms")
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


class _File(FlatFile):
    """A file of a series.

    Parameters
    ----------
    name, header, stored, count
        As in `FlatFile`.
    fields : dict
        What its frame headers tell.
    first : int
        Number of its first frame in the series.
    """

    def __init__(
        self,
        name: str,
        header: bytes,
        stored: np.dtype[Any],
        count: int,
        fields: Mapping[str, Any],
        first: int,
    ) -> None:
        super().__init__(name, header, stored, count)
        self.fields, self.first = fields, first

    def records(self, first: int, frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
        records = np.zeros(len(frames), self.stored)
        headers = _frame_headers(self.fields, self.first + first + np.arange(len(frames)))
        raw = headers.view(np.uint8).reshape(len(frames), -1)
        size = min(raw.shape[1], records["header"].shape[1])
        records["header"][:, :size] = raw[:, :size]
        records["pixels"] = frames
        return records


class _Series(Target):
    """Frames one behind the other in the files of a series, so many in each."""

    def __init__(self, files: Sequence[_File], per_file: int) -> None:
        self.files, self.per_file = files, per_file
        self.names = tuple(file.names[0] for file in (*files[1:], files[0]))
        self.nbytes = sum(file.nbytes for file in files)

    def leftovers(self, folder: str) -> list[str]:
        """List the last files of a longer series; refuse what else would continue this one."""
        first = os.path.join(folder, self.names[-1])
        earlier: list[str] = []
        if os.path.isfile(first):
            with contextlib.suppress(FormatError):  # it is not a series
                earlier = [file.path for file in series(first)[0]]
        ours = {name.lower() for name in self.names}
        names = [os.path.basename(p) for p in earlier if os.path.dirname(p) == folder]
        names = [name for name in names if name.lower() not in ours]
        stem, suffix = os.path.splitext(self.names[-1])
        follower = f"{stem[:-3]}{len(self.files):03d}{suffix}".lower()
        for entry in listing(folder):
            if entry.lower() == follower and entry not in names:
                raise FileExistsError(
                    f"{os.path.join(folder, entry)} exists and would become part of the series "
                    "that is to be written; remove it or choose another name"
                )
        return names

    def create(self, folder: str) -> None:
        for file in self.files:
            file.create(folder)

    def _parts(self, first: int, last: int) -> Iterator[tuple[_File, int, int]]:
        """Yield the files that frames are in, with the range of frames in each."""
        while first < last:
            file = self.files[first // self.per_file]
            stop = min(last, file.first + self.per_file)
            yield file, first, stop
            first = stop

    def put(self, folder: str, first: int, frames: npt.NDArray[Any]) -> None:
        for file, start, stop in self._parts(first, first + len(frames)):
            file.put(folder, start - file.first, frames[start - first : stop - first])

    def read(self, folder: str, first: int, count: int) -> npt.NDArray[Any]:
        return np.concatenate(
            [
                file.read(folder, start - file.first, stop - start)
                for file, start, stop in self._parts(first, first + count)
            ]
        )

    def expected(self, frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return frames.astype(self.files[0].stored["pixels"].base)


def target(
    frames: SignalFrames,
    path: str,
    *,
    max_file_size: int | None = None,
    version: int = 2,
    frame_header_extra_bytes: int = 0,
    mode: int | None = None,
) -> Target:
    """Return what `rsciio_tem.convert` streams frames into; parameters as in `file_writer`."""
    if version not in (1, 2):
        raise ValueError(f"version={version!r} is neither 1 nor 2")
    if mode not in (None, 1, 2):
        raise ValueError(f"mode={mode!r} is neither 1 (images) nor 2 (diffraction)")
    dtype = np.dtype("u1") if frames.dtype == bool else frames.dtype
    if dtype.kind != "u":
        remedy = "change the type of the signal"
        if dtype.kind == "i":
            remedy = remedy_for(frames, ("uint8", "uint16", "uint32"))
        raise ValueError(f"TVIPS files hold unsigned whole numbers, not {dtype}; {remedy}")
    if max(frames.frame_shape) >= LARGEST_SIDE:
        raise ValueError(f"frames of {frames.frame_shape} pixels are too large for this format")
    extra = int(frame_header_extra_bytes)
    if extra < 0 or (version == 1 and extra):
        raise ValueError(f"frame_header_extra_bytes={extra} for version {version}")
    if dtype.itemsize > 2:
        warn(path, f"{dtype.itemsize * 8} bits per pixel are known to RosettaSciIO only.")
    before = WRITTEN + extra if version == 2 else FRAME_V1.itemsize
    mode = mode or _mode(frames) or 2
    header = _series_record(frames, version, before, mode, path)
    record = np.dtype(
        [("header", "u1", (before,)), ("pixels", dtype.newbyteorder("<"), frames.frame_shape)]
    )
    count = len(frames)
    per_file = _frames_per_file(count, record.itemsize, max_file_size, path)
    names = _names(path, -(-count // per_file))
    fields = _frame_fields(frames, mode, path)
    files = [
        _File(
            name,
            b"" if first else header.tobytes(),
            record,
            min(per_file, count - first),
            fields,
            first,
        )
        for name, first in zip((names[-1], *names), range(0, count, per_file), strict=False)
    ]
    return _Series(files, per_file)


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
        Approximate maximum size of a file in bytes; by default there is one file.
    version : {2, 1}
        Version of the format. Version 1 has only times in its frame headers.
    frame_header_extra_bytes : int
        Bytes to pad the frame headers of version 2 with, beyond their 128.
    mode : {None, 1, 2}
        1 for images, 2 for diffraction; by default the units and type of the signal decide.
    show_progressbar : bool
        Show progress, on terminals and in notebooks.
    overwrite : bool
        Replace files of these names. The recording that the signal was read from is never replaced.

    Raises
    ------
    ValueError
        The signal cannot be stored in this format.
    FileExistsError
        The files exist, or further files that would become part of the series do.
    """
    write_signal(
        target,
        filename,
        signal,
        "TVIPS",
        overwrite,
        show_progressbar,
        max_file_size=max_file_size,
        version=version,
        frame_header_extra_bytes=frame_header_extra_bytes,
        mode=mode,
    )
