# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks: an intact recording passes, and every kind of damage is told, and nothing else."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import time
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from samples import SPECS, Sample, Spec
from writers import blo as blo_writer
from writers import dectris as dectris_writer
from writers import dm as dm_writer
from writers import empad as empad_writer
from writers import framecache as framecache_writer
from writers import frms6 as frms6_writer
from writers import hdf5 as hdf5_writer
from writers import k2is as k2is_writer
from writers import mib as mib_writer
from writers import mrc as mrc_writer
from writers import raw_csr as raw_csr_writer
from writers import seq as seq_writer
from writers import ser as ser_writer
from writers import tvips as tvips_writer
from writers import zarr as zarr_writer

import rsciio_tem
from rsciio_tem import cli
from rsciio_tem.errors import FormatError, Problem, Problems
from rsciio_tem.formats.ser import elements
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.parsing.checks import chunk_tables, number_ranges, numbering
from rsciio_tem.parsing.hdf5_index import chunk_index
from rsciio_tem.readers import detect
from rsciio_tem.registry import FORMATS
from rsciio_tem.storage import backends, machine
from rsciio_tem.tools import check

MS = 1_000_000
RNG = np.random.default_rng(5)


def found(path: Path, format: str = "auto", **options: Any) -> list[str]:
    """What is worse than information, as text."""
    problems = rsciio_tem.check(path, format, **options)
    assert problems == sorted(
        problems, key=lambda p: ["error", "warning", "info"].index(p.severity)
    )
    return [f"{p.severity}: {p}" for p in problems if p.severity != "info"]


def expect(told: list[str], *patterns: str) -> None:
    """Each pattern is told, in this order, and nothing else."""
    assert len(told) == len(patterns), told
    for text, pattern in zip(told, patterns, strict=True):
        assert re.search(pattern, text), text


def infos(path: Path, **options: Any) -> str:
    return "\n".join(str(p) for p in rsciio_tem.check(path, **options) if p.severity == "info")


# ---------------------------------------------------------------- nothing is wrong

#: Samples of which a check must say something, though reading them warns of nothing.
_TOLD = {
    "frms6: not unfolded": "no dark frames",
    "frms6: ten frames": "no dark frames",
    "frms6: scan shape given": "no recorded file confirms this order",
    "seq: padding cut off": "1 of 12 frames have no time",
    "seq: every slot": "4 of 16 frames have no time|hold nothing but zeros",
    "stempy: version 2": "no frame for 1 position",
    "ser: interrupted map, filled": "only 2 of 3 lines are complete",
}


@pytest.mark.parametrize(
    "spec", [s for s in SPECS if s.has_file and "full frame" not in s.variant], ids=str
)
def test_intact(spec: Spec, sample_of: Any) -> None:
    """Nothing is told of a sample but what reading it warns of."""
    sample: Sample = sample_of(spec)
    assert sample.path is not None
    allowed = "|".join(p for p in (sample.warns, _TOLD.get(str(spec), "")) if p) or "(?!)"
    if spec.format == "frms6":
        allowed += "|no dark frames"
    if "interrupted" in spec.variant or "short files" in spec.variant:
        allowed += "|scan shape|do not fill one line|bytes behind its last frame"
        allowed += "|blanks are in place|no time"
    for text in found(sample.path, sample.format, pixels=True, **sample.format_options):
        assert re.search(allowed, text), text
    if str(spec) in _TOLD:
        assert re.search(
            _TOLD[str(spec)], str(found(sample.path, sample.format, **sample.format_options))
        )


def test_every_format_has_an_intact_sample() -> None:
    quiet = {s.format for s in SPECS if s.has_file and str(s) not in _TOLD}
    assert quiet == set(FORMATS)


def _small(path: Path) -> bool:
    try:
        recording = rsciio_tem.open(path)
    except FormatError:
        return True
    frame = math.prod(recording.frames.frame_shape) * recording.frames.dtype.itemsize
    return recording.count * frame < 32 << 20


def test_real_recordings(realdata: Path) -> None:
    count = 0
    for path in sorted(p for p in realdata.rglob("*") if p.is_file()):
        candidates = detect(path)
        if candidates and candidates[0].format in FORMATS:
            problems = rsciio_tem.check(path, pixels=_small(path))
            assert all(isinstance(p, Problem) and p.message for p in problems)
            count += 1
    assert count > 50


def test_real_recordings_that_are_complete(realdata: Path) -> None:
    for name in ("mib/rsciio/Merlin_Single_Quad", "seq/pims"):
        for path in sorted((realdata / name).glob("*.[ms][ie][bq]")):
            assert found(path, pixels=True) == []


def test_a_real_frame_that_was_stored_twice(realdata: Path) -> None:
    expect(
        found(realdata / "mib" / "matkraj" / "example.mib", pixels=True),
        "1 of 2 frames have the same number as the frame before: 1",
        "1 of 2 frames are equal to the frame before, pixel for pixel: 1",
    )


# ---------------------------------------------------------------- the function itself


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "empty.mib").touch()
    (tmp_path / "noise.seq").write_bytes(bytes(range(256)) * 8)
    for name, words in (
        ("nothing.mib", "does not exist"),
        ("empty.mib", "is empty"),
        ("noise.seq", "not in a known format"),
        (".", "is a folder"),
    ):
        (problem,) = rsciio_tem.check(tmp_path / name)
        assert problem.severity == "error"
        assert words in problem.message


def test_a_recording_that_is_open(tmp_path: Path) -> None:
    path = mib(tmp_path, truncate=100)
    assert rsciio_tem.check(rsciio_tem.open(path)) == rsciio_tem.check(path)
    with pytest.raises(TypeError, match="unexpected keyword"):
        rsciio_tem.check(path, depht=12)


