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

import datetime
import os
from collections.abc import Mapping
from functools import partial
from typing import Any, Unpack, get_args

from rsciio_tem.formats.seq.checks import CHECKS
from rsciio_tem.formats.seq.defects import _excluded
from rsciio_tem.formats.seq.halves import _find_halves, _given_halves, _joined
from rsciio_tem.formats.seq.layout import MAGIC, NAME, Defects, Lost, _header_tree, _Problems
from rsciio_tem.formats.seq.sequence import _frame_times, _sequence
from rsciio_tem.formats.seq.sides import (
    _beside,
    _compare_sizes,
    _described,
    _elements,
    _metadata_file,
    _missing_numbers,
    _nav_hint,
    _reference,
    _settings,
    _usable_reference,
    _value,
)
from rsciio_tem.frames.corrections import Corrections
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.parsing import text
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.times import Times
from rsciio_tem.storage import files

__all__ = ["CHECKS", "file_reader", "parse", "sniff"]

# ---------------------------------------------------------------- one sequence


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise the magic number and the name behind it."""
    if head[:4] != MAGIC.to_bytes(4, "little"):
        return None
    if head[4 : 4 + len(NAME)] == NAME:
        return 0.99, "begins as a Norpix sequence", {}
    if path.lower().endswith(".seq"):
        return 0.9, "begins with the number of a Norpix sequence", {}
    return None


# ---------------------------------------------------------------- description


def _metadata(
    path: str, tree: Mapping[str, Any], settings: Mapping[str, Any], time_ns: int
) -> dict[str, Any]:
    """Translate what the files say."""
    name = os.path.basename(path)
    general: dict[str, Any] = {
        "title": os.path.splitext(name)[0],
        "original_filename": name,
    }
    if time_ns >= 0:
        moment = datetime.datetime.fromtimestamp(time_ns // 10**9, datetime.UTC)
        moment = moment.replace(microsecond=time_ns // 1000 % 10**6)
        general["date"] = moment.date().isoformat()
        general["time"] = moment.time().isoformat()
        general["time_zone"] = "UTC"
    camera: dict[str, Any] = {}
    if kind := _value(tree, "CameraType"):
        camera["name"] = kind
    tem: dict[str, Any] = {"Detector": {"Camera": camera}} if camera else {}
    voltage = text.to_number(_value(tree, "HT"))
    if voltage and voltage > 0:
        tem["beam_energy"] = voltage
    if rate := _frame_rate(tree, settings):
        tem["frames_per_second"] = rate
    metadata: dict[str, Any] = {"General": general, "Signal": {"signal_type": ""}}
    if tem:
        metadata["Acquisition_instrument"] = {"TEM": tem}
    return metadata


def _frame_rate(tree: Mapping[str, Any], settings: Mapping[str, Any]) -> float | None:
    """Return the camera's frames per second; the header of the sequence tells another number."""
    for value in (_value(tree, "FrameRate"), settings.get("frame_rate")):
        number = text.to_number(value)
        if number is not None and number > 0:
            return number
    return None


def _signal_axes(
    tree: Mapping[str, Any], settings: Mapping[str, Any], problems: _Problems
) -> tuple[Axis, Axis]:
    """Calibrate the frames, if anything does."""
    diffraction = text.to_number(settings.get("diffraction_pixel_size"))
    length = text.to_number(settings.get("camera_length"))
    direct = text.to_number(_value(tree, "PixelSize")) or text.to_number(settings.get("pixel_size"))
    scale, units = 1.0, ""
    if diffraction and diffraction > 0 and length and length > 0:
        scale, units = diffraction, "1/nm"
    elif direct and direct > 0:
        scale, units = direct, "nm"
    else:
        magnification = text.to_number(_value(tree, "Mag"))
        for entry in _elements(tree.get("PixelSize"), "Property"):
            value = text.to_number(entry.get("Value"))
            if magnification and text.to_number(entry.get("Mag")) == magnification and value:
                scale, units = value, "nm"
    if units:
        problems.warn(
            f"the size of a pixel, {scale:g} {units}, comes from the camera's settings; their "
            "units are not documented.",
        )
    return Axis("height", units, scale), Axis("width", units, scale)


