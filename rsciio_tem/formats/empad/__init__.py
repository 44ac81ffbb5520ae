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
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Problems, Truncated
from rsciio_tem.formats.empad.calibration import (
    Calibration,
    ConvertedFrames,
    holds_words,
    load_calibration,
)
from rsciio_tem.formats.empad.layout import EDGE, FOOTER_ROWS, FRAME_G1, FRAME_G2
from rsciio_tem.formats.empad.members import members_of, xml_of
from rsciio_tem.formats.empad.metadata import metadata_of
from rsciio_tem.formats.empad.scan import counters_hint, scan_axes, shape_hints, signal_axes
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.frames.wrapped import Transformed
from rsciio_tem.parsing.checks import Check
from rsciio_tem.parsing.trees import value_at
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

__all__ = ["CHECKS", "Calibration", "file_reader", "parse", "sniff"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise the .xml by its elements, the .raw by its name or the .xml beside it."""
    if path.lower().endswith(".xml"):
        for mark in (b"camserver", b"<raw_file", b"<pix_x", b"EMPAD", b"<rawfile"):
            if mark in head:
                return 0.95, f"is an EMPAD description ({mark.decode().lstrip('<')})", {}
        return None
    if not path.lower().endswith(".raw"):
        return None
    size = files.bytes_of(path)
    if size % FRAME_G1 == 0 and re.search(r"(scan_x\d+_y\d+|series_x\d+)", os.path.basename(path)):
        return 0.9, "is named and sized like an EMPAD recording", {}
    if (xml := xml_of(path)) is not None:
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
    path = files.existing(filename)
    problems = Problems()
    raw, xml, tree = members_of(path, problems)
    file = DataFile.of(raw)
    second = str(value_at(tree, "sensor", "type") or "").upper().startswith("EMPAD2")
    frame_bytes = FRAME_G2 if second else FRAME_G1
    count, rest = divmod(file.size, frame_bytes)
    if count < 1:
        raise Truncated(raw, f"has {file.size} bytes, one frame takes {frame_bytes}.")
    if rest:
        problems.warn(f"{rest} bytes at the end are not a complete frame and are ignored.")
    words = second and holds_words(file, count, tree)
    shape = (EDGE + FOOTER_ROWS, EDGE) if keep_footer and not second else (EDGE, EDGE)
    pixels = Pixels(shape, np.dtype("<u4" if words else "<f4"))
    frames: Frames = FrameTable((file,), runs_of([(0, 0, frame_bytes, count)]), pixels)
    if words and calibration is None:
        problems.warn(
            "these are unconverted EMPAD-G2 words, not intensities.",
            "Pass calibration= the folder with the detector's G1A.r32 … files.",
        )
    elif words:
        conversion = load_calibration(calibration, dark_frames, debounce, raw)
        frames = ConvertedFrames(frames, np.arange(count) % 2, conversion)
    elif remove_nans:
        frames = Transformed(frames, _zero_nans)
    hints = shape_hints(tree, raw, count)
    if not hints and not second and xml is None and count > 1:
        hints = counters_hint(file, count)
    return Recording(
        format="empad",
        path=raw,
        frames=frames,
        signal_axes=signal_axes(tree, q_calibration),
        scan_axes=scan_axes(tree, hints),
        hints=tuple(hints),
        metadata=metadata_of(tree, path, second),
        original_metadata={"root": tree} if tree else {},
        files=(raw, xml) if xml else (raw,),
        problems=tuple(problems),
    )


def _zero_nans(values: npt.NDArray[Any]) -> None:
    values[np.isnan(values)] = 0


CHECKS: tuple[Check, ...] = ()


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
    q_calibration : float, optional
        Size of a detector pixel in 1/nm; software since version 1.2 does not store it.
    remove_nans : bool
        Replace NaN by 0.
    keep_footer : bool
        Also return the two rows after the pixels of first-generation frames.
    calibration : path or mapping, optional
        EMPAD-G2: folder with G1A.r32, G1B.r32, G2A.r32 … FFB.r32, or a .npz or mapping with the
        maps ``G1 G2 B2`` (linear) or ``Ml alpha Md Oh Ot`` (quadratic) and ``FF``, each of shape
        (2, 128, 128) for even and odd frames.
    dark_frames : path, optional
        EMPAD-G2: raw recording without beam; its mean is subtracted, separately for even and odd
        frames.
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
    frames = (navigation_shape, first_frame, last_frame)
    return read(recording, lazy, chunks, mmap_mode, *frames, options=options)
