# SPDX-License-Identifier: GPL-3.0-or-later
"""EMPAD recordings (Electron Microscope Pixel Array Detector): first and second generation.

Sources: RosettaSciIO's and LiberTEM's descriptions and sample files for the first generation; for
the second (EMPAD-G2) the published processing codes of two groups, which agree in the bit fields.
``specifications/empad.ksy`` and ``specifications/empad_xml.md`` write the layouts down.

A recording is an .xml that names a .raw. The .raw has no header. First generation: frames of
130 x 128 floats, of which the last two rows are not pixels. Second generation, as acquired:
128 x 128 words of 32 bits that still have to be converted with the detector's calibration;
exported: 128 x 128 floats.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import NotThisFormat, Problem, Truncated
from rsciio_tem.formats.empad.calibration import MARKER, Calibration, ConvertedFrames, _calibration
from rsciio_tem.formats.empad.description import (
    _counters_hint,
    _metadata,
    _number,
    _raw_of,
    _scan_axes,
    _shape_hints,
    _signal_axes,
    _text,
    _xml_of,
)
from rsciio_tem.formats.empad.layout import EDGE, FOOTER_ROWS, FRAME_G1, FRAME_G2
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.frames.wrapped import Transformed
from rsciio_tem.parsing.checks import Check
from rsciio_tem.parsing.trees import xml_tree
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage import backends, files
from rsciio_tem.storage.backends import DataFile

__all__ = ["CHECKS", "Calibration", "file_reader", "parse", "sniff"]

# ---------------------------------------------------------------- finding the files


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise the .xml by its elements, the .raw by its name or the .xml beside it."""
    if path.lower().endswith(".xml"):
        for mark in (b"camserver", b"<raw_file", b"<pix_x", b"EMPAD", b"<rawfile"):
            if mark in head:
                return 0.95, f"is an EMPAD description ({mark.decode().lstrip('<')})", {}
        return None
    if not path.lower().endswith(".raw"):
        return None
    size = os.path.getsize(path)
    if size % FRAME_G1 == 0 and re.search(r"(scan_x\d+_y\d+|series_x\d+)", os.path.basename(path)):
        return 0.9, "is named and sized like an EMPAD recording", {}
    if (xml := _xml_of(path)) is not None:
        return 0.95, f"is named in {os.path.basename(xml)}", {}
    return None


