# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of Merlin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from writers import mib as mib_writer

from samples import TEN, Array, Sample, Spec


def mib(
    variant: str,
    depth: int = 12,
    kind: str = "processed",
    *,
    nav: tuple[int, ...] = (3, 4),
    sig: tuple[int, int] = (64, 256),
    options: dict[str, Any] | None = None,
    warns: str = "",
    change: Callable[[Array], Array] = lambda frames: frames,
    stored: int | None = None,
    open_hdr: bool = False,
    dtype: str | None = None,
    plain: bool | None = None,
    values: int | None = None,
    **written: Any,
) -> Spec:
    """Make a Merlin sample.

    `options` are the keywords of the reader; by default the scan shape. `stored` is the number of
    frames written, `change` turns these (n, rows, columns; flipped) into what is expected.
    """
    options = {"nav_shape": nav} if options is None else options
    dtype = dtype or {1: "u1", 6: "u1", 12: "u2", 24: "u4"}[depth]

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        count = stored or int(np.prod(nav))
        frames = rng.integers(0, values or 1 << depth, (count, *sig)).astype(dtype)
        path = mib_writer.write_mib(folder / "scan.mib", frames, depth, kind, **written)
        expected = change(frames[:, ::-1])
        return Sample(
            "mib",
            variant,
            path.with_suffix(".hdr") if open_hdr else path,
            expected.reshape(*nav, *expected.shape[-2:]),
            options,
            warns,
            plain=kind == "processed" if plain is None else plain,
        )

    return Spec("mib", variant, make)


def mib_u01(packed: bool) -> Spec:
    variant = "U01 packed" if packed else "U01 in bytes"

    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = rng.integers(0, 2, (12, 64, 256)).astype("u1")
        heads = mib_writer.headers(np.arange(1, 13), (64, 256), 1, "U01")
        pixels = frames.reshape(12, -1)
        pixels = np.packbits(pixels, axis=1) if packed else pixels
        path = folder / "scan.mib"
        path.write_bytes(np.concatenate([heads, pixels], axis=1).tobytes())
        return Sample(
            "mib",
            variant,
            path,
            frames[:, ::-1].reshape(3, 4, 64, 256),
            {"nav_shape": (3, 4)},
            "bit order of packed U01" if packed else "",
            plain=not packed,
        )

    return Spec("mib", variant, make)


def mib_set(variant: str, names: tuple[str, ...], opened: int, **kwargs: Any) -> Spec:
    def make(folder: Path, rng: np.random.Generator) -> Sample:
        frames = rng.integers(0, 4096, (12, 64, 256)).astype("u2")
        bounds = [0, 5, 9, 12]
        for name, a, b in zip(names, bounds[:-1], bounds[1:], strict=True):
            times = mib_writer.START_NS + np.arange(a, b) * 1_000_000
            mib_writer.write_mib(folder / name, frames[a:b], first_sequence=a + 1, times_ns=times)
        # a stranger that must not be swallowed
        mib_writer.write_mib(folder / "scan_U08.mib", frames[:2] % 256, 6)
        expected = frames[:, ::-1].reshape(3, 4, 64, 256)
        return Sample("mib", variant, folder / names[opened], expected, {"nav_shape": (3, 4)})

    return Spec("mib", variant, make)


def with_cross(gap: int) -> Callable[[Array], Array]:
    """Put an empty cross of `gap` pixels into frames of 2 x 2 chips."""

    def change(frames: Array) -> Array:
        rows, columns = frames.shape[1] // 2, frames.shape[2] // 2
        out = np.zeros((len(frames), 2 * rows + gap, 2 * columns + gap), frames.dtype)
        for y, to_y in ((slice(rows), slice(rows)), (slice(rows, None), slice(rows + gap, None))):
            out[:, to_y, :columns] = frames[:, y, :columns]
            out[:, to_y, columns + gap :] = frames[:, y, columns:]
        return out

    return change


def layered(layers: int) -> Callable[[Array], Array]:
    return lambda frames: frames.reshape(-1, layers, *frames.shape[1:]).swapaxes(0, 1)


_TIMES = np.random.default_rng(7)
_FLYBACK = mib_writer.flyback_exposures(4, 5, 0, startup_ns=None)
_SCAN_TIMES, _SCAN_EXPOSURES = mib_writer.scan_times((5, 4), rng=_TIMES)

