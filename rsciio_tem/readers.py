# SPDX-License-Identifier: GPL-3.0-or-later
"""Which reader opens a file: detect, choose, load; and the modules of formats by their names."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from rsciio_tem import registry
from rsciio_tem.errors import FormatError, NotThisFormat, OtherFormat, Unsupported
from rsciio_tem.registry import Candidate
from rsciio_tem.storage.files import (
    existing,
    path_of,
    plain_file,
    read_start,
    recording_of,
    unmarked,
)
from rsciio_tem.storage.user_paths import named_by_user

__all__ = ["detect", "file_reader", "hand_over", "is_zspy", "load", "module_for"]


def detect(
    path: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None
) -> list[Candidate]:
    """Say which formats a file may have.

    Parameters
    ----------
    path : str or path
        Its first 4 KiB and the names of the files beside it are examined; for a folder, the names
        of the files in it.
    storage_options : dict, optional
        For addresses, see ``docs/remote.md``.

    Returns
    -------
    list of Candidate
        Most credible first, empty if nothing fits. The content of a file never raises an
        exception.

    Raises
    ------
    FormatError
        The file does not exist, or is a folder that is not a recording.
    """
    with named_by_user(path, {"storage_options": storage_options}) as (named, _):
        return _verdicts(recording_of(named))


def _verdicts(name: str) -> list[Candidate]:
    if os.path.isdir(name) and (folder_formats := registry.candidates(name, b"")):
        return folder_formats
    return registry.candidates(existing(name), unmarked(read_start(name, 4096)))


def module_for(format: str) -> ModuleType:
    """Return the module of a format, or of ``rsciio.<name>``; a ValueError lists the names."""
    if format.startswith("rsciio."):
        return importlib.import_module(format)
    row = registry.row_of(format)
    if row is None:
        names = ", ".join(registry.every_format())
        raise ValueError(f"unknown format {format!r}; there are {names}")
    return importlib.import_module(row.module)


def chosen(
    path: str | os.PathLike[str], format: str = "auto", *, raw: bool = False
) -> tuple[str, dict[str, Any]]:
    """Choose a file's format, and keywords for its reader.

    The content decides; otherwise the caller, who says with `raw` that there is no header;
    otherwise the suffix.

    Raises
    ------
    NotThisFormat
        Nothing does.
    """
    if format != "auto":
        return format, {}
    if is_zspy(path_of(path)):
        return "rsciio.zspy", {}
    verdicts = detect(path)
    if verdicts and verdicts[0].confidence >= 0.5:
        return verdicts[0].format, dict(verdicts[0].options)
    if raw:  # the caller says what no header does
        return "raw", {}
    if (named := _alone_with_suffix(path_of(path))) is not None:
        return named, {}  # its reader says what is wrong
    others = [c for c in verdicts if c.format.startswith("rsciio.")]
    if len(others) == 1 or (others and others[0].confidence > others[1].confidence):
        return others[0].format, {}
    raise _unknown(os.fspath(path), verdicts)


def is_zspy(path: str) -> bool:
    """Whether a path is a folder that HyperSpy saves a signal in."""
    described = (os.path.join(path, name) for name in (".zgroup", "zarr.json"))
    return os.path.normpath(path).lower().endswith(".zspy") and any(map(os.path.isfile, described))


def _alone_with_suffix(path: str) -> str | None:
    """Return the one format of ours that has a suffix, if ``hs.load`` takes its reader, too."""
    suffix = os.path.splitext(path)[1].lstrip(".").lower()
    rows = [row for row in registry.FORMATS.values() if suffix in row.suffixes and not row.folder]
    alone = len(rows) == 1 and rows[0].takeover and suffix not in registry.CONTESTED
    return rows[0].name if alone and suffix not in registry.SHARED else None


def load(
    path: str | os.PathLike[str], format: str = "auto", *, lazy: bool = False, **options: Any
) -> list[dict[str, Any]]:
    """Read a recording, whatever its format.

    Parameters
    ----------
    path : str or path
        One file of the recording, or its folder.
    format : str
        Name of the format; "auto" goes by the content. Files that we do not know go to
        RosettaSciIO's reader for the suffix.
    lazy : bool
        Return dask arrays.
    **options
        Keywords of the reader; see ``docs/parameters.md``.

    Returns
    -------
    list of dict
        What RosettaSciIO's readers return.

    Raises
    ------
    NotThisFormat
        No reader is known for the file.
    FormatError
        See the reader.
    """
    with named_by_user(path, options) as (named, keywords):
        return _loaded(recording_of(named), format, lazy, keywords)


def _loaded(path: str, format: str, lazy: bool, options: dict[str, Any]) -> list[dict[str, Any]]:
    raw = options.get("dtype") is not None and options.get("sig_shape") is not None
    name, hints = chosen(path, format, raw=raw)
    if name.startswith("rsciio."):
        return hand_over(name, path, lazy, {**hints, **options})
    try:
        signals = module_for(name).file_reader(path, lazy=lazy, **{**hints, **options})
    except OtherFormat as other:
        if format != "auto":
            raise
        signals = module_for(other.format).file_reader(path, lazy=lazy, **options)
    return signals  # type: ignore[no-any-return]


def own_module(path: str | os.PathLike[str], format: str) -> ModuleType:
    """Return the module of a format that is described as a `Recording`, unlike RosettaSciIO's."""
    if format.startswith("rsciio."):
        raise NotThisFormat(
            path,
            "is in none of our formats; its suffix is that of RosettaSciIO's reader "
            f"{format.partition('.')[2]!r}.",
            "hs.load and rsciio_tem.load try that reader.",
        )
    return module_for(format)


