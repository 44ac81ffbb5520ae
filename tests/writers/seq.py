# SPDX-License-Identifier: GPL-3.0-or-later
"""Write StreamPix sequences and the side files of Direct Electron's cameras."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: 2022-08-11 19:21:27 UTC, in ns
BEGIN = 1660245687 * 10**9
STEP = 1_250_000  # ns between images

#: Offset and type of the fields of the file header that samples set.
PLACES = {
    "version": (28, "<i"),
    "header_size": (32, "<i"),
    "width": (548, "<I"),
    "height": (552, "<I"),
    "bit_depth": (556, "<I"),
    "bit_depth_real": (560, "<I"),
    "image_size": (564, "<I"),
    "image_format": (568, "<I"),
    "allocated": (572, "<I"),
    "origin": (576, "<I"),
    "stride": (580, "<I"),
    "rate": (584, "<d"),
    "description_format": (592, "<i"),
    "flags": (604, "<I"),
    "compression": (620, "<I"),
    "oldest": (656, "<I"),
    "alignment": (660, "<I"),
}


def header(description: str = "StreamPix 8.5.0.143 (x64)", **fields: Any) -> bytes:
    """Return the 1024 bytes of a file header."""
    head = bytearray(1024)
    struct.pack_into("<I", head, 0, 0xFEED)
    head[4:26] = "Norpix seq\n".encode("utf-16-le")
    encoded = description.encode("ascii" if fields.get("description_format") == 1 else "utf-16-le")
    head[36 : 36 + len(encoded)] = encoded
    given = {"version": 5, "header_size": 1024, "image_format": 100, "rate": 30.0, **fields}
    for name, value in given.items():
        place, kind = PLACES[name]
        struct.pack_into(kind, head, place, value)
    head[1000:1004] = b"\xcd\xcd\xcd\xcd"  # the padding is not always zero
    return bytes(head)


def stored_bytes(frames: NDArray[Any], image_format: int, unused_bits: int) -> NDArray[np.uint8]:
    """Return the bytes of each image, shape (n, bytes)."""
    n = len(frames)
    if image_format in (200, 400, 500):  # (n, rows, columns, red green blue)
        parts = frames if image_format == 400 else frames[..., ::-1]
        if image_format == 500:
            parts = np.concatenate([parts, np.full_like(parts[..., :1], 0xEE)], axis=-1)
        return np.ascontiguousarray(parts, np.uint8).reshape(n, -1)
    if image_format in (112, 113, 114, 115):
        frames = frames << unused_bits
    order = ">" if image_format in (114, 115) else "<"
    stored = np.ascontiguousarray(frames.astype(frames.dtype.newbyteorder(order)))
    return stored.view(np.uint8).reshape(n, -1)


def write_seq(
    path: Path,
    frames: NDArray[Any],
    *,
    version: int = 5,
    image_format: int = 100,
    real: int | None = None,
    alignment: int = 0,
    times: Iterable[int] | None = None,
    unwritten: int = 0,
    allocated: int | None = None,
    oldest: int = 0,
    truncate: int = 0,
    **fields: Any,
) -> Path:
    """Write images (n, rows, columns) as a sequence.

    `times` are ns since 1970. `unwritten` slots of zeros follow the images. `oldest` is the slot
    of the first image, as in a loop recording. `truncate` bytes are cut off at the end.
    """
    colour = image_format in (200, 400, 500)
    depth = {200: 24, 400: 24, 500: 32}.get(image_format, frames.dtype.itemsize * 8)
    real = depth if real is None else real
    pixels = stored_bytes(frames, image_format, 0 if colour else depth - real)
    n, size = pixels.shape
    stamp_size = 8 if version >= 5 else 6
    stride = size + stamp_size
    if alignment:
        stride = -(-stride // alignment) * alignment
    moments = list(times) if times is not None else [BEGIN + i * STEP for i in range(n)]
    slots = np.zeros((n + unwritten, stride), np.uint8)
    for i, (image, moment) in enumerate(zip(pixels, moments, strict=True)):
        slot = slots[(i + oldest) % n]
        slot[:size] = image
        seconds, rest = divmod(moment, 10**9)
        stamp = struct.pack("<IHH", seconds, rest // 10**6, rest // 1000 % 1000)[:stamp_size]
        slot[size : size + stamp_size] = np.frombuffer(stamp, np.uint8)
    head = header(
        version=version,
        width=frames.shape[2],
        height=frames.shape[1],
        bit_depth=depth,
        bit_depth_real=real,
        image_size=size,
        image_format=image_format,
        allocated=n + unwritten if allocated is None else allocated,
        stride=stride,
        alignment=alignment,
        oldest=oldest,
        **fields,
    )
    content = head.ljust(8192 if version >= 5 else 1024, b"\0") + slots.tobytes()
    path.write_bytes(content[: len(content) - truncate])
    return path


# -- side files ----------------------------------------------------------------------------------


def settings(**given: Any) -> bytes:
    """Return the settings of a camera, version 16."""
    values = {"size": 208, "version": 16, "width": 64, "height": 64, "x": 0, "y": 0, "binning": 1}
    values |= {"bits": 12, "rate": 86956.5, "rotation": 0, "flip": 2, "magnification": 0.0}
    values |= {"pixel": 0.0, "length": 0.0, "diffraction": 0.0, **given}
    first = ("size", "version", "width", "height", "x", "y", "binning", "bits")
    content = struct.pack("<8I", *(values[name] for name in first))
    content += struct.pack("<dII4B", values["rate"], values["rotation"], values["flip"], 0, 1, 0, 0)
    content += struct.pack("<3I", 22, 6, 0)
    last = ("magnification", "pixel", "length", "diffraction")
    content += struct.pack("<5d", 1.0, *(values[name] for name in last))
    content = content.ljust(152, b"\0") + b"2022-08-11 14:21:27.69".ljust(32, b"\0")
    return content + struct.pack("<8sd", b"Kaya", 1.12) + bytes(8)


def old_settings(binning: int = 1, offset: tuple[int, int] = (0, 0)) -> bytes:
    """Return the settings of a DE-16."""
    content = struct.pack("<8I", 88, 4, 64, 64, offset[1], offset[0], binning, 12)
    return content + struct.pack("<iIII5d", 100, 0, 0, 1, 1.5, 2000.0, 0.25, 0.0, 0.0)


def write_metadata(
    path: Path, kind: int, contents: Sequence[bytes], unit_size: int = 224, sections: int = 0
) -> Path:
    """Write a .seq.metadata file with one entry per unit; `unit_size` 0 packs them."""
    head = struct.pack("<iiIIII", 1, 256, len(contents), unit_size, sections, sections)
    text = head.ljust(256, b"\0") + b"\xaa" * (2 * sections)
    for content in contents:
        unit = struct.pack("<IIII", 8 + 8 + len(content), 1, kind, len(content)) + content
        text += unit.ljust(unit_size, b"\x5a")  # the rest is what was in memory
    path.write_bytes(text)
    return path


def counters(numbers: Iterable[int]) -> list[bytes]:
    """Return the numbers of buffers as contents of metadata."""
    return [struct.pack("<q", n) for n in numbers]


def write_mrc(path: Path, image: NDArray[Any], count: int = 32766, junk: int = 100) -> Path:
    """Write a dark or gain image as Direct Electron does: the number of images is not true."""
    mode = {"int8": 0, "int16": 1, "float32": 2, "uint16": 6}[image.dtype.name]
    head = struct.pack("<4i", image.shape[1], image.shape[0], count, mode).ljust(1024, b"\0")
    path.write_bytes(head + image.tobytes() + b"\x7f" * junk)
    return path


def xml_text(
    info: dict[str, Any] | None = None,
    maps: Iterable[tuple[dict[str, Any], Iterable[dict[str, Any]]]] = (),
) -> str:
    """Return an XML with settings, and maps (attributes, defects) of defective pixels."""

    def element(name: str, attributes: dict[str, Any]) -> str:
        return f"<{name} " + " ".join(f'{k}="{v}"' for k, v in attributes.items())

    lines = ['<?xml version="1.0" encoding="UTF-8" standalone="yes" ?>', "<Configuration>"]
    lines.append('<PixelSize><!-- Examples: <Property Mag="1" /> -->')
    lines.append('<Property Mag="10" Value="0.86" /><Property Mag="13" Value="0.67" /></PixelSize>')
    lines.append("<BadPixels><!-- Examples: -->")
    for attributes, defects in maps:
        lines.append(element("BadPixelMap", attributes) + ">")
        lines += [element("Defect", defect) + " />" for defect in defects]
        lines.append("</BadPixelMap>")
    lines.append("</BadPixels><FileInfo>")
    lines += [element(name, {"Value": value}) + " />" for name, value in (info or {}).items()]
    lines.append("</FileInfo></Configuration>")
    return "\n".join(lines)


def write_sides(
    folder: Path,
    base: str = "scan.seq",
    *,
    dark: NDArray[Any] | None = None,
    gain: NDArray[Any] | None = None,
    info: dict[str, Any] | None = None,
    maps: Iterable[tuple[dict[str, Any], Iterable[dict[str, Any]]]] = (),
    missing: str | None = None,
) -> None:
    """Write the files beside a recording."""
    if dark is not None:
        write_mrc(folder / f"{base}.dark.mrc", dark)
    if gain is not None:
        write_mrc(folder / f"{base}.gain.mrc", gain)
    if info is not None or maps:
        (folder / f"{base}.Config.Metadata.xml").write_text(xml_text(info, maps))
    if missing is not None:
        text = f"\nFrame number of missing frames: {missing}"
        (folder / f"{base}.Missing_Frame_Info.txt").write_text(text)


# -- recordings in halves ------------------------------------------------------------------------


def write_halves(
    folder: Path,
    frames: NDArray[Any],
    each: int,
    *,
    base: str = "Movie_00785",
    times: tuple[str, str] = ("13-49-04.160", "13-49-04.196"),
    without: tuple[Sequence[int], Sequence[int]] = ((), ()),
    numbered: bool = True,
    alignment: int = 0,
    info: dict[str, Any] | None = None,
    xml: bool = True,
    first_number: int = 1,
    **written: Any,
) -> tuple[Path, Path]:
    """Write frames (n, rows, columns) as two sequences of buffers; n is a multiple of `each`.

    `without` lists the buffers (from 0) that are missing in the top and bottom half.
    """
    n, rows, columns = frames.shape
    half = rows // 2
    parts = (frames[:, :half][:, ::-1], frames[:, half:])
    paths = []
    for name, time, part, lost, late in zip(
        ("Top", "Bottom"), times, parts, without, (0, 36_000_000), strict=True
    ):
        buffers = part.reshape(n // each, each * half, columns)
        kept = [i for i in range(len(buffers)) if i not in lost]
        path = folder / f"{base}_{name}{'_' if time else ''}{time}.seq"
        moments = [BEGIN + late + i * STEP * each for i in kept]
        write_seq(path, buffers[kept], times=moments, alignment=alignment, **written)
        if numbered:
            numbers = counters(i + first_number for i in kept)
            write_metadata(folder / f"{path.name}.metadata", 10, numbers)
        paths.append(path)
    if xml:
        told = {"CameraType": "Celeritas Camera", "ImageSizeX": columns, "ImageSizeY": rows}
        told |= {"FrameRate": 800.0, "SegmentPreBuffer": each, **(info or {})}
        write_sides(folder, f"{base}.seq", info=told)
    return paths[0], paths[1]
