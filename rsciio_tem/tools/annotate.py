# SPDX-License-Identifier: GPL-3.0-or-later
"""`rsciio_tem.annotate`: write down what no file says, for every reader to use."""

from __future__ import annotations

import difflib
import inspect
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from rsciio_tem._version import __version__
from rsciio_tem.errors import FormatError, warn
from rsciio_tem.readers import chosen, own_module
from rsciio_tem.reading.annotated import (
    SCHEMA,
    applied,
    identity,
    name_of_side_file,
    read_annotation,
    unannotated,
)
from rsciio_tem.recording.annotation import CALIBRATION, CORRECTIONS, SCAN, Annotation
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage.files import plain_file, recording_of, replacing, same_file
from rsciio_tem.tools.open import open as open_recording

__all__ = ["KEYWORDS", "annotate", "annotation_as_toml", "write_annotation"]

#: What a side file says.
KEYWORDS = (*SCAN, *CALIBRATION, *CORRECTIONS)
_FILES = ("dark", "gain", "excluded_pixels")


def annotate(
    path: str | os.PathLike[str],
    format: str = "auto",
    *,
    notes: str | None = None,
    overwrite: bool = False,
    **values: Any,
) -> str:
    """Write down how a recording is arranged, calibrated and corrected.

    This writes the side file ``NAME.rsciio-tem.toml`` beside it. All readers, `load`, `open`,
    `reduce`, `convert`, `check` and ``hs.load`` read it. Keywords that you pass to them win.

    Parameters
    ----------
    path : str or path
        One file of the recording.
    format : str
        Name of the format; "auto" goes by the content.
    notes : str, optional
        A text for people.
    overwrite : bool
        Replace an existing side file. Otherwise new entries are added to it, and a file that is
        not ours, or that belongs to another recording, is an error.
    **values
        Keywords of readers: ``navigation_shape`` (or ``nav_shape``), ``scan``, ``first_frame``,
        ``last_frame``, ``sync_offset``, ``flyback``, ``line_skip``, ``snake``,
        ``winding_scan_axis``, ``hysteresis``; ``scan_step``, ``detector_step``,
        ``camera_length``, ``pixel_size``, ``beam_energy``, ``centre``; ``corrections``,
        ``repair``, and ``dark``, ``gain`` and ``excluded_pixels``, which are files in the same
        folder. None removes an entry. Others are the format's own, for opening the recording; they
        are not in the side file, as a warning says.

    Returns
    -------
    str
        Path of the side file.

    Raises
    ------
    FormatError
        The recording cannot be read or does not fit the annotation, or the file is not ours.
    TypeError, ValueError
        A keyword is unknown or has an impossible value.
    OSError
        The folder cannot be written to.
    """
    path = plain_file(recording_of(path), "rsciio_tem.annotate, which writes beside them,")
    raw = values.get("dtype") is not None and values.get("sig_shape") is not None
    name = chosen(path, format, raw=raw)[0]
    module = own_module(path, name)
    parsed = {*list(inspect.signature(module.parse).parameters)[1:]}
    parameters = parsed - {*KEYWORDS}
    if "nav_shape" in values:
        if "navigation_shape" in values:
            raise TypeError("pass either navigation_shape (x, y) or nav_shape (y, x)")
        shape = values.pop("nav_shape")
        values["navigation_shape"] = shape if shape is None else np.atleast_1d(shape)[::-1]
    for other in {*values} - parameters - {*KEYWORDS}:
        close = difflib.get_close_matches(other, KEYWORDS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(KEYWORDS)}"
        raise TypeError(f"{other!r} is nothing that a side file says: {hint}")
    opening = {name: values.pop(name) for name in parameters & {*values}}
    format = "raw" if name == "raw" else format
    with unannotated():
        recording = open_recording(path, format, **opening)
        shape = values.get("navigation_shape")
        if "navigation_shape" in parsed and shape is not None:  # frames may be cut by it
            cut = open_recording(path, format, **opening, navigation_shape=shape)
            if cut.count != recording.count:
                recording, opening = cut, {**opening, "navigation_shape": shape}
    side = write_annotation(
        recording, values, notes=notes, overwrite=overwrite, by="rsciio_tem.annotate"
    )
    if opening:
        passed = ", ".join(f"{name}=" for name in sorted(opening))
        warn(
            side,
            f"pass {passed} each time you open the recording, too: a side file does not say what "
            "its frames are.",
        )
    return side


