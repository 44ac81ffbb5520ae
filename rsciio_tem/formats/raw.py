# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw binary frames: no header to go by, only what the caller or a side file says.

The general form is ``offset``, then for each frame ``frame_header`` bytes, pixels, and
``frame_footer`` bytes. ``specifications/raw.md`` describes it and the side file.
"""

from __future__ import annotations

import json
import math
import os
import re
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from rsciio_tem.errors import FormatError, Problem, Truncated
from rsciio_tem.frames.pixels import Packing, Pixels
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.parsing.checks import Check
from rsciio_tem.parsing.trees import side_axes, side_parameters
from rsciio_tem.reading.options import CommonOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile
from rsciio_tem.writing.signal_frames import toml_axes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rsciio_tem.writing.signal_frames import SignalFrames
    from rsciio_tem.writing.target import Target

__all__ = ["CHECKS", "file_reader", "file_writer", "parse", "sniff", "target"]

#: Packed pixel types that numpy has no name for, and how they are decoded.
PACKED: dict[str, tuple[Packing, str]] = {
    "uint1": ("bits-le", "u1"),
    "<uint1": ("bits-le", "u1"),
    ">uint1": ("bits-be", "u1"),
    "uint12": ("u12-le", "u2"),
    "<uint12": ("u12-le", "u2"),
    ">uint12": ("u12-be", "u2"),
}
SIDE_FILES = (".toml", ".yaml", ".yml")
#: Suffixes under which the data of a side file is looked for.
DATA_FILES = (".raw", ".bin", ".dat")
_KEYS = {
    *("filetype", "file", "dtype", "sig_shape", "nav_shape", "axes"),
    *("offset", "frame_header", "frame_footer"),
}


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a raw file by its side file; the content says nothing."""
    if path.lower().endswith(SIDE_FILES):
        if b"raw" not in head or b"params" not in head:
            return None
        params = side_parameters(path)
        if str(params.get("filetype", "")).lower() == "raw":
            return 0.99, "is the side file of a raw recording", {}
        return None
    if path.lower().endswith(DATA_FILES) and (side := files.side_file(path, SIDE_FILES)):
        params = side_parameters(side)
        if str(params.get("filetype", "raw")).lower() == "raw":
            return 0.95, f"is described by {os.path.basename(side)}", {}
    if path.lower().endswith(".raw"):
        return 0.3, "is named .raw, but nothing describes its content", {}
    return None


def _suggestion(path: str) -> str:
    """Read sizes and types out of a file name, for the error text only."""
    name = os.path.basename(path)
    sizes = re.findall(r"(\d+)x(\d+)", name)
    found = []
    if kind := re.search(r"(u?int(?:8|16|32)|float(?:32|64))", name):
        found.append(f'dtype="{kind[1]}"')
    if sizes:
        found.append(f"sig_shape=({sizes[-1][0]}, {sizes[-1][1]})")
    if scan := re.search(r"scan_x(\d+)_y(\d+)", name):
        found.append(f"navigation_shape=({scan[1]}, {scan[2]})")
    elif len(sizes) > 1:
        found.append(f"nav_shape=({sizes[0][0]}, {sizes[0][1]})")
    return f" Its name suggests {', '.join(found)}." if found else ""


def _shape(value: Any, name: str, path: str, unknown: bool = False) -> tuple[int, ...]:
    value = value.tolist() if isinstance(value, np.ndarray) else value
    sizes = value if isinstance(value, (list, tuple)) else (value,)
    least = -1 if unknown else 1
    if not sizes or any(
        isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < least or n == 0
        for n in sizes
    ):
        raise FormatError(path, f"{name} = {value!r} is no shape.", "Give positive integers.")
    return tuple(int(n) for n in sizes)


