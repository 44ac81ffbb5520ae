# SPDX-License-Identifier: GPL-3.0-or-later
"""From the first header to where the frames of a file are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rsciio_tem.errors import NotThisFormat, Problems, Truncated, Unsupported
from rsciio_tem.formats.mib.chips import doubts, pixel_layouts
from rsciio_tem.formats.mib.hdr import parse_hdr
from rsciio_tem.formats.mib.header import HEAD_BYTES, Header, integer, parse_header
from rsciio_tem.frames.pixels import Pixels
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.storage import files
from rsciio_tem.storage.backends import DataFile

#: A dump of the camera's data socket puts this in front of each message: MPX,<10 digits>,
_PREFIX = 15

#: Reads bytes: ``peek(offset, size)``.
Peek = Callable[[int, int], bytes]


@dataclass(frozen=True)
class Layout:
    """Where frames are in one file or buffer of `size` bytes."""

    header: Header
    pixels: Pixels
    size: int
    start: int = 0  # of the first header
    prefix: int = 0  # bytes in front of each header
    hdr: dict[str, str] | None = None  # of a stream dump

    @property
    def stride(self) -> int:
        """Bytes from frame to frame."""
        return self.header.size + self.pixels.nbytes + self.prefix

    @property
    def count(self) -> int:
        """Complete frames."""
        return self.count_in(self.size)

    def count_in(self, size: int) -> int:
        """Complete frames in a file of another size."""
        return (size - self.start + self.prefix) // self.stride

    def rest_in(self, size: int) -> int:
        """Bytes behind the last complete frame in a file of another size."""
        return (size - self.start + self.prefix) % self.stride

    def header_at(self, frame: int) -> int:
        """Byte at which the header of a frame begins."""
        return self.start + frame * self.stride

    def frames(self, members: Sequence[DataFile]) -> FrameTable:
        """Return the frames of files with this layout."""
        first = self.start + self.header.size
        runs = [(i, first, self.stride, self.count_in(f.size)) for i, f in enumerate(members)]
        return FrameTable(tuple(members), runs_of(runs), self.pixels)

    def begun_by(self, file: DataFile, depth: int | None) -> Layout:
        """Return the layout with the header of the file that the recording begins with."""
        header = parse_header(files.read_start(file.path, HEAD_BYTES), file.path)
        return replace(self, header=header if depth is None else replace(header, depth=depth))


def describe_file(
    file: DataFile,
    problems: Problems,
    gap: int | str | None = None,
    layout: str = "auto",
    depth: int | None = None,
) -> Layout:
    """Work out the layout of a file; parameters as in `describe`."""
    with files.open_binary(file) as stream:

        def peek(offset: int, size: int) -> bytes:
            stream.seek(offset)
            return stream.read(size)

        return describe(peek, file.size, file.path, problems, gap, layout, depth)


def describe(
    peek: Peek,
    size: int,
    path: str,
    problems: Problems,
    gap: int | str | None = None,
    layout: str = "auto",
    depth: int | None = None,
) -> Layout:
    """Work out the layout of `size` bytes; `gap`, `layout` and `depth` as in `file_reader`."""
    head = peek(0, HEAD_BYTES)
    if not head:
        raise Truncated(path, "is empty.")
    start, hdr = 0, None
    dump = head[:4] == b"MPX,"
    if dump:
        start, hdr = _first_image(path, peek)
        head = peek(start, HEAD_BYTES)
    header = parse_header(head, path)
    if depth is not None:
        header = replace(header, depth=depth)
    named = header.layout if layout == "auto" else layout
    candidates = [
        Layout(header, pixels, size, start, _PREFIX if dump else 0, hdr)
        for pixels in pixel_layouts(header, gap, named, path)
    ]
    if not candidates:
        raise Unsupported(
            path,
            f"has RAW frames of {header.width} x {header.height} pixels from {header.chips} chips, "
            "which is not a known readout.",
        )
    fitting = next((c for c in candidates if _fits(c, peek, head)), None)
    result = fitting or candidates[0]
    if result.count < 1:
        shape = result.pixels.shape
        raise Truncated(
            path,
            f"has {size} bytes, a frame of {shape[0]} x {shape[1]} {header.pixel_type} pixels "
            f"with its header takes {result.stride}.",
            "The recording holds no complete frame.",
        )
    if fitting is None and result.count > 1:
        problems.warn(
            f"frame 1 does not begin with a header at byte {result.header_at(1)} as header 0 says "
            f"({header.pixel_type}, {header.width} x {header.height}).",
            "Pixel values may be wrong; for RAW data pass depth=1, 6, 12 or 24.",
            "header",
        )
    elif result.count > 2 and peek(result.header_at(result.count - 1), 3) != head[:3]:
        problems.warn(
            f"the last frame ({result.count - 1}) has no header: the file was cut and extended, or "
            "bytes were lost on the way.",
            "Look at the frames, and pass last_frame= to leave out the damaged ones.",
            "header",
        )
    if rest := result.rest_in(size):
        problems.warn(f"the last frame is incomplete ({rest} of {result.stride} bytes), ignored.")
    _count_lost(result, peek, problems)
    doubts(replace(header, layout=named), result.pixels, problems)
    return result


def _fits(layout: Layout, peek: Peek, head: bytes) -> bool:
    """Whether a second header, or the end of the file, is where the layout puts it."""
    if layout.count > 1:
        return peek(layout.header_at(1), 4)[:3] == head[:3]
    return layout.count == 1 and not layout.rest_in(layout.size)


def _count_lost(layout: Layout, peek: Peek, problems: Problems) -> None:
    """Compare the number of the last frame with that of the first."""
    first, count = layout.header.sequence, layout.count
    if count < 2 or first < 0:
        return
    last = peek(layout.header_at(count - 1), 16).split(b",")
    number = integer(last[1].decode("latin-1").strip()) if len(last) > 2 else -1
    if (lost := number - first - (count - 1)) > 0:
        problems.warn(
            f"{lost} frame{'s were' if lost > 1 else ' was'} lost: they are numbered {first} to "
            f"{number}, but only {count} are stored.",
            "A stack holds the frames that are there; in a scan, positions without one are blank.",
            "number",
        )


def _first_image(path: str, peek: Peek) -> tuple[int, dict[str, str] | None]:
    """Return where the header of the first image of a stream dump is, and the .hdr ahead of it."""
    at, hdr = 0, None
    for _ in range(4):
        prefix = peek(at, _PREFIX + 3)
        if len(prefix) < _PREFIX + 3:
            raise Truncated(path, "is a dump of a Merlin data stream that ends before any image.")
        length = prefix[4:14]
        if prefix[:4] != b"MPX," or not length.isdigit() or prefix[14:15] != b",":
            raise NotThisFormat(
                path, f"is a damaged dump of a Merlin data stream: {prefix!r} at byte {at}."
            )
        if prefix[_PREFIX:] != b"HDR":
            return at + _PREFIX, hdr
        hdr = parse_hdr(peek(at + _PREFIX, min(int(length), HEAD_BYTES)))
        at += _PREFIX + int(length) - 1
    raise NotThisFormat(path, "is a dump of a Merlin data stream without images.")
