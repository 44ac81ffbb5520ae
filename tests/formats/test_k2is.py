# SPDX-License-Identifier: GPL-3.0-or-later
"""K2 IS: bringing sectors together, lost blocks, where the shutter opens, hidden rows."""

from __future__ import annotations

import gc
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from oracles.k2is import K2is
from writers import k2is as writer

import rsciio_tem
from rsciio_tem.cli import main
from rsciio_tem.errors import FormatError, NotThisFormat, RecordingWarning, Truncated, Unsupported
from rsciio_tem.formats import k2is
from rsciio_tem.formats.k2is.header import HEADER, SYNC
from rsciio_tem.frames.blocks import BlockLayout, BlockTable, segments_of
from rsciio_tem.storage import backends

RNG = np.random.default_rng(2048)
BLOCK = (4, 16)  # small frames of 8 x 256, four blocks in each sector
SMALL = {"block": BLOCK}
FRAMES = RNG.integers(0, 4096, (10, 8, 256)).astype("u2")
ODD_SIZE = "other than the known"


def load(path: Path, **options: Any) -> dict[str, Any]:
    """Load, whatever it warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        (signal,) = k2is.file_reader(path, **options)
    return signal


def told(path: Path, **options: Any) -> str:
    """What parsing finds odd, but for the size of the small frames."""
    problems = k2is.parse(path, **options).problems
    return "\n".join(
        str(p) for p in problems if p.severity == "warning" and ODD_SIZE not in p.message
    )


def sector(i: int) -> slice:
    """Columns of a sector, 1 to 8."""
    return slice((i - 1) * 32, i * 32)


# ---------------------------------------------------------------- full frames, witnesses


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Four frames of 1860 x 2048 pixels; the shutter opens in the second."""
    folder = tmp_path_factory.mktemp("k2is")
    frames = np.random.default_rng(1).integers(0, 4096, (4, 1860, 2048)).astype("u2")
    writer.write_k2is(folder, frames, shutter_from=1, tags=writer.stem_tags(2, 2))
    return folder / "scan.gtg", frames


@pytest.mark.parametrize("name", ["scan.gtg", "scan1.bin", "scan8.bin"])
def test_full_frames(full: tuple[Path, np.ndarray], name: str) -> None:
    path, frames = full
    (signal,) = k2is.file_reader(path.with_name(name))
    np.testing.assert_array_equal(signal["data"], frames.reshape(2, 2, 1860, 2048))
    assert [axis["name"] for axis in signal["axes"]] == ["scan_y", "scan_x", "height", "width"]
    assert signal["metadata"]["Signal"]["signal_type"] == "electron_diffraction"
    original = signal["original_metadata"]
    assert original["block_header"]["block_size"] == 22360
    assert original["gtg"]["SI Dimensions"] == {"Size X": 2, "Size Y": 2}
    assert original["shutter"] == {"first_flagged_frame": 1}
    assert original["sectors"]["8"]["lost_blocks"] == 0


def test_recognised(full: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, frames = full
    for name in ("scan.gtg", "scan1.bin", "scan8.bin"):
        found = rsciio_tem.detect(path.with_name(name))
        assert (found[0].format, found[0].confidence > 0.9) == ("k2is", True)
    data = rsciio_tem.load(path.with_name("scan3.bin"), lazy=True)[0]["data"]
    np.testing.assert_array_equal(data[1, 1, 900:960, 250:300], frames[3, 900:960, 250:300])
    # a piece of a recording that begins within a block
    piece = tmp_path / "piece1.bin"
    piece.write_bytes(path.with_name("scan1.bin").read_bytes()[21000 : 21000 + 40 * 22360])
    assert rsciio_tem.detect(piece)[0].format == "k2is"
    # other .bin files are not ours
    other = tmp_path / "other1.bin"
    other.write_bytes(bytes(5000))
    assert [c for c in rsciio_tem.detect(other) if c.format == "k2is"] == []
    with pytest.raises(NotThisFormat, match=r"other1\.bin: holds no block"):
        k2is.parse(other)


def libertem_data(path: Path, nav_shape: tuple[int, ...] | None, **options: Any) -> np.ndarray:
    """Read with LiberTEM, which searches the shutter flag in steps of 400 frames."""
    api = pytest.importorskip("libertem.api", reason="LiberTEM is not installed")
    from libertem.io.dataset import k2is as theirs

    class Whole(api.UDF):  # type: ignore[misc, name-defined]
        def get_result_buffers(self) -> Any:
            shape = tuple(self.meta.dataset_shape.sig)
            return {"frames": self.buffer(kind="nav", extra_shape=shape, dtype="u2")}

        def process_frame(self, frame: Any) -> None:
            self.results.frames[:] = frame

    search = theirs.Sector.first_block_with_search
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            theirs.Sector,
            "first_block_with_search",
            lambda self, predicate, step=32: search(self, predicate, 32),
        )
        with api.Context.make_with("inline") as context:
            if nav_shape is not None:
                options["nav_shape"] = nav_shape
            dataset = context.load("k2is", path=str(path), **options)
            data = np.array(context.run_udf(dataset, Whole())["frames"].raw_data)
        del dataset
        gc.collect()  # it leaves files open
    return data


@pytest.mark.filterwarnings("ignore")
def test_same_as_libertem(full: tuple[Path, np.ndarray]) -> None:
    path, _ = full
    theirs = libertem_data(path, (2, 2))
    np.testing.assert_array_equal(load(path)["data"].reshape(theirs.shape), theirs)


@pytest.mark.filterwarnings("ignore")
def test_series_as_libertem_means_it(tmp_path: Path) -> None:
    """LiberTEM skips the frames before the shutter twice."""
    frames = RNG.integers(0, 4096, (4, 1860, 2048)).astype("u2")
    path = writer.write_k2is(tmp_path, frames, shutter_from=0, tags={"a": 1})
    theirs = libertem_data(path, None)
    np.testing.assert_array_equal(load(path)["data"], theirs)


def test_specification_agrees(full: tuple[Path, np.ndarray]) -> None:
    path, frames = full
    with K2is.from_file(str(path.with_name("scan2.bin"))) as oracle:
        assert (len(oracle.blocks), oracle.blocks_per_frame, oracle.remainder) == (128, 32, b"")
        data = np.zeros((4, 1860, 256), np.uint16)
        for block in oracle.blocks:
            h = block.header
            raw = np.frombuffer(block.pixels, "u1").reshape(-1, 3).astype(np.uint16)
            pixels = np.stack(
                [raw[:, 0] | (raw[:, 1] & 15) << 8, raw[:, 1] >> 4 | raw[:, 2] << 4], axis=1
            )
            i = (h.block_count - oracle.first_header.block_count) // 32
            data[i, h.y_start : h.y_end + 1, h.x_start : h.x_end + 1] = pixels.reshape(930, 16)
            assert h.shutter_active == (i >= 1)
    np.testing.assert_array_equal(data, frames[:, :, 256:512])
    np.testing.assert_array_equal(data, load(path)["data"].reshape(frames.shape)[:, :, 256:512])


