# SPDX-License-Identifier: GPL-3.0-or-later
"""The processing list: its arithmetic against plain NumPy, regions, laziness, and bad lists."""

from __future__ import annotations

import pickle
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from writers import npy as npy_writer

from rsciio_tem.errors import FormatError, Unsupported
from rsciio_tem.formats import npy
from rsciio_tem.frames.arrays import ArrayFrames
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.parsing import processing
from rsciio_tem.parsing.processing import CODES, Processed, processed, steps_of
from rsciio_tem.reading.read import read
from rsciio_tem.storage import backends

RNG = np.random.default_rng(3)
SHAPE = (12, 17)


def stack(frames: np.ndarray) -> ArrayFrames:
    native = frames.dtype.newbyteorder("=")
    return ArrayFrames(lambda: frames, (len(frames),), frames.shape[1:], native)


def apply(frames: np.ndarray, *steps: tuple[str, Any]) -> np.ndarray:
    done = Processed(stack(frames), steps_of(list(steps), stack(frames), "p"))
    out = np.empty((len(done), *done.frame_shape), done.dtype)
    done.load(out)
    return out


def frames_of(dtype: str = "u2", count: int = 5) -> np.ndarray:
    if dtype == "?":
        return RNG.integers(0, 2, (count, *SHAPE)).astype(bool)
    if dtype[0] == "f":
        return RNG.normal(0, 100, (count, *SHAPE)).astype(dtype)
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, (count, *SHAPE), dtype, endpoint=True)


# -- dark ----------------------------------------------------------------------------------------

#: Python's own numbers never wrap.
exact = np.frompyfunc(lambda a, b: max(0, int(a) - int(b)), 2, 1)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "?"])
@pytest.mark.parametrize("dark", ["u1", "u2", "u4", "u8", "?"])
def test_dark_keeps_the_type_and_never_wraps(dtype: str, dark: str) -> None:
    frames, image = frames_of(dtype), frames_of(dark)[0]
    result = apply(frames, ("dark", image))
    assert result.dtype == ("u1" if dtype == "?" else dtype)
    np.testing.assert_array_equal(result.astype(object), exact(frames.astype(object), image))


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
@pytest.mark.parametrize("dark", ["i1", "i2", "i4"])
def test_negative_dark_values_widen_the_type(dtype: str, dark: str) -> None:
    frames, image = frames_of(dtype), frames_of(dark)[0]
    image[0, 0] = np.iinfo(dark).min
    result = apply(frames, ("dark", image))
    assert result.dtype.kind in "iu"
    np.testing.assert_array_equal(result.astype(object), exact(frames.astype(object), image))


def test_negative_dark_of_64_bits_becomes_floating() -> None:
    frames = np.full((1, *SHAPE), np.iinfo("u8").max, "u8")
    result = apply(frames, ("dark", np.full(SHAPE, -1)))
    assert result.dtype == "f8"
    assert result.min() > 1e19


@pytest.mark.parametrize(
    ("dtype", "dark", "wanted"),
    [("u2", "f4", "f4"), ("u2", "f8", "f8"), ("u4", "f4", "f8"), ("f4", "u2", "f4")],
)
def test_dark_with_fractions(dtype: str, dark: str, wanted: str) -> None:
    frames, image = frames_of(dtype), (RNG.random(SHAPE) * 100).astype(dark)
    result = apply(frames, ("dark", image))
    assert result.dtype == wanted
    difference = frames.astype(wanted) - image.astype(wanted)
    np.testing.assert_array_equal(result, np.where(difference < 0, 0, difference))


def test_hexrd_dark_wraps_unsigned_numbers_here_it_does_not() -> None:
    """1 - 3 is 65534 in hexrd."""
    result = apply(np.full((1, 2, 2), 1, "u2"), ("dark", np.full((2, 2), 3, "u2")))
    assert result.dtype == "u2"
    assert not result.any()


