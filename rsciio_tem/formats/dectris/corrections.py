# SPDX-License-Identifier: GPL-3.0-or-later
"""Masked pixels and flat field, as they come with the recording."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Problem
from rsciio_tem.formats.dectris.metadata import _number
from rsciio_tem.formats.dectris.parts import _DETECTOR
from rsciio_tem.frames.corrections import Corrections
from rsciio_tem.parsing.hdf5_frames import frames_of
from rsciio_tem.reading.references import as_frame


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
