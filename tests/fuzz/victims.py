# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings to damage: the samples of the tests, as files in memory."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from samples import SPECS, Spec

from rsciio_tem.frames.table import FrameTable

from .fields import Field, fields_of

FORMATS = list(dict.fromkeys(spec.format for spec in SPECS if spec.has_file))


@dataclass
class Victim:
    """A recording that is good, and what is to be damaged of it.

    Parameters
    ----------
    name, format : str
        Of the sample and its format.
    options, format_options : dict
        Keywords of the reader, and those of them that ``parse`` takes.
    opened : str
        The file that is opened, or the folder; relative, as the names of `files`.
    files : dict
        Contents by name.
    folder : Path
        Where the files lie as they are.
    values : ndarray
        What reading it gives.
    pixels : list of tuple
        File, first byte and number of bytes of each frame of `values`, where each frame is one
        stretch of one file.
    """

    name: str
    format: str
    options: dict[str, Any]
    format_options: dict[str, Any]
    opened: str
    files: dict[str, bytes]
    folder: Path
    values: NDArray[Any]
    nav_dims: int
    pixels: list[tuple[str, int, int]] = field(default_factory=list)

    def __str__(self) -> str:
        return self.name

    @functools.cache  # noqa: B019  victims live as long as the process
    def fields(self, name: str) -> list[Field]:
        """List the fields of one of the files."""
        return fields_of(os.path.splitext(name)[1].lstrip("."), self.files[name])

    def __hash__(self) -> int:
        return id(self)


def _frame_pixels(sample: Any, folder: Path) -> list[tuple[str, int, int]]:
    """Say where the bytes of each frame lie, if values are frames as they are stored."""
    frames = sample.parse().frames
    if not isinstance(frames, FrameTable) or not frames.pixels.nbytes:
        return []
    stored = np.empty((len(frames), *frames.frame_shape), frames.dtype)
    frames.load(stored)
    if stored.tobytes() != sample.expected.tobytes():
        return []
    places = [
        (
            str(Path(frames.files[int(run["file"])].path).relative_to(folder)),
            int(run["start"]) + i * int(run["stride"]),
            frames.pixels.nbytes,
        )
        for run in frames.runs
        for i in range(int(run["count"]))
    ]
    if frames.order is None:
        return places
    return [places[i] for i in frames.order] if (frames.order >= 0).all() else []


def make(spec: Spec, folder: Path) -> Victim:
    """Write a sample into a new folder."""
    folder.mkdir(parents=True)
    sample = spec.make(folder, np.random.default_rng(zlib.crc32(str(spec).encode())))
    assert sample.path is not None
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return Victim(
        str(spec),
        spec.format,
        sample.options,
        sample.format_options,
        str(sample.path.relative_to(folder)),
        files,
        folder,
        sample.expected,
        len(sample.nav_shape),
        _frame_pixels(sample, folder),
    )


class Place:
    """A folder in memory, if the system has one, for recordings that live for milliseconds."""

    def __init__(self) -> None:
        shared = Path("/dev/shm")
        usable = shared.is_dir() and os.access(shared, os.W_OK)
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz", dir=shared if usable else None))

    def __enter__(self) -> Path:
        return self.folder

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def make_all(formats: list[str], folder: Path) -> dict[str, list[Victim]]:
    """Write the samples of some formats."""
    specs = [spec for spec in SPECS if spec.has_file and spec.format in formats]
    victims: dict[str, list[Victim]] = {name: [] for name in formats}
    for i, spec in enumerate(specs):
        victims[spec.format].append(make(spec, folder / str(i)))
    return victims
