# SPDX-License-Identifier: GPL-3.0-or-later
"""Counted electrons of stempy: its own files, its own reader, versions, damage, writing."""

from __future__ import annotations

import base64
import pickle
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from writers.stempy import write_counts, write_lists

import rsciio_tem
from rsciio_tem.errors import (
    FormatError,
    NotThisFormat,
    OtherFormat,
    RecordingWarning,
    Truncated,
    Unsupported,
)
from rsciio_tem.formats import stempy
from rsciio_tem.frames.sparse import SparseFrames
from rsciio_tem.storage import backends

SCAN, SIG = (3, 4), (10, 6)


def load(path: Any, **options: Any) -> dict[str, Any]:
    (signal,) = stempy.file_reader(path, **options)
    return signal


def theirs() -> Any:
    """The package whose files these are, as an independent witness."""
    return pytest.importorskip("stempy.io", reason="stempy is not installed")


def counts(most: int = 1, scan: tuple[int, int] = SCAN, dtype: str = "u4") -> np.ndarray:
    rng = np.random.default_rng(3)
    values = rng.integers(1, most + 1, (*scan, *SIG)) * (rng.random((*scan, *SIG)) < 0.2)
    values[0, 1] = 0
    return values.astype(dtype)


# ---------------------------------------------------------------- files of stempy itself


def electrons(position: int, frame: int) -> list[int]:
    """Pixels of a frame in the files below."""
    return [(7 * position + 5 * (j + frame)) % 60 for j in range((position + frame) % 4)]


def of_them(lost: int = -1) -> np.ndarray:
    """Count the electrons of both frames of each position."""
    frames = np.zeros((12, 60), "u4")
    for position in range(12):
        for frame in range(2):
            if position != lost:
                np.add.at(frames[position], electrons(position, frame), 1)
    return frames.reshape(*SCAN, *SIG)


#: Written by stempy of December 2021, which concatenated the frames of a position; by that of
#: 15 March 2022, frames in any order, and none at position 1; by 3.6.0.
GOLDEN = {
    1: """
eNrtmM8vQ0EQx/f96nuqaONHioiKS0kEiQhxIZQeBMHBDZEnJLTiNcKtR/4TR3+Coz/Df8Jsd7Zv31Ch3Mwnmazdndnh
7Te7Yx/Ka+td6aG0kASBcEVWmLwh9YlkX88fYWthe4/to63HrcZcHsdzuD71298tlaT3G0HnefVUGwjmP1IurezI9gD7
Wk8vdtIvvAhPatfVymF4E1ZqUVOXy23mbaXfsqP6Z9739LsQsH5Zv7F+C/q89JJ+0clx5fCqGp3XzquVSIjT6+PLMIrP
14Uf5t3b2l6TCta6KzjJ85rqmGl1Dvjqm1m6r04Ey1IDGfTTrQPnhJzJwod3jR33YCfkuG3bljoP1DqOVe9QkTOJvBns
W7BiBry3btW4XDcwTja9n26ruLuv45xmxsIPdGU3z8V67mt/rb+iz1r6qC3QA+6B29CIECkwH7+bFIYs0DrRtz4YxzlG
38ZY3XfIvEviPTKfIvE+mQ9IfAeZT5P4TjKf4a1mGIZhmDbrynzDVV6pWbTP60tB6ssnrC+ff1VfptusL1PNjHnedIZh
GObfs7G6vdm4I7MicV/qdxz9LGeTOsDHn3Mi/l9f0odtN1gvmrxxR8i6ep1+sCGwUZJP+42R+1vHjYMVwaaM38fMPwk2
jTYHtijiNwRznVmwebAlEb8pmPk/1h3x3yvX6hLxW4OZX/r3oPVhvfRZPSW/3wDYMNmXq27WJsMwDMMwDMMwDPN3vANq
6Wn2
""",
    2: """
eNrtWkFPE0EUntlt6dIWWizVBWMs8YIkBEwao/FgjVR7MEDUgzfawJqQSEu6DcGbR/wHHj169OhP4NijR4/+izq78952
56XLAnLr+5LNMDPfzLfZ/Wb2vaFfW1uv5vLLeRHAcURGlEUcI8DqmlnH/jaUEsozKH9Y2G6HfS60l2H+mq3ru9D+/m2z
GbBHBKizOaNLVzCmEa3mi9AqH6C+CuW5ZfK8T97+oN/r7nknXnfgiyNv0DnoDDqC+HTzkroL4Ffq6yLMIIWj/nbEidf3
D3tdUXbUMgp7GoaeFelLYz3g/N9gPfzKXm49nGkR0GJM+3qoQfk7a/L8/U5377jnHw6UO30hPvY7R54/9uWTK+q+297Z
ksrN6Ltj21xX1Mfo8z+3TJ5TgXVcnc73J0VOPwuJdf2kpNQNt4GHpa32iaCH7i9ZVQvaLcuSej/Q89hyOKtH/jR0x/uW
He5b26fwXU7YtzJJ4z5fPM6OFGtX8hX6ZbhwMR/9d5rjvSAOfF8QLgkwgSiQ7xDycoQnCC9LeHnCswnPITyb3I9D7kdM
mG+4NN4rZKxuTeBbsX6b8DNkvizhz6To58h8Tor+LOHnyXwFwi+m6M+l6M0TvRIZX+blwGAwGBxXJsaVbkhdgu9FOYoN
aiS+FCS+/AKf+Lb8n/gyf834cvztdlOex+R8m+Yfafl22+V8m/Ptcb6NfmpVJ58/0fOmxrXX8+Tz0+FDXcf70f4Vif5l
sH/jfsF9zHGp3zR2b0hX5/Uy0vteNXXOof73Dr+jm8DrlztvZCz5k8LMNTfUVVfX04TzAJuU+N6CXLMS42G5QvJ/1Hmk
rsfqepaQ/zuQ3+bIuArsdfcIH/UekPOK+HlDKRZPZMh9FYhOYLtldd0n7Thf8P+F9VgOjv2BxiLES/hc4uPW4BmXyH1I
YebkxSge0bHYXfIeG/PsZQaDwWAwGAwGg8FgJAPPt+m5ShF+6SNVRryostWDnu+F/Nrz6Hy9XhD1Efk9D2SxjX8xj7O5
""",
    3: """
eNrtWr1uE0EQ3r2z48vZSc5JDJcghBFNQEIYyUIgCoyIwQVKIqCgS6zkkCIRO/JZUegowxtQUvIIPEJKl5SUvIXZu525
n9HZsYM7zyet1jO73rF3v52bGftba/v1kr1piwCWJXLCEUkMAVsP0jKOH0Avob+A/qeBejMcc0HvwPpVU8t7oP/wrtkM
Zg8J0E5tQfeuYMwjWs2XIVU+grwF/aWRnud99g77vW5n3zvzOn1fnHj99lG73xaEp7UJ7ZaBr5TXJVhBCku9tsSZ1/OP
ux3hWOoahSONlD0zsi9T9wHX/w4TfuUnuw8X2gjYYsz7fahC/zufnucftjv7p13/uK/Y6Qvxqdc+8fyYl0+ntPt+Z3db
CiPi3amZvleUx8jzP6vpedYa3OPKfJ6fFAW9FxJlvVNSSvAvItWbyk8EI9S/5JUU6A3DkNof6HVMOVhMP6Gp3zJDv7Vz
Ds/lEX4rN+p9X8a/z4wsVqfiFfJlUB4/H/l3XmBfkM0vDYOcB54nugkIq0SB7CuQR9jQF8fYGWzEr5OyAQ1lk8g50KGc
J/LChN8T5xeIbBF7i0S2ib0ikUtT2l8i8jKxt0Jkh9grE3mVacxgMBiMGcWVGF+5UVzghlM34HnkRDFClcSXgsSXNQgN
vsr/iS/ta8aXcWzgXrEf2fk2zT+uyrcPXM63Od+O823kU6uSXX+icXjj2vc5u346uK9l/Dyav2IkfxnM3yRf0I9Zbnbe
uDcjuzqvl5G9H5W0nUuQ/97kM5oF3rzafSsxucyo4+RJXSBH8n+T8KMEeWmO6IPcdi2xHubKa+CrbpPnNI4Hx72p2h1i
F9e/S+yg/h6pS+B48DvAw0Qcgfrg56pHiboF2g90ddWeET32j1V7otpzEef0yc8hE98/qcd9W6H3C9ZwiN6GuWViP9Ct
QzyWrAGURFwjuKHaLXLuzjJzn8FgMBgMBoPBYDDmCVjfpnWVEvzTR6qMfV1loUdd3wvnV19E9fV6UdSH5P88kOU2/gHR
BLUF
""",
}


