# SPDX-License-Identifier: GPL-3.0-or-later
"""Captures of an Eiger's data stream in HDF5 (CHESS; hexrd's ``eiger-stream-v1`` and ``-v2``).

Source: hexrd's adapters of these names and their tests. ``specifications/eigerstream.md`` describes
the file.

The receiver wrote down what the detector sent, frame by frame: a group with the compressed pixels
as one opaque value, and with what is needed to decode them. Version 2 has two energy thresholds.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Unpack, get_args

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Truncated, Unsupported
from rsciio_tem.frames.decoded import Decoded
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.parsing import hdf5
from rsciio_tem.parsing.checks import Check
from rsciio_tem.parsing.hdf5 import is_hdf5, opened
from rsciio_tem.parsing.processing import processed
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording import rotation
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage import backends, files
from rsciio_tem.storage.backends import DataFile

__all__ = ["CHECKS", "file_reader", "parse", "sniff"]

Threshold = Literal["threshold_1", "threshold_2", "man_diff"]

#: Attribute ``version`` of the file, and the version it means.
VERSIONS = {"CHESS_EIGER_STREAM_V1": 1, "CHESS_EIGER_STREAM_V2": 2}
#: Compressions that the filters of HDF5 have too.
COMPRESSIONS = ("bslz4", "lz4")
#: What reading a damaged archive raises.
_DAMAGE = (
    *(ValueError, KeyError, OSError, EOFError, RuntimeError, SyntaxError),
    *(zlib.error, zipfile.BadZipFile),
)
#: Of a frame's group: what describes its pixels.
_KEYS = ("dtype", "shape", "data")


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a capture by its attribute ``version``."""
    if not is_hdf5(path, head):
        return None
    # The library is not asked: a damaged file can keep it busy for ever.
    version = next((v for v in VERSIONS if v.encode() in head), "")
    return (0.99, f"has the version {version}", {}) if version else None


# ---------------------------------------------------------------- decoding


def _inflate(payload: bytes, compression: str, shape: tuple[int, int], dtype: np.dtype[Any]) -> Any:
    """Decompress a frame; None if the payload is damaged."""
    from rsciio_tem.kernels.codecs import unpack_bitshuffle, unpack_lz4

    raw = np.frombuffer(payload, np.uint8)
    out = np.empty(shape, dtype)
    begin, length = np.zeros(1, np.int64), np.array([len(raw)], np.int64)
    target = out.reshape(-1).view(np.uint8)
    if compression == "lz4":
        damaged = unpack_lz4(raw, begin, length, target, begin, out.nbytes)
    else:
        damaged = unpack_bitshuffle(
            raw, begin, length, target, begin, out.nbytes, dtype.itemsize, lz4=True
        )
    return out if damaged < 0 else None