def _time_axis(times: Times, rate: float | None) -> Axis:
    """Calibrate a stack of frames by the frame rate, or by the first and last time."""
    if rate is not None:
        return Axis("time", "s", 1 / rate)
    if times.count > 1 and times.resolution_ns < 10**9:
        first, last = (int(times.read(i, i + 1).time_ns[0]) for i in (0, times.count - 1))
        if 0 <= first < last:
            return Axis("time", "s", (last - first) / 1e9 / (times.count - 1))
    return Axis("time", "", 1.0)


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
    if lost not in get_args(Lost):
        raise ValueError(f"lost={lost!r} is none of {', '.join(get_args(Lost))}")
    if defects not in get_args(Defects):
        raise ValueError(f"defects={defects!r} is none of {', '.join(get_args(Defects))}")
    if celeritas is False and (top is not None or bottom is not None):
        raise TypeError("top= and bottom= are for recordings in halves; celeritas=False says no")
    path = files.existing(filename)
    problems = _Problems()
    own = _sequence(path, all_slots, problems)
    halves = None
    if top is not None or bottom is not None:
        halves = _given_halves(path, top, bottom)
    elif celeritas is not False:
        halves = _find_halves(path, celeritas, problems)

    base = os.path.basename(path) if halves is None else f"{halves.base}.seq"
    stems = (base, os.path.splitext(base)[0])
    sides = {
        suffix: _beside(path, stems, suffix)
        for suffix in (
            ".Config.Metadata.xml",
            ".dark.mrc",
            ".gain.mrc",
            ".Missing_Frame_Info.txt",
        )
    }
    tree = _described(sides[".Config.Metadata.xml"], problems)
    missing = _missing_numbers(sides[".Missing_Frame_Info.txt"], problems)
    original: dict[str, Any] = {"seq_header": _header_tree(own.header)}
    settings: dict[str, Any] = {}
    frames: Frames = own.table()
    images, each, timed = own.table(), 1, own
    if halves is None:
        members = [path, _beside(path, stems, ".metadata")]
        settings = _settings(_metadata_file(members[1], problems), problems)
    else:
        references = [r for r in (sides[".dark.mrc"], sides[".gain.mrc"]) if r is not None]
        joined = _joined(halves, own, tree, references, all_slots, prebuffer, lost, problems)
        frames, images, each, timed = joined.frames, joined.buffers, joined.each, joined.upper
        members = joined.members
        original["celeritas"] = joined.summary
    count, shape = len(frames), frames.frame_shape
    _compare_sizes(tree, shape, problems)
    if tree:
        original["Configuration"] = tree
    if settings:
        original["camera_settings"] = settings
    if missing:
        original["missing_frames"] = missing[:1000]

    rate = _frame_rate(tree, settings)
    buffered = each > 1
    times = Times(
        count,
        partial(_frame_times, images, timed.stamp_size, each),
        # within a buffer there is only one time
        resolution_ns=3600 * 10**9 if buffered else 1000 if own.header["version"] >= 5 else 10**6,
        external_trigger=False if buffered else None,
    )
    hints, side = _nav_hint(path, stems, count, problems)
    corrections = Corrections(
        dark=_usable_reference(sides[".dark.mrc"], shape, problems),
        gain=_usable_reference(sides[".gain.mrc"], shape, problems),
        excluded=_excluded(tree, shape, settings, defects, problems),
        repair="fill",  # whole bands of rows and columns may be listed
    )
    begun = int(times.read(0, 1).time_ns[0])
    members += [*sides.values(), side]
    return Recording(
        format="seq",
        path=path,
        frames=frames,
        signal_axes=_signal_axes(tree, settings, problems),
        scan_axes=(Axis("y"), Axis("x")),
        stack_axis=_time_axis(times, rate),
        hints=tuple(hints),
        times=times,
        corrections=corrections if corrections else None,
        metadata=_metadata(path, tree, settings, begun),
        original_metadata=original,
        files=tuple(dict.fromkeys(member for member in members if member is not None)),
        problems=tuple(problems),
    )


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
        The .seq; of a recording in halves, either of them.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    all_slots : bool
        Read every slot in the order of the file, also those that the header does not count or
        that were never written.
    celeritas : bool, optional
        Whether the file is half of a recording; by default its name tells (``NAME_Top_TIME.seq``).
        False reads a half as it is stored.
    top, bottom : path, optional
        The other half, or both, where the names do not tell.
    prebuffer : int, optional
        Frames in a buffer of a recording in halves; by default what the XML says.
    lost : {"blank", "drop"}
        What becomes of frames in buffers that were lost: blanks in their places, or nothing.
    defects : {"auto", "listed", "turned"}
        Orientation of the list of defective pixels: as listed, or rotated and flipped as the XML
        says images are. "auto" rotates only.
    **options
        `ReadOptions`. ``dark`` and ``gain`` take the MRC files of the camera too.

    Returns
    -------
    list of one dict
        ``data`` of unsigned integers, single-precision numbers if corrected, or ``rgb8``.

    Raises
    ------
    NotThisFormat, Unsupported
        The file is no sequence, or one that is compressed or of an unknown image format.
    Truncated
        It ends before its first image does.
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
        given: Any = options.get(name)
        if isinstance(given, (str, os.PathLike)) and os.fspath(given).lower().endswith(".mrc"):
            options[name] = _reference(files.existing(given))
    return read(
        recording,
        lazy=lazy,
        chunks=chunks,
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )
