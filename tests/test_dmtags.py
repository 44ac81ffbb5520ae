# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags of DigitalMicrograph files, written ones and real ones; damaged ones."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from writers.k2is import dm_file

from rsciio_tem.errors import FormatError, NotThisFormat, Truncated
from rsciio_tem.parsing.dm_tags import TagArray, group, is_dm, plain_tags, read_tags

POINTS = np.array([(1, 2.5), (3, 4.5)], [("a", "u2"), ("b", "f8")])
TREE: dict[Any, Any] = {
    "number": 7,
    "fraction": 2.5,
    "flag": True,
    "text": "30 µm ± Ω",
    "empty": "",
    "string": b"bytes",
    "structure": (1, 2.5, False),
    "short": np.arange(5, dtype="i2"),
    "long": np.arange(1000, dtype="f4"),
    "points": POINTS,
    "groups": {0: {"x": 1}, 1: {"x": 2}, "inner": {"deep": {"deeper": 9}}},
    "µ": 1,
}


@pytest.mark.parametrize("little", [True, False])
def test_tables_of_16_bit_numbers(tmp_path: Path, little: bool) -> None:
    tables = {
        "counting": np.arange(4, dtype="u2"),
        "high": np.array([0xD800, 0xFFFF, 1], "u2"),
        "ends": np.array([5, 6, 0], "u2"),
    }
    texts = {"lines": "one\r\ntwo\tthree\u2028", "padded": "text\0\0", "µ": "µm Å"}
    path = tmp_path / "a.dm"
    path.write_bytes(dm_file({**tables, **texts, "old": b"\xc5 and \xb5m"}, 4, little))
    for names in (False, True):
        tags = read_tags(path, rosettasciio=names)
        assert {name: tags[name] for name in tables} == {k: v.tolist() for k, v in tables.items()}
        assert {name: tags[name] for name in texts} == {**texts, "padded": "text"}
        assert tags["old"] == "Å and µm"
    path.write_bytes(dm_file({"empty": ""}, 4, little))
    assert (read_tags(path), read_tags(path, rosettasciio=True)) == ({"empty": ""}, {"empty": []})


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("version", [3, 4])
def test_every_type(tmp_path: Path, version: int, little: bool) -> None:
    path = tmp_path / "a.dm"
    path.write_bytes(dm_file(TREE, version, little))
    assert is_dm(path.read_bytes())
    tags = read_tags(path)
    array = tags.pop("long")
    assert tags == {
        "number": 7,
        "fraction": 2.5,
        "flag": True,
        "text": "30 µm ± Ω",
        "empty": "",
        "string": "bytes",
        "structure": (1, 2.5, False),
        "short": [0, 1, 2, 3, 4],
        "points": [(1, 2.5), (3, 4.5)],
        "groups": {"0": {"x": 1}, "1": {"x": 2}, "inner": {"deep": {"deeper": 9}}},
        "µ": 1,
    }
    assert (array.count, array.dtype) == (1000, np.dtype("<f4" if little else ">f4"))
    stored = np.fromfile(path, array.dtype, array.count, offset=array.offset)
    np.testing.assert_array_equal(stored, np.arange(1000))
    assert plain_tags({"a": {"b": array}})["a"]["b"]["count"] == 1000
    assert group(tags, "groups", "inner", "deep", "deeper") == 9
    assert group(tags, "groups", "none", "deep") is None
    assert group(tags, "number", "deep") is None


def test_two_tags_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "a.dm"
    path.write_bytes(dm_file({"ab": 1, "cb": 2, "ac": 3}).replace(b"cb", b"ab"))
    assert read_tags(path) == {"ab": 1, "ab_1": 2, "ac": 3}


def test_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.dm"
    content = dm_file(TREE)
    for bad, kind, match in (
        (b"", NotThisFormat, "not a DM3 or DM4"),
        (b"hello, world" * 5, NotThisFormat, "not a DM3 or DM4"),
        (content[:300], Truncated, "ends at byte 300"),
        (content[:12] + b"\1\0\xff\xff\xff\xff" + content[18:-8], Truncated, "ends at"),
        (content.replace(b"%%%%", b"%%%x", 1), FormatError, "begins a value"),
        (content[:18] + b"\x07" + content[19:], FormatError, "a tag of kind 7"),
    ):
        path.write_bytes(bad)
        with pytest.raises(kind, match=match) as caught:
            read_tags(path)
        assert caught.value.path == str(path)
    with pytest.raises(FormatError, match="cannot be read"):
        read_tags(tmp_path / "none")
    deep: dict[str, Any] = {"x": 1}
    for _ in range(200):
        deep = {"g": deep}
    path.write_bytes(dm_file(deep))
    with pytest.raises(FormatError, match="100 deep"):
        read_tags(path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    version=st.sampled_from([3, 4]),
    changes=st.lists(st.tuples(st.integers(0, 900), st.binary(min_size=1, max_size=8)), max_size=4),
    cut=st.integers(0, 6000),
)
def test_damage_is_an_error_and_no_crash(
    tmp_path: Path, version: int, changes: list[tuple[int, bytes]], cut: int
) -> None:
    content = dm_file(TREE, version)
    for at, text in changes:
        content = content[:at] + text + content[at + len(text) :]
    path = tmp_path / "a.dm"
    path.write_bytes(content[: cut or None])
    message, started = str(path), time.perf_counter()
    try:
        tags = read_tags(path)
    except FormatError as error:
        message = str(error)
    else:
        assert isinstance(tags, dict)
    assert str(path) in message
    assert time.perf_counter() - started < 5


