# SPDX-License-Identifier: GPL-3.0-or-later
"""Other programs read recordings through the files that `rsciio_tem.reference` writes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from kinds import kind_of
from samples import Sample
from writers import mib as mib_writer

import rsciio_tem
from rsciio_tem import cli
from rsciio_tem.cli.words import size_in_words
from rsciio_tem.errors import FormatError, RecordingWarning, Truncated, Unsupported

zarr = pytest.importorskip("zarr")
fsspec = pytest.importorskip("fsspec")
numcodecs = pytest.importorskip("numcodecs")
NEWEST = int(zarr.__version__.split(".")[0])

FRAMES = np.random.default_rng(3).integers(0, 4096, (12, 64, 256), np.uint16)


def opened(path: str, **options: Any) -> Any:
    """Open a store of version 2 with zarr and fsspec alone."""
    if NEWEST > 2:
        options = {"fo": path, **options}
        return zarr.open_group("reference://", storage_options=options, mode="r")
    system = fsspec.filesystem("reference", fo=path, **options)
    return zarr.open_group(system.get_mapper(""), mode="r")


@pytest.fixture(autouse=True)
def _codec() -> None:
    """Let zarr 2 find the codec, also where the package was installed without it."""
    from rsciio_tem.tools.frames_codec import FramesCodec

    numcodecs.register_codec(FramesCodec)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "scan.mib"
    mib_writer.write_mib(path, FRAMES, hdr={"frames": 12})
    return path


def described(path: str, key: str = "data/.zarray") -> Any:
    return json.loads(json.loads(Path(path).read_text())["refs"][key])


# ---------------------------------------------------------------- values


#: What frames are that are no ranges of bytes, and what is said of others.
NOT_RANGES = ("Decoded", "Sparse", "Mosaic", "Chain", "ArrayFrames", "StoreFrames", "Transformed")
SAID = ("colours", "cannot be cast", "not its last axes", "not parts of scan lines")


@pytest.mark.per_kind
def test_values(file_sample: Sample, tmp_path: Path) -> None:
    """The array is what `load` returns, of every kind of frames that are ranges of bytes."""
    kind, options = kind_of(file_sample), {"zarr_format": 2, **file_sample.options}
    given = (file_sample.path, tmp_path / "a.json", file_sample.format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        try:
            path = rsciio_tem.reference(*given, **options)
        except Unsupported as refusal:
            error = str(refusal)
            path = ""
    if not path:
        assert any(said in error for said in SAID) or kind.startswith(NOT_RANGES)
        assert "rsciio-tem convert" in error
        return
    assert not kind.startswith(NOT_RANGES)
    array = opened(path)["data"]
    given = {"flip_y": array.attrs["flip_y"]} if "flip_y" in array.attrs else {}
    expected = file_sample.read_quietly(**given)["data"]
    np.testing.assert_array_equal(array[...], expected, strict=False)
    assert array.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")


@pytest.mark.parametrize(
    "options",
    [
        {"flip_y": True},
        {"dark": np.full((64, 256), 7.0), "gain": np.linspace(1, 2, 64 * 256).reshape(64, 256)},
        {"excluded_pixels": np.eye(64, 256, dtype=bool), "repair": "fill"},
        {"flip_x": True, "rot90": 1},
        {"bin": (4, 2)},
        {"bin": 2, "dark": np.full((64, 256), 7.0), "transpose": True},
    ],
)
def test_what_only_our_codec_decodes(recording: Path, options: dict[str, Any]) -> None:
    path = rsciio_tem.reference(recording, nav_shape=(3, 4), **options)
    assert described(path, ".zattrs")["rsciio_tem"]["needs"] == "pip install rsciio-tem"
    expected = rsciio_tem.load(recording, nav_shape=(3, 4), **options)[0]["data"]
    np.testing.assert_array_equal(opened(path)["data"][...], expected)


@pytest.mark.parametrize(
    ("keywords", "names"),
    [
        ({"compression": "gzip", "shuffle": True}, ["shuffle", "zlib"]),
        ({"compression": "gzip", "fletcher32": True}, ["zlib", "fletcher32"]),
        ({"compression": "gzip"}, ["zlib"]),
        ({"compression": "lzf"}, None),
    ],
)
@pytest.mark.parametrize("chunks", [(1, 16, 20), (1, 8, 6), (2, 16, 20)])
def test_compressed_hdf5(
    tmp_path: Path, keywords: dict[str, Any], names: list[str] | None, chunks: tuple[int, ...]
) -> None:
    """The filters of HDF5 are those that numcodecs has; edges of chunks are as in Zarr."""
    data = np.random.default_rng(1).poisson(0.2, (12, 16, 20)).astype("u2")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=data, chunks=chunks, **keywords)
    if names is None:
        with pytest.raises(Unsupported, match="by reference"):
            rsciio_tem.reference(tmp_path / "a.h5", nav_shape=(3, 4))
        return
    path = rsciio_tem.reference(tmp_path / "a.h5", nav_shape=(3, 4))
    assert [step["id"] for step in described(path)["filters"]] == names
    np.testing.assert_array_equal(opened(path)["data"][...], data.reshape(3, 4, 16, 20))


def test_parts_that_were_never_written(tmp_path: Path) -> None:
    """What was never written has the file's own value, which is the fill value of the store."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        ds = file.create_dataset("data", (4, 8, 8), "i2", chunks=(1, 8, 8), fillvalue=-7)
        ds[0], ds[3] = 1, 2
    with pytest.warns(RecordingWarning, match="mask_and_scale=False"):
        path = rsciio_tem.reference(tmp_path / "a.h5", zarr_format=2)
    assert described(path)["fill_value"] == -7
    expected = rsciio_tem.load(tmp_path / "a.h5")[0]["data"]
    assert expected[1, 0, 0] == -7
    np.testing.assert_array_equal(opened(path)["data"][...], expected)


