# SPDX-License-Identifier: GPL-3.0-or-later
"""A conversion in a process of its own that takes long enough to be killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
import warnings
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

#: Imported once by the process from which the others are forked.
PRELOADED = (
    *("h5py", "dask.array", "rsciio_tem.tools.convert"),
    *(f"rsciio_tem.formats.{name}" for name in ("mib", "npy", "hdf5", "blo", "tvips", "mrc")),
)


def blocks_done(target: Path) -> int:
    """Count the entries in the journal of an unfinished conversion; -1 if it has not begun."""
    from rsciio_tem.writing.target import ENTRY

    try:
        content = Path(f"{target}.partial", "journal").read_bytes()
    except FileNotFoundError:
        return -1
    head, _, entries = content.partition(b"\n")
    if not head:  # it is just being made
        return -1
    assert json.loads(head)["version"] == 3
    return len(entries) // ENTRY.size


def name_slowly(pause: float, answers: Connection) -> None:
    """Take `pause` seconds before each change of names at the end of a conversion, and say so."""
    from rsciio_tem.writing.working_folder import Work

    naming = 0

    def slow(do: Any) -> Any:
        def change(*args: Any, **options: Any) -> Any:
            if naming:
                time.sleep(pause)
            return do(*args, **options)

        return change

    def watched(do: Any) -> Any:
        def change(*args: Any, **options: Any) -> Any:
            nonlocal naming
            if not naming:
                answers.send("naming")
            naming += 1
            try:
                return do(*args, **options)
            finally:
                naming -= 1

        return change

    for name in ("rename", "replace", "unlink", "rmdir"):
        setattr(os, name, slow(getattr(os, name)))
    for name in ("give_names", "go_on", "_undo", "_finish", "_clear"):
        setattr(Work, name, watched(getattr(Work, name)))


def convert(
    recording: str,
    target: str,
    pause: float,
    naming_pause: float,
    asked: dict[str, Any],
    answers: Connection,
) -> None:
    """Convert, and take `pause` seconds for each block; Ctrl-C ends it with 130."""
    warnings.simplefilter("ignore")
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (as long as the process lives)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    from rsciio_tem.tools import convert
    from rsciio_tem.writing import stream

    stream.BLOCK, stream._SYNC_BYTES = 1600, 1  # type: ignore[assignment]
    write = stream.write

    def slowly(target: Any, *rest: Any, **options: Any) -> Any:
        put = target.put

        def slow(*block: Any) -> Any:
            time.sleep(pause)
            return put(*block)

        target.put = slow
        return write(target, *rest, **options)

    convert.write = slowly  # type: ignore[assignment]
    if naming_pause:
        name_slowly(naming_pause, answers)
    answers.send("begins")
    try:
        convert.convert(recording, target, **{"nav_shape": (6, 7), "verify": True, **asked})
    except KeyboardInterrupt as stop:
        answers.send(stop.__notes__[0])
        sys.exit(130)


def begin(
    recording: Path,
    target: Path,
    pause: float = 0.15,
    naming_pause: float = 0,
    preloaded: tuple[str, ...] = PRELOADED,
    **options: Any,
) -> tuple[BaseProcess, Connection]:
    """Start a conversion; return the process, and what it says."""
    windows = sys.platform == "win32"
    context = multiprocessing.get_context("spawn" if windows else "forkserver")
    if not windows:
        context.set_forkserver_preload(list(preloaded))
    answers, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=convert,
        args=(str(recording), str(target), pause, naming_pause, options, theirs),
    )
    process.start()
    theirs.close()
    assert answers.recv() == "begins"
    return process, answers
