# SPDX-License-Identifier: GPL-3.0-or-later
"""The groups of the frames, and how their pixels are decoded."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Problems, Truncated, Unsupported
from rsciio_tem.parsing.hdf5 import opened
from rsciio_tem.parsing.hdf5_links import member
from rsciio_tem.parsing.hdf5_values import text, value
from rsciio_tem.parsing.text import number_type
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import DataFile
from rsciio_tem.storage.npy_header import npy_header

#: Compressions that the filters of HDF5 have too.
COMPRESSIONS = ("bslz4", "lz4")
#: What reading a damaged archive raises.
_DAMAGE = (
    *(ValueError, KeyError, OSError, EOFError, RuntimeError, SyntaxError),
    *(zlib.error, zipfile.BadZipFile),
)
#: Bytes that are stored of a frame at most.
_LARGEST = 1 << 31
#: Of a frame's group: what describes its pixels.
_KEYS = ("dtype", "shape", "data")

# ---------------------------------------------------------------- groups


def groups_of(file: Any, path: str, problems: Problems) -> tuple[list[str], list[int]]:
    """Return the names of the stored frames, and which of them belongs to each number."""
    data = member(file, "data")
    names = [str(name) for name in data] if hasattr(data, "keys") else []
    numbered = sorted((int(name), name) for name in names if name.isdecimal() and len(name) < 16)
    if not numbered:
        raise FormatError(path, "holds no frames: there are no groups /data/0, /data/1, …")
    if strange := len(names) - len(numbered):
        problems.warn(f"{strange} entries of /data are not frames.")
    numbers, names = [number for number, _ in numbered], [name for _, name in numbered]
    span = numbers[-1] - numbers[0] + 1
    missing, ignored = span - len(numbers), span > 10 * len(numbers) + 1000
    if ignored:
        problems.warn(f"{missing} numbers of frames are missing; they are ignored.")
    if missing <= 0 or ignored:
        return names, list(range(len(names)))
    problems.warn(f"{missing} of {span} frames are missing and are filled.")
    order = [-1] * span
    for i, number in enumerate(numbers):
        order[number - numbers[0]] = i
    return names, order


def layout_of(file: Any, name: str, path: str) -> tuple[tuple[int, int], np.dtype[Any], str]:
    """Return shape, stored type and compression of a frame."""
    members = {key: member(file, f"{name}/{key}") for key in (*_KEYS, "compression_type")}
    lacking = [key for key in _KEYS if members[key] is None]
    if lacking:
        raise FormatError(path, f"lacks {', '.join(f'{name}/{key}' for key in lacking)}.")
    said = text(value(members["dtype"], 1 << 10))
    dtype = number_type(said)
    if dtype is None:
        raise FormatError(path, f"{name}/dtype is {said!r}, which is not a type.")
    sizes = np.asarray(value(members["shape"], 1 << 10)).reshape(-1)
    if dtype.kind not in "buif" or len(sizes) != 2 or sizes.dtype.kind not in "iu":
        raise FormatError(path, f"{name} has the shape {sizes.tolist()} and the type {dtype}.")
    rows, columns = (int(n) for n in sizes)
    compression = text(value(members["compression_type"], 1 << 10))
    compression = "" if compression.lower() == "none" else compression
    if compression not in ("", "csrnpz", *COMPRESSIONS):
        raise Unsupported(
            path,
            f"{name} is compressed with {compression!r}, which is none of csrnpz, "
            f"{', '.join(COMPRESSIONS)}.",
        )
    # LZ4 makes nothing smaller than by 255, a sparse frame may be empty
    data = members["data"]
    stored = int(data.dtype.itemsize) * max(1, math.prod(data.shape or ()))
    most = 300 * stored + 65536 if compression in COMPRESSIONS else 1 << 33
    if not 0 < rows * columns * dtype.itemsize <= most or min(rows, columns) < 1:
        raise FormatError(path, f"{name} is said to have {rows} x {columns} pixels of {dtype}.")
    return (rows, columns), dtype, compression


# ---------------------------------------------------------------- decoding


def _inflate(payload: bytes, compression: str, shape: tuple[int, int], dtype: np.dtype[Any]) -> Any:
    """Decompress a frame; None if the payload is damaged."""
    from rsciio_tem.kernels.codecs import unpack_bitshuffle, unpack_lz4

    raw = np.frombuffer(payload, np.uint8)
    out = np.empty(shape, dtype)
    start, length = np.zeros(1, np.int64), np.array([len(raw)], np.int64)
    target = out.reshape(-1).view(np.uint8)
    if compression == "lz4":
        damaged = unpack_lz4(raw, start, length, target, start, out.nbytes)
    else:
        damaged = unpack_bitshuffle(
            raw, start, length, target, start, out.nbytes, dtype.itemsize, lz4=True
        )
    return out if damaged < 0 else None


def _sparse(payload: bytes, shape: tuple[int, int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Decode a SciPy matrix in an .npz, behind 8 bytes; nothing is unpickled.

    Raises
    ------
    ValueError
        It is damaged.
    """
    with zipfile.ZipFile(io.BytesIO(payload[8:])) as archive:
        kind = archive.getinfo("format.npy")
        if kind.file_size > 4096 or not archive.read(kind).replace(b"\0", b"").endswith(b"csr"):
            raise ValueError("it is not a matrix of compressed rows")
        largest = 16 * shape[0] * shape[1] + 4096
        names = ("data", "indices", "indptr", "shape")
        data, indices, indptr, stored_shape = (_member(archive, name, largest) for name in names)
    indptr, indices = indptr.astype(np.int64), indices.astype(np.int64)
    if data.dtype.newbyteorder("=") != dtype.newbyteorder("="):
        raise ValueError(f"its values are of type {data.dtype} instead of {dtype}")
    if tuple(stored_shape.tolist()) != shape or len(indptr) != shape[0] + 1:
        raise ValueError(f"it has the shape {stored_shape.tolist()}")
    lengths = np.diff(indptr)
    if indptr[0] != 0 or (lengths < 0).any() or not indptr[-1] == len(indices) == len(data):
        raise ValueError("its rows make no sense")
    if len(indices) and (indices.min() < 0 or indices.max() >= shape[1]):
        raise ValueError("a column is outside of the frame")
    frame = np.zeros(shape, dtype)
    np.add.at(frame, (np.repeat(np.arange(shape[0]), lengths), indices), data.astype(dtype))
    return frame


