# SPDX-License-Identifier: GPL-3.0-or-later
"""`rsciio_tem.open`: describe a recording without reading pixels."""

from __future__ import annotations

import difflib
import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

from rsciio_tem.errors import OtherFormat
from rsciio_tem.readers import chosen, own_module
from rsciio_tem.reading.annotated import annotated
from rsciio_tem.reading.arrange import Arranged, arrange
from rsciio_tem.reading.options import ReadOptions, pixel_type
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage.files import recording_of
from rsciio_tem.storage.user_paths import named_by_user

__all__ = ["Meaningless", "arranged", "open"]


def open(path: str | os.PathLike[str], format: str = "auto", **format_options: Any) -> Recording:
    """Describe a recording without reading pixels.

    Parameters
    ----------
    path, format
        As in `load`.
    **own
        The format's own keywords, and ``storage_options`` for addresses.

    Returns
    -------
    Recording
        A description to inspect: files, frames, scan candidates, problems, metadata.
    """
    with named_by_user(path, format_options) as (named, keywords):
        return _opened(recording_of(named), format, keywords)


def _opened(path: str, format: str, format_options: dict[str, Any]) -> Recording:
    name, hints = chosen(path, format)
    module = own_module(path, name)
    keywords = _parameters(module.parse)[1:]
    for asked in format_options:
        if asked not in keywords:
            close = difflib.get_close_matches(asked, keywords, n=1)
            hint = (
                f"did you mean {close[0]!r}?"
                if close
                else f"it has {', '.join(keywords) or 'none'}"
            )
            raise TypeError(f"unexpected keyword {asked!r} for the format {name}: {hint}")
    try:
        recording = module.parse(path, **{**hints, **format_options})
    except OtherFormat as other:
        if format != "auto":
            raise
        recording = own_module(path, other.format).parse(path, **format_options)
    return annotated(recording)


@functools.lru_cache(maxsize=256)
def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


class Meaningless(TypeError):
    """Keywords that the reader of a file does not have.

    Parameters
    ----------
    names : list of str
        The keywords.
    format : str
        Of the file.
    close : list of str
        Keywords that may be meant.
    """

    def __init__(self, names: list[str], format: str, close: list[str]) -> None:
        super().__init__(f"{', '.join(names)}: no keyword of the reader of {format} files")
        self.names, self.format, self.close = names, format, close


def arranged(
    path: str | os.PathLike[str], format: str, options: Mapping[str, Any]
) -> tuple[Recording, Arranged]:
    """Describe a recording, and arrange its frames, as `load` with these keywords does."""
    with named_by_user(path, options) as (named, left):
        return _arranged(recording_of(named), format, left)


def _arranged(path: str, format: str, left: dict[str, Any]) -> tuple[Recording, Arranged]:
    raw = left.get("dtype") is not None and left.get("sig_shape") is not None
    name, hints = chosen(path, format, raw=raw)
    module = own_module(path, name)
    try:
        recording = module.parse(path, **hints, **_taken(left, module))
    except OtherFormat as other:
        if format != "auto":
            raise
        name = other.format
        module = own_module(path, name)
        recording = module.parse(path, **_taken(left, module))
    shared = {n: left.pop(n) for n in ReadOptions.__annotations__ if n in left}
    bounds = ("navigation_shape", "first_frame", "last_frame")
    named = {n: left.pop(n) for n in bounds if n in left}
    if left:
        keywords = [*_parameters(module.parse)[1:], *bounds, *ReadOptions.__annotations__]
        close = [one for n in sorted(left) for one in difflib.get_close_matches(n, keywords, n=1)]
        raise Meaningless(sorted(left), name, close)
    if name != "raw" and shared.get("dtype"):
        shared["dtype"] = pixel_type(shared["dtype"])
    recording = annotated(recording)
    return recording, arrange(recording, **named, options=shared)


def _taken(options: dict[str, Any], module: Any) -> dict[str, Any]:
    """Take the keywords of a format's own `parse` out of `options`.

    The scan shape stays in there, because frames are arranged by it afterwards.
    """
    shape = ("navigation_shape", "nav_shape")
    return {
        name: options[name] if name in shape else options.pop(name)
        for name in _parameters(module.parse)
        if name in options
    }
