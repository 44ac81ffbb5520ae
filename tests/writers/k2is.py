# SPDX-License-Identifier: GPL-3.0-or-later
"""Write K2 IS recordings: eight files of numbered blocks, and a DigitalMicrograph tag file."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SECTORS = 8
BLOCK = (930, 16)  # rows and columns


def pack12(pixels: NDArray[Any]) -> bytes:
    """Pack pairs of 12-bit pixels into three bytes, least significant first."""
    pairs = pixels.reshape(-1, 2).astype(np.uint32)
    number = pairs[:, 0] | (pairs[:, 1] << 12)
    return np.stack([number & 255, (number >> 8) & 255, number >> 16], 1).astype("u1").tobytes()


def block_header(
    count: int,
    frame_id: int,
    x: int,
    y: int,
    *,
    block: tuple[int, int] = BLOCK,
    sector: tuple[int, int] = (1860, 256),
    shutter: bool = True,
    sync: int = 0xFFFF0055,
) -> bytes:
    """Return the 40 bytes before the pixels of a block at column x and row y of its sector."""
    return struct.pack(
        ">I4xBB6xIHHIHHHHI",
        sync,
        1,
        int(shutter),
        count,
        sector[1],
        sector[0],
        frame_id,
        x,
        y,
        x + block[1] - 1,
        y + block[0] - 1,
        40 + block[0] * block[1] * 3 // 2,
    )


def sector_blocks(
    frames: NDArray[Any],
    *,
    block: tuple[int, int] = BLOCK,
    shutter_from: int | None = 0,
    first_count: int = 1000,
    first_id: int = 7,
    frame_ids: Sequence[int] | None = None,
    order: Callable[[list[tuple[int, int]]], list[tuple[int, int]]] = list,
) -> list[bytes]:
    """Return the blocks of one sector: the upper ones first, each row from right to left."""
    height, width = frames.shape[1:]
    places = [
        (x, y) for y in range(0, height, block[0]) for x in range(width - block[1], -1, -block[1])
    ]
    blocks = []
    for i, frame in enumerate(frames):
        for k, (x, y) in enumerate(order(places)):
            header = block_header(
                first_count + i * len(places) + k,
                frame_ids[i] if frame_ids else first_id + i,
                x,
                y,
                block=block,
                sector=(height, width),
                shutter=shutter_from is not None and i >= shutter_from,
            )
            blocks.append(header + pack12(frame[y : y + block[0], x : x + block[1]]))
    return blocks


def write_k2is(
    folder: Path,
    frames: NDArray[Any],
    *,
    name: str = "scan",
    block: tuple[int, int] = BLOCK,
    starts: Sequence[int] = (0,) * SECTORS,
    stops: Sequence[int] = (0,) * SECTORS,
    lost: Collection[tuple[int, int]] = (),
    without: Collection[int] = (),
    change: Callable[[int, list[bytes]], list[bytes]] = lambda sector, blocks: blocks,
    tags: dict[str, Any] | None = None,
    version: int = 3,
    **written: Any,
) -> Path:
    """Write frames (n, rows, columns), return the path of the first sector.

    Parameters
    ----------
    starts, stops : sequence of int
        Blocks that each sector lacks at its beginning and end.
    lost : collection of (int, int)
        Sector (1 to 8) and index of blocks that are left out.
    without : collection of int
        Sectors of which no file is written.
    change : callable
        Gets a sector's number and blocks, returns what is written.
    tags : dict, optional
        Content of the .gtg; none is written without.
    version : int
        3 or 4, of the .gtg.
    **written
        Of `sector_blocks`.
    """
    width = frames.shape[2] // SECTORS
    for i in range(SECTORS):
        if i + 1 in without:
            continue
        blocks = sector_blocks(frames[:, :, i * width : (i + 1) * width], block=block, **written)
        kept = [b for k, b in enumerate(blocks) if (i + 1, k) not in lost]
        kept = kept[starts[i] : len(kept) - stops[i]]
        (folder / f"{name}{i + 1}.bin").write_bytes(b"".join(change(i + 1, kept)))
    if tags is not None:
        (folder / f"{name}.gtg").write_bytes(dm_file(tags, version))
    return folder / f"{name}1.bin"


def stem_tags(lines: int, columns: int, inner: tuple[int, int] | None = None) -> dict[str, Any]:
    """Return the tags of a scan; `inner` are the lines and columns without flyback."""
    tags: dict[str, Any] = {"SI Dimensions": {"Size X": columns, "Size Y": lines}}
    if inner:
        sampling = {"Height (pixels)": inner[0], "Width (pixels)": inner[1]}
        tags["SI Image Tags"] = {
            "SI": {"Acquisition": {"Spatial Sampling": sampling}},
            "Microscope Info": {"Voltage": 300000.0, "STEM Camera Length": 480.0},
        }
    return tags


# ---- DigitalMicrograph tags --------------------------------------------------------------------

_CODES = {
    "i2": 2,
    "i4": 3,
    "u2": 4,
    "u4": 5,
    "f4": 6,
    "f8": 7,
    "i1": 9,
    "u1": 10,
    "i8": 11,
    "u8": 12,
}


def dm_file(tree: dict[str, Any], version: int = 3, little: bool = True) -> bytes:
    """Return a DM3 or DM4 file.

    Values: bool, int (unsigned 32 bit), float (64 bit), str, tuple (a structure of such numbers),
    bytes (a string), ndarray (an array), and dict (a group; keys that are int have no name).
    """
    word = ">I" if version == 3 else ">Q"
    order = "<" if little else ">"

    def simple(value: Any) -> tuple[int, bytes]:
        if isinstance(value, (bool, np.bool_)):
            return 8, bytes([value])
        if isinstance(value, (int, np.integer)):
            return 5, struct.pack(order + "I", value)
        return 7, struct.pack(order + "d", value)

    def data(value: Any) -> bytes:
        payload = b""
        if isinstance(value, str):
            encoded = value.encode("utf-16-le" if little else "utf-16-be")
            info, payload = [20, 4, len(encoded) // 2], encoded
        elif isinstance(value, bytes):
            info, payload = [18, len(value)], value
        elif isinstance(value, np.ndarray):
            if value.dtype.names:
                info = [20, 15, 0, len(value.dtype.names)]
                for field in value.dtype.names:
                    info += [0, _CODES[value.dtype[field].str[1:]]]
                info.append(value.size)
            else:
                info = [20, _CODES[value.dtype.str[1:]], value.size]
            payload = value.astype(value.dtype.newbyteorder(order)).tobytes()
        elif isinstance(value, tuple):
            parts = [simple(v) for v in value]
            info = [15, 0, len(parts)]
            for code, content in parts:
                info += [0, code]
                payload += content
        else:
            code, payload = simple(value)
            info = [code]
        return b"%%%%" + b"".join(struct.pack(word, n) for n in (len(info), *info)) + payload

    def group(tree: dict[Any, Any]) -> bytes:
        content = struct.pack(">BB", 1, 0) + struct.pack(word, len(tree))
        for key, value in tree.items():
            name = b"" if isinstance(key, int) else key.encode("latin-1")
            inside = isinstance(value, dict)
            body = group(value) if inside else data(value)
            content += struct.pack(">BH", 20 if inside else 21, len(name)) + name
            if version == 4:
                content += struct.pack(">Q", len(body))
            content += body
        return content

    root = group(tree)
    head = struct.pack(">I", version) + struct.pack(word, len(root)) + struct.pack(">I", little)
    return head + root + bytes(8)
