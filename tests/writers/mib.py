# SPDX-License-Identifier: GPL-3.0-or-later
"""Merlin and MerlinEM recordings: ``.mib`` frames and the ``.hdr`` text beside them.

Frames are given in the orientation in which processed files store them: the first row is the
first one in the file, nothing is flipped. Raw files of several chips are rearranged from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

START_NS = 1_620_406_270_905_800_928  # 2021-05-07 16:51:10.905800928 UTC
EXPOSURE_NS = 1_000_000
CHIP_WIDTH = 256

#: Energy thresholds 0-7 (keV) and the 27 converter settings of a real camera.
THRESHOLDS = (2.0, 511.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
DACS = (
    *(11, 511, 0, 0, 0, 0, 0, 0),  # Threshold0-7
    *(175, 10, 200, 125, 100, 100),  # Preamp, Ikrum, Shaper, Disc, DiscLS, ShaperTest
    *(93, 100, 99, 30, 128, 4),  # DACDiscL, DACTest, DACDiscH, Delay, TPBuffIn, TPBuffOut
    *(255, 140, 128, 191, 179, 511, 511),  # RPZ, GND, TPRef, FBK, Cas, TPRefA, TPRefB
)

PIXEL_TYPES = {1: "U08", 6: "U08", 12: "U16", 24: "U32"}  # processed frames, by counter depth
RAW_BITS = {1: 1, 6: 8, 12: 16}  # bits a raw pixel takes, by counter depth

Shape = tuple[int, int]
Bytes = NDArray[np.uint8]


# -- frame headers -------------------------------------------------------------------------------


def header(
    sequence: int = 1,
    shape: Shape = (256, 256),
    depth: int = 12,
    pixel_type: str | None = None,
    layout: str = "1x1",
    chips: int = 1,
    time_ns: int = START_NS,
    exposure_ns: int = EXPOSURE_NS,
    counter: int = 0,
    colour: int = 0,
    mq1a: bool = True,
    dacs: bool = True,
    pad: bytes | None = b"\0",
    data_offset: int | None = None,
    **options: Any,
) -> bytes:
    """Return the header of one frame; the parameters are those of `headers`."""
    return headers(
        [sequence],
        shape,
        depth,
        pixel_type,
        layout,
        chips,
        times_ns=[time_ns],
        exposures_ns=exposure_ns,
        counters=counter,
        colour=colour,
        mq1a=mq1a,
        dacs=dacs,
        pad=pad,
        data_offset=data_offset,
        **options,
    ).tobytes()


def headers(
    sequences: ArrayLike,
    shape: Shape = (256, 256),
    depth: int = 12,
    pixel_type: str | None = None,
    layout: str = "1x1",
    chips: int = 1,
    *,
    times_ns: ArrayLike = START_NS,
    exposures_ns: ArrayLike = EXPOSURE_NS,
    counters: ArrayLike = 0,
    colour: int = 0,
    gain: int = 0,
    mq1a: bool = True,
    dacs: bool = True,
    pad: bytes | None = b"\0",
    data_offset: int | None = None,
    chip_select: int | None = None,
    utc_offset_s: int = 0,
    thresholds: Sequence[float | str] = THRESHOLDS,
    dac_values: Sequence[int] | Sequence[Sequence[int]] = DACS,
    chip_type: str = "3RX",
    inserted: Sequence[str] = (),
    day_first: bool = False,
    ns_unit: str = "ns",
) -> Bytes:
    """Return the headers of many frames, one per row.

    Parameters
    ----------
    sequences : array_like of int
        Sequence numbers. Longer than six digits they make the header text longer.
    shape : tuple of int
        Rows and columns of the *stored* frame: field 5 (Y) and field 4 (X).
    depth : int
        Counter depth in bits: 1, 6, 12 or 24.
    pixel_type : str, optional
        ``U08``, ``U16``, ``U32``, ``U64`` or ``R64``; by default the one of processed frames.
    layout, chips : str, int
        Chip arrangement as text and number of chips.
    times_ns, exposures_ns, counters : array_like of int
        UTC times since 1970, exposures, and counter (or colour layer) numbers; one value or one
        per frame.
    colour, gain : int
        Fields 12 and 13.
    mq1a : bool
        Write the extension with nanosecond times and counter depth (absent before 2016).
    dacs : bool
        Write thresholds and converter settings (absent from raw frames of 2017 and 2018).
    pad : bytes or None
        What fills the header up to `data_offset`; None: nothing, pixels follow the last comma.
    data_offset : int, optional
        Header size; by default 256 bytes and 128 for each chip.
    chip_select : int, optional
        Bit mask of active chips.
    utc_offset_s : int
        Local time minus UTC, for field 9.
    thresholds : sequence of float or str
        Numbers, or text to be written as it is.
    dac_values : sequence of int or of sequences of int
        27 numbers for all chips, or 27 for each.
    chip_type : str
        What precedes the converter settings of a chip.
    inserted : sequence of str
        Additional fields between thresholds and converter settings.
    day_first : bool
        Write the local time as day/month/year, as before 2018.
    ns_unit : str
        Unit after the exposure, ``nS`` in software 0.65.8.
    """
    numbers = np.atleast_1d(np.asarray(sequences, dtype=np.int64))
    count = len(numbers)
    times: NDArray[np.datetime64] = _per_frame(times_ns, count).view("M8[ns]")
    exposures = _per_frame(exposures_ns, count).tolist()
    layers = _per_frame(counters, count).tolist()
    clock: NDArray[np.datetime64] = times + np.timedelta64(utc_offset_s, "s")
    local = np.datetime_as_string(clock.astype("M8[us]"))
    utc = np.datetime_as_string(times)

    fields = []
    if dacs:
        fields += [text if isinstance(text, str) else _exponent(text) for text in thresholds]
        fields += inserted
        per_chip = dac_values if isinstance(dac_values[0], Sequence) else [dac_values] * chips
        for values in per_chip:
            fields += [chip_type, *(f"{value:03d}" for value in values)]  # type: ignore[union-attr]
    else:
        fields.append("")
    pixel_type = pixel_type or PIXEL_TYPES[depth]
    select = (1 << chips) - 1 if chip_select is None else chip_select
    sizes = f"{chips:02d},{shape[1]:04d},{shape[0]:04d},{pixel_type},{layout:>6},{select:02X},"
    settings = f",{colour},{gain},{','.join(fields)},"

    texts = []
    for i in range(count):
        when = local[i].replace("T", " ")
        if day_first:
            when = f"{when[8:10]}/{when[5:7]}/{when[:4]}{when[10:]}"
        text = f"{sizes}{when},{exposures[i] / 1e9:.6f},{layers[i]}{settings}"
        if mq1a:
            text += f"MQ1A,{utc[i]}Z,{exposures[i]}{ns_unit},{depth},"
        texts.append(text)

    starts = [f"MQ1,{number:06d}," for number in numbers.tolist()]
    lengths = {len(start) + 6 + len(text) for start, text in zip(starts, texts, strict=True)}
    if pad is None:
        data_offset = data_offset or max(lengths, default=0)
        if lengths - {data_offset}:
            raise ValueError(f"headers without padding have lengths {sorted(lengths)}")
    elif data_offset is None:
        data_offset = 256 + 128 * chips
    longest = max(lengths, default=0)
    if longest > data_offset:
        raise ValueError(f"{longest} characters do not fit into {data_offset} bytes")
    joined = b"".join(
        f"{start}{data_offset:05d},{text}".encode("ascii").ljust(data_offset, pad or b"\0")
        for start, text in zip(starts, texts, strict=True)
    )
    return np.frombuffer(joined, np.uint8).reshape(count, data_offset)


def legacy_headers(
    sequences: ArrayLike,
    kind: Literal["12B", "24B"] = "12B",
    *,
    times_ns: ArrayLike = START_NS,
    exposures_ns: ArrayLike = EXPOSURE_NS,
    counters: ArrayLike = 0,
    thresholds: Sequence[float] = (27.0, 3.6),
    dac_values: Sequence[int] = DACS,
) -> Bytes:
    """Return the 256-byte headers of 2015, which tell neither frame size nor data offset."""
    numbers = np.atleast_1d(np.asarray(sequences, dtype=np.int64))
    count = len(numbers)
    times: NDArray[np.datetime64] = _per_frame(times_ns, count).view("M8[ns]")
    when = np.datetime_as_string(times.astype("M8[ms]"))
    exposures = _per_frame(exposures_ns, count).tolist()
    layers = _per_frame(counters, count).tolist()
    settings = [_exponent(value) for value in thresholds] + [f"{value:03d}" for value in dac_values]
    tail = ",".join(settings)
    texts = [
        f"{kind},{number:06d},{layers[i]},{when[i].replace('T', ' ')},"
        f"{_exponent(exposures[i] / 1e6)},{tail}"
        for i, number in enumerate(numbers.tolist())
    ]
    joined = b"".join(text.encode("ascii").ljust(256, b"\0") for text in texts)
    return np.frombuffer(joined, np.uint8).reshape(count, 256)


def _per_frame(values: ArrayLike, count: int) -> NDArray[np.int64]:
    """One integer per frame."""
    return np.broadcast_to(np.asarray(values, dtype=np.int64), (count,))


def _exponent(value: float) -> str:
    """Format as the camera software does, with the shortest exponent: ``2.000000E+0``."""
    mantissa, exponent = f"{value:.6E}".split("E")
    return f"{mantissa}E{int(exponent):+d}"


# -- the .hdr text -------------------------------------------------------------------------------


def hdr_text(
    frames: int,
    frames_per_trigger: int = 1,
    depth: int = 12,
    software: str = "0.77",
    trigger_start: str = "Rising Edge",
    trigger_stop: str = "Internal",
    scan_x: int | None = None,
    scan_y: int | None = None,
    active_counters: str = "Counter 0",
    chip_mode: str = "SPM",
    drop: Iterable[str] = (),
    micro: bool = False,
    *,
    layout: str = "1x1",
    chips: int = 1,
    gain: str = "SLGM",
    date: str = "07/05/2021 18:50:41",
    values: Mapping[str, str] | None = None,
) -> bytes:
    """Return the 2048 bytes of a ``.hdr`` file.

    Parameters
    ----------
    frames, frames_per_trigger, depth, software, trigger_start, trigger_stop, active_counters, \
