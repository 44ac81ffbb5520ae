# SPDX-License-Identifier: GPL-3.0-or-later
"""TIFF stacks: what other programs see in those that we write, and what we see in theirs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
from PIL import Image
from writers.tiff import description, write_stack

import rsciio_tem
from rsciio_tem.errors import FormatError, RecordingWarning
from rsciio_tem.formats import tiff
from rsciio_tem.formats.tiff import writer
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.writing import stream
from rsciio_tem.writing.signal_frames import SignalFrames

NAMES, UNITS = ("t", "z", "y", "x", "ky", "kx"), ("s", "nm", "nm", "nm", "1/nm", "1/nm")


def signal_of(data: Any) -> dict[str, Any]:
    """A signal whose axes have steps of their own."""
    n = data.ndim
    axes = [
        {
            "name": NAMES[6 - n + i],
            "units": UNITS[6 - n + i],
            "scale": 0.125 * (i + 1),
            "offset": 0.0 if i < n - 2 else -1.5,
            "size": size,
            "navigate": i < n - 2,
            "index_in_array": i,
        }
        for i, size in enumerate(data.shape)
    ]
    return {"data": data, "axes": axes, "metadata": {}, "original_metadata": {}}


def values(dtype: str, shape: tuple[int, ...] = (3, 4, 12, 16)) -> np.ndarray[Any, Any]:
    """Values of a type, its limits among them."""
    data = np.random.default_rng(5).integers(0, 100, shape).astype(dtype)
    if data.dtype.kind in "iu":
        data.flat[7], data.flat[50] = np.iinfo(dtype).min, np.iinfo(dtype).max
    return data


def quietly(source: Any, target: Path, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        return Path(rsciio_tem.convert(source, target, **options))


# ---------------------------------------------------------------- what is written


@pytest.mark.parametrize("dtype", ["?", *writer.HELD, ">u2", ">f4"])
@pytest.mark.parametrize("shape", [(12, 16), (5, 12, 16), (3, 4, 12, 16), (2, 3, 4, 7, 5)])
def test_all_types_and_shapes(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    data = values(dtype, shape)
    path = quietly(signal_of(data), tmp_path / "a.tif", verify=True)
    np.testing.assert_array_equal(tifffile.imread(path), data)
    (signal,) = rsciio_tem.load(path)
    stored = np.dtype("u1") if dtype == "?" else data.dtype.newbyteorder("=")
    np.testing.assert_array_equal(signal["data"], data.astype(stored), strict=True)
    (lazy,) = rsciio_tem.load(path, lazy=True)
    np.testing.assert_array_equal(lazy["data"].compute(), signal["data"])
    for one, other in zip(signal["axes"], signal_of(data)["axes"], strict=True):
        assert {k: one[k] for k in other} == other
    assert not rsciio_tem.check(path, pixels=True)
    if stored not in (np.dtype("f2"), np.dtype("f8"), np.dtype("u8"), np.dtype("i8")):
        with Image.open(path) as image:
            assert image.n_frames == max(1, int(np.prod(shape[:-2])))
            image.seek(image.n_frames - 1)
            shown = np.asarray(image).astype(stored)
        np.testing.assert_array_equal(shown, signal["data"].reshape(-1, *shape[-2:])[-1])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_rosettasciio_reads_it(tmp_path: Path, dtype: str) -> None:
    from rsciio.tiff import file_reader

    data = values(dtype)
    path = quietly(signal_of(data), tmp_path / "a.tif")
    (signal,) = file_reader(str(path))
    np.testing.assert_array_equal(signal["data"], data)
    *_, slices, rows, columns = signal["axes"]
    assert [(a["scale"], a["units"]) for a in (rows, columns)] == [(0.375, "1/nm"), (0.5, "1/nm")]
    assert [a["offset"] for a in (rows, columns)] == [-1.5, -1.5]
    assert (slices["scale"], slices["units"]) == (0.25, "nm")


def test_what_imagej_sees(tmp_path: Path) -> None:
    data = values("uint16", (2, 3, 4, 12, 16))
    signal = signal_of(data)
    signal["axes"][4]["units"] = "µm"
    path = rsciio_tem.convert(signal, tmp_path / "a.tiff")
    with tifffile.TiffFile(path) as file:
        assert file.is_imagej
        assert not file.is_bigtiff
        assert file.series[0].axes == "TZCYX"
        assert file.series[0].shape == data.shape
        told = dict(file.imagej_metadata or {})
        tags = file.pages[0].tags
        x, y = tags["XResolution"].value, tags["YResolution"].value
        assert tags["ResolutionUnit"].value == 1
        assert len(file.pages) == 24
    assert (x[0] / x[1], y[0] / y[1]) == (1 / 0.625, 1 / 0.5)
    told.pop("rsciio_tem")
    assert told == {
        "ImageJ": "1.53t",
        "images": 24,
        "channels": 4,
        "slices": 3,
        "frames": 2,
        "hyperstack": True,
        "mode": "grayscale",
        "loop": False,
        "unit": "\\u00B5m",
        "yunit": "1/nm",
        "xorigin": 2.4,
        "yorigin": 3.0,
        "spacing": 0.25,
        "zunit": "nm",
        "min": 0.0,
        "max": 65535.0,
    }


def test_frames_along_time(tmp_path: Path) -> None:
    signal = signal_of(values("uint8", (3, 4, 12, 16)))
    signal["axes"][0] |= {"units": "ms", "scale": 40.0, "name": "time"}
    path = rsciio_tem.convert(signal, tmp_path / "a.tif")
    with tifffile.TiffFile(path) as file:
        assert (file.imagej_metadata or {})["finterval"] == 0.04


@pytest.mark.parametrize("fill", [np.nan, np.inf])
def test_range_of_finite_values(tmp_path: Path, fill: float) -> None:
    data = values("float32") + np.float32(0.5)
    data[1, 2, 3:5] = fill
    path = rsciio_tem.convert(signal_of(data), tmp_path / "a.tif", verify=True)
    with tifffile.TiffFile(path) as file:
        told = file.imagej_metadata or {}
    finite = data[np.isfinite(data)]
    assert (told["min"], told["max"]) == (finite.min(), finite.max())
    data[...] = fill
    path = rsciio_tem.convert(signal_of(data), tmp_path / "b.tif", verify=True)
    with tifffile.TiffFile(path) as file:
        assert "min" not in (file.imagej_metadata or {})
    np.testing.assert_array_equal(rsciio_tem.load(path)[0]["data"], data)


def test_beyond_4_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = values("uint16", (30, 40, 12, 16))
    monkeypatch.setattr(writer, "CLASSIC", 1 << 18)
    monkeypatch.setattr(writer, "_AT_ONCE", 100)
    monkeypatch.setattr(stream, "BLOCK", 1 << 14)
    lazy = signal_of(da.from_array(data, chunks=(7, 40, 12, 16)))
    with pytest.warns(RecordingWarning, match=r"ends at 4 GiB.*plain BigTIFF stack.*pass bin="):
        path = rsciio_tem.convert(lazy, tmp_path / "a.tif", verify=True)
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        assert not file.is_imagej
        assert len(file.pages) == 1200
        assert all(page.dataoffsets[0] > 0 for page in file.pages)
        np.testing.assert_array_equal(file.pages[1199].asarray(), data[29, 39])
        np.testing.assert_array_equal(file.asarray(), data)
    np.testing.assert_array_equal(rsciio_tem.load(path)[0]["data"], data)
    with pytest.raises(ValueError, match=r"ends at 4 GiB.*leave out imagej=True"):
        rsciio_tem.convert(lazy, tmp_path / "b.tif", imagej=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("shape", [(130, 128, 512, 256), (3, 30_000, 30_000)])
def test_layout_of_large_files(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Nothing is written: offsets beyond 32 bits are the point."""
    frames = SignalFrames.of(signal_of(da.zeros(shape, dtype="u2", chunks=(1, *shape[1:]))), "TIFF")
    with pytest.warns(RecordingWarning, match="BigTIFF"):
        target = tiff.target(frames, str(tmp_path / "a.tif"))
    pixels = int(np.prod(shape)) * 2
    assert pixels < target.nbytes < pixels + 300 * len(frames) + 3000
    (tmp_path / "head").write_bytes(target.header)
    pieces = list(target.layout.pieces())  # type: ignore[attr-defined]
    assert sum(len(pages) for _, pages in pieces) == len(frames) - 1
    if pieces:
        place, pages = pieces[-1]
        assert place + pages.nbytes == target.nbytes
        assert pages["next"][-1] == 0
        assert pages["entries"]["value"].max() == pixels - pixels // len(frames) + target.offset


