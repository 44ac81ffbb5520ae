# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled loops against slow twins that say the same in a few lines of Python."""

from __future__ import annotations

import io
import struct
import zipfile
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsciio_tem.errors import FormatError
from rsciio_tem.kernels.codecs import pack_bitshuffle, unpack_bitshuffle, unpack_lz4, unshuffle
from rsciio_tem.kernels.corrections import correct, patch
from rsciio_tem.kernels.heaps import gather
from rsciio_tem.kernels.sparse import (
    add_entries,
    add_entry_squares,
    ascending,
    entry_deviations,
    entry_moments,
    entry_sums,
    largest_entries,
    masked_entries,
    once,
    scatter,
)
from rsciio_tem.kernels.sums import (
    __all__,
    add_frames,
    add_squares,
    bit_sums,
    bit_totals,
    frame_sums,
    largest,
    masked_sums,
    profiles,
    region_sums,
)
from rsciio_tem.kernels.unpack import (
    find_blocks,
    place_tiles,
    swap_rows,
    unpack_medipix,
    unpack_u12,
    unpack_u12_tiles,
)
from rsciio_tem.kernels.zip_archives import zip_ends, zip_members, zip_table
from rsciio_tem.parsing.zip_archives import FIELDS, FRAME_PARTS, _ends, _members
from rsciio_tem.reduction.quantities import accumulator
from rsciio_tem.storage.backends import DataFile

BITS = {"medipix1": 1, "medipix6": 8, "medipix12": 16}
TYPES = {"medipix1": "u1", "medipix6": "u1", "medipix12": "u2", "medipix24": "u4"}


def aligned_badly(data: np.ndarray, shift: int, gap: int) -> np.ndarray:
    """Copy rows of bytes to an odd address, with `gap` bytes between the rows."""
    frames, size = data.shape
    memory = np.full(shift + frames * (size + gap), 0xEE, np.uint8)
    out = np.lib.stride_tricks.as_strided(memory[shift:], data.shape, (size + gap, 1))
    out[...] = data
    return out


def slow_plane(raw: np.ndarray, bits: int) -> np.ndarray:
    """Pixels of 64-bit big-endian words, the first one in the lowest bits."""
    per_word = 64 // bits
    pixels = []
    for frame in raw:
        for start in range(0, len(frame), 8):
            word = int.from_bytes(frame[start : start + 8].tobytes(), "big")
            pixels += [word >> bits * k & ((1 << bits) - 1) for k in range(per_word)]
    return np.array(pixels, np.uint64).reshape(len(raw), -1)


def slow_medipix(packing: str, raw: np.ndarray, plane_pixels: int) -> np.ndarray:
    if packing == "medipix24":
        high = slow_plane(raw[:, : plane_pixels * 2], 16)
        low = slow_plane(raw[:, plane_pixels * 2 :], 16)
        return (high << 12) + low
    return slow_plane(raw, BITS[packing])


@settings(max_examples=60)
@given(data=st.data(), packing=st.sampled_from(sorted(TYPES)))
def test_unpack_medipix(data: Any, packing: str) -> None:
    per_word = 4 if packing == "medipix24" else 64 // BITS[packing]
    draw = data.draw
    frames, rows = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    chips, words = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    width = words * per_word
    row_pixels = chips * width
    plane = rows * row_pixels
    nbytes = plane * 4 if packing == "medipix24" else plane * BITS[packing] // 8
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    content = rng.integers(0, 256, (frames, nbytes), np.uint8)
    if packing == "medipix24":  # 12 bits in 16
        content[:, ::2] &= 0x0F
    raw = aligned_badly(content, draw(st.integers(0, 8)), draw(st.sampled_from([0, 3, 8, 384])))

    chip, first_row = draw(st.integers(0, chips - 1)), draw(st.integers(0, rows - 1))
    height = draw(st.integers(1, rows - first_row))
    upside_down, mirrored = draw(st.booleans()), draw(st.booleans())
    to = draw(st.integers(0, 3)), draw(st.integers(0, 3) | st.sampled_from([8, 16]))
    margin = draw(st.integers(0, 2)), draw(st.integers(0, 9))
    out = np.full(
        (frames, to[0] + height + margin[0], to[1] + width + margin[1]), 7, TYPES[packing]
    )
    expected = out.copy()
    pixels = slow_medipix(packing, content, plane).reshape(frames, rows, row_pixels)
    part = pixels[:, first_row : first_row + height, chip * width : (chip + 1) * width]
    part = part[:, :: -1 if upside_down else 1, :: -1 if mirrored else 1]
    expected[:, to[0] : to[0] + height, to[1] : to[1] + width] = part

    unpack_medipix(
        packing,
        raw,
        out,
        row_pixels=row_pixels,
        plane_pixels=plane,
        first_pixel=first_row * row_pixels + chip * width,
        to=to,
        shape=(height, width),
        upside_down=upside_down,
        mirrored=mirrored,
    )
    np.testing.assert_array_equal(out, expected)


def test_rows_that_are_no_words() -> None:
    with pytest.raises(ValueError, match="not whole 64-bit words"):
        unpack_medipix(
            "medipix12",
            np.zeros((1, 64), np.uint8),
            np.zeros((1, 4, 7), np.uint16),
            row_pixels=7,
            plane_pixels=28,
            first_pixel=0,
            to=(0, 0),
            shape=(4, 7),
            upside_down=False,
            mirrored=False,
        )


def slow_u12(frame: bytes, big: bool) -> list[int]:
    """Two pixels from every three bytes, taken as one number."""
    pixels = []
    for start in range(0, len(frame), 3):
        number = int.from_bytes(frame[start : start + 3], "big" if big else "little")
        pair = [number >> 12, number & 0xFFF]
        pixels += pair if big else pair[::-1]
    return pixels


@settings(max_examples=60)
@given(
    st.integers(1, 3), st.integers(0, 40), st.booleans(), st.integers(0, 2**32), st.integers(0, 3)
)
def test_unpack_u12(frames: int, pairs: int, big: bool, seed: int, shift: int) -> None:
    content = np.random.default_rng(seed).integers(0, 256, (frames, 3 * pairs), np.uint8)
    out = np.empty((frames, 2 * pairs), np.uint16)
    unpack_u12(np.ascontiguousarray(aligned_badly(content, shift, 0)), out, big)
    assert out.tolist() == [slow_u12(frame.tobytes(), big) for frame in content]


