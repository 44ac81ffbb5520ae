# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill conversions again and again, and look whether anything is lost or mixed up::

    python tests/kill_conversions.py [--kills 40] [--seed 1] [TARGET ...]

For each kind of target, an earlier recording is to be replaced. The conversion runs in a process of
its own, slowly, and is killed (SIGKILL) at random moments, some of them while files take their
names; then the same call goes on. At no time may there be a mixture of old and new files, frames
that were noted may not be done again, and in the end the files are, byte for byte, those of a
conversion that nobody disturbed. When it completes before it was killed often enough, the
earlier recording is put back, and it begins anew.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from slow_conversion import PRELOADED, begin, blocks_done
from writers import mib as writer

import rsciio_tem

#: Seconds for each block, and before each change of names.
PAUSE, NAMING_PAUSE = 0.02, 0.01

#: Seconds after which a conversion hangs.
LIMIT = 60

SPARSE = {"threshold": 150.0}

#: What is written: name, keywords; further ones of the earlier recording.
TARGETS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "npy": ("a.npy", {}, {}),
    "raw": ("a.raw", {}, {"nav_shape": (7, 6)}),
    "h5, bitshuffle": ("a.h5", {}, {}),
    "h5, gzip": ("a.h5", {"compression": "gzip"}, {}),
    "h5, none": ("a.h5", {"compression": "none"}, {}),
    "h5, hexrd": ("a.h5", {"layout": "hexrd"}, {}),
    "zarr": ("a.zarr", {}, {}),
    "raw_csr": ("a.toml", SPARSE, {"nav_shape": (7, 6)}),
    "npz": ("a.npz", SPARSE, {"output_yaml": True}),
    "fch5": ("a.fch5", SPARSE, {}),
    "stempy": ("a.h5", {**SPARSE, "to": "stempy"}, {}),
    "yml": ("a.yml", {**SPARSE, "format": "framecache"}, {}),
    "blo": ("a.blo", {"intensity_scaling": "minmax"}, {}),
    "tvips": ("a_000.tvips", {"max_file_size": 9000}, {"max_file_size": 2000}),
    "mrc": ("a.mrc", {}, {}),
    "tif": ("a.tif", {}, {}),
    "hspy": ("a.hspy", {"verify": False}, {}),
    "zspy": ("a.zspy", {"verify": False}, {}),
}

#: HyperSpy's own formats begin anew each time, and have the time of writing in them.
BY_HYPERSPY = ("hspy", "zspy")

Files = dict[str, bytes]


@dataclass
class Outcome:
    """What happened to a target."""

    target: str
    kills: int = 0
    working: int = 0  # kills after the work had begun
    naming: int = 0  # kills while files took their names
    kept: int = 0  # calls that went on with frames that were done
    completed: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        verdict = "; ".join(dict.fromkeys(self.problems)) or "identical"
        numbers = (self.kills, self.working, self.naming, self.kept, self.completed)
        return f"{self.target:16}" + "".join(f"{n:>11}" for n in numbers) + f"  {verdict}"


HEAD = f"{'target':16}" + "".join(
    f"{name:>11}" for name in ("kills", "at work", "in names", "resumed", "completed")
)


def files_in(folder: Path) -> Files:
    """Return the content of all files, but for those of working folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".partial" not in path.relative_to(folder).parts[0]
    }


def recordings(folder: Path) -> tuple[Path, Path]:
    """Write the recording that is converted, and the earlier one."""
    rng = np.random.default_rng(1)
    paths = []
    for name in ("new.mib", "old.mib"):
        frames = rng.integers(0, 256, (42, 16, 16)).astype("u1")
        paths.append(writer.write_mib(folder / name, frames, 6))
    return paths[0], paths[1]


def mixed(left: Files, old: Files, new: Files | None, path: Path) -> str:
    """Say whether files are neither old nor new, or some of both; some of one may be set aside."""
    if left.items() <= old.items():
        return ""
    if new is not None:
        return "" if left.items() <= new.items() else "old and new files are mixed"
    return same_signal(path)  # what HyperSpy writes is another file each time


def same_signal(path: Path) -> str:
    """Say whether HyperSpy's file is the recording."""
    import hyperspy.api as hs

    hs.set_log_level("ERROR")
    expected = rsciio_tem.load(path.parents[1] / "new.mib", nav_shape=(6, 7))[0]["data"]
    return "" if np.array_equal(hs.load(path).data, expected) else "is another recording"


