# SPDX-License-Identifier: GPL-3.0-or-later
"""From stored bytes to pixel values, for any region, flip, packing and arrangement of chips."""

from __future__ import annotations

import importlib
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from writers.mib import encode_raw, quad_readout
from writers.raw import pack

from rsciio_tem.frames.pixels import Pixels, Tile, full_region, quad_tiles

DEPTHS = {"medipix1": (1, "u1"), "medipix6": (6, "u1"), "medipix12": (12, ">u2")}
DEPTHS["medipix24"] = (24, ">u4")


def block_of(frames: list[bytes], header: int, footer: int, shift: int = 0) -> np.ndarray:
    """Lay frames out as in a file, at an odd address."""
    stride = header + len(frames[0]) + footer
    content = b"".join(b"\xee" * header + frame + b"\xdd" * footer for frame in frames)
    memory = np.frombuffer(b"\xcc" * shift + content, np.uint8)[shift:]
    return np.lib.stride_tricks.as_strided(
        memory[header:], (len(frames), len(frames[0])), (stride, 1), writeable=False
    )


def regions(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[slice, ...]]:
    def one(n: int) -> st.SearchStrategy[slice]:
        return st.tuples(st.integers(0, n - 1), st.integers(1, n)).map(
            lambda x: slice(min(x[0], x[1] - 1), max(x[0] + 1, x[1]))
        )

    return st.tuples(*(st.just(slice(0, n)) | one(n) for n in shape))


def check(pixels: Pixels, frames: np.ndarray, raw: np.ndarray, region: tuple[slice, ...]) -> None:
    """Decode a region and compare it with the same region of the frames."""
    skip, nbytes = pixels.byte_range(region)
    assert 0 <= skip <= skip + nbytes <= pixels.nbytes
    wanted = frames[:, ::-1] if pixels.flip_y else frames
    wanted = wanted[(slice(None), *region)]
    out = np.full(wanted.shape, 99, pixels.dtype)
    pixels.decode(raw[:, skip : skip + nbytes], out, region)
    np.testing.assert_array_equal(out, wanted)
    # into another type, and backwards
    wide = np.full(wanted.shape, 99, "c16" if pixels.dtype.kind == "c" else "f8")
    pixels.decode(raw[:, skip : skip + nbytes], wide[::-1], region)
    np.testing.assert_array_equal(wide[::-1], wanted)


@settings(max_examples=150)
@given(
    data=st.data(),
    dtype=st.sampled_from(["u1", "i1", "<u2", ">u2", ">i4", "<f4", ">f8", ">c8", "?", ">u8"]),
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=3).map(tuple),
    flip_y=st.booleans(),
    native=st.booleans(),
)
def test_plain(data: Any, dtype: str, shape: tuple[int, ...], flip_y: bool, native: bool) -> None:
    pixels = Pixels(shape, np.dtype(dtype), flip_y=flip_y, native=native)
    assert pixels.plain
    assert pixels.dtype.isnative or not native
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    frames = rng.integers(0, 2, (data.draw(st.integers(1, 3)), *shape)).astype(dtype)
    raw = block_of(
        [frame.tobytes() for frame in frames],
        data.draw(st.integers(0, 9)),
        data.draw(st.integers(0, 9)),
        data.draw(st.integers(0, 7)),
    )
    check(pixels, frames, raw, data.draw(regions(shape)))
    viewed = pixels.view(raw)
    np.testing.assert_array_equal(viewed, frames[:, ::-1] if flip_y else frames)
    assert np.shares_memory(viewed, raw)
    assert viewed.dtype == np.dtype(dtype)


@pytest.mark.parametrize("cached", [0, 100, 1 << 20])  # less than a frame, several, all
@pytest.mark.parametrize("columns", [slice(0, 6), slice(1, 4)])
def test_swapped_and_turned_over(
    monkeypatch: pytest.MonkeyPatch, cached: int, columns: slice
) -> None:
    monkeypatch.setattr("rsciio_tem.frames.pixels._CACHED", cached)
    monkeypatch.setattr("rsciio_tem.frames.pixels._compiled", lambda nbytes: False)
    stored = np.random.default_rng(1).integers(0, 65536, (7, 4, 6)).astype(">u2")
    pixels = Pixels((4, 6), np.dtype(">u2"), flip_y=True)
    region = (slice(1, 4), columns)
    raw = np.zeros((7, 60), np.uint8)
    begin, nbytes = pixels.byte_range(region)
    raw[:, :nbytes] = stored.reshape(7, -1).view(np.uint8)[:, begin : begin + nbytes]
    out = np.zeros((7, 3, columns.stop - columns.start), np.uint16)
    pixels.decode(raw, out, region)
    np.testing.assert_array_equal(out, stored[:, ::-1][:, 1:4, columns])


