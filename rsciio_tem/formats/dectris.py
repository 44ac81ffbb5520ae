# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings of Dectris cameras (ARINA, QUADRO, SINGLA, EIGER): a master file and its data files.

Sources: masters of two ARINA cameras, Dectris' published list of what a master holds, what
RosettaSciIO and ncempy make of them. The layout is written down in ``specifications/dectris.md``.

``<base>_master.h5`` describes the detector and links to ``<base>_data_000001.h5``, …, which hold
the frames. ``<base>.h5``, written by the program that scans, knows the scan.
"""

from __future__ import annotations

import datetime
import math
import os
import re
from dataclasses import dataclass
from typing import Any, Literal, Unpack

import numpy as np
import numpy.typing as npt

from rsciio_tem import files, h5, navigator
from rsciio_tem.checking import chunk_tables
from rsciio_tem.corrections import Corrections, as_frame
from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Truncated
from rsciio_tem.frames import Frames
from rsciio_tem.h5data import frames_of
from rsciio_tem.read import ReadOptions, read
from rsciio_tem.recording import Axis, Recording
from rsciio_tem.scan import ScanHint

__all__ = ["file_reader", "parse", "sniff"]

_MASTER = re.compile(r"(.*)_master(\.\w+)", re.IGNORECASE)
_DATA = re.compile(r"(.*)_data_\d{6}(\.\w+)", re.IGNORECASE)
_DETECTOR = "entry/instrument/detector"


@dataclass(frozen=True)
class Part:
    """One data set of frames.

    Parameters
    ----------
    link : str
        Its name in the master.
    file, dataset : str
        Where it is.
    shape : tuple of int
        Frames, rows, columns; empty if it is missing.
    first : int
        Number of its first frame in the series, from 0; -1 if it does not say.
    """

    link: str
    file: str
    dataset: str
    shape: tuple[int, ...] = ()
    first: int = -1


def _master_of(path: str) -> str:
    """Return the master that a data file belongs to, empty if there is none."""
    match = _DATA.fullmatch(path)
    master = f"{match[1]}_master{match[2]}" if match else ""
    return master if master and os.path.isfile(master) else ""


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a master by its links to data, a data file by the master beside it."""
    if not h5.is_hdf5(path, head):
        return None
    # The library is not asked: a damaged file can keep it busy for ever.
    if _MASTER.fullmatch(path) and b"entry" in head:
        return 0.97, "is named as the master of a Dectris recording", {}
    if master := _master_of(path):
        return 0.95, f"belongs to {os.path.basename(master)}", {}
    if b"detectorSpecific" in head or (b"data_000001" in head and b"entry" in head):
        return 0.9, "has the structure of the master of a Dectris recording", {}
    return None


# ---------------------------------------------------------------- frames


def _part(file: Any, group: str, name: str, path: str) -> Part:
    """Find out where the frames of a link are, and which of the series they are."""
    import h5py

    link = file[group].get(name, getlink=True)
    folder = os.path.dirname(path)
    if isinstance(link, h5py.ExternalLink):
        where = os.path.join(folder, link.filename)
        match = _MASTER.fullmatch(path)
        if not os.path.isfile(where) and match:  # all files were given another name
            renamed = f"{match[1]}_{name}{match[2]}"
            where = renamed if os.path.isfile(renamed) else where
        if not os.path.isfile(where):
            return Part(f"{group}/{name}", where, link.path)
        with h5.opened(where) as data:
            if link.path not in data:
                raise FormatError(
                    where, f"has no data set {link.path}, to which {os.path.basename(path)} links."
                )
            return _described(data[link.path], f"{group}/{name}", where, link.path)
    return _described(file[group][name], f"{group}/{name}", path, f"{group}/{name}")


def _described(dataset: Any, link: str, where: str, inner: str) -> Part:
    shape = tuple(int(n) for n in getattr(dataset, "shape", None) or ())
    if len(shape) != 3:
        raise FormatError(where, f"{inner} has the shape {shape}, and is no stack of frames.")
    own = h5.attributes(dataset)
    low, high = own.get("image_nr_low"), own.get("image_nr_high")
    first = -1
    if isinstance(low, int) and isinstance(high, int) and 0 < low == high - shape[0] + 1:
        first = low - 1
    return Part(link, where, inner, shape, first)


def _frames(parts: list[Part], path: str, problems: list[Problem]) -> Frames:
    """Join the data sets in the order of the series; blanks stand for those that are missing."""
    there = [p for p in parts if p.shape and p.shape[0]]
    lost = [p for p in parts if not p.shape]
    if not there:
        raise Truncated(
            path,
            f"none of its {len(parts)} data files is there, the first would be {parts[0].file}."
            if lost
            else "its data files hold no frames.",
            "Put them beside it." if lost else "",
        )
    frames = frames_of([p.file for p in there], [p.dataset for p in there])
    last = max(i for i, p in enumerate(parts) if p.shape)
    between = [p for p in parts[:last] if not p.shape]
    names = ", ".join(os.path.basename(p.file) for p in lost[:5]) + (", …" if lost[5:] else "")
    numbered = all(p.first >= 0 for p in there)
    if not numbered:
        if between:
            raise Truncated(
                path,
                f"{len(lost)} of {len(parts)} data files are missing: {names}. The others do not "
                "say which frames of the series they hold.",
                "Put them beside it.",
            )
        if lost:
            problems.append(Problem("warning", f"data files are missing at the end: {names}."))
        return frames
    begins = np.array([p.first for p in there])
    counts = np.array([p.shape[0] for p in there])
    if (begins[1:] < (begins + counts)[:-1]).any():
        problems.append(
            Problem(
                "warning",
                "the numbers of the frames in the data files contradict each other and are "
                "ignored.",
            )
        )
        return frames
    if lost:
        problems.append(
            Problem("warning", f"{len(lost)} of {len(parts)} data files are missing: {names}.")
        )
    # a series need not begin with 1; if its first file is missing, it is taken to
    begins -= begins[0] if parts[0].shape else 0
    order = np.full(int(begins[-1] + counts[-1]), -1, np.int64)
    stored = 0
    for begin, count in zip(begins.tolist(), counts.tolist(), strict=True):
        order[begin : begin + count] = np.arange(stored, stored + count)
        stored += count
    blanks = int((order < 0).sum())
    if not blanks:
        return frames
    problems.append(
        Problem("warning", f"{blanks} of {len(order)} frames of the series are missing, and blank.")
    )
    return frames[order]


# ---------------------------------------------------------------- what the files say


def _number(source: dict[str, Any], name: str) -> float:
    """Return a finite number of the metadata, 0 if there is none."""
    value = source.get(name)
    value = value.get("value") if isinstance(value, dict) else value
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    return 0.0


def _word(source: dict[str, Any], name: str) -> str:
    value = source.get(name)
    value = value.get("value") if isinstance(value, dict) else value
    return value if isinstance(value, str) else ""


def _side_file(master: str) -> str:
    """Return the file of the scanning program, empty if there is none."""
    match = _MASTER.fullmatch(master)
    side = f"{match[1]}{match[2]}" if match else ""
    return side if side and os.path.isfile(side) else ""


def _scan_hints(
    scan: dict[str, Any], special: dict[str, Any], count: int, problems: list[Problem]
) -> tuple[ScanHint, ...]:
    """Return the scan shapes that the side file and the triggers speak for."""
    hints = []
    x, y = int(_number(scan, "NumPixelsX")), int(_number(scan, "NumPixelsY"))
    extra = int(_number(scan, "NumPixelsPrescan"))
    if x > 0 and y > 0:
        said = f"NumPixelsX = {x} and NumPixelsY = {y} in STEM Metadata"
        if extra > 0 and count == y * (x + extra):
            problems.append(
                Problem(
                    "warning",
                    f"{count} frames are {y} lines of {x} + {extra} (NumPixelsPrescan); the first "
                    f"{extra} of each line are taken to be recorded before the scan, and left out. "
                    "No recording with such frames was at hand to check that.",
                    'flyback="keep" keeps them.',
                )
            )
            said += f", and NumPixelsPrescan = {extra}"
            hints.append(ScanHint("header", (y, x), 0.9, said, line=x + extra, column=extra))
        else:
            hints.append(ScanHint("header", (y, x), 0.95, said))
    images, triggers = int(_number(special, "nimages")), int(_number(special, "ntrigger"))
    if images > 1 and triggers > 1 and images * triggers == count:
        said = f"{triggers} triggers (ntrigger) of {images} frames (nimages)"
        hints.append(ScanHint("trigger", (triggers, images), 0.8, said))
    return tuple(hints)


