# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse recordings that frames are streamed into."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rsciio_tem.parsing.trees import of_another
from rsciio_tem.writing.obstacles import file_obstacle
from rsciio_tem.writing.signal_frames import SignalFrames
from rsciio_tem.writing.sparse import RawCsr
from rsciio_tem.writing.stream import write_signal
from rsciio_tem.writing.target import Target

__all__ = ["file_writer", "target"]


class _Recording(RawCsr):
    """The TOML file, which may have been that of another recording, and three binary files."""

    def obstacle(self, path: str) -> str:
        """Say why what has the name of one of the files is not replaced by it."""
        if (problem := file_obstacle(path)) or os.path.basename(path) != self.names[-1]:
            return problem
        return of_another(path, "raw_csr")


def target(frames: SignalFrames, path: str, *, threshold: float | None = None) -> Target:
    """Return what `rsciio_tem.convert` streams frames into; parameters as in `file_writer`."""
    return _Recording(path, frames, threshold)


def file_writer(
    filename: str | os.PathLike[str],
    signal: Mapping[str, Any],
    *,
    threshold: float | None = None,
    overwrite: bool = False,
) -> None:
    """Write a signal as a sparse recording, piece by piece if it is lazy.

    Parameters
    ----------
    filename : str or path
        The TOML file; the files with the entries go beside it. All appear under their names when
        they are complete.
    signal : dict
        As RosettaSciIO's writers receive it.
    threshold : float, optional
        Store only values above it, as hexrd does for frame caches. By default all nonzero values
        are stored, so nothing is lost.
    overwrite : bool
        Replace files of these names. The recording that the signal was read from is never replaced.

    Raises
    ------
    FileExistsError
        One of the files exists.
    """
    write_signal(target, filename, signal, "raw_csr", overwrite, threshold=threshold)
