# SPDX-License-Identifier: GPL-3.0-or-later
"""Dark, gain and excluded pixels against a slow reference and against LiberTEM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from writers import mib as mib_writer
from writers import raw as raw_writer

import rsciio_tem
from rsciio_tem.errors import FormatError
from rsciio_tem.frames.arrays import ArrayFrames
from rsciio_tem.frames.corrections import Corrected, Corrections, MeanImage

RNG = np.random.default_rng(13)
FRAMES = RNG.integers(0, 4000, (2, 3, 12, 16), dtype=np.uint16)
DARK = RNG.normal(100, 5, (12, 16))
GAIN = RNG.normal(1, 0.1, (12, 16))
EXCLUDED = np.zeros((12, 16), bool)
EXCLUDED[[0, 5, 5, 11], [0, 7, 8, 15]] = True


def reference(
    frames: Any, dark: Any = None, gain: Any = None, excluded: Any = None
) -> np.ndarray[Any, Any]:
    """Correct pixel by pixel, as the definition says."""
    out = frames.astype(np.float64)
    if dark is not None:
        out = out - dark
    if gain is not None:
        out = out * gain
    result = out.copy()
    if excluded is not None:
        rows, columns = excluded.shape
        for r, c in np.argwhere(excluded):
            near = [
                out[..., i, j]
                for i in range(max(0, r - 1), min(rows, r + 2))
                for j in range(max(0, c - 1), min(columns, c + 2))
                if not excluded[i, j]
            ]
            result[..., r, c] = np.mean(near, axis=0)
    return result


@pytest.fixture
def raw_file(tmp_path: Path) -> Path:
    raw_writer.write_raw(tmp_path / "r.raw", FRAMES)
    raw_writer.side_file(tmp_path / "r.raw", dtype="<u2", sig_shape=[12, 16], nav_shape=[2, 3])
    return tmp_path / "r.raw"


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    "given_", [("dark",), ("gain",), ("excluded",), ("dark", "gain", "excluded")]
)
def test_against_the_definition(raw_file: Path, lazy: bool, given_: tuple[str, ...]) -> None:
    images = {"dark": DARK, "gain": GAIN, "excluded": EXCLUDED}
    chosen = {k: images[k] for k in given_}
    options = {("excluded_pixels" if k == "excluded" else k): v for k, v in chosen.items()}
    (signal,) = rsciio_tem.raw.file_reader(raw_file, lazy=lazy, **options)
    assert signal["data"].dtype == np.float32
    np.testing.assert_allclose(
        np.asarray(signal["data"]), reference(FRAMES, **chosen), rtol=2e-6, atol=2e-3
    )


def test_a_crop_equals_the_crop_of_the_whole(raw_file: Path) -> None:
    options = {"dark": DARK, "gain": GAIN, "excluded_pixels": EXCLUDED}
    whole = rsciio_tem.raw.file_reader(raw_file, **options)[0]["data"]
    lazy = rsciio_tem.raw.file_reader(raw_file, lazy=True, **options)[0]["data"]
    for rows, columns in (
        (slice(5, 6), slice(7, 8)),
        (slice(0, 1), slice(0, 3)),
        (slice(4, 12), slice(8, 16)),
    ):
        np.testing.assert_array_equal(
            lazy[1, :, rows, columns].compute(), whole[1, :, rows, columns]
        )


@pytest.mark.parametrize(
    ("stored", "result"),
    [
        ("u1", "f4"),
        ("u2", "f4"),
        ("i2", "f4"),
        ("i4", "f8"),
        ("u4", "f8"),
        ("f4", "f4"),
        ("f8", "f8"),
        ("c8", "c8"),
    ],
)
def test_result_type(stored: str, result: str) -> None:
    frames = ArrayFrames(lambda: np.ones((3, 4, 5), stored), (3,), (4, 5), np.dtype(stored))
    corrected = Corrected(frames, Corrections(dark=np.ones((4, 5))), "x")
    out = np.empty((3, 4, 5), corrected.dtype)
    corrected.load(out)
    assert corrected.dtype == np.dtype(result)
    assert not out.any()


@settings(max_examples=30)
@given(hnp.arrays(bool, st.tuples(st.integers(2, 7), st.integers(2, 7))))
def test_fill_repairs_any_cluster_with_something_left(mask: np.ndarray[Any, Any]) -> None:
    values = np.arange(mask.size, dtype=np.float64).reshape(1, *mask.shape) + 5
    frames = ArrayFrames(lambda: values, (1,), mask.shape, values.dtype)
    if mask.all():
        with pytest.raises(FormatError, match="no usable neighbour"):
            Corrections(excluded=mask, repair="fill").checked(mask.shape, "x")
        return
    corrections = Corrections(excluded=mask, repair="fill").checked(mask.shape, "x")
    out = np.empty(values.shape)
    Corrected(frames, corrections, "x").load(out)
    good = values[0][~mask]
    np.testing.assert_array_equal(out[0][~mask], good)
    assert good.min() <= out.min()
    assert out.max() <= good.max()


def test_a_closed_cluster_is_an_error_unless_allowed(raw_file: Path) -> None:
    block = np.zeros((12, 16), bool)
    block[3:6, 3:6] = True
    with pytest.raises(FormatError, match=r"r\.raw: 1 excluded pixels .* at \(4, 4\)"):
        rsciio_tem.raw.file_reader(raw_file, excluded_pixels=block)
    left = rsciio_tem.raw.file_reader(raw_file, excluded_pixels=block, allow_empty=True)
    np.testing.assert_array_equal(left[0]["data"][..., 4, 4], FRAMES[..., 4, 4])
    filled = rsciio_tem.raw.file_reader(raw_file, excluded_pixels=block, repair="fill")
    ring = np.zeros((12, 16), bool)
    ring[2:7, 2:7] = True
    ring[3:6, 3:6] = False
    np.testing.assert_allclose(
        filled[0]["data"][..., 4, 4], FRAMES[..., ring].mean(axis=-1), rtol=1e-6
    )


def test_nan_gain_at_an_excluded_pixel_is_harmless(raw_file: Path) -> None:
    gain = np.where(EXCLUDED, np.nan, 2.0)
    data = rsciio_tem.raw.file_reader(raw_file, gain=gain, excluded_pixels=EXCLUDED)[0]["data"]
    assert np.isfinite(data).all()


def test_images_from_files_and_series(raw_file: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "dark.npy", np.stack([DARK - 1, DARK + 1]))
    np.save(tmp_path / "mask.npy", EXCLUDED)
    data = rsciio_tem.raw.file_reader(
        raw_file, dark=tmp_path / "dark.npy", excluded_pixels=str(tmp_path / "mask.npy")
    )[0]["data"]
    np.testing.assert_allclose(
        data, reference(FRAMES, dark=DARK, excluded=EXCLUDED), rtol=2e-6, atol=2e-3
    )
    by_place = rsciio_tem.raw.file_reader(
        raw_file, dark=DARK, excluded_pixels=tuple(np.nonzero(EXCLUDED))
    )[0]["data"]
    np.testing.assert_allclose(data, by_place, rtol=1e-5)


def test_wrong_shapes_are_named(raw_file: Path) -> None:
    with pytest.raises(FormatError, match=r"dark has shape \(16, 12\), the frames \(12, 16\)"):
        rsciio_tem.raw.file_reader(raw_file, dark=DARK.T)
    with pytest.raises(FormatError, match="outside"):
        rsciio_tem.raw.file_reader(raw_file, excluded_pixels=([12], [0]))
    with pytest.raises(ValueError, match="repair"):
        rsciio_tem.raw.file_reader(raw_file, dark=DARK, repair="magic")
    with pytest.raises(ValueError, match="corrections"):
        rsciio_tem.raw.file_reader(raw_file, corrections="some")


def test_blanks_are_not_corrected(raw_file: Path) -> None:
    with pytest.warns(rsciio_tem.errors.RecordingWarning, match="not recorded"):
        (signal,) = rsciio_tem.raw.file_reader(
            raw_file, dark=DARK, nav_shape=(3, 3), fill_value=np.nan
        )
    assert np.isnan(signal["data"][2]).all()
    np.testing.assert_allclose(signal["data"][:2], FRAMES - DARK, rtol=2e-6, atol=2e-3)


def test_orientation_is_that_of_the_returned_frames(tmp_path: Path) -> None:
    frames = RNG.integers(0, 4000, (2, 64, 256), dtype=np.uint16)
    path = mib_writer.write_mib(tmp_path / "m.mib", frames, 12)
    dark = RNG.normal(10, 1, (64, 256))
    shown = rsciio_tem.mib.file_reader(path, dark=dark)[0]["data"]
    np.testing.assert_allclose(shown, frames[:, ::-1] - dark, rtol=2e-6, atol=2e-3)
    stored = rsciio_tem.mib.file_reader(path, dark=dark, flip_y=False)[0]["data"]
    np.testing.assert_allclose(stored, frames - dark, rtol=2e-6, atol=2e-3)


@pytest.mark.filterwarnings("ignore")
def test_same_arithmetic_as_libertem(raw_file: Path) -> None:
    api = pytest.importorskip("libertem.api", reason="LiberTEM is not installed")
    import sparse
    from libertem.corrections import CorrectionSet
    from libertem.udf.raw import PickUDF

    with api.Context.make_with("inline") as context:
        dataset = context.load(
            "raw", str(raw_file), dtype="<u2", nav_shape=(2, 3), sig_shape=(12, 16)
        )
        theirs = context.run_udf(
            dataset,
            PickUDF(),
            roi=np.ones((2, 3), bool),
            corrections=CorrectionSet(
                dark=DARK.astype(np.float32),
                gain=GAIN.astype(np.float32),
                excluded_pixels=sparse.COO(EXCLUDED),
            ),
        )["intensity"].data
    ours = rsciio_tem.raw.file_reader(raw_file, dark=DARK, gain=GAIN, excluded_pixels=EXCLUDED)[0][
        "data"
    ]
    np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=2e-5, atol=2e-3)


def test_images_in_tables(raw_file: Path, tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io", reason="SciPy is not installed")
    np.savetxt(tmp_path / "dark.csv", DARK, delimiter=";", fmt="%.17g")
    scipy_io.savemat(tmp_path / "gain.mat", {"anything": GAIN})
    sides = {"dark": tmp_path / "dark.csv", "gain": str(tmp_path / "gain.mat")}
    found = rsciio_tem.raw.file_reader(raw_file, **sides)[0]["data"]
    wanted = rsciio_tem.raw.file_reader(raw_file, dark=DARK, gain=GAIN)[0]["data"]
    np.testing.assert_array_equal(found, wanted)
    scipy_io.savemat(tmp_path / "gain.mat", {"a": GAIN, "b": GAIN})
    with pytest.raises(FormatError, match="has no single variable; there are a, b"):
        rsciio_tem.raw.file_reader(raw_file, **sides)


def test_mean_of_frames_is_computed_when_it_is_needed() -> None:
    opened = []

    def stack() -> Any:
        opened.append(1)
        return FRAMES

    frames = ArrayFrames(stack, (2, 3), (12, 16), FRAMES.dtype)
    mean = MeanImage(frames)
    assert mean.shape == (12, 16)
    assert not opened
    wanted = FRAMES.mean(axis=(0, 1)).astype("f4")
    np.testing.assert_array_equal(mean, wanted)
    np.testing.assert_array_equal(mean[2:, 1], wanted[2:, 1])
    assert len(opened) == 1


@pytest.mark.parametrize("lazy", [False, True])
def test_zeroed_pixels_keep_their_type(raw_file: Path, lazy: bool) -> None:
    (signal,) = rsciio_tem.load(raw_file, lazy=lazy, excluded_pixels=EXCLUDED, repair="zero")
    expected = np.where(EXCLUDED, 0, FRAMES)
    np.testing.assert_array_equal(np.asarray(signal["data"]), expected, strict=True)
    part = signal["data"][1, 1:, 4:7, 6:9]
    np.testing.assert_array_equal(np.asarray(part), expected[1, 1:, 4:7, 6:9])
    (signal,) = rsciio_tem.load(
        raw_file, lazy=lazy, excluded_pixels=EXCLUDED, repair="zero", dark=DARK
    )
    expected = np.where(EXCLUDED, 0, reference(FRAMES, DARK))
    np.testing.assert_allclose(np.asarray(signal["data"]), expected, rtol=1e-5, atol=1e-3)