def _corrections(
    file: Any,
    shape: tuple[int, ...],
    flatfield: Any,
    detector: dict[str, Any],
    path: str,
    problems: list[Problem],
) -> Corrections | None:
    """Return pixels that the mask excludes, and the flat field if it is asked for."""
    special = file[f"{_DETECTOR}/detectorSpecific"]
    excluded = gain = None
    mask = special.get("pixel_mask", file.get(f"{_DETECTOR}/pixel_mask"))
    if mask is not None and mask.shape == shape:
        excluded = np.asarray(_values(mask, path)) != 0
        if not excluded.any():
            excluded = None
        elif excluded.all():
            problems.append(
                Problem("warning", "the pixel mask excludes all pixels; it is ignored.")
            )
            excluded = None
    elif mask is not None:
        problems.append(
            Problem(
                "warning",
                f"the pixel mask has the shape {mask.shape}, frames {shape}; it is not used.",
                "Pass excluded_pixels=.",
            )
        )
    stored = special.get("flatfield", file.get(f"{_DETECTOR}/flatfield"))
    if isinstance(flatfield, str):
        if stored is None or stored.shape != shape:
            raise FormatError(path, f"has no flat field of the shape of its frames, {shape}.")
        gain = np.asarray(_values(stored, path), np.float32)
        problems.append(
            Problem(
                "warning",
                "the flat field of the master is taken to be factors, by which frames are "
                "multiplied.",
            )
        )
    elif flatfield is not None:
        flat = as_frame(flatfield, "flatfield", path)
        assert flat is not None
        if flat.shape != shape:
            raise FormatError(path, f"flatfield has the shape {flat.shape}, frames {shape}.")
        flat = flat.astype(np.float64)
        # as RosettaSciIO: relative to the median, pixels without response as they are
        gain = np.where(flat == 0, 1.0, np.median(flat) / np.where(flat == 0, 1.0, flat))
    elif (
        stored is not None
        and stored.shape == shape
        and not _number(detector, "flatfield_correction_applied")
    ):
        flat = np.asarray(_values(stored, path))
        if np.ptp(flat) > 0:
            problems.append(
                Problem(
                    "info",
                    "has a flat field that the detector did not apply.",
                    'flatfield="stored" does.',
                )
            )
    if gain is None and excluded is None:
        return None
    # excluded pixels hold the largest value of their type, which no sum of a pattern survives
    return Corrections(gain=gain, excluded=excluded, repair="zero", allow_empty=True)


def _values(dataset: Any, path: str) -> npt.NDArray[Any]:
    """Read an image of the detector, which may be compressed as its frames are."""
    if dataset.ndim != 2 or dataset.dtype.kind not in "buif":
        raise FormatError(path, f"{dataset.name} is no image of numbers.")
    out: npt.NDArray[Any] = np.empty((1, *dataset.shape), dataset.dtype.newbyteorder("="))
    frames_of(dataset.file.filename, dataset.name).load(out)
    image: npt.NDArray[Any] = out[0]
    return image


def _metadata(detector: dict[str, Any], scan: dict[str, Any], title: str) -> dict[str, Any]:
    special = detector.get("detectorSpecific", {})
    general: dict[str, Any] = {"title": title}
    date = _word(special, "data_collection_date")
    try:
        moment = datetime.datetime.fromisoformat(date)
    except ValueError:
        pass
    else:
        general["date"], general["time"] = moment.date().isoformat(), moment.time().isoformat()
        if moment.tzinfo is not None:
            general["time_zone"] = moment.strftime("%z")
    camera: dict[str, Any] = {}
    for name, value in (
        ("name", _word(detector, "description")),
        ("serial_number", _word(detector, "detector_number")),
        ("exposure", _number(detector, "count_time")),
        ("frame_time", _number(detector, "frame_time")),
        ("threshold_energy", _number(detector, "threshold_energy") * 1e-3),
        ("saturation_value", int(_number(detector, "saturation_value"))),
        ("pixel_size", _number(detector, "x_pixel_size") * 1e3),
    ):
        if value:
            camera[name] = value
    tem: dict[str, Any] = {"Detector": {"Camera": camera}}
    energy = _number(scan, "High Tension") or _number(special, "photon_energy")
    for name, value in (
        ("beam_energy", energy * 1e-3),
        ("camera_length", _number(scan, "Camera Length") * 1e3),
        ("magnification", _number(scan, "Magnification")),
        ("dwell_time", _number(scan, "ScanDwellTime")),
        ("rotation", _number(scan, "Rotation")),
    ):
        if value:
            tem[name] = value
    return {
        "General": general,
        "Signal": {"signal_type": "electron_diffraction"},
        "Acquisition_instrument": {"TEM": tem},
    }


# ---------------------------------------------------------------- description


