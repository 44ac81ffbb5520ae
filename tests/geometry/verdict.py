# SPDX-License-Identifier: GPL-3.0-or-later
"""Open recordings, and compare every displayed frame with the truth."""

from __future__ import annotations

import importlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .recordings import places, write
from .simulate import Recording

Ints = NDArray[np.int64]
Verdict = Literal["right", "told", "unknown", "misled", "silent", "cannot read"]
VERDICTS: tuple[Verdict, ...] = ("right", "told", "unknown", "misled", "silent", "cannot read")

#: From this on a reader says that it is sure.
SURE = 0.8
#: What is wrong with a stack of all frames of a scan.
FLAT = "a flat stack"


@dataclass(frozen=True)
class Shown:
    """What a reader shows: places in the file, -1 for blanks, in the shape of the navigation.

    No confidence: the reader says none, a warning is all that it has.
    """

    places: Ints
    confidence: float | None = None
    warnings: tuple[str, ...] = ()
    reason: str = ""
    error: str = ""


Reader = Callable[[Path, Recording], Shown]


# -- comparing -----------------------------------------------------------------------------------


def is_flat(shown: Ints) -> bool:
    return bool(np.count_nonzero(np.array(shown.shape) > 1) < 2)


def trouble(shown: Ints, recording: Recording) -> str:
    """Say what is wrong with the places shown; nothing if all is right."""
    count = len(recording.events)
    if not recording.is_scan:
        if not is_flat(shown):
            return f"a series became a scan of {shown.shape}"
        if not np.array_equal(shown.reshape(-1), np.arange(count)):
            return (
                f"{np.unique(shown[shown >= 0]).size} of {count} frames are shown, or in disorder"
            )
        return ""
    if shown.ndim < 2 or is_flat(shown):
        every = np.array_equal(np.unique(shown[shown >= 0]), np.arange(count))
        return FLAT if every else f"a flat stack of {shown.size} of {count} frames"
    if shown.max(initial=-1) >= count:
        return "frames that are not stored"
    return _misplaced(shown, recording) or _lacking(shown, recording)


def _misplaced(shown: Ints, recording: Recording) -> str:
    events = recording.events
    width = shown.shape[-1]
    rows = np.indices(shown.shape)[-2]
    filled = shown >= 0
    if not filled.any():
        return "nothing is shown"
    stored = events[shown[filled]]
    outside = stored["line"] < 0
    if outside.any():
        return f"{outside.sum()} frames that are not part of the scan are shown in it"
    if shown.ndim == 2:  # repeats may follow each other
        offset = rows[filled] - (stored["repeat"] * recording.lines + stored["line"])
    elif shown.ndim == 3:
        repeat = np.indices(shown.shape)[0][filled] - stored["repeat"]
        if np.ptp(repeat):
            return "frames of different repeats are mixed"
        offset = rows[filled] - stored["line"]
    else:
        return f"{shown.ndim} navigation axes"
    if np.ptp(offset):
        values, counts = np.unique(offset, return_counts=True)
        wrong = filled.sum() - counts.max()
        return f"{wrong} of {filled.sum()} frames are in another line ({values.size} offsets)"
    columns = np.nonzero(filled)[-1]
    first = np.full(width, -1, np.int64)
    first[columns[::-1]] = stored["column"][::-1]
    sheared = stored["column"] != first[columns]
    if sheared.any():
        return f"{sheared.sum()} of {filled.sum()} frames are in another column"
    present = first[first >= 0]
    if (np.diff(present) <= 0).any():
        return "columns are in disorder, or repeat"
    spare = width - present.size
    if spare > recording.width - present.size:
        return f"{spare} columns are blank"
    return ""


def _lacking(shown: Ints, recording: Recording) -> str:
    """Compare what is shown with what must be: all but incomplete lines at the ends."""
    events = recording.events
    scan = events["line"] >= 0
    row = events["repeat"] * recording.lines + events["line"]
    place = row * recording.width + events["column"]
    must = scan & ~np.isin(events["column"], recording.flyback)
    must &= ~np.isin(row, list(recording.unclear))
    stored_columns = np.unique(events["column"][scan]).size
    for end in (row[scan].min(), row[scan].max()):
        if np.unique(place[scan & (row == end)]).size < stored_columns:
            must &= row != end
    lacking = np.setdiff1d(place[must], place[np.unique(shown[shown >= 0])])
    return f"{lacking.size} frames of the scan are not shown" if lacking.size else ""


def judge(shown: Shown, recording: Recording) -> tuple[Verdict, str]:
    """Give the verdict, and what is wrong."""
    if shown.error:
        return "cannot read", shown.error
    wrong = trouble(shown.places, recording)
    if not wrong:
        return "right", ""
    if wrong == FLAT:
        return "unknown", wrong
    if not shown.warnings:
        return "silent", wrong
    sure = shown.confidence is not None and shown.confidence >= SURE
    return ("misled" if sure else "told"), wrong


# -- readers -------------------------------------------------------------------------------------


@contextmanager
def recorded_warnings() -> Iterator[list[str]]:
    """Collect what a reader says: warnings, and warnings that it logs."""
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    listener = Listener(logging.WARNING)
    names = ("rsciio", "libertem", "hyperspy")
    others: dict[str, tuple[list[logging.Handler], bool]] = {}
    for name in names:
        logger = logging.getLogger(name)
        others[name] = (logger.handlers, logger.propagate)
        logger.handlers, logger.propagate = [listener], False
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield messages
    finally:
        for name in names:
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = others[name]
    messages += [str(w.message) for w in caught if w.category not in _ABOUT_CODE]


_ABOUT_CODE = (DeprecationWarning, PendingDeprecationWarning, ResourceWarning, FutureWarning)


def ours(path: Path, recording: Recording) -> Shown:
    """Open with this package."""
    import rsciio_tem

    with recorded_warnings() as messages:
        signal = rsciio_tem.load(path, lazy=True)[0]
        shown = _places(signal["data"])
    scan = signal["original_metadata"]["rsciio_tem"]["scan"]
    texts = tuple(message.removeprefix(f"{path}: ") for message in messages)
    return Shown(shown, float(scan["confidence"]), texts, f"{scan['rule']}: {scan['reason']}")


def rosettasciio(path: Path, recording: Recording) -> Shown:
    """Open with RosettaSciIO."""
    plugin = {"mib": "quantumdetector", "blo": "blockfile", "tvips": "tvips", "mrc": "mrc"}
    plugin["empad"] = "empad"
    if recording.format not in plugin:
        return Shown(np.zeros(0, np.int64), error="no reader")
    module = importlib.import_module(f"rsciio.{plugin[recording.format]}")
    try:
        with recorded_warnings() as messages:
            signal = module.file_reader(str(path), lazy=True)[0]
            shown = _places(signal["data"])
    except Exception as error:
        return Shown(np.zeros(0, np.int64), error=f"{type(error).__name__}: {error}")
    return Shown(shown, None, tuple(m for m in messages if "couldn't be found" not in m))


def _places(data: Any) -> Ints:
    import dask

    with dask.config.set(scheduler="synchronous"):
        return places(np.asarray(data[..., 0, :2]))


class LiberTEM:
    """Open with LiberTEM; one context for all."""

    def __init__(self) -> None:
        api: Any = importlib.import_module("libertem.api")
        self.context = api.Context.make_with("inline")

    def __call__(self, path: Path, recording: Recording) -> Shown:
        kinds = ("mib", "blo", "tvips", "mrc", "empad")
        kind = recording.format if recording.format in kinds else "auto"
        if kind == "mib" and path.with_suffix(".hdr").exists():
            path = path.with_suffix(".hdr")
        try:
            with recorded_warnings() as messages:
                dataset = self.context.load(kind, path=str(path))
                shape = tuple(dataset.shape.nav)
                info = dataset.get_sync_offset_info()
                offset = info["frames_skipped_start"] - info["frames_inserted_start"]
        except Exception as error:
            return Shown(np.zeros(0, np.int64), error=f"{type(error).__name__}: {error}")
        shown = offset + np.arange(int(np.prod(shape)))
        shown[(shown < 0) | (shown >= len(recording.events))] = -1
        return Shown(shown.reshape(shape), None, tuple(messages))


# -- cases ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One recording, and the verdict on each reader."""

    recording: Recording
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    shown: dict[str, Shown] = field(default_factory=dict)

    @property
    def counts(self) -> bool:
        """Whether the files tell the right answer."""
        return self.recording.tellable


def try_case(recording: Recording, readers: dict[str, Reader], folder: Path | None = None) -> Case:
    """Write a recording, open it with all readers, and judge them."""
    case = Case(recording)
    with tempfile.TemporaryDirectory() as name:
        path = write(folder or Path(name), recording)
        for reader, opened in readers.items():
            try:
                shown = opened(path, recording)
            except Exception as error:
                shown = Shown(np.zeros(0, np.int64), error=f"{type(error).__name__}: {error}")
            case.shown[reader] = shown
            case.verdicts[reader], case.troubles[reader] = judge(shown, recording)
    return case
