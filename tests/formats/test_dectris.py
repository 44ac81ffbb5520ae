# SPDX-License-Identifier: GPL-3.0-or-later
"""Dectris masters: data files, scan shapes, pixels that the detector masks, peers."""

from __future__ import annotations

import logging
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from writers.dectris import write_dectris

import rsciio_tem
from rsciio_tem.errors import FormatError, NotThisFormat, RecordingWarning, Truncated
from rsciio_tem.formats import dectris

SIG = (6, 10)


def frames(count: int = 12, dtype: str = "u4", sig: tuple[int, int] = SIG) -> np.ndarray:
    """Frames of counts, each with its number in the first pixel."""
    data = np.random.default_rng(3).integers(0, 200, (count, *sig)).astype(dtype)
    data[:, 0, 0] = np.arange(count)
    return data


def load(path: Any, **options: Any) -> dict[str, Any]:
    (signal,) = dectris.file_reader(path, **options)
    return signal


def quietly(path: Any, **options: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        return load(path, **options)


def arina(path: Path, **options: Any) -> dict[str, Any]:
    from rsciio.arina import file_reader

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (signal,) = file_reader(path, **options)
    return signal


def numbers(signal: dict[str, Any]) -> list[Any]:
    return np.asarray(signal["data"])[..., 0, 0].tolist()


# ---------------------------------------------------------------- frames


@pytest.mark.parametrize("per_file", [1, 5, 12, 100])
@pytest.mark.parametrize("compression", ["bslz4", "lz4", "gzip", None])
def test_frames_over_data_files(tmp_path: Path, per_file: int, compression: str | None) -> None:
    stored = frames()
    path = write_dectris(tmp_path, stored, per_file, scan=(3, 4), compression=compression)
    for lazy in (False, True):
        signal = load(path, lazy=lazy)
        np.testing.assert_array_equal(np.asarray(signal["data"]), stored.reshape(3, 4, *SIG))
        assert signal["data"].dtype == np.uint32
    one = load(path, lazy=True)["data"][1, 3].compute()
    np.testing.assert_array_equal(one, stored[7])


def test_same_as_h5py_and_rosettasciio(tmp_path: Path) -> None:
    stored = frames(16, "u2", (8, 8))
    path = write_dectris(tmp_path, stored, 5, scan=(4, 4))
    with h5py.File(path) as file:
        import hdf5plugin  # noqa: F401

        by_h5py = np.concatenate([file["entry/data"][name][()] for name in file["entry/data"]])
    signal = load(path)
    np.testing.assert_array_equal(signal["data"].reshape(by_h5py.shape), by_h5py, strict=True)
    np.testing.assert_array_equal(signal["data"], arina(path)["data"])
    for ours, theirs in zip(signal["axes"][:2], arina(path)["axes"][:2], strict=True):
        assert (ours["scale"], ours["units"]) == (0.25, "nm")
        assert theirs["scale"] == 2.5  # the same in Å, there called A


def test_graph_is_computed_in_other_processes(tmp_path: Path) -> None:
    stored = frames()
    path = write_dectris(tmp_path, stored, scan=(3, 4))
    data = load(path, lazy=True, chunks=(1, 2))["data"]
    assert len(pickle.dumps(data)) < 30_000
    np.testing.assert_array_equal(data.compute(scheduler="processes"), stored.reshape(3, 4, *SIG))


@pytest.mark.parametrize("opened", ["scan_master.h5", "scan_data_000001.h5", "scan_data_000003.h5"])
def test_any_file_opens_the_recording(tmp_path: Path, opened: str) -> None:
    stored = frames()
    write_dectris(tmp_path, stored, scan=(3, 4))
    assert rsciio_tem.detect(tmp_path / opened)[0].format == "dectris"
    (signal,) = rsciio_tem.load(tmp_path / opened)
    np.testing.assert_array_equal(signal["data"], stored.reshape(3, 4, *SIG))


def test_data_file_without_master(tmp_path: Path) -> None:
    stored = frames()
    write_dectris(tmp_path, stored).unlink()
    (signal,) = rsciio_tem.load(tmp_path / "scan_data_000002.h5")
    assert signal["original_metadata"]["rsciio_tem"]["format"] == "hdf5"
    np.testing.assert_array_equal(signal["data"], stored[5:10])
    with pytest.raises(NotThisFormat, match=r"_master\.h5"):
        load(tmp_path / "scan_data_000002.h5")


def test_renamed_together(tmp_path: Path) -> None:
    """The links still have the old names; h5py, RosettaSciIO and ncempy find nothing."""
    stored = frames()
    write_dectris(tmp_path, stored, scan=(3, 4))
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("scan", "sample 7"))
    signal = load(tmp_path / "sample 7_master.h5")
    np.testing.assert_array_equal(signal["data"], stored.reshape(3, 4, *SIG))
    with pytest.raises(KeyError):
        arina(tmp_path / "sample 7_master.h5")