def _sparse(payload: bytes, shape: tuple[int, int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Decode a SciPy matrix in an .npz, behind 8 bytes; nothing is unpickled.

    Raises
    ------
    ValueError
        It is damaged.
    """
    arrays = {}
    count = shape[0] * shape[1]
    with zipfile.ZipFile(io.BytesIO(payload[8:])) as archive:
        kind_of_matrix = archive.getinfo("format.npy")
        if kind_of_matrix.file_size > 4096 or not (
            archive.read(kind_of_matrix).replace(b"\0", b"").endswith(b"csr")
        ):
            raise ValueError("it is no matrix of compressed rows")
        for name in ("data", "indices", "indptr", "shape"):
            info = archive.getinfo(f"{name}.npy")
            if info.file_size > 16 * count + 4096:
                raise ValueError(f"{name} takes {info.file_size} bytes")
            content = archive.read(info)
            stream = io.BytesIO(content)
            version = np.lib.format.read_magic(stream)
            reader = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            size, _, kind = reader(stream)
            if kind.kind not in "buif" or len(size) != 1:
                raise ValueError(f"{name} holds {size} elements of type {kind}")
            arrays[name] = np.frombuffer(content, kind, size[0], stream.tell())
    indptr, indices = arrays["indptr"].astype(np.int64), arrays["indices"].astype(np.int64)
    data = arrays["data"]
    if data.dtype.newbyteorder("=") != dtype.newbyteorder("="):
        raise ValueError(f"its values are of type {data.dtype} instead of {dtype}")
    if tuple(arrays["shape"].tolist()) != shape or len(indptr) != shape[0] + 1:
        raise ValueError(f"it has the shape {arrays['shape'].tolist()}")
    lengths = np.diff(indptr)
    if indptr[0] != 0 or (lengths < 0).any() or not indptr[-1] == len(indices) == len(data):
        raise ValueError("its rows make no sense")
    if len(indices) and (indices.min() < 0 or indices.max() >= shape[1]):
        raise ValueError("a column is outside of the frame")
    frame = np.zeros(shape, dtype)
    np.add.at(frame, (np.repeat(np.arange(shape[0]), lengths), indices), data.astype(dtype))
    return frame


@dataclass(frozen=True)
class _Stream:
    """Decodes frames of a capture."""

    file: DataFile
    names: tuple[str, ...]
    threshold: str
    multiplier: float
    shape: tuple[int, int]
    dtype: str  # as stored

    def __call__(self, numbers: list[int]) -> Iterator[npt.NDArray[Any]]:
        backends.read(self.file, 0, 1, "auto")  # checks that it is still the file described
        with opened(self.file.path) as file:
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
        shape, dtype, compression = _layout(file, name, path)
        if shape != self.shape or dtype != np.dtype(self.dtype):
            raise FormatError(
                path,
                f"{name} has {shape} pixels of type {dtype}, the first frame {self.shape} of type "
                f"{np.dtype(self.dtype)}.",
            )
        stored = np.asarray(file[name]["data"][()])
        if stored.dtype.kind != "V" and stored.dtype.itemsize != 1:
            raise FormatError(path, f"{name}/data is of type {stored.dtype}, not opaque bytes.")
        payload = stored.tobytes()
        nbytes = shape[0] * shape[1] * dtype.itemsize
        if not compression:
            if len(payload) < nbytes:
                raise Truncated(path, f"{name} holds {len(payload)} of {nbytes} bytes.")
            return np.frombuffer(payload, dtype, shape[0] * shape[1]).reshape(shape)
        if compression == "csrnpz":
            try:
                return _sparse(payload, shape, dtype)
            except _DAMAGE as error:
                raise FormatError(path, f"{name} is no sparse frame: {error}.") from None
        frame: npt.NDArray[Any] | None = _inflate(payload, compression, shape, dtype)
        if frame is None:
            raise FormatError(path, f"the {compression} payload of {name} is damaged.")
        return frame


def _layout(file: Any, name: str, path: str) -> tuple[tuple[int, int], np.dtype[Any], str]:
    """Return shape, stored type and compression of a frame."""
    group = file.get(name)
    lacking = [key for key in _KEYS if group is None or key not in group]
    if lacking:
        raise FormatError(path, f"lacks {', '.join(f'{name}/{key}' for key in lacking)}.")
    text = hdf5.text(group["dtype"][()])
    try:
        dtype = np.dtype(text)
    except TypeError:
        raise FormatError(path, f"{name}/dtype is {text!r}, which is no type.") from None
    sizes = np.asarray(group["shape"][()]).reshape(-1)
    if dtype.kind not in "buif" or len(sizes) != 2 or sizes.dtype.kind not in "iu":
        raise FormatError(path, f"{name} has the shape {sizes.tolist()} and the type {dtype}.")
    rows, columns = (int(n) for n in sizes)
    compression = hdf5.text(group["compression_type"][()]) if "compression_type" in group else ""
    compression = "" if compression.lower() == "none" else compression
    if compression not in ("", "csrnpz", *COMPRESSIONS):
        raise Unsupported(
            path,
            f"{name} is compressed with {compression!r}, which is none of csrnpz, "
            f"{', '.join(COMPRESSIONS)}.",
        )
    # LZ4 makes nothing smaller than by 255, a sparse frame may be empty
    stored = int(group["data"].dtype.itemsize) * max(1, int(group["data"].size or 0))
    most = 300 * stored + 65536 if compression in COMPRESSIONS else 1 << 33
    if not 0 < rows * columns * dtype.itemsize <= most or min(rows, columns) < 1:
        raise FormatError(path, f"{name} is said to have {rows} x {columns} pixels of {dtype}.")
    return (rows, columns), dtype, compression


# ---------------------------------------------------------------- description


def _numbered(file: Any, path: str, problems: list[Problem]) -> tuple[list[str], list[int]]:
    """Return the names of the stored frames, and which of them belongs to each number."""
    data = file.get("data")
    names = [str(name) for name in data] if hasattr(data, "keys") else []
    numbered = sorted((int(name), name) for name in names if name.isdecimal() and len(name) < 16)
    if not numbered:
        raise FormatError(path, "holds no frames: there are no groups /data/0, /data/1, …")
    if len(numbered) < len(names):
        strange = len(names) - len(numbered)
        problems.append(Problem("warning", f"{strange} entries of /data are no frames."))
    numbers = [number for number, _ in numbered]
    span = numbers[-1] - numbers[0] + 1
    order = list(range(len(numbers)))
    if span > len(numbers):
        missing = span - len(numbers)
        if span > 10 * len(numbers) + 1000:
            problems.append(
                Problem("warning", f"{missing} numbers of frames are missing; they are ignored.")
            )
        else:
            order = [-1] * span
            for i, number in enumerate(numbers):
                order[number - numbers[0]] = i
            problems.append(
                Problem("warning", f"{missing} of {span} frames are missing and are filled.")
            )
    return [name for _, name in numbered], order


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
    problems: list[Problem] = []
    if threshold_setting is not None and threshold_setting not in get_args(Threshold):
        raise ValueError(
            f"threshold_setting={threshold_setting!r} is none of {', '.join(get_args(Threshold))}"
        )
    if not np.isfinite(multiplier):
        raise ValueError(f"multiplier={multiplier!r} is no number")
    if not is_hdf5(path, files.read_start(path, 4096)):
        raise NotThisFormat(path, "is no HDF5 file, so it is no capture of an Eiger's stream.")
    described = DataFile.of(path)
    with opened(path) as file:
        text = hdf5.text(file.attrs.get("version"))
        if text not in VERSIONS:
            raise NotThisFormat(
                path,
                f"has the version {text!r}; captures of an Eiger's stream have "
                f"{' or '.join(VERSIONS)}.",
            )
        version = VERSIONS[text]
        names, order = _numbered(file, path, problems)
        threshold: str = ""
        if version == 2:
            threshold = threshold_setting or "threshold_1"
        elif threshold_setting not in (None, "threshold_1"):
            raise Unsupported(
                path, f"has one threshold only, so there is no {threshold_setting} (version 1)."
            )
        part = "threshold_1" if threshold == "man_diff" else threshold
        shape, dtype, compression = _layout(file, f"data/{names[0]}/{part}".rstrip("/"), path)
        if threshold == "man_diff":
            _layout(file, f"data/{names[0]}/threshold_2", path)
        metadata = file.get("metadata")
        tree = hdf5.tree(metadata) if hasattr(metadata, "keys") else {}
        stored = metadata.get("omega") if hasattr(metadata, "keys") else None
        angles = None
        if stored is not None and getattr(stored, "size", 1 << 30) <= 4 * len(order) + 8:
            angles = stored[()]
    native = np.dtype(np.float64) if threshold == "man_diff" else dtype.newbyteorder("=")
    decode = _Stream(described, tuple(names), threshold, float(multiplier), shape, dtype.str)
    frames: Frames = Decoded(decode, len(names), shape, native)
    if -1 in order:
        frames = frames[np.array(order, np.int64)]
    rows, odd = rotation.given(omega, angles, len(frames), path)
    name = os.path.basename(path)
    recording = Recording(
        format="eigerstream",
        path=path,
        frames=frames,
        signal_axes=(Axis("height", "px"), Axis("width", "px")),
        omega=rows,
        metadata={
            "General": {"title": os.path.splitext(name)[0], "original_filename": name},
            "Signal": {"signal_type": ""},
        },
        original_metadata={
            "version": text,
            "compression_type": compression,
            **({"threshold_setting": threshold} if threshold else {}),
            **({"multiplier": float(multiplier)} if threshold == "man_diff" else {}),
            "metadata": tree,
        },
        files=(path,),
        problems=(*problems, *odd),
    )
    return processed(recording, processing)


CHECKS: tuple[Check, ...] = ()


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
        As in every reader, see ``docs/parameters.md``.
    threshold_setting : {"threshold_1", "threshold_2", "man_diff"}
        Version 2: the counts above which energy threshold, by default the first; "man_diff" is
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
        The file is no such capture.
    Truncated, FormatError
        It, or a frame of it, is damaged.
    """
    del distributed  # nothing is left to do for it
    return read(
        parse(
            filename,
            threshold_setting=threshold_setting,
            multiplier=multiplier,
            omega=omega,
            processing=processing,
        ),
        lazy=lazy,
        chunks=chunks,
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )
