# SPDX-License-Identifier: GPL-3.0-or-later
"""Check whether a recording is complete and readable, before the original is deleted.

Problems that opening the recording reveals come first. Then every frame header is read, and its
numbers and times are compared with those of an undisturbed recording. Formats add their own
checks, a tuple of functions called ``CHECKS`` in their module. Pixels are decoded only on request.
Nothing is ever written.
"""

from __future__ import annotations

import math
import os
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, Problem, collected
from rsciio_tem.frames.pixels import Region, full_region
from rsciio_tem.frames.protocol import Frames, tiles
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.parsing.checks import Ints, counted, number_ranges
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.times import FrameTimes, Times
from rsciio_tem.storage import machine
from rsciio_tem.storage.files import bytes_of, recording_of
from rsciio_tem.storage.remote.address import is_address
from rsciio_tem.storage.user_paths import named_by_user

__all__ = ["check"]

_ORDER = {"error": 0, "warning": 1, "info": 2}


#: Frame headers that are read at a time.
_HEADERS = 1 << 16


#: Bytes of pixels that a thread decodes at a time.
_PIXELS = 8 << 20


#: Frames with equal checksums of which so many are compared pixel by pixel.
_VERIFIED = 1000


#: Frames with fewer pixels than this that are not zero may well be equal by chance.
_FEW = 8


def check(
    source: str | os.PathLike[str] | Recording,
    format: str = "auto",
    *,
    pixels: bool = False,
    progress: Callable[[int], object] | None = None,
    **format_options: Any,
) -> list[Problem]:
    """Say what is missing, damaged or contradictory in a recording.

    Parameters
    ----------
    source : path or Recording
        One file of the recording, or what `rsciio_tem.open` returned.
    format : str
        Name of the format; "auto" goes by the content.
    pixels : bool
        Also decode every frame once. This finds damaged chunks and unreadable disk sectors, values
        that are not numbers, and frames that are empty or equal to the one before. Without it,
        only the format's headers, tables and side files are read.
    progress : callable, optional
        Called with the number of frames just decoded; never by two threads at once.
    **format_options
        The format's own keywords, as for `rsciio_tem.open`.

    Returns
    -------
    list of Problem
        The worst first. ``severity`` is "error" (frames, or the whole file, cannot be read),
        "warning" (frames are missing or repeated, files contradict each other, or something rests
        on a hypothesis) or "info". An empty list means that there are no problems;
        ``docs/checking.md`` says how much each format can reveal. The content of a file never
        raises an exception.
    """
    if isinstance(source, Recording):
        return _problems(source, format, pixels, progress, format_options)
    with named_by_user(source, format_options) as (named, keywords):
        return _problems(recording_of(named), format, pixels, progress, keywords)


def _problems(
    source: str | Recording,
    format: str,
    pixels: bool,
    progress: Callable[[int], object] | None,
    format_options: dict[str, Any],
) -> list[Problem]:
    from rsciio_tem.readers import own_module
    from rsciio_tem.tools import open as open_module

    problems: list[Problem] = []
    sizes = {} if isinstance(source, Recording) else _sizes([source])
    with collected() as warned:
        try:
            recording = (
                source
                if isinstance(source, Recording)
                else open_module.open(source, format, **format_options)
            )
        except FormatError as error:
            where = "" if error.path == os.fspath(source) else f"{error.path}: "  # type: ignore[arg-type]
            if getattr(error, "reader", ""):  # nothing is wrong with it, as far as we know
                return [
                    Problem("warning", f"{where}{error.problem} It is not checked.", error.hint)
                ]
            return [Problem("error", where + error.problem, error.hint)]
        sizes = _sizes(recording.files) | _described_sizes(recording) | sizes
        problems += recording.problems
        module = own_module(recording.path, recording.format)
        seen: FrameTimes | None = None
        with _stumbling(problems):
            problems += _holes(recording)
        with _stumbling(problems):
            times = recording.stored_times or recording.times
            if times is not None:
                seen = _all_times(times)
                problems += _clock(seen, times, recording)
        for deeper in getattr(module, "CHECKS", ()):  # other packages may have none
            with _stumbling(problems):
                problems += deeper(recording, seen)
        with _stumbling(problems):
            problems += _scan(recording)
        if pixels:
            with _stumbling(problems):
                problems += _decoded(recording, progress)
        problems += _growing(sizes)
    said = [m if path == recording.path else f"{path}: {m}" for path, m in warned]
    problems += [Problem("warning", message) for message in dict.fromkeys(said)]
    replaced = {p.about for p in problems if p.about.startswith("every ")}
    problems = [p for p in problems if "every " + p.about not in replaced]
    return sorted(dict.fromkeys(problems), key=lambda p: _ORDER[p.severity])