def test_frames_without_a_gap_share_chunks(tmp_path: Path) -> None:
    data = np.arange(4 * 6 * 16 * 16, dtype=">u2").reshape(4, 6, 16, 16)
    data.tofile(tmp_path / "a.raw")
    options = {"dtype": ">u2", "sig_shape": (16, 16)}
    path = rsciio_tem.reference(tmp_path / "a.raw", nav_shape=(4, 6), **options)
    assert described(path)["chunks"] == [1, 6, 16, 16]
    assert described(path)["dtype"] == ">u2"
    np.testing.assert_array_equal(opened(path)["data"][...], data)
    path = rsciio_tem.reference(
        tmp_path / "a.raw", overwrite=True, nav_shape=(4, 6), sync_offset=-1, **options
    )
    assert described(path, "data/zarr.json")["chunk_grid"]["configuration"] == {
        "chunk_shape": [1, 1, 16, 16]
    }


# ---------------------------------------------------------------- what is said


def test_orientation_is_said(recording: Path) -> None:
    """Rows of Merlin are stored from the bottom: that is said, or turned by our codec."""
    with pytest.warns(RecordingWarning, match="flip_y=True"):
        path = rsciio_tem.reference(recording)
    array = opened(path)["data"]
    assert array.attrs["first_row"] == "bottom of the image"
    assert array.attrs["flip_y"] is False
    upright = rsciio_tem.load(recording)[0]["data"]
    np.testing.assert_array_equal(array[...], upright[..., ::-1, :])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        upside = rsciio_tem.reference(recording, overwrite=True, flip_y=False)
    assert opened(upside)["data"].attrs["first_row"] == "bottom of the image"
    path = rsciio_tem.reference(recording, overwrite=True, flip_y=True)
    assert opened(path)["data"].attrs["first_row"] == "top of the image"
    np.testing.assert_array_equal(opened(path)["data"][...], upright)


def test_axes(recording: Path) -> None:
    with pytest.warns(RecordingWarning):
        path = rsciio_tem.reference(
            recording, nav_shape=(3, 4), scan_step="0.5 nm", detector_step="2 mrad"
        )
    store = opened(path)
    assert store["data"].attrs["_ARRAY_DIMENSIONS"] == ["y", "x", "ky", "kx"]
    np.testing.assert_allclose(store["x"][...], [0, 0.5, 1, 1.5])
    assert store["x"].attrs["units"] == "nm"
    assert store["ky"].attrs["units"] == "mrad"
    (signal,) = rsciio_tem.load(recording, nav_shape=(3, 4), detector_step="2 mrad", flip_y=False)
    axis = signal["axes"][2]
    np.testing.assert_allclose(store["ky"][...], axis["offset"] + axis["scale"] * np.arange(64))
    assert [one["dimension"] for one in store.attrs["axes"]] == ["y", "x", "ky", "kx"]
    (file,) = store.attrs["rsciio_tem"]["files"]
    assert file["size"] == recording.stat().st_size
    assert file["mtime_ns"] == recording.stat().st_mtime_ns


