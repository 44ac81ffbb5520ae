# SPDX-License-Identifier: GPL-3.0-or-later
"""Real Merlin recordings beside what other readers make of them.

``manifest.csv`` lists for each recording the shape, type, sum and CRC-32 (of the pixels in C
order, little-endian) that RosettaSciIO and LiberTEM gave. RosettaSciIO's images are flipped
vertically, LiberTEM's are as stored.
"""

from __future__ import annotations

import csv
import importlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rsciio_tem.errors import Truncated
from rsciio_tem.formats import mib
from rsciio_tem.formats.mib.header import parse_header

peers_warn = pytest.mark.filterwarnings("default")

VENDOR = "mib/rsciio/Merlin_Single_Quad"
MATKRAJ = (
    "mib/matkraj/Merlin_Test_Data_{n}_Frame{s}/Merlin_Test_Data_{n}_Frame{s}/{chip}_{n}_Frame{s}"
)
KINDS = ["1", "1RAW", "6", "12", "24"]


def _name(folder: str, chip: str, n: int, kind: str, s: str) -> str:
    depth, raw = kind.removesuffix("RAW"), "RAW" if kind.endswith("RAW") else ""
    return f"{folder}/{chip}_{n}_Frame{s}_CounterDepth_{depth}_Rows_256{raw}.mib"


VENDOR_FILES = [
    _name(VENDOR, chip, n, kind, "")
    for chip in ("Single", "Quad")
    for n in (1, 9)
    for kind in KINDS
]
MATKRAJ_FILES = [
    _name(MATKRAJ.format(n=n, s=s, chip=chip), chip, n, kind, s)
    for chip in ("Single", "Quad")
    for n, s in ((1, ""), (9, "s"))
    for kind in KINDS
]
SCANS = [
    f"mib/rsciio/Merlin_navigation4x2_ROI/{n}.mib" for n in ("001_4x2_6bit", "002_4x2_6bit_roi128")
]
OTHERS = ["mib/skued/test.mib", "mib/matkraj/example.mib"]
FILES = [*VENDOR_FILES, *MATKRAJ_FILES, *SCANS, *OTHERS]

every_file = pytest.mark.parametrize("name", FILES, ids=lambda name: name.rsplit("/", 1)[1])
processed_files = pytest.mark.parametrize(
    "name",
    [name for name in (*VENDOR_FILES, *SCANS, *OTHERS) if "RAW" not in name],
    ids=lambda name: name.rsplit("/", 1)[1],
)


def read(path: Any, **options: Any) -> dict[str, Any]:
    (signal,) = mib.file_reader(path, **options)
    return signal


