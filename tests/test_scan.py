# SPDX-License-Identifier: GPL-3.0-or-later
"""The mapping of scan positions to frames, and the decision about the scan shape."""

from __future__ import annotations

import logging
import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from samples import Mapping

from rsciio_tem.errors import FormatError, RecordingWarning
from rsciio_tem.scan.decision import decimated, propose, resolve_scan
from rsciio_tem.scan.mapping import map_frames
from rsciio_tem.scan.scan import Scan, ScanHint, ScanRequest
from rsciio_tem.scan.times import FrameTimes, Times


def listed(index: Any) -> list[int]:
    """Write out an index."""
    return list(range(index.start, index.stop)) if isinstance(index, slice) else index.tolist()


def request_of(options: dict[str, Any]) -> ScanRequest:
    """Translate the keywords of a reader."""
    options = dict(options)
    shape, order = options.pop("nav_shape", None), False
    if "navigation_shape" in options:
        shape, order = options.pop("navigation_shape")[::-1], True
    shape = (shape,) if isinstance(shape, int) else shape
    return ScanRequest(shape=shape, hyperspy_order=order, **options)


# -- the table -----------------------------------------------------------------------------------


@pytest.mark.parametrize("resolve", [False, True])
def test_table(mapping: Mapping, resolve: bool) -> None:
    request = request_of(mapping.options)

    def run() -> tuple[tuple[int, ...], Any, dict[str, Any]]:
        if not resolve:
            return map_frames(10, request, path="ten.mib")
        scan = resolve_scan(10, request, path="ten.mib")
        return scan.shape, scan.index, dict(scan.counts or {})

    if mapping.shape is None:
        with pytest.raises(FormatError, match=r"ten\.mib"):
            run()
        return
    if mapping.warns:
        with pytest.warns(RecordingWarning, match=f"ten.mib.*{mapping.warns}") as caught:
            shape, index, counts = run()
        assert len(caught) == 1
    else:
        shape, index, counts = run()  # a warning would be an error
    assert shape == mapping.shape
    assert listed(index) == mapping.sources
    blanks = mapping.sources.count(-1)
    assert counts["stored"] == 10
    assert counts["inserted_start"] + counts["inserted_end"] == blanks
    assert counts["complete"] == (blanks == 0)
    # a plain range stays one, however long
    assert isinstance(index, slice) == (blanks == 0)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (0, 10, 0, 0, 0, 0)),
        ({"sync_offset": 2}, (0, 10, 2, 0, 0, 0)),
        ({"sync_offset": -2}, (0, 10, 0, 2, 0, 0)),
        ({"nav_shape": (2, 3)}, (0, 10, 0, 0, 0, 4)),
        ({"nav_shape": (2, 3), "sync_offset": 2}, (0, 10, 2, 0, 0, 2)),
        ({"nav_shape": (2, 5), "sync_offset": -2}, (0, 10, 0, 2, 0, 2)),
        ({"nav_shape": (2, 5), "sync_offset": 2}, (0, 10, 2, 0, 2, 0)),
        ({"nav_shape": (2, 3), "first_frame": 2, "last_frame": 9}, (2, 9, 0, 0, 0, 1)),
        ({"navigation_shape": (4, 3)}, (0, 10, 0, 0, 0, 2)),
        ({"navigation_shape": (12, 2)}, (0, 10, 0, 0, 0, 0)),
    ],
)
def test_counts(options: dict[str, Any], expected: tuple[int, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        _, _, counts = map_frames(10, request_of(options))
    names = ("first", "last", "skipped_start", "inserted_start", "inserted_end", "ignored_end")
    assert tuple(counts[name] for name in names) == expected


def test_what_was_asked_for_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rsciio_tem"):
        map_frames(10, ScanRequest(shape=(2, 3)), path="ten.mib")
        map_frames(10, ScanRequest(shape=(2, 5), sync_offset=-2), path="ten.mib")
    text = caplog.text
    assert "4 frames after the scan are not used" in text
    assert "2 blank frames inserted" in text
    assert text.count("ten.mib") == 3


def test_long_recordings_take_no_memory() -> None:
    shape, index, _ = map_frames(10**12, ScanRequest(shape=(10**6, 10**6)))
    assert shape == (10**6, 10**6)
    assert index == slice(0, 10**12)
    with pytest.warns(RecordingWarning, match="lines are complete"):
        shape, index, _ = map_frames(
            10**12 - 1, ScanRequest(shape=(10**6, 10**6), hyperspy_order=True)
        )
    assert shape == (10**6 - 1, 10**6)
    assert index == slice(0, 10**12 - 10**6)


# -- a slow reference ----------------------------------------------------------------------------


class Refused(Exception):
    """The reference says that nothing can be read."""


def slow_map(
    stored: int, request: ScanRequest, layers: int = 1
) -> tuple[tuple[int, ...], list[int]]:
    """Map positions to frames, one by one, as the definition says."""
    frames = list(range(stored))[request.first_frame : request.last_frame]
    groups = [frames[i : i + layers] for i in range(0, len(frames), layers)]
    groups = [group for group in groups if len(group) == layers]
    n, offset, skip = len(groups), request.sync_offset, request.line_skip
    if not n:
        raise Refused
    shape = request.shape
    if shape is None:
        if n - offset < 1:
            raise Refused
        shape = (n - offset,)
        skip = 0 if request.line_skip == 0 else skip
    if any(size == 0 or size < -1 for size in shape) or shape.count(-1) > 1:
        raise Refused
    if -1 in shape:
        at = shape.index(-1)
        best = 0
        # the largest size for which all frames of all lines are there
        for size in range(1, n + abs(offset) + 2):
            tried = (*shape[:at], size, *shape[at + 1 :])
            *slow, columns = tried
            last = (math.prod(slow) - 1) * (columns + skip) + columns - 1
            if last + offset < n:
                best = size
        if not best:
            raise Refused
        shape = (*shape[:at], best, *shape[at + 1 :])
    columns = shape[-1]
    sources = []
    for position in range(math.prod(shape)):
        row, column = divmod(position, columns)
        i = row * (columns + skip) + column + offset
        sources.append(i if 0 <= i < n else -1)
    if all(i < 0 for i in sources):
        raise Refused

    # only what is missing at the end is treated
    end = max(k for k, i in enumerate(sources) if i >= 0) + 1
    if end < len(sources):
        mode = request.missing
        if mode == "auto":
            by_us = request.shape is not None and not request.hyperspy_order
            mode = "fill" if by_us or offset else "crop"
        if mode == "raise":
            raise Refused
        if mode == "crop":
            slab = math.prod(shape[1:])
            lines = end // slab
            if lines and len(shape) > 1:
                shape = (lines, *shape[1:])
                sources = sources[: lines * slab]
            else:
                shape, sources = (end,), sources[:end]
        if all(i < 0 for i in sources):
            raise Refused
    if request.snake and len(shape) > 1:
        columns = shape[-1]
        rows = [sources[i : i + columns] for i in range(0, len(sources), columns)]
        sources = [i for k, row in enumerate(rows) for i in (row[::-1] if k % 2 else row)]
    if layers > 1:
        shape = (layers, *shape)
        return shape, [
            groups[i][layer] if i >= 0 else -1 for layer in range(layers) for i in sources
        ]
    return shape, [groups[i][0] if i >= 0 else -1 for i in sources]


sizes = st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple)
shapes = st.one_of(
    st.none(),
    sizes,
    st.tuples(sizes, st.integers(0, 2)).map(
        lambda x: (*x[0][: x[1]], -1, *x[0][x[1] + 1 :]) if x[1] < len(x[0]) else x[0]
    ),
)


@settings(max_examples=400)
@given(
    stored=st.integers(1, 40),
    shape=shapes,
    hyperspy_order=st.booleans(),
    first_frame=st.none() | st.integers(-45, 45),
    last_frame=st.none() | st.integers(-45, 45),
    sync_offset=st.just(0) | st.integers(-45, 45),
    missing=st.sampled_from(["auto", "fill", "crop", "raise"]),
    line_skip=st.just(0) | st.integers(0, 2),
    snake=st.booleans(),
    layers=st.sampled_from([1, 1, 2, 3]),
)
@example(
    stored=10,
    shape=(5, -1),
    hyperspy_order=False,
    first_frame=None,
    last_frame=None,
    sync_offset=0,
    missing="auto",
    line_skip=0,
    snake=False,
    layers=1,
)
@example(
    stored=30,
    shape=(5, -1),
    hyperspy_order=False,
    first_frame=None,
    last_frame=None,
    sync_offset=0,
    missing="auto",
    line_skip=1,
    snake=False,
    layers=1,
)
@example(
    stored=14,
    shape=(-1, 4),
    hyperspy_order=False,
    first_frame=None,
    last_frame=None,
    sync_offset=0,
    missing="auto",
    line_skip=1,
    snake=False,
    layers=1,
)
def test_any_mapping(stored: int, layers: int, **asked: Any) -> None:
    if asked["shape"] is None or len(asked["shape"]) < 2:
        asked["snake"] = False  # refused without lines, see below
    if asked["shape"] is None or len(asked["shape"]) == 1:
        asked["line_skip"] = 0
    request = ScanRequest(**asked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        try:
            shape, sources = slow_map(stored, request, layers)
        except Refused:
            with pytest.raises(FormatError):
                map_frames(stored, request, layers=layers)
            return
        found, index, counts = map_frames(stored, request, layers=layers)
    assert found == shape
    assert listed(index) == sources
    assert counts["complete"] == (-1 not in sources)
    real = [i for i in sources if i >= 0]
    assert len(set(real)) == len(real)  # no frame twice


# -- line skip, snake, layers --------------------------------------------------------------------


def test_line_skip() -> None:
    # 3 lines of 4 positions, 5 frames stored for each; the last flyback frame may be missing
    for stored in (14, 15):
        _, index, counts = map_frames(stored, ScanRequest(shape=(3, 4), line_skip=1))
        assert listed(index) == [0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13]
        assert counts["skipped_in_lines"] == 2
        assert counts["ignored_end"] == stored - 14
        shape, index, _ = map_frames(stored, ScanRequest(shape=(-1, 4), line_skip=1))
        assert shape == (3, 4)
    shape, index, _ = map_frames(15, ScanRequest(shape=(3, -1), line_skip=1))
    assert (shape, listed(index)[-1]) == ((3, 4), 13)


def test_line_skip_of_a_found_shape() -> None:
    hint = ScanHint("trigger", (3, 5), 0.9, "")
    scan = resolve_scan(15, ScanRequest(line_skip=1), [hint])
    assert scan.shape == (3, 4)
    assert listed(scan.index) == [0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13]
    with pytest.raises(FormatError, match="leaves nothing"):
        resolve_scan(15, ScanRequest(line_skip=5), [hint])


def test_snake() -> None:
    _, index, _ = map_frames(12, ScanRequest(shape=(3, 4), snake=True))
    assert listed(index) == [0, 1, 2, 3, 7, 6, 5, 4, 8, 9, 10, 11]
    with pytest.raises(FormatError, match="snake=True needs a scan shape"):
        map_frames(12, ScanRequest(snake=True))
    with pytest.raises(FormatError, match="snake=True"):
        map_frames(12, ScanRequest(shape=(12,), snake=True))


def test_layers() -> None:
    shape, index, _ = map_frames(12, ScanRequest(shape=(2, 3)), layers=2)
    assert shape == (2, 2, 3)
    assert listed(index) == [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]
    with pytest.warns(RecordingWarning, match="1 of 6 scan positions"):
        shape, index, _ = map_frames(11, ScanRequest(shape=(2, 3)), layers=2)
    assert listed(index) == [0, 2, 4, 6, 8, -1, 1, 3, 5, 7, 9, -1]


# -- deciding ------------------------------------------------------------------------------------


def times_of(time_ns: Any = None, exposure_ns: Any = None, external: bool | None = None) -> Times:
    """Serve given times."""
    given = time_ns if time_ns is not None else exposure_ns
    n = len(given)
    none = np.full(n, -1, np.int64)
    time = none if time_ns is None else np.asarray(time_ns, np.int64)
    exposure = none if exposure_ns is None else np.asarray(exposure_ns, np.int64)

    def read(first: int, last: int) -> FrameTimes:
        part = slice(first, last)
        return FrameTimes(time[part], exposure[part], none[part], none[part])

    return Times(n, read, external_trigger=external)


def line_times(lines: int, width: int, gap: int = 50_000) -> np.ndarray:
    index = np.arange(lines * width)
    return index * 1_000_000 + index // width * gap


HEADER = ScanHint("header", (3, 4), 0.95, "said so")


def test_what_is_taken() -> None:
    times = times_of(line_times(6, 4))
    header = ScanHint("header", (6, 4), 0.95, "said so")
    with pytest.warns(RecordingWarning, match="every 4 frames"):
        scan = resolve_scan(24, ScanRequest(shape=(4, 6)), [header], times)
    assert (scan.shape, scan.evidence.rule) == ((4, 6), "argument")
    scan = resolve_scan(24, ScanRequest(), [header], times)
    assert (scan.shape, scan.evidence.rule) == ((6, 4), "header")
    scan = resolve_scan(24, ScanRequest(), [], times)
    assert (scan.shape, scan.evidence.rule) == ((6, 4), "timestamps")
    scan = resolve_scan(24, ScanRequest(), [])
    assert (scan.shape, scan.evidence.rule) == ((24,), "stack")
    assert scan.missing_mask is None
    # what is known to lie in this order is not looked at
    exact = ScanHint("header", (4, 6), 0.95, "shape of the array", exact=True)
    assert resolve_scan(24, ScanRequest(), [exact], times).shape == (4, 6)


@pytest.mark.parametrize("count", [4, 9, 16, 10_000])
def test_square_is_never_assumed(count: int) -> None:
    side = math.isqrt(count)
    scan = resolve_scan(count, ScanRequest())
    assert scan.shape == (count,)
    assert [(h.rule, h.shape) for h in scan.alternatives] == [("square", (side, side))]
    with pytest.warns(RecordingWarning, match="only because"):
        assert resolve_scan(count, ScanRequest(rule="square")).shape == (side, side)
    with pytest.raises(FormatError, match="finds no scan shape"):
        resolve_scan(count + 1, ScanRequest(rule="square"))


def test_one_frame_has_no_scan_axis() -> None:
    assert resolve_scan(1, ScanRequest()).shape == ()
    assert resolve_scan(1, ScanRequest(shape=(1,))).shape == (1,)
    for shape in ((1,), (1, 1)):
        assert resolve_scan(1, ScanRequest(), [ScanHint("header", shape, 0.9, "")]).shape == shape
    assert resolve_scan(9, ScanRequest(first_frame=3, last_frame=4)).shape == ()


def test_rules_by_name() -> None:
    times = times_of(line_times(6, 4))
    header = ScanHint("header", (4, 6), 0.95, "said so")
    for rule, shape in (("header", (4, 6)), ("timestamps", (6, 4)), ("stack", (24,))):
        scan = resolve_scan(24, ScanRequest(rule=rule), [header], times)
        assert scan.shape == shape
    trigger = ScanHint("trigger", (4, 6), 0.9, "")
    scan = resolve_scan(24, ScanRequest(rule="header"), [trigger], times, announced=24)
    assert scan.shape == (4, 6)
    for rule in ("exposures", "content"):
        with pytest.raises(FormatError, match=rf'scan="{rule}" finds no scan shape.*timestamps'):
            resolve_scan(24, ScanRequest(rule=rule), [], times)
    with pytest.raises(ValueError, match="scan='best' is none of"):
        resolve_scan(12, ScanRequest(rule="best"))
    with pytest.raises(ValueError, match="missing='no' is none of"):
        resolve_scan(12, ScanRequest(missing="no"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="flyback='no' is none of"):
        resolve_scan(12, ScanRequest(flyback="no"))  # type: ignore[arg-type]


def test_internal_clock_tells_no_lines() -> None:
    assert resolve_scan(
        12, ScanRequest(), times=times_of(line_times(6, 2), external=False)
    ).shape == (12,)
    asked = ScanRequest(rule="timestamps")
    assert resolve_scan(12, asked, times=times_of(line_times(6, 2), external=False)).shape == (6, 2)


def test_surplus_frames_of_a_described_scan() -> None:
    with pytest.warns(RecordingWarning, match="2 of 14 frames lie beyond the scan of 12"):
        scan = resolve_scan(14, ScanRequest(), [HEADER])
    assert listed(scan.index) == list(range(12))


def test_missing_frames_of_a_described_scan() -> None:
    with pytest.warns(RecordingWarning, match="2 of 3 lines are complete"):
        assert resolve_scan(10, ScanRequest(), [HEADER]).shape == (2, 4)
    with pytest.warns(RecordingWarning, match="2 of 12 scan positions"):
        scan = resolve_scan(10, ScanRequest(missing="fill"), [HEADER])
    mask = scan.missing_mask
    assert mask is not None
    assert mask.shape == (3, 4)
    assert np.flatnonzero(mask).tolist() == [10, 11]


def test_line_of_all_frames_is_a_stack() -> None:
    line = ScanHint("header", (10,), 0.95, "shape of the array")
    assert resolve_scan(10, ScanRequest(sync_offset=2), [line]).shape == (8,)
    assert resolve_scan(10, ScanRequest(first_frame=2, last_frame=8), [line]).shape == (6,)


EXPOSURES = np.where(np.arange(20) % 5 == 0, 1_800_000, 900_000)


def test_flyback_frames() -> None:
    times = times_of(exposure_ns=EXPOSURES)
    expected = [i for i in range(20) if i % 5]
    for options in ({}, {"flyback": "drop"}):
        scan = resolve_scan(20, ScanRequest(**options), times=times)
        assert (scan.shape, scan.evidence.rule) == ((4, 4), "exposures")
        assert listed(scan.index) == expected
    scan = resolve_scan(20, ScanRequest(flyback="keep"), times=times)
    assert (scan.shape, listed(scan.index)) == ((4, 5), list(range(20)))
    for shape in ((4, 4), (4, -1), (-1, 4)):
        scan = resolve_scan(20, ScanRequest(shape=shape, flyback="drop"), times=times)
        assert (scan.shape, listed(scan.index)) == ((4, 4), expected)
    with pytest.raises(FormatError, match="no flyback frames are seen"):
        resolve_scan(22, ScanRequest(flyback="drop"), times=times_of(line_times(11, 2)))


def test_flyback_columns_of_the_header() -> None:
    hint = ScanHint("header", (3, 4), 0.95, "", line=5)
    scan = resolve_scan(15, ScanRequest(), [hint])
    assert listed(scan.index) == [0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13]


def test_candidates() -> None:
    times = times_of(line_times(6, 6))
    hints = propose(36, [HEADER], times)
    assert [h.rule for h in hints] == ["timestamps", "stack", "header", "square"]
    assert [h.shape for h in hints] == [(6, 6), (), (3, 4), (6, 6)]
    assert all(0 <= h.confidence <= 1 for h in hints)
    assert set(HEADER.describe()) == {"rule", "shape", "confidence", "reason"}


def test_times_of_layers() -> None:
    times = times_of(np.repeat(line_times(4, 3), 2) + np.tile([0, 10], 12))
    half = decimated(times, 2)
    assert half is not None
    assert half.count == 12
    assert half.read(3, 5).time_ns.tolist() == line_times(4, 3)[3:5].tolist()
    assert resolve_scan(24, ScanRequest(), times=times, layers=2).shape == (2, 4, 3)
    assert decimated(None, 2) is None


def test_mask_of_a_complete_scan() -> None:
    assert Scan((2,), np.array([0, 1]), HEADER).missing_mask is None


def test_an_absurd_shape_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(FormatError, match=r"1000000000000 positions, .* 12 frames"):
        resolve_scan(12, ScanRequest(shape=(10**6, 10**6), missing="fill"))
