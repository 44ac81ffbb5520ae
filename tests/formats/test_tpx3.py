# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of Timepix3 cameras."""

from __future__ import annotations

import ast
import io
import os
import re
import warnings
from pathlib import Path
from typing import Any

import kaitaistruct
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles.tpx3 import Tpx3
from writers import tpx3 as writer

import rsciio_tem
from rsciio_tem.errors import FormatError, NotEnoughMemory, RecordingWarning, Truncated, Unsupported
from rsciio_tem.formats.tpx3 import file_reader, index, parse, sniff
from rsciio_tem.formats.tpx3.lost import restored

SECOND, US = writer.SECOND, writer.SECOND // 1_000_000
RNG = np.random.default_rng(5)


def quietly(path: Path, **options: Any) -> Any:
    """Read a file, whatever it warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        return file_reader(path, **options)[0]


def events(
    path: Path,
    hits: Any = (),
    triggers: Any = (),
    *,
    chips: Any = 0,
    edges: Any = "TDC1 rising",
    late: Any = 0,
    first: Any = (),
) -> Path:
    """Write hits (x, y, ticks) and triggers (ticks) in the order of time, some of them later."""
    hits, triggers = np.asarray(hits, np.int64).reshape(-1, 3), np.asarray(triggers, np.int64)
    edges = np.broadcast_to(edges, triggers.shape)
    marks = [
        writer.triggers(str(e), [t], i)
        for i, (e, t) in enumerate(zip(edges, triggers, strict=True))
    ]
    words = np.concatenate([writer.hits(*hits.T), *marks, np.zeros(0, "u8")])
    when = np.concatenate([hits[:, 2], triggers]) + late
    of = np.concatenate([np.broadcast_to(chips, len(hits)), np.zeros(len(triggers), int)])
    order = np.argsort(when, kind="stable")
    head = b"".join(map(writer.chunk, first))
    path.write_bytes(head + writer.stream(words[order], of[order], 3))
    return path


# -- packets -------------------------------------------------------------------------------------


def test_packets_are_those_of_the_specification(tmp_path: Path) -> None:
    """Hits and triggers as the parser compiled from the specification reads them."""
    n = 400
    x, y, chips = RNG.integers(0, 256, n), RNG.integers(0, 256, n), RNG.integers(0, 4, n)
    ticks, tot = np.sort(RNG.integers(0, 5 * SECOND // 6, n)) * 6, RNG.integers(0, 1024, n)
    marks = np.sort(RNG.integers(0, 5 * SECOND, 20))
    words = [writer.hits(x, y, ticks, tot), writer.triggers("TDC2 rising", marks, np.arange(20))]
    order = np.argsort(np.concatenate([ticks, marks]), kind="stable")
    of = np.concatenate([chips, np.zeros(20, int)])[order]
    path = tmp_path / "a.tpx3"
    path.write_bytes(writer.stream(np.concatenate(words)[order], of, 7))
    oracle = Tpx3(kaitaistruct.KaitaiStream(io.BytesIO(path.read_bytes())))
    hits, triggers = [], []
    for chunk in oracle.chunks:
        for packet in chunk.packets.packets:
            if packet.kind >> 4 == 0xB:
                hit = packet.hit
                time = (hit.spidr_time << 14 | hit.toa) * 16 - hit.ftoa
                hits.append((chunk.chip, hit.column, hit.row, time * 6, hit.tot))
            else:
                assert packet.trigger.edge is Tpx3.Edge.tdc2_rising
                time = packet.trigger.coarse * 12 + packet.trigger.fine - 1
                triggers.append((time, packet.trigger.number))
    assert sorted(hits) == sorted(
        zip(*map(np.ndarray.tolist, (chips, x, y, ticks, tot)), strict=True)
    )
    assert triggers == list(zip(marks.tolist(), range(20), strict=True))

    seen = index.index_of(parse(path).frames.source.file)
    assert seen.times.tolist() == marks.tolist()
    assert (seen.edges == 2).all()
    chip, column, row, time, over = (np.array(c) for c in zip(*hits, strict=True))
    turned = np.isin(chip, (1, 2))
    rows = np.where(turned, 511 - row, row)
    columns = np.where(turned, 255 - column, column) + 256 * np.isin(chip, (0, 1))
    for values, weights in (("counts", np.ones(n, int)), ("tot", over)):
        data = quietly(path, values=values, sparse=False)["data"]
        frames = np.searchsorted(marks, time, "right") - 1
        expected = np.zeros((20, 512, 512), int)
        kept = (frames >= 0) & (frames < 19)
        np.add.at(expected, (frames[kept], rows[kept], columns[kept]), weights[kept])
        np.testing.assert_array_equal(data[:19], expected[:19])


def test_chips_as_in_another_decoder(tmp_path: Path) -> None:
    """Places, times over threshold, and times after a trigger are those of rustpix."""
    rustpix = pytest.importorskip("rustpix")
    n, marks = 3000, SECOND // 100 + np.arange(40) * SECOND // 60
    x, y, chips = RNG.integers(0, 256, n), RNG.integers(0, 256, n), RNG.integers(0, 4, n)
    tot = RNG.integers(1, 1024, n)
    ticks = np.sort(RNG.integers(marks[0] // 6 + 100, marks[-1] // 6, n)) * 6
    words = [writer.hits(x, y, ticks, tot)]
    words += [writer.triggers("TDC1 rising", marks, np.arange(40))] * 4  # it wants them per chip
    of = np.concatenate([chips, *(np.full(40, chip) for chip in range(4))])
    order = np.argsort(np.concatenate([ticks, *[marks] * 4]), kind="stable")
    path = tmp_path / "a.tpx3"
    path.write_bytes(writer.stream(np.concatenate(words)[order], of[order], 1000))
    theirs = rustpix.read_tpx3_hits(str(path)).to_numpy()
    # it leaves two pixels free between chips, and counts frames by the trigger before
    columns, rows = (theirs[n].astype(int) - 2 * (theirs[n] > 255) for n in ("x", "y"))
    data = quietly(path, trigger="none", dwell_time=10, values="tot")["data"]
    expected = np.zeros((512, 512), int)
    np.add.at(expected, (rows, columns), theirs["tot"].astype(int))
    np.testing.assert_array_equal(data.reshape(expected.shape), expected)
    framed = quietly(path)["data"]
    steps = -(-ticks // 96) - marks[np.searchsorted(marks, ticks, "right") - 1] // 96
    assert sorted(theirs["tof"].tolist()) == sorted(steps.tolist())
    assert framed.sum() == n


# -- frames --------------------------------------------------------------------------------------


gaps = st.one_of(
    st.integers(0, 50 * US), st.sampled_from([0, SECOND // 2, 3 * SECOND, 15 * SECOND])
)


@given(
    st.lists(st.tuples(gaps, st.booleans(), st.integers(0, 3), st.integers(0, 255)), min_size=1),
    st.integers(0, writer.TRIGGERS - 1),
    st.integers(0, 9 * US),
    st.sampled_from([index.BLOCK, 24, 200]),
    st.randoms(use_true_random=False),
)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_events(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sequence: list[tuple[int, bool, int, int]],
    start: int,
    disorder: int,
    block: int,
    random: Any,
) -> None:
    """Counters start again, packets come late, chips alternate, with triggers and without."""
    monkeypatch.setattr(index, "BLOCK", block)
    times = start + np.cumsum([gap for gap, *_ in sequence])
    is_hit = np.array([hit for _, hit, *_ in sequence])
    times[is_hit] = times[is_hit] // 6 * 6
    marks = times[~is_hit]
    chips = np.array([chip for _, _, chip, _ in sequence])[is_hit]
    places = np.array([place for *_, place in sequence])[is_hit]
    hits = np.stack([places, 255 - places, times[is_hit]], axis=1)
    late = np.array([random.randint(0, disorder) for _ in times])
    path = tmp_path / f"{random.getrandbits(60)}.tpx3"
    events(path, hits, marks, chips=chips, late=np.sort(late) if random.random() < 0.5 else late)
    marks = np.sort(marks)
    chip, x, y = np.broadcast_arrays(chips, places, 255 - places)
    if chips.any():
        turned = np.isin(chip, (1, 2))
        x = np.where(turned, 255 - x, x) + 256 * np.isin(chip, (0, 1))
        y = np.where(turned, 511 - y, y)

    def frames_of(starts: Any, ends: Any) -> np.ndarray:
        shape = (512, 512) if chips.any() else (256, 256)
        expected = np.zeros((len(starts), *shape), int)
        for i, (begin, end) in enumerate(zip(starts, ends, strict=True)):
            inside = (hits[:, 2] >= begin) & (hits[:, 2] < end)
            np.add.at(expected[i], (y[inside], x[inside]), 1)
        return expected

    def check(expected: np.ndarray, **options: Any) -> None:
        # a stack: some of these triggers look like lines of a scan
        data = quietly(path, lazy=True, scan="stack", **options)["data"]
        data = data.reshape(-1, *data.shape[-2:])
        assert data.shape == expected.shape
        np.testing.assert_array_equal(data[::-1].compute()[::-1], expected)

    if len(marks):
        intervals = np.diff(marks)
        if len(intervals):
            usual = int(np.median(intervals))
        else:
            usual = max(1, (hits[:, 2].max() if len(hits) else marks[0]) + 1 - marks[0])
        lengths = np.append(intervals, usual)
        regular = len(intervals) > 2 and (np.abs(intervals - usual) <= 0.2 * usual).mean() >= 0.8
        if regular:
            lengths = np.where(lengths > 1.5 * usual, usual, lengths)
        check(frames_of(marks, marks + lengths))
        if len(intervals) and usual < 60 * US:
            check(frames_of(marks, marks + np.minimum(lengths, 40 * US)), dwell_time=4e-5)
    if len(hits):
        first, last = hits[:, 2].min(), hits[:, 2].max()
        step = max(US, (last - first) // 7 // US * US)
        starts = np.arange(first, last + 1, step)
        check(frames_of(starts, starts + step), trigger="none", dwell_time=step / SECOND)


def scan(path: Path, **how: Any) -> tuple[Path, np.ndarray]:
    """Write a scan of 5 lines of 8 positions, 10 us each, with 70 us of flyback; 1 hit a us."""
    count = 5 * 8
    starts = 1000 * US + np.arange(count) * 10 * US + np.arange(count) // 8 * 70 * US
    ticks = np.arange(900, 1900) * US
    hits = np.stack([RNG.integers(0, 256, 1000), RNG.integers(0, 256, 1000), ticks], axis=1)
    frames = np.searchsorted(starts, ticks, "right") - 1
    inside = (frames >= 0) & (ticks < starts[frames] + 10 * US)
    expected = np.zeros((count, 256, 256), int)
    np.add.at(expected, (frames[inside], hits[inside, 1], hits[inside, 0]), 1)
    lines = starts[::8]
    marks = {"positions": starts, "lines": lines, "one": lines[:1], "none": lines[:0]}
    edges: Any = "TDC1 rising"
    which = how.pop("marks")
    triggers = marks.get(which, lines)
    if which == "gates":
        triggers = np.stack([lines, lines + 80 * US], axis=1).reshape(-1)
        edges = np.tile(["TDC1 rising", "TDC1 falling"], 5)
    events(path, hits, triggers, edges=edges, **how)
    return path, expected.reshape(5, 8, 256, 256)


def test_a_trigger_for_each_position(tmp_path: Path) -> None:
    path, expected = scan(tmp_path / "a.tpx3", marks="positions")
    (signal,) = file_reader(path)  # the times of triggers tell the scan
    np.testing.assert_array_equal(signal["data"], expected)
    assert signal["original_metadata"]["frames"]["longer_intervals"] == 4
    np.testing.assert_array_equal(file_reader(path, nav_shape=(5, 8))[0]["data"], expected)
    short = file_reader(path, dwell_time=5e-6, nav_shape=(5, 8))[0]["data"]
    assert short.sum() == 5 * 8 * 5


def test_a_trigger_for_each_line(tmp_path: Path) -> None:
    path, expected = scan(tmp_path / "a.tpx3", marks="lines")
    for options in ({"navigation_shape": (8, 5)}, {"nav_shape": (5, 8)}):
        (signal,) = file_reader(path, dwell_time=1e-5, **options)
        np.testing.assert_array_equal(signal["data"], expected)
        frames = rsciio_tem.open(path, dwell_time=1e-5, **options).scan()
        assert frames.shape == (5, 8)
        total = rsciio_tem.reduce(path, what=("navigator",), dwell_time=1e-5, **options)
        np.testing.assert_array_equal(total["navigator"], expected.sum(axis=(-1, -2)))
    (signal,) = file_reader(path, nav_shape=(5, 15))  # 150 us from line to line
    np.testing.assert_array_equal(signal["data"][:, :8], expected)
    assert signal["data"].sum() == 750
    assert file_reader(path)[0]["data"].shape == (5, 256, 256)


def test_lines_end_with_a_gate(tmp_path: Path) -> None:
    """A signal that is high during a line, of 80 of 150 us, is no gate; one of 130 us is."""
    path, expected = scan(tmp_path / "a.tpx3", marks="gates")
    (signal,) = file_reader(path, nav_shape=(5, 15))
    assert signal["original_metadata"]["frames"]["ends_with_opposite_edge"] is False
    np.testing.assert_array_equal(signal["data"][:, :8], expected)
    starts = np.arange(1, 6) * 150 * US
    ticks = np.arange(100, 1000) * US
    hits = np.stack([ticks % 256, ticks % 255, ticks], axis=1)
    marks = np.stack([starts, starts + 130 * US], axis=1).reshape(-1)
    edges = np.tile(["TDC2 rising", "TDC2 falling"], 5)
    events(tmp_path / "b.tpx3", hits, marks, edges=edges)
    (signal,) = file_reader(tmp_path / "b.tpx3", nav_shape=(5, 13))
    assert signal["original_metadata"]["frames"]["ends_with_opposite_edge"] is True
    assert (signal["data"].sum(axis=(-1, -2)) == 10).all()


def test_one_trigger_or_none(tmp_path: Path) -> None:
    path, expected = scan(tmp_path / "a.tpx3", marks="one")
    (signal,) = file_reader(path, dwell_time=1e-5, nav_shape=(90,))
    np.testing.assert_array_equal(signal["data"][:8], expected[0])
    with pytest.raises(FormatError, match="one trigger, which does not say"):
        file_reader(path, nav_shape=(1, 8))
    path, _ = scan(tmp_path / "b.tpx3", marks="none")
    with pytest.warns(RecordingWarning, match=r"all hits, of 0\.000999 s, are one frame"):
        (signal,) = file_reader(path)
    assert signal["data"].shape == (256, 256)
    assert signal["data"].sum() == 1000
    (signal,) = file_reader(path, dwell_time=1e-4, lazy=True)
    assert signal["data"].sum(axis=(-1, -2)).compute().tolist() == [100] * 10
    axis = signal["axes"][0]
    assert (axis["name"], axis["units"], axis["scale"]) == ("time", "s", 1e-4)
    with pytest.raises(FormatError, match=r"for each|begins") as caught:
        file_reader(path, nav_shape=(10, 10))
    assert "it is 9.99" in str(caught.value)


def test_what_rests_on_a_guess_is_said(tmp_path: Path) -> None:
    path, _ = scan(tmp_path / "a.tpx3", marks="lines")
    with (
        pytest.warns(RecordingWarning, match="each is taken for the beginning of a line"),
        pytest.warns(RecordingWarning, match="8 of 48 scan positions were not recorded"),
    ):
        file_reader(path, nav_shape=(6, 8), dwell_time=1e-5)
    with pytest.warns(RecordingWarning, match="many times dwell_time"):
        file_reader(path, dwell_time=1e-5)
    with pytest.raises(FormatError, match="no triggers TDC2 rising, but TDC1 rising"):
        file_reader(path, trigger="TDC2 rising")
    with (
        pytest.warns(RecordingWarning, match="as many as positions in a line, and not as 9 lines"),
        pytest.warns(RecordingWarning, match="only 1 of 9 lines"),
    ):
        file_reader(path, navigation_shape=(5, 9))
    with pytest.warns(
        RecordingWarning, match=r"all hits, of .* are one frame: triggers are ignored"
    ):
        file_reader(path, trigger="none")


def test_dwell_times_in_another_unit_are_said(tmp_path: Path) -> None:
    path, _ = scan(tmp_path / "a.tpx3", marks="lines")
    with pytest.warns(RecordingWarning, match=r"take 80 s by dwell_time: the last ones of each"):
        file_reader(path, nav_shape=(5, 8), dwell_time=10)
    for marks in ("one", "none"):
        path, _ = scan(tmp_path / f"{marks}.tpx3", marks=marks)
        with pytest.warns(RecordingWarning, match="dwell_time, 10 s, is longer than the recording"):
            (signal,) = file_reader(path, dwell_time=10)
        assert signal["data"].shape == (256, 256)


def test_what_comes_after_the_only_trigger_is_one_frame(tmp_path: Path) -> None:
    path, _ = scan(tmp_path / "a.tpx3", marks="one")
    with pytest.warns(RecordingWarning, match=r"all hits after the only trigger, of .* are one"):
        file_reader(path)


def test_unknown_keywords_are_compared_with_those_of_the_format(tmp_path: Path) -> None:
    path, _ = scan(tmp_path / "a.tpx3", marks="lines")
    with pytest.raises(TypeError, match="did you mean 'dwell_time'"):
        file_reader(path, dwel_time=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"the keywords are trigger, dwell_time, .* nav_shape"):
        file_reader(path, zzz=1)  # type: ignore[call-arg]


def test_triggers_between_others_are_said(tmp_path: Path) -> None:
    """With one trigger too many, the numbers do not say that positions are wrong."""
    starts = 100 * US * np.arange(40)
    hits = [(5, 5, int(start) + 6) for start in starts]
    path = events(tmp_path / "a.tpx3", hits, np.sort([*starts, starts[17] + 200]))
    with pytest.warns(RecordingWarning, match=r"1 come .* the first of them number 18"):
        file_reader(path, nav_shape=(4, 10))
    (said,) = parse(events(path, hits, starts)).problems
    assert said.severity == "info"
    assert "40 triggers" in said.message
    assert "these 40 lines" in said.hint
    assert not parse(path, nav_shape=(4, 10)).problems


def test_scans_that_were_repeated(tmp_path: Path) -> None:
    """Three scans of two lines have a trigger for each of six lines."""
    lines = 100 * US * np.arange(1, 7)
    ticks = np.arange(100, 700) * US
    hits = np.stack([ticks % 256, ticks % 255, ticks], axis=1)
    path = events(tmp_path / "a.tpx3", hits, lines)
    data = quietly(path, nav_shape=(2, 20), dwell_time=2e-6)["data"]
    assert (data.sum(axis=(-1, -2)) == 2).all()
    data = quietly(path, nav_shape=(3, 2, 20), dwell_time=2e-6)["data"]
    assert data.shape[:3] == (3, 2, 20)
    assert (data.sum(axis=(-1, -2)) == 2).all()


def test_a_scan_that_was_interrupted(tmp_path: Path) -> None:
    """It has as many triggers as four scans of eight lines."""
    starts = 100 * US * np.arange(32)
    hits = [(i, 5, int(start) + 6) for i, start in enumerate(starts)]
    path = events(tmp_path / "a.tpx3", hits, starts)
    with pytest.warns(RecordingWarning) as said:
        (signal,) = file_reader(path, nav_shape=(8, 8))
    assert "taken for a position of a scan that was interrupted" in str(said[0].message)
    expected = np.zeros((8, 8, 256, 256), int)
    expected.reshape(64, 256, 256)[np.arange(32), 5, np.arange(32)] = 1
    np.testing.assert_array_equal(signal["data"], expected)
    shape = ast.literal_eval(re.findall(r"navigation_shape=(\(.*?\))", str(said[0].message))[0])
    lines = quietly(path, navigation_shape=shape)["data"]
    assert lines.shape == (4, 8, 8, 256, 256)
    assert lines[..., 0, :, :].sum() == 32
    timed = quietly(path, nav_shape=(8, 8), dwell_time=1e-4)["data"]
    np.testing.assert_array_equal(timed, expected)


@pytest.mark.parametrize("by", [1, 2])
def test_triggers_that_were_lost(tmp_path: Path, by: int) -> None:
    """Their numbers say so: frames are cut where they would have been, with their hits."""
    dwell, pause = 100 * US, 40 * US
    numbers = np.arange(40)
    starts = dwell * numbers + pause * (numbers // 8)
    there = np.setdiff1d(numbers, [3, 7, 11, 12, 30])  # the last of a line, two in a row
    marks = writer.triggers("TDC1 rising", starts, by * (numbers + 4080))[there]
    hits = writer.hits(numbers, 5, starts + 20 * US)
    when = np.concatenate([starts + 20 * US, starts[there]])
    words = np.concatenate([hits, marks])[np.argsort(when, kind="stable")]
    path = tmp_path / "a.tpx3"
    path.write_bytes(writer.stream(words))
    with pytest.warns(RecordingWarning) as said:
        (signal,) = file_reader(path, nav_shape=(5, 8))
    assert len(said) == 1
    assert "5 of the triggers (TDC1 rising) were lost" in str(said[0].message)
    assert "the first of them number 3 (from 0)" in str(said[0].message)
    expected = np.zeros((40, 256, 256), int)
    expected[numbers, 5, numbers] = 1
    np.testing.assert_array_equal(signal["data"].reshape(expected.shape), expected)
    assert "gap" not in "\n".join(map(str, rsciio_tem.check(path)))
    # the same for the triggers of lines
    with pytest.warns(RecordingWarning, match="were lost"):
        (lines,) = file_reader(path, nav_shape=(40, 4))
    assert lines["data"].shape == (40, 4, 256, 256)
    np.testing.assert_array_equal(lines["data"].sum(axis=1), expected)


def put(path: Path, hits: Any, *marks: tuple[str, Any, Any]) -> Path:
    """Write hits at these ticks, number i at column i, and triggers in the order of time."""
    columns = np.arange(len(hits))
    words = [writer.hits(columns % 256, columns // 256, hits)]
    words += [writer.triggers(edge, when, number) for edge, when, number in marks]
    when = np.concatenate([hits, *(mark[1] for mark in marks)])
    order = np.argsort(when, kind="stable")
    path.write_bytes(writer.stream(np.concatenate(words)[order]))
    return path


def each_once(path: Path, said: str = "", **options: Any) -> bool:
    """Whether hit i is in frame i, and alone there; what is said has to be as given."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (signal,) = file_reader(path, sparse="scipy", **options)
    text = "\n".join(str(warning.message) for warning in caught)
    assert said in text if said else not text, text
    entries = signal["data"].tocoo()
    return list(entries.row) == list(entries.col) == list(range(signal["data"].shape[0]))


