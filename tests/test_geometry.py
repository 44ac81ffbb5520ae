# SPDX-License-Identifier: GPL-3.0-or-later
"""Every frame in its place: simulated recordings of which the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from geometry.__main__ import describe, recordings, table
from geometry.recordings import places, write
from geometry.simulate import FAMILIES, Recording, make
from geometry.verdict import (
    Case,
    Ints,
    LiberTEM,
    Shown,
    judge,
    ours,
    rosettasciio,
    trouble,
    try_case,
)
from numpy.typing import NDArray

#: How many recordings, and what must be reached with them; shares of those whose files tell.
CASES, SEED = 460, 11
LEAST_RIGHT = 0.90
MOST_WRONG = 0.01  # misled or silent
MOST_UNKNOWN = 0.05
MOST_SERIES_AS_SCAN = 0.01


def share(cases: list[Case], *verdicts: str) -> float:
    return sum(case.verdicts["ours"] in verdicts for case in cases) / len(cases)


def test_targets() -> None:
    cases = [try_case(recording, {"ours": ours}) for recording in recordings(CASES, SEED)]
    tellable = [case for case in cases if case.recording.tellable]
    series = [case for case in tellable if not case.recording.is_scan]
    reached = {
        "right": (share(tellable, "right"), LEAST_RIGHT, 1.0),
        "misled or silent": (share(tellable, "misled", "silent"), 0.0, MOST_WRONG),
        "unknown": (share(tellable, "unknown"), 0.0, MOST_UNKNOWN),
        "cannot read": (share(cases, "cannot read"), 0.0, 0.0),
        "series as scans": (1 - share(series, "right"), 0.0, MOST_SERIES_AS_SCAN),
    }
    missed = [
        f"{name}: {value:.3f}, not {least} to {most}"
        for name, (value, least, most) in reached.items()
        if not least <= value <= most
    ]
    wrong = [case for case in tellable if case.verdicts["ours"] != "right"]
    text = "\n\n".join([table(cases, "ours"), *(describe(case, "ours") for case in wrong[:20])])
    assert not missed, "\n".join([*missed, f"of {len(tellable)}, seed {SEED}", text])


# -- the bench itself ----------------------------------------------------------------------------


def perfect(recording: Recording) -> Ints:
    """Show every frame where it is, with blanks."""
    events = recording.events
    if not recording.is_scan:
        return np.arange(len(events))
    shown = np.full((recording.repeats * recording.lines, recording.width), -1, np.int64)
    scan = events["line"] >= 0
    row = (events["repeat"] * recording.lines + events["line"])[scan]
    shown[row, events["column"][scan]] = np.flatnonzero(scan)
    return shown


def rigid(recording: Recording) -> Ints:
    """Lay lines of the right length over all frames, whatever happened."""
    lines = len(recording.events) // recording.width
    return np.arange(lines * recording.width).reshape(lines, recording.width)


def verdict(shown: Ints, recording: Recording, *warnings: str, sure: float = 0.9) -> str:
    return judge(Shown(shown, sure, warnings), recording)[0]


EXAMPLES = range(4)


@pytest.mark.parametrize("name", FAMILIES)
def test_perfect_reader(name: str) -> None:
    for i in EXAMPLES:
        recording = make(name, i)
        shown = perfect(recording)
        assert not trouble(shown, recording), i
        if recording.repeats > 1:
            shape = (recording.repeats, recording.lines, recording.width)
            assert not trouble(shown.reshape(shape), recording)
        if recording.flyback:
            assert not trouble(np.delete(shown, recording.flyback, 1), recording)
            proper = set(range(recording.width)) - set(recording.flyback)
            assert trouble(np.delete(shown, min(proper), 1), recording)


@pytest.mark.parametrize("name", FAMILIES)
def test_recordings_are_reproducible(name: str) -> None:
    first, second, other = make(name, 1, 5), make(name, 1, 5), make(name, 2, 5)
    assert first.events.tobytes() == second.events.tobytes()
    assert (first.claims, str(first)) == (second.claims, f"{name}:1")
    assert first.events.tobytes() != other.events.tobytes()


#: Families without headers that say the length of a line: only times do.
BY_TIMES = ["complete", "late start", "missed trigger", "seq complete", "tvips times", "repeats"]


@pytest.mark.parametrize("name", BY_TIMES)
def test_line_ends_can_be_seen(name: str) -> None:
    """What is called tellable is: line ends stand out of the steps within lines."""
    for i in range(12):
        recording = make(name, i)
        events = recording.events
        steps = np.diff(events["time"])
        same = np.diff(events["line"]) == 0
        usual = same & (np.diff(events["column"]) == 1)
        ends = steps[np.diff(events["line"]) == 1]
        late = np.median(ends) - np.median(steps[usual])
        assert late * np.sqrt(len(ends)) > 6 * steps[usual].std(), (i, recording.parameters)


def after(name: str, shift: Callable[[Recording], Ints] = rigid) -> list[str]:
    """Return verdicts on a reader that shifts the rest of each recording of a family."""
    return [verdict(shift(r), r) for r in (make(name, i) for i in range(12))]


def test_reader_that_shifts_after_a_loss() -> None:
    for name in ("missed trigger", "lost with jump", "several lost", "seq missed trigger"):
        some = after(name)
        # what is lost in the last line, or ahead of it, shifts nothing that is shown
        assert set(some) <= {"silent", "right"}
        assert some.count("silent") >= 9, name
    assert set(after("line cut short")) == {"silent"}
    assert set(after("late start")) <= {"silent", "right"}
    assert after("late start").count("silent") >= 9


def test_verdicts() -> None:
    recording = make("complete", 0)
    n, shape = len(recording.events), (recording.lines, recording.width)
    right = np.arange(n).reshape(shape)
    assert verdict(right, recording) == "right"
    assert verdict(np.arange(n), recording) == "unknown"
    assert verdict(np.arange(n - 2), recording) == "silent"
    turned = np.arange(n).reshape(n // 2, 2) if n % 2 == 0 else np.arange(n - 1).reshape(-1, 2)
    assert verdict(turned, recording) == "silent"
    assert verdict(turned, recording, "a warning") == "misled"
    assert verdict(turned, recording, "a warning", sure=0.6) == "told"
    assert judge(Shown(turned, None, ("a warning",)), recording)[0] == "told"
    assert judge(Shown(right, error="OSError"), recording)[0] == "cannot read"
    # a complete line is not shown; lines are turned round; one frame is at two places
    assert verdict(right[1:], recording) == "silent"
    assert verdict(right[:, ::-1], recording) == "silent"
    assert verdict(np.concatenate([right, right[:1]]), recording) == "silent"
    # blank lines hurt nobody, blank columns look like lost frames
    blank = np.pad(right, ((1, 1), (0, 0)), constant_values=-1)
    assert verdict(blank, recording) == "right"
    assert verdict(np.pad(right, ((0, 0), (0, 1)), constant_values=-1), recording) == "silent"


def test_lines_at_the_ends_may_be_left_out() -> None:
    for name in ("late start", "early stop"):
        recording = make(name, 1)
        shown = perfect(recording)
        whole = shown[(shown >= 0).all(axis=1)]
        assert verdict(whole, recording) == "right"
        assert verdict(whole[1:], recording) == "silent"
        assert verdict(whole[:-1], recording) == "silent"


def test_frames_outside_the_scan() -> None:
    recording = make("frames behind", 0)
    shown = perfect(recording)
    line = np.full((1, recording.width), -1)
    line[0, 0] = len(recording.events) - 1
    assert "not part of the scan" in trouble(np.concatenate([shown, line]), recording)


def test_series() -> None:
    recording = make("time series", 0)
    n = len(recording.events)
    assert verdict(np.arange(n), recording) == "right"
    assert verdict(np.arange(n)[None], recording) == "right"
    assert verdict(np.arange(n - 1), recording) == "silent"
    half = np.arange(n // 2 * 2).reshape(2, -1)
    assert verdict(half, recording) == "silent"
    assert verdict(half, recording, "a warning", sure=0.7) == "told"


def test_places() -> None:
    corner: NDArray[np.float64] = np.array([[1, 0], [0, 1], [0, 0], [np.nan, np.nan], [44, 1]])
    assert places(corner).tolist() == [0, 255, -1, -1, 299]


@pytest.mark.parametrize(
    "name",
    [
        *("complete", "seq complete", "tvips coordinates", "dectris side file"),
        *("blo complete", "mrc description", "empad complete"),
    ],
)
def test_files_hold_every_frame(name: str, tmp_path: Path) -> None:
    """As stored, without any scan: each frame says its place."""
    import rsciio_tem

    recording = make(name, 3)
    path = write(tmp_path, recording)
    n = len(recording.events)
    signal = rsciio_tem.load(path, lazy=False, navigation_shape=(n,))[0]
    assert places(signal["data"][..., 0, :2]).tolist() == list(range(n))


def test_peers() -> None:
    recording = make("line trigger", 0)
    case = try_case(recording, {"RosettaSciIO": rosettasciio, "LiberTEM": LiberTEM()})
    assert case.verdicts["RosettaSciIO"] == "right"
    assert case.shown["LiberTEM"].places.size
    assert rosettasciio(Path("scan.seq"), make("seq complete", 0)).error == "no reader"