def test_missing_frames(recording: Path) -> None:
    """Blanks are chunks that are not there; by default in a store in which these have a value."""
    options = {"nav_shape": (3, 5), "sync_offset": -3, "flip_y": False}
    path = rsciio_tem.reference(recording, **options)
    entries = json.loads(Path(path).read_text())["refs"]
    assert "data/zarr.json" in entries
    assert "data/0.2.0.0" not in entries
    assert "data/0.3.0.0" in entries
    assert described(path, "data/zarr.json")["fill_value"] == 0
    assert described(path, "data/zarr.json")["dimension_names"] == ["y", "x", "ky", "kx"]
    with pytest.warns(RecordingWarning, match="mask_and_scale=False"):
        path = rsciio_tem.reference(recording, overwrite=True, zarr_format=2, **options)
    (signal,) = rsciio_tem.load(recording, **options)
    np.testing.assert_array_equal(opened(path)["data"][...], signal["data"])


# ---------------------------------------------------------------- files


def test_moved_recordings(tmp_path: Path) -> None:
    """A recording that is elsewhere is an error, until its folder is said; any name will do."""
    folder = tmp_path / "with {braces} #1%20"
    folder.mkdir()
    np.save(folder / "a {x}.npy", FRAMES[:4])
    path = rsciio_tem.reference(folder / "a {x}.npy", tmp_path / "r.json")
    np.testing.assert_array_equal(opened(path)["data"][...], FRAMES[:4])
    shutil.move(folder, tmp_path / "other")
    from fsspec.implementations.reference import ReferenceNotReachable

    with pytest.raises(ReferenceNotReachable):
        opened(path)["data"][...]
    override = {"folder": f"file://{tmp_path.as_posix()}/other"}
    moved = opened(path, template_overrides=override)
    np.testing.assert_array_equal(moved["data"][...], FRAMES[:4])
    os.truncate(tmp_path / "other" / "a {x}.npy", 100_000)
    with pytest.raises(ValueError, match=r"reshape|size"):
        opened(path, template_overrides=override)["data"][...]


def test_nothing_is_replaced_unasked(recording: Path) -> None:
    with pytest.warns(RecordingWarning):
        path = rsciio_tem.reference(recording)
    assert path == str(recording.with_name("scan.zarr.json"))
    content = Path(path).read_bytes()
    with pytest.raises(FileExistsError):
        rsciio_tem.reference(recording, flip_y=True)
    assert Path(path).read_bytes() == content
    for name in ("scan.mib", "scan.hdr", "scan.zarr", "scan"):
        with pytest.raises(FormatError, match=r"no name of a reference file.* \.json"):
            rsciio_tem.reference(recording, recording.with_name(name), overwrite=True, flip_y=True)
    link = recording.with_name("link.json")
    link.symlink_to(recording)
    with pytest.raises(FormatError, match="never replaced"):
        rsciio_tem.reference(recording, link, overwrite=True, flip_y=True)
    link.unlink()
    link.mkdir()
    for overwrite in (False, True):
        with pytest.raises(FormatError, match="is a folder, and is not replaced"):
            rsciio_tem.reference(recording, link, overwrite=overwrite, flip_y=True)
    link.rmdir()
    assert sorted(p.name for p in recording.parent.iterdir()) == [
        "scan.hdr",
        "scan.mib",
        "scan.zarr.json",
    ]
    with pytest.raises(ValueError, match="neither 2 nor 3"):
        rsciio_tem.reference(recording, zarr_format=4)
    with pytest.raises(TypeError, match="flip_z"):
        rsciio_tem.reference(recording, flip_z=True)