SPECS = [
    mib("U08", 6),
    mib("U08, 1 bit", 1),
    mib("U16"),
    mib("U32", 24),
    mib("U64", 24, dtype="u8", pixel_type="U64"),
    mib_u01(packed=False),
    mib_u01(packed=True),
    *(mib(f"RAW {d}", d, "raw") for d in (1, 6, 12, 24)),
    *(mib(f"RAW {d}, 256 rows", d, "raw", nav=(1, 2), sig=(256, 256)) for d in (1, 6, 12, 24)),
    *(
        mib(
            f"RAW {d} quad",
            d,
            "raw",
            nav=(1, 3),
            sig=(512, 512),
            layout="2x2",
            warns="24-bit of several chips" if d == 24 else "",
        )
        for d in (1, 6, 12, 24)
    ),
    *(
        mib(
            f"RAW {d} quad with gap",
            d,
            "raw",
            nav=(2, 1),
            sig=(512, 512),
            layout="2x2G",
            options={"nav_shape": (2, 1), "gap": gap},
            change=with_cross(2 if gap == "header" else gap),
        )
        for d, gap in ((1, "header"), (6, 3), (12, "header"))
    ),
    mib("RAW 12 quad, rows", 12, "raw", sig=(128, 512), layout="2x2", warns="part of the rows"),
    mib("processed quad", 12, sig=(512, 512), nav=(1, 2), layout="2x2"),
    mib(
        "processed quad with gap",
        6,
        sig=(512, 512),
        nav=(1, 2),
        layout="2x2",
        options={"nav_shape": (1, 2), "gap": 4},
        change=with_cross(4),
        plain=False,
    ),
    mib("2x2G as stored", 6, sig=(514, 514), nav=(1, 2), layout="2x2G"),
    mib("Nx1 processed", 12, sig=(64, 768), layout="Nx1"),
    *(
        mib(
            f"RAW 12, {n} chips in a row",
            12,
            "raw",
            sig=(64, 256 * n),
            layout="Nx1",
            warns="in a row is undocumented",
        )
        for n in (2, 3, 4)
    ),
    mib("RAW 24, 2 chips in a row", 24, "raw", sig=(64, 512), layout="Nx1", warns="undocumented"),
    mib("flat stack", nav=(7,), options={}),
    mib(TEN, nav=(10,), sig=(8, 16), options={}),
    mib("one frame", nav=(), options={}),
    mib("colour layers", nav=(4, 2, 3), options={"nav_shape": (2, 3)}, stored=24, change=layered(4),
        colour=1, counters=np.arange(24) % 4, plain=False),
    mib("two counters", nav=(2, 2, 3), options={"nav_shape": (2, 3)}, stored=12, change=layered(2),
        counters=np.arange(12) % 2, hdr={"active_counters": "Counter 0 & Counter 1"}, plain=False),
    mib("alternating counters", counters=np.arange(12) % 2, hdr={"active_counters": "Alternating"}),
    mib("legacy 12B", nav=(2, 2), sig=(256, 256), legacy="12B"),
    mib("legacy 24B", 24, nav=(2, 1), sig=(256, 256), legacy="24B"),
    mib("socket dump", mpx=True, options={}, hdr={"frames_per_trigger": 4}),
    mib("space-padded headers", pad=b" "),
    mib("unpadded headers", pad=None),
    mib("no MQ1A", mq1a=False),
    mib("no MQ1A, no DACs", mq1a=False, dacs=False),
    mib("RAW without DACs", 6, "raw", dacs=False),
    mib("RAW of unknown depth", 12, "raw", mq1a=False),
    mib("RAW 6 with depth told", 6, "raw", mq1a=False, options={"nav_shape": (3, 4), "depth": 6}),
    mib("long header", data_offset=512),
    mib("day first", day_first=True, mq1a=False),
    mib_set("set, first opened", ("scan.mib", "scan1.mib", "scan2.mib"), 0),
    mib_set("set, last opened", ("scan_000001.mib", "scan_000002.mib", "scan_000003.mib"), 2),
    mib("via .hdr", options={}, open_hdr=True, hdr={"frames_per_trigger": 4}),
    mib("ScanX and ScanY", options={}, hdr={"scan_x": 4, "scan_y": 3, "software": "1.5"}),
    mib("ScanX and ScanY, flyback dropped", options={}, stored=20, nav=(4, 4),
        hdr={"scan_x": 4, "scan_y": 4, "frames_per_trigger": 5, "software": "1.5"},
        exposures_ns=_FLYBACK,
        change=lambda f: f.reshape(4, 5, *f.shape[1:])[:, 1:], plain=False),
    mib("flyback dropped", nav=(4, 4), stored=20, options={"flyback": "drop"},
        exposures_ns=_FLYBACK,
        change=lambda f: f.reshape(4, 5, *f.shape[1:])[:, 1:], plain=False),
    mib("flyback kept", nav=(4, 5), stored=20, options={"flyback": "keep"},
        exposures_ns=_FLYBACK),
    mib("line ends in timestamps", nav=(5, 4), options={}, times_ns=_SCAN_TIMES,
        exposures_ns=_SCAN_EXPOSURES),
    mib("line_skip", options={"nav_shape": (3, 4), "line_skip": 1}, stored=15,
        change=lambda f: f.reshape(3, 5, *f.shape[1:])[:, :4], plain=False),
    mib("snake", options={"nav_shape": (3, 4), "snake": True},
        change=lambda f: np.concatenate([f[:4], f[7:3:-1], f[8:]]), plain=False),
    mib("not flipped", options={"nav_shape": (3, 4), "flip_y": False}, change=lambda f: f[:, ::-1]),
    mib("some frames", nav=(2, 3), stored=12, change=lambda f: f[4:10],
        options={"first_frame": 3, "last_frame": -1, "sync_offset": 1, "nav_shape": (2, 3)}),
    mib("blanks first", nav=(2, 5), stored=8, plain=False,
        options={"sync_offset": -2, "nav_shape": (2, 5), "fill_value": 5},
        change=lambda f: np.concatenate([np.full_like(f[:2], 5), f])),
    mib("last frame cut", nav=(11,), stored=12, truncate=1000, change=lambda f: f[:11],
        options={}, warns="last frame is incomplete"),
    mib("stored type", dtype=">u2", options={"nav_shape": (3, 4), "dtype": "stored"}),
    mib("wider type", options={"nav_shape": (3, 4), "dtype": "float32"}, plain=False,
        change=lambda f: f.astype("f4")),
    mib("narrower type", options={"nav_shape": (3, 4), "dtype": "uint8"}, plain=False, values=256,
        change=lambda f: f.astype("u1")),
    mib("one row per frame", sig=(1, 256)),
]  # fmt: skip