@pytest.mark.parametrize("lost", [[2], [1], [1, 2]])
def test_lost_data_files_leave_blanks(tmp_path: Path, lost: list[int]) -> None:
    stored = frames()
    path = write_dectris(tmp_path, stored, 4, scan=(3, 4))
    expected = stored.copy()
    for number in lost:
        (tmp_path / f"scan_data_{number:06d}.h5").unlink()
        expected[4 * (number - 1) : 4 * number] = 0
    with pytest.warns(RecordingWarning) as told:
        signal = load(path)
    assert f"{len(lost)} of 3 data files are missing" in str(told[0].message)
    assert f"{4 * len(lost)} of 12 frames of the series" in str(told[1].message)
    np.testing.assert_array_equal(signal["data"], expected.reshape(3, 4, *SIG))
    np.testing.assert_array_equal(quietly(path, lazy=True)["data"], signal["data"])
    assert quietly(path, fill_value=7)["data"][lost[0] - 1, 0, 0, 0] == 7


def test_lost_data_file_at_the_end(tmp_path: Path) -> None:
    path = write_dectris(tmp_path, frames(), 4, scan=(3, 4))
    (tmp_path / "scan_data_000003.h5").unlink()
    with pytest.warns(
        RecordingWarning, match=r"announces 12 frames|files are missing|2 of 3 lines"
    ):
        signal = load(path)
    assert signal["data"].shape == (2, 4, *SIG)


def test_lost_data_files_that_are_not_numbered(tmp_path: Path) -> None:
    path = write_dectris(tmp_path, frames(), 4, scan=(3, 4), numbered=False)
    (tmp_path / "scan_data_000003.h5").unlink()
    assert quietly(path)["data"].shape == (2, 4, *SIG)
    write_dectris(tmp_path, frames(), 4, scan=(3, 4), numbered=False)
    (tmp_path / "scan_data_000002.h5").unlink()
    with pytest.raises(Truncated, match=r"scan_data_000002\.h5.*do not say which frames"):
        load(path)


def test_no_data_file_at_all(tmp_path: Path) -> None:
    path = write_dectris(tmp_path, frames())
    for data in tmp_path.glob("*_data_*"):
        data.unlink()
    with pytest.raises(Truncated, match=r"none of its 3 data files is there.*scan_data_000001"):
        load(path)


def test_interrupted(tmp_path: Path) -> None:
    path = write_dectris(tmp_path, frames(10), scan=(3, 4), triggers=(12, 1))
    with pytest.warns(RecordingWarning, match="announces 12 frames, its data files hold 10|lines"):
        signal = load(path)
    assert signal["data"].shape == (2, 4, *SIG)
    assert quietly(path, missing="fill")["data"].shape == (3, 4, *SIG)


def test_frames_of_different_shapes(tmp_path: Path) -> None:
    path = write_dectris(tmp_path, frames())
    with h5py.File(tmp_path / "scan_data_000002.h5", "w") as file:
        file["entry/data/data"] = frames(5, sig=(6, 9))
    with pytest.raises(FormatError, match="different shapes"):
        load(path)


def test_damaged_data_file(tmp_path: Path) -> None:
    path = write_dectris(tmp_path, frames())
    data = tmp_path / "scan_data_000002.h5"
    data.write_bytes(data.read_bytes()[:-50])
    with pytest.raises(Truncated, match=r"scan_data_000002\.h5"):
        load(path)