def found(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.exists():
        pytest.skip(f"no real recording {name}")
    return path


def crc(data: np.ndarray) -> str:
    little = np.ascontiguousarray(data, data.dtype.newbyteorder("<"))
    return f"{zlib.crc32(little.tobytes()):08x}"


@pytest.fixture(scope="module")
def manifest(realdata: Path) -> dict[str, dict[str, str]]:
    path = realdata / "manifest.csv"
    if not path.exists():
        pytest.skip("the real recordings have no manifest.csv")
    with path.open(newline="", encoding="utf-8") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def oracles(row: dict[str, str]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and checksum by the name of the reader that gave them."""
    result = {}
    for entry in row["oracle"].split(" | "):
        reader, shape, dtype, checksum = entry.rsplit(":", 3)
        if dtype != row["dtype"]:  # LiberTEM's glob once merged a recording with its RAW twin
            continue
        result[reader] = (tuple(int(n) for n in shape.split("x")), checksum)
    return result


def test_no_recording_is_left_out(manifest: dict[str, dict[str, str]]) -> None:
    listed = {name for name in manifest if name.startswith("mib/") and name.endswith(".mib")}
    assert listed == set(FILES)


@every_file
@pytest.mark.parametrize("lazy", [False, True])
def test_shape_type_sum_and_checksums(
    realdata: Path, manifest: dict[str, dict[str, str]], name: str, lazy: bool
) -> None:
    path, row = found(realdata, name), manifest[name]
    data = read(path, lazy=lazy)["data"]
    stored = read(path, lazy=lazy, flip_y=False)["data"]
    if lazy:
        data, stored = data.compute(), stored.compute()
    assert str(data.dtype) == row["dtype"]
    assert int(data.sum(dtype=np.uint64)) == int(row["sum"])
    checked = 0
    for reader, (shape, checksum) in oracles(row).items():
        if "sum over nav" in reader:
            continue
        ours = data if reader == "rsciio" else stored
        assert ours.size == np.prod(shape), reader
        assert ours.shape[-2:] == shape[-2:], reader
        assert crc(ours) == checksum, reader
        checked += 1
    assert checked


@every_file
def test_scan_shape(realdata: Path, name: str) -> None:
    signal = read(found(realdata, name), lazy=True)
    scan = signal["data"].shape[:-2]
    if name in SCANS:  # one frame in eight comes 0.02 % later: the end of the first line
        assert scan == (2, 4)
        assert signal["original_metadata"]["rsciio_tem"]["scan"]["rule"] == "timestamps"
    elif "example" in name:
        assert scan == (2,)
    else:
        assert scan == ((9,) if "_9_" in name else ())


@every_file
def test_opened_through_hdr(realdata: Path, name: str) -> None:
    hdr = found(realdata, name).with_suffix(".hdr")
    if not hdr.exists():
        pytest.skip("has no .hdr")
    through_hdr, direct = read(hdr), read(found(realdata, name))
    np.testing.assert_array_equal(through_hdr["data"], direct["data"])
    assert through_hdr["axes"] == direct["axes"]
    assert through_hdr["metadata"] == direct["metadata"]


# -- other readers -------------------------------------------------------------------------------


def contains(ours: Any, theirs: Any, where: str = "") -> None:
    if isinstance(theirs, dict):
        for key, value in theirs.items():
            assert key in ours, f"{where}.{key}"
            contains(ours[key], value, f"{where}.{key}")
    elif theirs is not None and str(theirs) not in ("", "()"):
        assert ours == theirs, f"{where}: {ours!r}, RosettaSciIO {theirs!r}"


@peers_warn
@processed_files
def test_pixels_and_metadata_of_rosettasciio(realdata: Path, name: str) -> None:
    peer = pytest.importorskip("rsciio.quantumdetector")
    path = found(realdata, name)
    (theirs,) = peer.file_reader(str(path))
    ours = read(path)
    np.testing.assert_array_equal(ours["data"].reshape(theirs["data"].shape), theirs["data"])
    contains(ours["metadata"], theirs["metadata"])
    guessed = ours["data"].shape != theirs["data"].shape
    assert guessed == (name.endswith("Quad_9_Frame_CounterDepth_24_Rows_256.mib"))
    tree = theirs["original_metadata"]
    theirs_nav = tree["mib_properties"].pop("navigation_shape")
    if not guessed:  # by the jitter of the clock, see test_mib_peers.py; axes of length 1 aside
        ours_nav = ours["original_metadata"]["mib_properties"]["navigation_shape"]
        assert ours_nav == tuple(n for n in theirs_nav if n > 1)
    contains(ours["original_metadata"], tree)


@peers_warn
@processed_files
def test_module_functions_of_rosettasciio(realdata: Path, name: str) -> None:
    peer = pytest.importorskip("rsciio.quantumdetector")
    path = str(found(realdata, name))
    data, heads = mib.load_mib_data(path, return_headers=True)
    their_data, their_heads = peer.load_mib_data(path, return_headers=True)
    np.testing.assert_array_equal(data, their_data)
    np.testing.assert_array_equal(heads, their_heads)
    assert mib.parse_timestamps(heads) == peer.parse_timestamps(their_heads)
    assert mib.parse_exposures(heads) == peer.parse_exposures(their_heads)
    content = Path(path).read_bytes()
    np.testing.assert_array_equal(mib.load_mib_data(content), their_data)
    properties = mib.MIBProperties()
    properties.parse_file(path)
    theirs = importlib.import_module("rsciio.quantumdetector._api").MIBProperties()
    theirs.parse_file(path)
    contains(vars(properties), vars(theirs))
    hdr = Path(path).with_suffix(".hdr")
    if hdr.exists():
        parse = importlib.import_module("rsciio.quantumdetector._api").parse_hdr_file
        assert mib.parse_hdr_file(hdr) == parse(hdr)


@pytest.fixture(scope="module")
def libertem() -> Iterator[Any]:
    api = pytest.importorskip("libertem.api")
    context = api.Context.make_with("inline")
    yield context
    context.close()


@peers_warn
@pytest.mark.parametrize(
    "name", [*VENDOR_FILES, *SCANS, *OTHERS], ids=lambda name: name.rsplit("/", 1)[1]
)
def test_pixels_of_libertem(realdata: Path, libertem: Any, name: str) -> None:
    from libertem.io.dataset.base import BufferedBackend
    from libertem.udf.raw import PickUDF

    path = found(realdata, name)
    ours = read(path, flip_y=False)["data"]
    ours = ours.reshape(-1, *ours.shape[-2:])
    dataset = libertem.load(
        "mib",
        path=str(path),
        nav_shape=(len(ours),),
        disable_glob=True,
        io_backend=BufferedBackend(),  # the default one cannot read 1-bit RAW
    )
    picked = libertem.run_udf(dataset=dataset, udf=PickUDF(), roi=np.ones(len(ours), bool))
    np.testing.assert_array_equal(ours, np.asarray(picked["intensity"].data))


# -- RAW beside processed ------------------------------------------------------------------------


def pair(realdata: Path, chip: str, n: int, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the RAW and the processed 1-bit recording, made one after the other."""
    raw, processed = (
        read(found(realdata, _name(VENDOR, chip, n, kind, "")), **options)["data"]
        for kind in ("1RAW", "1")
    )
    return raw.reshape(-1, *raw.shape[-2:]), processed.reshape(-1, *processed.shape[-2:])


@pytest.mark.parametrize("chip", ["Single", "Quad"])
@pytest.mark.parametrize("n", [1, 9])
def test_raw_counts_like_its_processed_twin(realdata: Path, chip: str, n: int) -> None:
    raw, processed = pair(realdata, chip, n)
    assert raw.shape == processed.shape
    assert raw.dtype == processed.dtype
    assert set(np.unique(raw)) == set(np.unique(processed)) == {0, 1}
    assert raw.mean() == pytest.approx(processed.mean(), rel=0.01)
    rows = raw.shape[1] // 4  # and in every part of the image
    for y in range(4):
        for x in range(4):
            part = (slice(None), slice(y * rows, (y + 1) * rows), slice(x * rows, (x + 1) * rows))
            assert raw[part].mean() == pytest.approx(processed[part].mean(), rel=0.2, abs=0.01)


@pytest.mark.parametrize("flip_y", [True, False])
@pytest.mark.parametrize("chip", ["Single", "Quad"])
def test_raw_is_oriented_like_its_processed_twin(realdata: Path, chip: str, flip_y: bool) -> None:
    """Pixels that never count are the same ones; chip by chip no other orientation fits."""
    raw, processed = (frames.max(axis=0) == 0 for frames in pair(realdata, chip, 9, flip_y=flip_y))
    both = np.count_nonzero(raw & processed)
    assert 0 < np.count_nonzero(processed) < processed.size
    assert both > 0.999 * np.count_nonzero(processed)
    assert both > 0.999 * np.count_nonzero(raw)
    for y in range(0, len(raw), 256):
        for x in range(0, len(raw), 256):
            ours, theirs = raw[y : y + 256, x : x + 256], processed[y : y + 256, x : x + 256]
            right = np.count_nonzero(ours & theirs)
            for turned in (ours[::-1], ours[:, ::-1], ours[::-1, ::-1], ours.T):
                assert np.count_nonzero(turned & theirs) < right


def test_quad_chips_are_where_the_processed_twin_has_them(realdata: Path) -> None:
    raw, processed = (frames.max(axis=0) == 0 for frames in pair(realdata, "Quad", 9))
    chips = [(slice(y, y + 256), slice(x, x + 256)) for y in (0, 256) for x in (0, 256)]
    for here in chips:
        right = np.count_nonzero(raw[here] & processed[here])
        for other in chips:
            if other != here:
                assert np.count_nonzero(raw[other] & processed[here]) < right


# -- headers -------------------------------------------------------------------------------------


def test_headers_without_pixels(realdata: Path) -> None:
    for name, exposure in (("2x16_quad", 5_000_000), ("single_frame_quad", 200_000_000)):
        path = found(realdata, f"mib/pyxem_headers/{name}.mib_header")
        head = parse_header(path.read_bytes(), str(path))
        assert (head.size, head.chips, head.width, head.height) == (768, 4, 512, 512)
        assert (head.pixel_type, head.layout, head.depth) == ("U16", "2x2", 12)
        assert head.exposure_ns == exposure
        assert head.thresholds[:2] == (40.0, 511.0)
        assert len(head.dacs) == 4
        assert all(len(dacs) == 27 for dacs in head.dacs)
        with pytest.raises(Truncated, match="holds no complete frame"):
            read(path)


def test_hdr_of_a_scan_of_2_x_16(realdata: Path) -> None:
    found_in = mib.parse_hdr_file(found(realdata, "mib/pyxem_headers/2x16_quad.hdr"))
    assert found_in["Frames in Acquisition (Number)"] == "32"
    assert found_in["Frames per Trigger (Number)"] == "2"
    assert found_in["Active Counters"] == "Alternating"
    assert found_in["Software Version"] == "0.76.1.101"


def test_region_of_rows(realdata: Path, tmp_path: Path) -> None:
    """Recordings of a few rows, as RosettaSciIO's own tests use them."""
    archive = found(
        realdata, "rosettasciio/quantumdetector/Merlin_navigation4x2_signalNx256_ROI.zip"
    )
    peer = pytest.importorskip("rsciio.quantumdetector")
    with zipfile.ZipFile(archive) as members:
        members.extractall(tmp_path)
    paths = sorted(tmp_path.rglob("*.mib"))
    assert paths
    for path in paths:
        data = read(path)["data"]
        np.testing.assert_array_equal(data, peer.file_reader(str(path))[0]["data"])
        assert data.shape[:2] == (2, 4)
        assert data.shape[-1] == 256
