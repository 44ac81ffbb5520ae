# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of Gatan DigitalMicrograph (.dm3, .dm4): images, stacks, 4D-STEM scans.

Sources: the layout that RosettaSciIO, ncempy and LiberTEM agree on, walked to the end in a hundred
files written by GMS; where the scan axes of 4D data are, from LiberTEM and py4DSTEM.
``specifications/dm.ksy`` writes the layout down, `rsciio_tem.parsing.dm_tags` reads it.

A file is one tree of tags. Its ``ImageList`` holds images, the first of which is usually a
thumbnail; an image has pixels, sizes (fastest axis first), calibrations and tags of its own.
Spectra and spectrum images are left to RosettaSciIO. DM5 files are HDF5.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack, get_args

from rsciio_tem.errors import Problem, Unsupported, warn
from rsciio_tem.formats.dm.image import (
    COLOURS,
    DataOrder,
    Image,
    Path,
    _chosen,
    _images,
    _rosettasciio,
    _upstream_image,
)
from rsciio_tem.formats.dm.metadata import _axis, _described, _metadata, _original
from rsciio_tem.formats.dm.scan import _scan_tags, _unfinished
from rsciio_tem.formats.dm.stack import _members, _stack
from rsciio_tem.parsing import dm_tags
from rsciio_tem.parsing.checks import Check
from rsciio_tem.parsing.dm_tags import is_dm
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint

__all__ = ["CHECKS", "file_reader", "parse", "sniff"]