def test_a_file_that_got_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was described before a file was cut is not written down."""
    from rsciio_tem.tools import reference as module

    np.save(tmp_path / "a.npy", FRAMES[:4])
    load = module.load

    def as_if_longer(*args: Any, **kwargs: Any) -> Any:
        signals = load(*args, **kwargs)
        source = module.lazy_source(signals[0]["data"])
        table = source.frames
        file = table.files[0]
        object.__setattr__(table, "files", (file._replace(size=file.size - 1),))
        return signals

    monkeypatch.setattr(module, "load", as_if_longer)
    with pytest.raises(Truncated, match="ends before its last frame"):
        rsciio_tem.reference(tmp_path / "a.npy")
    assert not list(tmp_path.glob("*.json"))


def test_command(recording: Path) -> None:
    arguments = ["reference", str(recording), "--nav-shape", "3,4", "--zarr-format", "2"]
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 0, result.output
    assert "scan.zarr.json" in result.stdout
    assert "--flip-y" in result.stderr
    assert "upside down" in result.stderr
    assert described(str(recording.with_name("scan.zarr.json")))["shape"] == [3, 4, 64, 256]
    again = CliRunner().invoke(cli.main, arguments)
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    out = str(recording.with_name("up.json"))
    done = CliRunner().invoke(cli.main, ["reference", str(recording), "-o", out, "--flip-y"])
    assert done.exit_code == 0
    assert "upside" not in done.stderr


@pytest.mark.parametrize("name", ["scan.npy", "scan.h5"])
def test_recordings_on_servers(tmp_path: Path, name: str) -> None:
    """Other programs fetch the ranges from where the recording is."""
    memory, local = fsspec.filesystem("memory"), tmp_path / name
    if name == "scan.npy":
        np.save(local, FRAMES)
    else:
        with h5py.File(local, "w") as file:
            file.create_dataset("data", data=FRAMES, chunks=(1, 64, 256), compression="gzip")
    memory.pipe_file(f"/reference/a b/{name}", local.read_bytes())
    address = f"memory://reference/a b/{name}"
    with pytest.raises(ValueError, match="target="):
        rsciio_tem.reference(address)
    path = rsciio_tem.reference(address, tmp_path / "a.json", nav_shape=(3, 4))
    assert json.loads(Path(path).read_text())["templates"] == {"folder": "memory://reference/a b"}
    store = opened(path)
    assert store.attrs["source"] == name
    np.testing.assert_array_equal(store["data"][...], FRAMES.reshape(3, 4, 64, 256))


# ---------------------------------------------------------------- Parquet


@pytest.fixture
def parquet(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What writes folders of Parquet files, with few rows in each."""
    pytest.importorskip("pyarrow")
    pytest.importorskip("fastparquet")
    # pandas says that it will give up fastparquet, with which fsspec reads
    warnings.filterwarnings("ignore", message="The 'fastparquet' engine is deprecated")
    from rsciio_tem.tools import parquet_references

    monkeypatch.setattr(parquet_references, "RECORD", 5)
    return parquet_references


def references(path: str) -> dict[str, Any]:
    """Everything that fsspec reads of a reference set, with texts parsed."""
    entries = fsspec.filesystem("reference", fo=path).references
    result = {}
    for key in entries:
        value = entries[key]
        if isinstance(value, str) and value.startswith("base64:"):
            value = base64.b64decode(value[7:])
        elif ".z" in key and key != ".zmetadata":
            value = json.loads(value)
        if key != ".zmetadata":
            result[key] = list(value) if isinstance(value, (list, tuple)) else value
    return result


ARRANGED = {"nav_shape": (3, 4), "scan_step": "0.5 nm", "detector_step": "2 mrad"}


@pytest.mark.parametrize("flip_y", [False, True])
@pytest.mark.parametrize("suffix", [".parq", ".parquet"])
def test_parquet(recording: Path, parquet: Any, flip_y: bool, suffix: str) -> None:
    """fsspec reads the same entries from Parquet files as from JSON."""
    options = {**ARRANGED, "flip_y": flip_y}
    path = rsciio_tem.reference(recording, recording.with_suffix(suffix), **options)
    assert sorted(p.name for p in Path(path, "data").iterdir()) == [
        f"refs.{i}.parq" for i in range(3)
    ]
    expected = references(
        rsciio_tem.reference(recording, recording.with_suffix(".json"), **options)
    )
    entries = references(path)
    assert entries == expected
    assert len([key for key in entries if key.startswith("data/") and ".z" not in key]) == 12
    store = opened(path)
    np.testing.assert_array_equal(
        store["data"][...], rsciio_tem.load(recording, **options)[0]["data"]
    )
    np.testing.assert_allclose(store["x"][...], [0, 0.5, 1, 1.5])
    assert store["x"].attrs["units"] == "nm"


