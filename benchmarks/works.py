# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured, how each result is checked, and the loop that measures.

A new work is one row of `WORKS`.
"""

from __future__ import annotations

import functools
import gc
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import memory
from benchmarks.contestants import Contestant, Crop, Unsupported
from benchmarks.files import MB, Array, DataFile, Reference, write_sparse

#: Frames picked in one round of the work "frame".
FRAMES = 10


# -- one measurement -----------------------------------------------------------------------------


@dataclass
class Case:
    """One contestant with one file."""

    name: str
    contestant: Contestant
    file: DataFile
    reference: Reference
    opened: dict[str, Any] = field(default_factory=dict)

    def lazy(self) -> Any:
        """What the contestant opened; kept for the next work."""
        if "lazy" not in self.opened:
            self.opened["lazy"] = self.contestant.open(self.file)
        return self.opened["lazy"]

    def signal(self) -> Any:
        """Return the lazy HyperSpy signal; kept."""
        if "signal" not in self.opened:
            self.opened["signal"] = self.contestant.signal(self.file)
        return self.opened["signal"]

    def oriented(self, frames: Array) -> Array:
        """Turn frames as stored into what this contestant should give."""
        if self.contestant.flips and self.file.format.flips:
            return frames[..., ::-1, :]
        return frames

    def positions(self, turn: int) -> list[tuple[int, int]]:
        """Scan positions to look at; the same ones for every contestant."""
        picks = np.random.default_rng(turn + 1).integers(0, self.file.frames, FRAMES)
        return [divmod(int(pick), self.file.nav_shape[1]) for pick in picks]


@dataclass(frozen=True)
class Work:
    """Something to do with a file.

    Parameters
    ----------
    title : str
        What the report calls it.
    run : callable
        ``run(case, turn)`` is timed. Turn -1 is the one that is checked.
    check : callable
        ``check(case, result)`` is True if the result of turn -1 is right.
    prepare : callable
        ``prepare(case)`` comes before, once and untimed; raises `Unsupported` if it cannot be done.
    throughput : bool
        The whole file is gone through: GB/s are reported.
    divide : int
        Number of times the work is done in one run.
    turns : callable
        Number of repeats asked for -> number of repeats for this work.
    holes : tuple of int
        Scan shape of a file with holes to measure on, rather than the generated file.
    before : callable
        ``before(case)`` comes before each run, untimed.
    value : callable
        How to get the measured number from (seconds, result); by default milliseconds.
    least : bool
        The report shows the minimum, too.
    """

    title: str
    run: Callable[[Case, int], Any]
    check: Callable[[Case, Any], bool]
    prepare: Callable[[Case], object] = Case.lazy
    throughput: bool = False
    divide: int = 1
    turns: Callable[[int], int] = int
    holes: tuple[int, int] | None = None
    before: Callable[[Case], object] = lambda case: None
    value: Callable[[float, Any], Any] = lambda seconds, result: seconds * 1e3
    least: bool = False


def same(result: Any, expected: Array) -> bool:
    """Integers must be equal. Sums in float32 (LiberTEM's choice) may be off in the fifth digit."""
    result = np.asarray(result)
    if result.shape != expected.shape:
        return False
    if result.dtype.kind == "f":
        return bool(np.allclose(result, expected, rtol=1e-4, atol=0))
    return bool(np.array_equal(result, expected))


def _check_shape(case: Case, opened: Any) -> bool:
    return case.contestant.shape(opened) == case.file.shape


def _frames(case: Case, turn: int) -> list[Array]:
    opened = case.lazy()
    return [case.contestant.frame(opened, y, x) for y, x in case.positions(turn)]


def _signal_frames(case: Case, turn: int) -> list[Array]:
    signal = case.signal()
    return [signal.inav[x, y].data.compute(scheduler="threads") for y, x in case.positions(turn)]


def _check_frames(case: Case, frames: list[Array]) -> bool:
    columns = case.file.nav_shape[1]
    stored = (case.reference.read(y * columns + x, 1)[0] for y, x in case.positions(-1))
    return all(same(f, case.oriented(s)) for f, s in zip(frames, stored, strict=True))


def _room_for_load(case: Case) -> None:
    needed, free = 2.5 * case.file.decoded_size, psutil.virtual_memory().available
    if needed > free:
        raise Unsupported(
            f"loading takes {case.file.decoded_size / MB:.0f} MB, too much for the "
            f"{free / MB:.0f} MB of free memory; use a smaller --size"
        )


def _check_load(case: Case, data: Any) -> bool:
    if tuple(data.shape) != case.file.shape:
        return False
    flat = data.reshape(-1, *case.file.format.frame_shape)
    return all(
        same(flat[start : start + len(stored)], case.oriented(stored))
        for start, stored in case.reference.blocks()
    )


def _check_scan_sum(case: Case, total: Any) -> bool:
    return same(total, case.oriented(case.reference.scan_sum))


def _check_reduced(case: Case, what: Sequence[str], results: Sequence[Array]) -> bool:
    reference = case.reference
    centre = reference.centre
    if case.oriented(reference.mask) is not reference.mask:
        centre = np.stack([len(reference.mask) - 1 - centre[..., 0], centre[..., 1]], axis=-1)
    expected: dict[str, Array] = {
        "sum": case.oriented(reference.scan_sum),
        "navigator": reference.detector_sum,
        "mask": reference.mask_sum,
        "com": centre,
    }
    return all(same(r, expected[name]) for name, r in zip(what, results, strict=True))


def _reduction(title: str, *what: str) -> Work:
    return Work(
        title,
        lambda case, turn: case.contestant.reduce(
            case.lazy(), what, case.oriented(case.reference.mask)
        ),
        lambda case, results: _check_reduced(case, what, results),
        throughput=True,
    )


def _cold(title: str, *, little: bool = False) -> Work:
    return Work(
        title,
        lambda case, turn: memory.cold_seconds(case.name, case.file, little=little),
        lambda case, result: _check_scan_sum(case, result[1]),
        prepare=lambda case: None,  # whoever opens the file may keep it in memory
        throughput=True,
        value=lambda seconds, result: result[0] * 1e3,
    )


def _check_lazy(case: Case, what: str, result: Array) -> bool:
    reference = case.reference
    blocks = (case.oriented(stored) for _, stored in reference.blocks())
    if what == "mean":
        expected = case.oriented(reference.scan_sum) / case.file.frames
    elif what == "max":
        expected = functools.reduce(np.maximum, (block.max(axis=0) for block in blocks))
    else:
        crop = Crop.of(case.file.format.frame_shape)
        used = crop.disk if what == "virtual" else np.ones_like(crop.disk)
        parts = [(b[:, crop.rows, crop.columns] * used).sum(axis=(1, 2)) for b in blocks]
        expected = np.concatenate(parts).reshape(case.file.nav_shape)
    return same(np.asarray(result, np.float64), expected.astype(np.float64))


def _lazy(title: str, what: str) -> Work:
    return Work(
        title,
        lambda case, turn: case.contestant.lazily(
            case.file, case.lazy(), what, Crop.of(case.file.format.frame_shape)
        ),
        lambda case, result: _check_lazy(case, what, result),
        throughput=True,
    )


WORKS: dict[str, Work] = {
    # ahead of the others, which may keep the file in memory
    "cold-sum": _cold("sum over scan in a fresh process, from the disk"),
    "little-memory": _cold("the same, with memory of 2/3 of the file's size at most", little=True),
    "open": Work(
        "open",
        lambda case, turn: case.contestant.open(case.file),
        _check_shape,
        turns=lambda repeats: 3 * repeats,
        least=True,
    ),
    "open-guess": Work(
        "open, the scan shape not given",
        lambda case, turn: case.contestant.guess(case.file),
        lambda case, opened: opened.size == math.prod(case.file.shape),
        turns=lambda repeats: 3 * repeats,
        least=True,
    ),
    "open-first": Work(
        "open for the first time",
        lambda case, turn: case.contestant.open(case.file),
        _check_shape,
        turns=lambda repeats: 3 * repeats,
        before=lambda case: case.contestant.forget(),
        least=True,
    ),
    "describe": Work(
        "describe: `rsciio_tem.open`",
        lambda case, turn: case.contestant.describe(case.file),
        lambda case, count: count == case.file.frames,
        turns=lambda repeats: 3 * repeats,
        least=True,
    ),
    "detect": Work(
        "detect",
        lambda case, turn: case.contestant.detect(case.file),
        lambda case, named: named == case.contestant.reader(case.file)[0],
        turns=lambda repeats: 3 * repeats,
        least=True,
    ),
    "open-1e3": Work(
        "open, 2^10 frames with holes",
        lambda case, turn: case.contestant.open(case.file),
        _check_shape,
        turns=lambda repeats: 3 * repeats,
        holes=(32, 32),
    ),
    "open-1e6": Work(
        "open, 2^20 frames with holes",
        lambda case, turn: case.contestant.open(case.file),
        _check_shape,
        turns=lambda repeats: 3 * repeats,
        holes=(1024, 1024),
    ),
    "frame": Work(
        "one random frame",
        _frames,
        _check_frames,
        divide=FRAMES,
        turns=lambda repeats: 3 * repeats,
    ),
    "frame-hyperspy": Work(
        "one random frame, HyperSpy `inav`",
        _signal_frames,
        _check_frames,
        prepare=Case.signal,
        divide=FRAMES,
        turns=lambda repeats: 3 * repeats,
    ),
    "load": Work(
        "load",
        lambda case, turn: case.contestant.load(case.file),
        _check_load,
        prepare=_room_for_load,
        throughput=True,
    ),
    "sum-scan": Work(
        "sum over scan",
        lambda case, turn: case.contestant.sum_scan(case.lazy()),
        _check_scan_sum,
        throughput=True,
    ),
    "sum-detector": Work(
        "sum over detector",
        lambda case, turn: case.contestant.sum_detector(case.lazy()),
        lambda case, image: same(image, case.reference.detector_sum),
        throughput=True,
    ),
    "lazy-mean": _lazy("mean over scan, lazy", "mean"),
    "lazy-max": _lazy("maximum over scan, lazy", "max"),
    "lazy-crop": _lazy("sum over a sixteenth of the detector, lazy", "crop"),
    "lazy-virtual": _lazy("virtual detector as HyperSpy writes it, lazy", "virtual"),
    "one-pass": _reduction("both sums in one pass", "sum", "navigator"),
    "reduce-sum": _reduction("reduce: sum over scan", "sum"),
    "reduce-navigator": _reduction("reduce: sum over detector", "navigator"),
    "reduce-mask": _reduction("reduce: one virtual detector", "mask"),
    "reduce-com": _reduction("reduce: centre of mass", "com"),
    "reduce-all": _reduction("reduce: all four in one pass", "sum", "navigator", "mask", "com"),
    "function-disk": Work(
        "a user's function: sum of a disk",
        lambda case, turn: case.contestant.function(
            case.lazy(), case.oriented(case.reference.mask)
        ),
        lambda case, image: same(image, case.reference.mask_sum),
        throughput=True,
    ),
    "rss": Work(
        "peak RSS of sum over scan (private)",
        lambda case, turn: memory.measure(case.name, case.file),
        lambda case, result: _check_scan_sum(case, result[1]),
        turns=lambda repeats: min(3, repeats),
        value=lambda seconds, result: result[0],
    ),
}


# -- the loop ------------------------------------------------------------------------------------


@dataclass
class Cell:
    """What came out for one work and one contestant.

    Parameters
    ----------
    state : str
        "ok", or what the report shows instead of a number: "-", "WRONG", "error".
    samples : list
        Milliseconds or `memory.Memory`.
    note : str
        Why there is no number.
    """

    state: str = "ok"
    samples: list[Any] = field(default_factory=list)
    note: str = ""


Row = dict[str, Cell]  #: contestant -> what came out


def measure(
    works: Sequence[str],
    contestants: Mapping[str, Contestant | str],
    file: DataFile,
    folder: Path,
    repeats: int,
) -> dict[str, Row]:
    """Measure all works on one file.

    Parameters
    ----------
    works : sequence of str
        Keys of `WORKS`.
    contestants : mapping
        Name -> contestant, or the reason why it could not be started.
    file, folder : DataFile, Path
        The recording, and where files with holes may be made.
    repeats : int
        How often each work is timed.
    """
    reference = Reference(file)
    cases = {
        name: Case(name, contestant, file, reference)
        for name, contestant in contestants.items()
        if isinstance(contestant, Contestant)
    }
    table: dict[str, Row] = {}
    for name in works:
        work = WORKS[name]
        print(f"  {name}", file=sys.stderr, flush=True)
        row = table[name] = {
            who: Cell("-", note=reason) if isinstance(reason, str) else Cell()
            for who, reason in contestants.items()
        }
        if work.holes is None:
            _measure_row(work, cases, row, repeats)
            continue
        try:
            holes = write_sparse(file.name, folder, work.holes)
        except OSError as error:
            row.update({who: Cell("-", note=f"no file with holes: {error}") for who in row})
            continue
        try:
            on_holes = {
                who: Case(who, case.contestant, holes, reference) for who, case in cases.items()
            }
            _measure_row(work, on_holes, row, repeats)
        finally:
            holes.delete()
    return table


def _measure_row(work: Work, cases: Mapping[str, Case], row: Row, repeats: int) -> None:
    for who, case in cases.items():
        row[who] = _checked(work, case)
    running = [who for who in cases if row[who].state == "ok"]
    for turn in range(work.turns(repeats)):
        for who in running:  # A B C A B C ...: a slow minute of the machine hits all of them
            cell = row[who]
            if cell.state != "ok":
                continue
            work.before(cases[who])
            gc.collect()
            gc.disable()
            try:
                start = time.perf_counter()
                result = work.run(cases[who], turn)
                seconds = (time.perf_counter() - start) / work.divide
                cell.samples.append(work.value(seconds, result))
                del result
            except Exception as error:
                row[who] = Cell("error", note=_told(error))
            finally:
                gc.enable()


def _checked(work: Work, case: Case) -> Cell:
    """Do the work once, which also warms up, and compare with the reference."""
    try:
        case.contestant.reader(case.file)
        work.prepare(case)
        result = work.run(case, -1)
        if work.check(case, result):
            return Cell()
        return Cell("WRONG", note="the result differs from the reference")
    except Unsupported as error:
        return Cell("-", note=str(error))
    except Exception as error:
        return Cell("error", note=_told(error))


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"