def test_crop_and_dark_rows(full: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, frames = full
    (cropped,) = k2is.file_reader(path, crop=True)
    np.testing.assert_array_equal(cropped["data"].reshape(4, 1792, 1920), frames[:, :1792, :1920])
    dark = frames[:, 1792:].sum(axis=1, dtype="i8") // 68
    expected = frames.astype("i4") - dark[:, np.newaxis]
    for lazy in (False, True):
        with pytest.warns(RecordingWarning, match="known from one source"):
            (signal,) = k2is.file_reader(path, dark_rows=True, lazy=lazy)
        assert signal["data"].dtype == np.int16
        np.testing.assert_array_equal(np.asarray(signal["data"]).reshape(frames.shape), expected)
    data = load(path, dark_rows=True, crop=True, lazy=True)["data"]
    assert data.shape == (2, 2, 1792, 1920)
    np.testing.assert_array_equal(data[0, 1, 100:103, 255:258], expected[1, 100:103, 255:258])
    with pytest.raises(Unsupported, match="flip_y"):
        load(path, dark_rows=True, flip_y=True)
    # of a column whose hidden rows are lost nothing is known
    for i in range(1, 9):
        shutil.copy(path.with_name(f"scan{i}.bin"), tmp_path)
    lost = path.with_name("scan1.bin").read_bytes()
    with (tmp_path / "scan1.bin").open("wb") as file:  # a block of the lower, of the upper half
        file.write(lost[: 20 * 22360] + lost[21 * 22360 : 35 * 22360] + lost[36 * 22360 :])
    image = load(tmp_path / "scan1.bin", dark_rows=True, sync_offset=0, fill_value=-5)["data"]
    expected = expected.copy()
    expected[0, :, 176:192] = -5
    expected[1, :930, 192:208] = -5
    np.testing.assert_array_equal(image, expected)
    image = load(
        tmp_path / "scan1.bin", dark_rows=True, sync_offset=0, fill_value=np.nan, dtype="f4"
    )["data"]
    assert np.isnan(image[0, :, 176:192]).all()
    assert np.isnan(image).sum() == 1860 * 16 + 930 * 16


def test_crop_of_other_sizes(tmp_path: Path) -> None:
    path = writer.write_k2is(tmp_path, FRAMES, **SMALL)
    with pytest.raises(Unsupported, match="hidden rows and columns is unknown"):
        load(path, crop=True)


def test_other_sizes_are_taken_from_the_headers_with_a_warning(tmp_path: Path) -> None:
    frames = RNG.integers(0, 4096, (2, 930, 1024)).astype("u2")
    path = writer.write_k2is(tmp_path, frames, block=(465, 16))
    with pytest.warns(RecordingWarning, match=r"930 x 128 pixels in blocks of 465 x 16, other"):
        (signal,) = k2is.file_reader(path)
    np.testing.assert_array_equal(signal["data"], frames)


def test_flip(full: tuple[Path, np.ndarray]) -> None:
    path, frames = full
    data = load(path, flip_y=True, crop=True, lazy=True)["data"]
    np.testing.assert_array_equal(data[0, 0, :5], frames[0, 1787:1792, :1920][::-1])


# ---------------------------------------------------------------- where the recording begins


def numbered(n: int) -> np.ndarray:
    frames = np.zeros((n, 8, 256), np.uint16)
    frames += np.arange(1, n + 1, dtype=np.uint16)[:, np.newaxis, np.newaxis]
    return frames


def order(signal: dict[str, Any]) -> list[int]:
    """Number of the stored frame at each position; -1 for blanks."""
    return (signal["data"][..., 5, 77].reshape(-1).astype(int) - 1).tolist()


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("sync_offset", [None, 3, 4, 2, 1, 0, -2])
def test_sync_offset_counts_frames(tmp_path: Path, sync_offset: int | None, scan: bool) -> None:
    """LiberTEM: n of a scan is frame n - 1, 0 inserts a blank; in a series it is applied twice."""
    tags = writer.stem_tags(2, 3) if scan else None
    path = writer.write_k2is(tmp_path, numbered(10), shutter_from=3, tags=tags, **SMALL)
    begin = sync_offset if sync_offset is not None else (2 if scan else 3)
    stored = [i if i >= 0 else -1 for i in range(begin, 10)]
    data = load(path, sync_offset=sync_offset)
    assert order(data) == (stored[:6] if scan else stored)
    if not scan:  # the caller knows that it is one
        told = load(path, sync_offset=sync_offset, nav_shape=(2, 3))
        stored = [i if i >= 0 else -1 for i in range(2 if sync_offset is None else begin, 10)]
        assert order(told) == stored[:6]


def test_first_frame_overrides_the_shutter(tmp_path: Path) -> None:
    path = writer.write_k2is(tmp_path, numbered(10), shutter_from=3, **SMALL)
    assert order(load(path, first_frame=0)) == list(range(10))
    assert order(load(path, first_frame=1, last_frame=5)) == [1, 2, 3, 4]
    assert order(load(path, first_frame=5, sync_offset=1)) == [6, 7, 8, 9]
    assert order(load(path, last_frame=-1)) == [3, 4, 5, 6, 7, 8]
    assert order(load(path, scan="stack")) == [3, 4, 5, 6, 7, 8, 9]
    assert order(load(path, nav_shape=(4,))) == [3, 4, 5, 6]


def test_scan_cut_short_keeps_its_lines(tmp_path: Path) -> None:
    tags = writer.stem_tags(4, 3)
    path = writer.write_k2is(tmp_path, numbered(9), shutter_from=2, tags=tags, **SMALL)
    signal = load(path)
    assert (signal["data"].shape[:2], order(signal)) == ((2, 3), [1, 2, 3, 4, 5, 6])
    assert load(path, missing="fill")["data"].shape[:2] == (4, 3)


@pytest.mark.parametrize(("shutter", "found"), [(None, "No frame has"), (0, "from the first")])
def test_scan_without_known_beginning(tmp_path: Path, shutter: int | None, found: str) -> None:
    """LiberTEM fails with an IndexError, or seeks to frame -1."""
    path = writer.write_k2is(
        tmp_path, numbered(6), shutter_from=shutter, tags=writer.stem_tags(2, 3), **SMALL
    )
    assert found in told(path)
    assert order(load(path)) == list(range(6))
    series = writer.write_k2is(tmp_path, numbered(6), shutter_from=shutter, name="b", **SMALL)
    assert told(series) == ""
    assert order(load(series)) == list(range(6))


@pytest.mark.parametrize("first", [1, 2, 3, 7, 63, 64, 65, 255, 399])
def test_shutter_is_found_wherever_it_opens(tmp_path: Path, first: int) -> None:
    path = writer.write_k2is(tmp_path, numbered(400), shutter_from=first, **SMALL)
    assert (described := k2is.parse(path)).first_of_stack == first
    assert described.first_of_scan == first - 1


def test_shutter_that_sectors_disagree_on(tmp_path: Path) -> None:
    def change(i: int, blocks: list[bytes]) -> list[bytes]:
        if i != 3:
            return blocks
        return [b[:9] + bytes([k >= 20]) + b[10:] for k, b in enumerate(blocks)]

    path = writer.write_k2is(tmp_path, numbered(10), shutter_from=3, change=change, **SMALL)
    assert "frame 5, in which it was open in all of them, is taken" in told(path)
    assert order(load(path)) == [5, 6, 7, 8, 9]


def test_flyback_columns(tmp_path: Path) -> None:
    tags = writer.stem_tags(3, 4, (2, 3))
    path = writer.write_k2is(tmp_path, numbered(12), shutter_from=1, tags=tags, **SMALL)
    signal = load(path)
    assert signal["data"].shape[:2] == (3, 4)
    assert signal["metadata"]["Acquisition_instrument"]["TEM"] == {
        "Detector": {"Camera": {"name": "Gatan K2 IS"}},
        "beam_energy": 300,
        "camera_length": 480,
    }
    with (
        pytest.warns(RecordingWarning, match="flyback frames are the last ones"),
        pytest.warns(RecordingWarning, match=ODD_SIZE),
    ):
        (signal,) = k2is.file_reader(path, flyback="drop")
    assert (signal["data"].shape[:2], order(signal)) == ((2, 3), [0, 1, 2, 4, 5, 6])
    without = writer.write_k2is(tmp_path, numbered(12), tags=writer.stem_tags(3, 4), name="b",
                                shutter_from=1, **SMALL)  # fmt: skip
    with pytest.raises(FormatError, match="no flyback frames"):
        load(without, flyback="drop")


# ---------------------------------------------------------------- bringing sectors together


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    starts=st.lists(st.integers(0, 11), min_size=8, max_size=8),
    stops=st.lists(st.integers(0, 11), min_size=8, max_size=8),
)
@example(starts=[0] * 8, stops=[0] * 8)
@example(starts=[4] * 8, stops=[4] * 8)
def test_sectors_begin_and_end_apart(tmp_path: Path, starts: list[int], stops: list[int]) -> None:
    path = writer.write_k2is(tmp_path, FRAMES, starts=starts, stops=stops, **SMALL)
    first, last = -(-max(starts) // 4), 10 - -(-max(stops) // 4)
    np.testing.assert_array_equal(load(path)["data"], FRAMES[first:last])
    # any frame that a sector has in full
    data = load(path, sectors="any", fill_value=4000)["data"]
    first, last = -(-min(starts) // 4), 10 - -(-min(stops) // 4)
    expected = FRAMES.copy()
    cells = [(slice(r, r + 4), c) for r in (0, 4) for c in (16, 0)]
    for i in range(8):
        for k in [*range(starts[i]), *range(40 - stops[i], 40)]:
            rows, column = cells[k % 4]
            expected[k // 4, rows, i * 32 + column : i * 32 + column + 16] = 4000
    np.testing.assert_array_equal(data, expected[first:last])


def test_a_sector_that_ends_early_is_told(tmp_path: Path) -> None:
    path = writer.write_k2is(tmp_path, FRAMES, stops=(0, 0, 14, 0, 0, 0, 0, 0), **SMALL)
    assert "4 frames at the end are not in all sectors (scan3.bin lacks the last ones)" in told(
        path
    )
    assert load(path)["data"].shape[0] == 6
    with pytest.raises(ValueError, match="sectors='some' is none of common, any"):
        load(path, sectors="some")


@pytest.mark.parametrize("how", ["deleted", "empty", "garbage", "zeros"])
def test_a_sector_without_blocks_is_filled(tmp_path: Path, how: str) -> None:
    """LiberTEM raises StopIteration (LiberTEM#1200)."""
    path = writer.write_k2is(tmp_path, FRAMES, tags={"a": 1}, **SMALL)
    lost = tmp_path / "scan6.bin"
    content = {
        "empty": b"",
        "garbage": bytes(RNG.integers(0, 256, 9000, "u1")),
        "zeros": bytes(9000),
    }
    lost.unlink() if how == "deleted" else lost.write_bytes(content[how])
    assert "Sector 6: " in told(path)
    assert "its part of the image is filled" in told(path)
    expected = FRAMES.copy()
    expected[:, :, sector(6)] = 0
    for opened in (path, path.with_name("scan.gtg"), path.with_name("scan8.bin")):
        np.testing.assert_array_equal(load(opened)["data"], expected)
    if how != "deleted":
        with pytest.raises(NotThisFormat, match=r"scan6\.bin: holds no block .* open one of them"):
            load(lost)


def test_one_sector_alone(tmp_path: Path) -> None:
    path = writer.write_k2is(tmp_path, FRAMES, without=range(2, 9), **SMALL)
    assert told(path).count("its file is missing") == 7
    data = load(path)["data"]
    np.testing.assert_array_equal(data[:, :, :32], FRAMES[:, :, :32])
    assert not data[:, :, 32:].any()


def test_short_recordings(tmp_path: Path) -> None:
    """LiberTEM needs more than 400 frames unless the first one is flagged."""
    for n in (1, 2, 3):
        path = writer.write_k2is(tmp_path, FRAMES[:n], shutter_from=n - 1, name=f"n{n}_", **SMALL)
        np.testing.assert_array_equal(
            load(path, sync_offset=0)["data"].reshape(n, 8, 256), FRAMES[:n]
        )


def test_less_than_a_frame(tmp_path: Path) -> None:
    path = writer.write_k2is(tmp_path, FRAMES[:2], stops=(0, 0, 0, 0, 0, 6, 0, 0), **SMALL)
    with pytest.raises(Truncated, match=r"scan6\.bin: holds 2 blocks; no frame .*sectors=\"any\""):
        load(path)
    expected = FRAMES[:2].copy()
    expected[0, 4:, sector(6)] = expected[1, :, sector(6)] = 0
    np.testing.assert_array_equal(load(path, sectors="any")["data"], expected)


def test_starts_within_a_block(tmp_path: Path) -> None:
    def change(i: int, blocks: list[bytes]) -> list[bytes]:
        return [blocks[0][37:], *blocks[1:]] if i in (2, 5) else blocks

    path = writer.write_k2is(tmp_path, FRAMES, change=change, **SMALL)
    assert "scan5.bin: 99 bytes before the first block are ignored" in told(path)
    np.testing.assert_array_equal(load(path)["data"], FRAMES[1:])


def test_pixels_that_look_like_a_block(tmp_path: Path) -> None:
    frames = FRAMES.copy()
    frames[0, 0, 16:24] = [0xFFF, 0x00F, 0x055, 0, 0xFFF, 0x00F, 0x055, 0]

    def change(i: int, blocks: list[bytes]) -> list[bytes]:
        return [blocks[0][1:], *blocks[1:]]

    path = writer.write_k2is(tmp_path, frames, change=change, **SMALL)
    assert b"\xff\xff\0\x55" in (tmp_path / "scan1.bin").read_bytes()[41:80]
    np.testing.assert_array_equal(load(path)["data"], frames[1:])


def test_cut_in_a_block(tmp_path: Path) -> None:
    path = writer.write_k2is(
        tmp_path, FRAMES, change=lambda i, b: [*b[:-1], b[-1][:50]] if i == 7 else b, **SMALL
    )
    assert "scan7.bin: the last block is cut off after 50 bytes" in told(path)
    np.testing.assert_array_equal(load(path)["data"], FRAMES[:9])


def test_other_order_of_blocks(tmp_path: Path) -> None:
    path = writer.write_k2is(tmp_path, FRAMES, order=lambda places: places[::-1], **SMALL)
    assert "in another order than usual" in told(path)
    np.testing.assert_array_equal(load(path)["data"], FRAMES)
    np.testing.assert_array_equal(load(path, lazy=True)["data"][:, :4, 40:60], FRAMES[:, :4, 40:60])


def test_files_of_two_recordings(tmp_path: Path) -> None:
    path = writer.write_k2is(tmp_path, FRAMES, **SMALL)
    writer.write_k2is(tmp_path, FRAMES, name="late", first_count=9000, **SMALL)
    shutil.copy(tmp_path / "late4.bin", tmp_path / "scan4.bin")
    with pytest.raises(Truncated, match=r"scan4\.bin has blocks 9000 to 9039"):
        load(path)
    writer.write_k2is(tmp_path, FRAMES, name="shifted", first_count=1001, **SMALL)
    shutil.copy(tmp_path / "shifted4.bin", tmp_path / "scan4.bin")
    with pytest.raises(FormatError, match=r"scan4\.bin: its blocks are numbered otherwise"):
        load(path)
    writer.write_k2is(tmp_path, FRAMES[:, :, :128], name="small", **SMALL)
    shutil.copy(tmp_path / "small4.bin", tmp_path / "scan4.bin")
    with pytest.raises(FormatError, match=r"scan4\.bin: has blocks of other sizes"):
        load(path)
    writer.write_k2is(tmp_path, FRAMES, name="other", first_id=900, **SMALL)
    shutil.copy(tmp_path / "other4.bin", tmp_path / "scan4.bin")
    assert "numbers of frame 0 differ between" in told(path)


def test_names(tmp_path: Path) -> None:
    writer.write_k2is(tmp_path, FRAMES, name="Capture52_", tags=writer.stem_tags(2, 5), **SMALL)
    writer.write_k2is(tmp_path, FRAMES[:3] // 2, name="Capture52_1", **SMALL)  # another recording
    (tmp_path / "Capture52_.gtg").rename(tmp_path / "Capture52.gtg")
    for name in ("Capture52.gtg", "Capture52_1.bin"):
        np.testing.assert_array_equal(load(tmp_path / name)["data"], FRAMES.reshape(2, 5, 8, 256))
    np.testing.assert_array_equal(load(tmp_path / "Capture52_11.bin")["data"], FRAMES[:3] // 2)
    for name in ("Capture52_9.bin", "Capture.bin"):
        shutil.copy(tmp_path / "Capture52_1.bin", tmp_path / name)
        with pytest.raises(NotThisFormat, match="does not end with a digit from 1 to 8"):
            load(tmp_path / name)


# ---------------------------------------------------------------- lost and damaged blocks

CELLS = [(slice(r, r + 4), slice(c, c + 16)) for r in (0, 4) for c in (16, 0)]


def without(lost: Any, fill: int = 0) -> np.ndarray:
    """Fill (sector, block) in the frames."""
    expected = FRAMES.copy()
    for i, k in lost:
        rows, columns = CELLS[k % 4]
        expected[k // 4, rows, (i - 1) * 32 :][..., columns] = fill
    return expected


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lost=st.sets(st.tuples(st.integers(1, 8), st.integers(1, 38)), max_size=60), data=st.data())
def test_lost_blocks(tmp_path: Path, lost: set[tuple[int, int]], data: Any) -> None:
    path = writer.write_k2is(tmp_path, FRAMES, lost=lost, **SMALL)
    expected = without(lost, 5)
    messages = told(path)
    for i in range(1, 9):
        gone = sorted(k for s, k in lost if s == i)
        if gone:
            count = len({k // 4 for k in gone})
            assert f"scan{i}.bin: {len(gone)} blocks are lost in {count} of 10 frames" in messages
        else:
            assert f"scan{i}.bin" not in messages
    signal = load(path, fill_value=5)
    np.testing.assert_array_equal(signal["data"], expected)
    sectors = signal["original_metadata"]["sectors"]
    assert sum(s["lost_blocks"] for s in sectors.values()) == len(lost)
    for i, described in sectors.items():
        frames = sorted({k // 4 for s, k in lost if str(s) == i})
        assert described["incomplete_frames"] == frames
    lazy = load(path, fill_value=5, lazy=True)["data"]
    draw = data.draw
    a, b = sorted(draw(st.tuples(st.integers(0, 9), st.integers(0, 9))))
    y, x = draw(st.integers(0, 7)), draw(st.integers(0, 255))
    part = (slice(a, b + 1), slice(y, y + draw(st.integers(1, 6))), slice(x, x + 40))
    np.testing.assert_array_equal(lazy[part], expected[part])
    picked = draw(st.lists(st.integers(0, 9), min_size=1, max_size=6))
    np.testing.assert_array_equal(load(path, fill_value=5, roi=picked)["data"], expected[picked])


def test_lost_blocks_stay_filled_in_corrected_frames(tmp_path: Path) -> None:
    path = writer.write_k2is(tmp_path, FRAMES, lost=[(3, 6)], **SMALL)
    dark, gain = RNG.random((2, 8, 256))
    expected = (FRAMES - dark) * gain
    expected[1, 4:, 80:96] = -1
    signal = load(path, dark=dark, gain=gain, fill_value=-1)
    np.testing.assert_allclose(signal["data"], expected, rtol=1e-4, atol=1e-3)
    lazy = load(path, lazy=True, dtype="f8", fill_value=np.nan)["data"]
    np.testing.assert_array_equal(np.isnan(lazy), without([(3, 6)], 5000) == 5000)


def test_snake_and_blanks(tmp_path: Path) -> None:
    path = writer.write_k2is(tmp_path, FRAMES, lost=[(8, 21)], **SMALL)
    data = load(path, nav_shape=(3, 4), snake=True, fill_value=7)["data"].reshape(12, 8, 256)
    expected = np.concatenate([without([(8, 21)], 7), np.full((2, 8, 256), 7)])
    np.testing.assert_array_equal(data, expected[[0, 1, 2, 3, 7, 6, 5, 4, 8, 9, 10, 11]])


def test_losses_are_found_with_few_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.broadcast_to(FRAMES[:1], (3000, 8, 256))
    lost = [(2, 7001), (2, 7002), (2, 11000), (6, 1)]
    path = writer.write_k2is(tmp_path, frames, lost=lost, **SMALL)
    reads = []
    read = backends.read

    def counting(file: Any, offset: int, nbytes: int, backend: Any, *more: Any) -> Any:
        reads.append(nbytes)
        return read(file, offset, nbytes, backend, *more)

    monkeypatch.setattr(backends, "read", counting)
    found = told(path)
    assert len(reads) < 800
    assert sum(reads) < 100_000
    assert "scan2.bin: 3 blocks are lost in 2 of 3000 frames (1750, 2750)" in found
    assert "scan6.bin: 1 blocks are lost in 1 of 3000 frames (0)" in found


def test_single_frames_read_single_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = writer.write_k2is(tmp_path, FRAMES, lost=[(2, 17)], **SMALL)
    data = load(path, lazy=True)["data"]
    reads: list[int] = []
    read = backends.read

    def counting(file: Any, offset: int, nbytes: int, backend: Any, *more: Any) -> Any:
        reads.append(nbytes)
        return read(file, offset, nbytes, backend, *more)

    monkeypatch.setattr(backends, "read", counting)
    for key, blocks in (
        ((4,), 31),
        ((3,), 32),
        ((3, slice(0, 4)), 16),  # the upper halves
        ((3, 5, 100), 1),
        ((slice(2, 4), slice(0, 2), slice(70, 80)), 5),  # block 1 of both frames
    ):
        reads.clear()
        np.testing.assert_array_equal(data[key], without([(2, 17)])[key])
        assert sum(reads) == blocks * 136


def swapped(a: int, b: int, which: int = 4) -> Any:
    def change(i: int, blocks: list[bytes]) -> list[bytes]:
        if i == which:
            blocks[a], blocks[b] = blocks[b], blocks[a]
        return blocks

    return change


@pytest.mark.parametrize(("a", "b"), [(12, 13), (13, 15), (0, 1), (11, 12), (17, 30), (38, 39)])
def test_blocks_out_of_order(tmp_path: Path, a: int, b: int) -> None:
    """Each goes where its header says; what is too far away for that is filled, with a warning."""
    path = writer.write_k2is(tmp_path, FRAMES, change=swapped(a, b), **SMALL)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frames = [
            k2is.file_reader(path, first_frame=i, last_frame=i + 1)[0]["data"] for i in range(10)
        ]
        (whole,) = k2is.file_reader(path)
    np.testing.assert_array_equal(whole["data"], FRAMES)
    for i, data in enumerate(frames):
        if i in (a // 4, b // 4) and a // 4 != b // 4 and not np.array_equal(data, FRAMES[i]):
            assert any("out of place" in str(w.message) for w in caught)
            known = without([(4, a), (4, b)])[i]
            np.testing.assert_array_equal(data, known)
        else:
            np.testing.assert_array_equal(data, FRAMES[i])


@pytest.mark.parametrize(
    ("where", "text"),
    [(0, b"\0\0\0\0"), (16, b"\xff\xff\xff\xff"), (28, b"\0\5"), (32, b"\0\0"), (36, b"\0\0\0\0")],
)
@pytest.mark.parametrize("block", [1, 2, 7, 19, 20, 39])
def test_damaged_header(tmp_path: Path, where: int, text: bytes, block: int) -> None:
    def change(i: int, blocks: list[bytes]) -> list[bytes]:
        if i == 5:
            old = blocks[block]
            blocks[block] = old[:where] + text + old[where + len(text) :]
        return blocks

    path = writer.write_k2is(tmp_path, FRAMES, change=change, **SMALL)
    with pytest.warns(RecordingWarning) as caught:
        (signal,) = k2is.file_reader(path, sectors="any")
    data = signal["data"]
    np.testing.assert_array_equal(data, without([(5, block)]))
    assert any("scan5.bin" in str(w.message) for w in caught)


@pytest.mark.parametrize(("block", "number"), [(1, 21), (21, 1), (38, 2)])
def test_block_with_the_number_of_another(tmp_path: Path, block: int, number: int) -> None:
    """It takes the place of none, whatever is read with it."""

    def change(i: int, blocks: list[bytes]) -> list[bytes]:
        if i == 6:
            old, other = blocks[block], blocks[number]
            blocks[block] = old[:16] + other[16:20] + old[20:]
        return blocks

    path = writer.write_k2is(tmp_path, FRAMES, change=change, **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        whole = load(path)["data"]
        frames = [load(path, first_frame=i, last_frame=i + 1)["data"] for i in range(10)]
    expected = without([(6, block)])
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(np.stack([np.squeeze(f) for f in frames]), expected)


def test_repeated_blocks(tmp_path: Path) -> None:
    path = writer.write_k2is(
        tmp_path, FRAMES, change=lambda i, b: [*b[:10], *b[6:]] if i == 1 else b, **SMALL
    )
    assert "scan1.bin: 4 blocks repeat others" in told(path)
    np.testing.assert_array_equal(load(path)["data"], FRAMES)


def test_bytes_that_are_no_blocks(tmp_path: Path) -> None:
    """Zeros within the file, at its end, and lost bytes that shift what follows."""
    zeros = bytes(136)
    for name, change, lost in (
        ("hole", lambda b: [*b[:13], *[zeros] * 9, *b[22:]], range(13, 22)),
        ("tail", lambda b: [*b[:29], *[zeros] * 11], range(29, 40)),
        ("shift", lambda b: [*b[:13], b[13][:77], *b[14:]], [13]),
        ("shifted hole", lambda b: [*b[:13], bytes(700), *b[20:]], range(13, 20)),
    ):
        path = writer.write_k2is(
            tmp_path,
            FRAMES,
            name=f"{name}_",
            change=lambda i, b, change=change: change(b) if i == 2 else b,
            **SMALL,
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            (signal,) = k2is.file_reader(path, sectors="any")
        np.testing.assert_array_equal(signal["data"], without([(2, k) for k in lost]), name)
        assert any(f"{name}_2.bin" in str(w.message) for w in caught)


def test_frame_ids(tmp_path: Path) -> None:
    ids = [284797, 284798, 284799, 2, 3, 4, 5, 6, 7, 8]  # the camera's number jumps back
    lost = [(3, 4), (3, 21), *((5, k) for k in range(10, 18))]
    path = writer.write_k2is(tmp_path, FRAMES, frame_ids=ids, lost=lost, without=[8], **SMALL)
    found = k2is.frame_ids(path)
    expected = np.repeat(np.array(ids)[:, np.newaxis], 8, axis=1)
    expected[:, 7] = -1
    expected[3, 4] = -1
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(load(path)["data"][:, :, :64], FRAMES[:, :, :64])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(
            st.integers(1, 8),
            st.integers(0, 1) | st.integers(0, 39),
            st.integers(0, 39),
            st.binary(min_size=1, max_size=4),
        ),
        max_size=4,
    ),
    which=st.sampled_from(["common", "any"]),
)
def test_any_damage_gives_frames_or_an_error(
    tmp_path: Path, changes: list[tuple[int, int, int, bytes]], which: str
) -> None:
    """Whatever happens to headers: pixels of intact blocks are right, or it is an error."""

    def change(i: int, blocks: list[bytes]) -> list[bytes]:
        for where, k, at, text in changes:
            if where == i:
                blocks[k] = (blocks[k][:at] + text + blocks[k][at + len(text) :])[:136]
        return blocks

    path = writer.write_k2is(tmp_path, FRAMES, change=change, **SMALL)
    try:
        data = load(path, sectors=which)["data"]
    except FormatError as error:
        message = str(error)
    else:
        message = str(tmp_path)
        assert len(data) <= 10 * 8 * 10 + 1000
    assert str(tmp_path) in message


# ---------------------------------------------------------------- tag file


@pytest.mark.parametrize("version", [3, 4])
def test_tag_file_versions(tmp_path: Path, version: int) -> None:
    path = writer.write_k2is(
        tmp_path, FRAMES, tags=writer.stem_tags(2, 5), version=version, **SMALL
    )
    assert load(path)["data"].shape[:2] == (2, 5)


def test_tag_file_without_a_scan(tmp_path: Path) -> None:
    for tags in (
        {"a": 1},
        {"SI Dimensions": 5},
        {"SI Dimensions": {"Size X": 5}},
        {"SI Dimensions": {"Size X": 0, "Size Y": 3}},
        {"SI Dimensions": {"Size X": "five", "Size Y": 3.0}},
    ):
        path = writer.write_k2is(tmp_path, FRAMES, tags=tags, **SMALL)
        np.testing.assert_array_equal(load(path)["data"], FRAMES)


def test_damaged_tag_file(tmp_path: Path) -> None:
    path = writer.write_k2is(tmp_path, FRAMES, tags=writer.stem_tags(2, 5), **SMALL)
    gtg = tmp_path / "scan.gtg"
    gtg.write_bytes(gtg.read_bytes()[:60])
    assert "scan.gtg ends at byte 60" in told(path)
    np.testing.assert_array_equal(load(path)["data"], FRAMES)
    with pytest.raises(Truncated, match=r"scan\.gtg: .*Open one of the \.bin"):
        load(gtg)
    gtg.write_bytes(b"hello")
    with pytest.raises(NotThisFormat, match="not a DM3 or DM4"):
        load(gtg)
    for i in range(1, 9):
        (tmp_path / f"scan{i}.bin").unlink()
    with pytest.raises(FormatError, match=r"no scan1\.bin … 8\.bin"):
        load(gtg)


def test_command_line_names_what_chooses_the_scan(tmp_path: Path) -> None:
    tags = writer.stem_tags(2, 5, (2, 4))
    writer.write_k2is(tmp_path, FRAMES, shutter_from=1, tags=tags, **SMALL)
    result = CliRunner().invoke(main, ["info", str(tmp_path / "scan.gtg")])
    assert result.exit_code == 0, result.output
    assert "Scan        5 × 2 (x, y)" in result.output
    assert "--flyback drop: 4 × 2 (x, y)" in result.output


# ---------------------------------------------------------------- the table itself


@pytest.mark.parametrize("backend", ["buffered", "mmap", "direct"])
def test_backend_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    path = writer.write_k2is(tmp_path, FRAMES, **SMALL)
    used = set()
    read = backends.read

    def noting(file: Any, offset: int, nbytes: int, backend: Any, *more: Any) -> Any:
        used.add(backend)
        return read(file, offset, nbytes, backend, *more)

    data = load(path, lazy=True, io_backend=backend)["data"]
    monkeypatch.setattr(backends, "read", noting)
    np.testing.assert_array_equal(data, FRAMES)
    assert used == {backend}


def test_block_table_as_frames(tmp_path: Path) -> None:
    path = writer.write_k2is(tmp_path, FRAMES, **SMALL)
    constant = (("sync", SYNC),)
    layout = BlockLayout(HEADER, constant, 136, BLOCK, (8, 32), (1, 0, 3, 2))
    table = BlockTable(
        backends.DataFile.of(path), segments_of([(0, 0, 40)]), layout, base=1000, count=10
    )

    def values(frames: BlockTable, region: Any = None, dtype: str = "u2") -> np.ndarray:
        shape = frames.frame_shape if region is None else [s.stop - s.start for s in region]
        out = np.zeros((len(frames), *shape), dtype)
        frames.load(out, region)
        return out

    left = FRAMES[:, :, :32]
    np.testing.assert_array_equal(values(table), left)
    np.testing.assert_array_equal(values(table[2:7][1:3]), left[3:5])
    np.testing.assert_array_equal(values(table[::-2]), left[::-2])
    np.testing.assert_array_equal(values(table[3:][np.array([2, -1, 0])])[[0, 2]], left[[5, 3]])
    assert table[np.array([2, -1])].blanks.tolist() == [False, True]
    region = (slice(3, 7), slice(5, 21))
    np.testing.assert_array_equal(values(table, region, "f4"), left[:, 3:7, 5:21])
    np.testing.assert_array_equal(values(table[5:5]), left[:0])
    with pytest.raises(IndexError):
        table[np.array([10])]
    with pytest.raises(ValueError, match="out has shape"):
        table.load(np.zeros((10, 8, 31), np.uint16))
    with pytest.raises(Unsupported):
        table.read_as(flip_y=True)
    assert table.stored(3).all()
