# SPDX-License-Identifier: GPL-3.0-or-later
"""Zip archives of very many small arrays, such as frame caches: .npz without `numpy.load`.

`directory` reads the list of members at the end of the archive, once; `Directory.arrays` reads
members. What the archive announces is never believed: sizes, checksums and types are compared with
what is there, nothing is inflated beyond its announced size, and nothing is unpickled.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Truncated, Unsupported
from rsciio_tem.parsing.text import number_type
from rsciio_tem.storage import backends
from rsciio_tem.storage.backends import Backend, DataFile
from rsciio_tem.storage.identities import cached
from rsciio_tem.storage.inflate import Content, crc32, inflate
from rsciio_tem.storage.npy_header import LONGEST, npy_header

__all__ = ["FIELDS", "FRAME_PARTS", "Directory", "directory", "is_frame_cache"]

#: What the members of a frame are called: its number, and one of these.
FRAME_PARTS = (b"_row.npy", b"_col.npy", b"_data.npy")


#: What a frame cache has besides.
HEADER = frozenset({"nframes.npy", "shape.npy", "dtype.npy"})


#: What the central directory says of each member.
FIELDS = (
    "name_at",  # where its name is in the directory
    "name_length",
    "part",  # index into FRAME_PARTS, -1 for other names
    "number",  # the number before it
    "flags",
    "method",  # 0 stored, 8 deflated
    "crc",
    "packed",  # bytes in the archive
    "size",  # bytes of the member
    "offset",  # of its local header
)


_CENTRAL = struct.Struct("<4s6H3I5H2I")


_LOCAL = struct.Struct("<4s5H3I2H")


_END = struct.Struct("<4s4H2IH")


_END64 = struct.Struct("<4sQ2H2I4Q")


_LOCATOR = struct.Struct("<4sIQI")


_LENGTHS = struct.Struct("<2H")  # at byte 26 of the local header: of the name, of the extra field


_STORED, _DEFLATED = 0, 8


#: Archives of fewer members are listed without the compiled loop, which takes longer to load.
_FEW = 1024


#: Members that lie closer than this are read together.
_GAP = 64 << 10


#: The header of an array as NumPy writes it, if it is flat.
_FLAT = re.compile(
    rb"\{'descr': '([<>|=]?[a-zA-Z]\d+)', 'fortran_order': (?:True|False), "
    rb"'shape': \((\d{1,18})[lL]?,\), \} *\n"
)


# ---------------------------------------------------------------- the directory


def _members(raw: bytes, table: npt.NDArray[np.int64]) -> int:
    """Do what `kernels.zip_members` does, for few members."""
    pattern = re.compile(rb"(0|[1-9]\d{0,17})(_row\.npy|_col\.npy|_data\.npy)")
    at = 0
    for i, row in enumerate(table.T):
        if at + _CENTRAL.size > len(raw) or raw[at : at + 4] != b"PK\1\2":
            return i
        _, _, _, flags, method, _, _, crc, packed, size, n, extra, comment, *_, offset = (
            _CENTRAL.unpack_from(raw, at)
        )
        name_at = at + _CENTRAL.size
        at = name_at + n + extra + comment
        if at > len(raw):
            return i
        sizes = {"size": size, "packed": packed, "offset": offset}
        at_extra, end_extra = name_at + n, name_at + n + extra
        while at_extra + 4 <= end_extra:
            kind, length = struct.unpack_from("<2H", raw, at_extra)
            at_extra += 4
            length = min(length, end_extra - at_extra)
            field = at_extra
            for key, value in sizes.items() if kind == 1 else ():
                if value == 0xFFFFFFFF and field + 8 <= at_extra + length:
                    (sizes[key],) = struct.unpack_from("<q", raw, field)
                    field += 8
            at_extra += length
        match = pattern.fullmatch(raw, name_at, name_at + n)
        part, number = (FRAME_PARTS.index(match[2]), int(match[1])) if match else (-1, -1)
        places = sizes["packed"], sizes["size"], sizes["offset"]
        row[:] = (name_at, n, part, number, flags, method, crc, *places)
    return -1


def _ends(
    file: DataFile, members: dict[str, npt.NDArray[np.int64]], first: int
) -> npt.NDArray[np.int64]:
    """Return where what belongs to each member ends at the latest; `first` is the directory."""
    offsets, packed = members["offset"], members["packed"]
    places = np.sort(offsets)
    ends: npt.NDArray[np.int64]
    ends = np.append(places, first)[np.searchsorted(places, offsets, "right")]
    ends = np.minimum(ends, offsets + _LOCAL.size + 0xFFFF + members["name_length"] + packed)
    bad = (offsets < 0) | (ends - offsets < _LOCAL.size) | (members["size"] < 0)
    bad |= (packed < 0) | (packed > ends - offsets) | (ends > first)
    bad |= (offsets > first) | (packed > first)  # so large that the sums above went round
    if bad.any():
        raise FormatError(
            file.path, f"has a directory that is damaged at member {int(np.flatnonzero(bad)[0])}."
        )
    return ends


@dataclass(frozen=True, eq=False)
class Directory:
    """The members of an archive.

    Parameters
    ----------
    file : DataFile
        The archive.
    members : dict of str to ndarray of int64
        `FIELDS` of all members.
    ends : ndarray of int64
        Byte at which what belongs to each ends at the latest.
    others : dict of str to int
        Members that are not parts of numbered frames: name, index into `members`.
    """

    file: DataFile
    members: dict[str, npt.NDArray[np.int64]]
    ends: npt.NDArray[np.int64]
    others: dict[str, int]

    def name(self, member: int) -> str:
        """Return the name of a member for messages."""
        part = int(self.members["part"][member])
        if part >= 0:
            return f"{self.members['number'][member]}{FRAME_PARTS[part].decode()}"
        return next((name for name, i in self.others.items() if i == member), "?")

    def table(self, count: int) -> npt.NDArray[np.int64]:
        """Return the members of the frames 0..count, shape (parts, count); -1 is none."""
        table = np.full((len(FRAME_PARTS), count), -1, np.int64)
        parts, numbers = self.members["part"], self.members["number"]
        # of members of the same name the last one counts, as for NumPy
        if len(parts) >= _FEW:
            from rsciio_tem.kernels.zip_archives import zip_table

            zip_table(parts, numbers, table)
        else:
            mine = np.flatnonzero((parts >= 0) & (numbers < count))
            table[parts[mine], numbers[mine]] = mine
        return table

    # ------------------------------------------------------------------ reading

    def contents(
        self, numbers: npt.NDArray[np.int64], backend: Backend = "auto"
    ) -> Iterator[tuple[int, Content]]:
        """Read members in the order in which they lie in the archive.

        Yields
        ------
        i : int
            ``numbers[i]`` is this member.
        content : bytes-like
            Valid until the next one is asked for.

        Raises
        ------
        FormatError
            A member is damaged.
        """
        offsets, ends = self.members["offset"][numbers], self.ends[numbers]
        order = np.argsort(offsets, kind="stable")
        offsets, ends = offsets[order], ends[order]
        fields = FIELDS[FIELDS.index("flags") :]
        rows = np.stack([self.members[name][numbers] for name in fields], axis=1).tolist()
        group = 0
        while group < len(order):
            # all that follows without much between, as far as it fits into a buffer
            far = offsets[group:] - np.concatenate([[offsets[group]], ends[group:-1]]) > _GAP
            far |= ends[group:] - offsets[group] > backends.BLOCK
            far[0] = False
            last = group + (int(np.argmax(far)) if far.any() else len(far))
            first_byte, stop = int(offsets[group]), int(ends[group:last].max())
            raw = backends.read(self.file, first_byte, stop - first_byte, backend).data
            for i in order[group:last].tolist():
                yield i, self._content(int(numbers[i]), rows[i], raw, first_byte)
            group = last

    def _content(self, member: int, row: list[int], raw: memoryview, first_byte: int) -> Content:
        """Return what a member holds, given the bytes of the archive from `begin` on."""
        flags, method, crc, length, size, offset = row
        at = offset - first_byte
        if bytes(raw[at : at + 4]) != b"PK\3\4":
            raise self._damaged(member, "it is not where the directory says")
        name, extra = _LENGTHS.unpack_from(raw, at + 26)
        at += _LOCAL.size + name + extra
        packed = raw[at : at + length]
        content: Content = packed
        if len(packed) < length:
            raise self._damaged(member, "it overlaps the next one")
        if flags & 1 or method not in (_STORED, _DEFLATED):
            raise Unsupported(
                self.file.path,
                f"{self.name(member)} is encrypted, or compressed with method {method}.",
                "numpy.savez_compressed writes what can be read.",
            )
        if method == _DEFLATED:
            if size > 1040 * length + 64:  # deflating makes nothing smaller than that
                raise self._damaged(member, f"{length} bytes cannot become {size}")
            try:
                content = inflate(packed, size, bare=True)
            except zlib.error as error:
                raise self._damaged(member, str(error)) from None
        if len(content) != size:
            raise self._damaged(member, f"it has not the {size} bytes that are announced")
        if crc32(content) != crc:
            raise self._damaged(member, "its checksum is wrong")
        return content

    def _damaged(self, member: int, why: str) -> FormatError:
        return FormatError(self.file.path, f"the array {self.name(member)} is damaged: {why}.")

    def array(self, member: int, content: Content) -> npt.NDArray[Any]:
        """View what a member holds as an array of numbers or text."""
        start, dtype, shape, fortran = self._header(member, content)
        count = math.prod(shape)
        if start + count * dtype.itemsize > len(content) or len(shape) > 8:
            raise self._damaged(member, f"it does not hold {shape} elements of type {dtype}")
        values = np.frombuffer(content, dtype, count, start)
        return values.reshape(shape, order="F" if fortran else "C")

    def _header(
        self, member: int, content: Content
    ) -> tuple[int, np.dtype[Any], tuple[int, ...], bool]:
        head = bytes(content[:10])
        if len(head) < 10 or head[:6] != b"\x93NUMPY":
            raise self._damaged(member, "it is not a .npy")
        start = 10 + int.from_bytes(head[8:10], "little")
        try:
            if head[6] == 1 and (flat := _flat(bytes(content[10:start]))) is not None:
                return start, *flat
            dtype, fortran, shape, start = npy_header(bytes(content[: LONGEST + 16]))
        except ValueError as error:
            raise self._damaged(member, f"its header is wrong ({str(error)[:80]})") from None
        if dtype.kind not in "buifcSU" or not dtype.itemsize:
            raise Unsupported(
                self.file.path,
                f"{self.name(member)} holds elements of type {dtype}, not numbers; nothing is "
                "unpickled.",
            )
        return start, dtype, shape, fortran


@lru_cache(maxsize=4096)
def _flat(header: bytes) -> tuple[np.dtype[Any], tuple[int, ...], bool] | None:
    """Parse the header of a flat array of numbers; many arrays have the same one."""
    match = _FLAT.fullmatch(header)
    dtype = number_type(match[1].decode()) if match else None
    return (dtype, (int(match[2]),), False) if match and dtype is not None else None


@cached(4)
def directory(file: DataFile) -> Directory:
    """List the members of an archive.

    Raises
    ------
    NotThisFormat
        The file is not a zip archive.
    Truncated
        It ends early: the directory is at its end.
    FormatError
        The directory is damaged.
    """
    path = file.path
    tail = bytes(backends.read(file, max(0, file.size - 65557), min(file.size, 65557), "auto"))
    at = tail.rfind(b"PK\5\6")
    while at >= 0 and (
        at + _END.size > len(tail)
        or at + _END.size + int.from_bytes(tail[at + 20 : at + 22], "little") != len(tail)
    ):
        at = tail.rfind(b"PK\5\6", 0, at)
    if at < 0:
        start = bytes(backends.read(file, 0, min(4, file.size), "auto"))
        if start != b"PK\3\4":
            raise NotThisFormat(path, f"is not a zip archive: it begins with {start!r}.")
        raise Truncated(path, "is a zip archive without the directory at its end: it was cut.")
    _, disk, _, _, count, length, announced, _ = _END.unpack_from(tail, at)
    end = file.size - len(tail) + at
    if end >= _LOCATOR.size:
        locator = bytes(backends.read(file, end - _LOCATOR.size, _LOCATOR.size, "auto"))
        magic, _, at_end64, _ = _LOCATOR.unpack(locator)
        if magic == b"PK\6\7":
            if at_end64 + _END64.size > end:
                raise FormatError(path, "has a damaged directory.")
            fields = _END64.unpack(backends.read(file, at_end64, _END64.size, "auto").data)
            if fields[0] != b"PK\6\6":
                raise FormatError(path, "has a damaged directory.")
            end, (count, length, announced) = at_end64, fields[-3:]
    if disk not in (0, 0xFFFF):
        raise Unsupported(path, "is one part of a zip archive in several files.")
    first = end - length  # other than `begin` if something precedes the archive
    if count * _CENTRAL.size > length or first < 0 or announced > first:
        raise FormatError(path, f"has a damaged directory of {count} members in {length} bytes.")
    raw = backends.read(file, first, length, "auto", np.empty(length, np.uint8))
    table = np.empty((len(FIELDS), count), np.int64)
    if count >= _FEW:
        from rsciio_tem.kernels.zip_archives import zip_ends, zip_members

        wrong = zip_members(raw, FRAME_PARTS, table)
    else:
        wrong = _members(raw.tobytes(), table)
    if wrong >= 0:
        raise FormatError(path, f"has a directory that is damaged at member {wrong} of {count}.")
    members = dict(zip(FIELDS, table, strict=True))
    if first != announced:
        members["offset"] += first - announced
    ends = np.empty(count, np.int64)
    if count < _FEW or not zip_ends(table, first, _LOCAL.size + 0xFFFF, ends):
        ends = _ends(file, members, first)
    others = {}
    for i in np.flatnonzero(members["part"] < 0).tolist():
        name_at, n = int(members["name_at"][i]), int(members["name_length"][i])
        others[raw[name_at : name_at + n].tobytes().decode("utf-8", "replace")] = i
    return Directory(file, members, ends, others)


def is_frame_cache(path: str, head: bytes) -> bool:
    """Whether an archive that begins with `head` has the three arrays of frames."""
    if head[:4] != b"PK\3\4":
        return False
    try:
        parts = directory(DataFile.of(path)).members["part"]
    except FormatError:
        return False
    return all(bool((parts == i).any()) for i in range(len(FRAME_PARTS)))
