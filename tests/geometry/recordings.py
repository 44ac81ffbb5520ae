# SPDX-License-Identifier: GPL-3.0-or-later
"""Write simulated recordings as files: tiny frames that hold their own number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from writers import mib as mib_writer

from .simulate import Recording

#: Rows and columns of the frames.
SHAPE = (4, 8)


def frames_with_numbers(
    count: int, shape: tuple[int, int] = SHAPE, dtype: str = "u1"
) -> NDArray[np.generic]:
    """Return frames that hold their place in the file, counted from 1, in two columns of bytes."""
    place = np.arange(1, count + 1)
    frames = np.zeros((count, *shape), dtype)
    frames[:, :, 0], frames[:, :, 1] = (place % 256)[:, None], (place // 256)[:, None]
    return frames


def places(corner: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return the place in the file of frames of which `corner` are two pixels; -1 for a blank."""
    values = np.nan_to_num(corner).real.astype(np.int64)
    return values[..., 0] + 256 * values[..., 1] - 1


def write(folder: Path, recording: Recording) -> Path:
    """Write a recording; return the path to open."""
    writers = {"mib": write_mib}
    return writers[recording.format](folder, recording)


def write_mib(folder: Path, recording: Recording) -> Path:
    path, events = folder / "scan.mib", recording.events
    heads = mib_writer.headers(
        events["number"],
        SHAPE,
        6,
        times_ns=events["time"].astype(np.int64),
        exposures_ns=events["exposure"],
    )
    pixels = frames_with_numbers(len(events)).reshape(len(events), -1)
    path.write_bytes(np.concatenate([heads, pixels.view(np.uint8)], axis=1).tobytes())
    if claims := recording.claims:
        text = mib_writer.hdr_text(
            claims["frames"],
            claims["frames_per_trigger"],
            6,
            "1.5.0" if "scan_x" in claims else "0.77",
            claims["trigger"],
            scan_x=claims.get("scan_x"),
            scan_y=claims.get("scan_y"),
        )
        path.with_suffix(".hdr").write_bytes(text)
    return path
