# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user calls: load, detect, open, from_array."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any

from rsciio_tem import registry
from rsciio_tem.arrays import from_array
from rsciio_tem.errors import NotThisFormat
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
    """Return the module of a format; a ValueError lists the names."""
    if format not in registry.FORMATS:
        raise ValueError(f"unknown format {format!r}; there are {', '.join(registry.FORMATS)}")
    return importlib.import_module(registry.FORMATS[format].module)


def _chosen(path: str | os.PathLike[str], format: str) -> tuple[ModuleType | None, dict[str, Any]]:
    if format != "auto":
        return module_for(format), {}
    found = detect(path)
    if found and found[0].confidence >= 0.5:
        return module_for(found[0].format), dict(found[0].options)
    return None, {}


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
    module, found = _chosen(path, format)
    if module is None and options.get("dtype") is not None and options.get("sig_shape") is not None:
        module = module_for("raw")  # the caller says what no header does
    if module is None:
        module = _upstream(existing(path))
    return module.file_reader(os.fspath(path), lazy=lazy, **{**found, **options})  # type: ignore[no-any-return]


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
    module, found = _chosen(path, format)
    if module is None:
        raise _unknown(existing(path))
    return module.parse(path, **{**found, **own})  # type: ignore[no-any-return]


def _unknown(path: str) -> NotThisFormat:
    head = read_start(path, 16)
    return NotThisFormat(
        path,
        f"is no recording we know (it begins with {head!r}; looked for "
        f"{', '.join(registry.FORMATS)}).",
        'Name the format, for example format="raw", dtype="uint16", sig_shape=(256, 256).',
    )


def _upstream(path: str) -> ModuleType:
    """Find the RosettaSciIO reader for a file that is not ours."""
    from rsciio import IO_PLUGINS

    suffix = os.path.splitext(path)[1].lstrip(".").lower()
    if suffix in registry.CONTESTED:
        return importlib.import_module(registry.CONTESTED[suffix][1])
    others = [p for p in IO_PLUGINS if not p["api"].startswith("rsciio_tem.")]
    named = [p for p in others if suffix in [n.lower() for n in (p["name"], *p["name_aliases"])]]
    listed = [p for p in others if suffix and suffix in p["file_extensions"]]
    if len(named or listed) == 1:
        return importlib.import_module((named or listed)[0]["api"])
    if listed:
        raise NotThisFormat(
            path,
            f"is none of our formats, and RosettaSciIO has several for .{suffix}: "
            f"{', '.join(p['name'] for p in listed)}.",
            "Use hs.load(..., file_format=one of them).",
        )
    raise _unknown(path)
