# SPDX-License-Identifier: GPL-3.0-or-later
"""Blockfiles (.blo) of NanoMegas ASTAR and DigiSTAR: scanning precession electron diffraction.

Sources: the layout that RosettaSciIO and LiberTEM agree on, and two recorded files; 16-bit files
from a published description. ``specifications/blo.ksy`` writes the layout down.

A header with a text note, an image of the scan (virtual bright field), and one record per scan
position: a mark, the number of the position, and a square diffraction pattern.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Unpack

import numpy as np
import numpy.typing as npt

from rsciio_tem import backends, files, navigator, signals
from rsciio_tem.backends import DataFile
from rsciio_tem.checking import leftover, listed, numbering
from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Truncated, warn
from rsciio_tem.frames import FrameTable, runs_of
from rsciio_tem.pixels import Pixels
from rsciio_tem.read import ReadOptions, read
from rsciio_tem.recording import Axis, Recording
from rsciio_tem.scan import ScanHint, place
from rsciio_tem.times import FrameTimes, read_headers, read_headers_at

__all__ = ["file_reader", "file_writer", "parse", "sniff"]

Ints = npt.NDArray[np.int64]
Endianness = Literal["<", ">"]

#: File header. Little-endian in every recorded file.
HEADER = np.dtype(
    [
        ("ID", "S6"),  # 0: IMGBLO
        ("MAGIC", "<u2"),  # 6: 258 for 8-bit pixels, 259 for files that say how many bits
        ("Data_offset_1", "<u4"),  # 8: where the image of the scan begins; 4096 so far
        ("Data_offset_2", "<u4"),  # 12: where the first record begins
        ("UNKNOWN1", "<u4"),  # 16: 131135 or 131141
        ("DP_SZ", "<u2"),  # 20: rows and columns of a pattern
        ("DP_rotation", "<u2"),  # 22: degrees / 100, presumably
        ("NX", "<u2"),  # 24: scan positions along the fast axis
        ("NY", "<u2"),  # 26: along the slow axis
        ("Scan_rotation", "<u2"),  # 28: degrees / 100
        ("SX", "<f8"),  # 30: nm per scan position, fast axis
        ("SY", "<f8"),  # 38: slow axis
        ("Beam_energy", "<u4"),  # 46: V
        ("SDP", "<u2"),  # 50: pixels per cm, times 100
        ("Camera_length", "<u4"),  # 52: 0.1 mm
        ("Acquisition_time", "<f8"),  # 56: days since 1899-12-30
        *((f"Centering_N{i}", "<f8") for i in range(8)),  # 64: polynomial of the centring
        *((f"Distortion_N{i:02d}", "<f8") for i in range(14)),  # 128: of the distortion
    ]
)
#: What comes before the pixels of each record.
RECORD = np.dtype(
    [
        ("mark", "<u2"),  # 0: 0x55AA
        ("id", "<u4"),  # 2: number of the scan position, from 0
    ]
)
ID, MARK = b"IMGBLO", 0x55AA
MAGIC_8, MAGIC_16 = 0x0102, 0x0103
VBF_OFFSET = 4096
#: Frames up to which every record is checked; beyond, so many of them.
_ALL, _SAMPLES = 4096, 256
_BIT_DEPTH = re.compile(rb"Blo Bit Depth\s*:\s*(\d+)\s*bits", re.IGNORECASE)


def _decoded(head: bytes, endianness: Endianness) -> np.void:
    header: np.void = np.frombuffer(head, HEADER.newbyteorder(endianness), 1)[0]
    return header


def _header(
    path: str, endianness: Endianness, problems: list[Problem]
) -> tuple[np.void, Endianness, bytes]:
    """Read the header; returns it, its byte order, and the note behind it."""
    if endianness not in ("<", ">"):
        raise ValueError(f"endianness={endianness!r} is neither '<' nor '>'")
    head = files.read_start(path, HEADER.itemsize)
    if head[:6] != ID:
        raise NotThisFormat(path, f"is no blockfile: it begins with {head[:6]!r}, not {ID!r}.")
    if len(head) < HEADER.itemsize:
        raise Truncated(path, f"ends inside its header, after {len(head)} bytes.")
    header = _decoded(head, endianness)
    if header["MAGIC"] not in (MAGIC_8, MAGIC_16):
        other: Endianness = ">" if endianness == "<" else "<"
        if _decoded(head, other)["MAGIC"] in (MAGIC_8, MAGIC_16):
            header, endianness = _decoded(head, other), other
            order = "little" if other == "<" else "big"
            problems.append(Problem("warning", f"is {order}-endian, and is read so."))
        else:
            problems.append(
                Problem(
                    "warning",
                    "Blockfile has unrecognized header signature "
                    f"{int(header['MAGIC'])}; it is read like one of 258.",
                )
            )
    begin, size = int(header["Data_offset_1"]), os.path.getsize(path)
    if not HEADER.itemsize <= begin <= int(header["Data_offset_2"]) or header["DP_SZ"] == 0:
        raise FormatError(
            path,
            f"has a damaged header: image of the scan at byte {begin}, patterns at byte "
            f"{int(header['Data_offset_2'])}, {int(header['DP_SZ'])} pixels along an edge.",
        )
    if int(header["Data_offset_2"]) >= size:
        raise Truncated(
            path,
            f"ends at byte {size}, before the first pattern at byte "
            f"{int(header['Data_offset_2'])}.",
        )
    return header, endianness, files.read_start(path, min(begin, 1 << 18))[HEADER.itemsize :]


def _itemsize(header: np.void, note: bytes, size: int, problems: list[Problem]) -> int:
    """Return the bytes of a pixel: what the header says, unless the size of the file says other."""
    said = 1
    if header["MAGIC"] == MAGIC_16 and (found := _BIT_DEPTH.search(note)):
        said = 2 if int(found[1]) > 8 else 1
    positions = int(header["NX"]) * int(header["NY"])
    pixels = int(header["DP_SZ"]) ** 2
    rest = size - int(header["Data_offset_2"])
    for other in (1, 2):
        if positions and rest == positions * (RECORD.itemsize + pixels * other) and other != said:
            problems.append(
                Problem(
                    "warning",
                    f"pixels have {other * 8} bits by the size of the file, {said * 8} by its "
                    f"header; {other * 8} is used.",
                )
            )
            return other
    return said


def _shape(header: np.void) -> tuple[int, ...]:
    """Return the scan shape; axes of one position are left out, as in RosettaSciIO."""
    sizes = int(header["NY"]), int(header["NX"])
    return tuple(n for n in sizes if n > 1) if 0 not in sizes else ()


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a blockfile by its first bytes."""
    if head[: len(ID)] == ID:
        return 0.99, "begins with IMGBLO", {}
    return None