def write_annotation(
    recording: Recording,
    values: Mapping[str, Any],
    *,
    notes: str | None = None,
    overwrite: bool = False,
    by: str = "",
) -> str:
    """Write the side file of a recording that was described without one; see `annotate`."""
    if not recording.files:
        raise FormatError(recording.path, "is no file, so that nothing can lie beside it.")
    side = name_of_side_file(recording)
    if os.path.isdir(side):
        raise FormatError(side, "is a folder, where a side file should be.", "Rename it.")
    earlier = Annotation(side)
    if os.path.lexists(side) and not overwrite:
        try:
            earlier = read_annotation(recording, side)
        except (FormatError, ValueError) as error:
            problem = error.problem if isinstance(error, FormatError) else str(error)
            raise FormatError(
                side, f"exists already: {problem.rstrip('.')}.", "overwrite=True replaces it."
            ) from None
    new = {name: _plain(name, value, side) for name, value in values.items()}
    kept = {n: v for n, v in earlier.values.items() if n not in SCAN}
    kept |= earlier.arrangement({n: v for n, v in new.items() if v is not None})
    merged = {n: v for n, v in {**kept, **new}.items() if v is not None}
    annotation = Annotation(side, merged, earlier.notes if notes is None else notes)
    if not merged and not annotation.notes and not earlier.values:
        raise ValueError("say something of the recording, such as navigation_shape=(x, y)")
    try:
        applied(recording, annotation)
    except (ValueError, TypeError, OverflowError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(recording.path, f"{error}.", "Nothing was written.") from error
    written = {
        "version": __version__,
        "by": by,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    text = annotation_as_toml(recording, replace(annotation, written=written))
    with (
        replacing(side, overwrite=True) as temporary,
        open(temporary, "w", encoding="utf-8", newline="\n") as file,
    ):
        file.write(text)
    return side


def _plain(name: str, value: Any, side: str) -> Any:
    """Return a value as a side file has it: numbers, texts and lists of them."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if name in _FILES and isinstance(value, (str, os.PathLike)):
        folder = os.path.dirname(side)
        name_there = os.path.join(folder, os.path.basename(os.fsdecode(value)))
        if not same_file(os.fsdecode(value), name_there):
            raise FormatError(
                os.fsdecode(value), "does not lie in the folder of the recording.", "Copy it there."
            )
        return os.path.basename(name_there)
    if isinstance(value, (list, tuple)):
        value = [one.item() if isinstance(one, np.generic) else one for one in value]
        plain = all(isinstance(one, (int, float, str)) for one in value)
    else:
        plain = value is None or isinstance(value, (bool, int, float, str))
    if not plain:
        raise TypeError(f"{name}={value!r} is no number, text or list of them")
    return value


# ---------------------------------------------------------------- TOML


def annotation_as_toml(recording: Recording, annotation: Annotation) -> str:
    """Write down an annotation of a recording."""
    about = {"schema": SCHEMA, **annotation.written}
    if annotation.notes:
        about["notes"] = annotation.notes
    tables: dict[str, Mapping[str, Any]] = {
        "rsciio-tem": about,
        "recording": identity(recording, annotation.path),
    }
    for table, names in (
        ("scan", SCAN),
        ("calibration", CALIBRATION),
        ("corrections", CORRECTIONS),
    ):
        tables[table] = {n: annotation.values[n] for n in names if n in annotation.values}
    lines = ["# What rsciio-tem and hs.load read with the recording beside this file."]
    for table, entries in tables.items():
        if entries:
            lines += ["", f"[{table}]", *(f"{n} = {_toml(v)}" for n, v in entries.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        # escapes of JSON are TOML's, but for surrogates, which no text in UTF-8 holds
        text = value.encode("utf-8", "backslashreplace").decode()
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
