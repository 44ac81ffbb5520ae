# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the writers with other programs, real recordings and slow readings of the layouts.

Real recordings are looked for in the folder named by RSCIIO_TEM_REALDATA, or in
``shared/realdata`` beside the repository.
"""

from __future__ import annotations

import io
import os
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from . import mib, npy, raw

REPOSITORY = Path(__file__).resolve().parents[2]
REALDATA = Path(os.environ.get("RSCIIO_TEM_REALDATA") or REPOSITORY.parent / "shared" / "realdata")
VENDOR = "mib/rsciio/Merlin_Single_Quad"
peers_warn = pytest.mark.filterwarnings("default")


def real_files(*patterns: str) -> list[Any]:
    """Parameters for a test with every real file that matches."""
    found = [path for pattern in patterns for path in sorted(REALDATA.glob(pattern))]
    missing = pytest.mark.skip(reason=f"no real files {' '.join(patterns)} in {REALDATA}")
    return [pytest.param(path, id=path.name) for path in found] or [
        pytest.param(None, marks=missing, id="missing")
    ]


def real_file(name: str) -> Path:
    path = REALDATA / name
    if not path.exists():
        pytest.skip(f"no real file {name} in {REALDATA}")
    return path


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(42)


# -- MIB: headers --------------------------------------------------------------------------------


def header_from_fields(text: str, utc_offset_s: int) -> bytes:
    """Write a header again from the values of its fields."""
    fields = text.split(",")
    end = fields.index("MQ1A")
    chips = int(fields[3])
    options: dict[str, Any] = {"thresholds": fields[14:22]}
    dacs = [fields[start + 1 : start + 28] for start in range(22, end, 28)]
    if dacs:
        options["dac_values"] = [[int(value) for value in values] for values in dacs]
    else:
        options["dacs"] = False
    unit = fields[end + 2][-2:]
    return mib.header(
        sequence=int(fields[1]),
        shape=(int(fields[5]), int(fields[4])),
        depth=int(fields[end + 3]),
        pixel_type=fields[6],
        layout=fields[7].strip(),
        chips=chips,
        time_ns=int(np.datetime64(fields[end + 1].rstrip("Z"), "ns").astype(np.int64)),
        exposure_ns=int(fields[end + 2].removesuffix(unit)),
        counter=int(fields[11]),
        colour=int(fields[12]),
        gain=int(fields[13]),
        utc_offset_s=utc_offset_s,
        ns_unit=unit,
        data_offset=int(fields[2]),
        **options,
    )


def utc_offset(text: str) -> int:
    """Local minus UTC time of a header, to the second."""
    fields = text.split(",")
    local = np.datetime64(fields[9].replace(" ", "T"), "us")
    utc = np.datetime64(fields[fields.index("MQ1A") + 1].rstrip("Z")[:-3], "us")
    return int((local - utc) / np.timedelta64(1, "s"))


@pytest.mark.parametrize(
    "path",
    real_files("mib/rsciio/*/*.mib", "mib/skued/*.mib", "mib/matkraj/*.mib", "mib/*/*.mib_header"),
)
def test_header_is_that_of_real_file(path: Path) -> None:
    content = path.read_bytes()
    starts = [
        i for i in range(0, len(content), 128) if content.startswith(b"MQ1,", i)
    ]  # sizes of headers and frames are multiples of 128
    assert starts
    for start in starts:
        size = int(content[start + 11 : start + 16])
        real = content[start : start + size]
        text = real.rstrip(b"\0").decode("ascii")
        assert header_from_fields(text, utc_offset(text)) == real


DACS_2017 = (
    "060,510,000,000,000,000,000,000,100,010,100,125,100,100,064,100,070,030,128,004,255,125,128,"
    "179,167,511,511"
)
ZEROS = ",".join(["0.000000E+0"] * 8)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "MQ1,000001,00384,01,0128,0128,U16,   2x2,01,2015-08-27 18:10:36.025832,0.010000,0,1,0,"
            f"{ZEROS},3RX,{DACS_2017},MQ1A,2015-08-27T17:10:36.025832396Z,10000000nS,12,",
            id="0.65.8",
        ),
        pytest.param(
            "MQ1,000001,00384,01,0512,0256,R64,   1x1,01,2017-11-10 15:41:20.880248,0.005000,0,0,0,"
            ",MQ1A,2017-11-10T15:41:20.880248165Z,5000000ns,24,",
            id="0.67.0.6-raw",
        ),
        pytest.param(
            "MQ1,000001,00384,01,0256,0256,U16,   1x1,01,2021-10-04 12:57:48.710465,0.001000,0,0,0,"
            "5.700000E+1,5.110000E+2,0.000000+0,0.000000E+0,0.000000E+0,0.000000E+0,0.000000E+0,"
            f"0.000000E+0,3RX,{DACS_2017},MQ1A,2021-10-04T16:57:48.710465438Z,1000000ns,12,",
            id="0.77.0.16-malformed-threshold",
        ),
    ],
)
def test_header_of_other_software_versions(text: str) -> None:
    assert header_from_fields(text, utc_offset(text)) == text.encode().ljust(384, b"\0")


def test_legacy_header() -> None:
    dacs = (
        "150,020,000,000,000,000,000,000,100,010,125,125,100,100,080,100,120,050,128,004,255,108,"
        "120,160,148,401,401"
    )
    written = mib.legacy_headers(
        [1],
        times_ns=np.datetime64("2015-08-11T17:55:11.682", "ns").astype(np.int64),
        exposures_ns=1_000_000,
        thresholds=(27.0, 3.6),
        dac_values=[int(value) for value in dacs.split(",")],
    )
    known = f"12B,000001,0,2015-08-11 17:55:11.682,1.000000E+0,2.700000E+1,3.600000E+0,{dacs}"
    assert written.tobytes() == known.encode().ljust(256, b"\0")


def test_header_options() -> None:
    plain = mib.header()
    text = plain.rstrip(b"\0")
    assert len(plain) == 384
    assert mib.header(pad=b" ") == text.ljust(384)
    assert mib.header(data_offset=512)[11:16] == b"00512"
    assert len(mib.header(data_offset=512)) == 512
    assert mib.header(pad=None) == text.replace(b"00384", b"%05d" % len(text))
    assert mib.header(mq1a=False).rstrip(b"\0").endswith(b",511,511,")
    assert mib.header(mq1a=False, dacs=False).rstrip(b"\0").endswith(b",0.001000,0,0,0,,")
    assert b",07/05/2021 16:51:10.905800," in mib.header(day_first=True)
    assert mib.header(inserted=("OPT1", "END1")).split(b",")[22:25] == [b"OPT1", b"END1", b"3RX"]
    assert mib.header(chips=4, layout="2x2").split(b",")[7:9] == [b"   2x2", b"0F"]
    assert [len(mib.header(chips=chips, layout="Nx1")) for chips in (2, 3)] == [512, 640]
    assert mib.header(chips=4, chip_select=0b0101).split(b",")[8] == b"05"
    with pytest.raises(ValueError, match="do not fit"):
        mib.header(data_offset=128)
    with pytest.raises(ValueError, match="lengths"):
        mib.headers([1, 2], pad=None, exposures_ns=[1, 1000])


# -- MIB: .hdr -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", real_files("mib/rsciio/*/*.hdr", "mib/pyxem_headers/*.hdr"))
def test_hdr_is_that_of_real_file(path: Path) -> None:
    real = path.read_bytes()
    values = {}
    for line in real.decode("latin-1").split("\r\n")[1:-1]:
        key, _, value = line.partition(":\t")
        values[key.partition("(")[0].strip()] = value
    assert mib.hdr_text(0, values=values) == real
    # and what the parameters stand for
    named = {
        "frames": int(values["Frames in Acquisition"]),
        "frames_per_trigger": int(values["Frames per Trigger"]),
        "depth": int(values["Counter Depth"]),
        "software": values["Software Version"],
        "trigger_start": values["Trigger Start"],
        "trigger_stop": values["Trigger Stop"],
        "active_counters": values["Active Counters"],
        "chip_mode": values["Chip Mode"],
        "layout": values["Assembly Size"].strip(),
        "gain": values["Gain"],
        "date": values["Time and Date Stamp"],
    }
    free = ("Chip ID", "Thresholds", "DACs", "bpc File", "DAC File", "Temperature", "Humidity")
    free += ("Medipix Clock",)
    assert mib.hdr_text(**named, values={key: values[key] for key in free}) == real


def test_hdr_options() -> None:
    old = mib.hdr_text(9, micro=True, drop=("Frames per Trigger", "Gap Fill Mode", "End"))
    assert len(old) == 2048
    assert b"\r\nSensor Bias (V, \xb5A)\t120 V\r\n" in old
    assert b"Trigger (Number)" not in old
    assert b"Gap Fill" not in old
    assert old.rstrip().endswith(b"Software Version:\t0.77")
    assert b"\r\nScanX:\t7\r\nScanY:\t5\r\nEnd\t " in mib.hdr_text(35, scan_x=7, scan_y=5)
    with pytest.raises(ValueError, match="no such lines"):
        mib.hdr_text(1, drop=("Frames per trigger",))


@peers_warn
@pytest.mark.parametrize(
    ("options", "nav_shape"),
    [
        ({"frames_per_trigger": 3}, (2, 3)),
        ({"frames_per_trigger": 1, "scan_x": 2, "scan_y": 3, "software": "1.5"}, (3, 2)),
    ],
)
def test_hdr_in_libertem(
    tmp_path: Path, libertem: Any, options: dict[str, Any], nav_shape: tuple[int, int]
) -> None:
    path = mib.write_mib(tmp_path / "a.mib", np.zeros((6, 4, 16), np.uint8), 6, hdr=options)
    dataset = libertem.load("mib", path=str(path.with_suffix(".hdr")))
    assert tuple(dataset.shape.nav) == nav_shape


# -- MIB: frames ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def libertem() -> Any:
    import libertem.api

    context = libertem.api.Context.make_with("inline")
    yield context
    context.close()


def libertem_frames(context: Any, path: Path, count: int) -> np.ndarray:
    """Read all frames. Only buffered reading can handle any number of 1-bit raw frames."""
    from libertem.io.dataset.base import BufferedBackend
    from libertem.udf.raw import PickUDF

    dataset = context.load(
        "mib", path=str(path), nav_shape=(count,), disable_glob=True, io_backend=BufferedBackend()
    )
    picked = context.run_udf(dataset=dataset, udf=PickUDF(), roi=np.ones(count, bool))
    return np.asarray(picked["intensity"].data)


SINGLE_AND_QUAD = pytest.mark.parametrize(
    ("layout", "shape"),
    [("1x1", (256, 256)), ("1x1", (64, 256)), ("2x2", (512, 512)), ("2x2G", (514, 514))],
)


@peers_warn
@SINGLE_AND_QUAD
@pytest.mark.parametrize("depth", [1, 6, 12, 24])
def test_processed_frames_in_libertem(
    tmp_path: Path,
    libertem: Any,
    rng: np.random.Generator,
    depth: int,
    layout: str,
    shape: tuple[int, int],
) -> None:
    frames = rng.integers(0, 1 << depth, (3, *shape))
    path = mib.write_mib(tmp_path / "a.mib", frames, depth, layout=layout)
    np.testing.assert_array_equal(libertem_frames(libertem, path, 3), frames)


@peers_warn
@SINGLE_AND_QUAD
@pytest.mark.parametrize("depth", [1, 6, 12, 24])
def test_processed_frames_in_rosettasciio(
    tmp_path: Path, rng: np.random.Generator, depth: int, layout: str, shape: tuple[int, int]
) -> None:
    from rsciio import quantumdetector

    frames = rng.integers(0, 1 << depth, (6, *shape))
    path = mib.write_mib(tmp_path / "a.mib", frames, depth, layout=layout, hdr={})
    np.testing.assert_array_equal(quantumdetector.load_mib_data(str(path)), frames)
    loaded = quantumdetector.file_reader(str(path), navigation_shape=(3, 2))[0]
    np.testing.assert_array_equal(loaded["data"], frames.reshape(2, 3, *shape)[:, :, ::-1])
    hdr = loaded["original_metadata"]["hdr_file"]
    assert hdr["Frames in Acquisition (Number)"] == "6"
    assert hdr["Counter Depth (number)"] == str(depth)


@peers_warn
def test_times_in_rosettasciio(tmp_path: Path, rng: np.random.Generator) -> None:
    from rsciio import quantumdetector

    times = mib.START_NS + rng.integers(0, 10**12, 10)
    exposures = rng.integers(1, 2**40, 10)
    frames = np.zeros((10, 4, 16), np.uint8)
    path = mib.write_mib(
        tmp_path / "a.mib", frames, 6, times_ns=times, exposures_ns=exposures, first_sequence=7
    )
    _, headers = quantumdetector.load_mib_data(str(path), return_headers=True)
    read = quantumdetector.parse_timestamps(headers)
    np.testing.assert_array_equal(
        [np.datetime64(text.rstrip("Z")) for text in read], times.view("M8[ns]")
    )
    np.testing.assert_allclose(
        quantumdetector.parse_exposures(headers), exposures / 1e6, rtol=1e-12
    )
    assert [int(header.split(b",")[1]) for header in headers] == list(range(7, 17))


@peers_warn
@pytest.mark.parametrize(
    ("layout", "shape"), [("1x1", (256, 256)), ("1x1", (64, 256)), ("2x2", (512, 512))]
)
@pytest.mark.parametrize("depth", [1, 6, 12])
def test_raw_frames_in_libertem(
    tmp_path: Path,
    libertem: Any,
    rng: np.random.Generator,
    depth: int,
    layout: str,
    shape: tuple[int, int],
) -> None:
    frames = rng.integers(0, 1 << depth, (3, *shape))
    path = mib.write_mib(tmp_path / "a.mib", frames, depth, "raw", layout)
    np.testing.assert_array_equal(libertem_frames(libertem, path, 3), frames)


@peers_warn
def test_raw_24_bit_in_libertem(tmp_path: Path, libertem: Any, rng: np.random.Generator) -> None:
    # LiberTEM keeps the low 16 bits and misses where the second frame begins.
    frame = rng.integers(0, 1 << 24, (256, 256))
    path = mib.write_mib(tmp_path / "a.mib", frame, 24, "raw")
    assert path.read_bytes().split(b",", 6)[4:6] == [b"0512", b"0256"]
    np.testing.assert_array_equal(libertem_frames(libertem, path, 1)[0], frame % 65536)


@peers_warn
@pytest.mark.parametrize("sensor", ["Single", "Quad"])
@pytest.mark.parametrize("count", [1, 9])
def test_raw_real_file_written_again(
    tmp_path: Path, libertem: Any, sensor: str, count: int
) -> None:
    path = real_file(f"{VENDOR}/{sensor}_{count}_Frame_CounterDepth_1_Rows_256RAW.mib")
    images = libertem_frames(libertem, path, count)
    layout, head = ("1x1", 384) if sensor == "Single" else ("2x2", 768)
    written = mib.write_mib(tmp_path / "a.mib", images, 1, "raw", layout)
    real, again = (
        np.fromfile(file, np.uint8).reshape(count, -1)[:, head:] for file in (path, written)
    )
    assert real.any()
    np.testing.assert_array_equal(again, real)


@pytest.mark.parametrize("sensor", ["Single", "Quad"])
def test_raw_arrangement_matches_processed_twin(sensor: str) -> None:
    """Pixels that never count are the same ones in a raw and in a processed recording."""
    name = f"{VENDOR}/{sensor}_9_Frame_CounterDepth_1_Rows_256"
    shape, head = ((256, 256), 384) if sensor == "Single" else ((512, 512), 768)
    processed = np.fromfile(real_file(f"{name}.mib"), np.uint8).reshape(9, -1)[:, head:]
    silent = (processed.max(axis=0) == 0).reshape(shape)
    content = np.fromfile(real_file(f"{name}RAW.mib"), np.uint8).reshape(9, -1)[:, head:]
    raw_silent = np.bitwise_or.reduce(content, axis=0) ^ 0xFF
    encode = mib.encode_raw if sensor == "Single" else mib.quad_to_raw
    expected = np.frombuffer(encode(silent, 1), np.uint8)
    both = np.unpackbits(expected & raw_silent).sum()
    assert 0 < silent.sum() < silent.size
    assert both > 0.999 * silent.sum()
    upside_down = np.frombuffer(encode(silent[::-1], 1), np.uint8)
    assert np.unpackbits(upside_down & raw_silent).sum() < 0.999 * silent.sum()


def slow_raw_pixels(content: bytes, depth: int, count: int) -> list[int]:
    """Read raw pixels one by one: 64-bit big-endian words, first pixel in the low bits."""
    if depth == 24:
        half = len(content) // 2
        high = slow_raw_pixels(content[:half], 12, count)
        low = slow_raw_pixels(content[half:], 12, count)
        return [(a << 12) + b for a, b in zip(high, low, strict=True)]
    bits = {1: 1, 6: 8, 12: 16}[depth]
    per_word = 64 // bits
    pixels = []
    for i in range(count):
        word = int.from_bytes(content[i // per_word * 8 :][:8], "big")
        pixels.append(word >> bits * (i % per_word) & ((1 << bits) - 1))
    return pixels


@pytest.mark.parametrize("depth", [1, 6, 12, 24])
def test_raw_pixel_by_pixel(rng: np.random.Generator, depth: int) -> None:
    frame = rng.integers(0, 1 << depth, (4, 64))
    content = mib.encode_raw(frame, depth)
    assert len(content) * 8 == frame.size * {1: 1, 6: 8, 12: 16, 24: 32}[depth]
    assert slow_raw_pixels(content, depth, frame.size) == frame.ravel().tolist()


@pytest.mark.parametrize("depth", [1, 6, 12, 24])
def test_raw_quad_pixel_by_pixel(rng: np.random.Generator, depth: int) -> None:
    rows, columns = 3, 16
    image = rng.integers(0, 1 << depth, (2 * rows, 2 * columns))
    read = slow_raw_pixels(mib.quad_to_raw(image, depth), depth, image.size)
    stored = np.array(read).reshape(rows, 4, columns)
    for y in range(2 * rows):
        for x in range(2 * columns):
            row, column = y % rows, x % columns
            if y < rows:  # chip 1 is left, chip 2 right
                block = 3 if x < columns else 2
            else:  # chip 3 is left, chip 4 right, both upside down
                block = 1 if x < columns else 0
                row, column = rows - 1 - row, columns - 1 - column
            assert image[y, x] == stored[row, block, column]


@pytest.mark.parametrize("layout", ["2x2", "2x2G"])
@pytest.mark.parametrize(("depth", "width"), [(1, 1024), (6, 1024), (12, 1024), (24, 2048)])
def test_raw_quad_header(tmp_path: Path, layout: str, depth: int, width: int) -> None:
    image = np.zeros((128, 512), np.uint8)
    path = mib.write_mib(tmp_path / "a.mib", image, depth, "raw", layout)
    fields = path.read_bytes()[:768].decode().split(",")
    assert fields[2:9] == ["00768", "04", f"{width:04d}", "0064", "R64", f"{layout:>6}", "0F"]
    assert path.stat().st_size == 768 + len(mib.quad_to_raw(image, depth))


def test_chips_in_a_row(tmp_path: Path) -> None:
    image = np.repeat([[1, 2, 3]], 256, axis=1) + np.zeros((4, 1), np.int64)
    processed = mib.write_mib(tmp_path / "a.mib", image, 6, layout="Nx1").read_bytes()
    raw_file = mib.write_mib(tmp_path / "b.mib", image, 6, "raw", "Nx1").read_bytes()
    for content, pixel_type in ((processed, "U08"), (raw_file, "R64")):
        fields = content[:640].decode().split(",")
        assert fields[2:9] == ["00640", "03", "0768", "0004", pixel_type, "   Nx1", "07"]
    assert processed[640:] == image.astype(np.uint8).tobytes()
    # chips one by one, the last one first
    assert (
        np.frombuffer(raw_file[640:], np.uint8).reshape(4, 3, 256)[:, :, 0].tolist()
        == [[3, 2, 1]] * 4
    )


def test_64_bit_pixels(tmp_path: Path) -> None:
    image = np.array([[1, 2**40], [3, 2**63]], np.uint64)
    content = mib.write_mib(tmp_path / "a.mib", image, 24, pixel_type="U64").read_bytes()
    assert content.split(b",", 7)[6] == b"U64"
    pixels = [int.from_bytes(content[i : i + 8], "big") for i in range(384, len(content), 8)]
    assert pixels == image.ravel().tolist()


def test_frames_that_cannot_be_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.mib"
    with pytest.raises(ValueError, match="pixels must be in 0 <= value < 256"):
        mib.write_mib(path, [[[256]]], 6)
    with pytest.raises(ValueError, match="pixels must be in 0 <= value < 2"):
        mib.write_mib(path, np.full((1, 8, 8), 2), 1, "raw")
    with pytest.raises(ValueError, match="pixels must be in"):
        mib.write_mib(path, [[[-1]]], 6)
    with pytest.raises(TypeError, match="integers"):
        mib.write_mib(path, [[[0.5]]], 6)
    with pytest.raises(ValueError, match="64-bit words"):
        mib.encode_raw(np.zeros((1, 32), np.uint8), 1)
    with pytest.raises(ValueError, match="12B files"):
        mib.write_mib(path, [[[0]]], 24, legacy="12B")


# -- MIB: files ----------------------------------------------------------------------------------


def messages(stream: bytes) -> list[bytes]:
    """Take a network stream apart; a length counts from the comma that follows it."""
    found = []
    while stream:
        assert stream[:4] == b"MPX,"
        length = int(stream[4:14])
        body = stream[14 : 14 + length]
        assert body[:1] == b","
        assert len(body) == length
        found.append(body[1:])
        stream = stream[14 + length :]
    return found


def test_network_stream(tmp_path: Path, rng: np.random.Generator) -> None:
    frames = rng.integers(0, 64, (3, 4, 16))
    plain = mib.write_mib(tmp_path / "a.mib", frames, 6).read_bytes()
    path = mib.write_mib(tmp_path / "b.mib", frames, 6, mpx=True, hdr={"frames_per_trigger": 3})
    first, *others = messages(path.read_bytes())
    assert len(others) == 3
    assert b"".join(others) == plain
    assert first == path.with_suffix(".hdr").read_bytes()
    assert first == mib.hdr_text(3, 3, 6)
    assert path.read_bytes()[:15] == b"MPX,0000002049,"


@pytest.mark.parametrize(("legacy", "dtype"), [("12B", ">u2"), ("24B", ">u4")])
def test_legacy_file(tmp_path: Path, rng: np.random.Generator, legacy: Any, dtype: str) -> None:
    depth = int(legacy[:2])
    frames = rng.integers(0, 1 << depth, (2, 256, 256))
    path = mib.write_mib(tmp_path / "a.mib", frames, depth, legacy=legacy, exposures_ns=2_500_000)
    read = np.fromfile(path, [("header", "S256"), ("pixels", dtype, (256, 256))])
    np.testing.assert_array_equal(read["pixels"], frames)
    fields = [header.decode().split(",") for header in read["header"]]
    assert [row[:5] for row in fields] == [
        [legacy, "000001", "0", "2021-05-07 16:51:10.905", "2.500000E+0"],
        [legacy, "000002", "0", "2021-05-07 16:51:10.908", "2.500000E+0"],
    ]
    assert {len(row) for row in fields} == {34}


def test_file_options(tmp_path: Path) -> None:
    frames = np.arange(4 * 4 * 16, dtype=np.uint8).reshape(2, 2, 4, 16) % 64
    path = tmp_path / "a.mib"
    whole = mib.write_mib(path, frames, 6).read_bytes()
    assert len(whole) == 4 * (384 + 64)
    assert not path.with_suffix(".hdr").exists()
    assert mib.write_mib(path, frames, 6, truncate=70).read_bytes() == whole[:-70]
    assert mib.write_mib(path, frames[:0], 6).read_bytes() == b""

    changed = mib.write_mib(path, frames, 6, sequences=[3, 4, 6, 9], counters=[0, 1, 0, 1])
    fields = [changed.read_bytes()[i:][:384].split(b",") for i in range(0, len(whole), 448)]
    assert [int(row[1]) for row in fields] == [3, 4, 6, 9]
    assert [int(row[11]) for row in fields] == [0, 1, 0, 1]


@peers_warn
@pytest.mark.parametrize("all_headers", [False, True])
def test_sparse_file(tmp_path: Path, rng: np.random.Generator, all_headers: bool) -> None:
    from rsciio import quantumdetector

    count, frame = 500, rng.integers(0, 4096, (64, 256))
    path = mib.write_sparse_mib(
        tmp_path / "a.mib",
        count,
        (64, 256),
        12,
        frames={7: frame},
        positions=(3, 100),
        all_headers=all_headers,
        exposures_ns=2_000_000,
        hdr={"frames_per_trigger": 50},
    )
    data, headers = quantumdetector.load_mib_data(str(path), return_headers=True)
    written = [i for i in range(count) if headers[i]]
    assert written == (list(range(count)) if all_headers else [0, 3, 7, 100, 499])
    dense = mib.headers(
        np.arange(1, count + 1),
        (64, 256),
        12,
        times_ns=mib.START_NS + 2_000_000 * np.arange(count),
        exposures_ns=2_000_000,
    )
    stride = 384 + 64 * 256 * 2
    content = path.read_bytes()
    assert len(content) == count * stride
    for i in written:
        assert content[i * stride :][:384] == dense[i].tobytes()
    np.testing.assert_array_equal(data[7], frame)
    assert not data[:7].any()
    assert not data[8:].any()
    assert path.with_suffix(".hdr").read_bytes() == mib.hdr_text(count, 50, 12)
    with pytest.raises(ValueError, match="positions"):
        mib.write_sparse_mib(path, 5, positions=[5])


def test_sparse_file_is_small(tmp_path: Path) -> None:
    path = mib.write_sparse_mib(tmp_path / "a.mib", 100_000)
    status = path.stat()
    assert status.st_size == 100_000 * (384 + 2 * 256**2)
    if getattr(status, "st_blocks", None) is None:
        pytest.skip("this system does not tell how much space a file takes")
    if status.st_blocks * 512 > 10**9:
        pytest.skip("this file system has no holes in files")
    assert status.st_blocks * 512 < 10**7


# -- MIB: timing ---------------------------------------------------------------------------------


def test_scan_times(rng: np.random.Generator) -> None:
    times, exposures = mib.scan_times((5, 7), 1_000_000, 20_000, 10, rng, exposure_ns=900_000)
    assert times.dtype == exposures.dtype == np.int64
    assert set(exposures.tolist()) == {900_000}
    steps = np.diff(times)
    line_ends = np.arange(1, 35) % 7 == 0
    assert set(steps[line_ends] - 1_020_000) <= set(range(-20, 21, 10))
    assert set(steps[~line_ends] - 1_000_000) <= set(range(-20, 21, 10))
    assert len(set(steps.tolist())) > 2

    exact, exposures = mib.scan_times((2, 3), 1000, 50, 0)
    assert (exact - exact[0]).tolist() == [0, 1000, 2000, 3050, 4050, 5050]
    assert set(exposures.tolist()) == {1000}
    with pytest.raises(TypeError, match="random generator"):
        mib.scan_times((2, 3))


def test_flyback_exposures() -> None:
    exposures = mib.flyback_exposures(20, 257)
    assert len(exposures) == 41 + 20 * 257
    assert exposures[0] == 326_000_000
    assert np.flatnonzero(exposures == 1_800_000).tolist() == list(range(41, 41 + 20 * 257, 257))
    assert np.count_nonzero(exposures == 900_000) == len(exposures) - 21
    assert mib.flyback_exposures(2, 2, 0, startup_ns=None).tolist() == [1_800_000, 900_000] * 2
    with pytest.raises(ValueError, match="start-up"):
        mib.flyback_exposures(2, 2, 0)


# -- raw binary ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<i4", ">i4", "<f4", ">f8", "<c8"])
def test_raw_binary(tmp_path: Path, rng: np.random.Generator, dtype: str) -> None:
    frames = rng.integers(0, 100, (2, 3, 4, 5)).astype(dtype)
    path = raw.write_raw(tmp_path / "a.raw", frames, None, 11, 3, b"end")
    read = np.fromfile(
        path, [("header", "V3"), ("pixels", dtype, (4, 5)), ("footer", "S3")], offset=11
    )
    np.testing.assert_array_equal(read["pixels"].reshape(frames.shape), frames)
    assert read["header"].tobytes() == raw.FILL * 3 * 6
    assert set(read["footer"].tolist()) == {b"end"}
    assert path.read_bytes()[:11] == raw.FILL * 11
    wide = frames.astype("c16" if dtype == "<c8" else "f8")
    plain = raw.write_raw(tmp_path / "b.raw", wide, dtype, truncate=1)
    assert plain.read_bytes() == frames.tobytes()[:-1]
    assert raw.write_raw(tmp_path / "b.raw", frames[:0], dtype, 5).read_bytes() == raw.FILL * 5
    sums = raw.write_raw(tmp_path / "c.raw", frames.reshape(6, 20), None, 0, 1, sig_dims=1)
    assert sums.stat().st_size == frames.nbytes + 6


@peers_warn
def test_raw_binary_in_libertem(tmp_path: Path, libertem: Any, rng: np.random.Generator) -> None:
    from libertem.udf.raw import PickUDF

    frames = rng.integers(0, 65536, (6, 4, 5))
    path = raw.write_raw(tmp_path / "a.raw", frames, ">u2")
    dataset = libertem.load("raw", path=str(path), dtype=">u2", nav_shape=(6,), sig_shape=(4, 5))
    picked = libertem.run_udf(dataset=dataset, udf=PickUDF(), roi=np.ones(6, bool))
    np.testing.assert_array_equal(picked["intensity"].data, frames)


def slow_unpack(content: bytes, dtype: str, count: int) -> list[int]:
    """Read packed pixels one by one, out of the file taken as one number."""
    bits = int(dtype.removeprefix(dtype[0] if dtype[0] in "<>" else "").removeprefix("uint"))
    mask = (1 << bits) - 1
    if dtype[0] == ">":
        number = int.from_bytes(content, "big")
        total = 8 * len(content)
        return [number >> (total - bits * (i + 1)) & mask for i in range(count)]
    number = int.from_bytes(content, "little")
    return [number >> (bits * i) & mask for i in range(count)]


@pytest.mark.parametrize("dtype", ["uint1", ">uint1", "<uint12", ">uint12"])
def test_packed_pixels(tmp_path: Path, rng: np.random.Generator, dtype: str) -> None:
    bits = int(dtype.split("uint")[1])
    frames = rng.integers(0, 1 << bits, (3, 4, 6))
    path = raw.write_raw(tmp_path / "a.raw", frames, dtype)
    content = path.read_bytes()
    assert len(content) * 8 == frames.size * bits
    assert slow_unpack(content, dtype, frames.size) == frames.ravel().tolist()
    framed = raw.write_raw(tmp_path / "b.raw", frames, dtype, 2, 1, 1).read_bytes()
    rows = np.frombuffer(framed[2:], np.uint8).reshape(3, -1)
    assert rows[:, 1:-1].tobytes() == content
    with pytest.raises(ValueError, match="do not fit"):
        raw.write_raw(path, np.full((1, 2, 4), 1 << bits), dtype)
    with pytest.raises(ValueError, match="whole bytes"):
        raw.write_raw(path, np.zeros((1, 1, 3), int), dtype)


def test_raw_binary_keeps_values(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        raw.write_raw(tmp_path / "a.raw", [[[256]]], "u1")
    with pytest.raises(ValueError, match="do not fit"):
        raw.write_raw(tmp_path / "a.raw", [[[0.1]]], "<f4")
    nan = np.array([[[np.nan]]])
    assert raw.write_raw(tmp_path / "a.raw", nan, ">f8").read_bytes() == nan.astype(">f8").tobytes()


@pytest.mark.parametrize("format", ["toml", "yaml"])
def test_side_file(tmp_path: Path, format: Any) -> None:
    params = {
        "dtype": "<u2",
        "sig_shape": (128, 64),
        "nav_shape": [3, 5],
        "offset": 16,
        "frame_footer": 4,
        "note": 'tilted by 3° "about x"',
    }
    path = raw.side_file(tmp_path / "scan.raw", format, **params)
    assert path == tmp_path / f"scan.{format}"
    text = path.read_text(encoding="utf-8")
    read = tomllib.loads(text) if format == "toml" else yaml.safe_load(text)
    assert read == {"params": {"filetype": "raw", **params, "sig_shape": [128, 64]}}
    assert "RAW" in raw.side_file(path, format, filetype="RAW").read_text()


# -- NumPy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("dtype", ["|u1", ">u2", "<i4", "<f4", ">f8", "<c16", "|b1"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (7,), (), (0, 4, 5)])
def test_npy(
    tmp_path: Path,
    rng: np.random.Generator,
    shape: tuple[int, ...],
    dtype: str,
    fortran: bool,
    version: tuple[int, int],
) -> None:
    array = np.asarray(rng.integers(0, 2, shape)).astype(dtype)
    path = npy.write_npy(tmp_path / "a.npy", array, fortran, version)
    read = np.load(path)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)
    with path.open("rb") as file:
        assert np.lib.format.read_magic(file) == version
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(file)
            assert header == (shape, fortran, array.dtype)
    content = path.read_bytes()
    start = content.index(b"\n") + 1
    assert start % 64 == 0
    assert len(content) - start == array.nbytes


@pytest.mark.filterwarnings("ignore:Stored array in format:UserWarning")
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_is_what_numpy_writes(version: tuple[int, int], order: Any) -> None:
    array = np.asarray(np.arange(24, dtype=">u2").reshape(2, 3, 4), order=order)
    expected = io.BytesIO()
    np.lib.format.write_array(expected, array, version=version)
    written = npy.npy_bytes(array, order == "F", version)
    # NumPy leaves room for the shape to grow, so only the padding may differ
    start, numpy_start = written.index(b"\n"), expected.getvalue().index(b"\n")
    size_bytes = 2 if version == (1, 0) else 4
    assert written[start:] == expected.getvalue()[numpy_start:]
    assert (
        written[8 + size_bytes : start].rstrip()
        == expected.getvalue()[8 + size_bytes : numpy_start].rstrip()
    )


def test_npy_options(tmp_path: Path) -> None:
    array = np.arange(12.0)
    path = npy.write_npy(tmp_path / "a.npy", array, truncate=9)
    assert path.read_bytes() == npy.npy_bytes(array)[:-9]
    old = npy.write_npy(tmp_path / "b.npy", array, align=16)
    assert (old.stat().st_size - array.nbytes) % 64 == 16
    np.testing.assert_array_equal(np.load(old), array)
    with pytest.raises(TypeError, match="plain arrays"):
        npy.npy_bytes(np.array([None]))


@pytest.mark.parametrize("compressed", [False, True])
def test_npz(tmp_path: Path, rng: np.random.Generator, compressed: bool) -> None:
    data = rng.integers(0, 9, (3, 4, 5)).astype(">u2")
    path = npy.write_npz(
        tmp_path / "a.npz", compressed=compressed, fortran=True, data=data, other=[1.5]
    )
    with np.load(path) as read:
        assert read.files == ["data", "other"]
        np.testing.assert_array_equal(read["data"], data)
        assert read["data"].dtype == data.dtype
        np.testing.assert_array_equal(read["other"], [1.5])
    with zipfile.ZipFile(path) as archive:
        methods = {member.compress_type for member in archive.infolist()}
    assert methods == {zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED}


def test_npz_with_members_of_both_kinds(tmp_path: Path) -> None:
    path = npy.write_mixed_npz(tmp_path / "a.npz", {"a": np.arange(9)}, {"b": np.zeros(99)})
    with zipfile.ZipFile(path) as archive:
        kinds = {member.filename: member.compress_type for member in archive.infolist()}
        assert archive.testzip() is None
    assert kinds == {"a.npy": zipfile.ZIP_STORED, "b.npy": zipfile.ZIP_DEFLATED}
    with np.load(path) as read:
        np.testing.assert_array_equal(read["a"], np.arange(9))
        np.testing.assert_array_equal(read["b"], np.zeros(99))
