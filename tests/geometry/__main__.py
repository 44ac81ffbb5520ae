# SPDX-License-Identifier: GPL-3.0-or-later
"""Print which share of simulated recordings readers put right."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from .simulate import FAMILIES, Recording, make
from .verdict import VERDICTS, Case, LiberTEM, Reader, ours, rosettasciio, try_case


def recordings(count: int, seed: int, only: str = "") -> Iterable[Recording]:
    """Return about `count` recordings, equally many of each family."""
    names = [name for name in FAMILIES if only in name]
    for i in range(max(1, round(count / len(names)))):
        for name in names:
            yield make(name, i, seed)


def table(cases: list[Case], reader: str) -> str:
    """Return a row for each family."""
    lines = [f"| family | {' | '.join(VERDICTS)} |", "|---" * (1 + len(VERDICTS)) + "|"]
    kinds: tuple[tuple[str, Callable[[Recording], bool]], ...] = (
        ("scans", lambda r: r.tellable and r.is_scan),
        ("no scans", lambda r: r.tellable and not r.is_scan),
        ("what no file tells", lambda r: not r.tellable),
    )
    for kind, belongs in kinds:
        some = [case for case in cases if belongs(case.recording)]
        if not some:
            continue
        for name in dict.fromkeys(case.recording.family for case in some):
            counts = Counter(c.verdicts[reader] for c in some if c.recording.family == name)
            lines.append(f"| {name} | " + " | ".join(f"{counts[v] or ''}" for v in VERDICTS) + " |")
        counts = Counter(case.verdicts[reader] for case in some)
        cells = (f"{counts[v]} ({100 * counts[v] / len(some):.1f} %)" for v in VERDICTS)
        lines.append(f"| **{kind}**: {len(some)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def totals(cases: list[Case], readers: Iterable[str]) -> str:
    """Return a row for each reader and format; only recordings that tell what is right."""
    lines = [
        f"| reader | format | n | {' | '.join(VERDICTS)} |",
        "|---" * (3 + len(VERDICTS)) + "|",
    ]
    some = [case for case in cases if case.counts]
    for reader in readers:
        readable = [case for case in some if case.verdicts[reader] != "cannot read"]
        forms = dict.fromkeys(case.recording.format for case in readable)
        groups = {form: [c for c in some if c.recording.format == form] for form in forms}
        groups |= {"all it reads": readable, "all": some}
        for form, of_form in groups.items():
            if not of_form:
                continue
            counts = Counter(c.verdicts[reader] for c in of_form)
            cells = " | ".join(f"{100 * counts[v] / len(of_form):.1f} %" for v in VERDICTS)
            lines.append(f"| {reader} | {form} | {len(of_form)} | {cells} |")
    return "\n".join(lines)


def describe(case: Case, reader: str) -> str:
    """Return what a person needs to see why a case is wrong."""
    recording, shown = case.recording, case.shown[reader]
    truth = (
        f"{recording.lines} lines of {recording.width}" if recording.is_scan else "no scan"
    ) + (f", {recording.repeats} times" if recording.repeats > 1 else "")
    lines = [
        f"{recording}  {case.verdicts[reader]}: {case.troubles[reader]}",
        f"  true: {truth}, {len(recording.events)} frames stored; {recording.parameters}",
        f"  claims: {recording.claims}",
        f"  shown: {shown.places.shape}, confidence {shown.confidence}, {shown.reason}",
        *(f"  warning: {message}" for message in shown.warnings),
    ]
    return "\n".join(lines)


def show_case(name: str, seed: int, readers: dict[str, Reader]) -> None:
    """Keep the file of one case, and print what was shown beside what is right."""
    family, _, index = name.rpartition(":")
    recording = make(family, int(index), seed)
    folder = Path(tempfile.mkdtemp(prefix="geometry-"))
    case = try_case(recording, readers, folder)
    print(f"files: {folder}")
    with np.printoptions(threshold=2000, linewidth=200):
        for reader in readers:
            print(f"\n{reader}\n{describe(case, reader)}")
            print("places in the file that are shown (-1: blank):")
            print(case.shown[reader].places)
        events = recording.events
        print("\nright: place in the file, repeat, line, column, step to the next in µs, number")
        steps = np.append(np.diff(events["time"]), 0) / 1000
        for i, event in enumerate(events[:2000]):
            where = (event["repeat"], event["line"], event["column"])
            print(i, *where, f"{steps[i]:.1f}", event["number"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.geometry", description=__doc__)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--family", default="", help="only families with this in their names")
    parser.add_argument("--peers", action="store_true", help="RosettaSciIO and LiberTEM too")
    parser.add_argument("--list", action="store_true", help="print every wrong case")
    parser.add_argument("--case", metavar="FAMILY:INDEX", help="look at one case, keep its files")
    options = parser.parse_args()

    readers: dict[str, Reader] = {"rsciio-tem": ours}
    if options.peers:
        readers |= {"RosettaSciIO": rosettasciio, "LiberTEM": LiberTEM()}
    if options.case:
        show_case(options.case, options.seed, readers)
        return
    begin = time.perf_counter()
    cases = [try_case(r, readers) for r in recordings(options.cases, options.seed, options.family)]
    print(table(cases, "rsciio-tem"))
    print(f"\n{totals(cases, readers)}")
    print(f"\n{len(cases)} recordings, seed {options.seed}, {time.perf_counter() - begin:.0f} s")
    if options.list:
        for case in cases:
            honest = ("right",) if case.counts else ("right", "told", "unknown")
            if case.verdicts["rsciio-tem"] not in honest:
                print(f"\n{describe(case, 'rsciio-tem')}")


if __name__ == "__main__":
    main()
