# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw binary images described in YAML (hexrd's ``raw-image``).

Source: hexrd's adapter of this name. ``specifications/rawimage.md`` describes the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np

from rsciio_tem.errors import FormatError, NotThisFormat, Problems, Truncated
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.parsing import images
from rsciio_tem.parsing.checks import Check
from rsciio_tem.parsing.file_lists import listed_files
from rsciio_tem.parsing.metadata import general
from rsciio_tem.parsing.processing import processed
from rsciio_tem.parsing.trees import yaml_tree
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording import rotation
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

__all__ = ["CHECKS", "file_reader", "parse", "sniff"]

#: Keys of the file; `gap` and several files are ours.
KEYS = ("filename", "shape", "skip", "scalar", "gap")
#: Types of a pixel: numpy's kind and, where it is fixed, the bytes.
TYPES = {"i": ("i", 0), "f": ("f", 4), "d": ("f", 8), "b": ("b", 1)}
_KEY = re.compile(rb"""(?:^|[{,])\s*["']?(filename|shape|scalar)["']?\s*:""", re.MULTILINE)


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise the description by three of its keys."""
    if b"\0" in head or len(set(_KEY.findall(head))) < 3:
        return None
    named = path.lower().endswith((".yml", ".yaml"))
    return (0.97 if named else 0.6), "has the keys filename, shape and scalar", {}


def parse(
    filename: str | os.PathLike[str],
    *,
    omega: Any = "auto",
    processing: Sequence[Any] | None = None,
) -> Recording:
    """Describe a raw image; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    side = files.plain_file(files.existing(filename), "what reads lists of images")
    tree = yaml_tree(side)
    if not {"filename", "shape", "scalar"} <= set(tree):
        raise NotThisFormat(
            side, f"does not have the keys filename, shape and scalar; it has {', '.join(tree)}."
        )
    problems = Problems()
    if unknown := sorted(set(tree) - {*KEYS, "meta", "metadata"}):
        problems.warn(f"{side}: unknown keys {unknown} are ignored.")
    pixels = Pixels(_shape(tree["shape"], side), _dtype(tree["scalar"], side))
    start, gap = _bytes(tree.get("skip"), "skip", side), _bytes(tree.get("gap"), "gap", side)
    listed = [tree["filename"]] if isinstance(tree["filename"], str) else tree["filename"]
    if not isinstance(listed, list):
        raise FormatError(side, f"filename is {listed!r}.")
    folders = [os.path.dirname(place) for place in files.places(side)]
    folders = list(dict.fromkeys((*folders, "")))
    names = listed_files(listed, "", folders, side, problems)
    parts = [_frames(name, pixels, start, gap, side, problems) for name in names]
    frames = images.joined(parts, names, side, problems)
    meta = {**_section(tree, "metadata", side), **_section(tree, "meta", side)}
    rows, doubts = rotation.angles_asked(omega, meta.get("omega"), len(frames), side)
    recording = Recording(
        format="rawimage",
        path=side,
        frames=frames,
        signal_axes=(Axis("height", "px"), Axis("width", "px")),
        omega=rows,
        metadata={"General": general(names[0]), "Signal": {"signal_type": ""}},
        original_metadata={"raw_image": tree},
        files=(side, *names),
        problems=(*problems, *doubts),
    )
    return processed(recording, processing)


def _section(tree: Mapping[str, Any], key: str, path: str) -> dict[str, Any]:
    section = tree.get(key) or {}
    if not isinstance(section, dict):
        raise FormatError(path, f"has a section {key!r} that holds {section!r} instead of keys.")
    return section


def _dtype(scalar: Any, path: str) -> np.dtype[Any]:
    """Return the type of a pixel."""
    if not isinstance(scalar, Mapping):
        raise FormatError(path, f"scalar is {scalar!r} instead of type, bytes, signed and endian.")
    name = str(scalar.get("type"))
    if name not in TYPES:
        raise FormatError(path, f"scalar has the type {name!r}; there are {', '.join(TYPES)}.")
    kind, size = TYPES[name]
    nbytes: Any = scalar.get("bytes")
    endian = scalar.get("endian", "little")
    if endian not in ("little", "big"):
        raise FormatError(path, f"scalar is {endian!r}-endian; there are little and big.")
    if kind == "i":
        signed = scalar.get("signed", True)
        if type(nbytes) is not int or nbytes not in (1, 2, 4, 8) or not isinstance(signed, bool):
            raise FormatError(
                path,
                f"scalar has bytes = {nbytes!r} and signed = {signed!r}.",
                "Write bytes: 1, 2, 4 or 8, and signed: true or false.",
            )
        kind, size = "i" if signed else "u", nbytes
    return np.dtype(f"{'<' if endian == 'little' else '>'}{kind}{size}")


def _shape(value: Any, path: str) -> tuple[int, int]:
    """Return rows and columns, from "rows columns" or a list."""
    parts = re.split(r"[\s,x]+", value.strip("[]() ")) if isinstance(value, str) else value
    try:
        rows, columns = (int(n) for n in parts)
        if rows > 0 and columns > 0:
            return rows, columns
    except (TypeError, ValueError, OverflowError):
        pass
    raise FormatError(path, f"shape is {value!r}.", 'Write rows and columns, shape: "2048 2048".')


def _bytes(value: Any, name: str, path: str) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise FormatError(path, f"{name} is {value!r}, not a number of bytes.")
    return value


def _frames(
    name: str, pixels: Pixels, start: int, gap: int, side: str, problems: Problems
) -> Frames:
    """Describe the images in a file."""
    file = DataFile.of(name)
    stride = pixels.nbytes + gap
    count, rest = divmod(file.size - start + gap, stride)
    if count < 1 or file.size < start:
        raise Truncated(
            name,
            f"has {file.size} bytes, one image takes {pixels.nbytes}"
            + (f" behind {start} that are skipped." if start else "."),
            f"Check shape, scalar and skip in {os.path.basename(side)}.",
        )
    if rest:
        problems.warn(
            f"{name}: {rest} bytes at the end are not a complete image of {pixels.nbytes} bytes, "
            "ignored.",
            "If the images look sheared, shape, scalar or skip is wrong.",
        )
    return FrameTable((file,), runs_of([(0, start, stride, count)]), pixels)


CHECKS: tuple[Check, ...] = ()


@documented
def file_reader(
    filename: str | os.PathLike[str],
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: int | tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool = False,
    *,
    omega: Any = "auto",
    processing: Sequence[Any] | None = None,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read raw images that a YAML file describes.

    Parameters
    ----------
    filename : str or path
        The YAML file, with the keys ``filename``, ``shape``, ``skip`` and ``scalar``.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
    omega : "auto", None, path or array of N x 2
        Angles of the rotation series.
    processing : list of (code, argument)
        See `rsciio_tem.parsing.processing`.
    **options
        `ReadOptions`.

    Returns
    -------
    list of one dict

    Raises
    ------
    NotThisFormat
        The file does not have the keys of a raw image.
    FormatError
        Their values make no sense, or the images are missing.
    Truncated
        A file holds no complete image.
    """
    del distributed  # nothing is left to do for it
    recording = parse(filename, omega=omega, processing=processing)
    frames = (navigation_shape, first_frame, last_frame)
    return read(recording, lazy, chunks, mmap_mode, *frames, options=options)
