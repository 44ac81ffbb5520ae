# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``rsciio-tem convert`` does with one recording, or with many."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click

from rsciio_tem.cli.check import print_others
from rsciio_tem.cli.words import duration_in_words, say, size_in_words
from rsciio_tem.errors import FormatError, Problem
from rsciio_tem.tools import archive, report
from rsciio_tem.tools.archive import (
    Conversion,
    convert_all,
    convert_checked,
)
from rsciio_tem.tools.convert import names_folder
from rsciio_tem.tools.recordings import CHECKSUMS, RECORDS, is_searched
from rsciio_tem.writing.checksums import add_to_list, check_list


def one(source: str, target: str, how: Conversion, report_path: str | None, quiet: bool) -> int:
    """Convert a recording, and say how large the target is; return the exit status."""

    def tell(problem: Problem) -> None:
        say(problem.severity, f"{source}: {problem}", "yellow")

    list_of_sums = os.path.normpath(target) + ".sha256"  # a store may be written with a slash
    if report_path:
        report.check_writable(report_path)
    if how.checksums:
        check_list(list_of_sums)
    row = convert_checked(source, target, how, not quiet, tell)
    if how.checksums:
        sums = {os.path.abspath(name): value for name, value in row["checksums"].items()}
        add_to_list(list_of_sums, sums)
    if report_path:
        report.save(report_path, [row])
    read_back = ", verified: every pixel was read back" * how.verify
    click.echo(
        f"{row['target']}  {size_in_words(row['bytes'])} in {row['seconds']:.1f} s{read_back}"
    )
    return archive.EXIT_STATUS[row["verdict"]]


def many(
    sources: Sequence[str],
    into: str,
    how: Conversion,
    *,
    jobs: int,
    skip_existing: bool,
    report_path: str | None,
    quiet: bool,
) -> int:
    """Convert recordings into a folder; return the exit status."""
    from tqdm import tqdm

    if report_path:
        os.makedirs(into, exist_ok=True)  # the report may go there
        report.check_writable(report_path)
    others: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    with tqdm(unit="B", unit_scale=True, leave=False, disable=True if quiet else None) as bar:

        def each(row: dict[str, Any]) -> None:
            rows.append(row)
            with bar.external_write_mode(nolock=False):
                _print(row)

        try:
            convert_all(
                sources,
                into,
                how,
                jobs=jobs,
                skip_existing=skip_existing,
                bar=bar,
                each=each,
                others=others,
            )
        finally:
            rows.sort(key=lambda row: row["path"])
            if rows:
                if report_path:
                    report.save(report_path, rows)
                _summarise(rows, time.perf_counter() - began)
    print_others(others)
    click.echo(f"what was made from what: {os.path.join(into, RECORDS)}")
    if how.checksums:
        click.echo(f"checksums: {os.path.join(into, CHECKSUMS)}")
    return max(archive.EXIT_STATUS[row["verdict"]] for row in rows)


def _summarise(rows: Sequence[Mapping[str, Any]], seconds: float) -> None:
    """Print how many recordings there are of each verdict."""
    counts = {v: sum(row["verdict"] == v for row in rows) for v in archive.EXIT_STATUS}
    words = ", ".join(f"{n} {_WORDS.get(v, v)}" for v, n in counts.items() if n)
    made = sum(row.get("bytes", 0) for row in rows if row["verdict"] != "skipped")
    click.echo(
        f"{len(rows)} recording{'s' * (len(rows) != 1)}: {words}; "
        f"{size_in_words(made)} written in {duration_in_words(seconds)}"
    )
    warned = sum(bool(row["problems"]) for row in rows if row["verdict"] == "skipped")
    if warned:
        click.echo(f"{warned} of those skipped had warnings when they were converted")


_WORDS = {"skipped": "skipped, as they were converted before"}


def _print(row: Mapping[str, Any]) -> None:
    """Print what became of a recording, and why."""
    path, target, verdict = row["path"], row["target"], row["verdict"]
    for problem in row["problems"] if verdict != "skipped" else ():
        text = f"{path}: {problem['message']}" + f" {problem['hint']}" * bool(problem["hint"])
        say(problem["severity"], text, "red" if problem["severity"] == "error" else "yellow")
    if verdict == "skipped":
        click.echo(f"{target}  was converted before")
    elif archive.EXIT_STATUS[verdict] in (0, 1) and "bytes" in row:
        read_back = ", verified" * row["verified"]
        click.echo(f"{target}  {size_in_words(row['bytes'])} in {row['seconds']:.1f} s{read_back}")


def conversion(
    options: Mapping[str, Any], source_format: str, target_format: str | None, **switches: bool
) -> Conversion:
    """Gather how recordings are converted."""
    target_format = (target_format or "auto").lower().lstrip(".")
    return Conversion(target_format, source_format, dict(options), **switches)


def check_arguments(
    paths: Sequence[str], into: str | None, target_format: str | None, skip_existing: bool
) -> None:
    """Refuse what makes no sense together.

    Raises
    ------
    click.UsageError
        Something does not.
    """
    if into is None:
        if len(paths) != 2:
            raise click.UsageError(
                "pass SOURCE and TARGET, or several sources with --into FOLDER and --to FORMAT"
            )
        if skip_existing:
            raise click.UsageError("--skip-existing is for many recordings, with --into FOLDER")
        if is_searched(paths[0]):
            raise FormatError(
                paths[0], "is a folder.", "To convert all in it: --into FOLDER --to FORMAT."
            )
        if os.path.isdir(paths[1]) and not os.path.normpath(paths[1]).lower().endswith(
            (".zarr", ".zspy")
        ):
            raise FormatError(
                paths[1], "is a folder.", "Name a file in it, or pass --into FOLDER --to FORMAT."
            )
        if names_folder(paths[1], target_format or "auto"):
            raise FormatError(
                *(paths[1], "is the name of a folder, as it ends with a slash."),
                "Name a file in it, or pass --into FOLDER --to FORMAT.",
            )
    elif target_format is None:
        raise click.UsageError("--into FOLDER needs --to FORMAT, such as --to h5")