@settings(max_examples=60)
@given(data=st.data())
def test_unpack_u12_tiles(data: Any) -> None:
    draw = data.draw
    frames, bands, columns = (draw(st.integers(1, 3)) for _ in range(3))
    height, width = draw(st.integers(1, 4)), 2 * draw(st.integers(1, 10))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    tiles = frames * bands * columns
    nbytes = height * width // 2 * 3 + draw(st.integers(0, 5))
    raw = rng.integers(0, 256, tiles * nbytes, np.uint8)
    places = rng.permutation(tiles).reshape(frames, bands, columns) * nbytes
    places[rng.random(places.shape) < 0.2] = -1
    first = draw(st.integers(0, height - 1))
    last = draw(st.integers(max(first + 1, (bands - 1) * height + 1), bands * height))

    expected = np.full((frames, bands * height, columns * width), 7, np.uint16)
    for f, b, c in np.argwhere(places >= 0).tolist():
        stored = raw[places[f, b, c] :][: height * width // 2 * 3]
        tile = np.array(slow_u12(stored.tobytes(), False)).reshape(height, width)
        expected[f, b * height : (b + 1) * height, c * width : (c + 1) * width] = tile
    # part of a larger array, its frames in either order
    margin = draw(st.integers(0, 5))
    whole = np.full((frames, last - first + 2, columns * width + margin), 7, np.uint16)
    out = whole[:: draw(st.sampled_from([1, -1])), 1:-1, : columns * width]
    unpack_u12_tiles(raw, places, out, height=height, width=width, rows=(first, last))
    np.testing.assert_array_equal(out, expected[:, first:last])
    assert (whole[:, [0, -1]] == 7).all()
    assert (whole[:, :, columns * width :] == 7).all()


@settings(max_examples=60)
@given(
    dtype=st.sampled_from([">u2", ">i2", ">f2", ">u4", ">i4", ">f4"]),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 40)),
    flip=st.booleans(),
    shift=st.integers(0, 7),
    gap=st.sampled_from([0, 1, 384]),
    seed=st.integers(0, 2**32),
)
def test_swap_rows(
    dtype: str, shape: tuple[int, int, int], flip: bool, shift: int, gap: int, seed: int
) -> None:
    stored = np.dtype(dtype)
    size = shape[1] * shape[2] * stored.itemsize
    content = np.random.default_rng(seed).integers(0, 256, (shape[0], size), np.uint8)
    raw = aligned_badly(content, shift, gap)
    out = np.empty(shape, stored.newbyteorder("="))
    swap_rows(raw, out, shape[2], flip)
    expected = content.view(stored).reshape(shape)[:, :: -1 if flip else 1]
    assert out.astype(stored).tobytes() == expected.tobytes()


@settings(max_examples=30)
@given(
    dtype=st.sampled_from(["u1", "u2", "i4", "f4"]),
    target=st.sampled_from(["f4", "f8"]),
    frames=st.integers(1, 3),
    pixels=st.integers(1, 50),
    seed=st.integers(0, 2**32),
)
def test_correct(dtype: str, target: str, frames: int, pixels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 200, (frames, pixels)).astype(dtype)
    dark, gain = rng.random((2, pixels)).astype(target)
    out = np.empty((frames, pixels), target)
    correct(raw, dark, gain, out)
    expected = (raw.astype("f8") - dark) * gain
    np.testing.assert_allclose(out, expected, rtol=1e-5 if target == "f4" else 1e-12, atol=1e-4)


@settings(max_examples=30)
@given(dtype=st.sampled_from(["f4", "f8"]), seed=st.integers(0, 2**32))
def test_patch(dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 100, (3, 30)).astype(dtype)
    pixels = rng.choice(30, 4, replace=False)
    good = np.setdiff1d(np.arange(30), pixels)
    sources = [rng.choice(good, rng.integers(1, 6)) for _ in pixels]
    expected = values.copy()
    for pixel, source in zip(pixels, sources, strict=True):
        expected[:, pixel] = values[:, source].mean(axis=1)
    bounds = np.cumsum([0, *map(len, sources)])
    patch(values, pixels.astype(np.int64), bounds, np.concatenate(sources))
    np.testing.assert_allclose(values, expected, rtol=1e-6)


@settings(max_examples=60)
@given(data=st.data(), dtype=st.sampled_from(["u1", "u2", "i8", "f2", "f4", "f8"]))
def test_scatter(data: Any, dtype: str) -> None:
    draw = data.draw
    counts = draw(st.lists(st.integers(0, 6), min_size=1, max_size=5))
    bounds = np.cumsum([0, *counts])
    rows, columns = shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 5)))
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    pixels = rng.integers(0, rows * columns, bounds[-1])
    values = rng.integers(0, 20, len(pixels)).astype(dtype)
    places = rng.permutation(len(counts) + 2)[: len(counts)]
    out = np.full((len(counts) + 2, rows - top, columns - left), 7, dtype)
    frames = np.zeros((len(counts), rows * columns), dtype)
    np.add.at(frames, (np.repeat(np.arange(len(counts)), counts), pixels), values)
    expected = out.copy()
    expected[places] = frames.reshape(-1, *shape)[:, top:, left:]
    assert scatter(bounds, pixels, values, places, out, shape, (top, left)) is None
    np.testing.assert_array_equal(out, expected)
    if len(pixels):
        wrong = int(rng.integers(len(pixels)))
        pixels[wrong] = draw(st.sampled_from([-1, rows * columns]))
        frame = int(np.searchsorted(bounds, wrong, "right")) - 1
        bad = scatter(bounds, pixels, values, places, out, shape, (top, left))
        assert bad == (frame, False)


REAL = ["?", "u1", "u2", "i4", "u8", "f2", "f4", "f8"]


