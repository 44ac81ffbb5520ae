# SPDX-License-Identifier: GPL-3.0-or-later
"""Norpix StreamPix sequences (.seq), among them Direct Electron's DE-16 and Celeritas cameras.

Sources: Norpix's description of the sequence and metadata files, LiberTEM's and PIMS' readers, the
open RosettaSciIO proposal for Direct Electron files, and real files of StreamPix, of a Celeritas
camera in one file and of one in two. ``specifications/seq.ksy``, ``seq_metadata.ksy`` and
``seq_sides.md`` write the layouts down.

A sequence is a header and slots of equal size; a slot is the pixels of an image, the time when it
was taken, and padding. Camera software puts further files beside ``x.seq``: ``x.seq.metadata`` (a
few bytes for every slot), ``x.seq.Config.Metadata.xml``, ``x.seq.dark.mrc``, ``x.seq.gain.mrc``
and ``x.seq.Missing_Frame_Info.txt``. A fast Celeritas camera writes the two halves of its frames
into two sequences, ``x_Top_TIME.seq`` and ``x_Bottom_TIME.seq``, whose "images" are buffers of
many half frames.
"""

from __future__ import annotations

import os
from typing import Any, Unpack, get_args

from rsciio_tem.errors import Problems
from rsciio_tem.formats.seq.buffers import Images, Lost, join
from rsciio_tem.formats.seq.camera import Camera
from rsciio_tem.formats.seq.checks import CHECKS
from rsciio_tem.formats.seq.defects import Defects, excluded_pixels
from rsciio_tem.formats.seq.halves import Halves
from rsciio_tem.formats.seq.header import MAGIC, NAME, header_tree
from rsciio_tem.formats.seq.metadata_file import camera_settings, open_metadata
from rsciio_tem.formats.seq.sequence import read_sequence
from rsciio_tem.formats.seq.sides import Sides, beside, read_reference, scan_hint, usable_reference
from rsciio_tem.frames.corrections import Corrections
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.times import Times
from rsciio_tem.storage import files