def test_dark_leaves_nan() -> None:
    result = apply(np.array([[[np.nan, 1.0, -5.0, np.inf]]]), ("dark", np.array([[1, 2, 3, 4]])))
    np.testing.assert_array_equal(result, [[[np.nan, 0, 0, np.inf]]])


def test_dark_from_a_file_is_the_mean_of_its_frames(tmp_path: Path) -> None:
    series = RNG.integers(0, 9, (4, *SHAPE)).astype("u2")
    path = npy_writer.write_npy(tmp_path / "dark.npy", series)
    frames = frames_of()
    expected = np.maximum(frames - series.mean(axis=0), 0)
    np.testing.assert_array_equal(apply(frames, ("dark", path)), expected)
    np.testing.assert_array_equal(apply(frames, ("dark", str(path))), expected)


# -- the other steps -----------------------------------------------------------------------------

FLIPS = {
    "v": lambda f: f[:, ::-1],
    "y": np.fliplr,
    "h": lambda f: f[::-1],
    "x": np.flipud,
    "vh": lambda f: f[::-1, ::-1],
    "hv": lambda f: np.rot90(f, 2),
    "r180": lambda f: np.rot90(f, 2),
    "t": np.transpose,
    "T": np.transpose,
    "ccw90": np.rot90,
    "r90": lambda f: f.T[::-1],
    "cw90": lambda f: np.rot90(f, -1),
    "r270": lambda f: f.T[:, ::-1],
}


@pytest.mark.parametrize("how", FLIPS)
def test_flip(how: str) -> None:
    frames = frames_of("i2")
    result = apply(frames, ("flip", how))
    assert result.dtype == frames.dtype
    np.testing.assert_array_equal(result, [FLIPS[how](frame) for frame in frames])


def test_hexrd_ignores_unknown_flips_here_they_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"'flip', 'left'.*ccw90"):
        apply(frames_of(), ("flip", "left"))


def test_rectangle() -> None:
    frames = frames_of()
    np.testing.assert_array_equal(
        apply(frames, ("rectangle", ((2, 9), (0, 5)))), frames[:, 2:9, :5]
    )
    np.testing.assert_array_equal(
        apply(frames, ("rectangle", [[0, 12], [16, 17]])), frames[:, :, 16:]
    )


@pytest.mark.parametrize(
    "bounds",
    [((0, 13), (0, 5)), ((-3, 4), (0, 5)), ((4, 4), (0, 5)), ((0, 5),), (0, 5), "no", None, 3],
)
def test_rectangle_that_does_not_fit(bounds: Any) -> None:
    with pytest.raises(ValueError, match=r"rectangle.*within frames of \(12, 17\)"):
        apply(frames_of(), ("rectangle", bounds))


@pytest.mark.parametrize(
    ("dtype", "wanted"), [("u1", "f4"), ("i2", "f4"), ("u4", "f8"), ("i8", "f8"), ("f4", "f4")]
)
def test_add(dtype: str, wanted: str) -> None:
    frames = frames_of(dtype)
    result = apply(frames, ("add", -3.5))
    assert result.dtype == wanted
    np.testing.assert_array_equal(result, frames.astype(wanted) + np.array(-3.5, wanted))
    image = RNG.integers(-100, 100, SHAPE).astype("i2")
    np.testing.assert_array_equal(apply(frames, ("add", image)), frames.astype(wanted) + image)


def test_hexrd_add_loses_digits_of_large_counts_here_it_does_not() -> None:
    """32-bit counts do not fit into single precision."""
    frames = np.full((1, 2, 2), (1 << 24) + 1, "u4")
    assert (apply(frames, ("add", 0)) == (1 << 24) + 1).all()


def test_hexrd_gauss_laplace_wraps_unsigned_numbers_here_it_does_not() -> None:
    from scipy.ndimage import gaussian_laplace

    frames = frames_of("u2")
    result = apply(frames, ("gauss_laplace", 1.5))
    assert result.dtype == "f4"
    assert (result < 0).any()
    expected = [gaussian_laplace(frame.astype("f4"), 1.5) for frame in frames]
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize("index", [0, 5, 12])
def test_add_row(index: int) -> None:
    frames = frames_of()
    np.testing.assert_array_equal(
        apply(frames, ("add-row", index)), np.insert(frames, index, 0, axis=1)
    )


