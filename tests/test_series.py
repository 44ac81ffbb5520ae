# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames one after the other, and frames that a function decodes."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from writers import npy as npy_writer

from rsciio_tem.errors import Unsupported
from rsciio_tem.formats import npy
from rsciio_tem.frames.arrays import ArrayFrames
from rsciio_tem.frames.combined import Chain, chained
from rsciio_tem.frames.decoded import Decoded
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable

ALL = np.random.default_rng(2).integers(0, 250, (11, 5, 6)).astype("u2")
asked: list[list[int]] = []


def decode(numbers: list[int]) -> Iterator[np.ndarray]:
    asked.append(numbers)
    for number in numbers:
        yield ALL[number]


def array(frames: np.ndarray) -> ArrayFrames:
    return ArrayFrames(lambda: frames, (len(frames),), frames.shape[1:], frames.dtype)


CHAIN = Chain((array(ALL[:3]), array(ALL[3:4].astype("u1")), array(ALL[4:])), np.dtype("u2"))
DECODED = Decoded(decode, 11, (5, 6), np.dtype("u2"))
KINDS = [pytest.param(CHAIN, id="chain"), pytest.param(DECODED, id="decoded")]


def load(frames: Any, region: Any = None) -> np.ndarray:
    size = frames.frame_shape if region is None else tuple(s.stop - s.start for s in region)
    out = np.full((len(frames), *size), 77, frames.dtype)
    frames.load(out, region)
    return out


@pytest.mark.parametrize("frames", KINDS)
def test_whole(frames: Any) -> None:
    assert isinstance(frames, Frames)
    assert len(frames) == 11
    np.testing.assert_array_equal(load(frames), ALL)
    region = (slice(1, 4), slice(2, 3))
    np.testing.assert_array_equal(load(frames, region), ALL[:, 1:4, 2:3])
    assert load(frames, (slice(2, 2), slice(0, 6))).size == 0


@pytest.mark.parametrize("frames", KINDS)
@settings(max_examples=80)
@given(data=st.data())
def test_any_index(frames: Any, data: st.DataObject) -> None:
    expected = np.arange(11)
    for _ in range(data.draw(st.integers(1, 3))):
        n = len(expected)
        if data.draw(st.booleans()):
            key = data.draw(st.slices(n))
            frames, expected = frames[key], expected[key]
        else:
            index = np.array(data.draw(st.lists(st.integers(-1, n - 1), max_size=14)), np.int64)
            frames = frames[index]
            expected = np.where(index < 0, -1, expected[index] if n else -1)
    frames = frames.read_as(fill=9)
    wanted = np.where((expected < 0)[:, None, None], 9, ALL[expected])
    np.testing.assert_array_equal(load(frames), wanted)
    if (expected < 0).any():
        np.testing.assert_array_equal(frames.blanks, expected < 0)
    else:
        assert frames.blanks is None


@pytest.mark.parametrize("frames", KINDS)
def test_other_ways_of_reading(frames: Any) -> None:
    for wrong in ({"flip_y": True}, {"backend": "mmap"}):
        with pytest.raises(Unsupported, match="no meaning"):
            frames.read_as(**wrong)
    np.testing.assert_array_equal(
        load(DECODED.read_as(frame_shape=(3, 10))), ALL.reshape(11, 3, 10)
    )
    with pytest.raises(Unsupported):
        frames.read_as(frame_shape=(4, 6))
    with pytest.raises(IndexError, match="from -1 to 10"):
        frames[np.array([11])]


def test_frames_are_decoded_once_each() -> None:
    asked.clear()
    load(DECODED[np.array([5, 2, 5, -1, 2, 2])])
    assert asked == [[2, 5]]


def test_tables_of_the_same_pixels_become_one(tmp_path: Path) -> None:
    parts = []
    for i, stop in enumerate((3, 4, 11)):
        begin = (0, 3, 4)[i]
        parts.append(npy.parse(npy_writer.write_npy(tmp_path / f"{i}.npy", ALL[begin:stop])).frames)
    joined = chained([*parts, parts[0]])
    assert isinstance(joined, FrameTable)
    assert len(joined.files) == 3
    np.testing.assert_array_equal(load(joined), np.concatenate([ALL, ALL[:3]]))
    assert chained(parts[:1]) is parts[0]
    mixed = chained([*parts, array(ALL[:2])])
    assert isinstance(mixed, Chain)
    np.testing.assert_array_equal(load(mixed), np.concatenate([ALL, ALL[:2]]))
    selected = chained([parts[0][np.array([2, 0])], parts[1]])
    np.testing.assert_array_equal(load(selected), ALL[[2, 0, 3]])


def test_pickles() -> None:
    copy = pickle.loads(pickle.dumps(DECODED[3:]))
    np.testing.assert_array_equal(load(copy), ALL[3:])