# ---------------------------------------------------------------- records


def _ids(
    frames: FrameTable, endianness: Endianness, index: Ints | None
) -> tuple[npt.NDArray[np.bool_], Ints]:
    """Return whether records have their mark, and their numbers; of some, or of all."""
    size = RECORD.itemsize
    if index is None:
        raw = read_headers(frames, 0, len(frames), size, size)
    else:
        raw = read_headers_at(frames, index, size, size)
    records = np.ascontiguousarray(raw).view(RECORD.newbyteorder(endianness))[:, 0]
    marked: npt.NDArray[np.bool_] = records["mark"] == MARK
    return marked, records["id"].astype(np.int64)


def _placed(
    frames: FrameTable, positions: int, endianness: Endianness, path: str, problems: list[Problem]
) -> FrameTable:
    """Put frames at the scan positions that their numbers name.

    Records that simply follow each other, as all recorded ones did, are only sampled.
    """
    count = len(frames)
    index = None
    if count > _ALL:
        index = np.unique(np.linspace(0, count - 1, _SAMPLES).astype(np.int64))
    marked, ids = _ids(frames, endianness, index)
    expected = np.arange(count) if index is None else index
    if marked.all() and (ids == expected).all():
        return frames
    if index is not None:
        marked, ids = _ids(frames, endianness, None)
        expected = np.arange(count)
    if not marked.any():
        problems.append(
            Problem(
                "warning",
                f"no record begins with the bytes AA 55: the first is at byte "
                f"{int(frames.runs['start'][0]) - RECORD.itemsize}, and they are "
                f"{int(frames.runs['stride'][0])} bytes apart by the header.",
                "Patterns that look sheared mean that the header is wrong.",
            )
        )
        return frames
    if 2 * np.count_nonzero(marked) < count:
        first = int(np.argmin(marked))
        raise FormatError(
            path,
            f"only {np.count_nonzero(marked)} of {count} records begin with the bytes AA 55; from "
            f"record {first} on, bytes are missing or too many.",
        )
    if lost := int(np.count_nonzero(~marked)):
        problems.append(
            Problem(
                "warning",
                f"{lost} records, the first of them number {int(np.argmin(marked))}, do not begin "
                "with the bytes AA 55 and are left out.",
            )
        )
    stored, ids = np.flatnonzero(marked), ids[marked]
    size = max(positions, 1)
    if ids.max() >= size:
        if int(ids.max() - ids.min()) >= max(size, count):
            problems.append(
                Problem(
                    "warning",
                    f"records are numbered from {ids.min()} to {ids.max()}, for {size} scan "
                    "positions; the numbers are ignored.",
                )
            )
            return frames
        if ids.min() != 0:
            problems.append(
                Problem(
                    "warning",
                    f"records are numbered from {ids.min()} on, which is taken as the first scan "
                    "position.",
                )
            )
            ids = ids - ids.min()
    # what is missing behind the last one is for the scan shape to decide
    order = place(ids, stored, int(ids.max()) + 1, "first")
    blanks = int((order < 0).sum())
    repeated = len(stored) - (len(order) - blanks)
    parts = [f"{blanks} of {len(order)} scan positions have none and are filled"] if blanks else []
    parts += [f"{repeated} repeat a number and are left out"] if repeated else []
    if (np.diff(ids) < 0).any():
        parts.append("they are not in the order of the scan, and are put there")
    if parts:
        problems.append(Problem("warning", f"numbers in the {count} records: {'; '.join(parts)}."))
    if (order == np.arange(len(order))).all():
        return frames[: len(order)]
    return frames[order]


