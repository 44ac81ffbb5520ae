# SPDX-License-Identifier: GPL-3.0-or-later
"""What is particular to NumPy files: memory order, versions, archives, headers that lie."""

from __future__ import annotations

import io
import json
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from writers import npy as writer

import rsciio_tem
from rsciio_tem.errors import (
    FormatError,
    NotEnoughMemory,
    NotThisFormat,
    RecordingWarning,
    Truncated,
    Unsupported,
)
from rsciio_tem.formats import npy
from rsciio_tem.formats.npy import archive
from rsciio_tem.storage import machine

SHAPE = (3, 4, 6, 10)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def read(path: Any, **options: Any) -> dict[str, Any]:
    (signal,) = npy.file_reader(path, **options)
    return signal


def values(rng: np.random.Generator, shape: tuple[int, ...] = SHAPE, dtype: str = "<u2") -> Any:
    return rng.integers(0, 100, shape).astype(dtype)


# -- arrays that numpy knows ---------------------------------------------------------------------


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["?", "i1", ">i2", "<u4", ">u8", "<f2", ">f4", "<f8", ">c8"])
def test_written_by_numpy(
    tmp_path: Path,
    rng: np.random.Generator,
    dtype: str,
    version: tuple[int, int],
    order: Any,
    lazy: bool,
) -> None:
    array = np.asarray(values(rng, dtype=dtype), order=order)
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, array, version)
    data = read(path, lazy=lazy)["data"]
    assert data.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(np.asarray(data), np.load(path))


def test_negative_big_endian_integers(tmp_path: Path) -> None:
    array = (-np.arange(120).reshape(2, 6, 10)).astype(">i2")
    path = writer.write_npy(tmp_path / "a.npy", array)
    for lazy in (False, True):
        assert int(read(path, lazy=lazy)["data"].astype("f8").sum()) == -7140


def test_npy_of_python_2(tmp_path: Path, rng: np.random.Generator) -> None:
    """Sizes were written as 10L."""
    array = values(rng, (3, 6, 10))
    path = writer.write_npy(tmp_path / "a.npy", array)
    content = path.read_bytes().replace(b"(3, 6, 10)", b"(3L,6L,10)")
    path.write_bytes(content)
    np.testing.assert_array_equal(read(path)["data"], array)


# -- Fortran order -------------------------------------------------------------------------------


def test_fortran_order_lazily(tmp_path: Path, rng: np.random.Generator) -> None:
    """RosettaSciIO gives wrong values lazily, LiberTEM refuses."""
    array = np.asfortranarray(values(rng))
    path = tmp_path / "a.npy"
    np.save(path, array)
    assert b"'fortran_order': True" in path.read_bytes()[:128]
    data = read(path, lazy=True, chunks=(2, 3, 6, 10))["data"]
    assert data.chunks[:2] == ((2, 1), (3, 1))
    np.testing.assert_array_equal(data.compute(), array)
    np.testing.assert_array_equal(data[2, 1].compute(), array[2, 1])
    np.testing.assert_array_equal(data[..., 2:4, ::3].compute(), array[..., 2:4, ::3])
    np.testing.assert_array_equal(data[1:, 2, 5, 7].compute(), array[1:, 2, 5, 7])
    np.testing.assert_array_equal(data.sum(axis=(0, 1)).compute(), array.sum(axis=(0, 1)))


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("options", "index"),
    [
        ({"nav_shape": (4, 3)}, np.arange(12).reshape(4, 3)),
        ({"nav_shape": (2, 5), "sync_offset": 2}, np.arange(2, 12).reshape(2, 5)),
        ({"nav_shape": (12,), "first_frame": 1, "sync_offset": -1}, np.arange(12)),
        ({"nav_shape": (3, 4), "snake": True}, [[0, 1, 2, 3], [7, 6, 5, 4], [8, 9, 10, 11]]),
        ({"roi": np.eye(3, 4, dtype=bool)}, [0, 5, 10]),
        ({"roi": [11, 0, 5]}, [11, 0, 5]),
    ],
    ids=str,
)
def test_fortran_order_arranged(
    tmp_path: Path, rng: np.random.Generator, options: dict[str, Any], index: Any, lazy: bool
) -> None:
    array = values(rng)
    frames = array.reshape(12, 6, 10)
    expected = frames[np.asarray(index)]
    if options.get("first_frame"):
        expected = expected.copy()
        expected[0] = 0
    path = writer.write_npy(tmp_path / "a.npy", array, fortran=True)
    signal = read(path, lazy=lazy, **options)
    np.testing.assert_array_equal(np.asarray(signal["data"]), expected)


