# SPDX-License-Identifier: GPL-3.0-or-later
"""Side files of ours: what somebody wrote down about a recording becomes part of it.

``specifications/side_file.md`` describes them. One that is damaged, was written for another
recording, or contradicts the one beside it is told, and nothing in it is used.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from rsciio_tem.errors import FormatError, Problem, collected, shortened
from rsciio_tem.frames.corrections import Corrections, Repair
from rsciio_tem.reading.calibration import calibrated, energy_and_length
from rsciio_tem.reading.options import scan_request
from rsciio_tem.reading.references import as_frame, as_mask
from rsciio_tem.recording.annotation import CALIBRATION, CORRECTIONS, SCAN, SUFFIX, Annotation
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import Scan, ScanHint
from rsciio_tem.storage.files import bytes_of, exists, joined, places
from rsciio_tem.storage.remote.address import is_address
from rsciio_tem.storage.trees import toml_tree

__all__ = [
    "SCHEMA",
    "annotated",
    "applied",
    "identity",
    "name_of_side_file",
    "read_annotation",
    "unannotated",
]

#: Version of the layout of side files.
SCHEMA = 1

#: Rules that a side file may name: not those that read all frames, or imitate other programs.
_RULES = ("header", "exposures", "timestamps", "square", "stack")

#: Numbers in a side file are not larger than this.
_LARGEST = 1 << 40

_TABLES: dict[str, tuple[str, ...]] = {
    "rsciio-tem": ("schema", "version", "by", "time", "notes"),
    "recording": ("name", "size", "frames"),
    "scan": SCAN,
    "calibration": CALIBRATION,
    "corrections": CORRECTIONS,
}

#: Whether side files are looked for, in this thread and those that work for it.
_looking: ContextVar[bool] = ContextVar("looking", default=True)


@contextmanager
def unannotated() -> Iterator[None]:
    """Describe recordings as if nothing was written down about them."""
    token = _looking.set(False)
    try:
        yield
    finally:
        _looking.reset(token)


# ---------------------------------------------------------------- which side file


def name_of_side_file(recording: Recording) -> str:
    """Return the path of the side file of a recording, whether it exists or not.

    Through whatever file a recording is opened, its first one is the same.
    """
    bases = dict.fromkeys((recording.files[0], recording.path))
    beside = [_with_suffix(place) for base in bases for place in places(base)]
    return next(filter(_is_there, beside), beside[0])


def _is_there(path: str) -> bool:
    return exists(path) if is_address(path) else os.path.lexists(path)


def _with_suffix(path: str) -> str:
    return path.rstrip("/" + os.sep) + SUFFIX  # a folder may be written with a slash


def identity(recording: Recording, side: str) -> dict[str, Any]:
    """Return what tells the recording that a side file lies beside from others."""
    path = side.removesuffix(SUFFIX)
    name = os.path.basename(path).encode("utf-8", "backslashreplace").decode()
    size = {} if os.path.isdir(path) else {"size": bytes_of(path)}
    return {"name": name, **size, "frames": recording.count}


def _is_of(recording: Recording, side: str, said: Mapping[str, Any]) -> str:
    """Say in what a recording differs from the one that a side file was written for."""
    there = identity(recording, side)
    name = said.get("name")
    if not isinstance(name, str) or name.casefold() != there["name"].casefold():
        return f"it was written for {name!r}"
    for key, what in (("size", "bytes"), ("frames", "frames")):
        if key in there and (said.get(key) is None or said[key] != there[key]):
            return f"it was written for a recording of {said.get(key)!r} {what}, not {there[key]}"
    return ""


# ---------------------------------------------------------------- reading


def annotated(recording: Recording) -> Recording:
    """Return a recording with what its side file says of it.

    Idempotent; costs a look at the names of files if there is none.
    """
    if recording.annotation is not None or not recording.files or not _looking.get():
        return recording
    side = name_of_side_file(recording)
    if not _is_there(side):
        return recording
    files = tuple(dict.fromkeys((*recording.files, side)))
    try:
        described = applied(recording, read_annotation(recording, side))
    except (FormatError, TypeError, ValueError, OverflowError, OSError) as error:
        problem = error.problem if isinstance(error, FormatError) else str(error)
        name = os.path.basename(side)
        warning = Problem(
            "warning",
            f"its side file {name} is not used: {shortened(problem, 300).rstrip('.')}.",
            "Correct it, write it again with rsciio-tem annotate --overwrite, or delete it.",
        )
        none = Annotation(side)
        problems = (*recording.problems, warning)
        return replace(recording, files=files, problems=problems, annotation=none)
    return replace(described, files=tuple(dict.fromkeys((*described.files, side))))


def read_annotation(recording: Recording, side: str) -> Annotation:
    """Read a side file; a ValueError or FormatError says why it is not used."""
    try:
        tree = toml_tree(side)
    except FormatError as error:
        raise ValueError(f"it {error.problem}") from error
    about = tree.get("rsciio-tem")
    if (
        not isinstance(about, dict)
        or isinstance(about.get("schema"), bool)  # which equals 1
        or about.get("schema") != SCHEMA
    ):
        raise ValueError(f"it has no table [rsciio-tem] with schema = {SCHEMA}")
    for table, entries in tree.items():
        if table not in _TABLES or not isinstance(entries, dict):
            raise ValueError(f"nothing is known of an entry {shortened(table, 40)!r}")
        if unknown := [name for name in entries if name not in _TABLES[table]]:
            raise ValueError(f"nothing is known of {shortened(unknown[0], 40)!r} in [{table}]")
    if trouble := _is_of(recording, side, tree.get("recording", {})):
        raise ValueError(trouble)
    texts = {name: about[name] for name in ("version", "by", "time", "notes") if name in about}
    if wrong := [name for name, text in texts.items() if not isinstance(text, str)]:
        raise ValueError(f"{wrong[0]} is no text")
    values = {
        n: v
        for table in ("scan", "calibration", "corrections")
        for n, v in tree.get(table, {}).items()
    }
    notes = texts.pop("notes", "")
    return Annotation(side, values, notes, texts)


# ---------------------------------------------------------------- what it says


def applied(recording: Recording, annotation: Annotation) -> Recording:
    """Return a recording that is arranged, calibrated and corrected as an annotation says.

    Raises
    ------
    FormatError, TypeError, ValueError, OverflowError
        It makes no sense, or not for this recording.
    """
    values, folder = annotation.values, os.path.dirname(annotation.path)
    scan, messages = _arranged(recording, values, os.path.basename(annotation.path))
    annotation = replace(annotation, scan=scan, messages=messages)
    recording = replace(recording, annotation=annotation)
    recording = _calibrated(recording, values)
    return _corrected(recording, values, folder)


def _arranged(
    recording: Recording, values: Mapping[str, Any], name: str
) -> tuple[Scan | None, tuple[tuple[str, str], ...]]:
    """Arrange frames as a side file says, and look whether they fit that."""
    keywords = {n: values[n] for n in SCAN if n in values}
    if not keywords:
        return None, ()
    _check_scan(keywords)
    if abs(offset := keywords.get("sync_offset", 0)) > recording.count:
        raise ValueError(f"sync_offset={offset} for {recording.count} frames")
    shape, first, last = (
        keywords.pop(n, None) for n in ("navigation_shape", "first_frame", "last_frame")
    )
    request = scan_request(shape, first, last, keywords)
    positions = math.prod(n for n in request.shape or () if n > 0)
    if positions > 16 * (recording.count + 1000):
        raise ValueError(f"a scan of {positions} positions for {recording.count} frames")
    with collected() as messages:
        scan = recording.scan(request)
    if request.shape is not None:
        result = scan.shape[-len(request.shape) :]
        fits = len(result) == len(request.shape) and all(
            a in (-1, b) for a, b in zip(request.shape, result, strict=True)
        )
        if not fits:
            asked = " x ".join(map(str, request.shape[::-1]))
            raise ValueError(f"a scan of {asked} (x, y) does not fit {recording.count} frames")
        reason = f"{name} says"
        scan = replace(scan, evidence=ScanHint("annotation", request.shape, 1.0, reason))
    return scan, tuple(messages)


def _check_scan(keywords: Mapping[str, Any]) -> None:
    """Raise a ValueError for what no reader takes, or what no side file should ask for."""
    shape = keywords.get("navigation_shape", [1])
    numbers = shape if isinstance(shape, (list, tuple)) else [shape]
    counts = ("first_frame", "last_frame", "sync_offset", "line_skip", "hysteresis")
    numbers = [*numbers, *(keywords[n] for n in counts if n in keywords)]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or abs(number) > _LARGEST:
            raise ValueError(f"{shortened(repr(number), 40)} is no number of frames")
    if not isinstance(keywords.get("snake", False), bool):
        raise ValueError("snake is neither true nor false")
    if keywords.get("scan", "stack") not in _RULES:
        raise ValueError(f"scan is none of {', '.join(_RULES)}")
    if not isinstance(keywords.get("flyback", ""), str):
        raise ValueError("flyback is no text")


def _calibrated(recording: Recording, values: Mapping[str, Any]) -> Recording:
    """Calibrate axes; they are about frames as they are before they are turned or binned."""
    chosen = {n: values[n] for n in CALIBRATION if n in values}
    if not chosen:
        return recording
    nav = [*recording.scan_axes[-2:]]
    nav = [Axis()] * (2 - len(nav)) + nav
    nav, sig = calibrated(nav, recording.signal_axes, chosen, stack=False)
    metadata = recording.metadata
    if known_optics := energy_and_length(chosen):
        instrument = metadata.get("Acquisition_instrument", {})
        tem = {**instrument.get("TEM", {}), **known_optics}
        metadata = {**metadata, "Acquisition_instrument": {**instrument, "TEM": tem}}
    scan_axes = recording.scan_axes
    if "scan_step" in chosen:
        scan_axes = (*recording.scan_axes[:-2], *nav)
    return replace(recording, scan_axes=scan_axes, signal_axes=tuple(sig), metadata=metadata)


def _corrected(recording: Recording, values: Mapping[str, Any], folder: str) -> Recording:
    """Give a recording the dark frame, gain map and mask whose files a side file names."""
    if not isinstance(values.get("corrections", True), bool):
        raise ValueError("corrections is neither true nor false")
    if values.get("repair", "mean8") not in get_args(Repair):
        raise ValueError(f"repair is none of {', '.join(get_args(Repair))}")
    named = {n: values[n] for n in ("dark", "gain", "excluded_pixels") if n in values}
    if not named and "repair" not in values:
        return recording
    paths = {}
    for what, name in named.items():
        # no other folder: who writes a side file decides what is read
        if not isinstance(name, str) or name in (".", "..") or {"/", "\\", "\0", ":"} & {*name}:
            raise ValueError(f"{what} is not the name of a file in the same folder")
        paths[what] = joined(folder, name)
    shape, path = recording.frames.frame_shape, recording.path
    with unannotated(), collected():
        images = {w: as_frame(p, w, p) for w, p in paths.items() if w != "excluded_pixels"}
        excluded = as_mask(paths.get("excluded_pixels"), shape, path)
    stored = recording.corrections or Corrections()
    corrections = Corrections(
        dark=_first(images.get("dark"), stored.dark),
        gain=_first(images.get("gain"), stored.gain),
        excluded=_first(excluded, stored.excluded),
        repair=values.get("repair", stored.repair),
        allow_empty=stored.allow_empty,
    ).checked(shape, path)
    files = (*recording.files, *paths.values())
    return replace(recording, corrections=corrections, files=files)


def _first(image: Any, other: Any) -> Any:
    return other if image is None else np.asarray(image)