# ---------------------------------------------------------------- description


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a DigitalMicrograph file by its first bytes."""
    if is_dm(head) and not path.lower().endswith(".gtg"):  # tags of a K2 IS recording
        return 0.98, f"begins like a DM{head[3]} file", {}
    return None


def _recording(
    tags: Mapping[str, Any], image: Image, data_order: DataOrder, order: str | None
) -> Recording:
    """Describe one image of a file."""
    problems: list[Problem] = []
    frames, shape, scan, signal, why = _described(image, data_order, order, problems)
    problems += _unfinished(image)
    diffraction = len(shape) > 1
    hints: tuple[ScanHint, ...] = ()
    if len(shape) > 1 and math.prod(shape) > 1:
        # axes of one position are left out, as RosettaSciIO does
        scan = tuple(a for a, n in zip(scan, shape, strict=True) if n > 1)
        kept = tuple(n for n in shape if n > 1)
        hints = (ScanHint("header", kept, 0.95, f"sizes {image.sizes}, scan axes by {why}"),)
    elif len(shape) == 1 and (stacked := _scan_tags(image.tags.get("ImageTags"))):
        hints = (ScanHint("header", stacked, 0.95, "4D STEM Tags, Scan shape Y and X"),)
        diffraction = True
    names = ("ky", "kx") if diffraction else ("y", "x")
    stack_axis: Axis | None = None
    scan_axes: tuple[Axis, ...] = (Axis("y"), Axis("x"))
    if len(shape) == 1:
        stack_axis = _axis(image, scan[0], "z")
    elif hints:
        labels = (*("",) * len(scan), "y", "x")[-len(scan) :]
        scan_axes = tuple(_axis(image, a, n) for a, n in zip(scan, labels, strict=True))
    original = _original(tags, image)
    metadata = _metadata(image, original, problems)
    return Recording(
        format="dm",
        path=image.path,
        frames=frames,
        signal_axes=tuple(_axis(image, a, n) for a, n in zip(signal, names, strict=True)),
        scan_axes=scan_axes,
        hints=hints,
        stack_axis=stack_axis,
        metadata=metadata,
        original_metadata=original,
        files=(image.path,),
        problems=tuple(problems),
    )


def parse(
    filename: Path | Sequence[Path],
    *,
    dataset_index: int | None = None,
    data_order: DataOrder = "auto",
    order: str | None = None,
    files: str | Sequence[Path] | None = None,
    same_offset: bool = True,
) -> Recording:
    """Describe the recording in a file; parameters as in `file_reader`.

    Returns
    -------
    Recording

    Raises
    ------
    Unsupported
        There are only spectra in it.
    """
    _checked(data_order, order)
    members = _members(filename, files)
    tags, images = _opened(members[0], dataset_index)
    image = next((i for i in images if not i.spectral), None)
    if image is None:
        raise Unsupported(
            members[0],
            "holds spectra only, which RosettaSciIO reads.",
            "file_reader and hs.load hand it over.",
        )
    recording = _recording(tags, image, data_order, order)
    if len(members) == 1 and files is None and not _several(filename):
        return recording
    return _stack(recording, image, members, same_offset)


def _checked(data_order: str, order: str | None) -> None:
    if data_order not in get_args(DataOrder):
        raise ValueError(f"data_order={data_order!r} is none of {', '.join(get_args(DataOrder))}")
    if order not in (None, "C", "F"):
        raise ValueError(f"order={order!r} is neither 'C' nor 'F'; see also data_order=")


def _opened(path: str, dataset_index: int | None) -> tuple[dict[str, Any], list[Image]]:
    """Read the tags of a file; -> tags, images in the order in which they are returned."""
    tags = dm_tags.read_tags(path, rosettasciio=True)
    return tags, _chosen(path, _images(path, tags), dataset_index)


# ---------------------------------------------------------------- several files


def _several(filename: Path | Sequence[Path]) -> bool:
    return not isinstance(filename, (str, os.PathLike))


# ---------------------------------------------------------------- reader


def _spectrum(
    tags: Mapping[str, Any], image: Image, lazy: bool, order: str | None, optimize: bool
) -> dict[str, Any]:
    """Return a spectrum that lies in a file beside images, through RosettaSciIO."""
    described = _upstream_image(image)
    described._order = order or "C"
    metadata = described.get_metadata()
    metadata["General"]["original_filename"] = os.path.basename(image.path)
    changes = [lambda s: s.squeeze()]
    if described.to_spectrum:
        changes.insert(0, lambda s: s.to_signal1D(optimize=optimize))
    with open(image.path, "rb") as file:
        described.file = file
        data = described.get_data(lazy and image.type_code not in COLOURS)
    return {
        "data": data,
        "axes": described.get_axes_dict(),
        "metadata": metadata,
        "original_metadata": _original(tags, image),
        "mapping": described.get_mapping(),
        "post_process": changes,
    }


CHECKS: tuple[Check, ...] = ()


def file_reader(
    filename: Path | Sequence[Path],
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: int | tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool = False,
    *,
    order: Literal["C", "F"] | None = None,
    optimize: bool = True,
    dataset_index: int | None = None,
    data_order: DataOrder = "auto",
    files: str | Sequence[Path] | None = None,
    same_offset: bool = True,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read the images of a DigitalMicrograph file.

    Parameters
    ----------
    filename : str or path, or list of them
        A .dm3 or .dm4 file; a list, or a pattern such as ``"series_*.dm4"``, is read as one stack.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    order : {None, "C", "F"}
        As in `rsciio.digitalmicrograph`: how the whole array is reshaped. Which axes are the scan
        is `data_order`.
    optimize : bool
        As in `rsciio.digitalmicrograph`, for spectrum images.
    dataset_index : int
        Return only this image, counted from 0 as in the file, thumbnails included. By default all
        but thumbnails are returned, the largest with three or more axes first.
    data_order : {"auto", "frames", "pixels"}
        How a scan is stored: frame after frame, or for each pixel of the detector the image of the
        scan. "auto" looks at tags, units and sizes.
    files : str or list of path
        Further files of a stack: ``"numbered"`` for those whose names differ from `filename` only
        by the number at the end, a pattern in its folder, or the list in the wanted order.
    same_offset : bool
        In a stack, trust files whose bytes around the pixels are equal to the first one's, which
        saves reading their tags. With False all tags are read.
    **options
        `ReadOptions`.

    Returns
    -------
    list of dict
        One per image. Spectra and spectrum images are those that RosettaSciIO returns.

    Raises
    ------
    NotThisFormat
        The file is no DM3 or DM4 file.
    Truncated
        It ends before its tags or pixels do.
    FormatError
        It is damaged, or files of a stack differ.
    Unsupported
        Its pixels are of an unknown kind.
    """
    del distributed  # nothing is left to do for it
    _checked(data_order, order)
    members = _members(filename, files)
    stack = len(members) > 1 or files is not None or _several(filename)
    tags, images = _opened(members[0], dataset_index)
    if images[0].spectral:
        asked = {
            "navigation_shape": navigation_shape,
            "first_frame": first_frame,
            "last_frame": last_frame,
            "mmap_mode": mmap_mode,
            **({"files": members} if stack else {}),
            **options,
        }
        if options.get("navigator") is False:
            del asked["navigator"]  # nothing is asked for
        given = [name for name, value in asked.items() if value is not None]
        if given:
            raise Unsupported(
                members[0],
                f"{images[0].name} is a spectrum or spectrum image, which RosettaSciIO reads "
                f"without {', '.join(given)}.",
                "Pass dataset_index= for another image, or leave these keywords out.",
            )
    if all(image.spectral for image in images) and dataset_index is None:
        result: list[dict[str, Any]] = _rosettasciio().file_reader(
            members[0], lazy=lazy, order=order, optimize=optimize, chunks=chunks
        )
        return result
    if order == "F" and len(images[0].sizes) > 2 and not images[0].spectral:
        warn(
            members[0],
            "order='F' reads the whole array in Fortran order, as RosettaSciIO does; a scan that "
            "was stored pixel by pixel needs data_order='pixels'.",
        )
    results = []
    for i, image in enumerate(images):
        if image.spectral:
            results.append(_spectrum(tags, image, lazy, order, optimize))
            continue
        recording = _recording(tags, image, data_order, order)
        if i:
            results += read(recording, lazy=lazy, options={"navigator": options.get("navigator")})
            continue
        if stack:
            recording = _stack(recording, image, members, same_offset)
        results += read(
            recording,
            lazy=lazy,
            chunks=chunks,
            mmap_mode=mmap_mode,
            navigation_shape=navigation_shape,
            first_frame=first_frame,
            last_frame=last_frame,
            options=options,
        )
        if stack:
            break  # what else is in the first file says nothing about the others
    return results
