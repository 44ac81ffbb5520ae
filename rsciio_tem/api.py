# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user calls: load, detect, open, from_array."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any

from rsciio_tem import registry
from rsciio_tem.arrays import from_array
from rsciio_tem.errors import Elsewhere, NotThisFormat
from rsciio_tem.files import existing, read_start
from rsciio_tem.recording import Recording
from rsciio_tem.registry import Candidate

__all__ = ["detect", "from_array", "load", "module_for", "open"]


def detect(path: str | os.PathLike[str]) -> list[Candidate]:
    """Say which formats a file may have.

    Parameters
    ----------
    path : str or path
        Its first 4 KiB are looked at, and the names of the files beside it.

    Returns
    -------
    list of Candidate
        Most credible first, empty if nothing fits. Never raises because of a file's content.

    Raises
    ------
    FormatError
        There is no such file.
    """
    name = existing(path)
    return registry.candidates(name, read_start(name, 4096))


def module_for(format: str) -> ModuleType:
    """Return the module of a format, ours or ``rsciio.<name>``; a ValueError lists the names."""
    if format.startswith("rsciio."):
        return importlib.import_module(format)
    if format not in registry.FORMATS:
        raise ValueError(f"unknown format {format!r}; there are {', '.join(registry.FORMATS)}")
    return importlib.import_module(registry.FORMATS[format].module)


def chosen(
    path: str | os.PathLike[str], format: str = "auto", *, raw: bool = False
) -> tuple[str, dict[str, Any]]:
    """Choose a file's format, and keywords for its reader.

    The content decides, else the caller, who says by `raw` that no header does, else the suffix.

    Raises
    ------
    NotThisFormat
        Nothing does.
    """
    if format != "auto":
        return format, {}
    found = detect(path)
    if found and found[0].confidence >= 0.5:
        return found[0].format, dict(found[0].options)
    if raw:  # the caller says what no header does
        return "raw", {}
    others = [c for c in found if c.format.startswith("rsciio.")]
    if len(others) == 1 or (others and others[0].confidence > others[1].confidence):
        return others[0].format, {}
    raise _unknown(os.fspath(path), found)


def load(
    path: str | os.PathLike[str], format: str = "auto", *, lazy: bool = False, **options: Any
) -> list[dict[str, Any]]:
    """Read a recording, whatever its format.

    Parameters
    ----------
    path : str or path
        One file of the recording.
    format : str
        Name of the format; "auto" looks at the content. What we do not know is handed to the
        RosettaSciIO reader of the suffix.
    lazy : bool
        Return dask arrays.
    **options
        Keywords of the reader, see ``docs/parameters.md``.

    Returns
    -------
    list of dict
        As RosettaSciIO's readers return.

    Raises
    ------
    NotThisFormat
        No reader is known for the file.
    FormatError
        See the reader.
    """
    if format == "zarr" or (format == "auto" and os.path.isdir(path)):
        from rsciio_tem import zarrstore

        if format == "zarr" or zarrstore.is_store(os.fspath(path)):
            return zarrstore.load(os.fspath(path), lazy=lazy, **options)
    raw = options.get("dtype") is not None and options.get("sig_shape") is not None
    name, found = chosen(path, format, raw=raw)
    try:
        signals = module_for(name).file_reader(os.fspath(path), lazy=lazy, **{**found, **options})
    except Elsewhere as other:
        if format != "auto":
            raise
        signals = module_for(other.format).file_reader(os.fspath(path), lazy=lazy, **options)
    return signals  # type: ignore[no-any-return]


def open(path: str | os.PathLike[str], format: str = "auto", **own: Any) -> Recording:
    """Describe a recording without reading pixels.

    Parameters
    ----------
    path, format
        As in `load`.
    **own
        The format's own keywords.

    Returns
    -------
    Recording
        A value to look at: files, frames, scan candidates, problems, metadata.
    """
    name, found = chosen(path, format)
    try:
        recording = own_module(path, name).parse(path, **{**found, **own})
    except Elsewhere as other:
        if format != "auto":
            raise
        recording = own_module(path, other.format).parse(path, **own)
    return recording  # type: ignore[no-any-return]


def own_module(path: str | os.PathLike[str], format: str) -> ModuleType:
    """Return the module of one of our formats."""
    if format.startswith("rsciio."):
        raise NotThisFormat(
            path,
            f"is none of our formats; RosettaSciIO's reader {format.partition('.')[2]!r} is for "
            "this suffix.",
            "hs.load and rsciio_tem.load open it.",
        )
    return module_for(format)


def _unknown(path: str, found: list[Candidate]) -> NotThisFormat:
    """Say what was looked at, and what to pass."""
    head = read_start(path, 16)
    seen = f"It begins with {head!r}." if head else "It is empty."
    looked = "; ".join(f"{c.format}: {c.reason}" for c in found)
    others = [c.format for c in found if c.format.startswith("rsciio.")]
    if others:
        return NotThisFormat(
            path,
            f"is no recording we know, and RosettaSciIO has several readers for its suffix. {seen}",
            "Name one of them: format=" + " or ".join(repr(name) for name in others) + ".",
        )
    return NotThisFormat(
        path,
        f"is no recording we know. {seen} Looked at were its first 4 KiB and the names beside it, "
        f"for {', '.join(registry.FORMATS)}" + (f" ({looked})" if looked else "") + ".",
        'Name the format, for example format="raw", dtype="uint16", sig_shape=(256, 256).',
    )
