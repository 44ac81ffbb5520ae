# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that announce what they do not hold, name what is not theirs, or expand without end.

Nothing here ends a process or takes long where a guard is missing: guards are tested themselves.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import json
import math
import os
import pickle
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

import rsciio_tem
from rsciio_tem import errors
from rsciio_tem.cli import main
from rsciio_tem.errors import FormatError, Problem, Truncated, Unsupported, shortened
from rsciio_tem.formats.framecache import header as framecache_header
from rsciio_tem.formats.frms6.side_file import read_hdr
from rsciio_tem.formats.zarr import store as zarr_store
from rsciio_tem.formats.zarr.store import require_codecs
from rsciio_tem.parsing import hdf5, hdf5_frames, hdf5_links, hdf5_values, trees
from rsciio_tem.parsing.hdf5 import opened, tree
from rsciio_tem.parsing.hdf5_frames import frames_of
from rsciio_tem.parsing.hdf5_links import dataset_of, member, require_sources, walk
from rsciio_tem.parsing.hdf5_values import attribute, attributes, part, value
from rsciio_tem.parsing.text import number_type, to_number
from rsciio_tem.recording import rotation
from rsciio_tem.recording.axis import Axis
from rsciio_tem.storage import npy_header as npy_header_module
from rsciio_tem.storage.npy_header import array_described, npy_header

pytestmark = pytest.mark.filterwarnings("ignore::rsciio_tem.errors.RecordingWarning")

FRAMES = np.arange(60, dtype="u2").reshape(3, 4, 5)