def test_real_files(realdata: Path) -> None:
    """Sizes of images, and where their pixels lie, agree with ncempy."""
    dm = pytest.importorskip("ncempy.io.dm", reason="ncempy is not installed")
    paths = [p for p in sorted((realdata / "dm").rglob("*.dm[34]")) if p.stat().st_size < 1 << 24]
    assert paths
    for path in paths:
        tags = read_tags(path)
        with dm.fileDM(path) as theirs:
            images = [
                image
                for image in tags["ImageList"].values()
                if isinstance(group(image, "ImageData", "Data"), (TagArray, list))
            ]
            assert len(images) == len(theirs.dataOffset)
            for image, offset, x in zip(images, theirs.dataOffset, theirs.xSize, strict=True):
                data = image["ImageData"]
                assert data["Dimensions"]["0"] == x
                if isinstance(data["Data"], TagArray):
                    assert data["Data"].offset == offset
            flat = {
                key: value
                for key, value in theirs.allTags.items()
                if key.startswith(".ImageList.2.ImageTags") and isinstance(value, (int, float))
            }
        for key, value in flat.items():
            names = key[1:].split(".")
            if any(name.isdecimal() for name in names[2:]):  # ncempy counts from 1
                continue
            names[1] = "1"
            found = group(tags, *names)
            if found is not None:  # names with dots, and those that ncempy renames
                assert found == pytest.approx(value, nan_ok=True), key


def test_names_and_values_of_rosettasciio(realdata: Path) -> None:
    """Its tree, but that pixels and very long arrays are described."""
    reader = pytest.importorskip("rsciio.digitalmicrograph._api").DigitalMicrographReader
    folder = realdata / "rosettasciio" / "digitalmicrograph"
    described = 0

    def compare(ours: Any, theirs: Any) -> None:
        nonlocal described
        if isinstance(ours, TagArray):
            described += 1
            count = theirs["size"] if isinstance(theirs, dict) else len(theirs)
            assert count == ours.count
        elif isinstance(ours, dict):
            assert list(ours) == list(theirs)
            for key, value in ours.items():
                compare(value, theirs[key])
        else:
            assert repr(ours) == repr(theirs)

    paths = [*(realdata / "dm").rglob("*.dm[34]"), *folder.rglob("*.dm[34]")]
    for path in paths:
        with path.open("rb") as file:
            theirs = reader(file)
            theirs.parse_file()
        del theirs.tags_dict["root"]
        compare(read_tags(path, rosettasciio=True), theirs.tags_dict)
    assert described > len(paths)


@pytest.mark.parametrize("version", [3, 4])
def test_pixels_are_never_read(tmp_path: Path, version: int) -> None:
    """Whatever their type and number: 16-bit pixels are not text."""
    for n in (1, 5, 60_000):
        pixels = np.full(n, 65, "u2")
        tree = {"ImageList": {0: {"ImageData": {"Data": pixels, "Name": pixels[:5]}}}}
        path = tmp_path / "a.dm"
        path.write_bytes(dm_file(tree, version))
        data = group(read_tags(path), "ImageList", "0", "ImageData")
        assert isinstance(data["Data"], TagArray)
        assert (data["Data"].count, data["Data"].dtype) == (n, np.dtype("<u2"))
        assert data["Name"] == "AAAAA"[:n]


@pytest.mark.parametrize("version", [3, 4])
def test_groups_that_are_left_out(tmp_path: Path, version: int) -> None:
    path = tmp_path / "a.dm"
    content = dm_file(TREE, version)
    path.write_bytes(content)
    whole = read_tags(path)
    left = read_tags(path, skip=("inner", "structure"))  # only groups are
    assert list(left) == list(whole)
    assert left["groups"] == {"0": {"x": 1}, "1": {"x": 2}}
    # in DM4, what is in them does not matter
    assert content.count(b"deeper") == 1
    damaged = content.replace(b"deeper", b"de\xff\xff\xff\xff")
    at = damaged.index(b"%%%%", damaged.index(b"de\xff"))
    path.write_bytes(damaged[:at] + b"%%%x" + damaged[at + 4 :])
    if version == 4:
        assert read_tags(path, skip=("inner",))["groups"] == left["groups"]
    else:
        with pytest.raises(FormatError, match="begins a value"):
            read_tags(path, skip=("inner",))
