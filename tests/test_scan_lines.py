# SPDX-License-Identifier: GPL-3.0-or-later
"""Scan lines in times, exposures and frame numbers: which are seen, and where frames belong."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from writers import mib

from rsciio_tem.errors import FormatError, RecordingWarning
from rsciio_tem.scan.decision import resolve_scan
from rsciio_tem.scan.events import events_of
from rsciio_tem.scan.hypotheses import Claims, _standing_out, best_fits
from rsciio_tem.scan.scan import Scan, ScanHint, ScanRequest
from rsciio_tem.scan.times import FrameTimes, Times

MS, US = 1_000_000, 1_000


class Counting:
    """Serves times and counts how many were asked for."""

    def __init__(self, time_ns: Any = None, exposure_ns: Any = None, numbers: Any = None) -> None:
        some = time_ns if time_ns is not None else exposure_ns
        none = np.full(np.shape(some), -1, np.int64)
        self.columns = [
            none if values is None else np.asarray(values, np.int64)
            for values in (time_ns, exposure_ns, numbers, None)
        ]
        self.asked = 0

    def __len__(self) -> int:
        return len(self.columns[0])

    def __call__(self, first: int, last: int) -> FrameTimes:
        part = slice(max(first, 0), max(last, 0))
        self.asked += len(self.columns[0][part])
        return FrameTimes(*(column[part] for column in self.columns))

    def times(self, external: bool | None = None) -> Times:
        return Times(len(self), self, external_trigger=external)

    def scan(self, *hints: ScanHint, external: bool | None = None, **options: Any) -> Scan:
        """Decide quietly; what was said is in `messages`."""
        announced = options.pop("announced", 0)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RecordingWarning)
            scan = resolve_scan(
                len(self),
                ScanRequest(**options),
                hints,
                self.times(external),
                announced=announced,
                path="a.mib",
            )
        self.messages = [str(w.message).removeprefix("a.mib: ") for w in caught]
        return scan


def index_of(scan: Scan) -> np.ndarray:
    """Write out an index."""
    if isinstance(scan.index, slice):
        return np.arange(scan.index.start, scan.index.stop)
    return scan.index


def raster(lines: int, columns: int, step: int = MS, gap: int = 300 * US) -> np.ndarray:
    index = np.arange(lines * columns)
    return mib.START_NS + index * step + index // columns * gap


def header(lines: int, columns: int) -> ScanHint:
    return ScanHint("header", (lines, columns), 0.95, f"the .hdr says {columns} x {lines}")


def trigger(columns: int, total: int) -> ScanHint:
    shape = (-(-total // columns), columns)
    return ScanHint("trigger", shape, 0.9, f"the .hdr says {columns} frames per trigger")


# -- lost and doubled frames ---------------------------------------------------------------------


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("lost", [[500], [0], [1], [49], [50], [2998], [500, 501], [77, 900, 2100]])
def test_lost_frames_are_blank_and_nothing_moves(lost: list[int], numbered: bool) -> None:
    there = np.delete(np.arange(3000), lost)
    numbers = there + 1 if numbered else np.arange(len(there)) + 1
    source = Counting(raster(60, 50)[there], None, numbers)
    scan = source.scan()
    expected = np.full(3000, -1)
    expected[there] = np.arange(len(there))
    assert scan.shape == (60, 50)
    assert index_of(scan).tolist() == expected.tolist()
    assert scan.evidence.rule == "timestamps"
    assert source.messages
    assert scan.lines["blanks"].sum() == len(lost)
    mask = scan.missing_mask
    assert mask is not None
    assert np.flatnonzero(mask).tolist() == lost


def test_the_positions_are_named() -> None:
    there = np.delete(np.arange(3000), [500, 612, 613])
    source = Counting(raster(60, 50)[there])
    scan = source.scan()
    assert source.messages == [
        "3 of 3000 scan positions were not recorded and are blank: line 10 column 0, line 12 "
        "columns 12 to 13."
    ]
    assert scan.evidence.confidence >= 0.8
    assert scan.describe()["incomplete_lines"] == 2
    assert scan.describe()["lines"] == [
        {"line": 10, "first": 500, "frames": 49, "blanks": 1},
        {"line": 12, "first": 599, "frames": 48, "blanks": 2},
    ]
    with pytest.raises(FormatError, match=r"3 of 3000 .*line 10 column 0"):
        source.scan(missing="raise")
    assert source.scan(missing="fill").shape == (60, 50)


def test_one_lost_frame_in_a_scan_of_five_lines() -> None:
    there = np.delete(np.arange(60), 30)
    scan = Counting(raster(5, 12)[there]).scan()
    assert scan.shape == (5, 12)
    assert np.flatnonzero(index_of(scan) < 0).tolist() == [30]


def test_frames_behind_the_scan_do_not_hide_a_loss() -> None:
    there = np.delete(np.arange(3000), 500)
    time = np.append(raster(60, 50)[there], raster(60, 50)[-1] + MS)
    scan = Counting(time).scan(trigger(50, 3000), external=True, announced=3000)
    assert scan.shape == (60, 50)
    assert np.flatnonzero(index_of(scan) < 0).tolist() == [500]


@pytest.mark.parametrize("at", [1, 300, 1234, 2999])
def test_a_doubled_frame_is_left_out(at: int) -> None:
    stored = np.insert(np.arange(3000), at, at - 1)
    time = raster(60, 50)[stored]
    time[at] += 3 * US
    source = Counting(time, None, stored + 1)
    scan = source.scan()
    assert scan.shape == (60, 50)
    assert stored[index_of(scan)].tolist() == list(range(3000))
    assert any("repeats a number" in message for message in source.messages)


def test_numbers_alone_place_frames() -> None:
    """Stamps in batches tell nothing; the frame numbers do."""
    there = np.delete(np.arange(600), [123, 400])
    time = mib.START_NS + (there // 8 + 1) * 8 * MS
    source = Counting(time, np.full(598, MS), there + 1)
    scan = source.scan(header(20, 30), external=True)
    assert scan.shape == (20, 30)
    assert np.flatnonzero(index_of(scan) < 0).tolist() == [123, 400]


def test_a_loss_is_not_made_up_from_a_late_system() -> None:
    """The steps are just five frames long, but the lines are complete."""
    time = raster(40, 25, gap=2 * MS)
    time[10:] += 5 * MS
    time[30:] += 5 * MS
    scan = Counting(time).scan()
    assert (scan.shape, index_of(scan).tolist()) == ((40, 25), list(range(1000)))


@settings(max_examples=60)
@given(st.data())
def test_any_losses(data: Any) -> None:
    """Whatever few frames are missing: those that are there stay where they belong."""
    lines, columns = data.draw(st.integers(8, 20)), data.draw(st.integers(8, 30))
    count = lines * columns
    lost = sorted(data.draw(st.sets(st.integers(columns, count - columns - 1), max_size=2)))
    there = np.delete(np.arange(count), lost)
    gap = data.draw(st.sampled_from([80 * US, 310 * US, 2_340 * US]))
    scan = Counting(raster(lines, columns, gap=gap)[there], None, there + 1).scan()
    assert scan.shape == (lines, columns)
    assert np.flatnonzero(index_of(scan) < 0).tolist() == lost


@pytest.mark.parametrize("at", [750, 760, 799])
def test_an_extra_trigger_is_told(at: int) -> None:
    """A frame for which there was no time, though the camera numbered it: one of two readings."""
    time = np.insert(raster(60, 50), at, raster(60, 50)[at - 1] + 500 * US)
    source = Counting(time, None, np.arange(3001))
    scan = source.scan()
    assert scan.evidence.confidence < 0.8
    assert source.messages
    assert (index_of(scan)[:700] == np.arange(700)).all()


# -- headers are claims --------------------------------------------------------------------------


def test_a_stale_shape_loses_against_two_that_agree() -> None:
    source = Counting(raster(8, 12, gap=2 * MS))
    scan = source.scan(header(4, 24), trigger(12, 96), external=True, announced=96)
    assert (scan.shape, scan.evidence.rule) == ((8, 12), "trigger")
    assert scan.evidence.confidence < 0.8
    assert any("24 x 4" in words and "12 frames" in words for words in source.messages)
    assert scan.contradictions
    assert (4, 24) in [hint.shape for hint in scan.alternatives]


def test_transposed_claim() -> None:
    source = Counting(raster(8, 12, gap=2 * MS))
    scan = source.scan(header(12, 8), external=True, announced=96)
    assert scan.shape == (8, 12)
    assert scan.evidence.confidence < 0.8
    assert "8 x 12" in source.messages[0]


def test_a_claim_that_the_times_confirm() -> None:
    source = Counting(raster(20, 30))
    scan = source.scan(header(20, 30), external=True, announced=600)
    assert (scan.shape, scan.evidence.rule) == ((20, 30), "header")
    assert scan.evidence.confidence >= 0.8
    assert not source.messages
    assert not scan.contradictions


def test_the_shape_of_the_caller_is_used_but_told() -> None:
    source = Counting(raster(30, 50))
    scan = source.scan(shape=(50, 30), hyperspy_order=True)
    assert scan.shape == (50, 30)
    assert source.messages == [
        "(x, y) = (30, 50) was asked for, but every 50 frames the next one comes 300 µs late "
        "(usual step 1 ms): that is (x, y) = (50, 30)."
    ]
    scan = source.scan(shape=(50, 30))
    assert "(y, x) = (50, 30) was asked for" in source.messages[0]
    source.scan(shape=(30, 50))
    assert not source.messages


def test_losses_are_placed_in_the_shape_of_the_caller() -> None:
    there = np.delete(np.arange(1500), 700)
    source = Counting(raster(30, 50)[there])
    for shape in ((30, 50), (-1, 50), (30, -1)):
        scan = source.scan(shape=shape)
        assert scan.shape == (30, 50)
        assert np.flatnonzero(index_of(scan) < 0).tolist() == [700]
    # who says where the scan begins wants nothing moved
    scan = source.scan(shape=(29, 50), sync_offset=0)
    assert index_of(scan).tolist() == list(range(1450))


# -- the beginning -------------------------------------------------------------------------------


def test_armed_late() -> None:
    source = Counting(raster(20, 30, gap=2 * MS)[11:])
    for hints in ((), (header(20, 30),)):
        scan = source.scan(*hints, external=True, announced=600)
        assert scan.shape == (20, 30)
        assert index_of(scan).tolist() == [-1] * 11 + list(range(589))
        assert any("line 0 columns 0 to 10 were not recorded" in m for m in source.messages)


def test_missing_positions_at_the_beginning() -> None:
    source = Counting(raster(20, 30, gap=2 * MS)[11:])
    with pytest.raises(FormatError, match=r"11 of 600 .*line 0 columns 0 to 10"):
        source.scan(missing="raise")
    assert source.scan(missing="crop").shape == (19, 30)
    assert source.scan(missing="fill").shape == (20, 30)
    # the caller knows better: nothing is uncertain any more
    scan = source.scan(shape=(20, 30))
    assert index_of(scan).tolist() == [-1] * 11 + list(range(589))
    assert not any("uncertain" in message for message in source.messages)


def test_sync_offset_is_where_the_scan_begins() -> None:
    """It counts from the first frame, whatever the times say."""
    before = mib.START_NS - 500 * MS + np.arange(7) * MS
    source = Counting(np.append(before, raster(20, 30, gap=2 * MS)))
    scan = source.scan(sync_offset=7)
    assert (scan.shape, index_of(scan).tolist()) == ((20, 30), list(range(7, 607)))
    source = Counting(raster(20, 30, gap=2 * MS)[11:])
    scan = source.scan(sync_offset=-11)
    assert index_of(scan).tolist() == [-1] * 11 + list(range(589))


def test_running_before_the_scan() -> None:
    before = mib.START_NS - 500 * MS + np.arange(7) * MS
    source = Counting(np.append(before, raster(20, 30, gap=2 * MS)))
    for hints in ((), (trigger(30, 600),)):
        scan = source.scan(*hints, external=True, announced=600)
        assert (scan.shape, index_of(scan).tolist()) == ((20, 30), list(range(7, 607)))
        assert source.messages == ["7 frames before the first line of the scan are not used."]


# -- flyback -------------------------------------------------------------------------------------


def test_flyback_frames_of_which_nothing_tells_the_side() -> None:
    source = Counting(mib.START_NS + np.arange(104) * MS)
    scan = source.scan(header(8, 12), trigger(13, 104), external=True, announced=104)
    assert scan.shape == (8, 13)
    assert "nothing says which of them were recorded during flyback" in source.messages[0]
    scan = source.scan(header(8, 12), trigger(13, 104), external=True, line_skip=1)
    assert scan.shape == (8, 12)


def test_the_columns_of_the_header_as_the_caller_says_them() -> None:
    """31 frames are stored per line of 30: a shape of 30 columns is not sheared."""
    source = Counting(mib.START_NS + np.arange(31 * 40) * MS)
    hints = header(40, 30), trigger(31, 31 * 40)
    scan = source.scan(*hints, external=True, announced=31 * 40, shape=(40, 30))
    grid = np.arange(31 * 40).reshape(40, 31)
    assert index_of(scan).tolist() == grid[:, :30].reshape(-1).tolist()
    assert "31 frames are stored per line of 30" in source.messages[0]
    options = {"first_frame": 1, "line_skip": 1}
    scan = source.scan(*hints, external=True, announced=31 * 40, **options)
    assert index_of(scan).tolist() == grid[:, 1:].reshape(-1).tolist()


def test_a_stale_header_makes_no_flyback() -> None:
    source = Counting(raster(8, 12, gap=2 * MS))
    scan = source.scan(header(8, 10), trigger(12, 96), external=True, announced=96)
    assert (scan.shape, index_of(scan).tolist()) == ((8, 12), list(range(96)))


@pytest.mark.parametrize("cut", [0, 1, 100, 256])
def test_flyback_of_a_real_scan(cut: int) -> None:
    """20 lines of 256 positions and a flyback frame, 41 frames before them."""
    exposure = mib.flyback_exposures(20, 257, 41)
    exposure = exposure[: len(exposure) - cut]
    scan = Counting(exposure_ns=exposure).scan()
    assert scan.evidence.rule == "exposures"
    assert scan.shape[1] == 256
    lines = scan.lines["first"]
    assert set(np.diff(lines[1:]).tolist()) <= {257}
    assert (lines[-1] - 42) % 257 == 0


EXPOSURES = np.where(np.arange(32) % 8 == 2, 1_800_000, 900_000)


def test_marked_flyback_frames_are_left_out_or_kept() -> None:
    source = Counting(exposure_ns=EXPOSURES)
    scan = source.scan()
    assert scan.shape[-1] == 7
    assert index_of(scan)[7:28].tolist() == [*range(3, 10), *range(11, 18), *range(19, 26)]
    kept = source.scan(flyback="keep")
    assert kept.shape[-1] == 8
    assert index_of(kept)[8:32].tolist() == list(range(2, 26))


def test_marks_behind_their_lines() -> None:
    exposure = np.where(np.arange(40) % 8 == 7, 1_800_000, 900_000)
    source = Counting(exposure_ns=exposure)
    assert source.scan().shape == (5, 7)
    kept = source.scan(flyback="keep")
    assert (kept.shape, index_of(kept).tolist()) == ((5, 8), list(range(40)))


def test_two_marks_per_line() -> None:
    exposure = np.where(np.arange(60) % 10 < 2, 1_800_000, 900_000)
    source = Counting(exposure_ns=exposure)
    scan = source.scan()
    grid = np.arange(60).reshape(6, 10)
    assert (scan.shape, index_of(scan).tolist()) == ((6, 8), grid[:, 2:].reshape(-1).tolist())
    assert "every 10 frames 2 are exposed longer" in scan.evidence.reason
    kept = source.scan(flyback="keep")
    assert (kept.shape, index_of(kept).tolist()) == ((6, 10), list(range(60)))
    # frames per trigger counts them, too
    scan = source.scan(trigger(10, 60), external=True, announced=60)
    assert scan.shape == (6, 8)
    assert not source.messages


# -- no scan -------------------------------------------------------------------------------------


def is_stack(source: Counting, **options: Any) -> bool:
    scan = source.scan(**options)
    return scan.evidence.rule == "stack" and len(scan.shape) == 1


def test_series_are_no_scans() -> None:
    even = mib.START_NS + np.arange(300) * 1_100_000
    assert is_stack(Counting(even))
    assert is_stack(Counting(even // MS * MS))  # stamps of whole ms
    pause = even.copy()
    pause[150:] += 1000 * MS
    assert is_stack(Counting(pause))
    rng = np.random.default_rng(0)
    i = np.arange(400)
    batches = (i // 8 + 1) * 8 * MS + np.sort(rng.integers(0, 3000, (50, 8)), 1).reshape(-1)
    assert is_stack(Counting(mib.START_NS + batches, np.full(400, MS)))
    assert is_stack(Counting(mib.START_NS + batches))
    long = np.where(np.arange(150) % 10 == 9, 200 * MS, 50 * MS)
    time = mib.START_NS + np.append(0, np.cumsum(long + 2 * MS))[:150]
    assert is_stack(Counting(time, long), external=False)


def test_leftover_frames_per_trigger() -> None:
    source = Counting(mib.START_NS + np.arange(256) * MS)
    scan = source.scan(trigger(64, 256), external=False, announced=256)
    assert scan.shape == (256,)
    assert not source.messages


def test_jitter_is_no_scan() -> None:
    """Two hundred series without lines, none of which is taken for a scan."""
    rng = np.random.default_rng(0)
    for i in range(200):
        n = int(rng.integers(4, 400))
        step = int(rng.choice([100_000, MS, 2_095_240, 102 * MS]))
        scatter = float(rng.choice([10, 1000, 20_000]))
        time = mib.START_NS + np.arange(n) * step + rng.normal(0, scatter, n).astype(int)
        assert is_stack(Counting(time)), i


def test_pauses_anywhere_are_no_lines() -> None:
    rng = np.random.default_rng(6)
    for _ in range(50):
        steps = np.full(400, MS)
        steps[rng.choice(400, 12, replace=False)] += 30 * MS
        assert is_stack(Counting(mib.START_NS + np.cumsum(steps)))


# -- lines ---------------------------------------------------------------------------------------


def test_line_ends_are_seen() -> None:
    """A hundred scans with pauses from 20 µs to 5 ms at the ends of lines."""
    rng = np.random.default_rng(1)
    for _ in range(100):
        lines, columns = int(rng.integers(4, 30)), int(rng.integers(4, 50))
        gap = int(10 ** rng.uniform(np.log10(20_000), np.log10(5 * MS)))
        time, _ = mib.scan_times((lines, columns), MS, gap, 10, rng)
        assert Counting(time).scan().shape == (lines, columns), (lines, columns, gap)


def test_weak_line_ends_are_seen_over_many_lines() -> None:
    """A gap of the size of the jitter shows in no single step."""
    rng = np.random.default_rng(3)
    time = raster(80, 50, gap=30 * US) + rng.normal(0, 15 * US, 4000).astype(int)
    assert Counting(time).scan().shape == (80, 50)


def test_smallest_gap_of_a_real_scan() -> None:
    """102 ms dwell, and one single pause that is 20.8 µs longer, after the first of two lines."""
    time = mib.START_NS + np.arange(8) * 102 * MS + (np.arange(8) >= 4) * 20_800
    source = Counting(time, None, np.arange(8))
    assert source.scan(external=True, announced=8).shape == (2, 4)
    assert not source.messages
    time = mib.START_NS + np.arange(8) * 102 * MS + (np.arange(8) >= 3) * 20_800
    assert is_stack(Counting(time), external=True)


def test_clock_set_forward_and_back() -> None:
    for step in (700 * MS, -700 * MS, 86_400_000 * MS):
        time = raster(12, 14, gap=2 * MS)
        time[75:] += step
        scan = Counting(time).scan()
        assert (scan.shape, index_of(scan).tolist()) == ((12, 14), list(range(168)))


@pytest.mark.parametrize("cut", [1, 5, 31, 32, 33])
def test_interrupted_scan(cut: int) -> None:
    time, _ = mib.scan_times((10, 32), MS, 100_000, 10, np.random.default_rng(2))
    scan = Counting(time[:-cut]).scan()
    assert scan.shape == ((320 - cut) // 32, 32)


def test_repeats() -> None:
    time = np.concatenate([raster(5, 8) + r * 200 * MS for r in range(4)])
    for hints in ((), (header(5, 8),)):
        scan = Counting(time).scan(*hints, external=True, announced=160)
        assert scan.shape == (4, 5, 8)
    # counts alone
    scan = resolve_quietly(160, [header(5, 8)])
    assert scan.shape == (4, 5, 8)


def resolve_quietly(count: int, hints: list[ScanHint], **options: Any) -> Scan:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        return resolve_scan(count, ScanRequest(), hints, **options)


def test_claims_without_times() -> None:
    said = trigger(13, 104)
    assert resolve_quietly(104, [header(8, 12), said]).shape == (8, 13)
    said = ScanHint("trigger", (10, 6), 0.8, "10 triggers of 6 frames")
    scan = resolve_quietly(60, [header(5, 12), said])
    assert scan.shape == (10, 6)
    assert scan.evidence.confidence < 0.8
    assert "12 x 5" in scan.contradictions[0]
    stopped = ScanHint("trigger", (8, 12), 0.8, "8 triggers of 12 frames")
    assert resolve_quietly(91, [stopped], announced=96).shape == (7, 12)


def test_internal_clock() -> None:
    time, exposure = mib.scan_times((10, 32), rng=np.random.default_rng(8))
    source = Counting(time, exposure)
    assert is_stack(source, external=False)
    assert (10, 32) in [hint.shape for hint in source.scan(external=False).alternatives]
    assert source.scan(external=False, rule="timestamps").shape == (10, 32)


def test_times_missing_in_headers() -> None:
    time, _ = mib.scan_times((10, 32), MS, 100_000, 10, np.random.default_rng(7))
    time[300:] = -1  # the rest of the file is damaged
    assert Counting(time).scan().shape == (10, 32)
    assert is_stack(Counting(np.full(100, -1)))


# -- large recordings ----------------------------------------------------------------------------

LARGE = 256 * 1024


@pytest.mark.parametrize("columns", [16, 128, 256, 512])
def test_a_sample_is_enough(columns: int) -> None:
    source = Counting(raster(LARGE // columns, columns, gap=200_000))
    assert source.scan().shape == (LARGE // columns, columns)
    assert source.asked < 2048 + 200


def test_long_lines_need_more() -> None:
    source = Counting(raster(64, 4096, gap=200_000))
    assert source.scan().shape == (64, 4096)
    assert source.asked < LARGE / 8


def test_nothing_to_see_costs_little() -> None:
    source = Counting(mib.START_NS + np.arange(4 * LARGE) * MS)
    assert is_stack(source)
    assert source.asked <= 2048 + 1400 + 16_384


@pytest.mark.parametrize("numbered", [False, True])
def test_losses_are_located_by_bisection(numbered: bool) -> None:
    count = 1000 * 1000
    lost = [count // 3, count // 2 + 7, count - 3005]
    there = np.delete(np.arange(count), lost)
    time = raster(1000, 1000, gap=200_000)[there]
    source = Counting(time, None, there + 1 if numbered else np.arange(len(there)) + 1)
    scan = source.scan()
    assert scan.shape == (1000, 1000)
    assert np.flatnonzero(index_of(scan) < 0).tolist() == lost
    assert source.asked < 2048 + 128 + 500


def test_a_header_that_is_right_needs_few_headers() -> None:
    source = Counting(raster(1000, 1000, gap=200_000))
    scan = source.scan(header(1000, 1000), external=True, announced=10**6)
    assert scan.shape == (1000, 1000)
    assert source.asked < 200


def test_on_a_server_few_headers_are_asked_for_in_vain() -> None:
    """Each is a request; lines of up to 800 frames are found all the same."""
    even = Counting(np.arange(100_000) * 1_000_000)
    times = replace(even.times(), remote=True)
    assert resolve_scan(len(even), ScanRequest(), (), times).shape == (100_000,)
    assert even.asked < 8000
    lines = Counting(raster(100, 800, gap=200_000))
    times = replace(lines.times(), remote=True)
    assert resolve_scan(len(lines), ScanRequest(), (), times).shape == (100, 800)


def test_many_losses_in_a_large_recording() -> None:
    rng = np.random.default_rng(5)
    count = 400 * 256
    lost = np.sort(rng.choice(np.arange(5000, count - 300), 60, replace=False))
    there = np.delete(np.arange(count), lost)
    scan = Counting(raster(400, 256, gap=210_000)[there], None, there + 1).scan()
    assert scan.shape == (400, 256)
    assert np.flatnonzero(index_of(scan) < 0).tolist() == lost.tolist()


def test_everything_is_read_on_request() -> None:
    there = np.delete(np.arange(50_000), [20_000])
    source = Counting(raster(500, 100)[there])
    with pytest.warns(RecordingWarning, match="line 200 column 0"):
        scan = resolve_scan(len(source), ScanRequest(), (), source.times(), exhaustive=True)
    assert scan.shape == (500, 100)
    assert source.asked >= len(source)


# -- whatever is in the headers ------------------------------------------------------------------


@settings(max_examples=300)
@given(
    st.lists(st.integers(-1, 5) | st.integers(-1, 2**62), max_size=60),
    st.lists(st.integers(-1, 5) | st.integers(-1, 2**62), max_size=60),
    st.lists(st.integers(-1, 5) | st.integers(-1, 2**62), max_size=60),
)
def test_any_numbers(times: list[int], exposures: list[int], numbers: list[int]) -> None:
    """Whatever headers say, frames end up at places that exist, none of them twice."""
    size = min(len(times), len(exposures), len(numbers))
    source = Counting(times[:size], exposures[:size], numbers[:size])
    if not size:
        return
    scan = source.scan()
    index = index_of(scan)
    recorded = index[index >= 0]
    assert len(np.unique(recorded)) == len(recorded)
    assert recorded.max(initial=0) < size
    assert 0 <= scan.evidence.confidence <= 1


def test_confidence_of_a_clear_scan() -> None:
    seen = FrameTimes(raster(20, 30), np.full(600, MS), np.arange(600), np.full(600, -1))
    fits = best_fits(events_of(seen), Claims())
    assert fits[0].length == 30
    assert fits[0].score > 20
    assert all(fit.score < 0 for fit in fits[1:])


@given(st.integers(0, 2**32), st.integers(1, 500), st.integers(2, 60), st.booleans())
def test_lengths_that_stand_out(seed: int, count: int, line: int, lines: bool) -> None:
    """The same ones as of sums over lines of every length."""
    random = np.random.default_rng(seed)
    values = np.clip(random.standard_t(3, size=count) * random.choice([0.3, 1, 2]), -4, 8)
    values[::line] += 3 * random.random() * lines
    values -= values.mean()
    clear = []
    for length in range(2, count // 2 + 1):
        whole = values[: count // length * length].reshape(-1, length)
        z = whole.sum(axis=0).max() / (np.sqrt(len(whole)) * max(1.0, float(np.std(values))))
        if z > 4:
            clear.append((length, float(z)))
    expected = sorted(clear, key=lambda pair: (-pair[1], pair[0]))[:3]
    result = _standing_out(values)
    assert [length for length, _ in result] == [length for length, _ in expected]
    np.testing.assert_allclose([z for _, z in result], [z for _, z in expected])
