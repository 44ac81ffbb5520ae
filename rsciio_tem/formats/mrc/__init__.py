# SPDX-License-Identifier: GPL-3.0-or-later
"""MRC files: electron microscopy's common image stack, among them Direct Electron's movies.

Sources: the MRC2014 description (Cheng et al., J. Struct. Biol. 192, 2015) for the header, IMOD's
documentation for modes 16 and 101 and the sign of bytes, FEI's (the field list that mrcfile
publishes) for its extended headers, and recorded files for what Direct Electron writes beside its
movies. ``specifications/mrc.ksy`` and ``specifications/mrc_de.md`` write the layouts down.

A header of 1024 bytes, an extended header, and NZ images of NY rows and NX columns.
"""

from __future__ import annotations

import os
import warnings
import zlib
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from rsciio_tem.errors import Problem, Problems, Truncated, Unsupported
from rsciio_tem.formats.mrc.compressed import COMPRESSED, Content
from rsciio_tem.formats.mrc.extended import (
    LONGEST_EXTENDED,
    extended_header,
    fei_metadata,
    fei_scan,
    json_metadata,
    serialem_metadata,
)
from rsciio_tem.formats.mrc.header import (
    HEADER,
    MODES,
    Endianness,
    bytes_are_signed,
    header_tree,
    is_mrcz,
    is_sane,
    pixels_of,
    read_header,
    steps,
)
from rsciio_tem.formats.mrc.images import Images, keep_images, named_images
from rsciio_tem.formats.mrc.movie import as_movie, beside, named, tell_unread
from rsciio_tem.formats.mrc.writer import file_writer, target
from rsciio_tem.frames.arrays import ArrayFrames
from rsciio_tem.parsing import directelectron
from rsciio_tem.parsing.checks import Check
from rsciio_tem.reading.documentation import documented
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import files

__all__ = ["CHECKS", "file_reader", "file_writer", "parse", "sniff", "target"]

