# SPDX-License-Identifier: GPL-3.0-or-later
"""What coordinates, and steps that nobody set, make of an axis."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rsciio_tem
import rsciio_tem.readers
from rsciio_tem.errors import Problems
from rsciio_tem.parsing.coordinates import axis_of
from rsciio_tem.recording.axis import Axis

INDEX = np.arange(64)
STEP = 0.0116324


@pytest.mark.parametrize("scale", [0.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("units", ["nm", None])
def test_unknown_step_has_no_unit(scale: float, units: str | None) -> None:
    axis = Axis("x", units, scale, 3.0)
    assert (axis.name, axis.scale, axis.offset) == ("x", 1.0, 0.0)
    assert axis.units == (None if units is None else "")


@pytest.mark.parametrize(
    ("values", "accuracy"),
    [
        (-0.37 + STEP * INDEX, 1e-12),
        ((-0.37 + STEP * INDEX).astype("f4"), 1e-5),
        (np.round(-0.37 + STEP * INDEX, 2), 2e-3),
        (np.round(-0.37 + STEP * INDEX, 2).astype("f4"), 2e-3),
        (np.round(STEP * INDEX * 1e-9, 11), 5e-3),
        ((1e3 + STEP * INDEX).astype("f4"), 1e-3),
        (np.array([5.0, 5.0 + STEP]), 1e-12),
    ],
)
def test_even_within_rounding(values: Any, accuracy: float) -> None:
    problems = Problems()
    step = STEP * (1e-9 if abs(values).max() < 1e-6 else 1)
    axis = axis_of("kx", "1/Å", values.tolist(), 64, problems)
    assert axis.values is None
    assert axis.scale == pytest.approx(step, rel=accuracy)
    assert axis.offset == pytest.approx(float(values[0]), abs=0.1 * step)
    assert axis.units == "1/Å"
    assert not problems


@pytest.mark.parametrize(
    "values",
    [
        (INDEX - 32) ** 3 * 1e-5,
        np.geomspace(1, 100, 64),
        -np.geomspace(1, 100, 64),
        [0, 1e40, 1e50, 1e60],
        [0, 1, 3, 4],  # whole numbers are exact
        [0.0, 0.1, 0.3, 0.4],  # too few to be called rounded
        np.round(INDEX * 1.3),
        np.r_[0:20, 21:30] * 0.5,  # one is missing
    ],
)
def test_uneven_coordinates_are_kept(values: Any) -> None:
    axis = axis_of("kx", "1/Å", values, len(values))
    assert axis.units == "1/Å"
    np.testing.assert_array_equal(axis.values, values)


@pytest.mark.parametrize(
    "values",
    [[0, 1, 0, 1], [0, 1, 1, 2], [0, 1, math.nan, 3], [7, 7, 7, 7], [-1.7e308, 0, 1, 1.7e308]],
)
def test_coordinates_that_are_none(values: list[float]) -> None:
    problems = Problems()
    assert axis_of("kx", "1/Å", values, 4, problems) == Axis("kx")
    assert "'kx' neither only rise nor only fall" in problems[0].message


@pytest.mark.parametrize("values", [[], [0, 0, 0, 0], [1, 2, 3]])
def test_no_coordinates(values: list[float]) -> None:
    problems = Problems()
    assert axis_of("kx", "1/Å", values, 4, problems) == Axis("kx")
    assert not problems


def test_edges() -> None:
    assert axis_of("kx", "nm", [0.0, 0.5, 1.0, 1.5, 2.0], 4) == Axis("kx", "nm", 0.5, 0.25)


def test_parts_of_an_uneven_axis() -> None:
    axis = Axis("x", "nm", values=np.array([0.0, 1.0, 5.0, 6.0]))
    assert axis.cut(1, 2).values.tolist() == [1, 5]  # type: ignore[union-attr]
    assert axis.cut(0, 5) == Axis("x")  # another number of positions: whatever they are
    assert axis.cut(0, 5).values is None
    assert axis.centred(1.5).values.tolist() == [-3, -2, 2, 3]  # type: ignore[union-attr]
    assert Axis("x", "nm", 0.5, 1.0).cut(2, 9) == Axis("x", "nm", 0.5, 2.0)


# ---------------------------------------------------------------- written, and read again


def uneven_signal() -> dict[str, Any]:
    """A scan, of which neither lines nor columns of the pattern are evenly spaced."""
    steps = [("y", "nm", True, 3), ("x", "nm", True, 4), ("ky", "1/nm", False, 16)]
    axes: list[dict[str, Any]] = [
        {"name": n, "units": u, "navigate": nav, "size": size, "scale": 0.5, "offset": 0.0}
        for n, u, nav, size in (*steps, ("kx", "1/nm", False, 16))
    ]
    for i, values in ((0, [0.0, 1.0, 5.0]), (3, (np.arange(16.0) ** 2).tolist())):
        del axes[i]["scale"], axes[i]["offset"]
        axes[i]["axis"] = np.array(values)
    for i, axis in enumerate(axes):
        axis["index_in_array"] = i
    data = np.arange(3 * 4 * 16 * 16, dtype="u2").reshape(3, 4, 16, 16)
    return {"data": data, "axes": axes, "metadata": {}, "original_metadata": {}}


@pytest.mark.parametrize("suffix", ["h5", "raw"])
def test_uneven_axes_are_kept(tmp_path: Path, suffix: str) -> None:
    writer = {"h5": rsciio_tem.hdf5, "raw": rsciio_tem.raw}[suffix]
    writer.file_writer(tmp_path / f"a.{suffix}", uneven_signal())
    (signal,) = rsciio_tem.load(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(signal["data"], uneven_signal()["data"])
    y, x, ky, kx = signal["axes"]
    assert (y["units"], list(y["axis"])) == ("nm", [0, 1, 5])
    assert (kx["units"], list(kx["axis"])) == ("1/nm", (np.arange(16) ** 2).tolist())
    assert (x["units"], x["scale"], ky["units"], ky["scale"]) == ("nm", 0.5, "1/nm", 0.5)


def test_uneven_axes_that_a_format_cannot_hold(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rsciio_tem.mrc.file_writer(tmp_path / "a.mrc", uneven_signal())
    messages = "\n".join(str(w.message) for w in caught)
    assert "coordinates of axis 'kx' are uneven, which an MRC file cannot hold" in messages
    (signal,) = rsciio_tem.load(tmp_path / "a.mrc")
    assert [(a["scale"], a["units"]) for a in (signal["axes"][-1],)] == [(1, None)]


@pytest.mark.parametrize("suffix", ["mrc", "tvips", "blo"])
def test_hyperspy_saves_uneven_axes(tmp_path: Path, suffix: str) -> None:
    """It does not tell the size of such an axis."""
    hs = pytest.importorskip("hyperspy.api", reason="HyperSpy is not installed")
    rsciio_tem.raw.file_writer(tmp_path / "a.raw", uneven_signal())
    signal = hs.load(tmp_path / "a.toml", file_format="TEM-raw")
    assert "size" not in signal.axes_manager._get_axes_dicts()[0]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rsciio_tem.readers.module_for(suffix).file_writer(
            tmp_path / f"b.{suffix}", signal._to_dictionary()
        )
    reduced = rsciio_tem.reduce(signal._to_dictionary(), what=("sum",), progress=False)
    np.testing.assert_array_equal(reduced["sum"], signal.data.sum((0, 1)))
    assert "axis 'kx' are uneven" in "\n".join(str(w.message) for w in caught)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = f"b_000.{suffix}" if suffix == "tvips" else f"b.{suffix}"
        (again,) = rsciio_tem.load(tmp_path / name)
    np.testing.assert_array_equal(again["data"].reshape(signal.data.shape), signal.data)


def test_centre_of_an_uneven_axis(tmp_path: Path) -> None:
    rsciio_tem.raw.file_writer(tmp_path / "a.raw", uneven_signal())
    (signal,) = rsciio_tem.load(tmp_path / "a.raw", centre=(3, 8))
    assert signal["axes"][3]["axis"][:4].tolist() == [-9, -8, -5, 0]
    assert signal["axes"][2]["offset"] == -4
