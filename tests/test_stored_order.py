# SPDX-License-Identifier: GPL-3.0-or-later
"""Sums of frames as they are stored are the sums of decoded frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rsciio_tem.frames.arrays import ArrayFrames
from rsciio_tem.frames.combined import Mosaic
from rsciio_tem.frames.pixels import Pixels, quad_tiles
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.reduction.single_pass import What, one_pass
from rsciio_tem.reduction.stored_order import in_stored_order
from rsciio_tem.storage.backends import DataFile

EVERYTHING: tuple[What, ...] = ("navigator", "sum", "mean", "max", "variance", "com")
STORED = {"medipix1": "u1", "medipix6": "u1", "medipix12": "u2", "medipix24": "u4"}


def chips(packing: Any, gap: int, flip_y: bool, stored: str = "") -> Pixels:
    """Four chips of 4 x 64 pixels."""
    shape = (8 + gap, 128 + gap)
    return Pixels(
        shape,
        np.dtype(stored or STORED[packing]),
        packing,
        quad_tiles(4, 64, gap),
        (4, 64),
        (4, 256),
        flip_y,
    )


KINDS = {
    "plain": Pixels((6, 40), np.dtype("<u2")),
    "plain floats": Pixels((6, 40), np.dtype("<f4")),
    "big-endian": Pixels((6, 40), np.dtype(">u2")),
    "big-endian, flipped": Pixels((6, 40), np.dtype(">u2"), flip_y=True),
    "flipped": Pixels((6, 40), np.dtype("u1"), flip_y=True),
    "flipped floats": Pixels((6, 40), np.dtype("<f4"), flip_y=True),
    "single chip, 1 bit": Pixels((6, 128), np.dtype("u1"), "medipix1", flip_y=True),
    "single chip, 6 bit": Pixels((6, 64), np.dtype("u1"), "medipix6"),
    "single chip, 12 bit": Pixels((6, 64), np.dtype("u2"), "medipix12", flip_y=True),
    **{
        f"four chips, {packing}, gap {gap}, flip {flip}": chips(packing, gap, flip)
        for packing in ("medipix1", "medipix6", "medipix12")
        for gap in (0, 3)
        for flip in (False, True)
    },
    "four plain chips": chips("plain", 2, True, "<u4"),
}
#: Kinds that are decoded: the order of their bytes is more than an order of pixels.
DECODED = {
    "big-endian floats": Pixels((6, 40), np.dtype(">f4"), flip_y=True),
    "24 bit": chips("medipix24", 0, True),
    "moved down": Pixels((6, 40), np.dtype(">u2"), shift=2),
    "12 bits": Pixels((6, 40), np.dtype("u2"), "u12-le"),
}


def recorded(folder: Path, pixels: Pixels, count: int = 70) -> FrameTable:
    """Random bytes, each frame behind a header of 24 bytes."""
    rng = np.random.default_rng(count)
    raw = rng.integers(0, 256, (count, 24 + pixels.nbytes), np.uint8)
    if pixels.stored.kind == "f":
        values = rng.random((count, pixels.stored_pixels)).astype(pixels.stored)
        raw[:, 24:] = values.view(np.uint8)
    path = folder / "frames.bin"
    path.write_bytes(raw.tobytes())
    runs = runs_of([(0, 24, raw.shape[1], count)])
    return FrameTable((DataFile.of(path),), runs, pixels)


def decoded(frames: Frames) -> ArrayFrames:
    data = np.empty((len(frames), *frames.frame_shape), frames.dtype)
    frames.load(data)
    return ArrayFrames(lambda: data, data.shape[:1], data.shape[1:], data.dtype)


def check(frames: Frames, masks: Any = None, what: tuple[What, ...] = EVERYTHING) -> None:
    found = one_pass(frames, what=what, masks=masks, threads=2)
    expected = one_pass(decoded(frames), what=what, masks=masks)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        assert found[name].shape == values.shape, name
        exact = frames.dtype.kind != "f" and name != "variance"
        if name == "masks":  # whole numbers are exact as floats up to here
            whole = np.asarray(masks).dtype.kind not in "fc"
            exact &= whole and bool(np.abs(values).max(initial=0) < 2**53)
        if exact:
            np.testing.assert_array_equal(found[name], values, name)
        else:
            np.testing.assert_allclose(found[name], values, 1e-12, 1e-12, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_as_decoded(kind: str, tmp_path: Path) -> None:
    frames = recorded(tmp_path, KINDS[kind])
    assert in_stored_order(frames) is not None
    rng = np.random.default_rng(1)
    shape = (3, *frames.frame_shape)
    check(frames, rng.integers(0, 2, shape).astype(bool))
    check(frames, rng.integers(-1000, 1000, shape))
    check(frames, rng.random(shape))
    check(frames, rng.random(shape) + 1j)
    for name in EVERYTHING:
        check(frames, what=(name,))


@pytest.mark.parametrize("kind", DECODED)
def test_what_is_decoded(kind: str, tmp_path: Path) -> None:
    frames = recorded(tmp_path, DECODED[kind])
    assert in_stored_order(frames) is None
    check(frames, np.ones((1, *frames.frame_shape)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fill", [0, 1])
def test_any_order_and_blanks(kind: str, fill: int, tmp_path: Path) -> None:
    frames = replace(recorded(tmp_path, KINDS[kind]), fill=fill)
    order = np.concatenate([[-1] * 3, np.arange(60)[::-1], [5, 5, 69], np.arange(10, 30), [-1]])
    masks = np.random.default_rng(2).integers(0, 2, (2, *frames.frame_shape))
    check(frames[order], masks)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)))
def test_masks_of_a_few_pixels(data: Any, kind: str, tmp_path: Path) -> None:
    """Only the part of the frames that any mask needs is read."""
    pixels = KINDS[kind]
    frames = recorded(tmp_path, pixels, data.draw(st.integers(1, 12)))
    masks = np.zeros((data.draw(st.integers(1, 3)), *pixels.shape), int)
    for mask in masks:
        for _ in range(data.draw(st.integers(0, 3))):
            row = data.draw(st.integers(0, pixels.shape[0] - 1))
            mask[row, data.draw(st.integers(0, pixels.shape[1] - 1))] = data.draw(
                st.integers(-(2**31) + 1, 2**31 - 1)
            )
    check(frames, masks, what=())


def test_empty_frames_have_no_centre(tmp_path: Path) -> None:
    pixels = KINDS["four chips, medipix1, gap 0, flip True"]
    path = tmp_path / "frames.bin"
    path.write_bytes(bytes(2 * pixels.nbytes))
    runs = runs_of([(0, 0, pixels.nbytes, 2)])
    found = one_pass(FrameTable((DataFile.of(path),), runs, pixels), what=("com",))
    assert np.isnan(found["com"]).all()


@pytest.mark.parametrize("flip_y", [None, False, True])
@pytest.mark.parametrize("complete", [True, False])
def test_parts(flip_y: bool | None, complete: bool, tmp_path: Path) -> None:
    """Frames that are put together are gone through part by part."""
    table = recorded(tmp_path, KINDS["big-endian"])
    top, bottom = table, table[::-1]
    left = slice(0, 40)
    places = ((slice(0, 6), left), (slice(6, 12), left))
    frames = Mosaic((top, bottom), places, (12 if complete else 13, 40), 3, flip_y)
    rng = np.random.default_rng(4)
    for masks in (
        rng.integers(0, 9, (2, *frames.frame_shape)),
        rng.random((1, *frames.frame_shape)),
    ):
        check(frames, masks)
        check(frames, masks, what=())
    told: list[int] = []
    one_pass(frames, progress=told.append)
    assert sum(told) == len(frames)