@pytest.mark.parametrize("index", [0, 5, 17])
def test_add_column(index: int) -> None:
    frames = frames_of("f4")
    np.testing.assert_array_equal(
        apply(frames, ("add-column", index)), np.insert(frames, index, 0, axis=2)
    )


@pytest.mark.parametrize(("code", "value"), [("add-row", 13), ("add-row", -1), ("add-column", 18),
                                             ("add-column", 1.5), ("add-row", None),
                                             ("gauss_laplace", 0), ("gauss_laplace", "1"),
                                             ("gauss_laplace", float("nan")),
                                             ("gauss_laplace", True)])  # fmt: skip
def test_bad_arguments(code: str, value: Any) -> None:
    with pytest.raises(ValueError, match=code):
        apply(frames_of(), (code, value))


# -- lists ---------------------------------------------------------------------------------------


def test_steps_are_done_in_their_order() -> None:
    frames, dark = frames_of(), frames_of()[0]
    one = apply(frames, ("dark", dark), ("flip", "t"), ("rectangle", ((3, 9), (1, 8))),
                ("add-row", 2))  # fmt: skip
    kept = np.maximum(frames.astype(int) - dark, 0).astype("u2").transpose(0, 2, 1)
    np.testing.assert_array_equal(one, np.insert(kept[:, 3:9, 1:8], 2, 0, axis=1))
    # an image is that of the frames it meets
    turned = apply(frames, ("flip", "t"), ("dark", dark.T))
    np.testing.assert_array_equal(turned, kept)
    with pytest.raises(FormatError, match=r"needs an image of \(17, 12\) pixels, not \(12, 17\)"):
        apply(frames, ("flip", "t"), ("dark", dark))


def test_unknown_code_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'median', ….*dark, flip, rectangle, add, gauss_laplace"):
        apply(frames_of(), ("median", 3))


@pytest.mark.parametrize(
    "given", ["flip", {"flip": "v"}, ["flip"], [("flip",)], [("flip", "v", 1)], [3], 5, ["ab"]]
)
def test_lists_that_are_none(given: Any) -> None:
    with pytest.raises(ValueError, match="processing"):
        steps_of(given, stack(frames_of()), "p")


def test_frames_that_cannot_be_processed() -> None:
    volumes = ArrayFrames(lambda: np.zeros((2, 3, 4, 5)), (2,), (3, 4, 5), np.dtype("f8"))
    waves = ArrayFrames(lambda: np.zeros((2, 4, 5), complex), (2,), (4, 5), np.dtype(complex))
    for frames in (volumes, waves):
        with pytest.raises(Unsupported, match="cannot be processed"):
            steps_of([("flip", "v")], frames, "p")


# -- regions -------------------------------------------------------------------------------------

LISTS: dict[str, list[tuple[str, Any]]] = {
    **{how: [("flip", how)] for how in FLIPS},
    "dark": [("dark", np.arange(12 * 17).reshape(SHAPE) * 200)],
    "rectangle": [("rectangle", ((2, 11), (3, 16)))],
    "add": [("add", np.arange(12 * 17).reshape(SHAPE))],
    "gauss_laplace": [("gauss_laplace", 0.7)],
    "rows": [("add-row", 4), ("add-row", 0), ("add-row", 14)],
    "columns": [("add-column", 17), ("add-column", 3)],
    "many": [
        *(("flip", "ccw90"), ("add-row", 3), ("rectangle", ((1, 16), (2, 10)))),
        *(("gauss_laplace", 0.5), ("flip", "cw90"), ("add-column", 1), ("add", 2.0)),
    ],
}