# ---------------------------------------------------------------- description


def parse(filename: str | os.PathLike[str], *, endianness: Endianness = "<") -> Recording:
    """Describe a blockfile; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    path = files.existing(filename)
    problems: list[Problem] = []
    header, endianness, note = _header(path, endianness, problems)
    file = DataFile.of(path)
    itemsize = _itemsize(header, note, file.size, problems)
    edge, start = int(header["DP_SZ"]), int(header["Data_offset_2"])
    pixels = Pixels((edge, edge), np.dtype(f"{endianness}u{itemsize}"))
    stride = RECORD.itemsize + pixels.nbytes
    count, rest = divmod(file.size - start, stride)
    if count < 1:
        raise Truncated(
            path,
            f"holds {rest} bytes of patterns, one takes {stride} ({edge} x {edge} pixels of "
            f"{itemsize * 8} bits).",
        )
    shape = _shape(header)
    positions = int(header["NX"]) * int(header["NY"])
    if not positions:
        message = f"Blockfile header describes a scan of {header['NX']} x {header['NY']} positions."
        problems.append(Problem("warning", message, "Pass navigation_shape=(x, y)."))
    elif count < positions:
        problems.append(
            Problem(
                "warning",
                f"Blockfile header describes {positions} scan positions, the file holds {count} "
                "complete patterns" + (", and a part of one." if rest else "."),
            )
        )
    table = FrameTable((file,), runs_of([(0, start + RECORD.itemsize, stride, count)]), pixels)
    frames = _placed(table, positions, endianness, path, problems)
    # 0 pixels per cm means that nobody calibrated
    scale = 100.0 / int(header["SDP"]) if header["SDP"] else 1.0
    hints: tuple[ScanHint, ...] = ()
    if shape:
        reason = f"NY = {header['NY']} and NX = {header['NX']} in the header"
        hints = (ScanHint("header", shape, 0.95, reason),)
    steps = (("y", _step(header["SY"]), header["NY"]), ("x", _step(header["SX"]), header["NX"]))
    scan_axes = tuple(Axis(name, "nm", step) for name, step, n in steps if n > 1 or len(shape) != 1)
    tree: dict[str, Any] = {name: header[name].item() for name in HEADER.names or ()}
    tree["Note"] = note.decode("latin-1").strip("\x00")
    return Recording(
        format="blo",
        path=path,
        frames=frames,
        signal_axes=(Axis("dy", "cm", scale), Axis("dx", "cm", scale)),
        scan_axes=scan_axes,
        hints=hints,
        metadata=_metadata(tree, path),
        original_metadata={"blockfile_header": tree},
        files=(path,),
        problems=tuple(problems),
    )


def _every_record(recording: Recording, seen: FrameTimes | None) -> Iterator[Problem]:
    """Read the marks and numbers of all records, where opening looked at some only."""
    del seen
    frames = recording.frames
    assert isinstance(frames, FrameTable)
    if frames.stored <= _ALL or frames.order is not None:
        return
    _, endianness, _ = _header(recording.path, "<", [])
    marked, ids = np.zeros(len(frames), bool), np.full(len(frames), -1, np.int64)
    for a in range(0, len(frames), 1 << 16):
        part = frames[a : a + (1 << 16)]
        marked[a : a + len(part)], ids[a : a + len(part)] = _ids(part, endianness, None)
    if not marked.all():
        yield Problem(
            "error",
            f"{np.count_nonzero(~marked)} of {len(frames)} records do not begin with the bytes "
            f"AA 55: {listed(np.flatnonzero(~marked))}. They are damaged, or bytes are missing "
            "before them.",
            "Copy the recording again.",
        )
    yield from numbering(
        np.where(marked, ids, -1), what="record", counter="numbers of the scan positions"
    )


CHECKS = (leftover, _every_record)


def _step(value: float) -> float:
    return float(value) if math.isfinite(value) and value else 1.0


def _moment(serial: float) -> datetime.datetime | None:
    """Return the UTC time of a serial date."""
    origin = datetime.datetime(1899, 12, 30, tzinfo=datetime.UTC)
    if not math.isfinite(serial) or not 0 < serial < 2_000_000:
        return None
    return origin + datetime.timedelta(int(serial), (serial % 1.0) * 86400)


def _metadata(header: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Translate what the header says."""
    name = os.path.basename(path)
    general: dict[str, Any] = {
        "title": os.path.splitext(name)[0],
        "original_filename": name,
        "notes": header["Note"],
    }
    if (moment := _moment(header["Acquisition_time"])) is not None:
        general["date"] = moment.date().isoformat()
        general["time"] = moment.time().isoformat()
        general["time_zone"] = "UTC"
    tem: dict[str, Any] = {
        "beam_energy": header["Beam_energy"] * 1e-3,
        "camera_length": header["Camera_length"] * 1e-4,  # as RosettaSciIO, in metres
        "camera_length_units": "m",
        "rotation": header["Scan_rotation"] * 1e-2,
    }
    camera = {}
    for key, names in (
        ("centering", [f"Centering_N{i}" for i in range(8)]),
        ("distortion", [f"Distortion_N{i:02d}" for i in range(14)]),
    ):
        values = [header[n] for n in names]
        if any(values):
            camera[key] = values
    if camera:
        tem["Detector"] = {"Camera": camera}
    return {
        "General": general,
        "Signal": {"signal_type": "diffraction"},
        "Acquisition_instrument": {"TEM": tem},
    }


