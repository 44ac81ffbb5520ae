# SPDX-License-Identifier: GPL-3.0-or-later
"""Dectris recordings: a master, its data files, and the file of the scanning program.

As an ARINA camera writes them: a chunk per frame, bitshuffle and LZ4.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from . import hdf5

Array = NDArray[Any]


def write_dectris(
    folder: Path,
    frames: Array,
    per_file: int = 5,
    *,
    base: str = "scan",
    scan: tuple[int, int] | None = None,
    prescan: int = 0,
    pixel_size: float = 0.25,
    haadf: bool = False,
    mask: Array | None = None,
    flatfield: Array | None = None,
    flatfield_applied: bool = False,
    triggers: tuple[int, int] | None = None,
    compression: str | None = "bslz4",
    numbered: bool = True,
    old_firmware: bool = False,
    inside: bool = False,
) -> Path:
    """Write a recording; returns the path of the master.

    Parameters
    ----------
    frames : array, shape (n, rows, columns)
        In the order of recording.
    per_file : int
        Frames of a data file.
    scan : (int, int), optional
        Rows and columns that the scanning program writes down.
    triggers : (int, int), optional
        Number of triggers, and of frames per trigger; by default a trigger per frame.
    numbered : bool
        Whether data files say which frames they hold.
    old_firmware : bool
        Links are in /entry instead of /entry/data.
    inside : bool
        Frames are in the master itself.
    """
    master = folder / f"{base}_master.h5"
    group = "entry" if old_firmware else "entry/data"
    ntrigger, nimages = triggers or (len(frames), 1)
    with h5py.File(master, "w") as file:
        file.attrs["default"] = np.bytes_("entry")
        entry = file.require_group("entry")
        entry.attrs["NX_class"] = np.bytes_("NXentry")
        entry.attrs["default"] = np.bytes_("data")
        data = file.require_group(group)
        if not old_firmware:
            data.attrs["NX_class"] = np.bytes_("NXdata")
            data.attrs["signal"] = np.bytes_("data_000001")
        for i, first in enumerate(range(0, len(frames), per_file)):
            part, name = frames[first : first + per_file], f"data_{i + 1:06d}"
            if inside:
                _stack(data, name, part, first, compression, numbered)
                continue
            other = f"{base}_{name}.h5"
            with h5py.File(folder / other, "w") as there:
                _stack(there, "entry/data/data", part, first, compression, numbered)
            data[name] = h5py.ExternalLink(other, "/entry/data/data")
        detector = file.create_group("entry/instrument/detector")
        special = detector.create_group("detectorSpecific")
        for name, value in (
            ("description", np.bytes_("Dectris ARINA Si")),
            ("detector_number", np.bytes_("A-01-0001")),
            ("bit_depth_image", np.uint16(frames.dtype.itemsize * 8)),
            ("count_time", 1e-4),
            ("frame_time", 1.2e-4),
            ("x_pixel_size", 1e-4),
            ("saturation_value", np.int64(40000)),
            ("pixel_mask_applied", np.int8(1)),
            ("flatfield_correction_applied", np.int8(flatfield_applied)),
        ):
            detector[name] = value
        detector["count_time"].attrs["units"] = np.bytes_("s")
        shape = frames.shape[1:]
        for name, value in (
            ("nimages", np.uint64(nimages)),
            ("ntrigger", np.uint64(ntrigger)),
            ("photon_energy", 200e3),
            ("data_collection_date", np.bytes_("2025-01-30T10:15:16.170+01:00")),
            ("pixel_mask", np.zeros(shape, "u4") if mask is None else mask.astype("u4")),
            ("flatfield", np.ones(shape, "f4") if flatfield is None else flatfield.astype("f4")),
        ):
            special[name] = value
    if scan is not None:
        with h5py.File(folder / f"{base}.h5", "w") as file:
            note = file.create_group("STEM Metadata").attrs
            note["NumPixelsX"] = np.array([scan[1]], "u4")
            note["NumPixelsY"] = np.array([scan[0]], "u4")
            note["NumPixelsPrescan"] = np.array([prescan], "u4")
            note["Pixel Size"] = np.array([pixel_size])
            note["High Tension"] = np.array([300e3])
            note["Camera Length"] = np.array([0.115])
            note["Rotation"] = np.array([12.5])
            if haadf:
                for kind, offset in (("Virtual02", 500), ("HAADF", -7)):
                    name = f"{base} [{kind}]"
                    image = offset + np.arange(scan[0] * scan[1], dtype="i2").reshape(scan)
                    file[f"{name}/{name}Image Data"] = image
    return master


def _stack(
    group: Any, name: str, part: Array, first: int, compression: str | None, numbered: bool
) -> None:
    chunks = (1, *part.shape[1:])
    made = group.create_dataset(name, data=part, chunks=chunks, **hdf5.filters(compression))
    if numbered:
        made.attrs["image_nr_low"] = np.uint64(first + 1)
        made.attrs["image_nr_high"] = np.uint64(first + len(part))