@contextmanager
def _stumbling(problems: list[Problem]) -> Iterator[None]:
    """Add what a check stumbles over to the problems."""
    try:
        yield
    except FormatError as error:
        problems.append(Problem("error", f"{error.path}: {error.problem}", error.hint))
    except MemoryError:
        problems.append(
            Problem(
                "error",
                "there is too little memory to look at all of it: what follows was not checked.",
                "Check it on a machine with more memory.",
            )
        )
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        problems.append(
            Problem(
                "error",
                f"{where}cannot be read: {error.strerror or error}.",
                "If the disk or network is at fault, copy the recording again.",
            )
        )


# ---------------------------------------------------------------- files


def _sizes(paths: Iterable[str]) -> dict[str, int]:
    """Return the sizes that files have now."""
    sizes = {}
    for path in paths:
        with suppress(OSError, FormatError):
            if is_address(path) or os.path.isfile(path):
                sizes[path] = bytes_of(path)
    return sizes


def _described_sizes(recording: Recording) -> dict[str, int]:
    """Return the sizes that the files with the frames had when they were described."""
    frames = recording.frames
    files = frames.files if isinstance(frames, FrameTable) else ()
    return {file.path: file.size for file in files}


def _growing(sizes: dict[str, int]) -> Iterator[Problem]:
    """Tell files of another size than before."""
    after = _sizes(sizes)
    changed = [path for path, size in sizes.items() if after.get(path) != size]
    for path in changed[:5]:
        grown = after.get(path, 0) > sizes[path]
        yield Problem(
            "warning" if grown else "error",
            f"{os.path.basename(path)} had {sizes[path]} bytes, and {after.get(path, 0)} after the "
            "check: "
            + (
                "it is still being written, and only its beginning was checked."
                if grown
                else "something else writes it."
            ),
            "Check it again when it is complete.",
        )
    if len(changed) > 5:
        yield Problem("warning", f"{len(changed) - 5} more files changed during the check.")