__all__ = ["CHECKS", "file_reader", "parse", "sniff"]


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise the magic number and the name behind it."""
    if head[:4] != MAGIC.to_bytes(4, "little"):
        return None
    if head[4 : 4 + len(NAME)] == NAME:
        return 0.99, "begins as a Norpix sequence", {}
    if path.lower().endswith(".seq"):
        return 0.9, "begins with the number of a Norpix sequence", {}
    return None


def parse(
    filename: str | os.PathLike[str],
    *,
    all_slots: bool = False,
    celeritas: bool | None = None,
    top: str | os.PathLike[str] | None = None,
    bottom: str | os.PathLike[str] | None = None,
    prebuffer: int | None = None,
    lost: Lost = "blank",
    defects: Defects = "auto",
) -> Recording:
    """Describe a sequence; parameters as in `file_reader`.

    Dark and gain images beside it are read, one image each.

    Returns
    -------
    Recording
    """
    for name, value, kind in (("lost", lost, Lost), ("defects", defects, Defects)):
        if value not in get_args(kind):
            raise ValueError(f"{name}={value!r} is none of {', '.join(get_args(kind))}")
    if celeritas is False and (top is not None or bottom is not None):
        raise TypeError("top= and bottom= are for recordings in halves; celeritas=False says no")
    path = files.existing(filename)
    problems = Problems()
    sequence = read_sequence(path, all_slots, problems)
    halves = Halves.of(path, celeritas, top, bottom, problems)

    base = os.path.basename(path) if halves is None else f"{halves.base}.seq"
    sides = Sides.of(path, base)
    tree = sides.description(problems)
    missing = sides.missing_numbers(problems)
    settings: dict[str, Any] = {}
    if halves is None:
        table, side = sequence.table(), beside(path, base, ".metadata")
        settings = camera_settings(open_metadata(side, problems), problems)
        images = Images(table, table, sequence.stamp_size, members=(path, side))
    else:
        described = Camera(tree, {})
        images = join(halves, sequence, described, sides, all_slots, prebuffer, lost, problems)
    camera = Camera(tree, settings)
    shape = images.frames.frame_shape
    camera.compare_sizes(shape, problems)

    hints, parameters = scan_hint(path, base, len(images.frames), problems)
    corrections = _corrections(camera, sides, shape, defects, problems)
    times = images.times(int(sequence.header["version"]))
    original = {
        "seq_header": header_tree(sequence.header),
        "celeritas": images.summary,
        "Configuration": tree,
        "camera_settings": settings,
        "missing_frames": missing[:1000],
    }
    members = *images.members, *sides, parameters
    return Recording(
        format="seq",
        path=path,
        frames=images.frames,
        signal_axes=camera.signal_axes(problems),
        scan_axes=(Axis("y"), Axis("x")),
        stack_axis=_time_axis(times, camera.frame_rate),
        hints=hints,
        times=times,
        corrections=corrections,
        metadata=camera.metadata(path, int(times.read(0, 1).time_ns[0])),
        original_metadata={name: value for name, value in original.items() if value},
        files=tuple(dict.fromkeys(member for member in members if member is not None)),
        problems=tuple(problems),
    )


def _corrections(
    camera: Camera, sides: Sides, shape: tuple[int, ...], defects: Defects, problems: Problems
) -> Corrections | None:
    """Return what comes with the recording, None if it is nothing."""
    corrections = Corrections(
        dark=usable_reference(sides.dark, shape, problems),
        gain=usable_reference(sides.gain, shape, problems),
        excluded=excluded_pixels(camera, shape, defects, problems),
        repair="fill",  # whole bands of rows and columns may be listed
    )
    return corrections if corrections else None


def _time_axis(times: Times, rate: float | None) -> Axis:
    """Calibrate a stack of frames by the frame rate, or by the first and last time."""
    if rate is not None:
        return Axis("time", "s", 1 / rate)
    if times.count > 1 and times.resolution_ns < 10**9:
        first, last = (int(times.read(i, i + 1).time_ns[0]) for i in (0, times.count - 1))
        if 0 <= first < last:
            return Axis("time", "s", (last - first) / 1e9 / (times.count - 1))
    return Axis("time", "", 1.0)


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
    all_slots: bool = False,
    celeritas: bool | None = None,
    top: str | os.PathLike[str] | None = None,
    bottom: str | os.PathLike[str] | None = None,
    prebuffer: int | None = None,
    lost: Lost = "blank",
    defects: Defects = "auto",
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a StreamPix sequence, or a Direct Electron recording in that format.

    Dark and gain images and defective pixels that come with the recording are applied unless
    ``corrections=False``.

    Parameters
    ----------
    filename : str or path
        The .seq; for a recording in halves, either of them.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
    all_slots : bool
        Read every slot in file order, including those that the header does not count or that were
        never written.
    celeritas : bool, optional
        Whether the file is half of a recording; by default its name decides
        (``NAME_Top_TIME.seq``). False reads a half as it is stored.
    top, bottom : path, optional
        The other half, or both, if the names do not show them.
    prebuffer : int, optional
        Frames in a buffer of a recording in halves; by default what the XML says.
    lost : {"blank", "drop"}
        What happens to frames in lost buffers: they become blanks, or are left out.
    defects : {"auto", "listed", "turned"}
        Orientation of the list of defective pixels: as listed, or rotated and flipped as the XML
        says that images are. "auto" rotates only.
    **options
        `ReadOptions`. ``dark`` and ``gain`` also take the camera's MRC files.

    Returns
    -------
    list of one dict
        ``data`` has unsigned integers, single-precision numbers if corrected, or ``rgb8``.

    Raises
    ------
    NotThisFormat, Unsupported
        The file is not a sequence, or is compressed, or has an unknown image format.
    Truncated
        It ends before the end of its first image.
    FormatError
        Its header contradicts itself, or the halves of a recording do not fit together.
    """
    del distributed  # nothing is left to do for it
    recording = parse(
        filename,
        all_slots=all_slots,
        celeritas=celeritas,
        top=top,
        bottom=bottom,
        prebuffer=prebuffer,
        lost=lost,
        defects=defects,
    )
    for name in ("dark", "gain"):
        image: Any = options.get(name)
        if isinstance(image, (str, os.PathLike)) and os.fspath(image).lower().endswith(".mrc"):
            options[name] = read_reference(files.existing(image))
    common = lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame
    return read(recording, *common, options=options)
