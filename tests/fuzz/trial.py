# SPDX-License-Identifier: GPL-3.0-or-later
"""One damaged recording is opened: it is read, refused as announced, or there is a fault."""

from __future__ import annotations

import datetime
import gc
import json
import math
import os
import random
import signal
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from click.testing import CliRunner

import rsciio_tem
from rsciio_tem import cli
from rsciio_tem.errors import FormatError, RecordingWarning
from rsciio_tem.reading.lazy import lazy_source
from rsciio_tem.storage import backends

from .damage import Case, Content, Folder, Link

#: What a case may take. What is read beyond the files is blank, so the loaded values may be larger
#: than them, but not by much.
SECONDS, MEMORY = 10, 4 << 30
_GROWTH = 256 << 20
_EAGER, _BLANK = 64 << 20, 2 << 20

#: Formats of which a small file may hold any number of pixels.
_SPARSE = ("zarr", "hdf5", "dectris", "framecache", "raw_csr", "eigerstream", "stempy")

_WHAT = ["sum", "navigator", "com", "max", "variance", "mean"]

PACKAGE = Path(rsciio_tem.__file__).parent


class OutOfTime(BaseException):
    """A case takes too long; no reader may catch this."""


class Wrong(Exception):
    """Something was read, and is not as it should be."""


class Fault(NamedTuple):
    """What went wrong: faults of one kind and place are one."""

    kind: str
    place: str
    message: str
    text: str


def _place(error: BaseException) -> str:
    """Return the innermost line of the package."""
    place = "tests"
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename).is_relative_to(PACKAGE):
            relative = Path(frame.filename).relative_to(PACKAGE)
            place = f"{relative}:{frame.lineno} {frame.name}"
    return place


def _in_upstream(error: BaseException) -> bool:
    """Whether a reader of RosettaSciIO, to which a file was handed on, raised this."""
    return any("/rsciio/" in f.filename for f in traceback.extract_tb(error.__traceback__))


def _handed_on() -> str:
    """Close what a reader of RosettaSciIO left open, of which Python would tell later."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    return "handed on"


def _raised_by_us(error: BaseException) -> bool:
    """Whether one of our lines says ``raise``."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return Path(last.filename).is_relative_to(PACKAGE) and "raise" in (last.line or "")


def _about_a_keyword(error: BaseException, options: dict[str, Any]) -> bool:
    """Whether we say that a keyword of the caller does not fit the file."""
    return (
        isinstance(error, (TypeError, ValueError))
        and _raised_by_us(error)
        and any(f"{name}=" in str(error) for name in options)
    )


# -- files ---------------------------------------------------------------------------------------


def _write(path: Path, content: Content) -> None:
    if isinstance(content, Folder):
        path.mkdir()
    elif isinstance(content, Link):
        path.symlink_to(content.target)
    elif content is not None:
        path.write_bytes(content)


def _remove(folder: str) -> None:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            _remove(entry.path)
        else:
            os.unlink(entry.path)
    os.rmdir(folder)


@contextmanager
def written(case: Case, folder: Path) -> Iterator[Path]:
    """Write a case into a new folder; what is not damaged is a hard link to the sample."""
    folder.mkdir()
    made = {folder}
    try:
        for name in {**case.victim.files, **case.changes}:
            path = folder / name
            if path.parent not in made:
                path.parent.mkdir(parents=True, exist_ok=True)
                made.add(path.parent)
            if name in case.changes:
                _write(path, case.changes[name])
            else:
                os.link(case.victim.folder / name, path)
        yield folder / case.victim.opened
    finally:
        backends.close_all()
        _remove(str(folder))


# -- judging -------------------------------------------------------------------------------------


def same(one: Any, other: Any) -> bool:
    return (
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )


def _judge(signal: dict[str, Any], stored: int, format: str) -> None:
    """Raise `Wrong` if what was read is not consistent."""
    data, axes = signal["data"], signal["axes"]
    if tuple(data.shape) != tuple(axis["size"] for axis in axes):
        raise Wrong(f"axes of {[a['size'] for a in axes]}, data of {data.shape}")
    if any(size <= 0 for size in data.shape):
        raise Wrong(f"data of {data.shape}")
    for axis in axes:
        numbers = [axis[key] for key in ("scale", "offset") if key in axis]
        if not all(isinstance(n, (int, float, np.number)) and math.isfinite(n) for n in numbers):
            raise Wrong(f"an axis with scale and offset {numbers}")
        if numbers and numbers[0] == 0:
            raise Wrong("an axis with the scale 0")
    nbytes = math.prod(data.shape) * data.dtype.itemsize
    if nbytes > 1000 * stored + _EAGER and format not in _SPARSE:
        raise Wrong(f"{data.shape} of {data.dtype}, from {stored} bytes")
    for key in ("metadata", "original_metadata"):
        if not isinstance(signal[key], dict) or not all(isinstance(k, str) for k in signal[key]):
            raise Wrong(f"{key} has odd keys")
    described = signal["metadata"].get("General", {})
    for key, parse in (("date", datetime.date), ("time", datetime.time)):
        try:
            parse.fromisoformat(described.get(key, "2000-01-01" if key == "date" else "00:00"))
        except (TypeError, ValueError):
            raise Wrong(f"General.{key} is {described[key]!r}") from None


def _frame(data: Any, index: tuple[int, ...], through_dask: bool) -> Any:
    """Read a frame: as dask does, or without its graphs, which take longer than most frames."""
    source = None if through_dask else lazy_source(data)
    if source is None:
        return data[index].compute(scheduler="sync") if hasattr(data, "dask") else data[index]
    return np.asarray(source[index])


def _only_pixels(case: Case, values: Any) -> None:
    """Raise `Wrong` if other pixels than those that were damaged changed, or too many."""
    assert case.pixels is not None
    frame, nbytes = case.pixels
    good = case.victim.values
    if values.shape != good.shape or values.dtype != good.dtype:
        raise Wrong(
            f"pixels changed: {good.dtype} {good.shape} became {values.dtype} {values.shape}"
        )
    shape = good.shape[case.victim.nav_dims :]
    one, other = values.reshape(-1, *shape), good.reshape(-1, *shape)
    pixel = np.dtype((np.void, good.dtype.itemsize))
    changed = np.ascontiguousarray(one).view(pixel) != np.ascontiguousarray(other).view(pixel)
    frames = np.flatnonzero(changed.reshape(len(one), -1).any(axis=1))
    if list(frames) not in ([], [frame]):  # bits that no pixel has may be all that changed
        raise Wrong(f"pixels of frame {frame} changed, and frames {frames[:5]} with them")
    if np.count_nonzero(changed) > 8 * nbytes:
        raise Wrong(f"{nbytes} bytes changed, and {np.count_nonzero(changed)} pixels with them")


def _run(case: Case, path: Path, rng: random.Random) -> str:
    """Do with a recording what users do; return how it went."""
    victim = case.victim
    stored = sum(len(c) for c in {**victim.files, **case.changes}.values() if isinstance(c, bytes))
    candidates = rsciio_tem.detect(path)
    format, options, own = victim.format, victim.options, victim.format_options
    if case.pixels is None and rng.random() < 0.3:  # whatever the content says
        format = "auto"
        if candidates and candidates[0].format != victim.format:
            options = own = {}
    if case.pixels is None and rng.random() < 0.02:  # as the caller says, who may be wrong
        format, options, own = rng.choice(list(rsciio_tem.registry.FORMATS)), {}, {}
    deep = rng.random()
    if deep < 0.1:
        rsciio_tem.open(path, format, **own).candidates()
    if 0.1 < deep < 0.13:
        _told(path, rng.random() < 0.5)
    if 0.88 < deep < 0.95:  # what says what is wrong with a file must never stumble over it
        rsciio_tem.check(path, format, pixels=_small(path, format, own), **own)
    (lazy, *_) = rsciio_tem.load(path, format, lazy=True, **options)
    if "rsciio_tem" not in lazy["original_metadata"]:
        return "handed on"
    _judge(lazy, stored, victim.format)
    data = lazy["data"]
    nav = sum(axis["navigate"] for axis in lazy["axes"])
    shape = tuple(data.shape[:nav])
    # where nothing is stored, each chunk that is looked for takes its time
    most = _BLANK if victim.format in _SPARSE else _EAGER
    if math.prod(data.shape[nav:]) * data.dtype.itemsize > most:
        return "read"
    indices = {tuple(rng.randrange(n) for n in shape) for _ in range(2)} | {(0,) * nav}
    frames = {index: _frame(data, index, rng.random() < 0.04) for index in indices}
    if case.pixels is None and deep < 0.75:
        return "read"
    nbytes = math.prod(data.shape) * data.dtype.itemsize
    if nbytes > most:
        return "read"
    (eager, *_) = rsciio_tem.load(path, format, **options)
    _judge(eager, stored, victim.format)
    if repr(eager["axes"]) != repr(lazy["axes"]):
        raise Wrong("eager and lazy have other axes")
    values = eager["data"]
    for index, frame in frames.items():
        if not same(np.asarray(values[index]), np.asarray(frame)):
            raise Wrong(f"frame {index} is another one when it is read lazily")
    if case.pixels is not None:
        _only_pixels(case, values)
    if deep > 0.95:
        if not same(values, data.compute(scheduler="sync")):
            raise Wrong("eager and lazy have other values")
        (again, *_) = rsciio_tem.load(path, format, **options)
        if not same(values, again["data"]):
            raise Wrong("read twice, values differ")
        (mapped, *_) = rsciio_tem.load(path, format, mmap_mode="r", **options)
        if not same(values, np.asarray(mapped["data"], values.dtype)):  # other byte order
            raise Wrong("mapped values are others")
    if 0.75 < deep < 0.82 and data.dtype.names is None:
        simple = data.dtype.kind == "c" or data.ndim - nav != 2
        what = _WHAT[:2] if simple else rng.sample(_WHAT, 2)
        reduce(path, format, options, what)
    return "read"


