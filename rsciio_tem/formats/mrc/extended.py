# SPDX-License-Identifier: GPL-3.0-or-later
"""Extended headers: FEI's records, and what others put there."""

from __future__ import annotations

import datetime
import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import Problems
from rsciio_tem.formats.mrc.header import Endianness
from rsciio_tem.parsing.metadata import put
from rsciio_tem.recording.axis import Axis
from rsciio_tem.scan.scan import ScanHint

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


#: Extended header of older FEI software: 1024 records of 128 bytes, 8192 of them for more images;
#: names as in RosettaSciIO.
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


_OLD_FEI_BYTES = (1024 * FEI_OLD.itemsize, 8192 * FEI_OLD.itemsize)


#: Extended headers that are not records of FEI, whatever their size.
_NOT_FEI = (b"CCP4", b"MRCO", b"SERI", b"HDF5", b"json")


#: What SerialEM writes for an image, in this order: bit of NREAL, fields of signed 16-bit numbers,
#: and what they are multiplied with. Piece coordinates are unsigned.
_SERIALEM = (
    (1, ("tilt",), 0.01),  # degrees
    (2, ("piece_x", "piece_y", "piece_z"), 1),  # pixels, pixels, section
    (4, ("stage_x", "stage_y"), 0.04),  # µm
    (8, ("magnification",), 100),
    (16, ("intensity",), 1 / 25000),
    (32, ("dose", "dose_low"), 1),  # electrons / Å², see `_dose`
    *((bit, (f"reserved_{bit}",), 1) for bit in (64,)),
    *((bit, (f"reserved_{bit}", f"reserved_{bit}_low"), 1) for bit in (128,)),
    *((bit, (f"reserved_{bit}",), 1) for bit in (256,)),
    *((bit, (f"reserved_{bit}", f"reserved_{bit}_low"), 1) for bit in (512,)),
    *((bit, (f"reserved_{bit}",), 1) for bit in (1024,)),
)


#: Bytes of extended headers that are looked at.
LONGEST_EXTENDED = 1 << 20


def extended_header(
    path: str, header: np.void, order: Endianness, content: bytes, problems: Problems
) -> dict[str, Any]:
    """Decode what the extended header says about the images.

    Returns
    -------
    dict
        For ``original_metadata``: ``fei_header`` where it is FEI's, ``serialem`` where it is
        SerialEM's, ``json`` where it is HyperSpy's.
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
    elif kind == b"json":
        tree["json"] = _json(content if len(content) == size else b"", problems)
    elif columns := _serialem(header, order, content):
        tree["serialem"] = columns
    elif size in _OLD_FEI_BYTES and kind not in _NOT_FEI:
        record, step = FEI_OLD, FEI_OLD.itemsize
    if record is not None:
        count = min(max(1, int(header["NZ"])), len(content) // step if step > 0 else 0)
        if step < record.itemsize or not count:
            problems.warn(
                f"has an extended header of type {kind.decode('latin-1')} with records of "
                f"{step} bytes, which is no such; it is ignored."
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


def _columns(records: npt.NDArray[np.void]) -> dict[str, Any]:
    """Return one value per field, or one per record where these differ."""
    values: dict[str, Any] = {}
    for name in records.dtype.names or ():
        column = records[name]
        if column.dtype.kind == "V":
            if name != "unused":
                values[name] = bytes(column[0]).hex()
            continue
        if column.dtype.kind == "S":
            column = np.char.decode(np.ascontiguousarray(column), "latin-1")
        column = column.astype(column.dtype.newbyteorder("="))
        same = bool((column == column[0]).all()) or bool((column != column).all())
        values[name] = column[0].item() if same else column
    return values


def _json(content: bytes, problems: Problems) -> dict[str, Any]:
    """Return the metadata that MRCZ keeps as JSON."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError) as error:
        problems.warn(f"has metadata that are not JSON: {error}.")
        return {}
    return tree if isinstance(tree, dict) else {}


def _serialem(header: np.void, order: Endianness, content: bytes) -> dict[str, Any]:
    """Return one value per image for each kind of number that SerialEM wrote; nothing if others.

    If the bytes that its flags make are not those of a record, these are integers and reals of
    another program.
    """
    size, flags, kind = int(header["NINT"]), int(header["NREAL"]), bytes(header["EXTTYP"])
    rows = [row for row in _SERIALEM if flags & row[0]]
    names = [name for _, fields, _ in rows for name in fields]
    count = min(int(header["NZ"]), len(content) // size) if size > 0 else 0
    if kind.strip(b"\0 ") not in (b"", b"SERI") or flags >> 11 or 2 * len(names) != size:
        return {}
    if count < 1:
        return {}
    numbers = np.frombuffer(content, order + "i2", count * len(names)).reshape(count, -1)
    columns: dict[str, Any] = {}
    for _, fields, factor in rows:
        for name in fields:
            column = numbers[:, names.index(name)].astype(np.float64)
            if name.startswith("piece"):
                column %= 1 << 16
            if not name.startswith(("reserved", "dose")):
                columns[name] = column * factor
    if flags & 32:
        high, low = (numbers[:, names.index(n)].astype(np.float64) for n in ("dose", "dose_low"))
        columns["dose"] = _dose(high, low)
    return columns


def _dose(high: npt.NDArray[np.float64], low: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the numbers that SerialEM stores in two of 16 bits: 24 bits, and an exponent."""
    mantissa = np.abs(high) * 256 + np.abs(low) % 256
    exponent = np.sign(low) * (np.abs(low) // 256)
    return np.asarray(np.sign(high) * mantissa * 2.0**exponent)


def serialem_metadata(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Translate an extended header of SerialEM: one value per image, or the one of all."""

    def value(name: str, factor: float = 1.0) -> Any:
        if name not in columns:
            return None
        column = columns[name] * factor
        return float(column[0]) if (column == column[0]).all() else column

    metadata: dict[str, Any] = {}
    tem = "Acquisition_instrument.TEM"
    put(metadata, f"{tem}.Stage.tilt_alpha", value("tilt"))
    for axis in "xy":
        put(metadata, f"{tem}.Stage.{axis}", value(f"stage_{axis}", 1e-3))  # µm -> mm
    put(metadata, f"{tem}.magnification", value("magnification"))
    return metadata


def json_metadata(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of HyperSpy that MRCZ kept."""
    return {k: v for k, v in tree.items() if isinstance(v, dict) and k != "_HyperSpy"}


def fei_metadata(fei: Mapping[str, Any]) -> dict[str, Any]:
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


def fei_scan(
    fei: Mapping[str, Any], count: int, problems: Problems
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
    problems.warn(
        f"the scan shape {shape} and its step are taken from the extended header, whose scan "
        "area accounts for all images; no 4D-STEM file was available for comparison.",
        "Pass navigation_shape=(x, y) if that is wrong.",
    )
    return (ScanHint("header", shape, 0.8, reason),), axes
