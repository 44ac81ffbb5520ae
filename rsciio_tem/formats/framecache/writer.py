# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame caches that frames are streamed into."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rsciio_tem.writing import sparse
from rsciio_tem.writing.signal_frames import SignalFrames
from rsciio_tem.writing.sparse import Compression, Fch5, Npz
from rsciio_tem.writing.stream import write_signal
from rsciio_tem.writing.target import Target

__all__ = ["file_writer", "target"]


def target(
    frames: SignalFrames,
    path: str,
    *,
    threshold: float | None = None,
    group: str = "/",
    compression: Compression = "deflate",
    output_yaml: bool = False,
    omega: Any = "auto",
) -> Target:
    """Return what `rsciio_tem.convert` streams frames into; parameters as in `file_writer`."""
    suffix = os.path.splitext(path)[1].lower()
    angles = sparse.angles(frames, omega, path)
    if suffix in (".npz", ".yml", ".yaml"):
        if group != "/":
            raise ValueError(f"group={group!r}: only HDF5 files (.fch5) have groups")
        return Npz(path, frames, threshold, angles, compression, output_yaml)
    if suffix not in (".fch5", ".h5", ".hdf5"):
        raise ValueError(f"{path!r}: frame caches are called .npz, .fch5 or .yml")
    if output_yaml:
        raise ValueError("output_yaml=True: the YAML file of a frame cache names an .npz")
    if compression != "deflate":
        raise ValueError(f"compression={compression!r} is for .npz")
    return Fch5(path, frames, threshold, angles, group)


def file_writer(
    filename: str | os.PathLike[str],
    signal: Mapping[str, Any],
    *,
    threshold: float | None = None,
    group: str = "/",
    compression: Compression = "deflate",
    output_yaml: bool = False,
    omega: Any = "auto",
    overwrite: bool = False,
) -> None:
    """Write a signal as a frame cache that hexrd reads, piece by piece if it is lazy.

    Scans become stacks of frames in hexrd; their shape is kept as ``navigation_shape``.

    Parameters
    ----------
    filename : str or path
        The ``.npz``, ``.fch5`` or ``.yml`` file; it appears under its name when it is complete.
    signal : dict
        As RosettaSciIO's writers receive it.
    threshold : float, optional
        Store only values above it, as hexrd does. By default all nonzero values are stored, so
        nothing is lost.
    group : str
        Group of an HDF5 file.
    compression : {"deflate", "stored"}
        How the arrays of an .npz are stored.
    output_yaml : bool
        Also write the YAML file that names an .npz.
    omega : "auto", None, path or array of N x 2
        Angles of the rotation series; by default those that the signal was read with, or those of
        an axis named "omega".
    overwrite : bool
        Replace a file of this name. The recording that the signal was read from is never replaced.

    Raises
    ------
    FileExistsError
        The file exists.
    """
    write_signal(
        target,
        filename,
        signal,
        "framecache",
        overwrite,
        threshold=threshold,
        group=group,
        compression=compression,
        output_yaml=output_yaml,
        omega=omega,
    )