def golden(folder: Path, version: int) -> Path:
    path = folder / f"version{version}.h5"
    path.write_bytes(zlib.decompress(base64.b64decode(GOLDEN[version])))
    return path


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_files_written_by_stempy(tmp_path: Path, version: int, lazy: bool) -> None:
    path = golden(tmp_path, version)
    (signal,) = rsciio_tem.load(path, lazy=lazy)
    expected = of_them(lost=1 if version == 2 else -1)
    assert expected.max() == 2  # electrons of two frames in one pixel
    np.testing.assert_array_equal(np.asarray(signal["data"]), expected, strict=True)
    original = signal["original_metadata"]
    assert original["version"] == version
    if version > 1:
        assert original["file"]["metadata"]["electron"]["attributes"] == {"dose": 2.5}
    problems = [problem.message for problem in rsciio_tem.check(path)]
    lost = ["there is no frame for 1 position of 12, whose pixels are 0: 1."]
    assert problems == (lost if version == 2 else [])


@pytest.mark.parametrize("version", [1, 2, 3])
def test_stempy_reads_its_own_files_in_the_same_way(tmp_path: Path, version: int) -> None:
    path = golden(tmp_path, version)
    dense = theirs().load_electron_counts(str(path)).to_dense()
    np.testing.assert_array_equal(load(path)["data"], dense, strict=True)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("place", ["u1", "u2", "u4", "u8", ">u4", "i2", "i4", ">i8"])
@pytest.mark.parametrize(("version", "frames"), [(3, 1), (3, 3), (2, 3), (1, 3), (None, 3)])
def test_as_stempy_reads_it(tmp_path: Path, version: int | None, frames: int, place: str) -> None:
    expected = counts(frames)
    path = write_counts(tmp_path / "a.h5", expected, version=version, frames=frames, place=place)
    np.testing.assert_array_equal(load(path)["data"], expected, strict=True)
    stempy_io = theirs()
    if ">" in place:
        return  # its numpy arithmetic works, its compiled functions take the machine's order
    dense = stempy_io.load_electron_counts(str(path)).to_dense()
    np.testing.assert_array_equal(dense, expected)


def test_axes_that_are_not_square(tmp_path: Path) -> None:
    """Nx is the fast axis of the scan, and the slow axis of the frame."""
    path = write_lists(
        tmp_path / "a.h5", [np.array([7])] + [np.array([], int)] * 5, np.arange(6), scan=(2, 3),
        shape=(4, 5),
    )  # fmt: skip
    with h5py.File(path) as file:
        assert dict(file["electron_events/scan_positions"].attrs) == {"Nx": 3, "Ny": 2}
        assert dict(file["electron_events/frames"].attrs) == {"Nx": 4, "Ny": 5}
    data = load(path)["data"]
    assert data.shape == (2, 3, 4, 5)
    assert np.argwhere(data).tolist() == [[0, 0, 1, 2]]  # 7 = 1 * 5 + 2
    dense = theirs().load_electron_counts(str(path)).to_dense()
    np.testing.assert_array_equal(data, dense)


