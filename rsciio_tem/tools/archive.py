# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert many recordings with one call, and record what was made from what."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rsciio_tem.errors import FormatError, Problem, collected
from rsciio_tem.storage.files import plain_file, size_of
from rsciio_tem.storage.machine import Progress, Threads
from rsciio_tem.storage.user_paths import named_by_user
from rsciio_tem.tools.check import check
from rsciio_tem.tools.compare import compare
from rsciio_tem.tools.convert import HYPERSPY, convert, suffix_of, writer_keywords
from rsciio_tem.tools.open import arranged
from rsciio_tem.tools.recordings import (
    CHECKSUMS,
    RECORDS,
    Item,
    is_searched,
    item_of,
    recordings_below,
)
from rsciio_tem.tools.records import Records, bytes_of, files_of
from rsciio_tem.tools.report import described, problem_as_json
from rsciio_tem.writing.checksums import add_to_list, check_list, checksums
from rsciio_tem.writing.obstacles import check_apart

__all__ = ["EXIT_STATUS", "Conversion", "convert_all", "convert_checked"]

_logger = logging.getLogger(__name__)

#: What becomes of a recording, and the exit status.
EXIT_STATUS = {
    "converted": 0,
    "skipped": 0,
    "converted with warnings": 1,
    "not converted": 1,
    "failed": 2,
    "stopped": 130,
}


@dataclass(frozen=True)
class Conversion:
    """How recordings are converted.

    Parameters
    ----------
    target_format, source_format : str
        Names of formats, or "auto".
    options : dict
        Keywords of reader and writer.
    overwrite, resume, verify : bool
        As for `rsciio_tem.convert`.
    strict : bool
        Write nothing if checking the recording gives a warning.
    checksums : bool
        Compute the SHA-256 of the recording's files.
    """

    target_format: str = "auto"
    source_format: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    resume: bool = True
    verify: bool = False
    strict: bool = False
    checksums: bool = False