@pytest.mark.parametrize("steps", LISTS.values(), ids=LISTS)
def test_a_region_is_part_of_the_whole(steps: list[tuple[str, Any]]) -> None:
    frames = frames_of("u2", 3)
    done = Processed(stack(frames), steps_of(steps, stack(frames), "p"))
    whole = apply(frames, *steps)
    rows, columns = done.frame_shape
    for a, b in [(0, rows), (0, 1), (rows - 1, rows), (2, 6), (4, 5), (3, 3)]:
        for c, d in [(0, columns), (0, 1), (columns - 1, columns), (3, 9), (4, 4)]:
            out = np.empty((3, b - a, d - c), done.dtype)
            done.load(out, (slice(a, b), slice(c, d)))
            np.testing.assert_array_equal(out, whole[:, a:b, c:d])


@settings(max_examples=60)
@given(data=st.data())
def test_any_list_and_any_region(data: st.DataObject) -> None:
    frames = frames_of("u2", 2)
    steps: list[tuple[str, Any]] = []
    whole = frames
    for _ in range(data.draw(st.integers(0, 6))):
        rows, columns = whole.shape[1:]
        code = data.draw(st.sampled_from(["flip", "rectangle", "add-row", "add-column"]))
        if code == "flip":
            how = data.draw(st.sampled_from(sorted(FLIPS)))
            steps.append((code, how))
            whole = np.array([FLIPS[how](frame) for frame in whole])
        elif code == "rectangle":
            a, c = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
            b, d = data.draw(st.integers(a + 1, rows)), data.draw(st.integers(c + 1, columns))
            steps.append((code, ((a, b), (c, d))))
            whole = whole[:, a:b, c:d]
        else:
            axis = 1 + (code == "add-column")
            at = data.draw(st.integers(0, whole.shape[axis]))
            steps.append((code, at))
            whole = np.insert(whole, at, 0, axis=axis)
    done = Processed(stack(frames), steps_of(steps, stack(frames), "p"))
    a, b = sorted(data.draw(st.tuples(*[st.integers(0, whole.shape[1])] * 2)))
    c, d = sorted(data.draw(st.tuples(*[st.integers(0, whole.shape[2])] * 2)))
    out = np.empty((2, b - a, d - c), done.dtype)
    done.load(out, (slice(a, b), slice(c, d)))
    np.testing.assert_array_equal(out, whole[:, a:b, c:d])


# -- in recordings -------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    frames = np.random.default_rng(8).integers(0, 60000, (40, 64, 80)).astype(">u2")
    return npy_writer.write_npy(tmp_path / "a.npy", frames)


STEPS = [("dark", np.full((64, 80), 500, "u2")), ("flip", "t"), ("rectangle", ((0, 50), (10, 60)))]


def test_eager_lazy_and_slices_agree(file: Path) -> None:
    frames = np.load(file).astype("u2")
    expected = np.maximum(frames.astype(int) - 500, 0).transpose(0, 2, 1)[:, :50, 10:60]
    recording = processed(npy.parse(file), STEPS)
    (eager,), (lazy,) = read(recording), read(recording, lazy=True)
    np.testing.assert_array_equal(eager["data"], expected)
    assert eager["data"].dtype == "u2"
    np.testing.assert_array_equal(lazy["data"], expected)
    np.testing.assert_array_equal(lazy["data"][3, 5:9, -7:], expected[3, 5:9, -7:])
    assert eager["original_metadata"]["processing"] == [
        ["dark", "image"], ["flip", "t"], ["rectangle", ((0, 50), (10, 60))],
    ]  # fmt: skip


def test_hexrd_computes_a_frame_for_shape_and_type_here_nothing_is_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = processed(npy.parse(file), STEPS)
    monkeypatch.setattr(backends, "read", lambda *_: pytest.fail("pixels are read"))
    (signal,) = read(recording, lazy=True)
    assert (signal["data"].shape, signal["data"].dtype) == ((40, 50, 50), "u2")


