# SPDX-License-Identifier: GPL-3.0-or-later
"""What servers and their libraries say when something fails, as sentences."""

from __future__ import annotations

from typing import Any

from rsciio_tem.errors import FormatError, shortened
from rsciio_tem.storage.remote.address import protocol_of, without_secrets

__all__ = [
    "SERVERS",
    "HalfAnswer",
    "Refused",
    "Unanswered",
    "is_passing",
    "missing_package",
    "said_of",
]

#: What makes the file systems of fsspec, and what of it has to be installed.
_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("http", "https"), "aiohttp"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("abfs", "abfss", "az", "adl"), "adlfs"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    "smb": "smbprotocol",
    "hf": "huggingface_hub",
    "webdav": "webdav4",
}
#: Protocols of servers, which only send files.
SERVERS = frozenset((*_PACKAGES, "memory", "ftp"))
#: Answers of servers that say "later".
_LATER = (408, 425, 429, 500, 502, 503, 504)


class Unanswered(FormatError):
    """A server said nothing of a file, not even that there is none."""


class HalfAnswer(Exception):
    """A server sent fewer bytes than it was asked for."""


class Refused(Exception):
    """A server answered with a status that is no success.

    Parameters
    ----------
    status : int
        Its number.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def missing_package(address: str, error: BaseException) -> FormatError:
    """Say what has to be installed for an address."""
    protocol = protocol_of(address)
    package = _PACKAGES.get(protocol, "")
    if package or isinstance(error, ImportError):
        package = package or str(getattr(error, "name", "") or "what fsspec names for it")
        return FormatError(
            address,
            f"needs a package that is not installed: addresses with {protocol}:// are opened by "
            f"{package}.",
            f"pip install {package}",
        )
    return FormatError(
        address,
        f"has the protocol {protocol}://, which fsspec does not know.",
        "Copy the recording to a disk first.",
    )


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, Refused):
        return error.status in _LATER
    if isinstance(error, (FileNotFoundError, PermissionError)):
        return False
    if isinstance(error, (HalfAnswer, TimeoutError, ConnectionError)):
        return True
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(
        names
        & {
            *("ClientConnectionError", "ClientPayloadError", "ServerDisconnectedError"),
            *("HTTPClientError", "ConnectTimeoutError", "ReadTimeoutError"),
        }
    )


def said_of(address: str, error: BaseException, secrets: Any = ()) -> FormatError:
    """Return the error for a request that failed for good.

    Parameters
    ----------
    address : str
        As it is shown.
    error : Exception
        What was raised.
    secrets : iterable of str
        Texts that may not be in a message.
    """
    if isinstance(error, FormatError):
        return error
    if isinstance(error, (ImportError, ValueError)) and _is_unavailable(error):
        return missing_package(address, error)
    code = _code(error)
    if isinstance(error, FileNotFoundError) or code in ("404", "NoSuchKey", "NoSuchBucket"):
        what = "there is no such bucket" if code == "NoSuchBucket" else "there is no such file"
        return FormatError(
            address, f"does not exist: {what}.", "Names are case-sensitive on most servers."
        )
    if isinstance(error, PermissionError) or code in ("401", "403", "AccessDenied"):
        return FormatError(
            address,
            "may not be read: the server refuses it with these credentials, or without any.",
            "Pass storage_options, or put the credentials where the library of the protocol looks "
            "for them.",
        )
    if isinstance(error, HalfAnswer):
        return Unanswered(
            address,
            f"could not be read: {error}, again and again.",
            "Try again later; if it stays so, the file on the server is damaged.",
        )
    if isinstance(error, Refused):
        kind = Unanswered if error.status in _LATER or error.status >= 500 else FormatError
        return kind(
            address, f"could not be read: the server answers with the status {error.status}."
        )
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"NoCredentialsError", "PartialCredentialsError"}:
        return FormatError(
            address,
            "may not be read: no credentials were found.",
            "Pass storage_options, anon=True in it for public data.",
        )
    if isinstance(error, TimeoutError) or any("Timeout" in name for name in names):
        return Unanswered(
            address, "could not be read: the server did not answer in time.", "Try again later."
        )
    if isinstance(error, ConnectionError) or any("Connect" in name for name in names):
        return Unanswered(
            address,
            "could not be read: there is no connection to the server.",
            "Are the name of the server and its port right, and is there a network?",
        )
    return Unanswered(
        address, f"could not be read: {type(error).__name__}: {_quoted(error, secrets)}."
    )


def _is_unavailable(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, ImportError) or "Protocol not known" in text


def _code(error: BaseException) -> str:
    """Return the status or code that a server gave, "" if there is none."""
    if isinstance(error, Refused):
        return str(error.status)
    for one in (error, error.__cause__):
        if (status := getattr(one, "status", None)) is not None:
            return str(status)
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
    return ""


def _quoted(error: BaseException, secrets: Any) -> str:
    text = without_secrets(" ".join(str(error).split()))
    for secret in secrets:
        text = text.replace(secret, "***")
    return shortened(text, 300).rstrip(".")
