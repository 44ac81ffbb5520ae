# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``rsciio-tem check`` does with its paths, and prints."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click

from rsciio_tem.cli.words import as_options, echo_json, product_in_words, say_error
from rsciio_tem.errors import FormatError, Problem, collected
from rsciio_tem.readers import chosen
from rsciio_tem.storage.user_paths import named_by_user
from rsciio_tem.tools.open import open
from rsciio_tem.tools.recordings import Item, is_searched, pairs, recordings_below
from rsciio_tem.tools.report import described, problem_as_json

#: What is said of a recording in the end, and the exit status.
EXIT_STATUS = {"ok": 0, "not checked": 1, "with warnings": 1, "with errors": 2}


def searched(
    paths: Sequence[str],
    options: Mapping[str, Any] | None = None,
    others: Counter[str] | None = None,
) -> list[Item]:
    """List the recordings that are named, and those below folders.

    A folder without any is an item with a problem.

    Parameters
    ----------
    paths : sequence of str
        Files and folders.
    options : dict, optional
        Keywords of the reader: they may describe files that have no headers.
    others : Counter, optional
        Gets the suffixes of the files that are passed over.
    """
    raw = {"dtype", "sig_shape"} <= set(options or ())
    items = []
    for path in paths:
        if not is_searched(path):
            items.append(Item(path))
            continue
        below = recordings_below(path, raw=raw)
        if others is not None:
            others.update(below.others)
        nothing = Problem("error", "holds no recording in a known format.")  # somebody expects some
        items += below.items or [Item(path, nothing)]
    return items


def checked(
    item: Item,
    format: str,
    format_options: Mapping[str, Any],
    pixels: bool,
    with_scan: bool,
) -> dict[str, Any]:
    """Check one recording; what ``check --json`` prints of it, with its scan if that is asked."""
    with named_by_user(item.path, format_options, guarded=False) as (path, keywords):
        return _checked(item._replace(path=path), format, keywords, pixels, with_scan)


def _checked(
    item: Item,
    format: str,
    format_options: Mapping[str, Any],
    pixels: bool,
    with_scan: bool,
) -> dict[str, Any]:
    from tqdm import tqdm

    from rsciio_tem.tools.check import check

    began, path = time.perf_counter(), item.path
    if (problem := item.problem) is not None:
        listed = [problem_as_json(problem)]
        if problem.severity == "error":
            return {"path": path, "verdict": "with errors", "problems": listed}
        reason = problem.message
        return {"path": path, "verdict": "not checked", "reason": reason, "problems": listed}
    source: Any = path
    description: dict[str, Any] = {}
    with contextlib.suppress(FormatError):  # which `check` tells
        if format == "auto" and {"dtype", "sig_shape"} <= set(format_options):
            format, _ = chosen(path, raw=True)
        source = open(path, format, **format_options)
        description = described(source)
        if with_scan:
            with collected():
                description = described(source, source.scan())
    passed = {} if description else format_options
    with tqdm(
        total=description["frames"]["stored"] if description else 0,
        unit=" frames",
        leave=False,
        disable=None if pixels else True,
    ) as bar:
        problems = check(source, format, pixels=pixels, progress=bar.update, **passed)
    worst = problems[0].severity if problems else "info"
    verdict = {"error": "with errors", "warning": "with warnings"}.get(worst, "ok")
    return {
        "path": path,
        "verdict": verdict,
        **description,
        "pixels": pixels and bool(description),
        "problems": [problem_as_json(problem) for problem in problems],
        "seconds": round(time.perf_counter() - began, 3),
    }


def print_checked(result: Mapping[str, Any]) -> None:
    """Print a line for each problem, and one with the verdict."""
    path, colours = result["path"], {"error": "red", "warning": "yellow"}
    if result["verdict"] == "not checked":
        click.echo(f"{path}: {click.style('not checked', fg='yellow')}: {result['reason']}")
        return
    counts: dict[str, int] = {}
    for problem in result["problems"]:
        severity, hint = problem["severity"], problem["hint"]
        counts[severity] = counts.get(severity, 0) + 1
        word = click.style(severity + ":", fg=colours.get(severity), bold=severity in colours)
        click.echo(
            f"{path}: {word} {problem['message']}"
            + f" {' '.join(as_options(hint).split())}" * bool(hint)
        )
    summary = [f"{counts[s]} {s}{'s' * (counts[s] != 1)}" for s in colours if s in counts]
    colour = "red" if "error" in counts else "yellow" if summary else "green"
    verdict = click.style(", ".join(summary) or "ok", fg=colour, bold=True)
    if "frames" not in result:
        click.echo(f"{path}: {verdict}")
        return
    frames = result["frames"]
    read = "all pixels were decoded" if result["pixels"] else "pixels were not read (--pixels does)"
    size = product_in_words(frames["shape"][::-1])
    click.echo(
        f"{path}: {verdict} ({result['format']}, {frames['stored']} "
        f"frame{'s' * (frames['stored'] != 1)} of {size} px; {read})"
    )