def test_blanks_in_parquet(recording: Path, parquet: Any) -> None:
    """They are chunks that are not there, also where a whole Parquet file holds nothing else."""
    options = {"nav_shape": (3, 6), "sync_offset": -6, "flip_y": False, "fill_value": 3}
    with pytest.warns(RecordingWarning, match=r"of 3 for missing .* ends with \.json"):
        path = rsciio_tem.reference(recording, recording.with_suffix(".parq"), **options)
    mapper = fsspec.filesystem("reference", fo=path).get_mapper("")
    assert "data/0.5.0.0" not in mapper
    assert "data/1.0.0.0" in mapper
    store = opened(path)
    (signal,) = rsciio_tem.load(recording, **options)
    np.testing.assert_array_equal(store["data"][...], signal["data"])
    assert (store["data"][0] == 3).all()


def test_parquet_of_recordings_on_servers(tmp_path: Path, parquet: Any) -> None:
    np.save(tmp_path / "a.npy", FRAMES)
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/reference/{a} b/a.npy", (tmp_path / "a.npy").read_bytes())
    address = "memory://reference/{a} b/a.npy"
    path = rsciio_tem.reference(address, tmp_path / "a.parq", nav_shape=(3, 4))
    np.testing.assert_array_equal(opened(path)["data"][...], FRAMES.reshape(3, 4, 64, 256))


def test_what_parquet_refuses(
    recording: Path, parquet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is replaced but a reference set, and if something goes wrong, not even that."""
    folder, options = recording.with_suffix(".parq"), {**ARRANGED, "flip_y": False}
    with pytest.raises(ValueError, match="version 2 only"):
        rsciio_tem.reference(recording, folder, zarr_format=3, **options)
    with pytest.raises(FormatError, match=r"\.json in its path"):
        rsciio_tem.reference(recording, recording.with_name("a.json.parq"), **options)
    rsciio_tem.reference(recording, folder, **options)
    before = references(str(folder))
    with pytest.raises(FileExistsError):
        rsciio_tem.reference(recording, folder, **options)
    everything = sorted(os.listdir(recording.parent))
    write = parquet.write

    def fail(*args: Any) -> None:
        write(*args)
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(parquet, "write", fail)
        with pytest.raises(OSError, match="the disk is full"):
            rsciio_tem.reference(recording, folder, overwrite=True, **options)
    assert sorted(os.listdir(recording.parent)) == everything
    assert references(str(folder)) == before
    rsciio_tem.reference(
        recording, folder, overwrite=True, nav_shape=(2, 6), scan_step="0.5 nm", flip_y=False
    )
    assert sorted(os.listdir(recording.parent)) == everything
    assert opened(str(folder))["data"].shape == (2, 6, 64, 256)
    (folder / "notes.txt").touch()
    with pytest.raises(FormatError, match=r"holds 'notes\.txt'"):
        rsciio_tem.reference(recording, folder, overwrite=True, **options)
    other = recording.with_name("other.parq")
    other.mkdir()
    with pytest.raises(FormatError, match="not of references"):
        rsciio_tem.reference(recording, other, overwrite=True, **options)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(Unsupported, match=r"pip install pyarrow; or let the name end with \.json"):
        rsciio_tem.reference(recording, recording.with_name("b.parq"), **options)


def test_names_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The earlier folder has its name again if the new one cannot get it."""
    from rsciio_tem.writing import new_folder

    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "old").write_text("old")

    def fail(source: str, final: str) -> None:
        raise PermissionError(final)

    monkeypatch.setattr(new_folder, "give_name", fail)
    with (
        pytest.raises(PermissionError),
        new_folder.replacing_folder(str(folder), overwrite=True, obstacle=lambda _: "") as new,
    ):
        Path(new, "new").touch()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (folder / "old").read_text() == "old"