@pytest.mark.parametrize(
    ("dtype", "remedy"),
    [("uint32", "uint16"), ("int32", "int16"), ("int8", "int16"), ("float64", "float32"),
     ("float16", "float32")],
)  # fmt: skip
def test_types_that_imagej_does_not_have(tmp_path: Path, dtype: str, remedy: str) -> None:
    np.save(tmp_path / "a.npy", values(dtype) % 50)
    with pytest.warns(RecordingWarning, match=f"no stacks of {dtype}.*pass dtype='{remedy}'"):
        rsciio_tem.convert(tmp_path / "a.npy", tmp_path / "a.tif")
    with pytest.raises(ValueError, match=f"pass dtype='{remedy}', or leave out imagej=True"):
        rsciio_tem.convert(tmp_path / "a.npy", tmp_path / "b.tif", imagej=True)
    rsciio_tem.convert(tmp_path / "a.npy", tmp_path / "b.tif", imagej=True, dtype=remedy)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.is_imagej
    rsciio_tem.convert(tmp_path / "a.npy", tmp_path / "c.tif", imagej=False)
    with tifffile.TiffFile(tmp_path / "c.tif") as file:
        assert not file.is_imagej
        assert file.asarray().shape == (3, 4, 12, 16)


def test_what_tiff_does_not_hold(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hold no complex64 pixels"):
        rsciio_tem.convert(signal_of(values("c8")), tmp_path / "a.tif")
    with pytest.raises(ValueError, match="imagej='yes' is none of"):
        rsciio_tem.convert(signal_of(values("u1")), tmp_path / "a.tif", imagej="yes")
    with pytest.warns(RecordingWarning, match="up to three scan axes, not 4"):
        path = rsciio_tem.convert(signal_of(values("u1", (2, 2, 2, 2, 3, 4))), tmp_path / "a.tif")
    assert rsciio_tem.load(path)[0]["data"].shape == (2, 2, 2, 2, 3, 4)


def test_steps_that_have_no_place(tmp_path: Path) -> None:
    signal = signal_of(values("u1"))
    signal["axes"][3] |= {"scale": -0.25}
    with pytest.warns(RecordingWarning, match=r"not see the step -0\.25 1/nm of axis 'kx'"):
        path = rsciio_tem.convert(signal, tmp_path / "a.tif")
    assert rsciio_tem.load(path)[0]["axes"][3]["scale"] == -0.25
    signal["axes"][3] |= {"scale": 1e-30}
    with pytest.warns(RecordingWarning, match="has no place in"):
        path = rsciio_tem.convert(signal, tmp_path / "a.tif", overwrite=True)
    assert rsciio_tem.load(path)[0]["axes"][3]["scale"] == 1e-30
    del signal["axes"][1]["scale"], signal["axes"][1]["offset"]
    signal["axes"][3] |= {"scale": 0.1}
    signal["axes"][1]["axis"] = np.array([0.0, 1.0, 4.0, 9.0])
    with pytest.warns(RecordingWarning, match="uneven, which a TIFF file cannot hold"):
        rsciio_tem.convert(signal, tmp_path / "a.tif", overwrite=True)


def test_lengths_of_plain_stacks_are_in_cm(tmp_path: Path) -> None:
    signal = signal_of(values("u4"))
    for axis in signal["axes"][2:]:
        axis |= {"units": "µm", "scale": 2.0}
    path = quietly(signal, tmp_path / "a.tif")
    with tifffile.TiffFile(path) as file:
        tags = file.pages[-1].tags
        assert tags["ResolutionUnit"].value == 3
        assert tags["XResolution"].value == (5000, 1)


def test_it_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = values("uint16", (6, 7, 12, 16))
    np.save(tmp_path / "a.npy", data)
    monkeypatch.setattr(stream, "BLOCK", 5 * 12 * 16 * 2)
    seen = 0

    def stop(frames: int) -> None:
        nonlocal seen
        seen += frames
        if seen > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rsciio_tem.convert(tmp_path / "a.npy", tmp_path / "b.tif", progress=stop)
    assert not (tmp_path / "b.tif").exists()
    rsciio_tem.convert(tmp_path / "a.npy", tmp_path / "b.tif", verify=True)
    rsciio_tem.convert(tmp_path / "a.npy", tmp_path / "c.tif")
    assert (tmp_path / "b.tif").read_bytes() == (tmp_path / "c.tif").read_bytes()
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), data)


