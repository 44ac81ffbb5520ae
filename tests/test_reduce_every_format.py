# SPDX-License-Identifier: GPL-3.0-or-later
"""Reductions of every format are what numpy finds in the loaded array."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from samples import Sample

import rsciio_tem
from rsciio_tem import Disk
from rsciio_tem.errors import RecordingWarning
from rsciio_tem.reduction.quantities import accumulator
from rsciio_tem.storage import backends


def check(sample: Sample, **options: Any) -> None:
    """Compare all quantities of a lazy signal with those of the array that is loaded."""
    data = sample.read_quietly(**options)["data"]
    lazy = sample.read_quietly(lazy=True, **options)
    frames = data.reshape(-1, *sample.frame_shape)
    real, nav = data.dtype.kind != "c", data.shape[: data.ndim - sample.sig_dims]
    if data.dtype.itemsize == 8 and data.dtype.kind in "iu" and data.max() > 1 << 53:
        with pytest.raises(OverflowError, match="dtype='float64'"):
            rsciio_tem.reduce(lazy, ["sum"])
        with pytest.raises(OverflowError, match="dtype='float64'"):
            rsciio_tem.reduce(lazy, ["navigator"])
        return
    masks: list[Any] = [np.random.default_rng(3).integers(-2, 3, sample.frame_shape)]
    what = ["navigator", "sum", "mean", "max", *(["variance"] if real else [])]
    if sample.sig_dims == 2:
        masks.append(Disk(3))
        what += ["com"] if real else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        found = rsciio_tem.reduce(lazy, what, masks=masks, threads=2)  # type: ignore[arg-type]
    total = accumulator(data.dtype)
    wide = frames.astype(np.complex128 if not real else np.float64)
    pixels = tuple(range(1, frames.ndim))
    weights = np.stack([m(sample.frame_shape) if callable(m) else m for m in masks])
    expected = {
        "navigator": frames.sum(axis=pixels, dtype=total).reshape(nav),
        "sum": frames.sum(axis=0, dtype=total),
        "mean": wide.mean(axis=0),
        "max": frames.max(axis=0),
        "masks": np.tensordot(weights, wide, (pixels, pixels)).reshape(-1, *nav),
    }
    if real:
        expected["variance"] = wide.var(axis=0)
    if "com" in what:
        mass = wide.sum(axis=pixels)
        with np.errstate(invalid="ignore", divide="ignore"):
            moments = [(wide * axis).sum(axis=pixels) for axis in np.indices(sample.frame_shape)]
            expected["com"] = np.where(mass != 0, moments / mass, np.nan).reshape(2, *nav)
    assert set(found) == set(expected)
    # sums in which large numbers cancel are as exact as their parts
    scale = float(np.nan_to_num(np.abs(wide)).sum(axis=pixels).max(initial=1))
    for name, values in expected.items():
        ours = found[name]
        assert ours.shape == values.shape, name
        if name == "max" or (total.kind in "iu" and name in ("navigator", "sum")):
            np.testing.assert_array_equal(ours, values, name)
            assert ours.dtype == values.dtype
        elif name == "com" and data.dtype.kind != "u":
            reliable = np.abs(mass.reshape(nav)) > 1e-3 * scale
            np.testing.assert_allclose(ours[:, reliable], values[:, reliable], 1e-6, err_msg=name)
        else:
            atol = 1e-12 * scale**2 if name == "variance" else 1e-12 * scale
            np.testing.assert_allclose(ours, values, 1e-6, atol, err_msg=name)


@pytest.mark.per_kind
@pytest.mark.parametrize("fresh", [True, False])
def test_reduce(sample: Sample, fresh: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that may be growing are read, others are mapped."""
    if sample.expected.dtype.kind == "V":
        pytest.skip("colours are not added up")
    if not fresh:
        monkeypatch.setattr(backends, "_FRESH", 0.0)
    check(sample)


@pytest.mark.per_kind
def test_reduce_a_region(sample: Sample) -> None:
    nav = sample.expected.shape[: sample.expected.ndim - sample.sig_dims]
    if sample.expected.dtype.kind == "V" or not nav:
        pytest.skip("colours are not added up, and a single frame has no region of interest")
    roi = np.random.default_rng(7).random(nav) < 0.5
    roi.reshape(-1)[-1] = True
    check(sample, roi=roi)


@pytest.mark.parametrize("fill", [0, 1])
def test_reduce_with_missing_frames(ten: Sample, fill: int) -> None:
    check(ten, nav_shape=(3, 4), missing="fill", fill_value=fill)
    check(ten, nav_shape=(2, 5), sync_offset=-3, missing="fill", fill_value=fill)
