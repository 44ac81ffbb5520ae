# SPDX-License-Identifier: GPL-3.0-or-later
"""Masked pixels and flat field, as they come with the recording."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Problem, Problems
from rsciio_tem.formats.dectris.metadata import number
from rsciio_tem.frames.corrections import Corrections
from rsciio_tem.parsing.hdf5_frames import frames_of
from rsciio_tem.parsing.hdf5_links import member
from rsciio_tem.reading.references import as_frame

#: Group of the detector in a master.
DETECTOR = "entry/instrument/detector"


def corrections_of(
    file: Any,
    shape: tuple[int, ...],
    flatfield: Any,
    detector: dict[str, Any],
    path: str,
    problems: Problems,
) -> Corrections | None:
    """Return pixels that the mask excludes, and the flat field if it is asked for."""
    excluded = _excluded(_image(file, "pixel_mask"), shape, path, problems)
    stored = _image(file, "flatfield")
    fits = stored is not None and stored.shape == shape
    gain: npt.NDArray[np.floating] | None = None
    if isinstance(flatfield, str):
        if not fits:
            raise FormatError(path, f"has no flat field of the shape of its frames, {shape}.")
        gain = np.asarray(_values(stored, path), np.float32)
        problems.warn(
            "the flat field of the master is taken to be factors, by which frames are multiplied."
        )
    elif flatfield is not None:
        gain = _gain(flatfield, shape, path)
    elif fits and not number(detector, "flatfield_correction_applied") and _varies(stored, path):
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


def _image(file: Any, name: str) -> Any:
    """Return an image of the detector in an open master, None if there is none."""
    places = (f"{DETECTOR}/detectorSpecific/{name}", f"{DETECTOR}/{name}")
    images = (member(file, place) for place in places)
    return next((image for image in images if getattr(image, "shape", None)), None)


def _excluded(
    mask: Any, shape: tuple[int, ...], path: str, problems: Problems
) -> npt.NDArray[np.bool_] | None:
    """Return the pixels that a mask excludes, None if there are none."""
    if mask is None:
        return None
    if mask.shape != shape:
        problems.warn(
            f"the pixel mask has the shape {mask.shape}, frames {shape}; it is not used.",
            "Pass excluded_pixels=.",
        )
        return None
    excluded: npt.NDArray[np.bool_] = np.asarray(_values(mask, path)) != 0
    if excluded.all():
        problems.warn("the pixel mask excludes all pixels; it is ignored.")
        return None
    return excluded if excluded.any() else None


def _gain(flatfield: Any, shape: tuple[int, ...], path: str) -> npt.NDArray[np.float64]:
    """Return factors as RosettaSciIO: relative to the median, 1 for pixels without response."""
    flat = as_frame(flatfield, "flatfield", path)
    assert flat is not None
    if flat.shape != shape:
        raise FormatError(path, f"flatfield has the shape {flat.shape}, frames {shape}.")
    flat = flat.astype(np.float64)
    return np.where(flat == 0, 1.0, np.median(flat) / np.where(flat == 0, 1.0, flat))


def _varies(dataset: Any, path: str) -> bool:
    return bool(np.ptp(_values(dataset, path)) > 0)


def _values(dataset: Any, path: str) -> npt.NDArray[Any]:
    """Read an image of the detector, which may be compressed as its frames are."""
    if dataset.ndim != 2 or dataset.dtype.kind not in "buif":
        raise FormatError(path, f"{dataset.name} is not an image of numbers.")
    out: npt.NDArray[Any] = np.empty((1, *dataset.shape), dataset.dtype.newbyteorder("="))
    frames_of(dataset.file.filename, dataset.name).load(out)
    image: npt.NDArray[Any] = out[0]
    return image