def torture(name: str, kills: int, seed: int, folder: Path) -> Outcome:
    """Kill the conversions into one kind of target.

    Parameters
    ----------
    name : str
        One of `TARGETS`.
    kills : int
        How often.
    seed : int
        Of the moments.
    folder : Path
        An empty one.
    """
    outcome, rng = Outcome(name), np.random.default_rng([seed, *name.encode()])
    file, options, earlier = TARGETS[name]
    by_hyperspy = name in BY_HYPERSPY
    recording, old_recording = recordings(folder)
    asked = {"nav_shape": (6, 7), "overwrite": True}
    for which, source, more in (("new", recording, {}), ("old", old_recording, earlier)):
        (folder / which).mkdir()
        undisturbed = asked | {k: v for k, v in options.items() if k != "verify"} | more
        with contextlib.redirect_stdout(io.StringIO()):  # dask shows its progress
            rsciio_tem.convert(source, folder / which / file, **undisturbed)
    old, new = files_in(folder / "old"), files_in(folder / "new")
    target = folder / "at work" / file
    shutil.copytree(folder / "old", target.parent)
    preloaded = (*PRELOADED, "zarr", "hyperspy.io", "hyperspy._signals.signal2d", "rsciio_tem")
    duration = 0.0

    def start() -> Any:
        return begin(recording, target, PAUSE, NAMING_PAUSE, preloaded, overwrite=True, **options)

    def finished() -> None:
        """Look at what a conversion has left that was not killed, and put the earlier one back."""
        outcome.completed += 1
        left = files_in(target.parent)
        if Path(f"{target}.partial").exists():
            outcome.problems.append("a working folder is left")
        if by_hyperspy:
            if problem := same_signal(target):
                outcome.problems.append(problem)
        elif left != new:
            odd = sorted(n for n in {*left, *new} if left.get(n) != new.get(n))
            outcome.problems.append(f"not the bytes of an undisturbed one: {', '.join(odd)}")
        shutil.rmtree(target.parent)
        target.parent.mkdir()
        earlier_again()

    def earlier_again() -> None:
        for path in target.parent.iterdir():
            if not path.name.endswith(".partial"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(folder / "old", target.parent, dirs_exist_ok=True)

    while True:
        last = outcome.kills >= kills
        before = blocks_done(target)
        (process, answers), began = start(), time.monotonic()
        moment = rng.uniform(0, 1.1 * duration) if duration else LIMIT
        kind = rng.random()
        in_names, in_blocks = kind < 0.35, kind > 0.65
        while process.is_alive() and not last:
            passed = time.monotonic() - began
            if in_names and answers.poll():
                time.sleep(rng.uniform(0, (len(old) + len(new) + 2) * NAMING_PAUSE))
                break
            if in_blocks and blocks_done(target) > max(before, 0):
                time.sleep(rng.uniform(0, 4 * PAUSE))
                break
            if passed > (moment if in_blocks == in_names else LIMIT):
                break
            time.sleep(0.001)
        if last or not duration:
            process.join(LIMIT)
        process.kill()
        process.join(LIMIT)
        outcome.kept += before > 0
        if process.exitcode == 0:
            duration = duration or time.monotonic() - began
            finished()
            if last:
                return outcome
            continue
        if process.exitcode != -9 or last:
            outcome.problems.append(f"ended with {process.exitcode}")
            if last:
                return outcome
        outcome.kills += 1
        work, left = Path(f"{target}.partial"), files_in(target.parent)
        naming = (work / "complete").exists()
        outcome.working += work.exists()
        outcome.naming += naming
        # when all have their names, the journal goes first; HyperSpy's begin anew in any case
        unfinished = work.exists() and not naming and left != new and not by_hyperspy
        if unfinished and blocks_done(target) < before:
            outcome.problems.append("frames that were done are gone")
        if problem := mixed(left, old, None if by_hyperspy else new, target):
            outcome.problems.append(problem)
        if left == new and blocks_done(target) < 0:
            # all but clearing up was done; new files that replace the same new ones show nothing
            earlier_again()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    asked = parser.parse_args(arguments)
    print(HEAD)
    wrong = False
    for name in asked.targets or TARGETS:
        with tempfile.TemporaryDirectory() as folder:
            outcome = torture(name, asked.kills, asked.seed, Path(folder))
        print(outcome, flush=True)
        wrong = wrong or bool(outcome.problems)
    return int(wrong)


if __name__ == "__main__":
    os.environ.setdefault("RSCIIO_TEM_AUTOREGISTER", "1")
    warnings.simplefilter("ignore")
    sys.exit(main())
