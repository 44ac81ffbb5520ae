# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings of Dectris cameras (ARINA, QUADRO, SINGLA, EIGER): a master file and its data files.

Sources: masters of two ARINA cameras, Dectris' published list of what a master holds, what
RosettaSciIO and ncempy make of them. The layout is written down in ``specifications/dectris.md``.

``<base>_master.h5`` describes the detector and links to ``<base>_data_000001.h5``, …, which hold
the frames. ``<base>.h5``, written by the program that scans, knows the scan.
"""

from __future__ import annotations

import os
from typing import Any, Literal, Unpack

import numpy.typing as npt

from rsciio_tem.errors import Problem, Problems
from rsciio_tem.formats.dectris.corrections import DETECTOR, corrections_of
from rsciio_tem.formats.dectris.links import MASTER, linked_parts, master_of, series
from rsciio_tem.formats.dectris.metadata import metadata_of, number
from rsciio_tem.formats.dectris.scan import scan_file, scan_hints, scan_image, shape_of
from rsciio_tem.parsing.checks import chunk_tables
from rsciio_tem.parsing.hdf5 import is_converted, is_hdf5, kept_open, opened, require_hdf5, tree
from rsciio_tem.parsing.hdf5_links import member
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage import files

__all__ = ["CHECKS", "file_reader", "parse", "sniff"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a master by its links to data, a data file by the master beside it."""
    if not is_hdf5(path, head) or is_converted(head):
        return None
    # The library is not asked: a damaged file can keep it busy for ever.
    if MASTER.fullmatch(path) and b"entry" in head:
        return 0.97, "is named as the master of a Dectris recording", {}
    if master := master_of(path):
        return 0.95, f"belongs to {os.path.basename(master)}", {}
    if b"detectorSpecific" in head or (b"data_000001" in head and b"entry" in head):
        return 0.9, "has the structure of the master of a Dectris recording", {}
    return None


def parse(
    filename: str | os.PathLike[str], *, flatfield: npt.ArrayLike | Literal["stored"] | None = None
) -> Recording:
    """Describe a Dectris recording; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    if isinstance(flatfield, str) and flatfield != "stored":
        raise ValueError(f'flatfield={flatfield!r} is neither an array nor "stored"')
    path = files.existing(filename)
    require_hdf5(path)
    path = master_of(path) or path
    problems = Problems()
    with kept_open(path), opened(path) as file:
        parts = linked_parts(file, path)
        frames = series(parts, path, problems)
        detector, master = tree(member(file, DETECTOR)), tree(file)
        corrections = corrections_of(file, frames.frame_shape, flatfield, detector, path, problems)
    side, scan = scan_file(path)
    special = detector.get("detectorSpecific", {})
    count, announced = len(frames), int(number(special, "nimages") * number(special, "ntrigger"))
    if announced and count != announced:
        message = f"the master announces {announced} frames, its data files hold {count}."
        problems.append(Problem("warning" if count < announced else "info", message))
    step = number(scan, "Pixel Size")
    return Recording(
        format="dectris",
        path=path,
        frames=frames,
        signal_axes=(Axis("qy", "px"), Axis("qx", "px")),
        scan_axes=(Axis("y", "nm", step), Axis("x", "nm", step)),
        hints=scan_hints(scan, special, count, problems),
        corrections=corrections,
        images=scan_image(side, shape_of(scan)),
        metadata=metadata_of(path, detector, scan),
        original_metadata={"master": master, **({"STEM Metadata": scan} if scan else {})},
        files=tuple(
            dict.fromkeys([path, *(p.file for p in parts if p.shape), *([side] if side else [])])
        ),
        problems=tuple(problems),
    )


CHECKS = (chunk_tables,)


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
    flatfield: npt.ArrayLike | Literal["stored"] | None = None,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a Dectris recording.

    Parameters
    ----------
    filename : str or path
        The master, or one of its data files.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
    flatfield : array or "stored"
        As in RosettaSciIO: the response of the pixels, by which frames are divided, relative to
        its median. "stored" multiplies by the flat field in the master instead.
    **options
        `ReadOptions`. Pixels that the detector masks become 0; ``repair="mean8"`` or "fill" gives
        them the mean of their neighbours, ``corrections=False`` leaves them as they are.

    Returns
    -------
    list of one dict
        Pixels have their stored type. The image of the scan that the scanning program stored
        becomes the navigator.

    Raises
    ------
    NotThisFormat
        The file is not a master of a Dectris recording.
    Truncated
        Data files are missing.
    FormatError
        The files contradict each other.
    """
    del distributed  # nothing is left to do for it
    recording = parse(filename, flatfield=flatfield)
    common = (lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame)
    return read(recording, *common, options=options)