def test_contradicting_numbers(tmp_path: Path) -> None:
    stored = frames()
    path = write_dectris(tmp_path, stored, 4)
    with h5py.File(tmp_path / "scan_data_000003.h5", "a") as file:
        own = file["entry/data/data"].attrs
        own["image_nr_low"], own["image_nr_high"] = np.uint64(3), np.uint64(6)
    with pytest.warns(RecordingWarning, match="contradict each other"):
        assert numbers(load(path)) == list(range(12))


# ---------------------------------------------------------------- scan shape


def test_scan_of_the_side_file(tmp_path: Path) -> None:
    path = write_dectris(tmp_path, frames(), scan=(2, 6))
    signal = load(path)
    assert signal["data"].shape == (2, 6, *SIG)
    scan = signal["original_metadata"]["rsciio_tem"]["scan"]
    assert scan["rule"] == "header"
    assert "NumPixelsX = 6" in scan["reason"]
    assert signal["original_metadata"]["STEM Metadata"]["NumPixelsX"] == [6]


def test_without_side_file_no_square_is_taken(tmp_path: Path) -> None:
    path = write_dectris(tmp_path, frames(9))
    assert load(path)["data"].shape == (9, *SIG)
    with pytest.warns(RecordingWarning, match="perfect square"):
        assert load(path, scan="square")["data"].shape == (3, 3, *SIG)
    assert load(path, navigation_shape=(9, 1))["data"].shape == (1, 9, *SIG)


def test_frames_before_each_line(tmp_path: Path) -> None:
    path = write_dectris(tmp_path, frames(18), scan=(3, 4), prescan=2)
    with pytest.warns(RecordingWarning, match="No recording with such frames was available"):
        signal = load(path)
    assert numbers(signal) == [[2, 3, 4, 5], [8, 9, 10, 11], [14, 15, 16, 17]]
    assert quietly(path, flyback="keep")["data"].shape == (3, 6, *SIG)
    # where the number of frames does not fit, they were not recorded
    other = write_dectris(tmp_path, frames(12), scan=(3, 4), prescan=2, base="other")
    assert numbers(load(other))[1] == [4, 5, 6, 7]


def test_a_trigger_per_line(tmp_path: Path) -> None:
    path = write_dectris(tmp_path, frames(), triggers=(3, 4))
    signal = load(path)
    assert signal["data"].shape == (3, 4, *SIG)
    assert "3 triggers" in signal["original_metadata"]["rsciio_tem"]["scan"]["reason"]


def test_other_file_of_the_name(tmp_path: Path) -> None:
    """A file of the right name that knows nothing of a scan is not a side file."""
    path = write_dectris(tmp_path, frames())
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["notes"] = 5
    signal = load(path)
    assert signal["data"].shape == (12, *SIG)
    assert str(tmp_path / "scan.h5") not in signal["original_metadata"]["rsciio_tem"]["files"]


# ---------------------------------------------------------------- corrections


def mask(*pixels: tuple[int, int, int], sig: tuple[int, int] = SIG) -> np.ndarray:
    image = np.zeros(sig, "u4")
    for row, column, bits in pixels:
        image[row, column] = bits
    return image


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 1 << 8])
def test_masked_pixels_get_the_mean_of_their_neighbours(tmp_path: Path, bits: int) -> None:
    stored = frames()
    stored[:, 2, 3] = 2**32 - 1  # as the detector stores them
    path = write_dectris(tmp_path, stored, scan=(3, 4), mask=mask((2, 3, bits)))
    around = np.delete(stored[:, 1:4, 2:5].reshape(12, 9), 4, axis=1)
    for lazy in (False, True):
        signal = load(path, lazy=lazy, repair="mean8")
        data = np.asarray(signal["data"]).reshape(12, *SIG)
        np.testing.assert_allclose(data[:, 2, 3], around.mean(axis=1))
        np.testing.assert_array_equal(np.delete(data, 2, axis=1), np.delete(stored, 2, axis=1))
    as_stored = load(path, corrections=False)["data"]
    np.testing.assert_array_equal(as_stored, stored.reshape(3, 4, *SIG), strict=True)


