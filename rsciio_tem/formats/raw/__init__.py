# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw binary frames: no header to go by, only what the caller or a side file says.

The general form is ``offset``, then for each frame ``frame_header`` bytes, pixels, and
``frame_footer`` bytes. ``specifications/raw.md`` describes it and the side file.
"""

from __future__ import annotations

import os
from typing import Any, Unpack

from rsciio_tem.errors import FormatError, Problems, Truncated
from rsciio_tem.formats.raw.description import (
    DATA_FILES,
    KEYS,
    SIDE_FILES,
    count_of,
    described,
    pixels_of,
    scan_hints,
    shape_of,
    suggestion,
)
from rsciio_tem.formats.raw.writer import file_writer, target
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.parsing.checks import Check
from rsciio_tem.parsing.metadata import general
from rsciio_tem.parsing.trees import side_axes, side_parameters
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import CommonOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

__all__ = ["CHECKS", "file_reader", "file_writer", "parse", "sniff", "target"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a raw file by its side file; the content says nothing."""
    if path.lower().endswith(SIDE_FILES):
        if b"raw" not in head or b"params" not in head:
            return None
        params = side_parameters(path)
        if str(params.get("filetype", "")).lower() == "raw":
            return 0.99, "is the side file of a raw recording", {}
        return None
    if path.lower().endswith(DATA_FILES):
        side = files.side_file(path, SIDE_FILES, shared=True)
        params = side_parameters(side) if side else {}
        if side and str(params.get("filetype", "raw")).lower() == "raw":
            # by its name, as files that are written here: whatever else lies beside it is older
            named = str(params.get("file", "")).lower() == os.path.basename(path).lower()
            return 0.97 if named else 0.95, f"is described by {os.path.basename(side)}", {}
    if path.lower().endswith(".raw"):
        return 0.3, "is named .raw, but nothing describes its content", {}
    return None


def parse(
    filename: str | os.PathLike[str],
    *,
    dtype: Any = None,
    sig_shape: tuple[int, ...] | None = None,
    offset: int | None = None,
    frame_header: int | None = None,
    frame_footer: int | None = None,
) -> Recording:
    """Describe a raw recording; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    path, side, params = described(files.existing(filename))
    problems = Problems()
    if unknown := sorted(set(params) - KEYS):
        problems.warn(f"{side}: unknown keys {unknown} are ignored.")
    asked = {"dtype": dtype, "sig_shape": sig_shape, "offset": offset}
    asked |= {"frame_header": frame_header, "frame_footer": frame_footer}
    layout = {**params, **{name: value for name, value in asked.items() if value is not None}}
    if lacking := " and ".join(n for n in ("dtype", "sig_shape") if layout.get(n) is None):
        raise FormatError(
            path,
            f"is raw binary and nothing says its {lacking}.",
            f'Pass for example dtype="uint16", sig_shape=(256, 256), navigation_shape=(x, y), '
            f"or write them into {os.path.splitext(os.path.basename(path))[0]}.toml."
            + suggestion(path),
        )
    shape = shape_of(layout["sig_shape"], "sig_shape", path)
    pixels = pixels_of(layout["dtype"], shape, path)
    start, before, after = (
        count_of(layout.get(name, 0), name, path)
        for name in ("offset", "frame_header", "frame_footer")
    )
    file = DataFile.of(path)
    stride = before + pixels.nbytes + after
    count, rest = divmod(max(0, file.size - start), stride)
    if not count:
        raise Truncated(
            path,
            f"has {file.size} bytes, one frame takes {stride}"
            + (f" behind an offset of {start}." if start else "."),
            "Check dtype and sig_shape.",
        )
    if rest:
        problems.warn(
            f"{rest} bytes at the end are not a complete frame of {stride} bytes and are ignored.",
            "If the frames look sheared, dtype, sig_shape or offset is wrong.",
        )
    axes = side_axes(params.get("axes", []), side or path)
    return Recording(
        format="raw",
        path=path,
        frames=FrameTable((file,), runs_of([(0, start + before, stride, count)]), pixels),
        signal_axes=axes[-len(shape) :] if len(axes) >= len(shape) else (Axis(),) * len(shape),
        scan_axes=axes[: -len(shape)],
        hints=scan_hints(params.get("nav_shape"), count, path, side),
        metadata={"General": general(path), "Signal": {"signal_type": ""}},
        original_metadata={"params": dict(params)} if params else {},
        files=(path, side) if side else (path,),
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
    *,
    dtype: Any = None,
    sig_shape: tuple[int, ...] | None = None,
    offset: int | None = None,
    frame_header: int | None = None,
    frame_footer: int | None = None,
    **options: Unpack[CommonOptions],
) -> list[dict[str, Any]]:
    """Read raw binary frames.

    Parameters
    ----------
    filename : str or path
        The data file, or its TOML or YAML side file.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
    dtype : dtype-like
        Stored type of a pixel with its byte order (">u2"), or one of the packed types "uint1",
        ">uint1" (1 bit, least or most significant first), "<uint12", ">uint12".
    sig_shape : tuple of int
        Shape of a frame, rows first.
    offset : int
        Bytes before the first frame.
    frame_header, frame_footer : int
        Bytes before and after the pixels of each frame.
    **options
        `CommonOptions`.

    Returns
    -------
    list of one dict
        ``data`` has the scan shape followed by `sig_shape`, in native byte order.

    Raises
    ------
    FormatError
        The pixel type or frame shape is unknown, or the side file is wrong.
    Truncated
        The file is smaller than one frame.
    """
    del distributed  # nothing is left to do for it
    recording = parse(
        filename,
        dtype=dtype,
        sig_shape=sig_shape,
        offset=offset,
        frame_header=frame_header,
        frame_footer=frame_footer,
    )
    common = (lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame)
    return read(recording, *common, options=options)
