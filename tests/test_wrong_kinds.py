# SPDX-License-Identifier: GPL-3.0-or-later
"""What is passed by mistake: taken where that is clear, else a sentence says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import hyperspy.api as hs
import numpy as np
import pytest
from writers import mib as mib_writer

import rsciio_tem
from rsciio_tem.errors import FormatError


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kinds") / "a.mib"
    frames = np.random.default_rng(3).integers(0, 99, (12, 8, 16)).astype("u2")
    return mib_writer.write_mib(path, frames, 12)


@pytest.mark.parametrize(
    "shape", [(4, 3), [4, 3], np.array([4, 3]), (4.0, 3.0), (np.int32(4), np.float64(12 / 4))]
)
def test_whole_numbers_of_any_type(path: Path, shape: Any) -> None:
    assert rsciio_tem.load(path, navigation_shape=shape)[0]["data"].shape == (3, 4, 8, 16)
    assert rsciio_tem.load(path, nav_shape=shape)[0]["data"].shape == (4, 3, 8, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"navigation_shape": (2.5, 4)}, "navigation_shape must be a whole number, not 2.5"),
        ({"nav_shape": (4, None)}, "nav_shape must be a whole number, not None"),
        ({"nav_shape": (True, 4)}, "nav_shape must be a whole number, not True"),
        ({"nav_shape": float("nan")}, "nav_shape must be a whole number, not nan"),
        ({"nav_shape": float("inf")}, "nav_shape must be a whole number, not inf"),
        ({"nav_shape": "4,3"}, r"nav_shape is whole numbers such as \(48, 40\), not '4,3'"),
        ({"sync_offset": 1.5}, "sync_offset must be a whole number"),
        ({"sync_offset": "1"}, "sync_offset must be a whole number"),
        ({"line_skip": 0.5, "nav_shape": (3, 4)}, "line_skip must be a whole number"),
        ({"first_frame": 1.5}, "first_frame must be a whole number"),
        ({"sig_shape": (7.9, 16)}, "sig_shape must be a whole number"),
        ({"roi": [1.5]}, "roi is a mask, or whole numbers"),
        ({"dtype": "unit16"}, "dtype='unit16' is not a type of numbers"),
    ],
)
def test_numbers_that_are_cut_nowhere(path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        rsciio_tem.load(path, **options)


@pytest.mark.parametrize("call", ["load", "open", "check", "detect"])
def test_first_arguments(path: Path, call: str) -> None:
    function = getattr(rsciio_tem, call)
    for name in (str(path), path, bytes(path), [path]):
        function(name)
    for wrong, message in (
        ([path, path], "one recording, not 2 of them"),
        (None, "the path of a recording, not NoneType"),
        (rsciio_tem.load(path)[0], "is a signal, loaded already"),
        (np.zeros(3), r"not ndarray; rsciio_tem.from_array\(...\) takes arrays"),
    ):
        with pytest.raises(TypeError, match=message):
            function(wrong)
    if call == "check":
        return
    for name, message in (
        ("nothing://bucket/a.mib", "which fsspec does not know|is on a server"),
        (str(path.parent / "*.mib"), r"each name in glob.glob\(\)"),
    ):
        with pytest.raises(FormatError, match=message):
            function(name)


def test_arrays_are_reduced(path: Path) -> None:
    import dask.array as da

    stack = np.asarray(rsciio_tem.load(path)[0]["data"])
    array = stack.reshape(3, 4, *stack.shape[1:])
    for source in (array, da.from_array(array)):
        result = rsciio_tem.reduce(source, masks={"all": np.ones(array.shape[-2:])})
        np.testing.assert_array_equal(result["sum"], array.sum(axis=(0, 1)))
        np.testing.assert_array_equal(result["all"], array.sum(axis=(2, 3)))
    flat = rsciio_tem.reduce(stack, nav_shape=(3, 4))
    np.testing.assert_array_equal(flat["navigator"], array.sum(axis=(2, 3)))


def test_results_show_themselves(path: Path) -> None:
    result = rsciio_tem.reduce(path, ("sum", "com"), functions={"first": lambda block: block[:, 0]})
    frame = result["sum"].shape
    assert repr(result).splitlines() == [
        "Reduced",
        f"  sum: uint64 {frame}, axes ky, kx",
        "  com: float64 (2, 12), axes com, frame",
        f"  first: {result['first'].dtype} (12, {frame[1]}), axes frame, ?",
    ]
    with pytest.raises(KeyError, match="there is no 'navigator', but 'sum', 'com', 'first'"):
        result["navigator"]
    assert result.get("navigator") is None


def test_signals_are_reduced(path: Path) -> None:
    expected = rsciio_tem.reduce(path, what="sum")["sum"]
    signal = hs.load(path, lazy=True)
    for source in (signal, hs.load(path), rsciio_tem.load(path), rsciio_tem.open(path)):
        np.testing.assert_array_equal(rsciio_tem.reduce(source, ["sum"])["sum"], expected)


def test_keywords_of_writers(path: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="did you mean 'compression' of the writer"):
        rsciio_tem.convert(path, tmp_path / "a.h5", compressionn="gzip")
    with pytest.raises(TypeError, match="did you mean 'nav_shape'"):
        rsciio_tem.convert(path, tmp_path / "a.h5", nav_shap=(3, 4))


def test_masked_arrays() -> None:
    """What lies below a mask is not measurement, and is not passed on as one."""
    pixels = np.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    masked = np.ma.masked_greater(pixels, 90)
    with pytest.raises(ValueError, match=r"is masked.*array.filled\(0\)"):
        rsciio_tem.from_array(masked)
    (signal,) = rsciio_tem.from_array(masked.filled(0))
    assert signal["data"].max() == 90
    (signal,) = rsciio_tem.from_array(np.ma.masked_greater(pixels, 9999))
    np.testing.assert_array_equal(signal["data"], pixels, strict=True)
    lazy = da.ma.masked_greater(da.from_array(pixels), 90)
    with pytest.raises(ValueError, match="map_blocks"):
        rsciio_tem.from_array(lazy)
    (signal,) = rsciio_tem.from_array(lazy.map_blocks(np.ma.filled, 0))
    assert signal["data"].compute().max() == 90
