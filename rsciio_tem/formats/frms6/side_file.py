# SPDX-License-Identifier: GPL-3.0-or-later
"""The .hdr beside the pixels, and what it says."""

from __future__ import annotations

import configparser
import re
from typing import Any

import numpy as np

from rsciio_tem.errors import NotThisFormat, Problems
from rsciio_tem.formats.frms6.header import SENSOR
from rsciio_tem.parsing.metadata import general, put
from rsciio_tem.parsing.text import to_number
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import files

SECTION = "measurementInfo"

#: How problems begin that something the caller passes may settle.
ORDER, NO_DARK = "the .hdr gives the scan as", "there are no dark frames"


def read_hdr(path: str) -> dict[str, str]:
    """Read the ``[measurementInfo]`` of a .hdr; keys are lower case."""
    text = files.decoded(files.read_start(path, 1 << 16), "latin-1").replace("\0", "")
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    try:
        # no line continues the one before it
        parser.read_string("\n".join(line.lstrip() for line in text.splitlines()))
        return {key: value or "" for key, value in parser[SECTION].items()}
    except (configparser.Error, KeyError):
        raise NotThisFormat(path, f"is not a header file of a pnCCD: no [{SECTION}].") from None


def count_of(hdr: dict[str, str], key: str) -> int:
    """Return a count from the .hdr, 0 if it does not say."""
    value = to_number(hdr.get(key))
    return int(value) if value is not None and 0 < value < 1 << 40 else 0


def binning_of(hdr: dict[str, str], size: tuple[int, int], problems: Problems) -> int:
    """Return how often each row is shown."""
    mode = re.search(r"bin\s*:\s*(\d{1,3})\b", hdr.get("readoutmode", ""))
    if mode and 1 <= int(mode[1]) <= SENSOR[0]:
        return int(mode[1])
    rows, columns = size
    fits = columns == SENSOR[1] and SENSOR[0] % rows == 0
    binning = SENSOR[0] // rows if fits else 1
    stored = f"the size of {rows} x {columns} stored pixels"
    message = f"no .hdr says how rows were binned; {binning} is taken from {stored}."
    problems.warn(message, "Pass binning= if that is wrong.")
    return binning


def scan_hints(hdr: dict[str, str], count: int, problems: Problems) -> tuple[ScanHint, ...]:
    """Read the scan shape from the .hdr, and compare the number of frames."""
    announced = count_of(hdr, "signalframes")
    if announced and announced != count:
        problems.warn(f"the .hdr announces {announced} frames, the files hold {count}.")
    text = hdr.get("stemimagesize", "").strip(' "')
    match = re.fullmatch(r"(\d{1,6})\s*x\s*(\d{1,6})", text, re.IGNORECASE)
    shape = (int(match[1]), int(match[2])) if match else (0, 0)
    positions = shape[0] * shape[1]
    if not positions:
        return ()
    if positions not in (announced or positions, count):
        message = f"{ORDER} {text}, which is not the number of frames, {announced or count}"
        problems.warn(f"{message}; it is not used.", "Pass navigation_shape=(x, y).")
        return ()
    if shape[0] != shape[1]:
        problems.warn(
            f"{ORDER} {text}, which is taken as {shape[0]} lines of {shape[1]} positions, as in "
            "LiberTEM; no recorded file confirms this order.",
            f"If the image of the scan looks sheared, pass navigation_shape={shape}.",
        )
    return (ScanHint("header", shape, 0.9, f"stemimagesize = {text} in the .hdr"),)


def metadata(hdr: dict[str, str], path: str, first: np.void) -> dict[str, Any]:
    """Return RosettaSciIO's metadata; `first` is the header of the first frame."""
    started: dict[str, Any] = {}
    if first["tv_sec"]:
        moment = np.datetime64(int(first["tv_sec"]) * 10**6 + int(first["tv_usec"]), "us")
        date, _, time = str(moment).partition("T")
        started = {"date": date, "time": time, "time_zone": "UTC"}
    tree: dict[str, Any] = {
        "General": general(path, **started),
        "Signal": {"signal_type": "electron_diffraction"},
        "Acquisition_instrument": {"TEM": {"Detector": {"Camera": {"name": "pnCCD"}}}},
    }
    if dwell := count_of(hdr, "dwelltimemicroseconds"):
        put(tree, "Acquisition_instrument.TEM.dwell_time", dwell * 1e-6)
    return tree
