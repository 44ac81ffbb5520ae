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

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Problem
from rsciio_tem.formats.dectris.corrections import _corrections
from rsciio_tem.formats.dectris.metadata import _metadata, _number
from rsciio_tem.formats.dectris.parts import _DETECTOR, _MASTER, _frames, _master_of, _part
from rsciio_tem.parsing.checks import chunk_tables
from rsciio_tem.parsing.hdf5 import attributes, dectris_links, is_hdf5, opened, tree, walk
from rsciio_tem.reading import navigator
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import files

__all__ = ["CHECKS", "file_reader", "parse", "sniff"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a master by its links to data, a data file by the master beside it."""
    if not is_hdf5(path, head):
        return None
    # The library is not asked: a damaged file can keep it busy for ever.
    if _MASTER.fullmatch(path) and b"entry" in head:
        return 0.97, "is named as the master of a Dectris recording", {}
    if master := _master_of(path):
        return 0.95, f"belongs to {os.path.basename(master)}", {}
    if b"detectorSpecific" in head or (b"data_000001" in head and b"entry" in head):
        return 0.9, "has the structure of the master of a Dectris recording", {}
    return None


def _side_file(master: str) -> str:
    """Return the file of the scanning program, empty if there is none."""
    match = _MASTER.fullmatch(master)
    side = f"{match[1]}{match[2]}" if match else ""
    return side if side and os.path.isfile(side) else ""


def _scan_hints(
    scan: dict[str, Any], special: dict[str, Any], count: int, problems: list[Problem]
) -> tuple[ScanHint, ...]:
    """Return the scan shapes that the side file and the triggers speak for."""
    hints = []
    x, y = int(_number(scan, "NumPixelsX")), int(_number(scan, "NumPixelsY"))
    extra = int(_number(scan, "NumPixelsPrescan"))
    if x > 0 and y > 0:
        said = f"NumPixelsX = {x} and NumPixelsY = {y} in STEM Metadata"
        if extra > 0 and count == y * (x + extra):
            problems.append(
                Problem(
                    "warning",
                    f"{count} frames are {y} lines of {x} + {extra} (NumPixelsPrescan); the first "
                    f"{extra} of each line are taken to be recorded before the scan, and left out. "
                    "No recording with such frames was at hand to check that.",
                    'flyback="keep" keeps them.',
                )
            )
            said += f", and NumPixelsPrescan = {extra}"
            hints.append(ScanHint("header", (y, x), 0.9, said, line=x + extra, column=extra))
        else:
            hints.append(ScanHint("header", (y, x), 0.95, said))
    images, triggers = int(_number(special, "nimages")), int(_number(special, "ntrigger"))
    if images > 1 and triggers > 1 and images * triggers == count:
        said = f"{triggers} triggers (ntrigger) of {images} frames (nimages)"
        hints.append(ScanHint("trigger", (triggers, images), 0.8, said))
    return tuple(hints)


# ---------------------------------------------------------------- description


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
    if not is_hdf5(path, files.read_start(path, 4096)):
        head = files.read_start(path, 8)
        raise NotThisFormat(path, f"is no HDF5 file: it begins with {head!r}.")
    path = _master_of(path) or path
    problems: list[Problem] = []
    with opened(path) as file:
        group, names = dectris_links(file)
        if not names:
            raise NotThisFormat(
                path,
                "is no master of a Dectris recording: it has no detectorSpecific, or no links "
                "data_000001, … to frames.",
                'Open the file that ends with _master.h5, or pass format="hdf5".',
            )
        parts = [_part(file, group, name, path) for name in names]
        shapes = {p.shape[1:] for p in parts if p.shape}
        if len(shapes) > 1:
            raise FormatError(path, f"its data files hold frames of different shapes {shapes}.")
        frames = _frames(parts, path, problems)
        detector = tree(file[_DETECTOR])
        master = tree(file)
        corrections = _corrections(file, frames.frame_shape, flatfield, detector, path, problems)
    scan: dict[str, Any] = {}
    side = _side_file(path)
    if side:
        with opened(side) as file:
            scan = attributes(file["STEM Metadata"]) if "STEM Metadata" in file else {}
        side = side if scan else ""
    special = detector.get("detectorSpecific", {})
    count = len(frames)
    announced = int(_number(special, "nimages") * _number(special, "ntrigger"))
    if announced and count != announced:
        message = f"the master announces {announced} frames, its data files hold {count}."
        problems.append(Problem("warning" if count < announced else "info", message))
    step = _number(scan, "Pixel Size")
    name = os.path.basename(path)
    metadata = _metadata(detector, scan, os.path.splitext(name)[0])
    metadata["General"]["original_filename"] = name
    units = "nm" if step else ""
    return Recording(
        format="dectris",
        path=path,
        frames=frames,
        signal_axes=(Axis("qy", "px"), Axis("qx", "px")),
        scan_axes=(Axis("y", units, step or 1.0), Axis("x", units, step or 1.0)),
        hints=_scan_hints(scan, special, count, problems),
        corrections=corrections,
        metadata=metadata,
        original_metadata={"master": master, **({"STEM Metadata": scan} if scan else {})},
        files=tuple(
            dict.fromkeys([path, *(p.file for p in parts if p.shape), *filter(None, [side])])
        ),
        problems=tuple(problems),
    )


def _navigator(recording: Recording, shape: tuple[int, ...]) -> dict[str, Any] | None:
    """Return the image of the scan that the scanning program stored, HAADF if there is one."""
    side = _side_file(recording.path)
    if len(shape) != 2 or not side:
        return None
    with opened(side) as file:
        images = [
            (name, d)
            for name, d in walk(file).datasets
            if d.shape == shape and d.dtype.kind in "uif"
        ]
        images.sort(key=lambda item: "haadf" not in item[0].lower())
        if not images:
            return None
        name, data = images[0][0], np.asarray(images[0][1][()])
    data = data.astype(data.dtype.newbyteorder("="))
    axes = [
        axis.to_dict(i, n, False)
        for i, (axis, n) in enumerate(zip(recording.scan_axes, shape, strict=True))
    ]
    title = name.partition("/")[0]
    return {
        "data": data,
        "axes": axes,
        "metadata": {"General": {"title": title}, "Signal": {"signal_type": ""}},
        "original_metadata": {},
    }


CHECKS = (chunk_tables,)


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
        As in every reader, see ``docs/parameters.md``.
    flatfield : array or "stored"
        As in RosettaSciIO: the response of the pixels, by which frames are divided, relative to
        its median. "stored" multiplies by the flat field in the master instead.
    **options
        `ReadOptions`. Pixels that the detector masks become 0; ``repair="mean8"`` or "fill" gives
        them the mean of their neighbours, ``corrections=False`` leaves them as they are.

    Returns
    -------
    list of one dict
        Pixels in the type they are stored in. The image of the
        scan that the scanning program stored is the navigator.

    Raises
    ------
    NotThisFormat
        The file is no master of a Dectris recording.
    Truncated
        Data files are missing.
    FormatError
        The files contradict each other.
    """
    del distributed  # nothing is left to do for it
    recording = parse(filename, flatfield=flatfield)
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
    counts = scan["frames"]
    as_scanned = scan["scan"]["rule"] == "header" and not any(
        counts[n] for n in ("first", "skipped_start", "inserted_start")
    )
    if options.get("roi") is None and as_scanned:
        shape = tuple(a["size"] for a in signal["axes"] if a["navigate"])
        if (image := _navigator(recording, shape)) is not None:
            navigator.keep_stored(signal, image, options.get("navigator"))
    return [signal]
