# SPDX-License-Identifier: GPL-3.0-or-later
"""Gatan K2 IS: eight streams of 12-bit blocks (.bin) and a tag file (.gtg).

The camera's image is read out in eight sectors side by side, each written to a file of its own:
``<name>1.bin`` (left) to ``<name>8.bin`` (right). A file is nothing but blocks of 22 360 bytes;
32 of them make one frame of a sector. The files start and end at different moments, and blocks may
be lost, so what belongs together is told by the running block number in each header, which is the
same in all sectors. ``<name>.gtg`` is a DigitalMicrograph file without image; it knows whether the
recording is a scan.

Byte layout and pixel packing are those of ``specifications/k2is.ksy``, on which two independent
readers (LiberTEM, py4DSTEM) agree and which was tested by exchanging files with LiberTEM. The use
of the hidden rows as dark rows is known from py4DSTEM alone. No recording with other sizes than
1860 x 2048 pixels is known: such sizes are taken from the block headers, with a warning.
"""

from __future__ import annotations

import os
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Problem, Unsupported, warn
from rsciio_tem.formats.k2is.blocks import FULL, HEADER, SECTORS, SYNC_BYTES, USABLE, _geometry
from rsciio_tem.formats.k2is.checks import CHECKS
from rsciio_tem.formats.k2is.dark_rows import DarkRowsSubtracted
from rsciio_tem.formats.k2is.sectors import Which, _described, _members, _shutter
from rsciio_tem.frames.combined import Mosaic
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.parsing import dm_tags
from rsciio_tem.parsing.dm_tags import group, is_dm, plain_tags
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import backends, files