def test_a_file_that_grows_meanwhile(tmp_path: Path) -> None:
    path = mib_writer.write_mib(tmp_path / "a.mib", np.ones((4, 8, 8), "u2"), 12, "processed")
    size = path.stat().st_size

    def write_on(_: int) -> None:
        with path.open("ab") as file:
            file.write(b"MQ1,000005")

    problems = rsciio_tem.check(path, pixels=True, progress=write_on)
    growing = [p for p in problems if "still being written" in p.message]
    assert [p.severity for p in growing] == ["warning"]
    assert f"a.mib had {size} bytes, and" in growing[0].message
    assert not [p for p in problems if p.severity == "error"]


def test_words() -> None:
    assert number_ranges([3]) == "3"
    assert number_ranges([3, 4, 5, 9]) == "3 to 5, 9"
    assert number_ranges(np.arange(0, 40, 2)) == "0, 2, 4, 6, 8, …"


@pytest.mark.parametrize(
    ("numbers", "modulo", "patterns"),
    [
        ([1, 2, 3], 0, []),
        ([], 0, []),
        ([-1, -1, -1], 0, []),
        ([5, 6, -1, 8], 0, []),
        ([5, 6, -1, 9], 0, ["1 frame missing .*: 1 before frame 3"]),
        ([1, 2, 6, 7, 9], 0, ["4 frames missing .*: 3 before frame 2, 1 before frame 4"]),
        ([1, 2, 2, 2, 3], 0, ["2 of 5 frames have the same number as the frame before: 2 to 3"]),
        ([7, 8, 1, 2], 0, ["run backwards before frame 2: 8 is followed by 1"]),
        ([999_998, 999_999, 1, 2], 999_999, []),
        ([999_998, 999_999, 3], 999_999, ["2 frames missing"]),
        ([4_294_967_295, 0, 1], 1 << 32, []),
        ([600_000, 600_001, 1, 2], 999_999, ["before frame 2: 600001 is followed by 1"]),
        ([5, -1, 6, 7], 0, []),  # the second has a damaged header, which others tell
        ([7, 8, -1, 2], 0, ["before frame 3: 8 is followed by 2"]),
    ],
)
def test_numbering(numbers: list[int], modulo: int, patterns: list[str]) -> None:
    told = numbering(np.array(numbers, np.int64), modulo=modulo)
    expect([p.message for p in told], *patterns)


# ---------------------------------------------------------------- Merlin

SIG = (8, 16)
STRIDE = 384 + 256


def mib(
    folder: Path,
    numbers: Any = None,
    *,
    kept: Any = None,
    times: Any = None,
    hdr: int | None = 12,
    truncate: int = 0,
    depth: int = 12,
    **written: Any,
) -> Path:
    """Write a recording of frames with these sequence numbers, of which only some are `kept`."""
    numbers = np.arange(1, 13) if numbers is None else np.asarray(numbers)
    times = mib_writer.START_NS + numbers * MS if times is None else times
    heads = mib_writer.headers(numbers, SIG, 12, times_ns=times, **written)
    pixels = np.random.default_rng(1).integers(0, 256, (len(numbers), 256)).astype(np.uint8)
    content = np.concatenate([heads, pixels], axis=1)
    content = content if kept is None else content[kept]
    path = folder / "scan.mib"
    path.write_bytes(content.tobytes()[: content.size - truncate])
    if hdr is not None:
        path.with_suffix(".hdr").write_bytes(mib_writer.hdr_text(hdr, depth=depth))
    return path


def test_mib_intact(tmp_path: Path) -> None:
    assert rsciio_tem.check(mib(tmp_path), pixels=True) == []


def test_mib_dropped(tmp_path: Path) -> None:
    path = mib(tmp_path, kept=[0, 1, 2, 3, 6, 7, 8, 10, 11], hdr=9)
    expect(found(path), "3 frames missing by the frame numbers: 2 before frame 4, 1 before frame 7")


def test_mib_stored_twice(tmp_path: Path) -> None:
    path = mib(tmp_path, kept=[*range(6), 5, *range(6, 11)])
    twice = ("same number as the frame before: 6", "exactly the time of the frame before: 6")
    assert len(found(path)) == 2
    told = "\n".join(found(path, pixels=True))
    assert all(words in told for words in (*twice, "equal to the frame before, pixel for pixel: 6"))
    assert len(found(path, pixels=True)) == 3


def test_mib_two_recordings_in_one_file(tmp_path: Path) -> None:
    path = mib(
        tmp_path, [*range(1, 7), *range(1, 7)], times=mib_writer.START_NS + MS * np.arange(12)
    )
    expect(found(path), "frame numbers run backwards before frame 6: 6 is followed by 1")


def test_mib_numbers_start_over(tmp_path: Path) -> None:
    numbers = (np.arange(12) + 999_993) % 999_999 + 1
    assert found(mib(tmp_path, numbers, times=mib_writer.START_NS + MS * np.arange(12))) == []


def test_mib_bytes_lost(tmp_path: Path) -> None:
    path = mib(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: 5 * STRIDE + 500] + content[5 * STRIDE + 600 :])
    expect(
        found(path),
        f"error: 5 of 11 frames do not begin with a header: 6 to 10. The one of frame 6 should be "
        f"at byte {6 * STRIDE}, the next is at {6 * STRIDE - 100}: 100 bytes are missing",
        "the last frame is incomplete",
        "announces 12 frames, 11 are stored",
    )


def test_mib_bytes_inserted(tmp_path: Path) -> None:
    path = mib(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: 5 * STRIDE + 500] + b"x" * 70 + content[5 * STRIDE + 500 :])
    expect(
        found(path),
        "error: 6 of 12 frames .* header: 6 to 11.*70 bytes are too many",
        "last frame is incomplete",
    )


def test_mib_never_written(tmp_path: Path) -> None:
    path = mib(tmp_path, kept=range(8))
    path.write_bytes(path.read_bytes() + bytes(4 * STRIDE))
    told = found(path, pixels=True)
    assert "error: 4 of 12 frames do not begin with a header: 8 to 11" in told[0]
    assert "never written" in told[0]
    assert len(told) == 2, told
    assert any("the last 4 frames of the recording" in text for text in told)


@pytest.mark.parametrize(
    ("at", "text", "words"),
    [
        (30, b"U08", "pixel type .* U08 instead of U16"),
        (20, b"0032", "columns .* 0032 instead of 0016"),
        (25, b"0004", "rows .* 0004 instead of 0008"),
        (11, b"00512", "header size .* 00512 instead of 00384"),
        (41, b"0F", "chip mask .* 0F instead of 01"),
        (29, b"\1U08", "pixel type .* U08 instead of U16"),  # a comma less
    ],
)
def test_mib_headers_that_differ(tmp_path: Path, at: int, text: bytes, words: str) -> None:
    path = mib(tmp_path)
    content = bytearray(path.read_bytes())
    content[7 * STRIDE + at : 7 * STRIDE + at + len(text)] = text
    path.write_bytes(content)
    expect(found(path), f"error: 1 of 12 frames have another {words}: 7")


def test_mib_cut_off(tmp_path: Path) -> None:
    expect(
        found(mib(tmp_path, truncate=100)),
        r"last frame is incomplete \(540 of 640 bytes\)",
        "announces 12 frames, 11 are stored",
    )


def test_mib_hdr(tmp_path: Path) -> None:
    expect(found(mib(tmp_path, hdr=20)), "the .hdr announces 20 frames, 12 are stored. The acqui")
    assert "announces 4 frames" in infos(mib(tmp_path, hdr=4))
    assert rsciio_tem.check(mib(tmp_path, hdr=0)) == []  # until stopped
    expect(found(mib(tmp_path, depth=6)), "6 bits of counter depth, the frames 12")
    (tmp_path / "scan.hdr").unlink()
    assert "there is no .hdr" in infos(tmp_path / "scan.mib")


def test_mib_counters(tmp_path: Path) -> None:
    counters = np.array([0, 1, 2, 3] * 5 + [0, 2, 3, 0])
    path = mib(tmp_path, np.arange(1, 25), hdr=24, colour=1, counters=counters)
    expect(found(path), "4 counters .* from frame 21 on: it is of counter 2 instead of 1")
    path = mib(tmp_path, colour=1, counters=counters[-12:])
    expect(found(path), "in colour mode, .* do not take turns: they begin with 0, 1, 2, 3, 0, 1, 2")
    assert found(mib(tmp_path, colour=1, counters=np.arange(12) % 4)) == []
    shared = np.repeat([1, 2, 3], 4)  # a number for each position
    times = mib_writer.START_NS + np.arange(12) * MS
    assert found(mib(tmp_path, shared, times=times, colour=1, counters=np.arange(12) % 4)) == []


def test_mib_lost_member(tmp_path: Path) -> None:
    for name, first in (("scan_000001", 1), ("scan_000003", 7)):
        folder = tmp_path / name
        folder.mkdir()
        mib(folder, np.arange(first, first + 3), hdr=None).rename(tmp_path / f"{name}.mib")
        folder.rmdir()
    expect(found(tmp_path / "scan_000001.mib"), "scan_000003.mib is not read .* number 7")


def test_mib_times(tmp_path: Path) -> None:
    times = mib_writer.START_NS + np.arange(12) * MS
    back = times.copy()
    back[7:] -= 3_600_000 * MS
    expect(found(mib(tmp_path, times=back)), "times run backwards before frame 7, by up to 3600 s")
    pause = times.copy()
    pause[5:] += 40 * MS
    path = mib(tmp_path, times=pause)
    assert found(path) == []
    assert "before frame 5, is 41 ms instead of 1 ms, while the frame numbers go on" in infos(path)


def test_mib_scan_lines_are_no_pauses(tmp_path: Path) -> None:
    numbers = np.arange(1, 401)
    times = mib_writer.START_NS + (numbers - 1) * MS + (numbers - 1) // 20 * 7 * MS
    assert rsciio_tem.check(mib(tmp_path, numbers, times=times, hdr=400)) == []
    times[187:] += 90 * MS
    path = mib(tmp_path, numbers, times=times, hdr=400)
    assert "times jump before frame 187: the longest" in infos(path)


