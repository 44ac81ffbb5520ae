# SPDX-License-Identifier: GPL-3.0-or-later
"""TIA series: images, maps and spectra, descriptions, interrupted and damaged files."""

from __future__ import annotations

import csv
import logging
import re
import shutil
import tarfile
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from writers import ser as writer
from writers.ser import Dim, object_info, place, write_emi, write_ser

import rsciio_tem
from rsciio_tem.errors import FormatError, NotThisFormat, RecordingWarning, Truncated, Unsupported
from rsciio_tem.formats import ser
from rsciio_tem.formats.ser.description import description_of
from rsciio_tem.storage import backends

FOLDERS = ("ser", "rosettasciio/tia")
COLUMNS, ROWS = 6, 4


def images(count: int = 12, dtype: str = "u2", shape: tuple[int, ...] = (ROWS, COLUMNS)) -> Any:
    """Elements whose first value is their number."""
    rng = np.random.default_rng(4)
    data = rng.integers(0, 100, (count, *shape)).astype(dtype)
    data[(slice(None), *(0,) * len(shape))] = np.arange(count)
    return data


def load(path: Any, **options: Any) -> dict[str, Any]:
    (signal,) = ser.file_reader(path, **options)
    return signal


def numbers(signal: dict[str, Any]) -> list[Any]:
    """Numbers of the images of `images`, in their arrangement."""
    return np.asarray(signal["data"])[..., 0, 0].tolist()


def upstream(path: Path, **options: Any) -> list[dict[str, Any]]:
    from rsciio.tia import file_reader

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return file_reader(str(path), **options)


def by_ncempy(path: Path) -> np.ndarray:
    reader = pytest.importorskip("ncempy.io.ser")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with reader.fileSER(str(path)) as file:
            return np.stack(
                [file.getDataset(i)[0] for i in range(file.head["ValidNumberElements"])]
            )


