# SPDX-License-Identifier: GPL-3.0-or-later
"""Times in frame headers, and the scan lines they show."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from writers import mib

import rsciio_tem
from rsciio_tem.formats.mib import times as mib_times
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.scan.frame_headers import decimals, integers, moments, read_headers
from rsciio_tem.scan.times import FrameTimes, Times, exposure_lines, guess_lines, timestamp_lines
from rsciio_tem.storage.backends import DataFile

MS = 1_000_000


def columns(texts: list[str]) -> np.ndarray:
    """Texts of one length, as columns of bytes."""
    return np.array([list(text.encode("latin-1")) for text in texts], np.uint8).reshape(
        len(texts), -1
    )


class Counting:
    """Serves times and counts how many were asked for."""

    def __init__(self, time_ns: Any = None, exposure_ns: Any = None) -> None:
        given = time_ns if time_ns is not None else exposure_ns
        none = np.broadcast_to(np.int64(-1), np.shape(given))
        self.time = none if time_ns is None else np.asarray(time_ns, np.int64)
        self.exposure = none if exposure_ns is None else np.asarray(exposure_ns, np.int64)
        self.asked = 0

    def __call__(self, first: int, last: int) -> FrameTimes:
        self.asked += last - first
        return FrameTimes(self.time[first:last], self.exposure[first:last])

    def times(self, external: bool | None = None) -> Times:
        return Times(len(self.time), self, external_trigger=external)


def found(guess: Any) -> tuple[str, int, int] | None:
    return None if guess is None else (guess.rule, guess.start, guess.length)


# -- text ----------------------------------------------------------------------------------------


@given(st.integers(1, 18), st.data())
def test_integers(width: int, data: Any) -> None:
    values = data.draw(st.lists(st.integers(0, 10**width - 1), min_size=1, max_size=5))
    for fill in ("0", " "):
        texts = [str(value).rjust(width, fill) for value in values]
        assert integers(columns(texts)).tolist() == values


@given(st.text(st.characters(codec="latin-1"), min_size=1, max_size=8))
def test_integers_of_any_text(text: str) -> None:
    value = integers(columns([text]))[0]
    spaces_as_zeros = text.replace(" ", "0")
    plain = spaces_as_zeros.isascii() and spaces_as_zeros.isdigit()
    assert value == (int(spaces_as_zeros) if plain else -1)


@given(st.lists(st.decimals(0, 9999, places=6), min_size=1, max_size=5), st.sampled_from([3, 6, 9]))
def test_decimals(values: list[Decimal], places: int) -> None:
    texts = [f"{value:011.6f}" for value in values]
    expected = [int(value * 10**places) for value in values]
    assert decimals(columns(texts), 10**places).tolist() == expected


@given(st.lists(st.integers(1, 10**7 - 1), min_size=1, max_size=5), st.integers(-3, 6))
def test_decimals_with_exponent(values: list[int], exponent: int) -> None:
    """As in headers of 2015: the exposure 25 ms is written 2.500000E+1."""
    texts = [f"{value / 10**6:.6f}E{exponent:+d}" for value in values]
    expected = [int(Decimal(text) * 10**9) for text in texts]
    assert decimals(columns(texts), 10**9).tolist() == expected


@pytest.mark.parametrize("text", ["1.2.3", "1,5", "-0.5", "abc", ".", "1.5E", "1.5E+x", "1.5E+30"])
def test_text_that_is_no_decimal(text: str) -> None:
    assert decimals(columns([text]), 10**6).tolist() == [-1]


def test_no_text() -> None:
    assert decimals(np.empty((3, 0), np.uint8), 1000).tolist() == [-1] * 3
    assert integers(np.empty((2, 0), np.uint8)).tolist() == [-1] * 2
    assert moments(np.empty((2, 5), np.uint8)).tolist() == [-1] * 2
    assert moments(np.empty((0, 29), np.uint8)).tolist() == []


@given(
    st.lists(
        st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(2200, 1, 1)),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 999),
    st.sampled_from(["s", "ms", "us", "ns"]),
    st.sampled_from("T "),
)
def test_moments(
    values: list[datetime.datetime], nanoseconds: int, unit: str, separator: str
) -> None:
    exact = np.array(values, "M8[ns]") + np.timedelta64(nanoseconds, "ns")
    texts = [str(text).replace("T", separator) + "Z" for text in np.datetime_as_string(exact, unit)]
    expected = exact.astype(f"M8[{unit}]").astype("M8[ns]").astype(np.int64)
    assert moments(columns(texts)).tolist() == expected.tolist()


@given(st.lists(st.sampled_from("0123456789-:T. Z"), min_size=19, max_size=29).map("".join))
def test_moments_of_any_text(text: str) -> None:
    """What numpy reads as a time is that time; digits elsewhere than expected are none."""
    (value,) = moments(columns([text])).tolist()
    assert value >= -1


@pytest.mark.parametrize(
    "text",
    [
        "2021-02-30T10:00:00.000000",
        "2021-13-01T10:00:00.000000",
        "2021-00-01T10:00:00.000000",
        "2021-01-00T10:00:00.000000",
        "2021-01-32T10:00:00.000000",
        "2021-01-01T24:00:00.000000",
        "2021-01-01T10:60:00.000000",
        "2021-01-01T10:00:60.000000",
        "1969-12-31T10:00:00.000000",
        "yyyy-mm-dd hh:mm:ss.ffffff",
    ],
)
def test_moments_that_never_were(text: str) -> None:
    good = "2024-02-29T23:59:59.999999"
    expected = np.datetime64(good, "ns").astype(np.int64)
    assert moments(columns([good, text])).tolist() == [expected, -1]


# -- reading headers -----------------------------------------------------------------------------


@pytest.mark.parametrize("pixels", [4, 600, 70_000])
def test_read_headers(tmp_path: Path, pixels: int) -> None:
    heads = np.random.default_rng(0).integers(0, 256, (40, 100), np.uint8)
    files, rows = [], []
    for i, (a, b) in enumerate(((0, 25), (25, 40))):
        path = tmp_path / f"{i}.bin"
        body = np.zeros((b - a, 100 + pixels), np.uint8)
        body[:, :100] = heads[a:b]
        path.write_bytes(b"HEAD" + body.tobytes())
        files.append(DataFile.of(path))
        rows.append((i, 104, 100 + pixels, b - a))
    frames = FrameTable(tuple(files), runs_of(rows), Pixels((1, pixels), np.dtype("u1")))
    for first, last in ((0, 40), (20, 30), (39, 40), (5, 5), (0, 1)):
        np.testing.assert_array_equal(
            read_headers(frames, first, last, 100, 100), heads[first:last]
        )
    np.testing.assert_array_equal(read_headers(frames, 0, 40, 90, 30), heads[:, 10:40])
    order = np.array([3, 2, 1, 30])
    np.testing.assert_array_equal(read_headers(frames[order], 0, 4, 100, 100), heads[order])


def test_times_of_a_recording(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    time = mib.START_NS + np.cumsum(rng.integers(1, 10**10, 50))
    exposure = rng.integers(1, 10**10, 50)
    path = mib.write_mib(
        tmp_path / "a.mib",
        np.zeros((50, 4, 16), np.uint8),
        6,
        times_ns=time,
        exposures_ns=exposure,
        first_sequence=999_990,
    )
    times = rsciio_tem.open(path).times
    assert times is not None
    part = times.read(3, 47)
    np.testing.assert_array_equal(part.time_ns, time[3:47])
    np.testing.assert_array_equal(part.exposure_ns, exposure[3:47])
    np.testing.assert_array_equal(part.sequence, np.arange(999_993, 1_000_037))
    assert len(part) == 44


def test_times_of_2015(tmp_path: Path) -> None:
    exposure = np.array([1_000_000, 25_000_000, 300_000, 326_000_000])
    path = mib.write_mib(
        tmp_path / "a.mib", np.zeros((4, 256, 256), int), 12, legacy="12B", exposures_ns=exposure
    )
    times = rsciio_tem.open(path).times
    assert times is not None
    assert times.read(0, 4).exposure_ns.tolist() == exposure.tolist()
    assert times.read(0, 1).time_ns[0] == mib.START_NS // 10**6 * 10**6


# -- exposures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [0, 1, 100, 256, 257, 1000])
def test_flyback_of_a_real_scan(cut: int) -> None:
    """20 lines of 256 positions and a flyback frame, 41 frames before them."""
    exposure = mib.flyback_exposures(20, 257, 41)
    exposure = exposure[: len(exposure) - cut]
    assert found(exposure_lines(exposure)) == ("exposures", 41, 257)
    assert found(guess_lines(Counting(exposure_ns=exposure).times(), 0, len(exposure))) == (
        "exposures",
        41,
        257,
    )


@pytest.mark.parametrize("lines", [3, 4, 5, 8])
@pytest.mark.parametrize("startup_ns", [None, 2_000_000, 326_000_000])
@pytest.mark.parametrize("start", [1, 2, 41])
def test_few_lines(lines: int, start: int, startup_ns: int | None) -> None:
    exposure = mib.flyback_exposures(lines, 9, start, startup_ns=startup_ns)
    if lines == 3 and startup_ns == 2_000_000:
        return  # no way to tell the start from a line
    guess = exposure_lines(exposure)
    if startup_ns == 2_000_000 and lines < 6:
        assert guess is None or found(guess) == ("exposures", start, 9)
        return
    assert found(guess) == ("exposures", start, 9)


def test_exposures_with_jitter() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        lines, width = rng.integers(3, 40, 2)
        exposure = mib.flyback_exposures(int(lines), int(width), 3, startup_ns=None)
        exposure += rng.integers(-200, 200, len(exposure))
        assert found(exposure_lines(exposure)) == ("exposures", 3, width)


@pytest.mark.parametrize(
    "exposure",
    [
        np.full(500, MS),
        np.where(np.arange(500) == 0, 300 * MS, MS),  # start-up frame only
        np.where(np.arange(500) < 5, 300 * MS, MS),
        np.where(np.isin(np.arange(500), [3, 77, 90, 200, 411]), 2 * MS, MS),
        np.full(500, -1),
        np.zeros(500, int),
        np.full(2, MS),
        np.empty(0, int),
        np.random.default_rng(0).integers(MS // 2, 3 * MS, 500),
    ],
)
def test_exposures_without_lines(exposure: np.ndarray) -> None:
    assert exposure_lines(exposure) is None


def test_lost_flyback_frames() -> None:
    """One line in twenty has lost a frame."""
    exposure = mib.flyback_exposures(40, 64, 10)
    exposure = np.delete(exposure, [10 + 20 * 64 + 30])
    assert found(exposure_lines(exposure)) == ("exposures", 10, 64)


# -- timestamps ----------------------------------------------------------------------------------


def test_jitter_is_no_scan() -> None:
    """Three hundred series without lines, none of which is taken for a scan."""
    rng = np.random.default_rng(0)
    wrong = []
    for i in range(300):
        n = int(rng.integers(4, 400))
        step = int(rng.choice([100_000, MS, 2_095_240, 102 * MS]))
        time = mib.START_NS + np.arange(n) * step + 10 * rng.integers(-1, 2, n)
        if timestamp_lines(time, n) is not None:
            wrong.append(i)
        reader = Counting(time_ns=time)
        if guess_lines(reader.times(), 0, n) is not None:
            wrong.append(i)
    assert not wrong


def test_line_ends_are_found() -> None:
    """Three hundred scans with pauses from 20 µs to 50 ms at the ends of lines."""
    rng = np.random.default_rng(1)
    for _ in range(300):
        lines, width = int(rng.integers(2, 40)), int(rng.integers(2, 60))
        gap = int(10 ** rng.uniform(np.log10(20_000), np.log10(50 * MS)))
        time, _ = mib.scan_times((lines, width), MS, gap, 10, rng)
        guess = timestamp_lines(time, len(time))
        if width == 2 and lines > 2:
            continue  # every second step is long: the median cannot tell which
        assert found(guess) == ("timestamps", 0, width), (lines, width, gap)


def test_noisy_clock() -> None:
    """What counts is how far a pause stands out of the scatter, whatever that is."""
    rng = np.random.default_rng(9)
    for _ in range(200):
        n = int(rng.integers(4, 300))
        series = mib.START_NS + np.arange(n) * MS + rng.normal(0, 2000, n).astype(int)
        assert timestamp_lines(series, n) is None
        lines, width = int(rng.integers(3, 30)), int(rng.integers(5, 60))
        time, _ = mib.scan_times((lines, width), MS, 100_000, 0)
        time += rng.normal(0, 2000, len(time)).astype(int)
        assert found(timestamp_lines(time, len(time))) == ("timestamps", 0, width)


def test_pauses_within_lines() -> None:
    """One line in sixty may have a pause; where one in four has, these are no lines."""
    time, _ = mib.scan_times((60, 32), MS, 100_000, 10, np.random.default_rng(10))
    for every, is_scan in ((60, True), (4, False)):
        late = time.copy()
        for line in range(1, 60, every):
            late[line * 32 + 11 :] += 80_000
        guess = timestamp_lines(late, len(late))
        assert found(guess) == (("timestamps", 0, 32) if is_scan else None)


def test_smallest_gap_of_a_real_scan() -> None:
    """102 ms dwell, and one single pause that is 20.8 µs longer, after the first of two lines."""
    time = mib.START_NS + np.arange(8) * 102 * MS + (np.arange(8) >= 4) * 20_800
    assert found(timestamp_lines(time, 8)) == ("timestamps", 0, 4)
    # one pause elsewhere is no line end
    time = mib.START_NS + np.arange(8) * 102 * MS + (np.arange(8) >= 3) * 20_800
    assert timestamp_lines(time, 8) is None


@pytest.mark.parametrize("cut", [1, 5, 31, 32, 33])
def test_interrupted_scan(cut: int) -> None:
    time, _ = mib.scan_times((10, 32), MS, 100_000, 10, np.random.default_rng(2))
    time = time[:-cut]
    assert found(timestamp_lines(time, len(time))) == ("timestamps", 0, 32)


def test_frames_before_the_scan() -> None:
    rng = np.random.default_rng(3)
    time, _ = mib.scan_times((30, 32), MS, 100_000, 10, rng)
    before = time[0] - 5 * MS - np.arange(7, 0, -1) * MS
    both = np.concatenate([before, time])
    assert found(timestamp_lines(both, len(both))) == ("timestamps", 7, 32)


def test_lost_frames() -> None:
    time, _ = mib.scan_times((60, 32), MS, 100_000, 10, np.random.default_rng(4))
    for lost in ([500], [100], [0]):
        kept = np.delete(time, lost)
        guess = timestamp_lines(kept, len(kept))
        assert guess is None or guess.length == 32
    many = np.delete(time, np.random.default_rng(5).choice(len(time), 200, replace=False))
    assert timestamp_lines(many, len(many)) is None


def test_pauses_anywhere_are_no_lines() -> None:
    rng = np.random.default_rng(6)
    for _ in range(100):
        steps = np.full(400, MS)
        steps[rng.choice(400, 12, replace=False)] += 30 * MS
        time = mib.START_NS + np.cumsum(steps)
        assert timestamp_lines(time, len(time)) is None


def test_times_missing_in_headers() -> None:
    time, _ = mib.scan_times((10, 32), MS, 100_000, 10, np.random.default_rng(7))
    time[200:] = -1  # the rest of the file is damaged
    assert found(timestamp_lines(time, len(time))) == ("timestamps", 0, 32)
    assert timestamp_lines(np.full(100, -1), 100) is None
    assert timestamp_lines(time[:3], 3) is None


# -- large recordings ----------------------------------------------------------------------------

LARGE = 256 * 1024


def large_scan(width: int) -> np.ndarray:
    index = np.arange(LARGE)
    return mib.START_NS + index * MS + index // width * 200_000


@pytest.mark.parametrize("width", [16, 128, 256, 500])
def test_a_sample_is_enough(width: int) -> None:
    reader = Counting(time_ns=large_scan(width))
    assert found(guess_lines(reader.times(), 0, LARGE)) == ("timestamps", 0, width)
    assert reader.asked < 2048 + 200

    index = np.arange(LARGE)
    reader = Counting(exposure_ns=np.where(index % width == 5, 2 * MS, MS))
    assert found(guess_lines(reader.times(), 0, LARGE)) == ("exposures", 5, width)
    assert reader.asked < 2048 + 200


def test_long_lines_need_more() -> None:
    reader = Counting(time_ns=large_scan(4096))
    assert found(guess_lines(reader.times(), 0, LARGE)) == ("timestamps", 0, 4096)
    assert reader.asked < LARGE


def test_nothing_to_find_costs_little() -> None:
    """A long series without lines is given up after a part of it."""
    count = 4 * LARGE
    reader = Counting(time_ns=mib.START_NS + np.arange(count) * MS)
    assert guess_lines(reader.times(), 0, count) is None
    assert reader.asked <= 2048 + 16_384 + 131_072


def test_pattern_that_breaks_later() -> None:
    """Lines at the beginning only: the rest is looked at before they are believed."""
    time = large_scan(256)
    time[4096:] = time[4095] + np.arange(1, LARGE - 4095) * MS
    reader = Counting(time_ns=time)
    guess = guess_lines(reader.times(), 0, LARGE)
    assert guess is None or reader.asked > LARGE


def test_part_of_a_recording() -> None:
    reader = Counting(time_ns=large_scan(64))
    assert found(guess_lines(reader.times(), 640, 640 + 64 * 20)) == ("timestamps", 0, 64)
    guess = guess_lines(reader.times(), 650, 650 + 64 * 20)
    assert guess is not None
    assert guess.length == 64
    assert (guess.start + 650) % 64 == 0


def test_internal_clock() -> None:
    time, exposure = mib.scan_times((10, 32), rng=np.random.default_rng(8))
    reader = Counting(time_ns=time, exposure_ns=exposure)
    assert guess_lines(reader.times(external=False), 0, 320) is None
    for external in (True, None):
        assert found(guess_lines(reader.times(external), 0, 320)) == ("timestamps", 0, 32)
    assert guess_lines(reader.times(True), 0, 320, "exposures") is None
    assert guess_lines(reader.times(False), 0, 320, "timestamps") is not None


def test_sample_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a large file with a scan looks at few of its headers."""
    count = 100 * 128
    index = np.arange(count)
    path = mib.write_sparse_mib(
        tmp_path / "a.mib",
        count,
        (64, 256),
        6,
        all_headers=True,
        times_ns=mib.START_NS + index * MS + index // 128 * 200_000,
    )
    looked = []
    module = rsciio_tem.mib
    real = mib_times.read_headers

    def counting(frames: Any, first: int, last: int, *sizes: int) -> Any:
        looked.append(last - first)
        return real(frames, first, last, *sizes)

    monkeypatch.setattr(mib_times, "read_headers", counting)
    (signal,) = module.file_reader(path, lazy=True)
    assert signal["data"].shape == (100, 128, 64, 256)
    assert sum(looked) < 2048 + 300
    looked.clear()
    module.file_reader(path, lazy=True, navigation_shape=(128, 100))
    assert sum(looked) < 100


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-1, 5) | st.integers(-1, 2**62), max_size=60), st.integers(0, 80))
def test_any_numbers(values: list[int], more: int) -> None:
    """Whatever the headers say, the rules give lines that exist, or none."""
    numbers = np.array(values, np.int64)
    total = len(numbers) + more
    for guess in (exposure_lines(numbers), timestamp_lines(np.sort(numbers), total)):
        if guess is not None:
            assert 2 <= guess.length <= total
            assert 0 <= guess.start < total
            assert 0 < guess.confidence < 1
