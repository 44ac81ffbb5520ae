# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the measurements: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import files, limits, memory, report, works
from benchmarks.contestants import CONTESTANTS, DEFAULT_PEERS, US, Contestant


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    """Return an argparse type: names separated by commas, all of them known."""

    def parse(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(
                f"unknown: {', '.join(unknown)}; known are {', '.join(known)}"
            )
        return names

    return parse


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    formats, known_works = list(files.FORMATS), [*works.WORKS, "limits"]
    peers = [name for name in CONTESTANTS if name != US]
    add("--formats", type=_names(formats), default=formats, help=",".join(formats))
    add("--works", type=_names(known_works), default=known_works, help=",".join(known_works))
    add("--peers", type=_names(peers), default=list(DEFAULT_PEERS), help=",".join(peers))
    add("--size", type=float, default=512, help="megabytes of each file")
    add("--repeats", type=int, default=5)
    add("--data", type=Path, help="folder for the files, which are kept and used again")
    add("--output", type=Path, help="Markdown file; otherwise printed")
    arguments = parser.parse_args(argv)
    if arguments.repeats < 1 or arguments.size <= 0:
        parser.error("--repeats and --size must be positive")
    return arguments


def _start(name: str, stack: ExitStack) -> Contestant | str:
    """Start a contestant, or say why it cannot take part."""
    try:
        contestant = CONTESTANTS[name]()
    except Exception as error:
        return f"{name} cannot be started: {error}"
    stack.callback(contestant.close)
    return contestant


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and report; 1 if a result of ours was wrong or missing."""
    arguments = _arguments(argv)
    memory.quiet()
    names = [US, *(name for name in CONTESTANTS if name in arguments.peers and name != US)]
    todo = [name for name in works.WORKS if name in arguments.works]
    parts = [report.header(arguments.repeats, arguments.size)]
    failed, cold = False, {"cold-sum", "little-memory"}
    tables: dict[str, dict[str, works.Row]] = {}
    with ExitStack() as stack:
        if arguments.data is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            folder = arguments.data
            folder.mkdir(parents=True, exist_ok=True)
        contestants = {name: _start(name, stack) for name in names}
        for name in arguments.formats:
            print(name, file=sys.stderr, flush=True)
            file = files.write(name, folder, arguments.size)
            try:
                best = limits.measure_cold(file, arguments.repeats) if cold & {*todo} else {}
                rows = works.measure(todo, contestants, file, folder, arguments.repeats)
                if "limits" in arguments.works:
                    best |= limits.measure(file, arguments.repeats)
                parts.append(report.section(file, rows, best, names))
                tables[name] = rows
            finally:
                if arguments.data is None:
                    file.delete()
            failed |= any(row[US].state in ("WRONG", "error") for row in rows.values())
            if arguments.output is not None:
                arguments.output.write_text("\n".join(parts), encoding="utf-8")
    if len(tables) > 1:
        parts.insert(1, report.summary(tables, names))
    if arguments.output is None:
        print("\n".join(parts))
    else:
        arguments.output.write_text("\n".join(parts), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