def test_masked_pixels_become_zero(tmp_path: Path) -> None:
    """4 294 967 295 must not stay, and counts must not become floating-point numbers."""
    gap = np.zeros(SIG, "u4")
    gap[1:5] = 1
    stored = frames()
    stored[:, 1:5] = 2**32 - 1
    path = write_dectris(tmp_path, stored, mask=gap)
    data = load(path)["data"]
    assert data.dtype == np.uint32
    assert not data[:, 1:5].any()
    np.testing.assert_array_equal(data[:, 5:], stored[:, 5:])
    lazy = load(path, lazy=True)["data"]
    np.testing.assert_array_equal(lazy[2:5, 3:8, 1:4].compute(), data[2:5, 3:8, 1:4])
    repaired = load(path, repair="mean8")["data"]  # the inside of the gap has no good neighbour
    np.testing.assert_allclose(repaired[:, 1, 5], stored[:, 0, 4:7].mean(axis=1))
    filled = load(path, repair="fill")["data"]
    assert filled.max() < 200


def test_mask_of_another_shape_is_told(tmp_path: Path) -> None:
    path = write_dectris(tmp_path, frames(), mask=mask((1, 1, 2), sig=(12, 20)))
    with pytest.warns(RecordingWarning, match="pixel mask has the shape"):
        assert load(path)["data"].dtype == np.uint32


def test_mask_of_all_pixels_is_ignored(tmp_path: Path) -> None:
    path = write_dectris(tmp_path, frames(), mask=np.ones(SIG, "u4"))
    with pytest.warns(RecordingWarning, match="excludes all pixels"):
        assert numbers(load(path)) == list(range(12))


FLAT = np.random.default_rng(1).uniform(0.5, 2, SIG).astype("f4")


def test_stored_flat_field_is_never_applied_unasked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored = frames()
    path = write_dectris(tmp_path, stored, flatfield=FLAT)
    with caplog.at_level(logging.INFO, logger="rsciio_tem"):
        np.testing.assert_array_equal(load(path)["data"], stored, strict=True)
    assert "has a flat field that the detector did not apply" in caplog.text
    caplog.clear()
    path = write_dectris(tmp_path, stored, flatfield=FLAT, flatfield_applied=True)
    with caplog.at_level(logging.INFO, logger="rsciio_tem"):
        load(path)
    assert "flat field" not in caplog.text


def test_stored_flat_field(tmp_path: Path) -> None:
    stored = frames()
    path = write_dectris(tmp_path, stored, flatfield=FLAT)
    with pytest.warns(RecordingWarning, match="taken to be factors"):
        data = load(path, flatfield="stored")["data"]
    np.testing.assert_allclose(data, stored * FLAT, rtol=1e-6)
    with pytest.raises(ValueError, match=r"^flatfield=.* neither an array"):
        load(path, flatfield="own")


def test_flat_field_as_in_rosettasciio(tmp_path: Path) -> None:
    stored = frames(16, "u2", (8, 8))
    flat = np.random.default_rng(1).uniform(0.5, 2, (8, 8)).astype("f4")
    flat[2, 3] = 0
    path = write_dectris(tmp_path, stored, scan=(4, 4))
    ours = load(path, flatfield=flat)["data"]
    np.testing.assert_allclose(ours, arina(path, flatfield=flat)["data"], rtol=1e-5)
    with pytest.raises(FormatError, match="flatfield has the shape"):
        load(path, flatfield=np.ones((3, 3)))


def test_flat_field_and_mask(tmp_path: Path) -> None:
    stored = frames()
    path = write_dectris(tmp_path, stored, mask=mask((2, 3, 2)))
    data = load(path, flatfield=np.full(SIG, 2.0))["data"]
    np.testing.assert_array_equal(np.delete(data, 2, axis=1), np.delete(stored, 2, axis=1))


# ---------------------------------------------------------------- metadata


