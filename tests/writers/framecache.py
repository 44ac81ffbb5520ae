# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame caches as hexrd writes them, and a reader of them that knows nothing of ours."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray


def entries_of(
    frame: NDArray[Any], threshold: float, index: str
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return rows, columns and values of the pixels above a threshold."""
    rows, columns = np.nonzero(frame > threshold)
    return rows.astype(index), columns.astype(index), frame[rows, columns]


def write_npz(
    path: str | os.PathLike[str],
    frames: NDArray[Any],
    *,
    threshold: float = 0,
    index: str = "<u2",
    compressed: bool = True,
    omega: NDArray[Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    header: bool = True,
    shuffled: bool = False,
    lost: Sequence[str] = (),
    **told: Any,
) -> Path:
    """Write an .npz.

    Parameters
    ----------
    path : path
    frames : ndarray, shape (n, rows, columns)
    threshold : float
        Values above it are stored.
    index : str
        Type of rows and columns.
    compressed : bool
        Whether members are deflated.
    omega : ndarray, optional
        Goes to the metadata.
    metadata : dict, optional
        Further members.
    header : bool
        Whether shape, nframes and dtype are members.
    shuffled : bool
        Whether the header comes before the frames, and these backwards, as in old files.
    lost : sequence of str
        Members to leave out.
    told
        Values of the header that are to differ.
    """
    parts: dict[str, Any] = {}
    order = range(len(frames))[::-1] if shuffled else range(len(frames))
    for i in order:
        rows, columns, values = entries_of(frames[i], threshold, index)
        parts |= {f"{i}_row": rows, f"{i}_col": columns, f"{i}_data": values}
    own = {
        "shape": frames.shape[1:],
        "nframes": len(frames),
        "dtype": str(frames.dtype.newbyteorder("=")).encode(),
        **told,
    }
    own = own if header else {}
    if omega is not None:
        own["omega"] = omega
    own |= metadata or {}
    members = {**own, **parts} if shuffled else {**parts, **own}
    for name in lost:
        del members[name]
    (np.savez_compressed if compressed else np.savez)(path, **members)
    return Path(path)


def write_yaml(
    path: str | os.PathLike[str],
    frames: NDArray[Any],
    *,
    omega: NDArray[Any] | None = None,
    folder: str = "",
    meta: str = "",
    **layout: Any,
) -> Path:
    """Write a YAML file, and an .npz without header beside it."""
    path = Path(path)
    named = path.parent / folder / f"{path.stem}_cache.npz"
    named.parent.mkdir(exist_ok=True)
    write_npz(named, frames, header=False, **layout)
    lines = [
        "data:",
        f"  file: {folder}{named.name}",
        f"  dtype: {frames.dtype.newbyteorder('=')}",
        f"  nframes: {len(frames)}",
        f"  shape: [{frames.shape[1]}, {frames.shape[2]}]",
    ]
    if omega is not None:
        np.save(path.with_name(f"{path.stem}-omega.npy"), omega)
        meta += f'  omega: "! load-numpy-array {path.stem}-omega.npy"\n'
    lines.append(f"meta:\n{meta}" if meta else "meta: {}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def write_fch5(
    path: str | os.PathLike[str],
    frames: NDArray[Any],
    *,
    threshold: float = 0,
    index: str = "u2",
    group: str = "/",
    omega: NDArray[Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    order: Sequence[int] | None = None,
    version: int | None = 1,
    compressed: bool = True,
    by_column: bool = False,
    mode: str = "w",
    **told: Any,
) -> Path:
    """Write HDF5.

    Parameters
    ----------
    path : path
    frames : ndarray, shape (n, rows, columns)
    threshold, index, omega
        As in `write_npz`.
    group : str
        Where it goes.
    metadata : dict, optional
        Numbers, text, arrays, and dictionaries of these.
    order : sequence of int, optional
        In which the frames are written; hexrd's threads write them as they get ready.
    version : int, optional
        The attribute.
    compressed : bool
        With Blosc, as hexrd does.
    by_column : bool
        Whether rows and columns are in chunks of their own, as h5py makes them for many entries.
    mode : str
        Of the file.
    told
        Values of the header that are to differ.
    """
    found = [entries_of(frame, threshold, index) for frame in frames]
    order = range(len(frames)) if order is None else order
    ids = np.zeros((len(frames), 2), np.uint64)
    end = 0
    for i in order:
        ids[i] = end, end + len(found[i][0])
        end += len(found[i][0])
    columns = [np.concatenate([found[i][k] for i in order]) for k in range(3)]
    filters = dict(hdf5plugin.Blosc(cname="zstd", clevel=5)) if compressed else {}
    with h5py.File(path, mode) as file:
        place = file.require_group(group)
        if version is not None:
            place.attrs["HEXRD_FRAMECACHE_VERSION"] = version
        header = {
            "shape": np.array(frames.shape[1:]),
            "nframes": len(frames),
            "dtype": str(frames.dtype),
            **told,
        }
        for key, value in header.items():
            place[key] = value
        chunks = {"maxshape": (None, 1)} if compressed else {}
        place.create_dataset("data", data=columns[2][:, np.newaxis], **chunks, **filters)
        chunks = {"maxshape": (None, 2)} if compressed else {}
        if by_column:
            chunks["chunks"] = (max(1, end), 1)
        indices = np.stack(columns[:2], axis=1)
        place.create_dataset("indices", data=indices, **chunks, **filters)
        place["frame_ids"] = ids.reshape(-1)
        _fill(place.create_group("metadata"), {**(metadata or {})})
        if omega is not None:
            place["metadata/omega"] = omega
    return Path(path)


def _fill(group: h5py.Group, entries: Mapping[str, Any]) -> None:
    for key, value in entries.items():
        if isinstance(value, Mapping):
            _fill(group.create_group(key), value)
        elif isinstance(value, str):
            group.create_dataset(key, data=[value], dtype=h5py.string_dtype())
        else:
            group[key] = np.atleast_1d(value)


def read(path: str | os.PathLike[str], group: str = "/") -> tuple[NDArray[Any], dict[str, Any]]:
    """Read a frame cache with numpy.load or h5py alone; frames and metadata."""
    if str(path).endswith(".npz"):
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
        count, shape = int(found.pop("nframes")), tuple(found.pop("shape").tolist())
        out = np.zeros((count, *shape), found.pop("dtype").item().decode())
        for i in range(count):
            rows, columns, values = (found.pop(f"{i}_{part}") for part in ("row", "col", "data"))
            assert values.dtype == out.dtype
            np.add.at(out[i], (rows, columns), values)
        return out, found
    with h5py.File(path) as file:
        place = file[group]
        assert place.attrs["HEXRD_FRAMECACHE_VERSION"] == 1
        count, shape = int(place["nframes"][()]), tuple(place["shape"][()].tolist())
        out = np.zeros((count, *shape), place["dtype"][()].decode())
        assert place["data"].dtype == out.dtype
        ids = place["frame_ids"][()].reshape(-1, 2)
        assert ids.dtype == np.uint64
        for frame, (a, b) in zip(out, ids, strict=True):
            index = place["indices"][a:b]
            np.add.at(frame, (index[:, 0], index[:, 1]), place["data"][a:b, 0])
        metadata: dict[str, Any] = {}
        place["metadata"].visititems(
            lambda name, thing: (
                metadata.update({name: thing[()]}) if isinstance(thing, h5py.Dataset) else None
            )
        )
        return out, metadata
