# SPDX-License-Identifier: GPL-3.0-or-later
"""Blockfiles (.blo) of NanoMegas ASTAR and DigiSTAR: scanning precession electron diffraction.

Sources: the layout that RosettaSciIO and LiberTEM agree on, and two recorded files; 16-bit files
from a published description. ``specifications/blo.ksy`` writes the layout down.

A header with a text note, an image of the scan (virtual bright field), and one record per scan
position: a mark, the number of the position, and a square diffraction pattern.
"""

from __future__ import annotations

import datetime
import math
import os
import warnings
from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np

from rsciio_tem.errors import Problem, Truncated
from rsciio_tem.formats.blo.header import HEADER, ID, RECORD, Endianness, _header, _itemsize
from rsciio_tem.formats.blo.records import CHECKS, _placed
from rsciio_tem.formats.blo.writer import file_writer, target
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.reading import navigator
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import backends, files
from rsciio_tem.storage.backends import DataFile

__all__ = ["CHECKS", "file_reader", "file_writer", "parse", "sniff", "target"]


def _shape(header: np.void) -> tuple[int, ...]:
    """Return the scan shape; axes of one position are left out, as in RosettaSciIO."""
    sizes = int(header["NY"]), int(header["NX"])
    return tuple(n for n in sizes if n > 1) if 0 not in sizes else ()


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a blockfile by its first bytes."""
    if head[: len(ID)] == ID:
        return 0.99, "begins with IMGBLO", {}
    return None


# ---------------------------------------------------------------- description


def parse(filename: str | os.PathLike[str], *, endianness: Endianness = "<") -> Recording:
    """Describe a blockfile; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    path = files.existing(filename)
    problems: list[Problem] = []
    header, endianness, note = _header(path, endianness, problems)
    file = DataFile.of(path)
    itemsize = _itemsize(header, note, file.size, problems)
    edge, start = int(header["DP_SZ"]), int(header["Data_offset_2"])
    pixels = Pixels((edge, edge), np.dtype(f"{endianness}u{itemsize}"))
    stride = RECORD.itemsize + pixels.nbytes
    count, rest = divmod(file.size - start, stride)
    if count < 1:
        raise Truncated(
            path,
            f"holds {rest} bytes of patterns, one takes {stride} ({edge} x {edge} pixels of "
            f"{itemsize * 8} bits).",
        )
    shape = _shape(header)
    positions = int(header["NX"]) * int(header["NY"])
    if not positions:
        message = f"Blockfile header describes a scan of {header['NX']} x {header['NY']} positions."
        problems.append(Problem("warning", message, "Pass navigation_shape=(x, y)."))
    elif count < positions:
        problems.append(
            Problem(
                "warning",
                f"Blockfile header describes {positions} scan positions, the file holds {count} "
                "complete patterns" + (", and a part of one." if rest else "."),
            )
        )
    table = FrameTable((file,), runs_of([(0, start + RECORD.itemsize, stride, count)]), pixels)
    frames = _placed(table, positions, endianness, path, problems)
    # 0 pixels per cm means that nobody calibrated
    scale = 100.0 / int(header["SDP"]) if header["SDP"] else 1.0
    hints: tuple[ScanHint, ...] = ()
    if shape:
        reason = f"NY = {header['NY']} and NX = {header['NX']} in the header"
        hints = (ScanHint("header", shape, 0.95, reason),)
    steps = (("y", _step(header["SY"]), header["NY"]), ("x", _step(header["SX"]), header["NX"]))
    scan_axes = tuple(Axis(name, "nm", step) for name, step, n in steps if n > 1 or len(shape) != 1)
    tree: dict[str, Any] = {name: header[name].item() for name in HEADER.names or ()}
    tree["Note"] = note.decode("latin-1").strip("\x00")
    return Recording(
        format="blo",
        path=path,
        frames=frames,
        signal_axes=(Axis("dy", "cm", scale), Axis("dx", "cm", scale)),
        scan_axes=scan_axes,
        hints=hints,
        metadata=_metadata(tree, path),
        original_metadata={"blockfile_header": tree},
        files=(path,),
        problems=tuple(problems),
    )


def _step(value: float) -> float:
    return float(value) if math.isfinite(value) and value else 1.0


def _moment(serial: float) -> datetime.datetime | None:
    """Return the UTC time of a serial date."""
    origin = datetime.datetime(1899, 12, 30, tzinfo=datetime.UTC)
    if not math.isfinite(serial) or not 0 < serial < 2_000_000:
        return None
    return origin + datetime.timedelta(int(serial), (serial % 1.0) * 86400)


def _metadata(header: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Translate what the header says."""
    name = os.path.basename(path)
    general: dict[str, Any] = {
        "title": os.path.splitext(name)[0],
        "original_filename": name,
        "notes": header["Note"],
    }
    if (moment := _moment(header["Acquisition_time"])) is not None:
        general["date"] = moment.date().isoformat()
        general["time"] = moment.time().isoformat()
        general["time_zone"] = "UTC"
    tem: dict[str, Any] = {
        "beam_energy": header["Beam_energy"] * 1e-3,
        "camera_length": header["Camera_length"] * 1e-4,  # as RosettaSciIO, in metres
        "camera_length_units": "m",
        "rotation": header["Scan_rotation"] * 1e-2,
    }
    camera = {}
    for key, names in (
        ("centering", [f"Centering_N{i}" for i in range(8)]),
        ("distortion", [f"Distortion_N{i:02d}" for i in range(14)]),
    ):
        values = [header[n] for n in names]
        if any(values):
            camera[key] = values
    if camera:
        tem["Detector"] = {"Camera": camera}
    return {
        "General": general,
        "Signal": {"signal_type": "diffraction"},
        "Acquisition_instrument": {"TEM": tem},
    }


# ---------------------------------------------------------------- reader


def _navigator(recording: Recording, shape: tuple[int, ...]) -> dict[str, Any] | None:
    """Return the image of the scan that is stored with it, None if there is none."""
    header = recording.original_metadata["blockfile_header"]
    begin, end = header["Data_offset_1"], header["Data_offset_2"]
    whole = recording.hints[0].shape if recording.hints else ()
    size = math.prod(whole)
    if not (shape and whole) or size > end - begin:
        return None
    if shape[1:] != whole[1:] or shape[0] > whole[0]:  # arranged in another way
        return None
    raw = backends.read(DataFile.of(recording.path), begin, size, "buffered")
    image = np.array(raw).reshape(whole)[: shape[0]]  # less of it if lines are missing
    if not image.any():  # left empty by the program that wrote the file
        return None
    axes = recording.scan_axes[-len(shape) :]
    return {
        "data": image,
        "axes": [
            axis.to_dict(i, n, False) for i, (axis, n) in enumerate(zip(axes, shape, strict=True))
        ],
        "metadata": {"General": {"title": "Virtual bright field"}, "Signal": {"signal_type": ""}},
        "original_metadata": {},
    }


def file_reader(
    filename: str | os.PathLike[str],
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: int | tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool = False,
    *,
    endianness: Endianness = "<",
    endianess: Endianness | None = None,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a blockfile.

    Parameters
    ----------
    filename : str or path
        The file.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    endianness : {"<", ">"}
        Byte order of the file; where its signature says otherwise, that is believed.
    endianess : {"<", ">"}
        Old spelling of `endianness`.
    **options
        `ReadOptions`.

    Returns
    -------
    list of one dict
        The stored image of the scan is its navigator.

    Raises
    ------
    NotThisFormat
        The file is no blockfile.
    Truncated
        It ends before its first pattern does.
    FormatError
        Its header is damaged.
    """
    del distributed  # nothing is left to do for it
    if endianess is not None:
        from rsciio.exceptions import VisibleDeprecationWarning

        warnings.warn(
            "`endianess` is an old spelling of `endianness`",
            VisibleDeprecationWarning,
            stacklevel=2,
        )
        endianness = endianess
    recording = parse(filename, endianness=endianness)
    (signal,) = read(
        recording,
        lazy=lazy,
        chunks=chunks,
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )
    scan = signal["original_metadata"]["rsciio_tem"]
    shape = tuple(a["size"] for a in signal["axes"] if a["navigate"])
    counts = scan["frames"]
    from_start = not (counts["first"] or counts["skipped_start"] or counts["inserted_start"])
    if options.get("roi") is None and from_start:
        image = _navigator(recording, shape)
        if image is not None:
            navigator.keep_stored(signal, image, options.get("navigator"))
    return [signal]
