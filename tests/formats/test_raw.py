# SPDX-License-Identifier: GPL-3.0-or-later
"""What is particular to raw binary files: layouts, pixel types, side files, messages."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from writers import raw as writer
from writers.empad import write_empad

import rsciio_tem
from rsciio_tem.errors import FormatError, RecordingWarning, Truncated
from rsciio_tem.formats import raw

SIG = (6, 10)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def read(path: Any, **options: Any) -> dict[str, Any]:
    (signal,) = raw.file_reader(path, **options)
    return signal


def noise(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Any bytes for integers, some numbers for floats."""
    stored = np.dtype(dtype)
    if stored.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if stored.kind in "iu":
        size = int(np.prod(shape)) * stored.itemsize
        return rng.integers(0, 256, size, np.uint8).view(stored).reshape(shape)
    values = rng.normal(size=shape) * 1000
    return (values + 1j * rng.normal(size=shape) if stored.kind == "c" else values).astype(stored)


NUMBERS = [
    *("?", "u1", "i1", "<u2", ">u2", "<i2", ">i2", "<u4", ">u4", "<i4", ">i4"),
    *("<u8", ">u8", "<i8", ">i8", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8"),
    *("<c8", ">c8", "<c16", ">c16"),
]


# -- pixel types ---------------------------------------------------------------------------------


@pytest.mark.parametrize("around", [{}, {"offset": 5, "frame_header": 3, "frame_footer": 1}])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_every_type_of_number(
    tmp_path: Path, rng: np.random.Generator, dtype: str, around: dict[str, int]
) -> None:
    """LiberTEM refuses big-endian floats and reads negative big-endian integers wrong."""
    frames = noise(rng, (7, *SIG), dtype)
    path = writer.write_raw(tmp_path / "a.raw", frames, **around)
    native = frames.dtype.newbyteorder("=")
    for options in ({}, {"lazy": True}, {"mmap_mode": "r"}):
        data = read(path, dtype=dtype, sig_shape=SIG, **around, **options)["data"]
        if "mmap_mode" not in options:
            assert data.dtype == native
            assert data.dtype.isnative
        np.testing.assert_array_equal(np.asarray(data), frames)
    stored = read(path, dtype=np.dtype(dtype), sig_shape=SIG, **around)["data"]
    np.testing.assert_array_equal(stored, frames)


def test_negative_big_endian_integers(tmp_path: Path) -> None:
    """A sum of -120 came out as 982920 of LiberTEM."""
    frames = -np.arange(16).reshape(1, 4, 4)
    path = writer.write_raw(tmp_path / "a.raw", frames, ">i2")
    data = read(path, dtype=">i2", sig_shape=(4, 4))["data"]
    assert data.sum() == -120
    assert data.astype("f8").sum() == -120
    lazy = read(path, dtype=">i2", sig_shape=(4, 4), lazy=True)["data"]
    assert lazy.astype("f8").sum().compute() == -120


@pytest.mark.parametrize(
    ("dtype", "names"),
    [
        ("uint1", ["uint1", "<uint1"]),
        (">uint1", [">uint1"]),
        ("<uint12", ["uint12", "<uint12"]),
        (">uint12", [">uint12"]),
    ],
)
@pytest.mark.parametrize("around", [{}, {"offset": 2, "frame_header": 3, "frame_footer": 5}])
@pytest.mark.parametrize("sig", [(4, 6), (3, 8), (48,), (2, 3, 4)])
def test_packed_pixels(
    tmp_path: Path,
    rng: np.random.Generator,
    dtype: str,
    names: list[str],
    around: dict[str, int],
    sig: tuple[int, ...],
) -> None:
    bits = int(dtype.split("uint")[1])
    frames = rng.integers(0, 1 << bits, (5, *sig))
    path = writer.write_raw(tmp_path / "a.raw", frames, dtype, sig_dims=len(sig), **around)
    for name in names:
        data = read(path, dtype=name, sig_shape=sig, **around)["data"]
        assert data.dtype == (np.uint8 if bits == 1 else np.uint16)
        np.testing.assert_array_equal(data, frames)
        lazy = read(path, dtype=name, sig_shape=sig, lazy=True, **around)["data"]
        np.testing.assert_array_equal(lazy[3, ..., 1:3].compute(), frames[3, ..., 1:3])


def test_12_bit_pixels_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(bytes([0x12, 0x34, 0x56]))
    assert read(path, dtype=">uint12", sig_shape=(2,))["data"].tolist() == [0x123, 0x456]
    assert read(path, dtype="<uint12", sig_shape=(2,))["data"].tolist() == [0x412, 0x563]


def test_1_bit_pixels_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(bytes([0b1000_0010]))
    assert read(path, dtype="uint1", sig_shape=(8,))["data"].tolist() == [0, 1, 0, 0, 0, 0, 0, 1]
    assert read(path, dtype=">uint1", sig_shape=(8,))["data"].tolist() == [1, 0, 0, 0, 0, 0, 1, 0]


# -- layout --------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["auto", "mmap", "buffered", "direct"])
@pytest.mark.parametrize("offset", [0, 1, 4096])
@pytest.mark.parametrize("frame_header", [0, 1, 64])
@pytest.mark.parametrize("frame_footer", [0, 3])
def test_bytes_around_frames(
    tmp_path: Path,
    rng: np.random.Generator,
    backend: str,
    offset: int,
    frame_header: int,
    frame_footer: int,
) -> None:
    frames = noise(rng, (12, *SIG), ">u2")
    around = {"offset": offset, "frame_header": frame_header, "frame_footer": frame_footer}
    path = writer.write_raw(tmp_path / "a.raw", frames, **around)
    data = read(path, dtype=">u2", sig_shape=SIG, nav_shape=(3, 4), io_backend=backend, **around)[
        "data"
    ]
    np.testing.assert_array_equal(data, frames.reshape(3, 4, *SIG))


@pytest.mark.parametrize("rest", [1, 59, 60, 119])
def test_incomplete_frame_at_the_end(tmp_path: Path, rng: np.random.Generator, rest: int) -> None:
    """LiberTEM raises where the file's size is a multiple of the number of pixels."""
    frames = noise(rng, (4, *SIG), "<u2")
    path = writer.write_raw(tmp_path / "a.raw", frames)
    path.write_bytes(path.read_bytes() + bytes(rest))
    for backend in ("mmap", "buffered"):
        with pytest.warns(
            RecordingWarning,
            match=rf"{rest} bytes at the end are not a complete frame of 120 bytes",
        ):
            data = read(path, dtype="<u2", sig_shape=SIG, io_backend=backend)["data"]
        np.testing.assert_array_equal(data, frames)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (12,)),
        ({"nav_shape": (3, -1)}, (3, 4)),
        ({"nav_shape": (-1, 6)}, (2, 6)),
        ({"nav_shape": -1}, (12,)),
        ({"navigation_shape": (3, -1)}, (4, 3)),
        ({"navigation_shape": 12}, (12,)),
        ({"nav_shape": (2, 3, 2)}, (2, 3, 2)),
        ({"nav_shape": (2, 2), "first_frame": 4}, (2, 2)),
    ],
    ids=str,
)
def test_scan_shape(
    tmp_path: Path, rng: np.random.Generator, options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    frames = noise(rng, (12, *SIG), "<u2")
    path = writer.write_raw(tmp_path / "a.raw", frames)
    data = read(path, dtype="<u2", sig_shape=SIG, **options)["data"]
    first = options.get("first_frame", 0)
    count = int(np.prod(shape))
    np.testing.assert_array_equal(data, frames[first : first + count].reshape(*shape, *SIG))


@pytest.mark.parametrize(
    "sig", [60, (60,), (2, 30), (6, 10), (3, 4, 5), [6, 10], np.array([6, 10])]
)
def test_frame_shape(tmp_path: Path, rng: np.random.Generator, sig: Any) -> None:
    frames = noise(rng, (4, 60), "<u2")
    path = writer.write_raw(tmp_path / "a.raw", frames, sig_dims=1)
    signal = read(path, dtype="<u2", sig_shape=sig)
    expected = frames.reshape(4, *np.atleast_1d(sig))
    np.testing.assert_array_equal(signal["data"], expected)
    assert [axis["navigate"] for axis in signal["axes"]] == [True] + [False] * (expected.ndim - 1)


# -- other readers -------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<f4", "<i4", "<c8"])
@pytest.mark.parametrize("sync_offset", [0, 3, -3])
def test_libertem_agrees(
    tmp_path: Path, rng: np.random.Generator, libertem: Any, dtype: str, sync_offset: int
) -> None:
    from libertem.udf.raw import PickUDF

    frames = noise(rng, (12, *SIG), dtype)
    path = writer.write_raw(tmp_path / "a.raw", frames)
    dataset = libertem.load(
        "raw",
        path=str(path),
        dtype=dtype,
        nav_shape=(3, 4),
        sig_shape=SIG,
        sync_offset=sync_offset,
    )
    options = {"dtype": dtype, "nav_shape": (3, 4), "sig_shape": SIG, "sync_offset": sync_offset}
    if sync_offset > 0:
        with pytest.warns(RecordingWarning, match="3 of 12 scan positions were not recorded"):
            signal = read(path, **options)
    else:
        signal = read(path, **options)
    ours = signal["data"].reshape(12, *SIG)
    delivered = np.arange(12) + sync_offset
    roi = ((delivered >= 0) & (delivered < 12)).reshape(3, 4)
    picked = libertem.run_udf(dataset=dataset, udf=PickUDF(), roi=roi)
    np.testing.assert_array_equal(ours[roi.reshape(-1)], np.asarray(picked["intensity"].data))
    assert not ours[~roi.reshape(-1)].any()


@pytest.fixture(scope="module")
def libertem() -> Any:
    api = pytest.importorskip("libertem.api")
    context = api.Context.make_with("inline")
    yield context
    context.close()


# -- side files ----------------------------------------------------------------------------------

DESCRIPTION: dict[str, Any] = {
    "dtype": ">u2",
    "sig_shape": SIG,
    "nav_shape": (3, 4),
    "offset": 7,
    "frame_header": 4,
    "frame_footer": 2,
}
AROUND = {name: DESCRIPTION[name] for name in ("offset", "frame_header", "frame_footer")}


@pytest.fixture
def described(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, np.ndarray]:
    frames = noise(rng, (12, *SIG), ">u2")
    return writer.write_raw(tmp_path / "a.raw", frames, **AROUND), frames.reshape(3, 4, *SIG)


@pytest.mark.parametrize("format", ["toml", "yaml"])
@pytest.mark.parametrize("opened", ["data", "side"])
def test_side_file(described: tuple[Path, np.ndarray], format: Any, opened: str) -> None:
    path, frames = described
    side = writer.side_file(path, format, **DESCRIPTION)
    signal = read(side if opened == "side" else path)
    np.testing.assert_array_equal(signal["data"], frames)
    assert signal["original_metadata"]["params"]["dtype"] == ">u2"
    assert signal["original_metadata"]["rsciio_tem"]["files"] == [str(path), str(side)]
    scan = signal["original_metadata"]["rsciio_tem"]["scan"]
    assert scan["reason"] == f"nav_shape in {side.name}"
    best = rsciio_tem.detect(side if opened == "side" else path)[0]
    assert best.format == "raw"
    assert best.confidence > 0.9


def test_side_file_of_other_names(described: tuple[Path, np.ndarray]) -> None:
    path, frames = described
    side = writer.side_file(path, "toml", **DESCRIPTION, file=path.name)
    renamed = side.rename(path.with_name("description.toml"))
    np.testing.assert_array_equal(read(renamed)["data"], frames)
    # paths of the computer it was written on mean nothing here
    text = renamed.read_text().replace('"a.raw"', '"D:\\\\data\\\\a.raw"')
    renamed.write_text(text)
    np.testing.assert_array_equal(read(renamed)["data"], frames)
    yml = writer.side_file(path, "yaml", **DESCRIPTION)
    np.testing.assert_array_equal(read(yml.rename(path.with_suffix(".YML")))["data"], frames)


def test_arguments_go_before_the_side_file(described: tuple[Path, np.ndarray]) -> None:
    path, frames = described
    writer.side_file(path, "toml", **DESCRIPTION)
    data = read(path, sig_shape=(10, 6), nav_shape=(12,))["data"]
    np.testing.assert_array_equal(data, frames.reshape(12, 10, 6))
    data = read(path, dtype="<u2")["data"]
    np.testing.assert_array_equal(data, frames.view("<u2"))


@pytest.mark.parametrize("nav", [(3, -1), (-1, 4), 12, (-1,)])
def test_scan_shape_in_the_side_file(described: tuple[Path, np.ndarray], nav: Any) -> None:
    path, frames = described
    writer.side_file(path, "toml", **{**DESCRIPTION, "nav_shape": nav})
    data = read(path)["data"]
    np.testing.assert_array_equal(data.reshape(frames.shape), frames)
    assert data.ndim == 2 + np.size(nav)


def test_scan_shape_in_the_side_file_that_does_not_fit(
    described: tuple[Path, np.ndarray],
) -> None:
    path, _ = described
    writer.side_file(path, "toml", **{**DESCRIPTION, "nav_shape": (4, 5)})
    with pytest.warns(RecordingWarning, match="only 2 of 4 lines are complete") as told:
        assert read(path)["data"].shape == (2, 5, *SIG)
    assert len(told) == 1
    writer.side_file(path, "toml", **{**DESCRIPTION, "nav_shape": (2, 5)})
    with pytest.warns(RecordingWarning, match="2 of 12 frames lie beyond the scan of 10"):
        assert read(path)["data"].shape == (2, 5, *SIG)


def test_side_file_about_something_else(described: tuple[Path, np.ndarray]) -> None:
    path, frames = described
    for other in ({"filetype": "raw_csr"}, {"file": "b.raw"}):
        writer.side_file(path, "toml", **{**DESCRIPTION, "dtype": "<f4", **other})
        with pytest.raises(FormatError, match="nothing says its dtype and sig_shape"):
            read(path)
        data = read(path, dtype=">u2", sig_shape=SIG, nav_shape=(3, 4), **AROUND)["data"]
        np.testing.assert_array_equal(data, frames)


def test_unknown_keys_are_told(described: tuple[Path, np.ndarray]) -> None:
    path, _ = described
    writer.side_file(path, "toml", **DESCRIPTION, scan_shape=[3, 4])
    with pytest.warns(RecordingWarning, match=r"a\.toml: unknown keys \['scan_shape'\]"):
        read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"nav_shape": [-1, -1]},
            r"nav_shape = \[-1, -1\] in .*a\.toml does not fit its 12 frames",
        ),
        ({"nav_shape": [-1, 99]}, "does not fit its 12 frames"),
        ({"nav_shape": [0, 4]}, r"nav_shape = \[0, 4\] is not a shape"),
        ({"nav_shape": "4x3"}, "nav_shape = '4x3' is not a shape"),
        ({"sig_shape": []}, r"sig_shape = \[\] is not a shape"),
        ({"sig_shape": [6, -10]}, "is not a shape"),
        ({"sig_shape": [6.0, 10]}, "is not a shape"),
        ({"dtype": "u17"}, "dtype 'u17' is unknown"),
        ({"dtype": "a"}, r"dtype .* is not a type of number"),
        ({"dtype": 16}, "dtype 16 is unknown"),
        ({"offset": -1}, "offset = -1 is not a number of bytes"),
        ({"frame_header": 1.5}, "frame_header = 1.5 is not a number of bytes"),
        ({"frame_footer": True}, "frame_footer = True is not a number of bytes"),
    ],
    ids=str,
)
def test_side_files_that_are_wrong(
    described: tuple[Path, np.ndarray], change: dict[str, Any], message: str
) -> None:
    path, _ = described
    writer.side_file(path, "toml", **{**DESCRIPTION, **change})
    with pytest.raises(FormatError, match=message):
        read(path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "[params\n", r"a\.toml: is not valid"),
        ("a.toml", "dtype = 'u2'\n", r"a\.toml: has no table \[params\]"),
        ("a.toml", "[[params]]\n", r"a\.toml: has no table \[params\]"),
        ("a.yaml", "params: [\n", r"a\.yaml: is not valid"),
        (
            "a.yaml",
            "params: !!python/object/apply:os.system ['echo']\n",
            r"a\.yaml: is not valid",
        ),
        ("a.toml", "\x00\xff", r"a\.toml: is not valid"),
        ("a.toml", "[params]\n" + "#" * (1 << 20), "larger than 1 MiB"),
    ],
)
def test_side_files_that_cannot_be_parsed(
    described: tuple[Path, np.ndarray], name: str, text: str, message: str
) -> None:
    path, _ = described
    path.with_name(name).write_text(text, encoding="latin-1")
    for opened in (path, path.with_name(name)):
        with pytest.raises(FormatError, match=message):
            read(opened)


