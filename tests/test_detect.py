# SPDX-License-Identifier: GPL-3.0-or-later
"""Which format a file has: by content first, by name second, and never an exception."""

from __future__ import annotations

import builtins
import csv
import io
import os
import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import SPECS, Sample, Spec

import rsciio_tem
from rsciio_tem import registry
from rsciio_tem.errors import FormatError, NotThisFormat, OtherFormat, Unsupported

#: Files of the real data that are not recordings, or whose recording is another file, and what is
#: said about them.
ASIDE = {
    ".zip": None,
    ".txt": None,
    ".metadata": None,
    ".csv": "rsciio.impulse",
    ".png": "rsciio.image",
    ".prz": "rsciio.pantarhei",
    ".png.gz": None,
    ".tar.gz": None,
}
#: Formats that the manifest counts among others.
SAME = {
    "hexrd": {"framecache"},
    "hdf5": {"hdf5", "dectris"},
    "imageseries": {"hdf5", "framecache", "npy"},
}


@pytest.fixture(scope="module")
def one_of_each(sample_of: Callable[[Spec], Sample]) -> list[Sample]:
    """One recording of every format."""
    first: dict[str, Spec] = {}
    for spec in SPECS:
        if spec.has_file:
            first.setdefault(spec.format, spec)
    return [sample_of(spec) for spec in first.values()]


@pytest.fixture(scope="module")
def files(one_of_each: list[Sample]) -> list[Path]:
    """Those of them that are files, not folders."""
    return [sample.path for sample in one_of_each if sample.path and sample.path.is_file()]


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    (tmp_path / "gone.mib").symlink_to(tmp_path / "archive.mib")
    with pytest.raises(FormatError, match=r"is a link to .*archive\.mib, which does not exist"):
        rsciio_tem.detect(tmp_path / "gone.mib")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mib")
        with pytest.raises(FormatError, match=r"pipe\.mib: is a pipe, not a file"):
            rsciio_tem.detect(tmp_path / "pipe.mib")


def test_every_format_is_recognised(one_of_each: list[Sample]) -> None:
    assert {sample.format for sample in one_of_each} == set(registry.FORMATS)
    for sample in one_of_each:
        assert sample.path is not None
        best = rsciio_tem.detect(sample.path)
        if sample.format == "raw" and "dtype" in sample.options:
            continue  # nothing but the caller knows
        assert best[0].format == sample.format, (sample, best)
        assert best[0].reason
        assert [c.confidence for c in best] == sorted((c.confidence for c in best), reverse=True)