# ---------------------------------------------------------------- reader


def _navigator(recording: Recording, shape: tuple[int, ...]) -> dict[str, Any] | None:
    """Return the image of the scan that is stored with it, None if there is none."""
    header = recording.original_metadata["blockfile_header"]
    begin, end = header["Data_offset_1"], header["Data_offset_2"]
    whole = recording.hints[0].shape if recording.hints else ()
    size = math.prod(whole)
    if not (shape and whole) or size > end - begin:
        return None
    if shape[1:] != whole[1:] or shape[0] > whole[0]:  # arranged in another way
        return None
    raw = backends.read(DataFile.of(recording.path), begin, size, "buffered")
    image = np.array(raw).reshape(whole)[: shape[0]]  # less of it if lines are missing
    if not image.any():  # left empty by the program that wrote the file
        return None
    axes = recording.scan_axes[-len(shape) :]
    return {
        "data": image,
        "axes": [
            axis.to_dict(i, n, False) for i, (axis, n) in enumerate(zip(axes, shape, strict=True))
        ],
        "metadata": {"General": {"title": "Virtual bright field"}, "Signal": {"signal_type": ""}},
        "original_metadata": {},
    }


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
    endianness: Endianness = "<",
    endianess: Endianness | None = None,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read a blockfile.

    Parameters
    ----------
    filename : str or path
        The file.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    endianness : {"<", ">"}
        Byte order of the file; where its signature says otherwise, that is believed.
    endianess : {"<", ">"}
        Old spelling of `endianness`.
    **options
        `ReadOptions`.

    Returns
    -------
    list of one dict
        The stored image of the scan is its navigator.

    Raises
    ------
    NotThisFormat
        The file is no blockfile.
    Truncated
        It ends before its first pattern does.
    FormatError
        Its header is damaged.
    """
    del distributed  # nothing is left to do for it
    if endianess is not None:
        from rsciio.exceptions import VisibleDeprecationWarning

        warnings.warn(
            "`endianess` is an old spelling of `endianness`",
            VisibleDeprecationWarning,
            stacklevel=2,
        )
        endianness = endianess
    recording = parse(filename, endianness=endianness)
    (signal,) = read(
        recording,
        lazy=lazy,
        chunks=chunks,
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )
    scan = signal["original_metadata"]["rsciio_tem"]
    shape = tuple(a["size"] for a in signal["axes"] if a["navigate"])
    counts = scan["frames"]
    from_start = not (counts["first"] or counts["skipped_start"] or counts["inserted_start"])
    if options.get("roi") is None and from_start:
        image = _navigator(recording, shape)
        if image is not None:
            navigator.keep_stored(signal, image, options.get("navigator"))
    return [signal]


# ---------------------------------------------------------------- writer

Scaling = Literal["dtype", "minmax", "crop"] | tuple[float, float] | None


def _limits(
    frames: signals.SignalFrames, scaling: Scaling, dtype: np.dtype[Any]
) -> tuple[float, float] | None:
    """Return the values that become the least and the greatest stored one."""
    if scaling is None:
        return None
    if isinstance(scaling, str):
        if scaling == "crop":
            return 0, np.iinfo(dtype).max
        if scaling == "dtype":
            if frames.dtype.kind not in "iu":
                raise ValueError(
                    f"intensity_scaling='dtype' is for whole numbers, not {frames.dtype}"
                )
            info = np.iinfo(frames.dtype)
            return info.min, info.max
        if scaling == "minmax":
            low, high = math.inf, -math.inf
            for _, block in frames.slabs():
                low, high = min(low, block.min()), max(high, block.max())
            return low, high
        raise ValueError(
            f"intensity_scaling={scaling!r} is none of dtype, minmax, crop, (low, high)"
        )
    low, high = scaling
    return low, high


def _scaled(
    values: npt.NDArray[Any], limits: tuple[float, float], dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    """Map `limits` to the range of `dtype`, cutting off what lies beyond; fractions are dropped."""
    low, high = limits
    top = np.iinfo(dtype).max
    if low == high:
        result: npt.NDArray[Any] = np.clip(np.clip(values, low, high), 0, top).astype(dtype)
        return result
    clipped = np.clip(values, low, high).astype(np.float64)
    result = ((clipped - low) / (float(high) - float(low)) * top).astype(dtype)
    return result


def _exact(values: npt.NDArray[Any], dtype: np.dtype[Any], path: str) -> npt.NDArray[Any]:
    """Cast; what does not fit is an error, never a wrapped number."""
    if values.dtype == dtype:
        return values
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= np.iinfo(dtype).max):
        raise FormatError(
            path,
            f"pixel values from {low} to {high} do not fit into {dtype}.",
            "Pass intensity_scaling=, for example 'minmax' or (low, high)"
            + (", or dtype='uint16'." if dtype.itemsize == 1 else "."),
        )
    cast = values.astype(dtype)
    if values.dtype.kind == "f" and (cast != values).any():
        raise FormatError(
            path,
            "pixel values have fractions, which blockfiles cannot hold.",
            "Round the signal, or pass intensity_scaling=.",
        )
    return cast


def _steps(axes: Sequence[Mapping[str, Any]], unit: str, path: str) -> list[float]:
    """Return the scales of axes in `unit`; as they are, with a warning, if that is impossible."""
    steps = []
    for axis in axes:
        scale = float(axis.get("scale", 1.0))
        value = signals.converted(scale, axis.get("units"), unit)
        if value is None:
            warn(
                path,
                f"blockfiles hold scales in {unit}; {scale:g} {axis.get('units') or ''} of axis "
                f"{axis.get('name')!r} cannot be converted and is stored as it is.",
            )
        steps.append(scale if value is None else value)
    return steps


def _header_record(
    frames: signals.SignalFrames,
    nav_steps: Sequence[float],
    sig_steps: Sequence[float],
    dtype: np.dtype[Any],
    path: str,
) -> tuple[npt.NDArray[np.void], bytes]:
    """Return the header for a signal, and the note."""
    header: npt.NDArray[np.void] = np.zeros(1, HEADER)
    header["UNKNOWN1"] = 131141
    header["Data_offset_1"] = VBF_OFFSET
    tem = "Acquisition_instrument.TEM."
    begin = signals.start_ns(frames.metadata, path)
    header["Acquisition_time"] = 25570.0 if begin is None else 25569.0 + begin / 86400e9
    header["Beam_energy"] = min(max(0, round(frames.number(tem + "beam_energy") * 1e3)), 2**32 - 1)
    metres = frames.find(tem + "camera_length_units") == "m"
    length = frames.number(tem + "camera_length") * (1e4 if metres else 10)
    header["Camera_length"] = min(max(0, round(length)), 2**32 - 1)
    stored = frames.original_metadata.get("blockfile_header")
    note = ""
    if isinstance(stored, Mapping):
        for name in HEADER.names or ():
            if name in stored:
                with contextlib.suppress(TypeError, ValueError, OverflowError):
                    header[name] = stored[name]
        note = str(stored.get("Note") or "")
    header["ID"] = ID
    header["MAGIC"] = MAGIC_8 if dtype.itemsize == 1 else MAGIC_16
    begin_vbf = int(header["Data_offset_1"][0])
    if not HEADER.itemsize <= begin_vbf <= 1 << 18:
        header["Data_offset_1"] = begin_vbf = VBF_OFFSET
    shape = frames.nav_shape
    down = len(shape) == 1 and frames.nav_axes[0].get("name") == "y"  # a column
    ny, nx = shape if len(shape) == 2 else (shape[0], 1) if down else (1, *shape, 1)[:2]
    step = nav_steps[0] if nav_steps else 1.0
    sy, sx = (step, nav_steps[1]) if len(shape) == 2 else (step, step)
    if max(nx, ny, *frames.frame_shape) > 0xFFFF:
        raise ValueError(f"a scan of {shape} with frames of {frames.frame_shape} is too large")
    header["NX"], header["NY"], header["SX"], header["SY"] = nx, ny, sx, sy
    header["DP_SZ"] = frames.frame_shape[0]
    density = 100 / sig_steps[1] if sig_steps[1] > 0 else 0.0
    header["SDP"] = number = min(round(density), 0xFFFF)
    if abs(number - density) > 0.01 * density:
        warn(
            path, f"blockfiles hold whole numbers: {density:g} pixels per m is stored as {number}."
        )
    end = begin_vbf + nx * ny
    header["Data_offset_2"] = end + end % 16  # the padding of RosettaSciIO, which its tests expect
    return header, _note(note, dtype, begin_vbf - HEADER.itemsize)


def _note(note: str, dtype: np.dtype[Any], room: int) -> bytes:
    """Return the note, with the line that tells the bit depth, cut to the room there is."""
    text = note.encode("latin-1", "replace")
    line = b"Blo Bit Depth: %d bits" % (dtype.itemsize * 8)
    if _BIT_DEPTH.search(text):
        text = _BIT_DEPTH.sub(line, text)
    elif dtype.itemsize > 1:
        text = line + (b"\r\n" + text if text else b"")
    return text[:room]


def _image(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Fit an image of the scan into 8 bits, as it is if it fits."""
    values = np.nan_to_num(np.asarray(values, np.float64))
    low, high = values.min(), values.max()
    if low < 0 or high > 255:
        values = (values - low) / (high - low) * 255 if high > low else np.zeros_like(values)
    return values.astype(np.uint8)