def test_too_many_chunks_for_json(
    recording: Path, parquet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rsciio_tem.tools import reference as module

    monkeypatch.setattr(module, "_MOST_CHUNKS", 11)
    options = {**ARRANGED, "flip_y": False}
    with pytest.raises(Unsupported, match=r"12 entries, more than 11.*ends? with \.parq"):
        rsciio_tem.reference(recording, **options)
    path = rsciio_tem.reference(recording, recording.with_suffix(".parq"), **options)
    assert opened(path)["data"].shape == (3, 4, 64, 256)


def test_command_with_parquet(recording: Path, parquet: Any) -> None:
    out = str(recording.with_suffix(".parq"))
    done = CliRunner().invoke(cli.main, ["reference", str(recording), "-o", out, "--no-flip-y"])
    assert done.exit_code == 0, done.output
    size = sum(p.stat().st_size for p in Path(out).rglob("*") if p.is_file())
    assert done.stdout == f"{out}  {size_in_words(size)}\n"


# ---------------------------------------------------------------- the codec


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 2},
        {"nbytes": 1 << 40, "filters": [[1, [4]]]},
        {"filters": [[1, [4]]], "nbytes": 100},
        {"dtype": "<f8"},
    ],
)
def test_damaged_descriptions(recording: Path, damage: dict[str, Any]) -> None:
    """They are errors, and nothing large is allocated."""
    from rsciio_tem.tools.frames_codec import FramesCodec

    path = rsciio_tem.reference(recording, flip_y=True)
    (config,) = described(path)["filters"]
    raw = FRAMES[0].astype(">u2").tobytes()
    good = FramesCodec.from_config(config)
    assert good.get_config() == config
    np.testing.assert_array_equal(good.decode(raw), FRAMES[0][::-1].reshape(-1))
    with pytest.raises(ValueError, match=r"rsciio_tem\.frames"):
        FramesCodec.from_config({**config, **damage}).decode(raw)
    with pytest.raises(ValueError, match="are no frames"):
        good.decode(raw[:-2])
    with pytest.raises(TypeError, match="only reads"):
        good.encode(raw)


# ---------------------------------------------------------------- without us

READER = """
import sys, warnings
sys.modules["rsciio_tem"] = None  # as if it were not installed
import fsspec, numpy as np, zarr
path, expected, kind = sys.argv[1:]
def opened():
    if int(zarr.__version__.split(".")[0]) > 2:
        return zarr.open_group("reference://", storage_options={"fo": path}, mode="r")
    return zarr.open_group(fsspec.filesystem("reference", fo=path).get_mapper(""), mode="r")
if kind == "codec":
    try:
        opened()["data"][...]
    except Exception as error:
        print(type(error).__name__, error)
    sys.exit()
expected, store = np.load(expected), opened()
assert np.array_equal(store["data"][...], expected)
import dask.array
if int(zarr.__version__.split(".")[0]) == 2:
    assert dask.array.from_zarr(store["data"]).sum().compute() == expected.sum()
if kind == "xarray":
    try:
        import xarray
    except ImportError:
        print("no xarray")
        sys.exit()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = xarray.open_zarr("reference://", storage_options={"fo": path}, chunks={})["data"]
    assert data.dtype == expected.dtype.newbyteorder("=") or data.dtype == expected.dtype
    assert np.array_equal(data.values, expected)
    assert int(data.sum()) == expected.sum()
    assert data["x"].attrs["units"] == "nm"
    assert float(data.sel(x=1.0).x) == 1.0
print("read")
"""

#: Interpreters with zarr, fsspec, dask and perhaps xarray, and without rsciio-tem.
OTHERS = [sys.executable, *filter(None, os.environ.get("RSCIIO_TEM_OTHERS", "").split(os.pathsep))]


