# SPDX-License-Identifier: GPL-3.0-or-later
"""DigitalMicrograph: orders, several images, series, spectra, and what other readers get wrong."""

from __future__ import annotations

import csv
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from numpy.typing import NDArray
from writers import dm as writer
from writers.dm import (
    DIFFRACTION,
    RGBA,
    SCAN_FIRST,
    image,
    spectrum_image,
    swapped,
    write_dm,
    write_nion,
)

import rsciio_tem
from rsciio_tem.errors import FormatError, NotThisFormat, RecordingWarning, Truncated, Unsupported
from rsciio_tem.formats import dm
from rsciio_tem.frames.arrays import PixelMajor
from rsciio_tem.frames.protocol import ChunkHint
from rsciio_tem.parsing import dm_tags
from rsciio_tem.reading.lazy import default_chunks
from rsciio_tem.storage import backends

Array = NDArray[Any]
SCAN, FRAME = (3, 4), (6, 10)
#: Which axes become which where the file holds the scan of one pixel after the other.
TO_PIXELS, FROM_PIXELS = (2, 3, 0, 1), (2, 3, 0, 1)


@pytest.fixture
def data() -> Array:
    """A 4D scan."""
    return np.random.default_rng(5).integers(0, 4096, (*SCAN, *FRAME)).astype("u2")


def written(folder: Path, *images: dict[str, Any], name: str = "a.dm4", **how: Any) -> Path:
    return write_dm(folder / name, images, **how)


def upstream(path: Path, **options: Any) -> list[dict[str, Any]]:
    from rsciio.digitalmicrograph import file_reader

    result: list[dict[str, Any]] = file_reader(path, **options)
    return result


@pytest.fixture(scope="module")
def libertem() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api = pytest.importorskip("libertem.api", reason="LiberTEM is not installed")
        with api.Context.make_with("inline") as context:
            yield context


def frames_by_libertem(context: Any, dataset: Any) -> Array:
    from libertem.udf.raw import PickUDF

    roi = np.ones(dataset.shape.nav, bool)
    return np.asarray(context.run_udf(dataset, PickUDF(), roi=roi)["intensity"].data)


# -- how a scan is stored ------------------------------------------------------------------------


def test_newer_order_as_the_peers(tmp_path: Path, data: Array, libertem: Any) -> None:
    path = written(tmp_path, image(data, tags=swapped(True), units=DIFFRACTION))
    (signal,) = dm.file_reader(path)
    np.testing.assert_array_equal(signal["data"], data)
    np.testing.assert_array_equal(upstream(path)[0]["data"], data)
    nc = pytest.importorskip("ncempy.io.dm", reason="ncempy is not installed")
    np.testing.assert_array_equal(nc.dmReader(path)["data"], data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames = frames_by_libertem(libertem, libertem.load("dm", path=str(path)))
    np.testing.assert_array_equal(frames.reshape(data.shape), data)
    assert [axis["name"] for axis in signal["axes"]] == ["y", "x", "ky", "kx"]
    assert [axis["units"] for axis in signal["axes"]] == ["nm", "nm", "1/nm", "1/nm"]
    assert [axis["navigate"] for axis in signal["axes"]] == [True, True, False, False]


@pytest.mark.parametrize(
    ("pixels", "how", "reason"),
    [
        (False, {"tags": swapped(True)}, "Data Order Swapped = 1"),
        (True, {"tags": swapped(False)}, "Data Order Swapped = 0"),
        (False, {"units": DIFFRACTION}, "units '1/nm'"),
        (True, {"units": SCAN_FIRST}, "units '1/nm'"),
        (False, {"units": ("mrad", "mrad", "µm", "µm")}, "units 'mrad'"),
        (True, {"units": ("", "", "nm^-1", "nm⁻¹")}, "nm"),
        (False, {"tags": spectrum_image(4, 3)}, "a scan of 4 x 3 pixels"),
        (True, {"tags": spectrum_image(4, 3)}, "a scan of 4 x 3 pixels"),
    ],
)
def test_what_tells_the_order(
    tmp_path: Path, data: Array, pixels: bool, how: dict[str, Any], reason: str
) -> None:
    how = {**how, "units": [u.encode().decode() for u in how.get("units", ())]}
    stored = data.transpose(TO_PIXELS) if pixels else data
    path = written(tmp_path, image(stored, **how))
    (signal,) = dm.file_reader(path)
    np.testing.assert_array_equal(signal["data"], data)
    assert reason in signal["original_metadata"]["rsciio_tem"]["scan"]["reason"]
    (lazy,) = dm.file_reader(path, lazy=True)
    np.testing.assert_array_equal(lazy["data"], data)


@pytest.mark.parametrize("units", [(), ("", "", "nm", "nm"), ("rad", "rad", "nm", "nm")])
@pytest.mark.parametrize("ndim", [4, 5])
def test_nion_swift(tmp_path: Path, data: Array, units: tuple[str, ...], ndim: int) -> None:
    stored = data if ndim == 4 else np.stack([data, data + 1])
    path = write_nion(tmp_path / "a.dm4", stored, units)
    (signal,) = dm.file_reader(path)
    np.testing.assert_array_equal(signal["data"], stored)
    np.testing.assert_array_equal(upstream(path)[0]["data"], stored)
    assert "title" not in signal["metadata"]["General"]


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_nion_swift_without_type(tmp_path: Path, data: Array, dtype: str) -> None:
    path = write_nion(tmp_path / "a.dm4", data.astype(dtype), with_type=False)
    (signal,) = dm.file_reader(path)
    np.testing.assert_array_equal(signal["data"], data.astype(dtype), strict=True)


@pytest.mark.parametrize("unit", ["nm", "µm", "pm", "Å"])
@pytest.mark.parametrize("pixels", [False, True])
def test_lengths_on_two_axes_are_the_scan(
    tmp_path: Path, data: Array, unit: str, pixels: bool
) -> None:
    units = (unit, unit, "", "") if pixels else ("", "", unit, unit)
    path = written(tmp_path, image(data.transpose(TO_PIXELS) if pixels else data, units=units))
    (signal,) = dm.file_reader(path)
    np.testing.assert_array_equal(signal["data"], data)
    assert [axis["units"] for axis in signal["axes"]] == [unit, unit, "", ""]
    stack = written(tmp_path, image(data[0], units=(unit, unit, "")), name="stack.dm4")
    assert dm.file_reader(stack)[0]["data"].shape == data[0].shape


@pytest.mark.parametrize("scale", [0.0, np.nan, np.inf])
def test_steps_that_nobody_set(tmp_path: Path, data: Array, scale: float) -> None:
    path = written(
        tmp_path,
        image(data, tags=swapped(True), units=DIFFRACTION, scales=(0.5, scale, 2.0, scale)),
    )
    axes = dm.file_reader(path)[0]["axes"]
    assert [(a["name"], a["scale"], a["units"]) for a in axes] == [
        ("y", 1, ""),
        ("x", 2, "nm"),
        ("ky", 1, ""),
        ("kx", 0.5, "1/nm"),
    ]


@pytest.mark.parametrize("name", [np.array([78, 97], "i4"), 7, np.zeros(0, "u2"), ""])
def test_name_that_is_no_text(tmp_path: Path, data: Array, name: Any) -> None:
    path = written(tmp_path, image(data[0, 0], name=name))
    (signal,) = dm.file_reader(path)
    assert "title" not in signal["metadata"]["General"]
    spectrum = written(tmp_path, image(data[0, 0, 0], name=name), name="b.dm4")
    assert dm.file_reader(spectrum)[0]["metadata"]["General"]["title"] == ""


@pytest.mark.parametrize("shape", [(1, 1024), (1024, 1)])
def test_image_of_one_row_is_a_spectrum(tmp_path: Path, shape: tuple[int, int]) -> None:
    hs = pytest.importorskip("hyperspy.api", reason="HyperSpy is not installed")
    path = written(tmp_path, image(np.arange(1024, dtype="f4").reshape(shape)))
    ours, theirs = hs.load(path, file_format="TEM-dm"), hs.load(path, file_format="DM")
    np.testing.assert_array_equal(ours.data, np.arange(1024))
    assert type(ours) is type(theirs)
    assert ours.axes_manager.shape == theirs.axes_manager.shape == (1024,)


def test_nothing_tells_the_order(tmp_path: Path, data: Array) -> None:
    path = written(tmp_path, image(data.transpose(TO_PIXELS)))
    with pytest.warns(RecordingWarning, match=r"nothing says which .* data_order='frames'"):
        (signal,) = dm.file_reader(path)
    np.testing.assert_array_equal(signal["data"], data)
    # the keyword decides, and silences the warning
    (other,) = dm.file_reader(path, data_order="frames")
    np.testing.assert_array_equal(other["data"], data.transpose(TO_PIXELS))
    (same,) = dm.file_reader(path, data_order="pixels")
    np.testing.assert_array_equal(same["data"], data)


def test_sources_that_contradict(tmp_path: Path, data: Array) -> None:
    path = written(tmp_path, image(data, tags=swapped(True), units=SCAN_FIRST))
    with pytest.warns(RecordingWarning, match=r"Data Order Swapped = 1 says .* units"):
        (signal,) = dm.file_reader(path)
    np.testing.assert_array_equal(signal["data"], data)


def test_square_scan_and_frame_tell_nothing(tmp_path: Path) -> None:
    square = np.zeros((4, 4, 4, 4), "u1")
    path = written(tmp_path, image(square, tags=spectrum_image(4, 4)))
    with pytest.warns(RecordingWarning, match="nothing says"):
        dm.file_reader(path)


def test_bad_orders(tmp_path: Path, data: Array) -> None:
    path = written(tmp_path, image(data[0, 0]))
    with pytest.raises(ValueError, match="data_order='C' is none of auto, frames, pixels"):
        dm.file_reader(path, data_order="C")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="order='A' is neither"):
        dm.file_reader(path, order="A")  # type: ignore[arg-type]
    # what has no scan has no order
    assert dm.file_reader(path, data_order="pixels")[0]["data"].shape == FRAME
    path = written(tmp_path, image(data[0, 0, 0]), name="spectrum.dm4")
    assert dm.file_reader(path, data_order="pixels")[0]["data"].shape == (10,)