def _count(value: Any, name: str, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise FormatError(path, f"{name} = {value!r} is no number of bytes.")
    return int(value)


def _pixels(dtype: Any, shape: tuple[int, ...], path: str) -> Pixels:
    packing: Packing = "plain"
    if isinstance(dtype, str) and dtype in PACKED:
        packing, dtype = PACKED[dtype]
    try:
        stored = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError) as error:
        raise FormatError(
            path,
            f"dtype {dtype!r} is unknown.",
            f"Use numpy's names, such as '>u2', or {', '.join(PACKED)}.",
        ) from error
    if stored.kind not in "buifc":
        raise FormatError(path, f"dtype {stored} is no type of number.")
    try:
        return Pixels(shape, stored, packing)
    except ValueError as error:
        raise FormatError(path, f"{error}.", "Choose sig_shape so that it does.") from error


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
    asked = files.existing(filename)
    path: str | None = asked
    if asked.lower().endswith(SIDE_FILES):
        side: str | None = asked
        params = side_parameters(asked)
        named = params.get("file")
        if named is not None:
            # only beside the side file: paths of another computer mean nothing here
            base = re.split(r"[/\\]", str(named))[-1]
            path = os.path.join(os.path.dirname(asked), base)
        else:
            path = files.side_file(asked, DATA_FILES)
        if path is None:
            raise FormatError(
                asked, f"describes no file: none of {', '.join(DATA_FILES)} beside it."
            )
        path = files.existing(path)
    else:
        side = files.side_file(asked, SIDE_FILES)
        params = side_parameters(side) if side else {}
        named = re.split(r"[/\\]", str(params.get("file", "")))[-1]
        other = named.lower() not in ("", os.path.basename(asked).lower())
        if other or str(params.get("filetype", "raw")).lower() != "raw":
            side, params = None, {}
    assert path is not None
    problems = []
    if unknown := sorted(set(params) - _KEYS):
        problems.append(Problem("warning", f"{side}: unknown keys {unknown} are ignored."))

    def pick(given: Any, name: str, default: Any = None) -> Any:
        return params.get(name, default) if given is None else given

    dtype, shape_given = pick(dtype, "dtype"), pick(sig_shape, "sig_shape")
    if dtype is None or shape_given is None:
        lacking = " and ".join(
            n for n, v in (("dtype", dtype), ("sig_shape", shape_given)) if v is None
        )
        raise FormatError(
            path,
            f"is raw binary and nothing says its {lacking}.",
            f'Pass for example dtype="uint16", sig_shape=(256, 256), navigation_shape=(x, y), '
            f"or write them into {os.path.splitext(os.path.basename(path))[0]}.toml."
            + _suggestion(path),
        )
    shape = _shape(shape_given, "sig_shape", path)
    pixels = _pixels(dtype, shape, path)
    start = _count(pick(offset, "offset", 0), "offset", path)
    before = _count(pick(frame_header, "frame_header", 0), "frame_header", path)
    after = _count(pick(frame_footer, "frame_footer", 0), "frame_footer", path)
    file = DataFile.of(path)
    stride = before + pixels.nbytes + after
    count = max(0, file.size - start) // stride
    if count < 1:
        raise Truncated(
            path,
            f"has {file.size} bytes, one frame takes {stride}"
            + (f" behind an offset of {start}." if start else "."),
            "Check dtype and sig_shape.",
        )
    if rest := (file.size - start) % stride:
        problems.append(
            Problem(
                "warning",
                f"{rest} bytes at the end are no complete frame of {stride} bytes, ignored.",
                "If the frames look sheared, dtype, sig_shape or offset is wrong.",
            )
        )
    axes = side_axes(params.get("axes", []), side or path)
    hints: tuple[ScanHint, ...] = ()
    if (nav := params.get("nav_shape")) is not None:
        nav_shape = _shape(nav, "nav_shape", path, unknown=True)
        if -1 in nav_shape:
            known = -math.prod(nav_shape)
            if nav_shape.count(-1) > 1 or known > count:
                raise FormatError(
                    path, f"nav_shape = {nav!r} in {side} does not fit its {count} frames."
                )
            nav_shape = tuple(count // known if n == -1 else n for n in nav_shape)
        reason = f"nav_shape in {os.path.basename(side or '')}"
        hints = (ScanHint("header", nav_shape, 0.95, reason),)
    return Recording(
        format="raw",
        path=path,
        frames=FrameTable((file,), runs_of([(0, start + before, stride, count)]), pixels),
        signal_axes=axes[-len(shape) :] if len(axes) >= len(shape) else (Axis(),) * len(shape),
        scan_axes=axes[: -len(shape)],
        hints=hints,
        metadata={
            "General": {
                "title": os.path.splitext(os.path.basename(path))[0],
                "original_filename": os.path.basename(path),
            },
            "Signal": {"signal_type": ""},
        },
        original_metadata={"params": dict(params)} if params else {},
        files=(path, side) if side else (path,),
        problems=tuple(problems),
    )


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
        As in every reader, see ``docs/parameters.md``.
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
        Pixel type or frame shape are unknown, or the side file is wrong.
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


# ---------------------------------------------------------------- writing


def target(frames: SignalFrames, path: str) -> Target:
    """Return what `rsciio_tem.convert` streams frames into: little-endian pixels and a side file.

    The side file has the same name with the suffix ``.toml``.
    """
    from rsciio_tem.writing.target import Placed

    name = os.path.basename(path)
    dtype = frames.dtype.newbyteorder("<")
    lines = [
        "[params]",
        'filetype = "raw"',
        f"file = {json.dumps(name)}",
        f"dtype = {json.dumps(dtype.str.replace('|', ''))}",
        f"nav_shape = {list(frames.nav_shape)}",
        f"sig_shape = {list(frames.frame_shape)}",
    ]
    lines += toml_axes((*frames.nav_axes, *frames.sig_axes))
    side = os.path.splitext(name)[0] + SIDE_FILES[0]
    text = "\n".join([*lines, ""]).encode()
    stored = np.dtype((dtype, frames.frame_shape))
    return Placed(name, b"", stored, len(frames), {side: text})


def file_writer(
    filename: str | os.PathLike[str], signal: Mapping[str, Any], *, overwrite: bool = False
) -> None:
    """Write a signal as raw binary with a TOML side file, piece by piece if it is lazy.

    Parameters
    ----------
    filename : str or path
        The data file; both appear under their names when they are complete.
    signal : dict
        As RosettaSciIO's writers receive it.
    overwrite : bool
        Replace files of these names. The recording that the signal was read from is never replaced.

    Raises
    ------
    FileExistsError
        There is such a file.
    """
    from rsciio_tem.writing.signal_frames import SignalFrames
    from rsciio_tem.writing.stream import write

    frames = SignalFrames.of(signal, "raw")
    write(target(frames, os.fspath(filename)), frames, filename, overwrite=overwrite)
