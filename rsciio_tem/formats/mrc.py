# SPDX-License-Identifier: GPL-3.0-or-later
"""MRC files: electron microscopy's common image stack, among them Direct Electron's movies.

Sources: the MRC2014 description (Cheng et al., J. Struct. Biol. 192, 2015) for the header, IMOD's
documentation for modes 16 and 101 and the sign of bytes, FEI's (the field list that mrcfile
publishes) for its extended headers, and recorded files for what Direct Electron writes beside its
movies. ``specifications/mrc.ksy`` and ``specifications/mrc_de.md`` write the layouts down.

A header of 1024 bytes, an extended header, and NZ images of NY rows and NX columns.
"""

from __future__ import annotations

import bz2
import datetime
import functools
import gzip
import math
import os
import re
import struct
import warnings
import zlib
from collections.abc import Mapping, Sequence
from typing import IO, Any, Literal, Unpack

import numpy as np
import numpy.typing as npt

from rsciio_tem import backends, directelectron, files, navigator, signals
from rsciio_tem.arrays import ArrayFrames
from rsciio_tem.backends import DataFile
from rsciio_tem.errors import (
    FormatError,
    NotEnoughMemory,
    NotThisFormat,
    Problem,
    Truncated,
    Unsupported,
    warn,
)
from rsciio_tem.frames import Frames, FrameTable, runs_of
from rsciio_tem.pixels import Packing, Pixels
from rsciio_tem.read import ReadOptions, free_memory, read
from rsciio_tem.recording import Axis, Recording
from rsciio_tem.scan import ScanHint

__all__ = ["file_reader", "file_writer", "parse", "sniff"]

Endianness = Literal["<", ">"]
Images = Sequence[str | os.PathLike[str]]

#: File header. Names as in RosettaSciIO where it has the field.
HEADER = np.dtype(
    [
        ("NX", "<i4"),  # 0: columns
        ("NY", "<i4"),  # 4: rows
        ("NZ", "<i4"),  # 8: images
        ("MODE", "<i4"),  # 12: pixel type, see MODES
        ("NXSTART", "<i4"),  # 16: first column in the grid below
        ("NYSTART", "<i4"),  # 20: first row
        ("NZSTART", "<i4"),  # 24: first image
        ("MX", "<i4"),  # 28: grid points along the first axis of the cell
        ("MY", "<i4"),  # 32: second axis
        ("MZ", "<i4"),  # 36: third axis; for stacks of volumes, images per volume
        ("Xlen", "<f4"),  # 40: size of the cell along its first axis in Å, 0 or less if unknown
        ("Ylen", "<f4"),  # 44: second axis
        ("Zlen", "<f4"),  # 48: third axis
        ("ALPHA", "<f4"),  # 52: angles of the cell in degrees
        ("BETA", "<f4"),  # 56
        ("GAMMA", "<f4"),  # 60
        ("MAPC", "<i4"),  # 64: which axis of the cell columns count along, 1 to 3
        ("MAPR", "<i4"),  # 68: rows
        ("MAPS", "<i4"),  # 72: images
        ("AMIN", "<f4"),  # 76: least pixel value; more than AMAX if unknown
        ("AMAX", "<f4"),  # 80: greatest
        ("AMEAN", "<f4"),  # 84: mean
        ("ISPG", "<i4"),  # 88: 0 image stack, 1 volume, 401 to 630 stack of volumes
        ("NEXT", "<i4"),  # 92: bytes of the extended header (NSYMBT)
        ("EXTRA_A", "V8"),  # 96: free
        ("EXTTYP", "S4"),  # 104: kind of the extended header
        ("NVERSION", "<i4"),  # 108: 10 * year + version, 20140 on; anything in older files
        ("EXTRA_B", "V16"),  # 112: free
        ("NINT", "<i2"),  # 128: numbers per image in an extended header of SerialEM
        ("NREAL", "<i2"),  # 130: what they are
        ("EXTRA_C", "V20"),  # 132: free
        ("IMODSTAMP", "<i4"),  # 152: 1146047817 if IMOD, SerialEM ... wrote the next field
        ("IMODFLAGS", "<i4"),  # 156: bit 0: bytes are signed
        ("IDTYPE", "<i2"),  # 160: kind of series, IMOD
        ("LENS", "<i2"),  # 162
        ("ND1", "<i2"),  # 164
        ("ND2", "<i2"),  # 166
        ("VD1", "<i2"),  # 168
        ("VD2", "<i2"),  # 170
        ("TILTANGLES", "<f4", 6),  # 172: degrees
        ("XORIGIN", "<f4"),  # 196: origin in Å
        ("YORIGIN", "<f4"),  # 200
        ("ZORIGIN", "<f4"),  # 204
        ("CMAP", "S4"),  # 208: "MAP ", not in files of before 2000
        ("STAMP", "V4"),  # 212: 44 44 or 44 41 little-endian, 11 11 big-endian
        ("RMS", "<f4"),  # 216: scatter of the pixel values, negative if unknown
        ("NLABL", "<i4"),  # 220: number of labels in use
        ("LABELS", "S80", 10),  # 224: text
    ]
)
IMOD_STAMP = 1146047817

RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
#: Pixel types by MODE. Mode 0 is told apart by `_signed`.
MODES: dict[int, tuple[Any, Packing]] = {
    0: ("i1", "plain"),
    1: ("i2", "plain"),
    2: ("f4", "plain"),
    3: ("c8", "complex-i2"),
    4: ("c8", "plain"),
    6: ("u2", "plain"),
    12: ("f2", "plain"),
    16: (RGB, "plain"),
    101: ("u1", "u4-rows"),
}

#: Extended header of FEI and Thermo Fisher, one record per image. FEI1 ends at byte 768.
# fmt: off
_FEI2 = [
    ("metadata_size", "<i4"), ("metadata_version", "<i4"), ("bitmask_1", "V4"),  # 0, 4, 8
    ("timestamp", "<f8"),  # 12: days since 1899-12-30
    ("microscope_type", "S16"), ("d_number", "S16"),  # 20, 36
    ("application", "S16"), ("application_version", "S16"),  # 52, 68
    ("ht", "<f8"), ("dose", "<f8"),  # 84: V, 92: electrons / m²
    ("alpha_tilt", "<f8"), ("beta_tilt", "<f8"),  # 100, 108: degrees
    ("x_stage", "<f8"), ("y_stage", "<f8"), ("z_stage", "<f8"),  # 116, 124, 132: m
    ("tilt_axis_angle", "<f8"), ("dual_axis_rotation", "<f8"),  # 140, 148: degrees
    ("pixel_size_x", "<f8"), ("pixel_size_y", "<f8"),  # 156, 164: m
    ("unused", "V48"),  # 172
    ("defocus", "<f8"), ("stem_defocus", "<f8"), ("applied_defocus", "<f8"),  # 220, 228, 236: m
    ("instrument_mode", "<i4"), ("projection_mode", "<i4"),  # 244: 2 is STEM, 248
    ("objective_lens_mode", "S16"), ("high_magnification_mode", "S16"),  # 252, 268
    ("probe_mode", "<i4"), ("eftem_on", "?"), ("magnification", "<f8"),  # 284, 288, 289
    ("bitmask_2", "V4"),  # 297
    ("camera_length", "<f8"), ("spot_index", "<i4"),  # 301: m, 309
    ("illuminated_area", "<f8"), ("intensity", "<f8"),  # 313, 321
    ("convergence_angle", "<f8"), ("illumination_mode", "S16"),  # 329, 337
    ("wide_convergence_angle_range", "?"), ("slit_inserted", "?"),  # 353, 354
    ("slit_width", "<f8"), ("acceleration_voltage_offset", "<f8"),  # 355, 363: eV, V
    ("drift_tube_voltage", "<f8"), ("energy_shift", "<f8"),  # 371, 379: V, eV
    ("shift_offset_x", "<f8"), ("shift_offset_y", "<f8"),  # 387, 395
    ("shift_x", "<f8"), ("shift_y", "<f8"),  # 403, 411
    ("integration_time", "<f8"),  # 419: s
    ("binning_width", "<i4"), ("binning_height", "<i4"), ("camera_name", "S16"),  # 427, 431, 435
    ("readout_area_left", "<i4"), ("readout_area_top", "<i4"),  # 451, 455
    ("readout_area_right", "<i4"), ("readout_area_bottom", "<i4"),  # 459, 463
    ("ceta_noise_reduction", "?"), ("ceta_frames_summed", "<i4"),  # 467, 468
    ("electron_counting", "?"), ("align_frames", "?"),  # 472, 473
    ("camera_reserved_1", "V16"), ("bitmask_3", "V4"),  # 474, 490
    ("camera_reserved_2", "V24"),  # 494
    ("phase_plate", "?"), ("stem_detector_name", "S16"),  # 518, 519
    ("gain", "<f8"), ("offset", "<f8"), ("stem_reserved", "V20"),  # 535, 543, 551
    ("dwell_time", "<f8"), ("frame_time", "<f8"),  # 571, 579: units not known
    ("scan_size_left", "<i4"), ("scan_size_top", "<i4"),  # 587, 591: scan positions
    ("scan_size_right", "<i4"), ("scan_size_bottom", "<i4"),  # 595, 599
    ("full_scan_fov_x", "<f8"), ("full_scan_fov_y", "<f8"),  # 603, 611: m
    ("element", "S16"),  # 619
    ("energy_interval_lower", "<f8"), ("energy_interval_higher", "<f8"),  # 635, 643
    ("method", "<i4"), ("is_dose_fraction", "?"), ("fraction_number", "<i4"),  # 651, 655, 656
    ("start_frame", "<i4"), ("end_frame", "<i4"), ("input_stack_filename", "S80"),  # 660, 664, 668
    ("bitmask_4", "V4"), ("alpha_tilt_min", "<f8"), ("alpha_tilt_max", "<f8"),  # 748, 752, 760
    # from here on only in FEI2
    ("scan_rotation", "<f8"), ("diffraction_pattern_rotation", "<f8"),  # 768, 776
    ("image_rotation", "<f8"), ("scan_mode", "<i4"), ("acquisition_time_stamp", "<i8"),  # 784 ...
    ("detector_commercial_name", "S16"),  # 804
    ("start_tilt_angle", "<f8"), ("end_tilt_angle", "<f8"),  # 820, 828
    ("tilt_per_image", "<f8"), ("tilt_speed", "<f8"),  # 836, 844
    ("beam_center_x_pixel", "<i4"), ("beam_center_y_pixel", "<i4"),  # 852, 856
    ("cfeg_flash_timestamp", "<i8"), ("phase_plate_position_index", "<i4"),  # 860, 868
    ("objective_aperture_name", "S16"),  # 872
]
# fmt: on
FEI2 = np.dtype(_FEI2)
FEI1 = np.dtype(_FEI2[: next(i for i, (name, _) in enumerate(_FEI2) if name == "scan_rotation")])
#: Extended header of older FEI software: 1024 records of 128 bytes; names as in RosettaSciIO.
FEI_OLD = np.dtype(
    [
        ("a_tilt", "<f4"),  # 0: degrees
        ("b_tilt", "<f4"),  # 4: degrees
        ("x_stage", "<f4"),  # 8: m
        ("y_stage", "<f4"),  # 12: m
        ("z_stage", "<f4"),  # 16: m
        ("x_shift", "<f4"),  # 20: m
        ("y_shift", "<f4"),  # 24: m
        ("defocus", "<f4"),  # 28: m
        ("exp_time", "<f4"),  # 32: s
        ("mean_int", "<f4"),  # 36: mean of the image
        ("tilt_axis", "<f4"),  # 40: degrees
        ("pixel_size", "<f4"),  # 44: m
        ("magnification", "<f4"),  # 48
        ("unused", "V76"),  # 52
    ]
)
_OLD_FEI_BYTES = 1024 * FEI_OLD.itemsize
#: Extended headers that are not records of FEI, whatever their size.
_NOT_FEI = (b"CCP4", b"MRCO", b"SERI", b"HDF5")