def test_side_file_of_another_recording(described: tuple[Path, np.ndarray]) -> None:
    """One without the number is shared by a set, unless it is that of another file."""
    path, _ = described
    for name in ("scan1.raw", "scan2.raw"):
        (path.parent / name).write_bytes(path.read_bytes())
    side = writer.side_file(path.parent / "scan.raw", "toml", **DESCRIPTION)
    assert raw.parse(path.parent / "scan2.raw").files[1:] == (str(side),)
    (path.parent / "scan.raw").write_bytes(path.read_bytes())
    with pytest.raises(FormatError, match="nothing says its"):
        raw.parse(path.parent / "scan2.raw")
    other = side.rename(side.with_name("scan3.toml"))
    with pytest.raises(FormatError, match="with its name lies beside it"):
        raw.parse(other)


@pytest.mark.parametrize("format", ["toml", "yaml"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_mark(described: tuple[Path, np.ndarray], format: Any, encoding: str) -> None:
    path, pixels = described
    side = writer.side_file(path, format, **DESCRIPTION)
    side.write_bytes(side.read_text().encode(encoding))
    for name in (path, side):
        assert rsciio_tem.detect(name)[0].format == "raw"
        assert rsciio_tem.load(name)[0]["data"].size == pixels.size


def test_side_file_without_data(tmp_path: Path) -> None:
    side = writer.side_file(tmp_path / "a.raw", "toml", **DESCRIPTION)
    with pytest.raises(FormatError, match=r"a\.toml: describes no file: none of \.raw, \.bin"):
        read(side)
    side = writer.side_file(tmp_path / "a.raw", "toml", **DESCRIPTION, file="b.raw")
    with pytest.raises(FormatError, match=r"b\.raw: does not exist"):
        read(side)


# -- messages ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing says its dtype and sig_shape"),
        ({"dtype": "u1"}, "nothing says its sig_shape"),
        ({"sig_shape": (2, 2)}, "nothing says its dtype"),
    ],
    ids=str,
)
def test_what_must_be_told(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = writer.write_raw(tmp_path / "scan_1.raw", np.zeros((4, 2, 2), "u1"))
    with pytest.raises(FormatError, match=message) as caught:
        read(path, **options)
    text = str(caught.value)
    assert str(path) in text
    assert 'Pass for example dtype="uint16", sig_shape=(256, 256), navigation_shape=(x, y)' in text
    assert "or write them into scan_1.toml" in text
    assert "suggests" not in text


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        (
            "x_256x255_128x64_uint16.raw",
            'dtype="uint16", sig_shape=(128, 64), nav_shape=(256, 255)',
        ),
        ("scan_x256_y128.raw", "navigation_shape=(256, 128)"),
        ("dark_130x128_float32.raw", 'dtype="float32", sig_shape=(130, 128)'),
    ],
)
def test_names_are_only_suggestions(tmp_path: Path, name: str, suggestion: str) -> None:
    path = writer.write_raw(tmp_path / name, np.zeros((4, 2, 2), "u1"))
    with pytest.raises(FormatError) as caught:
        read(path)
    assert str(caught.value).endswith(f"Its name suggests {suggestion}.")


