# SPDX-License-Identifier: GPL-3.0-or-later
"""Counted electrons in HDF5, versions 1 to 3 of stempy's layout."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray


def split(counts: NDArray[Any], frames: int, rng: np.random.Generator) -> list[NDArray[np.uint32]]:
    """List the electrons of a position frame by frame; none has two of them in one pixel."""
    layers = np.zeros((frames, counts.size), bool)
    for place in np.flatnonzero(counts):
        layers[rng.permutation(frames)[: int(counts.reshape(-1)[place])], place] = True
    return [np.flatnonzero(layer).astype(np.uint32) for layer in layers]


def write_lists(
    path: str | os.PathLike[str],
    lists: list[NDArray[Any]],
    positions: NDArray[Any],
    *,
    scan: tuple[int, int],
    shape: tuple[int, int],
    version: int | None = 3,
    place: str = "u4",
    metadata: Mapping[str, Any] | None = None,
    userblock: int = 0,
    **frames: Any,
) -> Path:
    """Write lists as they are.

    Parameters
    ----------
    path : path
        The HDF5 file.
    lists : list of ndarray
        Places of electrons in the flat frame, a list for each frame.
    positions : ndarray
        Position of each frame.
    scan : (int, int)
        Lines, and positions of a line.
    shape : (int, int)
        Rows and columns of a frame.
    version : int or None
        Attribute of the file; None for no such attribute.
    place : str
        Type of a place.
    metadata : mapping
        Attributes of the group ``metadata``.
    userblock : int
        Bytes before the HDF5 file.
    frames
        Keywords of h5py for the data set of lists.
    """
    with h5py.File(path, "w", userblock_size=userblock) as file:
        if version is not None:
            file.attrs["version"] = version
        group = file.create_group("electron_events")
        group["scan_positions"] = positions
        group["scan_positions"].attrs.update(Nx=scan[1], Ny=scan[0])
        dataset = group.create_dataset("frames", (len(lists),), h5py.vlen_dtype(place), **frames)
        dataset.attrs.update(Nx=shape[0], Ny=shape[1])
        for i, electrons in enumerate(lists):
            dataset[i] = electrons.astype(place)
        file.create_group("metadata").attrs.update(metadata or {})
    return Path(path)


def write_counts(
    path: str | os.PathLike[str],
    counts: NDArray[Any],
    *,
    version: int | None = 3,
    frames: int = 1,
    seed: int = 5,
    **layout: Any,
) -> Path:
    """Write numbers of electrons.

    Parameters
    ----------
    path : path
        The HDF5 file.
    counts : ndarray
        Lines, positions, rows, columns.
    version : int or None
        1 (and None): a list for each position, in which pixels are repeated, electrons in any
        order. 2: up to `frames` lists for each position, in any order. 3: so many for each, in
        the order of the positions.
    frames : int
        Frames of a position.
    seed : int
        Of the order.
    layout
        Keywords of `write_lists`.
    """
    rng = np.random.default_rng(seed)
    scan, shape = counts.shape[:2], counts.shape[2:]
    flat = counts.reshape(-1, *shape)
    count = len(flat)
    if version in (None, 1):
        lists = [rng.permutation(np.repeat(np.arange(c.size), c.reshape(-1))) for c in flat]
        positions = np.arange(count)
    else:
        several = [split(c, frames, rng) for c in flat]
        lists = [electrons for one in several for electrons in one]
        positions = np.arange(count)
        if version == 2:
            positions = np.repeat(positions, frames)
            order = rng.permutation(len(lists))
            order = order[[bool(len(lists[i])) for i in order]]  # frames without electrons are lost
            lists, positions = [lists[i] for i in order], positions[order]
    return write_lists(path, lists, positions, scan=scan, shape=shape, version=version, **layout)