def test_line_of_diffraction_patterns_pixel_after_pixel(tmp_path: Path, data: Array) -> None:
    line = data[0]
    path = written(tmp_path, image(line.transpose(1, 2, 0), units=("nm", "1/nm", "1/nm")))
    (signal,) = dm.file_reader(path)
    np.testing.assert_array_equal(signal["data"], line)
    path = written(tmp_path, image(line, units=("1/nm", "1/nm", "s")), name="b.dm4")
    (signal,) = dm.file_reader(path)
    np.testing.assert_array_equal(signal["data"], line)
    assert [a["name"] for a in signal["axes"]] == ["z", "y", "x"]
    assert signal["axes"][0]["units"] == "s"


def test_calibrations(tmp_path: Path, data: Array) -> None:
    how = {"scales": (0.1, 0.2, 2.0, 3.0), "origins": (5.0, 3.0, 1.0, 0.0)}
    for pixels in (False, True):
        tags, stored = swapped(not pixels), data.transpose(TO_PIXELS) if pixels else data
        path = written(tmp_path, image(stored, tags=tags, **how))
        axes = dm.file_reader(path)[0]["axes"]
        order = [1, 0, 3, 2] if pixels else [3, 2, 1, 0]
        assert [a["scale"] for a in axes] == pytest.approx([how["scales"][i] for i in order])
        offsets = [-how["origins"][i] * how["scales"][i] for i in order]
        assert [a["offset"] for a in axes] == pytest.approx(offsets)


def test_missing_calibrations(tmp_path: Path, data: Array) -> None:
    """As GMS plugins leave them: fewer than there are axes, or none."""
    for n in (0, 2):
        path = written(tmp_path, image(data[0], calibrated=n, scales=(0.5, 0.5)))
        (signal,) = dm.file_reader(path)
        assert [a["scale"] for a in signal["axes"]] == [1.0, *[0.5 if n else 1.0] * 2]


def test_axes_of_one_position_are_left_out(tmp_path: Path, data: Array) -> None:
    path = written(tmp_path, image(data[:1], tags=swapped(True), scales=(1, 1, 7, 9)))
    (signal,) = dm.file_reader(path)
    assert signal["data"].shape == (4, *FRAME)
    assert (signal["axes"][0]["name"], signal["axes"][0]["scale"]) == ("x", 7)
    path = written(tmp_path, image(data[:1, :1], tags=swapped(True)), name="b.dm4")
    assert dm.file_reader(path)[0]["data"].shape == FRAME
    path = written(tmp_path, image(data[0, :1]), name="c.dm4")
    assert dm.file_reader(path)[0]["data"].shape == FRAME


@pytest.mark.parametrize("where", ["own", "parent"])
def test_scan_shape_in_tags(tmp_path: Path, data: Array, where: str) -> None:
    """TitanX: a stack, the scan in tags that binning in GMS moves below "Parent"."""
    own = {"4D STEM Tags": {"Scan shape X": 4, "Scan shape Y": 3}}
    tags = own if where == "own" else {"Parent": {"Name": "x", "ImageTags": own}}
    path = written(tmp_path, image(data.reshape(12, *FRAME), tags=tags))
    (signal,) = dm.file_reader(path)
    np.testing.assert_array_equal(signal["data"], data)
    assert [a["name"] for a in signal["axes"]] == ["y", "x", "ky", "kx"]
    (flat,) = dm.file_reader(path, scan="stack")
    assert flat["data"].shape == (12, *FRAME)