__all__ = ["CHECKS", "file_reader", "frame_ids", "parse", "sniff"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a sector by a block header, a tag file by the sectors beside it."""
    if path.lower().endswith(".gtg"):
        if not is_dm(head):
            return None
        sectors, _ = _members(path)
        if sectors:
            return 0.97, f"is the tag file of a K2 IS recording of {len(sectors)} sectors", {}
        return 0.5, "is a tag file as K2 IS recordings have one", {}
    at = head.find(SYNC_BYTES)
    while at >= 0 and at + HEADER.itemsize <= len(head):
        if _geometry(np.frombuffer(head, HEADER, 1, at)[0]) is not None:
            where = "begins" if at == 0 else "continues"
            return (0.99 if at == 0 else 0.9), f"{where} with a block of a K2 IS sector", {}
        at = head.find(SYNC_BYTES, at + 1)
    return None


def _positive(value: Any) -> int:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return int(value) if number and 1 <= value < 1 << 31 else 0


def _scan_hints(tags: dict[str, Any]) -> tuple[ScanHint, ...]:
    """Return the scan shapes in the tags: with flyback columns, and without."""
    size = group(tags, "SI Dimensions")
    lines, columns = (_positive(group(size, f"Size {a}")) for a in "YX")
    if not lines or not columns:
        return ()
    hints = [
        ScanHint(
            "header", (lines, columns), 0.95, f"SI Dimensions in the .gtg: {columns} x {lines}"
        )
    ]
    sampling = group(tags, "SI Image Tags", "SI", "Acquisition", "Spatial Sampling")
    height, width = (_positive(group(sampling, f"{a} (pixels)")) for a in ("Height", "Width"))
    if 0 < width < columns and 0 < height <= lines:
        hints.append(
            ScanHint(
                "header",
                (height, width),
                0.4,
                f"Spatial Sampling in the .gtg: {width} x {height}, so that {columns - width} of "
                f"{columns} frames of a line are flyback",
                line=columns,
            )
        )
    return tuple(hints)


def _metadata(asked: str, tags: dict[str, Any], scan: bool) -> dict[str, Any]:
    general = {
        "title": os.path.splitext(os.path.basename(asked))[0],
        "original_filename": os.path.basename(asked),
    }
    tem: dict[str, Any] = {"Detector": {"Camera": {"name": "Gatan K2 IS"}}}
    places = ((), ("SI Image Tags",), ("Image Tags",))
    microscope: Any = next(
        (m for p in places if (m := group(tags, *p, "Microscope Info")) is not None), {}
    )
    for name, leaf, factor in (
        ("Voltage", "beam_energy", 1e-3),  # V to keV
        ("STEM Camera Length", "camera_length", 1.0),  # mm
        ("Indicated Magnification", "magnification", 1.0),
    ):
        value = group(microscope, name)
        if isinstance(value, (int, float)) and 0 < value < 1e12:
            tem[leaf] = value * factor
    return {
        "General": general,
        "Signal": {"signal_type": "electron_diffraction" if scan else ""},
        "Acquisition_instrument": {"TEM": tem},
    }


def _tags(asked: str, gtg: str | None, problems: list[Problem]) -> dict[str, Any]:
    if gtg is None:
        problems.append(
            Problem("info", "There is no .gtg, which would tell whether this is a scan.")
        )
        return {}
    try:
        return dm_tags.read_tags(gtg)
    except FormatError as error:
        if gtg == asked:
            raise type(error)(
                gtg, error.problem, "Open one of the .bin files to read the frames without it."
            ) from None
        problems.append(
            Problem(
                "warning", f"{os.path.basename(gtg)} {error.problem} The scan shape is unknown."
            )
        )
        return {}


def parse(
    filename: str | os.PathLike[str],
    *,
    sectors: Which = "common",
    crop: bool = False,
    dark_rows: bool = False,
) -> Recording:
    """Describe a K2 IS recording; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    asked = files.existing(filename)
    problems: list[Problem] = []
    found = _described(asked, sectors, problems)
    geometry, count, per_frame = found.geometry, found.count, found.geometry.per_frame
    tags = _tags(asked, found.gtg, problems)
    hints = _scan_hints(tags)

    height, width = geometry.height, geometry.width
    shape = (height, width * SECTORS)
    if (crop or dark_rows) and shape != FULL:
        raise Unsupported(
            asked,
            f"has frames of {shape} pixels; where these have hidden rows and columns is unknown.",
            "Pass crop=False, dark_rows=False.",
        )
    places = tuple(
        (slice(0, height), slice((s.number - 1) * width, s.number * width)) for s in found.sectors
    )
    # what lies outside of a cropped frame is never asked for
    shown = USABLE if crop and not dark_rows else shape
    frames: Frames = Mosaic(found.tables, places, shown, flip_y=False)
    if dark_rows:
        problems.append(
            Problem("warning", "That hidden rows hold the dark signal is known from one source.")
        )
        frames = DarkRowsSubtracted(frames, USABLE if crop else shape, USABLE[0])

    flagged = _shutter(found.sectors, found.base, count, per_frame, problems)
    first_of_stack = first_of_scan = 0
    if flagged is None:
        problems.append(
            Problem(
                "warning" if hints else "info",
                "No frame has the shutter flag, so where the recording proper begins is unknown: "
                "the first frame is taken.",
                "sync_offset= chooses another one.",
            )
        )
    elif flagged == 0:
        if hints:
            problems.append(
                Problem(
                    "warning",
                    "The shutter was open from the first frame on, so where the scan begins is "
                    "unknown: the first frame is taken.",
                    "sync_offset= chooses another one.",
                )
            )
    else:
        first_of_stack, first_of_scan = (
            flagged,
            flagged - 1,
        )  # during a scan, the flag comes one frame late
        problems.append(
            Problem(
                "info",
                f"The shutter opened in frame {flagged}: a scan begins with frame {flagged - 1}, a "
                f"series with frame {flagged}.",
                "sync_offset= or first_frame= chooses another one.",
            )
        )
    first = next(h for s in found.sectors if (h := s.at(s.low)) is not None)
    original: dict[str, Any] = {
        "block_header": {
            name: int(first[name]) for name in HEADER.names or () if HEADER[name].kind == "u"
        },
        "sectors": found.losses,
        "shutter": {"first_flagged_frame": flagged},
    }
    if tags:
        original["gtg"] = plain_tags(tags)
    return Recording(
        format="k2is",
        path=asked,
        frames=frames,
        signal_axes=(Axis("height"), Axis("width")),
        scan_axes=(Axis("scan_y"), Axis("scan_x")) if hints else (),
        hints=hints,
        first_of_stack=first_of_stack,
        first_of_scan=first_of_scan,
        metadata=_metadata(asked, tags, bool(hints)),
        original_metadata=original,
        files=(*(s.file.path for s in found.sectors), *((found.gtg,) if found.gtg else ())),
        problems=tuple(problems),
    )


def frame_ids(
    filename: str | os.PathLike[str], *, sectors: Which = "common"
) -> npt.NDArray[np.int64]:
    """Read the numbers that the camera gave to the frames; one header per frame and sector.

    Parameters
    ----------
    filename, sectors
        As in `file_reader`.

    Returns
    -------
    ndarray of int64, shape (frames, 8)
        -1 where a sector has no block of a frame. The camera's numbers may jump back.
    """
    found = _described(files.existing(filename), sectors, [])
    n, size = found.geometry.per_frame, found.geometry.nbytes
    ids = np.full((found.count, SECTORS), -1, np.int64)
    for sector, table in zip(found.sectors, found.tables, strict=True):
        for number, byte, blocks in table.segments.tolist():
            first = max(0, number)
            last = min(number + blocks, found.count * n)  # one past the last block
            if last <= first:
                continue
            frames = np.arange(first // n, (last - 1) // n + 1)
            begin = np.maximum(frames * n, first)  # first stored block of each frame
            heads = np.zeros((len(frames), HEADER.itemsize), np.uint8)
            backends.read_pieces(sector.file, byte + (first - number) * size, 0, heads[:1])
            if len(frames) > 1:
                second = byte + (int(begin[1]) - number) * size
                backends.read_pieces(sector.file, second, n * size, heads[1:])
            ids[frames, sector.number - 1] = heads.view(HEADER)["frame_id"][:, 0]
    return ids


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
    sectors: Which = "common",
    crop: bool = False,
    dark_rows: bool = False,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a K2 IS recording.

    Parameters
    ----------
    filename : str or path
        The .gtg, or any of the eight .bin files.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    sectors : {"common", "any"}
        Which frames are read: those that all sectors have, or those that at least one sector has.
        What a sector lacks is filled. A sector without any block does not count.
    crop : bool
        Return the 1792 x 1920 pixels that see the image, without hidden rows and columns.
    dark_rows : bool
        Subtract from each column the mean of its 68 hidden rows, rounded down, frame by frame;
        pixels are int16 then.
    **options
        `ReadOptions`. ``sync_offset=n`` lets the scan begin with frame n of the recording (counted
        from ``first_frame``); by default it begins where the shutter opened.

    Returns
    -------
    list of one dict
        ``data`` of shape (scan lines, scan columns, 1860, 2048), uint16. Columns of a scan that
        were recorded during flyback are kept unless ``flyback="drop"``.

    Raises
    ------
    NotThisFormat
        It is no K2 IS recording.
    Truncated
        No frame is complete in all sectors.
    FormatError
        Files contradict each other.
    """
    del distributed  # nothing is left to do for it
    recording = parse(filename, sectors=sectors, crop=crop, dark_rows=dark_rows)
    if options.get("flyback") == "drop":
        warn(
            recording.path,
            "that flyback frames are the last ones of each line is a hypothesis.",
        )
    return read(
        recording,
        lazy=lazy,
        chunks=chunks,
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )
