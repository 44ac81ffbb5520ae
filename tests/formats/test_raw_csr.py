# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse recordings of LiberTEM: values, frames without entries, damage, sparse arrays, writing."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from writers.raw_csr import write_arrays, write_raw_csr

import rsciio_tem
from rsciio_tem.errors import (
    FormatError,
    NotEnoughMemory,
    NotThisFormat,
    RecordingWarning,
    Truncated,
    Unsupported,
)
from rsciio_tem.formats import raw_csr
from rsciio_tem.frames.sparse import SparseFrames

SIG = (6, 8)


def thin(nav: tuple[int, ...] = (2, 5), dtype: str = "<u2", sig: tuple[int, ...] = SIG) -> Any:
    rng = np.random.default_rng(3)
    frames = (rng.integers(1, 100, (*nav, *sig)) * (rng.random((*nav, *sig)) < 0.2)).astype(dtype)
    frames.reshape(-1, *sig)[:, 0, 0] = np.arange(1, len(frames.reshape(-1, *sig)) + 1)
    return frames


def load(path: Any, **options: Any) -> dict[str, Any]:
    (signal,) = raw_csr.file_reader(path, **options)
    return signal


def libertem_data(path: Path, roi: Any = None, **options: Any) -> np.ndarray:
    """Frames as LiberTEM delivers them; all, or those of a region."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api = pytest.importorskip("libertem.api")
        from libertem.udf.raw import PickUDF

        context = api.Context.make_with("inline")
        data = context.load("raw_csr", str(path), **options)
        everything = np.ones(tuple(data.shape.nav), bool)
        picked = context.run_udf(data, PickUDF(), roi=everything if roi is None else roi)
    return np.asarray(picked["intensity"].data)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4", "<i4", "<f4", "<f8", "<c8", ">u2", ">f4"])
@pytest.mark.parametrize(
    ("indptr", "indices"),
    [("<i8", "<i4"), ("<u4", "<u2"), (">i4", ">i4"), ("<u8", "<u8"), ("<i4", "<i8")],
)
def test_as_libertem_reads_it(tmp_path: Path, dtype: str, indptr: str, indices: str) -> None:
    frames = thin(dtype=dtype)
    path = write_raw_csr(tmp_path / "a.toml", frames, indptr_dtype=indptr, indices_dtype=indices)
    data = load(path)["data"]
    assert data.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(data, frames)
    if (indptr, indices) in (("<i8", "<i4"), (">i4", ">i4")):
        theirs = libertem_data(path).reshape(data.shape)
        np.testing.assert_array_equal(data, theirs)


def test_entries_of_a_pixel_add_up_as_in_libertem_and_scipy(tmp_path: Path) -> None:
    frames = thin()
    path = write_raw_csr(tmp_path / "a.toml", frames, shuffle=np.random.default_rng(1))
    np.testing.assert_array_equal(load(path)["data"], frames)
    np.testing.assert_array_equal(libertem_data(path).reshape(frames.shape), frames)
    matrix = load(path, sparse="scipy")["data"]
    assert matrix.has_canonical_format
    np.testing.assert_array_equal(matrix.toarray().reshape(frames.shape), frames)


@pytest.mark.parametrize("lazy", [False, True])
def test_region_with_a_sync_offset(tmp_path: Path, lazy: bool) -> None:
    """LiberTEM 0.16 returns what was not asked for if the region has inserted blanks."""
    frames = thin((10,))
    path = write_raw_csr(tmp_path / "a.toml", frames, nav_shape=(2, 5))
    roi = np.zeros((2, 5), bool)
    roi.reshape(-1)[[1, 3, 5, 7, 9]] = True
    data = np.asarray(load(path, roi=roi, sync_offset=-2, lazy=lazy)["data"])
    assert data[:, 0, 0].tolist() == [0, 2, 4, 6, 8]  # a blank, then frames 1, 3, 5, 7
    theirs = libertem_data(path, roi, sync_offset=-2, num_partitions=1)[:, 0, 0]
    assert theirs.tolist() == [2, 4, 6, 8, 0]


@pytest.mark.parametrize("lazy", [False, True])
def test_frames_without_entries(tmp_path: Path, lazy: bool) -> None:
    """LiberTEM 0.16 cannot open a recording of which all frames are empty."""
    frames = np.zeros((2, 3, *SIG), "<u2")
    path = write_raw_csr(tmp_path / "a.toml", frames)
    assert os.path.getsize(tmp_path / "a_data.dat") == 0
    np.testing.assert_array_equal(np.asarray(load(path, lazy=lazy)["data"]), frames)
    assert load(path, sparse=True)["data"].nnz == 0
    assert load(path, sparse="scipy")["data"].nnz == 0
    with pytest.raises(ValueError, match="empty file"):
        libertem_data(path)


@pytest.mark.parametrize("filetype", ["raw_csr", "RAW_CSR", "Raw_Csr"])
def test_case_of_the_file_type_does_not_matter(tmp_path: Path, filetype: str) -> None:
    """LiberTEM 0.16 has a KeyError."""
    frames = thin()
    path = write_raw_csr(tmp_path / "a.toml", frames, filetype=filetype)
    np.testing.assert_array_equal(load(path)["data"], frames)
    assert rsciio_tem.detect(path)[0].format == "raw_csr"
    text = path.read_text().replace(f"[{filetype}]", "[raw_csr]")
    path.write_text(text)
    np.testing.assert_array_equal(load(path)["data"], frames)


def test_shapes_as_keywords(tmp_path: Path) -> None:
    """LiberTEM 0.16 has a KeyError where the TOML file lacks them."""
    frames = thin()
    path = write_raw_csr(tmp_path / "a.toml", frames, nav_shape=None, sig_shape=None)
    data = load(path, nav_shape=(2, 5), sig_shape=SIG)["data"]
    np.testing.assert_array_equal(data, frames)
    assert load(path, sig_shape=SIG)["data"].shape == (10, *SIG)
    with pytest.raises(FormatError, match="has no sig_shape"):
        load(path)
    with pytest.raises(FormatError, match="outside of its"):
        load(path, sig_shape=(2, 3))


def test_frame_shape_of_the_same_size(tmp_path: Path) -> None:
    frames = thin()
    path = write_raw_csr(tmp_path / "a.toml", frames)
    assert load(path, sig_shape=(8, 6))["data"].shape == (2, 5, 8, 6)
    assert load(path, sig_shape=(48,))["data"].shape == (2, 5, 48)
    with pytest.raises(FormatError, match=r"not sig_shape=\(8, 5\)"):
        load(path, sig_shape=(8, 5))


def test_corrections_are_applied_to_dense_frames(tmp_path: Path) -> None:
    """LiberTEM 0.16 refuses corrections for this format."""
    frames = thin(dtype="<u2")
    path = write_raw_csr(tmp_path / "a.toml", frames)
    dark, gain = np.full(SIG, 2.0), np.full(SIG, 3.0)
    data = load(path, dark=dark, gain=gain)["data"]
    np.testing.assert_allclose(data, (frames.astype(float) - 2) * 3)
    with pytest.raises(Unsupported, match="without corrections"):
        load(path, dark=dark, sparse=True)


@pytest.mark.parametrize("backend", ["mmap", "buffered", "direct"])
def test_backends(tmp_path: Path, backend: str) -> None:
    """LiberTEM 0.16 refuses them for this format."""
    frames = thin()
    path = write_raw_csr(tmp_path / "a.toml", frames)
    np.testing.assert_array_equal(load(path, io_backend=backend)["data"], frames)


def test_binary_files_elsewhere(tmp_path: Path) -> None:
    frames = thin()
    path = write_raw_csr(tmp_path / "a.toml", frames, folder="parts/")
    signal = load(path)
    np.testing.assert_array_equal(signal["data"], frames)
    names = [os.path.basename(f) for f in signal["original_metadata"]["rsciio_tem"]["files"]]
    assert names == ["a.toml", "a_indptr.dat", "a_indices.dat", "a_data.dat"]


def test_what_is_told(tmp_path: Path) -> None:
    extra = """axes = [{name = "y", units = "nm", scale = 2.0}, {name = "x", units = "nm"},
        {name = "ky"}, {name = "kx", units = "1/nm", offset = -3.0}]\nday = 2024-05-06"""
    path = write_raw_csr(tmp_path / "a.toml", thin(), extra=extra)
    signal = load(path)
    assert [(a["name"], a["units"], a["scale"], a["offset"]) for a in signal["axes"]] == [
        ("y", "nm", 2, 0), ("x", "nm", 1, 0), ("ky", "", 1, 0), ("kx", "1/nm", 1, -3)
    ]  # fmt: skip
    original = signal["original_metadata"]
    assert original["params"]["day"] == "2024-05-06"
    assert original["raw_csr"]["data_dtype"] == "<u2"
    assert original["density"] == original["entries"] / 480
    assert signal["metadata"]["General"]["title"] == "a"


def test_open_reads_no_entries(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    for name, size in (("indptr", 8 * 10**8), ("indices", 4 * 10**10), ("data", 2 * 10**10)):
        with open(tmp_path / f"a_{name}.dat", "wb") as file:
            file.truncate(size + (8 if name == "indptr" else 0))
            if name == "indptr":  # the last frame has everything
                file.seek(size)
                file.write((10**10).to_bytes(8, "little"))
    parts = "".join(
        f'{n}_file = "a_{n}.dat"\n{n}_dtype = "{t}"\n'
        for n, t in (("indptr", "<i8"), ("indices", "<i4"), ("data", "<u2"))
    )
    path.write_text(
        f'[params]\nfiletype = "raw_csr"\nnav_shape = [10000, 10000]\nsig_shape = [4, 4]\n'
        f"[raw_csr]\n{parts}"
    )
    data = load(path, lazy=True)["data"]
    assert data.shape == (10000, 10000, 4, 4)
    assert not data[5000, 17].compute().any()
    with pytest.raises(NotEnoughMemory, match="Pass lazy=True"):
        load(path, sparse=True)


# ---------------------------------------------------------------- damage


def test_hexadecimal_nonsense_is_refused(tmp_path: Path) -> None:
    frames = thin()
    path = write_raw_csr(tmp_path / "a.toml", frames)
    text = path.read_text()
    for old, new, match in (
        ('"<u2"', '"nonsense"', "data_dtype = 'nonsense' is unknown"),
        ('"<u2"', '"O"', "not a type of numbers"),
        ('"<u2"', '"U4"', "not a type of numbers"),
        ('"<u2"', '"a"', "not a type of numbers"),  # which numpy warns of
        ('"<u2"', '"<f16"', "not a type of numbers"),
        ('"<u2"', '"u2,u2"', "not a type of numbers"),
        ('"<u2"', "2", "lacks data_file or data_dtype"),
        ('"<i8"', '"<f8"', "not a type of whole numbers"),
        ('"a_data.dat"', '"b_data.dat"', "does not exist"),
        ('"a_data.dat"', '"."', "is a folder"),
        ('"a_data.dat"', '"a\\u0000"', "not a name of a file"),
        ("[6, 8]", "[6, -8]", "not a shape"),
        ("[6, 8]", '"6, 8"', "not a shape"),
        ("[6, 8]", "[99999999, 99999999]", "frames of more than"),
        ("[2, 5]", "[2.5, 5]", "not a shape of a scan"),
        ("[2, 5]", "[]", "not a shape of a scan"),
        ("[2, 5]", "7", "not a shape of a scan"),
        ("[raw_csr]", "[other]", "no table"),
        ('"raw_csr"', '"raw"', "has no filetype"),
        ("[params]", "[params", "not valid TOML"),
    ):
        assert old in text
        path.write_text(text.replace(old, new, 1))
        for use in (raw_csr.parse, load):
            with pytest.raises(FormatError, match=match) as caught:
                use(path)
            assert str(tmp_path) in caught.value.path


@pytest.mark.parametrize("place", [48, -1, 2**31 - 1])
def test_places_outside_of_the_frame_are_errors(tmp_path: Path, place: int) -> None:
    """LiberTEM 0.16 writes there."""
    path = write_arrays(
        tmp_path / "a.toml",
        np.array([0, 2, 3]),
        np.array([0, 5, place], "<i4"),
        np.ones(3, "<u2"),
        nav_shape=(2,),
        sig_shape=SIG,
    )
    lazy = load(path, lazy=True)["data"]
    assert lazy[0].compute().sum() == 2  # this frame is good
    for use in (
        lambda: lazy[1].compute(),
        lambda: load(path),
        lambda: load(path, sparse=True),
        lambda: load(path, sparse="scipy"),
    ):
        with pytest.raises(FormatError, match="frame 1 lists pixels outside"):
            use()


@pytest.mark.parametrize(
    ("indptr", "match"),
    [
        ([0, 3, 2, 4, 6], "frame 1 is said to have the entries from 3 to 2 of 6"),
        ([0, 9, 9, 4, 6], "frame 0 is said to have the entries from 0 to 9 of 6"),
        ([0, -5, 2, 4, 6], "frame 0 is said"),
        ([1, 2, 3, 4, 6], "begins with 1 instead of 0"),
    ],
)
def test_offsets_that_make_no_sense(tmp_path: Path, indptr: list[int], match: str) -> None:
    path = write_arrays(
        tmp_path / "a.toml", np.array(indptr), np.arange(6, dtype="<i4"), np.ones(6, "<u2"),
        nav_shape=(4,), sig_shape=SIG,
    )  # fmt: skip
    for lazy in (False, True):
        with pytest.raises(FormatError, match=match) as caught:
            np.asarray(load(path, lazy=lazy)["data"])
    assert caught.value.path.endswith("a_indptr.dat")


def test_entries_that_belong_to_no_frame(tmp_path: Path) -> None:
    path = write_arrays(
        tmp_path / "a.toml", np.array([0, 2, 4]), np.arange(6, dtype="<i4"), np.ones(6, "<u2"),
        nav_shape=(2,), sig_shape=SIG,
    )  # fmt: skip
    with pytest.warns(RecordingWarning, match="2 of 6 entries belong to no frame"):
        assert load(path)["data"].sum() == 4


def test_different_numbers_of_places_and_values(tmp_path: Path) -> None:
    frames = thin()
    path = write_raw_csr(tmp_path / "a.toml", frames, data_dtype="<u4")
    with pytest.raises(FormatError, match=r"a_indices.dat has \d+ entries, a_data.dat \d+"):
        load(path)


def test_interrupted_recording(tmp_path: Path) -> None:
    """Frames that are complete are read."""
    frames = thin((10,))
    path = write_raw_csr(tmp_path / "a.toml", frames)
    indptr = np.fromfile(tmp_path / "a_indptr.dat", "<i8")
    there = int(indptr[7]) - 1
    os.truncate(tmp_path / "a_indices.dat", 4 * there)
    os.truncate(tmp_path / "a_data.dat", 2 * there)
    with pytest.warns(RecordingWarning, match="6 of 10 frames are complete"):
        data = load(path, nav_shape=(6,))["data"]
    np.testing.assert_array_equal(data, frames[:6])
    for n, size in (("indices", 4), ("data", 2)):
        os.truncate(tmp_path / f"a_{n}.dat", size * (int(indptr[1]) - 1))
    with pytest.raises(Truncated, match="no frame has all of its own"):
        load(path)


def test_files_that_end_within_a_number(tmp_path: Path) -> None:
    frames = thin((10,))
    path = write_raw_csr(tmp_path / "a.toml", frames)
    with open(tmp_path / "a_indptr.dat", "ab") as file:
        file.write(b"123")
    with pytest.warns(RecordingWarning, match="3 bytes at the end of a_indptr.dat"):
        np.testing.assert_array_equal(load(path)["data"], frames)
    os.truncate(tmp_path / "a_indptr.dat", 8)
    with pytest.raises(Truncated, match="hold no frame"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"[params]\nfiletype = 'raw'", b"\xff\xfe", b"a = 1"])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(NotThisFormat):
        load(path)
    assert "raw_csr" not in [c.format for c in rsciio_tem.detect(path)]


def test_large_text_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"[params]\nfiletype = 'raw_csr'\n" + b"#" * (1 << 20))
    with pytest.raises(NotThisFormat, match="larger than 1 MiB"):
        load(path)


# ---------------------------------------------------------------- sparse arrays


@pytest.mark.parametrize("dtype", ["<u2", "<f4", "<c8", "?"])
def test_sparse_arrays(tmp_path: Path, dtype: str) -> None:
    frames = thin((3, 4), dtype)
    shuffle = np.random.default_rng(2) if dtype in ("<u2", "<f4") else None
    path = write_raw_csr(tmp_path / "a.toml", frames, shuffle=shuffle)
    signal = load(path, sparse=True)
    assert type(signal["data"]).__name__ == "COO"
    assert signal["data"].shape == tuple(a["size"] for a in signal["axes"])
    np.testing.assert_array_equal(signal["data"].todense(), load(path)["data"], strict=True)
    matrix = load(path, sparse="scipy")["data"]
    assert matrix.shape == (12, 48)
    assert matrix.dtype == frames.dtype
    np.testing.assert_array_equal(matrix.toarray().reshape(frames.shape), load(path)["data"])


def test_lazy_sparse_arrays(tmp_path: Path) -> None:
    frames = thin((3, 4))
    path = write_raw_csr(tmp_path / "a.toml", frames)
    data = load(path, sparse=True, lazy=True, chunks=(2, 3))["data"]
    assert isinstance(data, da.Array)
    assert type(data._meta).__name__ == "COO"
    assert data.chunks[:2] == ((2, 1), (3, 1))
    np.testing.assert_array_equal(data.compute().todense(), frames)
    for key in ((1, 2), (slice(1, 3), 2), (slice(None), slice(1, 4, 2), slice(2, 5), 3), (-1,)):
        found = data[key].compute()
        np.testing.assert_array_equal(found.todense(), frames[key])
    total = data.sum(axis=(0, 1)).compute()
    assert type(total).__name__ == "COO"
    np.testing.assert_array_equal(total.todense(), frames.sum(axis=(0, 1)))


@pytest.mark.parametrize("kind", [True, "scipy"])
def test_sparse_arrays_of_part_of_a_scan(tmp_path: Path, kind: Any) -> None:
    frames = thin((10,))
    path = write_raw_csr(tmp_path / "a.toml", frames, nav_shape=None)
    with pytest.warns(RecordingWarning, match="5 of 15"):
        data = load(path, nav_shape=(3, 5), sparse=kind)["data"]
    dense = data.toarray() if kind == "scipy" else data.todense()
    np.testing.assert_array_equal(dense.reshape(15, *SIG)[:10], frames)
    assert not dense.reshape(15, -1)[10:].any()
    with pytest.warns(RecordingWarning), pytest.raises(ValueError, match="fill_value must be 0"):
        load(path, nav_shape=(3, 5), sparse=kind, fill_value=7)
    wide = load(path, sparse=kind, dtype="float32")["data"]
    assert wide.dtype == np.float32
    assert load(path, sparse=kind, first_frame=8)["data"].shape[0] == 2


def test_impossible_sparse_arrays(tmp_path: Path) -> None:
    path = write_raw_csr(tmp_path / "a.toml", thin())
    with pytest.raises(ValueError, match="sparse='csr' is none of"):
        load(path, sparse="csr")
    with pytest.raises(ValueError, match="not lazy"):
        load(path, sparse="scipy", lazy=True)


def test_packages_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_raw_csr(tmp_path / "a.toml", thin())
    monkeypatch.setitem(__import__("sys").modules, "sparse", None)
    with pytest.raises(ImportError, match="pip install sparse"):
        load(path, sparse=True)


def test_sum_beyond_the_type(tmp_path: Path) -> None:
    path = write_arrays(
        tmp_path / "a.toml", np.array([0, 0, 2]), np.array([7, 7], "<i4"),
        np.array([200, 100], "u1"), nav_shape=(2,), sig_shape=SIG,
    )  # fmt: skip
    with pytest.raises(FormatError, match="frame 1 lists a pixel several times") as caught:
        load(path)
    assert "wider dtype" in caught.value.hint
    assert load(path, dtype="uint16")["data"].max() == 300
    assert load(path, dtype="uint16", sparse=True)["data"].max() == 300


# ---------------------------------------------------------------- writing


def signal_of(data: Any) -> dict[str, Any]:
    names = ("y", "x", "ky", "kx")[4 - data.ndim :]
    return {
        "data": data,
        "axes": [
            {"name": name, "units": "nm", "scale": 2.0, "offset": 1.0, "size": n,
             "navigate": i < data.ndim - 2, "index_in_array": i}
            for i, (name, n) in enumerate(zip(names, data.shape, strict=True))
        ],
        "metadata": {},
        "original_metadata": {},
    }  # fmt: skip


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<i4", "f4", "f8", "c8", "?"])
def test_writing_loses_nothing(tmp_path: Path, dtype: str) -> None:
    frames = thin((3, 4), dtype)
    if frames.dtype.kind == "i":
        frames = -frames
    if frames.dtype.kind == "f":
        frames[0, 0, 0, 0] = np.nan
    path = tmp_path / "a.toml"
    with pytest.warns(RecordingWarning, match=r"\d+ % of the pixels are stored one by one"):
        raw_csr.file_writer(path, signal_of(frames))
    signal = load(path)
    np.testing.assert_array_equal(signal["data"], frames)
    assert signal["axes"][0]["scale"] == 2
    assert signal["axes"][0]["name"] == "y"
    if dtype not in ("?", "f4", "f8"):
        np.testing.assert_array_equal(libertem_data(path).reshape(frames.shape), frames)


def test_writing_with_a_threshold(tmp_path: Path) -> None:
    frames = thin((3, 4))
    raw_csr.file_writer(tmp_path / "a.toml", signal_of(frames), threshold=60)
    np.testing.assert_array_equal(
        load(tmp_path / "a.toml")["data"], np.where(frames > 60, frames, 0)
    )
    nan = np.full((2, *SIG), np.nan, "f4")
    with pytest.raises(ValueError, match="NaN is not above or below"):
        raw_csr.file_writer(tmp_path / "b.toml", signal_of(nan), threshold=0)
    with pytest.raises(TypeError, match="complex"):
        raw_csr.file_writer(tmp_path / "b.toml", signal_of(nan.astype("c8")), threshold=0)
    with pytest.raises(ValueError, match="not a number"):
        raw_csr.file_writer(tmp_path / "b.toml", signal_of(frames), threshold=np.inf)
    with pytest.raises(ValueError, match=r"does not end with \.toml"):
        raw_csr.file_writer(tmp_path / "b.csr", signal_of(frames))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a.toml", "a_data.bin", "a_indices.bin", "a_indptr.bin"
    ]  # fmt: skip


def test_writing_lazily(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsciio_tem.writing.stream.BLOCK", 5 * 96)
    frames = thin((7, 9))
    frames[frames < 80] = 0
    lazy = da.from_array(frames, chunks=(2, 4, -1, -1))
    raw_csr.file_writer(tmp_path / "a.toml", signal_of(lazy))
    data = load(tmp_path / "a.toml", lazy=True)["data"]
    np.testing.assert_array_equal(data.compute(), frames)
    again = load(tmp_path / "a.toml", lazy=True, sparse=True)["data"]
    raw_csr.file_writer(tmp_path / "b.toml", signal_of(again))
    np.testing.assert_array_equal(load(tmp_path / "b.toml")["data"], frames)
    with pytest.raises(FileExistsError):
        raw_csr.file_writer(tmp_path / "b.toml", signal_of(frames))


def test_convert(tmp_path: Path) -> None:
    frames = thin((3, 4))
    frames[frames < 80] = 0
    np.save(tmp_path / "a.npy", frames)
    path = rsciio_tem.convert(tmp_path / "a.npy", tmp_path / "b.toml", verify=True)
    np.testing.assert_array_equal(load(path)["data"], frames)
    back = rsciio_tem.convert(path, tmp_path / "c.npy", verify=True)
    np.testing.assert_array_equal(np.load(back), frames)
    thinned = rsciio_tem.convert(path, tmp_path / "d.toml", verify=True, threshold=90)
    np.testing.assert_array_equal(load(thinned)["data"], np.where(frames > 90, frames, 0))


def test_triplets_of_a_stretch(tmp_path: Path) -> None:
    frames = thin((10,))
    found = raw_csr.parse(write_raw_csr(tmp_path / "a.toml", frames)).frames
    assert isinstance(found, SparseFrames)
    entries = found[3:5].triplets()
    assert entries.bounds[0] == 0
    flat = frames[3:5].reshape(2, -1)
    np.testing.assert_array_equal(entries.values, flat[flat > 0])
    np.testing.assert_array_equal(entries.frames, np.nonzero(flat)[0])
    np.testing.assert_array_equal(entries.pixels, np.nonzero(flat)[1])
