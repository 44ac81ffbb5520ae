# SPDX-License-Identifier: GPL-3.0-or-later
"""The sheet that ``rsciio-tem preview`` draws."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem._version import __version__
from rsciio_tem.cli.words import evidence_in_words, product_in_words, scan_in_words, size_in_words
from rsciio_tem.frames.wrapped import Floats, Grey, long_integers
from rsciio_tem.reading.arrange import Arranged
from rsciio_tem.reading.images_as_evidence import agreement, hint_of, part_masks
from rsciio_tem.recording.recording import Recording
from rsciio_tem.registry import every_format
from rsciio_tem.scan.content import content_lines
from rsciio_tem.scan.scan import Scan

# ---------------------------------------------------------------- preview


def _finite(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the finite numbers among values, of complex ones their moduli."""
    real = np.asarray(np.abs(values) if values.dtype.kind == "c" else values, np.float64)
    return np.asarray(real[np.isfinite(real)])


def _what_images_show(scan: Scan, parts: npt.NDArray[Any]) -> list[str]:
    """Say what lines the images show, where the scan shape is uncertain."""
    sums = np.asarray(parts, np.float64)
    if len(scan.shape) > 1:
        trouble = agreement(scan, sums)
        return [f"{trouble[0].upper()}{trouble[1:]}"] if trouble else []
    hint = hint_of(content_lines(sums), len(sums))
    if hint is None:
        return []
    return [f"The images suggest {scan_in_words(hint.shape)} (--scan content): {hint.reason}"]


def sheet_of(path: str, recording: Recording, arranged: Arranged, quiet: bool = False) -> Any:
    """Reduce a recording to a sheet: a sample finds the disk, one pass makes everything else."""
    from tqdm import tqdm

    from rsciio_tem.reduction.single_pass import one_pass
    from rsciio_tem.tools import preview

    frames, shape, scan = arranged.source.frames, arranged.source.nav_shape, arranged.scan
    frame_bytes = max(1, math.prod(frames.frame_shape) * frames.dtype.itemsize)
    pixels = frames.dtype.name
    if names := frames.dtype.names:  # colours
        frames, pixels = Grey(frames), f"colours {''.join(names)}"
    elif long_integers(frames.dtype):
        frames = Floats(frames)
    sample = min(len(frames), 256, max(8, (64 << 20) // frame_bytes))
    index = np.linspace(0, len(frames) - 1, sample).astype(np.int64)
    disk = preview.find_disk(one_pass(frames[index], what=["sum"])["sum"])
    virtual = preview.detectors(disk, frames.frame_shape) if disk else None
    masks = [] if virtual is None else list(virtual.masks)
    unsure = len(frames.frame_shape) == 2 and scan.evidence.confidence < 0.8
    parts = list(part_masks(frames.frame_shape)) if unsure else []
    with tqdm(
        total=len(frames), unit=" frames", leave=False, disable=True if quiet else None
    ) as bar:
        results = one_pass(
            frames,
            what=("navigator", "sum", "max"),
            masks=[*masks, *parts] if masks or parts else None,
            progress=bar.update,
        )
    navigator = results["navigator"]
    total = float(_finite(navigator).sum())
    values = _finite(results["max"])
    largest = float(values.max()) if values.size else math.nan
    maps = [m.reshape(shape) for m in results.get("masks", ())[: len(masks)]]
    rows, size = len(frames), product_in_words(frames.frame_shape[::-1])
    words, why = scan_in_words(shape), evidence_in_words(scan.evidence, shape)
    lines = [
        f"Scan {words}, {why}" if len(shape) > 1 else f"{words[0].upper()}{words[1:]}: {why}",
        f"{recording.format}: {every_format()[recording.format].description} | "
        f"{rows} frame{'s' * (rows != 1)} of {size} px, {pixels}, "
        f"{size_in_words(rows * frame_bytes)}",
        f"Sum of all pixels {preview.compact(total)}, per frame "
        f"{preview.compact(total / rows)}; largest pixel {preview.compact(largest)}",
    ]
    if parts:
        lines += _what_images_show(scan, np.abs(results["masks"][len(masks) :]).T)
    return preview.sheet(
        title=os.path.basename(recording.path),
        lines=lines,
        pattern=results["sum"],
        navigator=navigator.reshape(shape),
        virtual=virtual,
        bright_field=maps[0] if maps else None,
        dark_field=maps[1] if maps else None,
        missing=arranged.missing_mask,
        footer=f"rsciio-tem {__version__}",
    )