# ---------------------------------------------------------------- what is read


def test_our_samples_are_what_tifffile_sees(tmp_path: Path) -> None:
    data = values("uint16")
    for i, how in enumerate(
        ({}, {"big": True, "imagej": False}, {"order": ">"}, {"scattered": True})
    ):
        path = write_stack(tmp_path / f"{i}.tif", data, **how)
        np.testing.assert_array_equal(tifffile.imread(path), data)


def test_axes_and_one_run(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "a.tif", values("u2"))
    recording = rsciio_tem.open(path)
    assert isinstance(recording.frames, FrameTable)
    assert len(recording.frames.runs) == 1
    (signal,) = rsciio_tem.load(path)
    assert [(a["name"], a["units"], a["scale"], a["offset"]) for a in signal["axes"]] == [
        ("y", "nm", 2.0, 1.0),
        ("x", "nm", 0.5, 0.0),
        ("ky", "1/nm", 0.25, -1.5),
        ("kx", "1/nm", 0.25, -2.0),
    ]


def test_headers_are_read_only_where_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rsciio_tem.parsing import tiff as parsing

    seen = []
    page = parsing._page
    monkeypatch.setattr(parsing, "_page", lambda *args: seen.append(1) or page(*args))
    data = values("u1", (20, 30, 4, 5))
    np.testing.assert_array_equal(
        rsciio_tem.load(write_stack(tmp_path / "a.tif", data))[0]["data"], data
    )
    assert 3 <= len(seen) < 10
    seen.clear()
    path = write_stack(tmp_path / "b.tif", data, scattered=True)
    np.testing.assert_array_equal(tiff.file_reader(path)[0]["data"], data)
    assert len(seen) == 600


