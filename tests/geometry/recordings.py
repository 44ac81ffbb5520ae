# SPDX-License-Identifier: GPL-3.0-or-later
"""Write simulated recordings as files: tiny frames that hold their own number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from writers import blo as blo_writer
from writers import empad as empad_writer
from writers import mib as mib_writer
from writers import mrc as mrc_writer
from writers import seq as seq_writer
from writers import tvips as tvips_writer

from .simulate import Recording

#: Rows and columns of the frames.
SHAPE = (4, 8)


def frames_with_numbers(
    count: int, shape: tuple[int, int] = SHAPE, dtype: str = "u1"
) -> NDArray[np.generic]:
    """Return frames that hold their place in the file, counted from 1, in two columns of bytes."""
    place = np.arange(1, count + 1)
    frames = np.zeros((count, *shape), dtype)
    frames[:, :, 0], frames[:, :, 1] = (place % 256)[:, None], (place // 256)[:, None]
    return frames


def places(corner: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return the place in the file of frames of which `corner` are two pixels; -1 for a blank."""
    values: NDArray[np.int64] = np.nan_to_num(corner).real.astype(np.int64)
    return np.asarray(values[..., 0] + 256 * values[..., 1] - 1)


def write_mib(folder: Path, recording: Recording) -> Path:
    path, events = folder / "scan.mib", recording.events
    heads = mib_writer.headers(
        events["number"],
        SHAPE,
        6,
        times_ns=events["time"].astype(np.int64),
        exposures_ns=events["exposure"],
    )
    pixels = frames_with_numbers(len(events)).reshape(len(events), -1)
    path.write_bytes(np.concatenate([heads, pixels.view(np.uint8)], axis=1).tobytes())
    if claims := recording.claims:
        text = mib_writer.hdr_text(
            claims["frames"],
            claims["frames_per_trigger"],
            6,
            "1.5.0" if "scan_x" in claims else "0.77",
            claims["trigger"],
            scan_x=claims.get("scan_x"),
            scan_y=claims.get("scan_y"),
        )
        path.with_suffix(".hdr").write_bytes(text)
    return path


def write_seq(folder: Path, recording: Recording) -> Path:
    path, times = folder / "scan.seq", recording.events["time"].astype(np.int64)
    count = len(times)
    size = SHAPE[0] * SHAPE[1]
    slot = np.dtype([("pixels", "u1", size), ("seconds", "<u4"), ("ms", "<u2"), ("us", "<u2")])
    slots = np.zeros(count, slot)
    slots["pixels"] = frames_with_numbers(count).reshape(count, -1)
    slots["seconds"] = times // 10**9
    slots["ms"], slots["us"] = times // 10**6 % 1000, times // 1000 % 1000
    head = seq_writer.header(
        width=SHAPE[1],
        height=SHAPE[0],
        bit_depth=8,
        bit_depth_real=8,
        image_size=size,
        allocated=count,
        stride=slot.itemsize,
    )
    path.write_bytes(head.ljust(8192, b"\0") + slots.tobytes())
    return path


def write_tvips(folder: Path, recording: Recording) -> Path:
    path, times = folder / "scan_000.tvips", recording.events["time"].astype(np.int64) // 10**6
    count = len(times)
    fields = [(name, "<f4" if code == "f" else "<u4") for name, code in tvips_writer.FIELDS]
    head = np.dtype(fields)
    slots = np.zeros(count, [("head", head), ("rest", "V20"), ("pixels", "<u2", SHAPE)])
    heads = slots["head"]
    heads["counter"], heads["mode"] = recording.events["number"], 2
    heads["timestamp"], heads["ms"] = times // 1000, times % 1000
    if scan := recording.claims.get("scan"):
        heads["scan_y"], heads["scan_x"] = np.transpose(scan)
    slots["pixels"] = frames_with_numbers(count, dtype="u2")
    start = tvips_writer.series_header(SHAPE, frame_header=head.itemsize + 20)
    path.write_bytes(start + slots.tobytes())
    return path


def write_dectris(folder: Path, recording: Recording) -> Path:
    claims, numbers = recording.claims, recording.events["number"]
    count = len(numbers)
    frames = frames_with_numbers(count, dtype="u2")
    begins = claims.get("begins") or list(range(0, count, claims["per_file"]))
    with h5py.File(folder / "scan_master.h5", "w") as file:
        special = file.create_group("entry/instrument/detector/detectorSpecific")
        special["nimages"], special["ntrigger"] = claims["nimages"], claims["ntrigger"]
        special["trigger_mode"] = "exts"
        for i, (begin, end) in enumerate(zip(begins, [*begins[1:], count], strict=True), 1):
            name = f"data_{i:06d}"
            with h5py.File(folder / f"scan_{name}.h5", "w") as other:
                data = other.create_dataset(
                    "entry/data/data", data=frames[begin:end], chunks=(1, *SHAPE)
                )
                low, high = numbers[begin], numbers[end - 1]
                data.attrs.update(image_nr_low=np.uint64(low), image_nr_high=np.uint64(high))
            file[f"entry/data/{name}"] = h5py.ExternalLink(f"scan_{name}.h5", "/entry/data/data")
    if side := claims.get("side"):
        with h5py.File(folder / "scan.h5", "w") as file:
            size = {"NumPixelsY": side[0], "NumPixelsX": side[1], "NumPixelsPrescan": 0}
            file.create_group("STEM Metadata").attrs.update(
                {name: np.array([value], "u4") for name, value in size.items()}
            )
    return folder / "scan_master.h5"


def write_blo(folder: Path, recording: Recording) -> Path:
    frames = frames_with_numbers(len(recording.events), (8, 8))
    numbers = recording.events["number"].tolist()
    return blo_writer.write_blo(folder / "scan.blo", frames, recording.claims["scan"], ids=numbers)


def write_mrc(folder: Path, recording: Recording) -> Path:
    frames = frames_with_numbers(len(recording.events), dtype="u2")
    if info := recording.claims.get("info"):
        return mrc_writer.write_movie(folder, frames, info)
    return mrc_writer.write_mrc(folder / "scan.mrc", frames)


def write_empad(folder: Path, recording: Recording) -> Path:
    claims, count = recording.claims, len(recording.events)
    size, (lines, columns) = claims["size"], claims["name"]
    name = f"scan_x{columns}_y{lines}.raw" if size else f"series_x{count}.raw"
    frames = frames_with_numbers(count, (empad_writer.EDGE, empad_writer.EDGE), "f4")
    counters = (columns, lines) if claims["counters"] else None
    (folder / name).write_bytes(empad_writer.raw_bytes(frames, counters))
    path = folder / "scan.xml"
    about = {"size": size[::-1]} if size else {"kind": "series", "size": (count, 1)}
    path.write_text(empad_writer.xml_text(name, **about))
    return path


WRITERS: dict[str, Callable[[Path, Recording], Path]] = {
    "mib": write_mib,
    "seq": write_seq,
    "tvips": write_tvips,
    "dectris": write_dectris,
    "blo": write_blo,
    "mrc": write_mrc,
    "empad": write_empad,
}


def write(folder: Path, recording: Recording) -> Path:
    """Write a recording; return the path to open."""
    return WRITERS[recording.format](folder, recording)