def print_counts(results: Sequence[Mapping[str, Any]], others: Counter[str]) -> None:
    """Print how many recordings there are of each verdict, and what was passed over."""
    print_others(others)
    if len(results) > 1:
        verdicts = [result["verdict"] for result in results]
        words = [f"{verdicts.count(v)} {v}" for v in EXIT_STATUS if v in verdicts]
        click.echo(f"{len(results)} recordings: {', '.join(words)}")


def print_others(others: Counter[str]) -> None:
    """Print what was passed over in folders."""
    if others:
        words = [f"{n} {suffix or 'without suffix'}" for suffix, n in others.most_common(8)]
        if len(others) > 8:
            words.append("…")
        click.echo(f"passed over, not recognised as recordings: {', '.join(words)}")


def compared(
    first: str, second: str, format: str, parts: Sequence[str], options: Mapping[str, Any]
) -> list[Problem]:
    """Compare two recordings, with a bar."""
    from tqdm import tqdm

    from rsciio_tem.tools.compare import compare

    with tqdm(unit=" frames", leave=False, disable=None) as bar:
        return compare(*(first, second, format), parts=parts, progress=bar.update, **options)


def compare_folders(
    first: str,
    second: str,
    format: str,
    parts: Sequence[str],
    options: Mapping[str, Any],
    as_json: bool,
) -> int:
    """Compare the recordings below two folders, and print the differences; the exit status."""
    matched, rest = pairs(first, second, raw={"dtype", "sig_shape"} <= set(options))
    if not matched and not rest:
        raise FormatError(first, "holds no recording in a known format.", "Name other folders.")
    results: list[dict[str, Any]] = []
    same = failed = 0
    for one, other in matched:
        try:
            differences = compared(one, other, format, parts, options)
        except (FormatError, OSError) as error:
            failed += 1
            say_error(error)
            continue
        unequal = any(difference.severity != "info" for difference in differences)
        same += not unequal
        results.append({"first": one, "second": other, "differences": in_rows(differences)})
        if not as_json:
            click.echo(click.style(f"{one}  {other}", bold=True))
            print_differences(differences, parts)
    for item in rest:
        assert item.problem is not None
        results.append({"path": item.path, "problems": [problem_as_json(item.problem)]})
        if not as_json:
            word = click.style("not compared", fg="yellow")
            click.echo(f"{item.path}: {word}: {item.problem}")
    if as_json:
        echo_json(results)
    else:
        words = [f"{same} the same", f"{len(matched) - same - failed} different"]
        words += [
            f"{n} {what}" for n, what in ((failed, "failed"), (len(rest), "not compared")) if n
        ]
        click.echo(
            f"{len(matched)} pair{'s' * (len(matched) != 1)} of recordings: {', '.join(words)}"
        )
    return 2 if failed else int(same < len(matched) or bool(rest))


def in_rows(differences: Sequence[Problem]) -> list[dict[str, str]]:
    """Return differences as ``compare --json`` prints them."""
    return [{"part": one.about, **problem_as_json(one)} for one in differences]


def print_differences(differences: Sequence[Problem], parts: Sequence[str]) -> None:
    """Print a line for each difference, or that there is none."""
    for one in differences:
        if one.about not in parts:
            click.echo(click.style(one.about, fg="yellow") + f": {one.message} {one.hint}")
    for part in parts:
        ours = [one for one in differences if one.about == part]
        notes = [one.message.removeprefix(f"{part} differ in ") for one in ours]
        if all(one.severity == "info" for one in ours):
            more = f" ({' '.join(notes).removesuffix('.')})" * bool(notes)
            click.echo(f"{part}: {click.style('the same', fg='green')}{more}")
            continue
        for one in ours:
            words = f"{one.message.removeprefix(part)} {one.hint}".rstrip()
            click.echo(click.style(part, fg=None if one.severity == "info" else "yellow") + words)