def test_large_big_endian_frames() -> None:
    """Large blocks take a compiled way, where numba is at hand."""
    importlib.import_module("rsciio_tem.kernels.sums")
    for dtype in (">u2", ">i4", ">f4"):
        for flip_y in (False, True):
            frames = np.random.default_rng(1).integers(0, 2**15, (20, 64, 256)).astype(dtype)
            pixels = Pixels((64, 256), np.dtype(dtype), flip_y=flip_y)
            raw = block_of([frame.tobytes() for frame in frames], 384, 0, 1)
            check(pixels, frames, raw, full_region((64, 256)))
            check(pixels, frames, raw, (slice(3, 60), slice(0, 256)))
            check(pixels, frames, raw, (slice(3, 60), slice(1, 250)))


@settings(max_examples=100)
@given(
    data=st.data(),
    packing=st.sampled_from(["bits-le", "bits-be", "u12-le", "u12-be"]),
    shape=st.tuples(st.integers(1, 6), st.sampled_from([8, 16, 24])),
    flip_y=st.booleans(),
)
def test_streams(data: Any, packing: str, shape: tuple[int, int], flip_y: bool) -> None:
    bits = 1 if packing.startswith("bits") else 12
    pixels = Pixels(shape, np.dtype("u1" if bits == 1 else "u2"), packing, flip_y=flip_y)
    assert not pixels.plain
    assert pixels.nbytes * 8 == math.prod(shape) * bits
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    frames = rng.integers(0, 1 << bits, (data.draw(st.integers(1, 3)), *shape))
    name = {"bits-le": "uint1", "bits-be": ">uint1", "u12-le": "<uint12", "u12-be": ">uint12"}
    stored = pack(frames.reshape(len(frames), -1), name[packing])
    raw = block_of([frame.tobytes() for frame in stored], data.draw(st.integers(0, 5)), 2, 1)
    check(pixels, frames, raw, data.draw(regions(shape)))


@settings(max_examples=100)
@given(
    data=st.data(),
    packing=st.sampled_from(sorted(DEPTHS)),
    shape=st.tuples(st.integers(1, 6), st.sampled_from([64, 128])),
    flip_y=st.booleans(),
)
def test_medipix(data: Any, packing: str, shape: tuple[int, int], flip_y: bool) -> None:
    depth, dtype = DEPTHS[packing]
    pixels = Pixels(shape, np.dtype(dtype), packing, flip_y=flip_y)  # type: ignore[arg-type]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    frames = rng.integers(0, 1 << depth, (data.draw(st.integers(1, 3)), *shape))
    raw = block_of(
        [encode_raw(frame, depth) for frame in frames], data.draw(st.sampled_from([0, 1, 384])), 0
    )
    check(pixels, frames, raw, data.draw(regions(shape)))


@settings(max_examples=150)
@given(
    data=st.data(),
    packing=st.sampled_from([*sorted(DEPTHS), "plain"]),
    rows=st.integers(1, 5),
    gap=st.integers(0, 4),
    flip_y=st.booleans(),
)
def test_four_chips(data: Any, packing: str, rows: int, gap: int, flip_y: bool) -> None:
    width = 64
    depth, dtype = DEPTHS.get(packing, (12, ">u2"))
    shape = (2 * rows + gap, 2 * width + gap)
    pixels = Pixels(
        shape,
        np.dtype(dtype),
        packing,  # type: ignore[arg-type]
        tiles=quad_tiles(rows, width, gap),
        tile_shape=(rows, width),
        stored_shape=(rows, 4 * width),
        flip_y=flip_y,
    )
    assert not pixels.plain
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    images = rng.integers(0, 1 << depth, (data.draw(st.integers(1, 3)), 2 * rows, 2 * width))
    readout = quad_readout(images)
    if packing == "plain":
        content = [frame.astype(dtype).tobytes() for frame in readout]
    else:
        content = [encode_raw(frame, depth) for frame in readout]
    frames = np.zeros((len(images), *shape), np.int64)
    for y in (0, 1):
        for x in (0, 1):
            frames[:, y * (rows + gap) : y * (rows + gap) + rows, x * (width + gap) :][
                :, :, :width
            ] = images[:, y * rows : (y + 1) * rows, x * width : (x + 1) * width]
    raw = block_of(content, data.draw(st.sampled_from([0, 7, 768])), 0)
    check(pixels, frames, raw, data.draw(regions(shape)))