def test_scan_shape_in_tags_that_is_too_large(tmp_path: Path, data: Array) -> None:
    tags = {"4D STEM Tags": {"Scan shape X": 4, "Scan shape Y": 4}}
    path = written(tmp_path, image(data.reshape(12, *FRAME), tags=tags))
    with pytest.warns(RecordingWarning, match="3 of 4 lines"):
        (signal,) = dm.file_reader(path)
    np.testing.assert_array_equal(signal["data"], data)


@pytest.mark.parametrize("last", [0, 5, 11, 12, 13])
def test_scan_that_was_stopped(tmp_path: Path, data: Array, last: int) -> None:
    path = written(tmp_path, image(data, tags={**swapped(True), **spectrum_image(4, 3, last)}))
    if last < 12:
        with pytest.warns(RecordingWarning, match=f"stopped after {last} of 12 positions"):
            (signal,) = dm.file_reader(path)
    else:
        (signal,) = dm.file_reader(path)
    np.testing.assert_array_equal(signal["data"], data)


# -- pixel after pixel ---------------------------------------------------------------------------


def test_chunks_hold_the_whole_scan() -> None:
    """Otherwise every chunk would read the whole file."""
    for axes, wanted in (((0, 1), (1, 256)), ((1, 0), (256, 1))):
        hint = ChunkHint.of_pixels(512 * 512, 2, axes)
        chunks = default_chunks((512, 512), (256, 256), 2, hint)
        assert chunks == (512, 512, *wanted)
    hint = ChunkHint.of_pixels(64 * 64, 2)
    assert default_chunks((64, 64), (256, 256), 2, hint) == (64, 64, 32, 256)
    # one row of all frames is too much: cut it as well
    chunks = default_chunks((2048, 2048), (64, 2048), 2, ChunkHint.of_pixels(2048 * 2048, 2))
    assert chunks[:3] == (2048, 2048, 1)
    assert chunks[3] < 64


def test_reads_go_through_the_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = np.random.default_rng(1).integers(0, 9, (64, 48, 20, 30)).astype("u2")
    path = written(tmp_path, image(stored, tags=swapped(0)))
    read, lengths = backends.read, []

    def counting(file: Any, offset: int, nbytes: int, backend: Any, *more: Any) -> Any:
        lengths.append(nbytes)
        return read(file, offset, nbytes, backend, *more)

    monkeypatch.setattr(backends, "read", counting)
    monkeypatch.setattr("rsciio_tem.frames.arrays._GATHERED", 50_000)
    (signal,) = dm.file_reader(path)
    np.testing.assert_array_equal(signal["data"], stored.transpose(FROM_PIXELS))
    assert sum(lengths) == stored.nbytes
    assert len(lengths) > 50
    lengths.clear()
    lazy = dm.file_reader(path, lazy=True, chunks=(-1, -1, 16, -1))[0]["data"]
    np.testing.assert_array_equal(lazy.sum((2, 3)), stored.sum((0, 1)))
    assert sum(lengths) == stored.nbytes
    # some rows of all frames are one piece
    lengths.clear()
    np.testing.assert_array_equal(lazy[:, :, 5], stored.transpose(FROM_PIXELS)[:, :, 5])
    assert sum(lengths) == stored.nbytes // 64


def test_any_frames_and_regions(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    stored = rng.integers(0, 1 << 16, (6, 10, 40)).astype(">u2")
    path = tmp_path / "raw"
    path.write_bytes(b"head" + stored.tobytes())
    frames = PixelMajor(backends.DataFile.of(path), 4, stored.dtype, 40, (6, 10))
    whole = stored.transpose(2, 0, 1)
    for index in (
        slice(None),
        slice(3, 5),
        slice(30, None, -3),
        np.array([39, 0, 0, 17]),
        np.array([-1, 3, 4, 5, -1]),
        np.array([-1, -1]),
        slice(0, 0),
        np.arange(40)[::-1],
    ):
        part = frames[index].read_as(fill=7)
        numbers = np.arange(40)[index] if isinstance(index, slice) else index
        wanted = np.where((numbers < 0)[:, None, None], 7, whole[numbers])
        assert len(part) == len(numbers)
        for region in (None, (slice(1, 3), slice(0, 10)), (slice(2, 6), slice(3, 4))):
            cut = wanted if region is None else wanted[(slice(None), *region)]
            out = np.empty(cut.shape, part.dtype)
            part.load(out, region)
            np.testing.assert_array_equal(out, cut)
            # into a part of a larger array that is not in one piece
            wide = np.zeros((cut.shape[0], cut.shape[1], cut.shape[2] + 3), part.dtype)
            part.load(wide[:, :, 1:-2], region)
            np.testing.assert_array_equal(wide[:, :, 1:-2], cut)
    again = frames[slice(2, 9)][np.array([0, -1])]
    assert again.order is not None
    assert again.order.tolist() == [2, -1]
    assert again.blanks is not None
    assert frames.read_as(native=False).dtype == ">u2"
    with pytest.raises(Unsupported, match="flip"):
        frames.read_as(flip_y=True)
    with pytest.raises(Unsupported, match="same number of pixels"):
        frames.read_as(frame_shape=(7, 10))


def test_corrections_of_pixels(tmp_path: Path, data: Array) -> None:
    path = written(tmp_path, image(data.transpose(TO_PIXELS), tags=swapped(0)))
    dark = np.arange(60, dtype="f4").reshape(FRAME)
    dead = np.zeros(FRAME, bool)
    dead[2, 3] = True
    signals = [
        dm.file_reader(path, dark=dark, excluded_pixels=dead, lazy=lazy)[0]["data"]
        for lazy in (False, True)
    ]
    signals.append(da.asarray(signals[1]).rechunk((1, 1, -1, -1)))
    wanted = data - dark
    ring = wanted[..., 1:4, 2:5].sum((-1, -2)) - wanted[..., 2, 3]
    wanted[..., 2, 3] = ring / 8
    for found in signals:
        np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-5)