def test_few_rows_cost_few_bytes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_bytes: list[int] = []
    original = backends.read

    def counting(file: Any, offset: int, nbytes: int, backend: Any, *more: Any) -> Any:
        read_bytes.append(nbytes)
        return original(file, offset, nbytes, backend, *more)

    steps = [("flip", "h"), ("rectangle", ((4, 60), (0, 80))), ("dark", np.zeros((56, 80)))]
    (signal,) = read(processed(npy.parse(file), steps), lazy=True)
    monkeypatch.setattr(backends, "read", counting)
    signal["data"][7, 10:12].compute()
    assert sum(read_bytes) == 2 * 80 * 2


def test_pickles_small(file: Path) -> None:
    recording = processed(npy.parse(file), [("flip", "t"), ("rectangle", ((0, 50), (10, 60)))])
    assert len(pickle.dumps(recording.frames)) < 2500
    copy = pickle.loads(pickle.dumps(recording.frames))
    out = np.empty((40, 50, 50), copy.dtype)
    copy.load(out)
    np.testing.assert_array_equal(out, read(recording)[0]["data"])


def test_is_frames(file: Path) -> None:
    done = processed(npy.parse(file), STEPS).frames
    assert isinstance(done, Frames)
    with pytest.raises(Unsupported, match=r"\('flip', 'h'\)"):
        done.read_as(flip_y=True)
    with pytest.raises(Unsupported, match="keep their shape"):
        done.read_as(frame_shape=(25, 100))
    for backend in ("buffered", "mmap"):
        (signal,) = read(processed(npy.parse(file), STEPS), options={"io_backend": backend})
        assert signal["data"].any()


def test_blanks_are_not_processed(file: Path) -> None:
    recording = processed(npy.parse(file), [("add", 5), ("flip", "v")])
    options = {"sync_offset": -2, "fill_value": 7}
    for lazy in (False, True):
        (signal,) = read(recording, lazy=lazy, options=options)
        data = np.asarray(signal["data"])
        assert (data[:2] == 7).all()
        np.testing.assert_array_equal(data[2:], np.load(file)[:, :, ::-1].astype("f4") + 5)


def test_corrections_come_after_processing(file: Path) -> None:
    gain = RNG.random((50, 50)).astype("f4")
    (signal,) = read(processed(npy.parse(file), STEPS), options={"gain": gain})
    plain = read(processed(npy.parse(file), STEPS))[0]["data"]
    np.testing.assert_allclose(signal["data"], plain * gain, rtol=1e-6)


def test_axes_turn_with_the_frames(tmp_path: Path) -> None:
    from dataclasses import replace

    from rsciio_tem.recording.axis import Axis

    path = npy_writer.write_npy(tmp_path / "a.npy", np.zeros((3, 4, 5)))
    recording = replace(npy.parse(path), signal_axes=(Axis("height"), Axis("width")))
    for how in FLIPS:
        names = [a["name"] for a in read(processed(recording, [("flip", how)]))[0]["axes"][1:]]
        turned = how in ("t", "T", "ccw90", "r90", "cw90", "r270")
        assert names == (["width", "height"] if turned else ["height", "width"])


def test_nothing_to_do(file: Path) -> None:
    recording = npy.parse(file)
    assert processed(recording, None) is recording
    assert processed(recording, []) is recording


def test_blocks_do_not_matter(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = processed(npy.parse(file), STEPS)
    expected = read(recording)[0]["data"]
    for block in (1, 64 * 80 * 2 * 7, 1 << 30):
        monkeypatch.setattr(processing, "_BLOCK", block)
        np.testing.assert_array_equal(read(recording)[0]["data"], expected)


def test_every_code_is_tested_and_documented() -> None:
    assert set(CODES) == {
        *("dark", "flip", "rectangle", "add", "gauss_laplace", "add-row", "add-column"),
    }
    text = processing.__doc__ or ""
    for code, how in product(CODES, FLIPS):
        assert f"``{code}``" in text
        assert f"``{how}``" in text
