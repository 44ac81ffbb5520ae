# SPDX-License-Identifier: GPL-3.0-or-later
"""Specifications are complete, compiled, and agree with real files and with our header dtypes."""

from __future__ import annotations

import ast
import hashlib
import importlib
import io
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import kaitaistruct
import numpy as np
import pytest
import yaml
from oracles.blo import Blo
from oracles.dm import Dm
from oracles.frms6 import Frms6
from oracles.k2is import K2is
from oracles.mib import Mib
from oracles.mrc import Mrc
from oracles.npy import Npy
from oracles.seq import Seq
from oracles.seq_metadata import SeqMetadata
from oracles.ser import Ser
from oracles.tvips import Tvips
from writers import blo as blo_writer
from writers import dm as dm_writer
from writers import frms6 as frms6_writer
from writers import k2is as k2is_writer
from writers import mrc as mrc_writer
from writers import seq as seq_writer
from writers import ser as ser_writer
from writers import tvips as tvips_writer

ROOT = Path(__file__).resolve().parents[1]
SPECIFICATIONS = sorted((ROOT / "specifications").glob("*.ksy"))
REALDATA = Path(os.environ.get("RSCIIO_TEM_REALDATA", ROOT.parent / "shared" / "realdata"))
MIB_FILES = sorted((REALDATA / "mib").rglob("*.mib"))


def specification(name: str) -> dict[str, Any]:
    """Return a .ksy file as a dictionary."""
    return yaml.safe_load((ROOT / "specifications" / f"{name}.ksy").read_text(encoding="utf-8"))


def described(node: dict[str, Any], path: str) -> list[tuple[str, dict[str, Any]]]:
    """Return every field, parameter and instance of a type and of the types inside it."""
    items = [
        (f"{path}.{item['id']}", item) for key in ("params", "seq") for item in node.get(key, [])
    ]
    items += [(f"{path}.{name}", item) for name, item in node.get("instances", {}).items()]
    for name, child in node.get("types", {}).items():
        items += described(child, f"{path}.{name}")
    return items


# ---- every specification -----------------------------------------------------------------------


def test_there_is_a_specification_for_each_oracle_and_the_reverse() -> None:
    oracles = {path.stem for path in (ROOT / "tests" / "oracles").glob("*.py")} - {"__init__"}
    assert {path.stem for path in SPECIFICATIONS} == oracles


@pytest.mark.parametrize("path", SPECIFICATIONS, ids=lambda path: path.name)
def test_specification_is_documented(path: Path) -> None:
    content = specification(path.stem)
    assert content["meta"]["id"] == path.stem
    assert content["meta"]["license"] == "GPL-3.0-or-later"
    assert content["meta"]["title"]
    assert content["meta"]["endian"] in ("be", "le")
    assert content["doc"]
    items = described(content, path.stem)
    assert items
    assert [name for name, item in items if not str(item.get("doc", "")).strip()] == []


@pytest.mark.parametrize("path", SPECIFICATIONS, ids=lambda path: path.name)
def test_oracle_was_compiled_from_this_specification(path: Path) -> None:
    digest = hashlib.sha256(path.read_text(encoding="utf-8").encode()).hexdigest()
    oracle = (ROOT / "tests" / "oracles" / f"{path.stem}.py").read_text(encoding="utf-8")
    assert re.findall(r"^# sha256 of the specification: (\w+)$", oracle, re.MULTILINE) == [digest]


@pytest.mark.parametrize("path", SPECIFICATIONS, ids=lambda path: path.name)
def test_index_lists_the_specification(path: Path) -> None:
    index = (ROOT / "specifications" / "README.md").read_text(encoding="utf-8")
    assert f"({path.name})" in index
    assert f"`tests/oracles/{path.stem}.py`" in index


# ---- Merlin ------------------------------------------------------------------------------------


def constant_fields(fields: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """Return name and size of the leading fields of fixed size; commas are all called ","."""
    result = []
    for field in fields:
        if "contents" in field:
            result.append((field["contents"], len(field["contents"])))
        elif isinstance(field.get("size"), int):
            result.append((field["id"], field["size"]))
        else:
            break
    return result


def test_mib_header_starts_the_settings_where_the_fixed_fields_end() -> None:
    fields = specification("mib")["types"]["header"]["seq"]
    fixed = constant_fields(fields)
    settings = fields[len(fixed)]
    assert settings["id"] == "settings"
    assert settings["size"] == f"offset.to_i - {sum(size for _, size in fixed)}"


def test_mib_header_has_the_fields_of_our_dtype() -> None:
    try:
        module = importlib.import_module("rsciio_tem.formats.mib.header")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("rsciio_tem"):
            raise
        pytest.skip(f"{error.name} cannot be imported")
    if not hasattr(module, "HEADER"):
        pytest.skip("rsciio_tem.formats.mib.header has no HEADER")
    header = module.HEADER
    ours = []
    for name in header.names:
        dtype, _offset = header.fields[name]
        assert dtype.kind == "S"
        ours.append(("," if re.fullmatch(r"c\d+", name) else name, dtype.itemsize))
    assert ours == constant_fields(specification("mib")["types"]["header"]["seq"])
    assert header.itemsize == sum(size for _, size in ours)  # no padding between fields


EXTENSION = "MQ1A,2021-04-15T14:03:57.000000501Z,1000000ns,{depth},"


def mib_frame(
    number: int,
    width: int,
    height: int,
    pixel_type: str,
    pixels: bytes,
    *,
    offset: int = 384,
    layout: str = "1x1",
    extension: str = EXTENSION.format(depth=12),
    padding: bytes = b"\0",
) -> bytes:
    """Return one frame, with a header as the Merlin software writes it."""
    thresholds = "2.000000E+0,5.110000E+2" + 6 * ",0.000000E+0"
    text = (
        f"MQ1,{number:06},{offset:05},01,{width:04},{height:04},{pixel_type},{layout:>6},01,"
        f"2021-04-15 15:03:57.000000,0.001000,0,0,0,{thresholds},3RX,{'011,' * 27}{extension}"
    )
    return text.encode().ljust(offset, padding) + pixels


def parse_mib(content: bytes, counter_depth: int = 0) -> Mib:
    """Parse the bytes of a recording."""
    return Mib(counter_depth, kaitaistruct.KaitaiStream(io.BytesIO(content)))


# Sizes of whole frames, header included, as they occur in recordings of one and of four chips.
FRAME_SIZES = [
    ("U08", 256, 256, 384, 6, 65920),
    ("U16", 256, 256, 384, 12, 131456),
    ("U32", 256, 256, 384, 24, 262528),
    ("U08", 512, 512, 768, 6, 262912),
    ("U16", 512, 512, 768, 12, 525056),
    ("U32", 512, 512, 768, 24, 1049344),
    ("U16", 514, 514, 768, 12, 529160),
    ("U08", 256, 64, 384, 6, 16768),
    ("U64", 256, 256, 384, 24, 524672),
    ("U01", 256, 256, 384, 1, 8576),
    ("R64", 256, 256, 384, 1, 8576),
    ("R64", 1024, 256, 768, 1, 33536),
    ("R64", 256, 256, 384, 6, 65920),
    ("R64", 256, 256, 384, 12, 131456),
    ("R64", 512, 256, 384, 24, 262528),
    # a header that is longer than one chip needs
    ("U16", 256, 256, 512, 12, 131584),
]


@pytest.mark.parametrize(("pixel_type", "width", "height", "offset", "depth", "size"), FRAME_SIZES)
def test_mib_oracle_finds_frames_of_every_pixel_type(
    pixel_type: str, width: int, height: int, offset: int, depth: int, size: int
) -> None:
    rng = np.random.default_rng(size)
    pixels = [rng.bytes(size - offset) for _ in range(3)]
    content = b"".join(
        mib_frame(
            number,
            width,
            height,
            pixel_type,
            block,
            offset=offset,
            extension=EXTENSION.format(depth=depth),
        )
        for number, block in enumerate(pixels, start=1)
    )
    recording = parse_mib(content)
    assert recording.len_frame == size
    assert [frame.header.sequence for frame in recording.frames] == ["000001", "000002", "000003"]
    assert [frame.pixels for frame in recording.frames] == pixels
    assert recording.remainder == b""


def test_mib_oracle_reads_every_header_field() -> None:
    header = parse_mib(mib_frame(7, 4, 2, "U16", bytes(16), layout="Nx1G")).frames[0].header
    assert (header.type_id, header.sequence, header.offset) == ("MQ1", "000007", "00384")
    assert (header.chips, header.width, header.height) == ("01", "0004", "0002")
    assert (header.pixel_type, header.layout, header.chip_select) == ("U16", "  Nx1G", "01")
    fields = header.settings.fields
    assert fields[:2] == ["2021-04-15 15:03:57.000000", "0.001000"]
    assert len(fields) == 42  # 13 settings and thresholds, chip type, 27 DAC values, MQ1A
    extension = header.settings.extension
    assert extension.utc_time == "2021-04-15T14:03:57.000000501Z"
    assert extension.shutter == "1000000ns"
    assert extension.counter_depth == "12"
    assert set(extension.padding) == {0}


@pytest.mark.parametrize("padding", [b"\0", b" ", b"\n"])
@pytest.mark.parametrize("extension", ["", EXTENSION.format(depth=6)])
def test_mib_oracle_accepts_headers_of_other_versions(extension: str, padding: bytes) -> None:
    content = mib_frame(1, 8, 2, "U08", b"pixels of frame.", extension=extension, padding=padding)
    (frame,) = parse_mib(content).frames
    assert frame.header.settings.has_extension == bool(extension)
    assert frame.pixels == b"pixels of frame."


def test_mib_oracle_accepts_raw_headers_without_thresholds() -> None:
    text = (
        "MQ1,000001,00384,01,0256,0256,R64,   1x1,01,2018-01-02 15:55:15.323401,0.100000,0,0,0,,"
        "MQ1A,2018-01-02T15:55:15.323401404Z,100000000ns,12,"
    )
    (frame,) = parse_mib(text.encode().ljust(384, b"\0") + bytes(131072)).frames
    assert frame.header.settings.fields[5:] == ["", "MQ1A"]
    assert frame.header.depth == 12


def test_mib_oracle_takes_the_counter_depth_of_raw_frames_from_the_caller() -> None:
    content = mib_frame(1, 256, 2, "R64", bytes(64), extension="")
    assert len(parse_mib(content, counter_depth=1).frames[0].pixels) == 64
    with pytest.raises(kaitaistruct.ValidationExprError):
        parse_mib(content)


@pytest.mark.parametrize("cut", [1, 16, 399])
def test_mib_oracle_keeps_what_an_interrupted_recording_leaves(cut: int) -> None:
    content = b"".join(mib_frame(i, 8, 2, "U08", bytes([i]) * 16) for i in (1, 2, 3))
    recording = parse_mib(content[:-cut])
    assert [frame.pixels[0] for frame in recording.frames] == [1, 2]
    assert len(recording.remainder) == 400 - cut


@pytest.mark.parametrize(
    ("position", "replacement"), [(0, b"MPX"), (0, b"PR1"), (3, b";"), (30, b"X16")]
)
def test_mib_oracle_refuses_other_content(position: int, replacement: bytes) -> None:
    content = bytearray(mib_frame(1, 8, 2, "U16", bytes(32)))
    content[position : position + len(replacement)] = replacement
    with pytest.raises(kaitaistruct.ValidationFailedError):
        parse_mib(bytes(content))


@pytest.mark.parametrize(
    "path",
    MIB_FILES
    or [
        pytest.param(
            None,
            marks=pytest.mark.skip(
                reason=f"no .mib files in {REALDATA / 'mib'}; set RSCIIO_TEM_REALDATA"
            ),
        )
    ],
    ids=lambda path: str(path.relative_to(REALDATA)) if path else "none",
)
def test_mib_oracle_agrees_with_slices_of_real_files(path: Path) -> None:
    file = np.memmap(path, dtype="u1", mode="r")
    first = bytes(file[:1024]).split(b",")
    offset, width, height, pixel_type = int(first[2]), int(first[4]), int(first[5]), first[6]
    if pixel_type == b"R64":
        depth = int(first[first.index(b"MQ1A") + 3])
        size = width * height * {1: 1, 6: 8, 12: 16, 24: 16}[depth] // 8
    else:
        size = width * height * int(pixel_type[1:]) // 8
    count, rest = divmod(file.size, offset + size)
    assert count > 0
    table = file[: count * (offset + size)].reshape(count, offset + size)

    recording = parse_mib(bytes(file))
    assert recording.num_frames == len(recording.frames) == count
    assert len(recording.remainder) == rest
    numbers = [int(frame.header.sequence) for frame in recording.frames]
    # One public file holds the same frame twice, header included.
    repeats = [np.array_equal(one, next_one) for one, next_one in pairwise(table)]
    assert np.diff(numbers).tolist() == [0 if repeat else 1 for repeat in repeats]
    for frame, row in zip(recording.frames, table, strict=True):
        assert int(frame.header.offset) == offset
        assert frame.header.settings.has_extension
        if pixel_type == b"R64":
            assert frame.pixels == row[offset:].tobytes()
        else:
            dtype = f">u{int(pixel_type[1:]) // 8}"
            pixels = np.frombuffer(frame.pixels, dtype).reshape(height, width)
            np.testing.assert_array_equal(pixels, row[offset:].view(dtype).reshape(height, width))


# ---- K2 IS -------------------------------------------------------------------------------------


def test_k2is_header_has_the_fields_of_our_dtype() -> None:
    from rsciio_tem.formats.k2is.header import HEADER, SYNC

    fields = specification("k2is")["types"]["header"]["seq"]
    assert [field["id"] for field in fields] == list(HEADER.names or ())
    assert bytes(fields[0]["contents"]) == SYNC.to_bytes(4, "big")
    for field in fields:
        dtype, offset = HEADER.fields[field["id"]]
        size = len(field.get("contents", ())) or field.get("size") or int(field["type"][1:])
        assert dtype.itemsize == size
        assert dtype.byteorder == ">" or size == 1 or dtype.kind == "V"
        assert re.search(r"Unknown|[a-z]", field["doc"])
        assert offset == sum(HEADER[n].itemsize for n in HEADER.names[: fields.index(field)])
    assert HEADER.itemsize == 40


def test_k2is_oracle_reads_every_header_field() -> None:
    header = k2is_writer.block_header(1234, 56, 240, 930, shutter=True)
    recording = K2is.from_bytes((header + bytes(22320)) * 3 + header)
    assert (recording.num_blocks, recording.blocks_per_frame) == (3, 32)
    assert recording.remainder == header
    found = recording.blocks[2].header
    assert (found.block_count, found.frame_id, found.shutter_active) == (1234, 56, True)
    assert (found.width, found.height, found.block_size) == (256, 1860, 22360)
    assert (found.x_start, found.x_end, found.y_start, found.y_end) == (240, 255, 930, 1859)
    assert (found.block_width, found.block_height) == (16, 930)
    from rsciio_tem.formats.k2is.header import HEADER

    (ours,) = np.frombuffer(header, HEADER)
    for name in HEADER.names or ():
        if HEADER[name].kind == "u" and name != "sync":
            assert getattr(found, name) == ours[name], name


@pytest.mark.parametrize("position", [0, 1, 3])
def test_k2is_oracle_refuses_other_content(position: int) -> None:
    content = bytearray(k2is_writer.block_header(1, 1, 0, 0) + bytes(22320))
    content[position] ^= 1
    with pytest.raises(kaitaistruct.ValidationFailedError):
        K2is.from_bytes(bytes(content))


# ---- NumPy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["|u1", "<u2", ">u2", "<f4", ">f8", "<c8", "|b1"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4, 5)])
@pytest.mark.filterwarnings("ignore:Stored array in format:UserWarning")
def test_npy_oracle_agrees_with_numpy(
    tmp_path: Path, version: tuple[int, int], order: str, dtype: str, shape: tuple[int, ...]
) -> None:
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    array = np.asarray(values.astype(dtype), order=order)
    path = tmp_path / "array.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, array, version=version)

    with Npy.from_file(path) as npy:
        assert (npy.version_major, npy.version_minor) == version
        assert npy.ofs_data % 64 == 0
        assert npy.header.endswith("\n")
        header = ast.literal_eval(npy.header)
        fortran = order == "F" and len(shape) > 1
        assert header == {"descr": dtype, "fortran_order": fortran, "shape": shape}
        assert npy.data == path.read_bytes()[npy.ofs_data :] == array.tobytes(order)
        np.testing.assert_array_equal(
            np.frombuffer(npy.data, header["descr"]).reshape(
                header["shape"], order="F" if header["fortran_order"] else "C"
            ),
            np.load(path),
        )


@pytest.mark.filterwarnings("ignore:Stored array in format:UserWarning")
def test_npy_oracle_decodes_the_header_as_its_version_says() -> None:
    names = {1: "µ", 2: "µ" * 70000, 3: "電子"}
    for version, name in names.items():
        file = io.BytesIO()
        np.save(file, np.zeros(3, [(name, "<f4")]))
        npy = Npy.from_bytes(file.getvalue())
        assert npy.version_major == version
        assert ast.literal_eval(npy.header)["descr"] == [(name, "<f4")]
        assert npy.data == bytes(12)


@pytest.mark.parametrize(("position", "value"), [(0, 0x92), (5, ord("X")), (6, 0), (6, 4)])
def test_npy_oracle_refuses_other_content(position: int, value: int) -> None:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    content = bytearray(file.getvalue())
    content[position] = value
    with pytest.raises(kaitaistruct.ValidationFailedError):
        Npy.from_bytes(bytes(content))


# ---- TVIPS and blockfiles ----------------------------------------------------------------------

SIZES = {"u1": 1, "u2": 2, "u4": 4, "f4": 4, "f8": 8}


def fields_of(name: str, kind: str) -> list[tuple[str, int]]:
    """Return vendor's names and sizes of the fields of a type of fixed size."""
    result = []
    for field in specification(name)["types"][kind]["seq"]:
        size = len(field["contents"]) if "contents" in field else SIZES.get(field.get("type"), 0)
        size = size or field["size"]
        result.append((field.get("-orig-id", field["id"]), size * field.get("repeat-expr", 1)))
    return result


def dtype_fields(dtype: np.dtype[Any]) -> list[tuple[str, int]]:
    return [(name, dtype[name].itemsize) for name in dtype.names or ()]


def test_tvips_headers_have_the_fields_of_our_dtypes() -> None:
    from rsciio_tem.formats.tvips import header as header_module
    from rsciio_tem.formats.tvips.header import FRAME, FRAME_V1

    assert fields_of("tvips", "header") == dtype_fields(header_module.HEADER)
    assert fields_of("tvips", "frame_header") == dtype_fields(FRAME)
    assert FRAME.descr[:3] == FRAME_V1.descr
    assert (header_module.HEADER.itemsize, FRAME.itemsize) == (256, 108)
    # each optional field is there if the header is long enough for it
    end = 0
    for field in specification("tvips")["types"]["frame_header"]["seq"]:
        end += SIZES[field["type"]]
        assert field.get("if", f"_io.size >= {end}") == f"_io.size >= {end}"


def test_blo_header_has_the_fields_of_our_dtype() -> None:
    from rsciio_tem.formats.blo import header as header_module
    from rsciio_tem.formats.blo.header import MARK, RECORD

    ours: list[tuple[str, int]] = []
    for name, size in dtype_fields(header_module.HEADER):
        group = re.match(r"(Centering|Distortion)_N", name)
        if group and ours[-1][0].startswith(group[1]):
            ours[-1] = (f"{ours[-1][0].split(' ')[0]} to {name}", ours[-1][1] + size)
        else:
            ours.append((name, size))
    assert fields_of("blo", "header") == ours
    assert header_module.HEADER.itemsize == 240
    record = specification("blo")["types"]["record"]["seq"]
    assert bytes(record[0]["contents"]) == np.array(MARK, "<u2").tobytes()
    assert RECORD.itemsize == 2 + SIZES[record[1]["type"]]


def tvips_frames(path: Path) -> tuple[Tvips, np.ndarray]:
    """Read a series with the oracle, the later files frame by frame."""
    with Tvips.from_file(path) as first:
        header, pixels = first.header, [frame.pixels for frame in first.frames]
    sizes = first.len_frame_header, first.len_pixels
    number = 1
    while (later := path.with_name(path.name.replace("_000", f"_{number:03d}"))).is_file():
        stream = kaitaistruct.KaitaiStream(io.BytesIO(later.read_bytes()))
        for _ in range(stream.size() // sum(sizes)):
            pixels.append(Tvips.Frame(*sizes, stream, first, first).pixels)
        number += 1
    data = np.frombuffer(b"".join(pixels), f"<u{header.bits // 8}")
    return first, data.reshape(-1, header.height, header.width)


@pytest.mark.parametrize(("version", "length"), [(1, 12), (2, 12), (2, 60), (2, 108), (2, 130)])
@pytest.mark.parametrize("files", [(), (3, 2)])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_tvips_oracle_agrees_with_reader(
    tmp_path: Path, version: int, length: int, files: tuple[int, ...], dtype: str
) -> None:
    from rsciio_tem.formats import tvips
    from rsciio_tem.formats.tvips.header import FRAME

    frames = np.random.default_rng(6).integers(0, 200, (5, 4, 6)).astype(dtype)
    rotator = [3, 1, 4, 1, 5]
    path = tvips_writer.write_tvips(
        tmp_path / "a_000.tvips", frames, version, length, files=files, rotator=rotator
    )
    oracle, pixels = tvips_frames(path)
    (signal,) = tvips.file_reader(path)
    np.testing.assert_array_equal(pixels, frames)
    np.testing.assert_array_equal(signal["data"], frames)
    header = signal["original_metadata"]["tvips_header"]
    for field in specification("tvips")["types"]["header"]["seq"][:-1]:
        assert getattr(oracle.header, field["id"]) == header[field["-orig-id"]]
    first = oracle.frames[0].header
    read = signal["original_metadata"]["tvips_first_frame"]
    assert {name for name in FRAME.names if hasattr(first, name)} == set(read)
    for name, value in read.items():
        assert getattr(first, name) == value
    if length >= 52:
        assert [f.header.rotidx for f in oracle.frames] == rotator[: len(oracle.frames)]


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_blo_oracle_agrees_with_reader(tmp_path: Path, dtype: str) -> None:
    from rsciio_tem.formats import blo

    data = np.random.default_rng(7).integers(0, 200, (3, 4, 6, 6)).astype(dtype)
    image = np.arange(12).reshape(3, 4)
    path = blo_writer.write_blo(tmp_path / "a.blo", data, image=image, gap=7)
    check_blo(path, 8 * np.dtype(dtype).itemsize)
    (signal,) = blo.file_reader(path)
    np.testing.assert_array_equal(signal["data"], data)


def check_blo(path: Path, bits: int) -> None:
    from rsciio_tem.formats import blo

    oracle = Blo(bits, kaitaistruct.KaitaiStream(io.BytesIO(path.read_bytes())))
    (signal,) = blo.file_reader(path)
    data = signal["data"]
    assert [record.number for record in oracle.records] == list(
        range(data.shape[0] * data.shape[1])
    )
    pixels = np.frombuffer(b"".join(r.pixels for r in oracle.records), f"<u{bits // 8}")
    np.testing.assert_array_equal(pixels.reshape(data.shape), data)
    image = signal["metadata"]["_HyperSpy"]["_sig_navigator"]["data"]
    assert image.tobytes() == oracle.image
    header = signal["original_metadata"]["blockfile_header"]
    for field in specification("blo")["types"]["header"]["seq"][1:-2]:
        assert getattr(oracle.header, field["id"]) == header[field["-orig-id"]]
    assert oracle.header.centering == [header[f"Centering_N{i}"] for i in range(8)]
    assert oracle.header.distortion == [header[f"Distortion_N{i:02d}"] for i in range(14)]
    assert oracle.note.decode("latin-1").strip("\0") == header["Note"]
    assert oracle.remainder == b""


def test_tvips_and_blo_oracles_agree_with_real_files() -> None:
    from rsciio_tem.formats import tvips

    folder = REALDATA / "rosettasciio"
    paths = [*folder.glob("tvips/*_000.tvips"), *folder.glob("blockfile/*.blo")]
    if not paths:
        pytest.skip(f"no recordings in {folder}; set RSCIIO_TEM_REALDATA")
    for path in paths:
        if path.suffix == ".blo":
            check_blo(path, 8)
        else:
            (signal,) = tvips.file_reader(path)
            np.testing.assert_array_equal(tvips_frames(path)[1], signal["data"])


@pytest.mark.parametrize("cut", [1, 30, 100])
def test_tvips_and_blo_oracles_keep_what_an_interrupted_recording_leaves(
    tmp_path: Path, cut: int
) -> None:
    frames = np.zeros((4, 6, 6), "u2")
    path = tvips_writer.write_tvips(tmp_path / "a_000.tvips", frames, truncate=cut)
    with Tvips.from_file(path) as oracle:
        assert len(oracle.frames) == oracle.num_frames == 3
        assert len(oracle.remainder) == 128 + 72 - cut
    path = blo_writer.write_blo(tmp_path / "a.blo", frames.reshape(2, 2, 6, 6), truncate=cut)
    oracle = Blo(16, kaitaistruct.KaitaiStream(io.BytesIO(path.read_bytes())))
    assert len(oracle.records) == 4 - (-(-cut // 78))
    assert len(oracle.remainder) == -cut % 78


# ---- StreamPix ---------------------------------------------------------------------------------

WIDTHS = {"u1": 1, "s1": 1, "u2": 2, "u4": 4, "s4": 4, "u8": 8, "s8": 8, "f8": 8}


def placed_fields(fields: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    """Return name, offset and size of fields of fixed size."""
    result, offset = [], 0
    for field in fields:
        size = WIDTHS[field["type"]] if "type" in field else field["size"]
        if not isinstance(size, int):
            break
        result.append((field["id"], offset, size))
        offset += size
    return result


def placed_of(dtype: np.dtype[Any]) -> list[tuple[str, int, int]]:
    """Return name, offset and size of the fields of a dtype."""
    fields = dtype.fields or {}
    return [(n, fields[n][1], fields[n][0].itemsize) for n in dtype.names or ()]


def test_seq_headers_have_the_fields_of_our_dtypes() -> None:
    from rsciio_tem.formats.seq import header as header_module
    from rsciio_tem.formats.seq.metadata_file import CONTAINER, SETTINGS, UNIT

    fields = placed_fields(specification("seq")["types"]["header"]["seq"])
    assert placed_of(header_module.HEADER) == fields
    assert header_module.HEADER.itemsize == sum(size for _, _, size in fields)
    types = specification("seq_metadata")["types"]
    assert placed_of(CONTAINER) == placed_fields(types["header"]["seq"])
    settings = [f for f in placed_fields(types["settings"]["seq"][:-1]) if f[0] != "unknown"]
    assert placed_of(SETTINGS) == settings
    unit = [*placed_fields(types["unit"]["seq"][:2]), *placed_fields(types["entry"]["seq"][:2])]
    assert [size for _, _, size in placed_of(UNIT)] == [size for _, _, size in unit]


def check_seq(path: Path, **options: Any) -> Seq:
    from rsciio_tem.formats import seq

    oracle = Seq(kaitaistruct.KaitaiStream(io.BytesIO(path.read_bytes())))
    (signal,) = seq.file_reader(path, all_slots=True, celeritas=False, corrections=False, **options)
    recording = seq.parse(path, all_slots=True, celeritas=False)
    assert recording.times is not None
    times = recording.times.read(0, recording.count).time_ns
    header = signal["original_metadata"]["seq_header"]
    for field in specification("seq")["types"]["header"]["seq"]:
        if "type" in field:
            assert getattr(oracle.header, field["id"]) == header[field["id"]]
    order = ">" if header["image_format"] in (114, 115) else "<"
    for slot, image, time in zip(oracle.slots, signal["data"], times, strict=True):
        stored = np.frombuffer(slot.pixels, image.dtype.newbyteorder(order)).reshape(image.shape)
        np.testing.assert_array_equal(stored, image)
        micro = slot.microseconds if header["version"] >= 5 else 0
        told = (slot.seconds * 1000 + slot.milliseconds) * 10**6 + micro * 1000
        assert time == (told or -1)
    return oracle


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
@pytest.mark.parametrize("alignment", [0, 4096])
def test_seq_oracle_agrees_with_reader(
    tmp_path: Path, version: int, dtype: str, alignment: int
) -> None:
    frames = np.random.default_rng(5).integers(0, 200, (4, 5, 7)).astype(dtype)
    path = seq_writer.write_seq(
        tmp_path / "a.seq", frames, version=version, alignment=alignment, unwritten=2
    )
    oracle = check_seq(path)
    assert [slot.seconds > 0 for slot in oracle.slots] == [True] * 4 + [False] * 2
    assert oracle.header.name.decode("utf-16-le").rstrip("\0") == "Norpix seq\n"


def test_seq_oracle_agrees_with_big_endian_pixels(tmp_path: Path) -> None:
    frames = np.random.default_rng(5).integers(0, 60000, (4, 5, 7)).astype("u2")
    path = seq_writer.write_seq(tmp_path / "a.seq", frames, image_format=114)
    with pytest.warns(UserWarning, match="vendor's list"):
        check_seq(path)


@pytest.mark.parametrize("sections", [0, 16])
def test_seq_metadata_oracle_agrees_with_reader(tmp_path: Path, sections: int) -> None:
    from rsciio_tem.formats import seq

    path = seq_writer.write_seq(tmp_path / "a.seq", np.zeros((3, 4, 4), "u1"))
    contents = [seq_writer.settings(rate=12.5, x=7, rotation=2)] * 3
    seq_writer.write_metadata(tmp_path / "a.seq.metadata", 8, contents, 300, sections)
    check_seq_settings(tmp_path / "a.seq.metadata", seq.parse(path).original_metadata)
    numbers = seq_writer.counters([5, 6, 9])
    side = seq_writer.write_metadata(tmp_path / "b.metadata", 10, numbers, 24, sections)
    with SeqMetadata.from_file(side) as oracle:
        assert [u.entries[0].content.number for u in oracle.units] == [5, 6, 9]


def check_seq_settings(path: Path, original: dict[str, Any]) -> None:
    with SeqMetadata.from_file(path) as oracle:
        (entry,) = oracle.units[0].entries
        assert (entry.kind, entry.size) == (8, 208)
        for field in specification("seq_metadata")["types"]["settings"]["seq"]:
            if "type" in field:
                found = original["camera_settings"][field["id"]]
                assert getattr(entry.content, field["id"]) == found


def test_seq_oracles_agree_with_real_files() -> None:
    from rsciio_tem.formats import seq

    paths = sorted((REALDATA / "seq").rglob("*.seq"))
    if not paths:
        pytest.skip(f"no recordings in {REALDATA / 'seq'}; set RSCIIO_TEM_REALDATA")
    for path in paths:
        check_seq(path)
        side = path.with_name(path.name + ".metadata")
        if side.name.startswith("test"):
            check_seq_settings(side, seq.parse(path).original_metadata)
        elif side.exists():
            with SeqMetadata.from_file(side) as oracle:
                numbers = [unit.entries[0].content.number for unit in oracle.units]
            assert numbers == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("position", "value"), [(0, 0), (1, 0), (2, 1)])
def test_seq_oracle_refuses_other_content(tmp_path: Path, position: int, value: int) -> None:
    path = seq_writer.write_seq(tmp_path / "a.seq", np.zeros((3, 4, 4), "u1"))
    content = bytearray(path.read_bytes())
    content[position] = value
    with pytest.raises(kaitaistruct.ValidationFailedError):
        Seq(kaitaistruct.KaitaiStream(io.BytesIO(content)))


# ---- MRC ---------------------------------------------------------------------------------------


def sizes_of(kind: str) -> list[tuple[str, int]]:
    """Return names and sizes of the fields of a type that has no parts."""
    sizes = {"s2": 2, "s4": 4, "s8": 8, "u1": 1, "f4": 4, "f8": 8}
    return [
        (
            field["-orig-id"],
            (field.get("size") or sizes[field["type"]]) * field.get("repeat-expr", 1),
        )
        for field in specification("mrc")["types"][kind]["seq"]
        if "-orig-id" in field
    ]


def test_mrc_headers_have_the_fields_of_our_dtypes() -> None:
    from rsciio_tem.formats.mrc import header as header_module
    from rsciio_tem.formats.mrc.extended import FEI1, FEI2, FEI_OLD

    assert sizes_of("header") == dtype_fields(header_module.HEADER)
    assert sizes_of("fei_record") == dtype_fields(FEI1)
    assert sizes_of("fei_record") + sizes_of("fei2_fields") == dtype_fields(FEI2)
    assert sizes_of("old_fei_record") == dtype_fields(FEI_OLD)
    assert (header_module.HEADER.itemsize, FEI1.itemsize, FEI2.itemsize) == (1024, 768, 888)
    assert FEI_OLD.itemsize == 128


def check_mrc(path: Path, *, big_endian: bool = False) -> Mrc:
    from rsciio_tem.formats import mrc

    oracle = Mrc(big_endian, kaitaistruct.KaitaiStream(io.BytesIO(path.read_bytes())))
    recording = mrc.parse(path, signed=None, metadata_file=None)
    frames, header = recording.frames, recording.original_metadata["std_header"]
    assert len(frames) == oracle.num_images == len(oracle.images)
    raw = np.frombuffer(b"".join(oracle.images), np.uint8).reshape(len(frames), -1)
    values = np.empty((len(frames), *frames.frame_shape), frames.dtype)
    frames.pixels.decode(raw, values)
    loaded = np.empty_like(values)
    frames.load(loaded)
    np.testing.assert_array_equal(values, loaded)
    for field in specification("mrc")["types"]["header"]["seq"]:
        name, value = field["-orig-id"], getattr(oracle.header, field["id"])
        if "type" in field:
            np.testing.assert_equal(header[name], value)
        elif name in ("CMAP", "STAMP"):
            assert bytes.fromhex(header[name]) == value.rstrip(b"\0")
    assert len(oracle.remainder) == path.stat().st_size - sum(
        (1024, header["NEXT"], len(frames) * oracle.len_image)
    )
    return oracle


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", [0, 1, 2, 3, 4, 6, 12, 16, 101])
@pytest.mark.parametrize("cut", [0, 5])
def test_mrc_oracle_agrees_with_reader(tmp_path: Path, mode: int, order: str, cut: int) -> None:
    kind = {0: "i1", 1: "i2", 2: "f4", 3: "c8", 4: "c8", 6: "u2", 12: "f2", 101: "u1"}
    rng = np.random.default_rng(mode)
    frames = rng.integers(0, 16, (4, 5, 7)).astype(kind.get(mode, "u1"))
    if mode == 16:
        pixel = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
        frames = rng.integers(0, 256, (4, 5, 7, 3), np.uint8).view(pixel)[..., 0]
    path = mrc_writer.write_mrc(
        tmp_path / "a.mrc", frames, mode, order=order, extended=b"x" * 160, truncate=cut,
        labels=[b"one"], cell=(1.5, 2.5, 3.5), origin=(1, 2, 3),
    )  # fmt: skip
    oracle = check_mrc(path, big_endian=order == ">")
    assert oracle.extended == b"x" * 160
    assert oracle.num_images == (3 if cut else 4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["FEI1", "FEI2", ""])
def test_mrc_oracle_agrees_about_records_of_fei(tmp_path: Path, kind: str, order: str) -> None:
    from rsciio_tem.formats import mrc

    if kind:
        told = {"ht": (84, "d", 3e5), "tilt": (100, "d", 1.5), "area": (595, "i", 20)}
        content = b"".join(
            mrc_writer.fei_record(kind, order, **{**told, "x_stage": (116, "d", i * 1e-6)})
            for i in range(5)
        )
    else:
        content = mrc_writer.old_fei([(i, 1.5, 1e-6, *(0.5,) * 10) for i in range(3)], order)
    path = mrc_writer.write_mrc(
        tmp_path / "a.mrc", np.zeros((3, 4, 4), "u2"), order=order, extended=content,
        kind=kind.encode(),
    )  # fmt: skip
    records = check_mrc(path, big_endian=order == ">").extended.records[:3]
    ours = mrc.parse(path).original_metadata["fei_header"]
    names = [name for name, _ in sizes_of("fei_record" if kind else "old_fei_record")]
    if kind == "FEI2":
        names += [name for name, _ in sizes_of("fei2_fields")]
    for name in names:
        values = [getattr(r, name) if hasattr(r, name) else getattr(r.more, name) for r in records]
        if isinstance(values[0], bytes):
            continue  # text and reserved bytes
        np.testing.assert_equal(np.broadcast_to(ours[name], 3), values, err_msg=name)


def test_mrc_oracle_agrees_with_real_files() -> None:
    folders = [REALDATA / "mrc", REALDATA / "rosettasciio" / "mrc"]
    paths = [p for f in folders for s in ("mrc", "map") for p in f.rglob(f"*.{s}")]
    if not paths:
        pytest.skip(f"no recordings in {REALDATA}; set RSCIIO_TEM_REALDATA")
    for path in paths:
        oracle = check_mrc(path)
        if oracle.extended_kind == 2:
            assert oracle.extended.records[0].microscope_type.startswith(b"Spectra")


# ---- DigitalMicrograph -------------------------------------------------------------------------


def named(enumeration: dict[int, Any]) -> dict[int, str]:
    return {k: v["id"] if isinstance(v, dict) else v for k, v in enumeration.items()}


def test_dm_types_are_ours() -> None:
    from rsciio_tem.formats.dm.image import COLOURS, HALF_PLANES, HEARSAY, OLD_HALF_PLANE
    from rsciio_tem.formats.dm.image import TYPES as IMAGE_TYPES
    from rsciio_tem.parsing.dm_tags import TYPES

    enums = specification("dm")["enums"]
    names = named(enums["value_type"])
    # booleans have a byte of their own
    ours = {code: np.dtype(kind).name for code, kind in TYPES.items()}
    assert {code: name for code, name in names.items() if code < 15} == {**ours, 8: "boolean"}
    kinds = named(enums["data_type"])
    wanted = {code: np.dtype(kind).name for code, kind in IMAGE_TYPES.items()}
    wanted = {code: name.replace("bool", "boolean") for code, name in wanted.items()}
    assert {c: kinds[c] for c in wanted if c not in HEARSAY} == {
        c: name for c, name in wanted.items() if c not in HEARSAY
    }
    assert set(kinds) - set(wanted) == {*COLOURS, *HALF_PLANES, OLD_HALF_PLANE}


def check_dm(path: Path) -> int:
    """Compare every tag with what our reader finds; -> number of values."""
    from rsciio_tem.parsing.dm_tags import TYPES, TagArray, read_tags

    content = path.read_bytes()
    oracle = Dm.from_bytes(content)
    order = "<" if oracle.little_endian else ">"
    found = 0

    def compare(group: Any, tree: dict[str, Any], within: str) -> None:
        nonlocal found
        assert len(tree) == len(group.tags) == group.num_tags.value
        for tag, (name, ours) in zip(group.tags, tree.items(), strict=True):
            if tag.name:
                assert name == tag.name or name.startswith(tag.name + "_")
            if isinstance(ours, dict):
                assert tag.kind == Dm.TagKind.group
                compare(tag.body, ours, tag.name)
                continue
            found += 1
            value, code = tag.body, tag.body.type.code.value
            if isinstance(ours, TagArray):
                nbytes = ours.count * ours.dtype.itemsize
                assert content[ours.offset : ours.offset + nbytes] == value.payload
                assert value.type.array.count.value == ours.count
            elif isinstance(ours, str):
                encoding = "utf-8" if code == 18 else f"utf-16-{'le' if order == '<' else 'be'}"
                assert value.payload.decode(encoding, "replace").rstrip("\0") == ours
            elif code in TYPES:
                (number,) = np.frombuffer(value.payload, order + TYPES[code])
                assert np.array_equal(number, ours, equal_nan=True)
            else:  # a structure, or a short array
                assert len(value.payload) == value.type.len
                assert isinstance(ours, (tuple, list))

    compare(oracle.root, read_tags(path), "")
    return found


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("little", [True, False])
def test_dm_oracle_agrees_with_reader(tmp_path: Path, version: int, little: bool) -> None:
    from rsciio_tem.formats import dm

    data = np.arange(3 * 4 * 6 * 10, dtype="u2").reshape(3, 4, 6, 10)
    image = dm_writer.image(data, tags=dm_writer.swapped(1))
    path = dm_writer.write_dm(tmp_path / "a.dm", [image], version=version, little=little)
    assert check_dm(path) > 30
    oracle = Dm.from_bytes(path.read_bytes())
    (images,) = [tag.body for tag in oracle.root.tags if tag.name == "ImageList"]
    (described,) = [tag.body for tag in images.tags[1].body.tags if tag.name == "ImageData"]
    (pixels,) = [tag.body for tag in described.tags if tag.name == "Data"]
    stored = np.frombuffer(pixels.payload, "<u2" if little else ">u2").reshape(data.shape)
    np.testing.assert_array_equal(stored, dm.file_reader(path)[0]["data"])


def test_dm_oracle_agrees_with_real_files() -> None:
    folder = REALDATA / "rosettasciio" / "digitalmicrograph"
    paths = [*folder.glob("*D/test*_*.dm[34]"), *folder.glob("3D/test-1*.dm[34]")]
    if not paths:
        pytest.skip(f"no files in {folder}")
    assert sum(map(check_dm, paths)) > 4000


def test_dm_oracle_refuses_other_content(tmp_path: Path) -> None:
    image = dm_writer.image(np.zeros((4, 6), "u2"))
    content = dm_writer.write_dm(tmp_path / "a.dm", [image]).read_bytes()
    for bad in (b"\0\0\0\5" + content[4:], content.replace(b"%%%%", b"%%%x", 1)):
        with pytest.raises(kaitaistruct.ValidationFailedError):
            Dm.from_bytes(bad)


# ---- TIA ---------------------------------------------------------------------------------------


def test_ser_records_have_the_fields_of_our_dtypes() -> None:
    from rsciio_tem.formats.ser.header import (
        DIMENSION,
        ELEMENTS,
        HEADER,
        IMAGE,
        MAGIC,
        SPECTRUM,
        TAG,
        TAGS,
        VERSIONS,
    )

    def named(kind: str) -> list[tuple[str, int]]:
        """Original names and sizes of the leading fields of fixed size."""
        found = []
        for field in specification("ser")["types"][kind]["seq"]:
            if "-orig-id" not in field:
                break
            size = len(field["contents"]) if "contents" in field else SIZES[field["type"]]
            found.append((field["-orig-id"], size))
        return found

    assert named("header") == dtype_fields(HEADER)
    assert named("dimension") == dtype_fields(DIMENSION)
    assert named("spectrum") == dtype_fields(SPECTRUM)
    assert named("image") == dtype_fields(IMAGE)
    assert named("tag") == dtype_fields(TAG)
    header = {f["id"]: f for f in specification("ser")["types"]["header"]["seq"]}
    assert header["version"]["valid"]["any-of"] == list(VERSIONS)
    assert sorted(header["kind"]["valid"]["any-of"]) == sorted(ELEMENTS)
    assert sorted(header["tag_kind"]["valid"]["any-of"]) == sorted(TAGS)
    assert bytes(header["byte_order"]["contents"] + header["series"]["contents"]) == MAGIC


def check_ser(path: Path) -> None:
    """Compare all that oracle and reader say about a series."""
    from rsciio_tem.formats import ser

    oracle = Ser.from_bytes(path.read_bytes())
    (signal,) = ser.file_reader(path)
    found = signal["original_metadata"]["ser_header_parameters"]
    elements = [e.data for e in oracle.elements]
    values = np.frombuffer(b"".join(e.values for e in elements), signal["data"].dtype)
    data = signal["data"].reshape(len(elements), *signal["data"].shape[-values_axes(oracle) :])
    data = data[:, ::-1] if data.ndim == 3 else data
    np.testing.assert_array_equal(values.reshape(data.shape), data)
    types = specification("ser")["types"]
    for kind, records in (
        ("header", [oracle.header]),
        ("image" if data.ndim == 3 else "spectrum", elements),
        ("tag", [e.tag for e in oracle.elements]),
    ):
        for field in types[kind]["seq"]:
            name = field.get("-orig-id")
            if name is None or name in ("TagTypeID", "ByteOrder", "SeriesID"):
                continue
            if name.startswith("Position") and oracle.header.tag_kind == ser_writer.TIME:
                continue
            told = [getattr(record, field["id"]) for record in records]
            np.testing.assert_array_equal(np.atleast_1d(found[name]), told, err_msg=name)
    for number, dimension in enumerate(oracle.dimensions, start=1):
        for field in types["dimension"]["seq"]:
            if "-orig-id" in field:
                told = getattr(dimension, field["id"])
                assert told == found[f"Dim-{number}_{field['-orig-id']}"]
    assert found["OffsetArrayOffset"] == oracle.ofs_table


def values_axes(oracle: Ser) -> int:
    """Axes of an element."""
    return 2 if oracle.header.kind == 0x4122 else 1


@pytest.mark.parametrize("version", [0x0210, 0x0220])
@pytest.mark.parametrize("tag", [ser_writer.TIME, ser_writer.TIME_AND_PLACE])
@pytest.mark.parametrize("dtype", ser_writer.TYPES)
@pytest.mark.parametrize("shape", [(4, 6), (9,)])
def test_ser_oracle_agrees_with_reader(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], tag: int, version: int
) -> None:
    rng = np.random.default_rng(8)
    elements = rng.integers(0, 100, (12, *shape)).astype(dtype)
    path = ser_writer.write_ser(
        tmp_path / "a_1.ser",
        elements,
        [ser_writer.place(4, 3e-9, 1e-9), ser_writer.place(3, -2e-9, 5e-9, 1)],
        tag=tag,
        version=version,
        places=rng.random((12, 2)),
        gaps=range(12),
    )
    check_ser(path)


def test_ser_oracle_agrees_with_real_files() -> None:
    paths = sorted(REALDATA.rglob("*.ser"))
    if not paths:
        pytest.skip(f"no recordings in {REALDATA}; set RSCIIO_TEM_REALDATA")
    for path in paths:
        check_ser(path)


# ---- pnCCD -------------------------------------------------------------------------------------


def test_frms6_headers_have_the_fields_of_our_dtypes() -> None:
    from rsciio_tem.formats.frms6 import header as header_module
    from rsciio_tem.formats.frms6.header import FRAME

    types = specification("frms6")["types"]
    assert placed_of(header_module.HEADER) == placed_fields(types["header"]["seq"])
    assert placed_of(FRAME) == placed_fields(types["frame_header"]["seq"])
    assert (header_module.HEADER.itemsize, FRAME.itemsize) == (1024, 64)


@pytest.mark.parametrize("count", [None, 0])
@pytest.mark.parametrize("windows", [None, [(1, 3), (0, 4), (0, 4), (2, 2), (1, 3)]])
@pytest.mark.filterwarnings("ignore:.*frames are windows")
def test_frms6_oracle_agrees_with_reader(tmp_path: Path, count: int | None, windows: Any) -> None:
    from rsciio_tem.formats import frms6

    stored = np.random.default_rng(5).integers(0, 16384, (5, 4, 6)).astype("u2")
    path = frms6_writer.write_frms6(tmp_path / "a.frms6", stored, count=count, windows=windows)
    with Frms6.from_file(path) as oracle:
        frames = oracle.frames if oracle.header.num_frames else oracle.frames_to_end
    (signal,) = frms6.file_reader(path, single_file=True, unfold=False, binning=1)
    assert len(frames) == len(signal["data"]) == 5
    for field in specification("frms6")["types"]["header"]["seq"]:
        found = signal["original_metadata"]["frms6_header"].get(field["id"])
        if "type" in field:
            assert getattr(oracle.header, field["id"]) == found
    assert oracle.header.dataset_id.rstrip(b"\0") == b"TEM"
    for frame, header, image in zip(
        frames, frms6.frame_headers(path, single_file=True), signal["data"], strict=True
    ):
        for field in specification("frms6")["types"]["frame_header"]["seq"][:-1]:
            assert getattr(frame.header, field["id"]) == header[field["id"]]
        begin, end = frame.header.the_start, frame.header.the_start + frame.rows
        assert image[begin:end].astype("<u2").tobytes() == frame.pixels
        assert not image[:begin].any()
        assert not image[end:].any()


@pytest.mark.parametrize(("position", "value"), [(0, 1), (2, 0), (7, 5)])
def test_frms6_oracle_refuses_other_content(tmp_path: Path, position: int, value: int) -> None:
    path = frms6_writer.write_frms6(tmp_path / "a.frms6", np.zeros((2, 4, 6), "u2"))
    content = bytearray(path.read_bytes())
    content[position] = value
    with pytest.raises(kaitaistruct.ValidationFailedError):
        Frms6(kaitaistruct.KaitaiStream(io.BytesIO(content)))