def parse(
    filename: str | os.PathLike[str], *, flatfield: npt.ArrayLike | Literal["stored"] | None = None
) -> Recording:
    """Describe a Dectris recording; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    if isinstance(flatfield, str) and flatfield != "stored":
        raise ValueError(f'flatfield={flatfield!r} is neither an array nor "stored"')
    path = files.existing(filename)
    if not h5.is_hdf5(path, files.read_start(path, 4096)):
        head = files.read_start(path, 8)
        raise NotThisFormat(path, f"is no HDF5 file: it begins with {head!r}.")
    path = _master_of(path) or path
    problems: list[Problem] = []
    with h5.opened(path) as file:
        group, names = h5.dectris_links(file)
        if not names:
            raise NotThisFormat(
                path,
                "is no master of a Dectris recording: it has no detectorSpecific, or no links "
                "data_000001, … to frames.",
                'Open the file that ends with _master.h5, or pass format="hdf5".',
            )
        parts = [_part(file, group, name, path) for name in names]
        shapes = {p.shape[1:] for p in parts if p.shape}
        if len(shapes) > 1:
            raise FormatError(path, f"its data files hold frames of different shapes {shapes}.")
        frames = _frames(parts, path, problems)
        detector = h5.tree(file[_DETECTOR])
        master = h5.tree(file)
        corrections = _corrections(file, frames.frame_shape, flatfield, detector, path, problems)
    scan: dict[str, Any] = {}
    side = _side_file(path)
    if side:
        with h5.opened(side) as file:
            scan = h5.attributes(file["STEM Metadata"]) if "STEM Metadata" in file else {}
        side = side if scan else ""
    special = detector.get("detectorSpecific", {})
    count = len(frames)
    announced = int(_number(special, "nimages") * _number(special, "ntrigger"))
    if announced and count != announced:
        message = f"the master announces {announced} frames, its data files hold {count}."
        problems.append(Problem("warning" if count < announced else "info", message))
    step = _number(scan, "Pixel Size")
    name = os.path.basename(path)
    metadata = _metadata(detector, scan, os.path.splitext(name)[0])
    metadata["General"]["original_filename"] = name
    units = "nm" if step else ""
    return Recording(
        format="dectris",
        path=path,
        frames=frames,
        signal_axes=(Axis("qy", "px"), Axis("qx", "px")),
        scan_axes=(Axis("y", units, step or 1.0), Axis("x", units, step or 1.0)),
        hints=_scan_hints(scan, special, count, problems),
        corrections=corrections,
        metadata=metadata,
        original_metadata={"master": master, **({"STEM Metadata": scan} if scan else {})},
        files=tuple(
            dict.fromkeys([path, *(p.file for p in parts if p.shape), *filter(None, [side])])
        ),
        problems=tuple(problems),
    )


def _navigator(recording: Recording, shape: tuple[int, ...]) -> dict[str, Any] | None:
    """Return the image of the scan that the scanning program stored, HAADF if there is one."""
    side = _side_file(recording.path)
    if len(shape) != 2 or not side:
        return None
    with h5.opened(side) as file:
        images = [
            (name, d)
            for name, d in h5.tour(file).datasets
            if d.shape == shape and d.dtype.kind in "uif"
        ]
        images.sort(key=lambda item: "haadf" not in item[0].lower())
        if not images:
            return None
        name, data = images[0][0], np.asarray(images[0][1][()])
    data = data.astype(data.dtype.newbyteorder("="))
    axes = [
        axis.to_dict(i, n, False)
        for i, (axis, n) in enumerate(zip(recording.scan_axes, shape, strict=True))
    ]
    title = name.partition("/")[0]
    return {
        "data": data,
        "axes": axes,
        "metadata": {"General": {"title": title}, "Signal": {"signal_type": ""}},
        "original_metadata": {},
    }


CHECKS = (chunk_tables,)


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
    flatfield: npt.ArrayLike | Literal["stored"] | None = None,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a Dectris recording.

    Parameters
    ----------
    filename : str or path
        The master, or one of its data files.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    flatfield : array or "stored"
        As in RosettaSciIO: the response of the pixels, by which frames are divided, relative to
        its median. "stored" multiplies by the flat field in the master instead.
    **options
        `ReadOptions`. Pixels that the detector masks become 0; ``repair="mean8"`` or "fill" gives
        them the mean of their neighbours, ``corrections=False`` leaves them as they are.

    Returns
    -------
    list of one dict
        Pixels in the type they are stored in. The image of the
        scan that the scanning program stored is the navigator.

    Raises
    ------
    NotThisFormat
        The file is no master of a Dectris recording.
    Truncated
        Data files are missing.
    FormatError
        The files contradict each other.
    """
    del distributed  # nothing is left to do for it
    recording = parse(filename, flatfield=flatfield)
    (signal,) = read(
        recording,
        lazy=lazy,
        chunks=chunks,
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )
    scan = signal["original_metadata"]["rsciio_tem"]
    counts = scan["frames"]
    as_scanned = scan["scan"]["rule"] == "header" and not any(
        counts[n] for n in ("first", "skipped_start", "inserted_start")
    )
    if options.get("roi") is None and as_scanned:
        shape = tuple(a["size"] for a in signal["axes"] if a["navigate"])
        if (image := _navigator(recording, shape)) is not None:
            navigator.keep_stored(signal, image, options.get("navigator"))
    return [signal]