def test_fortran_order_is_not_cut_anew(tmp_path: Path, rng: np.random.Generator) -> None:
    path = writer.write_npy(tmp_path / "a.npy", values(rng), fortran=True)
    with pytest.raises(
        FormatError, match=r"in Fortran order cannot be cut into frames of \(10, 6\)"
    ):
        read(path, sig_shape=(10, 6))
    assert read(path, sig_shape=(6, 10))["data"].shape == SHAPE
    with pytest.raises(Unsupported, match="flip_y have no meaning"):
        read(path, flip_y=True)


# -- scan and frame ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "options", "expected", "n_nav"),
    [
        ((3, 4, 6, 10), {}, (3, 4, 6, 10), 2),
        ((12, 6, 10), {}, (12, 6, 10), 1),
        ((6, 10), {}, (6, 10), 0),
        ((60,), {}, (60,), 0),
        ((3, 4, 10), {"sig_dims": 1}, (3, 4, 10), 2),
        ((3, 4, 10), {"sig_dims": 3}, (3, 4, 10), 0),
        ((2, 3, 4, 5, 6), {}, (2, 3, 4, 5, 6), 3),
        ((12, 60), {"sig_shape": (6, 10)}, (12, 6, 10), 1),
        ((12, 60), {"sig_shape": (60,)}, (12, 60), 1),
        ((720,), {"sig_shape": (6, 10), "nav_shape": (3, 4)}, (3, 4, 6, 10), 2),
        ((725,), {"sig_shape": (6, 10), "nav_shape": (3, 4)}, (3, 4, 6, 10), 2),
        ((12, 6, 10), {"nav_shape": (-1, 4)}, (3, 4, 6, 10), 2),
        ((12, 6, 10), {"navigation_shape": (4, 3)}, (3, 4, 6, 10), 2),
        ((3, 4, 6, 10), {"nav_shape": (12,)}, (12, 6, 10), 1),
    ],
    ids=str,
)
def test_division(
    tmp_path: Path,
    rng: np.random.Generator,
    shape: tuple[int, ...],
    options: dict[str, Any],
    expected: tuple[int, ...],
    n_nav: int,
) -> None:
    array = values(rng, shape)
    path = writer.write_npy(tmp_path / "a.npy", array)
    signal = read(path, **options)
    flat = array.reshape(-1)[: int(np.prod(expected))]
    np.testing.assert_array_equal(signal["data"], flat.reshape(expected))
    navigates = [axis["navigate"] for axis in signal["axes"]]
    assert navigates == [True] * n_nav + [False] * (len(expected) - n_nav)


def test_more_positions_than_frames_are_filled_and_told(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    path = writer.write_npy(tmp_path / "a.npy", values(rng, (10, 6, 10)))
    with pytest.warns(RecordingWarning, match="2 of 12 scan positions were not recorded"):
        data = read(path, nav_shape=(3, 4))["data"]
    assert not data[2, 2:].any()


@pytest.mark.parametrize(
    ("shape", "options", "error", "message"),
    [
        ((3, 4), {"sig_dims": 3}, FormatError, "sig_dims=3 for an array of 2 dimensions"),
        ((3, 4), {"sig_dims": 0}, FormatError, "sig_dims=0"),
        ((3, 4), {"sig_shape": (5, 5)}, FormatError, r"cannot be cut into frames of \(5, 5\)"),
        ((3, 4), {"sig_shape": (2, -1)}, FormatError, "cannot be cut into frames"),
        ((3, 4), {"sig_dims": 1, "sig_shape": (3, 4)}, ValueError, "sig_dims=1 contradicts"),
        ((0, 4), {}, FormatError, r"holds an empty array of shape \(0, 4\)"),
        ((3, 4), {"key": "data"}, FormatError, "is a single array, not an archive with 'data'"),
    ],
    ids=str,
)
def test_impossible_divisions(
    tmp_path: Path,
    shape: tuple[int, ...],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    path = writer.write_npy(tmp_path / "a.npy", np.zeros(shape, "u1"))
    with pytest.raises(error, match=message) as caught:
        read(path, **options)
    if error is FormatError:
        assert str(path) in str(caught.value)


def test_navigation_axes_of_rosettasciio(tmp_path: Path, rng: np.random.Generator) -> None:
    path = writer.write_npy(tmp_path / "a.npy", values(rng))
    for given, expected in (([0], [True] + [False] * 3), ([0, 1], [True] * 2 + [False] * 2)):
        signal = read(path, navigation_axes=given)
        assert [axis["navigate"] for axis in signal["axes"]] == expected
        assert signal["data"].shape == SHAPE
    assert not any(axis["navigate"] for axis in read(path, navigation_axes=None)["axes"])


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("dtype", ["u1", "<u2", "<f4", "<c8"])
def test_libertem_and_rosettasciio_agree(
    tmp_path: Path, rng: np.random.Generator, dtype: str
) -> None:
    array = values(rng, dtype=dtype)
    path = writer.write_npy(tmp_path / "a.npy", array)
    from rsciio.numpy import file_reader

    np.testing.assert_array_equal(read(path)["data"], file_reader(str(path))[0]["data"])
    api = pytest.importorskip("libertem.api")
    from libertem.udf.raw import PickUDF

    with api.Context.make_with("inline") as context:
        dataset = context.load("npy", path=str(path))
        assert tuple(dataset.shape) == read(path)["data"].shape
        picked = context.run_udf(dataset=dataset, udf=PickUDF(), roi=np.ones((3, 4), bool))
        np.testing.assert_array_equal(
            read(path, nav_shape=(12,))["data"], np.asarray(picked["intensity"].data)
        )


# -- headers that lie ----------------------------------------------------------------------------


def with_header(text: str, version: tuple[int, int] = (1, 0), data: bytes = bytes(64)) -> bytes:
    content = text.encode("utf-8" if version == (3, 0) else "latin-1")
    size = len(content).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + content + data


def entry(**changed: Any) -> str:
    return repr({"descr": "<u2", "fortran_order": False, "shape": (2, 2), **changed})


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", NotThisFormat, "damaged .npy header"),
        ("{'descr': '<u2'}", NotThisFormat, "damaged"),
        (entry(shape=[2, 2]), NotThisFormat, "damaged"),
        (entry(shape=(2, -2)), NotThisFormat, "damaged"),
        (entry(shape=(2.0, 2)), NotThisFormat, "damaged"),
        (entry(shape=(True, 2)), NotThisFormat, "damaged"),
        (entry(fortran_order=0), NotThisFormat, "damaged"),
        (entry(descr="<u17"), NotThisFormat, "damaged"),
        (entry(descr=None), NotThisFormat, "damaged"),
        (entry(descr=[5]), NotThisFormat, "damaged"),
        (entry(descr=(1, 2, 3)), NotThisFormat, "damaged"),
        ("(" * 5000, NotThisFormat, "damaged"),
        ("-" * 9000 + "1", NotThisFormat, "damaged"),
        ("__import__('os').abort()", NotThisFormat, "damaged"),
        ("{'descr': '<u2', 'fortran_order': False, 'shape': (10**9, 1)}", NotThisFormat, "damaged"),
        (entry(shape=(10**24, 2)), Truncated, "ends after 64 of the 4000000000000000000000000"),
        (entry(shape=(5, 7)), Truncated, r"ends after 64 of the 70 bytes that \(5, 7\) elements"),
        (entry(descr="|O"), Unsupported, "pickled Python objects, which are never loaded"),
        (entry(descr=[("a", "<u2"), ("b", [("c", "|O")])]), Unsupported, "pickled"),
    ],
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_headers_that_lie(
    tmp_path: Path, text: str, error: type[FormatError], message: str, version: tuple[int, int]
) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(with_header(text, version))
    for lazy in (False, True):
        with pytest.raises(error, match=r"a\.npy: .*" + message):
            read(path, lazy=lazy)
    assert isinstance(rsciio_tem.detect(path), list)  # and it raises nothing


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", NotThisFormat, "is not a .npy file"),
        (b"\x93NUMPY", NotThisFormat, "is not a .npy file"),
        (b"\x93NUMPZ" + bytes(100), NotThisFormat, "it begins with"),
        (b"\x93NUMPY\x04\x00" + bytes(100), Unsupported, "version 4; only 1 to 3"),
        (b"\x93NUMPY\x00\x00" + bytes(100), Unsupported, "version 0"),
        (b"\x93NUMPY\x01\x00\xff\xff{", Truncated, "header of 65535 bytes, which is not there"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", Truncated, "header of 4294967295 bytes"),
    ],
)
def test_files_that_are_no_npy(
    tmp_path: Path, content: bytes, error: type[FormatError], message: str
) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(error, match=r"a\.npy: .*" + message):
        read(path)


@pytest.mark.parametrize("cut", [1, 700])
def test_truncated(tmp_path: Path, rng: np.random.Generator, cut: int) -> None:
    for fortran in (False, True):
        path = writer.write_npy(tmp_path / "a.npy", values(rng), fortran, truncate=cut)
        with pytest.raises(Truncated, match=f"ends after {1440 - cut} of the 1440 bytes"):
            read(path, lazy=True)


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self) -> Any:
        return (exec, ("import builtins; builtins._rsciio_tem_unpickled = True",))


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    import builtins

    array = np.empty(1, object)
    array[0] = Bomb()
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    np.savez(tmp_path / "b.npz", array)
    lied = with_header(entry(descr="|V8", shape=(1,)), data=pickle.dumps(Bomb()))
    (tmp_path / "c.npy").write_bytes(lied)
    (tmp_path / "d.npy").write_bytes(pickle.dumps(Bomb()))
    for name in ("a.npy", "b.npz"):
        with pytest.raises(Unsupported, match="never loaded"):
            read(tmp_path / name)
    read(tmp_path / "c.npy")
    with pytest.raises(NotThisFormat):
        read(tmp_path / "d.npy")
    assert not hasattr(builtins, "_rsciio_tem_unpickled")


def test_other_elements_go_to_rosettasciio(tmp_path: Path) -> None:
    for array in (np.array(["a", "bb"]), np.zeros(3, [("x", "u2"), ("y", "f4")])):
        np.save(tmp_path / "a.npy", array)
        (signal,) = npy.file_reader(tmp_path / "a.npy")
        np.testing.assert_array_equal(signal["data"], array)
    path = tmp_path / "b.npy"
    path.write_bytes(with_header(entry(descr="<U9", shape=(5, 5))))
    with pytest.raises(FormatError, match=r"b\.npy: cannot be read"):
        read(path)


# -- archives ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", [">u2", "<f4"])
def test_archive(
    tmp_path: Path,
    rng: np.random.Generator,
    compressed: bool,
    fortran: bool,
    dtype: str,
    lazy: bool,
) -> None:
    small, large = values(rng, (5, 7), dtype), values(rng, dtype=dtype)
    path = writer.write_npz(
        tmp_path / "a.npz", compressed=compressed, fortran=fortran, small=small, large=large
    )
    for key, array in (("small", small), ("large", large), (None, large)):
        signal = read(path, key=key, lazy=lazy)
        np.testing.assert_array_equal(np.asarray(signal["data"]), array)
        np.testing.assert_array_equal(np.asarray(signal["data"]), np.load(path)[key or "large"])
    if lazy:
        np.testing.assert_array_equal(signal["data"][1, 2, 3:5].compute(), large[1, 2, 3:5])


def test_archives_of_numpy(tmp_path: Path, rng: np.random.Generator) -> None:
    array = values(rng)
    np.savez(tmp_path / "a.npz", data=array, other=np.asfortranarray(array[..., ::2]))
    np.savez_compressed(tmp_path / "b.npz", data=array, other=np.asfortranarray(array[..., ::2]))
    for name in ("a.npz", "b.npz"):
        np.testing.assert_array_equal(read(tmp_path / name)["data"], array)
        np.testing.assert_array_equal(read(tmp_path / name, key="other")["data"], array[..., ::2])


def test_frames_before_larger_arrays(tmp_path: Path) -> None:
    frames = np.ones((2, 2, 16, 16), "u2")
    np.savez(tmp_path / "a.npz", frames=frames, mask=np.ones((64, 64)), table=np.ones((9, 9, 9, 2)))
    np.testing.assert_array_equal(read(tmp_path / "a.npz")["data"], frames)
    names = np.array(["a", "b" * 999])
    np.savez(tmp_path / "b.npz", frames=frames, names=names, settings=np.array({"log": 1}, object))
    np.testing.assert_array_equal(read(tmp_path / "b.npz")["data"], frames)
    np.savez(tmp_path / "c.npz", one=frames, two=frames + 1)
    with pytest.warns(RecordingWarning, match=r"several arrays .* one is read, not two.*key="):
        np.testing.assert_array_equal(read(tmp_path / "c.npz")["data"], frames)
    np.testing.assert_array_equal(read(tmp_path / "c.npz", key="two")["data"], frames + 1)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "dia", "sparse"])
def test_sparse_arrays_are_called_so(tmp_path: Path, kind: str) -> None:
    dense = np.eye(12, dtype="u2")
    path = tmp_path / "a.npz"
    if kind == "sparse":
        sparse = pytest.importorskip("sparse", reason="sparse is not installed")
        sparse.save_npz(path, sparse.COO.from_numpy(dense))
    else:
        scipy = pytest.importorskip("scipy.sparse", reason="scipy is not installed")
        scipy.save_npz(path, getattr(scipy, f"{kind}_matrix")(dense))
    with pytest.raises(Unsupported, match=r"is a sparse array.*load_npz"):
        read(path)
    assert read(path, key="data")["data"].size == 12


# -- Nion Swift ----------------------------------------------------------------------------------

CALIBRATIONS = [
    {"offset": 0.0, "scale": 0.5, "units": "nm"},
    {"offset": 1.0, "scale": 0.25, "units": "nm"},
    {"offset": -3.0, "scale": 0.1, "units": "rad"},
    {"offset": -4.0, "scale": 0.0, "units": "rad"},
]


def nion(path: Path, array: Any, **properties: Any) -> Path:
    """Write an export of Nion Swift."""
    described = {"title": "gold", **properties}
    if path.suffix == ".npy":
        np.save(path, array)
        path.with_suffix(".json").write_text(json.dumps(described))
        return path
    content = io.BytesIO()
    np.save(content, array)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps(described))
        archive.writestr("data.npy", content.getvalue())
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.ndata1", "a.ndata"])
@pytest.mark.parametrize("word", ["spatial_calibrations", "dimensional_calibrations"])
def test_nion_swift(tmp_path: Path, rng: np.random.Generator, name: str, word: str) -> None:
    array = values(rng)
    counts = {"collection_dimension_count": 2, "datum_dimension_count": 2}
    path = nion(tmp_path / name, array, **counts, **{word: CALIBRATIONS})
    (signal,) = rsciio_tem.load(path)
    np.testing.assert_array_equal(signal["data"], array)
    assert [(a["name"], a["units"], a["scale"], a["offset"]) for a in signal["axes"]] == [
        ("y", "nm", 0.5, 0),
        ("x", "nm", 0.25, 1),
        ("dy", "rad", 0.1, -3),
        ("dx", "", 1, 0),
    ]
    assert signal["metadata"]["General"]["title"] == "gold"


def test_spectra_of_nion_swift(tmp_path: Path, rng: np.random.Generator) -> None:
    array = values(rng, (3, 4, 20))
    path = nion(
        tmp_path / "a.ndata1", array, collection_dimension_count=2, datum_dimension_count=1,
        spatial_calibrations=[*CALIBRATIONS[:2], {"offset": 100, "scale": 0.5, "units": "eV"}],
    )  # fmt: skip
    (signal,) = rsciio_tem.load(path)
    assert [(a["name"], a["navigate"]) for a in signal["axes"]] == [
        ("y", True),
        ("x", True),
        ("Energy", False),
    ]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"spatial_calibrations": 3}', "[" * 100_000])
def test_descriptions_of_others(tmp_path: Path, rng: np.random.Generator, text: str) -> None:
    array = values(rng)
    np.save(tmp_path / "a.npy", array)
    (tmp_path / "a.json").write_text(text)
    np.testing.assert_array_equal(read(tmp_path / "a.npy")["data"], array)


def test_stored_member_is_read_in_place(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = values(rng)
    path = writer.write_mixed_npz(tmp_path / "a.npz", {"plain": array}, {"packed": array + 1})
    signal = read(path, key="plain", mmap_mode="r")
    assert not signal["data"].flags.owndata
    assert not signal["data"].flags.writeable
    np.testing.assert_array_equal(signal["data"], array)
    lazy = read(path, key="plain", lazy=True)["data"]
    monkeypatch.setattr(zipfile.ZipFile, "open", None)  # nothing is inflated from here on
    np.testing.assert_array_equal(lazy.compute(), array)
    np.testing.assert_array_equal(read(path, key="plain")["data"], array)


def test_compressed_member_is_inflated_once(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.tile(rng.integers(0, 256, 1000, np.uint8), 40_000)  # several pieces of 16 MiB
    array = array.reshape(40, 1000, 1000)
    path = writer.write_npz(tmp_path / "a.npz", compressed=True, data=array)
    inflated = []
    load = archive.load_member
    monkeypatch.setattr(archive, "load_member", lambda *a: inflated.append(1) or load(*a))
    np.testing.assert_array_equal(read(path)["data"], array)
    assert len(inflated) == 1


def test_archive_without_what_is_asked_for(tmp_path: Path, rng: np.random.Generator) -> None:
    path = writer.write_npz(tmp_path / "a.npz", first=values(rng), second=values(rng))
    with pytest.raises(FormatError, match=r"a\.npz: has no array 'third'\. It has first, second"):
        read(path, key="third")
    np.savez(path, text=np.array(["a", "b"]))
    with pytest.raises(
        Unsupported, match=r"a\.npz: holds elements of type <U1, which are not pixels"
    ):
        read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    with pytest.raises(NotThisFormat, match="zip archive without arrays"):
        read(path)


def test_damaged_archives(tmp_path: Path, rng: np.random.Generator) -> None:
    for compressed in (False, True):
        path = writer.write_npz(tmp_path / "a.npz", compressed=compressed, data=values(rng))
        content = bytearray(path.read_bytes())
        path.write_bytes(content[:200])
        with pytest.raises(NotThisFormat, match=r"is not a readable \.npz"):
            read(path)
        content[:4] = b"PK\x03\x05"
        path.write_bytes(content)
        with pytest.raises(FormatError, match=r"a\.npz: "):
            read(path)
    path = writer.write_npz(tmp_path / "b.npz", compressed=True, data=values(rng))
    content = bytearray(path.read_bytes())
    middle = len(content) // 3
    content[middle : middle + 50] = bytes(50)
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"b\.npz: the array data\.npy cannot be read"):
        read(path)


def zipped(path: Path, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("data.npy", content)
    return path


def test_members_that_hold_less_than_they_announce(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        content = with_header(entry(shape=(1 << 20, 1 << 20)))
        path = zipped(tmp_path / "a.npz", content, method)
        with pytest.raises(Truncated, match=r"a\.npz: ends after 64 of the 2199023255552 bytes"):
            read(path)


def claim(path: Path, size: int) -> None:
    """Let the archive's directory say that its only member has `size` bytes."""
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = size.to_bytes(4, "little")
    path.write_bytes(content)


def test_archive_directory_that_lies(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.npz", with_header(entry(shape=(1000, 1000), descr="|u1")))
    claim(path, 2_000_000)
    with pytest.raises(FormatError, match=r"a\.npz: "):
        read(path)
    path = zipped(
        tmp_path / "b.npz",
        with_header(entry(shape=(1000, 1000), descr="|u1")),
        zipfile.ZIP_STORED,
    )
    claim(path, 2_000_000)
    with pytest.raises(Truncated, match=r"b\.npz: ends inside the array 'data'"):
        read(path)


def test_zip_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small archive that unpacks to more than there is memory is refused before."""
    buffer = io.BytesIO()
    buffer.write(writer.npy_header("|u1", (200, 1000, 1000)))
    buffer.write(bytes(200_000_000))
    path = zipped(tmp_path / "a.npz", buffer.getvalue())
    assert path.stat().st_size < 1_000_000
    monkeypatch.setattr(machine, "free_memory", lambda: 100_000_000)
    with pytest.raises(
        NotEnoughMemory,
        match=r"data\.npy is compressed and takes 0\.2 GB .* without compression",
    ):
        read(path)
    assert read(path, lazy=True)["data"][100].sum().compute() == 0  # piece by piece


def test_recognised_by_content(tmp_path: Path, rng: np.random.Generator) -> None:
    path = writer.write_npy(tmp_path / "a.dat", values(rng))
    assert rsciio_tem.detect(path)[0].format == "npy"
    path = writer.write_npz(tmp_path / "a.npz", x=values(rng))
    best = rsciio_tem.detect(path)[0]
    assert best.format == "npy"
    assert "x" in best.reason
    zipped(path, b"").rename(tmp_path / "b.npz")
    assert isinstance(rsciio_tem.detect(tmp_path / "b.npz"), list)


def test_a_frame_cache_is_not_taken_for_an_array(tmp_path: Path) -> None:
    """Its largest member is a list of pixel values, not a frame."""
    path = tmp_path / "cache.npz"
    frame = {"0_row": np.arange(3), "0_col": np.arange(3), "0_data": np.arange(3)}
    np.savez(path, nframes=1, shape=[4, 4], dtype=b"uint16", **frame)
    assert [c.format for c in rsciio_tem.detect(path)] == ["framecache"]
    with pytest.raises(NotThisFormat, match="frame cache of hexrd"):
        rsciio_tem.npy.file_reader(path)
    assert rsciio_tem.npy.file_reader(path, key="0_row")[0]["data"].shape == (3,)


def test_archives_of_other_formats_are_left_to_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", data=np.zeros((2, 3, 4)))
    path = (tmp_path / "a.npz").rename(tmp_path / "a.prz")
    assert [c.format for c in rsciio_tem.detect(path)] == ["rsciio.pantarhei"]


def test_what_is_no_recording_is_read_as_by_rosettasciio(tmp_path: Path) -> None:
    """Colours as HyperSpy keeps them, and single values; lazily RosettaSciIO 0.15 fails on both."""
    colours = np.zeros((3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["G"] = np.arange(12).reshape(3, 4)
    np.save(tmp_path / "colours.npy", colours)
    np.save(tmp_path / "value.npy", np.float64(3.5))
    for lazy in (False, True):
        (signal,) = rsciio_tem.load(tmp_path / "colours.npy", lazy=lazy)
        np.testing.assert_array_equal(np.asarray(signal["data"]), colours, strict=True)
        (signal,) = rsciio_tem.load(tmp_path / "value.npy", lazy=lazy)
        assert np.asarray(signal["data"]) == 3.5
    assert hasattr(rsciio_tem.load(tmp_path / "colours.npy", lazy=True)[0]["data"], "compute")


@pytest.mark.parametrize(
    "data",
    [
        np.arange(12).reshape(3, 4),
        np.arange(5.0),
        np.array(3.5),
        np.full((2, 3, 4, 5, 6), 3, ">u2"),
        np.zeros((3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]),
    ],
    ids=str,
)
def test_writer_takes_an_array_and_nothing_else(tmp_path: Path, data: np.ndarray) -> None:
    """So do RosettaSciIO's writers."""
    npy.file_writer(tmp_path / "a.npy", {"data": data})
    stored = np.load(tmp_path / "a.npy")
    assert stored.dtype == data.dtype.newbyteorder("<")
    np.testing.assert_array_equal(stored, data)


def test_writer_never_pickles(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a pickle"):
        npy.file_writer(tmp_path / "a.npy", {"data": np.array([1, None])})
    assert not list(tmp_path.iterdir())


def test_compressed_arrays_are_inflated_piece_by_piece(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lazy one never fills the memory; in the order of the file, everything is inflated once."""
    array = rng.integers(0, 4, (6, 8, 30, 40)).astype(">u2")
    path = writer.write_npz(tmp_path / "a.npz", compressed=True, data=array)
    monkeypatch.setattr(archive, "load_member", lambda *a: pytest.fail("all of it"))
    (signal,) = rsciio_tem.load(path, lazy=True, chunks=(1, 4, 30, 40))
    np.testing.assert_array_equal(signal["data"].compute(), array)
    for key in ((5, 7), (0, 0), (2, slice(3, 5), slice(7, 9)), (slice(1, 4), 2, 5, slice(3, 30))):
        np.testing.assert_array_equal(signal["data"][key].compute(), array[key])
    np.testing.assert_array_equal(rsciio_tem.reduce(path)["sum"], array.sum((0, 1), dtype="u8"))
    frames = rsciio_tem.open(path).frames
    opened = frames.open()
    assert len(opened.streams) <= 3
    assert max(stream.at for stream in opened.streams) <= array.nbytes + 200
    tracemalloc.start()
    out = np.empty((1, 30, 40), "u2")
    frames[[40]].load(out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(out[0], array.reshape(-1, 30, 40)[40])
    assert peak < 300_000  # a piece of the stream, and the frame


def test_a_damaged_array_is_not_replaced_by_another(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, frames=rng.integers(0, 99, (3, 4, 6, 10)), times=np.arange(5))
    content = bytearray(path.read_bytes())
    at = content.index(b"frames.npy") + 40  # within the compressed stream
    content[at : at + 4] = bytes(b ^ 255 for b in content[at : at + 4])
    path.write_bytes(content)
    with pytest.raises(FormatError, match="frames"):
        read(path)
    assert read(path, key="times", sig_dims=1)["data"].shape == (5,)