@pytest.mark.parametrize(
    "dtype", ["u2,u2", "(2,2)u2", "S3", "U3", "M8[s]", "V4", object, [("a", "u2")], "O"], ids=str
)
def test_types_that_are_no_numbers(tmp_path: Path, dtype: Any) -> None:
    path = writer.write_raw(tmp_path / "a.raw", np.zeros((4, 2, 2), "u1"))
    with pytest.raises(FormatError, match=r"a\.raw: dtype .* is not a type of number"):
        read(path, dtype=dtype, sig_shape=(1, 1))


@pytest.mark.parametrize("dtype", ["u3", "(", "f4,(2", "uint13", "f99999999999", {"a": 1}], ids=str)
def test_types_that_are_unknown(tmp_path: Path, dtype: Any) -> None:
    path = writer.write_raw(tmp_path / "a.raw", np.zeros((4, 2, 2), "u1"))
    with pytest.raises(
        FormatError, match=r"a\.raw: dtype .* is unknown\. Use numpy's names.*uint12"
    ):
        read(path, dtype=dtype, sig_shape=(1, 1))


@pytest.mark.parametrize(
    ("sig", "dtype", "message"),
    [
        ((3, 3), "uint1", "does not fill whole bytes. Choose sig_shape"),
        ((3, 3), "uint12", "does not fill whole bytes. Choose sig_shape"),
        ((9, 9), "u1", "has 16 bytes, one frame takes 81. Check dtype and sig_shape"),
        ((1 << 40, 1 << 40), "u8", "Check dtype and sig_shape"),
    ],
    ids=str,
)
def test_frames_that_do_not_fit(
    tmp_path: Path, sig: tuple[int, int], dtype: str, message: str
) -> None:
    path = writer.write_raw(tmp_path / "a.raw", np.zeros((4, 2, 2), "u1"))
    with pytest.raises(FormatError, match=r"a\.raw: .*" + message):
        read(path, dtype=dtype, sig_shape=sig)