def _given_image(
    navigator: Any, frames: signals.SignalFrames
) -> npt.NDArray[np.uint8] | Literal["mean"]:
    """Return the image of the scan to store, or that it is the mean of each pattern."""
    if navigator is None:
        return np.zeros(frames.nav_shape, np.uint8)
    if isinstance(navigator, str):
        if navigator != "navigator":
            raise ValueError(f"navigator={navigator!r} is neither 'navigator', None nor an array")
        stored = frames.find("_HyperSpy._sig_navigator")
        data = stored.get("data") if isinstance(stored, Mapping) else None
        if data is None or tuple(data.shape) != frames.nav_shape:
            return "mean"
        return _image(np.asarray(data))
    if not hasattr(navigator, "shape"):
        raise ValueError(f"navigator must be an array, not {type(navigator).__name__}")
    if tuple(navigator.shape) != frames.nav_shape:
        raise ValueError(f"navigator has shape {navigator.shape}, the scan {frames.nav_shape}")
    return _image(np.asarray(navigator))


def _stored_type(
    frames: signals.SignalFrames, scaling: Scaling, dtype: Any, path: str
) -> np.dtype[Any]:
    """Choose 8 or 16 bits."""
    if dtype is None:
        dtype = "u2" if scaling is None and frames.dtype in ("u2", ">u2") else "u1"
    chosen: np.dtype[Any] = np.dtype(dtype).newbyteorder("=")
    if chosen not in (np.dtype("u1"), np.dtype("u2")):
        raise ValueError(f"blockfiles hold 8 or 16 bit pixels, not {chosen}")
    if chosen.itemsize == 2:
        warn(
            path,
            "16-bit blockfiles cannot be read by RosettaSciIO 0.15 and older software; "
            "dtype='uint8' or intensity_scaling= makes an 8-bit one.",
        )
    return chosen