def test_order_of_rosettasciio(tmp_path: Path, data: Array) -> None:
    """Its `order` reshapes the whole array; the keyword keeps this meaning."""
    path = written(tmp_path, image(data, tags=swapped(True)))
    wanted = upstream(path, order="F")[0]["data"]
    for lazy in (False, True):
        with pytest.warns(RecordingWarning, match="data_order='pixels'"):
            (signal,) = dm.file_reader(path, order="F", lazy=lazy)
        np.testing.assert_array_equal(signal["data"], wanted)
    (signal,) = dm.file_reader(path, order="C", optimize=False)
    np.testing.assert_array_equal(signal["data"], data)
    flat = written(tmp_path, image(data[0, 0]), name="flat.dm4")
    np.testing.assert_array_equal(
        dm.file_reader(flat, order="F")[0]["data"], upstream(flat, order="F")[0]["data"]
    )


# -- several images ------------------------------------------------------------------------------


@pytest.mark.parametrize("with_thumbnail", [True, False])
def test_recording_comes_before_the_survey(
    tmp_path: Path, data: Array, with_thumbnail: bool
) -> None:
    survey = np.arange(35, dtype="f4").reshape(5, 7)
    small = data[0, :2].astype("i4")
    path = written(
        tmp_path,
        image(survey, name="Survey", units=("nm", "nm")),
        image(small, name="Small"),
        image(data, name="Scan", tags=swapped(True)),
        with_thumbnail=with_thumbnail,
    )
    signals = dm.file_reader(path, navigation_shape=(12,))
    titles = [signal["metadata"]["General"]["title"] for signal in signals]
    assert titles == ["Scan", "Survey", "Small"]
    np.testing.assert_array_equal(signals[0]["data"], data.reshape(12, *FRAME))
    np.testing.assert_array_equal(signals[1]["data"], survey)
    np.testing.assert_array_equal(signals[2]["data"], small)
    lazy = dm.file_reader(path, lazy=True)
    assert all(hasattr(signal["data"], "dask") for signal in lazy)
    # LiberTEM's dataset_index counts thumbnails too
    first = 1 if with_thumbnail else 0
    for i, wanted in enumerate((survey, small, data)):
        (signal,) = dm.file_reader(path, dataset_index=first + i)
        np.testing.assert_array_equal(signal["data"], wanted)
    assert dm.parse(path).frames.frame_shape == FRAME
    if with_thumbnail:
        (signal,) = dm.file_reader(path, dataset_index=0)
        assert signal["data"].dtype.names == ("R", "G", "B", "A")
    with pytest.raises(FormatError, match=r"no image 7.*dataset_index= one of \d: "):
        dm.file_reader(path, dataset_index=7)


def test_images_without_a_recording_keep_their_order(tmp_path: Path, data: Array) -> None:
    path = written(tmp_path, image(data[0, 0], name="A"), image(data[0, 1].astype("f8"), name="B"))
    signals = dm.file_reader(path)
    assert [s["metadata"]["General"]["title"] for s in signals] == ["A", "B"]


def test_tags_of_other_images_are_not_mixed_in(tmp_path: Path, data: Array) -> None:
    path = written(
        tmp_path,
        image(data[0, 0], name="A", tags={"Microscope Info": {"Voltage": 200000.0}}),
        image(data, name="B", tags={**swapped(1), "Microscope Info": {"Voltage": 80000.0}}),
    )
    signals = dm.file_reader(path)
    volts = [s["metadata"]["Acquisition_instrument"]["TEM"]["beam_energy"] for s in signals]
    assert volts == [80, 200]
    for signal, name in zip(signals, "BA", strict=True):
        assert list(signal["original_metadata"]["ImageList"]) == ["TagGroup0"]
        assert signal["original_metadata"]["ImageList"]["TagGroup0"]["Name"] == name


# -- kinds of pixels -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("dtype", [*writer.TYPES, RGBA])
def test_types(tmp_path: Path, version: int, little: bool, dtype: Any) -> None:
    kind = np.dtype(dtype)
    raw = np.random.default_rng(4).integers(0, 100, (3, 4, 5, kind.itemsize)).astype("u1")
    stored = raw[..., 0] > 50 if kind.kind == "b" else raw.view(kind)[..., 0]
    path = written(tmp_path, image(stored), version=version, little=little)
    unconfirmed = dtype in ("i8", "u8") or (kind == RGBA and not little)
    for lazy in (False, True):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            (signal,) = dm.file_reader(path, lazy=lazy)
        assert signal["data"].dtype == kind
        np.testing.assert_array_equal(np.asarray(signal["data"]), stored)
        told = [str(w.message) for w in caught]
        assert len(told) == unconfirmed
        assert all("no recorded file has confirmed" in text for text in told)
    if little and not unconfirmed:
        np.testing.assert_array_equal(upstream(path)[0]["data"], stored)


def test_unknown_type(tmp_path: Path, data: Array) -> None:
    for code in (0, 4, 15, 99):
        path = written(tmp_path, image(data, data_type=code))
        with pytest.raises(Unsupported, match=f"DigitalMicrograph's type {code}, which is not"):
            dm.file_reader(path)


def packed(full: Array) -> Array:
    """Return the half of a transform that files hold; the origin of `full` is in its middle."""
    middle = full.shape[1] // 2
    return np.ascontiguousarray(full[:, middle::-1])


@pytest.mark.parametrize("shape", [(8, 8), (5, 5), (4, 7), (7, 6), (1, 5), (5, 1)])
@pytest.mark.parametrize(("dtype", "code"), [("c8", 27), ("c16", 28)])
def test_fourier_transforms(tmp_path: Path, shape: tuple[int, int], dtype: str, code: int) -> None:
    """Half of the plane is stored. RosettaSciIO loses a column where the width is odd."""
    pixels = np.random.default_rng(3).normal(size=shape)
    full = np.fft.fftshift(np.fft.fft2(pixels)).astype(dtype)
    path = written(tmp_path, image(packed(full), data_type=code, sizes=shape[::-1]))
    for lazy in (False, True):
        (signal,) = dm.file_reader(path, lazy=lazy)
        assert signal["data"].dtype == dtype
        np.testing.assert_allclose(np.asarray(signal["data"]), full, atol=1e-4)
    if min(shape) > 1:
        theirs = upstream(path)[0]["data"]
        assert (theirs.shape == full.shape) == (shape[1] % 2 == 0)
        middle = shape[1] // 2
        np.testing.assert_allclose(theirs[:, : middle + 1], full[:, : middle + 1], atol=1e-4)


def test_fourier_transform_of_gms(realdata: Path) -> None:
    """A 5 x 5 transform of rows 0, 1, 2, 3, 4, with all of its columns."""
    path = realdata / "rosettasciio/digitalmicrograph/2D/test_fft_packed_complex8.dm4"
    (signal,) = dm.file_reader(path)
    wanted = np.fft.fftshift(np.fft.fft2(np.tile(np.arange(5.0), (5, 1))))
    np.testing.assert_allclose(signal["data"], wanted, atol=1e-4)
    assert upstream(path)[0]["data"].shape == (5, 4)