def test_every_real_file(realdata: Path) -> None:
    seen = 0
    with open(realdata / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        path = realdata / row["file"]
        found = rsciio_tem.detect(path)
        first = found[0].format if found else None
        aside = next((s for s in ASIDE if path.name.endswith(s)), None)
        # side files of Direct Electron: dark and gain images are MRC, settings are XML
        if row["format"] == "seq" and path.suffix in (".mrc", ".xml"):
            assert first in ("mrc", "rsciio.jobinyvon")
        elif aside is not None:
            assert first == ASIDE[aside], path
        elif path.suffix == ".npy":
            assert first == "npy"
        else:
            assert first in SAME.get(row["format"], {row["format"]}), (path, found)
        seen += 1
    assert seen > 300


#: Real files without pixels that we could give, and what a user is told.
WITHOUT_PIXELS = {
    "2x16_quad.hdr": "no .mib file lies beside it. Expected 2x16_quad.mib",
    "01_Si110_5images.emi": "there is no 01_Si110_5images_1.ser",
    "test_00.h5": "holds no frames. Open test_00_master.h5",
    "MEA_ptycho_15_master.h5": "Copy what was recorded with it",
}


def test_every_real_file_loads(realdata: Path) -> None:
    """Without any other argument: our reader, RosettaSciIO's, or a message to act on."""
    with open(realdata / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    told, loaded = {}, 0
    for row in rows:
        path = realdata / row["file"]
        if any(path.name.endswith(s) for s in ASIDE) or path.suffix in (".xml", ".mib_header"):
            continue
        # large counted series do not fit into the memory of every machine
        lazy = row["format"] == "hexrd"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                signals = rsciio_tem.load(path, lazy=lazy)
            except FormatError as error:
                told[path.name] = str(error)
                continue
        loaded += 1
        assert signals
        for signal in signals:
            if "rsciio_tem" in signal["original_metadata"]:
                sizes = [axis["size"] for axis in signal["axes"]]
                assert list(signal["data"].shape) == sizes, path
    assert loaded > 290
    assert set(told) == set(WITHOUT_PIXELS)
    for name, message in told.items():
        assert WITHOUT_PIXELS[name] in message


@pytest.mark.parametrize("seed", range(10))
def test_ten_thousand_damaged_files(files: list[Path], tmp_path: Path, seed: int) -> None:
    """A thousand per seed: damaged, cut and random; and no more than 4 KiB of each is needed."""
    rng = np.random.default_rng(seed)
    contents = [(path.suffix, path.read_bytes()[: 1 << 16]) for path in files]
    for number in range(1000):
        suffix, content = contents[number % len(contents)]
        data = bytearray(content)
        kind = rng.integers(4)
        if kind == 0:
            data = data[: rng.integers(len(data))]
        elif kind == 1:
            for _ in range(rng.integers(1, 9)):
                data[rng.integers(min(len(data), 4096))] = rng.integers(256)
        elif kind == 2:
            at = int(rng.integers(min(len(data), 2048)))
            data[at : at + 32] = rng.bytes(32)
        else:
            data = bytearray(rng.bytes(int(rng.integers(1, 5000))))
        path = tmp_path / f"x{suffix}"
        path.write_bytes(data)
        for candidate in rsciio_tem.detect(path):
            assert 0 < candidate.confidence <= 1
            assert candidate.reason


def test_detecting_reads_little(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """From the file itself; side files are text, and limited in size."""
    read: dict[str, int] = {}
    opened = builtins.open

    class Counting(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(-1 if size is None else size)
            read[str(self.name)] = read.get(str(self.name), 0) + len(data)
            return data

    def counting(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if mode == "rb" and isinstance(file, (str, os.PathLike)):
            return Counting(os.fspath(file), "rb")
        return opened(file, mode, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", counting)
    for path in files:
        read.clear()
        rsciio_tem.detect(str(path))
        count = read.get(str(path), 0)
        text = path.suffix in (".yml", ".yaml", ".toml", ".xml", ".hdr", ".npz")
        assert 0 < count <= (1 << 20 if text else 64 << 10), (path, count)


def test_unknown_files_tell_what_was_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_bytes(b"nothing that anybody knows")
    with pytest.raises(NotThisFormat) as caught:
        rsciio_tem.load(path)
    message = str(caught.value)
    assert "begins with b'nothing that any'" in message
    assert "rsciio-tem formats" in message
    assert 'format="raw"' in message
    path.write_bytes(b"")
    with pytest.raises(NotThisFormat, match="It is empty"):
        rsciio_tem.load(path)


def test_what_only_the_inside_tells(tmp_path: Path) -> None:
    """The first 4 KiB of a HDF5 file need not hold what tells its format; `load` looks further."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "late.h5"
    image = np.arange(6, dtype="<u2").reshape(2, 3)
    with h5py.File(path, "w") as file:
        for i in range(300):  # fills the beginning of the file
            file.create_group(f"filler_{i:050d}")
        group = file.create_group("data/0")
        group["compression_type"], group["dtype"], group["elem_size"] = "csrnpz", "<u2", 2
        group["shape"], group["data"] = image.shape, np.void(csr_payload(image))
        file.attrs["version"] = "CHESS_EIGER_STREAM_V1"
    if rsciio_tem.detect(path)[0].format == "hdf5":
        with pytest.raises(OtherFormat, match='format="eigerstream"') as caught:
            rsciio_tem.hdf5.file_reader(path)
        copy = pickle.loads(pickle.dumps(caught.value))
        assert (copy.format, str(copy)) == ("eigerstream", str(caught.value))
    (signal,) = rsciio_tem.load(path)
    np.testing.assert_array_equal(signal["data"].reshape(2, 3), image)
    assert rsciio_tem.open(path).format == "eigerstream"


def csr_payload(image: np.ndarray) -> bytes:
    sparse = pytest.importorskip("scipy.sparse")
    content = io.BytesIO()
    sparse.save_npz(content, sparse.csr_matrix(image))
    return len(content.getvalue()).to_bytes(8, "big") + content.getvalue()


def test_hs_load_of_contested_suffixes(one_of_each: list[Sample]) -> None:
    hs = pytest.importorskip("hyperspy.api")
    hs.set_log_level("ERROR")
    for sample in one_of_each:
        suffix = Path(str(sample.path)).suffix.lower()
        if suffix not in (".h5", ".hdf5"):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            signal = hs.load(str(sample.path), lazy=True, **sample.options)
        signal = signal[0] if isinstance(signal, list) else signal
        assert signal.original_metadata.rsciio_tem.format == sample.format


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.mrc",
            bytes(2000),
            "nothing but zeros where its header should be",
        ),  # ours takes this suffix: it says what is wrong
        ("a.mrc", b"", "ends inside its header"),
        ("a.dm4", bytes(5000), "is not a DM3 or DM4"),
        ("a.tif", bytes(500), "reader 'tiff', which is for its suffix, fails: TiffFileError"),
        ("a.bcf", b"hello", "reader 'bruker', which is for its suffix, fails: "),
        ("a.map", bytes(500), "ends inside its header"),  # by its zeros an MRC map
        ("a.msa", b"\n" * 9, "reader 'msa', which is for its suffix, "),
        ("a.hspy", b"hello", "reader 'hspy', which is for its suffix, fails: "),
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_readers_of_rosettasciio_that_fail(
    tmp_path: Path, name: str, content: bytes, message: str, lazy: bool
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message):
        rsciio_tem.load(path, lazy=lazy)


def test_packages_that_readers_of_rosettasciio_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mrcz", None)
    (tmp_path / "a.mrcz").write_bytes(b"anything")
    with pytest.raises(Unsupported, match="not installed: mrcz"):
        rsciio_tem.load(tmp_path / "a.mrcz")
