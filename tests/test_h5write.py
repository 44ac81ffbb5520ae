# SPDX-License-Identifier: GPL-3.0-or-later
"""HDF5 files that we write, read by h5py and by those they are made for."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

import rsciio_tem
from rsciio_tem.writing import hdf5, stream
from rsciio_tem.writing.hdf5 import Hdf5
from rsciio_tem.writing.signal_frames import SignalFrames

DATA = np.random.default_rng(1).poisson(2, (5, 6, 20, 28)).astype("u2")

COMPRESSIONS = {
    "bitshuffle-lz4": "bitshuffle-lz4",
    "gzip": "gzip",
    "none": "none",
    "blosc": dict(hdf5plugin.Blosc(cname="zstd")),
    "lzf": {"compression": "lzf", "shuffle": True, "fletcher32": True},
}


def signal_of(data: Any) -> dict[str, Any]:
    n_nav = data.ndim - 2
    axes = [
        {
            "name": name,
            "size": size,
            "navigate": i < n_nav,
            "scale": 0.5,
            "offset": -1.0,
            "units": "nm" if i < n_nav else "1/Å",
        }
        for i, (size, name) in enumerate(zip(data.shape, "tyxvu"[-data.ndim :], strict=True))
    ]
    metadata = {"General": {"title": "Grän"}}
    return {"data": data, "axes": axes, "metadata": metadata, "original_metadata": {"a": {"b": 1}}}


def write(path: Path, data: Any, *, verify: bool = True, **options: Any) -> Path:
    frames = SignalFrames.of(signal_of(data), "hdf5")
    options = {"group": "datacube", **options}
    stream.write(Hdf5(str(path), frames, **options), frames, path, verify=verify)
    return path


@pytest.mark.parametrize("layout", ["emd", "hexrd"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("chunk_rows", [0, 1, 7, 20])
def test_every_compression(tmp_path: Path, layout: Any, compression: str, chunk_rows: int) -> None:
    options = {"layout": layout, "chunk_rows": chunk_rows}
    path = write(tmp_path / "a.h5", DATA, compression=COMPRESSIONS[compression], **options)
    with h5py.File(path) as file:
        data = file["datacube_root/datacube/data" if layout == "emd" else "datacube/data"]
        assert data.shape == (DATA.shape if layout == "emd" else (30, 20, 28))
        np.testing.assert_array_equal(data[()].reshape(DATA.shape), DATA)
        if compression == "none":
            assert data.chunks is None
        elif layout == "hexrd":
            assert data.chunks == (1, chunk_rows or 20, 28)


@pytest.mark.parametrize("dtype", ["u1", ">u2", "i4", "f4", ">f8", "c8", "bool"])
@pytest.mark.parametrize("compression", ["bitshuffle-lz4", "gzip", "none"])
def test_pixel_types(tmp_path: Path, dtype: str, compression: Any) -> None:
    data = DATA.astype(dtype)
    path = write(tmp_path / "a.h5", data, compression=compression)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["datacube_root/datacube/data"][()], data)


@pytest.mark.parametrize("shape", [(20, 28), (7, 20, 28), (2, 3, 4, 5, 6), (3, 211, 2, 2)])
def test_any_number_of_scan_axes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = np.arange(np.prod(shape), dtype="u4").reshape(shape)
    path = write(tmp_path / "a.h5", data)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["datacube_root/datacube/data"][()], data)


def test_small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BLOCK", 3 * DATA[0, 0].nbytes)
    monkeypatch.setattr(hdf5, "_CHUNK", 3 * DATA[0, 0].nbytes)
    path = write(tmp_path / "a.h5", DATA)
    with h5py.File(path) as file:
        data = file["datacube_root/datacube/data"]
        assert data.chunks == (1, 3, 20, 28)
        np.testing.assert_array_equal(data[()], DATA)


def test_same_bytes_each_time(tmp_path: Path) -> None:
    for compression in ("bitshuffle-lz4", "none"):
        a = write(tmp_path / f"a{compression}.h5", DATA, compression=compression)
        first = a.read_bytes()
        a.unlink()
        write(a, DATA, compression=compression)
        assert a.read_bytes() == first


@pytest.fixture
def py4dstem() -> Iterator[Any]:
    """Classes of the names that py4DSTEM gives to what emdfile reads."""
    emdfile = pytest.importorskip("emdfile")
    module = types.ModuleType("stand_in_for_py4dstem")
    module._emd_hook = True  # type: ignore[attr-defined]
    for name, base in (("DataCube", emdfile.Array), ("Calibration", emdfile.Metadata)):
        setattr(module, name, type(name, (base,), {"__module__": module.__name__}))
    sys.modules[module.__name__] = module
    yield emdfile
    del sys.modules[module.__name__]


def test_opens_with_emdfile(tmp_path: Path, py4dstem: Any) -> None:
    path = write(tmp_path / "a.h5", DATA)
    cube = py4dstem.read(str(path), emdpath="datacube_root/datacube")
    assert type(cube).__name__ == "DataCube"
    np.testing.assert_array_equal(cube.data, DATA)
    assert list(cube.dim_names) == ["y", "x", "v", "u"]
    assert list(cube.dim_units) == ["nm", "nm", "A^-1", "A^-1"]
    np.testing.assert_allclose(cube.dims[1], -1 + 0.5 * np.arange(6))
    calibration = cube.root.metadata["calibration"]
    assert calibration["Q_pixel_size"] == 0.5
    assert calibration["Q_pixel_units"] == "A^-1"
    assert calibration["R_pixel_units"] == "nm"


def test_metadata_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", DATA)
    with h5py.File(path) as file:
        kept = file["datacube_root/rsciio_tem"]
        assert json.loads(kept["metadata"][()])["General"]["title"] == "Grän"
        assert json.loads(kept["original_metadata"][()]) == {"a": {"b": 1}}


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zip"},
        {"compression": "gzip", "gzip": 10},
        {"layout": "nexus"},
        {"chunk_rows": 21},
        {"group": "/"},
    ],
)
def test_refused_before_anything_is_written(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        write(tmp_path / "a.h5", DATA, **options)
    assert list(tmp_path.iterdir()) == []


def test_convert_and_load_again(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    rsciio_tem.convert(signal_of(DATA), path, verify=True)
    assert rsciio_tem.detect(path)[0].format == "hdf5"
    for lazy in (True, False):
        (signal,) = rsciio_tem.load(path, lazy=lazy)
        np.testing.assert_array_equal(np.asarray(signal["data"]), DATA)
        assert [a["scale"] for a in signal["axes"]] == [0.5] * 4
        assert [a["offset"] for a in signal["axes"]] == [-1.0] * 4
        assert [a["navigate"] for a in signal["axes"]] == [True, True, False, False]
    hs = pytest.importorskip("hyperspy.api")
    assert hs.load(path, lazy=True).axes_manager.navigation_shape == (6, 5)


def test_hexrd_group(tmp_path: Path) -> None:
    data = DATA[0]
    signal = signal_of(data)
    omega = np.stack([np.arange(6) * 0.25, np.arange(1, 7) * 0.25], axis=1)
    signal["original_metadata"] = {"omega": omega, "panel": "ff1", "deep": {"a": [1, 2]}, "n": 3}
    path = tmp_path / "a.h5"
    rsciio_tem.convert(signal, path, layout="hexrd", gzip=4, chunk_rows=5)
    with h5py.File(path) as file:
        group = file["imageseries"]
        np.testing.assert_array_equal(group["images"][()], data)
        assert group["images"].chunks == (1, 5, 28)
        assert group["images"].compression_opts == 4
        np.testing.assert_array_equal(group.attrs["omega"], omega)
        assert group.attrs["panel"] == "ff1"
        assert json.loads(group.attrs["deep"]) == {"a": [1, 2]}
    (back,) = rsciio_tem.load(path)
    np.testing.assert_array_equal(back["data"], data)
    assert back["axes"][0]["name"] == "omega"
    assert back["axes"][0]["scale"] == 0.25


def test_eight_thousand_angles(tmp_path: Path) -> None:
    """hexrd's own writer fails at 4091: old HDF5 files limit attributes to 64 KiB."""
    data = np.zeros((8000, 2, 2), "u1")
    signal = signal_of(data)
    omega = np.arange(8000)[:, None] * 0.01 + [0, 0.01]
    path = tmp_path / "a.h5"
    rsciio_tem.convert(signal, path, layout="hexrd", omega=omega)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["imageseries"].attrs["omega"], omega)