def some_entries(data: Any, dtype: str, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw entries of a few frames; each pixel of a frame once at most, in ascending order."""
    seed = data.draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    there = rng.random((data.draw(st.integers(1, 6)), size)) < data.draw(st.floats(0, 1))
    frames, pixels = np.nonzero(there)
    bounds = np.searchsorted(frames, np.arange(len(there) + 1))
    low = 0 if dtype[0] in "?u" else -40
    values = rng.integers(low, 2 if dtype == "?" else 90, len(pixels)).astype(dtype)
    return bounds, pixels.astype(data.draw(st.sampled_from(["u4", "i8"]))), values


def filled(bounds: np.ndarray, pixels: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    frames = np.zeros((len(bounds) - 1, size), values.dtype)
    frames[np.repeat(np.arange(len(frames)), np.diff(bounds)), pixels] = values
    return frames


@settings(max_examples=60)
@given(data=st.data())
def test_ascending(data: Any) -> None:
    size = data.draw(st.integers(1, 12))
    bounds, pixels, _ = some_entries(data, "u1", size)
    for k in data.draw(st.lists(st.integers(0, max(0, len(pixels) - 1)), max_size=2)):
        pixels[k : k + 1] = data.draw(st.sampled_from([0, 3, size - 1, size, 1 << 31]))
    frames = [pixels[a:b].tolist() for a, b in pairwise(bounds)]
    good = all(
        sorted(set(frame)) == frame and all(0 <= p < size for p in frame) for frame in frames
    )
    assert ascending(bounds, pixels, size) == good
    assert not ascending(np.array([0, 2]), np.array([-1, 0]), size)


@pytest.mark.parametrize("bounds", [[], [0, 1], [1, 2], [0, 3], [0, 2, 1, 2]])
def test_bounds_are_checked(bounds: list[int]) -> None:
    entries = np.array(bounds, np.int64), np.array([0, 1])
    with pytest.raises(ValueError, match="contradict"):
        ascending(*entries, 5)
    with pytest.raises(ValueError, match="contradict"):
        once(*entries, np.ones(2), 5)
    with pytest.raises(ValueError, match="contradict"):
        once(np.array([0, 2]), entries[1], np.ones(3), 5)


@settings(max_examples=100)
@given(data=st.data(), dtype=st.sampled_from(["?", "u1", "i1", "u2", "u8", "i8", "f2", "f4", "c8"]))
def test_once(data: Any, dtype: str) -> None:
    size = 6
    entry = st.tuples(st.integers(0, size - 1), st.integers(0, 90))
    frames = data.draw(st.lists(st.lists(entry, max_size=6), min_size=1, max_size=5))
    kind = np.dtype(dtype)
    if kind.kind in "iu" and frames[0] and data.draw(st.booleans()):
        frames[0][0] = (frames[0][0][0], int(np.iinfo(kind).max))
    bounds = np.cumsum([0, *map(len, frames)])
    pixels = np.array([p for frame in frames for p, _ in frame], data.draw(st.sampled_from("qI")))
    values = np.array([kind.type(v) for frame in frames for _, v in frame], kind)
    expected: Any = []
    for i, frame in enumerate(frames):
        sums: dict[int, Any] = {}
        for p, v in frame:
            sums[p] = sums.get(p, 0) + (bool(v) if dtype == "?" else v)
            if kind.kind in "iu" and sums[p] > np.iinfo(kind).max:
                expected = (i, True)
                break
        if isinstance(expected, tuple):
            break
        expected.append({p: kind.type(v) for p, v in sums.items()})
    found = once(bounds, pixels, values, size)
    if isinstance(expected, tuple):
        assert found == expected
        return
    ends, places, totals = found
    assert places.dtype == pixels.dtype
    assert totals.dtype == kind
    for i, sums in enumerate(expected):
        there = slice(ends[i], ends[i + 1])
        assert places[there].tolist() == list(sums)
        assert totals[there].tolist() == [v.item() for v in sums.values()]
    assert ends[-1] == len(places) == len(totals)
    for wrong in (-1, size):
        if len(pixels) and pixels.dtype == "q":
            pixels[-1] = wrong
            bad = int(np.searchsorted(bounds, len(pixels) - 1, "right")) - 1
            assert once(bounds, pixels, values, size) == (bad, False)


@pytest.mark.parametrize(
    ("kind", "values"),
    [("u8", (2**64 - 1, 1)), ("i8", (2**63 - 1, 1)), ("i8", (-(2**63), -1)), ("i1", (-128, -1))],
)
def test_sums_of_entries_do_not_go_round(kind: str, values: tuple[int, int]) -> None:
    bounds, pixels, pair = np.array([0, 2]), np.array([1, 1]), np.array(values, kind)
    out = np.zeros((1, 1, 3), kind)
    assert once(bounds, pixels, pair, 3) == (0, True)
    assert scatter(bounds, pixels, pair, np.array([0]), out, (1, 3)) == (0, True)
    pair[1] = 0
    assert once(bounds, pixels, pair, 3)[2].tolist() == [values[0]]
    assert scatter(bounds, pixels, pair, np.array([0]), out, (1, 3)) is None


@settings(max_examples=60)
@given(data=st.data(), dtype=st.sampled_from([*REAL, "c8"]))
def test_entry_sums(data: Any, dtype: str) -> None:
    bounds, pixels, values = some_entries(data, dtype, 12)
    kind = accumulator(values.dtype)
    out = np.full(len(bounds) - 1, 9 if kind.kind in "iu" else np.nan, kind)
    entry_sums(bounds, values, out)
    np.testing.assert_array_equal(out, filled(bounds, pixels, values, 12).sum(axis=1, dtype=kind))


@settings(max_examples=60)
@given(data=st.data(), dtype=st.sampled_from([*REAL, "c8"]))
def test_add_entries(data: Any, dtype: str) -> None:
    bounds, pixels, values = some_entries(data, dtype, 12)
    totals = np.full(12, 7, accumulator(values.dtype))
    expected = totals + filled(bounds, pixels, values, 12).sum(axis=0, dtype=totals.dtype)
    add_entries(pixels, values, totals)
    np.testing.assert_array_equal(totals, expected)


@settings(max_examples=60)
@given(data=st.data(), dtype=st.sampled_from(["?", "u1", "u2"]))
def test_add_entry_squares(data: Any, dtype: str) -> None:
    bounds, pixels, values = some_entries(data, dtype, 12)
    totals = np.full(12, 7, np.uint64)
    frames = filled(bounds, pixels, values, 12).astype(np.uint64)
    expected = totals + (frames**2).sum(axis=0)
    add_entry_squares(pixels, values, totals)
    np.testing.assert_array_equal(totals, expected)


@settings(max_examples=60)
@given(data=st.data(), dtype=st.sampled_from([*REAL, "c8"]), spoil=st.booleans())
def test_largest_entries(data: Any, dtype: str, spoil: bool) -> None:
    _, pixels, values = some_entries(data, dtype, 12)
    if spoil and dtype[0] in "fc":
        values[:1] = np.nan
    most = np.array([1, 0] * 6).astype(dtype)
    seen = np.full(12, 5, np.uint32)
    expected = most.copy()
    for p, value in zip(pixels, values, strict=True):
        expected[p] = np.maximum(expected[p], value)
    for counts in (None, seen):
        again = most.copy()
        largest_entries(pixels, values, again, counts)
        np.testing.assert_array_equal(again, expected)
    np.testing.assert_array_equal(seen, 5 + np.bincount(pixels.astype(int), minlength=12))


@settings(max_examples=60)
@given(data=st.data(), dtype=st.sampled_from(REAL))
def test_entry_deviations(data: Any, dtype: str) -> None:
    _, pixels, values = some_entries(data, dtype, 12)
    counts, means, deviations = np.zeros((3, 12))
    half = len(pixels) // 2
    for part in (slice(half), slice(half, None)):
        entry_deviations(pixels[part], values[part], counts, means, deviations)
    for p in range(12):
        chosen = values[pixels == p].astype(np.float64)
        assert counts[p] == len(chosen)
        if len(chosen):
            np.testing.assert_allclose(means[p], chosen.mean(), rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(
                deviations[p], chosen.var() * len(chosen), rtol=1e-9, atol=1e-9
            )


@settings(max_examples=100)
@given(data=st.data(), dtype=st.sampled_from(REAL), width=st.integers(1, 12))
def test_entry_moments(data: Any, dtype: str, width: int) -> None:
    bounds, pixels, values = some_entries(data, dtype, 12)
    out = np.full((2, len(bounds) - 1), np.nan)
    entry_moments(bounds, pixels, values, width, out)
    frames = filled(bounds, pixels, values, 12).astype(np.float64)
    rows, columns = np.divmod(np.arange(12), width)
    np.testing.assert_array_equal(out, np.stack([frames @ rows, frames @ columns]))


def test_rows_of_places_are_exact_in_the_largest_frames() -> None:
    rng = np.random.default_rng(1)
    for width in (1, 3, 7, 1000, 4097, 65521, (1 << 30) - 1, 1 << 30):
        rows = rng.integers(0, (1 << 30) // width, 50)
        edges = np.concatenate([rows * width, rows * width + width - 1])
        for p in (edges, np.append(edges, (1 << 30) - 1)):
            out = np.empty((2, len(p)))
            entry_moments(np.arange(len(p) + 1), p, np.ones(len(p), "u1"), width, out)
            np.testing.assert_array_equal(out, np.divmod(p, width))


@settings(max_examples=60)
@given(data=st.data(), dtype=st.sampled_from([*REAL, "c8"]), masks=st.integers(1, 3))
def test_masked_entries(data: Any, dtype: str, masks: int) -> None:
    bounds, pixels, values = some_entries(data, dtype, 12)
    kind = np.result_type(values.dtype, data.draw(st.sampled_from(["f8", "c16"])))
    weights = np.arange(masks * 12).reshape(masks, 12).astype(kind) / 7
    out = np.full((masks, len(bounds) - 1), np.nan, kind)
    masked_entries(bounds, pixels, values, weights, out)
    expected = weights @ filled(bounds, pixels, values, 12).T.astype(kind)
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-9)


@settings(max_examples=60)
@given(
    names=st.lists(
        st.tuples(
            st.sampled_from(["", "0", "7", "00", "12", "123456789012345678", "a", "-1"]),
            st.sampled_from(["_row.npy", "_col.npy", "_data.npy", "_data.np", "shape.npy"]),
        ),
        min_size=1,
        max_size=6,
        unique=True,
    ),
    spoil=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=3),
)
def test_zip_members(names: list[tuple[str, str]], spoil: list[tuple[float, int]]) -> None:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for number, part in names:
            with archive.open(zipfile.ZipInfo(number + part), "w", force_zip64=True) as member:
                member.write(b"x" * len(number))
        start = archive.fp.tell()
    directory = bytearray(memory.getvalue()[start : memory.getvalue().rindex(b"PK\5\6")])
    for where, value in spoil:
        directory[int(where * len(directory))] = value
    ours, slow = np.full((2, len(FIELDS), len(names)), -9, np.int64)
    parts = FRAME_PARTS
    bad = zip_members(np.frombuffer(directory, np.uint8), parts, ours)
    assert bad == _members(bytes(directory), slow)
    good = len(names) if bad < 0 else bad
    np.testing.assert_array_equal(ours[:, :good], slow[:, :good])


@settings(max_examples=150)
@given(data=st.data(), count=st.integers(1, 5))
def test_zip_ends(data: Any, count: int) -> None:
    draw = data.draw
    lengths = draw(st.lists(st.integers(30, 90), min_size=count, max_size=count))
    table = np.zeros((len(FIELDS), count), np.int64)
    members = dict(zip(FIELDS, table, strict=True))
    members["offset"][:] = np.cumsum([draw(st.integers(0, 9)), *lengths])[:-1]
    members["packed"][:] = np.array(lengths) - 30
    first = int(members["offset"][-1]) + lengths[-1]
    for name in draw(st.lists(st.sampled_from(["offset", "packed", "size"]), max_size=2)):
        members[name][draw(st.integers(0, count - 1))] = draw(
            st.sampled_from([-1, 0, 40, 1 << 20, (1 << 63) - 5])
        )
    ends, slow = np.zeros(count, np.int64), None
    try:
        slow = _ends(DataFile("a.npz", 0, 0), members, first)
    except FormatError:
        assert not zip_ends(table, first, 30 + 0xFFFF, ends)
        return
    ordered = bool((np.diff(members["offset"]) > 0).all())
    assert zip_ends(table, first, 30 + 0xFFFF, ends) == ordered
    if ordered:
        np.testing.assert_array_equal(ends, slow)
    assert not zip_ends(table[:, ::-1].copy(), first, 30 + 0xFFFF, ends) or count == 1


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 5)), max_size=12))
def test_zip_table(places: list[tuple[int, int]]) -> None:
    expected = np.full((3, 4), -1)
    for i, (part, number) in enumerate(places):
        if 0 <= part < 3 and 0 <= number < 4:
            expected[part, number] = i
    parts, numbers = np.array(places, np.int64).reshape(-1, 2).T.copy()
    table = np.full((3, 4), -1)
    zip_table(parts, numbers, table)
    np.testing.assert_array_equal(table, expected)


@settings(max_examples=60)
@given(
    frames=st.integers(1, 40),
    words=st.integers(1, 9),
    density=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**32),
)
def test_bit_totals(frames: int, words: int, density: float, seed: int) -> None:
    bits = np.random.default_rng(seed).random((2, frames, 64 * words)) < density
    planes = np.zeros((7, words), np.uint64)  # 2 * 40 < 2**7
    for part in bits:  # what is added to counters that are not zero
        packed = np.packbits(part, axis=1, bitorder="little").view(np.uint64)
        bit_totals(packed, planes)
    counters = np.unpackbits(planes.view(np.uint8), axis=1, bitorder="little")
    totals = (counters.astype(np.int64) << np.arange(7)[:, np.newaxis]).sum(axis=0)
    np.testing.assert_array_equal(totals, bits.sum(axis=(0, 1)))


@settings(max_examples=60)
@given(
    frames=st.integers(1, 4),
    words=st.integers(1, 5),
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    seed=st.integers(0, 2**32),
)
def test_bit_sums(frames: int, words: int, counts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (frames, 64 * words), np.uint8)
    base = rng.integers(-3, 4, (len(counts), words)) * rng.integers(0, 2, (len(counts), 1))
    extra = np.stack([rng.integers(0, 1 << n, 64 * words) for n in counts])
    planes = np.packbits(
        extra[:, np.newaxis] >> np.arange(4)[:, np.newaxis] & 1, axis=2, bitorder="little"
    )
    out = np.empty((len(counts), frames), np.uint64)
    packed = np.packbits(bits, axis=1, bitorder="little").view(np.uint64)
    bit_sums(packed, base.view(np.uint64), planes.view(np.uint64), np.array(counts, np.int64), out)
    weights = np.repeat(base, 64, axis=1) + extra
    np.testing.assert_array_equal(out.view(np.int64), weights @ bits.T.astype(np.int64))


BLOCK_HEADER = np.dtype(
    [
        ("sync", ">u4"),
        ("number", ">u4"),
        ("x", ">u2"),
        ("kind", ">u2"),
        ("y", ">u2"),
        ("x_end", ">u2"),
        ("y_end", ">u2"),
    ]
)


@settings(max_examples=100)
@given(data=st.data(), base=st.sampled_from([0, 3, 1000, 2**32 - 5]))
def test_find_blocks(data: Any, base: int) -> None:
    draw, (height, width), (rows, columns), frame = data.draw, (3, 8), (2, 3), 4
    header = BLOCK_HEADER.itemsize
    nbytes = header + draw(st.integers(0, 9))
    blocks = np.zeros(
        draw(st.integers(0, 15)), [("head", BLOCK_HEADER), ("rest", f"V{nbytes - header}")]
    )
    expected = np.full((2, rows, columns), -1, np.int64)
    first = draw(st.integers(3 * 6, 5 * 6))
    for i, block in enumerate(blocks["head"]):
        # most have the number of where they lie
        number = draw(st.sampled_from([first + i, first + i, draw(st.integers(3 * 6, 7 * 6))]))
        row, column = draw(st.integers(0, rows)), draw(st.integers(0, columns))
        y, x = row * height, column * width
        values = [0xFFFF0055, (base + number) % 2**32, x, 7, y, x + width - 1, y + height - 1]
        spoilt = draw(st.sampled_from([None] * 5 + [0, 2, 3, 4, 5, 6]))
        if spoilt is not None:
            values[spoilt] += 1
        for name, value in zip(BLOCK_HEADER.names, values, strict=True):
            block[name] = value
        f = number // 6 - frame
        if (
            spoilt is None
            and 0 <= f < 2
            and row < rows
            and column < columns
            and (expected[f, row, column] < 0 or number == first + i)
        ):
            expected[f, row, column] = i * nbytes + header
    known = np.array([0, 1, 2, 3, 10, 11]), np.array([255, 255, 0, 0x55, 0, 7], np.uint8)
    numbers = np.array([(4, 4), (8, 2), (12, 2), (14, 2), (16, 2)])
    places = np.full(expected.shape, -1, np.int64)
    raw = np.frombuffer(blocks.tobytes(), np.uint8)
    which = (base, frame, 6, first)
    find_blocks(raw, (nbytes, header), known, numbers, which, (height, width), places)
    np.testing.assert_array_equal(places, expected)


# -- global heaps of HDF5 ------------------------------------------------------------------------


def heap_of(objects: dict[int, bytes], spare: int = 0) -> bytes:
    """Make a heap with objects of these numbers, in their order."""
    body = b"".join(
        struct.pack("<HHIQ", number, 1, 0, len(content)) + content + b"\xff" * (-len(content) % 8)
        for number, content in objects.items()
    )
    body += struct.pack("<HHIQ", 0, 0, 0, spare + 16) + b"\xff" * spare if spare else b""
    return b"GCOL\1\0\0\0" + struct.pack("<Q", 16 + len(body)) + body


@given(
    st.lists(
        st.dictionaries(st.integers(1, 65535), st.binary(max_size=20), min_size=1, max_size=5),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 100),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60)
def test_gather(heaps: list[dict[int, bytes]], base: int, random: Any) -> None:
    """Lists of any length, in any order of their numbers, some of them cut short."""
    raw, wanted = b"", []
    for objects in heaps:
        at = len(raw) + base
        raw += heap_of(objects, random.choice((0, 8, 40)))
        raw += b"\0" * random.choice((0, 24))  # between two heaps is something else
        for number in random.sample(list(objects), random.randint(0, len(objects))):
            content = objects[number][: random.randint(0, 20)]
            wanted.append((at, number, content))
    expected = b"".join(content for _, _, content in wanted)
    sizes = np.array([len(content) for _, _, content in wanted], np.int64)
    targets = np.cumsum(sizes) - sizes
    columns = (np.array([row[i] for row in wanted], np.int64) for i in (0, 1))
    out = np.empty(len(expected), np.uint8)
    assert gather(np.frombuffer(raw, np.uint8), base, *columns, sizes, targets, out) == -1
    assert out.tobytes() == expected


def test_gather_from_damaged_heaps() -> None:
    """What is not where it should be is named, and nothing outside of the bytes is touched."""
    good = heap_of({1: b"one", 2: b"second", 7: b""}, 8)

    def asked(raw: bytes, number: int = 2, nbytes: int = 6, at: int = 0, base: int = 0) -> int:
        first, place = np.array([0, at]), np.array([1, number])
        sizes, out = np.array([3, nbytes]), np.zeros(100, np.uint8)
        return gather(
            np.frombuffer(raw, np.uint8), base, first, place, sizes, np.array([0, 50]), out
        )

    assert asked(good) == -1
    assert asked(good, nbytes=7) == 1  # longer than the object
    assert asked(good, number=3) == 1  # there is none of this number
    assert asked(good, number=0) == asked(good, number=1 << 16) == 1
    assert asked(good, at=1) == asked(good, at=len(good)) == asked(good, at=-1) == 1
    assert asked(good, base=8) == 0
    for cut in range(len(good)):
        assert asked(good[:cut]) == 0
    for size in (0, 15, len(good) + 1, 1 << 62, (1 << 64) - 1):
        assert asked(good[:8] + struct.pack("<Q", size) + good[16:]) == 0
    for length in (100, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        assert asked(good[:24] + struct.pack("<Q", length) + good[32:]) == 0
    assert asked(b"GCOL\2" + good[5:]) == 0
    with pytest.raises(ValueError, match="contradict"):
        gather(
            np.zeros(9, np.uint8), 0, *[np.zeros(n, int) for n in (1, 1, 1, 2)], np.zeros(9, "u1")
        )
    with pytest.raises(ValueError, match="outside"):
        asked(good, nbytes=51)


def test_every_kernel_has_a_twin_here() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert set(__all__) <= tested


# -- bit shuffle and LZ4 -------------------------------------------------------------------------


def slow_lz4(block: bytes, size: int) -> bytes | None:
    """Decode an LZ4 block; None if it is damaged or does not give `size` bytes."""
    out, at = bytearray(), 0

    def length(n: int) -> int:
        nonlocal at
        more = 255 if n == 15 else 0
        while more == 255:
            more = block[at]
            at += 1
            n += more
        return n

    try:
        while True:
            token = block[at]
            at += 1
            n = length(token >> 4)
            if at + n > len(block):
                return None
            out += block[at : at + n]
            at += n
            if at == len(block):
                return bytes(out) if len(out) == size else None
            back = block[at] + 256 * block[at + 1]
            at += 2
            n = length(token & 15) + 4
            if not 0 < back <= len(out) or len(out) + n > size:
                return None
            for _ in range(n):
                out.append(out[-back])
    except IndexError:
        return None


def slow_bits(data: bytes, itemsize: int) -> bytes:
    """Transpose: rows of bits of all elements, lowest bit of the first byte first."""
    n = len(data) // itemsize
    rows = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    elements = rows.reshape(8 * itemsize, n).T
    return np.packbits(elements, axis=None, bitorder="little").tobytes()


@st.composite
def lz4_blocks(draw: Any) -> tuple[bytes, int]:
    """Sequences as a compressor makes them, and the number of bytes they stand for."""
    block, size = bytearray(), 0

    def token(literals: int, match: int) -> None:
        block.append(min(literals, 15) << 4 | min(match, 15))

    def more(n: int) -> None:
        if n >= 15:
            block.extend([255] * ((n - 15) // 255) + [(n - 15) % 255])

    for _ in range(draw(st.integers(0, 8))):
        literals = draw(st.binary(min_size=0 if size else 1, max_size=40))
        match = draw(st.integers(0, 400))
        back = draw(st.integers(1, min(size + len(literals), 40)))
        token(len(literals), match)
        more(len(literals))
        block += literals + back.to_bytes(2, "little")
        more(match)
        size += len(literals) + match + 4
    rest = draw(st.binary(max_size=300))
    token(len(rest), 0)
    more(len(rest))
    block += rest
    return bytes(block), size + len(rest)


def chunk_of(blocks: list[bytes], nbytes: int, block: int) -> bytes:
    lengths = (len(b).to_bytes(4, "big") + b for b in blocks)
    return nbytes.to_bytes(8, "big") + block.to_bytes(4, "big") + b"".join(lengths)


@settings(max_examples=300)
@given(data=st.data())
def test_unpack_lz4(data: Any) -> None:
    draw = data.draw
    block, size = draw(lz4_blocks())
    spoilt = bytearray(block)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(spoilt) - 1))
        spoilt[at] = draw(st.integers(0, 255))
    del spoilt[draw(st.sampled_from([len(spoilt), draw(st.integers(1, len(spoilt)))])) :]
    block = bytes(spoilt)
    if len(block) == size:
        return  # is taken for a block that is stored as it is
    chunk = chunk_of([block], size, max(1, size))
    before, after = draw(st.integers(0, 70)), draw(st.integers(0, 70))
    raw = np.frombuffer(b"\xee" * before + chunk + b"\xee" * after, np.uint8)
    out = np.full(before + size + after, 0xAB, np.uint8)
    lengths = np.array([len(chunk)])
    bad = unpack_lz4(raw, np.array([before]), lengths, out, np.array([before]), size)
    expected = slow_lz4(block, size) if size else b""
    if size:
        assert bad == (0 if expected is None else -1)
    if expected is not None and bad < 0:
        assert out[before : before + size].tobytes() == expected
    assert (out[:before] == 0xAB).all()
    assert (out[before + size :] == 0xAB).all()


@settings(max_examples=100)
@given(
    itemsize=st.sampled_from([1, 2, 4, 8]),
    count=st.one_of(st.integers(1, 300), st.sampled_from([1024, 4096, 4100, 9000])),
    chunks=st.integers(1, 3),
    top=st.sampled_from([1, 2, 50, 256]),
    repeat=st.sampled_from([1, 3, 64, 1000]),
    seed=st.integers(0, 2**32),
)
def test_pack_bitshuffle(
    itemsize: int, count: int, chunks: int, top: int, repeat: int, seed: int
) -> None:
    nbytes = count * itemsize
    random = np.random.default_rng(seed).integers(0, top, chunks * nbytes, np.uint16)
    raw = random.astype(np.uint8).repeat(repeat)[: chunks * nbytes].reshape(chunks, nbytes)
    for content, packed in zip(raw, pack_bitshuffle(raw, itemsize), strict=True):
        chunk, found = packed.tobytes(), b""
        assert (int.from_bytes(chunk[:8], "big"), int.from_bytes(chunk[8:12], "big")) == (
            nbytes,
            8192,
        )
        at, whole = 12, count // 8 * 8 * itemsize
        while len(found) < whole:
            length = int.from_bytes(chunk[at : at + 4], "big")
            rows = slow_lz4(chunk[at + 4 : at + 4 + length], min(8192, whole - len(found)))
            assert rows is not None
            found += slow_bits(rows, itemsize)
            at += 4 + length
        assert found + chunk[at:] == content.tobytes()


@settings(max_examples=300)
@given(data=st.data())
def test_unpack_bitshuffle(data: Any) -> None:
    draw = data.draw
    itemsize = draw(st.sampled_from([1, 2, 4, 8]))
    block = draw(st.sampled_from([8, 16, 64, 128, 136, 264, 1024])) * itemsize
    lz4 = draw(st.booleans())
    count, rest = draw(st.integers(0, 600)), draw(st.integers(0, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    chunks, expected = [], []
    for _ in range(draw(st.integers(1, 3))):
        bits = rng.integers(0, 256, count * 8 * itemsize, np.uint8).tobytes()
        tail = rng.integers(0, 256, rest * itemsize, np.uint8).tobytes()
        parts = [bits[i : i + block] for i in range(0, len(bits), block)]
        expected.append(b"".join(slow_bits(p, itemsize) for p in parts) + tail)
        if lz4:  # nothing but literals
            blocks = []
            for p in parts:
                n = len(p) - 15
                more = bytes([255] * (n // 255) + [n % 255]) if n >= 0 else b""
                blocks.append(bytes([min(len(p), 15) << 4]) + more + p)
            chunks.append(chunk_of(blocks, len(expected[0]), block) + tail)
        else:
            chunks.append(bits + tail)
    nbytes = len(expected[0])
    lengths = np.array([len(c) for c in chunks])
    starts = np.cumsum(lengths) - lengths + 3
    places = np.arange(len(chunks)) * (nbytes + 5) + 1
    raw = np.frombuffer(b"\xee" * 3 + b"".join(chunks), np.uint8)
    out = np.full(len(chunks) * (nbytes + 5), 0xAB, np.uint8)
    given = (raw, starts, lengths, out, places, nbytes, itemsize)
    assert unpack_bitshuffle(*given, lz4=lz4, block=block) == -1
    wanted = np.full(len(out), 0xAB, np.uint8)
    for place, values in zip(places, expected, strict=True):
        wanted[place : place + nbytes] = np.frombuffer(values, np.uint8)
    np.testing.assert_array_equal(out, wanted)
    # a chunk that is one byte short, or has a block size that cannot be
    lengths[-1] -= 1
    if nbytes:
        assert unpack_bitshuffle(*given, lz4=lz4, block=block) == len(chunks) - 1
        assert unpack_bitshuffle(*given, lz4=False, block=8 * itemsize + 1) == 0


def test_chunks_outside_of_arrays() -> None:
    raw, out = np.zeros(100, np.uint8), np.zeros(64, np.uint8)
    for start, length, place in ((90, 20, 0), (-1, 20, 0), (0, -1, 0), (0, 20, 1), (0, 20, -1)):
        arrays = raw, np.array([start]), np.array([length]), out, np.array([place]), 64
        with pytest.raises(ValueError, match=r"outside|negative"):
            unpack_lz4(*arrays)
        with pytest.raises(ValueError, match=r"outside|negative"):
            unpack_bitshuffle(*arrays, 2, lz4=True)


@settings(max_examples=100)
@given(
    itemsize=st.integers(1, 9),
    count=st.integers(0, 90),
    rest=st.integers(0, 8),
    at=st.integers(0, 3),
)
def test_unshuffle(itemsize: int, count: int, rest: int, at: int) -> None:
    rest = min(rest, itemsize - 1)
    content = np.random.default_rng(count).integers(0, 256, itemsize * count + rest, np.uint8)
    out = np.zeros(at + len(content), np.uint8)[at:]
    unshuffle(content, out, itemsize)
    elements = [bytes(content[b * count + i] for b in range(itemsize)) for i in range(count)]
    assert out.tobytes() == b"".join(elements) + content[itemsize * count :].tobytes()


@settings(max_examples=100)
@given(data=st.data())
def test_place_tiles(data: Any) -> None:
    draw = data.draw
    chunks, frames, rows, columns = (draw(st.integers(1, n)) for n in (4, 4, 5, 90))
    source = np.random.default_rng(chunks).integers(0, 256, (chunks, frames, rows, columns), "u1")
    count, height, width = draw(st.integers(4, 8)), rows + 3, columns + 7
    out = np.zeros((count, height, width), np.uint8)
    expected = out.copy()
    tiles, boxes, runs = [], [0], []
    targets = iter(draw(st.permutations(range(count))))
    number = draw(st.integers(1, chunks))  # chunks that belong to the same frames
    for box in range(-(-chunks // number)):
        for _ in range(draw(st.integers(1, 2))):
            place, target = draw(st.integers(0, frames - 1)), next(targets, None)
            if target is not None:
                length = min(frames - place, count - target, draw(st.integers(1, 3)))
                runs.append((place, target, length))
        boxes.append(len(runs))
        for _ in range(box * number, min(chunks, (box + 1) * number)):
            y, x = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
            n, k = draw(st.integers(1, rows - y)), draw(st.integers(1, columns - x))
            to = draw(st.integers(0, height - n)), draw(st.integers(0, width - k))
            tiles.append((y * columns + x, to[0] * width + to[1], n, k, box))
    for row in range(len(boxes) - 1):
        for place, target, length in runs[boxes[row] : boxes[row + 1]]:
            for f in range(length):
                for c, (first, to_first, n, k, box) in enumerate(tiles):
                    if box == row:
                        y, x = divmod(first, columns)
                        ty, tx = divmod(to_first, width)
                        expected[target + f, ty : ty + n, tx : tx + k] = source[
                            c, place + f, y : y + n, x : x + k
                        ]
    if not runs:
        return
    arrays = [np.array(column) for column in zip(*runs, strict=True)]
    steps = (source.strides[0], source.strides[1], source.strides[2])
    given = (np.array(tiles), np.array(boxes), (arrays[0], arrays[1], arrays[2]))
    place_tiles(source.reshape(-1), steps, out.reshape(-1), out.strides[:2], *given)
    np.testing.assert_array_equal(out, expected)
    with pytest.raises(ValueError, match="outside"):
        place_tiles(source.reshape(-1)[:0], steps, out.reshape(-1), out.strides[:2], *given)


# -- sums ----------------------------------------------------------------------------------------

BLOCKS = st.tuples(
    st.sampled_from(["u1", "u2", ">u2", "u4", "i1", "i2", "i4", "i8", "u8", "f4", "f8", "?"]),
    st.integers(1, 11),
    st.sampled_from([1, 3, 8, 64, 1000, 1024, 2056, 70_000]),
    st.integers(0, 2**32),
    st.booleans(),
    st.sampled_from([0, 0, 1, 5]),
)


def block_of(drawn: tuple[str, int, int, int, bool, int]) -> np.ndarray:
    """Random pixels, or the largest there are; frames follow each other or lie apart."""
    *drawn, gap = drawn
    block = _pixels_of(*drawn)
    memory = np.ones(len(block) * (block.shape[1] + gap), block.dtype)
    # of the last frame there is nothing behind its pixels
    apart = np.lib.stride_tricks.as_strided(
        memory, block.shape, ((block.shape[1] + gap) * block.itemsize, block.itemsize)
    )
    apart[...] = block
    return apart


def _pixels_of(kind: str, frames: int, pixels: int, seed: int, brightest: bool) -> np.ndarray:
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return np.random.default_rng(seed).normal(0, 50, (frames, pixels)).astype(dtype)
    top = 1 if kind == "?" else np.iinfo(dtype).max
    if brightest:
        return np.full((frames, pixels), min(top, 2**40), dtype)
    top = min(top, 2**31)  # whose sums fit into 64 bits, and into the mantissa of a float
    low = 0 if dtype.kind in "bu" else max(-top, np.iinfo(dtype).min)
    return (
        np.random.default_rng(seed)
        .integers(low, top, (frames, pixels), endpoint=True)
        .astype(dtype)
    )


def total_type(dtype: np.dtype[Any]) -> str:
    return {"b": "u8", "u": "u8", "i": "i8", "f": "f8"}[dtype.kind]


def slow_sums(values: np.ndarray) -> list[Any]:
    """Python's own numbers do not overflow."""
    if values.dtype.kind == "f":
        return list(values.astype("f8").sum(axis=1))
    return [sum(row) for row in values.tolist()]


@settings(max_examples=60)
@given(BLOCKS)
def test_frame_sums(drawn: Any) -> None:
    block = block_of(drawn)
    out = np.empty(len(block), total_type(block.dtype))
    frame_sums(block, out)
    np.testing.assert_allclose(out, np.array(slow_sums(block), out.dtype), rtol=1e-9, atol=1e-3)
    if block.dtype.kind != "f":
        assert out.tolist() == slow_sums(block)


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "i2", "<u4"])
def test_frame_sums_of_the_brightest_frames(dtype: str) -> None:
    """More of the largest pixels than a sum of 32 bits has room for."""
    most = np.iinfo(dtype).max
    block = np.full((2, 3 * 2**16 + 5), most, dtype)
    block[1, 2**16] = 0
    out = np.empty(2, total_type(block.dtype))
    frame_sums(block, out)
    assert out.tolist() == [block.shape[1] * most, (block.shape[1] - 1) * most]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_frame_sums_that_are_infinite(dtype: str, value: float) -> None:
    """One infinite pixel anywhere makes the sum infinite; infinite times zero is not zero."""
    block = np.ones((3, 5000), dtype)
    block[0, 7], block[1, -1] = value, value
    out = np.full(3, np.nan)
    frame_sums(block, out)
    np.testing.assert_array_equal(out, [value, value, 5000])


