# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw images described in YAML."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from writers.rawimage import write_rawimage

import rsciio_tem
from rsciio_tem.errors import FormatError, NotThisFormat, RecordingWarning, Truncated
from rsciio_tem.formats import rawimage

FRAMES = np.random.default_rng(4).integers(0, 250, (5, 6, 8))


def load(path: Path, **options: Any) -> Any:
    (signal,) = rawimage.file_reader(path, **options)
    return signal["data"]


TYPES = [f"{order}{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8) for order in "<>"]


@pytest.mark.parametrize("dtype", [*TYPES, "<f4", ">f4", "<f8", ">f8", "?"])
def test_every_type(tmp_path: Path, dtype: str) -> None:
    frames = FRAMES.astype(dtype)
    path = write_rawimage(tmp_path / "a.yml", frames)
    data = load(path)
    assert data.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(data, frames)
    np.testing.assert_array_equal(load(path, lazy=True), frames)
    assert rsciio_tem.detect(path)[0].format == "rawimage"


def test_agrees_with_numpy(tmp_path: Path) -> None:
    path = write_rawimage(tmp_path / "a.yml", FRAMES.astype(">i2"), skip=123)
    whole = np.fromfile(tmp_path / "data.bin", ">i2", offset=123).reshape(-1, 6, 8)
    np.testing.assert_array_equal(load(path), whole)


def test_hexrd_refuses_a_skip_of_a_whole_image_here_it_is_read(tmp_path: Path) -> None:
    for skip in (96, 97, 1000):
        path = write_rawimage(tmp_path / "a.yml", FRAMES.astype("<u2"), skip=skip)
        np.testing.assert_array_equal(load(path), FRAMES)


def test_hexrd_refuses_a_rest_here_it_is_told(tmp_path: Path) -> None:
    path = write_rawimage(tmp_path / "a.yml", FRAMES.astype("<u2"), rest=95)
    with pytest.warns(RecordingWarning, match=r"data\.bin: 95 bytes at the end are not a complete"):
        np.testing.assert_array_equal(load(path), FRAMES)


def test_gap_between_images(tmp_path: Path) -> None:
    """hexrd issues 339, 608, 611."""
    path = write_rawimage(tmp_path / "a.yml", FRAMES.astype("<u2"), skip=5, gap=13)
    np.testing.assert_array_equal(load(path), FRAMES)


@pytest.mark.parametrize("shape", ["6 8", " 6  8 ", "6, 8", "(6, 8)", "6x8", [6, 8], ["6", "8"]])
def test_spellings_of_a_shape(tmp_path: Path, shape: Any) -> None:
    path = write_rawimage(tmp_path / "a.yml", FRAMES.astype("<u2"), shape=shape)
    np.testing.assert_array_equal(load(path), FRAMES)


def test_several_files(tmp_path: Path) -> None:
    for i, name in enumerate(("d_1.bin", "d_2.bin", "d_10.bin")):
        path = write_rawimage(tmp_path / "a.yml", FRAMES.astype("<u2") + i, data=name)
    expected = np.concatenate([FRAMES, FRAMES + 1, FRAMES + 2])
    for names in ("d_*.bin", ["d_1.bin", "d_2.bin", "d_10.bin"]):
        path = write_rawimage(tmp_path / "a.yml", FRAMES.astype("<u2") + 2, data="d_10.bin",
                              named=names)  # fmt: skip
        np.testing.assert_array_equal(load(path), expected)


def test_hexrd_wants_every_key_here_some_have_defaults(tmp_path: Path) -> None:
    path = write_rawimage(tmp_path / "a.yml", FRAMES.astype("<f4"), skip=None, scalar={"type": "f"})
    np.testing.assert_array_equal(load(path), FRAMES)
    scalar = {"type": "i", "bytes": 2}
    path = write_rawimage(tmp_path / "a.yml", FRAMES.astype("<i2"), scalar=scalar)
    assert load(path).dtype == "i2"


def test_data_file_is_beside_the_description_or_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hexrd knows the current folder only; names with spaces are names."""
    (tmp_path / "here").mkdir()
    path = write_rawimage(tmp_path / "a.yml", FRAMES.astype("<u2"), data="my data.bin")
    np.testing.assert_array_equal(load(path), FRAMES)
    (tmp_path / "my data.bin").rename(tmp_path / "here" / "my data.bin")
    with pytest.raises(FormatError, match=r"a\.yml: lists my data\.bin, which is not in"):
        load(path)
    monkeypatch.chdir(tmp_path / "here")
    np.testing.assert_array_equal(load(path), FRAMES)


def test_rotation(tmp_path: Path) -> None:
    """hexrd has no metadata for raw images."""
    path = write_rawimage(tmp_path / "a.yml", FRAMES.astype("<u2"))
    table = [[i, i + 2] for i in range(5)]
    (signal,) = rawimage.file_reader(path, omega=table)
    assert (signal["axes"][0]["name"], signal["axes"][0]["offset"]) == ("omega", 1)
    path = write_rawimage(tmp_path / "a.yml", FRAMES.astype("<u2"), meta={"omega": table})
    assert rawimage.parse(path).omega is not None
    with pytest.raises(FormatError, match=r"a\.yml: omega has shape \(4, 2\)"):
        rawimage.parse(path, omega=table[1:])


def test_processing(tmp_path: Path) -> None:
    path = write_rawimage(tmp_path / "a.yml", FRAMES.astype(">u2"))
    data = load(path, processing=[("flip", "vh"), ("add", 1)])
    np.testing.assert_array_equal(data, FRAMES[:, ::-1, ::-1] + 1)


def test_metadata(tmp_path: Path) -> None:
    path = write_rawimage(tmp_path / "a.yml", FRAMES.astype(">u2"), skip=3)
    (signal,) = rawimage.file_reader(path)
    assert signal["metadata"]["General"] == {"title": "data", "original_filename": "data.bin"}
    assert signal["original_metadata"]["raw_image"]["skip"] == 3
    assert [axis["units"] for axis in signal["axes"]] == ["", "px", "px"]


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"shape": "6"}, "shape is '6'"),
        ({"shape": "6 0"}, "shape is"),
        ({"shape": "-6 -8"}, "shape is"),
        ({"shape": 48}, "shape is 48"),
        ({"shape": [math.inf, 8]}, "shape is"),
        ({"shape": [6, 8, 2]}, "shape is"),
        ({"shape": "6 8000000"}, "one image takes"),
        ({"skip": -1}, "skip is -1, not a number of bytes"),
        ({"skip": "many"}, "skip is 'many'"),
        ({"skip": 10**6}, "behind 1000000 that are skipped"),
        ({"skip": 10**30}, "skip is"),
        ({"gap": 1.5}, "gap is 1.5"),
        ({"scalar": "u2"}, "scalar is 'u2'"),
        ({"scalar": {"type": "x"}}, "type 'x'; there are i, f, d, b"),
        ({"scalar": {"type": "i", "bytes": 3}}, "bytes = 3"),
        ({"scalar": {"type": "i", "bytes": 1.0}}, "bytes = 1.0"),
        ({"scalar": {"type": "i", "bytes": True}}, "bytes = True"),
        ({"scalar": {"type": "i", "bytes": 2, "signed": "no"}}, "signed = 'no'"),
        ({"scalar": {"type": "i", "bytes": 2, "endian": "middle"}}, "'middle'-endian"),
        ({"filename": 3}, "filename is 3"),
        ({"filename": []}, "lists no files"),
        ({"filename": "none.bin"}, "lists none.bin"),
    ],
)
def test_descriptions_that_lie(tmp_path: Path, changed: dict[str, Any], match: str) -> None:
    path = write_rawimage(tmp_path / "a.yml", FRAMES.astype("<u2"))
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changed}))
    with pytest.raises(FormatError, match=match) as caught:
        load(path)
    assert str(tmp_path) in caught.value.path


def test_unknown_keys_are_told(tmp_path: Path) -> None:
    path = write_rawimage(tmp_path / "a.yml", FRAMES.astype("<u2"), offset=3)
    with pytest.warns(RecordingWarning, match=r"unknown keys \['offset'\]"):
        load(path)


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    for tree in ({"filename": "x"}, [1], 3, {}):
        path.write_text(yaml.safe_dump(tree))
        with pytest.raises(NotThisFormat):
            load(path)
        assert not [c for c in rsciio_tem.detect(path) if c.format == "rawimage"]
    path.write_text("filename: [")
    with pytest.raises(FormatError, match="not valid YAML"):
        load(path)


def test_shorter_than_one_image(tmp_path: Path) -> None:
    path = write_rawimage(tmp_path / "a.yml", FRAMES.astype("<u2"))
    (tmp_path / "data.bin").write_bytes(bytes(95))
    with pytest.raises(Truncated, match=r"data\.bin: has 95 bytes, one image takes 96"):
        load(path)


def test_hyperspy(tmp_path: Path) -> None:
    hs = pytest.importorskip("hyperspy.api")
    signal = hs.load(write_rawimage(tmp_path / "a.yml", FRAMES.astype("<u2")), lazy=True)
    np.testing.assert_array_equal(signal.data, FRAMES)