def test_many_frames_with_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All headers of 10^5 frames are read in seconds, and in little memory."""
    numbers = np.delete(np.arange(1, 100_012), [500, 501, 502, *range(70_000, 70_008)])
    numbers = numbers[:100_000]
    path = mib(tmp_path, numbers, times=mib_writer.START_NS + numbers * MS, hdr=100_000)
    numbers = None
    monkeypatch.setattr(machine, "threads", lambda: 2)
    began = time.perf_counter()
    expect(found(path), "11 frames missing .*: 3 before frame 500, 8 before frame 69997")
    assert time.perf_counter() - began < 20
    tracemalloc.start()
    try:
        assert len(found(path, pixels=True)) == 1
        assert tracemalloc.get_traced_memory()[1] < 90 << 20  # of which 60 for decoding
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- TVIPS


def tvips(folder: Path, counters: Any = None, **written: Any) -> Path:
    count = 12 if counters is None else len(counters)
    frames = RNG.integers(1, 9999, (count, 8, 10)).astype("u2")
    written.setdefault("times_ms", [1_600_000_000_000 + 50 * i for i in range(count)])
    path = tvips_writer.write_tvips(folder / "scan_000.tvips", frames, **written)
    if counters is not None:
        content = bytearray(path.read_bytes())
        for i, counter in enumerate(counters):
            content[256 + i * 288 : 260 + i * 288] = int(counter).to_bytes(4, "little")
        path.write_bytes(content)
    return path


def test_tvips_counter(tmp_path: Path) -> None:
    assert found(tvips(tmp_path), pixels=True) == []
    # several per 1000 may be lost, but a counter that counts something else is left alone
    numbers = np.arange(100)
    expect(
        found(tvips(tmp_path, np.delete(numbers, [40, 41, 70]))),
        "3 frames are missing by the counter in the frame headers, before frame 40, 68",
    )
    expect(
        found(tvips(tmp_path, [*numbers[:30], 29, *numbers[30:]])),
        "1 of 101 frames have the same counter as the frame before: 30",
    )
    path = tvips(tmp_path, [*range(50), *range(50)])
    assert found(path) == []
    assert "starts over at frame 50" in infos(path)
    assert found(tvips(tmp_path, numbers * 3)) == []


def test_tvips_times(tmp_path: Path) -> None:
    times = 1_600_000_000_000 + 50 * np.arange(12)
    times[6:] += 150
    expect(
        found(tvips(tmp_path, times_ms=times.tolist())),
        "times jump before frame 6: .* is 200 ms instead of 50 ms. .* about 3 frames missing",
    )
    times[6:] -= 60_000
    expect(found(tvips(tmp_path, times_ms=times.tolist())), "backwards before frame 6, by up to 59")


@pytest.mark.parametrize("steps", [(0, 100), (100, 0), (0, 0, 150), (20, 80), (10, 90)])
def test_a_time_that_was_noted_late_is_no_loss(tmp_path: Path, steps: tuple[int, ...]) -> None:
    """The whole time decides: those steps are as long together as usual ones."""
    times = 1_600_000_000_000 + np.cumsum([0, *[50] * 4, *steps, *[50] * 20])
    path = tvips(tmp_path, np.arange(1, len(times) + 1), times_ms=times.tolist())
    assert found(path) == []
    if min(steps) < 25:
        assert "times before frame 5 to " in infos(path)
        assert "make up for it" in infos(path)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((0, 50), "exactly the time of the frame before: 5"),
        ((100, 50), "times jump before frame 5"),
        ((0, 200), "about 3 frames missing"),
    ],
)
def test_times_that_are_not_made_up_for(
    tmp_path: Path, steps: tuple[int, ...], message: str
) -> None:
    times = 1_600_000_000_000 + np.cumsum([0, *[50] * 4, *steps, *[50] * 20])
    assert message in "\n".join(
        found(tvips(tmp_path, np.arange(1, len(times) + 1), times_ms=times.tolist()))
    )


def test_tvips_other(tmp_path: Path) -> None:
    expect(found(tvips(tmp_path, truncate=50)), "ends inside a frame .* ignored")
    path = tvips(tmp_path)
    content = bytearray(path.read_bytes())
    content[256 + 5 * 288 + 24] ^= 3
    path.write_bytes(content)
    expect(found(path), "between imaging and diffraction at frame 5 to 6")
    path = tvips(tmp_path, files=(4, 4, 4))
    (tmp_path / "scan_001.tvips").unlink()
    expect(found(path), "scan_001.tvips is missing")


def test_tvips_scan_is_checked_as_stored(tmp_path: Path) -> None:
    """Frames that are put elsewhere in the scan do not run backwards."""
    raster = tvips_writer.raster(3, 4, winding=True)
    assert found(tvips(tmp_path, scan=raster), pixels=True) == []


# ---------------------------------------------------------------- StreamPix


def seq(folder: Path, count: int = 12, **written: Any) -> Path:
    frames = RNG.integers(1, 4096, (count, 8, 10)).astype("u2")
    return seq_writer.write_seq(folder / "scan.seq", frames, **written)


def test_seq_images_that_are_not_there(tmp_path: Path) -> None:
    expect(found(seq(tmp_path, allocated=20)), "holds 12 of 20 images")
    expect(found(seq(tmp_path, allocated=0)), "was not closed")
    expect(found(seq(tmp_path, unwritten=4)), "4 of 16 slots were never written")


def test_seq_metadata(tmp_path: Path) -> None:
    path = seq(tmp_path)
    side = tmp_path / "scan.seq.metadata"
    seq_writer.write_metadata(side, 10, seq_writer.counters(range(1, 13)))
    assert found(path) == []
    seq_writer.write_metadata(side, 10, seq_writer.counters(range(1, 15)))
    expect(found(path), "scan.seq.metadata describes 14 images, scan.seq holds 12")
    side.write_bytes(side.read_bytes()[:-1000])
    expect(found(path), "describes 14 images", "ends after 9 of the 14 images")


def test_seq_sides(tmp_path: Path) -> None:
    path = seq(tmp_path)
    seq_writer.write_sides(tmp_path, info={"ImageSizeX": 10, "ImageSizeY": 8})
    assert "no .seq.dark.mrc and no .seq.gain.mrc" in infos(path)
    seq_writer.write_sides(tmp_path, info={"ImageSizeX": 20, "ImageSizeY": 8})
    expect(found(path), "XML describes frames of 8 x 20 pixels")
    seq_writer.write_sides(tmp_path, missing="Frame number of missing frames:\n3\n4\n")
    assert any("lists 2 frames as missing" in text for text in found(path))


def test_seq_halves(tmp_path: Path) -> None:
    frames = RNG.integers(1, 4096, (24, 8, 10)).astype("u2")
    top, _ = seq_writer.write_halves(tmp_path, frames, 4, without=([2], []))
    expect(found(top), "1 of 6 buffers were lost")


# ---------------------------------------------------------------- blockfiles


def blo(folder: Path, scan: tuple[int, int] = (3, 4), **written: Any) -> Path:
    frames = RNG.integers(1, 255, (scan[0] * scan[1], 6, 6)).astype("u1")
    return blo_writer.write_blo(folder / "scan.blo", frames, scan, **written)


def test_blo(tmp_path: Path) -> None:
    assert found(blo(tmp_path), pixels=True) == []
    path = blo(tmp_path)
    path.write_bytes(path.read_bytes() + b"rest")
    expect(found(path), "goes on for 4 bytes behind its last frame")
    told = found(blo(tmp_path, unmarked=[5]))
    expect(told, "1 records, the first of them number 5", "1 of 12 scan positions have none")
    ids = [*range(5), *range(6, 12), 11]
    expect(found(blo(tmp_path, ids=ids)), "1 of 12 scan positions have none .*; 1 repeat a number")


def test_blo_records_that_opening_does_not_look_at(tmp_path: Path) -> None:
    path = blo(tmp_path, (70, 60))
    assert found(path) == []
    content = bytearray(path.read_bytes())
    start = len(content) - 4200 * 42
    for record, at, value in ((1240, 0, 0), (2345, 2, 1), (2346, 2, 1)):
        content[start + record * 42 + at] = value
    path.write_bytes(content)
    told = found(path)
    assert "error: 1 of 4200 records do not begin with the bytes AA 55: 1240" in told[0]
    assert any("numbers of the scan positions" in text and "2345" in text for text in told)


# ---------------------------------------------------------------- pnCCD


def frms6(folder: Path, count: int = 12, **written: Any) -> Path:
    images = RNG.integers(1, 4000, (count, 8, 8)).astype("u2")
    hdr = {"window": (8, 8)}
    dark = np.full((2, 8, 8), 3, "u2")
    return frms6_writer.write_recording(folder, images, dark, hdr=hdr, **written)


def test_frms6(tmp_path: Path) -> None:
    frms6(tmp_path)
    path = tmp_path / "scan_001.frms6"
    whole = found(path, pixels=True)
    assert whole == []
    content = bytearray(path.read_bytes())
    stride = 64 + 4 * 16 * 2
    gap = content.copy()
    for i in range(5, 12):  # the frames from 5 on are numbered 3 higher
        at = 1024 + i * stride + 12
        gap[at : at + 4] = (i + 3).to_bytes(4, "little")
    path.write_bytes(gap)
    expect(found(path), "scan_001.frms6: 3 frames missing by the frame numbers: 3 before frame 5")
    sensor = content.copy()
    sensor[1024 + 7 * stride + 2] = 3
    path.write_bytes(sensor)
    expect(found(path), "error: 1 of 12 frame headers do not fit the others, .*: .*frames 7")


def test_frms6_headers_that_opening_does_not_look_at(tmp_path: Path) -> None:
    frms6(tmp_path, 1500)
    path = tmp_path / "scan_001.frms6"
    content = bytearray(path.read_bytes())
    content[1024 + 751 * (64 + 128) + 26] = 2  # rows
    path.write_bytes(content)
    expect(found(path), "error: 1 of 1500 frame headers .* frames 751")


def test_frms6_cut(tmp_path: Path) -> None:
    frms6(tmp_path)
    path = tmp_path / "scan_001.frms6"
    os.truncate(path, path.stat().st_size - 100)
    told = "\n".join(found(path))
    assert "holds 11 of the 12 frames it announces" in told
    assert "the .hdr announces 12 frames, the files hold 11" in told


# ---------------------------------------------------------------- K2 IS


def k2is(folder: Path, change: Any = lambda sector, blocks: blocks, **written: Any) -> list[str]:
    frames = RNG.integers(1, 4096, (6, 8, 256)).astype("u2")
    path = k2is_writer.write_k2is(
        folder, frames, block=(4, 16), shutter_from=0, change=change, **written
    )
    told = found(path.with_name("scan1.bin"))
    return [text for text in told if "other than the known" not in text]


def test_k2is(tmp_path: Path) -> None:
    assert k2is(tmp_path) == []

    def damaged(sector: int, blocks: list[bytes]) -> list[bytes]:
        if sector == 3:
            blocks[9] = blocks[9][:28] + b"\7\7" + blocks[9][30:]
        return blocks

    expect(k2is(tmp_path, damaged), "error: scan3.bin: the headers of 1 blocks are damaged .* 2.")

    def other_ids(sector: int, blocks: list[bytes]) -> list[bytes]:
        if sector == 5:  # all blocks of frame 3
            for i in range(12, 16):
                blocks[i] = blocks[i][:24] + (99).to_bytes(4, "big") + blocks[i][28:]
        return blocks

    expect(k2is(tmp_path, other_ids), "sectors have different frame numbers in 1 of 6 frames: 3")

    def mixed(sector: int, blocks: list[bytes]) -> list[bytes]:
        if sector == 2:
            blocks[18] = blocks[18][:24] + (50).to_bytes(4, "big") + blocks[18][28:]
        return blocks

    expect(k2is(tmp_path, mixed), "scan2.bin: blocks of different frame numbers .* frames 4")


def test_k2is_losses(tmp_path: Path) -> None:
    expect(k2is(tmp_path, lost=[(2, 5)]), "scan2.bin: 1 blocks are lost in 1 of 6 frames")
    (tmp_path / "scan4.bin").unlink()
    told = found(tmp_path / "scan1.bin")
    assert any("Sector 4: its file is missing" in text for text in told)


# ---------------------------------------------------------------- TIA


def test_ser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = RNG.integers(1, 200, (20, 6, 10)).astype("u2")
    path = ser_writer.write_ser(tmp_path / "scan_1.ser", frames, [ser_writer.place(20)])
    assert found(path, pixels=True) == []
    assert "there is no .emi" in infos(path)
    monkeypatch.setattr(elements, "READ_ALL_BELOW", 10)
    monkeypatch.setattr(elements, "SAMPLED_HEADERS", 3)
    offsets = elements.read_series(str(path), Problems()).offsets
    content = bytearray(path.read_bytes())
    damaged = content.copy()
    damaged[offsets[5] + 40] = 7  # type of its values
    path.write_bytes(damaged)
    expect(found(path), "error: 1 of 20 elements have another size or type .*: 5")
    damaged = content.copy()
    damaged[offsets[5] + 50 + 120] = 7  # the tag
    path.write_bytes(damaged)
    expect(found(path), "1 of 20 elements have no tag where the table says: 5")
    path.write_bytes(content[: int(offsets[15]) + 20])
    assert any("cannot be read: the file was cut off" in text for text in found(path))


# ---------------------------------------------------------------- HDF5


def test_hdf5_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scan.h5"
    array = RNG.integers(1, 200, (6, 8, 10, 12)).astype("u2")
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", array.shape, "u2", chunks=(2, 4, 10, 6))
        data[:4] = array[:4]
        data[4:, :4] = array[4:, :4]
        data[4:, 4:, :, :6] = array[4:, 4:, :, :6]
    expect(
        found(path),
        "scan.h5: data has no chunks for all or part of 8 of 48 frames: 36 to 39, 44 to 47",
    )
    with h5py.File(path, "r+") as file:
        file["data"][...] = array
    assert found(path, pixels=True) == []
    # what the table says lies beyond the file, which the library itself would refuse to open
    recording = rsciio_tem.open(path)
    (dataset,) = recording.frames.datasets  # type: ignore[attr-defined]
    table = chunk_index(dataset)
    last = int(np.argmax(table.starts))
    monkeypatch.setattr("rsciio_tem.parsing.hdf5_chunks.chunk_index", lambda _: table)
    small = dataset.__class__(
        **{
            **{n: getattr(dataset, n) for n in dataset.__dataclass_fields__},
            "file": dataset.file._replace(size=int(table.starts[last]) + 10),
        }
    )
    object.__setattr__(recording.frames, "datasets", (small,))
    (problem,) = chunk_tables(recording)
    assert problem.severity == "error"
    assert "chunks of 8 of 48 frames lie beyond the end of the file" in problem.message


def test_hdf5_damaged_chunk(tmp_path: Path) -> None:
    array = RNG.integers(1, 200, (12, 10, 12)).astype("u2")
    path = hdf5_writer.write_array(
        tmp_path / "scan.h5", array, chunks=(1, 10, 12), compression="gzip"
    )
    with h5py.File(path) as file:
        at = file["data"].id.get_chunk_info(7).byte_offset
    content = bytearray(path.read_bytes())
    content[at + 4 : at + 30] = b"\xff" * 26
    path.write_bytes(content)
    assert found(path) == []
    expect(found(path, pixels=True), "error: 1 of 12 frames cannot be read: 7. .*damaged")
    os.truncate(path, path.stat().st_size - 300)
    expect(found(path), "error: is an HDF5 file that ends early")


def test_dectris(tmp_path: Path) -> None:
    frames = RNG.integers(1, 200, (12, 6, 10)).astype("u2")
    path = dectris_writer.write_dectris(tmp_path, frames, 4)
    assert found(path, pixels=True) == []
    (lost,) = tmp_path.glob("*data_000002.h5")
    lost.unlink()
    told = "\n".join(found(path))
    assert "1 of 3 data files are missing: scan_data_000002.h5" in told
    assert "4 of 12 frames of the series are missing" in told


# ---------------------------------------------------------------- others


def test_raw_csr(tmp_path: Path) -> None:
    frames = RNG.integers(0, 2, (12, 6, 8)).astype("u2") * RNG.integers(1, 99, (12, 6, 8), "u2")
    path = raw_csr_writer.write_raw_csr(tmp_path / "scan.toml", frames)
    assert found(path, pixels=True) == []
    (indptr,) = tmp_path.glob("*indptr*")
    bounds = np.fromfile(indptr, "<i8")
    bounds[6] = bounds[8]
    bounds.tofile(indptr)
    expect(found(path), "error: .*frame 6 is said to have the entries")


def test_raw_csr_pixels_outside(tmp_path: Path) -> None:
    frames = RNG.integers(0, 2, (12, 6, 8)).astype("u2") * RNG.integers(1, 99, (12, 6, 8), "u2")
    path = raw_csr_writer.write_raw_csr(tmp_path / "scan.toml", frames)
    (indices,) = tmp_path.glob("*indices*")
    (indptr,) = tmp_path.glob("*indptr*")
    places = np.fromfile(indices, "<i4")
    places[np.fromfile(indptr, "<i8")[9]] = 1000
    places.tofile(indices)
    assert found(path) == []
    expect(found(path, pixels=True), "error: 1 of 12 frames cannot be read: 9. .*outside")


def test_mrc(tmp_path: Path) -> None:
    frames = RNG.integers(1, 200, (12, 6, 10)).astype("u2")
    path = mrc_writer.write_mrc(tmp_path / "stack.mrc", frames)
    assert found(path, pixels=True) == []
    content = path.read_bytes()
    path.write_bytes(content + b"rest")
    assert "4 bytes behind the last image" in infos(path)
    path.write_bytes(content[:-200])
    expect(found(path), "announces 12 images, but holds 10 and a part of one")


def test_npy(tmp_path: Path) -> None:
    path = tmp_path / "scan.npy"
    np.save(path, RNG.integers(1, 99, (12, 6, 10)))
    content = path.read_bytes()
    path.write_bytes(content + b"more")
    expect(found(path), "goes on for 4 bytes")
    path.write_bytes(content[:-10])
    expect(found(path), "error: ends after 5750 of the 5760 bytes")


def test_dm(tmp_path: Path) -> None:
    array = RNG.integers(1, 99, (3, 4, 6, 10)).astype("u2")
    path = dm_writer.write_dm(
        tmp_path / "scan.dm4", [dm_writer.image(array, tags=dm_writer.swapped(True))]
    )
    assert found(path, pixels=True) == []
    os.truncate(path, path.stat().st_size // 2)
    told = found(path)
    assert len(told) == 1
    assert told[0].startswith("error: ")


def test_empad(tmp_path: Path) -> None:
    path = empad_writer.write_empad(tmp_path, RNG.normal(size=(2, 3, 128, 128)).astype("f4"))
    assert found(path, pixels=True) == []
    (raw,) = tmp_path.glob("*.raw")
    os.truncate(raw, raw.stat().st_size - 3 * 66560 - 100)
    told = "\n".join(found(path))
    assert "66460 bytes at the end are not a complete frame" in told
    assert "lines are complete" in told or "do not fill one line" in told


def test_framecache(tmp_path: Path) -> None:
    frames = RNG.integers(0, 2, (6, 8, 10)).astype("u2") * 5
    path = framecache_writer.write_npz(tmp_path / "scan.npz", frames)
    assert found(path, "framecache", pixels=True) == []
    content = bytearray(path.read_bytes())
    at = content.find(b"3_data.npy") + len("3_data.npy")
    content[at + 20 : at + 40] = b"\xff" * 20
    path.write_bytes(content)
    assert any("1 of 6 frames cannot be read: 3" in t for t in found(path, pixels=True))


def raw(folder: Path, frames: Any) -> Path:
    path = folder / "scan.raw"
    np.asarray(frames).tofile(path)
    return path


def test_pixels_that_are_no_numbers(tmp_path: Path) -> None:
    frames = RNG.normal(size=(12, 6, 10)).astype("f4")
    frames[3, 1, 2] = frames[4, 0, 0] = np.nan
    frames[9, 5, 5] = np.inf
    told = found(raw(tmp_path, frames), "raw", dtype="f4", sig_shape=(6, 10), pixels=True)
    expect(told, "3 of 12 frames have pixels that are NaN or infinite, 3 in all: frames 3 to 4, 9")
    frames[6].view("u4")[2, 2] = 0x7F800001  # the kind of NaN that raises a flag
    told = found(raw(tmp_path, frames), "raw", dtype="f4", sig_shape=(6, 10), pixels=True)
    expect(told, "4 of 12 frames have pixels that are NaN or infinite, 4 in all")


def test_too_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = raw(tmp_path, RNG.integers(1, 99, (12, 6, 10)).astype("u2"))

    def load(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(FrameTable, "load", load)
    told = found(path, "raw", dtype="u2", sig_shape=(6, 10), pixels=True)
    expect(told, "error: there is too little memory to look at all of it")


def test_empty_frames(tmp_path: Path) -> None:
    frames = RNG.integers(1, 99, (12, 6, 10)).astype("u2")
    own: dict[str, Any] = {"format": "raw", "dtype": "u2", "sig_shape": (6, 10), "pixels": True}
    frames[4] = 0
    path = raw(tmp_path, frames)
    assert found(path, **own) == []
    assert "1 of 12 frames hold nothing but zeros: 4." in infos(path, **own)
    frames[9:] = 0
    expect(found(raw(tmp_path, frames), **own), "zeros: 4, 9 to 11; the last 3 frames")
    expect(found(raw(tmp_path, frames * 0), **own), "12 of 12 frames hold nothing but zeros")
    sparse = np.zeros_like(frames)  # single counts: an empty frame is nothing odd
    sparse[:10:2, 3, 4] = 1
    assert found(raw(tmp_path, sparse), **own) == []


def test_equal_frames(tmp_path: Path) -> None:
    frames = RNG.integers(1, 99, (12, 6, 10)).astype("u2")
    frames[5] = frames[6] = frames[4]
    own: dict[str, Any] = {"format": "raw", "dtype": "u2", "sig_shape": (6, 10), "pixels": True}
    expect(found(raw(tmp_path, frames), **own), "2 of 12 frames are equal .*: 5 to 6")
    frames[:] = 7  # saturated
    assert found(raw(tmp_path, frames), **own) == []


def test_stored_pixel_after_pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that are read in parts are put together again."""
    frames = RNG.normal(size=(12, 6, 10)).astype("f4")
    frames[7] = frames[6]
    frames[2, 3, 4] = np.nan
    frames[11] = 0
    path = tmp_path / "scan.npy"
    np.save(path, np.asfortranarray(frames))
    monkeypatch.setattr(check, "_PIXELS", 64)
    expect(
        found(path, pixels=True),
        "1 of 12 frames have pixels that are NaN or infinite, 1 in all: frames 2",
        "1 of 12 frames hold nothing but zeros: 11; the last 1 frame",
        "1 of 12 frames are equal to the frame before, pixel for pixel: 7",
    )
    done: list[int] = []
    rsciio_tem.check(path, pixels=True, progress=done.append)
    assert sum(done) == 12