def test_an_electron_that_is_listed_twice_counts_twice(tmp_path: Path) -> None:
    """As in version 1; of version 3 stempy shows one of them, and adds up two."""
    path = write_lists(
        tmp_path / "a.h5", [np.array([3, 3])], np.arange(1), scan=(1, 1), shape=(2, 2)
    )
    assert load(path)["data"].tolist() == [[0, 0], [0, 2]]
    array = theirs().load_electron_counts(str(path))
    assert array.to_dense().sum() == 1
    assert array.sum(axis=(2, 3)).sum() == 2


def test_sparse_arrays(tmp_path: Path) -> None:
    sparse = pytest.importorskip("sparse")
    expected = counts(3)
    path = write_counts(tmp_path / "a.h5", expected, frames=3)
    matrix = load(path, sparse="scipy")["data"]
    assert matrix.shape == (12, 60)
    np.testing.assert_array_equal(matrix.toarray().reshape(expected.shape), expected)
    for lazy in (False, True):
        data = load(path, sparse=True, lazy=lazy)["data"]
        data = data.compute() if lazy else data
        assert isinstance(data, sparse.COO)
        np.testing.assert_array_equal(data.todense(), expected)


def test_reductions(tmp_path: Path) -> None:
    expected = counts(3, scan=(20, 30))
    path = write_counts(tmp_path / "a.h5", expected, version=2, frames=3)
    result = rsciio_tem.reduce(path, what=("sum", "navigator", "max"))
    np.testing.assert_array_equal(result["sum"], expected.sum(axis=(0, 1)))
    np.testing.assert_array_equal(result["navigator"], expected.sum(axis=(2, 3)))
    np.testing.assert_array_equal(result["max"], expected.max(axis=(0, 1)))


