# SPDX-License-Identifier: GPL-3.0-or-later
"""The codec ``rsciio_tem.frames``: frames of reference files that are no plain pixels.

numcodecs (zarr 2) and zarr 3 find it by entry points. It only reads: chunks are bytes of
recordings, which are never written.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from numcodecs.abc import Codec
from numcodecs.compat import ensure_contiguous_ndarray, ndarray_copy

from rsciio_tem.frames.arrays import ArrayFrames, InMemory
from rsciio_tem.frames.corrections import Corrected, Corrections
from rsciio_tem.frames.pixels import Pixels, Tile
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.turned import Binned, Turn, Turned
from rsciio_tem.parsing.hdf5_filters import Filter, undo
from rsciio_tem.tools.byte_ranges import ByteRanges

__all__ = ["NAME", "FramesCodec", "configuration", "decoded"]

#: Name of the codec in the descriptions of arrays.
NAME = "rsciio_tem.frames"

#: Bytes of a chunk at most, once it is decoded.
_LARGEST = 1 << 31

_IMAGES = ("dark", "gain", "excluded")


def configuration(ranges: ByteRanges) -> dict[str, Any]:
    """Describe, as JSON, how the bytes of chunks become pixels."""
    entries: dict[str, Any] = {"version": 1}
    if ranges.filters:
        entries["filters"] = [[step.number, list(step.data)] for step in ranges.filters]
        entries["nbytes"] = math.prod(ranges.chunks) * ranges.stored.itemsize
    if (pixels := ranges.pixels) is not None:
        entries["pixels"] = {
            "shape": list(pixels.shape),
            "stored": pixels.stored.str,
            "packing": pixels.packing,
            "tiles": [list(tile) for tile in pixels.tiles],
            "tile_shape": list(pixels.tile_shape),
            "stored_shape": list(pixels.stored_shape),
            "flip_y": bool(pixels.flip_y),
            "shift": pixels.shift,
            "repeat": pixels.repeat,
        }
        if ranges.filters:
            entries["nbytes"] = pixels.nbytes * math.prod(ranges.chunks[: -len(pixels.shape)])
        entries["then"] = [_step(wrapper) for wrapper in ranges.wrappers]
        entries["dtype"] = ranges.stored.str
    return entries


def _step(wrapper: Any) -> dict[str, Any]:
    if isinstance(wrapper, Turned):
        turn = wrapper.turn
        return {"turn": [bool(turn.exchanged), bool(turn.rows), bool(turn.columns)]}
    if isinstance(wrapper, Binned):
        return {"bin": list(wrapper.size)}
    assert isinstance(wrapper, Corrected)
    applied = wrapper.corrections
    step: dict[str, Any] = {"repair": applied.repair, "allow_empty": applied.allow_empty}
    for name in _IMAGES:
        if (image := getattr(applied, name)) is not None:
            file = io.BytesIO()
            np.save(file, np.ascontiguousarray(image), allow_pickle=False)
            step[name] = base64.b64encode(file.getvalue()).decode("ascii")
    return {"correct": step}


def decoded(entries: Mapping[str, Any], buffer: Any) -> npt.NDArray[Any]:
    """Decode the bytes of a chunk.

    Parameters
    ----------
    entries : dict
        What `configuration` returned.
    buffer : bytes-like
        A range of a file.

    Returns
    -------
    ndarray, one axis
        Pixels, or bytes where these are pixels.

    Raises
    ------
    ValueError
        The bytes are damaged or too few, or are described by a later version.
    """
    if entries.get("version") != 1:
        raise ValueError(f"{NAME}: needs a later rsciio-tem, pip install --upgrade rsciio-tem")
    raw = np.frombuffer(buffer, np.uint8)
    nbytes = int(entries.get("nbytes", 0))
    for number, data in reversed(entries.get("filters", [])):
        if not 0 < nbytes <= _LARGEST:
            raise ValueError(f"{NAME}: a chunk of {nbytes} bytes")
        result = undo(Filter(int(number), tuple(map(int, data)), ""), raw, None, nbytes)
        if result is None:
            raise ValueError(f"{NAME}: a chunk is damaged, or its file has changed")
        raw = result
    if "filters" in entries and len(raw) != nbytes:
        raise ValueError(f"{NAME}: a chunk of {len(raw)} bytes instead of {nbytes}")
    if "pixels" not in entries:
        return raw
    pixels = _pixels(entries["pixels"])
    count, rest = divmod(len(raw), pixels.nbytes)
    if rest or not count or count * math.prod(pixels.shape) * pixels.dtype.itemsize > _LARGEST:
        raise ValueError(f"{NAME}: {len(raw)} bytes are no frames of {pixels.nbytes} bytes")
    values = np.empty((count, *pixels.shape), pixels.dtype)
    pixels.decode(np.ascontiguousarray(raw).reshape(count, pixels.nbytes), values)
    frames: Frames = ArrayFrames(InMemory(values), (count,), pixels.shape, pixels.dtype)
    for step in entries.get("then", []):
        frames = _wrapped(frames, step)
    dtype = np.dtype(entries["dtype"])
    if dtype.newbyteorder("=") != frames.dtype.newbyteorder("="):
        raise ValueError(f"{NAME}: pixels of {frames.dtype}, described as {dtype}")
    if frames.frame_shape != pixels.shape or entries.get("then"):
        values = np.empty((count, *frames.frame_shape), frames.dtype)
        frames.load(values)
    return values.astype(dtype, copy=False).reshape(-1)


def _pixels(entries: Mapping[str, Any]) -> Pixels:
    def whole(name: str) -> tuple[int, ...]:
        return tuple(map(int, entries[name]))

    shape, (height, width) = whole("shape"), (*whole("tile_shape"), 0, 0)[:2]
    tiles = tuple(
        Tile(int(row), int(column), int(to_row), int(to_column), bool(rotated))
        for row, column, to_row, to_column, rotated in entries["tiles"]
    )
    for tile in tiles:
        rows, columns = shape
        if min(tile[:4]) < 0 or tile.to_row + height > rows or tile.to_column + width > columns:
            raise ValueError(f"{NAME}: a detector chip outside of the frame, {tile}")
    stored = np.dtype(str(entries["stored"]))
    if stored.kind not in "biufc" or min(shape) < 1:
        raise ValueError(f"{NAME}: frames of {shape} pixels of type {stored}")
    return Pixels(
        shape=shape,
        stored=stored,
        packing=entries["packing"],
        tiles=tiles,
        tile_shape=(height, width),
        stored_shape=whole("stored_shape"),
        flip_y=bool(entries["flip_y"]),
        shift=int(entries["shift"]),
        repeat=int(entries["repeat"]),
    )


def _wrapped(frames: Frames, step: Mapping[str, Any]) -> Frames:
    if "turn" in step:
        return Turned(frames, Turn(*map(bool, step["turn"])))
    if "bin" in step:
        rows, columns = map(int, step["bin"])
        return Binned(frames, (rows, columns))
    entries = step["correct"]
    images = {
        name: np.load(io.BytesIO(base64.b64decode(entries[name])), allow_pickle=False)
        for name in _IMAGES
        if name in entries
    }
    corrections = Corrections(
        **images, repair=entries["repair"], allow_empty=bool(entries["allow_empty"])
    )
    return Corrected(frames, corrections.checked(frames.frame_shape, NAME), NAME)


class FramesCodec(Codec):  # type: ignore[misc]
    """The codec as numcodecs has them: bytes of a recording to pixels.

    Parameters
    ----------
    **entries
        What `configuration` returned.
    """

    codec_id = NAME

    def __init__(self, **entries: Any) -> None:
        self.entries = entries

    def encode(self, buf: Any) -> Any:
        """Refuse: recordings are not written."""
        raise TypeError(f"{NAME} only reads: recordings are never changed")

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Return the pixels of a chunk."""
        return ndarray_copy(decoded(self.entries, ensure_contiguous_ndarray(buf)), out)

    def get_config(self) -> dict[str, Any]:
        """Return the codec as JSON."""
        return {"id": NAME, **self.entries}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make it from JSON."""
        return cls(**{name: value for name, value in config.items() if name != "id"})
