# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of image files, whatever their format, one file after the other.

TIFF files without compression are read in place. Every other file goes to the reader of ours that
recognises it, then to Pillow (PNG, JPEG, …) and to fabio. Describing a long list is cheap: no pixel
is read, except by fabio from the first file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rsciio_tem.errors import FormatError, NotThisFormat, Problems, Truncated, Unsupported
from rsciio_tem.frames.combined import chained
from rsciio_tem.frames.corrections import Corrected
from rsciio_tem.frames.decoded import Decoded
from rsciio_tem.frames.pixels import Pixels, Region
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.parsing import tiff
from rsciio_tem.parsing.foreign_images import PILLOW, FabioFrames, fabio_image, grey, pillow_frames
from rsciio_tem.parsing.processing import Processed
from rsciio_tem.parsing.steps import Block, Shape, Step
from rsciio_tem.parsing.tiff_frames import frames_of
from rsciio_tem.readers import detect, module_for
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

__all__ = ["Opener", "joined"]


class _Gel(Step):
    """Counts of a .gel (Molecular Dynamics), which stores inverted square roots."""

    code = "gel"
    SCALE = 2.9452155399372724e-07

    def dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return np.dtype(np.float64)

    def apply(self, block: Block, region: Region, source: Region, shape: Shape) -> Block:
        result: Block = np.square(np.invert(block).astype(np.float64)) * self.SCALE
        return result


class Opener:
    """Describes one file after the other, and remembers what the one before was like."""

    def __init__(self) -> None:
        self.problems = Problems()
        self.formats: dict[str, int] = {}
        self._layout: tiff.Layout | None = None
        self._ours: dict[str, tuple[str, dict[str, Any]]] = {}  # suffix: format, options
        self._foreign: set[str] = set()  # suffixes of files that no reader of ours knows
        self._fabio: dict[str, tuple[type, Shape, np.dtype[Any]]] = {}  # of single images

    def open(self, path: str) -> Frames:
        """Return the frames of a file.

        Raises
        ------
        FormatError
            Nothing reads it.
        """
        suffix = os.path.splitext(path)[1].lower()
        if self._layout is not None:  # probably like the one before
            with contextlib.suppress(NotThisFormat):
                return self._tiff(path, suffix)
        head = files.read_start(path, 8)
        if head[:4] in tiff.MAGICS:
            return self._tiff(path, suffix)
        if (ours := self._of_ours(path, suffix)) is not None:
            frames, name = ours
        elif head.startswith(PILLOW):
            frames, name = pillow_frames(path), "Pillow"
        else:
            frames, name = self._of_fabio(path, suffix), "fabio"
        self.formats[name] = self.formats.get(name, 0) + 1
        return frames

    def _tiff(self, path: str, suffix: str) -> Frames:
        file = DataFile.listed(path)
        layout = tiff.describe(file, self._layout)
        self._layout = layout
        self.formats["TIFF"] = self.formats.get("TIFF", 0) + 1
        if layout.others:
            self.problems.warn(
                f"{path}: {layout.others} images of another size or pixel type than the first "
                "are left out."
            )
        frames = frames_of(file, layout)
        if suffix != ".gel":
            return frames
        if frames.dtype.kind != "u":
            raise Unsupported(path, f"is a .gel of {frames.dtype} pixels.")
        return Processed(frames, (_Gel(),))

    def _of_ours(self, path: str, suffix: str) -> tuple[Frames, str] | None:
        if suffix in self._foreign:
            return None
        tries = [self._ours[suffix]] if suffix in self._ours else []
        for name, options in tries or _recognised(path):
            module = module_for(name)
            if "single_file" in module.parse.__annotations__:
                options = {**options, "single_file": True}
            try:
                recording = module.parse(path, **options)
            except NotThisFormat:
                if self._ours.pop(suffix, None) is None:
                    raise
                return self._of_ours(path, suffix)
            self._ours[suffix] = name, options
            self.problems += [
                replace(problem, message=f"{path}: {problem.message}")
                for problem in recording.problems
            ]
            frames = recording.frames
            if isinstance(frames, FrameTable) and len(frames.files) > 1 and frames.order is None:
                # the other files of a numbered set are listed themselves
                same = [files.same_file(file.path, path) for file in frames.files]
                frames = replace(frames, runs=frames.runs[np.array(same)[frames.runs["file"]]])
            if recording.corrections:
                frames = Corrected(frames, recording.corrections, path)
            return frames, name
        self._foreign.add(suffix)
        return None

    def _of_fabio(self, path: str, suffix: str) -> Frames:
        file = DataFile.listed(path)
        if suffix in self._fabio:  # compared when it is loaded
            kind, shape, dtype = self._fabio[suffix]
            return Decoded(FabioFrames(file, kind, shape, dtype.str, 1), 1, shape, dtype)
        with fabio_image(path) as image:
            kind, count = type(image), int(image.nframes)
            packed = files.read_start(path, 3).startswith((b"\x1f\x8b", b"BZh"))
            if kind.__name__ == "GeImage" and not packed:
                return self._of_ge(file, image.header)
            data = grey(image.data, path)
            shape, dtype = data.shape, data.dtype.newbyteorder("=")
        if count == 1:
            self._fabio[suffix] = kind, shape, dtype
        return Decoded(FabioFrames(file, kind, shape, dtype.str, count), count, shape, dtype)

    def _of_ge(self, file: DataFile, header: Any) -> Frames:
        """Frames of a General Electric detector lie one after the other behind the header."""
        size = int(header["ImageDepthInBits"]) // 8
        shape = (int(header["NumberOfRowsInFrame"]), int(header["NumberOfColsInFrame"]))
        start = sum(int(header[f"{k}HeaderSizeInBytes"]) for k in ("Standard", "User"))
        pixels = Pixels(shape, np.dtype(f"<u{size}"))
        count = int(header["NumberOfFrames"])
        rest = file.size - start - count * pixels.nbytes
        if rest < 0 or count < 1:
            raise Truncated(file.path, f"ends {-rest} bytes before the last of {count} frames.")
        if rest:
            self.problems.warn(
                f"{file.path}: {rest} bytes behind its {count} frames of {shape} pixels with "
                f"{8 * size} bits are ignored.",
                "If the frames look wrong, describe the file as a raw image (rawimage).",
            )
        return FrameTable((file,), runs_of([(0, start, pixels.nbytes, count)]), pixels)