def test_offset_beyond_the_end(tmp_path: Path) -> None:
    path = writer.write_raw(tmp_path / "a.raw", np.zeros((4, 2, 2), "u1"))
    with pytest.raises(Truncated, match="one frame takes 4 behind an offset of 100"):
        read(path, dtype="u1", sig_shape=(2, 2), offset=100)
    path.write_bytes(b"")
    with pytest.raises(Truncated, match="has 0 bytes"):
        read(path, dtype="u1", sig_shape=(2, 2))


def test_names_of_other_packages(tmp_path: Path) -> None:
    path = writer.write_raw(tmp_path / "a.raw", np.zeros((4, 2, 2), "u1"))
    for name, hint in (("scan_size", "nav_shape"), ("detector_size", "sig_shape")):
        with pytest.raises(TypeError, match=f"unexpected keyword '{name}'.*{hint}"):
            read(path, dtype="u1", sig_shape=(2, 2), **{name: (2, 2)})
    with pytest.raises(TypeError, match=r"pass either navigation_shape .* or nav_shape"):
        read(path, dtype="u1", sig_shape=(2, 2), nav_shape=(2, 2), navigation_shape=(2, 2))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"a\.raw: does not exist"):
        read(tmp_path / "a.raw", dtype="u1", sig_shape=(2, 2))
    with pytest.raises(FormatError, match="is a folder"):
        read(tmp_path, dtype="u1", sig_shape=(2, 2))


