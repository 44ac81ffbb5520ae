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

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack, get_args

from rsciio_tem.errors import Problems, Unsupported, warn
from rsciio_tem.formats.dm import rosettasciio
from rsciio_tem.formats.dm.frames import frames_of
from rsciio_tem.formats.dm.image import Image, read_images
from rsciio_tem.formats.dm.metadata import metadata_of
from rsciio_tem.formats.dm.scan import DataOrder, arranged, dimensions_of, warn_unfinished
from rsciio_tem.formats.dm.stack import FileName, members_of, stacked
from rsciio_tem.parsing.checks import Check
from rsciio_tem.parsing.dm_tags import is_dm
from rsciio_tem.reading.annotated import unannotated
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.recording import Recording

__all__ = ["CHECKS", "file_reader", "parse", "sniff"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a DigitalMicrograph file by its first bytes."""
    if is_dm(head) and not path.lower().endswith(".gtg"):  # tags of a K2 IS recording
        return 0.98, f"begins like a DM{head[3]} file", {}
    return None


def parse(
    filename: FileName | Sequence[FileName],
    *,
    dataset_index: int | None = None,
    data_order: DataOrder = "auto",
    order: str | None = None,
    files: str | Sequence[FileName] | None = None,
    same_offset: bool = True,
) -> Recording:
    """Describe the recording in a file; parameters as in `file_reader`.

    Returns
    -------
    Recording

    Raises
    ------
    Unsupported
        It contains only spectra.
    """
    _check_orders(data_order, order)
    members, several = members_of(filename, files)
    tags, images = read_images(members[0], dataset_index)
    image = next((i for i in images if not i.spectral), None)
    if image is None:
        raise Unsupported(
            members[0],
            "holds spectra only, which RosettaSciIO reads.",
            "file_reader and hs.load hand it over.",
        )
    recording = _described(tags, image, data_order, order)
    return stacked(recording, image, members, same_offset) if several else recording


def _check_orders(data_order: str, order: str | None) -> None:
    if data_order not in get_args(DataOrder):
        raise ValueError(f"data_order={data_order!r} is none of {', '.join(get_args(DataOrder))}")
    if order not in (None, "C", "F"):
        raise ValueError(f"order={order!r} is neither 'C' nor 'F'; see also data_order=")


def _described(
    tags: Mapping[str, Any], image: Image, data_order: DataOrder, order: str | None
) -> Recording:
    """Describe one image of a file."""
    problems = Problems()
    image.check_size(problems)
    dimensions = dimensions_of(image, data_order, order, problems)
    frames = frames_of(image, dimensions, problems)
    warn_unfinished(image, problems)
    arrangement = arranged(image, dimensions)
    signal_axes = zip(dimensions.signal, arrangement.signal_names, strict=True)
    original = rosettasciio.tags_with(tags, image)
    metadata = metadata_of(image, original, problems)
    return Recording(
        format="dm",
        path=image.path,
        frames=frames,
        signal_axes=tuple(image.axis(axis, name) for axis, name in signal_axes),
        scan_axes=arrangement.scan_axes,
        hints=arrangement.hints,
        stack_axis=arrangement.stack_axis,
        metadata=metadata,
        original_metadata=original,
        files=(image.path,),
        problems=tuple(problems),
    )


CHECKS: tuple[Check, ...] = ()


@documented
def file_reader(
    filename: FileName | Sequence[FileName],
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
    files: str | Sequence[FileName] | None = None,
    same_offset: bool = True,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read the images of a DigitalMicrograph file.

    Parameters
    ----------
    filename : str or path, or list of them
        A .dm3 or .dm4 file; a list, or a pattern such as ``"series_*.dm4"``, is read as one stack.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
    order : {None, "C", "F"}
        As in `rsciio.digitalmicrograph`: how the whole array is reshaped. Which axes are the scan
        is `data_order`.
    optimize : bool
        As in `rsciio.digitalmicrograph`, for spectrum images.
    dataset_index : int
        Return only this image, counted from 0 as in the file, thumbnails included. By default all
        images except thumbnails are returned, the largest with three or more axes first.
    data_order : {"auto", "frames", "pixels"}
        How a scan is stored: frame after frame, or an image of the scan for each detector pixel.
        "auto" goes by tags, units and sizes.
    files : str or list of path
        Further files of a stack: ``"numbered"`` for those whose names differ from `filename` only
        in the number at the end, a pattern in its folder, or a list in the order of the stack.
    same_offset : bool
        In a stack, do not read the tags of files whose bytes around the pixels equal those of the
        first file. With False, all tags are read.
    **options
        `ReadOptions`.

    Returns
    -------
    list of dict
        One per image. Spectra and spectrum images are as RosettaSciIO returns them.

    Raises
    ------
    NotThisFormat
        The file is not a DM3 or DM4 file.
    Truncated
        It ends before the end of its tags or pixels.
    FormatError
        It is damaged, or files of a stack differ.
    Unsupported
        Its pixel type is unknown.
    """
    del distributed  # nothing is left to do for it
    _check_orders(data_order, order)
    members, several = members_of(filename, files)
    tags, (image, *others) = read_images(members[0], dataset_index)
    if image.spectral:
        keywords = {
            "navigation_shape": navigation_shape,
            "first_frame": first_frame,
            "last_frame": last_frame,
            "mmap_mode": mmap_mode,
            "files": members if several else None,
            **options,
        }
        rosettasciio.refuse_keywords(image, keywords)
    if all(i.spectral for i in (image, *others)) and dataset_index is None:
        return rosettasciio.read_spectra(members[0], lazy, order, optimize, chunks)
    if order == "F" and len(image.sizes) > 2 and not image.spectral:
        warn(
            members[0],
            "order='F' reads the whole array in Fortran order, as RosettaSciIO does; a scan that "
            "was stored pixel by pixel needs data_order='pixels'.",
        )
    if image.spectral:
        signals = [rosettasciio.read_spectrum(tags, image, lazy, order, optimize)]
    else:
        recording = _described(tags, image, data_order, order)
        if several:
            recording = stacked(recording, image, members, same_offset)
        frames = (navigation_shape, first_frame, last_frame)
        signals = read(recording, lazy, chunks, mmap_mode, *frames, options=options)
    if several:
        return signals  # what else is in the first file says nothing about the others
    for other in others:
        if other.spectral:
            signals.append(rosettasciio.read_spectrum(tags, other, lazy, order, optimize))
        else:
            recording = _described(tags, other, data_order, order)
            with unannotated():  # a side file is about the first one
                signals += read(recording, lazy, options={"navigator": options.get("navigator")})
    return signals
