# SPDX-License-Identifier: GPL-3.0-or-later
"""A small folder of files that appears under its name when it is complete."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from functools import partial

from rsciio_tem.storage.files import when_free
from rsciio_tem.writing.obstacles import check_free
from rsciio_tem.writing.working_folder import give_name, sync_folder

__all__ = ["replacing_folder"]


@contextlib.contextmanager
def replacing_folder(
    path: str, *, overwrite: bool, obstacle: Callable[[str], str]
) -> Iterator[str]:
    """Make a temporary folder beside `path`; with what was written there it becomes `path`.

    If anything goes wrong, `path` is as it was and the temporary folder is gone.

    Parameters
    ----------
    path : str
        The new folder.
    overwrite : bool
        Whether an earlier one is replaced.
    obstacle : callable
        Says why what has the name is not replaced; "" if it can be.

    Raises
    ------
    FileExistsError
        There is something of this name, and `overwrite` is False.
    FormatError
        There is something of this name that is not replaced.
    """
    check_free([path], overwrite, obstacle)
    folder, base = os.path.split(path)
    # of a long name, only the beginning: there is room for no more than 255 bytes
    hidden = os.path.join(folder, f".{base[:40]}.{secrets.token_hex(4)}")
    temporary, replaced = f"{hidden}.part", f"{hidden}.old"
    os.mkdir(temporary)
    try:
        yield temporary
        _force(temporary)
        check_free([path], overwrite, obstacle)
        if os.path.lexists(path):
            when_free(partial(os.rename, path, replaced))
        try:
            give_name(temporary, path)
        except BaseException:
            if os.path.lexists(replaced):
                when_free(partial(os.rename, replaced, path))
            raise
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def _force(path: str) -> None:
    """Make all files of a folder safe on disk, and then their names."""
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            with open(os.path.join(folder, name), "rb+") as file:
                os.fsync(file.fileno())
        sync_folder(folder)
