# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays in memory, in HDF5 and zarr, and of dask, arranged as readers arrange files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest

import rsciio_tem
from rsciio_tem.errors import FormatError, RecordingWarning, Unsupported

SHAPE = (3, 4, 6, 10)


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 1000, SHAPE).astype("u2")


def arrange(array: Any, **options: Any) -> dict[str, Any]:
    (signal,) = rsciio_tem.from_array(array, **options)
    return signal


def computed(signal: dict[str, Any]) -> np.ndarray:
    data = signal["data"]
    return data.compute() if isinstance(data, da.Array) else data


# -- kinds of arrays -----------------------------------------------------------------------------


def test_numpy(array: np.ndarray) -> None:
    signal = arrange(array, title="a scan")
    assert isinstance(signal["data"], np.ndarray)
    np.testing.assert_array_equal(signal["data"], array)
    assert [axis["navigate"] for axis in signal["axes"]] == [True, True, False, False]
    assert signal["metadata"]["General"]["title"] == "a scan"
    assert isinstance(arrange(array, lazy=True)["data"], da.Array)
    np.testing.assert_array_equal(arrange(array.tolist())["data"], array)


@pytest.mark.parametrize("dtype", [">u2", ">i4", "<f4", ">f8", "?", ">c8"])
def test_types(array: np.ndarray, dtype: str) -> None:
    given = array.astype(dtype)
    if np.dtype(dtype).kind in "if":
        given = -given
    for lazy in (False, True):
        signal = arrange(given, lazy=lazy)
        assert signal["data"].dtype == given.dtype.newbyteorder("=")
        np.testing.assert_array_equal(computed(signal), given)


def test_views(array: np.ndarray) -> None:
    for view in (
        np.asfortranarray(array),
        array[::-1, ::2, 1:, ::-3],
        np.broadcast_to(array[0, 0], (5, 2, 6, 10)),
        array.transpose(1, 0, 3, 2),
    ):
        for options in ({}, {"lazy": True}, {"nav_shape": (-1,), "first_frame": 1}):
            expected = view.reshape(-1, *view.shape[2:])[1:] if "nav_shape" in options else view
            np.testing.assert_array_equal(computed(arrange(view, **options)), expected)