def _member(archive: zipfile.ZipFile, name: str, largest: int) -> npt.NDArray[Any]:
    """Read a 1-D array of numbers from an .npz."""
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > largest:
        raise ValueError(f"{name} takes {info.file_size} bytes")
    content = archive.read(info)
    dtype, _, size, start = npy_header(content)
    if dtype.kind not in "buif" or len(size) != 1:
        raise ValueError(f"{name} holds {size} elements of type {dtype}")
    return np.frombuffer(content, dtype, size[0], start)


@dataclass(frozen=True)
class Stream:
    """Decodes frames of a capture."""

    file: DataFile
    names: tuple[str, ...]
    threshold: str
    multiplier: float
    shape: tuple[int, int]
    dtype: str  # as stored

    @property
    def result(self) -> np.dtype[Any]:
        """Type of a decoded pixel."""
        if self.threshold == "man_diff":
            return np.dtype(np.float64)
        return np.dtype(self.dtype).newbyteorder("=")

    def __call__(self, numbers: list[int]) -> Iterator[npt.NDArray[Any]]:
        """Decode the frames of these numbers one by one."""
        backends.read(self.file, 0, 1, "auto")  # checks that it is still the file described
        with opened(self.file.path, self.file) as file:
            for number in numbers:
                group = f"data/{self.names[number]}"
                if self.threshold == "man_diff":
                    low = self._frame(file, f"{group}/threshold_1").astype(np.float64)
                    high = self._frame(file, f"{group}/threshold_2").astype(np.float64)
                    yield low - self.multiplier * high
                else:
                    name = f"{group}/{self.threshold}" if self.threshold else group
                    yield self._frame(file, name)

    def _frame(self, file: Any, name: str) -> npt.NDArray[Any]:
        path = self.file.path
        shape, dtype, compression = layout_of(file, name, path)
        if shape != self.shape or dtype != np.dtype(self.dtype):
            raise FormatError(
                path,
                f"{name} has {shape} pixels of type {dtype}, the first frame {self.shape} of type "
                f"{np.dtype(self.dtype)}.",
            )
        nbytes = shape[0] * shape[1] * dtype.itemsize
        # what is compressed is in the file; what is not is as large as a frame
        most = min(_LARGEST, self.file.size + nbytes)
        payload = value(member(file, f"{name}/data"), most)
        if payload is None:
            raise FormatError(path, f"{name}/data cannot be read, or is larger than a frame.")
        stored = np.asarray(payload)
        if stored.dtype.kind != "V" and stored.dtype.itemsize != 1:
            raise FormatError(path, f"{name}/data is of type {stored.dtype}, not opaque bytes.")
        payload = stored.tobytes()
        if not compression:
            if len(payload) < nbytes:
                raise Truncated(path, f"{name} holds {len(payload)} of {nbytes} bytes.")
            return np.frombuffer(payload, dtype, shape[0] * shape[1]).reshape(shape)
        if compression == "csrnpz":
            try:
                return _sparse(payload, shape, dtype)
            except _DAMAGE as error:
                raise FormatError(path, f"{name} is not a sparse frame: {error}.") from None
        frame: npt.NDArray[Any] | None = _inflate(payload, compression, shape, dtype)
        if frame is None:
            raise FormatError(path, f"the {compression} payload of {name} is damaged.")
        return frame
