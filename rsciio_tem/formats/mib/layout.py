# SPDX-License-Identifier: GPL-3.0-or-later
"""From the first header to where pixels are and how they are packed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rsciio_tem.errors import NotThisFormat, Problem, Truncated, Unsupported
from rsciio_tem.formats.mib.header import _HEAD, _MPX, CHIP, Header, _int, parse_header
from rsciio_tem.frames.pixels import Packing, Pixels, Tile, quad_tiles
from rsciio_tem.parsing.text import key_values

# ---------------------------------------------------------------- geometry


def _pixels(header: Header, gap: int | str | None, layout: str, path: str) -> Iterator[Pixels]:
    """Yield the pixel layouts that a header may mean, the most credible first."""
    height, width = header.height, header.width
    if not header.raw:
        bits = _int(header.pixel_type[1:])
        if header.pixel_type[:1] != "U" or bits not in (1, 8, 16, 32, 64):
            raise Unsupported(path, f"has pixels of unknown type {header.pixel_type!r}.")
        if bits == 1:  # eight pixels per byte by the description, one byte each in practice
            yield Pixels((height, width), np.dtype("u1"), flip_y=True)
            if width * height % 8 == 0:
                yield Pixels((height, width), np.dtype("u1"), "bits-be", flip_y=True)
            return
        stored = np.dtype(f">u{bits // 8}")
        between = _gap(gap, layout)
        if between and height == width == 2 * CHIP:
            yield Pixels(
                (height + between, width + between),
                stored,
                tiles=tuple(
                    Tile(r, c, r and r + between, c and c + between, False)
                    for r in (0, CHIP)
                    for c in (0, CHIP)
                ),
                tile_shape=(CHIP, CHIP),
                stored_shape=(height, width),
                flip_y=True,
            )
            return
        yield Pixels((height, width), stored, flip_y=True)
        return

    packings: dict[int, tuple[Packing, str]] = {
        1: ("medipix1", "u1"),
        6: ("medipix6", "u1"),
        12: ("medipix12", ">u2"),
        24: ("medipix24", ">u4"),
    }
    depths = [header.depth] if header.depth else [12, 6, 24, 1]
    if not header.depth and width == 2 * CHIP * header.chips:
        depths = [24, 12, 6, 1]  # twice the columns of the chips
    for depth in depths:
        packing, stored_type = packings[depth]
        # 24-bit frames are two 12-bit images; the header counts the columns of both
        widths = [width // 2, width] if depth == 24 else [width]
        if depth == 24 and width == CHIP * header.chips:
            widths.reverse()
        for columns in widths:
            if (columns % CHIP and header.chips > 1) or columns * height % 64:
                continue
            if columns < 1 or columns % {1: 64, 6: 8}.get(depth, 4):
                continue  # rows are whole 64-bit words
            stored = np.dtype(stored_type)
            blocks = columns // CHIP
            if header.chips == 1 or blocks <= 1 or layout == "1x1":
                yield Pixels((height, columns), stored, packing, flip_y=True)
                continue
            quad = layout.lower().startswith("2x2") and blocks == 4
            between = _gap(gap, layout)
            if quad:
                tiles = quad_tiles(height, CHIP, between)
                shape = (2 * height + between, 2 * CHIP + between)
            else:
                # chips side by side, read out from the last to the first
                tiles = tuple(
                    Tile(0, i * CHIP, 0, (blocks - 1 - i) * (CHIP + between), False)
                    for i in range(blocks)
                )
                shape = (height, blocks * (CHIP + between) - between)
            yield Pixels(
                shape,
                stored,
                packing,
                tiles=tiles,
                tile_shape=(height, CHIP),
                stored_shape=(height, columns),
                flip_y=True,
            )


def _gap(gap: int | str | None, layout: str) -> int:
    """Return the number of pixels to put between chips."""
    if gap == "header":
        return 2 if layout.upper().endswith("G") else 0
    return int(gap or 0)


def _hypotheses(header: Header, pixels: Pixels) -> list[Problem]:
    """Say what in the layout rests on no documentation."""
    found = []
    compare = "Compare with the camera's display, and tell us if it is wrong or right."
    if pixels.packing == "medipix24" and pixels.tiles:
        found.append(Problem("warning", "RAW 24-bit of several chips is undocumented.", compare))
    elif pixels.packing == "medipix24":
        found.append(
            Problem("info", "RAW 24-bit: the high 12 bits are taken to come first (one source).")
        )
    if pixels.tiles and header.raw and len(pixels.tiles) != 4:
        found.append(
            Problem("warning", f"RAW of {header.chips} chips in a row is undocumented.", compare)
        )
    elif pixels.tiles and header.raw and not header.layout.lower().startswith("2x2"):
        found.append(Problem("warning", "RAW of chips in a row is undocumented.", compare))
    elif pixels.tiles and header.raw and pixels.stored_shape[0] != CHIP:
        found.append(
            Problem(
                "warning", "RAW of part of the rows of a 2x2 detector is undocumented.", compare
            )
        )
    if pixels.packing == "bits-be":
        found.append(
            Problem("warning", "the bit order of packed U01 pixels is undocumented.", compare)
        )
    if header.size == 256 and header.utc == "" and header.chips == 1 and header.layout == "1x1":
        found.append(
            Problem("info", "headers of 256 bytes are known from a single description only.")
        )
    return found


@dataclass(frozen=True)
class _Layout:
    """Where frames are in one file or buffer."""

    header: Header
    pixels: Pixels
    start: int  # of the first header
    stride: int
    count: int
    hdr: dict[str, str] | None = None  # of a stream dump
    problems: tuple[Problem, ...] = ()


def _describe(
    head: bytes,
    size: int,
    path: str,
    peek: Any,
    *,
    gap: int | str | None = None,
    layout: str = "auto",
    depth: int | None = None,
) -> _Layout:
    """Work out the layout of a file of `size` bytes; ``peek(offset, n)`` reads from it."""
    start, between, hdr = 0, 0, None
    if head[:4] == b"MPX,":
        between = _MPX
        start, hdr = _first_image(head, path, peek)
        head = peek(start + _MPX, _HEAD)
        start += _MPX
    header = parse_header(head, path)
    if depth is not None:
        header = replace(header, depth=depth)
    named = header.layout if layout == "auto" else layout
    problems: list[Problem] = []
    candidates = list(_pixels(header, gap, named, path))
    if not candidates:
        raise Unsupported(
            path,
            f"has RAW frames of {header.width} x {header.height} pixels from {header.chips} chips, "
            "which is no known readout.",
        )
    for pixels in candidates:
        stride = header.size + pixels.nbytes + between
        count = (size - start + between) // stride
        following = peek(start + stride, 4) if count > 1 else b""
        if following[:3] == head[:3] or (count == 1 and (size - start + between) % stride == 0):
            break
    else:
        pixels = candidates[0]
        stride = header.size + pixels.nbytes + between
        count = (size - start + between) // stride
        if count > 1:
            problems.append(
                Problem(
                    "warning",
                    f"frame 1 does not begin with a header at byte {start + stride} as header 0 "
                    f"says ({header.pixel_type}, {header.width} x {header.height}).",
                    "Pixel values may be wrong; for RAW data pass depth=1, 6, 12 or 24.",
                    "header",
                )
            )
    if count < 1:
        raise Truncated(
            path,
            f"has {size} bytes, a frame of {pixels.shape[0]} x {pixels.shape[1]} "
            f"{header.pixel_type} pixels with its header takes {stride}.",
            "The recording holds no complete frame.",
        )
    if count > 2 and not problems and peek(start + (count - 1) * stride, 3) != head[:3]:
        problems.append(
            Problem(
                "warning",
                f"the last frame ({count - 1}) has no header: the file was cut and extended, or "
                "bytes were lost on the way.",
                "Look at the frames, and pass last_frame= to leave out the damaged ones.",
                "header",
            )
        )
    if rest := (size - start + between) % stride:
        problems.append(
            Problem("warning", f"the last frame is incomplete ({rest} of {stride} bytes), ignored.")
        )
    if count > 1 and header.sequence >= 0:
        last = peek(start + (count - 1) * stride, 16).split(b",")
        number = _int(last[1].decode("latin-1").strip()) if len(last) > 2 else -1
        if (lost := number - header.sequence - (count - 1)) > 0:
            problems.append(
                Problem(
                    "warning",
                    f"{lost} frames were lost: they are numbered {header.sequence} to {number}, "
                    f"but only {count} are stored.",
                    "Frames after the loss are shifted against the scan.",
                    "number",
                )
            )
    problems += _hypotheses(replace(header, layout=named), pixels)
    return _Layout(header, pixels, start, stride, count, hdr, tuple(problems))


def _first_image(head: bytes, path: str, peek: Any) -> tuple[int, dict[str, str] | None]:
    """Skip the acquisition header of a stream dump; return the first image message."""
    at, hdr = 0, None
    for _ in range(4):
        prefix = peek(at, _MPX + 3)
        if len(prefix) < _MPX + 3:
            raise Truncated(path, "is a dump of a Merlin data stream that ends before any image.")
        length = prefix[4:14]
        if prefix[:4] != b"MPX," or not length.isdigit() or prefix[14:15] != b",":
            raise NotThisFormat(
                path, f"is a damaged dump of a Merlin data stream: {prefix!r} at byte {at}."
            )
        if prefix[_MPX:] != b"HDR":
            return at, hdr
        text = peek(at + _MPX, min(int(length), _HEAD))
        hdr = _parse_hdr(text)
        at += _MPX + int(length) - 1
    raise NotThisFormat(path, "is a dump of a Merlin data stream without images.")


# ---------------------------------------------------------------- .hdr


def _parse_hdr(content: bytes) -> dict[str, str]:
    """Parse the text of a .hdr; old versions write µ as one byte, and leave out keys and colons."""
    text = content.split(b"\0", 1)[0].decode("latin-1")
    found = key_values(text)
    return {
        key: value for key, value in found.items() if key.strip(" ,:").upper() not in ("HDR", "END")
    }