def test_nothing_but_gap() -> None:
    pixels = Pixels(
        (4, 128),
        np.dtype("u1"),
        "medipix6",
        tiles=(Tile(0, 0, 0, 0, False), Tile(0, 64, 0, 64, False)),
        tile_shape=(2, 64),
        stored_shape=(2, 128),
    )
    region = (slice(2, 4), slice(0, 128))
    assert pixels.byte_range(region) == (0, 0)
    out = np.full((3, 2, 128), 9, np.uint8)
    pixels.decode(np.empty((3, 0), np.uint8), out, region)
    assert not out.any()


def test_rows_that_are_needed() -> None:
    pixels = Pixels((8, 4), np.dtype(">u2"))
    assert pixels.byte_range((slice(2, 3), slice(1, 2))) == (16, 8)
    assert pixels.with_flip(True).byte_range((slice(2, 3), slice(1, 2))) == (40, 8)
    packed = Pixels((8, 8), np.dtype("u2"), "u12-le")
    assert packed.byte_range((slice(2, 3), slice(1, 2))) == (0, 96)


def test_whole_bytes() -> None:
    with pytest.raises(ValueError, match="whole bytes"):
        Pixels((3, 3), np.dtype("u1"), "bits-le")
    with pytest.raises(ValueError, match="whole bytes"):
        Pixels((3, 3), np.dtype("u2"), "u12-be")


def test_value() -> None:
    pixels = Pixels((4, 6), np.dtype(">u2"), flip_y=True)
    again = pickle.loads(pickle.dumps(pixels))
    assert again == pixels
    assert hash(again) == hash(pixels)
    assert pixels.with_flip(False) != pixels


@settings(max_examples=60)
@given(
    data=st.data(),
    stored=st.sampled_from(["<u2", ">u2", "<u4", ">u4"]),
    shift=st.integers(0, 12),
    flip_y=st.booleans(),
)
def test_unused_low_bits(data: st.DataObject, stored: str, shift: int, flip_y: bool) -> None:
    pixels = Pixels((5, 7), np.dtype(stored), shift=shift, flip_y=flip_y)
    assert pixels.plain == (shift == 0)
    words = np.random.default_rng(shift).integers(0, 1 << 16, (3, 5, 7)).astype(stored)
    raw = block_of([frame.tobytes() for frame in words], 1, 3)
    check(pixels, words >> shift, raw, data.draw(regions((5, 7))))


@settings(max_examples=60)
@given(
    data=st.data(),
    places=st.sampled_from([(0, 1, 2), (2, 1, 0), (1, 3, 0)]),
    spare=st.integers(0, 2),
    flip_y=st.booleans(),
)
def test_colours(
    data: st.DataObject, places: tuple[int, int, int], spare: int, flip_y: bool
) -> None:
    size = max(places) + 1 + spare
    stored = np.dtype(
        {"names": ["R", "G", "B"], "formats": ["u1"] * 3, "offsets": places, "itemsize": size}
    )
    pixels = Pixels((4, 6), stored, flip_y=flip_y)
    assert pixels.dtype == np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert pixels.plain == (places == (0, 1, 2) and size == 3)
    noise = np.random.default_rng(size).integers(0, 256, (3, 4, 6, size)).astype("u1")
    raw = block_of([frame.tobytes() for frame in noise], 2, 5)
    region = data.draw(regions((4, 6)))
    skip, nbytes = pixels.byte_range(region)
    wanted = noise[:, ::-1] if flip_y else noise
    wanted = wanted[(slice(None), *region)]
    out = np.zeros(wanted.shape[:-1], pixels.dtype)
    pixels.decode(raw[:, skip : skip + nbytes], out, region)
    for name, at in zip("RGB", places, strict=True):
        np.testing.assert_array_equal(out[name], wanted[..., at])