def test_metadata(tmp_path: Path) -> None:
    path = write_dectris(tmp_path, frames(), scan=(3, 4))
    signal = load(path)
    general = signal["metadata"]["General"]
    assert general["date"] == "2025-01-30"
    assert general["time"] == "10:15:16.170000"
    assert general["time_zone"] == "+0100"
    tem = signal["metadata"]["Acquisition_instrument"]["TEM"]
    assert tem["beam_energy"] == 300
    assert tem["camera_length"] == 115
    assert tem["rotation"] == 12.5
    camera = tem["Detector"]["Camera"]
    assert camera["name"] == "Dectris ARINA Si"
    assert camera["exposure"] == 1e-4
    assert camera["saturation_value"] == 40000
    assert signal["metadata"]["Signal"]["signal_type"] == "electron_diffraction"
    axes = [(a["name"], a["units"], a["scale"]) for a in signal["axes"]]
    assert axes == [("y", "nm", 0.25), ("x", "nm", 0.25), ("qy", "px", 1.0), ("qx", "px", 1.0)]
    master = signal["original_metadata"]["master"]
    detector = master["entry"]["instrument"]["detector"]
    assert detector["count_time"] == {"value": 1e-4, "attributes": {"units": "s"}}
    assert "data_000001" not in master["entry"].get("data", {})


def test_beam_energy_of_the_detector(tmp_path: Path) -> None:
    signal = load(write_dectris(tmp_path, frames()))
    assert signal["metadata"]["Acquisition_instrument"]["TEM"]["beam_energy"] == 200


def test_image_of_the_scan_is_the_navigator(tmp_path: Path) -> None:
    path = write_dectris(tmp_path, frames(), scan=(3, 4), haadf=True)
    navigator = load(path)["metadata"]["_HyperSpy"]["_sig_navigator"]
    assert navigator["data"].shape == (3, 4)
    assert navigator["data"][0, 1] == -6  # HAADF, not the virtual detector
    assert navigator["metadata"]["General"]["title"] == "scan [HAADF]"
    for other in ({"navigation_shape": (6, 2)}, {"roi": [1, 2]}, {"sync_offset": 1}):
        assert "_HyperSpy" not in quietly(path, **other)["metadata"]


# ---------------------------------------------------------------- what peers get wrong


def test_rosettasciio_wraps_counts(tmp_path: Path) -> None:
    """It narrows 32 to 16 bits: 70 000 becomes 4464."""
    stored = frames(16, "u4", (8, 8))
    stored[3, 2, 1] = 70_000
    path = write_dectris(tmp_path, stored, scan=(4, 4))
    assert arina(path)["data"].reshape(stored.shape)[3, 2, 1] == 4464
    signal = load(path)
    assert signal["data"].reshape(stored.shape)[3, 2, 1] == 70_000
    with pytest.raises(FormatError, match="70000 do not fit into uint16"):
        load(path, dtype="u2")


def test_rosettasciio_assumes_a_square(tmp_path: Path) -> None:
    stored = frames(16, "u2", (8, 8))
    path = write_dectris(tmp_path, stored, scan=(2, 8))
    assert arina(path)["data"].shape == (4, 4, 8, 8)
    assert load(path)["data"].shape == (2, 8, 8, 8)


def test_rosettasciio_fails_on_scans_that_are_no_square(tmp_path: Path) -> None:
    path = write_dectris(tmp_path, frames(12, "u2", (8, 8)), scan=(3, 4))
    with pytest.raises(ValueError, match="navigation_shape"):
        arina(path)
    assert load(path)["data"].shape == (3, 4, 8, 8)


def test_rosettasciio_fails_on_detectors_that_are_no_square(tmp_path: Path) -> None:
    path = write_dectris(tmp_path, frames(16, "u2"), scan=(4, 4))
    with pytest.raises(ValueError, match="broadcast"):
        arina(path)
    assert load(path)["data"].shape == (4, 4, *SIG)


def test_rosettasciio_takes_navigation_shape_the_other_way_round(tmp_path: Path) -> None:
    """Its documentation says (x, y)."""
    path = write_dectris(tmp_path, frames(12, "u2", (8, 8)))
    assert arina(path, navigation_shape=(4, 3))["data"].shape == (4, 3, 8, 8)
    assert load(path, navigation_shape=(4, 3))["data"].shape == (3, 4, 8, 8)


def test_rosettasciio_is_not_lazy(tmp_path: Path) -> None:
    path = write_dectris(tmp_path, frames(16, "u2", (8, 8)), scan=(4, 4))
    with pytest.raises(NotImplementedError):
        arina(path, lazy=True)
    assert load(path, lazy=True)["data"].shape == (4, 4, 8, 8)


