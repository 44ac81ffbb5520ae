# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file holds, before any pixel is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Problem, warn
from rsciio_tem.frames.corrections import Corrections
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.recording.annotation import Annotation
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.blocks import Blocks
from rsciio_tem.scan.decision import decimated, propose, resolve_scan
from rsciio_tem.scan.scan import Scan, ScanHint, ScanRequest
from rsciio_tem.scan.times import Times

__all__ = ["Recording", "StoredImage"]


@dataclass(frozen=True, eq=False)
class StoredImage:
    """An image of the scan that is stored with a recording.

    Parameters
    ----------
    title : str
        What it shows.
    shape : tuple of int
        Its shape: that of the whole scan, if it shows all of it.
    read : callable
        Returns its values; None if they were never filled in.
    always : bool
        Whether it is kept beside frames that are not arranged as they were scanned.
    original_metadata : dict
        What its file says of it.
    """

    title: str
    shape: tuple[int, ...]
    read: Callable[[], npt.NDArray[Any] | None]
    always: bool = False
    original_metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Recording:
    """A described recording: where its frames are, how they are arranged, what they mean.

    Parameters
    ----------
    format : str
        Name of the format, as in ``rsciio_tem.formats()``.
    path : str
        The file it was opened through.
    frames : Frames
        All stored frames in acquisition order.
    signal_axes : tuple of Axis
        Calibration of the frame's axes, rows first.
    scan_axes : tuple of Axis
        Calibration of the scan axes, slowest first; used from the fast end.
    hints : tuple of ScanHint
        Scan shapes for which the header is evidence.
    times : Times, optional
        Access to per-frame times.
    stored_times : Times, optional
        Times of all frames in stored order, if `frames` has other frames or another order.
    corrections : Corrections, optional
        Dark frame, gain and excluded pixels that come with the recording, oriented as its frames.
    stack_axis : Axis, optional
        Calibration of the single axis of frames without a scan, for example time; counted from the
        first stored frame.
    omega : ndarray of float64, shape (frames, 2), optional
        Angles in degrees between which each stored frame was exposed while the sample rotated; see
        `rsciio_tem.recording.rotation`. Takes precedence over `stack_axis`.
    first_of_stack, first_of_scan : int
        Stored frame with which a stack, or a scan, begins unless the caller gives ``sync_offset``
        or ``first_frame``; for example the one in which the shutter opened.
    images : tuple of StoredImage
        Images of the scan stored with the frames; the first that fits becomes the navigator.
    announced : int
        Number of positions for which the recording was started; 0 if the file does not say.
    layers : int
        Frames recorded at each scan position (energy thresholds, counters).
    layer_axis : Axis
        Calibration of the axis over the layers.
    metadata, original_metadata : dict
        As from RosettaSciIO; ``metadata`` lacks what only `read` can know.
    files : tuple of str
        Every file of the recording, including side files.
    problems : tuple of Problem
        Problems found during parsing.
    fill_value : float
        Value of blanks, unless the caller gives another one.
    navigators : callable, optional
        Returns the images that HyperSpy keeps with a signal (``metadata._HyperSpy``), if the
        recording was converted from one; they belong to all frames in their first shape.
    annotation : Annotation, optional
        What one of our side files says about the recording; axes, corrections and metadata already
        include it. An annotation without values means that the side file is not used.
    """

    format: str
    path: str
    frames: Frames
    signal_axes: tuple[Axis, ...]
    scan_axes: tuple[Axis, ...] = ()
    hints: tuple[ScanHint, ...] = ()
    times: Times | None = None
    stored_times: Times | None = None
    corrections: Corrections | None = None
    stack_axis: Axis | None = None
    omega: npt.NDArray[np.float64] | None = None
    first_of_stack: int = 0
    first_of_scan: int = 0
    images: tuple[StoredImage, ...] = ()
    announced: int = 0
    layers: int = 1
    layer_axis: Axis = field(default_factory=lambda: Axis("layer"))
    metadata: dict[str, Any] = field(default_factory=dict)
    original_metadata: dict[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    fill_value: float = 0
    navigators: Callable[[], Mapping[str, Any]] | None = None
    annotation: Annotation | None = None

    def __post_init__(self) -> None:
        """Leave out calibrations that are none, and tell it."""
        for name in ("signal_axes", "scan_axes", "stack_axis", "layer_axis"):
            axes = getattr(self, name)
            if isinstance(axes, tuple):
                object.__setattr__(self, name, tuple(map(self._calibrated, axes)))
            elif axes is not None:
                object.__setattr__(self, name, self._calibrated(axes))

    def _calibrated(self, axis: Axis) -> Axis:
        if axis.measures or axis.values is not None:
            return axis
        problem = Problem(
            "warning",
            f"the calibration of {f'the axis {axis.name}' if axis.name else 'an axis'} makes no "
            f"sense, a scale of {axis.scale} and an offset of {axis.offset}. It is left out.",
        )
        if problem not in self.problems:
            object.__setattr__(self, "problems", (*self.problems, problem))
        return Axis(axis.name)

    @property
    def count(self) -> int:
        """Number of stored frames."""
        return len(self.frames)

    def scan(self, request: ScanRequest | None = None, *, exhaustive: bool = False) -> Scan:
        """Decide how the frames are arranged; see `resolve_scan`.

        Without a request, a side file comes first.
        """
        if request is None and self.annotation is not None and self.annotation.scan is not None:
            for path, message in self.annotation.messages:
                warn(path, message)
            return self.annotation.scan
        return resolve_scan(
            self.count,
            request or ScanRequest(),
            self.hints,
            self.times,
            announced=self.announced,
            layers=self.layers,
            exhaustive=exhaustive,
            first_of_stack=self.first_of_stack,
            first_of_scan=self.first_of_scan,
            path=self.path,
        )

    def blocks(self, nbytes: int = 4 << 20, **options: Any) -> Blocks:
        """Go through the frames, arranged as the scan is, in blocks that fit into a cache.

        Parameters
        ----------
        nbytes : int
            Bytes of the frames of a block, about. Frames that are stored together stay together.
        **options
            Keywords of the readers: ``navigation_shape``, ``roi``, ``corrections`` and so on.

        Returns
        -------
        Blocks
            To be iterated over, as often as you like. Each `Block` has ``frames``, shape (n, rows,
            columns), their ``positions`` in the scan, the same as ``index`` of an array of the
            scan's ``shape``, and which of them are ``blanks``.

        Raises
        ------
        FormatError
            The recording cannot be arranged or read as asked.
        TypeError, ValueError
            A keyword is unknown or has an impossible value.
        """
        # how frames are arranged is for readers to know, which are above this room
        blocks: Blocks = import_module("rsciio_tem.reading.blocks").blocks_of(self, nbytes, options)
        return blocks

    def candidates(self) -> list[ScanHint]:
        """List the scan shapes that the recording may have, most credible first."""
        times = decimated(self.times, self.layers) if self.layers > 1 else self.times
        return propose(self.count // self.layers, self.hints, times, announced=self.announced)