@settings(max_examples=40)
@given(BLOCKS)
def test_add_frames(drawn: Any) -> None:
    block = block_of(drawn)
    totals = np.arange(block.shape[1]).astype(total_type(block.dtype))
    expected = totals + block.astype(totals.dtype).sum(axis=0)
    add_frames(block, totals)
    np.testing.assert_allclose(totals, expected, rtol=1e-12, atol=1e-9)  # sums near 0


@settings(max_examples=40)
@given(BLOCKS.filter(lambda drawn: drawn[0] in ("u1", "u2", ">u2", "?")))
def test_add_squares(drawn: Any) -> None:
    block = block_of(drawn)
    totals = np.arange(block.shape[1]).astype("u8")
    expected = totals + (block.astype("u8") ** 2).sum(axis=0)
    add_squares(block, totals)
    np.testing.assert_array_equal(totals, expected)


@settings(max_examples=40)
@given(BLOCKS)
def test_profiles(drawn: Any) -> None:
    block = block_of(drawn)
    width = next(n for n in (8, 4, 3, 1) if block.shape[1] % n == 0)
    rows = np.empty((len(block), block.shape[1] // width), total_type(block.dtype))
    columns = np.zeros((len(block), width), total_type(block.dtype))
    profiles(block, rows, columns)
    frames = block.reshape(len(block), -1, width).astype(rows.dtype)
    np.testing.assert_allclose(rows, frames.sum(axis=2), rtol=1e-9, atol=1e-3)
    np.testing.assert_allclose(columns, frames.sum(axis=1), rtol=1e-9, atol=1e-3)


@settings(max_examples=40)
@given(BLOCKS, st.integers(1, 10))
def test_nothing_depends_on_where_blocks_end(drawn: Any, cut: int) -> None:
    """To the last bit: which frames come together is up to caches, and to what is in memory."""
    block = block_of(drawn)
    count, pixels = block.shape
    width = next(n for n in (8, 4, 3, 1) if pixels % n == 0)
    kind, weights = total_type(block.dtype), np.random.default_rng(drawn[3]).normal(size=pixels)
    found = []
    for parts in ([block], [block[:cut], block[cut:]], list(block[:, np.newaxis])):
        sums, totals = np.zeros(count, kind), np.zeros(pixels, kind)
        rows, columns = np.zeros((count, pixels // width), kind), np.zeros((count, width), kind)
        masked, region, at = np.zeros((1, count)), np.zeros(count), 0
        for part in (part for part in parts if len(part)):
            mine = slice(at, at + len(part))
            frame_sums(part, sums[mine])
            add_frames(part, totals)
            profiles(part, rows[mine], columns[mine])
            masked_sums(part, weights[np.newaxis], masked[:, mine])
            region_sums(part, width, 0, weights.reshape(-1, width), region[mine])
            at += len(part)
        found.append([sums, totals, rows, columns, masked, region])
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=40)
@given(BLOCKS, st.data())
def test_region_sums(drawn: Any, data: Any) -> None:
    block = block_of(drawn)
    width = next(n for n in (8, 4, 3, 1) if block.shape[1] % n == 0)
    height = block.shape[1] // width
    rows = data.draw(st.integers(1, height))
    column = data.draw(st.integers(0, width - 1))
    columns = data.draw(st.integers(1, width - column))
    weights = np.random.default_rng(drawn[3]).normal(size=(rows, columns))
    out = np.empty(len(block))
    region_sums(block, width, column, weights, out)
    part = block.reshape(len(block), height, width)[:, :rows, column : column + columns]
    part = part.astype("f8")
    scale = (np.abs(part) * np.abs(weights)).sum(axis=(1, 2)) + 1
    np.testing.assert_allclose((out - (part * weights).sum(axis=(1, 2))) / scale, 0, atol=1e-12)


@settings(max_examples=40)
@given(BLOCKS)
def test_largest(drawn: Any) -> None:
    block = block_of(drawn)
    if block.dtype.kind == "f":
        block[-1, -1] = np.nan
    most = block[0].astype(block.dtype.newbyteorder("="))
    largest(block, most)
    np.testing.assert_array_equal(most, block.max(axis=0))


@settings(max_examples=40)
@given(BLOCKS, st.integers(1, 3))
def test_masked_sums(drawn: Any, masks: int) -> None:
    block = block_of(drawn)
    weights = np.random.default_rng(drawn[3]).normal(size=(masks, block.shape[1]))
    out = np.ones((masks, len(block)))
    masked_sums(block, weights, out)
    values = block.astype("f8")
    scale = np.abs(weights) @ np.abs(values).T + 1
    np.testing.assert_allclose((out - 1 - weights @ values.T) / scale, 0, atol=1e-12)
