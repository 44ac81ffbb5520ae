# SPDX-License-Identifier: GPL-3.0-or-later
"""Many recordings converted by one call, with a record of what was made from what."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rsciio_tem._version import __version__
from rsciio_tem.errors import FormatError, Problem, collected
from rsciio_tem.registry import candidates
from rsciio_tem.storage.files import size_of
from rsciio_tem.storage.machine import Progress, Threads
from rsciio_tem.tools.check import check
from rsciio_tem.tools.compare import compare
from rsciio_tem.tools.convert import HYPERSPY, convert, suffix_of, writer_keywords
from rsciio_tem.tools.open import arranged
from rsciio_tem.tools.recordings import Item, item_of, recordings_below
from rsciio_tem.tools.report import described, problem_as_json
from rsciio_tem.writing.checksums import add_to_list, check_list, checksums
from rsciio_tem.writing.identity import identified, state
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

#: In the folder of the targets: a line of JSON for each conversion, and the list of checksums.
RECORDS, CHECKSUMS = "conversions.jsonl", "SHA256SUMS"


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
        Write nothing if a check of the recording gives a warning.
    checksums : bool
        Make SHA-256 of the files of the recording.
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
        Is called with what is missing, contradictory or odd, as soon as that is known.
    begin : callable, optional
        Is called with the row as far as it is known before anything is written.

    Returns
    -------
    dict
        A row of a report; ``verdict`` is "converted" or "converted with warnings".

    Raises
    ------
    FormatError
        As `rsciio_tem.convert`; and with ``how.strict`` if the check gives a warning.
    """
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
            how.target_format,
            source_format=how.source_format,
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
        "bytes": _bytes_of(path),
        "seconds": round(time.perf_counter() - began, 3),
    }


