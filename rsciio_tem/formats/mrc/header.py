# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of 1024 bytes: layout, byte order, pixel types, steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from rsciio_tem.errors import NotThisFormat, Problems, Truncated, Unsupported
from rsciio_tem.frames.pixels import Packing, Pixels

Endianness = Literal["<", ">"]


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


#: Pixel types by MODE. Mode 0 is told apart by `bytes_are_signed`.
MODES: dict[int, tuple[Any, Packing]] = {
    0: ("i1", "plain"),
    1: ("i2", "plain"),
    2: ("f4", "plain"),
    3: ("c8", "complex-i2"),
    4: ("c8", "plain"),
    6: ("u2", "plain"),
    7: ("i4", "plain"),  # 7 and 8 by MRCZ, and so by HyperSpy
    8: ("u4", "plain"),
    12: ("f2", "plain"),
    16: (RGB, "plain"),
    101: ("u1", "u4-rows"),
}


def is_sane(header: np.void) -> bool:
    """Whether a header may be that of an MRC file, read in this byte order."""
    return bool(
        0 < header["NX"] < 1 << 24
        and 0 < header["NY"] < 1 << 24
        and 0 <= header["NZ"] < 1 << 30
        and 0 <= header["MODE"] < 1 << 16
        and header["NEXT"] >= 0
    )


def read_header(
    path: str, head: bytes, endianness: Endianness | None, problems: Problems
) -> tuple[np.void, Endianness]:
    """Decode the header; returns it and its byte order."""
    if endianness not in ("<", ">", None):
        raise ValueError(f"endianness={endianness!r} is neither '<' nor '>'")
    if len(head) < HEADER.itemsize:
        raise Truncated(path, f"ends inside its header, after {len(head)} bytes.")
    if not any(head):
        raise NotThisFormat(
            path,
            "has nothing but zeros where its header should be, which was never written.",
            "ncempy leaves such a file if it does not write that type of pixels; write it again, "
            "for example as float32.",
        )
    stamp: Endianness | None = {0x44: "<", 0x11: ">"}.get(head[212])  # type: ignore[assignment]
    first: Endianness = endianness or stamp or "<"
    for order in (first,) if endianness else (first, ">" if first == "<" else "<"):
        header: np.void = np.frombuffer(head, HEADER.newbyteorder(order), 1)[0]
        if not is_sane(header):
            continue
        if stamp is not None and order != stamp:
            name = "little" if order == "<" else "big"
            problems.warn(f"has the mark of the other byte order, but is {name}-endian.")
        return header, order
    header = np.frombuffer(head, HEADER.newbyteorder(first), 1)[0]
    raise NotThisFormat(
        path,
        f"is not an MRC file: its header would announce {header['NZ']} images of {header['NY']} x "
        f"{header['NX']} pixels of mode {header['MODE']}"
        + (f" with endianness={endianness!r}." if endianness else "."),
        "Leave endianness out, so that the file decides." if endianness else "",
    )


def bytes_are_signed(header: np.void, info: Mapping[str, str], problems: Problems) -> bool:
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
    problems.warn(
        "does not say whether its 8-bit pixels are signed; they are read as unsigned.",
        "Pass signed=True or signed=False.",
    )
    return False


def pixels_of(path: str, header: np.void, order: Endianness, signed: bool | None = None) -> Pixels:
    """Return how pixels are stored; those of 8 bits are unsigned unless `signed` says other."""
    mode = int(header["MODE"])
    if mode not in MODES:
        if mode >= 1000:
            raise Unsupported(
                path,
                f"has MODE {mode}: its pixels are compressed (MRCZ).",
                'Use RosettaSciIO: hs.load(..., file_format="MRCZ").',
            )
        raise Unsupported(
            path, f"has pixels of MODE {mode}; only {', '.join(map(str, MODES))} can be read."
        )
    if signed is not None and mode != 0:
        raise ValueError(f"signed= is for 8-bit pixels (MODE 0); {path} has MODE {mode}")
    kind, packing = MODES[mode]
    if mode == 0:
        kind = "i1" if signed else "u1"
    stored = np.dtype(kind)
    if stored.names is None:
        stored = stored.newbyteorder(order)
    return Pixels((int(header["NY"]), int(header["NX"])), stored, packing)


def is_mrcz(header: np.void) -> bool:
    """Whether MRCZ wrote the file, which HyperSpy saves with."""
    return bytes(header["LABELS"][0]).startswith(b"MRCZ")


def steps(header: np.void) -> list[tuple[float | None, float]]:
    """Return step and origin in nm along columns, rows and images; None for an unknown step.

    MRCZ has no grid: its cell is that of all pixels.
    """
    axes = [int(header[name]) for name in ("MAPC", "MAPR", "MAPS")]
    if sorted(axes) != [1, 2, 3]:
        axes = [1, 2, 3]
    result: list[tuple[float | None, float]] = []
    for size, axis in zip(("NX", "NY", "NZ"), axes, strict=True):
        letter = "XYZ"[axis - 1]
        points = int(header[size if is_mrcz(header) else f"M{letter}"])
        step = float(header[f"{letter}len"]) / points / 10 if points > 0 else 0.0
        origin = float(header[f"{letter}ORIGIN"]) / 10
        if 1e-7 < step < 1e9:  # what is smaller was written as another type of number
            result.append((step, origin if abs(origin) < 1e12 else 0.0))
        else:
            result.append((None, 0.0))
    return result


def header_tree(header: np.void, head: bytes) -> dict[str, Any]:
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
