# SPDX-License-Identifier: GPL-3.0-or-later
"""MRC files: electron microscopy's common image stack, among them Direct Electron's movies.

Sources: the MRC2014 description (Cheng et al., J. Struct. Biol. 192, 2015) for the header, IMOD's
documentation for modes 16 and 101 and the sign of bytes, FEI's (the field list that mrcfile
publishes) for its extended headers, and recorded files for what Direct Electron writes beside its
movies. ``specifications/mrc.ksy`` and ``specifications/mrc_de.md`` write the layouts down.

A header of 1024 bytes, an extended header, and NZ images of NY rows and NX columns.
"""

from __future__ import annotations

import functools
import math
import os
import re
import warnings
import zlib
from collections.abc import Sequence
from typing import IO, Any, Unpack

import numpy as np

from rsciio_tem.errors import FormatError, NotEnoughMemory, Problem, Truncated, Unsupported, warn
from rsciio_tem.formats.mrc.extended import _EXTENDED, _extended, _fei_metadata, _fei_scan
from rsciio_tem.formats.mrc.header import (
    _COMPRESSED,
    HEADER,
    MODES,
    Endianness,
    _header,
    _pixels,
    _sane,
    _signed,
    _std_header,
    _steps,
)
from rsciio_tem.formats.mrc.writer import file_writer, target
from rsciio_tem.frames.arrays import ArrayFrames
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.parsing import directelectron
from rsciio_tem.parsing.checks import Check
from rsciio_tem.reading import navigator
from rsciio_tem.reading.options import ReadOptions
from rsciio_tem.reading.read import read
from rsciio_tem.recording.axis import Axis
from rsciio_tem.recording.recording import Recording
from rsciio_tem.scan.scan import ScanHint
from rsciio_tem.storage import backends, files, machine
from rsciio_tem.storage.backends import DataFile

__all__ = ["CHECKS", "file_reader", "file_writer", "parse", "sniff", "target"]

Images = Sequence[str | os.PathLike[str]]


SUFFIXES = (".mrc", ".mrcs", ".st", ".ali", ".rec", ".map")


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
                free = machine.free_memory()
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


CHECKS: tuple[Check, ...] = ()


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
