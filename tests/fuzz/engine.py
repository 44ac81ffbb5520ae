# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that try cases, and may die of them."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import mmap
import multiprocessing
import os
import re
import resource
import signal
import struct
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from rsciio_tem.storage import machine

from . import trial
from .cases import make_case
from .trial import MEMORY, PACKAGE, SECONDS, Fault
from .victims import Victim

#: Cases that a process is given at a time.
BLOCK = 50
_NOW = struct.Struct("qd")  # the case that is tried, and since when


@dataclass
class Result:
    """What became of the cases of a format."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: dict[tuple[str, str], list[tuple[int, Fault]]] = field(default_factory=dict)

    @property
    def tried(self) -> int:
        """Number of cases."""
        return sum(self.counts.values())

    def add(self, number: int, outcome: str | Fault) -> None:
        """Count a case."""
        self.counts["faults" if isinstance(outcome, Fault) else outcome] += 1
        if isinstance(outcome, Fault):
            self.faults.setdefault((outcome.kind, outcome.place), []).append((number, outcome))


def address_space() -> int:
    """Return the bytes of addresses that this process uses."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def one(format: str, number: int, victims: list[Victim], folder: Path) -> str | Fault:
    """Make and try a case."""
    try:
        case = make_case(format, number, victims)
    except Exception as error:  # in these tests, which go on with the next one
        return Fault("not made", type(error).__name__, str(error), traceback.format_exc())
    return trial.run(case, folder / f"{os.getpid()}-{format}-{number}", f"{format}:{number}")


class _Spoken(logging.Handler):
    """Put the words of the log together, and throw them away."""

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage()


def _work(
    pipe: Connection, now: mmap.mmap, log: Path, victims: dict[str, list[Victim]], folder: Path
) -> None:
    """Try blocks of cases until there are no more."""
    machine.threads = lambda: 1  # there are some pixels only
    gc.freeze()
    logging.getLogger().addHandler(_Spoken())
    file = log.open("w")
    faulthandler.enable(file)
    faulthandler.register(signal.SIGUSR1, file, all_threads=True)
    trial.prepare()
    stray: list[Fault] = []

    def hook(unraisable: Any) -> None:
        if "h5py" not in repr(unraisable.object):  # it closes damaged objects as well as it can
            name = type(unraisable.exc_value).__name__
            text = f"{unraisable.exc_value} in {unraisable.object!r}"
            stray.append(Fault(f"{name} that nobody sees", "tests", text[:300], ""))

    sys.unraisablehook = hook
    base = address_space()
    resource.setrlimit(resource.RLIMIT_AS, (base + MEMORY, resource.RLIM_INFINITY))
    while (block := pipe.recv()) is not None:
        format, first, count = block
        for number in range(first, first + count):
            now[:] = _NOW.pack(number, time.monotonic())
            outcome = one(format, number, victims[format], folder)
            if stray:
                outcome, stray[:] = stray[0], []
            pipe.send((number, outcome))
            if address_space() > base + MEMORY // 4:  # what it keeps must not count for the next
                os._exit(0)
    os._exit(0)


class Worker:
    """A process, and what it has to try."""

    def __init__(self, victims: dict[str, list[Victim]], folder: Path, index: int) -> None:
        self.victims, self.folder = victims, folder
        self.log = folder / f"worker{index}.log"
        self.format, self.next, self.end = "", 0, 0
        self.start()

    def start(self) -> None:
        """Fork; what it inherits is imported and compiled already."""
        self.now = mmap.mmap(-1, _NOW.size)
        self.now[:] = _NOW.pack(0, time.monotonic())
        self.pipe, other = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self.process = context.Process(
            target=_work, args=(other, self.now, self.log, self.victims, self.folder)
        )
        self.process.start()
        other.close()

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do."""
        return self.next >= self.end

    def give(self, format: str, first: int, end: int) -> None:
        """Let it try some cases."""
        self.format, self.next, self.end = format, first, end
        try:
            self.pipe.send((format, first, end - first))
        except OSError:
            self.again()

    def again(self) -> None:
        """Go on in another process."""
        self.process.join()
        self.start()
        if not self.idle:
            self.pipe.send((self.format, self.next, self.end - self.next))

    def outcomes(self) -> Iterator[tuple[int, str | Fault]]:
        """Give what became of cases since the last time; the last one may have killed it."""
        late = False
        while True:
            try:
                while not self.idle and self.pipe.poll():
                    number, outcome = self.pipe.recv()
                    self.next = number + 1
                    yield number, outcome
                if self.idle:
                    return
            except (EOFError, OSError):
                self.process.join()
            number, since = _NOW.unpack(self.now[:])
            if time.monotonic() - since > 2 * SECONDS:
                late = True
                self._kill()
            if self.process.is_alive():
                return
            if self.process.exitcode:
                yield self.next, self._death(late)
                self.next += 1
            self.again()

    def _kill(self) -> None:
        """End it, and let it say where it was."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGUSR1)
        time.sleep(0.2)
        self.process.kill()
        self.process.join()

    def _death(self, late: bool) -> Fault:
        """Say what it died of."""
        text = self.log.read_text(errors="replace")
        place = "tests"
        for path, line, name in re.findall(r'File "([^"]+)", line (\d+) in (\S+)', text):
            if Path(path).is_relative_to(PACKAGE):
                place = f"{Path(path).relative_to(PACKAGE)}:{line} {name}"
                break
        kind = "does not end" if late else f"process died ({self.process.exitcode})"
        return Fault(kind, place, "", text[-6000:])

    def stop(self) -> None:
        """Send it home."""
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.process.join(5)
        self.process.kill()


def fuzz(
    victims: dict[str, list[Victim]],
    folder: Path,
    *,
    seed: int = 0,
    seconds: float | None = None,
    cases: int | None = None,
    jobs: int = 1,
) -> dict[str, Result]:
    """Try cases until the time is over or each format had its number."""
    first = seed * 10**9
    results = {format: Result() for format in victims}
    started = time.monotonic()
    begun = Counter[str]()
    workers = [Worker(victims, folder, i) for i in range(jobs)]
    try:
        while True:
            over = seconds is not None and time.monotonic() - started > seconds
            for worker in workers:
                if worker.idle and not over:
                    format = min(victims, key=lambda name: begun[name])
                    count = BLOCK if cases is None else min(BLOCK, cases - begun[format])
                    at = first + begun[format]
                    begun[format] += count
                    if count:
                        worker.give(format, at, at + count)
            busy = [worker for worker in workers if not worker.idle]
            if not busy:
                return results
            wait([worker.pipe for worker in busy], timeout=0.5)
            for worker in busy:
                for number, outcome in worker.outcomes():
                    results[worker.format].add(number, outcome)
    finally:
        for worker in workers:
            worker.stop()


def warm_up(victims: dict[str, list[Victim]]) -> None:
    """Read every recording once as it is, so that what is compiled is compiled."""
    import rsciio_tem

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for victim in (one for some in victims.values() for one in some):
            path = victim.folder / victim.opened
            rsciio_tem.detect(path)
            rsciio_tem.check(path, victim.format, pixels=True, **victim.format_options)
            (lazy,) = rsciio_tem.load(path, victim.format, lazy=True, **victim.options)
            lazy["data"][(0,) * victim.nav_dims].compute(scheduler="sync")
            (eager,) = rsciio_tem.load(path, victim.format, **victim.options)
            if not trial.same(eager["data"], victim.values):
                raise AssertionError(f"{victim} is not read as it should be")
            if eager["data"].dtype.names is None:
                trial.reduce(path, victim.format, victim.options, ["sum", "navigator"])
