# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``rsciio-tem inspect`` does."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from rsciio_tem.cli.options import set_by_user
from rsciio_tem.cli.words import say, size_in_words

__all__ = ["inspect"]


def inspect(
    path: str,
    output: str | None,
    options: dict[str, Any],
    *,
    fast: bool,
    serve: bool,
    show: bool | None,
    overwrite: bool,
) -> None:
    """Make the page, and write or serve it."""
    from rsciio_tem.tools.inspect import check_name, inspect, usual_name

    if serve and output is not None:
        raise click.UsageError("--serve writes no file; leave out --output")
    show = sys.stdout.isatty() if show is None else show
    name, set_options = set_by_user(options)
    target = None if serve else output or usual_name(path)
    if target is not None:
        check_name(target)
    page = inspect(path, target, format=name, fast=fast, overwrite=overwrite, **set_options)
    for message in page.data["warnings"]:
        say("warning", f"{path}: {message}", "yellow")
    if target is None:
        click.echo("Ctrl-C ends it. The page is at", err=True)
        page.serve(show=show, tell=click.echo)
        return
    click.echo(f"{target}  {size_in_words(os.path.getsize(target))}")
    if show:
        click.launch(Path(target).resolve().as_uri())