def test_hole_in_a_file(tmp_path: Path) -> None:
    frames = RNG.integers(1, 99, (12, 128, 256)).astype("u2")
    path = raw(tmp_path, frames)
    own: dict[str, Any] = {"format": "raw", "dtype": "u2", "sig_shape": (128, 256)}
    assert found(path, **own) == []
    os.truncate(path, 7 * 65536 + 8192)
    os.truncate(path, 12 * 65536)
    if path.stat().st_blocks * 512 >= path.stat().st_size:
        pytest.skip("this file system has no holes")
    expect(found(path, **own), "scan.raw: 4 of 12 frames have no data on the disk")


def test_sectors_of_the_disk_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mib(tmp_path)
    whole = backends._Handle.read_into

    def failing(self: Any, offset: int, buffer: memoryview) -> int:
        if offset <= 7 * STRIDE + 500 < offset + len(buffer):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return whole(self, offset, buffer)

    monkeypatch.setattr(backends._Handle, "read_into", failing)
    monkeypatch.setattr(backends, "read_rows", lambda *_: False)
    told = found(path, pixels=True)
    assert any("1 of 12 frames cannot be read: 7." in text for text in told), told
    assert all("Input/output error" in text for text in told), told


# ---------------------------------------------------------------- command line


def run(*arguments: object, code: int) -> str:
    result = CliRunner().invoke(cli.main, ["check", *(str(a) for a in arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def test_command(tmp_path: Path) -> None:
    path = mib(tmp_path)
    assert run(path, code=0) == (
        f"{path}: ok (mib, 12 frames of 16 × 8 px; pixels were not read (--pixels does))\n"
    )
    assert "all pixels were decoded" in run(path, "--pixels", code=0)
    path = mib(tmp_path, kept=[0, 1, 2, 5, 6], hdr=5)
    first, last = run(path, code=1).splitlines()
    assert first.startswith(f"{path}: warning: 2 frames missing by the frame numbers")
    assert last.startswith(f"{path}: 1 warning (mib, 5 frames")
    content = path.read_bytes()
    path.write_bytes(content[:700] + content[800:])
    lines = run(path, code=2).splitlines()
    kinds = [line.removeprefix(f"{path}: ").split(":")[0] for line in lines[:-1]]
    assert kinds == sorted(kinds, key=["error", "warning", "info"].index)
    assert kinds[0] == "error"


def test_command_on_raw(tmp_path: Path) -> None:
    path = raw(tmp_path, RNG.integers(1, 99, (12, 6, 10)).astype("u2"))
    assert "12 frames" in run(path, "-O", "dtype=u2", "-O", "sig_shape=[6,10]", code=0)
    assert "nothing says its" in run(path, "--format", "raw", code=2)


def test_command_on_folders(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    mib(first)
    shutil.copy(first / "scan.mib", first / "other.mib")
    seq(second)
    (second / "notes.txt").write_text("beside it")
    seq_writer.write_sides(
        second,
        base="scan.seq",
        dark=np.ones((8, 10), "f4"),
        gain=np.ones((8, 10), "f4"),
        info={"ImageSizeX": 10, "ImageSizeY": 8},
    )
    lines = run(tmp_path, code=0).splitlines()
    assert [line.split(": ")[0] for line in lines if ": ok" in line] == [
        str(first / "other.mib"),
        str(first / "scan.mib"),
        str(second / "scan.seq"),
    ]
    assert lines[-1] == "3 recordings: 3 ok"
    lines = run(first / "scan.mib", tmp_path / "nothing", code=2).splitlines()
    assert lines[-1] == "2 recordings: 1 ok, 1 with errors"
    (tmp_path / "empty").mkdir()
    run(tmp_path / "empty", code=2)


def test_command_finds_side_files_first(tmp_path: Path) -> None:
    """A dark image whose name comes before that of its recording is not checked by itself."""
    frames = RNG.integers(1, 4096, (8, 8, 10)).astype("u2")
    seq_writer.write_halves(tmp_path, frames, 4)
    seq_writer.write_mrc(tmp_path / "Movie_00785.seq.dark.mrc", np.ones((8, 10), "f4"))
    out = run(tmp_path, code=0)
    assert len([line for line in out.splitlines() if ": ok" in line]) == 1


def test_command_on_what_is_not_ours(tmp_path: Path) -> None:
    seq(tmp_path, compression=1)
    zarr_writer.write_zarr(tmp_path / "store.zarr", np.ones((3, 4, 5), "u2"))
    out = run(tmp_path, code=1)
    assert out.count("not checked: ") == 1
    assert "store.zarr: ok (zarr, 3 frames of 5 × 4 px" in out


def test_command_json(tmp_path: Path) -> None:
    path = mib(tmp_path, kept=[0, 1, 2, 5, 6], hdr=5)
    (entry,) = json.loads(run(path, "--json", code=1))
    assert entry["path"] == str(path)
    assert entry["verdict"] == "with warnings"
    assert entry["frames"] == {"stored": 5, "shape": [8, 16], "dtype": "uint16"}
    (problem,) = entry["problems"]
    assert set(problem) == {"severity", "message", "hint"}


def test_command_goes_on_behind_a_folder_without_recordings(tmp_path: Path) -> None:
    """Originals are deleted on this verdict: nothing that was named is passed over."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "one").mkdir()
    path = mib(tmp_path / "one")
    zarr_writer.write_zarr(tmp_path / "store.zarr", np.ones((3, 4, 5), "u2"))
    arguments = ["check", str(tmp_path / "empty"), str(path), str(tmp_path / "store.zarr")]
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 2, result.output
    assert "empty: error: holds no recording in a known format." in result.output
    assert "scan.mib: ok" in result.output
    assert "store.zarr: ok (zarr, 3 frames of 5 × 4 px" in result.output
    assert "3 recordings: 2 ok, 1 with errors" in result.output
    listed = json.loads(CliRunner().invoke(cli.main, [*arguments, "--json"]).output)
    assert [entry["verdict"] for entry in listed] == ["with errors", "ok", "ok"]


def test_files_of_hyperspy_are_not_checked(tmp_path: Path) -> None:
    """Nothing is known to be wrong with them; and keywords that their reader lacks are named."""
    hs = pytest.importorskip("hyperspy.api")
    path = tmp_path / "a.hspy"
    hs.signals.Signal2D(np.ones((6, 8, 8), "u2")).save(path)
    (problem,) = rsciio_tem.check(path)
    assert problem.severity == "warning"
    assert "rsciio.hspy is for. It is not checked." in str(problem)
    assert not rsciio_tem.check(path, dataset="Experiments/__unnamed__/data")
    with pytest.raises(TypeError, match=r"a\.hspy is .*'hspy' does not take .*: nav_shape \("):
        rsciio_tem.load(path, nav_shape=(2, 3))
