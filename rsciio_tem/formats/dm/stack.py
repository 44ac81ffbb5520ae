# SPDX-License-Identifier: GPL-3.0-or-later
"""Several files as one stack: numbered ones, or those that are named."""

from __future__ import annotations

import fnmatch
import glob
import math
import os
from collections.abc import Sequence
from dataclasses import replace

from rsciio_tem.errors import FormatError, Problems, Unsupported
from rsciio_tem.formats.dm.image import Image, images_in, recording_first
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.parsing import dm_tags
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.storage import backends, files
from rsciio_tem.storage.backends import DataFile
from rsciio_tem.storage.remote.address import is_address

FileName = str | os.PathLike[str]

#: Groups of a file that say nothing about its images.
_NOT_IMAGES = ("DocumentObjectList", "ImageTags", "Image Behavior", "Page Behavior", "PageSetup")


def members_of(
    filename: FileName | Sequence[FileName], further: str | Sequence[FileName] | None
) -> tuple[list[str], bool]:
    """List the files of a recording in order, and say whether they are a stack."""
    if isinstance(filename, (str, os.PathLike)):
        members = _beside(os.fspath(filename), further)
        return members, further is not None or len(members) > 1
    if further is not None:
        raise TypeError("pass either a list of files as filename, or files=")
    if not len(filename):
        raise ValueError("the list of files is empty")
    return [files.existing(name) for name in filename], True


def _beside(name: str, further: str | Sequence[FileName] | None) -> list[str]:
    if further is None and glob.has_magic(name) and not files.exists(name):
        return _matching(name)
    if further is not None and not isinstance(further, str):
        return [files.existing(member) for member in further] or [files.existing(name)]
    name = files.existing(name)
    if further is None:
        return [name]
    if further == "numbered":
        return [member.path for member in files.numbered_set(name)]
    if is_address(name):
        folder = os.path.dirname(name)
        if names := fnmatch.filter(files.listing(folder), further):
            return [files.joined(folder, one) for one in sorted(names, key=files.natural_key)]
        raise FormatError(name, f"has no file beside it that the pattern {further!r} matches.")
    folders = [glob.escape(os.path.dirname(place)) for place in files.places(name)]
    return _matching(*(files.joined(folder, further) for folder in folders))


def _matching(pattern: str, *elsewhere: str) -> list[str]:
    """List the files that a pattern fits, or else the next one."""
    for one in (pattern, *elsewhere):
        if names := [name for name in glob.glob(one) if os.path.isfile(name)]:
            return sorted(names, key=files.natural_key)
    raise FormatError(pattern, "is not a file, and as a pattern matches none.")


def stacked(recording: Recording, image: Image, members: list[str], same_offset: bool) -> Recording:
    """Describe the images of several files, each like `image`, as one recording."""
    frames = recording.frames
    if not isinstance(frames, FrameTable):
        raise Unsupported(
            image.path,
            f"{image.name} is not stored frame after frame; several such files cannot be joined.",
        )
    start, stride, count = (int(frames.runs[k][0]) for k in ("start", "stride", "count"))
    rows: list[tuple[int, int, int, int]] = [(0, start, stride, count)]
    first, *others = described = tuple(DataFile.listed(name) for name in members)
    proof = _proof(image, first) if same_offset else None
    for i, file in enumerate(others, start=1):
        if proof is not None and file.size == first.size and _proof(image, file) == proof:
            rows.append((i, start, stride, count))
            continue
        other = _same_kind(image, file.path)
        rows.append((i, other.data.offset, stride, math.prod(other.shape[:-2])))
    if others or not recording.hints:
        recording = replace(recording, hints=(), scan_axes=(Axis("y"), Axis("x")))
    return replace(
        recording,
        frames=replace(frames, files=described, runs=runs_of(rows)),
        stack_axis=Axis("z") if recording.stack_axis is None else recording.stack_axis,
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
    content = b"".join(bytes(backends.read(file, a, n, "buffered")) for a, n in parts)
    return content if b"%%%%" in content and b"Dimensions" in content else None


def _same_kind(image: Image, path: str) -> Image:
    """Return the image of another file that has the same frames."""
    images = images_in(path, dm_tags.read_tags(path, rosettasciio=True, skip=_NOT_IMAGES))
    frame = (image.shape[-2:], image.stored)
    fitting = [i for i in images if len(i.sizes) > 1 and (i.shape[-2:], i.stored) == frame]
    fitting = [i for i in fitting if not i.thumbnail] or fitting
    if not fitting:
        seen = ", ".join(f"{' x '.join(map(str, i.sizes))} of type {i.type_code}" for i in images)
        raise FormatError(
            path,
            f"holds no image with frames of {image.shape[-2:]} pixels and type "
            f"{image.type_code}, as {os.path.basename(image.path)} has; it holds {seen or 'none'}.",
            "Leave it out of the files.",
        )
    other = recording_first(fitting)[0]
    other.check_size(Problems())
    return other
