# SPDX-License-Identifier: GPL-3.0-or-later
"""TIFF stacks: those that `rsciio_tem.convert` writes, and grey ones of other programs.

Source: TIFF revision 6.0 and BigTIFF; what ImageJ writes to the description of the first image.
``specifications/tiff.md`` describes the file.

TIFF files with the metadata of microscopes are RosettaSciIO's: only stacks that say that they are
ours are recognised.
"""

from __future__ import annotations

import os
from typing import Any, Unpack

from rsciio_tem.errors import Problems
from rsciio_tem.formats.tiff.description import MARK, stack_of
from rsciio_tem.formats.tiff.writer import file_writer, target
from rsciio_tem.parsing.checks import Check
from rsciio_tem.parsing.metadata import general
from rsciio_tem.parsing.tiff import MAGICS, describe
from rsciio_tem.parsing.tiff_frames import frames_of
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

__all__ = ["CHECKS", "file_reader", "file_writer", "parse", "sniff", "target"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a stack of ours by its entry in the description, which is near the beginning."""
    del path
    if head[:4] not in MAGICS or MARK.encode() not in head:
        return None
    return 0.98, "has the description of a TIFF stack that convert wrote", {}


def parse(filename: str | os.PathLike[str]) -> Recording:
    """Describe a stack; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    path = files.plain_file(files.existing(filename), "the reader of TIFF stacks")
    file = DataFile.of(path)
    layout = describe(file, stacked=MARK)
    problems = Problems()
    if layout.others:
        problems.warn(
            f"{layout.others} images of another size or type of pixels are left out.",
            "RosettaSciIO's reader may show them.",
        )
    count = len(layout.pages)
    stack = stack_of(layout.description, count)
    nav_shape = stack.shape if stack is not None else (count,) if count > 1 else ()
    axes = stack.axes if stack is not None and stack.axes else (Axis(),) * (len(nav_shape) + 2)
    hints: tuple[ScanHint, ...] = ()
    if stack is not None and nav_shape:
        reason = "the description of the first image"
        hints = (ScanHint("header", nav_shape, 0.95, reason, exact=True),)
    return Recording(
        format="tiff",
        path=path,
        frames=frames_of(file, layout),
        signal_axes=axes[-2:],
        scan_axes=axes[:-2],
        hints=hints,
        metadata={"General": general(path), "Signal": {"signal_type": ""}},
        original_metadata={"tiff": {"description": layout.description}},
        files=(path,),
        problems=tuple(problems),
    )


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
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a TIFF stack.

    Parameters
    ----------
    filename : str or path
        Grey images; those without compression are read in place.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
    **options
        `ReadOptions`.

    Returns
    -------
    list of one dict

    Raises
    ------
    NotThisFormat
        It is no TIFF file.
    FormatError
        Its headers make no sense.
    Truncated
        It ends before its images do.
    """
    del distributed  # nothing is left to do for it
    recording = parse(filename)
    frames = (navigation_shape, first_frame, last_frame)
    return read(recording, lazy, chunks, mmap_mode, *frames, options=options)