chip_mode, layout, chips, gain, date
        Values of the lines of these names.
    scan_x, scan_y : int, optional
        Scan size, written by software 1.5 and later.
    drop : iterable of str
        Lines to leave out, by their key up to the bracket, such as "Frames per Trigger" or "End".
    micro : bool
        Write the sensor bias as older software did: "(V, µA)" in Latin-1 and no colon.
    values : mapping, optional
        Text to write instead, by key up to the bracket.
    """
    unused = 4 - chips if chips < 4 else 0
    dacs = ",".join(f"{value:03d}" for value in DACS)
    folder = r"c:\Merlin_Quad_Config\default\Default_SPM"
    lines = {
        "Time and Date Stamp (day, mnth, yr, hr, min, s)": date,
        "Chip ID": ",".join([f"W556_B{i}" for i in range(chips)] + [" - "] * unused),
        "Chip Type (Medipix 3.0, Medipix 3.1, Medipix 3RX)": "Medipix 3RX",
        "Assembly Size (NX1, 2X2)": f"{layout:>6}",
        "Chip Mode  (SPM, CSM, CM, CSCM)": chip_mode,
        "Counter Depth (number)": f"{depth}",
        "Gain": gain,
        "Active Counters": active_counters,
        "Thresholds (keV)": ",".join(_exponent(value) for value in THRESHOLDS),
        "DACs": "; ".join([dacs] * chips + [""] * unused),
        "bpc File": ",".join([f"{folder}.bpc"] * (chips + unused)),
        "DAC File": ",".join([f"{folder}.dacs"] * (chips + unused)),
        "Gap Fill Mode": "None",
        "Flat Field File": "None",
        "Dead Time File": r"Dummy (C:\<NUL>" + "\\)",
        "Acquisition Type (Normal, Th_scan, Config)": "Normal",
        "Frames in Acquisition (Number)": f"{frames}",
        "Frames per Trigger (Number)": f"{frames_per_trigger}",
        "Trigger Start (Positive, Negative, Internal)": trigger_start,
        "Trigger Stop (Positive, Negative, Internal)": trigger_stop,
        "Sensor Bias (V)": "120 V",
        "Sensor Polarity (Positive, Negative)": "Positive",
        "Temperature (C)": "Board Temp 46.758652 Deg C",
        "Humidity (%)": "Board Humidity 12.508911 ",
        "Medipix Clock (MHz)": "180MHz",
        "Readout System": "Merlin Quad",
        "Software Version": software,
    }
    if scan_x is not None:
        lines["ScanX"] = f"{scan_x}"
    if scan_y is not None:
        lines["ScanY"] = f"{scan_y}"

    given = dict(values or {})
    left_out = set(drop)
    text = "HDR,\t\r\n"
    for key, value in lines.items():
        name = key.partition("(")[0].strip()
        value = given.pop(name, value)
        if name in left_out:
            left_out.remove(name)
        elif micro and name == "Sensor Bias":
            text += f"Sensor Bias (V, µA)\t{value}\r\n"
        else:
            text += f"{key}:\t{value}\r\n"
    if "End" in left_out:
        left_out.remove("End")
    else:
        text += "End\t"
    if given or left_out:
        raise ValueError(f"no such lines: {sorted([*given, *left_out])}")
    return text.encode("latin-1").ljust(2048)


# -- pixels --------------------------------------------------------------------------------------


def encode_raw(frame: ArrayLike, depth: int) -> bytes:
    """Encode one frame as a chip sends it: 64-bit big-endian words, first pixel in the low bits.

    A 24-bit frame is the image of the high 12 bits followed by the image of the low 12 bits.
    """
    return _raw(np.asarray(frame)[np.newaxis], depth).tobytes()


def quad_to_raw(image: ArrayLike, depth: int) -> bytes:
    """Encode one assembled image of 2x2 chips as the detector reads it out."""
    return encode_raw(quad_readout(np.asarray(image)), depth)


def quad_readout(images: NDArray[Any]) -> NDArray[Any]:
    """Rearrange assembled images of 2x2 chips as read out: four chips side by side.

    The highest-numbered chip comes first. The two chips of the lower half are mounted upside
    down, so their pixels run the other way in both directions.
    """
    rows, columns = images.shape[-2] // 2, images.shape[-1] // 2
    upper, lower = images[..., :rows, :], images[..., rows:, :]
    lower = lower[..., ::-1, ::-1]  # also exchanges the two chips
    return np.concatenate(
        [
            lower[..., :columns],
            lower[..., columns:],
            upper[..., columns:],
            upper[..., :columns],
        ],
        axis=-1,
    )


def row_readout(images: NDArray[Any], chips: int) -> NDArray[Any]:
    """Rearrange assembled images of chips in a row: highest-numbered chip first, none rotated.

    This order is an assumption, made by analogy with the upper half of 2x2 chips.
    """
    return np.concatenate(np.split(images, chips, axis=-1)[::-1], axis=-1)


def _raw(frames: NDArray[Any], depth: int) -> Bytes:
    """Encode frames (n, ny, nx) in the order of read-out; one row of bytes per frame."""
    _check_range(frames, 1 << depth)
    frames = frames.astype(np.uint64)
    if depth == 24:
        return np.concatenate([_raw(frames >> 12, 12), _raw(frames & 0xFFF, 12)], axis=1)
    bits = RAW_BITS[depth]
    per_word = 64 // bits
    if frames[0].size % per_word:
        raise ValueError(f"{frames[0].size} pixels do not fill 64-bit words")
    pixels = frames.reshape(len(frames), -1, per_word)
    shifts = np.arange(per_word, dtype=np.uint64) * np.uint64(bits)
    words: NDArray[np.uint64] = np.bitwise_or.reduce(pixels << shifts, axis=-1)
    return words.astype(">u8").view(np.uint8)


def _processed(frames: NDArray[Any], pixel_type: str) -> Bytes:
    """Encode frames (n, ny, nx) as big-endian unsigned integers; one row of bytes per frame."""
    dtype = np.dtype(f">u{int(pixel_type[1:]) // 8}")
    _check_range(frames, 1 << 8 * dtype.itemsize)
    return np.ascontiguousarray(frames, dtype=dtype).reshape(len(frames), -1).view(np.uint8)


def _check_range(frames: NDArray[Any], stop: int) -> None:
    """Refuse pixels that would be changed by writing them."""
    if frames.dtype.kind not in "bui":
        raise TypeError(f"pixels must be integers, not {frames.dtype}")
    if frames.size and (int(frames.min()) < 0 or int(frames.max()) >= stop):
        raise ValueError(f"pixels must be in 0 <= value < {stop}")


class _Storage(NamedTuple):
    """How frames of one shape are stored."""

    shape: Shape  # as in the header
    pixel_type: str
    chips: int
    nbytes: int
    encode: Callable[[NDArray[Any]], Bytes]


def _storage(
    shape: Shape,
    depth: int,
    kind: Literal["processed", "raw"],
    layout: str,
    chips: int | None,
    pixel_type: str | None,
) -> _Storage:
    """Find how frames of `shape` are stored."""
    rows, columns = shape
    if chips is None:
        chips = {"1": 1, "2": 4, "N": max(1, columns // CHIP_WIDTH)}[layout[0]]
    if kind == "processed":
        name = pixel_type or PIXEL_TYPES[depth]
        nbytes = rows * columns * int(name[1:]) // 8
        return _Storage(shape, name, chips, nbytes, lambda frames: _processed(frames, name))

    if chips == 4 and layout.startswith("2x2"):
        stored = rows // 2, columns * 2
        arrange = quad_readout
    else:
        stored = shape

        def arrange(images: NDArray[Any]) -> NDArray[Any]:
            return row_readout(images, chips)

    nbytes = rows * columns * (32 if depth == 24 else RAW_BITS[depth]) // 8
    if depth == 24:  # both images count
        stored = stored[0], stored[1] * 2
    name = pixel_type or "R64"
    return _Storage(stored, name, chips, nbytes, lambda frames: _raw(arrange(frames), depth))


# -- files ---------------------------------------------------------------------------------------


def write_mib(
    path: str | os.PathLike[str],
    frames: ArrayLike,
    depth: int = 12,
    kind: Literal["processed", "raw"] = "processed",
    layout: str = "1x1",
    times_ns: ArrayLike | None = None,
    exposures_ns: ArrayLike | None = None,
    first_sequence: int = 1,
    counters: ArrayLike | None = None,
    hdr: Mapping[str, Any] | None = None,
    mpx: bool = False,
    legacy: Literal["12B", "24B"] | None = None,
    truncate: int = 0,
    *,
    chips: int | None = None,
    pixel_type: str | None = None,
    sequences: ArrayLike | None = None,
    **header_options: Any,
) -> Path:
    """Write a recording.

    Parameters
    ----------
    path : path-like
        The ``.mib`` file.
    frames : array_like of int, (..., ny, nx)
        Assembled frames, also for ``kind="raw"``; for a raw "2x2G" without the gap, which raw
        files do not contain.
    depth : int
        Counter depth in bits.
    kind : {"processed", "raw"}
        Big-endian integers, or what the chips sent.
    layout : {"1x1", "2x2", "2x2G", "Nx1", "Nx1G"}
        Arrangement of the chips. Raw frames of a 24-bit 2x2 or of an Nx1 detector follow
        assumptions: nobody has published such a file.
    times_ns, exposures_ns, counters : array_like of int, optional
        One value, or one for each frame. Without times, frames follow each other without pause.
    first_sequence : int
        Sequence number of the first frame.
    hdr : mapping, optional
        Also write the ``.hdr`` file, with these parameters of `hdr_text`.
    mpx : bool
        Write what the camera sends over the network: the hdr text, then all frames, each message
        preceded by its length.
    legacy : {"12B", "24B"}, optional
        Write the 256-byte headers of 2015.
    truncate : int
        Number of bytes to cut off at the end of the file.
    chips : int, optional
        Number of chips; by default as the layout says, 256 columns each for "Nx1".
    pixel_type : str, optional
        Pixel type in the header; for processed frames also the stored type.
    sequences : array_like of int, optional
        All sequence numbers, where frames are missing or repeated.
    **header_options
        Other parameters of `headers`, or of `legacy_headers`.

    Returns
    -------
    Path
        The ``.mib`` file.
    """
    path = Path(path)
    images = np.asarray(frames)
    images = images.reshape(-1, *images.shape[-2:])
    count = len(images)
    if legacy:
        if kind != "processed" or depth != int(legacy[:2]):
            raise ValueError(f"{legacy} files hold processed frames of {legacy[:2]} bits")
        pixel_type = "U16" if legacy == "12B" else "U32"
    storage = _storage(images.shape[1:], depth, kind, layout, chips, pixel_type)

    if exposures_ns is None:
        exposures_ns = EXPOSURE_NS
    timing: dict[str, Any] = {
        "exposures_ns": exposures_ns,
        "times_ns": _back_to_back(exposures_ns, count) if times_ns is None else times_ns,
        "counters": 0 if counters is None else counters,
    }
    numbers = first_sequence + np.arange(count) if sequences is None else np.asarray(sequences)
    if legacy:
        parts = [legacy_headers(numbers, legacy, **timing, **header_options)]
    else:
        parts = [
            headers(
                numbers,
                storage.shape,
                depth,
                storage.pixel_type,
                layout,
                storage.chips,
                **timing,
                **header_options,
            )
        ]
    parts.append(storage.encode(images) if count else np.empty((0, storage.nbytes), np.uint8))
    text = hdr_text(
        **{"frames": count, "depth": depth, "layout": layout, "chips": storage.chips, **(hdr or {})}
    )
    start = b""
    if mpx:
        message = parts[0].shape[1] + storage.nbytes
        prefix = np.frombuffer(_mpx_prefix(message), np.uint8)
        parts.insert(0, np.broadcast_to(prefix, (count, len(prefix))))
        start = _mpx_prefix(len(text)) + text
    content = start + np.concatenate(parts, axis=1).tobytes()
    path.write_bytes(content[: len(content) - truncate])
    if hdr is not None:
        path.with_suffix(".hdr").write_bytes(text)
    return path


def write_sparse_mib(
    path: str | os.PathLike[str],
    n: int,
    shape: Shape = (256, 256),
    depth: int = 12,
    *,
    frames: Mapping[int, ArrayLike] | None = None,
    positions: Iterable[int] = (),
    all_headers: bool = False,
    kind: Literal["processed", "raw"] = "processed",
    layout: str = "1x1",
    chips: int | None = None,
    pixel_type: str | None = None,
    times_ns: ArrayLike | None = None,
    exposures_ns: ArrayLike = EXPOSURE_NS,
    first_sequence: int = 1,
    hdr: Mapping[str, Any] | None = None,
    **header_options: Any,
) -> Path:
    """Write a recording of `n` frames that takes little space: what is not written is a hole.

    Parameters
    ----------
    path, shape, depth, kind, layout, chips, pixel_type, first_sequence, hdr, **header_options
        As for `write_mib`; `shape` is that of the assembled frames.
    n : int
        Number of frames.
    frames : mapping of int to array_like, optional
        Frames to write, by position. All others are zero.
    positions : iterable of int
        Positions of further frames with a header. First and last frame always have one.
    all_headers : bool
        Write the headers of all frames, meant for up to 1e5 frames.
    times_ns, exposures_ns : array_like of int
        One value, or `n` values.
    """
    path = Path(path)
    given = dict(frames or {})
    storage = _storage(shape, depth, kind, layout, chips, pixel_type)
    wanted = range(n) if all_headers else {0, n - 1, *given, *positions}
    at = np.array(sorted(wanted), dtype=np.int64)
    if at[0] < 0 or at[-1] >= n:
        raise ValueError(f"positions must be in 0 <= position < {n}")
    times: ArrayLike
    if times_ns is not None:
        times = np.broadcast_to(np.asarray(times_ns, np.int64), (n,))[at]
    elif np.ndim(exposures_ns) == 0:
        times = START_NS + at * np.asarray(exposures_ns, np.int64)
    else:
        times = _back_to_back(exposures_ns, n)[at]
    exposures = np.broadcast_to(np.asarray(exposures_ns, np.int64), (n,))[at]
    rows = headers(
        first_sequence + at,
        storage.shape,
        depth,
        storage.pixel_type,
        layout,
        storage.chips,
        times_ns=times,
        exposures_ns=exposures,
        **header_options,
    )
    stride = rows.shape[1] + storage.nbytes
    with path.open("wb", buffering=0) as file:
        file.truncate(n * stride)
        for position, row in zip(at.tolist(), rows, strict=True):
            file.seek(position * stride)
            file.write(row.data)
            if position in given:
                file.write(storage.encode(np.asarray(given[position])[np.newaxis]).data)
    if hdr is not None:
        defaults = {"frames": n, "depth": depth, "layout": layout, "chips": storage.chips}
        path.with_suffix(".hdr").write_bytes(hdr_text(**{**defaults, **hdr}))
    return path


def _mpx_prefix(length: int) -> bytes:
    """Begin a network message; its length includes the comma after the length."""
    return f"MPX,{length + 1:010d},".encode("ascii")


def _back_to_back(exposures_ns: ArrayLike, count: int) -> NDArray[np.int64]:
    """Times of frames that follow each other without pause."""
    durations = _per_frame(exposures_ns, count)
    return START_NS + np.cumsum(durations) - durations


# -- timing of scans -----------------------------------------------------------------------------


def scan_times(
    nav_shape: tuple[int, int],
    dwell_ns: int = EXPOSURE_NS,
    line_gap_ns: int = 20_000,
    jitter_ns: int = 10,
    rng: np.random.Generator | None = None,
    *,
    exposure_ns: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return times and exposures of a raster scan with one trigger for each position.

    Parameters
    ----------
    nav_shape : tuple of int
        Lines and positions per line.
    dwell_ns : int
        Time between two triggers in a line.
    line_gap_ns : int
        Additional time between the last position of a line and the first of the next.
    jitter_ns : int
        Largest deviation of a time; deviations are multiples of 10 ns, the resolution of the
        camera.
    rng : numpy.random.Generator, optional
        Source of the deviations; needed unless `jitter_ns` is 0.
    exposure_ns : int, optional
        Exposure; by default all of `dwell_ns`.
    """
    lines, width = nav_shape
    index = np.arange(lines * width, dtype=np.int64)
    times = START_NS + index * dwell_ns + index // width * line_gap_ns
    if jitter_ns:
        if rng is None:
            raise TypeError("jitter needs a random generator")
        steps = jitter_ns // 10
        times += 10 * rng.integers(-steps, steps, times.shape, endpoint=True)
    exposures = np.full(times.shape, dwell_ns if exposure_ns is None else exposure_ns, np.int64)
    return times, exposures


def flyback_exposures(
    lines: int,
    width: int,
    start: int = 41,
    *,
    dwell_ns: int = 900_000,
    flyback_ns: int = 1_800_000,
    startup_ns: int | None = 326_000_000,
) -> NDArray[np.int64]:
    """Return exposures of a scan in which the frame taken while the beam flies back is longer.

    Parameters
    ----------
    lines : int
        Number of lines.
    width : int
        Frames per line, including the flyback frame, which is the first one.
    start : int
        Number of frames before the first flyback frame.
    dwell_ns, flyback_ns : int
        Exposure of ordinary and of flyback frames.
    startup_ns : int, optional
        Exposure of the very first frame, which waits for the scan to start; None: no such frame.
    """
    exposures = np.full(start + lines * width, dwell_ns, np.int64)
    exposures[start::width] = flyback_ns
    if startup_ns is not None:
        if start < 1:
            raise ValueError("the start-up frame precedes the first flyback frame")
        exposures[0] = startup_ns
    return exposures
