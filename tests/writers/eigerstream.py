# SPDX-License-Identifier: GPL-3.0-or-later
"""Captures of an Eiger's stream, as the receiver at CHESS writes them."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray
from scipy import sparse


def payload(frame: NDArray[Any], compression: str) -> bytes:
    """Compress a frame as the detector does, with the codecs of hdf5plugin."""
    if compression == "csrnpz":
        buffer = io.BytesIO()
        buffer.write(frame.nbytes.to_bytes(8, "big"))
        sparse.save_npz(buffer, sparse.csr_matrix(frame))
        return buffer.getvalue()
    if compression == "none":
        return frame.tobytes()
    codec = hdf5plugin.Bitshuffle(cname="lz4") if compression == "bslz4" else hdf5plugin.LZ4()
    with h5py.File("frame", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("frame", data=frame, chunks=frame.shape, **codec)
        file.flush()
        return dataset.id.read_direct_chunk((0, 0))[1]


def literal_lz4(frame: NDArray[Any], block: int = 100) -> bytes:
    """Write a frame as LZ4 that holds nothing but literals, without any codec."""
    content = frame.tobytes()
    out = len(content).to_bytes(8, "big") + block.to_bytes(4, "big")
    for start in range(0, len(content), block):
        piece = content[start : start + block]
        n = len(piece)
        token = bytes([min(n, 15) << 4])
        if n >= 15:
            token += b"\xff" * ((n - 15) // 255) + bytes([(n - 15) % 255])
        out += (len(token) + n).to_bytes(4, "big") + token + piece
    return out


def write_frame(group: h5py.Group, frame: NDArray[Any], compression: str, raw: bytes = b"") -> None:
    """Fill the group of a frame."""
    group["compression_type"] = compression
    group["dtype"] = frame.dtype.str
    group["shape"] = frame.shape
    group["elem_size"] = frame.dtype.itemsize
    group["data"] = np.void(raw or payload(frame, compression))


def write_stream(
    path: str | os.PathLike[str],
    *thresholds: NDArray[Any],
    compression: str | Sequence[str] = "bslz4",
    numbers: Sequence[int] | None = None,
    version: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> Path:
    """Write a capture.

    Parameters
    ----------
    path : path
    thresholds : ndarray, shape (n, rows, columns)
        One of them makes version 1, two make version 2.
    compression : str or sequence of str
        Of all frames, or of each.
    numbers : sequence of int
        Of the frames, by default 0, 1, …
    version : str
        The attribute, if not the right one.
    metadata : dict
        Goes to ``/metadata``.
    """
    count = len(thresholds[0])
    codes = [compression] * count if isinstance(compression, str) else compression
    with h5py.File(path, "w") as file:
        if version != "":
            file.attrs["version"] = version or f"CHESS_EIGER_STREAM_V{len(thresholds)}"
        group = file.create_group("metadata")
        for key, value in (metadata or {}).items():
            group[key] = value
        for i, number in enumerate(numbers or range(count)):
            frame = file.create_group(f"data/{number}")
            if len(thresholds) == 1:
                write_frame(frame, thresholds[0][i], codes[i])
            for k, stack in enumerate(thresholds if len(thresholds) > 1 else (), 1):
                write_frame(frame.create_group(f"threshold_{k}"), stack[i], codes[i])
    return Path(path)
