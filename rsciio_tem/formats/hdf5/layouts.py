# SPDX-License-Identifier: GPL-3.0-or-later
"""What data sets of HDF5 files mean: the layouts that 4D-STEM data come in.

Sources: files written by py4DSTEM, ncempy, Velox, kikuchipy, hexrd and NeXus software, what
RosettaSciIO and LiberTEM make of them, and Gatan's published description of DM5. The layouts are
written down in ``specifications/hdf5.md``.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from rsciio_tem.errors import Problem, Problems
from rsciio_tem.formats.hdf5.meaning import (
    Meaning,
    is_energy,
    number,
    units_of,
)
from rsciio_tem.formats.hdf5.py4dstem import calibration_of
from rsciio_tem.formats.hdf5.velox import velox
from rsciio_tem.parsing import nion
from rsciio_tem.parsing.coordinates import axis_of
from rsciio_tem.parsing.hdf5 import tree
from rsciio_tem.parsing.hdf5_links import above, children, member, opened_at
from rsciio_tem.parsing.hdf5_values import (
    DAMAGE,
    attribute,
    attributes,
    filename_of,
    has_attribute,
    has_link,
    numbers,
    plain,
    text,
    value,
)
from rsciio_tem.parsing.units import frame_axes
from rsciio_tem.recording.axis import Axis
from rsciio_tem.scan.scan import ScanHint

#: Asks about one data set: its path, itself, the group it is in, the file.
Layout = Callable[[str, Any, Any, Any], Meaning | None]


def _dm5(path: str, dataset: Any, group: Any, file: Any) -> Meaning | None:
    """Images of DigitalMicrograph 5: /ImageList/[k]/ImageData/Data, tags as attributes."""
    match = re.fullmatch(r"ImageList/\[(\d{1,9})\]/ImageData/Data", path)
    if not match:
        return None
    ndim = dataset.ndim
    axes, units = [], []
    for i in reversed(range(ndim)):  # numbered from the fast end
        cal = attributes(member(group, f"Calibrations/Dimension/[{i}]"))
        scale = number(cal, "Scale")
        units.append(units_of(cal.get("Units", "")))
        axes.append(Axis("", units[-1], scale, -number(cal, "Origin") * scale))
    tags = attributes(member(_above(path, group, file), "ImageTags/Meta Data"))
    thumbnails = [attributes(t).get("ImageIndex") for _, t in children(member(file, "Thumbnails"))]
    sig_first, problems = False, Problems()
    if ndim == 4 and not tags.get("Data Order Swapped"):
        frame = frame_axes(units)
        sig_first = frame is None or frame.end == "first"
        if frame is None:
            problems.warn(
                "does not say which of its four axes are those of the pattern; the first two are "
                "taken, as in older DigitalMicrograph files.",
                "Pass sig_first=False if it is the last two.",
                "sig_first",
            )
    return Meaning(
        "DM5",
        tuple(axes),
        main=int(match[1]) not in thumbnails and text(attribute(dataset, "CLASS")) != "IMAGE",
        spectra="spectrum" in text(tags.get("Format", "")).lower(),
        sig_first=sig_first,
        problems=tuple(problems),
    )


def _emd(path: str, dataset: Any, group: Any, file: Any) -> Meaning | None:
    """EMD: a group with ``emd_group_type``, the array, and a vector ``dim<i>`` for each axis.

    NCEM's files count from dim1, those of py4DSTEM 0.14 and emdfile from dim0.
    """
    kind = attribute(group, "emd_group_type")
    name = path.rpartition("/")[2]
    if kind is None or not (text(kind) == "array" or kind == 1) or name[:3] == "dim":
        return None
    first = 0 if has_link(group, "dim0") else 1
    bundle = None
    if first == 0:
        bundle = member(_above(path, group, file), "metadatabundle/calibration")
    calibration = calibration_of(bundle)
    axes, problems = [], Problems()
    for i, size in enumerate(dataset.shape):
        vector = member(group, f"dim{i + first}")
        described = {} if vector is None else attributes(vector)
        label, units = text(described.get("name", "")), units_of(described.get("units", ""))
        if (pixel := calibration.get(label.replace("_", "")[:2].capitalize())) is None:
            axes.append(axis_of(label, units, numbers(vector), size, problems))
        else:
            axes.append(pixel.axis(label, units, numbers(vector), size, problems))
    cls = text(attribute(group, "python_class"))
    aside = cls not in ("", "DataCube", "Array") or "slices/" in path or "pointlist" in path
    original: dict[str, Any] = {"EMD_version": _emd_version(file)}
    for part in ("microscope", "sample", "user", "comments"):
        if (described_part := member(file, part)) is not None:
            original[part] = attributes(described_part)
    if hasattr(bundle, "keys"):
        original["calibration"] = {k: v for k, v in tree(bundle).items() if k != "attributes"}
    return Meaning(
        "EMD" if first else "EMD 1.0",
        tuple(axes),
        main=not aside,
        spectra=any(is_energy(a) for a in axes[-1:]),
        metadata={"Signal": {"signal_type": "electron_diffraction"}}
        if dataset.ndim > 3 and not aside
        else {},
        original_metadata=original,
        problems=tuple(problems),
    )


def _emd_version(file: Any) -> str:
    """Return the version of an EMD file, empty if it is none."""
    for group in (file, *(group for _, group in children(file))):
        if has_attribute(group, "version_major"):
            parts = (plain(attribute(group, f"version_{p}", "")) for p in ("major", "minor"))
            return ".".join(map(str, parts))
    return ""


def _nexus(path: str, dataset: Any, group: Any, file: Any) -> Meaning | None:
    """NeXus: the signal of an NXdata group, its axes beside it."""
    if text(attribute(group, "NX_class")) != "NXdata":
        return None
    name = path.rpartition("/")[2]
    signal = text(attribute(group, "signal")) or next(
        (label for label, thing in children(group) if has_attribute(thing, "signal")), "data"
    )
    if name != signal:
        return Meaning("NXdata", main=False)
    listed = attribute(group, "axes", attribute(dataset, "axes", ()))
    if isinstance(listed, (str, bytes)):
        listed = re.split(r"[:,]", text(listed).strip("[]"))
    names = [text(n).strip() for n in np.atleast_1d(np.asarray(listed, object))]
    axes, problems = [Axis() for _ in dataset.shape], Problems()
    for i, label in enumerate(names):
        indices = np.atleast_1d(attribute(group, f"{label}_indices", i))
        axis = int(indices[0]) if indices.size == 1 and indices.dtype.kind in "iu" else -1
        if 0 <= axis < dataset.ndim and label not in ("", "."):
            vector = member(group, label)
            units = units_of(attribute(vector, "units"))
            axes[axis] = axis_of(label, units, numbers(vector), dataset.shape[axis], problems)
    shown = text(attribute(dataset, "interpretation", attribute(group, "interpretation")))
    return Meaning(
        "NXdata",
        tuple(axes),
        default=group.name == nexus_default(file),
        spectra=shown.startswith("spectr") or (shown == "" and is_energy(axes[-1])),
        problems=tuple(problems),
    )


def nexus_default(file: Any) -> str:
    """Follow ``default`` from the root; where it is missing, the only group that it can mean."""
    group = file
    for _ in range(8):
        if text(attribute(group, "NX_class")) == "NXdata":
            return str(group.name)
        name = text(attribute(group, "default"))
        if not name:
            fits = [
                label
                for label, inner in children(group)
                if hasattr(inner, "keys")
                and text(attribute(inner, "NX_class")) in ("NXentry", "NXdata")
            ]
            name = fits[0] if len(fits) == 1 else ""
        group = member(group, name) if name else None
        if group is None or not hasattr(group, "keys"):
            return ""
    return ""


def _nion_swift(path: str, dataset: Any, group: Any, file: Any) -> Meaning | None:
    """Arrays of Nion Swift: JSON in the attribute ``properties``."""
    described = nion.properties(attribute(dataset, "properties"), dataset.ndim)
    if described is None:
        return None
    return Meaning(
        "Nion Swift",
        described.axes,
        spectra=described.sig_dims == 1,
        sig_dims=described.sig_dims,
        title=described.title,
        original_metadata={"nion_swift": dict(described.tree)},
    )


def _kikuchipy(path: str, dataset: Any, group: Any, file: Any) -> Meaning | None:
    """EBSD patterns of kikuchipy: <scan>/EBSD/Data/patterns, numbers beside it in Header."""
    if not path.endswith("/EBSD/Data/patterns") or dataset.ndim < 3:
        return None
    header = {
        name: number({"": np.ravel(stored)[0]}, "")
        for name, thing in children(member(_above(path, group, file), "Header"))
        if np.size(stored := value(thing, 1 << 10)) == 1
    }
    nav = int(header.get("n_rows", 0)), int(header.get("n_columns", 0))
    hint = None
    if dataset.ndim == 3 and min(nav) > 0:
        hint = ScanHint("header", nav, 0.95, "n_rows and n_columns in Header")
    steps = tuple(Axis(n, "um", header.get(f"step_{n}", 0.0)) for n in "yx")
    pattern = (Axis("dy"), Axis("dx"))
    return Meaning(
        "kikuchipy",
        (*(steps if dataset.ndim == 4 else (Axis(),) * (dataset.ndim - 2)), *pattern),
        hint=hint,
        scan_axes=steps,
        metadata={"Signal": {"signal_type": "EBSD"}},
    )


def _stem_images(path: str, dataset: Any, group: Any, file: Any) -> Meaning | None:
    """Scan images beside a Dectris ARINA recording, with the group ``STEM Metadata``."""
    described = member(file, "STEM Metadata") if dataset.ndim == 2 else None
    if described is None:
        return None
    scan = attributes(described)
    size = number({k: np.ravel(v)[0] for k, v in scan.items() if np.size(v) == 1}, "Pixel Size")
    base = os.path.splitext(os.path.basename(filename_of(file)))[0]
    note = Problem(
        "info", "holds images of a scan.", f"Its patterns are in {base}_master.h5, if there is one."
    )
    axes = tuple(Axis(n, "nm", size) for n in "yx")
    return Meaning("STEM images", axes, problems=(note,))


def _images(path: str, dataset: Any, group: Any, file: Any) -> Meaning | None:
    """Image series of CHESS and hexrd: <path>/images, what is known about them in attributes."""
    if path.rpartition("/")[2] != "images" or dataset.ndim != 3:
        return None
    stored, hint = np.asarray(attribute(group, "navigation_shape", ())), None
    shape: tuple[int, ...] = ()
    if stored.ndim == 1 and 0 < len(stored) < 8 and stored.dtype.kind in "iu":
        shape = tuple(stored[::-1].tolist())
    if shape and min(shape) > 0 and math.prod(shape) == dataset.shape[0]:
        hint = ScanHint("header", shape, 0.95, "navigation_shape of the image series")
    return Meaning(
        "images",
        hint=hint,
        omega=attribute(group, "omega"),
        original_metadata={k: v for k, v in attributes(group).items() if k != "omega"},
    )


LAYOUTS: tuple[Layout, ...] = (
    *(velox, _dm5, _emd, _nexus, _nion_swift, _kikuchipy, _stem_images, _images),
)


def _above(path: str, group: Any, file: Any) -> Any:
    """Return what the group of a data set is in."""
    return above(file, path.rpartition("/")[0], group)


def meaning_of(path: str, dataset: Any, file: Any) -> Meaning:
    """Return what the first layout that fits says about a data set."""
    group = opened_at(file, path.rpartition("/")[0] or "/")
    for layout in LAYOUTS:
        try:
            meaning = layout(path, dataset, group, file)
        except (*DAMAGE, AttributeError, IndexError):
            continue  # this layout cannot make sense of it
        if meaning is not None:
            return meaning
    return Meaning()
