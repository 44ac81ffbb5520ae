# SPDX-License-Identifier: GPL-3.0-or-later
"""HDF5 files in the layouts that 4D-STEM data come in, written with h5py.

Only what makes a layout what it is gets written: groups, attributes, calibration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def filters(name: str | None) -> dict[str, Any]:
    """Return h5py's keywords for a filter, the ones of hdf5plugin included."""
    import hdf5plugin

    if name is None:
        return {}
    if name == "bslz4":
        return dict(hdf5plugin.Bitshuffle(cname="lz4"))
    if name == "lz4":
        return dict(hdf5plugin.LZ4())
    if name == "zstd":
        return dict(hdf5plugin.Zstd())
    return {"compression": name.removeprefix("shuffle+"), "shuffle": "shuffle+" in name}


def write_array(
    path: Path,
    array: Array,
    dataset: str = "data",
    *,
    chunks: tuple[int, ...] | None = None,
    compression: str | None = None,
    userblock: int = 0,
    attributes: Mapping[str, Any] | None = None,
    **others: Array,
) -> Path:
    """Write one array, and others by their names; contiguous unless it has chunks."""
    with h5py.File(path, "w", userblock_size=userblock) as file:
        for name, values in {**others, dataset: array}.items():
            own = {"chunks": chunks, **filters(compression)} if name == dataset and chunks else {}
            made = file.create_dataset(name, data=values, **own)
            if name == dataset:
                made.attrs.update(attributes or {})
    return path


def write_soft_links(path: Path, array: Array) -> Path:
    """Write an array that is found under another name, in a group that contains itself."""
    with h5py.File(path, "w") as file:
        file["deep/inside/frames"] = array
        file["deep/again"] = file["deep"]
        file["short"] = h5py.SoftLink("/deep/inside/frames")
        file["nowhere"] = h5py.SoftLink("/not/there")
    return path


def write_external_link(path: Path, array: Array, target: str = "elsewhere.h5") -> Path:
    """Write a file that only links to the array in another file."""
    write_array(path.parent / target, array, "entry/frames")
    with h5py.File(path, "w") as file:
        file["linked"] = h5py.ExternalLink(target, "/entry/frames")
    return path


def write_virtual(path: Path, array: Array, pieces: int = 2) -> Path:
    """Write an array as a virtual data set over several files, cut along its first axis."""
    layout = h5py.VirtualLayout(array.shape, array.dtype)
    first = 0
    for i, part in enumerate(np.array_split(array, pieces)):
        name = f"piece{i}.h5"
        write_array(path.parent / name, part)
        layout[first : first + len(part)] = h5py.VirtualSource(name, "data", part.shape)
        first += len(part)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("whole", layout)
    return path


def write_emd(
    path: Path,
    array: Array,
    dims: Sequence[tuple[str, str, float, float]],
    *,
    group: str = "data/cube",
    dataset: str = "data",
    chunks: tuple[int, ...] | None = None,
) -> Path:
    """Write EMD 0.2 as NCEM does; `dims` are name, units, offset and step of each axis."""
    with h5py.File(path, "w") as file:
        file.attrs["version_major"], file.attrs["version_minor"] = 0, 2
        for name in ("microscope", "sample", "user", "comments"):
            file.create_group(name)
        file["microscope"].attrs["high tension"] = 300e3
        here = file.create_group(group)
        here.attrs["emd_group_type"] = 1
        here.create_dataset(dataset, data=array, chunks=chunks)
        for i, (label, units, offset, step) in enumerate(dims):
            here[f"dim{i + 1}"] = offset + step * np.arange(array.shape[i])
            here[f"dim{i + 1}"].attrs["name"] = np.bytes_(label)
            here[f"dim{i + 1}"].attrs["units"] = np.bytes_(units)
    return path


def write_py4dstem_old(path: Path, array: Array) -> Path:
    """Write a cube as py4DSTEM up to 0.13 did, with a by-product of more pixels."""
    root = "4DSTEM_experiment/data"
    dims = [("R_x", "[n_m]", 0, 0.5), ("R_y", "[n_m]", 0, 0.5), ("Q_x", "[A^-1]", 0, 0.02),
            ("Q_y", "[A^-1]", 0, 0.02)]  # fmt: skip
    write_emd(path, array, dims, group=f"{root}/datacubes/datacube_0")
    with h5py.File(path, "a") as file:
        slices = file.create_group(f"{root}/realslices/maps")
        slices.attrs["emd_group_type"] = 1
        slices["realslice"] = np.zeros((20, 30, 40), "f4")
        for i, n in enumerate((20, 30, 40)):
            slices[f"dim{i + 1}"] = np.arange(n)
            slices[f"dim{i + 1}"].attrs["name"], slices[f"dim{i + 1}"].attrs["units"] = "R", "nm"
        points = file.create_group(f"{root}/pointlists/points")
        points["data"] = np.zeros(5, [("qx", "f8"), ("qy", "f8")])
    return path