SUFFIXES = (".mrc", ".mrcs", ".st", ".ali", ".rec", ".map")
#: First bytes of compressed files, and what opens them.
_COMPRESSED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}
#: Bytes of extended headers that are looked at.
_EXTENDED = 1 << 19


# ---------------------------------------------------------------- header


def _sane(header: np.void) -> bool:
    return bool(
        0 < header["NX"] < 1 << 24
        and 0 < header["NY"] < 1 << 24
        and 0 <= header["NZ"] < 1 << 30
        and 0 <= header["MODE"] < 1 << 16
        and header["NEXT"] >= 0
    )


def _header(
    path: str, head: bytes, endianness: Endianness | None, problems: list[Problem]
) -> tuple[np.void, Endianness]:
    """Decode the header; returns it and its byte order."""
    if endianness not in ("<", ">", None):
        raise ValueError(f"endianness={endianness!r} is neither '<' nor '>'")
    if len(head) < HEADER.itemsize:
        raise Truncated(path, f"ends inside its header, after {len(head)} bytes.")
    stamp: Endianness | None = {0x44: "<", 0x11: ">"}.get(head[212])  # type: ignore[assignment]
    first: Endianness = endianness or stamp or "<"
    for order in (first,) if endianness else (first, ">" if first == "<" else "<"):
        header: np.void = np.frombuffer(head, HEADER.newbyteorder(order), 1)[0]
        if not _sane(header):
            continue
        if stamp is not None and order != stamp:
            name = "little" if order == "<" else "big"
            problems.append(
                Problem("warning", f"has the mark of the other byte order, but is {name}-endian.")
            )
        return header, order
    header = np.frombuffer(head, HEADER.newbyteorder(first), 1)[0]
    raise NotThisFormat(
        path,
        f"is no MRC file: its header would announce {header['NZ']} images of {header['NY']} x "
        f"{header['NX']} pixels of mode {header['MODE']}"
        + (f" with endianness={endianness!r}." if endianness else "."),
        "Leave endianness out, so that the file decides." if endianness else "",
    )


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise an MRC file by the mark in its header, older ones by a header that makes sense."""
    name = path.lower()
    for magic in _COMPRESSED:
        if head.startswith(magic):
            if not os.path.splitext(name)[0].endswith(SUFFIXES):
                return None
            try:
                head = zlib.decompressobj(31).decompress(head, 1024) if magic[0] == 0x1F else b""
            except zlib.error:
                return None
            if len(head) < 216:
                return 0.6, "is compressed, and named like an MRC file", {}
    if len(head) < 216:
        return None
    fields = HEADER.names or ()
    start = head[:1024].ljust(1024, b"\0")
    orders: tuple[Endianness, ...] = ("<", ">")
    for order in orders:
        header = np.frombuffer(start, HEADER.newbyteorder(order), 1)[0]
        if not _sane(header):
            continue
        if head[208:211] == b"MAP":
            return 0.95, "has MAP at byte 208", {}
        axes = sorted(int(header[name]) for name in fields[16:19])
        if name.endswith(SUFFIXES) and axes in ([1, 2, 3], [0, 0, 0]) and header["MODE"] in MODES:
            return 0.6, "has the header of an MRC file without its mark", {}
    return None


def _signed(header: np.void, info: Mapping[str, str], problems: list[Problem]) -> bool:
    """Whether the bytes of mode 0 are signed."""
    if header["IMODSTAMP"] == IMOD_STAMP:
        return bool(header["IMODFLAGS"] & 1)
    if header["AMIN"] <= header["AMAX"] and header["AMIN"] < 0:
        return True
    if header["AMIN"] <= header["AMAX"] and header["AMAX"] > 127:
        return False
    # Direct Electron: unsigned, and a size of the cell that is negative if unknown
    if info or header["Xlen"] < 0:
        return any("Pixel Format" in key and v == "int8" for key, v in info.items())
    if header["NVERSION"] // 10 in range(2014, 2100):
        return True
    problems.append(
        Problem(
            "warning",
            "does not say whether its 8-bit pixels are signed; they are read as unsigned.",
            "Pass signed=True or signed=False.",
        )
    )
    return False


def _pixels(
    path: str, header: np.void, order: Endianness, signed: bool | None, sign: bool
) -> Pixels:
    mode = int(header["MODE"])
    if mode not in MODES:
        known = ", ".join(map(str, MODES))
        if mode >= 1000:
            raise Unsupported(
                path,
                f"has MODE {mode}: its pixels are compressed (MRCZ).",
                'Use RosettaSciIO: hs.load(..., file_format="MRCZ").',
            )
        raise Unsupported(path, f"has pixels of MODE {mode}; known are {known}.")
    if signed is not None and mode != 0:
        raise ValueError(f"signed= is for 8-bit pixels (MODE 0); {path} has MODE {mode}")
    kind, packing = MODES[mode]
    if mode == 0:
        kind = "i1" if (sign if signed is None else signed) else "u1"
    stored = np.dtype(kind)
    if stored.names is None:
        stored = stored.newbyteorder(order)
    return Pixels((int(header["NY"]), int(header["NX"])), stored, packing)


def _steps(header: np.void) -> list[tuple[float | None, float]]:
    """Return step and origin in nm along columns, rows and images; None for an unknown step."""
    axes = [int(header[name]) for name in ("MAPC", "MAPR", "MAPS")]
    if sorted(axes) != [1, 2, 3]:
        axes = [1, 2, 3]
    found: list[tuple[float | None, float]] = []
    for axis in axes:
        letter = "XYZ"[axis - 1]
        points = int(header[f"M{letter}"])
        step = float(header[f"{letter}len"]) / points / 10 if points > 0 else 0.0
        origin = float(header[f"{letter}ORIGIN"]) / 10
        if 1e-7 < step < 1e9:  # what is smaller was written as another type of number
            found.append((step, origin if abs(origin) < 1e12 else 0.0))
        else:
            found.append((None, 0.0))
    return found


def _std_header(header: np.void, head: bytes) -> dict[str, Any]:
    """Return the header as plain values; what RosettaSciIO gives as hexadecimal text is so here."""
    tree: dict[str, Any] = {}
    for name in HEADER.names or ():
        value = header[name]
        if not isinstance(value, (bytes, np.void)) and name != "LABELS":
            tree[name] = value.tolist()
    tree["NSYMBT"] = tree["NEXT"]
    tree["CREATID"] = int.from_bytes(head[96:98], "little")
    tree |= {"EXTRA": head[98:128].hex(), "EXTRA2": head[132:160].hex()}
    spans = (("CMAP", 208, 212), ("STAMP", 212, 216), ("LABELS", 224, 1024))
    tree |= {name: head[a:b].rstrip(b"\0").hex() for name, a, b in spans}
    tree["EXTTYP"] = header["EXTTYP"].decode("latin-1")
    return tree


# ---------------------------------------------------------------- extended header


def _columns(records: npt.NDArray[np.void]) -> dict[str, Any]:
    """Return one value per field, or one per record where these differ."""
    found: dict[str, Any] = {}
    for name in records.dtype.names or ():
        column = records[name]
        if column.dtype.kind == "V":
            if name != "unused":
                found[name] = bytes(column[0]).hex()
            continue
        if column.dtype.kind == "S":
            column = np.char.decode(np.ascontiguousarray(column), "latin-1")
        column = column.astype(column.dtype.newbyteorder("="))
        same = bool((column == column[0]).all()) or bool((column != column).all())
        found[name] = column[0].item() if same else column
    return found


def _extended(
    path: str, header: np.void, order: Endianness, content: bytes, problems: list[Problem]
) -> dict[str, Any]:
    """Decode what the extended header says about the images.

    Returns
    -------
    dict
        For ``original_metadata``: ``fei_header`` where it is FEI's.
    """
    size, kind = int(header["NEXT"]), bytes(header["EXTTYP"])
    if not size:
        return {}
    tree: dict[str, Any] = {
        "extended_header": {"type": kind.decode("latin-1").strip("\0 "), "bytes": size}
    }
    record: np.dtype[Any] | None = None
    step = 0
    if kind in (b"FEI1", b"FEI2") and len(content) >= 4:
        record = FEI1 if kind == b"FEI1" else FEI2
        step = struct.unpack(order + "i", content[:4])[0]
    elif size == _OLD_FEI_BYTES and kind not in _NOT_FEI:
        record, step = FEI_OLD, FEI_OLD.itemsize
    if record is not None:
        count = min(max(1, int(header["NZ"])), len(content) // step if step > 0 else 0)
        if step < record.itemsize or not count:
            problems.append(
                Problem(
                    "warning",
                    f"has an extended header of type {kind.decode('latin-1')} with records of "
                    f"{step} bytes, which is no such; it is ignored.",
                )
            )
            return tree
        records = np.ndarray((count,), record.newbyteorder(order), content, strides=(step,))
        tree["fei_header"] = _columns(records)
        tree["extended_header"]["records"] = count
    elif kind.strip(b"\0 ") in (b"", b"CCP4") and size == len(content) and size % 80 == 0:
        text = content.decode("latin-1")
        if text.isprintable():
            tree["symmetry"] = [text[i : i + 80].rstrip() for i in range(0, size, 80)]
    return tree


def _fei_metadata(fei: Mapping[str, Any]) -> dict[str, Any]:
    """Translate an extended header of FEI."""
    old = "a_tilt" in fei
    tem: dict[str, Any] = {
        "Stage": {
            "tilt_alpha": fei["a_tilt" if old else "alpha_tilt"],
            "tilt_beta": fei["b_tilt" if old else "beta_tilt"],
            **{axis: fei[f"{axis}_stage"] * 1e3 for axis in "xyz"},  # m -> mm
        }
    }
    if np.all(fei["magnification"]):
        tem["magnification"] = fei["magnification"]
    exposure = fei["exp_time" if old else "integration_time"]
    camera: dict[str, Any] = {"exposure": exposure} if np.all(exposure) else {}
    general: dict[str, Any] = {}
    if not old:
        for name, source, factor in (
            ("beam_energy", "ht", 1e-3),
            ("camera_length", "camera_length", 1e3),
            ("convergence_angle", "convergence_angle", 1e3),
        ):
            value = np.ravel(fei[source])[0].item()
            if math.isfinite(value) and value > 0:
                tem[name] = value * factor
        if fei["microscope_type"]:
            tem["microscope"] = str(np.ravel(fei["microscope_type"])[0])
        if isinstance(fei["camera_name"], str) and fei["camera_name"]:
            camera["Name"] = fei["camera_name"]
        days = float(np.ravel(fei["timestamp"])[0])
        if 1 < days < 100_000:
            moment = datetime.datetime(1899, 12, 30) + datetime.timedelta(days)
            general = {"date": moment.date().isoformat(), "time": moment.time().isoformat()}
    if camera:
        tem["Detector"] = {"Camera": camera}
    return {"General": general, "Acquisition_instrument": {"TEM": tem}}


def _fei_scan(
    fei: Mapping[str, Any], count: int, problems: list[Problem]
) -> tuple[tuple[ScanHint, ...], tuple[Axis, ...]]:
    """Return the scan shape that FEI1 and FEI2 give, if it accounts for the images."""
    names = [f"scan_size_{side}" for side in ("left", "top", "right", "bottom")]
    if not all(isinstance(fei.get(name), int) for name in names):
        return (), ()
    left, top, right, bottom = (fei[name] for name in names)
    shape = bottom - top, right - left
    if count < 2 or min(shape) < 1 or math.prod(shape) != count:
        return (), ()
    fields = [np.ravel(fei[f"full_scan_fov_{axis}"])[0].item() for axis in "yx"]
    axes = tuple(
        Axis(name, "nm", fov * 1e9 / n) if 0 < fov < 1 else Axis(name, None)
        for name, fov, n in zip("yx", fields, shape, strict=True)
    )
    reason = f"scan area of {shape[1]} x {shape[0]} positions in the extended header"
    problems.append(
        Problem(
            "warning",
            f"the scan shape {shape} and its step are taken from the extended header, whose scan "
            "area accounts for all images; no 4D-STEM file was at hand for a comparison.",
            "Pass navigation_shape=(x, y) if that is wrong.",
        )
    )
    return (ScanHint("header", shape, 0.8, reason),), axes


# ---------------------------------------------------------------- description


def _unpacked(
    path: str, opener: Any, endianness: Endianness | None, problems: list[Problem]
) -> bytearray:
    """Unpack a compressed file as far as its header says, and as memory allows."""
    content = bytearray()
    wanted = HEADER.itemsize
    file: IO[bytes]
    try:
        with opener(path, "rb") as file:
            content += file.read(wanted)
            header, order = _header(path, bytes(content), endianness, [])
            pixels = _pixels(path, header, order, None, True)
            wanted += int(header["NEXT"]) + int(header["NZ"] or 1 << 30) * pixels.nbytes
            while len(content) < wanted:
                free = free_memory()
                if free is not None and 2 * len(content) + (16 << 20) > free:  # and the array
                    raise NotEnoughMemory(
                        path,
                        f"has {len(content) / 1e9:.1f} GB unpacked so far, and announces "
                        f"{wanted / 1e9:.1f} GB; {free / 1e9:.1f} GB of memory are free.",
                        "Unpack the file on disk and open that.",
                    )
                piece = file.read(min(1 << 20, wanted - len(content)))
                if not piece:
                    break
                content += piece
    except (EOFError, OSError, zlib.error) as error:
        if len(content) <= HEADER.itemsize:
            raise FormatError(path, f"cannot be unpacked: {error}.") from None
        problems.append(Problem("warning", f"cannot be unpacked to its end: {error}."))
    return content


def _count(header: np.void, room: int, nbytes: int, path: str, problems: list[Problem]) -> int:
    """Return how many images there are: as many as announced, if the file holds them."""
    announced = int(header["NZ"])
    held, rest = divmod(max(0, room), nbytes)
    if not held:
        raise Truncated(
            path,
            f"holds {max(0, room)} bytes of pixels, one image of {header['NY']} x {header['NX']} "
            f"takes {nbytes}.",
        )
    if announced == 0:
        problems.append(Problem("warning", f"announces no images; it holds {held}."))
    elif held < announced:
        problems.append(
            Problem(
                "warning",
                f"announces {announced} images, but holds {held}"
                + (" and a part of one." if rest else "."),
            )
        )
    elif held > announced:
        problems.append(
            Problem(
                "warning",
                f"announces {announced} images, and has room for {held - announced} more behind "
                "them, which are not read.",
            )
        )
    elif rest:
        problems.append(Problem("info", f"{rest} bytes behind the last image are not read."))
    return min(held, announced) or held


def parse(
    filename: str | os.PathLike[str],
    *,
    endianness: Endianness | None = None,
    signed: bool | None = None,
    metadata_file: str | os.PathLike[str] | None = "auto",
    scan_file: str | os.PathLike[str] | None = None,
) -> Recording:
    """Describe an MRC file; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    path = files.existing(filename)
    problems: list[Problem] = []
    sides = directelectron.beside(path) if metadata_file == "auto" else directelectron.Sides()
    info_file = sides.info if metadata_file == "auto" else metadata_file or None
    info = directelectron.description(files.existing(info_file)) if info_file is not None else {}
    scan_file = scan_file or sides.scan

    file = DataFile.of(path)
    head = files.read_start(path, HEADER.itemsize)
    opener = next((o for magic, o in _COMPRESSED.items() if head.startswith(magic)), None)
    content = _unpacked(path, opener, endianness, problems) if opener else None
    size = file.size if content is None else len(content)
    head = head if content is None else bytes(content[: HEADER.itemsize])
    header, order = _header(path, head, endianness, problems)
    sign = _signed(header, info, problems) if header["MODE"] == 0 and signed is None else False
    pixels = _pixels(path, header, order, signed, sign)
    start = HEADER.itemsize + int(header["NEXT"])
    if start >= size:
        raise Truncated(path, f"ends at byte {size}, before the first image at byte {start}.")
    count = _count(header, size - start, pixels.nbytes, path, problems)

    length = min(int(header["NEXT"]), _EXTENDED)
    if content is None:
        extra = bytes(backends.read(file, HEADER.itemsize, length, "buffered"))
    else:
        extra = bytes(content[HEADER.itemsize : HEADER.itemsize + length])
    tree = {
        "std_header": _std_header(header, head),
        "labels": [text.decode("latin-1").strip("\0 ") for text in header["LABELS"] if text],
        **_extended(path, header, order, extra, problems),
    }
    frames: Frames
    if content is None:
        frames = FrameTable((file,), runs_of([(0, start, pixels.nbytes, count)]), pixels)
    else:
        raw = np.frombuffer(content, np.uint8, count * pixels.nbytes, start)
        values = np.empty((count, *pixels.shape), pixels.dtype)
        pixels.decode(raw.reshape(count, -1), values)
        whole = functools.partial(np.asarray, values)
        frames = ArrayFrames(whole, (count,), pixels.shape, pixels.dtype)

    columns, rows, images = _steps(header)
    fei = tree.get("fei_header", {})
    if "a_tilt" in fei:  # the header proper is not calibrated in these files
        size_m = float(np.ravel(fei["pixel_size"])[0])
        columns = rows = (size_m * 1e9 if 0 < size_m < 1 else None, 0.0)
        images = (None, 0.0)
    signal_axes = tuple(
        Axis(name, None if step is None else "nm", step or 1.0, origin)
        for name, (step, origin) in (("y", rows), ("x", columns))
    )
    # images of a volume follow each other in space, those of a stack in no unit
    depth, origin = images
    stack_axis = Axis("z", "nm" if depth and header["ISPG"] > 0 else None, depth or 1.0, origin)
    metadata: dict[str, Any] = {"General": {}, "Signal": {}}
    hints: tuple[ScanHint, ...] = ()
    scan_axes: tuple[Axis, ...] = ()
    layers = 1
    if fei:
        metadata |= _fei_metadata(fei)
        hints, scan_axes = _fei_scan(fei, count, problems)
    per_volume = int(header["MZ"])
    if 401 <= header["ISPG"] <= 630 and per_volume > 1 and count >= per_volume:
        shape = (count // per_volume, per_volume)
        reason = f"stack of volumes of {per_volume} images"
        hints = (ScanHint("header", shape, 0.9, reason),)
        scan_axes = (Axis("volume"), stack_axis)
    likely = re.sub(r"_movie\.mrc$", "_info.txt", path, flags=re.IGNORECASE)
    if metadata_file == "auto" and not info and likely != path and os.path.isfile(likely):
        name = os.path.basename(likely)
        problems.append(
            Problem("info", f"{name} beside it is not read.", f"Pass metadata_file={likely!r}.")
        )
    if info:
        described = directelectron.Described(info)
        tree = {"de_metadata": info, **tree}
        metadata = described.metadata()
        signal_axes, stack_axis = described.signal_axes, described.frame_axis
        scan_axes = (described.repeat_axis, *described.scan_axes)
        if described.scanning and not described.raster:
            if scan_file is None:
                raise directelectron.no_scan_file(path, info)
            positions = files.existing(scan_file)
            per_point = described.count("Scan - Camera Frames Per Point")
            index, grid = directelectron.coordinates(positions, count, per_point, problems)
            frames = frames[index]
            reason = f"positions in {os.path.basename(positions)}"
            hints = (ScanHint("header", grid, 0.99, reason),)
            scan_axes = (*described.scan_axes, *(Axis("repeats"),) * (len(grid) - 2))
        elif described.scanning and described.stem:
            hints, axes, layers = directelectron.raster(described, count, problems)
            scan_axes = axes or scan_axes
    general = {**metadata.get("General", {}), "original_filename": os.path.basename(path)}
    general["title"] = _title(general["original_filename"])
    metadata = {**metadata, "General": general}
    metadata["Signal"] = {**metadata.get("Signal", {}), "signal_type": ""}
    others = [os.fspath(f) for f in (info_file, scan_file) if info and f is not None]
    return Recording(
        format="mrc",
        path=path,
        frames=frames,
        signal_axes=signal_axes,
        scan_axes=scan_axes,
        hints=hints,
        stack_axis=stack_axis,
        layers=layers,
        layer_axis=Axis("frame"),
        metadata=metadata,
        original_metadata=tree,
        files=(path, *others, *(p for _, p in (*sides.virtual, *sides.external))),
        problems=tuple(problems),
    )


def _title(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return os.path.splitext(stem)[0] if suffix.lower() in (".gz", ".bz2") else stem


# ---------------------------------------------------------------- reader


def _navigators(
    recording: Recording, named: Sequence[tuple[str, str]], nav_shape: tuple[int, ...]
) -> dict[str, dict[str, Any]]:
    """Load images of the scan; those with as many positions get its shape."""
    found, size = {}, math.prod(nav_shape)
    for name, path in named:
        try:
            image = parse(path, metadata_file=None)
            if image.count != 1 and image.count * math.prod(image.frames.frame_shape) != size:
                raise FormatError(path, f"holds {image.count} images.")
            (signal,) = read(image)
        except FormatError as error:
            warn(recording.path, f"an image of the scan is left out: {error}")
            continue
        if signal["data"].shape != nav_shape:
            if signal["data"].size != size:
                warn(
                    recording.path,
                    f"{os.path.basename(path)} has {signal['data'].shape} pixels, the scan "
                    f"{nav_shape} positions.",
                )
            elif nav_shape:
                signal["data"] = signal["data"].reshape(nav_shape)
        if signal["data"].shape == nav_shape:
            axes = recording.scan_axes[-len(nav_shape) :] if nav_shape else ()
            axes = (*(Axis(),) * (len(nav_shape) - len(axes)), *axes)
            signal["axes"] = [
                axis.to_dict(i, n, False)
                for i, (axis, n) in enumerate(zip(axes, nav_shape, strict=True))
            ]
        found[f"_sig_{name}"] = signal
    return found


def file_reader(
    filename: str | os.PathLike[str],
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: int | tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool | None = None,
    *,
    endianness: Endianness | None = None,
    endianess: Endianness | None = None,
    signed: bool | None = None,
    metadata_file: str | os.PathLike[str] | None = "auto",
    scan_file: str | os.PathLike[str] | None = None,
    virtual_images: Images | None = None,
    external_images: Images | None = None,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read an MRC file.

    Parameters
    ----------
    filename : str or path
        The file; compressed ones (.gz, .bz2) are unpacked in memory.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    endianness : {"<", ">"}, optional
        Byte order; by default the file decides.
    endianess : {"<", ">"}, optional
        Old spelling of `endianness`.
    signed : bool, optional
        Whether 8-bit pixels are signed; by default the file decides.
    metadata_file : "auto", path or None
        Description that Direct Electron's server wrote beside a movie. "auto" finds it, and the
        other files, for names ``YYYYMMDD_number[_suffix]_movie.mrc``.
    scan_file : path, optional
        Positions of the frames of scans that are no raster.
    virtual_images, external_images : sequence of path, optional
        Images of the scan, by virtual and by external detectors.
    **options
        `ReadOptions`.

    Returns
    -------
    list of one dict
        Images of the scan are in ``metadata._HyperSpy.navigators``; the first virtual one is the
        navigator.

    Raises
    ------
    NotThisFormat
        The file is no MRC file.
    Truncated
        It ends before its first image does.
    Unsupported
        Its pixel type is unknown.
    FormatError
        What lies beside it makes no sense.
    """
    if distributed is not None or endianess is not None:
        from rsciio.exceptions import VisibleDeprecationWarning

        text = (
            "`distributed` has no effect: every lazy signal can be computed on a cluster."
            if distributed is not None
            else "`endianess` is an old spelling of `endianness`"
        )
        warnings.warn(text, VisibleDeprecationWarning, stacklevel=2)
    recording = parse(
        filename,
        endianness=endianness or endianess,
        signed=signed,
        metadata_file=metadata_file,
        scan_file=scan_file,
    )
    if lazy and isinstance(recording.frames, ArrayFrames):
        raise Unsupported(
            recording.path,
            "is compressed, and cannot be read lazily.",
            "Unpack it on disk, or pass lazy=False.",
        )
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
    sides = (
        directelectron.beside(recording.path) if metadata_file == "auto" else directelectron.Sides()
    )
    virtual = _given(virtual_images, "virtual_image", sides.virtual)
    external = _given(external_images, "external_image", sides.external)
    if virtual or external:
        counts = signal["original_metadata"]["rsciio_tem"]["frames"]
        nav_shape = tuple(a["size"] for a in signal["axes"] if a["navigate"])
        images = _navigators(recording, (*virtual, *external), nav_shape)
        tree = {**signal["metadata"].get("_HyperSpy", {}), "navigators": images}
        signal["metadata"] = {**signal["metadata"], "_HyperSpy": tree}
        first = next(
            (images[key] for name, _ in virtual if (key := f"_sig_{name}") in images), None
        )
        from_start = not (counts["first"] or counts["skipped_start"] or counts["inserted_start"])
        wanted = options.get("navigator")
        if wanted is None and first is not None and from_start and first["data"].shape == nav_shape:
            navigator.keep_stored(signal, first, wanted)
    return [signal]


def _given(
    images: Images | None, name: str, found: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    if images is None:
        return found
    return tuple((f"{name}_{i}", files.existing(path)) for i, path in enumerate(images))


# ---------------------------------------------------------------- writer

#: Stored type and MODE for each type of pixel that MRC files hold. Bytes above 127 have no place in
#: mode 0, which programs read as signed, as the standard says.
_STORED = {
    "int8": ("i1", 0),
    "uint8": ("u2", 6),
    "int16": ("i2", 1),
    "float32": ("f4", 2),
    "complex64": ("c8", 4),
    "uint16": ("u2", 6),
    "float16": ("f2", 12),
}


def _written_header(frames: signals.SignalFrames, mode: int, path: str) -> npt.NDArray[np.void]:
    """Return the header for a signal."""
    header: npt.NDArray[np.void] = np.zeros(1, HEADER)
    shape = (*(1, 1), *frames.nav_shape)[-2:]
    rows, columns = frames.frame_shape
    if max(rows, columns) >= 1 << 24 or len(frames) >= 1 << 30:
        raise ValueError(f"{len(frames)} frames of {rows} x {columns} pixels are too many")
    stacked = len(frames.nav_shape) == 2
    header["NX"], header["NY"], header["NZ"] = columns, rows, len(frames)
    header["MX"], header["MY"], header["MZ"] = columns, rows, shape[1] if stacked else 1
    # a scan is stored as a stack of volumes, one for each line, so that its shape is kept
    header["ISPG"] = 401 if stacked else 0
    axes = [("X", columns, frames.sig_axes[1]), ("Y", rows, frames.sig_axes[0])]
    if frames.nav_axes:
        axes.append(("Z", int(header["MZ"][0]), frames.nav_axes[-1]))
    for letter, points, axis in axes:
        scale, units = float(axis.get("scale", 1.0)), axis.get("units")
        step = signals.converted(scale, units, "nm")
        if step is not None and step > 0:
            header[f"{letter}len"] = step * points * 10
            origin = signals.converted(float(axis.get("offset", 0.0)), units, "nm")
            header[f"{letter}ORIGIN"] = (origin or 0.0) * 10
        elif isinstance(units, str) and units not in ("", "<undefined>"):
            warn(
                path,
                f"MRC files hold scales in Å; {scale:g} {units} of axis {axis.get('name')!r} is "
                "not stored.",
            )
    header["ALPHA"] = header["BETA"] = header["GAMMA"] = 90
    header["MAPC"], header["MAPR"], header["MAPS"] = 1, 2, 3
    header["MODE"], header["NVERSION"] = mode, 20141
    header["AMIN"], header["AMAX"], header["AMEAN"], header["RMS"] = 0, -1, -2, -1  # unknown
    header["CMAP"] = b"MAP "
    header["STAMP"] = np.void(b"\x44\x44\0\0")
    header["NLABL"] = 1
    header["LABELS"][0, 0] = b"rsciio-tem"
    return header


def file_writer(
    filename: str | os.PathLike[str],
    signal: Mapping[str, Any],
    show_progressbar: bool = True,
    *,
    overwrite: bool = False,
) -> None:
    """Write a signal as an MRC file.

    Lazy data are written piece by piece. The file appears under its name when it is complete.

    Parameters
    ----------
    filename : str or path
        The file.
    signal : dict
        As RosettaSciIO's writers receive it: images of int8, uint8 (stored as uint16), int16,
        uint16, float16, float32 or complex64, with up to two scan axes.
    show_progressbar : bool
        Show progress while lazy data are computed.
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
    frames = signals.SignalFrames.of(signal, "MRC")
    if len(frames.nav_shape) > 2:
        raise ValueError(f"MRC files hold up to two scan axes, not {len(frames.nav_shape)}")
    if frames.dtype.name not in _STORED:
        raise ValueError(
            f"MRC files hold no {frames.dtype} pixels; change the type of the signal to one of "
            f"{', '.join(_STORED)}"
        )
    kind, mode = _STORED[frames.dtype.name]
    stored = np.dtype(kind).newbyteorder("<")
    header = _written_header(frames, mode, name)
    nbytes = math.prod(frames.frame_shape) * stored.itemsize
    low, high, total, squares, pixels = math.inf, -math.inf, 0.0, 0.0, 0
    size = HEADER.itemsize + len(frames) * nbytes
    with signals.creating({name: size}, frames, overwrite=overwrite) as (file,):
        file.write(header.tobytes())
        for index, block in frames.slabs(show_progressbar):
            values = block.astype(stored)
            for a, b in signals.seek_runs(index):
                file.seek(HEADER.itemsize + int(index[a]) * nbytes)
                file.write(values[a:b].tobytes())
            if stored.kind != "c":
                low, high = min(low, float(block.min())), max(high, float(block.max()))
                total += float(block.sum(dtype=np.float64))
                squares += float(np.square(block, dtype=np.float64).sum())
                pixels += block.size
        if pixels and math.isfinite(squares):
            mean = total / pixels
            header["AMIN"], header["AMAX"], header["AMEAN"] = low, high, mean
            header["RMS"] = math.sqrt(max(0.0, squares / pixels - mean**2))
            file.seek(0)
            file.write(header.tobytes())
