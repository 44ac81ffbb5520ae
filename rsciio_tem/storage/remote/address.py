# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses such as ``s3://bucket/scan.mib``, and what must not be shown of them.

What the package calls the path of a remote file is its address without user, password and query,
which may hold a signature. `Secrets` are these parts; they are put back for requests only.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from rsciio_tem.errors import FormatError

__all__ = ["Secrets", "cleaned", "folder_of", "is_address", "protocol_of", "without_secrets"]

#: Also with caches of fsspec ahead, ``simplecache::s3://…``. The folder of ``memory://a.mib`` is
#: ``memory:`` for `os.path`.
_ADDRESS = re.compile(
    r"(?:[a-z][a-z0-9+.-]+::)*[a-z][a-z0-9+.-]+://|(?:[a-z][a-z0-9+.-]+::)*memory:(?:/|$)",
    re.IGNORECASE,
)
_PARTS = re.compile(
    r"(?P<chain>(?:[a-z][a-z0-9+.-]+::)*)(?P<protocol>[a-z][a-z0-9+.-]+):(?://)?"
    r"(?:(?P<user>[^/]*)@)?(?P<rest>.*)",  # a password may have an @, too
    re.IGNORECASE | re.DOTALL,
)
#: Credentials in front of a bucket, as Hadoop takes them; they may have slashes.
_KEYS = re.compile(r"(?!arn:)[^/@:]+:[^@]+@(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
#: Protocols with a query that belongs to the request, not to the name.
_WEB = ("http", "https")
#: Protocols in which what stands before an @ is no user.
_NO_USER = ("abfs", "abfss", "github", "git", "memory")


class Secrets(NamedTuple):
    """Parts of an address that are not shown: ``user:password`` and what follows the ``?``."""

    user: str = ""
    query: str = ""

    def __repr__(self) -> str:
        return "Secrets(...)" if self.user or self.query else "Secrets()"

    def texts(self) -> list[str]:
        """List what may not be in a message: the parts, and the password alone."""
        from urllib.parse import unquote

        password = self.user.partition(":")[2]
        texts = (self.user, password, unquote(password), self.query)
        return sorted({text for text in texts if text}, key=len, reverse=True)

    def put_into(self, address: str) -> str:
        """Return the address that is requested."""
        if self.user:
            address = re.sub("://", lambda match: f"://{self.user}@", address, count=1)
        return f"{address}?{self.query}" if self.query else address


def is_address(path: str | os.PathLike[str]) -> bool:
    """Whether a path is the address of something remote."""
    return isinstance(path, str) and ":" in path and _ADDRESS.match(path) is not None


def protocol_of(address: str) -> str:
    """Return the protocol that a file is fetched with, in lower case: ``s3``."""
    match = _PARTS.match(address)
    assert match is not None
    return match["protocol"].lower()


def folder_of(address: str) -> str:
    """Return the address of the folder that a file is in; of a server alone, itself."""
    folder = address.replace("\\", "/").rpartition("/")[0]
    alone = folder.endswith(":/") and protocol_of(address) != "memory"
    return address if alone else folder


def cleaned(address: str) -> tuple[str, Secrets]:
    """Return an address as it is shown, and its secrets; a ``file://`` becomes a path.

    Raises
    ------
    FormatError
        It is one of a file inside another file, or holds credentials that nobody looks for there.
    """
    match = _PARTS.match(address)
    assert match is not None
    rest, protocol = match["rest"], match["protocol"].lower()
    if "::" in rest:
        raise FormatError(
            f"{protocol}://{rest.rpartition('::')[0]}",
            "is the address of a file inside another file.",
            "Pass that of the outer file; archives are read where a format stands for them.",
        )
    if protocol in ("file", "local") and not match["chain"]:
        from urllib.request import url2pathname

        named = f"{match['user']}@{rest}" if match["user"] is not None else rest
        return (url2pathname(named) if protocol == "file" else named), Secrets()
    slashes = address[match.end("protocol") :]
    slashes = "://" if slashes.startswith("://") else ":"
    behind = address[match.end("protocol") :].lstrip(":/")
    if protocol in ("s3", "s3a") and (keys := _KEYS.fullmatch(behind)):
        raise FormatError(
            f"{match['chain']}{protocol}{slashes}{keys['rest']}",
            "was passed with credentials in front of the bucket, where S3 has none.",
            "Pass storage_options={'key': …, 'secret': …}.",
        )
    user = match["user"] or ""
    if match["user"] is not None and protocol in _NO_USER:
        rest, user = f"{user}@{rest}", ""
    query = ""
    if protocol in _WEB:
        rest, _, query = rest.partition("#")[0].partition("?")
    return f"{match['chain']}{protocol}{slashes}{rest}", Secrets(user, query)


def without_secrets(text: str) -> str:
    """Return a text with the addresses in it as they are shown."""
    return re.sub(
        r"([a-z][a-z0-9+.-]+://)(?:[^\s/'\"]*@)?([^\s?'\"]*)(?:\?[^\s'\"]*)?",
        r"\1\2",
        text,
        flags=re.IGNORECASE,
    )
