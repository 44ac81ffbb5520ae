# SPDX-License-Identifier: GPL-3.0-or-later
"""The functions of `rsciio.quantumdetector`, with the same names and results."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Problems
from rsciio_tem.formats.mib.hdr import is_hdr, mib_of
from rsciio_tem.formats.mib.layout import Layout, describe, describe_file
from rsciio_tem.formats.mib.times import frame_times
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.mapping import map_frames
from rsciio_tem.scan.scan import ScanRequest
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

__all__ = ["MIBProperties", "load_mib_data", "parse_exposures", "parse_timestamps"]


def warn_distributed(distributed: bool | None) -> None:
    """Give RosettaSciIO's deprecation warning if the keyword is passed."""
    if distributed is not None:
        from rsciio.exceptions import VisibleDeprecationWarning

        warnings.warn(
            "`distributed` has no effect: every lazy signal can be computed on a cluster.",
            VisibleDeprecationWarning,
            stacklevel=3,
        )


class MIBProperties:
    """Properties of a Merlin recording, under the names that `rsciio.quantumdetector` uses.

    Call `parse_file` to fill them.
    """

    def __init__(self) -> None:
        self.path: str = ""
        self.buffer = True
        self.merlin_size: tuple[int, ...] = ()
        self.assembly_size: str | None = None
        self.raw: bool | None = None
        self.dynamic_range: str | None = None
        self.packed: bool | None = None
        self.dtype: Any = None
        self.head_size = 0
        self.offset = 0
        self.navigation_shape: tuple[int, ...] = ()
        self.xy = 1
        self.number_of_frames_in_file: int | None = None
        self.frame_number_in_file: int | None = None
        self.gap: bool | None = None
        self.quad_scale: int | None = None
        self.detector_geometry: str = ""
        self.frame_double: bool | None = None
        self.roi_rows: int | None = None
        self.exposure: float | None = None
        self.timestamp: str | None = None
        self.file_size = 0

    def parse_file(self, path: str | os.PathLike[str] | bytes) -> None:
        """Fill the properties from a file, or from its content as bytes."""
        layout, name = _describe_any(path)
        vars(self).update(properties_of(layout, name, layout.count))

    def __repr__(self) -> str:
        return "\n".join(
            (
                f"\nPath: {self.path}" if not self.buffer else "\nPath: (in memory)",
                f"Chip configuration is {self.assembly_size}",
                f"Detector geometry: {self.detector_geometry}",
                f"Data size {self.merlin_size}",
                f"Data is {'raw' if self.raw else 'processed'}",
                f"Data type: {self.dtype}",
                f"Dynamic range: {self.dynamic_range}",
                f"Header size: {self.head_size} bytes",
                f"Number of frames in the file/buffer: {self.frame_number_in_file}",
                f"Number of frames to be read: {self.xy}",
                f"exposure: {self.exposure}",
                f"timestamp: {self.timestamp}",
            )
        )


def properties_of(layout: Layout, path: str, count: int) -> dict[str, Any]:
    """Return the properties of a recording of `count` frames; no path for one in memory."""
    header, pixels = layout.header, layout.pixels
    depth = header.depth or {1: 6, 2: 12, 4: 24}.get(pixels.dtype.itemsize, 0)
    return {
        **vars(MIBProperties()),
        "path": path,
        "buffer": not path,
        "file_size": layout.size,
        "merlin_size": (pixels.shape[0], pixels.shape[1]),
        "assembly_size": {1: "single", 4: "quad"}.get(header.chips, f"{header.chips} chips"),
        "raw": header.raw,
        "packed": header.raw,
        "dtype": pixels.dtype.name,
        "dynamic_range": "1 or 6-bit" if depth in (1, 6) else f"{depth}-bit",
        "head_size": header.size,
        "offset": layout.start,
        "frame_number_in_file": count,
        "navigation_shape": (count,),
        "xy": count,
        "gap": header.layout.upper().endswith("G"),
        "detector_geometry": "" if header.layout == "1x1" else header.layout,
        "exposure": header.exposure_ns / 1e6 if header.exposure_ns >= 0 else None,
        "timestamp": header.utc or header.local_time or None,
    }


def _describe_any(path: str | os.PathLike[str] | bytes) -> tuple[Layout, str]:
    """Describe one file, or its content given as bytes; return the name of the file too."""
    if isinstance(path, (bytes, bytearray, memoryview)):
        content = bytes(path)
        layout = describe(lambda at, n: content[at : at + n], len(content), "<bytes>", Problems())
        return layout, ""
    name = files.existing(path)
    if is_hdr(name):
        name = mib_of(name)
    return describe_file(DataFile.of(name), Problems()), name


def complete(signal: dict[str, Any], print_info: bool) -> None:
    """Add to what `read` returns what only RosettaSciIO's reader has."""
    nav = tuple(axis["size"] for axis in signal["axes"] if axis["navigate"])
    original = signal["original_metadata"]
    shown = {**original["mib_properties"], "navigation_shape": nav, "xy": math.prod(nav)}
    original["mib_properties"] = shown
    signal["mapping"] = {}
    if print_info:
        properties = MIBProperties()
        vars(properties).update(shown)
        print(properties)  # noqa: T201 - asked for


