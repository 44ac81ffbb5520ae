# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings of pnCCD cameras: .frms6 files and their .hdr."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: 2016-03-04 05:06:07 UTC.
SECONDS = 1457067967


def file_header(
    rows: int,
    columns: int,
    count: int,
    *,
    version: int = 6,
    ccds: int = 1,
    lengths: tuple[int, int] = (1024, 64),
    title: bytes = b"TEM",
) -> bytes:
    """Return the header of a file of `count` frames, 0 as in older files."""
    legacy = min(255, columns // 8), min(255, rows // 8)
    start = struct.pack("<HHBBBB80sHH", *lengths, ccds, *legacy, version, title, columns, rows)
    return start.ljust(1020, b"\0") + struct.pack("<I", count)


def frame_header(
    index: int, start: int, height: int, *, time_us: int = 0, external: int = 0
) -> bytes:
    """Return the header of a frame."""
    seconds, micro = divmod(time_us, 10**6)
    legacy = min(255, start), 0, 1, min(255, height // 8)
    return struct.pack(
        "<BBBBIIIdHHIQ24x",
        *(*legacy, seconds, micro, index, -1.25, start, height, external, 7000 + index),
    )


def in_stored_order(images: NDArray[Any], binning: int = 1) -> NDArray[np.uint16]:
    """Put the halves of images side by side as the camera does; of `binning` rows, keep one."""
    upper, lower = np.split(np.asarray(images), 2, axis=-2)
    turned = lower[..., ::-1, ::-1]
    stored = np.concatenate([upper[..., ::binning, :], turned[..., ::binning, :]], axis=-1)
    return stored.astype("<u2")


def write_frms6(
    path: str | os.PathLike[str],
    stored: NDArray[Any],
    *,
    count: int | None = None,
    windows: Sequence[tuple[int, int]] | None = None,
    max_height: int | None = None,
    first: int = 0,
    indices: Sequence[int] | None = None,
    heights: int | None = None,
    period_us: int = 1000,
    truncate: int = 0,
    **header: Any,
) -> Path:
    """Write one file of `stored` frames (frames, rows, columns).

    `windows` are first row and rows of each frame, of which only these are written. `count` is
    what the header announces, `heights` what the frame headers say instead of the truth.
    """
    number, rows, columns = stored.shape
    path, content = Path(path), []
    announced = number if count is None else count
    for i, frame in enumerate(stored):
        begin, height = windows[i] if windows else (0, rows)
        index = first + i if indices is None else indices[i]
        content.append(
            frame_header(
                index,
                begin,
                height if heights is None else heights,
                time_us=SECONDS * 10**6 + (first + i) * period_us,
                external=100 + first + i,
            )
        )
        content.append(frame[begin : begin + height].astype("<u2").tobytes())
    head = file_header(max_height or rows, columns, announced, **header)
    whole = head + b"".join(content)
    path.write_bytes(whole[: len(whole) - truncate])
    return path


def hdr_text(
    scan: tuple[int, int] | None,
    frames: int,
    dark: int = 0,
    *,
    binning: int = 1,
    window: tuple[int, int] = (264, 264),
    quotes: str = '"',
    dwell_us: int = 1000,
) -> str:
    """Return the text of a .hdr."""
    mode = f"bin: {binning}, windowing: {window[0]} x {window[1]}"
    lines = ["[measurementInfo]", f"darkframes={dark}", f"dwelltimemicroseconds={dwell_us}"]
    lines += ["gain=1", f"signalframes={frames}", f"readoutmode={quotes}{mode}{quotes}"]
    lines += [] if scan is None else [f"stemimagesize={scan[0]}x{scan[1]}"]
    return "\r\n".join([*lines, ""])


def write_recording(
    folder: Path,
    images: NDArray[Any],
    dark: NDArray[Any] | None = None,
    *,
    name: str = "scan",
    binning: int = 1,
    files: Sequence[int] = (),
    hdr: dict[str, Any] | None = None,
    has_hdr: bool = True,
    suffix: str = ".frms6",
    numbers: Sequence[int] | None = None,
    **written: Any,
) -> Path:
    """Write images (y, x, rows, columns) or (frames, rows, columns); returns the .hdr.

    `files` are the frames in each .frms6 of the series, the rest goes into the last one.
    """
    scan = images.shape[:2] if images.ndim == 4 else None
    stored = in_stored_order(images.reshape(-1, *images.shape[-2:]), binning)
    n_dark = 0 if dark is None else len(dark)
    if dark is not None:
        own = {k: v for k, v in written.items() if k not in ("truncate", "windows")}
        if written.get("count") is not None:
            own["count"] = min(written["count"], n_dark)
        if written.get("windows"):
            own["windows"] = [written["windows"][0]] * n_dark
        write_frms6(folder / f"{name}_000{suffix}", in_stored_order(dark, binning), **own)
    bounds = [0, *np.cumsum(files, dtype=int).tolist()]
    bounds += [len(stored)] if bounds[-1] < len(stored) or len(bounds) == 1 else []
    names = numbers or range(1, len(bounds))
    for number, a, b in zip(names, bounds[:-1], bounds[1:], strict=True):
        write_frms6(folder / f"{name}_{number:03d}{suffix}", stored[a:b], first=a, **written)
    path = folder / f"{name}.hdr"
    if has_hdr:
        text = hdr_text(scan, len(stored), n_dark, **{"binning": binning, **(hdr or {})})
        path.write_text(text, encoding="latin-1")
    return path