SUFFIXES = (".mrc", ".mrcs", ".st", ".ali", ".rec", ".map")


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise an MRC file by the mark in its header, older ones by a header that makes sense."""
    name = path.lower()
    for magic in COMPRESSED:
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
    if not any(head[:1024]) and name.endswith(SUFFIXES):
        return 0.5, "is named like an MRC file, and begins with zeros", {}
    fields = HEADER.names or ()
    start = head[:1024].ljust(1024, b"\0")
    orders: tuple[Endianness, ...] = ("<", ">")
    for order in orders:
        header = np.frombuffer(start, HEADER.newbyteorder(order), 1)[0]
        if not is_sane(header):
            continue
        if head[208:211] == b"MAP":
            return 0.95, "has MAP at byte 208", {}
        axes = sorted(int(header[name]) for name in fields[16:19])
        if name.endswith(SUFFIXES) and axes in ([1, 2, 3], [0, 0, 0]) and header["MODE"] in MODES:
            return 0.6, "has the header of an MRC file without its mark", {}
    return None


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
    problems = Problems()
    sides = beside(path, metadata_file)
    info = {} if sides.info is None else directelectron.description(files.existing(sides.info))
    scan_file = scan_file or sides.scan

    content = Content.of(path, endianness, problems)
    head = content.read(0, HEADER.itemsize)
    header, order = read_header(path, head, endianness, problems)
    if header["MODE"] == 0 and signed is None:
        signed = bytes_are_signed(header, info, problems)
    pixels = pixels_of(path, header, order, signed)
    start = HEADER.itemsize + int(header["NEXT"])
    if start >= content.size:
        raise Truncated(
            path, f"ends at byte {content.size}, before the first image at byte {start}."
        )
    count = _count(header, content.size - start, pixels.nbytes, path, problems)

    extra = content.read(HEADER.itemsize, min(int(header["NEXT"]), LONGEST_EXTENDED))
    tree = {
        "std_header": header_tree(header, head),
        "labels": [
            text.split(b"\0", 1)[0].decode("latin-1").strip() for text in header["LABELS"] if text
        ],
        **extended_header(path, header, order, extra, problems),
    }
    fei = tree.get("fei_header", {})
    signal_axes, stack_axis = _axes(header, fei)
    described = fei_metadata(fei) if fei else serialem_metadata(tree.get("serialem", {}))
    described |= json_metadata(tree.get("json", {}))
    hints, scan_axes = fei_scan(fei, count, problems) if fei else ((), ())
    per_volume = int(header["MZ"])
    if 401 <= header["ISPG"] <= 630 and per_volume > 1 and count >= per_volume:
        reason = f"stack of volumes of {per_volume} images"
        hints = (ScanHint("header", (count // per_volume, per_volume), 0.9, reason),)
        scan_axes = (Axis("volume"), stack_axis)
    used = [os.fspath(name) for name in (sides.info, scan_file) if info and name is not None]
    recording = Recording(
        format="mrc",
        path=path,
        frames=content.frames(start, count, pixels),
        signal_axes=signal_axes,
        scan_axes=scan_axes,
        hints=hints,
        stack_axis=stack_axis,
        layer_axis=Axis("frame"),
        metadata=named(described, path),
        original_metadata=tree,
        files=(path, *used, *(image for _, image in (*sides.virtual, *sides.external))),
    )
    if info:
        recording = as_movie(recording, info, scan_file, problems)
    elif metadata_file == "auto":
        tell_unread(path, problems)
    return replace(recording, problems=tuple(problems))


def _count(header: np.void, room: int, nbytes: int, path: str, problems: Problems) -> int:
    """Return how many images there are: as many as announced, if the file holds them."""
    announced = int(header["NZ"])
    complete, rest = divmod(max(0, room), nbytes)
    if not complete:
        raise Truncated(
            path,
            f"holds {max(0, room)} bytes of pixels, one image of {header['NY']} x {header['NX']} "
            f"takes {nbytes}.",
        )
    if announced == 0:
        problems.warn(f"announces no images; it holds {complete}.")
    elif complete < announced:
        part = " and a part of one." if rest else "."
        problems.warn(f"announces {announced} images, but holds {complete}{part}")
    elif complete > announced:
        problems.warn(
            f"announces {announced} images, and has room for {complete - announced} more behind "
            "them, which are not read."
        )
    elif rest:
        problems.append(Problem("info", f"{rest} bytes behind the last image are not read."))
    return min(complete, announced) or complete


def _axes(header: np.void, fei: dict[str, Any]) -> tuple[tuple[Axis, Axis], Axis]:
    """Return the axes of an image, and of a stack."""
    columns, rows, (depth, origin) = steps(header)
    if "a_tilt" in fei:  # the header proper is not calibrated in these files
        # in nm as RosettaSciIO calculates it, to the last digit: etspy compares the two
        size_m = np.float32(np.ravel(fei["pixel_size"])[0])
        columns = rows = (float(size_m * 10**9) if 0 < size_m < 1 else None, 0.0)
        depth, origin = None, 0.0
    # images of a volume follow each other in space, those of a stack in no unit
    length = header["ISPG"] > 0 or is_mrcz(header)
    stack_axis = Axis("z", "nm" if depth and length else None, depth or 1.0, origin)
    return (_length("y", *rows), _length("x", *columns)), stack_axis


def _length(name: str, step: float | None, origin: float) -> Axis:
    return Axis(name, None if step is None else "nm", step or 1.0, origin)


CHECKS: tuple[Check, ...] = ()


@documented
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
    endianness : {"<", ">"}, optional
        Byte order; by default the file decides.
    endianess : {"<", ">"}, optional
        Old spelling of `endianness`.
    signed : bool, optional
        Whether 8-bit pixels are signed; by default the file decides.
    metadata_file : "auto", path or None
        Description that Direct Electron's server wrote beside a movie. "auto" finds it, and the
        other files, for names like ``YYYYMMDD_number[_suffix]_movie.mrc``.
    scan_file : path, optional
        Positions of the frames of scans that are not a raster.
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
        The file is not an MRC file.
    Truncated
        It ends before the end of its first image.
    Unsupported
        Its pixel type is unknown.
    FormatError
        The files beside it make no sense.
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
        *(lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame),
        options=options,
    )
    sides = beside(recording.path, metadata_file)
    virtual = named_images(virtual_images, "virtual_image", sides.virtual)
    external = named_images(external_images, "external_image", sides.external)
    keep_images(signal, recording, virtual, external, options.get("navigator"), parse)
    return [signal]
