# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse recordings as LiberTEM reads them: TOML and three binary files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_arrays(
    path: str | os.PathLike[str],
    indptr: NDArray[Any],
    indices: NDArray[Any],
    data: NDArray[Any],
    *,
    nav_shape: Sequence[int] | None,
    sig_shape: Sequence[int] | None,
    filetype: str = "raw_csr",
    extra: str = "",
    folder: str = "",
    **told: str,
) -> Path:
    """Write the three arrays as they are, and the TOML file.

    Parameters
    ----------
    path : path
        The TOML file.
    indptr, indices, data : ndarray
        Their types are those of the files.
    nav_shape, sig_shape : sequence of int, optional
        As in the TOML file; left out if None.
    filetype : str
        Also the name of the second table, as LiberTEM wants it.
    extra : str
        More lines for [params].
    folder : str
        Of the binary files, as the TOML file names it.
    told : str
        Entries of the second table that are to differ.
    """
    path = Path(path)
    arrays = {"indptr": indptr, "indices": indices, "data": data}
    lines = ["[params]", "", f'filetype = "{filetype}"']
    lines += [f"nav_shape = {list(nav_shape)}"] if nav_shape is not None else []
    lines += [f"sig_shape = {list(sig_shape)}"] if sig_shape is not None else []
    lines += [extra, f"[{filetype}]", ""]
    for part, array in arrays.items():
        name = f"{folder}{path.stem}_{part}.dat"
        (path.parent / name).parent.mkdir(exist_ok=True)
        array.tofile(path.parent / name)
        dtype = array.dtype.str.replace("|", "")
        lines.append(f'{part}_file = "{told.get(f"{part}_file", name)}"')
        lines.append(f'{part}_dtype = "{told.get(f"{part}_dtype", dtype)}"')
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def write_raw_csr(
    path: str | os.PathLike[str],
    frames: NDArray[Any],
    *,
    sig_dims: int = 2,
    indptr_dtype: str = "<i8",
    indices_dtype: str = "<i4",
    shuffle: np.random.Generator | None = None,
    nav_shape: Sequence[int] | None = (),
    sig_shape: Sequence[int] | None = (),
    **layout: Any,
) -> Path:
    """Write dense frames; their type is that of the values.

    Parameters
    ----------
    path : path
        The TOML file.
    frames : ndarray
        Scan shape, then frame shape.
    sig_dims : int
        Number of axes of a frame.
    indptr_dtype, indices_dtype : str
        Types of the files.
    shuffle : Generator, optional
        Puts the entries of each frame into random order, and splits every third value in two
        entries of the same pixel.
    nav_shape, sig_shape
        As the TOML file tells them, if not those of `frames`.
    layout
        Keywords of `write_arrays`.
    """
    cut = frames.ndim - sig_dims
    flat = frames.reshape(int(np.prod(frames.shape[:cut], dtype=int)), -1)
    counts, indices, values = [0], [], []
    for frame in flat:
        (places,) = np.nonzero(frame)
        entries = frame[places]
        if shuffle is not None:
            half = (entries[::3] // 2).astype(frame.dtype)
            rest = entries.copy()
            rest[::3] -= half
            places, entries = np.append(places, places[::3]), np.append(rest, half)
            order = shuffle.permutation(len(places))
            places, entries = places[order], entries[order]
        counts.append(counts[-1] + len(places))
        indices.append(places)
        values.append(entries)
    return write_arrays(
        path,
        np.array(counts).astype(indptr_dtype),
        np.concatenate(indices).astype(indices_dtype),
        np.concatenate(values).astype(frames.dtype),
        nav_shape=frames.shape[:cut] if nav_shape == () else nav_shape,
        sig_shape=frames.shape[cut:] if sig_shape == () else sig_shape,
        **layout,
    )