@pytest.fixture(autouse=True)
def _quick() -> Any:
    """Whatever a file holds, a sentence about it comes soon."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < 60


def refused(call: Callable[[], Any], match: str | None = None) -> str:
    with pytest.raises(FormatError, match=match) as caught:
        call()
    message = str(caught.value)
    assert len(message) < 3000, "the message is not short"
    return message


# -- messages ------------------------------------------------------------------------------------


def test_messages_are_short_whatever_a_file_holds() -> None:
    long = "begin" + "x" * 10**6 + "end"
    for text in (shortened(long), str(Problem("warning", long)), FormatError("a", long).problem):
        assert len(text) < 1500
        assert text.startswith("begin")
        assert text.endswith("end")
    error = pickle.loads(pickle.dumps(FormatError("a" * 10**5, long, long)))
    assert len(str(error)) < 5000
    assert len(error.path) == 10**5, "for programs it is whole"


def test_messages_do_not_steer_terminals() -> None:
    message = str(FormatError("a", "is named \x1b[2J\x07\x9b here.\nNext line", "é µ …"))
    assert message == r"a: is named \x1b[2J\x07\x9b here." + "\nNext line é µ …"


# -- YAML ----------------------------------------------------------------------------------------

RAW = 'filename: img.raw\nshape: "10 10"\nscalar: {type: i, bytes: 2, signed: false}\n'
LAUGHS = "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise("abcdefghijk")
)
MERGES = "".join(f"k{i}: &k{i}\n  <<: [*k{i - 1}, *k{i - 1}]\n" for i in range(1, 25))
YAML = {
    "aliases of aliases": ("a: &a [1, 1]\n" + LAUGHS, "too many values"),
    "merged keys": ("k0: &k0 {k: 1}\n" + MERGES, "too many values"),
    "itself": ("q: &q [*q]\n", "itself"),
    "deep": (f"q: {'[' * 40}{']' * 40}\n", "30 deep"),
    "deep blocks": ("q:\n" + "".join(f"{' ' * i}- \n" for i in range(1, 40)), "not valid YAML"),
    "very deep": ("q: " + "[" * 5000, "nest"),
    "digits": ("q: 1" + "0" * 5000, "number of 5001 characters"),
    "hexadecimal": ("q: 0x" + "f" * 5000, "number of 5002 characters"),
    "base 60": ("q: 1" + ":10" * 500, "number of 1501 characters"),
    "base 60, a fraction": ("q: 1" + ":10" * 500 + ".5", "number of"),
    "objects": ("q: !!python/object/apply:os.getpid []\n", "not valid YAML"),
    "no date": ("q: 9999-99-99\n", "not valid YAML"),
    "long value": ("skip: " + "x" * 10**6, "skip is"),
    "escapes": ('skip: "\\e[2J"\n', r"\\x1b"),
    "not finite": ("skip: .inf\n", "not a number of bytes"),
    "no metadata": ("meta: [1, 2]\n", "instead of keys"),
}


@pytest.mark.parametrize(("text", "match"), YAML.values(), ids=YAML)
def test_yaml(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "img.raw").write_bytes(bytes(400))
    path = tmp_path / "a.yml"
    path.write_text(RAW + text)
    refused(lambda: rsciio_tem.open(path, "rawimage"), match)
    assert isinstance(rsciio_tem.detect(path), list)


def test_yaml_that_is_as_it_should_be(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("a: &a {x: 1, y: [1.5, 0x1F, 1:30]}\nb: *a\nc: {<<: *a, x: 2}\nd: 2020-01-02\n")
    part_of = {"x": 1, "y": [1.5, 31, 90]}
    expected = {"a": part_of, "b": part_of, "c": {**part_of, "x": 2}, "d": "2020-01-02"}
    assert trees.yaml_tree(path) == expected


def test_sizes_of_side_files(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    with open(path, "wb") as file:
        file.truncate(1 << 34)
    refused(lambda: trees.yaml_tree(path), "larger than 16 MiB")
    refused(lambda: trees.side_parameters(path), "larger than 1 MiB")
    refused(lambda: trees.xml_tree(path), "larger than 1 MiB")
    refused(lambda: trees.toml_tree(path), "larger than 1 MiB")


# -- TOML and JSON -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (".".join(["a"] * 400) + " = 1", "many levels"),
        ('"a b" . ' * 400 + "c = 1", "many levels"),
        ("[" + ".".join(["a"] * 400) + "]", "many levels"),
        ("q = " + "[" * 5000, "nested too deep"),
        ("q = " + "[" * 40 + "]" * 40, "nested too deep"),
        ("q = 1" + "0" * 5000, "not valid TOML"),
        ("q = ", "not valid TOML"),
    ],
)
def test_toml(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[params]\nnav_shape = [5, 10]\n" + text)
    refused(lambda: trees.side_parameters(path), match)


def test_toml_that_is_as_it_should_be(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    numbers = [float(f"{i}.{i}") for i in range(100)]
    path.write_text(f"[params]\na.b.c = {numbers}\nd = 0x{'f' * 1000}\n")
    params = trees.side_parameters(path)
    assert params["a"]["b"]["c"] == numbers
    assert params["d"] == "a number of 4000 bits"


def test_json() -> None:
    assert trees.json_value(b'{"a": [1, 2.5, null]}\0\0') == {"a": [1, 2.5, None]}
    for content in (b"[" * 10**5, b"[" * 40 + b"]" * 40, b"1" + b"0" * 5000, b"{", b"\xff"):
        assert trees.json_value(content) is None


# -- XML -----------------------------------------------------------------------------------------

ENTITIES = '<!DOCTYPE r [<!ENTITY a "bb">]><r><raw_file filename="a.raw">&a;</raw_file></r>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("declared", [False, True])
def test_entities_in_every_encoding(encoding: str, declared: bool) -> None:
    name = encoding.removesuffix("-sig").removesuffix("-le").removesuffix("-be")
    head = f'<?xml version="1.0" encoding="{name}"?>' if declared else "<?xml version='1.0'?>"
    refused(lambda: trees.xml_content((head + ENTITIES).encode(encoding), "a.xml"), "entities")
    plain = (head + "<r><a>5</a></r>").encode(encoding)
    assert trees.xml_content(plain, "a.xml") == {"a": "5"}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (ENTITIES.encode("utf-32"), "not valid XML"),
        (b'<!DOCTYPE r SYSTEM "file:///etc/hostname"><r/>', "document type"),
        (b"<a>" * 60 + b"</a>" * 60, "50 deep"),
        (b"<a>" * 10**5, "50 deep"),
        (b'<?xml version="1.0" encoding="zlib"?><r/>', "not valid XML"),
        (b'<?xml version="1.0" encoding="utf-7"?><r/>', "not valid XML"),
        (b"<r>" + b"x" * (1 << 20) + b"</r>", "larger than 1 MiB"),
    ],
)
def test_xml(content: bytes, match: str) -> None:
    refused(lambda: trees.xml_content(content, "a.xml"), match)


# -- other text ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["key\n  goes on\n", "a = 1\na = 2\n", "a = %(nothing)s\n", "a = \0\0\n", "k\n x\n" * 9000],
)
def test_hdr_of_a_pnccd(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.hdr"
    path.write_text("[measurementInfo]\n" + text)
    with contextlib.suppress(FormatError):
        assert len(read_hdr(str(path))) < 10


def test_numbers_in_text() -> None:
    for text in ("nan", "-inf", "1e999", "9" * 10**6, 10**5000 and "x", None, [], "1e308 "):
        number = to_number(text)
        assert number is None or math.isfinite(number)
    for name in (
        "O",
        "V8",
        "U5",
        "i4,i4",
        "(2,)i4",
        "datetime64",
        "x" * 10**6,
        None,
        ["u2"],
        "u99",
    ):
        assert number_type(name) is None
    assert number_type(">u2") == ">u2"
    assert number_type("float32") == "f4"


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_calibrations_are_finite(tmp_path: Path, wrong: float) -> None:
    for axis in (Axis("x", "nm", wrong, 2.0), Axis("x", "nm", 2.0, wrong)):
        assert (axis.name, axis.units, axis.scale, axis.offset) == ("x", "", 1.0, 0.0)
    assert not Axis("x", "nm", 1e300, 2.0).measures
    (tmp_path / "a.raw").write_bytes(FRAMES.tobytes())
    scales = "".join(f"[[params.axes]]\nname = 'k'\nscale = {wrong}\n" for _ in range(3))
    (tmp_path / "a.toml").write_text(f"[params]\nsig_shape = [4, 5]\ndtype = 'u2'\n{scales}")
    (signal,) = rsciio_tem.load(tmp_path / "a.raw", "raw")
    assert [(axis["scale"], axis["units"]) for axis in signal["axes"]] == [(1.0, "")] * 3
    (tmp_path / "a.toml").write_text((tmp_path / "a.toml").read_text().replace(str(wrong), "1e300"))
    with pytest.warns(
        rsciio_tem.errors.RecordingWarning, match="the calibration of the axis k makes no sense"
    ):
        (signal,) = rsciio_tem.load(tmp_path / "a.raw", "raw")
    assert [axis["scale"] for axis in signal["axes"]] == [1.0] * 3


def test_absurd_coordinates(tmp_path: Path) -> None:
    path, wrong = tmp_path / "a.h5", (-1.7e308, 1.7e308, math.inf)
    with h5py.File(path, "w") as file:
        group = file.create_group("data/cube")
        group.attrs["emd_group_type"] = 1
        group["data"] = FRAMES
        for i, n in enumerate(FRAMES.shape):
            group[f"dim{i + 1}"] = np.resize(wrong[:2], n)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        (signal,) = rsciio_tem.load(path)
        assert all(axis["scale"] == 1 for axis in signal["axes"])
        for value_of_one in wrong:
            rows, problems = rotation.table(np.full((3, 2), value_of_one), 3)
            assert rows is None
            assert "not angles" in str(problems[0])


def test_lists_of_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    path = tmp_path / "a.yml"
    for files in ("folder", "*/" * 3000, "x" * 10**5, [["a"]], ["a" * 10**5], "a " * 10**4):
        path.write_text(json.dumps({"image-files": {"directory": ".", "files": files}}))
        refused(lambda: rsciio_tem.open(path, "imagefiles"))


# -- headers of .npy -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 4), ">u2"),
        np.zeros((3, 4), "f4", order="F"),
        np.zeros((), "?"),
        np.zeros(5, "U7"),
        np.zeros(2, [("a", "u1"), ("b", [("c", "f4", (2, 3))])]),
        np.zeros(2, np.dtype([("a", "u1"), ("b", "f8")], align=True)),
        np.zeros(2, "M8[ns]"),
        np.zeros((2, 0, 3), "c16"),
    ],
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_headers_are_read_as_numpy_reads_them(
    tmp_path: Path, array: Any, version: tuple[int, int]
) -> None:
    path = tmp_path / "a.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array(file, array, version=version)
    header = npy_header(path.read_bytes())
    assert (header.shape, header.dtype) == (array.shape, array.dtype)
    assert header.offset + array.nbytes == path.stat().st_size


def described(**changed: Any) -> str:
    return repr({"descr": "<u2", "fortran_order": False, "shape": (2, 2), **changed})


def test_nothing_in_a_header_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluated(*source: Any) -> None:
        raise AssertionError("a header was evaluated")

    monkeypatch.setattr(ast, "literal_eval", evaluated)
    assert array_described(described())[2] == (2, 2)
    assert array_described(described().replace("(2, 2)", "(2L, 2L)"))[2] == (2, 2)
    for text in (
        "[" * 60000,
        "-" * 60000 + "1",
        described(shape=(10**50,)),
        described().replace("2, 2", "1 + 1, 2"),
        described().replace("2, 2", "2, 2, lambda: 1"),
        described().replace("2, 2", "'\\x41'"),
        described(descr="<u2, <u2"),
        described(descr=[("a",)]),
        described(descr=[[[[[[[[[["u2"]]]]]]]]]]),
        described(descr=[("a", "u2", (-1,))]),
        described(descr="|V99999999999"),
        described() + " 5",
        described(more=1),
        "{" + "'a': 1, " * 9000 + "}",
    ):
        with pytest.raises(ValueError, match=r"its |too |type|keys"):
            array_described(text)


def test_angles_are_no_larger_than_their_file(tmp_path: Path) -> None:
    path = tmp_path / "omega.npy"
    head = np.zeros((2, 2))
    np.save(path, head)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"(2, 2), }", b"(2, 2**30)")[: len(content)])
    refused(lambda: rotation.load_npy(path), "not a readable .npy")
    path.write_bytes(content.replace(b"(2, 2), }      ", b"(2, 2000000), }"))
    refused(lambda: rotation.load_npy(path), "not a readable .npy")


# -- HDF5: sizes ---------------------------------------------------------------------------------

SHAPES = {
    "very many frames": ((2**31, 16, 16), (1024, 16, 16)),
    "more frames than memory": ((2**40, 8, 8), (2**20, 8, 8)),
    "very many small chunks": ((2**33, 4, 4), (1, 4, 4)),
    "a large scan": ((2**15, 2**20, 16, 16), (1, 64, 16, 16)),
    "large frames": ((3, 2**21, 2**21), (1, 1024, 1024)),
    "beyond 2^63": ((3, 2**62, 2**62), (1, 1024, 1024)),
    "the largest size": ((2**63 - 1, 8, 8), (1, 8, 8)),
    "very many axes": ((2,) * 32, (1,) * 32),
}


@pytest.mark.parametrize(("shape", "chunks"), SHAPES.values(), ids=SHAPES)
def test_sizes_in_tiny_files(
    tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], capsys: Any
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", shape, "u2", chunks=chunks)
    if math.prod(shape) >= 2**50:
        refused(lambda: rsciio_tem.open(path), "more than 1 PiB")
        return
    assert len(rsciio_tem.open(path).frames) == math.prod(shape[:-2])
    assert any("never" in str(problem) for problem in rsciio_tem.check(path))
    if len(shape) < 32:
        (signal,) = rsciio_tem.load(path, lazy=True)
        corner = (0,) * (len(shape) - 2) + (slice(2), slice(2))
        assert not signal["data"][corner].compute().any()
        refused(lambda: rsciio_tem.load(path))
    with contextlib.suppress(SystemExit):
        main(["info", str(path)])
    assert "frames" in capsys.readouterr().out


def test_values_are_as_large_as_they_should_be(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    text = h5py.h5t.C_S1.copy()
    text.set_size(2**31 - 1)
    with h5py.File(path, "w") as file:
        file["data"] = FRAMES
        h5py.h5d.create(file.id, b"text", text, h5py.h5s.create(h5py.h5s.SCALAR))
        file.create_dataset("unlimited", (4,), "f8", maxshape=(None,), chunks=(2**28,))
        file.create_dataset("long", (2**40,), "f8", chunks=(2**20,))
        file.create_dataset("one", data=[1.0, 2.0])
        group = file.create_group("metadata")
        for i in range(100):
            group.create_dataset(f"m{i}", (64,), "S1000000", chunks=(1,))
    with opened(str(path)) as file:
        for name in ("text", "unlimited", "long", "nothing"):
            assert value(member(file, name)) is None
        assert value(file["one"]).tolist() == [1.0, 2.0]
        assert value(file["one"], 15) is None
        assert part(file["long"], slice(2, 5), 24).tolist() == [0.0, 0.0, 0.0]
        assert part(file["long"], slice(2, 6), 24) is None
        assert tree(file)["long"] == f"{2**40} float64"
        kept = [v for v in tree(file)["metadata"].values() if isinstance(v, list)]
        assert len(kept) < 2, "values are read up to a number of bytes altogether"
    assert len(rsciio_tem.open(path).frames) == 3


def test_numbers_of_frames_far_apart(tmp_path: Path) -> None:
    for k, first in ((1, 1), (2, 2**46)):
        with h5py.File(tmp_path / f"a_data_00000{k}.h5", "w") as file:
            dataset = file.create_dataset("entry/data/data", data=FRAMES)
            dataset.attrs.update({"image_nr_low": first, "image_nr_high": first + 2})
    with h5py.File(tmp_path / "a_master.h5", "w") as file:
        special = file.create_group("entry/instrument/detector/detectorSpecific")
        special.update({"nimages": math.nan, "ntrigger": 2**62})
        for k in (1, 2):
            link = h5py.ExternalLink(f"a_data_00000{k}.h5", "entry/data/data")
            file[f"entry/data/data_00000{k}"] = link
    with pytest.warns(rsciio_tem.errors.RecordingWarning, match="contradict each other"):
        (signal,) = rsciio_tem.load(tmp_path / "a_master.h5")
    assert signal["data"].shape == (6, 4, 5)


def test_frames_that_were_never_written(tmp_path: Path) -> None:
    path = tmp_path / "a.fch5"
    with h5py.File(path, "w") as file:
        file.attrs["HEXRD_FRAMECACHE_VERSION"] = 1
        file.update({"shape": [16, 16], "nframes": 2**40, "dtype": "uint16"})
        file.create_dataset("frame_ids", (2**41,), "i8", chunks=(2**16,))
        file["data"], file["indices"] = np.zeros(3, "u2"), np.zeros((3, 2), "u2")
    with pytest.raises(Truncated, match="never written"):
        rsciio_tem.open(path)


def test_numbers_of_frames_in_an_archive(tmp_path: Path) -> None:
    arrays = {f"{n}_{p}": np.zeros(0, "u2") for n in (0, 10**17) for p in ("row", "col", "data")}
    np.savez(tmp_path / "a.npz", **arrays)
    path = tmp_path / "a.yml"
    for nframes in (2**47, [[1], 2]):
        data = {"file": "a.npz", "dtype": "u2", "nframes": nframes, "shape": [4, 4]}
        path.write_text(json.dumps({"data": data}))
        refused(lambda: rsciio_tem.open(path, "framecache"), "frames")


# -- HDF5: types ---------------------------------------------------------------------------------


def odd_types() -> dict[str, Any]:
    h5t = h5py.h5t
    three, wide = h5t.STD_I32LE.copy(), h5t.STD_I64LE.copy()
    three.set_size(3)
    wide.set_size(16)
    odd_enum = h5t.enum_create(wide)
    odd_enum.enum_insert(b"a", 1)
    record = h5t.create(h5t.COMPOUND, 16)
    record.insert(b"a", 0, h5t.vlen_create(h5t.NATIVE_INT32))
    return {
        "sequences": h5t.vlen_create(h5t.NATIVE_INT32),
        "sequences of sequences": h5t.vlen_create(h5t.vlen_create(h5t.NATIVE_INT32)),
        "record of sequences": record,
        "references": h5t.STD_REF_OBJ,
        "regions": h5t.STD_REF_DSETREG,
        "times": h5t.UNIX_D32LE,
        "integers of 3 bytes": three,
        "enumerations of 16 bytes": odd_enum,
        "array of references": h5t.array_create(h5t.STD_REF_OBJ, (3,)),
    }


@pytest.mark.parametrize("kind", odd_types())
def test_odd_types_are_not_read(tmp_path: Path, kind: str) -> None:
    """Nor do they condemn the file, whatever the attributes are called."""
    path, odd = tmp_path / "a.h5", odd_types()[kind]
    names = ("file_format", "file_writer", "version", "NX_class", "emd_group_type", "signal")
    with h5py.File(path, "w") as file:
        file["data"] = FRAMES
        file["data"].attrs["good"] = 5
        for where, name in itertools.product((file, file["data"]), (*names, "default", "axes")):
            h5py.h5a.create(where.id, name.encode(), odd, h5py.h5s.create_simple((2,)))
        h5py.h5d.create(file.id, b"odd", odd, h5py.h5s.create_simple((2,)))
        h5py.h5d.create(file.id, b"images", odd, h5py.h5s.create_simple((3, 4, 5)))
    with opened(str(path)) as file:
        assert attribute(file, "version") is None
        assert attributes(file["data"]) == {"good": 5}
        assert value(file["odd"]) is None
    (signal,) = rsciio_tem.load(path)
    np.testing.assert_array_equal(signal["data"], FRAMES)
    rsciio_tem.check(path)


def test_usual_types_are_read(tmp_path: Path) -> None:
    expected = {
        "text": "µm",
        "bytes": np.bytes_(b"abc"),
        "numbers": np.arange(3.0),
        "flag": np.bool_(True),
        "complex": np.complex128(1 + 2j),
        "texts": np.array(["a", "bc"], object),
        "record": np.array([(1, 2.5)], [("a", "u1"), ("b", "f8")])[0],
        "opaque": np.void(b"\1\2"),
        "half": np.float16(0.5),
    }
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, content in expected.items():
            kind = h5py.string_dtype() if name == "texts" else None
            file.attrs.create(name, content, dtype=kind)
            if name != "complex":
                file.create_dataset(name, data=content, dtype=kind)
    with opened(str(tmp_path / "a.h5")) as file:
        for name, content in expected.items():
            assert np.array_equal(attribute(file, name), content), name
            if name not in ("complex", "text", "texts"):
                assert np.array_equal(value(file[name]), content), name
    with h5py.File(tmp_path / "b.h5", "w", libver="latest") as file:
        file.attrs["texts"] = np.array(["x"] * 5000, object)  # few bytes each, of any length
        assert attribute(file, "texts") is None


def test_texts_that_end_nowhere(tmp_path: Path) -> None:
    """To read one keeps the library busy for ever; none is read here."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["data"] = FRAMES
        file.attrs["title"] = "some text"
    assert hdf5_values.damaged_texts(str(path)) == -1
    content = path.read_bytes()
    heap = content.index(b"GCOL")
    free = heap + 16 + 16 + 16
    assert content[free : free + 2] == b"\0\0", "what is left over follows the text"
    for at, replaced in ((free + 8, bytes(8)), (heap + 24, b"\xff" * 8), (heap + 8, bytes(8))):
        path.write_bytes(content[:at] + replaced + content[at + 8 :])
        assert heap <= hdf5_values.damaged_texts(str(path)) <= free


