# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays that frames are streamed into."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from rsciio_tem.writing.signal_frames import SignalFrames
from rsciio_tem.writing.stream import write_signal
from rsciio_tem.writing.target import FlatFile, Target

__all__ = ["file_writer", "target"]


def target(frames: SignalFrames, path: str) -> Target:
    """Return what `rsciio_tem.convert` streams frames into: one .npy, version 1, C order."""
    return _target(frames, path, (*frames.nav_shape, *frames.frame_shape))


def _target(frames: SignalFrames, path: str, shape: tuple[int, ...]) -> Target:
    head = io.BytesIO()
    dtype = frames.dtype.newbyteorder("<")
    if dtype.hasobject:
        raise ValueError("a .npy of Python objects is a pickle, which is never written")
    description = {
        "descr": np.lib.format.dtype_to_descr(dtype),  # of colours: their names, too
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(head, description)
    stored = np.dtype((dtype, frames.frame_shape))
    return FlatFile(os.path.basename(path), head.getvalue(), stored, len(frames))


def file_writer(
    filename: str | os.PathLike[str], signal: Mapping[str, Any], *, overwrite: bool = False
) -> None:
    """Write a signal as a .npy, piece by piece if it is lazy. Axes are neither stored nor needed.

    Parameters
    ----------
    filename : str or path
        The file; it appears under its name when it is complete.
    signal : dict
        As RosettaSciIO's writers receive it, with any number of dimensions.
    overwrite : bool
        Replace a file of this name. The recording that the signal was read from is never replaced.

    Raises
    ------
    FileExistsError
        The file exists.
    """
    data = signal["data"]
    shape = tuple(data.shape)
    frames = data if len(shape) > 1 else data.reshape(1, -1)
    bare = {**signal, "data": frames, "axes": None}
    write_signal(_target, filename, bare, "npy", overwrite, shape=shape)