def test_regions_of_the_scan_read_only_their_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One frame of a large file: a few references and one heap."""
    expected = counts(1, scan=(60, 70))
    path = write_counts(tmp_path / "a.h5", expected)
    data = load(path, lazy=True)["data"]
    sizes, read = [], backends.read

    def counting(file: Any, offset: int, nbytes: int, *more: Any) -> Any:
        sizes.append(nbytes)
        return read(file, offset, nbytes, *more)

    monkeypatch.setattr(backends, "read", counting)
    np.testing.assert_array_equal(data[40, 50].compute(), expected[40, 50])
    assert 0 < sum(sizes) < 66_000  # such heaps have up to 64 KiB


def test_lists_that_are_longer_than_a_heap_of_several(tmp_path: Path) -> None:
    """Such a list has a heap of its own, of its size."""
    rng = np.random.default_rng(1)
    lists = [rng.permutation(1 << 18)[:n] for n in (5, 70_000, 20_000, 3, 131_072, 1)]
    path = write_lists(tmp_path / "a.h5", lists, np.arange(6), scan=(2, 3), shape=(512, 512))
    data = load(path)["data"].reshape(6, -1)
    for frame, places in zip(data, lists, strict=True):
        assert frame.sum() == len(places)
        assert (frame[places] == 1).all()
    one = load(path, lazy=True)["data"][1, 1].compute()
    np.testing.assert_array_equal(one.reshape(-1), data[4])


def test_pickles_small(tmp_path: Path) -> None:
    path = write_counts(tmp_path / "a.h5", counts(3, scan=(40, 50)), version=2, frames=3)
    frames = stempy.parse(path).frames
    assert isinstance(frames, SparseFrames)
    assert len(pickle.dumps(frames)) < 2000


# ---------------------------------------------------------------- recognising


def test_by_content_in_hyperspy(tmp_path: Path) -> None:
    hs = pytest.importorskip("hyperspy.api")
    expected = counts()
    path = write_counts(tmp_path / "a.h5", expected)
    for lazy in (False, True):
        signal = hs.load(path, lazy=lazy)
        assert signal.metadata.General.FileIO[0].io_plugin.endswith(("stempy", "readers"))
        np.testing.assert_array_equal(np.asarray(signal.data), expected)


def test_where_the_group_comes_late(tmp_path: Path) -> None:
    """Its name is then beyond the bytes that are looked at first."""
    expected = counts()
    path = write_counts(tmp_path / "a.h5", expected, userblock=8192)
    assert rsciio_tem.detect(path)[0].format == "hdf5"
    with pytest.raises(OtherFormat, match='Pass format="stempy"') as caught:
        rsciio_tem.hdf5.parse(path)
    assert caught.value.format == "stempy"
    np.testing.assert_array_equal(rsciio_tem.load(path)[0]["data"], expected)
    assert rsciio_tem.open(path).format == "stempy"


def test_other_files(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["electron_events/data"] = np.zeros((3, 4))
    with pytest.raises(NotThisFormat, match="no data sets electron_events/frames and"):
        load(tmp_path / "a.h5")
    (tmp_path / "b.h5").write_bytes(b"no HDF5" * 100)
    with pytest.raises(NotThisFormat, match="not an HDF5 file"):
        load(tmp_path / "b.h5")


# ---------------------------------------------------------------- damage


def changed(path: Path, change: Any) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


@pytest.mark.parametrize("version", [0, 4, 2**40, "3", 2.5, [1, 2]])
def test_versions_that_are_unknown(tmp_path: Path, version: Any) -> None:
    path = write_counts(tmp_path / "a.h5", counts(), version=3)
    changed(path, lambda file: file.attrs.update(version=version))
    with pytest.raises(FormatError, match="version"):
        load(path)


@pytest.mark.parametrize("group", ["frames", "scan_positions"])
@pytest.mark.parametrize("size", [0, -1, "4", 2**62, 1.5, [1, 2], None])
def test_sizes_that_make_no_sense(tmp_path: Path, group: str, size: Any) -> None:
    path = write_counts(tmp_path / "a.h5", counts())

    def change(file: Any) -> None:
        attributes = file[f"electron_events/{group}"].attrs
        del attributes["Nx"]
        if size is not None:
            attributes["Nx"] = size

    changed(path, change)
    with pytest.raises(FormatError, match=r"a\.h5: .*Nx"):
        load(path)


def test_frames_that_do_not_fill_the_scan(tmp_path: Path) -> None:
    path = write_counts(tmp_path / "a.h5", counts(2), frames=2)
    changed(path, lambda file: file["electron_events/scan_positions"].attrs.update(Ny=5))
    with pytest.raises(Truncated, match="24 frames, which are not as many for each of 5 x 4"):
        load(path)
    path = write_counts(tmp_path / "b.h5", counts(), version=2)
    sizes = {"Nx": 1 << 20, "Ny": 1 << 20}
    changed(path, lambda file: file["electron_events/scan_positions"].attrs.update(sizes))
    with pytest.raises(FormatError, match="frames for a scan of 1048576 x 1048576"):
        load(path)


@pytest.mark.parametrize(
    "positions", [[0, 1, 12], [0, -1, 2], [0, 1], [[0, 1, 2]], [0.0, 1, 2], b"text"]
)
def test_positions_that_make_no_sense(tmp_path: Path, positions: Any) -> None:
    lists = [np.array([1]), np.array([2]), np.array([3])]
    path = write_lists(
        tmp_path / "a.h5", lists, np.array(positions), scan=(3, 4), shape=(2, 2), version=2
    )
    with pytest.raises(FormatError, match=r"a\.h5: .*(position|scan_positions)"):
        load(path)
    assert [problem.severity for problem in rsciio_tem.check(path)] == ["error"]


@pytest.mark.parametrize("pixel", [60, 2**31, 2**32 - 1])
def test_pixels_outside_of_the_frame(tmp_path: Path, pixel: int) -> None:
    lists = [np.array([1]), np.array([2, pixel])]
    path = write_lists(tmp_path / "a.h5", lists, np.arange(2), scan=(1, 2), shape=SIG)
    with pytest.raises(FormatError, match="frame 1 lists pixels outside of its"):
        load(path)


def test_more_electrons_than_possible(tmp_path: Path) -> None:
    lists = [np.zeros(1 << 17, int)]
    path = write_lists(tmp_path / "a.h5", lists, np.arange(1), scan=(1, 1), shape=SIG, version=1)
    with pytest.raises(FormatError, match="position 0 has 131072 electrons, many more"):
        load(path)
    assert [problem.severity for problem in rsciio_tem.check(path)] == ["error"]


def reference(path: Path, number: int) -> tuple[bytearray, int]:
    """Return the bytes of a file, and where the reference to a list is in it."""
    with h5py.File(path) as file:
        start = file["electron_events/frames"].id.get_offset()
    return bytearray(path.read_bytes()), start + 16 * number


@pytest.mark.parametrize(
    ("at", "field", "value"),
    [
        (0, "<I", 1 << 15),  # more electrons than the list has
        (4, "<Q", 8),  # no heap
        (4, "<Q", (1 << 64) - 1),
        (4, "<Q", 1 << 40),
        (12, "<I", 5000),  # no such list
        (12, "<I", 0),
        (12, "<I", 1 << 31),
    ],
)
def test_references_that_lead_nowhere(tmp_path: Path, at: int, field: str, value: int) -> None:
    path = write_counts(tmp_path / "a.h5", counts())
    content, place = reference(path, 5)
    struct.pack_into(field, content, place + at, value)
    path.write_bytes(content)
    with pytest.raises(FormatError, match="electrons of list 5 of electron_events/frames are not"):
        load(path)
    data = load(path, lazy=True)["data"]  # the others are as they were
    np.testing.assert_array_equal(data[2].compute(), counts()[2])


@pytest.mark.parametrize("size", [0, 15, 1 << 20, 1 << 62, (1 << 64) - 1])
def test_heaps_of_impossible_sizes(tmp_path: Path, size: int) -> None:
    path = write_counts(tmp_path / "a.h5", counts())
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL")
    struct.pack_into("<Q", content, at + 8, size)
    path.write_bytes(content)
    with pytest.raises(FormatError, match="are not where the file says"):
        load(path)


def test_files_that_end_early(tmp_path: Path) -> None:
    path = write_counts(tmp_path / "a.h5", counts())
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(Truncated, match="ends early"):
        load(path)


def test_lists_that_were_never_written(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["electron_events/scan_positions"] = np.arange(4)
        file["electron_events/scan_positions"].attrs.update(Nx=2, Ny=2)
        lists = file["electron_events"].create_dataset("frames", (4,), h5py.vlen_dtype("u4"))
        lists.attrs.update(Nx=3, Ny=3)
    with pytest.raises(Truncated, match="announces 4 frames that were never written"):
        load(tmp_path / "a.h5")


def test_lists_that_are_stored_in_chunks(tmp_path: Path) -> None:
    expected = counts()
    path = write_counts(tmp_path / "a.h5", expected, chunks=(4,))
    with pytest.raises(Unsupported, match="not stored as stempy stores it"):
        load(path)
    again = tmp_path / "b.h5"  # what the message advises
    theirs().SparseArray.from_hdf5(str(path)).write_to_hdf5(str(again))
    np.testing.assert_array_equal(load(again)["data"], expected)


@pytest.mark.parametrize("kind", ["f4", "S3"])
def test_lists_of_something_else(tmp_path: Path, kind: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["electron_events/scan_positions"] = np.arange(4)
        file["electron_events/scan_positions"].attrs.update(Nx=2, Ny=2)
        lists = file["electron_events"].create_dataset("frames", (4,), h5py.vlen_dtype(kind))
        lists.attrs.update(Nx=3, Ny=3)
        lists[0] = np.zeros(2, kind)
    with pytest.raises(FormatError, match="not a data set of lists of pixels"):
        load(tmp_path / "a.h5")


def test_a_file_that_changes(tmp_path: Path) -> None:
    path = write_counts(tmp_path / "a.h5", counts(2), version=2, frames=2)
    data = load(path, lazy=True)["data"]
    write_counts(path, counts(3, scan=(5, 6)), version=2, frames=3)
    with pytest.raises(FormatError, match="changed"):
        data.compute()


# ---------------------------------------------------------------- writing


def written(path: Path, data: Any, **options: Any) -> Path:
    (signal,) = rsciio_tem.from_array(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)  # that the data are not sparse
        rsciio_tem.convert(signal, path, to="stempy", verify=True, **options)
    return path


@pytest.mark.parametrize("most", [1, 5, 16, 17, 40])
@pytest.mark.parametrize(
    "dtype", ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8", ">u2"]
)
def test_round_trip(tmp_path: Path, dtype: str, most: int) -> None:
    """Ours, and through stempy and back; pixels keep their type in files of ours."""
    data = counts(most).astype(dtype)
    path = written(tmp_path / "a.h5", data)
    back = rsciio_tem.load(path)[0]["data"]
    assert back.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(back, data)
    array = theirs().load_electron_counts(str(path))
    np.testing.assert_array_equal(array.to_dense(), data)
    np.testing.assert_array_equal(array.sum(axis=(0, 1)), data.sum(axis=(0, 1)))
    np.testing.assert_array_equal(array.sum(axis=(2, 3)), data.sum(axis=(2, 3)))
    array.write_to_hdf5(str(tmp_path / "b.h5"))
    again = rsciio_tem.load(tmp_path / "b.h5")[0]["data"]
    np.testing.assert_array_equal(again, data.astype("u4"), strict=True)


def test_layout_that_is_written(tmp_path: Path) -> None:
    """As stempy 3 writes it, read with h5py alone; version 1 where pixels have many electrons."""
    data = counts(3)
    with h5py.File(written(tmp_path / "a.h5", data)) as file:
        assert file.attrs["version"] == 3
        frames, positions = file["electron_events/frames"], file["electron_events/scan_positions"]
        assert h5py.check_vlen_dtype(frames.dtype) == np.uint32
        assert frames.shape == (36,)
        assert (frames.attrs["Nx"], frames.attrs["Ny"]) == SIG
        assert (positions.attrs["Nx"], positions.attrs["Ny"]) == SCAN[::-1]
        assert positions[()].tolist() == list(range(12))
        for i, some in enumerate(frames[()].reshape(12, 3)):
            for electrons in some:
                assert len(np.unique(electrons)) == len(electrons)
            total = np.bincount(np.concatenate(some), minlength=60)
            np.testing.assert_array_equal(total, data.reshape(12, 60)[i])
    data = counts(30)
    with h5py.File(written(tmp_path / "b.h5", data)) as file:
        assert file.attrs["version"] == 1
        for i, electrons in enumerate(file["electron_events/frames"][()]):
            total = np.bincount(electrons, minlength=60)
            np.testing.assert_array_equal(total, data.reshape(12, 60)[i])


def test_lists_of_the_same_length(tmp_path: Path) -> None:
    """stempy 3.6.0 cannot write them with h5py 3.16, and reads them."""
    for length in (0, 1, 4):
        data = np.zeros((*SCAN, 60), "u1")
        data[..., 7 : 7 + length] = 1
        path = written(tmp_path / f"{length}.h5", data.reshape(*SCAN, *SIG))
        np.testing.assert_array_equal(load(path)["data"].reshape(data.shape), data)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (1, 5), (5, 1), (3, 4)])
def test_scans_of_every_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = np.random.default_rng(0).integers(0, 2, (*shape, *SIG)).astype("u1")
    path = written(tmp_path / "a.h5", data)
    np.testing.assert_array_equal(load(path)["data"].reshape(data.shape), data, strict=True)
    if shape != (1,):  # one frame needs no axis
        assert load(path)["data"].shape == data.shape
    dense = theirs().load_electron_counts(str(path)).to_dense()
    np.testing.assert_array_equal(dense.reshape(data.shape), data)


def test_scans_of_three_axes_become_two(tmp_path: Path) -> None:
    data = counts(1, (6, 4)).reshape(2, 3, 4, *SIG) * (np.arange(6) == 2)
    (signal,) = rsciio_tem.from_array(data)
    with pytest.warns(RecordingWarning, match="2 x 3 x 4 positions become 6 x 4"):
        rsciio_tem.convert(signal, tmp_path / "a.h5", to="stempy")
    np.testing.assert_array_equal(load(tmp_path / "a.h5")["data"], data.reshape(6, 4, *SIG))


def test_what_belongs_to_the_frames_is_kept(tmp_path: Path) -> None:
    (signal,) = rsciio_tem.from_array(counts(1, dtype="u1"))
    for axis, name, scale in zip(signal["axes"], ("y", "x", "ky", "kx"), (2, 3, 4, 5), strict=True):
        axis.update(name=name, units="nm" if scale < 4 else "1/nm", scale=scale)
    signal["metadata"]["General"]["title"] = "on graphene"
    signal["original_metadata"]["microscope"] = {"voltage": 300}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        rsciio_tem.convert(signal, tmp_path / "a.h5", to="stempy")
    back = load(tmp_path / "a.h5")
    assert [(a["name"], a["scale"]) for a in back["axes"]] == [
        *(("y", 2), ("x", 3), ("ky", 4), ("kx", 5))
    ]
    assert back["metadata"]["General"]["title"] == "on graphene"
    assert back["original_metadata"]["microscope"] == {"voltage": 300}


@pytest.mark.parametrize(
    ("value", "dtype"), [(-1, "i2"), (0.5, "f4"), (np.nan, "f4"), (np.inf, "f4"), (1 << 16, "u4")]
)
def test_what_is_not_a_number_of_electrons(tmp_path: Path, value: Any, dtype: str) -> None:
    data = counts().astype(dtype)
    data[1, 2, 3, 4] = value
    with pytest.raises(ValueError, match="numbers of electrons: whole, and from 0 to 65535"):
        written(tmp_path / "a.h5", data)
    assert not (tmp_path / "a.h5").exists()
    with pytest.raises(ValueError, match="complex"):
        written(tmp_path / "a.h5", data.astype("c8"))


def test_threshold(tmp_path: Path) -> None:
    data = counts(5, dtype="u2")
    path = written(tmp_path / "a.h5", data, threshold=2)
    np.testing.assert_array_equal(load(path)["data"], np.where(data > 2, data, 0))


def test_lazy_signals(tmp_path: Path) -> None:
    expected = counts(2, scan=(20, 30), dtype="u2") * (np.arange(6) == 2).astype("u2")
    np.save(tmp_path / "a.npy", expected)
    rsciio_tem.convert(tmp_path / "a.npy", tmp_path / "a.h5", to="stempy", verify=True)
    (signal,) = rsciio_tem.load(tmp_path / "a.h5", lazy=True)
    np.testing.assert_array_equal(signal["data"].compute(), expected, strict=True)
    stempy.file_writer(tmp_path / "b.h5", signal)
    np.testing.assert_array_equal(load(tmp_path / "b.h5")["data"], expected, strict=True)
    with pytest.raises(FileExistsError):
        stempy.file_writer(tmp_path / "b.h5", signal)