def _other(python: str, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script in another interpreter."""
    return subprocess.run(
        [python, "-W", "ignore", "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("python", OTHERS)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_without_us(recording: Path, python: str, zarr_format: int) -> None:
    version = subprocess.run(
        [python, "-c", "import zarr; print(zarr.__version__)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if zarr_format > int(version.split(".")[0]):
        pytest.skip(f"zarr {version.strip()} reads version 2 only")
    options = {"nav_shape": (3, 4), "scan_step": "0.5 nm"}

    def read(path: str, kind: str) -> str:
        done = _other(python, READER, path, str(expected), kind)
        assert done.returncode == 0, done.stderr
        return done.stdout

    expected = recording.with_name("expected.npy")
    np.save(expected, rsciio_tem.load(recording, flip_y=False, **options)[0]["data"])
    version_of = {"zarr_format": zarr_format, "overwrite": True}
    path = rsciio_tem.reference(recording, flip_y=False, **version_of, **options)
    assert read(path, "xarray").strip() in ("read", "no xarray")
    path = rsciio_tem.reference(recording, flip_y=True, **version_of, **options)
    # by its name; or, where the package was removed and left its entry points, by that of a module
    assert "rsciio_tem" in read(path, "codec")


@pytest.mark.parametrize("python", OTHERS)
def test_parquet_without_us(recording: Path, parquet: Any, python: str) -> None:
    expected = recording.with_name("expected.npy")
    np.save(expected, rsciio_tem.load(recording, flip_y=False, **ARRANGED)[0]["data"])
    path = rsciio_tem.reference(recording, recording.with_suffix(".parq"), flip_y=False, **ARRANGED)
    script = "try:\n    import fastparquet\nexcept ImportError:\n    raise SystemExit('no')\n"
    if _other(python, script).returncode:
        pytest.skip("fastparquet is not installed there")
    done = _other(python, READER, path, str(expected), "zarr")
    assert done.stdout.strip() == "read", done.stderr


# ---------------------------------------------------------------- VirtualiZarr and Icechunk

ICECHUNK = """
import pathlib, sys
sys.modules["rsciio_tem"] = None  # as if it were not installed
import icechunk, numpy, virtualizarr, xarray, zarr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore
from virtualizarr.parsers import KerchunkParquetParser

folder, expected, first_row = sys.argv[1:]
virtual = virtualizarr.open_virtual_dataset(
    f"file://{folder}/scan.parq",
    registry=ObjectStoreRegistry({"file://": LocalStore()}),
    parser=KerchunkParquetParser(),
)
files = icechunk.local_filesystem_store(folder)
config = icechunk.RepositoryConfig.default()
config.set_virtual_chunk_container(icechunk.VirtualChunkContainer(f"file://{folder}/", files))
access = icechunk.containers_credentials(
    {f"file://{folder}/": icechunk.credentials.LocalFileSystemAccess}
)
storage = icechunk.local_filesystem_storage(f"{folder}/scan.icechunk")
repository = icechunk.Repository.create(storage, config, authorize_virtual_chunk_access=access)
session = repository.writable_session("main")
virtual.vz.to_icechunk(session.store)
session.commit("scan.mib")

repository = icechunk.Repository.open(storage, authorize_virtual_chunk_access=access)
store = repository.readonly_session("main").store
data = xarray.open_zarr(store, consolidated=False, chunks={})["data"]
expected = numpy.load(expected)
assert data.dims == ("y", "x", "ky", "kx") and data.dtype == expected.dtype
assert numpy.array_equal(data.values, expected)
assert numpy.array_equal(zarr.open_group(store, mode="r")["data"][...], expected)
assert data.x.attrs["units"] == "nm" and data.ky.attrs["units"] == "mrad"
assert data.x.values[1] == 0.5 and data.attrs["first_row"] == first_row
size = sum(file.stat().st_size for file in pathlib.Path(folder, "scan.icechunk").rglob("*"))
assert size < 100_000  # without pixels
print("read")
"""


@pytest.mark.parametrize("python", OTHERS)
@pytest.mark.parametrize("offset", [0, -3])
def test_icechunk(recording: Path, parquet: Any, python: str, offset: int) -> None:
    """VirtualiZarr makes an Icechunk store of a reference set, with blanks, names and units."""
    if _other(python, "import icechunk, virtualizarr, xarray, fastparquet").returncode:
        pytest.skip("VirtualiZarr and Icechunk are not installed there")
    options = {**ARRANGED, "flip_y": False, "nav_shape": (3, 5), "sync_offset": offset}
    expected = recording.with_name("expected.npy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        np.save(expected, rsciio_tem.load(recording, missing="fill", **options)[0]["data"])
        rsciio_tem.reference(recording, recording.with_suffix(".parq"), missing="fill", **options)
    bottom = "bottom of the image"
    done = _other(python, ICECHUNK, str(recording.parent), str(expected), bottom)
    assert done.stdout.strip() == "read", done.stderr


@pytest.mark.parametrize("python", OTHERS)
def test_icechunk_with_our_codec(recording: Path, parquet: Any, python: str) -> None:
    script = """
    import icechunk, importlib.metadata, virtualizarr, xarray
    name = "numcodecs.rsciio_tem.frames"
    assert importlib.metadata.entry_points(group="zarr.codecs", name=name)
    """
    if _other(python, script).returncode:
        pytest.skip("VirtualiZarr, Icechunk and rsciio-tem are not installed there")
    expected = recording.with_name("expected.npy")
    np.save(expected, rsciio_tem.load(recording, **ARRANGED)[0]["data"])
    rsciio_tem.reference(recording, recording.with_suffix(".parq"), flip_y=True, **ARRANGED)
    script = ICECHUNK.replace('sys.modules["rsciio_tem"] = None', "")
    done = _other(python, script, str(recording.parent), str(expected), "top of the image")
    assert done.stdout.strip() == "read", done.stderr
