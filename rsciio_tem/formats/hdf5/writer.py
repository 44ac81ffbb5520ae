# SPDX-License-Identifier: GPL-3.0-or-later
"""HDF5 files that frames are streamed into."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from rsciio_tem.writing.hdf5 import Compression, Hdf5
from rsciio_tem.writing.signal_frames import SignalFrames
from rsciio_tem.writing.sparse import angles, metadata
from rsciio_tem.writing.stream import write_signal
from rsciio_tem.writing.target import Target

__all__ = ["file_writer", "target"]


def target(
    frames: SignalFrames,
    path: str,
    *,
    layout: Literal["emd", "hexrd"] = "emd",
    group: str | None = None,
    dataname: str | None = None,
    compression: Compression | Mapping[str, Any] | None = None,
    gzip: int = 1,
    shuffle: bool = True,
    chunk_rows: int = 0,
    omega: Any = "auto",
) -> Target:
    """Return what `rsciio_tem.convert` streams frames into; parameters as in `file_writer`."""
    if layout not in ("emd", "hexrd"):
        raise ValueError(f"layout={layout!r} is neither 'emd' nor 'hexrd'")
    hexrd = layout == "hexrd"
    attributes: dict[str, Any] = {}
    if hexrd:
        rows = angles(frames, omega, path)
        attributes = metadata(frames, rows)
    elif not isinstance(omega, str) or omega != "auto":
        raise ValueError("omega belongs to layout='hexrd'")
    return Hdf5(
        path,
        frames,
        layout=layout,
        group=group or ("imageseries" if hexrd else "datacube"),
        dataname=dataname or ("images" if hexrd else "data"),
        compression=compression or ("gzip" if hexrd else "bitshuffle-lz4"),
        gzip=gzip,
        shuffle=shuffle,
        chunk_rows=chunk_rows,
        attributes=attributes,
    )


def file_writer(
    filename: str | os.PathLike[str],
    signal: Mapping[str, Any],
    *,
    layout: Literal["emd", "hexrd"] = "emd",
    group: str | None = None,
    dataname: str | None = None,
    compression: Compression | Mapping[str, Any] | None = None,
    gzip: int = 1,
    shuffle: bool = True,
    chunk_rows: int = 0,
    omega: Any = "auto",
    overwrite: bool = False,
) -> None:
    """Write a signal as HDF5, piece by piece if it is lazy.

    Parameters
    ----------
    filename : str or path
        The file; it appears under its name when it is complete.
    signal : dict
        As RosettaSciIO's writers receive it.
    layout : {"emd", "hexrd"}
        EMD 1.0, which py4DSTEM, emdfile and `hs.load` with this package can open, or the group of
        hexrd's imageseries.
    group, dataname : str
        Name of the array (by default "datacube") in an EMD; path of the group ("imageseries") for
        hexrd, and name of the data set in it ("images").
    compression : {"bitshuffle-lz4", "gzip", "none"} or mapping
        By default bitshuffle with LZ4 for EMD, which needs `hdf5plugin` to be read, and "gzip" for
        hexrd. A mapping holds keywords of h5py's ``create_dataset``.
    gzip : int
        Level of "gzip", 0 to 9.
    shuffle : bool
        Whether "gzip" sorts the bytes of pixels first.
    chunk_rows : int
        Rows of a frame in a chunk; 0 for whole frames.
    omega : array or "auto"
        For hexrd: angles at which each frame begins and ends, in degrees; by default those of the
        signal.
    overwrite : bool
        Replace a file of this name. The recording that the signal was read from is never replaced.

    Raises
    ------
    ValueError
        The value of a keyword is not allowed.
    FileExistsError
        The file exists.
    """
    write_signal(
        target,
        filename,
        signal,
        "hdf5",
        overwrite,
        layout=layout,
        group=group,
        dataname=dataname,
        compression=compression,
        gzip=gzip,
        shuffle=shuffle,
        chunk_rows=chunk_rows,
        omega=omega,
    )
