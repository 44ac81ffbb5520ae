# SPDX-License-Identifier: GPL-3.0-or-later
"""EMPAD-G2: from two gains and digital counters to one value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Unsupported
from rsciio_tem.formats.empad.layout import EDGE, FRAME_G2
from rsciio_tem.frames.pixels import Pixels, Region, full_region
from rsciio_tem.frames.protocol import FrameIndex, ReadAs
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.frames.wrapped import Wrapped
from rsciio_tem.storage import backends, files
from rsciio_tem.storage.backends import DataFile

__all__ = ["Calibration"]

#: Fields of a second-generation word.
ANALOG, DIGITAL, MARKER, GAIN = 0x3FFF, 14, 1 << 30, 31
#: Per-pixel maps of the conversion of second-generation words, each for even (A) and odd (B)
#: frames. Linear: a(1-g) + G1 (a - B2) g + G2 d. Quadratic: a(1-g) + Ml a g + alpha (a g)^2
#: + Md d + Oh g - Ot.
LINEAR = ("G1", "G2", "B2")
QUADRATIC = ("Ml", "alpha", "Md", "Oh", "Ot")


def holds_words(file: DataFile, count: int, tree: Mapping[str, Any]) -> bool:
    """Tell acquired words from exported floats, whatever the description calls them.

    Only an acquisition has the grabber's offsets, and every word has the marker bit.
    """
    grabber = tree.get("grabber")
    if not isinstance(grabber, Mapping) or not any("offset" in str(k) for k in grabber):
        return False
    for i in {0, count // 2, count - 1}:
        raw = bytes(backends.read(file, i * FRAME_G2, FRAME_G2, "auto"))
        if not (np.frombuffer(raw, "<u4") & MARKER).all():
            return False
    return True


@dataclass(frozen=True, eq=False)
class Calibration:
    """Conversion of second-generation words to electrons, for even and odd frames.

    Parameters
    ----------
    maps : dict of ndarray, shape (2, 128, 128)
        The maps of `LINEAR` or of `QUADRATIC`.
    flat : ndarray, shape (2, 128, 128), optional
        Multiplied last.
    dark : ndarray, shape (2, 128, 128), optional
        Mean of converted dark frames, subtracted.
    debounce : bool
        Shift each frame so that the peak of its histogram around zero lies at zero.
    """

    maps: Mapping[str, npt.NDArray[Any]]
    flat: npt.NDArray[Any] | None = None
    dark: npt.NDArray[Any] | None = None
    debounce: bool = True

    @property
    def quadratic(self) -> bool:
        """Which of the two conversions it is."""
        return "Ml" in self.maps

    def convert(
        self, words: npt.NDArray[np.uint32], odd: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Convert whole frames of words; ``odd`` is 0 for even, 1 for odd stored frames."""
        analog = (words & ANALOG).astype(np.float32)
        digital = ((words >> DIGITAL) & 0xFFFF).astype(np.float32)
        high = (words >> GAIN).astype(np.float32)
        m = {name: np.asarray(image, np.float32)[odd] for name, image in self.maps.items()}
        values = analog * (1 - high)
        if self.quadratic:
            shown = analog * high
            values += m["Ml"] * shown + m["alpha"] * shown**2 + m["Md"] * digital
            values += m["Oh"] * high - m["Ot"]
        else:
            values += m["G1"] * (analog - m["B2"]) * high + m["G2"] * digital
        if self.dark is not None:
            values -= np.asarray(self.dark, np.float32)[odd]
        if self.debounce:
            for frame in values:
                frame -= _histogram_peak(frame)
        if self.flat is not None:
            values *= np.asarray(self.flat, np.float32)[odd]
        return values


def _histogram_peak(frame: npt.NDArray[np.float32]) -> float:
    """Return where the histogram of a frame peaks near zero, 0 for too few counts there."""
    edges = np.arange(-205, 216, 10)
    counts, _ = np.histogram(frame, edges)
    centres = edges[:-1] + 5.0
    top = int(np.argmax(counts))
    if counts[top] <= 40:
        return 0.0
    reach = 3 if 3 <= top < len(counts) - 3 else 5
    near = slice(max(0, top - reach), top + reach + 1)
    a, b, _ = np.polyfit(centres[near], counts[near], 2)
    if a >= 0:  # no peak: the counts rise to the side
        return float(centres[top])
    return float(np.clip(-b / (2 * a), centres[near][0], centres[near][-1]))