def test_libertem_does_not_follow_the_links(tmp_path: Path) -> None:
    stored = frames()
    path = write_dectris(tmp_path, stored)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api = pytest.importorskip("libertem.api")
        context = api.Context.make_with("inline")
        with pytest.raises(Exception, match=r"infer|ds_path"):
            context.load("hdf5", str(path))
    np.testing.assert_array_equal(load(path)["data"], stored)


def test_libertem_reads_a_data_file(tmp_path: Path) -> None:
    stored = frames()
    write_dectris(tmp_path, stored, 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api = pytest.importorskip("libertem.api")
        from libertem.udf.raw import PickUDF

        context = api.Context.make_with("inline")
        data = context.load(
            "hdf5", str(tmp_path / "scan_data_000001.h5"), ds_path="entry/data/data"
        )
        picked = context.run_udf(data, PickUDF(), roi=np.ones(12, bool))
    np.testing.assert_array_equal(
        np.array(picked["intensity"].data), load(tmp_path / "scan_master.h5")["data"]
    )


def test_ncempy_assumes_a_square(tmp_path: Path) -> None:
    module = pytest.importorskip("ncempy.io.dectris")
    path = write_dectris(tmp_path, frames(16, "u2", (8, 8)), scan=(2, 8))
    with module.fileDECTRIS(str(path)) as file:
        shape = file.getDataset()["data"].shape
    assert shape[:2] == (4, 4)
    assert load(path)["data"].shape == (2, 8, 8, 8)


# ---------------------------------------------------------------- real files


@pytest.mark.parametrize("opened", ["test_00_master.h5", "test_00_data_000001.h5"])
def test_real_arina(realdata: Path, opened: str) -> None:
    path = realdata / "rosettasciio/arina" / opened
    (signal,) = rsciio_tem.load(path)
    assert signal["original_metadata"]["rsciio_tem"]["format"] == "dectris"
    # RosettaSciIO returns uint16; the file has 32 bits
    assert (signal["data"].shape, signal["data"].dtype) == ((4, 4, 192, 192), np.uint32)
    assert not signal["data"].any()
    assert signal["axes"][0]["scale"] == pytest.approx(0.13915206)
    theirs = arina(realdata / "rosettasciio/arina/test_00_master.h5")
    np.testing.assert_array_equal(signal["data"], theirs["data"])
    camera = signal["metadata"]["Acquisition_instrument"]["TEM"]["Detector"]["Camera"]
    assert "ARINA" in camera["name"]
    (lazy,) = rsciio_tem.load(path, lazy=True)
    assert not lazy["data"].compute().any()


def test_real_arina_without_its_data(realdata: Path, tmp_path: Path) -> None:
    folder = realdata / "hdf5/arina_headers_only"
    with pytest.raises(Truncated, match=r"its data file is not there: .*MEA_ptycho_15_data_000001"):
        rsciio_tem.load(folder / "MEA_ptycho_15_master.h5")
    for name in ("MEA_ptycho_15.h5", "MEA_ptycho_15_master.h5"):
        shutil.copyfile(folder / name, tmp_path / name)
    with h5py.File(tmp_path / "MEA_ptycho_15_data_000001.h5", "w") as file:
        file["entry/data/data"] = frames(576, "u4", (192, 192))
    signal = load(tmp_path / "MEA_ptycho_15_master.h5", lazy=True)
    assert signal["data"].shape == (24, 24, 192, 192)
    navigator = signal["metadata"]["_HyperSpy"]["_sig_navigator"]
    assert int(navigator["data"].sum()) == -993236
    assert signal["data"][1, 2, 0, 0].compute() == 26


def test_not_a_master(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a_master.h5", "w") as file:
        file["entry/data/data_000001"] = frames()
    with pytest.raises(NotThisFormat, match="not a master of a Dectris recording"):
        load(tmp_path / "a_master.h5")
    (tmp_path / "b_master.h5").write_bytes(b"\0" * 5000)
    with pytest.raises(NotThisFormat, match="not an HDF5 file"):
        load(tmp_path / "b_master.h5")