def file_writer(
    filename: str | os.PathLike[str],
    signal: Mapping[str, Any],
    intensity_scaling: Scaling = None,
    navigator: Any = "navigator",
    show_progressbar: bool = True,
    endianness: Endianness = "<",
    *,
    dtype: Any = None,
    overwrite: bool = False,
) -> None:
    """Write a signal as a blockfile.

    Lazy data are written piece by piece. The file appears under its name when it is complete.

    Parameters
    ----------
    filename : str or path
        The file.
    signal : dict
        As RosettaSciIO's writers receive it; patterns are square, and there are up to two scan
        axes.
    intensity_scaling : {None, "dtype", "minmax", "crop"} or (low, high)
        What is mapped to the range of stored values: the range of the signal's type, of its
        values, of the stored type, or the values given. None stores values as they are; one that
        does not fit is an error.
    navigator : {"navigator", None} or array
        The image of the scan: that of the signal (or else the mean of each pattern), an empty
        one, or the one given.
    show_progressbar : bool
        Show progress while lazy data are computed.
    endianness : {"<", ">"}
        Byte order.
    dtype : {None, "uint8", "uint16"}
        Stored type. By default that of the signal, if it is one of these, and otherwise uint8.
    overwrite : bool
        Replace a file of this name. The recording that the signal was read from is never replaced.

    Raises
    ------
    ValueError
        The signal cannot be stored in this format.
    FileExistsError
        There is such a file.
    """
    name = os.fspath(filename)
    if endianness not in ("<", ">"):
        raise ValueError(f"endianness={endianness!r} is neither '<' nor '>'")
    axes = list(signal["axes"])
    sig_steps = _steps([a for a in axes if not a.get("navigate")], "cm", name)
    nav_steps = _steps([a for a in axes if a.get("navigate")], "nm", name)
    frames = signals.SignalFrames.of(signal, "blockfile")
    if len(frames.nav_shape) > 2:
        raise ValueError(f"blockfiles hold up to two scan axes, not {len(frames.nav_shape)}")
    if frames.frame_shape[0] != frames.frame_shape[1]:
        raise ValueError(f"blockfiles hold square patterns, not {frames.frame_shape}")
    image = _given_image(navigator, frames)
    stored = _stored_type(frames, intensity_scaling, dtype, name)
    limits = _limits(frames, intensity_scaling, stored)
    header, note = _header_record(frames, nav_steps, sig_steps, stored, name)
    record = np.dtype(
        [
            *((field, RECORD[field]) for field in RECORD.names or ()),
            ("pixels", stored, frames.frame_shape),
        ]
    ).newbyteorder(endianness)
    begin, start = int(header["Data_offset_1"][0]), int(header["Data_offset_2"][0])
    means = np.zeros(len(frames))
    size = start + len(frames) * record.itemsize
    with signals.creating({name: size}, frames, overwrite=overwrite) as (file,):
        file.write(header.astype(HEADER.newbyteorder(endianness)).tobytes())
        file.write(note)
        for index, block in frames.slabs(show_progressbar):
            records = np.empty(len(index), record)
            records["mark"], records["id"] = MARK, index
            fitted = (
                _exact(block, stored, name) if limits is None else _scaled(block, limits, stored)
            )
            records["pixels"] = fitted
            if isinstance(image, str):
                means[index] = fitted.mean(axis=(1, 2))
            for a, b in signals.seek_runs(index):
                file.seek(start + int(index[a]) * record.itemsize)
                file.write(records[a:b].tobytes())
        file.seek(begin)
        file.write((_image(means) if isinstance(image, str) else image).tobytes())