def _told(path: Path, as_json: bool) -> None:
    """Let the command line say what is in a file: text that any terminal can show, or JSON."""
    result = CliRunner().invoke(cli.main, ["info", str(path), *["--json"][: int(as_json)]])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if as_json and result.exit_code == 0:
        json.loads(result.stdout, parse_constant=lambda text: 1 / 0)  # NaN is not JSON


def _small(path: Path, format: str, own: dict[str, Any]) -> bool:
    """Whether a recording has few pixels, or cannot be opened; blanks may make any number."""
    try:
        recording = rsciio_tem.open(path, format, **own)
    except FormatError:
        return True
    pixels = recording.count * math.prod(recording.frames.frame_shape)
    most = _BLANK if recording.format in _SPARSE else _EAGER
    return pixels * recording.frames.dtype.itemsize <= most


def reduce(path: Path, format: str, options: dict[str, Any], what: list[Any]) -> None:
    try:
        rsciio_tem.reduce(path, what, format=format, threads=1, progress=False, **options)
    except OverflowError as error:
        if "do not fit into 64 bits" not in str(error):  # documented
            raise


def _memory() -> int:
    """Return the largest memory of this process since it was last asked, 0 if nothing tells."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmHWM"):
                    return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0


def _forget_memory() -> None:
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass


def _out_of_time(*_: Any) -> None:
    raise OutOfTime


def prepare() -> None:
    """Make this process one that tries cases."""
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", RecordingWarning)
    signal.signal(signal.SIGALRM, _out_of_time)


def run(case: Case, folder: Path, seed: str) -> str | Fault:
    """Try a case; return how it went, or the fault."""
    rng = random.Random(f"{seed} is read")
    with written(case, folder) as path:
        _forget_memory()
        before = _memory()
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            outcome = _run(case, path, rng)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except FormatError as refused:
            signal.setitimer(signal.ITIMER_REAL, 0)
            outcome, text = "refused", str(refused)
            if str(folder) not in text and not refused.path.startswith("/dev/"):  # a link's end
                return _fault("an error that names no file", refused)
            if len(text) > 3000:
                return _fault("an error of thousands of characters", refused)
            if "RosettaSciIO's reader" in text:
                refused.__cause__ = refused.__traceback__ = refused.__context__ = None
                _handed_on()
        except MemoryError as refused:
            signal.setitimer(signal.ITIMER_REAL, 0)
            if not _raised_by_us(refused):
                return _fault("MemoryError", refused)
            outcome = "refused"
        except (Exception, OutOfTime) as other:
            signal.setitimer(signal.ITIMER_REAL, 0)
            if _in_upstream(other) and not isinstance(other, OutOfTime):
                other.__traceback__ = None
                return _handed_on()
            if _about_a_keyword(other, case.victim.options):
                return "refused"
            return _fault(type(other).__name__, other)
        if outcome == "handed on":
            _handed_on()
        grown = _memory() - before
        if grown > _GROWTH:
            return Fault("much memory", "tests", f"{grown >> 20} MiB", "")
    return outcome


def _fault(kind: str, error: BaseException) -> Fault:
    text = "".join(traceback.format_exception(error))
    return Fault(kind, _place(error), str(error)[:300], text[-6000:])