@pytest.mark.parametrize("how", [{}, {"compression": "zlib"}, {"contiguous": False}])
def test_files_that_others_write_anew(tmp_path: Path, how: dict[str, Any]) -> None:
    """They may keep our description, but have another order of their own."""
    data = values("uint16")
    text = description((3, 4), (12, 16))
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for i, image in enumerate(data.reshape(-1, 12, 16)):
            file.write(image, metadata=None, description=text if i == 0 else None, **how)
    np.testing.assert_array_equal(rsciio_tem.load(path)[0]["data"], data)


def test_other_images_among_the_headers(tmp_path: Path) -> None:
    """A last header that points elsewhere is believed, not the description."""
    data = values("u2")
    path = write_stack(tmp_path / "a.tif", data)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        last, first = file.pages[11].tags["StripOffsets"], file.pages[0].dataoffsets[0]
    content[last.valueoffset : last.valueoffset + 4] = int(first).to_bytes(4, "little")
    path.write_bytes(content)
    loaded = rsciio_tem.load(path)[0]["data"]
    np.testing.assert_array_equal(loaded[2, 3], data[0, 0])
    np.testing.assert_array_equal(loaded[2, 2], data[2, 2])


def test_dropped_images_are_no_scan(tmp_path: Path) -> None:
    data = values("u2")
    text = description((3, 4), (12, 16))
    path = write_stack(tmp_path / "a.tif", data.reshape(-1, 12, 16)[:7], text=text)
    assert rsciio_tem.load(path)[0]["data"].shape == (7, 12, 16)


@pytest.mark.parametrize(
    "entry",
    ["{", "[]", '{"nav_shape": [3, 4]}', '{"nav_shape": [-3, -4], "axes": []}',
     '{"nav_shape": [1e400], "axes": []}', '{"nav_shape": [12], "axes": [1, 2, 3]}', "[" * 9000],
)  # fmt: skip
def test_descriptions_without_sense(tmp_path: Path, entry: str) -> None:
    text = f"ImageJ=1.53t\nrsciio_tem={entry}\nimages=12\nslices=4\nframes=3\n"
    data = values("u2")
    path = write_stack(tmp_path / "a.tif", data, text=text)
    (signal,) = rsciio_tem.load(path)
    np.testing.assert_array_equal(signal["data"], data)
    assert [a["scale"] for a in signal["axes"]] == [1.0] * 4


@pytest.mark.parametrize("shape", [(12, 16), (5, 12, 16), (3, 4, 12, 16), (2, 3, 4, 12, 16)])
def test_hyperstacks_of_others(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = values("float32", shape)
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True)
    assert rsciio_tem.detect(tmp_path / "a.tif")[0].format == "rsciio.tiff"
    (signal,) = rsciio_tem.load(tmp_path / "a.tif", "tiff")
    np.testing.assert_array_equal(signal["data"], data)


def test_other_stacks(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for size in (8, 8, 6):
            file.write(np.full((size, size), size, "u1"), metadata=None)
    with pytest.warns(RecordingWarning, match="1 images of another size"):
        (signal,) = rsciio_tem.load(path, "tiff")
    assert signal["data"].shape == (2, 8, 8)
    tifffile.imwrite(path, np.zeros((5, 6, 3), "u1"), photometric="rgb")
    with pytest.raises(FormatError, match="3 colours"):
        rsciio_tem.load(path, "tiff")


@pytest.mark.parametrize("cut", [1, 200, 1500, 3000])
def test_cut_off(tmp_path: Path, cut: int) -> None:
    path = write_stack(tmp_path / "a.tif", values("u2"))
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(FormatError, match="ends at byte"):
        rsciio_tem.load(path)