def _recognised(path: str) -> list[tuple[str, dict[str, Any]]]:
    """Name the format of ours that a file has, if any."""
    return [
        (candidate.format, candidate.options)
        for candidate in detect(path)[:1]
        if candidate.confidence >= 0.5 and candidate.format != "imagefiles"
    ]


def joined(parts: Sequence[Frames], names: Sequence[str], path: str, problems: Problems) -> Frames:
    """Put the frames of several files one after the other.

    Raises
    ------
    FormatError
        They have different shapes, or pixel types that no type holds exactly.
    """
    first = parts[0]
    types = dict.fromkeys(part.dtype for part in parts)
    for part, name in zip(parts, names, strict=True):
        if part.frame_shape != first.frame_shape:
            raise FormatError(
                name,
                f"holds frames of {part.frame_shape} pixels, {os.path.basename(names[0])} of "
                f"{first.frame_shape}.",
                f"Leave it out of {os.path.basename(path)}.",
            )
    if len(types) == 1:
        return chained(parts)
    common = np.result_type(*types)
    exact = all(np.can_cast(t, common, "safe") for t in types)
    if not exact or (common.kind == "f" and any(t.kind in "iu" and t.itemsize > 4 for t in types)):
        listed = ", ".join(map(str, types))
        raise FormatError(path, f"lists files with pixels of the types {listed}.")
    problems.warn(
        f"pixels have the types {', '.join(map(str, types))} in different files, and are read "
        f"as {common}."
    )
    return chained(parts, common)