def parse(
    filename: str | os.PathLike[str],
    *,
    q_calibration: float | None = None,
    remove_nans: bool = False,
    keep_footer: bool = False,
    calibration: Any = None,
    dark_frames: Any = None,
    debounce: bool = True,
) -> Recording:
    """Describe an EMPAD recording; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    asked = files.existing(filename)
    problems: list[Problem] = []
    tree: dict[str, Any] = {}
    xml: str | None = None
    raw = asked
    xml = _xml_of(asked) if asked.lower().endswith(".raw") else asked
    if xml is not None:
        tree = xml_tree(xml)
    if xml == asked:
        named = _text(tree, "raw_file", "filename") or _text(tree, "rawfile", "filename")
        if not named:
            raise NotThisFormat(asked, "is no EMPAD description: it names no raw_file.")
        raw = _raw_of(asked, str(named), problems)
    file = DataFile.of(raw)
    second = str(_text(tree, "sensor", "type") or "").upper().startswith("EMPAD2")
    frame_bytes = FRAME_G2 if second else FRAME_G1
    count = file.size // frame_bytes
    if count < 1:
        raise Truncated(raw, f"has {file.size} bytes, one frame takes {frame_bytes}.")
    if rest := file.size % frame_bytes:
        problems.append(
            Problem("warning", f"{rest} bytes at the end are no complete frame, ignored.")
        )
    words = second and _holds_words(file, count, tree)
    shape = (EDGE + FOOTER_ROWS, EDGE) if keep_footer and not second else (EDGE, EDGE)
    frames: Frames = FrameTable(
        (file,),
        runs_of([(0, 0, frame_bytes, count)]),
        Pixels(shape, np.dtype("<u4" if words else "<f4")),
    )
    if words:
        chain = _calibration(calibration, dark_frames, debounce, raw)
        if chain is None:
            problems.append(
                Problem(
                    "warning",
                    "these are unconverted EMPAD-G2 words, not intensities.",
                    "Pass calibration= the folder with the detector's G1A.r32 … files.",
                )
            )
        else:
            frames = ConvertedFrames(frames, np.arange(count) % 2, chain)
    elif remove_nans:
        frames = Transformed(frames, _zero_nans)

    hints = _shape_hints(tree, raw, count)
    if not hints and not second and xml is None and count > 1:
        hints = _counters_hint(file, count)
    series = not hints
    scale = q_calibration
    if scale is None and (size := _number(tree, "iom_measurements", "calibrated_pixelsize")):
        scale = size * 1e9
    if series:
        step = _number(tree, "exposure_time")
        scan_axes: tuple[Axis, ...] = (Axis("series_count", "ms", step or 1.0),)
    else:
        scan_axes = _scan_axes(tree, hints[0].shape)
    return Recording(
        format="empad",
        path=raw,
        frames=frames,
        signal_axes=_signal_axes(scale),
        scan_axes=scan_axes,
        hints=tuple(hints),
        metadata=_metadata(tree, asked, second),
        original_metadata={"root": tree} if tree else {},
        files=(raw, xml) if xml else (raw,),
        problems=tuple(problems),
    )


def _holds_words(file: DataFile, count: int, tree: Mapping[str, Any]) -> bool:
    """Tell acquired words from exported floats, whatever the description calls them.

    Only an acquisition has the grabber's offsets, and every word has the marker bit.
    """
    grabber = tree.get("grabber")
    if not isinstance(grabber, Mapping) or not any("offset" in str(k) for k in grabber):
        return False
    for i in {0, count // 2, count - 1}:
        raw = bytes(backends.read(file, i * FRAME_G2, FRAME_G2, "auto"))
        if not (np.frombuffer(raw, "<u4") & MARKER).all():
            return False
    return True


def _zero_nans(values: npt.NDArray[Any]) -> None:
    values[np.isnan(values)] = 0


CHECKS: tuple[Check, ...] = ()


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
    q_calibration: float | None = None,
    remove_nans: bool = False,
    keep_footer: bool = False,
    calibration: Any = None,
    dark_frames: str | os.PathLike[str] | None = None,
    debounce: bool = True,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read an EMPAD recording.

    Parameters
    ----------
    filename : str or path
        The .xml, or the .raw.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    q_calibration : float, optional
        Size of a detector pixel in 1/nm; versions from 1.2 do not store it.
    remove_nans : bool
        Replace NaN by 0.
    keep_footer : bool
        Return the two rows behind the pixels of first-generation frames as well.
    calibration : path or mapping, optional
        EMPAD-G2: folder with G1A.r32, G1B.r32, G2A.r32 … FFB.r32, or a .npz or mapping with the
        maps ``G1 G2 B2`` (linear) or ``Ml alpha Md Oh Ot`` (quadratic) and ``FF``, each of shape
        (2, 128, 128) for even and odd frames.
    dark_frames : path, optional
        EMPAD-G2: raw recording without beam; its mean is subtracted, even and odd frames apart.
    debounce : bool
        EMPAD-G2: shift each frame so that its background lies at zero.
    **options
        `ReadOptions`.

    Returns
    -------
    list of one dict
        ``data`` of shape (scan lines, scan columns, 128, 128), float32; uint32 for EMPAD-G2 words
        without a calibration.

    Raises
    ------
    NotThisFormat
        The .xml describes something else.
    Truncated
        The .raw holds no complete frame.
    FormatError
        The .raw is missing, or calibration maps do not fit.
    """
    del distributed  # nothing is left to do for it
    recording = parse(
        filename,
        q_calibration=q_calibration,
        remove_nans=remove_nans,
        keep_footer=keep_footer,
        calibration=calibration,
        dark_frames=dark_frames,
        debounce=debounce,
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