@dataclass(frozen=True, eq=False)
class ConvertedFrames(Wrapped):
    """Second-generation frames, converted while they are loaded.

    Parameters
    ----------
    odd : ndarray of int64
        Parity of each frame's place in the file.
    calibration : Calibration
    fill : float
        Value of blanks.
    """

    odd: npt.NDArray[np.int64]
    calibration: Calibration
    fill: float = 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return np.dtype(np.float32)

    def __getitem__(self, index: FrameIndex, /) -> Self:
        return replace(self, frames=self.frames[index], odd=self.odd[index])

    def _read_as(self, how: ReadAs) -> Self:
        if how.flip_y is not None or how.frame_shape not in (None, self.frame_shape):
            raise Unsupported("", "converted frames can be neither flipped nor reshaped.")
        return replace(
            self,
            frames=self.frames.read_as(backend=how.backend),
            fill=how.filled(self.fill),
        )

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        region = region or full_region(self.frame_shape)
        step = 16
        words = np.empty((min(step, len(self)), *self.frame_shape), np.uint32)
        for first in range(0, len(self), step):
            part = self.frames[first : first + step]
            block = words[: len(part)]
            part.load(block)  # always whole: the histogram is that of a frame
            values = self.calibration.convert(block, self.odd[first : first + step])
            out[first : first + step] = values[(slice(None), *region)]
        if (blanks := self.blanks) is not None:
            out[blanks] = self.fill


# ---------------------------------------------------------------- where it comes from


def load_calibration(source: Any, dark: Any, debounce: bool, path: str) -> Calibration:
    """Load a calibration set from a folder of .r32 files, a .npz, or a mapping of arrays."""
    arrays = _maps(source, path)
    names = QUADRATIC if "Ml" in arrays else LINEAR
    for name in (*names, *(["FF"] if "FF" in arrays else [])):
        if name not in arrays:
            raise FormatError(path, f"the calibration has no map {name}; it needs {names}.")
        if arrays[name].shape != (2, EDGE, EDGE):
            raise FormatError(
                path,
                f"the calibration map {name} has shape {arrays[name].shape}.",
                "It must be (2, 128, 128): one map for even frames, one for odd.",
            )
    maps = {name: arrays[name] for name in names}
    calibration = Calibration(maps, flat=arrays.get("FF"), debounce=debounce)
    if dark is None:
        return calibration
    return replace(calibration, dark=_dark(dark, calibration))


def _maps(source: Any, path: str) -> dict[str, npt.NDArray[Any]]:
    if not isinstance(source, (str, os.PathLike)):
        return {str(name): np.asarray(image) for name, image in dict(source).items()}
    if not os.path.isdir(source):
        with np.load(
            files.plain_file(files.existing(source), "NumPy"), allow_pickle=False
        ) as archive:
            return {name: archive[name] for name in archive.files}
    arrays = {
        name: np.stack([_r32(source, f"{name}{half}", path) for half in "AB"]) for name in LINEAR
    }
    flat = [_r32(source, f"FF{half}", path, optional=True) for half in "AB"]
    if all(f is not None for f in flat):
        arrays["FF"] = np.stack(flat)
    return arrays


def _r32(folder: Any, name: str, path: str, optional: bool = False) -> Any:
    """Read one 128 x 128 map of 32-bit floats."""
    for candidate in (f"{name}.r32", f"{name}_prelim.r32"):
        source = files.joined(os.fspath(folder), candidate)
        if os.path.isfile(source):
            if os.path.getsize(source) != FRAME_G2:
                raise FormatError(source, f"is not a map of 128 x 128 floats ({FRAME_G2} bytes).")
            return np.fromfile(source, "<f4").reshape(EDGE, EDGE)
    if optional:
        return None
    raise FormatError(path, f"the calibration folder {folder} has no {name}.r32.")


def _dark(dark: Any, calibration: Calibration) -> npt.NDArray[Any]:
    """Convert dark frames with the same chain and average those of equal parity."""
    name = files.existing(dark)
    file = DataFile.of(name)
    count = file.size // FRAME_G2
    if count < 2:
        raise FormatError(name, "holds fewer than the two dark frames that are needed.")
    table = FrameTable(
        (file,), runs_of([(0, 0, FRAME_G2, count)]), Pixels((EDGE, EDGE), np.dtype("<u4"))
    )
    plain = replace(calibration, dark=None, flat=None, debounce=False)
    total = np.zeros((2, EDGE, EDGE))
    words = np.empty((1, EDGE, EDGE), np.uint32)
    for i in range(count):
        table[i : i + 1].load(words)
        total[i % 2] += plain.convert(words, np.array([i % 2]))[0]
    mean: npt.NDArray[Any] = total / np.array([(count + 1) // 2, count // 2]).reshape(2, 1, 1)
    return mean
