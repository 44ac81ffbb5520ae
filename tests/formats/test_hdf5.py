# SPDX-License-Identifier: GPL-3.0-or-later
"""HDF5: the choice of a data set, known layouts, what goes to RosettaSciIO, errors."""

from __future__ import annotations

import csv
import importlib
import json
import os
import pickle
import shutil
import warnings
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from upstream import needs_rosettasciio
from writers import hdf5 as writer

import rsciio_tem
from rsciio_tem.errors import FormatError, NotThisFormat, RecordingWarning, Truncated, Unsupported
from rsciio_tem.formats import hdf5
from rsciio_tem.formats.hdf5 import meaning
from rsciio_tem.parsing import hdf5_links


def cube(shape: tuple[int, ...] = (3, 4, 6, 10), dtype: str = "u2") -> np.ndarray:
    return np.random.default_rng(7).integers(1, 200, shape).astype(dtype)


def load(path: Any, **options: Any) -> dict[str, Any]:
    (signal,) = hdf5.file_reader(path, **options)
    return signal


def quietly(path: Any, **options: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        return load(path, **options)


def upstream(name: str, path: Path, **options: Any) -> list[dict[str, Any]]:
    reader = importlib.import_module(f"rsciio.{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result: list[dict[str, Any]] = reader.file_reader(str(path), **options)
        return result


def in_libertem(path: Path, **options: Any) -> Any:
    """Open a file with LiberTEM; returns the context and the data set."""
    api = pytest.importorskip("libertem.api")
    context = api.Context.make_with("inline")
    return context, context.load("hdf5", str(path), **options)


def by_libertem(path: Path, **options: Any) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context, data = in_libertem(path, **options)
        from libertem.udf.raw import PickUDF

        shape = tuple(data.shape)
        nav = shape[: len(shape) - data.shape.sig.dims]
        picked = context.run_udf(data, PickUDF(), roi=np.ones(nav, bool))
    return np.array(picked["intensity"].data).reshape(shape)


def axes(signal: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (a["name"], a["units"], round(a["scale"], 9), round(a["offset"], 9), a["navigate"])
        for a in signal["axes"]
    ]


def chosen(signal: dict[str, Any]) -> str:
    name: str = signal["original_metadata"]["hdf5"]["dataset"]
    return name


# ---------------------------------------------------------------- any data set


@pytest.mark.parametrize("name", ["deep/inside", "/deep/inside", "deep/inside/"])
@pytest.mark.parametrize("keyword", ["dataset", "ds_path", "dataset_path"])
def test_any_data_set_by_path(tmp_path: Path, name: str, keyword: str) -> None:
    array, other = cube(), cube((2, 3, 50, 60))
    path = writer.write_array(tmp_path / "a.h5", array, "deep/inside", other=other)
    assert chosen(load(path)) == "other"
    signal = load(path, **{keyword: name})
    np.testing.assert_array_equal(signal["data"], array, strict=True)
    assert signal["original_metadata"]["hdf5"]["layout"] == "unknown"


def test_group_by_path(tmp_path: Path) -> None:
    array = cube()
    path = writer.write_array(tmp_path / "a.h5", array, "deep/in/side", other=cube((2, 3, 50, 60)))
    assert chosen(load(path, dataset="deep")) == "deep/in/side"


def test_names_of_the_same_thing(tmp_path: Path) -> None:
    path = writer.write_array(tmp_path / "a.h5", cube())
    with pytest.raises(TypeError, match="mean the same"):
        load(path, dataset="data", ds_path="data")
    with pytest.raises(TypeError, match="mean the same"):
        load(path, dataset="data", dataset_path=["data"])


def test_several_data_sets(tmp_path: Path) -> None:
    one, two = cube(), cube((2, 6, 8))
    path = writer.write_array(tmp_path / "a.h5", one, "one", two=two)
    signals = hdf5.file_reader(path, dataset_path=["two", "one"])
    np.testing.assert_array_equal(signals[0]["data"], two)
    np.testing.assert_array_equal(signals[1]["data"], one)


@pytest.mark.parametrize("sig_dims", [1, 2, 3, 4])
def test_sig_dims(tmp_path: Path, sig_dims: int) -> None:
    array = cube()
    path = writer.write_array(tmp_path / "a.h5", array)
    for lazy in (False, True):
        signal = load(path, sig_dims=sig_dims, lazy=lazy)
        np.testing.assert_array_equal(np.asarray(signal["data"]), array)
        assert [a["navigate"] for a in signal["axes"]].count(False) == sig_dims


@pytest.mark.parametrize("sig_dims", [0, 5, -1])
def test_sig_dims_that_there_are_not(tmp_path: Path, sig_dims: int) -> None:
    path = writer.write_array(tmp_path / "a.h5", cube())
    with pytest.raises(FormatError, match="sig_dims"):
        load(path, sig_dims=sig_dims)


@pytest.mark.parametrize("chunks", [None, (1, 4, 60)])
def test_sig_shape(tmp_path: Path, chunks: tuple[int, ...] | None) -> None:
    """LiberTEM and py4DSTEM cannot reshape frames that are stored as lines."""
    array = cube((3, 4, 60))
    path = writer.write_array(tmp_path / "a.h5", array, chunks=chunks)
    for lazy in (False, True):
        data = np.asarray(load(path, sig_shape=(6, 10), lazy=lazy)["data"])
        np.testing.assert_array_equal(data, array.reshape(3, 4, 6, 10))
    with pytest.raises(FormatError, match="no axes at its end make frames"):
        load(path, sig_shape=(7, 9))


@pytest.mark.parametrize("chunks", [None, (3, 2, 3, 4)])
def test_detector_axes_first(tmp_path: Path, chunks: tuple[int, ...] | None) -> None:
    array = cube((6, 10, 3, 4))
    path = writer.write_array(tmp_path / "a.h5", array, chunks=chunks)
    for lazy in (False, True):
        data = np.asarray(load(path, sig_first=True, lazy=lazy)["data"])
        np.testing.assert_array_equal(data, array.transpose(2, 3, 0, 1))


def test_contiguous_data_are_mapped_in_place(tmp_path: Path) -> None:
    array = cube()
    path = writer.write_array(tmp_path / "a.h5", array, userblock=1024)
    mapped = load(path, mmap_mode="r")["data"]
    assert not mapped.flags.owndata
    assert not mapped.flags.writeable
    np.testing.assert_array_equal(mapped, array)


def test_nothing_is_tied_to_an_open_handle(tmp_path: Path) -> None:
    """Graphs pickle small, and processes that never saw the file compute them."""
    array = cube((7, 5, 6, 10))
    for path in (
        writer.write_array(tmp_path / "plain.h5", array),
        writer.write_array(
            tmp_path / "packed.h5", array, chunks=(1, 1, 6, 10), compression="bslz4"
        ),
        writer.write_py4dstem(tmp_path / "py4dstem.h5", array.astype("f4")),
    ):
        data = load(path, lazy=True, chunks=(2, 5))["data"]
        assert len(pickle.dumps(data)) < 30_000
        np.testing.assert_array_equal(data.compute(scheduler="processes"), array)


def test_large_file_is_described_by_its_headers(tmp_path: Path) -> None:
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        # never written, so that it takes no space: HDF5 shows zeros
        file.create_dataset("frames", (1000, 1000, 256, 256), "u2", chunks=(1, 8, 256, 256))
    signal = load(path, lazy=True)
    assert signal["data"].shape == (1000, 1000, 256, 256)
    assert not signal["data"][999, 999].compute().any()


# ---------------------------------------------------------------- links


def test_soft_links_and_circles(tmp_path: Path) -> None:
    """A group that contains itself is entered once; what is there gets its proper path."""
    array = cube()
    path = writer.write_soft_links(tmp_path / "a.h5", array)
    with pytest.warns(RecordingWarning, match="links lead nowhere, the first of them nowhere to"):
        signal = load(path)
    assert chosen(signal) == "deep/inside/frames"
    np.testing.assert_array_equal(signal["data"], array)
    for name in ("short", "deep/again/again/inside/frames"):
        np.testing.assert_array_equal(load(path, dataset=name)["data"], array)
    with pytest.raises(FormatError, match=r"it is a link to /not/there, which is not there"):
        load(path, dataset="nowhere")


def test_external_link(tmp_path: Path) -> None:
    array = cube()
    path = writer.write_external_link(tmp_path / "a.h5", array)
    for lazy in (False, True):
        signal = load(path, lazy=lazy)
        np.testing.assert_array_equal(np.asarray(signal["data"]), array)
    assert chosen(signal) == "linked"
    named = signal["original_metadata"]["rsciio_tem"]["files"]
    assert [Path(f).name for f in named] == ["a.h5", "elsewhere.h5"]


def test_external_link_that_leads_nowhere(tmp_path: Path) -> None:
    path = writer.write_external_link(tmp_path / "a.h5", cube())
    (tmp_path / "elsewhere.h5").unlink()
    with pytest.raises(FormatError, match=r"linked -> elsewhere.h5:/entry/frames") as caught:
        load(path)
    assert "beside it" in caught.value.hint


def test_circle_of_external_links(tmp_path: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        with h5py.File(tmp_path / f"{one}.h5", "w") as file:
            file["other"] = h5py.ExternalLink(f"{other}.h5", "/")
    with pytest.raises(FormatError, match="no array of numbers"):
        load(tmp_path / "a.h5")


def test_virtual_data_set(tmp_path: Path) -> None:
    array = cube()
    path = writer.write_virtual(tmp_path / "a.h5", array)
    for lazy in (False, True):
        np.testing.assert_array_equal(np.asarray(load(path, lazy=lazy)["data"]), array)


def test_virtual_data_set_with_lost_files(tmp_path: Path) -> None:
    """HDF5 itself, and so h5py and LiberTEM, shows zeros in place of missing files."""
    path = writer.write_virtual(tmp_path / "a.h5", cube())
    (tmp_path / "piece1.h5").unlink()
    with h5py.File(path) as file:
        assert not file["whole"][-1].any()
    with pytest.raises(FormatError, match=r"piece1\.h5"):
        load(path)


def test_very_many_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5_links, "_MOST_LINKS", 50)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = cube()
        for i in range(60):
            file.create_group(f"group{i}/inner")
    with pytest.warns(RecordingWarning, match="only the first"):
        assert chosen(load(tmp_path / "a.h5")) == "cube"


# ---------------------------------------------------------------- choice


def test_choice_names_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = writer.write_array(tmp_path / "a.h5", cube(), mean=cube((60, 80)), stack=cube((5, 6, 9)))
    with caplog.at_level("INFO", logger="rsciio_tem"):
        signal = load(path)
    assert chosen(signal) == "data"
    others = ["stack (5 x 6 x 9, uint16)", "mean (60 x 80, uint16)"]
    assert signal["original_metadata"]["hdf5"]["others"] == others
    assert "is read, not stack" in caplog.text


def test_equal_choices_are_told(tmp_path: Path) -> None:
    path = writer.write_array(tmp_path / "a.h5", cube(), "b", a=cube())
    with pytest.warns(RecordingWarning, match=r"several arrays.*a \(3 x 4 x 6 x 10.*not b"):
        assert chosen(load(path)) == "a"


def test_named_data_set_is_not_told_of_others(tmp_path: Path) -> None:
    path = writer.write_array(tmp_path / "a.h5", cube(), "b", a=cube())
    assert chosen(load(path, dataset="b")) == "b"


@pytest.mark.parametrize(
    ("ranked", "wanted"),
    [
        ({"a": (3, 4, 6, 8), "b": (100, 60, 80)}, "a"),
        ({"a": (5, 60, 80), "b": (600, 800)}, "a"),
        ({"a": (2, 2, 3, 4, 6, 8), "b": (3, 4, 6, 8)}, "b"),
        ({"a": (5, 6, 8), "b": (5, 6, 9)}, "b"),
        ({"a/images": (5, 6, 8), "b": (50, 60, 80)}, "a/images"),
        ({"a/images": (5, 6, 8), "b": (3, 4, 60, 80)}, "a/images"),
    ],
)
def test_ranking(tmp_path: Path, ranked: dict[str, tuple[int, ...]], wanted: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, shape in ranked.items():
            file[name] = np.zeros(shape, "u1")
    assert chosen(quietly(tmp_path / "a.h5")) == wanted


def test_empty_arrays_and_text_are_no_candidates(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["empty"] = np.zeros((0, 5, 6, 7))
        file["text"] = np.array([[b"a", b"b"]] * 3)
        file["nothing"] = h5py.Empty("f4")
        file["vector"] = np.zeros(5)
    with pytest.raises(FormatError, match=r"no array of numbers.*vector \(5,\)"):
        load(path)
    for name, why in (
        ("empty", "is empty"),
        ("text", "holds no array of numbers"),
        ("nothing", "is empty"),
        ("vector", "holds no array"),
        ("missing", "has no data set"),
        ("/", "no array in it"),
        ("text/below", "has no data set"),
    ):
        with pytest.raises(FormatError, match=why):
            load(path, dataset=name)


def test_errors_list_what_there_is(tmp_path: Path) -> None:
    path = writer.write_array(tmp_path / "a.h5", cube(), "deep/inside")
    with pytest.raises(FormatError, match=r"There are: deep/inside \(3 x 4 x 6 x 10, uint16\)"):
        load(path, dataset="deep/outside")


# ---------------------------------------------------------------- layouts


DIMS = [("scan_y", "[n_m]", 5.0, 2.0), ("scan_x", "[n_m]", 0.0, 0.5), ("ky", "[n_m^-1]", -3.0, 0.1),
        ("kx", "1/nm", -5.0, 0.2)]  # fmt: skip


def test_emd(tmp_path: Path) -> None:
    array = cube()
    path = writer.write_emd(tmp_path / "a.emd", array, DIMS)
    signal = load(path)
    np.testing.assert_array_equal(signal["data"], array, strict=True)
    assert axes(signal) == [
        ("scan_y", "nm", 2.0, 5.0, True),
        ("scan_x", "nm", 0.5, 0.0, True),
        ("ky", "1/nm", 0.1, -3.0, False),
        ("kx", "1/nm", 0.2, -5.0, False),
    ]
    original = signal["original_metadata"]
    assert original["EMD_version"] == "0.2"
    assert original["microscope"] == {"high tension": 300e3}
    assert signal["metadata"]["Signal"]["signal_type"] == "electron_diffraction"
    np.testing.assert_array_equal(by_libertem(path), array)


def test_emd_by_ncempy(tmp_path: Path) -> None:
    emd = pytest.importorskip("ncempy.io.emd")
    array = cube()
    path = writer.write_emd(tmp_path / "a.emd", array, DIMS)
    with emd.fileEMD(str(path), readonly=True) as file:
        data, dims = file.get_emdgroup(0)
    np.testing.assert_array_equal(data, load(path)["data"])
    assert [d[1] for d in dims] == [a["name"] for a in load(path)["axes"]]


def test_uneven_axis_is_non_uniform(tmp_path: Path) -> None:
    path = writer.write_emd(tmp_path / "a.emd", cube(), DIMS)
    with h5py.File(path, "a") as file:
        file["data/cube/dim1"][...] = [0.0, 1.0, 5.0]
        del file["data/cube/dim2"]
    uneven, missing, *_ = load(path)["axes"]
    assert (uneven["name"], uneven["units"], list(uneven["axis"])) == ("scan_y", "nm", [0, 1, 5])
    assert "scale" not in uneven
    assert (missing["name"], missing["units"], missing["scale"]) == ("x", "", 1.0)


@pytest.mark.parametrize("values", [[0.0, 5.0, 1.0], [0.0, np.nan, 1.0], [2.0, 2.0, 2.0]])
def test_coordinates_that_make_no_axis(tmp_path: Path, values: list[float]) -> None:
    path = writer.write_emd(tmp_path / "a.emd", cube(), DIMS)
    with h5py.File(path, "a") as file:
        file["data/cube/dim1"][...] = values
    with pytest.warns(RecordingWarning, match="coordinates of axis 'scan_y' neither only rise"):
        signal = load(path)
    assert axes(signal)[0] == ("scan_y", "", 1.0, 0.0, True)


def test_hyperspy_shows_an_uneven_axis(tmp_path: Path) -> None:
    hs = pytest.importorskip("hyperspy.api", reason="HyperSpy is not installed")
    path = writer.write_emd(tmp_path / "a.emd", cube(), DIMS)
    with h5py.File(path, "a") as file:
        file["data/cube/dim1"][...] = [0.0, 1.0, 5.0]
    signal = hs.load(path, file_format="TEM-hdf5", lazy=True)
    axis = signal.axes_manager["scan_y"]
    assert not axis.is_uniform
    assert (axis.units, list(axis.axis)) == ("nm", [0, 1, 5])
    assert signal.inav[:, 1:].axes_manager["scan_y"].axis.tolist() == [1, 5]
    signal.save(tmp_path / "b.hspy")
    assert list(hs.load(tmp_path / "b.hspy").axes_manager["scan_y"].axis) == [0, 1, 5]


def test_emd_spectrum_image_is_left_to_rosettasciio(tmp_path: Path) -> None:
    array = cube((3, 4, 50))
    dims = [("y", "nm", 0, 1), ("x", "nm", 0, 1), ("Energy", "eV", 100, 0.5)]
    path = writer.write_emd(tmp_path / "a.emd", array, dims)
    (signal,) = rsciio_tem.load(path)
    assert signal["data"].shape == (50, 4, 3)  # as RosettaSciIO has it
    assert "rsciio_tem" not in signal["original_metadata"]
    np.testing.assert_array_equal(load(path, dataset="data/cube", sig_dims=1)["data"], array)


def test_py4dstem_old(tmp_path: Path) -> None:
    array = cube(dtype="f4")
    path = writer.write_py4dstem_old(tmp_path / "a.h5", array)
    signal = load(path)
    np.testing.assert_array_equal(signal["data"], array, strict=True)
    assert chosen(signal) == "4DSTEM_experiment/data/datacubes/datacube_0/data"
    assert axes(signal) == [
        ("R_x", "nm", 0.5, 0.0, True),
        ("R_y", "nm", 0.5, 0.0, True),
        ("Q_x", "1/Å", 0.02, 0.0, False),
        ("Q_y", "1/Å", 0.02, 0.0, False),
    ]


@needs_rosettasciio("0.14")
@pytest.mark.parametrize("in_pixels", [False, True])
def test_py4dstem(tmp_path: Path, in_pixels: bool) -> None:
    array = cube(dtype="f4")
    path = writer.write_py4dstem(
        tmp_path / "a.h5", array, dims_in_pixels=in_pixels, virtual_image=(70, 80)
    )
    signal = load(path)
    np.testing.assert_array_equal(signal["data"], array, strict=True)
    np.testing.assert_array_equal(upstream("emd", path)[1]["data"], array)
    assert axes(signal) == [
        ("Rx", "Å", 2.5, 0.0, True),
        ("Ry", "Å", 2.5, 0.0, True),
        ("Qx", "1/Å", 0.0125, 0.0, False),
        ("Qy", "1/Å", 0.0125, 0.0, False),
    ]
    original = signal["original_metadata"]
    assert original["calibration"]["QR_flip"] is True
    assert original["calibration"]["Q_pixel_size"] == 0.0125
    assert original["EMD_version"] == "1.0"
    image = load(path, dataset="datacube_root/datacube/brightfield")
    assert image["data"].shape == (70, 80)


@pytest.mark.parametrize("calibrated", [True, False])
def test_py4dstem_origin(tmp_path: Path, calibrated: bool) -> None:
    # py4DSTEM 0.14.18 subtracts the centre in pixels from coordinates in 1/Å
    array, step, centres = cube((3, 4, 64, 64)), 0.02, (32.0, 33.0)
    path = writer.write_py4dstem(tmp_path / "a.h5", array, (1, step), ("pixels", "A^-1"))
    with h5py.File(path, "a") as file:
        for i, centre in enumerate(centres):
            group, name = file["datacube_root/datacube"], f"dim{2 + i}"
            described = dict(group[name].attrs)
            del group[name]
            group[name] = np.arange(64) * step - centre * (step if not calibrated else 1)
            group[name].attrs.update(described)
            if calibrated:
                file["datacube_root/metadatabundle/calibration"][f"q{'xy'[i]}0_mean"] = centre
    if calibrated:
        with pytest.warns(RecordingWarning, match=r"axis Q[xy] contradict the calibration"):
            signal = load(path)
    else:
        signal = load(path)
    assert axes(signal)[2:] == [
        ("Qx", "1/Å", step, -0.64, False),
        ("Qy", "1/Å", step, -0.66, False),
    ]


@pytest.mark.parametrize("warped", [False, True])
def test_py4dstem_calibration_beside_uneven_coordinates(tmp_path: Path, warped: bool) -> None:
    step, index = 0.0116324, np.arange(64)
    path = writer.write_py4dstem(tmp_path / "a.h5", cube((3, 4, 64, 64)), (2.5, step))
    with h5py.File(path, "a") as file:
        group = file["datacube_root/datacube"]
        for name in ("dim2", "dim3"):
            described = dict(group[name].attrs)
            del group[name]
            values = (index - 32) ** 3 * 1e-5 if warped else np.round(-0.37 + step * index, 2)
            group[name] = values
            group[name].attrs.update(described)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        signal = load(path)
    assert [(a["scale"], a["units"]) for a in signal["axes"][2:]] == [(step, "1/Å")] * 2
    assert len(caught) == 2 * warped


@pytest.mark.parametrize("kind", ["fixed", "variable"])
def test_units_of_windows_programs(tmp_path: Path, kind: str) -> None:
    dims = [("y", "µm", 0, 1), ("x", "µm", 0, 1), ("ky", "1/Å", 0, 1), ("kx", "[Å^-1]", 0, 1)]
    path = writer.write_emd(tmp_path / "a.emd", cube(), [(*d[:1], "", *d[2:]) for d in dims])
    with h5py.File(path, "a") as file:
        for i, (_, unit, *_) in enumerate(dims):
            attributes, stored = file[f"data/cube/dim{i + 1}"].attrs, unit.encode("cp1252")
            if kind == "fixed":
                attributes["units"] = np.bytes_(stored)
            else:
                attributes.create("units", stored, dtype=h5py.string_dtype())
    assert [a["units"] for a in load(path)["axes"]] == ["µm", "µm", "1/Å", "1/Å"]


def test_oldest_files_of_hyperspy(tmp_path: Path) -> None:
    """Before 0.7 nothing at the root said whose files they are."""
    path, array = tmp_path / "a.hdf5", np.arange(60.0).reshape(3, 4, 5)
    with h5py.File(path, "w") as file:
        group = file.create_group("Experiments/Sample 1")
        group["data"] = array
        names = (("y", "nm", True), ("x", "nm", True), ("Energy", "eV", False))
        for i, (name, units, navigate) in enumerate(names):
            group.create_group(f"axis-{i}").attrs.update(
                name=name, scale=2.0, offset=0.0, units=units, size=array.shape[i],
                navigate=navigate, slice_bool=navigate, index_in_array=i,
            )  # fmt: skip
        group.create_group("mapped_parameters").attrs.update(title="Sample 1", signal_type="EELS")
        group.create_group("original_parameters")
    (signal,) = rsciio_tem.load(path)
    np.testing.assert_array_equal(signal["data"], array)
    assert [(a["name"], a["scale"], a["units"]) for a in signal["axes"]] == [
        ("y", 2, "nm"),
        ("x", 2, "nm"),
        ("Energy", 2, "eV"),
    ]


@pytest.mark.parametrize("frame", [1, 2])
def test_nion_swift(tmp_path: Path, frame: int) -> None:
    array = cube() if frame == 2 else cube((3, 4, 20))
    units = ["nm", "nm", "rad", "rad"] if frame == 2 else ["nm", "nm", "eV"]
    described = {
        "title": "gold",
        "is_sequence": False,
        "collection_dimension_count": 2,
        "datum_dimension_count": frame,
        "dimensional_calibrations": [
            {"offset": i, "scale": 0.5 + i, "units": unit} for i, unit in enumerate(units)
        ],
    }
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = array
        file["data"].attrs["properties"] = json.dumps(described)
    signal = load(tmp_path / "a.h5")
    np.testing.assert_array_equal(signal["data"], array)
    assert [a[1:] for a in axes(signal)] == [
        (unit, 0.5 + i, i, i < 2) for i, unit in enumerate(units)
    ]
    assert signal["metadata"]["General"]["title"] == "gold"


def test_frames_of_a_nexus_file_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        group = file.create_group("entry/merlin")
        file["entry"].attrs["NX_class"] = "NXentry"
        group.attrs.update(NX_class="NXdata", signal="data")
        group["data"] = h5py.ExternalLink("frames.hdf", "/data")
        group["time"] = np.arange(12.0)
    with pytest.raises(FormatError, match=r"links that lead nowhere.*frames\.hdf"):
        rsciio_tem.load(path)


def test_five_axes_and_a_table(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["movie"], file["settings"] = cube((2, 3, 4, 6, 10)), cube((2, 3, 4, 2))
    assert chosen(load(tmp_path / "a.h5")) == "movie"


def of_matlab(path: Path, array: np.ndarray, **how: Any) -> Path:
    """Write an array as MATLAB 7.3 does, which calls it by the same indices."""
    with h5py.File(path, "w", userblock_size=512) as file:
        dataset = file.create_dataset("cbed", data=np.ascontiguousarray(array.T), **how)
        dataset.attrs["MATLAB_class"] = np.bytes_("uint16")
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\x02IM")
    return path


def test_matlab_says_that_axes_are_reversed(tmp_path: Path) -> None:
    path = of_matlab(tmp_path / "a.mat", cube())
    said = r"MATLAB.* 3 x 4 x 6 x 10 there is 10 x 6 x 4 x 3 here.*order='F'.*6 x 10 x 3 x 4 of it"
    with pytest.warns(RecordingWarning, match=said):
        load(path)
    assert load(path, order="C")["data"].shape == (10, 6, 4, 3)  # without a word: it was asked for


@pytest.mark.parametrize("chunks", [None, (2, 1, 5, 2), (1, 1, 6, 4)])
@pytest.mark.parametrize("lazy", [False, True])
def test_arrays_of_matlab(tmp_path: Path, chunks: tuple[int, ...] | None, lazy: bool) -> None:
    scan = cube()  # y, x, rows, columns
    frames_first = of_matlab(tmp_path / "a.mat", scan.transpose(2, 3, 0, 1), chunks=chunks)
    np.testing.assert_array_equal(load(frames_first, order="F", lazy=lazy)["data"], scan)
    chunks = None if chunks is None else chunks[2:] + chunks[:2]
    scan_first = of_matlab(tmp_path / "b.mat", scan, chunks=chunks)
    np.testing.assert_array_equal(
        load(scan_first, order="F", sig_first=True, lazy=lazy)["data"], scan
    )
    stack = of_matlab(tmp_path / "c.mat", scan[0].transpose(1, 2, 0))
    np.testing.assert_array_equal(load(stack, order="F", lazy=lazy)["data"], scan[0])
    image = of_matlab(tmp_path / "d.mat", scan[0, 0])
    np.testing.assert_array_equal(load(image, order="F", lazy=lazy)["data"], scan[0, 0])
    five = np.arange(2 * 3 * 4 * 5 * 6, dtype="u2").reshape(2, 3, 4, 5, 6)
    path = of_matlab(tmp_path / "e.mat", five.transpose(3, 4, 0, 1, 2))
    np.testing.assert_array_equal(load(path, order="F", lazy=lazy)["data"], five)


def test_axes_of_fortran_keep_their_calibration(tmp_path: Path) -> None:
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        group = file.create_group("entry/result")
        file["entry"].attrs["NX_class"] = "NXentry"
        group.attrs.update(NX_class="NXdata", signal="c", axes=["x", "y", "kx", "ky"])
        group["c"] = cube((3, 4, 8, 10))
        for name, size in zip(("x", "y", "kx", "ky"), (3, 4, 8, 10), strict=True):
            group[name] = np.arange(size) * size
    axes = load(path, order="F")["axes"]
    assert [axis["name"] for axis in axes] == ["y", "x", "ky", "kx"]
    assert [axis["scale"] for axis in axes] == [4, 3, 10, 8]


def test_order_of_an_array_is_checked(tmp_path: Path) -> None:
    path = of_matlab(tmp_path / "a.mat", cube())
    with pytest.raises(ValueError, match="order='f' is neither 'C' nor 'F'"):
        load(path, order="f")
    with pytest.raises(FormatError, match=r"keep their shape.* Leave out sig_shape"):
        load(path, order="F", sig_shape=(6, 2))
    with h5py.File(tmp_path / "b.h5", "w") as file:  # never written: it holds no pixels
        file.create_dataset("a", (1 << 15, 1 << 15, 8, 8), "u1", chunks=(1, 64, 8, 8))
    with pytest.raises(FormatError, match=r"1073741824 scan positions, too many.*Leave out order="):
        rsciio_tem.hdf5.parse(tmp_path / "b.h5", order="F")


@pytest.mark.parametrize("edges", [False, True])
def test_nexus_axis_of_edges(tmp_path: Path, edges: bool) -> None:
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        group = file.create_group("entry/result")
        file["entry"].attrs["NX_class"] = "NXentry"
        group.attrs.update(NX_class="NXdata", signal="c", axes=["y", "x", "ky", "kx"])
        group["c"] = cube((3, 4, 8, 10))
        for name, size in zip(("y", "x", "ky", "kx"), (3, 4, 8, 10), strict=True):
            first = -0.025 if edges else 0.0
            group[name] = 0.05 * np.arange(size + edges) + first
            group[name].attrs["units"] = "1/nm"
    assert [a[1:4] for a in axes(load(path))] == [("1/nm", 0.05, 0.0)] * 4


def test_py4dstem_two_cubes(tmp_path: Path) -> None:
    path = writer.write_py4dstem(tmp_path / "a.h5", cube(dtype="f4"))
    with h5py.File(path, "a") as file:
        file.copy("datacube_root/datacube", file["datacube_root"], "second")
    with pytest.warns(RecordingWarning, match="datacube_root/second/data"):
        assert chosen(load(path)) == "datacube_root/datacube/data"
    assert chosen(load(path, dataset="datacube_root/second")) == "datacube_root/second/data"


VELOX = {
    "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1575540224"}},
    "BinaryResult": {
        "PixelSize": {"width": "2e-10", "height": "2e-10"},
        "Offset": {"x": "-1e-9", "y": "0"},
        "PixelUnitX": "m",
        "DetectorIndex": "0",
    },
    "Optics": {"AccelerationVoltage": "300000", "CameraLength": "0.3"},
    "Instrument": {"InstrumentModel": "Titan"},
    "Stage": {"Position": {"x": "1e-6", "y": "0", "z": "0"}, "AlphaTilt": "0.5"},
    "Scan": {"FrameTime": "0.25"},
    "Detectors": {"Detector-0": {"DetectorName": "HAADF", "DetectorType": "ScanningDetector"}},
}


def test_velox_without_pixel_size(tmp_path: Path) -> None:
    tags = {**VELOX, "BinaryResult": {"PixelUnitX": "m", "DetectorIndex": "0"}}
    path = writer.write_velox(tmp_path / "a.emd", cube((7, 6, 10), "i2"), tags)
    assert axes(load(path))[1:] == [("y", "", 1.0, 0.0, False), ("x", "", 1.0, 0.0, False)]


@pytest.mark.parametrize("chunks", [None, (3, 5, 1), (6, 10, 7)])
def test_velox_series(tmp_path: Path, chunks: tuple[int, ...] | None) -> None:
    frames = cube((7, 6, 10), "i2")
    path = writer.write_velox(tmp_path / "a.emd", frames, VELOX, chunks=chunks)
    for lazy in (False, True):
        signal = load(path, lazy=lazy)
        np.testing.assert_array_equal(np.asarray(signal["data"]), frames)
    assert axes(signal) == [
        ("Time", "s", 0.25, 0.0, True),
        ("y", "nm", 0.2, 0.0, False),
        ("x", "nm", 0.2, -1.0, False),
    ]
    metadata = signal["metadata"]
    assert metadata["General"]["date"] == "2019-12-05"
    assert metadata["Acquisition_instrument"]["TEM"]["beam_energy"] == 300
    assert metadata["Acquisition_instrument"]["TEM"]["camera_length"] == 300
    later = load(path, first_frame=2)
    assert axes(later)[0] == ("Time", "s", 0.25, 0.5, True)


def test_velox_series_as_rosettasciio(realdata: Path) -> None:
    path = realdata / "rosettasciio/emd/fei_example_tem_stack.emd"
    (theirs,) = upstream("emd", path)
    ours = load(path)
    np.testing.assert_array_equal(ours["data"], theirs["data"])
    for mine, other in zip(ours["axes"], theirs["axes"], strict=True):
        assert mine["name"] == other["name"]
        assert mine["navigate"] == other["navigate"]
    unit = {"nm": 1, "pm": 1e-3}
    assert ours["axes"][1]["scale"] == pytest.approx(
        theirs["axes"][1]["scale"] * unit[theirs["axes"][1]["units"]]
    )
    tem = ours["metadata"]["Acquisition_instrument"]["TEM"]
    assert tem["beam_energy"] == 300
    assert tem["microscope"] == "Titan"


def test_velox_camera_in_a_scan(tmp_path: Path) -> None:
    """One pattern per scan position is stored as a line of frames."""
    frames = cube((12, 6, 10))
    tags = {
        **VELOX,
        "Scan": {"ScanSize": {"width": "4", "height": "3"}},
        "Detectors": {"Detector-0": {"DetectorName": "Ceta", "DetectorType": "ImagingDetector"}},
    }
    path = writer.write_velox(tmp_path / "a.emd", frames, tags)
    assert load(path)["data"].shape == (3, 4, 6, 10)


def test_velox_with_several_detectors_is_left_to_rosettasciio(tmp_path: Path) -> None:
    path = writer.write_velox(tmp_path / "a.emd", cube((7, 6, 10)), more=1)
    with pytest.raises(Unsupported, match=r"rsciio\.emd is for"):
        hdf5.parse(path)
    name = f"Data/Image/{1:032x}/Data"
    np.testing.assert_array_equal(load(path, dataset=name)["data"], cube((7, 6, 10)))


NX_AXES = [
    ("row", "um", [1, 2, 3]),
    ("column", "um", [0, 0.5, 1, 1.5]),
    (".", "", ()),
    (".", "", ()),
]


def test_nexus(tmp_path: Path) -> None:
    array = cube()
    path = writer.write_nexus(tmp_path / "a.nxs", array, NX_AXES, aside=cube((50, 4, 60, 70)))
    signal = load(path)
    assert chosen(signal) == "entry/result/counts"
    np.testing.assert_array_equal(signal["data"], array, strict=True)
    assert axes(signal) == [
        ("row", "um", 1.0, 1.0, True),
        ("column", "um", 0.5, 0.0, True),
        ("dy", "", 1.0, 0.0, False),
        ("dx", "", 1.0, 0.0, False),
    ]


def test_nexus_without_default(tmp_path: Path) -> None:
    path = writer.write_nexus(tmp_path / "a.nxs", cube(), default=False)
    assert chosen(load(path)) == "entry/result/counts"


def test_nexus_default_goes_before_unknown_arrays(tmp_path: Path) -> None:
    path = writer.write_nexus(tmp_path / "a.nxs", cube((5, 6, 10)))
    with h5py.File(path, "a") as file:
        file["entry/raw"] = cube((3, 4, 60, 100))
    assert chosen(load(path)) == "entry/result/counts"


def test_nexus_spectra_are_left_to_rosettasciio(tmp_path: Path) -> None:
    path = writer.write_nexus(
        tmp_path / "a.nxs", cube((3, 4, 50)), attributes={"interpretation": "spectrum"}
    )
    with pytest.raises(Unsupported, match=r"rsciio\.nexus is for"):
        hdf5.parse(path)


@pytest.mark.parametrize(
    ("tags", "units", "first", "warns"),
    [
        ({"Data Order Swapped": 1}, ("nm", "nm"), False, ""),
        ({"Data Order Swapped": 0}, ("nm", "1/nm"), True, ""),
        ({}, ("1/nm", "nm"), False, ""),
        ({}, ("", "nm"), False, ""),
        ({}, ("um", ""), True, ""),
        ({}, ("", ""), True, "which of its four axes"),
    ],
)
def test_dm5(
    tmp_path: Path, tags: dict[str, int], units: tuple[str, str], first: bool, warns: str
) -> None:
    array = cube(dtype="f4")
    fast, slow = units
    cals = [(5, 0.2, fast), (3, 0.2, fast), (0, 2, slow), (1, 2, slow)]
    path = writer.write_dm5(tmp_path / "a.dm5", array, cals, tags)
    if warns:
        with pytest.warns(RecordingWarning, match=warns):
            signal = load(path)
    else:
        signal = load(path)
    assert chosen(signal) == "ImageList/[1]/ImageData/Data"
    wanted = array.transpose(2, 3, 0, 1) if first else array
    np.testing.assert_array_equal(signal["data"], wanted)
    x = signal["axes"][1 if first else 3]
    assert (x["scale"], x["offset"], x["units"]) == (0.2, -1.0, fast)
    if warns:
        np.testing.assert_array_equal(quietly(path, sig_first=False)["data"], array)


def test_dm5_image(tmp_path: Path) -> None:
    array = cube((60, 80), "f4")
    path = writer.write_dm5(tmp_path / "a.dm5", array, [(0, 0.5, "nm"), (0, 0.5, "nm")])
    signal = load(path)  # not the larger thumbnail
    np.testing.assert_array_equal(signal["data"], array)
    assert rsciio_tem.detect(path)[0].format == "hdf5"


@pytest.mark.parametrize("flat", [True, False])
def test_kikuchipy(tmp_path: Path, flat: bool) -> None:
    array = cube((12, 6, 10) if flat else (3, 4, 6, 10), "u1")
    path = writer.write_kikuchipy(tmp_path / "a.h5", array, (3, 4))
    signal = load(path)
    np.testing.assert_array_equal(signal["data"], array.reshape(3, 4, 6, 10))
    assert axes(signal)[:2] == [("y", "um", 1.5, 0.0, True), ("x", "um", 2.0, 0.0, True)]


def test_image_series_of_hexrd(realdata: Path) -> None:
    path = realdata / "imageseries/golden/dense.h5"
    signal = load(path)
    wanted = np.load(realdata / "imageseries/golden/dense.npy")
    np.testing.assert_array_equal(signal["data"], wanted)
    assert signal["original_metadata"]["hdf5"]["layout"] == "images"
    assert signal["original_metadata"]["file"]["imageseries"]["attributes"]["panel"] == "ge1"


# ---------------------------------------------------------------- what peers get wrong


def test_libertem_makes_no_dask_array(tmp_path: Path) -> None:
    array = cube()
    path = writer.write_array(tmp_path / "a.h5", array)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, data = in_libertem(path, ds_path="data")
        dask_module = pytest.importorskip("libertem.contrib.daskadapter")
        theirs, _ = dask_module.make_dask_array(data)
        with pytest.raises(TypeError):
            theirs.compute(scheduler="synchronous")
    np.testing.assert_array_equal(load(path, lazy=True)["data"].compute(), array)


def test_libertem_refuses_images(tmp_path: Path) -> None:
    array = cube((60, 80))
    path = writer.write_array(tmp_path / "a.h5", array)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Exception, match="2D"):
            in_libertem(path, ds_path="data")
    np.testing.assert_array_equal(load(path)["data"], array)


def test_libertem_does_not_find_linked_arrays(tmp_path: Path) -> None:
    array = cube()
    path = writer.write_external_link(tmp_path / "a.h5", array)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Exception, match=r"infer|ds_path"):
            in_libertem(path)
    np.testing.assert_array_equal(load(path)["data"], array)


def test_libertem_prefers_six_dimensions_of_zeros(tmp_path: Path) -> None:
    array = cube()
    zeros = np.zeros((2, 3, 4, 5, 6, 10), "u1")
    path = writer.write_array(tmp_path / "a.h5", array, zeros=zeros)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, data = in_libertem(path)
    assert tuple(data.shape) == zeros.shape
    assert chosen(load(path)) == "data"


def test_libertem_raises_key_error_for_a_wrong_path(tmp_path: Path) -> None:
    path = writer.write_array(tmp_path / "a.h5", cube(), "group/data")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(KeyError):
            in_libertem(path, ds_path="nothing")
        with pytest.raises(AttributeError):
            in_libertem(path, ds_path="group")
    with pytest.raises(FormatError, match="There are: group/data"):
        load(path, dataset="nothing")
    assert chosen(load(path, dataset="group")) == "group/data"


def test_rosettasciio_reverses_the_axes_of_emd(tmp_path: Path) -> None:
    array = cube()
    path = writer.write_emd(tmp_path / "a.emd", array, DIMS)
    (theirs,) = upstream("emd", path)
    assert theirs["data"].shape == array.shape[::-1]
    assert not any(a["navigate"] for a in theirs["axes"])
    ours = load(path)
    assert ours["data"].shape == array.shape
    assert [a["navigate"] for a in ours["axes"]] == [True, True, False, False]


def test_rosettasciio_reverses_old_py4dstem(tmp_path: Path) -> None:
    array = cube(dtype="f4")
    path = writer.write_py4dstem_old(tmp_path / "a.h5", array)
    theirs = upstream("emd", path)
    assert array.shape[::-1] in [s["data"].shape for s in theirs]
    np.testing.assert_array_equal(load(path)["data"], array)


@needs_rosettasciio("0.14")
def test_rosettasciio_has_no_scan_axes_for_py4dstem(tmp_path: Path) -> None:
    path = writer.write_py4dstem(tmp_path / "a.h5", cube(dtype="f4"))
    (theirs,) = upstream("emd", path)
    assert not any(a["navigate"] for a in theirs["axes"])
    assert [a["navigate"] for a in load(path)["axes"]] == [True, True, False, False]


def test_rosettasciio_fails_on_minimal_nexus(tmp_path: Path) -> None:
    path = writer.write_nexus(tmp_path / "a.nxs", cube())
    (theirs,) = upstream("nexus", path)
    assert any("name" not in a for a in theirs["axes"])  # HyperSpy then raises a KeyError
    assert [a["name"] for a in load(path)["axes"]] == ["y", "x", "dy", "dx"]


def test_image_of_ncem_is_not_turned(realdata: Path) -> None:
    """RosettaSciIO transposes it, although its dims say Y, X."""
    path = realdata / "hdf5/ncem/Acquisition_18.emd"
    ours, (theirs,) = load(path), upstream("emd", path)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(ours["data"], file["data/single/data"][()])
    np.testing.assert_array_equal(ours["data"], theirs["data"].T)
    assert [a["name"] for a in ours["axes"]] == ["Y", "X"]


# ---------------------------------------------------------------- what is RosettaSciIO's


def hyperspy_file(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["file_format"], file.attrs["file_format_version"] = "HyperSpy", "3.3"
        group = file.create_group("Experiments/__unnamed__")
        group["data"] = cube((3, 4, 5))
        for i, n in enumerate((3, 4, 5)):
            axis = group.create_group(f"axis-{i}").attrs
            axis["_type"], axis["name"], axis["units"] = "UniformDataAxis", "a", "nm"
            axis["navigate"], axis["size"], axis["scale"], axis["offset"] = i == 0, n, 2.0, 0.0
        for name in ("metadata", "original_metadata", "learning_results"):
            group.create_group(name)


def usid_file(path: Path) -> None:
    with h5py.File(path, "w") as file:
        group = file.create_group("Measurement_000/Channel_000")
        for name in ("Raw_Data", "Position_Indices", "Position_Values"):
            group[name] = cube((5, 6))


def delmic_file(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["Acquisition0/SVIData/Company"] = "Delmic"
        file["Acquisition0/ImageData/Image"] = cube((1, 1, 1, 5, 6))


def tofwerk_file(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["FullSpectra/SumSpectrum"] = np.arange(9.0)
        file.create_group("TimingData")
        file["PeakData/PeakData"] = cube((3, 4, 5, 6))


def prismatic_file(path: Path) -> None:
    group = "4DSTEM_simulation/data/datacubes/CBED_array_depth0000"
    writer.write_emd(path, cube(), DIMS, group=group, dataset="datacube")


def nexus_of_hyperspy(path: Path) -> None:
    writer.write_nexus(path, cube())
    with h5py.File(path, "a") as file:
        file.attrs["file_writer"] = "hyperspy_nexus_v3"


@pytest.mark.parametrize(
    ("make", "reader"),
    [
        (hyperspy_file, "rsciio.hspy"),
        (usid_file, "rsciio.usid"),
        (delmic_file, "rsciio.delmic"),
        (tofwerk_file, "rsciio.tofwerk"),
        (prismatic_file, "rsciio.emd"),
        (nexus_of_hyperspy, "rsciio.nexus"),
    ],
)
def test_files_of_rosettasciio(
    tmp_path: Path, make: Any, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    make(path)
    assert rsciio_tem.detect(path)[0].format == "hdf5"
    with pytest.raises(Unsupported, match=f"{reader} is for") as caught:
        hdf5.parse(path)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    asked: dict[str, Any] = {}

    class Reader:
        @staticmethod
        def file_reader(filename: str, lazy: bool = False, **options: Any) -> list[Any]:
            asked.update(filename=filename, lazy=lazy, **options)
            return [{"data": "as it comes"}]

    real = importlib.import_module
    monkeypatch.setattr(
        importlib, "import_module", lambda name: Reader if name == reader else real(name)
    )
    result = rsciio_tem.load(path, "hdf5", lazy=True, chunks=5, own="option")
    assert result == [{"data": "as it comes"}]
    assert asked == {"filename": str(path), "lazy": True, "chunks": 5, "own": "option"}
    monkeypatch.setattr(Reader, "file_reader", lambda *_, **__: [])
    name = reader.removeprefix("rsciio.")
    with pytest.raises(FormatError, match=rf"a\.h5: .*{name!r} finds nothing in it"):
        rsciio_tem.load(path)
    found = quietly(path, dataset="/")
    assert "rsciio_tem" in found["original_metadata"]


def test_hyperspy_file_is_read_by_rosettasciio(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    hyperspy_file(path)
    (signal,) = rsciio_tem.load(path)
    (theirs,) = upstream("hspy", path)
    np.testing.assert_array_equal(signal["data"], theirs["data"])
    assert signal["axes"] == theirs["axes"]
    assert "rsciio_tem" not in signal["original_metadata"]


def test_emd_written_by_hyperspy_comes_back_as_it_was(tmp_path: Path) -> None:
    """It stores arrays transposed."""
    from rsciio.emd import file_writer

    data = cube((3, 4, 5))
    steps = [{"name": f"a{i}", "units": "nm", "scale": 1.0, "offset": 0.0, "size": n}
             for i, n in enumerate(data.shape)]  # fmt: skip
    signal = {
        "data": data,
        "axes": [{**axis, "navigate": i == 0} for i, axis in enumerate(steps)],
        "metadata": {"General": {"title": "saved"}, "Signal": {"signal_type": ""}},
        "original_metadata": {},
    }
    file_writer(str(tmp_path / "a.emd"), signal)
    (again,) = rsciio_tem.load(tmp_path / "a.emd")
    np.testing.assert_array_equal(again["data"], data)


def test_reader_that_lacks_a_package(tmp_path: Path) -> None:
    try:
        import pyUSID  # noqa: F401
    except ImportError:
        usid_file(tmp_path / "a.h5")
        with pytest.raises(Unsupported, match=r"not installed: pyUSID"):
            rsciio_tem.load(tmp_path / "a.h5")


def test_reader_that_fails(tmp_path: Path) -> None:
    hyperspy_file(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["Experiments/__unnamed__/axis-1"]
        file["Experiments"].attrs["a"] = 1
        file.attrs["file_format_version"] = "nonsense"
    with pytest.raises(FormatError, match=r"reader 'hspy' fails"):
        rsciio_tem.load(tmp_path / "a.h5")


# ---------------------------------------------------------------- real files

#: What `rsciio_tem.load` gives: shape of the first signal, and who reads it.
REAL = {
    "hdf5/arina_headers_only/MEA_ptycho_15.h5": ((24, 24), "hdf5"),
    "hdf5/emd/py4DSTEM_size2x3x4x5_bf20x30.h5": ((2, 3, 4, 5), "hdf5"),
    "hdf5/fpd/pixelated_stem_test.hdf5": ((5, 2, 3, 4), "rsciio.hspy"),
    "hdf5/kikuchipy/patterns.h5": ((3, 3, 60, 60), "hdf5"),
    "hdf5/libertem/hdf5_sample.h5": ((16, 16, 16, 16), "hdf5"),
    "hdf5/ncem/Acquisition_18.emd": ((1024, 1024), "hdf5"),
    "hdf5/ncem/Camera Ceta Diffraction Micro.emd": ((512, 512), "rsciio.emd"),
    "hdf5/ncem/Camera Ceta Imaging Micro.emd": ((512, 512), "rsciio.emd"),
    "hdf5/ncem/STEM HAADF Diffraction Micro.emd": ((128, 128), "rsciio.emd"),
    "hdf5/ncem/STEM HAADF-DF4-DF2-BF Diffraction Micro.emd": ((128, 128), "rsciio.emd"),
    "hdf5/py4dstem/real_py4dstem.h5": ((2, 2, 4, 4), "hdf5"),
    "hdf5/py4dstem/real_py4dstem_origin_maps.h5": ((2, 3, 4, 5), "hdf5"),
    "imageseries/golden/dense.h5": ((6, 12, 10), "hdf5"),
    "rosettasciio/emd/FFTComplexEven.emd": ((70, 36), "rsciio.emd"),
    "rosettasciio/emd/FFTComplexOdd.emd": ((64, 32), "rsciio.emd"),
    "rosettasciio/emd/Si100_1x1x3-zStart5.43.emd": ((3, 208, 7, 7), "rsciio.emd"),
    "rosettasciio/emd/Si100_2D_3D_DPC_potential_2slices.emd": ((2, 2, 22, 22), "rsciio.emd"),
    "rosettasciio/emd/Si100_2x1x1_3D.emd": ((22, 44), "rsciio.emd"),
    "rosettasciio/emd/Si100_3D.emd": ((37, 22, 22), "rsciio.emd"),
    "rosettasciio/emd/Si100_4D.emd": ((2, 11, 11, 8, 8), "rsciio.emd"),
    "rosettasciio/emd/example_axis_len_1.emd": ((5, 1, 5), "hdf5"),
    "rosettasciio/emd/example_bytes_string_metadata.emd": ((10,), "rsciio.emd"),
    "rosettasciio/emd/example_image.emd": ((3, 3), "rsciio.emd"),
    "rosettasciio/emd/example_metadata.emd": ((3, 3), "rsciio.emd"),
    "rosettasciio/emd/example_object_dtype_data.emd": ((1, 2), "rsciio.emd"),
    "rosettasciio/emd/example_signal.emd": ((3, 3, 3), "rsciio.emd"),
    "rosettasciio/emd/example_spectrum.emd": ((3,), "rsciio.emd"),
    "rosettasciio/emd/fei_example_complex_fft.emd": ((3, 4), "rsciio.emd"),
    "rosettasciio/emd/fei_example_dpc_titles.emd": ((2, 2), "rsciio.emd"),
    "rosettasciio/emd/fei_example_tem_stack.emd": ((2, 3, 3), "hdf5"),
    "rosettasciio/emd/py4DSTEM_size2x3x4x5.h5": ((2, 3, 4, 5), "hdf5"),
    "rosettasciio/nexus/nexus_dls_example.nxs": ((10, 10, 15), "rsciio.nexus"),
    "rosettasciio/nexus/nexus_dls_example_no_axes.nxs": ((10, 10, 15), "hdf5"),
    "rosettasciio/nexus/nexus_test_datakey.nxs": ((4, 5, 6), "hdf5"),
    "rosettasciio/nexus/nxdata_tagged_as_string.nxs": ((2, 3), "hdf5"),
    "rosettasciio/nexus/saved_multi_signal.nxs": ((15, 1, 40, 40), "rsciio.nexus"),
    "rosettasciio/nexus/simple_signal.nxs": ((15, 1, 40, 40), "rsciio.nexus"),
}
#: Rows of the manifest whose peers' values are not ours, and why.
DIFFERENT = {
    # the patterns of the scan, not one line of them
    "hdf5/kikuchipy/patterns.h5": "shape",
    # RosettaSciIO puts the virtual image first; LiberTEM and h5py agree with us
    "hdf5/emd/py4DSTEM_size2x3x4x5_bf20x30.h5": "another array",
    # another of the arrays in the file: theirs comes first, ours is larger
    "rosettasciio/nexus/nexus_test_datakey.nxs": "another array",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REAL)
def test_real_files(realdata: Path, name: str) -> None:
    """Every real file opens with nothing but its path."""
    path = realdata / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    shape, reader = REAL[name]
    signals = rsciio_tem.load(path)
    assert signals[0]["data"].shape == shape
    ours = signals[0]["original_metadata"].get("rsciio_tem")
    assert (ours["format"] if ours else reader) == reader
    assert not ours or reader == "hdf5"
    rows = list(csv.DictReader((realdata / "manifest.csv").open(newline="")))
    row = next((r for r in rows if r["file"] == name), None)
    if row and row["shape"] and ours and name not in DIFFERENT:
        data = signals[0]["data"]
        assert row["shape"] == "x".join(map(str, data.shape))
        assert row["dtype"] == str(data.dtype)
        assert float(row["sum"]) == pytest.approx(float(data.sum(dtype="f8")), rel=1e-9)
    if ours:
        source = signals[0]["original_metadata"]["hdf5"]["dataset"]
        with h5py.File(path) as file:
            stored = file[source][()]
        if reader == "hdf5" and "Data/Image" in source:
            stored = np.moveaxis(stored, -1, 0)
        np.testing.assert_array_equal(signals[0]["data"], stored.reshape(shape))
        (lazy,) = rsciio_tem.load(path, lazy=True)
        np.testing.assert_array_equal(lazy["data"].compute(), signals[0]["data"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n, (s, r) in REAL.items() if r == "hdf5" and len(s) > 2])
def test_real_files_by_libertem(realdata: Path, name: str) -> None:
    path = realdata / name
    signal = rsciio_tem.load(path)[0]
    source = signal["original_metadata"]["hdf5"]["dataset"]
    theirs = by_libertem(path, ds_path=source)
    if "Data/Image" in source:
        theirs = np.moveaxis(theirs, -1, 0)
    np.testing.assert_array_equal(signal["data"], theirs.reshape(signal["data"].shape))


def test_files_of_other_formats_of_ours(realdata: Path) -> None:
    path = realdata / "imageseries/golden/fc_t0.fch5"
    with pytest.raises(NotThisFormat, match="frame cache of hexrd"):
        load(path)
    path = realdata / "rosettasciio/arina/test_00_master.h5"
    with pytest.raises(NotThisFormat, match='format="dectris"'):
        load(path)
    assert load(path, dataset="entry/data/data_000001")["data"].shape == (16, 192, 192)
    with pytest.raises(FormatError, match=r"Open test_00_master\.h5"):
        load(realdata / "rosettasciio/arina/test_00.h5")


# ---------------------------------------------------------------- recognition and damage


@pytest.mark.parametrize("userblock", [0, 512, 1024, 4096, 65536])
def test_recognised_behind_a_block_for_the_user(tmp_path: Path, userblock: int) -> None:
    array = cube()
    path = writer.write_array(tmp_path / "a.bin", array, userblock=userblock)
    (found,) = [c for c in rsciio_tem.detect(path) if c.format == "hdf5"]
    assert found.confidence >= 0.6
    np.testing.assert_array_equal(rsciio_tem.load(path, "hdf5")[0]["data"], array)


def test_truncated(tmp_path: Path) -> None:
    path = writer.write_array(tmp_path / "a.h5", cube())
    shutil.copy(path, tmp_path / "b.h5")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 100])
    with pytest.raises(Truncated, match="ends early"):
        load(path)


def test_not_hdf5(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(3000))
    with pytest.raises(FormatError, match=r"a\.h5"):
        load(tmp_path / "a.h5")
    (tmp_path / "b.h5").write_bytes(bytes(9000))
    with pytest.raises(NotThisFormat, match="not an HDF5 file"):
        load(tmp_path / "b.h5")


def test_metadata_of_every_kind(tmp_path: Path) -> None:
    path = writer.write_array(tmp_path / "a.h5", cube(), attributes={"unit": "counts"})
    with h5py.File(path, "a") as file:
        group = file.create_group("notes")
        group.attrs["text"] = "Ångström"
        group.attrs["bytes"] = np.bytes_(b"caf\xe9")
        group.attrs["numbers"] = [1, 2.5]
        group.attrs["empty"] = h5py.Empty("f4")
        group.attrs["where"] = file["data"].ref
        group["flag"], group["words"] = True, ["a", "b"]
        group["record"] = np.array([(1, 2.5)], [("n", "i4"), ("x", "f4")])
        group["long"] = np.zeros(1000)
        group["dotted.name"] = 5
    original = load(path)["original_metadata"]
    notes = original["file"]["notes"]
    assert notes["attributes"]["text"] == "Ångström"
    assert notes["attributes"]["numbers"] == [1.0, 2.5]
    assert notes["flag"] is True
    assert notes["long"] == "1000 float64"
    assert notes["dotted.name"] == 5
    assert original["hdf5"]["attributes"] == {"unit": "counts"}
    assert "data" not in original["file"]
    assert zlib.crc32(repr(original).encode())  # plain values, which can be shown


def test_file_that_is_open_elsewhere(tmp_path: Path) -> None:
    """A file that HyperSpy holds open for a lazy signal can still be read."""
    array = cube()
    path = writer.write_array(tmp_path / "a.h5", array, chunks=(1, 1, 6, 10))
    with h5py.File(path, "r"):
        np.testing.assert_array_equal(load(path)["data"], array)
        np.testing.assert_array_equal(load(path, lazy=True)["data"].compute(), array)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_links_to_a_pipe(tmp_path: Path) -> None:
    """The library would wait for what somebody writes into it."""
    os.mkfifo(tmp_path / "pipe.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["b"] = np.zeros((3, 8, 8), "u2")
        file["in/data"] = h5py.ExternalLink("pipe.h5", "/x")
        file["soft"] = h5py.SoftLink("/in/data")
    for options in ({}, {"dataset": "in/data"}, {"dataset": "soft"}):
        with pytest.raises(FormatError, match=r"pipe\.h5: is a pipe, not a file"):
            load(tmp_path / "a.h5", **options)
    assert load(tmp_path / "a.h5", dataset="b")["data"].shape == (3, 8, 8)
    with pytest.raises(FormatError, match=r"pipe\.h5: is a pipe, not a file"):
        rsciio_tem.load(tmp_path / "pipe.h5")


@pytest.mark.parametrize("value", [np.complex64(2), 1j, np.nan, np.inf, "x", None, [1], 10**400])
def test_tags_that_are_no_numbers(value: Any) -> None:
    assert meaning.number({"step": value}, "step") == 0
    assert meaning.number({"step": np.float32(0.5)}, "step") == 0.5


def test_readers_that_are_not_lazy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What RosettaSciIO cannot load lazily is a sentence, not a riddle of dask."""

    def reader(filename: str, lazy: bool = False, **options: Any) -> list[dict[str, Any]]:
        raise NotImplementedError("object dtype")

    monkeypatch.setattr("rsciio.emd.file_reader", reader)
    with h5py.File(tmp_path / "points.h5", "w") as file:
        file.attrs["emd_group_type"] = "file"
        file["points"] = np.zeros(3, [("x", "f8"), ("y", "f8")])
    with pytest.raises(Unsupported, match="fails lazily: object dtype"):
        rsciio_tem.load(tmp_path / "points.h5", lazy=True)