def test_damaged_texts_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["data"] = FRAMES
        file.attrs.update({"title": "some text", "number": 5})
    with opened(str(path)) as file:
        assert attribute(file, "title") == "some text"
    for module in (hdf5_values, rsciio_tem.hdf5):
        monkeypatch.setattr(module, "damaged_texts", lambda path: 800)
    with opened(str(path)) as file:
        assert attribute(file, "title", "left out") == "left out"
        assert attribute(file, "number") == 5
    with pytest.warns(errors.RecordingWarning, match="damaged at byte 800"):
        (signal,) = rsciio_tem.load(path)
    np.testing.assert_array_equal(signal["data"], FRAMES)


def test_objects_that_cannot_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        file["data"] = FRAMES
        file["Header/damaged"] = np.arange(3)
        file["nowhere"] = h5py.SoftLink("/not/there")
        file["circle"] = h5py.SoftLink("/circle")
        file["missing"] = h5py.ExternalLink("b.h5", "/data")
        file["self"] = h5py.ExternalLink("a.h5", "/self")
        damaged = h5py.h5o.get_info(file["Header/damaged"].id).addr
    content = bytearray(path.read_bytes())
    content[damaged : damaged + 16] = b"\xff" * 16
    path.write_bytes(content)
    (signal,) = rsciio_tem.load(path)
    np.testing.assert_array_equal(signal["data"], FRAMES)
    refused(lambda: rsciio_tem.open(path, dataset="Header/damaged"))
    with opened(str(path)) as file:
        refused(lambda: dataset_of(file, "Header/damaged"), "cannot be opened")
        assert member(file, "Header/damaged") is None
        assert member(file, "circle") is None