def _holes(recording: Recording) -> Iterator[Problem]:
    """Count frames in stretches of files that have a size but no data on disk: they are zeros."""
    frames = recording.frames
    if not isinstance(frames, FrameTable):
        return
    for i, file in enumerate(frames.files):
        lost = 0
        for begin, end in _unwritten(file.path):
            runs = frames.runs[frames.runs["file"] == i]
            start, stride, count = runs["start"], np.maximum(runs["stride"], 1), runs["count"]
            low = np.maximum(0, -((start - begin) // stride))
            high = np.minimum(count, (end - frames.pixels.nbytes - start) // stride + 1)
            lost += int(np.maximum(0, high - low).sum())
        if lost:
            yield Problem(
                "warning",
                f"{os.path.basename(file.path)}: {lost} of {len(frames)} frames have no data on "
                "the disk and read as zeros: they were never written, or the file system leaves "
                "out zeros.",
                "Compare with the original; a copy that was interrupted looks like this.",
            )


def _unwritten(path: str) -> Iterator[tuple[int, int]]:
    """Give begin and end of the holes in a file, where the system tells them."""
    if not hasattr(os, "SEEK_HOLE") or is_address(path):
        return
    with open(path, "rb", buffering=0) as file:
        size, at = os.fstat(file.fileno()).st_size, 0
        for _ in range(10_000):
            try:
                begin = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            except OSError:
                return
            if begin >= size:
                return
            try:
                at = os.lseek(file.fileno(), begin, os.SEEK_DATA)
            except OSError:  # nothing but a hole follows
                at = size
            yield begin, at


def _scan(recording: Recording) -> Iterator[Problem]:
    """Let the decision on the scan shape warn of what is missing or too many."""
    try:
        recording.scan(exhaustive=True)
    except FormatError as error:
        yield Problem("warning", error.problem, error.hint)


# ---------------------------------------------------------------- numbers and times


def _all_times(times: Times) -> FrameTimes:
    """Read the numbers in all frame headers, some thousand at a time."""
    arrays: dict[str, Ints] = {}
    for first in range(0, times.count, _HEADERS):
        part = times.read(first, min(first + _HEADERS, times.count))
        for name, values in vars(part).items():
            if len(values):
                whole = arrays.setdefault(name, np.full(times.count, -1, np.int64))
                whole[first : first + len(values)] = values
    nothing = np.full(times.count, -1, np.int64)
    names = ("time_ns", "exposure_ns", "sequence", "counter")
    return FrameTimes(*(arrays.get(name, nothing) for name in names))


def _clock(seen: FrameTimes, times: Times, recording: Recording) -> Iterator[Problem]:
    """Tell times that are missing, run backwards, repeat, or are followed by a long pause."""
    blanks = recording.frames.blanks if times is recording.times else times.blanks
    recorded = np.ones(len(seen), bool) if blanks is None else ~blanks
    stamped = seen.time_ns >= 0
    if not stamped.any():
        return
    if (lacking := np.flatnonzero(recorded & ~stamped)).size:
        yield Problem(
            "warning",
            f"{len(lacking)} of {len(seen)} frames have no time, though others have: "
            f"{number_ranges(lacking)}.",
            "They were probably never written, or are cut off or damaged.",
            "header",
        )
    layers = recording.layers if times is recording.times else 1
    index = np.flatnonzero(stamped)
    index = index[index % layers == 0]
    time = seen.time_ns[index]
    if len(time) < 3:
        return
    follows = np.diff(index) == layers
    steps = np.diff(time)
    at = index[1:]
    back = steps < -times.resolution_ns
    if back.any():
        worst = int(np.argmin(steps))
        yield Problem(
            "warning",
            f"times run backwards before frame {number_ranges(at[back])}, by up to "
            f"{-steps[worst] / 1e9:.6g} s.",
            "Frames are out of order, or the clock of the computer was set.",
        )
    steps, at = steps[follows], at[follows]
    if not len(steps):
        return
    usual = float(np.median(steps))
    if usual <= 4 * times.resolution_ns:  # the clock is too coarse to tell frames apart
        return
    steps, late = _made_up(steps, usual)
    if late.any():
        yield Problem(
            "info",
            f"times before frame {number_ranges(at[late])} come too early or late, and those next "
            "to them make up for it: nothing is missing or stored twice there.",
        )
    if (same := steps == 0).any():
        yield Problem(
            "warning",
            f"{int(same.sum())} of {len(seen)} frames have exactly the time of the frame before: "
            f"{number_ranges(at[same])}. Others come {_ms(usual)} apart.",
            "They may have been stored twice.",
        )
    yield from _pauses(steps, at, usual, times, seen.sequence)


def _made_up(steps: Ints, usual: float) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Even out steps between times that were noted too late; also returns which these are.

    A lost frame makes the whole time longer by a step, one stored twice makes it shorter. Where a
    few steps are too short and too long, and as long as usual together, it was only the clock.
    """
    steps, late = steps.copy(), np.zeros(len(steps), bool)
    for length in (2, 3, 4):
        if len(steps) < length:
            break
        window = np.lib.stride_tricks.sliding_window_view(steps, length)
        total = np.abs(window.sum(axis=1) - length * usual) <= 0.25 * usual
        mixed = (window.min(axis=1) < 0.5 * usual) & (window.max(axis=1) > 1.5 * usual)
        end = 0
        for first in np.flatnonzero(total & mixed).tolist():
            if first >= end:
                end = first + length
                late[first:end] = True
                steps[first:end] = round(usual)
    return steps, late


def _ms(ns: float) -> str:
    return f"{ns / 1e9:.6g} s" if ns >= 1e9 else f"{ns / 1e6:.6g} ms"


def _pauses(steps: Ints, at: Ints, usual: float, times: Times, sequence: Ints) -> Iterator[Problem]:
    """Tell times between frames in which others would have had their place.

    Line ends of a scan do not count: there are many of them, at equal distances. Neither does what
    the frame numbers explain.
    """
    scatter = 1.4826 * float(np.median(np.abs(steps - usual)))
    late = steps > max(1.75 * usual, usual + 8 * scatter, usual + 2 * times.resolution_ns)
    if not late.any() or late.mean() > 0.25:
        return
    places = np.flatnonzero(late)
    distances, counts = np.unique(np.diff(places), return_counts=True)
    if len(distances) and counts.max() >= max(2, 0.5 * len(places)):
        line = int(distances[np.argmax(counts)])
        phases, members = np.unique(places % line, return_counts=True)
        regular = places % line == phases[np.argmax(members)]
        length = np.median(steps[places[regular]])
        # a line end that takes much longer than the others hides a pause
        places = places[~regular | (steps[places] > 1.75 * length)]
    numbered = len(sequence) and (sequence[at] >= 0).all()
    if numbered:
        places = places[sequence[at[places]] - sequence[at[places] - 1] == 1]
    if not len(places):
        return
    first = int(places[np.argmax(steps[places])])
    room = int(np.sum(np.rint(steps[places] / usual) - 1))
    yield Problem(
        "info" if numbered else "warning",
        f"times jump before frame {number_ranges(at[places])}: the longest step, before frame "
        f"{at[first]}, is {_ms(float(steps[first]))} instead of {_ms(usual)}"
        + (
            ", while the frame numbers go on: the camera paused."
            if numbered
            else f". If the camera never paused, about {counted(room)} missing."
        ),
    )


# ---------------------------------------------------------------- pixels


class _Pixels:
    """What decoding every frame tells about each of them."""

    def __init__(self, frames: Frames) -> None:
        count = len(frames)
        self.frames, self.lock = frames, threading.Lock()
        self.sums = np.zeros(count, np.uint64)  # checksums, of all regions together
        self.filled = np.zeros(count, np.int64)  # pixels that are not zero
        self.odd = np.zeros(count, np.int64)  # pixels that are NaN or infinite
        self.lost = np.zeros(count, bool)
        self.reasons: dict[tuple[str, str], int] = {}  # what is wrong, what to do
        hint = frames.chunk_hint
        run = 1 if hint is None else hint.run
        # frames stored together in large blocks are damaged together
        self.grain = 1 if run <= 256 else run

    def take(self, first: int, last: int, region: Region | None) -> None:
        """Decode frames, or a part of each; halve what cannot be decoded until it is found."""
        whole = region or full_region(self.frames.frame_shape)
        out = np.empty((last - first, *(s.stop - s.start for s in whole)), self.frames.dtype)
        try:
            self.frames[first:last].load(out, region)
        except MemoryError:
            raise
        except Exception as error:  # whatever a decoder says of damaged bytes
            del out
            if last - first > self.grain:
                middle = first + max(self.grain, (last - first) // 2 // self.grain * self.grain)
                self.take(first, middle, region)
                self.take(middle, last, region)
                return
            reason = str(error), ""
            if isinstance(error, FormatError):
                reason = error.problem, error.hint
            with self.lock:
                self.lost[first:last] = True
                self.reasons[reason] = self.reasons.get(reason, 0) + last - first
            return
        flat = out.reshape(len(out), -1)
        raw = flat.view(np.uint8)
        # the order of regions must not matter: each has its own odd factor
        factor = 2 * hash(tuple((s.start, s.stop) for s in whole)) + 1
        factor &= 0xFFFF_FFFF_FFFF_FFFF
        sums = np.array([zlib.crc32(row.data) for row in raw], np.uint64) * np.uint64(factor)
        values = flat if flat.dtype.names is None else raw
        with np.errstate(invalid="ignore"):  # NaN of either kind
            filled = np.count_nonzero(values, axis=1)
        odd = (~np.isfinite(values)).sum(axis=1) if values.dtype.kind in "fc" else 0
        with self.lock:
            self.sums[first:last] += sums
            self.filled[first:last] += filled
            self.odd[first:last] += odd

    def repeated(self) -> Ints:
        """Return the frames that are equal to the one before, pixel for pixel."""
        alike = (self.sums[1:] == self.sums[:-1]) & (self.filled[1:] >= _FEW)
        alike &= (self.filled[1:] == self.filled[:-1]) & ~self.lost[1:] & ~self.lost[:-1]
        again = np.flatnonzero(alike) + 1
        good = np.ones(len(again), bool)
        pair = np.empty((2, *self.frames.frame_shape), self.frames.dtype)
        for n, i in enumerate(again[:_VERIFIED].tolist()):
            self.frames[i - 1 : i + 1].load(pair)
            values = pair[0].reshape(-1)
            flat = bool((values == values[0]).all())  # saturated, or no measurement
            good[n] = not flat and pair[0].tobytes() == pair[1].tobytes()
        return again[good]


def _decoded(recording: Recording, progress: Callable[[int], object] | None) -> Iterator[Problem]:
    """Decode every frame once, with a few threads, in pieces that have no stored block in common.

    A region of a frame counts as a part of it in `progress`.
    """
    frames, count = recording.frames, recording.count
    state = _Pixels(frames)
    size = math.prod(frames.frame_shape)
    done = reported = 0.0
    waiting: deque[tuple[Future[None], float]] = deque()

    def finish() -> None:
        nonlocal done, reported
        future, part = waiting.popleft()
        future.result()
        done += part
        if progress is not None and round(done) > reported:
            progress(round(done) - int(reported))
            reported = round(done)

    workers = machine.threads()
    with machine.Threads(workers) as pool:
        try:
            for piece, region in tiles(frames, _PIXELS):
                shape = [s.stop - s.start for s in region or full_region(frames.frame_shape)]
                part = (piece.stop - piece.start) * math.prod(shape) / size
                future = pool.submit(state.take, piece.start, piece.stop, region)
                waiting.append((future, part))
                if len(waiting) > workers + 1:
                    finish()
            while waiting:
                finish()
        finally:
            for future, _ in waiting:
                future.cancel()
    yield from _findings(state, count, frames)


def _findings(state: _Pixels, count: int, frames: Frames) -> Iterator[Problem]:
    blanks = frames.blanks
    stored = np.ones(count, bool) if blanks is None else ~blanks
    if state.lost.any():
        lost = np.flatnonzero(state.lost)
        reason, hint = max(state.reasons, key=lambda r: state.reasons[r])
        more = len(state.reasons) - 1
        yield Problem(
            "error",
            f"{len(lost)} of {count} frames cannot be read: {number_ranges(lost)}. {reason}"
            + f" ({counted(more, 'more reason')})" * bool(more),
            hint or "Keep the original, and copy the recording again.",
        )
    if (odd := np.flatnonzero((state.odd > 0) & stored)).size:
        yield Problem(
            "warning",
            f"{len(odd)} of {count} frames have pixels that are NaN or infinite, "
            f"{int(state.odd[odd].sum())} in all: frames {number_ranges(odd)}.",
            "Sums over them are NaN, too.",
        )
    good = stored & ~state.lost
    empty = np.flatnonzero(good & (state.filled == 0))
    if len(empty):
        tail = count - 1 - int(np.flatnonzero(~good | (state.filled > 0))[-1:].sum())
        tail = count if len(empty) == count else tail if empty[-1] == count - 1 else 0
        # single counts on an empty detector are no reason to worry
        usual = state.filled[good & (state.filled > 0)]
        dim = bool(len(usual)) and float(np.median(usual)) < _FEW
        yield Problem(
            "warning" if tail and not dim else "info",
            f"{len(empty)} of {count} frames hold nothing but zeros: {number_ranges(empty)}"
            + (f"; the last {counted(tail)} of the recording among them." if tail else "."),
            "Perhaps they were never written." if tail and not dim else "",
        )
    if len(same := state.repeated()):
        yield Problem(
            "warning",
            f"{len(same)} of {count} frames are equal to the frame before, pixel for pixel: "
            f"{number_ranges(same)}.",
            "The noise of a camera makes that next to impossible: they were stored twice.",
        )