def by_libertem(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api = pytest.importorskip("libertem.api")
        from libertem.udf.raw import PickUDF

        context = api.Context.make_with("inline")
        data = context.load("ser", str(path))
        shape = tuple(data.shape)
        picked = context.run_udf(data, PickUDF(), roi=np.ones(shape[:-2], bool))
    return np.array(picked["intensity"].data).reshape(-1, *shape[-2:])


def leaves(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Flatten a tree; texts trimmed, nothing instead of empty texts."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found |= leaves(value, f"{path}{key}.")
        else:
            text = value.decode() if isinstance(value, bytes) else value
            found[path + key] = text.strip() if isinstance(text, str) else text
    return found


# ---------------------------------------------------------------- real files


def manifest(realdata: Path) -> list[dict[str, str]]:
    with (realdata / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["file"].startswith(FOLDERS)]


def real_series(realdata: Path) -> list[Path]:
    return sorted(p for folder in FOLDERS for p in (realdata / folder).rglob("*.ser"))


@pytest.mark.parametrize("lazy", [False, True])
def test_real_files_as_in_the_manifest(realdata: Path, lazy: bool) -> None:
    rows = [row for row in manifest(realdata) if row["file"].endswith(".ser")]
    assert len(rows) >= 26
    for row in rows:
        data = np.asarray(load(realdata / row["file"], lazy=lazy)["data"])
        first, *_ = row["oracle"].split(" | ")
        reader, shape, dtype, checksum = first.split(":")
        assert reader == "rsciio.tia[0]"
        assert "x".join(map(str, data.shape)) == shape == row["shape"], row["file"]
        assert data.dtype == dtype == row["dtype"], row["file"]
        np.testing.assert_allclose(data.sum(dtype=data.dtype.kind + "8"), float(row["sum"]))
        assert f"{zlib.crc32(np.ascontiguousarray(data)):08x}" == checksum, row["file"]


def test_real_image_as_exported(realdata: Path) -> None:
    path = realdata / "rosettasciio" / "tia" / "old" / "64x64_TEM_images_acquire.emi"
    np.testing.assert_array_equal(load(path)["data"], np.load(path.with_suffix(".npy")))


def test_no_real_file_is_left_out(realdata: Path) -> None:
    listed = {r["file"] for r in manifest(realdata) if r["file"].endswith((".ser", ".emi"))}
    found = [p for f in FOLDERS for e in ("ser", "emi") for p in (realdata / f).rglob(f"*.{e}")]
    assert {p.relative_to(realdata).as_posix() for p in found} == listed


def test_real_files_as_in_rosettasciio(realdata: Path) -> None:
    """Pixels, axes and metadata; the differences are mistakes of RosettaSciIO."""
    series = real_series(realdata)
    descriptions = sorted({description_of(str(p)) for p in series} - {None})
    assert len(descriptions) >= 18
    for path in map(Path, [*map(str, series), *map(str, descriptions)]):
        ours, theirs = ser.file_reader(path), upstream(path)
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine["data"], other["data"], strict=True)
            check_axes(mine, other, path)
            check_metadata(mine, other)


def check_axes(mine: dict[str, Any], other: dict[str, Any], path: Path) -> None:
    for axis, theirs in zip(mine["axes"], other["axes"], strict=True):
        same = {"size", "navigate", *(() if theirs["name"] is None else ("name",))}
        if path.suffix == ".emi" or axis["units"] != "1 / nm":
            same |= {"units", "scale"}
        else:  # RosettaSciIO does not look for the description
            assert theirs["units"] == "nm"
            assert theirs["scale"] == pytest.approx(axis["scale"] * 1e18)
        assert {k: axis[k] for k in same} == {k: theirs[k] for k in same}, path
        # RosettaSciIO leaves offsets in metres, and does not count them from CalibrationElement
        factor = {"nm": 1e9, "1 / nm": 1e-9}.get(axis["units"], 1)
        if not (axis["navigate"] and axis["scale"] < 0):
            assert axis["offset"] == pytest.approx(theirs["offset"] * factor)


def check_metadata(mine: dict[str, Any], other: dict[str, Any]) -> None:
    found = leaves(mine["original_metadata"])
    for key, value in leaves(other["original_metadata"]).items():
        if key == "ObjectInfo.TrueImageHeaderInfo":  # always empty there
            assert value == {}
            assert mine["original_metadata"]["ObjectInfo"]["TrueImageHeaderInfo"]
            continue
        np.testing.assert_array_equal(found[key], value, err_msg=key)
    metadata = leaves(mine["metadata"])
    for key, value in leaves(other["metadata"]).items():
        assert metadata[key] == value, key
    if "ObjectInfo" not in other["original_metadata"]:
        return  # there RosettaSciIO has no description
    # RosettaSciIO leaves this to HyperSpy
    described = {k.replace(" ", "_"): v for k, v in leaves(other["original_metadata"]).items()}
    for source, (target, change) in other["mapping"].items():
        value = described.get(source.replace(" ", "_"))
        if value is None:
            assert target not in metadata
            continue
        value = value if change is None else change(value)
        if target.endswith("exposure"):
            value = float(value)
        assert metadata[target] == (value.strip() if isinstance(value, str) else value), target


def test_real_files_as_in_ncempy_and_libertem(realdata: Path) -> None:
    for path in real_series(realdata):
        data = load(path)["data"]
        flat = 1 if "ArrayLength" in load(path)["original_metadata"]["ser_header_parameters"] else 2
        stack = data.reshape(-1, *data.shape[-flat:])
        if path.name != "no_AcquireDate_1.ser":  # whose description ncempy cannot read
            np.testing.assert_array_equal(by_ncempy(path), stack)
        if flat == 2:  # LiberTEM fills what was not recorded
            np.testing.assert_array_equal(by_libertem(path)[: len(stack)], stack)


def test_real_description_without_series(realdata: Path) -> None:
    """Nothing reads the images inside descriptions; RosettaSciIO returns an empty list."""
    path = realdata / "ser" / "ncem" / "01_Si110_5images.emi"
    assert upstream(path) == []
    with pytest.raises(FormatError, match=r"there is no 01_Si110_5images_1\.ser"):
        ser.file_reader(path)
    assert rsciio_tem.detect(path)[0].format == "ser"


def test_real_label_that_is_no_number(
    realdata: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = realdata / "rosettasciio" / "tia" / "old" / "non_float_meta_value_zeroed.tar.gz"
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    (path,) = tmp_path.rglob("*.emi")
    described = load(path)["original_metadata"]["ObjectInfo"]["ExperimentalDescription"]
    assert described["OBJ Aperture_um"] == "V"
    assert "Expected decimal value for OBJ Aperture" in caplog.text


# ---------------------------------------------------------------- peers' mistakes


@pytest.mark.parametrize("dtype", ["u1", "i1"])
def test_8_bit_which_libertem_and_ncempy_refuse(tmp_path: Path, dtype: str) -> None:
    data = images(dtype=dtype)
    path = write_ser(tmp_path / "a_1.ser", data)
    np.testing.assert_array_equal(load(path)["data"], data, strict=True)
    np.testing.assert_array_equal(load(path, lazy=True)["data"].compute(), data, strict=True)
    np.testing.assert_array_equal(upstream(path)[0]["data"], data)


def test_lazy_reads_one_pattern_where_rosettasciio_reads_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = images(shape=(64, 64))
    path = write_ser(tmp_path / "a_1.ser", data, [place(4), place(3)])
    assert upstream(path, lazy=True)[0]["data"].npartitions == 1
    lengths: list[int] = []
    read = backends.read

    def counting(file: Any, offset: int, nbytes: int, backend: Any, *more: Any) -> Any:
        lengths.append(nbytes)
        return read(file, offset, nbytes, backend, *more)

    monkeypatch.setattr(backends, "read", counting)
    lazy = load(path, lazy=True, chunks=(1, 1, -1, -1))["data"]
    assert sum(lengths) < data[0].nbytes  # headers
    assert lazy.npartitions == 12
    lengths.clear()
    np.testing.assert_array_equal(lazy[2, 1].compute(), data[9])
    assert sum(lengths) == data[0].nbytes
    lengths.clear()
    np.testing.assert_array_equal(lazy[0, 0, 60:].compute(), data[0, 60:])
    assert sum(lengths) == 4 * 64 * 2


def test_lazy_map_of_spectra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = images(dtype="i4", shape=(100,))
    path = write_ser(tmp_path / "a_1.ser", data, [place(4), place(3)])
    lazy = load(path, lazy=True)
    lengths: list[int] = []
    read = backends.read
    monkeypatch.setattr(backends, "read", lambda *a: lengths.append(a[2]) or read(*a))
    np.testing.assert_array_equal(lazy["data"][1, 1].compute(), data[5])
    assert sum(lengths) == 400
    assert [a["name"] for a in lazy["axes"]] == ["y", "x", "Energy"]


@pytest.mark.parametrize("lazy", [False, True])
def test_mixed_types_which_rosettasciio_decodes_wrongly(tmp_path: Path, lazy: bool) -> None:
    mixed = [*images(3), *images(2, "f4"), *images(1, shape=(5, 7)), images(1)[0]]
    path = write_ser(tmp_path / "a_1.ser", mixed, tag=writer.TIME_AND_PLACE)
    with pytest.warns(
        RecordingWarning, match=r"3 kinds.*4 of 4 x 6 uint16, from number 0 on; 2 of"
    ):
        signals = ser.file_reader(path, lazy=lazy)
    wanted = [np.stack([*mixed[:3], mixed[6]]), np.stack(mixed[3:5]), mixed[5]]
    elements = [[0, 1, 2, 6], [3, 4], [5]]
    for signal, data, own in zip(signals, wanted, elements, strict=True):
        np.testing.assert_array_equal(np.asarray(signal["data"]), data, strict=True)
        assert signal["original_metadata"]["ser_elements"].tolist() == own
        times = signal["original_metadata"]["ser_header_parameters"]["Time"]
        assert (np.atleast_1d(times) - writer.START).tolist() == own
    with pytest.warns(RecordingWarning, match="3 kinds"):
        wrong = [upstream(path)[0]["data"], *[s["data"] for s in ser.file_reader(path)]][0]
    assert not np.array_equal(np.asarray(wrong)[3].ravel(), mixed[3].ravel())


def test_mixed_types_of_the_same_size(tmp_path: Path) -> None:
    """Elements lie evenly, so that only their headers tell."""
    mixed = [images(1)[0], images(1, "i2")[0], images(1, shape=(COLUMNS, ROWS))[0]]
    path = write_ser(tmp_path / "a_1.ser", mixed)
    with pytest.warns(RecordingWarning, match="3 kinds"):
        signals = ser.file_reader(path)
    for signal, data in zip(signals, mixed, strict=True):
        np.testing.assert_array_equal(signal["data"], data, strict=True)


def test_too_many_kinds(tmp_path: Path) -> None:
    mixed = [np.ones((2, n), "u1") for n in range(1, 30)]
    with pytest.raises(FormatError, match="29 types and sizes"):
        ser.file_reader(write_ser(tmp_path / "a_1.ser", mixed))


def test_more_than_nine_series_of_which_rosettasciio_misses_the_others(tmp_path: Path) -> None:
    for i in range(1, 13):
        write_ser(tmp_path / f"a_{i}.ser", images(1) + i)
    for name in ("a.ser", "a_x.ser", "a_1_1.ser", "b_1.ser", "a_1.ser.bak"):
        write_ser(tmp_path / name, images(1))
    path = write_emi(tmp_path / "a.emi", [object_info(i) for i in range(1, 13)])
    assert len(upstream(path)) == 9
    signals = ser.file_reader(path)
    assert [int(s["data"][0, 0]) for s in signals] == list(range(1, 13))
    uuids = [s["original_metadata"]["ObjectInfo"]["Uuid"] for s in signals]
    assert uuids == [f"0000-{i}" for i in range(1, 13)]


@pytest.mark.parametrize("stem", ["[1] test", "a*b", "x_1", "50%"])
def test_names_that_rosettasciio_takes_for_patterns(tmp_path: Path, stem: str) -> None:
    write_ser(tmp_path / f"{stem}_1.ser", images(1))
    path = write_emi(tmp_path / f"{stem}.emi")
    assert numbers(load(path)) == 0
    assert "ObjectInfo" in load(tmp_path / f"{stem}_1.ser")["original_metadata"]


def test_interrupted_tags_where_ncempy_looks_in_the_wrong_place(tmp_path: Path) -> None:
    """The table has room for all elements that were asked for, in both of its parts."""
    places = np.arange(10).reshape(5, 2) * 1e-9
    path = write_ser(
        tmp_path / "a_1.ser", images(5), total=20, tag=writer.TIME_AND_PLACE, places=places
    )
    tags = ser.read_tags(path)
    np.testing.assert_array_equal(tags["Time"], writer.START + np.arange(5))
    np.testing.assert_array_equal(tags["PositionX"], places[:, 0])
    np.testing.assert_array_equal(tags["PositionY"], places[:, 1])


@pytest.mark.parametrize("table", ["valid", "zeros"])
def test_tags_behind_their_elements(tmp_path: Path, table: str) -> None:
    """If the table does not tell where tags are."""
    path = write_ser(tmp_path / "a_1.ser", images(5), total=20, tag_table=table)
    np.testing.assert_array_equal(ser.read_tags(path)["Time"], writer.START + np.arange(5))


def test_no_tags_at_all(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "a_1.ser", images(3), tag=0x4141)
    with pytest.warns(RecordingWarning, match="tags of kind 0x4141 are unknown"):
        assert numbers(load(path)) == [0, 1, 2]


@pytest.mark.parametrize("content", [b"", b"II", b"II\x97\x01", b"hello" * 20, bytes(300)])
def test_no_series_where_libertem_raises_anything(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a_1.ser"
    path.write_bytes(content)
    rsciio_tem.detect(path)
    with pytest.raises((NotThisFormat, Truncated)):
        ser.file_reader(path)


def test_no_dimensions_on_which_rosettasciio_fails(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "a_1.ser", images(3), [], tag=writer.TIME_AND_PLACE)
    with pytest.raises(Exception, match=r".*"):
        upstream(path)
    signal = load(path)
    assert numbers(signal) == [0, 1, 2]
    assert signal["axes"][0]["units"] is None


def test_description_in_a_western_code_page_on_which_rosettasciio_fails(tmp_path: Path) -> None:
    write_ser(tmp_path / "a_1.ser", images(1))
    text = object_info(described={"User": ("Müller", ""), "High tension": ("300", "kV")})
    path = write_emi(tmp_path / "a.emi", [text.encode("cp1252")])
    with pytest.raises(UnicodeDecodeError):
        upstream(path)
    assert load(path)["metadata"]["General"]["authors"] == "Müller"


def test_offsets_which_rosettasciio_leaves_in_metres(tmp_path: Path) -> None:
    dims = [place(4, 2e-9, 3e-9), place(3, -2e-9, -7e-9, element=3)]
    path = write_ser(tmp_path / "a_1.ser", images(), dims, calibrations=[(-1e-8, 5e-10, 2)] * 12)
    axes = load(path)["axes"]
    assert [a["units"] for a in axes] == ["nm"] * 4
    assert [a["scale"] for a in axes] == pytest.approx([-2, 2, 0.5, 0.5])
    # row 3 would be at -7 nm, so row 0 is at -1 nm
    assert [a["offset"] for a in axes] == pytest.approx([-1, 3, -11, -11])
    theirs = upstream(path)[0]["axes"]
    assert [a["offset"] for a in theirs][2:] == pytest.approx([-1.1e-8, -1.1e-8])


def test_units_of_a_pattern_without_description(tmp_path: Path) -> None:
    """RosettaSciIO takes patterns for images if it has no description, or a part of one."""
    path = write_ser(tmp_path / "a_1.ser", images(), calibrations=[(-3e9, 1e8, 0)] * 12)
    axis = load(path)["axes"][-1]
    assert (axis["units"], axis["scale"], axis["offset"]) == ("1 / nm", 0.1, -3)
    assert upstream(path)[0]["axes"][-1]["units"] == "nm"


# ---------------------------------------------------------------- scans


def grid(nav: tuple[int, int], fast: tuple[float, float], slow: tuple[float, float]) -> np.ndarray:
    """Positions of the beam with the given steps (x, y)."""
    i, j = np.indices(nav).reshape(2, -1, 1)
    return (j * np.array(fast) + i * np.array(slow)) * 1e-9


@pytest.mark.parametrize(
    ("fast", "slow"),
    [((2, 0), (0, -3)), ((2, 1), (-1, 2)), ((-2, 0), (0, 3)), ((0, 2), (3, 0)), ((1, 1), (-1, 1))],
    ids=["upright", "turned", "backwards", "upwards", "turned by 45 degrees"],
)
def test_map_at_any_angle(
    tmp_path: Path, fast: tuple[float, float], slow: tuple[float, float]
) -> None:
    """RosettaSciIO exchanges the dimensions unless the beam first moves along x."""
    data = images()
    path = write_ser(
        tmp_path / "a_1.ser",
        data,
        [place(4, 2e-9), place(3, 3e-9)],
        tag=writer.TIME_AND_PLACE,
        places=grid((3, 4), fast, slow),
    )
    signal = load(path)
    np.testing.assert_array_equal(signal["data"], data.reshape(3, 4, ROWS, COLUMNS))
    assert [a["scale"] for a in signal["axes"][:2]] == pytest.approx([3, 2])
    assert [a["name"] for a in signal["axes"][:2]] == ["y", "x"]
    theirs = upstream(path)[0]["data"].shape[:2]
    assert theirs == ((3, 4) if fast[1] == 0 else (4, 3))


def test_map_with_the_slow_dimension_first(tmp_path: Path) -> None:
    """The positions say that the second dimension of the header is the faster one."""
    path = write_ser(
        tmp_path / "a_1.ser",
        images(),
        [place(3, 3e-9), place(4, 2e-9)],
        tag=writer.TIME_AND_PLACE,
        places=grid((3, 4), (0, 2), (3, 0)),
    )
    signal = load(path)
    assert np.array(numbers(signal)).shape == (3, 4)
    assert [a["scale"] for a in signal["axes"][:2]] == pytest.approx([3, 2])
    assert "positions" in signal["original_metadata"]["rsciio_tem"]["scan"]["reason"]
    assert upstream(path)[0]["data"].shape[:2] == (3, 4)


def test_map_without_positions(tmp_path: Path) -> None:
    """The first dimension is the fastest, as in LiberTEM; RosettaSciIO exchanges them."""
    data = images()
    path = write_ser(tmp_path / "a_1.ser", data, [place(4), place(3)])
    np.testing.assert_array_equal(load(path)["data"].reshape(data.shape), data)
    assert load(path)["data"].shape[:2] == (3, 4)
    np.testing.assert_array_equal(by_libertem(path), data)
    assert upstream(path)[0]["data"].shape[:2] == (4, 3)


def test_square_map(tmp_path: Path) -> None:
    for fast, slow, scales in (((2, 0), (0, 3), [3, 2]), ((0, 3), (2, 0), [2, 3])):
        path = write_ser(
            tmp_path / "a_1.ser",
            images(9),
            [place(3, 2e-9), place(3, 3e-9)],
            tag=writer.TIME_AND_PLACE,
            places=grid((3, 3), fast, slow),
        )
        signal, theirs = load(path), upstream(path)[0]
        assert [a["scale"] for a in signal["axes"][:2]] == pytest.approx(scales)
        assert [a["scale"] for a in theirs["axes"][:2]] == pytest.approx(scales)


@pytest.mark.parametrize("shown", [0, 1, 2, 3])
def test_positions_that_say_nothing(tmp_path: Path, shown: int) -> None:
    spots = [np.zeros((12, 2)), np.full((12, 2), np.nan), np.random.default_rng(1).random((12, 2))]
    spots.append(np.stack([np.arange(12.0), np.zeros(12)], axis=1))
    path = write_ser(
        tmp_path / "a_1.ser",
        images(),
        [place(4), place(3)],
        tag=writer.TIME_AND_PLACE,
        places=spots[shown],
    )
    assert np.array(numbers(load(path))).tolist() == np.arange(12).reshape(3, 4).tolist()


def test_axes_of_a_series_and_of_a_line(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "a_1.ser", images(), [Dim(12)])
    axis = load(path)["axes"][0]
    assert (axis["name"], axis["units"], axis["scale"]) == (None, None, 1)
    assert load(path, first_frame=5)["axes"][0]["offset"] == 5
    path = write_ser(tmp_path / "b_1.ser", images(), [place(12, 2e-9, 1e-9)])
    axis = load(path, sync_offset=3)["axes"][0]
    assert (axis["name"], axis["units"], axis["scale"], axis["offset"]) == ("x", "nm", 2, 7)
    # another arrangement has other axes
    axes = load(path, navigation_shape=(4, 3))["axes"]
    assert [(a["name"], a["scale"]) for a in axes[:2]] == [("y", 1), ("x", 1)]


def test_dimensions_of_one_element(tmp_path: Path) -> None:
    """Left out for images, kept for spectra, as in RosettaSciIO."""
    dims = [place(5), place(1)]
    path = write_ser(tmp_path / "a_1.ser", images(5), dims)
    assert load(path)["data"].shape == (5, ROWS, COLUMNS)
    path = write_ser(tmp_path / "b_1.ser", images(5, shape=(8,)), dims)
    assert load(path)["data"].shape == (1, 5, 8)


def test_dimensions_that_contradict_the_elements(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "a_1.ser", images(14), [place(4), place(3)])
    with pytest.warns(RecordingWarning, match="2 of 14 frames lie beyond"):
        assert np.array(numbers(load(path))).shape == (3, 4)
    path = write_ser(tmp_path / "b_1.ser", images(5), [place(0), place(3)])
    assert numbers(load(path)) == [0, 1, 2, 3, 4]
    path = write_ser(tmp_path / "c_1.ser", images(5), [Dim(1)])
    assert numbers(load(path)) == [0, 1, 2, 3, 4]


def test_calibrations_that_differ(tmp_path: Path) -> None:
    calibrations = [(0.0, 1e-9, 0), (0.0, 4e-9, 0), (0.0, 2e-9, 0)]
    path = write_ser(tmp_path / "a_1.ser", images(3), calibrations=calibrations)
    with pytest.warns(RecordingWarning, match="3 scales from 1e-09 to 4e-09"):
        signal = load(path)
    assert signal["axes"][-1]["scale"] == 1
    found = signal["original_metadata"]["ser_header_parameters"]["CalibrationDeltaX"]
    assert found.tolist() == [1e-9, 4e-9, 2e-9]


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_no_calibration(tmp_path: Path, value: float) -> None:
    path = write_ser(tmp_path / "a_1.ser", images(1), calibrations=[(value, value, 0)])
    axis = load(path)["axes"][0]
    assert (axis["scale"], axis["offset"], axis["units"]) == (1, 0, None)


# ---------------------------------------------------------------- interrupted


@pytest.mark.parametrize("dtype", ["u2", "f4", "f8", "c8"])
@pytest.mark.parametrize("shape", [(ROWS, COLUMNS), (8,)])
@pytest.mark.parametrize("lazy", [False, True])
def test_interrupted_series_as_in_rosettasciio(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], lazy: bool
) -> None:
    path = write_ser(tmp_path / "a_1.ser", images(5, dtype, shape), [Dim(9)], total=9)
    for valid in (True, False):
        theirs = upstream(path, only_valid_data=valid)[0]["data"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if not valid else "error")
            ours = load(path, lazy=lazy, only_valid_data=valid)["data"]
        assert len(ours) == (5 if valid else 9)
        np.testing.assert_array_equal(np.asarray(ours), theirs, strict=True)


def test_interrupted_after_one_element(tmp_path: Path) -> None:
    for name, shape in (("a_1.ser", (ROWS, COLUMNS)), ("b_1.ser", (8,))):
        path = write_ser(tmp_path / name, images(1, shape=shape), [Dim(3)], total=3)
        assert load(path)["data"].shape == shape
        with pytest.warns(RecordingWarning, match="2 of 3 scan positions"):
            assert load(path, only_valid_data=False)["data"].shape == (3, *shape)
        assert upstream(path, only_valid_data=False)[0]["data"].shape == (3, *shape)


def test_interrupted_map(tmp_path: Path) -> None:
    """Complete lines are kept; on demand it is filled as in RosettaSciIO."""
    data = images(10, "f4")
    places = grid((3, 4), (1, 0), (0, 1))[:10]
    path = write_ser(
        tmp_path / "a_1.ser",
        data,
        [place(4), place(3)],
        total=12,
        tag=writer.TIME_AND_PLACE,
        places=places,
    )
    with pytest.warns(RecordingWarning, match="only 2 of 3 lines are complete"):
        assert np.array(numbers(load(path))).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    theirs = upstream(path)[0]["data"]
    with pytest.warns(RecordingWarning, match="2 of 12 scan positions were not recorded"):
        signal = load(path, only_valid_data=False)
    np.testing.assert_array_equal(signal["data"], theirs)
    assert np.isnan(signal["data"][2, 2:]).all()
    assert signal["original_metadata"]["rsciio_tem"]["missing_mask"].sum() == 2
    with pytest.warns(RecordingWarning, match="2 of 12"):
        assert not load(path, missing="fill")["data"][2, 2:].any()
    with pytest.raises(FormatError, match="2 of 12 scan positions"):
        load(path, missing="raise")


def test_absurd_number_of_elements(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "a_1.ser", images(2), [Dim(2**32 - 1)], total=4)
    content = bytearray(path.read_bytes())
    content[14:18] = b"\xff" * 4
    path.write_bytes(content)
    assert numbers(load(path)) == [0, 1]
    with pytest.raises(FormatError, match="cannot be right"):
        load(path, only_valid_data=False)


def test_nothing_recorded(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "a_1.ser", images(2), valid=0)
    with pytest.raises(FormatError, match=r"holds no element.*\.emi"):
        load(path)


# ---------------------------------------------------------------- damaged


@pytest.mark.parametrize("cut", [1, 30, 60, 2000])
def test_cut_file_keeps_whole_elements(tmp_path: Path, cut: int) -> None:
    path = write_ser(tmp_path / "a_1.ser", images(100), truncate=cut)
    whole = 100 - max(0, cut - 8 + 105) // 106  # the last tag does not matter
    if whole == 100:
        assert len(load(path)["data"]) == 100
        return
    with pytest.warns(RecordingWarning, match=f"{100 - whole} of 100 elements, the first of them"):
        signal = load(path)
    assert numbers(signal) == list(range(whole))
    times = ser.parse(path).times
    assert times is not None
    assert times.read(0, 2).time_ns.tolist() == [writer.START * 10**9, (writer.START + 1) * 10**9]


def test_places_that_are_lost(tmp_path: Path) -> None:
    """Entries of the table without an element: blanks, so that all others stay in their place."""
    path = write_ser(tmp_path / "a_1.ser", images(), [place(4), place(3)])
    content = bytearray(path.read_bytes())
    table = ser.parse(path).original_metadata["ser_header_parameters"]["OffsetArrayOffset"]
    for lost, where in ((2, 0), (7, 2**50)):
        content[table + 8 * lost : table + 8 * lost + 8] = where.to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.warns(RecordingWarning, match="2 of 12 elements, the first of them number 2"):
        signal = load(path)
    wanted = images()
    wanted[[2, 7]] = 0
    np.testing.assert_array_equal(signal["data"].reshape(wanted.shape), wanted)


def test_damaged_element(tmp_path: Path) -> None:
    """One of them does not cost the others."""
    path = write_ser(tmp_path / "a_1.ser", images(), [place(4), place(3)])
    content = bytearray(path.read_bytes())
    first = int(ser.parse(path).frames.runs["start"][0]) - 50
    stride = 50 + 2 * ROWS * COLUMNS + 8
    content[first + 5 * stride + 40] = 77
    path.write_bytes(content)
    with pytest.warns(
        RecordingWarning, match="1 of 12 elements, the first of them number 5, cannot"
    ):
        signal = load(path)
    wanted = images()
    wanted[5] = 0
    np.testing.assert_array_equal(signal["data"].reshape(wanted.shape), wanted)
    for i in range(12):
        content[first + i * stride + 40] = 70 + i
    path.write_bytes(content)
    with pytest.raises(FormatError):
        load(path)


def test_elements_that_overlap(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "a_1.ser", images(3))
    content = bytearray(path.read_bytes())
    table = ser.parse(path).original_metadata["ser_header_parameters"]["OffsetArrayOffset"]
    content[table + 8 : table + 16] = content[table : table + 8]
    path.write_bytes(content)
    with pytest.raises(FormatError, match="overlap"):
        load(path)


@pytest.mark.parametrize(("version", "like"), [(0x0200, 0x0210), (0x0230, 0x0220)])
def test_unknown_version(tmp_path: Path, version: int, like: int) -> None:
    path = write_ser(tmp_path / "a_1.ser", images(3), version=like)
    content = bytearray(path.read_bytes())
    content[4:6] = version.to_bytes(2, "little")
    path.write_bytes(content)
    with pytest.warns(RecordingWarning, match=f"0x{version:04x} is unknown; .* 0x{like:04x}"):
        assert numbers(load(path)) == [0, 1, 2]
    assert rsciio_tem.detect(path)[0].format == "ser"


def test_unknown_kind(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "a_1.ser", images(3), kind=0x4124)
    with pytest.raises(Unsupported, match="kind 0x4124, not 0x4120 or 0x4122"):
        load(path)


def test_truncated_in_its_dimensions(tmp_path: Path) -> None:
    head = writer.ser_header([place(4), place(3)])
    for size in range(4, len(head)):
        (tmp_path / "a_1.ser").write_bytes(head[:size])
        with pytest.raises(FormatError):
            load(tmp_path / "a_1.ser")


# ---------------------------------------------------------------- large


def test_large_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 4 GiB: a part of the headers is looked at, the positions stay where they are."""
    scan = (80, 60)
    first, last = images(2, shape=(700, 700))
    path = writer.write_sparse_ser(tmp_path / "a_1.ser", scan, {0: first, 4799: last})
    assert path.stat().st_size > 2**32
    asked: list[int] = []
    read = backends.read
    monkeypatch.setattr(backends, "read", lambda *a: asked.append(a[2]) or read(*a))
    recording = ser.parse(path)
    assert sum(asked) < 1 << 19
    assert len(recording.frames.runs) == 1
    assert recording.scan().shape == scan
    parameters = recording.original_metadata["ser_header_parameters"]
    assert "Time" not in parameters
    assert parameters["ArraySizeX"] == 700
    asked.clear()
    signal = load(path, lazy=True)
    np.testing.assert_array_equal(signal["data"][79, 59].compute(), last)
    np.testing.assert_array_equal(signal["data"][0, 0].compute(), first)
    assert not signal["data"][40, 30].compute().any()
    mapped = load(path, mmap_mode="r")["data"]
    np.testing.assert_array_equal(mapped[79, 59], last)
    tags = ser.read_tags(path)
    assert tags["PositionX"][-1] == 59 * 2e-9
    assert tags["Time"][-1] == writer.START + 47


def test_a_sample_tells_that_types_are_mixed(tmp_path: Path) -> None:
    data = list(np.zeros((5000, 1, 2), "u2"))
    data[3000:] = list(np.zeros((2000, 1, 2), "i2"))
    path = write_ser(tmp_path / "a_1.ser", data)
    with pytest.warns(RecordingWarning, match="3000 of 1 x 2 uint16.*2000 of 1 x 2 int16"):
        signals = ser.file_reader(path)
    assert [len(s["data"]) for s in signals] == [3000, 2000]


def test_one_odd_element_among_many(tmp_path: Path) -> None:
    """One that takes another number of bytes makes the places uneven: all headers are read."""
    data = list(np.zeros((5000, 1, 2), "u2"))
    data[3333] = np.zeros((2, 2), "u2")
    path = write_ser(tmp_path / "a_1.ser", data)
    with pytest.warns(RecordingWarning, match="4999 of 1 x 2 uint16.*from number 3333 on"):
        assert [len(s["data"]) for s in ser.file_reader(path)] == [4999, 2]


# ---------------------------------------------------------------- times and positions


def test_times_and_positions(tmp_path: Path) -> None:
    places = grid((3, 4), (2, 0), (0, 3))
    path = write_ser(
        tmp_path / "a_1.ser",
        images(),
        [place(4), place(3)],
        tag=writer.TIME_AND_PLACE,
        places=places,
        times=[writer.START + 10 * i for i in range(12)],
    )
    recording = ser.parse(path)
    parameters = recording.original_metadata["ser_header_parameters"]
    np.testing.assert_array_equal(parameters["Time"], writer.START + 10 * np.arange(12))
    np.testing.assert_array_equal(parameters["PositionX"], places[:, 0])
    np.testing.assert_array_equal(parameters["PositionY"], places[:, 1])
    assert recording.times is not None
    part = recording.times.read(3, 5)
    assert part.time_ns.tolist() == [(writer.START + 10 * i) * 10**9 for i in (3, 4)]
    assert ser.read_tags(path)["Time"].tolist() == parameters["Time"].tolist()


def test_pauses_are_no_line_ends(tmp_path: Path) -> None:
    """Times are in whole seconds, so a series with pauses must not become a scan by itself."""
    times = [writer.START + i + 60 * (i // 4) for i in range(12)]
    path = write_ser(tmp_path / "a_1.ser", images(), times=times)
    assert load(path)["data"].shape == (12, ROWS, COLUMNS)
    assert load(path, scan="timestamps")["data"].shape == (3, 4, ROWS, COLUMNS)


def test_date_without_description(tmp_path: Path) -> None:
    general = load(write_ser(tmp_path / "a_1.ser", images(1)))["metadata"]["General"]
    assert (general["date"], general["time"]) == ("2016-02-22", "19:18:23")
    assert "title" not in general  # RosettaSciIO gives none


# ---------------------------------------------------------------- descriptions


def test_description(tmp_path: Path) -> None:
    write_ser(tmp_path / "a_1.ser", images(1))
    path = write_emi(tmp_path / "a.emi", [object_info(camera="BM-Ceta"), object_info(2)])
    for name in (path, tmp_path / "a_1.ser"):
        signal = load(name)
        general, tem = (
            signal["metadata"]["General"],
            signal["metadata"]["Acquisition_instrument"]["TEM"],
        )
        assert general == {
            "original_filename": "a_1.ser",
            "date": "2016-02-22",
            "time": "19:18:24",
            "authors": "SUPERVISOR",
        }
        assert tem == {
            "beam_energy": 300.0,
            "microscope": "Titan 300 kV",
            "acquisition_mode": "STEM",
            "camera_length": 260.0,
            "magnification": 115000.0,
            "Stage": {
                "tilt_alpha": 1.5,
                "tilt_beta": -0.25,
                "x": pytest.approx(1.5e-4),
                "y": pytest.approx(2.54e-4),
                "z": pytest.approx(2.1e-5),
            },
            "Detector": {"Camera": {"Name": "BM-Ceta", "exposure": 0.05}},
        }
        original = signal["original_metadata"]
        assert original["ObjectInfo"]["Uuid"] == "0000-1"
        assert original["ObjectInfo"]["TrueImageHeaderInfo"] == {"7": 2.5}
        assert original["emi_objects"]["ObjectInfo_2"]["Uuid"] == "0000-2"
        files = original["rsciio_tem"]["files"]
        assert [Path(f).name for f in files] == ["a_1.ser", "a.emi"]


def test_series_with_a_higher_number_than_there_are_descriptions(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_ser(tmp_path / "a_2.ser", images(1))
    write_emi(tmp_path / "a.emi")
    signal = load(tmp_path / "a_2.ser")
    assert "ObjectInfo" not in signal["original_metadata"]
    assert signal["metadata"]["General"]["date"] == "2016-02-22"
    assert "did not contain any metadata" in caplog.text


def test_camera_in_stem_gives_patterns(tmp_path: Path) -> None:
    write_ser(tmp_path / "a_1.ser", images(1), calibrations=[(0.0, 0.5, 0)])
    modes = {
        ("STEM", "BM-Ceta"): "1 / nm",
        ("STEM", ""): "nm",
        ("TEM Diffraction", ""): "1 / nm",
        ("TEM Imaging", "BM-Ceta"): "nm",
    }
    for (mode, camera), units in modes.items():
        text = object_info(described={"Mode": (mode, "")}, camera=camera)
        path = write_emi(tmp_path / "a.emi", [text])
        assert load(path)["axes"][0]["units"] == units
        assert upstream(path)[0]["axes"][0]["units"] == units
    write_emi(tmp_path / "a.emi", [object_info(described={})])
    assert load(tmp_path / "a.emi")["axes"][0]["units"] == "nm"


BAD = {
    "no XML": (b"<ObjectInfo><a></ObjectInfo>", "not valid XML"),
    "entities": (b"<ObjectInfo><!ENTITY a 'b'></ObjectInfo>", "XML entities"),
    "too large": (b"<ObjectInfo>" + b"a" * (1 << 20) + b"</ObjectInfo>", "larger than 1 MiB"),
    "too deep": (b"<ObjectInfo>" + b"<a>" * 60 + b"</a>" * 60 + b"</ObjectInfo>", "50 deep"),
    "control characters": (b"<ObjectInfo><a>\1</a></ObjectInfo>", "not valid XML"),
    "no end": (b"<ObjectInfo><Uuid>", "was cut off"),
}


@pytest.mark.parametrize(("block", "message"), BAD.values(), ids=BAD)
def test_damaged_description(tmp_path: Path, block: bytes, message: str) -> None:
    """The pixels are read all the same."""
    write_ser(tmp_path / "a_1.ser", images(1))
    path = write_emi(tmp_path / "a.emi", [block])
    for name in (path, tmp_path / "a_1.ser"):
        with pytest.warns(RecordingWarning, match=rf"a\.emi .*{message}"):
            assert numbers(load(name)) == 0


def test_odd_blocks(tmp_path: Path) -> None:
    """Blocks that are XML, but not as usual."""
    blocks = [
        "<ObjectInfo/>",
        "<ObjectInfo></ObjectInfo>",
        "<ObjectInfo>text</ObjectInfo>",
        "<ObjectInfo><ExperimentalDescription/></ObjectInfo>",
        "<ObjectInfo><ExperimentalDescription><Root>a</Root></ExperimentalDescription></ObjectInfo>",
        "<ObjectInfo><ExperimentalDescription><Root><Data>a</Data></Root>"
        "</ExperimentalDescription><AcquireInfo>b</AcquireInfo></ObjectInfo>",
        "<ObjectInfo><TrueImageHeaderInfo>&lt;a</TrueImageHeaderInfo></ObjectInfo>",
        "<ObjectInfo><AcquireDate>yesterday</AcquireDate></ObjectInfo>",
        object_info(described={"Stage X": ("far", "um"), "Mode": ("", "")}),
    ]
    write_ser(tmp_path / "a_1.ser", images(1))
    for block in blocks:
        assert numbers(load(write_emi(tmp_path / "a.emi", [block]))) == 0


def test_empty_description(tmp_path: Path) -> None:
    write_ser(tmp_path / "a_1.ser", images(1))
    (tmp_path / "a.emi").touch()
    for name in ("a.emi", "a_1.ser"):
        with pytest.warns(RecordingWarning, match=r"a\.emi is empty"):
            assert numbers(load(tmp_path / name)) == 0


def test_description_that_is_missing_or_of_others(tmp_path: Path) -> None:
    write_emi(tmp_path / "a.emi")
    for name in ("a.ser", "a_x.ser", "ab_1.ser", "a_1_1.ser", "_1.ser"):
        path = write_ser(tmp_path / name, images(1))
        assert "ObjectInfo" not in load(path)["original_metadata"]
    (tmp_path / "b.emi").mkdir()
    path = write_ser(tmp_path / "b_1.ser", images(1))
    assert numbers(load(path)) == 0


def test_capital_suffixes(tmp_path: Path) -> None:
    write_ser(tmp_path / "a_1.SER", images(1))
    path = write_emi(tmp_path / "a.EMI")
    for name in (path, tmp_path / "a_1.SER"):
        assert "ObjectInfo" in load(name)["original_metadata"]
        assert rsciio_tem.detect(name)[0].format == "ser"


def test_one_of_the_series_is_unreadable(tmp_path: Path) -> None:
    """RosettaSciIO leaves out what holds nothing, without a word."""
    write_ser(tmp_path / "a_1.ser", images(1), valid=0)
    write_ser(tmp_path / "a_2.ser", images(2))
    path = write_emi(tmp_path / "a.emi", [object_info(), object_info(2)])
    with pytest.warns(RecordingWarning, match=r"a_1\.ser: is left out: holds no element"):
        assert numbers(load(path)) == [0, 1]
    write_ser(tmp_path / "a_2.ser", images(2), valid=0)
    with (
        pytest.warns(RecordingWarning, match="left out"),
        pytest.raises(FormatError, match="none of its 2 series"),
    ):
        ser.file_reader(path)


def test_parse_of_several_series(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in (1, 2):
        write_ser(tmp_path / f"a_{i}.ser", images(i))
    recording = ser.parse(write_emi(tmp_path / "a.emi"))
    assert Path(recording.path).name == "a_1.ser"
    assert "the first of 2 series of a.emi" in str(recording.problems[0])


def test_keywords_apply_to_each_series(tmp_path: Path) -> None:
    for i in (1, 2):
        write_ser(tmp_path / f"a_{i}.ser", images())
    path = write_emi(tmp_path / "a.emi", [object_info(), object_info(2)])
    signals = ser.file_reader(path, navigation_shape=(6, 2), lazy=True)
    assert [s["data"].shape[:2] for s in signals] == [(2, 6), (2, 6)]


def test_hyperspy(realdata: Path, tmp_path: Path) -> None:
    hs = pytest.importorskip("hyperspy.api")
    old = realdata / "rosettasciio" / "tia" / "old"
    for path in [*old.glob("16x16_STEM_BF_DF_acquire*")]:
        shutil.copyfile(path, tmp_path / path.name)
    first, second = hs.load(tmp_path / "16x16_STEM_BF_DF_acquire.emi")
    assert first.metadata.General.FileIO[0].io_plugin == "rsciio_tem.formats.ser"
    assert first.metadata.General.title == ""
    assert second.axes_manager.signal_shape == (16, 16)
    assert second.metadata.Acquisition_instrument.TEM.acquisition_mode == "STEM"
    other = hs.load(tmp_path / "16x16_STEM_BF_DF_acquire.emi", file_format="TIA")[1]
    np.testing.assert_array_equal(second.data, other.data)


def test_stopped_series_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_ser(tmp_path / "a_1.ser", images(5), total=20)
    with caplog.at_level(logging.INFO):
        load(path)
    assert re.search("was stopped: 5 of 20 elements", caplog.text)


# ---------------------------------------------------------------- witnesses of the writer


@pytest.mark.parametrize("version", [0x0210, 0x0220])
@pytest.mark.parametrize("dtype", ["u2", "i4", "f4"])
@pytest.mark.parametrize("tag", [writer.TIME, writer.TIME_AND_PLACE])
def test_as_in_the_peers(tmp_path: Path, version: int, dtype: str, tag: int) -> None:
    data = images(dtype=dtype)
    path = write_ser(
        tmp_path / "a_1.ser",
        data,
        [place(4), place(3)],
        version=version,
        tag=tag,
        places=grid((3, 4), (1, 0), (0, 1)),
    )
    np.testing.assert_array_equal(load(path)["data"].reshape(data.shape), data, strict=True)
    np.testing.assert_array_equal(upstream(path)[0]["data"].reshape(data.shape), data)
    np.testing.assert_array_equal(by_ncempy(path), data)
    np.testing.assert_array_equal(by_libertem(path), data)
    if tag == writer.TIME_AND_PLACE:
        theirs = upstream(path)[0]
        check_axes(load(path), theirs, path)
        check_metadata(load(path), {**theirs, "mapping": {}})


def test_pixels_of_complex_numbers_as_in_rosettasciio(tmp_path: Path) -> None:
    for dtype in writer.TYPES:
        path = write_ser(tmp_path / f"{dtype}_1.ser", images(dtype=dtype))
        np.testing.assert_array_equal(load(path)["data"], upstream(path)[0]["data"], strict=True)
