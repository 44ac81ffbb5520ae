# SPDX-License-Identifier: GPL-3.0-or-later
"""What data sets of HDF5 files mean: the layouts that 4D-STEM data come in.

Sources: files written by py4DSTEM, ncempy, Velox, kikuchipy, hexrd and NeXus software, what
RosettaSciIO and LiberTEM make of them, and Gatan's published description of DM5. The layouts are
written down in ``specifications/hdf5.md``.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rsciio_tem.errors import Problem
from rsciio_tem.parsing.hdf5 import DAMAGE, attributes, numbers, plain, text, tree
from rsciio_tem.recording import rotation
from rsciio_tem.recording.axis import Axis
from rsciio_tem.scan.scan import ScanHint

__all__ = [
    "Meaning",
    "emd_version",
    "is_velox",
    "meaning_of",
    "nexus_default",
    "rosettasciio_reader",
]


@dataclass(frozen=True)
class Meaning:
    """What a layout says about a data set.

    Parameters
    ----------
    layout : str
        Name of the layout.
    axes : tuple of Axis
        One for each axis as stored; empty if nothing is known.
    main : bool
        Whether it is the recording, not a by-product such as a virtual image.
    default : bool
        Whether the file names it as the one to show.
    spectra : bool
        Its last axis is a spectrum, so that it is no stack of frames.
    sig_first : bool
        The axes of the frame come before those of the scan.
    hint : ScanHint, optional
        A scan shape for frames that are stored as one line, in which case `scan_axes` count.
    metadata, original_metadata : dict
        To be added to those of the recording.
    problems : tuple of Problem
        What is odd about it.
    omega : array-like, optional
        Angles of a rotation series, as stored.
    """

    layout: str = ""
    axes: tuple[Axis, ...] = ()
    main: bool = True
    default: bool = False
    spectra: bool = False
    sig_first: bool = False
    hint: ScanHint | None = None
    scan_axes: tuple[Axis, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    original_metadata: dict[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    omega: Any = None

    def angles(self, nav_shape: tuple[int, ...]) -> tuple[Any, tuple[Problem, ...]]:
        """Return the table of angles of a stack of frames, None if there is none that fits."""
        if self.omega is None or len(nav_shape) != 1:
            return None, ()
        return rotation.table(self.omega, nav_shape[0])


# ---------------------------------------------------------------- axes

_UNITS = {"A": "Å", "pixels": "px", "pixel": "px", "n/a": "", "none": "", "[]": ""}


def _units(value: Any) -> str:
    """Return units as HyperSpy writes them: ``[n_m^-1]`` is 1/nm, ``A`` in EMD files is Å."""
    name = text(value).strip("[] ").replace("_", "")
    if inverse := re.fullmatch(r"([^\W\d]+)\s*(?:\^|\*\*)\(?-1\)?", name):
        return f"1/{_UNITS.get(inverse[1], inverse[1])}"
    if inverse := re.fullmatch(r"1\s*/\s*([^\W\d]+)", name):
        return f"1/{_UNITS.get(inverse[1], inverse[1])}"
    return _UNITS.get(name, name)


def _axis(name: str, units: str, values: list[float], size: int) -> Axis:
    """Calibrate an axis by its coordinates, or by the first two of them."""
    if len(values) == 1 == size:
        return Axis(name, units, 1.0, values[0])
    if len(values) not in (2, size) or size < 2:
        return Axis(name, units)
    scale = (values[-1] - values[0]) / (len(values) - 1)
    uneven = np.abs(np.diff(values) - scale).max() > 0.01 * abs(scale)
    return Axis(name, units) if uneven or not scale else Axis(name, units, scale, values[0])


def _is_reciprocal(axis: Axis) -> bool:
    units = axis.units or ""
    return units[:2] == "1/" or units in ("mrad", "rad")


def _is_energy(axis: Axis) -> bool:
    return axis.units in ("eV", "keV") or "energy" in (axis.name or "").lower()


# ---------------------------------------------------------------- layouts

#: Asks about one data set: its path, itself, the group it is in, the file.
Layout = Callable[[str, Any, Any, Any], Meaning | None]


def _velox(path: str, dataset: Any, group: Any, file: Any) -> Meaning | None:
    """Images of Velox: /Data/Image/<id>/Data, with a text of metadata for each of the frames."""
    if not re.fullmatch(r"Data/Image/[^/]+/Data", path) or dataset.ndim != 3:
        return None
    tags: dict[str, Any] = {}
    notes = group.get("Metadata")
    if notes is not None and notes.ndim == 2 and notes.shape[0] <= 1 << 20:
        raw = bytes(np.asarray(notes[:, 0], np.uint8)).split(b"\0", 1)[0]
        try:
            tags = json.loads(raw)
        except ValueError:
            tags = {}
    result, scan = _inside(tags, "BinaryResult"), _inside(tags, "Scan")
    detectors = _inside(tags, "Detectors")
    detector = _inside(detectors, f"Detector-{result.get('DetectorIndex', '')}")
    size, offset = _inside(result, "PixelSize"), _inside(result, "Offset")
    unit = str(result.get("PixelUnitX") or "")
    factor, units = {"m": (1e9, "nm"), "1/m": (1e-9, "1/nm")}.get(unit, (1.0, unit))
    rows, columns = (
        Axis(
            name, units, (_float(size, side) or 1 / factor) * factor, _float(offset, name) * factor
        )
        for name, side in (("y", "height"), ("x", "width"))
    )
    step = _float(scan, "FrameTime") or _float(detector, "ExposureTime")
    time = Axis("Time", "s", step) if step else Axis("frame")
    hint, shape = None, _inside(scan, "ScanSize")
    nav = int(_float(shape, "height")), int(_float(shape, "width"))
    is_camera = detector.get("DetectorType") == "ImagingDetector"
    if is_camera and min(nav) > 1 and math.prod(nav) == dataset.shape[2]:
        hint = ScanHint("header", nav, 0.9, f"a camera, and ScanSize {nav[1]} x {nav[0]} in Scan")
    return Meaning(
        "Velox",
        (rows, columns, time),
        sig_first=True,
        hint=hint,
        scan_axes=(Axis("y"), Axis("x")),
        metadata=_velox_metadata(tags, detector),
        original_metadata=tags,
    )


def _inside(tags: Any, name: str) -> dict[str, Any]:
    inner = tags.get(name) if isinstance(tags, dict) else None
    return inner if isinstance(inner, dict) else {}


def _float(tags: dict[str, Any], name: str) -> float:
    try:
        value = float(tags.get(name) or 0)
    except (TypeError, ValueError):
        return 0.0
    return value if math.isfinite(value) else 0.0


def _velox_metadata(tags: dict[str, Any], detector: dict[str, Any]) -> dict[str, Any]:
    optics, stage = _inside(tags, "Optics"), _inside(tags, "Stage")
    place = _inside(stage, "Position")
    tem: dict[str, Any] = {}
    for name, source, key, factor in (
        ("beam_energy", optics, "AccelerationVoltage", 1e-3),
        ("camera_length", optics, "CameraLength", 1e3),
        ("magnification", optics, "NominalMagnification", 1.0),
        ("convergence_angle", optics, "BeamConvergence", 1e3),
    ):
        if key in source:
            tem[name] = _float(source, key) * factor
    if model := _inside(tags, "Instrument").get("InstrumentModel"):
        tem["microscope"] = str(model)
    if stage:
        tilts = {"tilt_alpha": "AlphaTilt", "tilt_beta": "BetaTilt"}
        tem["Stage"] = {
            **{n: math.degrees(_float(stage, k)) for n, k in tilts.items() if k in stage},
            **{n: _float(place, n) * 1e3 for n in "xyz" if n in place},
        }
    if detector.get("DetectorName"):
        tem["Detector"] = {"Camera": {"name": str(detector["DetectorName"])}}
    found: dict[str, Any] = {"Acquisition_instrument": {"TEM": tem}} if tem else {}
    begin = _inside(_inside(tags, "Acquisition"), "AcquisitionStartDatetime")
    if 0 < (seconds := _float(begin, "DateTime")) < 1 << 34:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        found["General"] = {
            "date": moment.date().isoformat(),
            "time": moment.time().isoformat(),
            "time_zone": "UTC",
        }
    return found


def _dm5(path: str, dataset: Any, group: Any, file: Any) -> Meaning | None:
    """Images of DigitalMicrograph 5: /ImageList/[k]/ImageData/Data, tags as attributes."""
    match = re.fullmatch(r"ImageList/\[(\d+)\]/ImageData/Data", path)
    if not match:
        return None
    number, ndim = int(match[1]), dataset.ndim
    axes = []
    for i in reversed(range(ndim)):  # numbered from the fast end
        cal = attributes(group.get(f"Calibrations/Dimension/[{i}]", {}))
        scale = _float(cal, "Scale") or 1.0
        axes.append(Axis("", _units(cal.get("Units", "")), scale, -_float(cal, "Origin") * scale))
    tags = attributes(group.parent.get("ImageTags/Meta Data", {}))
    thumbnails = [attributes(t).get("ImageIndex") for t in (file.get("Thumbnails") or {}).values()]
    sig_first, problems = False, []
    if ndim == 4 and not tags.get("Data Order Swapped"):
        ends = [all(_is_reciprocal(a) for a in pair) for pair in (axes[:2], axes[2:])]
        sig_first = not (ends[1] and not ends[0])
        if ends[0] == ends[1]:
            problems.append(
                Problem(
                    "warning",
                    "does not say which of its four axes are those of the pattern; the first two "
                    "are taken, as in older DigitalMicrograph files.",
                    "Pass sig_first=False if it is the last two.",
                )
            )
    return Meaning(
        "DM5",
        tuple(axes),
        main=number not in thumbnails and text(dataset.attrs.get("CLASS", "")) != "IMAGE",
        spectra="spectrum" in text(tags.get("Format", "")).lower(),
        sig_first=sig_first,
        problems=tuple(problems),
    )


def _emd(path: str, dataset: Any, group: Any, file: Any) -> Meaning | None:
    """EMD: a group with ``emd_group_type``, the array, and a vector ``dim<i>`` for each axis.

    NCEM's files count from dim1, those of py4DSTEM 0.14 and emdfile from dim0.
    """
    kind = group.attrs.get("emd_group_type")
    name = path.rpartition("/")[2]
    if kind is None or not (text(kind) == "array" or kind == 1) or name[:3] == "dim":
        return None
    first = 0 if "dim0" in group else 1
    cal = _py4dstem_calibration(group) if first == 0 else {}
    axes = []
    for i, size in enumerate(dataset.shape):
        dim = group.get(f"dim{i + first}")
        given = {} if dim is None else attributes(dim)
        label, units = text(given.get("name", "")), _units(given.get("units", ""))
        axis = _axis(label, units, numbers(dim), size)
        if units in ("", "px") and (also := cal.get(label[:1])) is not None:
            axis = replace(axis, scale=also[0], offset=axis.offset * also[0], units=also[1])
        axes.append(axis)
    cls = text(group.attrs.get("python_class", ""))
    aside = cls not in ("", "DataCube", "Array") or "slices/" in path or "pointlist" in path
    original: dict[str, Any] = {"EMD_version": emd_version(file)}
    for part in ("microscope", "sample", "user", "comments"):
        if part in file:
            original[part] = attributes(file[part])
    root = group.parent
    if first == 0 and "metadatabundle/calibration" in root:
        bundle = root["metadatabundle/calibration"]
        original["calibration"] = {k: v for k, v in tree(bundle).items() if k != "attributes"}
    return Meaning(
        "EMD" if first else "EMD 1.0",
        tuple(axes),
        main=not aside,
        spectra=any(_is_energy(a) for a in axes[-1:]),
        metadata={"Signal": {"signal_type": "electron_diffraction"}}
        if dataset.ndim > 3 and not aside
        else {},
        original_metadata=original,
    )


def emd_version(file: Any) -> str:
    """Return the version of an EMD file, empty if it is none."""
    for group in (file, *(g for g in file.values() if hasattr(g, "keys"))):
        if "version_major" in group.attrs:
            parts = (plain(group.attrs.get(f"version_{p}", "")) for p in ("major", "minor"))
            return ".".join(map(str, parts))
    return ""


def _py4dstem_calibration(group: Any) -> dict[str, tuple[float, str]]:
    """Return the pixel sizes that py4DSTEM keeps beside the root of a cube, by R and Q."""
    bundle = group.parent.get("metadatabundle/calibration") or {}
    found = {}
    for letter in "RQ":
        size, units = bundle.get(f"{letter}_pixel_size"), bundle.get(f"{letter}_pixel_units")
        if size is not None and units is not None and size.shape == () and size.dtype.kind in "fiu":
            value, unit = float(size[()]), _units(units[()])
            if math.isfinite(value) and value > 0 and unit not in ("", "px"):
                found[letter] = (value, unit)
    return found


def _nexus(path: str, dataset: Any, group: Any, file: Any) -> Meaning | None:
    """NeXus: the signal of an NXdata group, its axes beside it."""
    if text(group.attrs.get("NX_class", "")) != "NXdata":
        return None
    name = path.rpartition("/")[2]
    signal = text(group.attrs.get("signal", "")) or next(
        (n for n in group if "signal" in attributes(group[n])), "data"
    )
    if name != signal:
        return Meaning("NXdata", main=False)
    listed = group.attrs.get("axes", dataset.attrs.get("axes", ()))
    if isinstance(listed, (str, bytes)):
        listed = re.split(r"[:,]", text(listed).strip("[]"))
    names = [text(n).strip() for n in np.atleast_1d(np.asarray(listed, object))]
    axes = [Axis() for _ in dataset.shape]
    for i, label in enumerate(names):
        where = np.atleast_1d(group.attrs.get(f"{label}_indices", i))
        place = int(where[0]) if where.size == 1 and where.dtype.kind in "iu" else -1
        if 0 <= place < dataset.ndim and label not in ("", "."):
            vector = group.get(label)
            units = _units(vector.attrs.get("units", "")) if vector is not None else ""
            axes[place] = _axis(label, units, numbers(vector), dataset.shape[place])
    shown = text(dataset.attrs.get("interpretation", group.attrs.get("interpretation", "")))
    return Meaning(
        "NXdata",
        tuple(axes),
        default=group.name == nexus_default(file),
        spectra=shown.startswith("spectr") or (shown == "" and _is_energy(axes[-1])),
    )


def nexus_default(file: Any) -> str:
    """Follow ``default`` from the root; where it is missing, the only group that it can mean."""
    here = file
    for _ in range(8):
        if text(here.attrs.get("NX_class", "")) == "NXdata":
            return str(here.name)
        name = text(here.attrs.get("default", ""))
        if not name:
            fits = [
                n
                for n, g in here.items()
                if hasattr(g, "keys") and text(g.attrs.get("NX_class", "")) in ("NXentry", "NXdata")
            ]
            name = fits[0] if len(fits) == 1 else ""
        here = here.get(name) if name else None
        if here is None or not hasattr(here, "keys"):
            return ""
    return ""


def _kikuchipy(path: str, dataset: Any, group: Any, file: Any) -> Meaning | None:
    """EBSD patterns of kikuchipy: <scan>/EBSD/Data/patterns, numbers beside it in Header."""
    if not path.endswith("/EBSD/Data/patterns") or dataset.ndim < 3:
        return None
    header = {
        k: float(np.ravel(v[()])[0])
        for k, v in (group.parent.get("Header") or {}).items()
        if getattr(v, "size", 0) == 1 and v.dtype.kind in "iuf"
    }
    nav = int(header.get("n_rows", 0)), int(header.get("n_columns", 0))
    hint = None
    if dataset.ndim == 3 and min(nav) > 0:
        hint = ScanHint("header", nav, 0.95, "n_rows and n_columns in Header")
    steps = tuple(Axis(n, "um", header.get(f"step_{n}") or 1.0) for n in "yx")
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
    if "STEM Metadata" not in file or dataset.ndim != 2:
        return None
    scan = attributes(file["STEM Metadata"])
    size = _float({k: np.ravel(v)[0] for k, v in scan.items() if np.size(v) == 1}, "Pixel Size")
    base = os.path.splitext(os.path.basename(file.filename))[0]
    note = Problem(
        "info", "holds images of a scan.", f"Its patterns are in {base}_master.h5, if there is one."
    )
    axes = tuple(Axis(n, "nm" if size else "", size or 1.0) for n in "yx")
    return Meaning("STEM images", axes, problems=(note,))


def _images(path: str, dataset: Any, group: Any, file: Any) -> Meaning | None:
    """Image series of CHESS and hexrd: <path>/images, what is known about them in attributes."""
    if path.rpartition("/")[2] != "images" or dataset.ndim != 3:
        return None
    stored, hint = np.asarray(group.attrs.get("navigation_shape", ())), None
    shape: tuple[int, ...] = ()
    if stored.ndim == 1 and 0 < len(stored) < 8 and stored.dtype.kind in "iu":
        shape = tuple(stored[::-1].tolist())
    if shape and min(shape) > 0 and math.prod(shape) == dataset.shape[0]:
        hint = ScanHint("header", shape, 0.95, "navigation_shape of the image series")
    return Meaning(
        "images",
        hint=hint,
        omega=group.attrs.get("omega"),
        original_metadata={k: v for k, v in attributes(group).items() if k != "omega"},
    )


LAYOUTS: tuple[Layout, ...] = (_velox, _dm5, _emd, _nexus, _kikuchipy, _stem_images, _images)


def meaning_of(path: str, dataset: Any, file: Any) -> Meaning:
    """Return what the first layout that fits says about a data set."""
    group = file[path.rpartition("/")[0] or "/"]
    for layout in LAYOUTS:
        try:
            found = layout(path, dataset, group, file)
        except (*DAMAGE, AttributeError, IndexError):
            continue  # this layout cannot make sense of it
        if found is not None:
            return found
    return Meaning()


# ---------------------------------------------------------------- what is RosettaSciIO's


def is_velox(file: Any) -> bool:
    """Whether a file was written by Velox."""
    version = file.get("Version")
    if getattr(version, "shape", None) != (1,) or "Data" not in file:
        return False
    content = text(version[0])
    return '"format"' in content and any(f'"{n}"' in content for n in ("Velox", "DevelopersKit"))


def _is_velox_series(file: Any) -> bool:
    """Whether a Velox file is one series of images and nothing else."""
    data = file["Data"]
    if any(n in data for n in ("SpectrumStream", "SpectrumImage", "Spectrum", "EELSSpectrumImage")):
        return False
    sets = [g.get("Data") for g in (data.get("Image") or {}).values() if hasattr(g, "keys")]
    return (
        len(sets) == 1
        and getattr(sets[0], "ndim", 0) == 3
        and sets[0].shape[2] > 1
        and sets[0].dtype.kind in "iuf"
    )


def _is_usid(file: Any) -> bool:
    first = next((file[n] for n in file if n.startswith("Measurement_")), None)
    channels = [c for c in getattr(first, "values", tuple)() if hasattr(c, "keys")]
    return any("Position_Indices" in c for c in (first, *channels) if c is not None)


def _of_hyperspy(file: Any) -> bool:
    """Whether an EMD file was written by HyperSpy, which transposes what it writes."""
    signals = file.get("signals")
    groups = signals.values() if hasattr(signals, "values") else ()
    marks = ("record_by", "signal_type")
    return (signals is not None and "emd_group_type" in signals.attrs) or any(
        mark in group.attrs for group in groups for mark in marks
    )


#: What a file is, the reader of RosettaSciIO for it, and how it is recognised.
ROSETTASCIIO_READERS: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    (
        "a HyperSpy file",
        "rsciio.hspy",
        lambda f: text(f.attrs.get("file_format", "")).lower() == "hyperspy",
    ),
    (
        "a NeXus file written by RosettaSciIO",
        "rsciio.nexus",
        lambda f: text(f.attrs.get("file_writer", "")).startswith("hyperspy_nexus"),
    ),
    (
        "a Velox file of spectra, single images or several detectors",
        "rsciio.emd",
        lambda f: is_velox(f) and not _is_velox_series(f),
    ),
    ("an EMD file written by HyperSpy", "rsciio.emd", _of_hyperspy),
    ("a Prismatic simulation", "rsciio.emd", lambda f: "4DSTEM_simulation" in f),
    ("a USID file", "rsciio.usid", _is_usid),
    (
        "an Odemis file of Delmic",
        "rsciio.delmic",
        lambda f: any(n.startswith("Acquisition") and "SVIData" in g for n, g in f.items()),
    ),
    (
        "a TofDAQ file of Tofwerk",
        "rsciio.tofwerk",
        lambda f: "FullSpectra" in f and "TimingData" in f,
    ),
)


def rosettasciio_reader(file: Any) -> tuple[str, str] | None:
    """Return what a file is, and the reader of RosettaSciIO for it, if it is not for us."""
    return next(
        ((what, reader) for what, reader, is_it in ROSETTASCIIO_READERS if is_it(file)), None
    )