def _recording_around(path: str) -> str:
    """Return the folder that is a recording and has a file in it, "" if there is none."""
    folder, above = path, os.path.dirname(path)
    while above and above != folder:
        folder, above = above, os.path.dirname(above)
        if registry.candidates(folder, b""):
            return folder
    return ""


def _unknown(path: str, verdicts: list[Candidate]) -> NotThisFormat:
    """Say what was looked at, and what to pass."""
    head = read_start(path, 16)
    seen = f"It begins with {head!r}." if head else "It is empty."
    looked = "".join(f" It may be {c.format}: {c.reason}." for c in verdicts)
    others = [c.format for c in verdicts if c.format.startswith("rsciio.")]
    if around := _recording_around(path):
        return NotThisFormat(path, f"is a part of the recording {around}.", "Open that folder.")
    if others:
        return NotThisFormat(
            path,
            f"is not in a known format; RosettaSciIO has several readers for its suffix. {seen}",
            "Name one of them: format=" + " or ".join(repr(name) for name in others) + ".",
        )
    if not head:
        return NotThisFormat(
            path,
            f"is not in a known format. {seen}",
            "Copy it again; if the original is empty too, nothing was recorded.",
        )
    return NotThisFormat(
        path,
        f"is not in a known format. {seen}{looked}",
        'If it holds raw pixels, pass for example format="raw", dtype="uint16", '
        "sig_shape=(256, 256).\nFor a list of the formats, run: rsciio-tem formats",
    )


def hand_over(
    reader: str,
    path: str,
    lazy: bool,
    options: dict[str, Any],
    *,
    what: str = "none of our formats",
    hint: str = "",
    error: type[FormatError] = NotThisFormat,
) -> list[dict[str, Any]]:
    """Let one of RosettaSciIO's readers read a file, and turn its errors into clear messages.

    Parameters
    ----------
    reader : str
        Its module, ``rsciio.<name>``.
    path : str
        The file.
    lazy : bool
        Return dask arrays.
    options : dict
        Keywords of the reader.
    what : str
        What the content is; by default only the suffix selects the reader.
    hint : str
        What else can be done with such a file.
    error : type of FormatError
        What is raised if the reader fails.
    """
    theirs = f"RosettaSciIO's reader {reader.partition('.')[2]!r}"
    plain_file(path, theirs)
    if what == "none of our formats":
        theirs += ", which is for its suffix,"
    try:
        signals: list[dict[str, Any]] = importlib.import_module(reader).file_reader(
            path, lazy=lazy, **options
        )
    except (FormatError, MemoryError):
        raise
    except ImportError as missing:
        package = missing.name or str(missing)
        raise Unsupported(
            path,
            f"is {what}, and {theirs} needs a package that is not installed: {package}.",
            f"pip install {package}" + (f", or: {hint}" if hint else ""),
        ) from missing
    except Exception as failure:
        if isinstance(failure, OSError) and failure.filename:
            raise  # the disk
        if isinstance(failure, TypeError) and "keyword" in str(failure) and options:
            raise TypeError(
                f"{path} is {what}, and {theirs} does not take all of these keywords: "
                f"{', '.join(options)} ({failure})"
            ) from failure
        eager = "Without lazy=True it may say more, or work." if lazy else ""
        hint = f"{eager} {hint}".strip()
        if isinstance(failure, NotImplementedError):
            fails = "fails lazily" if lazy else "fails"
            raise Unsupported(
                path, f"is {what}, and {theirs} {fails}: {failure}.", hint
            ) from failure
        reason = f"{type(failure).__name__}: {failure}".rstrip(".")
        raise error(path, f"is {what}, and {theirs} fails: {reason}.", hint) from failure
    if all(getattr(one.get("data"), "size", 1) == 0 for one in signals):
        raise error(path, f"is {what}, and {theirs} finds nothing in it.", hint)
    return signals


def file_reader(
    filename: str | os.PathLike[str], lazy: bool = False, **options: Any
) -> list[dict[str, Any]]:
    """Read a file whose suffix does not determine its format.

    Parameters
    ----------
    filename : str or path
        The file.
    lazy : bool
        Return dask arrays.
    **options
        Keywords of the reader that its content calls for.

    Returns
    -------
    list of dict
        What that reader returns.
    """
    return load(filename, lazy=lazy, **options)
