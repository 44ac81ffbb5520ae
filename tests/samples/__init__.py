# SPDX-License-Identifier: GPL-3.0-or-later
"""The recordings that every reader is tested with: one module for each format.

``SPECS`` of ``samples/NAME.py`` is a list of `Spec`; the modules are found by listing this folder.
The first entry of each format stands for it where only the format matters, and one named `TEN`
meets the whole table of frame mappings. Recordings are written once per process, on first use.

What depends on where frames are and how they become numbers, and on nothing else, is tested with
one recording for each kind of frames: see ``kinds.py``.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import rsciio_tem
from rsciio_tem.errors import RecordingWarning

Array = NDArray[Any]


@dataclass(frozen=True)
class Sample:
    """A recording and what a reader must make of it.

    Parameters
    ----------
    format, variant : str
        Name of the format, and what is special about this recording of it.
    path : Path or None
        What is opened; None for an array in memory.
    expected : ndarray
        Scan shape followed by frame shape, in the type that loading returns.
    options : dict
        Keywords of the reader.
    warns : str
        Pattern of the RecordingWarning that opening it gives; empty for none.
    array : array-like
        What is given to `rsciio_tem.from_array`, where there is no file.
    plain : bool
        The file holds plain evenly spaced pixels, so that ``mmap_mode`` gives a view.
    sig_dims : int
        Number of axes of a frame.
    """

    format: str
    variant: str
    path: Path | None
    expected: Array
    options: dict[str, Any] = field(default_factory=dict)
    warns: str = ""
    array: Any = None
    plain: bool = False
    sig_dims: int = 2

    def __str__(self) -> str:
        return f"{self.format}: {self.variant}"

    @property
    def nav_shape(self) -> tuple[int, ...]:
        """Scan shape, array order."""
        return self.expected.shape[: self.expected.ndim - self.sig_dims]

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a frame."""
        return self.expected.shape[self.expected.ndim - self.sig_dims :]

    @property
    def module(self) -> Any:
        """Module of the format."""
        return importlib.import_module(f"rsciio_tem.formats.{self.format}")

    @property
    def format_options(self) -> dict[str, Any]:
        """Those of the options that ``parse`` takes."""
        names = self.module.parse.__annotations__
        return {name: value for name, value in self.options.items() if name in names}

    def parse(self) -> Any:
        """Describe the recording."""
        return self.module.parse(self.path, **self.format_options)

    def read(self, **more: Any) -> dict[str, Any]:
        """Read it as `options` and `more` say; exactly the warning announced must come."""
        options = {**self.options, **more}
        if not self.warns:
            return self._read(options)
        with pytest.warns(RecordingWarning, match=self.warns):
            return self._read(options)

    def read_quietly(self, **more: Any) -> dict[str, Any]:
        """Read it, whatever it warns of."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RecordingWarning)
            return self._read({**self.options, **more})

    def _read(self, options: dict[str, Any]) -> dict[str, Any]:
        if self.path is None:
            (signal,) = rsciio_tem.from_array(self.array, **options)
        else:
            (signal,) = self.module.file_reader(self.path, **options)
        return signal

    def moved(self, folder: Path, rename: Callable[[str], str] = str) -> Sample:
        """Copy the recording with all its files into a new folder."""
        assert self.path is not None
        folder.mkdir(parents=True)
        for file in self.path.parent.iterdir():
            copy = shutil.copytree if file.is_dir() else shutil.copy2
            copy(file, folder / rename(file.name))
        return dataclasses.replace(self, path=folder / rename(self.path.name))


class Spec(NamedTuple):
    """How a sample is made: ``make(folder, rng)`` writes it and returns its other values."""

    format: str
    variant: str
    make: Callable[[Path, np.random.Generator], Sample]
    has_file: bool = True
    is_folder: bool = False  # what is opened is a folder: not copied, cut or overwritten

    def __str__(self) -> str:
        return f"{self.format}: {self.variant}"


TEN = "ten frames"  # a flat stack of this name meets the whole frame-mapping table


# -- what several formats use --------------------------------------------------------------------


def frames_at(*index: int) -> Callable[[Array], Array]:
    """Take these frames; -1 is a blank."""

    def change(frames: Array) -> Array:
        order = np.array(index)
        return np.where((order < 0)[:, np.newaxis, np.newaxis], 0, frames[order]).astype(
            frames.dtype
        )

    return change


def thin_frames(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: str, sig_dims: int = 2
) -> Array:
    """Make frames of which few pixels are not zero, and the second none at all."""
    values = rng.integers(1, 200, shape) * (rng.random(shape) < 0.15)
    frames = values.reshape(-1, *shape[len(shape) - sig_dims :])
    frames[1:2] = 0
    return frames.reshape(shape).astype(dtype)


# -- the frame mapping ---------------------------------------------------------------------------


class Mapping(NamedTuple):
    """What ten stored frames become; `sources` has -1 for filled positions.

    `shape` None means that a ValueError is raised.
    """

    options: dict[str, Any]
    shape: tuple[int, ...] | None
    sources: list[int]
    warns: str = ""

    def __str__(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self.options.items()) or "nothing asked"


_ = -1
_ALL = list(range(10))
MAPPINGS = [
    Mapping({}, (10,), _ALL),
    Mapping({"sync_offset": 2}, (8,), _ALL[2:]),
    Mapping({"sync_offset": -2}, (12,), [_, _, *_ALL]),
    Mapping({"first_frame": 2, "last_frame": 8}, (6,), _ALL[2:8]),
    Mapping({"first_frame": -3}, (3,), [7, 8, 9]),
    Mapping({"last_frame": 20}, (10,), _ALL),
    Mapping({"first_frame": 8, "last_frame": 2}, None, []),
    Mapping({"first_frame": 12}, None, []),
    Mapping({"nav_shape": (2, 5)}, (2, 5), _ALL),
    Mapping({"nav_shape": (2, 5), "sync_offset": 2}, (2, 5), [*_ALL[2:], _, _], "2 of 10"),
    Mapping({"nav_shape": (2, 5), "sync_offset": -2}, (2, 5), [_, _, *_ALL[:8]]),
    Mapping({"nav_shape": (2, 3)}, (2, 3), _ALL[:6]),
    Mapping({"nav_shape": (2, 3), "sync_offset": 2}, (2, 3), _ALL[2:8]),
    Mapping({"nav_shape": (2, 3), "sync_offset": -2}, (2, 3), [_, _, 0, 1, 2, 3]),
    Mapping({"nav_shape": (2, 3), "sync_offset": 7}, (2, 3), [7, 8, 9, _, _, _], "3 of 6"),
    Mapping({"nav_shape": (3, 5)}, (3, 5), [*_ALL, *[_] * 5], "5 of 15"),
    Mapping({"navigation_shape": (5, 3)}, (2, 5), _ALL, "2 of 3 lines"),
    Mapping({"navigation_shape": (4, 3)}, (2, 4), _ALL[:8], "2 frames of the next line"),
    Mapping({"navigation_shape": (12, 2)}, (10,), _ALL, "do not fill one line"),
    Mapping({"nav_shape": (3, 5), "missing": "raise"}, None, []),
    Mapping({"nav_shape": (3, 5), "sync_offset": 2}, (3, 5), [*_ALL[2:], *[_] * 7], "7 of 15"),
    Mapping({"nav_shape": (3, 5), "sync_offset": -2}, (3, 5), [_, _, *_ALL, _, _, _], "3 of 15"),
    Mapping({"nav_shape": (3, 5), "sync_offset": -12}, (3, 5), [*[_] * 12, 0, 1, 2]),
    Mapping({"nav_shape": (2, 5), "sync_offset": 9}, (2, 5), [9, *[_] * 9], "9 of 10"),
    Mapping({"nav_shape": (2, 5), "sync_offset": -9}, (2, 5), [*[_] * 9, 0]),
    Mapping({"nav_shape": (2, 5), "sync_offset": 10}, None, []),
    Mapping({"nav_shape": (2, 5), "sync_offset": -10}, None, []),
    Mapping({"nav_shape": (2, 3), "first_frame": 2, "last_frame": 8}, (2, 3), _ALL[2:8]),
    Mapping({"nav_shape": (2, 5), "first_frame": 2}, (2, 5), [*_ALL[2:], _, _], "2 of 10"),
    Mapping({"navigation_shape": (5, 2), "first_frame": 2}, (1, 5), _ALL[2:7], "1 of 2 lines"),
    Mapping({"nav_shape": (2, 3), "sync_offset": 1, "first_frame": 2}, (2, 3), _ALL[3:9]),
    Mapping(
        {"nav_shape": (2, 3), "sync_offset": -1, "first_frame": 2, "last_frame": 6},
        (2, 3),
        [_, 2, 3, 4, 5, _],
        "1 of 6",
    ),
    Mapping({"nav_shape": (-1, 5)}, (2, 5), _ALL),
    Mapping({"nav_shape": (-1, 4)}, (2, 4), _ALL[:8], "2 of 10 frames dropped"),
    Mapping({"nav_shape": (-1, 3), "sync_offset": -2}, (4, 3), [_, _, *_ALL]),
    Mapping({"nav_shape": (2, 0)}, None, []),
    # beyond the table
    Mapping({"navigation_shape": (5, -1)}, (2, 5), _ALL),
    Mapping({"nav_shape": (5, -1)}, (5, 2), _ALL),
    Mapping({"nav_shape": 10}, (10,), _ALL),
    Mapping({"nav_shape": (2, 5), "missing": "raise"}, (2, 5), _ALL),
    Mapping({"nav_shape": (3, 5), "missing": "crop"}, (2, 5), _ALL, "2 of 3 lines"),
    Mapping({"navigation_shape": (5, 3), "missing": "fill"}, (3, 5), [*_ALL, *[_] * 5], "5 of 15"),
    Mapping({"nav_shape": (2, 2, 3)}, (2, 2, 3), [*_ALL, _, _], "2 of 12"),
    Mapping({"navigation_shape": (3, 2, 2)}, (1, 2, 3), _ALL[:6], "4 frames of the next scan"),
    Mapping({"nav_shape": (-1, -1)}, None, []),
    Mapping({"nav_shape": (-1, 11)}, None, []),
    Mapping({"nav_shape": (-2, 5)}, None, []),
]


# -- all of them ---------------------------------------------------------------------------------


def _discovered() -> list[Spec]:
    modules = [importlib.import_module(f"samples.{m.name}") for m in pkgutil.iter_modules(__path__)]
    return [spec for module in modules for spec in getattr(module, "SPECS", ())]


SPECS = _discovered()
