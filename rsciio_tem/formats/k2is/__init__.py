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

from rsciio_tem.errors import Problems, Unsupported, warn
from rsciio_tem.formats.k2is.checks import CHECKS
from rsciio_tem.formats.k2is.dark_rows import DarkRowsSubtracted
from rsciio_tem.formats.k2is.header import FULL, HEADER, SECTORS, SYNC_BYTES, USABLE, geometry_of
from rsciio_tem.formats.k2is.members import members_of
from rsciio_tem.formats.k2is.sectors import (
    Sectors,
    Which,
    describe,
    first_flagged,
    tell_losses,
    tell_oddities,
)
from rsciio_tem.formats.k2is.tags import metadata, scan_hints, tags_of
from rsciio_tem.frames.combined import Mosaic
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.parsing.dm_tags import is_dm, plain_tags
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage import backends, files

__all__ = ["CHECKS", "file_reader", "frame_ids", "parse", "sniff"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a sector by a block header, a tag file by the sectors beside it."""
    if path.lower().endswith(".gtg"):
        if not is_dm(head):
            return None
        sectors, _ = members_of(path)
        if sectors:
            return 0.97, f"is the tag file of a K2 IS recording of {len(sectors)} sectors", {}
        return 0.5, "is a tag file as K2 IS recordings have one", {}
    at = head.find(SYNC_BYTES)
    while at >= 0 and at + HEADER.itemsize <= len(head):
        if geometry_of(np.frombuffer(head, HEADER, 1, at)[0]) is not None:
            verb, confidence = ("begins", 0.99) if at == 0 else ("continues", 0.9)
            return confidence, f"{verb} with a block of a K2 IS sector", {}
        at = head.find(SYNC_BYTES, at + 1)
    return None


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
    path = files.existing(filename)
    problems = Problems()
    described = describe(path, sectors, problems)
    losses = tell_losses(described, problems)
    tell_oddities(described, problems)
    tags = tags_of(path, described.gtg, problems)
    hints = scan_hints(tags)
    frames = _frames(path, described, crop, dark_rows, problems)
    flagged = first_flagged(described, bool(hints), problems)
    first = described.first_header
    numbers = [name for name in HEADER.names or () if HEADER[name].kind == "u"]
    return Recording(
        format="k2is",
        path=path,
        frames=frames,
        signal_axes=(Axis("height"), Axis("width")),
        scan_axes=(Axis("scan_y"), Axis("scan_x")) if hints else (),
        hints=hints,
        first_of_stack=flagged or 0,
        # during a scan, the flag comes one frame late
        first_of_scan=max(0, (flagged or 0) - 1),
        metadata=metadata(path, tags, bool(hints)),
        original_metadata={
            "block_header": {name: int(first[name]) for name in numbers},
            "sectors": losses,
            "shutter": {"first_flagged_frame": flagged},
            **({"gtg": plain_tags(tags)} if tags else {}),
        },
        files=(
            *(sector.file.path for sector in described.members),
            *((described.gtg,) if described.gtg else ()),
        ),
        problems=tuple(problems),
    )


def _frames(path: str, sectors: Sectors, crop: bool, dark_rows: bool, problems: Problems) -> Frames:
    """Put the sectors side by side, with or without what sees no image."""
    shape = (sectors.geometry.height, sectors.geometry.width * SECTORS)
    if (crop or dark_rows) and shape != FULL:
        raise Unsupported(
            path,
            f"has frames of {shape} pixels; where these have hidden rows and columns is unknown.",
            "Pass crop=False, dark_rows=False.",
        )
    # what lies outside of a cropped frame is never asked for
    shown = USABLE if crop and not dark_rows else shape
    frames = Mosaic(sectors.tables(), sectors.regions(), shown, flip_y=False)
    if not dark_rows:
        return frames
    problems.warn("That hidden rows hold the dark signal is known from one source.")
    return DarkRowsSubtracted(frames, USABLE if crop else shape, USABLE[0])


def frame_ids(
    filename: str | os.PathLike[str], *, sectors: Which = "common"
) -> npt.NDArray[np.int64]:
    """Read the numbers that the camera gave the frames: one header per frame and sector.

    Parameters
    ----------
    filename, sectors
        As in `file_reader`.

    Returns
    -------
    ndarray of int64, shape (frames, 8)
        -1 where a sector has no block of a frame. The camera's numbers may jump back.
    """
    described = describe(files.existing(filename), sectors, Problems())
    n, size, count = described.per_frame, described.geometry.nbytes, described.count
    ids = np.full((count, SECTORS), -1, np.int64)
    for sector, table in zip(described.members, described.tables(), strict=True):
        for number, byte, blocks in table.segments.tolist():
            first = max(0, number)
            last = min(number + blocks, count * n)  # one past the last block
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


@documented
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
    sectors : {"common", "any"}
        Which frames are read: those that all sectors have, or those that at least one sector has.
        What a sector lacks is filled. Sectors without any blocks do not count.
    crop : bool
        Return only the 1792 x 1920 pixels that see the image, without hidden rows and columns.
    dark_rows : bool
        Subtract from each column the mean of its 68 hidden rows, rounded down, frame by frame;
        pixels are then int16.
    **options
        `ReadOptions`. ``sync_offset=n`` starts the scan with frame n of the recording (counted
        from ``first_frame``); by default it starts where the shutter opened.

    Returns
    -------
    list of one dict
        ``data`` of shape (scan lines, scan columns, 1860, 2048), uint16. Columns of a scan that
        were recorded during flyback are kept unless ``flyback="drop"``.

    Raises
    ------
    NotThisFormat
        The file is not a K2 IS recording.
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
            "it is a hypothesis that flyback frames are the last ones of each line.",
        )
    common = lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame
    return read(recording, *common, options=options)
