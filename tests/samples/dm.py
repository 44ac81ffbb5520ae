# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of DigitalMicrograph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from writers import dm as dm_writer

from samples import TEN, Sample, Spec


def dm(
    variant: str,
    nav: tuple[int, ...] = (3, 4),
    *,
    sig: tuple[int, int] = (6, 10),
    dtype: Any = "u2",
    frames_first: bool = True,
    options: dict[str, Any] | None = None,
    stored: tuple[int, ...] | None = None,
    tags: dict[str, Any] | None = None,
    units: tuple[str, ...] = (),
    warns: str = "",
    plain: bool = True,
    suffix: str = "dm4",
    **written: Any,
) -> Spec:
    """Make a DigitalMicrograph sample; `stored` is the scan shape in the file, if it differs."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        kind = np.dtype(dtype)
        raw = rng.integers(0, 256, (*nav, *sig, kind.itemsize)).astype("u1")
        if kind.kind in "fc":
            data = rng.normal(size=(*nav, *sig)).astype(kind)
        elif kind.kind == "b":
            data = raw[..., 0] > 127
        else:
            data = raw.view(kind)[..., 0]
        disk = data.reshape(*(nav if stored is None else stored), *sig)
        if not frames_first:
            disk = np.moveaxis(disk, (-2, -1), (0, 1))
        image = dm_writer.image(disk, tags=tags, units=units)
        path = dm_writer.write_dm(folder / f"recording.{suffix}", [image], **written)
        return Sample("dm", variant, path, data, options or {}, warns, plain=plain)

    return Spec("dm", variant, make)


def dm_series(variant: str, opened: str, numbers: tuple[int, ...], **options: Any) -> Spec:
    """Make a series of images in files of their own."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = rng.integers(0, 1 << 16, (len(numbers), 6, 10)).astype("u2")
        for number, frame in zip(numbers, frames, strict=True):
            image = dm_writer.image(frame, name=f"recording_{number}")
            dm_writer.write_dm(folder / f"recording_{number}.dm4", [image])
        return Sample("dm", variant, folder / opened, frames, {"files": "numbered", **options})

    return Spec("dm", variant, make)


_NEWER, _OLDER = dm_writer.swapped(True), dm_writer.swapped(0)
SPECS = [
    dm("DM4, frame after frame", tags=_NEWER, units=dm_writer.DIFFRACTION),
    dm("DM3, frame after frame", tags=_NEWER, version=3, suffix="dm3"),
    dm("big-endian", dtype="i4", tags=_NEWER, little=False, version=3, suffix="dm3"),
    dm("pixel after pixel", tags=_OLDER, frames_first=False, plain=False),
    dm("pixel after pixel, big-endian", dtype="f8", tags=_OLDER, frames_first=False, plain=False,
        little=False),
    dm("pixel after pixel, nothing tells", frames_first=False, plain=False,
        warns="nothing says which of its 4 axes are the scan"),
    dm("scan of one pixel after the other, five axes", (2, 3, 4), dtype="u1", plain=False,
        frames_first=False, units=("nm", "nm", "s", "1/nm", "1/nm")),
    dm("five axes", (2, 3, 4), dtype="f4", tags=_NEWER),
    dm(TEN, (10,)),
    dm("one image", (), version=3, with_thumbnail=False, suffix="dm3"),
    dm("complex stack", (5,), dtype="c8"),
    dm("flags", (2, 2), dtype="?", tags=_NEWER),
    dm("colours", (3,), dtype=dm_writer.RGBA, plain=False),
    dm("colours, pixel after pixel", (2, 3), dtype=dm_writer.RGBA, tags=_OLDER, plain=False,
        frames_first=False),
    dm("scan in tags", stored=(12,), tags={"4D STEM Tags": {"Scan shape X": 4, "Scan shape Y": 3}}),
    dm_series("numbered files", "recording_9.dm4", (8, 9, 10, 11, 100)),
    dm_series("numbered files, all parsed", "recording_1.dm4", (1, 2, 3), same_offset=False),
]  # fmt: skip
