# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers and times in frame headers."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import SPECS, Spec
from writers import mib

import rsciio_tem
from rsciio_tem.formats.mib import times as mib_times
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.scan.frame_headers import decimals, integers, moments, read_headers
from rsciio_tem.storage.backends import DataFile

MS = 1_000_000


def columns(texts: list[str]) -> np.ndarray:
    """Texts of one length, as columns of bytes."""
    return np.array([list(text.encode("latin-1")) for text in texts], np.uint8).reshape(
        len(texts), -1
    )


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


STAMPED = [spec for spec in SPECS if spec.format in ("frms6", "mib", "seq", "ser", "tvips")]


@pytest.mark.parametrize("spec", STAMPED, ids=str)
def test_some_frames(spec: Spec, tmp_path: Path) -> None:
    """Headers anywhere tell what all of them, read one after the other, do."""
    times = spec.make(tmp_path, np.random.default_rng(0)).parse().times
    if times is None:
        return
    every = times.read(0, times.count)
    for index in (np.arange(times.count), np.arange(times.count)[::-3], np.array([0])):
        some = times.read_at(index)
        for name, column in vars(every).items():
            np.testing.assert_array_equal(vars(some)[name], column[index] if len(column) else [])
