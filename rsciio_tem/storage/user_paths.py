# SPDX-License-Identifier: GPL-3.0-or-later
"""What users name, and files that stand for an address.

The latter are for programs that open names of files only. ``scan.rsciio-tem-link.toml`` holds
``url = "s3://bucket/scan.mib"`` and perhaps a table ``[storage_options]``, but nothing secret: such
files are passed on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rsciio_tem.errors import FormatError
from rsciio_tem.storage.files import LINK
from rsciio_tem.storage.remote import session as remote
from rsciio_tem.storage.remote.address import cleaned, is_address, protocol_of
from rsciio_tem.storage.remote.errors import SERVERS
from rsciio_tem.storage.trees import toml_tree

__all__ = ["named_by_user", "read_link"]

#: Names of options that hold credentials.
_SECRET = re.compile(r"pass|secret|token|credential|key$|connection_string|auth|cookie", re.I)


@contextmanager
def named_by_user(
    path: Any, options: Mapping[str, Any], *, guarded: bool = True
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Give what a user named, and the keywords, ready for what opens files inside of the block.

    Links are followed, ``storage_options`` taken out of the keywords, and addresses come without
    what is secret.

    Parameters
    ----------
    path : path, or list of them
        As a function was called with it.
    options : dict
        Its keywords; files may be among them.
    guarded : bool
        Whether files of this machine are refused that only a remote file names.
    """
    keywords = dict(options)
    storage = keywords.pop("storage_options", None)
    if isinstance(path, (list, tuple)) and len(path) == 1 and isinstance(path[0], (str, bytes)):
        path = path[0]
    if isinstance(path, (str, bytes, os.PathLike)):
        named = os.fsdecode(path)
        if named.endswith(LINK) and not is_address(named):
            path, linked = read_link(named)
            storage = {**linked, **(storage or {})}
    with remote.asked([path, keywords], storage, guarded=guarded) as (path, keywords):
        yield path, keywords


def read_link(path: str) -> tuple[str, dict[str, Any]]:
    """Return the address that a link stands for, and the options to open it with.

    Raises
    ------
    FormatError
        It names no address of a server, or holds what is secret. Other file systems of fsspec open
        files of this machine, write to it, or connect to programs that run what they are sent.
    """
    tree = toml_tree(path)
    address, options = tree.pop("url", None), tree.pop("storage_options", {})
    if not isinstance(address, str) or not is_address(address):
        raise FormatError(path, "names no address.", 'Write: url = "s3://bucket/scan.mib"')
    if tree or not isinstance(options, dict):
        raise FormatError(
            path, f"has unknown entries: {', '.join(tree) or 'storage_options is no table'}."
        )
    protocol = protocol_of(address)
    if protocol in ("file", "local"):
        raise FormatError(path, "leads to a file of this machine, not to a server.")
    chain = address[: address.rfind("::") + 2] if "::" in address.partition("://")[0] else ""
    if protocol not in SERVERS or chain.lower() not in ("", "simplecache::"):
        raise FormatError(
            path,
            f"has an address with {chain}{protocol}://, which links may not have.",
            "Pass the address itself.",
        )
    if chain and options.keys() - {protocol}:
        raise FormatError(
            path,
            "has options for the cache, which would be written to where they say.",
            f"Put those of the server into [storage_options.{protocol}].",
        )
    names = [name for name in _names(options) if _SECRET.search(name)]
    if names or cleaned(address)[1].user:
        raise FormatError(
            os.fspath(path),
            f"holds what is secret: {', '.join(names) or 'a user with a password'}.",
            "Put credentials where the library of the protocol looks for them, or pass "
            "storage_options.",
        )
    return address, options


def _names(options: Any) -> list[str]:
    if isinstance(options, dict):
        return [*map(str, options), *_names(list(options.values()))]
    return [name for value in options for name in _names(value)] if type(options) is list else []