def load_mib_data(
    path: str | os.PathLike[str] | bytes,
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool | None = None,
    mib_prop: MIBProperties | None = None,
    return_headers: bool = False,
    print_info: bool = False,
    return_mmap: bool = True,
) -> Any:
    """Load the frames of one .mib file as they are stored, not flipped.

    Parameters
    ----------
    path : str, path or bytes
        The file, or its content (not with `lazy`).
    lazy, chunks, first_frame, last_frame, navigation_shape
        As in `file_reader`.
    mmap_mode : {None, "r", "c"}
        Mode of the memory map; by default copy-on-write, read-only if `lazy`.
    distributed : bool, optional
        Has no effect, see `file_reader`.
    mib_prop : MIBProperties, optional
        Is filled with the properties of the file.
    return_headers : bool
        Also return the frame headers, as an array of bytes of the scan's shape.
    print_info : bool
        Print the properties.
    return_mmap : bool
        Return a memory map where the pixels are plain; RAW pixels are decoded. Otherwise scan
        axes of length 1 are left out, as RosettaSciIO does.

    Returns
    -------
    data : ndarray or dask.array.Array, shape (scan..., rows, columns)
        Big-endian where it is a memory map.
    headers : ndarray of bytes
        Only with `return_headers`.

    Raises
    ------
    ValueError
        Lazy loading from bytes, or headers without a memory map, is asked for.
    """
    warn_distributed(distributed)
    mmap_mode = mmap_mode or ("r" if lazy else "c")
    in_memory = isinstance(path, (bytes, bytearray, memoryview))
    if in_memory and lazy:
        raise ValueError("loading lazily from bytes is not possible")
    if return_headers and not return_mmap:
        raise ValueError("return_headers=True needs return_mmap=True")
    layout, name = _describe_any(path)
    properties = mib_prop if mib_prop is not None else MIBProperties()
    vars(properties).update(properties_of(layout, name, layout.count))
    if navigation_shape is not None and not isinstance(navigation_shape, tuple):
        raise TypeError("`navigation_shape` must be `None` or of tuple type.")
    request = ScanRequest(
        shape=navigation_shape[::-1] if navigation_shape else None,
        hyperspy_order=True,
        first_frame=first_frame,
        last_frame=last_frame,
    )
    nav_shape, index, _ = map_frames(layout.count, request, path=name or "<bytes>")
    properties.navigation_shape, properties.xy = nav_shape, math.prod(nav_shape)
    if print_info:
        print(properties)  # noqa: T201 - asked for
    pixels = replace(layout.pixels, flip_y=False)
    shape = (*nav_shape, *pixels.shape)

    if isinstance(path, (bytes, bytearray, memoryview)):
        whole = np.frombuffer(path, np.uint8)
    else:
        whole = np.memmap(name, np.uint8, mode="c" if mmap_mode == "c" else "r")
    assert isinstance(index, slice)
    n = math.prod(nav_shape)
    begin = layout.header_at(index.start)

    def column(offset: int, width: int) -> npt.NDArray[np.uint8]:
        return np.lib.stride_tricks.as_strided(
            whole[begin + offset :],
            (n, width),
            (layout.stride, 1),
            subok=True,
            writeable=mmap_mode == "c",
        )

    data: Any
    if lazy and not (return_mmap and pixels.plain):
        recording = Recording(
            format="mib",
            path=name,
            frames=replace(layout, pixels=pixels).frames([DataFile.of(name)]),
            signal_axes=(Axis(), Axis()),
        )
        (signal,) = read(recording, True, chunks, None, navigation_shape, first_frame, last_frame)
        data = signal["data"]
    else:
        raw = column(layout.header.size, pixels.nbytes)
        if pixels.plain:
            data = pixels.view(raw).reshape(shape)
            if not (return_mmap or in_memory):
                data = np.array(data)
        else:
            data = np.empty((n, *pixels.shape), pixels.dtype)
            pixels.decode(np.asarray(raw), data)
            data = data.reshape(shape)
    if not return_mmap:
        data = data.reshape(*(k for k in nav_shape if k != 1), *pixels.shape)
    if not return_headers:
        return data
    head = column(0, layout.header.size)
    return data, head.view(f"S{layout.header.size}")[:, 0].reshape(nav_shape)


def _header_bytes(headers: Any, max_index: int) -> npt.NDArray[np.uint8]:
    """Return headers, in whatever form, as an array (frames, bytes)."""
    flat = np.atleast_1d(np.asarray(headers)).reshape(-1)
    if not flat.size:
        return np.empty((0, 0), np.uint8)
    if max_index is not None and max_index >= 0:
        flat = flat[:max_index]
    if flat.dtype.kind != "S":
        raise TypeError(f"headers are bytes, not {flat.dtype}")
    flat = np.ascontiguousarray(flat)
    return flat.view(np.uint8).reshape(len(flat), flat.dtype.itemsize)


def parse_exposures(headers: Sequence[bytes] | bytes, max_index: int = 10000) -> list[float]:
    """Return the exposures in ms from frame headers.

    Parameters
    ----------
    headers : bytes or array of bytes, any shape
        As returned by `load_mib_data` with ``return_headers=True``.
    max_index : int
        Number of headers to look at; -1 for all.

    Returns
    -------
    list of float
        NaN where a header does not say.
    """
    exposure = frame_times(_header_bytes(headers, max_index)).exposure_ns
    return [e / 1e6 if e >= 0 else math.nan for e in exposure.tolist()]


def parse_timestamps(headers: Sequence[bytes] | bytes, max_index: int = 10000) -> list[str]:
    """Return the times of frames as ISO 8601 text with nanoseconds.

    Parameters
    ----------
    headers : bytes or array of bytes, any shape
        As returned by `load_mib_data` with ``return_headers=True``.
    max_index : int
        Number of headers to look at; -1 for all.

    Returns
    -------
    list of str
        Ends with Z where the header has UTC; empty where it has no time at all.
    """
    text = _header_bytes(headers, max_index)
    moments = frame_times(text).time_ns
    utc = "Z" if len(text) and b"MQ1A" in bytes(text[0]) else ""
    return [
        np.datetime_as_string(np.datetime64(t, "ns")) + utc if t >= 0 else ""
        for t in moments.tolist()
    ]