def test_old_fourier_transforms(tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(size=(8, 8)).astype("f4")
    path = written(tmp_path, image(values, data_type=5))
    with pytest.warns(RecordingWarning, match="packing of old versions"):
        (signal,) = dm.file_reader(path)
    np.testing.assert_array_equal(signal["data"], upstream(path)[0]["data"])
    with pytest.warns(RecordingWarning):
        (lazy,) = dm.file_reader(path, lazy=True)
    np.testing.assert_array_equal(lazy["data"], signal["data"])
    path = written(tmp_path, image(values[:, :6], data_type=5), name="b.dm4")
    with pytest.raises(Unsupported, match="squares of even size"):
        dm.file_reader(path)
    stack = written(tmp_path, image(np.zeros((2, 4, 3), "c8"), data_type=27), name="c.dm4")
    with pytest.raises(Unsupported, match="stack of Fourier transforms"):
        dm.file_reader(stack)


# -- series --------------------------------------------------------------------------------------


@pytest.fixture
def series(tmp_path: Path) -> tuple[list[Path], Array]:
    """Images in files of their own, the names of which do not sort as text."""
    frames = np.random.default_rng(8).integers(0, 999, (4, *FRAME)).astype("i2")
    paths = [
        written(tmp_path, image(f, name=f"s{n}"), name=f"s{n}.dm4", version=4)
        for n, f in zip((1, 2, 10, 11), frames, strict=True)
    ]
    written(tmp_path, image(frames[0].astype("f4")), name="other_1.dm4")
    return paths, frames


def test_series_by_list_pattern_and_number(series: tuple[list[Path], Array]) -> None:
    paths, frames = series
    folder = paths[0].parent
    for filename, options in (
        (paths, {}),
        ([str(p) for p in paths], {"lazy": True}),
        (folder / "s*.dm4", {}),
        (str(folder / "s?*.dm4"), {"lazy": True}),
        (paths[2], {"files": "numbered"}),
        (paths[3], {"files": "s*.dm4"}),
        (paths[1], {"files": paths}),
        (paths[1], {"files": [str(p) for p in paths], "same_offset": False}),
    ):
        (signal,) = dm.file_reader(filename, **options)  # type: ignore[arg-type]
        np.testing.assert_array_equal(np.asarray(signal["data"]), frames)
        assert signal["axes"][0]["navigate"]
        assert signal["original_metadata"]["rsciio_tem"]["files"] == [str(p) for p in paths]
    (signal,) = dm.file_reader(paths[::-1])  # in the order of the list
    np.testing.assert_array_equal(signal["data"], frames[::-1])
    (signal,) = dm.file_reader(paths, navigation_shape=(2, 2), first_frame=0)
    np.testing.assert_array_equal(signal["data"], frames.reshape(2, 2, *FRAME))
    # one member alone is one image
    assert dm.file_reader(paths[0])[0]["data"].shape == FRAME
    assert dm.parse(paths).count == 4
    assert dm.parse(paths[0], files="numbered").count == 4


def test_series_through_hyperspy(series: tuple[list[Path], Array]) -> None:
    hs = pytest.importorskip("hyperspy.api", reason="HyperSpy is not installed")
    paths, frames = series
    signal = hs.load(paths[2], files="numbered", lazy=True)
    np.testing.assert_array_equal(signal.data, frames)


def test_series_of_stacks(tmp_path: Path, data: Array) -> None:
    flat = data.reshape(12, *FRAME)
    paths = [
        written(tmp_path, image(flat[a:b]), name=f"{a:03}.dm3", version=3, padding=a)
        for a, b in ((0, 5), (5, 10), (10, 12))
    ]
    (signal,) = dm.file_reader(paths, nav_shape=SCAN)
    np.testing.assert_array_equal(signal["data"], data)


def test_series_reads_tags_only_where_it_must(
    series: tuple[list[Path], Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, frames = series
    read, parsed = dm_tags.read_tags, []

    def counting(path: Any, **how: Any) -> Any:
        parsed.append(Path(path).name)
        return read(path, **how)

    monkeypatch.setattr(dm_tags, "read_tags", counting)
    np.testing.assert_array_equal(dm.file_reader(paths[:2])[0]["data"], frames[:2])
    assert parsed == ["s1.dm4"]
    parsed.clear()
    np.testing.assert_array_equal(dm.file_reader(paths)[0]["data"], frames)
    assert parsed == ["s1.dm4", "s10.dm4", "s11.dm4"]  # longer names, so other places
    parsed.clear()
    dm.file_reader(paths[:2], same_offset=False)
    assert parsed == ["s1.dm4", "s2.dm4"]


def test_same_offset_is_verified(tmp_path: Path) -> None:
    """Files of one size whose pixels lie elsewhere, or have another shape, are not trusted."""
    one, two = np.arange(60, dtype="u2").reshape(FRAME), np.arange(60, 120).astype("u2")
    first = written(tmp_path, image(one, name="abcd"), name="1.dm4", padding=3)
    moved = written(tmp_path, image(two.reshape(FRAME), name="abcdef"), name="2.dm4", padding=0)
    tags = moved.read_bytes()
    assert len(tags) != len(first.read_bytes())
    moved.write_bytes(tags + b"\0" * (len(first.read_bytes()) - len(tags)))
    (signal,) = dm.file_reader([first, moved])
    np.testing.assert_array_equal(signal["data"][1], two.reshape(FRAME))
    turned = written(tmp_path, image(two.reshape(10, 6), name="abcd"), name="3.dm4", padding=3)
    assert turned.stat().st_size == first.stat().st_size
    with pytest.raises(FormatError, match=r"3\.dm4.*holds no image with frames of \(6, 10\)"):
        dm.file_reader([first, turned])
    typed = written(tmp_path, image(one.astype("i2"), name="abcd"), name="4.dm4", padding=3)
    with pytest.raises(FormatError, match=r"holds 8 x 6 of type 23, 10 x 6 of type 1\."):
        dm.file_reader([first, typed])


def test_bad_series(series: tuple[list[Path], Array], tmp_path: Path, data: Array) -> None:
    paths, _ = series
    with pytest.raises(FormatError, match="matches none"):
        dm.file_reader(tmp_path / "none*.dm4")
    with pytest.raises(ValueError, match="list of files is empty"):
        dm.file_reader([])
    with pytest.raises(FormatError, match="does not exist"):
        dm.file_reader([paths[0], tmp_path / "none.dm4"])
    with pytest.raises(TypeError, match="either a list of files"):
        dm.file_reader(paths, files="numbered")
    scan = written(tmp_path, image(data.transpose(TO_PIXELS), tags=swapped(0)), name="scan.dm4")
    with pytest.raises(Unsupported, match="not stored frame after frame"):
        dm.file_reader([scan, scan])
    spectrum = written(tmp_path, image(data[0, 0, 0]), name="spectrum.dm4")
    with pytest.raises(Unsupported, match="RosettaSciIO reads without files"):
        dm.file_reader([spectrum, spectrum])


def test_series_of_real_files(realdata: Path) -> None:
    paths = sorted((realdata / "dm/etspy").glob("BF_*.dm3"))
    assert len(paths) == 3
    (signal,) = dm.file_reader(paths[1], files="numbered")
    assert signal["data"].shape == (3, 128, 128)
    wanted = np.stack([upstream(path)[0]["data"] for path in paths])
    np.testing.assert_array_equal(signal["data"], wanted)
    assert signal["axes"][2]["units"] == "µm"


# -- what is handed to RosettaSciIO --------------------------------------------------------------

SPECTRA = (
    "dm/scifireaders/EELS_STO.dm3",
    "dm/scifireaders/SI-EELS_Spectrum_Image.dm3",
    "dm/ncem/08_carbon.dm3",
    "rosettasciio/digitalmicrograph/1D/test-EDS_spectrum.dm3",
    "rosettasciio/digitalmicrograph/1D/test-MonarcCL_spectrum-pmt.dm4",
    "rosettasciio/digitalmicrograph/2D/test-MonarcCL_mono-image.dm4",
    "rosettasciio/digitalmicrograph/2D/test-MonoCL_spectrum-SI.dm4",
    "rosettasciio/digitalmicrograph/3D/EELS_SI.dm4",
)


def same(ours: Any, theirs: Any) -> bool:
    return repr(ours) == repr(theirs)  # NaN is not equal to itself


@pytest.mark.parametrize("name", SPECTRA)
def test_spectra_are_what_rosettasciio_returns(realdata: Path, name: str) -> None:
    path = realdata / name
    for lazy in (False, True):
        (ours,), (theirs,) = dm.file_reader(path, lazy=lazy), upstream(path, lazy=lazy)
        assert set(ours) == set(theirs)
        np.testing.assert_array_equal(np.asarray(ours["data"]), np.asarray(theirs["data"]))
        assert hasattr(ours["data"], "dask") == lazy
        for part in ("axes", "metadata", "original_metadata"):
            assert same(ours[part], theirs[part])
        assert set(ours["mapping"]) == set(theirs["mapping"])
    with pytest.raises(Unsupported, match="RosettaSciIO reads"):
        dm.parse(path)
    with pytest.raises(Unsupported, match="reads without navigation_shape, dtype"):
        dm.file_reader(path, navigation_shape=(2, 2), dtype="f8")
    assert rsciio_tem.load(path)[0]["data"].shape == ours["data"].shape


def test_spectrum_beside_an_image(realdata: Path) -> None:
    path = realdata / "rosettasciio/digitalmicrograph/2D/multi_signal.dm3"
    for lazy in (False, True):
        ours, theirs = dm.file_reader(path, lazy=lazy), upstream(path, lazy=lazy)
        assert [s["data"].shape for s in ours] == [(512, 512), (512,)]
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(np.asarray(one["data"]), np.asarray(other["data"]))
        assert same(ours[1]["metadata"], theirs[1]["metadata"])
        assert same(ours[1]["axes"], theirs[1]["axes"])
        assert set(ours[1]["mapping"]) == set(theirs[1]["mapping"])
    (spectrum,) = dm.file_reader(path, dataset_index=2)
    assert spectrum["data"].shape == (512,)
    hs = pytest.importorskip("hyperspy.api", reason="HyperSpy is not installed")
    first, second = hs.load(path)
    assert second.axes_manager.signal_dimension == 1
    assert first.metadata.Acquisition_instrument.TEM.beam_energy == 300


def test_spectrum_image_beside_a_scan(tmp_path: Path, data: Array) -> None:
    tags = {"Meta Data": {"Format": "Spectrum image", "Signal": "EELS"}}
    path = written(tmp_path, image(data[0], tags=tags), image(data, tags=swapped(True)))
    scan, spectra = dm.file_reader(path)
    np.testing.assert_array_equal(scan["data"], data)
    np.testing.assert_array_equal(spectra["data"], data[0])
    assert spectra["metadata"]["Signal"]["signal_type"] == "EELS"
    assert len(spectra["post_process"]) == 2
    # beside images only, everything keeps the order that RosettaSciIO gives it
    path = written(tmp_path, image(data[0, 0]), image(data[0], tags=tags), name="b.dm4")
    for lazy in (False, True):
        shapes = [signal["data"].shape for signal in dm.file_reader(path, lazy=lazy)]
        assert shapes == [signal["data"].shape for signal in upstream(path)] == [FRAME, (4, *FRAME)]
    with pytest.raises(FormatError, match="3 of 4 scan positions"):
        dm.file_reader(path, nav_shape=(2, 2), missing="raise")


# -- metadata ------------------------------------------------------------------------------------


def flattened(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found.update(flattened(value, f"{prefix}{key}."))
        elif not key.startswith("_"):
            found[prefix + key] = value
    return found


def test_metadata_and_axes_of_rosettasciio(realdata: Path) -> None:
    """For each real image, all that HyperSpy makes of its table of tags is there without it."""
    pytest.importorskip("hyperspy.api", reason="HyperSpy is not installed")
    from hyperspy.io import dict2signal

    seen = 0
    for path in real_files(realdata):
        for ours, theirs in zip(dm.file_reader(path), upstream(path), strict=True):
            if "mapping" in ours:
                continue
            del theirs["post_process"]
            axes = [{**axis, "units": str(axis["units"])} for axis in theirs["axes"]]
            if ours["data"].shape == theirs["data"].shape:
                assert [set(a.items()) for a in ours["axes"]] == [set(a.items()) for a in axes]
            wanted = flattened(dict2signal(theirs).metadata.as_dictionary())
            wanted = {k: v for k, v in wanted.items() if "_HyperSpy" not in k}
            found = flattened(ours["metadata"])
            assert set(found) == set(wanted), path
            assert all(found[k] == pytest.approx(v, nan_ok=True) for k, v in wanted.items()), path
            own = ours["original_metadata"]
            assert set(own) - {"rsciio_tem"} == set(theirs["original_metadata"])
            seen += 1
    assert seen > 70


def test_tags_that_nobody_has_met(tmp_path: Path, data: Array) -> None:
    """They cost metadata, never the data."""
    tags = {
        "Microscope Info": {"Voltage": "high", "Illumination Mode": 7, "Stage Position": 3},
        "DataBar": "none",
        "source": 4,
    }
    path = written(tmp_path, image(data[0], tags=tags))
    (signal,) = dm.file_reader(path)
    np.testing.assert_array_equal(signal["data"], data[0])
    assert signal["metadata"]["General"]["original_filename"] == "a.dm4"
    untitled = written(tmp_path, image(data[0], name=""), name="b.dm4")
    assert "title" not in dm.file_reader(untitled)[0]["metadata"]["General"]


# -- real files ----------------------------------------------------------------------------------


def real_files(realdata: Path) -> list[Path]:
    found = [
        *(realdata / "dm").rglob("*.dm[34]"),
        *(realdata / "rosettasciio/digitalmicrograph").rglob("*.dm[34]"),
    ]
    assert len(found) > 100
    return sorted(found)


#: files for which the manifest has what another reader made of them
OTHERWISE = {
    # nionswift-io: colours as a third axis, without alpha
    *(f"{n}D/test-{k}.dm{v}" for n in (1, 2) for k in (8, 23) for v in (3, 4)),
    # LiberTEM: colours as numbers
    *(f"3D/test-{k}.dm{v}" for k in (8, 23) for v in (3, 4)),
    # RosettaSciIO: a column is lost; see test_fourier_transform_of_gms
    "2D/test_fft_packed_complex8.dm4",
}


def test_real_files(realdata: Path) -> None:
    """Shape, type, sum and checksum of every file are those of the manifest."""
    with (realdata / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["file"].endswith((".dm3", ".dm4"))]
    told = 0
    for row in rows:
        for lazy in (False, True):
            if lazy and ("1D/test-8" in row["file"] or "1D/test-23" in row["file"]):
                continue  # RosettaSciIO reads these, and not lazily
            signals = dm.file_reader(realdata / row["file"], lazy=lazy)
            data = np.asarray(signals[0]["data"])
            if "/".join(row["file"].split("/")[-2:]) in OTHERWISE:
                told += not lazy
                continue
            assert "x".join(map(str, data.shape)) == row["shape"], row["file"]
            assert str(data.dtype) == row["dtype"]
            total = complex if data.dtype.kind == "c" else float
            assert data.sum(dtype="c16" if total is complex else "f8") == pytest.approx(
                total(row["sum"]), rel=1e-5
            )
            for witness in row["oracle"].split(" | "):
                name, *what = witness.split(":")
                if name == "rsciio.dm[0]":
                    crc = f"{zlib.crc32(np.ascontiguousarray(data).tobytes()):08x}"
                    assert crc == what[-1], row["file"]
    assert len(rows) > 80
    assert told >= 9


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("kind", [8, 23])
def test_colours_of_gms(realdata: Path, version: int, kind: int) -> None:
    """Colour images whose values are known: 1, 2, 3, … in red, green and blue."""
    for ndim in (2, 3):
        name = f"{ndim}D/test-{kind}.dm{version}"
        path = realdata / "rosettasciio/digitalmicrograph" / name
        (theirs,) = upstream(path)
        for lazy in (False, True):
            (signal,) = dm.file_reader(path, lazy=lazy)
            np.testing.assert_array_equal(np.asarray(signal["data"]), theirs["data"])
            values = np.asarray(signal["data"])["R"].reshape(-1)
            np.testing.assert_array_equal(values, np.arange(1, 2**ndim + 1))


# -- where other readers fail --------------------------------------------------------------------


def test_peers_take_detector_pixels_for_scan_positions(
    tmp_path: Path, data: Array, libertem: Any
) -> None:
    """RosettaSciIO ignores how old scans are stored, LiberTEM refuses them."""
    path = written(tmp_path, image(data.transpose(TO_PIXELS), tags=swapped(0)))
    assert upstream(path)[0]["data"].shape == (*FRAME, *SCAN)
    with pytest.raises(Exception, match="C-ordered"):
        libertem.load("dm", path=str(path))
    np.testing.assert_array_equal(dm.file_reader(path)[0]["data"], data)


def test_libertem_opens_the_survey_image(tmp_path: Path, data: Array, libertem: Any) -> None:
    path = written(tmp_path, image(data[0, 0], name="survey"), image(data, tags=swapped(True)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert tuple(libertem.load("dm", path=str(path)).shape) == (1, *FRAME)
    assert dm.file_reader(path)[0]["data"].shape == data.shape


def test_libertem_cannot_map_some_sizes(tmp_path: Path, libertem: Any) -> None:
    """Its assertion fails where the size of the file is a multiple of the pixels of a frame."""
    from libertem.udf.sum import SumUDF

    frames = np.random.default_rng(1).integers(0, 99, (2, 3, 5, 9)).astype("u2")
    for padding in range(200):
        path = written(tmp_path, image(frames, tags=swapped(True)), padding=padding)
        if path.stat().st_size % 45 == 0:
            break
    else:
        pytest.fail("no such size")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = libertem.load("dm", path=str(path))
        with pytest.raises(AssertionError, match="len"):
            libertem.run_udf(dataset, SumUDF())
    for mode in (None, "r"):
        np.testing.assert_array_equal(dm.file_reader(path, mmap_mode=mode)[0]["data"], frames)
    np.testing.assert_array_equal(dm.file_reader(path, io_backend="mmap")[0]["data"], frames)


def test_ncempy_counts_thumbnails_that_are_not_there(tmp_path: Path, data: Array) -> None:
    nc = pytest.importorskip("ncempy.io.dm", reason="ncempy is not installed")
    path = written(tmp_path, image(data[0, 0]), image(data[0, 1]), with_thumbnail=False)
    with nc.fileDM(path) as file:
        np.testing.assert_array_equal(file.getDataset(0)["data"], data[0, 1])
    for i in (0, 1):
        (signal,) = dm.file_reader(path, dataset_index=i)
        np.testing.assert_array_equal(signal["data"], data[0, i])


def test_ncempy_needs_calibrations(tmp_path: Path, data: Array) -> None:
    nc = pytest.importorskip("ncempy.io.dm", reason="ncempy is not installed")
    bare = image(data[0])
    del bare["ImageData"]["Calibrations"]
    path = written(tmp_path, bare, with_thumbnail=False)
    with pytest.raises(IndexError), nc.fileDM(path) as file:
        file.getDataset(0)
    (signal,) = dm.file_reader(path)
    np.testing.assert_array_equal(signal["data"], data[0])
    assert [a["scale"] for a in signal["axes"]] == [1, 1, 1]


def test_big_endian_files(tmp_path: Path, data: Array) -> None:
    """ncempy refuses them; RosettaSciIO reads their pixels in the wrong byte order."""
    nc = pytest.importorskip("ncempy.io.dm", reason="ncempy is not installed")
    path = written(tmp_path, image(data[0]), version=3, little=False, name="mac.dm3")
    with pytest.raises(OSError, match="Little Endian"):
        nc.fileDM(path)
    np.testing.assert_array_equal(upstream(path)[0]["data"], data[0].byteswap())
    np.testing.assert_array_equal(dm.file_reader(path)[0]["data"], data[0])
    np.testing.assert_array_equal(dm.file_reader(path, lazy=True)[0]["data"], data[0])


def test_colours_lazily(tmp_path: Path) -> None:
    frames = np.random.default_rng(6).integers(0, 256, (3, *FRAME, 4)).astype("u1")
    frames = frames.view(RGBA)[..., 0]
    path = written(tmp_path, image(frames))
    with pytest.raises(ValueError, match="Lazy loading of RGBA"):
        upstream(path, lazy=True)
    (signal,) = dm.file_reader(path, lazy=True)
    assert signal["data"].dtype == RGBA
    np.testing.assert_array_equal(signal["data"].compute(), frames)
    np.testing.assert_array_equal(signal["data"][1, 2].compute(), frames[1, 2])


def test_one_image_without_thumbnail(tmp_path: Path, data: Array) -> None:
    """Also if a list of thumbnails names it, as some programs write."""
    path = written(tmp_path, image(data[0]), with_thumbnail=False)
    np.testing.assert_array_equal(dm.file_reader(path)[0]["data"], data[0])
    tree = {
        "ImageList": {0: image(data[0])},
        "Thumbnails": {0: {"ImageIndex": 0}},
    }
    path.write_bytes(writer.dm_file(tree, 4))
    np.testing.assert_array_equal(dm.file_reader(path)[0]["data"], data[0])


def test_libertem_export_is_not_needed(tmp_path: Path) -> None:
    """LiberTEM's stacks end up in .npy files with "np.uint32(4)" in the header; ours do not."""
    frames = np.random.default_rng(2).integers(0, 99, (4, 5, 9)).astype("u2")
    paths = [written(tmp_path, image(f), name=f"{i}.dm4") for i, f in enumerate(frames)]
    (signal,) = dm.file_reader(paths)
    assert all(type(axis["size"]) is int for axis in signal["axes"])
    np.save(tmp_path / "a.npy", signal["data"])
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), frames)


def test_eager_read_of_too_much_is_refused(
    tmp_path: Path, data: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hyperspy#2853: a scan larger than the memory ends in a MemoryError after minutes."""
    path = written(tmp_path, image(data, tags=swapped(True)))
    monkeypatch.setattr("rsciio_tem.storage.machine.free_memory", lambda: 1000)
    with pytest.raises(FormatError, match="lazy=True"):
        dm.file_reader(path)
    assert dm.file_reader(path, lazy=True)[0]["data"].shape == data.shape


# -- bad files -----------------------------------------------------------------------------------


def test_file_cut_in_its_pixels(tmp_path: Path, data: Array) -> None:
    for version in (3, 4):
        path = written(tmp_path, image(data, tags=swapped(True)), version=version)
        start = int(dm.parse(path).frames.runs["start"][0])  # type: ignore[attr-defined]
        path.write_bytes(path.read_bytes()[: start + 100])
        with pytest.raises(Truncated, match=r"within the pixels of an image.*lost with them"):
            dm.file_reader(path)


def test_sizes_that_lie(tmp_path: Path, data: Array) -> None:
    frame = data[0, 0]
    for sizes in ((10, 7), (1 << 20, 1 << 20), (10, 6, 2)):
        path = written(tmp_path, image(frame, sizes=sizes))
        with pytest.raises(FormatError, match="holds 120 bytes of pixels"):
            dm.file_reader(path)
    path = written(tmp_path, image(frame, sizes=(10, 5)))
    with pytest.warns(RecordingWarning, match="20 more than its sizes make"):
        (signal,) = dm.file_reader(path)
    np.testing.assert_array_equal(signal["data"], frame[:5])
    for sizes in ((10, 0), (0, 0, 0), (), (1,) * 7):
        path = written(tmp_path, image(frame, sizes=sizes))
        with pytest.raises(FormatError, match="damaged sizes"):
            dm.file_reader(path)


def test_no_images(tmp_path: Path) -> None:
    path = tmp_path / "a.dm4"
    for tree in ({"x": 1}, {"ImageList": {}}, {"ImageList": {0: {"Name": "x"}}}):
        path.write_bytes(writer.dm_file(tree, 4))
        with pytest.raises(Unsupported, match="no image"):
            dm.file_reader(path)
    path.write_bytes(b"hello" * 100)
    with pytest.raises(NotThisFormat, match="not a DM3 or DM4"):
        dm.file_reader(path)


def test_detect(tmp_path: Path, data: Array) -> None:
    for version, name in ((3, "a.dm3"), (4, "b.dm4"), (4, "c"), (4, "d.dm")):
        path = written(tmp_path, image(data[0, 0]), name=name, version=version)
        best, *_ = rsciio_tem.detect(path)
        assert best.format == "dm"
        assert rsciio_tem.load(path)[0]["data"].shape == FRAME
    gtg = written(tmp_path, image(data[0, 0]), name="a.gtg")
    assert "dm" not in [c.format for c in rsciio_tem.detect(gtg)]


def test_keywords_of_libertem(tmp_path: Path, data: Array) -> None:
    path = written(tmp_path, image(data, tags=swapped(True)))
    with pytest.raises(TypeError, match="data_order="):
        dm.file_reader(path, force_c_order=True)  # type: ignore[call-arg]
    (signal,) = dm.file_reader(path, nav_shape=(4, 3), sig_shape=(10, 6), sync_offset=0)
    assert signal["data"].shape == (4, 3, 10, 6)


def test_parsing_is_quick(tmp_path: Path, data: Array) -> None:
    """Long arrays among the tags are not walked through."""
    import time

    extra = {"Table": np.zeros(5_000_000, "f4"), **swapped(True)}
    path = written(tmp_path, image(data, tags=extra))
    started = time.perf_counter()
    recording = dm.parse(path)
    assert time.perf_counter() - started < 1
    table = recording.original_metadata["ImageList"]["TagGroup0"]["ImageTags"]["Table"]
    assert table["size"] == 5_000_000


def test_sizes_beyond_what_a_file_can_have(tmp_path: Path) -> None:
    """Bytes that are missing make lengths of 2^63 and more."""
    path = write_dm(tmp_path / "a.dm4", [image(np.ones((3, 4), "u2"))])
    content = path.read_bytes()
    for at in range(0, min(len(content), 700)):
        path.write_bytes(content[:at] + content[at + 7 :])
        try:
            dm.file_reader(path)
        except FormatError:
            continue