@pytest.mark.parametrize("pause", [0, 40, 70, 300, 3000])
@pytest.mark.parametrize("lost", [[8], [7], [7, 8], [6, 7, 8, 9, 10], [23, 40], [*range(20, 38)]])
def test_lost_triggers_at_either_side_of_a_pause(
    tmp_path: Path, pause: int, lost: list[int]
) -> None:
    """The first of a line begins after the flyback, as other lines say."""
    numbers = np.arange(120)
    starts = 100 * US * numbers + pause * US * (numbers // 8)
    there = np.setdiff1d(numbers, lost)
    path = put(tmp_path / "a.tpx3", starts + 50 * US, ("TDC1 rising", starts[there], there))
    assert each_once(path, f"{len(lost)} of the triggers", nav_shape=(15, 8))


def test_a_pause_of_which_nothing_is_known(tmp_path: Path) -> None:
    """The frame of the first trigger behind the only pause may hold what is before it."""
    numbers = np.arange(40)
    starts = 100 * US * numbers + 500 * US * (numbers // 10 + numbers // 33)
    there = np.setdiff1d(numbers, [10, 20, 30])
    path = put(tmp_path / "a.tpx3", starts + 50 * US, ("TDC1 rising", starts[there], there))
    assert not each_once(path, "Of 3, nothing says whether they come before", nav_shape=(4, 10))


@pytest.mark.parametrize("lost", [4095, 4097, 5000])
def test_more_triggers_were_lost_than_there_are_numbers(tmp_path: Path, lost: int) -> None:
    numbers = np.arange(12_000)
    starts = 10 * US * numbers
    there = np.setdiff1d(numbers, np.arange(3000, 3000 + lost))
    path = put(tmp_path / "a.tpx3", starts + 5 * US, ("TDC1 rising", starts[there], there))
    assert each_once(path, f"{lost} of the triggers", nav_shape=(100, 120))


def test_numbers_that_begin_again_after_as_long_as_they_say(tmp_path: Path) -> None:
    """More triggers were not lost than there are."""
    numbers = np.arange(200)
    starts = 100 * US * numbers + numbers // 100 * 3996 * 100 * US
    path = put(tmp_path / "a.tpx3", starts + 50 * US, ("TDC1 rising", starts, numbers % 100))
    assert each_once(path, nav_shape=(2, 10, 10))


def test_a_recording_that_took_the_place_of_another(tmp_path: Path) -> None:
    """Of the same size, and with the same time: triggers and hits are those of the new one."""
    numbers = np.arange(64)
    for dwell in (100 * US, 130 * US, 70 * US):
        marks = "TDC1 rising", dwell * numbers, numbers
        path = put(tmp_path / "a.tpx3", dwell * numbers + dwell // 2, marks)
        os.utime(path, (1_600_000_000, 1_600_000_000))
        assert each_once(path, nav_shape=(8, 8))


@given(
    st.lists(st.tuples(st.sampled_from([0, 0, 1, 5, 7, 10**15]), st.integers(0, 4095)), max_size=30)
)
@settings(deadline=None)
def test_any_numbers_of_triggers(entries: list[tuple[int, int]]) -> None:
    """Those that are there stay, in order, and at most as many are put in."""
    times = np.cumsum([entry[0] for entry in entries], dtype=np.int64)
    steps = np.array([min(entry[1], 2 + entry[1] % 3) for entry in entries[1:]], np.int64)
    with np.errstate(all="raise"):
        every, lost, unsure, gaps = restored(times, steps, np.zeros(len(steps), np.bool_))
    np.testing.assert_array_equal(np.delete(every, lost), times)
    assert (np.diff(every) >= 0).all()
    assert 0 <= unsure <= len(lost) <= len(times)
    assert gaps >= 0


def test_triggers_at_the_same_times() -> None:
    """Half of them have no interval: nothing is put in, and nothing is divided by it."""
    times = np.repeat(np.arange(8) * US, 2)
    steps = np.array([1] * 14 + [3])
    with np.errstate(all="raise"):
        every = restored(times, steps, np.zeros(15, np.bool_))
    assert (len(every.lost), every.gaps) == (0, 1)


def test_two_inputs_with_one_counter(tmp_path: Path) -> None:
    """A number that the other input has was not lost."""
    numbers = np.arange(64)
    starts = 100 * US * (numbers + numbers // 8)
    pixels = "TDC1 rising", starts, numbers + numbers // 8 + 1
    lines = "TDC2 rising", starts[::8] - 10 * US, 9 * np.arange(8)
    path = put(tmp_path / "a.tpx3", starts + 50 * US, pixels, lines)
    assert each_once(path, nav_shape=(8, 8))
    assert "gap" not in "\n".join(map(str, rsciio_tem.check(path)))


def test_packets_that_were_stored_twice(tmp_path: Path) -> None:
    numbers = np.sort([*range(64), 5, 40])
    starts = 100 * US * np.arange(64)
    path = put(tmp_path / "a.tpx3", starts + 50 * US, ("TDC1 rising", starts[numbers], numbers))
    assert each_once(path, nav_shape=(8, 8))
    assert "gap" not in "\n".join(map(str, rsciio_tem.check(path)))


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("lost", [[0], [3], [2, 15]])
def test_lines_whose_end_was_lost(tmp_path: Path, lost: list[int], both: bool) -> None:
    """They last as long as the others, rather than until the next begins."""
    lines, there = np.arange(16), np.setdiff1d(np.arange(16), lost)
    starts = lines * 1100 * US
    hits = (starts[:, None] + 100 * US * np.arange(8) + 50 * US).ravel()
    begun = there if both and lost == [3] else lines
    rising = "TDC1 rising", starts[begun], 2 * begun
    falling = "TDC1 falling", starts[there] + 800 * US, 2 * there + 1
    path = put(tmp_path / "a.tpx3", hits, rising, falling)
    assert each_once(path, f"{len(lost)} of the lines do not end with", nav_shape=(16, 8))


def test_chips_that_report_other_triggers(tmp_path: Path) -> None:
    """Each has lost one: they are as many."""
    starts = 100 * US * np.arange(10)
    words = writer.triggers("TDC1 rising", np.repeat(starts, 2), np.repeat(np.arange(10), 2))
    words = np.delete(words, [0, 19])
    chips = np.delete(np.tile([0, 1], 10), [0, 19])
    path = tmp_path / "a.tpx3"
    path.write_bytes(writer.stream(words, chips))
    with pytest.warns(RecordingWarning, match="different triggers TDC1 rising; those of chip 0"):
        file_reader(path, lazy=True)


def test_numbers_that_begin_again(tmp_path: Path) -> None:
    """After a pause they say nothing of triggers that were lost; nor do those of no pause."""
    starts = 100 * US * np.arange(20)
    for name, late, again in (("pause", 90 * 100 * US, 500), ("none", 0, 15), ("odd", 100 * US, 9)):
        at = np.concatenate([starts, starts[-1] + late + 100 * US + starts])
        marks = writer.triggers("TDC1 rising", at, [*range(20), *range(again, again + 20)])
        hits = writer.hits(np.arange(40), 5, at + 20 * US)
        order = np.argsort(np.concatenate([at + 20 * US, at]), kind="stable")
        path = tmp_path / f"{name}.tpx3"
        path.write_bytes(writer.stream(np.concatenate([hits, marks])[order]))
        assert quietly(path)["data"].reshape(-1, 256, 256).shape[0] == 40, name
        assert "gap" in "\n".join(map(str, rsciio_tem.check(path))), name


def test_chips_that_report_the_same_triggers(tmp_path: Path) -> None:
    marks = np.arange(1, 6) * 10 * US
    words = [writer.triggers("TDC1 rising", marks, np.arange(5))[i : i + 1] for i in range(5)]
    content = b"".join(writer.chunk(w, chip) for w in words for chip in range(4))
    path = tmp_path / "a.tpx3"
    path.write_bytes(content)
    recording = parse(path)
    assert (len(recording.frames), len(recording.problems)) == (5, 1)
    assert "is taken for a position" in recording.problems[0].message
    path.write_bytes(content[:-16])  # the last report of the last trigger
    recording = parse(path)
    assert len(recording.frames) == 5
    assert "different numbers" in recording.problems[0].message
    path.write_bytes(b"".join(writer.chunk(w, i % 2) for i, w in enumerate(words)))
    recording = parse(path)
    assert len(recording.frames) == 5
    assert "at different times" in recording.problems[0].message


def test_chips_in_a_row(tmp_path: Path) -> None:
    path = events(tmp_path / "a.tpx3", [(3, 5, 100 * US)] * 4, chips=[0, 1, 2, 3])
    data = quietly(path, chips="row")["data"]
    assert data.shape == (256, 1024)
    assert sorted(zip(*np.nonzero(data), strict=True)) == [(5, 3 + 256 * i) for i in range(4)]
    assert data[5, 771] == 1
    path = events(tmp_path / "b.tpx3", [(3, 5, 100 * US)], chips=5)
    with pytest.raises(Unsupported, match="data of chip 5"):
        file_reader(path)


def test_a_frame_with_more_hits_than_pixels(tmp_path: Path) -> None:
    n = 300_000
    hits = np.stack([np.arange(n) % 7, np.arange(n) % 3, np.arange(n) * 12], axis=1)
    path = tmp_path / "a.tpx3"
    words = writer.hits(*hits.T, 900)
    path.write_bytes(writer.stream(words, 0, 8000))
    data = quietly(path)["data"]
    expected = np.zeros((256, 256), int)
    np.add.at(expected, (hits[:, 1], hits[:, 0]), 1)
    np.testing.assert_array_equal(data, expected)
    np.testing.assert_array_equal(quietly(path, values="tot")["data"], 900 * expected)


def test_global_time_bridges_long_gaps(tmp_path: Path) -> None:
    """After a pause of many minutes, the global time tells which hits are later."""
    later = 1000 * SECOND
    words = [
        *(writer.global_time(5 * SECOND), writer.hits([1] * 3, 1, [5 * SECOND] * 3)),
        *(writer.global_time(later), writer.global_time(later + 960)),
        writer.hits([2] * 3, 1, [later + 960] * 3),
    ]
    path = tmp_path / "a.tpx3"
    path.write_bytes(b"".join(map(writer.chunk, words)))
    data = quietly(path, dwell_time=1, lazy=True)["data"]
    assert data.shape[0] == 996
    assert data[0].sum().compute() == data[-1, 1, 2].compute() == 3


def test_few_hits_between_slow_triggers(tmp_path: Path) -> None:
    """Triggers tell the time, though each hit has nearly the counter of the one before."""
    triggers = 3 * SECOND * np.arange(100)
    hits = [(i, 5, 3 * SECOND // 2 + 27 * SECOND * i) for i in range(11)]
    data = quietly(events(tmp_path / "a.tpx3", hits, triggers), nav_shape=(100,), sparse="scipy")
    places = zip(*(index.tolist() for index in data["data"].nonzero()), strict=True)
    assert list(places) == [(9 * i, 5 * 256 + i) for i in range(11)]


def test_sparse_frames_too_many_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = events(tmp_path / "a.tpx3", [(1, 2, 0), (1, 2, 10 * SECOND)])
    monkeypatch.setattr("rsciio_tem.storage.machine.free_memory", lambda: 1 << 30)
    with pytest.raises(NotEnoughMemory, match="the bounds of 10000000001 frames"):
        file_reader(path, dwell_time=1e-9, sparse="scipy")


# -- damage --------------------------------------------------------------------------------------


def test_sniff() -> None:
    assert sniff("a", b"TPX3\0\0\x08\0")
    assert sniff("a.tpx3", b"TPX2\0\0\x08\0") is None


def test_cut_files(tmp_path: Path) -> None:
    """What is there of a shortened file is read, and told."""
    path, expected = scan(tmp_path / "a.tpx3", marks="positions")
    content = path.read_bytes()
    for size in RNG.integers(24, len(content), 30).tolist():
        path.write_bytes(content[:size])
        recording = parse(path)
        whole = len(content[:size].split(b"TPX3")[-1]) % 8 == 4
        data = quietly(path, nav_shape=None)["data"].reshape(-1, 256, 256)
        flat = expected.reshape(-1, 256, 256)
        if recording.original_metadata["frames"]["trigger"] != "none":
            np.testing.assert_array_equal(data[:-1], flat[: len(data) - 1])
        assert data.sum() <= 1000
        assert recording.problems or whole
    path.write_bytes(content[:8])
    with pytest.raises(Truncated, match="neither hits nor triggers"):
        file_reader(path)


def test_lost_packets_and_other_bytes(tmp_path: Path) -> None:
    hits = [writer.hits([x, x], 1, [1000, 2000]) for x in range(6)]
    chunks = [
        writer.chunk(words, chip) for words, chip in zip(hits, (0, 1, 2, 3, 0, 1), strict=True)
    ]
    chunks[1] = chunks[1][:16]  # its second packet is lost
    chunks[3] += b"\0" * 13
    path = tmp_path / "a.tpx3"
    path.write_bytes(b"".join(chunks))
    with pytest.warns(RecordingWarning) as caught:
        (signal,) = file_reader(path)
    said = "\n".join(str(one.message) for one in caught)
    assert "no other chunk begins behind 2 chunks of packets" in said
    assert "no part of a packet are left out: 13." in said
    assert signal["data"].sum() == 11
    assert signal["original_metadata"]["chips"]["2"]["hits"] == 2
    assert signal["data"][:256, 256:].sum() == 4  # two chunks of chip 0


def test_checks(tmp_path: Path) -> None:
    path = tmp_path / "a.tpx3"
    marks = writer.triggers("TDC1 rising", 100 * US * np.arange(6), [4094, 4095, 0, 1, 5, 6])
    other = np.array([0x33 << 56, 0x5C << 56, 0x71A0 << 48], "u8")
    path.write_bytes(writer.chunk([*marks, *other, *writer.hits([1], 2, [100])]))
    said = "\n".join(str(problem) for problem in rsciio_tem.check(path))
    assert "not known are left out: 1, of the kinds 0x33." in said
    assert "1 gap" in said
    packets = parse(path).original_metadata["packets"]
    assert packets == {"unknown": 1, "heartbeats": 1, "triggers": 6, "control": 1, "hits": 1}


def cut_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: list[tuple[int, int, int]], block: int
) -> tuple[np.ndarray, list[int]]:
    """Read chunks of so many hits and so many lost ones; return the frame, and hits of chips."""
    content, tick, kept_of = b"", 6 * US, [0] * 4
    for kept, lost, chip in [(1, 0, 3), *chunks, (1, 0, 3)]:
        hits = writer.hits(5, 9, tick + 6 * np.arange(kept + lost))
        content += writer.chunk(hits, chip)[: 8 + 8 * kept]
        tick += 6 * (kept + lost)
        kept_of[chip] += kept
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.tpx3"
    path.write_bytes(content)
    with monkeypatch.context() as patch:
        patch.setattr(index, "BLOCK", block)
        data = quietly(path, trigger="none", dwell_time=1.0, chips="quad")["data"]
    return data.reshape(512, 512), kept_of


@given(
    st.lists(st.tuples(*[st.integers(0, 12)] * 2, st.integers(0, 3)), min_size=1, max_size=12),
    st.sampled_from([8, 24, 100, 300]),
)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_chunks_and_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: list[tuple[int, int, int]], block: int
) -> None:
    """Where a damaged chunk ends does not depend on where the blocks end that are read."""
    frames = [cut_chunks(tmp_path, monkeypatch, chunks, n)[0] for n in (index.BLOCK, block)]
    np.testing.assert_array_equal(*frames)


@pytest.mark.parametrize("block", [8, 24, 40, 100, index.BLOCK])
def test_hits_of_chips_behind_lost_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """A chunk that was cut short does not take the hits of those behind it, of other chips."""
    chunks = [(2, 20, 0), (3, 0, 1), (4, 0, 2), (5, 1, 3), (6, 0, 0)]
    frame, kept = cut_chunks(tmp_path, monkeypatch, chunks, block)
    assert [frame[9, 261], frame[502, 506], frame[502, 250], frame[9, 5]] == kept


def test_integrating_mode_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tpx3"
    words = writer.hits([1, 2], 3, [100, 200])
    path.write_bytes(writer.chunk(words - np.uint64(1 << 60)))
    with pytest.raises(Unsupported, match="counting mode"):
        file_reader(path)
    path.write_bytes(writer.chunk([*words, *(words - np.uint64(1 << 60))]))
    assert "which have no times, are left out: 2." in str(parse(path).problems[0])
    assert quietly(path)["data"].sum() == 2


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"trigger": "TDC3"}, ValueError, "is none of 'auto', 'none', 'TDC1 rising'"),
        ({"dwell_time": "1 us"}, TypeError, "number of seconds"),
        ({"dwell_time": True}, TypeError, "number of seconds"),
        ({"dwell_time": 0}, ValueError, "not a time"),
        ({"dwell_time": float("nan")}, ValueError, "not a time"),
        ({"dwell_time": 1e300}, ValueError, "not a time"),
        ({"chips": "ring"}, ValueError, "none of 'auto'"),
        ({"values": "energy"}, ValueError, "neither 'counts' nor 'tot'"),
    ],
)
def test_bad_values(tmp_path: Path, options: Any, error: type[Exception], match: str) -> None:
    path, _ = scan(tmp_path / "a.tpx3", marks="positions")
    with pytest.raises(error, match=match):
        file_reader(path, **options)