def _checked(source: str, target: str, how: Conversion) -> tuple[dict[str, Any], list[Problem]]:
    """Describe a recording, and say what is missing or contradictory.

    Of the scan shape, what is odd about the one that the options ask for counts.
    """
    of_writer = writer_keywords(target, how.target_format)
    reader_options = {k: v for k, v in how.options.items() if k not in of_writer}
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
    cut = {"last_frame", "roi"} & {
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
        Folder of the targets; it is made if there is none. The targets lie in it as the recordings
        lie in the deepest folder that holds all of `sources`. Of recordings whose targets would
        have the same name, these have their whole names: ``scan.mib.h5`` and ``scan.blo.h5``.
    how : Conversion
        How; ``target_format`` tells the suffix.
    jobs : int
        Recordings that are converted at a time, each with several threads.
    skip_existing : bool
        Pass over what is converted: the record says that the target was made from the same files,
        with the same options, and has not changed since; without a record, the target is compared
        with the recording, pixel by pixel. A target that is something else is a failure.
    bar : tqdm, optional
        Is given the total of bytes, and what was done.
    each : callable, optional
        Is called with each row when it is complete, in this thread.
    others : Counter, optional
        Gets the suffixes of files in `sources` that are no recordings.

    Returns
    -------
    list of dict
        A row for each recording, in the order of their paths; `EXIT_STATUS` has the verdicts.
        A failure ends nothing but the conversion of its recording. Ctrl-C lets each conversion
        come to a place where it can go on, calls `each` for them, and is raised again.

    Raises
    ------
    ValueError
        Nothing of ours writes the format.
    FormatError
        There is nothing to convert, or two recordings would have the same target.
    OSError
        The folder cannot be made.
    """
    suffix = suffix_of(how.target_format)
    others = Counter() if others is None else others
    tasks = _tasks(sources, into, suffix, how, others)
    os.makedirs(into, exist_ok=True)
    records = _Records(into)
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
        path = os.path.abspath(source)
        if not os.path.lexists(path):
            raise FormatError(source, "does not exist.")
        if os.path.realpath(path) == os.path.realpath(into):
            raise FormatError(
                into,
                "is the folder of the recordings, which would be converted again and again.",
                "Pass a folder in it, or another one.",
            )
        item = None if _searched(path) else item_of(source, raw)
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
    targets = [os.path.join(into, f"{name}.{suffix}") for name in _distinct(names, suffix, into)]
    return [_Task(item, target) for item, target in zip(ordered, targets, strict=True)]


def _distinct(names: Sequence[str], suffix: str, into: str) -> list[str]:
    """Shorten names by their suffixes, if they stay different.

    Raises
    ------
    FormatError
        Targets would have the same name, or one would lie in another.
    """

    def key(name: str) -> str:
        # members of a series are called NAME_000, NAME_001, ...
        name = re.sub(r"_\d{3}$", "", name) if suffix == "tvips" else name
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


def _searched(path: str) -> bool:
    """Say whether a path is a folder, and no recording itself."""
    return os.path.isdir(path) and not candidates(path, b"")


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
    task: _Task, how: Conversion, records: _Records, skip_existing: bool, counter: _Counter
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
        if skip_existing and records.target_of(task) is not None:
            skipped = _skipped(task, how, records, counter)
            if skipped is not None:
                return {**skipped, "seconds": round(time.perf_counter() - began, 3)}
        os.makedirs(os.path.dirname(target), exist_ok=True)
        before = records.identity(task, how)
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
    task: _Task, how: Conversion, records: _Records, counter: _Counter
) -> dict[str, Any] | None:
    """Return the row of a target that is what it would be made now; None if it is to be replaced.

    Raises
    ------
    FormatError
        It is something else, and is not to be replaced.
    """
    source, target = task.item.path, task.target
    mine = records.identity(task, how)
    record = records.entries.get(mine["target"])
    existing = records.target_of(task) or target
    check_apart(_files_of(existing), task.item.files or [source])  # a link to the recording
    if record is not None:
        row = {**records.here(record["row"]), "path": source, "target": existing}
        why = record.unlike(mine, existing)
        why = why or ("" if row["verified"] >= how.verify else "it was not verified")
    elif how.checksums:
        why = "nothing says what it was made from, and checksums are to be stored in it"
    else:
        of_writer = writer_keywords(target, how.target_format)
        options = {k: v for k, v in how.options.items() if k not in of_writer}
        description, doubts = _checked(source, target, how)
        row = {"path": source, "target": existing, **description}
        row["problems"] = [problem_as_json(problem) for problem in doubts]
        counter.begin(row)
        differences = compare(
            source, existing, how.source_format, parts=["pixels"], progress=counter, **options
        )
        unequal = [one for one in differences if one.about == "pixels"]
        why = f"nothing says what it was made from, and {unequal[0]}" if unequal else ""
        if not why:
            row |= {"checksums": {}, "verified": True, "bytes": _bytes_of(existing)}
            records.add(mine, row)
    if not why and how.strict and row["problems"]:
        raise FormatError(
            source,
            f"was converted, and a check gave warnings: {row['problems'][0]['message']}",
            "Leave out --strict to pass over it.",
        )
    if not why:
        return {**row, "verdict": "skipped"}
    if how.overwrite:
        return None
    raise FormatError(
        target,
        f"exists already, and is not what {os.path.basename(source)} would be converted to: "
        f"{why.rstrip('.')}.",
        "Pass --overwrite to convert it again, or choose another folder.",
    )


class _Record(dict[str, Any]):
    """What was made from what: a line of the file of records."""

    def unlike(self, mine: Mapping[str, Any], target: str) -> str:
        """Say why a target is none of the conversion `mine`; "" if it is one."""
        if self["source"] != mine["source"]:
            return "the recording has changed since, or is another one"
        if self["options"] != mine["options"]:
            return "it was made with other options"
        return "" if self["state"] == _state(target) else "it has changed since"


def _state(target: str) -> list[Any]:
    """Return sizes and times of the files of a target."""
    return [state(path)[1:] for path in _files_of(target)] if os.path.lexists(target) else []


def _files_of(target: str) -> Sequence[str]:
    """List all files of a target."""
    item = None if os.path.isdir(target) else item_of(target)
    return item.files if item is not None and item.files else [target]


def _bytes_of(target: str) -> int:
    return sum(map(size_of, _files_of(target)))


def _record_of(line: bytes) -> _Record | None:
    """Parse a line of the file of records; None if it is none."""
    try:
        entry = _Record(json.loads(line))
        row = entry["row"]
        texts = (entry["target"], row["target"])
        lists = (entry["source"], entry["state"], row["problems"])
        whole = isinstance(row["verified"], bool) and "options" in entry
    except (ValueError, TypeError, KeyError):
        return None
    whole = whole and all(isinstance(text, str) for text in texts)
    return entry if whole and all(isinstance(one, list) for one in lists) else None


class _Records:
    """What was made from what, one line of JSON for each conversion into a folder."""

    def __init__(self, into: str) -> None:
        self.into = os.path.abspath(into)
        self.path = os.path.join(self.into, RECORDS)
        self.entries: dict[str, _Record] = {}
        if not os.path.lexists(self.path):
            return
        if os.path.islink(self.path) or not os.path.isfile(self.path):
            raise FormatError(self.path, "is no file with records.", "Move it away.")
        with open(self.path, "rb") as file:
            lines = file.read().splitlines()
        for number, line in enumerate(lines, 1):
            entry = _record_of(line)
            if entry is None:  # torn when the computer was switched off
                _logger.warning("%s: line %d is no record of a conversion", self.path, number)
            else:
                self.entries[entry["target"]] = entry
        if lines and not self.entries and not lines[0].startswith(b"{"):
            raise FormatError(
                self.path, "holds no records of conversions.", "Move it away; it is not ours."
            )

    def _name(self, path: str) -> str:
        try:
            name = os.path.relpath(path, self.into)
        except ValueError:  # on another drive of Windows
            name = os.path.abspath(path)
        return name.replace(os.sep, "/")

    def here(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row with its files where they are now: a record has them as seen from here."""
        place = partial(os.path.join, self.into)
        return {
            **row,
            "files": [os.path.normpath(place(name)) for name in row.get("files", ())],
            "checksums": {
                os.path.normpath(place(name)): one for name, one in row.get("checksums", {}).items()
            },
        }

    def target_of(self, task: _Task) -> str | None:
        """Return the path of a target that exists already; a series has names of its own."""
        record = self.entries.get(self._name(task.target))
        paths = [task.target]
        if record is not None:  # relative to this folder, wherever it lies now
            paths.append(os.path.join(self.into, record["row"]["target"]))
        return next((path for path in paths if os.path.lexists(path)), None)

    def identity(self, task: _Task, how: Conversion) -> dict[str, Any]:
        """Tell a conversion from others: files by size and time, options by their content."""
        files = sorted(task.item.files) or [task.item.path]
        options = {
            **how.options,
            "format": how.target_format,
            "source_format": how.source_format,
            "checksums": how.checksums,
        }
        mine = {
            "target": self._name(task.target),
            "source": [[self._name(path), *state(path)[1:]] for path in files],
            "options": identified(options),
        }
        plain: dict[str, Any] = json.loads(json.dumps(mine))
        return plain

    def add(self, mine: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        """Note a conversion, safely."""
        entry = {
            **mine,
            "state": _state(row["target"]),
            "version": __version__,
            "row": {
                **row,
                "target": self._name(row["target"]),
                "files": [self._name(name) for name in row.get("files", ())],
                "checksums": {self._name(name): one for name, one in row["checksums"].items()},
            },
        }
        line = json.dumps(entry).encode() + b"\n"
        import filelock

        with open(self.path, "ab+") as file:
            with suppress(OSError):  # network file systems that cannot lock
                filelock.lock_descriptor(file.fileno(), blocking=True)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