def convert_checked(
    source: str,
    target: str,
    how: Conversion,
    progress: Progress = None,
    tell: Callable[[Problem], object] | None = None,
    begin: Callable[[Mapping[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """Check a recording, and convert it.

    Parameters
    ----------
    source, target : str
        As for `rsciio_tem.convert`.
    how : Conversion
        How.
    progress : bool or callable, optional
        As for `rsciio_tem.convert`.
    tell : callable, optional
        Called with anything missing, contradictory or odd, as soon as it is known.
    begin : callable, optional
        Called before anything is written, with what is known of the row by then.

    Returns
    -------
    dict
        A row of a report; ``verdict`` is "converted" or "converted with warnings".

    Raises
    ------
    FormatError
        As for `rsciio_tem.convert`; with ``how.strict`` also if the check gives a warning.
    """
    with named_by_user(source, how.options, guarded=False) as (named, options):
        return _converted(named, target, replace(how, options=options), progress, tell, begin)


def _converted(
    source: str,
    target: str,
    how: Conversion,
    progress: Progress,
    tell: Callable[[Problem], object] | None,
    begin: Callable[[Mapping[str, Any]], object] | None,
) -> dict[str, Any]:
    began = time.perf_counter()
    row: dict[str, Any] = {"path": source, "target": target}
    with collected() as warned:
        description, doubts = _checked(source, target, how)
        row |= description
        if begin is not None:
            begin(row)
        for problem in doubts:
            if tell is not None:
                tell(problem)
        if how.strict and doubts:
            raise FormatError(
                source,
                f"a check gives {len(doubts)} warning{'s' * (len(doubts) > 1)}: "
                f"{doubts[0].message} Nothing was written.",
                "Leave out --strict to write what is there.",
            )
        sums = checksums(row.get("files") or [source]) if how.checksums else {}
        before = len(warned)
        path = convert(
            source,
            target,
            how.source_format,
            to=how.target_format,
            overwrite=how.overwrite,
            progress=progress,
            resume=how.resume,
            verify=how.verify,
            checksums=sums,
            **how.options,
        )
    for said_of, message in dict.fromkeys(warned[before:]):
        if not any(doubt.message in message for doubt in doubts):
            named = (source, os.path.abspath(target))
            text = message if said_of in named else f"{said_of}: {message}"
            doubts.append(Problem("warning", text))
            if tell is not None:
                tell(doubts[-1])
    return {
        **row,
        "target": target if os.path.abspath(target) == path else path,
        "verdict": "converted with warnings" if doubts else "converted",
        "problems": [problem_as_json(problem) for problem in doubts],
        "checksums": sums,
        "verified": how.verify,
        "bytes": bytes_of(path),
        "seconds": round(time.perf_counter() - began, 3),
    }


def _of_reader(target: str, how: Conversion) -> dict[str, Any]:
    """Return the keywords that are for the reader of the source."""
    of_writer = writer_keywords(target, how.target_format)
    return {name: value for name, value in how.options.items() if name not in of_writer}


def _checked(source: str, target: str, how: Conversion) -> tuple[dict[str, Any], list[Problem]]:
    """Describe a recording, and say what is missing or contradictory.

    Of the scan shape, what is odd about the one that the options ask for counts.
    """
    reader_options = _of_reader(target, how)
    with collected() as warned:
        try:
            recording, arrangement = arranged(source, how.source_format, reader_options)
        except (FormatError, TypeError):  # the conversion says it, or another package reads it
            return {}, []
        asked = len(warned)
        recording.scan(exhaustive=True)
    said = [message for _, message in warned]
    problems = [
        problem
        for problem in check(recording)
        if problem.severity != "info" and problem.message not in said[asked:]
    ]
    problems += [Problem("warning", message) for message in dict.fromkeys(said[:asked])]
    beyond = (arrangement.scan.counts or {}).get("ignored_end", 0)
    cut = {"last_frame", "roi", "inav"} & {
        name for name, value in reader_options.items() if value is not None
    }
    if beyond and not cut and not any(p.message in said[:asked] for p in problems):
        message = f"{beyond} frames behind the scan are not written."
        problems.append(Problem("warning", message, "navigation_shape= has room for fewer."))
    return described(recording, arrangement.scan), problems


# ---------------------------------------------------------------- many


@dataclass
class _Task:
    """A recording on its way to its target."""

    item: Item
    target: str
    row: dict[str, Any] = field(default_factory=dict)


def convert_all(
    sources: Sequence[str],
    into: str,
    how: Conversion,
    *,
    jobs: int = 1,
    skip_existing: bool = False,
    bar: Any = None,
    each: Callable[[dict[str, Any]], object] | None = None,
    others: Counter[str] | None = None,
) -> list[dict[str, Any]]:
    """Convert recordings, and those below folders, into a folder.

    Parameters
    ----------
    sources : sequence of str
        Recordings, and folders that are searched for them.
    into : str
        Folder of the targets, created if necessary. The targets keep the folder structure of the
        recordings, starting from the deepest folder that holds all of `sources`. If targets would
        have the same name, they keep the whole names of the recordings: ``scan.mib.h5`` and
        ``scan.blo.h5``.
    how : Conversion
        How; ``target_format`` sets the suffix.
    jobs : int
        Number of recordings to convert at a time, each with several threads.
    skip_existing : bool
        Skip what is already converted: the record says that the target was made from the same
        files, with the same options, and it has not changed since. Without a record, the target is
        compared with the recording, pixel by pixel. Any other target is a failure. Checksums that
        it lacks go into the record and the list, not into the target.
    bar : tqdm, optional
        Updated with the total number of bytes, and with the progress.
    each : callable, optional
        Called with each complete row, in this thread.
    others : Counter, optional
        Counts the suffixes of files in `sources` that are not recordings.

    Returns
    -------
    list of dict
        A row for each recording, in the order of their paths; `EXIT_STATUS` has the verdicts.
        A failure ends only the conversion of its own recording. Ctrl-C lets each conversion reach
        a point from which it can resume, calls `each` for it, and is raised again.

    Raises
    ------
    ValueError
        None of our formats can write this one.
    FormatError
        There is nothing to convert, or two recordings would have the same target.
    OSError
        The folder cannot be created.
    """
    suffix = suffix_of(how.target_format)
    others = Counter() if others is None else others
    tasks = _tasks(sources, into, suffix, how, others)
    os.makedirs(into, exist_ok=True)
    records = Records(into)
    if how.checksums:
        check_list(os.path.join(into, CHECKSUMS))
    sizes = [sum(map(_size, task.item.files)) for task in tasks]
    if bar is not None:
        bar.total = sum(sizes)
        bar.refresh()
    stop = threading.Event()

    def one(task: _Task, size: int) -> None:
        counter = _Counter(size, bar, stop, 1 + how.verify)
        task.row = _outcome(task, how, records, skip_existing, counter)
        counter.complete()

    waiting: dict[Future[None], _Task] = {}

    def finish(timeout: float | None) -> None:
        for future in wait(waiting, timeout, "FIRST_COMPLETED").done:
            task = waiting.pop(future)
            if not future.cancelled():
                future.result()
                if each is not None:
                    each(task.row)

    with Threads(1 if suffix in HYPERSPY else max(1, jobs)) as pool:
        for task, size in zip(tasks, sizes, strict=True):
            waiting[pool.submit(one, task, size)] = task
        try:
            while waiting:
                finish(0.5)  # Windows lets Ctrl-C wait for what waits longer
        except BaseException:
            stop.set()
            for future in list(waiting):
                future.cancel()
            while waiting:
                finish(None)
            raise
        finally:
            if how.checksums:
                made = [task.row.get("checksums") or {} for task in tasks]
                sums = {os.path.abspath(name): one for row in made for name, one in row.items()}
                add_to_list(os.path.join(into, CHECKSUMS), sums)
    return [task.row for task in tasks]


def _size(path: str) -> int:
    try:
        return size_of(path)
    except OSError:
        return 0


def _tasks(
    sources: Sequence[str], into: str, suffix: str, how: Conversion, others: Counter[str]
) -> list[_Task]:
    """Find the recordings, each once, and the names of their targets."""
    raw = {"dtype", "sig_shape"} <= set(how.options)
    items: dict[str, Item] = {}
    bases = []
    for source in sources:
        path = os.path.abspath(plain_file(source, "converting many recordings"))
        if not os.path.lexists(path):
            raise FormatError(source, "does not exist.")
        if os.path.realpath(path) == os.path.realpath(into):
            raise FormatError(
                into,
                "is the folder of the recordings, which would be converted again and again.",
                "Pass a folder in it, or another one.",
            )
        item = None if is_searched(path) else item_of(source, raw)
        if item is None and os.path.isdir(path):
            below = recordings_below(source, raw=raw, leave_out=[into])
            others.update(below.others)
            for one in below.items:
                items.setdefault(os.path.realpath(one.path), one)
            bases.append(path)
        else:
            one = item or Item(source, files=(path,))
            items.setdefault(os.path.realpath(one.path), one)
            bases.append(os.path.dirname(path))
    taken: set[str] = set()  # files of a set may be named one by one
    for path in sorted(items):
        if path in taken:
            del items[path]
        else:
            taken.update(map(os.path.realpath, items[path].files))
    if not items:
        problem = "holds no recording in a known format."
        raise FormatError(sources[0], problem, "Look at other folders.")
    for item in items.values():  # what lies in a store becomes part of it
        if os.path.isdir(item.path):
            check_apart([os.path.join(into, RECORDS)], [item.path])
    try:
        base = os.path.commonpath(bases)
    except ValueError as error:
        raise FormatError(
            sources[-1], f"is on another drive than {sources[0]}.", "Convert them one by one."
        ) from error
    ordered = [item for _, item in sorted(items.items())]
    names = [os.path.relpath(os.path.abspath(item.path), base) for item in ordered]
    names = _distinct(names, suffix, into)
    if suffix == "tvips":  # as its first file is called, which a later search has to meet
        names = [f"{name.removesuffix('_000')}_000" for name in names]
    targets = [os.path.join(into, f"{name}.{suffix}") for name in names]
    return [_Task(item, target) for item, target in zip(ordered, targets, strict=True)]


def _distinct(names: Sequence[str], suffix: str, into: str) -> list[str]:
    """Shorten names by their suffixes, if they stay different.

    Raises
    ------
    FormatError
        Targets would have the same name, or one would lie in another.
    """

    def key(name: str) -> str:
        # NAME and NAME_000 make the same series, NAME_001 one of its own: NAME_001_000, ...
        name = name.removesuffix("_000") if suffix == "tvips" else name
        return os.path.normcase(name).casefold()

    stems = [os.path.splitext(name)[0] for name in names]
    count = Counter(map(key, stems))
    result = [
        stem if count[key(stem)] == 1 else name for stem, name in zip(stems, names, strict=True)
    ]
    if len(set(map(key, result))) < len(names):  # a whole name may be the stem of another
        result = list(names)
    for name, times in Counter(map(key, result)).items():
        if times > 1:
            raise FormatError(
                os.path.join(into, f"{name}.{suffix}"),
                f"would be the target of {times} recordings.",
                "Convert them into different folders.",
            )
    folders = {f"{key(name)}.{suffix}" for name in result}
    for name in result:
        for above in Path(key(name)).parents:
            if str(above) in folders:
                raise FormatError(
                    os.path.join(into, f"{name}.{suffix}"),
                    f"would lie in the target {above}.",
                    "Convert them into different folders.",
                )
    return result


class _Stopped(BaseException):
    """Ends a conversion in another thread, where it can go on."""


class _Counter:
    """Counts the frames of a conversion for the bar of all of them, and ends it if asked to."""

    def __init__(self, size: int, bar: Any, stop: threading.Event, passes: int) -> None:
        self.size, self.bar, self.stop, self.passes = size, bar, stop, passes
        self.total = self.frames = self.shown = 0

    def begin(self, row: Mapping[str, Any]) -> None:
        """Take the number of positions from a row."""
        shape = row.get("scan", {}).get("navigation_shape", ())
        self.total = math.prod(shape) * self.passes

    def __call__(self, frames: int) -> None:
        """Count frames."""
        if self.stop.is_set():
            raise _Stopped
        self.frames += frames
        if self.total:
            self._show(self.size * min(self.frames, self.total) // self.total)

    def complete(self) -> None:
        """Count what is left."""
        self._show(self.size)

    def _show(self, size: int) -> None:
        if self.bar is not None and size > self.shown:
            with self.bar.get_lock():
                self.bar.update(size - self.shown)
            self.shown = size


def _outcome(
    task: _Task, how: Conversion, records: Records, skip_existing: bool, counter: _Counter
) -> dict[str, Any]:
    """Convert one of many; whatever goes wrong is an entry of its row."""
    began = time.perf_counter()
    source, target, problem = task.item.path, task.target, task.item.problem
    row: dict[str, Any] = {"path": source, "target": target}

    def ended(verdict: str, reason: str, hint: str = "", severity: Any = "error") -> dict[str, Any]:
        problems = [problem_as_json(Problem(severity, reason, hint))]
        seconds = round(time.perf_counter() - began, 3)
        return {**row, "verdict": verdict, "problems": problems, "seconds": seconds}

    if problem is not None:
        verdict = "failed" if problem.severity == "error" else "not converted"
        return ended(verdict, problem.message, problem.hint, problem.severity)
    try:
        if counter.stop.is_set():
            raise _Stopped
        if skip_existing and records.target_of(task.target) is not None:
            skipped = _skipped(task, how, records, counter)
            if skipped is not None:
                return {**skipped, "seconds": round(time.perf_counter() - began, 3)}
        os.makedirs(os.path.dirname(target), exist_ok=True)
        before = _identity(records, task, how)
        row = convert_checked(source, target, how, counter, begin=counter.begin)
        records.add(before, row)
    except _Stopped:
        return ended("stopped", "was stopped; repeat the command to go on.", severity="warning")
    except FormatError as error:
        where = "" if error.path == source else f"{error.path}: "
        return ended("failed", where + error.problem, error.hint)
    except FileExistsError as error:
        hint = "--skip-existing passes over what is converted, --overwrite replaces it."
        return ended("failed", f"{error.filename}: {error.strerror}.", hint)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return ended("failed", f"{where}{error.strerror or error}.")
    except (TypeError, ValueError) as error:  # keywords and signals that the writer refuses
        return ended("failed", str(error))
    except Exception as error:  # a fault of ours with one recording does not end the others
        _logger.exception("%s", source)
        return ended("failed", f"internal error: {type(error).__name__}: {error}")
    return row


def _skipped(
    task: _Task, how: Conversion, records: Records, counter: _Counter
) -> dict[str, Any] | None:
    """Return the row of a target that is what it would be made now; None if it is to be replaced.

    Raises
    ------
    FormatError
        It is something else, and is not to be replaced.
    """
    source, target = task.item.path, task.target
    mine = _identity(records, task, how)
    record = records.entries.get(mine["target"])
    existing = records.target_of(task.target) or target
    check_apart(files_of(existing), task.item.files or [source])  # a link to the recording
    if record is not None:
        row = {**records.here(record["row"]), "path": source, "target": existing}
        why = record.unlike(mine, existing)
        why = why or ("" if row["verified"] >= how.verify else "it was not verified")
    else:
        description, doubts = _checked(source, target, how)
        row = {"path": source, "target": existing, **description}
        row["problems"] = [problem_as_json(problem) for problem in doubts]
        counter.begin(row)
        differences = compare(
            *(source, existing, how.source_format),
            parts=["pixels"],
            progress=counter,
            **_of_reader(target, how),
        )
        unequal = [one for one in differences if one.about == "pixels"]
        why = f"nothing says what it was made from, and {unequal[0]}" if unequal else ""
        if not why:
            row |= {"checksums": {}, "verified": True, "bytes": bytes_of(existing)}
    if not why and how.strict and row["problems"]:
        raise FormatError(
            source,
            f"was converted, and a check gave warnings: {row['problems'][0]['message']}",
            "Leave out --strict to pass over it.",
        )
    if not why:
        if how.checksums and not row["checksums"]:
            row["checksums"] = checksums(row.get("files") or [source])
            record = None
        if record is None:
            records.add(mine, row)
        return {**row, "verdict": "skipped"}
    if how.overwrite:
        return None
    raise FormatError(
        target,
        f"exists already, and is not what {os.path.basename(source)} would be converted to: "
        f"{why.rstrip('.')}.",
        "Pass --overwrite to convert it again, or choose another folder.",
    )


def _identity(records: Records, task: _Task, how: Conversion) -> dict[str, Any]:
    options = {
        **how.options,
        "format": how.target_format,
        "source_format": how.source_format,
    }
    return records.identity(task.target, task.item.files or [task.item.path], options)
