# SPDX-License-Identifier: GPL-3.0-or-later
"""A conversion in a process of its own that takes long enough to be killed."""

from __future__ import annotations

import multiprocessing
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


def convert(
    recording: str, target: str, pause: float, asked: dict[str, Any], answers: Connection
) -> None:
    """Convert, and take `pause` seconds for each block; Ctrl-C ends it with 130."""
    warnings.simplefilter("ignore")
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
    answers.send("begins")
    try:
        convert.convert(recording, target, nav_shape=(6, 7), verify=True, **asked)
    except KeyboardInterrupt as stop:
        answers.send(stop.__notes__[0])
        sys.exit(130)


def begin(
    recording: Path, target: Path, pause: float = 0.15, **options: Any
) -> tuple[BaseProcess, Connection]:
    """Start a conversion; return the process, and what it says."""
    windows = sys.platform == "win32"
    context = multiprocessing.get_context("spawn" if windows else "forkserver")
    if not windows:
        context.set_forkserver_preload(list(PRELOADED))
    answers, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=convert, args=(str(recording), str(target), pause, options, theirs)
    )
    process.start()
    theirs.close()
    assert answers.recv() == "begins"
    return process, answers
