# SPDX-License-Identifier: GPL-3.0-or-later
"""Captures of an Eiger's data stream in HDF5 (CHESS; hexrd's ``eiger-stream-v1`` and ``-v2``).

Source: hexrd's adapters of these names and their tests. ``specifications/eigerstream.md`` describes
the file.

The receiver wrote down what the detector sent, frame by frame: a group with the compressed pixels
as one opaque value, and with what is needed to decode them. Version 2 has two energy thresholds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Literal, Unpack, get_args

import numpy as np

from rsciio_tem.errors import NotThisFormat, Problems, Unsupported
from rsciio_tem.formats.eigerstream.frames import Stream, groups_of, layout_of
from rsciio_tem.frames.decoded import Decoded
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.parsing.checks import Check
from rsciio_tem.parsing.hdf5 import is_converted, is_hdf5, opened, tree
from rsciio_tem.parsing.hdf5_links import member
from rsciio_tem.parsing.hdf5_values import attribute, text, value
from rsciio_tem.parsing.metadata import general
from rsciio_tem.parsing.processing import processed
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording import rotation
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

__all__ = ["CHECKS", "file_reader", "parse", "sniff"]

Threshold = Literal["threshold_1", "threshold_2", "man_diff"]

#: Attribute ``version`` of the file, and the version it means.
VERSIONS = {"CHESS_EIGER_STREAM_V1": 1, "CHESS_EIGER_STREAM_V2": 2}


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a capture by its attribute ``version``."""
    if not is_hdf5(path, head) or is_converted(head):
        return None
    # The library is not asked: a damaged file can keep it busy for ever.
    version = next((v for v in VERSIONS if v.encode() in head), "")
    return (0.99, f"has the version {version}", {}) if version else None


def parse(
    filename: str | os.PathLike[str],
    *,
    threshold_setting: Threshold | None = None,
    multiplier: float = 1.0,
    omega: Any = "auto",
    processing: Sequence[Any] | None = None,
) -> Recording:
    """Describe a capture; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    path = files.existing(filename)
    if threshold_setting is not None and threshold_setting not in get_args(Threshold):
        raise ValueError(
            f"threshold_setting={threshold_setting!r} is none of {', '.join(get_args(Threshold))}"
        )
    if not np.isfinite(multiplier):
        raise ValueError(f"multiplier={multiplier!r} is not a number")
    if not is_hdf5(path, files.read_start(path, 4096)):
        raise NotThisFormat(
            path, "is not an HDF5 file, so it is not a capture of an Eiger's stream."
        )
    problems = Problems()
    source = DataFile.of(path)
    with opened(path) as file:
        version = text(attribute(file, "version"))
        if version not in VERSIONS:
            versions = " or ".join(VERSIONS)
            raise NotThisFormat(
                path,
                f"has the version {version!r}; captures of an Eiger's stream have {versions}.",
            )
        names, order = groups_of(file, path, problems)
        threshold = _threshold(threshold_setting, VERSIONS[version], path)
        part = "threshold_1" if threshold == "man_diff" else threshold
        shape, dtype, compression = layout_of(file, f"data/{names[0]}/{part}".rstrip("/"), path)
        if threshold == "man_diff":
            layout_of(file, f"data/{names[0]}/threshold_2", path)
        described, angles = _metadata(file, len(order))
    stream = Stream(source, tuple(names), threshold, float(multiplier), shape, dtype.str)
    frames: Frames = Decoded(stream, len(names), shape, stream.result)
    if -1 in order:
        frames = frames[np.array(order, np.int64)]
    rows, doubts = rotation.angles_asked(omega, angles, len(frames), path)
    recording = Recording(
        format="eigerstream",
        path=path,
        frames=frames,
        signal_axes=(Axis("height", "px"), Axis("width", "px")),
        omega=rows,
        metadata={"General": general(path), "Signal": {"signal_type": ""}},
        original_metadata={
            "version": version,
            "compression_type": compression,
            **({"threshold_setting": threshold} if threshold else {}),
            **({"multiplier": float(multiplier)} if threshold == "man_diff" else {}),
            "metadata": described,
        },
        files=(path,),
        problems=(*problems, *doubts),
    )
    return processed(recording, processing)


def _threshold(setting: Threshold | None, version: int, path: str) -> str:
    """Return the group of the threshold below that of a frame, "" in version 1."""
    if version == 2:
        return setting or "threshold_1"
    if setting not in (None, "threshold_1"):
        raise Unsupported(path, f"has one threshold only, so there is no {setting} (version 1).")
    return ""


def _metadata(file: Any, count: int) -> tuple[dict[str, Any], Any]:
    """Return the group ``metadata`` as a tree, and its angles if they may be those of frames."""
    group = member(file, "metadata")
    if not hasattr(group, "keys"):
        return {}, None
    omega = member(group, "omega")
    small = math.prod(getattr(omega, "shape", None) or ()) <= 4 * count + 8
    return tree(group), value(omega) if small else None


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
    threshold_setting: Threshold | None = None,
    multiplier: float = 1.0,
    omega: Any = "auto",
    processing: Sequence[Any] | None = None,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a capture of an Eiger's data stream.

    Parameters
    ----------
    filename : str or path
        The HDF5 file.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
    threshold_setting : {"threshold_1", "threshold_2", "man_diff"}
        Version 2: which energy threshold the counts are above, by default the first; "man_diff" is
        the first minus `multiplier` times the second, in double precision.
    multiplier : float
        See `threshold_setting`.
    omega : "auto", None, path or array of N x 2
        Angles of the rotation series, by default those of the metadata.
    processing : list of (code, argument)
        See `rsciio_tem.parsing.processing`.
    **options
        `ReadOptions`.

    Returns
    -------
    list of one dict

    Raises
    ------
    NotThisFormat
        The file is not such a capture.
    Truncated, FormatError
        The file, or one of its frames, is damaged.
    """
    del distributed  # nothing is left to do for it
    recording = parse(
        filename,
        threshold_setting=threshold_setting,
        multiplier=multiplier,
        omega=omega,
        processing=processing,
    )
    frames = (navigation_shape, first_frame, last_frame)
    return read(recording, lazy, chunks, mmap_mode, *frames, options=options)
