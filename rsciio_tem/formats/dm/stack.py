# SPDX-License-Identifier: GPL-3.0-or-later
"""Several files as one stack: numbered ones, or those that are named."""

from __future__ import annotations

import glob
import math
import os
from collections.abc import Sequence
from dataclasses import replace

from rsciio_tem.errors import FormatError, Unsupported
from rsciio_tem.formats.dm.image import _NOT_IMAGES, Image, Path, _images, _in_order
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.parsing import dm_tags
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage import backends, files
from rsciio_tem.storage.backends import DataFile


def _members(filename: Path | Sequence[Path], given: str | Sequence[Path] | None) -> list[str]:
    """List the files of a recording, in order."""
    if not isinstance(filename, (str, os.PathLike)):
        if given is not None:
            raise TypeError("pass either a list of files as filename, or files=")
        found = [os.fspath(name) for name in filename]
        if not found:
            raise ValueError("the list of files is empty")
        return [files.existing(name) for name in found]
    name = os.fspath(filename)
    if given is None:
        if not os.path.exists(name) and glob.has_magic(name):
            return _matching(name)
        return [files.existing(name)]
    if not isinstance(given, str):
        return [files.existing(member) for member in given] or [files.existing(name)]
    name = files.existing(name)
    if given == "numbered":
        return [member.path for member in files.numbered_set(name)]
    return _matching(os.path.join(glob.escape(os.path.dirname(name)), given))


def _matching(pattern: str) -> list[str]:
    found = [name for name in glob.glob(pattern) if os.path.isfile(name)]
    if not found:
        raise FormatError(pattern, "is no file, and as a pattern fits none.")
    return sorted(found, key=files.natural_key)


def _stack(recording: Recording, image: Image, members: list[str], same_offset: bool) -> Recording:
    """Describe the images of several files, each like `image`, as one recording."""
    frames = recording.frames
    if not isinstance(frames, FrameTable):
        raise Unsupported(
            image.path,
            f"{image.name} is not stored frame after frame; several such files cannot be joined.",
        )
    start, stride, count = (int(frames.runs[k][0]) for k in ("start", "stride", "count"))
    rows: list[tuple[int, int, int, int]] = [(0, start, stride, count)]
    described = [DataFile.of(name) for name in members]
    proof = _proof(image, described[0]) if same_offset else None
    for i, file in enumerate(described[1:], start=1):
        if proof is not None and file.size == described[0].size and _proof(image, file) == proof:
            rows.append((i, start, stride, count))
            continue
        other = _same_kind(image, file.path)
        rows.append((i, other.data.offset, stride, math.prod(other.shape[:-2])))
    table = replace(frames, files=tuple(described), runs=runs_of(rows))
    hints = recording.hints if len(members) == 1 else ()
    stacked = Axis("z") if recording.stack_axis is None else recording.stack_axis
    return replace(
        recording,
        frames=table,
        hints=hints,
        scan_axes=recording.scan_axes if hints else (Axis("y"), Axis("x")),
        stack_axis=stacked,
        files=tuple(members),
    )


def _proof(image: Image, file: DataFile) -> bytes | None:
    """Return the bytes around the pixels that say what they are, None if there are none.

    In front: name, type and length of the array. Behind: type and sizes of the image.
    """
    wide = files.read_start(file.path, 4)[3:] == b"\4"
    before = 40 if wide else 20
    # DataType, the group Dimensions with one tag per axis
    behind = 43 + 31 + 35 * len(image.sizes) if wide else 27 + 19 + 19 * len(image.sizes)
    end = image.data.offset + image.data.count * image.data.dtype.itemsize
    if file.size < end + behind:
        return None
    parts = ((image.data.offset - before, before), (end, behind), (0, 4))
    found = b"".join(bytes(backends.read(file, a, n, "buffered")) for a, n in parts)
    return found if b"%%%%" in found and b"Dimensions" in found else None


def _same_kind(image: Image, path: str) -> Image:
    """Return the image of another file that has the same frames."""
    tags = dm_tags.read_tags(path, rosettasciio=True, skip=_NOT_IMAGES)
    found = _images(path, tags)
    frame = (image.shape[-2:], image.stored)
    fitting = [i for i in found if len(i.sizes) > 1 and (i.shape[-2:], i.stored) == frame]
    fitting = [i for i in fitting if not i.thumbnail] or fitting
    if not fitting:
        seen = ", ".join(f"{' x '.join(map(str, i.sizes))} of type {i.type_code}" for i in found)
        raise FormatError(
            path,
            f"holds no image with frames of {image.shape[-2:]} pixels and type "
            f"{image.type_code}, as {os.path.basename(image.path)} has; it holds {seen or 'none'}.",
            "Leave it out of the files.",
        )
    chosen = _in_order(fitting)[0]
    chosen.checked()
    return chosen