def test_written_beside_the_description_of_an_earlier_recording(tmp_path: Path) -> None:
    """What lies beside a file that replaces an EMPAD recording does not describe the new one."""
    frames = np.arange(6 * 128 * 128).reshape(2, 3, 128, 128).astype("f4")
    xml = write_empad(tmp_path, frames, name="scan.raw")
    assert rsciio_tem.detect(tmp_path / "scan.raw")[0].format == "empad"
    signal = rsciio_tem.load(xml)[0]
    signal["data"] = np.ascontiguousarray(signal["data"][::-1, :, :100, :90])
    signal["axes"][2]["size"], signal["axes"][3]["size"] = 100, 90
    signal["original_metadata"] = {}
    rsciio_tem.convert(signal, tmp_path / "scan.raw", overwrite=True)
    np.testing.assert_array_equal(rsciio_tem.load(tmp_path / "scan.raw")[0]["data"], signal["data"])


@pytest.mark.skipif(os.name == "nt", reason="names differ in more than their case there")
def test_side_files_of_names_that_differ_in_case(tmp_path: Path) -> None:
    first, second = np.ones((3, 4, 5, 6), "u2"), np.ones((2, 3, 4, 5), "u1")
    np.save(tmp_path / "first.npy", first)
    np.save(tmp_path / "second.npy", second)
    rsciio_tem.convert(tmp_path / "first.npy", tmp_path / "A.raw")
    if (tmp_path / "a.raw").exists():
        pytest.skip("this disk does not tell them apart")
    rsciio_tem.convert(tmp_path / "second.npy", tmp_path / "a.raw")
    for name, expected in (("A.raw", first), ("a.raw", second)):
        (signal,) = rsciio_tem.load(tmp_path / name)
        np.testing.assert_array_equal(signal["data"], expected, strict=True)
    (tmp_path / "A.toml").unlink()  # that of the other is not taken for it
    with pytest.raises(FormatError):
        rsciio_tem.load(tmp_path / "A.raw")
