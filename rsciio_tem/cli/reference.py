# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``rsciio-tem reference`` does."""

from __future__ import annotations

import os
from typing import Any

import click

from rsciio_tem.cli.options import set_by_user
from rsciio_tem.cli.words import say, size_in_words
from rsciio_tem.errors import collected

__all__ = ["reference"]


def reference(
    path: str,
    output: str | None,
    options: dict[str, Any],
    *,
    zarr_format: Any,
    overwrite: bool,
) -> None:
    """Write the file, and say how large it is and how it is opened."""
    from rsciio_tem.tools import reference as tool

    name, set_options = set_by_user(options)
    with collected() as warned:
        target = tool.reference(
            path, output, name, zarr_format=zarr_format, overwrite=overwrite, **set_options
        )
    for said_of, message in warned:
        say("warning", f"{said_of}: {message}", "yellow")
    click.echo(f"{target}  {size_in_words(_size(target))}")


def _size(path: str) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if not os.path.isdir(path):
        return os.path.getsize(path)
    files = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sum(map(os.path.getsize, files))
