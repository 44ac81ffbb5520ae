# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw binary files that frames are streamed into, and their side files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from rsciio_tem.parsing.trees import of_another
from rsciio_tem.writing.obstacles import check_text, file_obstacle
from rsciio_tem.writing.signal_frames import SignalFrames, toml_axes
from rsciio_tem.writing.stream import write_signal
from rsciio_tem.writing.target import FlatFile, Target

__all__ = ["file_writer", "target"]


class _WithSide(FlatFile):
    """A raw file with a side file."""

    def obstacle(self, path: str) -> str:
        """Say why what has the name of one of the files is not replaced by it."""
        if (problem := file_obstacle(path)) or os.path.basename(path) not in self.sides:
            return problem
        return of_another(path, "raw", self.name)


def target(frames: SignalFrames, path: str) -> Target:
    """Return what `rsciio_tem.convert` streams frames into: little-endian pixels and a side file.

    The side file has the same name with the suffix ``.toml``.
    """
    frames.require_numbers("raw")
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
    check_text(path)
    side = os.path.splitext(name)[0] + ".toml"
    text = "\n".join([*lines, ""]).encode()
    stored = np.dtype((dtype, frames.frame_shape))
    return _WithSide(name, b"", stored, len(frames), {side: text})


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
        One of the files exists.
    """
    write_signal(target, filename, signal, "raw", overwrite)