def test_memory_map(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    np.testing.assert_array_equal(computed(arrange(mapped)), array)


@pytest.mark.parametrize("chunks", [None, (1, 4, 3, 10), (3, 4, 2, 5)])
def test_hdf5(tmp_path: Path, array: np.ndarray, chunks: Any) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("data", data=array, chunks=chunks)
        np.testing.assert_array_equal(computed(arrange(data)), array)
        lazy = arrange(data, lazy=True, nav_shape=(2, 5), sync_offset=1)["data"]
        expected = array.reshape(12, 6, 10)[1:11].reshape(2, 5, 6, 10)
        np.testing.assert_array_equal(lazy.compute(scheduler="sync"), expected)
        np.testing.assert_array_equal(
            lazy[1, 2, 3:, ::4].compute(scheduler="sync"), expected[1, 2, 3:, ::4]
        )
        with pytest.raises(ValueError, match=r"cannot be cut anew .*dask\.array\.from_array"):
            arrange(data, sig_shape=(60,))


def test_closed_hdf5(tmp_path: Path, array: np.ndarray) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("data", data=array)
        lazy = arrange(data, lazy=True)["data"]
    for read in (arrange, rsciio_tem.reduce, rsciio_tem.load, lambda _: lazy.compute()):
        with pytest.raises(ValueError, match="Dataset cannot be read, because its file was closed"):
            read(data)


def test_zarr(array: np.ndarray) -> None:
    zarr = pytest.importorskip("zarr")
    data = zarr.array(array, chunks=(1, 2, 6, 10))
    for options in ({}, {"lazy": True}):
        np.testing.assert_array_equal(computed(arrange(data, **options)), array)


# -- dask ----------------------------------------------------------------------------------------


class Counter:
    """A source that counts its loads by block."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.loads = array, []

    def dask(self, chunks: Any) -> Any:
        def load(block_info: Any = None) -> np.ndarray:
            where = block_info[None]["array-location"]
            self.loads.append(tuple(where))
            return self.array[tuple(slice(a, b) for a, b in where)]

        chunks = da.core.normalize_chunks(chunks, self.array.shape)
        return da.map_blocks(load, chunks=chunks, dtype=self.array.dtype, meta=np.empty(0, "u2"))


@pytest.mark.parametrize(
    ("options", "index"),
    [
        ({}, np.arange(12).reshape(3, 4)),
        ({"nav_shape": (4, 3)}, np.arange(12).reshape(4, 3)),
        ({"navigation_shape": (3, 2), "first_frame": 2}, np.arange(2, 8).reshape(2, 3)),
        ({"nav_shape": (2, 5), "sync_offset": 1}, np.arange(1, 11).reshape(2, 5)),
        ({"nav_shape": (3, 4), "sync_offset": -2}, np.arange(-2, 10).reshape(3, 4)),
        ({"nav_shape": (3, 4), "snake": True}, [[0, 1, 2, 3], [7, 6, 5, 4], [8, 9, 10, 11]]),
        ({"roi": [5, 0, 7]}, [5, 0, 7]),
        ({"roi": (np.array([0, 2]), np.array([1, 3]))}, [1, 11]),
    ],
    ids=str,
)
@pytest.mark.parametrize("chunks", [(1, 2, 6, 10), (3, 1, 2, 5), (2, 4, 6, 10)], ids=str)
@pytest.mark.parametrize("lazy", [None, False])
def test_dask(
    array: np.ndarray, options: dict[str, Any], index: Any, chunks: Any, lazy: Any
) -> None:
    index = np.asarray(index)
    expected = array.reshape(12, 6, 10)[index]
    expected[index < 0] = 0
    signal = arrange(da.from_array(array, chunks=chunks), lazy=lazy, **options)
    assert isinstance(signal["data"], da.Array) == (lazy is None)
    np.testing.assert_array_equal(computed(signal), expected)
    assert [axis["size"] for axis in signal["axes"]] == list(expected.shape)


def test_dask_computes_nothing_early_and_each_block_once(array: np.ndarray) -> None:
    source = Counter(array)
    data = source.dask((1, 2, 6, 10))
    source.loads.clear()
    signal = arrange(data, nav_shape=(2, 5), sync_offset=1)
    assert source.loads == []
    with dask.config.set(scheduler="sync"):
        np.testing.assert_array_equal(signal["data"][0, 0].compute(), array.reshape(12, 6, 10)[1])
        assert source.loads == [((0, 1), (0, 2), (0, 6), (0, 10))]
        source.loads.clear()
        signal["data"].sum().compute()
    assert len(source.loads) == len(set(source.loads)) == 6


def test_dask_blanks_are_blocks_of_their_own(array: np.ndarray) -> None:
    data = da.from_array(array, chunks=(1, 4, 6, 10))
    signal = arrange(data, nav_shape=(5, 4), sync_offset=-8, fill_value=7)
    expected = np.full((20, 6, 10), 7, "u2")
    expected[8:] = array.reshape(12, 6, 10)
    np.testing.assert_array_equal(signal["data"].compute(), expected.reshape(5, 4, 6, 10))


def test_dask_casts(array: np.ndarray) -> None:
    data = da.from_array(array, chunks=(1, 2, 6, 10))
    signal = arrange(data, dtype="float32")
    assert signal["data"].dtype == np.float32
    np.testing.assert_array_equal(signal["data"].compute(), array)
    with pytest.raises(FormatError, match="do not fit into uint8"):
        arrange(data, dtype="uint8")["data"].compute()


def test_dask_of_unknown_size(array: np.ndarray) -> None:
    data = da.from_array(array.reshape(12, 6, 10), chunks=(3, 6, 10))
    data = data[data.sum(axis=(1, 2)) > 0]
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        arrange(data)
    np.testing.assert_array_equal(
        computed(arrange(data.compute_chunk_sizes())), array.reshape(12, 6, 10)
    )


# -- scan and frame ------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [np.asarray, lambda a: da.from_array(a, chunks=2)])
@pytest.mark.parametrize(
    ("options", "shape", "n_nav"),
    [
        ({"sig_dims": 1}, (3, 4, 6, 10), 3),
        ({"sig_dims": 3}, (3, 4, 6, 10), 1),
        ({"sig_dims": 4}, (3, 4, 6, 10), 0),
        ({"sig_shape": (60,)}, (12, 60), 1),
        ({"sig_shape": (10, 6), "nav_shape": (4, 3)}, (4, 3, 10, 6), 2),
        ({"sig_shape": (6, 10)}, (3, 4, 6, 10), 2),
        ({"sig_shape": (4, 6, 10), "sig_dims": 3}, (3, 4, 6, 10), 1),
        ({"navigation_shape": (-1, 6)}, (6, 2, 6, 10), 2),
    ],
    ids=str,
)
def test_division(
    array: np.ndarray, make: Any, options: dict[str, Any], shape: tuple[int, ...], n_nav: int
) -> None:
    signal = arrange(make(array), **options)
    np.testing.assert_array_equal(computed(signal), array.reshape(shape))
    assert sum(axis["navigate"] for axis in signal["axes"]) == n_nav


@pytest.mark.parametrize(
    ("given", "options", "error", "message"),
    [
        (np.zeros((3, 4)), {"sig_dims": 3}, ValueError, "sig_dims=3 for an array with 2 axes"),
        (np.zeros((3, 4)), {"sig_dims": 0}, ValueError, "sig_dims=0"),
        (
            np.zeros((3, 4)),
            {"sig_shape": (5,)},
            ValueError,
            r"does not divide into frames of \(5,\)",
        ),
        (np.zeros((3, 4), object), {}, ValueError, "object are not numbers"),
        (np.zeros((3, 4), "S3"), {}, ValueError, "are not numbers"),
        (np.zeros((3, 4), "M8[s]"), {}, ValueError, "are not numbers"),
        (np.zeros((3, 4), "u2,u2"), {}, ValueError, "are not numbers"),
        (np.zeros((0, 3, 4)), {}, FormatError, "select nothing from 0 stored frames"),
        (np.zeros((2, 3, 4)), {"first_frame": 2}, FormatError, "select nothing"),
        (np.zeros((2, 3, 4)), {"roi": [2]}, ValueError, "roi has positions outside"),
        (np.zeros((2, 3, 4)), {"roi": []}, ValueError, "roi selects no position"),
        (np.zeros((2, 3, 4)), {"roi": np.ones(3, bool)}, ValueError, r"roi has shape \(3,\)"),
        (np.zeros((2, 3, 4)), {"nav_shape": (5, 5), "missing": "raise"}, FormatError, "23 of 25"),
        (np.zeros((2, 3, 4)), {"io_backend": "mmap"}, Unsupported, "io_backend .* no meaning"),
        (np.zeros((2, 3, 4)), {"flip_y": True}, Unsupported, "flip_y have no meaning"),
        (np.zeros((2, 3, 4)), {"sync_ofset": 1}, TypeError, "did you mean 'sync_offset'"),
        (np.zeros((2, 3, 4), "u1"), {"fill_value": 300}, ValueError, "300 does not fit into uint8"),
    ],
    ids=str,
)
def test_impossible_arrangements(
    given: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        arrange(given, **options)


def test_roi_of_another_shape_than_the_array(array: np.ndarray) -> None:
    """IndexError in LiberTEM."""
    roi = np.zeros((4, 3), bool)
    roi[1, 2] = roi[3, 0] = True
    signal = arrange(array, nav_shape=(4, 3), roi=roi)
    np.testing.assert_array_equal(signal["data"], array.reshape(12, 6, 10)[[5, 9]])
    assert signal["original_metadata"]["rsciio_tem"]["roi_flat_index"].tolist() == [5, 9]


def test_filled_positions_are_told(array: np.ndarray) -> None:
    with pytest.warns(RecordingWarning, match="3 of 15 scan positions were not recorded"):
        signal = arrange(array.astype("f4"), nav_shape=(3, 5), fill_value=np.nan)
    assert np.isnan(signal["data"][2, 2:]).all()
    mask = signal["original_metadata"]["rsciio_tem"]["missing_mask"]
    assert mask.sum() == 3


def test_casts_are_checked(array: np.ndarray) -> None:
    with pytest.raises(FormatError, match=r"do not fit into uint8\. Pass a wider dtype"):
        arrange(array, dtype="uint8")
    assert arrange(array % 256, dtype="uint8")["data"].dtype == np.uint8
    with pytest.raises(TypeError, match="would cut off the fractions"):
        arrange(array / 3, dtype="int32")
