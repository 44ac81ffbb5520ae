# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame caches of hexrd: the three styles, metadata and angles, damage, writing."""

from __future__ import annotations

import csv
import io
import os
import pickle
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
from writers import framecache as writer
from writers.framecache import write_fch5, write_npz, write_yaml

import rsciio_tem
from rsciio_tem.errors import FormatError, NotThisFormat, RecordingWarning, Truncated, Unsupported
from rsciio_tem.formats import framecache
from rsciio_tem.formats.framecache import entries, hdf5
from rsciio_tem.formats.framecache.archive import _table
from rsciio_tem.formats.framecache.entries import Recent
from rsciio_tem.frames.sparse import SparseFrames
from rsciio_tem.parsing.zip_archives import directory
from rsciio_tem.storage import backends

SIG = (12, 16)
ANGLES = np.stack([np.arange(7) * 0.25, np.arange(1, 8) * 0.25], axis=1)


def thin(count: int = 7, dtype: str = "u2", sig: tuple[int, int] = SIG) -> np.ndarray:
    rng = np.random.default_rng(3)
    values = rng.integers(1, 100, (count, *sig)) * (rng.random((count, *sig)) < 0.08)
    return values.astype(dtype)


def load(path: Any, **options: Any) -> dict[str, Any]:
    (signal,) = framecache.file_reader(path, **options)
    return signal


def forget() -> None:
    """Read everything anew."""
    directory.cache_clear()
    _table.cache_clear()
    entries.forget()
    backends.close_all()


STYLES = {"npz": write_npz, "fch5": write_fch5, "yml": write_yaml}


@pytest.fixture(params=STYLES)
def style(request: pytest.FixtureRequest) -> str:
    return request.param


def written(style: str, folder: Path, frames: np.ndarray, **layout: Any) -> Path:
    return STYLES[style](folder / f"scan.{style}", frames, **layout)


# ---------------------------------------------------------------- files of hexrd itself


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", ["fc_t0.npz", "fc_t10.npz", "fc_t0.fch5", "fc_nested.fch5"])
def test_files_written_by_hexrd(realdata: Path, name: str, lazy: bool) -> None:
    folder = realdata / "imageseries" / "golden"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    expected, omega = np.load(folder / "dense.npy"), np.load(folder / "omega.npy")
    if "t10" in name:  # the threshold is strict: 10 itself is gone
        expected = np.where(expected > 10, expected, 0)
    (signal,) = rsciio_tem.load(folder / name, lazy=lazy)
    np.testing.assert_array_equal(np.asarray(signal["data"]), expected, strict=True)
    np.testing.assert_array_equal(signal["original_metadata"]["omega"], omega)
    assert signal["axes"][0]["name"] == "omega"
    np.testing.assert_allclose(signal["axes"][0]["axis"], omega.mean(axis=1))
    assert len(signal["original_metadata"]["omega_wedges"]) == 2
    if "nested" in name:
        assert signal["original_metadata"]["nested"]["a"] == 1
        assert signal["original_metadata"]["nested"]["b"]["c"].tolist() == [1, 2]
    else:
        assert signal["metadata"]["General"]["title"] == "ge1"
    independent, _ = writer.read(folder / name)
    np.testing.assert_array_equal(independent, expected)


def manifest(folder: Path) -> list[dict[str, str]]:
    with open(folder / "manifest.csv", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["format"] == "hexrd"]


def test_examples_of_hexrd(realdata: Path) -> None:
    rows = manifest(realdata)
    assert len(rows) == 9
    for row in rows:
        path = realdata / row["file"]
        if not path.is_file():
            pytest.skip(f"no {path}")
        (signal,) = rsciio_tem.load(path, lazy=True)
        data = signal["data"]
        assert "x".join(map(str, data.shape)) == row["shape"]
        assert data.dtype == row["dtype"]
        matrix = load(path, sparse="scipy")["data"]
        assert int(matrix.sum(dtype="u8")) == int(row["sum"])
        assert signal["axes"][0]["name"] == "omega"
        assert 0.2 < signal["axes"][0]["scale"] < 0.3
        assert signal["original_metadata"]["NX_class"] == "NXimageseries"
        with np.load(path) as archive:
            for i in (0, 777, 1439):
                frame = np.zeros(data.shape[1:], data.dtype)
                frame[archive[f"{i}_row"], archive[f"{i}_col"]] = archive[f"{i}_data"]
                np.testing.assert_array_equal(data[i].compute(scheduler="sync"), frame)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "i4", "f4", "f8", "?", "u8"])
@pytest.mark.parametrize("style", STYLES)
def test_values(tmp_path: Path, style: str, dtype: str) -> None:
    frames = thin(dtype=dtype)
    path = written(style, tmp_path, frames)
    signal = load(path)
    np.testing.assert_array_equal(signal["data"], frames, strict=True)
    lazy = load(path, lazy=True)["data"]
    np.testing.assert_array_equal(lazy[3, 2:5, 7:].compute(), frames[3, 2:5, 7:])
    if style != "yml":
        np.testing.assert_array_equal(writer.read(path)[0], frames)
    assert rsciio_tem.detect(path)[0].format == "framecache"
    assert [(a["name"], a["units"]) for a in signal["axes"][1:]] == [
        ("height", "px"), ("width", "px")
    ]  # fmt: skip


