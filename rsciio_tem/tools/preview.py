# SPDX-License-Identifier: GPL-3.0-or-later
"""What a preview shows of a recording: numbers and images from one pass over its frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.wrapped import Floats, Grey, long_integers
from rsciio_tem.reading.arrange import Arranged
from rsciio_tem.reading.images_as_evidence import part_masks
from rsciio_tem.reading.read import axes_of
from rsciio_tem.recording.recording import Recording
from rsciio_tem.reduction.single_pass import one_pass
from rsciio_tem.tools.direct_beam import Detectors, detectors, find_disk, real
from rsciio_tem.tools.scale_bars import step_of

__all__ = ["Kind", "Preview", "described", "kind_of", "measure", "mostly_positive", "summable"]

#: "patterns": of diffraction; "images": of the specimen, or sections of a volume; "spectra":
#: frames of one axis; "frames": nobody says what they are.
Kind = Literal["patterns", "images", "spectra", "frames"]

#: Names of axes that only diffraction patterns have.
_RECIPROCAL = frozenset(("kx", "ky", "kX", "kY", "qx", "qy", "Qx", "Qy"))


@dataclass(frozen=True, eq=False)
class Preview:
    """Numbers and images of a recording; what `measure` returns.

    Parameters
    ----------
    recording, arranged : Recording, Arranged
        What it is about, and how its frames are arranged.
    kind : str
        See `Kind`.
    axes : list of dict
        Of the scan and of a frame, as readers return them.
    shape, frame_shape : tuple of int
        Of the scan, and of a frame.
    dtype : str
        Type of a pixel, or which colours it has.
    nbytes : int
        Of all frames, decoded.
    pattern : ndarray of the frame's shape
        Sum over all frames, without blanks.
    largest : ndarray of the frame's shape
        Largest value of each pixel.
    navigator : ndarray of the scan's shape
        Sum of each frame; 0 where none was recorded.
    missing : ndarray of bool, optional
        Where the scan has no frame.
    middle : int
        Number of the frame in the middle.
    frame : ndarray, optional
        This frame, of images.
    virtual : Detectors, optional
        Virtual detectors; of diffraction patterns, and of frames that have a disk.
    bright_field, dark_field : ndarray of the scan's shape, optional
        What they see.
    parts : ndarray, shape (frames, parts), optional
        Sums over parts of the detector, where it is uncertain how the frames are arranged.
    """

    recording: Recording
    arranged: Arranged
    kind: Kind
    axes: list[dict[str, Any]]
    shape: tuple[int, ...]
    frame_shape: tuple[int, ...]
    dtype: str
    nbytes: int
    pattern: npt.NDArray[Any]
    largest: npt.NDArray[Any]
    navigator: npt.NDArray[Any]
    missing: npt.NDArray[np.bool_] | None = None
    middle: int = 0
    frame: npt.NDArray[Any] | None = None
    virtual: Detectors | None = None
    bright_field: npt.NDArray[Any] | None = None
    dark_field: npt.NDArray[Any] | None = None
    parts: npt.NDArray[Any] | None = None

    @property
    def count(self) -> int:
        """Number of positions, with those without a frame."""
        return math.prod(self.shape)

    @property
    def scan_axes(self) -> list[dict[str, Any]]:
        """The axes of the scan, slowest first."""
        return self.axes[: len(self.shape)]

    @property
    def frame_axes(self) -> list[dict[str, Any]]:
        """The axes of a frame, rows first."""
        return self.axes[len(self.shape) :]

    @property
    def is_volume(self) -> bool:
        """Whether frames are sections of a volume: the step from one to the next is a length."""
        if self.kind != "images" or len(self.shape) != 1:
            return False
        step = step_of(self.axes[0])
        return step is not None and step.kind == "length" and self.axes[0]["name"] != "x"

    def numbers(self) -> dict[str, Any]:
        """Return what is measured, in plain values: ``None`` where there is no finite number.

        Returns
        -------
        dict
            What `described` says, and

            - ``pixels``: ``{sum, mean, max, frames, not_finite}``; ``frames`` is the number of
              frames that ``sum`` and ``mean`` are of, ``not_finite`` that of frames left out
              because their sum is no number
            - ``navigator``, ``bright_field``, ``dark_field``: ``{min, max, mean}`` of what frames,
              and virtual detectors, sum up to, where there is a frame and a number
            - ``disk``: ``{x, y, radius, certain}`` in pixels, or null
            - ``ring``: ``{inner, outer}``, or null
        """
        sums = self._recorded(self.navigator)
        finite = np.isfinite(real(sums))
        total = _total(sums[finite])
        count = int(np.count_nonzero(finite))
        each = count * math.prod(self.frame_shape)
        largest = real(self.largest)
        largest = largest[np.isfinite(largest)]
        virtual = self.virtual
        return {
            **described(self.recording, self.arranged, self.axes, self.kind),
            "pixels": {
                "sum": _plain(total) if count else None,
                "mean": _plain(total / each) if each else None,
                "max": _plain(largest.max()) if largest.size else None,
                "frames": count,
                "not_finite": int(finite.size) - count,
            },
            "navigator": _range(sums),
            "bright_field": None
            if self.bright_field is None
            else _range(self._recorded(self.bright_field)),
            "dark_field": None
            if self.dark_field is None
            else _range(self._recorded(self.dark_field)),
            "disk": None
            if virtual is None
            else {
                "x": virtual.disk.column,
                "y": virtual.disk.row,
                "radius": virtual.disk.radius,
                "certain": virtual.disk.certain,
            },
            "ring": None if virtual is None else {"inner": virtual.inner, "outer": virtual.outer},
        }

    def _recorded(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return values.reshape(-1) if self.missing is None else values[~self.missing]


def _total(values: npt.NDArray[Any]) -> float | int:
    """Add up values, integers exactly; of complex ones the moduli."""
    if values.dtype.kind in "iu":
        # in two halves, of which each fits into 64 bits
        low, high = values & 0xFFFFFFFF, values >> 32
        return int(low.sum()) + (int(high.sum()) << 32)
    return float(real(values).sum())


def _plain(value: Any) -> float | int | None:
    """Return a number that JSON can hold."""
    if isinstance(value, (int, np.integer)):
        return int(value)
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _range(values: npt.NDArray[Any]) -> dict[str, float | int | None]:
    values = real(values)
    values = values[np.isfinite(values)]
    if not values.size:
        return {"min": None, "max": None, "mean": None}
    return {
        "min": _plain(values.min()),
        "max": _plain(values.max()),
        "mean": _plain(float(values.mean())),
    }


def kind_of(recording: Recording, axes: Sequence[dict[str, Any]], scan_axes: int) -> Kind:
    """Say what frames show, as far as the recording tells: their axes, and its metadata.

    Parameters
    ----------
    recording : Recording
        What it is about.
    axes : list of dict
        As `axes_of` returns them.
    scan_axes : int
        How many of them are of the scan.
    """
    frame_axes = axes[scan_axes:]
    if len(frame_axes) < 2:
        return "spectra"
    signal_type = str(recording.metadata.get("Signal", {}).get("signal_type") or "")
    kinds = {step.kind for axis in frame_axes[-2:] if (step := step_of(axis)) is not None}
    if "diffraction" in signal_type or signal_type == "EBSD" or kinds & {"reciprocal", "angle"}:
        return "patterns"
    if any(axis["name"] in _RECIPROCAL for axis in frame_axes):
        return "patterns"
    return "images" if "length" in kinds else "frames"


def mostly_positive(values: npt.NDArray[Any]) -> bool:
    """Whether a logarithm shows most of the values; not if a dark frame was taken off."""
    values = real(values)
    return bool(float(np.mean(values < 0)) < 0.05 and (values > 0).any())


def described(
    recording: Recording, arranged: Arranged, axes: Sequence[dict[str, Any]], kind: Kind
) -> dict[str, Any]:
    """Say what a recording is, in plain values; names as in ``info --json``.

    Returns
    -------
    dict
        - ``format``; ``kind``, see `Kind`
        - ``frames``: ``{count, missing, shape, dtype}``; ``count`` is the number of positions
        - ``scan``: ``{shape, navigation_shape, rule, confidence, reason}``
        - ``axes``: list of ``{name, units, scale, offset, size, navigate}``
    """
    source, evidence = arranged.source, arranged.scan.evidence
    blanks = source.frames.blanks
    return {
        "format": recording.format,
        "kind": kind,
        "frames": {
            "count": len(source.frames),
            "missing": 0 if blanks is None else int(np.count_nonzero(blanks)),
            "shape": list(source.frames.frame_shape),
            "dtype": source.frames.dtype.name,
        },
        "scan": {
            "shape": list(source.nav_shape),
            "navigation_shape": list(source.nav_shape[::-1]),
            "rule": evidence.rule,
            "confidence": evidence.confidence,
            "reason": evidence.reason,
        },
        "axes": [
            {key: axis.get(key) for key in ("name", "units", "scale", "offset", "size", "navigate")}
            for axis in axes
        ],
    }


def summable(frames: Frames) -> Frames:
    """Return frames whose pixels can be added up: colours as grey, long integers as floats."""
    if frames.dtype.names:
        return Grey(frames)
    return Floats(frames) if long_integers(frames.dtype) else frames


def measure(
    recording: Recording, arranged: Arranged, progress: Callable[[int], object] | None = None
) -> Preview:
    """Reduce a recording: a sample finds the disk, one pass makes everything else.

    Parameters
    ----------
    recording, arranged : Recording, Arranged
        What it is about, and how its frames are arranged.
    progress : callable, optional
        Called with the number of frames just read.
    """
    source = arranged.source
    stored, shape = source.frames, source.nav_shape
    axes = axes_of(recording, arranged)
    kind = kind_of(recording, axes, len(shape))
    frame_shape = tuple(stored.frame_shape)
    frame_bytes = max(1, math.prod(frame_shape) * stored.dtype.itemsize)
    dtype = f"colours {''.join(names)}" if (names := stored.dtype.names) else stored.dtype.name
    frames = summable(stored)
    blanks = stored.blanks
    missing = blanks.reshape(shape) if blanks is not None and blanks.any() else None
    places = np.arange(len(frames))
    if missing is not None and not missing.all():
        places = np.flatnonzero(~missing)
        frames = frames[places]

    disk = None
    beam = str(recording.metadata.get("Signal", {}).get("signal_type")) != "EBSD"
    if kind in ("patterns", "frames") and beam and len(frame_shape) == 2 and len(stored) > 1:
        sample = min(len(frames), 256, max(8, (64 << 20) // frame_bytes))
        index = np.linspace(0, len(frames) - 1, sample).astype(np.int64)
        disk = find_disk(one_pass(frames[index], what=["sum"])["sum"])
        if disk is not None and not disk.certain and kind == "frames" and len(shape) < 2:
            disk = None  # no reason to believe that there is one
    virtual = detectors(disk, frame_shape) if disk else None
    masks = [] if virtual is None else list(virtual.masks)
    unsure = len(frame_shape) == 2 and arranged.scan.evidence.confidence < 0.8 and kind != "images"
    parts = list(part_masks(frame_shape)) if unsure else []
    results = one_pass(
        frames,
        what=("navigator", "sum", "max"),
        masks=[*masks, *parts] if masks or parts else None,
        progress=progress,
    )

    def spread(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Put values of frames to their positions in the scan."""
        result = np.zeros(len(stored), values.dtype)
        result[places] = values
        return result.reshape(shape)

    virtual_images = [spread(values) for values in results.get("masks", ())[: len(masks)]]
    middle = int(places[len(places) // 2])
    frame = None
    if kind == "images" and len(stored) > 1:
        frame = np.empty((1, *frame_shape), frames.dtype)
        frames[np.array([len(places) // 2])].load(frame)
        frame = frame[0]
    return Preview(
        recording=recording,
        arranged=arranged,
        kind=kind,
        axes=axes,
        shape=shape,
        frame_shape=frame_shape,
        dtype=dtype,
        nbytes=len(stored) * frame_bytes,
        pattern=results["sum"],
        largest=results["max"],
        navigator=spread(results["navigator"]),
        missing=missing,
        middle=middle,
        frame=frame,
        virtual=virtual,
        bright_field=virtual_images[0] if virtual_images else None,
        dark_field=virtual_images[1] if virtual_images else None,
        parts=_of_all(results["masks"][len(masks) :], places, len(stored)) if parts else None,
    )


def _of_all(
    sums: npt.NDArray[Any], places: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.float64]:
    """Return sums of parts for all positions, shape (positions, parts); 0 without a frame."""
    result = np.zeros((count, len(sums)))
    result[places] = np.abs(sums).T
    return result