def write_py4dstem(
    path: Path,
    array: Array,
    steps: tuple[float, float] = (2.5, 0.0125),
    units: tuple[str, str] = ("A", "A^-1"),
    *,
    root: str = "datacube_root",
    cube: str = "datacube",
    dims_in_pixels: bool = False,
    virtual_image: tuple[int, int] | None = None,
    chunks: tuple[int, ...] | None = None,
) -> Path:
    """Write a cube as py4DSTEM 0.14 and emdfile do (EMD 1.0)."""

    def tagged(parent: Any, name: str, kind: str, cls: str) -> Any:
        group = parent.create_group(name)
        group.attrs["emd_group_type"], group.attrs["python_class"] = kind, cls
        return group

    with h5py.File(path, "w") as file:
        file.attrs["emd_group_type"] = "file"
        file.attrs["authoring_program"] = "emdfile"
        file.attrs["version_major"], file.attrs["version_minor"] = 1, 0
        top = tagged(file, root, "root", "Root")
        here = tagged(top, cube, "array", "DataCube")
        here.create_dataset("data", data=array, chunks=chunks)
        here["data"].attrs["units"] = "pixel intensity"
        for i, name in enumerate(("Rx", "Ry", "Qx", "Qy")):
            step, unit = (1, "pixels") if dims_in_pixels else (steps[i // 2], units[i // 2])
            here[f"dim{i}"] = np.array([0, step])
            here[f"dim{i}"].attrs["name"], here[f"dim{i}"].attrs["units"] = name, unit
        if virtual_image is not None:
            image = tagged(here, "brightfield", "array", "VirtualImage")
            image["data"] = np.arange(np.prod(virtual_image), dtype="f8").reshape(virtual_image)
            for i in range(2):
                image[f"dim{i}"] = np.array([0, 1])
        bundle = tagged(top, "metadatabundle", "metadatabundle", "")
        calibration = tagged(bundle, "calibration", "metadata", "Calibration")
        for letter, step, unit in zip("RQ", steps, units, strict=True):
            calibration[f"{letter}_pixel_size"] = step
            calibration[f"{letter}_pixel_units"] = unit
        calibration["QR_flip"] = True
    return path


def write_velox(
    path: Path,
    frames: Array,
    tags: Mapping[str, Any] | None = None,
    *,
    more: int = 0,
    chunks: tuple[int, ...] | None = None,
) -> Path:
    """Write frames (n, rows, columns) as Velox stores a series: rows, columns, n."""
    text = json.dumps(tags or {}).encode()
    note = np.zeros((60000, len(frames)), np.uint8)
    note[: len(text)] = np.frombuffer(text, np.uint8)[:, np.newaxis]
    with h5py.File(path, "w") as file:
        file["Version"] = np.array([b'{\n"version": "11",\n"format": "Velox"\n}'], object)
        for i in range(1 + more):
            group = file.create_group(f"Data/Image/{i:032x}")
            data = np.ascontiguousarray(np.moveaxis(frames, 0, -1))
            group.create_dataset("Data", data=data, chunks=chunks or (*data.shape[:2], 1))
            group.create_dataset("Metadata", data=note, chunks=(60000, 1))
    return path


def write_nexus(
    path: Path,
    array: Array,
    axes: Sequence[tuple[str, str, Sequence[float]]] = (),
    *,
    default: bool = True,
    attributes: Mapping[str, Any] | None = None,
    signal: str = "counts",
    aside: Array | None = None,
) -> Path:
    """Write NXdata; `axes` are name, units and coordinates, a name of "." for none."""
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        data = entry.create_group("result")
        data.attrs["NX_class"], data.attrs["signal"] = "NXdata", signal
        if default:
            file.attrs["default"], entry.attrs["default"] = "entry", "result"
        if axes:
            data.attrs["axes"] = [name for name, _, _ in axes]
        for name, units, values in axes:
            if name != ".":
                data[name] = np.asarray(values, float)
                data[name].attrs["units"] = units
        data[signal] = array
        data[signal].attrs.update(attributes or {})
        if aside is not None:
            other = entry.create_group("aside")
            other.attrs["NX_class"] = "NXdata"
            other.attrs["signal"] = "data"
            other["data"] = aside
    return path


def write_dm5(
    path: Path,
    array: Array,
    calibrations: Sequence[tuple[float, float, str]],
    tags: Mapping[str, Any] | None = None,
) -> Path:
    """Write an image with its thumbnail; `calibrations` are origin, scale and units.

    They count from the fastest axis, as in DigitalMicrograph.
    """
    with h5py.File(path, "w") as file:
        for i, values in enumerate((np.zeros((384, 384), "i4"), array)):
            image = file.create_group(f"ImageList/[{i}]")
            data = image.create_group("ImageData")
            data["Data"] = values
            dims = data.create_group("Dimensions")
            for k, n in enumerate(values.shape[::-1]):
                dims.attrs[f"[{k}]"] = n
            if i:
                for k, (origin, scale, units) in enumerate(calibrations):
                    cal = data.create_group(f"Calibrations/Dimension/[{k}]").attrs
                    cal["Origin"], cal["Scale"], cal["Units"] = origin, scale, np.bytes_(units)
                image.create_group("ImageTags/Meta Data").attrs.update(tags or {})
        file.create_group("Thumbnails/[0]").attrs["ImageIndex"] = 0
        file.create_group("ImageSourceList/[0]").attrs["ImageRef"] = 1
        file.create_group("DocumentObjectList/[0]").attrs["ImageSource"] = 0
    return path


def write_kikuchipy(
    path: Path, patterns: Array, scan: tuple[int, int], steps: tuple[float, float] = (1.5, 2.0)
) -> Path:
    """Write EBSD patterns (n, rows, columns), numbers of the scan beside them."""
    with h5py.File(path, "w") as file:
        file["manufacturer"] = np.array([b"kikuchipy"])
        group = file.create_group("Scan 1/EBSD")
        group.create_dataset("Data/patterns", data=patterns, chunks=True)
        for name, value in zip(
            ("n_rows", "n_columns", "step_y", "step_x"), (*scan, *steps), strict=True
        ):
            group[f"Header/{name}"] = np.array([value])
        group["Header/static_background"] = patterns[0]
    return path
