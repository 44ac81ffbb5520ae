# SPDX-License-Identifier: GPL-3.0-or-later
"""Damage recordings for some minutes, and print what their readers make of them."""

from __future__ import annotations

import argparse
import sys
import time

from . import engine, trial
from .cases import make_case
from .engine import Result
from .trial import Fault
from .victims import FORMATS, Place, make_all


def table(results: dict[str, Result]) -> str:
    """Return a line for each format."""
    lines = [
        f"{'format':12} {'files':>8} {'read':>8} {'refused':>8} {'handed on':>9} {'faults':>7}"
    ]
    for format, result in results.items():
        counts = result.counts
        cells = (counts["read"], counts["refused"], counts["handed on"], len(result.faults))
        lines.append("{:12} {:8} {:8} {:8} {:9} {:7}".format(format, result.tried, *cells))
    return "\n".join(lines)


def faults(results: dict[str, Result], *, whole: bool = False) -> str:
    """Return every distinct fault, and how to see it again."""
    lines = []
    for format, result in results.items():
        for (kind, place), some in sorted(result.faults.items(), key=lambda item: -len(item[1])):
            number, fault = some[0]
            lines.append(f"{format}: {kind} in {place}, {len(some)} times: {fault.message}")
            lines.append(f"    python -m tests.fuzz --case {format}:{number}")
            if whole:
                lines.append("    " + fault.text.replace("\n", "\n    "))
    return "\n".join(lines)


def show(name: str) -> int:
    """Try one case in this process, and print all about it."""
    format, number = name.split(":")
    with Place() as folder:
        victims = make_all([format], folder)
        case = make_case(format, int(number), victims[format])
        print(case)
        print(f"options: {case.victim.options}")
        trial.prepare()
        outcome = trial.run(case, folder / "case", name)
        if isinstance(outcome, Fault):
            print(outcome.text or outcome.message)
            print(f"fault: {outcome.kind} in {outcome.place}")
        else:
            print(outcome)
    return isinstance(outcome, Fault)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long; 1 by default")
    parser.add_argument("--cases", type=int, help="so many of each format instead")
    parser.add_argument("--seed", type=int, default=0, help="other cases for other numbers")
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=FORMATS)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--trace", action="store_true", help="print where faults come from")
    parser.add_argument("--case", metavar="FORMAT:SEED", help="show one case again")
    options = parser.parse_args()
    if options.case:
        return show(options.case)
    with Place() as folder:
        victims = make_all(options.format, folder)
        engine.warm_up(victims)
        seconds = None if options.cases else 60 * options.minutes
        started = time.monotonic()
        results = engine.fuzz(
            victims,
            folder,
            seed=options.seed,
            seconds=seconds,
            cases=options.cases,
            jobs=options.jobs,
        )
        took = time.monotonic() - started
    print(table(results))
    tried = sum(result.tried for result in results.values())
    print(f"{tried} files in {took:.0f} s, {tried / took:.0f} a second")
    print(faults(results, whole=options.trace))
    return any(result.faults for result in results.values())


if __name__ == "__main__":
    sys.exit(main())