def test_very_many_members(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["data"] = FRAMES
        group = file
        for _ in range(400):
            group = group.create_group("inside")
        file["around"] = file["/"]
        for i in range(3000):
            group.attrs.create(f"a{i}", i) if i < 1500 else None
        with h5py.File(path.with_name("b.h5"), "w") as other:
            other.create_group("attributes", track_order=True)
            for i in range(1500):
                other["attributes"].attrs[f"a{i}"] = i
            assert len(attributes(other["attributes"])) == 1000
    assert len(rsciio_tem.open(path).frames) == 3


# -- HDF5: what files refer to -------------------------------------------------------------------


def virtual(path: Path, source: str, shape: tuple[int, ...] = (3, 4, 5), name: str = "data") -> str:
    layout = h5py.VirtualLayout(shape, "u2")
    layout[:] = h5py.VirtualSource(source, "data", shape)
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset(name, layout)
    return str(path)


def test_virtual_data_sets_of_themselves(tmp_path: Path) -> None:
    """To read an element of one ends the process; here none is described, so none is read."""
    loops = [virtual(tmp_path / f"{n}.h5", f"{s}.h5") for n, s in ("aa", "bc", "cb")]
    for path in loops:
        with opened(path) as file:
            refused(lambda file=file, path=path: require_sources(file["data"], path), "itself")
        refused(lambda path=path: frames_of(path, "data"), "put together from itself")


def test_virtual_data_sets_of_virtual_ones(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "0.h5", "w") as file:
        file["data"] = FRAMES
    for i in range(1, 12):
        virtual(tmp_path / f"{i}.h5", f"{i - 1}.h5")
    (signal,) = rsciio_tem.load(tmp_path / "5.h5")
    np.testing.assert_array_equal(signal["data"], FRAMES)
    refused(lambda: frames_of(str(tmp_path / "11.h5"), "data"), "and so on")
    with opened(str(tmp_path / "5.h5")) as file:
        used = require_sources(file["data"], str(tmp_path / "5.h5"))
    assert {os.path.basename(name) for name in used} == {f"{i}.h5" for i in range(5)}


def test_virtual_data_sets_with_very_many_parts(tmp_path: Path) -> None:
    """Each frame is one of those of the file before, which makes 60^4 parts one by one."""
    count = 60
    frames = np.arange(count * 4, dtype="u2").reshape(count, 2, 2)
    with h5py.File(tmp_path / "0.h5", "w") as file:
        file["data"] = frames
    for k in range(1, 5):
        layout = h5py.VirtualLayout(frames.shape, "u2")
        for i in range(count):
            source = h5py.VirtualSource(f"{k - 1}.h5", "data", frames.shape)
            layout[i] = source[count - 1 - i]
        with h5py.File(tmp_path / f"{k}.h5", "w") as file:
            file.create_virtual_dataset("data", layout)
    start = time.monotonic()
    (signal,) = rsciio_tem.load(tmp_path / "4.h5")
    np.testing.assert_array_equal(signal["data"], frames)
    assert time.monotonic() - start < 20


def test_small_virtual_data_sets_are_no_metadata(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["data"] = np.arange(3, dtype="u2")
    path = virtual(tmp_path / "a.h5", "b.h5", (3,), "small")
    with opened(path) as file:
        assert value(file["small"]) is None
        assert tree(file) == {"small": "3 uint16"}


def far_away(tmp_path: Path) -> tuple[Path, Path]:
    """Return the folder of a recording, and a file neither in nor above nor beside it."""
    folder = tmp_path / "up" / "day" / "recording"
    folder.mkdir(parents=True)
    other = tmp_path / "elsewhere" / "b.h5"
    other.parent.mkdir()
    with h5py.File(other, "w") as file:
        file["data"] = FRAMES
    return folder, other


def refer(path: Path, kind: str, other: str) -> None:
    if kind == "virtual":
        virtual(path, other)
        return
    with h5py.File(path, "w") as file:
        if kind == "link":
            file["data"] = h5py.ExternalLink(other, "/data")
        else:
            file.create_dataset("data", (3, 4, 5), "u1", external=[(other, 0, 60)])


@pytest.mark.parametrize("kind", ["link", "virtual"])
def test_hdf5_files_far_away(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As beamlines arrange them; but only HDF5 files are looked into."""
    folder, other = far_away(tmp_path)
    monkeypatch.chdir(folder)
    refer(folder / "a.h5", kind, str(other))
    (signal,) = rsciio_tem.load(folder / "a.h5", dataset="data")
    np.testing.assert_array_equal(signal["data"], FRAMES)
    other.write_text("a letter")
    refused(lambda: rsciio_tem.open(folder / "a.h5", dataset="data"), "not an HDF5 file")
    refused(lambda: rsciio_tem.open(folder / "a.h5"))


def test_plain_files_far_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, other = far_away(tmp_path)
    monkeypatch.chdir(folder)
    for i, name in enumerate((str(other), os.path.relpath(other, folder))):
        path = folder / f"{i}.h5"
        refer(path, "external", name)
        refused(lambda path=path: rsciio_tem.open(path, dataset="data"), "in another place")
        refused(lambda path=path: frames_of(str(path), "data"), "in another place")
        refused(lambda path=path: rsciio_tem.open(path), "in another place")
        with opened(str(path)) as file:
            assert member(file, "data") is None
            assert not walk(file).datasets


@pytest.mark.parametrize("kind", ["link", "virtual", "external"])
@pytest.mark.parametrize("place", [".", "inside", "..", "../beside", "linked"])
def test_files_that_are_near(tmp_path: Path, kind: str, place: str) -> None:
    folder, far = far_away(tmp_path)
    where = folder / place
    where.mkdir(exist_ok=True)
    (where / "b.h5").unlink(missing_ok=True)
    if place == "linked":  # somebody made that link
        (where / "b.h5").symlink_to(far)
    else:
        (where / "b.h5").write_bytes(far.read_bytes())
    refer(folder / "a.h5", kind, os.path.join(place, "b.h5"))
    (signal,) = rsciio_tem.load(folder / "a.h5", dataset="data")
    assert signal["data"].shape == (3, 4, 5)
    if kind != "external":
        np.testing.assert_array_equal(signal["data"], FRAMES)


# -- Zarr ----------------------------------------------------------------------------------------

V2 = {"zarr_format": 2, "shape": [2, 3], "chunks": [2, 3], "dtype": "<i4", "order": "C"}
V2 |= {"fill_value": 0, "compressor": None, "filters": None}
PICKLE = {"id": "pickle", "protocol": 4}
V3 = {"zarr_format": 3, "node_type": "array", "shape": [2, 3], "data_type": "int32"}
INNER = [{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "numcodecs.pickle"}]}}]
STORES: dict[str, dict[str, Any]] = {
    "filter": {".zarray": {**V2, "filters": [PICKLE]}},
    "compressor": {".zarray": {**V2, "compressor": PICKLE}},
    "objects": {".zarray": {**V2, "dtype": "|O", "filters": [PICKLE], "fill_value": "gASVBQ=="}},
    "in a group": {".zgroup": {}, "0/.zarray": {**V2, "filters": [PICKLE]}},
    "deeper": {".zgroup": {}, "0/.zgroup": {}, "0/c/.zarray": {**V2, "filters": [PICKLE]}},
    "listed": {".zgroup": {}, ".zmetadata": {"metadata": {"a/.zarray": {"filters": [PICKLE]}}}},
    "version 3": {"zarr.json": {**V3, "codecs": [{"name": "bytes"}, {"name": "pickle"}]}},
    "in shards": {"zarr.json": {**V3, "codecs": INNER}},
    "unknown": {".zarray": {**V2, "compressor": {"id": "somebody-else"}}},
}


@pytest.mark.parametrize("content", STORES.values(), ids=STORES)
def test_codecs_that_may_run_code(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "a.zarr"
    for name, description in content.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(json.dumps(description))
    with pytest.raises(Unsupported, match="not decoded here"):
        require_codecs(str(path))
    refused(lambda: rsciio_tem.open(path, "zarr"))


def test_stores_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    path.mkdir()
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / "inside").symlink_to(path, target_is_directory=True)
    refused(lambda: require_codecs(str(path)), "too many arrays and groups")
    (path / ".zgroup").write_text("[" * 10**5)
    refused(lambda: require_codecs(str(path)), "damaged")


# -- what the documentation says -----------------------------------------------------------------


def test_documented_limits() -> None:
    page = (Path(__file__).parents[1] / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [
        (trees.SIDE_FILE_LIMIT, 1 << 20, "`params` in YAML | 1 MiB"),
        (trees._YAML_LIMIT, 16 << 20, "| 16 MiB, 2^20 values"),
        (trees.MOST_VALUES, 1 << 20, "2^20 values"),
        (trees.DEEPEST, 30, "30 levels"),
        (trees._XML_DEEPEST, 50, "XML: 50"),
        (trees.DIGITS, 400, "400 characters of a number"),
        (npy_header_module.LONGEST, 64 << 10, "64 KiB"),
        (npy_header_module._DEEPEST, 8, "8 levels"),
        (hdf5_values._ATTRIBUTE, 1 << 20, "| 1 MiB; 64 MiB, all"),
        (hdf5_values._DATA_SET, 64 << 20, "64 MiB, all of them together 64 MiB"),
        (hdf5._MOST_BYTES, 64 << 20, "all of them together 64 MiB"),
        (hdf5_links._MOST_LINKS, 20_000, "| 20 000; 16; 16 |"),
        (hdf5_links._DEEPEST, 16, "| 20 000; 16; 16 |"),
        (hdf5._DEPTH, 16, "| 20 000; 16; 16 |"),
        (hdf5_links._MOST_SOURCES, 100_000, "100 000; 8 levels"),
        (hdf5_links._DEEPEST_SOURCE, 8, "100 000; 8 levels"),
        (hdf5_frames._MOST_BYTES, 1 << 50, "1 PiB"),
        (framecache_header.LARGEST_METADATA, 16 << 20, "16 MiB each"),
        (framecache_header.ALL_METADATA, 64 << 20, "64 MiB together"),
        (zarr_store._MOST_NODES, 10_000, "10 000 in 16 levels"),
        (zarr_store._DEEPEST, 16, "10 000 in 16 levels"),
        (zarr_store._LARGEST, 16 << 20, "16 levels; 16 MiB"),
        (errors._LONGEST, 1200, "1200 characters"),
    ]
    for limit, expected, words in rows:
        assert limit == expected, words
        assert words in page


@pytest.mark.parametrize("damage", ["bytes", "heap"])
def test_places_of_texts_are_looked_at(tmp_path: Path, damage: str) -> None:
    """Before the library takes memory for them."""
    path = tmp_path / "texts.h5"
    with h5py.File(path, "w") as file:
        file["one"] = "a text"
        file.create_dataset("three", data=["x", "", "longer"], dtype=h5py.string_dtype())
        places = {name: file[name].id.get_offset() for name in file}
    with h5py.File(path) as file:
        assert hdf5_values.value(file["one"]) == b"a text"
        assert hdf5_values.value(file["three"]).tolist() == [b"x", b"", b"longer"]
    content = bytearray(path.read_bytes())
    for at in places.values():
        if damage == "bytes":
            content[at + 1 : at + 4] = b"\xff\xff\xff"
        else:
            content[at + 4 : at + 12] = (1 << 40).to_bytes(8, "little")
    path.write_bytes(content)
    with h5py.File(path) as file:
        assert hdf5_values.value(file["one"]) is None
        assert hdf5_values.value(file["three"]) is None


def test_damaged_fill_values_are_not_read() -> None:
    """The library says that they are damaged, and does not survive reading some of them."""

    class Damaged:
        id = SimpleNamespace(get_create_plist=lambda: Damaged())

        def fill_value_defined(self) -> int:
            raise ValueError("invalid combination of fill-value info")

        @property
        def fillvalue(self) -> int:
            raise AssertionError("is read")

    assert hdf5_frames.fill_bytes(Damaged(), np.dtype("<u2")) == b"\0\0"


def test_fill_values_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        own = file.create_dataset("own", (4, 4), "<u2", fillvalue=7)
        usual = file.create_dataset("usual", (4, 4), ">u2")
        assert hdf5_frames.fill_bytes(own, np.dtype("<u2")) == b"\7\0"
        assert hdf5_frames.fill_bytes(usual, np.dtype(">u2")) == b"\0\0"
