# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of hexrd's lists of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from writers import imagefiles as imagefiles_writer

from samples import TEN, Array, Sample, Spec


def imagefiles(
    variant: str,
    dtype: str = "u2",
    count: int = 7,
    *,
    per_file: int = 1,
    sig: tuple[int, int] = (12, 16),
    files: Any = "*im_*",
    kind: str = "tif",
    change: Callable[[Array], Array] = lambda frames: frames,
    options: dict[str, Any] | None = None,
    warns: str = "",
    plain: bool = False,
    sections: dict[str, Any] | None = None,
    **layout: Any,
) -> Spec:
    """Make a list of images, `per_file` in each file."""

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = rng.integers(0, 250, (count, *sig)).astype(dtype)
        for i in range(0, count, per_file):
            images = frames[i : i + per_file]
            name = folder / f"scan_im_{i}.{kind}"
            if kind == "npy":
                np.save(name, images)
            else:
                imagefiles_writer.write_tiff(name, images, **layout)
        path = imagefiles_writer.write_list(folder / "scan.yml", files, **(sections or {}))
        expected = change(frames.astype(frames.dtype.newbyteorder("=")))
        return Sample(
            "imagefiles", variant, path, expected, dict(options or {}), warns, plain=plain
        )

    return Spec("imagefiles", variant, make)


SPECS = [
    imagefiles("one TIFF each", count=12, options={"nav_shape": (3, 4)},
        change=lambda f: f.reshape(3, 4, *f.shape[1:])),
    imagefiles(TEN, count=10),
    imagefiles("12 files, numbers without zeros", count=12, rows_per_strip=5),
    imagefiles("big-endian", ">i4", order=">"),
    imagefiles("BigTIFF of floats", "f4", big=True, header_first=True),
    imagefiles("one stack", per_file=7, plain=True),
    imagefiles("strips apart", gap=4, rows_per_strip=4),
    imagefiles("deflated", deflate=True),
    imagefiles("limits", count=9, per_file=3, sections={"options": {"empty-frames": 1,
        "max-file-frames": 1, "max-total-frames": 2}}, change=lambda f: f[[1, 4]]),
    imagefiles("limits beside image-files", count=9, per_file=3, sections={"empty_frames": 1},
        change=lambda f: f[[1, 2, 4, 5, 7, 8]]),
    imagefiles("limits as keywords", count=9, per_file=3, change=lambda f: f[[0, 1, 3, 4]],
        options={"max_file_frames": 2, "max_total_frames": 4}),
    imagefiles("cast", sections={"options": {"dtype": "float32"}},
        change=lambda f: f.astype("f4")),
    imagefiles("rotation", sections={"meta": {"omega": [[i, i + 1] for i in range(7)]}}),
    imagefiles("NumPy arrays", per_file=4, kind="npy"),
]  # fmt: skip