@pytest.mark.parametrize("index", ["u2", "u4", "i8", "u1"])
@pytest.mark.parametrize("style", ["npz", "fch5"])
def test_types_of_places(tmp_path: Path, style: str, index: str) -> None:
    """Old files have 64 bits."""
    frames = thin()
    path = written(style, tmp_path, frames, index=index)
    np.testing.assert_array_equal(load(path)["data"], frames)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("shuffled", [False, True])
def test_npz_in_any_order(tmp_path: Path, compressed: bool, shuffled: bool) -> None:
    frames = thin(30)
    path = write_npz(tmp_path / "a.npz", frames, compressed=compressed, shuffled=shuffled)
    np.testing.assert_array_equal(load(path)["data"], frames)
    order = [17, 3, 3, 29, 0]
    np.testing.assert_array_equal(load(path, roi=order)["data"], frames[order])


@pytest.mark.parametrize("block", [2, 7, 1000])
@pytest.mark.parametrize("by_column", [False, True])
def test_fch5_in_any_order(
    tmp_path: Path, block: int, by_column: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hexrd's threads write frames as they get ready."""
    frames = thin(30)
    frames[4:6] = 0
    order = np.random.default_rng(1).permutation(30)
    path = write_fch5(tmp_path / "a.fch5", frames, order=order, by_column=by_column)
    monkeypatch.setattr(hdf5, "_ROWS", block)
    monkeypatch.setattr(hdf5, "_FAR", 1)
    forget()
    np.testing.assert_array_equal(load(path)["data"], frames)
    for i in range(30):
        np.testing.assert_array_equal(load(path, lazy=True)["data"][i].compute(), frames[i])
    forget()
    for index in (slice(None, None, -1), slice(3, 28, 5)):
        out = np.empty_like(frames[index])
        framecache.parse(path).frames[index].load(out)
        np.testing.assert_array_equal(out, frames[index])


@pytest.mark.parametrize("style", ["npz", "fch5"])
def test_frames_without_entries(tmp_path: Path, style: str) -> None:
    frames = np.zeros((5, *SIG), "u2")
    path = written(style, tmp_path, frames)
    np.testing.assert_array_equal(load(path)["data"], frames)
    assert load(path, sparse="scipy")["data"].nnz == 0


def test_entries_of_a_pixel_add_up(tmp_path: Path) -> None:
    """As in hexrd, where SciPy adds them; but a sum that is too large is an error."""
    path = tmp_path / "a.npz"
    arrays = {"0_row": [1, 1], "0_col": [2, 2], "0_data": np.array([200, 100], "u1")}
    np.savez(path, nframes=1, shape=SIG, dtype=b"uint16", **arrays)
    assert load(path)["data"][1, 2] == 300
    np.savez(path, nframes=1, shape=SIG, dtype=b"uint8", **arrays)
    forget()
    with pytest.raises(FormatError, match="frame 0 lists a pixel several times"):
        load(path)
    assert load(path, dtype="u2")["data"][1, 2] == 300


def test_columns_beyond_16_bits(tmp_path: Path) -> None:
    """hexrd's writer stores column 69999 as 4463, without a word."""
    frames = np.zeros((2, 3, 70000), "u2")
    frames[1, 2, 69999] = 5
    for name in ("a.npz", "a.fch5"):
        framecache.file_writer(tmp_path / name, signal_of(frames))
        np.testing.assert_array_equal(writer.read(tmp_path / name)[0], frames)
        np.testing.assert_array_equal(load(tmp_path / name)["data"], frames)


@pytest.mark.parametrize("style", ["npz", "fch5"])
def test_values_of_another_type_than_told(tmp_path: Path, style: str) -> None:
    frames = thin(dtype="u4")
    path = written(style, tmp_path, frames, dtype=b"uint16" if style == "npz" else "uint16")
    data = load(path)["data"]
    assert data.dtype == np.uint16
    np.testing.assert_array_equal(data, frames)
    forget()
    frames[frames == frames.max()] = 70000
    path = written(style, tmp_path, frames, dtype=b"uint16" if style == "npz" else "uint16")
    with pytest.raises(FormatError, match="that are not uint16"):
        load(path)


# ---------------------------------------------------------------- styles


def test_styles_are_recognised_by_content(tmp_path: Path) -> None:
    """hexrd opens each style only if it is told which; otherwise it fails in other words."""
    frames = thin()
    for style in STYLES:
        path = written(style, tmp_path, frames)
        for suffix in (".npz", ".fch5", ".dat"):
            if style == "yml" and suffix != ".dat":
                continue
            other = path.rename(path.with_suffix(suffix))
            assert rsciio_tem.detect(other)[0].format == "framecache"
            np.testing.assert_array_equal(rsciio_tem.load(other)[0]["data"], frames)
            path = other
        path.unlink()


@pytest.mark.filterwarnings("ignore")
def test_hyperspy_finds_the_reader(tmp_path: Path, style: str) -> None:
    import hyperspy.api as hs

    frames = thin()
    path = written(style, tmp_path, frames, omega=ANGLES)
    signal = hs.load(path, lazy=True)
    assert signal.axes_manager[0].name == "omega"
    np.testing.assert_array_equal(signal.inav[2].data.compute(), frames[2])
    np.testing.assert_array_equal(hs.load(path).data, frames)


def test_groups(tmp_path: Path) -> None:
    frames = thin()
    path = write_fch5(tmp_path / "state.h5", frames, group="/images/ge1")
    signal = load(path)
    np.testing.assert_array_equal(signal["data"], frames)
    assert signal["metadata"]["General"]["title"] == "state ge1"
    write_fch5(path, frames * 2, group="/images/ge2", mode="a", metadata={"panel": "two"})
    both = rsciio_tem.load(path)
    assert [s["metadata"]["General"]["title"] for s in both] == ["state ge1", "two"]
    np.testing.assert_array_equal(both[1]["data"], frames * 2)
    np.testing.assert_array_equal(load(path, group="images/ge2")["data"], frames * 2)
    with pytest.raises(FormatError, match="holds 2 frame caches") as caught:
        framecache.parse(path)
    assert "/images/ge1, /images/ge2" in caught.value.hint
    with pytest.raises(FormatError, match="no frame cache in 'images'"):
        load(path, group="images")
    npz = write_npz(tmp_path / "a.npz", frames)
    with pytest.raises(FormatError, match="no group 'images'"):
        load(npz, group="images")


def test_groups_in_circles(tmp_path: Path) -> None:
    path = write_fch5(tmp_path / "a.h5", thin(), group="/deep/er/cache")
    with h5py.File(path, "a") as file:
        file["deep/back"] = file["/"]
        file["gone"] = h5py.SoftLink("/nowhere")
        file["far"] = h5py.ExternalLink("other.h5", "/")
    assert load(path)["data"].shape == (7, *SIG)


@pytest.mark.parametrize("folder", ["", "below/"])
def test_yaml(tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are found from its own folder; hexrd needs the right current one."""
    monkeypatch.chdir("/")
    frames = thin()
    path = write_yaml(
        tmp_path / "scan.yml", frames, omega=ANGLES, folder=folder, meta="  panel: ge2\n"
    )
    signal = load(path)
    np.testing.assert_array_equal(signal["data"], frames)
    np.testing.assert_array_equal(signal["original_metadata"]["omega"], ANGLES)
    assert signal["metadata"]["General"]["title"] == "ge2"
    assert len(signal["original_metadata"]["rsciio_tem"]["files"]) == 3
    with pytest.raises(FormatError, match="without shape, nframes, dtype") as caught:
        load(tmp_path / f"{folder}scan_cache.npz")
    assert "open that one" in caught.value.hint


def test_bad_yaml(tmp_path: Path) -> None:
    path = write_yaml(tmp_path / "scan.yml", thin())
    text = path.read_text()
    for old, new, match in (
        ("scan_cache", "other", "does not exist"),
        ("nframes: 7", "nframes: 0", "not a number of frames"),
        ("nframes: 7", "nframes: many", "not a number of frames"),
        ("nframes: 7", "nframes: 100000", "said to have 100000 frames"),
        ("nframes: 7", "frames: 7", "no section data with"),
        ("[12, 16]", "[12]", "two axes"),
        ("[12, 16]", "[12, 0]", "not a shape"),
        ("[12, 16]", "no", "not a shape"),
        ("uint16", "object", "not a type of pixels"),
        ("uint16", "[1]", "not a type"),
        ("meta: {}", "meta: [1]", "instead of keys"),
        ("meta: {}", 'meta: {omega: "! load-numpy-array no.npy"}', "does not exist"),
        ("data:", "data: [", "not valid YAML"),
    ):
        assert old in text
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(FormatError, match=match) as caught:
            load(path)
        assert str(tmp_path) in caught.value.path
    path.write_text(text.replace("scan_cache.npz", "scan.yml"))
    with pytest.raises(FormatError):
        load(path)


# ---------------------------------------------------------------- metadata


def test_angles(tmp_path: Path, style: str) -> None:
    path = written(style, tmp_path, thin(), omega=ANGLES)
    axis = load(path)["axes"][0]
    assert (axis["name"], axis["units"], axis["offset"], axis["scale"]) == (
        "omega", "°", 0.125, 0.25
    )  # fmt: skip
    part = load(path, first_frame=2)
    assert part["axes"][0]["offset"] == 0.625
    np.testing.assert_array_equal(part["original_metadata"]["omega"], ANGLES[2:])
    assert load(path, omega=None)["axes"][0]["name"] == "frame"
    assert load(path, omega=ANGLES * 2)["axes"][0]["scale"] == 0.5


def test_many_angles(tmp_path: Path) -> None:
    """More than the 64 KiB that an attribute holds."""
    frames = np.zeros((5000, 2, 2), "u1")
    frames[:, 1, 1] = 1
    omega = np.stack([np.arange(5000), np.arange(1, 5001)], axis=1) * 0.01
    for name in ("a.npz", "a.fch5"):
        with pytest.warns(RecordingWarning, match="25 % of the pixels"):
            framecache.file_writer(tmp_path / name, signal_of(frames, omega=omega))
        signal = load(tmp_path / name, lazy=True)
        np.testing.assert_array_equal(signal["original_metadata"]["omega"], omega)
        np.testing.assert_array_equal(writer.read(tmp_path / name)[1]["omega"], omega)


def test_angles_that_do_not_fit(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", thin(), omega=ANGLES[:5])
    with pytest.warns(RecordingWarning, match="does not fit 7 frames"):
        signal = load(path)
    assert signal["axes"][0]["name"] == "frame"


def test_metadata_of_npz(tmp_path: Path) -> None:
    metadata = {
        "panel": np.array("ge3"),
        "bytes": np.array(b"text"),
        "number": 5,
        "table": np.eye(2),
    }
    path = write_npz(tmp_path / "a.npz", thin(), metadata=metadata)
    original = load(path)["original_metadata"]
    assert (original["panel"], original["bytes"], original["number"]) == ("ge3", "text", 5)
    np.testing.assert_array_equal(original["table"], np.eye(2))
    assert load(path)["metadata"]["General"]["title"] == "ge3"


def test_metadata_that_would_have_to_be_unpickled(tmp_path: Path) -> None:
    """None in the metadata makes an .npz that hexrd writes and cannot open (its issue 806)."""
    path = tmp_path / "a.npz"
    write_npz(path, thin(), metadata={"date": np.array(None), "kept": np.array(3)})
    with pytest.warns(RecordingWarning, match=r"date\.npy .*nothing is unpickled. It is left out"):
        signal = load(path)
    assert signal["original_metadata"]["kept"] == 3
    assert "date" not in signal["original_metadata"]
    np.testing.assert_array_equal(signal["data"], thin())


def test_pickles_are_not_executed(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "executed",)

    path = tmp_path / "a.npz"
    frames = thin()
    write_npz(path, frames, metadata={"trap": np.array([Trap()], object)})
    with pytest.warns(RecordingWarning, match="It is left out"):
        load(path)
    trapped = {"3_data": np.array([Trap()] * np.count_nonzero(frames[3]), object)}
    write_npz(path, frames, lost=["3_data"], metadata={"other": 1})
    with zipfile.ZipFile(path, "a") as archive:
        stream = io.BytesIO()
        np.lib.format.write_array(stream, trapped["3_data"], allow_pickle=True)
        archive.writestr("3_data.npy", stream.getvalue())
    forget()
    with pytest.raises(FormatError, match=r"3_data\.npy holds elements of type object"):
        load(path)
    assert not (tmp_path / "executed").exists()


def test_metadata_of_fch5(tmp_path: Path) -> None:
    nested = {"one": 1, "words": "a b", "deeper": {"table": np.arange(3)}}
    path = write_fch5(tmp_path / "a.fch5", thin(), metadata={"nested": nested, "x": 2.5})
    original = load(path)["original_metadata"]
    assert original["x"] == 2.5
    assert original["nested"]["words"] == "a b"
    assert original["nested"]["deeper"]["table"].tolist() == [0, 1, 2]


def test_scan_shape(tmp_path: Path, style: str) -> None:
    path = written(style, tmp_path, thin(12))
    assert load(path, navigation_shape=(4, 3))["data"].shape == (3, 4, *SIG)
    if style != "yml":
        path = written(style, tmp_path, thin(12), metadata={"navigation_shape": np.array([4, 3])})
        assert load(path)["data"].shape == (3, 4, *SIG)


def test_processing(tmp_path: Path, style: str) -> None:
    frames = thin()
    path = written(style, tmp_path, frames)
    data = load(path, processing=[("flip", "v"), ("rectangle", ((2, 6), (1, 9)))])["data"]
    np.testing.assert_array_equal(data, frames[:, :, ::-1][:, 2:6, 1:9])
    with pytest.raises(Unsupported, match="without corrections or processing"):
        load(path, processing=[("flip", "v")], sparse=True)


# ---------------------------------------------------------------- damage


def test_lost_frames_are_told_when_the_file_is_opened(tmp_path: Path) -> None:
    """hexrd opens such a file, and has a KeyError as soon as any frame is read."""
    frames = thin()
    path = write_npz(tmp_path / "a.npz", frames, lost=["2_row", "5_row", "5_col", "5_data"])
    with pytest.warns(RecordingWarning, match="lacks arrays of 2 of 7 frames.*: 2, 5"):
        data = load(path)["data"]
    frames[[2, 5]] = 0
    np.testing.assert_array_equal(data, frames)
    with pytest.warns(RecordingWarning):
        assert (load(path, fill_value=9)["data"][[2, 5]] == 9).all()


def test_more_or_fewer_frames_than_told(tmp_path: Path) -> None:
    frames = thin()
    path = write_npz(tmp_path / "a.npz", frames, nframes=5)
    with pytest.warns(RecordingWarning, match="holds arrays of 7 frames, and is said to have 5"):
        np.testing.assert_array_equal(load(path)["data"], frames[:5])
    for count in (10**12, 0, -3, 2.5):
        path = write_npz(tmp_path / "a.npz", frames, nframes=count)
        with pytest.raises(FormatError, match="frames"):
            load(path)
    path = write_npz(tmp_path / "a.npz", frames[:2], nframes=4, lost=["0_row", "1_col"])
    with pytest.raises(FormatError, match="none of its 4 frames"):
        load(path)


@pytest.mark.parametrize("style", ["npz", "fch5"])
def test_places_outside_of_the_frame_are_errors(tmp_path: Path, style: str) -> None:
    """SciPy refuses the whole recording; here it is the frame, by its number."""
    frames = thin()
    frames[frames > 0] = 1
    frames[:3, :, 14:] = 0
    frames[3, 0, 15] = 1
    path = written(style, tmp_path, frames, shape=np.array([12, 14]))
    lazy = load(path, lazy=True)["data"]
    np.testing.assert_array_equal(lazy[:3].compute(), frames[:3, :, :14])
    with pytest.raises(FormatError, match="frame 3 lists pixels outside"):
        lazy[3].compute()
    forget()
    with pytest.raises(FormatError, match="frame 3 lists pixels outside"):
        load(path, sparse=True)


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"shape": [1 << 40, 1 << 40]}, "frames of more than"),
        ({"shape": [-1, 5]}, "not a shape"),
        ({"shape": 5}, "two axes"),
        ({"shape": [2, 3, 4]}, "two axes"),
        ({"shape": [1.5, 2.5]}, "not a shape"),
        ({"dtype": b"O"}, "not a type of pixels"),
        ({"dtype": b"what"}, "not a type"),
        ({"dtype": b"<f16"}, "not a type of pixels"),
    ],
)
@pytest.mark.parametrize("style", ["npz", "fch5"])
def test_headers_that_lie(tmp_path: Path, style: str, told: Any, match: str) -> None:
    if style == "fch5":
        told = {k: v.decode() if isinstance(v, bytes) else v for k, v in told.items()}
    path = written(style, tmp_path, thin(), **told)
    for lazy in (False, True):
        with pytest.raises(FormatError, match=match):
            load(path, lazy=lazy)


def test_arrays_that_contradict_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    good = {"0_row": np.arange(3), "0_col": np.arange(3), "0_data": np.arange(3, dtype="u2")}
    for name, array, match in (
        ("0_row", np.arange(4), "frame 0 has 4 rows, 3 columns and 3 values"),
        ("0_col", np.arange(3.0), "elements of type float64"),
        ("0_col", np.zeros((3, 1), int), r"\(3, 1\) elements"),
        ("0_data", np.array(["a", "b", "c"]), "str|type"),
    ):
        forget()
        np.savez(path, nframes=1, shape=SIG, dtype=b"uint16", **{**good, name: array})
        with pytest.raises(FormatError, match=match):
            load(path)


def test_bombs(tmp_path: Path) -> None:
    """Arrays much longer than a frame are refused before they are inflated."""
    path = tmp_path / "a.npz"
    n = 5_000_000
    np.savez_compressed(
        path, nframes=1, shape=SIG, dtype=b"uint16",
        **{"0_row": np.zeros(n, "u2"), "0_col": np.zeros(n, "u2"), "0_data": np.zeros(n, "u2")},
    )  # fmt: skip
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    with pytest.raises(FormatError, match="larger than frames of 12 x 16"):
        load(path)
    assert tracemalloc.get_traced_memory()[1] < 3_000_000
    tracemalloc.stop()
    rows = np.zeros(100_000, "u1")
    np.savez_compressed(
        path, nframes=1, shape=SIG, dtype=b"uint8", **{"0_row": rows, "0_col": rows, "0_data": rows}
    )
    forget()
    with pytest.raises(FormatError, match="frame 0 has 100000 entries"):
        load(path)


@pytest.mark.parametrize("length", [10**6, 10**15])
def test_tables_that_are_not_there(tmp_path: Path, length: int) -> None:
    """HDF5 shows zeros for what was never written."""
    path = write_fch5(tmp_path / "a.fch5", thin(), compressed=False)
    with h5py.File(path, "a") as file:
        for name, n in (("data", 1), ("indices", 2)):
            dtype = file[name].dtype
            del file[name]
            file.create_dataset(name, (length, n), dtype, chunks=(1000, n))
        file["frame_ids"][6:8] = [0, length]
    lazy = load(path, lazy=True)["data"]
    with pytest.raises(FormatError, match=f"frame 3 has {length} entries"):
        lazy[3].compute()


def test_damaged_fch5(tmp_path: Path) -> None:
    path = tmp_path / "a.fch5"

    def changed(change: Any, match: str, kind: type[Exception] = FormatError) -> None:
        write_fch5(path, thin())
        with h5py.File(path, "a") as file:
            change(file)
        forget()
        with pytest.raises(kind, match=match):
            load(path)

    def replaced(name: str, value: Any) -> Any:
        def change(file: Any) -> None:
            del file[name]
            if value is not None:
                file[name] = value

        return change

    changed(lambda f: f.attrs.modify("HEXRD_FRAMECACHE_VERSION", 2), "version", Unsupported)
    changed(lambda f: f.attrs.create("HEXRD_FRAMECACHE_VERSION", "x"), "version", Unsupported)
    changed(lambda f: f.attrs.pop("HEXRD_FRAMECACHE_VERSION"), "no group has", NotThisFormat)
    changed(replaced("frame_ids", None), "without frame_ids")
    changed(replaced("data", None), "without data")
    changed(replaced("frame_ids", np.arange(5, dtype="u8")), "frames need 14", Truncated)
    changed(replaced("frame_ids", np.full(14, 2**63, "u8")), "frame 0 is said to have")
    changed(replaced("frame_ids", np.full(14, 10**9, "u8")), "frame 0 is said to have")
    changed(replaced("frame_ids", np.arange(14, dtype="u8")[::-1]), "frame 0 is said to have")
    changed(replaced("data", np.zeros((3, 1), "u2")), "values of")
    changed(replaced("data", np.zeros((3, 3), "u2")), "values of")
    changed(replaced("indices", np.zeros((3, 2))), "indices of type float64")
    changed(replaced("shape", np.zeros(100)), "100 elements")
    path = write_fch5(tmp_path / "a.h5", thin(), version=None)
    with pytest.raises(NotThisFormat, match="HEXRD_FRAMECACHE_VERSION"):
        load(path)
    assert rsciio_tem.detect(path)[0].format == "hdf5"


def test_other_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, image=np.zeros((3, 4)))
    assert rsciio_tem.detect(path)[0].format == "npy"
    with pytest.raises(NotThisFormat, match=r"its arrays are image\.npy"):
        load(path)
    for content in (b"", b"PK", b"nothing\n", b"\0" * 100):
        path.write_bytes(content)
        with pytest.raises(FormatError):
            load(path)


# ---------------------------------------------------------------- cost


def test_long_recordings_open_at_once(tmp_path: Path) -> None:
    """hexrd reads everything before it shows the first frame: 5 s for 16384 frames."""
    count = 5000
    frames = np.zeros((count, 8, 8), "u1")
    frames[np.arange(count), np.arange(count) % 8, 3] = 1 + np.arange(count) % 200
    path = tmp_path / "a.npz"
    framecache.file_writer(path, signal_of(frames))

    def first() -> np.ndarray:
        forget()
        data = load(path, lazy=True)["data"]
        return data[4321].compute(scheduler="sync")

    np.testing.assert_array_equal(first(), frames[4321])
    spent = []
    for _ in range(5):
        begin = time.perf_counter()
        first()
        spent.append(time.perf_counter() - begin)
    assert min(spent) < 0.1  # about 5 ms on a quiet machine; numpy.load takes 40 ms to open it
    np.testing.assert_array_equal(load(path)["data"], frames)
    assert len(pickle.dumps(framecache.parse(path).frames)) < 2000


@pytest.mark.parametrize("compressed", [False, True])
def test_one_frame_reads_its_own_arrays_only(
    tmp_path: Path, compressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = thin(200)
    path = write_npz(tmp_path / "a.npz", frames, compressed=compressed)
    data = load(path, lazy=True)["data"]
    lengths, read = [], backends.read

    def counting(file: Any, offset: int, nbytes: int, backend: Any) -> Any:
        lengths.append(nbytes)
        return read(file, offset, nbytes, backend)

    monkeypatch.setattr(backends, "read", counting)
    data[100].compute()
    assert sum(lengths) < 3000
    lengths.clear()
    data[100].compute()  # is known
    assert sum(lengths) < 100


def test_what_is_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recent = Recent(20_000)
    monkeypatch.setattr(entries, "recent", recent)
    frames = thin(60)
    path = write_npz(tmp_path / "a.npz", frames)
    for _ in range(2):
        np.testing.assert_array_equal(load(path)["data"], frames)
        assert recent.size <= 20_000
        assert 5 < len(recent.arrays) < 60
    path = write_fch5(tmp_path / "a.fch5", frames)
    np.testing.assert_array_equal(load(path)["data"], frames)
    assert recent.size <= 20_000


# ---------------------------------------------------------------- writing


def signal_of(data: Any, **original: Any) -> dict[str, Any]:
    names = ("y", "x", "height", "width")[4 - data.ndim :]
    return {
        "data": data,
        "axes": [
            {"name": name, "units": "", "scale": 1.0, "offset": 0.0, "size": n,
             "navigate": i < data.ndim - 2, "index_in_array": i}
            for i, (name, n) in enumerate(zip(names, data.shape, strict=True))
        ],
        "metadata": {},
        "original_metadata": original,
    }  # fmt: skip


KINDS = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "f4", "f8", "?", ">u2", ">f4"]


@pytest.mark.parametrize("name", ["a.npz", "a.fch5"])
@pytest.mark.parametrize("dtype", KINDS)
def test_what_we_write_is_read_without_us(tmp_path: Path, name: str, dtype: str) -> None:
    frames = thin(dtype=dtype)
    if frames.dtype.kind in "if":
        frames[2] = -frames[2]
    framecache.file_writer(tmp_path / name, signal_of(frames, omega=ANGLES, panel="ge1"))
    independent, metadata = writer.read(tmp_path / name)
    assert independent.dtype == frames.dtype.newbyteorder("=")
    np.testing.assert_array_equal(independent, frames)
    np.testing.assert_array_equal(metadata["omega"], ANGLES)
    signal = load(tmp_path / name)
    np.testing.assert_array_equal(signal["data"], frames)
    assert signal["metadata"]["General"]["title"] == "ge1"


@pytest.mark.parametrize("name", ["a.npz", "a.fch5", "a.yml"])
def test_threshold_is_strict(tmp_path: Path, name: str) -> None:
    frames = thin(dtype="i4")
    frames[0, 0, :3] = [10, 11, -5]
    framecache.file_writer(tmp_path / name, signal_of(frames), threshold=10)
    np.testing.assert_array_equal(load(tmp_path / name)["data"], np.where(frames > 10, frames, 0))
    nan = np.full((2, *SIG), np.nan)
    with pytest.raises(ValueError, match="NaN"):
        framecache.file_writer(tmp_path / f"b{name}", signal_of(nan), threshold=0)
    assert not (tmp_path / f"b{name}").exists()


@pytest.mark.parametrize("name", ["a.npz", "a.fch5"])
def test_metadata_come_back(tmp_path: Path, name: str) -> None:
    """hexrd loses or breaks each of these in one of the styles."""
    nested = {"one": 1, "none": None, "deeper": {"table": np.arange(3)}}
    original = {
        "nothing": None,
        "nested": nested,
        "shape": 5,
        "dtype": "mine",
        "nframes": "seven",
        "0_row": 3,
        "a/b": 4,
        "text": np.str_("numpy's"),
        "words": np.array(["one", "three"]),
        "ragged": [[1], [2, 3]],
        "number": 2.5,
        "flag": True,
    }
    frames = thin()
    framecache.file_writer(tmp_path / name, signal_of(frames, **original))
    assert nested == {"one": 1, "none": None, "deeper": nested["deeper"]}
    assert list(nested["deeper"]) == ["table"]
    signal = load(tmp_path / name)
    np.testing.assert_array_equal(signal["data"], frames)
    found = signal["original_metadata"]
    assert (found["text"], found["number"], found["a_b"]) == ("numpy's", 2.5, 4)
    assert found["flag"]
    assert found["words"].tolist() == ["one", "three"]
    assert found["ragged"] == "[[1], [2, 3]]"
    assert "nothing" not in found
    if name.endswith("npz"):
        assert found["metadata_shape"] == 5
        assert found["metadata_0_row"] == 3
        assert '"table": [0, 1, 2]' in found["nested"]
    else:
        assert found["shape"] == 5
        assert found["nested"]["deeper"]["table"].tolist() == [0, 1, 2]
    independent, _ = writer.read(tmp_path / name)
    np.testing.assert_array_equal(independent, frames)


@pytest.mark.parametrize("name", ["a.npz", "a.fch5"])
def test_scans_keep_their_shape(tmp_path: Path, name: str) -> None:
    frames = thin(12).reshape(3, 4, *SIG)
    framecache.file_writer(tmp_path / name, signal_of(frames))
    np.testing.assert_array_equal(load(tmp_path / name)["data"], frames)
    np.testing.assert_array_equal(writer.read(tmp_path / name)[0], frames.reshape(12, *SIG))
    framecache.file_writer(tmp_path / f"one_{name}", signal_of(frames[0, 0]))
    np.testing.assert_array_equal(writer.read(tmp_path / f"one_{name}")[0], frames[0, :1])


def test_output_yaml(tmp_path: Path) -> None:
    frames = thin()
    signal = signal_of(frames, omega=ANGLES, panel="ge1")
    framecache.file_writer(tmp_path / "a.npz", signal, output_yaml=True)
    framecache.file_writer(tmp_path / "b.yml", signal)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a-omega.npy", "a.npz", "a.yml", "b-omega.npy", "b.npz", "b.yml"
    ]  # fmt: skip
    for name in ("a.yml", "b.yml", "a.npz", "b.npz"):
        found = load(tmp_path / name)
        np.testing.assert_array_equal(found["data"], frames)
        np.testing.assert_array_equal(found["original_metadata"]["omega"], ANGLES)
    np.testing.assert_array_equal(writer.read(tmp_path / "b.npz")[0], frames)
    with pytest.raises(ValueError, match=r"names an \.npz"):
        framecache.file_writer(tmp_path / "a.fch5", signal, output_yaml=True)


@pytest.mark.parametrize("compression", ["deflate", "stored"])
def test_compression(tmp_path: Path, compression: Any) -> None:
    frames = thin()
    framecache.file_writer(tmp_path / "a.npz", signal_of(frames), compression=compression)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert archive.testzip() is None
        kinds = {info.compress_type for info in archive.infolist()}
    assert kinds == {8 if compression == "deflate" else 0}
    np.testing.assert_array_equal(load(tmp_path / "a.npz")["data"], frames)


def test_more_members_than_16_bits_count(tmp_path: Path) -> None:
    """ZIP64."""
    frames = np.zeros((22000, 1, 2), "u1")
    frames[:, 0, 1] = np.arange(22000) % 7
    with pytest.warns(RecordingWarning, match="% of the pixels"):
        framecache.file_writer(tmp_path / "a.npz", signal_of(frames), compression="stored")
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert len(archive.namelist()) == 66003
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["21999_data"].tolist() == [21999 % 7]
    np.testing.assert_array_equal(load(tmp_path / "a.npz")["data"], frames)


def test_places_in_the_archive_beyond_32_bits(tmp_path: Path) -> None:
    from rsciio_tem.writing.sparse import _npy_header, _Zip

    with open(tmp_path / "a.npz", "wb") as file:
        archive = _Zip(file, 0)
        content = _npy_header("<u2", (0,))
        archive.add("0_row.npy", zlib.crc32(content), len(content), content)
        file.seek(5 << 30)  # a hole, as if there were many others
        archive.at = 5 << 30
        for part in ("col", "data"):
            archive.add(f"0_{part}.npy", zlib.crc32(content), len(content), content)
        archive.close()
    with zipfile.ZipFile(tmp_path / "a.npz") as opened:
        assert opened.read("0_data.npy") == content
        assert opened.getinfo("0_col.npy").header_offset == 5 << 30
    found = directory(backends.DataFile.of(tmp_path / "a.npz"))
    assert found.members["offset"].tolist()[1] == 5 << 30
    assert {i: bytes(c) for i, c in found.contents(np.arange(3))} == dict.fromkeys(
        range(3), content
    )


@pytest.mark.parametrize("name", ["a.npz", "a.fch5", "a.yml"])
def test_writing_lazily(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsciio_tem.writing.stream.BLOCK", 5 * 384)
    frames = thin(23)
    largest = []

    def counted(block: np.ndarray) -> np.ndarray:
        largest.append(len(block))
        return block

    lazy = da.from_array(frames, chunks=(4, -1, -1)).map_blocks(counted, dtype="u2")
    framecache.file_writer(tmp_path / name, signal_of(lazy))
    assert max(largest) <= 4
    np.testing.assert_array_equal(load(tmp_path / name)["data"], frames)
    with pytest.raises(FileExistsError):
        framecache.file_writer(tmp_path / name, signal_of(lazy))
    framecache.file_writer(tmp_path / name, signal_of(frames * 2), overwrite=True)
    forget()
    np.testing.assert_array_equal(load(tmp_path / name)["data"], frames * 2)
    again = load(tmp_path / name, lazy=True)
    with pytest.raises(FormatError, match="is the recording that"):
        framecache.file_writer(tmp_path / name, again, overwrite=True)


@pytest.mark.parametrize("name", ["a.npz", "a.fch5", "a.yml"])
def test_convert(tmp_path: Path, name: str) -> None:
    frames = thin()
    source = write_npz(tmp_path / "source.npz", frames, omega=ANGLES)
    path = rsciio_tem.convert(source, tmp_path / name, verify=True, threshold=20)
    found = load(path)
    np.testing.assert_array_equal(found["data"], np.where(frames > 20, frames, 0))
    np.testing.assert_array_equal(found["original_metadata"]["omega"], ANGLES)


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    def broken(block: np.ndarray) -> np.ndarray:
        raise OSError("disk on fire")

    lazy = da.from_array(thin(), chunks=(2, -1, -1)).map_blocks(broken, dtype="u2", meta=thin(0))
    for name in ("a.npz", "a.fch5", "a.yml"):
        with pytest.raises(OSError, match="disk on fire"):
            framecache.file_writer(tmp_path / name, signal_of(lazy))
    assert os.listdir(tmp_path) == []


def test_angles_of_an_axis(tmp_path: Path) -> None:
    signal = signal_of(thin())
    signal["axes"][0] |= {"name": "omega", "units": "°", "offset": 10.0, "scale": 0.5}
    framecache.file_writer(tmp_path / "a.npz", signal)
    omega = writer.read(tmp_path / "a.npz")[1]["omega"]
    np.testing.assert_allclose(omega[0], [9.75, 10.25])
    np.testing.assert_allclose(omega[:, 1] - omega[:, 0], 0.5)
    uneven = {k: v for k, v in signal["axes"][0].items() if k not in ("offset", "scale")}
    signal["axes"][0] = {**uneven, "axis": np.array([0.0, 1, 3, 4, 5, 6, 7])}
    framecache.file_writer(tmp_path / "b.npz", signal)
    omega = writer.read(tmp_path / "b.npz")[1]["omega"]
    np.testing.assert_allclose(omega[:3], [[-0.5, 0.5], [0.5, 2], [2, 3.5]])
    framecache.file_writer(tmp_path / "c.npz", signal, omega=None)
    assert "omega" not in writer.read(tmp_path / "c.npz")[1]
    framecache.file_writer(tmp_path / "d.npz", signal, omega=ANGLES)
    np.testing.assert_array_equal(writer.read(tmp_path / "d.npz")[1]["omega"], ANGLES)


def test_impossible_files(tmp_path: Path) -> None:
    signal = signal_of(thin())
    for name, options, match in (
        ("a.tif", {}, "are called"),
        ("a.npz", {"group": "/x"}, "have groups"),
        ("a.npz", {"compression": "best"}, "neither deflate nor stored"),
        ("a.fch5", {"compression": "stored"}, r"is for \.npz"),
    ):
        with pytest.raises(ValueError, match=match):
            framecache.file_writer(tmp_path / name, signal, **options)
    framecache.file_writer(tmp_path / "a.fch5", signal, group="images/ge1")
    np.testing.assert_array_equal(writer.read(tmp_path / "a.fch5", "images/ge1")[0], thin())
    np.testing.assert_array_equal(load(tmp_path / "a.fch5")["data"], thin())


@pytest.mark.parametrize("name", ["a.npz", "a.fch5"])
def test_sparse_arrays(tmp_path: Path, name: str) -> None:
    frames = thin()
    framecache.file_writer(tmp_path / name, signal_of(frames))
    coo = load(tmp_path / name, sparse=True)["data"]
    np.testing.assert_array_equal(coo.todense(), frames)
    lazy = load(tmp_path / name, sparse=True, lazy=True, chunks=3)["data"]
    np.testing.assert_array_equal(lazy.sum(axis=0).compute().todense(), frames.sum(axis=0))
    matrix = load(tmp_path / name, sparse="scipy")["data"]
    np.testing.assert_array_equal(matrix.toarray(), frames.reshape(7, -1))
    found = framecache.parse(tmp_path / name).frames
    assert isinstance(found, SparseFrames)
    assert len(found[2:5].triplets().values) == np.count_nonzero(frames[2:5])


def test_a_member_that_is_cut_in_its_first_bytes(tmp_path: Path) -> None:
    """Every length of the beginning of a .npy is told, not only what has a whole header."""
    path = tmp_path / "a.npz"
    write_npz(path, np.eye(6, dtype="u2")[None].repeat(3, 0))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for length in (0, 5, 6, 7, 9, 11):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content[:length] if name == "1_data.npy" else content)
        with pytest.raises(FormatError, match="1_data"):
            rsciio_tem.load(path)
